//! How the server itself fares: golden signals and two objectives, from what `vitals` measured.
//!
//! Burn rate: how many times faster than allowed the error budget is spent. A window is `bad` where its rate would spend a share of
//! the budget that wakes somebody up (2 % within an hour, 5 % within six, 10 % within a day), `warn` above 1, and `ok` while there
//! were fewer than [`EVENTS_MIN`] answers.
//!
//! Source: Beyer et al., "The Site Reliability Workbook", chapter 5 (multi-window burn rates).

use axum::Json;
use axum::extract::State;
use heimdall_guard::Scope;
use heimdall_model::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::AppState;
use crate::access::Access;
use crate::desk::Saturation;
use crate::problem::Problem;
use crate::vitals::{Minute, SLOW, Sums, Vitals};

/// Minutes that "now" means.
const RECENT_MINUTES: i64 = 5;
/// Minutes of history.
const HISTORY_MINUTES: i64 = 60;
/// Answers in a window below which it is not judged.
const EVENTS_MIN: u64 = 20;
/// Targets of query latency, ms.
const LATENCY_MS: [f64; 3] = [50.0, 200.0, 500.0];
/// Share of answers that may be errors.
const ERROR_BUDGET: f64 = 0.001;
/// Shares of processors, memory and disk that may be in use.
const SATURATION: [f64; 3] = [0.70, 0.80, 0.85];
/// Share of a target from which on it is near.
const NEAR: f64 = 0.9;
/// Objectives.
const API_OBJECTIVE: f64 = 0.9995;
const QUERY_OBJECTIVE: f64 = 0.95;

/// How something stands to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// Nothing was measured.
    Unknown,
    /// Within it.
    Ok,
    /// Near it, or above it for now.
    Warn,
    /// Beyond it.
    Bad,
}

/// A number with its target.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Signal {
    /// The number; null when nothing was measured.
    value: Option<f64>,
    /// What it shall not exceed.
    target: f64,
    /// How it stands.
    state: Standing,
}

impl Signal {
    /// `warn` and `bad`: from which on.
    fn new(value: Option<f64>, target: f64, warn: f64, bad: f64) -> Signal {
        let state = match value {
            None => Standing::Unknown,
            Some(value) if value > bad => Standing::Bad,
            Some(value) if value > warn => Standing::Warn,
            Some(_) => Standing::Ok,
        };
        Signal { value, target, state }
    }
}

/// Time from the head of a query to the end of its answer, ms; over the last five minutes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LatencySignals {
    /// Half of the queries are faster; target 50.
    p50_ms: Signal,
    /// 19 of 20 are; target 200.
    p95_ms: Signal,
    /// 99 of 100 are; target 500.
    p99_ms: Signal,
    /// Queries measured.
    queries: u64,
}

/// What comes in, a second; over the last five minutes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrafficSignals {
    /// Queries answered.
    queries_per_second: f64,
    /// Records that became findable.
    records_per_second: f64,
    /// Requests answered, queries included.
    requests_per_second: f64,
}

/// Answers with status 5xx; over the last five minutes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorSignals {
    /// Share of answers, 0 to 1; target 0.001, which is 99.9 %.
    rate: Signal,
    /// Answers.
    requests: u64,
    /// Of them, errors.
    errors: u64,
}

/// What is in use, 0 to 1, at the last look, at most five seconds ago.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SaturationSignals {
    /// Processors of the machine; target 0.70.
    cpu: Signal,
    /// Memory of the machine, or of the container where it has a limit; target 0.80.
    memory: Signal,
    /// Disk of the data folder; target 0.85.
    disk: Signal,
    /// Processors, by this process.
    cpu_own: Option<f64>,
    /// Memory, by this process.
    memory_own: Option<f64>,
}

/// How fast the budget of an objective is spent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BurnRate {
    /// Over how long: `5m`, `1h`, `6h` or `1d`.
    window: &'static str,
    /// Times faster than allowed; null when nothing was measured.
    rate: Option<f64>,
    /// Rate from which on somebody should be woken up.
    threshold: f64,
    /// What was measured.
    total: u64,
    /// Of it, what missed the objective.
    bad: u64,
    /// How it stands.
    state: Standing,
}

