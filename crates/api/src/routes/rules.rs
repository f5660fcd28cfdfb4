//! Rules as people write them: checked and tried before they are kept, kept for one tenant, switched off or to rehearsal.
//!
//! A rule of a tenant is about its own records; rules that come with the product or from the operator's folder cannot be
//! changed here, and a mode holds for one tenant alone. See [`crate::Desk`].

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use heimdall_detect::trial::{Ground, Match};
use heimdall_detect::{DetectConfig, Mode, RuleError, RuleFile, RuleInfo, RuleSet, Trial};
use heimdall_guard::Scope;
use heimdall_ingest::body::{self, BodyFormat};
use heimdall_ingest::{DecodeLimits, Decoded};
use heimdall_model::schema::logs;
use heimdall_model::verdict::Entity;
use heimdall_model::{Dataset, Filter, Severity, Tenant, Timestamp, Verdict};
use heimdall_query::search::filter_line;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::access::Access;
use crate::desk::{DeskError, RULE_BYTES_MAX, RuleOrigin, RuleSource, compile_rules};
use crate::extract::{Document, Params, Segment, short};
use crate::problem::{FieldError, Problem, ProblemDocument};
use crate::routes::detection::{RuleDocument, rule_document};
use crate::routes::{Deed, blocking, change};
use crate::{AppState, error};

/// Records of one test.
const TEST_RECORDS_MAX: usize = 1_000;
/// What text that is checked is called in messages; it has no file.
const DRAFT: &str = "rule";

/// Something about a rule that people should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RuleDiagnostic)]
pub(crate) struct Diagnostic {
    /// Line of the text, from 1; null when it is about the whole.
    line: Option<usize>,
    /// Character in the line, from 1.
    column: Option<usize>,
    /// `error`: the rule does not load; `warning`: it does, and could be better.
    severity: &'static str,
    /// What is the matter.
    message: String,
    /// What to do about it.
    hint: Option<String>,
}

impl From<&RuleError> for Diagnostic {
    fn from(error: &RuleError) -> Diagnostic {
        Diagnostic {
            line: error.line,
            column: error.column,
            severity: "error",
            message: error.reason.clone(),
            hint: error.hint.clone(),
        }
    }
}

/// What a rule says of itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RuleSummary {
    /// Stable id.
    id: String,
    /// Short name for people.
    title: String,
    /// What it finds.
    description: String,
    /// `signature` (a rule of Heimdall's own kind), `sigma` or `correlation` (of Sigma).
    kind: &'static str,
    /// In the rule's own words: `warning` or `critical`; of Sigma `informational`, `low`, `medium`, `high` or `critical`.
    level: &'static str,
    /// Severity of its findings.
    #[schema(value_type = String, example = "WARNING")]
    severity: Severity,
    /// Dataset it reads.
    #[schema(value_type = String, example = "logs")]
    dataset: Dataset,
    /// Whether it is evaluated.
    enabled: bool,
    /// Tags, such as `attack.t1110`.
    tags: Vec<String>,
    /// Line of the text where it begins, from 1.
    line: usize,
}

impl From<&RuleInfo> for RuleSummary {
    fn from(info: &RuleInfo) -> RuleSummary {
        RuleSummary {
            id: info.id.clone(),
            title: info.title.clone(),
            description: info.description.clone(),
            kind: info.kind.as_str(),
            level: info.level,
            severity: info.severity,
            dataset: info.dataset,
            enabled: info.enabled,
            tags: info.tags.clone(),
            line: info.line,
        }
    }
}

/// A rule to be checked.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckRequest {
    /// One rule or several, as YAML: of Heimdall's own kind or Sigma.
    yaml: String,
}

/// What is the matter with a rule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckAnswer {
    /// Whether everything loads.
    ok: bool,
    /// Errors, then warnings, each by line.
    diagnostics: Vec<Diagnostic>,
    /// The rules that load.
    rules: Vec<RuleSummary>,
}

