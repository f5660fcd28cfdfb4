//! Findings as verdicts: what a person reads.

use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Baseline, Entity, Feature, Level, Position, Severity, Timestamp, Verdict};

use super::mix::Shifted;
use super::service::{Changed, EXAMPLES_MAX, Finding, Fresh, burst_severity, record_ids};
use super::users::Fast;
use super::values::Unusual;
use crate::arrival::{self, short, steps};
use crate::config::TemplatesConfig;
use crate::detector::Observed;

/// Templates of one report that contribute a feature each.
const WEIGHTS_MAX: usize = 5;
/// Evidence of one report.
const EVIDENCE_MAX: usize = heimdall_model::verdict::EVIDENCE_MAX;

/// The record that completed the findings, and the service they are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion<'a> {
    pub(super) observed: &'a Observed<'a>,
    pub(super) service: &'a str,
    pub(super) time: i64,
    pub(super) position: Position,
}

/// A verdict of the parts that all have.
struct Draft {
    rule: &'static str,
    title: String,
    severity: Severity,
    score: f64,
    summary: String,
    baseline: Option<Baseline>,
    features: Vec<Feature>,
    evidence: Vec<(i64, u64)>,
    mitigation: Vec<String>,
}

impl Occasion<'_> {
    fn verdict(&self, draft: Draft, entity: Entity) -> Verdict {
        let Draft { mut evidence, .. } = draft;
        // The record that completed a finding about a block that is over may be of another service: no evidence.
        evidence.sort_unstable();
        evidence.dedup();
        let from = evidence.len().saturating_sub(EVIDENCE_MAX);
        Verdict {
            tenant: self.observed.tenant.clone(),
            detector: super::NAME.to_owned(),
            rule: draft.rule.to_owned(),
            title: draft.title,
            severity: draft.severity,
            score: draft.score,
            entity,
            service: Some(self.service.to_owned()),
            time: Timestamp(self.time),
            position: self.position,
            summary: draft.summary,
            baseline: draft.baseline,
            features: draft.features,
            evidence: record_ids(&evidence[from..]),
            mitigation: draft.mitigation,
        }
    }

    /// The verdict of a finding.
    pub(super) fn tell(&self, finding: Finding, config: &TemplatesConfig) -> Verdict {
        let service = self.service;
        let draft = match finding {
            Finding::New { fresh, known, is_loud, usual_per_hour } => {
                new(service, fresh, known, is_loud, usual_per_hour)
            }
            Finding::Vanished { stopped, all } => vanished(service, &stopped, all, config),
            Finding::Shift { changed } => shift(service, &changed),
            Finding::Burst(changed) => burst(service, &changed),
            Finding::Value { unusual, example, cluster, level, at } => {
                let about = About { service, example: &example, cluster, level };
                Draft { evidence: vec![at], ..value(&about, unusual, config) }
            }
            Finding::Mix(shifted, evidence) => Draft { evidence, ..mix(service, &shifted) },
        };
        self.verdict(draft, Entity::new("service", service))
    }

    /// The verdict about a user that is too fast.
    pub(super) fn tell_fast(&self, kind: &str, name: &str, fast: &Fast) -> Verdict {
        let count = f64::from(fast.count);
        let own = fast.own.map_or_else(String::new, |own| format!(", its own usual rate {}", short(own)));
        let draft = Draft {
            rule: "templates.user_rate",
            title: "Faster than any user".to_owned(),
            severity: Severity::Warning,
            score: arrival::score(count, fast.bound),
            summary: format!(
                "{name} did more than {} actions in {} within one minute; 99.9 % of its users' minutes have at most {}{own}",
                short(fast.bound.floor()),
                self.service,
                short(fast.peers)
            ),
            baseline: Some(Baseline {
                mean: fast.own.unwrap_or(fast.peers),
                stddev: 0.0,
                samples: fast.minutes.into(),
                threshold: fast.bound,
                observed: count,
            }),
            features: features(&[
                ("actions_in_minute", count),
                ("peers_p999_per_minute", fast.peers),
                ("times_peers", count / fast.peers.max(1.0)),
                ("times_own", fast.own.map_or(0.0, |own| count / own.max(1.0))),
            ]),
            evidence: vec![(self.time, self.position.0)],
            mitigation: vec![
                format!("See what it does: `{kind}={name}` over the last minutes, by template"),
                "If it is a script or stolen credentials: throttle it, end its sessions, ask its owner"
                    .to_owned(),
                "If it is a known robot: it becomes its own baseline within an hour".to_owned(),
            ],
        };
        self.verdict(draft, Entity::new(kind, name))
    }
}

