//! Syslog lines: RFC 5424, RFC 3164, what Cisco's devices send (see [`super::cisco`]), and what daemons write to disk (no
//! priority; BSD or RFC 3339 time). A message that is an event of CEF or LEEF is taken apart too (see [`super::event`]), also
//! without any header.
//!
//! Fields: `facility`, `severity_code`, `host`, `service` (the app name), `module` (`pam_unix` of `sshd(pam_unix)`), `pid`,
//! `msgid`, and `SD-ID.param` for structured data.
//!
//! Invariant: a line with a broken priority or a broken RFC 5424 header yields no field, only its text and the reason.

use std::borrow::Cow;

use heimdall_model::time::TimeForm;
use heimdall_model::{Level, Timestamp};

use super::event::{is_event, read_body};
use super::zone::{When, Zone};
use super::{FIELDS_MAX, ParsedLine, Value, cisco, plain};

/// Highest priority value: facility 23, severity 7.
const PRIORITY_MAX: u16 = 191;
/// Longest app name taken from free text; a longer run before a colon is message.
const TAG_BYTES_MAX: usize = 128;

const BAD_PRIORITY: &str = "not syslog: no valid priority `<0>` to `<191>`";
const EMPTY: &str = "not syslog: the line is empty";
const NO_CONTENT: &str = "not syslog: nothing follows the priority";
const NO_HEADER: &str = "syslog priority without a header";
const SHORT_HEADER: &str = "not RFC 5424: the header lacks fields";
const BAD_TIME: &str = "not RFC 5424: the timestamp is not valid";
const BAD_DATA: &str = "not RFC 5424: the structured data is not valid";
const NO_TIME: &str = "not syslog: no time and host at the start";

pub(super) fn parse<'a>(line: &'a str, when: When<'_>) -> ParsedLine<'a> {
    match read(line, when) {
        Ok(parsed) => parsed,
        Err(reason) => {
            // A claim to be syslog that does not hold is trusted in nothing; an odd line of a file may still have a time.
            let is_claim = line.starts_with('<');
            let mut kept = if is_claim { ParsedLine::whole(line) } else { plain::parse(line, when.now) };
            kept.diagnostics.push(reason);
            kept
        }
    }
}

/// Whether the line is syslog without reservations.
pub(super) fn recognises(line: &str, now: Timestamp) -> bool {
    read(line, When { now, zone: &Zone::UTC }).is_ok_and(|parsed| parsed.diagnostics.is_empty())
}

fn read<'a>(line: &'a str, when: When<'_>) -> Result<ParsedLine<'a>, &'static str> {
    let mut parsed = read_envelope(line, when)?;
    read_body(&mut parsed, when);
    Ok(parsed)
}

/// Everything but what the message itself may be.
fn read_envelope<'a>(line: &'a str, when: When<'_>) -> Result<ParsedLine<'a>, &'static str> {
    let text = line.trim_end_matches('\0');
    if text.trim_ascii().is_empty() {
        return Err(EMPTY);
    }
    if !text.starts_with('<') {
        let mut parsed = ParsedLine::whole(text);
        let is_read = is_event(text)
            || cisco::read(text, when, &mut parsed).is_some()
            || read_header(text, when, &mut parsed).is_some();
        return if is_read { Ok(parsed) } else { Err(NO_TIME) };
    }
    let (priority, rest) = split_priority(text).ok_or(BAD_PRIORITY)?;
    if rest.trim_ascii().is_empty() {
        return Err(NO_CONTENT);
    }
    let mut parsed = ParsedLine::whole(rest);
    parsed.level = Some(Level::from_syslog_severity(priority.severity));
    parsed.push("facility", Value::Int(i64::from(priority.facility)));
    parsed.push("severity_code", Value::Int(i64::from(priority.severity)));
    if let Some(header) = rest.strip_prefix("1 ") {
        return read_rfc5424(header, parsed);
    }
    if cisco::read(rest, when, &mut parsed).is_none() && read_header(rest, when, &mut parsed).is_none() {
        read_content(rest, &mut parsed);
    }
    Ok(parsed)
}

