//! What an operator looks after: live sessions, tenants, storage as a whole, whether the audit trail holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use heimdall_guard::{AuditError, Scope};
use heimdall_model::time::format_duration;
use heimdall_model::{Dataset, Status, Tenant, Timestamp};
use heimdall_query::{ParseContext, search};
use heimdall_store::{NEVER, RetentionPolicy, SegmentInfo, Tier};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::Access;
use crate::desk::DiskSpace;
use crate::extract::Segment;
use crate::problem::{Problem, ProblemDocument};
use crate::routes::{Deed, blocking, change, in_turn};
use crate::sessions::Session;
use crate::wire::Page;
use crate::{AppState, error};

/// The live sessions: of the tenant the token is bound to, else all; the longest first.
#[utoipa::path(
    get, path = "/api/v1/sessions", tag = "access",
    responses((status = 200, description = "the sessions", body = Page<Session>))
)]
pub(crate) async fn sessions(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Page<Session>>, Problem> {
    access.require(Scope::Admin)?;
    Ok(Json(Page::whole(state.sessions.list(access.bound_tenant()))))
}

/// Ends a live session: its client is told why. Revoke its token to keep it from coming back.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{id}", tag = "access",
    params(("id" = Uuid, Path, description = "id of the session")),
    responses(
        (status = 204, description = "it ends"),
        (status = 404, description = "no such session", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn close_session(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<Uuid>,
) -> Result<StatusCode, Problem> {
    let tenant = access.require(Scope::Admin)?;
    let bound = access.bound_tenant().cloned();
    let closed = state.sessions.close(id, bound.as_ref()).ok_or_else(|| Problem::not_found("session", id))?;
    let detail = format!("of `{}` from {}, tenant `{}`", closed.principal, closed.remote, closed.tenant);
    let deed = Deed::new("session.close", id, &tenant).with(detail);
    change(state, access, deed, |_, _| Ok(())).await.map(|()| StatusCode::NO_CONTENT)
}

/// A tenant and what is kept of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantView {
    /// Its name.
    #[schema(value_type = String)]
    tenant: Tenant,
    /// Records.
    records: u64,
    /// Of them, log records.
    logs: u64,
    /// Of them, metric samples.
    samples: u64,
    /// Of them, spans.
    spans: u64,
    /// Bytes of its segments with their sidecars; records in memory are not counted.
    bytes: u64,
    /// Segments.
    segments: u64,
    /// Event time of its earliest record.
    #[schema(value_type = Option<String>, format = DateTime)]
    first: Option<Timestamp>,
    /// Event time of its latest.
    #[schema(value_type = Option<String>, format = DateTime)]
    last: Option<Timestamp>,
    /// Alerts that are open or acknowledged.
    open_alerts: u64,
}

/// The tenants that have records: the one the token is bound to, else all.
#[utoipa::path(
    get, path = "/api/v1/tenants", tag = "storage",
    responses((status = 200, description = "the tenants, by name", body = Page<TenantView>))
)]
pub(crate) async fn tenants(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Page<TenantView>>, Problem> {
    access.require(Scope::Read)?;
    let bound = access.bound_tenant().cloned();
    let listed = blocking(move || {
        let mut tenants = state.store.tenants();
        tenants.retain(|tenant| bound.as_ref().is_none_or(|bound| bound == tenant));
        let segments = state.store.segments(state.clock.now());
        tenants.iter().map(|tenant| tenant_view(&state, tenant, &segments)).collect::<Result<Vec<_>, _>>()
    });
    listed.await?.map(|tenants| Json(Page::whole(tenants)))
}

fn tenant_view(state: &AppState, tenant: &Tenant, segments: &[SegmentInfo]) -> Result<TenantView, Problem> {
    let views =
        [Dataset::Logs, Dataset::Metrics, Dataset::Spans].map(|dataset| state.store.view(tenant, dataset));
    let [logs, samples, spans] = std::array::from_fn(|n| views[n].rows());
    let bounds = views.iter().filter_map(heimdall_store::View::bounds);
    let (first, last) = bounds.reduce(|(min, max), (low, high)| (min.min(low), max.max(high))).unzip();
    let own: Vec<_> = segments.iter().filter(|segment| segment.tenant == *tenant).collect();
    let counts = state.alerts.counts(Some(tenant)).map_err(|error| error::alert(&error))?;
    let is_open = |status| matches!(status, Status::Open | Status::Acknowledged);
    Ok(TenantView {
        tenant: tenant.clone(),
        records: logs + samples + spans,
        logs,
        samples,
        spans,
        bytes: own.iter().map(|segment| segment.bytes + segment.sidecar_bytes).sum(),
        segments: own.len() as u64,
        first,
        last,
        open_alerts: counts.iter().filter(|cell| is_open(cell.status)).map(|cell| cell.count).sum(),
    })
}

/// Segments together.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct SegmentTotals {
    /// How many.
    segments: u64,
    /// Records in them.
    rows: u64,
    /// Bytes, sidecars included.
    bytes: u64,
    /// Event time of the earliest record.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest: Option<Timestamp>,
    /// Event time of the latest.
    #[schema(value_type = Option<String>, format = DateTime)]
    newest: Option<Timestamp>,
}

