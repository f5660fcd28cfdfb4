//! `docker.restart`, `docker.stop`, `docker.start`, `docker.scale`: containers by the Docker Engine API.
//!
//! A target is a container (name or id) or a service, `service=NAME` or `service=PROJECT/NAME`: all containers whose label
//! `heimdall.service` or `com.docker.compose.service` has that value.
//!
//! Invariants:
//! - a container is touched only when its name or its service is in the allow-list, and never the one Heimdall runs in;
//! - the containers of a service are restarted one after another; the first failure ends it;
//! - whether it worked is asked of the engine afterwards: a container that ended at once is a failure.
//!
//! Source: Docker Engine API 1.41, `/containers`. Not here: adding and taking away containers (see `replicas`).

mod replicas;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as DockerError;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, RestartContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use heimdall_model::Timestamp;

use super::config::DockerRunnerConfig;
use super::deadline::{Deadline, failed, unreachable};
use super::parameters::{action, count, duration, effect, invalid, is_allowed, one_line, only, verb};
use super::{RunnersError, wrong};
use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress, Reach};

const SYSTEM: &str = "docker";
/// Labels that name a container's service, the first one first.
const SERVICE_LABELS: [&str; 2] = ["heimdall.service", "com.docker.compose.service"];
const PROJECT_LABEL: &str = "com.docker.compose.project";
/// Longest time a container may be given to stop.
const GRACE_MAX: Duration = Duration::from_secs(600);
/// Time a container has to run after its start to count as started.
const SETTLE: Duration = Duration::from_secs(1);
/// Time the engine needs besides, from a request to the start of a container.
const ENGINE_MARGIN: Duration = Duration::from_secs(3);
/// Client's own limit (seconds): above every deadline, which are ours to keep.
const CLIENT_TIMEOUT_S: u64 = 86_400;

enum Endpoint {
    Socket(String),
    Http(String),
}

/// A Docker engine, and what may be done there.
pub(crate) struct Engine {
    config: DockerRunnerConfig,
    endpoint: Endpoint,
    own: Option<String>,
}

/// A container as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    id: String,
    name: String,
    service: Option<String>,
    project: Option<String>,
    is_running: bool,
    created: i64,
}

/// What a target means: the containers to touch, and all of their service.
struct Aim {
    touched: Vec<Found>,
    service: Option<String>,
    instances: usize,
}

impl Found {
    fn read(summary: ContainerSummary) -> Option<Found> {
        let labels = summary.labels.unwrap_or_default();
        let name = summary.names.unwrap_or_default().into_iter().next()?;
        let state = summary.state.map(|state| state.to_string()).unwrap_or_default();
        Some(Found {
            id: summary.id?,
            name: name.trim_start_matches('/').to_owned(),
            service: label(&labels, &SERVICE_LABELS),
            project: label(&labels, &[PROJECT_LABEL]),
            is_running: matches!(state.as_str(), "running" | "restarting" | "paused"),
            created: summary.created.unwrap_or_default(),
        })
    }

    fn is_of(&self, service: &str) -> bool {
        let (project, name) = service.split_once('/').map_or((None, service), |(p, n)| (Some(p), n));
        self.service.as_deref() == Some(name) && (project.is_none() || self.project.as_deref() == project)
    }

    fn is_called(&self, target: &str) -> bool {
        self.name == target || self.id == target || (is_id(target) && self.id.starts_with(target))
    }
}

fn label(labels: &HashMap<String, String>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| labels.get(*name)).filter(|value| !value.is_empty()).cloned()
}

/// Whether a text can be a container's id, or the beginning that tools show.
fn is_id(text: &str) -> bool {
    (12..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The container this process runs in, from what the kernel says of its mounts and its control group.
fn own_container(mounts: &str, groups: &str) -> Option<String> {
    // The engine binds these files of the container's folder into it; a host has mounts of that folder too, but not there.
    let bound = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].contains(&point).then_some(root)
    });
    let words = bound.chain(groups.lines().filter(|line| line.contains("docker")));
    let mut words = words.flat_map(|line| line.split(['/', '-', '.', ':']));
    words.find(|word| word.len() == 64 && is_id(word)).map(str::to_owned)
}

