//! The one query form: what every language compiles to and the engine runs.
//!
//! Invariants (kept by the parsers, relied on by the engine):
//! - every [`Target`] of a pipe names a column that exists at that place: any field on records, an output column
//!   after `stats` or `fields`; the column of an aggregate is `Target::Attribute` of its alias;
//! - output names within one `stats` differ.
//!
//! Not here: text forms (see [`crate::search`]), execution (see [`crate::engine`]).

pub use heimdall_extract::Form;
use heimdall_model::{Dataset, FieldType, Filter, Target, Tenant, schema};
use serde::{Deserialize, Serialize};

pub use crate::expression::{Constant, Expr, Function, Operator};
use crate::pages::PagePlace;
pub use heimdall_store::TimeRange;

/// Default column name of a time bin.
pub(crate) const BIN_NAME: &str = "timestamp";

/// Column that says what part a record has in a context.
pub(crate) const CONTEXT: &str = "context";

/// A question to one dataset of one tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// Whose records.
    pub tenant: Tenant,
    /// Which records.
    pub dataset: Dataset,
    /// Event times meant; `from` inclusive, `to` exclusive.
    pub range: TimeRange,
    /// Which of them.
    pub filter: Filter,
    /// What is done with them, in order.
    pub pipeline: Vec<Pipe>,
    /// Where its page begins, when it is not the first of a list that has pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PagePlace>,
    /// Hints about the text it came from, such as a field name that looks misspelt. They do not change the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One step of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pipe {
    /// Keeps the rows that fit.
    Where(Filter),
    /// Keeps the rows for which an expression is true.
    Test(Expr),
    /// One row per group: its keys, then its aggregates.
    Stats {
        /// At least one.
        aggregates: Vec<Aggregate>,
        /// None at all means one group.
        by: Vec<GroupKey>,
    },
    /// Orders rows; ties keep the order they had.
    Sort(Vec<SortKey>),
    /// Keeps the first rows.
    Limit(usize),
    /// Keeps these columns, in this order.
    Fields(Vec<Target>),
    /// Drops these columns.
    Drop(Vec<Target>),
    /// Computes columns, one after the other: each may use those before.
    Eval(Vec<Assignment>),
    /// Takes a text apart.
    Parse(Parse),
    /// Keeps the first rows of each combination of values, in the order they come.
    Dedup {
        /// Rows of each combination.
        rows: usize,
        /// Whose values.
        by: Vec<Target>,
    },
    /// Records with so many before and after each in its own stream, marked in the column `context`. Only the conditions
    /// and one limit may stand before it.
    Context(usize),
    /// Puts the rows of another question beside these.
    Join(Join),
    /// Each row's part of the sum of a column, 0 to 1; absent where its value is no number.
    Share {
        /// The column.
        of: Target,
        /// Name of the column made.
        alias: String,
    },
}

/// Rows of another question beside those of this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// What becomes of rows without a counterpart.
    pub kind: JoinKind,
    /// The other question.
    pub right: SubQuery,
    /// What must be equal: here, and there.
    pub on: Vec<(Target, Target)>,
}

/// What becomes of rows without a counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinKind {
    /// They are left out.
    Inner,
    /// They stay, with the columns of the other side absent.
    Left,
}

/// A question within another: of the same tenant, and of the same range unless its filter names times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubQuery {
    /// Which records.
    pub dataset: Dataset,
    /// Which of them; times stay in it.
    pub filter: Filter,
    /// What is done with them.
    pub pipeline: Vec<Pipe>,
}

impl SubQuery {
    /// The columns of its rows, when its pipeline names them.
    pub(crate) fn columns(&self) -> Vec<Named> {
        let scope = self.pipeline.iter().fold(Scope::Records, |scope, pipe| scope.after(pipe, self.dataset));
        match scope {
            Scope::Columns(columns) => columns,
            Scope::Records | Scope::Extended(_) => Vec::new(),
        }
    }
}

impl Join {
    /// The columns it adds: those of the other side that it is not joined on.
    pub(crate) fn columns(&self) -> Vec<Named> {
        let mut columns = self.right.columns();
        columns.retain(|column| self.on.iter().all(|(_, right)| *right != column.target));
        for column in &mut columns {
            column.target = Target::Attribute(column.name.clone());
        }
        columns
    }
}

/// A column of `eval`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Its name.
    pub name: String,
    /// Its value.
    pub expr: Expr,
}

impl Assignment {
    /// The column it makes.
    #[must_use]
    pub fn target(&self) -> Target {
        Target::Attribute(self.name.clone())
    }
}

/// A text taken apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parse {
    /// Which text.
    pub from: Target,
    /// How.
    pub form: Form,
    /// Columns it makes; none for a document, whose members become attributes.
    pub columns: Vec<String>,
}

impl Parse {
    /// The columns it makes.
    pub(crate) fn targets(&self) -> impl Iterator<Item = Target> {
        self.columns.iter().map(|name| Target::Attribute(name.clone()))
    }
}

/// One column to sort by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SortKey {
    /// Which column.
    pub target: Target,
    /// Greatest first.
    pub descending: bool,
}

