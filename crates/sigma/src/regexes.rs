//! Regular expressions of rules: written for PCRE, run by the linear-time engine where it can.
//!
//! What PCRE reads as plain text and the engine would refuse or read as set operations (`{` that repeats nothing, `[`,
//! `&&`, `--`, `~~` inside a class) is escaped first. Look-around and back-references go to a backtracking engine with a
//! step limit; a text that exceeds it is counted and does not match.

use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::error::Fault;
use crate::fold;
use crate::modifiers::RegexText;

/// Largest compiled expression: counted repetitions of Unicode classes take most.
const COMPILED_BYTES_MAX: usize = 32 << 20;
/// Steps of the backtracking engine for one text: about 10 ms.
const BACKTRACK_STEPS_MAX: usize = 100_000;

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Compiled {
    machine: Machine,
    /// Folded texts of which every match holds one: looking for them first spares most runs of the machine.
    needs: Option<Vec<Finder<'static>>>,
}

/// The step limit was reached.
#[derive(Debug)]
pub(crate) struct GaveUp;

#[derive(Debug)]
enum Machine {
    Linear(Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

impl Compiled {
    pub(crate) fn new(text: &RegexText) -> Result<Compiled, Fault> {
        let source = source(text);
        let machine = match RegexBuilder::new(&source).size_limit(COMPILED_BYTES_MAX).build() {
            Ok(regex) => Ok(Machine::Linear(regex)),
            Err(error) => fancy_regex::RegexBuilder::new(&source)
                .backtrack_limit(BACKTRACK_STEPS_MAX)
                .delegate_size_limit(COMPILED_BYTES_MAX)
                .build()
                .map(|regex| Machine::Backtracking(Box::new(regex)))
                .map_err(|_| Fault::new(format!("not a regular expression: {}", short(&error)))),
        };
        let finder = |need: String| Finder::new(need.as_bytes()).into_owned();
        let needs = necessary(text).map(|needs| needs.into_iter().map(finder).collect());
        Ok(Compiled { machine: machine?, needs })
    }

    /// Whether the expression is found in a text; `folded` is the same text folded.
    ///
    /// # Errors
    /// The step limit was reached.
    pub(crate) fn matches(&self, text: &str, folded: &str) -> Result<bool, GaveUp> {
        let has_one =
            |needs: &Vec<Finder<'_>>| needs.iter().any(|need| need.find(folded.as_bytes()).is_some());
        if !self.needs.as_ref().is_none_or(has_one) {
            return Ok(false);
        }
        match &self.machine {
            Machine::Linear(regex) => Ok(regex.is_match(text)),
            Machine::Backtracking(regex) => regex.is_match(text).map_err(|_| GaveUp),
        }
    }
}

/// The last line of the message: the lines before draw the pattern.
fn short(error: &regex::Error) -> String {
    let shown = error.to_string();
    shown.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn source(text: &RegexText) -> String {
    let flags: String = [(text.ignore_case, 'i'), (text.multi_line, 'm'), (text.dot_all, 's')]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, flag)| *flag)
        .collect();
    let body = translate(&text.source);
    let flags = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
    let (start, end) = (if text.at_start { r"\A" } else { "" }, if text.at_end { r"\z" } else { "" });
    if start.is_empty() && end.is_empty() {
        format!("{flags}{body}")
    } else {
        format!("{flags}{start}(?:{body}){end}")
    }
}

/// Escapes what PCRE reads as plain text.
fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => escape(after, &mut out),
            '[' => class(after, &mut out),
            '{' if !repeats(after) || !can_repeat(&out) => {
                out.push_str(r"\{");
                after
            }
            '}' => {
                out.push_str(r"\}");
                after
            }
            '{' => {
                let end = after.find('}').map_or(after.len(), |at| at + 1);
                out.push('{');
                out.push_str(&after[..end]);
                &after[end..]
            }
            _ => {
                out.push(c);
                after
            }
        };
    }
    out
}

