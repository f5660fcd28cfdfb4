//! `breaker.open`, `breaker.half_open`, `breaker.close`: circuit breakers by name, for proxies and services that read them.
//!
//! A breaker that nobody set is closed. An open one becomes half-open when its time is over, and a half-open one closed.
//!
//! Invariants:
//! - at most [`BREAKERS_MAX`] breakers are not closed, each with an end; closed ones are not kept;
//! - a change is on disk, in the files and told to the webhook when it is `Ok`; otherwise what was before is put back;
//! - readers of the files see the old text or the new one, never a part.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_metastore::{Document, DocumentFilter, Metastore};
use heimdall_model::{Clock, Tenant, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::config::BreakerRunnerConfig;
use super::deadline::{Deadline, failed};
use super::parameters::{action, effect, invalid, only, text, ttl, verb};
use super::webhook::Webhooks;
use super::{RunnerPorts, RunnersError, files, wrong};
use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress};

/// Breakers that may be open or half-open at once; more are refused.
pub const BREAKERS_MAX: usize = 1_000;
/// Longest name (bytes).
const NAME_BYTES_MAX: usize = 100;
/// Longest reason kept (bytes).
const REASON_BYTES_MAX: usize = 500;
const KIND: &str = "breaker";
const SYSTEM: &str = "breaker";
/// Time the webhook is given when time alone changed a breaker.
const TICK_DEADLINE: Duration = Duration::from_secs(10);

/// Whether requests go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// All of them.
    Closed,
    /// None.
    Open,
    /// Some, to see whether it works again.
    HalfOpen,
}

impl BreakerState {
    /// Its name: `closed`, `open`, `half_open`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }

    /// Requests of a hundred that a proxy refuses.
    fn refused_percent(self) -> u8 {
        match self {
            BreakerState::Closed => 0,
            BreakerState::Open => 100,
            BreakerState::HalfOpen => 50,
        }
    }

    /// The last part of the kind of action that leads here.
    fn verb(self) -> &'static str {
        if self == BreakerState::Closed { "close" } else { self.as_str() }
    }
}

/// A breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// Name, usually of a service.
    pub name: String,
    /// Its state.
    pub state: BreakerState,
    /// In this state since; none for one that nobody set.
    pub since: Option<Timestamp>,
    /// In this state until; none when closed.
    pub until: Option<Timestamp>,
    /// Why it was set; may be empty.
    pub reason: String,
}

impl Breaker {
    fn closed(name: &str) -> Breaker {
        let (name, reason) = (name.to_owned(), String::new());
        Breaker { name, state: BreakerState::Closed, since: None, until: None, reason }
    }
}

struct Inner {
    config: BreakerRunnerConfig,
    store: Arc<dyn Metastore>,
    clock: Arc<dyn Clock>,
    webhook: Option<String>,
    webhooks: Arc<Webhooks>,
    // INVARIANT: holds no closed breaker.
    by_name: Mutex<BTreeMap<String, Breaker>>,
    /// Held while one change is made durable and published.
    turn: tokio::sync::Mutex<()>,
}

/// The breakers: what the API shows and sets. Cheap to clone.
#[derive(Clone)]
pub struct Breakers(Arc<Inner>);

impl Breakers {
    pub(crate) fn build(
        config: &BreakerRunnerConfig,
        ports: &RunnerPorts,
        webhooks: &Arc<Webhooks>,
    ) -> Result<Breakers, RunnersError> {
        let webhook = webhooks.named("breaker.webhook", config.webhook.as_ref())?;
        let (filter, limit) = (DocumentFilter::default(), BREAKERS_MAX);
        let stored = ports.store.documents().list(KIND, &filter, None, limit);
        let stored =
            stored.map_err(|error| wrong("breaker", format!("the stored ones are not readable: {error}")))?;
        let read = stored.iter().filter_map(|document| {
            let breaker = serde_json::from_str::<Breaker>(&document.body);
            breaker
                .inspect_err(|error| tracing::warn!(breaker = document.id, %error, "stored breaker left out"))
                .ok()
        });
        let by_name = read.map(|breaker| (breaker.name.clone(), breaker)).collect();
        Ok(Breakers(Arc::new(Inner {
            config: config.clone(),
            store: ports.store.clone(),
            clock: ports.clock.clone(),
            webhook,
            webhooks: webhooks.clone(),
            by_name: Mutex::new(by_name),
            turn: tokio::sync::Mutex::new(()),
        })))
    }

