//! Documents of the Alertmanager API v2, as its description has them.
//!
//! Invariants:
//! - times are RFC 3339 with milliseconds in UTC; Go's zero time (`0001-01-01T00:00:00Z`), an empty text and null are no time;
//! - lists that clients iterate over are never null.
//!
//! Source: prometheus/alertmanager, `api/v2/openapi.yaml`.

use std::collections::BTreeMap;

use heimdall_alert::PostedAlert;
use heimdall_model::{Alert, LabelMatcher, LabelMatcherError, MuteKind, Status, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// How long an alert is said to go on when nobody said until when, in nanoseconds: Alertmanager's `resolve_timeout`.
const RESOLVE_TIMEOUT_NS: i64 = 5 * heimdall_model::time::NS_PER_MINUTE;

/// A time as Alertmanager writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub(super) Timestamp);

/// `2026-11-27T12:00:00.123`: what of the text of a timestamp is kept.
const MOMENT_BYTES: usize = 23;

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.to_string();
        serializer.collect_str(&format_args!("{}Z", &text[..MOMENT_BYTES.min(text.len())]))
    }
}

/// Reads a time that may be absent in one of Go's ways. Years beyond our range are its end.
pub(super) fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if text.is_empty() || text.starts_with("0001-01-01") {
        return Ok(None);
    }
    let is_far = text.get(..5).is_some_and(|year| ("2262-".."9999.").contains(&year));
    let read = Timestamp::parse(&text).or(is_far.then_some(Timestamp(i64::MAX)));
    let fault = || {
        serde::de::Error::custom(format_args!("`{}` is not an RFC 3339 time", crate::extract::short(&text)))
    };
    read.map(Some).ok_or_else(fault)
}

// ---- alerts ---------------------------------------------------------------------------------------------------

/// An alert another system reports.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PostableAlert)]
pub(crate) struct PostableAlert {
    /// What tells it from others; `alertname` names it.
    labels: BTreeMap<String, String>,
    /// Texts for people.
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    /// Since when; now when absent.
    #[serde(default, deserialize_with = "moment")]
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
    /// Until when it is so unless it is posted again; in the past: it is over.
    #[serde(default, deserialize_with = "moment")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// Where the other system shows it.
    #[serde(default, rename = "generatorURL")]
    generator_url: Option<String>,
}

/// Why a posted alert is none: the field, and what is wrong with it.
pub(super) type Fault = (&'static str, String);

impl PostableAlert {
    /// The alert as the core takes it; labels without a value are none.
    pub(super) fn into_posted(self, now: Timestamp) -> Result<PostedAlert, Fault> {
        let labels: BTreeMap<_, _> = self.labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        if labels.is_empty() {
            return Err(("labels", "at least one label pair required".to_owned()));
        }
        let annotations = self.annotations.unwrap_or_default();
        for (field, mut names) in [("labels", labels.keys()), ("annotations", annotations.keys())] {
            if let Some(name) = names.find(|name| !is_label_name(name)) {
                return Err((field, format!("invalid label name `{}`", crate::extract::short(name))));
            }
        }
        let starts_at = self.starts_at.or(self.ends_at.filter(|ends_at| *ends_at < now)).unwrap_or(now);
        if self.ends_at.is_some_and(|ends_at| ends_at < starts_at) {
            return Err(("startsAt", "start time must be before end time".to_owned()));
        }
        Ok(PostedAlert {
            labels,
            annotations,
            starts_at: Some(starts_at),
            ends_at: self.ends_at,
            source_url: self.generator_url.filter(|url| !url.is_empty()),
        })
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, as Prometheus has it.
fn is_label_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether an alert reaches people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AlertmanagerAlertStatus)]
pub(crate) struct AlertStatus {
    /// `active` or `suppressed`.
    pub(super) state: &'static str,
    /// Ids of the silences that keep it quiet.
    pub(super) silenced_by: Vec<String>,
    /// Ids of the alerts that say it already.
    pub(super) inhibited_by: Vec<String>,
    /// What else keeps it quiet: `suppressed`, `flapping`.
    pub(super) muted_by: Vec<String>,
}

impl AlertStatus {
    pub(super) fn of(alert: &Alert) -> AlertStatus {
        let mut status =
            AlertStatus { state: "active", silenced_by: vec![], inhibited_by: vec![], muted_by: vec![] };
        if let Some(mute) = &alert.muted {
            let by = mute.by.clone().unwrap_or_else(|| mute.reason.clone());
            match mute.kind {
                MuteKind::Silence | MuteKind::Maintenance => status.silenced_by.push(by),
                MuteKind::Inhibition => status.inhibited_by.push(by),
                MuteKind::Flapping => status.muted_by.push("flapping".to_owned()),
            }
        }
        if alert.status == Status::Suppressed {
            status.muted_by.push("suppressed".to_owned());
        }
        if alert.muted.is_some() || alert.status == Status::Suppressed {
            status.state = "suppressed";
        }
        status
    }
}

/// A receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AlertmanagerReceiver)]
pub(crate) struct Receiver {
    /// Its name.
    pub(super) name: String,
}

/// A live alert.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GettableAlert)]
pub(crate) struct GettableAlert {
    annotations: BTreeMap<String, String>,
    #[schema(value_type = String, format = DateTime)]
    ends_at: Moment,
    pub(super) fingerprint: String,
    receivers: Vec<Receiver>,
    #[schema(value_type = String, format = DateTime)]
    starts_at: Moment,
    status: AlertStatus,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    generator_url: String,
    labels: BTreeMap<String, String>,
}

impl GettableAlert {
    pub(super) fn new(alert: &Alert, receivers: &[String], now: Timestamp) -> GettableAlert {
        let stepped = alert.history.last().map_or(alert.last_seen, |step| step.at);
        GettableAlert {
            annotations: annotations(alert),
            ends_at: Moment(alert.ends_at.unwrap_or(now.saturating_add_ns(RESOLVE_TIMEOUT_NS))),
            fingerprint: alert.fingerprint.clone(),
            receivers: receivers.iter().map(|name| Receiver { name: name.clone() }).collect(),
            starts_at: Moment(alert.first_seen),
            status: AlertStatus::of(alert),
            updated_at: Moment(alert.last_seen.max(stepped)),
            generator_url: alert.source_url.clone().unwrap_or_default(),
            labels: labels(alert),
        }
    }
}

fn is_posted(alert: &Alert) -> bool {
    alert.detector == heimdall_alert::posted::EXTERNAL
}

/// The labels it was posted with; of our own alerts those they are matched by.
pub(super) fn labels(alert: &Alert) -> BTreeMap<String, String> {
    if is_posted(alert) { alert.labels.clone() } else { alert.label_set() }
}

/// The annotations it was posted with; of our own alerts what they say and what to do.
fn annotations(alert: &Alert) -> BTreeMap<String, String> {
    if is_posted(alert) {
        return alert.annotations.clone();
    }
    let texts = [
        ("title", alert.title.clone()),
        ("summary", alert.summary.clone()),
        ("mitigation", alert.mitigation.join("\n")),
        ("heimdall_id", alert.id.to_string()),
    ];
    let told = texts.into_iter().filter(|(_, text)| !text.is_empty());
    told.map(|(name, text)| (name.to_owned(), text)).collect()
}

/// Alerts a receiver is told of together.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AlertmanagerGroup)]
pub(crate) struct AlertGroup {
    pub(super) alerts: Vec<GettableAlert>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) receiver: Receiver,
}

