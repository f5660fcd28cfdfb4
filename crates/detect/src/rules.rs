//! Signature rules as data: reading, checking, and the shared prefilter that makes many of them cheap.
//!
//! A file holds one rule, or several separated by `---` lines. A rule that cannot load is named with file, line and
//! reason; the others work.
//!
//! ```yaml
//! id: auth.bruteforce.wording
//! title: Brute force reported by a device
//! description: A firewall or server says itself that logins are being guessed.
//! severity: critical            # critical or warning
//! needs: [login, brute]         # optional: the message must also hold one of these, anywhere, in any case
//! when: '"failed logins" OR "brute force"'
//! threshold: {count: 3, within: 60s, by: [source_ip]}   # optional
//! entity: source_ip             # optional; else the first present of source_ip, user_id, service, host; where the
//!                               # record lacks the named field, its service or host
//! mitigation: [Block the source at the firewall]
//! references: [https://attack.mitre.org/techniques/T1110/]
//! tests: {match: [Multiple failed logins detected], no_match: [login ok]}
//! ```
//!
//! A document that names a `logsource`, a `correlation` or a `filter` is a Sigma rule, and one with `transformations` a pipeline that
//! maps the fields of Sigma rules; they go to `heimdall-sigma`, with all the others of their kind.
//!
//! Invariant: the prefilter passes every record a rule matches; it may pass others. It alone judges `needs`, so a
//! rule is asked only about its candidates.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use std::sync::Arc;

use heimdall_model::schema::logs;
use heimdall_model::{
    Batch, BatchBuilder, Dataset, FieldType, Filter, Level, Matcher, Severity, Target, Test, Timestamp,
};
use heimdall_sigma::{Collection, Engine, Pipeline};
use serde::{Deserialize, Serialize};

use crate::config::Period;
use crate::hits::HITS_MAX;

/// Most rules of one set.
pub const RULES_MAX: usize = 10_000;
/// Most texts in the `needs` of a rule.
pub const NEEDS_MAX: usize = 200;
/// Longest text in `needs`, bytes.
pub const NEED_BYTES_MAX: usize = 200;
/// Literal bytes up to which the prefilter is a dense automaton (about 0.25 KB a byte); beyond it a compact one.
const DENSE_LITERAL_BYTES_MAX: usize = 16 << 10;

/// Turns the text of `when` into a filter of a dataset; the error is shown to people.
pub type ParseFilter<'a> = dyn Fn(&str, Dataset) -> Result<Filter, String> + 'a;

/// A loaded rule.
#[derive(Debug, Clone, Serialize)]
pub struct Rule {
    /// Stable id, unique in its set.
    pub id: String,
    /// Short name for people.
    pub title: String,
    /// What it finds and why that matters.
    pub description: String,
    /// Severity of its verdicts.
    pub severity: Severity,
    /// Dataset it reads.
    pub dataset: Dataset,
    /// Texts of which the message must hold at least one, besides `when`: what makes a regular expression cheap.
    pub needs: Vec<String>,
    /// The condition as written.
    pub when: String,
    /// Matches needed, when one is not enough.
    pub threshold: Option<Threshold>,
    /// Field that says what a verdict is about, when set.
    pub entity: Option<String>,
    /// What to do, one step each.
    pub mitigation: Vec<String>,
    /// Links.
    pub references: Vec<String>,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// Samples it must and must not match.
    pub tests: Samples,
    /// File it came from.
    pub file: String,
    #[serde(skip)]
    filter: Filter,
    #[serde(skip)]
    pub(crate) matcher: Matcher,
    #[serde(skip)]
    pub(crate) by: Vec<Target>,
    #[serde(skip)]
    pub(crate) entity_target: Option<Target>,
}

/// So many matches within a sliding window of event time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Matches needed, 1 to 128.
    pub count: u32,
    /// Length of the window, both ends included.
    pub within: Period,
    /// Fields whose values must be the same in all of them; by default the entity.
    #[serde(default)]
    pub by: Vec<String>,
}

/// Samples of a rule.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Samples {
    /// Records it must match.
    #[serde(rename = "match")]
    pub matching: Vec<Sample>,
    /// Records it must not match.
    pub no_match: Vec<Sample>,
}

/// One sample record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sample {
    /// Its message.
    Message(String),
    /// Its fields by name.
    Fields(BTreeMap<String, serde_json::Value>),
}

