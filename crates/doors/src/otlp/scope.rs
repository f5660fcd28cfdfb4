//! The levels above the records, the same in all three signals: resources, and in each the scopes.
//!
//! What belongs to a resource or scope is written once, as members that each of its records gets.

use heimdall_ingest::{BodyError, Object};
use heimdall_model::Dataset;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::node::{Field, Node, field};
use super::sink::Sink;
use super::value;

/// Names of a signal's levels.
pub(super) struct Path {
    /// Of the request: resources.
    pub(super) resources: Field,
    /// Of a resource: scopes.
    pub(super) scopes: Field,
    /// Of a scope: records.
    pub(super) items: Field,
    /// Where records go.
    pub(super) dataset: Dataset,
}

const RESOURCE: Field = field(1, "resource", "resource");
const SCOPE: Field = field(1, "scope", "scope");

/// What each record of a scope gets.
pub(super) struct Context<'c> {
    resource: &'c Object,
    scope: &'c Object,
}

impl Context<'_> {
    pub(super) fn put(&self, object: &mut Object) {
        object.extend(self.resource);
        object.extend(self.scope);
    }
}

/// Attributes of a resource that have fields of their own, in the order of precedence among those of one field.
const LOGS_KEYS: [&str; 7] = [
    "service.name",
    "service.instance.id",
    "host.name",
    "deployment.environment.name",
    "deployment.environment",
    "cloud.region",
    "k8s.pod.name",
];
const METRICS_KEYS: [&str; 2] = ["service.name", "host.name"];
const SPANS_KEYS: [&str; 6] = [
    "service.name",
    "service.instance.id",
    "host.name",
    "deployment.environment.name",
    "deployment.environment",
    "k8s.pod.name",
];

fn keys_of(dataset: Dataset) -> &'static [&'static str] {
    match dataset {
        Dataset::Logs => &LOGS_KEYS,
        Dataset::Metrics => &METRICS_KEYS,
        Dataset::Spans => &SPANS_KEYS,
    }
}

/// Calls `take` with every record of a request and what it gets from above.
pub(super) fn each(
    root: Node<'_>,
    sink: &mut Sink<'_>,
    path: &Path,
    take: impl Fn(Node<'_>, &Context<'_>, &mut Sink<'_>) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    let list_max = sink.list_max();
    let ([], resources) = root.open([], path.resources, list_max)?;
    let mut resources = resources.peekable();
    if resources.peek().is_none() && !root.is_empty_of(path.resources) {
        // Unknown fields are to be ignored, but nobody sends nothing else: it is a body of another kind, and would be lost.
        let detail = format!("it has no `{}`", path.resources.names[0]);
        return Err(BodyError::Malformed { format: "OTLP", detail });
    }
    for node in resources {
        let ([resource], scopes) = node?.open([RESOURCE], path.scopes, list_max)?;
        let resource = resource_of(decoded(resource, sink)?, path.dataset);
        for node in scopes {
            let ([scope], items) = node?.open([SCOPE], path.items, list_max)?;
            let mut items = items.peekable();
            if items.peek().is_none() {
                continue;
            }
            let scope = scope_of(decoded(scope, sink)?, path.dataset);
            let context = Context { resource: &resource, scope: &scope };
            for item in items {
                take(item?, &context, sink)?;
            }
        }
    }
    Ok(())
}

fn decoded<T>(node: Option<Node<'_>>, sink: &Sink<'_>) -> Result<T, BodyError>
where
    T: prost::Message + Default + super::json::FromJson,
{
    let Some(node) = node else { return Ok(T::default()) };
    if node.len() > sink.node_bytes_max() {
        let detail = format!("a resource or scope is larger than {} bytes", sink.node_bytes_max());
        return Err(BodyError::Malformed { format: "OTLP", detail });
    }
    Ok(node.message()?)
}

fn resource_of(mut resource: Resource, dataset: Dataset) -> Object {
    let catch_all = dataset.field(dataset.attributes()).name;
    let mut object = Object::new();
    for key in keys_of(dataset) {
        for attribute in resource.attributes.iter().filter(|attribute| attribute.key == *key) {
            value::member(&mut object, attribute);
        }
    }
    let has_field = |attribute: &KeyValue| keys_of(dataset).contains(&attribute.key.as_str());
    resource.attributes.retain(|attribute| !has_field(attribute));
    value::kept(&mut object, catch_all, &resource.attributes);
    if resource.dropped_attributes_count > 0 {
        let mut dropped = Object::new();
        value::count(&mut dropped, "resource.dropped_attributes_count", resource.dropped_attributes_count);
        object.value(catch_all, |out| out.push_str(&dropped.to_json()));
    }
    object
}

fn scope_of(scope: InstrumentationScope, dataset: Dataset) -> Object {
    let catch_all = dataset.field(dataset.attributes()).name;
    let mut object = Object::new();
    let mut kept = Object::new();
    if dataset == Dataset::Spans {
        object.text_if("scope.name", &scope.name);
    } else {
        kept.text_if("scope.name", &scope.name);
    }
    kept.text_if("scope.version", &scope.version);
    for attribute in &scope.attributes {
        kept.value(&format!("scope.{}", attribute.key), |out| {
            value::write_any(out, attribute.value.as_ref())
        });
    }
    value::count(&mut kept, "scope.dropped_attributes_count", scope.dropped_attributes_count);
    if !kept.is_empty() {
        object.value(catch_all, |out| out.push_str(&kept.to_json()));
    }
    object
}
