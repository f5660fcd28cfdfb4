//! What the handlers work with.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use heimdall_alert::Alerts;
use heimdall_alert::pipeline::PipelineHandle;
use heimdall_guard::{Audit, Guard, Tokens};
use heimdall_ingest::compression::CompressionLimits;
use heimdall_ingest::{DecodeLimits, Intake};
use heimdall_metastore::Metastore;
use heimdall_model::{Clock, Timestamp};
use heimdall_query::{Engine, RunLimits};
use heimdall_respond::Responder;
use heimdall_respond::runners::Breakers;
use heimdall_sql::SqlEngine;
use heimdall_store::Store;
use heimdall_stream::Tail;
use heimdall_web::Site;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::desk::{Desk, Machine};
use crate::limits::HttpLimits;
use crate::ports::{StatusSource, Writer};
use crate::routes::description::Description;
use crate::routes::doors::DoorView;
use crate::routes::inbound::Inbound;
use crate::routes::trials::Turns;
use crate::sessions::Sessions;
use crate::vitals::Vitals;

/// The parts the API stands on; the binary makes them.
pub struct Parts {
    /// Admission of records.
    pub intake: Arc<Intake>,
    /// Records.
    pub store: Arc<Store>,
    /// Answers to questions.
    pub engine: Engine,
    /// Answers to SQL.
    pub sql: Arc<SqlEngine>,
    /// What people keep: dashboards, queries, annotations.
    pub metastore: Arc<dyn Metastore>,
    /// The doors that have a listener of their own, or that fetch.
    pub doors: Vec<DoorView>,
    /// The web app.
    pub web: Site,
    /// Alerts, their silences and incidents.
    pub alerts: Arc<Alerts>,
    /// Who is told of alerts.
    pub pipeline: PipelineHandle,
    /// What is done about alerts.
    pub responder: Arc<Responder>,
    /// Circuit breakers, where they are on.
    pub breakers: Option<Breakers>,
    /// How others that send us things prove who they are.
    pub inbound: Inbound,
    /// Who gets in.
    pub guard: Guard,
    /// Access tokens.
    pub tokens: Arc<Tokens>,
    /// The audit trail.
    pub audit: Arc<Audit>,
    /// Records as they become findable.
    pub tail: Tail,
    /// State of the running parts.
    pub status: Arc<dyn StatusSource>,
    /// Keeps rules and the tuning of detectors.
    pub desk: Arc<dyn Desk>,
    /// The machine the server is on.
    pub machine: Arc<dyn Machine>,
    /// Writes what is in memory to segments.
    pub writer: Arc<dyn Writer>,
    /// Heimdall's own metrics.
    pub metrics: PrometheusHandle,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Limits of the listeners.
    pub limits: HttpLimits,
    /// What one ingest body may hold.
    pub decode: DecodeLimits,
    /// How far a body may be unpacked.
    pub compression: CompressionLimits,
    /// Bounds of one query answer.
    pub run_limits: RunLimits,
    /// Ends live sessions; the token given to [`crate::serve`].
    pub shutdown: CancellationToken,
}

/// The parts, and what the API keeps of its own; clones are the same state.
///
/// It is behind a trait so that the compiler need not look into all the parts, for each handler anew, to see that what waits
/// while it holds them may move between threads: a quarter of this crate's time.
#[derive(Clone)]
pub struct AppState(Arc<dyn Shared>);

/// See [`AppState`].
trait Shared: Send + Sync {
    fn inner(&self) -> &Inner;
}

impl Shared for Inner {
    fn inner(&self) -> &Inner {
        self
    }
}

/// See [`AppState`].
pub struct Inner {
    parts: Parts,
    started_at: Timestamp,
    /// One permit per running query.
    pub(crate) query_turns: Arc<Semaphore>,
    /// One permit per WebSocket or SSE session.
    pub(crate) live_seats: Arc<Semaphore>,
    /// Held while a document of people is changed: it is read, compared and written by one at a time.
    pub(crate) kept_turn: Mutex<()>,
    /// Turns of trials: rules and detectors over what is kept.
    pub(crate) trials: Turns,
    /// The live sessions.
    pub(crate) sessions: Sessions,
    /// How the server itself fares.
    pub(crate) vitals: Vitals,
    /// The description of the API.
    pub(crate) description: Description,
}

impl AppState {
    /// The state of a server that starts now.
    #[must_use]
    pub fn new(parts: Parts) -> AppState {
        let inner = Inner {
            started_at: parts.clock.now(),
            query_turns: Arc::new(Semaphore::new(parts.limits.queries_max)),
            live_seats: Arc::new(Semaphore::new(parts.limits.live_sessions_max)),
            kept_turn: Mutex::new(()),
            trials: Turns::default(),
            sessions: Sessions::default(),
            vitals: Vitals::new(parts.clock.now()),
            description: Description::default(),
            parts,
        };
        AppState(Arc::new(inner))
    }
}

impl Inner {
    pub(crate) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub(crate) fn uptime_seconds(&self, now: Timestamp) -> i64 {
        now.0.saturating_sub(self.started_at.0).max(0) / 1_000_000_000
    }
}

impl Deref for AppState {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        self.0.inner()
    }
}

impl Deref for Inner {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.parts
    }
}
