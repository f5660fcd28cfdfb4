//! The store as a whole: append, freeze, commit, recover.
//!
//! Invariants:
//! - a row is in the memtable, in the frozen tables or in one live segment, never in two of them for any reader;
//! - frames after the manifest's `journal_seq` are replayed by the caller after [`Store::open`], in order;
//! - templates are assigned by one caller in journal order, so a replay assigns the same ids.
//!
//! Not here: reading (see `scan`), forgetting (see `upkeep`).

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heimdall_journal::disk::Disk;
use heimdall_model::batch::{Column, Joined, Mined, Primitive, Validity};
use heimdall_model::matcher::Node;
use heimdall_model::schema::logs;
use heimdall_model::{Batch, Dataset, Target, Tenant};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;

use crate::aside::DamagedSegment;
use crate::cold::Cold;
use crate::decisions::{DecisionCache, Decisions};
use crate::files::{Files, Room};
use crate::manifest::{CatalogFile, Manifest, NamedFile};
use crate::memtable::{Chunk, Memtable};
use crate::retention::{POLICIES_MAX, RetentionPolicy, Trimmed};
use crate::scan::Turns;
use crate::segment::{self, Place, SEGMENT_ROWS_MAX, Segment, SegmentMeta, TableKey};
use crate::summary::CUBE_FIELDS_MAX;
use crate::template::{Miner, MinerConfig, TemplateId};
use crate::tiers::Tiers;
use crate::version::{self, Changes};

/// Limits of the store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Memtable rows, over all tables, at which it is written out.
    pub flush_rows: usize,
    /// Memtable bytes, over all tables, at which it is written out.
    pub flush_bytes: usize,
    /// Age of the oldest row in the memtable at which it is written out.
    pub flush_age: Duration,
    /// How long records are kept, from event time or arrival, whichever is later; zero keeps them for ever.
    pub retention: Duration,
    /// Bytes of all segments above which the oldest are dropped; zero is no limit.
    pub retention_bytes: u64,
    /// Where old segments are kept; `None` keeps all of them in the folder.
    pub cold: Option<Cold>,
    /// Age of their newest record, and since their last arrival, from which segments go there.
    pub cold_after: Duration,
    /// Bytes of files in the folder above which the oldest segments go there earlier; zero is no limit.
    pub local_bytes_max: u64,
    /// Records that are kept for another time, or go to the cold tier at another: the first policy that fits a record holds. At most [`POLICIES_MAX`]; the rest
    /// is ignored.
    ///
    /// [`POLICIES_MAX`]: crate::POLICIES_MAX
    pub policies: Vec<RetentionPolicy>,
    /// Free space of the folder's disk below which segments leave it, those whose time is over soonest first; zero is none.
    pub disk_reserve_bytes: u64,
    /// Bytes of decoded rows a merge of segments may hold.
    pub compact_memory_bytes: u64,
    /// Time without arrivals after which what is left of a day is merged for good, and large segments are.
    pub settle_age: Duration,
    /// Most bytes of decoded sidecar blocks kept in memory, over all segments.
    pub sidecar_cache_bytes: usize,
    /// Most bytes of ends of Parquet files kept in memory, over all segments: some 2 for three rows.
    pub footer_cache_bytes: usize,
    /// Most files kept open: a segment has two, and a value looked for in all of them reads both.
    pub open_files_max: usize,
    /// Threads that work at scans at one time, over all queries; zero is as many as there are processors.
    pub scan_threads: usize,
    /// Rows of a part of a scan, which one thread works at: enough to pay for opening a column, few enough to share.
    pub scan_unit_rows: usize,
    /// Most bytes of rows that one scan has read and its reader has not taken yet.
    pub scan_bytes_max: usize,
    /// Most bytes of rows in memory that a search answers with at once; a search that hands rows out early has them again for the
    /// next. Beyond: [`ScanError::AnswerTooLarge`](crate::ScanError::AnswerTooLarge).
    pub search_bytes_max: usize,
    /// Fields of logs whose values are counted when segments are written, so that the most frequent ones and their number
    /// are known without a scan. Names as in a search line; at most [`CUBE_FIELDS_MAX`] of them, the rest is ignored.
    pub cube_fields: Vec<String>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            flush_rows: 1_000_000,
            flush_bytes: 96 << 20,
            flush_age: Duration::from_secs(60),
            retention: Duration::from_secs(30 * 86_400),
            retention_bytes: 0,
            policies: Vec::new(),
            disk_reserve_bytes: 0,
            cold: None,
            cold_after: Duration::from_secs(30 * 86_400),
            local_bytes_max: 0,
            compact_memory_bytes: 32 << 20,
            settle_age: Duration::from_secs(5 * 60),
            sidecar_cache_bytes: 256 << 20,
            footer_cache_bytes: 512 << 20,
            open_files_max: 512,
            scan_threads: 0,
            scan_unit_rows: 128 << 10,
            scan_bytes_max: 64 << 20,
            search_bytes_max: 64 << 20,
            cube_fields: ["user_id", "source_ip", "status"].map(str::to_owned).to_vec(),
        }
    }
}

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("could not access `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what the manifest or its format says.
    #[error("`{}` is corrupt: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What differs, and where.
        detail: String,
    },
    /// The cold tier cannot be used.
    #[error("the cold tier `{url}` cannot be used: {detail}")]
    Cold {
        /// Where it is.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A segment or manifest could not be encoded.
    #[error("could not encode: {detail}")]
    Encode {
        /// The encoder's words.
        detail: String,
    },
}

