//! What rules and detectors would have said of the records that are kept: rules over a range, a detector at another factor.
//!
//! Invariants:
//! - at most [`TRIALS_MAX`] run at a time, on blocking threads; one ends when its client goes away;
//! - what is tried starts with nothing learnt and leaves nothing behind: no alert, no state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use heimdall_detect::trial::{Match, Trial};
use heimdall_detect::{AlertCount, DetectConfig, Findings, Judge, RuleSet, switch};
use heimdall_guard::Scope;
use heimdall_model::schema::logs;
use heimdall_model::time::{NS_PER_HOUR, parse_duration};
use heimdall_model::{Batch, Dataset, Filter, RecordId, Tenant, Timestamp, Verdict};
use heimdall_query::TimeRange;
use heimdall_store::Control;
use heimdall_store::template::{Miner, MinerConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::access::{Access, of_all_tenants};
use crate::desk::DetectorChange;
use crate::extract::{Document, Segment, short, time};
use crate::problem::{Problem, ProblemDocument};
use crate::replay::{Loaded, Replay, ReplayError};
use crate::routes::detection::DetectorDocument;
use crate::routes::rules::{EntityView, WouldBeAlert, desk, draft};
use crate::routes::{Deed, blocking, change, detection};
use crate::{AppState, error};

/// Trials that run at a time, over all clients.
pub(crate) const TRIALS_MAX: usize = 2;
/// A trial that has waited this long for its turn: 503 with `Retry-After`.
const TRIAL_WAIT: Duration = Duration::from_secs(5);
/// When to come back after there was no turn.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Run time of a trial: 504 after it.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(60);
/// Records one trial of rules may judge.
const BACKTEST_ROWS_MAX: u64 = 5_000_000;
/// Records one preview of a detector may judge; it judges each twice.
const PREVIEW_ROWS_MAX: u64 = 2_000_000;
/// Longest range of a trial.
const RANGE_MAX_NS: i64 = 31 * 24 * NS_PER_HOUR;
/// Time before the range that a detector learns from, unless the request says.
const WARM_UP_NS: i64 = NS_PER_HOUR;
/// Most of it.
const WARM_UP_MAX_NS: i64 = 24 * NS_PER_HOUR;
/// Examples in an answer.
const SAMPLE_MAX: usize = 20;
/// Entities named for each rule.
const ENTITIES_MAX: usize = 10;
/// Entities counted for each rule; beyond, they are counted under none.
const ENTITIES_COUNTED_MAX: usize = 10_000;

/// Turns of trials.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Turns {
        Turns(Arc::new(Semaphore::new(TRIALS_MAX)))
    }
}

/// Runs a trial when its turn comes; it is told when its client has gone.
async fn in_turn<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce(&Control) -> T + Send + 'static,
) -> Result<T, Problem> {
    let turn = tokio::time::timeout(TRIAL_WAIT, Arc::clone(&state.trials.0).acquire_owned()).await;
    let turn = turn.map_err(|_| {
        let detail = format!("{TRIALS_MAX} trials are running already");
        Problem::busy(StatusCode::SERVICE_UNAVAILABLE, "trials_busy", detail, RETRY_AFTER)
    })?;
    let turn = turn.expect("the semaphore is never closed");
    let cancelled = Arc::new(AtomicBool::new(false));
    let _cancel = super::CancelOnDrop(Arc::clone(&cancelled));
    let deadline = Some(Instant::now() + TRIAL_TIMEOUT);
    let control = Control { deadline, cancelled, ..Control::default() };
    blocking(move || {
        let done = work(&control);
        drop(turn);
        done
    })
    .await
}

fn replay(error: &ReplayError) -> Problem {
    match error {
        ReplayError::TooMany { rows, rows_max } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_records", error.to_string())
                .with_member("records", json!(rows))
                .with_member("records_max", json!(rows_max))
        }
        ReplayError::Scan(failed) => error::scan(failed),
    }
}

/// The range of a request, which must name both ends.
fn range(from: &str, to: &str, now: Timestamp) -> Result<TimeRange, Problem> {
    let from = time("from", if from.is_empty() { "now-24h" } else { from }, now)?;
    let to = time("to", if to.is_empty() { "now" } else { to }, now)?;
    if from >= to {
        return Err(Problem::field("to", "must be after `from`"));
    }
    if to.0.saturating_sub(from.0) > RANGE_MAX_NS {
        return Err(Problem::field("from", "is more than 31 days before `to`"));
    }
    Ok(TimeRange { from, to })
}

