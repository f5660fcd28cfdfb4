//! Text patterns: Sigma strings with wildcards and escapes, and how they are matched.
//!
//! `*` is any text, `?` one character, `\*`, `\?` and `\\` are the characters themselves; any other backslash is a
//! backslash. Patterns are matched against the whole text; those that ignore case are folded, and so must the text be.

use std::collections::HashSet;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use foldhash::fast::FixedState;
use memchr::memmem::{self, Finder};

use crate::fold;

/// Texts searched one by one up to this number, beyond it by one automaton.
const FINDERS_MAX: usize = 4;

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Atom {
    /// These characters.
    Text(String),
    /// One character.
    One,
    /// Any text, also none.
    Many,
    /// A hyphen, a slash or one of the dashes that Windows programs take for a hyphen.
    Dash,
}

/// What [`Atom::Dash`] stands for.
pub(crate) const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// Reads a Sigma string.
pub(crate) fn parse(text: &str) -> Vec<Atom> {
    let mut atoms = Vec::new();
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.peek() {
                Some('*' | '?' | '\\') => plain.extend(chars.next()),
                _ => plain.push('\\'),
            },
            '*' | '?' => {
                push_text(&mut atoms, std::mem::take(&mut plain));
                push_wildcard(&mut atoms, if c == '*' { Atom::Many } else { Atom::One });
            }
            _ => plain.push(c),
        }
    }
    push_text(&mut atoms, plain);
    atoms
}

fn push_text(atoms: &mut Vec<Atom>, text: String) {
    if !text.is_empty() {
        atoms.push(Atom::Text(text));
    }
}

fn push_wildcard(atoms: &mut Vec<Atom>, atom: Atom) {
    if !(atom == Atom::Many && atoms.last() == Some(&Atom::Many)) {
        atoms.push(atom);
    }
}

/// The pattern as the one text it stands for, if it has no wildcards.
pub(crate) fn plain(atoms: &[Atom]) -> Option<&str> {
    match atoms {
        [] => Some(""),
        [Atom::Text(text)] => Some(text),
        _ => None,
    }
}

/// Allows any text before the pattern.
pub(crate) fn open_start(atoms: &mut Vec<Atom>) {
    if atoms.first() != Some(&Atom::Many) {
        atoms.insert(0, Atom::Many);
    }
}

/// Allows any text after the pattern.
pub(crate) fn open_end(atoms: &mut Vec<Atom>) {
    push_wildcard(atoms, Atom::Many);
}

/// Makes the hyphens and slashes that begin an option into [`Atom::Dash`]: those followed by a letter, digit or
/// underscore and not preceded by one.
pub(crate) fn open_dashes(atoms: Vec<Atom>) -> Vec<Atom> {
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let mut out = Vec::new();
    for atom in atoms {
        let Atom::Text(text) = atom else {
            out.push(atom);
            continue;
        };
        let mut plain = String::new();
        let mut before: Option<char> = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let begins = matches!(c, '-' | '/')
                && !before.is_some_and(is_word)
                && chars.peek().is_some_and(|next| is_word(*next));
            if begins {
                push_text(&mut out, std::mem::take(&mut plain));
                out.push(Atom::Dash);
            } else {
                plain.push(c);
            }
            before = Some(c);
        }
        push_text(&mut out, plain);
    }
    out
}

/// Every text a pattern with dashes stands for, as patterns without; `None` when there are more than `limit`.
pub(crate) fn expand_dashes(atoms: &[Atom], limit: usize) -> Option<Vec<Vec<Atom>>> {
    let mut all: Vec<Vec<Atom>> = vec![Vec::new()];
    for atom in atoms {
        if *atom == Atom::Dash {
            if all.len() * DASHES.len() > limit {
                return None;
            }
            all = DASHES
                .iter()
                .flat_map(|dash| all.iter().map(|start| joined(start, &dash.to_string())))
                .collect();
        } else {
            for one in &mut all {
                match atom {
                    Atom::Text(text) => *one = joined(one, text),
                    other => one.push(other.clone()),
                }
            }
        }
    }
    Some(all)
}

fn joined(start: &[Atom], text: &str) -> Vec<Atom> {
    let mut out = start.to_vec();
    match out.last_mut() {
        Some(Atom::Text(last)) => last.push_str(text),
        _ => out.push(Atom::Text(text.to_owned())),
    }
    out
}

