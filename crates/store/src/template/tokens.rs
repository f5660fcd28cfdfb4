//! Tokens: splits a message into words and delimiters, decides which words are variable, and groups lists and quoted text.
//!
//! Two levels:
//! - [`scan`] yields *raw* tokens from the bytes alone; their hash ([`shape_hash`]) is the fast path of the miner;
//! - [`refine`] groups raw tokens (quoted text, lists) and marks the words that are names by their form.
//!
//! Invariant: `refine` decides by what the shape hash covers (kinds, constants, order), never by the content of a slot, so messages
//! with equal raw shapes have equal refined tokens. White space is not kept: a gap of any length is one gap.

use super::limits::{HEAD_LINES_MAX, MESSAGE_BYTES_MAX, TOKENS_MAX};

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

/// The part of a message that is mined: up to the end of the first line that holds a letter, within the limits.
/// Returns its length in bytes and whether anything but white space follows.
fn head(message: &str) -> (usize, bool) {
    let bytes = message.as_bytes();
    let limit = message.floor_char_boundary(MESSAGE_BYTES_MAX);
    let mut start = 0;
    for _ in 0..HEAD_LINES_MAX {
        let Some(line) = memchr::memchr(b'\n', &bytes[start..limit]) else { break };
        let end = start + line;
        if bytes[start..end].iter().any(u8::is_ascii_alphabetic) {
            return (end, bytes[end..].iter().any(|b| CLASS[usize::from(*b)] != SPACE));
        }
        start = end + 1;
    }
    (limit, limit < bytes.len())
}

/// Gives the raw tokens of a message to `sink`, in order.
#[inline(always)]
pub(super) fn scan(message: &str, mut sink: impl FnMut(&[u8], RawToken)) {
    let (length, mut rest) = head(message);
    let bytes = &message.as_bytes()[..length];
    let (mut at, mut gap, mut count) = (0, false, 0);
    while at < length {
        let class = CLASS[usize::from(bytes[at])];
        if class == SPACE {
            gap = true;
            at += 1;
            continue;
        }
        if count == TOKENS_MAX {
            rest = true;
            break;
        }
        count += 1;
        let start = at;
        if class == DELIMITER {
            at += 1;
            sink(bytes, RawToken { start, end: at, prefix: 0, kind: RawKind::Delimiter, gap });
        } else {
            let mut seen = 0;
            while at < length {
                let class = CLASS[usize::from(bytes[at])];
                if class & (SPACE | DELIMITER) != 0 {
                    break;
                }
                seen |= class;
                at += 1;
            }
            let (kind, prefix) = classify(bytes, start, at, seen);
            sink(bytes, RawToken { start, end: at, prefix, kind, gap });
        }
        gap = false;
    }
    if rest {
        let all = message.as_bytes();
        let gap = gap || all.get(at).is_some_and(|b| CLASS[usize::from(*b)] == SPACE);
        sink(bytes, RawToken { start: at, end: all.len(), prefix: 0, kind: RawKind::Rest, gap });
    }
}

/// Decides whether a word is variable by its letters alone.
///
/// - A word with a digit is variable: numbers, addresses, identifiers, sizes, durations, versions.
/// - A word of eight or more hexadecimal letters is a hexadecimal number that happens to have no digit (`ffffffff`).
/// - Two hexadecimal letters tied by `:` to a neighbour are a byte of a hardware address (`00:1b:ba:c3`).
#[inline(always)]
fn classify(bytes: &[u8], start: usize, end: usize, seen: u8) -> (RawKind, usize) {
    if seen & DIGIT != 0 {
        return (RawKind::Slot, constant_prefix(&bytes[start..end]));
    }
    if seen & NOT_HEX == 0 && (end - start >= 8 || (end - start == 2 && tied_by_colon(bytes, start, end))) {
        return (RawKind::Slot, 0);
    }
    (RawKind::Word, 0)
}

