//! A statement in, an answer out, within limits of memory, disk, time and rows.
//!
//! Invariants:
//! - a statement sees the rows of one tenant: its tables are made for it, and there are no others;
//! - an answer is whole, or `stats.partial` is set and `stats.warnings` says what is missing, or it is an error;
//! - planning and joining run on threads of their own, so that a heavy statement does not hold up the server, with stack enough for
//!   the deepest one that the gate lets pass.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider,
};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use heimdall_model::{Dataset, Tenant, Value};
use heimdall_query::{Answer, AnswerStats, Engine, QueryError, RunLimits, Strategy, TimeRange};
use heimdall_store::{Control, ScanError, StoreError};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::answer::{columns_of, rows_of};
use crate::error::SqlError;
use crate::functions;
use crate::gate;
use crate::rewrite::ToEngine;
use crate::rows::{RowSource, RowTable};
use crate::table::{Asked, DatasetTable, Provided};

/// How often it is looked whether a statement is still wanted.
const LOOK: Duration = Duration::from_millis(50);
/// Where the tables are, for those who write it out.
const CATALOG: &str = "heimdall";
const SCHEMA: &str = "public";
/// Stack of the threads that read, plan and run a statement: what walks an expression does so by recursion, and the longest chain
/// that [`gate::OPERATORS_MAX`] lets pass must not end the process. It is address space: memory is taken as far as it is used.
const STACK_BYTES: usize = 256 << 20;
/// Least memory a statement's share of the pool may be.
const MEMORY_BYTES_MIN: usize = 16 << 20;
/// What a sort sets aside for merging what it spilled; more than its share of the pool would leave it nothing to sort in.
const MERGE_BYTES_MIN: usize = 256 << 10;
const MERGE_BYTES_MAX: usize = 10 << 20;

/// What statements may take, all at once.
#[derive(Debug, Clone)]
pub struct SqlConfig {
    /// Bytes of memory of sorts, joins and groups, over all statements; beyond, they spill to disk.
    pub memory_bytes: usize,
    /// Where they spill to: a folder of its own, which is emptied.
    pub spill_dir: PathBuf,
    /// Most bytes on disk, over all statements.
    pub spill_bytes_max: u64,
}

/// A statement and what it may see.
#[derive(Clone)]
pub struct SqlRequest {
    /// The statement.
    pub sql: String,
    /// Whose rows.
    pub tenant: Tenant,
    /// Event times of the datasets that are meant at all; conditions of the statement narrow it.
    pub range: TimeRange,
    /// Tables besides the datasets.
    pub sources: Vec<Arc<dyn RowSource>>,
    /// Whether groups may come from kept results that are still right.
    pub cache: bool,
}

/// What a statement would do.
#[derive(Debug, Clone, Serialize)]
pub struct SqlExplain {
    /// The statement as it was understood.
    pub query: String,
    /// From when.
    pub from: heimdall_model::Timestamp,
    /// Until when.
    pub to: heimdall_model::Timestamp,
    /// The optimised logical plan. `TableScan: stats` stands for groups that the engine answers.
    pub logical: String,
    /// The physical plan, with the searches that the store and the engine run.
    pub physical: String,
}

/// Runs statements.
pub struct SqlEngine {
    engine: Engine,
    /// What every session begins with. A function, as all that holds an engine is proved `Send` when it is compiled: of a
    /// state, that is proved of all of the syntax of SQL, and anew in every place.
    begin: Box<dyn Fn() -> SessionStateBuilder + Send + Sync>,
    env: Arc<RuntimeEnv>,
    // INVARIANT: there until it is dropped.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for SqlEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlEngine").finish_non_exhaustive()
    }
}

