//! Paths with wildcards: `*` and `?` within a name, `[a-z]`, and `**` for any folders.
//!
//! Invariant: links to folders are not followed below `**`, so there are no circles; names that begin with a dot match only a
//! pattern that does.

use std::path::{Component, Path, PathBuf};

/// Folders within folders below `**`.
const DEPTH_MAX: usize = 16;

/// The files that a pattern names, in order of their paths, at most `max`.
#[must_use]
pub(super) fn expand(pattern: &str, max: usize) -> Vec<PathBuf> {
    let parts = parts_of(Path::new(pattern));
    let mut found = Vec::new();
    walk(&PathBuf::new(), &parts, 0, max, &mut found);
    found.sort();
    found.dedup();
    found
}

/// Whether the pattern names this path.
pub(super) fn matches(pattern: &str, path: &Path) -> bool {
    parts_match(&parts_of(Path::new(pattern)), &parts_of(path))
}

/// The folder before the first wildcard, when it exists.
pub(super) fn fixed_folder(pattern: &str) -> Option<PathBuf> {
    let is_fixed = |part: &Component<'_>| !is_wild(&part.as_os_str().to_string_lossy());
    let parent = Path::new(pattern).parent()?;
    let folder: PathBuf = parent.components().take_while(is_fixed).collect();
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    folder.is_dir().then_some(folder)
}

/// The entries of a folder, at most `max`; none when it cannot be read.
pub(super) fn list(folder: &Path, max: usize) -> Vec<PathBuf> {
    let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(shown).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| folder.join(entry.file_name())).take(max).collect();
    paths.sort();
    paths
}

fn parts_of(path: &Path) -> Vec<String> {
    let text = |part: Component<'_>| part.as_os_str().to_string_lossy().into_owned();
    path.components().filter(|part| *part != Component::CurDir).map(text).collect()
}

fn is_wild(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

fn walk(at: &Path, parts: &[String], depth: usize, max: usize, found: &mut Vec<PathBuf>) {
    if found.len() >= max {
        return;
    }
    let Some((part, rest)) = parts.split_first() else {
        if at.is_file() {
            found.push(at.to_owned());
        }
        return;
    };
    if part == "**" {
        walk(at, rest, depth, max, found);
        let is_folder = |path: &PathBuf| path.is_dir() && !path.is_symlink() && !is_hidden(path);
        if depth < DEPTH_MAX {
            let folders = list(at, usize::MAX).into_iter().filter(is_folder);
            folders.for_each(|folder| walk(&folder, parts, depth + 1, max, found));
        }
    } else if is_wild(part) {
        for path in list(at, usize::MAX) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name_matches(part, &name) {
                walk(&path, rest, depth, max, found);
            }
        }
    } else {
        walk(&at.join(part), rest, depth, max, found);
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn parts_match(pattern: &[String], path: &[String]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((part, rest)) if part == "**" => (0..=path.len()).any(|skip| parts_match(rest, &path[skip..])),
        Some((part, rest)) => path
            .split_first()
            .is_some_and(|(name, after)| name_matches(part, name) && parts_match(rest, after)),
    }
}

fn name_matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    chars_match(&pattern, &name)
}

/// Goes back only to the last `*`: linear in practice, quadratic at worst.
fn chars_match(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(len) = one_matches(&pattern[p..], name[n]) {
            (p, n) = (p + len, n + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, n) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Whether the pattern's first element matches the character, and how long the element is.
fn one_matches(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let end = pattern.iter().skip(2).position(|c| *c == ']')? + 2;
            let (negated, from) = if matches!(pattern[1], '!' | '^') { (true, 2) } else { (false, 1) };
            (class_holds(&pattern[from..end], c) != negated).then_some(end + 1)
        }
        literal => (*literal == c).then_some(1),
    }
}

fn class_holds(mut class: &[char], c: char) -> bool {
    while let Some(first) = class.first() {
        if let [from, '-', to, ..] = class {
            if (*from..=*to).contains(&c) {
                return true;
            }
            class = &class[3..];
        } else {
            if *first == c {
                return true;
            }
            class = &class[1..];
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, path: &str, expected: bool) {
        assert_eq!(matches(pattern, Path::new(path)), expected, "{pattern} {path}");
    }

    #[test]
    fn wildcards_mean_what_shells_mean() {
        check("/var/log/*.log", "/var/log/a.log", true);
        check("/var/log/*.log", "/var/log/x/a.log", false);
        check("/var/log/*.log", "/var/log/.a.log", false);
        check("/var/**/*.log", "/var/log/x/y/a.log", true);
        check("/var/**/*.log", "/var/a.log", true);
        check("/var/log/app-?.[0-9a]*", "/var/log/app-1.7b", true);
        check("/var/log/app-?.[!0-9]", "/var/log/app-1.7", false);
        check("/a*b*c", "/aXbYbc", true);
        check("/a*b*c", "/aXbYb", false);
        check("[", "x", false);
    }

    #[test]
    fn files_are_found_in_order_and_not_folders() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.log", "a.log", "sub/c.log", "sub/deep/d.log", "x.txt"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let found = expand(dir.path().join(pattern).to_str().unwrap(), 100);
            found.iter().map(|path| path.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(names("*"), ["a.log", "b.log", "x.txt"]);
        assert_eq!(names("**/*.log"), ["a.log", "b.log", "sub/c.log", "sub/deep/d.log"]);
        assert_eq!(names("sub"), Vec::<String>::new());
        assert_eq!(
            fixed_folder(dir.path().join("sub/*.log").to_str().unwrap()),
            Some(dir.path().join("sub"))
        );
    }
}
