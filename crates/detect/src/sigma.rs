//! Sigma rules over the stream: every log record is asked about by the rules of its log source, thousands at a time.
//!
//! Rules come with the other rules (see [`crate::rules::RuleSet`]); reading, matching and correlating them is
//! `heimdall-sigma`. Here a record becomes an event ([`event`]), its log sources are found (those it states, else those by which the
//! router knows it), and a match becomes a verdict about whom it concerns.
//!
//! Invariants:
//! - without rules a record costs nothing;
//! - correlations of one tenant see its own records only;
//! - a rule below `min_level` raises nothing by itself, and still feeds the correlations that name it.
//!
//! Cost: about 250 bytes a key (rule and entity), beside what correlations keep within their own bounds.

mod event;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use heimdall_model::attributes::{self, Attribute};
use heimdall_model::batch::Row;
use heimdall_model::schema::logs;
use heimdall_model::verdict::EVIDENCE_MAX;
use heimdall_model::{
    Dataset, Entity, Feature, Position, RecordId, Severity, Target, Tenant, Timestamp, Verdict,
};
use heimdall_sigma::correlator::CorrelatorState;
use heimdall_sigma::{
    Correlated, Correlator, CorrelatorLimits, Engine, Event, Ground, Level, LogSource, Matcher, Metadata,
    Router, RuleIndex, Seen,
};
use memchr::memmem;
use serde::{Deserialize, Serialize};

use self::event::{Aliases, RecordEvent};
use crate::arrival::{self, Reported};
use crate::config::{DetectConfig, Period, SigmaConfig};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields::{self, LOG_ENTITIES};
use crate::keyed::{self, Keyed, Saved};
use crate::rules::RuleSet;
use crate::snapshot;

static CHANNEL: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("hannel"));
static LOG_SOURCE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("logsource"));

/// Characters of a field shown with a match.
const SHOWN_CHARS_MAX: usize = 120;
/// Fields shown with a match.
const SHOWN_FIELDS_MAX: usize = 4;

/// The Sigma detector.
pub struct Sigma {
    config: SigmaConfig,
    lateness: Period,
    ahead: Period,
    matcher: Matcher,
    router: Router,
    aliases: Aliases,
    /// Whether every rule is for Windows, so that a record that names no channel needs no look.
    windows_only: bool,
    /// Whose rules are, by their file; those of everybody are not in it.
    owners: Arc<BTreeMap<String, Tenant>>,
    correlators: BTreeMap<Tenant, Correlator>,
    keys: Keyed<State>,
    key: String,
    sources: Vec<LogSource>,
    matched: Vec<RuleIndex>,
    counters: Counters,
}

/// What is known of a rule and an entity.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    reported: Reported,
    matches: u64,
}

/// Everything that outlives a restart.
#[derive(Serialize, Deserialize)]
struct Memory {
    keys: Vec<Saved<State>>,
    correlators: Vec<(Tenant, CorrelatorState)>,
}

/// What a verdict is made of, besides the rule.
struct Match<'a> {
    entity: Entity,
    service: Option<&'a str>,
    time: i64,
    position: Position,
    summary: String,
    features: Vec<Feature>,
    evidence: Vec<RecordId>,
}

