//! Telling people: one bounded queue and one task per channel, with retries.
//!
//! Invariants:
//! - a channel is told only of alerts that are stored: new ones, and those whose severity rose; never of suppressed ones;
//! - every notification ends delivered, or counted in `alert_notifications_dropped_total` with its reason;
//! - what a stop left untold is told after the next start, if it is recent and still `OPEN`;
//! - a slow channel delays no other, nor the alerts.
//!
//! Not here: who is told of what (routing, silences).

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::alerts::Alerts;
use crate::stream::AlertChange;

/// An unsuccessful attempt to tell somebody. Its text never holds the secret of the channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct NotifyError {
    /// Whether the same attempt may succeed later.
    pub is_retryable: bool,
    /// How long the other side asked to wait.
    pub retry_after: Option<Duration>,
    /// What went wrong.
    pub detail: String,
}

/// A channel to people. One call is one attempt: retries belong to the [`Dispatcher`].
pub trait Notifier: Send + Sync {
    /// Name of the channel in metrics and in [`heimdall_model::Alert::notified`]: short, and the same for ever.
    fn name(&self) -> &'static str;

    /// Tries once to tell of an alert: `Raised` when it is new, `Updated` when its severity rose.
    /// Has a deadline of its own. It may be told of the same alert twice, when a stop came between delivery and its record.
    fn notify<'a>(&'a self, change: &'a AlertChange) -> BoxFuture<'a, Result<(), NotifyError>>;
}

/// Limits of every channel.
#[derive(Debug, Clone)]
pub struct DispatchConfig {
    /// Notifications waiting for one channel (default 1,024); beyond, they are dropped and counted.
    pub queued_max: usize,
    /// Attempts for one notification (default 6).
    pub attempts_max: u32,
    /// Pause after the first failure, doubled after each (default 500 ms); half of it is random.
    pub backoff_min: Duration,
    /// Longest pause (default 60 s), also when the other side asks for more.
    pub backoff_max: Duration,
    /// After a start, `OPEN` alerts this young that were not told are told (default 15 min).
    pub catch_up: Duration,
    /// After the stop signal, what is queued is tried once more for this long (default 3 s).
    pub grace: Duration,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        DispatchConfig {
            queued_max: 1_024,
            attempts_max: 6,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            catch_up: Duration::from_secs(15 * 60),
            grace: Duration::from_secs(3),
        }
    }
}

/// Tells all channels.
pub struct Dispatcher {
    channels: Vec<Channel>,
}

struct Channel {
    alerts: Arc<Alerts>,
    notifier: Box<dyn Notifier>,
    queue: mpsc::Receiver<AlertChange>,
    config: DispatchConfig,
}

impl Dispatcher {
    /// Connects these channels to the alerts: what is raised from now on waits for [`Dispatcher::run`].
    #[must_use]
    pub fn new(
        alerts: &Arc<Alerts>,
        notifiers: Vec<Box<dyn Notifier>>,
        config: &DispatchConfig,
    ) -> Dispatcher {
        let channels = notifiers
            .into_iter()
            .map(|notifier| Channel {
                alerts: Arc::clone(alerts),
                queue: alerts.add_queue(notifier.name(), config.queued_max),
                notifier,
                config: config.clone(),
            })
            .collect();
        Dispatcher { channels }
    }

    /// Tells people until `shutdown` fires, then drains the queues within the grace.
    pub async fn run(self, shutdown: CancellationToken) {
        join_all(self.channels.into_iter().map(|channel| channel.run(shutdown.clone()))).await;
    }
}

