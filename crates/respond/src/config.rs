//! What people allow the machine to do, and how often.
//!
//! Invariant: [`RespondConfig::check`] passed for every configuration the responder works with.

use std::path::PathBuf;
use std::time::Duration;

use heimdall_model::{format_duration, parse_duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pattern::Pattern;
use crate::playbook::Mode;

/// Most entries of a list of patterns.
pub const PATTERNS_MAX: usize = 1_000;
/// Longest time a key may hold: a year.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// What the responder may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RespondConfig {
    /// Alerts are answered by playbooks. Default `true`: with `mode` as it is, playbooks only say what they would do.
    pub enabled: bool,
    /// The most any playbook may do: `dry_run` (say what would happen), `approve` (act once a person agreed), `auto` (act).
    /// Default `dry_run`: nothing is touched until somebody decides so.
    pub mode: Mode,
    /// Folder of playbooks, re-read when it changes; one with the id of a playbook that comes with Heimdall takes its place.
    /// Default none: those that come with Heimdall.
    pub playbooks_dir: Option<PathBuf>,
    /// Containers may be restarted, stopped, started and scaled (kinds `docker.*`). Default `true`; `mode` decides first.
    pub enable_docker_recovery: bool,
    /// Cache entries may be removed (kinds `cache.*`). Default `true`; `mode` decides first.
    pub enable_cache_recovery: bool,
    /// System services may be restarted (kinds `service.*`). Default `true`; `mode` decides first.
    pub enable_service_recovery: bool,
    /// Actions under way at once; further ones wait, the most severe first. Default 3.
    pub max_concurrent_actions: usize,
    /// Longest time one action may take; a playbook may ask for less. Default `120s`; a plain number is seconds.
    #[serde(with = "span")]
    pub action_timeout: Duration,
    /// Longest time looking at a target, asking for progress or one health check may take. Default `10s`.
    #[serde(with = "span")]
    pub look_timeout: Duration,
    /// Runs that are queued, awaiting approval or under way; a further one is refused, written down and counted. Default 256.
    pub runs_max: usize,
    /// Time in which the same alert does not start the same playbook again, and a target acted on is left alone by other
    /// runs. Default `5m`: most services need a minute or two to show whether they are well.
    #[serde(with = "span")]
    pub cooldown: Duration,
    /// Actions on one target in an hour. Default 3: what three restarts did not heal, a fourth does not either.
    pub target_actions_per_hour: u32,
    /// Actions of one playbook in an hour. Default 10.
    pub playbook_actions_per_hour: u32,
    /// Actions in an hour, all together. Default 30.
    pub actions_per_hour: u32,
    /// Percent of the instances of one service that may be touched within `blast_window`; one instance always may. Default 25.
    pub blast_radius_percent: u32,
    /// How long an instance counts as touched. Default `10m`.
    #[serde(with = "span")]
    pub blast_window: Duration,
    /// Targets no action may touch: names with `*` and `?`, or regular expressions between slashes, as `/^db-[0-9]+$/`. They are
    /// compared with an action's target and the service it touches. Default none.
    pub never_touch: Vec<String>,
    /// Kinds of actions that need a person's approval whatever the playbook says, with `*`. Default `command*` and `rollback*`:
    /// what they do is not known here.
    pub always_approve: Vec<String>,
    /// Verified successes, without a failure between, after which a playbook in mode `earn` acts without approval. Default 5.
    pub autonomy_after: u32,
    /// How long a person may take to approve; then the run is rejected. A playbook may ask for another time. Default `30m`.
    #[serde(with = "span")]
    pub approval_expires: Duration,
    /// How long finished runs are kept. Default `90d`.
    #[serde(with = "span")]
    pub keep_runs: Duration,
    /// Failures to reach a system, one after another, after which it is left alone for `outage_retry`. Default 3.
    pub outage_after: u32,
    /// How long an unreachable system is left alone; doubled each time, up to sixteen times. Default `30s`.
    #[serde(with = "span")]
    pub outage_retry: Duration,
}

impl Default for RespondConfig {
    fn default() -> Self {
        RespondConfig {
            enabled: true,
            mode: Mode::DryRun,
            playbooks_dir: None,
            enable_docker_recovery: true,
            enable_cache_recovery: true,
            enable_service_recovery: true,
            max_concurrent_actions: 3,
            action_timeout: Duration::from_secs(120),
            look_timeout: Duration::from_secs(10),
            runs_max: 256,
            cooldown: Duration::from_secs(5 * 60),
            target_actions_per_hour: 3,
            playbook_actions_per_hour: 10,
            actions_per_hour: 30,
            blast_radius_percent: 25,
            blast_window: Duration::from_secs(10 * 60),
            never_touch: Vec::new(),
            always_approve: vec!["command*".to_owned(), "rollback*".to_owned()],
            autonomy_after: 5,
            approval_expires: Duration::from_secs(30 * 60),
            keep_runs: Duration::from_secs(90 * 24 * 3_600),
            outage_after: 3,
            outage_retry: Duration::from_secs(30),
        }
    }
}

