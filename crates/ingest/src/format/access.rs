//! Access log lines of Apache and nginx: common, combined, and combined after a virtual host.
//!
//! Fields: `source_ip` (or `remote_host` when it is a name), `vhost`, `ident`, `user_id`, `method`, `path`, `query`,
//! `protocol`, `status`, `bytes`, `referer`, `user_agent`, `extra` (what follows the user agent). The level comes from the
//! status. The message is the whole line. Values stay as logged: percent-encoding and `\"` are not resolved, so that
//! rules see what the client sent.
//!
//! Invariant: a request that is not `METHOD target PROTOCOL` is kept as `request`; spaces in the target belong to it.

use std::net::IpAddr;

use heimdall_model::time::TimeForm;
use heimdall_model::{Level, Timestamp};

use super::{ParsedLine, Value};

/// Longest part before the time; longer is no access log.
const PREFIX_BYTES_MAX: usize = 1_024;
const NOT_ACCESS: &str = "not an access log line: expected `host ident user [time] \"request\" status bytes`";

pub(super) fn parse(line: &str) -> ParsedLine<'_> {
    read(line).unwrap_or_else(|| {
        let mut kept = ParsedLine::whole(line);
        kept.diagnostics.push(NOT_ACCESS);
        kept
    })
}

pub(super) fn recognises(line: &str) -> bool {
    read(line).is_some()
}

fn read(line: &str) -> Option<ParsedLine<'_>> {
    let mut parsed = ParsedLine::whole(line);
    let (prefix, timestamp, rest) = split_time(line)?;
    parsed.timestamp = Some(timestamp);
    read_client(prefix, &mut parsed)?;
    let (request, rest) = split_quoted(rest.strip_prefix(' ')?)?;
    read_request(request, &mut parsed);
    let (status, rest) = next_word(rest.strip_prefix(' ')?);
    parsed.level = Some(read_status(status, &mut parsed)?);
    let (bytes, rest) = next_word(rest.strip_prefix(' ')?);
    if bytes != "-" {
        parsed.push("bytes", Value::Int(bytes.parse().ok()?));
    }
    read_combined(rest, &mut parsed);
    Some(parsed)
}

/// Splits at the first `[time]`: what is before it, the time, what is after it.
fn split_time(line: &str) -> Option<(&str, Timestamp, &str)> {
    let (prefix, rest) = line.split_once(" [").filter(|(prefix, _)| prefix.len() <= PREFIX_BYTES_MAX)?;
    // The time of an access log states its year, so the epoch serves as `now`.
    let time =
        Timestamp::parse_prefix(rest, Timestamp::default()).filter(|time| time.form == TimeForm::DateTime)?;
    Some((prefix, time.timestamp, rest[time.len..].strip_prefix(']')?))
}

/// `host ident user`, or `vhost:port host ident user`; a user name may hold spaces.
fn read_client<'a>(prefix: &'a str, parsed: &mut ParsedLine<'a>) -> Option<()> {
    let (first, rest) = prefix.split_once(' ')?;
    let second = next_word(rest).0;
    let has_vhost = first.parse::<IpAddr>().is_err() && second.parse::<IpAddr>().is_ok();
    let (remote, rest) = if has_vhost { rest.split_once(' ')? } else { (first, rest) };
    let (ident, user) = rest.split_once(' ')?;
    if has_vhost {
        parsed.push_text("vhost", first);
    }
    let remote_name = if remote.parse::<IpAddr>().is_ok() { "source_ip" } else { "remote_host" };
    for (name, text) in [(remote_name, remote), ("ident", ident), ("user_id", user)] {
        push_unless_dash(name, text, parsed);
    }
    Some(())
}

fn read_request<'a>(request: &'a str, parsed: &mut ParsedLine<'a>) {
    let Some((method, target)) = request.split_once(' ').filter(|(method, _)| is_method(method)) else {
        push_unless_dash("request", request, parsed);
        return;
    };
    let (target, protocol) = match target.rsplit_once(' ') {
        Some((target, protocol)) if protocol.starts_with("HTTP/") => (target, Some(protocol)),
        _ => (target, None),
    };
    parsed.push_text("method", method);
    match target.split_once('?') {
        Some((path, query)) => {
            parsed.push_text("path", path);
            parsed.push_text("query", query);
        }
        None => parsed.push_text("path", target),
    }
    if let Some(protocol) = protocol {
        parsed.push_text("protocol", protocol);
    }
}

fn is_method(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-' || byte == b'_')
}

