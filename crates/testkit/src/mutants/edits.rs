//! What is done to a message.

use std::ops::Range;

use super::{Form, Rng};

/// Numbers at the ends of what fits somewhere.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x00ff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// The same in text, and what is nearly a number.
const WRITTEN_NUMBERS: [&str; 22] = [
    "0",
    "-0",
    "-1",
    "00",
    "1.",
    ".5",
    "1e999",
    "-1e999",
    "1e-999",
    "NaN",
    "+Inf",
    "0x10",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
];

/// Text that is half of something, or longer or shorter than it looks.
const ODD_TEXTS: [&[u8]; 18] = [
    b"\xc3",
    b"\xa9",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xff",
    b"\\ud800",
    b"\\udc00",
    b"\\u00",
    b"\\",
    b"\0",
    "\u{feff}".as_bytes(),
    "\u{2028}".as_bytes(),
    "\u{130}".as_bytes(),
    "e\u{301}".as_bytes(),
    "\u{1f600}".as_bytes(),
    b"\x1b[31m",
];

/// JSON values that stand where others are expected.
const VALUES: [&str; 18] = [
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "-1",
    "0.5",
    "1e999",
    "9223372036854775808",
    "\"\\ud800\"",
    "[[[[[]]]]]",
    "{\"a\":{\"a\":1}}",
    "\"a\\u0000b\"",
    "[null]",
    "{\"\":\"\"}",
    "\"\u{e9}\"",
    "[{\"key\":\"k\"}]",
    "1e-400",
];

/// What separates in text.
const MARKS: &[u8] = b"{}[]\":,=|;\n\r \t<>()/#@\\%'`.-+&^*!_";

/// A damaged copy of a seed.
pub(super) fn mutant(form: Form, seeds: &[Vec<u8>], bytes_max: usize, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.one_of(seeds).clone();
    let edits = 1 + rng.below(4) * rng.below(3);
    for _ in 0..edits {
        match form {
            Form::Protobuf if rng.below(4) > 0 => bytes = message(&bytes, seeds, rng, 0),
            Form::Text if rng.below(3) > 0 => text(&mut bytes, seeds, rng),
            _ => plain(&mut bytes, seeds, bytes_max, rng),
        }
        bytes.truncate(bytes_max);
    }
    bytes
}

/// Damage that any bytes can take.
fn plain(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], bytes_max: usize, rng: &mut Rng) {
    let at = rng.below(bytes.len());
    match rng.below(14) {
        0 => flip(bytes, at, rng),
        1 => put(bytes, at, &[rng.byte()]),
        2 => number(bytes, at, rng),
        3 => step(bytes, at, rng),
        4 => remove(bytes, at, rng),
        5 => bytes.truncate(at),
        6 => copy(bytes, rng),
        7 => repeat(bytes, bytes_max, rng),
        8 => {
            let odd = *rng.one_of(&ODD_TEXTS);
            insert(bytes, at, odd);
        }
        9 => {
            let grown = varint(*rng.one_of(&NUMBERS));
            bytes.splice(at..(at + 1).min(bytes.len()), grown);
        }
        10 => {
            let other = rng.one_of(seeds);
            let from = rng.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        11 => {
            let other = rng.one_of(seeds);
            let part = range(other.len(), rng);
            insert(bytes, at, &other[part]);
        }
        12 => {
            let noise: Vec<u8> = (0..1 + rng.below(16)).map(|_| rng.byte()).collect();
            insert(bytes, at, &noise);
        }
        _ => bytes.extend_from_slice(rng.one_of::<Vec<u8>>(seeds)),
    }
}

fn flip(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << rng.below(8);
    }
}

/// Writes over what is there.
fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(new) {
        *byte = *new;
    }
}

/// A number of one, two, four or eight bytes in either order.
fn number(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    let number = *rng.one_of(&NUMBERS);
    let width = *rng.one_of(&[1, 2, 4, 8]);
    if rng.below(2) == 0 {
        put(bytes, at, &number.to_le_bytes()[..width]);
    } else {
        put(bytes, at, &number.to_be_bytes()[8 - width..]);
    }
}

/// A length that is off by a little.
fn step(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = byte.wrapping_add(*rng.one_of(&[1, 2, 4, 0xff, 0xfe, 0xfc]));
    }
}

