//! Healing on the host itself: what the agent finds becomes alerts in its own folder, which playbooks answer.
//!
//! It is the server's responder with the server's limits; only the records it could be asked about are elsewhere.
//!
//! Invariants:
//! - a finding never waits for an action: what the queue has no room for is dropped and counted, and comes again while the
//!   trouble lasts;
//! - the agent's folder holds alerts and runs, so that a killed agent goes on where it stopped.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use heimdall_agent::{HealTally, Healer};
use heimdall_alert::{AlertConfig, Alerts};
use heimdall_guard::Audit;
use heimdall_metastore::Metastore;
use heimdall_model::{Clock, Position, Recovery, SystemClock, Verdict};
use heimdall_respond::runners::{self, RunnerPorts, Runners, RunnersConfig};
use heimdall_respond::{Ports, Prober, RespondConfig, Responder, RunState};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::response;

/// Findings that wait to become alerts.
const WAITING_MAX: usize = 1_024;
/// Findings taken in one go.
const BATCH_MAX: usize = 256;
/// Time between rounds of housekeeping.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// An alert without findings for this long is over.
const RESOLVE_AFTER: Duration = Duration::from_secs(10 * 60);

/// What the agent may do about what it finds: the same sections as the server's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HealingConfig {
    /// What may be done.
    pub respond: RespondConfig,
    /// What actions reach, and how.
    pub runners: RunnersConfig,
}

enum Message {
    Found(Box<Verdict>),
    Over(Box<Recovery>),
}

/// The agent's end.
pub(super) struct Medic {
    messages: mpsc::Sender<Message>,
    /// Findings of an agent come from no journal: their order is that of the clock.
    last: AtomicU64,
    clock: Arc<dyn Clock>,
    responder: Arc<Responder>,
}

/// What runs beside the agent.
pub(super) struct Infirmary {
    alerts: Arc<Alerts>,
    responder: Arc<Responder>,
    runners: Runners,
    messages: mpsc::Receiver<Message>,
    clock: Arc<dyn Clock>,
}

/// Opens the alerts and playbooks of an agent's folder.
pub(super) fn open(data_dir: &Path, config: &HealingConfig) -> Result<(Arc<Medic>, Infirmary)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    std::fs::create_dir_all(data_dir)?;
    let store: Arc<dyn Metastore> = Arc::new(heimdall_metastore::open(&data_dir.join("metastore.sqlite"))?);
    let audit = Arc::new(Audit::open(Arc::clone(&store), Arc::clone(&clock))?);
    let alert_config = AlertConfig { resolve_after: RESOLVE_AFTER, ..AlertConfig::default() };
    let alerts = Alerts::open(Arc::clone(&store), alert_config, Arc::clone(&clock))?;
    let runners = runners::build(&config.runners, &runner_ports(&alerts, &store, &clock))?;
    let ports = Ports {
        runners: runners.list.clone(),
        metastore: store,
        health: Arc::new(response::Ward {
            alerts: Arc::clone(&alerts),
            engine: None,
            prober: Prober::new(&config.runners.docker.endpoint)?,
            clock: Arc::clone(&clock),
        }),
        ledger: Arc::new(response::Book { audit }),
        escalation: Arc::new(response::Caller { alerts: Arc::clone(&alerts), clock: Arc::clone(&clock) }),
        clock: Arc::clone(&clock),
    };
    let playbooks = response::playbooks(config.respond.playbooks_dir.as_deref(), &runners.list)
        .map_err(|faults| anyhow!(response::listed(&faults)))?;
    let responder = Responder::open(config.respond.clone(), playbooks, ports)?;
    let (sender, messages) = mpsc::channel(WAITING_MAX);
    let medic = Medic {
        messages: sender,
        last: AtomicU64::new(0),
        clock: Arc::clone(&clock),
        responder: Arc::clone(&responder),
    };
    Ok((Arc::new(medic), Infirmary { alerts, responder, runners, messages, clock }))
}

fn runner_ports(alerts: &Arc<Alerts>, store: &Arc<dyn Metastore>, clock: &Arc<dyn Clock>) -> RunnerPorts {
    let pen =
        response::Pen { alerts: Arc::clone(alerts), store: Arc::clone(store), clock: Arc::clone(clock) };
    let bell = response::Bell { alerts: Arc::clone(alerts), pipeline: None, clock: Arc::clone(clock) };
    RunnerPorts {
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        notebook: Arc::new(pen),
        pager: Arc::new(bell),
    }
}

impl Medic {
    /// A position after all before it, also after a restart.
    fn next_position(&self) -> Position {
        let now = self.clock.now().0.unsigned_abs();
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Position(last.map_or(now, |last| now.max(last + 1)))
    }

    fn send(&self, message: Message) {
        if self.messages.try_send(message).is_err() {
            metrics::counter!("agent_findings_not_answered_total").increment(1);
            tracing::warn!("a finding found no room to be answered; it comes again while the trouble lasts");
        }
    }
}

impl Healer for Medic {
    fn heal(&self, verdict: &Verdict) {
        let verdict = Verdict { position: self.next_position(), ..verdict.clone() };
        self.send(Message::Found(Box::new(verdict)));
    }

    fn recovered(&self, recovery: &Recovery) {
        let recovery = Recovery { position: self.next_position(), ..recovery.clone() };
        self.send(Message::Over(Box::new(recovery)));
    }

    fn tally(&self) -> HealTally {
        let Ok(status) = self.responder.status() else { return HealTally::default() };
        let count = |states: &[RunState]| {
            let names = states.iter().map(|state| state.as_str());
            let of =
                |name| status.runs.iter().find(|(state, _)| state == name).map_or(0, |(_, count)| *count);
            names.map(of).sum::<u64>()
        };
        let succeeded = count(&[RunState::Succeeded]);
        HealTally { tried: succeeded + count(&[RunState::RolledBack, RunState::Failed]), succeeded }
    }
}

impl Infirmary {
    /// Heals until told to stop; then what is under way is waited for, as the responder does.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let Infirmary { alerts, responder, runners, messages, clock } = self;
        let events = alerts.events(response::EVENTS_MAX);
        tokio::join!(
            response::attend(Arc::clone(&alerts), Arc::clone(&responder), events, shutdown.clone()),
            response::keep(runners, shutdown.clone()),
            Arc::clone(&responder).run(shutdown.clone()),
            take(Arc::clone(&alerts), messages, clock, shutdown),
        );
        let close = spawn_blocking(move || {
            if let Err(error) = alerts.flush() {
                tracing::error!(%error, "alerts could not be made durable");
            }
            alerts.close();
        });
        if close.await.is_err() {
            tracing::error!("closing the alerts panicked");
        }
    }
}

/// Makes alerts of findings, and lets them age.
async fn take(
    alerts: Arc<Alerts>,
    mut messages: mpsc::Receiver<Message>,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) {
    let mut tick = tokio::time::interval(TICK_EVERY);
    let mut waiting = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = messages.recv_many(&mut waiting, BATCH_MAX) => {}
            _ = tick.tick() => {}
        }
        let (alerts, batch, now) = (Arc::clone(&alerts), std::mem::take(&mut waiting), clock.now());
        let done = spawn_blocking(move || {
            for message in batch {
                match message {
                    Message::Found(verdict) => alerts.ingest(vec![*verdict]).map(drop)?,
                    Message::Over(recovery) => alerts.recover(vec![*recovery]).map(drop)?,
                }
            }
            alerts.tick(now)
        });
        if let Ok(Err(error)) = done.await {
            tracing::error!(%error, "findings could not be stored; they come again while the trouble lasts");
        }
    }
}
