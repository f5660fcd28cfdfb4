//! What is done about an alert: playbooks choose actions, safety allows them, runners do them, verification proves them.
//!
//! - [`action`]: an action, what it touches and how it is undone; the port [`ActionRunner`] behind which actions are done
//! - [`playbook`]: what answers which alert; `times` and `pattern`: its conditions; [`builtin`]: those that come with Heimdall
//! - [`config`]: what people allow; [`safety`]: whether an action may be done, pure
//! - [`run`]: one run of a playbook, and what comes next in it, pure
//! - [`responder`]: alerts in, runs out; `drive` does them, [`probe`] proves them, `autonomy` counts
//! - [`runners`]: those who do actions, one system each
//! - [`ports`]: the state of alerts, the audit trail, people; [`views`]: what interfaces show; [`record`]: the action log
//!
//! Not here: deciding what is anomalous (`heimdall-detect`), telling people (`heimdall-alert`).

pub mod action;
mod autonomy;
pub mod builtin;
pub mod config;
mod drive;
mod examine;
mod outage;
pub mod pattern;
pub mod playbook;
pub mod ports;
pub mod probe;
pub mod record;
pub mod responder;
pub mod run;
pub mod runners;
mod runs;
pub mod safety;
mod script;
mod slots;
mod template;
#[cfg(test)]
mod testing;
pub mod times;
mod verify;
pub mod views;
mod yaml;

pub use action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress, Reach};
pub use builtin::built_in;
pub use config::{RespondConfig, RespondConfigError};
pub use playbook::{Mode, Playbook, PlaybookFault};
pub use ports::{
    Check, Escalated, Escalation, EscalationError, Health, HealthError, Ledger, LedgerEntry, LedgerError,
    LedgerOutcome, Ports, Probe, Probed,
};
pub use probe::Prober;
pub use record::{RecordLevel, action_record};
pub use responder::{Change, RespondError, Responder, RunFilter};
pub use run::{Run, RunId, RunState};
pub use safety::{Judgement, Limit, Refusal};
pub use views::{AutonomyView, OutageView, Plan, PlaybookView, RespondStatus, RunPage, Would};

/// The known word nearest to this one, near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.len() / 3).max(2);
    let near = known.into_iter().map(|known| (distance(word, known), known)).min()?;
    (near.0 <= limit).then_some(near.1)
}

/// Letters to change, add, take away or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (rows[i][j] + usize::from(x != y)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
