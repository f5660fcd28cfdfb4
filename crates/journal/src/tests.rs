//! The promises of the crate root, checked on a disk that forgets.

use crate::disk::{ForgetfulDisk, OsDisk, Survives};
use crate::{Append, Appended, Config, Frame, Journal, JournalError, Reader};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const FIRST_FILE: &str = "/j/00000000000000000001.wal";
/// A frame with a payload of four bytes.
const FRAME: u64 = 60;

fn config() -> Config {
    Config {
        group_delay: Duration::ZERO,
        disk_check_interval: Duration::ZERO,
        disk_reserve_bytes: 0,
        frame_bytes_max: 1000,
        group_bytes_max: 1000,
        keys_max: 100,
        ..Config::new("/j")
    }
}

/// At most two frames of four bytes per file.
fn small_files() -> Config {
    Config { file_bytes_max: 2 * FRAME, ..config() }
}

fn open(config: Config, disk: &ForgetfulDisk, from_seq: u64) -> Result<(Journal, Reader), JournalError> {
    Journal::open(config, Arc::new(disk.clone()), from_seq)
}

fn start(config: Config, disk: &ForgetfulDisk) -> (Journal, Reader) {
    open(config, disk, 1).expect("the journal opens")
}

fn frame(text: &str, key: Option<u8>) -> Append {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    Append { kind: 7, rows: 3, key: key.map(|key| [key; 16]), time_ns: 5, payload }
}

fn put(journal: &Journal, text: &str) -> Result<Appended, JournalError> {
    journal.append_blocking(frame(text, None))
}

fn put_key(journal: &Journal, key: u8) -> Result<Appended, JournalError> {
    journal.append_blocking(frame(&format!("k{key:03}"), Some(key)))
}

fn text(frame: &Frame) -> String {
    format!("{}:{}", frame.seq, String::from_utf8_lossy(&frame.payload))
}

/// What is there to read now.
fn read(reader: &mut Reader) -> Result<Vec<String>, JournalError> {
    let mut texts = Vec::new();
    while let Some(frame) = reader.next(Duration::ZERO)? {
        texts.push(text(&frame));
    }
    Ok(texts)
}

fn durable(seq: u64) -> Appended {
    Appended::Durable { seq }
}

fn duplicate(seq: u64) -> Appended {
    Appended::Duplicate { seq, rows: 3 }
}

/// A closed journal of three frames in one file.
fn three_frames() -> ForgetfulDisk {
    let disk = ForgetfulDisk::default();
    let (journal, _reader) = start(config(), &disk);
    for text in ["aaaa", "bbbb", "cccc"] {
        put(&journal, text).expect("appended");
    }
    drop(journal);
    disk.fork()
}

#[test]
fn appends_are_read_back_in_order_and_again_after_a_restart() {
    let disk = ForgetfulDisk::default();
    let (journal, mut reader) = start(small_files(), &disk);
    for (seq, text) in (1..).zip(["aaaa", "", "cccc", "dddd", "eeee"]) {
        assert_eq!(put(&journal, text).expect("appended"), durable(seq));
    }
    let first = reader.next(Duration::ZERO).expect("read").expect("durable");
    assert_eq!((first.seq, first.kind, first.rows, first.time_ns), (1, 7, 3, 5));
    assert_eq!(read(&mut reader).expect("read"), ["2:", "3:cccc", "4:dddd", "5:eeee"]);
    journal.close();
    assert!(matches!(reader.next(Duration::MAX), Err(JournalError::Closed)));
    assert!(matches!(put(&journal, "late"), Err(JournalError::Closed)));
    drop((journal, reader));

    let (journal, mut reader) = open(small_files(), &disk, 2).expect("opens");
    assert_eq!(read(&mut reader).expect("read"), ["2:", "3:cccc", "4:dddd", "5:eeee"]);
    assert_eq!(put(&journal, "ffff").expect("appended"), durable(6));
    assert_eq!(read(&mut reader).expect("read"), ["6:ffff"]);
}

