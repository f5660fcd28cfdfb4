//! With a real Docker engine of its own, on the host's network, with an image made of busybox.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::*;
use crate::runners::parameters::action;
use crate::runners::testing::{Served, black_hole, closed_port, now, program, skip, wait_for};

const SOON: Duration = Duration::from_secs(60);

fn config(endpoint: &str) -> DockerRunnerConfig {
    DockerRunnerConfig {
        enabled: true,
        endpoint: endpoint.to_owned(),
        allow: vec!["web".to_owned(), "shop-*".to_owned(), "crash".to_owned()],
        stop_grace: Duration::from_secs(1),
        timeout: Duration::from_secs(20),
        replicas_max: 3,
        ..DockerRunnerConfig::default()
    }
}

fn runner(config: &DockerRunnerConfig) -> DockerRunner {
    DockerRunner::new(Arc::new(Engine::build(config).unwrap()))
}

/// An engine whose containers, mounts and process are gone when it is dropped.
struct Dockerd {
    socket: PathBuf,
    process: Served,
    dir: tempfile::TempDir,
}

impl Dockerd {
    fn start() -> Result<Dockerd, &'static str> {
        let dockerd = program("dockerd").ok_or("docker.io is not installed")?;
        let busybox = program("busybox").ok_or("busybox-static is not installed")?;
        if !rustix::process::geteuid().is_root() {
            return Err("dockerd needs root");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let socket = dir.path().join("d.sock");
        let mut command = Command::new(dockerd);
        command.arg("--host").arg(format!("unix://{}", socket.display()));
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        command.args(["--bridge", "none", "--iptables=false", "--ip6tables=false"]);
        let mut process = Served::start(&mut command, &dir.path().join("log"));
        let is_up = wait_for("dockerd", || {
            let ended = process.0.try_wait().unwrap().is_some();
            (ended || socket.exists()).then_some(!ended)
        });
        if !is_up {
            return Err("dockerd does not start on this machine");
        }
        let dockerd = Dockerd { socket, process, dir };
        wait_for("the engine", || dockerd.docker(&["info"]).0.then_some(()));
        let rootfs = dockerd.dir.path().join("rootfs/bin");
        std::fs::create_dir_all(&rootfs).unwrap();
        std::fs::copy(busybox, rootfs.join("busybox")).unwrap();
        let tar = dockerd.dir.path().join("rootfs.tar");
        let packed = Command::new("tar")
            .arg("cf")
            .arg(&tar)
            .arg("-C")
            .arg(dockerd.dir.path().join("rootfs"))
            .arg(".")
            .status();
        assert!(packed.unwrap().success());
        let import = dockerd.docker(&[
            "import",
            "-c",
            "ENTRYPOINT [\"/bin/busybox\"]",
            &tar.display().to_string(),
            "hd/bb:1",
        ]);
        assert!(import.0, "{}", import.1);
        Ok(dockerd)
    }

    fn docker(&self, args: &[&str]) -> (bool, String) {
        let host = format!("unix://{}", self.socket.display());
        let mut command = Command::new(program("docker").unwrap());
        let output = command.args(["-H", &host]).args(args).stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
    }

    fn run(&self, name: &str, labels: &[&str], command: &[&str]) {
        let labels: Vec<&str> = labels.iter().flat_map(|label| ["--label", label]).collect();
        let args = [&["run", "-d", "--name", name, "--network", "host"], &labels[..], &["hd/bb:1"], command]
            .concat();
        let (is_ok, text) = self.docker(&args);
        assert!(is_ok, "{text}");
    }

    fn running(&self) -> Vec<String> {
        let text = self.docker(&["ps", "--format", "{{.Names}}"]).1;
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let ids = self.docker(&["ps", "-aq"]).1;
        let ids: Vec<&str> = ids.lines().collect();
        if !ids.is_empty() {
            self.docker(&[&["rm", "-f"], &ids[..]].concat());
        }
        self.process.stop();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = self.dir.path().display().to_string();
        for mount in
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(&own))
        {
            let _ = Command::new("umount").arg(mount).status();
        }
    }
}

const SLEEP: &[&str] = &["sleep", "600"];

