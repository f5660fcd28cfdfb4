//! The compiled form of a [`Filter`]: patterns built once, literals typed once.
//!
//! Invariants:
//! - a filter means the same on a row in flight and on a stored column: both ask the same [`Leaf`];
//! - compiling reports what is wrong with a literal or pattern, so that testing never fails.
//!
//! Not here: which rows to look at, and in what order (the store's scan).

use std::cmp::Ordering;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use memchr::memmem;
use regex::{Regex, RegexBuilder};

use crate::attributes::{self, Attribute};
use crate::batch::Row;
use crate::filter::{Compare, Filter, Literal, Target, Test};
use crate::{Dataset, FieldType, Level, RecordId};

/// Most bytes a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 4 << 20;

/// Why a filter cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// A literal does not suit the type of its field.
    #[error("`{text}` is not {wants}, which `{field}` needs")]
    Literal {
        /// Field as shown to people.
        field: String,
        /// The literal as written.
        text: String,
        /// What would do, with its article.
        wants: &'static str,
    },
    /// A regular expression or wildcard does not compile.
    #[error("bad pattern `{pattern}`: {detail}")]
    Pattern {
        /// As written.
        pattern: String,
        /// The regex engine's words.
        detail: String,
    },
}

/// A compiled filter.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// Root of the tree.
    pub root: Node,
}

/// A node of a compiled filter.
#[derive(Debug, Clone)]
pub enum Node {
    /// Passes every row.
    All,
    /// Passes a row that every part passes.
    And(Vec<Node>),
    /// Passes a row that some part passes.
    Or(Vec<Node>),
    /// Passes a row that the part does not.
    Not(Box<Node>),
    /// Asks one target.
    Leaf(Leaf),
}

/// A compiled test of one target.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// What to look at.
    pub target: Target,
    /// How.
    pub test: LeafTest,
}

/// A test with its pattern compiled and its literal typed.
#[derive(Debug, Clone)]
pub enum LeafTest {
    /// Present at all.
    Exists,
    /// A word or phrase, without regard to case.
    Words(WordFinder),
    /// A text anywhere, without regard to case.
    Contains(PartFinder),
    /// A pattern; wildcards are patterns by now.
    Pattern(Regex),
    /// Equal to the literal.
    Equals(Typed),
    /// Compares so with the literal.
    Compare(Compare, Typed),
}

/// A literal in the form its target compares with.
#[derive(Debug, Clone)]
pub struct Typed {
    text: String,
    /// Whether no text beyond ASCII is the same but for case: of its letters only `k` is that of another one, the sign of kelvins.
    is_ascii_alone: bool,
    number: Option<f64>,
    /// Level code or ns, for those types.
    code: Option<i64>,
    /// Id bytes, for id types.
    bytes: Vec<u8>,
}

impl Matcher {
    /// Compiles a filter for a dataset.
    ///
    /// # Errors
    /// [`FilterError`] names the literal or pattern that does not fit.
    pub fn compile(filter: &Filter, dataset: Dataset) -> Result<Matcher, FilterError> {
        Ok(Matcher { root: compile(filter, dataset)? })
    }

    /// Whether a row passes. `template` is the text of its template, when known.
    #[must_use]
    pub fn matches(&self, row: &Row<'_>, template: Option<&str>) -> bool {
        matches(&self.root, row, template)
    }
}

fn compile(filter: &Filter, dataset: Dataset) -> Result<Node, FilterError> {
    let all = |parts: &[Filter]| parts.iter().map(|part| compile(part, dataset)).collect::<Result<_, _>>();
    Ok(match filter {
        Filter::All => Node::All,
        Filter::And(parts) => Node::And(all(parts)?),
        Filter::Or(parts) => Node::Or(all(parts)?),
        Filter::Not(part) => Node::Not(Box::new(compile(part, dataset)?)),
        Filter::Test(target, test) => {
            Node::Leaf(Leaf { target: target.clone(), test: compile_test(target, test, dataset)? })
        }
    })
}

