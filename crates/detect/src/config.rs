//! Every threshold of the detectors: unit, default, and the reason for the default.
//!
//! Invariant: a configuration that passed [`DetectConfig::check`] cannot make a detector divide by zero, keep
//! nothing, or wait for a count it cannot hold.

use std::fmt;

use heimdall_model::time::{format_duration, parse_duration};
use heimdall_sigma::Level as SigmaLevel;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hits::HITS_MAX;
use crate::univariate::{Method, ScorerConfig};

/// Longest lateness, so that windows kept for late records stay small.
pub const LATENESS_MAX: Period = Period::minutes(60);

/// A length of time in ns, written `60s` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub i64);

impl Period {
    /// Whole seconds.
    #[must_use]
    pub const fn seconds(n: i64) -> Period {
        Period(n * heimdall_model::time::NS_PER_SECOND)
    }

    /// Whole minutes.
    #[must_use]
    pub const fn minutes(n: i64) -> Period {
        Period::seconds(60 * n)
    }

    /// Whole hours.
    #[must_use]
    pub const fn hours(n: i64) -> Period {
        Period::minutes(60 * n)
    }

    /// The length in ns.
    #[must_use]
    pub const fn ns(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Period).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is not a duration; write it like `60s` or `1h30m`"))
        })
    }
}

/// A value does not fit its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` must be {wants}")]
pub struct ConfigError {
    /// Dotted key below the section of this configuration, such as `auth.within`.
    pub key: String,
    /// What would do.
    pub wants: &'static str,
}

/// Configuration of all detectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectConfig {
    /// How late a record may be and still count in the window it belongs to, measured against the newest record of
    /// the same key (source, user, service). Default `10m`: shippers buffer for minutes; more costs memory per key.
    pub lateness: Period,
    /// How far event time may lie beyond arrival. A record further ahead is judged at its arrival time, so that one
    /// wrong clock cannot make everyone else late. Default `5m`: what unsynchronised clocks usually drift.
    pub ahead: Period,
    /// Detectors and rules in rehearsal, by name or rule id: they learn and judge, and what they find is counted and logged, but
    /// raises no alert. Default `[]`.
    pub dry_run: Vec<String>,
    /// What people say of alerts, and how far thresholds follow.
    pub feedback: FeedbackConfig,
    /// Values that leave their learnt baseline.
    pub zscore: ZscoreConfig,
    /// Values rarer than the history of their series.
    pub baseline: BaselineConfig,
    /// Too many records per second.
    pub flood: FloodConfig,
    /// Values beyond a fixed bound.
    pub threshold: ThresholdConfig,
    /// Whether endpoints and targets answer.
    pub availability: AvailabilityConfig,
    /// Failed logins.
    pub auth: AuthConfig,
    /// Too many failed operations.
    pub error_rate: ErrorRateConfig,
    /// Rules from the `rules/` folder.
    pub signature: SignatureConfig,
    /// Sigma rules from the same folder.
    pub sigma: SigmaConfig,
    /// Attacks in requests.
    pub web: WebConfig,
    /// Scans of paths and ports.
    pub scan: ScanConfig,
    /// What log messages are: new, vanished and shifted templates, values, levels, and who sends them.
    pub templates: TemplatesConfig,
    /// Learnt models over windows of each service, which speak when they agree.
    pub ensemble: EnsembleConfig,
}

impl Default for DetectConfig {
    fn default() -> Self {
        DetectConfig {
            lateness: Period::minutes(10),
            ahead: Period::minutes(5),
            dry_run: Vec::new(),
            feedback: FeedbackConfig::default(),
            zscore: ZscoreConfig::default(),
            baseline: BaselineConfig::default(),
            flood: FloodConfig::default(),
            threshold: ThresholdConfig::default(),
            availability: AvailabilityConfig::default(),
            auth: AuthConfig::default(),
            error_rate: ErrorRateConfig::default(),
            signature: SignatureConfig::default(),
            sigma: SigmaConfig::default(),
            web: WebConfig::default(),
            scan: ScanConfig::default(),
            templates: TemplatesConfig::default(),
            ensemble: EnsembleConfig::default(),
        }
    }
}

/// How far the thresholds of a detector follow what people say of its alerts: less sensitive where too many are wrong, more
/// where nearly all are right. See `docs/alerts.md` for which thresholds have a strength to adjust.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedbackConfig {
    /// Whether thresholds follow. Default `true`; feedback is kept and precision measured in any case.
    pub enabled: bool,
    /// Least factor on a threshold (0.5 to 1). Default 0.8: 3 σ become 2.4, where one value in 60 passes by chance instead of
    /// one in 370; further down, the alerts that are gained are mostly chance.
    pub factor_min: f64,
    /// Greatest factor on a threshold (1 to 2). Default 1.5: 3 σ become 4.5, which chance passes once in 150,000 values; what is
    /// wrong even there is wrong for another reason, and a greater factor would only hide what is real.
    pub factor_max: f64,
    /// Share of alerts that should be right (0.5 to 0.95). Default 0.8: one false alert in five is what people put up with
    /// before they stop looking; asking for more gives up findings.
    pub target_precision: f64,
    /// Verdicts on a detector's alerts before anything follows, and how many verdicts the assumption weighs that it is on target.
    /// Default 5: fewer say nothing (five false ones in a row happen to a detector on target once in 3,000 times), and five
    /// move a threshold half as far as they would if they were all there is to know.
    pub min_feedback: u32,
}

impl Default for FeedbackConfig {
    fn default() -> Self {
        FeedbackConfig {
            enabled: true,
            factor_min: 0.8,
            factor_max: 1.5,
            target_precision: 0.8,
            min_feedback: 5,
        }
    }
}

