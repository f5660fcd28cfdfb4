//! A real server on a loopback port: journal, store, stream, alerts and tokens in a temporary folder.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{SinkExt, StreamExt};
use heimdall_alert::notify::notice::{Notice, Notifier, NotifyError, Receipt};
use heimdall_alert::routing::Channel;
use heimdall_alert::{AlertConfig, Alerts, Pipeline, PipelineConfig, Routing};
use heimdall_api::desk::{
    Desk, DeskError, DetectorChange, DiskSpace, Machine, RuleOrigin, RuleSource, Saturation,
};
use heimdall_api::{
    AppState, DetectorView, HttpLimits, Inbound, Readiness, RuleFault, RuleView, StatusSource, StreamView,
    Writer,
};
use heimdall_detect::{DetectConfig, Findings, Judge, Mode, RuleSet};
use heimdall_guard::{Audit, Guard, NewToken, Scopes, TenantAccess, Tokens};
use heimdall_ingest::{Intake, IntakeLimits};
use heimdall_journal::Journal;
use heimdall_journal::disk::OsDisk;
use heimdall_metastore::{Metastore, MetastoreError};
use heimdall_model::verdict::Entity;
use heimdall_model::{
    Alert, AlertId, Clock, Dataset, Judged, LabelMatcher, Position, Severity, SystemClock, Tenant, Timestamp,
    Verdict,
};
use heimdall_query::{Engine, RunLimits};
use heimdall_respond::{
    Escalated, Escalation, EscalationError, Health, HealthError, Ledger, LedgerEntry, LedgerError, Ports,
    Probe, Probed, RespondConfig, Responder,
};
use heimdall_sql::{SqlConfig, SqlEngine};
use heimdall_store::{Store, StoreConfig};
use heimdall_stream::{Sink, Stream, StreamConfig, Tail};
use heimdall_web::{File, Site};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_util::sync::CancellationToken;

/// Nothing in a test takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A web app of two files.
const WEB: Site = Site {
    is_built: true,
    files: &[
        File {
            path: "/assets/app-1a2b.js",
            content_type: "text/javascript; charset=utf-8",
            hash: "5c21",
            bytes: b"export const name = 'Heimdall';",
            brotli: Some(b"packed by brotli"),
            gzip: Some(b"packed by gzip"),
        },
        File {
            path: "/favicon.svg",
            content_type: "image/svg+xml",
            hash: "77ab",
            bytes: b"<svg/>",
            brotli: None,
            gzip: None,
        },
        File {
            path: "/index.html",
            content_type: "text/html; charset=utf-8",
            hash: "0000",
            bytes: b"<!doctype html><title>Heimdall</title><meta name=csp-nonce content=__CSP_NONCE__>",
            brotli: None,
            gzip: None,
        },
    ],
};

pub(crate) struct Server {
    pub(crate) http: SocketAddr,
    pub(crate) watch: SocketAddr,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) client: reqwest::Client,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<Result<(), heimdall_api::ServeError>>,
    journal: Arc<Journal>,
    stream: Arc<Stream>,
    _dir: tempfile::TempDir,
}

struct Quiet;

impl Sink for Quiet {
    fn take(&mut self, _: Findings) {}
    fn tick(&mut self) {}
    fn settle(&mut self) -> bool {
        true
    }
}

struct Well(Arc<Stream>);

impl StatusSource for Well {
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }
    fn stream(&self) -> StreamView {
        let status = self.0.status();
        StreamView {
            durable_seq: status.processed_seq,
            processed_seq: status.processed_seq,
            journal_bytes: 0,
            records: status.rows,
            trouble: None,
        }
    }
    fn detectors(&self) -> Vec<DetectorView> {
        let view = |name: &str| DetectorView {
            name: name.to_owned(),
            enabled: true,
            keys: 0,
            evaluated: 0,
            verdicts: 0,
            rehearsed: 0,
            late: 0,
            ahead: 0,
            invalid: 0,
            evicted: 0,
            silenced: 0,
            adjustment: 1.0,
            threshold_factor: 1.0,
            adjustable: name == "zscore",
            dry_run: false,
            tuned: None,
        };
        ["signature", "zscore"].map(view).into()
    }
    fn rules(&self, _tenant: &Tenant) -> Vec<RuleView> {
        let view = |id: &str| RuleView {
            id: id.to_owned(),
            title: "Possible brute force".to_owned(),
            description: String::new(),
            severity: Severity::Critical,
            dataset: Dataset::Logs,
            when: "brute".to_owned(),
            mitigation: Vec::new(),
            enabled: true,
            file: "test.yaml".to_owned(),
            kind: "signature",
            level: "critical",
            tags: Vec::new(),
            origin: RuleOrigin::BuiltIn,
            mode: "on",
            revision: 0,
        };
        ["brute-force", "other"].map(view).into()
    }
    fn is_better_rehearsed(&self, rule: &str, judged: Judged) -> bool {
        rule == "brute-force" && judged.false_positives >= 2
    }
    fn rule_faults(&self, _tenant: &Tenant) -> Vec<RuleFault> {
        panic!("a handler that fails")
    }
}

