//! Conditions: `selection and not 1 of filter_*`.
//!
//! Precedence: `not`, then `and`, then `or`. `them` is every detection whose name does not begin with `_`, and so are
//! patterns. `N of` wants at least N.

use crate::error::Fault;

/// Deepest nesting.
const DEPTH_MAX: usize = 64;

/// A parsed condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Name(String),
    Of(Quantifier, String),
    Not(Box<Condition>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantifier {
    All,
    AtLeast(usize),
}

/// Reads a condition.
pub(crate) fn parse(text: &str) -> Result<Condition, Fault> {
    if text.contains('|') {
        return Err(Fault::new("aggregation after `|` is not part of Sigma 2: write a correlation rule")
            .near("condition"));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let condition = parser.or(0)?;
    match parser.peek() {
        None => Ok(condition),
        Some(token) => Err(fault(format!("unexpected `{token}` in the condition"))),
    }
}

fn fault(reason: String) -> Fault {
    Fault::new(reason).near("condition")
}

fn tokens(text: &str) -> Result<Vec<&str>, Fault> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if matches!(first, '(' | ')') {
            1
        } else {
            rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')')).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(end);
        if let Some(odd) = token.chars().find(|c| !(c.is_alphanumeric() || "_-.*?()".contains(*c))) {
            return Err(fault(format!("unexpected `{odd}` in the condition")));
        }
        out.push(token);
        rest = after.trim_start();
    }
    Ok(out)
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn or(&mut self, depth: usize) -> Result<Condition, Fault> {
        let mut parts = vec![self.and(depth)?];
        while self.take("or") {
            parts.push(self.and(depth)?);
        }
        Ok(joined(parts, Condition::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Condition, Fault> {
        let mut parts = vec![self.not(depth)?];
        while self.take("and") {
            parts.push(self.not(depth)?);
        }
        Ok(joined(parts, Condition::And))
    }

    fn not(&mut self, depth: usize) -> Result<Condition, Fault> {
        if depth > DEPTH_MAX {
            return Err(fault(format!("the condition is nested deeper than {DEPTH_MAX}")));
        }
        if self.take("not") {
            return Ok(Condition::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.or(depth + 1)?;
            if !self.take(")") {
                return Err(fault("a `(` of the condition is not closed".to_owned()));
            }
            return Ok(inner);
        }
        self.operand()
    }

    fn operand(&mut self) -> Result<Condition, Fault> {
        let Some(token) = self.peek() else {
            return Err(fault("the condition ends early".to_owned()));
        };
        self.at += 1;
        if self.peek().is_some_and(|next| next.eq_ignore_ascii_case("of")) {
            self.at += 1;
            let quantifier = quantifier(token)?;
            let pattern = self.peek().ok_or_else(|| fault("`of` needs a name or `them`".to_owned()))?;
            self.at += 1;
            return Ok(Condition::Of(quantifier, pattern.to_owned()));
        }
        let reserved = ["and", "or", "not", "of", ")"].iter().any(|word| token.eq_ignore_ascii_case(word));
        if reserved || token.contains(['*', '?']) {
            return Err(fault(format!("unexpected `{token}` in the condition")));
        }
        Ok(Condition::Name(token.to_owned()))
    }
}

fn quantifier(token: &str) -> Result<Quantifier, Fault> {
    if token.eq_ignore_ascii_case("all") {
        return Ok(Quantifier::All);
    }
    if token.eq_ignore_ascii_case("any") {
        return Ok(Quantifier::AtLeast(1));
    }
    match token.parse() {
        Ok(least) if least > 0 => Ok(Quantifier::AtLeast(least)),
        _ => Err(fault(format!("`{token} of`: want a number, `all` or `any`"))),
    }
}

fn joined(mut parts: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    if parts.len() == 1 { parts.remove(0) } else { join(parts) }
}

/// Whether a detection of this name is meant by the pattern of `1 of pattern`.
pub(crate) fn selects(pattern: &str, name: &str) -> bool {
    if name.starts_with('_') && !pattern.starts_with('_') {
        return false;
    }
    if pattern.eq_ignore_ascii_case("them") {
        return true;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    glob(&pattern, &name)
}

fn glob(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, tried)) = star else {
                    return false;
                };
                star = Some((at, tried + 1));
                (p, n) = (at + 1, tried + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(condition: &Condition) -> String {
        let list = |parts: &[Condition], word: &str| {
            format!("({})", parts.iter().map(show).collect::<Vec<_>>().join(&format!(" {word} ")))
        };
        match condition {
            Condition::Name(name) => name.clone(),
            Condition::Of(Quantifier::All, pattern) => format!("[all {pattern}]"),
            Condition::Of(Quantifier::AtLeast(n), pattern) => format!("[{n} {pattern}]"),
            Condition::Not(inner) => format!("!{}", show(inner)),
            Condition::And(parts) => list(parts, "&"),
            Condition::Or(parts) => list(parts, "|"),
        }
    }

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(parse(text).map(|c| show(&c)).unwrap_or_else(|e| e.reason), shown);
    }

    #[test]
    fn precedence() {
        check("a and b or c and not d", "((a & b) | (c & !d))");
        check("a AND (b OR c)", "(a & (b | c))");
        check("not (a or not b)", "!(a | !b)");
        check("not not a", "!!a");
        check("1 of sel_* and not all of filter*", "([1 sel_*] & ![all filter*])");
        check("any of them or 2 of x-y?", "([1 them] | [2 x-y?])");
    }

    #[test]
    fn what_is_wrong_is_said() {
        check("", "the condition ends early");
        check("a and", "the condition ends early");
        check("a b", "unexpected `b` in the condition");
        check("(a", "a `(` of the condition is not closed");
        check("a)", "unexpected `)` in the condition");
        check("sel*", "unexpected `sel*` in the condition");
        check("0 of x", "`0 of`: want a number, `all` or `any`");
        check("1 of", "`of` needs a name or `them`");
        check("a | count() > 5", "aggregation after `|` is not part of Sigma 2: write a correlation rule");
        assert!(parse(&"not ".repeat(100)).unwrap_err().reason.contains("nested deeper"));
        assert!(parse(&"(".repeat(100_000)).unwrap_err().reason.contains("nested deeper"));
    }

    #[test]
    fn patterns_of_names() {
        assert!(
            selects("sel*", "selection_a")
                && selects("*_a", "selection_a")
                && selects("s?l*a", "selection_a")
        );
        assert!(selects("them", "x") && !selects("them", "_x") && !selects("*", "_x"));
        assert!(!selects("sel", "selection") && selects("sel", "sel"));
    }
}