/// Bounds that every keyed detector has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    /// Most keys kept; beyond it the tenant with the most keys forgets the one unused for longest. The cost of a key is in
    /// the detector's header. Default 20,000: more services, hosts or attackers than one machine's feed has, in tens of MB.
    pub keys_max: usize,
    /// A key without records for so long (arrival time) is forgotten. Default `24h`: daily jobs keep their baseline.
    pub idle: Period,
    /// While a finding goes on, it is repeated with new numbers at most this often (event time). Default `60s`:
    /// alerts stay current, and a flood of records cannot become a flood of verdicts.
    pub repeat_every: Period,
}

impl Default for KeyLimits {
    fn default() -> Self {
        KeyLimits { keys_max: 20_000, idle: Period::hours(24), repeat_every: Period::seconds(60) }
    }
}

/// What disk use in percent is called.
const DISK: &[&str] = &[
    "disk_usage",
    "disk_percent",
    "disk_usage_percent",
    "disk_used_percent",
    "disk_utilization",
    "system_disk_percent",
];

/// Z-score of every metric sample, and of some numeric log fields, against the baseline of its service and metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZscoreConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// Deviations (σ) beyond which a value is CRITICAL. Default 3.0: 0.3 % of normally distributed values.
    pub statistical_threshold_multiplier: f64,
    /// Deviations (σ) beyond which a value is WARNING. Default 2.5: 1.2 % of normally distributed values; 2.0 would
    /// spend the whole false-positive budget of 5 % on values that are as they should be.
    pub warning_multiplier: f64,
    /// Samples before a baseline judges; until then everything is NORMAL. Default 50: the deviation is then known to
    /// about 10 %.
    pub min_samples_for_detection: u64,
    /// Samples the baseline remembers once warm (the mean age of an exponential average). Default 200: twice as
    /// steady as the warm-up, and a slow daily drift is followed.
    pub memory_samples: u64,
    /// WARNING values in a row that make a verdict. Default 3: chance alone needs about 500,000 samples.
    pub warnings_in_a_row: u32,
    /// Smallest deviation assumed, as a share of the mean. Default 0.01: a constant value may wobble by 3 %.
    pub stddev_floor_relative: f64,
    /// Smallest deviation assumed, in the unit of the metric. Default 0.001: around zero, changes below 0.003 (0.3 %
    /// of a share, 3 ms in seconds) are no news.
    pub stddev_floor_absolute: f64,
    /// A metric that stays CRITICAL without a break for so long (event time) has a new level: its baseline is learnt
    /// anew. Default `30m`: longer than incidents take to be noticed, short enough for a deploy.
    pub relearn_after: Period,
    /// Numeric log fields judged like metrics: `cpu_usage`, `memory_usage`, `error_rate`, `duration_ms`. Default: the
    /// first three; durations mix all operations of a service and are far from normally distributed.
    pub log_fields: Vec<String>,
    /// Metric name endings that are not judged. Default `_total`, `_bucket`: counters only rise, so they have no level;
    /// `probe.availability`, `probe_success`, which `availability` judges; `process.cpu.utilization`, `process.memory.usage`, which
    /// are of another process each time.
    pub skip_suffixes: Vec<String>,
    /// Metrics of which only a rise is a finding. Default: the names of disk use: space that is freed at once is a clean-up, not an
    /// incident; a rise of the same size is a runaway log.
    pub rises_only: Vec<String>,
    /// Bounds.
    pub limits: KeyLimits,
}

impl Default for ZscoreConfig {
    fn default() -> Self {
        ZscoreConfig {
            enabled: true,
            statistical_threshold_multiplier: 3.0,
            warning_multiplier: 2.5,
            min_samples_for_detection: 50,
            memory_samples: 200,
            warnings_in_a_row: 3,
            stddev_floor_relative: 0.01,
            stddev_floor_absolute: 0.001,
            relearn_after: Period::minutes(30),
            log_fields: names(&["cpu_usage", "memory_usage", "error_rate"]),
            skip_suffixes: names(&[
                "_total",
                "_bucket",
                "probe.availability",
                "probe_success",
                "process.cpu.utilization",
                "process.memory.usage",
            ]),
            rises_only: names(DISK),
            limits: KeyLimits { keys_max: 100_000, ..KeyLimits::default() },
        }
    }
}

/// Anomaly score of every metric sample against the history of its service and metric, without assumptions about its
/// distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaselineConfig {
    /// Whether the detector runs. Default `false`: it judges the samples that `zscore` judges and takes seven times
    /// its memory. Where alerts of `zscore` are too many, run this in its place: it gave one for 90 of them.
    pub enabled: bool,
    /// What values are compared with, of `mad`, `ewma`, `changepoint`, `seasonal`; the score is the mean of their
    /// surprise. Default `["seasonal", "ewma"]`: on public data the best of all subsets.
    pub methods: Vec<Method>,
    /// Bits of surprise that are a finding; 3 more are CRITICAL. Default 10.5: values as rare as one in 1,450, which makes
    /// one finding in 800 to 25,000 clean values. One bit more is half as many.
    pub alarm_bits: f64,
    /// Hours, weekdays and holidays, for `seasonal`.
    pub calendar: CalendarConfig,
    /// Metric name endings that are not judged. Default `_total`, `_bucket`: counters only rise, so they have no level.
    pub skip_suffixes: Vec<String>,
    /// Bounds. Default `keys_max` 50,000: 100 MB with the default methods.
    pub limits: KeyLimits,
}