impl StoreError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), source }
    }

    /// Whether it may pass when space or the device comes back.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Io { .. })
    }
}

/// Where the store stands.
#[derive(Debug, Clone, Serialize)]
pub struct StoreStatus {
    /// Live segments.
    pub segments: usize,
    /// Rows in segments.
    pub segment_rows: u64,
    /// Bytes of segments and sidecars, wherever they are.
    pub segment_bytes: u64,
    /// Segments whose Parquet file is in the cold tier.
    pub cold_segments: usize,
    /// Bytes of those files.
    pub cold_bytes: u64,
    /// Why segments cannot be moved there at the moment.
    pub cold_trouble: Option<String>,
    /// Segments set aside because they are damaged: answers go without their rows.
    pub damaged: Vec<DamagedSegment>,
    /// Rows not yet in a segment.
    pub memtable_rows: usize,
    /// Bytes of those rows in memory.
    pub memtable_bytes: usize,
    /// Last journal frame covered by segments.
    pub journal_seq: u64,
    /// Templates known, over all tenants.
    pub templates: usize,
    /// Number of the manifest.
    pub manifest: u64,
}

/// Tables that are being written out.
pub(crate) struct Frozen {
    seq: u64,
    tables: BTreeMap<TableKey, Vec<Arc<Chunk>>>,
    catalogs: Vec<(Tenant, Vec<u8>)>,
    judgement: Vec<u8>,
    rows: usize,
}