/// Keeps no rule, and tunes nothing: the binary's own desk is tested with the binary.
struct Bare;

impl Desk for Bare {
    fn rule(&self, _tenant: &Tenant, _id: &str) -> Result<Option<RuleSource>, DeskError> {
        Ok(None)
    }
    fn is_shared(&self, id: &str) -> bool {
        id == "brute-force"
    }
    fn compiled(&self, _tenant: &Tenant, id: &str) -> Result<RuleSet, DeskError> {
        Err(DeskError::NotFound { what: "rule", id: id.to_owned() })
    }
    fn put_rule(
        &self,
        _tenant: &Tenant,
        id: &str,
        _yaml: &str,
        _revision: u64,
        _by: &str,
    ) -> Result<RuleSource, DeskError> {
        Err(DeskError::NotOwn { id: id.to_owned() })
    }
    fn delete_rule(&self, _tenant: &Tenant, id: &str, _revision: Option<u64>) -> Result<(), DeskError> {
        Err(DeskError::Revision { id: id.to_owned(), current: 7 })
    }
    fn set_mode(&self, _tenant: &Tenant, _id: &str, _mode: Mode, _by: &str) -> Result<(), DeskError> {
        Ok(())
    }
    fn config(&self) -> DetectConfig {
        DetectConfig::default()
    }
    fn config_with(&self, detector: &str, factor: f64) -> Result<DetectConfig, DeskError> {
        Ok(DetectConfig::default().adjusted(&[(detector.to_owned(), factor)].into()))
    }
    fn tune(&self, _detector: &str, _change: DetectorChange, _by: &str) -> Result<(), DeskError> {
        Ok(())
    }
    fn resolve_after(&self) -> Duration {
        Duration::from_secs(3_600)
    }
}

impl Machine for Bare {
    fn saturation(&self) -> Saturation {
        Saturation { cpu: Some(0.5), memory: Some(0.9), ..Saturation::default() }
    }
    fn disk(&self) -> Option<DiskSpace> {
        Some(DiskSpace { free_bytes: 10, total_bytes: 100, refuse_below_bytes: 20, shed_below_bytes: 30 })
    }
    fn vitals(&self) -> Result<Vec<String>, MetastoreError> {
        Ok(Vec::new())
    }
    fn keep_vitals(&self, _: Timestamp, _: &str, _: Timestamp) -> Result<(), MetastoreError> {
        Ok(())
    }
}

/// Writes out as the binary does.
struct Pen(Arc<Journal>, Arc<Stream>);

impl Writer for Pen {
    fn write_out(&self, timeout: Duration) -> bool {
        self.1.flush(self.0.status().durable_seq, timeout)
    }
}

/// A channel that takes everything.
struct Taker;

impl Notifier for Taker {
    fn kind(&self) -> &'static str {
        "stand-in"
    }
    fn send<'a>(
        &'a self,
        _notice: &'a Notice,
        _previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(async { Ok(None) })
    }
}

/// A world in which nothing acts: no alert is live, every line is written.
struct Calm;

impl Health for Calm {
    fn alert<'a>(
        &'a self,
        _tenant: &'a Tenant,
        _id: AlertId,
    ) -> BoxFuture<'a, Result<Option<Arc<Alert>>, HealthError>> {
        Box::pin(async { Ok(None) })
    }
    fn is_live<'a>(
        &'a self,
        _tenant: &'a Tenant,
        _matchers: &'a [LabelMatcher],
        _except: AlertId,
    ) -> BoxFuture<'a, Result<bool, HealthError>> {
        Box::pin(async { Ok(false) })
    }
    fn probe<'a>(
        &'a self,
        _tenant: &'a Tenant,
        _probe: &'a Probe,
        _deadline: Duration,
    ) -> BoxFuture<'a, Result<Probed, HealthError>> {
        Box::pin(async { Err(HealthError("nobody asks".to_owned())) })
    }
}

