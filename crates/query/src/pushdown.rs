//! What of an expression the store's scan can decide, or narrow down.
//!
//! Invariants:
//! - a row for which an expression is true passes the filter it implies;
//! - a filter that is exact passes no other rows: texts, absent values and signed zeros included. What compares otherwise in
//!   expressions than in filters (attributes, which may be arrays or numbers sent as text) is implied, not exact.

use heimdall_model::filter::{Compare, Filter, Literal, Target, Test};
use heimdall_model::matcher::hex;
use heimdall_model::{Dataset, FieldType, Level, Timestamp};

use crate::cell::{Cell, Rows};
use crate::evaluate::Evaluator;
use crate::expression::{Constant, Expr, Function, Operator};

/// Whole numbers that are exact as floats.
const EXACT_BELOW: i64 = 1 << 53;

/// A filter, and whether it passes exactly the rows for which the expression is true.
struct Implied {
    filter: Filter,
    is_exact: bool,
}

impl Implied {
    const NOTHING: Implied = Implied { filter: Filter::All, is_exact: false };

    fn exactly(filter: Filter) -> Implied {
        Implied { filter, is_exact: true }
    }

    fn at_least(filter: Filter) -> Implied {
        Implied { filter, is_exact: false }
    }
}

/// A condition on records in parts.
pub(crate) struct Split {
    /// What the scan takes over.
    pub(crate) exact: Filter,
    /// What every row passes for which the rest holds.
    pub(crate) implied: Filter,
    /// What is left to be evaluated for each row that passes.
    pub(crate) rest: Option<Expr>,
}

/// Parts a condition; `is_computed`: whether a part looks at what no stored record has.
pub(crate) fn split(expr: &Expr, dataset: Dataset, is_computed: impl Fn(&Expr) -> bool) -> Split {
    let mut parts = Vec::new();
    conjuncts(expr, &mut parts);
    let mut split = Split { exact: Filter::All, implied: Filter::All, rest: None };
    for part in parts {
        let Implied { filter, is_exact } =
            if is_computed(part) { Implied::NOTHING } else { implied(part, dataset) };
        if is_exact {
            split.exact = split.exact.and(filter);
            continue;
        }
        split.implied = split.implied.and(filter);
        split.rest = Some(match split.rest {
            None => part.clone(),
            Some(before) => Expr::Binary(Operator::And, Box::new(before), Box::new(part.clone())),
        });
    }
    split
}

/// A row without anything.
struct Nothing;

impl Rows for Nothing {
    fn cell(&self, _: &Target, _: usize) -> Cell<'_> {
        Cell::Null
    }

    fn time(&self, _: usize) -> Option<Timestamp> {
        None
    }

    fn order(&self, _: usize) -> (i64, u64) {
        (0, 0)
    }
}

/// The value of an expression that looks at no row.
fn constant(expr: &Expr) -> Option<Constant> {
    if let Expr::Constant(constant) = expr {
        return Some(constant.clone());
    }
    let mut targets = Vec::new();
    expr.targets(&mut targets);
    let mut evaluator = Evaluator::default();
    if !targets.is_empty() || evaluator.learn(expr).is_err() {
        return None;
    }
    Some(match evaluator.value(expr, &Nothing, 0) {
        Cell::Null => Constant::Null,
        Cell::Bool(b) => Constant::Bool(b),
        Cell::Int(n) => Constant::Int(n),
        Cell::Float(x) => Constant::Float(x),
        Cell::Time(time) => Constant::Time(time),
        Cell::Text(text) => Constant::Text(text.into_owned()),
        Cell::Level(_) | Cell::Json(_) => return None,
    })
}

fn conjuncts<'e>(expr: &'e Expr, out: &mut Vec<&'e Expr>) {
    match expr {
        Expr::Binary(Operator::And, left, right) => {
            conjuncts(left, out);
            conjuncts(right, out);
        }
        other => out.push(other),
    }
}

fn implied(expr: &Expr, dataset: Dataset) -> Implied {
    match expr {
        Expr::Binary(Operator::And, left, right) => {
            let (left, right) = (implied(left, dataset), implied(right, dataset));
            Implied { filter: left.filter.and(right.filter), is_exact: left.is_exact && right.is_exact }
        }
        Expr::Binary(Operator::Or, left, right) => {
            let (left, right) = (implied(left, dataset), implied(right, dataset));
            if left.filter == Filter::All || right.filter == Filter::All {
                return Implied::NOTHING;
            }
            let is_exact = left.is_exact && right.is_exact;
            Implied { filter: either(left.filter, right.filter), is_exact }
        }
        Expr::Binary(operator, left, right) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(target), other) | (other, Expr::Column(target)) => {
                let operator = if **left == *other { turned(*operator) } else { Some(*operator) };
                match (constant(other), operator) {
                    (Some(constant), Some(operator)) => compared(target, operator, &constant, dataset),
                    _ => present(expr),
                }
            }
            _ => present(expr),
        },
        Expr::Not(inner) => match inner.as_ref() {
            Expr::Call(Function::IsNull, arguments) => match arguments.as_slice() {
                [Expr::Column(target @ Target::Field(_))] => Implied::exactly(exists(target)),
                _ => Implied::NOTHING,
            },
            _ => Implied::NOTHING,
        },
        Expr::Call(Function::IsNull, arguments) => match arguments.as_slice() {
            [Expr::Column(target @ Target::Field(_))] => Implied::exactly(exists(target).negate()),
            _ => Implied::NOTHING,
        },
        Expr::Call(..) => present(expr),
        _ => Implied::NOTHING,
    }
}

