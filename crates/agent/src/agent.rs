//! The whole agent: built from a configuration, started, asked, stopped.
//!
//! Order of stopping, so that nothing is lost: sources end, what they kept is durable, the server gets what it takes within the grace,
//! the state is written. An agent that is dropped ends the same parts at once; what was kept is sent after the next start.
//!
//! Invariant: one agent has one `data_dir`; a second one on it does not start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use heimdall_detect::RuleSet;
use heimdall_journal::disk::{Disk, OsDisk};
use heimdall_model::schema::logs;
use heimdall_model::{Clock, SystemClock};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::action_log::{ActionLog, LogLevel};
use crate::buffer::{Buffer, BufferError};
use crate::collect::Collector;
use crate::config::{AgentConfig, ConfigFault, TailConfig, duration};
use crate::containers::Containers;
use crate::detect::{HealTally, Healer, Watchman};
use crate::journald::{self, Follower};
use crate::pipeline::Pipeline;
use crate::probe::{Prober, Roots, Watched};
use crate::samples::Samples;
use crate::ship::{Home, ShipError, Shipper};
use crate::state::{Mark, Marks, State};
use crate::status::{AgentStatus, Counters, add};
use crate::tail::{Gathered, TailError, Tailer, Wake};

/// Time for sources to end, and then for the server to take the rest.
const GRACE: Duration = Duration::from_secs(5);
/// A child that ended, or Docker that did not answer, is tried again after so long; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Without a server, how far sources were read is written down so often.
const REMEMBER_EVERY: Duration = Duration::from_secs(5);

/// Why an agent does not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// A value does not suit its key.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// It runs already.
    #[error("the agent is running already")]
    Running,
    /// The buffer does not open or close.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// There is no sender.
    #[error(transparent)]
    Ship(#[from] ShipError),
    /// There is no prober.
    #[error("probes: {0}")]
    Probes(#[from] reqwest::Error),
    /// A tail cannot be made.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// A file cannot be used.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Sources did not end in time; what they had not kept is read again after the next start.
    #[error("not everything ended within {} s", .after.as_secs())]
    GraceExpired {
        /// The time given.
        after: Duration,
    },
}

/// Makes an agent out of more than its configuration.
pub struct AgentBuilder {
    config: AgentConfig,
    make_rules: Option<Box<dyn Fn() -> RuleSet + Send + Sync>>,
    healer: Option<Arc<dyn Healer>>,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    roots: Option<Box<dyn Fn() -> Roots + Send + Sync>>,
    home: Option<Arc<dyn Home>>,
}

impl AgentBuilder {
    /// The configuration. Default: [`AgentConfig::default`].
    #[must_use]
    pub fn config(mut self, config: AgentConfig) -> AgentBuilder {
        self.config = config;
        self
    }

    /// Rules for the detector, made anew at each start. Default: none.
    #[must_use]
    pub fn rules(mut self, rules: impl Fn() -> RuleSet + Send + Sync + 'static) -> AgentBuilder {
        self.make_rules = Some(Box::new(rules));
        self
    }

    /// Who heals, when `recovery.enabled`. Default: nobody; findings are only told.
    #[must_use]
    pub fn healer(mut self, healer: Arc<dyn Healer>) -> AgentBuilder {
        self.healer = Some(healer);
        self
    }

    /// Where the present comes from. Default: the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> AgentBuilder {
        self.clock = clock;
        self
    }

    /// The disk of the buffer. Default: the real one.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> AgentBuilder {
        self.disk = disk;
        self
    }

    /// Roots that `tls://` probes trust. Default: the system's.
    #[must_use]
    pub fn roots(mut self, roots: impl Fn() -> Roots + Send + Sync + 'static) -> AgentBuilder {
        self.roots = Some(Box::new(roots));
        self
    }

    /// The server in the same process that gets the records, whatever `server.url` says. Default: none.
    #[must_use]
    pub fn home(mut self, home: Arc<dyn Home>) -> AgentBuilder {
        self.home = Some(home);
        self
    }

    /// The agent; nothing is opened yet.
    ///
    /// # Errors
    /// [`AgentError::Config`] names the first key whose value does not suit it.
    pub fn build(self) -> Result<Agent, AgentError> {
        self.config.check()?;
        Ok(Agent { parts: self, counters: Mutex::new(Arc::new(Counters::new())), running: Mutex::new(None) })
    }
}

