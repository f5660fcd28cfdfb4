use heimdall_journal::disk::{ForgetfulDisk, OsDisk, Survives};
use heimdall_model::{ManualClock, Timestamp};

use super::*;
use crate::Samples;
use crate::state::Mark;

const SOURCE: &str = "s";

fn open(disk: &ForgetfulDisk, dir: &Path) -> Result<(Arc<Buffer>, Reader), BufferError> {
    let clock = Arc::new(ManualClock::new(Timestamp(5)));
    Buffer::open(&BufferConfig::default(), dir, Arc::new(disk.clone()), clock)
}

fn batch(n: u32) -> Batch {
    let mut samples = Samples::new(Timestamp(i64::from(n)), "h", "s");
    samples.push("n", f64::from(n), &[]);
    samples.finish()
}

fn marks(n: u32) -> Marks {
    Marks::from([(SOURCE.to_owned(), Mark::Cursor(n.to_string()))])
}

/// The number of what is in a frame.
fn number(frame: &heimdall_journal::Frame) -> u32 {
    let body = zstd::decode_all(&stored(frame).body[..]).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&body).unwrap();
    (1..100).find(|n| record["value"].as_f64() == Some(f64::from(*n))).unwrap()
}

/// Keeps records and lets the first ones go. Returns the last one kept for sure, and the last one let go.
async fn work(disk: &ForgetfulDisk, dir: &Path) -> (u32, u32) {
    let (mut kept, mut released) = (0, 0);
    let Ok((buffer, mut reader)) = open(disk, dir) else { return (kept, released) };
    for n in 1..=8 {
        match buffer.keep(&batch(n), marks(n)).await {
            Ok(_) => kept = n,
            Err(_) => break,
        }
        if n % 3 == 0 {
            let Ok(Some(frame)) = reader.next(Duration::ZERO) else { break };
            released = number(&frame);
            let _may_be_off = buffer.release(frame.seq, true);
        }
    }
    (kept, released)
}

fn rest(mut reader: Reader) -> Vec<u32> {
    std::iter::from_fn(|| reader.next(Duration::ZERO).unwrap()).map(|frame| number(&frame)).collect()
}

#[tokio::test]
async fn power_lost_at_any_step_loses_nothing_that_was_kept_and_marks_go_with_their_records() {
    let steps = {
        let (disk, dir) = (ForgetfulDisk::default(), tempfile::tempdir().unwrap());
        work(&disk, dir.path()).await;
        disk.steps()
    };
    assert!(steps > 20, "{steps} steps are worth a test");
    for survives in [Survives::Synced, Survives::HalfOfUnsynced, Survives::Everything] {
        for step in 1..=steps {
            let (disk, dir) = (ForgetfulDisk::default(), tempfile::tempdir().unwrap());
            disk.power_off_at(step);
            let (kept, released) = work(&disk, dir.path()).await;
            disk.crash_with(survives);
            let (buffer, reader) = open(&disk, dir.path()).unwrap();
            let marked = match buffer.marks().get(SOURCE) {
                Some(Mark::Cursor(n)) => n.parse().unwrap(),
                _ => 0,
            };
            let found = rest(reader);
            let expected: Vec<u32> = (released + 1..=marked.max(released)).collect();
            assert_eq!(
                found, expected,
                "step {step}, {survives:?}: marks are of the last record, and none is missing"
            );
            assert!(marked >= kept, "step {step}, {survives:?}: {marked} of {kept} kept");
        }
    }
}

#[tokio::test]
async fn numbers_go_on_when_the_journals_files_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let clock = Arc::new(ManualClock::new(Timestamp(5)));
        Buffer::open(&BufferConfig::default(), dir.path(), Arc::new(OsDisk), clock).unwrap()
    };
    let (buffer, reader) = open();
    for n in 1..=3 {
        buffer.keep(&batch(n), marks(n)).await.unwrap();
    }
    drop(reader);
    buffer.release(3, true).unwrap();
    let id = buffer.agent_id();
    buffer.close().unwrap();
    drop(buffer);
    std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let (buffer, _reader) = open();
    assert_eq!((buffer.agent_id(), buffer.keep(&batch(4), marks(4)).await.unwrap()), (id, 4));
}

#[tokio::test]
async fn what_is_refused_is_laid_aside_up_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(5)));
    let config = BufferConfig { refused_bytes_max: 10, ..BufferConfig::default() };
    let (buffer, _reader) = Buffer::open(&config, dir.path(), Arc::new(OsDisk), clock).unwrap();
    let frame = |bytes| Stored { seq: 1, dataset: Dataset::Logs, rows: 1, body: Bytes::from(vec![0; bytes]) };
    assert!(buffer.set_aside(&frame(8)).unwrap());
    assert!(!buffer.set_aside(&frame(8)).unwrap());
}
