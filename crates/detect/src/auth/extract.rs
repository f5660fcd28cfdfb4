//! Finds logins and failed logins in records: sshd and PAM text, structured events, HTTP 401 on login paths.
//!
//! One record gives one event at most. Text written by a client (user names, messages) cannot stand in for what the
//! server wrote: in sshd lines the address is taken from the end, where sshd puts it.
//!
//! Cost: one scan of the message and one of the attributes for a record that is none of these.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use heimdall_model::attributes;
use heimdall_model::batch::Row;
use heimdall_model::schema::logs;
use memchr::memmem;

use crate::fields;
use crate::hits::WEIGHT_MAX;

/// Whether a login went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Refused, so many times.
    Failed { times: u16 },
    /// Let in.
    Succeeded,
}

/// Who wrote the record. PAM and the service that asks it report the same failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reporter {
    Service = 0,
    Pam = 1,
}

/// A login or an attempt at one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login<'a> {
    pub(crate) outcome: Outcome,
    pub(crate) reporter: Reporter,
    pub(crate) source: Option<Cow<'a, str>>,
    pub(crate) user: Option<Cow<'a, str>>,
}

/// What a phrase in a message says.
#[derive(Debug, Clone, Copy)]
enum Phrase {
    /// `Failed password for [invalid user ]U from IP port N`.
    SshFailed,
    /// `Accepted password for U from IP port N`.
    SshAccepted,
    /// `authentication failure; … rhost=H user=U`.
    Pam,
    /// Words of an application; they count only when the record names a source or user of its own.
    Failed,
    /// Likewise, of success.
    Succeeded,
}

const PHRASES: &[(&str, Phrase)] = &[
    ("failed password for ", Phrase::SshFailed),
    ("failed keyboard-interactive/pam for ", Phrase::SshFailed),
    ("accepted password for ", Phrase::SshAccepted),
    ("accepted publickey for ", Phrase::SshAccepted),
    ("accepted keyboard-interactive/pam for ", Phrase::SshAccepted),
    ("accepted gssapi-with-mic for ", Phrase::SshAccepted),
    ("authentication failure; ", Phrase::Pam),
    ("login failed", Phrase::Failed),
    ("failed login", Phrase::Failed),
    ("login failure", Phrase::Failed),
    ("logon failure", Phrase::Failed),
    ("failed to log in", Phrase::Failed),
    ("authentication failed", Phrase::Failed),
    ("failed authentication", Phrase::Failed),
    ("invalid credentials", Phrase::Failed),
    ("invalid password", Phrase::Failed),
    ("wrong password", Phrase::Failed),
    ("incorrect password", Phrase::Failed),
    ("login succeeded", Phrase::Succeeded),
    ("login successful", Phrase::Succeeded),
    ("successful login", Phrase::Succeeded),
    ("logged in successfully", Phrase::Succeeded),
];

/// Words in attributes without which they tell of no login.
const ATTRIBUTE_WORDS: &[&str] = &["login", "logon", "signin", "sign-in", "sign_in", "auth"];
/// One of these is part of every path of an outcome.
const OUTCOME_KEYS: [&str; 2] = ["outcome", "result"];
const OUTCOME_PATHS: &[&str] = &["outcome", "event.outcome", "result", "auth.outcome", "auth.result"];
const ACTION_PATHS: &[&str] =
    &["event.action", "action", "event", "event_type", "event.type", "type", "operation", "event.name"];
const URL_PATHS: &[&str] =
    &["path", "url.path", "http.path", "http.target", "url", "uri", "request", "http.route", "http.url"];
const USER_PATHS: &[&str] = &["user", "username", "user_name", "user.name", "account", "login", "email"];
const HTTP_UNAUTHORIZED: u16 = 401;

/// Compiled phrases.
#[derive(Debug)]
pub(crate) struct Extractor {
    phrases: AhoCorasick,
    words: AhoCorasick,
    outcomes: [memmem::Finder<'static>; 2],
}

impl Extractor {
    pub(crate) fn new() -> Extractor {
        let build = |kind, list: Vec<&str>| {
            AhoCorasickBuilder::new().ascii_case_insensitive(true).match_kind(kind).build(list)
        };
        let fixed = "a short fixed list fits an automaton";
        Extractor {
            phrases: build(MatchKind::LeftmostFirst, PHRASES.iter().map(|(text, _)| *text).collect())
                .expect(fixed),
            outcomes: OUTCOME_KEYS.map(memmem::Finder::new),
            words: build(MatchKind::Standard, ATTRIBUTE_WORDS.to_vec()).expect(fixed),
        }
    }

