//! What the documentation of each other side asks of a request, and what that side answers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::SECRET;
use super::standin::Request;
use crate::notify::signature::is_signed;

type Answer = Result<(u16, String), String>;

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// The text at a place, of 1 to `max` characters.
fn text<'a>(value: &'a Value, at: &str, max: usize) -> Result<&'a str, String> {
    let text = value.pointer(at).and_then(Value::as_str).ok_or_else(|| format!("{at} is no text"))?;
    let n = text.chars().count();
    if (1..=max).contains(&n) { Ok(text) } else { Err(format!("{at} has {n} characters, not 1 to {max}")) }
}

fn list<'a>(value: &'a Value, at: &str, max: usize) -> Result<&'a [Value], String> {
    let items = value.pointer(at).and_then(Value::as_array).ok_or_else(|| format!("{at} is no list"))?;
    if items.len() <= max {
        Ok(items)
    } else {
        Err(format!("{at} has {} items, more than {max}", items.len()))
    }
}

fn only(value: &Value, at: &str, known: &[&str]) -> Result<(), String> {
    let fields = value.pointer(at).and_then(Value::as_object).ok_or_else(|| format!("{at} is no object"))?;
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{at} has `{key}`, which is not documented")),
        None => Ok(()),
    }
}

fn posted_json(request: &Request) -> Result<Value, String> {
    ensure(request.method == "POST", "method is not POST")?;
    ensure(request.headers["content-type"].starts_with("application/json"), "content type is not JSON")?;
    request.json()
}

fn is_link(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://")) && !url.contains([' ', '"', '<', '>', '|'])
}

// Slack: docs.slack.dev/reference/block-kit/blocks, /composition-objects/text-object, /block-elements/button-element.

fn slack_message(body: &Value) -> Result<(), String> {
    text(body, "/text", 40_000)?;
    ensure(body["mrkdwn"] == false, "the text is read as markup")?;
    ensure(!body["text"].as_str().unwrap_or_default().contains(['<', '>', '\n']), "the text is not escaped")?;
    for block in list(body, "/blocks", 50)? {
        slack_block(block)?;
    }
    Ok(())
}

fn slack_block(block: &Value) -> Result<(), String> {
    match block["type"].as_str() {
        Some("header") => {
            ensure(block["text"]["type"] == "plain_text", "a header is plain text")?;
            slack_text(&block["text"], 150)
        }
        Some("section") => {
            ensure(block.get("text").is_some() != block.get("fields").is_some(), "text or fields")?;
            if block.get("text").is_some() {
                return slack_text(&block["text"], 3_000);
            }
            ensure(!list(block, "/fields", 10)?.is_empty(), "no fields")?;
            list(block, "/fields", 10)?.iter().try_for_each(|field| slack_text(field, 2_000))
        }
        Some("context") => {
            list(block, "/elements", 10)?.iter().try_for_each(|element| slack_text(element, 2_000))
        }
        Some("actions") => list(block, "/elements", 25)?.iter().try_for_each(|button| {
            ensure(button["type"] == "button", "not a button")?;
            slack_text(&button["text"], 75)?;
            text(button, "/action_id", 255)?;
            text(button, "/value", 2_000)?;
            button
                .get("url")
                .map_or(Ok(()), |url| ensure(is_link(url.as_str().unwrap_or_default()), "no link"))
        }),
        other => Err(format!("block {other:?} is not known")),
    }
}

fn slack_text(value: &Value, max: usize) -> Result<(), String> {
    let words = text(value, "/text", max)?;
    match value["type"].as_str() {
        Some("plain_text") => ensure(!words.contains(['<', '>']), "plain text is not escaped"),
        // Markup is ours alone: one link to us, or people of the configuration.
        Some("mrkdwn") => {
            let is_own = words.split(' ').all(|word| word.starts_with("<@U") && word.ends_with('>'))
                || (words.starts_with("<https://heimdall.example.org/alerts")
                    && words.ends_with("|Open in Heimdall>"));
            ensure(is_own, "markup that is not ours")
        }
        other => Err(format!("text object {other:?}")),
    }
}

pub(super) fn slack_webhook(request: &Request) -> Answer {
    ensure(request.path == format!("/services/T0/B0/{SECRET}"), "path")?;
    let body = posted_json(request)?;
    slack_message(&body)?;
    only(&body, "", &["text", "blocks", "mrkdwn", "unfurl_links", "unfurl_media"])?;
    Ok((200, "ok".to_owned()))
}

