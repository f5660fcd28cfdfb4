//! A pipeline tried out on records: what each was before, what each step did, what came out.

use std::sync::Arc;

use heimdall_model::{Dataset, Timestamp};
use serde::Serialize;

use super::doc::Doc;
use super::{Chosen, Context, End, Origin, Pipeline, PipelineSet, Ran};
use crate::body::{BodyError, BodyFormat, DecodeLimits};
use crate::json::{RecordReader, profile_of};
use crate::records::Reading;

/// Most records tried at once.
pub const RECORDS_MAX: usize = 1_000;

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The pipeline.
    pub pipeline: String,
    /// The step, from 1.
    pub step: usize,
    /// Its kind.
    pub action: &'static str,
    /// What it did.
    pub text: String,
}

/// A record that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The record as a decoder hands it over.
    pub before: String,
    /// The record as it goes into the batch; none where its way ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// `unchanged`, `changed`, `dropped`, `sampled`, `quarantined` or `rejected`.
    pub outcome: &'static str,
    /// Why it was rejected or quarantined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What each step did; none when the pipeline is not for the record.
    pub steps: Vec<Note>,
}

impl End {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            End::Dropped => "dropped",
            End::Sampled => "sampled",
            End::Quarantined { .. } => "quarantined",
            End::Rejected { .. } => "rejected",
        }
    }
}

/// The records of a body as decoders hand them over: JSON text each.
///
/// # Errors
/// The body as a whole is no such body.
pub fn records(format: BodyFormat, body: &[u8], now: Timestamp) -> Result<Vec<String>, BodyError> {
    match format.settled(body) {
        BodyFormat::Text(format) => Ok(crate::text::objects(format, body, now).take(RECORDS_MAX).collect()),
        BodyFormat::Json | BodyFormat::Auto => crate::json::values(body, RECORDS_MAX),
    }
}

/// Tries a pipeline of a set on records.
#[must_use]
pub fn run(
    set: &PipelineSet,
    pipeline: &Arc<Pipeline>,
    origin: Origin<'_>,
    dataset: Dataset,
    records: &[String],
    now: Timestamp,
) -> Vec<Tried> {
    let list = if pipeline.concerns(origin, dataset) { vec![pipeline] } else { Vec::new() };
    let chosen = Chosen { set, list, origin };
    records.iter().take(RECORDS_MAX).map(|text| one(&chosen, text, dataset, now)).collect()
}

fn one(chosen: &Chosen<'_>, text: &str, dataset: Dataset, now: Timestamp) -> Tried {
    let mut steps = Vec::new();
    let mut out = String::new();
    let ran = match Doc::parse(text) {
        Err(syntax) => {
            let reason = format!("record is not JSON at byte {}: {}", syntax.at, syntax.detail);
            Ran::End(End::Rejected { field: String::new(), reason })
        }
        Ok(mut doc) => {
            let notes = Some(&mut steps);
            let tenant = chosen.origin.tenant;
            let mut context = Context { dataset, tenant, now, redacted: false, errors: 0, notes };
            chosen.run_doc(&mut doc, &mut context, &mut out)
        }
    };
    let mut tried = Tried { before: text.to_owned(), after: None, outcome: "unchanged", reason: None, steps };
    match ran {
        Ran::Untouched => tried.after = Some(text.to_owned()),
        Ran::Changed { .. } => {
            tried.outcome = if out == text { "unchanged" } else { "changed" };
            tried.after = Some(out);
        }
        Ran::End(end) => {
            tried.outcome = end.as_str();
            if let End::Quarantined { field, reason } | End::Rejected { field, reason } = end {
                tried.reason = Some(if field.is_empty() { reason } else { format!("{field}: {reason}") });
            }
        }
    }
    if let Some(rejected) = tried.after.as_deref().and_then(|after| refused(after, dataset, now)) {
        tried.outcome = "rejected";
        tried.reason = Some(rejected);
    }
    tried
}

/// Why the reader of records would not take it.
fn refused(text: &str, dataset: Dataset, now: Timestamp) -> Option<String> {
    let limits = DecodeLimits::default();
    let mut reader = RecordReader::new(profile_of(dataset), Reading::new(now, &limits));
    let rejected = reader.take_text(text).err()?;
    Some(if rejected.field.is_empty() {
        rejected.reason.into_owned()
    } else {
        format!("{}: {}", rejected.field, rejected.reason)
    })
}