impl Frozen {
    /// Rows of one table.
    pub(crate) fn rows_of(&self, table: &TableKey) -> u64 {
        self.tables.get(table).into_iter().flatten().map(|chunk| chunk.block.rows() as u64).sum()
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub live: BTreeMap<TableKey, Memtable>,
    pub frozen: Option<Arc<Frozen>>,
    pub segments: BTreeMap<TableKey, Vec<Arc<Segment>>>,
    /// What has happened to each table's rows.
    pub changes: BTreeMap<TableKey, Changes>,
    /// Times that `segments` changed.
    pub commits: u64,
}

/// The templates of a tenant.
struct Catalog {
    miner: Miner,
    /// Whether it differs from the last one set aside to be written.
    changed: bool,
}

/// The embedded store of every tenant and dataset.
pub struct Store {
    pub(crate) files: Arc<Files>,
    pub(crate) config: StoreConfig,
    /// Fields of logs that cubes are made of.
    pub(crate) declared: Arc<[Target]>,
    pub(crate) state: RwLock<State>,
    pub(crate) manifest: Mutex<Manifest>,
    /// Held by whoever replaces segments: merges, retention. Flushes only add some.
    pub(crate) upkeep: Mutex<()>,
    /// What policies have been applied to.
    pub(crate) trimmed: Trimmed,
    catalogs: Mutex<BTreeMap<Tenant, Catalog>>,
    decisions: DecisionCache,
    pub(crate) turns: Arc<Turns>,
    pub(crate) tiers: Tiers,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.files.root).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `root`, creating it when absent. The caller then replays the journal from
    /// [`Store::journal_seq`] on.
    ///
    /// # Errors
    /// [`StoreError`] names the file: the folder cannot be used, or a file the manifest names is missing or damaged.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, mut config: StoreConfig) -> Result<Store, StoreError> {
        config.policies.truncate(POLICIES_MAX);
        disk.create_dir_all(root).map_err(|source| StoreError::io(root, source))?;
        let manifest = Manifest::load(disk.as_ref(), root)?;
        let present = remove_orphans(disk.as_ref(), root, &manifest)?;
        if let Some(missing) = manifest.files().find(|name| !present.contains(name)) {
            return Err(StoreError::io(&root.join(missing), std::io::ErrorKind::NotFound.into()));
        }
        let cold = manifest.segments.iter().find(|meta| meta.place == Place::Cold);
        if let (Some(meta), None) = (cold, &config.cold) {
            let detail = format!("`{}` is in one, and none is configured", meta.parquet_name());
            return Err(StoreError::Cold { url: String::new(), detail });
        }
        let room = Room {
            sidecar_bytes: config.sidecar_cache_bytes,
            footer_bytes: config.footer_cache_bytes,
            open_files: config.open_files_max,
        };
        let files = Arc::new(Files::new(disk, root, config.cold.clone(), room));
        let mut state = State::default();
        for meta in &manifest.segments {
            let segment = Arc::new(Segment::new(&files, meta.clone()));
            state.segments.entry(meta.table.clone()).or_default().push(segment);
            state.changes.entry(meta.table.clone()).or_default().found(meta.rows);
        }
        let mut catalogs = BTreeMap::new();
        for catalog in &manifest.catalogs {
            let bytes = read_named(files.disk.as_ref(), root, &catalog.file)?;
            let miner = Miner::decode(&bytes).map_err(|error| StoreError::Corrupt {
                path: root.join(&catalog.file.file),
                detail: error.to_string(),
            })?;
            catalogs.insert(catalog.tenant.clone(), Catalog { miner, changed: false });
        }
        Ok(Store {
            files,
            declared: declared(&config.cube_fields),
            turns: Arc::new(Turns::new(config.scan_threads)),
            tiers: Tiers::new(&manifest),
            config,
            state: RwLock::new(state),
            manifest: Mutex::new(manifest),
            upkeep: Mutex::default(),
            trimmed: Trimmed::default(),
            catalogs: Mutex::new(catalogs),
            decisions: DecisionCache::default(),
        })
    }

    /// Last journal frame whose rows are all in segments.
    #[must_use]
    pub fn journal_seq(&self) -> u64 {
        self.manifest.lock().journal_seq
    }

    /// The detector state saved with the last commit.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn judgement(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let file = self.manifest.lock().judgement.clone();
        let Files { disk, root, .. } = self.files.as_ref();
        file.map(|file| read_named(disk.as_ref(), root, &file)).transpose()
    }

    /// Assigns each log record its template, and notes beside the batch what detectors ask of it ([`Batch::mined`]). Call
    /// it for every batch, in journal order, before [`Store::append`].
    pub fn assign_templates(&self, tenant: &Tenant, batch: &mut Batch) {
        if batch.dataset != Dataset::Logs {
            return;
        }
        let mut catalogs = self.catalogs.lock();
        let fresh = || Catalog { miner: Miner::new(MinerConfig::default()), changed: true };
        let Catalog { miner, changed } = catalogs.entry(tenant.clone()).or_insert_with(fresh);
        *changed = true;
        annotate(miner, batch);
    }

    /// Text of a template; 0 and unknown ids have none.
    #[must_use]
    pub fn template_text(&self, tenant: &Tenant, id: u32) -> Option<Arc<str>> {
        let catalogs = self.catalogs.lock();
        let miner = &catalogs.get(tenant)?.miner;
        miner.template(miner.canonical(TemplateId(id))).map(|template| Arc::from(template.text()))
    }

    /// Runs `read` over the template catalog of a tenant, when it has one.
    pub fn with_templates<T>(&self, tenant: &Tenant, read: impl FnOnce(&Miner) -> T) -> Option<T> {
        self.catalogs.lock().get(tenant).map(|catalog| read(&catalog.miner))
    }

    /// Decides the tests on messages of a filter by template. The rows it will be asked for must have been taken before.
    pub(crate) fn decide(&self, tenant: &Tenant, dataset: Dataset, root: &Node) -> Decisions {
        self.decisions.decide(tenant, dataset, root, |each| {
            self.with_templates(tenant, |miner| each(miner));
        })
    }

    /// Adds a batch whose base position is set. It is searchable on return.
    pub fn append(&self, tenant: &Tenant, mut batch: Batch) {
        if batch.is_empty() {
            return;
        }
        batch.mined = None;
        let table = TableKey { tenant: tenant.clone(), dataset: batch.dataset };
        let (rows, (min, max)) = (batch.rows() as u64, version::bounds(&batch));
        let mut state = self.state.write();
        state.changes.entry(table.clone()).or_default().append(rows, min, max);
        state.live.entry(table).or_default().append(batch);
    }

    /// Rows and bytes in the live memtable.
    #[must_use]
    pub fn memtable_size(&self) -> (usize, usize) {
        let state = self.state.read();
        let sum = |f: fn(&Memtable) -> usize| state.live.values().map(f).sum();
        (sum(|table| table.rows), sum(|table| table.bytes))
    }

    /// Whether the live memtable is large enough to be written out.
    #[must_use]
    pub fn is_flush_due(&self) -> bool {
        let (rows, bytes) = self.memtable_size();
        rows >= self.config.flush_rows || bytes >= self.config.flush_bytes
    }

    /// Whether a memtable is set aside and not yet committed.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.state.read().frozen.is_some()
    }

    /// Sets the live memtable aside to be written out: it holds every row up to journal frame `seq`, with the detector
    /// state of that moment. `false` when an earlier one is still being written. Only the stream's thread calls it.
    pub fn freeze(&self, seq: u64, judgement: impl FnOnce() -> Vec<u8>) -> bool {
        if self.is_frozen() {
            return false;
        }
        let judgement = judgement();
        let catalogs = self.changed_catalogs();
        let mut state = self.state.write();
        let live = std::mem::take(&mut state.live);
        let rows = live.values().map(|table| table.rows).sum();
        let tables = live.into_iter().map(|(key, table)| (key, table.into_chunks())).collect();
        state.frozen = Some(Arc::new(Frozen { seq, tables, catalogs, judgement, rows }));
        true
    }

    /// Catalogs that have changed since they were last set aside, encoded.
    fn changed_catalogs(&self) -> Vec<(Tenant, Vec<u8>)> {
        let mut catalogs = self.catalogs.lock();
        let encode = |(tenant, catalog): (&Tenant, &mut Catalog)| {
            std::mem::take(&mut catalog.changed).then(|| (tenant.clone(), catalog.miner.encode()))
        };
        catalogs.iter_mut().filter_map(encode).collect()
    }

    /// Writes the frozen tables as segments and commits them; returns the journal frame now covered. On an error the
    /// tables stay frozen and readable, and the call can be repeated. `None` when nothing is frozen.
    ///
    /// # Errors
    /// A file could not be written; see [`StoreError::is_transient`].
    pub fn commit_frozen(&self) -> Result<Option<u64>, StoreError> {
        let Some(frozen) = self.state.read().frozen.clone() else { return Ok(None) };
        let mut attempt = Attempt::new(self);
        for (table, chunks) in &frozen.tables {
            for part in split(chunks) {
                let meta =
                    segment::write_chunks(&self.files, self.new_segment_id(), table, &part, &self.declared)?;
                attempt.segments.push(meta);
            }
        }
        attempt.catalogs = Some(&frozen);
        attempt.commit(&HashSet::new())?;
        Ok(Some(frozen.seq))
    }

    /// An id that no segment had before.
    pub(crate) fn new_segment_id(&self) -> u64 {
        let mut manifest = self.manifest.lock();
        let id = manifest.next_segment_id;
        manifest.next_segment_id += 1;
        id
    }

    /// Writes what is frozen besides rows as files that `next` names.
    fn write_catalogs(&self, next: &mut Manifest, frozen: &Frozen) -> Result<(), StoreError> {
        let number = next.number;
        for (tenant, bytes) in &frozen.catalogs {
            let file = named(format!("{tenant}.templates.{number:012}.bin"), bytes);
            self.write_named(&file, bytes)?;
            next.catalogs.retain(|catalog| catalog.tenant != *tenant);
            next.catalogs.push(CatalogFile { tenant: tenant.clone(), file });
        }
        let file = named(format!("judgement.{number:012}.bin"), &frozen.judgement);
        self.write_named(&file, &frozen.judgement)?;
        next.judgement = Some(file);
        next.journal_seq = frozen.seq;
        Ok(())
    }

    fn write_named(&self, file: &NamedFile, bytes: &[u8]) -> Result<(), StoreError> {
        segment::write_whole(self.files.disk.as_ref(), &self.files.path(&file.file), bytes)
    }

    /// Removes the catalogs and detector states that only the older manifest named, and manifests before it. What
    /// cannot be removed now is removed at the next start. Segments go with their last reader.
    fn remove_unnamed(&self, old: &Manifest, new: &Manifest) {
        let kept: HashSet<&str> = new.named_files().map(|file| file.file.as_str()).collect();
        for NamedFile { file, .. } in old.named_files().filter(|file| !kept.contains(file.file.as_str())) {
            if let Err(error) = self.files.remove(file) {
                tracing::warn!(file, %error, "could not remove a file no longer needed");
            }
        }
        if let Err(error) = new.forget_older(self.files.disk.as_ref(), &self.files.root) {
            tracing::warn!(%error, "could not remove an old manifest");
        }
    }

    /// Where the store stands.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let (mut rows, mut bytes) = self.memtable_size();
        let state = self.state.read();
        if let Some(frozen) = &state.frozen {
            rows += frozen.rows;
            bytes += frozen.tables.values().flatten().map(|chunk| chunk.bytes).sum::<usize>();
        }
        let metas = || state.segments.values().flatten().map(|segment| &segment.meta);
        let (segments, segment_rows) = (metas().count(), metas().map(|meta| meta.rows).sum());
        let segment_bytes = metas().map(|meta| meta.bytes + meta.sidecar_bytes).sum();
        let cold = || metas().filter(|meta| meta.place == Place::Cold);
        let (cold_segments, cold_bytes) = (cold().count(), cold().map(|meta| meta.bytes).sum());
        drop(state);
        let templates = self.catalogs.lock().values().map(|catalog| catalog.miner.templates().len()).sum();
        let manifest = self.manifest.lock();
        StoreStatus {
            segments,
            segment_rows,
            segment_bytes,
            cold_segments,
            cold_bytes,
            cold_trouble: self.tiers.trouble.lock().clone(),
            damaged: self.damaged(),
            memtable_rows: rows,
            memtable_bytes: bytes,
            journal_seq: manifest.journal_seq,
            templates,
            manifest: manifest.number,
        }
    }

    /// Everything a query reads of one table, as of one moment.
    pub(crate) fn snapshot(&self, table: &TableKey) -> (Vec<Arc<Chunk>>, Vec<Arc<Segment>>) {
        let state = self.state.read();
        let mut chunks = state.live.get(table).map(Memtable::snapshot).unwrap_or_default();
        if let Some(frozen) = &state.frozen {
            chunks.extend(frozen.tables.get(table).into_iter().flatten().cloned());
        }
        (chunks, state.segments.get(table).cloned().unwrap_or_default())
    }

    /// Its limits and policies.
    #[must_use]
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Tenants that have records.
    #[must_use]
    pub fn tenants(&self) -> Vec<Tenant> {
        let state = self.state.read();
        let frozen = state.frozen.iter().flat_map(|frozen| frozen.tables.keys());
        let keys = state.live.keys().chain(frozen).chain(state.segments.keys());
        let mut tenants: Vec<Tenant> = keys.map(|key| key.tenant.clone()).collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants
    }

    /// Metas of all live segments.
    pub(crate) fn metas(&self) -> Vec<SegmentMeta> {
        self.manifest.lock().segments.clone()
    }
}

