//! What runners may do and where: unit, default and reason of every key. Nothing is allowed that is not named here.
//!
//! Invariants:
//! - every runner that changes something outside Heimdall is off by default, and every allow-list is empty: it allows nothing;
//! - an [`ActionSecret`] is in no `Debug`, `Display`, serialised or error text.
//!
//! Not here: checks of the values against each other (the runners do them as they are built).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest secret (bytes): far above any in use, so that a file given by mistake is not sent somewhere.
const SECRET_BYTES_MAX: usize = 8 << 10;

/// A password, token or key. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ActionSecret(String);

impl ActionSecret {
    /// Takes a secret as it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> ActionSecret {
        ActionSecret(text.into())
    }

    /// Reads it from a file, without the spaces and line ends around it.
    ///
    /// # Errors
    /// The file cannot be read, is empty or has more than 8 KiB. Its content is in no error.
    pub(crate) fn read(path: &Path) -> Result<ActionSecret, String> {
        use std::io::Read as _;
        let mut text = String::new();
        let limit = u64::try_from(SECRET_BYTES_MAX).unwrap_or(u64::MAX) + 1;
        let file = std::fs::File::open(path)
            .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
        file.take(limit)
            .read_to_string(&mut text)
            .map_err(|error| format!("cannot read `{}`: {}", path.display(), error.kind()))?;
        let text = text.trim();
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            return Err(format!("`{}` must hold 1 to {SECRET_BYTES_MAX} bytes", path.display()));
        }
        Ok(ActionSecret(text.to_owned()))
    }

    /// The secret itself, for the wire only.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ActionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActionSecret(…)")
    }
}

impl Serialize for ActionSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<secret>")
    }
}

impl<'de> Deserialize<'de> for ActionSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ActionSecret, D::Error> {
        // Not serde's own answer to other types: it would show the value.
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = value.as_str().ok_or_else(|| serde::de::Error::custom("a secret must be a string"))?;
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            return Err(serde::de::Error::custom("a secret must have 1 to 8192 bytes"));
        }
        Ok(ActionSecret(text.to_owned()))
    }
}

/// Which actions can be done, and with what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunnersConfig {
    /// Containers of a Docker engine: `docker.*`, and `scale.*` of compose services.
    pub docker: DockerRunnerConfig,
    /// Units of systemd: `service.*`.
    pub systemd: SystemdRunnerConfig,
    /// Programs of supervisord: `service.*`.
    pub supervisor: SupervisorRunnerConfig,
    /// Keys of a Redis cache: `cache.flush`.
    pub cache: CacheRunnerConfig,
    /// Deployments of a Kubernetes cluster: `scale.*`, `rollback`.
    pub kubernetes: KubernetesRunnerConfig,
    /// Circuit breakers: `breaker.*`.
    pub breaker: BreakerRunnerConfig,
    /// Source addresses kept out: `block.ip`, `unblock.ip`.
    pub block: BlockRunnerConfig,
    /// What else may be scaled and rolled back: by webhooks and commands.
    pub deploy: DeployRunnerConfig,
    /// Programs that may be run, by name: `command`. At most 100. Default none.
    pub commands: BTreeMap<String, CommandRunnerConfig>,
    /// Addresses that may be called, by name: `webhook`. At most 100. Default none.
    pub webhooks: BTreeMap<String, WebhookRunnerConfig>,
}

/// Containers of a Docker engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerRunnerConfig {
    /// Whether containers are acted upon. Default `false`: whoever reaches the socket is root on that machine.
    pub enabled: bool,
    /// Where the engine listens: a socket's path, `unix:///path`, or `http://host:port` (no TLS: loopback or a socket proxy).
    /// Default `/var/run/docker.sock`.
    pub endpoint: String,
    /// Names of containers and of services that may be touched, with `*` and `?`. Default empty: none.
    pub allow: Vec<String>,
    /// Time one question to the engine may take. Default `5s`: it answers within milliseconds.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// Time a container has to stop by itself before it is killed, unless the action says. Default `10s`, as Docker's own.
    #[serde(with = "duration_text")]
    pub stop_grace: Duration,
    /// Running containers of a service that `docker.scale` leaves at least. Default 1: zero is an outage.
    pub replicas_min: u32,
    /// Containers of a service, running or stopped, that `docker.scale` goes up to. Default 10.
    pub replicas_max: u32,
    /// Container Heimdall itself runs in, which is never touched. Default none: it is found from `/proc/self`.
    pub own_container: Option<String>,
}

