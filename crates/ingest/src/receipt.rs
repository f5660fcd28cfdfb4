//! Receipts: what was taken from whom, for the sender's answer and for looking up later.
//!
//! Invariants:
//! - at most [`RECEIPTS_MAX`] are kept, each with at most [`KEPT_NOTES_MAX`] entries a list; the oldest goes first;
//! - receipts that say something was rejected, quarantined or went wrong in a pipeline are on disk as well, in two files of at most
//!   [`FILE_BYTES_MAX`] that take turns, and survive a restart; at most [`FILED_PER_SECOND_MAX`] a second are, the others are counted.
//!   Plain successes are not: the records themselves say as much;
//! - at most [`SHIPPERS_MAX`] shippers are summed up, [`SHIPPERS_OF_A_DOOR_MAX`] of one tenant and door; the one not seen for longest
//!   goes first, of the same door where that is full: a door with a name for each of many devices does not push out the others.
//!
//! Not here: the audit trail, which is durable.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heimdall_model::{Tenant, Timestamp};
use metrics::counter;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decoded::{Coerced, Rejected};
use crate::lines;

/// Receipts kept.
pub const RECEIPTS_MAX: usize = 10_000;
/// Entries of each list that a kept receipt holds; the sender's has more.
pub const KEPT_NOTES_MAX: usize = 10;
/// Receipts on one page at most.
pub const PAGE_MAX: usize = 1_000;
/// Shippers that are summed up.
pub const SHIPPERS_MAX: usize = 2_000;
/// Of them those of one tenant and door.
pub const SHIPPERS_OF_A_DOOR_MAX: usize = 500;
/// Characters kept of a shipper's name.
pub const SHIPPER_CHARS_MAX: usize = 128;
/// Size of a file of receipts.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// Receipts written to disk in one second.
pub const FILED_PER_SECOND_MAX: u32 = 100;

/// What became of one submission. Serialises to the answer of an ingest request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Records made durable.
    pub accepted: u64,
    /// Records not written, because a submission with the same idempotency key was before.
    pub deduplicated: u64,
    /// The first rejected records.
    pub rejected: Vec<Rejected>,
    /// How many were rejected in all.
    pub rejected_total: u64,
    /// Id of this receipt.
    #[serde(rename = "receipt")]
    pub id: Uuid,
    /// The first values kept in another form.
    pub coerced: Vec<Coerced>,
    /// How many there were in all.
    pub coerced_total: u64,
    /// Records given the arrival time.
    pub timestamps_assigned: u64,
    /// Accepted records in which a pipeline replaced personal data.
    pub redacted: u64,
    /// Records kept aside among the dead letters.
    pub quarantined: u64,
    /// Records that pipelines dropped or sampled away.
    pub dropped: u64,
    /// Steps of pipelines that failed; their records were kept.
    pub pipeline_errors: u64,
    /// Who the records belong to.
    pub tenant: Tenant,
    /// The door they came through.
    pub door: Cow<'static, str>,
    /// What sent them, as it names itself or as the door knows it; else its address. None where many are added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipper: Option<Arc<str>>,
    /// The sender's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// Id of the sender's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Arc<str>>,
    /// Arrival.
    pub time: Timestamp,
    /// Bytes of the body, unpacked.
    pub bytes: u64,
    /// Journal frame that holds the records; none when nothing was to be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

impl Receipt {
    /// Whether the submission left or had left something behind, or was empty by itself: anything but all of it rejected.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.accepted + self.deduplicated + self.quarantined + self.dropped > 0 || self.rejected_total == 0
    }

    /// Whether it is worth looking at after a restart.
    fn is_filed(&self) -> bool {
        self.rejected_total + self.quarantined + self.pipeline_errors > 0
    }

    /// What went wrong last, in one line.
    fn trouble(&self) -> Option<String> {
        let rejected = self.rejected.last()?;
        Some(if rejected.field.is_empty() {
            rejected.reason.to_string()
        } else {
            format!("{}: {}", rejected.field, rejected.reason)
        })
    }
}

