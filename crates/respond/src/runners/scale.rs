//! `scale.up`, `scale.down`, `scale.to`: how many replicas of something run.
//!
//! The parameter `via` (`docker`, `kubernetes`, `webhook`) says of what, and may be left out where only one of them is switched
//! on. `scale.up` and `scale.down` take `by` (default 1), `scale.to` takes `replicas`. The parameter `from`, the count before, makes a
//! relative step sure: it is refused when the count is another, and after a crash it can be told whether it was done.
//!
//! Invariant: the inverse is always `scale.to` with the count before.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::Timestamp;
use serde_json::Value;

use super::RunnersError;
use super::config::DeployRunnerConfig;
use super::deadline::{Deadline, failed};
use super::docker::{self, Engine};
use super::kubernetes::Cluster;
use super::parameters::{action, count, effect, invalid, only, text, verb};
use super::webhook::{IDEMPOTENCY_KEY, Webhooks};
use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress, Reach};

/// Does `scale.*`.
pub(crate) struct ScaleRunner {
    docker: Option<Arc<Engine>>,
    cluster: Option<Arc<Cluster>>,
    webhook: Option<String>,
    webhooks: Arc<Webhooks>,
}

enum Via<'a> {
    Docker(&'a Engine),
    Kubernetes(&'a Cluster),
    Webhook(&'a str),
}

/// How far a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Up(u32),
    Down(u32),
    To(u32),
}

impl Step {
    fn of(action: &Action) -> Result<Step, ActionError> {
        let by = count(action, "by")?.unwrap_or(1);
        match verb(action) {
            "to" => {
                let replicas = count(action, "replicas")?.ok_or_else(|| invalid("replicas", "is missing"))?;
                Ok(Step::To(replicas))
            }
            _ if by == 0 => Err(invalid("by", "must be 1 or more")),
            "up" => Ok(Step::Up(by)),
            _ => Ok(Step::Down(by)),
        }
    }

    fn from(self, count: u32) -> u32 {
        match self {
            Step::Up(by) => count.saturating_add(by),
            Step::Down(by) => count.saturating_sub(by),
            Step::To(replicas) => replicas,
        }
    }
}

impl ScaleRunner {
    pub(crate) fn build(
        config: &DeployRunnerConfig,
        docker: Option<Arc<Engine>>,
        cluster: Option<Arc<Cluster>>,
        webhooks: &Arc<Webhooks>,
    ) -> Result<Option<ScaleRunner>, RunnersError> {
        let webhook = webhooks.named("deploy.scale_webhook", config.scale_webhook.as_ref())?;
        let is_any = docker.is_some() || cluster.is_some() || webhook.is_some();
        Ok(is_any.then(|| ScaleRunner { docker, cluster, webhook, webhooks: webhooks.clone() }))
    }

    fn via(&self, action: &Action) -> Result<Via<'_>, ActionError> {
        let docker = self.docker.as_deref().map(Via::Docker);
        let cluster = self.cluster.as_deref().map(Via::Kubernetes);
        let webhook = self.webhook.as_deref().map(Via::Webhook);
        let off = || invalid("via", "is not switched on");
        match text(action, "via")? {
            Some("docker") => docker.ok_or_else(off),
            Some("kubernetes") => cluster.ok_or_else(off),
            Some("webhook") => webhook.ok_or_else(off),
            Some(_) => Err(invalid("via", "must be `docker`, `kubernetes` or `webhook`")),
            None => {
                let mut there = [docker, cluster, webhook].into_iter().flatten();
                let only = there.next().filter(|_| there.next().is_none());
                only.ok_or_else(|| invalid("via", "is missing: more than one is switched on"))
            }
        }
    }

    /// The count now, and the one to go to; checked.
    async fn counts(&self, action: &Action, deadline: Deadline) -> Result<(u32, u32), ActionError> {
        let before = match self.via(action)? {
            Via::Docker(engine) => engine.running(&action.target, deadline).await?,
            Via::Kubernetes(cluster) => {
                cluster.replicas(&cluster.place(&action.target)?, deadline).await?.count
            }
            Via::Webhook(_) => return Err(failed("webhook", "cannot tell the count")),
        };
        let wanted = Step::of(action)?.from(before);
        if let Some(from) = count(action, "from")?.filter(|from| *from != before) {
            return Err(failed(
                "scale",
                format!("`{}` has {before} replicas, not {from} (`from`)", action.target),
            ));
        }
        self.check(action, wanted)?;
        Ok((before, wanted))
    }

    fn check(&self, action: &Action, wanted: u32) -> Result<(), ActionError> {
        match self.via(action)? {
            Via::Docker(engine) => engine.check_replicas(wanted),
            Via::Kubernetes(cluster) => cluster.check_replicas(wanted),
            Via::Webhook(_) => Ok(()),
        }
    }

    async fn see(&self, action: &Action, deadline: Deadline) -> Result<Effect, ActionError> {
        let effect = self.describe(action)?;
        if let Via::Webhook(name) = self.via(action)? {
            self.webhooks.look(name, deadline).await?;
            return Ok(effect);
        }
        let (before, wanted) = self.counts(action, deadline).await.map_err(refused)?;
        let reach = Reach { touched: before.abs_diff(wanted), instances: before.max(wanted), ..effect.reach };
        let summary = format!("change `{}` from {before} to {wanted} replicas", action.target);
        Ok(Effect { summary, inverse: back(action, before, wanted), reach, ..effect })
    }

    async fn act(&self, action: &Action, deadline: Deadline) -> Result<Outcome, ActionError> {
        self.describe(action)?;
        match self.via(action)? {
            Via::Docker(engine) => {
                let (before, wanted) = self.counts(action, deadline).await.map_err(refused)?;
                let outcome = engine.scale_to("scale.to", &action.target, wanted, deadline).await?;
                Ok(Outcome { inverse: back(action, before, wanted), ..outcome })
            }
            Via::Kubernetes(cluster) => self.scale_deployment(cluster, action, deadline).await,
            Via::Webhook(name) => {
                let answer = self.webhooks.call(name, action, deadline).await?;
                let before = answer["replicas_before"].as_u64().and_then(|count| u32::try_from(count).ok());
                let inverse = before.and_then(|before| back(action, before, u32::MAX));
                Ok(Outcome { summary: format!("the webhook `{name}` accepted"), inverse })
            }
        }
    }

    async fn scale_deployment(
        &self,
        cluster: &Cluster,
        action: &Action,
        deadline: Deadline,
    ) -> Result<Outcome, ActionError> {
        let place = cluster.place(&action.target)?;
        let read = cluster.replicas(&place, deadline).await?;
        let (before, wanted) = (read.count, Step::of(action)?.from(read.count));
        if let Some(from) = count(action, "from")?.filter(|from| *from != before) {
            return Err(failed(
                "scale",
                format!("`{}` has {before} replicas, not {from} (`from`)", action.target),
            ));
        }
        self.check(action, wanted).map_err(refused)?;
        if before != wanted {
            cluster.scale(&place, &read, wanted, deadline).await?;
        }
        let summary = format!("`{}` wants {wanted} replicas, {before} before", action.target);
        Ok(Outcome { summary, inverse: back(action, before, wanted) })
    }

    async fn ask_progress(&self, action: &Action, deadline: Deadline) -> Result<Progress, ActionError> {
        let now = match self.via(action)? {
            Via::Docker(engine) => engine.running(&action.target, deadline).await?,
            Via::Kubernetes(cluster) => {
                cluster.replicas(&cluster.place(&action.target)?, deadline).await?.count
            }
            Via::Webhook(_) => return Ok(Progress::Unknown),
        };
        let step = Step::of(action)?;
        Ok(match (step, count(action, "from")?) {
            (Step::To(wanted), _) if now == wanted => Progress::Done,
            (Step::To(_), _) => Progress::NotDone,
            (_, Some(from)) if now == step.from(from) => Progress::Done,
            (_, Some(from)) if now == from => Progress::NotDone,
            _ => Progress::Unknown,
        })
    }
}

