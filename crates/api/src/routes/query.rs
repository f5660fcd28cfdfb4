//! `GET|POST /api/v1/query`: a question in, an answer or its plan out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use heimdall_guard::Scope;
use heimdall_model::Tenant;
use heimdall_model::time::parse_duration;
use heimdall_query::{Answer, ParseContext, Query, RunLimits, TimeRange, search};
use heimdall_sql::{RowSource, SqlRequest, formats};
use heimdall_store::Control;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Access;
use crate::extract::{Document, Params, limit, short, time_opt};
use crate::limits::QUERY_ROWS_MAX;
use crate::problem::{Problem, ProblemDocument};
use crate::routes::explore::ask;
use crate::routes::explore::pages::{Pager, QueryCursor};
use crate::routes::explore::shapes::{AnswerColumn, AnswerStatistics, CompiledQuestion, QueryReply};
use crate::routes::{dataset, in_turn, progressive};
use crate::tables::{AlertTable, AuditTable};
use crate::{AppState, error};

/// Shortest time a query is given.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// A question.
#[derive(Debug, Default, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryRequest {
    /// The question, such as `service:payment level>=error | stats count() by service`.
    #[serde(default)]
    query: String,
    /// `search` (default), `sql`, or `ask` for a question in plain words.
    #[serde(default)]
    language: Option<String>,
    /// `logs` (default), `metrics` or `spans`; the line may name another.
    #[serde(default)]
    dataset: Option<String>,
    /// Event time at or after: RFC 3339, epoch s/ms/µs/ns, or `now-15m`.
    #[serde(default)]
    from: Option<String>,
    /// Event time before.
    #[serde(default)]
    to: Option<String>,
    /// Rows at most; default 100 records, 10,000 groups. Of a list of records: rows of a page.
    #[serde(default)]
    limit: Option<usize>,
    /// `stats.next` of an answer: the next page of the same list of records. The other parameters stay as they were; what
    /// `now` means is kept.
    #[serde(default)]
    cursor: Option<String>,
    /// Time zone of times and days in a question in plain words, such as `Europe/Berlin`; default UTC.
    #[serde(default)]
    zone: Option<String>,
    /// Answer the plan instead of running it.
    #[serde(default)]
    explain: Option<bool>,
    /// Run time at most, such as `5s`; the server's own limit is the longest.
    #[serde(default)]
    timeout: Option<String>,
    /// Send rows while they are found and how far the query is, as lines of JSON; `search` only.
    #[serde(default)]
    stream: Option<bool>,
    /// `false` computes the answer anew instead of giving a kept one that is still right.
    #[serde(default)]
    cache: Option<bool>,
}

/// An answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Answer)]
pub(crate) struct AnswerView<'a> {
    /// The columns, in the order of each row's values.
    #[schema(value_type = Vec<AnswerColumn>)]
    columns: &'a [heimdall_query::Column],
    /// The rows.
    #[schema(value_type = Vec<Vec<serde_json::Value>>)]
    rows: &'a [Vec<heimdall_model::Value>],
    /// How they were found, whether something is missing, warnings.
    #[schema(value_type = AnswerStatistics)]
    stats: &'a heimdall_query::AnswerStats,
    /// What the question was understood as; only for questions in plain words.
    #[serde(skip_serializing_if = "Option::is_none")]
    compiled: Option<&'a CompiledQuestion>,
}

