//! Short pieces of messages, for people.

/// The start of a text on one line.
pub(super) fn excerpt(text: &str, chars_max: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut start: String = text.chars().take(chars_max).map(clean).collect();
    if text.chars().nth(chars_max).is_some() {
        start.push('…');
    }
    start
}
