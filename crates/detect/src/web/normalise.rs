//! Undoing what hides an attack: encodings, escapes, comments, look-alike characters, case and spacing.
//!
//! Two views of a text are made. The *plain* view has percent (also `%uXXXX`, repeated), HTML entities and look-alike
//! characters resolved, is lower case and has single spaces. The *bare* view, made when it differs, also has escapes of
//! programming languages and log writers (`\x41`, `\u0041`, `\101`, `\"`) resolved and comments (`/*…*/`) removed.
//!
//! Invariants:
//! - never fails, whatever the text; a view is at most [`VIEW_BYTES_MAX`] long; time is linear in the text;
//! - what was undone is told ([`Steps`]), since layers of encoding are themselves evidence.
//!
//! Source: OWASP Core Rule Set, transformations `urlDecodeUni`, `htmlEntityDecode`, `jsDecode`, `replaceComments`;
//! RFC 3629 section 3 (overlong forms are invalid, and attackers use them).

/// Longest view; the rest of a text is not looked at. Attacks are short, and what precedes 8 KiB of padding is still seen.
pub const VIEW_BYTES_MAX: usize = 8 * 1024;
/// Layers of encoding undone. Two are common (a proxy decodes once more); more than four no server resolves.
const PASSES_MAX: usize = 4;

/// What was undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Steps(u16);

impl Steps {
    /// Percent-encoding.
    pub const PERCENT: Steps = Steps(1);
    /// Percent-encoding inside percent-encoding.
    pub const PERCENT_TWICE: Steps = Steps(1 << 1);
    /// `%uXXXX`.
    pub const PERCENT_U: Steps = Steps(1 << 2);
    /// HTML entities.
    pub const ENTITIES: Steps = Steps(1 << 3);
    /// UTF-8 longer than needed.
    pub const OVERLONG: Steps = Steps(1 << 4);
    /// Full-width and other look-alikes of ASCII.
    pub const LOOKALIKE: Steps = Steps(1 << 5);
    /// Null bytes.
    pub const NULL: Steps = Steps(1 << 6);
    /// Backslash escapes.
    pub const ESCAPES: Steps = Steps(1 << 7);
    /// Comments.
    pub const COMMENTS: Steps = Steps(1 << 8);
    /// Longer than [`VIEW_BYTES_MAX`].
    pub const CUT: Steps = Steps(1 << 9);

    const NAMES: [(Steps, &'static str); 10] = [
        (Steps::PERCENT, "percent"),
        (Steps::PERCENT_TWICE, "percent twice"),
        (Steps::PERCENT_U, "percent-u"),
        (Steps::ENTITIES, "HTML entities"),
        (Steps::OVERLONG, "overlong UTF-8"),
        (Steps::LOOKALIKE, "look-alikes"),
        (Steps::NULL, "null bytes"),
        (Steps::ESCAPES, "escapes"),
        (Steps::COMMENTS, "comments"),
        (Steps::CUT, "cut"),
    ];

    /// Whether this holds all of `other`.
    #[must_use]
    pub const fn has(self, other: Steps) -> bool {
        self.0 & other.0 == other.0
    }

    /// Names of the steps, in order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Steps::NAMES.iter().filter(move |(step, _)| self.has(*step)).map(|(_, name)| *name)
    }

    fn add(&mut self, other: Steps) {
        self.0 |= other.0;
    }
}

/// Whether `+` stands for a space, as it does in queries only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// In a query.
    Space,
    /// Elsewhere.
    Itself,
}

/// The views of one text; made once and used for many texts.
#[derive(Debug, Default)]
pub struct Views {
    plain: String,
    bare: String,
    has_bare: bool,
    steps: Steps,
    bytes: Vec<u8>,
    spare: Vec<u8>,
}

impl Views {
    /// Makes the views of a text.
    pub fn set(&mut self, text: &str, plus: Plus) {
        self.steps = Steps::default();
        self.bytes.clear();
        let head = &text.as_bytes()[..text.len().min(VIEW_BYTES_MAX)];
        if head.len() < text.len() {
            self.steps.add(Steps::CUT);
        }
        self.bytes.extend(head.iter().map(|b| if *b == b'+' && plus == Plus::Space { b' ' } else { *b }));
        self.decode();
        self.plain.clear();
        fold(&self.bytes, &mut self.plain, &mut self.steps);
        self.make_bare();
    }

