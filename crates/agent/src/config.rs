//! What an agent is told: three parts that are set apart from each other (monitor, detector, recovery), and where records go.
//!
//! Invariant: an unknown key, or a value that does not suit its key, is refused by name before anything starts.
//!
//! Not here: keys of recovery itself (`enable_docker_recovery`, `max_concurrent_actions` …): they are `heimdall-respond`'s.

use std::path::PathBuf;
use std::time::Duration;

use heimdall_detect::{DetectConfig, Period};
use heimdall_model::{Tenant, parse_duration};
use serde::{Deserialize, Deserializer, Serialize};

use crate::probe::Target;

/// Endpoints at most.
pub const ENDPOINTS_MAX: usize = 500;
/// Shortest time between two probes of an endpoint: more often it is load.
const PROBE_INTERVAL_MIN: Period = Period(200_000_000);
/// Groups of tailed files at most.
pub const TAILS_MAX: usize = 100;
/// Least room of the buffer: two journal files and what is being written.
pub const BUFFER_BYTES_MIN: u64 = 16 << 20;

/// A value does not suit its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` must be {wants}")]
pub struct ConfigFault {
    /// Dotted key.
    pub key: String,
    /// What would do.
    pub wants: String,
}

/// Everything an agent reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// Name of this host in records. Default: what the kernel says.
    pub host: Option<String>,
    /// Service of samples of the host itself. Default: the host's name.
    pub service: Option<String>,
    /// Folder of the buffer, of checkpoints and of the agent's identity. Default `./heimdall-agent`.
    pub data_dir: PathBuf,
    /// File of anomalies and actions, made when absent; empty: none. Default `aegis_sentinel.log` in the working folder.
    pub log_file: PathBuf,
    /// Least serious level written there: `debug`, `info`, `warning` or `error`. Default `info`.
    pub log_level: crate::LogLevel,
    /// Measuring, probing and reading.
    pub monitor: MonitorConfig,
    /// Judging on the host.
    pub detector: DetectorConfig,
    /// Healing on the host.
    pub recovery: RecoveryConfig,
    /// The server that gets the records; without a `url` there is none, and the agent works alone.
    pub server: ShipConfig,
    /// Records on disk until the server has them.
    pub buffer: BufferConfig,
    /// Files to follow, as a list of `[[tails]]`. Default none.
    pub tails: Vec<TailConfig>,
    /// The system's journal.
    pub journald: JournaldConfig,
}

impl Default for AgentConfig {
    fn default() -> Self {
        AgentConfig {
            host: None,
            service: None,
            data_dir: PathBuf::from("heimdall-agent"),
            log_file: PathBuf::from("aegis_sentinel.log"),
            log_level: crate::LogLevel::Info,
            monitor: MonitorConfig::default(),
            detector: DetectorConfig::default(),
            recovery: RecoveryConfig::default(),
            server: ShipConfig::default(),
            buffer: BufferConfig::default(),
            tails: Vec::new(),
            journald: JournaldConfig::default(),
        }
    }
}

/// Measuring, probing and reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorConfig {
    /// Whether it runs. Default `true`.
    pub enabled: bool,
    /// Time between two measurements, in seconds or as `5s`. Default 5.0: a fault is seen in two samples, and costs nothing to see.
    #[serde(deserialize_with = "seconds")]
    pub collection_interval: Period,
    /// Endpoints that are probed: URLs (`http://`, `https://`, `tcp://host:port`, `tls://host:port`, `icmp://host`), or tables
    /// with a `url` and more. Default none; at most 500.
    pub api_endpoints: Vec<Endpoint>,
    /// Probes under way at once; more wait. Default 8.
    pub probes_max: usize,
    /// Bytes and packets of each network interface. Default `true`.
    pub enable_network_monitoring: bool,
    /// Space and IO of each disk. Default `true`.
    pub enable_disk_monitoring: bool,
    /// Count of processes and those that use most. Default `true`; with thousands of processes it is most of the agent's work.
    pub enable_process_monitoring: bool,
    /// Processes named for CPU, and as many for memory (0 to 50). Default 5.
    pub top_processes: usize,
    /// CPU of each core besides the whole. Default `false`: a sample for each core.
    pub per_core: bool,
    /// Docker's socket; containers are measured when it is there. Empty: never. Default `/var/run/docker.sock`.
    pub docker_socket: PathBuf,
    /// Containers measured (1 to 1000); those beyond are counted. Default 100.
    pub containers_max: usize,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        MonitorConfig {
            enabled: true,
            collection_interval: Period::seconds(5),
            api_endpoints: Vec::new(),
            probes_max: 8,
            enable_network_monitoring: true,
            enable_disk_monitoring: true,
            enable_process_monitoring: true,
            top_processes: 5,
            per_core: false,
            docker_socket: PathBuf::from("/var/run/docker.sock"),
            containers_max: 100,
        }
    }
}

