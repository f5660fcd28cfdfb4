//! `GET /api/v1/traces/{id}`: the spans of a trace, and the log records written within it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heimdall_guard::Scope;
use heimdall_model::schema::{logs, spans};
use heimdall_model::{Dataset, FieldId, Filter, Literal, Tenant, Test};
use heimdall_query::TimeRange;
use heimdall_store::{Control, Hit, Order, ScanRequest, Store, Wanted};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::record::LogRecord;
use crate::access::Access;
use crate::extract::{Params, Segment, short, time_opt};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::in_turn;
use crate::{AppState, error};

/// Spans given at most: the earliest.
const SPANS_MAX: usize = 5_000;
/// Log records given at most: the earliest.
const RECORDS_MAX: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TraceParams {
    /// Event time at or after; default all. A range makes looking faster. RFC 3339, epoch, or `now-15m`.
    from: Option<String>,
    /// Event time before.
    to: Option<String>,
}

/// A span: every field it has, by canonical name.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = TraceSpan)]
pub(crate) struct SpanRecord {
    /// UUID version 7: start and position.
    id: String,
    /// Start, RFC 3339 with nanoseconds.
    timestamp: String,
    /// Arrival time.
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<String>,
    /// Service that did the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// Name of the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    /// 16 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    /// 16 hex digits; absent at the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    /// internal, server, client, producer or consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// unset, ok or error.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// What the status says.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<String>,
    /// Duration, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
    /// Service called, where the span says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_service: Option<String>,
    /// Host the span was made on.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// Instance of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// dev, staging or prod.
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    /// Instrumentation scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// W3C trace flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_flags: Option<i64>,
    /// W3C trace state.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<String>,
    /// Its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<serde_json::Value>>,
    /// Links to other spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Vec<serde_json::Value>>,
    /// Every other field, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<BTreeMap<String, serde_json::Value>>,
}

impl SpanRecord {
    fn of(hit: &Hit) -> Result<SpanRecord, Problem> {
        let document = serde_json::Value::Object(hit.block.to_json(hit.row));
        serde_json::from_value(document).map_err(|error| Problem::internal(&error))
    }
}

/// A trace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TraceDetail {
    /// 32 hex digits.
    trace_id: String,
    /// Services that took part, by name.
    services: Vec<String>,
    /// From the start of its earliest span to the end of its last, ms; null without spans.
    duration_ms: Option<f64>,
    /// Its spans, the earliest first; at most 5,000.
    spans: Vec<SpanRecord>,
    /// Log records written within it, the earliest first; at most 1,000.
    records: Vec<LogRecord>,
    /// Whether something is missing; `warnings` says what.
    partial: bool,
    /// What is missing: damaged segments, or what is beyond the limits.
    warnings: Vec<String>,
}

/// The spans of a trace and its log records.
#[utoipa::path(
    get, path = "/api/v1/traces/{id}", tag = "query",
    params(("id" = String, Path, description = "id of the trace: 32 hex digits"), TraceParams),
    responses(
        (status = 200, description = "the trace", body = TraceDetail),
        (status = 404, description = "nothing of it is kept", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn one_trace(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
    Params(params): Params<TraceParams>,
) -> Result<Json<TraceDetail>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        let text = format!("`{}` is no trace id: it has 32 hex digits", short(&id));
        return Err(Problem::bad_request("invalid_path", text));
    }
    let (now, all) = (state.clock.now(), TimeRange::ALL);
    let range = TimeRange {
        from: time_opt("from", params.from.as_deref(), now)?.unwrap_or(all.from),
        to: time_opt("to", params.to.as_deref(), now)?.unwrap_or(all.to),
    };
    let store = Arc::clone(&state.store);
    let found = in_turn(&state, state.limits.query_timeout, move |control| {
        let control = Control { without_damaged: true, ..control.clone() };
        let id = id.to_ascii_lowercase();
        Look { store: &store, tenant: &tenant, range, control: &control, warnings: Vec::new() }.trace(id)
    });
    found.await?.map(Json)
}

/// Reading of one trace.
struct Look<'a> {
    store: &'a Arc<Store>,
    tenant: &'a Tenant,
    range: TimeRange,
    control: &'a Control,
    warnings: Vec<String>,
}

impl Look<'_> {
    fn trace(mut self, id: String) -> Result<TraceDetail, Problem> {
        let span_hits = self.search(Dataset::Spans, spans::TRACE_ID, &id, SPANS_MAX, "spans")?;
        let record_hits = self.search(Dataset::Logs, logs::TRACE_ID, &id, RECORDS_MAX, "records")?;
        if span_hits.is_empty() && record_hits.is_empty() {
            let problem = Problem::not_found("trace", id);
            return Err(if self.warnings.is_empty() {
                problem
            } else {
                problem.with_member("warnings", serde_json::json!(self.warnings))
            });
        }
        let hits = || span_hits.iter().chain(&record_hits);
        let services: BTreeSet<&str> = hits().filter_map(|hit| hit.block.service(hit.row)).collect();
        Ok(TraceDetail {
            trace_id: id,
            services: services.into_iter().map(str::to_owned).collect(),
            duration_ms: duration_ms(&span_hits),
            spans: span_hits.iter().map(SpanRecord::of).collect::<Result<_, _>>()?,
            records: record_hits.iter().map(LogRecord::of).collect::<Result<_, _>>()?,
            partial: !self.warnings.is_empty(),
            warnings: self.warnings,
        })
    }

    fn search(
        &mut self,
        dataset: Dataset,
        field: FieldId,
        id: &str,
        limit: usize,
        what: &str,
    ) -> Result<Vec<Hit>, Problem> {
        let filter = Filter::field(field, Test::Equals(Literal::new(id)));
        let tenant = self.tenant.clone();
        let request = ScanRequest { tenant, dataset, range: self.range, filter, fields: None };
        let wanted = Wanted { order: Order::OldestFirst, limit: limit + 1, after: None };
        let (mut hits, stats) =
            self.store.search_wanted(&request, wanted, self.control).map_err(|error| error::scan(&error))?;
        self.warnings.extend(stats.missing.iter().map(ToString::to_string));
        if hits.len() > limit {
            hits.truncate(limit);
            self.warnings.push(format!("the first {limit} {what} are shown: there are more"));
        }
        Ok(hits)
    }
}

/// From the first start to the last end.
fn duration_ms(hits: &[Hit]) -> Option<f64> {
    let first = hits.iter().map(|hit| hit.block.timestamp(hit.row)).min()?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds for people")]
    let end = |hit: &Hit| {
        let since = hit.block.timestamp(hit.row).0.saturating_sub(first.0) as f64 / 1e6;
        since + hit.block.float(spans::DURATION_MS, hit.row).unwrap_or(0.0)
    };
    hits.iter().map(end).reduce(f64::max)
}
