//! Logfmt lines: `key=value key="quoted value" flag`.
//!
//! `level`, the time and the message are recognised by their usual keys; every other pair is a field under its own name.
//!
//! Invariants:
//! - a bare value becomes a number only when the number writes back to the same text (`007` and `1.10` stay text);
//! - without a message key, or when a part could not be read, the message is the whole line.

use std::borrow::Cow;

use heimdall_model::{Level, Timestamp};

use super::{FIELDS_MAX, ParsedLine, Value};

/// Decimal digits a float holds exactly.
const FLOAT_DIGITS_MAX: usize = 15;

const NO_PAIRS: &str = "not logfmt: no `key=value` pair";
const ODD_PART: &str = "not logfmt: a part is neither a word nor `key=value`";
const OPEN_QUOTE: &str = "not logfmt: a quote is not closed";
const TOO_MANY: &str = "more pairs than one record may have; the rest is in the message";
const BAD_TIME: &str = "the time is in no known form; kept as a field";

pub(super) fn parse(line: &str, now: Timestamp) -> ParsedLine<'_> {
    let mut parsed = ParsedLine::whole(line);
    let mut message = None;
    let mut pair_count = 0_usize;
    for token in tokens(line) {
        if parsed.fields.len() >= FIELDS_MAX {
            note(TOO_MANY, &mut parsed);
            break;
        }
        let (key, value) = match token.value {
            Some(value) if is_key(token.key) => (token.key, value),
            None if is_key(token.key) => {
                parsed.fields.push((Cow::Borrowed(token.key), Value::Bool(true)));
                continue;
            }
            _ => {
                note(ODD_PART, &mut parsed);
                continue;
            }
        };
        pair_count += 1;
        if token.is_open {
            note(OPEN_QUOTE, &mut parsed);
        }
        if let Some(value) = keep_special(key, value, now, &mut message, &mut parsed) {
            parsed.fields.push((Cow::Borrowed(key), typed(value, token.is_quoted)));
        }
    }
    if pair_count == 0 {
        let mut kept = ParsedLine::whole(line);
        kept.diagnostics.push(NO_PAIRS);
        return kept;
    }
    let is_whole = parsed.diagnostics.iter().all(|diagnostic| *diagnostic == BAD_TIME);
    if let Some(message) = message.filter(|_| is_whole) {
        parsed.message = message;
    }
    parsed
}

/// Adds a diagnostic once, however often the line gives cause for it.
fn note(diagnostic: &'static str, parsed: &mut ParsedLine<'_>) {
    if !parsed.diagnostics.contains(&diagnostic) {
        parsed.diagnostics.push(diagnostic);
    }
}

/// Whether most of the line is pairs, and it starts with one.
pub(super) fn recognises(line: &str) -> bool {
    let (mut pair_count, mut token_count) = (0, 0);
    for token in tokens(line).take(FIELDS_MAX) {
        let is_pair = token.value.is_some() && is_key(token.key);
        if token.is_open || (token_count == 0 && !is_pair) {
            return false;
        }
        token_count += 1;
        pair_count += usize::from(is_pair);
    }
    pair_count >= 2 && pair_count * 3 >= token_count * 2
}

/// Takes the level, time and message out of the pairs; gives back a value that is a field after all.
fn keep_special<'a>(
    key: &str,
    value: Cow<'a, str>,
    now: Timestamp,
    message: &mut Option<Cow<'a, str>>,
    parsed: &mut ParsedLine<'a>,
) -> Option<Cow<'a, str>> {
    match key {
        "level" | "lvl" | "severity" | "loglevel" if parsed.level.is_none() => {
            parsed.level = Level::parse(&value);
            if parsed.level.is_some() { None } else { Some(value) }
        }
        "msg" | "message" if message.is_none() => {
            *message = Some(value);
            None
        }
        "ts" | "time" | "timestamp" | "t" | "@timestamp" if parsed.timestamp.is_none() => {
            parsed.timestamp = Timestamp::parse_with(&value, now);
            if parsed.timestamp.is_some() {
                return None;
            }
            if key != "t" {
                note(BAD_TIME, parsed);
            }
            Some(value)
        }
        _ => Some(value),
    }
}

