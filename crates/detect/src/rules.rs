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

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use std::sync::Arc;

use heimdall_model::schema::logs;
use heimdall_model::{
    Batch, BatchBuilder, Dataset, FieldType, Filter, Level, Matcher, Severity, Target, Tenant, Test,
    Timestamp,
};
use heimdall_sigma::{Collection, Engine, Pipeline};
use serde::{Deserialize, Serialize};

use crate::config::Period;
use crate::hint;
use crate::hits::HITS_MAX;
use crate::modes::Modes;

/// Most rules of one set.
pub const RULES_MAX: usize = 10_000;
/// Most texts in the `needs` of a rule.
pub const NEEDS_MAX: usize = 200;
/// Longest text in `needs`, bytes.
pub const NEED_BYTES_MAX: usize = 200;
/// Literal bytes up to which the prefilter is a dense automaton (about 0.25 KB a byte); beyond it a compact one.
const DENSE_LITERAL_BYTES_MAX: usize = 16 << 10;

/// Turns the text of `when` into a filter of a dataset; the error is shown to people.
pub type ParseFilter<'a> = dyn Fn(&str, Dataset) -> Result<Filter, FilterFault> + 'a;

/// Why a condition could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilterFault {
    /// What is wrong.
    pub reason: String,
    /// Character of the condition where it is, from 1, when known.
    pub column: Option<usize>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<String> for FilterFault {
    fn from(reason: String) -> FilterFault {
        FilterFault { reason, ..FilterFault::default() }
    }
}

/// A file of rules, or what stands for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFile {
    /// Its name, in errors and with its rules.
    pub name: String,
    /// What is in it.
    pub text: String,
    /// The tenant whose records its rules are about; `None` when they are about everybody's.
    pub owner: Option<Tenant>,
}

impl RuleFile {
    /// A file of rules for everybody.
    #[must_use]
    pub fn shared(name: &str, text: &str) -> RuleFile {
        RuleFile { name: name.to_owned(), text: text.to_owned(), owner: None }
    }
}

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
    /// Line of its document in the file, from 1.
    pub line: usize,
    /// The tenant whose records alone it is about; `None`: everybody's.
    #[serde(skip)]
    pub owner: Option<Tenant>,
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
#[error("{file}{}{}: {reason}{}", place(*line), place(*column), hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct RuleError {
    /// File as given.
    pub file: String,
    /// Line in the file, from 1, when known.
    pub line: Option<usize>,
    /// Character in the line, from 1, when known.
    pub column: Option<usize>,
    /// What is wrong.
    pub reason: String,
    /// What to do about it, when that can be told.
    pub hint: Option<String>,
}

fn place(number: Option<usize>) -> String {
    number.map(|number| format!(":{number}")).unwrap_or_default()
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
    /// Whose Sigma rules are, by their file; those of everybody are not in it.
    owners: Arc<BTreeMap<String, Tenant>>,
    modes: Modes,
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
        let hint = hint::of_message(&error.reason);
        let reason = format!("{rule}{}", error.reason);
        RuleError { file: error.file, line: Some(error.line), column: error.column, reason, hint }
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
    owner: Option<&'a Tenant>,
    /// Lines of the file before it.
    lines_before: usize,
    text: &'a str,
}

impl Document<'_> {
    fn error(&self, line: Option<usize>, column: Option<usize>, reason: String) -> RuleError {
        let line = line.map(|line| self.lines_before + line);
        let hint = hint::of_message(&reason);
        RuleError { file: self.file.to_owned(), line, column, reason, hint }
    }

    /// An error in the value of a top-level key.
    fn error_at(&self, key: &str, reason: String) -> RuleError {
        let (line, column, _) = self.value_of(key).unwrap_or((1, 1, false));
        self.error(Some(line), Some(column), reason)
    }

    /// An error at a character of the text that a top-level key has.
    fn error_in(&self, key: &str, fault: FilterFault) -> RuleError {
        let (line, start, is_inline) = self.value_of(key).unwrap_or((1, 1, false));
        // In a text over several lines, its own columns are not those of the file.
        let within = fault.column.filter(|_| is_inline).map_or(0, |column| column.saturating_sub(1));
        let error = self.error(Some(line), Some(start + within), fault.reason);
        RuleError { hint: fault.hint.or(error.hint), ..error }
    }

    /// Line and column of the value of a top-level key, and whether it is a text on this line; in quotes, its first character
    /// counts.
    fn value_of(&self, key: &str) -> Option<(usize, usize, bool)> {
        let after = |line: &'_ str| {
            let rest = line.strip_prefix(key)?;
            let value = rest.trim_start().strip_prefix(':')?.trim_start();
            Some(line.len() - value.len())
        };
        let (index, at) =
            self.text.lines().enumerate().find_map(|(index, line)| Some((index, after(line)?)))?;
        let line = self.text.lines().nth(index)?;
        let value = &line[at..];
        let column = line[..at].chars().count() + 1;
        Some(match value.chars().next() {
            None | Some('|' | '>') => (index + 1, column, false),
            Some('"' | '\'') => (index + 1, column + 1, true),
            Some(_) => (index + 1, column, true),
        })
    }

    fn has_content(&self) -> bool {
        self.text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    }
}

