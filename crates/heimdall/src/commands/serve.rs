//! `heimdall serve`: configuration, logging, signals, the server.

use std::io::IsTerminal;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use toml::Value;
use tracing_subscriber::EnvFilter;

use super::say;
use crate::args::ServeArgs;
use crate::config::{self, Loaded, LogConfig, LogFormat, Overrides};
use crate::server::Server;

pub(crate) async fn run(args: &ServeArgs) -> Result<()> {
    let loaded = load(args)?;
    if args.print_config {
        say(loaded.print().trim_end());
        return Ok(());
    }
    init_log(&loaded.config.log)?;
    use_small_pages();
    let shutdown = CancellationToken::new();
    end_on_signal(shutdown.clone())?;
    Server::build(&loaded.config, shutdown).await?.run().await
}

/// The effective configuration of these arguments.
pub(crate) fn load(args: &ServeArgs) -> Result<Loaded> {
    let env: Vec<(String, String)> = std::env::vars().collect();
    Ok(config::load(args.config.as_deref(), &env, overrides(args))?)
}

fn overrides(args: &ServeArgs) -> Overrides {
    let text = |value: &dyn std::fmt::Display| Value::String(value.to_string());
    let mut set: Overrides = Vec::new();
    if let Some(dir) = &args.data_dir {
        set.push(("server.data_dir", text(&dir.display())));
    }
    if let Some(address) = &args.listen {
        set.push(("server.listen", text(address)));
    }
    if let Some(address) = &args.watch_listen {
        set.push(("server.watch_listen", text(address)));
    }
    if args.auth {
        set.push(("auth.enabled", Value::Boolean(true)));
    }
    if let Some(dir) = &args.rules_dir {
        set.push(("alerts.rules_dir", text(&dir.display())));
    }
    if let Some(level) = &args.log_level {
        set.push(("log.level", text(level)));
    }
    if let Some(format) = args.log_format {
        let name = match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        set.push(("log.format", text(&name)));
    }
    set
}

/// Asks for pages of the usual size: buffers come and go many times a second, and the kernel would clear 2 MiB for each.
fn use_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "transparent huge pages stay on; more memory is used");
    }
}

/// Sends our own log to standard error.
pub(crate) fn init_log(config: &LogConfig) -> Result<()> {
    let filter = EnvFilter::try_new(&config.level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let outcome = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    outcome.map_err(|error| anyhow::anyhow!("{error}"))
}

/// Fires `shutdown` on SIGTERM or SIGINT; a second signal ends the process at once.
pub(crate) fn end_on_signal(shutdown: CancellationToken) -> Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        for times in 1.. {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if times > 1 {
                std::process::exit(130);
            }
            shutdown.cancel();
        }
    });
    Ok(())
}
