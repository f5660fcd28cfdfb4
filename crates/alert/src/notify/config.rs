//! What a channel is configured with: every key with unit, default and reason; and how a channel is made from it.
//!
//! Invariants:
//! - a [`ChannelConfig`] names every secret as [`Secret`] or by a `…_file` key, so that none is printed;
//! - what [`ChannelConfig::build`] accepts can be tried: addresses parse, files read, templates render.
//!
//! Not here: receivers, routes and who is on call, which name channels (see routing).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::Clock;
use heimdall_model::time::{format_duration, parse_duration};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::notice::Notifier;
pub use super::secret::Secret;
use super::{
    alertmanager, discord, email, ntfy, opsgenie, pagerduty, slack, stdout, teams, telegram, webhook,
};

/// A channel to people, by its `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ChannelConfig {
    /// Standard output.
    Stdout(StdoutChannelConfig),
    /// Slack, by incoming webhook or by bot token.
    Slack(SlackChannelConfig),
    /// PagerDuty Events API v2.
    PagerDuty(PagerDutyChannelConfig),
    /// Email by SMTP.
    Email(EmailChannelConfig),
    /// JSON to any address.
    Webhook(WebhookChannelConfig),
    /// JSON as Alertmanager sends it.
    Alertmanager(AlertmanagerChannelConfig),
    /// Microsoft Teams, by a Workflows webhook.
    Teams(TeamsChannelConfig),
    /// ntfy.
    Ntfy(NtfyChannelConfig),
    /// Telegram, by a bot.
    Telegram(TelegramChannelConfig),
    /// Discord, by webhook.
    Discord(DiscordChannelConfig),
    /// Opsgenie Alert API.
    Opsgenie(OpsgenieChannelConfig),
}

/// What channels need of the server they run in.
#[derive(Clone)]
pub struct ChannelContext {
    /// Address of Heimdall as people reach it, for notices that carry none.
    pub base_url: Option<String>,
    /// The time, for signatures and dates.
    pub clock: Arc<dyn Clock>,
}

/// A channel cannot be made from its configuration. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {reason}")]
pub struct ChannelError {
    /// The key to change.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl ChannelError {
    pub(crate) fn new(key: &'static str, reason: impl Into<String>) -> ChannelError {
        ChannelError { key, reason: reason.into() }
    }
}

impl ChannelConfig {
    /// The channel's `type`, which is also the [`Notifier::kind`] of what it builds.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            ChannelConfig::Stdout(_) => "stdout",
            ChannelConfig::Slack(_) => "slack",
            ChannelConfig::PagerDuty(_) => "pagerduty",
            ChannelConfig::Email(_) => "email",
            ChannelConfig::Webhook(_) => "webhook",
            ChannelConfig::Alertmanager(_) => "alertmanager",
            ChannelConfig::Teams(_) => "teams",
            ChannelConfig::Ntfy(_) => "ntfy",
            ChannelConfig::Telegram(_) => "telegram",
            ChannelConfig::Discord(_) => "discord",
            ChannelConfig::Opsgenie(_) => "opsgenie",
        }
    }

    /// Makes the channel; connects nowhere. Needs a default rustls provider to be installed.
    ///
    /// # Errors
    /// [`ChannelError`] names the key: missing, contradictory, not an address, a file that cannot be read.
    pub fn build(&self, context: ChannelContext) -> Result<Box<dyn Notifier>, ChannelError> {
        match self {
            ChannelConfig::Stdout(config) => Ok(stdout::build(config)),
            ChannelConfig::Slack(config) => slack::build(config, context),
            ChannelConfig::PagerDuty(config) => pagerduty::build(config, context),
            ChannelConfig::Email(config) => email::build(config, context),
            ChannelConfig::Webhook(config) => webhook::build(config, context),
            ChannelConfig::Alertmanager(config) => alertmanager::build(config, context),
            ChannelConfig::Teams(config) => teams::build(config, context),
            ChannelConfig::Ntfy(config) => ntfy::build(config, context),
            ChannelConfig::Telegram(config) => telegram::build(config, context),
            ChannelConfig::Discord(config) => discord::build(config, context),
            ChannelConfig::Opsgenie(config) => opsgenie::build(config, context),
        }
    }
}

/// How long one attempt may take in all, written `10s`; from 100 ms to 60 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptTimeout(pub Duration);

impl AttemptTimeout {
    const RANGE_NS: std::ops::RangeInclusive<i64> = 100_000_000..=60_000_000_000;
}

impl Default for AttemptTimeout {
    fn default() -> AttemptTimeout {
        AttemptTimeout(Duration::from_secs(10))
    }
}

