//! `heimdall dashboards`: dashboards of the web app as files, to keep them under version control or carry them elsewhere.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Map, Value};

use super::items::{self, Column};
use super::say;
use crate::args::{DashboardsArgs, DashboardsCommand};
use crate::client::Client;

const COLUMNS: [Column; 6] = [
    ("id", "/id"),
    ("title", "/title"),
    ("folder", "/folder"),
    ("panels", "/panels"),
    ("changed", "/updated_at"),
    ("by", "/updated_by"),
];

/// What a file has of a dashboard: what somebody says of it, not what the server notes.
const MEMBERS: [&str; 5] = ["title", "description", "tags", "folder", "spec"];

pub(crate) async fn run(args: DashboardsArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    match args.command.unwrap_or(DashboardsCommand::List { text: None }) {
        DashboardsCommand::List { text } => {
            let request = client.request(Method::GET, "/api/v1/dashboards");
            let page = client
                .json(request.query(&[("text", text.unwrap_or_default()), ("limit", "1000".to_owned())]));
            items::say_page(&page.await?, args.json, &COLUMNS, "no dashboards");
        }
        DashboardsCommand::Export { id } => {
            let dashboard = client.get(&format!("/api/v1/dashboards/{id}")).await?;
            items::say_document(&of_file(dashboard)?)?;
        }
        DashboardsCommand::Import { replace: Some(id), files } => {
            let [file] = &files[..] else { bail!("--replace takes one file") };
            let path = format!("/api/v1/dashboards/{id}");
            let mut dashboard = read(file)?;
            let now = client.get(&path).await?;
            dashboard["revision"] = now.get("revision").cloned().context("the server named no revision")?;
            say_id(&client.json(client.request(Method::PUT, &path).json(&dashboard)).await?)?;
        }
        DashboardsCommand::Import { replace: None, files } => {
            // All are read before the first is kept.
            for dashboard in files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()? {
                let request = client.request(Method::POST, "/api/v1/dashboards").json(&dashboard);
                say_id(&client.json(request).await?)?;
            }
        }
    }
    Ok(())
}

fn say_id(dashboard: &Value) -> Result<()> {
    say(dashboard.get("id").and_then(Value::as_str).context("the server named no dashboard")?);
    Ok(())
}

fn read(file: &Path) -> Result<Value> {
    let name = || format!("could not read `{}`", file.display());
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).with_context(name)?;
    } else {
        text = std::fs::read_to_string(file).with_context(name)?;
    }
    let dashboard =
        serde_json::from_str(&text).with_context(|| format!("`{}` is no JSON", file.display()))?;
    of_file(dashboard).with_context(|| format!("`{}` is no dashboard", file.display()))
}

/// The members of a file. A whole answer of the API is one too.
fn of_file(dashboard: Value) -> Result<Value> {
    let Value::Object(mut members) = dashboard else { bail!("it is no JSON object") };
    if !members.contains_key("spec") {
        bail!("it has no `spec`");
    }
    let kept = MEMBERS.iter().filter_map(|name| Some(((*name).to_owned(), members.remove(*name)?)));
    Ok(Value::Object(kept.collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_has_what_somebody_says_and_not_what_the_server_notes() {
        let answer = json!({"id": "x", "title": "A", "revision": 3, "built_in": true, "tags": [], "spec": {"panels": []}});
        let file = of_file(answer).unwrap();
        assert_eq!(file, json!({"title": "A", "tags": [], "spec": {"panels": []}}));
        assert_eq!(of_file(file.clone()).unwrap(), file);
        assert!(of_file(json!({"title": "A"})).is_err() && of_file(json!([])).is_err());
    }
}