/// Checks rules without keeping them: whether they load, and what could be better, by line and column.
#[utoipa::path(
    post, path = "/api/v1/rules/check", tag = "detection", request_body = CheckRequest,
    responses((status = 200, description = "what was found; rules that do not load are no error of the request", body = CheckAnswer))
)]
pub(crate) async fn check(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<CheckRequest>,
) -> Result<Json<CheckAnswer>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let answer = blocking(move || {
        let draft = draft(&state, &tenant, &request.yaml);
        let rules = draft.rules.infos().iter().map(RuleSummary::from).collect();
        CheckAnswer { ok: draft.is_sound(), diagnostics: draft.diagnostics, rules }
    });
    answer.await.map(Json)
}

/// Text that may become a rule of a tenant.
pub(crate) struct Draft {
    pub(crate) rules: RuleSet,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Draft {
    pub(crate) fn is_sound(&self) -> bool {
        self.diagnostics.iter().all(|diagnostic| diagnostic.severity != "error")
    }
}

/// Compiles text as a rule of a tenant. Blocks.
pub(crate) fn draft(state: &AppState, tenant: &Tenant, yaml: &str) -> Draft {
    let file = RuleFile { owner: Some(tenant.clone()), ..RuleFile::shared(DRAFT, yaml) };
    let (rules, errors) = compile_rules(&[file]);
    let mut diagnostics: Vec<Diagnostic> = errors.iter().map(Diagnostic::from).collect();
    if rules.infos().is_empty() && diagnostics.is_empty() {
        diagnostics.push(Diagnostic {
            line: Some(1),
            column: Some(1),
            severity: "error",
            message: "there is no rule in it".to_owned(),
            hint: Some("a rule has at least `id`, `title`, `severity` and `when`".to_owned()),
        });
    }
    diagnostics.extend(rules.infos().iter().filter(|info| state.desk.is_shared(&info.id)).map(|info| {
        Diagnostic {
            line: Some(line_of(yaml, info.line, "id")),
            column: None,
            severity: "error",
            message: format!("rule `{}` exists already, and is everybody's", info.id),
            hint: Some(
                "give it an id of its own; switch the other off if it shall take its place".to_owned(),
            ),
        }
    }));
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    let mut warnings = warnings(yaml, &rules);
    warnings.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    diagnostics.extend(warnings);
    Draft { rules, diagnostics }
}

/// The line of a key in the document that begins at `start`.
fn line_of(yaml: &str, start: usize, key: &str) -> usize {
    let lines = yaml.lines().enumerate().skip(start.saturating_sub(1));
    let found = lines.take_while(|(index, line)| index + 1 == start || line.trim_end() != "---");
    let is_key = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'));
    let mut found = found.filter(|(_, line)| is_key(line));
    found.next().map_or(start, |(index, _)| index + 1)
}

/// What could be better about rules that load.
fn warnings(yaml: &str, rules: &RuleSet) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let mut warn = |line: usize, message: String, hint: &str| {
        warnings.push(Diagnostic {
            line: Some(line),
            column: None,
            severity: "warning",
            message,
            hint: Some(hint.to_owned()),
        });
    };
    for rule in rules.rules() {
        let at = |key: &str| line_of(yaml, rule.line, key);
        let (matching, others) = (rule.tests.matching.is_empty(), rule.tests.no_match.is_empty());
        if matching || others {
            let missing = if matching { "must match" } else { "must not match" };
            warn(
                at("tests"),
                format!("`{}` has no sample that it {missing}", rule.id),
                "add `tests: {match: [...], no_match: [...]}`: they are checked with the rule",
            );
        }
        if rule.is_asked_always() {
            warn(
                at("when"),
                format!("`{}` is asked about every record: no word is known that each match holds", rule.id),
                "add a word to `when`, or list words in `needs` of which each match holds one",
            );
        }
        if rule.mitigation.is_empty() {
            warn(
                at("mitigation"),
                format!("`{}` does not say what to do", rule.id),
                "add `mitigation`: one step each",
            );
        }
        if !rule.enabled {
            warn(
                at("enabled"),
                format!("`{}` is not enabled: it finds nothing", rule.id),
                "remove `enabled: false`",
            );
        }
    }
    for failure in rules.check_samples() {
        let rule = rules.rules().iter().find(|rule| rule.id == failure.rule);
        let line = rule.map_or(1, |rule| line_of(yaml, rule.line, "tests"));
        warn(line, failure.to_string(), "correct the condition, or the sample");
    }
    warnings
}

