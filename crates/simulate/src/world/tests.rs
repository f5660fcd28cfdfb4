//! The world as its users see it: bytes, order, truth.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::*;
use crate::event::{Level, SampleEvent};
use crate::scenario::{ATTACKER_IP, ScheduledIncident};

/// 2026-02-09 20:25:01 UTC, a Monday.
const START_NS: i64 = 1_770_668_701_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

fn quiet() -> WorldConfig {
    WorldConfig::new(42, START_NS)
}

/// A world with one incident from second 10 to second 50.
fn with(kind: IncidentKind) -> WorldConfig {
    let incident = ScheduledIncident {
        kind,
        service: kind.usual_service(),
        starts_after: Duration::from_secs(10),
        duration: Duration::from_secs(40),
    };
    WorldConfig { scenario: Scenario { incidents: vec![incident] }, ..quiet() }
}

fn live(config: &WorldConfig, seconds: i64) -> Vec<Event> {
    let mut events = Vec::new();
    World::new(config).unwrap().advance(START_NS + seconds * SECOND_NS, &mut |event| events.push(event));
    events
}

fn json(events: &[Event]) -> String {
    let mut out = Vec::new();
    for event in events {
        event.write_json(&mut out);
        out.push(b'\n');
    }
    String::from_utf8(out).unwrap()
}

fn logs(events: &[Event]) -> impl Iterator<Item = &LogEvent> {
    events.iter().filter_map(|event| match event {
        Event::Log(log) => Some(&**log),
        Event::Sample(_) => None,
    })
}

fn samples<'a>(
    events: &'a [Event],
    service: Service,
    name: &'a str,
) -> impl Iterator<Item = &'a SampleEvent> {
    events.iter().filter_map(move |event| match event {
        Event::Sample(sample) if sample.service == service && sample.name == name => Some(sample),
        _ => None,
    })
}

#[test]
fn the_same_seed_tells_the_same_story_however_it_is_cut() {
    let config = WorldConfig { scenario: Scenario::demo(), ..quiet() };
    let whole = json(&live(&config, 90));
    let mut cut = Vec::new();
    let mut world = World::new(&config).unwrap();
    for ms in (0..=90_000).step_by(37).chain([90_000]) {
        world.advance(START_NS + ms * 1_000_000, &mut |event| cut.push(event));
    }
    assert_eq!(world.now_ns(), START_NS + 90 * SECOND_NS);
    assert_eq!(whole, json(&cut));
    assert_ne!(whole, json(&live(&WorldConfig { seed: 43, ..config }, 90)));
}

#[test]
fn time_never_goes_back() {
    let events = live(&WorldConfig { scenario: Scenario::demo(), ..quiet() }, 130);
    assert!(events.is_sorted_by_key(Event::timestamp_ns));
    let range = START_NS..START_NS + 130 * SECOND_NS;
    assert!(events.iter().all(|event| range.contains(&event.timestamp_ns())));
}