fn hour_of(time: Timestamp) -> Timestamp {
    Timestamp(time.0 - time.0.rem_euclid(NS_PER_HOUR))
}

/// The hours of a range, by their start.
fn hours(range: TimeRange) -> impl Iterator<Item = Timestamp> {
    let first = hour_of(range.from);
    let step = usize::try_from(NS_PER_HOUR).expect("an hour fits");
    (first.0..range.to.0).step_by(step).map(Timestamp)
}

/// Rules to be tried on what is kept.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BacktestRequest {
    /// One rule or several, as YAML.
    #[serde(default)]
    yaml: Option<String>,
    /// Instead of `yaml`: the id of a rule that is in force.
    #[serde(default)]
    rule: Option<String>,
    /// From when on; default `now-24h`.
    #[serde(default)]
    from: String,
    /// Until before when; default `now`.
    #[serde(default)]
    to: String,
}

/// Matches of an hour.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HourCount {
    /// Its start.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Records that matched.
    count: u64,
}

/// A record that matched.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MatchedRecord {
    /// Its id.
    #[schema(value_type = String)]
    id: RecordId,
    /// Its time.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The rule.
    rule: String,
    /// Its service.
    service: Option<String>,
    /// Its message; of a sample, its metric.
    message: Option<String>,
}

/// How often a rule would have told about something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntityCount {
    /// What it is about.
    entity: EntityView,
    /// Reports.
    reports: u64,
}

/// What one rule would have done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleOutcome {
    /// Its id.
    id: String,
    /// Its title.
    title: String,
    /// Records that meet its condition.
    matches: u64,
    /// Alerts it would have raised.
    alerts: u64,
    /// Times it would have told: an alert that goes on is told again, at most once a minute.
    reports: u64,
    /// The first.
    #[schema(value_type = Option<String>, format = DateTime)]
    first: Option<Timestamp>,
    /// The last.
    #[schema(value_type = Option<String>, format = DateTime)]
    last: Option<Timestamp>,
    /// What it would have told about most; at most 10.
    entities: Vec<EntityCount>,
}

/// What rules would have done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BacktestAnswer {
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Until before when.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// Records the rules were shown: for rules of Heimdall's kind what their condition finds, for Sigma rules every log record.
    records: u64,
    /// Records that meet the condition of a rule; one that meets two counts twice.
    matches: u64,
    /// The same by hour, every hour of the range.
    per_hour: Vec<HourCount>,
    /// Examples, spread over the range: at most 20.
    sample: Vec<MatchedRecord>,
    /// Alerts that would have been raised.
    alerts: u64,
    /// The first alerts that would have been raised: at most 20.
    alert_sample: Vec<WouldBeAlert>,
    /// By rule.
    rules: Vec<RuleOutcome>,
    /// How long it took, ms.
    took_ms: u64,
}

/// Runs rules over the records of a range, as if they had been in force. At most 5 million records and 60 s; it ends when
/// the client goes away.
#[utoipa::path(
    post, path = "/api/v1/rules/backtest", tag = "detection", request_body = BacktestRequest,
    responses(
        (status = 200, description = "what they would have done", body = BacktestAnswer),
        (status = 422, description = "`invalid_rule`; `too_many_records`: choose a shorter range", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`trials_busy`: others are running", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "`query_timeout`: choose a shorter range", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn backtest(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<BacktestRequest>,
) -> Result<Json<BacktestAnswer>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let range = range(&request.from, &request.to, state.clock.now())?;
    let inner = state.clone();
    let done = in_turn(&state, move |control| {
        let rules = wanted(&inner, &tenant, &request)?;
        let started = Instant::now();
        let past = Past { state: &inner, tenant: &tenant, range, control };
        let mut answer = past.backtest(&rules)?;
        answer.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(answer)
    });
    done.await?.map(Json)
}

/// The rules a request is about.
fn wanted(state: &AppState, tenant: &Tenant, request: &BacktestRequest) -> Result<RuleSet, Problem> {
    let rules = match (&request.yaml, &request.rule) {
        (Some(yaml), None) => {
            let draft = draft(state, tenant, yaml);
            if !draft.is_sound() {
                let detail = "the rule does not load; see `diagnostics`";
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_rule", detail)
                    .with_member("diagnostics", json!(draft.diagnostics)));
            }
            draft.rules
        }
        (None, Some(id)) => state.desk.compiled(tenant, id).map_err(|error| desk(&error))?,
        _ => return Err(Problem::field("rule", "give it or `yaml`")),
    };
    if rules.rules().iter().all(|rule| !rule.enabled) && rules.sigma().is_empty() {
        return Err(Problem::field("yaml", "no rule in it is enabled"));
    }
    Ok(rules)
}

