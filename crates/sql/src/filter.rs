//! Conditions of SQL as conditions of the store.
//!
//! Invariants:
//! - the filter of a condition passes every row of which SQL says true; when it is exact, no other row;
//! - what is negated is exact, and holds for no row in which the value is absent: SQL says neither true nor false there.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator};
use heimdall_model::filter::{Compare, Filter, Literal, Target, Test};
use heimdall_model::{Dataset, FieldType, Level, Timestamp, schema};
use heimdall_query::TimeRange;

use crate::columns::target_of;

/// What the store can do of a condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    pub(crate) filter: Filter,
    /// Whether nothing is left to be asked.
    pub(crate) exact: bool,
}

/// Whole numbers up to here are the same as `f64`.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

impl Condition {
    fn exact(filter: Filter) -> Condition {
        Condition { filter, exact: true }
    }

    fn superset(filter: Filter) -> Condition {
        Condition { filter, exact: false }
    }
}

/// What the store can do of a condition, if anything.
pub(crate) fn condition(expr: &Expr, dataset: Dataset) -> Option<Condition> {
    of(expr, dataset, false)
}

/// The range and filter of conditions that must all hold, and whether they say it all.
pub(crate) fn all_of(exprs: &[Expr], range: TimeRange, dataset: Dataset) -> (TimeRange, Condition) {
    let (mut range, mut all) = (range, Condition::exact(Filter::All));
    for expr in exprs {
        match condition(expr, dataset) {
            None => all.exact = false,
            Some(Condition { filter, exact }) => {
                all.exact &= exact;
                for part in filter.conjuncts() {
                    if !narrow(&mut range, part) {
                        all.filter = all.filter.and(part.clone());
                    }
                }
            }
        }
    }
    (range, all)
}

/// Puts a condition on the time into the range, when it is one.
fn narrow(range: &mut TimeRange, part: &Filter) -> bool {
    let Filter::Test(Target::Field(schema::TIMESTAMP), Test::Compare(compare, literal)) = part else {
        return false;
    };
    let Some(Timestamp(ns)) = literal.time else { return false };
    match compare {
        Compare::GreaterOrEqual => range.from = range.from.max(Timestamp(ns)),
        Compare::Greater => range.from = range.from.max(Timestamp(ns.saturating_add(1))),
        Compare::Less => range.to = range.to.min(Timestamp(ns)),
        Compare::LessOrEqual => range.to = range.to.min(Timestamp(ns.saturating_add(1))),
    }
    true
}

fn of(expr: &Expr, dataset: Dataset, negated: bool) -> Option<Condition> {
    match expr {
        Expr::Not(inner) => of(inner, dataset, !negated),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (of(left, dataset, negated), of(right, dataset, negated));
            if (*op == Operator::And) == negated { either(left?, right?) } else { both(left, right) }
        }
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::RegexMatch | Operator::RegexIMatch),
            right,
        }) if !negated => {
            let Expr::Literal(pattern, _) = right.as_ref() else { return None };
            let flags = if *op == Operator::RegexIMatch { "(?i)" } else { "" };
            regex(&text_column(left, dataset)?, &format!("{flags}{}", text_of(pattern)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let op = if negated { op.negate()? } else { *op };
            let (column, op, value) = match (left.as_ref(), right.as_ref()) {
                (column, Expr::Literal(value, _)) => (column, op, value),
                (Expr::Literal(value, _), column) => (column, op.swap()?, value),
                _ => return None,
            };
            compare(column, op, value, dataset)
        }
        Expr::IsNotNull(inner) => present(inner, dataset, !negated),
        Expr::IsNull(inner) => present(inner, dataset, negated),
        Expr::Between(Between { expr, negated: outside, low, high }) => {
            let side = |op, value: &Expr| match value {
                Expr::Literal(value, _) => compare(expr, op, value, dataset),
                _ => None,
            };
            if *outside == negated {
                both(side(Operator::GtEq, low), side(Operator::LtEq, high))
            } else {
                either(side(Operator::Lt, low)?, side(Operator::Gt, high)?)
            }
        }
        Expr::InList(InList { expr, list, negated: outside }) => {
            let is_in = *outside == negated;
            let op = if is_in { Operator::Eq } else { Operator::NotEq };
            let mut parts = Vec::new();
            for value in list {
                let Expr::Literal(value, _) = value else { return None };
                parts.push(compare(expr, op, value, dataset)?);
            }
            let join = |a: Condition, b: Condition| if is_in { either(a, b) } else { both(Some(a), Some(b)) };
            parts.into_iter().map(Some).reduce(|a, b| join(a?, b?)).flatten()
        }
        Expr::Like(like) if !negated && !like.negated => like_of(like, dataset),
        Expr::ScalarFunction(ScalarFunction { func, args }) if !negated && func.name() == "regexp_like" => {
            let [column, Expr::Literal(pattern, _)] = args.as_slice() else { return None };
            regex(&text_column(column, dataset)?, text_of(pattern)?)
        }
        // A column that is a condition by itself: none of ours is.
        _ => None,
    }
}

