//! A quiet week of a small company with its nights, jobs, late records and deployments, and what is then done to it.

use heimdall_model::batch::Mined;
use heimdall_model::{Batch, BatchBuilder, Level, Position, Severity, Tenant, Timestamp};

use super::*;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;
/// Monday 2026-02-02, 00:00:00 UTC.
const START: i64 = 1_769_990_400;

const SEEDS: [u64; 2] = [1, 2];

/// A deterministic source of chance (SplitMix64; Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    /// Poisson, by the product of uniform numbers; `mean` is small.
    fn poisson(&mut self, mean: f64) -> u32 {
        let (mut count, mut product, floor) = (0, self.unit(), (-mean).exp());
        while product > floor {
            (count, product) = (count + 1, product * self.unit());
        }
        count
    }
}

#[derive(Debug, Clone)]
struct Said {
    second: i64,
    service: &'static str,
    template: u32,
    level: Level,
    message: String,
    user: Option<String>,
    attributes: Option<&'static str>,
}

fn said(second: i64, service: &'static str, template: u32, level: Level, message: &str) -> Said {
    Said { second, service, template, level, message: message.to_owned(), user: None, attributes: None }
}

fn batch_of(sequence: u64, arrived: i64, lines: &[Said]) -> Batch {
    let at = |second: i64| (START + second) * NS_PER_SECOND;
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(at(arrived)));
    for line in lines {
        builder.set_int(logs::TIMESTAMP, at(line.second));
        builder.set_text(logs::SERVICE, line.service);
        builder.set_text(logs::MESSAGE, &line.message);
        builder.set_level(line.level);
        builder.set_int(logs::TEMPLATE_ID, line.template.into());
        line.user.iter().for_each(|user| builder.set_text(logs::USER_ID, user));
        line.attributes.iter().for_each(|json| builder.set_text(logs::ATTRIBUTES, json));
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(sequence, 0);
    // The miner would say so of a value that it has not seen in its slot.
    let grown =
        (0..).zip(lines).filter(|(_, line)| line.message.contains("saml")).map(|(row, _)| row).collect();
    let clusters = lines.iter().map(|line| line.template).collect();
    batch.mined = Some(Box::new(Mined { clusters, grown, joined: Vec::new() }));
    batch
}

/// What the company says in one second, before anything is done to it.
struct Company {
    dice: Dice,
    /// How busy these five minutes are.
    mood: f64,
    deploys: Vec<i64>,
}

impl Company {
    fn new(seed: u64) -> Company {
        // Wednesday 14:00 and Friday 10:30.
        let deploys = vec![2 * DAY + 14 * HOUR, 4 * DAY + 10 * HOUR + 1_800];
        Company { dice: Dice(seed), mood: 1.0, deploys }
    }

    /// One at five in the morning, four at five in the evening; weekends have half of it.
    fn rhythm(second: i64) -> f64 {
        let hour = (second.rem_euclid(DAY)) as f64 / HOUR as f64;
        let weekend = if (second / DAY) % 7 >= 5 { 0.5 } else { 1.0 };
        weekend * (2.5 - 1.5 * ((hour - 5.0) / 24.0 * std::f64::consts::TAU).cos())
    }

    fn second(&mut self, second: i64, out: &mut Vec<Said>) {
        if second % 300 == 0 {
            self.mood = 1.0 + 0.3 * (self.dice.unit() - 0.5);
        }
        self.api(second, out);
        self.auth(second, out);
        self.batch(second, out);
        self.worker(second, out);
        self.rare(second, out);
    }

