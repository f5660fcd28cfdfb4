//! The known name nearest to a misspelt one.

/// Longest name compared (bytes): a longer one is no misspelling of a known name.
const NAME_BYTES_MAX: usize = 64;

/// The candidate fewest edits away from `name`, if few enough for its length: one up to five letters, else two.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = match name.len() {
        0..=2 => return None,
        3..=5 => 1,
        6..=NAME_BYTES_MAX => 2,
        _ => return None,
    };
    candidates
        .filter(|candidate| candidate.len() <= NAME_BYTES_MAX)
        .map(|candidate| (edits(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two texts (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
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
        let near = |name| nearest(name, ["receiver", "routes", "group_by", "match"].into_iter());
        assert_eq!(near("reciever"), Some("receiver"));
        assert_eq!(near("groupby"), Some("group_by"));
        assert_eq!(near("macth"), Some("match"));
        assert_eq!((near("ab"), near("inhibit")), (None, None));
    }
}