impl Default for BaselineConfig {
    fn default() -> Self {
        let ScorerConfig { methods, alarm_bits, calendar } = ScorerConfig::default();
        BaselineConfig {
            enabled: false,
            methods,
            alarm_bits,
            calendar,
            skip_suffixes: names(&["_total", "_bucket"]),
            limits: KeyLimits { keys_max: 50_000, ..KeyLimits::default() },
        }
    }
}

impl BaselineConfig {
    /// How its series are scored.
    #[must_use]
    pub fn scorer(&self) -> ScorerConfig {
        ScorerConfig {
            methods: self.methods.clone(),
            alarm_bits: self.alarm_bits,
            calendar: self.calendar.clone(),
        }
    }
}

/// What days and hours mean to the series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CalendarConfig {
    /// Minutes local time is ahead of UTC; negative to the west. Default 0. It moves the edges of days, and with them
    /// holidays.
    pub utc_offset_minutes: i32,
    /// Whether every day of the week has a baseline of its own; a weekday not met yet is compared with all days.
    /// Default `false`: it takes weeks to learn and eight times the memory.
    pub day_of_week: bool,
    /// Whether `holidays` are taken as Sundays. Default `true`; without `day_of_week` they have a baseline of their own.
    pub use_holidays: bool,
    /// Dates like `2026-12-25` in local time. Default none: they differ by country and company.
    pub holidays: Vec<String>,
}

impl Default for CalendarConfig {
    fn default() -> Self {
        CalendarConfig { utc_offset_minutes: 0, day_of_week: false, use_holidays: true, holidays: Vec::new() }
    }
}

/// Records and samples per second of event time and service, against the service's own rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FloodConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// Times the baseline rate that is a flood. Default 10: rush hours reach three to five.
    pub multiple: f64,
    /// Records per second below which nothing is a flood. Default 1,000: one machine answers that easily.
    pub min_per_second: u32,
    /// Records per second that are a flood when no baseline is known yet. Default 2,000: more than a
    /// service says in any second of its start.
    pub cold_per_second: u32,
    /// Records per second of one source, beyond what its service usually gets, below which it floods nobody; twice as many while no
    /// baseline is known. Default 200: a browser sends tens, an office behind one address some more.
    pub source_min_per_second: u32,
    /// The same for requests at one endpoint. Default 500: half of what a service may do.
    pub endpoint_min_per_second: u32,
    /// Seconds of event time before a baseline is trusted. Default 60.
    pub baseline_seconds_min: u64,
    /// Seconds the baseline remembers. Default 300: it follows the hour and not the burst.
    pub memory_seconds: u64,
    /// Bounds; a key is a service, or a source or endpoint met beyond the usual. Default `keys_max` 50,000: some 10 MB, as most
    /// sources are met in few seconds.
    pub limits: KeyLimits,
}

impl Default for FloodConfig {
    fn default() -> Self {
        FloodConfig {
            enabled: true,
            multiple: 10.0,
            min_per_second: 1_000,
            cold_per_second: 2_000,
            source_min_per_second: 200,
            endpoint_min_per_second: 500,
            baseline_seconds_min: 60,
            memory_seconds: 300,
            limits: KeyLimits { keys_max: 50_000, ..KeyLimits::default() },
        }
    }
}

/// Fixed bounds for CPU, memory and disk, per service and host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThresholdConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// CPU in use. Default: warning 90 %, critical 98 %, 3 samples or 30 s; below 90 % there is still room for a peak.
    pub cpu: ResourceConfig,
    /// Memory in use. Default: warning 90 %, critical 97 %, 3 samples or 30 s; near 100 % the kernel kills processes.
    pub memory: ResourceConfig,
    /// Disk in use. Default: warning 85 %, critical 95 %, at once; disks fill steadily, so one sample is enough.
    pub disk: ResourceConfig,
    /// Bounds.
    pub limits: KeyLimits,
}

impl Default for ThresholdConfig {
    fn default() -> Self {
        let resource =
            |warning, critical, consecutive, metrics: &[&str], log_field: Option<&str>| ResourceConfig {
                warning,
                critical,
                consecutive,
                lasting: Period::seconds(30),
                metrics: names(metrics),
                log_field: log_field.map(str::to_owned),
            };
        const CPU: &[&str] =
            &["cpu_usage", "cpu_percent", "cpu_usage_percent", "cpu_utilization", "system_cpu_percent"];
        const MEMORY: &[&str] = &[
            "memory_usage",
            "memory_percent",
            "memory_usage_percent",
            "mem_used_percent",
            "memory_utilization",
            "system_memory_percent",
        ];
        ThresholdConfig {
            enabled: true,
            cpu: resource(90.0, 98.0, 3, CPU, Some("cpu_usage")),
            memory: resource(90.0, 97.0, 3, MEMORY, Some("memory_usage")),
            disk: resource(85.0, 95.0, 1, DISK, None),
            limits: KeyLimits::default(),
        }
    }
}

/// Whether endpoints and targets answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AvailabilityConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// Metric names (any case) whose samples are 1 for an answer and 0 for none. Default `probe.availability`, `probe_success`, `up`.
    pub metrics: Vec<String>,
    /// Samples without an answer in a row that make a verdict. Default 2: one lost answer is common, two are not.
    pub consecutive: u32,
    /// Samples with an answer in a row after which it is over. Default 2.
    pub recovered: u32,
    /// Bounds.
    pub limits: KeyLimits,
}

impl Default for AvailabilityConfig {
    fn default() -> Self {
        AvailabilityConfig {
            enabled: true,
            metrics: names(&["probe.availability", "probe_success", "up"]),
            consecutive: 2,
            recovered: 2,
            limits: KeyLimits::default(),
        }
    }
}

