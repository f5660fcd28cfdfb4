//! Builds the parts of the server, runs them, and stops them in the order that loses nothing.
//!
//! Invariants:
//! - every failure to start names what failed; nothing is half started;
//! - one server has a data folder at a time: opening the store removes files that no manifest names, which another's are;
//! - stop order: no new requests, journal drained and synced, stream consumed and written, findings stored, people told;
//! - what the server writes is readable by its own user only;
//! - `run/listeners.json` exists exactly while the server is ready.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use heimdall_agent::Agent;
use heimdall_alert::{AlertConfig, Alerts, EventQueue, FlapConfig, IncidentConfig, Pipeline, PipelineConfig};
use heimdall_api::desk::{DetectorChange, RuleSource};
use heimdall_api::{
    AppState, DURATION_BUCKETS, Desk, DeskError, DetectorView, DoorView, HttpLimits, Inbound,
    Parts as ApiParts, QUERY_ROWS_MAX, Readiness, RuleFault, RuleView, StatusSource, StreamView, Writer,
};
use heimdall_detect::{DetectConfig, Judge, Mode as RuleMode, RuleSet, adjust};
use heimdall_doors::{Doors, Shared as DoorsShared};
use heimdall_guard::{AssessmentLog, AssessmentLogConfig, Audit, Guard, Tokens, check_bind};
use heimdall_ingest::arrive::BodyLimits;
use heimdall_ingest::compression::CompressionLimits;
use heimdall_ingest::rate::RateLimit;
use heimdall_ingest::schema::{SchemaFolder, Schemas};
use heimdall_ingest::{DeadConfig, DeadLetters, DecodeLimits, Intake, IntakeLimits, Pipelines};
use heimdall_journal::Journal;
use heimdall_journal::disk::{Disk, DiskLock, OsDisk};
use heimdall_llm::{LanguageModel, LlmConfig, OpenAi, Reviewer};
use heimdall_metastore::Metastore;
use heimdall_model::{Clock, Judged, SystemClock, Tenant, Timestamp};
use heimdall_query::{Engine, RunLimits};
use heimdall_respond::runners::{self, RunnerPorts, Runners};
use heimdall_respond::{ActionRunner, Playbook, Ports, Prober, Responder};
use heimdall_sql::{SqlConfig, SqlEngine};
use heimdall_store::{Cold, RetentionPolicy, Store, StoreError};
use heimdall_stream::{Parts as StreamParts, Stream, StreamConfig, Tail};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use rustix::fs::Mode;
use rustix::process::umask;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::{AlertsConfig, ColdAfter, Config, IngestConfig, PolicyConfig, ServerConfig};
use crate::herald::Herald;
use crate::machine::{self, Host};
use crate::rulebook::Rulebook;
use crate::scout::Scout;
use crate::tuning::Tuning;
use crate::{local, people, response, telemetry};

/// Time between rounds of housekeeping: expiring tokens, resolving quiet alerts, following feedback, folding histograms.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);
/// Time between looks at the rules folder.
const RULES_LOOK_EVERY: Duration = Duration::from_secs(2);
/// Time between looks whether the journal is replayed.
const READY_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Connections that may wait to be accepted: thousands of agents come back at once after a restart. The kernel takes the
/// smaller of this and its own bound (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// What a command adds to the server it starts.
#[derive(Default)]
pub(crate) struct Extras {
    /// Who does actions before the runners of the configuration do.
    pub hands: Vec<Arc<dyn ActionRunner>>,
    /// Playbooks instead of those that come with Heimdall and the configured ones.
    pub playbooks: Option<Vec<Playbook>>,
}

/// A server that is bound and about to run.
pub(crate) struct Server {
    http: TcpListener,
    watch: TcpListener,
    tls: Option<TlsAcceptor>,
    doors: Doors,
    state: AppState,
    limits: HttpLimits,
    journal: Arc<Journal>,
    stream: Arc<Stream>,
    status: Arc<Status>,
    local: Option<Agent>,
    alerts: Arc<Alerts>,
    tokens: Arc<Tokens>,
    metrics: PrometheusHandle,
    pipeline: Pipeline,
    routing_file: Option<PathBuf>,
    responder: Arc<Responder>,
    runners: Runners,
    events: EventQueue,
    playbooks_dir: Option<PathBuf>,
    hands: response::Hands,
    herald: JoinHandle<()>,
    reviewer: Option<(Reviewer, Herald)>,
    data_dir: PathBuf,
    data_lock: DiskLock,
    shutdown: CancellationToken,
}

