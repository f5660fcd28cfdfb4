//! The server's configuration: parsed whole, checked once, with the origin of every value.
//!
//! Order: defaults < `heimdall.toml` < environment (`HEIMDALL_SECTION__KEY`, and the well-known names below) < flags.
//!
//! Invariant: an unknown key, or a value that does not suit its key, stops the start and is named with its origin.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use heimdall_alert::notify::{ChannelConfig, Secret};
use heimdall_detect::{DetectConfig, Period};
use heimdall_doors::DoorsConfig;
use heimdall_doors::net::TlsConfig;
use heimdall_llm::LlmConfig;
use heimdall_model::{Dataset, Size, Tenant};
use heimdall_respond::RespondConfig;
use heimdall_respond::runners::RunnersConfig;
use serde::{Deserialize, Deserializer, Serialize};
use toml::{Table, Value};

use crate::local::LocalConfig;

/// Environment variables with names of their own; an empty one counts as not set.
const WELL_KNOWN: &[(&str, &str)] = &[
    ("SLACK_WEBHOOK_URL", "alerts.slack_webhook_url"),
    ("PAGERDUTY_ROUTING_KEY", "alerts.pagerduty_routing_key"),
    ("LLM_ENABLED", "llm.enabled"),
    ("OPENAI_API_KEY", "llm.api_key"),
    ("OPENAI_BASE_URL", "llm.base_url"),
    ("OPENAI_MODEL", "llm.model"),
    ("KAFKA_BROKERS", "doors.kafka.brokers"),
    ("KAFKA_TOPIC", "doors.kafka.topics"),
];
const ENV_PREFIX: &str = "HEIMDALL_";
/// Variables of that prefix that are for the command line client.
const ENV_CLIENT: &[&str] =
    &["HEIMDALL_URL", "HEIMDALL_TOKEN", "HEIMDALL_TENANT", "HEIMDALL_WATCH", "HEIMDALL_CONFIG"];

/// Everything `heimdall serve` reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where the server listens and keeps its data.
    pub server: ServerConfig,
    /// Who may do what.
    pub auth: AccessConfig,
    /// What the doors take.
    pub ingest: IngestConfig,
    /// The protocols of shippers.
    pub doors: DoorsConfig,
    /// What the server watches on its own host.
    pub local: LocalConfig,
    /// The durable log every batch passes through.
    pub journal: JournalConfig,
    /// Where records live.
    pub store: StoreConfig,
    /// What a query may cost.
    pub query: QueryConfig,
    /// Who is told.
    pub alerts: AlertsConfig,
    /// What may be done about alerts.
    pub respond: RespondConfig,
    /// What actions reach, and how.
    pub runners: RunnersConfig,
    /// What Heimdall says of itself.
    pub log: LogConfig,
    /// Thresholds of the detectors.
    pub detect: DetectConfig,
    /// Review of suspicious templates by a language model.
    pub llm: LlmConfig,
}

/// Where the server listens and keeps its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerConfig {
    /// Folder of everything the server keeps. Default `./heimdall-data`.
    pub data_dir: PathBuf,
    /// Address of the HTTP listener. Port 0 takes a free port, then for every listener that is not set. Default
    /// `127.0.0.1:8000`: loopback, because binding wider needs `auth.enabled`.
    pub listen: SocketAddr,
    /// Address of the technician listener (`heimdall watch`). Default `127.0.0.1:7007`, or a free port when `listen`
    /// has port 0.
    pub watch_listen: Option<SocketAddr>,
    /// Connections served at once; more wait to be accepted. Default 4096: a file descriptor each.
    pub connections_max: usize,
    /// Certificates of the HTTP listeners, that of the doors included. Default none: plain HTTP.
    pub tls: TlsConfig,
    /// Time to finish requests when the server is asked to stop. Default `10s`: below the usual 30 s of supervisors.
    pub grace: Period,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            data_dir: PathBuf::from("heimdall-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            watch_listen: None,
            connections_max: 4096,
            tls: TlsConfig::default(),
            grace: Period::seconds(10),
        }
    }
}