/// A rule that did not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {reason}", line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct RuleError {
    /// File as given.
    pub file: String,
    /// Line in the file, from 1, when known.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

/// A sample that a rule judges otherwise than it says.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("rule `{rule}` {} {sample:?}", if *.wanted_match { "does not match" } else { "matches" })]
pub struct SampleFailure {
    /// Rule id.
    pub rule: String,
    /// The sample.
    pub sample: Sample,
    /// Whether the rule should have matched it.
    pub wanted_match: bool,
}

/// Rules with their prefilter.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    prefilter: Option<AhoCorasick>,
    /// Rules that need the literal, by literal.
    needing: Vec<Vec<usize>>,
    /// Rules that need no literal, or read metrics.
    always: Vec<usize>,
    sigma: Arc<Engine>,
}

/// A rule as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    title: String,
    #[serde(default)]
    description: String,
    severity: String,
    #[serde(default = "logs_dataset")]
    dataset: Dataset,
    #[serde(default)]
    needs: Vec<String>,
    when: String,
    #[serde(default)]
    threshold: Option<Threshold>,
    #[serde(default)]
    entity: Option<String>,
    #[serde(default)]
    mitigation: Vec<String>,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    tests: Samples,
}

fn logs_dataset() -> Dataset {
    Dataset::Logs
}

fn yes() -> bool {
    true
}

impl From<heimdall_sigma::LoadError> for RuleError {
    fn from(error: heimdall_sigma::LoadError) -> RuleError {
        let rule = error.rule.map(|rule| format!("rule `{rule}`: ")).unwrap_or_default();
        RuleError { file: error.file, line: Some(error.line), reason: format!("{rule}{}", error.reason) }
    }
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Own,
    Sigma,
    Pipeline,
}

impl Kind {
    /// By the keys at the left edge; a file that is neither is ours, and its errors are told so.
    fn of(text: &str) -> Kind {
        let has = |keys: &[&str]| {
            text.lines().any(|line| {
                keys.iter().any(|key| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))
            })
        };
        if has(&["transformations"]) {
            Kind::Pipeline
        } else if has(&["logsource", "detection", "correlation", "filter"]) {
            Kind::Sigma
        } else {
            Kind::Own
        }
    }
}

/// One YAML document of a file.
struct Document<'a> {
    file: &'a str,
    /// Lines of the file before it.
    lines_before: usize,
    text: &'a str,
}

impl Document<'_> {
    fn error(&self, line: Option<usize>, reason: String) -> RuleError {
        RuleError { file: self.file.to_owned(), line: line.map(|line| self.lines_before + line), reason }
    }

    /// An error in the value of a top-level key.
    fn error_at(&self, key: &str, reason: String) -> RuleError {
        let starts =
            |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'));
        self.error(self.text.lines().position(starts).map(|index| index + 1), reason)
    }

    fn has_content(&self) -> bool {
        self.text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    }
}

fn documents<'a>(file: &'a str, text: &'a str) -> Vec<Document<'a>> {
    let mut found = Vec::new();
    let (mut start, mut lines_before, mut at, mut lines) = (0, 0, 0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        lines += 1;
        if line.trim_end() == "---" {
            found.push(Document { file, lines_before, text: &text[start..at - line.len()] });
            (start, lines_before) = (at, lines);
        }
    }
    found.push(Document { file, lines_before, text: &text[start..] });
    found.retain(Document::has_content);
    found
}

impl RuleSet {
    /// Reads rule files: `(name, text)` each. What cannot load is in the errors, everything else in the set.
    #[must_use]
    pub fn parse(files: &[(String, String)], parse_filter: &ParseFilter<'_>) -> (RuleSet, Vec<RuleError>) {
        let (mut rules, mut errors) = (Vec::<Rule>::new(), Vec::new());
        let (mut sigma, mut pipelines) = (Collection::default(), Vec::new());
        for (name, text) in files {
            match Kind::of(text) {
                Kind::Sigma => sigma.add_file(name, text),
                Kind::Pipeline => match Pipeline::parse(name, text) {
                    Ok(pipeline) => pipelines.push(pipeline),
                    Err(error) => errors.push(error.into()),
                },
                Kind::Own => {}
            }
        }
        let sigma = Engine::new(sigma, &pipelines);
        errors.extend(sigma.failures().iter().cloned().map(RuleError::from));
        let own = files.iter().filter(|(_, text)| Kind::of(text) == Kind::Own);
        for document in own.flat_map(|(name, text)| documents(name, text)) {
            match read(&document, parse_filter) {
                Ok(rule) if rules.iter().any(|known| known.id == rule.id) => {
                    errors.push(document.error_at("id", format!("rule `{}` exists already", rule.id)));
                }
                Ok(_) if rules.len() == RULES_MAX => {
                    errors.push(document.error(Some(1), format!("more than {RULES_MAX} rules")));
                }
                Ok(rule) => rules.push(rule),
                Err(error) => errors.push(error),
            }
        }
        (RuleSet { sigma: Arc::new(sigma), ..RuleSet::new(rules) }, errors)
    }