impl Ledger for Calm {
    fn record(&self, _entry: &LedgerEntry) -> Result<(), LedgerError> {
        Ok(())
    }
}

impl Escalation for Calm {
    fn raise<'a>(&'a self, _notice: &'a Escalated) -> BoxFuture<'a, Result<(), EscalationError>> {
        Box::pin(async { Ok(()) })
    }
    fn resolve<'a>(
        &'a self,
        _tenant: &'a Tenant,
        _id: &'a str,
    ) -> BoxFuture<'a, Result<(), EscalationError>> {
        Box::pin(async { Ok(()) })
    }
}

fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || PrometheusBuilder::new().install_recorder().expect("the only recorder");
    HANDLE.get_or_init(install).clone()
}

impl Server {
    /// A server that asks nobody on this machine for a token.
    pub(crate) async fn open() -> Server {
        Server::start(false, HttpLimits::default()).await
    }

    /// A server that asks everybody for a token.
    pub(crate) async fn closed() -> Server {
        Server::start(true, HttpLimits::default()).await
    }

    pub(crate) async fn start(auth_enabled: bool, limits: HttpLimits) -> Server {
        Server::start_with(auth_enabled, limits, Inbound::default()).await
    }

    /// A server that takes messages signed with these secrets.
    pub(crate) async fn with_inbound(limits: HttpLimits, inbound: Inbound) -> Server {
        Server::start_with(false, limits, inbound).await
    }

