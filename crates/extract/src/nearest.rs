//! The known name nearest to a misspelt one.

/// Longest name compared: a longer one is no misspelling of a known name.
const NAME_CHARS_MAX: usize = 64;

/// The candidate fewest edits away from `name`, if few enough for its length. An equal name is not a misspelling.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let allowed = match name.len() {
        0..=2 => return None,
        3..=5 => 1,
        6..=NAME_CHARS_MAX => 2,
        _ => return None,
    };
    candidates
        .filter(|candidate| candidate.len() <= 4 * NAME_CHARS_MAX)
        .map(|candidate| (edits(&name, &candidate.to_lowercase().chars().collect::<Vec<_>>()), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two texts.
/// Source: optimal string alignment distance; Boytsov, "Indexing methods for approximate dictionary searching", 2011.
fn edits(a: &[char], b: &[char]) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_near_names_and_leaves_far_ones() {
        let names = ["host", "service", "duration_ms", "level"];
        let near = |name| nearest(name, names.into_iter());
        assert_eq!(near("hots"), Some("host"));
        assert_eq!(near("servce"), Some("service"));
        assert_eq!(near("Levle"), Some("level"));
        assert_eq!(near("duration"), None);
        assert_eq!(near("xy"), None);
    }
}