/// What follows a priority without time and host: perhaps a tag, and the message.
fn read_content<'a>(content: &'a str, parsed: &mut ParsedLine<'a>) {
    if is_event(content) {
        return;
    }
    parsed.diagnostics.push(NO_HEADER);
    let tag = split_tag(content).filter(|(tag, _)| tag.pid.is_some() || Level::parse(tag.app).is_none());
    if let Some((tag, message)) = tag {
        tag.push_to(parsed);
        parsed.message = Cow::Borrowed(message);
    }
}

struct Priority {
    facility: u8,
    severity: u8,
}

/// `<PRI>`: one to three digits, no leading zero, at most 191.
fn split_priority(text: &str) -> Option<(Priority, &str)> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = digits.len() > 1 && digits.starts_with('0');
    if !is_number || has_leading_zero {
        return None;
    }
    let value = digits.parse::<u16>().ok().filter(|value| *value <= PRIORITY_MAX)?;
    let (facility, severity) = (u8::try_from(value / 8).ok()?, u8::try_from(value % 8).ok()?);
    Some((Priority { facility, severity }, rest))
}

// ---- RFC 5424 -------------------------------------------------------------------------------------------------

/// `TIMESTAMP HOSTNAME APP-NAME PROCID MSGID SD [MSG]`, after the version.
fn read_rfc5424<'a>(header: &'a str, mut parsed: ParsedLine<'a>) -> Result<ParsedLine<'a>, &'static str> {
    let (time, rest) = next_token(header)?;
    let (host, rest) = next_token(rest)?;
    if is_event(rest) {
        return read_event_header(time, host, rest, parsed);
    }
    let (app, rest) = next_token(rest)?;
    let (pid, rest) = next_token(rest)?;
    let (msgid, rest) = next_token(rest)?;
    parsed.timestamp = nil_or_time(time)?;
    for (name, text) in [("host", host), ("service", app)] {
        if text != "-" {
            parsed.push_text(name, text);
        }
    }
    if pid != "-" {
        parsed.push("pid", Value::int_or_text(pid));
    }
    if msgid != "-" {
        parsed.push_text("msgid", msgid);
    }
    let rest = match rest.strip_prefix('-') {
        Some(rest) => rest,
        None => read_structured_data(rest, &mut parsed)?,
    };
    let message = match rest.strip_prefix(' ') {
        Some(message) => message.strip_prefix('\u{feff}').unwrap_or(message),
        None if rest.is_empty() => "",
        None => return Err(BAD_DATA),
    };
    parsed.message = Cow::Borrowed(message);
    Ok(parsed)
}

/// An event right after the host, as some products write it.
fn read_event_header<'a>(
    time: &str,
    host: &'a str,
    event: &'a str,
    mut parsed: ParsedLine<'a>,
) -> Result<ParsedLine<'a>, &'static str> {
    parsed.timestamp = nil_or_time(time)?;
    if host != "-" {
        parsed.push_text("host", host);
    }
    parsed.message = Cow::Borrowed(event);
    Ok(parsed)
}

fn nil_or_time(text: &str) -> Result<Option<Timestamp>, &'static str> {
    if text == "-" { Ok(None) } else { strict_time(text).map(Some).ok_or(BAD_TIME) }
}

fn next_token(text: &str) -> Result<(&str, &str), &'static str> {
    text.split_once(' ').filter(|(token, _)| !token.is_empty()).ok_or(SHORT_HEADER)
}

/// The profile of RFC 3339 that RFC 5424 allows: with `T` and with a zone.
fn strict_time(text: &str) -> Option<Timestamp> {
    let has_zone = text.ends_with('Z') || text.get(19..)?.contains(['+', '-']);
    (text.as_bytes().get(10) == Some(&b'T') && has_zone).then(|| Timestamp::parse(text))?
}