impl SegmentTotals {
    fn add(&mut self, segment: &SegmentInfo) {
        self.segments += 1;
        self.rows += segment.rows;
        self.bytes += segment.bytes + segment.sidecar_bytes;
        self.oldest = Some(self.oldest.map_or(segment.min, |oldest| oldest.min(segment.min)));
        self.newest = Some(self.newest.map_or(segment.max, |newest| newest.max(segment.max)));
    }

    fn of<'a>(segments: impl Iterator<Item = &'a SegmentInfo>) -> SegmentTotals {
        let mut totals = SegmentTotals::default();
        segments.for_each(|segment| totals.add(segment));
        totals
    }
}

/// A tier and what is in it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TierView {
    /// `hot` (in the folder, the last 7 days), `warm` (in the folder, older) or `cold` (in the object store).
    tier: &'static str,
    /// What is in it.
    #[serde(flatten)]
    totals: SegmentTotals,
}

/// A dataset and what is kept of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DatasetView {
    /// `logs`, `metrics` or `spans`.
    #[schema(value_type = String)]
    dataset: Dataset,
    /// Records, those in memory too.
    records: u64,
    /// What is in segments.
    #[serde(flatten)]
    totals: SegmentTotals,
}

/// Log records of one classification.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClassCount {
    /// Such as `audit`; null for records without.
    classification: Option<String>,
    /// Records.
    records: u64,
}

/// Log records by classification.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClassCounts {
    /// The classes, the largest first; empty when they could not be counted.
    items: Vec<ClassCount>,
    /// Why they could not be counted in time, or not all.
    problem: Option<String>,
}

/// For how long records are kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyView {
    /// Whether it is the one for all records that no other is for.
    default: bool,
    /// For records of this tenant only.
    tenant: Option<String>,
    /// Of this dataset only.
    dataset: Option<String>,
    /// Of this classification only.
    classification: Option<String>,
    /// That name this retention policy only.
    retention_policy: Option<String>,
    /// For how long, such as `30d`; null is for ever.
    keep: Option<String>,
    /// At which age they go to the cold tier; null is never, or that there is none.
    cold_after: Option<String>,
}

/// What stands between the disk and its end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GuardView {
    /// `ok`; `shedding`: old segments leave the folder earlier; `refusing`: records are refused; `unknown`: the disk cannot be asked.
    state: &'static str,
    /// The disk of the data folder; null when it cannot be asked.
    disk: Option<DiskSpace>,
    /// Bytes of segments above which the oldest are dropped; null is no limit.
    retention_bytes: Option<u64>,
    /// Bytes in the folder above which the oldest segments go to the cold tier earlier; null is no limit.
    local_bytes_max: Option<u64>,
}