impl Engine {
    pub(crate) fn build(config: &DockerRunnerConfig) -> Result<Engine, RunnersError> {
        let text = config.endpoint.as_str();
        let endpoint = match text.strip_prefix("unix://").unwrap_or(text) {
            path if path.starts_with('/') => Endpoint::Socket(path.to_owned()),
            url if url.starts_with("http://") => Endpoint::Http(url.to_owned()),
            _ => return Err(wrong("docker.endpoint", "must be a socket's path or http://host:port")),
        };
        if config.replicas_min > config.replicas_max {
            return Err(wrong("docker.replicas_min", "is more than `replicas_max`"));
        }
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let found = || own_container(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        Ok(Engine { config: config.clone(), endpoint, own: config.own_container.clone().or_else(found) })
    }

    /// A client that speaks the engine's version of the API.
    async fn connect(&self, deadline: Deadline) -> Result<Docker, ActionError> {
        let docker = match &self.endpoint {
            Endpoint::Socket(path) => Docker::connect_with_unix(path, CLIENT_TIMEOUT_S, API_DEFAULT_VERSION),
            Endpoint::Http(url) => Docker::connect_with_http(url, CLIENT_TIMEOUT_S, API_DEFAULT_VERSION),
        };
        let docker = docker.map_err(|error| unreachable(SYSTEM, detail(&error)))?;
        self.ask(deadline, "the engine", docker.negotiate_version()).await
    }

    async fn ask<T>(
        &self,
        deadline: Deadline,
        target: &str,
        question: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T, ActionError> {
        let question = async { question.await.map_err(|error| problem(target, &error)) };
        deadline.asking(SYSTEM, self.config.timeout, question).await
    }

    /// Every container of the engine, stopped ones too, oldest first.
    async fn all(&self, docker: &Docker, deadline: Deadline) -> Result<Vec<Found>, ActionError> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let listed = self.ask(deadline, "containers", docker.list_containers(Some(options))).await?;
        let mut found: Vec<Found> = listed.into_iter().filter_map(Found::read).collect();
        found.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        Ok(found)
    }

    async fn aim(&self, docker: &Docker, target: &str, deadline: Deadline) -> Result<Aim, ActionError> {
        let all = self.all(docker, deadline).await?;
        let touched: Vec<Found> = match service_of(target) {
            Some(service) => all.iter().filter(|found| found.is_of(service)).cloned().collect(),
            None => all.iter().filter(|found| found.is_called(target)).cloned().collect(),
        };
        let Some(first) = touched.first() else {
            return Err(ActionError::NotFound { target: target.to_owned() });
        };
        let has_one_project = touched.iter().all(|found| found.project == first.project);
        if !has_one_project || (service_of(target).is_none() && touched.len() > 1) {
            return Err(failed(
                SYSTEM,
                format!(
                    "`{target}` is ambiguous: name the project (`service=PROJECT/NAME`) or the container"
                ),
            ));
        }
        touched.iter().try_for_each(|found| self.permit(found))?;
        let is_kin = |found: &&Found| found.service == first.service && found.project == first.project;
        let instances = if first.service.is_some() { all.iter().filter(is_kin).count() } else { 1 };
        Ok(Aim { service: first.service.clone(), touched, instances })
    }

    fn permit(&self, found: &Found) -> Result<(), ActionError> {
        let names = [Some(&found.name), found.service.as_ref()];
        if !names.into_iter().flatten().any(|name| is_allowed(&self.config.allow, name)) {
            return Err(failed(SYSTEM, format!("`{}` is not in the allow-list `docker.allow`", found.name)));
        }
        if self.own.as_ref().is_some_and(|own| found.is_called(own)) {
            return Err(failed(SYSTEM, format!("`{}` is the container Heimdall runs in", found.name)));
        }
        Ok(())
    }

    async fn inspect(
        &self,
        docker: &Docker,
        found: &Found,
        deadline: Deadline,
    ) -> Result<ContainerInspectResponse, ActionError> {
        self.ask(deadline, &found.name, docker.inspect_container(&found.id, None)).await
    }

    /// Refuses to call a container that ended at once a success.
    async fn check_running(
        &self,
        docker: &Docker,
        found: &Found,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        // Ends early when the container does; what the engine says of it is asked next.
        let settle = SETTLE.min(deadline.left() / 2);
        let _ = tokio::time::timeout(settle, docker.wait_container(&found.id, None).next()).await;
        let state = self.inspect(docker, found, deadline).await.map_err(|error| deadline.midway(error))?;
        let state = state.state.unwrap_or_default();
        if state.running.unwrap_or_default() {
            return Ok(());
        }
        let code = state.exit_code.unwrap_or_default();
        Err(failed(SYSTEM, format!("`{}` ended at once, with exit code {code}", found.name)))
    }

    /// Awaits a deed; when the connection breaks meanwhile, nobody knows.
    async fn deed<T>(
        &self,
        deadline: Deadline,
        target: &str,
        deed: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T, ActionError> {
        let deed = async {
            deed.await.map_err(|error| match problem(target, &error) {
                ActionError::Unreachable { .. } if !is_unsent(&error) => deadline.unknown(),
                problem => problem,
            })
        };
        deadline.doing(deed).await
    }

    async fn start(&self, docker: &Docker, found: &Found, deadline: Deadline) -> Result<(), ActionError> {
        self.deed(deadline, &found.name, docker.start_container(&found.id, None)).await?;
        self.check_running(docker, found, deadline).await
    }

    async fn stop(
        &self,
        docker: &Docker,
        found: &Found,
        grace: Duration,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        let options = StopContainerOptionsBuilder::new().t(seconds(grace)).build();
        self.deed(deadline, &found.name, docker.stop_container(&found.id, Some(options))).await
    }

    async fn restart(
        &self,
        docker: &Docker,
        found: &Found,
        grace: Duration,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        let options = RestartContainerOptionsBuilder::new().t(seconds(grace)).build();
        self.deed(deadline, &found.name, docker.restart_container(&found.id, Some(options))).await?;
        self.check_running(docker, found, deadline).await
    }
}

fn seconds(grace: Duration) -> i32 {
    i32::try_from(grace.as_secs()).unwrap_or(i32::MAX)
}

/// The service a target selects.
fn service_of(target: &str) -> Option<&str> {
    target.strip_prefix("service=")
}

/// A question failed.
fn problem(target: &str, error: &DockerError) -> ActionError {
    match error {
        DockerError::DockerResponseServerError { status_code: 404, .. } => {
            ActionError::NotFound { target: target.to_owned() }
        }
        DockerError::DockerResponseServerError { .. } | DockerError::JsonDataError { .. } => {
            failed(SYSTEM, detail(error))
        }
        _ => unreachable(SYSTEM, detail(error)),
    }
}

fn is_unsent(error: &DockerError) -> bool {
    matches!(error, DockerError::HyperLegacyError { err } if err.is_connect())
}

fn detail(error: &DockerError) -> String {
    match error {
        DockerError::DockerResponseServerError { status_code, message } => {
            format!("answered {status_code}: {}", one_line(message))
        }
        DockerError::SocketNotFoundError(path) => format!("there is no socket `{path}`"),
        error => {
            let source = std::error::Error::source(error).and_then(|error| error.source());
            one_line(&source.map_or_else(|| error.to_string(), ToString::to_string))
        }
    }
}

/// Does `docker.*`.
pub(crate) struct DockerRunner {
    engine: Arc<Engine>,
}

impl DockerRunner {
    pub(crate) fn new(engine: Arc<Engine>) -> DockerRunner {
        DockerRunner { engine }
    }

    fn grace(&self, action: &Action) -> Result<Duration, ActionError> {
        let grace = duration(action, "grace")?.unwrap_or(self.engine.config.stop_grace);
        if grace > GRACE_MAX { Err(invalid("grace", "must be at most 10m")) } else { Ok(grace) }
    }

    async fn see(&self, action: &Action, deadline: Deadline) -> Result<Effect, ActionError> {
        if verb(action) == "scale" {
            return self.engine.see_replicas(action, wanted(action)?, deadline).await;
        }
        let docker = self.engine.connect(deadline).await?;
        let aim = self.engine.aim(&docker, &action.target, deadline).await?;
        let mut effect = self.describe(action)?;
        let names: Vec<&str> = aim.touched.iter().map(|found| found.name.as_str()).collect();
        let running = aim.touched.iter().filter(|found| found.is_running).count();
        effect.summary = format!("{} {}, of which {running} run", verb(action), one_line(&names.join(", ")));
        effect.reach = reach(&aim);
        Ok(effect)
    }

    async fn act(&self, action: &Action, deadline: Deadline) -> Result<Outcome, ActionError> {
        if verb(action) == "scale" {
            return self.engine.scale_to(&action.kind, &action.target, wanted(action)?, deadline).await;
        }
        let grace = self.grace(action)?;
        let docker = self.engine.connect(deadline).await?;
        let aim = self.engine.aim(&docker, &action.target, deadline).await?;
        let mut changed = Vec::new();
        for found in &aim.touched {
            let done = match verb(action) {
                "stop" if !found.is_running => continue,
                "start" if found.is_running => continue,
                "stop" => self.engine.stop(&docker, found, grace, deadline).await,
                "start" => self.engine.start(&docker, found, deadline).await,
                _ => self.engine.restart(&docker, found, grace, deadline).await,
            };
            done.map_err(|error| if changed.is_empty() { error } else { deadline.midway(error) })?;
            changed.push(found.name.as_str());
        }
        let inverse = self.describe(action)?.inverse.filter(|_| !changed.is_empty());
        let did = match verb(action) {
            "stop" => "stopped",
            "start" => "started",
            _ => "restarted",
        };
        let names =
            if changed.is_empty() { "nothing: it was so already".to_owned() } else { changed.join(", ") };
        Ok(Outcome { summary: format!("{did} {}", one_line(&names)), inverse })
    }

    async fn ask_progress(
        &self,
        action: &Action,
        since: Timestamp,
        deadline: Deadline,
    ) -> Result<Progress, ActionError> {
        if verb(action) == "scale" {
            return self.engine.replicas_progress(&action.target, wanted(action)?, deadline).await;
        }
        let docker = self.engine.connect(deadline).await?;
        let aim = self.engine.aim(&docker, &action.target, deadline).await?;
        let mut is_done = true;
        for found in &aim.touched {
            is_done &= match verb(action) {
                "stop" => !found.is_running,
                "start" => found.is_running,
                _ => self.started_since(&docker, found, since, deadline).await?,
            };
        }
        Ok(if is_done { Progress::Done } else { Progress::NotDone })
    }

    async fn started_since(
        &self,
        docker: &Docker,
        found: &Found,
        since: Timestamp,
        deadline: Deadline,
    ) -> Result<bool, ActionError> {
        let state = self.engine.inspect(docker, found, deadline).await?.state.unwrap_or_default();
        let started = state.started_at.as_deref().and_then(Timestamp::parse);
        Ok(state.running.unwrap_or_default() && started.is_some_and(|started| started >= since))
    }
}

fn wanted(action: &Action) -> Result<u32, ActionError> {
    count(action, "replicas")?.ok_or_else(|| invalid("replicas", "is missing"))
}

fn reach(aim: &Aim) -> Reach {
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    Reach {
        service: aim.service.clone(),
        touched: number(aim.touched.len()),
        instances: number(aim.instances),
    }
}

impl ActionRunner for DockerRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["docker.restart", "docker.stop", "docker.start", "docker.scale"]
    }