impl Server {
    /// Opens and binds everything. Ends when `shutdown` fires, see [`Server::run`].
    pub(crate) async fn build(config: &Config, shutdown: CancellationToken) -> Result<Server> {
        Server::build_with(config, Extras::default(), shutdown).await
    }

    /// As [`Server::build`], with what the configuration does not say.
    pub(crate) async fn build_with(
        config: &Config,
        extras: Extras,
        shutdown: CancellationToken,
    ) -> Result<Server> {
        let data_dir = config.server.data_dir.clone();
        let watch_address = config.server.watch_address();
        check_bind(config.server.listen, config.auth.enabled)?;
        check_bind(watch_address, config.auth.enabled)?;
        umask(Mode::RWXG | Mode::RWXO);
        create_private(&data_dir)?;
        let metrics = install_metrics()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let data_lock = lock(disk.as_ref(), &data_dir)?;
        let store = Store::open(Arc::clone(&disk), &data_dir.join("store"), store_config(config)?);
        let store = Arc::new(store.context("could not open the store")?);
        let journal_config = journal_config(config);
        let disk_room_bytes =
            journal_config.disk_reserve_bytes.saturating_add(journal_config.group_bytes_max);
        let (journal, reader) = Journal::open(journal_config, Arc::clone(&disk), store.journal_seq() + 1)
            .context("could not open the journal")?;
        let journal = Arc::new(journal);
        let metastore: Arc<dyn Metastore> =
            Arc::new(heimdall_metastore::open(&data_dir.join("metastore.sqlite"))?);
        let tokens = Arc::new(Tokens::open(Arc::clone(&metastore), Arc::clone(&clock))?);
        if tokens.ensure_admin_token(&data_dir.join("admin.token"))? {
            tracing::info!(file = %data_dir.join("admin.token").display(), "wrote a new admin token");
        }
        let audit = Arc::new(Audit::open(Arc::clone(&metastore), Arc::clone(&clock))?);
        let alerts = Alerts::open(Arc::clone(&metastore), alert_config(config), Arc::clone(&clock))?;
        let routing = people::routing(&config.alerts)?;
        alerts.set_rules(people::rules(&routing));
        let pipeline = Pipeline::new(
            Arc::clone(&alerts),
            Arc::clone(alerts.silences()),
            Arc::clone(&metastore),
            Arc::clone(&clock),
            routing,
            PipelineConfig { base_url: config.alerts.base_url.clone(), ..PipelineConfig::default() },
        )
        .map_err(|faults| anyhow!(people::listed(&faults)))?;
        let engine = Engine::new(Arc::clone(&store)).with_cache(config.query.cache_bytes.0);
        let pen = response::Pen {
            alerts: Arc::clone(&alerts),
            store: Arc::clone(&metastore),
            clock: Arc::clone(&clock),
        };
        let bell = response::Bell {
            alerts: Arc::clone(&alerts),
            pipeline: Some(pipeline.handle()),
            clock: Arc::clone(&clock),
        };
        let runner_ports = RunnerPorts {
            store: Arc::clone(&metastore),
            clock: Arc::clone(&clock),
            notebook: Arc::new(pen),
            pager: Arc::new(bell),
        };
        let runners = runners::build(&config.runners, &runner_ports).context("runners")?;
        let ward = response::Ward {
            alerts: Arc::clone(&alerts),
            engine: Some(engine.clone()),
            prober: Prober::new(&config.runners.docker.endpoint)?,
            clock: Arc::clone(&clock),
        };
        let hands: response::Hands = extras.hands.into_iter().chain(runners.list.clone()).collect();
        let caller = response::Caller { alerts: Arc::clone(&alerts), clock: Arc::clone(&clock) };
        let ports = Ports {
            runners: hands.clone(),
            metastore: Arc::clone(&metastore),
            health: Arc::new(ward),
            ledger: Arc::new(response::Book { audit: Arc::clone(&audit) }),
            escalation: Arc::new(caller),
            clock: Arc::clone(&clock),
        };
        let own = || response::playbooks(config.respond.playbooks_dir.as_deref(), &hands);
        let playbooks =
            extras.playbooks.map_or_else(own, Ok).map_err(|faults| anyhow!(response::listed(&faults)))?;
        let responder = Responder::open(config.respond.clone(), playbooks, ports)?;
        let events = alerts.events(response::EVENTS_MAX);
        let log = AssessmentLog::open(AssessmentLogConfig::new(data_dir.join("audit")))
            .context("could not open the audit files")?;
        let tuning = Tuning::new(config.detect.clone(), &alerts, Arc::clone(&metastore))?;
        let (sink, herald) =
            Herald::start(Arc::clone(&alerts), log, config.alerts.audit_console, shutdown.clone())?;
        let reviewer = reviewer(&config.llm, Arc::clone(&clock))?;
        let reports = sink.clone();
        let rules_dir = config.alerts.rules_dir.clone();
        let (rulebook, rules) = Rulebook::open(rules_dir, Arc::clone(&metastore), Arc::clone(&clock))?;
        let tail = Tail::default();
        let parts = StreamParts {
            journal: Arc::clone(&journal),
            reader,
            store: Arc::clone(&store),
            judge: judge(tuning.adjusted(), rules, reviewer.as_ref(), &store),
            sink: Box::new(sink),
            tail: tail.clone(),
            clock: Arc::clone(&clock),
        };
        let replay_until = journal.status().durable_seq;
        let stream = Arc::new(Stream::start(parts, stream_config(config))?);
        rulebook.attach(&stream);
        let shed_below_bytes = config.store.disk_reserve.0;
        let machine = Host::new(data_dir.clone(), Arc::clone(&metastore), disk_room_bytes, shed_below_bytes);
        let status = Arc::new(Status {
            journal: Arc::clone(&journal),
            stream: Arc::clone(&stream),
            rulebook,
            tuning,
            clock: Arc::clone(&clock),
            resolve_after: duration(config.alerts.resolve_after),
            replay_until,
            disk,
            data_dir: data_dir.clone(),
            disk_room_bytes,
        });
        let http = bind(config.server.listen)?;
        let watch = bind(watch_address)?;
        let limits = http_limits(config);
        let intake = Intake::new(Arc::clone(&journal), Arc::clone(&clock), &intake_limits(config));
        let intake = Arc::new(furnished(intake, config, clock.now())?);
        let guard = Guard::new(Arc::clone(&tokens), config.auth.enabled);
        let compression = CompressionLimits {
            decompressed_bytes_max: config.ingest.decompressed_bytes_max.usize(),
            ..CompressionLimits::default()
        };
        let doors = Doors::open(
            &config.doors,
            Arc::new(DoorsShared {
                intake: Arc::clone(&intake),
                guard: guard.clone(),
                limits: doors_limits(&limits, &compression),
                data_dir: data_dir.clone(),
                shutdown: shutdown.clone(),
            }),
            config.server.listen.port() == 0,
        )?;
        let local = local::start(&config.local, &data_dir, Arc::clone(&intake), compression.clone()).await?;
        let sql = SqlEngine::new(engine.clone(), &sql_config(config)).context("could not set up SQL")?;
        let state = AppState::new(ApiParts {
            intake,
            engine,
            sql: Arc::new(sql),
            store,
            metastore,
            doors: doors.listed().map(|(name, addr)| DoorView { name, address: addr }).collect(),
            web: heimdall_web::embedded(),
            alerts: Arc::clone(&alerts),
            pipeline: pipeline.handle(),
            responder: Arc::clone(&responder),
            breakers: runners.breakers.clone(),
            inbound: inbound(config),
            guard,
            tokens: Arc::clone(&tokens),
            audit,
            tail,
            status: Arc::<Status>::clone(&status),
            writer: Arc::<Status>::clone(&status),
            desk: Arc::<Status>::clone(&status),
            machine: Arc::new(machine),
            metrics: metrics.clone(),
            clock,
            limits: limits.clone(),
            decode: DecodeLimits::default(),
            compression,
            run_limits: RunLimits { rows_max: QUERY_ROWS_MAX, ..RunLimits::default() },
            shutdown: shutdown.clone(),
        });
        Ok(Server {
            http,
            watch,
            tls: config.server.tls.acceptor("server")?,
            doors,
            state,
            limits,
            journal,
            stream,
            status,
            local,
            alerts,
            tokens,
            metrics,
            pipeline,
            routing_file: config.alerts.routing_file.clone(),
            responder,
            runners,
            events,
            playbooks_dir: config.respond.playbooks_dir.clone(),
            hands,
            herald,
            reviewer: reviewer.map(|reviewer| (reviewer, reports)),
            data_dir,
            data_lock,
            shutdown,
        })
    }