/// Everything on the server, for whoever may speak for all tenants.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerStorage {
    /// Tenants that have records.
    tenants: u64,
    /// Segments of all of them.
    #[serde(flatten)]
    totals: SegmentTotals,
    /// Records in memory.
    memory_rows: u64,
    /// Bytes of those.
    memory_bytes: u64,
    /// Bytes of the journal.
    journal_bytes: u64,
    /// Segments set aside because they are damaged.
    damaged_segments: u64,
    /// Why segments cannot be moved to the cold tier at the moment.
    cold_trouble: Option<String>,
}

/// What is stored of a tenant, and by which rules.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StorageSummary {
    /// Whose.
    #[schema(value_type = String)]
    tenant: Tenant,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The tiers, `cold` only where there is one.
    tiers: Vec<TierView>,
    /// The datasets.
    datasets: Vec<DatasetView>,
    /// Log records by classification.
    classes: ClassCounts,
    /// The policies in force for the tenant: the first that fits a record holds, the default comes last.
    policies: Vec<PolicyView>,
    /// The disk, and what is done before it is full.
    guard: GuardView,
    /// Everything on the server; null for a token that is bound to a tenant.
    server: Option<ServerStorage>,
}

/// What is stored where, for how long, and how much room there is.
#[utoipa::path(
    get, path = "/api/v1/storage/summary", tag = "storage",
    responses((status = 200, description = "the summary of the tenant", body = StorageSummary))
)]
pub(crate) async fn storage_summary(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<StorageSummary>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let is_for_all = access.bound_tenant().is_none();
    let (inner, owner) = (state.clone(), tenant.clone());
    let classes =
        in_turn(&state, state.limits.query_timeout, move |control| classes(&inner, &owner, control));
    let classes = classes.await.unwrap_or_else(|problem| ClassCounts {
        items: Vec::new(),
        problem: Some(problem.detail().to_owned()),
    });
    let summary = blocking(move || summary(&state, tenant, is_for_all, classes));
    summary.await.map(Json)
}

fn summary(state: &AppState, tenant: Tenant, is_for_all: bool, classes: ClassCounts) -> StorageSummary {
    let time = state.clock.now();
    let all = state.store.segments(time);
    let own: Vec<SegmentInfo> = all.iter().filter(|segment| segment.tenant == tenant).cloned().collect();
    let has_cold =
        state.store.config().cold.is_some() || own.iter().any(|segment| segment.tier == Tier::Cold);
    let tiers =
        [Tier::Hot, Tier::Warm, Tier::Cold].into_iter().filter(|tier| has_cold || *tier != Tier::Cold);
    let datasets = Dataset::ALL.into_iter().map(|dataset| DatasetView {
        dataset,
        records: state.store.view(&tenant, dataset).rows(),
        totals: SegmentTotals::of(own.iter().filter(|segment| segment.dataset == dataset)),
    });
    let tiers = tiers.map(|tier| TierView {
        tier: tier.as_str(),
        totals: SegmentTotals::of(own.iter().filter(|segment| segment.tier == tier)),
    });
    StorageSummary {
        tiers: tiers.collect(),
        datasets: datasets.collect(),
        classes,
        policies: policies(state, &tenant),
        guard: guard(state),
        server: is_for_all.then(|| server(state, &all)),
        tenant,
        time,
    }
}

fn server(state: &AppState, segments: &[SegmentInfo]) -> ServerStorage {
    let status = state.store.status();
    ServerStorage {
        tenants: state.store.tenants().len() as u64,
        totals: SegmentTotals::of(segments.iter()),
        memory_rows: status.memtable_rows as u64,
        memory_bytes: status.memtable_bytes as u64,
        journal_bytes: state.status.stream().journal_bytes,
        damaged_segments: status.damaged.len() as u64,
        cold_trouble: status.cold_trouble,
    }
}

