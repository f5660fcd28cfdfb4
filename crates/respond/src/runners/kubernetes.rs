//! Deployments of a Kubernetes cluster, by its REST API: replicas, and the template of an earlier revision.
//!
//! Invariants:
//! - only deployments in the allow-list are touched, within the limits of replicas;
//! - a change names the version it was made for (`resourceVersion`): when somebody else changed it meanwhile, it fails.
//!
//! Source: kubernetes.io, "Kubernetes API": apps/v1 Deployment and ReplicaSet, autoscaling/v1 Scale, RFC 7386 and RFC 6902
//! patches; `kubectl rollout undo` (k8s.io/kubectl, polymorphichelpers/rollback.go) for what a rollback is.

use std::time::Instant;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Client, Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::{ActionSecret, KubernetesRunnerConfig};
use super::deadline::{Deadline, failed, unreachable};
use super::parameters::{invalid, is_allowed, one_line};
use super::{RunnersError, http, wrong};
use crate::action::ActionError;

const SYSTEM: &str = "kubernetes";
const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Label that the deployment controller adds to templates of replica sets.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Replica sets of one deployment that are looked at; the default history has 10.
const REPLICA_SETS_MAX: usize = 500;

/// A deployment's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The API server, and what may be done there.
pub(crate) struct Cluster {
    config: KubernetesRunnerConfig,
    server: Url,
    client: Client,
}

/// How many replicas a deployment wants, and at which version that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replicas {
    pub(crate) count: u32,
    version: String,
}

/// What a rollback goes from and to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Revisions {
    pub(crate) current: u64,
    /// The revision asked for, or the one before the current one.
    pub(crate) wanted: Option<Revision>,
    /// Whether the template asked for is the current one.
    pub(crate) is_there: bool,
    pub(crate) replicas: u32,
    version: String,
}

/// An earlier template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Revision {
    pub(crate) number: u64,
    template: Value,
}

#[derive(Deserialize)]
struct ReplicaSets {
    items: Vec<ReplicaSet>,
}

#[derive(Deserialize)]
struct ReplicaSet {
    metadata: Metadata,
    spec: ReplicaSetSpec,
}

#[derive(Deserialize)]
struct ReplicaSetSpec {
    #[serde(default)]
    template: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    uid: String,
    #[serde(default)]
    controller: bool,
}

impl ReplicaSet {
    fn revision(&self) -> u64 {
        self.metadata.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// Whether it is, or was before a rollback renumbered it, this revision.
    fn was(&self, revision: u64) -> bool {
        let history = self.metadata.annotations.get(HISTORY).map_or("", String::as_str);
        self.revision() == revision || history.split(',').any(|text| text.trim().parse() == Ok(revision))
    }

    fn is_of(&self, uid: &str) -> bool {
        self.metadata.owner_references.iter().any(|owner| owner.controller && owner.uid == uid)
    }

    fn into_revision(self) -> Revision {
        let number = self.revision();
        let mut template = self.spec.template;
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(TEMPLATE_HASH);
        }
        Revision { number, template }
    }
}

impl Cluster {
    pub(crate) fn build(config: &KubernetesRunnerConfig) -> Result<Cluster, RunnersError> {
        let server = Url::parse(config.server.trim_end_matches('/'));
        let server = server.ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let server = server.ok_or_else(|| wrong("kubernetes.server", "must be a http(s) URL"))?;
        if config.replicas_min > config.replicas_max {
            return Err(wrong("kubernetes.replicas_min", "is more than `replicas_max`"));
        }
        let trusted = match config.ca_file.as_ref().filter(|_| server.scheme() == "https") {
            Some(path) => certificates(path).map_err(|reason| wrong("kubernetes.ca_file", reason))?,
            None => Vec::new(),
        };
        let client = http::client(trusted).map_err(|reason| wrong("kubernetes", reason))?;
        Ok(Cluster { config: config.clone(), server, client })
    }