    /// The login a log record tells of, if any.
    pub(crate) fn login<'a>(&self, row: &Row<'a>) -> Option<Login<'a>> {
        let in_message = row.text(logs::MESSAGE).and_then(|message| self.in_message(row, message));
        in_message.or_else(|| self.in_attributes(row))
    }

    fn in_message<'a>(&self, row: &Row<'a>, message: &'a str) -> Option<Login<'a>> {
        let found = self.phrases.find(message)?;
        let rest = &message[found.end()..];
        match PHRASES[found.pattern().as_usize()].1 {
            Phrase::SshFailed => ssh(rest, Outcome::Failed { times: repeated(&message[..found.start()]) }),
            Phrase::SshAccepted => ssh(rest, Outcome::Succeeded),
            Phrase::Pam => pam(message, rest),
            Phrase::Failed => structured(row, Outcome::Failed { times: 1 }),
            Phrase::Succeeded => structured(row, Outcome::Succeeded),
        }
    }

    fn in_attributes<'a>(&self, row: &Row<'a>) -> Option<Login<'a>> {
        let json = row.attributes()?;
        let says_outcome = self.outcomes.iter().any(|key| key.find(json.as_bytes()).is_some());
        let refused = fields::http_status(row, b'4') == Some(HTTP_UNAUTHORIZED);
        if !(says_outcome || refused) || !self.words.is_match(json) {
            return None;
        }
        let about_login =
            |paths| fields::first_attribute(json, paths).is_some_and(|text| self.words.is_match(&*text));
        if let Some(outcome) = fields::first_attribute(json, OUTCOME_PATHS).and_then(|text| outcome(&text))
            && (about_login(ACTION_PATHS) || attributes::get(json, "auth").is_some())
        {
            return structured(row, outcome);
        }
        (refused && about_login(URL_PATHS)).then(|| structured(row, Outcome::Failed { times: 1 })).flatten()
    }
}

/// An outcome as events spell it.
fn outcome(text: &str) -> Option<Outcome> {
    let is = |list: &[&str]| list.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(&["failure", "failed", "fail", "denied", "rejected", "error"]) {
        return Some(Outcome::Failed { times: 1 });
    }
    is(&["success", "succeeded", "successful", "ok", "allowed", "granted"]).then_some(Outcome::Succeeded)
}

/// A login whose source and user are fields of the record; `None` when it names neither.
fn structured<'a>(row: &Row<'a>, outcome: Outcome) -> Option<Login<'a>> {
    let source = row.text(logs::SOURCE_IP).filter(|text| !text.is_empty()).map(Cow::Borrowed);
    let named = row.text(logs::USER_ID).map(Cow::Borrowed);
    let user = named.or_else(|| fields::first_attribute(row.attributes()?, USER_PATHS));
    let user = user.filter(|text| !text.is_empty());
    (source.is_some() || user.is_some()).then_some(Login {
        outcome,
        reporter: Reporter::Service,
        source,
        user,
    })
}

/// `[invalid user ]U from IP port N …`, the text after `for `.
fn ssh(rest: &str, outcome: Outcome) -> Option<Login<'_>> {
    let address_part = rest.rfind(" port ").map_or(rest, |end| &rest[..end]);
    let (user, source) = address_part.rsplit_once(" from ")?;
    let source = source.split_ascii_whitespace().next()?;
    let user = ["invalid user ", "illegal user "]
        .iter()
        .find_map(|prefix| user.strip_prefix(prefix))
        .unwrap_or(user);
    Some(Login {
        outcome,
        reporter: Reporter::Service,
        source: Some(Cow::Borrowed(source)),
        user: Some(user.trim()).filter(|user| !user.is_empty()).map(Cow::Borrowed),
    })
}

/// N of `message repeated N times: [`, the text before the repeated message; 1 when it is not repeated.
fn repeated(before: &str) -> u16 {
    let count = || {
        let (_, after) = before.rsplit_once("message repeated ")?;
        let (digits, _) = after.split_once(" times: [")?;
        digits.parse::<u32>().ok()
    };
    count().map_or(1, |times| u16::try_from(times).unwrap_or(WEIGHT_MAX).clamp(1, WEIGHT_MAX))
}

