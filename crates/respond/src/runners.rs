//! The runners Heimdall brings: what does `docker.restart`, `service.restart`, `cache.flush` and the other kinds of actions.
//!
//! - [`config`]: what is allowed, where; everything that touches the world is off by default
//! - `docker`, `service`, `cache`, `kubernetes`, `scale`, `rollback`, `command`, `webhook`: one system each
//! - [`breaker`]: circuit breakers and the files that proxies read; [`block`]: source addresses kept out for a time
//! - [`note`]: what is told to people, behind ports of its own
//!
//! Invariants, besides those of [`ActionRunner`](crate::ActionRunner):
//! - a parameter that the kind does not know is refused: a misspelt limit would otherwise be no limit;
//! - a question that is not answered in time is [`ActionError::Unreachable`](crate::ActionError::Unreachable), a deed
//!   [`ActionError::TimedOut`](crate::ActionError::TimedOut): whether it was done is then asked with `progress`;
//! - what is not in an allow-list is refused, whoever approved it.
//!
//! Not here: which action is done when, limits on how many, approvals, retries, audit (the engine does that).

pub mod block;
pub mod breaker;
mod cache;
mod command;
pub mod config;
mod deadline;
mod docker;
mod files;
mod http;
mod kubernetes;
pub mod note;
mod parameters;
mod rollback;
mod scale;
mod service;
#[cfg(test)]
mod testing;
mod webhook;

use std::sync::Arc;

use heimdall_metastore::Metastore;
use heimdall_model::Clock;

use crate::action::{ActionError, ActionRunner};

pub use block::{Block, Blocks};
pub use breaker::{Breaker, BreakerState, Breakers};
pub use config::RunnersConfig;
pub use note::{Note, Notebook, Page, Pager};

use webhook::Webhooks;

/// What runners need from the rest of the product.
#[derive(Clone)]
pub struct RunnerPorts {
    /// Keeps breakers and blocks over restarts.
    pub store: Arc<dyn Metastore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Takes annotations.
    pub notebook: Arc<dyn Notebook>,
    /// Tells people.
    pub pager: Arc<dyn Pager>,
}

/// Every runner that the configuration switches on, and the handles of what they keep.
#[derive(Clone)]
pub struct Runners {
    /// The runners; no two do the same kind.
    pub list: Vec<Arc<dyn ActionRunner>>,
    /// Circuit breakers, where they are on.
    pub breakers: Option<Breakers>,
    /// Blocked addresses, where they are on.
    pub blocks: Option<Blocks>,
}

/// A key of the runners' configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {reason}")]
pub struct RunnersError {
    /// Dotted key below the section of the runners, such as `commands.restart.program`.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

pub(crate) fn wrong(key: impl Into<String>, reason: impl Into<String>) -> RunnersError {
    RunnersError { key: key.into(), reason: reason.into() }
}

/// Builds the runners. Opens nothing but the store and the files that hold secrets. Needs a default rustls provider to be
/// installed.
///
/// # Errors
/// The first key that cannot be used: a name that nothing has, a path that is not absolute, an unreadable secret.
pub fn build(config: &RunnersConfig, ports: &RunnerPorts) -> Result<Runners, RunnersError> {
    let webhooks = Arc::new(Webhooks::build(&config.webhooks, ports.clock.clone())?);
    let commands = Arc::new(command::Commands::build(&config.commands)?);
    let docker =
        config.docker.enabled.then(|| docker::Engine::build(&config.docker)).transpose()?.map(Arc::new);
    let cluster =
        config.kubernetes.enabled.then(|| kubernetes::Cluster::build(&config.kubernetes)).transpose()?;
    let cluster = cluster.map(Arc::new);
    let breakers =
        config.breaker.enabled.then(|| Breakers::build(&config.breaker, ports, &webhooks)).transpose()?;
    let blocks = config.block.enabled.then(|| Blocks::build(&config.block, ports, &webhooks)).transpose()?;

    let mut list: Vec<Arc<dyn ActionRunner>> =
        vec![Arc::new(note::NoteRunner::new(ports.notebook.clone(), ports.pager.clone()))];
    if let Some(engine) = &docker {
        list.push(Arc::new(docker::DockerRunner::new(engine.clone())));
    }
    if let Some(services) = service::ServiceRunner::build(&config.systemd, &config.supervisor)? {
        list.push(Arc::new(services));
    }
    if config.cache.enabled {
        list.push(Arc::new(cache::CacheRunner::build(&config.cache)?));
    }
    if let Some(scale) = scale::ScaleRunner::build(&config.deploy, docker, cluster.clone(), &webhooks)? {
        list.push(Arc::new(scale));
    }
    if let Some(rollback) = rollback::RollbackRunner::build(&config.deploy, cluster, &webhooks, &commands)? {
        list.push(Arc::new(rollback));
    }
    if let Some(breakers) = &breakers {
        list.push(Arc::new(breaker::BreakerRunner::new(breakers.clone())));
    }
    if let Some(blocks) = &blocks {
        list.push(Arc::new(block::BlockRunner::new(blocks.clone())));
    }
    if !commands.is_empty() {
        list.push(Arc::new(command::CommandRunner::new(commands)));
    }
    if !webhooks.is_empty() {
        list.push(Arc::new(webhook::WebhookRunner::new(webhooks)));
    }
    Ok(Runners { list, breakers, blocks })
}

impl Runners {
    /// Puts back what a restart of this process or machine took away: files of breakers, blocked addresses. To be called once
    /// after `build`; returns what could not be put back, for an alert. It is tried again by [`Runners::tick`].
    pub async fn resume(&self) -> Vec<ActionError> {
        let mut faults = Vec::new();
        if let Some(breakers) = &self.breakers {
            faults.extend(breakers.publish().await.err());
        }
        if let Some(blocks) = &self.blocks {
            faults.extend(blocks.resume().await.err());
        }
        faults
    }