#[tokio::test]
async fn works_on_a_real_disk_from_async_tasks() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = Config { dir: dir.path().join("journal"), ..config() };
    let (journal, mut reader) = Journal::open(config.clone(), Arc::new(OsDisk), 1).expect("opens");
    let (a, b) = tokio::join!(journal.append(frame("aaaa", Some(1))), journal.append(frame("bbbb", None)));
    assert_eq!((a.expect("appended"), b.expect("appended")), (durable(1), durable(2)));
    assert_eq!(read(&mut reader).expect("read"), ["1:aaaa", "2:bbbb"]);
    let second = Journal::open(config.clone(), Arc::new(OsDisk), 1);
    assert!(matches!(second, Err(JournalError::InUse { .. })), "one process at a time");
    drop((journal, reader));
    let (journal, mut reader) = Journal::open(config, Arc::new(OsDisk), 1).expect("opens");
    assert_eq!(journal.append(frame("again", Some(1))).await.expect("answered"), duplicate(1));
    assert_eq!(read(&mut reader).expect("read"), ["1:aaaa", "2:bbbb"]);
}

#[test]
fn appends_that_wait_for_a_sync_share_the_next_one() {
    let disk = ForgetfulDisk::default();
    let (journal, mut reader) = start(Config { group_bytes_max: 5000, ..config() }, &disk);
    let syncs_at_start = disk.sync_count();
    let slow = disk.hold_syncs();
    let mut seqs = thread::scope(|scope| {
        let mut clients = vec![scope.spawn(|| put(&journal, "aaaa"))];
        slow.wait_for_sync();
        clients.extend((0..32).map(|_| scope.spawn(|| put(&journal, "bbbb"))));
        wait_for_queue(&journal, 33);
        drop(slow);
        clients
            .into_iter()
            .map(|client| client.join().expect("no panic").expect("appended"))
            .collect::<Vec<_>>()
    });
    assert_eq!(disk.sync_count() - syncs_at_start, 2, "one for the first, one for all others");
    seqs.sort_by_key(|appended| format!("{appended:?}"));
    seqs.dedup();
    assert_eq!((seqs.len(), read(&mut reader).expect("read").len()), (33, 33));
}

fn wait_for_queue(journal: &Journal, frames: usize) {
    while journal.status().queued_frames < frames {
        thread::yield_now();
    }
}

#[test]
fn a_key_is_written_once_also_after_restart_and_release() {
    let disk = ForgetfulDisk::default();
    let (journal, mut reader) = start(small_files(), &disk);
    assert_eq!(put_key(&journal, 1).expect("appended"), durable(1));
    assert_eq!(put_key(&journal, 1).expect("answered"), duplicate(1));
    for key in 2..=5 {
        put_key(&journal, key).expect("appended");
    }
    assert_eq!(read(&mut reader).expect("read").len(), 5);
    assert!(journal.truncate_before(6).expect("released") > 0);
    assert_eq!((journal.status().files, journal.status().first_seq), (1, 5));
    drop((journal, reader));
    disk.crash();
    assert_eq!(disk.contents(FIRST_FILE), None, "what was released stays away");

    let (journal, mut reader) = open(small_files(), &disk, 6).expect("opens");
    for key in 1..=5 {
        assert_eq!(put_key(&journal, key).expect("answered"), duplicate(key.into()));
    }
    assert_eq!(put_key(&journal, 6).expect("appended"), durable(6));
    assert_eq!(read(&mut reader).expect("read"), ["6:k006"]);
}

