//! Tokens: splits a message into words and delimiters, decides which words are variable, and groups lists and quoted text.
//!
//! Two levels:
//! - [`scan`] yields *raw* tokens from the bytes alone; their hash ([`shape_hash`]) is the fast path of the miner;
//! - [`refine`] groups raw tokens (quoted text, lists) and marks the words that are names by their form.
//!
//! Invariant: `refine` decides by what the shape hash covers (kinds, constants, order), never by the content of a slot, so messages
//! with equal raw shapes have equal refined tokens. White space is not kept: a gap of any length is one gap.

use std::ops::Range;

use super::limits::{HEAD_LINES_MAX, MESSAGE_BYTES_MAX, TOKENS_MAX, TRACE_BYTES_MAX};

const SPACE: u8 = 1;
const DELIMITER: u8 = 2;
const DIGIT: u8 = 4;
/// Set on every word byte that is not a hexadecimal digit.
const NOT_HEX: u8 = 8;

/// Byte classes. Delimiters are the marks that join values to words in logs of all systems (`k=v`, `host:port`, `(…)`, `[…]`, lists);
/// `- _ . / @ # *` stay inside words, where they bind parts of one name. Control characters count as white space.
const CLASS: [u8; 256] = {
    let mut class = [NOT_HEX; 256];
    let mut b = 0;
    while b <= 0x20 {
        class[b] = SPACE;
        b += 1;
    }
    class[0x7f] = SPACE;
    let delimiters = b"=:,;()[]{}\"'|<>";
    let mut i = 0;
    while i < delimiters.len() {
        class[delimiters[i] as usize] = DELIMITER;
        i += 1;
    }
    let hex = b"0123456789abcdefABCDEF";
    let mut i = 0;
    while i < hex.len() {
        class[hex[i] as usize] = if i < 10 { DIGIT } else { 0 };
        i += 1;
    }
    class
};

/// What a raw token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RawKind {
    /// A word kept as it is.
    Word,
    /// A variable word; `prefix` bytes of it are constant (`blk_` of `blk_17`).
    Slot,
    /// One delimiter byte.
    Delimiter,
    /// What the limits cut off.
    Rest,
}

/// One raw token; positions are bytes in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawToken {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) prefix: usize,
    pub(super) kind: RawKind,
    pub(super) gap: bool,
}

/// The parts of a message that are mined.
struct Head {
    /// Bytes from the start of the message: the first line that holds a letter, and what stands before it.
    length: usize,
    /// A second part further on: the line of a Python traceback that names the exception.
    second: Option<Range<usize>>,
    /// Whether anything but white space follows.
    rest: bool,
}

/// Finds the parts of a message that tell what happened. A trace of calls is no part of them: its depth varies.
fn head(message: &str) -> Head {
    let bytes = message.as_bytes();
    let limit = message.floor_char_boundary(MESSAGE_BYTES_MAX);
    let mut start = 0;
    for _ in 0..HEAD_LINES_MAX {
        let Some(line) = memchr::memchr(b'\n', &bytes[start..limit]) else { break };
        let end = start + line;
        if bytes[start..end].iter().any(u8::is_ascii_alphabetic) {
            return head_of_lines(message, start..end, limit);
        }
        start = end + 1;
    }
    Head { length: limit, second: None, rest: limit < bytes.len() }
}

/// The head of a message of several lines, the first telling one of which is `line`.
#[cold]
fn head_of_lines(message: &str, line: Range<usize>, limit: usize) -> Head {
    let bytes = message.as_bytes();
    let text = bytes[line.clone()].trim_ascii_end();
    let (mut length, mut second) = (line.end, None);
    if text.ends_with(b"(most recent call last):") {
        second = exception_line(message, line.end);
    } else if text.starts_with(b"thread '") && text.ends_with(b":") {
        // Rust: "thread 'main' panicked at src/main.rs:2:5:", the message on the next line
        let next = line.end + 1;
        length = memchr::memchr(b'\n', &bytes[next.min(limit)..limit]).map_or(limit, |end| next + end);
    }
    let end = second.as_ref().map_or(length, |line| line.end);
    Head { length, second, rest: bytes[end..].iter().any(|b| CLASS[usize::from(*b)] != SPACE) }
}

