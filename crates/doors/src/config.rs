//! What is switched on, where, and within which limits. One table for each door: `[doors.hec]`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use crate::elasticsearch::ElasticsearchConfig;
use crate::net::TlsConfig;
use crate::rpc::RpcLimits;
pub use crate::gelf::GelfConfig;
pub use crate::syslog::{SyslogConfig, SyslogListener, SyslogTransport};

/// The doors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoorsConfig {
    /// Elasticsearch's ingestion.
    pub elasticsearch: ElasticsearchConfig,
    /// Heimdall's own protocol over gRPC.
    pub grpc: GrpcConfig,
    /// Graylog's extended log format.
    pub gelf: GelfConfig,
    /// OpenTelemetry's protocol.
    pub otlp: OtlpConfig,
    /// Splunk's HTTP event collector.
    pub hec: HecConfig,
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HecConfig {
    /// Address besides the HTTP listener's. Default `127.0.0.1:8088`, unless that port is taken.
    pub listen: Option<SocketAddr>,
}