impl Channel {
    async fn run(mut self, shutdown: CancellationToken) {
        for change in self.left_untold().await {
            self.deliver(change, &shutdown).await;
        }
        loop {
            let change = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                change = self.queue.recv() => change,
            };
            let Some(change) = change else { break };
            self.deliver(change, &shutdown).await;
        }
        self.drain(&shutdown).await;
    }

    async fn left_untold(&self) -> Vec<AlertChange> {
        let (alerts, name, window) = (self.alerts.clone(), self.notifier.name(), self.config.catch_up);
        match spawn_blocking(move || alerts.untold(name, window)).await {
            Ok(Ok(changes)) => changes,
            Ok(Err(error)) => {
                tracing::warn!(channel = name, %error, "could not look for alerts not told before the last stop");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    async fn drain(&mut self, shutdown: &CancellationToken) {
        self.queue.close();
        let deadline = tokio::time::Instant::now() + self.config.grace;
        while let Some(change) = self.queue.recv().await {
            if tokio::time::timeout_at(deadline, self.deliver(change, shutdown)).await.is_err() {
                self.count_dropped("shutdown");
            }
        }
    }

    /// Tells of one change, with retries until the attempts or the server end.
    async fn deliver(&self, change: AlertChange, shutdown: &CancellationToken) {
        let (channel, alert) = (self.notifier.name(), change.alert().id);
        for attempt in 1.. {
            if !self.alerts.is_due(&change, channel) {
                return;
            }
            let error = match self.notifier.notify(&change).await {
                Ok(()) => return self.delivered(&change).await,
                Err(error) => error,
            };
            metrics::counter!("notifications_total", "channel" => channel, "outcome" => "failed")
                .increment(1);
            let reason = match () {
                () if !error.is_retryable => "rejected",
                () if attempt >= self.config.attempts_max => "retries_exhausted",
                () if shutdown.is_cancelled() => "shutdown",
                () => "",
            };
            if !reason.is_empty() {
                tracing::error!(channel, %alert, reason, %error, "alert notification dropped");
                return self.count_dropped(reason);
            }
            let pause = self.pause(attempt, error.retry_after);
            tracing::warn!(channel, %alert, attempt, ?pause, %error, "alert notification failed, retrying");
            tokio::select! { () = shutdown.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
        }
    }

    async fn delivered(&self, change: &AlertChange) {
        let (alerts, id, channel) = (self.alerts.clone(), change.alert().id, self.notifier.name());
        metrics::counter!("notifications_total", "channel" => channel, "outcome" => "delivered").increment(1);
        let recorded = spawn_blocking(move || alerts.record_notified(id, channel)).await;
        if let Ok(Err(error)) = recorded {
            tracing::warn!(channel, alert = %id, %error, "could not note that people were told");
        }
    }

    fn count_dropped(&self, reason: &'static str) {
        let channel = self.notifier.name();
        metrics::counter!("alert_notifications_dropped_total", "channel" => channel, "reason" => reason)
            .increment(1);
    }

    /// What the other side asked for, else exponential with half of it random, so that servers do not retry in step.
    fn pause(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let full = self.config.backoff_min.saturating_mul(1 << (attempt - 1).min(20));
        let jittered = || full.min(self.config.backoff_max).mul_f64(rand::rng().random_range(0.5..=1.0));
        retry_after.unwrap_or_else(jittered).min(self.config.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::tests::Bench;
    use crate::lifecycle::tests::verdict;
    use heimdall_model::{Severity, Verdict};
    use parking_lot::Mutex;
    use std::collections::VecDeque;
    use tokio::time::Instant;

    /// Answers as scripted, then with success; remembers when it was told what.
    struct Scripted {
        answers: Mutex<VecDeque<NotifyError>>,
        told: mpsc::Sender<(Duration, String)>,
        start: Instant,
        alerts: Arc<Alerts>,
    }

    impl Notifier for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }
        fn notify<'a>(&'a self, change: &'a AlertChange) -> BoxFuture<'a, Result<(), NotifyError>> {
            Box::pin(async move {
                let alert = change.alert();
                let stored = self.alerts.list(&Default::default(), None, 100).unwrap().items;
                assert!(stored.iter().any(|stored| stored.id == alert.id), "told before it was stored");
                let kind = if matches!(change, AlertChange::Raised(_)) { "raised" } else { "updated" };
                self.told
                    .send((self.start.elapsed(), format!("{kind} {} {}", alert.entity.value, alert.severity)))
                    .await
                    .unwrap();
                self.answers.lock().pop_front().map_or(Ok(()), Err)
            })
        }
    }

    fn failure(is_retryable: bool, retry_after: Option<u64>) -> NotifyError {
        NotifyError { is_retryable, retry_after: retry_after.map(Duration::from_secs), detail: "no".into() }
    }

    struct Running {
        told: mpsc::Receiver<(Duration, String)>,
        shutdown: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn start(alerts: &Arc<Alerts>, answers: impl Into<VecDeque<NotifyError>>) -> Running {
        let (sender, told) = mpsc::channel(100);
        let notifier = Scripted {
            answers: Mutex::new(answers.into()),
            told: sender,
            start: Instant::now(),
            alerts: alerts.clone(),
        };
        let dispatcher = Dispatcher::new(alerts, vec![Box::new(notifier)], &DispatchConfig::default());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(dispatcher.run(shutdown.clone()));
        Running { told, shutdown, task }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_retried_with_growing_pauses_and_as_asked() {
        let bench = Bench::new();
        let alerts = bench.open();
        let mut running = start(&alerts, [failure(true, None), failure(true, None), failure(true, Some(7))]);
        alerts.ingest(vec![verdict("10.0.0.1", 1)]).unwrap();
        let mut at = Vec::new();
        for _ in 0..4 {
            at.push(running.told.recv().await.unwrap().0.as_millis());
        }
        let gaps: Vec<u128> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((250..=501).contains(&gaps[0]) && (500..=1_001).contains(&gaps[1]), "{gaps:?}");
        assert!((7_000..=7_001).contains(&gaps[2]), "{gaps:?}");
        running.shutdown.cancel();
        running.task.await.unwrap();
        let id = alerts.ingest(vec![verdict("10.0.0.1", 2)]).unwrap()[0].alert().id;
        assert_eq!(alerts.get(None, id).unwrap().notified, ["scripted"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_rejected_or_never_works_does_not_hold_up_the_rest() {
        let bench = Bench::new();
        let alerts = bench.open();
        let mut answers = vec![failure(false, None)];
        answers.extend(vec![failure(true, None); 6]);
        let mut running = start(&alerts, answers);
        alerts
            .ingest(["a", "b", "c"].into_iter().zip(1..).map(|(source, at)| verdict(source, at)).collect())
            .unwrap();
        let mut told = Vec::new();
        for _ in 0..8 {
            told.push(running.told.recv().await.unwrap().1.replace(" WARNING", ""));
        }
        assert_eq!(told.iter().filter(|told| *told == "raised b").count(), 6);
        assert_eq!((told[0].as_str(), told[7].as_str()), ("raised a", "raised c"));
    }

    #[tokio::test(start_paused = true)]
    async fn escalation_is_told_suppressed_alerts_are_not_and_a_restart_catches_up() {
        let bench = Bench::new();
        let alerts = bench.open();
        let quiet = alerts.ingest(vec![verdict("quiet", 1)]).unwrap()[0].alert().id;
        alerts.step(None, quiet, crate::Step::Suppress, "me", None).unwrap();
        alerts.ingest(vec![verdict("early", 2)]).unwrap();
        alerts.flush().unwrap();
        let mut running = start(&alerts, []);
        assert_eq!(running.told.recv().await.unwrap().1, "raised early WARNING");
        let worse = |source, at| Verdict { severity: Severity::Critical, ..verdict(source, at) };
        alerts.ingest(vec![worse("quiet", 3), worse("early", 4)]).unwrap();
        alerts.ingest(vec![worse("early", 5), verdict("late", 6)]).unwrap();
        assert_eq!(running.told.recv().await.unwrap().1, "updated early CRITICAL");
        assert_eq!(running.told.recv().await.unwrap().1, "raised late WARNING");
    }
}