/// One probed endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Endpoint {
    /// Where.
    pub url: String,
    /// Name in records. Default: the URL's host and port.
    pub name: Option<String>,
    /// Time between two probes. Default `15s`.
    pub interval: Period,
    /// A probe that takes longer has failed. Default `5s`.
    pub timeout: Period,
    /// Status an HTTP answer must have. Default: any from 200 to 399.
    pub expect_status: Option<u16>,
    /// Text an HTTP answer must hold in its first MiB. Default none.
    pub expect_text: Option<String>,
    /// Whether a certificate that does not verify still counts as available. Default `false`.
    pub insecure: bool,
}

impl Endpoint {
    /// The endpoint at `url` with the defaults.
    #[must_use]
    pub fn new(url: &str) -> Endpoint {
        Endpoint {
            url: url.to_owned(),
            name: None,
            interval: Period::seconds(15),
            timeout: Period::seconds(5),
            expect_status: None,
            expect_text: None,
            insecure: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an endpoint is a URL, or a table with `url`, `name`, `interval`, `timeout`, `expect_status`, `expect_text`, `insecure`"
)]
enum WrittenEndpoint {
    Url(String),
    Table(EndpointTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointTable {
    url: String,
    name: Option<String>,
    interval: Option<Seconds>,
    timeout: Option<Seconds>,
    expect_status: Option<u16>,
    expect_text: Option<String>,
    #[serde(default)]
    insecure: bool,
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Endpoint, D::Error> {
        Ok(match WrittenEndpoint::deserialize(deserializer)? {
            WrittenEndpoint::Url(url) => Endpoint::new(&url),
            WrittenEndpoint::Table(table) => {
                let default = Endpoint::new(&table.url);
                Endpoint {
                    name: table.name,
                    interval: table.interval.map_or(default.interval, |seconds| seconds.0),
                    timeout: table.timeout.map_or(default.timeout, |seconds| seconds.0),
                    expect_status: table.expect_status,
                    expect_text: table.expect_text,
                    insecure: table.insecure,
                    ..default
                }
            }
        })
    }
}

/// Judging on the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectorConfig {
    /// Whether it runs. Default `true`; it needs no server.
    pub enabled: bool,
    /// Share of measurements taken for unusual by the isolation forest (above 0, at most 0.5). Default 0.1. A finding needs
    /// ten of twelve measurements to be among them, which chance does not do.
    pub isolation_contamination: f64,
    /// Trees of the isolation forest (10 to 1000). Default 100; each is about 1 KiB.
    pub isolation_n_estimators: usize,
    /// Deviations (σ) beyond which a value is CRITICAL. Default 3.0.
    pub statistical_threshold_multiplier: f64,
    /// Samples of a series before it is judged, and measurements before the forest is grown. Default 50.
    pub min_samples_for_detection: u64,
    /// Every other threshold, as in the server's `[detect]`. Default: rules, fixed bounds, z-score, logins, error rates; what
    /// needs much memory (templates, ensemble, web, scan, flood) is off here, and the server's to do.
    pub thresholds: DetectConfig,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        DetectorConfig {
            enabled: true,
            isolation_contamination: 0.1,
            isolation_n_estimators: 100,
            statistical_threshold_multiplier: 3.0,
            min_samples_for_detection: 50,
            thresholds: crate::detect::small(),
        }
    }
}

/// Healing on the host. What is healed and how is `heimdall-respond`'s configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// Whether findings are handed to the healer. Default `false`.
    pub enabled: bool,
}

/// The server that gets the records.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShipConfig {
    /// Address of the server, such as `https://heimdall.example:8000`. Default none: the agent works alone.
    pub url: Option<String>,
    /// Access token with the scope `ingest`. Default none.
    #[serde(skip_serializing)]
    pub token: Option<String>,
    /// File that holds the token; it is read again whenever the server refuses it. Default none.
    pub token_file: Option<PathBuf>,
    /// Tenant, where the token may choose. Default: the token's.
    pub tenant: Option<Tenant>,
    /// An answer that takes longer is asked for again. Default `30s`.
    #[serde(deserialize_with = "seconds")]
    pub timeout: Period,
    /// Longest wait between two tries. Default `30s`; `Retry-After` may ask for more, up to an hour.
    #[serde(deserialize_with = "seconds")]
    pub retry_max: Period,
}