impl Default for DockerRunnerConfig {
    fn default() -> Self {
        DockerRunnerConfig {
            enabled: false,
            endpoint: "/var/run/docker.sock".to_owned(),
            allow: Vec::new(),
            timeout: Duration::from_secs(5),
            stop_grace: Duration::from_secs(10),
            replicas_min: 1,
            replicas_max: 10,
            own_container: None,
        }
    }
}

/// Units of systemd, over D-Bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SystemdRunnerConfig {
    /// Whether units are acted upon. Default `false`.
    pub enabled: bool,
    /// D-Bus address of the bus systemd is on. Default `unix:path=/run/dbus/system_bus_socket`, the system bus.
    pub bus: String,
    /// Units that may be touched, with `*` and `?`, such as `payment-*.service`. Default empty: none.
    pub allow: Vec<String>,
    /// Time one question to systemd may take; a job may take the whole deadline of its action. Default `5s`.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
}

impl Default for SystemdRunnerConfig {
    fn default() -> Self {
        SystemdRunnerConfig {
            enabled: false,
            bus: "unix:path=/run/dbus/system_bus_socket".to_owned(),
            allow: Vec::new(),
            timeout: Duration::from_secs(5),
        }
    }
}

/// Programs of supervisord, over XML-RPC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisorRunnerConfig {
    /// Whether programs are acted upon. Default `false`.
    pub enabled: bool,
    /// Where supervisord listens: a socket's path, `unix:///path`, or `http://host:port`. Default `/var/run/supervisor.sock`.
    pub endpoint: String,
    /// User of its `username` setting. Default none.
    pub user: Option<String>,
    /// Password of its `password` setting. A secret: never printed. Default none.
    pub password: Option<ActionSecret>,
    /// File with the password, instead of `password`. Default none.
    pub password_file: Option<PathBuf>,
    /// Programs that may be touched (`group:name`, or `name` where both are the same), with `*` and `?`. Default empty: none.
    pub allow: Vec<String>,
    /// Time one question may take; a start or stop may take the whole deadline of its action. Default `5s`.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
}

impl Default for SupervisorRunnerConfig {
    fn default() -> Self {
        SupervisorRunnerConfig {
            enabled: false,
            endpoint: "/var/run/supervisor.sock".to_owned(),
            user: None,
            password: None,
            password_file: None,
            allow: Vec::new(),
            timeout: Duration::from_secs(5),
        }
    }
}

/// Keys of a Redis cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheRunnerConfig {
    /// Whether keys are deleted. Default `false`.
    pub enabled: bool,
    /// Address of the server, `host:port`; no TLS. Default `127.0.0.1:6379`.
    pub address: String,
    /// User of its access-control list. Default none: the default user.
    pub user: Option<String>,
    /// Password. A secret: never printed. Default none.
    pub password: Option<ActionSecret>,
    /// File with the password, instead of `password`. Default none.
    pub password_file: Option<PathBuf>,
    /// Database whose keys are deleted unless the action names one of `databases`. Default 0.
    pub database: u32,
    /// Databases an action may name. Default empty: only `database`.
    pub databases: Vec<u32>,
    /// What patterns must begin with, letter by letter, such as `cache:`. Default empty: no key may be deleted.
    pub prefixes: Vec<String>,
    /// Whether the pattern `*` may empty a whole database. Default `false`: a cache often shares its server with sessions.
    pub allow_flush_all: bool,
    /// Keys one action deletes at most; with more it is refused before any is. Default 1000000.
    pub keys_max: u64,
    /// Keys deleted in one command. Default 500: a server does nothing else meanwhile.
    pub batch_keys: usize,
    /// Time one command may take. Default `5s`.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
}