    /// The decoded text.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.plain
    }

    /// The decoded text without escapes and comments, where that is another one.
    #[must_use]
    pub fn bare(&self) -> Option<&str> {
        self.has_bare.then_some(self.bare.as_str())
    }

    /// What was undone.
    #[must_use]
    pub fn steps(&self) -> Steps {
        self.steps
    }

    fn decode(&mut self) {
        for pass in 0..PASSES_MAX {
            let percent = memchr::memchr(b'%', &self.bytes).is_some()
                && unpercent(&self.bytes, &mut self.spare, &mut self.steps);
            if percent {
                std::mem::swap(&mut self.bytes, &mut self.spare);
                self.steps.add(if pass == 0 { Steps::PERCENT } else { Steps::PERCENT_TWICE });
            }
            let entities =
                memchr::memchr(b'&', &self.bytes).is_some() && unentity(&self.bytes, &mut self.spare);
            if entities {
                std::mem::swap(&mut self.bytes, &mut self.spare);
                self.steps.add(Steps::ENTITIES);
            }
            if !percent && !entities {
                break;
            }
        }
    }

    fn make_bare(&mut self) {
        self.has_bare = false;
        let bytes = self.plain.as_bytes();
        let escapes = memchr::memchr(b'\\', bytes).is_some();
        let comments = memchr::memmem::find(bytes, b"/*").is_some();
        if !escapes && !comments {
            return;
        }
        self.bytes.clear();
        if escapes {
            unescape(bytes, &mut self.bytes);
        } else {
            self.bytes.extend_from_slice(bytes);
        }
        if comments {
            uncomment(&self.bytes, &mut self.spare);
            std::mem::swap(&mut self.bytes, &mut self.spare);
        }
        let mut folded = Steps::default();
        self.bare.clear();
        fold(&self.bytes, &mut self.bare, &mut folded);
        self.has_bare = self.bare != self.plain;
        if self.has_bare && escapes {
            self.steps.add(Steps::ESCAPES);
        }
        if self.has_bare && comments {
            self.steps.add(Steps::COMMENTS);
        }
    }
}

fn hex(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(16)
}

/// The number written in exactly `len` hex digits at `at`.
fn hex_at(bytes: &[u8], at: usize, len: usize) -> Option<u32> {
    bytes.get(at..at + len)?.iter().try_fold(0, |n, byte| Some(n * 16 + hex(*byte)?))
}

/// Writes a code point; what is none is written as a space.
fn push_code(code: u32, out: &mut Vec<u8>) {
    let c = char::from_u32(code).unwrap_or(' ');
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Undoes one layer of percent-encoding. `false` when there was none.
fn unpercent(bytes: &[u8], out: &mut Vec<u8>, steps: &mut Steps) -> bool {
    out.clear();
    let (mut at, mut changed) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            if let Some(code) = hex_at(bytes, at + 1, 2) {
                out.push(u8::try_from(code).unwrap_or(b' '));
                (at, changed) = (at + 3, true);
                continue;
            }
            let is_u = matches!(bytes.get(at + 1), Some(b'u' | b'U'));
            if let Some(code) = hex_at(bytes, at + 2, 4).filter(|_| is_u) {
                push_code(code, out);
                steps.add(Steps::PERCENT_U);
                (at, changed) = (at + 6, true);
                continue;
            }
        }
        out.push(byte);
        at += 1;
    }
    changed
}

/// Named entities that stand for characters attacks are made of.
const ENTITIES: [(&[u8], u8); 25] = [
    (b"lt", b'<'),
    (b"gt", b'>'),
    (b"quot", b'"'),
    (b"apos", b'\''),
    (b"amp", b'&'),
    (b"colon", b':'),
    (b"semi", b';'),
    (b"comma", b','),
    (b"period", b'.'),
    (b"lpar", b'('),
    (b"rpar", b')'),
    (b"lbrace", b'{'),
    (b"rbrace", b'}'),
    (b"lsqb", b'['),
    (b"rsqb", b']'),
    (b"lbrack", b'['),
    (b"rbrack", b']'),
    (b"sol", b'/'),
    (b"bsol", b'\\'),
    (b"dollar", b'$'),
    (b"equals", b'='),
    (b"grave", b'`'),
    (b"tab", b'\t'),
    (b"newline", b'\n'),
    (b"nbsp", b' '),
];
/// Longest named entity above.
const ENTITY_BYTES_MAX: usize = 7;