/// Bounds of one resource. Values are percent; a metric whose name ends in `_ratio` is taken times 100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceConfig {
    /// Percent above which it is WARNING.
    pub warning: f64,
    /// Percent above which it is CRITICAL.
    pub critical: f64,
    /// Samples in a row above the bound that make a verdict.
    pub consecutive: u32,
    /// Or the time above the bound (two samples at least) that makes one, for slow collectors.
    pub lasting: Period,
    /// Metric names (any case) that carry the value.
    pub metrics: Vec<String>,
    /// Numeric field of log records that carries it too, if any.
    pub log_field: Option<String>,
}

/// Failed logins by source and by user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// Failures within `within` that are brute force. Default 5: people mistype three or four times.
    pub failures: u32,
    /// Length of the sliding window, both ends included. Default `60s`.
    pub within: Period,
    /// Distinct sources that must take part before the failures of one user are a finding of their own. Default 2: from
    /// one source it is that source's finding already. Failures without a known source always count.
    pub user_sources_min: u32,
    /// Distinct users failing from one source within `spray_within` that are password spraying. Default 5.
    pub spray_users: u32,
    /// Window for spraying. Default `10m`: spraying is slow, to stay below lockout.
    pub spray_within: Period,
    /// A success so soon after a failure of a source found brute-forcing is reported. Default `10m`.
    pub success_within: Period,
    /// Bounds.
    pub limits: KeyLimits,
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            enabled: true,
            failures: 5,
            within: Period::seconds(60),
            user_sources_min: 2,
            spray_users: 5,
            spray_within: Period::minutes(10),
            success_within: Period::minutes(10),
            limits: KeyLimits::default(),
        }
    }
}

/// Share of failed operations of a service over a sliding window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorRateConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// Length of the sliding window, kept in steps of 5 s. Default `60s`: one bad second is no trend.
    pub within: Period,
    /// Records in the window before its rate counts. Default 20: one error more changes the rate by 5 % at most.
    pub records_min: u32,
    /// Share of errors (0 to 1) above which it is WARNING. Default 0.25.
    pub warning: f64,
    /// Share of errors (0 to 1) above which it is CRITICAL. Default 0.5: most users are affected.
    pub critical: f64,
    /// The share must also exceed this many times the service's usual share. Default 3: noisy services stay quiet.
    pub baseline_multiple: f64,
    /// Bounds. Default `keys_max` 10,000 services.
    pub limits: KeyLimits,
}

impl Default for ErrorRateConfig {
    fn default() -> Self {
        ErrorRateConfig {
            enabled: true,
            within: Period::seconds(60),
            records_min: 20,
            warning: 0.25,
            critical: 0.5,
            baseline_multiple: 3.0,
            limits: KeyLimits { keys_max: 10_000, ..KeyLimits::default() },
        }
    }
}

/// Rules from the `rules/` folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignatureConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// Bounds; a key is a rule and its entity.
    pub limits: KeyLimits,
}

impl Default for SignatureConfig {
    fn default() -> Self {
        SignatureConfig { enabled: true, limits: KeyLimits::default() }
    }
}

/// Sigma rules; without any in the rules folder this costs nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigmaConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// Least level of a rule that raises an alert: `informational`, `low`, `medium`, `high` or `critical`. Rules below still feed
    /// correlations. Default `medium`: by their authors' word, what is lower is for hunting, not for waking people.
    pub min_level: SigmaLevel,
    /// Bounds; a key is a rule and its entity. The groups of each correlation have the same bound.
    pub limits: KeyLimits,
}

impl Default for SigmaConfig {
    fn default() -> Self {
        SigmaConfig { enabled: true, min_level: SigmaLevel::Medium, limits: KeyLimits::default() }
    }
}

/// Attacks in requests of access logs and in messages of applications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// Weight of the clues of one family in one request that is a finding. Default 5: one clue that has no innocent
    /// reading, or several that rarely meet, as in the Core Rule Set. 10 keeps only what is beyond doubt.
    pub score_min: u32,
    /// Whether messages of records without a request are judged too. Default `true`: only by what applications do not
    /// write themselves.
    pub messages: bool,
    /// Bounds; a key is a source and a family of attacks.
    pub limits: KeyLimits,
}

impl Default for WebConfig {
    fn default() -> Self {
        WebConfig { enabled: true, score_min: 5, messages: true, limits: KeyLimits::default() }
    }
}

/// Many refused requests or connections of one source that map a site or a host together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScanConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// Distinct paths answered 403, 404, 405 or 410 to one source within `within` that are a path scan. Default 12: a
    /// page of a moved site has a handful of dead links; crawlers follow more, but over hours.
    pub paths: u32,
    /// Share of a source's requests within `within` that must be such. Default 0.5: a person who reads dead links gets
    /// most pages.
    pub refused_share: f64,
    /// Distinct ports of one destination that one source tries within `within` that are a port scan. Default 10: a
    /// client that talks to a host uses one to three.
    pub ports: u32,
    /// Distinct destinations that one source tries on one port within `within` that are a sweep. Default 20: what
    /// monitoring does from known sources.
    pub hosts: u32,
    /// Length of the sliding window, both ends included. Default `5m`: scanners go through their list in minutes.
    pub within: Period,
    /// Bounds; a key is a source, or a source and a destination.
    pub limits: KeyLimits,
}

impl Default for ScanConfig {
    fn default() -> Self {
        ScanConfig {
            enabled: true,
            paths: 12,
            refused_share: 0.5,
            ports: 10,
            hosts: 20,
            within: Period::minutes(5),
            limits: KeyLimits::default(),
        }
    }
}