fn compile_test(target: &Target, test: &Test, dataset: Dataset) -> Result<LeafTest, FilterError> {
    Ok(match test {
        Test::Exists => LeafTest::Exists,
        Test::Words(words) => LeafTest::Words(WordFinder::new(words)?),
        Test::Contains(text) => LeafTest::Contains(PartFinder::new(text)?),
        Test::Equals(literal) => LeafTest::Equals(typed(target, literal, dataset)?),
        Test::Compare(op, literal) => LeafTest::Compare(*op, typed(target, literal, dataset)?),
        Test::Wildcard(pattern) => LeafTest::Pattern(regex(&wildcard(pattern, is_message(target, dataset)))?),
        Test::Regex(pattern) => LeafTest::Pattern(regex(pattern)?),
    })
}

fn is_message(target: &Target, dataset: Dataset) -> bool {
    dataset == Dataset::Logs && *target == Target::Field(crate::schema::logs::MESSAGE)
}

fn regex(pattern: &str) -> Result<Regex, FilterError> {
    RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| FilterError::Pattern { pattern: pattern.to_owned(), detail: error.to_string() })
}

/// The regular expression of a wildcard pattern: anchored on both sides, or at word boundaries for a message.
fn wildcard(pattern: &str, in_message: bool) -> String {
    let (any, one) = if in_message { (r"\S*", r"\S") } else { (".*", ".") };
    let body: String = pattern
        .chars()
        .map(|c| match c {
            '*' => any.to_owned(),
            '?' => one.to_owned(),
            c => regex::escape(c.encode_utf8(&mut [0; 4])),
        })
        .collect();
    if !in_message {
        return format!("(?is)^{body}$");
    }
    let edge = |c: Option<char>| if c.is_some_and(is_word) { r"\b" } else { "" };
    format!("(?is){}{body}{}", edge(pattern.chars().next()), edge(pattern.chars().next_back()))
}

fn typed(target: &Target, literal: &Literal, dataset: Dataset) -> Result<Typed, FilterError> {
    let wrong =
        |wants| FilterError::Literal { field: target.name(dataset), text: literal.text.clone(), wants };
    let mut typed = Typed {
        is_ascii_alone: literal.text.is_ascii() && !literal.text.contains(['k', 'K']),
        text: literal.text.clone(),
        number: literal.number,
        code: None,
        bytes: Vec::new(),
    };
    match target.ty(dataset) {
        Some(FieldType::Time) => {
            let time = literal.time.or_else(|| crate::Timestamp::parse(&literal.text));
            typed.code = Some(time.ok_or_else(|| wrong("a time"))?.0);
        }
        Some(FieldType::Level) => {
            let level = Level::parse(&literal.text).ok_or_else(|| wrong("a level"))?;
            typed.code = Some(i64::from(level.code()));
        }
        Some(FieldType::Int | FieldType::Float) if literal.number.is_none() => return Err(wrong("a number")),
        Some(FieldType::Id16) => {
            typed.bytes = hex(&literal.text, 16).ok_or_else(|| wrong("32 hex digits"))?
        }
        Some(FieldType::Id8) => typed.bytes = hex(&literal.text, 8).ok_or_else(|| wrong("16 hex digits"))?,
        _ if *target == Target::Id => {
            let id = RecordId::parse(&literal.text).ok_or_else(|| wrong("a record id (UUID)"))?;
            typed.bytes = id.0.as_bytes().to_vec();
        }
        _ => {}
    }
    Ok(typed)
}

