//! Tables whose rows are made when they are asked for: alerts, the audit trail.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use heimdall_model::{Tenant, Value};
use heimdall_query::ColumnType;

use crate::answer::batch_of;
use crate::error::Failed;
use crate::table::{Asked, Gathered, Planning, Table};

/// Most rows of such a table in one statement: the latest ones, and the answer says so.
pub const ROWS_MAX: usize = 100_000;

/// A table that is no dataset.
pub trait RowSource: Send + Sync {
    /// Its name in statements.
    fn name(&self) -> &'static str;

    /// Its columns.
    fn columns(&self) -> &'static [(&'static str, ColumnType)];

    /// At most `limit` of a tenant's rows, the latest first, one value for each column.
    ///
    /// # Errors
    /// They could not be read; the text says why.
    fn rows(&self, tenant: &Tenant, limit: usize) -> Result<Vec<Vec<Value>>, String>;
}

/// See [`RowSource`].
pub(crate) struct RowTable {
    pub(crate) asked: Arc<Asked>,
    pub(crate) source: Arc<dyn RowSource>,
}

impl fmt::Debug for RowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowTable").field("name", &self.source.name()).finish_non_exhaustive()
    }
}

/// The Arrow type of a column.
pub(crate) fn arrow_type(ty: ColumnType) -> DataType {
    match ty {
        ColumnType::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        ColumnType::Int => DataType::Int64,
        ColumnType::Float => DataType::Float64,
        ColumnType::Level | ColumnType::Text | ColumnType::Json | ColumnType::Any => DataType::Utf8,
    }
}

impl Table for RowTable {
    fn schema(&self) -> SchemaRef {
        let field = |(name, ty): &(&str, ColumnType)| Field::new(*name, arrow_type(*ty), true);
        Arc::new(Schema::new(self.source.columns().iter().map(field).collect::<Vec<_>>()))
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn plan<'a>(
        &'a self,
        _: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _: &'a [Expr],
        _: Option<usize>,
    ) -> Planning<'a> {
        let (source, tenant) = (Arc::clone(&self.source), self.asked.tenant.clone());
        let read = tokio::task::spawn_blocking(move || source.rows(&tenant, ROWS_MAX + 1));
        let (asked, schema, projection) = (Arc::clone(&self.asked), self.schema(), projection.cloned());
        let name = self.source.name().to_owned();
        async move {
            let rows = read.await.unwrap_or_else(|error| Err(error.to_string()));
            let mut rows = rows.map_err(|text| Failed::Rows(text).wrap())?;
            if rows.len() > ROWS_MAX {
                rows.truncate(ROWS_MAX);
                asked.note(Gathered {
                    partial: true,
                    warnings: vec![format!(
                        "`{name}` holds more than {ROWS_MAX} rows: only the latest were read"
                    )],
                    ..Gathered::default()
                });
            }
            let batch = batch_of(&schema, &rows)?;
            let plan: Arc<dyn ExecutionPlan> =
                MemorySourceConfig::try_new_exec(&[vec![batch]], schema, projection)?;
            Ok(plan)
        }
        .boxed()
    }
}
