//! `heimdall search`: one query, printed as records, a table or JSON lines.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::say;
use crate::args::{Colour, SearchArgs};
use crate::client::Client;
use crate::show;

pub(crate) async fn run(args: SearchArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    let from = args.from.clone().unwrap_or_else(|| format!("now-{}", args.since));
    let body = json!({
        "query": args.query,
        "language": "search",
        "from": from,
        "to": args.to,
        "limit": args.limit,
        "explain": args.explain,
    });
    let answer = client.json(client.request(Method::POST, "/api/v1/query").json(&body)).await?;
    if args.explain {
        say(&serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    show_answer(&answer, args.json, args.color);
    Ok(())
}

/// Prints an answer as records, a table or JSON lines.
pub(super) fn show_answer(answer: &Value, json: bool, colour: Colour) {
    let columns: Vec<String> = names(answer);
    let rows = rows(answer);
    let colour = show::is_coloured(colour);
    if json {
        for row in &rows {
            say(&Value::Object(object(&columns, row)).to_string());
        }
        return;
    }
    if columns.iter().any(|name| name == "message") {
        // Oldest first, so that the newest stands next to the prompt.
        for row in rows.iter().rev() {
            say(&show::record(&object(&columns, row), colour));
        }
    } else {
        let cells = |row: &Vec<Value>| row.iter().map(cell).collect();
        say(show::table(&columns, &rows.iter().map(cells).collect::<Vec<_>>()).trim_end());
    }
    eprintln!("{}", summary(rows.len(), answer));
}

pub(super) fn summary(rows: usize, answer: &Value) -> String {
    let stat = |key: &str| answer.pointer(&format!("/stats/{key}")).cloned().unwrap_or_default();
    let elapsed_ms = stat("elapsed_ms").as_f64().unwrap_or_default();
    let mut text = format!("{rows} rows in {elapsed_ms:.1} ms, {} scanned", stat("rows_scanned"));
    if stat("partial") == Value::Bool(true) {
        text.push_str("; PARTIAL answer");
    }
    for warning in stat("warnings").as_array().into_iter().flatten().filter_map(Value::as_str) {
        text.push_str("\nnote: ");
        text.push_str(warning);
    }
    text
}

pub(super) fn names(answer: &Value) -> Vec<String> {
    let columns = answer.get("columns").and_then(Value::as_array).into_iter().flatten();
    columns.filter_map(|column| column.get("name")?.as_str().map(str::to_owned)).collect()
}

pub(super) fn rows(answer: &Value) -> Vec<Vec<Value>> {
    let rows = answer.get("rows").and_then(Value::as_array).into_iter().flatten();
    rows.filter_map(|row| row.as_array().cloned()).collect()
}

fn object(columns: &[String], row: &[Value]) -> Map<String, Value> {
    columns.iter().cloned().zip(row.iter().cloned()).filter(|(_, value)| !value.is_null()).collect()
}

pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => show::printable(text),
        other => show::printable(&other.to_string()),
    }
}
