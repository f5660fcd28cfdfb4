//! Where suspicious templates are offered and wait: bounded, shared fairly between tenants, never blocking.
//!
//! Invariants:
//! - a template of a tenant waits once however often it is offered; while it waits or is asked about, offers are added up;
//! - a batch holds templates of one tenant; tenants take turns;
//! - `queued` is the number of keys in `queues`, at most `queued_max`; every key in a queue is in `waiting`;
//! - what is dropped is counted with its reason.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::{Tenant, Verdict};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::budget::Spent;
use crate::config::LlmConfig;
use crate::labels::{Key, Label, Labels};
use crate::mask::masked;
use crate::question::{Opinion, Subject};
use crate::verdict::{Candidate, Seen, verdict};

/// Most characters of a template that are asked about: what comes later in a long text seldom changes what it is.
pub(crate) const TEMPLATE_CHARS_MAX: usize = 600;
/// Most characters of a service's name.
pub(crate) const SERVICE_CHARS_MAX: usize = 80;

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It waits for a review.
    Queued,
    /// The same template waits already; this offer is added to it.
    Merged,
    /// Its label is known; if that is bad, it is reported in its time.
    Known,
    /// It is not reviewed.
    Dropped(Dropped),
}

/// Why an offer is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The review is not enabled.
    Disabled,
    /// The review has ended.
    Closed,
    /// No word is left to judge after masking.
    Empty,
    /// Too many wait.
    QueueFull,
}

impl Dropped {
    /// Name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Dropped::Disabled => "disabled",
            Dropped::Closed => "closed",
            Dropped::Empty => "empty",
            Dropped::QueueFull => "queue_full",
        }
    }
}

/// What was done since the start, for status pages. The same numbers are metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Offers that began to wait.
    pub queued: u64,
    /// Offers added to one that waits.
    pub merged: u64,
    /// Offers of templates whose label was known.
    pub known: u64,
    /// Offers dropped.
    pub dropped: u64,
    /// Waiting templates that gave way to those of tenants with fewer.
    pub evicted: u64,
    /// Attempts to ask a model.
    pub attempts: u64,
    /// Questions of which the answer was taken, in part at least.
    pub answered: u64,
    /// Answers and items of answers that were refused.
    pub refused: u64,
    /// Templates labelled by a model.
    pub by_model: u64,
    /// Templates labelled by key words.
    pub by_keywords: u64,
    /// Verdicts given.
    pub verdicts: u64,
    /// Whether the endpoint is left alone for now.
    pub is_breaker_open: bool,
    /// Templates waiting now.
    pub waiting: usize,
    /// Labels known now.
    pub labels: usize,
}

/// Where templates are offered. Clones are the same desk.
#[derive(Clone)]
pub struct Desk {
    shared: Arc<Shared>,
}

struct Shared {
    config: LlmConfig,
    state: Mutex<State>,
    work: Notify,
}

struct State {
    is_closed: bool,
    waiting: HashMap<Key, Waiting>,
    queues: BTreeMap<Tenant, VecDeque<Key>>,
    /// Tenants with a queue, next first.
    turns: VecDeque<Tenant>,
    queued: usize,
    labels: Labels,
    ready: Vec<Verdict>,
    stats: Stats,
    spent: Spent,
}

struct Waiting {
    template: String,
    seen: Seen,
    since: Instant,
}

/// Templates of one tenant to ask about together.
pub(crate) struct Batch {
    pub keys: Vec<Key>,
    pub subjects: Vec<Subject>,
}

/// What is to be done next.
pub(crate) enum Next {
    Review(Batch),
    WaitUntil(Instant),
    Wait,
}

impl Desk {
    pub(crate) fn new(config: LlmConfig) -> Desk {
        let state = State {
            is_closed: false,
            waiting: HashMap::new(),
            queues: BTreeMap::new(),
            turns: VecDeque::new(),
            queued: 0,
            labels: Labels::new(config.cache_max),
            ready: Vec::new(),
            stats: Stats::default(),
            spent: Spent::default(),
        };
        Desk { shared: Arc::new(Shared { config, state: Mutex::new(state), work: Notify::new() }) }
    }