/// Whether `{` before this text counts repetitions.
fn repeats(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else {
        return false;
    };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    !least.is_empty() && [least, most].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether the expression so far ends with something that can be repeated.
fn can_repeat(before: &str) -> bool {
    match before.strip_suffix(['(', '|']) {
        Some(rest) => rest.ends_with('\\'),
        None => !before.is_empty(),
    }
}

/// What follows a backslash; returns the rest.
fn escape<'a>(after: &'a str, out: &mut String) -> &'a str {
    let Some(c) = after.chars().next() else {
        out.push_str(r"\\");
        return after;
    };
    let rest = &after[c.len_utf8()..];
    match c {
        'Z' => out.push_str(r"\z"),
        'h' => out.push_str(r"[ \t]"),
        'e' => out.push_str(r"\x1B"),
        'p' | 'P' | 'x' | 'u' if rest.starts_with('{') => {
            let end = rest.find('}').map_or(rest.len(), |at| at + 1);
            out.push('\\');
            out.push(c);
            out.push_str(&rest[..end]);
            return &rest[end..];
        }
        // Escaped without need: the character itself. `<` and `>` would be word boundaries to the engine.
        c if !c.is_ascii_alphanumeric() && (!c.is_ascii_punctuation() || "<>_\"'`,;:=!@%/".contains(c)) => {
            out.push(c)
        }
        c => {
            out.push('\\');
            out.push(c);
        }
    }
    rest
}

/// A class after its `[`; returns what follows its `]`.
fn class<'a>(after: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = after;
    if let Some(inside) = rest.strip_prefix('^') {
        out.push('^');
        rest = inside;
    }
    let mut is_first = true;
    while let Some(c) = rest.chars().next() {
        let next = &rest[c.len_utf8()..];
        match c {
            ']' if is_first => out.push_str(r"\]"),
            ']' => {
                out.push(']');
                return next;
            }
            '[' if next.starts_with(':') && next.contains(":]") => {
                let end = next.find(":]").map_or(next.len(), |at| at + 2);
                out.push('[');
                out.push_str(&next[..end]);
                rest = &next[end..];
                is_first = false;
                continue;
            }
            '[' => out.push_str(r"\["),
            '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '-' if out.ends_with('-') => out.push_str(r"\-"),
            '\\' => {
                rest = match next.chars().next() {
                    Some('h') => {
                        out.push_str(r" \t");
                        &next[1..]
                    }
                    Some('b') => {
                        out.push_str(r"\x08");
                        &next[1..]
                    }
                    Some(c) if !c.is_ascii_alphanumeric() && c.is_ascii() => {
                        out.push('\\');
                        out.push(c);
                        &next[1..]
                    }
                    _ => escape(next, out),
                };
                is_first = false;
                continue;
            }
            _ => out.push(c),
        }
        rest = next;
        is_first = false;
    }
    rest
}

/// Folded texts of which every match holds one; `None` when there is no such text.
///
/// Sound because folding goes character by character: a match of a literal folds to the folded literal.
pub(crate) fn necessary(text: &RegexText) -> Option<Vec<String>> {
    let hir = regex_syntax::Parser::new().parse(&source(text)).ok()?;
    let mut found = Vec::new();
    let mut run = String::new();
    walk(&hir, &mut run, &mut found);
    close(&mut run, &mut found);
    best(found)
}

/// The list whose shortest text is the longest; of equals the shorter list.
fn best(found: Vec<Vec<String>>) -> Option<Vec<String>> {
    let shortest = |texts: &Vec<String>| texts.iter().map(String::len).min().unwrap_or(0);
    found.into_iter().max_by_key(|texts| (shortest(texts), std::cmp::Reverse(texts.len())))
}

/// Most alternatives taken from an alternation.
const ALTERNATIVES_MAX: usize = 64;

/// Goes through what must match one after the other: extends the run of literal characters, closes it where anything
/// else stands. Each entry of `found` is a list of which every match holds one.
fn walk(hir: &Hir, run: &mut String, found: &mut Vec<Vec<String>>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => fold::fold_into(text, run),
            Err(_) => close(run, found),
        },
        HirKind::Class(class) => match one_letter(class) {
            Some(letter) => run.push(letter),
            None => close(run, found),
        },
        HirKind::Capture(capture) => walk(&capture.sub, run, found),
        HirKind::Concat(parts) => parts.iter().for_each(|part| walk(part, run, found)),
        HirKind::Repetition(repetition) => {
            close(run, found);
            if repetition.min > 0 {
                walk(&repetition.sub, run, found);
                close(run, found);
            }
        }
        HirKind::Alternation(branches) => {
            close(run, found);
            found.extend(one_of(branches));
        }
    }
}

fn close(run: &mut String, found: &mut Vec<Vec<String>>) {
    if !run.is_empty() {
        found.push(vec![std::mem::take(run)]);
    }
}

/// A list for an alternation, if each branch has one.
fn one_of(branches: &[Hir]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for branch in branches {
        let (mut run, mut found) = (String::new(), Vec::new());
        walk(branch, &mut run, &mut found);
        close(&mut run, &mut found);
        all.extend(best(found)?);
    }
    (all.len() <= ALTERNATIVES_MAX).then_some(all)
}