impl Drop for SqlEngine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl SqlEngine {
    /// An engine over a store.
    ///
    /// # Errors
    /// No threads can be had, or the folder cannot be written.
    pub fn new(engine: Engine, config: &SqlConfig) -> Result<SqlEngine, SqlError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        empty(&config.spill_dir)?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![config.spill_dir.clone()]))
            .with_max_temp_directory_size(config.spill_bytes_max);
        let env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(config.memory_bytes.max(MEMORY_BYTES_MIN))))
            .with_disk_manager_builder(disk)
            .build_arc()?;
        let mut session = SessionConfig::new()
            .with_target_partitions(threads)
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, SCHEMA);
        session.options_mut().execution.sort_spill_reservation_bytes =
            (config.memory_bytes / threads / 8).clamp(MERGE_BYTES_MIN, MERGE_BYTES_MAX);
        session.options_mut().sql_parser.map_string_types_to_utf8view = false;
        // Conditions found while a statement runs. Our scans take none, and carrying one down through `x + x` of `x + x` doubles it at
        // each step: 18 steps took two seconds to plan, 30 did not end within 25.
        let optimizer = &mut session.options_mut().optimizer;
        optimizer.enable_topk_dynamic_filter_pushdown = false;
        optimizer.enable_join_dynamic_filter_pushdown = false;
        optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        optimizer.enable_dynamic_filter_pushdown = false;
        session.options_mut().execution.time_zone = Some("UTC".to_owned());
        let base = SessionStateBuilder::new_with_default_features()
            .with_config(session)
            .with_runtime_env(Arc::clone(&env))
            .with_optimizer_rule(Arc::new(ToEngine))
            .build();
        // Last: it must not be dropped on a thread that serves.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("sql")
            .thread_stack_size(STACK_BYTES)
            .enable_time()
            .build()
            .map_err(|error| SqlError::Internal(error.to_string()))?;
        let begin = Box::new(move || SessionStateBuilder::new_from_existing(base.clone()));
        Ok(SqlEngine { engine, begin, env, runtime: Some(runtime) })
    }

    /// Answers a statement. Blocks: call it off the async threads.
    ///
    /// A segment that turns out to be damaged is left out, and told of: the answer is partial then.
    ///
    /// # Errors
    /// [`SqlError`].
    pub fn run(
        &self,
        request: &SqlRequest,
        control: &Control,
        limits: RunLimits,
    ) -> Result<Answer, SqlError> {
        let control = Control { without_damaged: true, ..control.clone() };
        deep(|| {
            loop {
                let known = self.engine.store().damaged().len();
                match self.run_once(request, &control, limits) {
                    // One segment less to fail on.
                    Err(SqlError::Query(QueryError::Store(ScanError::Store(StoreError::Corrupt {
                        ..
                    }))))
                        if self.engine.store().damaged().len() > known => {}
                    done => return done,
                }
            }
        })
    }

    fn run_once(
        &self,
        request: &SqlRequest,
        control: &Control,
        limits: RunLimits,
    ) -> Result<Answer, SqlError> {
        let started = Instant::now();
        let statement = gate::parse(&request.sql)?;
        let asked = self.asked(request, control, limits);
        let found = self.guarded(control, async {
            let context = self.session(request, &asked)?;
            let plan = self.plan(&context, statement).await?;
            let physical = context.state().create_physical_plan(&plan).await?;
            let schema = physical.schema();
            let stream = execute_stream(Arc::clone(&physical), context.task_ctx())?;
            let found = collect(stream, schema, limits).await?;
            Ok(Found { spilled_bytes: spilled_bytes(physical.as_ref()), ..found })
        })?;
        let gathered = asked.gathered();
        let mut stats = AnswerStats::new(Strategy::Sql);
        stats.add(&gathered.scan);
        stats.notes = gathered.notes;
        stats.warnings.extend(gathered.warnings);
        stats.partial |= gathered.partial;
        if found.spilled_bytes > 0 {
            stats
                .notes
                .push(format!("{} bytes did not fit in memory and went through disk", found.spilled_bytes));
        }
        if let Some(cut) = found.cut {
            stats.is_missing(cut);
        }
        stats.elapsed_ms = started.elapsed().as_secs_f64() * 1_000.0;
        Ok(Answer { columns: columns_of(&found.schema), rows: found.rows, stats })
    }

    /// Says what a statement would do, without doing it.
    ///
    /// # Errors
    /// [`SqlError`].
    pub fn explain(&self, request: &SqlRequest, limits: RunLimits) -> Result<SqlExplain, SqlError> {
        deep(|| self.explain_once(request, limits))
    }

    fn explain_once(&self, request: &SqlRequest, limits: RunLimits) -> Result<SqlExplain, SqlError> {
        let control = Control::default();
        let statement = gate::parse(&request.sql)?;
        let query = statement.to_string();
        let asked = self.asked(request, &control, limits);
        let (logical, physical) = self.guarded(&control, async {
            let context = self.session(request, &asked)?;
            let plan = self.plan(&context, statement).await?;
            let logical = context.state().optimize(&plan)?;
            let physical = context.state().create_physical_plan(&plan).await?;
            Ok((
                logical.display_indent().to_string(),
                displayable(physical.as_ref()).indent(false).to_string(),
            ))
        })?;
        Ok(SqlExplain { query, from: request.range.from, to: request.range.to, logical, physical })
    }

    fn asked(&self, request: &SqlRequest, control: &Control, limits: RunLimits) -> Arc<Asked> {
        Arc::new(Asked::new(&self.engine, request, control.clone(), limits))
    }

    /// A session whose tables are the request's.
    fn session(&self, request: &SqlRequest, asked: &Arc<Asked>) -> Result<SessionContext, SqlError> {
        let (catalogs, catalog) = (MemoryCatalogProviderList::new(), MemoryCatalogProvider::new());
        catalog.register_schema(SCHEMA, Arc::new(MemorySchemaProvider::new()))?;
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        let state = (self.begin)()
            .with_catalog_list(Arc::new(catalogs))
            .with_runtime_env(Arc::clone(&self.env))
            .build();
        let context = SessionContext::new_with_state(state);
        functions::all().for_each(|function| context.register_udf(function));
        for dataset in Dataset::ALL {
            let table = Provided::provider(DatasetTable::new(Arc::clone(asked), dataset));
            context.register_table(dataset.to_string(), table)?;
        }
        for source in &request.sources {
            let table = RowTable { asked: Arc::clone(asked), source: Arc::clone(source) };
            context.register_table(source.name(), Provided::provider(table))?;
        }
        Ok(context)
    }

    async fn plan(
        &self,
        context: &SessionContext,
        statement: datafusion::sql::parser::Statement,
    ) -> Result<LogicalPlan, SqlError> {
        let plan = context.state().statement_to_plan(statement).await?;
        // The gate has said so already; what it may have missed ends here.
        let reads_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads_only.verify_plan(&plan)?;
        Ok(plan)
    }

    /// Runs work until it ends, its time is over, or nobody wants it any more.
    fn guarded<T>(
        &self,
        control: &Control,
        work: impl Future<Output = Result<T, SqlError>>,
    ) -> Result<T, SqlError> {
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        runtime.block_on(async {
            let mut work = std::pin::pin!(work);
            loop {
                let left =
                    control.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                if control.cancelled.load(Ordering::Relaxed) {
                    return Err(SqlError::Cancelled);
                }
                if left == Some(Duration::ZERO) {
                    return Err(SqlError::OutOfTime);
                }
                let look = left.map_or(LOOK, |left| left.min(LOOK));
                if let Ok(done) = tokio::time::timeout(look, work.as_mut()).await {
                    return done;
                }
            }
        })
    }
}

