//! The filter part of a search line: words, field conditions, AND OR NOT, parentheses.

use heimdall_extract::nearest;
use heimdall_model::filter::{Compare, Filter, Literal, Target, Test};
use heimdall_model::schema::FieldType;
use heimdall_model::time::{NS_PER_DAY, TimeForm};
use heimdall_model::{Dataset, Matcher, Timestamp, schema};

use super::cursor::{Bare, Cursor, is_name_char, is_name_start};
use super::error::ParseError;
use super::{DEPTH_MAX, LINE_BYTES_MAX, PATTERNS_MAX, TERMS_MAX, any_of, default_target, holds_words};
use crate::expression::{COMPARISON, Expr, Operator as Sign};
use crate::query::{Pipe, Scope};

/// Words that join conditions and so need quotes to be searched.
pub(super) const KEYWORDS: [&str; 4] = ["AND", "OR", "NOT", "TO"];
/// Names with a meaning of their own before a colon.
pub(super) const RESERVED_NAMES: [&str; 2] = ["dataset", "exists"];
/// Tests written as `field:name("text")`.
pub(super) const METHODS: [&str; 5] = ["exists", "words", "contains", "like", "regex"];

/// Reads one line. Filter parts are here; pipes are in `pipes`.
#[derive(Clone)]
pub(super) struct Parser<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) dataset: Dataset,
    pub(super) scope: Scope,
    pub(super) warnings: Vec<String>,
    pub(super) now: Timestamp,
    pub(super) expression_terms: usize,
    /// What was read in expressions that means nothing in a filter.
    pub(super) expression_marks: usize,
    /// What was written as a call of a function.
    pub(super) expression_calls: usize,
    /// Whether it is a line within another.
    pub(super) is_inner: bool,
    known_attributes: &'a [String],
    terms: usize,
    patterns: usize,
    depth: usize,
}

/// How a field and its value are joined.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    /// `:`
    Has,
    /// `=`
    Is,
    /// `!=`
    IsNot,
    /// `<` and the like
    Compare(Compare),
}

/// A value as written.
enum Written {
    Quoted(String),
    Bare(Bare),
    Regex(String),
}

const COMPARISONS: [(&str, Operator); 4] = [
    (">=", Operator::Compare(Compare::GreaterOrEqual)),
    ("<=", Operator::Compare(Compare::LessOrEqual)),
    (">", Operator::Compare(Compare::Greater)),
    ("<", Operator::Compare(Compare::Less)),
];

