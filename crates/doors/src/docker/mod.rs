//! Logs of Docker's containers, fetched from the engine: those that run, those that start, and what stopped ones have left.
//!
//! Invariants:
//! - what a container wrote is written once, also over restarts of either side (see [`checkpoint`]), as long as the engine keeps
//!   its log and does not set its clock back;
//! - at most `containers_max` are followed; a follower holds at most [`BATCH_BYTES`] and one line, and reads no further until
//!   they are durable;
//! - a container is followed once.
//!
//! Not here: lines ([`lines`]), records ([`records`]).

mod checkpoint;
mod follow;
mod lines;
mod records;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, EventMessage};
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::StreamExt;
use heimdall_model::Tenant;
use heimdall_model::time::NS_PER_SECOND;
use metrics::counter;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use self::checkpoint::Checkpoints;
use self::follow::Follower;
use self::records::Container;
use crate::{DoorError, Opened, Shared};

const NAME: &str = "docker";
/// Entries are handed over once they are this many bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// Or so many.
const BATCH_ENTRIES: usize = 5_000;
/// Longest wait for an answer of the engine, in seconds; what is followed may be silent for longer.
const ENGINE_TIMEOUT_SECONDS: u64 = 120;
/// Pause after the engine could not be asked; doubled up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often containers are looked for besides the engine's events.
const LIST_INTERVAL: Duration = Duration::from_secs(30);

/// Logs of Docker's containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerConfig {
    /// The engine's socket, such as `/var/run/docker.sock`. Unset (the default): nothing is fetched.
    pub socket: Option<PathBuf>,
    /// Whose records they are. Default `default`.
    pub tenant: Tenant,
    /// Containers to follow; empty (the default): all. A name, in which `*` stands for anything, or `label:KEY` or
    /// `label:KEY=VALUE`.
    pub include: Vec<String>,
    /// Containers not to follow, written in the same way. Default `["label:heimdall.logs=false"]`.
    pub exclude: Vec<String>,
    /// Containers followed at once (default 256); more wait until others end.
    pub containers_max: usize,
}

impl Default for DockerConfig {
    fn default() -> Self {
        DockerConfig {
            socket: None,
            tenant: Tenant::default(),
            include: Vec::new(),
            exclude: vec!["label:heimdall.logs=false".to_owned()],
            containers_max: 256,
        }
    }
}

/// The door; `None` when it is not configured.
///
/// # Errors
/// [`DoorError::Config`].
pub(crate) fn open(config: &DockerConfig, shared: &Arc<Shared>) -> Result<Option<Opened>, DoorError> {
    let Some(socket) = &config.socket else { return Ok(None) };
    let bad = |detail: String| DoorError::Config { door: NAME, detail };
    let socket = socket.to_str().ok_or_else(|| bad("socket is not UTF-8".to_owned()))?.to_owned();
    let patterns = |written: &[String]| written.iter().map(|one| Pattern::parse(one)).collect::<Vec<_>>();
    let door = Arc::new(Door {
        shared: Arc::clone(shared),
        checkpoints: Checkpoints::new(shared.data_dir.join("docker")),
        socket,
        include: patterns(&config.include),
        exclude: patterns(&config.exclude),
        config: config.clone(),
        followed: Mutex::default(),
        followers: TaskTracker::new(),
    });
    Ok(Some(Opened { name: NAME, addr: None, run: Box::pin(door.run()) }))
}

struct Door {
    shared: Arc<Shared>,
    config: DockerConfig,
    checkpoints: Checkpoints,
    socket: String,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    /// Containers that are followed; `true`: it was started again since its follower last asked.
    followed: Mutex<HashMap<String, bool>>,
    followers: TaskTracker,
}

