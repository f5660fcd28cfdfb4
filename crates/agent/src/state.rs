//! What an agent remembers besides its buffer: who it is, what the server has, how far each source was read.
//!
//! Invariants:
//! - the file is whole or the one before: it is written beside, synced and renamed;
//! - marks in it are of frames that are durable in the buffer, or, without a server, of records that were judged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::tail::FileMark;

const FILE: &str = "agent.json";
const VERSION: u32 = 1;

/// How far a source was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A place in a file.
    File(FileMark),
    /// A cursor of the system's journal.
    Cursor(String),
    /// The source is gone: forget it.
    Gone,
}

/// Marks by source.
pub type Marks = BTreeMap<String, Mark>;

/// The agent's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    version: u32,
    /// Made once; with a frame's number it is the frame's key at the server.
    pub agent_id: Uuid,
    /// The newest frame the server has, or has refused for good.
    pub acked_seq: u64,
    pub marks: Marks,
}

impl State {
    /// A new agent.
    pub(crate) fn new(agent_id: Uuid) -> State {
        State { version: VERSION, agent_id, acked_seq: 0, marks: Marks::new() }
    }

    /// Takes over newer marks.
    pub(crate) fn advance(&mut self, marks: Marks) {
        for (source, mark) in marks {
            match mark {
                Mark::Gone => drop(self.marks.remove(&source)),
                mark => drop(self.marks.insert(source, mark)),
            }
        }
    }

    /// The state in `dir`; `None` when there is none yet.
    ///
    /// # Errors
    /// The file cannot be read, or is not a state: never taken for an empty one, which would send everything again.
    pub(crate) fn load(dir: &Path) -> io::Result<Option<State>> {
        let bytes = match fs::read(dir.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let state: State = serde_json::from_slice(&bytes)?;
        if state.version == VERSION {
            return Ok(Some(state));
        }
        Err(io::Error::other(format!("version {} is not known here", state.version)))
    }

    /// Makes the state durable. Blocks for two syncs.
    pub(crate) fn save(&self, dir: &Path) -> io::Result<()> {
        replace(&dir.join(FILE), &serde_json::to_vec(self)?)
    }
}

/// Puts `bytes` in the place of the file, whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_found_again_and_rubbish_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::load(dir.path()).unwrap(), None);
        let mut state = State::new(Uuid::from_u128(7));
        state.acked_seq = 9;
        state.advance(Marks::from([
            ("a".into(), Mark::Cursor("1".into())),
            ("b".into(), Mark::Cursor("2".into())),
        ]));
        state.advance(Marks::from([("a".into(), Mark::Gone)]));
        state.save(dir.path()).unwrap();
        assert_eq!(State::load(dir.path()).unwrap(), Some(state));
        fs::write(dir.path().join(FILE), "{").unwrap();
        State::load(dir.path()).unwrap_err();
    }
}