/// A few bytes, or any part.
fn range(len: usize, rng: &mut Rng) -> Range<usize> {
    let from = rng.below(len);
    let most = if rng.below(2) == 0 { 9 } else { len + 1 };
    from..(from + rng.below(most)).min(len)
}

fn remove(bytes: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let most = range(bytes.len(), rng).len();
    bytes.drain(at..(at + 1 + most).min(bytes.len()).max(at));
}

fn insert(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    bytes.splice(at..at, new.iter().copied());
}

fn copy(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let part = bytes[range(bytes.len(), rng)].to_vec();
    insert(bytes, rng.below(bytes.len() + 1), &part);
}

/// Many times the same: nesting, and work that grows faster than the input.
fn repeat(bytes: &mut Vec<u8>, bytes_max: usize, rng: &mut Rng) {
    let part = range(bytes.len(), rng);
    let room = bytes_max.saturating_sub(bytes.len()) / part.len().max(1);
    let times = if rng.below(8) == 0 { room } else { rng.below(room.min(64) + 1) };
    let many = bytes[part.clone()].repeat(times);
    insert(bytes, part.end, &many);
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number > 0x7f {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
    out
}

/// Damage after which text still looks like what it was.
fn text(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    match rng.below(9) {
        0 => replace(bytes, |b| b.is_ascii_digit(), WRITTEN_NUMBERS.map(str::as_bytes).as_slice(), rng),
        1 => {
            let other = rng.one_of(seeds);
            let word = runs(other, is_word);
            let words = [word.get(rng.below(word.len())).map_or(&b"x"[..], |word| &other[word.clone()])];
            replace(bytes, is_word, &words, rng);
        }
        2 => replace(bytes, is_word, &ODD_TEXTS, rng),
        3 => replace_mark(bytes, rng),
        4 | 5 => replace_value(bytes, VALUES[rng.below(VALUES.len())].as_bytes(), rng),
        6 => {
            let other = rng.one_of(seeds);
            let value = values(other);
            if let Some(value) = value.get(rng.below(value.len())) {
                replace_value(bytes, &other[value.clone()], rng);
            }
        }
        7 => lines(bytes, rng),
        _ => {
            let part = runs(bytes, is_word);
            if let Some(part) = part.get(rng.below(part.len())) {
                let long = bytes[part.clone()].repeat(1 + rng.below(300));
                bytes.splice(part.clone(), long);
            }
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Where bytes of a kind follow each other.
fn runs(bytes: &[u8], is_in: impl Fn(u8) -> bool) -> Vec<Range<usize>> {
    let mut end = 0;
    let parts = bytes.chunk_by(|left, right| is_in(*left) == is_in(*right));
    let places = parts.map(|part| {
        end += part.len();
        (end - part.len()..end, is_in(part[0]))
    });
    places.filter_map(|(place, is_in)| is_in.then_some(place)).collect()
}

fn replace(bytes: &mut Vec<u8>, is_in: impl Fn(u8) -> bool, by: &[&[u8]], rng: &mut Rng) {
    let found = runs(bytes, is_in);
    if let Some(run) = found.get(rng.below(found.len())) {
        bytes.splice(run.clone(), rng.one_of(by).iter().copied());
    }
}

/// A mark gone, doubled, or another one.
fn replace_mark(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let found: Vec<usize> = (0..bytes.len()).filter(|at| MARKS.contains(&bytes[*at])).collect();
    let Some(at) = found.get(rng.below(found.len())).copied() else { return };
    let new = match rng.below(4) {
        0 => vec![],
        1 => vec![bytes[at]; 2 + rng.below(3)],
        2 => vec![bytes[at]; 2 + rng.below(400)],
        _ => vec![*rng.one_of(MARKS)],
    };
    bytes.splice(at..=at, new);
}

/// A JSON value where another one is.
fn replace_value(bytes: &mut Vec<u8>, new: &[u8], rng: &mut Rng) {
    let found = values(bytes);
    if let Some(value) = found.get(rng.below(found.len())) {
        bytes.splice(value.clone(), new.iter().copied());
    }
}

/// Where JSON values stand: after `:`, `[` and `,`.
fn values(bytes: &[u8]) -> Vec<Range<usize>> {
    let begins = |at: usize| {
        let from = at + 1 + bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let value = from..from + value_len(&bytes[from..]);
        (!value.is_empty()).then_some(value)
    };
    (0..bytes.len())
        .filter(|at| matches!(bytes[*at], b':' | b'[' | b','))
        .filter_map(begins)
        .take(1_000)
        .collect()
}

fn value_len(bytes: &[u8]) -> usize {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' | b',' if depth == 0 => return at,
            b']' | b'}' => depth -= 1,
            byte if depth == 0 && byte.is_ascii_whitespace() => return at,
            _ => continue,
        }
        if depth == 0 && !is_text && matches!(byte, b'"' | b']' | b'}') {
            return at + 1;
        }
    }
    bytes.len()
}

/// A line gone, doubled, at the end, or many times there.
fn lines(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let mut list: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let Some(line) = list.get(rng.below(list.len())).cloned() else { return };
    let at = rng.below(list.len());
    match rng.below(4) {
        0 => drop(list.remove(at)),
        1 => list.insert(at, line),
        2 => list.push(line),
        _ => list.extend(std::iter::repeat_n(line, rng.below(100))),
    }
    *bytes = list.concat();
}

/// A field of a message of Protocol Buffers.
struct Field {
    key: u64,
    /// With its key and length.
    whole: Range<usize>,
    /// What is in it.
    value: Range<usize>,
}

/// The fields of a message; none when it is not one.
fn fields(bytes: &[u8]) -> Vec<Field> {
    let (mut list, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let Some(field) = field_at(bytes, at) else { return Vec::new() };
        at = field.whole.end;
        list.push(field);
    }
    list
}

fn field_at(bytes: &[u8], from: usize) -> Option<Field> {
    let (key, at) = read_varint(bytes, from)?;
    let value = match key & 7 {
        0 => at..read_varint(bytes, at)?.1,
        1 => at..at + 8,
        2 => {
            let (len, at) = read_varint(bytes, at)?;
            at..at.checked_add(usize::try_from(len).ok()?)?
        }
        5 => at..at + 4,
        _ => return None,
    };
    (value.end <= bytes.len() && key >> 3 != 0).then_some(Field { key, whole: from..value.end, value })
}

fn read_varint(bytes: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((number, at));
        }
    }
    None
}

