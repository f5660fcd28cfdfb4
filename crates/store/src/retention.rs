//! How long records are kept, and what goes first when space runs out.
//!
//! A record is under the first policy in the configuration whose every condition it meets, else under the store's
//! retention; the same rules say when it may go to the cold tier (see `tiers`). Segments are dropped whole where all of their records have had their time; where only some have, because
//! policies tell records of one segment apart, the segment is written anew without those.
//!
//! Invariants:
//! - a record is kept for its time from its event time or its arrival, whichever is later, and at least as long as that of
//!   the newest record of its segment: never dropped early, late by what a segment spans;
//! - a segment is written anew at most once for each policy whose time passes;
//! - nothing is removed before the manifest that no longer names it is durable;
//! - for lack of space no segment goes whose last record arrived within [`SHED_AGE_MIN`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::schema::logs;
use heimdall_model::{Dataset, Filter, Literal, Tenant, Test, Timestamp};
use parking_lot::Mutex;

use crate::scan::{Control, ScanError, ScanRequest};
use crate::segment::{DAY_NS, Place, Segment, SegmentMeta, TableKey};
use crate::store::{Attempt, Store, StoreError};
use crate::tiers::all_that_pass;
use crate::upkeep::{Pace, UpkeepReport};
use crate::view::View;

/// Most policies; further ones are refused.
pub const POLICIES_MAX: usize = 64;
/// What arrived later is not dropped for lack of space: intake is refused sooner than today's records lost.
pub const SHED_AGE_MIN: Duration = Duration::from_secs(86_400);

/// How long some records are kept. A condition that is absent is met by all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Whose.
    pub tenant: Option<Tenant>,
    /// Which.
    pub dataset: Option<Dataset>,
    /// Of logs: their `classification`.
    pub classification: Option<String>,
    /// Of logs: the name in their `retention_policy`.
    pub retention_policy: Option<String>,
    /// From event time or arrival, whichever is later; zero keeps them for ever.
    pub keep: Duration,
    /// When they go to the cold tier; `None` when the store says, [`NEVER`] keeps them in the folder.
    pub cold_after: Option<Duration>,
}

/// An age that nothing reaches.
pub const NEVER: Duration = Duration::MAX;

impl RetentionPolicy {
    /// Which records of a table meet the conditions; `None` when none does.
    fn filter(&self, table: &TableKey) -> Option<Filter> {
        let is_other = self.tenant.as_ref().is_some_and(|tenant| *tenant != table.tenant)
            || self.dataset.is_some_and(|dataset| dataset != table.dataset);
        let of_logs =
            [(logs::CLASSIFICATION, &self.classification), (logs::RETENTION_POLICY, &self.retention_policy)];
        let mut filter = Filter::All;
        for (field, value) in of_logs {
            let Some(value) = value else { continue };
            if table.dataset != Dataset::Logs {
                return None;
            }
            filter = filter.and(Filter::field(field, Test::Equals(Literal::new(value))));
        }
        (!is_other).then_some(filter)
    }
}

/// Records of a table that are kept for the same time.
pub(crate) struct Rule {
    /// Which: those that no earlier rule is of.
    filter: Filter,
    /// ns; `i64::MAX` is for ever.
    keep_ns: i64,
    /// ns; `i64::MAX` is never.
    cold_ns: i64,
}

impl Rule {
    fn is_over(&self, age_ns: i64) -> bool {
        self.keep_ns < i64::MAX && age_ns > self.keep_ns
    }

    /// Whether its records go to the cold tier at this age.
    pub(crate) fn is_cold(&self, age_ns: i64) -> bool {
        self.may_be_cold() && age_ns > self.cold_ns
    }

    /// Whether its records may ever go there.
    pub(crate) fn may_be_cold(&self) -> bool {
        self.cold_ns < i64::MAX
    }
}

fn keep_ns(keep: Duration) -> i64 {
    if keep.is_zero() { i64::MAX } else { ns(keep) }
}

fn ns(age: Duration) -> i64 {
    i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)
}

