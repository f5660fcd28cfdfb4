//! `GET /api/v1/records/{id}`: one record, what of its message varies, and the lines around it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heimdall_guard::Scope;
use heimdall_model::schema::logs;
use heimdall_model::time::{NS_PER_DAY, NS_PER_MS};
use heimdall_model::{Dataset, FieldId, Filter, Literal, RecordId, Target, Tenant, Test, Timestamp};
use heimdall_query::TimeRange;
use heimdall_store::template::TemplateId;
use heimdall_store::{Control, Hit, Order, RowBlock, ScanError, ScanRequest, Store, Wanted};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Access;
use crate::extract::{Params, Segment, short};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::{in_turn, template_of};
use crate::{AppState, error};

/// Most lines before, and after.
const CONTEXT_MAX: usize = 500;
/// How far from the record its context may lie.
const CONTEXT_SPAN_NS: i64 = NS_PER_DAY;
/// What makes a stream of lines.
const STREAM: [FieldId; 3] = [logs::SERVICE, logs::INSTANCE, logs::HOST];

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecordParams {
    /// Lines before and after it, of the same service, instance and host, within a day of it; 0 (default) to 500.
    context: Option<usize>,
}

/// A log record: every field it has, by canonical name.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct LogRecord {
    /// UUID version 7: event time and position.
    id: String,
    /// Event time, RFC 3339 with nanoseconds.
    timestamp: String,
    /// Arrival time.
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<String>,
    /// trace, debug, info, warn, error or fatal.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<String>,
    /// Service that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// Instance of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// Region of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// dev, staging or prod.
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    /// The message as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    /// 16 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    /// 16 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    /// W3C trace flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_flags: Option<i64>,
    /// User concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// Session concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// Request concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// Customer concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    /// Duration of the operation, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
    /// CPU in use, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_usage: Option<f64>,
    /// Memory in use, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_usage: Option<f64>,
    /// Share of failed operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_rate: Option<f64>,
    /// public, internal, confidential or restricted.
    #[serde(skip_serializing_if = "Option::is_none")]
    classification: Option<String>,
    /// Fields that hold personal data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pii_fields: Option<Vec<serde_json::Value>>,
    /// Retention policy by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_policy: Option<String>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    anomaly_score: Option<f64>,
    /// Predicted or given category.
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    /// Address the event came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
    /// Host that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// Every other field, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<BTreeMap<String, serde_json::Value>>,
    /// Schema version of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    /// Template of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    template_id: Option<i64>,
}

impl LogRecord {
    pub(super) fn of(hit: &Hit) -> Result<LogRecord, Problem> {
        let document = serde_json::Value::Object(hit.block.to_json(hit.row));
        serde_json::from_value(document).map_err(|error| Problem::internal(&error))
    }
}

/// The template of a message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecordTemplate)]
pub(crate) struct TemplateUse {
    /// Its id.
    id: i64,
    /// Its text, `<*>` for what varies.
    text: String,
    /// Messages that were of it so far.
    count: u64,
}

/// A part of the message that varies from record to record.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MessageSpan)]
pub(crate) struct Span {
    /// Where it begins, in UTF-16 code units, as JavaScript counts.
    start: usize,
    /// Where it ends.
    end: usize,
    /// What stands there.
    value: String,
}

/// The lines around a record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordContext {
    /// Those before it, the earliest first.
    before: Vec<LogRecord>,
    /// Those after it, the earliest first.
    after: Vec<LogRecord>,
    /// What makes them lines of one stream: fields and values of the record; null: without the field.
    stream: BTreeMap<&'static str, Option<String>>,
}

/// A record with what is known of its message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordDetail {
    /// The record.
    record: LogRecord,
    /// Its template, when it has one.
    template: Option<TemplateUse>,
    /// What stands in the template's places, in order.
    parameters: Vec<String>,
    /// The same with their places in the message.
    spans: Vec<Span>,
    /// The lines around it, when asked for.
    context: Option<RecordContext>,
    /// What is missing: damaged segments.
    warnings: Vec<String>,
}