/// The first line after `at` that is not indented: the frames of a Python traceback are, the exception is not.
fn exception_line(message: &str, at: usize) -> Option<Range<usize>> {
    let bytes = message.as_bytes();
    let searched = &bytes[..bytes.len().min(at + TRACE_BYTES_MAX)];
    let start = memchr::memchr_iter(b'\n', &searched[at..])
        .map(|newline| at + newline + 1)
        .find(|&start| searched.get(start).is_some_and(|b| CLASS[usize::from(*b)] != SPACE))?;
    let limit = message.floor_char_boundary(start + MESSAGE_BYTES_MAX);
    Some(start..memchr::memchr(b'\n', &bytes[start..limit]).map_or(limit, |end| start + end))
}

/// Where a scan stands.
struct Scanner<S> {
    sink: S,
    at: usize,
    gap: bool,
    count: usize,
}

/// Gives the raw tokens of a message to `sink`, in order.
#[inline(always)]
pub(super) fn scan(message: &str, sink: impl FnMut(&[u8], RawToken)) {
    let head = head(message);
    let bytes = message.as_bytes();
    let mut scanner = Scanner { sink, at: 0, gap: false, count: 0 };
    let mut rest = head.rest;
    if !scanner.piece(&bytes[..head.length]) {
        rest = true;
    } else if let Some(second) = head.second {
        scanner.rest(&bytes[..second.start]);
        (scanner.at, scanner.gap) = (second.start, true);
        rest |= !scanner.piece(&bytes[..second.end]);
    }
    if rest {
        scanner.rest(bytes);
    }
}

impl<S: FnMut(&[u8], RawToken)> Scanner<S> {
    /// Splits `bytes` from where the scan stands; `false` when the limit of tokens was reached before their end.
    #[inline(always)]
    fn piece(&mut self, bytes: &[u8]) -> bool {
        let length = bytes.len();
        while self.at < length {
            let class = CLASS[usize::from(bytes[self.at])];
            if class == SPACE {
                self.gap = true;
                self.at += 1;
                continue;
            }
            if self.count == TOKENS_MAX {
                return false;
            }
            self.count += 1;
            let (start, gap) = (self.at, self.gap);
            if class == DELIMITER {
                self.at += 1;
                (self.sink)(
                    bytes,
                    RawToken { start, end: self.at, prefix: 0, kind: RawKind::Delimiter, gap },
                );
            } else {
                let mut seen = 0;
                let mut at = start;
                while at < length {
                    let class = CLASS[usize::from(bytes[at])];
                    if class & (SPACE | DELIMITER) != 0 {
                        break;
                    }
                    seen |= class;
                    at += 1;
                }
                let (kind, prefix) = match clock_end(bytes, start, at) {
                    Some(end) if seen & DIGIT != 0 => {
                        at = end;
                        (RawKind::Slot, 0)
                    }
                    _ => classify(bytes, start, at, seen),
                };
                self.at = at;
                (self.sink)(bytes, RawToken { start, end: at, prefix, kind, gap });
            }
            self.gap = false;
        }
        true
    }

    /// Makes one token of what is left of `bytes`, white space at both ends aside.
    #[cold]
    fn rest(&mut self, bytes: &[u8]) {
        let is_space = |b: &u8| CLASS[usize::from(*b)] == SPACE;
        let space = bytes[self.at..].iter().take_while(|b| is_space(b)).count();
        let start = self.at + space;
        let end = bytes.len() - bytes[start..].iter().rev().take_while(|b| is_space(b)).count();
        if start < end {
            let gap = self.gap || space > 0;
            (self.sink)(bytes, RawToken { start, end, prefix: 0, kind: RawKind::Rest, gap });
            (self.at, self.gap) = (end, false);
        }
    }
}

/// Decides whether a word is variable by its letters alone.
///
/// - A word with a digit is variable: numbers, addresses, identifiers, sizes, durations, versions. Functions may have one digit.
/// - A word of eight or more hexadecimal letters is a hexadecimal number that happens to have no digit (`ffffffff`).
/// - Two hexadecimal letters tied by `:` to a neighbour are a byte of a hardware address (`00:1b:ba:c3`).
#[inline(always)]
fn classify(bytes: &[u8], start: usize, end: usize, seen: u8) -> (RawKind, usize) {
    if seen & DIGIT != 0 {
        if bytes.get(end) == Some(&b'(') && is_function(&bytes[start..end]) {
            return (RawKind::Word, 0);
        }
        return (RawKind::Slot, constant_prefix(&bytes[start..end]));
    }
    if seen & NOT_HEX == 0 && (end - start >= 8 || (end - start == 2 && tied_by_colon(bytes, start, end))) {
        return (RawKind::Slot, 0);
    }
    (RawKind::Word, 0)
}