impl std::fmt::Debug for ShipConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShipConfig")
            .field("url", &self.url)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("token_file", &self.token_file)
            .field("tenant", &self.tenant)
            .field("timeout", &self.timeout)
            .field("retry_max", &self.retry_max)
            .finish()
    }
}

impl Default for ShipConfig {
    fn default() -> Self {
        ShipConfig {
            url: None,
            token: None,
            token_file: None,
            tenant: None,
            timeout: Period::seconds(30),
            retry_max: Period::seconds(30),
        }
    }
}

/// Records on disk until the server has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BufferConfig {
    /// Bytes kept. Default 268435456 (256 MiB): about two weeks of samples. When full, tails wait and samples are not kept, both counted.
    pub bytes_max: u64,
    /// Free space left to the rest of the host, bytes; below it the buffer counts as full. Default 67108864 (64 MiB).
    pub disk_reserve_bytes: u64,
    /// Bytes kept of frames the server refused for good, for a person to look at; beyond they are dropped and counted.
    /// Default 16777216 (16 MiB).
    pub refused_bytes_max: u64,
}

impl Default for BufferConfig {
    fn default() -> Self {
        BufferConfig { bytes_max: 256 << 20, disk_reserve_bytes: 64 << 20, refused_bytes_max: 16 << 20 }
    }
}

/// Files to follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TailConfig {
    /// Paths, with `*`, `?`, `[a-z]` within a name and `**` for any folders.
    pub paths: Vec<String>,
    /// Paths left out, written alike. Default none; names ending in `.gz`, `.zst`, `.bz2` or `.xz` are always left out.
    pub exclude: Vec<String>,
    /// Format of the lines: `auto`, `ndjson`, `syslog`, `access`, `logfmt` or `plain`. Default `auto`: told from the first lines.
    pub format: String,
    /// Service of records that name none. Default: the file's name without its ending.
    pub service: Option<String>,
    /// Regular expression that the first line of a record matches; other lines go on the record before. Default: by format
    /// (indented lines, `Caused by:` and `at ` go on the record before in `plain` and `syslog`).
    pub record_start: Option<String>,
    /// Where a file begins to be read that the agent has never seen, when it starts: `end` or `beginning`. Default `beginning`.
    /// Files that appear later are read whole.
    pub start_at: StartAt,
    /// Longest line, bytes (256 to 524288); the rest of a longer one is cut and counted. Default 262144 (256 KiB).
    pub line_bytes_max: usize,
    /// Files followed at once (1 to 10000); those beyond are counted and told. Default 500.
    pub files_max: usize,
}

impl Default for TailConfig {
    fn default() -> Self {
        TailConfig {
            paths: Vec::new(),
            exclude: Vec::new(),
            format: "auto".to_owned(),
            service: None,
            record_start: None,
            start_at: StartAt::Beginning,
            line_bytes_max: 256 << 10,
            files_max: 500,
        }
    }
}

/// Where a file that was never seen begins to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// What it holds already is read.
    Beginning,
    /// Only what is written from now on is read.
    End,
}

/// The system's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournaldConfig {
    /// Whether it is followed, where `journalctl` is present. Default `false`.
    pub enabled: bool,
    /// The program. Default `journalctl`.
    pub program: PathBuf,
    /// Units followed, such as `nginx.service`. Default: all.
    pub units: Vec<String>,
}

impl Default for JournaldConfig {
    fn default() -> Self {
        JournaldConfig { enabled: false, program: PathBuf::from("journalctl"), units: Vec::new() }
    }
}

