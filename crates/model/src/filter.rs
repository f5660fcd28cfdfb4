//! The filter tree: which records are meant. Every language, every rule and the live tail compile to it.
//!
//! Meaning of the tests (the store, the live tail and the rules agree because all use [`crate::Matcher`]):
//! - text compares without regard to case; a missing field fails every test but a negated one;
//! - `Words` looks for a word or phrase inside a text at word boundaries;
//! - a number literal compares numerically with numeric fields and with numeric text in attributes.

use serde::{Deserialize, Serialize};

use crate::{Dataset, FieldId, FieldType, Timestamp};

/// What a test looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A canonical field.
    Field(FieldId),
    /// A path inside the dataset's attributes: `http.status` means the key `http.status`, or `status` inside `http`.
    Attribute(String),
    /// The record id, which is derived and not stored.
    Id,
    /// The text of the record's template.
    Template,
}

impl Target {
    /// Resolves a field name as people write it: canonical name or alias, `id`, `template`, else an attribute
    /// (with or without the `attributes.` prefix).
    #[must_use]
    pub fn resolve(dataset: Dataset, name: &str) -> Target {
        if let Some(id) = dataset.resolve(name) {
            return Target::Field(id);
        }
        match name {
            "id" | "_id" => Target::Id,
            "template" | "message.template" if dataset == Dataset::Logs => Target::Template,
            _ => {
                let path = ["attributes.", "labels.", "message.structured."]
                    .iter()
                    .find_map(|prefix| name.strip_prefix(prefix))
                    .unwrap_or(name);
                Target::Attribute(path.to_owned())
            }
        }
    }

    /// The name to show for this target.
    #[must_use]
    pub fn name(&self, dataset: Dataset) -> String {
        match self {
            Target::Field(id) => dataset.field(*id).name.to_owned(),
            Target::Attribute(path) => path.clone(),
            Target::Id => "id".to_owned(),
            Target::Template => "template".to_owned(),
        }
    }

    /// The storage type, when the target has one: attributes hold any type.
    #[must_use]
    pub fn ty(&self, dataset: Dataset) -> Option<FieldType> {
        match self {
            Target::Field(id) => Some(dataset.field(*id).ty),
            Target::Attribute(_) => None,
            Target::Id | Target::Template => Some(FieldType::Text),
        }
    }
}

/// A constant in a test, kept as written and as what it can mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Literal {
    /// As written, unquoted.
    pub text: String,
    /// As a number, when it reads as one.
    pub number: Option<f64>,
    /// As a time, when the target is a time and it reads as one.
    pub time: Option<Timestamp>,
}

impl Literal {
    /// A literal from its text. The parser that knows "now" fills `time`.
    #[must_use]
    pub fn new(text: &str) -> Literal {
        let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
        Literal { text: text.to_owned(), number, time: None }
    }

    /// The same literal meant as a time.
    #[must_use]
    pub fn at(self, time: Timestamp) -> Literal {
        Literal { time: Some(time), ..self }
    }
}

/// Order comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Compare {
    /// Whether `ordering` (of value against literal) satisfies the comparison.
    #[must_use]
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Compare::Less => ordering.is_lt(),
            Compare::LessOrEqual => ordering.is_le(),
            Compare::Greater => ordering.is_gt(),
            Compare::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// As written in a search line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Compare::Less => "<",
            Compare::LessOrEqual => "<=",
            Compare::Greater => ">",
            Compare::GreaterOrEqual => ">=",
        }
    }
}

/// One condition on one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// The target is present.
    Exists,
    /// The text holds this word or phrase at word boundaries.
    Words(String),
    /// The text holds this text anywhere.
    Contains(String),
    /// The value equals the literal.
    Equals(Literal),
    /// The value compares so with the literal.
    Compare(Compare, Literal),
    /// The whole text fits the pattern: `*` is any text, `?` any character. On `message` the pattern is a word pattern:
    /// it fits at word boundaries anywhere in the text.
    Wildcard(String),
    /// The text holds a match of the regular expression (case-sensitive unless it says `(?i)`).
    Regex(String),
}

/// A tree of conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Every record.
    All,
    /// Records that fit every part.
    And(Vec<Filter>),
    /// Records that fit some part.
    Or(Vec<Filter>),
    /// Records that do not fit.
    Not(Box<Filter>),
    /// Records whose target passes the test.
    Test(Target, Test),
}

impl Filter {
    /// Both; `All` disappears and nested `And`s become one.
    #[must_use]
    pub fn and(self, other: Filter) -> Filter {
        match (self, other) {
            (Filter::All, filter) | (filter, Filter::All) => filter,
            (Filter::And(mut left), Filter::And(right)) => {
                left.extend(right);
                Filter::And(left)
            }
            (Filter::And(mut left), right) => {
                left.push(right);
                Filter::And(left)
            }
            (left, Filter::And(mut right)) => {
                right.insert(0, left);
                Filter::And(right)
            }
            (left, right) => Filter::And(vec![left, right]),
        }
    }

    /// The opposite.
    #[must_use]
    pub fn negate(self) -> Filter {
        match self {
            Filter::Not(inner) => *inner,
            other => Filter::Not(Box::new(other)),
        }
    }

    /// A test of a canonical field.
    #[must_use]
    pub fn field(id: FieldId, test: Test) -> Filter {
        Filter::Test(Target::Field(id), test)
    }

    /// The conditions that every matching record fits: the parts of a top-level `And`, or the filter itself.
    #[must_use]
    pub fn conjuncts(&self) -> &[Filter] {
        match self {
            Filter::All => &[],
            Filter::And(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }
}
