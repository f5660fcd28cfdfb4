//! Who is told of alerts: the routing, from a file or from the channels of the configuration, and its reload.
//!
//! Invariant: a file that cannot be used stops the start, and changes nothing while the server runs: every fault is named with
//! file, line and key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use heimdall_alert::notify::{ChannelConfig, config};
use heimdall_alert::pipeline::PipelineHandle;
use heimdall_alert::routing::{Channel, Routing, RoutingFault};
use heimdall_alert::{AlertRules, Alerts};
use tokio_util::sync::CancellationToken;

use crate::config::AlertsConfig;

/// Time between looks at the routing file.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The routing the configuration asks for.
///
/// # Errors
/// The file cannot be read, or every fault of it, a line each.
pub(crate) fn routing(config: &AlertsConfig) -> Result<Routing> {
    match &config.routing_file {
        Some(file) => read(file)?.or_else(|faults| bail!(listed(&faults))),
        None => Ok(Routing::default_for(channels(config))),
    }
}

/// Reads a routing file.
///
/// # Errors
/// It cannot be read. The inner error: its faults.
pub(crate) fn read(file: &Path) -> Result<Result<Routing, Vec<RoutingFault>>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("could not read the routing file `{}`", file.display()))?;
    Ok(Routing::parse(&file.display().to_string(), &text))
}

/// Faults, a line each.
pub(crate) fn listed(faults: &[RoutingFault]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    format!("the routing cannot be used:\n{}", lines.join("\n"))
}

/// The rules for alerts that stand in a routing.
pub(crate) fn rules(routing: &Routing) -> AlertRules {
    AlertRules {
        inhibit: routing.inhibit_rules().to_vec(),
        priorities: routing.priority_rules().to_vec(),
        flapping: None,
    }
}

/// The channels that are configured outside a routing file.
fn channels(config: &AlertsConfig) -> Vec<Channel> {
    let mut channels = Vec::new();
    if config.stdout {
        channels.push(ChannelConfig::Stdout(config::StdoutChannelConfig::default()));
    }
    if let Some(url) = &config.slack_webhook_url {
        channels.push(ChannelConfig::Slack(config::SlackChannelConfig {
            webhook_url: Some(url.clone()),
            ..config::SlackChannelConfig::default()
        }));
    }
    if let Some(key) = &config.pagerduty_routing_key {
        channels.push(ChannelConfig::PagerDuty(config::PagerDutyChannelConfig {
            routing_key: Some(key.clone()),
            ..config::PagerDutyChannelConfig::default()
        }));
    }
    channels.extend(config.channels.iter().cloned());
    channels.into_iter().map(|channel| Channel::Configured(Box::new(channel))).collect()
}

/// Takes changes of the routing file until `shutdown` fires.
pub(crate) async fn watch(
    file: Option<PathBuf>,
    alerts: Arc<Alerts>,
    pipeline: PipelineHandle,
    shutdown: CancellationToken,
) {
    let Some(file) = file else { return };
    let mut seen = modified(&file);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = modified(&file);
        if now == seen {
            continue;
        }
        seen = now;
        match reload(&file, &alerts, &pipeline) {
            Ok(()) => tracing::info!(file = %file.display(), "routing reloaded"),
            Err(error) => tracing::error!(%error, "the routing stays as it was"),
        }
    }
}

fn modified(file: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn reload(file: &Path, alerts: &Alerts, pipeline: &PipelineHandle) -> Result<()> {
    let routing = read(file)?.or_else(|faults| bail!(listed(&faults)))?;
    let rules = rules(&routing);
    pipeline.set_routing(routing).or_else(|faults| bail!(listed(&faults)))?;
    alerts.set_rules(rules);
    Ok(())
}
