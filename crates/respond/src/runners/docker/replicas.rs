//! How many containers of a service run: more are stopped ones started and the newest one cloned, fewer are the newest stopped.
//!
//! Invariants:
//! - the count asked for is absolute, so that asking twice is the same as once;
//! - nothing is removed but a clone that never ran; stopped ones are what the next step up begins with.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, NetworkConnectRequest, NetworkingConfig,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::{Engine, Found, SYSTEM, check_target, service_of};
use crate::action::{Action, ActionError, Effect, Outcome, Progress, Reach};
use crate::runners::deadline::{Deadline, failed};
use crate::runners::parameters::{action, invalid};

/// Label of containers that were made here.
const CLONE_LABEL: &str = "heimdall.clone";
const NUMBER_LABEL: &str = "com.docker.compose.container-number";

impl Engine {
    pub(crate) fn check_replicas(&self, wanted: u32) -> Result<(), ActionError> {
        let (min, max) = (self.config.replicas_min, self.config.replicas_max);
        let fits = (min..=max).contains(&wanted);
        fits.then_some(()).ok_or_else(|| {
            invalid("replicas", format!("must be between {min} and {max}, the limits of `docker`"))
        })
    }

    /// Containers of the service, oldest first.
    async fn replicas(
        &self,
        docker: &Docker,
        target: &str,
        deadline: Deadline,
    ) -> Result<Vec<Found>, ActionError> {
        let target = format!("service={}", service_of(target).unwrap_or(target));
        Ok(self.aim(docker, &target, deadline).await?.touched)
    }

    /// Running containers of the service.
    pub(crate) async fn running(&self, target: &str, deadline: Deadline) -> Result<u32, ActionError> {
        check_target(target)?;
        let docker = self.connect(deadline).await?;
        Ok(running(&self.replicas(&docker, target, deadline).await?))
    }

    pub(super) async fn see_replicas(
        &self,
        of: &Action,
        wanted: u32,
        deadline: Deadline,
    ) -> Result<Effect, ActionError> {
        let before = self.running(&of.target, deadline).await?;
        let reach = Reach {
            service: Some(service_of(&of.target).unwrap_or(&of.target).to_owned()),
            touched: before.abs_diff(wanted),
            instances: before.max(wanted),
        };
        let summary = format!("change `{}` from {before} to {wanted} running containers", of.target);
        Ok(Effect {
            summary,
            inverse: inverse(&of.kind, &of.target, before, wanted),
            reach,
            is_idempotent: true,
        })
    }

    /// Makes the service have this many running containers.
    pub(crate) async fn scale_to(
        &self,
        kind: &str,
        target: &str,
        wanted: u32,
        deadline: Deadline,
    ) -> Result<Outcome, ActionError> {
        check_target(target)?;
        self.check_replicas(wanted)?;
        let docker = self.connect(deadline).await?;
        let found = self.replicas(&docker, target, deadline).await?;
        let before = running(&found);
        if wanted > before {
            self.grow(&docker, &found, wanted - before, deadline).await?;
        } else {
            let surplus = usize::try_from(before - wanted).unwrap_or(usize::MAX);
            for found in found.iter().rev().filter(|found| found.is_running).take(surplus) {
                self.stop(&docker, found, self.config.stop_grace, deadline).await?;
            }
        }
        let summary = format!("`{target}` has {wanted} running containers, {before} before");
        Ok(Outcome { summary, inverse: inverse(kind, target, before, wanted) })
    }

    pub(crate) async fn replicas_progress(
        &self,
        target: &str,
        wanted: u32,
        deadline: Deadline,
    ) -> Result<Progress, ActionError> {
        let running = self.running(target, deadline).await?;
        Ok(if running == wanted { Progress::Done } else { Progress::NotDone })
    }

    async fn grow(
        &self,
        docker: &Docker,
        found: &[Found],
        more: u32,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        let mut names: Vec<String> = found.iter().map(|found| found.name.clone()).collect();
        let mut left = more;
        for stopped in
            found.iter().filter(|found| !found.is_running).take(usize::try_from(more).unwrap_or(usize::MAX))
        {
            self.start(docker, stopped, deadline).await?;
            left -= 1;
        }
        let model = found.iter().rev().find(|found| found.is_running).or(found.last());
        let Some(model) = model else { return Err(failed(SYSTEM, "there is no container to clone")) };
        for _ in 0..left {
            let inspected = self.inspect(docker, model, deadline).await?;
            let (name, number) = next_name(&model.name, &names);
            self.clone_as(docker, &inspected, &name, number, deadline).await?;
            names.push(name);
        }
        Ok(())
    }