/// Watches this host.
pub struct Agent {
    parts: AgentBuilder,
    counters: Mutex<Arc<Counters>>,
    running: Mutex<Option<Running>>,
}

/// What runs.
struct Running {
    sources: CancellationToken,
    shipping: CancellationToken,
    source_tasks: TaskTracker,
    ship_tasks: TaskTracker,
    buffer: Option<Arc<Buffer>>,
    memory: Option<Arc<Memory>>,
    log: ActionLog,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.sources.cancel();
        self.shipping.cancel();
    }
}

impl Agent {
    /// An agent with this configuration and nothing else.
    ///
    /// # Errors
    /// [`AgentError::Config`].
    pub fn new(config: AgentConfig) -> Result<Agent, AgentError> {
        Agent::builder().config(config).build()
    }

    /// An agent in parts.
    #[must_use]
    pub fn builder() -> AgentBuilder {
        AgentBuilder {
            config: AgentConfig::default(),
            make_rules: None,
            healer: None,
            clock: Arc::new(SystemClock),
            disk: Arc::new(OsDisk),
            roots: None,
            home: None,
        }
    }

    /// Opens what it needs and starts watching. It can be started again after [`Agent::stop`].
    ///
    /// # Errors
    /// Every failure names its key or path; nothing runs then.
    pub async fn start(&self) -> Result<(), AgentError> {
        if self.running.lock().is_some() {
            return Err(AgentError::Running);
        }
        // Without one, the first connection would panic; a second one installed is no harm.
        let _may_be_there = rustls::crypto::ring::default_provider().install_default();
        let counters = Arc::new(Counters::new());
        let start = Start { parts: &self.parts, counters: Arc::clone(&counters) };
        let running = start.run().await?;
        running.log.event(LogLevel::Info, "agent_started", env!("CARGO_PKG_VERSION"));
        let mut slot = self.running.lock();
        if slot.is_some() {
            return Err(AgentError::Running);
        }
        (*slot, *self.counters.lock()) = (Some(running), counters);
        Ok(())
    }

    /// How it is doing; after a stop, how it was.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        let running = self.running.lock();
        let buffer =
            running.as_ref().and_then(|running| running.buffer.as_ref()).map(|buffer| buffer.status());
        let tally = self.parts.healer.as_ref().map_or(HealTally::default(), |healer| healer.tally());
        self.counters.lock().status(running.is_some(), tally.success_rate(), buffer)
    }

    /// The log of actions of the running agent, for a healer to write to.
    #[must_use]
    pub fn log(&self) -> Option<ActionLog> {
        self.running.lock().as_ref().map(|running| running.log.clone())
    }

    /// Ends cleanly; see the module for the order. Stopping again is fine.
    ///
    /// # Errors
    /// [`AgentError::GraceExpired`], [`AgentError::Buffer`]: what was kept is there all the same.
    pub async fn stop(&self) -> Result<(), AgentError> {
        let Some(running) = self.running.lock().take() else { return Ok(()) };
        running.sources.cancel();
        let sources = ended(&running.source_tasks).await;
        running.shipping.cancel();
        let sent = ended(&running.ship_tasks).await;
        let (buffer, memory) = (running.buffer.clone(), running.memory.clone());
        let closed = blocking(move || match (buffer, memory) {
            (Some(buffer), _) => buffer.close().map_err(AgentError::from),
            (None, Some(memory)) => memory.save(),
            (None, None) => Ok(()),
        });
        closed.await?;
        running.log.event(LogLevel::Info, "agent_stopped", "");
        if sources && sent { Ok(()) } else { Err(AgentError::GraceExpired { after: 2 * GRACE }) }
    }
}

