//! Every channel against a stand-in that checks what it gets, one conformance test for all of them; email against a real server.

mod documented;
mod email;
mod inbound;
mod standin;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::{Alert, Clock, Severity, Status, Tenant, Timestamp, Transition};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use self::standin::{Behaviour, Check, Request, Standin};
use super::config::{ChannelConfig, ChannelContext};
use super::notice::{Notice, NoticeKind, Notifier, NotifyError, Receipt};
use crate::lifecycle::raise;
use crate::lifecycle::tests::verdict;

const SECRET: &str = "s3cret-4711";
/// 2026-03-01 12:01:01Z.
const NOW: Timestamp = Timestamp(1_772_366_461_000_000_000);
const KINDS: [NoticeKind; 7] = [
    NoticeKind::Raised,
    NoticeKind::Updated,
    NoticeKind::Acknowledged,
    NoticeKind::Escalated,
    NoticeKind::Resolved,
    NoticeKind::Digest,
    NoticeKind::Test,
];

struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

fn context() -> ChannelContext {
    let _ = rustls::crypto::ring::default_provider().install_default();
    ChannelContext { base_url: Some("https://heimdall.example.org/".to_owned()), clock: Arc::new(Fixed(NOW)) }
}

fn alert(n: u64) -> Alert {
    raise(verdict(&format!("10.0.0.{n}"), n), format!("{n:032x}"), None, Timestamp(0))
}

fn notice(kind: NoticeKind, alerts: Vec<Alert>) -> Notice {
    let resolve = |mut alert: Alert| {
        if kind == NoticeKind::Resolved {
            let from = Some(alert.status);
            alert.status = Status::Resolved;
            let (to, by) = (Status::Resolved, "ann".to_owned());
            alert.history.push(Transition { at: NOW, from, to, by, note: None });
        }
        Arc::new(alert)
    };
    let total = alerts.len();
    Notice {
        id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
        tenant: Tenant::default(),
        receiver: "ops".to_owned(),
        kind,
        group_key: "default/ops/{service=AUTH-API}".to_owned(),
        group_labels: BTreeMap::from([("service".to_owned(), "AUTH-API".to_owned())]),
        alerts: alerts.into_iter().map(resolve).collect(),
        total,
        reason: "new".to_owned(),
        to: Vec::new(),
        base_url: None,
        at: NOW,
    }
}

/// A channel and the documentation of its other side.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// The configuration, with the address of the other side.
    config: fn(&str) -> Value,
    check: Check,
    /// Whether an answer of its own form is documented, so that another one is an error.
    has_answer: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "slack webhook",
        config: |base| json!({"type": "slack", "webhook_url": format!("{base}/services/T0/B0/{SECRET}"), "interactive": true}),
        check: documented::slack_webhook,
        has_answer: true,
    },
    Case {
        name: "slack bot",
        config: |base| json!({"type": "slack", "token": SECRET, "channel": "#ops", "base_url": format!("{base}/api"), "interactive": true}),
        check: documented::slack_bot,
        has_answer: true,
    },
    Case {
        name: "pagerduty",
        config: |base| json!({"type": "pagerduty", "routing_key": SECRET, "base_url": base}),
        check: documented::pagerduty,
        has_answer: true,
    },
    Case {
        name: "opsgenie",
        config: |base| json!({"type": "opsgenie", "api_key": SECRET, "base_url": base}),
        check: documented::opsgenie,
        has_answer: true,
    },
    Case {
        name: "telegram",
        config: |base| json!({"type": "telegram", "token": SECRET, "chat_id": "-1001234567890", "base_url": base}),
        check: documented::telegram,
        has_answer: true,
    },
    Case {
        name: "discord",
        config: |base| json!({"type": "discord", "webhook_url": format!("{base}/api/webhooks/1/{SECRET}")}),
        check: documented::discord,
        has_answer: true,
    },
    Case {
        name: "teams",
        config: |base| json!({"type": "teams", "webhook_url": format!("{base}/workflows/invoke?sig={SECRET}")}),
        check: documented::teams,
        has_answer: true,
    },
    Case {
        name: "ntfy",
        config: |base| json!({"type": "ntfy", "topic": SECRET, "token": "tk_t0ken", "server": base}),
        check: documented::ntfy,
        has_answer: true,
    },
    Case {
        name: "webhook",
        config: |base| {
            json!({"type": "webhook", "url": format!("{base}/hook/{SECRET}"), "secret": "s3cretkey",
                   "headers": {"Authorization": "Basic s3cretheader"}})
        },
        check: documented::webhook,
        has_answer: false,
    },
    Case {
        name: "webhook with a template",
        config: |base| {
            json!({"type": "webhook", "url": format!("{base}/hook/{SECRET}"), "secret": "s3cretkey",
                   "headers": {"Authorization": "Basic s3cretheader"},
                   "body": "{\"text\": \"[{{ title }}: {{ summary }}]\", \"alerts\": {{ alerts }}, \"first\": {{ alerts.0.title }}}"})
        },
        check: documented::webhook_with_template,
        has_answer: false,
    },
    Case {
        name: "alertmanager",
        config: |base| json!({"type": "alertmanager", "url": format!("{base}/hook/{SECRET}"), "token": "s3crettoken"}),
        check: documented::alertmanager,
        has_answer: false,
    },
];