/// Does a statement's work on a thread with [`STACK_BYTES`], and waits for it.
fn deep<T: Send>(work: impl FnOnce() -> Result<T, SqlError> + Send) -> Result<T, SqlError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("sql-plan".to_owned()).stack_size(STACK_BYTES);
        let running = thread
            .spawn_scoped(scope, work)
            .map_err(|error| SqlError::Internal(format!("no thread for it: {error}")))?;
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes a folder that holds nothing: what a server that was killed has spilled is of no use.
fn empty(dir: &Path) -> Result<(), SqlError> {
    let failed = |error: std::io::Error| SqlError::Internal(format!("`{}`: {error}", dir.display()));
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::fs::create_dir_all(dir).map_err(failed)
}

struct Found {
    schema: SchemaRef,
    rows: Vec<Vec<Value>>,
    /// What is missing.
    cut: Option<String>,
    /// Bytes that went through disk.
    spilled_bytes: u64,
}

/// What a plan and all below it have spilled so far.
fn spilled_bytes(plan: &dyn ExecutionPlan) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or(0) as u64;
    own + plan.children().into_iter().map(|child| spilled_bytes(child.as_ref())).sum::<u64>()
}

/// The rows of an answer, as far as they fit.
async fn collect(
    mut stream: datafusion::execution::SendableRecordBatchStream,
    schema: SchemaRef,
    limits: RunLimits,
) -> Result<Found, SqlError> {
    let (mut rows, mut bytes, mut cut) = (Vec::new(), 0, None);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let room = limits.rows_max - rows.len();
        if batch.num_rows() > room {
            cut = Some(format!("the first {} rows are shown: there are more", limits.rows_max));
        }
        let batch = batch.slice(0, batch.num_rows().min(room));
        bytes += batch.get_array_memory_size();
        if bytes > limits.result_bytes_max {
            let shown = rows.len();
            cut = Some(format!(
                "the first {shown} rows are shown: more are beyond {} bytes",
                limits.result_bytes_max
            ));
            break;
        }
        rows.extend(rows_of(&batch).map_err(|error| SqlError::Internal(error.to_string()))?);
        if cut.is_some() {
            break;
        }
    }
    Ok(Found { schema, rows, cut, spilled_bytes: 0 })
}