/// What is kept of a tenant in a range, and how long it may be looked at.
struct Past<'a> {
    state: &'a AppState,
    tenant: &'a Tenant,
    range: TimeRange,
    control: &'a Control,
}

/// What rules have done so far.
struct Outcomes {
    records: u64,
    matches: u64,
    per_hour: BTreeMap<Timestamp, u64>,
    sample: Reservoir<MatchedRecord>,
    alerts: AlertCount,
    alert_sample: Vec<WouldBeAlert>,
    rules: BTreeMap<String, (RuleOutcome, ByEntity)>,
}

/// How often something was said of each entity, by kind and value.
type ByEntity = HashMap<(String, String), u64>;

impl Past<'_> {
    /// Rules of ours see what their conditions find, each on its own; Sigma rules see every log record together.
    fn backtest(&self, rules: &RuleSet) -> Result<BacktestAnswer, Problem> {
        let resolve_after = i64::try_from(self.state.desk.resolve_after().as_nanos()).unwrap_or(i64::MAX);
        let mut outcomes = Outcomes {
            records: 0,
            matches: 0,
            per_hour: hours(self.range).map(|hour| (hour, 0)).collect(),
            sample: Reservoir::default(),
            alerts: AlertCount::new(resolve_after),
            alert_sample: Vec::new(),
            rules: rules
                .infos()
                .iter()
                .map(|info| (info.id.clone(), outcome(&info.id, &info.title)))
                .collect(),
        };
        for rule in rules.rules().iter().filter(|rule| rule.enabled) {
            let tables = [(rule.dataset, rule.filter().clone())];
            self.tried(RuleSet::alone(rule), &tables, &mut outcomes)?;
        }
        if !rules.sigma().is_empty() {
            self.tried(rules.sigma_alone(), &[(Dataset::Logs, Filter::All)], &mut outcomes)?;
        }
        outcomes.alert_sample.sort_by_key(WouldBeAlert::time);
        outcomes.alert_sample.truncate(SAMPLE_MAX);
        let mut sample = outcomes.sample.kept;
        sample.sort_by_key(|record| record.time);
        Ok(BacktestAnswer {
            from: self.range.from,
            to: self.range.to,
            records: outcomes.records,
            matches: outcomes.matches,
            per_hour: outcomes.per_hour.into_iter().map(|(at, count)| HourCount { at, count }).collect(),
            sample,
            alerts: outcomes.alerts.raised(),
            alert_sample: outcomes.alert_sample,
            rules: outcomes.rules.into_values().map(|(outcome, entities)| named(outcome, entities)).collect(),
            took_ms: 0,
        })
    }

    fn tried(
        &self,
        rules: RuleSet,
        tables: &[(Dataset, Filter)],
        outcomes: &mut Outcomes,
    ) -> Result<(), Problem> {
        let rows_max = BACKTEST_ROWS_MAX.saturating_sub(outcomes.records);
        let past = Replay::new(&self.state.store, self.tenant, self.range, tables, rows_max, self.control);
        let past = past.map_err(|error| replay(&error))?;
        let mut trial = Trial::new(&self.state.desk.config(), rules);
        let (mut matches, mut verdicts) = (Vec::new(), Vec::new());
        let played = past.each(&mut |loaded| {
            matches.clear();
            trial.observe(self.tenant, &loaded.batch, &mut matches, &mut verdicts);
            outcomes.records += loaded.batch.rows() as u64;
            for found in &matches {
                outcomes.matched(&trial, loaded, *found);
            }
            verdicts.drain(..).for_each(|verdict| outcomes.said(&verdict));
        });
        played.map_err(|error| replay(&error))
    }
}

fn outcome(id: &str, title: &str) -> (RuleOutcome, HashMap<(String, String), u64>) {
    let outcome = RuleOutcome {
        id: id.to_owned(),
        title: title.to_owned(),
        matches: 0,
        alerts: 0,
        reports: 0,
        first: None,
        last: None,
        entities: Vec::new(),
    };
    (outcome, HashMap::new())
}