/// What log messages are: templates that are new, vanish or change their rate, values never seen in their place, bursts
/// of one error, the mix of levels, and users that act faster than people can. Counts are per five minutes ("a block").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemplatesConfig {
    /// Whether the detector runs. Default `true`.
    pub enabled: bool,
    /// Event time a service is listened to before a burst of errors or a fast user is news. Default `1h`: a usual rate is
    /// known by then.
    pub warm_up: Period,
    /// Records of a service before anything of it is news. Default 500: with fewer, every second template is new.
    pub records_min: u64,
    /// Event time a service and a template are listened to before a new template, a shift, a template that stops, a new
    /// value or another mix of levels is news. Default `1d`: every hour of the day was heard once, and most of the rare
    /// errors; after an hour, services still had three new ones each that were as usual as any.
    pub settle: Period,
    /// After a deployment (an event with `event.kind` `deploy` or with `heimdall.annotation`) new templates, values,
    /// shifts and mixes of its service are learnt and not reported for so long, and rates are learnt anew. Default
    /// `30m`: a rolling restart and the warming of caches take that.
    pub quiet_after_deploy: Period,
    /// Chance of a count, by the negative binomial distribution of its baseline, below which it is a shift, a burst or a
    /// stop. Default 1e-7: 500 templates make 50 million comparisons a year, of which chance alone passes five.
    pub tail_probability: f64,
    /// Times the baseline, or fraction of it, that a rate must reach to be a shift. Default 3: smaller changes are the
    /// business of the day.
    pub shift_ratio: f64,
    /// Records per block that a rate must differ from its baseline to be a shift. Default 20: one every 15 s.
    pub shift_records_min: u32,
    /// Blocks in a row that a shift must last. Default 2: a job that logs for five minutes is no new rate.
    pub shift_blocks: u32,
    /// Times the baseline that the records of one error must reach to be a burst, at once. Default 5.
    pub burst_ratio: f64,
    /// Records of one error in a block below which nothing is a burst. Default 20.
    pub burst_records_min: u32,
    /// Records in a block and share of the service's records at which a new template of any level is a WARNING. Default
    /// 100 and 0.2: it floods what the service said before.
    pub new_records_min: u32,
    /// See `new_records_min`.
    pub new_share_min: f64,
    /// New templates below warn that a service may report a day; more are counted in the next report. Default 1: they are
    /// for reading, not for waking people.
    pub quiet_reports_per_day: f64,
    /// A rate or mix that stays away from its baseline for so long is the new one and is learnt anew. Default `1h`: an
    /// incident was reported by then.
    pub relearn_after: Period,
    /// Messages of a template looked at before a new value in one of its places is news. Default 1,000.
    pub value_samples_min: u32,
    /// Event time without a new value in a place before one is news; three times the longest time between new values, if
    /// that is more. Default `2d`: a date that changes every night is then known to do so.
    pub value_stable_for: Period,
    /// Records of a service in a block before its mix of levels is judged. Default 100: a share is then known to 5 %.
    pub mix_records_min: u32,
    /// Distance (Jensen-Shannon divergence, 0 to 1 bit) from the usual mix of levels that is news; six deviations of the
    /// usual distance, if that is more. Default 0.05: errors rise from 1 % to 17 %, say.
    pub mix_divergence_min: f64,
    /// Records of one user (or address, without user) of a service in one minute below which nobody is too fast. Default
    /// 120: two a second, which no person keeps up.
    pub user_per_minute_min: u32,
    /// Times the 99.9th percentile of the service's users, and times the user's own usual rate, that is too fast.
    /// Default 5.
    pub user_multiple: f64,
    /// Users followed per service and minute; further ones are not counted. Default 1,000 (24 bytes each).
    pub users_max: usize,
    /// Templates whose rate is followed per service; beyond, those not heard for longest are forgotten (they do not
    /// become new by that). Default 512 (about 600 bytes each, 2 KB with values).
    pub templates_max: usize,
    /// Templates followed in all; beyond, every service makes room among its own, down to 16 each. Default 50,000: 30 MB,
    /// 100 MB with values everywhere.
    pub templates_total_max: usize,
    /// Bounds; a key is a service. Default 2,000 services, `idle` `7d` so that weekly services keep their baseline, and
    /// `repeat_every` `1h`: what goes on need not be told every minute.
    pub limits: KeyLimits,
}

impl Default for TemplatesConfig {
    fn default() -> Self {
        TemplatesConfig {
            enabled: true,
            warm_up: Period::hours(1),
            records_min: 500,
            settle: Period::hours(24),
            quiet_after_deploy: Period::minutes(30),
            tail_probability: 1e-7,
            shift_ratio: 3.0,
            shift_records_min: 20,
            shift_blocks: 2,
            burst_ratio: 5.0,
            burst_records_min: 20,
            new_records_min: 100,
            new_share_min: 0.2,
            quiet_reports_per_day: 1.0,
            relearn_after: Period::hours(1),
            value_samples_min: 1_000,
            value_stable_for: Period::hours(48),
            mix_records_min: 100,
            mix_divergence_min: 0.05,
            user_per_minute_min: 120,
            user_multiple: 5.0,
            users_max: 1_000,
            templates_max: 512,
            templates_total_max: 50_000,
            limits: KeyLimits {
                keys_max: 2_000,
                idle: Period::hours(7 * 24),
                repeat_every: Period::hours(1),
            },
        }
    }
}