/// The rules of one table; the last one is of all records that are left.
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    fn of(
        policies: &[RetentionPolicy],
        retention: Duration,
        cold_after: Duration,
        table: &TableKey,
    ) -> Rules {
        let mut rules = Vec::new();
        for policy in policies {
            let Some(filter) = policy.filter(table) else { continue };
            let is_last = filter == Filter::All;
            let cold_ns = ns(policy.cold_after.unwrap_or(cold_after));
            rules.push(Rule { filter, keep_ns: keep_ns(policy.keep), cold_ns });
            if is_last {
                return Rules(rules);
            }
        }
        rules.push(Rule { filter: Filter::All, keep_ns: keep_ns(retention), cold_ns: ns(cold_after) });
        Rules(rules)
    }

    /// Whether all records go to the cold tier at the same age.
    pub(crate) fn is_one_for_cold(&self) -> bool {
        self.0.iter().all(|rule| rule.cold_ns == self.0[0].cold_ns)
    }

    /// Longest time that any record may be kept.
    fn longest_ns(&self) -> i64 {
        self.0.iter().map(|rule| rule.keep_ns).max().unwrap_or(i64::MAX)
    }

    /// The records of some rules, and which rules these are; `None` when there are none.
    pub(crate) fn of_some(&self, is_meant: impl Fn(&Rule) -> bool) -> Option<(u128, Filter)> {
        let (mut passed, mut earlier, mut over) = (0, Vec::new(), Vec::new());
        for (number, rule) in self.0.iter().enumerate() {
            if is_meant(rule) {
                passed |= 1 << number;
                let not_earlier = earlier.iter().cloned().fold(Filter::All, Filter::and);
                over.push(rule.filter.clone().and(not_earlier));
            }
            earlier.push(rule.filter.clone().negate());
        }
        (passed > 0)
            .then_some((passed, if over.len() == self.0.len() { Filter::All } else { Filter::Or(over) }))
    }
}

/// From when a segment's retention counts: its last arrival, or its newest event time when that is later by a clock's
/// usual error. A clock that is years ahead must not keep a segment for years.
pub(crate) fn newest(meta: &SegmentMeta) -> Timestamp {
    meta.arrived.max(meta.max.min(meta.arrived.saturating_add_ns(DAY_NS)))
}

pub(crate) fn age_ns(meta: &SegmentMeta, now: Timestamp) -> i64 {
    now.0.saturating_sub(newest(meta).0)
}

/// Segments known to hold no record whose time is over by these rules.
#[derive(Default)]
pub(crate) struct Trimmed(Mutex<HashMap<u64, u128>>);

/// Why segments are dropped, as the metric names it.
type Dropped = BTreeMap<u64, &'static str>;

impl Store {
    /// Drops what retention no longer keeps; nothing while other upkeep is under way, which does it anyhow.
    ///
    /// # Errors
    /// The manifest could not be written; nothing has changed then.
    pub fn retain(&self, now: Timestamp) -> Result<UpkeepReport, StoreError> {
        self.upkeep.try_lock().map_or_else(|| Ok(UpkeepReport::default()), |_alone| self.drop_expired(now))
    }

    /// Drops segments: those whose every record has had its time, then those that there is no room for. The caller holds the
    /// upkeep lock.
    pub(crate) fn drop_expired(&self, now: Timestamp) -> Result<UpkeepReport, StoreError> {
        let metas = self.metas();
        let mut longest: HashMap<&TableKey, i64> = HashMap::new();
        for SegmentMeta { table, .. } in &metas {
            longest.entry(table).or_insert_with(|| self.rules(table).longest_ns());
        }
        // Whose time is over first goes first.
        let due = |meta: &SegmentMeta| newest(meta).0.saturating_add(longest[&meta.table]);
        let mut order: Vec<&SegmentMeta> = metas.iter().collect();
        order.sort_by_key(|meta| (due(meta), newest(meta)));
        let is_over = |meta: &&&SegmentMeta| {
            longest[&meta.table] < i64::MAX && age_ns(meta, now) > longest[&meta.table]
        };
        let mut dropped: Dropped = order.iter().filter(is_over).map(|meta| (meta.id, "retention")).collect();
        let mut report = UpkeepReport { expired_segments: dropped.len(), ..UpkeepReport::default() };
        self.shed_for_size(&order, &mut dropped);
        self.shed_for_disk(&order, now, &mut dropped);
        report.shed_segments = dropped.len() - report.expired_segments;
        if dropped.is_empty() {
            return Ok(report);
        }
        Attempt::new(self).commit(&dropped.keys().copied().collect())?;
        for (reason, rows) in metas.iter().filter_map(|meta| Some((*dropped.get(&meta.id)?, meta.rows))) {
            report.dropped_rows += rows;
            metrics::counter!("store_rows_dropped_total", "reason" => reason).increment(rows);
        }
        Ok(report)
    }

