//! From an opinion to a verdict: the cap, the confidence asked for, and who said it.
//!
//! Invariant: no verdict is worse than `max_severity`, whatever anybody said.

use heimdall_model::verdict::EVIDENCE_MAX;
use heimdall_model::{Entity, Feature, Level, Position, RecordId, Severity, Tenant, Timestamp, Verdict};

use crate::config::LlmConfig;
use crate::mask::cut;
use crate::question::Opinion;

/// Name of the detector.
pub const DETECTOR: &str = "llm";
/// Rule of its verdicts.
pub const RULE: &str = "llm.review";

/// Most characters of a template in a summary.
const SUMMARY_TEMPLATE_CHARS: usize = 160;

/// A suspicious template: one of those that a detector, or being new, singled out; never every line.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Owner.
    pub tenant: Tenant,
    /// Service that wrote it, when known.
    pub service: Option<String>,
    /// Text with `<*>` for its variable parts.
    pub template: String,
    /// Level of the lines, when known.
    pub level: Option<Level>,
    /// Lines since the last offer of this template.
    pub count: u64,
    /// One of these lines.
    pub example: RecordId,
    /// Journal position of the newest line.
    pub position: Position,
    /// Event time of that line.
    pub time: Timestamp,
}

/// What was seen of a template since it was last reported.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub service: Option<String>,
    pub level: Option<Level>,
    pub count: u64,
    pub position: Position,
    pub time: Timestamp,
    /// Newest last, at most [`EVIDENCE_MAX`].
    pub evidence: Vec<RecordId>,
}

impl Seen {
    pub(crate) fn new(candidate: &Candidate) -> Seen {
        Seen {
            service: candidate.service.clone(),
            level: candidate.level,
            count: candidate.count,
            position: candidate.position,
            time: candidate.time,
            evidence: vec![candidate.example],
        }
    }

    pub(crate) fn add(&mut self, candidate: &Candidate) {
        self.level = self.level.max(candidate.level);
        self.count = self.count.saturating_add(candidate.count);
        if candidate.position >= self.position {
            self.service.clone_from(&candidate.service);
            (self.position, self.time) = (candidate.position, candidate.time);
        }
        if !self.evidence.contains(&candidate.example) {
            if self.evidence.len() == EVIDENCE_MAX {
                self.evidence.remove(0);
            }
            self.evidence.push(candidate.example);
        }
    }
}

/// The verdict, if the opinion is bad and sure enough for one.
pub(crate) fn verdict(
    config: &LlmConfig,
    tenant: &Tenant,
    template: &str,
    opinion: &Opinion,
    made_by: &str,
    seen: &Seen,
) -> Option<Verdict> {
    let severity = opinion.severity.min(config.max_severity);
    if severity == Severity::Normal || opinion.confidence < config.min_confidence {
        return None;
    }
    Some(Verdict {
        tenant: tenant.clone(),
        detector: DETECTOR.to_owned(),
        rule: RULE.to_owned(),
        title: opinion.title.clone(),
        severity,
        score: opinion.confidence,
        entity: Entity::new("template", template),
        service: seen.service.clone(),
        time: seen.time,
        position: seen.position,
        summary: summary(template, opinion, made_by, seen),
        baseline: None,
        features: vec![feature("confidence", opinion.confidence), feature("records", count(seen.count))],
        evidence: seen.evidence.clone(),
        mitigation: opinion.mitigation.clone(),
    })
}

/// Who says what about how many records of whom.
fn summary(template: &str, opinion: &Opinion, made_by: &str, seen: &Seen) -> String {
    let records = if seen.count == 1 { "record" } else { "records" };
    let service = seen.service.as_ref().map(|service| format!(" of service `{service}`")).unwrap_or_default();
    let template = cut(template, SUMMARY_TEMPLATE_CHARS);
    format!("{made_by}: {} ({} {records}{service}: `{template}`)", opinion.reason, seen.count)
}

fn feature(name: &str, value: f64) -> Feature {
    Feature { name: name.to_owned(), value }
}

/// Exact up to 2^53 records.
fn count(records: u64) -> f64 {
    records as f64
}
