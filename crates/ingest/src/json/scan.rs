//! Reads JSON (RFC 8259) strictly, byte by byte, without building anything.
//!
//! Invariants:
//! - the text is UTF-8 and every accepted span is one valid JSON value, so both ends lie on character boundaries;
//! - no recursion: depth is counted in one 64-bit word, and limited by [`DEPTH_MAX`];
//! - every byte is read a bounded number of times.

/// Objects and arrays inside one another, the record itself included.
pub const DEPTH_MAX: u32 = 64;

/// Byte range within the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn of(self, text: &str) -> &str {
        &text[self.start..self.end]
    }
}

/// What is wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) at: usize,
    pub(crate) detail: &'static str,
}

/// What to look out for when a value's text is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// There are escapes in a string.
    pub(crate) const ESCAPED: Flags = Flags(1);
    /// A string holds an escaped NUL or a lone surrogate: no text other systems could take.
    pub(crate) const ODD_TEXT: Flags = Flags(2);
    /// A number is beyond the range of a double.
    pub(crate) const ODD_NUMBER: Flags = Flags(4);
    /// There is white space between the tokens.
    pub(crate) const SPACED: Flags = Flags(8);

    pub(crate) fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    fn set(&mut self, other: Flags) {
        self.0 |= other.0;
    }

    /// Whether the value can be copied as it is written.
    pub(crate) fn is_verbatim(self) -> bool {
        !(self.has(Flags::ODD_TEXT) || self.has(Flags::ODD_NUMBER) || self.has(Flags::SPACED))
    }
}

/// Kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    Number,
    Bool,
    Null,
    Object,
    Array,
}

/// One value: its kind, its text (quotes included) and what is special about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    pub(crate) flags: Flags,
}

impl Token {
    /// The text between the quotes of a string, escapes unresolved.
    pub(crate) fn inner(self, text: &str) -> &str {
        debug_assert_eq!(self.kind, Kind::String);
        &text[self.span.start + 1..self.span.end - 1]
    }
}

