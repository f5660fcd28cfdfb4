//! Blocks over time and restarts; nftables in a network namespace of its own, where that can be made.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::*;
use crate::runners::testing::{
    HttpStandIn, Told, manual_clock, ports, program, skip, store, wait_for, webhooks,
};

const SOON: Duration = Duration::from_secs(20);

fn to_file(path: &Path) -> BlockRunnerConfig {
    BlockRunnerConfig { enabled: true, file: Some(path.to_owned()), ..BlockRunnerConfig::default() }
}

fn build(config: &BlockRunnerConfig, ports: &RunnerPorts) -> Blocks {
    Blocks::build(config, ports, &webhooks("http://127.0.0.1:9/")).unwrap()
}

fn block(address: &str) -> Action {
    action("block.ip", address, [("ttl", "10m".into()), ("reason", "brute force".into())])
}

fn unblock(address: &str) -> Action {
    action("unblock.ip", address, [])
}

#[tokio::test]
async fn addresses_of_ours_and_of_those_never_to_be_blocked_are_refused() {
    let (dir, store) = store();
    let mut config = to_file(&dir.path().join("deny.conf"));
    config.never = vec!["198.51.100.0/24".to_owned(), "2001:db8:5::/48".to_owned()];
    let runner = BlockRunner::new(build(&config, &ports(store.clone(), manual_clock())));
    let check = |address: &str, is_taken: bool| {
        assert_eq!(runner.describe(&block(address)).is_ok(), is_taken, "{address}");
    };
    for never in [
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "fd00::1",
        "fe80::1",
        "198.51.100.7",
        "2001:db8:5::9",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "203.0.113.0/24",
        "example.org",
        "203.0.113.5; flush ruleset",
    ] {
        check(never, false);
    }
    check("203.0.113.5", true);
    check("2001:db8:6::9", true);
    let long = action("block.ip", "203.0.113.5", [("ttl", "8d".into())]);
    assert!(runner.describe(&long).is_err(), "never longer than `ttl_max`");
    config.allow_private = true;
    let runner = BlockRunner::new(build(&config, &ports(store, manual_clock())));
    assert!(runner.describe(&block("10.1.2.3")).is_ok() && runner.describe(&block("127.0.0.1")).is_err());
}

#[tokio::test]
async fn a_block_is_written_survives_a_restart_and_ends() {
    let (dir, store) = store();
    let clock = manual_clock();
    let ports = ports(store, clock.clone());
    let path = dir.path().join("deny.conf");
    let config = to_file(&path);
    let lines =
        || std::fs::read_to_string(&path).unwrap().lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let runner = BlockRunner::new(build(&config, &ports));
    assert_eq!(runner.progress(&block("203.0.113.5"), Timestamp(0), SOON).await, Ok(Progress::NotDone));
    let outcome = runner.run(&block("203.0.113.5"), SOON).await.unwrap();
    assert_eq!(outcome.inverse, Some(unblock("203.0.113.5")));
    runner.run(&block("::ffff:203.0.113.6"), SOON).await.unwrap();
    assert_eq!(lines(), ["deny 203.0.113.5;", "deny 203.0.113.6;"]);
    let outcome = runner.run(&unblock("203.0.113.6"), SOON).await.unwrap();
    assert_eq!(outcome.inverse.unwrap().with["ttl"], 600);

    std::fs::remove_file(&path).unwrap();
    let blocks = build(&config, &ports);
    blocks.resume().await.unwrap();
    assert_eq!(lines(), ["deny 203.0.113.5;"]);
    let runner = BlockRunner::new(blocks.clone());
    assert_eq!(runner.progress(&block("203.0.113.5"), Timestamp(0), SOON).await, Ok(Progress::Done));

    clock.advance(Duration::from_secs(601));
    blocks.tick().await.unwrap();
    assert!(lines().is_empty() && build(&config, &ports).list().is_empty());
}

#[tokio::test]
async fn what_cannot_be_made_to_hold_is_not_kept_and_more_than_the_limit_is_refused() {
    let (dir, store) = store();
    let ports = ports(store, manual_clock());
    let blocks = build(&to_file(&dir.path().join("none/deny.conf")), &ports);
    let address = "203.0.113.5".parse().unwrap();
    assert!(blocks.block(address, SOON, "", SOON).await.is_err());
    assert!(blocks.list().is_empty());

    let mut config = to_file(&dir.path().join("deny.conf"));
    config.addresses_max = 1;
    let blocks = build(&config, &ports);
    blocks.block(address, SOON, "", SOON).await.unwrap();
    assert!(blocks.block("203.0.113.6".parse().unwrap(), SOON, "", SOON).await.is_err());
    blocks.block(address, SOON, "again", SOON).await.unwrap();
    assert_eq!(blocks.get(address).unwrap().reason, "again");
}

#[tokio::test]
async fn a_webhook_is_told_of_blocks_and_their_end() {
    let (_dir, store) = store();
    let clock = manual_clock();
    let server = HttpStandIn::start(|_| (200, String::new())).await;
    let config =
        BlockRunnerConfig { enabled: true, webhook: Some("hook".to_owned()), ..BlockRunnerConfig::default() };
    let blocks = Blocks::build(&config, &ports(store, clock.clone()), &webhooks(&server.url("/"))).unwrap();
    BlockRunner::new(blocks.clone()).run(&block("203.0.113.5"), SOON).await.unwrap();
    clock.advance(Duration::from_secs(601));
    blocks.tick().await.unwrap();
    let told: Vec<Told> =
        server.requests().iter().map(|it| serde_json::from_str(&it.body).unwrap()).collect();
    let [blocked, unblocked] = &told[..] else { panic!("two calls: {told:?}") };
    assert_eq!((blocked.kind.as_str(), &blocked.with["ttl"]), ("block.ip", &600.into()));
    assert_eq!((unblocked.kind.as_str(), unblocked.target.as_str()), ("unblock.ip", "203.0.113.5"));
}

