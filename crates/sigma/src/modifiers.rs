//! Applies modifiers: from `CommandLine|windash|contains|all: [..]` to what is compared with the event.
//!
//! Modifiers act from left to right. One written value may become several (`base64offset`, placeholders); these are
//! alternatives of each other, also under `all`.

use std::collections::BTreeMap;

use crate::error::Fault;
use crate::network::Network;
use crate::rule::{Item, Modifier, Scalar};
use crate::text::{self, Atom};
use crate::time::TimePart;

/// Most alternatives one written value may become.
pub(crate) const ALTERNATIVES_MAX: usize = 10_000;
/// Most dashes of a value that is encoded, as texts: four of them.
const DASH_TEXTS_MAX: usize = 625;

/// Values of placeholders, by name without the percent signs.
pub type Placeholders = BTreeMap<String, Vec<String>>;

/// An item with its modifiers applied.
#[derive(Debug)]
pub(crate) struct Applied {
    /// One entry per written value, each with its alternatives.
    pub values: Vec<Vec<Want>>,
    /// Every value is wanted, not one.
    pub all: bool,
    /// The item holds when this does not.
    pub negated: bool,
    /// Texts differ by case.
    pub cased: bool,
}

/// What an event's value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Want {
    Null,
    Exists(bool),
    Bool(bool),
    Number(Number),
    Text(Vec<Atom>),
    Regex(RegexText),
    Cidr(Network),
    FieldRef {
        field: String,
        starts: bool,
        ends: bool,
    },
    Compare(Order, Number),
    Time(TimePart, Order, i64),
    /// Encoded text on its way to base64.
    Bytes(Vec<u8>),
}

/// A regular expression as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RegexText {
    pub source: String,
    pub ignore_case: bool,
    pub multi_line: bool,
    pub dot_all: bool,
    pub at_start: bool,
    pub at_end: bool,
}

/// A number of a rule or an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

/// How an event's number must stand to the rule's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Lt,
    Lte,
    Gt,
    Gte,
    Eq,
}

impl Order {
    pub(crate) fn holds(self, found: std::cmp::Ordering) -> bool {
        match self {
            Order::Lt => found.is_lt(),
            Order::Lte => found.is_le(),
            Order::Gt => found.is_gt(),
            Order::Gte => found.is_ge(),
            Order::Eq => found.is_eq(),
        }
    }
}

impl Number {
    /// The number a text writes.
    pub(crate) fn parse(text: &str) -> Option<Number> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Some(Number::Int(number));
        }
        let starts_well = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        text.parse::<f64>().ok().filter(|number| starts_well && number.is_finite()).map(Number::Float)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "an integer compared with a float loses what a float cannot hold"
    )]
    pub(crate) fn float(self) -> f64 {
        match self {
            Number::Int(number) => number as f64,
            Number::Float(number) => number,
        }
    }

    pub(crate) fn compare(self, other: Number) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (Number::Int(a), Number::Float(b)) if is_whole(b) => Some(a.cmp(&whole(b))),
            (Number::Float(a), Number::Int(b)) if is_whole(a) => Some(whole(a).cmp(&b)),
            (a, b) => a.float().partial_cmp(&b.float()),
        }
    }
}

fn is_whole(float: f64) -> bool {
    float.fract() == 0.0 && float.abs() < 1e37
}

#[expect(clippy::cast_possible_truncation, reason = "a whole number that fits")]
fn whole(float: f64) -> i128 {
    float as i128
}

/// Applies the modifiers of an item.
pub(crate) fn apply(item: &Item, placeholders: &Placeholders) -> Result<Applied, Fault> {
    let apply_all = || -> Result<Applied, Fault> {
        let mut values = Vec::with_capacity(item.values.len());
        for scalar in &item.values {
            values.push(alternatives(item, scalar, placeholders)?);
        }
        Ok(Applied {
            values,
            all: item.has(Modifier::All),
            negated: item.has(Modifier::Neq),
            cased: item.has(Modifier::Cased),
        })
    };
    apply_all().map_err(|fault| Fault {
        near: Some(item.key.clone()),
        reason: format!("`{}`: {}", item.key, fault.reason),
    })
}