// ---- silences -------------------------------------------------------------------------------------------------

/// A condition on a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AlertmanagerMatcher)]
pub(crate) struct Matcher {
    /// Absent: true.
    #[serde(default = "yes")]
    is_equal: bool,
    is_regex: bool,
    name: String,
    value: String,
}

const fn yes() -> bool {
    true
}

impl Matcher {
    pub(super) fn read(&self) -> Result<LabelMatcher, LabelMatcherError> {
        LabelMatcher::new(&self.name, &self.value, self.is_regex, self.is_equal)
    }
}

impl From<&LabelMatcher> for Matcher {
    fn from(matcher: &LabelMatcher) -> Matcher {
        Matcher {
            is_equal: matcher.is_equal(),
            is_regex: matcher.is_regex(),
            name: matcher.name().to_owned(),
            value: matcher.value().to_owned(),
        }
    }
}

/// A silence to be made, or with an id changed.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PostableSilence)]
pub(crate) struct PostableSilence {
    /// The silence to change; empty or absent: a new one.
    #[serde(default)]
    pub(super) id: Option<String>,
    pub(super) matchers: Vec<Matcher>,
    #[serde(deserialize_with = "moment")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) starts_at: Option<Timestamp>,
    #[serde(deserialize_with = "moment")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) ends_at: Option<Timestamp>,
    pub(super) created_by: String,
    pub(super) comment: String,
}

/// Where a silence is in its life.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AlertmanagerSilenceStatus)]
pub(crate) struct SilenceStatus {
    /// `pending`, `active` or `expired`.
    pub(super) state: &'static str,
}

/// A silence.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GettableSilence)]
pub(crate) struct GettableSilence {
    pub(super) id: String,
    pub(super) status: SilenceStatus,
    #[schema(value_type = String, format = DateTime)]
    pub(super) updated_at: Moment,
    pub(super) comment: String,
    pub(super) created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub(super) ends_at: Moment,
    pub(super) matchers: Vec<Matcher>,
    #[schema(value_type = String, format = DateTime)]
    pub(super) starts_at: Moment,
}

impl GettableSilence {
    /// What Alertmanager sorts by: those in force first (the next to end first), then those to come (the next to start
    /// first), then those that are over (the last to end first).
    pub(super) fn rank(&self) -> (u8, i64) {
        match self.status.state {
            "active" => (0, self.ends_at.0.0),
            "pending" => (1, self.starts_at.0.0),
            _ => (2, -self.ends_at.0.0),
        }
    }
}

/// The silence that was made.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SilenceMade {
    /// Its id: another one than posted when what was asked for needed a new silence.
    #[serde(rename = "silenceID")]
    pub(super) silence_id: String,
}

