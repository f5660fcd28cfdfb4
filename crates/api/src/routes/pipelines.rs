//! Pipelines: which there are, and one tried out on records.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heimdall_guard::Scope;
use heimdall_ingest::BodyFormat;
use heimdall_ingest::pipeline::{Origin, trial};
use heimdall_model::Dataset;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::access::Access;
use crate::extract::Document;
use crate::problem::{Problem, ProblemDocument};
use crate::routes::blocking;
use crate::{AppState, error};

/// A trial: its text and records are small.
const TRIAL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A pipeline to try out, and on what.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TrialRequest {
    /// The pipeline, as a file has it. Either this or `name`.
    yaml: Option<String>,
    /// One of the server's pipelines.
    name: Option<String>,
    /// The body a sender would send; at most 1,000 records are tried.
    input: String,
    /// Its format, as of the ingest path. Default `auto`.
    format: Option<String>,
    /// `logs` (default), `metrics` or `spans`.
    dataset: Option<String>,
    /// The door it would come through. Default `http`.
    door: Option<String>,
    /// The service of records that name none.
    service: Option<String>,
}

/// The pipelines of the server, and files that do not load.
#[utoipa::path(
    get, path = "/api/v1/pipelines", tag = "ingest",
    responses((status = 200, description = "`items`: name, description, file, enabled, order, steps; `faults`: file, line, column, detail", body = Object))
)]
pub(crate) async fn list_pipelines(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Value>, Problem> {
    access.require(Scope::Read)?;
    let set = state.intake.pipelines().current();
    let view = |pipeline: &Arc<heimdall_ingest::pipeline::Pipeline>| {
        json!({
            "name": pipeline.name, "description": pipeline.description, "file": pipeline.origin,
            "enabled": pipeline.enabled, "order": pipeline.order, "steps": pipeline.step_count(),
        })
    };
    Ok(Json(json!({"items": set.all().map(view).collect::<Vec<_>>(), "faults": set.faults()})))
}

/// Tries a pipeline out: each record before and after, and what each step did. Nothing is kept.
#[utoipa::path(
    post, path = "/api/v1/pipelines/test", tag = "ingest", request_body = TrialRequest,
    responses(
        (status = 200, description = "`items`: before, after, outcome, reason, steps", body = Object),
        (status = 422, description = "the pipeline does not load", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn test_pipeline(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<TrialRequest, TRIAL_BYTES_MAX>,
) -> Result<Json<Value>, Problem> {
    let tenant = access.require(Scope::Admin)?;
    let dataset = request.dataset.as_deref().unwrap_or("logs");
    let dataset =
        Dataset::parse(dataset).ok_or_else(|| Problem::field("dataset", "must be logs, metrics or spans"))?;
    let format = request.format.as_deref().unwrap_or("auto");
    let format = BodyFormat::from_name(format)
        .ok_or_else(|| Problem::field("format", "must be json, syslog, combined, logfmt, text or auto"))?;
    let now = state.clock.now();
    let tried = blocking(move || {
        let live = state.intake.pipelines();
        let (set, name) = match (&request.yaml, &request.name) {
            (Some(yaml), None) => {
                let fault = |fault: heimdall_ingest::pipeline::Fault| {
                    let place = json!({"line": fault.line, "column": fault.column});
                    Problem::field("yaml", fault.detail).with_member("place", place)
                };
                let pipeline = live.load("pipeline", yaml).map_err(fault)?;
                let name = pipeline.name.clone();
                (Arc::new(live.with(pipeline).map_err(fault)?), name)
            }
            (None, Some(name)) => (live.current(), name.clone()),
            _ => return Err(Problem::field("yaml", "either `yaml` or `name` is needed")),
        };
        let pipeline = set.get(&name).ok_or_else(|| Problem::not_found("pipeline", &name))?;
        let records =
            trial::records(format, request.input.as_bytes(), now).map_err(|error| error::body(&error))?;
        let door = request.door.as_deref().unwrap_or("http");
        let origin = Origin { door, tenant: &tenant, service: request.service.as_deref() };
        Ok(trial::run(&set, pipeline, origin, dataset, &records, now))
    });
    Ok(Json(json!({ "items": tried.await?? })))
}