/// The character that all of a class fold to: `[Aa]`.
fn one_letter(class: &Class) -> Option<char> {
    let Class::Unicode(class) = class else {
        return None;
    };
    let mut letters =
        class.iter().take(5).flat_map(|range| (range.start()..=range.end()).take(5)).map(fold::fold_char);
    let first = letters.next()?;
    (letters.all(|letter| letter == first) && class.iter().count() < 5).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str) -> RegexText {
        RegexText { source: source.to_owned(), ..RegexText::default() }
    }

    #[track_caller]
    fn check(source: &str, yes: &[&str], no: &[&str]) {
        let regex = Compiled::new(&text(source)).unwrap();
        assert!(yes.iter().all(|text| regex.matches(text, &fold::fold(text)).unwrap()), "{source} {yes:?}");
        assert!(!no.iter().any(|text| regex.matches(text, &fold::fold(text)).unwrap()), "{source} {no:?}");
    }

    #[test]
    fn pcre_dialect() {
        check(r"\$\{env", &["${env"], &["env"]);
        check(r"{0}({1})", &["{0}{1}"], &["01"]);
        check(r"a{2,3}b", &["aab"], &["ab"]);
        check(r"a{,b", &["a{,b"], &[]);
        check(r"x}", &["x}"], &[]);
        check(r"[[a]", &["[", "a"], &["b"]);
        check(r"[]a]", &["]", "a"], &["b"]);
        check(r"[^]]", &["a"], &["]"]);
        check(r"[a&&b]", &["a", "&"], &["c"]);
        check(r"[+--]x", &["+x", ",x", "-x"], &["ax"]);
        check(r"[a\-z\]\\]+$", &["-]\\az"], &["b"]);
        check(r"[[:digit:]\h]x", &["1x", "\tx"], &["ax"]);
        check(r"\<a\>\_\/\'", &["<a>_/'"], &["a"]);
        check(r"end\Z", &["end"], &["ends"]);
        check(r"\p{Lu}\x{41}", &["ÄA"], &["äA"]);
        check(r"tail\\", &["tail\\"], &["tail"]);
        check(r"^[{]?[0-9a-f]{2}[}]?\-f$", &["{0a}-f", "0a-f"], &["{0a}f"]);
        check(r"^o`?b`?j]::\(\${?x", &["o`bj]::(${x", "obj]::($x"], &["ob]::(x"]);
        check(r"sh\ -c\ .*<\&1", &["sh -c x <&1"], &["sh-c <&1"]);
    }

    #[test]
    fn look_around_and_references_work_within_bounds() {
        check(r"foo(?!bar)", &["foobaz"], &["foobar"]);
        check(r"(a|b)\1", &["aa"], &["ab"]);
        let slow = Compiled::new(&text(r"(?=x)(x+)+\1y")).unwrap();
        let long = "x".repeat(5_000);
        assert!(!matches!(slow.matches(&long, &long), Ok(true)), "refused or given up, not run for ever");
        assert_eq!(
            Compiled::new(&text("a(b")).unwrap_err().reason,
            "not a regular expression: unclosed group"
        );
    }

    #[test]
    fn flags_and_ends() {
        let with = |change: fn(&mut RegexText)| {
            let mut text = text("a.b$|c");
            change(&mut text);
            Compiled::new(&text).unwrap()
        };
        let matches =
            |change: fn(&mut RegexText), text: &str| with(change).matches(text, &fold::fold(text)).unwrap();
        assert!(!matches(|_| (), "A\nB"));
        assert!(matches(|t| (t.ignore_case, t.dot_all) = (true, true), "A\nB"));
        assert!(matches(|t| t.multi_line = true, "axb\nz"));
        assert!(!matches(|t| t.at_start = true, "xc"));
        assert!(!matches(|t| t.at_end = true, "cx"));
        assert!(matches(|t| (t.at_start, t.at_end) = (true, true), "c"));
    }

    #[test]
    fn necessary_texts() {
        let texts = |source: &str| necessary(&text(source)).unwrap_or_default().join("|");
        assert_eq!(texts(r"(?i)\.EXE[\x22']?\s+[^x]{0,64}werfault\.exe"), "werfault.exe");
        assert_eq!(texts(r"foo(bar|bazz)"), "foo");
        assert_eq!(texts(r"a(barn|bazz)"), "barn|bazz");
        assert_eq!(texts(r"(abc)+d"), "abc");
        assert_eq!(texts(r"(abc)?d*"), "");
        assert_eq!(texts(r"(abc|)x"), "x");
        assert_eq!(texts(r"ab|cd"), "ab|cd");
        assert_eq!(texts(r"[kK]ilo"), "kilo");
    }
}
