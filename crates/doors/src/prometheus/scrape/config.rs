//! What is asked for its metrics, how often, and within which limits.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use heimdall_detect::Period;
use heimdall_model::{Size, Tenant};
use serde::{Deserialize, Serialize};

use super::DOOR;
use crate::DoorError;

/// Targets of one job; more are an error, and in a file of targets the rest is left out with a warning.
pub(super) const TARGETS_MAX: usize = 1_000;

/// A job: targets that are asked alike. One table each: `[[doors.scrape]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScrapeConfig {
    /// Its name, the label `job` and the service of its samples. No default.
    pub job: String,
    /// Targets: `host:port`, or a whole address. Default `[]`.
    pub targets: Vec<String>,
    /// JSON file with more targets, in the form of Prometheus' `file_sd_configs`; read again every 30 seconds. Default none.
    pub targets_file: Option<PathBuf>,
    /// Time between two scrapes of a target. Default `15s`.
    pub interval: Period,
    /// Longest wait for an answer, not longer than `interval`. Default `10s`, or `interval` where that is shorter.
    pub timeout: Option<Period>,
    /// `http` or `https`, for targets that are no whole address. Default `http`.
    pub scheme: Scheme,
    /// Path, for targets that are no whole address. Default `/metrics`.
    pub path: String,
    /// Parameters added to the address. Default none.
    pub params: BTreeMap<String, String>,
    /// Labels added to every sample. Default none.
    pub labels: BTreeMap<String, String>,
    /// Whether labels of the target win over `job`, `instance` and `labels`; otherwise they are kept as `exported_NAME`. Default `false`.
    pub honor_labels: bool,
    /// Samples of one answer; with more, nothing of it is taken. Default `100000`.
    pub sample_limit: u64,
    /// Bytes of one answer; with more, nothing of it is taken. Default `16MiB`.
    pub body_bytes_max: Size,
    /// File with a token for `Authorization: Bearer`, read at every scrape. Default none.
    pub bearer_token_file: Option<PathBuf>,
    /// Name and password. Default none.
    pub basic_auth: Option<BasicAuth>,
    /// PEM file of authorities that are trusted besides the system's. Default none.
    pub ca_file: Option<PathBuf>,
    /// Whether certificates are not checked at all. Default `false`.
    pub insecure_skip_verify: bool,
    /// Tenant the samples belong to. Default `default`.
    pub tenant: Tenant,
}

/// How targets are spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// Name and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// Name.
    pub username: String,
    /// File with the password, read at every scrape.
    pub password_file: PathBuf,
}

impl ScrapeConfig {
    /// Longest wait for an answer.
    pub(super) fn timeout(&self) -> Duration {
        let timeout = self.timeout.unwrap_or_else(|| Period::seconds(10).min(self.interval));
        Duration::from_nanos(timeout.ns().unsigned_abs())
    }
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        ScrapeConfig {
            job: String::new(),
            targets: Vec::new(),
            targets_file: None,
            interval: Period::seconds(15),
            timeout: None,
            scheme: Scheme::Http,
            path: "/metrics".to_owned(),
            params: BTreeMap::new(),
            labels: BTreeMap::new(),
            honor_labels: false,
            sample_limit: 100_000,
            body_bytes_max: Size(16 << 20),
            bearer_token_file: None,
            basic_auth: None,
            ca_file: None,
            insecure_skip_verify: false,
            tenant: Tenant::default(),
        }
    }
}

/// Checks every job.
pub(super) fn check(jobs: &[ScrapeConfig]) -> Result<(), DoorError> {
    let mut names = HashSet::new();
    for job in jobs {
        let is_new = names.insert(job.job.as_str());
        let wrong = if is_new { wrong(job) } else { Some("`job` is used twice") };
        if let Some(wrong) = wrong {
            return Err(bad(job, wrong));
        }
    }
    Ok(())
}

pub(super) fn bad(job: &ScrapeConfig, detail: impl std::fmt::Display) -> DoorError {
    DoorError::Config { door: DOOR, detail: format!("job `{}`: {detail}", job.job) }
}

fn wrong(job: &ScrapeConfig) -> Option<&'static str> {
    let has_targets = !job.targets.is_empty() || job.targets_file.is_some();
    let is_timeout_good = job.timeout.is_none_or(|timeout| timeout > Period(0) && timeout <= job.interval);
    let has_odd_label = job.labels.keys().any(|name| name.is_empty() || name == "__name__");
    let checks = [
        (job.job.trim().is_empty(), "`job` is missing"),
        (!has_targets, "it has neither `targets` nor `targets_file`"),
        (job.targets.len() > TARGETS_MAX, "it has more than 1000 `targets`"),
        (job.interval < Period::seconds(1), "`interval` must be at least `1s`"),
        (job.interval > Period::hours(24), "`interval` must be at most `24h`"),
        (!is_timeout_good, "`timeout` must be above 0 and at most `interval`"),
        (!job.path.starts_with('/'), "`path` must start with `/`"),
        (has_odd_label, "`labels` has a name that none may have"),
        (job.sample_limit == 0 || job.body_bytes_max.0 == 0, "its limits must be above 0"),
        (
            job.bearer_token_file.is_some() && job.basic_auth.is_some(),
            "it has both `bearer_token_file` and `basic_auth`",
        ),
    ];
    checks.into_iter().find_map(|(is_wrong, reason)| is_wrong.then_some(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_job(text: &str, expected: Option<&str>) {
        let job: ScrapeConfig = toml::from_str(text).expect("a job");
        assert_eq!(wrong(&job), expected, "{text}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check_job("job = \"a\"\ntargets = [\"a:1\"]", None);
        check_job("targets = [\"a:1\"]", Some("`job` is missing"));
        check_job("job = \"a\"", Some("it has neither `targets` nor `targets_file`"));
        check_job("job = \"a\"\ntargets = [\"a\"]\ninterval = \"5s\"", None);
        check_job(
            "job = \"a\"\ntargets = [\"a\"]\ninterval = \"5s\"\ntimeout = \"10s\"",
            Some("`timeout` must be above 0 and at most `interval`"),
        );
        assert!(toml::from_str::<ScrapeConfig>("targtes = []").is_err());
        let job = ScrapeConfig { job: "a".into(), targets: vec!["a:1".into()], ..ScrapeConfig::default() };
        assert!(check(&[job.clone(), job]).is_err_and(|error| error.to_string().contains("used twice")));
    }
}
