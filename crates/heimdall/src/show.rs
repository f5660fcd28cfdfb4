//! How records, alerts and tables look on a terminal.

use std::io::IsTerminal;

use serde_json::{Map, Value};

use crate::args::Colour;

const RESET: &str = "\x1b[0m";
pub(crate) const DIM: &str = "\x1b[2m";
pub(crate) const BOLD: &str = "\x1b[1m";
pub(crate) const GREEN: &str = "\x1b[32m";
/// Characters a cell keeps however narrow the terminal is.
const CELL_CHARS_MIN: usize = 9;

/// Whether to write colour codes to standard output.
pub(crate) fn is_coloured(colour: Colour) -> bool {
    match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// The colour of a level or a severity.
pub(crate) fn code_of(name: &str) -> &'static str {
    match name {
        "fatal" | "error" | "CRITICAL" => "\x1b[31m",
        "warn" | "WARNING" => "\x1b[33m",
        "info" | "NORMAL" => "\x1b[32m",
        _ => "\x1b[36m",
    }
}

/// Text from elsewhere, safe for a terminal: control characters are shown, not obeyed.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(
            |c| {
                if c.is_control() && c != '\t' { c.escape_default().collect::<Vec<_>>() } else { vec![c] }
            },
        )
        .collect()
}

/// Text in a colour, or as it is.
pub(crate) fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("{code}{text}{RESET}") } else { text.to_owned() }
}

/// One record on a line: time, level, service, message, then the rest as `key=value`.
pub(crate) fn record(record: &Map<String, Value>, colour: bool) -> String {
    let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
    let level = text("level");
    let mut line = format!(
        "{} {} {} {}",
        paint(text("timestamp"), DIM, colour),
        paint(&format!("{level:<5}"), code_of(level), colour),
        printable(text("service")),
        printable(text("message")),
    );
    const SHOWN: [&str; 8] =
        ["id", "timestamp", "observed", "level", "service", "message", "template_id", "template"];
    for (key, value) in
        record.iter().filter(|(key, value)| !SHOWN.contains(&key.as_str()) && !value.is_null())
    {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line.push(' ');
        line.push_str(&paint(&format!("{}={}", printable(key), printable(&value)), DIM, colour));
    }
    line
}

/// One alert on a line.
pub(crate) fn alert(alert: &Value, colour: bool) -> String {
    let text = |key: &str| alert.get(key).and_then(Value::as_str).unwrap_or_default();
    let entity = alert.pointer("/entity/value").and_then(Value::as_str).unwrap_or_default();
    let count = alert.get("count").and_then(Value::as_u64).unwrap_or_default();
    let severity = text("severity");
    let feedback = match alert.pointer("/feedback/verdict").and_then(Value::as_str) {
        Some("true_positive") => "  (true positive)",
        Some("false_positive") => "  (false positive)",
        _ => "",
    };
    let muted = alert.pointer("/muted/kind").and_then(Value::as_str);
    let muted = muted.map(|kind| format!("  (quiet: {kind})")).unwrap_or_default();
    let assignee = alert.get("assignee").and_then(Value::as_str);
    let assignee = assignee.map(|name| format!("  @{}", printable(name))).unwrap_or_default();
    format!(
        "{} {} {:<12} {}  {} [{}] ×{count}  {}{assignee}{muted}{feedback}",
        paint(text("last_seen"), DIM, colour),
        paint(&format!("{severity:<8}"), code_of(severity), colour),
        text("status"),
        printable(text("title")),
        printable(text("summary")),
        printable(entity),
        paint(text("id"), DIM, colour),
    )
}

/// Rows under headings, columns as wide as needed.
pub(crate) fn table(headings: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    [line(headings), line(&rule)].into_iter().chain(rows.iter().map(|row| line(row))).collect()
}

/// Columns of the terminal; of anything else, no bound.
pub(crate) fn width() -> usize {
    let terminal = console::Term::stdout();
    if terminal.is_term() { usize::from(terminal.size().1) } else { usize::MAX }
}

/// As [`table`], within so many characters: the last columns that are too wide are cut, with `…`.
pub(crate) fn table_within(headings: &[String], rows: &[Vec<String>], width: usize) -> String {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..headings.len()).map(widest).collect();
    let gaps = 2 * headings.len().saturating_sub(1);
    let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(width);
    for width in widths.iter_mut().rev() {
        let cut = excess.min(width.saturating_sub(CELL_CHARS_MIN));
        (*width, excess) = (*width - cut, excess - cut);
    }
    let row =
        |cells: &Vec<String>| cells.iter().zip(&widths).map(|(cell, width)| cut(cell, *width)).collect();
    table(headings, &rows.iter().map(row).collect::<Vec<_>>())
}

fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_cannot_drive_the_terminal() {
        let Value::Object(fields) = serde_json::json!({"message": "a\u{1b}[2Jb", "service": "s", "x": 1})
        else {
            unreachable!("an object")
        };
        assert_eq!(record(&fields, false), "       s a\\u{1b}[2Jb x=1");
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let rows = [vec!["0123456789".to_owned(), "a long text that is cut".to_owned()]];
        let headings = ["id".to_owned(), "comment".to_owned()];
        let text = table_within(&headings, &rows, 26);
        assert_eq!(text.lines().last(), Some("0123456789  a long text t…"));
        assert_eq!(table_within(&headings, &rows, usize::MAX), table(&headings, &rows));
        // What must be copied whole, such as an id in front, goes last.
        assert!(table_within(&headings, &rows, 5).contains("01234567…"));
    }

    #[test]
    fn a_table_lines_up() {
        let text = table(&["a".into(), "count".into()], &[vec!["long".into(), "1".into()]]);
        assert_eq!(text, "a     count\n────  ─────\nlong  1\n");
    }
}
