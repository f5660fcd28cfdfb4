//! The channels of a receiver: ours by `type`, and those an Alertmanager file brings as `slack_configs` and the like.
//!
//! Invariant: what cannot be carried over is a fault, never ignored. Messages are an exception that is none: Heimdall writes its
//! own, so keys that shape texts are faults that say so.

use serde::Deserialize;
use yaml_serde::{Mapping, Value};

use super::nearest::nearest;
use super::yaml::{Fields, Node};
use crate::notify::ChannelConfig;

/// What an Alertmanager file calls a channel, our `type`, and its keys with ours.
type Kind = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const KINDS: [Kind; 8] = [
    (
        "slack_configs",
        "slack",
        &[("api_url", "webhook_url"), ("api_url_file", "webhook_url_file"), ("channel", "channel")],
    ),
    (
        "pagerduty_configs",
        "pagerduty",
        &[("routing_key", "routing_key"), ("routing_key_file", "routing_key_file")],
    ),
    ("webhook_configs", "alertmanager", &[("url", "url"), ("url_file", "url_file")]),
    (
        "email_configs",
        "email",
        &[
            ("to", "to"),
            ("from", "from"),
            ("smarthost", "server"),
            ("hello", "hello"),
            ("auth_username", "username"),
            ("auth_password", "password"),
            ("auth_password_file", "password_file"),
        ],
    ),
    (
        "telegram_configs",
        "telegram",
        &[("bot_token", "token"), ("bot_token_file", "token_file"), ("chat_id", "chat_id")],
    ),
    (
        "msteamsv2_configs",
        "teams",
        &[("webhook_url", "webhook_url"), ("webhook_url_file", "webhook_url_file")],
    ),
    (
        "discord_configs",
        "discord",
        &[("webhook_url", "webhook_url"), ("webhook_url_file", "webhook_url_file")],
    ),
    ("opsgenie_configs", "opsgenie", &[("api_key", "api_key"), ("api_key_file", "api_key_file")]),
];

/// Keys of `global`, with the list and the key they are the default of.
const GLOBALS: [(&str, &str, &str); 9] = [
    ("smtp_from", "email_configs", "from"),
    ("smtp_smarthost", "email_configs", "smarthost"),
    ("smtp_hello", "email_configs", "hello"),
    ("smtp_auth_username", "email_configs", "auth_username"),
    ("smtp_auth_password", "email_configs", "auth_password"),
    ("smtp_auth_password_file", "email_configs", "auth_password_file"),
    ("slack_api_url", "slack_configs", "api_url"),
    ("slack_api_url_file", "slack_configs", "api_url_file"),
    ("opsgenie_api_key", "opsgenie_configs", "api_key"),
];

/// Defaults of an Alertmanager file's `global`.
#[derive(Default)]
pub(crate) struct Defaults(Vec<(&'static str, &'static str, Value)>);

impl Defaults {
    pub(crate) fn read(fields: &Fields<'_>) -> Defaults {
        let Some(node) = fields.get("global") else { return Defaults::default() };
        let known: Vec<_> =
            GLOBALS.iter().map(|(key, ..)| *key).chain(["resolve_timeout", "smtp_require_tls"]).collect();
        let Some(fields) = node.fields(&known) else { return Defaults::default() };
        if let Some(node) = fields.get("resolve_timeout") {
            node.fault("set `alerts.resolve_after` in Heimdall's configuration instead");
        }
        if fields.get("smtp_require_tls").and_then(|node| node.flag()) == Some(false) {
            node.fault_at(
                "smtp_require_tls",
                "write the receiver as `channels: [{type: email, tls: none, …}]`",
            );
        }
        let given = |(key, list, theirs): &(&str, &'static str, &'static str)| {
            fields.get(key).map(|node| (*list, *theirs, node.value().clone()))
        };
        Defaults(GLOBALS.iter().filter_map(given).collect())
    }
}

/// The lists of an Alertmanager receiver.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(list, ..)| *list)
}

