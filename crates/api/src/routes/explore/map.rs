//! `GET /api/v1/services/map`: which service calls which, and how that goes.
//!
//! Services come from rollups; calls from the newest spans, and the newest log records of traces, in the range, a bounded number
//! of each: a span whose parent is a span of another service is a call, and so is one that names whom it called while nothing
//! was heard of that.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use heimdall_guard::Scope;
use heimdall_model::schema::{logs, spans};
use heimdall_model::time::{NS_PER_HOUR, NS_PER_MINUTE, format_duration};
use heimdall_model::{Dataset, Filter, Level, Tenant, Test, Value};
use heimdall_query::{QueryError, TimeRange};
use heimdall_store::{Hit, Order, ScanRequest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::range;
use super::services::{Look, ServiceState, ServiceView, Survey};
use crate::access::Access;
use crate::extract::{Params, limit};
use crate::problem::Problem;
use crate::routes::in_turn;
use crate::{AppState, error};

/// Records read for the calls, unless the request says.
const RECORDS_DEFAULT: usize = 20_000;
const RECORDS_MAX: usize = 100_000;
/// Calls between different pairs of services at most: those with the most requests.
const EDGES_MAX: usize = 2_000;
/// Buckets of time that errors are compared by, at most.
const BUCKETS_MAX: i64 = 1_440;
/// Buckets below which nothing is said of how errors go together.
const BUCKETS_MIN: usize = 5;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MapParams {
    /// Event time at or after; default an hour before `to`. RFC 3339, epoch, or `now-15m`.
    from: Option<String>,
    /// Event time before; default now.
    to: Option<String>,
    /// Newest spans, and newest log records of traces, that calls are read from: 1 to 100,000 of each, default 20,000.
    records: Option<usize>,
}

/// A service on the map.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MapNode)]
pub(crate) struct Node {
    /// Its name.
    service: String,
    /// How it is.
    state: ServiceState,
    /// Log records in the range.
    records: u64,
    /// Those of level error or fatal.
    errors: u64,
    /// Spans in the range.
    spans: u64,
    /// Share of failed requests, 0 to 1; where there are no spans, of records that are errors; null without records, and where the
    /// service is known from its callers alone.
    error_rate: Option<f64>,
    /// Duration that 95 % do not exceed, ms.
    p95_ms: Option<f64>,
    /// Alerts that are OPEN or ACKNOWLEDGED.
    open_alerts: u64,
}

/// One service calls another.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = MapEdge)]
pub(crate) struct Edge {
    /// Who calls.
    source: String,
    /// Who is called.
    target: String,
    /// Calls among the records read.
    requests: u64,
    /// Those whose span failed, or in which the called one wrote a record of level error or fatal, or answered with a status of 500
    /// or more.
    errors: u64,
    /// Duration that 95 % of the calls do not exceed, ms; null where none has one.
    p95_ms: Option<f64>,
    /// How far the errors of the two rise and fall together, -1 to 1: Pearson's coefficient of their errors in each
    /// `correlation_bucket`; null where one of them has none, or always as many.
    error_correlation: Option<f64>,
}

/// The services and their calls.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceMap {
    /// The services, the worst first.
    nodes: Vec<Node>,
    /// The calls between them, the most frequent first.
    edges: Vec<Edge>,
    /// Traces that the calls are from.
    traces_read: usize,
    /// Spans and log records that were read for them.
    records_read: usize,
    /// Of them, spans.
    spans_read: usize,
    /// Whether there are more in the range than were read: the calls are then a sample, of the newest.
    sampled: bool,
    /// Length of the spans of time that errors are compared by: `1m` for ranges of up to a day.
    correlation_bucket: String,
    /// Whether something is missing; `warnings` says what.
    partial: bool,
    /// What is missing, or not as asked for.
    warnings: Vec<String>,
}

/// The services of a range and how they call each other.
#[utoipa::path(
    get, path = "/api/v1/services/map", tag = "query", params(MapParams),
    responses((status = 200, description = "the map", body = ServiceMap))
)]
pub(crate) async fn service_map(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<MapParams>,
) -> Result<Json<ServiceMap>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let range = range(params.from.as_deref(), params.to.as_deref(), state.clock.now())?;
    let records = limit_of(params.records)?;
    let inner = state.clone();
    let drawn = in_turn(&state, state.limits.query_timeout, move |control| {
        draw(Survey::new(&inner, &tenant, range, control), &tenant, records)
    });
    drawn.await?.map(Json)
}

fn limit_of(records: Option<usize>) -> Result<usize, Problem> {
    limit(records, RECORDS_DEFAULT, RECORDS_MAX)
        .map_err(|_| Problem::parameter("records", format!("must be 1 to {RECORDS_MAX}")))
}

