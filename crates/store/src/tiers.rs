//! Tiers: what is old moves from the folder to the cold tier.
//!
//! A segment is *hot* for [`HOT_FOR`] after its newest record, then *warm*; both are in the folder. It is *cold* once its
//! Parquet file is an object of the cold tier: its sidecar, and the end of the Parquet file, stay in the folder, so that
//! needles, counts and cubes read nothing from afar.
//!
//! A segment goes once all of its records are due: by the store's `cold_after`, or by that of the policy they are under. Where
//! policies part the records of one segment, those that are due leave it for a segment of their own, which is written in the
//! cold tier, once its merges are over: never early, and late by what is left of its day.
//!
//! Invariants:
//! - a record under a policy that says never stays in the folder, whatever its size and the disk's;
//! - the file in the folder goes after the manifest that says where the object is, and that after the object is durable and
//!   checked: a crash anywhere loses nothing and doubles nothing;
//! - an object that no manifest names is removed by the next process;
//! - a query that began before a move ends with the file it began with.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heimdall_journal::disk::{Disk, DiskFile};
use heimdall_model::{Dataset, Filter, Tenant, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;

use crate::checksums::CHUNK_BYTES;
use crate::cold::Cold;
use crate::manifest::Manifest;
use crate::retention::{Rule, Rules, age_ns, newest};
use crate::scan::{ScanError, ScanRequest, TimeRange};
use crate::segment::{Place, Segment, SegmentMeta, TableKey, day_of, remove_local, write_whole};
use crate::store::{Attempt, Store, StoreError};
use crate::upkeep::{LEVEL_ROWS, Pace, level};

/// How long a segment counts as hot.
const HOT_FOR: Duration = Duration::from_secs(7 * 86_400);

/// Where a segment is, and how old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// In the folder, and of the last days.
    Hot,
    /// In the folder, and older.
    Warm,
    /// In the cold tier.
    Cold,
}

impl Tier {
    /// The name of the tier.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Hot => "hot",
            Tier::Warm => "warm",
            Tier::Cold => "cold",
        }
    }

    pub(crate) fn of(meta: &SegmentMeta, now: Timestamp) -> Tier {
        match meta.place {
            Place::Cold => Tier::Cold,
            Place::Local if is_past(meta, HOT_FOR, now) => Tier::Warm,
            Place::Local => Tier::Hot,
        }
    }
}

/// A segment: where it is and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentInfo {
    /// Its number: later ones have greater ones.
    pub id: u64,
    /// File name of its Parquet file.
    pub name: String,
    /// Owner of its rows.
    pub tenant: Tenant,
    /// What they are.
    pub dataset: Dataset,
    /// Where it is.
    pub tier: Tier,
    /// Which merges are over: 0 has seen none, those of the last level are final.
    pub level: usize,
    /// Rows.
    pub rows: u64,
    /// Bytes of the Parquet file.
    pub bytes: u64,
    /// Bytes of the sidecar.
    pub sidecar_bytes: u64,
    /// Earliest event time.
    pub min: Timestamp,
    /// Latest event time.
    pub max: Timestamp,
    /// Latest arrival.
    pub arrived: Timestamp,
}

/// The segments of the store in `root`, as [`Store::segments`], without opening it: also while a server runs there.
///
/// # Errors
/// The manifest cannot be read.
pub fn segments_in(disk: &dyn Disk, root: &Path, now: Timestamp) -> Result<Vec<SegmentInfo>, StoreError> {
    Ok(listed(Manifest::load(disk, root)?.segments, now))
}

fn listed(mut metas: Vec<SegmentMeta>, now: Timestamp) -> Vec<SegmentInfo> {
    metas.sort_by(|a, b| a.table.cmp(&b.table).then(b.max.cmp(&a.max)).then(b.id.cmp(&a.id)));
    let info = |meta: SegmentMeta| SegmentInfo {
        id: meta.id,
        name: meta.parquet_name(),
        tier: Tier::of(&meta, now),
        level: level(&meta),
        tenant: meta.table.tenant,
        dataset: meta.table.dataset,
        rows: meta.rows,
        bytes: meta.bytes,
        sidecar_bytes: meta.sidecar_bytes,
        min: meta.min,
        max: meta.max,
        arrived: meta.arrived,
    };
    metas.into_iter().map(info).collect()
}