    /// Every breaker that is not closed, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Breaker> {
        self.0.by_name.lock().values().cloned().collect()
    }

    /// One breaker; closed where nobody set it.
    #[must_use]
    pub fn get(&self, name: &str) -> Breaker {
        self.0.by_name.lock().get(name).cloned().unwrap_or_else(|| Breaker::closed(name))
    }

    /// Sets a breaker; returns it as it was before. Without `ttl`, the configured time.
    ///
    /// # Errors
    /// Nothing has changed: the name or time does not fit, there are too many, or a file, the store or the webhook failed.
    pub async fn set(
        &self,
        name: &str,
        state: BreakerState,
        ttl: Option<Duration>,
        reason: &str,
        deadline: Duration,
    ) -> Result<Breaker, ActionError> {
        check_name(name)?;
        let _turn = self.0.turn.lock().await;
        let before = self.get(name);
        let after = self.0.next(name, state, ttl, reason);
        let is_new = before.state == BreakerState::Closed && after.state != BreakerState::Closed;
        if is_new && self.0.by_name.lock().len() >= BREAKERS_MAX {
            return Err(failed(SYSTEM, format!("{BREAKERS_MAX} breakers are not closed already")));
        }
        let deadline = Deadline::new(deadline);
        if let Err(error) = self.change(&after, deadline).await {
            self.put(&before).await?;
            self.write_files().await?;
            return Err(error);
        }
        Ok(before)
    }

    async fn change(&self, breaker: &Breaker, deadline: Deadline) -> Result<(), ActionError> {
        self.put(breaker).await?;
        self.write_files().await?;
        let Some(webhook) = &self.0.webhook else { return Ok(()) };
        let kind = format!("breaker.{}", breaker.state.verb());
        let with = [("reason", breaker.reason.as_str().into()), ("until", json!(breaker.until))];
        self.0.webhooks.call(webhook, &action(&kind, &breaker.name, with), deadline).await.map(drop)
    }

    /// Makes it durable, then visible.
    async fn put(&self, breaker: &Breaker) -> Result<(), ActionError> {
        let (inner, stored) = (self.0.clone(), breaker.clone());
        let written = tokio::task::spawn_blocking(move || inner.store_one(&stored)).await;
        written.map_err(|_| failed(SYSTEM, "the store panicked"))?.map_err(|error| failed(SYSTEM, error))?;
        let mut by_name = self.0.by_name.lock();
        match breaker.state {
            BreakerState::Closed => by_name.remove(&breaker.name),
            _ => by_name.insert(breaker.name.clone(), breaker.clone()),
        };
        Ok(())
    }

    async fn write_files(&self) -> Result<(), ActionError> {
        let (config, breakers) = (self.0.config.clone(), self.list());
        let written = tokio::task::spawn_blocking(move || {
            let files = [
                (&config.nginx_file, nginx_text(&breakers)),
                (&config.runtime_file, runtime_text(&breakers)),
            ];
            files.into_iter().try_for_each(|(path, text)| match path {
                Some(path) => files::replace(path, &text)
                    .map_err(|error| format!("cannot write `{}`: {error}", path.display())),
                None => Ok(()),
            })
        });
        written
            .await
            .unwrap_or_else(|_| Err("the files were not written".to_owned()))
            .map_err(|error| failed(SYSTEM, error))
    }

    /// Writes the files anew, as after a restart.
    ///
    /// # Errors
    /// A file cannot be written.
    pub async fn publish(&self) -> Result<(), ActionError> {
        let _turn = self.0.turn.lock().await;
        self.write_files().await
    }

    /// Moves on those whose time is over, whether or not it can be told: an open breaker must not wait for a webhook.
    ///
    /// # Errors
    /// One could not be moved, and is tried again at the next tick; or a webhook was not told, which is not tried again.
    pub async fn tick(&self) -> Result<(), ActionError> {
        let now = self.0.clock.now();
        let mut result = Ok(());
        for breaker in self.list().into_iter().filter(|it| it.until.is_some_and(|until| until <= now)) {
            result = self.move_on(&breaker.name, now).await.and(result);
        }
        result
    }

    async fn move_on(&self, name: &str, now: Timestamp) -> Result<(), ActionError> {
        let _turn = self.0.turn.lock().await;
        // It may have been set since.
        let breaker = self.get(name);
        if breaker.until.is_none_or(|until| until > now) {
            return Ok(());
        }
        let next =
            if breaker.state == BreakerState::Open { BreakerState::HalfOpen } else { BreakerState::Closed };
        self.change(&self.0.next(name, next, None, &breaker.reason), Deadline::new(TICK_DEADLINE)).await
    }
}

impl Inner {
    fn next(&self, name: &str, state: BreakerState, ttl: Option<Duration>, reason: &str) -> Breaker {
        let default =
            if state == BreakerState::Open { self.config.open_for } else { self.config.half_open_for };
        let (now, ttl) = (self.clock.now(), ttl.unwrap_or(default).min(self.config.ttl_max));
        let until = now.saturating_add_ns(i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX));
        let until = (state != BreakerState::Closed).then_some(until);
        let end = (0..=reason.len().min(REASON_BYTES_MAX)).rev().find(|end| reason.is_char_boundary(*end));
        let reason = reason[..end.unwrap_or_default()].to_owned();
        Breaker { name: name.to_owned(), state, since: Some(now), until, reason }
    }

    fn store_one(&self, breaker: &Breaker) -> Result<(), String> {
        let documents = self.store.documents();
        if breaker.state == BreakerState::Closed {
            return documents.delete(KIND, &breaker.name).map(drop).map_err(|error| error.to_string());
        }
        let document = Document {
            id: breaker.name.clone(),
            tenant: Tenant::default(),
            at: breaker.since.unwrap_or_default(),
            state: breaker.state.as_str().to_owned(),
            key: String::new(),
            body: serde_json::to_string(breaker).map_err(|error| error.to_string())?,
        };
        documents.put(KIND, &[document]).map_err(|error| error.to_string())
    }
}

