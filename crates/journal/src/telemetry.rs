//! The journal's own metrics: names, descriptions, and the few places that update them (once per group).

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;

const FSYNC: &str = "journal_fsync_duration_seconds";
const BYTES_APPENDED: &str = "journal_append_bytes_total";
const FRAMES: &str = "journal_frames_total";
const GROUPS: &str = "journal_groups_total";
const DUPLICATES: &str = "journal_duplicates_total";
const REFUSED: &str = "journal_refused_total";
const QUEUE_DEPTH: &str = "journal_queue_depth";
const BYTES: &str = "journal_bytes";
const LATCHED: &str = "journal_latched";
const TORN_TAILS: &str = "journal_torn_tails_total";
const TORN_BYTES: &str = "journal_torn_bytes_total";

pub(crate) fn describe() {
    describe_histogram!(FSYNC, Unit::Seconds, "Time to make one commit group durable");
    describe_counter!(BYTES_APPENDED, Unit::Bytes, "Bytes made durable, frame heads included");
    describe_counter!(FRAMES, "Frames made durable");
    describe_counter!(GROUPS, "Commit groups made durable");
    describe_counter!(DUPLICATES, "Appends answered from the remembered idempotency keys");
    describe_counter!(REFUSED, "Appends refused, by reason");
    describe_gauge!(QUEUE_DEPTH, "Appends waiting or being written");
    describe_gauge!(BYTES, Unit::Bytes, "Bytes of journal files not yet released by the consumer");
    describe_gauge!(LATCHED, "1 after a failed write or sync: nothing is accepted until a restart");
    describe_counter!(TORN_TAILS, "Torn tails cut off at open");
    describe_counter!(TORN_BYTES, Unit::Bytes, "Bytes of torn tails cut off at open");
    gauge!(LATCHED).set(0.0);
}

pub(crate) fn committed(frames: usize, bytes: u64, fsync: Duration) {
    histogram!(FSYNC).record(fsync.as_secs_f64());
    counter!(BYTES_APPENDED).increment(bytes);
    counter!(FRAMES).increment(frames as u64);
    counter!(GROUPS).increment(1);
}

pub(crate) fn levels(queue_depth: usize, bytes: u64) {
    gauge!(QUEUE_DEPTH).set(queue_depth as f64);
    gauge!(BYTES).set(bytes as f64);
}

pub(crate) fn refused(reason: &'static str, count: usize) {
    counter!(REFUSED, "reason" => reason).increment(count as u64);
}

pub(crate) fn duplicates(count: usize) {
    counter!(DUPLICATES).increment(count as u64);
}

pub(crate) fn latched() {
    gauge!(LATCHED).set(1.0);
}

pub(crate) fn torn(bytes: u64) {
    counter!(TORN_TAILS).increment(1);
    counter!(TORN_BYTES).increment(bytes);
}
