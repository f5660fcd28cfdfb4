//! Rules tried on records, without consequence: which of them match which records and why, and which alerts would have come.
//!
//! What judges is what the stream runs: the detectors of signature and Sigma rules, fresh.
//!
//! Invariants:
//! - a match is a record that meets a rule's condition, whatever its threshold; a verdict is what the detector would have said;
//! - rules of a tenant are tried on its records only, as in the stream.

use std::collections::HashMap;

use heimdall_model::batch::Row;
use heimdall_model::schema::logs;
use heimdall_model::{Batch, Dataset, Filter, Matcher, Recovery, Severity, Target, Tenant, Test, Verdict};

use crate::config::DetectConfig;
use crate::detector::{Detector, Findings, Observed};
use crate::fields;
use crate::rules::{Rule, RuleSet};
use crate::sigma::{self, Sigma};
use crate::signature::Signature;

/// Grounds given for one match.
pub const GROUNDS_MAX: usize = 40;
/// Characters of a value shown as ground.
const VALUE_CHARS_MAX: usize = 500;
/// Alerts that are told apart at a time; beyond, each verdict counts as one.
pub const ALERTS_FOLLOWED_MAX: usize = 100_000;

/// What a rule is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// A rule of ours.
    Signature,
    /// A Sigma rule about single events.
    Sigma,
    /// A Sigma correlation: it matches no record by itself.
    Correlation,
}

impl RuleKind {
    /// `signature`, `sigma` or `correlation`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RuleKind::Signature => "signature",
            RuleKind::Sigma => "sigma",
            RuleKind::Correlation => "correlation",
        }
    }
}

/// What a rule says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    /// Stable id.
    pub id: String,
    /// Short name for people.
    pub title: String,
    /// What it finds.
    pub description: String,
    /// As what it is written.
    pub kind: RuleKind,
    /// In its own words: `warning`, `critical`, and for Sigma also `informational`, `low`, `medium`, `high`.
    pub level: &'static str,
    /// Severity of its verdicts.
    pub severity: Severity,
    /// Dataset it reads.
    pub dataset: Dataset,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// Tags, such as `attack.t1110`.
    pub tags: Vec<String>,
    /// File it came from.
    pub file: String,
    /// Line of its document, from 1.
    pub line: usize,
}

impl RuleInfo {
    fn of(rule: &Rule) -> RuleInfo {
        RuleInfo {
            id: rule.id.clone(),
            title: rule.title.clone(),
            description: rule.description.clone(),
            kind: RuleKind::Signature,
            level: if rule.severity == Severity::Critical { "critical" } else { "warning" },
            severity: rule.severity,
            dataset: rule.dataset,
            enabled: rule.enabled,
            tags: Vec::new(),
            file: rule.file.clone(),
            line: rule.line,
        }
    }

    fn sigma(meta: &heimdall_sigma::Metadata, kind: RuleKind) -> RuleInfo {
        use heimdall_sigma::Level;
        RuleInfo {
            id: meta.id.clone(),
            title: meta.title.clone(),
            description: meta.description.clone(),
            kind,
            level: match meta.level {
                Some(Level::Informational) => "informational",
                Some(Level::Low) => "low",
                Some(Level::Medium) | None => "medium",
                Some(Level::High) => "high",
                Some(Level::Critical) => "critical",
            },
            severity: sigma::severity(meta.level),
            dataset: Dataset::Logs,
            enabled: true,
            tags: meta.tags.clone(),
            file: meta.file.clone(),
            line: meta.line,
        }
    }
}

impl RuleSet {
    /// What every rule says of itself: those of ours, then Sigma rules, then correlations.
    #[must_use]
    pub fn infos(&self) -> Vec<RuleInfo> {
        let own = self.rules().iter().map(RuleInfo::of);
        let sigma = self.sigma().metas().map(|(meta, _)| RuleInfo::sigma(meta, RuleKind::Sigma));
        let correlations = self.sigma().correlations().iter();
        let correlations = correlations.map(|one| RuleInfo::sigma(&one.meta, RuleKind::Correlation));
        own.chain(sigma).chain(correlations).collect()
    }
}

/// One record met the condition of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Row in the batch.
    pub row: usize,
    /// Place of the rule in [`Trial::rules`].
    pub rule: usize,
}

