//! Expressions of a search line: `if(status >= 500, "bad", lower(service))`.

use heimdall_extract::{compile_regex, nearest};
use heimdall_model::Timestamp;
use heimdall_model::time::{NS_PER_SECOND, parse_duration};

use super::EXPRESSION_TERMS_MAX;
use super::cursor::is_expression_name_char;
use super::error::ParseError;
use super::filter::Parser;
use crate::expression::{ARGUMENTS_MAX, COMPARISON, Constant, Expr, Function, NOT, Operator, Signature};
use crate::query::Scope;

/// Words with a meaning of their own in expressions.
pub(super) const EXPRESSION_WORDS: [&str; 6] = ["and", "or", "not", "true", "false", "null"];

impl Parser<'_> {
    /// A whole expression.
    pub(super) fn expression(&mut self) -> Result<Expr, ParseError> {
        self.binary(0)
    }

    /// Operators that bind at least so tightly.
    fn binary(&mut self, least: u8) -> Result<Expr, ParseError> {
        let mut left = self.prefix(least)?;
        loop {
            self.cursor.skip_space();
            let start = self.cursor.at;
            let Some(operator) = self.operator_sign().filter(|operator| operator.precedence() >= least)
            else {
                self.cursor.at = start;
                return Ok(left);
            };
            self.expression_marks += usize::from(self.stands_apart(operator, start));
            let is_comparison = |expr: &Expr| matches!(expr, Expr::Binary(operator, ..) if operator.precedence() == COMPARISON);
            if operator.precedence() == COMPARISON && is_comparison(&left) && !self.closes_before(start) {
                return Err(self
                    .cursor
                    .error(start, "two comparisons in a row mean nothing")
                    .hint("join them by `and`"));
            }
            let right = self.binary(operator.precedence() + 1)?;
            left = Expr::Binary(operator, Box::new(left), Box::new(right));
        }
    }

    /// Whether an arithmetic operator has white space or a parenthesis on both sides: in a filter it would mean nothing.
    fn stands_apart(&self, operator: Operator, start: usize) -> bool {
        let is_apart = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')'));
        operator.precedence() > COMPARISON
            && is_apart(self.cursor.line[..start].chars().next_back())
            && is_apart(self.cursor.peek())
    }

    /// Whether a parenthesis closes right before a place.
    fn closes_before(&self, at: usize) -> bool {
        self.cursor.line[..at].trim_end().ends_with(')')
    }

    fn operator_sign(&mut self) -> Option<Operator> {
        self.cursor.skip_space();
        if self.eat_expression_word("and") {
            return Some(Operator::And);
        }
        if self.eat_expression_word("or") {
            return Some(Operator::Or);
        }
        // A single `|` begins the next pipe.
        Operator::SIGNS.iter().find(|(sign, _)| self.cursor.eat(sign)).map(|(_, operator)| *operator)
    }

    fn eat_expression_word(&mut self, word: &str) -> bool {
        let rest = self.cursor.rest();
        let found = rest.get(..word.len()).is_some_and(|text| text.eq_ignore_ascii_case(word))
            && !rest[word.len()..].starts_with(is_expression_name_char);
        self.cursor.at += if found { word.len() } else { 0 };
        found
    }

    fn prefix(&mut self, least: u8) -> Result<Expr, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let is_sign = self.cursor.rest().starts_with('!') && !self.cursor.rest().starts_with("!=");
        if self.eat_expression_word("not") || (is_sign && self.cursor.eat("!")) {
            if least > NOT {
                return Err(self
                    .cursor
                    .error(start, "`not` binds less than what stands before it")
                    .hint("put it in parentheses"));
            }
            let inner = self.nested(start, |parser| parser.binary(NOT))?;
            return Ok(Expr::Not(Box::new(inner)));
        }
        if self.cursor.eat("-") {
            let inner = self.nested(start, |parser| parser.prefix(u8::MAX))?;
            return Ok(match inner {
                Expr::Constant(Constant::Int(n)) => Expr::Constant(Constant::Int(-n)),
                Expr::Constant(Constant::Float(x)) => Expr::Constant(Constant::Float(-x)),
                inner => Expr::Negate(Box::new(inner)),
            });
        }
        if self.cursor.eat("(") {
            let inner = self.nested(start, |parser| parser.binary(0))?;
            self.close(start)?;
            return Ok(inner);
        }
        self.value_or_call(start)
    }

    fn close(&mut self, start: usize) -> Result<(), ParseError> {
        if self.cursor.eat_spaced(")") {
            return Ok(());
        }
        Err(self.cursor.error(start, "this `(` is not closed").hint("add a `)`"))
    }

    fn value_or_call(&mut self, start: usize) -> Result<Expr, ParseError> {
        self.expression_terms += 1;
        if self.expression_terms > EXPRESSION_TERMS_MAX {
            return Err(self.cursor.error(
                start,
                format!("more than {EXPRESSION_TERMS_MAX} values and functions in expressions"),
            ));
        }
        match self.cursor.peek() {
            Some('"') => Ok(Expr::Constant(Constant::Text(self.cursor.quoted()?))),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(start),
            _ => self.named(start),
        }
    }

    /// A number, or a span of time in seconds: `1.5`, `2e3`, `5m`.
    fn number(&mut self, start: usize) -> Result<Expr, ParseError> {
        let rest = self.cursor.rest();
        let bytes = rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut len = digits(0);
        let mut is_whole = true;
        if bytes.get(len) == Some(&b'.') {
            is_whole = false;
            len += 1 + digits(len + 1);
        }
        if matches!(bytes.get(len), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
            if len + 1 + sign < bytes.len() && digits(len + 1 + sign) > 0 {
                is_whole = false;
                len += 1 + sign + digits(len + 1 + sign);
            }
        }
        let follows = rest[len..].find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len() - len);
        self.cursor.at += len + follows;
        let text = &rest[..len + follows];
        if follows > 0 {
            let ns = parse_duration(text).ok_or_else(|| {
                self.cursor
                    .error(start, format!("`{text}` is neither a number nor a span of time"))
                    .hint("write it like 1.5 or 5m")
            })?;
            #[expect(clippy::cast_precision_loss, reason = "a fraction of a second")]
            let seconds = ns as f64 / NS_PER_SECOND as f64;
            let whole = ns % NS_PER_SECOND == 0;
            return Ok(Expr::Constant(if whole {
                Constant::Int(ns / NS_PER_SECOND)
            } else {
                Constant::Float(seconds)
            }));
        }
        if let Some(n) = text.parse().ok().filter(|_| is_whole) {
            return Ok(Expr::Constant(Constant::Int(n)));
        }
        let number = text.parse().ok().filter(|x: &f64| x.is_finite());
        let number = number.ok_or_else(|| self.cursor.error(start, format!("`{text}` is not a number")))?;
        Ok(Expr::Constant(Constant::Float(number)))
    }

    /// A word with a meaning, a function or a column.
    fn named(&mut self, start: usize) -> Result<Expr, ParseError> {
        if let Some(name) = self.expression_column() {
            return self.resolve(&name, start).map(Expr::Column);
        }
        let rest = self.cursor.rest();
        let len = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let word = &rest[..len];
        if rest[len..].trim_start().starts_with('(') && len > 0 {
            self.cursor.at += len;
            let is_adjacent = self.cursor.peek() == Some('(');
            self.cursor.eat_spaced("(");
            self.expression_calls += usize::from(is_adjacent);
            let call = self.call(start, word)?;
            self.expression_marks += usize::from(is_adjacent);
            return Ok(call);
        }
        match word.to_ascii_lowercase().as_str() {
            "true" if self.eat_expression_word("true") => return Ok(Expr::Constant(Constant::Bool(true))),
            "false" if self.eat_expression_word("false") => return Ok(Expr::Constant(Constant::Bool(false))),
            "null" if self.eat_expression_word("null") => return Ok(Expr::Constant(Constant::Null)),
            "and" | "or" if word.len() == len && !rest[len..].starts_with(is_expression_name_char) => {
                return Err(self.cursor.error(start, format!("a value is missing before `{word}`")));
            }
            _ => {}
        }
        match self.cursor.expression_name() {
            Some(name) => self.resolve(&name, start).map(Expr::Column),
            None => Err(self
                .cursor
                .error(start, "a value is missing here")
                .hint("a field, a number, a \"text\" or a function")),
        }
    }

    /// The longest column name that stands here to the letter.
    fn expression_column(&mut self) -> Option<String> {
        let Scope::Columns(columns) = &self.scope else { return None };
        let rest = self.cursor.rest();
        let names = columns.iter().map(|column| column.name.as_str());
        let ends = |name: &&str| {
            !name.is_empty()
                && rest.starts_with(*name)
                && !rest[name.len()..].starts_with(|c| is_expression_name_char(c) || c == '(')
                && !EXPRESSION_WORDS.iter().any(|word| word.eq_ignore_ascii_case(name))
        };
        let name = names.filter(ends).max_by_key(|name| name.len())?.to_owned();
        self.cursor.at += name.len();
        Some(name)
    }

    fn call(&mut self, start: usize, name: &str) -> Result<Expr, ParseError> {
        if name.eq_ignore_ascii_case("now") {
            self.close(start)?;
            return Ok(Expr::Constant(Constant::Time(self.now)));
        }
        let signature = Function::parse(name).ok_or_else(|| {
            let near = nearest(name, Function::ALL.iter().map(|signature| signature.name));
            self.cursor.error(start, format!("unknown function `{name}`")).did_you_mean(near)
        })?;
        let mut arguments = Vec::new();
        if !self.cursor.eat_spaced(")") {
            loop {
                arguments.push(self.nested(start, |parser| parser.binary(0))?);
                if !self.cursor.eat_spaced(",") || arguments.len() > ARGUMENTS_MAX {
                    break;
                }
            }
            self.close(start)?;
        }
        self.checked_call(start, signature, arguments)
    }

    fn checked_call(
        &mut self,
        start: usize,
        signature: &Signature,
        arguments: Vec<Expr>,
    ) -> Result<Expr, ParseError> {
        let Signature { name, function, least, most, doc } = *signature;
        let error = |message: String| Err(self.cursor.error(start, message).hint(doc));
        if arguments.len() < least || arguments.len() > most {
            return error(match (least, most) {
                (1, 1) => format!("`{name}` takes one value"),
                (least, most) if least == most => format!("`{name}` takes {least} values"),
                (least, ARGUMENTS_MAX) => format!("`{name}` takes {least} to {ARGUMENTS_MAX} values"),
                (least, most) => format!("`{name}` takes {least} or {most} values"),
            });
        }
        match (function, arguments.as_slice()) {
            (Function::Matches | Function::Replace, [_, Expr::Constant(Constant::Text(pattern)), ..]) => {
                if let Err(reason) = compile_regex(pattern) {
                    return error(reason);
                }
                self.count_pattern(start)?;
            }
            (Function::Matches | Function::Replace, _) => {
                return error(format!("the regular expression of `{name}` is a text in quotes"));
            }
            (Function::Time, [Expr::Constant(Constant::Text(text))]) => {
                let Some(time) = Timestamp::parse(text) else {
                    return error(format!("`{text}` is not a time"));
                };
                return Ok(Expr::Constant(Constant::Time(time)));
            }
            _ => {}
        }
        Ok(Expr::Call(function, arguments))
    }
}