    /// The Sigma rules.
    #[must_use]
    pub fn sigma(&self) -> &Arc<Engine> {
        &self.sigma
    }

    /// This rule and no other.
    #[must_use]
    pub fn alone(rule: &Rule) -> RuleSet {
        RuleSet::new(vec![rule.clone()])
    }

    /// The Sigma rules and no others.
    #[must_use]
    pub fn sigma_alone(&self) -> RuleSet {
        RuleSet { sigma: Arc::clone(&self.sigma), ..RuleSet::new(Vec::new()) }
    }

    fn new(rules: Vec<Rule>) -> RuleSet {
        let mut literals: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut always = Vec::new();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.enabled) {
            match rule.literals() {
                Some(needed) => needed.into_iter().for_each(|literal| {
                    literals.entry(literal).or_default().push(index);
                }),
                None => always.push(index),
            }
        }
        let bytes: usize = literals.keys().map(String::len).sum();
        let kind = (bytes <= DENSE_LITERAL_BYTES_MAX).then_some(AhoCorasickKind::DFA);
        let prefilter = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(kind)
            .build(literals.keys())
            .ok();
        let needing: Vec<Vec<usize>> = literals.into_values().collect();
        if prefilter.is_none() {
            always =
                rules.iter().enumerate().filter(|(_, rule)| rule.enabled).map(|(index, _)| index).collect();
        }
        RuleSet { rules, prefilter, needing, always, sigma: Arc::default() }
    }

    /// Every rule, disabled ones too.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Puts the indices of the enabled rules that may match a record with this message into `found`, in order.
    pub(crate) fn candidates(&self, dataset: Dataset, message: Option<&str>, found: &mut Vec<usize>) {
        found.clear();
        found.extend(&self.always);
        if let (Some(prefilter), Some(message)) = (&self.prefilter, message) {
            for literal in prefilter.find_overlapping_iter(message) {
                found.extend(&self.needing[literal.pattern().as_usize()]);
            }
        }
        if found.is_empty() {
            return;
        }
        found.retain(|index| self.rules[*index].dataset == dataset);
        found.sort_unstable();
        found.dedup();
    }

    /// Judges every rule's samples; each must also pass the prefilter.
    #[must_use]
    pub fn check_samples(&self) -> Vec<SampleFailure> {
        let judged = |rule: &Rule, sample: &Sample, wanted_match: bool| {
            let failure = SampleFailure { rule: rule.id.clone(), sample: sample.clone(), wanted_match };
            (self.matches(rule, sample) != wanted_match).then_some(failure)
        };
        let of_rule = |rule: &Rule| {
            let matching = rule.tests.matching.iter().filter_map(|sample| judged(rule, sample, true));
            let others = rule.tests.no_match.iter().filter_map(|sample| judged(rule, sample, false));
            matching.chain(others).collect::<Vec<_>>()
        };
        self.rules.iter().filter(|rule| rule.enabled).flat_map(of_rule).collect()
    }

    fn matches(&self, rule: &Rule, sample: &Sample) -> bool {
        let batch = sample_batch(sample, rule.dataset);
        let row = batch.row(0);
        let message = (rule.dataset == Dataset::Logs).then(|| row.text(logs::MESSAGE)).flatten();
        let mut found = Vec::new();
        self.candidates(rule.dataset, message, &mut found);
        found.iter().any(|index| self.rules[*index].id == rule.id) && rule.matcher.matches(&row, None)
    }
}

