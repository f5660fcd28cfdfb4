//! The canonical text of a query: what the compiled form of any language is shown as.

use std::fmt::{self, Write};

use heimdall_model::filter::{Filter, Literal, Target, Test};
use heimdall_model::schema::FieldType;
use heimdall_model::time::format_duration;
use heimdall_model::{Dataset, Level};

use super::cursor::{is_expression_name_char, is_name_char, is_name_start};
use super::expression::EXPRESSION_WORDS;
use super::filter::{KEYWORDS, RESERVED_NAMES};
use super::pipes::SHARE;
use super::{default_target, holds_words};
use crate::expression::{COMPARISON, NOT};
use crate::query::{Aggregate, Assignment, Constant, Expr, GroupKey, Join, JoinKind, Pipe, Query, Scope};

impl fmt::Display for Query {
    /// Writes the search line of the query, without its tenant and range.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line { out: String::new(), dataset: self.dataset, scope: Scope::Records };
        line.query(self);
        f.write_str(trimmed(&line.out))
    }
}

/// Without the space around it, but for a last one that a backslash makes part of a name.
fn trimmed(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.trim_end();
    let backslashes = end.len() - end.trim_end_matches('\\').len();
    let kept = text[end.len()..].chars().next().filter(|_| backslashes % 2 == 1);
    &text[..end.len() + kept.map_or(0, char::len_utf8)]
}

/// The search line of a filter on records.
#[must_use]
pub fn filter_line(filter: &Filter, dataset: Dataset) -> String {
    let mut line = Line { out: String::new(), dataset, scope: Scope::Records };
    line.filter(filter, false);
    line.out
}

struct Line {
    out: String,
    dataset: Dataset,
    scope: Scope,
}

impl Line {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn query(&mut self, query: &Query) {
        if query.dataset != Dataset::Logs {
            let _ = write!(self.out, "dataset:{} ", query.dataset);
        }
        self.parts(&query.filter, &query.pipeline);
    }

