//! The proof that actions helped: every check at once, by probes and by the very detector that fired.

use std::time::Duration;

use heimdall_model::{Alert, Status, Timestamp};

use crate::config::span;
use crate::ports::{Check, Health};
use crate::run::Run;

/// When the detector of an alert last found something, as far as was seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet {
    pub(crate) count: u64,
    pub(crate) since: Timestamp,
}

/// What all checks together say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) is_healed: bool,
    pub(crate) detail: String,
}

/// Asks every check once; the first that is not well is told of.
pub(crate) async fn observe(
    health: &dyn Health,
    run: &Run,
    checks: &[Check],
    quiet: &mut Quiet,
    now: Timestamp,
    deadline: Duration,
) -> Observed {
    let (mut told, mut ill) = (Vec::new(), None);
    for check in checks {
        let (is_well, detail) = match check {
            Check::AlertQuiet { quiet_for } => alert(health, run, *quiet_for, quiet, now, deadline).await,
            Check::Probe(probe) => {
                let asked = health.probe(&run.tenant, probe, deadline);
                match tokio::time::timeout(deadline, asked).await {
                    Ok(Ok(probed)) => (probed.is_healthy, probed.detail),
                    Ok(Err(error)) => (false, error.to_string()),
                    Err(_) => (false, format!("no answer within {}", span::show(deadline))),
                }
            }
        };
        if is_well { told.push(detail) } else { ill = ill.or(Some(detail)) }
    }
    let detail = ill.clone().unwrap_or_else(|| told.join("; "));
    Observed { is_healed: ill.is_none(), detail }
}

async fn alert(
    health: &dyn Health,
    run: &Run,
    quiet_for: Duration,
    quiet: &mut Quiet,
    now: Timestamp,
    deadline: Duration,
) -> (bool, String) {
    let asked = tokio::time::timeout(deadline, health.alert(&run.tenant, run.alert.id)).await;
    match asked {
        Ok(Ok(Some(alert))) => of_alert(&alert, quiet_for, quiet, now),
        Ok(Ok(None)) => (true, "the alert is gone".to_owned()),
        Ok(Err(error)) => (false, format!("the alert cannot be read: {error}")),
        Err(_) => (false, format!("the alert cannot be read within {}", span::show(deadline))),
    }
}

fn of_alert(alert: &Alert, quiet_for: Duration, quiet: &mut Quiet, now: Timestamp) -> (bool, String) {
    if alert.status == Status::Resolved {
        return (true, "the alert is resolved".to_owned());
    }
    if alert.count != quiet.count {
        *quiet = Quiet { count: alert.count, since: now };
    }
    let silent = now.0.saturating_sub(quiet.since.0);
    let told = heimdall_model::format_duration(silent - silent % 1_000_000_000);
    (silent >= span::ns(quiet_for), format!("`{}` found nothing for {told}", alert.rule))
}