/// Records to try a rule on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleTestRequest {
    /// One rule or several.
    yaml: String,
    /// Records: objects as they are ingested, or texts, which are messages. At most 1,000.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    records: Vec<Value>,
    /// Instead of `records`: lines as a file has them, or JSON.
    #[serde(default)]
    text: Option<String>,
    /// What the lines are: `auto` (default), `syslog`, `access`, `logfmt`, `plain` or `ndjson`.
    #[serde(default)]
    source: Option<String>,
    /// `logs` (default), `metrics` or `spans`.
    #[serde(default)]
    dataset: Option<String>,
}

/// Part of a record that makes a rule match.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroundView {
    /// The field, as the rule names it; null when any text of the record will do.
    field: Option<String>,
    /// Its value; null when its presence or absence is what counts.
    value: Option<String>,
    /// The part of the condition it meets, as a search line; null for Sigma rules.
    test: Option<String>,
}

impl GroundView {
    pub(crate) fn new(ground: Ground, dataset: Dataset) -> GroundView {
        let line = |(target, test)| filter_line(&Filter::Test(target, test), dataset);
        GroundView { field: ground.field, value: ground.value, test: ground.test.map(line) }
    }
}

/// A rule that matched a record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MatchedRule {
    /// Its id.
    rule: String,
    /// Its title.
    title: String,
    /// Why.
    why: Vec<GroundView>,
}

/// A record and the rules that matched it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestedRecord {
    /// Its place in the request, from 0; rejected ones count.
    index: u64,
    /// Its time.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The record as it was understood, by field.
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    record: serde_json::Map<String, Value>,
    /// The rules whose condition it meets.
    matched: Vec<MatchedRule>,
}

/// An alert that would have been raised, or reported again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WouldBeAlert {
    /// The rule.
    rule: String,
    /// Its title.
    title: String,
    /// How bad.
    #[schema(value_type = String, example = "WARNING")]
    severity: Severity,
    /// What it is about.
    entity: EntityView,
    /// Event time of the record that completed it.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// One sentence.
    summary: String,
}

/// What something is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct EntityView {
    /// Such as `source_ip`.
    kind: String,
    /// Such as `203.0.113.7`.
    value: String,
}

impl EntityView {
    pub(crate) fn new(kind: String, value: String) -> EntityView {
        EntityView { kind, value }
    }
}

impl From<&Entity> for EntityView {
    fn from(entity: &Entity) -> EntityView {
        EntityView { kind: entity.kind.clone(), value: entity.value.clone() }
    }
}

impl WouldBeAlert {
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }
}

impl From<&Verdict> for WouldBeAlert {
    fn from(verdict: &Verdict) -> WouldBeAlert {
        WouldBeAlert {
            rule: verdict.rule.clone(),
            title: verdict.title.clone(),
            severity: verdict.severity,
            entity: (&verdict.entity).into(),
            time: verdict.time,
            summary: verdict.summary.clone(),
        }
    }
}

/// What rules made of records.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestAnswer {
    /// Whether everything loads; when not, nothing was tried.
    ok: bool,
    /// What is the matter with the rules.
    diagnostics: Vec<Diagnostic>,
    /// The rules that load.
    rules: Vec<RuleSummary>,
    /// Every record that was understood.
    records: Vec<TestedRecord>,
    /// Records that were not understood.
    rejected: Vec<FieldError>,
    /// What would have been told, thresholds and correlations counted in.
    alerts: Vec<WouldBeAlert>,
}

