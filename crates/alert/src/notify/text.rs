//! What every channel says of a notice, so that they read alike: title, summary, fields, steps, links.
//!
//! Invariants:
//! - no text has a control character, a line break of any kind or a mark that turns the direction of writing: a record cannot
//!   forge a line;
//! - every text is bounded, and so is their number: [`Telling`] holds at most what the constants below add up to;
//! - nothing here is escaped: markup belongs to the channel, which escapes with [`escaped`] so that limits hold after it.

use std::sync::Arc;

use heimdall_model::{Alert, Severity, Status, Timestamp};
use ring::digest::{SHA256, digest};

use super::notice::{Notice, NoticeKind};
use super::signature::hex;

/// Longest title (characters).
pub(crate) const TITLE_CHARS_MAX: usize = 200;
/// Longest summary, and longest step (characters).
pub(crate) const SUMMARY_CHARS_MAX: usize = 500;
/// Longest value of a field (characters).
pub(crate) const FIELD_CHARS_MAX: usize = 200;
/// Mitigation steps told.
pub(crate) const STEPS_MAX: usize = 3;
/// Alerts of the group told besides the first, a line each.
pub(crate) const OTHERS_MAX: usize = 10;
/// Longest address of Heimdall that links are made with (bytes).
const BASE_URL_BYTES_MAX: usize = 500;

/// A notice in words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Telling {
    /// `CRITICAL P1: Failed logins`, `RESOLVED: Failed logins`, `DIGEST: 12 alerts` …
    pub(crate) title: String,
    /// One sentence: what happened.
    pub(crate) summary: String,
    /// Names and values, the most telling first.
    pub(crate) fields: Vec<(String, String)>,
    /// What to do now.
    pub(crate) steps: Vec<String>,
    /// The other alerts of the group, a line each.
    pub(crate) others: Vec<String>,
    /// Alerts of the group beyond those told.
    pub(crate) more: usize,
    /// Where to look: a name and an address.
    pub(crate) links: Vec<Link>,
    /// The worst severity told.
    pub(crate) severity: Severity,
    /// Whether all of it is over.
    pub(crate) is_over: bool,
}

/// A link for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// What it says.
    pub(crate) text: &'static str,
    /// Where it leads: `http` or `https`, without white space, quotes, brackets or bars.
    pub(crate) url: String,
}

impl Telling {
    /// The notice in words. `base_url` is for notices that carry none.
    pub(crate) fn of(notice: &Notice, base_url: Option<&str>) -> Telling {
        let first = notice.alerts.first().map(Arc::as_ref);
        let listed: &[Arc<Alert>] = match notice.kind {
            NoticeKind::Digest => &notice.alerts,
            _ => notice.alerts.get(1..).unwrap_or_default(),
        };
        let others: Vec<String> = listed.iter().take(OTHERS_MAX).map(|alert| alert_line(alert)).collect();
        let told = others.len() + usize::from(notice.kind != NoticeKind::Digest && first.is_some());
        Telling {
            title: title(notice),
            summary: summary(notice),
            fields: fields(notice),
            steps: steps(notice),
            more: notice.total.saturating_sub(told),
            others,
            links: links(notice, base_url),
            severity: severity(notice),
            is_over: is_over(notice),
        }
    }

    /// `and 12 more`, when there are.
    pub(crate) fn more_line(&self) -> Option<String> {
        (self.more > 0).then(|| format!("and {} more", self.more))
    }

    /// How bad it is as a sign, besides the word in the title: never instead of it.
    pub(crate) const fn sign(&self) -> &'static str {
        match self.severity {
            _ if self.is_over => "✅",
            Severity::Critical => "🔴",
            Severity::Warning => "🟠",
            Severity::Normal => "🔵",
        }
    }

    /// The whole in plain lines, for channels without markup and for the plain part of others.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.summary.clone()];
        lines.extend(self.fields.iter().map(|(name, value)| format!("{name}: {value}")));
        if !self.steps.is_empty() {
            lines.push("What to do now:".to_owned());
            lines.extend(self.steps.iter().zip(1..).map(|(step, n)| format!("{n}. {step}")));
        }
        lines.extend(self.others.iter().map(|line| format!("- {line}")));
        lines.extend(self.more_line());
        lines.extend(self.links.iter().map(|link| format!("{}: {}", link.text, link.url)));
        lines
    }
}

/// The worst severity among the alerts told.
pub(crate) fn severity(notice: &Notice) -> Severity {
    notice.alerts.iter().map(|alert| alert.severity).max().unwrap_or(Severity::Normal)
}

