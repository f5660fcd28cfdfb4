//! `GET /api/v1/fields`, `/templates`, `/suggest`: what there is to ask for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heimdall_guard::Scope;
use heimdall_model::schema::FieldType;
use heimdall_model::{Dataset, FieldId, Filter, Target, Tenant, attributes};
use heimdall_query::{TimeRange, search};
use heimdall_store::{Control, DamagedSegment, FieldStatistics, Order, ScanError, ScanRequest, Store};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Access;
use crate::extract::{Params, limit, time_opt};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::Problem;
use crate::routes::{blocking, dataset, in_turn};
use crate::wire::Page;
use crate::{AppState, error};

/// Latest records looked at for attribute names.
const SAMPLE_ROWS: usize = 2_000;
/// Attribute names given at most, the most frequent first.
const ATTRIBUTES_MAX: usize = 500;
/// Longest search line completed.
const LINE_BYTES_MAX: usize = search::LINE_BYTES_MAX;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FieldParams {
    /// `logs` (default), `metrics` or `spans`.
    dataset: Option<String>,
    /// Segments with records at or after this time; default all. RFC 3339, epoch, or `now-15m`.
    from: Option<String>,
    /// Segments with records before this time.
    to: Option<String>,
}

/// A field that can be asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldView {
    /// Name in queries.
    name: String,
    /// `time`, `int`, `float`, `level`, `text`, `id` or `json`; an attribute is `any`.
    #[serde(rename = "type")]
    ty: &'static str,
    /// Whether it is part of the schema or was seen in the data.
    kind: &'static str,
    /// Other names that mean it.
    aliases: &'static [&'static str],
    /// What it holds.
    doc: &'static str,
    /// What its values are and what they cost; absent where no record was looked at.
    #[serde(flatten)]
    #[schema(inline)]
    cost: Option<FieldCost>,
}

/// How many values a field has, and what they cost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldCost {
    /// Records that have it.
    count: u64,
    /// Types of its values: `text`, `number`, `bool`, `array`, `object`, `time`, `level`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<&'static str>,
    /// Different values, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    distinct: Option<u64>,
    /// Whether `distinct` is an estimate (standard error 0.8 %).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    distinct_is_estimate: bool,
    /// Bytes of its values before compression.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// The fields of a dataset.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldList {
    /// Schema fields, then attributes by frequency.
    items: Vec<FieldView>,
    /// Records the figures are of: of logs all in the segments that reach into the time range and in memory, of other
    /// datasets the latest 2,000.
    records: u64,
    /// Whether records are missing from the figures; `warnings` says which.
    partial: bool,
    /// What is missing: damaged segments by the names of their files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// Always null: the list is one page.
    next: Option<String>,
}

/// Fields of a dataset: its schema and the attributes its records have, with what each costs.
#[utoipa::path(
    get, path = "/api/v1/fields", tag = "query", params(FieldParams),
    responses((status = 200, description = "the fields", body = FieldList))
)]
pub(crate) async fn fields(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<FieldParams>,
) -> Result<Json<FieldList>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let dataset = dataset(params.dataset.as_deref())?;
    let now = state.clock.now();
    let all = TimeRange::ALL;
    let from = time_opt("from", params.from.as_deref(), now)?.unwrap_or(all.from);
    let to = time_opt("to", params.to.as_deref(), now)?.unwrap_or(all.to);
    let (mut costs, records, missing) = if dataset == Dataset::Logs {
        let store = Arc::clone(&state.store);
        let range = TimeRange { from, to };
        let found = blocking(move || store.field_statistics_without_damaged(&tenant, dataset, range)).await?;
        let (found, missing) = found.map_err(|error| error::scan(&error))?;
        let (costs, records) = costs_of(found);
        (costs, records, missing)
    } else {
        let seen = sample(&state, tenant, dataset).await?;
        let cost = |count| FieldCost {
            count,
            types: Vec::new(),
            distinct: None,
            distinct_is_estimate: false,
            bytes: None,
        };
        let costs = seen.names.into_iter().map(|(name, count)| (Target::Attribute(name), cost(count)));
        (costs.collect(), seen.rows, seen.missing)
    };
    let schema = (0_u8..).zip(dataset.fields()).map(|(code, field)| FieldView {
        name: field.name.to_owned(),
        ty: type_name(field.ty),
        kind: "schema",
        aliases: field.aliases,
        doc: field.doc,
        cost: costs.remove(&Target::Field(FieldId(code))),
    });
    let mut items: Vec<FieldView> = schema.collect();
    let mut attributes: Vec<(String, FieldCost)> = costs
        .into_iter()
        .filter_map(|(target, cost)| match target {
            Target::Attribute(name) => Some((name, cost)),
            _ => None,
        })
        .collect();
    attributes.sort_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(&b.0)));
    attributes.truncate(ATTRIBUTES_MAX);
    items.extend(attributes.into_iter().map(|(name, cost)| FieldView {
        name,
        ty: "any",
        kind: "attribute",
        aliases: &[],
        doc: "",
        cost: Some(cost),
    }));
    let warnings: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Ok(Json(FieldList { items, records, partial: !warnings.is_empty(), warnings, next: None }))
}

/// What each field costs, and of how many records.
fn costs_of(found: Vec<FieldStatistics>) -> (HashMap<Target, FieldCost>, u64) {
    let records = found.iter().map(|field| field.rows_total).max().unwrap_or(0);
    let cost = |field: FieldStatistics| {
        let cost = FieldCost {
            count: field.rows,
            types: field.types.names().collect(),
            distinct: field.distinct,
            distinct_is_estimate: field.is_estimate,
            bytes: Some(field.bytes),
        };
        (field.target, cost)
    };
    (found.into_iter().map(cost).collect(), records)
}

