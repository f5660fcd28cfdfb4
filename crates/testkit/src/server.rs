//! A server in a process of its own.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{self, Response};
use crate::lines::Lines;
use crate::process;
use crate::wait::wait_for;

/// Bytes of the server's log that a failure shows.
const SHOWN_BYTES: usize = 8 * 1024;

/// How a server is started.
#[derive(Debug)]
pub struct Builder {
    bin: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    data_dir: Option<PathBuf>,
    listen: SocketAddr,
}

/// A running server, or one that was stopped and can be started again on the same data.
///
/// Dropping it ends its process.
#[derive(Debug)]
pub struct Server {
    setup: Builder,
    data_dir: PathBuf,
    child: Child,
    http: SocketAddr,
    watch: SocketAddr,
    // INVARIANT: lives as long as the server, which writes its log (and its data, unless told otherwise) into it.
    dir: TempDir,
}

impl Builder {
    /// Adds an argument to `heimdall serve`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Builder {
        self.args.push(arg.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Builder {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// Keeps the data here instead of in a temporary folder.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Builder {
        self.data_dir = Some(path.into());
        self
    }

    /// Listens there instead of on a free port, so that whoever sends to it finds it again after a restart.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Builder {
        self.listen = address;
        self
    }

    /// Starts the server and waits until it is ready.
    #[track_caller]
    #[must_use]
    pub fn start(self) -> Server {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data_dir = self.data_dir.clone().unwrap_or_else(|| dir.path().join("data"));
        let child = self.spawn(&data_dir, dir.path());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { setup: self, data_dir, child, http: nowhere, watch: nowhere, dir };
        server.wait_until_ready();
        server
    }

    fn spawn(&self, data_dir: &Path, dir: &Path) -> Child {
        // Left behind by a server that was killed.
        let _ = std::fs::remove_file(listeners(data_dir));
        let mut command = process::clean(&self.bin, dir);
        command.args(["serve", "--listen", &self.listen.to_string(), "--data-dir"]).arg(data_dir);
        command.args(&self.args);
        let child = command.envs(self.envs.iter().map(|(name, value)| (name, value))).spawn();
        child.unwrap_or_else(|error| panic!("could not start {}: {error}", self.bin.display()))
    }
}

impl Server {
    /// A server of this binary, usually `env!("CARGO_BIN_EXE_heimdall")`.
    #[must_use]
    pub fn builder(bin: impl AsRef<Path>) -> Builder {
        Builder {
            bin: bin.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            data_dir: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let listeners = listeners(&self.data_dir);
        let bound = wait_for("the server to be ready", || {
            let ended = self.child.try_wait().expect("our own child can be waited for");
            assert!(ended.is_none(), "the server ended early ({ended:?}):\n{}", self.stderr());
            let text = std::fs::read(&listeners).ok()?;
            serde_json::from_slice::<Value>(&text).ok()
        });
        let address = |name: &str| bound[name].as_str().and_then(|address| address.parse().ok());
        self.http = address("http").expect("listeners.json names the HTTP listener");
        self.watch = address("watch").expect("listeners.json names the technician listener");
    }

    /// Address of the HTTP listener.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Address of the technician listener.
    #[must_use]
    pub fn watch(&self) -> SocketAddr {
        self.watch
    }

    /// Folder of its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Secret of the admin token that the server wrote at its first start.
    #[track_caller]
    #[must_use]
    pub fn admin_token(&self) -> String {
        let text = std::fs::read_to_string(self.data_dir.join("admin.token"));
        text.expect("the server writes an admin token").trim().to_owned()
    }

    /// Everything it wrote on standard error, over restarts.
    #[must_use]
    pub fn stderr(&self) -> String {
        process::written(self.dir.path(), "stderr")
    }

    /// Everything it wrote on standard output, over restarts.
    #[must_use]
    pub fn stdout(&self) -> String {
        process::written(self.dir.path(), "stdout")
    }

    /// Sends a request and reads the answer, whatever its status. Panics when there is none.
    #[track_caller]
    #[must_use]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Response {
        let answer = http::try_request(self.http, method, path, headers, body.as_ref());
        answer.unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"))
    }

    /// `GET`, whatever the status.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], "")
    }

    /// `GET` that is expected to answer 200 and JSON.
    #[track_caller]
    #[must_use]
    pub fn get_json(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "GET {path}: {}", response.text());
        response.json()
    }

    /// `POST`: status and JSON (`null` when the body is none).
    #[track_caller]
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>, headers: &[(&str, &str)]) -> (u16, Value) {
        let response = self.request("POST", path, headers, body);
        (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
    }

    /// Rows of a search line over all time, as arrays of cells. Panics when the query fails.
    #[track_caller]
    #[must_use]
    pub fn query(&self, line: &str) -> Vec<Value> {
        let body = serde_json::json!({"query": line, "from": "1990-01-01T00:00:00Z", "limit": 10_000});
        let (status, answer) =
            self.post("/api/v1/query", body.to_string(), &[("Content-Type", "application/json")]);
        assert_eq!(status, 200, "query `{line}`: {answer}");
        answer["rows"].as_array().cloned().unwrap_or_default()
    }

    /// A raw connection to the HTTP listener.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> TcpStream {
        http::connect(self.http)
    }

    /// A connection to the technician listener.
    #[track_caller]
    #[must_use]
    pub fn connect_watch(&self) -> Lines {
        Lines::connect(self.watch)
    }

    /// Looks until `look` has an answer. Panics when it never has, naming `what` was waited for.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&Server) -> Option<T>) -> T {
        wait_for(what, || look(self))
    }

    /// Ends it with SIGKILL, as a crash does, and waits until it is gone.
    pub fn kill9(&mut self) {
        process::end(&mut self.child);
    }

    /// Asks it to stop with SIGTERM and waits until it has.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        if matches!(self.child.try_wait(), Ok(None)) {
            process::send(&self.child, Signal::TERM);
        }
        wait_for("the server to stop", || self.child.try_wait().expect("our own child can be waited for"))
    }

    /// Starts it again on the same data and settings, stopping it first when it runs. Ports change, but for one that was chosen.
    #[track_caller]
    pub fn restart(&mut self) {
        self.terminate();
        self.child = self.setup.spawn(&self.data_dir, self.dir.path());
        self.wait_until_ready();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        process::end(&mut self.child);
        if std::thread::panicking() {
            let log = self.stderr();
            let from = log.len().saturating_sub(SHOWN_BYTES);
            let from = (from..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(log.len());
            eprintln!("--- end of the server's log\n{}", &log[from..]);
        }
    }
}

fn listeners(data_dir: &Path) -> PathBuf {
    data_dir.join("run/listeners.json")
}