fn alternatives(item: &Item, scalar: &Scalar, placeholders: &Placeholders) -> Result<Vec<Want>, Fault> {
    let scalars = match scalar {
        Scalar::Text(text) if item.has(Modifier::Expand) => {
            fill(text, placeholders)?.into_iter().map(Scalar::Text).collect()
        }
        other => vec![other.clone()],
    };
    let mut wants = scalars.into_iter().map(|scalar| first(item, scalar)).collect::<Result<Vec<_>, _>>()?;
    for modifier in &item.modifiers {
        let mut next = Vec::with_capacity(wants.len());
        for want in wants {
            step(want, *modifier, &mut next)?;
        }
        wants = next;
        if wants.len() > ALTERNATIVES_MAX {
            return Err(Fault::new(format!("a value becomes more than {ALTERNATIVES_MAX}")));
        }
    }
    if item.field.is_none() {
        wants.iter_mut().try_for_each(open_keyword)?;
    }
    wants.into_iter().map(finish).collect()
}

/// The value before its modifiers.
fn first(item: &Item, scalar: Scalar) -> Result<Want, Fault> {
    if item.has(Modifier::Re) {
        let source = scalar.text().ok_or_else(|| Fault::new("a regular expression cannot be null"))?;
        return Ok(Want::Regex(RegexText { source, ..RegexText::default() }));
    }
    Ok(match scalar {
        Scalar::Null => Want::Null,
        Scalar::Bool(yes) => Want::Bool(yes),
        Scalar::Int(number) => Want::Number(Number::Int(number)),
        Scalar::Float(number) => Want::Number(Number::Float(number)),
        Scalar::Text(text) => Want::Text(text::parse(&text)),
    })
}

fn step(want: Want, modifier: Modifier, out: &mut Vec<Want>) -> Result<(), Fault> {
    use Modifier as M;
    let done = match (modifier, want) {
        (M::All | M::Cased | M::Neq | M::Expand, want) => want,
        (M::Re, want @ Want::Regex(_)) => want,
        (M::IgnoreCase | M::MultiLine | M::DotAll, Want::Regex(regex)) => Want::Regex(RegexText {
            ignore_case: regex.ignore_case || modifier == M::IgnoreCase,
            multi_line: regex.multi_line || modifier == M::MultiLine,
            dot_all: regex.dot_all || modifier == M::DotAll,
            ..regex
        }),
        (M::Contains, want @ Want::Regex(_)) => want,
        (M::StartsWith | M::EndsWith, Want::Regex(regex)) => Want::Regex(RegexText {
            at_start: regex.at_start || modifier == M::StartsWith,
            at_end: regex.at_end || modifier == M::EndsWith,
            ..regex
        }),
        (M::Contains | M::StartsWith | M::EndsWith, Want::FieldRef { field, starts, ends }) => {
            Want::FieldRef {
                field,
                starts: starts || modifier != M::EndsWith,
                ends: ends || modifier != M::StartsWith,
            }
        }
        (M::Contains | M::StartsWith | M::EndsWith, want) => {
            let mut atoms = atoms(want)?;
            if modifier != M::StartsWith {
                text::open_start(&mut atoms);
            }
            if modifier != M::EndsWith {
                text::open_end(&mut atoms);
            }
            Want::Text(atoms)
        }
        (M::Windash, want) => Want::Text(text::open_dashes(atoms(want)?)),
        (M::Utf16Le | M::Utf16Be | M::Utf16, want) => {
            for text in undashed(atoms(want)?)? {
                out.push(encode(&text, modifier)?);
            }
            return Ok(());
        }
        (M::Base64, want) => {
            for bytes in bytes(want)? {
                out.push(Want::Text(vec![Atom::Text(base64(&bytes))]));
            }
            return Ok(());
        }
        (M::Base64Offset, want) => {
            for bytes in bytes(want)? {
                for shift in 0..3 {
                    let text = base64_inside(&bytes, shift);
                    if text.is_empty() {
                        return Err(Fault::new("the value is too short for `base64offset`"));
                    }
                    out.push(Want::Text(vec![Atom::Text(text)]));
                }
            }
            return Ok(());
        }
        (M::Cidr, Want::Text(atoms)) => {
            let text = text::plain(&atoms).ok_or_else(|| Fault::new("a network cannot hold wildcards"))?;
            Want::Cidr(Network::parse(text).ok_or_else(|| Fault::new(format!("`{text}` is not a network")))?)
        }
        (M::FieldRef, Want::Text(atoms)) => {
            let starts = atoms.last() == Some(&Atom::Many);
            let ends = atoms.first() == Some(&Atom::Many);
            let inner: Vec<Atom> = atoms.into_iter().filter(|atom| *atom != Atom::Many).collect();
            let field = text::plain(&inner).filter(|name| !name.is_empty());
            let field =
                field.ok_or_else(|| Fault::new("a field name cannot be empty or hold wildcards"))?.to_owned();
            Want::FieldRef { field, starts, ends }
        }
        (M::Exists, Want::Bool(yes)) => Want::Exists(yes),
        (M::Exists, _) => return Err(Fault::new("`exists` wants true or false")),
        (M::Lt | M::Lte | M::Gt | M::Gte, want) => {
            let order = order(modifier);
            match want {
                Want::Time(part, _, number) => Want::Time(part, order, number),
                other => Want::Compare(order, number(&other)?),
            }
        }
        (M::Minute | M::Hour | M::Day | M::Week | M::Month | M::Year, want) => time(modifier, &want)?,
        (modifier, _) => {
            return Err(Fault::new(format!("`{modifier:?}` does not suit the value").to_lowercase()));
        }
    };
    out.push(done);
    Ok(())
}

