//! MQTT 3.1.1: subscribes at brokers, and acknowledges what is durable.
//!
//! The session is kept by the broker (`clean_session = false`): what was published while nobody listened comes later. QoS 1 is at
//! least once by its nature; what comes again is known and not written again (see [`announced`] for how, and for what not).
//! QoS 2 is refused in the configuration: it would add a second round trip, and no more than that.
//!
//! Invariants:
//! - PUBACK is sent only after the intake returned a receipt for the message;
//! - nothing more is read from a broker while the journal has no room, and the connection stays alive meanwhile.
//!
//! Not here: payloads ([`decode`]).

mod announced;
mod decode;
mod session;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heimdall_detect::Period;
use heimdall_model::{Size, Tenant};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsConnector;

use self::announced::Announcements;
pub use self::decode::MqttFormat;
use self::decode::Reader;
use self::session::Client;
use crate::patience::duration;
use crate::{DoorError, Opened, Shared};

const NAME: &str = "mqtt";

/// A broker to subscribe at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// The broker: `mqtt://HOST:1883`, or `mqtts://HOST:8883` with TLS. Needed.
    pub url: String,
    /// Name of this client, by which the broker keeps its session. Default `heimdall`.
    pub client_id: String,
    /// What to subscribe to. Needed.
    pub topics: Vec<MqttTopic>,
    /// User name; empty (the default): none.
    pub username: String,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities of the broker's certificate. Needed with `mqtts`.
    pub ca_file: Option<PathBuf>,
    /// PEM file of this client's certificate, if the broker asks for one.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its private key.
    pub key_file: Option<PathBuf>,
    /// Whose records they are. Default `default`.
    pub tenant: Tenant,
    /// How payloads are read: `auto` (the default), `json`, `text` or `metrics`.
    pub format: MqttFormat,
    /// Level of the topic, from 0, that names the service. Unset (the default): none does.
    pub service_level: Option<usize>,
    /// A connection silent for longer is tried out, and given up if nothing comes (default 30 s).
    pub keep_alive: Period,
    /// Bytes of one packet (default 1 MiB); a larger message is passed over and counted.
    pub frame_bytes_max: Size,
}

impl Default for MqttConfig {
    fn default() -> Self {
        MqttConfig {
            url: String::new(),
            client_id: "heimdall".to_owned(),
            topics: Vec::new(),
            username: String::new(),
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            tenant: Tenant::default(),
            format: MqttFormat::default(),
            service_level: None,
            keep_alive: Period::seconds(30),
            frame_bytes_max: Size(1 << 20),
        }
    }
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttTopic {
    /// Filter, such as `sensors/#`.
    pub filter: String,
    /// 0 or 1 (the default).
    #[serde(default = "at_least_once")]
    pub qos: u8,
}

fn at_least_once() -> u8 {
    1
}

/// A client for each broker.
///
/// # Errors
/// [`DoorError::Config`].
pub(crate) fn open(configs: &[MqttConfig], shared: &Arc<Shared>) -> Result<Vec<Opened>, DoorError> {
    let mut opened = Vec::new();
    for (n, config) in configs.iter().enumerate() {
        let bad =
            |detail: String| DoorError::Config { door: NAME, detail: format!("`{}`: {detail}", config.url) };
        let is_same = |other: &MqttConfig| other.url == config.url && other.client_id == config.client_id;
        if configs[..n].iter().any(is_same) {
            return Err(bad("the same client_id is used twice at this broker".to_owned()));
        }
        let mut client = client(config, shared).map_err(bad)?;
        opened.push(Opened { name: NAME, addr: None, run: Box::pin(async move { client.run().await }) });
    }
    Ok(opened)
}

fn client(config: &MqttConfig, shared: &Arc<Shared>) -> Result<Client, String> {
    let broker = Broker::of(config)?;
    check(config)?;
    let password = config.password_file.as_deref().map(secret).transpose()?;
    let state = shared
        .data_dir
        .join("mqtt")
        .join(format!("{}.json", session::digest(&[&config.url, &config.client_id])));
    let announcements =
        Announcements::load(state.clone()).map_err(|error| format!("{}: {error}", state.display()))?;
    Ok(Client {
        shared: Arc::clone(shared),
        broker,
        password,
        announcements,
        reader: Reader { format: config.format, service_level: config.service_level },
        keep_alive: duration(config.keep_alive).clamp(Duration::from_secs(5), Duration::from_secs(3600)),
        config: config.clone(),
    })
}

fn check(config: &MqttConfig) -> Result<(), String> {
    if config.topics.is_empty() {
        return Err("topics are needed".to_owned());
    }
    if config.client_id.is_empty() {
        return Err("a client_id is needed: the broker keeps the session by it".to_owned());
    }
    for topic in &config.topics {
        if topic.qos > 1 {
            return Err(format!("topic `{}`: QoS 2 is not supported, use 1", topic.filter));
        }
        if !rumqttc::valid_filter(&topic.filter) {
            return Err(format!("`{}` is no filter of topics", topic.filter));
        }
    }
    Ok(())
}

fn secret(path: &Path) -> Result<String, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(format!("password_file `{}`: {error}", path.display())),
    }
}

