//! Entries of systemd's journal to log records: the same whether an agent reads the journal or a machine uploads it.
//!
//! `MESSAGE`, `PRIORITY`, `_HOSTNAME` and `__REALTIME_TIMESTAMP` are message, level, host and time; the unit without `.service`,
//! else the identifier, else the program is the service. Fields that OpenTelemetry has a name for have that name; every other one
//! is `journald.` and its name in lower case without the underscore of trusted fields (which stays where the entry has both).
//! Fields that begin with two underscores are the journal's own addresses, and are left out. A field that occurs more than once is
//! a list.
//!
//! Source: systemd.journal-fields(7).

use heimdall_model::time::NS_PER_US;
use heimdall_model::{Level, Timestamp};

use crate::records::{Object, write};

/// Fields with a name of their own.
const NAMED: [(&str, &str); 8] = [
    ("_PID", "process.pid"),
    ("_COMM", "process.executable.name"),
    ("_UID", "process.user.id"),
    ("SYSLOG_IDENTIFIER", "syslog.identifier"),
    ("_TRANSPORT", "journald.transport"),
    ("_SYSTEMD_UNIT", "systemd.unit"),
    ("CODE_FILE", "code.file.path"),
    ("MESSAGE_ID", "journald.message_id"),
];

/// A field of an entry.
pub type Field<'a> = (&'a str, &'a [u8]);

/// Writes an entry into `object`; its fields are put in the order of their names. Whether the message is not as it was written: there is
/// none, or it is not UTF-8.
pub fn write_entry(fields: &mut [Field<'_>], object: &mut Object) -> bool {
    fields.sort_by(|left, right| left.0.cmp(right.0)); // stable: of equal names the first stays the first
    let entry = Entry { fields };
    let time_us = entry.text("__REALTIME_TIMESTAMP").and_then(|us| us.parse::<i64>().ok());
    if let Some(ns) = time_us.and_then(|us| us.checked_mul(NS_PER_US)) {
        object.time("timestamp", Timestamp(ns));
    }
    let message = entry.get("MESSAGE");
    let is_lossy = object.lossy("message", message.unwrap_or_default());
    let level = entry.text("PRIORITY").and_then(level_of);
    if let Some(level) = level {
        object.text("level", level.as_str());
    }
    let unit = entry.text("_SYSTEMD_UNIT").map(|unit| unit.strip_suffix(".service").unwrap_or(unit));
    if let Some(service) = unit.or(entry.text("SYSLOG_IDENTIFIER")).or(entry.text("_COMM")) {
        object.text_if("service", service);
    }
    if let Some(host) = entry.get("_HOSTNAME") {
        object.lossy("host", host);
    }
    let is_used =
        |name: &str| matches!(name, "MESSAGE" | "_HOSTNAME") || name == "PRIORITY" && level.is_some();
    for values in entry.fields.chunk_by(|left, right| left.0 == right.0) {
        let name = values[0].0;
        let values = if is_used(name) { &values[1..] } else { values };
        if !name.starts_with("__") && !values.is_empty() {
            write_field(&entry.name_of(name), values, object);
        }
    }
    is_lossy || message.is_none()
}

fn write_field(name: &str, values: &[Field<'_>], object: &mut Object) {
    match values {
        [(_, value)] => {
            object.lossy(name, value);
        }
        values => object.value(name, |out| {
            write::array(out, values, |out, (_, value)| write::text(out, &String::from_utf8_lossy(value)));
        }),
    }
}

/// Fields in the order of their names.
struct Entry<'e> {
    fields: &'e [Field<'e>],
}

impl<'e> Entry<'e> {
    fn get(&self, name: &str) -> Option<&'e [u8]> {
        let at = self.fields.partition_point(|field| field.0 < name);
        self.fields.get(at).filter(|field| field.0 == name).map(|field| field.1)
    }

    fn text(&self, name: &str) -> Option<&'e str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    fn name_of(&self, name: &str) -> String {
        if let Some((_, named)) = NAMED.iter().find(|(field, _)| *field == name) {
            return (*named).to_owned();
        }
        let bare = name.strip_prefix('_').filter(|bare| self.get(bare).is_none()).unwrap_or(name);
        format!("journald.{}", bare.to_ascii_lowercase())
    }
}

fn level_of(priority: &str) -> Option<Level> {
    let severity = priority.parse().ok().filter(|severity| *severity <= 7)?;
    Some(Level::from_syslog_severity(severity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &mut [Field<'_>], expected: &str, is_lossy: bool) {
        let mut object = Object::new();
        assert_eq!(write_entry(fields, &mut object), is_lossy);
        assert_eq!(object.to_json(), expected);
    }

    #[test]
    fn fields_have_their_places_and_nothing_is_lost() {
        check(
            &mut [
                ("__CURSOR", b"s=1"),
                ("__REALTIME_TIMESTAMP", b"1700000000000001"),
                ("PRIORITY", b"4"),
                ("MESSAGE", b"Failed\npassword"),
                ("MESSAGE", b"again"),
                ("_SYSTEMD_UNIT", b"ssh.service"),
                ("_HOSTNAME", b"db-1"),
                ("_PID", b"7"),
                ("_BOOT_ID", b"b"),
                ("UNIT", b"u"),
                ("_UNIT", b"t"),
                ("TAG", b"a"),
                ("TAG", b"b"),
            ],
            concat!(
                r#"{"timestamp":"2023-11-14T22:13:20.000001000Z","message":"Failed\npassword","level":"warn","service":"ssh","#,
                r#""host":"db-1","journald.message":"again","journald.tag":["a","b"],"journald.unit":"u","journald.boot_id":"b","#,
                r#""process.pid":"7","systemd.unit":"ssh.service","journald._unit":"t"}"#
            ),
            false,
        );
    }

    #[test]
    fn what_cannot_be_read_is_kept_as_it_can() {
        check(
            &mut [("MESSAGE", b"hi\xff"), ("PRIORITY", b"9"), ("SYSLOG_IDENTIFIER", b"kernel")],
            r#"{"message":"hi�","service":"kernel","journald.priority":"9","syslog.identifier":"kernel"}"#,
            true,
        );
        check(&mut [], r#"{"message":""}"#, true);
    }
}
