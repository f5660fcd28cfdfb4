//! A notice as Slack's blocks. Pure.
//!
//! Source: docs.slack.dev: "Block Kit reference", "Formatting message text".

use heimdall_model::AlertId;
use serde_json::{Value, json};

use super::inbound::{ACTION_ACKNOWLEDGE, ACTION_OPEN, ACTION_SUPPRESS, BLOCK};
use crate::notify::notice::{Notice, NoticeKind};
use crate::notify::text::{Measure, Telling, escaped};

/// Longest header (characters).
const HEADER_CHARS_MAX: usize = 150;
/// Longest text of a section (characters), and of the text for notifications: Slack cuts those at 40,000.
const SECTION_CHARS_MAX: usize = 3_000;
/// Fields of a section, and the longest text of one (characters).
const FIELDS_MAX: usize = 10;
const FIELD_CHARS_MAX: usize = 2_000;
/// Longest value of a button (characters).
pub(super) const VALUE_CHARS_MAX: usize = 2_000;
/// People mentioned at once.
const MENTIONS_MAX: usize = 10;

/// How messages of a channel look.
pub(super) struct Style {
    pub(super) is_interactive: bool,
    pub(super) base_url: Option<String>,
}

/// The message: `text` for notifications and screen readers, `blocks` for the rest.
pub(super) fn of(notice: &Notice, style: &Style) -> Value {
    let telling = Telling::of(notice, style.base_url.as_deref());
    let title = format!("{} {}", telling.sign(), telling.title);
    let mut blocks = vec![
        json!({"type": "header", "text": plain(&title, HEADER_CHARS_MAX)}),
        section(&escape(&telling.summary, SECTION_CHARS_MAX)),
    ];
    let fields = telling.fields.iter().take(FIELDS_MAX);
    let fields: Vec<Value> =
        fields.map(|(name, value)| plain(&format!("{name}: {value}"), FIELD_CHARS_MAX)).collect();
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    if !telling.steps.is_empty() {
        blocks.push(list("What to do now", telling.steps.iter().zip(1..).map(|(s, n)| format!("{n}. {s}"))));
    }
    if !telling.others.is_empty() {
        let lines = telling.others.iter().map(|line| format!("• {line}")).chain(telling.more_line());
        blocks.push(list("In this group", lines));
    }
    blocks.extend(mentions(notice));
    let value = Some(notice).filter(|notice| is_actionable(notice, style)).and_then(value);
    blocks.push(match value {
        Some(value) => {
            json!({"type": "actions", "block_id": BLOCK, "elements": buttons(notice, &telling, &value)})
        }
        None => context(notice, &telling),
    });
    let text = escape(&format!("{title}: {}", telling.summary), SECTION_CHARS_MAX);
    json!({"text": text, "blocks": blocks, "mrkdwn": false, "unfurl_links": false, "unfurl_media": false})
}

/// What is said aloud in the thread of the message.
pub(super) fn reply(notice: &Notice, style: &Style) -> Value {
    let telling = Telling::of(notice, style.base_url.as_deref());
    let text = escape(&format!("{} {}: {}", telling.sign(), telling.title, notice.reason), SECTION_CHARS_MAX);
    let blocks: Vec<Value> = [section(&text)].into_iter().chain(mentions(notice)).collect();
    json!({"text": text, "blocks": blocks, "mrkdwn": false, "unfurl_links": false, "unfurl_media": false})
}

fn is_actionable(notice: &Notice, style: &Style) -> bool {
    let is_live = !matches!(notice.kind, NoticeKind::Resolved | NoticeKind::Digest | NoticeKind::Test);
    style.is_interactive && is_live && !notice.alerts.is_empty()
}

fn buttons(notice: &Notice, telling: &Telling, value: &str) -> Vec<Value> {
    let button = |id: &str, text: &str| json!({"type": "button", "action_id": id, "text": plain(text, 75), "value": value});
    let mut buttons = Vec::new();
    if notice.kind != NoticeKind::Acknowledged {
        let mut acknowledge = button(ACTION_ACKNOWLEDGE, "Acknowledge");
        acknowledge["style"] = json!("primary");
        buttons.push(acknowledge);
    }
    buttons.push(button(ACTION_SUPPRESS, "Suppress 1h"));
    for link in &telling.links {
        let mut open = button(ACTION_OPEN, link.text);
        open["url"] = json!(link.url);
        buttons.push(open);
    }
    buttons
}

/// What a button brings back: the tenant, the group and the alerts shown, as many as fit; none when not even the group does,
/// which a key within its documented length always does.
fn value(notice: &Notice) -> Option<String> {
    let ids: Vec<AlertId> = notice.alerts.iter().map(|alert| alert.id).collect();
    let of = |count: usize| {
        let ids: Vec<String> = ids[..count].iter().map(|id| id.simple().to_string()).collect();
        json!({"v": 1, "t": notice.tenant, "g": notice.group_key, "a": ids}).to_string()
    };
    (0..=ids.len()).rev().map(of).find(|value| value.chars().count() <= VALUE_CHARS_MAX)
}

/// The people of Slack among those it is for. Ids come from the configuration of people, never from records.
fn mentions(notice: &Notice) -> Option<Value> {
    let is_told = matches!(notice.kind, NoticeKind::Raised | NoticeKind::Escalated);
    let people = notice.to.iter().filter(|who| is_told && is_user(who)).take(MENTIONS_MAX);
    let people: Vec<String> = people.map(|who| format!("<@{who}>")).collect();
    let text = json!({"type": "mrkdwn", "text": people.join(" "), "verbatim": true});
    (!people.is_empty()).then(|| json!({"type": "section", "text": text}))
}

/// `U024BE7LH`, `W012A3CDE`.
fn is_user(text: &str) -> bool {
    let is_id = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    (9..=20).contains(&text.len()) && text.starts_with(['U', 'W']) && text.bytes().all(is_id)
}

fn context(notice: &Notice, telling: &Telling) -> Value {
    let links = telling.links.iter().map(|link| format!("<{}|{}>", link.url, link.text));
    let mut elements: Vec<Value> =
        links.map(|text| json!({"type": "mrkdwn", "text": text, "verbatim": true})).collect();
    let id = notice.alerts.first().map(|alert| format!("alert {}", alert.id));
    elements.push(plain(&id.unwrap_or_else(|| format!("notice {}", notice.id)), FIELD_CHARS_MAX));
    json!({"type": "context", "elements": elements})
}

/// A heading and lines, in one section: as many lines as fit.
fn list(heading: &str, lines: impl Iterator<Item = String>) -> Value {
    let mut text = heading.to_owned();
    for line in lines {
        let room = SECTION_CHARS_MAX.saturating_sub(text.chars().count() + 1);
        if room < 20 {
            break;
        }
        text.push('\n');
        text.push_str(&escape(&line, room));
    }
    section(&text)
}

fn section(escaped: &str) -> Value {
    // Slack refuses an empty text.
    let text = if escaped.is_empty() { "–" } else { escaped };
    json!({"type": "section", "text": {"type": "plain_text", "text": text, "emoji": false}})
}

fn plain(text: &str, chars_max: usize) -> Value {
    let text = Some(escape(text, chars_max)).filter(|text| !text.is_empty());
    json!({"type": "plain_text", "text": text.as_deref().unwrap_or("–"), "emoji": false})
}

/// Text as Slack takes it literally, of at most this many characters after escaping.
fn escape(text: &str, chars_max: usize) -> String {
    escaped(text, chars_max, Measure::Chars, |c, out| match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        c => out.push(c),
    })
}