/// Something that became of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Made durable.
    Accepted,
    /// There before.
    Deduplicated,
    /// Refused.
    Rejected,
    /// Kept in another form.
    Coerced,
    /// With personal data replaced.
    Redacted,
    /// Kept aside.
    Quarantined,
    /// Dropped or sampled away.
    Dropped,
    /// Kept, though a step of a pipeline failed.
    Failed,
}

impl Outcome {
    fn count(self, receipt: &Receipt) -> u64 {
        match self {
            Outcome::Accepted => receipt.accepted,
            Outcome::Deduplicated => receipt.deduplicated,
            Outcome::Rejected => receipt.rejected_total,
            Outcome::Coerced => receipt.coerced_total,
            Outcome::Redacted => receipt.redacted,
            Outcome::Quarantined => receipt.quarantined,
            Outcome::Dropped => receipt.dropped,
            Outcome::Failed => receipt.pipeline_errors,
        }
    }
}

/// Which receipts are meant; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiptFilter {
    /// The door.
    pub door: Option<String>,
    /// The sender's address.
    pub peer: Option<IpAddr>,
    /// A part of the shipper's name, without regard to case.
    pub shipper: Option<String>,
    /// Receipts with at least one such record or value.
    pub outcome: Option<Outcome>,
    /// From this arrival on.
    pub from: Option<Timestamp>,
    /// Before this arrival.
    pub to: Option<Timestamp>,
}

impl ReceiptFilter {
    fn fits(&self, receipt: &Receipt) -> bool {
        let is_shipper = |part: &String| {
            receipt
                .shipper
                .as_ref()
                .is_some_and(|shipper| shipper.to_lowercase().contains(&part.to_lowercase()))
        };
        self.door.as_ref().is_none_or(|door| *door == receipt.door)
            && self.peer.is_none_or(|peer| receipt.peer == Some(peer))
            && self.shipper.as_ref().is_none_or(is_shipper)
            && self.outcome.is_none_or(|outcome| outcome.count(receipt) > 0)
            && self.from.is_none_or(|from| receipt.time >= from)
            && self.to.is_none_or(|to| receipt.time < to)
    }
}

/// Some receipts, newest first.
#[derive(Debug, Clone, Serialize)]
pub struct ReceiptPage {
    /// The receipts.
    pub items: Vec<Arc<Receipt>>,
    /// Where the next page begins; none on the last page.
    pub next: Option<u64>,
}

/// What one shipper sent through one door, since the server started or since it was last forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShipperSummary {
    /// The door.
    pub door: Cow<'static, str>,
    /// The program, as it names itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipper: Option<Arc<str>>,
    /// The address seen last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// Submissions.
    pub batches: u64,
    /// Records made durable.
    pub accepted: u64,
    /// Records there before.
    pub deduplicated: u64,
    /// Records refused.
    pub rejected: u64,
    /// Values kept in another form.
    pub coerced: u64,
    /// Records with personal data replaced.
    pub redacted: u64,
    /// Records kept aside.
    pub quarantined: u64,
    /// Records dropped or sampled away.
    pub dropped: u64,
    /// Steps of pipelines that failed.
    pub pipeline_errors: u64,
    /// Bytes of bodies, unpacked.
    pub bytes: u64,
    /// From when on it is counted.
    pub first_seen: Timestamp,
    /// The latest submission.
    pub last_seen: Timestamp,
    /// The latest one with something rejected or quarantined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_trouble: Option<Timestamp>,
    /// Why, the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reason: Option<String>,
}

/// The last receipts of all tenants.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    ring: Mutex<Ring>,
    shippers: Mutex<HashMap<ShipperKey, ShipperSummary>>,
    files: Option<Mutex<Files>>,
}

