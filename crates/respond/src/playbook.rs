//! Playbooks: which alerts they answer, with what, who must agree, and what proves that it helped.
//!
//! Invariants:
//! - a [`Playbook`] that exists was checked: patterns compile, placeholders are known, numbers lie within their bounds;
//! - its hash changes with its content and with nothing else.
//!
//! Not here: reading YAML ([`read`](self::read)), what a run made of it does (`run`).

use std::collections::BTreeMap;
use std::time::Duration;

use heimdall_model::{Alert, LabelMatcher, Severity, Status, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::ActionRunner;
use crate::config::span;
use crate::pattern::Pattern;
use crate::ports::Check;
use crate::times::TimeInterval;

mod read;

/// Most playbooks at once.
pub const PLAYBOOKS_MAX: usize = 1_000;
/// Most steps of one list.
pub const STEPS_MAX: usize = 50;
/// Most retries of one step.
pub const RETRIES_MAX: u32 = 10;

/// How far a playbook may go by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It says what it would do.
    #[default]
    DryRun,
    /// It acts once a person agreed.
    Approve,
    /// As `approve`, until enough verified successes earned it `auto`.
    Earn,
    /// It acts.
    Auto,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 4] = [Mode::DryRun, Mode::Approve, Mode::Earn, Mode::Auto];

    /// `dry_run`, `approve`, `earn` or `auto`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::DryRun => "dry_run",
            Mode::Approve => "approve",
            Mode::Earn => "earn",
            Mode::Auto => "auto",
        }
    }
}

/// A playbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Playbook {
    /// Its name: letters, digits, `.`, `_`, `-`.
    pub id: String,
    /// Counted up by whoever changes it.
    pub version: u32,
    /// Short name for people.
    pub title: String,
    /// Why it exists; may be empty.
    pub description: String,
    /// Whether it answers alerts at all.
    pub enabled: bool,
    /// How far it may go.
    pub mode: Mode,
    /// Which alerts it answers.
    pub trigger: Trigger,
    /// When it may.
    pub conditions: Conditions,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// Who must agree.
    pub approval: Approval,
    /// What proves that it helped; none: nothing does, and no success is counted.
    pub verification: Option<Verification>,
    /// How it is undone.
    pub rollback: Rollback,
    /// What is done instead.
    #[serde(rename = "else")]
    pub otherwise: Option<Otherwise>,
    /// Whom to tell when it fails.
    pub escalate: Escalate,
    /// Time in which the same alert does not start it again; none: as configured.
    #[serde(with = "optional_span")]
    pub cooldown: Option<Duration>,
    /// Verified successes that earn it `auto`; none: as configured.
    pub autonomy_after: Option<u32>,
    /// File and first line it was read from.
    #[serde(skip)]
    pub source: Source,
}

/// Where a playbook was read from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Source {
    /// File.
    pub file: String,
    /// First line.
    pub line: usize,
}

/// Which alerts a playbook answers: all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Rules, any of them; empty: every rule.
    pub rules: Vec<Pattern>,
    /// Matchers of labels, all of them.
    pub matchers: Vec<LabelMatcher>,
    /// At least this severe.
    pub severity: Option<Severity>,
    /// At least so many findings.
    pub count_min: u64,
    /// Live for at least this long.
    #[serde(with = "span")]
    pub age_min: Duration,
}

/// When a playbook may act.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// In any of these times; empty: always.
    pub times: Vec<TimeInterval>,
    /// For any of these services; empty: for all.
    pub services: Vec<Pattern>,
    /// The alert was raised within this time.
    #[serde(with = "optional_span")]
    pub alert_age_max: Option<Duration>,
    /// Not while another live alert passes all these matchers.
    pub unless_live: Vec<LabelMatcher>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Kind of action.
    pub action: String,
    /// Its target; may hold placeholders.
    pub target: String,
    /// Its parameters; texts may hold placeholders.
    pub with: BTreeMap<String, Value>,
    /// Longest time of one attempt; none: as configured, which is also the most.
    #[serde(with = "optional_span")]
    pub timeout: Option<Duration>,
    /// Further attempts after a failure.
    pub retries: u32,
    /// What happens when no attempt succeeds.
    pub on_failure: OnFailure,
}

/// What happens when a step fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run ends there; what was done stays done.
    Stop,
    /// The next step is done.
    Continue,
    /// What was done is undone.
    #[default]
    Rollback,
}

/// Who must agree to a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Principals that may; empty: whoever may approve at all.
    pub by: Vec<Pattern>,
    /// When the question expires; none: as configured.
    #[serde(with = "optional_span")]
    pub expires: Option<Duration>,
}

