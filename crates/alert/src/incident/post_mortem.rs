//! An incident as a Markdown report, for the meeting after it. Pure.
//!
//! Invariant: texts from records and people cannot change the form of the report: what means something to Markdown is escaped.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use heimdall_model::time::format_duration;
use heimdall_model::{Alert, Priority, Severity, Status, Timestamp};

use super::{EntryKind, Incident, TimelineEntry};

/// Alerts the report shows, one line each; it says how many more there are.
const ALERTS_SHOWN_MAX: usize = 200;
/// Longest text of a table cell (characters).
const CELL_CHARS_MAX: usize = 300;

/// The report of an incident; `alerts` are those of its alerts that are at hand.
#[must_use]
pub fn post_mortem(incident: &Incident, alerts: &[Arc<Alert>]) -> String {
    let mut out = String::new();
    head(&mut out, incident);
    impact(&mut out, incident, alerts);
    timeline(&mut out, incident);
    alert_table(&mut out, incident, alerts);
    entries(&mut out, "What was done", incident, &[EntryKind::Action], "Nothing was noted.");
    entries(
        &mut out,
        "Who was told",
        incident,
        &[EntryKind::Notification],
        "Nobody, as far as Heimdall knows.",
    );
    comments(&mut out, incident);
    questions(&mut out, incident, alerts);
    out
}

fn head(out: &mut String, incident: &Incident) {
    line(out, &format!("# Incident {}: {}", incident.number, inline(&incident.title)));
    line(out, "");
    line(out, "| | |");
    line(out, "|---|---|");
    let owner = incident.owner.as_deref().map_or("nobody".to_owned(), cell);
    let ended = incident.resolved_at.map_or("not yet".to_owned(), utc);
    let lasted = incident.resolved_at.map_or("–".to_owned(), |at| span(incident.began_at, at));
    for (name, value) in [
        ("Status", incident.status.to_string()),
        ("Severity", incident.severity.to_string()),
        ("Priority", incident.priority.as_str().to_owned()),
        ("Lead", owner),
        ("First sign (UTC)", utc(incident.began_at)),
        ("Opened (UTC)", utc(incident.started_at)),
        ("Resolved (UTC)", ended),
        ("Lasted", lasted),
        ("Id", format!("`{}`", incident.id)),
    ] {
        line(out, &format!("| {name} | {value} |"));
    }
}

fn impact(out: &mut String, incident: &Incident, alerts: &[Arc<Alert>]) {
    section(out, "Impact");
    let findings: u64 = alerts.iter().map(|alert| alert.count).sum();
    let critical = alerts.iter().filter(|alert| alert.severity == Severity::Critical).count();
    line(
        out,
        &format!(
            "{} {} with {findings} findings, {critical} of them critical, about {} and {}.",
            incident.alert_count,
            plural(incident.alert_count, "alert"),
            counted(incident.services.len(), "service"),
            counted(incident.entities.len(), "entity"),
        )
        .replace("entitys", "entities"),
    );
    list(out, "Services", incident.services.iter().map(|service| inline(service)));
    let entities =
        incident.entities.iter().map(|entity| format!("{}: {}", inline(&entity.kind), inline(&entity.value)));
    list(out, "Entities", entities);
    list(out, "Traces", incident.traces.iter().map(|trace| format!("`{}`", trace.replace('`', "'"))));
}

fn timeline(out: &mut String, incident: &Incident) {
    section(out, "Timeline");
    line(out, "All times are UTC.");
    line(out, "");
    line(out, "| time | what | by | |");
    line(out, "|---|---|---|---|");
    for entry in &incident.timeline {
        line(out, &row(entry));
    }
    if incident.timeline_dropped > 0 {
        line(out, "");
        line(out, &format!("{} earlier entries had no room and are not shown.", incident.timeline_dropped));
    }
}

fn row(entry: &TimelineEntry) -> String {
    format!("| {} | {} | {} | {} |", utc(entry.at), kind_name(entry.kind), cell(&entry.by), cell(&entry.text))
}