#[test]
fn every_line_is_json_with_its_fields() {
    let events = live(&WorldConfig { scenario: Scenario::demo(), ..quiet() }, 60);
    for (event, line) in events.iter().zip(json(&events).lines().map(serde_json::from_str::<Value>)) {
        let value = line.unwrap();
        let (texts, numbers): (&[&str], &[&str]) = match event {
            Event::Log(_) => (
                &["timestamp", "level", "service", "instance", "region", "environment", "host", "message"],
                &[],
            ),
            Event::Sample(_) => (&["timestamp", "service", "name"], &["value"]),
        };
        assert!(
            texts.iter().all(|name| value[name].as_str().is_some_and(|text| !text.is_empty())),
            "{value}"
        );
        assert!(numbers.iter().all(|name| value[name].is_number()), "{value}");
        let time: jiff::Timestamp = value["timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(time.as_nanosecond(), i128::from(event.timestamp_ns()));
    }
}

#[test]
fn every_parent_is_a_span_of_its_trace() {
    let end_ns = START_NS + 50 * SECOND_NS;
    let events = live(&quiet(), 60);
    let mut spans: HashMap<_, HashSet<_>> = HashMap::new();
    for log in logs(&events) {
        if let (Some(trace), Some(span)) = (log.trace_id, log.span_id) {
            spans.entry(trace).or_default().insert(span);
        }
    }
    let mut services: HashMap<_, HashSet<Service>> = HashMap::new();
    let mut children = 0;
    for log in logs(&events).filter(|log| log.timestamp_ns < end_ns) {
        let Some(trace) = log.trace_id else { continue };
        services.entry(trace).or_default().insert(log.service);
        if let Some(parent) = log.parent_span_id {
            children += 1;
            assert!(spans[&trace].contains(&parent), "{log:?}");
        }
    }
    assert!(children > 1_000, "{children} calls made by others");
    assert!(services.values().filter(|seen| seen.len() >= 3).count() > 100, "requests cross services");
}

/// Whether the trace of an incident is in the events: the same question for the troubled and the quiet world.
fn is_visible(kind: IncidentKind, events: &[Event]) -> bool {
    let service = kind.usual_service();
    let of_service = || logs(events).filter(|log| log.service == service);
    let peak = |name| samples(events, service, name).map(|sample| sample.value).fold(0.0, f64::max);
    match kind {
        IncidentKind::BruteForce => {
            let attacker = ATTACKER_IP.to_string();
            let over_ssh = of_service().filter(|log| {
                log.message.starts_with("Failed password for") && log.message.contains(&attacker)
            });
            let by_login =
                of_service().filter(|log| log.source_ip == Some(ATTACKER_IP) && log.status == Some(401));
            let inside = of_service().any(|log| log.message.contains("Accepted password for deploy"));
            over_ssh.count() > 50 && by_login.count() > 50 && inside
        }
        IncidentKind::MetricFlood => {
            let beyond =
                samples(events, service, "requests_per_second").filter(|sample| sample.value > 5_000.0);
            beyond.count() > 40 * 2_000
        }
        IncidentKind::ErrorBurst => {
            let errors = of_service().filter(|log| log.level == Level::Error).count();
            2 * errors > of_service().count() && peak("error_rate") > 0.5
        }
        IncidentKind::CpuClimb => peak("cpu_usage") > 98.0,
        IncidentKind::MemoryClimb => peak("memory_usage") > 97.0,
        IncidentKind::SlowDependency => {
            let callers = samples(events, Service::OrderApi, "latency_ms");
            peak("latency_ms") > 100.0 && callers.map(|sample| sample.value).fold(0.0, f64::max) > 100.0
        }
        IncidentKind::DiskFilling => {
            peak("disk_usage") > 97.0
                && of_service().any(|log| log.message.contains("No space left on device"))
        }
    }
}

#[test]
fn incidents_show_and_the_quiet_world_is_quiet() {
    let ordinary = live(&quiet(), 60);
    for kind in IncidentKind::ALL {
        assert!(is_visible(kind, &live(&with(kind), 60)), "{kind:?} shows");
        assert!(!is_visible(kind, &ordinary), "no {kind:?} in the quiet world");
    }
}

#[test]
fn the_quiet_world_stays_within_three_deviations() {
    let events = live(&quiet(), 600);
    for service in Service::ALL {
        for name in ["cpu_usage", "requests_per_second", "latency_ms", "error_rate"] {
            let values: Vec<f64> = samples(&events, service, name).map(|sample| sample.value).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let deviation =
                (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
            let furthest = values.iter().map(|x| (x - mean).abs()).fold(0.0, f64::max);
            assert!(furthest <= 3.0 * deviation.max(0.001), "{service} {name}: {furthest} of {deviation}");
        }
    }
}

#[test]
fn the_truth_is_known() {
    let world = World::new(&WorldConfig { scenario: Scenario::demo(), ..quiet() }).unwrap();
    let told: Vec<String> = world
        .incidents()
        .iter()
        .map(|i| format!("{} {} {}s", i.expected_rules[0], i.entity, (i.start_ns - START_NS) / SECOND_NS))
        .collect();
    let expected = [
        "auth. 203.0.113.5 20s",
        "threshold.cpu euw1-search-api-01 45s",
        "error_rate. PAYMENT-GATEWAY 75s",
        "flood. EDGE-LOAD-BALANCER 110s",
        "zscore.latency_ms CORE-DB 130s",
        "threshold.memory euw1-recommender-01 155s",
        "threshold.disk euw1-object-store-01 180s",
    ];
    assert_eq!(told, expected);
    assert!(World::new(&quiet()).unwrap().incidents().is_empty());
}

#[test]
fn mistakes_are_named() {
    let rate = World::new(&WorldConfig { traces_per_second: f64::NAN, ..quiet() }).unwrap_err();
    assert_eq!(rate.to_string(), "`traces_per_second` must be between 0 and 100,000");
    let late = WorldConfig { start_ns: i64::MAX, scenario: Scenario::demo(), ..quiet() };
    assert_eq!(World::new(&late).unwrap_err(), SimulateError::TimeTooFar);
    let endless = Scenario::demo().repeated(u32::MAX, Duration::from_secs(300));
    assert!(World::new(&WorldConfig { scenario: endless, ..quiet() }).is_err());
}

#[test]
fn a_remedy_ends_what_it_cures_and_nothing_else() {
    for kind in IncidentKind::ALL {
        let mut world = World::new(&with(kind)).unwrap();
        world.advance(START_NS + 20 * SECOND_NS, &mut |_| {});
        let entity = Target::Entity(world.incidents()[0].entity.clone());
        for remedy in Remedy::ALL.into_iter().filter(|remedy| !remedy.cures(kind)) {
            assert!(world.heal(&entity, remedy).is_empty(), "{remedy:?} does not cure {kind:?}");
        }
        assert!(world.heal(&Target::Entity("elsewhere".to_owned()), Remedy::Restart).is_empty());
        let cure = Remedy::ALL.into_iter().find(|remedy| remedy.cures(kind)).unwrap();
        let ended = world.heal(&entity, cure);
        assert_eq!(ended.len(), 1, "{cure:?} cures {kind:?}");
        assert_eq!(world.incidents()[0].end_ns, START_NS + 20 * SECOND_NS);
        assert!(world.heal(&entity, cure).is_empty(), "what is over is not ended again");
    }
}

#[test]
fn after_a_remedy_the_world_is_as_quiet_as_one_without_the_incident() {
    let ended_at = START_NS + 20 * SECOND_NS;
    let mut world = World::new(&with(IncidentKind::BruteForce)).unwrap();
    world.advance(ended_at, &mut |_| {});
    world.heal(&Target::Entity(ATTACKER_IP.to_string()), Remedy::BlockSource);
    let (mut healed, mut calm) = (Vec::new(), Vec::new());
    world.advance(START_NS + 60 * SECOND_NS, &mut |event| healed.push(event));
    let mut other = World::new(&quiet()).unwrap();
    other.advance(ended_at, &mut |_| {});
    other.advance(START_NS + 60 * SECOND_NS, &mut |event| calm.push(event));
    assert_eq!(json(&healed), json(&calm));
}
