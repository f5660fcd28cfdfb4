//! What somebody who looks around asks for: one record with what surrounds it, the services and how they call each other.
//!
//! - [`record`]: `GET /api/v1/records/{id}`; [`trace`]: `GET /api/v1/traces/{id}`
//! - [`services`]: `GET /api/v1/services`; [`map`]: `GET /api/v1/services/map`
//! - [`shapes`]: what answers of `/api/v1/query` look like, for the description of the API
//! - [`pages`]: the cursor of a list of records; [`ask`]: questions in plain words

pub(crate) mod ask;
pub(crate) mod map;
pub(crate) mod pages;
pub(crate) mod record;
pub(crate) mod services;
pub(crate) mod shapes;
pub(crate) mod trace;

use heimdall_model::time::NS_PER_HOUR;
use heimdall_model::{Dataset, Tenant, Timestamp};
use heimdall_query::{Answer, Engine, ParseContext, QueryError, RunLimits, TimeRange, search};
use heimdall_store::Control;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::extract::time_opt;
use crate::problem::Problem;

/// The routes of this folder.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(record::one_record))
        .routes(routes!(trace::one_trace))
        .routes(routes!(services::list_services))
        .routes(routes!(map::service_map))
}

/// The range that two parameters name; the latest hour when they name none.
fn range(from: Option<&str>, to: Option<&str>, now: Timestamp) -> Result<TimeRange, Problem> {
    let to = time_opt("to", to, now)?.unwrap_or(now);
    let from = time_opt("from", from, now)?.unwrap_or_else(|| to.saturating_add_ns(-NS_PER_HOUR));
    if from >= to {
        return Err(Problem::parameter("from", "is not before `to`"));
    }
    Ok(TimeRange { from, to })
}

/// One question about the logs of a range, on the road that every question takes.
struct Asker<'a> {
    engine: &'a Engine,
    tenant: &'a Tenant,
    range: TimeRange,
    now: Timestamp,
    control: &'a Control,
    limits: RunLimits,
}

impl Asker<'_> {
    /// The answer to a line of ours, and the plan's estimate of the rows that a line would look at.
    fn ask(&self, line: &str, range: TimeRange) -> Result<Answer, QueryError> {
        self.engine.answer(&self.query(line, range), self.control, self.limits)
    }

    fn rows_estimate(&self, line: &str, range: TimeRange) -> Result<u64, QueryError> {
        Ok(self.engine.explain(&self.query(line, range), self.limits)?.rows_estimate)
    }

    fn query(&self, line: &str, range: TimeRange) -> heimdall_query::Query {
        let mut context = ParseContext::new(self.tenant.clone(), Dataset::Logs, self.now);
        (context.from, context.to) = (Some(range.from), Some(range.to));
        search::parse(line, &context).expect("a line of ours parses")
    }
}
