//! Queries that people keep under a name.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use heimdall_guard::Scope;
use heimdall_metastore::DocumentFilter;
use heimdall_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::AppState;
use crate::access::Access;
use crate::extract::{Document, Params, Segment, limit, short};
use crate::kept::{self, Keep, Kept, Wanted};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::{Deed, blocking, change};
use crate::wire::Page;

/// Characters of a name.
const NAME_CHARS_MAX: usize = 200;
/// Characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 2_000;
/// Bytes of a query: as much as SQL may have.
const QUERY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a view as JSON.
const VIEW_BYTES_MAX: usize = 16 * 1024;
/// Ways to ask.
const LANGUAGES: [&str; 3] = ["search", "sql", "ask"];

/// What somebody keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Content {
    name: String,
    description: String,
    language: String,
    query: String,
    from: Option<String>,
    to: Option<String>,
    view: Map<String, Value>,
}

impl Keep for Content {
    const KIND: &'static str = "saved_query";
    const NAME: &'static str = "saved query";
    const MAX: u64 = 5_000;
    const TOO_MANY: &'static str = "too_many_saved_queries";

    fn key(&self) -> String {
        self.name.clone()
    }
}

/// A query kept under a name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SavedQuery {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// What it is for.
    description: String,
    /// `search`, `sql` or `ask`.
    #[schema(example = "search")]
    language: String,
    /// The query.
    query: String,
    /// Start of its range of time, such as `now-1h`.
    from: Option<String>,
    /// End of its range of time.
    to: Option<String>,
    /// How the app shows the answer.
    #[schema(value_type = Object)]
    view: Map<String, Value>,
    /// Counts its changes, from 1.
    revision: u64,
    /// Who made it.
    created_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Who changed it last.
    updated_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Kept<Content>> for SavedQuery {
    fn from(kept: Kept<Content>) -> SavedQuery {
        let (created_at, updated_at) = (kept.created_at(), kept.updated_at());
        let updated_by = kept.updated_by().to_owned();
        let Content { name, description, language, query, from, to, view } = kept.content;
        SavedQuery {
            id: kept.id,
            name,
            description,
            language,
            query,
            from,
            to,
            view,
            revision: kept.revision,
            created_by: kept.created_by,
            created_at,
            updated_by,
            updated_at,
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedQueryParams {
    /// Only those with this in name, description or query, in any case.
    text: Option<String>,
    /// Queries at most; default 100, at most 1,000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Saved queries, changed last first.
#[utoipa::path(
    get, path = "/api/v1/saved-queries", tag = "saved queries",
    params(SavedQueryParams),
    responses((status = 200, description = "a page of queries", body = Page<SavedQuery>))
)]
pub(crate) async fn list_saved_queries(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<SavedQueryParams>,
) -> Result<Json<Page<SavedQuery>>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let after = kept::cursor(params.cursor.as_deref())?;
    let found = blocking(move || {
        let text = params.text.unwrap_or_default().trim().to_lowercase();
        let fits = |kept: &Kept<Content>| {
            let content = &kept.content;
            [&content.name, &content.description, &content.query]
                .iter()
                .any(|part| part.to_lowercase().contains(&text))
        };
        let filter = DocumentFilter { tenant: Some(tenant), ..DocumentFilter::default() };
        kept::list(&state, Wanted { filter, after, count: limit + 1, fits: &fits })
    });
    Ok(Json(kept::page(found.await??, limit)))
}

/// One saved query.
#[utoipa::path(
    get, path = "/api/v1/saved-queries/{id}", tag = "saved queries",
    params(("id" = String, Path, description = "id of the query")),
    responses(
        (status = 200, description = "the query", body = SavedQuery),
        (status = 404, description = "no such query", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn one_saved_query(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
) -> Result<Json<SavedQuery>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let kept: Kept<Content> = blocking(move || kept::find(&state, &tenant, &id)).await??;
    Ok(Json(kept.into()))
}

/// A query to be kept.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SavedQueryRequest {
    /// The revision it was changed from: to replace one.
    revision: Option<u64>,
    /// Its name.
    #[schema(required)]
    name: String,
    /// What it is for.
    description: String,
    /// `search` (default), `sql` or `ask`.
    language: Option<String>,
    /// The query.
    #[schema(required)]
    query: String,
    /// Start of its range of time.
    from: Option<String>,
    /// End of its range of time.
    to: Option<String>,
    /// How the app shows the answer; at most 16 KiB.
    #[schema(value_type = Object)]
    view: Map<String, Value>,
}

impl SavedQueryRequest {
    fn content(self, now: Timestamp) -> Result<Content, Problem> {
        let language = self.language.unwrap_or_else(|| LANGUAGES[0].to_owned());
        if !LANGUAGES.contains(&language.as_str()) {
            return Err(Problem::field("language", "must be `search`, `sql` or `ask`"));
        }
        if self.query.len() > QUERY_BYTES_MAX {
            return Err(Problem::field("query", format!("has more than {QUERY_BYTES_MAX} bytes")));
        }
        if serde_json::to_vec(&self.view).map_or(usize::MAX, |json| json.len()) > VIEW_BYTES_MAX {
            return Err(Problem::field("view", format!("has more than {VIEW_BYTES_MAX} bytes")));
        }
        Ok(Content {
            name: kept::words("name", &self.name, NAME_CHARS_MAX)?,
            description: kept::text("description", &self.description, DESCRIPTION_CHARS_MAX)?,
            language,
            query: self.query,
            from: time("from", self.from, now)?,
            to: time("to", self.to, now)?,
            view: self.view,
        })
    }
}

/// A time that is kept as it was written: `now-1h` means another one every time.
fn time(field: &'static str, text: Option<String>, now: Timestamp) -> Result<Option<String>, Problem> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    match Timestamp::parse_when(&text, now) {
        Some(_) => Ok(Some(text)),
        None => Err(Problem::field(field, format!("`{}` is no time, such as `now-1h`", short(&text)))),
    }
}