    /// The deployment that a target, `NAME` or `NAMESPACE/NAME`, names.
    pub(crate) fn place(&self, target: &str) -> Result<Place, ActionError> {
        let (namespace, name) = target.split_once('/').unwrap_or((&self.config.namespace, target));
        if !is_name(namespace) || !is_name(name) {
            return Err(invalid("target", "must be a deployment, `NAME` or `NAMESPACE/NAME`"));
        }
        if !is_allowed(&self.config.allow, &format!("{namespace}/{name}")) {
            return Err(invalid("target", "is not in the allow-list `kubernetes.allow`"));
        }
        Ok(Place { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    pub(crate) fn check_replicas(&self, wanted: u32) -> Result<(), ActionError> {
        let (min, max) = (self.config.replicas_min, self.config.replicas_max);
        let fits = (min..=max).contains(&wanted);
        fits.then_some(()).ok_or_else(|| {
            invalid("replicas", format!("must be between {min} and {max}, the limits of `kubernetes`"))
        })
    }

    pub(crate) async fn replicas(&self, place: &Place, deadline: Deadline) -> Result<Replicas, ActionError> {
        let scale = self.get(place, &format!("deployments/{}/scale", place.name), &[], deadline).await?;
        // A deployment of none says nothing.
        let count = scale["spec"]["replicas"]
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or_default();
        Ok(Replicas { count, version: version(&scale)? })
    }

    /// Makes it want this many replicas, if it is still as it was read.
    pub(crate) async fn scale(
        &self,
        place: &Place,
        read: &Replicas,
        wanted: u32,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        self.check_replicas(wanted)?;
        let patch = json!({"metadata": {"resourceVersion": read.version}, "spec": {"replicas": wanted}});
        let path = format!("deployments/{}/scale", place.name);
        let scale = self.patch(place, &path, "application/merge-patch+json", &patch, deadline).await?;
        let is_so = scale["spec"]["replicas"].as_u64() == Some(u64::from(wanted));
        is_so
            .then_some(())
            .ok_or_else(|| failed(SYSTEM, "took the change, but not the count: something else scales it"))
    }

    /// Where a rollback would lead.
    pub(crate) async fn revisions(
        &self,
        place: &Place,
        asked: Option<u64>,
        deadline: Deadline,
    ) -> Result<Revisions, ActionError> {
        let deployment = self.get(place, &format!("deployments/{}", place.name), &[], deadline).await?;
        if deployment["spec"]["paused"].as_bool() == Some(true) {
            return Err(failed(SYSTEM, format!("`{}` is paused: resume it first", place.name)));
        }
        let uid = deployment["metadata"]["uid"].as_str().unwrap_or_default();
        let mut sets = self.replica_sets(place, &deployment, deadline).await?;
        sets.retain(|set| set.is_of(uid));
        sets.sort_by_key(ReplicaSet::revision);
        let current =
            deployment["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse().ok());
        let current = current.ok_or_else(|| failed(SYSTEM, format!("`{}` has no revision", place.name)))?;
        let wanted = sets.into_iter().rev().find(|set| match asked {
            Some(asked) => set.was(asked),
            None => set.revision() < current,
        });
        let wanted = wanted.map(ReplicaSet::into_revision);
        // Compared by template, as kubectl does: the revision is renumbered only after a while.
        let is_there =
            wanted.as_ref().is_some_and(|wanted| wanted.template == deployment["spec"]["template"]);
        let replicas = deployment["spec"]["replicas"].as_u64().and_then(|count| u32::try_from(count).ok());
        Ok(Revisions {
            current,
            wanted,
            is_there,
            replicas: replicas.unwrap_or(1),
            version: version(&deployment)?,
        })
    }

    async fn replica_sets(
        &self,
        place: &Place,
        deployment: &Value,
        deadline: Deadline,
    ) -> Result<Vec<ReplicaSet>, ActionError> {
        let selector = selector(&deployment["spec"]["selector"]["matchLabels"]);
        let limit = REPLICA_SETS_MAX.to_string();
        let query = [("labelSelector", selector.as_str()), ("limit", limit.as_str())];
        let listed = self.get(place, "replicasets", &query, deadline).await?;
        let sets = serde_json::from_value::<ReplicaSets>(listed);
        sets.map(|sets| sets.items)
            .map_err(|_| failed(SYSTEM, "the list of replica sets is not as documented"))
    }

    /// Puts the template of the revision into the deployment, if that is still as it was read.
    pub(crate) async fn roll_back(
        &self,
        place: &Place,
        read: &Revisions,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        let Some(wanted) = &read.wanted else { return Err(failed(SYSTEM, "has no such revision")) };
        let patch = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": read.version},
            {"op": "replace", "path": "/spec/template", "value": wanted.template},
        ]);
        let path = format!("deployments/{}", place.name);
        self.patch(place, &path, "application/json-patch+json", &patch, deadline).await.map(drop)
    }

    async fn get(
        &self,
        place: &Place,
        path: &str,
        query: &[(&str, &str)],
        deadline: Deadline,
    ) -> Result<Value, ActionError> {
        let request = self.request(Method::GET, place, path).await?.query(query);
        let since = Instant::now();
        let asked = async {
            let response = request.send().await.map_err(|error| http::unanswered(SYSTEM, &error))?;
            answer(response, place, since).await.map_err(|error| match error {
                ActionError::TimedOut { .. } => unreachable(SYSTEM, "the gateway before it got no answer"),
                error => error,
            })
        };
        deadline.asking(SYSTEM, self.config.timeout, asked).await
    }

    async fn patch(
        &self,
        place: &Place,
        path: &str,
        form: &'static str,
        patch: &Value,
        deadline: Deadline,
    ) -> Result<Value, ActionError> {
        let request = self.request(Method::PATCH, place, path).await?.query(&[("fieldManager", "heimdall")]);
        let request = request.header(CONTENT_TYPE, form).body(patch.to_string());
        let since = Instant::now();
        let told = async {
            let response = request.send().await.map_err(|error| http::undone(SYSTEM, &error, since))?;
            answer(response, place, since).await
        };
        deadline.within(self.config.timeout).doing(told).await
    }

    async fn request(
        &self,
        method: Method,
        place: &Place,
        path: &str,
    ) -> Result<RequestBuilder, ActionError> {
        let base = self.server.as_str().trim_end_matches('/');
        let url = format!("{base}/apis/apps/v1/namespaces/{}/{path}", place.namespace);
        let request = self.client.request(method, url);
        let Some(path) = self.config.token_file.clone() else { return Ok(request) };
        let token = tokio::task::spawn_blocking(move || ActionSecret::read(&path)).await;
        let token = token.map_err(|_| failed(SYSTEM, "the token could not be read"))?;
        let token = token.map_err(|reason| failed(SYSTEM, format!("`kubernetes.token_file` {reason}")))?;
        let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
        let mut value = value.map_err(|_| failed(SYSTEM, "`kubernetes.token_file` does not hold a token"))?;
        value.set_sensitive(true);
        Ok(request.header(AUTHORIZATION, value))
    }
}

fn certificates(path: &std::path::Path) -> Result<Vec<Certificate>, String> {
    let bytes =
        std::fs::read(path).map_err(|error| format!("cannot read `{}`: {}", path.display(), error.kind()))?;
    let certificates = Certificate::from_pem_bundle(&bytes).unwrap_or_default();
    if certificates.is_empty() {
        Err(format!("`{}` holds no certificate", path.display()))
    } else {
        Ok(certificates)
    }
}

/// The JSON of an answer, or what its refusal means.
async fn answer(response: reqwest::Response, place: &Place, since: Instant) -> Result<Value, ActionError> {
    let status = response.status();
    let body = http::body(response).await.unwrap_or_default();
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(answer);
    }
    if status == StatusCode::NOT_FOUND {
        return Err(ActionError::NotFound { target: format!("{}/{}", place.namespace, place.name) });
    }
    let message = one_line(answer["message"].as_str().unwrap_or_default());
    Err(http::refused(SYSTEM, status, &message, since))
}

fn version(object: &Value) -> Result<String, ActionError> {
    let version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    version.ok_or_else(|| failed(SYSTEM, "the answer has no `resourceVersion`"))
}

fn selector(labels: &Value) -> String {
    let labels = labels.as_object().into_iter().flatten();
    let pairs: Vec<String> =
        labels.filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?))).collect();
    pairs.join(",")
}

/// A name as Kubernetes allows them (RFC 1123 label, with dots).
fn is_name(text: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (1..=253).contains(&text.len())
        && text.bytes().all(is_plain)
        && !text.contains("..")
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// Deployments of the namespace `shop` may be touched, without token or certificates.
#[cfg(test)]
pub(crate) fn config_for(server: &str) -> KubernetesRunnerConfig {
    KubernetesRunnerConfig {
        enabled: true,
        server: server.to_owned(),
        token_file: None,
        ca_file: None,
        allow: vec!["shop/*".to_owned()],
        timeout: std::time::Duration::from_millis(400),
        ..KubernetesRunnerConfig::default()
    }
}