/// A limit of replicas that a relative step would pass is found only by looking.
fn refused(error: ActionError) -> ActionError {
    match error {
        ActionError::Invalid { parameter, reason } => failed("scale", format!("`{parameter}`: {reason}")),
        error => error,
    }
}

/// The way back to the count before.
fn back(of: &Action, before: u32, wanted: u32) -> Option<Action> {
    let mut inverse = action("scale.to", &of.target, [("replicas", before.into())]);
    if let Some(via) = of.with.get("via") {
        inverse.with.insert("via".to_owned(), via.clone());
    }
    (before != wanted).then_some(inverse)
}

impl ActionRunner for ScaleRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["scale.up", "scale.down", "scale.to"]
    }

    fn describe(&self, action: &Action) -> Result<Effect, ActionError> {
        let is_absolute = verb(action) == "to";
        let amount = if is_absolute { "replicas" } else { "by" };
        let via = self.via(action)?;
        let known: &[&str] = match via {
            Via::Webhook(_) => &[amount, "via", "from", IDEMPOTENCY_KEY],
            _ => &[amount, "via", "from"],
        };
        only(action, known)?;
        count(action, "from")?;
        match &via {
            Via::Docker(_) => docker::check_target(&action.target)?,
            Via::Kubernetes(cluster) => drop(cluster.place(&action.target)?),
            Via::Webhook(_) => {}
        }
        let step = Step::of(action)?;
        if let Step::To(wanted) = step {
            self.check(action, wanted)?;
        }
        let is_sure = action.with.get("from").is_some_and(|from| *from != Value::Null);
        let how = match step {
            Step::Up(by) => format!("by {by} up"),
            Step::Down(by) => format!("by {by} down"),
            Step::To(wanted) => format!("to {wanted}"),
        };
        let is_keyed = matches!(via, Via::Webhook(_)) && action.with.contains_key(IDEMPOTENCY_KEY);
        let mut effect =
            effect(format!("scale `{}` {how}", action.target), None, is_absolute || is_sure || is_keyed);
        effect.reach.service = Some(action.target.trim_start_matches("service=").to_owned());
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

    fn progress<'a>(
        &'a self,
        action: &'a Action,
        _: Timestamp,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        Box::pin(self.ask_progress(action, Deadline::new(deadline)))
    }
}

#[cfg(test)]
mod tests;
