//! The channels: standard output (or any writer), and Slack.

pub mod notice;
mod slack;
mod stdout;

pub use slack::{SlackError, SlackWebhook, WebhookUrl};
pub use stdout::StdoutNotifier;

/// A text from a record on one line: control characters, which could move a terminal's cursor or forge a line, become spaces.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