    /// The bound HTTP address.
    pub(crate) fn http_addr(&self) -> std::io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// The bound technician address.
    pub(crate) fn watch_addr(&self) -> std::io::Result<SocketAddr> {
        self.watch.local_addr()
    }

    /// Serves until `shutdown` fires, then stops in order.
    pub(crate) async fn run(self) -> Result<()> {
        let mut addresses = json!({"http": self.http_addr()?, "watch": self.watch_addr()?});
        for (name, addr) in self.doors.addresses() {
            addresses[name] = json!(addr);
        }
        tracing::info!(%addresses, "listening");
        let shutdown = self.shutdown.clone();
        let mut doors = self.doors;
        let (intake, store) = (Arc::clone(&self.state.intake), Arc::clone(&self.state.store));
        let router = heimdall_api::router(self.state.clone(), doors.routes());
        let more = std::mem::take(&mut doors.http).into_iter().map(|door| door.listener);
        let serve = |listener| {
            tokio::spawn(heimdall_api::serve(
                listener,
                router.clone(),
                self.limits.clone(),
                self.tls.clone(),
                shutdown.clone(),
            ))
        };
        let http: Vec<_> = std::iter::once(self.http).chain(more).map(serve).collect();
        let doors = tokio::spawn(doors.run());
        let vitals = tokio::spawn(heimdall_api::keep_vitals(self.state.clone(), shutdown.clone()));
        let watch = tokio::spawn(heimdall_api::watch::serve(self.watch, self.state, shutdown.clone()));
        let told = CancellationToken::new();
        let routing = tokio::spawn(people::watch(
            self.routing_file,
            Arc::clone(&self.alerts),
            self.pipeline.handle(),
            shutdown.clone(),
        ));
        let pipeline = tokio::spawn(self.pipeline.run(told.clone()));
        let playbooks = tokio::spawn(response::watch(
            self.playbooks_dir,
            self.hands,
            Arc::clone(&self.responder),
            shutdown.clone(),
        ));
        let attending = tokio::spawn(response::attend(
            Arc::clone(&self.alerts),
            Arc::clone(&self.responder),
            self.events,
            shutdown.clone(),
        ));
        let keeping_runners = tokio::spawn(response::keep(self.runners, shutdown.clone()));
        let responding = tokio::spawn(self.responder.run(shutdown.clone()));
        let keeping = tokio::spawn(housekeeping(
            Arc::clone(&self.alerts),
            self.tokens,
            self.metrics,
            Arc::clone(&self.status),
            shutdown.clone(),
        ));
        let rules = tokio::spawn(watch_rules(Arc::clone(&self.status), shutdown.clone()));
        let sifting = tokio::spawn(watch_intake(intake, shutdown.clone()));
        let review = self.reviewer.map(|(reviewer, reports)| {
            let sink = move |verdicts| tokio::task::block_in_place(|| reports.report(verdicts));
            tokio::spawn(reviewer.run(sink, shutdown.clone()))
        });
        let listeners = self.data_dir.join("run/listeners.json");
        if wait_until_replayed(&self.status, &shutdown).await {
            write_listeners(&listeners, &addresses.to_string())?;
            tracing::info!("ready");
            let stop = shutdown.clone();
            let adds_up = std::thread::Builder::new().name("cubes".to_owned());
            if let Err(error) = adds_up.spawn(move || keep_cubes(&store, &stop)) {
                tracing::warn!(%error, "cubes are not added up ahead of questions");
            }
        }
        shutdown.cancelled().await;
        tracing::info!("stopping");
        if let Some(local) = self.local
            && let Err(error) = local.stop().await
        {
            tracing::warn!(%error, "what is watched on this host did not end cleanly; it goes on after the next start");
        }
        // Absent when the server never was ready.
        let _ = std::fs::remove_file(&listeners);
        for http in http {
            if let Err(error) = http.await? {
                tracing::warn!(%error, "HTTP did not end cleanly");
            }
        }
        doors.await?;
        watch.await?;
        keeping.await?;
        rules.await?;
        sifting.await?;
        vitals.await?;
        for task in [routing, playbooks, attending, keeping_runners, responding] {
            task.await?;
        }
        if let Some(review) = review {
            review.await?;
        }
        let (journal, stream, herald) = (self.journal, self.stream, self.herald);
        let alerts = Arc::clone(&self.alerts);
        tokio::task::spawn_blocking(move || {
            journal.close();
            stream.join();
            if herald.join().is_err() {
                tracing::error!("the herald panicked; its findings come again from the journal");
            }
            if let Err(error) = alerts.flush() {
                tracing::error!(%error, "alerts could not be made durable");
            }
        })
        .await?;
        told.cancel();
        pipeline.await?;
        let alerts = self.alerts;
        tokio::task::spawn_blocking(move || alerts.close()).await?;
        drop(self.data_lock);
        tracing::info!("stopped; nothing is left in memory");
        Ok(())
    }
}

