//! `GET /api/v1/services`: every service, how it is, and why.
//!
//! Counts come from rollups and durations from sketches; hosts, versions and times are those of a few records of each
//! service: nothing here grows with the number of records.
//!
//! Where a service has spans that answer somebody (kind `server` or `consumer`), they are its requests: their rate, their
//! failures and their durations count, rather than those of its log records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heimdall_guard::Scope;
use heimdall_metastore::AlertFilter;
use heimdall_model::schema::{logs, spans};
use heimdall_model::time::NS_PER_HOUR;
use heimdall_model::{
    Alert, Dataset, FieldId, Filter, Level, Literal, Severity, Status, Tenant, Test, Timestamp, Value,
};
use heimdall_query::{Answer, QueryError, TimeRange};
use heimdall_store::{Control, Hit, Order, ScanError, ScanRequest, Wanted};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Asker, range};
use crate::access::Access;
use crate::extract::Params;
use crate::problem::Problem;
use crate::routes::in_turn;
use crate::{AppState, error};

/// Services listed at most: those with the most records.
const SERVICES_MAX: usize = 1_000;
/// Services of which records are looked at.
const LOOKED_AT_MAX: usize = 200;
/// Latest records of a service that hosts and versions are read from.
const LATEST_ROWS: usize = 100;
/// Alerts read at most.
const ALERTS_MAX: usize = 10_000;
const ALERTS_PAGE: usize = 1_000;
/// Reasons given at most.
const REASONS_MAX: usize = 10;
/// Share of errors from which a service is not as it should be, and from which it needs somebody now.
const ERROR_RATE_WARNING: f64 = 0.05;
const ERROR_RATE_CRITICAL: f64 = 0.25;
/// Records below which a share of errors says nothing.
const RATED_RECORDS_MIN: u64 = 20;
/// Rows that may be looked at to have percentiles of exactly the range; beyond, they are those of whole hours.
const EXACT_ROWS_MAX: u64 = 2_000_000;
/// Attributes that say which release runs.
const VERSIONS: [&str; 6] =
    ["service.version", "service_version", "app.version", "app_version", "release", "build"];

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ServiceParams {
    /// Event time at or after; default an hour before `to`. RFC 3339, epoch, or `now-15m`.
    from: Option<String>,
    /// Event time before; default now.
    to: Option<String>,
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum ServiceState {
    /// As expected.
    Normal,
    /// Unusual; worth a look.
    Warning,
    /// Needs somebody now.
    Critical,
}

impl From<Severity> for ServiceState {
    fn from(severity: Severity) -> ServiceState {
        match severity {
            Severity::Normal => ServiceState::Normal,
            Severity::Warning => ServiceState::Warning,
            Severity::Critical => ServiceState::Critical,
        }
    }
}

/// What makes the state what it is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ServiceReason)]
pub(crate) struct Reason {
    /// `alert`, `error_rate` or `silent` (alerts, but no record in the range).
    kind: &'static str,
    /// How bad it is by itself.
    state: ServiceState,
    /// In words.
    text: String,
    /// The alert.
    alert: Option<Uuid>,
}

/// A service.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Service)]
pub(crate) struct ServiceView {
    /// Its name.
    pub(super) service: String,
    /// How it is: the worst of its reasons.
    pub(super) state: ServiceState,
    /// The reasons, the worst first, at most 10; none when it is as expected.
    pub(super) why: Vec<Reason>,
    /// Log records in the range.
    pub(super) records: u64,
    /// Those of level error or fatal.
    pub(super) errors: u64,
    /// Spans in the range.
    pub(super) spans: u64,
    /// Spans of kind server or consumer; where there are none, log records that have a duration.
    pub(super) requests: u64,
    /// Of the spans of kind server or consumer those with status error; null where there are none.
    pub(super) failed_requests: Option<u64>,
    /// Share of failed requests, 0 to 1; where there are no spans, of records that are errors; null without records.
    pub(super) error_rate: Option<f64>,
    /// `requests`, a second.
    pub(super) requests_per_second: f64,
    /// Median duration of the requests, ms; null where none has one.
    pub(super) p50_ms: Option<f64>,
    /// Duration that 95 % do not exceed, ms.
    pub(super) p95_ms: Option<f64>,
    /// Duration that 99 % do not exceed, ms.
    pub(super) p99_ms: Option<f64>,
    /// Hosts of its latest 100 records, and of its latest 100 spans, in the range.
    pub(super) hosts: Vec<String>,
    /// Releases that they name.
    pub(super) versions: Vec<String>,
    /// Alerts that are OPEN or ACKNOWLEDGED.
    pub(super) open_alerts: u64,
    /// The worst of their severities.
    pub(super) worst_severity: Option<ServiceState>,
    /// Its earliest record, or span, in the range.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) first_seen: Option<Timestamp>,
    /// Its latest.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) last_seen: Option<Timestamp>,
}

/// The services of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceList {
    /// The worst first, then those with the most records; at most 1,000.
    pub(super) items: Vec<ServiceView>,
    /// Always null: the list is one page.
    pub(super) next: Option<String>,
    /// From when.
    #[schema(value_type = String, format = DateTime)]
    pub(super) from: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub(super) to: Timestamp,
    /// From when the durations are: the whole hour before `from` where looking at each record would take too long.
    #[schema(value_type = String, format = DateTime)]
    pub(super) durations_from: Timestamp,
    /// Whether something is missing; `warnings` says what.
    pub(super) partial: bool,
    /// What is missing, or not as asked for.
    pub(super) warnings: Vec<String>,
}

