//! Annotations: what happened at a time, on every chart: a deployment, an incident, an investigation.
//!
//! Invariants:
//! - `team` is the tenant; a `public` one is read by every tenant, and written by who may speak for all of them alone;
//! - one that lasts is found wherever it reaches into: it lasts [`SPAN_MAX`] at most.
//!
//! Playbooks write annotations too (`annotate`): of the same kind, with less in them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use heimdall_guard::Scope;
use heimdall_metastore::{DocumentCursor, DocumentFilter};
use heimdall_model::{Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::AppState;
use crate::access::{Access, of_all_tenants};
use crate::extract::{Document, Params, Segment, limit, short, time_opt};
use crate::kept::{self, Keep, Kept, Wanted};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::{Deed, blocking, change};
use crate::wire::Page;

/// Characters of a text.
const TEXT_CHARS_MAX: usize = 2_000;
/// Characters of the name of a service.
const SERVICE_CHARS_MAX: usize = 200;
/// How long one may last.
const SPAN_MAX: Duration = Duration::from_secs(31 * 86_400);
const SPAN_MAX_NS: i64 = 31 * 86_400 * 1_000_000_000;
const _: () = assert!(SPAN_MAX.as_nanos() == SPAN_MAX_NS as u128);
/// What may have happened.
const KINDS: [&str; 3] = ["deployment", "incident", "investigation"];
/// What is behind the kind in the state of a public one.
const PUBLIC_ENDING: &str = ".public";

/// Who sees an annotation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sharing {
    /// The tenant.
    #[default]
    Team,
    /// Every tenant's readers.
    Public,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Content {
    at: Timestamp,
    #[serde(default)]
    until: Option<Timestamp>,
    kind: String,
    text: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    sharing: Sharing,
}

impl Keep for Content {
    const KIND: &'static str = "annotation";
    const NAME: &'static str = "annotation";
    const MAX: u64 = 100_000;
    const TOO_MANY: &'static str = "too_many_annotations";

    fn at(&self) -> Option<Timestamp> {
        Some(self.at)
    }
    fn state(&self) -> String {
        let ending = if self.sharing == Sharing::Public { PUBLIC_ENDING } else { "" };
        format!("{}{ending}", self.kind)
    }
    fn key(&self) -> String {
        self.service.clone().unwrap_or_default()
    }
}

/// Something that happened, for charts to show.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Annotation {
    /// Its id.
    id: String,
    /// When it happened, or began.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// When it was over; null where it is one moment.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// `deployment`, `incident` or `investigation`.
    #[schema(example = "deployment")]
    kind: String,
    /// In words.
    text: String,
    /// Words to find it by.
    tags: Vec<String>,
    /// Service it concerns; null: all.
    service: Option<String>,
    /// Who sees it.
    sharing: Sharing,
    /// Whether it is this tenant's, which may change it.
    own: bool,
    /// Who wrote it.
    by: String,
    /// Counts its changes, from 1.
    revision: u64,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Who changed it last.
    updated_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl Annotation {
    fn of(kept: Kept<Content>, tenant: &Tenant) -> Annotation {
        let (created_at, updated_at) = (kept.created_at(), kept.updated_at());
        let updated_by = kept.updated_by().to_owned();
        let Content { at, until, kind, text, tags, service, sharing } = kept.content;
        Annotation {
            id: kept.id,
            at,
            until,
            kind,
            text,
            tags,
            service: service.filter(|service| !service.is_empty()),
            sharing,
            own: kept.tenant == *tenant,
            by: kept.created_by,
            revision: kept.revision,
            created_at,
            updated_by,
            updated_at,
        }
    }
}

/// Checks the name of a kind.
///
/// # Errors
/// Why it is none.
pub(crate) fn kind(name: &str) -> Result<&str, String> {
    if KINDS.contains(&name) {
        Ok(name)
    } else {
        Err(format!("`{}` is none: {}", short(name), KINDS.join(", ")))
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnnotationParams {
    /// Only what reaches to this time or later.
    from: Option<String>,
    /// Only what began before this time.
    to: Option<String>,
    /// Any of these kinds, separated by commas: deployment, incident, investigation.
    kind: Option<String>,
    /// Only what concerns this service; what concerns all does too.
    service: Option<String>,
    /// Annotations at most; default 100, at most 1,000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Annotations, the latest first: those of the tenant, and public ones.
#[utoipa::path(
    get, path = "/api/v1/annotations", tag = "annotations",
    params(AnnotationParams),
    responses((status = 200, description = "a page of annotations", body = Page<Annotation>))
)]
pub(crate) async fn list_annotations(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<AnnotationParams>,
) -> Result<Json<Page<Annotation>>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let search = Search::read(&params, state.clock.now())?;
    let after = kept::cursor(params.cursor.as_deref())?;
    let of = tenant.clone();
    let mut found = blocking(move || search.run(&state, &of, after.as_ref(), limit + 1)).await??;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|last| last.cursor().to_string());
    let items = found.into_iter().map(|kept| Annotation::of(kept, &tenant)).collect();
    Ok(Json(Page { items, next }))
}