fn guard(state: &AppState) -> GuardView {
    let (disk, config) = (state.machine.disk(), state.store.config());
    let limit = |bytes: u64| (bytes > 0).then_some(bytes);
    GuardView {
        state: match &disk {
            None => "unknown",
            Some(disk) if disk.free_bytes < disk.refuse_below_bytes => "refusing",
            Some(disk) if disk.free_bytes < disk.shed_below_bytes => "shedding",
            Some(_) => "ok",
        },
        disk,
        retention_bytes: limit(config.retention_bytes),
        local_bytes_max: limit(config.local_bytes_max),
    }
}

fn policies(state: &AppState, tenant: &Tenant) -> Vec<PolicyView> {
    let config = state.store.config();
    let age = |age: std::time::Duration| format_duration(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
    let keep = |keep: std::time::Duration| (!keep.is_zero()).then(|| age(keep));
    let cold = |after: Option<std::time::Duration>| {
        let after = after.unwrap_or(config.cold_after);
        (config.cold.is_some() && after != NEVER).then(|| age(after))
    };
    let is_for = |policy: &&RetentionPolicy| policy.tenant.as_ref().is_none_or(|of| of == tenant);
    let view = |policy: &RetentionPolicy| PolicyView {
        default: false,
        tenant: policy.tenant.as_ref().map(ToString::to_string),
        dataset: policy.dataset.map(|dataset| dataset.to_string()),
        classification: policy.classification.clone(),
        retention_policy: policy.retention_policy.clone(),
        keep: keep(policy.keep),
        cold_after: cold(policy.cold_after),
    };
    let mut views: Vec<PolicyView> = config.policies.iter().filter(is_for).map(view).collect();
    views.push(PolicyView {
        default: true,
        tenant: None,
        dataset: None,
        classification: None,
        retention_policy: None,
        keep: keep(config.retention),
        cold_after: cold(None),
    });
    views
}

/// Counts the log records by classification.
fn classes(state: &AppState, tenant: &Tenant, control: &heimdall_store::Control) -> ClassCounts {
    let context = ParseContext::new(tenant.clone(), Dataset::Logs, state.clock.now());
    let counted = search::parse("* | stats count() as n by classification", &context)
        .map_err(|error| error.to_string())
        .and_then(|query| {
            state.engine.run(&query, control, state.run_limits).map_err(|error| error.to_string())
        });
    let answer = match counted {
        Ok(answer) => answer,
        Err(problem) => return ClassCounts { items: Vec::new(), problem: Some(problem) },
    };
    let mut counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for row in &answer.rows {
        let row = serde_json::to_value(row).unwrap_or_default();
        let class = row.get(0).and_then(|class| class.as_str()).map(str::to_owned);
        *counts.entry(class).or_default() += row.get(1).and_then(serde_json::Value::as_u64).unwrap_or(0);
    }
    let mut items: Vec<ClassCount> =
        counts.into_iter().map(|(classification, records)| ClassCount { classification, records }).collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.records));
    let problem = answer.stats.partial.then(|| "the count ended before all records were seen".to_owned());
    ClassCounts { items, problem }
}

/// Whether the audit trail is as it was written.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditVerification {
    /// Whether every line fits the one before it.
    ok: bool,
    /// Lines of the trail that were looked at.
    lines: u64,
    /// The newest line that does not fit; null when all do. What is older was not looked at.
    broken_at: Option<u64>,
    /// When it was looked at.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
}

/// Verifies the whole hash chain of the audit trail, back from its end. It reads all of it.
#[utoipa::path(
    get, path = "/api/v1/audit/verify", tag = "access",
    responses((status = 200, description = "whether it holds", body = AuditVerification))
)]
pub(crate) async fn verify_audit(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<AuditVerification>, Problem> {
    access.require(Scope::Admin)?;
    let (trail, time) = (Arc::clone(&state.audit), state.clock.now());
    let verified = in_turn(&state, state.limits.query_timeout, move |_| trail.verify()).await?;
    let (ok, lines, broken_at) = match verified {
        Ok(lines) => (true, lines, None),
        Err(AuditError::Broken { seq }) => (false, 0, Some(seq)),
        Err(other) => return Err(error::audit(&other)),
    };
    Ok(Json(AuditVerification { ok, lines, broken_at, time }))
}
