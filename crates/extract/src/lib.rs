//! Pieces of a text by name: what `parse` of a search line and of a pipeline find.
//!
//! - [`extractor`]: JSON, pairs, regular expressions, grok patterns, texts with variables
//! - [`nearest`]: the known name nearest to a misspelt one
//!
//! Not here: where the text comes from and where the pieces go (search lines: `heimdall-query`; pipelines: `heimdall-ingest`).

pub mod extractor;
mod nearest;

pub use extractor::{COLUMNS_MAX, Extractor, Form, Group, compile_regex, group_values};
pub use nearest::nearest;