/// The outcome with the entities told about most.
fn named(mut outcome: RuleOutcome, entities: HashMap<(String, String), u64>) -> RuleOutcome {
    let mut entities: Vec<_> = entities.into_iter().collect();
    entities.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let counted = entities.into_iter().take(ENTITIES_MAX);
    let counted =
        counted.map(|((kind, value), reports)| EntityCount { entity: EntityView::new(kind, value), reports });
    outcome.entities = counted.collect();
    outcome
}

impl Outcomes {
    fn matched(&mut self, trial: &Trial, loaded: &Loaded, found: Match) {
        let row = loaded.batch.row(found.row);
        let id = &trial.rules()[found.rule].id;
        self.matches += 1;
        *self.per_hour.entry(hour_of(row.timestamp())).or_default() += 1;
        if let Some((outcome, _)) = self.rules.get_mut(id) {
            outcome.matches += 1;
        }
        self.sample.offer(|| {
            let text = match loaded.batch.dataset {
                Dataset::Logs => row.text(logs::MESSAGE),
                Dataset::Metrics => row.text(heimdall_model::schema::metrics::NAME),
                Dataset::Spans => row.text(heimdall_model::schema::spans::NAME),
            };
            MatchedRecord {
                id: loaded.ids[found.row],
                time: row.timestamp(),
                rule: id.clone(),
                service: row.service().map(str::to_owned),
                message: text.map(|text| text.chars().take(500).collect()),
            }
        });
    }

    fn said(&mut self, verdict: &Verdict) {
        let raises = self.alerts.observe(verdict);
        if raises && self.alert_sample.len() < SAMPLE_MAX {
            self.alert_sample.push(verdict.into());
        }
        let Some((outcome, entities)) = self.rules.get_mut(&verdict.rule) else { return };
        outcome.alerts += u64::from(raises);
        outcome.reports += 1;
        outcome.first = Some(outcome.first.map_or(verdict.time, |first| first.min(verdict.time)));
        outcome.last = Some(outcome.last.map_or(verdict.time, |last| last.max(verdict.time)));
        let key = (verdict.entity.kind.clone(), verdict.entity.value.clone());
        if entities.len() < ENTITIES_COUNTED_MAX || entities.contains_key(&key) {
            *entities.entry(key).or_default() += 1;
        }
    }
}

/// Examples spread evenly over all that were offered, always the same: every n-th, where n doubles when it is full.
#[derive(Debug)]
struct Reservoir<T> {
    kept: Vec<T>,
    every: u64,
    offered: u64,
}

impl<T> Default for Reservoir<T> {
    fn default() -> Reservoir<T> {
        Reservoir { kept: Vec::new(), every: 1, offered: 0 }
    }
}

impl<T> Reservoir<T> {
    fn offer(&mut self, make: impl FnOnce() -> T) {
        let number = self.offered;
        self.offered += 1;
        if !number.is_multiple_of(self.every) {
            return;
        }
        if self.kept.len() == SAMPLE_MAX {
            let mut place = 0;
            self.kept.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.every *= 2;
            if !number.is_multiple_of(self.every) {
                return;
            }
        }
        self.kept.push(make());
    }
}

/// What shall be different about a detector; what is absent stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DetectorRequest {
    /// Whether it runs. Switched off, it keeps what it learnt and sees nothing.
    #[serde(default)]
    enabled: Option<bool>,
    /// Whether its findings raise nothing.
    #[serde(default)]
    dry_run: Option<bool>,
    /// Factor on its thresholds, 0.25 to 4, beside that of the feedback: 1 leaves them as configured, more makes it less
    /// sensitive.
    #[serde(default)]
    threshold_factor: Option<f64>,
}

