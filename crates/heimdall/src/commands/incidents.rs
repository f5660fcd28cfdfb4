//! `heimdall incidents`: alerts that belong together.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::items::{self, Column};
use super::{put, say};
use crate::args::{IncidentsArgs, IncidentsCommand};
use crate::client::Client;

const COLUMNS: [Column; 8] = [
    ("number", "/number"),
    ("status", "/status"),
    ("severity", "/severity"),
    ("started", "/started_at"),
    ("alerts", "/alert_count"),
    ("owner", "/owner"),
    ("services", "/services"),
    ("title", "/title"),
];
const TIMELINE: [Column; 4] = [("at", "/at"), ("by", "/by"), ("what", "/kind"), ("", "/text")];

pub(crate) async fn run(args: IncidentsArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    let list = IncidentsCommand::List { status: None, owner: None, service: None, limit: 50 };
    match args.command.unwrap_or(list) {
        IncidentsCommand::List { status, owner, service, limit } => {
            let filter = [("status", status), ("owner", owner), ("service", service)];
            let filter: Vec<_> = filter.into_iter().filter(|(_, value)| value.is_some()).collect();
            let request = client.request(Method::GET, "/api/v1/incidents").query(&[("limit", limit)]);
            let page = client.json(request.query(&filter)).await?;
            items::say_page(&page, args.json, &COLUMNS, "no incidents");
            Ok(())
        }
        IncidentsCommand::Show { id } => show(&client, &id, args.json).await,
        IncidentsCommand::Export { id, output } => export(&client, &id, output.as_deref()).await,
        change => {
            let (id, verb, body) = request_of(&change)?;
            let request = client.request(Method::POST, &format!("/api/v1/incidents/{id}/{verb}"));
            let incident = client.json(request.json(&body)).await?;
            items::say_page(&json!({ "items": [incident] }), args.json, &COLUMNS, "");
            Ok(())
        }
    }
}

fn request_of(change: &IncidentsCommand) -> Result<(&str, &'static str, Value)> {
    Ok(match change {
        IncidentsCommand::Ack { id, note } => (id, "acknowledge", json!({ "note": note })),
        IncidentsCommand::Resolve { id, note } => (id, "resolve", json!({ "note": note })),
        IncidentsCommand::Reopen { id, note } => (id, "reopen", json!({ "note": note })),
        IncidentsCommand::Assign { id, owner } => (id, "assign", json!({ "owner": items::somebody(owner) })),
        IncidentsCommand::Comment { id, text } => (id, "comments", json!({ "text": text })),
        IncidentsCommand::List { .. } | IncidentsCommand::Show { .. } | IncidentsCommand::Export { .. } => {
            anyhow::bail!("reading changes nothing")
        }
    })
}

async fn show(client: &Client, id: &str, is_json: bool) -> Result<()> {
    let incident = client.get(&format!("/api/v1/incidents/{id}")).await?;
    if is_json {
        return items::say_document(&incident);
    }
    let text = |pointer: &str| items::cell(&incident, pointer);
    say(&format!("#{} {}", text("/number"), text("/title")));
    say(&format!(
        "{}  {}  {}  owner: {}",
        text("/status"),
        text("/severity"),
        text("/priority"),
        text("/owner")
    ));
    say(&format!("since {}, last {}, over {}", text("/started_at"), text("/last_at"), text("/resolved_at")));
    say(&format!("services: {}\nalerts: {}\nid: {}\n", text("/services"), text("/alert_count"), text("/id")));
    let timeline = incident.get("timeline").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    items::say_table(&TIMELINE, timeline);
    Ok(())
}

async fn export(client: &Client, id: &str, output: Option<&std::path::Path>) -> Result<()> {
    let request = client.request(Method::GET, &format!("/api/v1/incidents/{id}/postmortem"));
    let text = client.send(request).await?.text().await?;
    match output {
        Some(file) => {
            std::fs::write(file, text).with_context(|| format!("could not write {}", file.display()))
        }
        None => {
            put(text.as_bytes());
            Ok(())
        }
    }
}