fn alert_table(out: &mut String, incident: &Incident, alerts: &[Arc<Alert>]) {
    section(out, "Alerts");
    line(out, "| first seen | alert | about | severity | status | findings | evidence | came back |");
    line(out, "|---|---|---|---|---|---:|---:|---:|");
    let mut shown: Vec<_> = alerts.iter().collect();
    shown.sort_by_key(|alert| (alert.first_seen, alert.id));
    for alert in shown.iter().take(ALERTS_SHOWN_MAX) {
        let about = format!("{}: {}", alert.entity.kind, alert.entity.value);
        line(
            out,
            &format!(
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                utc(alert.first_seen),
                cell(&alert.title),
                cell(&about),
                alert.severity,
                alert.status,
                alert.count,
                alert.evidence.len(),
                alert.returns.len(),
            ),
        );
    }
    let known = u64::try_from(shown.len().min(ALERTS_SHOWN_MAX)).unwrap_or(u64::MAX);
    if incident.alert_count > known {
        line(out, "");
        line(out, &format!("{} more are not shown.", incident.alert_count - known));
    }
}

fn entries(out: &mut String, title: &str, incident: &Incident, kinds: &[EntryKind], none: &str) {
    section(out, title);
    let wanted: Vec<_> = incident.timeline.iter().filter(|entry| kinds.contains(&entry.kind)).collect();
    if wanted.is_empty() {
        line(out, none);
    }
    for entry in wanted {
        line(out, &format!("- {} {}: {}", utc(entry.at), inline(&entry.by), inline(&entry.text)));
    }
}

fn comments(out: &mut String, incident: &Incident) {
    if incident.comments.is_empty() {
        return;
    }
    section(out, "What people wrote");
    for comment in &incident.comments {
        line(out, &format!("- {} {}: {}", utc(comment.at), inline(&comment.by), inline(&comment.text)));
    }
}

/// What the record itself leaves open, for people to answer.
fn questions(out: &mut String, incident: &Incident, alerts: &[Arc<Alert>]) {
    section(out, "Open questions");
    let has = |kind| incident.timeline.iter().any(|entry| entry.kind == kind);
    let mut open = vec!["What was the root cause, and how do we know?".to_owned()];
    if incident.status != Status::Resolved {
        open.push("It is not resolved: what is left to do, and who does it?".to_owned());
    }
    if incident.owner.is_none() {
        open.push("Nobody led it: who should have?".to_owned());
    }
    if !has(EntryKind::Notification) {
        open.push("Nobody was told: was that right?".to_owned());
    }
    if !has(EntryKind::Action) && incident.status == Status::Resolved {
        open.push("No action is noted: what made it go away?".to_owned());
    }
    if incident.priority == Priority::P1 && !has(EntryKind::Owner) {
        open.push(
            "Its priority is P1: how long did it take until somebody worked on it, and why?".to_owned(),
        );
    }
    let mut returns: BTreeMap<&str, usize> = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| !alert.returns.is_empty()) {
        *returns.entry(&alert.rule).or_default() += alert.returns.len();
    }
    for (rule, count) in returns {
        open.push(format!(
            "Alerts of `{}` came back {count} times after they were resolved: why?",
            rule.replace('`', "'")
        ));
    }
    open.push("What would have shown it earlier, and what keeps it from happening again?".to_owned());
    open.iter().for_each(|question| line(out, &format!("- {question}")));
}

fn section(out: &mut String, title: &str) {
    line(out, "");
    line(out, &format!("## {title}"));
    line(out, "");
}

fn list(out: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let items: Vec<_> = items.collect();
    if !items.is_empty() {
        line(out, "");
        line(out, &format!("{title}: {}", items.join(", ")));
    }
}

fn line(out: &mut String, text: &str) {
    // Writing into a `String` cannot fail.
    let _ = writeln!(out, "{text}");
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {}", plural(count as u64, what))
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { what.to_owned() } else { format!("{what}s") }
}

const fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Opened => "opened",
        EntryKind::Raised => "alert",
        EntryKind::Worse => "worse",
        EntryKind::Status => "status",
        EntryKind::Mute => "mute",
        EntryKind::Notification => "told",
        EntryKind::Action => "action",
        EntryKind::Comment => "comment",
        EntryKind::Owner => "owner",
        EntryKind::Link => "link",
        EntryKind::Note => "note",
    }
}

/// `2026-03-01 12:00:00`.
fn utc(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

fn span(from: Timestamp, to: Timestamp) -> String {
    let second = 1_000_000_000;
    format_duration((to.0 - from.0).max(0) / second * second)
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    let cut: String = text.chars().take(CELL_CHARS_MAX).collect();
    inline(&cut)
}

/// A text on one line whose characters mean nothing to Markdown or HTML.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
