//! Measurements, run by hand: `cargo test --release -p heimdall-alert scale -- --ignored --nocapture`.

use super::*;
use crate::silence::{SilenceDraft, SilenceKind};

const LIVE: u64 = 100_000;

fn timed<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    println!("{name}: {:?}", start.elapsed());
    done
}

fn silence(bench: &Bench, text: &str) -> SilenceDraft {
    let now = bench.clock.now();
    SilenceDraft {
        id: None,
        tenant: Tenant::default(),
        kind: SilenceKind::Silence,
        matchers: text.split(',').map(|text| text.parse().unwrap()).collect(),
        starts_at: now,
        ends_at: now.saturating_add_ns(3_600_000_000_000),
        recurrence: None,
        comment: String::new(),
    }
}

fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) / 1_024
}

#[test]
#[ignore = "a measurement: 100,000 live alerts"]
fn a_hundred_thousand_live_alerts() {
    let bench = Bench::new();
    let alerts = bench.open();
    let before = rss_mib();
    let verdicts: Vec<_> = (1..=LIVE)
        .map(|n| Verdict {
            service: Some(format!("SERVICE-{}", n % 200)),
            rule: format!("rule-{}", n % 50),
            ..verdict(&format!("10.{}.{}.{}", n / 65_536, n / 256 % 256, n % 256), n)
        })
        .collect();
    timed("raise 100,000", || {
        for batch in verdicts.chunks(1_000) {
            alerts.ingest(batch.to_vec()).unwrap();
        }
        alerts.flush().unwrap();
    });
    println!("memory: {} MiB more", rss_mib() - before);
    let ids: Vec<_> = alerts
        .list(&AlertFilter::default(), None, 1_000)
        .unwrap()
        .items
        .iter()
        .map(|alert| alert.id)
        .collect();
    let mut slowest = Duration::ZERO;
    for id in &ids[..100] {
        let start = Instant::now();
        alerts.step(None, *id, Step::Acknowledge, "ann", None).unwrap();
        slowest = slowest.max(start.elapsed());
    }
    println!("one status change, slowest of 100: {slowest:?}");
    timed("1,000 status changes at once", || {
        alerts.step_many(None, &ids, Step::Suppress { until: None }, "ann", None)
    });
    for (name, filter) in [
        ("all", AlertFilter::default()),
        ("open", AlertFilter { statuses: vec![Status::Open], ..Default::default() }),
        ("assigned to x", AlertFilter { assignee: Some("x".to_owned()), ..Default::default() }),
        ("label", AlertFilter { labels: vec!["service=SERVICE-7".parse().unwrap()], ..Default::default() }),
        (
            "pattern",
            AlertFilter { labels: vec!["service=~nothing.*".parse().unwrap()], ..Default::default() },
        ),
        ("text", AlertFilter { text: Some("10.1.7.".to_owned()), ..Default::default() }),
    ] {
        let mine = AlertFilter { tenant: Some(Tenant::default()), ..filter };
        let found =
            timed(&format!("list 100, {name}"), || alerts.list(&mine, None, 100).unwrap().items.len());
        println!("  {found} found");
    }
    timed("counts", || alerts.counts(Some(&Tenant::default())).unwrap());
    timed("a tick with nothing to do", || alerts.tick(bench.clock.now()).unwrap());
    alerts.silences().put(silence(&bench, "service=SERVICE-7"), "ann").unwrap();
    timed("a tick that applies a silence of 500 alerts", || alerts.tick(bench.clock.now()).unwrap());
    for n in 0..1_000 {
        let text = format!("service=~SERVICE-{n}x.*,rule!=rule-{}", n % 50);
        alerts.silences().put(silence(&bench, &text), "ann").unwrap();
    }
    timed("a tick after 1,000 new silences, all patterns", || alerts.tick(bench.clock.now()).unwrap());
    timed("a tick under 1,001 silences", || alerts.tick(bench.clock.now()).unwrap());
    let new: Vec<_> = (1..=1_000).map(|n| verdict(&format!("new-{n}"), LIVE + n)).collect();
    timed("raise 1,000 under 1,000 pattern silences", || alerts.ingest(new).unwrap());
    alerts.silences().put(silence(&bench, "alertname=~.+"), "ann").unwrap();
    let mut ticks = 0;
    timed("a silence of all 100,000 applied and stored", || {
        loop {
            ticks += 1;
            alerts.flush().ok();
            alerts.tick(bench.clock.now()).unwrap();
            if alerts.unchecked_count() == 0 {
                break;
            }
        }
        alerts.flush().unwrap();
    });
    println!("  in {ticks} ticks");
    let rule = InhibitRule {
        source: vec!["rule=rule-7".parse().unwrap()],
        target: vec!["rule!=rule-7".parse().unwrap()],
        equal: vec!["service".to_owned()],
    };
    timed("an inhibition rule given to 100,000 alerts", || {
        alerts.set_rules(AlertRules { inhibit: vec![rule], ..AlertRules::default() });
    });
    timed("close", || alerts.close());
    timed("open with 100,000 live alerts", || bench.open());
}