/// The intake with its pipelines, schemas, dead letters, and the receipts of earlier runs.
fn furnished(intake: Intake, config: &Config, now: Timestamp) -> Result<Intake> {
    let IngestConfig { pipelines_dir, pipelines, schemas_dir, .. } = &config.ingest;
    let schemas = Schemas::default();
    if let Some(dir) = schemas_dir {
        schemas.add(Arc::new(SchemaFolder::open(dir.clone())));
    }
    let pipelines = Pipelines::new(pipelines_dir.clone(), pipelines.clone(), schemas);
    look_at(&pipelines);
    let data_dir = &config.server.data_dir;
    let intake = intake
        .with_pipelines(Arc::new(pipelines))
        .with_receipts(data_dir.join("receipts"))
        .context("could not open the receipts")?;
    let bytes_max = config.ingest.dead_letter_bytes_max.0;
    if bytes_max == 0 {
        return Ok(intake);
    }
    let age_max = duration(config.ingest.dead_letter_age_max);
    let dead = DeadConfig { bytes_max, age_max, ..DeadConfig::new(data_dir.join("dead-letters")) };
    let dead = DeadLetters::open(dead, now).context("could not open the dead letters")?;
    Ok(intake.with_dead_letters(Arc::new(dead)))
}

/// Reads the pipelines again when they changed. Blocks on disk.
fn look_at(pipelines: &Pipelines) {
    let Some(loaded) = pipelines.look() else { return };
    for fault in pipelines.current().faults() {
        tracing::error!(%fault, "a pipeline does not load");
    }
    tracing::info!(enabled = loaded.enabled, faults = loaded.faults, "pipelines read");
}