/// `[id name="value" ...][id ...]`; returns what follows.
fn read_structured_data<'a>(text: &'a str, parsed: &mut ParsedLine<'a>) -> Result<&'a str, &'static str> {
    let mut rest = text;
    if !rest.starts_with('[') {
        return Err(BAD_DATA);
    }
    while let Some(element) = rest.strip_prefix('[') {
        let (id, after) = split_name(element, &[' ', ']']).ok_or(BAD_DATA)?;
        rest = after;
        if rest.starts_with(']') {
            parsed.fields.push((Cow::Borrowed(id), Value::text("")));
        }
        while let Some(param) = rest.strip_prefix(' ') {
            let (name, after) = split_name(param, &['=']).ok_or(BAD_DATA)?;
            let quoted = after.strip_prefix("=\"").ok_or(BAD_DATA)?;
            let (value, after) = split_quoted(quoted).ok_or(BAD_DATA)?;
            if parsed.fields.len() >= FIELDS_MAX {
                return Err("not kept as fields: more structured data than one record may have");
            }
            parsed.fields.push((Cow::Owned(format!("{id}.{name}")), Value::Text(value)));
            rest = after;
        }
        rest = rest.strip_prefix(']').ok_or(BAD_DATA)?;
    }
    Ok(rest)
}

/// An SD-NAME up to one of `ends`, which stays in the rest.
fn split_name<'a>(text: &'a str, ends: &[char]) -> Option<(&'a str, &'a str)> {
    let len = text.find([' ', '=', ']', '"'])?;
    let (name, rest) = text.split_at(len);
    (len > 0 && rest.starts_with(ends)).then_some((name, rest))
}

/// A value up to its closing quote, with `\"`, `\\` and `\]` resolved; any other backslash stands for itself.
fn split_quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut owned: Option<String> = None;
    let mut copied_to = 0;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let value = match owned {
                    None => Cow::Borrowed(&text[..at]),
                    Some(value) => Cow::Owned(value + &text[copied_to..at]),
                };
                return Some((value, &text[at + 1..]));
            }
            '\\' if text[at + 1..].starts_with(['"', '\\', ']']) => {
                owned.get_or_insert_default().push_str(&text[copied_to..at]);
                copied_to = at + 1;
                chars.next();
            }
            _ => {}
        }
    }
    None
}

// ---- RFC 3164 and files ---------------------------------------------------------------------------------------

/// `TIME [HOST] [TAG] message`; `None`, and nothing taken, when the line does not start so.
fn read_header<'a>(text: &'a str, when: When<'_>, parsed: &mut ParsedLine<'a>) -> Option<()> {
    let time = when.prefix(text)?;
    let is_bsd = text.as_bytes()[0].is_ascii_alphabetic();
    let has_priority = parsed.level.is_some();
    if matches!(time.form, TimeForm::Epoch | TimeForm::DateOnly) || (time.form == TimeForm::NoYear && !is_bsd)
    {
        return None;
    }
    let rest = text[time.len..].trim_start_matches(':').trim_start_matches(' ');
    let (host, content) = split_host(rest);
    let (tag, message) = match split_tag(content).filter(|_| !is_event(content)) {
        Some((tag, message)) => (Some(tag), message),
        None => (None, content),
    };
    // `2026-02-09T20:25:01Z INFO started` is no syslog: without priority or BSD time a host and a tag must vouch for it.
    if !is_bsd
        && !has_priority
        && (host.is_none_or(|host| Level::parse(host).is_some()) || tag.is_none())
        && !is_event(content)
    {
        return None;
    }
    if host.is_none() && tag.is_none() && !is_event(content) {
        return None;
    }
    parsed.timestamp = Some(time.timestamp);
    if let Some(host) = host {
        parsed.push_text("host", host);
    }
    if let Some(tag) = tag {
        tag.push_to(parsed);
    }
    parsed.message = Cow::Borrowed(message);
    parsed.level = parsed.level.or_else(|| plain::level_of_message(message));
    Some(())
}