fn new(service: &str, fresh: Fresh, known: usize, is_loud: bool, usual_per_hour: f64) -> Draft {
    let level = level_name(fresh.worst);
    let count = f64::from(fresh.count);
    let what =
        if fresh.count == 1 { "a message".to_owned() } else { format!("{} kinds of message", fresh.count) };
    let flood = match fresh.flood {
        0 => String::new(),
        records => format!(" (more than {records} times within five minutes)"),
    };
    let severity = if is_loud { Severity::Warning } else { Severity::Normal };
    let is_error = fresh.worst >= Level::Error.code();
    Draft {
        rule: if is_loud { "templates.new" } else { "templates.new_quiet" },
        title: if is_error { "New kind of error" } else { "New kind of message" }.to_owned(),
        severity,
        score: match (is_loud, is_error) {
            (true, true) => 0.8,
            (true, false) => 0.6,
            _ => 0.3,
        },
        summary: format!(
            "{service} logs {what} never heard before{flood}, level {level}: {}",
            quoted(&fresh.examples)
        ),
        baseline: Some(Baseline {
            mean: usual_per_hour,
            stddev: usual_per_hour.sqrt(),
            samples: known as u64,
            threshold: 0.0,
            observed: count,
        }),
        features: features(&[
            ("new_templates", count),
            ("known_templates", known as f64),
            ("usual_new_per_hour", usual_per_hour),
            ("records_in_5m", fresh.flood.into()),
            // How much of the judgement each part makes.
            ("weight_level", if fresh.flood > 0 { 0.3 } else { 0.7 }),
            ("weight_rate", if fresh.flood > 0 { 0.7 } else { 0.0 }),
            ("weight_novelty", if fresh.flood > 0 { 0.0 } else { 0.3 }),
        ]),
        evidence: fresh.evidence,
        mitigation: steps(&[
            "Read the example records and what the service logged around them",
            "Compare the time with its last deployment; a deploy event keeps this quiet (`event.kind`: `deploy`)",
            "If it is an error: search the message in the code, and check what the service calls",
        ]),
    }
}

fn vanished(service: &str, stopped: &[Changed], all: bool, config: &TemplatesConfig) -> Draft {
    let first = &stopped[0];
    let since = stopped.iter().map(|changed| changed.last).max().unwrap_or_default();
    let since = Timestamp(since - since.rem_euclid(NS_PER_SECOND)).to_string();
    let since = since.split_once('.').map_or(since.as_str(), |(seconds, _)| seconds);
    let subject = match (all, stopped.len()) {
        (true, _) => format!("{service} has gone silent: it logs nothing since {since} UTC; usual was"),
        (false, 1) => format!("{service} no longer logs, since {since} UTC,"),
        (false, n) => format!("{service} no longer logs {n} kinds of message, since {since} UTC, such as"),
    };
    let missing: f64 = stopped.iter().map(|changed| changed.deviation.mean).sum();
    let mut told = features(&[("records_missed", missing), ("tail_probability", first.deviation.chance)]);
    told.extend(weights(stopped, |changed| changed.deviation.mean));
    Draft {
        rule: "templates.vanished",
        title: if all { "Service gone silent" } else { "Message no longer logged" }.to_owned(),
        severity: Severity::Warning,
        score: if all { 0.9 } else { 0.7 },
        summary: format!("{subject} “{}”; {} records were expected meanwhile", first.example, short(missing)),
        baseline: Some(Baseline {
            mean: first.deviation.mean,
            stddev: first.deviation.stddev,
            samples: first.deviation.blocks.into(),
            threshold: config.tail_probability,
            observed: 0.0,
        }),
        features: told,
        evidence: evidence(stopped),
        mitigation: steps(&[
            "Check whether the process, its scheduler or its log shipper still runs",
            "See what the service logged last before the message stopped",
            "If the message was removed on purpose: nothing to do, it is no longer expected",
        ]),
    }
}