/// Tries rules on records that are sent along: which match which, by what, and what would have been told.
#[utoipa::path(
    post, path = "/api/v1/rules/test", tag = "detection", request_body = RuleTestRequest,
    responses(
        (status = 200, description = "what they made of the records", body = TestAnswer),
        (status = 400, description = "the records cannot be read at all", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn test(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<RuleTestRequest>,
) -> Result<Json<TestAnswer>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let decoded = decode(&request, state.clock.now())?;
    let answer = blocking(move || {
        let draft = draft(&state, &tenant, &request.yaml);
        tried(draft, &tenant, decoded, &state.desk.config())
    });
    answer.await.map(Json)
}

fn decode(request: &RuleTestRequest, now: Timestamp) -> Result<Decoded, Problem> {
    let dataset = super::dataset(request.dataset.as_deref())?;
    let limits = DecodeLimits { records_max: TEST_RECORDS_MAX as u64, ..DecodeLimits::default() };
    let source = request.source.as_deref().filter(|source| !source.is_empty()).unwrap_or("auto");
    let format = BodyFormat::from_name(source).ok_or_else(|| {
        Problem::field(
            "source",
            format!("`{}` is none: auto, syslog, access, logfmt, plain, ndjson", short(source)),
        )
    })?;
    let decoded = match &request.text {
        Some(_) if !request.records.is_empty() => {
            return Err(Problem::field("text", "goes without `records`"));
        }
        Some(text) => body::decode(dataset, format, text.as_bytes(), now, &limits),
        None => {
            let record = |record: &Value| match record {
                Value::String(message) => json!({ "message": message }),
                other => other.clone(),
            };
            let records = Value::Array(request.records.iter().map(record).collect());
            body::decode(dataset, BodyFormat::Json, records.to_string().as_bytes(), now, &limits)
        }
    };
    decoded.map_err(|refused| error::body(&refused))
}

fn tried(draft: Draft, tenant: &Tenant, decoded: Decoded, config: &DetectConfig) -> TestAnswer {
    let rejected: Vec<FieldError> = decoded.rejected.iter().map(error::rejected).collect();
    let ok = draft.is_sound();
    let diagnostics = draft.diagnostics;
    let mut trial = Trial::new(config, draft.rules);
    let rules = trial.rules().iter().map(RuleSummary::from).collect();
    if !ok {
        return TestAnswer { ok, diagnostics, rules, records: Vec::new(), rejected, alerts: Vec::new() };
    }
    let (mut matches, mut verdicts) = (Vec::new(), Vec::new());
    let batch = decoded.batch;
    trial.observe(tenant, &batch, &mut matches, &mut verdicts);
    // Rows are the records without the rejected ones.
    let is_rejected = |index: &u64| decoded.rejected.iter().any(|rejected| rejected.index == *index);
    let indices = (0_u64..).filter(|index| !is_rejected(index));
    let mut records = Vec::new();
    for (row, index) in batch.iter().zip(indices) {
        let here: Vec<Match> = matches.iter().filter(|found| found.row == row.index()).copied().collect();
        let matched = here.into_iter().map(|found| {
            let why = trial.why(found.rule, &row).into_iter();
            let why = why.map(|ground| GroundView::new(ground, batch.dataset)).collect();
            let info = &trial.rules()[found.rule];
            MatchedRule { rule: info.id.clone(), title: info.title.clone(), why }
        });
        let matched = matched.collect();
        let mut record = row.to_json();
        // Ids are made when records are kept.
        record.remove("id");
        record.remove(Dataset::Logs.field(logs::TEMPLATE_ID).name);
        records.push(TestedRecord { index, time: row.timestamp(), record, matched });
    }
    let alerts = verdicts.iter().map(WouldBeAlert::from).collect();
    TestAnswer { ok, diagnostics, rules, records, rejected, alerts }
}

/// A rule with its text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleText {
    /// Its id.
    id: String,
    /// The rule as it is in force; null when it does not load.
    rule: Option<RuleDocument>,
    /// Its text: its own document of the file, and for a tenant's own rule everything that was put.
    yaml: String,
    /// The file it is from.
    file: String,
    /// Line of the text in that file, from 1.
    line: usize,
    /// `built_in`, `folder` or `own`: only one's own can be changed.
    origin: RuleOrigin,
    /// Counts the changes of one's own rule; send it with the next. 0 for others.
    revision: u64,
    /// Who made it.
    created_by: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// Who changed it last.
    updated_by: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
    /// Why it does not load, when it does not; what could be better about one's own.
    diagnostics: Vec<Diagnostic>,
}