impl Serialize for AttemptTimeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl<'de> Deserialize<'de> for AttemptTimeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AttemptTimeout, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ns = parse_duration(&text).filter(|ns| AttemptTimeout::RANGE_NS.contains(ns));
        let ns = ns.ok_or_else(|| {
            D::Error::custom(format!("`{text}` is not a duration from `100ms` to `60s`; write it like `10s`"))
        })?;
        Ok(AttemptTimeout(Duration::from_nanos(ns.unsigned_abs())))
    }
}

/// Standard output: one line per notice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StdoutChannelConfig {
    /// Severity in colour. Default `auto`: on a terminal only, so that files and pipes hold plain lines.
    pub colour: Colour,
}

/// When standard output is coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// On a terminal.
    #[default]
    Auto,
    /// Never.
    Never,
}

/// Slack: an incoming webhook, or a bot token and a channel (which can change its message and answer in its thread).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlackChannelConfig {
    /// Secret address of an incoming webhook. Default none. Either this or `token`.
    pub webhook_url: Option<Secret>,
    /// File with the address. Default none.
    pub webhook_url_file: Option<PathBuf>,
    /// Bot token (`xoxb-…`) with the scope `chat:write`. Default none.
    pub token: Option<Secret>,
    /// File with the token. Default none.
    pub token_file: Option<PathBuf>,
    /// Id or name of the channel the bot writes to. Default none; needed with `token`.
    pub channel: Option<String>,
    /// Buttons to acknowledge and suppress. Default `false`: they need the app's interactivity address to lead to Heimdall.
    pub interactive: bool,
    /// Address of Slack's Web API. Default `https://slack.com/api`.
    pub base_url: String,
    /// Time one attempt may take in all. Default `10s`.
    pub timeout: AttemptTimeout,
}

impl Default for SlackChannelConfig {
    fn default() -> SlackChannelConfig {
        SlackChannelConfig {
            webhook_url: None,
            webhook_url_file: None,
            token: None,
            token_file: None,
            channel: None,
            interactive: false,
            base_url: "https://slack.com/api".to_owned(),
            timeout: AttemptTimeout::default(),
        }
    }
}

/// PagerDuty Events API v2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagerDutyChannelConfig {
    /// Integration key of the service (32 characters). Default none; needed.
    pub routing_key: Option<Secret>,
    /// File with the key. Default none.
    pub routing_key_file: Option<PathBuf>,
    /// Address of the API. Default `https://events.pagerduty.com`; `https://events.eu.pagerduty.com` in the EU region.
    pub base_url: String,
    /// Time one attempt may take in all. Default `10s`.
    pub timeout: AttemptTimeout,
}

impl Default for PagerDutyChannelConfig {
    fn default() -> PagerDutyChannelConfig {
        PagerDutyChannelConfig {
            routing_key: None,
            routing_key_file: None,
            base_url: "https://events.pagerduty.com".to_owned(),
            timeout: AttemptTimeout::default(),
        }
    }
}

/// Email by SMTP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmailChannelConfig {
    /// Name or address of the mail server, with an optional port: `mail.example.org`, `mail.example.org:2525`. Needed.
    /// The port is 587 without one, 465 with `tls = "implicit"`, 25 with `tls = "none"`.
    pub server: String,
    /// How the connection is protected. Default `starttls`: refused when the server does not offer it.
    pub tls: EmailTls,
    /// Certificates (PEM) to trust instead of the public ones. Default none.
    pub ca_file: Option<PathBuf>,
    /// User of the mail server. Default none: no login.
    pub username: Option<String>,
    /// Password of the user. Default none.
    pub password: Option<Secret>,
    /// File with the password. Default none.
    pub password_file: Option<PathBuf>,
    /// Sender, such as `Heimdall <heimdall@example.org>`. Needed.
    pub from: String,
    /// Recipients when the notice names no people. Default none.
    pub to: Vec<String>,
    /// Where answers go. Default none: to the sender.
    pub reply_to: Option<String>,
    /// Name the server is greeted with. Default: the host's name.
    pub hello: Option<String>,
    /// Time one attempt may take in all. Default `10s`.
    pub timeout: AttemptTimeout,
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailTls {
    /// STARTTLS, required.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Implicit,
    /// None: to a server on this host only.
    None,
}

