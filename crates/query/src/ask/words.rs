//! A question in tokens.

/// A piece of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// As written, without the punctuation around it; of a quoted phrase what is inside.
    pub(super) text: String,
    /// In small letters.
    pub(super) low: String,
    pub(super) is_quoted: bool,
    /// Where it begins and ends in the question, quotes included.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Cuts a question into tokens.
pub(super) fn tokens(question: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = question[at..].chars().next() {
        let width = next.len_utf8();
        if let Some(close) = closing(next)
            && let Some(len) = question[at + width..].find(close)
            && (next != '\'' || stands_alone(question, at, at + width + len))
        {
            let (from, to) = (at + width, at + width + len);
            let end = to + close.len_utf8();
            found.extend(token(&question[from..to], true, at, end));
            at = end;
        } else if next.is_whitespace() {
            at += width;
        } else {
            let len = question[at..].find(char::is_whitespace).unwrap_or(question.len() - at);
            found.extend(word(question, at, at + len));
            at += len;
        }
    }
    found
}

fn closing(open: char) -> Option<char> {
    match open {
        '"' => Some('"'),
        '`' => Some('`'),
        '\'' => Some('\''),
        '“' => Some('”'),
        '„' => Some('“'),
        '«' => Some('»'),
        _ => None,
    }
}

/// Whether an apostrophe begins a quotation, not a `'s`.
fn stands_alone(text: &str, open: usize, close: usize) -> bool {
    let before = text[..open].chars().next_back().is_none_or(char::is_whitespace);
    let after = text[close + 1..].chars().next().is_none_or(|c| !c.is_alphanumeric());
    before && after
}

fn word(question: &str, start: usize, end: usize) -> Option<Token> {
    let is_around =
        |c: char| matches!(c, ',' | '.' | '?' | '!' | ';' | ':' | '(' | ')' | '[' | ']' | '"' | '…');
    let whole = &question[start..end];
    let cut = whole.trim_end_matches(is_around);
    let left = cut.trim_start_matches(is_around);
    let from = start + (cut.len() - left.len());
    let left = left.strip_suffix("'s").or_else(|| left.strip_suffix("’s")).unwrap_or(left);
    token(left, false, from, from + left.len())
}

fn token(text: &str, is_quoted: bool, start: usize, end: usize) -> Option<Token> {
    let token = Token { text: text.to_owned(), low: text.to_lowercase(), is_quoted, start, end };
    (!text.trim().is_empty()).then_some(token)
}