/// The text of a rule beside the rule. Blocks.
fn rule_text(state: &AppState, tenant: &Tenant, id: &str, source: RuleSource) -> Result<RuleText, Problem> {
    let rule = rule_document(state, tenant, id)?;
    let is_own = source.origin == RuleOrigin::Own;
    let mut diagnostics = Vec::new();
    if is_own {
        diagnostics = draft(state, tenant, &source.yaml).diagnostics;
    }
    let kept = source.kept;
    let of = |part: fn(&crate::desk::Kept) -> String| kept.as_ref().map(part);
    Ok(RuleText {
        id: id.to_owned(),
        rule,
        file: source.file,
        line: source.line,
        origin: source.origin,
        revision: kept.as_ref().map_or(0, |kept| kept.revision),
        created_by: of(|kept| kept.created_by.clone()),
        created_at: kept.as_ref().map(|kept| kept.created_at),
        updated_by: of(|kept| kept.updated_by.clone()),
        updated_at: kept.as_ref().map(|kept| kept.updated_at),
        diagnostics,
        yaml: source.yaml,
    })
}

/// One rule with its text.
#[utoipa::path(
    get, path = "/api/v1/rules/{id}", tag = "detection",
    params(("id" = String, Path, description = "id of the rule")),
    responses(
        (status = 200, description = "the rule", body = RuleText),
        (status = 404, description = "no such rule", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn rule(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
) -> Result<Json<RuleText>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let found = blocking(move || {
        let source = state.desk.rule(&tenant, &id).map_err(|error| desk(&error))?;
        let source = source.ok_or_else(|| Problem::not_found("rule", short(&id)))?;
        rule_text(&state, &tenant, &id, source)
    });
    found.await?.map(Json)
}

/// A rule to be kept.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleRequest {
    /// One rule, of the id in the path; a Sigma correlation comes with the rules it names. At most 64 KiB and 20 documents.
    #[serde(default)]
    yaml: String,
    /// The revision that was read; 0 or absent makes a new rule.
    #[serde(default)]
    revision: u64,
}

