//! `heimdall silences`: keep quiet about alerts for a while.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::items::{self, Column};
use super::say;
use crate::args::{SilenceAddArgs, SilencesArgs, SilencesCommand};
use crate::client::Client;

const COLUMNS: [Column; 7] = [
    ("id", "/id"),
    ("state", "/state"),
    ("kind", "/kind"),
    ("until", "/ends_at"),
    ("by", "/created_by"),
    ("matchers", "/matchers"),
    ("comment", "/comment"),
];

pub(crate) async fn run(args: SilencesArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    let list = SilencesCommand::List { expired: false, matchers: Vec::new() };
    match args.command.unwrap_or(list) {
        SilencesCommand::List { expired, matchers } => {
            let states = if expired { "pending,active,expired" } else { "pending,active" };
            let filter = matchers.iter().map(|matcher| ("filter", named(matcher)));
            let filter: Vec<_> = filter.chain([("state", states.to_owned())]).collect();
            let page = client.json(client.request(Method::GET, "/api/v1/silences").query(&filter)).await?;
            items::say_page(&page, args.json, &COLUMNS, "no silences");
        }
        SilencesCommand::Add(silence) => {
            let request = client.request(Method::POST, "/api/v1/silences");
            let made = client.json(request.json(&draft(&silence)?)).await?;
            if args.json {
                say(&made.to_string());
            } else {
                say(made.get("id").and_then(Value::as_str).context("the server named no silence")?);
            }
        }
        SilencesCommand::Expire { ids } => {
            for id in ids {
                client.send(client.request(Method::DELETE, &format!("/api/v1/silences/{id}"))).await?;
                eprintln!("expired {id}");
            }
        }
    }
    Ok(())
}

/// A matcher as the API takes it: a bare word is the alert's name, as in amtool.
fn named(matcher: &str) -> String {
    if matcher.contains(['=', '!']) { matcher.to_owned() } else { format!("alertname={matcher}") }
}

fn draft(args: &SilenceAddArgs) -> Result<Value> {
    let weekdays = args.weekdays.iter().map(|days| days_of(days)).collect::<Result<Vec<_>>>()?.concat();
    let recurrence = args
        .from
        .as_ref()
        .map(|from| json!({ "weekdays": weekdays, "from": from, "to": args.to, "zone": args.zone }));
    Ok(json!({
        "kind": if args.maintenance { "maintenance" } else { "silence" },
        "matchers": args.matchers.iter().map(|matcher| named(matcher)).collect::<Vec<_>>(),
        "starts_at": args.start,
        "ends_at": args.end,
        "for": if args.end.is_none() { Some(&args.period) } else { None },
        "recurrence": recurrence,
        "created_by": args.author,
        "comment": args.comment,
    }))
}

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The days of `mon`, or of `sat-sun`, by their whole names.
fn days_of(text: &str) -> Result<Vec<&'static str>> {
    let day = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        let found = DAYS.iter().position(|day| name.len() >= 2 && day.starts_with(&name));
        found.with_context(|| format!("`{text}` is no day such as mon, nor days such as sat-sun"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (day(first)?, day(last)?);
    let count = (last + DAYS.len() - first) % DAYS.len() + 1;
    Ok(DAYS.iter().cycle().skip(first).take(count).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_short_and_go_round_the_week() {
        assert_eq!(days_of("mon").unwrap(), ["monday"]);
        assert_eq!(days_of("Sat-mon").unwrap(), ["saturday", "sunday", "monday"]);
        assert!(days_of("x").is_err() && days_of("t").is_err());
    }

    #[test]
    fn a_bare_word_is_the_name_of_the_alert() {
        assert_eq!(named("InstanceDown"), "alertname=InstanceDown");
        assert_eq!(named("a!~b"), "a!~b");
    }
}