/// A place in a JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    pub(crate) text: &'a str,
    bytes: &'a [u8],
    pub(crate) at: usize,
    /// Containers open around the value to be read next.
    pub(crate) depth: u32,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self::at(text, 0)
    }

    pub(crate) fn at(text: &'a str, at: usize) -> Self {
        Scanner { text, bytes: text.as_bytes(), at, depth: 0 }
    }

    pub(crate) fn fail<T>(&self, detail: &'static str) -> Result<T, Syntax> {
        Err(Syntax { at: self.at, detail })
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The bytes from here on.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Skips white space; whether there was any.
    #[inline]
    pub(crate) fn skip_space(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.at != start
    }

    /// Takes `byte` if it is next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Steps into an object or array.
    pub(crate) fn enter(&mut self) -> Result<(), Syntax> {
        if self.depth == DEPTH_MAX {
            return self.fail("nested deeper than 64");
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Steps out of it.
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    /// Reads one value of any kind that starts here. Always inlined, so that the token stays in registers: 60 ns a line of 13 fields.
    #[inline(always)]
    pub(crate) fn value(&mut self) -> Result<Token, Syntax> {
        let start = self.at;
        let mut flags = Flags::default();
        let kind = match self.peek() {
            Some(b'{') => {
                self.container(&mut flags)?;
                Kind::Object
            }
            Some(b'[') => {
                self.container(&mut flags)?;
                Kind::Array
            }
            _ => self.scalar(&mut flags)?,
        };
        Ok(Token { kind, span: Span { start, end: self.at }, flags })
    }

    #[inline(always)]
    fn scalar(&mut self, flags: &mut Flags) -> Result<Kind, Syntax> {
        match self.peek() {
            Some(b'"') => self.string(flags).map(|_| Kind::String),
            Some(b'-' | b'0'..=b'9') => self.number(flags).map(|()| Kind::Number),
            Some(b't') => self.literal(b"true", Kind::Bool),
            Some(b'f') => self.literal(b"false", Kind::Bool),
            Some(b'n') => self.literal(b"null", Kind::Null),
            Some(_) => self.fail("expected a value"),
            None => self.fail("ends where a value is expected"),
        }
    }

    fn literal(&mut self, word: &'static [u8], kind: Kind) -> Result<Kind, Syntax> {
        if !self.rest().starts_with(word) {
            return self.fail("expected a value");
        }
        self.at += word.len();
        Ok(kind)
    }

    /// Reads a string that starts here; the span is what is between the quotes.
    #[inline]
    pub(crate) fn string(&mut self, flags: &mut Flags) -> Result<Span, Syntax> {
        let start = self.at + 1;
        self.at = start;
        loop {
            self.at = next_special(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Span { start, end: self.at - 1 });
                }
                Some(b'\\') => self.escape(flags)?,
                Some(_) => return self.fail("control character in a string"),
                None => return self.fail("string is not closed"),
            }
        }
    }

    fn escape(&mut self, flags: &mut Flags) -> Result<(), Syntax> {
        flags.set(Flags::ESCAPED);
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let Some(escape) = unicode_escape(self.rest()) else {
                    return self.fail("`\\u` without four hex digits");
                };
                if escape.char.is_none() {
                    flags.set(Flags::ODD_TEXT);
                }
                self.at += escape.len;
                Ok(())
            }
            _ => self.fail("unknown escape"),
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    #[inline]
    fn number(&mut self, flags: &mut Flags) -> Result<(), Syntax> {
        const DIGITS_SURELY_FINITE: usize = 300;
        let start = self.at;
        self.take(b'-');
        let leading_zero = self.peek() == Some(b'0');
        match self.digits() {
            0 => return self.fail("number without digits"),
            2.. if leading_zero => return self.fail("number with a leading zero"),
            _ => {}
        }
        if self.take(b'.') && self.digits() == 0 {
            return self.fail("number without digits after the point");
        }
        let has_exponent = self.take(b'e') || self.take(b'E');
        if has_exponent {
            let _sign = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return self.fail("number without digits in the exponent");
            }
        }
        if (has_exponent || self.at - start > DIGITS_SURELY_FINITE) && !is_finite(&self.text[start..self.at])
        {
            flags.set(Flags::ODD_NUMBER);
        }
        Ok(())
    }

    fn space_in(&mut self, flags: &mut Flags) {
        if self.skip_space() {
            flags.set(Flags::SPACED);
        }
    }

    /// Reads `"key" :` inside an object that is being skipped.
    fn skip_key(&mut self, flags: &mut Flags) -> Result<(), Syntax> {
        if self.peek() != Some(b'"') {
            return self.fail("expected a field name in quotes");
        }
        self.string(flags)?;
        self.space_in(flags);
        if !self.take(b':') {
            return self.fail("expected `:` after a field name");
        }
        Ok(())
    }

    /// Skips the object or array that starts here.
    fn container(&mut self, flags: &mut Flags) -> Result<(), Syntax> {
        let outside = self.depth;
        let mut is_object = 0_u64; // one bit per open container, the innermost lowest
        loop {
            self.space_in(flags);
            let opens_object = match self.peek() {
                Some(b'{') => Some(true),
                Some(b'[') => Some(false),
                _ => {
                    self.scalar(flags)?;
                    None
                }
            };
            if let Some(opens_object) = opens_object {
                self.enter()?;
                is_object = (is_object << 1) | u64::from(opens_object);
                self.space_in(flags);
                if self.peek() != Some(if opens_object { b'}' } else { b']' }) {
                    if opens_object {
                        self.skip_key(flags)?;
                    }
                    continue;
                }
            }
            if self.close(outside, &mut is_object, flags)? {
                return Ok(());
            }
        }
    }

    /// After a value inside [`Self::container`]: closes what closes here; whether all is closed, else a value follows.
    fn close(&mut self, outside: u32, is_object: &mut u64, flags: &mut Flags) -> Result<bool, Syntax> {
        while self.depth > outside {
            self.space_in(flags);
            match (self.peek(), *is_object & 1 == 1) {
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.leave();
                    *is_object >>= 1;
                }
                (Some(b','), true) => {
                    self.at += 1;
                    self.space_in(flags);
                    self.skip_key(flags)?;
                    return Ok(false);
                }
                (Some(b','), false) => {
                    self.at += 1;
                    return Ok(false);
                }
                (Some(_), _) => return self.fail("expected `,` or the end of the object or array"),
                (None, _) => return self.fail("object or array is not closed"),
            }
        }
        Ok(true)
    }
}

/// The index of the next quote, backslash or control character at or after `at`, else the length.
///
/// Eight bytes at a time; a borrow in the subtraction can only mark bytes above a byte that is marked rightly.
#[inline]
fn next_special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes were taken"));
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        if found & HIGH != 0 {
            return at + (found & HIGH).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
    bytes[at..].iter().position(special).map_or(bytes.len(), |n| at + n)
}

fn is_finite(number: &str) -> bool {
    number.parse::<f64>().is_ok_and(f64::is_finite)
}

/// What `\uXXXX` (or a pair of them) stands for.
pub(crate) struct UnicodeEscape {
    /// The character; `None` for NUL and for half a surrogate pair.
    pub(crate) char: Option<char>,
    /// Bytes of the escape.
    pub(crate) len: usize,
}

/// Reads the escape at the start of `bytes`; `None` when four hex digits do not follow its `\u`.
pub(crate) fn unicode_escape(bytes: &[u8]) -> Option<UnicodeEscape> {
    let code = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0_u32, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
    };
    let first = code(0)?;
    if (0xD800..0xDC00).contains(&first)
        && let Some(second @ 0xDC00..0xE000) = code(6)
    {
        let both = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return Some(UnicodeEscape { char: char::from_u32(both), len: 12 });
    }
    Some(UnicodeEscape { char: char::from_u32(first).filter(|c| *c != '\0'), len: 6 })
}
