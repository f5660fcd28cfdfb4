//! What is switched on, where, and within which limits. One table for each door: `[doors.hec]`.

use std::net::SocketAddr;

use heimdall_detect::config::Period;
use serde::{Deserialize, Serialize};

pub use crate::docker::DockerConfig;
pub use crate::elasticsearch::ElasticsearchConfig;
pub use crate::fluent::FluentConfig;
pub use crate::gelf::GelfConfig;
use crate::kafka::KafkaConfig;
pub use crate::lumberjack::LumberjackConfig;
pub use crate::mqtt::{MqttConfig, MqttFormat, MqttTopic};
use crate::net::TlsConfig;
pub use crate::prometheus::scrape::{BasicAuth, Scheme, ScrapeConfig};
use crate::rpc::RpcLimits;
pub use crate::statsd::StatsdConfig;
pub use crate::syslog::{SyslogConfig, SyslogListener, SyslogTransport};

/// The doors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoorsConfig {
    /// Logs of Docker's containers.
    pub docker: DockerConfig,
    /// Elasticsearch's ingestion.
    pub elasticsearch: ElasticsearchConfig,
    /// Fluent forward.
    pub fluent: FluentConfig,
    /// Graylog's extended log format.
    pub gelf: GelfConfig,
    /// Heimdall's own protocol over gRPC.
    pub grpc: GrpcConfig,
    /// Splunk's HTTP event collector.
    pub hec: HecConfig,
    /// Uploads of systemd's journal.
    pub journald: JournalUploadConfig,
    /// Topics of a Kafka cluster.
    pub kafka: KafkaConfig,
    /// Lumberjack v2: Beats and Logstash.
    pub lumberjack: LumberjackConfig,
    /// Brokers of MQTT to subscribe at.
    pub mqtt: Vec<MqttConfig>,
    /// OpenTelemetry's protocol.
    pub otlp: OtlpConfig,
    /// Targets that are asked for their metrics.
    pub scrape: Vec<ScrapeConfig>,
    /// StatsD and DogStatsD.
    pub statsd: StatsdConfig,
    /// Syslog and RELP.
    pub syslog: SyslogConfig,
}

/// Heimdall's own protocol over gRPC.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Address for Heimdall's gRPC. Default `127.0.0.1:50051`, unless that port is taken.
    pub listen: Option<SocketAddr>,
    /// TLS. Default none.
    pub tls: TlsConfig,
    /// What the listener may hold.
    pub limits: RpcLimits,
}

/// OpenTelemetry's protocol.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// Address for OTLP over gRPC. Default `127.0.0.1:4317`, unless that port is taken.
    pub grpc_listen: Option<SocketAddr>,
    /// Address for OTLP over HTTP. Default `127.0.0.1:4318`, unless that port is taken.
    pub http_listen: Option<SocketAddr>,
    /// TLS of the gRPC listener. Default none.
    pub tls: TlsConfig,
    /// What the gRPC listener may hold.
    pub limits: RpcLimits,
}

/// Splunk's HTTP event collector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HecConfig {
    /// Address besides the HTTP listener's. Default `127.0.0.1:8088`, unless that port is taken.
    pub listen: Option<SocketAddr>,
    /// Indexer acknowledgement. Default `offered`: a request that names a channel is given an id; `required`: every request has
    /// to name a channel; `off`: no ids.
    pub acks: AckMode,
    /// Channels remembered. Default 10,000; beyond, the one used longest ago is forgotten, and its ids answer false.
    pub channels_max: usize,
    /// A channel that is not used for this long may be forgotten when there is no room. Default `10m`.
    pub channel_idle: Period,
}

impl Default for HecConfig {
    fn default() -> Self {
        HecConfig {
            listen: None,
            acks: AckMode::Offered,
            channels_max: 10_000,
            channel_idle: Period::minutes(10),
        }
    }
}

/// Splunk's indexer acknowledgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// No ids.
    Off,
    /// An id for requests that name a channel.
    #[default]
    Offered,
    /// Every request names a channel.
    Required,
}

/// Uploads of systemd's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalUploadConfig {
    /// Address besides the HTTP listener's, such as `127.0.0.1:19532`. Default none.
    pub listen: Option<SocketAddr>,
    /// Uploads at once. Default 1,000; beyond: 503.
    pub uploads_max: usize,
    /// Journals whose place is remembered, so that entries sent again are not written again. Default 10,000; beyond, the one that
    /// was used longest ago is forgotten.
    pub journals_max: usize,
    /// An entry that is not complete after this long without a byte ends the upload. Default `5m`. Between entries there is no limit.
    pub entry_timeout: Period,
}

impl Default for JournalUploadConfig {
    fn default() -> Self {
        JournalUploadConfig {
            listen: None,
            uploads_max: 1_000,
            journals_max: 10_000,
            entry_timeout: Period::minutes(5),
        }
    }
}
