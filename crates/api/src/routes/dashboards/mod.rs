//! Dashboards: kept for a tenant, with revisions; two that every tenant has.
//!
//! Not here: what a panel asks and how it is drawn (the app's, which asks the query API).

mod built_in;
mod spec;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use heimdall_guard::Scope;
use heimdall_metastore::DocumentFilter;
use heimdall_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::AppState;
use crate::access::Access;
use crate::extract::{Document, Params, Segment, limit};
use crate::kept::{self, Keep, Kept, Wanted};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::{Deed, blocking, change};
use crate::wire::Page;

use spec::DashboardSpec;

/// Characters of a title.
const TITLE_CHARS_MAX: usize = 200;
/// Characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 2_000;
/// Characters of a folder's name.
const FOLDER_CHARS_MAX: usize = 100;
/// Bytes of a request: a spec, and what is said of it.
const REQUEST_BYTES_MAX: usize = spec::SPEC_BYTES_MAX + 64 * 1024;

/// What somebody says of a dashboard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Content {
    title: String,
    description: String,
    tags: Vec<String>,
    folder: String,
    spec: Value,
}

impl Keep for Content {
    const KIND: &'static str = "dashboard";
    const NAME: &'static str = "dashboard";
    const MAX: u64 = 1_000;
    const TOO_MANY: &'static str = "too_many_dashboards";
}

/// A dashboard.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Dashboard {
    /// What is said of it.
    #[serde(flatten)]
    about: DashboardSummary,
    /// Panels, where they stand, variables, time range.
    #[schema(value_type = DashboardSpec)]
    spec: Value,
}

/// What is said of a dashboard.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DashboardSummary {
    /// Its id: a UUID, or the name of a built-in one.
    id: String,
    /// Its title.
    title: String,
    /// What it is for.
    description: String,
    /// Words to find it by.
    tags: Vec<String>,
    /// Where it is filed; empty: nowhere.
    folder: String,
    /// Whether it ships with Heimdall: it can be copied, not changed.
    built_in: bool,
    /// Counts its changes, from 1.
    revision: u64,
    /// Panels it has.
    panels: usize,
    /// Who made it.
    created_by: String,
    /// When; null for a built-in one.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// Who changed it last.
    updated_by: String,
    /// When; null for a built-in one.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
}

impl DashboardSummary {
    fn of(kept: &Kept<Content>) -> DashboardSummary {
        let content = &kept.content;
        let is_built_in = built_in::is_one(&kept.id);
        DashboardSummary {
            id: kept.id.clone(),
            title: content.title.clone(),
            description: content.description.clone(),
            tags: content.tags.clone(),
            folder: content.folder.clone(),
            built_in: is_built_in,
            revision: kept.revision,
            panels: content.spec.get("panels").and_then(Value::as_array).map_or(0, Vec::len),
            created_by: kept.created_by.clone(),
            created_at: (!is_built_in).then(|| kept.created_at()),
            updated_by: kept.updated_by().to_owned(),
            updated_at: (!is_built_in).then(|| kept.updated_at()),
        }
    }
}

impl From<Kept<Content>> for Dashboard {
    fn from(kept: Kept<Content>) -> Dashboard {
        Dashboard { about: DashboardSummary::of(&kept), spec: kept.content.spec }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DashboardParams {
    /// Only those with this in title, description or tags, in any case.
    text: Option<String>,
    /// Only those with exactly this tag.
    tag: Option<String>,
    /// Only those filed here.
    folder: Option<String>,
    /// Dashboards at most; default 100, at most 1,000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl DashboardParams {
    fn fit(&self, content: &Content) -> bool {
        let has = |text: &str, part: &str| text.to_lowercase().contains(part);
        let text = self.text.as_deref().map(|text| text.trim().to_lowercase()).unwrap_or_default();
        let says = || {
            has(&content.title, &text)
                || has(&content.description, &text)
                || content.tags.iter().any(|tag| has(tag, &text))
        };
        self.tag.as_ref().is_none_or(|tag| content.tags.contains(tag))
            && self.folder.as_ref().is_none_or(|folder| content.folder == *folder)
            && (text.is_empty() || says())
    }
}

/// Dashboards, changed last first, those that ship with Heimdall at the end; without their specs.
#[utoipa::path(
    get, path = "/api/v1/dashboards", tag = "dashboards",
    params(DashboardParams),
    responses((status = 200, description = "a page of dashboards", body = Page<DashboardSummary>))
)]
pub(crate) async fn list_dashboards(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<DashboardParams>,
) -> Result<Json<Page<DashboardSummary>>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let after = kept::cursor(params.cursor.as_deref())?;
    let found = blocking(move || {
        let fits = |kept: &Kept<Content>| params.fit(&kept.content);
        let filter = DocumentFilter { tenant: Some(tenant), ..DocumentFilter::default() };
        let wanted = Wanted { filter, after: after.clone(), count: limit + 1, fits: &fits };
        let mut found = kept::list(&state, wanted)?;
        let built_in = built_in::after(after.as_ref()).filter(|kept| fits(kept));
        found.extend(built_in);
        Ok(found)
    });
    let mut found: Vec<Kept<Content>> = found.await??;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|last| last.cursor().to_string());
    Ok(Json(Page { items: found.iter().map(DashboardSummary::of).collect(), next }))
}

