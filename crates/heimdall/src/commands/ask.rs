//! `heimdall ask`: a question in plain words, with the search line that it was understood as.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::say;
use super::search;
use crate::args::AskArgs;
use crate::client::Client;

pub(crate) async fn run(args: AskArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    let body = json!({
        "query": args.question.join(" "),
        "language": "ask",
        "zone": args.zone,
        "limit": args.limit,
        "explain": args.explain,
    });
    let answer = client.json(client.request(Method::POST, "/api/v1/query").json(&body)).await?;
    if args.explain {
        say(&serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    eprintln!("{}", understood(&answer["compiled"]));
    search::show_answer(&answer, args.json, args.color);
    Ok(())
}

/// What a question was understood as, in lines for people.
fn understood(compiled: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let time = |key: &str| compiled[key].as_str().unwrap_or("…").to_owned();
    let mut lines = vec![
        format!("search: {}", text(&compiled["query"])),
        format!("time:   {} to {}", time("from"), time("to")),
    ];
    for part in compiled["because"].as_array().into_iter().flatten() {
        let (words, means) = (text(&part["words"]), text(&part["means"]));
        lines.push(if words.is_empty() { format!("  ({means})") } else { format!("  `{words}`: {means}") });
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_understood_is_said_part_by_part() {
        let compiled = json!({
            "query": "level>=error", "from": "2026-11-27T14:30:00Z", "to": null,
            "because": [
                { "words": "errors", "kind": "level", "means": "level>=error" },
                { "words": "", "kind": "time", "means": "no time is named: the last hour" },
            ],
        });
        assert_eq!(
            understood(&compiled),
            "search: level>=error\ntime:   2026-11-27T14:30:00Z to …\n  `errors`: level>=error\n  (no time is named: the last hour)"
        );
    }
}
