//! Real containers beside the simulated company, for `heimdall demo --docker`: made, broken in turn, healed by a playbook, and
//! removed at the end.
//!
//! Invariant: only containers of this demo are touched; their names begin with [`PREFIX`], and those of an earlier demo that
//! was killed are removed first.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use heimdall_agent::{Agent, AgentConfig};
use heimdall_respond::runners::RunnersConfig;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::say;
use crate::args::DemoArgs;

/// How names of the demo's containers begin.
pub(super) const PREFIX: &str = "heimdall-demo-";
/// Containers made.
const COUNT: usize = 3;
/// Time between two of them being broken.
const BREAK_EVERY: Duration = Duration::from_secs(25);
/// Longest time one command of Docker may take: an image may have to be fetched.
const COMMAND_MAX: Duration = Duration::from_secs(180);
/// How they are broken, in turn: killed, made to hang, stopped.
const WAYS: [(&str, &[&str]); 3] = [
    ("is killed", &["kill", "-s", "KILL"]),
    ("hangs", &["kill", "-s", "STOP"]),
    ("is stopped by mistake", &["stop", "-t", "1"]),
];

/// Lets the runners touch these containers, and no others.
pub(super) fn allow(runners: &mut RunnersConfig, socket: &Path) {
    runners.docker.enabled = true;
    runners.docker.endpoint = socket.display().to_string();
    runners.docker.allow = vec![format!("{PREFIX}*")];
    runners.docker.stop_grace = Duration::from_secs(1);
}

/// The demo's containers.
pub(super) struct Containers {
    host: String,
    endpoints: Vec<(String, SocketAddr)>,
}

impl Containers {
    /// Makes them; each serves a page on a loopback port.
    pub(super) async fn start(args: &DemoArgs) -> Result<Containers> {
        let mut made =
            Containers { host: format!("unix://{}", args.docker_socket.display()), endpoints: Vec::new() };
        made.remove().await.context("Docker does not answer; `--docker` needs it and the right to use it")?;
        for n in 1..=COUNT {
            let (name, address) = (format!("{PREFIX}web-{n}"), free_port()?);
            let serve =
                format!("mkdir -p /www && echo well > /www/index.html && exec httpd -f -p {address} -h /www");
            made.docker(&[
                "run",
                "-d",
                "--name",
                &name,
                "--network",
                "host",
                &args.docker_image,
                "sh",
                "-c",
                &serve,
            ])
            .await?;
            made.endpoints.push((name, address));
        }
        Ok(made)
    }

    async fn docker(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("docker");
        let run =
            command.args(["-H", &self.host]).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(COMMAND_MAX, run).await.context("docker did not end")??;
        if !output.status.success() {
            bail!("docker {}: {}", args[0], String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Removes them, and what an earlier demo left.
    pub(super) async fn remove(&self) -> Result<()> {
        let filter = format!("name=^{PREFIX}");
        let ids = self.docker(&["ps", "-aq", "--filter", &filter]).await?;
        let ids: Vec<&str> = ids.lines().collect();
        if !ids.is_empty() {
            self.docker(&[&["rm", "-f"], &ids[..]].concat()).await?;
        }
        Ok(())
    }

    /// An agent that probes them and tells the server.
    pub(super) fn agent(&self, server: &str, token: Option<&str>, data_dir: &Path) -> Result<Agent> {
        let endpoint = |(name, address): &(String, SocketAddr)| {
            format!("{{ url = \"http://{address}/\", name = \"{name}\", interval = 0.5, timeout = 0.4 }}")
        };
        let endpoints: Vec<String> = self.endpoints.iter().map(endpoint).collect();
        let mut config: AgentConfig = toml::from_str(&format!(
            "log_file = \"\"\n[monitor]\ndocker_socket = \"\"\napi_endpoints = [{}]\n[detector]\nenabled = false\n",
            endpoints.join(", ")
        ))?;
        config.data_dir = data_dir.join("agent");
        config.server.url = Some(server.to_owned());
        config.server.token = token.map(str::to_owned);
        Ok(Agent::builder().config(config).build()?)
    }

    /// Breaks one after the other until told to stop.
    pub(super) async fn suffer(&self, shutdown: CancellationToken) {
        for n in 0.. {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(BREAK_EVERY) => {}
            }
            let (name, _) = &self.endpoints[n % self.endpoints.len()];
            let (what, how) = WAYS[n % WAYS.len()];
            match self.docker(&[how, &[name.as_str()]].concat()).await {
                Ok(_) => say(&format!("          container {name} {what}")),
                // It may be in the middle of being healed.
                Err(error) => tracing::warn!(%error, container = name, "could not be broken"),
            }
        }
    }
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
