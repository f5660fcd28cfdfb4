//! Signature rules over records: one scan of the message for all of them, then the rules that may match.
//!
//! Matches of a rule are counted per `by` (by default per entity) in a sliding window of event time; a rule without a
//! threshold needs one. A match that goes on is reported at most once per `repeat_every`, with the count so far.
//!
//! Invariant: new rules take effect with the next record, and what was counted for rules that stay is kept.
//! Cost: a scan of the message (about 1 ns a byte) for a record without any rule's literal; state as in `auth`, 24
//! bytes a match and 3 KiB a key at most.

use heimdall_model::batch::Row;
use heimdall_model::schema::{logs, metrics, spans};
use heimdall_model::{Dataset, Entity, Feature, FieldId, Target, Tenant, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use crate::arrival::{self, Reported};
use crate::config::{DetectConfig, Period, SignatureConfig};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields::{self, LOG_ENTITIES};
use crate::hits::{Hit, Hits, Window};
use crate::keyed::{self, Keyed, Saved};
use crate::rules::{Rule, RuleSet};
use crate::snapshot;

/// Characters of the message quoted in a summary.
const QUOTE_CHARS_MAX: usize = 160;
/// Fields tried in turn where a rule names one that the record lacks: who spoke, not whose request it was.
const LOG_SPEAKERS: &[FieldId] = &[logs::SERVICE, logs::HOST];
const METRIC_ENTITIES: &[FieldId] = &[metrics::SERVICE, metrics::HOST];
/// Likewise for a span.
const SPAN_ENTITIES: &[FieldId] = &[spans::SERVICE, spans::HOST];

/// The signature detector.
#[derive(Debug)]
pub struct Signature {
    config: SignatureConfig,
    lateness: Period,
    ahead: Period,
    rules: RuleSet,
    keys: Keyed<State>,
    key: String,
    candidates: Vec<usize>,
    matched: Vec<usize>,
    counters: Counters,
}

/// Matches of one rule for one entity.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    matches: Hits,
    reported: Reported,
}