/// Longest damage within a message.
const BYTES_MAX: usize = 10_000;
/// Messages within messages whose damage is at most this deep.
const LEVELS_MAX: usize = 8;

/// A message with damage in one field, whose lengths fit around it.
fn message(bytes: &[u8], seeds: &[Vec<u8>], rng: &mut Rng, level: usize) -> Vec<u8> {
    let list = fields(bytes);
    let Some(field) = list.get(rng.below(list.len())) else { return damaged(bytes, seeds, rng) };
    let value = &bytes[field.value.clone()];
    let is_nested = field.key & 7 == 2;
    let new = match rng.below(10) {
        0 => vec![],
        1 => bytes[field.whole.clone()].repeat(2),
        2 => bytes[field.whole.clone()].repeat(rng.below(200)),
        3 => [&bytes[field.whole.clone()], &bytes[rng.one_of(&list).whole.clone()]].concat(),
        4 => written(field.key & !7 | *rng.one_of(&[0, 1, 2, 3, 4, 5]), value, field.key & 7),
        5 => written(u64::from(rng.byte()), value, field.key & 7),
        6 if is_nested => written(field.key, &written(field.key, value, 2), 2),
        _ if is_nested && level < LEVELS_MAX => written(field.key, &message(value, seeds, rng, level + 1), 2),
        _ if field.key & 7 == 0 => written(field.key, &varint(*rng.one_of(&NUMBERS)), 0),
        _ => written(field.key, &damaged(value, seeds, rng), field.key & 7),
    };
    [&bytes[..field.whole.start], &new, &bytes[field.whole.end..]].concat()
}

/// A field; one of type 2 with its length.
fn written(key: u64, value: &[u8], kind: u64) -> Vec<u8> {
    let mut out = varint(key);
    if kind == 2 {
        out.extend(varint(value.len() as u64));
    }
    out.extend_from_slice(value);
    out
}

fn damaged(bytes: &[u8], seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if rng.below(2) == 0 {
        text(&mut bytes, seeds, rng);
    } else {
        plain(&mut bytes, seeds, BYTES_MAX, rng);
    }
    bytes
}
