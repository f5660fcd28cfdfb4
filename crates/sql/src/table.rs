//! Tables as DataFusion asks for them, and the one of a dataset: its schema, which conditions it decides, a scan.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableScan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use heimdall_model::{Dataset, Tenant};
use heimdall_query::{Engine, RunLimits, TimeRange};
use heimdall_store::{Control, Order, ScanRequest, ScanStats, Store};
use parking_lot::Mutex;

use crate::columns::{fields_of, schema_of, targets};
use crate::engine::SqlRequest;
use crate::filter::{all_of, condition};
use crate::scan::{Rows, ScanExec};

/// What everything a statement reads has in common.
pub(crate) struct Asked {
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Engine,
    pub(crate) tenant: Tenant,
    /// Event times of the datasets that are meant at all.
    pub(crate) range: TimeRange,
    pub(crate) control: Control,
    pub(crate) limits: RunLimits,
    pub(crate) cache: bool,
    stats: Mutex<Gathered>,
}

/// What was read, and what is to be said of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gathered {
    pub(crate) scan: ScanStats,
    pub(crate) notes: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) partial: bool,
}

impl Asked {
    pub(crate) fn new(engine: &Engine, request: &SqlRequest, control: Control, limits: RunLimits) -> Asked {
        Asked {
            store: Arc::clone(engine.store()),
            engine: engine.clone(),
            tenant: request.tenant.clone(),
            range: request.range,
            control,
            limits,
            cache: request.cache,
            stats: Mutex::default(),
        }
    }

    pub(crate) fn has_read(&self, scan: &ScanStats) {
        self.stats.lock().scan.add(scan);
    }

    pub(crate) fn gathered(&self) -> Gathered {
        self.stats.lock().clone()
    }

    pub(crate) fn note(&self, more: Gathered) {
        let mut stats = self.stats.lock();
        stats.scan.add(&more.scan);
        stats.notes.extend(more.notes);
        stats.warnings.extend(more.warnings);
        stats.partial |= more.partial;
    }
}

/// The plan of a scan, once it is there.
pub(crate) type Planning<'a> = BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>>;

/// What a table is, without the form in which DataFusion asks.
pub(crate) trait Table: Any + fmt::Debug + Send + Sync {
    fn schema(&self) -> SchemaRef;

    fn table_type(&self) -> TableType;

    /// How far the scan decides a condition.
    fn decides(&self, _: &Expr) -> TableProviderFilterPushDown {
        TableProviderFilterPushDown::Unsupported
    }

    fn plan<'a>(
        &'a self,
        session: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a>;
}

/// A [`Table`] in the form in which DataFusion asks. Not generic, and the only one: that expressions are `Send`, which takes the
/// compiler seconds, is proved here alone.
#[derive(Debug)]
pub(crate) struct Provided(Box<dyn Table>);

impl Provided {
    pub(crate) fn provider(table: impl Table) -> Arc<dyn TableProvider> {
        Arc::new(Provided(Box::new(table)))
    }

    /// The table of a scan, where it is one of this kind.
    pub(crate) fn of<T: Table + Clone>(scan: &TableScan) -> Option<T> {
        let provider = source_as_provider(&scan.source).ok()?;
        let provider: &dyn Any = provider.as_ref();
        let table: &dyn Any = provider.downcast_ref::<Provided>()?.0.as_ref();
        table.downcast_ref::<T>().cloned()
    }
}

#[async_trait]
impl TableProvider for Provided {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|expr| self.0.decides(expr)).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.plan(session, projection, filters, limit).await
    }
}

/// One dataset.
#[derive(Clone)]
pub(crate) struct DatasetTable {
    pub(crate) asked: Arc<Asked>,
    pub(crate) dataset: Dataset,
    /// Only the first rows by event time.
    pub(crate) first: Option<(Order, usize)>,
    /// Whether aggregations of it may go to the engine.
    pub(crate) rewritable: bool,
    schema: SchemaRef,
}

impl DatasetTable {
    pub(crate) fn new(asked: Arc<Asked>, dataset: Dataset) -> DatasetTable {
        DatasetTable { asked, dataset, first: None, rewritable: true, schema: schema_of(dataset) }
    }

    fn scan(
        &self,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = targets(self.dataset);
        let (targets, schema) = match projection {
            None => (all, self.schema()),
            Some(columns) => {
                let targets = columns.iter().map(|column| all[*column].clone()).collect();
                (targets, Arc::new(self.schema.project(columns)?))
            }
        };
        let (range, condition) = all_of(filters, self.asked.range, self.dataset);
        let request = ScanRequest {
            tenant: self.asked.tenant.clone(),
            dataset: self.dataset,
            range,
            filter: condition.filter,
            fields: Some(fields_of(&targets)),
        };
        let rows = match self.first {
            Some((order, rows)) => Rows::First(order, rows),
            None => Rows::Any(limit.filter(|_| condition.exact)),
        };
        Ok(Arc::new(ScanExec::new(Arc::clone(&self.asked), request, rows, targets, schema)))
    }
}

impl fmt::Debug for DatasetTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatasetTable").field("dataset", &self.dataset).finish_non_exhaustive()
    }
}

impl Table for DatasetTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn decides(&self, expr: &Expr) -> TableProviderFilterPushDown {
        match condition(expr, self.dataset) {
            None => TableProviderFilterPushDown::Unsupported,
            Some(found) if found.exact => TableProviderFilterPushDown::Exact,
            Some(_) => TableProviderFilterPushDown::Inexact,
        }
    }

    fn plan<'a>(
        &'a self,
        _: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        ready(self.scan(projection, filters, limit)).boxed()
    }
}