/// The channels in the lists of an Alertmanager receiver.
pub(crate) fn channels<'a>(fields: &Fields<'a>, defaults: &Defaults) -> Vec<(Node<'a>, ChannelConfig)> {
    let of = |kind: &'static Kind| {
        fields
            .items(kind.0)
            .into_iter()
            .filter_map(|node| carry(&node, kind, defaults).map(|config| (node, config)))
    };
    KINDS.iter().flat_map(of).collect()
}

fn carry(node: &Node<'_>, (list, kind, renamed): &Kind, defaults: &Defaults) -> Option<ChannelConfig> {
    let known = renamed.iter().map(|(theirs, _)| *theirs).chain(["send_resolved"]);
    let known: Vec<_> = known.collect();
    let given = node.any_fields()?;
    for (key, _) in given.all().iter().filter(|(key, _)| !known.contains(key)) {
        node.fault_at(key, format!(
            "`{key}` of `{list}` is not carried over: Heimdall writes its messages itself, and what else a channel can do is in `channels: [{{type: {kind}, …}}]`"
        ));
    }
    let mut channel = Mapping::new();
    channel.insert("type".into(), (*kind).into());
    for (theirs, ours) in *renamed {
        let default = || {
            defaults
                .0
                .iter()
                .find(|(of, key, _)| of == list && key == theirs)
                .map(|(.., value)| value.clone())
        };
        if let Some(value) = given.get(theirs).map(|node| node.value().clone()).or_else(default) {
            channel.insert((*ours).into(), shaped(ours, value));
        }
    }
    if *kind == "slack" && channel.contains_key("webhook_url") {
        channel.remove("channel"); // an incoming webhook has its channel
    }
    read(node, Value::Mapping(channel))
}

/// `to: a@x, b@x` is a list here; a chat's id may be written as a number.
fn shaped(key: &str, value: Value) -> Value {
    match (key, value) {
        ("to", Value::String(text)) => {
            Value::Sequence(text.split(',').map(|part| part.trim().to_owned().into()).collect())
        }
        ("chat_id", Value::Number(id)) => Value::String(id.to_string()),
        (_, value) => value,
    }
}

/// A channel of ours: `{type: slack, …}`.
pub(crate) fn channel<'a>(node: &Node<'a>) -> Option<(Node<'a>, ChannelConfig)> {
    node.any_fields()?;
    read(node, node.value().clone()).map(|config| (node.clone(), config))
}

fn read(node: &Node<'_>, value: Value) -> Option<ChannelConfig> {
    match ChannelConfig::deserialize(value.clone()) {
        Ok(config) => Some(config),
        Err(error) => {
            let (key, reason) = fault(&error.to_string(), &value);
            match key {
                Some(key) => node.fault_at(&key, reason),
                None => node.fault(reason),
            }
            None
        }
    }
}

/// The key an error is about, and its words: without the value, which may be a secret.
fn fault(error: &str, value: &Value) -> (Option<String>, String) {
    let quoted: Vec<&str> = error.split('`').skip(1).step_by(2).collect();
    let has = |key: &&&str| value.as_mapping().is_some_and(|mapping| mapping.contains_key(**key));
    let key = quoted.iter().find(has).map(|key| (*key).to_owned());
    if error.starts_with("missing field `type`") {
        return (None, "`type` is missing: `slack`, `email`, `pagerduty` …".to_owned());
    }
    if let Some((unknown, known)) = quoted.split_first()
        && error.starts_with("unknown ")
    {
        let what = if error.starts_with("unknown variant") { "channel type" } else { "key" };
        let near = nearest(unknown, known.iter().copied());
        let hint = near.map_or_else(
            || format!("; known: {}", known.join(", ")),
            |near| format!("; did you mean `{near}`?"),
        );
        let key = if what == "key" { (*unknown).to_owned() } else { "type".to_owned() };
        return (Some(key), format!("unknown {what} `{unknown}`{hint}"));
    }
    if let (true, Some((_, expected))) = (error.starts_with("invalid "), error.split_once(", expected ")) {
        return (key, format!("expected {expected}"));
    }
    (key, error.to_owned())
}