/// Length of the constant beginning of a variable word: letters up to and including the first `_ - # / @` (`blk_`, `node-`, `CPU#`),
/// or a leading `/`. None when the letters may themselves be hexadecimal digits of an identifier.
#[inline(always)]
fn constant_prefix(word: &[u8]) -> usize {
    let letters = word.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    match word.get(letters) {
        Some(b'/') if letters == 0 => 1,
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

/// Hash of the raw shape: kinds, constants and gaps; slot contents do not count. `None` when there is no token at all.
#[inline]
pub(super) fn shape_hash(seed: u64, message: &str) -> Option<u64> {
    let mut hash = mix(seed, 0x5348_4150);
    let mut any = false;
    scan(message, |bytes, token| {
        any = true;
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
    });
    any.then_some(hash)
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

/// Groups raw tokens into template tokens.
pub(super) fn refine(message: &str, tokens: &mut Vec<Token>) {
    tokens.clear();
    let mut raw = Vec::with_capacity(32);
    scan(message, |_, token| raw.push(token));
    let mut at = 0;
    while at < raw.len() {
        if let Some(close) = quoted(message, &raw, at) {
            push(message, tokens, raw[at], TokenKind::Delimiter);
            tokens.push(quoted_token(&raw[at + 1..close]));
            push(message, tokens, raw[close], TokenKind::Delimiter);
            at = close + 1;
            continue;
        }
        let kind = match raw[at].kind {
            RawKind::Word if is_name(&message[raw[at].start..raw[at].end], raw.get(at + 1), message) => {
                TokenKind::Name
            }
            RawKind::Word => TokenKind::Word,
            RawKind::Slot | RawKind::Rest => TokenKind::Slot,
            RawKind::Delimiter => TokenKind::Delimiter,
        };
        push(message, tokens, raw[at], kind);
        at += 1;
    }
    mark_dates(message, tokens);
    collapse_lists(message, tokens);
}

fn push(message: &str, tokens: &mut Vec<Token>, raw: RawToken, kind: TokenKind) {
    let constant = match kind {
        TokenKind::Slot => raw.prefix,
        _ => raw.end - raw.start,
    };
    debug_assert!(message.is_char_boundary(raw.start) && message.is_char_boundary(raw.end));
    tokens.push(Token { start: raw.start, end: raw.end, constant, kind, gap: raw.gap });
}

/// Raw tokens one quotation may span; a lone quote mark further from its twin is an ordinary delimiter.
const QUOTED_TOKENS_MAX: usize = 24;

/// When a quotation opens at `at`, the index of the mark that closes it. Quoted text is one value, however many words it has.
/// `'` opens only after a gap or delimiter and closes only before one (`can't` is no quotation). Quoted keys (`"k":`) are not values.
fn quoted(message: &str, raw: &[RawToken], at: usize) -> Option<usize> {
    let bytes = message.as_bytes();
    let mark = |i: usize| (raw[i].kind == RawKind::Delimiter).then(|| bytes[raw[i].start]);
    let open = mark(at).filter(|m| matches!(m, b'"' | b'\''))?;
    if at > 0 && !raw[at].gap && mark(at - 1).is_none() {
        return None;
    }
    let last = raw.len().min(at + 2 + QUOTED_TOKENS_MAX);
    let close = (at + 1..last).find(|&i| {
        mark(i) == Some(open) && raw.get(i + 1).is_none_or(|next| next.gap || next.kind != RawKind::Word)
    })?;
    let key = raw.get(close + 1).is_some_and(|next| !next.gap)
        && close + 1 < raw.len()
        && mark(close + 1) == Some(b':');
    (close > at + 1 && !key).then_some(close)
}

fn quoted_token(inner: &[RawToken]) -> Token {
    let (first, last) = (inner[0], inner[inner.len() - 1]);
    let slot = inner.iter().any(|t| t.kind == RawKind::Slot);
    let kind = if slot { TokenKind::Slot } else { TokenKind::Name };
    let constant = if slot { 0 } else { last.end - first.start };
    Token { start: first.start, end: last.end, constant, kind, gap: first.gap }
}

/// Whether a word without digits names a thing by its form: a path, a host or package name (two or more inner dots), an address with `@`.
/// A word before `(` is a function and constant; one dot is not enough (`foo.c`, `state.value`, the end of a sentence).
fn is_name(word: &str, next: Option<&RawToken>, message: &str) -> bool {
    let glued = next.filter(|n| n.kind == RawKind::Delimiter && !n.gap).map(|n| message.as_bytes()[n.start]);
    if matches!(glued, Some(b'(' | b'=')) {
        return false;
    }
    let bytes = word.as_bytes();
    let letters = bytes.iter().any(u8::is_ascii_alphabetic);
    let inner = bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or(&[]);
    let count = |b: u8| inner.iter().filter(|x| **x == b).count();
    let path =
        matches!(bytes[0], b'/' | b'~' | b'\\') && bytes.len() > 1 || count(b'/') >= 2 || count(b'\\') >= 2;
    let ellipsis = word.contains("..");
    letters && (path || (!ellipsis && count(b'.') >= 2) || count(b'@') == 1)
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

/// Turns runs of slots that are joined alike (by white space, `,` or `:`) into one slot, so that lists of different length agree.
fn collapse_lists(message: &str, tokens: &mut Vec<Token>) {
    let mut at = 0;
    while at < tokens.len() {
        let (end, slots) = list_end(message, tokens, at);
        if slots >= LIST_SLOTS_MIN {
            tokens[at].end = tokens[end - 1].end;
            tokens[at].constant = 0;
            tokens.drain(at + 1..end);
        }
        at += 1;
    }
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
        let mut tokens = Vec::new();
        refine(message, &mut tokens);
        tokens
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
        check("ids 1,2,3,4 end", "ids <*> end");
        check("at 10:11:12 to 10.0.0.1:80", "at <*> : <*> : <*> to <*> : <*>");
        check("at Fri Jun 17 2005", "at <*>");
    }

    #[test]
    fn names_are_known_by_their_form() {
        check(
            "open /etc/xinetd.d/chargen by com.example.app.Main",
            "open «/etc/xinetd.d/chargen» by «com.example.app.Main»",
        );
        check("tag=\"View Lock\" can't 'a b' x", "tag = \" «View Lock» \" can ' t ' «a b» ' x");
        check("{\"key\":\"some value\"}", "{ \" key \" : \" «some value» \" }");
    }

    #[test]
    fn head_is_the_first_line_with_a_letter() {
        check("---\nboom: x\n at y", "--- boom : x <*>");
        check("boom\n", "boom");
    }
}
