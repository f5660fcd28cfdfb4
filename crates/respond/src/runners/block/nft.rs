//! Blocking by nftables: one table of our own with two sets and a chain that drops what is in them.
//!
//! The chain hooks `prerouting`, so that what is forwarded to containers is dropped too. Elements have a timeout of their own: the
//! kernel lifts them even when this process is gone.
//!
//! Invariants:
//! - every script names our table and nothing else; it is applied whole or not at all;
//! - addresses reach a script only as [`IpAddr`] prints them.
//!
//! Source: nft(8), "Sets", "Element statements".

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::action::ActionError;
use crate::runners::config::BlockRunnerConfig;
use crate::runners::deadline::{Deadline, failed, unreachable};
use crate::runners::parameters::one_line;
use crate::runners::{RunnersError, wrong};

const SYSTEM: &str = "nftables";
/// Most addresses a set takes.
const SET_SIZE: usize = 65_535;

pub(super) struct Nft {
    program: PathBuf,
    table: String,
    timeout: Duration,
}

/// How a call of `nft` ended.
struct Said {
    is_success: bool,
    text: String,
}

impl Nft {
    pub(super) fn build(config: &BlockRunnerConfig) -> Result<Nft, RunnersError> {
        let table = &config.nft_table;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let fits = (1..=64).contains(&table.len())
            && table.chars().all(is_plain)
            && table.starts_with(|c: char| c.is_ascii_alphabetic());
        if !fits {
            return Err(wrong("block.nft_table", "must be 1 to 64 letters, digits and `_`, a letter first"));
        }
        if !config.nft_program.is_absolute() {
            return Err(wrong("block.nft_program", "must be an absolute path"));
        }
        if config.addresses_max > SET_SIZE {
            return Err(wrong(
                "block.addresses_max",
                format!("must be at most {SET_SIZE}, the size of a set"),
            ));
        }
        Ok(Nft { program: config.nft_program.clone(), table: table.clone(), timeout: config.timeout })
    }

    /// Whether nftables can be asked.
    pub(super) async fn look(&self, deadline: Deadline) -> Result<(), ActionError> {
        self.listing(deadline).await.map(drop)
    }

    /// Blocks addresses, each for a number of seconds from now; what is there gets its new time.
    pub(super) async fn block(
        &self,
        addresses: &[(IpAddr, i64)],
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        let listing = self.listing(deadline).await?;
        let mut script = self.set_up(&listing);
        for (address, seconds) in addresses {
            let element = self.element(*address);
            // A timeout is set only as an element is added anew.
            let _ = writeln!(script, "add element {element} }}\ndelete element {element} }}");
            let _ = writeln!(script, "add element {element} timeout {seconds}s }}");
        }
        self.apply(&script, deadline).await
    }

    /// Lifts a block; that there is none is as good.
    pub(super) async fn unblock(&self, address: IpAddr, deadline: Deadline) -> Result<(), ActionError> {
        let listing = self.listing(deadline).await?;
        let element = self.element(address);
        let set_up = self.set_up(&listing);
        self.apply(&format!("{set_up}add element {element} }}\ndelete element {element} }}\n"), deadline)
            .await
    }

    /// Whether the set has the address.
    pub(super) async fn has(&self, address: IpAddr, deadline: Deadline) -> Result<bool, ActionError> {
        let set = set_of(address);
        let wanted = format!("{{ {address} }}");
        let said = self.ask(&["get", "element", "inet", &self.table, set, &wanted], deadline).await?;
        if said.is_success || is_absent(&said.text) {
            Ok(said.is_success)
        } else {
            Err(failed(SYSTEM, said.text))
        }
    }

    /// The table without its elements; empty when there is none.
    async fn listing(&self, deadline: Deadline) -> Result<String, ActionError> {
        let said = self.ask(&["-t", "list", "table", "inet", &self.table], deadline).await?;
        match said {
            Said { is_success: true, text } => Ok(text),
            Said { text, .. } if is_absent(&text) => Ok(String::new()),
            Said { text, .. } => Err(failed(SYSTEM, one_line(&text))),
        }
    }

    /// What is missing of table, sets, chain and rules.
    fn set_up(&self, listing: &str) -> String {
        let table = &self.table;
        let mut script = String::new();
        let families = [("blocked4", "ipv4_addr", "ip"), ("blocked6", "ipv6_addr", "ip6")];
        if families.iter().all(|(set, ..)| listing.contains(&format!("@{set}"))) {
            return script;
        }
        let _ = writeln!(script, "add table inet {table}");
        let _ = writeln!(
            script,
            "add chain inet {table} drop_blocked {{ type filter hook prerouting priority -150; policy accept; }}"
        );
        for (set, of, family) in families {
            let _ = writeln!(
                script,
                "add set inet {table} {set} {{ type {of}; flags timeout; size {SET_SIZE}; }}"
            );
            if !listing.contains(&format!("@{set}")) {
                let _ =
                    writeln!(script, "add rule inet {table} drop_blocked {family} saddr @{set} counter drop");
            }
        }
        script
    }

    fn element(&self, address: IpAddr) -> String {
        format!("inet {} {} {{ {address}", self.table, set_of(address))
    }

    async fn apply(&self, script: &str, deadline: Deadline) -> Result<(), ActionError> {
        if script.is_empty() {
            return Ok(());
        }
        let deed = self.call(&["-f", "-"], script);
        let said = deadline.within(self.timeout.max(Duration::from_secs(1))).doing(deed).await?;
        if said.is_success { Ok(()) } else { Err(failed(SYSTEM, one_line(&said.text))) }
    }

    async fn ask(&self, args: &[&str], deadline: Deadline) -> Result<Said, ActionError> {
        deadline.asking(SYSTEM, self.timeout, self.call(args, "")).await
    }

    async fn call(&self, args: &[&str], input: &str) -> Result<Said, ActionError> {
        let mut command = Command::new(&self.program);
        command.args(args).env_clear().env("LC_ALL", "C").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let broken =
            |error: std::io::Error| unreachable(SYSTEM, format!("`{}`: {error}", self.program.display()));
        let mut child = command.spawn().map_err(broken)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ended early says why on its error stream.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(broken)?;
        let is_success = output.status.success();
        let text = if is_success { output.stdout } else { output.stderr };
        Ok(Said { is_success, text: String::from_utf8_lossy(&text).into_owned() })
    }
}

fn set_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "blocked4" } else { "blocked6" }
}

fn is_absent(text: &str) -> bool {
    text.contains("No such file or directory")
}
