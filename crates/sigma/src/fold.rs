//! Case folding, one character to one character, so that positions and `?` keep their meaning.
//!
//! Two characters are the same when Unicode's simple case folding says so (`ς` and `Σ`, the Kelvin sign and `k`);
//! `ß` and `ss` are not, and the dotless `ı` stays itself: it belongs to another alphabet's pair.
//!
//! Invariant: `fold(a + b) == fold(a) + fold(b)`, so a text holds a pattern only if the folded text holds the folded
//! pattern. The prefilter rests on this.

/// First characters without case: CJK, kana, hangul and what lies between, where most non-Latin text is.
const CASELESS: std::ops::Range<char> = '\u{2E80}'..'\u{A640}';

/// Folds one character.
pub(crate) fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    match c {
        'ı' => return c,
        // Equal by simple folding, though neither is the upper case of the other.
        '\u{1FD3}' => return '\u{390}',
        '\u{1FE3}' => return '\u{3B0}',
        '\u{FB05}' => return '\u{FB06}',
        c if CASELESS.contains(&c) => return c,
        _ => {}
    }
    let upper = single(c.to_uppercase()).unwrap_or(c);
    single(upper.to_lowercase()).unwrap_or(upper)
}

fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next();
    if chars.next().is_some() { None } else { first }
}

/// Adds the folded text to `out`.
pub(crate) fn fold_into(text: &str, out: &mut String) {
    let mut rest = text;
    loop {
        let ascii = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        let start = out.len();
        out.push_str(&rest[..ascii]);
        out[start..].make_ascii_lowercase();
        let mut chars = rest[ascii..].chars();
        let Some(c) = chars.next() else {
            return;
        };
        out.push(fold_char(c));
        rest = chars.as_str();
    }
}

/// The folded text.
pub(crate) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    fold_into(text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_alphabets() {
        assert_eq!(fold("C:\\Windows\\CMD.EXE"), "c:\\windows\\cmd.exe");
        assert_eq!(fold("ΣΊΣΥΦΟΣ"), fold("σίσυφος"));
        assert_eq!(fold("ЖУРНАЛ Ünïcode"), "журнал ünïcode");
        assert_eq!(fold("\u{212A}"), "k", "the Kelvin sign");
        assert_eq!(fold("ı İ ß"), "ı İ ß");
        assert_eq!(fold("ẞ"), "ß");
        assert_eq!(fold("漢字カナ"), "漢字カナ");
    }

    /// The regex crate has its own table of simple case folding: nothing is folded that it holds apart.
    #[test]
    fn agrees_with_the_regex_crate() {
        // Letters of a later Unicode version than that of the crate.
        let unknown = regex::Regex::new(r"^\p{Cn}$").unwrap();
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let folded = fold_char(c);
            if folded != c && !unknown.is_match(&c.to_string()) {
                let text = format!("(?i)^{}$", regex::escape(&folded.to_string()));
                assert!(regex::Regex::new(&text).unwrap().is_match(&c.to_string()), "{c} {folded}");
                assert_eq!(fold_char(folded), folded, "{c}");
            }
        }
    }

    #[test]
    fn what_the_regex_crate_holds_equal_is_folded_to_one() {
        use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32).filter(|c| c.is_alphabetic()) {
            let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
            class.try_case_fold_simple().unwrap();
            for other in class.iter().flat_map(|range| range.start()..=range.end()) {
                assert_eq!(fold_char(other), fold_char(c), "{c} {other}");
            }
        }
    }
}
