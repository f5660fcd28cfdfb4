//! `rollback`: back to the release before, by Kubernetes, a webhook or a command of the allow-list.
//!
//! The parameter `via` (`kubernetes`, `webhook`, `command`) may be left out where only one of them is switched on. With Kubernetes,
//! `revision` names the revision to go to (default: the one before), and `from` the one that must be current: with either, it can be
//! told after a crash whether it was done.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::Timestamp;

use super::RunnersError;
use super::command::Commands;
use super::config::DeployRunnerConfig;
use super::deadline::{Deadline, failed};
use super::kubernetes::{Cluster, Revisions};
use super::parameters::{action, count, effect, invalid, only, text};
use super::webhook::{IDEMPOTENCY_KEY, Webhooks};
use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress};

/// Does `rollback`.
pub(crate) struct RollbackRunner {
    cluster: Option<Arc<Cluster>>,
    webhook: Option<String>,
    webhooks: Arc<Webhooks>,
    command: Option<String>,
    commands: Arc<Commands>,
}

enum Via<'a> {
    Kubernetes(&'a Cluster),
    Webhook(&'a str),
    Command(&'a str),
}

impl RollbackRunner {
    pub(crate) fn build(
        config: &DeployRunnerConfig,
        cluster: Option<Arc<Cluster>>,
        webhooks: &Arc<Webhooks>,
        commands: &Arc<Commands>,
    ) -> Result<Option<RollbackRunner>, RunnersError> {
        let webhook = webhooks.named("deploy.rollback_webhook", config.rollback_webhook.as_ref())?;
        let command = commands.named("deploy.rollback_command", config.rollback_command.as_ref())?;
        let is_any = cluster.is_some() || webhook.is_some() || command.is_some();
        let (webhooks, commands) = (webhooks.clone(), commands.clone());
        Ok(is_any.then_some(RollbackRunner { cluster, webhook, webhooks, command, commands }))
    }

    fn via(&self, action: &Action) -> Result<Via<'_>, ActionError> {
        let cluster = self.cluster.as_deref().map(Via::Kubernetes);
        let webhook = self.webhook.as_deref().map(Via::Webhook);
        let command = self.command.as_deref().map(Via::Command);
        let off = || invalid("via", "is not switched on");
        match text(action, "via")? {
            Some("kubernetes") => cluster.ok_or_else(off),
            Some("webhook") => webhook.ok_or_else(off),
            Some("command") => command.ok_or_else(off),
            Some(_) => Err(invalid("via", "must be `kubernetes`, `webhook` or `command`")),
            None => {
                let mut there = [cluster, webhook, command].into_iter().flatten();
                let only = there.next().filter(|_| there.next().is_none());
                only.ok_or_else(|| invalid("via", "is missing: more than one is switched on"))
            }
        }
    }

    async fn revisions(
        &self,
        cluster: &Cluster,
        action: &Action,
        deadline: Deadline,
    ) -> Result<Revisions, ActionError> {
        let asked = count(action, "revision")?.map(u64::from);
        let revisions = cluster.revisions(&cluster.place(&action.target)?, asked, deadline).await?;
        let from = count(action, "from")?.map(u64::from);
        if let Some(from) = from.filter(|from| *from != revisions.current) {
            let detail =
                format!("`{}` is at revision {}, not {from} (`from`)", action.target, revisions.current);
            return Err(failed("kubernetes", detail));
        }
        if revisions.wanted.is_none() {
            let detail =
                asked.map_or("no earlier revision".to_owned(), |asked| format!("no revision {asked}"));
            return Err(failed("kubernetes", format!("`{}` has {detail}", action.target)));
        }
        Ok(revisions)
    }

    async fn see(&self, action: &Action, deadline: Deadline) -> Result<Effect, ActionError> {
        let mut effect = self.describe(action)?;
        match self.via(action)? {
            Via::Kubernetes(cluster) => {
                let revisions = self.revisions(cluster, action, deadline).await?;
                let number = revisions.wanted.as_ref().map_or(0, |wanted| wanted.number);
                effect.summary =
                    format!("roll `{}` back from revision {} to {number}", action.target, revisions.current);
                effect.inverse = back(action, &revisions);
                effect.reach.touched = revisions.replicas;
                effect.reach.instances = revisions.replicas;
            }
            Via::Webhook(name) => self.webhooks.look(name, deadline).await?,
            Via::Command(name) => drop(self.commands.look(&as_command(action, name)).await?),
        }
        Ok(effect)
    }

    async fn act(&self, action: &Action, deadline: Deadline) -> Result<Outcome, ActionError> {
        self.describe(action)?;
        match self.via(action)? {
            Via::Kubernetes(cluster) => self.roll_back(cluster, action, deadline).await,
            Via::Webhook(name) => {
                self.webhooks.call(name, action, deadline).await?;
                Ok(Outcome { summary: format!("the webhook `{name}` accepted"), inverse: None })
            }
            Via::Command(name) => self.commands.run(&as_command(action, name), deadline).await,
        }
    }

    async fn roll_back(
        &self,
        cluster: &Cluster,
        action: &Action,
        deadline: Deadline,
    ) -> Result<Outcome, ActionError> {
        let revisions = self.revisions(cluster, action, deadline).await?;
        let number = revisions.wanted.as_ref().map_or(0, |wanted| wanted.number);
        if revisions.is_there {
            let summary = format!("`{}` is at revision {number} already", action.target);
            return Ok(Outcome { summary, inverse: None });
        }
        cluster.roll_back(&cluster.place(&action.target)?, &revisions, deadline).await?;
        let summary =
            format!("rolled `{}` back from revision {} to {number}", action.target, revisions.current);
        Ok(Outcome { summary, inverse: back(action, &revisions) })
    }

    async fn ask_progress(&self, action: &Action, deadline: Deadline) -> Result<Progress, ActionError> {
        let cluster = match self.via(action)? {
            Via::Kubernetes(cluster) => cluster,
            Via::Webhook(_) => return Ok(Progress::Unknown),
            Via::Command(name) => return self.commands.progress(&as_command(action, name), deadline).await,
        };
        let place = cluster.place(&action.target)?;
        if let Some(asked) = count(action, "revision")? {
            let revisions = cluster.revisions(&place, Some(u64::from(asked)), deadline).await?;
            return Ok(if revisions.is_there { Progress::Done } else { Progress::NotDone });
        }
        let Some(from) = count(action, "from")? else { return Ok(Progress::Unknown) };
        let revisions = cluster.revisions(&place, Some(u64::from(from)), deadline).await?;
        Ok(if revisions.is_there { Progress::NotDone } else { Progress::Done })
    }
}

/// The command's action: the target becomes its parameter.
fn as_command(of: &Action, name: &str) -> Action {
    action("command", name, [("target", of.target.as_str().into())])
}

/// The way back to the revision before the rollback: it keeps its number.
fn back(of: &Action, revisions: &Revisions) -> Option<Action> {
    let mut inverse = action("rollback", &of.target, [("revision", revisions.current.into())]);
    if let Some(via) = of.with.get("via") {
        inverse.with.insert("via".to_owned(), via.clone());
    }
    (!revisions.is_there).then_some(inverse)
}

impl ActionRunner for RollbackRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["rollback"]
    }

    fn describe(&self, action: &Action) -> Result<Effect, ActionError> {
        let summary = format!("roll `{}` back", action.target);
        match self.via(action)? {
            Via::Kubernetes(cluster) => {
                only(action, &["via", "revision", "from"])?;
                cluster.place(&action.target)?;
                let is_sure = count(action, "revision")?.is_some() | count(action, "from")?.is_some();
                let mut effect = effect(summary, None, is_sure);
                effect.reach.service = Some(action.target.clone());
                Ok(effect)
            }
            Via::Webhook(_) => {
                only(action, &["via", IDEMPOTENCY_KEY])?;
                Ok(effect(summary, None, text(action, IDEMPOTENCY_KEY)?.is_some()))
            }
            Via::Command(name) => {
                only(action, &["via"])?;
                let described = self.commands.describe(&as_command(action, name))?;
                Ok(Effect { summary: format!("{summary}: {}", described.summary), ..described })
            }
        }
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