fn shift(service: &str, changed: &[Changed]) -> Draft {
    let excess = |changed: &Changed| (f64::from(changed.deviation.count) - changed.deviation.mean).abs();
    let mut sorted: Vec<&Changed> = changed.iter().collect();
    sorted.sort_by(|a, b| excess(b).total_cmp(&excess(a)).then(a.cluster.cmp(&b.cluster)));
    let first = sorted[0];
    let deviation = &first.deviation;
    let (count, mean) = (f64::from(deviation.count), deviation.mean);
    let is_more = count > mean;
    let times = if is_more { count / mean.max(0.1) } else { mean / count.max(1.0) };
    let direction = if is_more { "more" } else { "less" };
    let others = match changed.len() {
        1 => String::new(),
        n => format!(", and so for {} further kinds of message", n - 1),
    };
    let mut told = features(&[
        ("records_in_5m", count),
        ("expected_in_5m", mean),
        ("times_expected", count / mean.max(0.1)),
        ("tail_probability", deviation.chance),
        ("templates", changed.len() as f64),
    ]);
    told.extend(weights(changed, excess));
    Draft {
        rule: if is_more { "templates.rate_up" } else { "templates.rate_down" },
        title: format!("Message logged much {} often", if is_more { "more" } else { "less" }),
        severity: Severity::Warning,
        score: arrival::score(times, 3.0),
        summary: format!(
            "{service} logged “{}” {} times within five minutes, {} times {direction} than usual ({}){others}",
            first.example,
            deviation.count,
            short(times),
            short(mean)
        ),
        baseline: Some(baseline(first)),
        features: told,
        evidence: evidence(changed),
        mitigation: steps(&[
            "See whether load, a retry loop or a job explains it: chart the count of the template over the day",
            "Compare with deployments and with the services that call this one",
            "If it is the new normal: it is learnt by itself within an hour",
        ]),
    }
}

fn burst(service: &str, changed: &Changed) -> Draft {
    let deviation = &changed.deviation;
    let (count, mean) = (f64::from(deviation.count), deviation.mean);
    Draft {
        rule: "templates.error_burst",
        title: "Burst of one error".to_owned(),
        severity: burst_severity(changed.level, deviation),
        score: arrival::score(count / mean.max(1.0), 5.0),
        summary: format!(
            "{service} logged the {} “{}” {} times within five minutes; usual are {}",
            level_name(changed.level),
            changed.example,
            deviation.count,
            short(mean)
        ),
        baseline: Some(baseline(changed)),
        features: features(&[
            ("errors_in_5m", count),
            ("expected_in_5m", mean),
            ("times_expected", count / mean.max(1.0)),
            ("tail_probability", deviation.chance),
            ("weight_rate", 1.0),
        ]),
        evidence: changed.evidence.clone(),
        mitigation: steps(&[
            "Open the evidence records and their traces: what fails, for whom, since when?",
            "Check the dependency the message names, and the service's last deployment; roll back if they coincide",
            "Shed load or open a circuit breaker while the cause lasts",
        ]),
    }
}

/// The template a value stands in.
struct About<'a> {
    service: &'a str,
    example: &'a str,
    cluster: u32,
    level: u8,
}

fn value(about: &About<'_>, unusual: Unusual, config: &TemplatesConfig) -> Draft {
    let About { service, example, cluster, level } = about;
    let mitigation = steps(&[
        "Open the record: is the value possible, and who sent it?",
        "Search for the value in other services around the same time",
        "If it is legitimate: nothing to do, it is known from now on",
    ]);
    let (rule, title, summary, baseline, told) = match unusual {
        Unusual::Unseen { value, known, samples, stable_ns } => (
            "templates.value_unseen",
            "Value never seen before",
            format!(
                "{service} logged `{value}` where it only ever had {} (“{example}”; no new value for {})",
                list(&known),
                heimdall_model::time::format_duration(stable_ns / 60_000_000_000 * 60_000_000_000)
            ),
            Baseline {
                mean: 0.0,
                stddev: 0.0,
                samples: samples.into(),
                threshold: f64::from(config.value_samples_min),
                observed: 1.0,
            },
            vec![("known_values", known.len() as f64), ("samples", samples.into()), ("weight_value", 1.0)],
        ),
        Unusual::Takeover { value, share, usual, blocks } => (
            "templates.value_takeover",
            "One value takes over",
            format!(
                "`{value}` stands in at least {} % of the messages “{example}” of {service}; usually no value rules there",
                short(share * 100.0)
            ),
            Baseline { mean: usual, stddev: 0.0, samples: blocks.into(), threshold: 0.8, observed: share },
            vec![("share_min", share), ("usual_lead", usual), ("weight_value", 1.0)],
        ),
    };
    let mut told = features(&told);
    told.push(Feature { name: "template_id".to_owned(), value: f64::from(*cluster) });
    let is_serious = *level >= Level::Warn.code();
    Draft {
        rule,
        title: title.to_owned(),
        severity: Severity::Warning,
        score: if is_serious { 0.7 } else { 0.55 },
        summary,
        baseline: Some(baseline),
        features: told,
        evidence: Vec::new(),
        mitigation,
    }
}

