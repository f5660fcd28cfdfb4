//! JSON, number and time writing without allocation: the hot loops of this crate.
//!
//! Every function appends to `out`; nothing here can fail.

const DIGIT_PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";
const HEX: &[u8; 16] = b"0123456789abcdef";
const NS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Above this, a fixed-point form would not be exact.
const FIXED_MAX: f64 = 1e15;

/// Appends `n` in decimal.
pub(crate) fn push_u64(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while n >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(pair(n % 100));
        n /= 100;
    }
    if n >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(pair(n));
    } else {
        at -= 1;
        digits[at] = pair(n)[1];
    }
    out.extend_from_slice(&digits[at..]);
}

/// The two digits of `n`, which is below 100.
#[expect(clippy::cast_possible_truncation, reason = "below 100")]
fn pair(n: u64) -> &'static [u8] {
    let at = n as usize * 2;
    &DIGIT_PAIRS[at..at + 2]
}

/// Appends `n` in decimal.
pub(crate) fn push_i64(out: &mut Vec<u8>, n: i64) {
    if n < 0 {
        out.push(b'-');
    }
    push_u64(out, n.unsigned_abs());
}

/// Appends `value` with at most three decimals, without trailing zeros; `null` when it is not finite.
pub(crate) fn push_f64(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    if value.abs() >= FIXED_MAX {
        out.extend_from_slice(format!("{value:e}").as_bytes());
        return;
    }
    let thousandths = whole(value.abs() * 1000.0);
    if value < 0.0 && thousandths > 0 {
        out.push(b'-');
    }
    push_u64(out, thousandths / 1000);
    match thousandths % 1000 {
        0 => {}
        rest => push_decimals(out, rest),
    }
}

fn push_decimals(out: &mut Vec<u8>, thousandths: u64) {
    out.push(b'.');
    out.push(pair(thousandths / 10 / 10)[1]);
    match thousandths % 100 {
        0 => {}
        rest if rest % 10 == 0 => out.push(pair(rest / 10)[1]),
        rest => out.extend_from_slice(pair(rest)),
    }
}

/// The nearest whole number; 0 for what is negative or not a number.
pub(crate) fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, which is meant"
    )]
    let n = (value + 0.5) as u64;
    n
}

/// Appends `bytes` as lower-case hex.
pub(crate) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Appends `text` in quotes, escaped.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends `text` as it stands between the quotes of a JSON string.
pub(crate) fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        push_escape(out, byte);
        written = at + 1;
    }
    out.extend_from_slice(&bytes[written..]);
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'\r' => out.extend_from_slice(b"\\r"),
        other => {
            out.extend_from_slice(b"\\u00");
            push_hex(out, &[other]);
        }
    }
}

/// Appends ns since 1970 as RFC 3339 in UTC with nine decimals.
pub(crate) fn push_timestamp(out: &mut Vec<u8>, ns: i64) {
    push_seconds(out, ns.div_euclid(NS_PER_SECOND));
    push_fraction(out, ns.rem_euclid(NS_PER_SECOND));
}

/// Appends the part of [`push_timestamp`] up to the whole second.
pub(crate) fn push_seconds(out: &mut Vec<u8>, seconds: i64) {
    let (year, month, day) = civil(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY).unsigned_abs();
    out.extend_from_slice(pair(year / 100));
    out.extend_from_slice(pair(year % 100));
    for (mark, n) in
        [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
    {
        out.push(mark);
        out.extend_from_slice(pair(n));
    }
}

/// Appends the part of [`push_timestamp`] after the whole second; `ns` lies in `0..1_000_000_000`.
pub(crate) fn push_fraction(out: &mut Vec<u8>, ns: i64) {
    let ns = ns.unsigned_abs();
    out.push(b'.');
    out.push(pair(ns / 100_000_000)[1]);
    for unit in [1_000_000, 10_000, 100, 1] {
        out.extend_from_slice(pair(ns / unit % 100));
    }
    out.push(b'Z');
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: i64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year.unsigned_abs(), month.unsigned_abs(), day.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers() {
        for n in [0, 7, 10, 99, 100, 101, 12_345, u64::MAX] {
            assert_eq!(written(|out| push_u64(out, n)), n.to_string());
        }
        assert_eq!(written(|out| push_i64(out, i64::MIN)), i64::MIN.to_string());
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (-0.25, "-0.25"),
            (99.999, "99.999"),
            (7.05, "7.05"),
            (0.0001, "0"),
            (-0.0001, "0"),
            (f64::NAN, "null"),
            (1e20, "1e20"),
        ] {
            assert_eq!(written(|out| push_f64(out, value)), text);
        }
    }

    #[test]
    fn times_agree_with_jiff() {
        for ns in [0, -1, 951_782_399_999_999_999, 1_770_668_701_123_456_789, i64::MAX] {
            let expected = format!("{:.9}", jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap());
            assert_eq!(written(|out| push_timestamp(out, ns)), expected);
        }
    }

    #[test]
    fn strings_are_escaped() {
        let text = "say \"hi\"\\\n\t\r\u{1} é";
        let json = written(|out| push_string(out, text));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