impl Door {
    async fn run(self: Arc<Self>) {
        let mut pause = PAUSE;
        while !self.shared.shutdown.is_cancelled() {
            match self.watch(&mut pause).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(door = NAME, socket = self.socket, %error, "the engine cannot be asked, retrying")
                }
            }
            let _ = self.shared.shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.followers.close();
        self.followers.wait().await;
    }

    /// Follows what there is and what starts, until the engine hangs up or the server ends.
    async fn watch(self: &Arc<Self>, pause: &mut Duration) -> Result<(), bollard::errors::Error> {
        let connected = async {
            let engine =
                Docker::connect_with_unix(&self.socket, ENGINE_TIMEOUT_SECONDS, API_DEFAULT_VERSION)?;
            engine.negotiate_version().await
        };
        let Some(engine) = self.shared.shutdown.run_until_cancelled(connected).await else { return Ok(()) };
        let engine = engine?;
        let filters = HashMap::from([("type", vec!["container"]), ("event", vec!["start", "destroy"])]);
        // The engine is asked for events only when they are awaited, so those since before the list are asked for.
        let since = (self.shared.intake.now().0 / NS_PER_SECOND - 1).to_string();
        let options = EventsOptionsBuilder::default().filters(&filters).since(&since).build();
        let mut events = Box::pin(engine.events(Some(options)));
        self.list(&engine, true).await?;
        *pause = PAUSE;
        let mut interval = tokio::time::interval(LIST_INTERVAL);
        interval.tick().await; // the first comes at once
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.event(&engine, event?).await,
                    None => return Ok(()),
                },
                _ = interval.tick() => self.list(&engine, false).await?,
                () = self.shared.shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// Follows every container that is wanted: those that run, and with `is_first` also what others have left.
    async fn list(self: &Arc<Self>, engine: &Docker, is_first: bool) -> Result<(), bollard::errors::Error> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let containers = engine.list_containers(Some(options)).await?;
        if is_first {
            let there: HashSet<&str> =
                containers.iter().filter_map(|container| container.id.as_deref()).collect();
            for id in self.checkpoints.ids().iter().filter(|id| !there.contains(id.as_str())) {
                self.checkpoints.remove(id);
            }
        }
        for container in containers {
            let has_run = !matches!(container.state, Some(ContainerSummaryStateEnum::CREATED));
            let is_running = matches!(container.state, Some(ContainerSummaryStateEnum::RUNNING));
            if is_running || (is_first && has_run) {
                self.follow(engine, described(&container), container.labels.as_ref(), false);
            }
        }
        Ok(())
    }

    async fn event(self: &Arc<Self>, engine: &Docker, event: EventMessage) {
        let Some(id) = event.actor.and_then(|actor| actor.id) else { return };
        match event.action.as_deref() {
            Some("destroy") => self.checkpoints.remove(&id),
            Some("start") => match engine.inspect_container(&id, None::<InspectContainerOptions>).await {
                Ok(found) => {
                    let config = found.config.unwrap_or_default();
                    let summary = ContainerSummary {
                        id: found.id,
                        names: found.name.map(|name| vec![name]),
                        image: config.image,
                        labels: config.labels,
                        ..ContainerSummary::default()
                    };
                    self.follow(engine, described(&summary), summary.labels.as_ref(), true);
                }
                Err(error) => {
                    tracing::debug!(door = NAME, id, %error, "a container was gone before it could be followed")
                }
            },
            _ => {}
        }
    }

    fn is_wanted(&self, container: &Container, labels: Option<&HashMap<String, String>>) -> bool {
        let fits = |pattern: &Pattern| pattern.fits(&container.name, labels);
        (self.include.is_empty() || self.include.iter().any(fits)) && !self.exclude.iter().any(fits)
    }

    fn follow(
        self: &Arc<Self>,
        engine: &Docker,
        container: Container,
        labels: Option<&HashMap<String, String>>,
        is_started: bool,
    ) {
        if !self.is_wanted(&container, labels) {
            return;
        }
        {
            let mut followed = self.followed.lock();
            if let Some(is_started_again) = followed.get_mut(&container.id) {
                *is_started_again |= is_started;
                return;
            }
            if followed.len() >= self.config.containers_max {
                counter!("door_connections_refused_total", "door" => NAME, "reason" => "containers_max")
                    .increment(1);
                return tracing::warn!(
                    door = NAME,
                    name = container.name,
                    "not followed yet: too many containers"
                );
            }
            followed.insert(container.id.clone(), false);
        }
        counter!("door_connections_total", "door" => NAME).increment(1);
        let (door, engine) = (Arc::clone(self), engine.clone());
        self.followers.spawn(async move {
            loop {
                let mut follower = Follower::new(&door.shared, &door.checkpoints, &door.config.tenant, &container);
                if let Err(error) = follower.run(&engine).await {
                    tracing::warn!(door = NAME, name = container.name, %error, "a container's log was not read to its end");
                }
                let mut followed = door.followed.lock();
                let again = followed.get_mut(&container.id).is_some_and(std::mem::take);
                if !again || door.shared.shutdown.is_cancelled() {
                    followed.remove(&container.id);
                    return;
                }
            }
        });
    }
}