/// Reads exactly `width` bytes of hex digits in any case.
#[must_use]
pub fn hex(text: &str, width: usize) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    if text.len() != 2 * width {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn matches(node: &Node, row: &Row<'_>, template: Option<&str>) -> bool {
    match node {
        Node::All => true,
        Node::And(parts) => parts.iter().all(|part| matches(part, row, template)),
        Node::Or(parts) => parts.iter().any(|part| matches(part, row, template)),
        Node::Not(part) => !matches(part, row, template),
        Node::Leaf(leaf) => leaf.matches(row, template),
    }
}

impl Leaf {
    fn matches(&self, row: &Row<'_>, template: Option<&str>) -> bool {
        match &self.target {
            Target::Id => self.id(row.id()),
            Target::Template => template.is_some_and(|text| self.text(text)),
            Target::Attribute(path) => row.attributes().is_some_and(|json| self.attribute(json, path)),
            Target::Field(id) => match row.dataset().field(*id).ty {
                FieldType::Text | FieldType::Json => row.text(*id).is_some_and(|text| self.text(text)),
                FieldType::Time | FieldType::Int => row.int(*id).is_some_and(|n| self.int(n)),
                FieldType::Float => row.float(*id).is_some_and(|x| self.float(x)),
                FieldType::Level => row.byte(*id).is_some_and(|code| self.int(i64::from(code))),
                FieldType::Id16 | FieldType::Id8 => row.bytes(*id).is_some_and(|bytes| self.bytes(bytes)),
            },
        }
    }

    /// Tests a present text.
    #[must_use]
    pub fn text(&self, text: &str) -> bool {
        match &self.test {
            LeafTest::Exists => true,
            LeafTest::Words(finder) => finder.is_match(text),
            LeafTest::Contains(finder) => finder.is_match(text),
            LeafTest::Pattern(regex) => regex.is_match(text),
            LeafTest::Equals(literal) => literal.is_same(text),
            LeafTest::Compare(op, literal) => op.holds(literal.cmp_text(text)),
        }
    }

    /// Tests a present whole number: an `Int`, a time in ns, a level code.
    #[must_use]
    pub fn int(&self, n: i64) -> bool {
        let ordering = |literal: &Typed| match literal.code {
            Some(code) => n.cmp(&code),
            #[expect(clippy::cast_precision_loss, reason = "a literal is an f64; both sides compare as f64")]
            None => literal.number.map_or(Ordering::Greater, |number| order(n as f64, number)),
        };
        match &self.test {
            LeafTest::Equals(literal) => ordering(literal).is_eq(),
            LeafTest::Compare(op, literal) => op.holds(ordering(literal)),
            LeafTest::Exists => true,
            _ => self.text(&n.to_string()),
        }
    }

    /// Tests a present number.
    #[must_use]
    pub fn float(&self, x: f64) -> bool {
        let ordering = |literal: &Typed| literal.number.map_or(Ordering::Greater, |number| order(x, number));
        match &self.test {
            LeafTest::Equals(literal) => literal.number == Some(x),
            LeafTest::Compare(op, literal) => op.holds(ordering(literal)),
            LeafTest::Exists => true,
            _ => self.text(&(x + 0.0).to_string()),
        }
    }

    /// Tests present id bytes.
    #[must_use]
    pub fn bytes(&self, bytes: &[u8]) -> bool {
        match &self.test {
            LeafTest::Exists => true,
            LeafTest::Equals(literal) => literal.bytes == bytes,
            LeafTest::Compare(op, literal) => op.holds(bytes.cmp(literal.bytes.as_slice())),
            _ => self.text(&to_hex(bytes)),
        }
    }

    /// Tests a record id.
    #[must_use]
    pub fn id(&self, id: RecordId) -> bool {
        match &self.test {
            LeafTest::Equals(_) | LeafTest::Compare(..) | LeafTest::Exists => self.bytes(id.0.as_bytes()),
            _ => self.text(&id.to_string()),
        }
    }

    /// Tests the value at `path` of an attributes object; an array passes when any element does.
    #[must_use]
    pub fn attribute(&self, json: &str, path: &str) -> bool {
        attributes::get(json, path).is_some_and(|value| self.attribute_value(value))
    }

    fn attribute_value(&self, value: Attribute<'_>) -> bool {
        if matches!(self.test, LeafTest::Exists) {
            return true;
        }
        match value {
            Attribute::Text(text) => self.text_or_number(&text),
            Attribute::Number(raw) => self.text_or_number(raw),
            Attribute::Bool(b) => self.text(if b { "true" } else { "false" }),
            Attribute::Array(raw) => attributes::elements(raw).any(|element| self.attribute_value(element)),
            Attribute::Object(raw) => self.text(raw),
        }
    }

    fn text_or_number(&self, text: &str) -> bool {
        match &self.test {
            LeafTest::Equals(literal) => {
                literal.is_same(text) || literal.cmp_number(text) == Some(Ordering::Equal)
            }
            _ => self.text(text),
        }
    }
}

impl Typed {
    /// The literal as a number.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        self.number
    }

    /// The literal's level code or ns.
    #[must_use]
    pub fn code(&self) -> Option<i64> {
        self.code
    }

    /// The literal's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The literal's id bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a text is the same but for case.
    fn is_same(&self, text: &str) -> bool {
        text.eq_ignore_ascii_case(&self.text)
            || (!self.is_ascii_alone && !text.is_ascii() && text.to_lowercase() == self.text.to_lowercase())
    }

    fn cmp_number(&self, text: &str) -> Option<Ordering> {
        let number = self.number?;
        text.parse::<f64>().ok().map(|n| order(n, number))
    }

    fn cmp_text(&self, text: &str) -> Ordering {
        self.cmp_number(text).unwrap_or_else(|| text.cmp(self.text.as_str()))
    }
}

