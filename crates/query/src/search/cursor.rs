//! Reading a line character by character: names, quoted texts, regular expressions, bare words.

use super::error::ParseError;

/// A place in a line.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    pub(super) line: &'a str,
    // INVARIANT: on a character boundary, at most `line.len()`.
    pub(super) at: usize,
}

/// A word without quotes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bare {
    /// The text, escapes taken away.
    pub(super) text: String,
    /// Its characters; true where a backslash made it literal.
    pub(super) chars: Vec<(char, bool)>,
}

impl Bare {
    /// Whether it holds `*` or `?` meant as wildcards.
    pub(super) fn is_pattern(&self) -> bool {
        self.chars.iter().any(|(c, literal)| !literal && matches!(c, '*' | '?'))
    }

    /// Whether it holds a literal `*` or `?`.
    pub(super) fn has_literal_wildcard(&self) -> bool {
        self.chars.iter().any(|(c, literal)| *literal && matches!(c, '*' | '?'))
    }

    /// Whether it is a lone `*`.
    pub(super) fn is_anything(&self) -> bool {
        self.chars == [('*', false)]
    }
}

/// Whether a field name may hold `c` unescaped.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '@' | '-' | '/')
}

/// Whether a field name may start with `c` unescaped.
pub(super) fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '_' | '@')
}

/// Whether a name in an expression may hold `c` unescaped: what could be an operator may not.
pub(super) fn is_expression_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '@')
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str) -> Cursor<'a> {
        Cursor { line, at: 0 }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.line[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.line.len()
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    pub(super) fn skip_space(&mut self) {
        self.at = self.line.len() - self.rest().trim_start().len();
    }

    /// Takes `text` if it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Takes `text` if it comes next, after white space.
    pub(super) fn eat_spaced(&mut self, text: &str) -> bool {
        let start = self.at;
        self.skip_space();
        let found = self.eat(text);
        if !found {
            self.at = start;
        }
        found
    }

    /// Whether the word `word` comes next and ends there.
    pub(super) fn sees_word(&self, word: &str) -> bool {
        self.rest().strip_prefix(word).is_some_and(|after| {
            after.chars().next().is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')' | '|' | '"'))
        })
    }

    /// Takes the word `word` (in any case) if it comes next after white space and ends there.
    pub(super) fn eat_word_any_case(&mut self, word: &str) -> bool {
        let start = self.at;
        self.skip_space();
        let end = self.at + word.len();
        let found = self.line.get(self.at..end).is_some_and(|text| text.eq_ignore_ascii_case(word))
            && !self.line[end..].starts_with(|c: char| is_name_char(c) || matches!(c, '(' | ':' | '='));
        self.at = if found { end } else { start };
        found
    }

    pub(super) fn error(&self, start: usize, message: impl Into<String>) -> ParseError {
        ParseError::at(self.line, start, self.at.max(start), message)
    }

    /// Takes a field name, unescaped; nothing when none starts here.
    pub(super) fn name(&mut self) -> Option<String> {
        self.name_of(is_name_char)
    }

    /// Takes a field name in an expression.
    pub(super) fn expression_name(&mut self) -> Option<String> {
        self.name_of(is_expression_name_char)
    }

    fn name_of(&mut self, is_name_char: impl Fn(char) -> bool) -> Option<String> {
        if !self.peek().is_some_and(|c| is_name_start(c) || c == '\\') {
            return None;
        }
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if c == '\\' {
                let escaped = self.rest().chars().nth(1)?;
                name.push(escaped);
                self.at += 1 + escaped.len_utf8();
            } else if is_name_char(c) {
                name.push(c);
                self.bump();
            } else {
                break;
            }
        }
        Some(name)
    }

    /// Takes letters, digits, `_` and `.`: the name of a pipe or function.
    pub(super) fn identifier(&mut self) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// Takes a quoted text; the cursor is on the opening quote. `\"` and `\\` are escapes, other backslashes stand
    /// for themselves.
    pub(super) fn quoted(&mut self) -> Result<String, ParseError> {
        let start = self.at;
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                None => return Err(self.error(start, "this quote is not closed").hint("add a `\"`")),
                Some('"') => return Ok(text),
                Some('\\') if matches!(self.peek(), Some('"' | '\\')) => text.extend(self.bump()),
                Some(c) => text.push(c),
            }
        }
    }

    /// Takes `/regex/` or `/regex/i`. A slash that is not closed before white space or a bracket starts a word, so
    /// that paths need no quotes.
    pub(super) fn regex(&mut self) -> Option<String> {
        let body = self.rest().strip_prefix('/')?;
        let mut pattern = String::new();
        let mut chars = body.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '/' => return self.end_of_regex(pattern, &body[at + 1..]),
                '\\' => match chars.next()?.1 {
                    '/' => pattern.push('/'),
                    other => pattern.extend(['\\', other]),
                },
                c => pattern.push(c),
            }
        }
        None
    }

    fn end_of_regex(&mut self, pattern: String, after: &'a str) -> Option<String> {
        let (after, flags) = after.strip_prefix('i').map_or((after, ""), |after| (after, "(?i)"));
        let ends = after.chars().next().is_none_or(|c| c.is_whitespace() || matches!(c, ')' | '|'));
        if !ends || pattern.is_empty() {
            return None;
        }
        self.at = self.line.len() - after.len();
        Some(format!("{flags}{pattern}"))
    }

    /// Takes a word up to white space, a bracket, a quote or a pipe; inside a range also up to `]` and `}`.
    pub(super) fn bare(&mut self, in_range: bool) -> Bare {
        let mut bare = Bare { text: String::new(), chars: Vec::new() };
        while let Some(c) = self.peek() {
            let ends = c.is_whitespace()
                || matches!(c, '(' | ')' | '|' | '"')
                || (in_range && matches!(c, ']' | '}'));
            if ends {
                break;
            }
            self.bump();
            let (c, literal) = match (c, self.peek()) {
                ('\\', Some(_)) => (self.bump().unwrap_or(c), true),
                _ => (c, false),
            };
            bare.text.push(c);
            bare.chars.push((c, literal));
        }
        bare
    }
}