/// One log record by its id.
#[utoipa::path(
    get, path = "/api/v1/records/{id}", tag = "query",
    params(("id" = String, Path, format = Uuid, description = "id of the record"), RecordParams),
    responses(
        (status = 200, description = "the record", body = RecordDetail),
        (status = 404, description = "there is none of the tenant, or it is kept no longer", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn one_record(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
    Params(params): Params<RecordParams>,
) -> Result<Json<RecordDetail>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let id = RecordId::parse(&id)
        .ok_or_else(|| Problem::bad_request("invalid_path", format!("`{}` is no UUID", short(&id))))?;
    let around = params.context.unwrap_or(0);
    if around > CONTEXT_MAX {
        return Err(Problem::parameter("context", format!("must be 0 to {CONTEXT_MAX}")));
    }
    let store = Arc::clone(&state.store);
    let found = in_turn(&state, state.limits.query_timeout, move |control| {
        let control = Control { without_damaged: true, ..control.clone() };
        Look { store: &store, tenant: &tenant, control: &control }.detail(id, around)
    });
    found.await?.map(Json)
}

/// Reading around in the logs of a tenant.
struct Look<'a> {
    store: &'a Arc<Store>,
    tenant: &'a Tenant,
    control: &'a Control,
}

impl Look<'_> {
    fn detail(&self, id: RecordId, around: usize) -> Result<RecordDetail, Problem> {
        let scan = |error: ScanError| error::scan(&error);
        let found = self.search(of_id(id), around_of(id), Order::NewestFirst, 1, None).map_err(scan)?;
        let (hits, missing) = found;
        let mut warnings: Vec<String> = missing;
        let Some(hit) = hits.into_iter().next() else {
            let problem = Problem::not_found("record", id);
            return Err(if warnings.is_empty() {
                problem
            } else {
                problem.with_member("warnings", serde_json::json!(warnings))
            });
        };
        let record = LogRecord::of(&hit)?;
        let spans = self.spans(&hit.block, hit.row);
        let context = (around > 0).then(|| self.context(&hit, around, &mut warnings)).transpose()?;
        Ok(RecordDetail {
            template: self.template(&hit.block, hit.row),
            parameters: spans.iter().map(|span| span.value.clone()).collect(),
            spans,
            record,
            context,
            warnings,
        })
    }

    fn template(&self, block: &RowBlock, row: usize) -> Option<TemplateUse> {
        let id = block.int(logs::TEMPLATE_ID, row)?;
        let text = template_of(self.store, self.tenant, Some(id))?.to_string();
        let known = TemplateId(u32::try_from(id).ok()?);
        let count = self.store.with_templates(self.tenant, |miner| {
            miner.template(known).map_or(0, heimdall_store::template::Template::count)
        });
        Some(TemplateUse { id, text, count: count.unwrap_or(0) })
    }

    fn spans(&self, block: &RowBlock, row: usize) -> Vec<Span> {
        let (Some(message), Some(id)) = (block.text(logs::MESSAGE, row), block.template_id(row)) else {
            return Vec::new();
        };
        let found = self.store.with_templates(self.tenant, |miner| {
            // Variables have been found since it was placed: the root of its cluster knows them.
            let id = TemplateId(id);
            let of_root = miner.parameters(miner.canonical(id), message);
            let values = if of_root.is_empty() { miner.parameters(id, message) } else { of_root };
            spans_of(message, &values)
        });
        found.unwrap_or_default()
    }

    fn context(
        &self,
        hit: &Hit,
        around: usize,
        warnings: &mut Vec<String>,
    ) -> Result<RecordContext, Problem> {
        let (time, _) = hit.place();
        let mut beside = |order, from, to| {
            let range = TimeRange { from, to };
            let filter = of_stream(&hit.block, hit.row);
            let found = self.search(filter, range, order, around, Some(hit));
            let (hits, missing) = found.map_err(|error| error::scan(&error))?;
            for missing in missing {
                if !warnings.contains(&missing) {
                    warnings.push(missing);
                }
            }
            hits.iter().map(LogRecord::of).collect::<Result<Vec<_>, Problem>>()
        };
        let next = time.saturating_add_ns(1);
        let mut before = beside(Order::NewestFirst, time.saturating_add_ns(-CONTEXT_SPAN_NS), next)?;
        before.reverse();
        let after = beside(Order::OldestFirst, time, time.saturating_add_ns(CONTEXT_SPAN_NS))?;
        let value = |id: &FieldId| hit.block.text(*id, hit.row).map(str::to_owned);
        let stream = STREAM.iter().map(|id| (Dataset::Logs.field(*id).name, value(id))).collect();
        Ok(RecordContext { before, after, stream })
    }

    fn search(
        &self,
        filter: Filter,
        range: TimeRange,
        order: Order,
        limit: usize,
        after: Option<&Hit>,
    ) -> Result<(Vec<Hit>, Vec<String>), ScanError> {
        let tenant = self.tenant.clone();
        let request = ScanRequest { tenant, dataset: Dataset::Logs, range, filter, fields: None };
        let wanted = Wanted { order, limit, after: after.map(Hit::place) };
        let (hits, stats) = self.store.search_wanted(&request, wanted, self.control)?;
        Ok((hits, stats.missing.iter().map(ToString::to_string).collect()))
    }
}

