//! The systems that are broken: a Docker engine of our own, a supervisord, and a Redis with a shop on top.
//!
//! Everything listens on loopback, lives in a temporary folder, and is ended by its process id.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use heimdall_testkit::{Tool, wait_for_within};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a start may take: an engine on a busy machine needs its time.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Longest wait of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Keys of the shop, one of which is poisoned.
const SHOP_KEYS: usize = 500;

/// Something whose parts can be broken and are acted on.
pub(crate) trait System {
    /// Where a part answers.
    fn url(&self, service: &str) -> String;
    /// How often somebody acted on a part: since a moment where the system tells, else since it began.
    fn acted(&self, service: &str, since: SystemTime) -> usize;
}

/// Whether an address answers 200 in time.
pub(crate) fn answers(url: &str) -> bool {
    let Some(address) = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()?.parse().ok())
    else {
        return false;
    };
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, PROBE_TIMEOUT).ok()?;
        stream.set_read_timeout(Some(PROBE_TIMEOUT)).ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        line.contains(" 200 ").then_some(())
    };
    ask().is_some()
}

fn program(name: &str) -> Result<PathBuf, String> {
    let found = Tool::find(name).map(|tool| tool.path().to_owned());
    found.ok_or_else(|| format!("{name} is not installed"))
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// A child process with its output in a file; ended when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut std::process::Command, log: &Path) -> Daemon {
        let file = std::fs::File::create(log).expect("a log");
        let copy = file.try_clone().expect("a log");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn();
        Daemon(child.unwrap_or_else(|error| panic!("could not start {command:?}: {error}")))
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    fn stop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
            && !self.has_ended()
        {
            let _ = kill_process(pid, Signal::TERM);
            wait_for_within(STARTS_WITHIN, "a daemon to stop", || self.has_ended().then_some(()));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whatever went wrong is being told: only make sure that nothing stays.
            let _ = self.0.kill();
            let _ = self.0.wait();
        } else {
            self.stop();
        }
    }
}

// ---- containers -----------------------------------------------------------------------------------------------

/// A Docker engine whose containers serve a page each.
pub(crate) struct Engine {
    engine: heimdall_testkit::Engine,
    endpoints: Vec<(String, SocketAddr)>,
}

impl Engine {
    pub(crate) fn start(containers: usize) -> Result<Engine, String> {
        let mut engine = Engine { engine: heimdall_testkit::Engine::start()?, endpoints: Vec::new() };
        for n in 1..=containers {
            engine.run(&format!("web-{n}"));
        }
        Ok(engine)
    }

    pub(crate) fn socket(&self) -> &Path {
        self.engine.socket()
    }

    pub(crate) fn endpoints(&self) -> Vec<(String, String)> {
        self.endpoints.iter().map(|(name, address)| (name.clone(), format!("http://{address}/"))).collect()
    }

    fn run(&mut self, name: &str) {
        let address = free_port();
        self.engine.must(&[
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "host",
            heimdall_testkit::Engine::IMAGE,
            "httpd",
            "-f",
            "-p",
            &address.to_string(),
            "-h",
            "/www",
        ]);
        self.endpoints.push((name.to_owned(), address));
    }

    pub(crate) fn kill(&self, name: &str, signal: &str) {
        self.engine.must(&["kill", "-s", signal, name]);
    }

    /// Stops the process, not the container: as a program that hangs.
    pub(crate) fn freeze(&self, name: &str) {
        let pid = self.engine.must(&["inspect", "-f", "{{.State.Pid}}", name]);
        let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::STOP).expect("our own container");
    }

    pub(crate) fn stop(&self, name: &str) {
        self.engine.must(&["stop", "-t", "1", name]);
    }

    /// When each container started last.
    pub(crate) fn incarnations(&self) -> Vec<(String, String)> {
        let started = |name: &String| self.engine.must(&["inspect", "-f", "{{.State.StartedAt}}", name]);
        self.endpoints.iter().map(|(name, _)| (name.clone(), started(name))).collect()
    }
}

impl System for Engine {
    fn url(&self, service: &str) -> String {
        let found = self.endpoints.iter().find(|(name, _)| name == service).expect("a container of ours");
        format!("http://{}/", found.1)
    }

    /// The engine remembers its latest 256 events only.
    fn acted(&self, service: &str, since: SystemTime) -> usize {
        // Whole seconds, as `until` is; what another fault was healed by is older than that.
        let since = since.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs().to_string();
        let filter = format!("container={service}");
        let events = self.engine.must(&[
            "events",
            "--since",
            &since,
            "--until",
            "0s",
            "--filter",
            &filter,
            "--filter",
            "event=restart",
        ]);
        events.lines().filter(|line| !line.is_empty()).count()
    }
}

// ---- programs -------------------------------------------------------------------------------------------------

/// A supervisord that restarts nothing by itself.
pub(crate) struct Programs {
    socket: PathBuf,
    endpoints: Vec<(String, SocketAddr)>,
    log: PathBuf,
    config: PathBuf,
    _daemon: Daemon,
    _dir: TempDir,
}