fn type_name(ty: FieldType) -> &'static str {
    match ty {
        FieldType::Time => "time",
        FieldType::Int => "int",
        FieldType::Float => "float",
        FieldType::Level => "level",
        FieldType::Text => "text",
        FieldType::Id16 | FieldType::Id8 => "id",
        FieldType::Json => "json",
    }
}

/// Attribute names of the latest records.
pub(crate) struct Seen {
    /// Most frequent first, each with the records that have it.
    pub(crate) names: Vec<(String, u64)>,
    rows: u64,
    /// Damaged segments that were not looked at.
    missing: Vec<DamagedSegment>,
}

/// Looks at the latest records for attribute names.
pub(crate) async fn sample(state: &AppState, tenant: Tenant, dataset: Dataset) -> Result<Seen, Problem> {
    let store = Arc::clone(&state.store);
    let seen =
        in_turn(state, state.limits.query_timeout, move |control| seen(&store, tenant, dataset, control));
    seen.await?.map_err(|error| error::scan(&error))
}

fn seen(store: &Arc<Store>, tenant: Tenant, dataset: Dataset, control: &Control) -> Result<Seen, ScanError> {
    let catch_all = dataset.attributes();
    let fields = Some(vec![catch_all]);
    let request = ScanRequest { tenant, dataset, range: TimeRange::ALL, filter: Filter::All, fields };
    let control = Control { without_damaged: true, ..control.clone() };
    let (hits, stats) =
        store.past_damage(|| store.search(&request, Order::NewestFirst, SAMPLE_ROWS, &control))?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for json in hits.iter().filter_map(|hit| hit.block.text(catch_all, hit.row)) {
        for (name, _) in attributes::entries(json) {
            match counts.get_mut(name.as_ref()) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(name.into_owned(), 1);
                }
            }
        }
    }
    let mut names: Vec<_> = counts.into_iter().collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    names.truncate(ATTRIBUTES_MAX);
    Ok(Seen { names, rows: hits.len() as u64, missing: stats.missing })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TemplateParams {
    /// Only templates that hold this text.
    q: Option<String>,
    /// Templates at most; default 100.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A message template.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateView {
    /// Its number within the tenant; `template_id` of records.
    id: u32,
    /// Its text; `<*>` stands for a variable part.
    template: String,
    /// Messages it has matched.
    count: u64,
}

/// Message templates, in order of their numbers.
#[utoipa::path(
    get, path = "/api/v1/templates", tag = "query", params(TemplateParams),
    responses((status = 200, description = "a page of templates", body = Page<TemplateView>))
)]
pub(crate) async fn templates(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<TemplateParams>,
) -> Result<Json<Page<TemplateView>>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let after = params.cursor.as_deref().map(template_cursor).transpose()?.unwrap_or(0);
    let store = Arc::clone(&state.store);
    let q = params.q.unwrap_or_default().to_lowercase();
    blocking(move || Json(template_page(&store, &tenant, &q, after, limit))).await
}

fn template_cursor(text: &str) -> Result<u32, Problem> {
    text.parse().map_err(|_| Problem::parameter("cursor", "is none of this list"))
}

fn template_page(store: &Store, tenant: &Tenant, q: &str, after: u32, limit: usize) -> Page<TemplateView> {
    let mut items = store
        .with_templates(tenant, |miner| {
            miner
                .templates()
                .filter(|(id, _)| id.0 > after)
                .map(|(id, template)| TemplateView {
                    id: id.0,
                    template: template.text(),
                    count: template.count(),
                })
                .filter(|view| q.is_empty() || view.template.to_lowercase().contains(q))
                .take(limit + 1)
                .collect::<Vec<_>>()
        })
        .unwrap_or_default();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|view| view.id.to_string());
    Page { items, next }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SuggestParams {
    /// The search line so far.
    #[serde(default)]
    line: String,
    /// Byte offset of the cursor in it; default its end.
    cursor: Option<usize>,
    /// `logs` (default), `metrics` or `spans`.
    dataset: Option<String>,
}

/// A completion.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SuggestionView {
    /// What to put in place of the bytes from `from` to the cursor.
    text: String,
    /// `field`, `attribute`, `pipe`, `function` or `value`.
    #[schema(value_type = String)]
    kind: search::SuggestionKind,
    /// One line for people.
    doc: String,
    /// Byte offset where the started word begins.
    from: usize,
}

/// What could stand at the cursor of a search line.
#[utoipa::path(
    get, path = "/api/v1/suggest", tag = "query", params(SuggestParams),
    responses((status = 200, description = "completions, best first", body = Page<SuggestionView>))
)]
pub(crate) async fn suggest(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<SuggestParams>,
) -> Result<Json<Page<SuggestionView>>, Problem> {
    let tenant = access.require(Scope::Read)?;
    let dataset = dataset(params.dataset.as_deref())?;
    if params.line.len() > LINE_BYTES_MAX {
        return Err(Problem::parameter("line", "is too long"));
    }
    let names = sample(&state, tenant, dataset).await?.names;
    let known: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    let cursor = params.cursor.unwrap_or(params.line.len());
    let found = search::suggest(&params.line, cursor, dataset, &known);
    let view = |found: search::Suggestion| SuggestionView {
        text: found.text,
        kind: found.kind,
        doc: found.doc,
        from: found.from,
    };
    Ok(Json(Page::whole(found.into_iter().map(view).collect())))
}