/// One point of an objective's history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SloPoint {
    /// Start of the minute.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Share that met the objective; null when nothing was measured.
    ratio: Option<f64>,
}

/// A service level objective of the server itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SloView {
    /// Stable id: `api_success_rate` or `query_latency_p95`.
    id: &'static str,
    /// Its name.
    name: &'static str,
    /// What is measured.
    description: &'static str,
    /// Share that shall meet it.
    objective: f64,
    /// Over how long.
    window: &'static str,
    /// For latency: the duration a query shall not exceed, ms.
    target_ms: Option<f64>,
    /// What was measured in the window.
    total: u64,
    /// Of it, what missed the objective.
    bad: u64,
    /// Share that met it; null when nothing was measured.
    ratio: Option<f64>,
    /// Share of the error budget that is left, below 0 when it is overspent; null when nothing was measured.
    budget_remaining: Option<f64>,
    /// Minutes of the window in which the server ran and measured.
    measured_minutes: u64,
    /// How fast the budget is spent, the shortest window first.
    burn: Vec<BurnRate>,
    /// The worst of its windows, and `bad` when the budget is overspent.
    state: Standing,
    /// The last hour by minute.
    history: Vec<SloPoint>,
}

/// One minute of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SelfPoint {
    /// Its start.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Whether the server ran in it and measured.
    measured: bool,
    /// Answers.
    requests: u64,
    /// Of them, with status 5xx.
    errors: u64,
    /// Queries.
    queries: u64,
    /// Records that became findable.
    records: u64,
    /// Half of the queries were faster, ms.
    p50_ms: Option<f64>,
    /// 19 of 20 were.
    p95_ms: Option<f64>,
    /// 99 of 100 were.
    p99_ms: Option<f64>,
    /// Share of processors in use at its end.
    cpu: Option<f64>,
    /// Share of memory.
    memory: Option<f64>,
    /// Share of the disk.
    disk: Option<f64>,
}

/// How the server itself fares.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SelfStatus {
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The worst of everything below.
    state: Standing,
    /// How long queries take.
    latency: LatencySignals,
    /// How much comes in.
    traffic: TrafficSignals,
    /// How many answers fail.
    errors: ErrorSignals,
    /// How full the machine is.
    saturation: SaturationSignals,
    /// The objectives.
    slos: Vec<SloView>,
    /// The last hour by minute, the one under way last.
    history: Vec<SelfPoint>,
}