fn channel(case: &Case, base: &str, timeout: &str) -> Box<dyn Notifier> {
    let mut config = (case.config)(base);
    config["timeout"] = json!(timeout);
    let config: ChannelConfig = serde_json::from_value(config).unwrap();
    let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("s3cret") && !shown.contains("tk_t0ken"), "{shown}");
    let channel = config.build(context()).unwrap();
    assert_eq!(channel.kind(), config.kind());
    channel
}

/// Everything the port promises, of one channel.
async fn conformance(case: &Case) {
    tells_the_whole_life_of_a_group(case).await;
    tells_nothing_much(case).await;
    fails_as_documented(case).await;
}

async fn tells_the_whole_life_of_a_group(case: &Case) {
    let standin = Standin::start(case.check, Behaviour::Documented).await;
    let channel = channel(case, &standin.base(), "10s");
    let mut previous: Option<Receipt> = None;
    for kind in KINDS {
        let notice = notice(kind, (1..=3).map(alert).collect());
        let told = channel.send(&notice, previous.as_ref()).await;
        let requests = standin.take();
        assert!(!requests.is_empty(), "{}: {kind:?} was not told", case.name);
        previous = told.unwrap_or_else(|error| panic!("{}: {kind:?}: {error}", case.name));
    }
    // A receipt that is not of this channel is as good as none.
    let foreign = Receipt(json!({"foreign": [1]}));
    let told = channel.send(&notice(NoticeKind::Updated, vec![alert(1)]), Some(&foreign)).await;
    assert!(told.is_ok(), "{}: {told:?}", case.name);
    standin.take();
}

/// A notice without alerts, and one with as many as there may be.
async fn tells_nothing_much(case: &Case) {
    let standin = Standin::start(case.check, Behaviour::Documented).await;
    let channel = channel(case, &standin.base(), "10s");
    for kind in KINDS {
        let many = Notice { total: 10_000, ..notice(kind, (0..50).map(alert).collect()) };
        for notice in [notice(kind, Vec::new()), many] {
            let told = channel.send(&notice, None).await;
            assert!(told.is_ok(), "{}: {kind:?} with {}: {told:?}", case.name, notice.alerts.len());
            standin.take();
        }
    }
}

