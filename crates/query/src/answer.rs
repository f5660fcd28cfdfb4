//! What comes back from a query.

use heimdall_model::Value;
use heimdall_store::{DamagedSegment, ScanStats};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::cache::CacheUse;
use crate::engine::Strategy;
use crate::pages::PagePlace;
use crate::query::ColumnType;

/// Rows with their columns, and how they were found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The columns, in the order of each row's values.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
    /// How they were found.
    pub stats: AnswerStats,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name; names within one answer differ.
    pub name: String,
    /// Type of its values, where present.
    #[serde(rename = "type")]
    pub ty: ColumnType,
}

/// How an answer was found, and whether it is whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerStats {
    /// Wall time of planning and execution, ms.
    pub elapsed_ms: f64,
    /// How the records were looked at.
    pub strategy: Strategy,
    /// What the result cache did.
    pub cache: CacheUse,
    /// Rows looked at.
    pub rows_scanned: u64,
    /// Rows that passed the filter, as far as they were counted.
    pub rows_matched: u64,
    /// Bytes read from segment files.
    pub bytes_read: u64,
    /// Segments of the dataset.
    pub segments_total: usize,
    /// Segments of which something was read.
    pub segments_scanned: usize,
    /// Rows of the memtable that were looked at.
    pub memtable_rows: u64,
    /// Whether something that was asked for is missing; `warnings` says what.
    pub partial: bool,
    /// The limit that applied because the query named none, when it was reached: there may be more records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_limit: Option<usize>,
    /// Where the next page begins, when there may be one.
    #[serde(skip)]
    pub page_end: Option<PagePlace>,
    /// Text form of `page_end` for whoever asks for the next page; whoever hands the answer on writes it.
    pub next: Option<String>,
    /// What the asker should know: parts that are missing, names that look misspelt.
    pub warnings: Vec<String>,
    /// What the figures mean, such as the error of an estimate.
    pub notes: Vec<String>,
}

impl AnswerStats {
    /// Of an answer for which nothing was read yet.
    #[must_use]
    pub fn new(strategy: Strategy) -> AnswerStats {
        AnswerStats {
            elapsed_ms: 0.0,
            strategy,
            cache: CacheUse::Off,
            rows_scanned: 0,
            rows_matched: 0,
            bytes_read: 0,
            segments_total: 0,
            segments_scanned: 0,
            memtable_rows: 0,
            partial: false,
            default_limit: None,
            page_end: None,
            next: None,
            warnings: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds what a scan did.
    pub fn add(&mut self, scan: &ScanStats) {
        self.rows_scanned += scan.rows_scanned;
        self.rows_matched += scan.rows_matched;
        self.bytes_read += scan.bytes_read;
        self.segments_total = self.segments_total.max(scan.segments_total);
        self.segments_scanned += scan.segments_scanned;
        self.memtable_rows += scan.memtable_rows;
        self.goes_without(&scan.missing);
    }

    /// Says which records are missing because their segment is damaged.
    pub(crate) fn goes_without<'d>(&mut self, missing: impl IntoIterator<Item = &'d DamagedSegment>) {
        for warning in missing.into_iter().map(ToString::to_string) {
            if !self.warnings.contains(&warning) {
                self.is_missing(warning);
            }
        }
    }

    /// Adds what finding another part of the same answer took.
    pub(crate) fn add_part(&mut self, part: &AnswerStats) {
        self.rows_scanned += part.rows_scanned;
        self.rows_matched += part.rows_matched;
        self.bytes_read += part.bytes_read;
        self.segments_total = self.segments_total.max(part.segments_total);
        self.segments_scanned += part.segments_scanned;
        self.memtable_rows += part.memtable_rows;
        self.partial |= part.partial;
        for warning in &part.warnings {
            if !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
    }

    /// Says that something is missing from the answer.
    pub fn is_missing(&mut self, what: String) {
        self.partial = true;
        self.warnings.push(what);
    }
}

/// One row as an object; absent values are left out.
struct RowObject<'a> {
    columns: &'a [Column],
    row: &'a [Value],
}

impl Serialize for RowObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (column, value) in self.columns.iter().zip(self.row).filter(|(_, value)| !value.is_null()) {
            object.serialize_entry(&column.name, value)?;
        }
        object.end()
    }
}

impl Answer {
    /// Writes each row as a JSON object on a line of its own; absent values are left out.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_ndjson(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        for row in &self.rows {
            serde_json::to_writer(&mut *out, &RowObject { columns: &self.columns, row })?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Each row as a JSON object; absent values are left out.
    pub fn objects(&self) -> impl Iterator<Item = serde_json::Map<String, serde_json::Value>> {
        self.rows.iter().map(|row| {
            let present = self.columns.iter().zip(row).filter(|(_, value)| !value.is_null());
            present.map(|(column, value)| (column.name.clone(), value.to_json())).collect()
        })
    }
}