fn order(modifier: Modifier) -> Order {
    match modifier {
        Modifier::Lt => Order::Lt,
        Modifier::Lte => Order::Lte,
        Modifier::Gt => Order::Gt,
        _ => Order::Gte,
    }
}

fn time(modifier: Modifier, want: &Want) -> Result<Want, Fault> {
    let part = match modifier {
        Modifier::Minute => TimePart::Minute,
        Modifier::Hour => TimePart::Hour,
        Modifier::Day => TimePart::Day,
        Modifier::Week => TimePart::Week,
        Modifier::Month => TimePart::Month,
        _ => TimePart::Year,
    };
    let (order, value) = match want {
        Want::Compare(order, value) => (*order, *value),
        other => (Order::Eq, number(other)?),
    };
    match value {
        Number::Int(value) => match i64::try_from(value) {
            Ok(value) => Ok(Want::Time(part, order, value)),
            Err(_) => Err(Fault::new("a time part must be a small number")),
        },
        Number::Float(_) => Err(Fault::new("a time part must be a whole number")),
    }
}

fn number(want: &Want) -> Result<Number, Fault> {
    match want {
        Want::Number(number) => Some(*number),
        Want::Text(atoms) => text::plain(atoms).and_then(Number::parse),
        _ => None,
    }
    .ok_or_else(|| Fault::new("want a number"))
}

/// The value as a pattern.
fn atoms(want: Want) -> Result<Vec<Atom>, Fault> {
    let plain = |text: String| if text.is_empty() { Vec::new() } else { vec![Atom::Text(text)] };
    match want {
        Want::Text(atoms) => Ok(atoms),
        Want::Number(Number::Int(number)) => Ok(plain(number.to_string())),
        Want::Number(Number::Float(number)) => Ok(plain(format!("{number:?}"))),
        Want::Bool(yes) => Ok(plain(yes.to_string())),
        Want::Bytes(bytes) => String::from_utf8(bytes)
            .map(plain)
            .map_err(|_| Fault::new("the encoded value is not text: add `base64` or `base64offset`")),
        _ => Err(Fault::new("want text")),
    }
}

fn undashed(atoms: Vec<Atom>) -> Result<Vec<Vec<Atom>>, Fault> {
    if !atoms.contains(&Atom::Dash) {
        return Ok(vec![atoms]);
    }
    text::expand_dashes(&atoms, DASH_TEXTS_MAX)
        .ok_or_else(|| Fault::new("too many dashes in a value that is encoded"))
}

fn encode(atoms: &[Atom], modifier: Modifier) -> Result<Want, Fault> {
    let encode = |text: &str| -> Vec<u8> {
        let bytes =
            |unit: u16| if modifier == Modifier::Utf16Be { unit.to_be_bytes() } else { unit.to_le_bytes() };
        text.encode_utf16().flat_map(bytes).collect()
    };
    if let Some(text) = text::plain(atoms) {
        let mut out = if modifier == Modifier::Utf16 { vec![0xFF, 0xFE] } else { Vec::new() };
        out.extend(encode(text));
        return Ok(Want::Bytes(out));
    }
    let part = |atom: &Atom| match atom {
        Atom::Text(text) => String::from_utf8(encode(text))
            .map(Atom::Text)
            .map_err(|_| Fault::new("only ASCII can be encoded between wildcards")),
        other => Ok(other.clone()),
    };
    Ok(Want::Text(atoms.iter().map(part).collect::<Result<_, _>>()?))
}