#[test]
fn a_duplicate_of_an_append_in_flight_shares_its_fate() {
    for fails in [false, true] {
        let disk = ForgetfulDisk::default();
        let (journal, _reader) = start(config(), &disk);
        let slow = disk.hold_syncs();
        let (first, second) = thread::scope(|scope| {
            let first = scope.spawn(|| put_key(&journal, 1));
            slow.wait_for_sync();
            let second = scope.spawn(|| put_key(&journal, 1));
            wait_for_queue(&journal, 2);
            if fails {
                disk.fail_sync(1);
            }
            drop(slow);
            (first.join().expect("no panic"), second.join().expect("no panic"))
        });
        if fails {
            assert!(matches!(first, Err(JournalError::Latched { .. })));
            assert!(matches!(second, Err(JournalError::Latched { .. })));
            assert_eq!(journal.status().keys, 0, "a failed append leaves no key");
        } else {
            assert_eq!((first.expect("appended"), second.expect("answered")), (durable(1), duplicate(1)));
        }
        assert_eq!((journal.status().queued_frames, journal.status().queued_bytes), (0, 0));
    }
}

#[test]
fn a_failed_sync_latches_until_a_restart() {
    let disk = ForgetfulDisk::default();
    let (journal, mut reader) = start(config(), &disk);
    put(&journal, "aaaa").expect("appended");
    disk.fail_sync(1);
    for _ in 0..2 {
        let error = put(&journal, "bbbb").expect_err("latched");
        assert!(error.to_string().contains("injected sync failure"), "{error}");
    }
    assert!(journal.status().latched.is_some());
    assert_eq!(read(&mut reader).expect("read"), ["1:aaaa"], "what is durable can still be read");
    drop((journal, reader));
    disk.crash();
    let (journal, _reader) = start(config(), &disk);
    assert_eq!(put(&journal, "cccc").expect("appended"), durable(2));
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = ForgetfulDisk::default();
    let (journal, mut reader) = start(small_files(), &disk);
    put_key(&journal, 1).expect("appended");
    put_key(&journal, 2).expect("appended");
    // Room for the frame (the look before writing), not for the new file it needs; then not even for the frame.
    for room in [FRAME + 10, 10] {
        disk.limit_free(Some(room));
        let error = put_key(&journal, 3).expect_err("no room");
        assert!(matches!(error, JournalError::DiskFull { .. }) && error.retry_after().is_some());
        assert_eq!(disk.contents("/j/00000000000000000003.new"), None, "the draft is removed");
    }
    assert!(journal.status().disk_full);
    disk.limit_free(None);
    assert_eq!(put_key(&journal, 3).expect("appended"), durable(3));
    assert!(!journal.status().disk_full);
    assert_eq!(read(&mut reader).expect("read"), ["1:k001", "2:k002", "3:k003"]);
    drop((journal, reader));
    disk.crash();
    let (_journal, mut reader) = start(small_files(), &disk);
    assert_eq!(read(&mut reader).expect("read"), ["1:k001", "2:k002", "3:k003"]);
}

#[test]
fn a_partial_write_is_cut_back_or_latches() {
    for cut_fails in [false, true] {
        let disk = ForgetfulDisk::default();
        // Looked up once, at the first append: the shortage is noticed by the write.
        let config = Config { disk_check_interval: Duration::from_hours(1), ..config() };
        let (journal, reader) = start(config, &disk);
        put(&journal, "aaaa").expect("appended");
        let before = disk.contents(FIRST_FILE);
        disk.limit_free(Some(10));
        if cut_fails {
            disk.fail_sync(1);
        }
        let error = put(&journal, "bbbb").expect_err("no room");
        if cut_fails {
            assert!(matches!(error, JournalError::Latched { .. }), "{error}");
        } else {
            assert!(matches!(error, JournalError::DiskFull { .. }), "{error}");
            assert_eq!(disk.contents(FIRST_FILE), before);
        }
        drop((journal, reader));
        disk.limit_free(None);
        disk.crash();
        let (journal, mut reader) = start(self::config(), &disk);
        assert_eq!(put(&journal, "cccc").expect("appended"), durable(2));
        assert_eq!(read(&mut reader).expect("read"), ["1:aaaa", "2:cccc"]);
    }
}

