//! `heimdall token`: the REST twin on the command line.

use anyhow::{Context, Result};
use heimdall_model::time::parse_duration;
use reqwest::Method;
use serde_json::{Value, json};

use super::say;
use crate::args::TokenCommand;
use crate::client::Client;
use crate::show;

pub(crate) async fn run(command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Issue { name, scopes, expires, all_tenants, remote } => {
            let client = Client::new(&remote)?;
            let body = json!({
                "name": name,
                "scopes": scopes.split(',').map(str::trim).collect::<Vec<_>>(),
                "expires_in": lifetime(&expires)?,
                "tenant": remote.tenant,
                "all_tenants": all_tenants,
            });
            let issued = client.json(client.request(Method::POST, "/api/v1/tokens").json(&body)).await?;
            say(issued.get("token").and_then(Value::as_str).context("the server sent no token")?);
            eprintln!("the token is shown only this once; its id is {}", text(&issued, "id"));
        }
        TokenCommand::Revoke { id, remote } => {
            let client = Client::new(&remote)?;
            client.send(client.request(Method::DELETE, &format!("/api/v1/tokens/{id}"))).await?;
            eprintln!("revoked {id}");
        }
        TokenCommand::List { remote } => {
            let page = Client::new(&remote)?.get("/api/v1/tokens").await?;
            let headings = ["id", "name", "tenant", "scopes", "expires_at", "last_used_at", "revoked_at"];
            let tokens = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let row = |token: &Value| headings.iter().map(|key| text(token, key)).collect();
            let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
            say(show::table(&headings.map(str::to_owned), &rows).trim_end());
        }
    }
    Ok(())
}

/// A duration as the server reads it; `None` for `0`, which never expires.
fn lifetime(text: &str) -> Result<Option<&str>> {
    let text = text.trim();
    if text == "0" {
        return Ok(None);
    }
    parse_duration(text).with_context(|| format!("`{text}` is not a duration; write it like `90d`"))?;
    Ok(Some(text))
}

fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => show::printable(text),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    }
}