// ---- status ---------------------------------------------------------------------------------------------------

/// What the server is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AlertmanagerStatus)]
pub(crate) struct StatusView {
    pub(super) cluster: Cluster,
    pub(super) config: ConfigView,
    #[schema(value_type = String, format = DateTime)]
    pub(super) uptime: Moment,
    pub(super) version_info: VersionInfo,
}

/// There is one of us.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AlertmanagerCluster)]
pub(crate) struct Cluster {
    /// `disabled`.
    pub(super) status: &'static str,
    #[schema(value_type = Vec<Object>)]
    pub(super) peers: [(); 0],
}

/// Where alerts go, as far as Alertmanager's words say it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AlertmanagerConfig)]
pub(crate) struct ConfigView {
    /// YAML.
    pub(super) original: String,
}

/// The release.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AlertmanagerVersion)]
pub(crate) struct VersionInfo {
    pub(super) branch: &'static str,
    pub(super) build_date: &'static str,
    pub(super) build_user: &'static str,
    pub(super) go_version: &'static str,
    pub(super) revision: &'static str,
    pub(super) version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_780_800_123_456_789);

    fn posted(document: &str) -> Result<PostedAlert, String> {
        let alert: PostableAlert = serde_json::from_str(document).map_err(|error| error.to_string())?;
        alert.into_posted(NOW).map_err(|(field, reason)| format!("{field}: {reason}"))
    }

    #[test]
    fn what_prometheus_and_amtool_post_is_read() {
        let alert = posted(
            r#"{"labels":{"alertname":"Down","job":"api","empty":""},"annotations":{"summary":"is down"},
               "startsAt":"2026-11-27T11:59:00.5Z","endsAt":"2026-11-27T12:04:00+00:00","generatorURL":"http://p:9090/g"}"#,
        )
        .unwrap();
        assert_eq!(alert.labels.keys().collect::<Vec<_>>(), ["alertname", "job"]);
        assert_eq!(alert.starts_at.unwrap().to_string(), "2026-11-27T11:59:00.500000000Z");
        assert_eq!(alert.ends_at.unwrap().to_string(), "2026-11-27T12:04:00.000000000Z");
        assert_eq!(alert.source_url.as_deref(), Some("http://p:9090/g"));

        let bare = posted(
            r#"{"annotations":{},"endsAt":"0001-01-01T00:00:00.000Z","startsAt":"0001-01-01T00:00:00.000Z","labels":{"alertname":"a"}}"#,
        )
        .unwrap();
        assert_eq!(bare.starts_at, Some(NOW));
        assert_eq!((bare.ends_at, bare.source_url), (None, None));

        let over = posted(r#"{"labels":{"a":"b"},"endsAt":"2026-11-26T00:00:00Z"}"#).unwrap();
        assert_eq!(over.starts_at, over.ends_at);
        let far = posted(r#"{"labels":{"a":"b"},"endsAt":"3026-11-26T00:00:00Z"}"#).unwrap();
        assert_eq!(far.ends_at, Some(Timestamp(i64::MAX)));
    }

    #[test]
    fn what_is_no_alert_is_named() {
        for (document, fault) in [
            (r#"{"labels":{}}"#, "labels: at least one"),
            (r#"{"labels":{"a":""}}"#, "labels: at least one"),
            (r#"{"labels":{"a-b":"c"}}"#, "labels: invalid label name `a-b`"),
            (r#"{"labels":{"a":"c"},"annotations":{"1":"x"}}"#, "annotations: invalid label name `1`"),
            (
                r#"{"labels":{"a":"c"},"startsAt":"2026-11-27T12:00:00Z","endsAt":"2026-11-27T11:00:00Z"}"#,
                "startsAt: ",
            ),
            (r#"{"labels":{"a":"c"},"startsAt":"soon"}"#, "`soon` is not an RFC 3339 time"),
            (r#"{"labels":{"a":1}}"#, "invalid type"),
            (r#"{"annotations":{}}"#, "missing field `labels`"),
        ] {
            let said = posted(document).unwrap_err();
            assert!(said.contains(fault), "{document}: {said}");
        }
    }

    #[test]
    fn times_are_written_as_alertmanager_does() {
        assert_eq!(serde_json::to_string(&Moment(NOW)).unwrap(), r#""2026-11-27T12:00:00.123Z""#);
        assert_eq!(serde_json::to_string(&Moment(Timestamp(0))).unwrap(), r#""1970-01-01T00:00:00.000Z""#);
    }

    #[test]
    fn matchers_keep_their_meaning() {
        for text in ["a=\"b\"", "a!=\"b\"", "a=~\"b.*\"", "a!~\"b\""] {
            let matcher: LabelMatcher = text.parse().unwrap();
            assert_eq!(Matcher::from(&matcher).read().unwrap(), matcher);
        }
        let old: Matcher = serde_json::from_str(r#"{"name":"a","value":"b","isRegex":false}"#).unwrap();
        assert!(old.read().unwrap().is_equal());
    }
}
