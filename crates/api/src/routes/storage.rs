//! What is stored where, and erasing records.

use std::ops::ControlFlow;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use heimdall_guard::{Outcome, Scope};
use heimdall_model::Filter;
use heimdall_query::{ParseContext, search};
use heimdall_store::{EraseReport, ScanError, ScanRequest, SegmentInfo};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Access;
use crate::extract::{Document, short, time_opt};
use crate::problem::{FieldError, Problem, ProblemDocument};
use crate::routes::{blocking, dataset};
use crate::wire::Page;
use crate::{AppState, error};

/// Longest wait until records in memory are in segments.
const WRITE_OUT_TIMEOUT: Duration = Duration::from_secs(120);

/// A segment: where it is and what is in it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SegmentView {
    /// `{id, name, tenant, dataset, tier, level, rows, bytes, sidecar_bytes, min, max, arrived}`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    segment: SegmentInfo,
}

/// The segments of the tenant, the newest first.
#[utoipa::path(
    get, path = "/api/v1/storage", tag = "storage",
    responses((status = 200, description = "the segments", body = Page<SegmentView>))
)]
pub(crate) async fn segments(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Page<SegmentView>>, Problem> {
    let tenant = access.require(Scope::Admin)?;
    let segments = state.store.segments(state.clock.now());
    let own = segments.into_iter().filter(|segment| segment.tenant == tenant);
    Ok(Json(Page::whole(own.map(|segment| SegmentView { segment }).collect())))
}

/// What shall be erased.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EraseRequest {
    /// The filter part of a search line, such as `user_id:42`. It must not be empty.
    #[serde(default)]
    filter: String,
    /// `logs` (default), `metrics` or `spans`.
    #[serde(default)]
    dataset: Option<String>,
    /// Event time at or after.
    #[serde(default)]
    from: Option<String>,
    /// Event time before.
    #[serde(default)]
    to: Option<String>,
    /// `true` (default) only says what would be erased.
    #[serde(default)]
    dry_run: Option<bool>,
}

/// What was erased, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EraseView {
    /// `{dry_run, segments: [{segment, tier, rows, erased}], erased, not_erased: [{file, detail, rows, min, max}], in_memory,
    /// remaining}`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    report: EraseReport,
}

/// Erases the records that pass a filter from every segment, wherever it is. Records in memory are written out before.
#[utoipa::path(
    post, path = "/api/v1/erase", tag = "storage", request_body = EraseRequest,
    responses(
        (status = 200, description = "what was erased, by segment, and how many pass the filter afterwards", body = EraseView),
        (status = 400, description = "the filter cannot be read", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn erase(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<EraseRequest>,
) -> Result<Json<EraseView>, Problem> {
    let tenant = access.require(Scope::Admin)?;
    let dry_run = request.dry_run.unwrap_or(true);
    let scan = scan_request(&state, tenant.clone(), &request)?;
    let filter = request.filter;
    let report = blocking(move || {
        if !dry_run && !state.writer.write_out(WRITE_OUT_TIMEOUT) {
            let detail = "records in memory could not be written out; nothing was erased";
            let after = Duration::from_secs(5);
            return Err(Problem::busy(StatusCode::SERVICE_UNAVAILABLE, "flush_timeout", detail, after));
        }
        let pace = || {
            if state.shutdown.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let outcome = state.store.erase(&scan, state.clock.now(), dry_run, &pace);
        if !dry_run {
            let told = |outcome, detail: &str| {
                let target = short(&filter);
                access.audit(&state, "records.erase", &target, Some(tenant), outcome, Some(detail));
            };
            match &outcome {
                Ok(report) => {
                    let left =
                        report.not_erased.iter().map(|damaged| damaged.file.as_str()).collect::<Vec<_>>();
                    let done = format!("{} records of {} segments", report.erased, report.segments.len());
                    match left.as_slice() {
                        [] => told(Outcome::Done, &done),
                        left => {
                            let left = left.join(", ");
                            told(Outcome::Failed, &format!("{done}; not those of damaged segments: {left}"));
                        }
                    }
                }
                Err(error) => told(Outcome::Failed, &error.to_string()),
            }
        }
        outcome.map_err(|error: ScanError| error::scan(&error))
    });
    Ok(Json(EraseView { report: report.await?? }))
}

fn scan_request(
    state: &AppState,
    tenant: heimdall_model::Tenant,
    request: &EraseRequest,
) -> Result<ScanRequest, Problem> {
    let now = state.clock.now();
    let mut context = ParseContext::new(tenant, dataset(request.dataset.as_deref())?, now);
    context.from = time_opt("from", request.from.as_deref(), now)?;
    context.to = time_opt("to", request.to.as_deref(), now)?;
    let query = search::parse(&request.filter, &context).map_err(|error| error::parse(&error))?;
    let fault = |reason: &str| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_erase_request", format!("`filter`: {reason}"))
            .with_errors(vec![FieldError::of("filter", reason.to_owned())])
    };
    if !query.pipeline.is_empty() {
        return Err(fault("is a filter only, without pipes"));
    }
    if query.filter == Filter::All {
        return Err(fault("names no records; erasing all of a tenant is not meant by it"));
    }
    let (dataset, range) = (query.dataset, query.range);
    Ok(ScanRequest { tenant: query.tenant, dataset, range, filter: query.filter, fields: Some(Vec::new()) })
}