/// Files written for a manifest that is not yet committed. Dropped before it is, they go: a full disk is not filled by
/// retries.
pub(crate) struct Attempt<'a> {
    store: &'a Store,
    /// Segments whose files are written.
    pub segments: Vec<SegmentMeta>,
    /// What else becomes durable with them.
    catalogs: Option<&'a Frozen>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.segments.iter().for_each(|meta| segment::remove_files(&self.store.files, meta));
    }
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(store: &'a Store) -> Attempt<'a> {
        Attempt { store, segments: Vec::new(), catalogs: None }
    }

    /// Makes the segments live in place of those in `dropped`: for the manifest, and then for readers, at once. The
    /// files of the dropped ones go with their last reader.
    pub(crate) fn commit(mut self, dropped: &HashSet<u64>) -> Result<(), StoreError> {
        let store = self.store;
        let mut current = store.manifest.lock();
        let mut next = Manifest { number: current.number + 1, ..current.clone() };
        next.segments.retain(|meta| !dropped.contains(&meta.id));
        next.segments.extend(self.segments.iter().cloned());
        if let Some(frozen) = self.catalogs
            && let Err(error) = store.write_catalogs(&mut next, frozen)
        {
            store.remove_unnamed(&next, &current);
            current.burn(&next);
            return Err(error);
        }
        let committed = next.commit(store.files.disk.as_ref(), &store.files.root);
        // From here on a restart may find this manifest, whatever the answer: its files stay.
        let fresh = std::mem::take(&mut self.segments);
        committed.inspect_err(|_| current.burn(&next))?;
        store.install(dropped, fresh, self.catalogs.is_some());
        let old = std::mem::replace(&mut *current, next);
        store.remove_unnamed(&old, &current);
        Ok(())
    }
}

