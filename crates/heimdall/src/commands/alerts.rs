//! `heimdall alerts`: list alerts, show one, take steps with it, ask why somebody was told of it or not.

use anyhow::{Context, Result, bail};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::items::{self, Column};
use super::say;
use crate::args::{AlertAction, AlertFilterArgs, AlertsArgs, Colour};
use crate::client::Client;
use crate::show;

const DECISION: [Column; 4] =
    [("at", "/at"), ("receiver", "/receiver"), ("outcome", "/outcome"), ("detail", "/detail")];

pub(crate) async fn run(args: AlertsArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    let Some(id) = &args.id else { return list(&client, &args).await };
    match args.action {
        None | Some(AlertAction::Show) => {
            items::say_document(&client.get(&format!("/api/v1/alerts/{id}")).await?)
        }
        Some(AlertAction::Why) => {
            let page = client.get(&format!("/api/v1/alerts/{id}/decisions")).await?;
            items::say_page(&page, args.json, &DECISION, "nothing was decided about this alert yet");
            Ok(())
        }
        Some(AlertAction::Plan) => super::actions::plan(&client, id, args.json).await,
        Some(action) => change(&client, id, action, &args).await,
    }
}

/// The parameters of a list of alerts.
fn filtered(request: RequestBuilder, filter: &AlertFilterArgs) -> RequestBuilder {
    let plain = [
        ("status", &filter.status),
        ("severity", &filter.severity),
        ("rule", &filter.rule),
        ("service", &filter.service),
        ("assignee", &filter.assignee),
        ("incident", &filter.incident),
        ("text", &filter.text),
        ("since", &filter.since),
    ];
    let plain = plain.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let matchers = filter.matchers.iter().map(|matcher| ("filter", matcher.as_str()));
    request.query(&plain.chain(matchers).collect::<Vec<_>>())
}

async fn list(client: &Client, args: &AlertsArgs) -> Result<()> {
    let request = client.request(Method::GET, "/api/v1/alerts").query(&[("limit", args.limit)]);
    let page = client.json(filtered(request, &args.filter)).await?;
    let colour = show::is_coloured(Colour::Auto);
    let alerts = items::items(&page);
    // Oldest first, so that the newest stands next to the prompt.
    for alert in alerts.iter().rev() {
        say(&if args.json { alert.to_string() } else { show::alert(alert, colour) });
    }
    if alerts.is_empty() && !args.json {
        eprintln!("no alerts");
    }
    Ok(())
}

async fn change(client: &Client, ids: &str, action: AlertAction, args: &AlertsArgs) -> Result<()> {
    if (args.period.is_some() || args.until.is_some()) && action != AlertAction::Suppress {
        bail!("`--for` and `--until` go with `suppress` only");
    }
    let (verb, body) = request_of(action, args)?;
    for id in ids.split(',').map(str::trim).filter(|id| !id.is_empty()) {
        let request = client.request(Method::POST, &format!("/api/v1/alerts/{id}/{verb}"));
        let alert = client.json(request.json(&body)).await.with_context(|| format!("alert {id}"))?;
        say(&if args.json {
            alert.to_string()
        } else {
            show::alert(&alert, show::is_coloured(Colour::Auto))
        });
    }
    Ok(())
}

/// What is posted where for an action.
fn request_of(action: AlertAction, args: &AlertsArgs) -> Result<(&'static str, Value)> {
    let note = &args.note;
    let value = |what: &str| args.value.as_deref().with_context(|| format!("say {what} after the action"));
    let step = json!({ "note": note });
    Ok(match action {
        AlertAction::Acknowledge => ("acknowledge", step),
        AlertAction::Suppress => {
            ("suppress", json!({ "note": note, "for": args.period, "until": args.until }))
        }
        AlertAction::Resolve => ("resolve", step),
        AlertAction::Reopen => ("reopen", step),
        AlertAction::Assign => {
            ("assign", json!({ "assignee": items::somebody(value("who works on it, or `nobody`,")?) }))
        }
        AlertAction::Comment => ("comments", json!({ "text": value("the words")? })),
        AlertAction::Priority => {
            ("priority", json!({ "priority": value("p1, p2 or p3")?.to_ascii_uppercase() }))
        }
        AlertAction::TruePositive => ("feedback", json!({ "verdict": "true_positive", "note": note })),
        AlertAction::FalsePositive => ("feedback", json!({ "verdict": "false_positive", "note": note })),
        AlertAction::Show | AlertAction::Why | AlertAction::Plan => bail!("showing changes nothing"),
    })
}