/// The order of two numbers; both zeros are one.
fn order(a: f64, b: f64) -> Ordering {
    (a + 0.0).total_cmp(&(b + 0.0))
}

/// Lower-case hex digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

/// Whether a character is part of a word: a letter or digit of any script, or `_`.
#[must_use]
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Finds bytes without regard to the case of ASCII letters.
#[derive(Debug, Clone)]
enum AnyCase {
    /// By their longest piece without a letter, which has one form only: it is looked for many bytes at a time.
    Piece { text: Box<[u8]>, finder: Box<memmem::Finder<'static>>, at: usize },
    /// Byte by byte, from the rarest one on.
    Automaton(AhoCorasick),
}

impl AnyCase {
    /// Shortest piece that is worth looking for: shorter ones are everywhere.
    const PIECE_BYTES_MIN: usize = 3;

    fn new(text: &str) -> Result<AnyCase, FilterError> {
        let bytes = text.as_bytes();
        let pieces =
            bytes.split(u8::is_ascii_alphabetic).filter(|piece| piece.len() >= Self::PIECE_BYTES_MIN);
        if let Some(piece) = pieces.max_by_key(|piece| piece.len()) {
            let finder = Box::new(memmem::Finder::new(piece).into_owned());
            let at = piece.as_ptr().addr() - bytes.as_ptr().addr();
            return Ok(AnyCase::Piece { text: bytes.into(), finder, at });
        }
        AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build([text])
            .map(AnyCase::Automaton)
            .map_err(|error| FilterError::Pattern { pattern: text.to_owned(), detail: error.to_string() })
    }

    /// Where they begin for the first time from `from` on.
    fn find(&self, haystack: &[u8], from: usize) -> Option<usize> {
        match self {
            AnyCase::Piece { text, finder, at } => {
                let mut from = from + at;
                loop {
                    from += finder.find(haystack.get(from..)?)?;
                    let start = from - at;
                    let there = haystack.get(start..start + text.len())?;
                    if there.eq_ignore_ascii_case(text) {
                        return Some(start);
                    }
                    from += 1;
                }
            }
            AnyCase::Automaton(finder) => {
                finder.find(aho_corasick::Input::new(haystack).span(from..haystack.len())).map(|m| m.start())
            }
        }
    }
}

/// Finds a text anywhere, without regard to the case of ASCII letters.
#[derive(Debug, Clone)]
pub struct PartFinder {
    part: String,
    finder: AnyCase,
}

impl PartFinder {
    fn new(part: &str) -> Result<PartFinder, FilterError> {
        Ok(PartFinder { part: part.to_owned(), finder: AnyCase::new(part)? })
    }