/// Learnt models over windows of each service: a finding when at least two of three agree for long enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnsembleConfig {
    /// Whether the detector runs. Default `true`: none of 343,200 quiet windows of twenty synthetic services became a finding.
    pub enabled: bool,
    /// Length of a window of event time. Default `10s`: a fault of half a minute is three windows; longer ones are
    /// steadier and let the temporal model see days.
    pub window: Period,
    /// What judges a window by itself: `isolation-forest` or `one-class-svm`. Default `isolation-forest`: it needs no
    /// scale and says which numbers stand out.
    pub statistical: StatisticalModel,
    /// What judges a window by those before it: `hidden-markov` or `markov-chain`. Default `hidden-markov`: it sees how
    /// far a number is off, where the chain sees low, usual and high.
    pub behavioural: BehaviouralModel,
    /// What says how the next window should be: `prophet` (trend and seasons), `lstm` or `gru` (both our gated
    /// recurrent network). Default `prophet`: it is learnt in a quarter of the time, and load depends more on
    /// the hour than on the windows just before.
    pub temporal: TemporalModel,
    /// Share of quiet windows (0.5 to 0.999) that each model must find usual; a window beyond it counts as unusual for
    /// the model. Default 0.95: one model alone errs in 5 % of windows, so two have to agree and go on agreeing.
    pub threshold: f64,
    /// Evidence that makes a WARNING, in nats: the sum over windows of how improbable the second most convinced model
    /// finds each, beyond the threshold; twice as much is CRITICAL. Default 15: chance alone needs about a million
    /// windows (e^14), which at 10 s are four months; the clearest fault needs three windows.
    pub evidence: f64,
    /// Windows before models are learnt; until then nothing is said. Default 120: twenty minutes, of which the second half
    /// shows how often quiet windows cross the threshold.
    pub min_windows: usize,
    /// Newest windows that models learn from, at most 512. Default 512: 85 minutes; more costs time and memory.
    pub train_windows: usize,
    /// Models are learnt anew after so much event time, and earlier while the windows known have doubled. Default `1h`:
    /// about 20 ms of work an hour for each service.
    pub retrain_every: Period,
    /// What stays unusual for so long (event time) is the new usual: everything is learnt anew. Default `30m`: longer
    /// than incidents take to be noticed, short enough for a deploy.
    pub relearn_after: Period,
    /// Windows that end so long before their records arrive are history: they are learnt from and not judged, so that an import of
    /// months costs no learning for each of their hours, and raises nothing that nobody can act on. Default `1h`: shippers that were cut
    /// off are back by then. `0s` judges everything.
    pub history_after: Period,
    /// Bounds. Default `keys_max` 500 services: a service takes about 170 KB once learnt.
    pub limits: KeyLimits,
}

impl Default for EnsembleConfig {
    fn default() -> Self {
        EnsembleConfig {
            enabled: true,
            window: Period::seconds(10),
            statistical: StatisticalModel::IsolationForest,
            behavioural: BehaviouralModel::HiddenMarkov,
            temporal: TemporalModel::Prophet,
            threshold: 0.95,
            evidence: 15.0,
            min_windows: 120,
            train_windows: TRAIN_WINDOWS_MAX,
            retrain_every: Period::hours(1),
            relearn_after: Period::minutes(30),
            history_after: Period::hours(1),
            limits: KeyLimits { keys_max: 500, ..KeyLimits::default() },
        }
    }
}

/// Most windows that models learn from.
pub const TRAIN_WINDOWS_MAX: usize = 512;
/// Fewest windows before models are learnt: half of them has to do for every model.
pub const TRAIN_WINDOWS_MIN: usize = 2 * crate::models::gru::ROWS_MIN;

/// What judges a window by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatisticalModel {
    /// [`crate::models::forest`].
    IsolationForest,
    /// [`crate::models::svm`].
    OneClassSvm,
}

/// What judges a window by those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BehaviouralModel {
    /// [`crate::models::hmm`].
    HiddenMarkov,
    /// [`crate::models::markov`].
    MarkovChain,
}

/// What says how the next window should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TemporalModel {
    /// [`crate::models::temporal`].
    Prophet,
    /// [`crate::models::gru`], under the name people look for.
    Lstm,
    /// [`crate::models::gru`].
    Gru,
}

impl StatisticalModel {
    /// The name in configuration and verdicts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            StatisticalModel::IsolationForest => "isolation-forest",
            StatisticalModel::OneClassSvm => "one-class-svm",
        }
    }
}

impl BehaviouralModel {
    /// The name in configuration and verdicts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            BehaviouralModel::HiddenMarkov => "hidden-markov",
            BehaviouralModel::MarkovChain => "markov-chain",
        }
    }
}

impl TemporalModel {
    /// The name in verdicts: `gru` for both names of the network.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            TemporalModel::Prophet => "prophet",
            TemporalModel::Lstm | TemporalModel::Gru => "gru",
        }
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

