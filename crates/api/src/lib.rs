//! HTTP, WebSocket, SSE and the technician TCP listener: the one place where wire types and domain types meet.
//!
//! - [`router`]: every route, registered once for serving and for the API description
//! - [`serve`]: HTTP/1.1 with its limits; [`watch`]: the technician listener
//! - `csv`: lists for spreadsheets
//! - `edge`: around every request (id, metrics, headers, panics); `access`: who is asking, and whether they may
//! - `kept`: documents of people, with revisions; `json_place`: where in a document a reader stopped
//! - `routes`: the handlers; `wire`: documents; `extract`: parameters and bodies; `session`: what outlives a request;
//!   `stall`: cuts clients that stop reading
//! - [`Problem`]: the one error answer; `error`: domain errors as problems
//! - [`StatusSource`]: what the API asks of parts that run beside it; [`desk`]: of who keeps rules and detectors, and of the machine
//! - `sessions`: the live sessions there are; `vitals`: how the server itself fares; `replay`: stored records once more, in order
//!
//! Not here: rules of the domain, protocols other than HTTP and the technician lines.

mod access;
mod csv;
pub mod desk;
mod edge;
mod error;
mod extract;
mod json_place;
mod kept;
mod limits;
mod ports;
mod problem;
mod replay;
mod router;
mod routes;
mod server;
mod session;
mod sessions;
mod stall;
mod state;
mod tables;
mod vitals;
pub mod watch;
mod wire;

pub use desk::{Desk, DeskError, Machine, compile_rules};
pub use edge::DURATION_BUCKETS;
pub use limits::{HttpLimits, QUERY_ROWS_MAX};
pub use ports::{DetectorView, Readiness, RuleFault, RuleView, StatusSource, StreamView, TunedView, Writer};
pub use problem::{FieldError, Problem};
pub use router::router;
pub use routes::doors::DoorView;
pub use routes::inbound::Inbound;
pub use server::{ServeError, serve};
pub use state::{AppState, Inner, Parts};
pub use vitals::keep as keep_vitals;

/// The release.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
