//! Ranges of a CSV table, told as they end.

use std::io::{BufRead, Write};

use serde::Serialize;

use super::{Model, Range, TrainError};

/// Longest line read, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Most training rows kept.
const TRAIN_ROWS_MAX: usize = 1_000_000;
/// Columns with these names are times and not measured.
const TIME_COLUMNS: &[&str] = &["timestamp", "time", "date", "datetime"];

/// Why a table could not be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A line is not what was asked for.
    #[error("line {line} of the {table} table: {detail}")]
    Line {
        /// `training` or `test`.
        table: &'static str,
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// Nothing could be learnt.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Reading or writing failed.
    #[error("could not read or write")]
    Io(#[from] std::io::Error),
}

/// A range as it is written.
#[derive(Serialize)]
struct Answer {
    start: u64,
    end: u64,
    score: f64,
}

/// Learns from one CSV table and writes a `{"start","end","score"}` line for every range of another that is unlike it.
///
/// Rows count from 0 without the header, which may be missing; both ends belong to the range. Columns named
/// `timestamp`, `time`, `date` or `datetime` are left out; an empty field is as in the row before. A range is
/// written and flushed as soon as it is over. Returns the number of ranges.
///
/// # Errors
/// The first line that is not a row of numbers as long as the first, too few training rows, or a failure to read or
/// write.
pub fn batch_multivariate(
    train: impl BufRead,
    test: impl BufRead,
    mut writer: impl Write,
) -> Result<u64, TableError> {
    let mut rows = Vec::new();
    let mut training = Table::new("training", train);
    while let Some(row) = training.next_row()? {
        if rows.len() == TRAIN_ROWS_MAX {
            return Err(training.broken(format!("more than {TRAIN_ROWS_MAX} rows")));
        }
        rows.push(row);
    }
    let model = Model::train(&rows)?;
    drop(rows);
    let (mut watcher, mut ranges) = (model.watch(), 0);
    let mut table = Table::new("test", test);
    while let Some(row) = table.next_row()? {
        if row.len() != model.columns() {
            return Err(table.broken(format!("{} columns and not {}", row.len(), model.columns())));
        }
        if let Some(range) = watcher.push(&row) {
            write_range(&mut writer, range)?;
            ranges += 1;
        }
    }
    if let Some(range) = watcher.finish() {
        write_range(&mut writer, range)?;
        ranges += 1;
    }
    Ok(ranges)
}

fn write_range(writer: &mut impl Write, range: Range) -> std::io::Result<()> {
    let Range { start, end, score } = range;
    serde_json::to_writer(&mut *writer, &Answer { start, end, score })?;
    writer.write_all(b"\n")?;
    writer.flush()
}

/// Reads rows of numbers.
struct Table<R> {
    name: &'static str,
    reader: R,
    line: u64,
    text: String,
    /// Columns left out, once the first line was read.
    left_out: Option<Vec<bool>>,
}

impl<R: BufRead> Table<R> {
    fn new(name: &'static str, reader: R) -> Table<R> {
        Table { name, reader, line: 0, text: String::new(), left_out: None }
    }

    fn broken(&self, detail: String) -> TableError {
        TableError::Line { table: self.name, line: self.line, detail }
    }

    fn next_row(&mut self) -> Result<Option<Vec<f64>>, TableError> {
        loop {
            self.text.clear();
            self.line += 1;
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = std::io::Read::take(&mut self.reader, limit).read_line(&mut self.text)?;
            if read == 0 {
                return Ok(None);
            }
            if read > LINE_BYTES_MAX {
                return Err(self.broken(format!("longer than {LINE_BYTES_MAX} bytes")));
            }
            let fields: Vec<&str> = self.text.trim().split(',').map(field).collect();
            if fields == [""] {
                continue;
            }
            let left_out = match &self.left_out {
                Some(left_out) => left_out,
                None => {
                    let is_header = fields.iter().any(|field| number(field).is_none());
                    let is_time = |name: &&str| TIME_COLUMNS.contains(&name.to_ascii_lowercase().as_str());
                    let left_out = fields.iter().map(is_time).collect();
                    self.left_out = Some(left_out);
                    if is_header {
                        continue;
                    }
                    self.left_out.get_or_insert_default()
                }
            };
            if fields.len() != left_out.len() {
                let detail = format!("{} fields and not {}", fields.len(), left_out.len());
                return Err(self.broken(detail));
            }
            let used = fields.iter().zip(left_out).filter(|(_, left_out)| !**left_out);
            let row: Result<Vec<f64>, &str> = used.map(|(field, _)| number(field).ok_or(*field)).collect();
            return match row {
                Ok(row) => Ok(Some(row)),
                Err(field) => Err(self.broken(format!("`{field}` is not a number"))),
            };
        }
    }
}

/// A field without white space and quotes.
fn field(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// A number; an empty field is none that counts.
fn number(field: &str) -> Option<f64> {
    if field.is_empty() { Some(f64::NAN) } else { field.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: usize, value: impl Fn(usize) -> f64) -> String {
        let row = |at: usize| format!("{at},{},{}\n", value(at), u8::from(at.is_multiple_of(50)));
        format!("timestamp,value,cmd1\n{}", (0..rows).map(row).collect::<String>())
    }

    fn wave(at: usize) -> f64 {
        (at as f64 / 8.0).sin() + (at * 7919 % 13) as f64 / 40.0
    }

    #[test]
    fn ranges_are_lines() {
        let test = table(1_000, |at| wave(at) + if (600..700).contains(&at) { 5.0 } else { 0.0 });
        let mut out = Vec::new();
        let ranges = batch_multivariate(table(1_500, wave).as_bytes(), test.as_bytes(), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(ranges == 1 && out.starts_with(r#"{"start":60"#) && out.contains(r#","score":0."#), "{out}");
    }

    #[test]
    fn broken_lines_are_named() {
        let train = table(500, wave);
        let run = |train: &str, test: &str| {
            batch_multivariate(train.as_bytes(), test.as_bytes(), &mut Vec::new()).unwrap_err().to_string()
        };
        assert_eq!(run("value\n1\n2\n", ""), "the training table has 2 rows and needs 400");
        assert_eq!(run("value\n1\nx\n", ""), "line 3 of the training table: `x` is not a number");
        assert_eq!(run("value\n1\n1,2\n", ""), "line 3 of the training table: 2 fields and not 1");
        assert_eq!(run(&train, "1\n"), "line 1 of the test table: 1 columns and not 2");
    }
}