/// The longest text a match must hold.
pub(crate) fn longest_text(atoms: &[Atom]) -> Option<&str> {
    atoms
        .iter()
        .filter_map(|atom| match atom {
            Atom::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .max_by_key(|text| text.len())
}

/// Patterns of which one is enough.
#[derive(Debug)]
pub(crate) struct TextSet {
    any: bool,
    exact: HashSet<Box<str>, FixedState>,
    starts: Vec<Box<str>>,
    ends: Vec<Box<str>>,
    holds: Holds,
    globs: Vec<Glob>,
}

#[derive(Debug)]
enum Holds {
    Few(Vec<Finder<'static>>),
    Many(AhoCorasick),
}

impl TextSet {
    /// Folds the patterns unless `cased`.
    pub(crate) fn new<'a>(
        patterns: impl IntoIterator<Item = &'a [Atom]>,
        cased: bool,
    ) -> Result<TextSet, String> {
        let mut set = TextSet {
            any: false,
            exact: HashSet::default(),
            starts: Vec::new(),
            ends: Vec::new(),
            holds: Holds::Few(Vec::new()),
            globs: Vec::new(),
        };
        let mut holds = Vec::new();
        for pattern in patterns {
            let folded: Vec<Atom> = pattern.iter().map(|atom| folded(atom, cased)).collect();
            match folded.as_slice() {
                [Atom::Many] => set.any = true,
                [] => drop(set.exact.insert("".into())),
                [Atom::Text(text)] => drop(set.exact.insert(text.as_str().into())),
                [Atom::Text(text), Atom::Many] => set.starts.push(text.as_str().into()),
                [Atom::Many, Atom::Text(text)] => set.ends.push(text.as_str().into()),
                [Atom::Many, Atom::Text(text), Atom::Many] => holds.push(text.clone()),
                _ => set.globs.push(Glob::new(&folded)),
            }
        }
        set.holds = Holds::new(&holds)?;
        Ok(set)
    }

    /// Whether the text, folded unless the set is cased, matches one of the patterns.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.any
            || (!self.exact.is_empty() && self.exact.contains(text))
            || self.ends.iter().any(|end| text.ends_with(&**end))
            || self.starts.iter().any(|start| text.starts_with(&**start))
            || self.holds.in_text(text)
            || self.globs.iter().any(|glob| glob.matches(text))
    }
}

impl Holds {
    fn new(texts: &[String]) -> Result<Holds, String> {
        if texts.len() <= FINDERS_MAX {
            return Ok(Holds::Few(
                texts.iter().map(|text| Finder::new(text.as_bytes()).into_owned()).collect(),
            ));
        }
        AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(texts)
            .map(Holds::Many)
            .map_err(|error| format!("too many texts: {error}"))
    }

    fn in_text(&self, text: &str) -> bool {
        match self {
            Holds::Few(finders) => finders.iter().any(|finder| finder.find(text.as_bytes()).is_some()),
            Holds::Many(automaton) => automaton.is_match(text),
        }
    }
}

fn folded(atom: &Atom, cased: bool) -> Atom {
    match atom {
        Atom::Text(text) if !cased => Atom::Text(fold::fold(text)),
        other => other.clone(),
    }
}

/// A pattern with wildcards inside: runs of fixed length in characters between the `*`.
#[derive(Debug)]
struct Glob {
    runs: Vec<Vec<Atom>>,
}

impl Glob {
    fn new(atoms: &[Atom]) -> Glob {
        Glob { runs: atoms.split(|atom| *atom == Atom::Many).map(<[Atom]>::to_vec).collect() }
    }

    /// The first run at the start, the last at the end, the others at their leftmost places in between: if there is a
    /// way to match, this one does.
    fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.runs.split_first() else {
            return text.is_empty();
        };
        let Some(mut text) = strip_run(first, text) else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return text.is_empty();
        };
        for run in middle {
            let Some(after) = after_run(run, text) else {
                return false;
            };
            text = after;
        }
        ends_with_run(last, text)
    }
}

/// What follows the run at the start of the text.
fn strip_run<'a>(run: &[Atom], mut text: &'a str) -> Option<&'a str> {
    for atom in run {
        text = match atom {
            Atom::Text(plain) => text.strip_prefix(plain.as_str())?,
            Atom::One | Atom::Many => strip_char(text)?,
            Atom::Dash => text.strip_prefix(DASHES)?,
        };
    }
    Some(text)
}

fn strip_char(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

/// What follows the leftmost occurrence of the run.
fn after_run<'a>(run: &[Atom], text: &'a str) -> Option<&'a str> {
    let lead = run.iter().take_while(|atom| !matches!(atom, Atom::Text(_))).count();
    let Some(Atom::Text(anchor)) = run.get(lead) else {
        return text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .find_map(|at| strip_run(run, &text[at..]));
    };
    let mut from = 0;
    while let Some(found) = memmem::find(&text.as_bytes()[from..], anchor.as_bytes()) {
        let at = from + found;
        if let Some(after) = back(text, at, lead).and_then(|start| strip_run(run, &text[start..])) {
            return Some(after);
        }
        from = at + text[at..].chars().next().map_or(1, char::len_utf8);
    }
    None
}