type ShipperKey = (Tenant, Cow<'static, str>, Option<Arc<str>>);

#[derive(Debug, Default)]
struct Ring {
    /// Number of the receipt at the front; numbers are dense.
    first: u64,
    kept: VecDeque<Arc<Receipt>>,
}

impl Ring {
    fn push(&mut self, receipt: Receipt) {
        if self.kept.len() == RECEIPTS_MAX {
            self.kept.pop_front();
            self.first += 1;
        }
        self.kept.push_back(Arc::new(receipt));
    }
}

impl Receipts {
    /// With those of earlier runs that are in `dir`, and a place for those to come.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Receipts> {
        lines::create_dir(&dir)?;
        let mut ring = Ring::default();
        for receipt in Files::read(&dir)? {
            ring.push(receipt);
        }
        let files = Files { dir, second: 0, in_second: 0 };
        Ok(Receipts { ring: Mutex::new(ring), shippers: Mutex::default(), files: Some(Mutex::new(files)) })
    }

    pub(crate) fn keep(&self, receipt: &Receipt) {
        let mut kept = receipt.clone();
        kept.rejected.truncate(KEPT_NOTES_MAX);
        kept.coerced.truncate(KEPT_NOTES_MAX);
        self.sum_up(&kept);
        if let Some(files) = self.files.as_ref().filter(|_| kept.is_filed()) {
            files.lock().put(&kept);
        }
        self.ring.lock().push(kept);
    }

    fn sum_up(&self, receipt: &Receipt) {
        let key = (receipt.tenant.clone(), receipt.door.clone(), receipt.shipper.clone());
        let mut shippers = self.shippers.lock();
        if !shippers.contains_key(&key) {
            make_room(&mut shippers, &key);
        }
        let sum = shippers.entry(key).or_insert_with(|| ShipperSummary::new(receipt));
        sum.add(receipt);
    }

    pub(crate) fn summary(&self, tenant: &Tenant) -> Vec<ShipperSummary> {
        let shippers = self.shippers.lock();
        let mut list: Vec<_> =
            shippers.iter().filter(|((of, ..), _)| of == tenant).map(|(_, sum)| sum.clone()).collect();
        drop(shippers);
        list.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then_with(|| a.door.cmp(&b.door)));
        list
    }

    pub(crate) fn get(&self, tenant: &Tenant, id: Uuid) -> Option<Arc<Receipt>> {
        self.ring
            .lock()
            .kept
            .iter()
            .rev()
            .find(|receipt| receipt.id == id && receipt.tenant == *tenant)
            .cloned()
    }

    pub(crate) fn page(
        &self,
        tenant: &Tenant,
        filter: &ReceiptFilter,
        limit: usize,
        before: Option<u64>,
    ) -> ReceiptPage {
        let ring = self.ring.lock();
        let end = ring.first + ring.kept.len() as u64;
        let numbered = (ring.first..end).rev().zip(ring.kept.iter().rev());
        let mut found = numbered
            .skip_while(|(number, _)| before.is_some_and(|before| *number >= before))
            .filter(|(_, receipt)| receipt.tenant == *tenant && filter.fits(receipt));
        let limit = limit.clamp(1, PAGE_MAX);
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let last = page.last().map(|(number, _)| *number);
        let next = found.next().and(last);
        ReceiptPage { items: page.into_iter().map(|(_, receipt)| Arc::clone(receipt)).collect(), next }
    }
}

/// Forgets a shipper when there is no room for another one of this tenant and door.
fn make_room(shippers: &mut HashMap<ShipperKey, ShipperSummary>, (tenant, door, _): &ShipperKey) {
    let is_same = |(of, through, _): &ShipperKey| of == tenant && through == door;
    let of_door = shippers.keys().filter(|key| is_same(key)).count();
    if of_door < SHIPPERS_OF_A_DOOR_MAX && shippers.len() < SHIPPERS_MAX {
        return;
    }
    let candidates = shippers.iter().filter(|(key, _)| of_door < SHIPPERS_OF_A_DOOR_MAX || is_same(key));
    let oldest = candidates.min_by_key(|(_, sum)| sum.last_seen).map(|(key, _)| key.clone());
    oldest.map(|oldest| shippers.remove(&oldest));
    counter!("receipt_shippers_forgotten_total").increment(1);
}

