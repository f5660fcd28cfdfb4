//! What a filter cannot do without: the tokens a page must hold for a row of it to pass.
//!
//! Invariant: a row that passes the filter is in a page that meets the need. Where a test says nothing certain about
//! tokens (parts of words, order, absence), the need is [`Need::Nothing`].

use heimdall_model::matcher::{Leaf, LeafTest, Node, Typed, is_word};
use heimdall_model::{Dataset, FieldId, FieldType, Target};

use super::build::{Source, source};
use super::token::{Salt, Token, WORD_BYTES_MIN, is_doubtful, number};

/// Tokens that a page must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// None: every page will do.
    Nothing,
    /// This one, of this canonical field.
    Token(FieldId, Token),
    /// What each part needs.
    All(Vec<Need>),
    /// What some part needs.
    Any(Vec<Need>),
}

impl Need {
    /// What a compiled filter needs.
    pub(crate) fn of(node: &Node, dataset: Dataset) -> Need {
        match node {
            Node::All | Node::Not(_) => Need::Nothing,
            Node::And(parts) => Need::all(parts.iter().map(|part| Need::of(part, dataset))),
            Node::Or(parts) => Need::any(parts.iter().map(|part| Need::of(part, dataset))),
            Node::Leaf(leaf) => of_leaf(leaf, dataset),
        }
    }

    fn all(parts: impl Iterator<Item = Need>) -> Need {
        let mut parts: Vec<Need> = parts.filter(|part| *part != Need::Nothing).collect();
        match parts.len() {
            0 => Need::Nothing,
            1 => parts.remove(0),
            _ => Need::All(parts),
        }
    }

    /// No part at all passes nothing, so any need would be true: none is claimed.
    fn any(parts: impl Iterator<Item = Need>) -> Need {
        let mut parts: Vec<Need> = parts.collect();
        match parts.len() {
            _ if parts.contains(&Need::Nothing) => Need::Nothing,
            0 => Need::Nothing,
            1 => parts.remove(0),
            _ => Need::Any(parts),
        }
    }
}

fn of_leaf(leaf: &Leaf, dataset: Dataset) -> Need {
    match &leaf.target {
        Target::Id | Target::Template => Need::Nothing,
        Target::Field(field) => of_field(*field, &leaf.test, dataset),
        Target::Attribute(path) => of_attribute(path, &leaf.test, dataset.attributes()),
    }
}

fn of_field(field: FieldId, test: &LeafTest, dataset: Dataset) -> Need {
    let salt = Salt::field(field);
    let token = |token| Need::Token(field, token);
    match (source(dataset, field), dataset.field(field).ty, test) {
        (Some(Source::Words), ..) => of_words(field, salt, test),
        (Some(Source::Value), FieldType::Text, LeafTest::Equals(literal)) => token(salt.text(literal.text())),
        (Some(Source::Value), FieldType::Id16, LeafTest::Equals(literal)) => {
            token(salt.bytes(literal.bytes()))
        }
        _ => Need::Nothing,
    }
}

fn of_attribute(path: &str, test: &LeafTest, field: FieldId) -> Need {
    let salt = Salt::field(field).path(path);
    match test {
        LeafTest::Exists => Need::Token(field, salt.presence()),
        LeafTest::Equals(literal) => of_value(field, salt, literal),
        // An object is tested as the JSON it is written in, whose words have no tokens of this path.
        test => match of_words(field, salt, test) {
            Need::Nothing => Need::Nothing,
            words => Need::any([words, Need::Token(field, salt.object())].into_iter()),
        },
    }
}

/// A value that is the same number, or the same text but for case.
fn of_value(field: FieldId, salt: Salt, literal: &Typed) -> Need {
    let text = literal.text();
    if text.starts_with('{') {
        return Need::Nothing; // may be the JSON of an object
    }
    let as_text = Need::Token(field, salt.value(text));
    match literal.number() {
        // Zeros are equal, and written in two ways.
        Some(0.0) => {
            let zeros = [salt.number(0.0), salt.number(-0.0)].map(|token| Need::Token(field, token));
            Need::any([as_text].into_iter().chain(zeros))
        }
        Some(n) if number(text).map(f64::to_bits) != Some(n.to_bits()) => {
            Need::any([as_text, Need::Token(field, salt.number(n))].into_iter())
        }
        _ => as_text,
    }
}

/// Words that a text must hold as a whole to pass.
fn of_words(field: FieldId, salt: Salt, test: &LeafTest) -> Need {
    let words = match test {
        LeafTest::Words(finder) => phrase_words(finder.phrase()),
        LeafTest::Pattern(regex) => pattern_words(regex.as_str()),
        LeafTest::Equals(literal) => equal_words(literal.text()),
        _ => return Need::Nothing,
    };
    Need::all(words.iter().map(|word| Need::Token(field, salt.word(word.as_bytes()))))
}

/// Words of every text that equals this one but for case; those of a text beyond ASCII depend on how it is lowered.
fn equal_words(text: &str) -> Vec<String> {
    let mut words = if text.is_ascii() { phrase_words(text) } else { Vec::new() };
    words.retain(|word| word.chars().all(has_one_form));
    words
}

/// Complete words of a phrase that stands between word boundaries. Without regard to case, a phrase in ASCII finds ASCII
/// only; another may find letters of which it is not known here that they are the same.
fn phrase_words(phrase: &str) -> Vec<String> {
    let is_certain = |word: &&str| phrase.is_ascii() || word.chars().all(has_one_form);
    let long = |word: &&str| word.len() >= WORD_BYTES_MIN;
    phrase.split(|c| !is_word(c)).filter(long).filter(is_certain).map(str::to_owned).collect()
}