impl Programs {
    pub(crate) fn start(programs: usize) -> Result<Programs, String> {
        let (supervisord, busybox) = (program("supervisord")?, program("busybox")?);
        program("supervisorctl")?;
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().display().to_string();
        std::fs::create_dir(dir.path().join("www")).expect("a folder");
        std::fs::write(dir.path().join("www/index.html"), "well\n").expect("a page");
        let endpoints: Vec<_> = (1..=programs).map(|n| (format!("worker-{n}"), free_port())).collect();
        let mut text = format!(
            "[unix_http_server]\nfile={root}/s.sock\n[supervisord]\nlogfile={root}/s.log\npidfile={root}/s.pid\n\
             nodaemon=true\nuser=root\n[supervisorctl]\nserverurl=unix://{root}/s.sock\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        );
        for (name, address) in &endpoints {
            text.push_str(&format!(
                "[program:{name}]\ncommand={} httpd -f -p {address} -h {root}/www\nautorestart=false\nstartsecs=0\n\
                 stopwaitsecs=1\n",
                busybox.display()
            ));
        }
        let config = dir.path().join("s.conf");
        std::fs::write(&config, text).expect("a file");
        let mut command = std::process::Command::new(supervisord);
        command.arg("-c").arg(&config).current_dir(dir.path());
        let daemon = Daemon::start(&mut command, &dir.path().join("out"));
        let socket = dir.path().join("s.sock");
        wait_for_within(STARTS_WITHIN, "supervisord to start", || socket.exists().then_some(()));
        let log = dir.path().join("s.log");
        Ok(Programs { socket, endpoints, log, config, _daemon: daemon, _dir: dir })
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn endpoints(&self) -> Vec<(String, String)> {
        self.endpoints.iter().map(|(name, address)| (name.clone(), format!("http://{address}/"))).collect()
    }

    fn pid(&self, name: &str) -> String {
        let mut command =
            std::process::Command::new(program("supervisorctl").expect("looked for at the start"));
        let output = command.arg("-c").arg(&self.config).args(["pid", name]).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        let pid = self.pid(name).parse().ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("our own program");
    }

    /// The process of each program.
    pub(crate) fn incarnations(&self) -> Vec<(String, String)> {
        self.endpoints.iter().map(|(name, _)| (name.clone(), self.pid(name))).collect()
    }
}

impl System for Programs {
    fn url(&self, service: &str) -> String {
        let found = self.endpoints.iter().find(|(name, _)| name == service).expect("a program of ours");
        format!("http://{}/", found.1)
    }

    fn acted(&self, service: &str, _: SystemTime) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let spawned = format!("spawned: '{service}' with pid");
        log.lines().filter(|line| line.contains(&spawned)).count()
    }
}

// ---- cache ----------------------------------------------------------------------------------------------------

/// A Redis, and a shop that fails while the cache holds a price it cannot read.
pub(crate) struct Cache {
    address: SocketAddr,
    shop: SocketAddr,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
    _daemon: Daemon,
    _dir: TempDir,
}

impl Cache {
    pub(crate) fn start(foreign_keys: usize) -> Result<Cache, String> {
        let redis = program("redis-server")?;
        let dir = tempfile::tempdir().expect("a folder");
        let address = free_port();
        let mut command = std::process::Command::new(redis);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""]);
        command.arg("--dir").arg(dir.path());
        let daemon = Daemon::start(&mut command, &dir.path().join("log"));
        wait_for_within(STARTS_WITHIN, "redis to answer", || ask(address, &["PING"]).ok());
        for n in 0..foreign_keys {
            ask(address, &["SET", &format!("sessions:{n}"), "kept"]).expect("redis answers");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let shop = listener.local_addr().expect("bound");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serving = std::thread::spawn(move || serve_shop(&listener, address, &stopped));
        Ok(Cache { address, shop, stop, serving: Some(serving), _daemon: daemon, _dir: dir })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn shop_url(&self) -> String {
        format!("http://{}/", self.shop)
    }

    pub(crate) fn poison(&self) {
        for n in 0..SHOP_KEYS {
            ask(self.address, &["SET", &format!("shop:item:{n}"), "1"]).expect("redis answers");
        }
        ask(self.address, &["SET", "shop:price", "poison"]).expect("redis answers");
    }

    /// Keys that are not the shop's.
    pub(crate) fn foreign_keys(&self) -> usize {
        let script = "return #redis.call('KEYS', 'sessions:*')";
        let answer = ask(self.address, &["EVAL", script, "0"]).expect("redis answers");
        answer.trim_start_matches(':').trim().parse().expect("a number")
    }
}

impl System for Cache {
    fn url(&self, _: &str) -> String {
        self.shop_url()
    }

    /// Redis counts the commands that delete; a flush of so many keys is more than one.
    fn acted(&self, _: &str, _: SystemTime) -> usize {
        let info = ask(self.address, &["INFO", "commandstats"]).expect("redis answers");
        let line = info.lines().find(|line| line.starts_with("cmdstat_unlink:"));
        let calls =
            line.and_then(|line| line.split("calls=").nth(1)?.split(',').next()?.parse::<usize>().ok());
        // Batches of 500 keys: two for 501.
        calls.unwrap_or(0).div_ceil(2)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes it.
        let _ = TcpStream::connect(self.shop);
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

/// The shop, a stand-in for a real one: its price comes from the cache, and is put there when it is not.
fn serve_shop(listener: &TcpListener, redis: SocketAddr, stop: &AtomicBool) {
    for stream in listener.incoming().flatten() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let _ = serve_price(stream, redis);
    }
}

fn serve_price(mut stream: TcpStream, redis: SocketAddr) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
    let mut head = [0; 1_024];
    let _ = stream.read(&mut head)?;
    let price = ask(redis, &["GET", "shop:price"])?;
    let status = if price.contains("poison") { "500 Internal Server Error" } else { "200 OK" };
    if price.starts_with("$-1") {
        ask(redis, &["SET", "shop:price", "42"])?;
    }
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n42")
}

/// One command of Redis, and the first lines of its answer.
fn ask(address: SocketAddr, words: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut command = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| command.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    stream.write_all(command.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let length = first.strip_prefix('$').and_then(|text| text.trim().parse::<usize>().ok());
    let Some(length) = length else { return Ok(first) };
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}