/// The host, unless the first word is already the tag (messages from a local socket have no host).
fn split_host(text: &str) -> (Option<&str>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_tag = word.ends_with(':') || (word.contains('[') && split_tag(text).is_some());
    let is_host = !word.is_empty() && !is_tag && !is_event(text) && !word.starts_with(['[', '(', '{', '"']);
    if is_host { (Some(word), rest) } else { (None, text) }
}

struct Tag<'a> {
    app: &'a str,
    module: Option<&'a str>,
    pid: Option<&'a str>,
}

impl<'a> Tag<'a> {
    fn push_to(&self, parsed: &mut ParsedLine<'a>) {
        parsed.push_text("service", self.app);
        if let Some(module) = self.module {
            parsed.push_text("module", module);
        }
        if let Some(pid) = self.pid {
            parsed.push("pid", Value::int_or_text(pid));
        }
    }
}

/// `app: `, `app[pid]: `, `app(module)[pid]: `, `app 1.2.3: `; returns the message after it.
fn split_tag(text: &str) -> Option<(Tag<'_>, &str)> {
    let text = text.trim_start_matches(' ');
    let text = text.strip_prefix("-- ").unwrap_or(text);
    let len = text.find(|c: char| c.is_whitespace() || "[]():\"=<>,;{}'".contains(c)).unwrap_or(text.len());
    if len == 0 || len > TAG_BYTES_MAX {
        return None;
    }
    let (app, rest) = text.split_at(len);
    let (module, rest) = split_enclosed(rest, '(', ')');
    let (pid, rest) = split_enclosed(rest, '[', ']');
    let message = match rest.strip_prefix(':') {
        Some(message) => message,
        None if pid.is_some() => rest,
        None => return version_tag(app, rest),
    };
    let message = if message.is_empty() { message } else { message.strip_prefix(' ')? };
    Some((Tag { app, module, pid }, message))
}

/// `syslogd 1.4.1: restart.`: the version stays in the message.
fn version_tag<'a>(app: &'a str, rest: &'a str) -> Option<(Tag<'a>, &'a str)> {
    let message = rest.strip_prefix(' ')?;
    let (version, _) = message.split_once(": ")?;
    let is_version = version.contains('.') && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_version.then_some((Tag { app, module: None, pid: None }, message))
}