/// A value does not suit its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {reason}")]
pub struct RespondConfigError {
    /// The key, inside its section.
    pub key: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl RespondConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// The first that does not suit its key.
    pub fn check(&self) -> Result<(), RespondConfigError> {
        let fault = |key, reason: &str| Err(RespondConfigError { key, reason: reason.to_owned() });
        if self.mode == Mode::Earn {
            return fault("mode", "is a playbook's own; here write `dry_run`, `approve` or `auto`");
        }
        if self.max_concurrent_actions == 0 || self.max_concurrent_actions > 1_000 {
            return fault("max_concurrent_actions", "lies between 1 and 1000");
        }
        if self.runs_max == 0 || self.runs_max > 10_000 {
            return fault("runs_max", "lies between 1 and 10000");
        }
        if self.blast_radius_percent > 100 {
            return fault("blast_radius_percent", "is a percentage, 0 to 100");
        }
        if self.autonomy_after == 0 || self.outage_after == 0 {
            return fault(
                if self.autonomy_after == 0 { "autonomy_after" } else { "outage_after" },
                "is at least 1",
            );
        }
        self.check_spans()?;
        self.check_patterns("never_touch", &self.never_touch)?;
        self.check_patterns("always_approve", &self.always_approve)
    }

    fn check_spans(&self) -> Result<(), RespondConfigError> {
        let spans = [
            ("action_timeout", self.action_timeout, false),
            ("look_timeout", self.look_timeout, false),
            ("cooldown", self.cooldown, true),
            ("blast_window", self.blast_window, true),
            ("approval_expires", self.approval_expires, false),
            ("keep_runs", self.keep_runs, false),
            ("outage_retry", self.outage_retry, false),
        ];
        let bad = spans.into_iter().find(|(_, span, may_be_none)| {
            *span > SPAN_MAX || (!may_be_none && *span < Duration::from_millis(1))
        });
        bad.map_or(Ok(()), |(key, ..)| {
            Err(RespondConfigError { key, reason: "lies between 1ms and 366d".to_owned() })
        })
    }

    fn check_patterns(&self, key: &'static str, patterns: &[String]) -> Result<(), RespondConfigError> {
        if patterns.len() > PATTERNS_MAX {
            return Err(RespondConfigError { key, reason: format!("has more than {PATTERNS_MAX} entries") });
        }
        let bad = patterns.iter().find_map(|pattern| Pattern::parse(pattern).err());
        bad.map_or(Ok(()), |error| Err(RespondConfigError { key, reason: error.to_string() }))
    }
}

/// Durations as text (`30s`); a plain number is seconds.
pub(crate) mod span {
    use super::{Deserialize, Deserializer, Duration, Serializer, format_duration, parse_duration};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Text(String),
        Seconds(f64),
    }

    pub(crate) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&show(*span))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        match Raw::deserialize(deserializer)? {
            Raw::Text(text) => parse(&text).ok_or_else(|| {
                serde::de::Error::custom(format!("`{text}` is not a duration; write it like `30s`"))
            }),
            Raw::Seconds(seconds) => Duration::try_from_secs_f64(seconds)
                .map_err(|_| serde::de::Error::custom(format!("{seconds} is not a number of seconds"))),
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Duration> {
        parse_duration(text).and_then(|ns| u64::try_from(ns).ok()).map(Duration::from_nanos)
    }

    pub(crate) fn show(span: Duration) -> String {
        format_duration(ns(span))
    }

    /// Nanoseconds, as timestamps count them.
    pub(crate) fn ns(span: Duration) -> i64 {
        i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut RespondConfig), key: &str) {
        let mut config = RespondConfig::default();
        change(&mut config);
        assert_eq!(config.check().map_err(|error| error.key), if key.is_empty() { Ok(()) } else { Err(key) });
    }

    #[test]
    fn values_that_do_not_suit_are_named() {
        check(|_| {}, "");
        check(|config| config.mode = Mode::Earn, "mode");
        check(|config| config.max_concurrent_actions = 0, "max_concurrent_actions");
        check(|config| config.action_timeout = Duration::ZERO, "action_timeout");
        check(|config| config.cooldown = Duration::ZERO, "");
        check(|config| config.never_touch = vec!["/(/".to_owned()], "never_touch");
        check(|config| config.blast_radius_percent = 101, "blast_radius_percent");
    }

    #[test]
    fn it_reads_back_what_it_writes_and_takes_seconds_as_numbers() {
        let text = serde_json::to_string(&RespondConfig::default()).unwrap();
        assert!(text.contains(r#""action_timeout":"2m""#), "{text}");
        assert_eq!(serde_json::from_str::<RespondConfig>(&text).unwrap(), RespondConfig::default());
        let read: RespondConfig = serde_json::from_str(r#"{"action_timeout": 120.0}"#).unwrap();
        assert_eq!(read.action_timeout, Duration::from_secs(120));
        assert!(serde_json::from_str::<RespondConfig>(r#"{"max_concurent_actions": 3}"#).is_err());
    }
}
