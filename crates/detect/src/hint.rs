//! What somebody may have meant who wrote a name that is not known.

/// Changes of single characters beyond which a known name is no longer what was meant.
const CHANGES_MAX: usize = 2;

/// The known name nearest to a word, when it is near enough.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let changes = known.into_iter().map(|name| (distance(&word, &name.to_lowercase()), name));
    let nearest = changes.min_by_key(|(changes, _)| *changes)?;
    (nearest.0 <= CHANGES_MAX.min(word.chars().count() / 2)).then_some(nearest.1)
}

/// A hint about a message that names an unknown word and, after `expected`, those that are known; each in backticks.
#[must_use]
pub fn of_message(message: &str) -> Option<String> {
    let (before, after) = message.split_once("expected")?;
    let unknown = quoted(before).next()?;
    nearest(unknown, quoted(after)).map(|name| format!("did you mean `{name}`?"))
}

/// The parts of a text that stand in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Insertions, removals and replacements that make one word of the other. Source: Wagner, Fischer, "The string-to-string
/// correction problem", JACM 21(1), 1974.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_seen_and_another_word_is_not() {
        assert_eq!(nearest("sevrity", ["severity", "title"]), Some("severity"));
        assert_eq!(nearest("wen", ["when", "title"]), Some("when"));
        assert_eq!(nearest("colour", ["severity", "title"]), None);
        assert_eq!(nearest("", ["id"]), None);
        let said = "unknown field `wen`, expected one of `id`, `when` at line 2";
        assert_eq!(of_message(said).as_deref(), Some("did you mean `when`?"));
        assert_eq!(of_message("missing field `id`"), None);
    }
}