    /// What is looked for.
    #[must_use]
    pub fn part(&self) -> &str {
        &self.part
    }

    /// Whether `text` holds it.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.finder.find(text.as_bytes(), 0).is_some()
    }
}

/// Finds a word or phrase at word boundaries, without regard to case.
///
/// A boundary is needed only where the phrase itself ends in a letter, digit or `_`. White space in the phrase stands
/// for itself.
#[derive(Debug, Clone)]
pub struct WordFinder {
    phrase: Box<str>,
    finder: Finder,
    bound_start: bool,
    bound_end: bool,
}

#[derive(Debug, Clone)]
enum Finder {
    Ascii(AnyCase),
    Unicode(Regex),
}

impl WordFinder {
    /// A finder of this word or phrase.
    ///
    /// # Errors
    /// The phrase is too large for a pattern.
    pub fn new(words: &str) -> Result<WordFinder, FilterError> {
        let finder = if words.is_ascii() {
            Finder::Ascii(AnyCase::new(words)?)
        } else {
            Finder::Unicode(regex(&format!("(?i){}", regex::escape(words)))?)
        };
        Ok(WordFinder {
            phrase: words.into(),
            finder,
            bound_start: words.chars().next().is_some_and(is_word),
            bound_end: words.chars().next_back().is_some_and(is_word),
        })
    }

    /// The word or phrase as written.
    #[must_use]
    pub fn phrase(&self) -> &str {
        &self.phrase
    }

    /// Whether the phrase must begin and end at a word boundary.
    #[must_use]
    pub fn bounds(&self) -> (bool, bool) {
        (self.bound_start, self.bound_end)
    }