fn doors_limits(http: &HttpLimits, compression: &CompressionLimits) -> heimdall_doors::Limits {
    heimdall_doors::Limits {
        body: BodyLimits {
            bytes_max: http.body_bytes_max,
            idle: http.body_idle_timeout,
            total: http.body_timeout,
        },
        compression: compression.clone(),
        decode: DecodeLimits::default(),
        inline_decode_bytes_max: http.inline_decode_bytes_max,
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().with_context(|| format!("could not listen on {address}"))
}

fn create_private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("could not make the data folder `{}`", dir.display()))
}

/// Takes the data folder for this process, until it ends or the guard is dropped.
pub(crate) fn lock(disk: &dyn Disk, data_dir: &Path) -> Result<DiskLock> {
    disk.lock(&data_dir.join("LOCK")).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => {
            anyhow!("another server is running on the data folder `{}`", data_dir.display())
        }
        _ => anyhow!(error).context(format!("the data folder `{}` cannot be written", data_dir.display())),
    })
}

/// One recorder serves all servers of a process, as in tests and the demo.
fn install_metrics() -> Result<PrometheusHandle> {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)?
        .install_recorder()?;
    telemetry::describe();
    Ok(HANDLE.get_or_init(|| handle).clone())
}

fn duration(period: heimdall_detect::Period) -> Duration {
    Duration::from_nanos(u64::try_from(period.ns()).unwrap_or(0))
}

pub(crate) fn store_config(config: &Config) -> Result<heimdall_store::StoreConfig, StoreError> {
    let cold = |url: &String| Cold::open(url, &config.server.data_dir);
    Ok(heimdall_store::StoreConfig {
        flush_rows: config.store.flush_rows,
        flush_bytes: config.store.flush_bytes.usize(),
        flush_age: duration(config.store.flush_age),
        retention: duration(config.store.retention),
        retention_bytes: config.store.retention_bytes.0,
        policies: config.store.policies.iter().map(policy).collect(),
        disk_reserve_bytes: config.store.disk_reserve.0,
        cold: config.store.cold_url.as_ref().map(cold).transpose()?,
        cold_after: duration(config.store.cold_after),
        local_bytes_max: config.store.local_bytes_max.0,
        cube_fields: config.store.cube_fields.clone(),
        sidecar_cache_bytes: config.store.sidecar_cache_bytes.usize(),
        footer_cache_bytes: config.store.footer_cache_bytes.usize(),
        open_files_max: machine::raise_open_files(),
        ..heimdall_store::StoreConfig::default()
    })
}

