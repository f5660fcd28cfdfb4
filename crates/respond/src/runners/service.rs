//! `service.restart`, `service.stop`, `service.start`: units of systemd, programs of supervisord.
//!
//! The parameter `manager` (`systemd` or `supervisor`) may be left out where only one of them is switched on.
//!
//! Invariant: a unit or program is touched only when its full name is in the allow-list of its manager.

mod supervisor;
mod systemd;

use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::Timestamp;

use super::RunnersError;
use super::config::{SupervisorRunnerConfig, SystemdRunnerConfig};
use super::deadline::Deadline;
use super::parameters::{effect, invalid, only, text, verb};
use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress};

use supervisor::Supervisor;
use systemd::Systemd;

/// What is to happen to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Restart,
    Stop,
    Start,
}

/// What a manager says of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    is_running: bool,
    /// Start of the present run, in nanoseconds since the epoch; 0 when it does not run.
    since: Timestamp,
    /// Precision of `since` (ns).
    grain: i64,
    /// In the words of the manager.
    word: String,
}

/// Does `service.*`.
pub(crate) struct ServiceRunner {
    systemd: Option<Systemd>,
    supervisor: Option<Supervisor>,
}

/// How long a job of systemd may go on when nobody awaits it; units that take longer to stop are asked for too early.
const JOB_LINGERS: Duration = Duration::from_secs(30);

enum Manager<'a> {
    Systemd(&'a Systemd),
    Supervisor(&'a Supervisor),
}

impl Deed {
    fn of(action: &Action) -> Deed {
        match verb(action) {
            "stop" => Deed::Stop,
            "start" => Deed::Start,
            _ => Deed::Restart,
        }
    }

    fn past(self) -> &'static str {
        match self {
            Deed::Restart => "restarted",
            Deed::Stop => "stopped",
            Deed::Start => "started",
        }
    }

    /// Whether the state is what the deed, begun at `since`, leads to.
    fn is_done(self, state: &State, since: Timestamp) -> bool {
        match self {
            Deed::Stop => !state.is_running,
            Deed::Start => state.is_running,
            // A manager that counts whole seconds may say one less.
            Deed::Restart => state.is_running && state.since.saturating_add_ns(state.grain) > since,
        }
    }

    /// Whether there is nothing to do.
    fn is_needless(self, state: &State) -> bool {
        (self == Deed::Stop && !state.is_running) || (self == Deed::Start && state.is_running)
    }
}

impl Manager<'_> {
    fn check(&self, name: &str) -> Result<(), ActionError> {
        match self {
            Manager::Systemd(systemd) => systemd.check(name),
            Manager::Supervisor(supervisor) => supervisor.check(name),
        }
    }

    async fn state(&self, name: &str, deadline: Deadline) -> Result<State, ActionError> {
        match self {
            Manager::Systemd(systemd) => systemd.state(name, deadline).await,
            Manager::Supervisor(supervisor) => supervisor.state(name, deadline).await,
        }
    }

    async fn act(&self, deed: Deed, name: &str, deadline: Deadline) -> Result<(), ActionError> {
        match self {
            Manager::Systemd(systemd) => systemd.act(deed, name, deadline).await,
            Manager::Supervisor(supervisor) => supervisor.act(deed, name, deadline).await,
        }
    }
}

impl ServiceRunner {
    /// A runner for the managers that are switched on; none when none is.
    pub(crate) fn build(
        systemd: &SystemdRunnerConfig,
        supervisor: &SupervisorRunnerConfig,
    ) -> Result<Option<ServiceRunner>, RunnersError> {
        let systemd = systemd.enabled.then(|| Systemd::build(systemd)).transpose()?;
        let supervisor = supervisor.enabled.then(|| Supervisor::build(supervisor)).transpose()?;
        let is_any = systemd.is_some() || supervisor.is_some();
        Ok(is_any.then_some(ServiceRunner { systemd, supervisor }))
    }

    fn manager(&self, action: &Action) -> Result<Manager<'_>, ActionError> {
        let off = |name: &str| invalid("manager", format!("`{name}` is not switched on"));
        match (text(action, "manager")?, &self.systemd, &self.supervisor) {
            (Some("systemd"), Some(systemd), _) | (None, Some(systemd), None) => {
                Ok(Manager::Systemd(systemd))
            }
            (Some("supervisor"), _, Some(it)) | (None, None, Some(it)) => Ok(Manager::Supervisor(it)),
            (Some(name @ ("systemd" | "supervisor")), ..) => Err(off(name)),
            (Some(_), ..) => Err(invalid("manager", "must be `systemd` or `supervisor`")),
            (None, ..) => {
                Err(invalid("manager", "is missing: both `systemd` and `supervisor` are switched on"))
            }
        }
    }

    async fn see(&self, action: &Action, deadline: Deadline) -> Result<Effect, ActionError> {
        let mut effect = self.describe(action)?;
        let state = self.manager(action)?.state(&action.target, deadline).await?;
        effect.summary = format!("{}; it is {}", effect.summary, state.word);
        Ok(effect)
    }

    async fn act(&self, action: &Action, deadline: Deadline) -> Result<Outcome, ActionError> {
        let effect = self.describe(action)?;
        let (manager, deed, name) = (self.manager(action)?, Deed::of(action), &action.target);
        let state = manager.state(name, deadline).await?;
        if deed.is_needless(&state) {
            let summary = format!("`{name}` is {} already", state.word);
            return Ok(Outcome { summary, inverse: None });
        }
        manager.act(deed, name, deadline).await?;
        Ok(Outcome { summary: format!("{} `{name}`", deed.past()), inverse: effect.inverse })
    }
}

impl ActionRunner for ServiceRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["service.restart", "service.stop", "service.start"]
    }

    fn describe(&self, action: &Action) -> Result<Effect, ActionError> {
        only(action, &["manager"])?;
        self.manager(action)?.check(&action.target)?;
        let inverse = match Deed::of(action) {
            Deed::Restart => None,
            Deed::Stop => Some("service.start"),
            Deed::Start => Some("service.stop"),
        };
        let inverse = inverse.map(|kind| Action { kind: kind.to_owned(), ..action.clone() });
        let mut effect =
            effect(format!("{} `{}`", verb(action), action.target), inverse, verb(action) != "restart");
        effect.reach.service = Some(action.target.clone());
        effect.reach.instances = 1;
        Ok(effect)
    }

    fn look<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Effect, ActionError>> {
        Box::pin(self.see(action, Deadline::new(deadline)))
    }

    fn run<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Outcome, ActionError>> {
        Box::pin(self.act(action, Deadline::new(deadline)))
    }

    /// A job of systemd ends without us; supervisord is asked step by step.
    fn lingers(&self, action: &Action) -> Duration {
        if matches!(self.manager(action), Ok(Manager::Systemd(_))) { JOB_LINGERS } else { Duration::ZERO }
    }

    fn progress<'a>(
        &'a self,
        action: &'a Action,
        since: Timestamp,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        Box::pin(async move {
            let state = self.manager(action)?.state(&action.target, Deadline::new(deadline)).await?;
            let is_done = Deed::of(action).is_done(&state, since);
            Ok(if is_done { Progress::Done } else { Progress::NotDone })
        })
    }
}