/// Golden signals of the server itself, its two objectives with their burn rates, and the last hour.
#[utoipa::path(
    get, path = "/api/v1/status/self", tag = "status",
    responses((status = 200, description = "how the server fares", body = SelfStatus))
)]
pub(crate) async fn status_self(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<SelfStatus>, Problem> {
    access.require(Scope::Read)?;
    Ok(Json(self_status(&state.vitals, state.clock.now())))
}

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
fn self_status(vitals: &Vitals, now: Timestamp) -> SelfStatus {
    let (recent, seconds) = vitals.last_minutes(now, RECENT_MINUTES);
    let seconds = seconds.max(1.0);
    let quantile =
        |share: f64, target: f64| Signal::new(recent.quantile_ms(share), target, target, 2.0 * target);
    let latency = LatencySignals {
        p50_ms: quantile(0.50, LATENCY_MS[0]),
        p95_ms: quantile(0.95, LATENCY_MS[1]),
        p99_ms: quantile(0.99, LATENCY_MS[2]),
        queries: recent.queries,
    };
    let rate = (recent.requests > 0).then(|| recent.errors as f64 / recent.requests as f64);
    let errors = ErrorSignals {
        rate: Signal::new(rate, ERROR_BUDGET, ERROR_BUDGET, 10.0 * ERROR_BUDGET),
        requests: recent.requests,
        errors: recent.errors,
    };
    let saturation = saturation(&vitals.saturation());
    let minutes = vitals.by_minute(now, HISTORY_MINUTES);
    let slos = vec![api_success(vitals, &minutes, now), query_latency(vitals, &minutes, now)];
    let states = [&latency.p50_ms, &latency.p95_ms, &latency.p99_ms, &errors.rate];
    let full = [&saturation.cpu, &saturation.memory, &saturation.disk];
    let states = states.into_iter().chain(full).map(|signal| signal.state);
    let state = states.chain(slos.iter().map(|slo| slo.state)).max().unwrap_or(Standing::Unknown);
    SelfStatus {
        time: now,
        state,
        latency,
        traffic: TrafficSignals {
            queries_per_second: recent.queries as f64 / seconds,
            records_per_second: recent.records as f64 / seconds,
            requests_per_second: recent.requests as f64 / seconds,
        },
        errors,
        saturation,
        slos,
        history: minutes.into_iter().map(|(at, minute)| point(at, minute)).collect(),
    }
}

fn saturation(seen: &Saturation) -> SaturationSignals {
    let signal = |value, target: f64| Signal::new(value, target, NEAR * target, target);
    SaturationSignals {
        cpu: signal(seen.cpu, SATURATION[0]),
        memory: signal(seen.memory, SATURATION[1]),
        disk: signal(seen.disk, SATURATION[2]),
        cpu_own: seen.cpu_own,
        memory_own: seen.memory_own,
    }
}

fn point(at: Timestamp, minute: Option<Minute>) -> SelfPoint {
    let measured = minute.is_some();
    let minute = minute.unwrap_or_default();
    SelfPoint {
        at,
        measured,
        requests: minute.requests,
        errors: minute.errors,
        queries: minute.queries,
        records: minute.records,
        p50_ms: minute.quantile_ms(0.50),
        p95_ms: minute.quantile_ms(0.95),
        p99_ms: minute.quantile_ms(0.99),
        cpu: minute.saturation.cpu,
        memory: minute.saturation.memory,
        disk: minute.saturation.disk,
    }
}

/// What was measured, and what of it missed an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    total: u64,
    bad: u64,
}

impl Tally {
    fn bad_share(self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = (self.total > 0).then(|| self.bad as f64 / self.total as f64);
        share
    }
}

/// What an objective is, beside how it is measured.
struct Objective {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    share: f64,
    window: &'static str,
    days: i64,
    target_ms: Option<f64>,
    /// Window, minutes, and the share of the budget that it may spend.
    burns: &'static [(&'static str, i64, f64)],
}

const API: Objective = Objective {
    id: "api_success_rate",
    name: "API Success Rate",
    description: "answers of the API without a status of 5xx; probes and pages are not counted",
    share: API_OBJECTIVE,
    window: "28d",
    days: 28,
    target_ms: None,
    burns: &[("1h", 60, 0.02), ("6h", 360, 0.05), ("1d", 1_440, 0.10)],
};

const QUERY: Objective = Objective {
    id: "query_latency_p95",
    name: "Query Latency P95",
    description: "queries answered whole within 200 ms; failed ones count as slow, wrong ones (4xx) are not counted",
    share: QUERY_OBJECTIVE,
    window: "7d",
    days: 7,
    target_ms: Some(SLOW.as_millis() as f64),
    // Five minutes confirm that an hour's burn still goes on: the same rate.
    burns: &[("5m", 5, 0.02 / 12.0), ("1h", 60, 0.02)],
};

fn api_success(vitals: &Vitals, minutes: &[(Timestamp, Option<Minute>)], now: Timestamp) -> SloView {
    let of_minute = |minute: &Minute| Tally { total: minute.requests, bad: minute.errors };
    let of_sums = |sums: Sums| Tally { total: sums.requests, bad: sums.errors };
    slo(&API, vitals, minutes, now, of_minute, of_sums)
}

fn query_latency(vitals: &Vitals, minutes: &[(Timestamp, Option<Minute>)], now: Timestamp) -> SloView {
    let of_minute = |minute: &Minute| Tally { total: minute.queries, bad: minute.slow };
    let of_sums = |sums: Sums| Tally { total: sums.queries, bad: sums.slow };
    slo(&QUERY, vitals, minutes, now, of_minute, of_sums)
}