    fn shed_for_size(&self, order: &[&SegmentMeta], dropped: &mut Dropped) {
        let max = self.config.retention_bytes;
        let size = |meta: &SegmentMeta| meta.bytes + meta.sidecar_bytes;
        let kept = || order.iter().filter(|meta| !dropped.contains_key(&meta.id));
        let mut bytes: u64 = kept().map(|meta| size(meta)).sum();
        let mut shed = Vec::new();
        for meta in kept().take_while(|_| max > 0) {
            if bytes <= max {
                break;
            }
            bytes -= size(meta);
            shed.push((meta.id, "size"));
        }
        dropped.extend(shed);
    }

    /// Drops what makes room on a disk that is nearly full, unless the cold tier takes it: what a policy keeps out of that
    /// goes last, when nothing else is left to move.
    fn shed_for_disk(&self, order: &[&SegmentMeta], now: Timestamp, dropped: &mut Dropped) {
        let is_dropped = |meta: &&&SegmentMeta| dropped.contains_key(&meta.id);
        let given: u64 = order.iter().filter(is_dropped).map(|meta| meta.local_bytes()).sum();
        let lacking = self.disk_bytes_lacking().saturating_sub(given);
        let is_taken = self.files.cold.is_some() && self.tiers.trouble.lock().is_none();
        if lacking == 0 || (is_taken && !self.tiers.is_stuck()) {
            return;
        }
        let shed_age_min = keep_ns(SHED_AGE_MIN);
        let is_local = |meta: &&&SegmentMeta| meta.place == Place::Local && age_ns(meta, now) > shed_age_min;
        let (mut bytes, mut shed) = (0, Vec::new());
        for meta in order.iter().filter(|meta| !is_dropped(meta)).filter(is_local) {
            if bytes >= lacking {
                break;
            }
            bytes += meta.local_bytes();
            shed.push((meta.id, "disk"));
        }
        if !shed.is_empty() {
            tracing::warn!(
                lacking,
                segments = shed.len(),
                bytes,
                "the disk is nearly full: old segments are dropped"
            );
        }
        dropped.extend(shed);
    }

    /// Bytes by which the free space of the folder is below the reserve.
    pub(crate) fn disk_bytes_lacking(&self) -> u64 {
        let reserve = self.config.disk_reserve_bytes;
        let free = || self.files.disk.free_bytes(&self.files.root).unwrap_or(u64::MAX);
        if reserve == 0 { 0 } else { reserve.saturating_sub(free()) }
    }

    pub(crate) fn rules(&self, table: &TableKey) -> Rules {
        let crate::StoreConfig { policies, retention, cold_after, .. } = &self.config;
        Rules::of(policies, *retention, *cold_after, table)
    }