impl AgentConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the first key whose value does not suit it.
    pub fn check(&self) -> Result<(), ConfigFault> {
        let monitor = &self.monitor;
        let interval = monitor.collection_interval;
        let fits = interval >= Period(100_000_000) && interval <= Period::hours(1);
        require("monitor.collection_interval", fits, "between 0.1 s and 1 h")?;
        require("monitor.probes_max", (1..=256).contains(&monitor.probes_max), "between 1 and 256")?;
        require("monitor.top_processes", monitor.top_processes <= 50, "at most 50")?;
        require(
            "monitor.containers_max",
            (1..=1000).contains(&monitor.containers_max),
            "between 1 and 1000",
        )?;
        let few = monitor.api_endpoints.len() <= ENDPOINTS_MAX;
        require("monitor.api_endpoints", few, "at most 500 endpoints")?;
        (0..)
            .zip(&monitor.api_endpoints)
            .try_for_each(|(index, endpoint)| check_endpoint(index, endpoint))?;
        self.detector.check()?;
        self.check_server()?;
        require("tails", self.tails.len() <= TAILS_MAX, "at most 100 groups")?;
        (0..).zip(&self.tails).try_for_each(|(index, tail)| check_tail(index, tail))
    }

    fn check_server(&self) -> Result<(), ConfigFault> {
        if let Some(url) = &self.server.url {
            let known = reqwest::Url::parse(url)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            require("server.url", known, "a URL like `http://127.0.0.1:8000`")?;
        }
        let both = self.server.token.is_some() && self.server.token_file.is_some();
        require("server.token_file", !both, "absent when `server.token` is set")?;
        require("server.timeout", self.server.timeout >= Period::seconds(1), "at least 1s")?;
        require("server.retry_max", self.server.retry_max >= Period::seconds(1), "at least 1s")?;
        require("buffer.bytes_max", self.buffer.bytes_max >= BUFFER_BYTES_MIN, "at least 16777216 (16 MiB)")
    }
}

impl DetectorConfig {
    /// The configuration of the judge: `thresholds` with the keys that have a name of their own here.
    #[must_use]
    pub fn judge(&self) -> DetectConfig {
        let mut config = self.thresholds.clone();
        config.zscore.statistical_threshold_multiplier = self.statistical_threshold_multiplier;
        config.zscore.warning_multiplier =
            config.zscore.warning_multiplier.min(self.statistical_threshold_multiplier);
        config.zscore.min_samples_for_detection = self.min_samples_for_detection;
        config
    }

    fn check(&self) -> Result<(), ConfigFault> {
        let contamination = self.isolation_contamination > 0.0 && self.isolation_contamination <= 0.5;
        require("detector.isolation_contamination", contamination, "above 0 and at most 0.5")?;
        let trees = (10..=1000).contains(&self.isolation_n_estimators);
        require("detector.isolation_n_estimators", trees, "between 10 and 1000")?;
        let samples = (2..=100_000).contains(&self.min_samples_for_detection);
        require("detector.min_samples_for_detection", samples, "between 2 and 100000")?;
        let sigma = self.statistical_threshold_multiplier;
        let fits = sigma.is_finite() && sigma > 0.0;
        require("detector.statistical_threshold_multiplier", fits, "above 0")?;
        self.judge().check().map_err(|fault| ConfigFault {
            key: format!("detector.thresholds.{}", fault.key),
            wants: fault.wants.to_owned(),
        })
    }
}

fn check_endpoint(index: usize, endpoint: &Endpoint) -> Result<(), ConfigFault> {
    let key = |leaf: &str| format!("monitor.api_endpoints[{index}].{leaf}");
    Target::parse(&endpoint.url)
        .map_err(|reason| ConfigFault { key: key("url"), wants: reason.to_string() })?;
    require(&key("interval"), endpoint.interval >= PROBE_INTERVAL_MIN, "at least 0.2s")?;
    let timeout = endpoint.timeout > Period(0) && endpoint.timeout <= Period::minutes(5);
    require(&key("timeout"), timeout, "above 0s and at most 5m")
}

fn check_tail(index: usize, tail: &TailConfig) -> Result<(), ConfigFault> {
    let key = |leaf: &str| format!("tails[{index}].{leaf}");
    require(&key("paths"), !tail.paths.is_empty(), "at least one path")?;
    let known = heimdall_ingest::BodyFormat::from_name(&tail.format).is_some();
    require(&key("format"), known, "`auto`, `ndjson`, `syslog`, `access`, `logfmt` or `plain`")?;
    let lines = (256..=512 << 10).contains(&tail.line_bytes_max);
    require(&key("line_bytes_max"), lines, "between 256 and 524288")?;
    require(&key("files_max"), (1..=10_000).contains(&tail.files_max), "between 1 and 10000")?;
    let pattern = tail.record_start.as_deref().map_or(Ok(()), |pattern| regex::Regex::new(pattern).map(drop));
    pattern.map_err(|error| ConfigFault {
        key: key("record_start"),
        wants: format!("a regular expression: {error}"),
    })
}