    /// Offers a suspicious template; never waits. Cost: one hash of the text if it is known or waits (1 µs), else the masking of
    /// at most 2,400 characters (8 µs for a usual template, 0.4 ms for the longest).
    pub fn offer(&self, candidate: Candidate) -> Offered {
        let offered = self.take(&candidate);
        let outcome = match offered {
            Offered::Queued => "queued",
            Offered::Merged => "merged",
            Offered::Known => "known",
            Offered::Dropped(reason) => {
                metrics::counter!("llm_templates_dropped_total", "reason" => reason.as_str()).increment(1);
                "dropped"
            }
        };
        metrics::counter!("llm_templates_offered_total", "outcome" => outcome).increment(1);
        offered
    }

    fn take(&self, candidate: &Candidate) -> Offered {
        let config = &self.shared.config;
        let now = Instant::now();
        let key = Key::new(&candidate.tenant, &candidate.template);
        if let Some(offered) = self.shared.state.lock().take_known(config, &key, candidate, now) {
            self.shared.work.notify_one();
            return offered;
        }
        // Masked without the lock; another offer of the same template may come first, and then this one is merged.
        let template = masked(&candidate.template, TEMPLATE_CHARS_MAX);
        let offered = self.shared.state.lock().take_new(config, key, candidate, template, now);
        if offered == Offered::Queued {
            self.shared.work.notify_one();
        }
        offered
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.shared.state.lock();
        Stats { waiting: state.waiting.len(), labels: state.labels.len(), ..state.stats }
    }

    /// What was spent of the budget; given to [`crate::Reviewer::with_spent`] after a restart, it is not spent again.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.shared.state.lock().spent
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut Stats)) {
        note(&mut self.shared.state.lock().stats);
    }

    pub(crate) fn note_spent(&self, spent: Spent) {
        self.shared.state.lock().spent = spent;
    }

    /// Waits for an offer. Cancel safe.
    pub(crate) async fn offered(&self) {
        self.shared.work.notified().await;
    }

    /// Repeated verdicts on known templates.
    pub(crate) fn take_ready(&self) -> Vec<Verdict> {
        std::mem::take(&mut self.shared.state.lock().ready)
    }

    /// The next batch, if one is full or has waited for `linger`.
    pub(crate) fn next(&self, now: Instant, linger: Duration) -> Next {
        self.shared.state.lock().next(now, linger, self.shared.config.templates_per_request)
    }

    /// Refuses what is offered from now on.
    pub(crate) fn close(&self) {
        self.shared.state.lock().is_closed = true;
    }

    /// Notes the label of a template that was asked about and gives its verdict.
    pub(crate) fn label(
        &self,
        key: Key,
        opinion: Opinion,
        made_by: &Arc<str>,
        ttl: Duration,
    ) -> Option<Verdict> {
        self.shared.state.lock().label(&self.shared.config, key, opinion, made_by, ttl)
    }
}

