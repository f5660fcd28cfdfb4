//! Dead letters: records that were rejected or kept aside, to be looked at, tried again, or removed.
//!
//! Their text is the record as it came, personal data included: it is read with the scope `read`, like records, and only by their
//! tenant; trying again and removing need `admin`, and are in the audit trail.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heimdall_guard::{Outcome as Told, Scope};
use heimdall_ingest::dead::{DeadLetters, LetterFilter, Outcome};
use heimdall_model::{Dataset, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::AppState;
use crate::access::Access;
use crate::extract::{Document, Params, Segment, limit, time_opt};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::blocking;

/// Letters tried again in one request.
const REPLAY_MAX: usize = 1_000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LetterParams {
    /// The door they came through, such as `http`.
    door: Option<String>,
    /// `logs`, `metrics` or `spans`.
    dataset: Option<String>,
    /// The receipt of their batch.
    receipt: Option<Uuid>,
    /// `rejected` or `quarantined`.
    outcome: Option<String>,
    /// The field at fault.
    field: Option<String>,
    /// From this arrival on (RFC 3339, epoch, or now-15m).
    from: Option<String>,
    /// Before this arrival.
    to: Option<String>,
    /// Letters at most; default 100.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// For DELETE: all of them, when nothing else is given.
    #[serde(default)]
    all: bool,
}

/// Which letters to try again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReplayRequest {
    /// These; then the other conditions do not count.
    ids: Vec<Uuid>,
    /// The door they came through.
    door: Option<String>,
    /// `logs`, `metrics` or `spans`.
    dataset: Option<String>,
    /// The receipt of their batch.
    receipt: Option<Uuid>,
    /// `rejected` or `quarantined`.
    outcome: Option<String>,
    /// The field at fault.
    field: Option<String>,
    /// From this arrival on.
    from: Option<String>,
    /// Before this arrival.
    to: Option<String>,
    /// All of them, when nothing else is given.
    all: bool,
    /// The pipeline they go through, whatever it says of those it is for; else those of their door.
    pipeline: Option<String>,
    /// `next` of the answer before: on with the letters older than those.
    cursor: Option<String>,
}

impl LetterParams {
    fn filter(&self, now: Timestamp) -> Result<LetterFilter, Problem> {
        let dataset = self.dataset.as_deref().map(|name| Dataset::parse(name).ok_or(()));
        let outcome = self.outcome.as_deref().map(|name| match name {
            "rejected" => Ok(Outcome::Rejected),
            "quarantined" => Ok(Outcome::Quarantined),
            _ => Err(Problem::parameter("outcome", "must be rejected or quarantined")),
        });
        Ok(LetterFilter {
            door: self.door.clone(),
            dataset: dataset
                .transpose()
                .map_err(|()| Problem::parameter("dataset", "must be logs, metrics or spans"))?,
            receipt: self.receipt,
            outcome: outcome.transpose()?,
            field: self.field.clone(),
            from: time_opt("from", self.from.as_deref(), now)?,
            to: time_opt("to", self.to.as_deref(), now)?,
        })
    }

    fn before(&self) -> Result<Option<u64>, Problem> {
        let cursor = self.cursor.as_deref().map(str::parse).transpose();
        cursor.map_err(|_| Problem::parameter("cursor", "is none of this list"))
    }
}

fn store(state: &AppState) -> Result<Arc<DeadLetters>, Problem> {
    let store = state.intake.dead_letters();
    store.cloned().ok_or_else(|| Problem::not_found("store", "dead-letters"))
}

/// Some may be meant only when something says which.
fn check_meant(filter: &LetterFilter, all: bool) -> Result<(), Problem> {
    if *filter == LetterFilter::default() && !all {
        return Err(Problem::bad_request(
            "nothing_chosen",
            "say which dead letters: by a condition, or `all`",
        ));
    }
    Ok(())
}

/// Records that were rejected or kept aside, newest first, without their text.
#[utoipa::path(
    get, path = "/api/v1/dead-letters", tag = "ingest", params(LetterParams),
    responses((status = 200, description = "a page of dead letters", body = Object))
)]
pub(crate) async fn list_dead_letters(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<LetterParams>,
) -> Result<Json<Value>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let page = store(&state)?.page(&tenant, &params.filter(state.clock.now())?, limit, params.before()?);
    Ok(Json(json!({"items": page.items, "next": page.next.map(|next| next.to_string())})))
}