/// A network namespace held open by a process, and `nft` as a script that runs inside.
struct Namespace {
    holder: Child,
    nft: PathBuf,
    _dir: tempfile::TempDir,
}

impl Namespace {
    fn make() -> Result<Namespace, &'static str> {
        let nft = program("nft").ok_or("nftables is not installed")?;
        let (unshare, nsenter) =
            program("unshare").zip(program("nsenter")).ok_or("util-linux is not installed")?;
        let dir = tempfile::tempdir().unwrap();
        let holder = Command::new(unshare)
            .args(["-n", "sleep", "600"])
            .spawn()
            .map_err(|_| "unshare does not start")?;
        let script = dir.path().join("nft");
        let text =
            format!("#!/bin/sh\nexec {} -t {} -n {} \"$@\"\n", nsenter.display(), holder.id(), nft.display());
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut namespace = Namespace { holder, nft: script, _dir: dir };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let is_apart = wait_for("a network namespace", || {
            if namespace.holder.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let theirs = std::fs::read_link(format!("/proc/{}/ns/net", namespace.holder.id())).ok()?;
            (theirs != own).then_some(true)
        });
        if !is_apart || !namespace.nft(&["list", "ruleset"]).0 {
            return Err("nftables in a network namespace needs root");
        }
        Ok(namespace)
    }

    fn nft(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new(&self.nft).args(args).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[tokio::test]
async fn nftables_drops_blocked_addresses_for_their_time_and_other_tables_are_left_alone() {
    let namespace = match Namespace::make() {
        Ok(namespace) => namespace,
        Err(why) => skip!("blocking by nftables: {why}"),
    };
    assert!(namespace.nft(&["add", "table", "inet", "other"]).0);
    let (_dir, store) = store();
    let clock = manual_clock();
    let ports = ports(store, clock.clone());
    let config = BlockRunnerConfig {
        enabled: true,
        nftables: true,
        nft_program: namespace.nft.clone(),
        ..BlockRunnerConfig::default()
    };
    let runner = BlockRunner::new(build(&config, &ports));
    runner.look(&block("203.0.113.5"), SOON).await.unwrap();
    assert!(!namespace.nft(&["list", "table", "inet", "heimdall"]).0, "looking changes nothing");
    assert_eq!(runner.progress(&block("203.0.113.5"), Timestamp(0), SOON).await, Ok(Progress::NotDone));
    for address in ["203.0.113.5", "2001:db8:6::9"] {
        runner.run(&block(address), SOON).await.unwrap();
        runner.run(&block(address), SOON).await.unwrap();
        assert_eq!(runner.progress(&block(address), Timestamp(0), SOON).await, Ok(Progress::Done));
    }
    let table = namespace.nft(&["list", "table", "inet", "heimdall"]).1;
    assert!(
        table.contains("203.0.113.5 timeout 10m") && table.contains("2001:db8:6::9 timeout 10m"),
        "{table}"
    );
    assert_eq!(table.matches("saddr @blocked").count(), 2, "one rule a family: {table}");

    // As after a reboot: what was blocked is there again, with the time it has left.
    assert!(namespace.nft(&["delete", "table", "inet", "heimdall"]).0);
    clock.advance(Duration::from_secs(300));
    let blocks = build(&config, &ports);
    blocks.tick().await.unwrap();
    let table = namespace.nft(&["list", "table", "inet", "heimdall"]).1;
    assert!(table.contains("203.0.113.5 timeout 5m"), "{table}");
    let runner = BlockRunner::new(blocks.clone());
    runner.run(&unblock("203.0.113.5"), SOON).await.unwrap();
    runner.run(&unblock("203.0.113.5"), SOON).await.unwrap();
    assert_eq!(runner.progress(&unblock("203.0.113.5"), Timestamp(0), SOON).await, Ok(Progress::Done));
    clock.advance(Duration::from_secs(301));
    blocks.tick().await.unwrap();
    let rules = namespace.nft(&["list", "ruleset"]).1;
    assert!(!rules.contains("2001:db8") && rules.contains("table inet other"), "{rules}");
}

#[tokio::test]
async fn an_nft_that_is_not_there_or_hangs_is_unreachable_in_time() {
    let (dir, store) = store();
    let hanging = dir.path().join("nft");
    std::fs::write(&hanging, "#!/bin/sh\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&hanging, std::fs::Permissions::from_mode(0o755)).unwrap();
    for nft_program in [hanging, dir.path().join("none")] {
        let config = BlockRunnerConfig { nftables: true, nft_program, ..BlockRunnerConfig::default() };
        let blocks = build(&config, &ports(store.clone(), manual_clock()));
        let error = BlockRunner::new(blocks)
            .run(&block("203.0.113.5"), Duration::from_millis(300))
            .await
            .unwrap_err();
        assert!(matches!(error, ActionError::Unreachable { .. }), "{error}");
    }
}