/// What proves that a run helped: all checks at once, within the time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// First waits so long.
    #[serde(with = "span")]
    pub wait: Duration,
    /// Checks again until then, counted from the end of the wait.
    #[serde(with = "span")]
    pub within: Duration,
    /// So often.
    #[serde(with = "span")]
    pub every: Duration,
    /// What is checked; texts may hold placeholders.
    pub checks: Vec<Check>,
}

/// How a run is undone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rollback {
    /// By the inverse of every action done, last first.
    #[default]
    Automatic,
    /// By these steps.
    Steps(Vec<Step>),
    /// Not at all.
    None,
}

/// What is done instead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Otherwise {
    /// Done when the conditions do not hold.
    pub on_conditions: bool,
    /// Done when the verification failed, after the rollback; verified again.
    pub on_verification: bool,
    /// The steps.
    pub steps: Vec<Step>,
}

/// Whom to tell when a run fails: an alert is raised always.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalate {
    /// Severity of that alert; none: that of the alert answered, at least `WARNING`.
    pub severity: Option<Severity>,
    /// What to say besides; may hold placeholders.
    pub message: String,
    /// Whether somebody is paged whatever the routes say.
    pub page: bool,
}

/// One thing wrong with a playbook file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{file}:{line}: `{key}`: {reason}")]
pub struct PlaybookFault {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Dotted key, such as `steps[0].with.replicas`.
    pub key: String,
    /// What is wrong, with the nearest known key where there is one.
    pub reason: String,
}

impl Playbook {
    /// Reads the playbooks of a file, one YAML document each. Kinds of actions are not checked: see [`Playbook::load`].
    ///
    /// # Errors
    /// Every fault found, by line.
    pub fn parse(file: &str, text: &str) -> Result<Vec<Playbook>, Vec<PlaybookFault>> {
        read::playbooks(file, text, None)
    }

    /// As [`Playbook::parse`]; unknown kinds of actions and parameters that a runner refuses are faults, too.
    ///
    /// # Errors
    /// Every fault found, by line.
    pub fn load(
        file: &str,
        text: &str,
        runners: &[std::sync::Arc<dyn ActionRunner>],
    ) -> Result<Vec<Playbook>, Vec<PlaybookFault>> {
        read::playbooks(file, text, Some(runners))
    }

    /// SHA-256 of its content, the first 32 hex digits. Mode and `enabled` count: who changes them changes the playbook.
    #[must_use]
    pub fn hash(&self) -> String {
        let text = serde_json::to_vec(self).expect("a playbook has text keys only");
        let digest = ring::digest::digest(&ring::digest::SHA256, &text);
        digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How an alert stands to a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triggered {
    /// It is not meant.
    No,
    /// It is meant, but not yet: too few findings, or too young until then.
    NotYet {
        /// When to look again; none: with the next finding.
        until: Option<Timestamp>,
    },
    /// It is.
    Yes,
}

impl Trigger {
    /// How this alert stands to it.
    #[must_use]
    pub fn of(&self, alert: &Alert, now: Timestamp) -> Triggered {
        let is_meant = (self.rules.is_empty() || self.rules.iter().any(|rule| rule.is_match(&alert.rule)))
            && self.severity.is_none_or(|least| alert.severity >= least)
            && self.matchers.iter().all(|matcher| matcher.matches(alert));
        if !is_meant || alert.status == Status::Resolved {
            return Triggered::No;
        }
        let old_enough = alert.raised_at.saturating_add_ns(span::ns(self.age_min));
        if now < old_enough {
            return Triggered::NotYet { until: Some(old_enough) };
        }
        if alert.count < self.count_min { Triggered::NotYet { until: None } } else { Triggered::Yes }
    }
}

impl Conditions {
    /// The first that does not hold, in words; `unless_live` is not looked at.
    #[must_use]
    pub fn unmet(&self, alert: &Alert, now: Timestamp) -> Option<String> {
        if !self.times.is_empty() && !self.times.iter().any(|time| time.holds(now)) {
            return Some("it is none of the times allowed".to_owned());
        }
        let service = alert.service.as_deref().unwrap_or_default();
        if !self.services.is_empty() && !self.services.iter().any(|pattern| pattern.is_match(service)) {
            return Some(format!("service `{service}` is not listed"));
        }
        let age = now.0.saturating_sub(alert.raised_at.0);
        let too_old = self.alert_age_max.filter(|most| age > span::ns(*most));
        too_old.map(|most| format!("the alert is older than {}", span::show(most)))
    }
}

/// `Option<Duration>` as text or null.
mod optional_span {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::config::span;

    #[expect(clippy::ref_option, reason = "the form serde calls")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => span::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Span(#[serde(with = "span")] Duration);
        Ok(Option::<Span>::deserialize(deserializer)?.map(|Span(value)| value))
    }
}

#[cfg(test)]
mod tests;
