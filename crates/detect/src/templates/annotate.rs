//! Events that tell of a deployment: `event.kind` is `deploy…`, or there is a `heimdall.annotation`.
//!
//! Cost: one search over the attributes of a whole batch for each of two texts.

use heimdall_model::schema::logs;
use heimdall_model::{Batch, Column};
use memchr::memmem;

/// Attribute of an annotation, whatever its value.
const ANNOTATION: &str = "heimdall.annotation";
/// Attribute that tells what kind of event a record is, and how its value begins for a deployment.
const KIND: &str = "event.kind";
const DEPLOY: &str = "deploy";

/// Rows of the batch that tell of a deployment, ascending.
pub(super) fn deployments(batch: &Batch) -> Vec<usize> {
    let Some(Column::Text(column)) = batch.column(logs::ATTRIBUTES) else { return Vec::new() };
    let bytes = column.data.as_bytes();
    let row_of = |at: usize| column.ends.partition_point(|end| *end as usize <= at);
    let mut rows: Vec<usize> = memmem::find_iter(bytes, ANNOTATION).map(row_of).collect();
    let values = memmem::find_iter(bytes, "\"deploy").filter(|at| is_value_of_kind(&bytes[..*at]));
    rows.extend(values.map(row_of));
    rows.sort_unstable();
    rows.dedup();
    rows.retain(|row| tells(batch, *row));
    rows
}

/// Whether the text before a value ends in a key like `kind`.
fn is_value_of_kind(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    before.strip_suffix(b":").is_some_and(|before| before.trim_ascii_end().ends_with(b"kind\""))
}

fn tells(batch: &Batch, row: usize) -> bool {
    use heimdall_model::attributes::Attribute;
    let row = batch.row(row);
    match row.attribute(KIND) {
        Some(Attribute::Text(kind)) if kind.starts_with(DEPLOY) => true,
        _ => row.attribute(ANNOTATION).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Line, logs};

    #[test]
    fn both_spellings_are_found_and_labels_are_not() {
        let attributes = [
            r#"{"k8s.deployment.name":"deploy-1"}"#,
            r#"{"event.kind":"deploy"}"#,
            r#"{"kind":"deploy"}"#,
            r#"{"event":{"kind": "deployment"}}"#,
            r#"{"heimdall.annotation":"release 1.2"}"#,
            r#"{"event.kind":"alert","note":"deploy"}"#,
        ];
        let mut lines: Vec<Line> = attributes.iter().map(|json| Line::new(0, "x").attributes(json)).collect();
        lines.insert(0, Line::new(0, "no attributes"));
        assert_eq!(deployments(&logs(&lines)), [2, 4, 5]);
    }
}