impl ServerConfig {
    /// The technician listener's address: the one set, else the default beside the HTTP listener.
    pub(crate) fn watch_address(&self) -> SocketAddr {
        let port = if self.listen.port() == 0 { 0 } else { 7007 };
        self.watch_listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// Who may do what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AccessConfig {
    /// Every request needs a token, from loopback too. Default `false`: on a loopback listener the machine's users are
    /// trusted; a wider listener is refused without it.
    pub enabled: bool,
}

/// What the doors take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IngestConfig {
    /// Largest request body as sent. Default `64MiB`; beyond: 413.
    pub body_bytes_max: Size,
    /// Largest body after decompression. Default `256MiB`: a bomb guard; beyond: 413.
    pub decompressed_bytes_max: Size,
    /// Bytes being decoded or waiting to become durable, all doors together. Default `256MiB`; beyond: 503 with
    /// `Retry-After`.
    pub in_flight_bytes_max: Size,
    /// Records per second each token may send on average; 0 is no limit. Default 0.
    pub records_per_second_per_token: u32,
    /// Records per second each tenant may send on average; 0 is no limit. Default 0.
    pub records_per_second_per_tenant: u32,
    /// Records per second each source address may send on average; 0 is no limit. Default 0.
    pub records_per_second_per_source: u32,
    /// Folder of pipelines (`*.yaml`) and their tables; read again when it changes. Default none.
    pub pipelines_dir: Option<PathBuf>,
    /// Pipelines that come with Heimdall and are switched on: `ecs`, `otel`, `ocsf`, `windows`, `sigma`. Default none: records
    /// are kept under the names their senders give.
    pub pipelines: Vec<String>,
    /// Folder of JSON Schemas that pipelines check records against: `NAME.vN.json`, those of one tenant in a folder of its name; read
    /// again when it changes. Default none.
    pub schemas_dir: Option<PathBuf>,
    /// Bytes of rejected and quarantined records that are kept as they came, in `<data_dir>/dead-letters`; the oldest go first.
    /// 0 keeps none. Default `64MiB`.
    pub dead_letter_bytes_max: Size,
    /// How long they are kept. Default `7d`: time to mend a pipeline and try them again.
    pub dead_letter_age_max: Period,
}

impl Default for IngestConfig {
    fn default() -> Self {
        IngestConfig {
            body_bytes_max: Size(64 << 20),
            decompressed_bytes_max: Size(256 << 20),
            in_flight_bytes_max: Size(256 << 20),
            records_per_second_per_token: 0,
            records_per_second_per_tenant: 0,
            records_per_second_per_source: 0,
            pipelines_dir: None,
            pipelines: Vec::new(),
            schemas_dir: None,
            dead_letter_bytes_max: Size(64 << 20),
            dead_letter_age_max: Period::hours(24 * 7),
        }
    }
}

/// The durable log every batch passes through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JournalConfig {
    /// Bytes not yet in segments; beyond, doors answer 503 with `Retry-After`. Default `8GiB`.
    pub bytes_max: Size,
    /// A new file is begun at this size. Default `128MiB`: files are released whole.
    pub file_bytes_max: Size,
    /// Free space left to the rest of the machine; below, doors answer 503. Default `64MiB`.
    pub disk_reserve: Size,
    /// How long idempotency keys are remembered. Default `1d`: shippers retry for hours.
    pub key_window: Period,
}

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig {
            bytes_max: Size(8 << 30),
            file_bytes_max: Size(128 << 20),
            disk_reserve: Size(64 << 20),
            key_window: Period::hours(24),
        }
    }
}