fn require(key: &str, fits: bool, wants: &str) -> Result<(), ConfigFault> {
    if fits { Ok(()) } else { Err(ConfigFault { key: key.to_owned(), wants: wants.to_owned() }) }
}

/// A period as a duration; negative ones are none.
pub(crate) fn duration(period: Period) -> Duration {
    Duration::from_nanos(u64::try_from(period.ns()).unwrap_or(0))
}

/// Seconds as a number, or a duration as text.
struct Seconds(Period);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number of seconds, or a duration like `5s`")]
        enum Raw {
            Number(f64),
            Text(String),
        }
        let refuse = || serde::de::Error::custom("is not a duration; write seconds, or text like `5s`");
        match Raw::deserialize(deserializer)? {
            Raw::Number(n) if n.is_finite() && (0.0..1e9).contains(&n) => {
                #[expect(clippy::cast_possible_truncation, reason = "checked to be below 1e18 ns")]
                let ns = (n * 1e9) as i64;
                Ok(Seconds(Period(ns)))
            }
            Raw::Number(_) => Err(refuse()),
            Raw::Text(text) => parse_duration(&text).map(|ns| Seconds(Period(ns))).ok_or_else(refuse),
        }
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
    Seconds::deserialize(deserializer).map(|seconds| seconds.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, fault: &str) {
        let found = match serde_json::from_str::<AgentConfig>(json) {
            Ok(config) => config.check().unwrap_err().to_string(),
            Err(refused) => refused.to_string(),
        };
        assert!(found.contains(fault), "{found}");
    }

    #[test]
    fn defaults_pass_and_are_the_promised_ones() {
        let config: AgentConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, AgentConfig::default());
        config.check().unwrap();
        assert_eq!(config.monitor.collection_interval, Period::seconds(5));
        let judge = config.detector.judge();
        assert_eq!(judge.zscore.statistical_threshold_multiplier, 3.0);
        assert_eq!(judge.zscore.min_samples_for_detection, 50);
        assert_eq!(config.log_file, PathBuf::from("aegis_sentinel.log"));
    }

    #[test]
    fn endpoints_are_urls_or_tables_and_intervals_numbers_or_text() {
        let text = r#"{"monitor":{"collection_interval":2.5,"api_endpoints":["tcp://db:5432",
            {"url":"https://shop.example/health","interval":"1m","timeout":2,"expect_status":204}]}}"#;
        let config: AgentConfig = serde_json::from_str(text).unwrap();
        config.check().unwrap();
        assert_eq!(config.monitor.collection_interval, Period(2_500_000_000));
        let [first, second] = config.monitor.api_endpoints.as_slice() else { panic!("two") };
        assert_eq!((first.url.as_str(), first.timeout), ("tcp://db:5432", Period::seconds(5)));
        assert_eq!((second.interval, second.timeout), (Period::minutes(1), Period::seconds(2)));
    }

    #[test]
    fn what_cannot_work_is_named() {
        check(r#"{"collection_interval":5}"#, "unknown field `collection_interval`");
        check(r#"{"monitor":{"collection_interval":0}}"#, "`monitor.collection_interval` must be between");
        check(r#"{"monitor":{"api_endpoints":["ftp://x"]}}"#, "`monitor.api_endpoints[0].url` must be");
        check(r#"{"monitor":{"api_endpoints":[{"url":"tcp://a:1","port":2}]}}"#, "an endpoint is a URL");
        check(r#"{"detector":{"isolation_contamination":0.9}}"#, "`detector.isolation_contamination`");
        check(
            r#"{"detector":{"thresholds":{"flood":{"limits":{"keys_max":0}}}}}"#,
            "detector.thresholds.flood",
        );
        check(r#"{"server":{"url":"heimdall:8000"}}"#, "`server.url` must be a URL");
        check(r#"{"buffer":{"bytes_max":5}}"#, "`buffer.bytes_max`");
        check(r#"{"tails":[{"paths":[]}]}"#, "`tails[0].paths`");
        check(
            r#"{"tails":[{"paths":["a"],"record_start":"("}]}"#,
            "`tails[0].record_start` must be a regular",
        );
    }

    #[test]
    fn a_token_is_in_no_text_of_the_configuration() {
        let config: AgentConfig = serde_json::from_str(r#"{"server":{"token":"s3cret"}}"#).unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
        assert!(!serde_json::to_string(&config).unwrap().contains("s3cret"));
    }
}