    /// Makes and starts a container like this one; it is removed again when it does not start.
    async fn clone_as(
        &self,
        docker: &Docker,
        model: &ContainerInspectResponse,
        name: &str,
        number: u32,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        let (body, networks) = body_of(model, number).ok_or_else(|| {
            failed(SYSTEM, format!("the configuration to make `{name}` like is not readable"))
        })?;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let id = self.deed(deadline, name, docker.create_container(Some(options), body)).await?.id;
        let clone =
            Found { id, name: name.to_owned(), service: None, project: None, is_running: false, created: 0 };
        let started = self.join_and_start(docker, &clone, networks, deadline).await;
        if started.is_err() {
            // What cannot be removed stays as a stopped container, and is seen by the next look.
            let _ = self.deed(deadline, name, docker.remove_container(&clone.id, None)).await;
        }
        started
    }

    async fn join_and_start(
        &self,
        docker: &Docker,
        clone: &Found,
        networks: Vec<(String, EndpointSettings)>,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        for (network, endpoint) in networks {
            let request =
                NetworkConnectRequest { container: clone.id.clone(), endpoint_config: Some(endpoint) };
            self.deed(deadline, &network, docker.connect_network(&network, request)).await?;
        }
        self.start(docker, clone, deadline).await
    }
}

fn running(found: &[Found]) -> u32 {
    u32::try_from(found.iter().filter(|found| found.is_running).count()).unwrap_or(u32::MAX)
}

fn inverse(kind: &str, target: &str, before: u32, wanted: u32) -> Option<Action> {
    let kind = if kind == "docker.scale" { kind } else { "scale.to" };
    (before != wanted).then(|| match kind {
        "docker.scale" => action(kind, target, [("replicas", before.into())]),
        _ => action(kind, target, [("replicas", before.into()), ("via", "docker".into())]),
    })
}

/// The first free name `BASE-N`, where the model is called `BASE-M` or `BASE`.
fn next_name(model: &str, taken: &[String]) -> (String, u32) {
    let numbered = model.rsplit_once(['-', '_']).filter(|(_, number)| number.parse::<u32>().is_ok());
    let base = numbered.map_or(model, |(base, _)| base);
    let separator = if numbered.is_some() { &model[base.len()..=base.len()] } else { "-" };
    let names = (1..).map(|number: u32| (format!("{base}{separator}{number}"), number));
    let first = if numbered.is_some() { 0 } else { 1 };
    names.skip(first).find(|(name, _)| !taken.contains(name)).unwrap_or_else(|| (format!("{model}-clone"), 0))
}

/// What to make a clone from: the body, with the first network, and the networks to join besides.
fn body_of(
    model: &ContainerInspectResponse,
    number: u32,
) -> Option<(ContainerCreateBody, Vec<(String, EndpointSettings)>)> {
    let config = serde_json::to_value(model.config.clone()?).ok()?;
    let mut body: ContainerCreateBody = serde_json::from_value(config).ok()?;
    // The default host name is the beginning of the container's own id.
    let id = model.id.as_deref().unwrap_or_default();
    body.hostname.take_if(|name| !name.is_empty() && id.starts_with(name.as_str()));
    let labels = body.labels.get_or_insert_default();
    labels.insert(CLONE_LABEL.to_owned(), "true".to_owned());
    if labels.contains_key(NUMBER_LABEL) {
        labels.insert(NUMBER_LABEL.to_owned(), number.to_string());
    }
    body.host_config.clone_from(&model.host_config);
    let mode = model.host_config.as_ref().and_then(|host| host.network_mode.as_deref()).unwrap_or_default();
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        body.hostname.take_if(|_| mode != "none");
        return Some((body, Vec::new()));
    }
    let mut networks = networks_of(model);
    if let Some(at) =
        networks.iter().position(|(name, _)| name == mode).or((!networks.is_empty()).then_some(0))
    {
        let (name, endpoint) = networks.swap_remove(at);
        body.networking_config =
            Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(name, endpoint)])) });
    }
    Some((body, networks))
}

/// The networks of a container without what is its own: addresses, and the alias that is its id.
fn networks_of(model: &ContainerInspectResponse) -> Vec<(String, EndpointSettings)> {
    let id = model.id.as_deref().unwrap_or_default();
    let own = model.name.as_deref().unwrap_or_default().trim_start_matches('/');
    let networks = model.network_settings.as_ref().and_then(|settings| settings.networks.clone());
    let shared = |endpoint: EndpointSettings| {
        let aliases = endpoint.aliases.map(|aliases| {
            aliases.into_iter().filter(|alias| alias != own && !id.starts_with(alias.as_str())).collect()
        });
        EndpointSettings {
            aliases,
            links: endpoint.links,
            driver_opts: endpoint.driver_opts,
            ..EndpointSettings::default()
        }
    };
    networks.unwrap_or_default().into_iter().map(|(name, endpoint)| (name, shared(endpoint))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_named_like_their_kin() {
        let check = |model: &str, taken: &[&str], expected: &str| {
            let taken: Vec<String> = taken.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(next_name(model, &taken).0, expected);
        };
        check("shop-web-1", &["shop-web-1"], "shop-web-2");
        check("shop-web-3", &["shop-web-1", "shop-web-3"], "shop-web-2");
        check("shop_web_1", &["shop_web_1"], "shop_web_2");
        check("web", &["web"], "web-2");
    }
}