/// Where a broker is.
pub(crate) struct Broker {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Broker {
    fn of(config: &MqttConfig) -> Result<Broker, String> {
        let wanted = "write url as mqtt://HOST:PORT or mqtts://HOST:PORT";
        let (scheme, rest) = config.url.split_once("://").ok_or(wanted)?;
        let (is_tls, usual) = match scheme {
            "mqtt" | "tcp" => (false, 1883),
            "mqtts" | "ssl" => (true, 8883),
            _ => return Err(wanted.to_owned()),
        };
        let (host, port) = host_and_port(rest.trim_end_matches('/'), usual).ok_or(wanted)?;
        let tls = is_tls.then(|| tls(config, &host)).transpose()?;
        Ok(Broker { host, port, tls })
    }
}

fn host_and_port(text: &str, usual: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Ok(usual), str::parse).ok()?;
    (!host.is_empty() && !host.contains('/')).then(|| (host.to_owned(), port))
}

fn tls(config: &MqttConfig, host: &str) -> Result<(TlsConnector, ServerName<'static>), String> {
    let bad = |path: &Path, error: &dyn std::fmt::Display| format!("`{}`: {error}", path.display());
    let ca_file = config.ca_file.as_deref().ok_or("mqtts needs ca_file")?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(ca_file).map_err(|error| bad(ca_file, &error))? {
        let authority = authority.map_err(|error| bad(ca_file, &error))?;
        roots.add(authority).map_err(|error| bad(ca_file, &error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let client = match (&config.cert_file, &config.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert_file), Some(key_file)) => {
            let certs = CertificateDer::pem_file_iter(cert_file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| bad(cert_file, &error))?;
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| bad(key_file, &error))?;
            builder.with_client_auth_cert(certs, key).map_err(|error| bad(cert_file, &error))?
        }
        _ => return Err("cert_file and key_file belong together".to_owned()),
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("`{host}`: {error}"))?;
    Ok((TlsConnector::from(Arc::new(client)), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> MqttConfig {
        let topics = vec![MqttTopic { filter: "a/#".to_owned(), qos: 1 }];
        MqttConfig { url: url.to_owned(), topics, ..MqttConfig::default() }
    }

    #[test]
    fn brokers_are_read_from_urls() {
        for (url, host, port) in [
            ("mqtt://h", "h", 1883),
            ("mqtt://h:9/", "h", 9),
            ("tcp://127.0.0.1:1", "127.0.0.1", 1),
            ("mqtt://[::1]:7", "::1", 7),
        ] {
            let broker = Broker::of(&config(url)).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((broker.host.as_str(), broker.port), (host, port), "{url}");
        }
        for url in ["", "h:1", "http://h", "mqtt://", "mqtt://h:x", "mqtt://h/p", "mqtts://h"] {
            assert!(Broker::of(&config(url)).is_err(), "{url}");
        }
    }

    #[test]
    fn what_is_not_supported_says_so() {
        let mut it = config("mqtt://h");
        it.topics[0].qos = 2;
        assert!(check(&it).is_err_and(|detail| detail.contains("QoS 2")));
        it.topics[0] = MqttTopic { filter: "a/#/b".to_owned(), qos: 1 };
        assert!(check(&it).is_err());
        it.topics.clear();
        assert!(check(&it).is_err());
    }
}