impl Sigma {
    /// A detector with these rules that has seen nothing.
    #[must_use]
    pub fn new(config: &DetectConfig, rules: &RuleSet) -> Sigma {
        let engine = Arc::clone(rules.sigma());
        Sigma {
            owners: Arc::clone(rules.owners()),
            config: config.sigma.clone(),
            lateness: config.lateness,
            ahead: config.ahead,
            aliases: Aliases::new(),
            windows_only: is_windows_only(&engine),
            matcher: Matcher::new(engine),
            router: Router::new(None, &[]).expect("the routes of the product are read by a test"),
            correlators: BTreeMap::new(),
            keys: Keyed::default(),
            key: String::new(),
            sources: Vec::new(),
            matched: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes new rules; what correlations that stay have counted is kept.
    pub fn set_rules(&mut self, rules: &RuleSet) {
        let engine = Arc::clone(rules.sigma());
        self.owners = Arc::clone(rules.owners());
        let states: Vec<_> =
            self.correlators.iter().map(|(tenant, known)| (tenant.clone(), known.snapshot())).collect();
        self.windows_only = is_windows_only(&engine);
        self.matcher = Matcher::new(engine);
        self.correlators = states
            .into_iter()
            .filter_map(|(tenant, state)| Some((tenant, self.correlator(Some(state)).ok()?)))
            .collect();
    }

    fn correlator(&self, state: Option<CorrelatorState>) -> Result<Correlator, SnapshotError> {
        let limits = CorrelatorLimits {
            groups_max: self.config.limits.keys_max,
            lateness_ns: self.lateness.ns(),
            evidence_max: EVIDENCE_MAX,
            ..CorrelatorLimits::default()
        };
        let mut made = Correlator::new(Arc::clone(self.matcher.engine()), limits);
        if let Some(state) = state {
            made.restore(state).map_err(|error| SnapshotError::Broken { detail: error.to_string() })?;
        }
        Ok(made)
    }

    fn judge(&mut self, observed: &Observed<'_>, row: &Row<'_>, out: &mut Findings) {
        self.matching(observed.tenant, row);
        let has_correlations = !self.matcher.engine().correlations().is_empty();
        if self.matched.is_empty() && !has_correlations {
            return;
        }
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        for at in 0..self.matched.len() {
            self.report(observed, row, self.matched[at], time, out);
        }
        if has_correlations {
            self.correlate(observed, row, time, out);
        }
    }

    /// The rules whose condition a log record of a tenant meets, quiet ones too.
    pub(crate) fn matching(&mut self, tenant: &Tenant, row: &Row<'_>) -> &[RuleIndex] {
        self.matched.clear();
        if self.matcher.engine().is_empty() || (self.windows_only && !may_be_windows(row)) {
            return &self.matched;
        }
        let event = RecordEvent { row, aliases: &self.aliases };
        self.sources.clear();
        self.sources.extend(stated(row));
        if self.sources.is_empty() {
            self.router.sources(&event, &mut self.sources);
        }
        self.matched.extend_from_slice(self.matcher.matches(&self.sources, &event));
        if !self.owners.is_empty() {
            let engine = self.matcher.engine();
            let owner = |index: RuleIndex| self.owners.get(&engine.meta(index).file);
            self.matched.retain(|index| owner(*index).is_none_or(|owner| owner == tenant));
        }
        &self.matched
    }

    /// What of a record makes a rule hold.
    pub(crate) fn why(&mut self, index: RuleIndex, row: &Row<'_>) -> Vec<Ground> {
        self.matcher.why(index, &RecordEvent { row, aliases: &self.aliases })
    }

    /// One rule matched one record.
    fn report(
        &mut self,
        observed: &Observed<'_>,
        row: &Row<'_>,
        index: RuleIndex,
        time: i64,
        out: &mut Findings,
    ) {
        let engine = Arc::clone(self.matcher.engine());
        let meta = engine.meta(index);
        if engine.correlations().is_silent(index) || !self.is_loud(meta) {
            return;
        }
        let event = RecordEvent { row, aliases: &self.aliases };
        let found = Match {
            entity: entity(row),
            service: row.service(),
            time,
            position: row.position(),
            summary: format!("{}{}", describe(meta), shown(meta, &event)),
            features: Vec::new(),
            evidence: vec![row.id()],
        };
        self.raise(observed, meta, found, out);
    }

    fn correlate(&mut self, observed: &Observed<'_>, row: &Row<'_>, time: i64, out: &mut Findings) {
        let mut correlator = match self.correlators.remove(observed.tenant) {
            Some(known) => known,
            None => self.correlator(None).expect("without a state there is nothing to refuse"),
        };
        let event = RecordEvent { row, aliases: &self.aliases };
        let seen = Seen { time_ns: time, id: row.position().0, rules: &self.matched, event: &event };
        let mut found = Vec::new();
        correlator.observe(&seen, &mut found);
        self.correlators.insert(observed.tenant.clone(), correlator);
        let engine = Arc::clone(self.matcher.engine());
        for correlated in found {
            let silent = engine.correlations().is_silent_correlation(correlated.correlation);
            let rule = engine.correlations().iter().nth(correlated.correlation);
            if let Some(rule) = rule.filter(|rule| !silent && self.is_loud(&rule.meta)) {
                let found = correlated_match(row, &correlated, &rule.meta);
                self.raise(observed, &rule.meta, found, out);
            }
        }
    }

    fn is_loud(&self, meta: &Metadata) -> bool {
        meta.level.unwrap_or(Level::Medium) >= self.config.min_level
    }

    fn raise(&mut self, observed: &Observed<'_>, meta: &Metadata, found: Match<'_>, out: &mut Findings) {
        let parts = [observed.tenant.as_str(), &meta.id, &found.entity.kind, &found.entity.value];
        let key = keyed::key(&mut self.key, &parts);
        let state = self.keys.entry(key, observed.batch.observed, &self.config.limits, State::default);
        state.matches += 1;
        let severity = severity(meta.level);
        if !state.reported.due(found.time, severity, self.config.limits.repeat_every) {
            return;
        }
        let mut features = found.features;
        #[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
        features.push(Feature { name: "matches".to_owned(), value: state.matches as f64 });
        out.verdicts.push(Verdict {
            tenant: observed.tenant.clone(),
            detector: "sigma".to_owned(),
            rule: meta.id.clone(),
            title: meta.title.clone(),
            severity,
            score: score(meta.level),
            entity: found.entity,
            service: found.service.map(str::to_owned),
            time: Timestamp(found.time),
            position: found.position,
            summary: found.summary,
            baseline: None,
            features,
            evidence: found.evidence,
            mitigation: mitigation(meta),
        });
    }
}

fn correlated_match<'a>(row: &Row<'a>, correlated: &Correlated, meta: &Metadata) -> Match<'a> {
    let entity = match &correlated.group[..] {
        [] => entity(row),
        group => {
            let name = |name: &String| Target::resolve(Dataset::Logs, name).name(Dataset::Logs);
            let kinds: Vec<String> = group.iter().map(|(field, _)| name(field)).collect();
            let values: Vec<&str> = group.iter().map(|(_, value)| value.as_str()).collect();
            Entity::new(&kinds.join("+"), &values.join(" "))
        }
    };
    let seconds = (correlated.time_ns - correlated.since_ns) / heimdall_model::time::NS_PER_SECOND;
    Match {
        entity,
        service: row.service(),
        time: correlated.time_ns,
        position: row.position(),
        summary: format!(
            "{}: {} in {} matches within {seconds} s",
            describe(meta),
            correlated.measured,
            correlated.count
        ),
        features: vec![Feature { name: "measured".to_owned(), value: correlated.measured }],
        evidence: correlated
            .evidence
            .iter()
            .map(|(time, position)| RecordId::new(Timestamp(*time), Position(*position)))
            .collect(),
    }
}