fn policy(config: &PolicyConfig) -> RetentionPolicy {
    let PolicyConfig { keep, tenant, dataset, classification, retention_policy, cold_after } = config.clone();
    let classification = classification.map(|class| class.as_str().to_owned());
    let cold_after = cold_after.map(|when| match when {
        ColdAfter::Age(age) => duration(age),
        ColdAfter::Never => heimdall_store::NEVER,
    });
    RetentionPolicy { tenant, dataset, classification, retention_policy, keep: duration(keep), cold_after }
}

fn stream_config(config: &Config) -> StreamConfig {
    StreamConfig { flush_age: duration(config.store.flush_age) }
}

fn journal_config(config: &Config) -> heimdall_journal::Config {
    heimdall_journal::Config {
        bytes_max: config.journal.bytes_max.0,
        file_bytes_max: config.journal.file_bytes_max.0,
        disk_reserve_bytes: config.journal.disk_reserve.0,
        key_window: duration(config.journal.key_window),
        ..heimdall_journal::Config::new(config.server.data_dir.join("journal"))
    }
}

fn alert_config(config: &Config) -> AlertConfig {
    let AlertsConfig { resolve_after, reopen_within, incident_window, .. } = config.alerts;
    AlertConfig {
        resolve_after: duration(resolve_after),
        flapping: FlapConfig { reopen_within: duration(reopen_within), ..FlapConfig::default() },
        incidents: IncidentConfig { window: duration(incident_window), ..IncidentConfig::default() },
        ..AlertConfig::default()
    }
}

fn inbound(config: &Config) -> Inbound {
    Inbound {
        slack_signing_secret: config.alerts.slack_signing_secret.clone(),
        slack_users: config.alerts.slack_users.clone(),
        pagerduty_secret: config.alerts.pagerduty_webhook_secret.clone(),
    }
}

fn intake_limits(config: &Config) -> IntakeLimits {
    // A burst of ten seconds' worth: shippers send batches.
    let rate = |per_second: u32| {
        let records_per_second = f64::from(per_second);
        (per_second > 0).then_some(RateLimit { records_per_second, burst_records: 10.0 * records_per_second })
    };
    IntakeLimits {
        in_flight_bytes_max: config.ingest.in_flight_bytes_max.usize(),
        per_token: rate(config.ingest.records_per_second_per_token),
        per_tenant: rate(config.ingest.records_per_second_per_tenant),
        per_source: rate(config.ingest.records_per_second_per_source),
    }
}

fn sql_config(config: &Config) -> SqlConfig {
    SqlConfig {
        memory_bytes: config.query.sql_memory_bytes.usize(),
        spill_dir: config.server.data_dir.join("run").join("sql"),
        spill_bytes_max: config.query.sql_spill_bytes.0,
    }
}

fn http_limits(config: &Config) -> HttpLimits {
    let ServerConfig { connections_max, grace, .. } = &config.server;
    HttpLimits {
        connections_max: *connections_max,
        body_bytes_max: config.ingest.body_bytes_max.0,
        queries_max: config.query.concurrent_max,
        query_timeout: duration(config.query.timeout),
        drain: duration(*grace),
        ..HttpLimits::default()
    }
}

/// The detectors, with the scout of the review where there is one.
fn judge(config: DetectConfig, rules: RuleSet, reviewer: Option<&Reviewer>, store: &Arc<Store>) -> Judge {
    // The first request would wait for it.
    std::thread::spawn(heimdall_detect::web::prepare);
    let mut judge = Judge::new(config, rules);
    if let Some(reviewer) = reviewer {
        judge.add(Box::new(Scout::new(reviewer.desk(), Arc::clone(store))));
    }
    judge
}

