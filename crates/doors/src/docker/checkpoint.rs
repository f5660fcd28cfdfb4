//! How far each container's log is durable, kept over restarts so that nothing is lost and nothing is written twice.
//!
//! Before a batch is handed over, its key and its extent are written here; only then the batch goes to the journal. After a
//! crash between both, the same lines are read again and handed over with the same key: the journal knows whether it has them.
//!
//! Invariants:
//! - a file is replaced as a whole;
//! - the position is never ahead of what is durable or announced by `pending`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lines::Position;

/// State of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// What lies before it is durable.
    pub(crate) position: Position,
    /// The batch after it, which may or may not be durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pending: Option<Pending>,
}

/// A batch that was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// Its batch key.
    pub(crate) key: String,
    /// Its entries, from the position on.
    pub(crate) entries: usize,
    /// Times of the first and the last one: whether they are the same entries.
    pub(crate) first_ns: i64,
    pub(crate) last_ns: i64,
}

/// Files of checkpoints.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    pub(crate) fn new(dir: PathBuf) -> Checkpoints {
        Checkpoints { dir }
    }

    fn path(&self, id: &str) -> io::Result<PathBuf> {
        let is_id = !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_id {
            Ok(self.dir.join(format!("{id}.json")))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not the id of a container"))
        }
    }

    /// The container's checkpoint; an empty one when there is none, or none that can be read.
    pub(crate) fn load(&self, id: &str) -> io::Result<Checkpoint> {
        let path = self.path(id)?;
        match std::fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "not a checkpoint: the log is read from its beginning");
                Checkpoint::default()
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Checkpoint::default()),
            Err(error) => Err(error),
        }
    }

    /// Keeps a checkpoint; it is on disk when this returns.
    pub(crate) fn save(&self, id: &str, checkpoint: &Checkpoint) -> io::Result<()> {
        let path = self.path(id)?;
        let bytes = serde_json::to_vec(checkpoint)?;
        std::fs::create_dir_all(&self.dir)?;
        let temporary = path.with_extension("json.tmp");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        std::fs::File::open(&self.dir)?.sync_all()
    }

    /// Forgets a container that is gone.
    pub(crate) fn remove(&self, id: &str) {
        if let Ok(path) = self.path(id) {
            let _ = std::fs::remove_file(path); // it may never have had one
        }
    }

    /// Containers that have a checkpoint.
    pub(crate) fn ids(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let name = |path: &Path| Some(path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned());
        files.flatten().filter_map(|file| name(&file.path())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::Mark;
    use super::*;

    #[test]
    fn what_was_kept_is_there_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let it = Checkpoints::new(dir.path().join("docker"));
        assert_eq!(it.load("abc").expect("none"), Checkpoint::default());
        let pending = Pending { key: "k".to_owned(), entries: 3, first_ns: 8, last_ns: 9 };
        let position = Position { stdout: Mark { ns: 7, count: 2 }, stderr: Mark::default() };
        let checkpoint = Checkpoint { position, pending: Some(pending) };
        it.save("abc", &checkpoint).expect("a disk");
        assert_eq!((it.load("abc").expect("one"), it.ids()), (checkpoint, vec!["abc".to_owned()]));
        assert!(it.save("../abc", &Checkpoint::default()).is_err());
        std::fs::write(dir.path().join("docker/abc.json"), "{oops").expect("a disk");
        assert_eq!(it.load("abc").expect("unreadable"), Checkpoint::default());
        it.remove("abc");
        assert_eq!(it.ids(), Vec::<String>::new());
    }
}