/// Whether a word before `(` is rather the name of a function (`jk2_init(`) than a value (`node12(`): it has one digit, not at an end.
fn is_function(word: &[u8]) -> bool {
    let inner = word.len() > 2 && word[0].is_ascii_alphabetic() && !word[word.len() - 1].is_ascii_digit();
    inner && word.iter().filter(|b| b.is_ascii_digit()).count() == 1
}

/// Length of the constant beginning of a variable word: letters up to and including the first `_ - # / @` (`blk_`, `node-`, `CPU#`),
/// or the `/` before an address (`/10.2.3.4`; a path is variable as a whole). None when the letters may themselves be hexadecimal digits of an identifier.
#[inline(always)]
fn constant_prefix(word: &[u8]) -> usize {
    let letters = word.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    match word.get(letters) {
        Some(b'/') if letters == 0 => usize::from(memchr::memchr(b'/', &word[1..]).is_none()),
        Some(b'_' | b'-' | b'#' | b'/' | b'@') if letters > 0 => {
            let hex = letters >= 4 && word[..letters].iter().all(u8::is_ascii_hexdigit);
            if hex { 0 } else { letters + 1 }
        }
        _ => 0,
    }
}

#[cold]
fn tied_by_colon(bytes: &[u8], start: usize, end: usize) -> bool {
    let before = start > 0 && bytes[start - 1] == b':';
    let after = bytes.get(end) == Some(&b':')
        && bytes.get(end + 1).is_some_and(|b| CLASS[usize::from(*b)] & !DIGIT == 0);
    before || after
}

/// End of the time of day or duration that begins in the word `start..end`: `07:15`, `07:15:02`, `07:15:02,123`, `2024-05-01T07:15:02.5Z`.
/// Two digits a part, at most three parts; more are a hardware address.
#[inline(always)]
fn clock_end(bytes: &[u8], start: usize, end: usize) -> Option<usize> {
    if bytes.get(end) == Some(&b':') { clock_end_at_colon(bytes, start, end) } else { None }
}

fn clock_end_at_colon(bytes: &[u8], start: usize, end: usize) -> Option<usize> {
    let digits = |at: usize| bytes.get(at..at + 2).is_some_and(|pair| pair.iter().all(u8::is_ascii_digit));
    let hour = end.checked_sub(2).filter(|&at| at >= start && digits(at))?;
    let opens = if hour == start { start == 0 || bytes[start - 1] != b':' } else { bytes[hour - 1] == b'T' };
    let part = |at: usize| bytes.get(at) == Some(&b':') && digits(at + 1);
    if !opens || !part(end) {
        return None;
    }
    let minutes_end = end + 3;
    let seconds_end = if part(minutes_end) { minutes_end + 3 } else { minutes_end };
    let comma = bytes.get(seconds_end) == Some(&b',') && digits(seconds_end + 1);
    let fraction = seconds_end + usize::from(comma);
    let tail =
        bytes[fraction..].iter().take_while(|b| CLASS[usize::from(**b)] & (SPACE | DELIMITER) == 0).count();
    let clock_end = fraction + tail;
    let goes_on = bytes.get(clock_end) == Some(&b':')
        && bytes.get(clock_end + 1).is_some_and(u8::is_ascii_alphanumeric);
    (!goes_on).then_some(clock_end)
}

const HASH_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes `value` into `hash`: folded 64 x 64 -> 128 bit multiplication, as in wyhash and foldhash.
#[inline(always)]
pub(super) fn mix(hash: u64, value: u64) -> u64 {
    let product = u128::from(hash ^ value) * u128::from(HASH_MULTIPLIER);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    let folded = (product as u64) ^ ((product >> 64) as u64);
    folded.rotate_left(23).wrapping_add(value)
}

/// Mixes a byte string and its length into `hash`.
#[inline(always)]
pub(super) fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let mut hash = hash ^ (length as u64) << 56;
    if length >= 8 {
        let mut at = 0;
        while at + 8 < length {
            hash = mix(hash, word64(&bytes[at..at + 8]));
            at += 8;
        }
        mix(hash, word64(&bytes[length - 8..]))
    } else if length >= 4 {
        let (low, high) = (word32(&bytes[..4]), word32(&bytes[length - 4..]));
        mix(hash, low | high << 32)
    } else {
        let (first, last) = (bytes.first().copied().unwrap_or(0), bytes.last().copied().unwrap_or(0));
        let middle = bytes.get(length / 2).copied().unwrap_or(0);
        mix(hash, u64::from(first) | u64::from(middle) << 8 | u64::from(last) << 16)
    }
}

