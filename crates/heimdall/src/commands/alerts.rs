//! `heimdall alerts`: list alerts, show one, change its status, say whether it was right.

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use super::say;
use crate::args::{AlertAction, AlertsArgs, Colour};
use crate::client::Client;
use crate::show;

pub(crate) async fn run(args: AlertsArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    match (&args.id, args.action) {
        (None, _) => list(&client, &args).await,
        (Some(id), None | Some(AlertAction::Show)) => {
            let alert = client.get(&format!("/api/v1/alerts/{id}")).await?;
            say(&serde_json::to_string_pretty(&alert)?);
            Ok(())
        }
        (Some(id), Some(action)) => change(&client, id, action, args.note.as_deref()).await,
    }
}

async fn list(client: &Client, args: &AlertsArgs) -> Result<()> {
    let mut request = client.request(Method::GET, "/api/v1/alerts").query(&[("limit", args.limit)]);
    if let Some(status) = &args.status {
        request = request.query(&[("status", status)]);
    }
    let page = client.json(request).await?;
    let colour = show::is_coloured(Colour::Auto);
    let alerts = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    for alert in alerts.iter().rev() {
        say(&if args.json { alert.to_string() } else { show::alert(alert, colour) });
    }
    if alerts.is_empty() && !args.json {
        eprintln!("no alerts");
    }
    Ok(())
}

async fn change(client: &Client, id: &str, action: AlertAction, note: Option<&str>) -> Result<()> {
    let (verb, body) = match action {
        AlertAction::Acknowledge => ("acknowledge", json!({ "note": note })),
        AlertAction::Suppress => ("suppress", json!({ "note": note })),
        AlertAction::Resolve => ("resolve", json!({ "note": note })),
        AlertAction::Reopen => ("reopen", json!({ "note": note })),
        AlertAction::TruePositive => ("feedback", json!({ "verdict": "true_positive", "note": note })),
        AlertAction::FalsePositive => ("feedback", json!({ "verdict": "false_positive", "note": note })),
        AlertAction::Show => bail!("showing changes nothing"),
    };
    let request = client.request(Method::POST, &format!("/api/v1/alerts/{id}/{verb}"));
    let alert = client.json(request.json(&body)).await?;
    say(&show::alert(&alert, show::is_coloured(Colour::Auto)));
    Ok(())
}
