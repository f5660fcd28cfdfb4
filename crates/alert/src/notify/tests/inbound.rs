//! What others send us: signatures and messages, as their documentation gives them.

use heimdall_model::Timestamp;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::notify::config::Secret;
use crate::notify::pagerduty::{self, PagerDutyActionKind};
use crate::notify::signature::{SignatureError, sign};
use crate::notify::slack::{self, SlackActionKind};
use crate::notify::{InboundError, alertmanager};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

/// Source: docs.slack.dev, "Verifying requests from Slack", its example.
#[test]
fn slack_signatures_are_those_of_the_documentation() {
    let secret = Secret::parse("8f742231b10e8888abcd99yyyzzz85a5").unwrap();
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
                channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
                response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
                trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let signed = headers(&[("x-slack-request-timestamp", "1531420618"), ("x-slack-signature", signature)]);
    let at = |seconds: i64| Timestamp(seconds * 1_000_000_000);
    let verify = |headers: &HeaderMap, body: &str, seconds| {
        slack::verify(&secret, headers, body.as_bytes(), at(seconds))
    };
    assert_eq!(verify(&signed, body, 1_531_420_618), Ok(()));
    assert_eq!(verify(&signed, body, 1_531_420_618 + 300), Ok(()));
    assert_eq!(verify(&signed, body, 1_531_420_618 + 301), Err(SignatureError::Stale { max_s: 300 }));
    assert_eq!(verify(&signed, body, 1_531_420_618 - 301), Err(SignatureError::Stale { max_s: 300 }));
    assert_eq!(verify(&signed, &format!("{body}x"), 1_531_420_618), Err(SignatureError::Mismatch));
    let missing = Err(SignatureError::Header { header: "x-slack-request-timestamp" });
    assert_eq!(verify(&HeaderMap::new(), body, 0), missing);
    let odd =
        headers(&[("x-slack-request-timestamp", "9223372036854775807"), ("x-slack-signature", signature)]);
    assert_eq!(verify(&odd, body, -5), Err(SignatureError::Stale { max_s: 300 }));
}

/// The form Slack posts when a button is pressed.
pub(super) fn pressed(action: &str, value: &str) -> String {
    let payload = json!({
        "type": "block_actions",
        "user": {"id": "U024BE7LH", "username": "ann", "name": "ann", "team_id": "T0"},
        "team": {"id": "T0", "domain": "acme"},
        "channel": {"id": "C024BE91L", "name": "ops"},
        "response_url": "https://hooks.slack.com/actions/T0/1/s3cret",
        "actions": [{"action_id": action, "block_id": "heimdall_alert", "type": "button", "value": value}],
    });
    form(&payload)
}

fn form(payload: &Value) -> String {
    let mut url = Url::parse("http://form/").unwrap();
    url.query_pairs_mut().append_pair("payload", &payload.to_string());
    url.query().unwrap().to_owned()
}

#[test]
fn slack_interactions_say_who_wants_what() {
    let value = json!({"v": 1, "t": "default", "g": "a&b=c d+é", "a": []}).to_string();
    let action = slack::parse_interaction(pressed("heimdall_acknowledge", &value).as_bytes()).unwrap();
    assert_eq!((action.kind, action.group_key.as_str()), (SlackActionKind::Acknowledge, "a&b=c d+é"));
    assert_eq!((action.user_id.as_str(), action.user_name.as_str()), ("U024BE7LH", "ann"));
    assert!(!format!("{action:?}").contains("s3cret"));
    let bad = [
        String::new(),
        "payload=%7B".to_owned(),
        "payload=".to_owned(),
        form(&json!({"type": "view_submission", "user": {"id": "U"}, "actions": []})),
        form(&json!({"type": "block_actions", "user": {"id": "U"}, "actions": []})),
        pressed("somebody_elses", &value),
        pressed("heimdall_acknowledge", "not ours"),
        pressed("heimdall_acknowledge", &value.replace("\"v\":1", "\"v\":2")),
    ];
    for body in bad {
        assert!(slack::parse_interaction(body.as_bytes()).is_err(), "{body}");
    }
    let long = vec![b'x'; 2 << 20];
    assert!(matches!(slack::parse_interaction(&long), Err(InboundError::TooLong { .. })));
}