impl Store {
    /// Commits that segments are described otherwise than before: the same rows, elsewhere.
    pub(crate) fn revise(&self, revise: impl FnOnce(&mut Manifest)) -> Result<(), StoreError> {
        let mut current = self.manifest.lock();
        let mut next = Manifest { number: current.number + 1, ..current.clone() };
        revise(&mut next);
        let committed = next.commit(self.files.disk.as_ref(), &self.files.root);
        committed.inspect_err(|_| current.burn(&next))?;
        let mut state = self.state.write();
        for segments in state.segments.values_mut() {
            for segment in segments {
                let is_same = |meta: &&SegmentMeta| meta.id == segment.meta.id && **meta != segment.meta;
                if let Some(meta) = next.segments.iter().find(is_same) {
                    let before =
                        std::mem::replace(segment, Arc::new(Segment::new(&self.files, meta.clone())));
                    if (before.meta.place, meta.place) == (Place::Local, Place::Cold) {
                        before.move_away();
                    }
                }
            }
        }
        state.commits += 1;
        drop(state);
        let old = std::mem::replace(&mut *current, next);
        self.remove_unnamed(&old, &current);
        Ok(())
    }

    /// Shows readers what a manifest has made live.
    fn install(&self, dropped: &HashSet<u64>, fresh: Vec<SegmentMeta>, thawed: bool) {
        let mut removed = Vec::new();
        let mut state = self.state.write();
        for segments in state.segments.values_mut().filter(|_| !dropped.is_empty()) {
            removed.extend(segments.extract_if(.., |segment| dropped.contains(&segment.meta.id)));
        }
        for meta in fresh {
            let segment = Arc::new(Segment::new(&self.files, meta));
            state.segments.entry(segment.meta.table.clone()).or_default().push(segment);
        }
        if thawed {
            state.frozen = None;
        }
        state.commits += 1;
        drop(state);
        removed.iter().for_each(|segment| segment.retire());
    }
}