fn mix(service: &str, shifted: &Shifted) -> Draft {
    let grown = |level: usize| shifted.now[level] - shifted.usual[level];
    let most = (0..shifted.now.len()).max_by(|a, b| grown(*a).total_cmp(&grown(*b))).unwrap_or(0);
    let bad = |shares: &[f64]| shares[usize::from(Level::Warn.code())..].iter().sum::<f64>();
    let is_worse = bad(&shifted.now) > bad(&shifted.usual);
    let name = |level: usize| level_name(u8::try_from(level).unwrap_or(0));
    let mut told = features(&[
        ("divergence_bits", shifted.divergence),
        ("g_statistic", shifted.g),
        ("records_in_5m", shifted.records.into()),
    ]);
    let parts = shifted.parts.iter().enumerate().filter(|(_, part)| **part > 0.0);
    told.extend(parts.map(|(level, part)| Feature {
        name: format!("weight_{}", name(level)),
        value: part / shifted.divergence,
    }));
    Draft {
        rule: "templates.level_mix",
        title: "Another mix of log levels".to_owned(),
        severity: if is_worse { Severity::Warning } else { Severity::Normal },
        score: arrival::score(shifted.divergence, shifted.bound),
        summary: format!(
            "{} % of {service}'s records are of level {}; usual are {} %",
            short(shifted.now[most] * 100.0),
            name(most),
            short(shifted.usual[most] * 100.0)
        ),
        baseline: Some(Baseline {
            mean: shifted.mean,
            stddev: shifted.stddev,
            samples: shifted.blocks.into(),
            threshold: shifted.bound,
            observed: shifted.divergence,
        }),
        features: told,
        evidence: Vec::new(),
        mitigation: steps(&[
            "See which messages make the difference: `stats count() by level, template`",
            "If errors or warnings rose: check dependencies and the last deployment",
            "If debug or trace rose: somebody raised the log level; set it back when done",
        ]),
    }
}

fn baseline(changed: &Changed) -> Baseline {
    let deviation = &changed.deviation;
    Baseline {
        mean: deviation.mean,
        stddev: deviation.stddev,
        samples: deviation.blocks.into(),
        threshold: deviation.bound,
        observed: deviation.count.into(),
    }
}

/// The part of every template in a finding about several.
fn weights(changed: &[Changed], part: impl Fn(&Changed) -> f64) -> Vec<Feature> {
    let total: f64 = changed.iter().map(&part).sum();
    let mut sorted: Vec<&Changed> = changed.iter().collect();
    sorted.sort_by(|a, b| part(b).total_cmp(&part(a)).then(a.cluster.cmp(&b.cluster)));
    let weight = |changed: &&Changed| Feature {
        name: format!("weight_template_{}", changed.cluster),
        value: part(changed) / total.max(f64::MIN_POSITIVE),
    };
    sorted.iter().take(WEIGHTS_MAX).map(weight).collect()
}

fn evidence(changed: &[Changed]) -> Vec<(i64, u64)> {
    changed.iter().flat_map(|changed| changed.evidence.iter().copied()).collect()
}

fn features(list: &[(&str, f64)]) -> Vec<Feature> {
    list.iter().map(|(name, value)| Feature { name: (*name).to_owned(), value: *value }).collect()
}

fn level_name(code: u8) -> &'static str {
    Level::from_code(code).map_or("none", Level::as_str)
}

fn quoted(examples: &[Box<str>]) -> String {
    examples.iter().take(EXAMPLES_MAX).map(|example| format!("“{example}”")).collect::<Vec<_>>().join(", ")
}

fn list(values: &[String]) -> String {
    if values.is_empty() {
        return "one other value".to_owned();
    }
    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
}
