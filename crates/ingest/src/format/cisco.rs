//! Messages of Cisco's devices: `[HOST] [SEQ: ][HOST: ][SEQ: ][*|.][TIME: ]%FACILITY-SEVERITY-MNEMONIC: text`, in any of the forms in which
//! IOS, NX-OS and ASA write them.
//!
//! Fields: `sequence`, `host`, `service` (the facility, such as `SYS` or `ASA`), `msgid` (`SYS-5-CONFIG_I`). The message starts with
//! the `%`. A time after `*` is of a clock that was never set; when it is far from now it is kept as `device_time` only.

use std::borrow::Cow;

use heimdall_model::time::NS_PER_DAY;
use heimdall_model::{Level, Timestamp};

use super::zone::When;
use super::{ParsedLine, Value};

/// How far into a message the `%` may be.
const HEAD_BYTES_MAX: usize = 200;
const UNSET_CLOCK: &str = "the device's clock is not set: its time is kept as device_time only";

/// Takes the message apart; `None`, and nothing taken, when it is none of Cisco's.
pub(super) fn read<'a>(text: &'a str, when: When<'_>, parsed: &mut ParsedLine<'a>) -> Option<()> {
    let percent = text.bytes().take(HEAD_BYTES_MAX).position(|b| b == b'%')?;
    let (head, message) = text.split_at(percent);
    let id = Id::read(message)?;
    let head = Head::read(head, when)?;
    head.push_to(parsed, when.now);
    parsed.push_text("service", id.facility);
    parsed.push_text("msgid", id.whole);
    parsed.level = parsed.level.or(Some(Level::from_syslog_severity(id.severity)));
    parsed.message = Cow::Borrowed(message);
    Some(())
}

struct Id<'a> {
    whole: &'a str,
    facility: &'a str,
    severity: u8,
}

impl<'a> Id<'a> {
    /// `%FACILITY[-SUBFACILITY]-SEVERITY-MNEMONIC:`.
    fn read(message: &'a str) -> Option<Id<'a>> {
        let (whole, _) = message.strip_prefix('%')?.split_once(':')?;
        let is_id = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let mut parts = whole.rsplitn(3, '-');
        let (_mnemonic, severity, facility) = (parts.next()?, parts.next()?, parts.next()?);
        let severity = match severity.as_bytes() {
            [digit @ b'0'..=b'7'] => digit - b'0',
            _ => return None,
        };
        (!facility.is_empty() && whole.bytes().all(is_id)).then_some(Id { whole, facility, severity })
    }
}

#[derive(Default)]
struct Head<'a> {
    host: Option<&'a str>,
    sequence: Option<&'a str>,
    time: Option<(Timestamp, &'a str)>,
    is_unset: bool,
}

impl<'a> Head<'a> {
    fn read(head: &'a str, when: When<'_>) -> Option<Head<'a>> {
        let mut found = Head::default();
        let mut rest = head.trim_ascii();
        while !rest.is_empty() {
            let marked = rest.trim_start_matches(['*', '.', ':', ' ']);
            if let Some((time, len)) = time_at(marked, when) {
                found.is_unset = rest.starts_with('*');
                found.time = Some((time, &marked[..len]));
                rest = marked[len..].trim_start_matches([':', ' ']);
                continue;
            }
            let (word, after) = split_word(marked);
            found.take_word(word)?;
            rest = after;
        }
        Some(found)
    }

    fn take_word(&mut self, word: &'a str) -> Option<()> {
        let place = match word.bytes().all(|b| b.is_ascii_digit()) {
            true => &mut self.sequence, // the later one is the device's own
            false if self.host.is_none() => &mut self.host,
            false => return None,
        };
        if !word.is_empty() {
            *place = Some(word);
        }
        Some(())
    }

    fn push_to(self, parsed: &mut ParsedLine<'a>, now: Timestamp) {
        if let Some(host) = self.host {
            parsed.push_text("host", host);
        }
        if let Some(sequence) = self.sequence {
            parsed.push("sequence", Value::sequence(sequence));
        }
        let Some((time, text)) = self.time else { return };
        if self.is_unset && time.0.abs_diff(now.0) > NS_PER_DAY.unsigned_abs() {
            parsed.push_text("device_time", text);
            parsed.diagnostics.push(UNSET_CLOCK);
        } else {
            parsed.timestamp = Some(time);
        }
    }
}