/// Changes a detector: it holds at once and after a restart. Detectors are the server's, so it takes a token for all tenants.
#[utoipa::path(
    put, path = "/api/v1/detectors/{name}", tag = "detection", request_body = DetectorRequest,
    params(("name" = String, Path, description = "name of the detector")),
    responses(
        (status = 200, description = "the detector", body = DetectorDocument),
        (status = 403, description = "`tenant_denied`: the token is bound to a tenant", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such detector", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "the factor does not fit, or the detector has none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn tune(
    State(state): State<AppState>,
    access: Access,
    Segment(name): Segment<String>,
    Document(request): Document<DetectorRequest>,
) -> Result<Json<DetectorDocument>, Problem> {
    let tenant = access.require(Scope::Admin)?;
    of_all_tenants(&access, "detectors are changed")?;
    let DetectorRequest { enabled, dry_run, threshold_factor } = request;
    let said = [
        enabled.map(|on| format!("enabled {on}")),
        dry_run.map(|on| format!("dry_run {on}")),
        threshold_factor.map(|factor| format!("threshold_factor {factor}")),
    ];
    let said = said.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if said.is_empty() {
        return Err(Problem::field("enabled", "give it, `dry_run` or `threshold_factor`"));
    }
    let deed = Deed::new("detector.tune", short(&name), &tenant).with(said);
    let (inner, wanted) = (state.clone(), name.clone());
    change(state, access, deed, move |state, by| {
        let change = DetectorChange { enabled, dry_run, threshold_factor };
        state.desk.tune(&name, change, by).map_err(|error| desk(&error))
    })
    .await?;
    let documents = detection::documents(&inner, tenant).await?;
    let found = documents.into_iter().find(|document| document.name() == wanted);
    found.map(Json).ok_or_else(|| Problem::not_found("detector", short(&wanted)))
}

/// A factor to be tried.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviewRequest {
    /// The factor on its thresholds, as `PUT` would set it.
    #[serde(default)]
    threshold_factor: Option<f64>,
    /// From when on; default `now-24h`.
    #[serde(default)]
    from: String,
    /// Until before when; default `now`.
    #[serde(default)]
    to: String,
    /// For how long before `from` it learns, at most `24h`; default `1h`. Alerts of that time are not counted.
    #[serde(default)]
    warm_up: Option<String>,
}

/// Alerts of an hour.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HourPreview {
    /// Its start.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// With the thresholds in force.
    now: u64,
    /// With the factor under trial.
    then: u64,
}

/// An alert of one of the two, or of both.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PreviewedAlert {
    /// `now`, `then` or `both`: who would raise it.
    raised: &'static str,
    /// The alert.
    #[serde(flatten)]
    alert: WouldBeAlert,
}

/// A detector at the thresholds in force and at others.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PreviewAnswer {
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Until before when.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// Records judged, those of the warm-up too.
    records: u64,
    /// Alerts with the thresholds in force.
    alerts_now: u64,
    /// Alerts with the factor under trial.
    alerts_then: u64,
    /// The same by hour, every hour of the range.
    per_hour: Vec<HourPreview>,
    /// Alerts: first those that only one would raise; at most 20.
    sample: Vec<PreviewedAlert>,
    /// How long it took, ms.
    took_ms: u64,
}

/// Replays the records of a range through a detector twice, with the thresholds in force and with another factor. Both start
/// with nothing learnt. At most 2 million records and 60 s; it ends when the client goes away.
#[utoipa::path(
    post, path = "/api/v1/detectors/{name}/preview", tag = "detection", request_body = PreviewRequest,
    params(("name" = String, Path, description = "name of the detector")),
    responses(
        (status = 200, description = "alerts of both", body = PreviewAnswer),
        (status = 404, description = "no such detector", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "the factor does not fit; `too_many_records`: choose a shorter range", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`trials_busy`: others are running", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "`query_timeout`: choose a shorter range", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn preview(
    State(state): State<AppState>,
    access: Access,
    Segment(name): Segment<String>,
    Document(request): Document<PreviewRequest>,
) -> Result<Json<PreviewAnswer>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let range = range(&request.from, &request.to, state.clock.now())?;
    let warm_up = match request.warm_up.as_deref() {
        None => WARM_UP_NS,
        Some(text) => parse_duration(text)
            .filter(|ns| (0..=WARM_UP_MAX_NS).contains(ns))
            .ok_or_else(|| Problem::field("warm_up", "must be `0s` to `24h`"))?,
    };
    let factor = request.threshold_factor;
    let inner = state.clone();
    let done = in_turn(&state, move |control| {
        let factor = factor.ok_or_else(|| Problem::field("threshold_factor", "is missing"))?;
        let then = inner.desk.config_with(&name, factor).map_err(|error| desk(&error))?;
        let configs = [inner.desk.config(), then];
        let past = Past { state: &inner, tenant: &tenant, range, control };
        past.preview(&name, &configs, warm_up)
    });
    done.await?.map(Json)
}

/// One of the two that are compared.
struct Side {
    judge: Judge,
    findings: Findings,
    alerts: AlertCount,
    before: u64,
    raised: Vec<Verdict>,
    by_hour: BTreeMap<Timestamp, u64>,
}