fn either(left: Filter, right: Filter) -> Filter {
    let parts = |filter| match filter {
        Filter::Or(parts) => parts,
        other => vec![other],
    };
    Filter::Or([parts(left), parts(right)].concat())
}

fn exists(target: &Target) -> Filter {
    Filter::Test(target.clone(), Test::Exists)
}

/// What must be there for it to hold: every field without whose value the whole is absent.
fn present(expr: &Expr) -> Implied {
    let mut targets = Vec::new();
    needed(expr, &mut targets);
    Implied::at_least(targets.iter().map(exists).fold(Filter::All, Filter::and))
}

fn needed(expr: &Expr, out: &mut Vec<Target>) {
    match expr {
        Expr::Column(target @ (Target::Field(_) | Target::Attribute(_))) => {
            if !out.contains(target) {
                out.push(target.clone());
            }
        }
        Expr::Column(_) | Expr::Constant(_) | Expr::Not(_) => {}
        Expr::Negate(inner) => needed(inner, out),
        Expr::Binary(Operator::And | Operator::Or, ..) => {}
        Expr::Binary(_, left, right) => {
            needed(left, out);
            needed(right, out);
        }
        Expr::Call(function, arguments) => match function {
            Function::Case | Function::Coalesce | Function::If | Function::IsNull => {}
            _ => arguments.iter().for_each(|argument| needed(argument, out)),
        },
    }
}

/// The operator when the sides change places.
fn turned(operator: Operator) -> Option<Operator> {
    Some(match operator {
        Operator::Equal | Operator::NotEqual => operator,
        Operator::Less => Operator::Greater,
        Operator::LessOrEqual => Operator::GreaterOrEqual,
        Operator::Greater => Operator::Less,
        Operator::GreaterOrEqual => Operator::LessOrEqual,
        _ => return None,
    })
}

fn compared(target: &Target, operator: Operator, constant: &Constant, dataset: Dataset) -> Implied {
    if matches!(target, Target::Id | Target::Template)
        || operator.precedence() != crate::expression::COMPARISON
    {
        return Implied::NOTHING;
    }
    let exact =
        literal(target, operator, constant, dataset).and_then(|literal| test(target, operator, literal));
    match exact {
        Some(filter) => Implied::exactly(filter),
        None => Implied::at_least(exists(target).and(equal_text(target, operator, constant))),
    }
}

/// The literal with which a filter on a canonical field compares as an expression does.
fn literal(target: &Target, operator: Operator, constant: &Constant, dataset: Dataset) -> Option<Literal> {
    let is_equality = matches!(operator, Operator::Equal | Operator::NotEqual);
    let plain_text = |text: &str| text.is_ascii() && text.trim().parse::<f64>().is_err();
    match (target.ty(dataset)?, constant) {
        (FieldType::Int | FieldType::Float, Constant::Int(n)) if n.abs() < EXACT_BELOW => {
            Some(Literal::new(&n.to_string()))
        }
        (FieldType::Float, Constant::Float(x)) if x.is_finite() && *x != 0.0 => {
            Some(Literal::new(&x.to_string()))
        }
        (FieldType::Text, Constant::Text(text)) if is_equality && plain_text(text) => {
            Some(Literal::new(text))
        }
        (FieldType::Id16, Constant::Text(text)) if is_equality && plain_text(text) => {
            hex(text, 16).map(|_| Literal::new(text))
        }
        (FieldType::Id8, Constant::Text(text)) if is_equality && plain_text(text) => {
            hex(text, 8).map(|_| Literal::new(text))
        }
        (FieldType::Level, Constant::Text(text)) => Level::parse(text).map(|_| Literal::new(text)),
        (FieldType::Time, Constant::Time(time)) => Some(Literal::new(&time.to_string()).at(*time)),
        _ => None,
    }
}

fn test(target: &Target, operator: Operator, literal: Literal) -> Option<Filter> {
    let compare = |compare| Some(Filter::Test(target.clone(), Test::Compare(compare, literal.clone())));
    match operator {
        Operator::Equal => Some(Filter::Test(target.clone(), Test::Equals(literal))),
        Operator::NotEqual => {
            let equal = Filter::Test(target.clone(), Test::Equals(literal));
            Some(exists(target).and(equal.negate()))
        }
        Operator::Less => compare(Compare::Less),
        Operator::LessOrEqual => compare(Compare::LessOrEqual),
        Operator::Greater => compare(Compare::Greater),
        Operator::GreaterOrEqual => compare(Compare::GreaterOrEqual),
        _ => None,
    }
}

/// An attribute that equals a text in an expression equals it in a filter, which looks into arrays besides.
fn equal_text(target: &Target, operator: Operator, constant: &Constant) -> Filter {
    match (target, operator, constant) {
        (Target::Attribute(_), Operator::Equal, Constant::Text(text))
            if text.is_ascii() && !text.starts_with('[') && text.trim().parse::<f64>().is_err() =>
        {
            Filter::Test(target.clone(), Test::Equals(Literal::new(text)))
        }
        _ => Filter::All,
    }
}
