//! What interfaces show: plans, pages of runs, what playbooks have earned, how things stand.

use heimdall_model::Timestamp;
use serde::Serialize;

use crate::playbook::{Mode, Playbook};
use crate::run::{Looked, Run, Said, Script};
use crate::safety::{Refusal, Used};

/// What one playbook would do about an alert.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The playbook.
    pub playbook: String,
    /// Its title.
    pub title: String,
    /// Its version.
    pub version: u32,
    /// Hash of its content.
    pub hash: String,
    /// How far it may go by itself, all considered.
    pub mode: Mode,
    /// Why that far.
    pub mode_reason: String,
    /// What would happen.
    pub would: Would,
    /// The steps with placeholders filled in; none when that failed or the playbook would do nothing.
    pub script: Option<Script>,
    /// What looking at the targets told, step by step.
    pub looked: Vec<Looked>,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Would {
    /// It would act.
    Act,
    /// It would ask a person.
    Ask {
        /// Why.
        reason: String,
    },
    /// It would say what it would do, and do nothing.
    Rehearse,
    /// A limit would stop it.
    Refuse(Refusal),
    /// It would do nothing: its conditions do not hold, or it waits for more findings.
    Skip {
        /// Why.
        reason: String,
    },
}

/// A page of runs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunPage {
    /// The runs.
    pub items: Vec<Run>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<String>,
}

/// What a playbook may do by itself, one line per kind of action.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AutonomyView {
    /// The playbook.
    pub playbook: String,
    /// Kind of action.
    pub kind: String,
    /// Hash of the content these counts are of.
    pub hash: String,
    /// Verified successes since the last failure.
    pub streak: u32,
    /// Verified successes, of this content.
    pub successes: u32,
    /// Failures, of this content.
    pub failures: u32,
    /// The streak that earns it `auto`.
    pub needed: u32,
    /// Whether it has.
    pub is_earned: bool,
}

/// A playbook as shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlaybookView {
    /// Hash of its content.
    pub hash: String,
    /// How far it may go at present, all considered.
    pub effective_mode: Mode,
    /// Why that far.
    pub mode_reason: String,
    /// File it was read from.
    pub file: String,
    /// Its content.
    #[serde(flatten)]
    pub playbook: Playbook,
}

/// A system that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutageView {
    /// `docker`, `redis` …
    pub system: String,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again; none: it is not left alone.
    pub retry_at: Option<Timestamp>,
    /// What it said last.
    pub detail: String,
}

/// How the responder stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RespondStatus {
    /// Whether alerts are answered.
    pub enabled: bool,
    /// The most any playbook may do.
    pub mode: Mode,
    /// Who turned the kill switch on; none: it is off.
    pub kill_switch: Option<Said>,
    /// Playbooks, and those that are enabled.
    pub playbooks: usize,
    /// Playbooks that answer alerts.
    pub playbooks_enabled: usize,
    /// Alerts waiting to be looked at.
    pub candidates: usize,
    /// Alerts that wait for more findings or for their age.
    pub watched: usize,
    /// Runs not yet ended.
    pub runs_live: usize,
    /// Runs that wait for a person.
    pub awaiting_approval: usize,
    /// Actions under way.
    pub actions_under_way: usize,
    /// Actions waiting for room.
    pub actions_waiting: usize,
    /// Runs kept, by state.
    pub runs: Vec<(String, u64)>,
    /// Limits in use.
    pub limits: Vec<Used>,
    /// Systems that do not answer.
    pub outages: Vec<OutageView>,
}