/// The fields meant by names, each once. Ids and templates are no fields to count values of.
fn declared(names: &[String]) -> Arc<[Target]> {
    let mut targets: Vec<Target> = Vec::new();
    for target in names.iter().map(|name| Target::resolve(Dataset::Logs, name.trim())) {
        let is_field = matches!(target, Target::Field(_) | Target::Attribute(_));
        if is_field && !targets.contains(&target) && targets.len() < CUBE_FIELDS_MAX {
            targets.push(target);
        }
    }
    targets.into()
}

/// Groups chunks so that each group fits a segment, cutting a chunk that is larger by itself.
fn split(chunks: &[Arc<Chunk>]) -> Vec<Vec<Arc<Chunk>>> {
    let mut parts: Vec<Vec<Arc<Chunk>>> = Vec::new();
    let mut room = 0;
    for chunk in chunks {
        for piece in cut(chunk) {
            let rows = piece.block.rows();
            if rows > room || parts.is_empty() {
                parts.push(Vec::new());
                room = SEGMENT_ROWS_MAX;
            }
            room -= rows;
            parts.last_mut().expect("one was just pushed").push(piece);
        }
    }
    parts
}

fn cut(chunk: &Arc<Chunk>) -> Vec<Arc<Chunk>> {
    let rows = chunk.block.rows();
    if rows <= SEGMENT_ROWS_MAX {
        return vec![Arc::clone(chunk)];
    }
    let picks: Vec<(usize, usize)> = (0..rows).map(|row| (0, row)).collect();
    picks
        .chunks(SEGMENT_ROWS_MAX)
        .map(|part| Arc::new(Chunk::new(crate::block::RowBlock::interleave(&[&chunk.block], part))))
        .collect()
}

