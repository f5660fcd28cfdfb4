//! Health, readiness, status, numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use heimdall_alert::AlertFilter;
use heimdall_guard::Scope;
use heimdall_model::time::NS_PER_MINUTE;
use heimdall_model::{Dataset, Filter, Level, Severity, Status, Tenant, Timestamp};
use heimdall_query::TimeRange;
use heimdall_store::{Bin, Control, CountsBy, ScanRequest, Store};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Access;
use crate::limits::PAGE_ITEMS_MAX;
use crate::ports::{Readiness, RuleFault, StreamView};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::detection::{self, DetectorDocument};
use crate::routes::in_turn;
use crate::{AppState, VERSION, error};

/// Minutes of event time in which a service must have been seen to be listed.
const SERVICE_MINUTES: i64 = 15;
/// Services of a summary, the most active first.
const SERVICES_MAX: usize = 1_000;
/// Content type of the Prometheus text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether the server is well.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `degraded` when it cannot do all of its work.
    status: &'static str,
    /// Why it is degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Release.
    version: &'static str,
    /// Time since the start, s.
    uptime_seconds: i64,
    /// The server's clock.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
}

/// Says how the server is: `ok` or `degraded`.
#[utoipa::path(
    get, path = "/health", tag = "status",
    responses((status = 200, description = "the server answers", body = Health))
)]
pub(crate) async fn health(State(state): State<AppState>) -> Json<Health> {
    let time = state.clock.now();
    let (status, reason) = match state.status.readiness() {
        Readiness::Ready => ("ok", None),
        Readiness::NotReady(reason) => ("degraded", Some(reason)),
    };
    Json(Health { status, reason, version: VERSION, uptime_seconds: state.uptime_seconds(time), time })
}

/// Says that the process is alive.
#[utoipa::path(
    get, path = "/livez", tag = "status",
    responses((status = 200, description = "alive", content_type = "text/plain", body = String))
)]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Says whether records are taken and queries answered.
#[utoipa::path(
    get, path = "/readyz", tag = "status",
    responses(
        (status = 200, description = "ready", content_type = "text/plain", body = String),
        (status = 503, description = "not ready, and why", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn readyz(State(state): State<AppState>) -> Result<&'static str, Problem> {
    match state.status.readiness() {
        Readiness::Ready => Ok("ok\n"),
        Readiness::NotReady(reason) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason))
        }
    }
}

/// Heimdall's own metrics, for Prometheus to scrape.
#[utoipa::path(
    get, path = "/metrics", tag = "status",
    responses((status = 200, description = "Prometheus text format 0.0.4", content_type = "text/plain", body = String))
)]
pub(crate) async fn metrics(State(state): State<AppState>, access: Access) -> Result<Response, Problem> {
    access.require(Scope::Read)?;
    let text = state.metrics.render();
    Ok(([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response())
}

/// Everything an operator looks at first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusDocument {
    /// Release.
    version: &'static str,
    /// Time since the start, s.
    uptime_seconds: i64,
    /// Whether records are taken and queries answered.
    ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How far the stream has come.
    stream: StreamView,
    /// Segments, memtable, templates.
    #[schema(value_type = Object)]
    store: heimdall_store::StoreStatus,
    /// Detectors, their counters, and what people said of their alerts.
    detectors: Vec<DetectorDocument>,
    /// Rules in force.
    rules: usize,
    /// Rules that could not be loaded.
    rule_faults: Vec<RuleFault>,
}

/// The state of the whole server.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "status",
    responses((status = 200, description = "state", body = StatusDocument))
)]
pub(crate) async fn status(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<StatusDocument>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let (ready, reason) = match state.status.readiness() {
        Readiness::Ready => (true, None),
        Readiness::NotReady(reason) => (false, Some(reason)),
    };
    let rules = state.status.rules(&tenant).len();
    let rule_faults = state.status.rule_faults(&tenant);
    Ok(Json(StatusDocument {
        version: VERSION,
        uptime_seconds: state.uptime_seconds(state.clock.now()),
        ready,
        reason,
        stream: state.status.stream(),
        store: state.store.status(),
        detectors: detection::documents(&state, tenant).await?,
        rules,
        rule_faults,
    }))
}

