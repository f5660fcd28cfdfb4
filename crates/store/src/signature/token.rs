//! Tokens: a value of a field, or a word of a text, as a hash. Written and looked up by the same functions.
//!
//! Invariant: two values that a [`heimdall_model::matcher::Leaf`] takes for equal have the same token. Texts are folded so that case does
//! not matter; folding may join texts that differ, which costs a page read in vain, never a row.

use std::fmt::Write as _;

use heimdall_model::FieldId;
use heimdall_model::matcher::is_word;

/// Changes when a token is made in another way: a segment's signature is of no use to another version.
pub(super) const VERSION: u32 = 1;
/// Fewest bytes of a word that has a token.
pub(super) const WORD_BYTES_MIN: usize = 3;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Sets bit 5 of every byte: makes ASCII letters lower case.
const FOLD: u64 = 0x2020_2020_2020_2020;

/// A token's hash. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(u32);

impl Token {
    fn new(hash: u64) -> Token {
        Token(u32::try_from(hash >> 32).expect("half of 64 bits").max(1))
    }

    /// The hash as a number.
    pub(super) fn value(self) -> u32 {
        self.0
    }

    /// A token from its number.
    pub(super) fn from_value(value: u32) -> Token {
        Token(value)
    }

    /// The bits that stand for the token in a filter of `bits` bits.
    #[inline(always)]
    pub(super) fn bits(self, hashes: u32, bits: u32) -> impl Iterator<Item = u32> {
        let spread = mix(u64::from(self.0), MULTIPLIER);
        let [low, high] = [spread, spread >> 32].map(|half| half & u64::from(u32::MAX));
        let step = high | 1;
        (0..u64::from(hashes)).map(move |i| {
            let position = low.wrapping_add(i * step) & u64::from(u32::MAX);
            u32::try_from((position * u64::from(bits)) >> 32).expect("less than `bits`")
        })
    }
}

/// What the values and words of a field or path are hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(u64);

impl Salt {
    /// Of a canonical field.
    pub(super) fn field(field: FieldId) -> Salt {
        Salt(mix(u64::from(field.0) + 1, MULTIPLIER))
    }

    /// Of a path inside the object of this salt's field. Paths differ by case.
    pub(super) fn path(self, path: &str) -> Salt {
        Salt(hash::<0>(self.0, path.as_bytes()))
    }

    /// The token of anything at all being there.
    pub(super) fn presence(self) -> Token {
        Token::new(mix(self.0, 1))
    }

    /// The token of an object being there.
    pub(super) fn object(self) -> Token {
        Token::new(mix(self.0, 2))
    }

    /// The token of some bytes, such as an id.
    #[inline(always)]
    pub(super) fn bytes(self, bytes: &[u8]) -> Token {
        Token::new(hash::<0>(self.0, bytes))
    }

    /// The token of a word that stands between characters that are not part of words.
    #[inline(always)]
    pub(super) fn word(self, word: &[u8]) -> Token {
        Token::new(hash::<FOLD>(self.0, word))
    }

    /// The token of a whole text.
    #[inline(always)]
    pub(super) fn text(self, text: &str) -> Token {
        if text.is_ascii() { self.word(text.as_bytes()) } else { self.word(text.to_lowercase().as_bytes()) }
    }

    /// The token of a value in an object: of the number, when its text reads as one, else of the text.
    pub(super) fn value(self, text: &str) -> Token {
        match number(text) {
            None => self.text(text),
            Some(_) if is_plain(text) => self.word(text.as_bytes()),
            Some(number) => self.number(number),
        }
    }

    /// The token of a number, in whatever way it is written.
    pub(super) fn number(self, number: f64) -> Token {
        let mut digits = Digits { bytes: [0; 400], len: 0 };
        write!(digits, "{number}").expect("no number takes more than 350 bytes");
        self.word(&digits.bytes[..digits.len])
    }
}

/// A number on its way into a hash.
struct Digits {
    bytes: [u8; 400],
    len: usize,
}

impl std::fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// The finite number a text reads as.
pub(super) fn number(text: &str) -> Option<f64> {
    let may = text.as_bytes().first().is_some_and(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.'));
    if may { text.parse().ok().filter(|n: &f64| n.is_finite()) } else { None }
}

/// Whether a whole number is written as [`f64`] displays it.
fn is_plain(text: &str) -> bool {
    let digits = text.as_bytes();
    let leads = digits.first() != Some(&b'0') || digits.len() == 1;
    leads && digits.len() <= 15 && digits.iter().all(u8::is_ascii_digit)
}

/// Hands on every word of `text` that has a token: the longest runs of letters, digits and `_`. The regex engine takes digits
/// such as `²` for no part of a word, so the parts between them are words too.
#[inline(always)]
pub(super) fn words(text: &str, mut each: impl FnMut(&[u8])) {
    let bytes = text.as_bytes();
    let mut emit = |word: &[u8]| {
        if word.len() >= WORD_BYTES_MIN {
            each(word);
        }
    };
    if bytes.is_ascii() {
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            while at < bytes.len() && IS_WORD[usize::from(bytes[at])] {
                at += 1;
            }
            emit(&bytes[start..at]);
            at += 1;
        }
        return;
    }
    for word in text.split(|c| !is_word(c)) {
        emit(word.as_bytes());
        if word.contains(is_doubtful) {
            word.split(is_doubtful).for_each(|part| emit(part.as_bytes()));
        }
    }
}

/// Whether a character of a word may be none to the regex engine.
pub(super) fn is_doubtful(c: char) -> bool {
    !c.is_ascii() && c.is_numeric() && !c.is_alphabetic()
}

/// ASCII characters of words.
const IS_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    table
};

/// Whether a byte of a text may be inside a word: of ASCII it is known, of other text not ruled out.
#[inline(always)]
pub(super) fn may_be_word(byte: u8) -> bool {
    byte >= 0x80 || IS_WORD[usize::from(byte)]
}

/// Folded 64 x 64 -> 128 bit multiplication, as in wyhash and foldhash.
#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let wide = u128::from(a ^ MULTIPLIER) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    let folded = (wide as u64) ^ ((wide >> 64) as u64);
    folded
}

/// Hashes bytes after setting the bits of `SET` in them.
#[inline(always)]
fn hash<const SET: u64>(seed: u64, bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let seed = seed ^ (length as u64).wrapping_mul(MULTIPLIER);
    if length > 8 {
        let mut hash = seed;
        let mut rest = bytes;
        while let Some((head, tail)) = rest.split_first_chunk::<8>() {
            hash = mix(hash, u64::from_le_bytes(*head) | SET);
            rest = tail;
            if tail.len() <= 8 {
                break;
            }
        }
        let last = bytes.last_chunk::<8>().map_or(0, |last| u64::from_le_bytes(*last));
        return mix(hash, last | SET);
    }
    let word = match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    mix(mix(seed, word | SET), MULTIPLIER)
}