fn draw(mut survey: Survey<'_>, tenant: &Tenant, records: usize) -> Result<ServiceMap, Problem> {
    let services = survey.list(Look::FromAfar)?;
    survey.warnings = services.warnings;
    let range = survey.asker.range;
    let mut calls = Calls::default();
    let mut spans_read = 0;
    if survey.has_spans() {
        let request = of_spans(tenant, range);
        let hits =
            survey.search(&request, Order::NewestFirst, records).map_err(|error| error::scan(&error))?;
        hits.iter().for_each(|hit| calls.read_span(hit));
        spans_read = hits.len();
    }
    let request = ScanRequest {
        tenant: tenant.clone(),
        dataset: Dataset::Logs,
        range,
        filter: Filter::field(logs::TRACE_ID, Test::Exists).and(Filter::field(logs::SPAN_ID, Test::Exists)),
        fields: Some(vec![
            logs::LEVEL,
            logs::SERVICE,
            logs::TRACE_ID,
            logs::SPAN_ID,
            logs::PARENT_SPAN_ID,
            logs::DURATION_MS,
            logs::ATTRIBUTES,
        ]),
    };
    let hits = survey.search(&request, Order::NewestFirst, records).map_err(|error| error::scan(&error))?;
    hits.iter().for_each(|hit| calls.read(hit));
    let sampled = hits.len() == records || spans_read == records;
    let Found { traces_read, mut edges, orphans } = calls.finish();
    if edges.len() > EDGES_MAX {
        let all = edges.len();
        survey.warn(format!("{EDGES_MAX} of {all} pairs of services are shown: those with the most calls"));
        edges.truncate(EDGES_MAX);
    }
    if orphans > 0 {
        survey.warn(format!("{orphans} spans have a parent that is not among the records read"));
    }
    let bucket_ns = bucket_ns(range);
    correlate(&mut survey, &mut edges, bucket_ns).map_err(|error| error::query(&error))?;
    Ok(ServiceMap {
        nodes: nodes(services.items, &edges),
        edges,
        traces_read,
        records_read: spans_read + hits.len(),
        spans_read,
        sampled,
        correlation_bucket: format_duration(bucket_ns),
        partial: survey.partial,
        warnings: survey.warnings,
    })
}

fn of_spans(tenant: &Tenant, range: TimeRange) -> ScanRequest {
    ScanRequest {
        tenant: tenant.clone(),
        dataset: Dataset::Spans,
        range,
        filter: Filter::All,
        fields: Some(vec![
            spans::SERVICE,
            spans::TRACE_ID,
            spans::SPAN_ID,
            spans::PARENT_SPAN_ID,
            spans::KIND,
            spans::STATUS,
            spans::DURATION_MS,
            spans::PEER_SERVICE,
        ]),
    }
}

/// The services that were heard of, and those that are only called.
fn nodes(services: Vec<ServiceView>, edges: &[Edge]) -> Vec<Node> {
    let mut nodes: Vec<Node> = services
        .into_iter()
        .map(|view| Node {
            service: view.service,
            state: view.state,
            records: view.records,
            errors: view.errors,
            spans: view.spans,
            error_rate: view.error_rate,
            p95_ms: view.p95_ms,
            open_alerts: view.open_alerts,
        })
        .collect();
    let mut known: HashSet<String> = nodes.iter().map(|node| node.service.clone()).collect();
    for service in edges.iter().flat_map(|edge| [&edge.source, &edge.target]) {
        if known.insert(service.clone()) {
            nodes.push(Node {
                service: service.clone(),
                state: ServiceState::Normal,
                records: 0,
                errors: 0,
                spans: 0,
                error_rate: None,
                p95_ms: None,
                open_alerts: 0,
            });
        }
    }
    nodes
}

/// What is known of a span.
#[derive(Debug, Default)]
struct Span {
    service: Option<u32>,
    parent: Option<[u8; 8]>,
    /// The service it called, where it says so.
    peer: Option<u32>,
    is_error: bool,
    duration_ms: Option<f64>,
}

/// Spans of traces, as they are and as log records tell of them.
#[derive(Debug, Default)]
struct Calls {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    spans: HashMap<([u8; 16], [u8; 8]), Span>,
}

struct Found {
    traces_read: usize,
    edges: Vec<Edge>,
    /// Spans whose parent was not read.
    orphans: usize,
}