    async fn start_with(auth_enabled: bool, limits: HttpLimits, inbound: Inbound) -> Server {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let disk = Arc::new(OsDisk);
        let store =
            Arc::new(Store::open(disk.clone(), &dir.path().join("store"), StoreConfig::default()).unwrap());
        let mut config = heimdall_journal::Config::new(dir.path().join("journal"));
        config.disk_reserve_bytes = 0;
        let (journal, reader) = Journal::open(config, disk, store.journal_seq() + 1).unwrap();
        let journal = Arc::new(journal);
        let metastore: Arc<dyn Metastore> =
            Arc::new(heimdall_metastore::open(&dir.path().join("meta.db")).unwrap());
        let alerts = Alerts::open(metastore.clone(), AlertConfig::default(), clock.clone()).unwrap();
        let tokens = Arc::new(Tokens::open(metastore.clone(), clock.clone()).unwrap());
        let audit = Arc::new(Audit::open(metastore.clone(), clock.clone()).unwrap());
        let shutdown = CancellationToken::new();
        let routing = Routing::default_for(vec![Channel::Given(Arc::new(Taker))]);
        let pipeline = Pipeline::new(
            alerts.clone(),
            alerts.silences().clone(),
            metastore.clone(),
            clock.clone(),
            routing,
            PipelineConfig::default(),
        );
        let pipeline = pipeline.unwrap();
        let told = pipeline.handle();
        tokio::spawn(pipeline.run(shutdown.clone()));
        let ports = Ports {
            runners: Vec::new(),
            metastore: metastore.clone(),
            health: Arc::new(Calm),
            ledger: Arc::new(Calm),
            escalation: Arc::new(Calm),
            clock: clock.clone(),
        };
        let responder = Responder::open(RespondConfig::default(), Vec::new(), ports).unwrap();
        tokio::spawn(responder.clone().run(shutdown.clone()));
        let tail = Tail::default();
        let parts = heimdall_stream::Parts {
            journal: journal.clone(),
            reader,
            store: store.clone(),
            judge: Judge::new(DetectConfig::default(), RuleSet::default()),
            sink: Box::new(Quiet),
            tail: tail.clone(),
            clock: clock.clone(),
        };
        let config = StreamConfig { flush_age: Duration::from_secs(3_600) };
        let stream = Arc::new(Stream::start(parts, config).unwrap());
        let dead = heimdall_ingest::DeadConfig::new(dir.path().join("dead-letters"));
        let dead = heimdall_ingest::DeadLetters::open(dead, clock.now()).unwrap();
        let intake = Intake::new(journal.clone(), clock.clone(), &IntakeLimits::default())
            .with_dead_letters(Arc::new(dead));
        let state = AppState::new(heimdall_api::Parts {
            intake: Arc::new(intake),
            engine: Engine::new(store.clone()),
            sql: Arc::new(
                SqlEngine::new(
                    Engine::new(store.clone()),
                    &SqlConfig {
                        memory_bytes: 64 << 20,
                        spill_dir: dir.path().join("spill"),
                        spill_bytes_max: 64 << 20,
                    },
                )
                .unwrap(),
            ),
            store,
            metastore,
            doors: Vec::new(),
            web: WEB,
            alerts: alerts.clone(),
            pipeline: told,
            responder,
            breakers: None,
            inbound,
            guard: Guard::new(tokens.clone(), auth_enabled),
            tokens: tokens.clone(),
            audit,
            tail,
            status: Arc::new(Well(stream.clone())),
            desk: Arc::new(Bare),
            machine: Arc::new(Bare),
            writer: Arc::new(Pen(journal.clone(), stream.clone())),
            metrics: recorder(),
            clock,
            limits: limits.clone(),
            decode: heimdall_ingest::DecodeLimits::default(),
            compression: heimdall_ingest::compression::CompressionLimits::default(),
            run_limits: RunLimits::default(),
            shutdown: shutdown.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let watchers = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (http, watch) = (listener.local_addr().unwrap(), watchers.local_addr().unwrap());
        let router = heimdall_api::router(state.clone(), axum::Router::new());
        let served = tokio::spawn(heimdall_api::serve(listener, router, limits, None, shutdown.clone()));
        tokio::spawn(heimdall_api::watch::serve(watchers, state, shutdown.clone()));
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        Server { http, watch, alerts, tokens, client, shutdown, served, journal, stream, _dir: dir }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.client.post(self.url(path)).body(body)
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        read(self.get(path)).await.1
    }

    /// Waits until everything acknowledged is findable.
    pub(crate) async fn settled(&self) {
        let durable = self.journal.status().durable_seq;
        let wait = async {
            while self.stream.status().processed_seq < durable {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the stream keeps up");
    }

    /// A token with these scopes, bound to the default tenant.
    pub(crate) fn token(&self, scopes: &str) -> (String, String) {
        let new = NewToken {
            name: format!("test {scopes}"),
            tenants: TenantAccess::One(Tenant::default()),
            scopes: Scopes::parse(scopes).unwrap(),
            expires_at: None,
        };
        let (info, secret) = self.tokens.issue(&new, "test").unwrap();
        (info.id, secret.expose().to_owned())
    }

    /// Raises an alert about `source` at journal frame `seq`.
    pub(crate) fn raise(&self, source: &str, seq: u64) {
        self.alerts.ingest(vec![verdict(source, seq)]).unwrap();
    }

    /// Lets alerts age, as the server does every second.
    pub(crate) fn tick(&self) {
        self.alerts.tick(SystemClock.now()).unwrap();
    }

    pub(crate) async fn socket(&self, path: &str, headers: &[(&str, &str)]) -> Result<Socket, SocketError> {
        let mut request = format!("ws://{}{path}", self.http).into_client_request().unwrap();
        for (name, value) in headers {
            let name: tokio_tungstenite::tungstenite::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        Ok(Socket(tokio_tungstenite::connect_async(request).await?.0))
    }
}

/// Status and document of an answer.
pub(crate) async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

pub(crate) fn verdict(source: &str, seq: u64) -> Verdict {
    Verdict {
        tenant: Tenant::default(),
        detector: "signature".to_owned(),
        rule: "brute-force".to_owned(),
        title: "Possible brute force".to_owned(),
        severity: Severity::Critical,
        score: 0.9,
        entity: Entity::new("source_ip", source),
        service: Some("web-firewall".to_owned()),
        time: SystemClock.now(),
        position: Position::new(seq, 0),
        summary: format!("multiple failed logins from {source}"),
        baseline: None,
        features: Vec::new(),
        evidence: Vec::new(),
        mitigation: vec!["block the source".to_owned()],
    }
}

pub(crate) struct Socket(
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
);

impl Socket {
    /// The next text message; `None` when the server has closed.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let next = async {
            loop {
                match self.0.next().await? {
                    Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a message")
    }

    pub(crate) async fn close(mut self) {
        let _ = self.0.send(Message::Close(None)).await;
    }
}