impl<'a> Parser<'a> {
    pub(super) fn new(
        line: &'a str,
        dataset: Dataset,
        now: Timestamp,
        known_attributes: &'a [String],
    ) -> Result<Parser<'a>, ParseError> {
        if line.len() > LINE_BYTES_MAX {
            let message = format!("the line has {} bytes, more than {LINE_BYTES_MAX}", line.len());
            return Err(ParseError::at(line, 0, 0, message));
        }
        Ok(Parser {
            cursor: Cursor::new(line),
            dataset,
            scope: Scope::Records,
            warnings: Vec::new(),
            now,
            expression_terms: 0,
            expression_marks: 0,
            expression_calls: 0,
            is_inner: false,
            known_attributes,
            terms: 0,
            patterns: 0,
            depth: 0,
        })
    }

    /// Reads a line within this one, up to `end`; what it holds counts as held by this one.
    pub(super) fn within<T>(
        &mut self,
        end: usize,
        inside: impl FnOnce(&mut Parser<'a>) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        let line = self.cursor.line;
        let scope = std::mem::replace(&mut self.scope, Scope::Records);
        let (dataset, is_inner) = (self.dataset, std::mem::replace(&mut self.is_inner, true));
        self.cursor.line = &line[..end];
        let result = inside(self);
        self.cursor.line = line;
        (self.scope, self.dataset, self.is_inner) = (scope, dataset, is_inner);
        result
    }

    /// `dataset:NAME` as the first term.
    pub(super) fn dataset_selector(&mut self) -> Result<(), ParseError> {
        self.cursor.skip_space();
        if !self.cursor.eat("dataset:") {
            return Ok(());
        }
        let start = self.cursor.at;
        let name = if self.cursor.peek() == Some('"') {
            self.cursor.quoted()?
        } else {
            self.cursor.bare(false).text
        };
        let names = || Dataset::ALL.into_iter().map(Dataset::as_str);
        self.dataset = Dataset::parse(&name).ok_or_else(|| {
            let known = names().collect::<Vec<_>>().join(", ");
            self.cursor
                .error(start, format!("unknown dataset `{name}`"))
                .hint(format!("the datasets are {known}"))
                .did_you_mean_or_keep(nearest(&name, names()))
        })?;
        self.eat_and();
        Ok(())
    }

    /// A whole filter: at least one term.
    pub(super) fn filter(&mut self) -> Result<Filter, ParseError> {
        let filter = self.or()?;
        self.cursor.skip_space();
        if self.cursor.peek() == Some(')') {
            let start = self.cursor.at;
            self.cursor.bump();
            return Err(self.cursor.error(start, "this `)` closes nothing"));
        }
        Ok(filter)
    }

    /// What `where` asks: a filter, as in front of the pipes, or an expression, as in `eval`.
    ///
    /// It is an expression when it reads as a whole as one that can hold or not, and has in it what means nothing in a
    /// filter: a function, or an arithmetic operator that stands apart.
    pub(super) fn condition(&mut self) -> Result<Pipe, ParseError> {
        let mut other = self.clone();
        (other.expression_marks, other.expression_calls) = (0, 0);
        let read = other.expression().and_then(|expr| other.end_of_pipe().map(|()| expr));
        let is_marked = other.expression_marks > 0;
        let is_meant = is_marked || other.expression_calls > 0;
        let error = match read {
            Ok(expr) if is_marked && expr.is_condition() => {
                *self = other;
                self.warn_of_bare_texts(&expr);
                return Ok(Pipe::Test(expr));
            }
            Ok(_) => None,
            Err(error) => Some(error),
        };
        let start = self.cursor.at;
        let filter = self.filter();
        match (filter, error) {
            // What an expression was meant by, read as words.
            (Ok(filter), Some(error)) if is_meant && has_operator_word(&filter) => Err(error),
            (Err(_), Some(error)) if is_meant => Err(error),
            (Ok(filter), _) => Ok(Pipe::Where(filter)),
            (Err(error), _) => Err(self.about_two_fields(start, error)),
        }
    }

    /// Says how to compare two fields where a number was expected and a name found.
    fn about_two_fields(&self, start: usize, error: ParseError) -> ParseError {
        let at = self.cursor.line[start..].split('|').next().unwrap_or_default();
        let is_name = |text: &str| text.starts_with(is_name_start) && text.chars().all(is_name_char);
        let sides = at
            .split_once(['<', '>'])
            .map(|(left, right)| (left.trim(), right.trim_start_matches('=').trim()));
        match sides {
            Some((left, right)) if error.hint.is_none() && is_name(left) && is_name(right) => {
                error.hint(format!("to compare two fields, write {left} > tonumber({right})"))
            }
            _ => error,
        }
    }

    /// Warns of a bare word beside a comparison: in an expression it is a field.
    fn warn_of_bare_texts(&mut self, expr: &Expr) {
        let Expr::Binary(operator, left, right) = expr else { return };
        if operator.precedence() < COMPARISON {
            self.warn_of_bare_texts(left);
            self.warn_of_bare_texts(right);
        }
        let (Sign::Equal | Sign::NotEqual, Expr::Column(_), Expr::Column(Target::Attribute(path))) =
            (operator, left.as_ref(), right.as_ref())
        else {
            return;
        };
        let is_computed =
            matches!(&self.scope, Scope::Extended(columns) if columns.iter().any(|it| it.name == *path));
        if matches!(self.scope, Scope::Columns(_)) || is_computed || self.known_attributes.contains(path) {
            return;
        }
        self.warnings
            .push(format!("`{path}` is read as a field here; write \"{path}\" to compare with the text"));
    }

    /// Fails unless the text ends here.
    pub(super) fn end_of_filter_text(&mut self) -> Result<(), ParseError> {
        self.cursor.skip_space();
        if self.cursor.is_at_end() {
            return Ok(());
        }
        let start = self.cursor.at;
        self.cursor.bump();
        Err(self.cursor.error(start, "pipes cannot be used here, only conditions"))
    }

    /// Whether no further term follows (skips white space).
    pub(super) fn at_filter_end(&mut self) -> bool {
        self.cursor.skip_space();
        let rest = self.cursor.rest();
        rest.is_empty() || (rest.starts_with('|') && !rest.starts_with("||"))
    }

    fn eat_or(&mut self) -> bool {
        self.cursor.skip_space();
        (self.cursor.sees_word("OR") && self.cursor.eat("OR")) || self.cursor.eat("||")
    }

    fn eat_and(&mut self) -> bool {
        self.cursor.skip_space();
        (self.cursor.sees_word("AND") && self.cursor.eat("AND")) || self.cursor.eat("&&")
    }

    fn or(&mut self) -> Result<Filter, ParseError> {
        let mut parts = vec![self.and(Parser::unary)?];
        while self.eat_or() {
            parts.push(self.and(Parser::unary)?);
        }
        Ok(any_of(parts))
    }

    fn and(
        &mut self,
        mut part: impl FnMut(&mut Self) -> Result<Filter, ParseError>,
    ) -> Result<Filter, ParseError> {
        let mut filter = part(self)?;
        loop {
            let joined = self.eat_and();
            let start = self.cursor.at;
            let ends = self.at_filter_end() || self.cursor.peek() == Some(')') || self.sees_or();
            if ends && joined {
                return Err(self.cursor.error(start, "a condition is missing after `AND`"));
            }
            if ends {
                return Ok(filter);
            }
            filter = filter.and(part(self)?);
        }
    }

    fn sees_or(&self) -> bool {
        self.cursor.sees_word("OR") || self.cursor.rest().starts_with("||")
    }

    /// Runs `inside` one level deeper.
    pub(super) fn nested<T>(
        &mut self,
        start: usize,
        inside: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth == DEPTH_MAX {
            return Err(self.cursor.error(start, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    /// Takes `NOT`, `!` or `-` before a condition.
    fn eat_not(&mut self) -> bool {
        let rest = self.cursor.rest();
        let dash = rest.starts_with('-') && rest[1..].starts_with(|c: char| !c.is_whitespace() && c != ')');
        if self.cursor.sees_word("NOT") {
            return self.cursor.eat("NOT");
        }
        (dash && self.cursor.eat("-")) || self.cursor.eat("!")
    }

    fn unary(&mut self) -> Result<Filter, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        if self.eat_not() {
            return Ok(self.nested(start, Parser::unary)?.negate());
        }
        if self.cursor.eat("(") {
            return self.parenthesised(start, Parser::or);
        }
        self.term()
    }

    fn parenthesised(
        &mut self,
        start: usize,
        inside: impl FnOnce(&mut Self) -> Result<Filter, ParseError>,
    ) -> Result<Filter, ParseError> {
        self.cursor.skip_space();
        if self.cursor.eat(")") {
            return Err(self.cursor.error(start, "there is nothing between these parentheses"));
        }
        let filter = self.nested(start, inside)?;
        if !self.cursor.eat_spaced(")") {
            return Err(ParseError::at(self.cursor.line, start, start + 1, "this `(` is not closed")
                .hint("add a `)`"));
        }
        Ok(filter)
    }

    fn count_term(&mut self, start: usize) -> Result<(), ParseError> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(self.cursor.error(start, format!("more than {TERMS_MAX} conditions")));
        }
        Ok(())
    }

    fn term(&mut self) -> Result<Filter, ParseError> {
        let start = self.cursor.at;
        self.count_term(start)?;
        if self.at_filter_end() || matches!(self.cursor.peek(), Some(')')) || self.sees_or() {
            return Err(self.cursor.error(start, "a condition is missing here"));
        }
        if self.cursor.sees_word("AND") {
            return Err(self
                .cursor
                .error(start, "a condition is missing before `AND`")
                .hint("write \"AND\" to search the word"));
        }
        if self.cursor.peek() != Some('"') && !self.cursor.rest().starts_with('/') {
            if let Some((name, operator)) = self.field_and_operator() {
                return self.field_condition(start, &name, operator);
            }
            self.cursor.at = start;
        }
        self.words(start)
    }

    /// A word, phrase, pattern or regular expression on the default field.
    fn words(&mut self, start: usize) -> Result<Filter, ParseError> {
        let written = self.written(false)?;
        if let Written::Bare(bare) = &written
            && bare.is_anything()
        {
            return Ok(Filter::All);
        }
        let target = self.default_column(start)?;
        let test = match written {
            Written::Quoted(text) if text.is_empty() => {
                return Err(self.cursor.error(start, "there is nothing between these quotes"));
            }
            Written::Bare(bare) if bare.is_pattern() => self.pattern(&target, &bare),
            Written::Regex(pattern) => Test::Regex(pattern),
            Written::Quoted(text) => Test::Words(text),
            Written::Bare(bare) => {
                self.warn_of_keyword(&bare.text);
                Test::Words(bare.text)
            }
        };
        self.checked(target, test, start)
    }

    pub(super) fn default_column(&self, start: usize) -> Result<Target, ParseError> {
        let target = default_target(self.dataset);
        match &self.scope {
            Scope::Columns(columns) if !columns.iter().any(|column| column.target == target) => {
                let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
                Err(self
                    .cursor
                    .error(start, format!("there is no `{}` left to search here", target.name(self.dataset)))
                    .hint(format!("name a column: {names}")))
            }
            _ => Ok(target),
        }
    }

    fn warn_of_keyword(&mut self, word: &str) {
        if let Some(keyword) = KEYWORDS[..3].iter().find(|keyword| keyword.eq_ignore_ascii_case(word)) {
            self.warnings.push(format!("`{word}` is searched as a word; write {keyword} to join conditions"));
        }
    }

    /// A field name and the operator after it, or nothing when a plain word starts here.
    fn field_and_operator(&mut self) -> Option<(String, Operator)> {
        let name = match self.column_written_here() {
            Some(name) => name,
            None => self.cursor.name()?,
        };
        if self.cursor.rest().starts_with("://") {
            return None;
        }
        self.operator().map(|operator| (name, operator))
    }

    /// The longest column name that stands here to the letter, taken only if an operator follows.
    fn column_written_here(&mut self) -> Option<String> {
        let Scope::Columns(columns) = &self.scope else { return None };
        let rest = self.cursor.rest();
        let names = columns.iter().map(|column| column.name.as_str());
        let name = names.filter(|name| rest.starts_with(*name)).max_by_key(|name| name.len())?.to_owned();
        let after = rest[name.len()..].trim_start();
        let follows = after.starts_with([':', '=', '<', '>']) || after.starts_with("!=");
        if follows {
            self.cursor.at += name.len();
        }
        follows.then_some(name)
    }

    /// An operator; all but `:` may stand after white space.
    fn operator(&mut self) -> Option<Operator> {
        if self.cursor.eat(":") {
            return Some(self.comparison().unwrap_or(Operator::Has));
        }
        if self.cursor.eat_spaced("!=") {
            return Some(Operator::IsNot);
        }
        if let Some(comparison) = self.comparison() {
            return Some(comparison);
        }
        self.cursor.eat_spaced("=").then(|| {
            self.cursor.eat("=");
            Operator::Is
        })
    }

    fn comparison(&mut self) -> Option<Operator> {
        COMPARISONS.into_iter().find(|(text, _)| self.cursor.eat_spaced(text)).map(|(_, operator)| operator)
    }

    fn field_condition(
        &mut self,
        start: usize,
        name: &str,
        operator: Operator,
    ) -> Result<Filter, ParseError> {
        if operator == Operator::Has && name == "exists" {
            return self.exists(start);
        }
        if name == "dataset" {
            return Err(self.cursor.error(start, "`dataset:` must be the first term of the line"));
        }
        let target = self.resolve(name, start)?;
        self.cursor.skip_space();
        let value = self.cursor.at;
        if self.at_filter_end() || self.cursor.peek() == Some(')') {
            return Err(self
                .cursor
                .error(start, format!("a value is missing after `{name}`"))
                .hint(format!("write `{name}:*` for records that have the field")));
        }
        match self.cursor.peek() {
            Some('(') if operator == Operator::Has => {
                self.cursor.bump();
                self.parenthesised(value, |parser| parser.group_or(&target))
            }
            Some('[' | '{') if operator == Operator::Has => self.range(&target),
            _ => self.value(&target, operator),
        }
    }

    fn exists(&mut self, start: usize) -> Result<Filter, ParseError> {
        self.cursor.skip_space();
        let at = self.cursor.at;
        let name = self
            .column_name()
            .ok_or_else(|| self.cursor.error(start, "a field name is missing after `exists:`"))?;
        Ok(Filter::Test(self.resolve(&name, at)?, Test::Exists))
    }

    /// A field name, or a column's name to the letter.
    fn column_name(&mut self) -> Option<String> {
        if let Scope::Columns(columns) = &self.scope {
            let rest = self.cursor.rest();
            let names = columns.iter().map(|column| column.name.as_str());
            let exact = names.filter(|name| rest.starts_with(*name)).max_by_key(|name| name.len());
            if let Some(name) =
                exact.filter(|name| !rest[name.len()..].starts_with(super::cursor::is_name_char))
            {
                self.cursor.at += name.len();
                return Some(name.to_owned());
            }
        }
        self.cursor.name()
    }

    /// Takes a column name and resolves it; for pipes.
    pub(super) fn column(&mut self, wanted: &str) -> Result<Target, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        match self.column_name() {
            Some(name) => self.resolve(&name, start),
            None => {
                self.cursor.at = start;
                Err(self.cursor.error(start, format!("{wanted} is missing here")))
            }
        }
    }

    /// What a name means here. On records any name means something; after `stats` or `fields` only a column does.
    pub(super) fn resolve(&mut self, name: &str, start: usize) -> Result<Target, ParseError> {
        let target = Target::resolve(self.dataset, name);
        let columns = match &self.scope {
            Scope::Columns(columns) => columns,
            Scope::Extended(computed) if computed.iter().any(|column| column.name == name) => {
                return Ok(Target::Attribute(name.to_owned()));
            }
            Scope::Extended(_) | Scope::Records => {
                self.warn_of_near_miss(name, &target);
                return Ok(target);
            }
        };
        let named = columns.iter().find(|column| column.name == name);
        if let Some(column) = named.or_else(|| columns.iter().find(|column| column.target == target)) {
            return Ok(column.target.clone());
        }
        let names = || columns.iter().map(|column| column.name.as_str());
        let known = names().collect::<Vec<_>>().join(", ");
        Err(self
            .cursor
            .error(start, format!("there is no column `{name}` here"))
            .hint(format!("the columns are {known}"))
            .did_you_mean_or_keep(nearest(name, names())))
    }

    fn warn_of_near_miss(&mut self, name: &str, target: &Target) {
        let Target::Attribute(path) = target else { return };
        let explicit = path.as_str() != name;
        if explicit || self.known_attributes.iter().any(|known| known == path) {
            return;
        }
        if let Some(near) = nearest(name, self.dataset.names().map(|(_, name)| name)) {
            let warning = format!(
                "`{name}` is not a known field and is searched as an attribute; did you mean `{near}`?"
            );
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    fn group_or(&mut self, target: &Target) -> Result<Filter, ParseError> {
        let mut parts = vec![self.and(|parser| parser.group_unary(target))?];
        while self.eat_or() {
            parts.push(self.and(|parser| parser.group_unary(target))?);
        }
        Ok(any_of(parts))
    }

    fn group_unary(&mut self, target: &Target) -> Result<Filter, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        if self.eat_not() {
            return Ok(self.nested(start, |parser| parser.group_unary(target))?.negate());
        }
        if self.cursor.eat("(") {
            return self.parenthesised(start, |parser| parser.group_or(target));
        }
        self.count_term(start)?;
        if self.at_filter_end() || self.cursor.peek() == Some(')') || self.sees_or() {
            return Err(self.cursor.error(start, "a value is missing here"));
        }
        match self.cursor.peek() {
            Some('[' | '{') => self.range(target),
            _ => {
                let operator = self.comparison().unwrap_or(Operator::Has);
                self.cursor.skip_space();
                self.value(target, operator)
            }
        }
    }

    /// `[a TO b]`; braces leave the end out; `*` leaves it open.
    fn range(&mut self, target: &Target) -> Result<Filter, ParseError> {
        let start = self.cursor.at;
        let lower = if self.cursor.bump() == Some('[') { Compare::GreaterOrEqual } else { Compare::Greater };
        let from = self.bound(start, target, lower)?;
        if !self.cursor.eat_word_any_case("TO") {
            return Err(self.cursor.error(start, "a range is written `[from TO to]`"));
        }
        let to_start = self.cursor.at;
        let to = self.bound_text(start)?;
        self.cursor.skip_space();
        let upper = match self.cursor.bump() {
            Some(']') => Compare::LessOrEqual,
            Some('}') => Compare::Less,
            _ => return Err(self.cursor.error(start, "this range is not closed").hint("add a `]` or `}`")),
        };
        let to = self.bound_test(to_start, target, upper, to)?;
        Ok(match (from, to) {
            (None, None) => Filter::Test(target.clone(), Test::Exists),
            (from, to) => from.into_iter().chain(to).fold(Filter::All, Filter::and),
        })
    }

    fn bound(
        &mut self,
        start: usize,
        target: &Target,
        compare: Compare,
    ) -> Result<Option<Filter>, ParseError> {
        let at = self.cursor.at;
        let text = self.bound_text(start)?;
        self.bound_test(at, target, compare, text)
    }

    /// One end of a range: its text, or `None` for `*`.
    fn bound_text(&mut self, start: usize) -> Result<Option<String>, ParseError> {
        self.cursor.skip_space();
        if self.cursor.peek() == Some('"') {
            return self.cursor.quoted().map(Some);
        }
        let bare = self.cursor.bare(true);
        match bare.text.as_str() {
            "" => Err(self
                .cursor
                .error(start, "a range is written `[from TO to]`")
                .hint("use `*` for an open end")),
            _ if bare.is_anything() => Ok(None),
            _ => Ok(Some(bare.text)),
        }
    }

    fn bound_test(
        &self,
        start: usize,
        target: &Target,
        compare: Compare,
        text: Option<String>,
    ) -> Result<Option<Filter>, ParseError> {
        let Some(text) = text else { return Ok(None) };
        let literal = self.literal(target, &text, start)?;
        self.checked(target.clone(), Test::Compare(compare, literal), start).map(Some)
    }

    /// A quoted text, a regular expression or a bare word.
    fn written(&mut self, in_range: bool) -> Result<Written, ParseError> {
        let start = self.cursor.at;
        if self.cursor.peek() == Some('"') {
            return self.cursor.quoted().map(Written::Quoted);
        }
        if let Some(pattern) = self.cursor.regex() {
            self.count_pattern(start)?;
            return Ok(Written::Regex(pattern));
        }
        let bare = self.cursor.bare(in_range);
        if bare.text.is_empty() {
            self.cursor.bump();
            return Err(self.cursor.error(start, "a value is missing here"));
        }
        if bare.is_pattern() && !bare.is_anything() {
            self.count_pattern(start)?;
        }
        Ok(Written::Bare(bare))
    }

    pub(super) fn count_pattern(&mut self, start: usize) -> Result<(), ParseError> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            let message = format!("more than {PATTERNS_MAX} wildcards and regular expressions");
            return Err(self.cursor.error(start, message));
        }
        Ok(())
    }

    /// One value of a field.
    fn value(&mut self, target: &Target, operator: Operator) -> Result<Filter, ParseError> {
        let start = self.cursor.at;
        if operator == Operator::Has
            && let Some(test) = self.method()?
        {
            return self.checked(target.clone(), test, start);
        }
        let written = self.written(false)?;
        let filter = match operator {
            Operator::Compare(compare) => self.compared(target, compare, written, start)?,
            Operator::Has => self.equal(target, true, written, start)?,
            Operator::Is => self.equal(target, false, written, start)?,
            Operator::IsNot => self.equal(target, false, written, start)?.negate(),
        };
        Ok(filter)
    }

    /// `contains("text")` and its like.
    fn method(&mut self) -> Result<Option<Test>, ParseError> {
        let start = self.cursor.at;
        let name = self.cursor.identifier();
        if !METHODS.contains(&name) || !self.cursor.eat("(") {
            self.cursor.at = start;
            return Ok(None);
        }
        self.cursor.skip_space();
        let text = if name == "exists" {
            String::new()
        } else if self.cursor.peek() == Some('"') {
            self.cursor.quoted()?
        } else {
            return Err(self.cursor.error(start, format!("`{name}` needs a quoted text: {name}(\"…\")")));
        };
        if !self.cursor.eat_spaced(")") {
            return Err(self.cursor.error(start, "this `(` is not closed").hint("add a `)`"));
        }
        if matches!(name, "like" | "regex") {
            self.count_pattern(start)?;
        }
        Ok(Some(match name {
            "exists" => Test::Exists,
            "words" => Test::Words(text),
            "contains" => Test::Contains(text),
            "like" => Test::Wildcard(text),
            _ => Test::Regex(text),
        }))
    }

    fn compared(
        &self,
        target: &Target,
        compare: Compare,
        written: Written,
        start: usize,
    ) -> Result<Filter, ParseError> {
        let text = match written {
            Written::Quoted(text) => text,
            Written::Bare(bare) => bare.text,
            Written::Regex(_) => {
                return Err(self
                    .cursor
                    .error(start, "a regular expression has no order")
                    .hint("use `:` before it"));
            }
        };
        let literal = self.literal(target, &text, start)?;
        self.checked(target.clone(), Test::Compare(compare, literal), start)
    }

    fn equal(
        &self,
        target: &Target,
        loosely: bool,
        written: Written,
        start: usize,
    ) -> Result<Filter, ParseError> {
        let (text, quoted) = match written {
            Written::Regex(pattern) => return self.checked(target.clone(), Test::Regex(pattern), start),
            Written::Bare(bare) if bare.is_anything() => {
                return Ok(Filter::Test(target.clone(), Test::Exists));
            }
            Written::Bare(bare) if bare.is_pattern() => {
                return self.checked(target.clone(), self.pattern(target, &bare), start);
            }
            Written::Bare(bare) => (bare.text, false),
            Written::Quoted(text) => (text, true),
        };
        if loosely && !text.is_empty() && holds_words(target, self.dataset) {
            return Ok(Filter::Test(target.clone(), Test::Words(text)));
        }
        if loosely
            && self.is_time(target)
            && let Some(day) = Timestamp::parse_prefix(text.trim(), self.now)
                .filter(|found| found.form == TimeForm::DateOnly && found.len == text.trim().len())
        {
            return Ok(whole_day(target, day.timestamp));
        }
        if !quoted && is_address(target, self.dataset) && text.contains('/') {
            return self.network(target, &text, start);
        }
        let literal = self.literal(target, &text, start)?;
        self.checked(target.clone(), Test::Equals(literal), start)
    }

    fn network(&self, target: &Target, text: &str, start: usize) -> Result<Filter, ParseError> {
        let pattern = network_pattern(text).ok_or_else(|| {
            self.cursor
                .error(start, format!("`{text}` is not an IPv4 network"))
                .hint("write it like 10.0.0.0/8, or quote the text to compare it as it is")
        })?;
        self.checked(target.clone(), Test::Regex(pattern), start)
    }

    fn is_time(&self, target: &Target) -> bool {
        target.ty(self.dataset) == Some(FieldType::Time)
    }

    /// A literal for a target; a time is resolved against `now` and written out, so that it stays what it was.
    fn literal(&self, target: &Target, text: &str, start: usize) -> Result<Literal, ParseError> {
        if !self.is_time(target) {
            return Ok(Literal::new(text));
        }
        let time = Timestamp::parse_when(text, self.now).ok_or_else(|| {
            self.cursor
                .error(start, format!("`{text}` is not a time"))
                .hint("write it like now-15m, 2026-02-09 or \"2026-02-09T20:25:01Z\"")
        })?;
        Ok(Literal::new(&time.to_string()).at(time))
    }

    /// The test of a bare word with wildcards; one that also holds a literal `*` or `?` becomes a regular expression.
    fn pattern(&self, target: &Target, bare: &Bare) -> Test {
        if !bare.has_literal_wildcard() {
            return Test::Wildcard(bare.text.clone());
        }
        let in_message = *target == default_target(Dataset::Logs) && self.dataset == Dataset::Logs;
        let (any, one) = if in_message { (r"\S*", r"\S") } else { (".*", ".") };
        let body: String = bare
            .chars
            .iter()
            .map(|(c, literal)| match (c, literal) {
                ('*', false) => any.to_owned(),
                ('?', false) => one.to_owned(),
                _ => regex::escape(&c.to_string()),
            })
            .collect();
        Test::Regex(if in_message { format!("(?is){body}") } else { format!("(?is)^{body}$") })
    }

    /// The condition, once its literal or pattern is known to suit its target.
    fn checked(&self, target: Target, test: Test, start: usize) -> Result<Filter, ParseError> {
        let is_level = target.ty(self.dataset) == Some(FieldType::Level);
        if is_level && matches!(test, Test::Wildcard(_) | Test::Regex(_) | Test::Contains(_) | Test::Words(_))
        {
            return Err(self
                .cursor
                .error(start, "`level` takes a level name, not a pattern")
                .hint("write level>=warn or level:(error OR fatal)"));
        }
        let filter = Filter::Test(target, test);
        Matcher::compile(&filter, self.dataset).map_err(|error| {
            let error = self.cursor.error(start, error.to_string());
            if is_level {
                error.hint("the levels are trace, debug, info, warn, error and fatal")
            } else {
                error
            }
        })?;
        Ok(filter)
    }
}