impl Default for CacheRunnerConfig {
    fn default() -> Self {
        CacheRunnerConfig {
            enabled: false,
            address: "127.0.0.1:6379".to_owned(),
            user: None,
            password: None,
            password_file: None,
            database: 0,
            databases: Vec::new(),
            prefixes: Vec::new(),
            allow_flush_all: false,
            keys_max: 1_000_000,
            batch_keys: 500,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Deployments of a Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesRunnerConfig {
    /// Whether deployments are acted upon. Default `false`.
    pub enabled: bool,
    /// Address of the API server. Default `https://kubernetes.default.svc`, as seen from inside the cluster.
    pub server: String,
    /// File with the token, read anew for each request because it is renewed. Default that of the pod's service account.
    pub token_file: Option<PathBuf>,
    /// File with the certificates the server is trusted by. Default that of the pod's service account.
    pub ca_file: Option<PathBuf>,
    /// Namespace of targets that name none (`namespace/deployment` names one). Default `default`.
    pub namespace: String,
    /// Deployments that may be touched, `namespace/deployment` with `*` and `?`. Default empty: none.
    pub allow: Vec<String>,
    /// Replicas left at least. Default 1: zero is an outage.
    pub replicas_min: u32,
    /// Replicas gone up to. Default 10.
    pub replicas_max: u32,
    /// Time one request may take. Default `5s`.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
}

impl Default for KubernetesRunnerConfig {
    fn default() -> Self {
        let account = Path::new("/var/run/secrets/kubernetes.io/serviceaccount");
        KubernetesRunnerConfig {
            enabled: false,
            server: "https://kubernetes.default.svc".to_owned(),
            token_file: Some(account.join("token")),
            ca_file: Some(account.join("ca.crt")),
            namespace: "default".to_owned(),
            allow: Vec::new(),
            replicas_min: 1,
            replicas_max: 10,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Circuit breakers: states that proxies and services read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerRunnerConfig {
    /// Whether breakers can be set. Default `true`: a state nobody reads does nothing.
    pub enabled: bool,
    /// File with a line `"name" state;` per breaker that is not closed, to be included in an nginx `map`. Default none.
    pub nginx_file: Option<PathBuf>,
    /// File with a JSON object of Envoy runtime keys: `heimdall.breaker.NAME`, the percentage of requests to refuse. Default none.
    pub runtime_file: Option<PathBuf>,
    /// Name of a webhook (in `webhooks`) told of every change. Default none.
    pub webhook: Option<String>,
    /// Time a breaker stays open unless the action says; then it is half-open. Default `5m`.
    #[serde(with = "duration_text")]
    pub open_for: Duration,
    /// Time it stays half-open unless the action says; then it is closed. Default `1m`.
    #[serde(with = "duration_text")]
    pub half_open_for: Duration,
    /// Longest time an action may ask for. Default `1d`: an open breaker that everybody forgot is an outage.
    #[serde(with = "duration_text")]
    pub ttl_max: Duration,
}

impl Default for BreakerRunnerConfig {
    fn default() -> Self {
        BreakerRunnerConfig {
            enabled: true,
            nginx_file: None,
            runtime_file: None,
            webhook: None,
            open_for: Duration::from_secs(300),
            half_open_for: Duration::from_secs(60),
            ttl_max: Duration::from_secs(86_400),
        }
    }
}

/// Source addresses kept out, always for a limited time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockRunnerConfig {
    /// Whether addresses are blocked. Default `false`. Needs `nftables`, `file` or `webhook`.
    pub enabled: bool,
    /// Whether they are dropped by nftables on this machine; needs `CAP_NET_ADMIN`. Default `false`.
    pub nftables: bool,
    /// The `nft` program. Default `/usr/sbin/nft`.
    pub nft_program: PathBuf,
    /// Table of family `inet` that holds the sets `blocked4` and `blocked6`; made with a dropping chain where it is absent, and
    /// no other table is touched. Default `heimdall`.
    pub nft_table: String,
    /// File with a line `deny ADDRESS;` each, to be included in nginx. Default none.
    pub file: Option<PathBuf>,
    /// Name of a webhook (in `webhooks`) told of every block and unblock. Default none.
    pub webhook: Option<String>,
    /// Time a block lasts unless the action says. Default `1h`.
    #[serde(with = "duration_text")]
    pub ttl: Duration,
    /// Longest time a block may last. Default `7d`: addresses change hands.
    #[serde(with = "duration_text")]
    pub ttl_max: Duration,
    /// Addresses blocked at once; more are refused. Default 10000.
    pub addresses_max: usize,
    /// Networks never blocked, such as `198.51.100.0/24`: offices, monitors, payment providers. Default empty.
    pub never: Vec<String>,
    /// Whether private, link-local and shared addresses may be blocked. Default `false`: they are our own, or a proxy's.
    pub allow_private: bool,
    /// Time one call of `nft` may take. Default `5s`.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
}

impl Default for BlockRunnerConfig {
    fn default() -> Self {
        BlockRunnerConfig {
            enabled: false,
            nftables: false,
            nft_program: PathBuf::from("/usr/sbin/nft"),
            nft_table: "heimdall".to_owned(),
            file: None,
            webhook: None,
            ttl: Duration::from_secs(3_600),
            ttl_max: Duration::from_secs(7 * 86_400),
            addresses_max: 10_000,
            never: Vec::new(),
            allow_private: false,
            timeout: Duration::from_secs(5),
        }
    }
}

/// What else may be scaled and rolled back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeployRunnerConfig {
    /// Name of a webhook (in `webhooks`) that does `scale.*` with `via = "webhook"`. Default none.
    pub scale_webhook: Option<String>,
    /// Name of a webhook (in `webhooks`) that does `rollback` with `via = "webhook"`. Default none.
    pub rollback_webhook: Option<String>,
    /// Name of a command (in `commands`) that does `rollback` with `via = "command"`; it gets the target as its parameter
    /// `target`. Default none.
    pub rollback_command: Option<String>,
}

/// A program that may be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRunnerConfig {
    /// The program, as an absolute path. No shell is involved.
    pub program: PathBuf,
    /// Its arguments; `{name}` stands for a parameter. Default none.
    #[serde(default)]
    pub args: Vec<String>,
    /// Parameters by name: a regular expression that the whole value must match. A value never begins with `-`. Default none.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Its environment, whole: nothing is inherited. Default `PATH` alone.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Folder it runs in. Default `/`.
    #[serde(default = "root_folder")]
    pub working_dir: PathBuf,
    /// Time after which it and all it started are killed, if the action's deadline is not earlier. Default `60s`.
    #[serde(default = "one_minute", with = "duration_text")]
    pub timeout: Duration,
    /// Bytes of output kept, of each stream; more are read and dropped. Default 4096.
    #[serde(default = "output_bytes")]
    pub output_bytes_max: usize,
    /// Whether running it twice is the same as once. Default `false`.
    #[serde(default)]
    pub is_idempotent: bool,
    /// Name of the command that undoes it, run with the same parameters. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// Name of the command that tells whether it took effect, run with the same parameters: exit code 0 is yes, 1 is no. Default
    /// none: nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

fn root_folder() -> PathBuf {
    PathBuf::from("/")
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

fn output_bytes() -> usize {
    4_096
}

/// An address that may be called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookRunnerConfig {
    /// Address the action is posted to. A secret, as it often holds a token: never printed.
    pub url: ActionSecret,
    /// Key the body is signed with (HMAC-SHA256). A secret: never printed. Default none: not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ActionSecret>,
    /// File with that key, instead of `secret`. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Further headers, such as `Authorization`. Their values are secrets: never printed. Default none.
    #[serde(default)]
    pub headers: BTreeMap<String, ActionSecret>,
    /// Time a call may take, if the action's deadline is not earlier. Default `10s`.
    #[serde(default = "ten_seconds", with = "duration_text")]
    pub timeout: Duration,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// A network in CIDR form, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    pub(crate) fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let base: IpAddr = address.trim().parse().ok()?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), |text| text.trim().parse().ok())?;
        (prefix <= bits).then_some(Network { base, prefix })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                base.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                base.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// Durations as people write them.
pub(crate) mod duration_text {
    use std::time::Duration;

    use heimdall_model::{format_duration, parse_duration};
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ns = parse_duration(&text).and_then(|ns| u64::try_from(ns).ok());
        ns.map(Duration::from_nanos).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is not a duration; write it like `60s` or `1h30m`"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_touches_the_world_is_on_by_default_and_defaults_survive_their_text() {
        let config = RunnersConfig::default();
        assert!(!config.docker.enabled && !config.systemd.enabled && !config.supervisor.enabled);
        assert!(!config.cache.enabled && !config.kubernetes.enabled && !config.block.enabled);
        assert!(config.commands.is_empty() && config.webhooks.is_empty());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<RunnersConfig>(&text).unwrap(), config);
    }

    #[test]
    fn secrets_are_printed_nowhere() {
        let text = r#"{"webhooks": {"ci": {"url": "https://h/hidden", "secret": "hidden", "headers": {"A": "hidden"}}}}"#;
        let config: RunnersConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.webhooks["ci"].url.expose(), "https://h/hidden");
        assert!(!format!("{config:?}").contains("hidden"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hidden"));
        let error = serde_json::from_str::<RunnersConfig>(r#"{"cache": {"password": 77412}}"#).unwrap_err();
        assert!(!error.to_string().contains("77412"), "{error}");
    }

    #[test]
    fn networks_contain_what_their_prefix_says() {
        let check = |network: &str, address: &str, expected: bool| {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network:?} {address}");
        };
        check("198.51.100.0/24", "198.51.100.7", true);
        check("198.51.100.0/24", "198.51.101.7", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("2001:db8::1", "2001:db8::2", false);
        check("0.0.0.0/0", "2001:db8::2", false);
        assert!(Network::parse("198.51.100.0/33").is_none() && Network::parse("office").is_none());
    }
}