async fn ended(tasks: &TaskTracker) -> bool {
    tasks.close();
    // A frame under way ends with its request: a little more than the grace it was given.
    tokio::time::timeout(2 * GRACE, tasks.wait()).await.is_ok()
}

/// Where sources were, for an agent without a buffer.
#[derive(Debug)]
pub(crate) struct Memory {
    dir: PathBuf,
    state: Mutex<State>,
}

impl Memory {
    fn open(dir: &Path) -> Result<Memory, AgentError> {
        std::fs::create_dir_all(dir).map_err(io("make", dir))?;
        let known = State::load(dir).map_err(io("read the state in", dir))?;
        let state = known.unwrap_or_else(|| State::new(Uuid::now_v7()));
        Ok(Memory { dir: dir.to_owned(), state: Mutex::new(state) })
    }

    pub(crate) fn advance(&self, marks: Marks) {
        self.state.lock().advance(marks);
    }

    fn marks(&self) -> Marks {
        self.state.lock().marks.clone()
    }

    fn save(&self) -> Result<(), AgentError> {
        let state = self.state.lock().clone();
        state.save(&self.dir).map_err(io("write the state in", &self.dir))
    }
}

/// The start of an agent.
struct Start<'a> {
    parts: &'a AgentBuilder,
    counters: Arc<Counters>,
}

/// What every source needs.
#[derive(Clone)]
struct Source {
    host: String,
    service: String,
    clock: Arc<dyn Clock>,
    pipeline: Arc<Pipeline>,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
}