    fn api(&mut self, second: i64, out: &mut Vec<Said>) {
        let generation = self.deploys.iter().filter(|deploy| **deploy <= second).count() as u32;
        let rate = Self::rhythm(second) * self.mood;
        for kind in 0..8 {
            for _ in 0..self.dice.poisson(rate * 0.4 / f64::from(kind + 1)) {
                // A deployment replaces two of the messages by others.
                let template = if kind >= 6 { 100 + kind + 10 * generation } else { 100 + kind };
                let user = format!("u{}", self.dice.below(400));
                let line = format!(
                    "handled route-{kind} status={} for {user}",
                    [200, 200, 200, 404][self.dice.below(4) as usize]
                );
                out.push(Said { user: Some(user), ..said(second, "api", template, Level::Info, &line) });
            }
        }
        for _ in 0..self.dice.poisson(0.01 * rate) {
            out.push(said(second, "api", 150, Level::Error, "upstream timed out after 3000 ms"));
        }
        for _ in 0..self.dice.poisson(0.02) {
            out.push(said(second, "api", 151, Level::Warn, "slow response: 950 ms"));
        }
        if self.deploys.contains(&second) {
            let attributes = Some(r#"{"event.kind":"deploy","version":"1.2.3"}"#);
            out.push(Said { attributes, ..said(second, "api", 160, Level::Info, "deployed version 1.2.3") });
        }
    }

    fn auth(&mut self, second: i64, out: &mut Vec<Said>) {
        for _ in 0..self.dice.poisson(0.15 * Self::rhythm(second)) {
            let user = format!("u{}", self.dice.below(400));
            let method = ["password", "otp", "publickey"][self.dice.below(3) as usize];
            let line = format!(
                "login of {user} ok method={method} from 10.0.{}.{}",
                self.dice.below(8),
                self.dice.below(250)
            );
            out.push(Said { user: Some(user), ..said(second, "auth", 200, Level::Info, &line) });
        }
        for _ in 0..self.dice.poisson(0.01) {
            out.push(said(second, "auth", 201, Level::Warn, "login of u1 failed"));
        }
    }

    fn batch(&mut self, second: i64, out: &mut Vec<Said>) {
        if second % 30 == 7 {
            out.push(said(second, "batch", 300, Level::Info, "heartbeat: queue empty"));
        }
        // Hourly, for half a minute; nightly, for ten minutes and not at the same time to the minute.
        if second % HOUR < 30 {
            out.push(said(second, "batch", 301, Level::Info, "hourly report written"));
        }
        let night = 2 * HOUR + (second / DAY) % 4 * 240;
        if (night..night + 600).contains(&(second % DAY)) {
            for _ in 0..5 {
                out.push(said(second, "batch", 302, Level::Info, "archived order 7781"));
            }
        }
    }

    fn worker(&mut self, second: i64, out: &mut Vec<Said>) {
        for kind in 0..4 {
            for _ in 0..self.dice.poisson(0.4 * self.mood) {
                out.push(said(
                    second,
                    "worker",
                    400 + kind,
                    Level::Info,
                    &format!("job done in queue-{kind}"),
                ));
            }
            for _ in 0..self.dice.poisson(0.004) {
                out.push(said(
                    second,
                    "worker",
                    410 + kind,
                    Level::Warn,
                    &format!("job retried in queue-{kind}"),
                ));
            }
        }
    }

    /// Messages that come once in a while: each service has a long tail of them.
    fn rare(&mut self, second: i64, out: &mut Vec<Said>) {
        if self.dice.below(5_000) == 0 {
            // Frequent ones of the tail come often enough to be known soon.
            let rank = (30.0_f64.powf(self.dice.unit())) as u32;
            out.push(said(
                second,
                "api",
                500 + rank,
                Level::Info,
                &format!("cache segment of kind {rank} rebuilt"),
            ));
        }
    }
}

/// What is done to the company, in seconds from the start.
type Tamper<'a> = &'a dyn Fn(i64, &mut Vec<Said>, &mut Dice);

/// Verdicts about seconds `0..until`, told in batches of a minute; one record of twenty comes up to two minutes late.
fn live(seed: u64, until: i64, tamper: Tamper<'_>) -> Vec<Verdict> {
    let mut detector = Templates::new(&DetectConfig::default());
    let (mut company, mut dice) = (Company::new(seed), Dice(seed + 1));
    let (mut verdicts, mut delayed, mut now) = (Vec::new(), Vec::new(), Vec::new());
    for second in 0..until {
        let mut lines = Vec::new();
        company.second(second, &mut lines);
        tamper(second, &mut lines, &mut dice);
        for line in lines {
            if dice.below(20) == 0 {
                delayed.push((second + dice.below(120) as i64, line));
            } else {
                now.push(line);
            }
        }
        if second % 60 == 59 {
            now.extend(delayed.extract_if(.., |(due, _)| *due <= second).map(|(_, line)| line));
            let batch = batch_of((second / 60 + 1) as u64, second + 1, &now);
            let mut out = Findings::default();
            detector.observe(&Observed { tenant: &Tenant::default(), batch: &batch }, &mut out);
            verdicts.append(&mut out.verdicts);
            now.clear();
        }
    }
    verdicts
}

/// A nightly job that is new is told twice and then known; an error that bursts every night is told every time.
#[test]
fn what_comes_back_every_night_becomes_usual_unless_it_is_an_error() {
    let nightly = |second: i64, out: &mut Vec<Said>, _: &mut Dice| {
        if second > 2 * DAY && (3 * HOUR..3 * HOUR + 900).contains(&(second % DAY)) {
            out.push(said(second, "worker", 402, Level::Info, "job done in queue-2"));
            out.push(said(second, "worker", 402, Level::Info, "job done in queue-2"));
            out.push(said(second, "api", 150, Level::Error, "upstream timed out after 3000 ms"));
        }
    };
    let verdicts = live(4, 8 * DAY, &nightly);
    let nights = |rule: &str| {
        let days =
            verdicts.iter().filter(|v| v.rule == rule).map(|v| (v.time.0 / NS_PER_SECOND - START) / DAY);
        let mut days: Vec<i64> = days.collect();
        days.dedup();
        days
    };
    assert_eq!(nights("templates.rate_up"), [2, 3]);
    assert_eq!(nights("templates.error_burst"), [2, 3, 4, 5, 6, 7]);
}

/// Templates that turn out to be one are neither new nor gone.
#[test]
fn joined_templates_go_on_as_one() {
    let lines = |second: i64, joined: bool| {
        let mut lines: Vec<Said> = (0..10)
            .map(|n| said(second + n, "s", if joined || n % 2 == 0 { 1 } else { 2 }, Level::Info, "closed"))
            .collect();
        lines.push(said(second, "t", 9, Level::Info, "alive"));
        lines
    };
    let mut detector = Templates::new(&DetectConfig::default());
    let mut verdicts = Vec::new();
    for minute in 0..3 * 1_440_i64 {
        let joined = minute >= 2 * 1_440;
        let mut batch = batch_of(minute.cast_unsigned() + 1, minute * 60 + 60, &lines(minute * 60, joined));
        if minute == 2 * 1_440 {
            let mined = batch.mined.as_mut().unwrap();
            mined.joined = vec![Joined { row: 3, from: 2, into: 1 }];
        }
        let mut out = Findings::default();
        detector.observe(&Observed { tenant: &Tenant::default(), batch: &batch }, &mut out);
        verdicts.append(&mut out.verdicts);
    }
    assert!(verdicts.is_empty(), "{}", verdicts.iter().map(told).collect::<Vec<_>>().join("\n"));
    assert_eq!(detector.templates, 2);
}

/// A service that makes up templates without end is bounded, and does not make them new again by forgetting them.
#[test]
fn templates_without_end_are_bounded() {
    let mut config = DetectConfig::default();
    (config.templates.templates_max, config.templates.templates_total_max) = (100, 150);
    let mut detector = Templates::new(&config);
    for minute in 0..200_u32 {
        let lines: Vec<Said> = (0..50)
            .map(|n| {
                let service = ["a", "b", "c"][n as usize % 3];
                said(i64::from(minute) * 60 + i64::from(n), service, minute * 50 + n + 1, Level::Info, "x")
            })
            .collect();
        let batch = batch_of(u64::from(minute) + 1, i64::from(minute) * 60 + 60, &lines);
        let mut out = Findings::default();
        detector.observe(&Observed { tenant: &Tenant::default(), batch: &batch }, &mut out);
        assert!(out.verdicts.len() <= 3, "{}", out.verdicts.len());
    }
    assert!(detector.templates <= 150, "{}", detector.templates);
    assert_eq!(detector.counters().evicted, 200 * 50 - detector.templates as u64);
    assert_eq!(detector.counters().late, 0);
}

fn told(verdict: &Verdict) -> String {
    let second = verdict.time.0 / NS_PER_SECOND - START;
    format!(
        "day {} {:02}:{:02} {} {} | {}",
        second / DAY,
        second % DAY / HOUR,
        second % HOUR / 60,
        verdict.severity,
        verdict.rule,
        verdict.summary
    )
}

#[test]
fn a_quiet_fortnight_wakes_nobody() {
    for seed in SEEDS {
        let verdicts = live(seed, 14 * DAY, &|_, _, _| {});
        let list = verdicts.iter().map(told).collect::<Vec<_>>().join("\n");
        let loud = verdicts.iter().filter(|verdict| verdict.severity > Severity::Normal).count();
        // Four services: the aim is less than one verdict per service and day, of any severity.
        println!("seed {seed}: {loud} loud, {} in all\n{list}", verdicts.len());
        assert!(loud <= 2 && verdicts.len() <= 20, "{loud} loud of {}\n{list}", verdicts.len());
    }
}

/// Start and end of what is done, the rule that must tell, and of whom.
const DONE: &[(i64, i64, &str, &str)] = &[
    (7 * DAY + 3 * HOUR + 17 * 60, 60, "templates.new", "api"),
    (7 * DAY + 6 * HOUR, 6 * HOUR, "templates.vanished", "batch"),
    (7 * DAY + 10 * HOUR, 2 * HOUR, "templates.rate_up", "api"),
    (7 * DAY + 13 * HOUR, 60, "templates.value_unseen", "auth"),
    (7 * DAY + 15 * HOUR, HOUR, "templates.level_mix", "worker"),
    (7 * DAY + 18 * HOUR, 600, "templates.error_burst", "api"),
    (7 * DAY + 20 * HOUR, 120, "templates.user_rate", "u7"),
    (8 * DAY + 2 * HOUR, 60, "templates.new_quiet", "worker"),
    (8 * DAY + 12 * HOUR, 2 * HOUR, "templates.rate_down", "worker"),
];

fn tamper(second: i64, out: &mut Vec<Said>, dice: &mut Dice) {
    let during = |at: usize| (DONE[at].0..DONE[at].0 + DONE[at].1).contains(&second);
    if during(0) && second % 10 == 0 {
        out.push(said(second, "api", 900, Level::Error, "cannot decrypt session: bad key id 7"));
    }
    if during(1) {
        out.retain(|line| line.template != 300);
    }
    if during(2) {
        let more: Vec<Said> = out.iter().filter(|line| line.template == 101).cloned().collect();
        (0..4).for_each(|_| out.extend_from_slice(&more));
    }
    if during(3) && second % 60 == 30 {
        let line = "login of u5 ok method=saml from 10.0.3.7";
        out.push(said(second, "auth", 200, Level::Info, line));
    }
    if during(4) {
        for kind in 0..4 {
            for _ in 0..dice.poisson(0.2) {
                let line = format!("job retried in queue-{kind}");
                out.push(said(second, "worker", 410 + kind, Level::Warn, &line));
            }
        }
    }
    if during(5) {
        out.push(said(second, "api", 150, Level::Error, "upstream timed out after 3000 ms"));
    }
    if during(6) {
        for _ in 0..25 {
            let line = said(second, "api", 103, Level::Info, "handled route-3 status=200 for u7");
            out.push(Said { user: Some("u7".to_owned()), ..line });
        }
    }
    if during(7) && second % 30 == 0 {
        out.push(said(second, "worker", 901, Level::Info, "index compacted"));
    }
    if during(8) {
        out.retain(|line| line.template != 402 || second % 10 == 0);
    }
}

#[test]
fn all_that_is_done_is_found_and_little_else() {
    for seed in SEEDS {
        let verdicts = live(seed, 9 * DAY, &tamper);
        let list = verdicts.iter().map(told).collect::<Vec<_>>().join("\n");
        println!("seed {seed}:\n{list}");
        // Half an hour for what must be missed before it is told.
        let second = |verdict: &Verdict| verdict.time.0 / NS_PER_SECOND - START;
        let is_during = |verdict: &Verdict, start: i64, lasts: i64| {
            (start..start + lasts.max(2_400)).contains(&second(verdict))
        };
        for (start, lasts, rule, entity) in DONE {
            let found = verdicts.iter().find(|verdict| {
                verdict.rule == *rule && verdict.entity.value == *entity && is_during(verdict, *start, *lasts)
            });
            let Some(found) = found else { panic!("seed {seed}: no {rule} of {entity}\n{list}") };
            assert!(
                found.baseline.is_some() && !found.mitigation.is_empty() && !found.evidence.is_empty(),
                "{found:?}"
            );
            assert!(found.features.len() >= 2 && (0.0..=1.0).contains(&found.score), "{found:?}");
        }
        let wrong: Vec<&Verdict> = verdicts
            .iter()
            .filter(|verdict| verdict.severity > Severity::Normal)
            .filter(|verdict| {
                !DONE.iter().any(|(start, lasts, ..)| is_during(verdict, *start, *lasts + 1_800))
            })
            .collect();
        assert!(wrong.len() <= 2, "seed {seed}: {} wrong\n{list}", wrong.len());
    }
}

/// Two days, in the last hours of which a heartbeat stops and an error bursts, in batches of the given numbers of rows in
/// turn.
fn replayed(sizes: &[usize], restore_every: usize) -> (Vec<Verdict>, Vec<u8>) {
    let mut company = Company { deploys: vec![20 * HOUR], ..Company::new(5) };
    let mut lines = Vec::new();
    let from = 2 * DAY - 6 * HOUR;
    for second in 0..2 * DAY {
        company.second(second, &mut lines);
        if second >= from && second % 4 == 0 {
            lines.push(said(second, "api", 150, Level::Error, "upstream timed out after 3000 ms"));
        }
    }
    lines.retain(|line| line.second < from || line.template != 300);
    let config = DetectConfig::default();
    let mut detector = Templates::new(&config);
    let (mut verdicts, mut from, mut turn) = (Vec::new(), 0, 0);
    while from < lines.len() {
        let to = (from + sizes[turn % sizes.len()]).min(lines.len());
        let mut batch = batch_of(1, 2 * DAY, &lines[from..to]);
        batch.base = Position::new(1, u32::try_from(from).unwrap());
        let mut out = Findings::default();
        detector.observe(&Observed { tenant: &Tenant::default(), batch: &batch }, &mut out);
        verdicts.append(&mut out.verdicts);
        (from, turn) = (to, turn + 1);
        if restore_every > 0 && turn % restore_every == 0 {
            let saved = detector.snapshot();
            detector = Templates::new(&config);
            detector.restore(&saved).unwrap();
            assert_eq!(detector.snapshot(), saved);
        }
    }
    (verdicts, detector.snapshot())
}

#[test]
fn grouping_of_rows_and_restarts_change_nothing() {
    let (verdicts, state) = replayed(&[1_000], 0);
    assert!(verdicts.iter().any(|verdict| verdict.rule == "templates.error_burst"));
    assert!(verdicts.iter().any(|verdict| verdict.rule == "templates.vanished"));
    assert!(replayed(&[1, 77, 4_000], 0) == (verdicts.clone(), state.clone()));
    assert!(replayed(&[3_000], 3) == (verdicts, state));
}