impl ShipperSummary {
    fn new(receipt: &Receipt) -> ShipperSummary {
        ShipperSummary {
            door: receipt.door.clone(),
            shipper: receipt.shipper.clone(),
            peer: None,
            batches: 0,
            accepted: 0,
            deduplicated: 0,
            rejected: 0,
            coerced: 0,
            redacted: 0,
            quarantined: 0,
            dropped: 0,
            pipeline_errors: 0,
            bytes: 0,
            first_seen: receipt.time,
            last_seen: receipt.time,
            last_trouble: None,
            last_reason: None,
        }
    }

    fn add(&mut self, receipt: &Receipt) {
        self.batches += 1;
        self.accepted += receipt.accepted;
        self.deduplicated += receipt.deduplicated;
        self.rejected += receipt.rejected_total;
        self.coerced += receipt.coerced_total;
        self.redacted += receipt.redacted;
        self.quarantined += receipt.quarantined;
        self.dropped += receipt.dropped;
        self.pipeline_errors += receipt.pipeline_errors;
        self.bytes += receipt.bytes;
        self.last_seen = self.last_seen.max(receipt.time);
        self.peer = receipt.peer.or(self.peer);
        if receipt.rejected_total + receipt.quarantined > 0 {
            self.last_trouble = Some(receipt.time);
            self.last_reason = receipt.trouble().or(self.last_reason.take());
        }
    }
}

/// The two files that take turns.
#[derive(Debug)]
struct Files {
    dir: PathBuf,
    second: i64,
    in_second: u32,
}

impl Files {
    fn paths(dir: &Path) -> [PathBuf; 2] {
        [dir.join("earlier.ndjson"), dir.join("latest.ndjson")]
    }

    fn read(dir: &Path) -> io::Result<Vec<Receipt>> {
        let mut receipts = Vec::new();
        let mut broken = 0;
        for path in Files::paths(dir) {
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let lines = lines::read(&bytes, &mut broken);
            receipts.extend(lines.iter().filter_map(|line| serde_json::from_str(line.json).ok()));
        }
        Ok(receipts)
    }

    /// Writes a receipt, without waiting for the disk: what a crash of the machine loses is told nobody to be kept.
    fn put(&mut self, receipt: &Receipt) {
        let second = receipt.time.0.div_euclid(1_000_000_000);
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        let written = if self.in_second > FILED_PER_SECOND_MAX {
            Ok(false)
        } else {
            self.write(receipt).map(|()| true)
        };
        match written {
            Ok(true) => {}
            Ok(false) => counter!("receipts_not_filed_total", "reason" => "rate").increment(1),
            Err(error) => {
                counter!("receipts_not_filed_total", "reason" => "disk").increment(1);
                tracing::debug!(%error, "a receipt could not be written");
            }
        }
    }