/// Lines to be included in an nginx `map`, whose `default` is `closed`.
fn nginx_text(breakers: &[Breaker]) -> String {
    let head = "# Circuit breakers that are not closed; written by Heimdall, changes are lost.\n".to_owned();
    breakers.iter().fold(head, |mut text, breaker| {
        let _ = writeln!(text, "\"{}\" {};", breaker.name, breaker.state.as_str());
        text
    })
}

/// Envoy runtime keys: a `FractionalPercent` each, as `runtime_fraction` and `abort` percentages read them.
fn runtime_text(breakers: &[Breaker]) -> String {
    let keys = breakers.iter().map(|breaker| {
        let percent = json!({"numerator": breaker.state.refused_percent(), "denominator": "HUNDRED"});
        (format!("heimdall.breaker.{}", breaker.name), percent)
    });
    let object: serde_json::Map<String, serde_json::Value> = keys.collect();
    format!("{:#}\n", serde_json::Value::Object(object))
}

/// Names that need no quoting in any of the files.
fn check_name(name: &str) -> Result<(), ActionError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_plain);
    fits.then_some(()).ok_or_else(|| {
        invalid(
            "target",
            format!("must be a name of 1 to {NAME_BYTES_MAX} letters, digits, `_`, `.`, `-` and `/`"),
        )
    })
}

/// Does `breaker.*`: the target is the name of the breaker.
pub(crate) struct BreakerRunner {
    breakers: Breakers,
}

impl BreakerRunner {
    pub(crate) fn new(breakers: Breakers) -> BreakerRunner {
        BreakerRunner { breakers }
    }

    async fn act(&self, action: &Action, deadline: Duration) -> Result<Outcome, ActionError> {
        self.describe(action)?;
        let (state, reason) = (wanted(action), text(action, "reason")?.unwrap_or_default());
        let config = &self.breakers.0.config;
        let ttl = action
            .with
            .contains_key("ttl")
            .then(|| ttl(action, config.open_for, config.ttl_max))
            .transpose()?;
        let before = self.breakers.set(&action.target, state, ttl, reason, deadline).await?;
        let (from, to) = (before.state.as_str(), state.as_str());
        let summary = format!("breaker `{}` is {to}, {from} before", action.target);
        Ok(Outcome { summary, inverse: self.back(&before, state) })
    }

    /// What leads back to the state before, for as long as that would have lasted.
    fn back(&self, before: &Breaker, state: BreakerState) -> Option<Action> {
        let mut inverse = action(&format!("breaker.{}", before.state.verb()), &before.name, []);
        if let Some(until) = before.until {
            let left = (until.0 - self.breakers.0.clock.now().0) / heimdall_model::time::NS_PER_SECOND;
            inverse.with.insert("ttl".to_owned(), left.max(1).into());
        }
        (before.state != state).then_some(inverse)
    }
}

fn wanted(action: &Action) -> BreakerState {
    match verb(action) {
        "open" => BreakerState::Open,
        "half_open" => BreakerState::HalfOpen,
        _ => BreakerState::Closed,
    }
}

impl ActionRunner for BreakerRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["breaker.open", "breaker.half_open", "breaker.close"]
    }

    fn describe(&self, of: &Action) -> Result<Effect, ActionError> {
        let state = wanted(of);
        only(of, if state == BreakerState::Closed { &["reason"] } else { &["ttl", "reason"] })?;
        check_name(&of.target)?;
        text(of, "reason")?;
        let config = &self.breakers.0.config;
        let ttl = ttl(of, config.open_for.min(config.ttl_max), config.ttl_max)?;
        let until =
            if of.with.contains_key("ttl") { format!(" for {}s", ttl.as_secs()) } else { String::new() };
        let inverse = (state != BreakerState::Closed).then(|| action("breaker.close", &of.target, []));
        let mut effect =
            effect(format!("set breaker `{}` to {}{until}", of.target, state.as_str()), inverse, true);
        effect.reach.service = Some(of.target.clone());
        Ok(effect)
    }

    fn look<'a>(&'a self, action: &'a Action, _: Duration) -> BoxFuture<'a, Result<Effect, ActionError>> {
        let before = self.breakers.get(&action.target);
        let effect = self.describe(action).map(|effect| Effect {
            summary: format!("{}; it is {}", effect.summary, before.state.as_str()),
            inverse: self.back(&before, wanted(action)),
            ..effect
        });
        Box::pin(std::future::ready(effect))
    }

    fn run<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Outcome, ActionError>> {
        Box::pin(self.act(action, deadline))
    }

    fn progress<'a>(
        &'a self,
        action: &'a Action,
        _: Timestamp,
        _: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        let is_so = self.breakers.get(&action.target).state == wanted(action);
        Box::pin(std::future::ready(Ok(if is_so { Progress::Done } else { Progress::NotDone })))
    }
}

#[cfg(test)]
mod tests;