impl ParseError {
    /// The nearest name as hint; the hint it has when there is none.
    fn did_you_mean_or_keep(self, name: Option<&str>) -> ParseError {
        if name.is_some() { self.did_you_mean(name) } else { self }
    }
}

/// Whether a filter searches a word that is an operator of expressions.
fn has_operator_word(filter: &Filter) -> bool {
    match filter {
        Filter::All => false,
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(has_operator_word),
        Filter::Not(part) => has_operator_word(part),
        Filter::Test(_, Test::Words(word)) => {
            !word.is_empty()
                && word.chars().all(|c| matches!(c, '<' | '>' | '=' | '!' | '+' | '-' | '/' | '%'))
        }
        Filter::Test(..) => false,
    }
}

fn whole_day(target: &Target, day: Timestamp) -> Filter {
    let test = |compare, time: Timestamp| {
        Filter::Test(target.clone(), Test::Compare(compare, Literal::new(&time.to_string()).at(time)))
    };
    test(Compare::GreaterOrEqual, day).and(test(Compare::Less, day.saturating_add_ns(NS_PER_DAY)))
}

/// Whether a target holds network addresses, so that `10.0.0.0/8` means a network.
fn is_address(target: &Target, dataset: Dataset) -> bool {
    match target {
        Target::Field(id) => dataset == Dataset::Logs && *id == schema::logs::SOURCE_IP,
        Target::Attribute(path) => {
            let last = path.rsplit(['.', '_', '-']).next().unwrap_or(path).to_ascii_lowercase();
            matches!(last.as_str(), "ip" | "addr" | "address")
        }
        Target::Id | Target::Template => false,
    }
}