fn documents(rules: &RuleFile) -> Vec<Document<'_>> {
    let RuleFile { name: file, text, owner } = rules;
    let owner = owner.as_ref();
    let mut found = Vec::new();
    let (mut start, mut lines_before, mut at, mut lines) = (0, 0, 0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        lines += 1;
        if line.trim_end() == "---" {
            found.push(Document { file, owner, lines_before, text: &text[start..at - line.len()] });
            (start, lines_before) = (at, lines);
        }
    }
    found.push(Document { file, owner, lines_before, text: &text[start..] });
    found.retain(Document::has_content);
    found
}

impl RuleSet {
    /// Reads rule files: `(name, text)` each. What cannot load is in the errors, everything else in the set.
    #[must_use]
    pub fn parse(files: &[(String, String)], parse_filter: &ParseFilter<'_>) -> (RuleSet, Vec<RuleError>) {
        let files: Vec<RuleFile> = files.iter().map(|(name, text)| RuleFile::shared(name, text)).collect();
        RuleSet::load(&files, parse_filter)
    }

    /// Reads rule files, those of tenants among them. A tenant's rules are about its own records; they cannot change or silence
    /// the rules of others, and their ids are none of everybody's.
    #[must_use]
    pub fn load(files: &[RuleFile], parse_filter: &ParseFilter<'_>) -> (RuleSet, Vec<RuleError>) {
        let (mut rules, mut errors) = (Vec::<Rule>::new(), Vec::new());
        let (mut sigma, mut pipelines) = (Collection::default(), Vec::new());
        let mut owners = BTreeMap::new();
        // Files of everybody first, so that their names hold.
        let mut ordered: Vec<&RuleFile> = files.iter().collect();
        ordered.sort_by_key(|file| file.owner.is_some());
        for file in &ordered {
            match (Kind::of(&file.text), &file.owner) {
                (Kind::Own, _) => {}
                (_, Some(owner)) => match stands_alone(file, &sigma) {
                    Ok(()) => {
                        sigma.add_file(&file.name, &file.text);
                        owners.insert(file.name.clone(), owner.clone());
                    }
                    Err(error) => errors.push(error),
                },
                (Kind::Sigma, None) => sigma.add_file(&file.name, &file.text),
                (Kind::Pipeline, None) => match Pipeline::parse(&file.name, &file.text) {
                    Ok(pipeline) => pipelines.push(pipeline),
                    Err(error) => errors.push(error.into()),
                },
            }
        }
        let sigma = Engine::new(sigma, &pipelines);
        errors.extend(sigma.failures().iter().cloned().map(RuleError::from));
        // By id, whose rule it is: an id of everybody's is nobody's else.
        let mut taken: BTreeMap<String, BTreeSet<Option<Tenant>>> = BTreeMap::new();
        let own = ordered.into_iter().filter(|file| Kind::of(&file.text) == Kind::Own);
        for document in own.flat_map(documents) {
            match read(&document, parse_filter) {
                Ok(rule) if is_taken(&taken, &rule) => {
                    errors.push(document.error_at("id", format!("rule `{}` exists already", rule.id)));
                }
                Ok(_) if rules.len() == RULES_MAX => {
                    errors.push(document.error(Some(1), None, format!("more than {RULES_MAX} rules")));
                }
                Ok(rule) => {
                    taken.entry(rule.id.clone()).or_default().insert(rule.owner.clone());
                    rules.push(rule);
                }
                Err(error) => errors.push(error),
            }
        }
        let set = RuleSet { sigma: Arc::new(sigma), owners: Arc::new(owners), ..RuleSet::new(rules) };
        (set, errors)
    }