/// Makes or changes a rule of the tenant. It is in force at once, for the tenant's records only.
#[utoipa::path(
    put, path = "/api/v1/rules/{id}", tag = "detection", request_body = RuleRequest,
    params(("id" = String, Path, description = "id of the rule, as in its text")),
    responses(
        (status = 200, description = "the rule as it is kept", body = RuleText),
        (status = 201, description = "the same, of a new one", body = RuleText),
        (status = 409, description = "`revision_conflict`: somebody else changed it; `rule_not_own`: it is everybody's; `too_many_rules`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_rule`: it does not load, see `diagnostics`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_rule(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
    Document(request): Document<RuleRequest>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::Admin)?;
    if request.yaml.len() > RULE_BYTES_MAX {
        return Err(Problem::field("yaml", format!("is larger than {RULE_BYTES_MAX} bytes")));
    }
    let action = if request.revision == 0 { "rule.add" } else { "rule.change" };
    let deed = Deed::new(action, short(&id), &tenant);
    let put = change(state, access, deed, move |state, by| {
        let put = state.desk.put_rule(&tenant, &id, &request.yaml, request.revision, by);
        let source = put.map_err(|error| desk(&error))?;
        let status = if request.revision == 0 { StatusCode::CREATED } else { StatusCode::OK };
        Ok((status, Json(rule_text(state, &tenant, &id, source)?)))
    });
    put.await.map(IntoResponse::into_response)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteParams {
    /// The revision that was read; absent: whichever it is.
    revision: Option<u64>,
}

/// Removes a rule of the tenant.
#[utoipa::path(
    delete, path = "/api/v1/rules/{id}", tag = "detection",
    params(("id" = String, Path, description = "id of the rule"), DeleteParams),
    responses(
        (status = 204, description = "removed; its alerts stay"),
        (status = 404, description = "no such rule", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`revision_conflict`, or `rule_not_own`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_rule(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode, Problem> {
    let tenant = access.require(Scope::Admin)?;
    let deed = Deed::new("rule.delete", short(&id), &tenant);
    let deleted = change(state, access, deed, move |state, _| {
        state.desk.delete_rule(&tenant, &id, params.revision).map_err(|error| desk(&error))
    });
    deleted.await.map(|()| StatusCode::NO_CONTENT)
}

/// What shall become of the findings of a rule.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModeRequest {
    /// `on`: they raise alerts; `dry_run`: they are counted and shown in the log; `off`: they are counted.
    #[serde(default)]
    mode: String,
}

/// Switches a rule on, off or to rehearsal, for this tenant. It holds at once and goes before `detect.dry_run`.
#[utoipa::path(
    post, path = "/api/v1/rules/{id}/mode", tag = "detection", request_body = ModeRequest,
    params(("id" = String, Path, description = "id of the rule")),
    responses(
        (status = 200, description = "the rule", body = RuleDocument),
        (status = 404, description = "no such rule", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn set_mode(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
    Document(request): Document<ModeRequest>,
) -> Result<Json<RuleDocument>, Problem> {
    let tenant = access.require(Scope::Admin)?;
    let mode = Mode::parse(&request.mode).ok_or_else(|| {
        Problem::field("mode", format!("`{}` is none: on, dry_run, off", short(&request.mode)))
    })?;
    let deed = Deed::new("rule.mode", short(&id), &tenant).with(mode.as_str().to_owned());
    let set = change(state, access, deed, move |state, by| {
        state.desk.set_mode(&tenant, &id, mode, by).map_err(|error| desk(&error))?;
        rule_document(state, &tenant, &id)?.ok_or_else(|| Problem::not_found("rule", short(&id)))
    });
    set.await.map(Json)
}

/// Why the desk refused.
pub(crate) fn desk(refused: &DeskError) -> Problem {
    let detail = refused.to_string();
    let conflict = |code| Problem::new(StatusCode::CONFLICT, code, detail.clone());
    match refused {
        DeskError::NotFound { what, id } => Problem::not_found(what, id),
        DeskError::NotOwn { .. } => conflict("rule_not_own"),
        DeskError::Revision { current, .. } => {
            conflict("revision_conflict").with_member("revision", json!(current))
        }
        DeskError::Invalid { faults } => {
            let diagnostics: Vec<Diagnostic> = faults.iter().map(Diagnostic::from).collect();
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_rule", detail)
                .with_errors(
                    faults.iter().map(|fault| FieldError::of("yaml", fault.reason.clone())).collect(),
                )
                .with_member("diagnostics", json!(diagnostics))
        }
        DeskError::Field { field, reason } => Problem::field(*field, reason.clone()),
        DeskError::TooMany { what: "rules", .. } => conflict("too_many_rules"),
        DeskError::TooMany { .. } => conflict("too_many_modes"),
        DeskError::Store(failed) => error::metastore(failed),
    }
}
