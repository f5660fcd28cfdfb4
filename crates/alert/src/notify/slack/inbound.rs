//! What Slack sends when somebody presses a button: the signature, and what was meant. Pure.
//!
//! Source: docs.slack.dev: "Verifying requests from Slack", "Handling user interaction: block_actions payload".

use std::time::Duration;

use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{AlertId, Tenant, Timestamp};
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::notify::config::Secret;
use crate::notify::inbound::{InboundError, check_len};
use crate::notify::signature::{SignatureError, is_signed};

pub(super) const BLOCK: &str = "heimdall_alert";
pub(super) const ACTION_ACKNOWLEDGE: &str = "heimdall_acknowledge";
pub(super) const ACTION_SUPPRESS: &str = "heimdall_suppress_1h";
pub(super) const ACTION_OPEN: &str = "heimdall_open";

/// How far the time of a signature may be from now (s): what Slack advises against replays.
const AGE_S_MAX: i64 = 300;
const TIME_HEADER: &str = "x-slack-request-timestamp";
const SIGNATURE_HEADER: &str = "x-slack-signature";

/// A button somebody pressed.
#[derive(Debug, Clone, PartialEq)]
pub struct SlackAction {
    /// What it asks for.
    pub kind: SlackActionKind,
    /// Owner of the alerts.
    pub tenant: Tenant,
    /// The group the message is about, as [`crate::notify::notice::Notice::group_key`].
    pub group_key: String,
    /// The alerts the message showed when the button was made.
    pub alerts: Vec<AlertId>,
    /// Slack's id of who pressed it.
    pub user_id: String,
    /// Their name.
    pub user_name: String,
    /// Slack's id of the workspace.
    pub team_id: String,
    /// Address to answer to within 30 minutes, at most five times. A secret.
    pub response_url: Option<Secret>,
}

/// What a button asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlackActionKind {
    /// Take it.
    Acknowledge,
    /// Keep quiet about it for this long.
    Suppress(Duration),
    /// Nothing: a link was followed. Slack wants its 200 all the same.
    Open,
}

/// Checks that Slack signed these bytes, at most 5 minutes ago.
///
/// # Errors
/// [`SignatureError`]; the body must not be looked at then.
pub fn verify(
    secret: &Secret,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), SignatureError> {
    let header = |name: &'static str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or(SignatureError::Header { header: name })
    };
    let time = header(TIME_HEADER)?;
    let malformed = SignatureError::Header { header: SIGNATURE_HEADER };
    let signature = header(SIGNATURE_HEADER)?.strip_prefix("v0=").ok_or(malformed)?;
    let seconds: i64 = time.parse().map_err(|_| SignatureError::Header { header: TIME_HEADER })?;
    let age = now.0.div_euclid(NS_PER_SECOND).saturating_sub(seconds);
    if age.saturating_abs() > AGE_S_MAX {
        return Err(SignatureError::Stale { max_s: AGE_S_MAX });
    }
    let parts = [b"v0:", time.as_bytes(), b":", body];
    if is_signed(secret.expose(), &parts, signature) { Ok(()) } else { Err(SignatureError::Mismatch) }
}

#[derive(Deserialize)]
struct Payload {
    r#type: String,
    user: User,
    #[serde(default)]
    team: Option<Team>,
    #[serde(default)]
    response_url: Option<String>,
    actions: Vec<Pressed>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Team {
    id: String,
}

#[derive(Deserialize)]
struct Pressed {
    action_id: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct ButtonValue {
    v: u32,
    t: Tenant,
    g: String,
    a: Vec<AlertId>,
}

/// Reads a `block_actions` interaction: `application/x-www-form-urlencoded`, with the JSON in `payload`.
///
/// # Errors
/// [`InboundError`]: it is something else, or of a button that is not ours.
pub fn parse_interaction(body: &[u8]) -> Result<SlackAction, InboundError> {
    check_len(body)?;
    let json = form_field(body, "payload")?;
    let payload: Value = serde_json::from_str(&json).map_err(|error| InboundError::at("payload", error))?;
    let payload = Payload::deserialize(payload).map_err(|error| InboundError::at("payload", error))?;
    if payload.r#type != "block_actions" {
        return Err(InboundError::at("payload.type", "must be `block_actions`"));
    }
    let pressed = payload.actions.into_iter().next();
    let pressed = pressed.ok_or_else(|| InboundError::at("payload.actions", "is empty"))?;
    let kind = match pressed.action_id.as_str() {
        ACTION_ACKNOWLEDGE => SlackActionKind::Acknowledge,
        ACTION_SUPPRESS => SlackActionKind::Suppress(Duration::from_secs(3_600)),
        ACTION_OPEN => SlackActionKind::Open,
        _ => return Err(InboundError::at("payload.actions[0].action_id", "not a button of Heimdall")),
    };
    let at = "payload.actions[0].value";
    let value: ButtonValue =
        serde_json::from_str(&pressed.value).map_err(|error| InboundError::at(at, error))?;
    if value.v != 1 {
        return Err(InboundError::at(at, "a version that is not known"));
    }
    let user = payload.user;
    Ok(SlackAction {
        kind,
        tenant: value.t,
        group_key: value.g,
        alerts: value.a,
        user_name: if user.username.is_empty() { user.name } else { user.username },
        user_id: user.id,
        team_id: payload.team.map(|team| team.id).unwrap_or_default(),
        response_url: payload.response_url.and_then(|url| Secret::parse(&url).ok()),
    })
}

/// The first value of a field of a form.
fn form_field(body: &[u8], name: &str) -> Result<String, InboundError> {
    let text = std::str::from_utf8(body).map_err(|error| InboundError::at("body", error))?;
    let mut url = Url::parse("http://form/").map_err(|error| InboundError::at("body", error))?;
    url.set_query(Some(text));
    let found = url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    found.ok_or_else(|| InboundError::at(name, "missing"))
}