    fn describe(&self, of: &Action) -> Result<Effect, ActionError> {
        check_target(&of.target)?;
        let inverse = match verb(of) {
            "scale" => {
                only(of, &["replicas"])?;
                self.engine.check_replicas(wanted(of)?)?;
                None
            }
            "start" => {
                only(of, &[])?;
                Some("docker.stop")
            }
            "stop" => {
                only(of, &["grace"])?;
                Some("docker.start")
            }
            _ => {
                only(of, &["grace"])?;
                None
            }
        };
        self.grace(of)?;
        let inverse = inverse.map(|kind| action(kind, &of.target, []));
        let mut effect = effect(format!("{} `{}`", verb(of), of.target), inverse, verb(of) != "restart");
        effect.reach.service = service_of(&of.target).map(str::to_owned);
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

    /// The engine ends what it was asked for: the time to stop, and a moment to start.
    fn lingers(&self, action: &Action) -> Duration {
        self.grace(action).unwrap_or(self.engine.config.stop_grace) + ENGINE_MARGIN
    }

    fn progress<'a>(
        &'a self,
        action: &'a Action,
        since: Timestamp,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        Box::pin(self.ask_progress(action, since, Deadline::new(deadline)))
    }
}

/// Names as Docker allows them; anything else would be part of a path.
pub(crate) fn check_target(target: &str) -> Result<(), ActionError> {
    let name = service_of(target).unwrap_or(target);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let parts: Vec<&str> = name.split('/').collect();
    let parts_max = if service_of(target).is_some() { 2 } else { 1 };
    let fits = parts.len() <= parts_max
        && parts
            .iter()
            .all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(is_plain));
    fits.then_some(()).ok_or_else(|| invalid("target", "must be a container's name or id, or `service=NAME`"))
}