/// Services that wrote records or spans in a range, and those with alerts.
#[utoipa::path(
    get, path = "/api/v1/services", tag = "query", params(ServiceParams),
    responses((status = 200, description = "the services", body = ServiceList))
)]
pub(crate) async fn list_services(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<ServiceParams>,
) -> Result<Json<ServiceList>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let range = range(params.from.as_deref(), params.to.as_deref(), state.clock.now())?;
    let inner = state.clone();
    let listed = in_turn(&state, state.limits.query_timeout, move |control| {
        Survey::new(&inner, &tenant, range, control).list(Look::Closely)
    });
    listed.await?.map(Json)
}

/// Whether records of each service are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// For hosts, versions and times.
    Closely,
    /// Counts, durations and alerts alone.
    FromAfar,
}

/// What is found out about the services of a tenant in a range.
pub(super) struct Survey<'a> {
    state: &'a AppState,
    tenant: &'a Tenant,
    pub(super) asker: Asker<'a>,
    pub(super) partial: bool,
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Default)]
struct Seen {
    records: u64,
    errors: u64,
    spans: u64,
    requests: u64,
    failed: Option<u64>,
    durations: [Option<f64>; 3],
    alerts: Vec<Arc<Alert>>,
    hosts: BTreeSet<String>,
    versions: BTreeSet<String>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(
        state: &'a AppState,
        tenant: &'a Tenant,
        range: TimeRange,
        control: &'a Control,
    ) -> Survey<'a> {
        let (engine, now) = (&state.engine, state.clock.now());
        let asker = Asker { engine, tenant, range, now, control, limits: state.run_limits };
        Survey { state, tenant, asker, partial: false, warnings: Vec::new() }
    }

    pub(super) fn list(&mut self, look: Look) -> Result<ServiceList, Problem> {
        let range = self.asker.range;
        let mut services: BTreeMap<String, Seen> = BTreeMap::new();
        let failed = |error: QueryError| error::query(&error);
        self.count(&mut services).map_err(failed)?;
        let timed = self.time(&mut services).map_err(failed)?;
        if self.has_spans() {
            self.count_spans(&mut services).map_err(failed)?;
            self.time_spans(&mut services).map_err(failed)?;
        }
        self.note_alerts(&mut services)?;
        let mut services: Vec<(String, Seen)> = services.into_iter().collect();
        services.sort_by_key(|(_, seen)| std::cmp::Reverse((seen.alerts.len(), seen.heard())));
        if services.len() > SERVICES_MAX {
            let all = services.len();
            self.warn(format!("{SERVICES_MAX} of {all} services are listed: those with the most records"));
            services.truncate(SERVICES_MAX);
        }
        if look == Look::Closely {
            self.look(&mut services).map_err(|error| error::scan(&error))?;
        }
        let mut items: Vec<ServiceView> =
            services.into_iter().map(|(service, seen)| seen.view(service, timed)).collect();
        items.sort_by(|a, b| {
            let heard = |view: &ServiceView| view.records + view.spans;
            b.state.cmp(&a.state).then(heard(b).cmp(&heard(a))).then(a.service.cmp(&b.service))
        });
        Ok(ServiceList {
            items,
            next: None,
            from: range.from,
            to: range.to,
            durations_from: timed.from,
            partial: self.partial,
            warnings: std::mem::take(&mut self.warnings),
        })
    }

    pub(super) fn warn(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Notes what an answer goes without.
    pub(super) fn whole(&mut self, answer: Answer) -> Answer {
        self.partial |= answer.stats.partial;
        answer.stats.warnings.iter().for_each(|warning| self.warn(warning.clone()));
        answer
    }

    fn count(&mut self, services: &mut BTreeMap<String, Seen>) -> Result<(), QueryError> {
        let answer = self.asker.ask("| stats count() by service, level | limit 100000", self.asker.range)?;
        for row in self.whole(answer).rows {
            let [Value::Text(service), level, Value::Int(count)] = row.as_slice() else { continue };
            let count = u64::try_from(*count).unwrap_or(0);
            let seen = services.entry(service.clone()).or_default();
            seen.records += count;
            if matches!(level, Value::Level(level) if *level >= Level::Error) {
                seen.errors += count;
            }
        }
        Ok(())
    }

    /// Durations, and of which range they are.
    fn time(&mut self, services: &mut BTreeMap<String, Seen>) -> Result<TimeRange, QueryError> {
        const LINE: &str = "| stats count(duration_ms), p50(duration_ms), p95(duration_ms), p99(duration_ms) by service | limit 100000";
        let mut range = self.asker.range;
        if self.asker.rows_estimate(LINE, range)? > EXACT_ROWS_MAX {
            range = whole_hours(range, self.asker.now);
            self.warn("durations are those of the whole hours that the range touches".to_owned());
        }
        let answer = self.asker.ask(LINE, range)?;
        for row in self.whole(answer).rows {
            let [Value::Text(service), Value::Int(count), p50, p95, p99] = row.as_slice() else { continue };
            let Some(seen) = services.get_mut(service) else { continue };
            seen.requests = u64::try_from(*count).unwrap_or(0);
            seen.durations = [p50, p95, p99].map(number);
        }
        Ok(range)
    }

    /// Whether the tenant has any span at all.
    pub(super) fn has_spans(&self) -> bool {
        self.state.store.view(self.tenant, Dataset::Spans).rows() > 0
    }

    fn count_spans(&mut self, services: &mut BTreeMap<String, Seen>) -> Result<(), QueryError> {
        let line = "dataset:spans | stats count() by service | limit 100000";
        for (service, count) in self.counts(line)? {
            services.entry(service).or_default().spans = count;
        }
        Ok(())
    }

    /// Requests, failures and durations by spans that answer somebody. In a range with too many of them only durations, those of
    /// all spans of whole hours.
    fn time_spans(&mut self, services: &mut BTreeMap<String, Seen>) -> Result<(), QueryError> {
        const REQUESTS: &str = "dataset:spans (kind:server OR kind:consumer)";
        let stats = "stats count(), p50(duration_ms), p95(duration_ms), p99(duration_ms) by service";
        let line = format!("{REQUESTS} | {stats} | limit 100000");
        let range = self.asker.range;
        if self.asker.rows_estimate(&line, range)? > EXACT_ROWS_MAX {
            return self.time_all_spans(services);
        }
        let answer = self.asker.ask(&line, range)?;
        for row in self.whole(answer).rows {
            let [Value::Text(service), Value::Int(count), p50, p95, p99] = row.as_slice() else { continue };
            let Some(seen) = services.get_mut(service) else { continue };
            seen.requests = u64::try_from(*count).unwrap_or(0);
            seen.failed = Some(0);
            seen.durations = [p50, p95, p99].map(number);
        }
        let line = format!("{REQUESTS} status:error | stats count() by service | limit 100000");
        for (service, count) in self.counts(&line)? {
            if let Some(seen) = services.get_mut(&service) {
                seen.failed = Some(count);
            }
        }
        Ok(())
    }

    fn time_all_spans(&mut self, services: &mut BTreeMap<String, Seen>) -> Result<(), QueryError> {
        const LINE: &str = "dataset:spans | stats p50(duration_ms), p95(duration_ms), p99(duration_ms) by service | limit 100000";
        self.warn(
            "there are too many spans to tell requests: durations are those of all spans of whole hours"
                .to_owned(),
        );
        let answer = self.asker.ask(LINE, whole_hours(self.asker.range, self.asker.now))?;
        for row in self.whole(answer).rows {
            let [Value::Text(service), p50, p95, p99] = row.as_slice() else { continue };
            if let Some(seen) = services.get_mut(service) {
                seen.durations = [p50, p95, p99].map(number);
            }
        }
        Ok(())
    }

    /// The answer to a line that counts by service.
    fn counts(&mut self, line: &str) -> Result<Vec<(String, u64)>, QueryError> {
        let answer = self.asker.ask(line, self.asker.range)?;
        let count = |row: Vec<Value>| match row.as_slice() {
            [Value::Text(service), Value::Int(count)] => {
                Some((service.clone(), u64::try_from(*count).unwrap_or(0)))
            }
            _ => None,
        };
        Ok(self.whole(answer).rows.into_iter().filter_map(count).collect())
    }

    fn note_alerts(&mut self, services: &mut BTreeMap<String, Seen>) -> Result<(), Problem> {
        let filter = AlertFilter {
            tenant: Some(self.tenant.clone()),
            statuses: vec![Status::Open, Status::Acknowledged],
            ..AlertFilter::default()
        };
        let mut after = None;
        for _ in 0..ALERTS_MAX / ALERTS_PAGE {
            let page = self.state.alerts.list(&filter, after.as_ref(), ALERTS_PAGE);
            let page = page.map_err(|error| error::alert(&error))?;
            for alert in page.items {
                let Some(service) = alert.service.clone() else { continue };
                services.entry(service).or_default().alerts.push(alert);
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
        self.warn(format!("there are more than {ALERTS_MAX} open alerts: the newest count"));
        Ok(())
    }

    /// Looks at the latest records and spans of each service, and at the earliest of each.
    fn look(&mut self, services: &mut [(String, Seen)]) -> Result<(), ScanError> {
        if services.len() > LOOKED_AT_MAX {
            self.warn(format!("hosts, versions and times are those of the first {LOOKED_AT_MAX} services"));
        }
        for (service, seen) in services.iter_mut().take(LOOKED_AT_MAX).filter(|(_, seen)| seen.heard() > 0) {
            if seen.records > 0 {
                self.look_at(Dataset::Logs, [logs::HOST, logs::INSTANCE], service, seen)?;
            }
            if seen.spans > 0 {
                self.look_at(Dataset::Spans, [spans::HOST, spans::INSTANCE], service, seen)?;
            }
        }
        Ok(())
    }

    fn look_at(
        &mut self,
        dataset: Dataset,
        [host, instance]: [FieldId; 2],
        service: &str,
        seen: &mut Seen,
    ) -> Result<(), ScanError> {
        let fields = vec![host, instance, dataset.attributes()];
        let latest = self.records(dataset, service, fields, Order::NewestFirst, LATEST_ROWS)?;
        for Hit { block, row } in latest {
            seen.last = seen.last.max(Some(block.timestamp(row)));
            let host = block.text(host, row).or_else(|| block.text(instance, row));
            seen.hosts.extend(host.map(str::to_owned));
            let version = VERSIONS.iter().find_map(|name| {
                block.attribute(name, row).map(|found| found.to_value()).filter(|value| !value.is_null())
            });
            seen.versions.extend(version.map(|value| match value {
                Value::Text(text) => text,
                other => other.to_json().to_string(),
            }));
        }
        let first = self.records(dataset, service, Vec::new(), Order::OldestFirst, 1)?;
        let first = first.first().map(|hit| hit.place().0);
        seen.first = seen.first.into_iter().chain(first).min();
        Ok(())
    }

    fn records(
        &mut self,
        dataset: Dataset,
        service: &str,
        fields: Vec<FieldId>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Hit>, ScanError> {
        let request = ScanRequest {
            tenant: self.tenant.clone(),
            dataset,
            range: self.asker.range,
            filter: Filter::field(dataset.service(), Test::Equals(Literal::new(service))),
            fields: Some(fields),
        };
        self.search(&request, order, limit)
    }

    pub(super) fn search(
        &mut self,
        request: &ScanRequest,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Hit>, ScanError> {
        let control = Control { without_damaged: true, ..self.asker.control.clone() };
        let wanted = Wanted { order, limit, after: None };
        let (hits, stats) = self.state.store.search_wanted(request, wanted, &control)?;
        for missing in &stats.missing {
            self.partial = true;
            self.warn(missing.to_string());
        }
        Ok(hits)
    }
}

/// The whole hours that a range touches, none of them wholly in the future.
fn whole_hours(range: TimeRange, now: Timestamp) -> TimeRange {
    let floor = |time: Timestamp| Timestamp(time.0.div_euclid(NS_PER_HOUR) * NS_PER_HOUR);
    let from = floor(range.from);
    let last = range.to.min(now.saturating_add_ns(1)).saturating_add_ns(-1).max(range.from);
    TimeRange { from, to: floor(last).saturating_add_ns(NS_PER_HOUR) }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(x) => Some(*x),
        #[expect(clippy::cast_precision_loss, reason = "a duration for people")]
        Value::Int(n) => Some(*n as f64),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

impl Seen {
    /// Records and spans.
    fn heard(&self) -> u64 {
        self.records + self.spans
    }

    fn view(mut self, service: String, timed: TimeRange) -> ServiceView {
        self.alerts.sort_by_key(|alert| std::cmp::Reverse((alert.severity, alert.last_seen)));
        let error_rate = match self.failed {
            Some(failed) => share(failed, self.requests),
            None => share(self.errors, self.records),
        };
        let mut why = self.reasons(error_rate);
        why.sort_by_key(|reason| std::cmp::Reverse(reason.state));
        why.truncate(REASONS_MAX);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let seconds = (timed.to.0.saturating_sub(timed.from.0) as f64 / 1e9).max(1.0);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let requests_per_second = self.requests as f64 / seconds;
        let [p50_ms, p95_ms, p99_ms] = self.durations;
        ServiceView {
            state: why.first().map_or(ServiceState::Normal, |reason| reason.state),
            why,
            records: self.records,
            errors: self.errors,
            spans: self.spans,
            requests: self.requests,
            failed_requests: self.failed,
            error_rate,
            requests_per_second,
            p50_ms,
            p95_ms,
            p99_ms,
            hosts: self.hosts.into_iter().collect(),
            versions: self.versions.into_iter().collect(),
            open_alerts: self.alerts.len() as u64,
            worst_severity: self.alerts.first().map(|alert| alert.severity.into()),
            first_seen: self.first,
            last_seen: self.last,
            service,
        }
    }

    fn reasons(&self, error_rate: Option<f64>) -> Vec<Reason> {
        let of_alert = |alert: &Arc<Alert>| Reason {
            kind: "alert",
            state: alert.severity.into(),
            text: alert.title.clone(),
            alert: Some(alert.id),
        };
        let mut reasons: Vec<Reason> =
            self.alerts.iter().filter(|alert| alert.severity > Severity::Normal).map(of_alert).collect();
        let (part, all, what) = match self.failed {
            Some(failed) => (failed, self.requests, "requests failed"),
            None => (self.errors, self.records, "records are errors"),
        };
        if let Some((state, rate)) = error_rate.and_then(|rate| Some((rated(rate, all)?, rate))) {
            let text = format!("{:.1} % of its {what} ({part} of {all})", rate * 100.0);
            reasons.push(Reason { kind: "error_rate", state, text, alert: None });
        }
        if self.heard() == 0 && !self.alerts.is_empty() {
            let text = "it wrote no record in the range".to_owned();
            reasons.push(Reason { kind: "silent", state: ServiceState::Normal, text, alert: None });
        }
        reasons
    }
}

/// What a share of errors says of a service; `None`: nothing bad.
fn rated(rate: f64, records: u64) -> Option<ServiceState> {
    match rate {
        _ if records < RATED_RECORDS_MIN => None,
        rate if rate >= ERROR_RATE_CRITICAL => Some(ServiceState::Critical),
        rate if rate >= ERROR_RATE_WARNING => Some(ServiceState::Warning),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_errors_counts_from_some_records_on() {
        assert_eq!(rated(1.0, 19), None);
        assert_eq!(rated(0.049, 1_000), None);
        assert_eq!(rated(0.05, 1_000), Some(ServiceState::Warning));
        assert_eq!(rated(0.25, 20), Some(ServiceState::Critical));
    }

    #[test]
    fn whole_hours_hold_the_range_and_end_with_this_hour() {
        let at = |minutes: i64| Timestamp(minutes * 60_000_000_000);
        let range = |from, to| TimeRange { from: at(from), to: at(to) };
        assert_eq!(whole_hours(range(70, 130), at(130)), range(60, 180));
        assert_eq!(whole_hours(range(60, 120), at(1_000)), range(60, 120));
        assert_eq!(whole_hours(range(70, 900), at(130)), range(60, 180));
    }
}