/// Keeps a new query.
#[utoipa::path(
    post, path = "/api/v1/saved-queries", tag = "saved queries",
    request_body(content = SavedQueryRequest),
    responses(
        (status = 201, description = "the query", body = SavedQuery),
        (status = 409, description = "there are too many", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "it cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn add_saved_query(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<SavedQueryRequest>,
) -> Result<(StatusCode, Json<SavedQuery>), Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    if request.revision.is_some() {
        return Err(Problem::field("revision", "is of a query to be replaced (`PUT`)"));
    }
    let content = request.content(state.clock.now())?;
    let id = kept::fresh_id();
    let deed = Deed::new("saved_query.add", &id, &tenant).with(content.name.clone());
    let kept =
        change(state, access, deed, move |state, by| kept::add(state, tenant, id, by, content)).await?;
    Ok((StatusCode::CREATED, Json(kept.into())))
}

/// Replaces a query. `revision` is the one it was changed from.
#[utoipa::path(
    put, path = "/api/v1/saved-queries/{id}", tag = "saved queries",
    params(("id" = String, Path, description = "id of the query")),
    request_body(content = SavedQueryRequest),
    responses(
        (status = 200, description = "the query", body = SavedQuery),
        (status = 404, description = "no such query", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`revision_conflict`: it was changed since", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "it cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn replace_saved_query(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
    Document(request): Document<SavedQueryRequest>,
) -> Result<Json<SavedQuery>, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let revision = request.revision.ok_or_else(|| Problem::field("revision", "is missing"))?;
    let content = request.content(state.clock.now())?;
    let deed = Deed::new("saved_query.change", &id, &tenant).with(content.name.clone());
    let replaced = change(state, access, deed, move |state, by| {
        kept::replace(state, &tenant, &id, revision, by, content)
    });
    Ok(Json(replaced.await?.into()))
}

/// Deletes a query.
#[utoipa::path(
    delete, path = "/api/v1/saved-queries/{id}", tag = "saved queries",
    params(("id" = String, Path, description = "id of the query")),
    responses(
        (status = 204, description = "it is gone"),
        (status = 404, description = "no such query", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_saved_query(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
) -> Result<StatusCode, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let deed = Deed::new("saved_query.delete", &id, &tenant);
    change(state, access, deed, move |state, _| kept::remove::<Content>(state, &tenant, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
