//! What is read from Kafka, and how: `[doors.kafka]`, and `[[doors.kafka.also]]` for further clusters or groups.

use std::fmt;
use std::path::PathBuf;

use heimdall_detect::Period;
use heimdall_model::{Dataset, Size, Tenant};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Topic read when only brokers are set.
pub(crate) const DEFAULT_TOPIC: &str = "security-events";

/// What is read from a Kafka cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers to ask first, as a list or `a:9092,b:9092`. Empty: Kafka is not read. Default empty; the environment's
    /// `KAFKA_BROKERS` is this key.
    #[serde(deserialize_with = "list")]
    pub brokers: Vec<String>,
    /// Topics, as a list or separated by commas. One that begins with `^` is a regular expression: every topic it matches is
    /// read, also those made later. Default `security-events`; the environment's `KAFKA_TOPIC` is this key.
    #[serde(deserialize_with = "list")]
    pub topics: Vec<String>,
    /// Name of this source: of its files in the data folder. Letters, digits, `-` and `_`. Default `kafka`.
    pub name: String,
    /// Consumer group; servers that share one share the partitions. Default `heimdall`.
    pub group_id: String,
    /// Name of this member of the group, when it is to keep its partitions over a restart (static membership): unique in the
    /// group. A server that comes back under its name is not waited for. Default none.
    pub instance_id: String,
    /// Where a group without offsets starts: `latest` or `earliest`. Default `latest`.
    pub start: Start,
    /// What messages are: `auto`, `json`, `avro`, `protobuf`, `text` or `raw`. Default `auto`: with a schema's id in front by that
    /// schema, else JSON, else text.
    pub format: MessageFormat,
    /// What records they become: `logs`, `metrics` or `spans`. Default `logs`.
    pub dataset: Dataset,
    /// Whose records they are. Default `default`.
    pub tenant: Tenant,
    /// Service of records that state none. Default none.
    pub service: String,
    /// Whether records keep where they came from: `kafka.topic`, `kafka.partition`, `kafka.offset`, `kafka.key` and
    /// `kafka.header.NAME`. Default `true`.
    pub metadata: bool,
    /// Schema Registry to ask. Empty: the one built in. Default empty.
    pub schema_registry_url: String,
    /// User for that registry. Default none.
    pub schema_registry_user: String,
    /// File with that user's password. Default none.
    pub schema_registry_password_file: Option<PathBuf>,
    /// Whether messages with a JSON Schema are checked against it; those that do not suit it are rejected. Default `false`.
    pub validate: bool,
    /// How to log in.
    pub sasl: SaslConfig,
    /// Encryption.
    pub tls: ClientTlsConfig,
    /// Messages of a partition made durable at once, at most. Default 2000.
    pub batch_messages_max: usize,
    /// Bytes of messages of a partition made durable at once, about. Default `4MiB`.
    pub batch_bytes_max: Size,
    /// Bytes asked of a broker at once. Default `16MiB`.
    pub fetch_bytes_max: Size,
    /// Bytes of a batch of messages once unpacked; larger ones stop their partition. Default `128MiB`.
    pub unpacked_bytes_max: Size,
    /// How long the group waits for a member that is silent. Default `45s`.
    pub session_timeout: Period,
    /// How often topics are looked for by the regular expressions. Default `60s`.
    pub topics_interval: Period,
    /// Further sources, with the same keys and a `name` of their own. Default none.
    pub also: Vec<KafkaConfig>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        KafkaConfig {
            brokers: Vec::new(),
            topics: vec![DEFAULT_TOPIC.to_owned()],
            name: "kafka".to_owned(),
            group_id: "heimdall".to_owned(),
            instance_id: String::new(),
            start: Start::default(),
            format: MessageFormat::default(),
            dataset: Dataset::Logs,
            tenant: Tenant::default(),
            service: String::new(),
            metadata: true,
            schema_registry_url: String::new(),
            schema_registry_user: String::new(),
            schema_registry_password_file: None,
            validate: false,
            sasl: SaslConfig::default(),
            tls: ClientTlsConfig::default(),
            batch_messages_max: 2000,
            batch_bytes_max: Size(4 << 20),
            fetch_bytes_max: Size(16 << 20),
            unpacked_bytes_max: Size(128 << 20),
            session_timeout: Period::seconds(45),
            topics_interval: Period::seconds(60),
            also: Vec::new(),
        }
    }
}

/// Where a group without offsets starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With what is sent from now on.
    #[default]
    Latest,
    /// With the oldest message that is kept.
    Earliest,
}

/// What messages are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageFormat {
    /// Told from each message.
    #[default]
    Auto,
    /// JSON: an object, several, or an array of them; or with the id of a JSON Schema in front.
    Json,
    /// Avro, with a schema's id in front.
    Avro,
    /// Protocol buffers, with a schema's id in front.
    Protobuf,
    /// A line of text in any of the formats of the intake.
    Text,
    /// Anything: text as it is, other bytes as base64.
    Raw,
}

