//! Questions in plain words: what there is to ask about, and what a question was understood as.

use std::sync::Arc;

use heimdall_model::schema::logs;
use heimdall_model::time::{NS_PER_DAY, NS_PER_HOUR};
use heimdall_model::{Dataset, Filter, Tenant, Timestamp, Value};
use heimdall_query::ask::{self, AskContext, Asked, Because, NotUnderstood, STATUS_ATTRIBUTES};
use heimdall_query::{ParseContext, QueryError, TimeRange};
use heimdall_store::template::{Miner, TemplateId};
use heimdall_store::{Control, Hit, Order, ScanRequest};
use serde_json::json;

use super::Asker;
use super::shapes::{CompiledPart, CompiledQuestion};
use crate::extract::short;
use crate::problem::{FieldError, Problem};
use crate::routes::in_turn;
use crate::{AppState, error};

/// How long ago a service may have written to be known by its name.
const KNOWN_DAYS: i64 = 7;
/// Latest records that attributes are looked for in.
const SAMPLE_ROWS: usize = 300;
/// Templates of one form at most, in a line.
const TEMPLATES_MAX: usize = 100;

/// Compiles a question, and gives the context of its line the time range that it names.
///
/// # Errors
/// 400 `not_understood`.
pub(crate) async fn understand(
    state: &AppState,
    question: &str,
    zone_name: &str,
    context: &mut ParseContext<'_>,
) -> Result<CompiledQuestion, Problem> {
    let Some(zone) = ask::zone(zone_name) else {
        let reason = format!("`{}` is not a time zone; write it like `Europe/Berlin`", short(zone_name));
        return Err(Problem::parameter("zone", reason));
    };
    if context.dataset != Dataset::Logs {
        return Err(Problem::parameter("dataset", "questions in plain words are about logs"));
    }
    let has_range = context.from.is_some() || context.to.is_some();
    let (inner, tenant, now) = (state.clone(), context.tenant.clone(), context.now);
    let question = question.to_owned();
    let asked = in_turn(state, state.limits.query_timeout, move |control| {
        let known = Known::of(&inner, &tenant, now, control).map_err(|error| error::query(&error))?;
        let store = Arc::clone(&inner.store);
        let like = |text: &str| store.with_templates(&tenant, |miner| like(miner, text)).unwrap_or_default();
        let (services, attributes) = (&known.services, &known.attributes);
        let context = AskContext { now, zone, services, attributes, like: &like, has_range };
        ask::read(&question, &context).map_err(not_understood)
    });
    let Asked { line, range, because } = asked.await??;
    if let Some(range) = range {
        let open = |time: Timestamp, open: Timestamp| Some(time).filter(|time| *time != open);
        context.from = open(range.from, TimeRange::ALL.from);
        context.to = open(range.to, TimeRange::ALL.to);
    }
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
    Ok(CompiledQuestion {
        language: "search",
        query: line,
        from: text(context.from),
        to: text(context.to),
        because: because.into_iter().map(part).collect(),
    })
}

fn part(Because { words, kind, means }: Because) -> CompiledPart {
    CompiledPart { words, kind, means }
}

fn not_understood(problem: NotUnderstood) -> Problem {
    let NotUnderstood { reason, understood, unclear, suggestions } = problem;
    let understood: Vec<CompiledPart> = understood.into_iter().map(part).collect();
    Problem::bad_request("not_understood", reason.clone())
        .with_errors(vec![FieldError::of("query", reason)])
        .with_member("understood", json!(understood))
        .with_member("unclear", json!(unclear))
        .with_member("suggestions", json!(suggestions))
}

/// What there is to ask about.
struct Known {
    services: Vec<String>,
    attributes: Vec<String>,
}

impl Known {
    fn of(state: &AppState, tenant: &Tenant, now: Timestamp, control: &Control) -> Result<Known, QueryError> {
        // Whole hours: the rollups answer, and the answer is kept for the next question.
        let to = Timestamp((now.0.div_euclid(NS_PER_HOUR) + 1) * NS_PER_HOUR);
        let range = TimeRange { from: to.saturating_add_ns(-KNOWN_DAYS * NS_PER_DAY), to };
        let asker = Asker { engine: &state.engine, tenant, range, now, control, limits: state.run_limits };
        let answer = asker.ask("| stats count() by service | sort -count | limit 10000", range)?;
        let service = |row: &Vec<Value>| match row.first() {
            Some(Value::Text(service)) => Some(service.clone()),
            _ => None,
        };
        let request = ScanRequest {
            tenant: tenant.clone(),
            dataset: Dataset::Logs,
            range,
            filter: Filter::All,
            fields: Some(vec![logs::ATTRIBUTES]),
        };
        let control = Control { without_damaged: true, ..control.clone() };
        let (hits, _) = state.store.search(&request, Order::NewestFirst, SAMPLE_ROWS, &control)?;
        let has = |name: &&str| hits.iter().any(|Hit { block, row }| block.attribute(name, *row).is_some());
        Ok(Known {
            services: answer.rows.iter().filter_map(service).collect(),
            attributes: STATUS_ATTRIBUTES.into_iter().filter(has).map(str::to_owned).collect(),
        })
    }
}

/// The templates whose messages have the form of a text, and those of the same kind.
fn like(miner: &Miner, text: &str) -> Vec<u32> {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let whole = squeezed(text);
    let fits = |id: TemplateId, template: &heimdall_store::template::Template| {
        id != TemplateId::CATCH_ALL
            && (!miner.parameters(id, text).is_empty() || squeezed(&template.text()) == whole)
    };
    let roots: Vec<TemplateId> = miner
        .templates()
        .filter(|(id, template)| fits(*id, template))
        .map(|(id, _)| miner.canonical(id))
        .collect();
    let ids = miner.templates().map(|(id, _)| id).filter(|id| roots.contains(&miner.canonical(*id)));
    ids.map(|id| id.0).take(TEMPLATES_MAX).collect()
}