    fn write(&self, receipt: &Receipt) -> io::Result<()> {
        let [earlier, latest] = Files::paths(&self.dir);
        let (mut file, bytes) = lines::append(&latest)?;
        if bytes >= FILE_BYTES_MAX {
            std::fs::rename(&latest, &earlier)?;
            file = lines::append(&latest)?.0;
        }
        let mut line = Vec::new();
        lines::push(&mut line, &serde_json::to_string(receipt).map_err(io::Error::other)?);
        file.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoded::RejectKind;

    fn receipt(tenant: &str, n: u128) -> Receipt {
        Receipt {
            accepted: 1,
            deduplicated: 0,
            rejected: vec![],
            rejected_total: 0,
            id: Uuid::from_u128(n),
            coerced: vec![],
            coerced_total: 0,
            timestamps_assigned: 0,
            redacted: 0,
            quarantined: 0,
            dropped: 0,
            pipeline_errors: 0,
            tenant: Tenant::new(tenant).expect("a name"),
            door: Cow::Borrowed("test"),
            shipper: None,
            peer: None,
            token: None,
            time: Timestamp(0),
            bytes: 1,
            seq: Some(1),
        }
    }

    fn rejecting(n: u128) -> Receipt {
        let why =
            Rejected { index: 0, field: "f".into(), reason: "is bad".into(), kind: RejectKind::Invalid };
        Receipt { rejected: vec![why], rejected_total: 1, ..receipt("a", n) }
    }

    fn ids(receipts: &Receipts, filter: &ReceiptFilter) -> Vec<u128> {
        let page = receipts.page(&Tenant::new("a").expect("a name"), filter, 1_000, None);
        page.items.iter().map(|receipt| receipt.id.as_u128()).collect()
    }

    #[test]
    fn pages_are_newest_first_of_one_tenant_and_the_oldest_goes() {
        let receipts = Receipts::default();
        for n in 0..RECEIPTS_MAX as u128 + 10 {
            receipts.keep(&receipt(if n % 2 == 0 { "even" } else { "odd" }, n));
        }
        let even = Tenant::new("even").expect("a name");
        assert_eq!(receipts.get(&even, Uuid::from_u128(8)), None);
        assert!(receipts.get(&even, Uuid::from_u128(10)).is_some());
        assert_eq!(receipts.get(&even, Uuid::from_u128(11)), None, "another tenant's");
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = receipts.page(&even, &ReceiptFilter::default(), 999, before);
            seen.extend(page.items.iter().map(|receipt| receipt.id.as_u128()));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let all: Vec<u128> = (10..RECEIPTS_MAX as u128 + 10).filter(|n| n % 2 == 0).rev().collect();
        assert_eq!(seen, all);
    }

    #[test]
    fn filters_and_sums() {
        let receipts = Receipts::default();
        let beat: Arc<str> = "Filebeat/8.1".into();
        receipts.keep(&Receipt { shipper: Some(Arc::clone(&beat)), time: Timestamp(10), ..receipt("a", 1) });
        receipts.keep(&Receipt {
            peer: Some([10, 0, 0, 1].into()),
            door: "hec".into(),
            time: Timestamp(20),
            ..receipt("a", 2)
        });
        receipts.keep(&Receipt { shipper: Some(beat), time: Timestamp(30), dropped: 2, ..rejecting(3) });
        receipts.keep(&receipt("b", 4));
        let of = |filter: ReceiptFilter| ids(&receipts, &filter);
        assert_eq!(of(ReceiptFilter::default()), [3, 2, 1]);
        assert_eq!(of(ReceiptFilter { door: Some("hec".into()), ..ReceiptFilter::default() }), [2]);
        assert_eq!(
            of(ReceiptFilter { shipper: Some("filebeat".into()), ..ReceiptFilter::default() }),
            [3, 1]
        );
        assert_eq!(of(ReceiptFilter { peer: Some([10, 0, 0, 1].into()), ..ReceiptFilter::default() }), [2]);
        assert_eq!(of(ReceiptFilter { outcome: Some(Outcome::Rejected), ..ReceiptFilter::default() }), [3]);
        assert_eq!(of(ReceiptFilter { outcome: Some(Outcome::Dropped), ..ReceiptFilter::default() }), [3]);
        assert_eq!(
            of(ReceiptFilter { outcome: Some(Outcome::Quarantined), ..ReceiptFilter::default() }),
            [0; 0]
        );
        assert_eq!(
            of(ReceiptFilter {
                from: Some(Timestamp(10)),
                to: Some(Timestamp(30)),
                ..ReceiptFilter::default()
            }),
            [2, 1]
        );
        let summary = receipts.summary(&Tenant::new("a").expect("a name"));
        assert_eq!(summary.len(), 2);
        let first = &summary[0];
        assert_eq!((first.batches, first.accepted, first.rejected, first.dropped), (2, 2, 1, 2));
        assert_eq!((first.last_seen, first.last_reason.as_deref()), (Timestamp(30), Some("f: is bad")));
    }

    #[test]
    fn shippers_are_forgotten_oldest_first_and_within_their_door_where_it_is_full() {
        let receipts = Receipts::default();
        let keep = |tenant: &str, n: usize| {
            let time = Timestamp(i64::try_from(n).expect("few"));
            receipts.keep(&Receipt { shipper: Some(format!("s{n}").into()), time, ..receipt(tenant, 1) });
        };
        keep("quiet", 0);
        (1..=SHIPPERS_OF_A_DOOR_MAX + 5).for_each(|n| keep("loud", n));
        let of = |tenant: &str| receipts.summary(&Tenant::new(tenant).expect("a name"));
        assert_eq!((of("loud").len(), of("quiet").len()), (SHIPPERS_OF_A_DOOR_MAX, 1));
        assert_eq!(of("loud").last().and_then(|sum| sum.shipper.clone()).as_deref(), Some("s6"));
        for tenant in ["t1", "t2", "t3", "t4"] {
            (0..SHIPPERS_OF_A_DOOR_MAX).for_each(|n| keep(tenant, 10_000 + n));
        }
        assert_eq!(of("quiet").len(), 0);
        assert_eq!(receipts.shippers.lock().len(), SHIPPERS_MAX);
        assert_eq!(of("t4")[0].first_seen, of("t4")[0].last_seen);
    }

    #[test]
    fn receipts_of_trouble_survive_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let receipts = Receipts::open(dir.path().to_owned()).expect("a folder");
        receipts.keep(&receipt("a", 1));
        receipts.keep(&rejecting(2));
        receipts.keep(&Receipt { quarantined: 1, ..receipt("a", 3) });
        let latest = &Files::paths(dir.path())[1];
        let bytes = std::fs::read(latest).expect("a file");
        for cut in [bytes.len(), bytes.len() - 3] {
            std::fs::write(latest, &bytes[..cut]).expect("written");
            let again = Receipts::open(dir.path().to_owned()).expect("a folder");
            let expected: &[u128] = if cut == bytes.len() { &[3, 2] } else { &[2] };
            assert_eq!(ids(&again, &ReceiptFilter::default()), expected);
            let kept = again.get(&Tenant::new("a").expect("a name"), Uuid::from_u128(2)).expect("kept");
            assert_eq!(kept.rejected[0].reason, "is bad");
            again.keep(&rejecting(4));
            let third = Receipts::open(dir.path().to_owned()).expect("a folder");
            assert_eq!(ids(&third, &ReceiptFilter::default())[0], 4);
        }
    }