impl DetectConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the first key whose value does not fit.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (zscore, flood, auth, rate) = (&self.zscore, &self.flood, &self.auth, &self.error_rate);
        require("lateness", self.lateness.0 >= 0 && self.lateness <= LATENESS_MAX, "between 0s and 1h")?;
        require("ahead", self.ahead.0 >= 0, "0s or more")?;
        self.check_feedback()?;
        require("zscore.warning_multiplier", positive(zscore.warning_multiplier), "above 0")?;
        require(
            "zscore.statistical_threshold_multiplier",
            zscore.statistical_threshold_multiplier.is_finite()
                && zscore.statistical_threshold_multiplier >= zscore.warning_multiplier,
            "at least `warning_multiplier`",
        )?;
        require("zscore.min_samples_for_detection", zscore.min_samples_for_detection >= 2, "at least 2")?;
        require("zscore.memory_samples", zscore.memory_samples >= 2, "at least 2")?;
        require("zscore.warnings_in_a_row", zscore.warnings_in_a_row >= 1, "at least 1")?;
        require("zscore.stddev_floor_relative", zscore.stddev_floor_relative >= 0.0, "0 or more")?;
        require("zscore.stddev_floor_absolute", positive(zscore.stddev_floor_absolute), "above 0")?;
        require("zscore.relearn_after", zscore.relearn_after.0 > 0, "above 0s")?;
        let per_second = [flood.source_min_per_second, flood.endpoint_min_per_second];
        require(
            "flood.source_min_per_second, flood.endpoint_min_per_second",
            per_second.iter().all(|n| (1..=1_000_000_000).contains(n)),
            "between 1 and 1,000,000,000",
        )?;
        require("flood.multiple", positive(flood.multiple), "above 0")?;
        require("flood.memory_seconds", flood.memory_seconds >= 1, "at least 1")?;
        require("auth.failures", counts(auth.failures), "between 1 and 128")?;
        require("auth.spray_users", counts(auth.spray_users), "between 1 and 128")?;
        for (key, window) in [
            ("auth.within", auth.within),
            ("auth.spray_within", auth.spray_within),
            ("auth.success_within", auth.success_within),
            ("error_rate.within", rate.within),
            ("scan.within", self.scan.within),
        ] {
            require(key, window.0 > 0 && window <= Period::hours(24), "above 0s and at most 1d")?;
        }
        require("web.score_min", self.web.score_min >= 1, "at least 1")?;
        require("scan.paths", counts(self.scan.paths), "between 1 and 128")?;
        require("scan.ports", counts(self.scan.ports), "between 1 and 128")?;
        require("scan.hosts", counts(self.scan.hosts), "between 1 and 128")?;
        require("scan.refused_share", (0.0..=1.0).contains(&self.scan.refused_share), "between 0 and 1")?;
        require("error_rate.records_min", rate.records_min >= 1, "at least 1")?;
        require("error_rate.warning", (0.0..=1.0).contains(&rate.warning), "between 0 and 1")?;
        let critical = (rate.warning..=1.0).contains(&rate.critical);
        require("error_rate.critical", critical, "between `warning` and 1")?;
        require("error_rate.baseline_multiple", rate.baseline_multiple >= 0.0, "0 or more")?;
        self.baseline.scorer().check().map_err(|refused| ConfigError {
            key: format!("baseline.{}", refused.key),
            wants: refused.wants,
        })?;
        self.check_resources()?;
        self.check_templates()?;
        self.check_ensemble()?;
        self.check_availability()?;
        self.check_limits()
    }

    fn check_feedback(&self) -> Result<(), ConfigError> {
        let feedback = &self.feedback;
        require("feedback.factor_min", (0.5..=1.0).contains(&feedback.factor_min), "between 0.5 and 1")?;
        require("feedback.factor_max", (1.0..=2.0).contains(&feedback.factor_max), "between 1 and 2")?;
        let target = (0.5..=0.95).contains(&feedback.target_precision);
        require("feedback.target_precision", target, "between 0.5 and 0.95")?;
        require("feedback.min_feedback", feedback.min_feedback >= 1, "at least 1")
    }

    fn check_templates(&self) -> Result<(), ConfigError> {
        let templates = &self.templates;
        let chance = templates.tail_probability;
        require("templates.tail_probability", chance > 0.0 && chance <= 0.01, "above 0 and at most 0.01")?;
        for (key, ratio) in [
            ("templates.shift_ratio", templates.shift_ratio),
            ("templates.burst_ratio", templates.burst_ratio),
            ("templates.user_multiple", templates.user_multiple),
        ] {
            require(key, ratio.is_finite() && ratio >= 1.0, "1 or more")?;
        }
        for (key, count) in [
            ("templates.shift_records_min", templates.shift_records_min),
            ("templates.shift_blocks", templates.shift_blocks),
            ("templates.burst_records_min", templates.burst_records_min),
            ("templates.new_records_min", templates.new_records_min),
            ("templates.value_samples_min", templates.value_samples_min),
            ("templates.mix_records_min", templates.mix_records_min),
            ("templates.user_per_minute_min", templates.user_per_minute_min),
        ] {
            require(key, count >= 1, "at least 1")?;
        }
        for (key, share) in [
            ("templates.new_share_min", templates.new_share_min),
            ("templates.mix_divergence_min", templates.mix_divergence_min),
        ] {
            require(key, (0.0..=1.0).contains(&share), "between 0 and 1")?;
        }
        let per_day = templates.quiet_reports_per_day;
        require("templates.quiet_reports_per_day", per_day.is_finite() && per_day >= 0.0, "0 or more")?;
        for (key, count) in [
            ("templates.users_max", templates.users_max),
            ("templates.templates_max", templates.templates_max),
            ("templates.templates_total_max", templates.templates_total_max),
        ] {
            require(key, (1..=crate::keyed::KEYS_MAX).contains(&count), "between 1 and 10 million")?;
        }
        for (key, period) in [
            ("templates.warm_up", templates.warm_up),
            ("templates.settle", templates.settle),
            ("templates.quiet_after_deploy", templates.quiet_after_deploy),
            ("templates.relearn_after", templates.relearn_after),
            ("templates.value_stable_for", templates.value_stable_for),
        ] {
            require(key, period.0 >= 0, "0s or more")?;
        }
        Ok(())
    }

    fn check_ensemble(&self) -> Result<(), ConfigError> {
        let ensemble = &self.ensemble;
        let window = Period::seconds(1) <= ensemble.window && ensemble.window <= Period::hours(1);
        require("ensemble.window", window, "between 1s and 1h")?;
        require("ensemble.threshold", (0.5..=0.999).contains(&ensemble.threshold), "between 0.5 and 0.999")?;
        require("ensemble.evidence", positive(ensemble.evidence), "above 0")?;
        let min = (TRAIN_WINDOWS_MIN..=TRAIN_WINDOWS_MAX).contains(&ensemble.min_windows);
        require("ensemble.min_windows", min, "between 120 and 512")?;
        let train = (ensemble.min_windows..=TRAIN_WINDOWS_MAX).contains(&ensemble.train_windows);
        require("ensemble.train_windows", train, "between `min_windows` and 512")?;
        require("ensemble.retrain_every", ensemble.retrain_every >= ensemble.window, "at least `window`")?;
        require("ensemble.relearn_after", ensemble.relearn_after > ensemble.window, "above `window`")
    }

    fn check_resources(&self) -> Result<(), ConfigError> {
        let resources = [
            ("cpu", &self.threshold.cpu),
            ("memory", &self.threshold.memory),
            ("disk", &self.threshold.disk),
        ];
        for (name, resource) in resources {
            let key = |leaf: &str| format!("threshold.{name}.{leaf}");
            require(&key("warning"), resource.warning.is_finite(), "a number")?;
            require(&key("critical"), resource.critical >= resource.warning, "at least `warning`")?;
            require(&key("consecutive"), resource.consecutive >= 1, "at least 1")?;
            require(&key("lasting"), resource.lasting.0 > 0, "above 0s")?;
        }
        Ok(())
    }

    fn check_availability(&self) -> Result<(), ConfigError> {
        let AvailabilityConfig { consecutive, recovered, .. } = self.availability;
        require("availability.consecutive", consecutive >= 1, "at least 1")?;
        require("availability.recovered", recovered >= 1, "at least 1")
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        for (name, limits) in [
            ("zscore", &self.zscore.limits),
            ("baseline", &self.baseline.limits),
            ("flood", &self.flood.limits),
            ("threshold", &self.threshold.limits),
            ("availability", &self.availability.limits),
            ("auth", &self.auth.limits),
            ("error_rate", &self.error_rate.limits),
            ("signature", &self.signature.limits),
            ("sigma", &self.sigma.limits),
            ("web", &self.web.limits),
            ("scan", &self.scan.limits),
            ("templates", &self.templates.limits),
            ("ensemble", &self.ensemble.limits),
        ] {
            let key = |leaf: &str| format!("{name}.limits.{leaf}");
            let fits = (1..=crate::keyed::KEYS_MAX).contains(&limits.keys_max);
            require(&key("keys_max"), fits, "between 1 and 10 million")?;
            require(&key("idle"), limits.idle.0 > 0, "above 0s")?;
            require(&key("repeat_every"), limits.repeat_every.0 > 0, "above 0s")?;
        }
        Ok(())
    }
}