/// Whether so much time has passed since a segment's newest record.
pub(crate) fn is_past(meta: &SegmentMeta, age: Duration, now: Timestamp) -> bool {
    now.0.saturating_sub(newest(meta).0) > i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)
}

/// How the cold tier stands with this process.
pub(crate) struct Tiers {
    /// Why segments cannot be moved at the moment.
    pub trouble: Mutex<Option<String>>,
    /// Objects named by the manifest this process began with, until the tier is known to be ours and those that no manifest
    /// names are removed. Later ones are removed with their last reader.
    found: Mutex<Option<HashSet<String>>>,
    /// Rows of segments under some rules of their table.
    shares: Mutex<HashMap<(u64, u128), u64>>,
    /// Whether room is lacking and nothing that may leave the folder is left in it.
    stuck: Mutex<bool>,
}

impl Tiers {
    /// Whether room is lacking and moving cannot make any.
    pub(crate) fn is_stuck(&self) -> bool {
        *self.stuck.lock()
    }

    pub(crate) fn new(manifest: &Manifest) -> Tiers {
        let names = manifest.segments.iter().map(SegmentMeta::parquet_name).collect();
        Tiers {
            trouble: Mutex::default(),
            found: Mutex::new(Some(names)),
            shares: Mutex::default(),
            stuck: Mutex::default(),
        }
    }
}

/// Why a segment was not moved.
enum Failure {
    /// The cold tier did not do what it should: tried again in the next round.
    Cold(io::Error),
    Store(StoreError),
}

