//! Events in a syslog message: what CEF and LEEF have in common.
//!
//! Invariants:
//! - every member of an event is a field of the record: by its own name, or by the name of the field it means;
//! - a member never takes a field that the record has from elsewhere: it gets its format's name in front.

use std::borrow::Cow;

use heimdall_model::{Level, Timestamp};

use super::zone::When;
use super::{FIELDS_MAX, ParsedLine, Value, cef, leef};

/// Fields that the syslog header or the event's own header may have set.
const RESERVED: [&str; 12] = [
    "timestamp",
    "level",
    "message",
    "service",
    "host",
    "source_ip",
    "user_id",
    "device_vendor",
    "device_product",
    "device_version",
    "event_class_id",
    "name",
];
/// Longest name taken from an event.
const NAME_BYTES_MAX: usize = 128;

pub(super) const TOO_MANY: &str = "not kept as fields: more members than one record may have";

/// Whether a text claims to be an event.
pub(super) fn is_event(text: &str) -> bool {
    text.starts_with("CEF:") || text.starts_with("LEEF:")
}

/// Takes the message apart when it is an event; one that is broken stays the message, and that is noted.
pub(super) fn read_body(parsed: &mut ParsedLine<'_>, when: When<'_>) {
    let Cow::Borrowed(message) = parsed.message else { return };
    let read = if message.starts_with("CEF:") {
        cef::read(message, when)
    } else if message.starts_with("LEEF:") {
        leef::read(message, when)
    } else {
        return;
    };
    match read {
        Ok(event) => event.land(parsed),
        Err(reason) => parsed.diagnostics.push(reason),
    }
}

/// An event, taken apart.
#[derive(Debug, Default)]
pub(super) struct Event<'a> {
    /// `cef` or `leef`.
    pub(super) format: &'static str,
    /// When it happened.
    pub(super) timestamp: Option<Timestamp>,
    /// How serious it is.
    pub(super) level: Option<Level>,
    /// What it says, when it says it in words.
    pub(super) message: Option<Cow<'a, str>>,
    /// The product: the service when the syslog header names none.
    pub(super) product: Cow<'a, str>,
    /// Who wrote it, when the syslog header does not say.
    pub(super) host: Option<Cow<'a, str>>,
    /// Fields of the record.
    pub(super) meant: Vec<(&'static str, Value<'a>)>,
    /// Members without a meaning of their own.
    pub(super) members: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Event<'a> {
    /// Keeps a member under its name.
    pub(super) fn keep(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        let is_reserved = RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(&name));
        let name = if is_reserved { Cow::Owned(format!("{}.{name}", self.format)) } else { name };
        self.members.push((name, value));
    }

    /// Takes a field for the first member that means it; whether it was free.
    #[expect(clippy::ptr_arg, reason = "the text is kept: borrowed stays borrowed")]
    pub(super) fn mean(&mut self, field: &'static str, value: &Cow<'a, str>) -> bool {
        let is_free = !value.is_empty() && self.meant.iter().all(|(taken, _)| *taken != field);
        if is_free {
            self.meant.push((field, Value::Text(value.clone())));
        }
        is_free
    }

    fn land(self, parsed: &mut ParsedLine<'a>) {
        parsed.timestamp = self.timestamp.or(parsed.timestamp);
        parsed.level = self.level.or(parsed.level);
        if let Some(message) = self.message.filter(|message| !message.is_empty()) {
            parsed.message = message;
        }
        let has = |parsed: &ParsedLine<'_>, field: &str| parsed.fields.iter().any(|(name, _)| name == field);
        if !has(parsed, "service") && !self.product.is_empty() {
            parsed.push("service", Value::Text(self.product));
        }
        if let Some(host) = self.host.filter(|_| !has(parsed, "host")) {
            parsed.push("host", Value::Text(host));
        }
        parsed.fields.extend(self.meant.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)));
        parsed.fields.extend(self.members);
    }
}

/// Splits `text` at its first `N` pipes, with `\|` and `\\` resolved; what follows the last of them is returned as it is.
pub(super) fn split_header<const N: usize>(text: &str) -> Option<([Cow<'_, str>; N], &str)> {
    let mut parts = [const { Cow::Borrowed("") }; N];
    let mut rest = text;
    for part in &mut parts {
        let len = unescaped(rest, b'|')?;
        *part = resolved(&rest[..len], |c| matches!(c, '|' | '\\').then_some(c));
        rest = &rest[len + 1..];
    }
    Some((parts, rest))
}

/// Where the first `byte` without a backslash before it is.
fn unescaped(text: &str, byte: u8) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|b| {
        let found = b == byte && !is_escaped;
        is_escaped = b == b'\\' && !is_escaped;
        found
    })
}

/// A text in which `meaning` says what a character after a backslash stands for; where it says nothing both stay.
pub(super) fn resolved(text: &str, meaning: impl Fn(char) -> Option<char>) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let next = chars.as_str().chars().next();
        match next.filter(|_| c == '\\').and_then(&meaning) {
            Some(meant) => {
                out.push(meant);
                chars.next();
            }
            None => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A label as a name: white space within it becomes `_`; `None` when it cannot be one.
pub(super) fn name_of_label(label: &str) -> Option<String> {
    let name = label.split_whitespace().collect::<Vec<_>>().join("_");
    (!name.is_empty() && name.len() <= NAME_BYTES_MAX).then_some(name)
}

/// Whether a text can be the name of a member.
pub(super) fn is_name(text: &str) -> bool {
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'[' | b']');
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_name_byte)
}

/// A number where numbers are meant, else the text.
pub(super) fn number_or_text(text: Cow<'_, str>) -> Value<'_> {
    match (text.parse(), text.parse::<f64>()) {
        (Ok(int), _) => Value::Int(int),
        (_, Ok(float)) if float.is_finite() => Value::Float(float),
        _ => Value::Text(text),
    }
}

/// The level of a severity from 0 to 10.
pub(super) fn level_of(severity: &str) -> Option<Level> {
    let named = match severity.trim().to_ascii_lowercase().as_str() {
        "low" => Level::Info,
        "medium" => Level::Warn,
        "high" => Level::Error,
        "very-high" | "very high" | "veryhigh" => Level::Fatal,
        number => match number.parse::<u8>().ok()? {
            0..=3 => Level::Info,
            4..=6 => Level::Warn,
            7..=8 => Level::Error,
            9..=10 => Level::Fatal,
            _ => return None,
        },
    };
    Some(named)
}

/// # Errors
/// There are more members than a record may have.
pub(super) fn has_room(members: usize) -> Result<(), &'static str> {
    if members < FIELDS_MAX / 2 { Ok(()) } else { Err(TOO_MANY) }
}