/// Something of a record that makes a rule hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Ground {
    /// The field, as the rule names it; `None` when any text of the record will do.
    pub field: Option<String>,
    /// The value that answers, cut short; `None` when its presence or absence does.
    pub value: Option<String>,
    /// The part of the condition that holds, where it is one of ours.
    pub test: Option<(Target, Test)>,
}

/// Rules under trial.
pub struct Trial {
    signature: Signature,
    sigma: Sigma,
    rules: Vec<RuleInfo>,
    by_id: HashMap<String, usize>,
    findings: Findings,
}

impl Trial {
    /// A trial of these rules that has seen nothing. The configuration has passed [`DetectConfig::check`].
    #[must_use]
    pub fn new(config: &DetectConfig, rules: RuleSet) -> Trial {
        let config = config.only(&crate::switch::RULE_DETECTORS);
        let infos = rules.infos();
        let by_id = infos.iter().enumerate().map(|(place, rule)| (rule.id.clone(), place)).collect();
        let sigma = Sigma::new(&config, &rules);
        let signature = Signature::new(&config, rules);
        Trial { signature, sigma, rules: infos, by_id, findings: Findings::default() }
    }

    /// The rules, in the order that [`Match::rule`] counts.
    #[must_use]
    pub fn rules(&self) -> &[RuleInfo] {
        &self.rules
    }

    /// The place of a rule in [`Trial::rules`].
    #[must_use]
    pub fn place_of(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Tries a batch of one tenant; batches come in the order of time. Adds the matches, by row, and what the detectors say.
    pub fn observe(
        &mut self,
        tenant: &Tenant,
        batch: &Batch,
        matches: &mut Vec<Match>,
        verdicts: &mut Vec<Verdict>,
    ) {
        let own = self.signature.rules().rules().len();
        for row in batch.iter() {
            let index = row.index();
            let found = self.signature.matching(tenant, &row);
            matches.extend(found.iter().map(|rule| Match { row: index, rule: *rule }));
            if batch.dataset == Dataset::Logs {
                let found = self.sigma.matching(tenant, &row);
                matches.extend(found.iter().map(|rule| Match { row: index, rule: own + *rule as usize }));
            }
        }
        let observed = Observed { tenant, batch };
        self.signature.observe(&observed, &mut self.findings);
        self.sigma.observe(&observed, &mut self.findings);
        verdicts.append(&mut self.findings.verdicts);
    }

    /// Why a record meets the condition of a rule: at most [`GROUNDS_MAX`] grounds, empty where it does not.
    pub fn why(&mut self, rule: usize, row: &Row<'_>) -> Vec<Ground> {
        let own = self.signature.rules().rules();
        let mut grounds = Vec::new();
        match own.get(rule) {
            Some(rule) => {
                needed(rule, row, &mut grounds);
                held(rule.filter(), row, &mut grounds);
            }
            None => {
                let index = u32::try_from(rule - own.len()).unwrap_or(u32::MAX);
                if self.rules.get(rule).is_some_and(|rule| rule.kind == RuleKind::Sigma) {
                    let found = self.sigma.why(index, row).into_iter();
                    let short = |value: String| value.chars().take(VALUE_CHARS_MAX).collect();
                    grounds.extend(found.map(|ground| Ground {
                        field: ground.field,
                        value: ground.value.map(short),
                        test: None,
                    }));
                }
            }
        }
        grounds.truncate(GROUNDS_MAX);
        grounds
    }
}

/// The text among a rule's `needs` that the message holds.
fn needed(rule: &Rule, row: &Row<'_>, out: &mut Vec<Ground>) {
    let Some(message) = row.text(logs::MESSAGE).filter(|_| row.dataset() == Dataset::Logs) else { return };
    let message = message.to_ascii_lowercase();
    if let Some(text) = rule.needs.iter().find(|text| message.contains(&text.to_ascii_lowercase())) {
        let test = Some((Target::Field(logs::MESSAGE), Test::Contains(text.clone())));
        out.push(Ground { field: Some("message".to_owned()), value: Some(text.clone()), test });
    }
}

/// Adds the parts of a filter that hold, and whether it holds as a whole.
fn held(filter: &Filter, row: &Row<'_>, out: &mut Vec<Ground>) -> bool {
    let start = out.len();
    let holds = match filter {
        Filter::All => true,
        // Every part is looked at: each that holds is a ground.
        Filter::And(parts) => parts.iter().filter(|part| !held(part, row, out)).count() == 0,
        Filter::Or(parts) => parts.iter().filter(|part| held(part, row, out)).count() > 0,
        Filter::Not(inner) => !held(inner, row, &mut Vec::new()),
        Filter::Test(target, test) => {
            let dataset = row.dataset();
            let holds = Matcher::compile(filter, dataset).is_ok_and(|matcher| matcher.matches(row, None));
            if holds && out.len() < GROUNDS_MAX {
                let value = fields::text(row, target);
                out.push(Ground {
                    field: Some(target.name(dataset)),
                    value: value.map(|value| value.chars().take(VALUE_CHARS_MAX).collect()),
                    test: Some((target.clone(), test.clone())),
                });
            }
            holds
        }
    };
    if !holds {
        out.truncate(start);
    }
    holds
}

/// Counts the alerts that verdicts would have raised: one for each rule and entity, and another where it had been quiet for so
/// long that it would have been resolved, or was told to be over.
#[derive(Debug)]
pub struct AlertCount {
    resolve_after_ns: i64,
    /// When each was last reported, by rule and entity.
    last: HashMap<(String, String, String), i64>,
    raised: u64,
}

impl AlertCount {
    /// Nothing seen. `resolve_after_ns`: as `alerts.resolve_after`.
    #[must_use]
    pub fn new(resolve_after_ns: i64) -> AlertCount {
        AlertCount { resolve_after_ns, last: HashMap::new(), raised: 0 }
    }

