//! Records that go on over several lines (stack traces): continuation lines join the line before them.
//!
//! Invariants:
//! - every line that is not blank is in exactly one record, in order;
//! - a record stops growing at `RECORD_LINES_MAX` lines or `RECORD_BYTES_MAX` bytes; the next line starts a new one;
//! - `first_line_index + line_count` of a record is the `first_line_index` of the next, so a reader can resume.

use std::iter::FusedIterator;

/// Lines joined into one record at most.
pub const RECORD_LINES_MAX: usize = 1_000;
/// Bytes joined into one record at most; a single longer line is the reader's to bound.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// One record: a line and its continuation lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedLine {
    /// The lines with `\n` between them; blank lines left out.
    pub text: String,
    /// Index of its first line in the input, from 0; blank lines count.
    pub first_line_index: u64,
    /// Lines of input it took, blank ones after it included.
    pub line_count: usize,
}

/// Whether a line goes on the record of the line before: it is indented, or a `Caused by:` or `at ` of a stack trace.
#[must_use]
pub fn is_continuation(line: &str) -> bool {
    line.starts_with([' ', '\t']) || line.starts_with("Caused by:") || line.starts_with("at ")
}

/// Joins continuation lines to the line before them; a record is given out when the next one starts.
pub fn join_multiline<I>(lines: I) -> JoinMultiline<I::IntoIter>
where
    I: IntoIterator,
    I::Item: Into<String>,
{
    JoinMultiline { lines: lines.into_iter(), line_index: 0, pending: None }
}

/// The iterator of [`join_multiline`].
#[derive(Debug)]
pub struct JoinMultiline<I> {
    lines: I,
    /// Index of the next line to read.
    line_index: u64,
    pending: Option<JoinedLine>,
}

impl<I: Iterator<Item: Into<String>>> Iterator for JoinMultiline<I> {
    type Item = JoinedLine;

    fn next(&mut self) -> Option<JoinedLine> {
        loop {
            let Some(line) = self.lines.next() else { return self.pending.take() };
            let mut line: String = line.into();
            line.truncate(line.trim_end_matches(['\r', '\n']).len());
            if let Some(done) = self.take_line(line) {
                return Some(done);
            }
        }
    }
}

impl<I: FusedIterator<Item: Into<String>>> FusedIterator for JoinMultiline<I> {}

impl<I> JoinMultiline<I> {
    /// Adds a line to the pending record, or starts a new one and returns the record it ends.
    fn take_line(&mut self, line: String) -> Option<JoinedLine> {
        let first_line_index = self.line_index;
        self.line_index += 1;
        let is_blank = line.trim_ascii().is_empty();
        if let Some(pending) = &mut self.pending
            && (is_blank || (is_continuation(&line) && pending.has_room_for(&line)))
        {
            pending.line_count += 1;
            if !is_blank {
                pending.text.push('\n');
                pending.text.push_str(&line);
            }
            return None;
        }
        if is_blank {
            return None;
        }
        self.pending.replace(JoinedLine { text: line, first_line_index, line_count: 1 })
    }
}

impl JoinedLine {
    fn has_room_for(&self, line: &str) -> bool {
        self.line_count < RECORD_LINES_MAX && self.text.len() + 1 + line.len() <= RECORD_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> Vec<(u64, usize, String)> {
        join_multiline(text.lines())
            .map(|record| (record.first_line_index, record.line_count, record.text.replace('\n', "|")))
            .collect()
    }

    #[test]
    fn a_stack_trace_is_one_record() {
        let text = "\n  odd start\nERROR x\r\n\tat a.B\n\nCaused by: y\nat c.D\nINFO z\n";
        assert_eq!(
            joined(text),
            [
                (1, 1, "  odd start".to_owned()),
                (2, 5, "ERROR x|\tat a.B|Caused by: y|at c.D".to_owned()),
                (7, 1, "INFO z".to_owned()),
            ]
        );
    }

    #[test]
    fn a_record_is_bounded_and_nothing_is_lost() {
        let many = joined(&" x\n".repeat(RECORD_LINES_MAX + 5));
        assert_eq!(many.iter().map(|record| record.1).collect::<Vec<_>>(), [RECORD_LINES_MAX, 5]);
        let half = " ".repeat(RECORD_BYTES_MAX / 2 - 1) + "x";
        let long = joined(&format!("{half}\n{half}\n{half}"));
        assert_eq!(long.len(), 3); // two halves and the line break between them are one byte too many
    }
}