/// Assigns each log record of a batch its template of this miner, with what [`Batch::mined`] tells detectors.
pub fn annotate(miner: &mut Miner, batch: &mut Batch) {
    let (ids, mined) = mine(miner, batch);
    let validity = Validity::from_bits(None, ids.len());
    batch.set_column(logs::TEMPLATE_ID, Column::Int(Primitive { values: ids, validity }));
    batch.mined = Some(Box::new(mined));
}

/// Template ids of the rows of a batch, and what the miner knows beside them.
fn mine(miner: &mut Miner, batch: &Batch) -> (Vec<i64>, Mined) {
    let mut ids = Vec::with_capacity(batch.rows());
    let mut mined = Mined { clusters: Vec::with_capacity(batch.rows()), ..Mined::default() };
    for (row, message) in (0..).zip(batch.iter().map(|row| row.text(logs::MESSAGE))) {
        let changes = miner.changes();
        let id = message.map_or(TemplateId::CATCH_ALL, |message| miner.assign(message));
        if miner.changes() != changes {
            mined.grown.push(row);
        }
        mined.joined.extend(miner.take_joined().map(|(from, into)| Joined {
            row,
            from: from.0,
            into: into.0,
        }));
        mined.clusters.push(miner.canonical(id).0);
        ids.push(i64::from(id.0));
    }
    (ids, mined)
}

fn named(file: String, bytes: &[u8]) -> NamedFile {
    NamedFile { file, crc32c: crc32c::crc32c(bytes) }
}

pub(crate) fn read_named(disk: &dyn Disk, root: &Path, file: &NamedFile) -> Result<Vec<u8>, StoreError> {
    let path = root.join(&file.file);
    let bytes = segment::read_whole(disk, &path)?;
    if crc32c::crc32c(&bytes) != file.crc32c {
        return Err(StoreError::Corrupt { path, detail: "checksum differs from the manifest's".to_owned() });
    }
    Ok(bytes)
}

/// Removes what a crash left behind: files no manifest names. Returns the names of the others, from one listing.
fn remove_orphans(disk: &dyn Disk, root: &Path, manifest: &Manifest) -> Result<HashSet<String>, StoreError> {
    let named: HashSet<String> = manifest.files().collect();
    let mut present: HashSet<String> =
        disk.list(root).map_err(|source| StoreError::io(root, source))?.into_iter().collect();
    let is_ours =
        |name: &str| [".parquet", ".hidx", ".tail", ".bin", ".new"].iter().any(|end| name.ends_with(end));
    for name in present.extract_if(|name| is_ours(name) && !named.contains(name)) {
        let path = root.join(&name);
        disk.remove(&path).map_err(|source| StoreError::io(&path, source))?;
        tracing::info!(file = name, "removed a file that no manifest names");
    }
    Ok(present)
}