impl Signature {
    /// A detector with these rules.
    #[must_use]
    pub fn new(config: &DetectConfig, rules: RuleSet) -> Signature {
        Signature {
            config: config.signature.clone(),
            lateness: config.lateness,
            ahead: config.ahead,
            rules,
            keys: Keyed::default(),
            key: String::new(),
            candidates: Vec::new(),
            matched: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes new rules and keeps what was counted.
    pub fn set_rules(&mut self, rules: RuleSet) {
        self.rules = rules;
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    fn judge(&mut self, observed: &Observed<'_>, row: &Row<'_>, out: &mut Findings) {
        self.matching(observed.tenant, row);
        for at in 0..self.matched.len() {
            self.count(observed, row, self.matched[at], out);
        }
    }

    /// The rules whose condition a record of a tenant meets, whatever was counted of them.
    pub(crate) fn matching(&mut self, tenant: &Tenant, row: &Row<'_>) -> &[usize] {
        let dataset = row.dataset();
        let message = if dataset == Dataset::Logs { row.text(logs::MESSAGE) } else { None };
        self.rules.candidates(dataset, message, &mut self.candidates);
        self.matched.clear();
        let rules = self.rules.rules();
        let matches = |index: &&usize| {
            let rule = &rules[**index];
            rule.owner.as_ref().is_none_or(|owner| owner == tenant) && rule.matcher.matches(row, None)
        };
        self.matched.extend(self.candidates.iter().filter(matches));
        &self.matched
    }

    fn count(&mut self, observed: &Observed<'_>, row: &Row<'_>, index: usize, out: &mut Findings) {
        let rule = &self.rules.rules()[index];
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        let entity = entity(rule, row);
        let by = rule.by.iter().map(|target| fields::text(row, target).unwrap_or_default());
        let by = by.collect::<Vec<_>>().join("\u{1f}");
        let parts = [observed.tenant.as_str(), &rule.id, &entity.kind, &entity.value, &by];
        let parts = if rule.by.is_empty() { &parts[..4] } else { &[parts[0], parts[1], parts[4]] };
        let key = keyed::key(&mut self.key, parts);
        let state = self.keys.entry(key, observed.batch.observed, &self.config.limits, State::default);
        let (count, within) = rule
            .threshold
            .as_ref()
            .map_or((1, self.config.limits.repeat_every), |threshold| (threshold.count, threshold.within));
        let hit = Hit { time, position: row.position().0, who: 0, weight: 1, reporter: 0 };
        if !state.matches.add(hit, self.lateness, within) {
            self.counters.late += 1;
            return;
        }
        let State { matches, reported } = state;
        let fullest = matches.windows(time, within).max_by_key(|window| window.count());
        if let Some(window) = fullest.filter(|window| window.count() >= u64::from(count))
            && reported.due(time, rule.severity, self.config.limits.repeat_every)
        {
            out.verdicts.push(verdict(observed, row, time, rule, entity, window, within));
        }
    }
}

/// What a match of the rule is about.
fn entity(rule: &Rule, row: &Row<'_>) -> Entity {
    let dataset = row.dataset();
    let value =
        |target: &Target| fields::text(row, target).map(|value| Entity::new(&target.name(dataset), &value));
    let defaults = match dataset {
        Dataset::Logs if rule.entity_target.is_some() => LOG_SPEAKERS,
        Dataset::Logs => LOG_ENTITIES,
        Dataset::Metrics => METRIC_ENTITIES,
        Dataset::Spans => SPAN_ENTITIES,
    };
    rule.entity_target
        .as_ref()
        .and_then(value)
        .or_else(|| defaults.iter().find_map(|id| value(&Target::Field(*id))))
        .unwrap_or_else(|| Entity::new("service", fields::NO_SERVICE))
}

fn verdict(
    observed: &Observed<'_>,
    row: &Row<'_>,
    time: i64,
    rule: &Rule,
    entity: Entity,
    window: Window<'_>,
    within: Period,
) -> Verdict {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    let count = window.count() as f64;
    let needed = rule.threshold.as_ref().map_or(1.0, |threshold| f64::from(threshold.count));
    let quote = if observed.batch.dataset == Dataset::Logs { row.text(logs::MESSAGE) } else { None };
    Verdict {
        tenant: observed.tenant.clone(),
        detector: "signature".to_owned(),
        rule: rule.id.clone(),
        title: rule.title.clone(),
        severity: rule.severity,
        score: arrival::score(count, needed),
        entity,
        service: row.service().map(str::to_owned),
        time: Timestamp(time),
        position: row.position(),
        summary: summary(rule, count, within, quote),
        baseline: None,
        features: vec![Feature { name: format!("matches_in_{within}"), value: count }],
        evidence: window.evidence(),
        mitigation: rule.mitigation.clone(),
    }
}

/// What was said and how often; the title stands beside it already.
fn summary(rule: &Rule, count: f64, within: Period, message: Option<&str>) -> String {
    let said = message.map_or_else(|| rule.description.clone(), excerpt);
    if count > 1.0 { format!("{count} records within {within}, the latest: {said}") } else { said }
}

/// The start of a message on one line.
fn excerpt(message: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut text: String = message.chars().take(QUOTE_CHARS_MAX).map(clean).collect();
    if message.chars().nth(QUOTE_CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

impl Detector for Signature {
    fn name(&self) -> &'static str {
        "signature"
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        (self.config, self.lateness, self.ahead) = (config.signature.clone(), config.lateness, config.ahead);
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        for row in batch.batch.iter() {
            self.judge(batch, &row, out);
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::encode(&self.keys.save())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.keys = Keyed::load(snapshot::decode::<Vec<Saved<State>>>(bytes)?);
        Ok(())
    }

    fn state_keys(&self) -> usize {
        self.keys.len()
    }

    fn counters(&self) -> Counters {
        Counters { evicted: self.keys.evicted(), ..self.counters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Line, feed, logs, parse_filter};

    fn detector(rules: &str) -> Signature {
        let (set, errors) = RuleSet::parse(&[("r.yaml".to_owned(), rules.to_owned())], &parse_filter);
        assert_eq!(errors, []);
        Signature::new(&DetectConfig::default(), set)
    }

    #[track_caller]
    fn check(detector: &mut Signature, lines: &[Line], expected: &[&str]) {
        let out = feed(detector, &logs(lines));
        let found: Vec<String> = out
            .verdicts
            .iter()
            .map(|v| format!("{} {} {}={}: {}", v.severity, v.rule, v.entity.kind, v.entity.value, v.summary))
            .collect();
        assert_eq!(found, expected);
    }

    const DISK: &str =
        "id: disk\ntitle: Disk full\nseverity: critical\nwhen: '\"no space left\"'\nentity: host\n";

    #[test]
    fn a_match_is_told_once_a_minute_with_its_entity() {
        let full = |second| Line::new(second, "write: No space left on device\x07").service("DB").host("h1");
        check(
            &mut detector(DISK),
            &[full(0), full(1), full(59), full(61), Line::new(70, "No space left").service("DB")],
            &[
                "CRITICAL disk host=h1: write: No space left on device ",
                "CRITICAL disk host=h1: 3 records within 1m, the latest: write: No space left on device ",
                "CRITICAL disk service=DB: No space left",
            ],
        );
    }

    #[test]
    fn a_threshold_counts_by_its_fields_in_event_time() {
        let rule = "id: t\ntitle: Timeouts\nseverity: warning\nwhen: timeout level>=error\n\
                    threshold: {count: 3, within: 10s, by: [service, zone]}\n";
        let line = |second, zone: &str| {
            Line::new(second, "read timeout")
                .service("A")
                .level(heimdall_model::Level::Error)
                .attributes(&format!(r#"{{"zone":"{zone}"}}"#))
        };
        let quiet = Line::new(3, "read timeout").service("A").level(heimdall_model::Level::Info);
        check(
            &mut detector(rule),
            &[line(0, "x"), line(1, "y"), line(10, "x"), quiet, line(21, "x"), line(5, "x")],
            &["WARNING t service=A: 3 records within 10s, the latest: read timeout"],
        );
    }

    #[test]
    fn new_rules_keep_the_counts_of_those_that_stay() {
        let rule = |count| format!("{DISK}threshold: {{count: {count}, within: 1m}}\n");
        let full = |second| Line::new(second, "no space left").host("h");
        let mut detector = detector(&rule(3));
        check(&mut detector, &[full(0), full(1)], &[]);
        let (set, _) = RuleSet::parse(&[("r.yaml".to_owned(), rule(3))], &parse_filter);
        detector.set_rules(set);
        check(
            &mut detector,
            &[full(2)],
            &["CRITICAL disk host=h: 3 records within 1m, the latest: no space left"],
        );
    }
}