/// One dashboard.
#[utoipa::path(
    get, path = "/api/v1/dashboards/{id}", tag = "dashboards",
    params(("id" = String, Path, description = "id of the dashboard")),
    responses(
        (status = 200, description = "the dashboard", body = Dashboard),
        (status = 404, description = "no such dashboard", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn one_dashboard(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
) -> Result<Json<Dashboard>, Problem> {
    let tenant = access.require(Scope::Read)?;
    if let Some(kept) = built_in::find(&id) {
        return Ok(Json(kept.into()));
    }
    let kept: Kept<Content> = blocking(move || kept::find(&state, &tenant, &id)).await??;
    Ok(Json(kept.into()))
}

/// A dashboard to be kept.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DashboardRequest {
    /// The revision it was changed from: to replace one.
    revision: Option<u64>,
    /// Its title.
    #[schema(required)]
    title: String,
    /// What it is for.
    description: String,
    /// Words to find it by.
    tags: Vec<String>,
    /// Where to file it.
    folder: String,
    /// Panels, where they stand, variables, time range; at most 256 KiB.
    #[schema(value_type = DashboardSpec, required)]
    spec: Value,
}

impl DashboardRequest {
    fn content(self, now: Timestamp) -> Result<Content, Problem> {
        spec::check(&self.spec, now)?;
        Ok(Content {
            title: kept::words("title", &self.title, TITLE_CHARS_MAX)?,
            description: kept::text("description", &self.description, DESCRIPTION_CHARS_MAX)?,
            tags: kept::tags(&self.tags)?,
            folder: kept::text("folder", &self.folder, FOLDER_CHARS_MAX)?,
            spec: self.spec,
        })
    }
}

/// Keeps a new dashboard.
#[utoipa::path(
    post, path = "/api/v1/dashboards", tag = "dashboards",
    request_body(content = DashboardRequest),
    responses(
        (status = 201, description = "the dashboard", body = Dashboard),
        (status = 409, description = "there are too many", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "it cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn add_dashboard(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<DashboardRequest, REQUEST_BYTES_MAX>,
) -> Result<(StatusCode, Json<Dashboard>), Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    if request.revision.is_some() {
        return Err(Problem::field("revision", "is of a dashboard to be replaced (`PUT`)"));
    }
    let content = request.content(state.clock.now())?;
    let id = kept::fresh_id();
    let deed = Deed::new("dashboard.add", &id, &tenant).with(content.title.clone());
    let kept =
        change(state, access, deed, move |state, by| kept::add(state, tenant, id, by, content)).await?;
    Ok((StatusCode::CREATED, Json(kept.into())))
}

/// Replaces a dashboard. `revision` is the one it was changed from.
#[utoipa::path(
    put, path = "/api/v1/dashboards/{id}", tag = "dashboards",
    params(("id" = String, Path, description = "id of the dashboard")),
    request_body(content = DashboardRequest),
    responses(
        (status = 200, description = "the dashboard", body = Dashboard),
        (status = 404, description = "no such dashboard", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`revision_conflict`: it was changed since; `built_in`: it ships with Heimdall", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "it cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn replace_dashboard(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
    Document(request): Document<DashboardRequest, REQUEST_BYTES_MAX>,
) -> Result<Json<Dashboard>, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    built_in::refuse(&id)?;
    let revision = request.revision.ok_or_else(|| Problem::field("revision", "is missing"))?;
    let content = request.content(state.clock.now())?;
    let deed = Deed::new("dashboard.change", &id, &tenant).with(content.title.clone());
    let replaced = change(state, access, deed, move |state, by| {
        kept::replace(state, &tenant, &id, revision, by, content)
    });
    Ok(Json(replaced.await?.into()))
}

/// Deletes a dashboard.
#[utoipa::path(
    delete, path = "/api/v1/dashboards/{id}", tag = "dashboards",
    params(("id" = String, Path, description = "id of the dashboard")),
    responses(
        (status = 204, description = "it is gone"),
        (status = 404, description = "no such dashboard", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`built_in`: it ships with Heimdall", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_dashboard(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
) -> Result<StatusCode, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    built_in::refuse(&id)?;
    let deed = Deed::new("dashboard.delete", &id, &tenant);
    change(state, access, deed, move |state, _| kept::remove::<Content>(state, &tenant, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