/// Both must hold: one that is not known leaves the other, as more rows than meant.
fn both(left: Option<Condition>, right: Option<Condition>) -> Option<Condition> {
    match (left, right) {
        (Some(left), Some(right)) => {
            Some(Condition { filter: left.filter.and(right.filter), exact: left.exact && right.exact })
        }
        (Some(one), None) | (None, Some(one)) => Some(Condition::superset(one.filter)),
        (None, None) => None,
    }
}

fn either(left: Condition, right: Condition) -> Option<Condition> {
    let exact = left.exact && right.exact;
    let parts = [left.filter, right.filter].into_iter().flat_map(|filter| match filter {
        Filter::Or(parts) => parts,
        other => vec![other],
    });
    Some(Condition { filter: Filter::Or(parts.collect()), exact })
}

fn present(expr: &Expr, dataset: Dataset, wanted: bool) -> Option<Condition> {
    let target = column(expr, dataset)?;
    if target == Target::Template {
        return None; // a record may have an id of a template that the catalog has no text of
    }
    let exists = Filter::Test(target, Test::Exists);
    Some(Condition::exact(if wanted { exists } else { exists.negate() }))
}

fn column(expr: &Expr, dataset: Dataset) -> Option<Target> {
    let Expr::Column(column) = expr else { return None };
    target_of(&column.name, dataset)
}

fn text_column(expr: &Expr, dataset: Dataset) -> Option<Target> {
    column(expr, dataset)
        .filter(|target| target.ty(dataset) == Some(FieldType::Text) && *target != Target::Id)
}

fn compare(expr: &Expr, op: Operator, value: &ScalarValue, dataset: Dataset) -> Option<Condition> {
    if value.is_null() {
        return None;
    }
    if let Expr::ScalarFunction(ScalarFunction { func, args }) = expr {
        return attribute(func.name(), args, op, value, dataset);
    }
    let target = column(expr, dataset)?;
    match (&target, target.ty(dataset)?) {
        (Target::Field(_), FieldType::Time) => {
            let ScalarValue::TimestampNanosecond(Some(ns), _) = value else { return None };
            let literal = Literal::new(&ns.to_string()).at(Timestamp(*ns));
            ordered(target, op, &literal)
        }
        (Target::Field(_), FieldType::Int | FieldType::Float) => {
            let number = number_of(value)?;
            ordered(target, op, &Literal { number: Some(number), ..Literal::new(&number.to_string()) })
        }
        (Target::Field(_), FieldType::Level) => {
            let level =
                Level::ALL.into_iter().find(|level| level.as_str() == text_of(value).unwrap_or(""))?;
            equal(target, op, Test::Equals(Literal::new(level.as_str())))
        }
        (Target::Field(_), FieldType::Id16 | FieldType::Id8) => {
            let text = text_of(value)?;
            let width = if target.ty(dataset) == Some(FieldType::Id16) { 32 } else { 16 };
            let is_id = text.len() == width && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if is_id { equal(target, op, Test::Equals(Literal::new(text))) } else { None }
        }
        (Target::Field(_), FieldType::Text) => same_text(target, op, text_of(value)?),
        _ => None,
    }
}

/// A comparison by order of a value that is a time or a number.
fn ordered(target: Target, op: Operator, literal: &Literal) -> Option<Condition> {
    let test = |compare| Filter::Test(target.clone(), Test::Compare(compare, literal.clone()));
    let (at_least, at_most) = (Compare::GreaterOrEqual, Compare::LessOrEqual);
    Some(Condition::exact(match op {
        Operator::Lt => test(Compare::Less),
        Operator::LtEq => test(at_most),
        Operator::Gt => test(Compare::Greater),
        Operator::GtEq => test(at_least),
        Operator::Eq => test(at_least).and(test(at_most)),
        Operator::NotEq => Filter::Or(vec![test(Compare::Less), test(Compare::Greater)]),
        _ => return None,
    }))
}