fn typed(value: Cow<'_, str>, is_quoted: bool) -> Value<'_> {
    match value {
        Cow::Borrowed("true") if !is_quoted => Value::Bool(true),
        Cow::Borrowed("false") if !is_quoted => Value::Bool(false),
        Cow::Borrowed(text) if !is_quoted => number(text).unwrap_or(Value::text(text)),
        text => Value::Text(text),
    }
}

fn number(text: &str) -> Option<Value<'static>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let has_leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if has_leading_zero || !digits.starts_with(|c: char| c.is_ascii_digit()) || text == "-0" {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Value::Int);
    }
    let (whole, fraction) = digits.split_once('.')?;
    let is_exact = digits.len() <= FLOAT_DIGITS_MAX && !fraction.is_empty() && !fraction.ends_with('0');
    let is_decimal = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if is_exact && is_decimal { text.parse().ok().map(Value::Float) } else { None }
}

struct Token<'a> {
    key: &'a str,
    value: Option<Cow<'a, str>>,
    is_quoted: bool,
    /// The value's closing quote is missing.
    is_open: bool,
}

/// A key is a word: `==>` or `"a` in front of an equals sign is text.
fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '@')
        && !key.contains(['"', '\'', '(', '[', '{', '<', ',', ';'])
}

fn tokens(line: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        let (token, after) = next_token(rest);
        rest = after;
        Some(token)
    })
}

fn next_token(text: &str) -> (Token<'_>, &str) {
    let key_len = text.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(text.len());
    let (key, rest) = text.split_at(key_len);
    let Some(value) = rest.strip_prefix('=') else {
        return (Token { key, value: None, is_quoted: false, is_open: false }, rest);
    };
    if let Some(quoted) = value.strip_prefix('"') {
        let (value, rest, is_open) = unquote(quoted);
        return (Token { key, value: Some(value), is_quoted: true, is_open }, rest);
    }
    let value_len = value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len());
    let (value, rest) = value.split_at(value_len);
    (Token { key, value: Some(Cow::Borrowed(value)), is_quoted: false, is_open: false }, rest)
}

/// A value up to its closing quote with its escapes resolved, what follows, and whether the quote was missing.
fn unquote(text: &str) -> (Cow<'_, str>, &str, bool) {
    let mut owned: Option<String> = None;
    let mut copied_to = 0;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '"' {
            return (finish(owned, &text[copied_to..at]), &text[at + 1..], false);
        }
        if c == '\\' {
            let escaped = chars.next().map(|(_, escaped)| escaped);
            let resolved = match escaped {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(same @ ('"' | '\\' | '/')) => same,
                _ => continue,
            };
            let value = owned.get_or_insert_default();
            value.push_str(&text[copied_to..at]);
            value.push(resolved);
            copied_to = at + 2;
        }
    }
    (finish(owned, &text[copied_to..]), "", true)
}

fn finish(owned: Option<String>, tail: &str) -> Cow<'_, str> {
    match owned {
        None => Cow::Borrowed(tail),
        Some(value) => Cow::Owned(value + tail),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::show;

    #[track_caller]
    fn check(line: &str, shown: &str) {
        assert_eq!(show(Format::Logfmt, line), shown, "{line}");
    }

    #[test]
    fn pairs() {
        check(
            "ts=2026-02-09T20:25:01Z level=warn msg=\"slow \\\"write\\\"\\n\" host=db1 took=1.5 n=-3 ok=true retry",
            "2026-02-09T20:25:01.000000000Z warn | host=\"db1\" took=1.5 n=-3 ok=true retry=true | slow \"write\"\n",
        );
        check("at=info empty= path=\"/a b\"", "- - | at=\"info\" empty=\"\" path=\"/a b\" | (whole)");
    }

    #[test]
    fn numbers_keep_their_text() {
        check(
            "a=007 b=1.10 c=0 d=0.5 e=99999999999999999999 f=1e5 g=\"5\" h=-0 i=1.2.3",
            "- - | a=\"007\" b=\"1.10\" c=0 d=0.5 e=\"99999999999999999999\" f=\"1e5\" g=\"5\" h=\"-0\" i=\"1.2.3\" | (whole)",
        );
    }

    #[test]
    fn what_is_not_understood_stays() {
        check("just words here", &format!("- - | | (whole) ! {}", super::NO_PAIRS));
        check("msg=hi a=\"open end", &format!("- - | a=\"open end\" | (whole) ! {}", super::OPEN_QUOTE));
        check(
            "time=soon msg=hi level=loud",
            &format!("- - | time=\"soon\" level=\"loud\" | hi ! {}", super::BAD_TIME),
        );
        check("msg=one msg=two k=v", "- - | msg=\"two\" k=\"v\" | one");
    }
}