    /// Removes the records of one segment whose time is over by a policy while that of others is not; returns how many
    /// segments it looked into until then that had some: one, or none when there is nothing left to do. Segments that are
    /// damaged are passed over.
    ///
    /// # Errors
    /// A segment could not be read or written, or `pace` broke it off ([`ScanError::Cancelled`]); nothing has changed then.
    pub fn trim(self: &Arc<Self>, now: Timestamp, pace: &Pace<'_>) -> Result<usize, ScanError> {
        let _alone = self.upkeep.lock();
        let tables: Vec<TableKey> = self.state.read().segments.keys().cloned().collect();
        for table in tables {
            let rules = self.rules(&table);
            if rules.0.len() == 1 {
                continue;
            }
            let view = self.view(&table.tenant, table.dataset);
            for segment in &view.segments {
                if pace().is_break() {
                    return Err(ScanError::Cancelled);
                }
                let age_ns = age_ns(&segment.meta, now);
                let Some((passed, filter)) = rules.of_some(|rule| rule.is_over(age_ns)) else { continue };
                if self.trimmed.0.lock().get(&segment.meta.id) == Some(&passed) {
                    continue;
                }
                match self.trim_segment(&view, segment, filter, pace) {
                    Ok(0) => {}
                    Ok(_) => return Ok(1),
                    Err(ScanError::Store(error @ StoreError::Corrupt { .. })) => {
                        tracing::warn!(%error, "a damaged segment keeps records whose time is over");
                    }
                    Err(error) => return Err(error),
                }
                self.trimmed.0.lock().insert(segment.meta.id, passed);
            }
        }
        self.forget_trimmed();
        Ok(0)
    }

    /// Removes the rows of a segment that pass; returns how many.
    fn trim_segment(
        self: &Arc<Self>,
        view: &View,
        segment: &Arc<Segment>,
        filter: Filter,
        pace: &Pace<'_>,
    ) -> Result<u64, ScanError> {
        let request = all_that_pass(&segment.meta, filter);
        let rows = self.count_segment(view, segment, &request)?;
        if rows > 0 {
            let mut attempt = Attempt::new(self);
            self.leave_out(&mut attempt, segment, rows, &request, pace)?;
            attempt.commit(&std::iter::once(segment.meta.id).collect())?;
            metrics::counter!("store_rows_dropped_total", "reason" => "policy").increment(rows);
            tracing::info!(
                segment = segment.meta.parquet_name(),
                rows,
                "records whose time is over by a policy were dropped"
            );
        }
        Ok(rows)
    }

    /// Rows of one segment of a view that pass.
    pub(crate) fn count_segment(
        self: &Arc<Self>,
        view: &View,
        segment: &Arc<Segment>,
        request: &ScanRequest,
    ) -> Result<u64, ScanError> {
        let only = View { chunks: Vec::new(), segments: vec![Arc::clone(segment)], ..view.clone() };
        self.count_in(&only, request, &Control::default()).map(|(rows, _)| rows)
    }

    /// Forgets what is known of segments that are gone.
    fn forget_trimmed(&self) {
        let state = self.state.read();
        let live: std::collections::HashSet<u64> =
            state.segments.values().flatten().map(|segment| segment.meta.id).collect();
        drop(state);
        self.trimmed.0.lock().retain(|id, _| live.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_policy_that_fits_holds() {
        let policy = |tenant: Option<&str>, class: Option<&str>, days: u64| RetentionPolicy {
            tenant: tenant.map(|name| Tenant::new(name).expect("a name")),
            classification: class.map(str::to_owned),
            keep: Duration::from_secs(days * 86_400),
            ..RetentionPolicy::default()
        };
        let policies = [
            policy(Some("acme"), Some("public"), 7),
            policy(None, Some("restricted"), 0),
            policy(Some("acme"), None, 30),
            policy(Some("acme"), Some("internal"), 1),
        ];
        let days = |tenant: &str, dataset| {
            let table = TableKey { tenant: Tenant::new(tenant).expect("a name"), dataset };
            let rules = Rules::of(&policies, Duration::from_secs(365 * 86_400), NEVER, &table);
            rules.0.iter().map(|rule| rule.keep_ns / DAY_NS).collect::<Vec<_>>()
        };
        let for_ever = i64::MAX / DAY_NS;
        assert_eq!(
            days("acme", Dataset::Logs),
            [7, for_ever, 30],
            "what comes after a policy for all is never reached"
        );
        assert_eq!(days("other", Dataset::Logs), [for_ever, 365]);
        assert_eq!(days("acme", Dataset::Metrics), [30], "samples have no class");
    }
}