/// JSON to any address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookChannelConfig {
    /// Where to post to. Default none; needed. May hold a secret, so it is never shown.
    pub url: Option<Secret>,
    /// File with the address. Default none.
    pub url_file: Option<PathBuf>,
    /// Key that `X-Heimdall-Signature` is made with. Default none: no signature.
    pub secret: Option<Secret>,
    /// File with the key. Default none.
    pub secret_file: Option<PathBuf>,
    /// Headers to send besides, such as `Authorization`. Default none.
    pub headers: BTreeMap<String, Secret>,
    /// JSON text with placeholders such as `{{ title }}` to send in place of the notice. Default none.
    pub body: Option<String>,
    /// Certificates (PEM) to trust besides the public ones. Default none.
    pub ca_file: Option<PathBuf>,
    /// Time one attempt may take in all. Default `10s`.
    pub timeout: AttemptTimeout,
}

/// JSON as Alertmanager sends it to its webhooks, version 4.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertmanagerChannelConfig {
    /// Where to post to. Default none; needed. May hold a secret, so it is never shown.
    pub url: Option<Secret>,
    /// File with the address. Default none.
    pub url_file: Option<PathBuf>,
    /// Token for `Authorization: Bearer`. Default none.
    pub token: Option<Secret>,
    /// File with the token. Default none.
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust besides the public ones. Default none.
    pub ca_file: Option<PathBuf>,
    /// Time one attempt may take in all. Default `10s`.
    pub timeout: AttemptTimeout,
}

/// Microsoft Teams, by a Workflows webhook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeamsChannelConfig {
    /// Secret address of the workflow. Default none; needed.
    pub webhook_url: Option<Secret>,
    /// File with the address. Default none.
    pub webhook_url_file: Option<PathBuf>,
    /// Time one attempt may take in all. Default `10s`.
    pub timeout: AttemptTimeout,
}

/// ntfy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NtfyChannelConfig {
    /// Address of the server. Default `https://ntfy.sh`.
    pub server: String,
    /// Topic. Default none; needed. On a server without access control whoever knows it reads along, so it is never shown.
    pub topic: Option<Secret>,
    /// File with the topic. Default none.
    pub topic_file: Option<PathBuf>,
    /// Access token (`tk_…`). Default none.
    pub token: Option<Secret>,
    /// File with the token. Default none.
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust besides the public ones. Default none.
    pub ca_file: Option<PathBuf>,
    /// Time one attempt may take in all. Default `10s`.
    pub timeout: AttemptTimeout,
}

impl Default for NtfyChannelConfig {
    fn default() -> NtfyChannelConfig {
        NtfyChannelConfig {
            server: "https://ntfy.sh".to_owned(),
            topic: None,
            topic_file: None,
            token: None,
            token_file: None,
            ca_file: None,
            timeout: AttemptTimeout::default(),
        }
    }
}

/// Telegram, by a bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelegramChannelConfig {
    /// Token of the bot. Default none; needed.
    pub token: Option<Secret>,
    /// File with the token. Default none.
    pub token_file: Option<PathBuf>,
    /// Id of the chat (`-1001234567890`) or name of the channel (`@ops`). Default none; needed.
    pub chat_id: String,
    /// Address of the Bot API. Default `https://api.telegram.org`.
    pub base_url: String,
    /// Time one attempt may take in all. Default `10s`.
    pub timeout: AttemptTimeout,
}

impl Default for TelegramChannelConfig {
    fn default() -> TelegramChannelConfig {
        TelegramChannelConfig {
            token: None,
            token_file: None,
            chat_id: String::new(),
            base_url: "https://api.telegram.org".to_owned(),
            timeout: AttemptTimeout::default(),
        }
    }
}

/// Discord, by webhook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscordChannelConfig {
    /// Secret address of the webhook. Default none; needed.
    pub webhook_url: Option<Secret>,
    /// File with the address. Default none.
    pub webhook_url_file: Option<PathBuf>,
    /// Time one attempt may take in all. Default `10s`.
    pub timeout: AttemptTimeout,
}

/// Opsgenie Alert API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpsgenieChannelConfig {
    /// API key of an integration. Default none; needed.
    pub api_key: Option<Secret>,
    /// File with the key. Default none.
    pub api_key_file: Option<PathBuf>,
    /// Address of the API. Default `https://api.opsgenie.com`; `https://api.eu.opsgenie.com` in the EU region.
    pub base_url: String,
    /// Time one attempt may take in all. Default `10s`.
    pub timeout: AttemptTimeout,
}

impl Default for OpsgenieChannelConfig {
    fn default() -> OpsgenieChannelConfig {
        OpsgenieChannelConfig {
            api_key: None,
            api_key_file: None,
            base_url: "https://api.opsgenie.com".to_owned(),
            timeout: AttemptTimeout::default(),
        }
    }
}