/// Whether the notice says that it is over.
pub(crate) fn is_over(notice: &Notice) -> bool {
    notice.kind == NoticeKind::Resolved
}

/// The kind as a word before the title; none for what is new.
const fn word(kind: NoticeKind) -> Option<&'static str> {
    match kind {
        NoticeKind::Raised => None,
        NoticeKind::Updated => Some("UPDATED"),
        NoticeKind::Acknowledged => Some("ACKNOWLEDGED"),
        NoticeKind::Escalated => Some("ESCALATED"),
        NoticeKind::Resolved => Some("RESOLVED"),
        NoticeKind::Digest => Some("DIGEST"),
        NoticeKind::Test => Some("TEST"),
    }
}

fn title(notice: &Notice) -> String {
    let Some(alert) = notice.alerts.first() else {
        return cut(&format!("{}: {}", word(notice.kind).unwrap_or("ALERT"), notice.reason), TITLE_CHARS_MAX);
    };
    let what = match notice.kind {
        NoticeKind::Digest => format!("{} alerts", notice.total),
        _ => alert.title.clone(),
    };
    let how_bad = format!("{} {}", severity(notice), alert.priority.as_str());
    let more = match notice.total.max(notice.alerts.len()) {
        n if n > 1 && notice.kind != NoticeKind::Digest => format!(" (+{})", n - 1),
        _ => String::new(),
    };
    let head = word(notice.kind).map(|word| format!("{word} ")).unwrap_or_default();
    let room = TITLE_CHARS_MAX - head.len() - how_bad.len() - more.len() - 2;
    format!("{head}{how_bad}: {}{more}", cut(&what, room))
}

fn summary(notice: &Notice) -> String {
    match notice.alerts.first() {
        Some(alert) if notice.kind != NoticeKind::Digest && !alert.summary.is_empty() => {
            cut(&alert.summary, SUMMARY_CHARS_MAX)
        }
        _ => cut(&notice.reason, SUMMARY_CHARS_MAX),
    }
}

fn fields(notice: &Notice) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            fields.push((cut(name, 60), cut(value, FIELD_CHARS_MAX)));
        }
    };
    if let Some(alert) = notice.alerts.first().filter(|_| notice.kind != NoticeKind::Digest) {
        add(&alert.entity.kind, &alert.entity.value);
        if alert.entity.kind != "service" {
            add("service", alert.service.as_deref().unwrap_or_default());
        }
        add("status", &status(alert));
        add("seen", &times(alert.count));
        add("since", &when(alert.first_seen));
    }
    add("why now", &notice.reason);
    add("for", &notice.to.join(", "));
    add("tenant", notice.tenant.as_str());
    fields
}

