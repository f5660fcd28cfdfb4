//! `GET /logs`: the latest log records as a plain array.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use heimdall_guard::Scope;
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, Filter, Level, Tenant};
use heimdall_query::{ParseContext, search};
use heimdall_store::{Control, DamagedSegment, Order, ScanError, ScanRequest, Store};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;

use crate::access::Access;
use crate::extract::{Params, limit, time_opt};
use crate::limits::QUERY_ROWS_MAX;
use crate::problem::Problem;
use crate::routes::{in_turn, put_template, template_of};
use crate::{AppState, error};

/// Records of an answer unless the request says.
const LOGS_DEFAULT: usize = 200;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogParams {
    /// Records at most; default 200.
    limit: Option<usize>,
    /// Search line without pipes.
    q: Option<String>,
    /// Exactly this service.
    service: Option<String>,
    /// At least this level.
    level: Option<String>,
    /// Event time at or after.
    from: Option<String>,
    /// Event time before.
    to: Option<String>,
}

/// The latest log records, newest first. Records that are missing because their segment is damaged are told in a
/// `Warning` header each.
#[utoipa::path(
    get, path = "/logs", tag = "query", params(LogParams),
    responses((status = 200, description = "records by canonical field name", body = Vec<Object>))
)]
pub(crate) async fn logs(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<LogParams>,
) -> Result<(HeaderMap, Json<Vec<Map<String, Value>>>), Problem> {
    let tenant = access.require(Scope::Read)?;
    let limit = limit(params.limit, LOGS_DEFAULT, QUERY_ROWS_MAX)?;
    let request = request(&state, tenant, &params)?;
    let store = Arc::clone(&state.store);
    let found =
        in_turn(&state, state.limits.query_timeout, move |control| newest(&store, &request, limit, control));
    let (records, missing) = found.await?.map_err(|error| error::scan(&error))?;
    let mut headers = HeaderMap::new();
    for damaged in missing {
        let text =
            damaged.to_string().replace(|c: char| !(' '..='~').contains(&c) || c == '"' || c == '\\', "'");
        if let Ok(value) = HeaderValue::try_from(format!("199 heimdall \"{text}\"")) {
            headers.append(header::WARNING, value);
        }
    }
    Ok((headers, Json(records)))
}

fn request(state: &AppState, tenant: Tenant, params: &LogParams) -> Result<ScanRequest, Problem> {
    let now = state.clock.now();
    let mut context = ParseContext::new(tenant, Dataset::Logs, now);
    context.from = time_opt("from", params.from.as_deref(), now)?;
    context.to = time_opt("to", params.to.as_deref(), now)?;
    let line = params.q.as_deref().unwrap_or_default();
    let query = search::parse(line, &context).map_err(|error| error::parse(&error))?;
    if !query.pipeline.is_empty() || query.dataset != Dataset::Logs {
        return Err(Problem::parameter("q", "takes a filter of logs only; use /api/v1/query for more"));
    }
    let filter = query.filter.and(filters(params)?);
    Ok(ScanRequest { tenant: query.tenant, dataset: Dataset::Logs, range: query.range, filter, fields: None })
}

/// The conditions of the other parameters.
fn filters(params: &LogParams) -> Result<Filter, Problem> {
    use heimdall_model::{Compare, Literal, Test};
    let mut filter = Filter::All;
    if let Some(service) = &params.service {
        filter = filter.and(Filter::field(logs::SERVICE, Test::Equals(Literal::new(service))));
    }
    if let Some(level) = &params.level {
        let level = Level::parse(level).ok_or_else(|| {
            Problem::parameter("level", "is none: trace, debug, info, warn, error or fatal")
        })?;
        let test = Test::Compare(Compare::GreaterOrEqual, Literal::new(level.as_str()));
        filter = filter.and(Filter::field(logs::LEVEL, test));
    }
    Ok(filter)
}

/// Records, and what is missing among them.
type Newest = (Vec<Map<String, Value>>, Vec<DamagedSegment>);

fn newest(
    store: &Arc<Store>,
    request: &ScanRequest,
    limit: usize,
    control: &Control,
) -> Result<Newest, ScanError> {
    let control = &Control { without_damaged: true, ..control.clone() };
    let (hits, stats) = store.search(request, Order::NewestFirst, limit, control)?;
    let records = hits
        .iter()
        .map(|hit| {
            let mut record = hit.block.to_json(hit.row);
            let template = template_of(store, &request.tenant, hit.block.int(logs::TEMPLATE_ID, hit.row));
            put_template(&mut record, template.as_deref());
            record
        })
        .collect();
    Ok((records, stats.missing))
}
