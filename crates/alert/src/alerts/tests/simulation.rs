//! Random lives of alerts, with crashes. A failure prints its seed.

use super::*;
use crate::silence::{SilenceDraft, SilenceKind};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SOURCES: usize = 6;

struct World {
    bench: Bench,
    alerts: Arc<Alerts>,
    /// Everything ever judged, as the journal keeps it.
    journal: Vec<Verdict>,
    random: StdRng,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let bench = Bench::new();
        let alerts = bench.open();
        World { bench, alerts, journal: Vec::new(), random: StdRng::seed_from_u64(seed), seed }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..40 => self.find(),
            40..60 => self.change(),
            60..75 => {
                let seconds = self.random.random_range(1..600);
                self.bench.clock.advance(Duration::from_secs(seconds));
                self.alerts.tick(self.bench.clock.now()).unwrap();
            }
            75..80 => self.silence(),
            80..85 => {
                let minutes = self.random.random_range(-1..5);
                self.post(minutes);
            }
            85..95 => self.replay(),
            _ => self.restart(),
        }
        self.check();
    }

    fn find(&mut self) {
        let source = format!("10.0.0.{}", self.random.random_range(0..SOURCES));
        let position = self.journal.len() as u64 + 1;
        let severity = if self.random.random_bool(0.2) { Severity::Critical } else { Severity::Warning };
        let verdict = Verdict { severity, ..verdict(&source, position) };
        self.journal.push(verdict.clone());
        self.alerts.ingest(vec![verdict]).unwrap();
    }

    fn change(&mut self) {
        let all = everything(&self.alerts);
        if all.is_empty() {
            return;
        }
        let id = all[self.random.random_range(0..all.len())].id;
        let until = Some(self.bench.clock.now().saturating_add_ns(60_000_000_000));
        let step = match self.random.random_range(0..5) {
            0 => Step::Acknowledge,
            1 => Step::Suppress { until: None },
            2 => Step::Suppress { until },
            3 => Step::Resolve,
            _ => Step::Reopen,
        };
        match self.alerts.step(None, id, step, "ann", None) {
            Ok(_) | Err(AlertError::Conflict { .. } | AlertError::Superseded { .. }) => {}
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn silence(&mut self) {
        let source = self.random.random_range(0..SOURCES);
        let now = self.bench.clock.now();
        let draft = SilenceDraft {
            id: None,
            tenant: Tenant::default(),
            kind: SilenceKind::Silence,
            matchers: vec![format!("source_ip=10.0.0.{source}").parse().unwrap()],
            starts_at: now,
            ends_at: now.saturating_add_ns(300_000_000_000),
            recurrence: None,
            comment: String::new(),
        };
        self.alerts.silences().put(draft, "ann").unwrap();
    }

    fn post(&mut self, minutes: i64) {
        let now = self.bench.clock.now();
        let posted = crate::PostedAlert {
            labels: [("alertname".to_owned(), format!("P{}", self.random.random_range(0..3)))].into(),
            ends_at: Some(now.saturating_add_ns(minutes * 60_000_000_000)),
            ..Default::default()
        };
        self.alerts.post(&Tenant::default(), vec![posted], "prometheus").unwrap();
    }

    /// The journal is consumed again from some place: nothing changes.
    fn replay(&mut self) {
        let before = everything(&self.alerts);
        let from = self.random.random_range(0..=self.journal.len());
        let told = self.alerts.ingest(self.journal[from..].to_vec()).unwrap();
        assert!(told.is_empty(), "seed {}: a replay did {told:?}", self.seed);
        assert_eq!(everything(&self.alerts), before, "seed {}", self.seed);
    }

    fn restart(&mut self) {
        let before = everything(&self.alerts);
        self.alerts.close();
        self.alerts = self.bench.open();
        assert_eq!(everything(&self.alerts), before, "seed {}", self.seed);
        self.replay();
    }

    fn check(&self) {
        let all = everything(&self.alerts);
        let live: Vec<_> = all.iter().filter(|alert| alert.status != Status::Resolved).collect();
        let fingerprints: HashSet<_> = live.iter().map(|alert| &alert.fingerprint).collect();
        assert_eq!(fingerprints.len(), live.len(), "seed {}: two live alerts of one finding", self.seed);
        assert_eq!(self.alerts.shared.state.lock().live.len(), live.len(), "seed {}", self.seed);
        for alert in &all {
            let last = alert.history.last().unwrap();
            assert_eq!(last.to, alert.status, "seed {}: the history ends with the status", self.seed);
            assert!(alert.muted.is_none() || alert.status != Status::Resolved, "seed {}", self.seed);
            let may_wake = alert.suppressed_until.is_none() || alert.status == Status::Suppressed;
            assert!(may_wake, "seed {}", self.seed);
            if let Some(incident) = alert.incident {
                let known = self.alerts.incidents().get(None, incident);
                assert!(known.is_ok_and(|known| known.alerts.contains(&alert.id)), "seed {}", self.seed);
            }
        }
        let counted: u64 = self
            .alerts
            .counts(None)
            .unwrap()
            .iter()
            .filter(|count| count.status != Status::Resolved)
            .map(|count| count.count)
            .sum();
        assert_eq!(counted, live.len() as u64, "seed {}", self.seed);
    }
}

#[test]
fn whatever_happens_one_alert_lives_per_finding_and_replays_change_nothing() {
    for seed in 0..8 {
        let mut world = World::new(seed);
        for _ in 0..150 {
            world.step();
        }
        // In the end everything that mutes is over, and nothing is muted.
        world.bench.clock.advance(Duration::from_secs(3_600));
        world.alerts.tick(world.bench.clock.now()).unwrap();
        assert_eq!(world.alerts.unchecked_count(), 0, "seed {seed}");
        assert!(everything(&world.alerts).iter().all(|alert| alert.muted.is_none()), "seed {seed}");
    }
}
