//! What a server watches on its own host: files, the system's journal, the machine. It is an agent in the server's process, whose
//! records take the road of all others: durable here before the place in a file is left behind.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use heimdall_agent::config::{JournaldConfig, MonitorConfig, TailConfig};
use heimdall_agent::ship::{Away, Home, HomeFrame, Shipped};
use heimdall_agent::{Agent, AgentConfig};
use heimdall_ingest::compression::{self, CompressionLimits};
use heimdall_ingest::{
    BodyError, Caller, DecodeLimits, Decoded, Intake, Origin, Pipes, Reading, Refused, Submission, json,
};
use heimdall_model::{Dataset, Tenant};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The door of receipts and counters.
const DOOR: &str = "local";

/// What a server watches on its own host. Nothing, unless it says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LocalConfig {
    /// Name of this host in records. Default: what the kernel says.
    pub host: Option<String>,
    /// Whose records they are. Default `default`.
    pub tenant: Tenant,
    /// Files to follow, as a list of `[[local.tails]]`; keys as of the agent's `[[tails]]`. Default none.
    pub tails: Vec<TailConfig>,
    /// The system's journal; keys as of the agent's.
    pub journald: JournaldConfig,
    /// Measuring this host; keys as of the agent's. `enabled` is `false` here by default.
    pub monitor: MonitorConfig,
}

impl Default for LocalConfig {
    fn default() -> Self {
        LocalConfig {
            host: None,
            tenant: Tenant::default(),
            tails: Vec::new(),
            journald: JournaldConfig::default(),
            monitor: MonitorConfig { enabled: false, ..MonitorConfig::default() },
        }
    }
}

/// Starts watching, when there is something to watch.
pub(crate) async fn start(
    config: &LocalConfig,
    data_dir: &Path,
    intake: Arc<Intake>,
    compression: CompressionLimits,
) -> Result<Option<Agent>> {
    if config.tails.is_empty() && !config.journald.enabled && !config.monitor.enabled {
        return Ok(None);
    }
    let data_dir = data_dir.join("local");
    let mut agent = AgentConfig {
        host: config.host.clone(),
        log_file: Default::default(),
        data_dir,
        tails: config.tails.clone(),
        journald: config.journald.clone(),
        monitor: config.monitor.clone(),
        ..AgentConfig::default()
    };
    // The server's own detectors judge what arrives.
    agent.detector.enabled = false;
    let door = Door { intake, compression, tenant: config.tenant.clone() };
    let agent = Agent::builder().config(agent).home(Arc::new(door)).build().context("local")?;
    agent.start().await.context("local")?;
    Ok(Some(agent))
}

/// The way from the agent's buffer to the intake.
struct Door {
    intake: Arc<Intake>,
    compression: CompressionLimits,
    tenant: Tenant,
}

impl Door {
    /// Through the pipelines, as records of every other door.
    fn decode(&self, dataset: Dataset, body: &[u8]) -> Result<Decoded, BodyError> {
        let (set, limits) = (self.intake.pipelines().current(), DecodeLimits::default());
        let origin = Origin { door: DOOR, tenant: &self.tenant, service: None };
        let pipelines = Some(Pipes { set: &set, origin });
        json::read(dataset, body, Reading { now: self.intake.now(), limits: &limits, pipelines })
    }
}

impl Home for Door {
    fn take(&self, frame: HomeFrame) -> BoxFuture<'_, Result<Shipped, Away>> {
        async move {
            let never = |reason: &dyn std::fmt::Display| Away::Never(reason.to_string());
            let body = compression::decompress(Some("zstd"), frame.body, &self.compression);
            let body = body.map_err(|error| never(&error))?;
            let decoded = self.decode(frame.dataset, &body).map_err(|error| never(&error))?;
            let submission = Submission {
                caller: Caller::named(self.tenant.clone(), DOOR),
                door: DOOR,
                idempotency_key: Some(frame.key),
                decoded,
                body_bytes: body.len() as u64,
            };
            let receipt = self.intake.admit(submission).await.map_err(|refused| away(&refused))?;
            Ok(Shipped { rejected: receipt.rejected_total, deduplicated: receipt.deduplicated })
        }
        .boxed()
    }
}

fn away(refused: &Refused) -> Away {
    match refused {
        Refused::TooLarge { .. } => Away::Never(refused.to_string()),
        _ => Away::Later(refused.to_string(), refused.retry_after()),
    }
}