#[test]
fn the_disk_reserve_is_kept_before_anything_is_written() {
    let disk = ForgetfulDisk::default();
    let (journal, _reader) = start(Config { disk_reserve_bytes: 1000, ..config() }, &disk);
    disk.limit_free(Some(1000 + FRAME - 1));
    let steps = disk.steps();
    assert!(matches!(put(&journal, "aaaa"), Err(JournalError::DiskFull { .. })));
    assert_eq!(disk.steps(), steps);
    disk.limit_free(Some(1000 + FRAME));
    put(&journal, "aaaa").expect("appended");
}

#[test]
fn limits_refuse_with_their_own_reason() {
    let disk = ForgetfulDisk::default();
    let (journal, _reader) = start(Config { queued_frames_max: 1, ..config() }, &disk);
    assert!(matches!(
        put(&journal, &"x".repeat(945)),
        Err(JournalError::TooLarge { bytes: 1001, bytes_max: 1000 })
    ));
    let slow = disk.hold_syncs();
    thread::scope(|scope| {
        let first = scope.spawn(|| put(&journal, "aaaa"));
        slow.wait_for_sync();
        assert!(matches!(put(&journal, "bbbb"), Err(JournalError::Busy { .. })));
        drop(slow);
        first.join().expect("no panic").expect("appended");
    });

    let disk = ForgetfulDisk::default();
    let limits = Config { bytes_max: 40 + 2 * FRAME + 1100, keys_max: 1, ..small_files() };
    let (journal, mut reader) = start(limits, &disk);
    let mut accepted = 0;
    let error = loop {
        match put(&journal, "aaaa") {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, JournalError::Full { .. }) && accepted > 4, "{error} after {accepted}");
    assert_eq!(journal.truncate_before(u64::MAX).expect("released"), 0, "the consumer has seen nothing yet");
    assert_eq!(read(&mut reader).expect("read").len(), accepted);
    journal.truncate_before(u64::MAX).expect("released");
    put(&journal, "aaaa").expect("appended");
}

