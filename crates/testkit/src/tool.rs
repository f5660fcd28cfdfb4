//! Foreign programs that a test uses when they are installed.

use std::path::{Path, PathBuf};

use crate::command::Command;

/// A program found on this machine.
#[derive(Debug, Clone)]
pub struct Tool {
    path: PathBuf,
}

impl Tool {
    /// Finds `name` on the `PATH`, or where Debian puts what nobody calls by hand; `None` when it is not installed.
    #[must_use]
    pub fn find(name: &str) -> Option<Tool> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let others = ["/usr/sbin", "/sbin", "/lib/systemd", "/usr/lib/systemd"].map(PathBuf::from);
        let mut candidates = std::env::split_paths(&path).chain(others).map(|dir| dir.join(name));
        candidates.find(|path| path.is_file()).map(|path| Tool { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command of it.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }
}
