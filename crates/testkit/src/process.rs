//! Child processes: a clean environment, output to files, ended by id.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A command that sees neither the caller's settings nor its working folder, and writes into files under `dir`.
pub(crate) fn clean(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    let settings = std::env::vars_os().map(|(name, _)| name).filter(|name| is_setting(name));
    for name in settings {
        command.env_remove(name);
    }
    let file = |name: &str| {
        let file = File::options().create(true).append(true).open(dir.join(name));
        Stdio::from(file.expect("the temporary folder takes files"))
    };
    command.current_dir(dir).stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
    command
}

fn is_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("HEIMDALL_") || name == "SLACK_WEBHOOK_URL"
}

/// Sends `signal` to our own child.
pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("process ids are positive");
    // A child that has not been waited for keeps its id, so this cannot hit another process.
    kill_process(pid, signal).expect("our own child can be signalled");
}

/// Ends our own child if it still runs.
pub(crate) fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        // It may have ended since.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// What a child wrote, or nothing when it wrote nothing yet.
pub(crate) fn written(dir: &Path, name: &str) -> String {
    let bytes = std::fs::read(dir.join(name)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