/// One dead letter with its text.
#[utoipa::path(
    get, path = "/api/v1/dead-letters/{id}", tag = "ingest",
    params(("id" = Uuid, Path, description = "`id` of the list")),
    responses(
        (status = 200, description = "the letter; `raw` is the record as it came", body = Object),
        (status = 404, description = "not kept", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn one_dead_letter(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<Uuid>,
) -> Result<Json<Value>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let store = store(&state)?;
    let found = blocking(move || store.get(&tenant, id)).await?.map_err(|error| Problem::internal(&error))?;
    let letter = found.ok_or_else(|| Problem::not_found("dead letter", id))?;
    Ok(Json(serde_json::to_value(letter).expect("plain data serialises")))
}

/// Tries dead letters again. Those taken are removed; none is ever written twice.
#[utoipa::path(
    post, path = "/api/v1/dead-letters/replay", tag = "ingest", request_body = ReplayRequest,
    responses((status = 200, description = "what became of them: `accepted`, `deduplicated`, `dropped`, `removed`, `failed`; `next` when there are more", body = Object))
)]
pub(crate) async fn replay_dead_letters(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<ReplayRequest>,
) -> Result<Json<Value>, Problem> {
    let tenant = access.require(Scope::Admin)?;
    if request.ids.len() > REPLAY_MAX {
        return Err(Problem::field("ids", format!("at most {REPLAY_MAX}")));
    }
    let (ids, next) = if request.ids.is_empty() {
        let params = LetterParams {
            door: request.door,
            dataset: request.dataset,
            receipt: request.receipt,
            outcome: request.outcome,
            field: request.field,
            from: request.from,
            to: request.to,
            cursor: request.cursor,
            ..LetterParams::default()
        };
        let filter = params.filter(state.clock.now())?;
        check_meant(&filter, request.all)?;
        let page = store(&state)?.page(&tenant, &filter, REPLAY_MAX, params.before()?);
        (page.items.iter().map(|letter| letter.id).collect(), page.next)
    } else {
        (request.ids, None)
    };
    let caller = access.caller(tenant.clone());
    let replayed = state.intake.replay(&caller, &ids, request.pipeline.as_deref(), &state.decode).await;
    let replayed = replayed.map_err(|reason| Problem::field("pipeline", reason))?;
    let detail = format!(
        "{} tried, {} accepted, {} failed",
        ids.len(),
        replayed.accepted + replayed.deduplicated,
        replayed.failed.len()
    );
    let kept = state.clone();
    blocking(move || {
        access.audit(&kept, "dead_letters.replay", "dead-letters", Some(tenant), Told::Done, Some(&detail));
    })
    .await?;
    let mut answer = serde_json::to_value(replayed).expect("plain data serialises");
    answer["next"] = json!(next.map(|next| next.to_string()));
    Ok(Json(answer))
}

/// Removes dead letters from disk.
#[utoipa::path(
    delete, path = "/api/v1/dead-letters", tag = "ingest", params(LetterParams),
    responses((status = 200, description = "`removed`: how many", body = Object))
)]
pub(crate) async fn purge_dead_letters(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<LetterParams>,
) -> Result<Json<Value>, Problem> {
    let tenant = access.require(Scope::Admin)?;
    let filter = params.filter(state.clock.now())?;
    check_meant(&filter, params.all)?;
    let store = store(&state)?;
    let removed = blocking(move || {
        let mut removed = 0;
        loop {
            let page = store.page(&tenant, &filter, PAGE_ITEMS_MAX, None);
            let ids: Vec<Uuid> = page.items.iter().map(|letter| letter.id).collect();
            if ids.is_empty() {
                break;
            }
            match store.remove(&tenant, &ids) {
                Ok(0) => break,
                Ok(count) => removed += count,
                Err(error) => {
                    let detail = error.to_string();
                    access.audit(
                        &state,
                        "dead_letters.purge",
                        "dead-letters",
                        Some(tenant),
                        Told::Failed,
                        Some(&detail),
                    );
                    return Err(error);
                }
            }
        }
        let detail = format!("{removed} removed");
        access.audit(&state, "dead_letters.purge", "dead-letters", Some(tenant), Told::Done, Some(&detail));
        Ok(removed)
    });
    let removed = removed.await?.map_err(|error| Problem::internal(&error))?;
    Ok(Json(json!({ "removed": removed })))
}
