//! Batches whose acknowledgement may not have reached the broker: how a message that comes again is known.
//!
//! A broker sends a message again, marked `DUP`, when it has no acknowledgement for it. The packet id alone does not tell which
//! message that is, because ids are used again once acknowledged; the id with the payload's digest does, among the batches whose
//! acknowledgements the broker has not seen. It has seen them once it answers a ping that was sent after them.
//!
//! A batch is announced in a file before it goes to the journal. After a crash the journal is asked by the batch's key whether it
//! has it: a message of it that comes again is handed over with that key.
//!
//! Invariant: at most [`BATCHES_MAX`] batches are remembered; of an older one a message that comes again is written again.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Batches remembered.
pub(crate) const BATCHES_MAX: usize = 64;

/// A message of QoS 1, to be known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) packet_id: u16,
    /// Of topic and payload.
    pub(crate) digest: String,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announced {
    pub(crate) key: String,
    pub(crate) messages: Vec<Known>,
    /// Whether the journal has it for certain; what was read from the file may or may not be there.
    #[serde(skip)]
    pub(crate) is_durable: bool,
    /// The ping after its acknowledgements; 0: none was sent.
    #[serde(skip)]
    pub(crate) ping: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Announcements {
    path: PathBuf,
    batches: VecDeque<Announced>,
}

impl Announcements {
    /// Reads those of the process before.
    pub(crate) fn load(path: PathBuf) -> io::Result<Announcements> {
        let batches = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "cannot be read: messages that come again are written again");
                VecDeque::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => VecDeque::new(),
            Err(error) => return Err(error),
        };
        Ok(Announcements { path, batches })
    }

    /// The newest batch with this message.
    pub(crate) fn find(&self, message: &Known) -> Option<&Announced> {
        self.batches.iter().rev().find(|batch| batch.messages.contains(message))
    }

    pub(crate) fn announce(&mut self, key: String, messages: Vec<Known>) {
        self.batches.push_back(Announced { key, messages, is_durable: false, ping: 0 });
        while self.batches.len() > BATCHES_MAX {
            self.batches.pop_front();
        }
    }

    /// The journal has the batch.
    pub(crate) fn is_durable(&mut self, key: &str) {
        self.batches.iter_mut().filter(|batch| batch.key == key).for_each(|batch| batch.is_durable = true);
    }

    /// The journal did not have the batch, and has only these messages of it now.
    pub(crate) fn narrow(&mut self, key: &str, messages: &[Known]) {
        for batch in self.batches.iter_mut().filter(|batch| batch.key == key) {
            batch.messages.retain(|message| messages.contains(message));
            batch.is_durable = true;
        }
    }

    /// This ping was sent after the acknowledgements of all there is. What comes again of the process before comes first, so
    /// that also its batches are done with once the ping is answered.
    pub(crate) fn pinged(&mut self, ping: u64) {
        self.batches.iter_mut().filter(|batch| batch.ping == 0).for_each(|batch| batch.ping = ping);
    }

    /// The broker has answered this ping.
    pub(crate) fn answered(&mut self, ping: u64) {
        self.batches.retain(|batch| batch.ping == 0 || batch.ping > ping);
    }

    /// The connection was lost: no ping will be answered, and what was acknowledged may come again.
    pub(crate) fn disconnected(&mut self) {
        self.batches.iter_mut().for_each(|batch| batch.ping = 0);
    }

    /// The broker does not know this client: nothing comes again.
    pub(crate) fn clear(&mut self) {
        self.batches.clear();
    }

    /// What [`write_file`] keeps.
    pub(crate) fn to_bytes(&self) -> io::Result<(PathBuf, Vec<u8>)> {
        Ok((self.path.clone(), serde_json::to_vec(&self.batches)?))
    }
}

/// Replaces a file; it is on disk when this returns.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let temporary = path.with_extension("tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(packet_id: u16, digest: &str) -> Known {
        Known { packet_id, digest: digest.to_owned() }
    }

    #[test]
    fn messages_are_known_until_their_acknowledgement_was_seen() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("mqtt/a.json");
        let mut it = Announcements::load(path.clone()).expect("none");
        it.announce("k1".to_owned(), vec![known(1, "a"), known(2, "b")]);
        let (path_again, bytes) = it.to_bytes().expect("plain data");
        write_file(&path_again, &bytes).expect("a disk");
        it.is_durable("k1");
        it.pinged(1);
        it.announce("k2".to_owned(), vec![known(1, "c")]);
        assert!(it.find(&known(1, "a")).is_some_and(|batch| batch.is_durable));
        assert!(it.find(&known(1, "c")).is_some_and(|batch| !batch.is_durable));
        assert_eq!(it.find(&known(2, "a")), None);
        it.answered(1);
        assert_eq!(it.find(&known(1, "a")), None);
        it.is_durable("k2");
        it.pinged(2);
        it.disconnected();
        it.answered(2);
        assert!(it.find(&known(1, "c")).is_some(), "the answer belongs to another connection");
        let mut after = Announcements::load(path).expect("one batch");
        assert!(after.find(&known(2, "b")).is_some_and(|batch| !batch.is_durable));
        after.narrow("k1", &[known(2, "b")]);
        assert_eq!(after.find(&known(1, "a")), None);
        assert!(after.find(&known(2, "b")).is_some_and(|batch| batch.is_durable));
    }
}
