//! Prometheus' protocols: remote write, which is sent to us, and exposition, which we fetch.
//!
//! - [`remote_write`]: `POST /api/v1/write`, versions 1 and 2; [`wire`]: protobuf as it lies; [`histogram`]: native histograms
//! - [`scrape`]: targets that are asked for their metrics
//! - [`series`]: name and labels as part of a record, the same for both
//!
//! Not here: queries in Prometheus' language.

mod histogram;
pub(crate) mod remote_write;
pub mod scrape;
mod series;
mod wire;