/// Where records live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StoreConfig {
    /// How long records are kept, from their event time or their arrival, whichever is later; they are dropped segment by
    /// segment. `0s` keeps them for ever. Default `365d`: they can be dropped earlier, not be brought back.
    pub retention: Period,
    /// Bytes of all segments above which the oldest are dropped; 0 is no limit. Default 0.
    pub retention_bytes: Size,
    /// Records that are kept for another time than `retention`, as a list of `[[store.policies]]`: `keep` (`0s` for ever), and
    /// any of the conditions `tenant`, `dataset`, `classification` (public, internal, confidential, restricted) and
    /// `retention_policy` (the name in the record's field). The first one whose conditions a record meets holds for it. Its
    /// `cold_after` says when its records go to the cold tier, when not at the age of the others: an age, `0s` or `never`. At
    /// most 64. Default none.
    pub policies: Vec<PolicyConfig>,
    /// Free space of the data folder's disk below which old segments leave it: to the cold tier where there is one, else
    /// those whose time is over soonest are dropped, but none that took a record within a day. 0 drops none. Default
    /// `256MiB`: above `journal.disk_reserve`, at which intake is refused.
    pub disk_reserve: Size,
    /// Where old segments go: a folder (relative to `server.data_dir`), `file:///folder`, or `s3://bucket/prefix` in a build with
    /// the feature `cloud`, with key, region and endpoint from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
    /// `AWS_ENDPOINT`. What is known about them stays in the data folder. Default none: all stay there.
    pub cold_url: Option<String>,
    /// Age of their newest record, and since their last arrival, from which segments go there. Default `30d`.
    pub cold_after: Period,
    /// Bytes of segments in the data folder above which the oldest go there earlier; 0 is no limit. Default 0.
    pub local_bytes_max: Size,
    /// Rows in memory at which segments are written. Default 1000000: larger segments compress better and cost more
    /// memory.
    pub flush_rows: usize,
    /// Bytes in memory at which segments are written. Default `96MiB`: one set is filled while another is written, which
    /// together with what is in flight stays well below 1 GiB.
    pub flush_bytes: Size,
    /// Age of the oldest row in memory at which segments are written. Default `60s`: bounds what a restart replays.
    pub flush_age: Period,
    /// Fields of logs whose values are counted as records are written, by class of `status`: their most frequent values and
    /// the number of different ones are then answered without a scan. Canonical or attribute names; at most 64; segments
    /// already written keep what they have. Default `user_id`, `source_ip`, `status`.
    pub cube_fields: Vec<String>,
    /// Bytes of what is known about segments (runs, page bounds, counts) that is kept decoded in memory. Default `256MiB`;
    /// what does not fit is read again when needed.
    pub sidecar_cache_bytes: Size,
    /// Bytes of ends of segment files (where each page of a column is) that are kept in memory. Default `512MiB`, which is enough for
    /// some 800 million records; what does not fit is read again when needed.
    pub footer_cache_bytes: Size,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            retention: Period::hours(24 * 365),
            retention_bytes: Size(0),
            policies: Vec::new(),
            disk_reserve: Size(256 << 20),
            cold_url: None,
            cold_after: Period::hours(24 * 30),
            local_bytes_max: Size(0),
            flush_rows: 1_000_000,
            flush_bytes: Size(96 << 20),
            flush_age: Period::seconds(60),
            cube_fields: heimdall_store::StoreConfig::default().cube_fields,
            sidecar_cache_bytes: Size(256 << 20),
            footer_cache_bytes: Size(512 << 20),
        }
    }
}

/// How long some records are kept; a condition that is absent is met by all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyConfig {
    /// From event time or arrival, whichever is later; `0s` is for ever.
    pub keep: Period,
    /// Whose records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// `logs`, `metrics` or `spans`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
    /// Class of log records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Class>,
    /// Policy that log records name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<String>,
    /// Age from which they go to the cold tier, as `store.cold_after`, which holds where it is absent: `0s` is as soon as
    /// their segment is no longer merged, `never` keeps them in the data folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_after: Option<ColdAfter>,
}

