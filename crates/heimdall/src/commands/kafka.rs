//! `heimdall kafka produce`: messages to a Kafka topic, to try the door that reads it.

use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, Result, bail};
use heimdall_doors::kafka::{self, ClientTlsConfig, KafkaConfig, Mechanism, SaslConfig};
use heimdall_model::{Clock, SystemClock};
use serde_json::json;

use super::say;
use crate::args::{Login, ProduceArgs};

pub(crate) async fn produce(args: ProduceArgs) -> Result<()> {
    let config = config(&args);
    let messages = messages(&args)?;
    let sent = kafka::produce(&config, &args.topic, messages).await?;
    say(&format!("sent {sent} to {} at {}", args.topic, args.brokers));
    if sent == 0 {
        bail!("there was nothing to send");
    }
    Ok(())
}

fn config(args: &ProduceArgs) -> KafkaConfig {
    let mechanism = match (&args.user, args.sasl) {
        (None, _) => Mechanism::None,
        (Some(_), Login::Plain) => Mechanism::Plain,
        (Some(_), Login::ScramSha256) => Mechanism::ScramSha256,
        (Some(_), Login::ScramSha512) => Mechanism::ScramSha512,
    };
    KafkaConfig {
        brokers: args.brokers.split(',').map(|broker| broker.trim().to_owned()).collect(),
        sasl: SaslConfig {
            mechanism,
            user: args.user.clone().unwrap_or_default(),
            password_file: args.password_file.clone(),
        },
        tls: ClientTlsConfig {
            enabled: args.tls,
            ca_file: args.ca_file.clone(),
            ..ClientTlsConfig::default()
        },
        ..KafkaConfig::default()
    }
}

/// What to send, `count` times.
fn messages(args: &ProduceArgs) -> Result<Box<dyn Iterator<Item = Vec<u8>>>> {
    let count = usize::try_from(args.count).unwrap_or(usize::MAX);
    Ok(match (&args.file, &args.message) {
        (Some(file), _) => {
            let lines = lines(file)?;
            Box::new((0..count).flat_map(move |_| lines.clone()))
        }
        (None, Some(message)) => Box::new(std::iter::repeat_n(message.clone().into_bytes(), count)),
        (None, None) => Box::new((0..count).map(|_| demo_event())),
    })
}

fn lines(file: &Path) -> Result<Vec<Vec<u8>>> {
    let input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let opened =
            std::fs::File::open(file).with_context(|| format!("could not open `{}`", file.display()))?;
        Box::new(std::io::BufReader::new(opened))
    };
    let lines: Vec<Vec<u8>> = input
        .split(b'\n')
        .collect::<Result<_, _>>()
        .with_context(|| format!("could not read `{}`", file.display()))?;
    let lines = lines.into_iter().map(|line| line.strip_suffix(b"\r").map_or(line.clone(), <[u8]>::to_vec));
    Ok(lines.filter(|line| !line.is_empty()).collect())
}

/// What a firewall says when somebody guesses passwords.
fn demo_event() -> Vec<u8> {
    json!({
        "timestamp": SystemClock.now().to_string(),
        "source": "web-firewall",
        "ip": "203.0.113.5",
        "message": "Multiple failed logins detected; possible brute force",
    })
    .to_string()
    .into_bytes()
}
