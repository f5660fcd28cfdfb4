//! Rows of a dataset as DataFusion takes them: our scan behind its interface.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use heimdall_model::Target;
use heimdall_query::search::filter_line;
use heimdall_store::{Along, Order, RowBlock, ScanRequest};

use crate::columns::Batches;
use crate::error::Failed;
use crate::table::Asked;

/// Batches ready before the reader takes them.
const BATCHES_AHEAD: usize = 2;

/// Which rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// All that pass, or so many of them.
    Any(Option<usize>),
    /// The first by event time.
    First(Order, usize),
}

/// Reads one dataset.
pub(crate) struct ScanExec {
    asked: Arc<Asked>,
    request: ScanRequest,
    rows: Rows,
    targets: Vec<Target>,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    pub(crate) fn new(
        asked: Arc<Asked>,
        request: ScanRequest,
        rows: Rows,
        targets: Vec<Target>,
        schema: SchemaRef,
    ) -> ScanExec {
        ScanExec { asked, request, rows, targets, properties: properties(schema) }
    }
}

/// One partition that ends.
pub(crate) fn properties(schema: SchemaRef) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

impl fmt::Debug for ScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanExec").field("request", &self.request).finish_non_exhaustive()
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScanRequest { dataset, range, filter, .. } = &self.request;
        write!(f, "ScanExec: {dataset}, from={}, to={}", range.from, range.to)?;
        let line = filter_line(filter, *dataset);
        if !line.is_empty() {
            write!(f, ", filter={line}")?;
        }
        match self.rows {
            Rows::Any(None) => Ok(()),
            Rows::Any(Some(limit)) => write!(f, ", limit={limit}"),
            Rows::First(Order::NewestFirst, limit) => write!(f, ", newest-first={limit}"),
            Rows::First(Order::OldestFirst, limit) => write!(f, ", oldest-first={limit}"),
        }
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &'static str {
        "ScanExec"
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

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&schema), BATCHES_AHEAD);
        let sender = builder.tx();
        let (asked, request, rows) = (Arc::clone(&self.asked), self.request.clone(), self.rows);
        let targets = self.targets.clone();
        builder.spawn_blocking(move || {
            let wants_ids = targets.contains(&Target::Id);
            let mut batches = Batches::new(Arc::clone(&asked.store), request.tenant.clone(), targets, schema);
            match rows {
                Rows::Any(limit) => {
                    let along = if wants_ids { Along::Ids } else { Along::Nothing };
                    let stream = asked.store.stream(&request, along, &asked.control, limit);
                    let mut stream = stream.map_err(|error| Failed::from(error).wrap())?;
                    for block in stream.by_ref() {
                        let batch = match block {
                            Ok(block) => batches.make(&block),
                            Err(error) => Err(Failed::from(error).wrap()),
                        };
                        let failed = batch.is_err();
                        if sender.blocking_send(batch).is_err() || failed {
                            break;
                        }
                    }
                    asked.has_read(&stream.stats());
                }
                Rows::First(order, limit) => {
                    let found = asked.store.search(&request, order, limit, &asked.control);
                    let (hits, stats) = found.map_err(|error| Failed::from(error).wrap())?;
                    asked.has_read(&stats);
                    // Every row of a block that hits lie in is one of them; whoever asked sorts them anyway.
                    let mut blocks: Vec<&Arc<RowBlock>> = hits.iter().map(|hit| &hit.block).collect();
                    blocks.dedup_by(|a, b| Arc::ptr_eq(a, b));
                    let mut sent: Vec<*const RowBlock> = Vec::new();
                    for block in blocks {
                        if sent.contains(&Arc::as_ptr(block)) {
                            continue;
                        }
                        sent.push(Arc::as_ptr(block));
                        if sender.blocking_send(batches.make(block)).is_err() {
                            break;
                        }
                    }
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }
}