#[inline(always)]
fn word64(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("the caller slices eight bytes"))
}

#[inline(always)]
fn word32(bytes: &[u8]) -> u64 {
    u64::from(u32::from_le_bytes(bytes.try_into().expect("the caller slices four bytes")))
}

/// Puts the raw tokens of a message into `raw` and returns the hash of its raw shape: kinds, constants and gaps; slot contents do not
/// count. `None` when there is no token at all.
#[inline]
pub(super) fn shape_hash(seed: u64, message: &str, raw: &mut Vec<RawToken>) -> Option<u64> {
    let mut hash = mix(seed, 0x5348_4150);
    raw.clear();
    scan(message, |bytes, token| {
        let gap = u64::from(token.gap);
        hash = match token.kind {
            RawKind::Word => mix_bytes(hash ^ (1 | gap << 4), &bytes[token.start..token.end]),
            RawKind::Slot if token.prefix == 0 => mix(hash, 2 | gap << 4),
            RawKind::Slot => {
                mix_bytes(hash ^ (3 | gap << 4), &bytes[token.start..token.start + token.prefix])
            }
            RawKind::Delimiter => mix(hash, 4 | gap << 4 | u64::from(bytes[token.start]) << 8),
            RawKind::Rest => mix(hash, 5 | gap << 4),
        };
        raw.push(token);
    });
    (!raw.is_empty()).then_some(hash)
}

/// Whether two byte strings are equal: for short ones faster than a call of `memcmp`.
#[inline(always)]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let length = a.len();
    if length != b.len() {
        return false;
    }
    if length >= 8 {
        let mut at = 0;
        while at + 8 < length {
            if word64(&a[at..at + 8]) != word64(&b[at..at + 8]) {
                return false;
            }
            at += 8;
        }
        word64(&a[length - 8..]) == word64(&b[length - 8..])
    } else if length >= 4 {
        word32(&a[..4]) == word32(&b[..4]) && word32(&a[length - 4..]) == word32(&b[length - 4..])
    } else {
        a.iter().zip(b).all(|(a, b)| a == b)
    }
}

/// A refined token: what a template is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// First byte in the message.
    pub(super) start: usize,
    /// Byte after the last.
    pub(super) end: usize,
    /// Constant bytes at the start of a slot; the whole length of a word or delimiter.
    pub(super) constant: usize,
    pub(super) kind: TokenKind,
    /// White space stands before it.
    pub(super) gap: bool,
}

/// What a refined token is, and how readily it is taken for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A word that is constant until it is seen to vary.
    Word,
    /// A word whose form says that it names a thing (path, qualified name, address, quoted text): two of them are the same template.
    Name,
    Slot,
    Delimiter,
}

/// The template tokens of a message.
pub(super) fn refined(message: &str) -> Vec<Token> {
    let mut raw = Vec::with_capacity(32);
    scan(message, |_, token| raw.push(token));
    refine(message, &raw)
}

/// Groups the raw tokens of a message into template tokens.
pub(super) fn refine(message: &str, raw: &[RawToken]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(raw.len());
    let line = Line { message, raw };
    let mut at = 0;
    while at < raw.len() {
        if let Some(close) = line.quotation(at) {
            tokens.push(plain(raw[at], TokenKind::Delimiter));
            tokens.push(quoted(&raw[at + 1..close]));
            tokens.push(plain(raw[close], TokenKind::Delimiter));
            at = close + 1;
        } else if line.is_indexed_name(at) {
            let constant = raw[at].end - raw[at].start;
            tokens.push(Token { end: raw[at + 3].end, constant, ..plain(raw[at], TokenKind::Slot) });
            at += 4;
        } else if let Some(end) = line.quantity_end(at) {
            tokens.push(Token { end: raw[end - 1].end, constant: 0, ..plain(raw[at], TokenKind::Slot) });
            at = end;
        } else if line.is_byte_count(at) {
            let end = line.restatement_end(at + 1);
            tokens.push(plain(raw[at], TokenKind::Word));
            tokens.push(optional(raw[at].end, raw[end - 1].end));
            at = end;
        } else {
            tokens.push(plain(raw[at], line.kind(at)));
            if line.is_empty_value_after(at) {
                tokens.push(optional(raw[at].end, raw[at].end));
            }
            at += 1;
        }
    }
    mark_dates(message, &mut tokens);
    collapse_lists(message, &mut tokens);
    tokens
}