#[tokio::test]
async fn real_containers_are_restarted_stopped_started_and_scaled() {
    let dockerd = match Dockerd::start() {
        Ok(dockerd) => dockerd,
        Err(why) => skip!("actions on containers: {why}"),
    };
    let endpoint = dockerd.socket.display().to_string();
    let compose =
        |number: &'static str| ["com.docker.compose.project=shop", "com.docker.compose.service=api", number];
    dockerd.run("web", &["heimdall.service=front"], SLEEP);
    dockerd.run("shop-api-1", &compose("com.docker.compose.container-number=1"), SLEEP);
    dockerd.run("shop-api-2", &compose("com.docker.compose.container-number=2"), SLEEP);
    dockerd.run("crash", &[], &["sh", "-c", "exit 3"]);
    dockerd.run("db", &[], SLEEP);
    one_container(&dockerd, &runner(&config(&endpoint))).await;
    refusals(&dockerd, &endpoint).await;
    a_service(&dockerd, &runner(&config(&endpoint))).await;
    replicas(&dockerd, &runner(&config(&endpoint))).await;
}

async fn one_container(dockerd: &Dockerd, runner: &DockerRunner) {
    let of = |kind: &str| action(kind, "web", []);
    let effect = runner.look(&of("docker.restart"), SOON).await.unwrap();
    assert_eq!(effect.summary, "restart web, of which 1 run");
    assert_eq!(effect.reach, Reach { service: Some("front".to_owned()), touched: 1, instances: 1 });
    let since = now();
    assert_eq!(runner.progress(&of("docker.restart"), since, SOON).await, Ok(Progress::NotDone));
    let pid = || dockerd.docker(&["inspect", "-f", "{{.State.Pid}}", "web"]).1;
    let before = pid();
    runner.run(&of("docker.restart"), SOON).await.unwrap();
    assert_ne!(pid(), before);
    assert_eq!(runner.progress(&of("docker.restart"), since, SOON).await, Ok(Progress::Done));

    let outcome = runner.run(&of("docker.stop"), SOON).await.unwrap();
    assert_eq!(outcome.inverse, Some(of("docker.start")));
    assert!(!dockerd.running().contains(&"web".to_owned()));
    assert_eq!(runner.progress(&of("docker.stop"), since, SOON).await, Ok(Progress::Done));
    assert_eq!(runner.run(&of("docker.stop"), SOON).await.unwrap().inverse, None, "it was stopped already");
    runner.run(&outcome.inverse.unwrap(), SOON).await.unwrap();
    assert!(dockerd.running().contains(&"web".to_owned()));
    // By the beginning of its id, as tools show it.
    let id = dockerd.docker(&["inspect", "-f", "{{.Id}}", "web"]).1;
    runner.look(&action("docker.restart", &id[..12], []), SOON).await.unwrap();
}

async fn refusals(dockerd: &Dockerd, endpoint: &str) {
    let runner_of_all = runner(&config(endpoint));
    let error = runner_of_all.run(&action("docker.stop", "db", []), SOON).await.unwrap_err();
    assert!(error.to_string().contains("allow-list"), "{error}");
    let error = runner_of_all.run(&action("docker.stop", "service=none", []), SOON).await.unwrap_err();
    assert_eq!(error, ActionError::NotFound { target: "service=none".to_owned() });
    let error = runner_of_all.run(&action("docker.restart", "crash", []), SOON).await.unwrap_err();
    assert!(error.to_string().contains("ended at once") && error.to_string().contains('3'), "{error}");
    let id = dockerd.docker(&["inspect", "-f", "{{.Id}}", "web"]).1;
    let own = DockerRunnerConfig { own_container: Some(id), ..config(endpoint) };
    let error = runner(&own).run(&action("docker.stop", "web", []), SOON).await.unwrap_err();
    assert!(error.to_string().contains("Heimdall runs in"), "{error}");
    assert!(dockerd.running().contains(&"web".to_owned()) && dockerd.running().contains(&"db".to_owned()));
}

