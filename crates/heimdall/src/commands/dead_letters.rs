//! `heimdall dead-letters`: records that were rejected or kept aside.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::items::{self, Column};
use super::say;
use crate::args::{DeadLettersCommand, LetterFilterArgs};
use crate::client::Client;

const PATH: &str = "/api/v1/dead-letters";
const COLUMNS: [Column; 7] = [
    ("id", "/id"),
    ("time", "/time"),
    ("outcome", "/outcome"),
    ("door", "/door"),
    ("dataset", "/dataset"),
    ("field", "/field"),
    ("reason", "/reason"),
];

pub(crate) async fn run(command: DeadLettersCommand) -> Result<()> {
    match command {
        DeadLettersCommand::List { filter, limit, json, remote } => {
            let client = Client::new(&remote)?;
            let mut query = pairs(&filter);
            query.push(("limit", limit.to_string()));
            let page = client.json(client.request(Method::GET, PATH).query(&query)).await?;
            items::say_page(&page, json, &COLUMNS, "no dead letters");
        }
        DeadLettersCommand::Show { id, remote } => {
            let letter = Client::new(&remote)?.get(&format!("{PATH}/{id}")).await?;
            say(&serde_json::to_string_pretty(&letter)?);
        }
        DeadLettersCommand::Replay { ids, filter, all, pipeline, remote } => {
            let client = Client::new(&remote)?;
            let mut request = json!({"ids": ids, "all": all, "pipeline": pipeline});
            for (name, value) in pairs(&filter) {
                request[name] = json!(value);
            }
            replay(&client, request).await?;
        }
        DeadLettersCommand::Purge { filter, all, remote } => {
            let client = Client::new(&remote)?;
            let mut query = pairs(&filter);
            query.push(("all", all.to_string()));
            let answer = client.json(client.request(Method::DELETE, PATH).query(&query)).await?;
            say(&format!("removed {}", answer["removed"]));
        }
    }
    Ok(())
}

/// Asks until there are no more.
async fn replay(client: &Client, mut request: Value) -> Result<()> {
    let mut sums = [("accepted", 0), ("deduplicated", 0), ("dropped", 0)];
    let mut failed = 0;
    loop {
        let answer =
            client.json(client.request(Method::POST, &format!("{PATH}/replay")).json(&request)).await?;
        for (name, sum) in &mut sums {
            *sum += answer[*name].as_u64().unwrap_or(0);
        }
        for letter in answer["failed"].as_array().into_iter().flatten() {
            failed += 1;
            let text = |name: &str| letter[name].as_str().unwrap_or_default().to_owned();
            eprintln!("{}: {}", text("id"), text("reason"));
        }
        if !answer["next"].is_string() {
            break;
        }
        request["cursor"] = answer["next"].clone();
    }
    let sums = sums.map(|(name, sum)| format!("{name} {sum}"));
    say(&format!("{}, failed {failed}", sums.join(", ")));
    if failed > 0 {
        anyhow::bail!("{failed} dead letters were not taken; see above");
    }
    Ok(())
}

fn pairs(filter: &LetterFilterArgs) -> Vec<(&'static str, String)> {
    let LetterFilterArgs { door, dataset, receipt, outcome, field, from, to } = filter.clone();
    let named = [
        ("door", door),
        ("dataset", dataset),
        ("receipt", receipt),
        ("outcome", outcome),
        ("field", field),
        ("from", from),
        ("to", to),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