/// When records go to the cold tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColdAfter {
    /// At this age.
    Age(Period),
    /// Not at all.
    Never,
}

impl Serialize for ColdAfter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ColdAfter::Age(age) => age.serialize(serializer),
            ColdAfter::Never => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for ColdAfter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ColdAfter, D::Error> {
        use serde::de::{Error as _, IntoDeserializer as _};
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(ColdAfter::Never);
        }
        let age = Period::deserialize(text.as_str().into_deserializer());
        age.map(ColdAfter::Age)
            .map_err(|error: serde::de::value::Error| D::Error::custom(format!("{error}; or `never`")))
    }
}

/// Class of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    Public,
    Internal,
    Confidential,
    Restricted,
}

impl Class {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Class::Public => "public",
            Class::Internal => "internal",
            Class::Confidential => "confidential",
            Class::Restricted => "restricted",
        }
    }
}

/// What a query may cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct QueryConfig {
    /// Time after which a query is given up. Default `30s`; a request may ask for less.
    pub timeout: Period,
    /// Queries run at once; more get 503 with `Retry-After`. Default 8.
    pub concurrent_max: usize,
    /// Memory for results that are given again while they are still right, for at most 5 minutes; 0 keeps none. Default
    /// `64MiB`.
    pub cache_bytes: Size,
    /// Memory of sorts, joins and groups of all SQL statements that run; beyond it they spill to disk. Default `512MiB`.
    pub sql_memory_bytes: Size,
    /// Disk that SQL statements may spill to, in `<data_dir>/run/sql`; beyond it a statement fails. Default `4GiB`.
    pub sql_spill_bytes: Size,
}

impl Default for QueryConfig {
    fn default() -> Self {
        QueryConfig {
            timeout: Period::seconds(30),
            concurrent_max: 8,
            cache_bytes: Size(64 << 20),
            sql_memory_bytes: Size(512 << 20),
            sql_spill_bytes: Size(4 << 30),
        }
    }
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AlertsConfig {
    /// Print raised alerts on standard output. Default `true`.
    pub stdout: bool,
    /// Slack incoming webhook; also read from `SLACK_WEBHOOK_URL`. A secret: never logged. Default none.
    #[serde(deserialize_with = "secret")]
    pub slack_webhook_url: Option<Secret>,
    /// PagerDuty integration key (Events API v2); also read from `PAGERDUTY_ROUTING_KEY`. A secret. Default none.
    #[serde(deserialize_with = "secret")]
    pub pagerduty_routing_key: Option<Secret>,
    /// Further channels, as a list of `[[alerts.channels]]` with a `type` each (see the page on channels). Default none.
    pub channels: Vec<ChannelConfig>,
    /// File that says who is told of what, when and how often, re-read when it changes; the channels above are not used then.
    /// Default none: every channel is told of all alerts.
    pub routing_file: Option<PathBuf>,
    /// Address of Heimdall as people reach it, such as `https://heimdall.example.org`: links in messages. Default none.
    pub base_url: Option<String>,
    /// An alert that comes back this soon after it was resolved is the same alert, open again. Default `10m`.
    pub reopen_within: Period,
    /// An alert joins an incident whose last alert is no older than this. Default `15m`.
    pub incident_window: Period,
    /// Secret with which Slack signs the buttons people press (`signing secret` of the app). Default none: they are not answered.
    #[serde(deserialize_with = "secret")]
    pub slack_signing_secret: Option<Secret>,
    /// Who people of Slack are here, by Slack's id of them, such as `U024BE7LH`. When anybody is named, nobody else may press.
    /// Default none: anybody in the workspace may.
    pub slack_users: BTreeMap<String, String>,
    /// Secret of PagerDuty's webhook subscription, by which what is acknowledged or resolved there is so here. Default none.
    #[serde(deserialize_with = "secret")]
    pub pagerduty_webhook_secret: Option<Secret>,
    /// An alert without findings for this long is resolved; `0s` leaves that to people. Default `1h`.
    pub resolve_after: Period,
    /// Folder of rules, re-read when it changes. Default: the built-in rules only.
    pub rules_dir: Option<PathBuf>,
    /// Print the audit line of every judged value on standard output too, in colour on a terminal. Default `false`;
    /// the files under `<data_dir>/audit` are always written.
    pub audit_console: bool,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        AlertsConfig {
            stdout: true,
            slack_webhook_url: None,
            pagerduty_routing_key: None,
            channels: Vec::new(),
            routing_file: None,
            base_url: None,
            reopen_within: Period::minutes(10),
            incident_window: Period::minutes(15),
            slack_signing_secret: None,
            slack_users: BTreeMap::new(),
            pagerduty_webhook_secret: None,
            resolve_after: Period::hours(1),
            rules_dir: None,
            audit_console: false,
        }
    }
}