/// Which raw tokens each template token of a shape is made of: the same for all messages of the shape, see the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Every template token is one raw token.
    Plain,
    /// Per template token how many raw tokens it ends after, with [`Plan::FROM_PREVIOUS`] when it begins where the one before it ends.
    Grouped(Box<[u16]>),
}

const _: () = assert!(TOKENS_MAX + 2 < Plan::FROM_PREVIOUS as usize);

impl Plan {
    /// Marks a token that begins where the one before it ends.
    pub(super) const FROM_PREVIOUS: u16 = 1 << 15;

    pub(super) fn new(raw: &[RawToken], tokens: &[Token]) -> Self {
        let alike = |(raw, token): (&RawToken, &Token)| (raw.start, raw.end) == (token.start, token.end);
        if raw.len() == tokens.len() && raw.iter().zip(tokens).all(alike) {
            return Plan::Plain;
        }
        let mut used = 0;
        let ends = tokens.iter().map(|token| {
            let begins_there = raw.get(used).is_some_and(|raw| raw.start == token.start);
            used += raw[used..].iter().take_while(|raw| raw.end <= token.end).count();
            let number = u16::try_from(used).expect("at most TOKENS_MAX and two rests");
            if begins_there && token.start < token.end { number } else { number | Plan::FROM_PREVIOUS }
        });
        Plan::Grouped(ends.collect())
    }
}

fn plain(raw: RawToken, kind: TokenKind) -> Token {
    let constant = if kind == TokenKind::Slot { raw.prefix } else { raw.end - raw.start };
    Token { start: raw.start, end: raw.end, constant, kind, gap: raw.gap }
}

/// A value that may be missing: a slot with its white space, or an empty name.
fn optional(start: usize, end: usize) -> Token {
    let kind = if start == end { TokenKind::Name } else { TokenKind::Slot };
    Token { start, end, constant: 0, kind, gap: false }
}

/// All that is inside a quotation, as one token.
fn quoted(inner: &[RawToken]) -> Token {
    let (first, last) = (inner[0], inner[inner.len() - 1]);
    let slot = inner.iter().any(|t| t.kind == RawKind::Slot);
    let kind = if slot { TokenKind::Slot } else { TokenKind::Name };
    let constant = if slot { 0 } else { last.end - first.start };
    Token { start: first.start, end: last.end, constant, kind, gap: first.gap }
}

/// Raw tokens one quotation may span; a lone quote mark further from its twin is an ordinary delimiter.
const QUOTED_TOKENS_MAX: usize = 24;

/// Verbs of HTTP; `"GET /x HTTP/1.1"` is a sentence, not a value, and another verb is another event.
const HTTP_METHODS: [&str; 9] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
/// Words after which the thing itself is named.
const DIRECTIONS: [&str; 8] = ["to", "from", "for", "by", "at", "on", "via", "with"];
/// Units that programs choose by the size of the number before them; number and unit are one value.
const UNITS: [&str; 25] = [
    "B", "KB", "MB", "GB", "TB", "PB", "kB", "KiB", "MiB", "GiB", "TiB", "K", "M", "G", "T", "ns", "us",
    "ms", "s", "sec", "secs", "min", "mins", "h", "hrs",
];

/// Whether a word is a verb of HTTP.
pub(super) fn is_http_method(word: &str) -> bool {
    HTTP_METHODS.contains(&word)
}

/// The raw tokens of a message with their text.
struct Line<'a> {
    message: &'a str,
    raw: &'a [RawToken],
}