    /// Lets time pass: open breakers become half-open and then closed, expired blocks are lifted. To be called every second;
    /// returns what failed and will be tried again.
    pub async fn tick(&self) -> Vec<ActionError> {
        let mut faults = Vec::new();
        if let Some(breakers) = &self.breakers {
            faults.extend(breakers.tick().await.err());
        }
        if let Some(blocks) = &self.blocks {
            faults.extend(blocks.tick().await.err());
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::testing::{Listener, clock, install_tls, store};
    use super::*;

    #[track_caller]
    fn check_kinds(config: &str, expected: usize) -> Vec<&'static str> {
        install_tls();
        let (_dir, store) = store();
        let config: RunnersConfig = serde_json::from_str(config).unwrap();
        let runners = build(&config, &testing::ports(store, clock())).unwrap();
        let kinds: Vec<&str> = runners.list.iter().flat_map(|runner| runner.kinds()).copied().collect();
        let distinct: BTreeSet<&str> = kinds.iter().copied().collect();
        assert_eq!((kinds.len(), distinct.len()), (expected, expected), "{kinds:?}");
        kinds
    }

    #[test]
    fn by_default_only_what_is_harmless_can_be_done_and_no_two_runners_do_the_same() {
        let kinds = check_kinds("{}", 5);
        assert_eq!(kinds, ["annotate", "page", "breaker.open", "breaker.half_open", "breaker.close"]);
        let all = r#"{
            "docker": {"enabled": true}, "systemd": {"enabled": true}, "supervisor": {"enabled": true},
            "cache": {"enabled": true}, "kubernetes": {"enabled": true, "server": "http://127.0.0.1:9"},
            "block": {"enabled": true, "nftables": true}, "commands": {"a": {"program": "/bin/true"}},
            "webhooks": {"b": {"url": "http://127.0.0.1:9/"}}
        }"#;
        check_kinds(all, 5 + 4 + 3 + 1 + 3 + 1 + 2 + 2);
    }

    #[tokio::test]
    async fn notes_and_pages_go_to_their_ports() {
        let (_dir, store) = store();
        let listener = Arc::new(Listener::default());
        let ports =
            RunnerPorts { store, clock: clock(), notebook: listener.clone(), pager: listener.clone() };
        install_tls();
        let runners = build(&RunnersConfig::default(), &ports).unwrap();
        let notes = &runners.list[0];
        let of = |kind: &str, text: &str| parameters::action(kind, "on-call", [("text", text.into())]);
        for kind in ["annotate", "page"] {
            notes.run(&of(kind, "look"), Duration::from_secs(5)).await.unwrap();
            assert!(notes.describe(&of(kind, " ")).is_err());
        }
        assert_eq!(*listener.0.lock(), ["on-call: look", "page on-call: look"]);
        assert!(runners.tick().await.is_empty() && runners.resume().await.is_empty());
    }
}
