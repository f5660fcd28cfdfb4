//! `heimdall sql`: one statement, printed as a table, CSV, JSON, an Arrow stream or a Parquet file.

use std::io::Read;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde_json::json;

use super::search::{cell, names, rows, summary};
use super::{put, say};
use crate::args::{SqlArgs, SqlFormat};
use crate::client::Client;
use crate::show;

pub(crate) async fn run(args: SqlArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    let body = json!({
        "query": statement(&args.query)?,
        "language": "sql",
        "from": args.from.clone().or_else(|| args.since.as_ref().map(|since| format!("now-{since}"))),
        "to": args.to,
        "limit": args.limit,
        "explain": args.explain,
    });
    let request = client.request(Method::POST, "/api/v1/query").json(&body);
    if args.explain {
        let plan = client.json(request).await?;
        for part in ["logical", "physical"] {
            say(&format!("{part}\n{}", plan[part].as_str().unwrap_or_default()));
        }
        return Ok(());
    }
    let accept = match args.format {
        SqlFormat::Csv => "text/csv",
        SqlFormat::Ndjson => "application/x-ndjson",
        SqlFormat::Arrow => "application/vnd.apache.arrow.stream",
        SqlFormat::Parquet => "application/vnd.apache.parquet",
        SqlFormat::Json => return client.json(request).await.map(|answer| say(&answer.to_string())),
        SqlFormat::Table => {
            let answer = client.json(request).await?;
            let (columns, rows) = (names(&answer), rows(&answer));
            let cells: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
            say(show::table(&columns, &cells).trim_end());
            eprintln!("{}", summary(rows.len(), &answer));
            return Ok(());
        }
    };
    let response = client.send(request.header(ACCEPT, accept)).await?;
    let partial = response.headers().contains_key("heimdall-partial");
    put(&response.bytes().await?);
    if partial {
        eprintln!("PARTIAL answer: --format json says what is missing");
    }
    Ok(())
}

fn statement(query: &str) -> Result<String> {
    if query != "-" {
        return Ok(query.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("could not read standard input")?;
    if text.trim().is_empty() {
        bail!("standard input holds no statement");
    }
    Ok(text)
}