fn ends_with_run(run: &[Atom], text: &str) -> bool {
    let mut text = text;
    for atom in run.iter().rev() {
        let before = match atom {
            Atom::Text(plain) => text.strip_suffix(plain.as_str()),
            Atom::One | Atom::Many => back(text, text.len(), 1).map(|at| &text[..at]),
            Atom::Dash => text.strip_suffix(DASHES),
        };
        let Some(before) = before else {
            return false;
        };
        text = before;
    }
    true
}

/// The place `chars` characters before `at`.
fn back(text: &str, at: usize, chars: usize) -> Option<usize> {
    if chars == 0 {
        return Some(at);
    }
    text[..at].char_indices().rev().nth(chars - 1).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        TextSet::new([parse(pattern).as_slice()], false).unwrap().matches(&fold::fold(text))
    }

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(matches(pattern, text), "{pattern} should match {text}");
        }
        for text in no {
            assert!(!matches(pattern, text), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn wildcards() {
        check("cmd", &["cmd", "CMD"], &["cmd ", "acmd", ""]);
        check("", &[""], &["x"]);
        check("*", &["", "x"], &[]);
        check("a?c", &["abc", "aÜc", "a漢c"], &["ac", "abbc"]);
        check("a*c", &["ac", "abbc"], &["acb"]);
        check("*a*b*c", &["abc", "xaybzc", "abcbc"], &["abcb", "acb"]);
        check("?*", &["x", "xy"], &[""]);
        check("*?", &["x", "xy"], &[""]);
        check("*a??", &["abc", "aabc"], &["ab", "abcd"]);
        check("ab*ba", &["abba", "abxba"], &["aba"]);
        check("*ab?d*", &["xabab9dz"], &["abd"]);
    }

    #[test]
    fn escapes() {
        check(r"a\*b", &["a*b"], &["axb", r"a\*b"]);
        check(r"a\?", &["a?"], &["ab"]);
        check(r"C:\Win\\x", &[r"c:\win\x"], &[]);
        check(r"a\\*", &[r"a\", r"a\b"], &["ab"]);
        check(r"a\\\*", &[r"a\*"], &[r"a\b"]);
        check(r"\n", &[r"\n"], &["n", "\n"]);
        check(r"end\", &[r"end\"], &["end"]);
    }

    #[test]
    fn dashes_begin_options() {
        let atoms = open_dashes(parse("x -a b-c /d 1/2 - -"));
        let shown: Vec<String> = atoms
            .iter()
            .map(|atom| match atom {
                Atom::Text(text) => text.clone(),
                _ => "^".to_owned(),
            })
            .collect();
        assert_eq!(shown.concat(), "x ^a b-c ^d 1/2 - -");
        let mut pattern = open_dashes(parse(" -enc"));
        open_start(&mut pattern);
        open_end(&mut pattern);
        let set = TextSet::new([pattern.as_slice()], false).unwrap();
        for dash in DASHES {
            assert!(set.matches(&format!("p  {dash}enc x")), "{dash}");
        }
        assert!(!set.matches("p enc"));
        assert_eq!(expand_dashes(&pattern, 5).unwrap().len(), 5);
        assert!(expand_dashes(&pattern, 4).is_none());
    }

    /// As the definition says it, without regard for time.
    fn slow(pattern: &[Atom], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((Atom::Many, rest)) => (0..=text.len()).any(|at| slow(rest, &text[at..])),
            Some((Atom::One, rest)) => !text.is_empty() && slow(rest, &text[1..]),
            Some((Atom::Dash, rest)) => {
                text.first().is_some_and(|c| DASHES.contains(c)) && slow(rest, &text[1..])
            }
            Some((Atom::Text(plain), rest)) => {
                let plain: Vec<char> = plain.chars().collect();
                text.starts_with(&plain) && slow(rest, &text[plain.len()..])
            }
        }
    }

    fn atom() -> impl Strategy<Value = Atom> {
        prop_oneof!["[abß-]{1,2}".prop_map(Atom::Text), Just(Atom::One), Just(Atom::Many), Just(Atom::Dash)]
    }

    proptest! {
        #[test]
        fn fast_is_slow(pattern in prop::collection::vec(atom(), 0..6), text in "[abß–/-]{0,8}") {
            let set = TextSet::new([pattern.as_slice()], false).unwrap();
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(set.matches(&text), slow(&pattern, &chars));
        }
    }
}