fn of_id(id: RecordId) -> Filter {
    Filter::Test(Target::Id, Test::Equals(Literal::new(&id.to_string())))
}

/// The time in which a record of this id may be; those before 1970 have the time 1970 in their ids.
fn around_of(id: RecordId) -> TimeRange {
    let floor = id.time_floor();
    let from = if floor == Timestamp(0) { TimeRange::ALL.from } else { floor };
    TimeRange { from, to: floor.saturating_add_ns(NS_PER_MS) }
}

/// The filter of the stream that a row belongs to.
fn of_stream(block: &RowBlock, row: usize) -> Filter {
    let part = |id: &FieldId| match block.text(*id, row) {
        Some(text) => Filter::field(*id, Test::Equals(Literal::new(text))),
        None => Filter::field(*id, Test::Exists).negate(),
    };
    STREAM.iter().map(part).fold(Filter::All, Filter::and)
}

/// Where slices of a text are in it, in UTF-16 code units. They come in order.
fn spans_of(message: &str, values: &[&str]) -> Vec<Span> {
    let (mut at, mut units) = (0, 0);
    let mut advance = |to: usize| {
        units += message[at..to].encode_utf16().count();
        at = to;
        units
    };
    let place = |value: &&str| (value.as_ptr() as usize).checked_sub(message.as_ptr() as usize);
    let spans = values.iter().filter_map(|value| Some((place(value)?, value)));
    let spans = spans.map(|(from, value)| Span {
        start: advance(from),
        end: advance(from + value.len()),
        value: (*value).to_owned(),
    });
    spans.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_count_as_javascript_does() {
        let message = "größe 😀 12 von u7";
        let values =
            [&message[message.find("12").expect("it is there")..][..2], &message[message.len() - 2..]];
        let spans = spans_of(message, &values);
        let utf16: Vec<u16> = message.encode_utf16().collect();
        for span in &spans {
            assert_eq!(String::from_utf16_lossy(&utf16[span.start..span.end]), span.value);
        }
        assert_eq!((spans[0].start, spans[1].value.as_str()), (9, "u7"));
    }

    #[test]
    fn the_time_of_an_id_holds_its_record() {
        use heimdall_model::Position;
        for ns in [1_795_780_800_123_456_789, 0, -5] {
            let time = Timestamp(ns);
            let range = around_of(RecordId::new(time, Position::new(3, 4)));
            assert!(range.from <= time && time < range.to, "{ns}");
        }
    }
}
