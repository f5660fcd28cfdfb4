//! Expressions, as `eval` computes columns with: what they are. Their values: [`crate::evaluate`].

use heimdall_model::Timestamp;
use heimdall_model::filter::Target;
use serde::{Deserialize, Serialize};

use crate::query::ColumnType;

/// What is computed for each row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expr {
    /// The value of a field or column.
    Column(Target),
    /// The same for every row.
    Constant(Constant),
    /// The number with the other sign.
    Negate(Box<Expr>),
    /// True where false, and the other way round.
    Not(Box<Expr>),
    /// Two values made one.
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// A function of its arguments, as many as it takes.
    Call(Function, Vec<Expr>),
}

/// A value written in a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constant {
    /// Absent.
    Null,
    /// True or false.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Finite number.
    Float(f64),
    /// Text.
    Text(String),
    /// Point in time; `now()` becomes one when the line is read.
    Time(Timestamp),
}

/// What stands between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Either is true.
    Or,
    /// Both are true.
    And,
    /// Equal; texts without regard to case.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Sum; a time and seconds make a time.
    Add,
    /// Difference; two times make seconds.
    Subtract,
    /// Product.
    Multiply,
    /// Quotient, never whole; absent when divided by zero.
    Divide,
    /// Remainder, of the sign of the first.
    Modulo,
}

impl Operator {
    /// As written, those that are read first first: `<=` before `<`.
    pub(crate) const SIGNS: [(&'static str, Operator); 14] = [
        ("||", Operator::Or),
        ("&&", Operator::And),
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("+", Operator::Add),
        ("-", Operator::Subtract),
        ("*", Operator::Multiply),
        ("/", Operator::Divide),
        ("%", Operator::Modulo),
    ];

    /// As printed.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Operator::Or => "or",
            Operator::And => "and",
            other => Operator::SIGNS.iter().find(|(_, sign)| *sign == other).map_or("", |(text, _)| text),
        }
    }

    /// How tightly it binds.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Operator::Or => 1,
            Operator::And => 2,
            Operator::Equal
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => COMPARISON,
            Operator::Add | Operator::Subtract => 5,
            Operator::Multiply | Operator::Divide | Operator::Modulo => 6,
        }
    }
}

/// Precedence of comparisons, of which there is one between two values; `not` binds less tightly.
pub(crate) const COMPARISON: u8 = 4;
/// Precedence of `not`.
pub(crate) const NOT: u8 = 3;

/// Functions of expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "`Function::ALL` has a line for each")]
pub enum Function {
    Abs,
    Bin,
    Case,
    Ceil,
    Coalesce,
    Concat,
    Contains,
    EndsWith,
    Floor,
    If,
    IsNull,
    Len,
    Lower,
    Matches,
    Replace,
    Round,
    StartsWith,
    Substr,
    Time,
    ToNumber,
    ToString,
    Trim,
    Upper,
}

/// A function with its name, the least and most arguments it takes, and a line for people.
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    pub(crate) function: Function,
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) doc: &'static str,
}

const fn signature(
    name: &'static str,
    function: Function,
    (least, most): (usize, usize),
    doc: &'static str,
) -> Signature {
    Signature { name, function, least, most, doc }
}

/// Most arguments of one function.
pub(crate) const ARGUMENTS_MAX: usize = 32;

impl Function {
    pub(crate) const ALL: [Signature; 23] = [
        signature("abs", Function::Abs, (1, 1), "abs(x): the number without its sign"),
        signature("bin", Function::Bin, (2, 2), "bin(time, 5m): start of the span that holds a time"),
        signature(
            "case",
            Function::Case,
            (2, ARGUMENTS_MAX),
            "case(a, x, b, y, z): x if a, else y if b, else z",
        ),
        signature("ceil", Function::Ceil, (1, 1), "ceil(x): the whole number above"),
        signature(
            "coalesce",
            Function::Coalesce,
            (1, ARGUMENTS_MAX),
            "coalesce(a, b): the first that is present",
        ),
        signature("concat", Function::Concat, (1, ARGUMENTS_MAX), "concat(a, b): texts one after the other"),
        signature("contains", Function::Contains, (2, 2), "contains(text, part): whether it holds the part"),
        signature("ends_with", Function::EndsWith, (2, 2), "ends_with(text, part): whether it ends so"),
        signature("floor", Function::Floor, (1, 1), "floor(x): the whole number below"),
        signature("if", Function::If, (3, 3), "if(condition, a, b): a where it holds, else b"),
        signature("isnull", Function::IsNull, (1, 1), "isnull(x): whether it is absent"),
        signature("len", Function::Len, (1, 1), "len(text): its characters"),
        signature("lower", Function::Lower, (1, 1), "lower(text): in small letters"),
        signature("matches", Function::Matches, (2, 2), "matches(text, \"regex\"): whether it holds a match"),
        signature(
            "replace",
            Function::Replace,
            (3, 3),
            "replace(text, \"regex\", \"$1\"): every match replaced",
        ),
        signature("round", Function::Round, (1, 2), "round(x, digits): to so many digits after the point"),
        signature(
            "starts_with",
            Function::StartsWith,
            (2, 2),
            "starts_with(text, part): whether it starts so",
        ),
        signature("substr", Function::Substr, (2, 3), "substr(text, from, n): n characters; 1 is the first"),
        signature("time", Function::Time, (1, 1), "time(x): RFC 3339 text or epoch seconds as a time"),
        signature(
            "tonumber",
            Function::ToNumber,
            (1, 1),
            "tonumber(x): text as a number, a time as epoch seconds",
        ),
        signature("tostring", Function::ToString, (1, 1), "tostring(x): as text"),
        signature("trim", Function::Trim, (1, 1), "trim(text): without white space around it"),
        signature("upper", Function::Upper, (1, 1), "upper(text): in capital letters"),
    ];