/// What of a segment goes to the cold tier.
enum Due {
    /// All of it.
    Whole,
    /// The records that pass, of which there are so many.
    Part(Filter, u64),
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Failure {
        match error {
            ScanError::Store(error) => Failure::Store(error),
            other => Failure::Store(StoreError::Encode { detail: other.to_string() }),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

impl Store {
    /// Every segment, by tenant and dataset, the newest first.
    #[must_use]
    pub fn segments(&self, now: Timestamp) -> Vec<SegmentInfo> {
        listed(self.metas(), now)
    }

    /// Moves what is due to the cold tier; returns how many segments went there. The caller holds the upkeep lock.
    pub(crate) fn move_to_cold(
        self: &Arc<Self>,
        now: Timestamp,
        pace: &Pace<'_>,
    ) -> Result<usize, StoreError> {
        let Some(cold) = &self.files.cold else { return Ok(0) };
        let mut moved = 0;
        let outcome = self.move_due(cold, now, pace, &mut moved);
        *self.tiers.trouble.lock() = match outcome {
            Ok(()) => None,
            Err(Failure::Cold(error)) => {
                tracing::warn!(%error, tier = ?cold, "the cold tier does not answer; segments stay where they are");
                metrics::counter!("errors_total", "area" => "cold").increment(1);
                Some(error.to_string())
            }
            Err(Failure::Store(error)) => return Err(error),
        };
        Ok(moved)
    }

    fn move_due(
        self: &Arc<Self>,
        cold: &Cold,
        now: Timestamp,
        pace: &Pace<'_>,
        moved: &mut usize,
    ) -> Result<(), Failure> {
        let due = self.due_for_cold(now, pace)?;
        self.own(cold, !due.is_empty())?;
        for (segment, due) in due {
            if pace().is_break() {
                return Ok(());
            }
            match due {
                Due::Whole => self.move_segment(cold, &segment)?,
                Due::Part(filter, rows) => {
                    if !self.move_part(cold, &segment, &filter, rows, pace)? {
                        return Ok(());
                    }
                }
            }
            metrics::counter!("store_cold_moves_total").increment(1);
            *moved += 1;
        }
        Ok(())
    }

    /// Once a process: makes the cold tier that of this store, if it is used, and removes objects that a crash left behind.
    fn own(&self, cold: &Cold, uses: bool) -> Result<(), Failure> {
        let mut found = self.tiers.found.lock();
        let Some(before) = found.as_ref() else { return Ok(()) };
        let owner = self.manifest.lock().cold_owner.clone();
        let owner = match owner {
            Some(owner) => owner,
            None if !uses => return Ok(()),
            None => {
                let owner = uuid::Uuid::now_v7().to_string();
                // First here: a crash in between must not leave a tier that nobody owns.
                self.revise(|manifest| manifest.cold_owner = Some(owner.clone()))?;
                owner
            }
        };
        cold.claim(&owner).map_err(Failure::Cold)?;
        let metas = self.metas();
        let named: HashSet<String> = metas.iter().map(SegmentMeta::parquet_name).collect();
        cold.remove_orphans(&|name| named.contains(name) || before.contains(name)).map_err(Failure::Cold)?;
        *found = None;
        Ok(())
    }

    /// What is to be moved, oldest first: by age, and beyond the size of the folder.
    fn due_for_cold(
        self: &Arc<Self>,
        now: Timestamp,
        pace: &Pace<'_>,
    ) -> Result<Vec<(Arc<Segment>, Due)>, Failure> {
        let mut local: Vec<Arc<Segment>> = self.state.read().segments.values().flatten().cloned().collect();
        self.forget_shares(&local);
        let mut bytes: u64 = local.iter().map(|segment| segment.meta.local_bytes()).sum();
        local.retain(|segment| segment.meta.place == Place::Local && segment.is_sound());
        local.sort_by_key(|segment| newest(&segment.meta));
        let mut max = self.config.local_bytes_max;
        // A disk that is nearly full is as one that is too small.
        let lacking = self.disk_bytes_lacking();
        if lacking > 0 {
            let room = bytes.saturating_sub(lacking).max(1);
            max = if max == 0 { room } else { max.min(room) };
        }
        let mut all = Vec::new();
        for segment in local {
            if pace().is_break() {
                break;
            }
            let is_beyond = max > 0 && bytes > max;
            let Some(due) = self.due_of(&segment, is_beyond, now)? else { continue };
            let meta = &segment.meta;
            bytes -= match &due {
                Due::Whole => meta.bytes,
                Due::Part(_, rows) => meta.bytes / meta.rows.max(1) * rows,
            };
            all.push((segment, due));
        }
        *self.tiers.stuck.lock() = lacking > 0 && all.is_empty();
        Ok(all)
    }

    /// What of one segment is to be moved.
    fn due_of(
        self: &Arc<Self>,
        segment: &Arc<Segment>,
        is_beyond: bool,
        now: Timestamp,
    ) -> Result<Option<Due>, Failure> {
        let (meta, rules) = (&segment.meta, self.rules(&segment.meta.table));
        let age_ns = age_ns(meta, now);
        let is_settled = is_past(meta, self.config.settle_age, now);
        if is_beyond && is_settled {
            return self.share_of(segment, &rules, Rule::may_be_cold);
        }
        // What policies part is not parted again and again while it is still merged.
        let is_final = level(meta) >= LEVEL_ROWS.len() || (is_settled && day_of(meta.min) < day_of(now));
        if rules.is_one_for_cold() || is_final {
            return self.share_of(segment, &rules, |rule| rule.is_cold(age_ns));
        }
        Ok(None)
    }

    /// The records of a segment under some of its table's rules. Looks into the segment when not all rules are meant, once for
    /// each set of rules.
    fn share_of(
        self: &Arc<Self>,
        segment: &Arc<Segment>,
        rules: &Rules,
        is_meant: impl Fn(&Rule) -> bool,
    ) -> Result<Option<Due>, Failure> {
        let Some((meant, filter)) = rules.of_some(is_meant) else { return Ok(None) };
        let meta = &segment.meta;
        if filter == Filter::All {
            return Ok(Some(Due::Whole));
        }
        let known = self.tiers.shares.lock().get(&(meta.id, meant)).copied();
        let rows = match known {
            Some(rows) => rows,
            None => {
                let view = self.view(&meta.table.tenant, meta.table.dataset);
                let rows = self.count_segment(&view, segment, &all_that_pass(meta, filter.clone()))?;
                self.tiers.shares.lock().insert((meta.id, meant), rows);
                rows
            }
        };
        Ok(match rows {
            0 => None,
            rows if rows == meta.rows => Some(Due::Whole),
            rows => Some(Due::Part(filter, rows)),
        })
    }

    fn forget_shares(&self, live: &[Arc<Segment>]) {
        let ids: HashSet<u64> = live.iter().map(|segment| segment.meta.id).collect();
        self.tiers.shares.lock().retain(|(id, _), _| ids.contains(id));
    }

    fn move_segment(&self, cold: &Cold, segment: &Segment) -> Result<(), Failure> {
        let (id, tail_bytes) = (segment.meta.id, self.put(cold, segment)?);
        self.revise(|manifest| {
            for described in manifest.segments.iter_mut().filter(|described| described.id == id) {
                (described.place, described.tail_bytes) = (Place::Cold, tail_bytes);
            }
        })?;
        Ok(())
    }

    /// Parts a segment in two: the rows that pass, of which there are `rows`, make one in the cold tier, the others one in the
    /// folder. One manifest replaces it by both. `false` when it was broken off.
    fn move_part(
        self: &Arc<Self>,
        cold: &Cold,
        segment: &Arc<Segment>,
        filter: &Filter,
        rows: u64,
        pace: &Pace<'_>,
    ) -> Result<bool, Failure> {
        let meta = &segment.meta;
        let (going, staying) =
            (all_that_pass(meta, filter.clone()), all_that_pass(meta, filter.clone().negate()));
        let mut attempt = Attempt::new(self);
        for (left_out, count) in [(&going, rows), (&staying, meta.rows - rows)] {
            match self.leave_out(&mut attempt, segment, count, left_out, pace) {
                Err(ScanError::Cancelled) => return Ok(false),
                other => other?,
            }
        }
        let Some(gone) = attempt.segments.last().cloned() else { return Ok(false) };
        let tail_bytes = self.put(cold, &Segment::new(&self.files, gone.clone())).inspect_err(|_| {
            // Nobody will know of it.
            cold.remove_later(&gone.parquet_name());
        })?;
        for described in attempt.segments.iter_mut().filter(|described| described.id == gone.id) {
            (described.place, described.tail_bytes) = (Place::Cold, tail_bytes);
        }
        attempt.commit(&std::iter::once(meta.id).collect())?;
        remove_local(&self.files, &gone.parquet_name());
        tracing::info!(
            segment = meta.parquet_name(),
            rows,
            "records that a policy sends to the cold tier went there"
        );
        Ok(true)
    }

    /// Makes an object of a segment's Parquet file, and a file of its end; returns the bytes of that.
    fn put(&self, cold: &Cold, segment: &Segment) -> Result<u64, Failure> {
        let meta = &segment.meta;
        let (disk, name) = (self.files.disk.as_ref(), meta.parquet_name());
        let start = segment.footer()?.starts_at().unwrap_or(meta.bytes);
        let start = start / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
        let tail_bytes = meta.bytes - start.min(meta.bytes);
        let length = usize::try_from(tail_bytes).unwrap_or(usize::MAX);
        let tail = segment.checked()?.read(start, length).map_err(|error| segment.failed(&error))?;
        let path = self.files.path(&name);
        let file = disk.open_read(&path).map_err(|source| StoreError::io(&path, source))?;
        let file: Arc<dyn DiskFile> = Arc::from(file);
        cold.put(&name, file, meta.bytes, meta.crc32c).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Failure::Store(segment.failed(&error)),
            _ => Failure::Cold(error),
        })?;
        write_whole(disk, &self.files.path(&meta.tail_name()), &tail)?;
        Ok(tail_bytes)
    }
}

/// Every row of a segment's table that passes, whenever it was.
pub(crate) fn all_that_pass(meta: &SegmentMeta, filter: Filter) -> ScanRequest {
    let TableKey { tenant, dataset } = meta.table.clone();
    ScanRequest { tenant, dataset, range: TimeRange::ALL, filter, fields: None }
}