async fn fails_as_documented(case: &Case) {
    let answer = |head: &str| Behaviour::Answer(head.to_owned(), "{}".to_owned());
    let seconds = |n| Some(Duration::from_secs(n));
    let failures = [
        (answer("429 Too Many Requests\r\nRetry-After: 30"), true, seconds(30)),
        (answer("429 Too Many Requests\r\nRetry-After: Sun, 01 Mar 2026 12:02:01 GMT"), true, seconds(60)),
        (answer("429 Too Many Requests\r\nRetry-After: Sun, 01 Mar 2026 11:00:00 GMT"), true, seconds(0)),
        (answer("429 Too Many Requests\r\nRetry-After: 99999999"), true, seconds(3_600)),
        (answer("429 Too Many Requests\r\nRetry-After: soon"), true, None),
        (answer("500 Oops"), true, None),
        (answer("503 Busy\r\nRetry-After: 5"), true, seconds(5)),
        (answer("408 Slow"), true, None),
        (answer("400 Bad"), false, None),
        (answer("401 No"), false, None),
        (answer("403 No"), false, None),
        (answer("404 None"), false, None),
        (answer("302 Found\r\nLocation: http://127.0.0.1:1/elsewhere"), false, None),
        (answer("307 Temporary\r\nLocation: http://127.0.0.1:1/elsewhere"), false, None),
    ];
    for (behaviour, is_retryable, retry_after) in failures {
        let error = failure(case, behaviour.clone(), "10s").await;
        let got = (error.is_retryable, error.retry_after);
        assert_eq!(got, (is_retryable, retry_after), "{}: {behaviour:?}: {error}", case.name);
    }
    let slow = failure(case, Behaviour::Silent, "200ms").await;
    assert!(slow.is_retryable && slow.detail.ends_with("did not answer in time"), "{}: {slow}", case.name);
    // What the other side says comes without the secret, on one line, cut.
    let quoting =
        json!({"message": format!("no {SECRET}\n{}", "x".repeat(9_000)), "error": {"message": SECRET}});
    let error = failure(case, Behaviour::Answer("400 Bad".to_owned(), quoting.to_string()), "10s").await;
    assert!(error.detail.len() < 400 && !error.detail.contains('\n'), "{}: {error}", case.name);
    if case.has_answer {
        let page = "<html>Welcome to the airport".repeat(9_000);
        let error = failure(case, Behaviour::Answer("200 OK".to_owned(), page), "10s").await;
        assert!(
            error.is_retryable && error.detail.contains("else than documented"),
            "{}: {error}",
            case.name
        );
    }
    let closed = Standin::start(case.check, Behaviour::Documented).await.base();
    let error = attempt(case, &closed, "10s").await;
    assert!(error.is_retryable && error.detail.contains("cannot be reached"), "{}: {error}", case.name);
}

/// The one attempt made against a side that behaves like this; it is one request.
async fn failure(case: &Case, behaviour: Behaviour, timeout: &str) -> NotifyError {
    let standin = Standin::start(case.check, behaviour).await;
    let error = attempt(case, &standin.base(), timeout).await;
    assert_eq!(standin.take().len(), 1, "{}", case.name);
    error
}

async fn attempt(case: &Case, base: &str, timeout: &str) -> NotifyError {
    let channel = channel(case, base, timeout);
    let told = channel.send(&notice(NoticeKind::Raised, vec![alert(1)]), None).await;
    let error = told.expect_err(case.name);
    for hidden in ["s3cret", "tk_t0ken", "/hook", "/services", "sig=", "elsewhere"] {
        assert!(!error.detail.contains(hidden), "{}: {error}", case.name);
    }
    error
}

#[tokio::test]
async fn every_channel_keeps_the_promises_of_the_port() {
    for case in CASES {
        conformance(case).await;
    }
}

fn case(name: &str) -> &'static Case {
    CASES.iter().find(|case| case.name == name).unwrap()
}

/// Tells a row of notices, each with the receipt of the one before; returns what was sent.
async fn sent(name: &str, notices: &[Notice]) -> Vec<Request> {
    let case = case(name);
    let standin = Standin::start(case.check, Behaviour::Documented).await;
    let channel = channel(case, &standin.base(), "10s");
    let (mut previous, mut requests) = (None, Vec::new());
    for notice in notices {
        previous = channel.send(notice, previous.as_ref()).await.unwrap();
        requests.extend(standin.take());
    }
    requests
}

fn steps(requests: &[Request]) -> Vec<String> {
    let step = |request: &Request| {
        let body = request.json().unwrap();
        let thread = if body.get("thread_ts").is_some() || body.get("reply_parameters").is_some() {
            " reply"
        } else {
            ""
        };
        let aloud = if body["reply_broadcast"] == true { " aloud" } else { "" };
        format!("{}{thread}{aloud}", request.path.rsplit('/').next().unwrap())
    };
    requests.iter().map(step).collect()
}

