//! The search line: text to [`Query`] and back.
//!
//! Invariants:
//! - parsing never panics and is bounded: line length, terms, patterns, nesting and pipes have limits;
//! - an error names the column (1-based, in characters) and, where one is near, the name that was meant;
//! - `parse(query.to_string())` gives the same query, in the same context with the query's own dataset and range.
//!
//! Reference for people: docs/search-line.md.

mod cursor;
mod error;
mod expression;
mod filter;
mod pipes;
mod print;
mod suggest;
#[cfg(test)]
mod tests;

pub(crate) use heimdall_extract::nearest as nearest_name;
use heimdall_model::filter::{Compare, Filter, Target, Test};
use heimdall_model::{Dataset, Tenant, Timestamp, schema};

pub use self::error::ParseError;
pub use self::print::filter_line;
pub use self::suggest::{SUGGESTIONS_MAX, Suggestion, SuggestionKind, suggest};
use crate::pushdown;
use crate::query::{Pipe, Query, TimeRange};
use filter::Parser;

/// Longest search line in bytes.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Most conditions in one line.
pub const TERMS_MAX: usize = 1_000;
/// Most wildcards and regular expressions in one line: each may take megabytes once compiled.
pub const PATTERNS_MAX: usize = 100;
/// Deepest nesting of parentheses and negations.
pub const DEPTH_MAX: usize = 64;
/// Most pipes in one line.
pub const PIPES_MAX: usize = 16;
/// Most aggregates of one `stats`.
pub const AGGREGATES_MAX: usize = 32;
/// Most keys of one `by`.
pub const GROUP_KEYS_MAX: usize = 8;

/// Most records `context` gives before and after each.
pub const CONTEXT_ROWS_MAX: usize = 1_000;
/// Most values and functions in the expressions of one line.
pub const EXPRESSION_TERMS_MAX: usize = 250;

/// What a line is read against.
#[derive(Debug, Clone)]
pub struct ParseContext<'a> {
    /// Whose records are asked for.
    pub tenant: Tenant,
    /// The dataset unless the line starts with another one.
    pub dataset: Dataset,
    /// What `now` in the line means.
    pub now: Timestamp,
    /// Start of the range the request asks for; conditions in the line narrow it.
    pub from: Option<Timestamp>,
    /// End (exclusive) of the range the request asks for.
    pub to: Option<Timestamp>,
    /// Start of the range when neither the request nor the line names a time. `None` is the whole of time.
    pub default_from: Option<Timestamp>,
    /// Attribute names seen in the data, for hints.
    pub known_attributes: &'a [String],
}

impl ParseContext<'_> {
    /// A context without limits of time and without known attributes.
    #[must_use]
    pub fn new(tenant: Tenant, dataset: Dataset, now: Timestamp) -> ParseContext<'static> {
        ParseContext { tenant, dataset, now, from: None, to: None, default_from: None, known_attributes: &[] }
    }
}

/// Reads a search line.
///
/// # Errors
/// [`ParseError`] says what is wrong and where.
pub fn parse(line: &str, context: &ParseContext<'_>) -> Result<Query, ParseError> {
    let mut parser = Parser::new(line, context.dataset, context.now, context.known_attributes)?;
    parser.dataset_selector()?;
    let mut filter = if parser.at_filter_end() { Filter::All } else { parser.filter()? };
    let mut pipeline = parser.pipeline()?;
    filter = filter.and(take_conditions(&mut pipeline, parser.dataset));
    let (filter, named) = split_time(filter);
    let range = request_range(context, &named);
    if range.from >= range.to {
        parser.warnings.push("the time range is empty: it ends before it starts".to_owned());
    }
    pipes::choose_spans(&mut pipeline, range);
    let (dataset, warnings) = (parser.dataset, parser.warnings);
    let tenant = context.tenant.clone();
    Ok(Query { tenant, dataset, range, filter, pipeline, after: None, warnings })
}

/// Takes the conditions that the pipes begin with, as far as they are filters.
fn take_conditions(pipeline: &mut Vec<Pipe>, dataset: Dataset) -> Filter {
    let conditions =
        pipeline.iter().take_while(|pipe| matches!(pipe, Pipe::Where(_) | Pipe::Test(_))).count();
    let (mut filter, mut left) = (Filter::All, Vec::new());
    for pipe in pipeline.drain(..conditions) {
        match pipe {
            Pipe::Where(more) => filter = filter.and(more),
            Pipe::Test(expr) => {
                let split = pushdown::split(&expr, dataset, |_| false);
                match split.rest {
                    // What would be printed as a filter is left with what makes it an expression.
                    Some(rest) if !rest.is_marked() => left.push(Pipe::Test(expr)),
                    rest => {
                        filter = filter.and(split.exact);
                        left.extend(rest.map(Pipe::Test));
                    }
                }
            }
            other => left.push(other),
        }
    }
    pipeline.splice(0..0, left);
    filter
}