    /// Whether `text` holds the phrase.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        let mut from = 0;
        while let Some((start, end)) = self.find_at(text, from) {
            if self.bounded(text, start, end) {
                return true;
            }
            from = start + text[start..].chars().next().map_or(1, char::len_utf8);
        }
        false
    }

    fn find_at(&self, text: &str, from: usize) -> Option<(usize, usize)> {
        match &self.finder {
            Finder::Ascii(finder) => {
                finder.find(text.as_bytes(), from).map(|start| (start, start + self.phrase.len()))
            }
            Finder::Unicode(finder) => finder.find_at(text, from).map(|m| (m.start(), m.end())),
        }
    }

    fn bounded(&self, text: &str, start: usize, end: usize) -> bool {
        let before = text[..start].chars().next_back();
        let after = text[end..].chars().next();
        !(self.bound_start && before.is_some_and(is_word) || self.bound_end && after.is_some_and(is_word))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::logs;
    use crate::{BatchBuilder, Timestamp};

    #[track_caller]
    fn check(target: Target, test: Test, expected: bool) {
        let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(5));
        builder.set_int(logs::TIMESTAMP, 1_000);
        builder.set_level(Level::Warn);
        builder.set_text(logs::SERVICE, "PAYMENT-GATEWAY");
        builder.set_text(logs::MESSAGE, "Connection refused by db_7: Größe=5");
        builder.set_float(logs::DURATION_MS, 12.5);
        builder
            .set_text(logs::ATTRIBUTES, r#"{"status":503,"a":{"b":"x y"},"tags":["red","Blue"],"ok":true}"#);
        builder.end_row();
        let batch = builder.finish();
        let filter = Filter::Test(target, test.clone());
        let matcher = Matcher::compile(&filter, Dataset::Logs).expect("compiles");
        assert_eq!(matcher.matches(&batch.row(0), Some("Connection refused by <*>")), expected, "{test:?}");
    }

    fn logs_field(name: &str) -> Target {
        Target::resolve(Dataset::Logs, name)
    }

    #[test]
    fn equal_texts_may_differ_by_case_in_any_script() {
        let equals = |host: &str, literal: &str| {
            let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(5));
            builder.set_int(logs::TIMESTAMP, 1_000);
            builder.set_text(logs::HOST, host);
            builder.end_row();
            let filter = Filter::field(logs::HOST, Test::Equals(Literal::new(literal)));
            let matcher = Matcher::compile(&filter, Dataset::Logs).expect("compiles");
            matcher.matches(&builder.finish().row(0), None)
        };
        assert!(equals("Web-7", "wEB-7") && !equals("Web-7", "web-8"));
        assert!(equals("ÖL", "öl") && !equals("OL", "öl") && !equals("öl", "ol"));
        // The sign of kelvins is a k in lower case; no letter beyond ASCII is any other letter of it.
        assert!(equals("db\u{212A}7", "DBK7") && !equals("db\u{212A}7", "dbx7"));
        let beyond = (0x80..=u32::from(char::MAX)).filter_map(char::from_u32);
        let ascii: Vec<char> = beyond.filter(|c| c.to_lowercase().all(|lower| lower.is_ascii())).collect();
        assert_eq!(ascii, ['\u{212A}']);
    }

    #[test]
    fn words_match_whole_words_in_any_case() {
        let words = |w: &str, expected| check(logs_field("message"), Test::Words(w.into()), expected);
        words("connection", true);
        words("REFUSED BY", true);
        words("refuse", false);
        words("db", false);
        words("db_7:", true);
        words("größe", true);
        check(logs_field("message"), Test::Wildcard("conn*".into()), true);
        check(logs_field("message"), Test::Wildcard("onn*".into()), false);
        check(logs_field("message"), Test::Wildcard("*efuse?".into()), true);
        check(logs_field("message"), Test::Regex(r"db_\d".into()), true);
    }

    proptest! {
        #[test]
        fn bytes_are_found_where_they_are_in_any_case(
            text in "[aB7. ]{1,6}|.{1,4}", parts in prop::collection::vec("[Ab7. ]{0,4}|.{0,3}", 0..6), at in 0..7_usize, from in 0..20_usize,
        ) {
            let mut parts = parts;
            parts.insert(at.min(parts.len()), text.to_ascii_uppercase());
            let haystack = parts.concat();
            let expected = (from..haystack.len()).find(|start| {
                let there = haystack.as_bytes().get(*start..*start + text.len());
                there.is_some_and(|there| there.eq_ignore_ascii_case(text.as_bytes()))
            });
            let finder = AnyCase::new(&text).expect("a short text");
            let found = (from <= haystack.len()).then(|| finder.find(haystack.as_bytes(), from)).flatten();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn fields_compare_by_their_type() {
        let equals = |name: &str, text: &str, expected| {
            check(logs_field(name), Test::Equals(Literal::new(text)), expected);
        };
        equals("service", "payment-gateway", true);
        equals("service", "payment", false);
        equals("level", "warning", true);
        equals("duration_ms", "12.50", true);
        equals("status", "503", true);
        equals("status", "503.0", true);
        equals("attributes.a.b", "X Y", true);
        equals("tags", "blue", true);
        equals("ok", "true", true);
        equals("nothing", "", false);
        equals("template", "connection refused by <*>", true);
        let compare = |name: &str, op, text: &str, expected| {
            check(logs_field(name), Test::Compare(op, Literal::new(text)), expected);
        };
        compare("level", Compare::GreaterOrEqual, "warn", true);
        compare("level", Compare::Greater, "warn", false);
        compare("status", Compare::GreaterOrEqual, "500", true);
        compare("duration_ms", Compare::Less, "12.5", false);
    }

    #[test]
    fn a_literal_that_cannot_fit_is_named() {
        let filter = Filter::Test(logs_field("duration_ms"), Test::Equals(Literal::new("fast")));
        let error = Matcher::compile(&filter, Dataset::Logs).expect_err("not a number");
        assert_eq!(error.to_string(), "`fast` is not a number, which `duration_ms` needs");
    }
}