fn require(key: &str, fits: bool, wants: &'static str) -> Result<(), ConfigError> {
    if fits { Ok(()) } else { Err(ConfigError { key: key.to_owned(), wants }) }
}

fn positive(x: f64) -> bool {
    x.is_finite() && x > 0.0
}

fn counts(n: u32) -> bool {
    n >= 1 && n as usize <= HITS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_survive_serde() {
        let config = DetectConfig::default();
        config.check().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""within":"1m""#), "{text}");
        assert_eq!(serde_json::from_str::<DetectConfig>(&text).unwrap(), config);
        assert_eq!(serde_json::from_str::<DetectConfig>("{}").unwrap(), config);
    }

    #[track_caller]
    fn check(json: &str, error: &str) {
        let found = match serde_json::from_str::<DetectConfig>(json) {
            Ok(config) => config.check().unwrap_err().to_string(),
            Err(refused) => refused.to_string(),
        };
        assert!(found.starts_with(error), "{found}");
    }

    #[test]
    fn what_cannot_work_is_named() {
        check(r#"{"auth":{"failures":0}}"#, "`auth.failures` must be between 1 and 128");
        check(r#"{"auth":{"within":"soon"}}"#, "`soon` is not a duration");
        check(r#"{"auth":{"withinn":"60s"}}"#, "unknown field `withinn`");
        check(
            r#"{"zscore":{"statistical_threshold_multiplier":2.0}}"#,
            "`zscore.statistical_threshold_multiplier` must be at least `warning_multiplier`",
        );
        check(r#"{"baseline":{"methods":[]}}"#, "`baseline.methods` must be at least one of");
        check(r#"{"baseline":{"methods":["magic"]}}"#, "unknown variant `magic`");
        let date = r#"{"baseline":{"calendar":{"holidays":["25.12."]}}}"#;
        check(date, "`baseline.calendar.holidays` must be dates like `2026-12-25`");
        check(r#"{"flood":{"limits":{"keys_max":0}}}"#, "`flood.limits.keys_max`");
        check(r#"{"feedback":{"factor_max":3.0}}"#, "`feedback.factor_max` must be between 1 and 2");
        check(
            r#"{"feedback":{"target_precision":1.0}}"#,
            "`feedback.target_precision` must be between 0.5 and 0.95",
        );
        check(r#"{"ensemble":{"min_windows":10}}"#, "`ensemble.min_windows` must be between 120 and 512");
        check(r#"{"ensemble":{"temporal":"oracle"}}"#, "unknown variant `oracle`");
    }
}