pub(super) fn slack_bot(request: &Request) -> Answer {
    ensure(request.headers.get("authorization") == Some(&format!("Bearer {SECRET}")), "token")?;
    let body = posted_json(request)?;
    slack_message(&body)?;
    match request.path.as_str() {
        "/api/chat.postMessage" => {
            ensure(matches!(body["channel"].as_str(), Some("#ops" | "C024BE91L")), "channel")?;
            // A reply is in a thread of the channel's id.
            ensure(body.get("thread_ts").is_none() || body["channel"] == "C024BE91L", "thread")?;
        }
        "/api/chat.update" => {
            ensure(body["channel"] == "C024BE91L", "an update needs the channel's id")?;
            ensure(body["ts"] == "1503435956.000247", "ts")?;
        }
        other => return Err(format!("method {other}")),
    }
    Ok((200, json!({"ok": true, "channel": "C024BE91L", "ts": "1503435956.000247"}).to_string()))
}

// PagerDuty: developer.pagerduty.com, "Send an event".

pub(super) fn pagerduty(request: &Request) -> Answer {
    ensure(request.path == "/v2/enqueue", "path")?;
    let body = posted_json(request)?;
    ensure(request.body.len() <= 512 << 10, "more than 512 KB")?;
    only(
        &body,
        "",
        &["routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"],
    )?;
    ensure(body["routing_key"] == SECRET, "routing key")?;
    let dedup_key = text(&body, "/dedup_key", 255)?;
    match body["event_action"].as_str() {
        Some("acknowledge" | "resolve") => {}
        Some("trigger") => {
            let known = [
                "summary",
                "source",
                "severity",
                "timestamp",
                "component",
                "group",
                "class",
                "custom_details",
            ];
            only(&body, "/payload", &known)?;
            text(&body, "/payload/summary", 1_024)?;
            text(&body, "/payload/source", 1_024)?;
            let severity = text(&body, "/payload/severity", 10)?;
            ensure(["critical", "error", "warning", "info"].contains(&severity), "severity")?;
            ensure(body["payload"]["custom_details"].is_object(), "custom_details")?;
            for link in list(&body, "/links", 100)? {
                ensure(is_link(text(link, "/href", 2_000)?), "link")?;
            }
        }
        other => return Err(format!("event_action {other:?}")),
    }
    Ok((202, json!({"status": "success", "message": "Event processed", "dedup_key": dedup_key}).to_string()))
}

// Opsgenie: docs.opsgenie.com/docs/alert-api.

pub(super) fn opsgenie(request: &Request) -> Answer {
    ensure(request.headers.get("authorization") == Some(&format!("GenieKey {SECRET}")), "key")?;
    let body = posted_json(request)?;
    let taken = (
        202,
        json!({"result": "Request will be processed", "took": 0.1, "requestId": "43a29c5c"}).to_string(),
    );
    if let Some(rest) = request.path.strip_prefix("/v2/alerts/") {
        let (alias, step) = rest.split_once('/').ok_or("no step")?;
        ensure(!alias.is_empty() && !alias.contains(['?', '#']), "alias")?;
        ensure(["close?identifierType=alias", "acknowledge?identifierType=alias"].contains(&step), "step")?;
        only(&body, "", &["user", "source", "note"])?;
        return Ok(taken);
    }
    ensure(request.path == "/v2/alerts", "path")?;
    text(&body, "/message", 130)?;
    text(&body, "/alias", 512)?;
    text(&body, "/description", 15_000)?;
    text(&body, "/source", 100)?;
    ensure(body["entity"].as_str().is_some_and(|entity| entity.chars().count() <= 512), "entity")?;
    ensure(["P1", "P2", "P3", "P4", "P5"].contains(&text(&body, "/priority", 2)?), "priority")?;
    for tag in list(&body, "/tags", 20)? {
        text(tag, "", 50)?;
    }
    let details = body["details"].as_object().ok_or("details")?;
    ensure(details.values().all(Value::is_string), "details are texts")?;
    ensure(body["details"].to_string().chars().count() <= 8_000, "details")?;
    Ok(taken)
}

// Telegram: core.telegram.org/bots/api#sendmessage, #html-style.

pub(super) fn telegram(request: &Request) -> Answer {
    let method = request.path.strip_prefix(&format!("/bot{SECRET}/")).ok_or("token")?;
    let body = posted_json(request)?;
    ensure(body["chat_id"] == "-1001234567890", "chat")?;
    ensure(body["parse_mode"] == "HTML", "parse mode")?;
    let words = body["text"].as_str().ok_or("text")?;
    ensure((1..=4_096).contains(&words.encode_utf16().count()), "length")?;
    telegram_html(words)?;
    match method {
        "sendMessage" => {}
        "editMessageText" => ensure(body["message_id"] == 7, "message")?,
        other => return Err(format!("method {other}")),
    }
    Ok((
        200,
        json!({"ok": true, "result": {"message_id": 7, "chat": {"id": -1_001_234_567_890_i64}}}).to_string(),
    ))
}

