//! The hands of the simulated company: what playbooks do becomes remedies in the simulated world.
//!
//! Invariant: nothing outside the simulated world is touched. Orders wait until the story has room for them, at most
//! [`ORDERS_MAX`]; a full queue is a busy system, which playbooks know how to answer.

use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::Timestamp;
use heimdall_respond::{Action, ActionError, ActionRunner, Effect, Outcome, Progress, Reach};
use heimdall_simulate::{Remedy, Target, World};
use tokio::sync::{mpsc, oneshot};

/// Orders that wait to be carried out.
const ORDERS_MAX: usize = 64;
/// The system's name in errors.
const SYSTEM: &str = "the simulated company";

/// Something to be done in the world, and where the answer goes.
pub(super) struct Order {
    target: Target,
    remedy: Remedy,
    done: oneshot::Sender<Vec<&'static str>>,
}

impl Order {
    /// Carries it out; what it ended is told to who ordered it.
    pub(super) fn carry_out(self, world: &mut World) {
        let ended = world.heal(&self.target, self.remedy);
        // Whoever ordered it may have given up waiting.
        let _ = self.done.send(ended.iter().map(|incident| incident.kind.as_str()).collect());
    }
}

/// Does actions in the simulated world.
pub(super) struct Hands {
    orders: mpsc::Sender<Order>,
}

impl Hands {
    /// Hands, and the orders they pass on to the story.
    pub(super) fn new() -> (Hands, mpsc::Receiver<Order>) {
        let (orders, waiting) = mpsc::channel(ORDERS_MAX);
        (Hands { orders }, waiting)
    }

    async fn order(&self, action: &Action) -> Result<Outcome, ActionError> {
        let remedy = remedy_of(&action.kind)?;
        let summary = match remedy {
            None => format!("{} of `{}`: things are as before", action.kind, action.target),
            Some(remedy) => {
                let (done, ended) = oneshot::channel();
                let target = Target::Entity(action.target.clone());
                let order = Order { target, remedy, done };
                self.orders.try_send(order).map_err(|_| unreachable("too many orders wait"))?;
                let ended = ended.await.map_err(|_| unreachable("the story has ended"))?;
                match ended.as_slice() {
                    [] => format!("{} of `{}` changed nothing", action.kind, action.target),
                    ended => format!("{} of `{}` ended {}", action.kind, action.target, ended.join(", ")),
                }
            }
        };
        Ok(Outcome { summary, inverse: None })
    }
}

fn unreachable(detail: &str) -> ActionError {
    ActionError::Unreachable { system: SYSTEM.to_owned(), detail: detail.to_owned() }
}

/// The remedy behind a kind of action; none for those that only undo one.
fn remedy_of(kind: &str) -> Result<Option<Remedy>, ActionError> {
    Ok(Some(match kind {
        "service.restart" => Remedy::Restart,
        "scale.up" => Remedy::ScaleUp,
        "rollback" => Remedy::Rollback,
        "breaker.open" => Remedy::OpenBreaker,
        "block.ip" => Remedy::BlockSource,
        "command" => Remedy::CleanUp,
        "scale.down" | "breaker.close" | "unblock.ip" => return Ok(None),
        other => {
            let reason = format!("the simulated company does not know `{other}`");
            return Err(ActionError::Invalid { parameter: "kind".to_owned(), reason });
        }
    }))
}

/// The action that undoes one, where one does.
fn inverse_of(action: &Action) -> Option<Action> {
    let kind = match action.kind.as_str() {
        "scale.up" => "scale.down",
        "breaker.open" => "breaker.close",
        "block.ip" => "unblock.ip",
        _ => return None,
    };
    Some(Action { kind: kind.to_owned(), target: action.target.clone(), with: action.with.clone() })
}

impl ActionRunner for Hands {
    fn kinds(&self) -> &'static [&'static str] {
        &[
            "service.restart",
            "scale.up",
            "scale.down",
            "rollback",
            "breaker.open",
            "breaker.close",
            "block.ip",
            "unblock.ip",
            "command",
        ]
    }

    fn describe(&self, action: &Action) -> Result<Effect, ActionError> {
        remedy_of(&action.kind)?;
        Ok(Effect {
            summary: format!("{} of `{}` in the simulated company", action.kind, action.target),
            inverse: inverse_of(action),
            reach: Reach { service: None, touched: 1, instances: 0 },
            is_idempotent: true,
        })
    }

    fn look<'a>(&'a self, action: &'a Action, _: Duration) -> BoxFuture<'a, Result<Effect, ActionError>> {
        Box::pin(async { self.describe(action) })
    }

    fn run<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Outcome, ActionError>> {
        Box::pin(async move {
            let done = tokio::time::timeout(deadline, self.order(action)).await;
            done.unwrap_or(Err(ActionError::TimedOut { after: deadline }))
        })
    }

    fn progress<'a>(
        &'a self,
        _: &'a Action,
        _: Timestamp,
        _: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        // A world does not outlive its process.
        Box::pin(async { Ok(Progress::NotDone) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heimdall_simulate::{Incident, IncidentKind, Scenario, ScheduledIncident, WorldConfig};

    const SECOND_NS: i64 = 1_000_000_000;

    fn suffering(kind: IncidentKind) -> World {
        let incident = ScheduledIncident {
            kind,
            service: kind.usual_service(),
            starts_after: Duration::ZERO,
            duration: Duration::from_secs(60),
        };
        let scenario = Scenario { incidents: vec![incident] };
        let mut world = World::new(&WorldConfig { scenario, ..WorldConfig::new(1, 0) }).unwrap();
        world.advance(10 * SECOND_NS, &mut |_| {});
        world
    }

    fn action(kind: &str, target: &str) -> Action {
        Action { kind: kind.to_owned(), target: target.to_owned(), with: Default::default() }
    }

    #[tokio::test]
    async fn an_order_is_carried_out_in_the_world_and_answered() {
        let (hands, mut orders) = Hands::new();
        let mut world = suffering(IncidentKind::MemoryClimb);
        let entity = world.incidents()[0].entity.clone();
        let action = action("service.restart", &entity);
        let (told, ()) = tokio::join!(hands.run(&action, Duration::from_secs(5)), async {
            orders.recv().await.unwrap().carry_out(&mut world);
        });
        assert!(told.unwrap().summary.contains("ended memory-climb"));
        let is_over = |incident: &Incident| incident.end_ns == 10 * SECOND_NS;
        assert!(world.incidents().iter().all(is_over));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_story_an_order_ends_in_time_and_unknown_kinds_are_refused() {
        let (hands, orders) = Hands::new();
        let waits = hands.run(&action("rollback", "X"), Duration::from_secs(3)).await;
        assert!(matches!(waits, Err(ActionError::TimedOut { .. })), "{waits:?}");
        drop(orders);
        let ended = hands.run(&action("rollback", "X"), Duration::from_secs(3)).await;
        assert!(matches!(ended, Err(ActionError::Unreachable { .. })), "{ended:?}");
        assert!(hands.describe(&action("cache.flush", "X")).is_err());
    }
}