/// Reads a secret; an empty one is none, as variables of the environment that are there but not set.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.trim().is_empty());
    text.map(|text| Secret::parse(&text).map_err(serde::de::Error::custom)).transpose()
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What Heimdall says of itself, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// Least serious level, or a filter such as `info,heimdall_store=debug`. Default `info`.
    pub level: String,
    /// `text` or `json`. Default `text`.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// A value that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("could not read `{}`", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The line itself is not shown: it may hold a secret.
    #[error("`{}` is not TOML{place}: {detail}", path.display())]
    Syntax { path: PathBuf, place: String, detail: String },
    #[error("bad configuration ({origins}): {detail}")]
    Invalid { origins: String, detail: String },
}

/// The effective configuration and where each value came from.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub config: Config,
    origins: BTreeMap<String, String>,
}

/// Values that flags set, by dotted key.
pub(crate) type Overrides = Vec<(&'static str, Value)>;

/// Puts the layers together.
pub(crate) fn load(
    file: Option<&Path>,
    env: &[(String, String)],
    flags: Overrides,
) -> Result<Loaded, ConfigError> {
    let mut table = defaults();
    let mut origins = BTreeMap::new();
    if let Some((path, text)) = read_file(file)? {
        let layer: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.clone(),
            place: error.span().map(|span| place(&text, span.start)).unwrap_or_default(),
            detail: error.message().to_owned(),
        })?;
        merge(&mut table, layer, "", &path.display().to_string(), &mut origins);
    }
    for (name, value) in env {
        let is_unset = value.trim().is_empty() && WELL_KNOWN.iter().any(|(well_known, _)| well_known == name);
        if let Some(key) = key_of_env(name).filter(|_| !is_unset) {
            set(&mut table, &key, parse_env(value), name, &mut origins);
        }
    }
    for (key, value) in flags {
        set(&mut table, key, value, "flag", &mut origins);
    }
    let config = Config::deserialize(table).map_err(|error| ConfigError::Invalid {
        origins: distinct(&origins),
        detail: error.to_string().trim_end().replace('\n', " "),
    })?;
    config.detect.check().map_err(|error| ConfigError::Invalid {
        origins: distinct(&origins),
        detail: format!("detect.{error}"),
    })?;
    config.llm.check().map_err(|error| ConfigError::Invalid {
        origins: distinct(&origins),
        detail: format!("llm.{error}"),
    })?;
    let (policies, max) = (config.store.policies.len(), heimdall_store::POLICIES_MAX);
    if policies > max {
        return Err(ConfigError::Invalid {
            origins: origins.get("store.policies").cloned().unwrap_or_default(),
            detail: format!("store.policies: {policies} are more than {max}"),
        });
    }
    let webhook = config.alerts.slack_webhook_url.as_ref().map(Secret::expose);
    if webhook.is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
        return Err(ConfigError::Invalid {
            origins: origins.get("alerts.slack_webhook_url").cloned().unwrap_or_default(),
            detail: "alerts.slack_webhook_url: is not a http(s) address".to_owned(),
        });
    }
    config.respond.check().map_err(|error| ConfigError::Invalid {
        origins: distinct(&origins),
        detail: format!("respond.{error}"),
    })?;
    Ok(Loaded { config, origins })
}