impl Past<'_> {
    fn preview(
        &self,
        name: &str,
        configs: &[DetectConfig; 2],
        warm_up: i64,
    ) -> Result<PreviewAnswer, Problem> {
        let started = Instant::now();
        let resolve_after = i64::try_from(self.state.desk.resolve_after().as_nanos()).unwrap_or(i64::MAX);
        let side = |config: &DetectConfig| Side {
            judge: Judge::new(config.only(&[name]), RuleSet::default()),
            findings: Findings::default(),
            alerts: AlertCount::new(resolve_after),
            before: 0,
            raised: Vec::new(),
            by_hour: hours(self.range).map(|hour| (hour, 0)).collect(),
        };
        let mut sides = [side(&configs[0]), side(&configs[1])];
        let learnt = TimeRange { from: self.range.from.saturating_add_ns(-warm_up), to: self.range.to };
        let tables: Vec<_> =
            switch::datasets_of(name).iter().map(|dataset| (*dataset, Filter::All)).collect();
        let past =
            Replay::new(&self.state.store, self.tenant, learnt, &tables, PREVIEW_ROWS_MAX, self.control);
        let past = past.map_err(|error| replay(&error))?;
        let mut miner = (name == "templates").then(|| Miner::new(MinerConfig::default()));
        let mut records = 0;
        let played = past.each(&mut |loaded| {
            records += loaded.batch.rows() as u64;
            let mined = miner.as_mut().filter(|_| loaded.batch.dataset == Dataset::Logs);
            let mined = mined.map(|miner| mined_batch(miner, &loaded.batch));
            let batch = mined.as_ref().unwrap_or(&loaded.batch);
            sides.iter_mut().for_each(|side| side.observe(self.tenant, batch, self.range));
        });
        played.map_err(|error| replay(&error))?;
        let [now, then] = sides;
        let per_hour = now.by_hour.iter().map(|(at, count)| HourPreview {
            at: *at,
            now: *count,
            then: then.by_hour.get(at).copied().unwrap_or_default(),
        });
        Ok(PreviewAnswer {
            from: self.range.from,
            to: self.range.to,
            records,
            alerts_now: now.alerts.raised() - now.before,
            alerts_then: then.alerts.raised() - then.before,
            per_hour: per_hour.collect(),
            sample: compared(&now.raised, &then.raised),
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// Alerts kept of each side to be compared.
const RAISED_MAX: usize = 10_000;

impl Side {
    fn observe(&mut self, tenant: &Tenant, batch: &Batch, range: TimeRange) {
        self.judge.observe(tenant, batch, &mut self.findings);
        self.findings.assessments.clear();
        for verdict in self.findings.verdicts.drain(..) {
            let raises = self.alerts.observe(&verdict);
            if verdict.time < range.from {
                self.before += u64::from(raises);
            } else if raises {
                *self.by_hour.entry(hour_of(verdict.time)).or_default() += 1;
                if self.raised.len() < RAISED_MAX {
                    self.raised.push(verdict);
                }
            }
        }
        self.findings.recovered.drain(..).for_each(|over| self.alerts.recover(&over));
    }
}

/// Examples of what differs, then of what does not.
fn compared(now: &[Verdict], then: &[Verdict]) -> Vec<PreviewedAlert> {
    let key = |verdict: &Verdict| (verdict.rule.clone(), verdict.entity.value.clone(), hour_of(verdict.time));
    let of = |list: &[Verdict]| list.iter().map(key).collect::<std::collections::HashSet<_>>();
    let (in_now, in_then) = (of(now), of(then));
    let only_now = now.iter().filter(|verdict| !in_then.contains(&key(verdict))).map(|v| ("now", v));
    let only_then = then.iter().filter(|verdict| !in_now.contains(&key(verdict))).map(|v| ("then", v));
    let both = then.iter().filter(|verdict| in_now.contains(&key(verdict))).map(|v| ("both", v));
    let mut differ: Vec<_> = only_now.chain(only_then).collect();
    differ.sort_by_key(|(_, verdict)| verdict.time);
    let all = differ.into_iter().chain(both).take(SAMPLE_MAX);
    all.map(|(raised, verdict)| PreviewedAlert { raised, alert: verdict.into() }).collect()
}

/// The batch with templates of a miner of its own, as the stream gives them to the detectors.
fn mined_batch(miner: &mut Miner, batch: &Batch) -> Batch {
    let mut mined = batch.clone();
    heimdall_store::annotate(miner, &mut mined);
    mined
}