/// The word that ends with a colon and a space, with white space, or with the text.
fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (word.trim_end_matches(':'), rest.trim_start_matches([' ', ':']))
}

/// A time at the start, also as `2026 Feb  9 12:17:19`, and how long it is. A number alone is a sequence, not a time.
fn time_at(text: &str, when: When<'_>) -> Option<(Timestamp, usize)> {
    let is_number = text.bytes().find(|b| !b.is_ascii_digit()).is_none_or(|b| b == b':');
    if is_number {
        return None;
    }
    if let Some((year, rest)) = text.split_once(' ')
        && year.len() == 4
        && rest.starts_with(|c: char| c.is_ascii_uppercase())
    {
        let (month, rest) = rest.split_once(' ')?;
        let (day, clock) = rest.trim_start_matches(' ').split_once(' ')?;
        let usual = format!("{month} {day} {year} {clock}");
        let found = when.prefix(&usual)?;
        let behind = usual.len() - found.len;
        return Some((found.timestamp, text.len().checked_sub(behind)?));
    }
    let found = when.prefix(text)?;
    Some((found.timestamp, found.len))
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::show;

    #[track_caller]
    fn check(line: &str, shown: &str) {
        assert_eq!(show(Format::Syslog, line), shown, "{line}");
    }

    #[test]
    fn ios() {
        let rest = "service=\"SYS\" msgid=\"SYS-5-CONFIG_I\" | %SYS-5-CONFIG_I: Configured from console";
        let line = "%SYS-5-CONFIG_I: Configured from console";
        let time = "2026-02-28T18:48:50.483000000Z info | facility=23 severity_code=5";
        check(
            &format!("<189>123: *Feb 27 18:48:50.483 UTC: {line}"),
            &format!(
                "- info | facility=23 severity_code=5 sequence=123 device_time=\"Feb 27 18:48:50.483 UTC\" {rest} ! the device's clock is not set: its time is kept as device_time only"
            ),
        );
        check(&format!("<189>123: .Feb 28 18:48:50.483: {line}"), &format!("{time} sequence=123 {rest}"));
        check(
            &format!("<189>24: r1: 000046: Feb 28 18:48:50.483: {line}"),
            &format!("{time} host=\"r1\" sequence=46 {rest}"),
        );
        check(
            &format!("<189>Feb 28 18:48:51 10.0.0.1 46: Feb 28 18:48:50.483: {line}"),
            &format!("{time} host=\"10.0.0.1\" sequence=46 {rest}"),
        );
        check(
            &format!("<189>46: {line}"),
            &format!("- info | facility=23 severity_code=5 sequence=46 {rest}"),
        );
        check(
            &format!("<189>46: *Mar  1 11:48:50.483: {line}"),
            &format!("2026-03-01T11:48:50.483000000Z info | facility=23 severity_code=5 sequence=46 {rest}"),
        );
        check(line, &format!("- info | {}", rest.replace(line, "(whole)")));
    }

    #[test]
    fn nx_os_and_asa() {
        check(
            "<189>: 2026 Feb  8 22:11:00.031 CET: %ETHPORT-5-IF_UP: Interface up",
            "2026-02-08T21:11:00.031000000Z info | facility=23 severity_code=5 service=\"ETHPORT\" msgid=\"ETHPORT-5-IF_UP\" | %ETHPORT-5-IF_UP: Interface up",
        );
        check(
            "<166>Feb 09 2026 10:33:03 fw1 : %ASA-6-302013: Built",
            "2026-02-09T10:33:03.000000000Z info | facility=20 severity_code=6 host=\"fw1\" service=\"ASA\" msgid=\"ASA-6-302013\" | %ASA-6-302013: Built",
        );
        check(
            "<163>%ASA-3-1: x",
            "- error | facility=20 severity_code=3 service=\"ASA\" msgid=\"ASA-3-1\" | %ASA-3-1: x",
        );
    }

    #[test]
    fn a_percent_sign_alone_is_not_enough() {
        for line in
            ["<13>cpu at 100%: hot", "<13>a b c %SYS-5-CONFIG_I: x", "<13>%SYS-9-X: y", "<13>%-5-X: y"]
        {
            assert!(!show(Format::Syslog, line).contains("msgid"), "{line}");
        }
    }
}
