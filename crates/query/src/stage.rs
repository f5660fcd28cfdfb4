//! What happens to each record between the scan and what follows it: columns that are computed, conditions on them.
//!
//! Invariants:
//! - a row is made at a time, so a stage takes the memory of one row;
//! - a computed column is an attribute of the row it is computed for, and hides one of the same name: the last hides all
//!   before;
//! - the pairs of a parsed document are attributes too, and in the column `attributes` they stand among the record's own.
//!
//! Not here: which pipes become a stage (see [`crate::plan`]).

use std::borrow::Cow;

use heimdall_extract::{Extractor, Group, group_values};
use heimdall_model::attributes;
use heimdall_model::filter::{Filter, Target};
use heimdall_model::matcher::Node;
use heimdall_model::{Dataset, FieldId, Matcher, Timestamp, Value};

use crate::cell::{Cell, Rows, passes};
use crate::engine::QueryError;
use crate::evaluate::{Evaluator, text, truth};
use crate::expression::Expr;
use crate::join::Right;
use crate::plan::filter_targets;
use crate::query::{JoinKind, Pipe};

/// Pipes made ready.
pub(crate) struct Stage<'q> {
    dataset: Dataset,
    steps: Vec<Step<'q>>,
    evaluator: Evaluator,
    /// What each value of a row is, in the order they are made.
    layers: Vec<Layer>,
}

enum Step<'q> {
    Where(Node),
    Test(&'q Expr),
    Compute(&'q Expr),
    Document(&'q Target, fn(&str) -> Option<Cow<'_, str>>),
    Groups(&'q Target, regex::Regex, Vec<Group>),
    Join(&'q Right),
}

#[derive(Debug, PartialEq)]
enum Layer {
    /// A column of this name.
    Column(String),
    /// A JSON object whose members are attributes.
    Document,
}

/// A row with what was computed for it.
pub(crate) struct Computed<'s, R> {
    base: &'s R,
    row: usize,
    dataset: Dataset,
    layers: &'s [Layer],
    // INVARIANT: the first of the layers have their values here; a document is text.
    values: Vec<Value>,
}

impl<'q> Stage<'q> {
    /// A stage of these pipes; others among them are passed over. `rights` are the right sides of the query's joins.
    pub(crate) fn new(
        pipes: &'q [Pipe],
        dataset: Dataset,
        rights: &'q [Right],
    ) -> Result<Stage<'q>, QueryError> {
        let mut stage =
            Stage { dataset, steps: Vec::new(), evaluator: Evaluator::default(), layers: Vec::new() };
        for pipe in pipes {
            stage.push(pipe, rights)?;
        }
        Ok(stage)
    }

    fn push(&mut self, pipe: &'q Pipe, rights: &'q [Right]) -> Result<(), QueryError> {
        let invalid = |pipe: &'static str| move |reason| QueryError::InvalidPipe { pipe, reason };
        match pipe {
            Pipe::Where(filter) => {
                let matcher = Matcher::compile(filter, self.dataset).map_err(QueryError::Filter)?;
                self.steps.push(Step::Where(matcher.root));
            }
            Pipe::Test(expr) => {
                self.evaluator.learn(expr).map_err(invalid("where"))?;
                self.steps.push(Step::Test(expr));
            }
            Pipe::Eval(assignments) => {
                for assignment in assignments {
                    self.evaluator.learn(&assignment.expr).map_err(invalid("eval"))?;
                    self.steps.push(Step::Compute(&assignment.expr));
                    self.layers.push(Layer::Column(assignment.name.clone()));
                }
            }
            Pipe::Parse(parse) => match Extractor::new(&parse.form).map_err(invalid("parse"))? {
                Extractor::Document(read) => {
                    self.steps.push(Step::Document(&parse.from, read));
                    self.layers.push(Layer::Document);
                }
                Extractor::Groups { regex, groups } => {
                    self.layers.extend(groups.iter().map(|group| Layer::Column(group.name.clone())));
                    self.steps.push(Step::Groups(&parse.from, regex, groups));
                }
            },
            Pipe::Join(join) => {
                let right = rights.iter().find(|right| right.join() == join);
                let right = right.ok_or_else(|| invalid("join")("its rows are not known".to_owned()))?;
                self.layers.extend(join.columns().into_iter().map(|column| Layer::Column(column.name)));
                self.steps.push(Step::Join(right));
            }
            _ => {}
        }
        Ok(())
    }

    /// Hands the row on with what is computed for it: once, unless a condition leaves it out or a join multiplies it.
    pub(crate) fn row<R: Rows>(
        &self,
        base: &R,
        row: usize,
        mut each: impl FnMut(&Computed<'_, R>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut made = Computed {
            base,
            row,
            dataset: self.dataset,
            layers: &self.layers,
            values: Vec::with_capacity(self.layers.len()),
        };
        self.steps(&self.steps, &mut made, &mut each)
    }

    fn steps<R: Rows>(
        &self,
        steps: &[Step<'q>],
        made: &mut Computed<'_, R>,
        each: &mut dyn FnMut(&Computed<'_, R>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Where(node) => {
                    if !passes(node, made, 0) {
                        return Ok(());
                    }
                }
                Step::Test(expr) => {
                    if truth(&self.evaluator.value(expr, made, 0)) != Some(true) {
                        return Ok(());
                    }
                }
                Step::Compute(expr) => {
                    let value = self.evaluator.value(expr, made, 0).to_value();
                    made.values.push(value);
                }
                Step::Document(from, read) => {
                    let document = text(made.cell(from, 0)).and_then(|text| read(&text).map(Cow::into_owned));
                    made.values.push(document.map_or(Value::Null, Value::Text));
                }
                Step::Groups(from, regex, groups) => {
                    let values = group_values(regex, groups, text(made.cell(from, 0)).as_deref());
                    made.values.extend(values);
                }
                Step::Join(right) => {
                    let (before, width) = (made.values.len(), right.width());
                    let found = right.of(made);
                    for row in found {
                        right.count()?;
                        made.values.extend(right.values(*row));
                        self.steps(&steps[at + 1..], made, each)?;
                        made.values.truncate(before);
                    }
                    if !found.is_empty() || right.join().kind == JoinKind::Inner {
                        return Ok(());
                    }
                    made.values.resize(before + width, Value::Null);
                }
            }
        }
        each(made)
    }
}

