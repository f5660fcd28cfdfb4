//! What judges: detectors and rules, and how often people found their alerts right.
//!
//! Feedback is that of the tenant who asks; `adjustment` is the server's, see `heimdall-detect`, `adjust`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heimdall_alert::{FeedbackCount, feedback};
use heimdall_guard::Scope;
use heimdall_model::{Judged, Tenant};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Access;
use crate::ports::{DetectorView, RuleView};
use crate::problem::Problem;
use crate::routes::blocking;
use crate::wire::Page;
use crate::{AppState, error};

/// What people said of some alerts, those deleted since too.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Precision)]
pub(crate) struct PrecisionView {
    /// Alerts that were right.
    true_positives: u64,
    /// Alerts that were not.
    false_positives: u64,
    /// Share of them that was right, 0 to 1.
    precision: f64,
    /// Lower end of its 95 % interval (Wilson).
    low: f64,
    /// Upper end of its 95 % interval (Wilson).
    high: f64,
}

impl PrecisionView {
    /// None when nobody judged any.
    fn of(judged: Judged) -> Option<PrecisionView> {
        let Judged { true_positives, false_positives } = judged;
        feedback::precision(judged).map(|found| PrecisionView {
            true_positives,
            false_positives,
            precision: found.share,
            low: found.low,
            high: found.high,
        })
    }
}

/// A rule whose alerts people judged.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JudgedRule {
    /// Its id.
    rule: String,
    /// What they said; null when nobody judged any.
    feedback: Option<PrecisionView>,
    /// `dry_run` when it is wrong so often that `detect.dry_run` had better name it until it is mended.
    suggestion: Option<&'static str>,
}

/// A detector, how it fares, and what people said of its alerts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DetectorDocument {
    /// How it fares.
    #[serde(flatten)]
    detector: DetectorView,
    /// What people said of its alerts; null when nobody judged any.
    feedback: Option<PrecisionView>,
    /// The same by rule; rules nobody judged are left out.
    rules: Vec<JudgedRule>,
}

impl DetectorDocument {
    /// The detector's name.
    pub(crate) fn name(&self) -> &str {
        &self.detector.name
    }
}

/// A loaded rule and what people said of its alerts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleDocument {
    /// The rule.
    #[serde(flatten)]
    rule: RuleView,
    /// What people said of its alerts; null when nobody judged any.
    feedback: Option<PrecisionView>,
    /// `dry_run` when it is wrong so often that `detect.dry_run` had better name it until it is mended.
    suggestion: Option<&'static str>,
}

/// Every detector with its counters, what people said of its alerts, and how its thresholds follow.
#[utoipa::path(
    get, path = "/api/v1/detectors", tag = "detection",
    responses((status = 200, description = "the detectors", body = Page<DetectorDocument>))
)]
pub(crate) async fn detectors(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Page<DetectorDocument>>, Problem> {
    let tenant = access.require(Scope::Read)?;
    Ok(Json(Page::whole(documents(&state, tenant).await?)))
}

/// Every loaded rule, and what people said of its alerts.
#[utoipa::path(
    get, path = "/api/v1/rules", tag = "detection",
    responses((status = 200, description = "the rules", body = Page<RuleDocument>))
)]
pub(crate) async fn rules(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Page<RuleDocument>>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let views = state.status.rules(&tenant);
    let counts = counts(&state, tenant).await?;
    let mut by_rule: HashMap<&str, Judged> = HashMap::new();
    counts.iter().for_each(|count| *by_rule.entry(&count.rule).or_default() += count.judged);
    let document = |rule: RuleView| {
        let judged = by_rule.get(rule.id.as_str()).copied().unwrap_or_default();
        let suggestion = suggestion(&state, &rule.id, judged);
        RuleDocument { rule, feedback: PrecisionView::of(judged), suggestion }
    };
    Ok(Json(Page::whole(views.into_iter().map(document).collect())))
}

/// One rule that is in force for a tenant; none when there is none. Blocks on disk.
pub(crate) fn rule_document(
    state: &AppState,
    tenant: &Tenant,
    id: &str,
) -> Result<Option<RuleDocument>, Problem> {
    let Some(rule) = state.status.rules(tenant).into_iter().find(|rule| rule.id == id) else {
        return Ok(None);
    };
    let counts = state.alerts.feedback_counts(Some(tenant)).map_err(|error| error::alert(&error))?;
    let mut judged = Judged::default();
    counts.iter().filter(|count| count.rule == id).for_each(|count| judged += count.judged);
    let suggestion = suggestion(state, id, judged);
    Ok(Some(RuleDocument { rule, feedback: PrecisionView::of(judged), suggestion }))
}

/// Every detector, with what people of this tenant said of its alerts.
pub(crate) async fn documents(state: &AppState, tenant: Tenant) -> Result<Vec<DetectorDocument>, Problem> {
    let counts = counts(state, tenant).await?;
    let document = |detector: DetectorView| {
        let own: Vec<_> = counts.iter().filter(|count| count.detector == detector.name).collect();
        let feedback = PrecisionView::of(feedback::total(own.iter().copied()));
        let rules = own.into_iter().map(|count| judged_rule(state, count)).collect();
        DetectorDocument { detector, feedback, rules }
    };
    Ok(state.status.detectors().into_iter().map(document).collect())
}

fn judged_rule(state: &AppState, count: &FeedbackCount) -> JudgedRule {
    JudgedRule {
        rule: count.rule.clone(),
        feedback: PrecisionView::of(count.judged),
        suggestion: suggestion(state, &count.rule, count.judged),
    }
}

fn suggestion(state: &AppState, rule: &str, judged: Judged) -> Option<&'static str> {
    state.status.is_better_rehearsed(rule, judged).then_some("dry_run")
}

async fn counts(state: &AppState, tenant: Tenant) -> Result<Vec<FeedbackCount>, Problem> {
    let alerts = Arc::clone(&state.alerts);
    let counts = blocking(move || alerts.feedback_counts(Some(&tenant))).await?;
    counts.map_err(|error| error::alert(&error))
}
