//! One module per command of the program.

pub(crate) mod actions;
pub(crate) mod agent;
pub(crate) mod alerts;
pub(crate) mod ask;
pub(crate) mod backtest;
pub(crate) mod batch;
pub(crate) mod bench;
pub(crate) mod dashboards;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod generate;
pub(crate) mod incidents;
pub(crate) mod ingest;
mod items;
pub(crate) mod kafka;
pub(crate) mod notifications;
pub(crate) mod pipeline;
pub(crate) mod rules;
pub(crate) mod search;
pub(crate) mod serve;
pub(crate) mod silences;
pub(crate) mod sql;
pub(crate) mod status;
pub(crate) mod storage;
pub(crate) mod tail;
pub(crate) mod token;
pub(crate) mod verify;
pub(crate) mod watch;

use std::io::{ErrorKind, Write};

/// Writes a line to standard output; a reader that has gone away ends the program quietly, as in `| head`.
pub(crate) fn say(line: &str) {
    put(format!("{line}\n").as_bytes());
}

/// Writes bytes to standard output, as [`say`] does a line.
pub(crate) fn put(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush())
        && error.kind() == ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}
