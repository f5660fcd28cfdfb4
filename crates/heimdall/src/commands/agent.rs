//! `heimdall agent`: watches this host; configuration, rules, signals, and the agent.

mod medic;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use heimdall_agent::{Agent, AgentConfig, AgentStatus};
use tokio_util::sync::CancellationToken;

use super::{say, serve};
use crate::args::AgentArgs;
use crate::config::LogConfig;
use crate::rule_files;
use medic::HealingConfig;

/// Read when it exists and no other is named.
const CONFIG_FILE: &str = "heimdall-agent.toml";
/// Beside the buffer: how the agent is doing, for people and for `cat`.
const STATUS_FILE: &str = "status.json";
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Settings of the allocator under which a small process stays small: what is freed goes back to the system at once. They are
/// read before `main`, so they can only be given by whoever starts the process.
const ALLOCATOR: [(&str, &str); 2] = [("MIMALLOC_PURGE_DELAY", "0"), ("MIMALLOC_ARENA_EAGER_COMMIT", "0")];

/// Starts this program anew in its own place (the process stays the same) with the allocator's settings, unless it has them.
fn stay_small() {
    let unset = || ALLOCATOR.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    if unset().next().is_none() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).envs(unset()).exec();
    // It goes on as it is, larger.
    eprintln!("heimdall agent: could not start anew with less memory: {error}");
}

pub(crate) async fn run(args: AgentArgs) -> Result<()> {
    stay_small();
    let (config, healing) = load(&args)?;
    if args.print_config {
        say(toml::to_string_pretty(&config)?.trim_end());
        say(&format!("\n{}", toml::to_string_pretty(&healing)?.trim_end()));
        return Ok(());
    }
    serve::init_log(&LogConfig { level: args.log_level.clone(), ..LogConfig::default() })?;
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "transparent huge pages stay on; more memory is used");
    }
    let files = rules(args.rules_dir.as_deref())?;
    for error in rule_files::parse(&files).1 {
        tracing::warn!(%error, "rule left out");
    }
    let data_dir = config.data_dir.clone();
    let shutdown = CancellationToken::new();
    let mut builder = Agent::builder();
    let mut infirmary = None;
    if config.recovery.enabled {
        let (medic, beside) = medic::open(&data_dir, &healing).context("could not set up healing")?;
        builder = builder.healer(medic);
        infirmary = Some(tokio::spawn(beside.run(shutdown.clone())));
    }
    let agent = builder.config(config).rules(move || rule_files::parse(&files).0).build()?;
    serve::end_on_signal(shutdown.clone())?;
    agent.start().await?;
    tracing::info!(data_dir = %data_dir.display(), "the agent watches this host");
    let mut ticks = tokio::time::interval(STATUS_EVERY);
    while tokio::select! {
        () = shutdown.cancelled() => false,
        _ = ticks.tick() => true,
    } {
        tell(&data_dir, &agent.status()).await;
    }
    let stopped = agent.stop().await;
    if let Some(infirmary) = infirmary {
        infirmary.await?;
    }
    tell(&data_dir, &agent.status()).await;
    Ok(stopped?)
}

/// Puts the status in the place of the one before.
async fn tell(data_dir: &Path, status: &AgentStatus) {
    let written = async {
        let beside = data_dir.join("status.new");
        tokio::fs::write(&beside, serde_json::to_vec_pretty(status)?).await?;
        tokio::fs::rename(&beside, data_dir.join(STATUS_FILE)).await?;
        anyhow::Ok(())
    };
    if let Err(error) = written.await {
        tracing::warn!(%error, "the status cannot be written");
    }
}

/// Sections of the file that say what may be done about findings; the rest is the agent's own.
const HEALING: [&str; 2] = ["respond", "runners"];

/// Defaults < file < environment and flags.
fn load(args: &AgentArgs) -> Result<(AgentConfig, HealingConfig)> {
    let default = Some(PathBuf::from(CONFIG_FILE)).filter(|path| path.exists());
    let (mut config, healing) = match args.config.clone().or(default) {
        None => (AgentConfig::default(), HealingConfig::default()),
        Some(path) => read(&path)?,
    };
    healing.respond.check()?;
    if let Some(url) = &args.url {
        config.server.url = Some(url.clone());
    }
    if let Some(token) = &args.token {
        (config.server.token, config.server.token_file) = (Some(token.clone()), None);
    }
    if let Some(dir) = &args.data_dir {
        config.data_dir.clone_from(dir);
    }
    config.check()?;
    Ok((config, healing))
}

/// Reads a configuration file; what cannot be used is named with its line where that is known.
fn read(path: &Path) -> Result<(AgentConfig, HealingConfig)> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
    // The message alone: the line it is about may hold the token.
    let fault = |error: toml::de::Error| {
        let line = error
            .span()
            .map_or(String::new(), |span| format!(", line {}", 1 + text[..span.start].matches('\n').count()));
        anyhow::anyhow!("`{}`{line}: {}", path.display(), error.message())
    };
    let mut own: toml::Table = text.parse().map_err(fault)?;
    let healing: toml::Table = HEALING.iter().filter_map(|name| own.remove_entry(*name)).collect();
    if healing.is_empty() {
        // Read as a whole: faults are then told with their line.
        return Ok((toml::from_str(&text).map_err(fault)?, HealingConfig::default()));
    }
    Ok((own.try_into().map_err(fault)?, healing.try_into().map_err(fault)?))
}

fn rules(dir: Option<&Path>) -> Result<rule_files::Files> {
    let mut files = rule_files::built_in();
    if let Some(dir) = dir {
        files.extend(
            rule_files::read(&[dir.to_owned()]).with_context(|| format!("rules in `{}`", dir.display()))?,
        );
    }
    Ok(files)
}