impl Calls {
    fn read_span(&mut self, Hit { block, row }: &Hit) {
        const ANSWERS: [&str; 2] = ["server", "consumer"];
        let row = *row;
        let Some(trace) = block.bytes(spans::TRACE_ID, row).and_then(|id| id.try_into().ok()) else { return };
        let Some(id) = block.bytes(spans::SPAN_ID, row).and_then(|id| id.try_into().ok()) else { return };
        let service = block.service(row).map(|service| self.number(service));
        // Who answers a request names there who asked.
        let does_call = !block.text(spans::KIND, row).is_some_and(|kind| ANSWERS.contains(&kind));
        let peer = block.text(spans::PEER_SERVICE, row).filter(|peer| does_call && !peer.is_empty());
        let peer = peer.map(|peer| self.number(peer));
        let span = self.spans.entry((trace, id)).or_default();
        span.service = span.service.or(service);
        span.parent =
            span.parent.or_else(|| block.bytes(spans::PARENT_SPAN_ID, row).and_then(|id| id.try_into().ok()));
        span.peer = span.peer.or(peer);
        span.is_error |= block.text(spans::STATUS, row) == Some("error");
        span.duration_ms = span.duration_ms.or_else(|| block.float(spans::DURATION_MS, row));
    }

    fn read(&mut self, Hit { block, row }: &Hit) {
        const FAILED: i64 = 500;
        let row = *row;
        let fixed = |id| block.bytes(id, row);
        let Some(trace) = fixed(logs::TRACE_ID).and_then(|id| id.try_into().ok()) else { return };
        let Some(id) = fixed(logs::SPAN_ID).and_then(|id| id.try_into().ok()) else { return };
        let parent = fixed(logs::PARENT_SPAN_ID).and_then(|id| id.try_into().ok());
        let service = block.service(row).map(|service| self.number(service));
        let status = block.attribute("status", row).or_else(|| block.attribute("http.status", row));
        let failed = match status.map(|status| status.to_value()) {
            Some(Value::Int(status)) => status >= FAILED,
            Some(Value::Text(status)) => status.parse().is_ok_and(|status: i64| status >= FAILED),
            _ => false,
        };
        let span = self.spans.entry((trace, id)).or_default();
        span.service = span.service.or(service);
        span.parent = span.parent.or(parent);
        span.is_error |= failed || block.level(row).is_some_and(|level| level >= Level::Error);
        span.duration_ms = match (span.duration_ms, block.float(logs::DURATION_MS, row)) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
    }

    fn number(&mut self, service: &str) -> u32 {
        if let Some(number) = self.numbers.get(service) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer services than records read");
        self.names.push(service.to_owned());
        self.numbers.insert(service.to_owned(), number);
        number
    }

    fn finish(self) -> Found {
        #[derive(Default)]
        struct Between {
            requests: u64,
            errors: u64,
            durations: Vec<f64>,
        }
        let mut between: BTreeMap<(u32, u32), Between> = BTreeMap::new();
        let mut orphans = 0;
        let mut heard: HashSet<(&[u8; 16], [u8; 8])> = HashSet::new();
        for ((trace, _), span) in &self.spans {
            let (Some(parent), Some(target)) = (span.parent, span.service) else { continue };
            let Some(source) = self.spans.get(&(*trace, parent)) else {
                orphans += 1;
                continue;
            };
            let Some(source) = source.service.filter(|source| *source != target) else { continue };
            heard.insert((trace, parent));
            let calls = between.entry((source, target)).or_default();
            calls.requests += 1;
            calls.errors += u64::from(span.is_error);
            calls.durations.extend(span.duration_ms);
        }
        for ((trace, id), span) in &self.spans {
            let (Some(source), Some(target)) = (span.service, span.peer) else { continue };
            if source == target || heard.contains(&(trace, *id)) {
                continue;
            }
            let calls = between.entry((source, target)).or_default();
            calls.requests += 1;
            calls.errors += u64::from(span.is_error);
            calls.durations.extend(span.duration_ms);
        }
        let name = |number: u32| self.names[number as usize].clone();
        let edge = |((source, target), mut calls): ((u32, u32), Between)| Edge {
            source: name(source),
            target: name(target),
            requests: calls.requests,
            errors: calls.errors,
            p95_ms: percentile(&mut calls.durations, 0.95),
            error_correlation: None,
        };
        let mut edges: Vec<Edge> = between.into_iter().map(edge).collect();
        edges.sort_by(|a, b| {
            b.requests.cmp(&a.requests).then_with(|| (&a.source, &a.target).cmp(&(&b.source, &b.target)))
        });
        let traces: HashSet<&[u8; 16]> = self.spans.keys().map(|(trace, _)| trace).collect();
        Found { traces_read: traces.len(), edges, orphans }
    }
}