impl<R: Rows> Computed<'_, R> {
    /// Whether a value of the row itself may be hidden by a computed one.
    pub(crate) fn may_hide(&self, target: &Target) -> bool {
        match target {
            Target::Attribute(path) => self.layers.iter().any(|layer| match layer {
                Layer::Column(name) => name == path,
                Layer::Document => true,
            }),
            Target::Field(id) => *id == self.dataset.attributes() && self.layers.contains(&Layer::Document),
            Target::Id | Target::Template => false,
        }
    }

    fn attribute(&self, path: &str) -> Option<Cell<'_>> {
        self.layers.iter().zip(&self.values).rev().find_map(|(layer, value)| match (layer, value) {
            (Layer::Column(name), value) => (name == path).then(|| Cell::from(value)),
            (Layer::Document, Value::Text(document)) => attributes::get(document, path).map(Cell::from),
            (Layer::Document, _) => None,
        })
    }

    /// The record's attributes with the members of the documents.
    fn all_attributes(&self, own: Cell<'_>) -> Cell<'_> {
        let members = |json: &str| serde_json::from_str::<serde_json::Map<_, _>>(json).unwrap_or_default();
        let mut all = text(own).map_or_else(serde_json::Map::new, |own| members(&own));
        for (layer, value) in self.layers.iter().zip(&self.values) {
            if let (Layer::Document, Value::Text(document)) = (layer, value) {
                all.extend(members(document));
            }
        }
        if all.is_empty() {
            return Cell::Null;
        }
        Cell::Json(Cow::Owned(serde_json::Value::Object(all).to_string()))
    }
}

impl<R: Rows> Rows for Computed<'_, R> {
    /// The value of a target; there is one row, whatever its number.
    fn cell(&self, target: &Target, _: usize) -> Cell<'_> {
        let own = || self.base.cell(target, self.row);
        match target {
            Target::Attribute(path) => self.attribute(path).unwrap_or_else(own),
            Target::Field(id)
                if *id == self.dataset.attributes() && self.layers.contains(&Layer::Document) =>
            {
                self.all_attributes(own())
            }
            _ => own(),
        }
    }

    fn time(&self, _: usize) -> Option<Timestamp> {
        self.base.time(self.row)
    }

    fn order(&self, _: usize) -> (i64, u64) {
        self.base.order(self.row)
    }
}

/// What is known of a stage without making it ready.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    /// What is read of records.
    pub(crate) reads: Vec<Target>,
    /// Columns that are computed: nothing of that name is read of a record after it.
    made: Vec<Target>,
    /// Whether attributes whose names are not known beforehand are made.
    has_documents: bool,
}

impl Outline {
    /// Adds a pipe of a stage.
    pub(crate) fn push(&mut self, pipe: &Pipe) {
        let mut reads = Vec::new();
        match pipe {
            Pipe::Where(filter) => filter_targets(filter, &mut reads),
            Pipe::Test(expr) => expr.targets(&mut reads),
            Pipe::Eval(assignments) => {
                for assignment in assignments {
                    let mut reads = Vec::new();
                    assignment.expr.targets(&mut reads);
                    self.read(reads);
                    self.made.push(assignment.target());
                }
            }
            Pipe::Parse(parse) => {
                self.read(vec![parse.from.clone()]);
                self.made.extend(parse.targets());
                self.has_documents |= parse.columns.is_empty();
            }
            Pipe::Join(join) => {
                self.read(join.on.iter().map(|(left, _)| left.clone()).collect());
                self.made.extend(join.columns().into_iter().map(|column| column.target));
            }
            _ => {}
        }
        self.read(reads);
    }

    fn read(&mut self, targets: Vec<Target>) {
        let stored = self.stored(targets.into_iter()).collect::<Vec<_>>();
        self.reads.extend(stored);
    }

    /// Those that a record has, as far as is known.
    pub(crate) fn stored(&self, targets: impl Iterator<Item = Target>) -> impl Iterator<Item = Target> {
        targets.filter(|target| !self.made.contains(target))
    }

    /// Whether a filter looks at what only a stage knows.
    pub(crate) fn decides(&self, filter: &Filter) -> bool {
        let mut targets = Vec::new();
        filter_targets(filter, &mut targets);
        self.makes_any(&targets)
    }

    /// Whether an expression looks at what only a stage knows.
    pub(crate) fn computes(&self, expr: &Expr) -> bool {
        let mut targets = Vec::new();
        expr.targets(&mut targets);
        self.makes_any(&targets)
    }

    fn makes_any(&self, targets: &[Target]) -> bool {
        targets.iter().any(|target| self.makes(target))
    }

    fn makes(&self, target: &Target) -> bool {
        let is_attributes = |id: FieldId| Dataset::ALL.iter().any(|dataset| dataset.attributes() == id);
        let in_document = match target {
            Target::Attribute(_) => true,
            Target::Field(id) => is_attributes(*id),
            Target::Id | Target::Template => false,
        };
        self.made.contains(target) || (self.has_documents && in_document)
    }
}