/// How to log in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaslConfig {
    /// `none`, `plain`, `scram-sha-256` or `scram-sha-512`. Default `none`.
    pub mechanism: Mechanism,
    /// User. Default none.
    pub user: String,
    /// File with the password; white space around it is not part of it. Default none.
    pub password_file: Option<PathBuf>,
}

/// A way to log in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// Not at all.
    #[default]
    None,
    /// Password as it is: only over TLS.
    Plain,
    /// Salted challenge, SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// Salted challenge, SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// Encryption towards brokers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTlsConfig {
    /// Whether connections are encrypted. Default `false`.
    pub enabled: bool,
    /// PEM file of the authorities the brokers' certificates must lead to. Default: those of the web.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the own certificate, for brokers that ask for one. Default none.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its private key. Default none.
    pub key_file: Option<PathBuf>,
}

impl KafkaConfig {
    /// Checks what the types leave open; what is wrong, naming the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let wrong = |key: &str, why: &str| Err(format!("{}: {key} {why}", self.name));
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(is_name) {
            return wrong("name", "must be 1 to 64 letters, digits, `-` or `_`");
        }
        if self.topics.is_empty() {
            return wrong("topics", "names none");
        }
        if self.group_id.is_empty() {
            return wrong("group_id", "is empty");
        }
        if !(1..=1_000_000).contains(&self.batch_messages_max) {
            return wrong("batch_messages_max", "must be 1 to 1000000");
        }
        if !((64 << 10)..=(32 << 20)).contains(&self.batch_bytes_max.0) {
            return wrong("batch_bytes_max", "must be 64KiB to 32MiB");
        }
        if !((64 << 10)..=(1 << 30)).contains(&self.fetch_bytes_max.0) {
            return wrong("fetch_bytes_max", "must be 64KiB to 1GiB");
        }
        if !((1 << 20)..=(1 << 30)).contains(&self.unpacked_bytes_max.0) {
            return wrong("unpacked_bytes_max", "must be 1MiB to 1GiB");
        }
        if self.session_timeout < Period::seconds(6) {
            return wrong("session_timeout", "must be at least 6s");
        }
        if self.topics_interval < Period::seconds(1) {
            return wrong("topics_interval", "must be at least 1s");
        }
        if self.sasl.mechanism != Mechanism::None
            && (self.sasl.user.is_empty() || self.sasl.password_file.is_none())
        {
            return wrong("sasl", "needs `user` and `password_file`");
        }
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            return wrong("tls", "needs both `cert_file` and `key_file`, or neither");
        }
        if self.also.iter().any(|other| !other.also.is_empty()) {
            return wrong("also", "cannot hold further `also`");
        }
        Ok(())
    }
}

/// A list, or a text of parts separated by commas.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Parts;

    impl<'de> Visitor<'de> for Parts {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts, or a text with commas")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
            // A comma in a regular expression, such as in `{2,3}`, belongs to it.
            let parts: Vec<&str> = if text.starts_with('^') { vec![text] } else { text.split(',').collect() };
            Ok(parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
            let mut parts = Vec::new();
            while let Some(part) = seq.next_element()? {
                parts.push(part);
            }
            Ok(parts)
        }
    }

    deserializer.deserialize_any(Parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_lists_or_text_with_commas() {
        let config: KafkaConfig =
            toml::from_str("brokers = \"a:9092, b:9092\"\ntopics = [\"x\", \"^app-.{1,3}$\"]")
                .expect("a configuration");
        assert_eq!(config.brokers, ["a:9092", "b:9092"]);
        assert_eq!(config.topics, ["x", "^app-.{1,3}$"]);
        let config: KafkaConfig =
            toml::from_str("brokers = \"a:9092\"\ntopics = \"^app-.{1,3}$\"").expect("one");
        assert_eq!((config.topics.len(), config.group_id.as_str()), (1, "heimdall"));
        assert_eq!(config.check(), Ok(()));
        assert!(toml::from_str::<KafkaConfig>("broker = \"a\"").is_err(), "unknown keys are errors");
    }

    #[test]
    fn what_cannot_work_is_named() {
        let sasl = SaslConfig { mechanism: Mechanism::ScramSha512, ..SaslConfig::default() };
        let config = KafkaConfig { sasl, ..KafkaConfig::default() };
        assert_eq!(config.check(), Err("kafka: sasl needs `user` and `password_file`".to_owned()));
        let config = KafkaConfig { name: "../x".to_owned(), ..KafkaConfig::default() };
        assert!(config.check().is_err());
        let text: SaslConfig = toml::from_str("mechanism = \"scram-sha-256\"").expect("a mechanism");
        assert_eq!(text.mechanism, Mechanism::ScramSha256);
    }
}