    fn parts(&mut self, filter: &Filter, pipeline: &[Pipe]) {
        if *filter != Filter::All {
            self.filter(filter, false);
        }
        for pipe in pipeline {
            self.push(" | ");
            self.pipe(pipe);
            let scope = std::mem::replace(&mut self.scope, Scope::Records);
            self.scope = scope.after(pipe, self.dataset);
        }
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            each(self, item);
        }
    }

    fn pipe(&mut self, pipe: &Pipe) {
        match pipe {
            Pipe::Where(filter) => {
                self.push("where ");
                self.filter(filter, false);
            }
            Pipe::Test(expr) => {
                self.push("where ");
                self.expression(expr, 0);
            }
            Pipe::Stats { aggregates, by } => self.stats(aggregates, by),
            Pipe::Sort(keys) => {
                self.push("sort ");
                self.list(keys, |line, key| {
                    line.push(if key.descending { "-" } else { "" });
                    line.name(&key.target);
                });
            }
            Pipe::Limit(rows) => {
                let _ = write!(self.out, "limit {rows}");
            }
            Pipe::Fields(targets) => {
                self.push("fields ");
                self.list(targets, Line::name);
            }
            Pipe::Drop(targets) => {
                self.push("fields - ");
                self.list(targets, Line::name);
            }
            Pipe::Eval(assignments) => self.eval(assignments),
            Pipe::Parse(parse) => {
                self.push("parse ");
                self.name(&parse.from);
                let _ = write!(self.out, " as {}", parse.form.name());
                if let Some(pattern) = parse.form.pattern() {
                    self.push(" ");
                    self.quoted(pattern);
                }
            }
            Pipe::Dedup { rows, by } => {
                self.push("dedup ");
                if *rows > 1 {
                    let _ = write!(self.out, "{rows} ");
                }
                self.list(by, Line::name);
            }
            Pipe::Context(rows) => {
                let _ = write!(self.out, "context {rows}");
            }
            Pipe::Join(join) => self.join(join),
            Pipe::Share { of, alias } => {
                self.push("share ");
                self.name(of);
                if alias != SHARE {
                    let _ = write!(self.out, " as {alias}");
                }
            }
        }
    }

    fn join(&mut self, join: &Join) {
        let kind = if join.kind == JoinKind::Left { "kind=left " } else { "" };
        let _ = write!(self.out, "join {kind}(dataset:{} ", join.right.dataset);
        let mut right = Line { out: String::new(), dataset: join.right.dataset, scope: Scope::Records };
        right.parts(&join.right.filter, &join.right.pipeline);
        self.push(trimmed(&right.out));
        self.push(") on ");
        let columns = join.right.columns();
        self.list(&join.on, |line, (left, right)| {
            let start = line.out.len();
            line.name(left);
            let there = columns.iter().find(|column| column.target == *right).map(|column| &column.name);
            if let Some(name) = there.filter(|name| line.out[start..] != **name) {
                let _ = write!(line.out, " = {name}");
            }
        });
    }

    fn eval(&mut self, assignments: &[Assignment]) {
        let before = self.scope.clone();
        self.push("eval ");
        self.list(assignments, |line, assignment| {
            let _ = write!(line.out, "{} = ", assignment.name);
            line.expression(&assignment.expr, 0);
            let scope = std::mem::replace(&mut line.scope, Scope::Records);
            line.scope = scope.after(&Pipe::Eval(vec![assignment.clone()]), line.dataset);
        });
        self.scope = before;
    }

    /// An expression where only what binds at least as tightly as `least` needs no parentheses.
    fn expression(&mut self, expr: &Expr, least: u8) {
        match expr {
            Expr::Column(target) => self.expression_name(target),
            Expr::Constant(constant) => self.constant(constant),
            Expr::Negate(inner) => {
                self.push("-");
                self.expression(inner, u8::MAX);
            }
            Expr::Not(inner) => self.parenthesised(least > NOT, |line| {
                line.push("not ");
                line.expression(inner, NOT);
            }),
            Expr::Binary(operator, left, right) => {
                let own = operator.precedence();
                let left_least = if own == COMPARISON { own + 1 } else { own };
                self.parenthesised(own < least, |line| {
                    line.expression(left, left_least);
                    let _ = write!(line.out, " {} ", operator.as_str());
                    line.expression(right, own + 1);
                });
            }
            Expr::Call(function, arguments) => {
                let _ = write!(self.out, "{}(", function.signature().name);
                self.list(arguments, |line, argument| line.expression(argument, 0));
                self.push(")");
            }
        }
    }

    fn parenthesised(&mut self, needed: bool, inside: impl FnOnce(&mut Self)) {
        self.push(if needed { "(" } else { "" });
        inside(self);
        self.push(if needed { ")" } else { "" });
    }

    fn constant(&mut self, constant: &Constant) {
        let _ = match constant {
            Constant::Null => self.out.write_str("null"),
            Constant::Bool(b) => write!(self.out, "{b}"),
            Constant::Int(n) => write!(self.out, "{n}"),
            Constant::Float(x) => write!(self.out, "{x:?}"),
            Constant::Time(time) => write!(self.out, "time(\"{time}\")"),
            Constant::Text(text) => {
                self.quoted(text);
                Ok(())
            }
        };
    }

    /// The name that reads back as this target in an expression.
    fn expression_name(&mut self, target: &Target) {
        let start = self.out.len();
        match self.column_name(target) {
            Some(name) if !name.starts_with(is_name_start) => self.escaped(&name, is_expression_name_char),
            _ => self.name_of(target, is_expression_name_char),
        }
        let is_word = EXPRESSION_WORDS.iter().any(|word| word.eq_ignore_ascii_case(&self.out[start..]));
        if is_word {
            self.out.insert(start, '\\');
        }
    }

    fn stats(&mut self, aggregates: &[Aggregate], by: &[GroupKey]) {
        self.push("stats ");
        self.list(aggregates, |line, aggregate| {
            let _ = write!(line.out, "{}(", aggregate.func);
            if let Some(arg) = &aggregate.arg {
                line.name(arg);
            }
            line.push(")");
            let default = Aggregate::default_alias(aggregate.func, aggregate.arg.as_ref(), line.dataset);
            if aggregate.alias != default {
                let _ = write!(line.out, " as {}", aggregate.alias);
            }
        });
        if !by.is_empty() {
            self.push(" by ");
        }
        self.list(by, |line, key| match key {
            GroupKey::Field(target) => line.name(target),
            GroupKey::Bin(span) => {
                let _ = write!(line.out, "bin({})", format_duration(*span));
            }
        });
    }

    /// The name that reads back as this target here.
    fn name(&mut self, target: &Target) {
        self.name_of(target, is_name_char);
    }

    fn name_of(&mut self, target: &Target, is_name_char: impl Fn(char) -> bool) {
        if let Some(name) = self.column_name(target) {
            self.push(&name);
            return;
        }
        let name = match target {
            Target::Attribute(path) if !is_plain_attribute(target, path, self.dataset) => {
                format!("attributes.{path}")
            }
            other => other.name(self.dataset),
        };
        self.escaped(&name, is_name_char);
    }

    /// The name of a column that pipes have made.
    fn column_name(&self, target: &Target) -> Option<String> {
        match &self.scope {
            Scope::Records => None,
            Scope::Columns(columns) | Scope::Extended(columns) => {
                columns.iter().find(|column| column.target == *target).map(|column| column.name.clone())
            }
        }
    }

    fn escaped(&mut self, name: &str, is_name_char: impl Fn(char) -> bool) {
        for (index, c) in name.chars().enumerate() {
            let plain = if index == 0 { is_name_start(c) } else { is_name_char(c) };
            if !plain {
                self.out.push('\\');
            }
            self.out.push(c);
        }
    }

    fn filter(&mut self, filter: &Filter, inner: bool) {
        match filter {
            Filter::All => self.push("*"),
            Filter::And(parts) => self.joined(parts, " ", inner),
            Filter::Or(parts) => self.joined(parts, " OR ", inner),
            Filter::Not(part) => {
                self.push("NOT ");
                self.filter(part, true);
            }
            Filter::Test(target, test) => self.test(target, test),
        }
    }

    fn joined(&mut self, parts: &[Filter], separator: &str, inner: bool) {
        self.push(if inner { "(" } else { "" });
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                self.push(separator);
            }
            self.filter(part, true);
        }
        self.push(if inner { ")" } else { "" });
    }

    fn test(&mut self, target: &Target, test: &Test) {
        let is_default = *target == default_target(self.dataset);
        match test {
            Test::Words(words) if is_default && !words.is_empty() => self.word(words),
            Test::Wildcard(pattern) if is_default && is_wild(pattern) => self.pattern(pattern),
            Test::Regex(pattern) if is_default && is_slashable(pattern) => self.regex(pattern),
            _ => {
                self.name(target);
                self.operand(target, test);
            }
        }
    }

    fn operand(&mut self, target: &Target, test: &Test) {
        let loose = holds_words(target, self.dataset);
        match test {
            Test::Exists => self.push(":*"),
            Test::Words(words) if loose && !words.is_empty() => {
                self.push(":");
                self.word(words);
            }
            Test::Words(words) => self.method("words", words),
            Test::Contains(text) => self.method("contains", text),
            Test::Equals(literal) => {
                self.push(if loose { "=" } else { ":" });
                self.literal(target, literal);
            }
            Test::Compare(compare, literal) => {
                self.push(compare.as_str());
                self.literal(target, literal);
            }
            Test::Wildcard(pattern) if is_wild(pattern) => {
                self.push(":");
                self.pattern(pattern);
            }
            Test::Wildcard(pattern) => self.method("like", pattern),
            Test::Regex(pattern) if is_slashable(pattern) => {
                self.push(":");
                self.regex(pattern);
            }
            Test::Regex(pattern) => self.method("regex", pattern),
        }
    }

    fn method(&mut self, name: &str, text: &str) {
        let _ = write!(self.out, ":{name}(");
        self.quoted(text);
        self.push(")");
    }

    fn literal(&mut self, target: &Target, literal: &Literal) {
        match (target.ty(self.dataset), literal.time) {
            (Some(FieldType::Time), Some(time)) => {
                let _ = write!(self.out, "{time}");
            }
            (Some(FieldType::Level), _) if Level::parse(&literal.text).is_some() => self.word(&literal.text),
            (_, _) if is_plain_number(&literal.text) => self.push(&literal.text),
            _ => self.word(&literal.text),
        }
    }

    /// A word as it is where that reads back the same, else in quotes.
    fn word(&mut self, text: &str) {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let starts = text.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if starts && text.chars().all(plain) && !KEYWORDS.contains(&text) {
            self.push(text);
        } else {
            self.quoted(text);
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                self.out.push('\\');
            }
            self.out.push(c);
        }
        self.out.push('"');
    }

    /// A wildcard pattern: everything but letters, digits, `*` and `?` is escaped where it could mean something.
    fn pattern(&mut self, pattern: &str) {
        for (index, c) in pattern.chars().enumerate() {
            let plain = c.is_alphanumeric() || matches!(c, '*' | '?' | '_' | '.') || (index > 0 && c == '-');
            if !plain {
                self.out.push('\\');
            }
            self.out.push(c);
        }
    }

    fn regex(&mut self, pattern: &str) {
        self.out.push('/');
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            match c {
                '/' => self.push("\\/"),
                '\\' => {
                    self.out.push(c);
                    self.out.extend(chars.next());
                }
                c => self.out.push(c),
            }
        }
        self.out.push('/');
    }
}

fn is_plain_attribute(target: &Target, path: &str, dataset: Dataset) -> bool {
    Target::resolve(dataset, path) == *target && !RESERVED_NAMES.contains(&path)
}

/// Whether a pattern reads back as a wildcard when written bare: it holds a wildcard and is more than `*`.
fn is_wild(pattern: &str) -> bool {
    pattern.contains(['*', '?']) && pattern != "*"
}

/// Whether a regular expression reads back the same between slashes.
fn is_slashable(pattern: &str) -> bool {
    let mut escaped = false;
    for c in pattern.chars() {
        if escaped && c == '/' {
            return false;
        }
        escaped = c == '\\' && !escaped;
    }
    !pattern.is_empty() && !escaped
}

fn is_plain_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
}
