//! Scraping: targets are asked for their metrics at an interval, as Prometheus does.
//!
//! Each target is asked at its own moment within the interval, so that a thousand of them are not asked at once. Its samples and what
//! is said of the scrape (`up`, `scrape_duration_seconds`, `scrape_samples_scraped`) are one batch at the time the scrape began.
//!
//! Invariants:
//! - a target has at most one scrape running; one that takes longer than its interval leaves scrapes out, and is counted;
//! - at most [`SCRAPES_MAX`] scrapes run at once;
//! - when there is no room for records the scrape is left out: nothing is held for later.
//!
//! Not here: remote write; relabelling.

mod config;
mod parse;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heimdall_ingest::{Caller, Reading, Records};
use heimdall_model::Dataset;
use metrics::{counter, gauge};
use reqwest::redirect::{self, Attempt};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::config::{BasicAuth, Scheme, ScrapeConfig};
use self::config::{TARGETS_MAX, bad, check};
use self::target::{Answer, ScrapeError, Stated, Target, ask, hash, report};
use crate::shared::Handover;
use crate::{DoorError, Opened, Shared};

/// The door.
const DOOR: &str = "scrape";
/// Scrapes running at once.
pub const SCRAPES_MAX: usize = 32;
/// How often files of targets are read.
const TARGETS_FILE_PERIOD: Duration = Duration::from_secs(30);
/// Bytes of a file of targets.
const TARGETS_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Redirects followed, to the same host only.
const REDIRECTS_MAX: usize = 3;

/// Makes ready what is configured; `None` when there is nothing to scrape.
///
/// # Errors
/// [`DoorError::Config`], naming the job.
pub(crate) fn open(jobs: &[ScrapeConfig], shared: &Arc<Shared>) -> Result<Option<Opened>, DoorError> {
    check(jobs)?;
    let seats = Arc::new(Semaphore::new(SCRAPES_MAX));
    let jobs = jobs.iter().map(|config| Job::new(config, shared, &seats)).collect::<Result<Vec<_>, _>>()?;
    if jobs.is_empty() {
        return Ok(None);
    }
    let run = async move {
        let tasks = TaskTracker::new();
        for job in jobs {
            tasks.spawn(Arc::new(job).run());
        }
        tasks.close();
        tasks.wait().await;
    };
    Ok(Some(Opened { name: DOOR, addr: None, run: Box::pin(run) }))
}

struct Job {
    config: ScrapeConfig,
    /// Those of the configuration.
    targets: Vec<Target>,
    client: reqwest::Client,
    shared: Arc<Shared>,
    seats: Arc<Semaphore>,
}

impl Job {
    fn new(config: &ScrapeConfig, shared: &Arc<Shared>, seats: &Arc<Semaphore>) -> Result<Job, DoorError> {
        let targets = config.targets.iter().map(|address| Target::new(config, address, std::iter::empty()));
        let targets = targets.collect::<Result<Vec<_>, _>>().map_err(|detail| bad(config, detail))?;
        Ok(Job {
            targets,
            client: client(config)?,
            config: config.clone(),
            shared: Arc::clone(shared),
            seats: Arc::clone(seats),
        })
    }