/// Undoes HTML entities. Numeric ones may lack the semicolon, as browsers allow. `false` when there were none.
fn unentity(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let (mut at, mut changed) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        match if byte == b'&' { entity(&bytes[at + 1..]) } else { None } {
            Some((code, len)) => {
                push_code(code, out);
                (at, changed) = (at + 1 + len, true);
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    changed
}

/// Code point and length of the entity whose `&` has been read.
fn entity(rest: &[u8]) -> Option<(u32, usize)> {
    if let Some(number) = rest.strip_prefix(b"#") {
        let (digits, radix, before) = match number.first()? {
            b'x' | b'X' => (&number[1..], 16, 2),
            _ => (number, 10, 1),
        };
        let len = digits.iter().take_while(|byte| char::from(**byte).is_digit(radix)).count();
        let value = |n: u32, byte: &u8| {
            n.saturating_mul(radix).saturating_add(char::from(*byte).to_digit(radix).unwrap_or(0))
        };
        let code = digits[..len].iter().fold(0, value);
        let end = usize::from(digits.get(len) == Some(&b';'));
        return (len > 0).then_some((code, before + len + end));
    }
    let len = rest.iter().take(ENTITY_BYTES_MAX + 1).take_while(|byte| byte.is_ascii_alphabetic()).count();
    if rest.get(len) != Some(&b';') {
        return None;
    }
    let known = ENTITIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&rest[..len]))?;
    Some((u32::from(known.1), len + 1))
}

/// Undoes backslash escapes of JavaScript, C, PHP and CSS, and those of log writers.
fn unescape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = if byte == b'\\' { escape(&bytes[at + 1..]) } else { None };
        if let Some((code, len)) = escaped {
            push_code(code, out);
            at += 1 + len;
        } else {
            out.push(byte);
            at += 1;
        }
    }
}

/// Code point and length of the escape whose backslash has been read; `None` keeps the backslash, which may be a
/// separator of a Windows path.
fn escape(rest: &[u8]) -> Option<(u32, usize)> {
    match *rest.first()? {
        b'x' => hex_at(rest, 1, 2).map(|code| (code, 3)),
        b'u' if rest.get(1) == Some(&b'{') => {
            let len = rest[2..].iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let code = hex_at(rest, 2, len)?;
            (len > 0 && rest.get(2 + len) == Some(&b'}')).then_some((code, len + 3))
        }
        b'u' => hex_at(rest, 1, 4).map(|code| (code, 5)),
        digit @ b'0'..=b'7' => {
            let octal = rest.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
            let code = rest[..octal].iter().fold(0, |n, byte| n * 8 + u32::from(byte - b'0'));
            (octal > 1 && (32..127).contains(&code) || digit == b'0').then_some((code, octal))
        }
        b'n' | b'r' => Some((u32::from(b'\n'), 1)),
        b't' => Some((u32::from(b' '), 1)),
        quote @ (b'"' | b'\'' | b'\\' | b'/') => Some((u32::from(quote), 1)),
        _ => None,
    }
}

/// Takes out `/*…*/`; the text of MySQL's conditional comments (`/*!50000 … */`) stays, since the server runs it.
fn uncomment(bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = bytes;
    while let Some(start) = memchr::memmem::find(rest, b"/*") {
        out.extend_from_slice(&rest[..start]);
        out.push(b' ');
        let body = &rest[start + 2..];
        let end = memchr::memmem::find(body, b"*/");
        let inner = &body[..end.unwrap_or(body.len())];
        if let Some(code) = inner.strip_prefix(b"!") {
            let digits = code.iter().take_while(|byte| byte.is_ascii_digit()).count();
            out.extend_from_slice(&code[digits..]);
            out.push(b' ');
        }
        rest = end.map_or(&[][..], |end| &body[end + 2..]);
    }
    out.extend_from_slice(rest);
}

