//! `heimdall notifications`: who was told what, where alerts go, who is on call.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::items::{self, Column};
use crate::args::{NotificationsArgs, NotificationsCommand};
use crate::client::Client;

const DELIVERY: [Column; 6] = [
    ("at", "/at"),
    ("receiver", "/receiver"),
    ("kind", "/kind"),
    ("state", "/state"),
    ("channels", "/shown"),
    ("why", "/reason"),
];
const RECEIVER: [Column; 4] =
    [("receiver", "/name"), ("channels", "/shown"), ("people", "/people"), ("waiting", "/folded")];
const TEST: [Column; 2] = [("channel", "/channel"), ("", "/shown")];
const STEP: [Column; 3] = [("", "/shown"), ("receiver", "/receiver"), ("route", "/path")];
const ON_CALL: [Column; 3] = [("schedule", "/schedule"), ("on call", "/person"), ("until", "/until")];

pub(crate) async fn run(args: NotificationsArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    let log = NotificationsCommand::Log { receiver: None, state: None, limit: 50 };
    match args.command.unwrap_or(log) {
        NotificationsCommand::Log { receiver, state, limit } => {
            let filter = [("receiver", receiver), ("state", state)];
            let filter: Vec<_> = filter.into_iter().filter(|(_, value)| value.is_some()).collect();
            let request = client.request(Method::GET, "/api/v1/notifications").query(&[("limit", limit)]);
            let page = client.json(request.query(&filter)).await?;
            say(page, args.json, &DELIVERY, "nobody was told anything", channels_of_delivery);
        }
        NotificationsCommand::Test { receiver } => {
            let request = client.request(Method::POST, "/api/v1/notifications/test");
            let told = client.json(request.json(&json!({ "receiver": receiver }))).await?;
            say(told, args.json, &TEST, "the receiver has no channel", test_result);
        }
        NotificationsCommand::Routes { alert: Some(alert) } => {
            let request = client.request(Method::GET, "/api/v1/notifications/routes");
            let page = client.json(request.query(&[("alert", alert)])).await?;
            say(page, args.json, &STEP, "it goes nowhere", step_taken);
        }
        NotificationsCommand::Routes { alert: None } => {
            let page = client.get("/api/v1/notifications/receivers").await?;
            say(page, args.json, &RECEIVER, "no receivers", channels_of_receiver);
        }
        NotificationsCommand::Oncall { schedule, at } => {
            let filter = [("schedule", schedule), ("at", at)];
            let filter: Vec<_> = filter.into_iter().filter(|(_, value)| value.is_some()).collect();
            let request = client.request(Method::GET, "/api/v1/notifications/oncall").query(&filter);
            items::say_page(&client.json(request).await?, args.json, &ON_CALL, "no schedules");
        }
    }
    Ok(())
}

/// Writes a page whose items have a column `shown` that is made of others.
fn say(mut page: Value, is_json: bool, columns: &[Column], none: &str, shown: fn(&Value) -> String) {
    if !is_json && let Some(items) = page.get_mut("items").and_then(Value::as_array_mut) {
        for item in items {
            let text = shown(item);
            item["shown"] = text.into();
        }
    }
    items::say_page(&page, is_json, columns, none);
}

fn channels(item: &Value, shown: impl Fn(&Value) -> String) -> String {
    let channels = item.get("channels").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    channels.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// `slack sent`, or with attempts and the error what did not go.
fn channels_of_delivery(delivery: &Value) -> String {
    channels(delivery, |channel| {
        let text = |pointer: &str| items::cell(channel, pointer);
        let error = text("/error");
        let after =
            if error.is_empty() { String::new() } else { format!(" after {} ({error})", text("/attempts")) };
        format!("{} {}{after}", text("/channel"), text("/state"))
    })
}

fn channels_of_receiver(receiver: &Value) -> String {
    channels(receiver, |channel| {
        let is_down = channel.get("is_down").and_then(Value::as_bool).unwrap_or_default();
        format!("{}{}", items::cell(channel, "/kind"), if is_down { " (down)" } else { "" })
    })
}

fn test_result(result: &Value) -> String {
    match result.get("error").and_then(Value::as_str) {
        Some(error) => format!("failed: {error}"),
        None => "taken".to_owned(),
    }
}

fn step_taken(step: &Value) -> String {
    let is = |key: &str| step.get(key).and_then(Value::as_bool).unwrap_or_default();
    match (is("is_taken"), is("is_match")) {
        (true, _) => "told",
        (false, true) => "matches",
        (false, false) => "no match",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_tells_of_each_channel() {
        let delivery = json!({ "channels": [
            { "channel": "0-slack", "state": "sent", "attempts": 1, "error": null },
            { "channel": "1-email", "state": "failed", "attempts": 6, "error": "connection refused" },
        ]});
        assert_eq!(
            channels_of_delivery(&delivery),
            "0-slack sent, 1-email failed after 6 (connection refused)"
        );
    }
}