/// The review by a language model, when it is enabled; without key or endpoint it goes by key words.
fn reviewer(config: &LlmConfig, clock: Arc<dyn Clock>) -> Result<Option<Reviewer>> {
    if !config.enabled {
        return Ok(None);
    }
    let model = OpenAi::connect(config, Arc::clone(&clock)).context("could not set up the language model")?;
    match &model {
        Some(_) => tracing::info!(model = config.model, "suspicious templates are shown to a language model"),
        None => tracing::warn!("no key for the language model: suspicious templates are judged by key words"),
    }
    let model = model.map(|model| Box::new(model) as Box<dyn LanguageModel>);
    Ok(Some(Reviewer::new(config.clone(), model, clock)?))
}

/// Looks at the rules folder until `shutdown` fires.
async fn watch_rules(status: Arc<Status>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RULES_LOOK_EVERY) => {}
        }
        let status = Arc::clone(&status);
        if tokio::task::spawn_blocking(move || status.rulebook.look()).await.is_err() {
            tracing::error!("the look at the rules folder panicked");
        }
    }
}

/// Looks at the folders of pipelines and schemas, and lets old dead letters go, until `shutdown` fires.
async fn watch_intake(intake: Arc<Intake>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RULES_LOOK_EVERY) => {}
        }
        let intake = Arc::clone(&intake);
        let look = move || {
            look_at(intake.pipelines());
            if let Some(dead) = intake.dead_letters() {
                dead.tick(intake.now());
            }
        };
        if tokio::task::spawn_blocking(look).await.is_err() {
            tracing::error!("the look at the pipelines folder panicked");
        }
    }
}

async fn housekeeping(
    alerts: Arc<Alerts>,
    tokens: Arc<Tokens>,
    metrics: PrometheusHandle,
    status: Arc<Status>,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(HOUSEKEEPING_EVERY) => {}
        }
        metrics.run_upkeep();
        let (alerts, tokens, status) = (Arc::clone(&alerts), Arc::clone(&tokens), Arc::clone(&status));
        let round = tokio::task::spawn_blocking(move || {
            if let Err(error) = tokens.tick() {
                tracing::error!(%error, "token housekeeping failed");
            }
            if let Err(error) = alerts.tick(SystemClock.now()) {
                tracing::error!(%error, "alert housekeeping failed");
            }
            if let Err(error) = status.tuning.follow(&alerts, &status.stream) {
                tracing::error!(%error, "thresholds could not follow the feedback on alerts");
            }
        });
        if round.await.is_err() {
            tracing::error!("housekeeping panicked");
        }
    }
}

/// The lowest priority.
const NICEST: i32 = 19;

/// Adds up counts over all segments, so that the first question after a start finds them; on a thread of its own, which lets all
/// others go first.
fn keep_cubes(store: &Store, stop: &CancellationToken) {
    if let Err(error) = rustix::process::nice(NICEST) {
        tracing::debug!(%error, "cubes are added up at the usual priority");
    }
    let began = Instant::now();
    match store.keep_cubes(&|| !stop.is_cancelled()) {
        Ok(sums) => tracing::debug!(sums, took = ?began.elapsed(), "cubes are added up"),
        Err(error) => tracing::warn!(%error, "cubes could not be added up ahead of questions"),
    }
}

/// Whether the journal of earlier runs is processed; `false` when the server is asked to stop before.
async fn wait_until_replayed(status: &Status, shutdown: &CancellationToken) -> bool {
    while status.readiness() != Readiness::Ready {
        tokio::select! {
            () = shutdown.cancelled() => return false,
            () = tokio::time::sleep(READY_LOOK_EVERY) => {}
        }
    }
    true
}

fn write_listeners(path: &Path, text: &str) -> Result<()> {
    let dir = path.parent().context("the file has a folder")?;
    create_private(dir)?;
    let new = path.with_extension("new");
    std::fs::write(&new, text).with_context(|| format!("could not write `{}`", new.display()))?;
    std::fs::rename(&new, path).with_context(|| format!("could not write `{}`", path.display()))
}

/// What the API shows of the running parts.
struct Status {
    journal: Arc<Journal>,
    stream: Arc<Stream>,
    rulebook: Rulebook,
    tuning: Tuning,
    clock: Arc<dyn Clock>,
    resolve_after: Duration,
    replay_until: u64,
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    /// Free space with which the largest group of batches is taken.
    disk_room_bytes: u64,
}

impl Status {
    fn is_disk_full(&self) -> bool {
        self.disk.free_bytes(&self.data_dir).is_ok_and(|free| free < self.disk_room_bytes)
    }
}