impl Start<'_> {
    async fn run(self) -> Result<Running, AgentError> {
        let config = &self.parts.config;
        let log = ActionLog::open(&config.log_file, config.log_level, Arc::clone(&self.parts.clock))
            .map_err(io("open `log_file`", &config.log_file))?;
        let (sources, shipping) = (CancellationToken::new(), CancellationToken::new());
        // A start that fails half-way ends what it had started.
        let guards = (sources.clone().drop_guard(), shipping.clone().drop_guard());
        let (source_tasks, ship_tasks) = (TaskTracker::new(), TaskTracker::new());
        let (mut buffer, mut memory) = (None, None);
        match (&self.parts.home, &config.server.url) {
            (Some(_), _) | (None, Some(_)) => buffer = Some(self.open_buffer(&shipping, &ship_tasks).await?),
            (None, None) => memory = Some(self.open_memory(&sources, &source_tasks).await?),
        }
        let marks = match (&buffer, &memory) {
            (Some(buffer), _) => buffer.marks(),
            (None, Some(memory)) => memory.marks(),
            (None, None) => Marks::new(),
        };
        let pipeline = Pipeline {
            buffer: buffer.clone(),
            watchman: self.watchman(&log),
            counters: Arc::clone(&self.counters),
            seq: AtomicU64::new(0),
            memory: memory.clone(),
        };
        let host = config.host.clone().unwrap_or_else(host_name);
        let source = Source {
            service: config.service.clone().unwrap_or_else(|| host.clone()),
            host,
            clock: Arc::clone(&self.parts.clock),
            pipeline: Arc::new(pipeline),
            counters: Arc::clone(&self.counters),
            shutdown: sources.clone(),
        };
        self.spawn_sources(&source, &marks, &source_tasks)?;
        guards.0.disarm();
        guards.1.disarm();
        Ok(Running { sources, shipping, source_tasks, ship_tasks, buffer, memory, log })
    }

    async fn open_buffer(
        &self,
        shipping: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Arc<Buffer>, AgentError> {
        let config = &self.parts.config;
        let (limits, dir) = (config.buffer.clone(), config.data_dir.clone());
        let (disk, clock) = (Arc::clone(&self.parts.disk), Arc::clone(&self.parts.clock));
        let opened = blocking(move || Buffer::open(&limits, &dir, disk, clock));
        let (buffer, reader) = opened.await?;
        let (clock, counters) = (Arc::clone(&self.parts.clock), Arc::clone(&self.counters));
        let (kept, counted) = (Arc::clone(&buffer), Arc::clone(&counters));
        let shipper = match (&self.parts.home, &config.server.url) {
            (Some(home), _) => Shipper::home(Arc::clone(home), kept, reader, clock, counted),
            (None, url) => {
                let url = url.as_deref().unwrap_or_default();
                Shipper::new(&config.server, url, kept, reader, clock, counted)?
            }
        };
        let token = shipping.clone();
        tasks.spawn(async move {
            if let Err(error) = shipper.run(token, GRACE).await {
                counters.problem("buffer", &error.to_string());
            }
        });
        Ok(buffer)
    }

    async fn open_memory(
        &self,
        shutdown: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Arc<Memory>, AgentError> {
        let dir = self.parts.config.data_dir.clone();
        let memory = Arc::new(blocking(move || Memory::open(&dir)).await?);
        let (kept, shutdown, counters) = (Arc::clone(&memory), shutdown.clone(), Arc::clone(&self.counters));
        tasks.spawn(async move {
            while let Some(()) = until(&shutdown, tokio::time::sleep(REMEMBER_EVERY)).await {
                let saving = Arc::clone(&kept);
                match blocking(move || saving.save()).await {
                    Ok(()) => counters.works("state"),
                    Err(error) => counters.problem("state", &error.to_string()),
                }
            }
        });
        Ok(memory)
    }

    fn watchman(&self, log: &ActionLog) -> Option<Arc<Watchman>> {
        let config = &self.parts.config;
        let rules = || self.parts.make_rules.as_ref().map_or_else(RuleSet::default, |make| make());
        let healer = self.parts.healer.clone().filter(|_| config.recovery.enabled);
        let tenant = config.server.tenant.clone().unwrap_or_default();
        let make = || Arc::new(Watchman::new(&config.detector, rules(), tenant, log.clone(), healer));
        config.detector.enabled.then(make)
    }

    fn spawn_sources(&self, source: &Source, marks: &Marks, tasks: &TaskTracker) -> Result<(), AgentError> {
        let config = &self.parts.config;
        for (index, tail) in config.tails.iter().enumerate() {
            tasks.spawn(follow_files(source.clone(), tail.clone(), index, Tailer::new(tail.clone(), marks)?));
        }
        if config.journald.enabled {
            let cursor = match marks.get(journald::SOURCE) {
                Some(Mark::Cursor(cursor)) => Some(cursor.clone()),
                _ => None,
            };
            tasks.spawn(follow_journal(source.clone(), config.journald.clone(), cursor));
        }
        if !config.monitor.enabled {
            return Ok(());
        }
        tasks.spawn(measure(source.clone(), config.clone()));
        if !config.monitor.docker_socket.as_os_str().is_empty() {
            tasks.spawn(measure_containers(source.clone(), config.clone()));
        }
        self.spawn_probes(source, tasks)
    }

    fn spawn_probes(&self, source: &Source, tasks: &TaskTracker) -> Result<(), AgentError> {
        let monitor = &self.parts.config.monitor;
        if monitor.api_endpoints.is_empty() {
            return Ok(());
        }
        let roots = self.parts.roots.as_ref().map_or_else(Roots::system, |make| make());
        let prober = Arc::new(Prober::new(roots, Arc::clone(&self.parts.clock))?);
        let permits = Arc::new(Semaphore::new(monitor.probes_max));
        for endpoint in &monitor.api_endpoints {
            let watched = Watched::new(endpoint).map_err(|error| ConfigFault {
                key: "monitor.api_endpoints".to_owned(),
                wants: error.to_string(),
            })?;
            tasks.spawn(probe(source.clone(), watched, Arc::clone(&prober), Arc::clone(&permits)));
        }
        Ok(())
    }
}

/// Measures the host at each interval.
async fn measure(source: Source, config: AgentConfig) {
    let mut ticks = ticks(duration(config.monitor.collection_interval));
    let monitor = config.monitor.clone();
    let mut collector = Some(blocking(move || Collector::new(&monitor)).await);
    while until(&source.shutdown, ticks.tick()).await.is_some() {
        let Some(mut used) = collector.take() else { return };
        let mut samples = Samples::new(source.clock.now(), &source.host, &source.service);
        let mut work = tokio::task::spawn_blocking(move || {
            used.measure(&mut samples);
            (used, samples)
        });
        // A file system that hangs holds up its measurement, not the agent: ticks go by and are counted.
        let (used, mut samples) = loop {
            tokio::select! {
                done = &mut work => break done.expect("collectors do not panic"),
                _ = ticks.tick() => {
                    add(&source.counters.measurements_missed, 1);
                    source.counters.problem("measuring", "the measurement before has not ended");
                }
                () = source.shutdown.cancelled() => return,
            }
        };
        source.counters.works("measuring");
        collector = Some(used);
        add_own(&source, &mut samples);
        source.pipeline.samples(samples.finish()).await;
    }
}

/// What the agent says of itself with each measurement: that it is there, and how full its buffer is.
fn add_own(source: &Source, samples: &mut Samples) {
    samples.push("agent.heartbeat", 1.0, &[("agent.version", env!("CARGO_PKG_VERSION"))]);
    if let Some(buffer) = &source.pipeline.buffer {
        let status = buffer.status();
        #[expect(clippy::cast_precision_loss, reason = "shown")]
        let (bytes, frames) = (status.bytes as f64, status.frames as f64);
        samples.push("agent.buffer.bytes", bytes, &[("agent.version", env!("CARGO_PKG_VERSION"))]);
        samples.push("agent.buffer.frames", frames, &[("agent.version", env!("CARGO_PKG_VERSION"))]);
    }
    let panics = source.pipeline.watchman.as_ref().map_or(0, |watchman| watchman.panics());
    if panics > 0 {
        source.counters.problem("detector", "a detector panicked; others go on");
    }
}

/// Measures containers while Docker is there; looks for it again when it is not.
async fn measure_containers(source: Source, config: AgentConfig) {
    let interval = duration(config.monitor.collection_interval);
    let mut ticks = ticks(interval);
    let mut containers = None;
    while until(&source.shutdown, ticks.tick()).await.is_some() {
        if containers.is_none() {
            containers = Containers::connect(&config.monitor.docker_socket, config.monitor.containers_max);
        }
        let Some(connected) = &mut containers else {
            if until(&source.shutdown, tokio::time::sleep(RETRY_MAX)).await.is_none() {
                return;
            }
            continue;
        };
        let mut samples = Samples::new(source.clock.now(), &source.host, &source.service);
        let deadline = interval.max(Duration::from_secs(5));
        let Some(measured) = until(&source.shutdown, connected.measure(deadline, &mut samples)).await else {
            return;
        };
        match measured {
            Ok(0) => source.counters.works("containers"),
            Ok(left_out) => source.counters.problem("containers", &format!("{left_out} left out: too many")),
            Err(reason) => {
                source.counters.problem("containers", &reason);
                containers = None;
            }
        }
        source.pipeline.samples(samples.finish()).await;
    }
}

/// Asks one endpoint at each interval.
async fn probe(source: Source, mut watched: Watched, prober: Arc<Prober>, permits: Arc<Semaphore>) {
    let interval = duration(watched.endpoint.interval);
    let mut due = Instant::now() + watched.first_after();
    while until(&source.shutdown, tokio::time::sleep_until(due)).await.is_some() {
        let asked = async {
            let _permit = permits.acquire().await;
            prober.ask(&watched.endpoint, &watched.target).await
        };
        let Some(outcome) = until(&source.shutdown, asked).await else { return };
        let (samples, change) = watched.take(&outcome, source.clock.now(), &source.host);
        source.pipeline.samples(samples).await;
        if change.is_some() && source.pipeline.records(change, Marks::new(), &source.shutdown).await.is_err()
        {
            return;
        }
        due += interval;
        let now = Instant::now();
        while due <= now {
            add(&source.counters.probes_missed, 1);
            due += interval;
        }
    }
}

/// Follows the files of one configuration.
async fn follow_files(source: Source, config: TailConfig, index: usize, mut tailer: Tailer) {
    let mut wake = Wake::new();
    let mut counted = crate::tail::TailCounts::default();
    tracing::debug!(index, paths = ?config.paths, "following files");
    loop {
        let now = source.clock.now();
        if wake.names_changed() {
            tailer.look_again();
        }
        let (back, gathered, folders) = blocking(move || {
            let gathered = tailer.poll(now);
            let folders = tailer.folders();
            (tailer, gathered, folders)
        })
        .await;
        tailer = back;
        let now_counted = tailer.counts();
        source.counters.tails.lock().change(&counted, &now_counted);
        counted = now_counted;
        let Gathered { batch, marks, more, pending } = gathered;
        let batch = batch.map(|mut batch| {
            batch.fill_text(logs::HOST, &source.host);
            batch
        });
        if let Err(error) = source.pipeline.records(batch, marks, &source.shutdown).await {
            if !source.shutdown.is_cancelled() {
                source.counters.problem("tails", &error.to_string());
            }
            return; // what was not kept is read again after the next start
        }
        wake.watch(folders);
        let wait = async {
            match (more, pending) {
                (true, _) => {}
                (false, true) => drop(tokio::time::timeout(Duration::from_millis(600), wake.wait()).await),
                (false, false) => wake.wait().await,
            }
        };
        if until(&source.shutdown, wait).await.is_none() {
            return;
        }
    }
}

/// Follows the system's journal, starting the child again when it ends.
async fn follow_journal(source: Source, config: crate::config::JournaldConfig, mut cursor: Option<String>) {
    let mut wait = RETRY_MIN;
    loop {
        let ended = match Follower::start(&config, cursor.as_deref()) {
            Err(error) => error.to_string(),
            Ok(mut follower) => loop {
                let clock = Arc::clone(&source.clock);
                let Some(next) = until(&source.shutdown, follower.next(move || clock.now())).await else {
                    return;
                };
                add(&source.counters.journald_cut, std::mem::take(&mut follower.cut));
                match next {
                    Ok(Some((mut batch, marks))) => {
                        batch.fill_text(logs::HOST, &source.host);
                        if let Some(Mark::Cursor(newest)) = marks.get(journald::SOURCE) {
                            cursor = Some(newest.clone());
                        }
                        if source.pipeline.records(Some(batch), marks, &source.shutdown).await.is_err() {
                            return;
                        }
                        wait = RETRY_MIN;
                        source.counters.works("journald");
                    }
                    Ok(None) => break "journalctl ended".to_owned(),
                    Err(error) => break error.to_string(),
                }
            },
        };
        source.counters.problem("journald", &ended);
        if until(&source.shutdown, tokio::time::sleep(wait)).await.is_none() {
            return;
        }
        wait = (2 * wait).min(RETRY_MAX);
    }
}

/// What a future gives, or none once told to stop.
async fn until<T>(shutdown: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        value = future => Some(value),
    }
}

fn ticks(interval: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic")
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim()).filter(|name| !name.is_empty()).unwrap_or("localhost").to_owned()
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> AgentError {
    let path = path.to_owned();
    move |source| AgentError::Io { action, path, source }
}