/// Records of one kind.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Volume {
    /// Records kept.
    total: u64,
    /// Records per second of event time: mean of this minute and the one before.
    per_second: f64,
}

/// Alerts by kind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertSummary {
    /// All alerts kept.
    total: u64,
    /// By status; every status is named.
    by_status: BTreeMap<&'static str, u64>,
    /// Alerts that are not resolved, by severity; every severity is named.
    by_severity: BTreeMap<&'static str, u64>,
}

/// A service seen in the last 15 minutes of event time, or with alerts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceSummary {
    /// Its name.
    service: String,
    /// NORMAL, or the worst severity of its alerts that are open or acknowledged.
    #[schema(value_type = String, example = "NORMAL")]
    state: Severity,
    /// Records per second.
    records_per_second: f64,
    /// Records of level error or fatal per second.
    errors_per_second: f64,
    /// Its alerts that are open or acknowledged.
    alerts: u64,
}

/// The numbers of a dashboard's first row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Summary {
    /// When they were counted.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Log records.
    logs: Volume,
    /// Metric samples.
    samples: Volume,
    /// Spans of traces.
    spans: Volume,
    /// Alerts.
    alerts: AlertSummary,
    /// Services, by activity; with a state other than NORMAL first.
    services: Vec<ServiceSummary>,
    /// Records that are not counted, because their segment is damaged; see `/api/v1/status`.
    #[serde(skip_serializing_if = "is_zero")]
    damaged_records: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Counts of records and alerts, rates, and the state of every service.
#[utoipa::path(
    get, path = "/metrics/summary", tag = "status",
    responses((status = 200, description = "the summary of the tenant", body = Summary))
)]
pub(crate) async fn summary(State(state): State<AppState>, access: Access) -> Result<Json<Summary>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let inner = state.clone();
    let summed =
        in_turn(&state, state.limits.query_timeout, move |control| summarise(&inner, &tenant, control));
    summed.await?.map(Json)
}

fn summarise(state: &AppState, tenant: &Tenant, control: &Control) -> Result<Summary, Problem> {
    let time = state.clock.now();
    let control = &Control { without_damaged: true, ..control.clone() };
    let window = Window::new(time, state.started_at());
    let mut activity = BTreeMap::new();
    let logs = volume(&state.store, tenant, Dataset::Logs, &window, control, &mut activity)?;
    let samples = volume(&state.store, tenant, Dataset::Metrics, &window, control, &mut activity)?;
    let spans = volume(&state.store, tenant, Dataset::Spans, &window, control, &mut activity)?;
    note_alerts(state, tenant, &mut activity)?;
    let mut services: Vec<ServiceSummary> =
        activity.into_iter().map(|(service, seen)| seen.summary(service, &window)).collect();
    services
        .sort_by(|a, b| b.state.cmp(&a.state).then(b.records_per_second.total_cmp(&a.records_per_second)));
    services.truncate(SERVICES_MAX);
    let damaged = state.store.damaged();
    let ours = damaged.iter().filter(|damaged| damaged.tenant == *tenant);
    let damaged_records = ours.map(|damaged| damaged.rows).sum();
    let alerts = alert_summary(state, tenant)?;
    Ok(Summary { time, logs, samples, spans, alerts, services, damaged_records })
}

/// Over which time rates are taken: this minute and the one before, but not before the server started.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// First minute that counts.
    from: Timestamp,
    now: Timestamp,
    seconds: f64,
}

impl Window {
    fn new(now: Timestamp, started_at: Timestamp) -> Window {
        let minute = |time: Timestamp| Timestamp(time.0 - time.0.rem_euclid(NS_PER_MINUTE));
        let from = minute(now).saturating_add_ns(-NS_PER_MINUTE).max(minute(started_at));
        #[expect(clippy::cast_precision_loss, reason = "at most two minutes")]
        let seconds = now.0.saturating_sub(from.max(started_at).0) as f64 / 1e9;
        Window { from, now, seconds: seconds.max(1.0) }
    }

    fn per_second(&self, records: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let records = records as f64;
        records / self.seconds
    }