fn event(kind: &str, data: &Value) -> Vec<u8> {
    let agent = json!({"id": "PLH1HKV", "type": "user_reference", "summary": "Tenex Engineer"});
    json!({"event": {
        "id": "5ac64822-4adc-4fda-ade0-410becf0de4f", "event_type": kind, "resource_type": "incident",
        "occurred_at": "2020-10-02T18:45:22.169Z", "agent": agent, "client": {"name": "PagerDuty"}, "data": data,
    }})
    .to_string()
    .into_bytes()
}

#[test]
fn pagerduty_webhooks_are_mirrored_when_they_are_of_ours() {
    let data =
        json!({"id": "PGR0VU2", "type": "incident", "status": "acknowledged", "incident_key": "default/ops"});
    for (kind, expected) in [
        ("incident.acknowledged", Some(PagerDutyActionKind::Acknowledge)),
        ("incident.unacknowledged", Some(PagerDutyActionKind::Unacknowledge)),
        ("incident.resolved", Some(PagerDutyActionKind::Resolve)),
        ("incident.priority_updated", None),
        ("pagey.ping", None),
    ] {
        let action = pagerduty::parse_webhook(&event(kind, &data)).unwrap();
        assert_eq!(action.as_ref().map(|action| action.kind), expected, "{kind}");
        if let Some(action) = action {
            assert_eq!(
                (action.group_key.as_str(), action.by.as_deref()),
                ("default/ops", Some("Tenex Engineer"))
            );
        }
    }
    let foreign = json!({"id": "PGR0VU2", "incident_key": null});
    assert_eq!(pagerduty::parse_webhook(&event("incident.resolved", &foreign)), Ok(None));
    for bad in [&b"{}"[..], b"", b"[]", &event("incident.resolved", &json!([]))] {
        assert!(pagerduty::parse_webhook(bad).is_err());
    }
}

#[test]
fn one_of_several_pagerduty_signatures_is_enough() {
    let secret = Secret::parse("s3cret").unwrap();
    let body = event("pagey.ping", &Value::Null);
    let good = format!("v1={}", sign("s3cret", &[&body]));
    let verify =
        |value: &str| pagerduty::verify(&secret, &headers(&[("x-pagerduty-signature", value)]), &body);
    assert_eq!(verify(&good), Ok(()));
    assert_eq!(verify(&format!("v1={}, {good}", "0".repeat(64))), Ok(()));
    assert_eq!(verify(&format!("v1={}", "0".repeat(64))), Err(SignatureError::Mismatch));
    let none = SignatureError::Header { header: "x-pagerduty-signature" };
    assert_eq!(verify(&good.replace("v1", "v2")), Err(none));
    assert_eq!(pagerduty::verify(&secret, &HeaderMap::new(), &body), Err(none));
}

#[test]
fn what_an_alertmanager_sends_is_read() {
    let body = json!({
        "version": "4", "groupKey": "{}:{alertname=\"HighLoad\"}", "truncatedAlerts": 0, "status": "firing", "receiver": "heimdall",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am:9093",
        "alerts": [
            {"status": "firing", "labels": {"alertname": "HighLoad", "severity": "critical"}, "annotations": {"summary": "load"},
             "startsAt": "2026-03-01T12:00:00.5Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prom/graph",
             "fingerprint": "b1c2d3e4f5a60718"},
            {"status": "resolved", "labels": {"alertname": "Other"}, "annotations": {}, "startsAt": "2026-03-01T12:00:00Z",
             "endsAt": "2026-03-01T12:01:00Z", "generatorURL": "", "fingerprint": "b1c2d3e4f5a60719"},
        ],
    });
    let posted = alertmanager::parse_webhook(body.to_string().as_bytes()).unwrap();
    assert_eq!(posted.len(), 2);
    assert_eq!((posted[0].ends_at, posted[0].source_url.as_deref()), (None, Some("http://prom/graph")));
    assert_eq!((posted[1].ends_at, &posted[1].source_url), (Timestamp::parse("2026-03-01T12:01:00Z"), &None));
    let wrong = |at: &str, value: Value, field: &str| {
        let mut body = body.clone();
        *body.pointer_mut(at).unwrap() = value;
        let error = alertmanager::parse_webhook(body.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{field}`")), "{error}");
    };
    wrong("/version", json!("3"), "version");
    wrong("/alerts/1/labels", json!({}), "alerts[1].labels");
    wrong("/alerts/0/startsAt", json!("yesterday"), "alerts[0].startsAt");
    wrong("/alerts/1/endsAt", json!("0001-01-01T00:00:00Z"), "alerts[1].endsAt");
    wrong("/alerts/1/status", json!("burning"), "alerts[1].status");
}