fn is_windows_only(engine: &Engine) -> bool {
    engine.metas().all(|(_, source)| source.product.as_deref() == Some("windows"))
}

/// Whether a record has what every route to Windows asks for: a channel, under any of its names, or a log source of its own.
fn may_be_windows(row: &Row<'_>) -> bool {
    row.attributes()
        .is_some_and(|json| [&CHANNEL, &LOG_SOURCE].iter().any(|part| part.find(json.as_bytes()).is_some()))
}

/// The log source a record states.
fn stated(row: &Row<'_>) -> Option<LogSource> {
    let json = row.attributes()?;
    let part = |name: &str| match attributes::get(json, name) {
        Some(Attribute::Text(text)) => text,
        _ => "".into(),
    };
    let stated =
        LogSource::new(&part("logsource.category"), &part("logsource.product"), &part("logsource.service"));
    (!stated.is_empty()).then_some(stated)
}

/// Whom a record is about.
fn entity(row: &Row<'_>) -> Entity {
    LOG_ENTITIES
        .iter()
        .find_map(|id| {
            let target = Target::Field(*id);
            fields::text(row, &target).map(|value| Entity::new(&target.name(Dataset::Logs), &value))
        })
        .unwrap_or_else(|| Entity::new("service", fields::NO_SERVICE))
}

/// The first sentence of what a rule finds.
fn describe(meta: &Metadata) -> String {
    let first = meta.description.lines().next().unwrap_or_default().trim();
    if first.is_empty() { meta.title.clone() } else { first.to_owned() }
}