#[tokio::test]
async fn a_bot_keeps_one_message_and_says_aloud_what_matters() {
    let mut worse = alert(1);
    worse.severity = Severity::Critical;
    let life = [
        notice(NoticeKind::Raised, vec![alert(1)]),
        notice(NoticeKind::Updated, vec![alert(1)]),
        notice(NoticeKind::Updated, vec![worse.clone()]),
        notice(NoticeKind::Updated, vec![worse.clone()]),
        notice(NoticeKind::Acknowledged, vec![worse.clone()]),
        notice(NoticeKind::Escalated, vec![worse.clone()]),
        notice(NoticeKind::Resolved, vec![worse]),
        notice(NoticeKind::Raised, vec![alert(1)]),
    ];
    let (new, change, reply) = ("chat.postMessage", "chat.update", "chat.postMessage reply");
    let aloud = "chat.postMessage reply aloud";
    let expected = [new, change, change, aloud, change, change, change, aloud, change, reply, new];
    assert_eq!(steps(&sent("slack bot", &life).await), expected);
    let (new, change, reply) = ("sendMessage", "editMessageText", "sendMessage reply");
    let expected = [new, change, change, reply, change, change, change, reply, change, reply, new];
    assert_eq!(steps(&sent("telegram", &life).await), expected);
}

#[tokio::test]
async fn errors_within_answers_are_told_apart() {
    let slack = |error: &str| json!({"ok": false, "error": error}).to_string();
    for (name, head, body, is_retryable, retry_after, detail) in [
        ("slack bot", "200 OK", slack("channel_not_found"), false, None, "Slack refused: channel_not_found"),
        ("slack bot", "200 OK", slack("fatal_error"), true, None, "Slack refused: fatal_error"),
        ("slack bot", "429 Slow\r\nRetry-After: 7", slack("ratelimited"), true, Some(7), "Slack answered 429: ratelimited"),
        (
            "slack webhook",
            "400 Bad",
            "invalid_blocks".to_owned(),
            false,
            None,
            "the Slack webhook answered 400: invalid_blocks",
        ),
        (
            "telegram",
            "429 Slow",
            json!({"ok": false, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 9}}).to_string(),
            true,
            Some(9),
            "Telegram answered 429: Too Many Requests",
        ),
        (
            "discord",
            "429 Slow",
            json!({"message": "You are being rate limited.", "retry_after": 2.0, "global": false}).to_string(),
            true,
            Some(2),
            "the Discord webhook answered 429: You are being rate limited.",
        ),
        (
            "pagerduty",
            "400 Bad",
            json!({"status": "invalid event", "message": "Event object is invalid", "errors": ["Length of 'routing_key' is incorrect"]})
                .to_string(),
            false,
            None,
            "PagerDuty answered 400: Event object is invalid, Length of 'routing_key' is incorrect",
        ),
    ] {
        let error = failure(case(name), Behaviour::Answer(head.to_owned(), body), "10s").await;
        let retry_after = retry_after.map(Duration::from_secs);
        assert_eq!(error, NotifyError { is_retryable, retry_after, detail: detail.to_owned() });
    }
}

