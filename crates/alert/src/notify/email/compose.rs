//! A notice as a letter: headers, plain text and HTML. Pure.

use std::time::{Duration, UNIX_EPOCH};

use heimdall_model::{Severity, Timestamp};
use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};

use super::Thread;
use crate::notify::notice::{Notice, NoticeKind};
use crate::notify::text::{Telling, cut};

/// Longest subject (characters).
const SUBJECT_CHARS_MAX: usize = 150;

/// A letter before it has recipients.
pub(super) struct Letter {
    pub(super) id: String,
    pub(super) subject: String,
    in_reply_to: Option<String>,
    references: Option<String>,
    at: Timestamp,
    headers: Vec<(&'static str, String)>,
    text: String,
    html: String,
}

impl Letter {
    /// The subject names the thing and stays the same over the thread, as mail programs want it; the first line of the text says
    /// how it stands.
    pub(super) fn of(
        notice: &Notice,
        base_url: Option<&str>,
        from: &Mailbox,
        thread: Option<&Thread>,
    ) -> Letter {
        let telling = Telling::of(notice, base_url);
        let is_alone = matches!(notice.kind, NoticeKind::Digest | NoticeKind::Test);
        let thread = thread.filter(|_| !is_alone);
        let subject = match thread {
            Some(thread) => format!("Re: {}", cut(&thread.subject, SUBJECT_CHARS_MAX)),
            None => subject(notice, &telling),
        };
        let references = thread.map(|thread| match thread.root == thread.last {
            true => identifier(&thread.root),
            false => format!("{} {}", identifier(&thread.root), identifier(&thread.last)),
        });
        Letter {
            id: format!("<{}.heimdall@{}>", notice.id, from.email.domain()),
            subject,
            in_reply_to: thread.map(|thread| identifier(&thread.last)),
            references,
            at: notice.at,
            headers: headers(notice, &telling, from),
            text: plain(&telling),
            html: html(&telling),
        }
    }

    /// The letter as it goes over the wire.
    ///
    /// # Errors
    /// What lettre finds missing.
    pub(super) fn format(
        &self,
        from: &Mailbox,
        reply_to: Option<&Mailbox>,
        to: &[Mailbox],
    ) -> Result<Vec<u8>, String> {
        let seconds = Duration::from_nanos(self.at.0.max(0).unsigned_abs());
        let mut builder = Message::builder()
            .from(from.clone())
            .message_id(Some(self.id.clone()))
            .date(UNIX_EPOCH + seconds)
            .subject(self.subject.clone());
        builder = to.iter().fold(builder, |builder, to| builder.to(to.clone()));
        if let Some(reply_to) = reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        if let Some(id) = &self.in_reply_to {
            builder = builder.in_reply_to(id.clone());
        }
        if let Some(ids) = &self.references {
            builder = builder.references(ids.clone());
        }
        for (name, value) in &self.headers {
            let name = HeaderName::new_from_ascii_str(name);
            builder = builder.raw_header(HeaderValue::new(name, value.clone()));
        }
        let message =
            builder.multipart(MultiPart::alternative_plain_html(self.text.clone(), self.html.clone()));
        message.map(|message| message.formatted()).map_err(|error| error.to_string())
    }
}

fn subject(notice: &Notice, telling: &Telling) -> String {
    let subject = match notice.alerts.first() {
        Some(alert) if !matches!(notice.kind, NoticeKind::Digest | NoticeKind::Test) => {
            format!("[Heimdall] {}: {}", cut(&alert.title, 90), alert.entity.value)
        }
        _ => format!("[Heimdall] {}", telling.title),
    };
    cut(&subject, SUBJECT_CHARS_MAX)
}

/// A message's identifier as a header takes it; it comes back from our own store.
fn identifier(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_graphic()).take(300).collect()
}

fn headers(notice: &Notice, telling: &Telling, from: &Mailbox) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        // So that nobody's absence answers, and filters and archives know it.
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("List-Id", format!("Heimdall alerts <heimdall-alerts.{}>", from.email.domain())),
        ("X-Heimdall-Notice", notice.id.to_string()),
        ("X-Heimdall-Severity", telling.severity.as_str().to_owned()),
        ("X-Heimdall-Tenant", cut(notice.tenant.as_str(), 100)),
    ];
    if telling.severity == Severity::Critical && !telling.is_over {
        headers.push(("Importance", "high".to_owned()));
    }
    headers
}

fn plain(telling: &Telling) -> String {
    let mut text = telling.title.clone();
    for line in telling.lines() {
        text.push('\n');
        text.push_str(&line);
    }
    text.push_str("\n\n-- \nSent by Heimdall. Acknowledge or suppress the alert there to stop reminders.\n");
    text
}

fn html(telling: &Telling) -> String {
    let colour = match telling.severity {
        _ if telling.is_over => "#1a7f37",
        Severity::Critical => "#b42318",
        Severity::Warning => "#b54708",
        Severity::Normal => "#175cd3",
    };
    let mut html = format!(
        "<!DOCTYPE html><html><head><meta charset=\"utf-8\"></head>\
         <body style=\"font-family:sans-serif;font-size:14px;color:#1d2939\">\
         <h2 style=\"font-size:18px;border-left:6px solid {colour};padding-left:10px\">{}</h2><p>{}</p>",
        escape(&telling.title),
        escape(&telling.summary)
    );
    html.push_str("<table style=\"border-collapse:collapse\">");
    for (name, value) in &telling.fields {
        html.push_str(&format!(
            "<tr><th style=\"text-align:left;padding:2px 12px 2px 0;font-weight:600\">{}</th><td>{}</td></tr>",
            escape(name),
            escape(value)
        ));
    }
    html.push_str("</table>");
    html.push_str(&list("What to do now", "ol", &telling.steps));
    html.push_str(&list("In this group", "ul", &telling.others));
    if let Some(more) = telling.more_line() {
        html.push_str(&format!("<p>{}</p>", escape(&more)));
    }
    for link in &telling.links {
        html.push_str(&format!("<p><a href=\"{}\">{}</a></p>", escape(&link.url), link.text));
    }
    html.push_str("</body></html>\n");
    html
}

fn list(heading: &str, tag: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escape(item))).collect();
    format!("<h3 style=\"font-size:15px\">{heading}</h3><{tag}>{items}</{tag}>")
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}