/// Reads the filter part alone, as rules write it. Times stay in the filter.
///
/// # Errors
/// [`ParseError`] says what is wrong and where; a pipe is an error here.
pub fn parse_filter(text: &str, dataset: Dataset, now: Timestamp) -> Result<Filter, ParseError> {
    let mut parser = Parser::new(text, dataset, now, &[])?;
    if parser.at_filter_end() && parser.cursor.is_at_end() {
        return Ok(Filter::All);
    }
    let filter = parser.filter()?;
    parser.end_of_filter_text()?;
    Ok(filter)
}

/// Bounds of event time that a filter names.
#[derive(Debug, Default)]
pub(crate) struct NamedTimes {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// Takes the bounds on `timestamp` that every match must fit out of a filter.
pub(crate) fn split_time(filter: Filter) -> (Filter, NamedTimes) {
    let mut named = NamedTimes::default();
    let parts = match filter {
        Filter::And(parts) => parts,
        other => vec![other],
    };
    let rest = parts.into_iter().filter(|part| !named.take(part)).fold(Filter::All, Filter::and);
    (rest, named)
}

impl NamedTimes {
    /// The range they name; one that is open there is closed by another.
    pub(crate) fn range_or(&self, other: TimeRange) -> TimeRange {
        if self.from.is_none() && self.to.is_none() {
            return other;
        }
        TimeRange { from: self.from.unwrap_or(TimeRange::ALL.from), to: self.to.unwrap_or(TimeRange::ALL.to) }
    }

    /// Narrows by a condition on the timestamp; false when it is none.
    fn take(&mut self, part: &Filter) -> bool {
        let Filter::Test(Target::Field(schema::TIMESTAMP), test) = part else { return false };
        let after = |time: Timestamp| time.saturating_add_ns(1);
        let (from, to) = match test {
            Test::Compare(compare, literal) => match (compare, literal.time) {
                (_, None) => return false,
                (Compare::Greater, Some(time)) => (Some(after(time)), None),
                (Compare::GreaterOrEqual, Some(time)) => (Some(time), None),
                (Compare::Less, Some(time)) => (None, Some(time)),
                (Compare::LessOrEqual, Some(time)) => (None, Some(after(time))),
            },
            Test::Equals(literal) => match literal.time {
                None => return false,
                Some(time) => (Some(time), Some(after(time))),
            },
            _ => return false,
        };
        self.from = self.from.max(from);
        self.to = match (self.to, to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        true
    }
}

fn request_range(context: &ParseContext<'_>, named: &NamedTimes) -> TimeRange {
    let timeless =
        context.from.is_none() && context.to.is_none() && named.from.is_none() && named.to.is_none();
    let default_from = if timeless { context.default_from } else { None };
    let from = context.from.max(named.from).or(default_from).unwrap_or(TimeRange::ALL.from);
    let to = match (context.to, named.to) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b).unwrap_or(TimeRange::ALL.to),
    };
    TimeRange { from, to }
}

/// Any of the parts: nested `Or`s become one, and `All` swallows the rest.
fn any_of(parts: Vec<Filter>) -> Filter {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Filter::Or(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    if flat.contains(&Filter::All) {
        return Filter::All;
    }
    if flat.len() == 1 { flat.remove(0) } else { Filter::Or(flat) }
}

/// The field that bare words search.
fn default_target(dataset: Dataset) -> Target {
    Target::Field(match dataset {
        Dataset::Logs => schema::logs::MESSAGE,
        Dataset::Metrics => schema::metrics::NAME,
        Dataset::Spans => schema::spans::NAME,
    })
}

/// Whether `field:word` looks for the word inside the text rather than compares the whole text.
fn holds_words(target: &Target, dataset: Dataset) -> bool {
    match target {
        Target::Template => true,
        Target::Field(schema::logs::MESSAGE) if dataset == Dataset::Logs => true,
        Target::Field(id) => dataset.field(*id).ty == schema::FieldType::Json,
        Target::Attribute(_) | Target::Id => false,
    }
}