    pub(crate) fn signature(self) -> &'static Signature {
        const ALL: &[Signature] = &Function::ALL;
        &ALL[self as usize]
    }

    pub(crate) fn parse(name: &str) -> Option<&'static Signature> {
        const ALL: &[Signature] = &Function::ALL;
        ALL.iter().find(|signature| signature.name.eq_ignore_ascii_case(name))
    }
}

impl Expr {
    /// Everything it looks at.
    pub(crate) fn targets(&self, out: &mut Vec<Target>) {
        match self {
            Expr::Column(target) => out.push(target.clone()),
            Expr::Constant(_) => {}
            Expr::Negate(inner) | Expr::Not(inner) => inner.targets(out),
            Expr::Binary(_, left, right) => {
                left.targets(out);
                right.targets(out);
            }
            Expr::Call(_, arguments) => arguments.iter().for_each(|argument| argument.targets(out)),
        }
    }

    /// Type of its values, where one is sure; `column` tells those of columns.
    pub(crate) fn ty(&self, column: &impl Fn(&Target) -> ColumnType) -> ColumnType {
        match self {
            Expr::Column(target) => column(target),
            Expr::Constant(Constant::Int(_)) => ColumnType::Int,
            Expr::Constant(Constant::Float(_)) => ColumnType::Float,
            Expr::Constant(Constant::Text(_)) => ColumnType::Text,
            Expr::Constant(Constant::Time(_)) => ColumnType::Time,
            Expr::Binary(Operator::Divide, ..) => ColumnType::Float,
            Expr::Call(function, _) => match function {
                Function::Len => ColumnType::Int,
                Function::Bin | Function::Time => ColumnType::Time,
                Function::Concat
                | Function::Lower
                | Function::Replace
                | Function::Substr
                | Function::ToString
                | Function::Trim
                | Function::Upper => ColumnType::Text,
                _ => ColumnType::Any,
            },
            _ => ColumnType::Any,
        }
    }

    /// Whether it can hold or not: a comparison, what joins such, a function that tells.
    pub(crate) fn is_condition(&self) -> bool {
        match self {
            Expr::Binary(operator, ..) => operator.precedence() <= COMPARISON,
            Expr::Not(_) => true,
            Expr::Call(function, _) => matches!(
                function,
                Function::Case
                    | Function::Coalesce
                    | Function::Contains
                    | Function::EndsWith
                    | Function::If
                    | Function::IsNull
                    | Function::Matches
                    | Function::StartsWith
            ),
            Expr::Column(_) | Expr::Constant(_) | Expr::Negate(_) => false,
        }
    }

    /// Whether it has in it what means nothing in a filter, so that it reads back as an expression.
    pub(crate) fn is_marked(&self) -> bool {
        match self {
            // A time is written as a call.
            Expr::Call(..) | Expr::Constant(Constant::Time(_)) => true,
            Expr::Column(_) | Expr::Constant(_) => false,
            Expr::Negate(inner) | Expr::Not(inner) => inner.is_marked(),
            Expr::Binary(operator, left, right) => {
                operator.precedence() > COMPARISON || left.is_marked() || right.is_marked()
            }
        }
    }

    /// Patterns of regular expressions in it.
    pub(crate) fn patterns<'e>(&'e self, out: &mut Vec<&'e str>) {
        match self {
            Expr::Column(_) | Expr::Constant(_) => {}
            Expr::Negate(inner) | Expr::Not(inner) => inner.patterns(out),
            Expr::Binary(_, left, right) => {
                left.patterns(out);
                right.patterns(out);
            }
            Expr::Call(function, arguments) => {
                if matches!(function, Function::Matches | Function::Replace)
                    && let Some(Expr::Constant(Constant::Text(pattern))) = arguments.get(1)
                {
                    out.push(pattern);
                }
                arguments.iter().for_each(|argument| argument.patterns(out));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_finds_its_signature() {
        for signature in &Function::ALL {
            assert_eq!(signature.function.signature().name, signature.name);
            assert!(signature.doc.starts_with(signature.name), "{}", signature.doc);
        }
    }
}