    /// The minutes in which a service must have been seen.
    fn services(&self) -> TimeRange {
        TimeRange { from: self.now.saturating_add_ns(-SERVICE_MINUTES * NS_PER_MINUTE), to: self.now }
    }
}

/// What is known of one service.
#[derive(Debug, Clone, Copy)]
struct Activity {
    records: u64,
    errors: u64,
    alerts: u64,
    state: Severity,
}

impl Default for Activity {
    fn default() -> Self {
        Activity { records: 0, errors: 0, alerts: 0, state: Severity::Normal }
    }
}

impl Activity {
    fn summary(self, service: String, window: &Window) -> ServiceSummary {
        ServiceSummary {
            service,
            state: self.state,
            records_per_second: window.per_second(self.records),
            errors_per_second: window.per_second(self.errors),
            alerts: self.alerts,
        }
    }
}

fn volume(
    store: &Arc<Store>,
    tenant: &Tenant,
    dataset: Dataset,
    window: &Window,
    control: &Control,
    activity: &mut BTreeMap<String, Activity>,
) -> Result<Volume, Problem> {
    let request = ScanRequest {
        tenant: tenant.clone(),
        dataset,
        range: TimeRange::ALL,
        filter: Filter::All,
        fields: Some(Vec::new()),
    };
    let (total, _) = store.count(&request, control).map_err(|error| error::scan(&error))?;
    let mut recent = 0;
    let mut each = |minute: Timestamp, service: Option<&str>, level: Option<Level>, count: u64| {
        let count = if minute >= window.from { count } else { 0 };
        recent += count;
        let Some(service) = service else { return };
        let seen = match activity.get_mut(service) {
            Some(seen) => seen,
            None => activity.entry(service.to_owned()).or_default(),
        };
        seen.records += count;
        if level.is_some_and(|level| level >= Level::Error) {
            seen.errors += count;
        }
    };
    let by = CountsBy { bin: Some(Bin { span_ns: NS_PER_MINUTE }), service: true, level: true };
    store
        .view(tenant, dataset)
        .without_damaged()
        .counts(window.services(), by, &mut each)
        .map_err(|error| error::scan(&error.into()))?;
    Ok(Volume { total, per_second: window.per_second(recent) })
}

/// Adds the alerts somebody has to look at to their services.
fn note_alerts(
    state: &AppState,
    tenant: &Tenant,
    activity: &mut BTreeMap<String, Activity>,
) -> Result<(), Problem> {
    let filter = AlertFilter {
        tenant: Some(tenant.clone()),
        statuses: vec![Status::Open, Status::Acknowledged],
        ..AlertFilter::default()
    };
    let page = state.alerts.list(&filter, None, PAGE_ITEMS_MAX).map_err(|error| error::alert(&error))?;
    for alert in page.items {
        let Some(service) = &alert.service else { continue };
        let seen = activity.entry(service.clone()).or_default();
        seen.alerts += 1;
        seen.state = seen.state.max(alert.severity);
    }
    Ok(())
}

fn alert_summary(state: &AppState, tenant: &Tenant) -> Result<AlertSummary, Problem> {
    let counts = state.alerts.counts(Some(tenant)).map_err(|error| error::alert(&error))?;
    let mut by_status: BTreeMap<_, _> = Status::ALL.map(|status| (status.as_str(), 0)).into();
    let severities = [Severity::Normal, Severity::Warning, Severity::Critical];
    let mut by_severity: BTreeMap<_, _> = severities.map(|severity| (severity.as_str(), 0)).into();
    for cell in &counts {
        *by_status.entry(cell.status.as_str()).or_default() += cell.count;
        if cell.status != Status::Resolved {
            *by_severity.entry(cell.severity.as_str()).or_default() += cell.count;
        }
    }
    Ok(AlertSummary { total: counts.iter().map(|cell| cell.count).sum(), by_status, by_severity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_count_from_the_minute_before_or_the_start() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000_000);
        let check = |now, started_at, from, seconds: f64| {
            let window = Window::new(at(now), at(started_at));
            assert_eq!((window.from, window.seconds), (at(from), seconds));
        };
        check(630, 0, 540, 90.0);
        check(630, 610, 600, 20.0);
        check(630, 630, 600, 1.0);
    }
}