/// The value that a share of the numbers does not exceed (nearest rank).
fn percentile(numbers: &mut [f64], share: f64) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among the records read"
    )]
    let rank = (numbers.len() as f64 * share).ceil() as usize;
    numbers.get(rank.saturating_sub(1)).copied()
}

/// Spans of time in which errors are counted: minutes, up to a day.
fn bucket_ns(range: TimeRange) -> i64 {
    let length = range.to.0.saturating_sub(range.from.0);
    let wide = [1, 5, 15].into_iter().map(|minutes| minutes * NS_PER_MINUTE);
    let fits = |span: &i64| length / span <= BUCKETS_MAX;
    let hours = length.div_euclid(BUCKETS_MAX).div_euclid(NS_PER_HOUR) + 1;
    wide.into_iter().find(fits).unwrap_or(hours * NS_PER_HOUR)
}

/// Says of each edge how the errors of its two services go together.
fn correlate(survey: &mut Survey<'_>, edges: &mut [Edge], bucket_ns: i64) -> Result<(), QueryError> {
    if edges.is_empty() {
        return Ok(());
    }
    let range = survey.asker.range;
    let span = format_duration(bucket_ns);
    let mut lines = vec![format!("level>=error | stats count() by service, bin({span}) | limit 100000")];
    if survey.has_spans() {
        let line =
            format!("dataset:spans status:error | stats count() by service, bin({span}) | limit 100000");
        lines.push(line);
    }
    let mut rows = Vec::new();
    for line in lines {
        match survey.asker.ask(&line, range) {
            Ok(answer) => rows.extend(survey.whole(answer).rows),
            Err(QueryError::TooManyGroups { .. } | QueryError::TooMuchMemory { .. }) => {
                survey.warn("there are too many services to compare their errors".to_owned());
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    let first = range.from.0.div_euclid(bucket_ns);
    let last = range.to.0.saturating_sub(1).div_euclid(bucket_ns);
    let buckets = usize::try_from(last - first + 1).unwrap_or(0);
    let mut errors: HashMap<String, Vec<f64>> = HashMap::new();
    for row in rows {
        let [Value::Text(service), Value::Time(start), Value::Int(count)] = row.as_slice() else { continue };
        let at = usize::try_from(start.0.div_euclid(bucket_ns) - first).unwrap_or(usize::MAX);
        let series = errors.entry(service.clone()).or_insert_with(|| vec![0.0; buckets]);
        #[expect(clippy::cast_precision_loss, reason = "a count within one bucket")]
        if let Some(place) = series.get_mut(at) {
            *place += *count as f64;
        }
    }
    for edge in edges {
        let series = errors.get(&edge.source).zip(errors.get(&edge.target));
        edge.error_correlation = series.and_then(|(a, b)| pearson(a, b));
    }
    Ok(())
}

/// Pearson's correlation coefficient; `None` for few numbers, or when one side does not vary.
fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() < BUCKETS_MIN || a.len() != b.len() {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most a few thousand")]
    let n = a.len() as f64;
    let mean = |x: &[f64]| x.iter().sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    let spread = (aa * bb).sqrt();
    (spread > 0.0).then(|| (ab / spread).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heimdall_model::Timestamp;

    #[test]
    fn errors_that_rise_together_correlate() {
        let rising = [0.0, 1.0, 2.0, 3.0, 9.0];
        let falling = rising.map(|x| -2.0 * x);
        assert_eq!(pearson(&rising, &rising), Some(1.0));
        assert!((pearson(&rising, &falling).expect("both vary") + 1.0).abs() < 1e-12);
        assert_eq!(pearson(&rising, &[4.0; 5]), None, "one side does not vary");
        assert_eq!(pearson(&rising[..4], &falling[..4]), None, "too few");
    }

    #[test]
    fn buckets_are_minutes_up_to_a_day_and_bounded_beyond() {
        let hours = |hours: i64| TimeRange { from: Timestamp(0), to: Timestamp(hours * NS_PER_HOUR) };
        assert_eq!(bucket_ns(hours(1)), NS_PER_MINUTE);
        assert_eq!(bucket_ns(hours(24)), NS_PER_MINUTE);
        assert_eq!(bucket_ns(hours(25)), 5 * NS_PER_MINUTE);
        let year = hours(24 * 365);
        assert!(year.to.0 / bucket_ns(year) <= BUCKETS_MAX);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        assert_eq!(percentile(&mut [], 0.95), None);
        assert_eq!(percentile(&mut [7.0], 0.95), Some(7.0));
        let mut hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&mut hundred, 0.95), Some(95.0));
    }
}
