//! Lists as CSV (RFC 4180), for spreadsheets.
//!
//! Invariant: no cell is taken for a formula: one that begins like one gets a `'` in front, as spreadsheets read it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// Where the next page begins; absent on the last.
const NEXT_HEADER: HeaderName = HeaderName::from_static("heimdall-next");

/// A table being written.
pub(crate) struct Csv(String);

impl Csv {
    /// A table with these columns.
    pub(crate) fn new(headings: &[&str]) -> Csv {
        let mut csv = Csv(String::new());
        csv.row(headings);
        csv
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: &[&str]) {
        for (n, cell) in cells.iter().enumerate() {
            if n > 0 {
                self.0.push(',');
            }
            self.cell(cell);
        }
        self.0.push_str("\r\n");
    }

    fn cell(&mut self, cell: &str) {
        let formula = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        if formula.is_empty() && !cell.contains([',', '"', '\n', '\r']) {
            return self.0.push_str(cell);
        }
        self.0.push('"');
        self.0.push_str(formula);
        self.0.push_str(&cell.replace('"', "\"\""));
        self.0.push('"');
    }

    /// The answer; the cursor of the next page is in the header `heimdall-next`.
    pub(crate) fn answer(self, next: Option<String>) -> Response {
        let kind = HeaderValue::from_static("text/csv; charset=utf-8");
        let mut response = ([(header::CONTENT_TYPE, kind)], self.0).into_response();
        if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
            response.headers_mut().insert(NEXT_HEADER, next);
        }
        response
    }
}

/// Whether a client asks for CSV.
pub(crate) fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accepted.split([',', ';']).any(|kind| kind.trim().eq_ignore_ascii_case("text/csv"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_are_no_formulas() {
        let mut csv = Csv::new(&["a", "b"]);
        csv.row(&["x,\"y\"\n", "=1+1"]);
        csv.row(&["-5", ""]);
        assert_eq!(csv.0, "a,b\r\n\"x,\"\"y\"\"\n\",\"'=1+1\"\r\n\"'-5\",\r\n");
    }
}
