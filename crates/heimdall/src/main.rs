//! The Heimdall binary: arguments, configuration, wiring, signals; nothing else.
//!
//! - [`args`]: the command line; [`config`]: the server's configuration and its origins
//! - [`server`]: builds the parts and runs them; [`herald`]: carries findings from the stream to alerts and audit files
//! - [`tuning`]: detectors as people want them; [`rulebook`]: the rules in force, from everywhere they come from
//! - [`machine`]: what of it is in use
//! - [`child`]: a server in a process of its own, for benches
//! - [`commands`]: one module per command; [`client`], [`show`]: talking to a server, and to a person
//! - [`rule_files`]: where rules come from; [`telemetry`]: what the metrics mean

mod args;
mod child;
mod client;
mod commands;
mod config;
mod herald;
mod local;
mod machine;
mod people;
mod reference;
mod response;
mod rule_files;
mod rulebook;
mod scout;
mod server;
mod show;
mod telemetry;
mod tuning;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long freed memory is kept before it goes back to the system, ms. At the allocator's own second a fifth of what a busy server
/// takes is memory it has just freed (docs/design/2026-11-28-a-billion-again.md); at a tenth of it processors pay 3 % more.
const PURGE_DELAY_MS: std::ffi::c_long = 100;

/// Tells the allocator, unless whoever starts the program has (`MIMALLOC_PURGE_DELAY`).
#[expect(unsafe_code, reason = "the allocator cannot be told otherwise")]
fn tune_allocator() {
    /// `mi_option_purge_delay` of mimalloc 3 (its `mimalloc.h`).
    const PURGE_DELAY: std::ffi::c_int = 15;
    unsafe extern "C" {
        fn mi_option_set(option: std::ffi::c_int, value: std::ffi::c_long);
    }
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: the function is that of the allocator linked in, which reads this number of milliseconds anew at every purge.
        unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
    }
}

fn main() -> ExitCode {
    tune_allocator();
    let cli = Cli::parse();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("heimdall: another TLS provider is installed already");
    }
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heimdall: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Batch(task) => return commands::batch::run(task),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "heimdall", &mut out);
            commands::say(String::from_utf8_lossy(&out).trim_end());
            return Ok(());
        }
        Command::ConfigReference => {
            commands::say(reference::markdown().trim_end());
            return Ok(());
        }
        _ => {}
    }
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(run_async(command));
    runtime.shutdown_background();
    outcome
}

/// Connections and segments are file descriptors: takes as many as the process may have.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("heimdall: the limit of open files stays at {:?}: {error}", limit.current);
    }
}

async fn run_async(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => commands::serve::run(&args).await,
        Command::Agent(args) => commands::agent::run(args).await,
        Command::Demo(args) => commands::demo::run(args).await,
        Command::Generate(args) => commands::generate::run(args).await,
        Command::Ingest(args) => commands::ingest::run(args).await,
        Command::Kafka(args::KafkaCommand::Produce(args)) => commands::kafka::produce(args).await,
        Command::Search(args) => commands::search::run(args).await,
        Command::Ask(args) => commands::ask::run(args).await,
        Command::Sql(args) => commands::sql::run(args).await,
        Command::Tail(args) => commands::tail::run(args).await,
        Command::Watch(args) => commands::watch::run(args).await,
        Command::Alerts(args) => commands::alerts::run(args).await,
        Command::Incidents(args) => commands::incidents::run(args).await,
        Command::Silences(args) => commands::silences::run(args).await,
        Command::Dashboards(args) => commands::dashboards::run(args).await,
        Command::Notifications(args) => commands::notifications::run(args).await,
        Command::Actions(args) => commands::actions::run(args).await,
        Command::Token(command) => commands::token::run(command).await,
        Command::Bench(command) => commands::bench::run(command).await,
        Command::Rules(command) => commands::rules::run(command).await,
        Command::Pipeline(command) => commands::pipeline::run(command).await,
        Command::DeadLetters(command) => commands::dead_letters::run(command).await,
        Command::Storage(command) => commands::storage::run(command).await,
        Command::Status(remote) => commands::status::run(remote).await,
        Command::Batch(_) | Command::Completions { .. } | Command::ConfigReference => {
            unreachable!("handled without a runtime")
        }
    }
}