fn split_enclosed(text: &str, open: char, close: char) -> (Option<&str>, &str) {
    match text.strip_prefix(open).and_then(|inner| inner.split_once(close)) {
        Some((inner, rest)) if !inner.is_empty() && !inner.contains(' ') => (Some(inner), rest),
        _ => (None, text),
    }
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
    fn rfc5424() {
        check(
            "<165>1 2026-02-09T05:14:15.000003-07:00 192.0.2.7 proc 8710 - - %% hello",
            "2026-02-09T12:14:15.000003000Z info | facility=20 severity_code=5 host=\"192.0.2.7\" service=\"proc\" pid=8710 | %% hello",
        );
        check(
            "<34>1 - h - - ID47 [a@1 k=\"1 \\\"2\\\" \\] \\n\" e=\"\"][b@1]",
            "- fatal | facility=4 severity_code=2 host=\"h\" msgid=\"ID47\" a@1.k=\"1 \\\"2\\\" ] \\\\n\" a@1.e=\"\" b@1=\"\" | ",
        );
        check("<0>1 - - - - - - \u{feff}é", "- fatal | facility=0 severity_code=0 | é");
        check("<0>1 - - - - - - a\tb\r\n", "- fatal | facility=0 severity_code=0 | a\tb");
    }

    #[test]
    fn rfc3164() {
        check(
            "<13>Feb  5 17:32:18 10.0.0.9 Try it!",
            "2026-02-05T17:32:18.000000000Z info | facility=1 severity_code=5 host=\"10.0.0.9\" | Try it!",
        );
        check(
            "<78>Dec  1 00:00:01 box CRON[99]: (root) CMD (tidy)",
            "2025-12-01T00:00:01.000000000Z info | facility=9 severity_code=6 host=\"box\" service=\"CRON\" pid=99 | (root) CMD (tidy)",
        );
        check(
            "<30>Feb  9 22:33:20 auditd[1787]: local socket",
            "2026-02-09T22:33:20.000000000Z info | facility=3 severity_code=6 service=\"auditd\" pid=1787 | local socket",
        );
        check(
            "<28>something short",
            "- warn | facility=3 severity_code=4 | something short ! syslog priority without a header",
        );
    }

    #[test]
    fn a_priority_and_nothing_else() {
        check(
            "<14>app[7]: from a program without a clock\0",
            "- info | facility=1 severity_code=6 service=\"app\" pid=7 | from a program without a clock ! syslog priority without a header",
        );
        check(
            "<14>error: no tag",
            "- info | facility=1 severity_code=6 | error: no tag ! syslog priority without a header",
        );
    }

    #[test]
    fn several_lines_in_one_message() {
        check(
            "<11>1 2026-02-09T12:00:00Z h app - - - Traceback:\n  File x#012\nboom\n",
            "2026-02-09T12:00:00.000000000Z error | facility=1 severity_code=3 host=\"h\" service=\"app\" | Traceback:\n  File x#012\nboom",
        );
        check(
            "<11>Feb  9 12:00:00 h app: one\n\ttwo",
            "2026-02-09T12:00:00.000000000Z error | facility=1 severity_code=3 host=\"h\" service=\"app\" | one\n\ttwo",
        );
    }

    #[test]
    fn files_on_disk() {
        check(
            "Feb  9 15:16:01 combo sshd(pam_unix)[19]: authentication failure; uid=0",
            "2026-02-09T15:16:01.000000000Z - | host=\"combo\" service=\"sshd\" module=\"pam_unix\" pid=19 | authentication failure; uid=0",
        );
        check(
            "2026-02-09T15:16:01.5+01:00 box postfix/smtpd[7]: warning: slow",
            "2026-02-09T14:16:01.500000000Z warn | host=\"box\" service=\"postfix/smtpd\" pid=7 | warning: slow",
        );
        check(
            "Feb  9 15:16:01 box syslogd 1.4.1: restart.",
            "2026-02-09T15:16:01.000000000Z - | host=\"box\" service=\"syslogd\" | 1.4.1: restart.",
        );
        check(
            "Feb  9 15:16:01 box last message repeated 3 times",
            "2026-02-09T15:16:01.000000000Z - | host=\"box\" | last message repeated 3 times",
        );
    }

    #[test]
    fn what_is_not_syslog_is_kept_whole_with_the_reason() {
        let priority = "- - | | (whole) ! not syslog: no valid priority `<0>` to `<191>`";
        for line in
            ["<1000>1 - h a - - - x", "<192>1 - h a - - - x", "<34 1 - h a - - - x", "<>x", "<013>x", "<-1>x"]
        {
            check(line, priority);
        }
        check("", "- - | | (whole) ! not syslog: the line is empty");
        check("<34>", "- - | | (whole) ! not syslog: nothing follows the priority");
        check(
            "<13>1 2026-13-03T00:00:00Z h a - - - x",
            "- - | | (whole) ! not RFC 5424: the timestamp is not valid",
        );
        check("<13>1 2026-02-03 h a - - - x", "- - | | (whole) ! not RFC 5424: the timestamp is not valid");
        check("<13>1 - h a - -", "- - | | (whole) ! not RFC 5424: the header lacks fields");
        for data in ["[x@1 a=1]", "[x@1 a=\"1]", "[]", "[x@1", "x", "[x@1]y"] {
            check(
                &format!("<13>1 - h a - - {data} x"),
                "- - | | (whole) ! not RFC 5424: the structured data is not valid",
            );
        }
        check(
            "2026-02-09T15:16:01Z INFO started",
            "2026-02-09T15:16:01.000000000Z info | | (whole) ! not syslog: no time and host at the start",
        );
    }
}