/// Line and column of a byte of a text, both from 1.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!(" at line {line}, column {column}")
}

fn defaults() -> Table {
    Table::try_from(Config::default()).expect("the defaults serialise")
}

fn read_file(file: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let path = file.unwrap_or(Path::new("heimdall.toml"));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

fn key_of_env(name: &str) -> Option<String> {
    if let Some((_, key)) = WELL_KNOWN.iter().find(|(well_known, _)| *well_known == name) {
        return Some((*key).to_owned());
    }
    if ENV_CLIENT.contains(&name) {
        return None;
    }
    Some(name.strip_prefix(ENV_PREFIX)?.to_lowercase().replace("__", "."))
}

/// A TOML value where the text is one; otherwise the text itself.
fn parse_env(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn merge(into: &mut Table, layer: Table, prefix: &str, origin: &str, origins: &mut BTreeMap<String, String>) {
    for (name, value) in layer {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match (into.get_mut(&name), value) {
            (Some(Value::Table(inner)), Value::Table(layer)) => merge(inner, layer, &key, origin, origins),
            (_, value) => {
                into.insert(name, value);
                origins.insert(key, origin.to_owned());
            }
        }
    }
}

fn set(table: &mut Table, key: &str, value: Value, origin: &str, origins: &mut BTreeMap<String, String>) {
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().expect("split gives at least one part");
    let nested = parts.into_iter().rev().fold(Table::from_iter([(last.to_owned(), value)]), |inner, part| {
        Table::from_iter([(part.to_owned(), Value::Table(inner))])
    });
    merge(table, nested, "", origin, origins);
}

fn distinct(origins: &BTreeMap<String, String>) -> String {
    let mut names: Vec<&str> = origins.values().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "defaults".to_owned() } else { names.join(", ") }
}

impl Loaded {
    /// The effective values as TOML, each with its origin; secrets are not shown.
    pub(crate) fn print(&self) -> String {
        let table = Table::try_from(&self.config).expect("the configuration serialises");
        let mut out = String::new();
        self.print_table(&table, "", &mut out);
        out
    }

    fn print_table(&self, table: &Table, prefix: &str, out: &mut String) {
        let join = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let (tables, values): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
        if !prefix.is_empty() && !values.is_empty() {
            let _ = writeln!(out, "\n[{prefix}]");
        }
        for (name, value) in values {
            let origin = self.origins.get(&join(name)).map_or("default", String::as_str);
            let _ = writeln!(out, "{name} = {value}  # {origin}");
        }
        for (name, value) in tables {
            if let Value::Table(inner) = value {
                self.print_table(inner, &join(name), out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn environment_beats_file_and_flags_beat_both() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("h.toml");
        std::fs::write(&file, "[store]\nretention = \"7d\"\nflush_rows = 10\n[query]\ntimeout = \"5s\"\n")
            .expect("writes");
        let env = env(&[
            ("HEIMDALL_STORE__FLUSH_ROWS", "20"),
            ("HEIMDALL_QUERY__TIMEOUT", "6s"),
            ("HEIMDALL_URL", "ignored"),
            ("SLACK_WEBHOOK_URL", "https://hooks.example/T0/secret"),
        ]);
        let flags = vec![("query.timeout", Value::String("7s".to_owned()))];
        let loaded = load(Some(&file), &env, flags).expect("loads");
        assert_eq!(loaded.config.store.retention, Period::hours(24 * 7));
        assert_eq!(loaded.config.store.flush_rows, 20);
        assert_eq!(loaded.config.query.timeout, Period::seconds(7));
        let printed = loaded.print();
        assert!(printed.contains("flush_rows = 20  # HEIMDALL_STORE__FLUSH_ROWS"), "{printed}");
        assert!(printed.contains("timeout = \"7s\"  # flag"), "{printed}");
        assert!(!printed.contains("secret\""), "{printed}");
        assert!(printed.parse::<Table>().is_ok(), "what is printed can be read again");
    }

    #[test]
    fn retention_policies_are_a_list_of_tables() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("h.toml");
        let load = |text: &str| {
            std::fs::write(&file, text).expect("writes");
            load(Some(&file), &[], Vec::new())
        };
        let policies = "[[store.policies]]\nkeep = \"7d\"\ntenant = \"acme\"\nclassification = \"public\"\n\n\
            [[store.policies]]\nkeep = \"0s\"\nretention_policy = \"pci\"\ncold_after = \"never\"\n";
        let loaded = load(policies).expect("loads");
        let [public, pci] = loaded.config.store.policies.as_slice() else { panic!("two policies") };
        assert_eq!((public.keep, public.classification), (Period::hours(24 * 7), Some(Class::Public)));
        assert_eq!((pci.tenant.as_ref(), pci.retention_policy.as_deref()), (None, Some("pci")));
        assert_eq!((public.cold_after, pci.cold_after), (None, Some(ColdAfter::Never)));
        let printed: Table = loaded.print().parse().expect("what is printed can be read again");
        assert_eq!(printed["store"]["policies"].as_array().map(Vec::len), Some(2));
        let cold =
            |text: &str| load(&format!("[[store.policies]]\nkeep = \"7d\"\ncold_after = \"{text}\"\n"));
        let at_once = cold("0s").expect("loads").config.store.policies[0].cold_after;
        assert_eq!(at_once, Some(ColdAfter::Age(Period::seconds(0))));
        assert!(cold("soon").expect_err("no age").to_string().contains("never"));
        let wrong = load("[[store.policies]]\nkeep = \"7d\"\nclass = \"public\"\n").expect_err("unknown");
        assert!(wrong.to_string().contains("class"), "{wrong}");
        let many = "[[store.policies]]\nkeep = \"7d\"\n".repeat(65);
        assert!(load(&many).expect_err("too many").to_string().contains("more than 64"));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        let check = |name: &str, value: &str, expected: &str| {
            let error = load(None, &env(&[(name, value)]), Vec::new()).expect_err(name).to_string();
            assert!(error.contains(expected) && error.contains(name), "{error}");
        };
        check("HEIMDALL_STORE__FLUSH_ROW", "1", "flush_row");
        check("HEIMDALL_JOURNAL__BYTES_MAX", "lots", "`lots` is not a size");
        check("HEIMDALL_SERVER__LISTEN", "nowhere", "socket address");
    }

    #[test]
    fn an_empty_webhook_is_none_and_a_bad_one_or_a_broken_file_is_refused_without_telling_it() {
        let webhook = |name: &str, value: &str| load(None, &env(&[(name, value)]), Vec::new());
        for name in ["SLACK_WEBHOOK_URL", "HEIMDALL_ALERTS__SLACK_WEBHOOK_URL"] {
            let loaded = webhook(name, "").expect(name);
            assert_eq!(loaded.config.alerts.slack_webhook_url, None);
            let error = webhook(name, "hooks.example/secret").expect_err(name).to_string();
            assert!(error.contains(name) && !error.contains("secret"), "{error}");
        }
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("h.toml");
        std::fs::write(&file, "[alerts]\nslack_webhook_url = https://secret\n").expect("writes");
        let error = load(Some(&file), &[], Vec::new()).expect_err("not TOML").to_string();
        assert!(error.contains("line 2, column ") && !error.contains("secret"), "{error}");
    }
}