impl Line<'_> {
    fn text(&self, at: usize) -> &str {
        &self.message[self.raw[at].start..self.raw[at].end]
    }

    /// The delimiter at `at`, if there is one.
    fn delimiter(&self, at: usize) -> Option<u8> {
        let token = self.raw.get(at).filter(|t| t.kind == RawKind::Delimiter)?;
        Some(self.message.as_bytes()[token.start])
    }

    /// The delimiter at `at`, if no white space stands before it.
    fn glued(&self, at: usize) -> Option<u8> {
        self.delimiter(at).filter(|_| !self.raw[at].gap)
    }

    fn is_glued_slot(&self, at: usize) -> bool {
        self.raw.get(at).is_some_and(|t| t.kind == RawKind::Slot && !t.gap)
    }

    fn is_word_of(&self, at: usize, words: &[&str]) -> bool {
        self.raw[at].kind == RawKind::Word && words.contains(&self.text(at))
    }

    fn kind(&self, at: usize) -> TokenKind {
        match self.raw[at].kind {
            RawKind::Word if self.is_endpoint_host(at) => TokenKind::Slot,
            RawKind::Word if self.is_name(at) => TokenKind::Name,
            RawKind::Word => TokenKind::Word,
            RawKind::Slot | RawKind::Rest => TokenKind::Slot,
            RawKind::Delimiter => TokenKind::Delimiter,
        }
    }

    /// When a quotation opens at `at`, the index of the mark that closes it. Quoted text is one value, however many words it has.
    /// A mark opens after a gap or delimiter and closes before one (`can't` is no quotation). Quoted keys (`"k":`) and HTTP requests
    /// are not values.
    fn quotation(&self, at: usize) -> Option<usize> {
        let open = self.delimiter(at).filter(|mark| matches!(mark, b'"' | b'\''))?;
        if at > 0 && !self.raw[at].gap && self.delimiter(at - 1).is_none() {
            return None;
        }
        let last = self.raw.len().min(at + 2 + QUOTED_TOKENS_MAX);
        let closes = |i: usize| self.raw.get(i + 1).is_none_or(|next| next.gap || next.kind != RawKind::Word);
        let close = (at + 1..last).find(|&i| self.delimiter(i) == Some(open) && closes(i))?;
        let sentence = self.glued(close + 1) == Some(b':') || self.is_word_of(at + 1, &HTTP_METHODS);
        (close > at + 1 && !sentence).then_some(close)
    }

    /// `LOCAL(0)` after "to", "from" …: a thing with an index, where other lines have an address. Elsewhere it may be a call.
    fn is_indexed_name(&self, at: usize) -> bool {
        self.raw[at].kind == RawKind::Word
            && at > 0
            && self.is_word_of(at - 1, &DIRECTIONS)
            && self.glued(at + 1) == Some(b'(')
            && self.is_glued_slot(at + 2)
            && self.glued(at + 3) == Some(b')')
    }

    /// When a number with its unit stands at `at` (`1.5 KB`, `<1 sec`), the index after the unit.
    fn quantity_end(&self, at: usize) -> Option<usize> {
        let less_or_more = matches!(self.delimiter(at), Some(b'<' | b'>')) && self.is_glued_slot(at + 1);
        let slot = at + usize::from(less_or_more);
        let number = self.raw[slot].kind == RawKind::Slot && self.raw[slot].prefix == 0;
        let unit = self.raw.get(slot + 1).is_some_and(|unit| unit.gap) && self.is_word_of(slot + 1, &UNITS);
        (number && unit && self.glued(slot + 2) != Some(b'=')).then_some(slot + 2)
    }

    /// Whether `at` is the word "bytes" after a number.
    fn is_byte_count(&self, at: usize) -> bool {
        at > 0 && self.raw[at - 1].kind == RawKind::Slot && self.is_word_of(at, &["bytes"])
    }

    /// End of the same size in larger units, in parentheses, if it stands at `at`: `1190 bytes (1.16 KB)`. Programs leave it out when
    /// the size is small.
    fn restatement_end(&self, at: usize) -> usize {
        let inner = |i: usize| {
            let value =
                self.raw.get(i).is_some_and(|t| t.kind == RawKind::Slot) || self.delimiter(i) == Some(b',');
            value || (i < self.raw.len() && self.is_word_of(i, &UNITS))
        };
        let mut end = at + 1;
        while self.delimiter(at) == Some(b'(') && inner(end) {
            end += 1;
        }
        if end > at + 2 && self.delimiter(end) == Some(b')') { end + 1 } else { at }
    }

    /// Whether a value is missing after `at`: `key=` before a gap or a delimiter, or ` ()` (`f()` is a function instead).
    fn is_empty_value_after(&self, at: usize) -> bool {
        let next = self.raw.get(at + 1);
        match self.delimiter(at) {
            Some(b'=') => {
                let key = at > 0 && !self.raw[at].gap && self.raw[at - 1].kind == RawKind::Word;
                key && (next.is_none_or(|n| n.gap)
                    || matches!(self.delimiter(at + 1), Some(b',' | b';' | b')' | b']' | b'}')))
            }
            Some(b'(') => self.raw[at].gap && self.glued(at + 1) == Some(b')'),
            Some(b'[') => self.glued(at + 1) == Some(b']'),
            _ => false,
        }
    }

    /// Whether a word without digits names a thing by its form or place:
    /// - a path, a host or package name (two or more inner dots), an address with `@`;
    /// - a lower-case word with one inner dot where a value stands: `host.tld:443`, `rhost=host.tld`, "from host.tld".
    ///
    /// A word before `(` is a function and constant, and one before `=` is a key.
    fn is_name(&self, at: usize) -> bool {
        let word = self.text(at).as_bytes();
        if matches!(self.glued(at + 1), Some(b'(' | b'=')) {
            return false;
        }
        if !word.iter().any(u8::is_ascii_alphabetic) || word.windows(2).any(|pair| pair == b"..") {
            return false;
        }
        let inner = word.get(1..word.len() - 1).unwrap_or(&[]);
        let count = |b: u8| inner.iter().filter(|x| **x == b).count();
        let path =
            matches!(word[0], b'/' | b'~' | b'\\') && word.len() > 1 || count(b'/') >= 2 || count(b'\\') >= 2;
        let dotted = count(b'.') >= 2
            || (count(b'.') == 1 && word.iter().all(is_host_byte) && self.is_value_place(at));
        path || dotted || count(b'@') == 1
    }

    /// The host of `host.example.com:443`: variable like an address. Fewer dots may be a place in source code (`main.c:12`).
    fn is_endpoint_host(&self, at: usize) -> bool {
        let host = self.text(at).as_bytes();
        let dots = host.iter().filter(|b| **b == b'.').count();
        dots >= 2 && host.iter().all(is_host_byte) && self.is_port(at + 1)
    }

    fn is_port(&self, at: usize) -> bool {
        self.glued(at) == Some(b':') && self.is_glued_slot(at + 1)
    }

    fn is_value_place(&self, at: usize) -> bool {
        self.is_port(at + 1)
            || at > 0 && (self.delimiter(at - 1) == Some(b'=') || self.is_word_of(at - 1, &DIRECTIONS))
    }
}