impl Writer for Status {
    fn write_out(&self, timeout: Duration) -> bool {
        self.stream.flush(self.journal.status().durable_seq, timeout)
    }
}

impl StatusSource for Status {
    fn readiness(&self) -> Readiness {
        let (stream, journal) = (self.stream.status(), self.journal.status());
        if let Some(reason) = stream.stopped {
            return Readiness::NotReady(reason);
        }
        if journal.latched.is_some() {
            return Readiness::NotReady("the journal stopped after a disk failure".to_owned());
        }
        // The journal only knows of the last batch, and a server out of rotation gets no other: look again.
        if journal.disk_full && self.is_disk_full() {
            return Readiness::NotReady(
                "the disk is full: records are refused until there is room".to_owned(),
            );
        }
        if stream.processed_seq < self.replay_until {
            let (at, end) = (stream.processed_seq, self.replay_until);
            return Readiness::NotReady(format!("replaying the journal: frame {at} of {end}"));
        }
        Readiness::Ready
    }

    fn stream(&self) -> StreamView {
        let (stream, journal) = (self.stream.status(), self.journal.status());
        StreamView {
            durable_seq: journal.durable_seq,
            processed_seq: stream.processed_seq,
            journal_bytes: journal.bytes,
            records: stream.rows,
            trouble: stream.trouble,
        }
    }

    fn detectors(&self) -> Vec<DetectorView> {
        let config = self.tuning.adjusted();
        let view = |detector: heimdall_detect::DetectorStatus| DetectorView {
            name: detector.name.to_owned(),
            enabled: detector.enabled,
            keys: detector.keys as u64,
            evaluated: detector.evaluated,
            verdicts: detector.verdicts,
            rehearsed: detector.rehearsed,
            late: detector.counters.late,
            ahead: detector.counters.ahead,
            invalid: detector.counters.invalid,
            evicted: detector.counters.evicted,
            silenced: detector.silenced,
            adjustment: self.tuning.factor(detector.name),
            threshold_factor: self.tuning.factor_by_hand(detector.name),
            adjustable: adjust::is_adjustable(detector.name),
            dry_run: config.dry_run.iter().any(|name| name == detector.name),
            tuned: self.tuning.tuned(detector.name).map(|tuned| tuned.view()),
        };
        self.stream.status().detectors.into_iter().map(view).collect()
    }

    fn rules(&self, tenant: &Tenant) -> Vec<RuleView> {
        self.rulebook.rules(tenant, &self.tuning.adjusted())
    }

    fn is_better_rehearsed(&self, rule: &str, judged: Judged) -> bool {
        self.tuning.is_better_rehearsed(rule, judged)
    }

    fn rule_faults(&self, tenant: &Tenant) -> Vec<RuleFault> {
        self.rulebook.faults(tenant)
    }
}

impl Desk for Status {
    fn rule(&self, tenant: &Tenant, id: &str) -> Result<Option<RuleSource>, DeskError> {
        Ok(self.rulebook.rule(tenant, id))
    }

    fn is_shared(&self, id: &str) -> bool {
        self.rulebook.is_shared(id)
    }

    fn compiled(&self, tenant: &Tenant, id: &str) -> Result<RuleSet, DeskError> {
        self.rulebook.compiled(tenant, id)
    }

    fn put_rule(
        &self,
        tenant: &Tenant,
        id: &str,
        yaml: &str,
        revision: u64,
        by: &str,
    ) -> Result<RuleSource, DeskError> {
        self.rulebook.put(tenant, id, yaml, revision, by)
    }

    fn delete_rule(&self, tenant: &Tenant, id: &str, revision: Option<u64>) -> Result<(), DeskError> {
        self.rulebook.delete(tenant, id, revision)
    }

    fn set_mode(&self, tenant: &Tenant, id: &str, mode: RuleMode, by: &str) -> Result<(), DeskError> {
        self.rulebook.set_mode(tenant, id, mode, by)
    }

    fn config(&self) -> DetectConfig {
        self.tuning.adjusted()
    }

    fn config_with(&self, detector: &str, factor: f64) -> Result<DetectConfig, DeskError> {
        self.tuning.with_factor(detector, factor)
    }

    fn tune(&self, detector: &str, change: DetectorChange, by: &str) -> Result<(), DeskError> {
        self.tuning.tune(detector, change, by, self.clock.now(), &self.stream)
    }

    fn resolve_after(&self) -> Duration {
        self.resolve_after
    }
}