#[test]
fn a_reader_behind_the_tail_misses_nothing() {
    let disk = ForgetfulDisk::default();
    let (journal, mut reader) = start(Config { tail_bytes_max: 2 * FRAME, ..small_files() }, &disk);
    let mut seen = Vec::new();
    for round in 0..20 {
        for _ in 0..round {
            put(&journal, "aaaa").expect("appended");
        }
        // Now and then one frame, now and then all: from the files, from memory, and across the seam.
        if round % 3 == 0 {
            seen.extend(read(&mut reader).expect("read"));
        } else if let Some(frame) = reader.next(Duration::ZERO).expect("read") {
            seen.push(text(&frame));
        }
    }
    journal.close();
    while let Some(frame) = reader.next(Duration::MAX).ok().flatten() {
        seen.push(text(&frame));
    }
    assert!(journal.status().tail_bytes <= 2 * FRAME);
    assert_eq!(seen, (1..=190).map(|seq| format!("{seq}:aaaa")).collect::<Vec<_>>());
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_was_torn() {
    let disk = three_frames();
    let whole = disk.contents(FIRST_FILE).expect("written").len();
    let last = whole - usize::try_from(FRAME).expect("small");
    for cut in last..whole {
        for zeros in [false, true] {
            let disk = disk.fork();
            disk.edit(FIRST_FILE, |bytes| {
                bytes.truncate(cut);
                if zeros {
                    bytes.resize(whole, 0);
                    bytes[whole - 1] = bytes[whole - 1].wrapping_sub(1); // a byte of something else
                }
            });
            let (journal, mut reader) = start(config(), &disk);
            assert_eq!(read(&mut reader).expect("read"), ["1:aaaa", "2:bbbb"], "cut at {cut}");
            assert_eq!(put(&journal, "dddd").expect("appended"), durable(3));
            drop((journal, reader));
            let (_journal, mut reader) = start(config(), &disk);
            assert_eq!(read(&mut reader).expect("read"), ["1:aaaa", "2:bbbb", "3:dddd"], "cut at {cut}");
        }
    }
}

#[test]
fn a_group_torn_in_its_middle_is_cut_off_whole() {
    let disk = ForgetfulDisk::default();
    let (journal, reader) = start(config(), &disk);
    let slow = disk.hold_syncs();
    thread::scope(|scope| {
        scope.spawn(|| put(&journal, "aaaa").expect("appended"));
        slow.wait_for_sync();
        for _ in 0..3 {
            scope.spawn(|| put(&journal, "bbbb").expect("appended"));
        }
        wait_for_queue(&journal, 4);
        drop(slow);
    });
    drop((journal, reader));
    let disk = disk.fork();
    let second = 40 + usize::try_from(FRAME).expect("small");
    disk.edit(FIRST_FILE, |bytes| bytes[second..second + 56].fill(0));
    let (journal, mut reader) = start(config(), &disk);
    assert_eq!(read(&mut reader).expect("read"), ["1:aaaa"], "frames 3 and 4 were not durable without 2");
    assert_eq!(put(&journal, "cccc").expect("appended"), durable(2));
    drop((journal, reader));
    let (_journal, mut reader) = start(config(), &disk);
    assert_eq!(read(&mut reader).expect("read"), ["1:aaaa", "2:cccc"]);
}

#[test]
fn damage_before_the_last_group_is_reported_with_file_and_byte() {
    let disk = three_frames();
    for at in 0..40 + 2 * 60 {
        let disk = disk.fork();
        disk.edit(FIRST_FILE, |bytes| bytes[at] ^= 0x10);
        let frame_start = if at < 40 { 0 } else { 40 + (at - 40) / 60 * 60 };
        match open(config(), &disk, 1).err() {
            Some(JournalError::Corrupt { file, offset, .. }) => {
                assert_eq!((file.to_str(), offset), (Some(FIRST_FILE), frame_start as u64), "byte {at}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn damage_in_an_older_file_stops_the_reader() {
    let disk = ForgetfulDisk::default();
    let (journal, reader) = start(small_files(), &disk);
    for _ in 0..5 {
        put(&journal, "aaaa").expect("appended");
    }
    drop((journal, reader));
    let flip: fn(&mut Vec<u8>) = |bytes| *bytes.last_mut().expect("not empty") ^= 1;
    for edit in [flip, |bytes| bytes.truncate(100)] {
        let disk = disk.fork();
        disk.edit(FIRST_FILE, edit);
        let (_journal, mut reader) = start(small_files(), &disk);
        assert_eq!(reader.next(Duration::ZERO).expect("read").map(|frame| frame.seq), Some(1));
        for _ in 0..2 {
            let error = reader.next(Duration::ZERO).expect_err("corrupt").to_string();
            assert!(error.contains(FIRST_FILE) && error.contains("at byte 100"), "{error}");
        }
    }
    let disk = disk.fork();
    disk.edit("/j/00000000000000000003.wal", |bytes| bytes.truncate(40));
    let (_journal, mut reader) = open(small_files(), &disk, 3).expect("opens");
    let error = reader.next(Duration::ZERO).expect_err("frames are missing").to_string();
    assert!(error.contains("00000000000000000003.wal") && error.contains("file ends before"), "{error}");
}

#[test]
fn a_position_outside_the_journal_is_refused() {
    let disk = ForgetfulDisk::default();
    let (journal, mut reader) = start(small_files(), &disk);
    for _ in 0..5 {
        put(&journal, "aaaa").expect("appended");
    }
    read(&mut reader).expect("read");
    journal.truncate_before(5).expect("released");
    drop((journal, reader));
    assert!(matches!(
        open(config(), &disk, 4).err(),
        Some(JournalError::Released { from_seq: 4, first_seq: 5 })
    ));
    assert!(matches!(open(config(), &disk, 7).err(), Some(JournalError::Ahead { from_seq: 7, next_seq: 6 })));
    assert!(open(config(), &disk, 6).is_ok());

    let (journal, _reader) =
        open(config(), &ForgetfulDisk::default(), 9).expect("an empty journal begins where the consumer is");
    assert_eq!(put(&journal, "aaaa").expect("appended"), durable(9));
}

#[test]
fn a_read_only_directory_is_named() {
    let disk = three_frames();
    disk.set_read_only(true);
    let error = open(config(), &disk, 1).err().expect("refused");
    assert!(matches!(error, JournalError::ReadOnly { .. }) && error.to_string().contains("`/j`"), "{error}");
}

/// Every change and sync of a small workload is the last before the power goes; what was acknowledged is there exactly once, in order, and nothing
/// that was never appended. The client then sends again what was not acknowledged, and all is there exactly once.
#[test]
fn survives_a_crash_at_every_step() {
    for survives in [Survives::Synced, Survives::HalfOfUnsynced, Survives::Everything] {
        let mut step = 1;
        while crash_at(step, survives) {
            step += 1;
        }
        assert!(step > 30, "the workload reached {step} steps only");
    }
}

/// False when the workload ended before the step was reached.
fn crash_at(step: u64, survives: Survives) -> bool {
    let disk = ForgetfulDisk::default();
    disk.power_off_at(step);
    let mut acknowledged = BTreeMap::new();
    let checkpoint = workload(&disk, 1, &mut acknowledged);
    let crashed = disk.steps() >= step;
    disk.crash_with(survives);

    let (journal, mut reader) = open(small_files(), &disk, checkpoint).expect("opens after a crash");
    let kept: BTreeMap<u64, String> = read(&mut reader)
        .expect("reads")
        .iter()
        .filter_map(|text| text.split_once(':'))
        .map(|(seq, text)| (seq.parse().expect("a number"), text.to_owned()))
        .collect();
    for (seq, key) in acknowledged.iter().map(|(key, seq)| (*seq, *key)).filter(|(seq, _)| *seq >= checkpoint)
    {
        assert_eq!(kept.get(&seq), Some(&format!("k{key:03}")), "step {step}, {survives:?}");
    }
    assert!(
        kept.keys().copied().eq(checkpoint..checkpoint + kept.len() as u64),
        "dense: step {step}, {survives:?}"
    );
    assert!(
        kept.len() <= acknowledged.values().filter(|seq| **seq >= checkpoint).count() + 1,
        "at most the one in flight is new"
    );
    drop((journal, reader));

    // What the consumer has been handed must survive even if it was only in the page cache before the first crash.
    disk.crash();
    let next = checkpoint + kept.len() as u64;
    let again = open(small_files(), &disk, next).err();
    assert!(again.is_none(), "step {step}, {survives:?}: {again:?}");

    workload(&disk, checkpoint, &mut acknowledged);
    let seqs: Vec<u64> = acknowledged.into_values().collect();
    assert_eq!(seqs, (1..=KEYS.into()).collect::<Vec<_>>(), "each key once: step {step}, {survives:?}");
    crashed
}

const KEYS: u8 = 7;

/// Appends every key in order until something fails, releasing what was read after each second; returns the consumer's checkpoint.
fn workload(disk: &ForgetfulDisk, from_seq: u64, acknowledged: &mut BTreeMap<u8, u64>) -> u64 {
    let Ok((journal, mut reader)) = open(small_files(), disk, from_seq) else { return from_seq };
    let mut checkpoint = from_seq;
    for key in 1..=KEYS {
        let Ok(Appended::Durable { seq } | Appended::Duplicate { seq, .. }) = put_key(&journal, key) else {
            break;
        };
        let before = acknowledged.insert(key, seq);
        assert!(before.is_none_or(|before| before == seq), "an acknowledged key keeps its frame");
        if key % 2 == 0 {
            while let Ok(Some(frame)) = reader.next(Duration::ZERO) {
                checkpoint = frame.seq + 1;
            }
            let _ = journal.truncate_before(checkpoint);
        }
    }
    checkpoint
}

/// A process killed between naming its first file and syncing the folder leaves a file that a later power loss would take away.
#[test]
fn a_file_found_at_open_is_made_durable_before_it_is_appended_to() {
    let disk = ForgetfulDisk::default();
    let mut step = 1;
    while disk.contents(FIRST_FILE).is_none() {
        disk.power_off_at(disk.steps() + step);
        assert!(open(config(), &disk, 1).is_err());
        disk.crash_with(Survives::Everything);
        step += 1;
    }
    let (journal, reader) = start(config(), &disk);
    put(&journal, "aaaa").expect("appended");
    drop((journal, reader));
    disk.crash();
    let (_journal, mut reader) = start(config(), &disk);
    assert_eq!(read(&mut reader).expect("read"), ["1:aaaa"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever is done to a file: no panic, and what is delivered is a prefix of what was written.
    #[test]
    fn any_damage_yields_a_prefix_or_an_error(
        edits in prop::collection::vec((0usize..220, any::<u8>()), 0..4),
        length in prop::option::of(0usize..400),
    ) {
        let disk = three_frames();
        disk.edit(FIRST_FILE, |bytes| {
            for (at, value) in edits {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if let Some(length) = length {
                bytes.resize(length, 0xa5);
            }
        });
        if let Ok((_journal, mut reader)) = open(config(), &disk, 1) {
            let texts = read(&mut reader).expect("what was opened can be read");
            prop_assert!(["1:aaaa", "2:bbbb", "3:cccc"].starts_with(&texts.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }
}

#[tokio::test]
async fn an_append_waits_for_a_reader_that_is_behind() {
    let disk = ForgetfulDisk::default();
    let limits = Config { backlog_bytes_max: FRAME, ..small_files() };
    let (journal, mut reader) = start(limits, &disk);
    let journal = std::sync::Arc::new(journal);
    for _ in 0..2 {
        journal.append(frame("aaaa", None)).await.expect("there was room");
    }
    let of_task = std::sync::Arc::clone(&journal);
    let mut waiting = tokio::spawn(async move { of_task.append(frame("bbbb", None)).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "two frames are behind, one is allowed");
    assert_eq!(journal.status().appended_seq, 2);
    reader.next(Duration::ZERO).expect("read").expect("a frame");
    let appended = (&mut waiting).await.expect("no panic").expect("appended");
    assert_eq!(appended, Appended::Durable { seq: 3 });
}

/// Every changed byte of a journal is found, in the file and at or before the place where it is; a torn end is no damage.
#[test]
fn verification_finds_every_changed_byte() {
    let disk = ForgetfulDisk::default();
    let (journal, _reader) = start(small_files(), &disk);
    for text in ["aaaa", "bbbb", "cccc", "dddd", "eeee"] {
        put(&journal, text).expect("appended");
    }
    drop((journal, _reader));
    let look = |disk: &ForgetfulDisk| {
        let mut files = Vec::new();
        crate::verify(disk, std::path::Path::new("/j"), &mut |file| files.push(file)).expect("lists");
        files
    };
    let whole = look(&disk);
    assert!(whole.len() > 1 && whole.iter().all(|file| file.damage.is_none() && file.torn_bytes == 0));
    assert_eq!(whole.last().and_then(|file| file.last_seq), Some(5));
    for (index, file) in whole.iter().enumerate() {
        for at in 0..usize::try_from(file.bytes).expect("small") {
            let disk = disk.fork();
            disk.edit(&file.path, |bytes| bytes[at] ^= 4);
            let found = look(&disk);
            assert_eq!(found.len(), whole.len());
            for (other, found) in found.iter().enumerate() {
                let is_found = found.damage.is_some() || found.torn_bytes > 0;
                assert_eq!(is_found, other == index, "byte {at} of {}: {found:?}", file.path.display());
                if let Some(JournalError::Corrupt { file, offset, .. }) = &found.damage {
                    assert!(*file == found.path && *offset <= at as u64, "{at}: {found:?}");
                }
            }
        }
    }
    let last = whole.last().expect("there are files");
    disk.edit(&last.path, |bytes| bytes.truncate(bytes.len() - 3));
    let torn = look(&disk).pop().expect("there are files");
    assert!(torn.damage.is_none() && torn.torn_bytes > 0, "{torn:?}");
}
