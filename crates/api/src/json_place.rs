//! Where in a JSON text a reader stopped: the field, for who has to mend it.

/// Levels named; what is deeper is named by these.
const LEVELS_MAX: usize = 16;

/// Where the walk stands in one container.
enum Level {
    /// In an object, at this member.
    Member(String),
    /// In an array, at this item.
    Item(usize),
}

/// The field that was read last before a line and column (both from 1), such as `spec.panels[3].viz`; empty when it is the
/// whole document. The text is JSON at least up to there.
pub(crate) fn field_at(text: &[u8], line: usize, column: usize) -> String {
    let read = &text[..offset(text, line, column)];
    let mut levels: Vec<Level> = Vec::new();
    let mut is_key = false;
    let mut at = 0;
    while at < read.len() {
        match read[at] {
            b'{' => {
                levels.push(Level::Member(String::new()));
                is_key = true;
            }
            b'[' => levels.push(Level::Item(0)),
            b'}' | b']' if at + 1 == read.len() => {}
            b'}' | b']' => {
                levels.pop();
            }
            b':' => is_key = false,
            b',' => match levels.last_mut() {
                Some(Level::Item(index)) => *index += 1,
                _ => is_key = true,
            },
            b'"' => {
                let end = end_of_string(read, at);
                if let (true, Some(Level::Member(name))) = (is_key, levels.last_mut()) {
                    *name = String::from_utf8_lossy(&read[at + 1..end]).into_owned();
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    named(&levels)
}

fn named(levels: &[Level]) -> String {
    let mut path = String::new();
    for level in levels.iter().take(LEVELS_MAX) {
        match level {
            Level::Member(name) if name.is_empty() => {}
            Level::Member(name) => {
                path.extend((!path.is_empty()).then_some('.'));
                path.push_str(name);
            }
            Level::Item(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// The byte after a line and column.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let before: usize =
        text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    before.saturating_add(column).min(text.len())
}

/// The closing quote of the string that opens here, or the end of what was read.
fn end_of_string(read: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < read.len() {
        match read[at] {
            b'\\' => at += 1,
            b'"' => return at,
            _ => {}
        }
        at += 1;
    }
    read.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Sheet {
        title: String,
        #[serde(default)]
        tags: Vec<String>,
        #[serde(default)]
        time: Option<Box<Sheet>>,
        #[serde(default)]
        revision: u64,
    }

    #[track_caller]
    fn check(text: &str, field: &str) {
        let error = serde_json::from_str::<Sheet>(text).expect_err("it does not fit");
        assert_eq!(field_at(text.as_bytes(), error.line(), error.column()), field, "{error}");
    }

    #[test]
    fn names_the_field_that_does_not_fit() {
        check(r#"{"title": 5}"#, "title");
        check(r#"{"title": "a", "revision": "x"}"#, "revision");
        check(r#"{"title": "a", "revision": -1, "tags": []}"#, "revision");
        check("{\"title\": \"a\",\n \"tags\": [\"b\", {}]}", "tags[1]");
        check(r#"{"title": "a", "titel": "b"}"#, "titel");
        check(r#"{"title": "a \" } ,", "time": {"title": "b", "x": 1}}"#, "time.x");
        check(r#"{"tags": ["a"], "title": null}"#, "title");
        check(r#""x""#, "");
    }
}