/// Which annotations are asked for.
struct Search {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    kinds: Vec<String>,
    service: Option<String>,
}

impl Search {
    fn read(params: &AnnotationParams, now: Timestamp) -> Result<Search, Problem> {
        let names = params.kind.as_deref().unwrap_or_default().split(',').map(str::trim);
        let names = names
            .filter(|name| !name.is_empty())
            .map(|name| kind(name).map(str::to_owned).map_err(|reason| Problem::parameter("kind", reason)));
        let mut kinds = names.collect::<Result<Vec<_>, _>>()?;
        if kinds.is_empty() {
            kinds = KINDS.map(str::to_owned).into();
        }
        Ok(Search {
            from: time_opt("from", params.from.as_deref(), now)?,
            to: time_opt("to", params.to.as_deref(), now)?,
            kinds,
            service: params.service.clone().filter(|service| !service.is_empty()),
        })
    }

    fn fits(&self, kept: &Kept<Content>) -> bool {
        let content = &kept.content;
        let reaches = self.from.is_none_or(|from| content.until.unwrap_or(content.at) >= from);
        let concerned = content.service.as_deref().filter(|service| !service.is_empty());
        let concerns = match (&self.service, concerned) {
            (Some(asked), Some(concerned)) => asked == concerned,
            _ => true,
        };
        reaches && concerns
    }

    /// The tenant's own and what others made public, in one order.
    fn run(
        &self,
        state: &AppState,
        tenant: &Tenant,
        after: Option<&DocumentCursor>,
        count: usize,
    ) -> Result<Vec<Kept<Content>>, Problem> {
        let public: Vec<_> = self.kinds.iter().map(|kind| format!("{kind}{PUBLIC_ENDING}")).collect();
        let filter = |tenant, states| DocumentFilter {
            tenant,
            states,
            key: None,
            since: self.from.map(|from| from.saturating_add_ns(-SPAN_MAX_NS)),
            until: self.to,
        };
        let of_anybody = [&self.kinds[..], &public[..]].concat();
        let own = Wanted {
            filter: filter(Some(tenant.clone()), of_anybody),
            after: after.cloned(),
            count,
            fits: &|kept| self.fits(kept),
        };
        let others = Wanted {
            filter: filter(None, public),
            after: after.cloned(),
            count,
            fits: &|kept| kept.tenant != *tenant && self.fits(kept),
        };
        let mut found = kept::list(state, own)?;
        found.extend(kept::list(state, others)?);
        found.sort_by(|left, right| (right.at, &right.id).cmp(&(left.at, &left.id)));
        found.truncate(count);
        Ok(found)
    }
}

/// An annotation to be written.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AnnotationRequest {
    /// The revision it was changed from: to replace one.
    revision: Option<u64>,
    /// When it happened, or began; now when absent.
    at: Option<String>,
    /// When it was over, at most 31 days later; absent: it is one moment.
    until: Option<String>,
    /// `deployment`, `incident` or `investigation`.
    #[schema(required)]
    kind: String,
    /// In words.
    #[schema(required)]
    text: String,
    /// Words to find it by.
    tags: Vec<String>,
    /// Service it concerns; absent: all.
    service: Option<String>,
    /// `team` (default) or `public`, which takes who may speak for all tenants.
    sharing: Sharing,
}

