//! Foreign programs that a test uses when they are installed.

use std::path::{Path, PathBuf};

use crate::command::Command;

/// A program found on this machine.
#[derive(Debug, Clone)]
pub struct Tool {
    path: PathBuf,
}

impl Tool {
    /// Finds `name` on the `PATH`; `None` when it is not installed.
    #[must_use]
    pub fn find(name: &str) -> Option<Tool> {
        let dirs = std::env::var_os("PATH")?;
        let candidates = std::env::split_paths(&dirs).map(|dir| dir.join(name));
        candidates.filter(|path| path.is_file()).map(|path| Tool { path }).next()
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
