//! What commands over lists share: a page of the API as lines of JSON, or as a table that fits the terminal.

use serde_json::Value;

use super::say;
use crate::show;

/// One column of a table: its heading, and where its value is in an item (a JSON pointer).
pub(super) type Column = (&'static str, &'static str);

/// The items of a page.
pub(super) fn items(page: &Value) -> &[Value] {
    page.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Writes a page as lines of JSON.
pub(super) fn say_lines(page: &Value) {
    items(page).iter().for_each(|item| say(&item.to_string()));
}

/// Writes a page as a table, or as lines of JSON; of an empty one it is said that there are `none`.
pub(super) fn say_page(page: &Value, is_json: bool, columns: &[Column], none: &str) {
    if is_json {
        return say_lines(page);
    }
    let items = items(page);
    if items.is_empty() {
        eprintln!("{none}");
    } else {
        say_table(columns, items);
    }
    if page.get("next").is_some_and(|next| !next.is_null()) {
        eprintln!("there are more: ask for more with -n");
    }
}

/// Writes items as a table.
pub(super) fn say_table(columns: &[Column], items: &[Value]) {
    let headings: Vec<String> = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let row = |item: &Value| columns.iter().map(|(_, pointer)| cell(item, pointer)).collect();
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    say(show::table_within(&headings, &rows, show::width()).trim_end());
}

/// A value for people: times without fractions of seconds, lists with commas, nothing for null.
pub(super) fn cell(item: &Value, pointer: &str) -> String {
    match item.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => show::printable(&short_time(text)),
        Some(Value::Array(parts)) => parts.iter().map(|part| cell(part, "")).collect::<Vec<_>>().join(", "),
        Some(other) => show::printable(&other.to_string()),
    }
}

/// `2026-11-27T12:00:00.123456789Z` as `2026-11-27 12:00:00`; any other text as it is.
fn short_time(text: &str) -> String {
    let is_time = text.len() == 30 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    if is_time { text[..19].replace('T', " ") } else { text.to_owned() }
}

/// Writes a document as it is.
pub(super) fn say_document(document: &Value) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(document)?);
    Ok(())
}

/// A name as the API takes it: `nobody` is nobody.
pub(super) fn somebody(name: &str) -> Option<&str> {
    (name != "nobody" && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_are_for_people() {
        let item = json!({
            "at": "2026-11-27T12:00:00.123456789Z",
            "to": ["ann", "bob"],
            "none": null,
            "title": "a\u{1b}[2Jb",
            "deep": {"n": 3}
        });
        let cells: Vec<_> =
            ["/at", "/to", "/none", "/title", "/deep/n", "/absent"].map(|at| cell(&item, at)).into();
        assert_eq!(cells, ["2026-11-27 12:00:00", "ann, bob", "", "a\\u{1b}[2Jb", "3", ""]);
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!((somebody("nobody"), somebody("ann")), (None, Some("ann")));
    }
}