/// What rows are grouped by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupKey {
    /// The value of a field.
    Field(Target),
    /// The start of the time span of this many ns that holds the timestamp; spans count from the epoch, whole weeks
    /// from a Monday.
    Bin(i64),
}

impl GroupKey {
    /// The column the key makes.
    #[must_use]
    pub fn target(&self) -> Target {
        match self {
            GroupKey::Field(target) => target.clone(),
            GroupKey::Bin(_) => Target::Field(schema::TIMESTAMP),
        }
    }
}

/// One aggregate of a `stats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// What is computed.
    pub func: Func,
    /// Of which values; `None` only for `count` and `rate`.
    pub arg: Option<Target>,
    /// Name of the output column.
    pub alias: String,
}

/// Aggregate functions. All but `count` without argument and `rate` look at present values only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Func {
    /// Rows, or present values.
    Count,
    /// Different values; exact up to 2,048, then within about 1 % (standard error 0.8 %).
    CountDistinct,
    /// Sum of numbers.
    Sum,
    /// Mean of numbers.
    Avg,
    /// Least value.
    Min,
    /// Greatest value.
    Max,
    /// Standard deviation of the sample; absent below two numbers.
    Stddev,
    /// Value at this percentage of the ordered numbers; exact up to 256 of them, then within 1 % of the value.
    Percentile(f64),
    /// Value in the earliest record.
    First,
    /// Value in the latest record.
    Last,
    /// Rows per second of the bin, or of the range when there is no bin.
    Rate,
}

/// What kind of argument a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Maybe,
    Number,
    Any,
}

impl Func {
    /// Names as written, with one line for people. Percentiles are also `p` and a number.
    pub(crate) const NAMES: [(&'static str, Func, &'static str); 20] = [
        ("count", Func::Count, "rows; with a field, rows that have it"),
        ("count_distinct", Func::CountDistinct, "different values"),
        ("dc", Func::CountDistinct, "different values"),
        ("sum", Func::Sum, "sum"),
        ("avg", Func::Avg, "mean"),
        ("mean", Func::Avg, "mean"),
        ("min", Func::Min, "least value"),
        ("max", Func::Max, "greatest value"),
        ("stddev", Func::Stddev, "standard deviation of the sample"),
        ("p50", Func::Percentile(50.0), "median"),
        ("median", Func::Percentile(50.0), "median"),
        ("p75", Func::Percentile(75.0), "75th percentile"),
        ("p90", Func::Percentile(90.0), "90th percentile"),
        ("p95", Func::Percentile(95.0), "95th percentile"),
        ("p99", Func::Percentile(99.0), "99th percentile"),
        ("p99.9", Func::Percentile(99.9), "99.9th percentile"),
        ("percentile", Func::Percentile(50.0), "any percentile: percentile(field, 97.5)"),
        ("first", Func::First, "value in the earliest record"),
        ("last", Func::Last, "value in the latest record"),
        ("rate", Func::Rate, "rows per second"),
    ];

    /// The function of this name.
    pub(crate) fn parse(name: &str) -> Option<Func> {
        let name = name.to_ascii_lowercase();
        if let Some((_, func, _)) = Func::NAMES.iter().find(|(known, _, _)| *known == name) {
            return Some(*func);
        }
        let percent = name.strip_prefix('p').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))?;
        percent.parse().ok().filter(|percent| Func::is_percent(*percent)).map(Func::Percentile)
    }

    /// Whether `percent` makes a percentile.
    pub(crate) fn is_percent(percent: f64) -> bool {
        percent > 0.0 && percent < 100.0
    }

    pub(crate) fn takes(self) -> Takes {
        match self {
            Func::Count => Takes::Maybe,
            Func::Rate => Takes::Nothing,
            Func::Sum | Func::Avg | Func::Stddev | Func::Percentile(_) => Takes::Number,
            Func::CountDistinct | Func::Min | Func::Max | Func::First | Func::Last => Takes::Any,
        }
    }
}

impl std::fmt::Display for Func {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Func::Percentile(percent) => write!(f, "p{percent}"),
            other => {
                let named = Func::NAMES.iter().find(|(_, func, _)| func == other);
                f.write_str(named.map_or("count", |(name, _, _)| name))
            }
        }
    }
}

impl Aggregate {
    /// The aggregate under the name it has when none is given: `count`, `p99(duration_ms)`.
    #[must_use]
    pub fn new(func: Func, arg: Option<Target>, dataset: Dataset) -> Aggregate {
        let alias = Aggregate::default_alias(func, arg.as_ref(), dataset);
        Aggregate { func, arg, alias }
    }

    pub(crate) fn default_alias(func: Func, arg: Option<&Target>, dataset: Dataset) -> String {
        match arg {
            None => func.to_string(),
            Some(target) => format!("{func}({})", target.name(dataset)),
        }
    }
}

/// Type of an output column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// RFC 3339 text.
    Time,
    /// Level name.
    Level,
    /// Whole number.
    Int,
    /// Number.
    Float,
    /// Text.
    Text,
    /// JSON object or array.
    Json,
    /// Any of them: attributes hold any type.
    Any,
}