/// The regular expression of an IPv4 network: exactly its addresses, plain or IPv4-mapped.
fn network_pattern(text: &str) -> Option<String> {
    const OCTET: &str = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)";
    let (address, bits) = text.split_once('/')?;
    let octets: [u8; 4] = address.parse::<std::net::Ipv4Addr>().ok()?.octets();
    let bits = bits.parse::<u32>().ok().filter(|bits| *bits <= 32)?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0).to_be_bytes();
    let parts = octets.iter().zip(mask).map(|(octet, mask)| match mask {
        255 => octet.to_string(),
        0 => OCTET.to_owned(),
        _ => {
            let first = octet & mask;
            let all = (first..=first | !mask).map(|n| n.to_string()).collect::<Vec<_>>();
            format!("(?:{})", all.join("|"))
        }
    });
    Some(format!(r"^(?:(?i)::ffff:)?{}$", parts.collect::<Vec<_>>().join(r"\.")))
}

#[cfg(test)]
mod tests {
    use super::network_pattern;

    #[test]
    fn a_network_holds_exactly_its_addresses() {
        let check = |network: &str, address: &str, expected: bool| {
            let pattern = network_pattern(network).expect(network);
            let found = regex::Regex::new(&pattern).expect("compiles").is_match(address);
            assert_eq!(found, expected, "{address} in {network}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "::ffff:10.255.0.1", true);
        check("10.0.0.0/8", "110.0.0.1", false);
        check("10.0.0.0/8", "10.0.0.256", false);
        check("172.16.0.0/12", "172.31.255.255", true);
        check("172.16.0.0/12", "172.32.0.0", false);
        check("192.0.2.77/30", "192.0.2.76", true);
        check("192.0.2.77/30", "192.0.2.80", false);
        check("0.0.0.0/0", "8.8.8.8", true);
        check("192.0.2.7/32", "192.0.2.70", false);
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::1/64"] {
            assert_eq!(network_pattern(bad), None, "{bad}");
        }
    }
}
