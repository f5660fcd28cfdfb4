//! What is switched on, where, and within which limits. One table for each door: `[doors.hec]`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use crate::elasticsearch::ElasticsearchConfig;

/// The doors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoorsConfig {
    /// Elasticsearch's ingestion.
    pub elasticsearch: ElasticsearchConfig,
    /// OpenTelemetry's protocol.
    pub otlp: OtlpConfig,
    /// Splunk's HTTP event collector.
    pub hec: HecConfig,
}

/// OpenTelemetry's protocol.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// Address for OTLP over HTTP. Default `127.0.0.1:4318`, unless that port is taken.
    pub http_listen: Option<SocketAddr>,
}

/// Splunk's HTTP event collector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HecConfig {
    /// Address besides the HTTP listener's. Default `127.0.0.1:8088`, unless that port is taken.
    pub listen: Option<SocketAddr>,
}