impl Rule {
    /// Literals of which every matching message holds at least one; `None` when no such list is known.
    fn literals(&self) -> Option<Vec<String>> {
        match (self.dataset, &self.needs[..]) {
            (Dataset::Metrics, _) => None,
            (Dataset::Logs, []) => needed_literals(&self.filter),
            (Dataset::Logs, needs) => Some(needs.iter().map(|text| text.to_ascii_lowercase()).collect()),
        }
    }
}

fn read(document: &Document<'_>, parse_filter: &ParseFilter<'_>) -> Result<Rule, RuleError> {
    let written: Written = yaml_serde::from_str(document.text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        document.error(line, error.to_string())
    })?;
    let severity =
        Severity::parse(&written.severity).filter(|severity| *severity != Severity::Normal).ok_or_else(
            || document.error_at("severity", format!("`{}` is not warning or critical", written.severity)),
        )?;
    if !is_id(&written.id) {
        return Err(
            document.error_at("id", format!("`{}` is not an id: use a-z, 0-9, `.`, `_`, `-`", written.id))
        );
    }
    if let Some(threshold) = &written.threshold
        && (threshold.count == 0 || threshold.count as usize > HITS_MAX || threshold.within.ns() <= 0)
    {
        let reason = format!("threshold needs a count between 1 and {HITS_MAX} and a window above 0s");
        return Err(document.error_at("threshold", reason));
    }
    if !written.needs.is_empty() && written.dataset != Dataset::Logs {
        return Err(document.error_at("needs", "only log records have a message".to_owned()));
    }
    if let Some(text) = written.needs.iter().find(|text| !is_need(text)) {
        let reason = format!("`{text}` is not ASCII text of 1 to {NEED_BYTES_MAX} bytes");
        return Err(document.error_at("needs", reason));
    }
    if written.needs.len() > NEEDS_MAX {
        return Err(document.error_at("needs", format!("more than {NEEDS_MAX} texts")));
    }
    let filter =
        parse_filter(&written.when, written.dataset).map_err(|reason| document.error_at("when", reason))?;
    let matcher = Matcher::compile(&filter, written.dataset)
        .map_err(|error| document.error_at("when", error.to_string()))?;
    let target = |name: &String| Target::resolve(written.dataset, name);
    Ok(Rule {
        by: written.threshold.iter().flat_map(|threshold| &threshold.by).map(target).collect(),
        entity_target: written.entity.as_ref().map(target),
        id: written.id,
        title: written.title,
        description: written.description,
        severity,
        dataset: written.dataset,
        needs: written.needs,
        when: written.when,
        threshold: written.threshold,
        entity: written.entity,
        mitigation: written.mitigation,
        references: written.references,
        enabled: written.enabled,
        tests: written.tests,
        file: document.file.to_owned(),
        filter,
        matcher,
    })
}

fn is_need(text: &str) -> bool {
    text.is_ascii() && (1..=NEED_BYTES_MAX).contains(&text.len())
}

fn is_id(id: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    !id.is_empty() && id.len() <= 100 && id.bytes().all(known)
}

/// Literals of which every matching message holds at least one; `None` when no such list is known.
fn needed_literals(filter: &Filter) -> Option<Vec<String>> {
    match filter {
        Filter::Test(Target::Field(logs::MESSAGE), Test::Words(text) | Test::Contains(text))
            if text.is_ascii() && !text.is_empty() =>
        {
            Some(vec![text.to_ascii_lowercase()])
        }
        // The list whose shortest literal is longest lets the fewest records through.
        Filter::And(parts) => parts
            .iter()
            .filter_map(needed_literals)
            .max_by_key(|list| list.iter().map(String::len).min().unwrap_or(0)),
        Filter::Or(parts) => {
            let lists: Option<Vec<Vec<String>>> = parts.iter().map(needed_literals).collect();
            Some(lists?.concat()).filter(|list| !list.is_empty())
        }
        _ => None,
    }
}

/// A batch of one record.
fn sample_batch(sample: &Sample, dataset: Dataset) -> Batch {
    let mut builder = BatchBuilder::new(dataset, Timestamp(0));
    let message;
    let fields = match sample {
        Sample::Fields(fields) => fields,
        Sample::Message(text) => {
            message = BTreeMap::from([("message".to_owned(), serde_json::Value::from(text.as_str()))]);
            &message
        }
    };
    let mut attributes = serde_json::Map::new();
    for (name, value) in fields {
        match Target::resolve(dataset, name) {
            Target::Field(id) => set(&mut builder, id, dataset.field(id).ty, value),
            Target::Attribute(path) => {
                attributes.insert(path, value.clone());
            }
            Target::Id | Target::Template => {}
        }
    }
    if !attributes.is_empty() {
        builder.set_text(dataset.attributes(), &serde_json::Value::Object(attributes).to_string());
    }
    builder.end_row();
    builder.finish()
}