impl AnnotationRequest {
    fn content(self, now: Timestamp) -> Result<Content, Problem> {
        let at = time("at", self.at.as_deref(), now)?.unwrap_or(now);
        let until = time("until", self.until.as_deref(), now)?;
        if until.is_some_and(|until| until < at) {
            return Err(Problem::field("until", "is before `at`"));
        }
        if until.is_some_and(|until| until > at.saturating_add_ns(SPAN_MAX_NS)) {
            return Err(Problem::field("until", "is more than 31 days after `at`"));
        }
        let kind = kind(&self.kind).map_err(|reason| Problem::field("kind", reason))?.to_owned();
        let service =
            self.service.map(|service| kept::text("service", &service, SERVICE_CHARS_MAX)).transpose()?;
        Ok(Content {
            at,
            until,
            kind,
            text: kept::words("text", &self.text, TEXT_CHARS_MAX)?,
            tags: kept::tags(&self.tags)?,
            service: service.filter(|service| !service.is_empty()),
            sharing: self.sharing,
        })
    }
}

fn time(field: &'static str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let read = Timestamp::parse_when(text, now);
    read.map(Some)
        .ok_or_else(|| Problem::field(field, format!("`{}` is no time, such as `now-5m`", short(text))))
}

/// Checks who may write what every tenant reads.
fn check_sharing(access: &Access, sharing: Sharing) -> Result<(), Problem> {
    match sharing {
        Sharing::Team => Ok(()),
        Sharing::Public => of_all_tenants(access, "a public annotation is read"),
    }
}

/// Writes an annotation.
#[utoipa::path(
    post, path = "/api/v1/annotations", tag = "annotations",
    request_body(content = AnnotationRequest),
    responses(
        (status = 201, description = "the annotation", body = Annotation),
        (status = 403, description = "`tenant_denied`: public, by a token of one tenant", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "there are too many", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "it cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn add_annotation(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<AnnotationRequest>,
) -> Result<(StatusCode, Json<Annotation>), Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    check_sharing(&access, request.sharing)?;
    if request.revision.is_some() {
        return Err(Problem::field("revision", "is of an annotation to be replaced (`PUT`)"));
    }
    let content = request.content(state.clock.now())?;
    let id = kept::fresh_id();
    let deed = Deed::new("annotation.add", &id, &tenant).with(described(&content));
    let of = tenant.clone();
    let kept = change(state, access, deed, move |state, by| kept::add(state, of, id, by, content)).await?;
    Ok((StatusCode::CREATED, Json(Annotation::of(kept, &tenant))))
}

/// For the audit trail.
fn described(content: &Content) -> String {
    let shared = if content.sharing == Sharing::Public { " for all tenants" } else { "" };
    format!("{}{shared} at {}: {}", content.kind, content.at, short(&content.text))
}

/// Replaces an annotation. `revision` is the one it was changed from.
#[utoipa::path(
    put, path = "/api/v1/annotations/{id}", tag = "annotations",
    params(("id" = String, Path, description = "id of the annotation")),
    request_body(content = AnnotationRequest),
    responses(
        (status = 200, description = "the annotation", body = Annotation),
        (status = 403, description = "`tenant_denied`: public, by a token of one tenant", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such annotation", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`revision_conflict`: it was changed since", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "it cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn replace_annotation(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
    Document(request): Document<AnnotationRequest>,
) -> Result<Json<Annotation>, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    check_sharing(&access, request.sharing)?;
    let revision = request.revision.ok_or_else(|| Problem::field("revision", "is missing"))?;
    let content = request.content(state.clock.now())?;
    let deed = Deed::new("annotation.change", &id, &tenant).with(described(&content));
    let of = tenant.clone();
    let replaced =
        change(state, access, deed, move |state, by| kept::replace(state, &of, &id, revision, by, content));
    Ok(Json(Annotation::of(replaced.await?, &tenant)))
}

/// Deletes an annotation.
#[utoipa::path(
    delete, path = "/api/v1/annotations/{id}", tag = "annotations",
    params(("id" = String, Path, description = "id of the annotation")),
    responses(
        (status = 204, description = "it is gone"),
        (status = 404, description = "no such annotation", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_annotation(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
) -> Result<StatusCode, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let deed = Deed::new("annotation.delete", &id, &tenant);
    change(state, access, deed, move |state, _| kept::remove::<Content>(state, &tenant, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