impl ColumnType {
    pub(crate) fn of(target: &Target, dataset: Dataset) -> ColumnType {
        match target.ty(dataset) {
            None => ColumnType::Any,
            Some(FieldType::Time) => ColumnType::Time,
            Some(FieldType::Level) => ColumnType::Level,
            Some(FieldType::Int) => ColumnType::Int,
            Some(FieldType::Float) => ColumnType::Float,
            Some(FieldType::Text | FieldType::Id16 | FieldType::Id8) => ColumnType::Text,
            Some(FieldType::Json) => ColumnType::Json,
        }
    }
}

/// A column as later pipes see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) ty: ColumnType,
}

/// What names mean at one place of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scope {
    /// Any field or attribute of a record.
    Records,
    /// Any field or attribute of a record, and these columns computed for it, which hide those of the same name.
    Extended(Vec<Named>),
    /// These columns alone.
    Columns(Vec<Named>),
}

impl Scope {
    /// The column of a target.
    pub(crate) fn column(&self, target: &Target, dataset: Dataset) -> Named {
        let known = match self {
            Scope::Records => None,
            Scope::Extended(columns) | Scope::Columns(columns) => {
                columns.iter().find(|column| column.target == *target).cloned()
            }
        };
        known.unwrap_or_else(|| Named {
            name: target.name(dataset),
            target: target.clone(),
            ty: ColumnType::of(target, dataset),
        })
    }

    /// The scope after a pipe.
    pub(crate) fn after(self, pipe: &Pipe, dataset: Dataset) -> Scope {
        match pipe {
            Pipe::Where(_) | Pipe::Test(_) | Pipe::Sort(_) | Pipe::Limit(_) | Pipe::Dedup { .. } => self,
            Pipe::Eval(assignments) => assignments.iter().fold(self, |scope, assignment| {
                let ty = assignment.expr.ty(&|target| scope.column(target, dataset).ty);
                scope.with(assignment.name.clone(), ty)
            }),
            Pipe::Parse(parse) => {
                parse.columns.iter().fold(self, |scope, name| scope.with(name.clone(), ColumnType::Any))
            }
            Pipe::Context(_) => self.with(CONTEXT.to_owned(), ColumnType::Text),
            Pipe::Join(join) => {
                join.columns().into_iter().fold(self, |scope, column| scope.with(column.name, column.ty))
            }
            Pipe::Share { alias, .. } => self.with(alias.clone(), ColumnType::Float),
            Pipe::Fields(targets) => {
                Scope::Columns(targets.iter().map(|target| self.column(target, dataset)).collect())
            }
            Pipe::Drop(targets) => match self {
                Scope::Records | Scope::Extended(_) => self,
                Scope::Columns(mut columns) => {
                    columns.retain(|column| !targets.contains(&column.target));
                    Scope::Columns(columns)
                }
            },
            Pipe::Stats { aggregates, by } => {
                let keys = by.iter().map(|key| match key {
                    GroupKey::Field(target) => self.column(target, dataset),
                    GroupKey::Bin(_) => {
                        Named { name: BIN_NAME.to_owned(), target: key.target(), ty: ColumnType::Time }
                    }
                });
                let values = aggregates.iter().map(|aggregate| Named {
                    name: aggregate.alias.clone(),
                    target: Target::Attribute(aggregate.alias.clone()),
                    ty: self.result_type(aggregate, dataset),
                });
                Scope::Columns(keys.chain(values).collect())
            }
        }
    }

    /// The scope with a computed column, in place of one of the same name.
    fn with(self, name: String, ty: ColumnType) -> Scope {
        let column = Named { target: Target::Attribute(name.clone()), name, ty };
        let put = |mut columns: Vec<Named>| {
            match columns.iter_mut().find(|other| other.name == column.name) {
                Some(place) => *place = column.clone(),
                None => columns.push(column.clone()),
            }
            columns
        };
        match self {
            Scope::Records => Scope::Extended(vec![column]),
            Scope::Extended(columns) => Scope::Extended(put(columns)),
            Scope::Columns(columns) => Scope::Columns(put(columns)),
        }
    }

    fn result_type(&self, aggregate: &Aggregate, dataset: Dataset) -> ColumnType {
        let arg = aggregate.arg.as_ref().map(|target| self.column(target, dataset).ty);
        match aggregate.func {
            Func::Count | Func::CountDistinct => ColumnType::Int,
            Func::Avg | Func::Stddev | Func::Percentile(_) | Func::Rate => ColumnType::Float,
            Func::Sum if arg == Some(ColumnType::Any) => ColumnType::Float,
            Func::Sum | Func::Min | Func::Max | Func::First | Func::Last => arg.unwrap_or(ColumnType::Any),
        }
    }
}

impl Query {
    /// Every record of a range, newest first.
    #[must_use]
    pub fn new(tenant: Tenant, dataset: Dataset, range: TimeRange) -> Query {
        let (pipeline, warnings) = (Vec::new(), Vec::new());
        Query { tenant, dataset, range, filter: Filter::All, pipeline, after: None, warnings }
    }
}