/// Whether a character matches, without regard to case, no other than its own two ASCII forms, or itself. `k` and `s` match
/// the Kelvin sign and the long s.
fn has_one_form(c: char) -> bool {
    if c.is_ascii() {
        !matches!(c, 'k' | 'K' | 's' | 'S')
    } else {
        c.to_lowercase().eq([c]) && c.to_uppercase().eq([c])
    }
}

/// What stands at one place of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Atom {
    /// This character.
    Char(char),
    /// No character of a word, or the boundary of one, or an end of the text.
    Edge,
    /// Anything.
    Gap,
}

/// Complete words that every match of a regular expression holds; none where that is not plain to see.
fn pattern_words(pattern: &str) -> Vec<String> {
    let (body, any_case) = flags(pattern);
    let Some(atoms) = atoms(body) else { return Vec::new() };
    let ends = |atom: Option<&Atom>| match atom {
        Some(Atom::Edge) => true,
        Some(Atom::Char(c)) => !is_word(*c),
        Some(Atom::Gap) | None => false,
    };
    let mut words = Vec::new();
    let mut at = 0;
    while at < atoms.len() {
        let word: String = atoms[at..]
            .iter()
            .map_while(|atom| match atom {
                Atom::Char(c) if is_word(*c) => Some(*c),
                _ => None,
            })
            .collect();
        let end = at + word.chars().count();
        let is_whole =
            at.checked_sub(1).is_some_and(|before| ends(atoms.get(before))) && ends(atoms.get(end));
        let is_certain = !word.contains(is_doubtful) && (!any_case || word.chars().all(has_one_form));
        if is_whole && is_certain && word.len() >= WORD_BYTES_MIN {
            words.push(word);
        }
        at = end + 1;
    }
    words
}

/// A pattern without the flags at its start, and whether they say that case does not matter.
fn flags(pattern: &str) -> (&str, bool) {
    let rest = pattern.strip_prefix("(?").and_then(|rest| rest.split_once(')'));
    match rest {
        Some((flags, body)) if flags.chars().all(|c| matches!(c, 'i' | 's' | 'm')) => {
            (body, flags.contains('i'))
        }
        _ => (pattern, false),
    }
}

/// The places of a pattern that is one plain sequence; `None` for alternatives, flags inside, and what is rare.
fn atoms(pattern: &str) -> Option<Vec<Atom>> {
    let mut atoms = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '|' => return None,
            '\\' => atoms.push(escape(rest.next()?, rest.peek().copied())?),
            '^' | '$' => atoms.push(Atom::Edge),
            '.' => atoms.push(Atom::Gap),
            '[' => {
                skip_class(&mut rest)?;
                atoms.push(Atom::Gap);
            }
            '(' => {
                skip_group(&mut rest)?;
                atoms.push(Atom::Gap);
            }
            // Once or more: what is not of a word stays so; of a letter there may be several.
            '+' if atoms.last() == Some(&Atom::Edge) => {}
            '+' | '*' | '?' => *atoms.last_mut()? = Atom::Gap,
            '{' => {
                rest.by_ref().find(|c| *c == '}')?;
                *atoms.last_mut()? = Atom::Gap;
            }
            c => atoms.push(Atom::Char(c)),
        }
    }
    Some(atoms)
}

fn escape(c: char, next: Option<char>) -> Option<Atom> {
    match c {
        'b' if next != Some('{') => Some(Atom::Edge),
        'A' | 'z' | 's' | 'W' | 'n' | 't' | 'r' => Some(Atom::Edge),
        'd' | 'D' | 'w' | 'S' => Some(Atom::Gap),
        c if c.is_ascii_punctuation() => Some(Atom::Char(c)),
        _ => None,
    }
}

/// Skips the rest of a bracketed class; `None` for classes within classes.
fn skip_class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<()> {
    rest.next_if_eq(&'^');
    rest.next_if_eq(&']');
    loop {
        match rest.next()? {
            ']' => return Some(()),
            '[' => return None,
            '\\' => {
                rest.next()?;
            }
            _ => {}
        }
    }
}

/// Skips the rest of a group; `None` where flags are set inside.
fn skip_group(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<()> {
    if rest.next_if_eq(&'?').is_some() && !matches!(rest.next()?, ':' | 'P' | '<') {
        return None;
    }
    loop {
        match rest.next()? {
            ')' => return Some(()),
            '(' => skip_group(rest)?,
            '[' => skip_class(rest)?,
            '\\' => {
                rest.next()?;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, words: &[&str]) {
        assert_eq!(pattern_words(pattern), words, "{pattern}");
    }

    #[test]
    fn words_of_patterns_are_those_that_must_be_whole() {
        check(r"failed for user \d+", &["for", "user"]);
        check(r"\bfailed\s+for", &["failed"]);
        check(r"^login failed$", &["login", "failed"]);
        check(r"(?is)\btimeout (foo|bar) after all\b", &["timeout", "after", "all"]);
        check(r"(?i)^login of$", &["login"]);
        check(r"^one|two three four$", &[]);
        check(r"x three? four five", &["four"]);
        check(r"x thre+ fou{2} \bnot\b? a", &[]);
        check(r"x []a-c] all (?i:word) y", &[]);
        check(r"x a\.all\.b", &["all"]);
        check(r"\pL all \x41", &[]);
        check(r" all ", &["all"]);
        check(r" größe ", &["größe"]);
        check(r"(?i) größe 日本 ", &["日本"]);
    }

    #[test]
    fn words_of_phrases_are_certain() {
        assert_eq!(phrase_words("Connection refused: at db_7"), ["Connection", "refused", "db_7"]);
        assert_eq!(phrase_words("größe task all"), ["all"]);
    }
}