    /// The same with rules that are off or in rehearsal for some tenants.
    #[must_use]
    pub fn with_modes(self, modes: Modes) -> RuleSet {
        RuleSet { modes, ..self }
    }

    /// Which rules are off or in rehearsal, and for whom.
    #[must_use]
    pub fn modes(&self) -> &Modes {
        &self.modes
    }

    /// Whose a Sigma rule or correlation is, by the file it came from; `None`: everybody's.
    #[must_use]
    pub fn owner_of(&self, file: &str) -> Option<&Tenant> {
        self.owners.get(file)
    }

    pub(crate) fn owners(&self) -> &Arc<BTreeMap<String, Tenant>> {
        &self.owners
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
        let (sigma, owners) = (Arc::clone(&self.sigma), Arc::clone(&self.owners));
        RuleSet { sigma, owners, ..RuleSet::new(Vec::new()) }
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
        RuleSet { rules, prefilter, needing, always, ..RuleSet::default() }
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
    /// The condition.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether records may match of which nothing is known beforehand, so that each has to be asked about.
    #[must_use]
    pub fn is_asked_always(&self) -> bool {
        self.dataset == Dataset::Logs && self.literals().is_none()
    }

    /// Literals of which every matching message holds at least one; `None` when no such list is known.
    fn literals(&self) -> Option<Vec<String>> {
        match (self.dataset, &self.needs[..]) {
            (Dataset::Metrics | Dataset::Spans, _) => None,
            (Dataset::Logs, []) => needed_literals(&self.filter),
            (Dataset::Logs, needs) => Some(needs.iter().map(|text| text.to_ascii_lowercase()).collect()),
        }
    }
}

fn read(document: &Document<'_>, parse_filter: &ParseFilter<'_>) -> Result<Rule, RuleError> {
    let written: Written = yaml_serde::from_str(document.text).map_err(|error| {
        let at = error.location();
        let (line, column) = at.map(|at| (at.line().max(1), at.column().max(1))).unzip();
        document.error(line, column, error.to_string())
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
        parse_filter(&written.when, written.dataset).map_err(|fault| document.error_in("when", fault))?;
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
        line: document.lines_before + 1,
        owner: document.owner.cloned(),
        filter,
        matcher,
    })
}

fn is_taken(taken: &BTreeMap<String, BTreeSet<Option<Tenant>>>, rule: &Rule) -> bool {
    let Some(by) = taken.get(&rule.id) else { return false };
    by.contains(&None) || by.contains(&rule.owner) || rule.owner.is_none()
}

/// Whether a tenant's Sigma file leaves the rules of others as they are.
fn stands_alone(file: &RuleFile, others: &Collection) -> Result<(), RuleError> {
    let refused = |line: usize, reason: String| {
        let hint = Some("put it into the rules folder of the server".to_owned());
        Err(RuleError { file: file.name.clone(), line: Some(line), column: Some(1), reason, hint })
    };
    for (index, line) in file.text.lines().enumerate() {
        let changes = ["filter:", "transformations:"].into_iter().find(|key| line.starts_with(key));
        if let Some(key) = changes {
            let key = key.trim_end_matches(':');
            return refused(
                index + 1,
                format!("`{key}` changes rules of others, which a rule of a tenant may not"),
            );
        }
    }
    let mut alone = Collection::default();
    alone.add_file(&file.name, &file.text);
    let names = |collection: &Collection, name: &String| {
        let rules = collection.rules.iter().map(|rule| &rule.meta);
        let mut metas = rules.chain(collection.correlations.iter().map(|correlation| &correlation.meta));
        metas.any(|meta| meta.id == *name || meta.name.as_ref() == Some(name))
    };
    for correlation in &alone.correlations {
        let other = correlation.rules.iter().find(|name| !names(&alone, name) || names(others, name));
        if let Some(name) = other {
            let reason = format!(
                "`{name}` is not a rule of this file alone: a correlation of a tenant may silence its own only"
            );
            return refused(correlation.meta.line, reason);
        }
    }
    Ok(())
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
        assert_eq!(shown[0], "r.yaml:9:11: `loud` is not warning or critical");
        assert!(shown[1].starts_with("r.yaml:15:8: bad pattern `(`"), "{}", shown[1]);
        assert_eq!(shown[2], "r.yaml:17:5: rule `a` exists already");
        assert!(shown[3].starts_with("r.yaml:23:1: unknown field `wen`"), "{}", shown[3]);
        assert!(shown[3].ends_with("(did you mean `when`?)"), "{}", shown[3]);
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