fn is_host_byte(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || matches!(byte, b'.' | b'-' | b'_')
}

const DATE_WORDS: [&str; 19] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Mon", "Tue", "Wed",
    "Thu", "Fri", "Sat", "Sun",
];

/// Month and weekday names before a number (or before another such name) are part of a date.
fn mark_dates(message: &str, tokens: &mut [Token]) {
    for at in (0..tokens.len().saturating_sub(1)).rev() {
        let token = tokens[at];
        let date = token.end - token.start == 3
            && token.kind == TokenKind::Word
            && DATE_WORDS.contains(&&message[token.start..token.end]);
        if date && tokens[at + 1].kind == TokenKind::Slot && tokens[at + 1].constant == 0 {
            tokens[at].kind = TokenKind::Slot;
            tokens[at].constant = 0;
        }
    }
}

/// Slots a list needs to become one slot. Two neighbours are more often two fields; three and more vary in number.
const LIST_SLOTS_MIN: usize = 3;
/// Parts an address needs to become one slot (`00:1b:44:11:3a:b7`, IPv6); a time of day has three.
const ADDRESS_SLOTS_MIN: usize = 4;

/// Turns runs of slots that are joined alike (by white space, `,` or `:`) into one slot, so that lists of different length agree, and
/// shortened IPv6 addresses (`::1`, `fe80::1b:2`) as well.
fn collapse_lists(message: &str, tokens: &mut Vec<Token>) {
    for at in 0.. {
        let Some(first) = tokens.get(at) else { break };
        let end = match list_end(message, tokens, at) {
            (end, LIST_SLOTS_MIN..) => end,
            _ => address_end(message, tokens, at).unwrap_or(at + 1),
        };
        if end > at + 1 {
            tokens[at] = Token { end: tokens[end - 1].end, constant: 0, kind: TokenKind::Slot, ..*first };
            tokens.drain(at + 1..end);
        }
    }
}

/// End (exclusive) of the address with `::` that starts at `at`; names joined by `::` are none.
fn address_end(message: &str, tokens: &[Token], at: usize) -> Option<usize> {
    let colon =
        |i: usize| tokens[i].kind == TokenKind::Delimiter && message.as_bytes()[tokens[i].start] == b':';
    let apart = at == 0 || tokens[at].gap || tokens[at - 1].kind == TokenKind::Delimiter && !colon(at - 1);
    let part = |i: usize| tokens[i].kind == TokenKind::Slot && tokens[i].constant == 0 || colon(i);
    if !apart || !part(at) {
        return None;
    }
    let end = (at + 1..tokens.len()).find(|&i| tokens[i].gap || !part(i)).unwrap_or(tokens.len());
    let shortened = (at + 1..end).any(|i| colon(i) && colon(i - 1));
    let named = tokens.get(end).is_some_and(|next| !next.gap && next.kind != TokenKind::Delimiter);
    (shortened && !named && tokens[end - 1].kind == TokenKind::Slot).then_some(end)
}