fn bytes(want: Want) -> Result<Vec<Vec<u8>>, Fault> {
    if let Want::Bytes(bytes) = want {
        return Ok(vec![bytes]);
    }
    let plain = |atoms: Vec<Atom>| {
        text::plain(&atoms)
            .map(|text| text.as_bytes().to_vec())
            .ok_or_else(|| Fault::new("a value with wildcards cannot be encoded"))
    };
    undashed(atoms(want)?)?.into_iter().map(plain).collect()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| chunk.get(index).map_or(0, |byte| u32::from(*byte));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

/// The part of the base64 text that does not depend on what stands before and after, when `shift` bytes stand before.
fn base64_inside(bytes: &[u8], shift: usize) -> String {
    let mut padded = vec![b' '; shift];
    padded.extend_from_slice(bytes);
    let text = base64(&padded);
    // Letters that hold bits of the bytes before; and those, with the padding, that hold bits of the bytes after.
    let start = [0, 2, 3][shift];
    let end = text.len() - [0, 3, 2][padded.len() % 3];
    text.get(start..end).unwrap_or_default().to_owned()
}

/// The texts with every `%name%` replaced by each of its values.
fn fill(text: &str, placeholders: &Placeholders) -> Result<Vec<String>, Fault> {
    let mut out = vec![String::new()];
    let mut rest = text;
    while let Some((before, name, after)) = placeholder(rest) {
        let values = placeholders.get(name).filter(|values| !values.is_empty()).ok_or_else(|| {
            Fault::new(format!("the placeholder `%{name}%` has no values: a pipeline must give them"))
        })?;
        if out.len() * values.len() > ALTERNATIVES_MAX {
            return Err(Fault::new(format!("a value becomes more than {ALTERNATIVES_MAX}")));
        }
        out = out
            .iter()
            .flat_map(|start| values.iter().map(move |value| format!("{start}{before}{value}")))
            .collect();
        rest = after;
    }
    out.iter_mut().for_each(|one| one.push_str(rest));
    Ok(out)
}

fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find('%')?;
        let end = start + 1 + text[start + 1..].find('%')?;
        let name = &text[start + 1..end];
        if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c)) {
            return Some((&text[..start], name, &text[end + 1..]));
        }
        from = end;
    }
}

/// A value without a field is looked for inside every string.
fn open_keyword(want: &mut Want) -> Result<(), Fault> {
    match want {
        Want::Regex(_) => Ok(()),
        Want::Text(_) | Want::Number(_) | Want::Bool(_) | Want::Bytes(_) => {
            let mut pattern = atoms(std::mem::replace(want, Want::Null))?;
            text::open_start(&mut pattern);
            text::open_end(&mut pattern);
            *want = Want::Text(pattern);
            Ok(())
        }
        _ => Err(Fault::new("this value needs a field")),
    }
}

fn finish(want: Want) -> Result<Want, Fault> {
    match want {
        Want::Bytes(_) => atoms(want).map(Want::Text),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_known_texts() {
        for (text, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    /// Wherever the value stands in a longer text, one of the three is in the encoded text.
    #[test]
    fn base64_inside_any_text() {
        for value in ["http://", "ab", "powershell", "日本"] {
            let forms: Vec<String> = (0..3).map(|shift| base64_inside(value.as_bytes(), shift)).collect();
            for before in ["", "x", "yy", "zzz", "long start "] {
                for after in ["", "1", "22", "333"] {
                    let whole = base64(format!("{before}{value}{after}").as_bytes());
                    assert!(
                        whole.contains(&forms[before.len() % 3]),
                        "{before}{value}{after}: {forms:?} {whole}"
                    );
                }
            }
        }
    }

    #[test]
    fn placeholders_are_filled() {
        let values = Placeholders::from([
            ("a".to_owned(), vec!["1".to_owned(), "2".to_owned()]),
            ("b".to_owned(), vec!["x".to_owned(), "y".to_owned()]),
        ]);
        assert_eq!(fill("50% %a%-%b%", &values).unwrap(), ["50% 1-x", "50% 1-y", "50% 2-x", "50% 2-y"]);
        assert_eq!(fill("100%", &values).unwrap(), ["100%"]);
        assert!(fill("%c%", &values).unwrap_err().reason.contains("`%c%` has no values"));
    }

    #[test]
    fn numbers_in_texts() {
        assert_eq!(Number::parse(" 42 "), Some(Number::Int(42)));
        assert_eq!(Number::parse("-1.5"), Some(Number::Float(-1.5)));
        assert_eq!(
            [Number::parse("inf"), Number::parse("NaN"), Number::parse(""), Number::parse("4x")],
            [None; 4]
        );
    }
}