impl State {
    /// Handles an offer that needs no masking.
    fn take_known(
        &mut self,
        config: &LlmConfig,
        key: &Key,
        candidate: &Candidate,
        now: Instant,
    ) -> Option<Offered> {
        if !config.enabled || self.is_closed {
            let reason = if config.enabled { Dropped::Closed } else { Dropped::Disabled };
            return Some(self.dropped(reason));
        }
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.seen.add(candidate);
            self.stats.merged += 1;
            return Some(Offered::Merged);
        }
        let label = self.labels.get(key, now)?;
        self.stats.known += 1;
        match &mut label.unreported {
            Some(seen) => seen.add(candidate),
            unreported => *unreported = Some(Seen::new(candidate)),
        }
        let is_due = now.saturating_duration_since(label.reported) >= config.repeat_every;
        if is_due && self.ready.len() < config.queued_max {
            let verdict = label.unreported.take().and_then(|seen| {
                verdict(config, &key.tenant, &label.template, &label.opinion, &label.made_by, &seen)
            });
            label.reported = now;
            self.stats.verdicts += u64::from(verdict.is_some());
            self.ready.extend(verdict);
        }
        Some(Offered::Known)
    }

    fn take_new(
        &mut self,
        config: &LlmConfig,
        key: Key,
        candidate: &Candidate,
        template: String,
        now: Instant,
    ) -> Offered {
        if let Some(offered) = self.take_known(config, &key, candidate, now) {
            return offered;
        }
        if !has_words(&template) {
            return self.dropped(Dropped::Empty);
        }
        if self.queued >= config.queued_max && !self.make_room(&candidate.tenant) {
            return self.dropped(Dropped::QueueFull);
        }
        if !self.queues.contains_key(&candidate.tenant) {
            self.turns.push_back(candidate.tenant.clone());
        }
        self.queues.entry(candidate.tenant.clone()).or_default().push_back(key.clone());
        self.queued += 1;
        self.waiting.insert(key, Waiting { template, seen: Seen::new(candidate), since: now });
        self.stats.queued += 1;
        Offered::Queued
    }

    fn dropped(&mut self, reason: Dropped) -> Offered {
        self.stats.dropped += 1;
        Offered::Dropped(reason)
    }

    /// Takes the newest of the tenant with the most, unless that is this tenant, or would be then.
    fn make_room(&mut self, tenant: &Tenant) -> bool {
        let own = self.queues.get(tenant).map_or(0, VecDeque::len);
        let Some((longest, queue)) = self.queues.iter_mut().max_by_key(|(_, queue)| queue.len()) else {
            return false;
        };
        if longest == tenant || queue.len() <= own + 1 {
            return false;
        }
        if let Some(evicted) = queue.pop_back() {
            self.waiting.remove(&evicted);
            self.queued -= 1;
            self.stats.evicted += 1;
            metrics::counter!("llm_templates_dropped_total", "reason" => "evicted").increment(1);
        }
        true
    }

    fn next(&mut self, now: Instant, linger: Duration, batch_max: usize) -> Next {
        let mut earliest: Option<Instant> = None;
        for turn in 0..self.turns.len() {
            let queue = &self.queues[&self.turns[turn]];
            let due = match queue.front().and_then(|key| self.waiting.get(key)) {
                Some(oldest) if queue.len() < batch_max => oldest.since + linger,
                _ => now,
            };
            if due <= now {
                return Next::Review(self.take_batch(turn, batch_max));
            }
            earliest = Some(earliest.map_or(due, |earliest| earliest.min(due)));
        }
        earliest.map_or(Next::Wait, Next::WaitUntil)
    }

    /// The oldest of the tenant at this turn, which goes to the end of the line.
    fn take_batch(&mut self, turn: usize, batch_max: usize) -> Batch {
        let mut keys = Vec::new();
        if let Some(tenant) = self.turns.remove(turn)
            && let Some(mut queue) = self.queues.remove(&tenant)
        {
            keys.extend(queue.drain(..queue.len().min(batch_max)));
            self.queued -= keys.len();
            if !queue.is_empty() {
                self.queues.insert(tenant.clone(), queue);
                self.turns.push_back(tenant);
            }
        }
        keys.retain(|key| self.waiting.contains_key(key));
        let subjects = keys.iter().filter_map(|key| self.waiting.get(key)).map(Waiting::subject).collect();
        Batch { keys, subjects }
    }

    fn label(
        &mut self,
        config: &LlmConfig,
        key: Key,
        opinion: Opinion,
        made_by: &Arc<str>,
        ttl: Duration,
    ) -> Option<Verdict> {
        let Waiting { template, seen, .. } = self.waiting.remove(&key)?;
        let verdict = verdict(config, &key.tenant, &template, &opinion, made_by, &seen);
        self.stats.verdicts += u64::from(verdict.is_some());
        let now = Instant::now();
        let label = Label {
            opinion: Arc::new(opinion),
            made_by: Arc::clone(made_by),
            template,
            expires: now + ttl,
            reported: now,
            unreported: None,
        };
        self.labels.put(key, label);
        verdict
    }
}

impl Waiting {
    fn subject(&self) -> Subject {
        let service = self.seen.service.as_deref().unwrap_or("");
        Subject {
            service: masked(service, SERVICE_CHARS_MAX),
            template: self.template.clone(),
            level: self.seen.level,
            count: self.seen.count,
        }
    }
}

/// Whether anything but placeholders and punctuation is left.
fn has_words(template: &str) -> bool {
    let mut inside = false;
    template.chars().any(|c| {
        inside = (inside || c == '<') && c != '>';
        !inside && c.is_alphabetic()
    })
}

#[cfg(test)]
pub(crate) mod tests;