/// Only tags of ours, closed in order, and only entities that Telegram knows.
fn telegram_html(html: &str) -> Result<(), String> {
    let mut open = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        let (end, close) = if rest[at..].starts_with('<') { ('>', 1) } else { (';', 1) };
        let len = rest[at..].find(end).ok_or("not closed")? + close;
        let token = &rest[at..at + len];
        rest = &rest[at + len..];
        match token {
            "<b>" | "<code>" => open.push(&token[1..token.len() - 1]),
            "</b>" | "</code>" | "</a>" => {
                ensure(open.pop() == Some(&token[2..token.len() - 1]), "tags cross")?
            }
            "&lt;" | "&gt;" | "&amp;" | "&quot;" => {}
            link if link.starts_with("<a href=\"https://heimdall.example.org/alerts") => open.push("a"),
            other => return Err(format!("token {other}")),
        }
    }
    ensure(open.is_empty() && !rest.contains('>'), "left open")
}

// Discord: docs.discord.com/developers/resources/message#embed-object-embed-limits.

pub(super) fn discord(request: &Request) -> Answer {
    let base = format!("/api/webhooks/1/{SECRET}");
    let body = request.json()?;
    match (request.method.as_str(), request.path.strip_prefix(&base)) {
        ("POST", Some("?wait=true")) | ("PATCH", Some("/messages/1234")) => {}
        other => return Err(format!("{other:?}")),
    }
    ensure(body["allowed_mentions"] == json!({"parse": []}), "mentions")?;
    let mut all = 0;
    for embed in list(&body, "/embeds", 10)? {
        let mut count = |at: &str, max| text(embed, at, max).map(|text| all += text.chars().count());
        count("/title", 256)?;
        count("/description", 4_096)?;
        for n in 0..list(embed, "/fields", 25)?.len() {
            count(&format!("/fields/{n}/name"), 256)?;
            count(&format!("/fields/{n}/value"), 1_024)?;
        }
        ensure(embed["color"].as_u64().is_some_and(|colour| colour <= 0xff_ff_ff), "colour")?;
        ensure(embed.get("url").is_none_or(|url| is_link(url.as_str().unwrap_or_default())), "url")?;
        ensure(
            embed["fields"].as_array().unwrap().iter().all(|field| is_code(&field["value"])),
            "not in code",
        )?;
    }
    ensure(all <= 6_000, "more than 6,000 characters")?;
    Ok((200, json!({"id": "1234"}).to_string()))
}

fn is_code(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text == "–" || (text.starts_with('`') && text.ends_with('`') && text.matches('`').count() == 2)
}

// Teams: learn.microsoft.com, "Post to a channel when a webhook request is received"; adaptivecards.io/explorer.

pub(super) fn teams(request: &Request) -> Answer {
    ensure(request.path == format!("/workflows/invoke?sig={SECRET}"), "path")?;
    let body = posted_json(request)?;
    ensure(request.body.len() <= 28 << 10, "more than 28 KB")?;
    ensure(body["type"] == "message", "type")?;
    let attachments = list(&body, "/attachments", 1)?;
    ensure(attachments[0]["contentType"] == "application/vnd.microsoft.card.adaptive", "content type")?;
    let card = &attachments[0]["content"];
    ensure(card["type"] == "AdaptiveCard" && card["version"] == "1.4", "card")?;
    ensure(card["$schema"] == "http://adaptivecards.io/schemas/adaptive-card.json", "schema")?;
    for element in list(card, "/body", 100)? {
        ensure(element["type"] == "RichTextBlock", "an element that reads Markdown")?;
        for run in list(element, "/inlines", 10)? {
            only(run, "", &["type", "text", "weight", "size", "color"])?;
            ensure(run["type"] == "TextRun" && run["text"].is_string(), "run")?;
        }
    }
    for action in list(card, "/actions", 6)? {
        ensure(action["type"] == "Action.OpenUrl" && is_link(text(action, "/url", 2_000)?), "action")?;
    }
    Ok((202, String::new()))
}

// ntfy: docs.ntfy.sh/publish/#publish-as-json.

