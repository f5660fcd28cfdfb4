//! Commands run to their end.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::process;
use crate::wait::{wait_for, wait_for_within};

/// A command: the binary under test, or a tool.
#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    dir: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A command that runs until it is told to stop.
#[derive(Debug)]
pub struct Running {
    child: Child,
    dir: TempDir,
    line: String,
}

impl Command {
    /// A command without arguments, in a temporary folder of its own.
    #[must_use]
    pub fn new(program: impl AsRef<Path>) -> Command {
        Command {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            stdin: Vec::new(),
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Command {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Command {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Command {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// What it reads on standard input; nothing unless set.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Command {
        self.stdin = bytes.into();
        self
    }

    /// Starts it, for [`Running::stdout`] to be looked at while it runs.
    #[must_use]
    pub fn start(self) -> Running {
        let line = format!("{} {:?}", self.program.display(), self.args);
        let mut command = process::clean(&self.program, self.dir.path());
        if !self.stdin.is_empty() {
            let path = self.dir.path().join("stdin");
            std::fs::write(&path, &self.stdin).expect("the temporary folder takes files");
            command.stdin(Stdio::from(File::open(&path).expect("just written")));
        }
        let child = command.args(&self.args).envs(self.envs).spawn();
        let child = child.unwrap_or_else(|error| panic!("could not start {line}: {error}"));
        Running { child, dir: self.dir, line }
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(self) -> Finished {
        self.start().wait()
    }
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote on standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        process::written(self.dir.path(), "stdout")
    }

    /// What it wrote on standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        process::written(self.dir.path(), "stderr")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Looks until `look` has an answer, and says what the command wrote when it never has.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&Running) -> Option<T>) -> T {
        wait_for(&format!("{what} ({})", self.line), || {
            let found = look(self);
            let ended = found.is_none() && !self.is_running();
            assert!(
                !ended,
                "{} ended while waiting for: {what}\n{}{}",
                self.line,
                self.stdout(),
                self.stderr()
            );
            found
        })
    }

    /// Waits for its end.
    #[must_use]
    pub fn wait(self) -> Finished {
        self.wait_within(crate::PATIENCE)
    }

    /// Waits for its end, but no longer than `limit`.
    #[must_use]
    pub fn wait_within(mut self, limit: Duration) -> Finished {
        let status = wait_for_within(limit, &format!("the end of {}", self.line), || {
            self.child.try_wait().expect("our own child can be waited for")
        });
        Finished { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Asks it to stop with SIGTERM and waits for its end.
    #[must_use]
    pub fn terminate(self) -> Finished {
        self.signal(Signal::TERM)
    }

    /// Ends it with SIGKILL, as a crash does.
    #[must_use]
    pub fn kill9(self) -> Finished {
        self.signal(Signal::KILL)
    }

    fn signal(mut self, signal: Signal) -> Finished {
        if self.is_running() {
            process::send(&self.child, signal);
        }
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        process::end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("--- {}\n{}{}", self.line, self.stdout(), self.stderr());
        }
    }
}

impl Finished {
    /// Itself, when the exit code is `code`. Panics with the output otherwise.
    #[track_caller]
    #[must_use]
    pub fn expect(self, code: i32) -> Finished {
        assert_eq!(self.code, Some(code), "exit code; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Each line of standard output as JSON. Panics at a line that is none.
    #[track_caller]
    #[must_use]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}` is no JSON: {error}"))
        };
        self.stdout.lines().map(parse).collect()
    }
}