/// `logname= uid=0 … rhost=H  user=U`, the text after `authentication failure; `.
///
/// The PAM modules of sshd (`pam_unix(sshd:auth)`) are left out: this sshd reports the same attempt itself as
/// `Failed password`. The older `sshd(pam_unix)` wrote to another log than sshd, so it is counted.
fn pam<'a>(message: &'a str, rest: &'a str) -> Option<Login<'a>> {
    if message.contains("(sshd:") {
        return None;
    }
    let value = |key: &str| {
        let text = rest.split_ascii_whitespace().find_map(|part| part.strip_prefix(key))?;
        (!text.is_empty()).then_some(Cow::Borrowed(text))
    };
    let (source, user) = (value("rhost="), value("user="));
    (source.is_some() || user.is_some()).then_some(Login {
        outcome: Outcome::Failed { times: 1 },
        reporter: Reporter::Pam,
        source,
        user,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Line, logs};

    #[track_caller]
    fn check(line: Line, expected: &str) {
        let batch = logs(&[line]);
        let found = Extractor::new().login(&batch.row(0)).map(|login| {
            let outcome = match login.outcome {
                Outcome::Failed { times } => format!("failed {times}"),
                Outcome::Succeeded => "succeeded".to_owned(),
            };
            format!(
                "{outcome} {} {}",
                login.source.as_deref().unwrap_or("-"),
                login.user.as_deref().unwrap_or("-")
            )
        });
        assert_eq!(found.as_deref().unwrap_or("none"), expected);
    }

    #[track_caller]
    fn text(message: &str, expected: &str) {
        check(Line::new(0, message), expected);
    }

    #[test]
    fn sshd_lines() {
        text("Failed password for root from 10.0.0.1 port 22 ssh2", "failed 1 10.0.0.1 root");
        text("Failed password for invalid user pi from 10.0.0.1 port 22 ssh2", "failed 1 10.0.0.1 pi");
        text("Failed password for illegal user  from ::1 port 22 ssh2", "failed 1 ::1 -");
        text(
            "Jun 9 h sshd[1]: message repeated 5 times: [ Failed password for root from 10.0.0.1 port 22 ssh2]",
            "failed 5 10.0.0.1 root",
        );
        text("message repeated 99999999999 times: [ Failed password for r from h port 2]", "failed 1 h r");
        text("message repeated 70000 times: [ Failed password for r from h port 2]", "failed 10000 h r");
        text("Accepted publickey for ubuntu from 10.0.0.2 port 22 ssh2: RSA", "succeeded 10.0.0.2 ubuntu");
        text("Invalid user admin from 10.0.0.1", "none");
        text("Connection closed by 10.0.0.1 port 22 [preauth]", "none");
    }

    #[test]
    fn a_user_name_cannot_name_another_source() {
        text(
            "Failed password for invalid user root from 1.1.1.1 port 22 ssh2 from 10.0.0.1 port 4 ssh2",
            "failed 1 10.0.0.1 root from 1.1.1.1 port 22 ssh2",
        );
        text(
            "Failed password for invalid user Accepted password for x from 1.1.1.1 from 10.0.0.1 port 4 ssh2",
            "failed 1 10.0.0.1 Accepted password for x from 1.1.1.1",
        );
    }

    #[test]
    fn pam_lines() {
        let rest =
            "authentication failure; logname= uid=0 euid=0 tty=NODEVssh ruser= rhost=h.example  user=root";
        text(&format!("sshd(pam_unix)[19939]: {rest}"), "failed 1 h.example root");
        text(rest, "failed 1 h.example root");
        text(&format!("pam_unix(sshd:auth): {rest}"), "none");
        text(&format!("pam_unix(dovecot:auth): {rest}"), "failed 1 h.example root");
        text("authentication failure; logname= uid=0 ruser=bob rhost=", "none");
    }

    #[test]
    fn application_events() {
        check(Line::new(0, "Login failed for bob").source_ip("1.2.3.4"), "failed 1 1.2.3.4 -");
        text("Authentication failed from 163.27.187.39", "none");
        let event = r#"{"outcome":"failure","event":{"action":"user.login"},"user":{"name":"eve"}}"#;
        check(Line::new(0, "x").source_ip("1.2.3.4").attributes(event), "failed 1 1.2.3.4 eve");
        let event = r#"{"outcome":"success","action":"authenticate"}"#;
        check(Line::new(0, "x").source_ip("1.2.3.4").attributes(event), "succeeded 1.2.3.4 -");
        let event = r#"{"outcome":"failure","action":"upload","note":"authored"}"#;
        check(Line::new(0, "x").source_ip("1.2.3.4").attributes(event), "none");
        let request = |status, path| format!(r#"{{"status":{status},"path":"{path}"}}"#);
        let web = |status, path| Line::new(0, "POST").source_ip("1.2.3.4").attributes(&request(status, path));
        check(web(401, "/login"), "failed 1 1.2.3.4 -");
        check(web(401, "/orders?by=author"), "failed 1 1.2.3.4 -");
        check(web(401, "/orders"), "none");
        check(web(403, "/login"), "none");
    }
}