/// End (exclusive) and number of slots of the longest list of slots that starts at `at`.
fn list_end(message: &str, tokens: &[Token], at: usize) -> (usize, usize) {
    let slot = |i: usize| tokens.get(i).is_some_and(|t| t.kind == TokenKind::Slot);
    let joined = |i: usize, by: u8| {
        tokens[i].kind == TokenKind::Delimiter && message.as_bytes()[tokens[i].start] == by && slot(i + 1)
    };
    if !slot(at) {
        return (at, 0);
    }
    let mut best = (at + 1, 1);
    for by in [b' ', b',', b':'] {
        let (mut end, mut slots) = (at + 1, 1);
        while end < tokens.len() {
            if by == b' ' && slot(end) && tokens[end].gap {
                end += 1;
            } else if by != b' '
                && joined(end, by)
                && !tokens[end].gap
                && (by == b',' || !tokens[end + 1].gap)
            {
                end += 2;
            } else {
                break;
            }
            slots += 1;
        }
        let enough = by != b':' || slots >= ADDRESS_SLOTS_MIN;
        if enough && slots > best.1 {
            best = (end, slots);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(message: &str) -> String {
        refined(message)
            .iter()
            .map(|t| {
                let constant = &message[t.start..t.start + t.constant];
                match t.kind {
                    TokenKind::Word | TokenKind::Delimiter => constant.to_owned(),
                    TokenKind::Name => format!("«{constant}»"),
                    TokenKind::Slot => format!("{constant}<*>"),
                }
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[track_caller]
    fn check(message: &str, tokens: &str) {
        assert_eq!(render(message), tokens);
    }

    #[test]
    fn words_with_digits_are_slots_and_keep_a_constant_prefix() {
        check(
            "Received block blk_-17 of size 67108864 from /10.2.3.4",
            "Received block blk_<*> of size <*> from /<*>",
        );
        check("vis=ffffffff id=0x1f took 12ms", "vis = <*> id = <*> took <*>");
        check("id deadbeef-12 bad-12", "id <*> bad-<*>");
    }

    #[test]
    fn addresses_and_lists_are_one_slot() {
        check("from 00:11:43:e3:ba:c3 via eth1", "from <*> via <*>");
        check("IRQs 3 4 5 6 7", "IRQs <*>");
        check(
            "proxy.example.org:80 main.c:12 proxy.example.org",
            "<*> : <*> «main.c» : <*> «proxy.example.org»",
        );
        check("from ::1 port fe80::1b:2", "from <*> port <*>");
        check("wl0::post en0::IO80211Interface::post()", "<*> : : post <*> : : <*> : : post ( )");
        check("ids 1,2,3,4 end", "ids <*> end");
        check("at 10:11:12,123 to 10.0.0.1:80", "at <*> to <*> : <*>");
        check("2024-05-01T07:15:02.5Z 00:02 1:02", "<*> : <*>");
        check("at Fri Jun 17 07:07:00 2005", "at <*>");
    }

    #[test]
    fn names_are_known_by_their_form() {
        check(
            "open /etc/xinetd.d/chargen by com.example.app.Main",
            "open «/etc/xinetd.d/chargen» by «com.example.app.Main»",
        );
        check("tag=\"View Lock\" can't 'a b' x", "tag = \" «View Lock» \" can ' t ' «a b» ' x");
        check(
            "from zummit.com as foo.bar rhost=zummit.com",
            "from «zummit.com» as foo.bar rhost = «zummit.com»",
        );
        check("size 3.5 KB in KB", "size <*> in KB");
        check("<1 sec", "<*>");
        check("sent 9 bytes, 2048 bytes (2.0 KB) got", "sent <*> bytes «» , <*> bytes <*> got");
        check("{\"key\":\"some value\"}", "{ \" key \" : \" «some value» \" }");
    }

    #[test]
    fn values_may_be_missing_or_indexed() {
        check("from 1.2.3.4 () at f()", "from <*> ( «» ) at f ( )");
        check("logname= uid=0 rhost=", "logname = «» uid = <*> rhost = «»");
        check("synchronized to LOCAL(0), read(0)", "synchronized to LOCAL<*> , read ( <*> )");
    }

    #[test]
    fn an_http_request_is_a_sentence() {
        check("\"GET /a/b HTTP/1.1\" 200", "\" GET «/a/b» HTTP/<*> \" <*>");
    }

    #[test]
    fn head_is_the_first_line_with_a_letter() {
        check("---\nboom: x\n at y", "--- boom : x <*>");
        check("boom\n", "boom");
    }
}
