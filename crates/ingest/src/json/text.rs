//! JSON text to text and back: escapes, and compact copies of values.
//!
//! Invariant: what is written is JSON any reader takes: no NUL, no lone surrogate, no number beyond a double.

use super::scan::{Flags, Kind, Scanner, Token, unicode_escape};

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Appends the text of a string (given without its quotes); NUL and lone surrogates become U+FFFD.
pub(crate) fn unescape(inner: &str, out: &mut String) {
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (char, len) = match rest.as_bytes().get(1) {
            Some(b'u') => unicode_escape(rest.as_bytes())
                .map_or((REPLACEMENT, 2), |escape| (escape.char.unwrap_or(REPLACEMENT), escape.len)),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(plain) => (char::from(*plain), 2),
            None => (REPLACEMENT, 1),
        };
        out.push(char);
        rest = &rest[len..];
    }
    out.push_str(rest);
}

/// Appends `text` with the escapes JSON needs, without quotes.
pub(crate) fn escape(text: &str, out: &mut String) {
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[start..at]);
        start = at + 1;
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out.push_str(&text[start..]);
}

/// Appends a value as compact JSON; numbers beyond a double become strings.
pub(super) fn copy_value(text: &str, token: Token, out: &mut String) {
    let raw = token.span.of(text);
    if token.flags.is_verbatim() {
        out.push_str(raw);
    } else {
        copy_tokens(raw, out);
    }
}

/// The slow way of [`copy_value`]: token by token. `raw` is valid JSON.
fn copy_tokens(raw: &str, out: &mut String) {
    let mut scan = Scanner::new(raw);
    while let Some(byte) = scan.peek() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => scan.at += 1,
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                out.push(char::from(byte));
                scan.at += 1;
            }
            _ => match scan.value() {
                Ok(token) => copy_scalar(raw, token, out),
                Err(_) => return debug_assert!(false, "the scanner accepted this text before"),
            },
        }
    }
}

fn copy_scalar(raw: &str, token: Token, out: &mut String) {
    let written = token.span.of(raw);
    match token.kind {
        Kind::String if token.flags.has(Flags::ODD_TEXT) => {
            let mut plain = String::new();
            unescape(token.inner(raw), &mut plain);
            out.push('"');
            escape(&plain, out);
            out.push('"');
        }
        Kind::Number if token.flags.has(Flags::ODD_NUMBER) => {
            out.push('"');
            out.push_str(written);
            out.push('"');
        }
        _ => out.push_str(written),
    }
}