/// Answers a question given in the URL.
#[utoipa::path(
    get, path = "/api/v1/query", tag = "query", params(QueryRequest),
    responses(
        (status = 200, description = "the answer, or with `explain` its plan; NDJSON, CSV, an Arrow stream or a Parquet file by `Accept`: `application/x-ndjson`, `text/csv`, `application/vnd.apache.arrow.stream`, `application/vnd.apache.parquet`", body = inline(QueryReply)),
        (status = 400, description = "the question cannot be read: `column`, `length`, `hint`; `not_understood` for one in plain words: `understood`, `unclear`, `suggestions`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    access: Access,
    headers: HeaderMap,
    Params(request): Params<QueryRequest>,
) -> Result<Response, Problem> {
    answer(&state, &access, &headers, &request).await
}

/// Answers a question given as a document.
#[utoipa::path(
    post, path = "/api/v1/query", tag = "query", request_body = QueryRequest,
    responses(
        (status = 200, description = "the answer, or with `explain` its plan; NDJSON, CSV, an Arrow stream or a Parquet file by `Accept`: `application/x-ndjson`, `text/csv`, `application/vnd.apache.arrow.stream`, `application/vnd.apache.parquet`", body = inline(QueryReply)),
        (status = 400, description = "the question cannot be read: `column`, `length`, `hint`; `not_understood` for one in plain words: `understood`, `unclear`, `suggestions`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post(
    State(state): State<AppState>,
    access: Access,
    headers: HeaderMap,
    Document(request): Document<QueryRequest>,
) -> Result<Response, Problem> {
    answer(&state, &access, &headers, &request).await
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
    Parquet,
}

impl Format {
    fn negotiate(headers: &HeaderMap) -> Result<Format, Problem> {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
        let kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let formats = kinds.filter_map(|kind| match kind {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Format::Ndjson),
            "text/csv" => Some(Format::Csv),
            "application/vnd.apache.arrow.stream" => Some(Format::Arrow),
            "application/vnd.apache.parquet" => Some(Format::Parquet),
            "application/json" | "application/*" | "*/*" | "" => Some(Format::Json),
            _ => None,
        });
        formats.into_iter().next().ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_ACCEPTABLE,
                "not_acceptable",
                "answers are `application/json`, `application/x-ndjson`, `text/csv`, \
                 `application/vnd.apache.arrow.stream` or `application/vnd.apache.parquet`",
            )
        })
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Arrow => "application/vnd.apache.arrow.stream",
            Format::Parquet => "application/vnd.apache.parquet",
        })
    }

    fn write(self, answer: &Answer, compiled: Option<&CompiledQuestion>) -> Vec<u8> {
        let mut out = Vec::new();
        let Answer { columns, rows, stats } = answer;
        match self {
            Format::Json => serde_json::to_writer(&mut out, &AnswerView { columns, rows, stats, compiled })
                .expect("plain data serialises into memory"),
            Format::Ndjson => answer.write_ndjson(&mut out).expect("memory takes every byte"),
            Format::Csv => formats::write_csv(answer, &mut out).expect("memory takes every byte"),
            Format::Arrow => formats::write_arrow(answer, &mut out).expect("memory takes every byte"),
            Format::Parquet => formats::write_parquet(answer, &mut out).expect("memory takes every byte"),
        }
        out
    }
}

async fn answer(
    state: &AppState,
    access: &Access,
    headers: &HeaderMap,
    request: &QueryRequest,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::Read)?;
    let language = language(request.language.as_deref())?;
    let format = Format::negotiate(headers)?;
    let limits = run_limits(state, request.limit)?;
    let timeout = timeout(state, request.timeout.as_deref())?;
    let explain = request.explain.unwrap_or(false);
    let cache = request.cache.unwrap_or(true);
    let written = match language {
        Language::Search | Language::Ask => {
            let Question { query, pager, compiled } = parse(state, tenant, request).await?;
            if request.stream.unwrap_or(false) && !explain {
                return Ok(progressive::answer(state, query, (pager, compiled), limits, timeout));
            }
            let engine = state.engine.clone();
            let written = in_turn(state, timeout, move |control: &Control| {
                if explain {
                    return engine.explain(&query, limits).map(|plan| {
                        let compiled = compiled.as_ref();
                        document(&Explained { plan: &plan, compiled })
                    });
                }
                let answer = if cache {
                    engine.answer(&query, control, limits)
                } else {
                    engine.run(&query, control, limits)
                };
                answer.map(|mut answer| {
                    pager.mark(&mut answer.stats);
                    Written::new(format, &answer, compiled.as_ref())
                })
            });
            written.await?.map_err(|error| error::query(&error))?
        }
        Language::Sql => {
            if request.cursor.is_some() {
                return Err(Problem::parameter("cursor", "goes with `search` and `ask` only"));
            }
            let asked = sql_request(state, access, tenant, request)?;
            let sql = Arc::clone(&state.sql);
            let written = in_turn(state, timeout, move |control: &Control| {
                if explain {
                    return sql.explain(&asked, limits).map(|plan| document(&plan));
                }
                sql.run(&asked, control, limits).map(|answer| Written::new(format, &answer, None))
            });
            written.await?.map_err(|error| error::sql(&error))?
        }
    };
    Ok(written.into_response())
}

/// A plan as it is sent.
fn document(plan: &impl Serialize) -> Written {
    let body = serde_json::to_vec(plan).expect("plain data serialises");
    Written { format: Format::Json, body, partial: false, next: None }
}

/// An answer as it is sent.
struct Written {
    format: Format,
    body: Vec<u8>,
    partial: bool,
    next: Option<String>,
}

