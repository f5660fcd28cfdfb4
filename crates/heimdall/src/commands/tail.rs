//! `heimdall tail`: records as they arrive, over server-sent events.

use anyhow::{Result, bail};
use futures::StreamExt;
use reqwest::Method;
use serde_json::Value;

use super::say;
use crate::args::TailArgs;
use crate::client::Client;
use crate::show;

/// Longest event accepted: a record of the largest size, escaped.
const EVENT_BYTES_MAX: usize = 8 << 20;

pub(crate) async fn run(args: TailArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    let request = client
        .request(Method::GET, "/api/v1/tail")
        .query(&[("query", args.query.as_str())])
        .header("Accept", "text/event-stream");
    let mut chunks = client.send(request).await?.bytes_stream();
    let colour = show::is_coloured(args.color);
    let mut buffer = Vec::new();
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(chunk) = chunks.next().await else { bail!("the server closed the stream") };
        buffer.extend_from_slice(&chunk?);
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = buffer.drain(..end + 2).collect();
            if left > 0 && show_event(&String::from_utf8_lossy(&event), args.json, colour) {
                left -= 1;
            }
        }
        if buffer.len() > EVENT_BYTES_MAX {
            bail!("the server sent an event of more than {EVENT_BYTES_MAX} bytes");
        }
    }
    Ok(())
}

/// Shows one event; whether it was a record.
fn show_event(event: &str, json: bool, colour: bool) -> bool {
    let field = |name: &str| {
        let values = event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>().join("\n")
    };
    let (kind, data) = (field("event"), field("data"));
    match (kind.as_str(), serde_json::from_str(&data)) {
        ("gap", _) => {
            eprintln!("-- gap: records were skipped because this listener fell behind: {data}");
            false
        }
        ("" | "record" | "message", Ok(Value::Object(record))) => {
            if json {
                say(&data);
            } else {
                say(&show::record(&record, colour));
            }
            true
        }
        _ => false,
    }
}