    /// Takes a verdict; whether it raises an alert.
    pub fn observe(&mut self, verdict: &Verdict) -> bool {
        let entity = &verdict.entity;
        let key = (verdict.rule.clone(), entity.kind.clone(), entity.value.clone());
        let time = verdict.time.0;
        let raises = match self.last.get_mut(&key) {
            Some(last) => {
                let is_resolved = time.saturating_sub(*last) > self.resolve_after_ns;
                *last = time.max(*last);
                is_resolved
            }
            None => {
                if self.last.len() < ALERTS_FOLLOWED_MAX {
                    self.last.insert(key, time);
                }
                true
            }
        };
        self.raised += u64::from(raises);
        raises
    }

    /// Takes the end of a finding: the next verdict raises another alert.
    pub fn recover(&mut self, over: &Recovery) {
        self.last.remove(&(over.rule.clone(), over.entity.kind.clone(), over.entity.value.clone()));
    }

    /// Alerts raised so far.
    #[must_use]
    pub fn raised(&self) -> u64 {
        self.raised
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleFile;
    use crate::testing::{Line, logs, parse_filter};

    const OWN: &str = "id: guess\ntitle: Guessing\nseverity: warning\nwhen: '\"invalid coupon\" service:shop'\n\
                       threshold: {count: 3, within: 1m}\nentity: source_ip\n";
    const SIGMA: &str = "title: Odd tool\nid: odd\nlogsource: {service: sshd}\nlevel: high\n\
                         detection:\n  sel:\n    message|contains: mimikatz\n  condition: sel\n";

    fn rules(files: &[(&str, &str, Option<&str>)]) -> RuleSet {
        let file = |(name, text, owner): &(&str, &str, Option<&str>)| RuleFile {
            owner: owner.map(|owner| Tenant::new(owner).unwrap()),
            ..RuleFile::shared(name, text)
        };
        let (rules, errors) = RuleSet::load(&files.iter().map(file).collect::<Vec<_>>(), &parse_filter);
        assert_eq!(errors, []);
        rules
    }

    fn tried(rules: RuleSet, lines: &[Line]) -> (Vec<(usize, String)>, Vec<String>) {
        let mut trial = Trial::new(&DetectConfig::default(), rules);
        let (mut matches, mut verdicts) = (Vec::new(), Vec::new());
        trial.observe(&Tenant::default(), &logs(lines), &mut matches, &mut verdicts);
        let named = |found: &Match| (found.row, trial.rules()[found.rule].id.clone());
        (matches.iter().map(named).collect(), verdicts.into_iter().map(|verdict| verdict.rule).collect())
    }

    fn coupon(second: i64) -> Line {
        Line::new(second, "invalid coupon FREE").service("shop").source_ip("203.0.113.1")
    }

    #[test]
    fn matches_and_what_would_be_said_of_them() {
        let odd = Line::new(4, "ran mimikatz").service("sshd");
        let lines = [coupon(0), coupon(1), Line::new(2, "fine").service("shop"), coupon(3), odd];
        let (matches, verdicts) = tried(rules(&[("a.yaml", OWN, None), ("b.yaml", SIGMA, None)]), &lines);
        let named = |list: &[(usize, &str)]| {
            list.iter().map(|(row, id)| (*row, (*id).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(matches, named(&[(0, "guess"), (1, "guess"), (3, "guess"), (4, "odd")]));
        assert_eq!(verdicts, ["guess", "odd"]);
    }

    #[test]
    fn the_grounds_of_a_match_are_fields_with_their_values() {
        let mut trial =
            Trial::new(&DetectConfig::default(), rules(&[("a.yaml", OWN, None), ("b.yaml", SIGMA, None)]));
        let batch = logs(&[coupon(0), Line::new(4, "ran mimikatz").service("sshd")]);
        let grounds = |trial: &mut Trial, rule, row| -> Vec<(Option<String>, Option<String>)> {
            trial.why(rule, &batch.row(row)).into_iter().map(|ground| (ground.field, ground.value)).collect()
        };
        let some = |text: &str| Some(text.to_owned());
        let found = grounds(&mut trial, 0, 0);
        assert_eq!(found, [(some("message"), some("invalid coupon FREE")), (some("service"), some("shop"))]);
        assert_eq!(grounds(&mut trial, 0, 1), []);
        assert_eq!(grounds(&mut trial, 1, 1), [(some("message"), some("ran mimikatz"))]);
    }

    #[test]
    fn rules_of_a_tenant_are_about_its_records_only() {
        let own = [("a.yaml", OWN, Some("acme")), ("b.yaml", SIGMA, Some("acme"))];
        let lines = [coupon(0), Line::new(4, "ran mimikatz").service("sshd")];
        assert_eq!(tried(rules(&own), &lines).0, []);
        let own = [("a.yaml", OWN, Some("default")), ("b.yaml", SIGMA, Some("default"))];
        assert_eq!(tried(rules(&own), &lines).0.len(), 2);
        rules(&[("a.yaml", OWN, Some("acme")), ("b.yaml", OWN, Some("other"))]);
    }

    #[test]
    fn rules_of_a_tenant_change_none_of_others() {
        let refused = |text: &str| {
            let files = [
                RuleFile::shared("all.yaml", SIGMA),
                RuleFile { owner: Some(Tenant::default()), ..RuleFile::shared("own.yaml", text) },
            ];
            let (_, errors) = RuleSet::load(&files, &parse_filter);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let correlation = "title: Many\nid: many\ncorrelation:\n  type: event_count\n  rules: [odd]\n  timespan: 1m\n  condition: {gte: 3}\n";
        assert!(refused(correlation).starts_with("own.yaml:1:1: `odd` is not a rule of this file alone"));
        let filter = "title: F\nlogsource: {service: sshd}\nfilter:\n  rules: any\n  sel: {a: 1}\n  condition: not sel\n";
        assert!(refused(filter).starts_with("own.yaml:3:1: `filter` changes rules of others"));
        assert!(refused("transformations: []\n").starts_with("own.yaml:1:1: `transformations` changes"));
        assert!(refused(SIGMA).contains("the id is taken"));
        let both = format!("{}---\n{}", SIGMA.replace("odd", "own"), correlation.replace("odd", "own"));
        assert_eq!(refused(&both), "");
    }

    #[test]
    fn an_alert_is_raised_anew_after_a_quiet_time() {
        let mut trial = Trial::new(&DetectConfig::default(), rules(&[("b.yaml", SIGMA, None)]));
        let lines = [0, 61, 200, 9_000].map(|second| Line::new(second, "mimikatz").service("sshd"));
        let (mut matches, mut verdicts) = (Vec::new(), Vec::new());
        trial.observe(&Tenant::default(), &logs(&lines), &mut matches, &mut verdicts);
        let mut count = AlertCount::new(3_600_000_000_000);
        let raised: Vec<bool> = verdicts.iter().map(|verdict| count.observe(verdict)).collect();
        assert_eq!((raised, count.raised()), (vec![true, false, false, true], 2));
    }
}
