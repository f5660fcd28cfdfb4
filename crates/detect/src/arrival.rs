//! Event time as detectors use it, and when a repeated finding is due.

use heimdall_model::batch::Row;
use heimdall_model::{Batch, Severity};
use serde::{Deserialize, Serialize};

use crate::config::Period;
use crate::detector::Counters;

/// The time a row is judged at: its event time, or its arrival when it claims to be from the future.
pub(crate) fn event_time(row: &Row<'_>, batch: &Batch, ahead: Period, counters: &mut Counters) -> i64 {
    let time = row.timestamp().0;
    if time <= batch.observed.0.saturating_add(ahead.ns()) {
        return time;
    }
    counters.ahead += 1;
    batch.observed.0
}

/// When a finding of one key was last reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reported(Option<(i64, Severity)>);

impl Reported {
    /// Whether to report now; if so, remembers it. The first time, when it got worse, and every `every` after.
    /// A late record does not bring an older finding up again.
    pub(crate) fn due(&mut self, time: i64, severity: Severity, every: Period) -> bool {
        let due = self.0.is_none_or(|(last, said)| {
            time.saturating_sub(last) >= every.ns() || (severity > said && time >= last)
        });
        if due {
            self.0 = Some((time, severity));
        }
        due
    }
}

/// How far beyond a bound: 0.5 at it, towards 1 beyond.
pub(crate) fn score(observed: f64, bound: f64) -> f64 {
    if !(observed > 0.0 && bound > 0.0) {
        return 0.5;
    }
    (observed / (observed + bound)).clamp(0.0, 1.0)
}

/// Decimals of a number for people.
const DECIMALS_MAX: usize = 9;

/// A number for people: two decimals at most, and two digits of what is smaller.
pub(crate) fn short(x: f64) -> String {
    let mut decimals = 2;
    let mut scaled = x.abs() * 10.0;
    while scaled > 0.0 && scaled < 1.0 && decimals < DECIMALS_MAX {
        (scaled, decimals) = (scaled * 10.0, decimals + 1);
    }
    let text = format!("{x:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An owned list of mitigation steps.
pub(crate) fn steps(list: &[&str]) -> Vec<String> {
    list.iter().map(|step| (*step).to_owned()).collect()
}