    #[test]
    fn files_take_turns_and_a_flood_is_counted() {
        let dir = tempfile::tempdir().expect("a folder");
        let receipts = Receipts::open(dir.path().to_owned()).expect("a folder");
        let long = "x".repeat(30_000);
        for n in 0..400_u32 {
            let time = Timestamp(i64::from(n) * 1_000_000_000);
            let shipper = Some(long.as_str().into());
            receipts.keep(&Receipt { time, shipper, ..rejecting(u128::from(n)) });
        }
        let sizes = Files::paths(dir.path()).map(|path| std::fs::metadata(path).expect("a file").len());
        assert!(sizes.iter().all(|bytes| *bytes <= FILE_BYTES_MAX + 40_000), "{sizes:?}");
        let again = Receipts::open(dir.path().to_owned()).expect("a folder");
        assert_eq!(ids(&again, &ReceiptFilter::default())[0], 399);
        let flood = tempfile::tempdir().expect("a folder");
        let receipts = Receipts::open(flood.path().to_owned()).expect("a folder");
        (0..300).for_each(|n| receipts.keep(&rejecting(n)));
        let again = Receipts::open(flood.path().to_owned()).expect("a folder");
        assert_eq!(ids(&again, &ReceiptFilter::default()).len(), FILED_PER_SECOND_MAX as usize);
    }
}