fn slo(
    objective: &Objective,
    vitals: &Vitals,
    minutes: &[(Timestamp, Option<Minute>)],
    now: Timestamp,
    of_minute: impl Fn(&Minute) -> Tally,
    of_sums: impl Fn(Sums) -> Tally,
) -> SloView {
    let sums = vitals.last_hours(now, objective.days * 24);
    let all = of_sums(sums);
    let allowed = 1.0 - objective.share;
    let budget_remaining = all.bad_share().map(|bad| 1.0 - bad / allowed);
    let burn: Vec<BurnRate> = objective
        .burns
        .iter()
        .map(|(window, length, share)| {
            let (sum, _) = vitals.last_minutes(now, *length);
            #[expect(clippy::cast_precision_loss, reason = "minutes of four weeks")]
            let threshold = share * (objective.days * 1_440) as f64 / *length as f64;
            burn_rate(window, of_minute(&sum), allowed, threshold)
        })
        .collect();
    let is_overspent = budget_remaining.is_some_and(|left| left <= 0.0) && all.total >= EVENTS_MIN;
    let worst = burn.iter().map(|burn| burn.state).max().unwrap_or(Standing::Unknown);
    let ratio = |tally: Tally| tally.bad_share().map(|bad| 1.0 - bad);
    SloView {
        id: objective.id,
        name: objective.name,
        description: objective.description,
        objective: objective.share,
        window: objective.window,
        target_ms: objective.target_ms,
        total: all.total,
        bad: all.bad,
        ratio: ratio(all),
        budget_remaining,
        measured_minutes: sums.minutes,
        burn,
        state: if is_overspent { Standing::Bad } else { worst },
        history: minutes
            .iter()
            .map(|(at, minute)| SloPoint {
                at: *at,
                ratio: minute.as_ref().and_then(|m| ratio(of_minute(m))),
            })
            .collect(),
    }
}

fn burn_rate(window: &'static str, tally: Tally, allowed: f64, threshold: f64) -> BurnRate {
    let rate = tally.bad_share().map(|bad| bad / allowed);
    let state = match rate {
        None => Standing::Unknown,
        Some(_) if tally.total < EVENTS_MIN => Standing::Ok,
        Some(rate) if rate >= threshold => Standing::Bad,
        Some(rate) if rate > 1.0 => Standing::Warn,
        Some(_) => Standing::Ok,
    };
    BurnRate { window, rate, threshold, total: tally.total, bad: tally.bad, state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(total: u64, bad: u64, rate: Option<f64>, state: Standing) {
        let found = burn_rate("1h", Tally { total, bad }, 0.0005, 13.44);
        assert_eq!(found.state, state);
        assert!(match (found.rate, rate) {
            (Some(found), Some(rate)) => (found - rate).abs() < 1e-9,
            (None, None) => true,
            _ => false,
        });
    }

    #[test]
    fn a_burn_rate_is_how_much_faster_than_allowed() {
        check(0, 0, None, Standing::Unknown);
        check(10_000, 5, Some(1.0), Standing::Ok);
        check(10_000, 10, Some(2.0), Standing::Warn);
        check(10_000, 70, Some(14.0), Standing::Bad);
        check(10, 1, Some(200.0), Standing::Ok);
    }

    #[test]
    fn thresholds_follow_from_the_share_of_the_budget() {
        let now = Timestamp(1_795_780_800_000_000_000);
        let status = self_status(&Vitals::new(now), now);
        let thresholds: Vec<Vec<String>> = status
            .slos
            .iter()
            .map(|slo| slo.burn.iter().map(|burn| format!("{} {:.2}", burn.window, burn.threshold)).collect())
            .collect();
        assert_eq!(thresholds, [vec!["1h 13.44", "6h 5.60", "1d 2.80"], vec!["5m 3.36", "1h 3.36"]]);
        assert_eq!(status.state, Standing::Unknown, "nothing was measured yet");
        assert_eq!(status.history.len(), 60);
    }
}
