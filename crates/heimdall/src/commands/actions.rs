//! `heimdall actions`: what Heimdall does about alerts by itself.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::items::{self, Column};
use super::say;
use crate::args::{ActionsArgs, ActionsCommand, SwitchPosition};
use crate::client::Client;

const RUN: [Column; 7] = [
    ("id", "/id"),
    ("at", "/created_at"),
    ("state", "/state"),
    ("mode", "/mode"),
    ("playbook", "/playbook"),
    ("actions", "/actions"),
    ("why", "/reason"),
];
const LOOKED: [Column; 4] = [
    ("  action", "/action/kind"),
    ("target", "/action/target"),
    ("would", "/effect/summary"),
    ("but", "/against"),
];
const PLAYBOOK: [Column; 6] = [
    ("playbook", "/id"),
    ("version", "/version"),
    ("enabled", "/enabled"),
    ("mode", "/effective_mode"),
    ("title", "/title"),
    ("why", "/mode_reason"),
];
const AUTONOMY: [Column; 6] = [
    ("playbook", "/playbook"),
    ("action", "/kind"),
    ("verified in a row", "/streak"),
    ("needed", "/needed"),
    ("failures", "/failures"),
    ("acts by itself", "/is_earned"),
];
const BREAKER: [Column; 4] =
    [("breaker", "/name"), ("state", "/state"), ("since", "/since"), ("why", "/reason")];
const SWITCH: &str = "/api/v1/actions/kill-switch";

pub(crate) async fn run(args: ActionsArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    let is_json = args.json;
    match args.command.unwrap_or(ActionsCommand::List { state: None, limit: 50 }) {
        ActionsCommand::Plan { alert } => plan(&client, &alert, is_json).await?,
        ActionsCommand::List { state, limit } => {
            let request = client.request(Method::GET, "/api/v1/actions").query(&[("limit", limit)]);
            let request = request.query(&state.map(|state| [("state", state)]).as_slice());
            items::say_page(&client.json(request).await?, is_json, &RUN, "no actions");
        }
        ActionsCommand::Show { run } => {
            items::say_document(&client.get(&format!("/api/v1/actions/{run}")).await?)?;
        }
        ActionsCommand::Approve { run, note } => decide(&client, &run, "approve", note, is_json).await?,
        ActionsCommand::Reject { run, note } => decide(&client, &run, "reject", note, is_json).await?,
        ActionsCommand::Cancel { run, note } => decide(&client, &run, "cancel", note, is_json).await?,
        ActionsCommand::KillSwitch { position, note } => switch(&client, position, note.as_deref()).await?,
        ActionsCommand::Playbooks => {
            let page = client.get("/api/v1/actions/playbooks").await?;
            items::say_page(&page, is_json, &PLAYBOOK, "no playbooks");
        }
        ActionsCommand::Autonomy => {
            let page = client.get("/api/v1/actions/autonomy").await?;
            items::say_page(&page, is_json, &AUTONOMY, "no playbook has acted yet");
        }
        ActionsCommand::Breakers => {
            items::say_page(
                &client.get("/api/v1/breakers").await?,
                is_json,
                &BREAKER,
                "all breakers are closed",
            );
        }
    }
    Ok(())
}

/// What playbooks would do about an alert.
pub(super) async fn plan(client: &Client, alert: &str, is_json: bool) -> Result<()> {
    let page = client.get(&format!("/api/v1/alerts/{alert}/plan")).await?;
    if is_json {
        items::say_lines(&page);
        return Ok(());
    }
    let plans = items::items(&page);
    if plans.is_empty() {
        eprintln!("no playbook is for this alert");
    }
    for plan in plans {
        let text = |pointer: &str| items::cell(plan, pointer);
        say(&format!("{} v{}: {}", text("/playbook"), text("/version"), text("/title")));
        say(format!("  would {} {}", text("/would/kind"), text("/would/reason")).trim_end());
        say(&format!("  mode {}: {}", text("/mode"), text("/mode_reason")));
        let looked = plan.get("looked").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if !looked.is_empty() {
            items::say_table(&LOOKED, looked);
        }
    }
    Ok(())
}

async fn decide(client: &Client, run: &str, verb: &str, note: Option<String>, is_json: bool) -> Result<()> {
    let request = client.request(Method::POST, &format!("/api/v1/actions/{run}/{verb}"));
    let run = client.json(request.json(&json!({ "note": note }))).await?;
    items::say_page(&json!({ "items": [run] }), is_json, &RUN, "");
    Ok(())
}

async fn switch(client: &Client, position: Option<SwitchPosition>, note: Option<&str>) -> Result<()> {
    let state = match position {
        None => client.get(SWITCH).await?,
        Some(position) => {
            let body = json!({ "on": position == SwitchPosition::On, "note": note });
            client.json(client.request(Method::PUT, SWITCH).json(&body)).await?
        }
    };
    let is_on = state.get("on").and_then(Value::as_bool).unwrap_or_default();
    let by = items::cell(&state, "/by");
    let since = items::cell(&state, "/at");
    let why = items::cell(&state, "/note");
    say(&match (is_on, by.is_empty()) {
        (true, _) => format!("on: no action is taken (since {since}, by {by}: {why})"),
        (false, true) => "off: actions are taken as configured".to_owned(),
        (false, false) => format!("off: actions are taken as configured (since {since}, by {by}: {why})"),
    });
    Ok(())
}