/// What is known of a container from the engine's list.
fn described(summary: &ContainerSummary) -> Container {
    let label = |key: &str| summary.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let name = summary.names.as_ref().and_then(|names| names.first());
    let name = name.map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default();
    Container {
        id: summary.id.clone().unwrap_or_default(),
        service: label("com.docker.compose.service").unwrap_or_else(|| name.clone()),
        project: label("com.docker.compose.project").unwrap_or_default(),
        image: summary.image.clone().unwrap_or_default(),
        name,
    }
}

/// Which containers are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// Its parts between asterisks.
    Name(Vec<String>),
    Label(String, Option<String>),
}

impl Pattern {
    fn parse(text: &str) -> Pattern {
        match text.strip_prefix("label:") {
            None => Pattern::Name(text.split('*').map(str::to_owned).collect()),
            Some(label) => match label.split_once('=') {
                None => Pattern::Label(label.to_owned(), None),
                Some((key, value)) => Pattern::Label(key.to_owned(), Some(value.to_owned())),
            },
        }
    }

    fn fits(&self, name: &str, labels: Option<&HashMap<String, String>>) -> bool {
        match self {
            Pattern::Label(key, wanted) => {
                let found = labels.and_then(|labels| labels.get(key));
                found.is_some_and(|found| wanted.as_ref().is_none_or(|wanted| wanted == found))
            }
            Pattern::Name(parts) => is_like(name, parts),
        }
    }
}

/// Whether `name` is the parts in their order, with anything between them.
fn is_like(name: &str, parts: &[String]) -> bool {
    let Some((first, rest)) = parts.split_first() else { return false };
    let Some(mut name) = name.strip_prefix(first.as_str()) else { return false };
    let Some((last, middle)) = rest.split_last() else { return name.is_empty() };
    for part in middle {
        match name.find(part.as_str()) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_names_and_labels() {
        let labels = HashMap::from([("tier".to_owned(), "db".to_owned())]);
        for (pattern, name, expected) in [
            ("web", "web", true),
            ("web", "web-1", false),
            ("web*", "web-1", true),
            ("*-1", "web-1", true),
            ("w*b*1", "web-1", true),
            ("w*x*1", "web-1", false),
            ("*", "", true),
            ("label:tier", "x", true),
            ("label:tier=db", "x", true),
            ("label:tier=web", "x", false),
            ("label:none", "x", false),
        ] {
            assert_eq!(Pattern::parse(pattern).fits(name, Some(&labels)), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_service_is_composes_or_the_name() {
        let mut summary = ContainerSummary {
            id: Some("abc".to_owned()),
            names: Some(vec!["/shop-web-1".to_owned()]),
            ..ContainerSummary::default()
        };
        assert_eq!(described(&summary).service, "shop-web-1");
        summary.labels = Some(HashMap::from([("com.docker.compose.service".to_owned(), "web".to_owned())]));
        assert_eq!(described(&summary).service, "web");
    }
}
