//! What tests of runners share: hosts that do not answer, an HTTP stand-in, free ports, child processes.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use heimdall_metastore::Metastore;
use heimdall_model::{Clock, ManualClock, Timestamp};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::RunnerPorts;
use super::webhook::Webhooks;
use crate::action::ActionError;

/// Longest wait for anything that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends the test that calls it, with a line that says what was not checked and why.
macro_rules! skip {
    ($($why:tt)*) => {{
        eprintln!("skipped: {}", format_args!($($why)*));
        return;
    }};
}
pub(crate) use skip;

pub(crate) fn install_tls() {
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(crate) fn manual_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::parse("2026-03-01T12:00:00Z").unwrap()))
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    manual_clock()
}

pub(crate) fn now() -> Timestamp {
    heimdall_model::SystemClock.now()
}

/// A metastore in a folder that has to be kept as long as it is used.
pub(crate) fn store() -> (tempfile::TempDir, Arc<dyn Metastore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = heimdall_metastore::open(&dir.path().join("metastore.db")).unwrap();
    (dir, Arc::new(store))
}

/// An address nobody listens at.
pub(crate) fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A host that takes connections and never answers.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    // INVARIANT: connections are queued by the system as long as this lives, and never accepted.
    _listener: TcpListener,
}

pub(crate) fn black_hole() -> BlackHole {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    BlackHole { address: listener.local_addr().unwrap(), _listener: listener }
}

/// A program of this machine, `/usr/sbin` included, which is often not in the `PATH` of users.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    dirs.map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// A child process, ended by its id when the test is over.
pub(crate) struct Served(pub(crate) Child);

impl Served {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Served {
        let file = std::fs::File::create(log).unwrap();
        let copy = file.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn();
        Served(child.unwrap_or_else(|error| panic!("could not start {command:?}: {error}")))
    }

    /// Asks it to stop, waits, and ends it when it does not.
    pub(crate) fn stop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let started = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Looks until `look` has an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "still waiting for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A request as the stand-in got it; names of headers in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// A stand-in for a server of HTTP APIs: answers by a function, remembers what it was asked.
pub(crate) struct HttpStandIn {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl HttpStandIn {
    pub(crate) async fn start(
        answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static,
    ) -> HttpStandIn {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(request) = read(&mut stream).await else { continue };
                let (status, body) = answer(&request);
                seen.lock().push(request);
                let head = format!("HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n");
                let tail = format!("Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                let _ = stream.write_all((head + &tail).as_bytes()).await;
            }
        });
        HttpStandIn { address, requests, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().clone()
    }
}

impl Drop for HttpStandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(stream: &mut tokio::net::TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(request) = parse(&bytes) {
            return Some(request);
        }
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    }
}

fn parse(bytes: &[u8]) -> Option<Request> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(Ok(0), |text| text.parse::<usize>()).ok()?;
    if body.len() < length {
        return None;
    }
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    Some(Request { method, path, headers, body: body.to_owned() })
}

/// A notebook and pager that take everything and keep it.
#[derive(Default)]
pub(crate) struct Listener(pub(crate) Mutex<Vec<String>>);

impl crate::runners::Notebook for Listener {
    fn annotate<'a>(&'a self, note: &'a crate::runners::Note) -> BoxFuture<'a, Result<(), ActionError>> {
        self.0.lock().push(format!("{}: {}", note.target, note.text));
        Box::pin(std::future::ready(Ok(())))
    }
}

impl crate::runners::Pager for Listener {
    fn page<'a>(&'a self, page: &'a crate::runners::Page) -> BoxFuture<'a, Result<(), ActionError>> {
        self.0.lock().push(format!("page {}: {}", page.receiver, page.text));
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(crate) fn ports(store: Arc<dyn Metastore>, clock: Arc<dyn Clock>) -> RunnerPorts {
    let listener = Arc::new(Listener::default());
    RunnerPorts { store, clock, notebook: listener.clone(), pager: listener }
}

/// One webhook, called `hook`.
pub(crate) fn webhooks(url: &str) -> Arc<Webhooks> {
    install_tls();
    let config = serde_json::json!({"hook": {"url": url}});
    Arc::new(Webhooks::build(&serde_json::from_value(config).unwrap(), clock()).unwrap())
}

/// The documented body of a webhook.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Told {
    pub(crate) kind: String,
    pub(crate) target: String,
    pub(crate) with: serde_json::Value,
}
