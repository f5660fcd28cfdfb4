//! Kafka: a member of a consumer group that reads topics into the journal, each message exactly once.
//!
//! - [`config`]: what is read; [`session`]: the loop over one connection; [`batches`]: ranges of offsets, and their keys
//! - [`intents`]: what was about to be made durable, on disk; [`ghost`]: the member that was killed; [`decode`]: messages to records
//! - [`produce()`]: messages to a topic; [`hint`]: what an operator may look at
//!
//! The order for every batch: its range goes to disk ([`intents`]), its records into the journal under a key that names the range,
//! its end to the group as committed offset. Only then the next range of that partition begins. So the group's offset is at the
//! beginning or the end of the last range, and whatever happens in between, the range is read again whole, and the journal
//! answers that it has it.
//!
//! Invariants:
//! - an offset is committed only after the records before it are durable;
//! - of a partition at most one range is beyond the committed offset;
//! - a message that cannot be read costs itself, never its partition.

mod batches;
pub(crate) mod config;
mod decode;
mod ghost;
mod hint;
mod intents;
mod produce;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use heimdall_ingest::Caller;
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::{Kafka, KafkaBuilder};
use metrics::gauge;
use parking_lot::Mutex;
use regex::Regex;

use self::batches::BatchLimits;
use self::decode::Options;
use self::ghost::Ghost;
use self::intents::Intents;
use crate::registry::Registry;
use crate::registry::lookup::{Decoders, Origin, Remote};
use crate::{DoorError, Opened, Shared};

pub use config::{ClientTlsConfig, KafkaConfig, Mechanism, MessageFormat, SaslConfig, Start};
pub use produce::{ProduceError, produce};

/// The door's name.
const DOOR: &str = "kafka";
/// First pause after a connection failed; doubled up to the second.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Time to connect to a broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How old what is known of the cluster may be.
const METADATA_AGE: Duration = Duration::from_secs(60);

/// What a source works with, whatever becomes of its connection.
struct Source {
    config: KafkaConfig,
    shared: Arc<Shared>,
    intents: Arc<Mutex<Intents>>,
    decoders: Decoders,
    options: Options,
    caller: Caller,
    limits: BatchLimits,
    names: Vec<String>,
    patterns: Vec<Regex>,
}

/// Prepares every source that has brokers.
///
/// # Errors
/// [`DoorError::Config`], naming the source and the key.
pub(crate) fn open(
    config: &KafkaConfig,
    shared: &Arc<Shared>,
    registry: &Arc<Registry>,
) -> Result<Vec<Opened>, DoorError> {
    let wrong = |detail| DoorError::Config { door: DOOR, detail };
    let sources = std::iter::once(config).chain(&config.also).filter(|source| !source.brokers.is_empty());
    let mut names: Vec<&str> = Vec::new();
    let mut opened = Vec::new();
    for config in sources {
        config.check().map_err(wrong)?;
        if names.contains(&config.name.as_str()) {
            return Err(wrong(format!("two sources are named `{}`", config.name)));
        }
        names.push(&config.name);
        let source = Source::new(config, shared, registry).map_err(wrong)?;
        opened.push(Opened { name: DOOR, addr: None, run: Box::pin(run(source)) });
    }
    Ok(opened)
}

impl Source {
    fn new(config: &KafkaConfig, shared: &Arc<Shared>, registry: &Arc<Registry>) -> Result<Source, String> {
        let dir = shared.data_dir.join("kafka");
        let intents = Intents::open(&dir, &config.name)
            .map_err(|error| format!("{}: `{}`: {error}", config.name, dir.display()))?;
        let origin = if config.schema_registry_url.is_empty() {
            Origin::Own(Arc::clone(registry), config.tenant.clone())
        } else {
            let password = config.schema_registry_password_file.as_deref();
            Origin::Remote(Remote::new(&config.schema_registry_url, &config.schema_registry_user, password)?)
        };
        let (patterns, names): (Vec<&String>, Vec<&String>) =
            config.topics.iter().partition(|topic| topic.starts_with('^'));
        let patterns = patterns.into_iter().map(|pattern| Regex::new(pattern));
        drop(builder(config)?); // files of passwords and certificates are missed now rather than later
        Ok(Source {
            shared: Arc::clone(shared),
            intents: Arc::new(Mutex::new(intents)),
            decoders: Decoders::new(origin, config.validate),
            options: Options {
                format: config.format,
                dataset: config.dataset,
                metadata: config.metadata,
                service: config.service.clone(),
            },
            caller: Caller::named(config.tenant.clone(), &config.name),
            limits: BatchLimits {
                messages_max: config.batch_messages_max,
                bytes_max: config.batch_bytes_max.usize(),
            },
            names: names.into_iter().cloned().collect(),
            patterns: patterns.collect::<Result<_, _>>().map_err(|error| format!("topics: {error}"))?,
            config: config.clone(),
        })
    }

    fn ghost(&self) -> Ghost {
        Ghost::new(&self.shared.data_dir.join("kafka"), &self.config.name, &self.config.group_id)
    }

    /// The name of the source, a label of its metrics.
    fn name(&self) -> String {
        self.config.name.clone()
    }
}

/// How brokers are reached.
fn builder(config: &KafkaConfig) -> Result<KafkaBuilder, String> {
    let mut security = match (&config.sasl.mechanism, &config.sasl.password_file) {
        (Mechanism::None, _) | (_, None) => AuthConfig::plaintext(),
        (mechanism, Some(file)) => {
            let password = std::fs::read_to_string(file)
                .map_err(|error| format!("sasl.password_file `{}`: {error}", file.display()))?;
            let (user, password) = (config.sasl.user.as_str(), password.trim());
            match mechanism {
                Mechanism::Plain | Mechanism::None => AuthConfig::sasl_plain(user, password),
                Mechanism::ScramSha256 => AuthConfig::sasl_scram_sha256(user, password),
                Mechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(user, password),
            }
        }
    };
    if config.tls.enabled {
        let mut tls = TlsConfig::new();
        if let Some(file) = &config.tls.ca_file {
            let pem =
                std::fs::read(file).map_err(|error| format!("tls.ca_file `{}`: {error}", file.display()))?;
            tls = tls.with_ca_cert_pem(pem);
        }
        if let (Some(cert), Some(key)) = (&config.tls.cert_file, &config.tls.key_file) {
            for file in [cert, key] {
                std::fs::metadata(file).map_err(|error| format!("tls `{}`: {error}", file.display()))?;
            }
            tls = tls.with_client_cert(cert.to_string_lossy(), key.to_string_lossy());
        }
        security = security.with_tls(tls);
    }
    Ok(Kafka::builder(config.brokers.join(","))
        .client_id("heimdall")
        .security(security)
        .connect_timeout(CONNECT_TIMEOUT)
        .metadata_max_age(METADATA_AGE))
}

/// Reads until the server ends; a connection that fails is made again.
async fn run(source: Source) {
    let source = Arc::new(source);
    let shutdown = source.shared.shutdown.clone();
    let connected = gauge!("door_kafka_connected", "source" => source.name());
    let mut pause = PAUSE;
    loop {
        let began = tokio::time::Instant::now();
        let failed = match builder(&source.config) {
            Ok(builder) => session::run(&source, builder, &connected).await.err().map(|e| e.to_string()),
            Err(detail) => Some(detail),
        };
        connected.set(0.0);
        let Some(error) = failed else { return };
        if began.elapsed() > PAUSE_MAX {
            pause = PAUSE;
        }
        let hint = hint::hint(&source.config, &error);
        tracing::warn!(source = source.config.name, %error, hint, ?pause, "kafka is not read; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