async fn a_service(dockerd: &Dockerd, runner: &DockerRunner) {
    let stop = action("docker.stop", "service=shop/api", []);
    let effect = runner.look(&action("docker.restart", "shop-api-1", []), SOON).await.unwrap();
    assert_eq!((effect.reach.touched, effect.reach.instances), (1, 2), "one of two");
    let effect = runner.look(&stop, SOON).await.unwrap();
    assert_eq!((effect.reach.touched, effect.reach.instances), (2, 2));
    let outcome = runner.run(&stop, SOON).await.unwrap();
    assert_eq!(dockerd.running(), ["db", "web"]);
    runner.run(&outcome.inverse.unwrap(), SOON).await.unwrap();
    assert_eq!(dockerd.running(), ["db", "shop-api-1", "shop-api-2", "web"]);
}

async fn replicas(dockerd: &Dockerd, runner: &DockerRunner) {
    let to = |replicas: u32| action("docker.scale", "service=api", [("replicas", replicas.into())]);
    assert!(runner.describe(&to(4)).is_err() && runner.describe(&to(0)).is_err(), "beyond the limits");
    let effect = runner.look(&to(3), SOON).await.unwrap();
    assert_eq!(
        (effect.summary.as_str(), effect.inverse),
        ("change `service=api` from 2 to 3 running containers", Some(to(2)))
    );
    let outcome = runner.run(&to(3), SOON).await.unwrap();
    assert_eq!(dockerd.running(), ["db", "shop-api-1", "shop-api-2", "shop-api-3", "web"]);
    let made = dockerd
        .docker(&["inspect", "-f", "{{json .Config.Cmd}} {{.Path}} {{json .Config.Labels}}", "shop-api-3"])
        .1;
    assert!(
        made.starts_with("[\"sleep\",\"600\"] /bin/busybox")
            && made.contains("\"com.docker.compose.container-number\":\"3\""),
        "{made}"
    );
    assert_eq!(runner.progress(&to(3), Timestamp(0), SOON).await, Ok(Progress::Done));
    runner.run(&to(3), SOON).await.unwrap();
    runner.run(&outcome.inverse.unwrap(), SOON).await.unwrap();
    assert_eq!(dockerd.running(), ["db", "shop-api-1", "shop-api-2", "web"], "the newest goes first");
    runner.run(&to(3), SOON).await.unwrap();
    assert_eq!(
        dockerd.docker(&["ps", "-aq", "--filter", "label=heimdall.clone"]).1.lines().count(),
        1,
        "a stopped one is started first"
    );
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_unreachable_in_time() {
    let (hole, closed) = (black_hole(), closed_port());
    let of_nobody =
        [format!("http://{}", hole.address), format!("http://{closed}"), "/nowhere/docker.sock".to_owned()];
    for endpoint in of_nobody {
        let started = Instant::now();
        let restart = action("docker.restart", "web", []);
        let error = runner(&config(&endpoint)).run(&restart, Duration::from_millis(400)).await.unwrap_err();
        assert!(matches!(error, ActionError::Unreachable { .. }), "{endpoint}: {error}");
        assert!(started.elapsed() < Duration::from_secs(5), "{endpoint}");
    }
}

#[test]
fn the_own_container_is_found_in_its_mounts_and_not_in_those_of_a_host() {
    let id = "ab12".repeat(16);
    let inside = format!(
        "612 600 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"
    );
    assert_eq!(own_container(&inside, "0::/\n"), Some(id.clone()));
    let host = format!("612 600 0:50 / /var/lib/docker/containers/{id}/mounts/shm rw - tmpfs shm rw\n");
    assert_eq!(own_container(&host, "0::/user.slice\n"), None);
    assert_eq!(own_container("", &format!("0::/system.slice/docker-{id}.scope\n")), Some(id));
}

#[test]
fn targets_that_would_be_paths_are_refused() {
    let runner = runner(&config("/var/run/docker.sock"));
    for bad in ["a/b", "..", "service=", "service=a/b/c", "service=../x", "a b", "-web"] {
        assert!(runner.describe(&action("docker.stop", bad, [])).is_err(), "{bad}");
    }
    assert!(
        runner.describe(&action("docker.stop", "web", [("signal", "KILL".into())])).is_err(),
        "no such parameter"
    );
    assert!(runner.describe(&action("docker.stop", "service=shop/api", [("grace", "5s".into())])).is_ok());
}
