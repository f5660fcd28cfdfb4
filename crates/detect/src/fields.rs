//! Reading what detectors ask of a row, under the names records use for it.

use std::borrow::Cow;
use std::sync::LazyLock;

use heimdall_model::attributes::{self, Attribute};
use heimdall_model::batch::Row;
use heimdall_model::schema::{logs, metrics, spans};
use heimdall_model::{Dataset, FieldId, FieldType, Target};
use memchr::memmem;

/// Stands for a missing service.
pub(crate) const NO_SERVICE: &str = "unknown";

/// Fields tried in turn for whom a log record is about.
pub(crate) const LOG_ENTITIES: &[FieldId] = &[logs::SOURCE_IP, logs::USER_ID, logs::SERVICE, logs::HOST];

const STATUS_PATHS: &[&str] =
    &["status", "status_code", "http.status_code", "http.response.status_code", "http.status"];

/// Labels that tell whose sample it is, the plainest first; `instance` is what Prometheus calls it.
const HOST_LABELS: &[&str] = &["host", "host.name", "hostname", "instance"];

/// Service of a row; a fixed name when it has none.
pub(crate) fn service<'a>(row: &Row<'a>) -> &'a str {
    row.service().unwrap_or(NO_SERVICE)
}

/// Host of a row, if any; that of a sample may be a label, as collectors write it.
pub(crate) fn host<'a>(row: &Row<'a>) -> Option<Cow<'a, str>> {
    let own = row.text(match row.dataset() {
        Dataset::Logs => logs::HOST,
        Dataset::Metrics => metrics::HOST,
        Dataset::Spans => spans::HOST,
    });
    let label = || match row.dataset() {
        Dataset::Logs | Dataset::Spans => None,
        Dataset::Metrics => first_attribute(row.attributes()?, HOST_LABELS),
    };
    own.map(Cow::Borrowed).or_else(label)
}

static STATUS: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("status"));

/// The HTTP status of a log record, from its attributes, when its first digit is `class`.
///
/// Cost: one scan of the attributes unless some key like `status` has a value with that digit.
pub(crate) fn http_status(row: &Row<'_>, class: u8) -> Option<u16> {
    let json = row.attributes()?;
    let bytes = json.as_bytes();
    STATUS.find_iter(bytes).find(|at| value_starts_with(&bytes[at + "status".len()..], class))?;
    let code = STATUS_PATHS.iter().find_map(|path| attributes::get(json, path))?.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a status code"
    )]
    (100.0..600.0).contains(&code).then_some(code as u16).filter(|code| code / 100 == u16::from(class - b'0'))
}

/// The first digit of the first status in the attributes of a row, if all of its statuses begin with it.
pub(crate) fn http_status_class(row: &Row<'_>) -> Option<u8> {
    let bytes = row.attributes()?.as_bytes();
    let mut classes = STATUS.find_iter(bytes).map(|at| first_of_value(&bytes[at + "status".len()..]));
    let first = classes.next()??;
    (first.is_ascii_digit() && classes.all(|class| class == Some(first))).then_some(first)
}

/// Whether the value behind the rest of a key starts with this digit.
fn value_starts_with(rest: &[u8], digit: u8) -> bool {
    first_of_value(rest) == Some(digit)
}

/// The first byte of the value behind the rest of a key, quotes aside.
fn first_of_value(rest: &[u8]) -> Option<u8> {
    let value = rest.iter().skip_while(|b| **b != b':').skip(1);
    value.copied().find(|b| !matches!(b, b' ' | b'"'))
}

/// The text of a target, as people would write it; `None` when absent or empty.
pub(crate) fn text<'a>(row: &Row<'a>, target: &Target) -> Option<Cow<'a, str>> {
    let found = match target {
        Target::Field(id) => match row.dataset().field(*id).ty {
            FieldType::Text | FieldType::Json => row.text(*id).map(Cow::Borrowed),
            _ => Some(Cow::Owned(row.value(*id).to_string())),
        },
        Target::Attribute(path) => row.attribute(path).and_then(attribute_text),
        Target::Id => Some(Cow::Owned(row.id().to_string())),
        Target::Template => None,
    };
    found.filter(|text| !text.is_empty())
}

/// The first of these paths that holds a text, number or truth value, as text.
pub(crate) fn first_attribute<'a>(json: &'a str, paths: &[&str]) -> Option<Cow<'a, str>> {
    paths.iter().find_map(|path| attributes::get(json, path).and_then(attribute_text))
}

fn attribute_text(value: Attribute<'_>) -> Option<Cow<'_, str>> {
    match value {
        Attribute::Text(text) => Some(text),
        Attribute::Number(raw) => Some(Cow::Borrowed(raw)),
        Attribute::Bool(b) => Some(Cow::Borrowed(if b { "true" } else { "false" })),
        Attribute::Array(_) | Attribute::Object(_) => None,
    }
}