pub(super) fn ntfy(request: &Request) -> Answer {
    ensure(request.path == "/", "path")?;
    ensure(request.headers.get("authorization").map(String::as_str) == Some("Bearer tk_t0ken"), "token")?;
    let body = posted_json(request)?;
    only(
        &body,
        "",
        &["topic", "message", "title", "tags", "priority", "actions", "click", "markdown", "icon"],
    )?;
    ensure(body["topic"] == SECRET, "topic")?;
    ensure(text(&body, "/message", 4_096)?.len() <= 4_096, "message")?;
    ensure(text(&body, "/title", 1_000)?.len() <= 250, "title")?;
    ensure(body["priority"].as_u64().is_some_and(|n| (1..=5).contains(&n)), "priority")?;
    list(&body, "/tags", 10)?;
    if body.get("actions").is_some() {
        for action in list(&body, "/actions", 3)? {
            ensure(action["action"] == "view" && is_link(text(action, "/url", 2_000)?), "action")?;
            text(action, "/label", 50)?;
        }
    }
    Ok((200, json!({"id": "sPs71M8A2T", "event": "message", "topic": SECRET}).to_string()))
}

// Our own: docs/channels.md.

pub(super) fn webhook(request: &Request) -> Answer {
    let body = signed(request)?;
    let fields: BTreeSet<&str> = body.as_object().ok_or("object")?.keys().map(String::as_str).collect();
    let known = [
        "alerts",
        "at",
        "fields",
        "group_key",
        "group_labels",
        "id",
        "is_over",
        "kind",
        "reason",
        "receiver",
        "severity",
        "steps",
        "summary",
        "tenant",
        "title",
        "to",
        "total",
        "url",
        "version",
    ];
    ensure(fields == BTreeSet::from(known), "fields")?;
    ensure(body["version"] == 1, "version")?;
    ensure(request.headers.get("idempotency-key").map(String::as_str) == body["id"].as_str(), "id")?;
    Ok((204, String::new()))
}

pub(super) fn webhook_with_template(request: &Request) -> Answer {
    let body = signed(request)?;
    only(&body, "", &["text", "alerts", "first"])?;
    ensure(body["text"].as_str().is_some_and(|text| text.starts_with("[") && text.ends_with("]")), "text")?;
    ensure(body["alerts"].is_array(), "alerts")?;
    Ok((200, "whatever".to_owned()))
}

fn signed(request: &Request) -> Result<Value, String> {
    ensure(request.path == format!("/hook/{SECRET}"), "path")?;
    ensure(request.headers.get("authorization").map(String::as_str) == Some("Basic s3cretheader"), "header")?;
    let signature = request.headers.get("x-heimdall-signature").ok_or("no signature")?;
    let (time, mac) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).ok_or("form")?;
    ensure(time == "1772366461", "time of the signature")?;
    ensure(is_signed("s3cretkey", &[time.as_bytes(), b".", &request.body], mac), "signature")?;
    posted_json(request)
}

// Alertmanager: prometheus.io/docs/alerting/latest/configuration/#webhook_config.

pub(super) fn alertmanager(request: &Request) -> Answer {
    ensure(request.path == format!("/hook/{SECRET}"), "path")?;
    ensure(request.headers.get("authorization").map(String::as_str) == Some("Bearer s3crettoken"), "token")?;
    let body = posted_json(request)?;
    let known = [
        "version",
        "groupKey",
        "truncatedAlerts",
        "status",
        "receiver",
        "groupLabels",
        "commonLabels",
        "commonAnnotations",
        "externalURL",
        "alerts",
    ];
    only(&body, "", &known)?;
    ensure(known.iter().all(|field| body.get(field).is_some()), "a field is missing")?;
    ensure(body["version"] == "4", "version")?;
    ensure(body["truncatedAlerts"].is_u64(), "truncatedAlerts")?;
    let firing = |alert: &Value| alert["status"] == "firing";
    let alerts = list(&body, "/alerts", 50)?;
    ensure(alerts.is_empty() || (body["status"] == "firing") == alerts.iter().any(firing), "status")?;
    for labels in [&body["groupLabels"], &body["commonLabels"], &body["commonAnnotations"]] {
        prometheus_labels(labels)?;
    }
    for alert in alerts {
        let known = ["status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"];
        only(alert, "", &known)?;
        ensure(known.iter().all(|field| alert.get(field).is_some()), "a field of an alert is missing")?;
        prometheus_labels(&alert["labels"])?;
        prometheus_labels(&alert["annotations"])?;
        let fingerprint = text(alert, "/fingerprint", 16)?;
        let is_hex = fingerprint.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        ensure(fingerprint.len() == 16 && is_hex, "fingerprint")?;
        ensure(firing(alert) == (alert["endsAt"] == "0001-01-01T00:00:00Z"), "endsAt")?;
    }
    Ok((200, String::new()))
}

fn prometheus_labels(labels: &Value) -> Result<(), String> {
    let labels = labels.as_object().ok_or("labels are no object")?;
    let is_name = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    ensure(labels.iter().all(|(name, value)| is_name(name) && value.is_string()), "labels")
}
