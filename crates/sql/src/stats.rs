//! An aggregation that the query engine answers, as DataFusion takes it.
//!
//! Invariant: what the engine cannot answer exactly, or within its memory, is aggregated by DataFusion over a plain scan.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties,
};
use futures::{FutureExt, StreamExt, TryStreamExt};
use heimdall_query::{Answer, Query, QueryError, RunLimits};
use heimdall_store::ScanStats;

use crate::answer::batch_of;
use crate::error::Failed;
use crate::scan::properties;
use crate::table::{Asked, Gathered, Planning, Table};

/// The groups of a `stats`.
#[derive(Clone)]
pub(crate) struct StatsTable {
    pub(crate) asked: Arc<Asked>,
    pub(crate) query: Query,
    /// The columns of the groups, in the order of the query's.
    pub(crate) schema: SchemaRef,
    /// What it stands for, over a table that is not rewritten.
    pub(crate) instead: LogicalPlan,
}

impl fmt::Debug for StatsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatsTable").field("query", &self.query.to_string()).finish_non_exhaustive()
    }
}

impl Table for StatsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn plan<'a>(
        &'a self,
        session: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _: &'a [Expr],
        _: Option<usize>,
    ) -> Planning<'a> {
        let instead = session.create_physical_plan(&self.instead);
        let (asked, query, whole) = (Arc::clone(&self.asked), self.query.clone(), self.schema());
        let projection = projection.cloned();
        async move {
            let schema = match &projection {
                None => Arc::clone(&whole),
                Some(columns) => Arc::new(whole.project(columns)?),
            };
            let (properties, instead) = (properties(schema), instead.await?);
            let plan: Arc<dyn ExecutionPlan> =
                Arc::new(StatsExec { asked, query, whole, projection, properties, instead });
            Ok(plan)
        }
        .boxed()
    }
}

struct StatsExec {
    asked: Arc<Asked>,
    query: Query,
    /// The columns of the query's answer.
    whole: SchemaRef,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
    instead: Arc<dyn ExecutionPlan>,
}

impl fmt::Debug for StatsExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatsExec").field("query", &self.query.to_string()).finish_non_exhaustive()
    }
}

impl DisplayAs for StatsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Query { dataset, range, .. } = &self.query;
        write!(f, "StatsExec: {dataset}, from={}, to={}, query={}", range.from, range.to, self.query)
    }
}

impl ExecutionPlan for StatsExec {
    fn name(&self) -> &'static str {
        "StatsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (asked, query) = (Arc::clone(&self.asked), self.query.clone());
        let (whole, projection) = (Arc::clone(&self.whole), self.projection.clone());
        let instead = Arc::clone(&self.instead);
        let answered = async move {
            let engine = asked.engine.clone();
            // All groups are needed: what bounds them is the memory of grouping.
            let limits = RunLimits {
                rows_default: asked.limits.groups_max,
                rows_max: asked.limits.groups_max,
                result_bytes_max: usize::MAX,
                ..asked.limits
            };
            let control = asked.control.clone();
            let cache = asked.cache;
            let run = tokio::task::spawn_blocking(move || {
                if cache {
                    engine.answer(&query, &control, limits)
                } else {
                    engine.run(&query, &control, limits)
                }
            });
            let found = run.await.map_err(|error| Failed::Rows(error.to_string()).wrap())?;
            let batches = match found {
                Ok(answer) if !is_cut(&answer) => {
                    let batch = batch_of(&whole, &answer.rows)?;
                    asked.note(gathered(answer));
                    futures::stream::once(async move { Ok(batch) }).boxed()
                }
                Ok(_) | Err(QueryError::TooManyGroups { .. } | QueryError::TooMuchMemory { .. }) => {
                    let parts = instead.output_partitioning().partition_count();
                    let streams = (0..parts)
                        .map(|part| instead.execute(part, Arc::clone(&context)))
                        .collect::<Result<Vec<_>>>()?;
                    // Its columns have the same types under names of their own.
                    let rename = move |batch: arrow::record_batch::RecordBatch| {
                        let columns = batch.columns().to_vec();
                        Ok(arrow::record_batch::RecordBatch::try_new(Arc::clone(&whole), columns)?)
                    };
                    let renamed = move |batch: Result<_>| batch.and_then(&rename);
                    futures::stream::select_all(streams).map(renamed).boxed()
                }
                Err(error) => return Err(Failed::from(error).wrap()),
            };
            Ok(batches.map(move |batch| match (&projection, batch) {
                (Some(columns), Ok(batch)) => Ok(batch.project(columns)?),
                (_, batch) => batch,
            }))
        };
        let stream = futures::stream::once(answered).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}

/// Whether groups are missing for want of time: DataFusion would do no better, but says so in its own way.
fn is_cut(answer: &Answer) -> bool {
    answer.stats.partial
}

fn gathered(answer: Answer) -> Gathered {
    let stats = answer.stats;
    Gathered {
        scan: ScanStats {
            segments_total: stats.segments_total,
            segments_scanned: stats.segments_scanned,
            memtable_rows: stats.memtable_rows,
            rows_scanned: stats.rows_scanned,
            rows_matched: stats.rows_matched,
            bytes_read: stats.bytes_read,
            ..ScanStats::default()
        },
        notes: stats.notes,
        warnings: stats.warnings,
        partial: false,
    }
}