/// A comparison for equality by a test that says exactly that.
fn equal(target: Target, op: Operator, test: Test) -> Option<Condition> {
    let equals = Filter::Test(target.clone(), test);
    match op {
        Operator::Eq => Some(Condition::exact(equals)),
        Operator::NotEq => Some(Condition::exact(Filter::Test(target, Test::Exists).and(equals.negate()))),
        _ => None,
    }
}

/// Texts are the same in SQL when every letter is: ours are without regard to case, and look-ups go by them.
fn same_text(target: Target, op: Operator, text: &str) -> Option<Condition> {
    let any_case = Filter::Test(target.clone(), Test::Equals(Literal::new(text)));
    let pattern = format!(r"\A(?:{})\z", escape(text));
    let exact = any_case.and(Filter::Test(target.clone(), Test::Regex(pattern)));
    match op {
        Operator::Eq => Some(Condition::exact(exact)),
        Operator::NotEq => {
            let present = Filter::Test(target, Test::Exists);
            Some(Condition::exact(present.and(Filter::Not(Box::new(exact)))))
        }
        _ => None,
    }
}

/// The text as a pattern that matches it alone.
fn escape(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' {
            pattern.push_str(&format!(r"\x{:02x}", u32::from(c)));
        } else {
            pattern.push(c);
        }
    }
    pattern
}

fn regex(target: &Target, pattern: &str) -> Option<Condition> {
    let filter = Filter::Test(target.clone(), Test::Regex(pattern.to_owned()));
    heimdall_model::Matcher::compile(&filter, Dataset::Logs).ok()?;
    Some(Condition::exact(filter))
}

/// The parts between wildcards must all be there, in any case of letters: more rows than meant.
fn like_of(like: &Like, dataset: Dataset) -> Option<Condition> {
    let target = text_column(&like.expr, dataset)?;
    let Expr::Literal(pattern, _) = like.pattern.as_ref() else { return None };
    let escape = like.escape_char.unwrap_or('\\');
    let mut parts = vec![String::new()];
    let mut letters = text_of(pattern)?.chars();
    while let Some(c) = letters.next() {
        match c {
            '%' | '_' => parts.push(String::new()),
            c if c == escape => parts.last_mut()?.extend(letters.next()),
            c => parts.last_mut()?.push(c),
        }
    }
    let parts =
        parts.into_iter().filter(|part| !part.is_empty() && (!like.case_insensitive || part.is_ascii()));
    let contains = parts.map(|part| Filter::Test(target.clone(), Test::Contains(part)));
    let filter = contains.fold(Filter::Test(target.clone(), Test::Exists), Filter::and);
    Some(Condition::superset(filter))
}

/// `attr(attributes, 'path')` and `attr_number(…)`: the store's tests look into arrays and at numbers in texts as well.
fn attribute(
    function: &str,
    args: &[Expr],
    op: Operator,
    value: &ScalarValue,
    dataset: Dataset,
) -> Option<Condition> {
    let [object, Expr::Literal(path, _)] = args else { return None };
    if column(object, dataset)? != Target::Field(dataset.attributes()) {
        return None;
    }
    let target = Target::Attribute(text_of(path)?.to_owned());
    let test = match (function, op) {
        ("attr", Operator::Eq) => Test::Equals(Literal::new(text_of(value)?)),
        ("attr_number", _) => {
            let number = number_of(value)?;
            let literal = Literal { number: Some(number), ..Literal::new(&number.to_string()) };
            match op {
                Operator::Eq => Test::Equals(literal),
                Operator::Lt => Test::Compare(Compare::Less, literal),
                Operator::LtEq => Test::Compare(Compare::LessOrEqual, literal),
                Operator::Gt => Test::Compare(Compare::Greater, literal),
                Operator::GtEq => Test::Compare(Compare::GreaterOrEqual, literal),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Condition::superset(Filter::Test(target, test)))
}

pub(crate) fn text_of(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

/// A number that is the same as `f64`.
#[expect(clippy::cast_precision_loss, reason = "checked to be exact")]
fn number_of(value: &ScalarValue) -> Option<f64> {
    let number = match value {
        ScalarValue::Float64(Some(x)) => *x,
        ScalarValue::Float32(Some(x)) => f64::from(*x),
        ScalarValue::Int64(Some(n)) => *n as f64,
        ScalarValue::Int32(Some(n)) => f64::from(*n),
        ScalarValue::UInt64(Some(n)) => *n as f64,
        _ => return None,
    };
    (number.is_finite() && number.abs() < EXACT_BELOW && number.to_bits() != (-0.0_f64).to_bits())
        .then_some(number)
}
