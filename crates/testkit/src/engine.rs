//! A Docker engine of our own, whose containers have one program: busybox.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{Command, Running};
use crate::tool::Tool;
use crate::wait::{wait_for, wait_for_within};

/// How long a start may take: an engine on a busy machine needs its time.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A running engine; its containers, its files and itself are gone when it is dropped.
#[derive(Debug)]
pub struct Engine {
    docker: Tool,
    socket: PathBuf,
    daemon: Option<Running>,
    dir: TempDir,
}

impl Engine {
    /// The image there is: its entry point is busybox, and `/www` has a page.
    pub const IMAGE: &str = "test/busybox:1";

    /// Starts one, without networks: containers take the host's.
    ///
    /// # Errors
    /// Why there can be none on this machine.
    pub fn start() -> Result<Engine, String> {
        let find = |name: &str| Tool::find(name).ok_or_else(|| format!("{name} is not installed"));
        let (dockerd, docker, busybox) = (find("dockerd")?, find("docker")?, find("busybox")?);
        if !rustix::process::geteuid().is_root() {
            return Err("dockerd needs root".to_owned());
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let socket = dir.path().join("d.sock");
        let mut daemon = dockerd
            .command()
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
            .start();
        let is_up = wait_for_within(STARTS_WITHIN, "dockerd to start", || {
            let has_ended = !daemon.is_running();
            (has_ended || socket.exists()).then_some(!has_ended)
        });
        if !is_up {
            return Err(format!("dockerd does not start on this machine: {}", daemon.stderr()));
        }
        let engine = Engine { docker, socket, daemon: Some(daemon), dir };
        wait_for("the engine to answer", || engine.docker(&["info"]).ok());
        engine.import(busybox.path());
        Ok(engine)
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What `docker ARGS` says.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn docker(&self, args: &[&str]) -> Result<String, String> {
        let host = format!("unix://{}", self.socket.display());
        let mut command = std::process::Command::new(self.docker.path());
        let output =
            command.args(["-H", &host]).args(args).stdin(Stdio::null()).output().expect("docker runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    /// What `docker ARGS` says. Panics when it fails.
    #[track_caller]
    pub fn must(&self, args: &[&str]) -> String {
        self.docker(args).unwrap_or_else(|text| panic!("docker {args:?}: {text}"))
    }

    fn import(&self, busybox: &Path) {
        let root = self.dir.path().join("rootfs");
        std::fs::create_dir_all(root.join("bin")).expect("a folder");
        std::fs::create_dir_all(root.join("www")).expect("a folder");
        std::fs::copy(busybox, root.join("bin/busybox")).expect("a copy");
        std::fs::write(root.join("www/index.html"), "well\n").expect("a page");
        let tar = self.dir.path().join("rootfs.tar");
        let _ = Command::new("tar").arg("cf").arg(&tar).arg("-C").arg(&root).arg(".").run().expect(0);
        self.must(&[
            "import",
            "-c",
            "ENTRYPOINT [\"/bin/busybox\"]",
            &tar.display().to_string(),
            Self::IMAGE,
        ]);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let ids = self.docker(&["ps", "-aq"]).unwrap_or_default();
        let ids: Vec<&str> = ids.lines().collect();
        if !ids.is_empty() {
            let _ = self.docker(&[&["rm", "-f"], &ids[..]].concat());
        }
        match self.daemon.take() {
            // Whatever went wrong is being told: only make sure that nothing stays.
            Some(daemon) if std::thread::panicking() => drop(daemon),
            Some(daemon) => drop(daemon.terminate()),
            None => {}
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = self.dir.path().display().to_string();
        let paths = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for mount in paths.filter(|path| path.starts_with(&own)) {
            let _ = std::process::Command::new("umount").arg(mount).status();
        }
    }
}