#[tokio::test]
async fn pagerduty_hears_of_trigger_acknowledge_and_resolve_under_one_key() {
    let requests = sent("pagerduty", &KINDS.map(|kind| notice(kind, vec![alert(1)]))).await;
    let events: Vec<Value> = requests.iter().map(|request| request.json().unwrap()).collect();
    let actions: Vec<&str> = events.iter().map(|event| event["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "trigger", "acknowledge", "trigger", "resolve", "trigger", "trigger"]);
    assert!(events.iter().all(|event| event["dedup_key"] == "default/ops/{service=AUTH-API}"));
    assert_eq!(events[0]["payload"]["summary"], "WARNING P2: Failed logins: 12 failures in 60 s");
    assert_eq!(events[0]["payload"]["source"], "10.0.0.1");
    let long = |tail: &str| Notice {
        group_key: format!("{}{tail}", "k".repeat(300)),
        ..notice(NoticeKind::Raised, vec![alert(1)])
    };
    let keys = sent("pagerduty", &[long("a"), long("b"), long("a")]).await;
    let keys: Vec<Value> = keys.iter().map(|request| request.json().unwrap()["dedup_key"].clone()).collect();
    assert!(keys[0] == keys[2] && keys[0] != keys[1]);
}

#[tokio::test]
async fn slack_buttons_bring_back_the_group_and_people_are_called() {
    let mut notice = notice(NoticeKind::Escalated, (0..50).map(alert).collect());
    notice.to = vec!["U024BE7LH".to_owned(), "ann@example.org".to_owned(), "<!channel>".to_owned()];
    let body = sent("slack bot", &[notice.clone()]).await[0].json().unwrap();
    let blocks = body["blocks"].as_array().unwrap();
    let mention = blocks.iter().find(|block| block["text"]["type"] == "mrkdwn").unwrap();
    assert_eq!(mention["text"]["text"], "<@U024BE7LH>");
    let buttons = blocks.last().unwrap()["elements"].as_array().unwrap();
    let names: Vec<&str> = buttons.iter().map(|button| button["text"]["text"].as_str().unwrap()).collect();
    assert_eq!(names, ["Acknowledge", "Suppress 1h", "Open in Heimdall"]);
    assert_eq!(buttons[2]["url"], format!("https://heimdall.example.org/alerts/{}", notice.alerts[0].id));
    let pressed = inbound::pressed("heimdall_suppress_1h", buttons[1]["value"].as_str().unwrap());
    let action = super::slack::parse_interaction(pressed.as_bytes()).unwrap();
    assert_eq!(action.group_key, notice.group_key);
    assert_eq!(action.alerts[0], notice.alerts[0].id);
    assert!(action.alerts.len() > 40, "{}", action.alerts.len());
}

#[tokio::test]
async fn stdout_has_one_line_that_cannot_be_forged() {
    let mut hostile = alert(1);
    hostile.id = Uuid::nil();
    hostile.summary = "12 failures\n2026 ALERT \u{1b}[2J".to_owned();
    let line = super::stdout::line(&notice(NoticeKind::Raised, vec![hostile]), false);
    assert_eq!(
        line,
        "2026-03-01 12:00:01Z ALERT WARNING P2 Failed logins | source_ip=10.0.0.1 | service=AUTH-API | \
         12 failures 2026 ALERT  [2J | seen 1x | do: block the address | id 00000000-0000-0000-0000-000000000000"
    );
    let line = super::stdout::line(&notice(NoticeKind::Resolved, vec![alert(1)]), true);
    assert!(line.contains("ALERT RESOLVED \u{1b}[33mWARNING\u{1b}[0m P2"), "{line}");
    for kind in KINDS {
        assert!(!super::stdout::line(&notice(kind, Vec::new()), false).contains(char::is_control));
    }
}

#[test]
fn configurations_that_cannot_work_name_their_key() {
    let check = |config: Value, expected: &str| {
        let config: ChannelConfig = serde_json::from_value(config).unwrap();
        let error = config.build(context()).err().unwrap().to_string();
        assert!(error.starts_with(expected) && !error.contains("s3cret"), "{error}");
    };
    check(json!({"type": "slack"}), "`webhook_url`: missing");
    check(json!({"type": "slack", "webhook_url": "ftp://s3cret"}), "`webhook_url`: must be a `http`");
    check(json!({"type": "slack", "token": "s3cret"}), "`channel`: needed");
    check(json!({"type": "slack", "token": "s3cret", "webhook_url": "http://s3cret"}), "`token`: give it or");
    check(json!({"type": "pagerduty"}), "`routing_key`: missing");
    check(
        json!({"type": "pagerduty", "routing_key": "s3cret", "base_url": "nowhere"}),
        "`base_url`: must be",
    );
    check(json!({"type": "ntfy", "topic": "s3cret/x"}), "`topic`: must be");
    check(json!({"type": "telegram", "token": "s3cret"}), "`chat_id`: missing");
    check(json!({"type": "opsgenie", "api_key_file": "/nonexistent/s3"}), "`api_key_file`: could not read");
    check(
        json!({"type": "webhook", "url": "http://s3cret", "headers": {"Host": "s3cret"}}),
        "`headers`: `Host` is set by",
    );
    check(
        json!({"type": "webhook", "url": "http://s3cret", "body": "{\"a\": {{ b }}}"}),
        "`body`: line 1: `b` is not a field",
    );
    check(
        json!({"type": "webhook", "url": "http://s3cret", "ca_file": "/nonexistent"}),
        "`ca_file`: could not read",
    );
    check(json!({"type": "email", "from": "a@b.org"}), "`server`: must be");
    check(
        json!({"type": "email", "server": "mail.example.org", "from": "a@b.org", "tls": "none"}),
        "`tls`: `none` is for",
    );
    check(
        json!({"type": "email", "server": "mail", "from": "a@b.org", "username": "u"}),
        "`password`: missing",
    );
    check(json!({"type": "email", "server": "mail", "from": "a\r\nBcc: x"}), "`from`: `a  Bcc: x` is not");
    for unknown in [
        json!({"type": "slack", "webhok_url": "x"}),
        json!({"type": "pigeon"}),
        json!({"type": "ntfy", "timeout": "0s"}),
    ] {
        assert!(serde_json::from_value::<ChannelConfig>(unknown).is_err());
    }
}

/// Texts a record could bring: markup of every channel, control characters, marks of direction, long runs.
fn hostile() -> impl Strategy<Value = String> {
    let nasty = prop_oneof![
        Just("<!channel> @everyone <@U024BE7LH> <https://evil.example|ok>".to_owned()),
        Just("&amp;&lt;</code></b><a href=\"x\">".to_owned()),
        Just("\r\nBcc: all@example.org\r\n\r\n.\r\n".to_owned()),
        Just("`*_~|#[x](http://evil.example)\\".to_owned()),
        Just("{{ title }}\"}],\"x\":[{".to_owned()),
        Just("\u{202e}\u{2028}\u{0}\u{1b}[31m\u{200b}".to_owned()),
        Just("&<>\"'@".repeat(700)),
        Just("😀".repeat(3_000)),
        "\\PC{0,40}",
        any::<String>(),
    ];
    prop::collection::vec(nasty, 0..3).prop_map(|parts| parts.concat())
}

prop_compose! {
    fn hostile_alert()(
        title in hostile(), summary in hostile(), kind in hostile(), value in hostile(), service in proptest::option::of(hostile()),
        rule in hostile(), mitigation in prop::collection::vec(hostile(), 0..5), fingerprint in hostile(), name in hostile(),
        critical in any::<bool>(),
    ) -> Alert {
        let mut alert = alert(1);
        alert.labels = BTreeMap::from([(name.clone(), value.clone())]);
        alert.annotations = BTreeMap::from([(name, title.clone())]);
        alert.severity = if critical { Severity::Critical } else { Severity::Normal };
        alert.entity = heimdall_model::Entity::new(&kind, &value);
        Alert { title, summary, service, rule, mitigation, fingerprint, ..alert }
    }
}

prop_compose! {
    fn hostile_notice()(
        alerts in prop::collection::vec(hostile_alert(), 0..14), kind in 0..KINDS.len(), group_key in hostile(), reason in hostile(),
        to in prop::collection::vec(hostile(), 0..3), total in 0_usize..100_000,
    ) -> Notice {
        let notice = notice(KINDS[kind], alerts);
        Notice { group_key: format!("k{group_key}"), reason, to, total, ..notice }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_texts_never_break_a_payload_or_its_limits(notice in hostile_notice()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for case in CASES {
                let standin = Standin::start(case.check, Behaviour::Documented).await;
                let told = channel(case, &standin.base(), "10s").send(&notice, None).await;
                standin.take();
                assert!(told.is_ok(), "{}: {told:?}", case.name);
            }
        });
        let line = super::stdout::line(&notice, false);
        let is_one_line = !line.contains(['\n', '\r', '\u{2028}', '\u{1b}']);
        prop_assert!(is_one_line, "{}", line);
    }
}