fn set(builder: &mut BatchBuilder, id: heimdall_model::FieldId, ty: FieldType, value: &serde_json::Value) {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match ty {
        FieldType::Text | FieldType::Json => builder.set_text(id, &text),
        FieldType::Float => builder.set_float(id, text.parse().unwrap_or(f64::NAN)),
        FieldType::Int => builder.set_int(id, text.parse().unwrap_or(0)),
        FieldType::Time => builder.set_int(id, Timestamp::parse(&text).unwrap_or_default().0),
        FieldType::Level => Level::parse(&text).into_iter().for_each(|level| builder.set_level(level)),
        FieldType::Id16 | FieldType::Id8 => {
            let width = if ty == FieldType::Id16 { 16 } else { 8 };
            if let Some(bytes) = heimdall_model::matcher::hex(&text, width) {
                builder.set_bytes(id, &bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_filter, rule_pack};

    fn parse(text: &str) -> (RuleSet, Vec<RuleError>) {
        RuleSet::parse(&[("r.yaml".to_owned(), text.to_owned())], &parse_filter)
    }

    #[test]
    fn a_broken_rule_is_named_with_its_line_and_the_others_work() {
        let (set, errors) = parse(
            "# pack\nid: a\ntitle: A\nseverity: warning\nwhen: word\n---\nid: b\ntitle: B\nseverity: loud\nwhen: x\n---\n\
             id: c\ntitle: C\nseverity: critical\nwhen: '/(/'\n---\nid: a\ntitle: again\nseverity: warning\nwhen: y\n\
             ---\nid: d\nwen: typo\n---\nid: [\n---\nid: e\ntitle: E\nseverity: Critical\nwhen: z\n",
        );
        let ids: Vec<&str> = set.rules().iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids, ["a", "e"]);
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 5, "{shown:#?}");
        assert_eq!(shown[0], "r.yaml:9: `loud` is not warning or critical");
        assert!(shown[1].starts_with("r.yaml:15: bad pattern `(`"), "{}", shown[1]);
        assert_eq!(shown[2], "r.yaml:17: rule `a` exists already");
        assert!(shown[3].starts_with("r.yaml:23: unknown field `wen`"), "{}", shown[3]);
        assert!(shown[4].starts_with("r.yaml:2"), "{}", shown[4]);
    }

    #[track_caller]
    fn check_literals(when: &str, expected: Option<&[&str]>) {
        let found = needed_literals(&parse_filter(when, Dataset::Logs).unwrap());
        let expected = expected.map(|list| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expected, "{when}");
    }

    #[test]
    fn the_prefilter_takes_the_literals_every_match_needs() {
        check_literals("Word", Some(&["word"]));
        check_literals(r#"a "longer phrase""#, Some(&["longer phrase"]));
        check_literals("one OR (two three)", Some(&["one", "three"]));
        check_literals("one OR /two/", None);
        check_literals("one /two/", Some(&["one"]));
        check_literals("-one", None);
        check_literals("level>=error", None);
        check_literals("größe", None);
    }

    /// The pack is data that ships: every rule loads, says what to do, and has samples that it judges rightly.
    #[test]
    fn the_rule_pack_loads_and_passes_its_own_samples() {
        let (set, errors) = RuleSet::parse(&rule_pack(), &parse_filter);
        assert_eq!(errors, []);
        assert!(set.rules().len() >= 25, "{}", set.rules().len());
        for rule in set.rules() {
            assert!(!rule.tests.matching.is_empty() && !rule.tests.no_match.is_empty(), "{}", rule.id);
            assert!(!rule.mitigation.is_empty() && !rule.description.is_empty(), "{}", rule.id);
            assert!(rule.literals().is_some(), "{} would be judged for every record", rule.id);
        }
        let failures: Vec<String> = set.check_samples().iter().map(ToString::to_string).collect();
        assert_eq!(failures, Vec::<String>::new());
    }
}
