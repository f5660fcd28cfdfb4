//! `heimdall watch`: the technician console, alerts as they happen, one JSON object a line over TCP.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::say;
use crate::args::WatchArgs;
use crate::show;

/// The server sends a heartbeat every ten seconds; three missed ones are a dead connection.
const SILENCE_MAX: Duration = Duration::from_secs(35);

pub(crate) async fn run(args: WatchArgs) -> Result<()> {
    let stream = TcpStream::connect(&args.address)
        .await
        .with_context(|| format!("no answer from {}; is the server running?", args.address))?;
    let (read, mut write) = stream.into_split();
    let hello = json!({ "token": args.token, "tenant": args.tenant });
    write.write_all(format!("{hello}\n").as_bytes()).await?;
    let colour = show::is_coloured(args.color);
    let mut lines = BufReader::new(read).lines();
    loop {
        let line = timeout(SILENCE_MAX, lines.next_line()).await.context("the server went silent")??;
        let Some(line) = line else { bail!("the server closed the connection") };
        if args.json {
            say(&line);
        }
        let message: Value =
            serde_json::from_str(&line).context("the server sent something else than JSON")?;
        let kind = message.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "goodbye" | "error" => bail!("{}", reason(&message)),
            _ if args.json => {}
            "snapshot" => {
                for alert in message.get("alerts").and_then(Value::as_array).into_iter().flatten().rev() {
                    say(&show::alert(alert, colour));
                }
            }
            "alert" | "delta" => {
                if let Some(alert) = message.get("alert") {
                    say(&show::alert(alert, colour));
                }
            }
            "gap" => eprintln!("-- gap: alerts were skipped because this console fell behind"),
            _ => {}
        }
    }
}

fn reason(message: &Value) -> String {
    let text = ["reason", "detail", "message"].iter().find_map(|key| message.get(*key)?.as_str());
    text.unwrap_or("the server ended the session").to_owned()
}