impl Written {
    fn new(format: Format, answer: &Answer, compiled: Option<&CompiledQuestion>) -> Written {
        let (partial, next) = (answer.stats.partial, answer.stats.next.clone());
        Written { format, body: format.write(answer, compiled), partial, next }
    }
}

impl IntoResponse for Written {
    /// CSV and NDJSON have no place of their own for what the statistics say.
    fn into_response(self) -> Response {
        let mut response = ([(header::CONTENT_TYPE, self.format.content_type())], self.body).into_response();
        if self.partial {
            response.headers_mut().insert("heimdall-partial", HeaderValue::from_static("true"));
        }
        if let Some(next) = self.next.and_then(|next| HeaderValue::try_from(next).ok()) {
            response.headers_mut().insert("heimdall-next", next);
        }
        response
    }
}

/// A question, and what its next page begins with.
struct Question {
    query: Query,
    pager: Pager,
    /// What a question in plain words was understood as.
    compiled: Option<CompiledQuestion>,
}

/// A plan, with what the question was understood as.
#[derive(Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    plan: &'a heimdall_query::Explain,
    #[serde(skip_serializing_if = "Option::is_none")]
    compiled: Option<&'a CompiledQuestion>,
}

/// What a question is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Search,
    Sql,
    Ask,
}

fn language(name: Option<&str>) -> Result<Language, Problem> {
    match name {
        None | Some("" | "search") => Ok(Language::Search),
        Some("sql") => Ok(Language::Sql),
        Some("ask") => Ok(Language::Ask),
        Some(language) => {
            Err(Problem::parameter("language", format!("`{}` is none: search, sql or ask", short(language))))
        }
    }
}

/// A statement with the tables the principal may read: the audit trail is for administrators.
fn sql_request(
    state: &AppState,
    access: &Access,
    tenant: Tenant,
    request: &QueryRequest,
) -> Result<SqlRequest, Problem> {
    let now = state.clock.now();
    let all = TimeRange::ALL;
    let range = TimeRange {
        from: time_opt("from", request.from.as_deref(), now)?.unwrap_or(all.from),
        to: time_opt("to", request.to.as_deref(), now)?.unwrap_or(all.to),
    };
    let mut sources: Vec<Arc<dyn RowSource>> = vec![Arc::new(AlertTable(Arc::clone(&state.alerts)))];
    if access.require(Scope::Admin).is_ok() {
        let (trail, tenant) = (Arc::clone(&state.audit), access.bound_tenant().cloned());
        sources.push(Arc::new(AuditTable { trail, tenant }));
    }
    let cache = request.cache.unwrap_or(true);
    Ok(SqlRequest { sql: request.query.clone(), tenant, range, sources, cache })
}

async fn parse(state: &AppState, tenant: Tenant, request: &QueryRequest) -> Result<Question, Problem> {
    let cursor = request.cursor.as_deref().map(QueryCursor::parse).transpose()?;
    let now = cursor.map_or_else(|| state.clock.now(), |cursor| cursor.now);
    let mut context = ParseContext::new(tenant, dataset(request.dataset.as_deref())?, now);
    context.from = time_opt("from", request.from.as_deref(), now)?;
    context.to = time_opt("to", request.to.as_deref(), now)?;
    let compiled = match language(request.language.as_deref())? {
        Language::Ask => {
            let zone = request.zone.as_deref().unwrap_or_default();
            Some(ask::understand(state, &request.query, zone, &mut context).await?)
        }
        Language::Search | Language::Sql => None,
    };
    let line = compiled.as_ref().map_or(request.query.as_str(), |compiled| &compiled.query);
    let mut query = search::parse(line, &context).map_err(|error| error::parse(&error))?;
    let pager = Pager::new(&query, now);
    if let Some(cursor) = cursor {
        cursor.turn(&mut query)?;
    }
    Ok(Question { query, pager, compiled })
}

/// The limits of one answer: those of the server, narrowed or widened by `limit`.
fn run_limits(state: &AppState, given: Option<usize>) -> Result<RunLimits, Problem> {
    let defaults = state.run_limits;
    let Some(_) = given else { return Ok(defaults) };
    let rows = limit(given, defaults.rows_default, QUERY_ROWS_MAX)?;
    Ok(RunLimits { rows_default: rows, rows_max: rows, ..defaults })
}

fn timeout(state: &AppState, text: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(state.limits.query_timeout) };
    let ns = parse_duration(text).and_then(|ns| u64::try_from(ns).ok());
    let ns = ns.ok_or_else(|| Problem::parameter("timeout", "is not a duration such as `5s`"))?;
    Ok(Duration::from_nanos(ns).clamp(TIMEOUT_MIN, state.limits.query_timeout))
}