fn read_status(word: &str, parsed: &mut ParsedLine<'_>) -> Option<Level> {
    let status = word.parse::<i64>().ok().filter(|status| word.len() == 3 && *status >= 0)?;
    parsed.push("status", Value::Int(status));
    Some(match status {
        500.. => Level::Error,
        400..500 => Level::Warn,
        _ => Level::Info,
    })
}

/// ` "referer" "user agent"` and whatever a longer format adds.
fn read_combined<'a>(rest: &'a str, parsed: &mut ParsedLine<'a>) {
    let mut rest = rest;
    for name in ["referer", "user_agent"] {
        let Some((text, after)) = rest.strip_prefix(' ').and_then(split_quoted) else { break };
        push_unless_dash(name, text, parsed);
        rest = after;
    }
    let extra = rest.trim_ascii();
    if !extra.is_empty() {
        parsed.push_text("extra", extra);
    }
}

fn push_unless_dash<'a>(name: &'static str, text: &'a str, parsed: &mut ParsedLine<'a>) {
    if text != "-" && !text.is_empty() {
        parsed.push_text(name, text);
    }
}

fn next_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(' ').unwrap_or(text.len()))
}

/// The text between quotes, a backslash hiding the quote after it, and what follows the closing one.
fn split_quoted(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let bytes = inner.as_bytes();
    let mut at = 0;
    loop {
        at += bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if bytes[at] == b'"' {
            return Some((&inner[..at], &inner[at + 1..]));
        }
        at = (at + 2).min(bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::show;

    #[track_caller]
    fn check(line: &str, shown: &str) {
        assert_eq!(show(Format::Access, line), shown, "{line}");
    }

    #[test]
    fn common_and_combined() {
        check(
            "192.0.2.1 - ann [09/Feb/2026:13:55:36 -0700] \"GET /a/b?x=1&y=%27 HTTP/1.1\" 200 2326",
            "2026-02-09T20:55:36.000000000Z info | source_ip=\"192.0.2.1\" user_id=\"ann\" method=\"GET\" path=\"/a/b\" query=\"x=1&y=%27\" protocol=\"HTTP/1.1\" status=200 bytes=2326 | (whole)",
        );
        check(
            "2001:db8::1 - - [09/Feb/2026:13:55:36 +0000] \"POST /login HTTP/2.0\" 401 - \"-\" \"an \\\"odd\\\" agent\" \"203.0.113.9\"",
            "2026-02-09T13:55:36.000000000Z warn | source_ip=\"2001:db8::1\" method=\"POST\" path=\"/login\" protocol=\"HTTP/2.0\" status=401 user_agent=\"an \\\\\\\"odd\\\\\\\" agent\" extra=\"\\\"203.0.113.9\\\"\" | (whole)",
        );
        check(
            "www.example.org:443 192.0.2.1 - - [09/Feb/2026:13:55:36 +0000] \"GET / HTTP/1.1\" 503 0",
            "2026-02-09T13:55:36.000000000Z error | vhost=\"www.example.org:443\" source_ip=\"192.0.2.1\" method=\"GET\" path=\"/\" protocol=\"HTTP/1.1\" status=503 bytes=0 | (whole)",
        );
    }

    #[test]
    fn odd_requests_are_kept() {
        check(
            "client.example - - [09/Feb/2026:13:55:36 +0000] \"GET /?q=<a b> 1 HTTP/1.0\" 404 1",
            "2026-02-09T13:55:36.000000000Z warn | remote_host=\"client.example\" method=\"GET\" path=\"/\" query=\"q=<a b> 1\" protocol=\"HTTP/1.0\" status=404 bytes=1 | (whole)",
        );
        check(
            "192.0.2.1 - - [09/Feb/2026:13:55:36 +0000] \"\\x16\\x03\" 400 1",
            "2026-02-09T13:55:36.000000000Z warn | source_ip=\"192.0.2.1\" request=\"\\\\x16\\\\x03\" status=400 bytes=1 | (whole)",
        );
    }

    #[test]
    fn other_lines_are_kept_whole() {
        for line in [
            "",
            "hello",
            "192.0.2.1 - - [yesterday] \"GET / HTTP/1.1\" 200 1",
            "192.0.2.1 - - [09/Feb/2026:13:55:36 +0000] \"GET / HTTP/1.1 200 1",
            "192.0.2.1 - - [09/Feb/2026:13:55:36 +0000] \"GET / HTTP/1.1\" ok 1",
            "192.0.2.1 - - [09/Feb/2026:13:55:36 +0000] \"\\",
        ] {
            check(line, &format!("- - | | (whole) ! {}", super::NOT_ACCESS));
        }
    }
}