/// Writes bytes as lower-case text with single spaces; line ends become `\n`, look-alikes their ASCII character.
fn fold(bytes: &[u8], out: &mut String, steps: &mut Steps) {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let (c, len) = if byte < 0x80 { (char::from(byte), 1) } else { wide(&bytes[at..], steps) };
        at += len;
        match c {
            '\0' => steps.add(Steps::NULL),
            '\r' | '\n' | '\u{2028}' | '\u{2029}' => {
                if !out.ends_with('\n') {
                    out.push('\n');
                }
            }
            c if c.is_whitespace() || c.is_control() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{ad}' => {}
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    let end = out.floor_char_boundary(VIEW_BYTES_MAX);
    if end < out.len() {
        out.truncate(end);
        steps.add(Steps::CUT);
    }
}

/// The character that starts with a byte outside ASCII, and its length in bytes.
fn wide(bytes: &[u8], steps: &mut Steps) -> (char, usize) {
    let low =
        |at: usize| bytes.get(at).filter(|byte| *byte & 0xc0 == 0x80).map(|byte| u32::from(byte & 0x3f));
    let (code, len, least) = match (bytes[0], low(1), low(2), low(3)) {
        (lead @ 0xc0..=0xdf, Some(a), ..) => (u32::from(lead & 0x1f) << 6 | a, 2, 0x80),
        (lead @ 0xe0..=0xef, Some(a), Some(b), _) => (u32::from(lead & 0x0f) << 12 | a << 6 | b, 3, 0x800),
        (lead @ 0xf0..=0xf7, Some(a), Some(b), Some(c)) => {
            (u32::from(lead & 0x07) << 18 | a << 12 | b << 6 | c, 4, 0x1_0000)
        }
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    if code < least {
        steps.add(Steps::OVERLONG);
    }
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    let ascii = lookalike(c);
    if ascii.is_ascii() && code >= 0x80 {
        steps.add(Steps::LOOKALIKE);
    }
    (ascii, len)
}

/// The ASCII character that servers and databases take a look-alike for (best fit).
fn lookalike(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xff01 + 0x21).unwrap_or(c),
        '\u{2018}' | '\u{2019}' | '\u{2b9}' | '\u{2bc}' | '\u{2032}' => '\'',
        '\u{201c}' | '\u{201d}' | '\u{2033}' => '"',
        '\u{2044}' | '\u{2215}' => '/',
        '\u{2039}' | '\u{3008}' => '<',
        '\u{203a}' | '\u{3009}' => '>',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, plain: &str, bare: Option<&str>, steps: &str) {
        let mut views = Views::default();
        views.set(text, Plus::Space);
        let named = views.steps().names().collect::<Vec<_>>().join(", ");
        assert_eq!((views.plain(), views.bare(), named.as_str()), (plain, bare, steps), "{text}");
    }

    #[test]
    fn encodings_are_undone_layer_by_layer() {
        check("a+b", "a b", None, "");
        check("%3CScript%3E", "<script>", None, "percent");
        check("%253Cb%253E", "<b>", None, "percent, percent twice");
        check("%u0027 OR%u003d", "' or=", None, "percent, percent-u");
        check("%c0%ae%c0%ae%c0%af", "../", None, "percent, overlong UTF-8");
        check("&lt;a&#62;&#x3b&#00000040", "<a>;(", None, "HTML entities");
        check("%ef%bc%9cx", "<x", None, "percent, look-alikes");
        check("a%00b", "ab", None, "percent, null bytes");
        check("100%", "100%", None, "");
        check("%zz&nope;&#;", "%zz&nope;&#;", None, "");
    }

    #[test]
    fn escapes_and_comments_make_the_bare_view() {
        check("\\x3cb\\u003e\\u{41}", "\\x3cb\\u003e\\u{41}", Some("<b>a"), "escapes");
        check(
            "un/**/ion/*!50000select*/1",
            "un/**/ion/*!50000select*/1",
            Some("un ion select 1"),
            "comments",
        );
        check("c:\\Windows", "c:\\windows", None, "");
        check("\\\"x\\\"", "\\\"x\\\"", Some("\"x\""), "escapes");
        check("a/*b", "a/*b", Some("a "), "comments");
    }

    #[test]
    fn spaces_are_one_and_lines_stay_lines() {
        check("a%09%0b+%20b%0d%0ac", "a b\nc", None, "percent");
    }

    proptest! {
        #[test]
        fn any_text_gives_bounded_views(text in "(\\PC|%[0-9a-fA-F]{2}|&#?[a-z0-9]{1,9};?|\\\\[xu0-9{}]{1,5}|/\\*|\\*/){0,400}") {
            let mut views = Views::default();
            for plus in [Plus::Space, Plus::Itself] {
                views.set(&text, plus);
                prop_assert!(views.plain().len() <= VIEW_BYTES_MAX);
                prop_assert!(views.bare().is_none_or(|bare| bare.len() <= VIEW_BYTES_MAX));
                let plain = views.plain().to_owned();
                prop_assert!(!plain.bytes().any(|byte| byte.is_ascii_uppercase() || byte == 0));
            }
        }

        #[test]
        fn long_texts_are_cut(len in VIEW_BYTES_MAX..3 * VIEW_BYTES_MAX) {
            let mut views = Views::default();
            views.set(&"é".repeat(len), Plus::Itself);
            prop_assert!(views.plain().len() <= VIEW_BYTES_MAX && views.steps().has(Steps::CUT));
        }
    }
}