    /// Watches every target until the shutdown; those of a file come and go.
    async fn run(self: Arc<Self>) {
        let tasks = TaskTracker::new();
        let mut watched: BTreeMap<Target, CancellationToken> = BTreeMap::new();
        let mut from_file = Vec::new();
        loop {
            if let Some(path) = &self.config.targets_file {
                match read_targets(path, &self.config).await {
                    Ok(read) => from_file = read,
                    Err(error) => {
                        tracing::warn!(job = %self.config.job, %error, "targets stay as they are");
                    }
                }
            }
            let wanted = self.targets.iter().chain(&from_file);
            let wanted: std::collections::BTreeSet<&Target> = wanted.take(TARGETS_MAX).collect();
            watched.retain(|target, end| {
                let stays = wanted.contains(target);
                if !stays {
                    end.cancel();
                }
                stays
            });
            for target in wanted {
                watched.entry(target.clone()).or_insert_with(|| {
                    let end = self.shared.shutdown.child_token();
                    tasks.spawn(Arc::clone(&self).watch(target.clone(), end.clone()));
                    end
                });
            }
            gauge!("scrape_targets", "job" => self.config.job.clone()).set(watched.len() as f64);
            let shutdown = &self.shared.shutdown;
            if self.config.targets_file.is_none() {
                shutdown.cancelled().await;
                break;
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(TARGETS_FILE_PERIOD)).await.is_none() {
                break;
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn watch(self: Arc<Self>, target: Target, end: CancellationToken) {
        let interval = duration(self.config.interval);
        let mut ticks = tokio::time::interval_at(Instant::now() + offset(&target, interval), interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut due = Instant::now();
        let mut is_up = None;
        let mut stated = Arc::new(Stated::new());
        loop {
            let Some(tick) = end.run_until_cancelled(ticks.tick()).await else { return };
            if is_up.is_some() && tick > due {
                counter!("scrape_failures_total", "reason" => "left_out").increment(1);
            }
            due = tick + interval + interval / 2;
            // A scrape that has begun ends within its timeout; what it brought is handed over.
            let Some(seat) = end.run_until_cancelled(self.seats.acquire()).await else { return };
            let failure = self.scrape(&target, &mut stated).await;
            drop(seat);
            self.tell(&target, &mut is_up, failure);
        }
    }

    /// Scrapes a target once; why that failed.
    async fn scrape(&self, target: &Target, stated: &mut Arc<Stated>) -> Option<ScrapeError> {
        let (time, began) = (self.shared.intake.now(), Instant::now());
        let caller = Caller::named(self.config.tenant.clone(), &target.shipper());
        let timeout = self.config.timeout();
        let asked = ask(&self.shared, &caller, &self.client, &self.config, target, stated, time);
        let answer = tokio::time::timeout(timeout, asked).await.unwrap_or(Err(ScrapeError::Timeout(timeout)));
        let took = began.elapsed();
        if let Err(error) = &answer
            && error.is_ours()
        {
            return answer.err(); // the target is not down, and there is no room to say anything
        }
        let sift = self.shared.sift(&caller, DOOR);
        let reading = Reading { now: time, ..sift.reading(&self.shared.limits.decode) };
        let mut records = Records::new(Dataset::Metrics, reading);
        let samples = answer.as_ref().ok().map(|answer| answer.samples);
        report(&mut records, target, time, took, samples);
        let reported = records.finish();
        let (decoded, bytes, permit, now_stated, failure) = match answer {
            Ok(Answer { decoded, bytes, permit, stated, .. }) => {
                (vec![decoded, reported], bytes, Some(permit), Some(stated), None)
            }
            Err(error) => (vec![reported], 0, None, None, Some(error)),
        };
        let handover = Handover { caller, door: DOOR, key: None, decoded, bytes };
        match self.shared.admit_patiently(handover, permit).await {
            Ok(_) => *stated = now_stated.map_or_else(|| Arc::clone(stated), Arc::new),
            Err(refused) => {
                counter!("scrape_failures_total", "reason" => "refused").increment(1);
                tracing::warn!(job = %self.config.job, %refused, "a scrape could not be kept");
            }
        }
        failure
    }

    /// Counts a scrape; says in the log when a target changes between up and down.
    fn tell(&self, target: &Target, is_up: &mut Option<bool>, failure: Option<ScrapeError>) {
        counter!("scrapes_total").increment(1);
        let job = &self.config.job;
        let url = &target.url;
        match &failure {
            Some(error) if error.is_ours() => {
                counter!("scrape_failures_total", "reason" => error.reason()).increment(1);
                tracing::debug!(job, %url, %error, "scrape left out");
                return;
            }
            Some(error) => {
                counter!("scrape_failures_total", "reason" => error.reason()).increment(1);
                if *is_up != Some(false) {
                    tracing::warn!(job, %url, %error, "scrape target is down");
                }
            }
            None if *is_up == Some(false) => tracing::info!(job, %url, "scrape target is up again"),
            None => {}
        }
        *is_up = Some(failure.is_none());
    }
}

/// Where in the interval a target is asked: the same every time, spread over all targets.
fn offset(target: &Target, interval: Duration) -> Duration {
    let share = hash(target) % 1_000;
    interval.mul_f64(share as f64 / 1_000.0).min(interval)
}

fn duration(period: heimdall_detect::Period) -> Duration {
    Duration::from_nanos(period.ns().unsigned_abs())
}

fn client(config: &ScrapeConfig) -> Result<reqwest::Client, DoorError> {
    let mut builder = reqwest::Client::builder()
        .timeout(config.timeout())
        .redirect(redirect::Policy::custom(follow))
        .referer(false)
        .no_proxy()
        .user_agent(concat!("heimdall/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &config.ca_file {
        let unreadable = |error: &dyn std::fmt::Display| bad(config, format!("`ca_file`: {error}"));
        let pem = std::fs::read(path).map_err(|error| unreadable(&error))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unreadable(&error))?;
        builder = builder.tls_certs_merge(certificates);
    }
    if config.insecure_skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map_err(|error| bad(config, error))
}

/// To the same host and port only: a target cannot send its secret, or us, elsewhere.
fn follow(attempt: Attempt<'_>) -> redirect::Action {
    let place = |url: &reqwest::Url| {
        (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default())
    };
    let is_same = attempt.previous().first().is_some_and(|first| place(first) == place(attempt.url()));
    if is_same && attempt.previous().len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
}

/// Targets with labels of their own, as in Prometheus' `file_sd_configs`.
#[derive(Deserialize)]
struct TargetGroup {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

async fn read_targets(path: &Path, job: &ScrapeConfig) -> Result<Vec<Target>, String> {
    use tokio::io::AsyncReadExt as _;
    let failed = |error: &dyn std::fmt::Display| format!("`targets_file` `{}`: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(|error| failed(&error))?;
    let mut text = Vec::new();
    file.take(TARGETS_FILE_BYTES_MAX + 1).read_to_end(&mut text).await.map_err(|error| failed(&error))?;
    if text.len() as u64 > TARGETS_FILE_BYTES_MAX {
        return Err(failed(&"it is larger than 4 MiB"));
    }
    let groups: Vec<TargetGroup> = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
    let mut targets = Vec::new();
    for group in &groups {
        // Labels with two underscores are instructions to Prometheus, not labels of samples.
        let labels = || {
            let plain = group.labels.iter().filter(|(name, _)| !name.starts_with("__") && !name.is_empty());
            plain.map(|(name, value)| (name.as_str(), value.as_str()))
        };
        for address in &group.targets {
            if targets.len() == TARGETS_MAX {
                tracing::warn!(job = %job.job, "`targets_file` has more than 1000 targets: the rest is left out");
                return Ok(targets);
            }
            targets.push(Target::new(job, address, labels()).map_err(|error| failed(&error))?);
        }
    }
    Ok(targets)
}