/// The status with who made it so, and who works on it.
fn status(alert: &Alert) -> String {
    let by = alert.history.last().filter(|last| last.to == alert.status && last.from.is_some());
    let by = by.map(|last| format!(" by {}", last.by)).unwrap_or_default();
    let assignee = alert.assignee.as_ref().map(|who| format!(", assigned to {who}")).unwrap_or_default();
    let until = match (alert.status, alert.suppressed_until) {
        (Status::Suppressed, Some(until)) => format!(" until {}", when(until)),
        _ => String::new(),
    };
    format!("{}{until}{by}{assignee}", alert.status)
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn steps(notice: &Notice) -> Vec<String> {
    let is_told = !matches!(notice.kind, NoticeKind::Resolved | NoticeKind::Digest);
    let alert = notice.alerts.first().filter(|_| is_told);
    let steps = alert.into_iter().flat_map(|alert| alert.mitigation.iter());
    steps.filter(|step| !step.is_empty()).take(STEPS_MAX).map(|step| cut(step, SUMMARY_CHARS_MAX)).collect()
}

/// One alert on a line.
fn alert_line(alert: &Alert) -> String {
    let place = format!("{}={}", cut(&alert.entity.kind, 40), cut(&alert.entity.value, 60));
    let line = format!("{} {} {} ({place})", alert.status, alert.severity, cut(&alert.title, 100));
    cut(&line, FIELD_CHARS_MAX + 60)
}

fn links(notice: &Notice, base_url: Option<&str>) -> Vec<Link> {
    let base = notice.base_url.as_deref().or(base_url).and_then(clean_base);
    let Some(base) = base else { return Vec::new() };
    match (notice.kind, notice.alerts.as_slice()) {
        (NoticeKind::Digest, _) | (_, []) => {
            vec![Link { text: "Open in Heimdall", url: format!("{base}/alerts") }]
        }
        (_, [alert, ..]) => {
            vec![Link { text: "Open in Heimdall", url: format!("{base}/alerts/{}", alert.id) }]
        }
    }
}

/// An address that links can be made with; none when it could break out of a link.
pub(crate) fn clean_base(base: &str) -> Option<String> {
    let base = base.trim().trim_end_matches('/');
    let is_web = base.starts_with("https://") || base.starts_with("http://");
    let is_plain = base.bytes().all(|b| b.is_ascii_graphic() && !b"\"'<>|`\\^{}()[]*".contains(&b));
    (is_web && is_plain && base.len() <= BASE_URL_BYTES_MAX).then(|| base.to_owned())
}

/// A stable name of at most `bytes_max` (at least 100) bytes: a longer one ends with its hash, so that two stay two.
pub(crate) fn key(name: &str, bytes_max: usize) -> String {
    if name.len() <= bytes_max {
        return name.to_owned();
    }
    let hash = hex(digest(&SHA256, name.as_bytes()).as_ref());
    let head = name.floor_char_boundary(bytes_max - hash.len() - 1);
    format!("{}-{hash}", &name[..head])
}

/// `2026-03-01 12:00:00Z`.
pub(crate) fn when(time: Timestamp) -> String {
    let mut text = time.to_string().replace('T', " ");
    text.truncate("2026-03-01 12:00:00".len());
    text.push('Z');
    text
}

/// A text from a record on one line: what could move a cursor, end a line or turn the direction of writing becomes a space.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_forging(c) { ' ' } else { c }).collect()
}

/// Control characters, line and paragraph separators, marks of direction, and what has no width at all.
fn is_forging(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// A text on one line of at most `chars_max` characters; a longer one ends with `…`.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    escaped(text, chars_max, Measure::Chars, |c, out| out.push(c))
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Unicode scalar values.
    Chars,
    /// UTF-16 code units.
    Utf16,
    /// Bytes of UTF-8.
    Bytes,
}

impl Measure {
    pub(crate) fn of(self, text: &str) -> usize {
        match self {
            Measure::Chars => text.chars().count(),
            Measure::Utf16 => text.encode_utf16().count(),
            Measure::Bytes => text.len(),
        }
    }
}

/// A text on one line, every character through `escape`, of at most `max` after that; a longer one ends with `…`.
///
/// It is never cut within what one character became. White space at the ends goes.
pub(crate) fn escaped(
    text: &str,
    max: usize,
    measure: Measure,
    escape: impl Fn(char, &mut String),
) -> String {
    let line = one_line(text);
    let (mut out, mut used, mut end_with_ellipsis) = (String::new(), 0, 0);
    let ellipsis = measure.of("…");
    for c in line.trim().chars() {
        let before = out.len();
        escape(c, &mut out);
        used += measure.of(&out[before..]);
        if used > max {
            out.truncate(end_with_ellipsis);
            if ellipsis <= max {
                out.push('…');
            }
            return out;
        }
        if used + ellipsis <= max {
            end_with_ellipsis = out.len();
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_after_escaping_and_never_within_an_escape() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        let amp = |c, out: &mut String| if c == '&' { out.push_str("&amp;") } else { out.push(c) };
        assert_eq!(escaped("a&b", 7, Measure::Chars, amp), "a&amp;b");
        assert_eq!(escaped("a&bc", 7, Measure::Chars, amp), "a&amp;…");
        assert_eq!(escaped("a&b", 6, Measure::Chars, amp), "a…");
        assert_eq!(escaped("abcd", 3, Measure::Bytes, amp), "…");
        assert_eq!(escaped("😀😀", 3, Measure::Utf16, amp), "😀…");
        assert_eq!(escaped("ab", 0, Measure::Chars, amp), "");
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line("a\nb\u{2028}c\u{202e}d\u{1b}[2Je\u{200b}f"), "a b c d [2Je f");
    }

    #[test]
    fn only_plain_addresses_make_links() {
        assert_eq!(clean_base(" https://h.example.org/x/ ").as_deref(), Some("https://h.example.org/x"));
        for bad in ["javascript:alert(1)", "https://a b", "https://a|b>", "ftp://a", "", "https://a\"b"] {
            assert_eq!(clean_base(bad), None, "{bad}");
        }
    }
}
