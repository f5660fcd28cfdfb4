use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000_000_000;

/// Noise of a fixed sequence, even between 0 and 1.
struct Noise(u64);

impl Noise {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Close to normal: mean 0, deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

fn with(methods: &[Method]) -> Settings {
    ScorerConfig { methods: methods.to_vec(), ..ScorerConfig::default() }.check().unwrap()
}

/// Scores of values five minutes apart.
fn scores(settings: &Settings, values: impl IntoIterator<Item = f64>) -> Vec<Scored> {
    let mut scorer = Scorer::new(settings);
    (0..).zip(values).map(|(n, value)| scorer.observe(settings, n * 5 * MINUTE, value)).collect()
}

fn anomalies(scored: &[Scored]) -> Vec<usize> {
    (0..).zip(scored).filter(|(_, scored)| scored.is_anomaly).map(|(at, _)| at).collect()
}

#[test]
fn cold_series_are_silent() {
    let values = (0..50).map(|n| if n == 49 { 1e9 } else { f64::from(n % 3) });
    assert!(scores(&Settings::default(), values).iter().all(|scored| scored.score == 0.0));
}

#[test]
fn a_spike_and_a_new_level_are_one_finding_each() {
    let mut noise = Noise(7);
    let values: Vec<f64> = (0..4_000)
        .map(|n| match n {
            2_000 => 90.0,
            3_000.. => 80.0 + noise.normal(),
            _ => 50.0 + noise.normal(),
        })
        .collect();
    let scored = scores(&Settings::default(), values);
    let found = anomalies(&scored);
    assert!(found.contains(&2_000) && found.iter().any(|at| (3_000..3_005).contains(at)), "{found:?}");
    assert!(found.len() <= 5, "{found:?}");
    assert_eq!(scored[2_000].severity, Severity::Critical);
    assert!((scored[2_000].expected - 50.0).abs() < 2.0 && scored[2_000].spread < 3.0);
    assert_eq!(scored[3_900].severity, Severity::Normal, "the new level is learnt");
}

#[test]
fn each_method_finds_what_it_is_for() {
    let mut noise = Noise(11);
    let daily = |n: usize| if n % 288 < 144 { 10.0 } else { 50.0 };
    let values: Vec<f64> = (0..6_000)
        .map(|n| noise.normal() + if (4_860..4_896).contains(&n) { 60.0 - daily(n) } else { daily(n) })
        .collect();
    for (method, finds) in [(Method::Seasonal, true), (Method::Mad, false), (Method::Ewma, false)] {
        let found = anomalies(&scores(&with(&[method]), values.iter().copied()));
        let hit = found.iter().any(|at| (4_860..4_896).contains(at));
        assert_eq!(hit, finds, "{method:?}: the wrong half of the day, {found:?}");
    }
    let mut noise = Noise(13);
    let shifted: Vec<f64> = (0..4_000).map(|n| noise.normal() + if n >= 3_000 { 1.5 } else { 0.0 }).collect();
    let found = anomalies(&scores(&with(&[Method::Changepoint]), shifted));
    assert!(found.iter().any(|at| (3_000..3_100).contains(at)), "a small change that lasts: {found:?}");
}

/// What a fixed threshold costs: findings in series where there is nothing to find.
#[test]
fn the_alarm_rate_on_clean_series_is_as_stated() {
    let days = |n: usize| (std::f64::consts::TAU * n as f64 / 288.0).sin();
    type Make = fn(f64, f64, f64) -> f64;
    let kinds: [(&str, Make); 6] = [
        ("normal", |_, normal, _| 100.0 + 5.0 * normal),
        ("heavy tails", |_, normal, _| (1.5 * normal).exp()),
        ("daily", |day, normal, _| 100.0 + 30.0 * day + 3.0 * normal),
        ("constant", |_, _, _| 42.0),
        ("counts", |_, normal, _| (3.0 + normal).max(0.0).floor()),
        ("slow", |_, _, slow| 100.0 + slow),
    ];
    for (kind, make) in kinds {
        let (mut noise, mut slow) = (Noise(3), 0.0);
        let values: Vec<f64> = (0..50_000)
            .map(|n| {
                let normal = noise.normal();
                slow = 0.95 * slow + normal;
                make(days(n), normal, slow)
            })
            .collect();
        let found = anomalies(&scores(&Settings::default(), values)).len();
        println!("{kind}: {found} findings in 50,000 values");
        assert!(found <= 100, "{kind}: {found} of 50,000");
    }
}

#[test]
fn an_alarm_is_the_alarm_score() {
    let settings = Settings::default();
    assert!((settings.score(settings.alarm_bits) - ALARM_SCORE).abs() < 1e-12);
    let mut noise = Noise(5);
    let values = (0..20_000).map(|_| if noise.next() < 0.002 { 100.0 * noise.next() } else { noise.next() });
    for scored in scores(&settings, values.collect::<Vec<_>>()) {
        assert_eq!(scored.is_anomaly, scored.score >= ALARM_SCORE - 1e-12, "{scored:?}");
        assert!((0.0..=1.0).contains(&scored.score));
    }
}

#[test]
fn configurations_that_cannot_work_are_named() {
    let check = |config: ScorerConfig, key: &str| assert_eq!(config.check().unwrap_err().key, key);
    check(ScorerConfig { methods: vec![], ..ScorerConfig::default() }, "methods");
    check(ScorerConfig { methods: vec![Method::Mad, Method::Mad], ..ScorerConfig::default() }, "methods");
    check(ScorerConfig { alarm_bits: f64::NAN, ..ScorerConfig::default() }, "alarm_bits");
    let config: ScorerConfig =
        serde_json::from_str(r#"{"methods":["mad","ewma","changepoint","seasonal"]}"#).unwrap();
    assert_eq!(config.check().unwrap().methods().len(), 4);
    assert_eq!(ScorerConfig::default().check().unwrap(), Settings::default());
}

#[test]
fn memory_is_as_stated() {
    let settings = Settings::default();
    let mut scorer = Scorer::new(&settings);
    (0..20_000).for_each(|n| {
        scorer.observe(&settings, n * 5 * MINUTE, (n % 77) as f64);
    });
    assert!(scorer.bytes() <= 2_048, "{}", scorer.bytes());
}

#[test]
fn broken_states_are_refused() {
    let text = serde_json::to_string(&Scorer::new(&with(&[Method::Mad]))).unwrap();
    assert!(serde_json::from_str::<Scorer>(&text).is_ok());
    let broken = text.replace(r#""recent":[]"#, r#""recent":[0]"#);
    assert!(broken != text && serde_json::from_str::<Scorer>(&broken).is_err());
}

proptest! {
    #[test]
    fn anything_may_come_and_serde_is_exact(
        values in prop::collection::vec(prop_oneof![-1e3f64..1e3, prop::num::f64::ANY], 1..400),
        times in prop::collection::vec(any::<i64>(), 400),
        cut in 0usize..400,
    ) {
        let settings = with(&[Method::Mad, Method::Ewma, Method::Changepoint, Method::Seasonal]);
        let mut scorer = Scorer::new(&settings);
        let mut restored = None;
        for (at, (value, time)) in values.iter().zip(&times).enumerate() {
            if at == cut.min(values.len() / 2) {
                let text = serde_json::to_string(&scorer).unwrap();
                restored = Some(serde_json::from_str::<Scorer>(&text).unwrap());
            }
            let scored = scorer.observe(&settings, *time, *value);
            prop_assert!((0.0..=1.0).contains(&scored.score), "{scored:?}");
            prop_assert!(scored.expected.is_finite() && scored.spread.is_finite(), "{scored:?}");
            if let Some(restored) = &mut restored {
                prop_assert_eq!(restored.observe(&settings, *time, *value), scored);
            }
        }
    }
}
