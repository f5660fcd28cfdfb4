//! What is about to be made durable: one range of offsets for each partition, on disk before its batch is admitted.
//!
//! A server that ends between a batch's admission and the commit of its offset finds the range here, fetches exactly that range
//! again and admits it under the same key, so that the journal knows whether it was durable.
//!
//! Invariants:
//! - what [`Intents::declare`] was given is on disk when it returns `Ok`, and a failed one changes nothing;
//! - the two files are written in turn, so that one of them is whole whenever the machine stops;
//! - at most [`PARTITIONS_MAX`] ranges are kept, the ones declared last.
//!
//! File: the hex SHA-256 of what follows, a line end, and JSON.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Ranges kept.
pub(crate) const PARTITIONS_MAX: usize = 10_000;

/// A batch that is being admitted, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// Offset after the last one.
    pub to: i64,
    /// The batch's key in the journal.
    pub key: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    seq: u64,
    /// Declared last comes last.
    intents: Vec<Intent>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Intents {
    files: [PathBuf; 2],
    written: Written,
}

impl Intents {
    /// Reads what an earlier run declared.
    ///
    /// # Errors
    /// The folder cannot be made, or a file not be read. A file that is not whole is passed over.
    pub(crate) fn open(dir: &Path, name: &str) -> io::Result<Intents> {
        std::fs::create_dir_all(dir)?;
        let files = [0, 1].map(|n| dir.join(format!("{name}.intents.{n}")));
        let mut found = [read(&files[0])?, read(&files[1])?];
        found.sort_by_key(|written| written.as_ref().map_or(0, |written| written.seq));
        let written = found.into_iter().flatten().next_back();
        let written = written.unwrap_or(Written { seq: 0, intents: Vec::new() });
        for file in &files {
            OpenOptions::new().create(true).append(true).open(file)?.sync_all()?;
        }
        File::open(dir)?.sync_all()?; // the names of both files are durable from here on
        Ok(Intents { files, written })
    }

    /// The range declared last for a partition.
    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&Intent> {
        self.written.intents.iter().find(|intent| intent.partition == partition && intent.topic == topic)
    }

    /// Makes ranges durable, in place of the earlier ones of their partitions.
    ///
    /// # Errors
    /// They are not durable; nothing changed.
    pub(crate) fn declare(&mut self, new: &[Intent]) -> io::Result<()> {
        let replaced: HashMap<(&str, i32), ()> =
            new.iter().map(|intent| ((intent.topic.as_str(), intent.partition), ())).collect();
        let kept = self.written.intents.iter();
        let kept = kept.filter(|old| !replaced.contains_key(&(old.topic.as_str(), old.partition)));
        let mut intents: Vec<Intent> = kept.chain(new).cloned().collect();
        let surplus = intents.len().saturating_sub(PARTITIONS_MAX);
        intents.drain(..surplus);
        let next = Written { seq: self.written.seq + 1, intents };
        write(&self.files[usize::from(next.seq % 2 == 1)], &next)?;
        self.written = next;
        Ok(())
    }
}

fn digest(json: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, json);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(path: &Path, written: &Written) -> io::Result<()> {
    let json = serde_json::to_vec(written)?;
    let mut text = digest(&json).into_bytes();
    text.push(b'\n');
    text.extend_from_slice(&json);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(&text)?;
    file.sync_data()
}

/// What a file holds, when it is whole.
fn read(path: &Path) -> io::Result<Option<Written>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let (sum, json) = (&text[..end], &text[end + 1..]);
    if sum != digest(json).as_bytes() {
        return Ok(None);
    }
    Ok(serde_json::from_slice(json).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(partition: i32, from: i64, to: i64) -> Intent {
        Intent { topic: "t".to_owned(), partition, from, to, key: format!("t/{partition}/{from}-{to}") }
    }

    #[test]
    fn the_last_range_of_each_partition_is_found_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut intents = Intents::open(dir.path(), "k").expect("no files yet");
        assert_eq!(intents.get("t", 0), None);
        intents.declare(&[intent(0, 0, 5), intent(1, 0, 9)]).expect("written");
        intents.declare(&[intent(0, 5, 7)]).expect("written");
        let intents = Intents::open(dir.path(), "k").expect("two files");
        assert_eq!(intents.get("t", 0), Some(&intent(0, 5, 7)));
        assert_eq!(intents.get("t", 1), Some(&intent(1, 0, 9)));
        assert_eq!(intents.get("u", 1), None);
    }

    #[test]
    fn a_torn_file_leaves_the_one_before() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut intents = Intents::open(dir.path(), "k").expect("no files yet");
        intents.declare(&[intent(0, 0, 5)]).expect("written");
        intents.declare(&[intent(0, 5, 7)]).expect("written");
        let newest = dir.path().join("k.intents.0");
        let whole = std::fs::read(&newest).expect("the second write");
        for cut in 0..whole.len() {
            std::fs::write(&newest, &whole[..cut]).expect("a torn write");
            let intents = Intents::open(dir.path(), "k").expect("one whole file");
            assert_eq!(intents.get("t", 0), Some(&intent(0, 0, 5)), "cut at {cut}");
        }
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut intents = Intents::open(dir.path(), "k").expect("no files yet");
        intents.declare(&[intent(0, 0, 5)]).expect("written");
        std::fs::remove_file(dir.path().join("k.intents.0")).expect("there");
        std::fs::create_dir(dir.path().join("k.intents.0")).expect("in the way");
        assert!(intents.declare(&[intent(0, 5, 7)]).is_err());
        assert_eq!(intents.get("t", 0), Some(&intent(0, 0, 5)));
    }

    #[test]
    fn ranges_are_bounded() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut intents = Intents::open(dir.path(), "k").expect("no files yet");
        let count = i32::try_from(PARTITIONS_MAX).expect("small") + 5;
        intents.declare(&(0..count).map(|n| intent(n, 0, 1)).collect::<Vec<_>>()).expect("written");
        assert_eq!(intents.written.intents.len(), PARTITIONS_MAX);
        assert!(intents.get("t", 0).is_none() && intents.get("t", count - 1).is_some());
    }
}