/// The fields a rule wants to have shown, as far as the record has them.
fn shown(meta: &Metadata, event: &RecordEvent<'_, '_>) -> String {
    let mut shown = String::new();
    for field in meta.fields.iter().take(SHOWN_FIELDS_MAX) {
        let mut value = None;
        event.values(field, &mut |found| {
            value.get_or_insert_with(|| match found {
                heimdall_sigma::Value::Text(text) => text.chars().take(SHOWN_CHARS_MAX).collect(),
                other => format!("{other:?}"),
            });
        });
        if let Some(value) = value {
            shown.push_str(&format!("; {field}: {value}"));
        }
    }
    match event.row.text(logs::MESSAGE) {
        Some(message) if shown.is_empty() => {
            format!(": {}", message.chars().take(SHOWN_CHARS_MAX).collect::<String>())
        }
        _ => shown,
    }
}

pub(crate) fn severity(level: Option<Level>) -> Severity {
    match level {
        Some(Level::High | Level::Critical) => Severity::Critical,
        _ => Severity::Warning,
    }
}

/// How sure the author was, by level.
fn score(level: Option<Level>) -> f64 {
    match level {
        Some(Level::Critical) => 1.0,
        Some(Level::High) => 0.9,
        Some(Level::Medium) | None => 0.7,
        Some(Level::Low) => 0.5,
        Some(Level::Informational) => 0.3,
    }
}

/// What to do, from what the rule says: what else it may be, who wrote it, where to read on.
fn mitigation(meta: &Metadata) -> Vec<String> {
    let mut steps =
        vec!["Look at the evidence and what the same user, host and source did around it".to_owned()];
    if !meta.falsepositives.is_empty() {
        steps.push(format!("Rule out what looks like it: {}", meta.falsepositives.join("; ")));
    }
    if let Some(tags) = techniques(&meta.tags) {
        steps.push(format!("Follow the response plan for {tags}"));
    }
    steps.extend(meta.references.iter().take(3).map(|link| format!("Read {link}")));
    if !meta.author.is_empty() {
        steps.push(format!("Rule by {} (Sigma)", meta.author));
    }
    steps
}

/// ATT&CK techniques among the tags.
fn techniques(tags: &[String]) -> Option<String> {
    let found: Vec<String> = tags
        .iter()
        .filter_map(|tag| tag.strip_prefix("attack.t"))
        .map(|number| format!("ATT&CK T{number}"))
        .collect();
    (!found.is_empty()).then(|| found.join(", "))
}

impl Detector for Sigma {
    fn name(&self) -> &'static str {
        "sigma"
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        (self.config, self.lateness, self.ahead) = (config.sigma.clone(), config.lateness, config.ahead);
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        if batch.batch.dataset != Dataset::Logs || self.matcher.engine().is_empty() {
            return;
        }
        for row in batch.batch.iter() {
            if !self.windows_only || may_be_windows(&row) {
                self.judge(batch, &row, out);
            }
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let correlators = self.correlators.iter().map(|(tenant, known)| (tenant.clone(), known.snapshot()));
        snapshot::encode(&Memory { keys: self.keys.save(), correlators: correlators.collect() })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let memory = snapshot::decode::<Memory>(bytes)?;
        let mut correlators = BTreeMap::new();
        for (tenant, state) in memory.correlators {
            correlators.insert(tenant, self.correlator(Some(state))?);
        }
        (self.keys, self.correlators) = (Keyed::load(memory.keys), correlators);
        Ok(())
    }

    fn state_keys(&self) -> usize {
        self.keys.len() + self.correlators.values().map(Correlator::groups).sum::<usize>()
    }

    fn counters(&self) -> Counters {
        let correlators = self.correlators.values().map(Correlator::counters);
        correlators.fold(Counters { evicted: self.keys.evicted(), ..self.counters }, |all, more| Counters {
            late: all.late + more.late,
            invalid: all.invalid + more.unmeasured + more.ungrouped,
            evicted: all.evicted + more.evicted + more.overflowed,
            ..all
        })
    }
}

#[cfg(test)]
mod tests;
