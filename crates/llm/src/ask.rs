//! Asks a model: budget before every attempt, retries between them, the breaker around all.
//!
//! Invariants:
//! - every attempt is paid for before it is made, and ends within the timeout;
//! - a wait that the other side asks for is kept: by a pause, or by the breaker if it is longer than a pause may be;
//! - nothing waits beyond a stop.

use std::sync::Arc;
use std::time::Duration;

use heimdall_model::Clock;
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::breaker::Breaker;
use crate::budget::{Budget, Exhausted, Reserved, Spent};
use crate::config::LlmConfig;
use crate::desk::Desk;
use crate::model::{Completion, LanguageModel, ModelError, Prompt, Usage};
use crate::question::{Accepted, Refusal, Subject, accept, prompt};

/// Why there is no answer; key words decide then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    NoModel,
    BreakerOpen,
    Budget(Exhausted),
    Failed,
    Refused,
    /// Nobody asked: the text addresses the model.
    AddressesModel,
    Shutdown,
}

impl NoAnswer {
    /// Name in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            NoAnswer::NoModel => "no_model",
            NoAnswer::BreakerOpen => "breaker_open",
            NoAnswer::Budget(Exhausted::Requests) => "requests_per_hour",
            NoAnswer::Budget(Exhausted::Tokens) => "tokens_per_day",
            NoAnswer::Failed => "failed",
            NoAnswer::Refused => "answer_refused",
            NoAnswer::AddressesModel => "addresses_model",
            NoAnswer::Shutdown => "shutdown",
        }
    }
}

/// The one who asks: one question at a time.
pub(crate) struct Asker {
    config: LlmConfig,
    model: Option<Box<dyn LanguageModel>>,
    clock: Arc<dyn Clock>,
    budget: Budget,
    breaker: Breaker,
    desk: Desk,
}

impl Asker {
    pub(crate) fn new(
        config: &LlmConfig,
        model: Option<Box<dyn LanguageModel>>,
        clock: Arc<dyn Clock>,
        desk: Desk,
    ) -> Asker {
        Asker {
            config: config.clone(),
            model,
            clock,
            budget: Budget::new(config.budget, Spent::default()),
            breaker: Breaker::new(config.breaker),
            desk,
        }
    }

    pub(crate) fn set_spent(&mut self, spent: Spent) {
        self.budget = Budget::new(self.config.budget, spent);
        self.desk.note_spent(spent);
    }

    /// Name of the model, if there is one.
    pub(crate) fn model_name(&self) -> Option<&str> {
        self.model.as_ref().map(|model| model.name())
    }

    /// Asks about these until there is an answer or reason to give up.
    pub(crate) async fn ask(
        &mut self,
        subjects: &[Subject],
        shutdown: &CancellationToken,
    ) -> Result<Accepted, NoAnswer> {
        let prompt = prompt(subjects, self.config.budget.max_output_tokens);
        let started = Instant::now();
        let answer = tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(NoAnswer::Shutdown),
            answer = self.attempts(&prompt, subjects.len()) => answer,
        };
        let is_open = self.breaker.is_open(Instant::now());
        metrics::gauge!("llm_breaker_open").set(f64::from(u8::from(is_open)));
        self.desk.note(|stats| {
            stats.is_breaker_open = is_open;
            stats.answered += u64::from(answer.is_ok());
        });
        let outcome = answer.as_ref().map_or_else(|reason| reason.as_str(), |_| "answered");
        metrics::counter!("llm_questions_total", "outcome" => outcome).increment(1);
        if answer.is_ok() {
            metrics::histogram!("llm_question_duration_seconds").record(started.elapsed());
        }
        answer
    }

    async fn attempts(&mut self, prompt: &Prompt, subject_count: usize) -> Result<Accepted, NoAnswer> {
        for attempt in 1..=self.config.retry.attempts_max {
            let error = match self.attempt(prompt).await? {
                Ok(completion) => return self.accept(&completion, subject_count),
                Err(error) => error,
            };
            let Some(pause) = self.failed(&error, attempt) else { return Err(NoAnswer::Failed) };
            sleep(pause).await;
        }
        Err(NoAnswer::Failed)
    }

    /// One attempt, if it may be made. Cancel safe: what was paid for stays paid.
    async fn attempt(&mut self, prompt: &Prompt) -> Result<Result<Completion, ModelError>, NoAnswer> {
        let Some(model) = &self.model else { return Err(NoAnswer::NoModel) };
        if self.breaker.is_open(Instant::now()) {
            return Err(NoAnswer::BreakerOpen);
        }
        let reserved = self.budget.take(self.clock.now(), prompt).map_err(NoAnswer::Budget)?;
        self.desk.note_spent(self.budget.spent());
        self.desk.note(|stats| stats.attempts += 1);
        let answer =
            timeout(self.config.timeout, model.complete(prompt)).await.unwrap_or(Err(ModelError::Timeout));
        let outcome = answer.as_ref().map_or_else(ModelError::reason, |_| "ok");
        metrics::counter!("llm_attempts_total", "outcome" => outcome).increment(1);
        match &answer {
            Ok(completion) => self.settle(&reserved, completion),
            Err(error) if !error.may_cost() => self.budget.settle(&reserved, Usage::default()),
            Err(_) => {}
        }
        self.desk.note_spent(self.budget.spent());
        Ok(answer)
    }

    fn settle(&mut self, reserved: &Reserved, completion: &Completion) {
        let Some(usage) = completion.usage else { return };
        metrics::counter!("llm_tokens_total", "direction" => "input").increment(usage.input_tokens);
        metrics::counter!("llm_tokens_total", "direction" => "output").increment(usage.output_tokens);
        self.budget.settle(reserved, usage);
    }

    fn accept(&mut self, completion: &Completion, subject_count: usize) -> Result<Accepted, NoAnswer> {
        match accept(&completion.text, subject_count) {
            Ok(accepted) => {
                self.breaker.succeeded();
                accepted.refusals.iter().for_each(|refusal| self.count_refused(*refusal));
                Ok(accepted)
            }
            Err(refusal) => {
                self.count_refused(refusal);
                // A model that does not keep to the form costs tokens for nothing.
                self.breaker.failed(Instant::now());
                tracing::warn!(reason = refusal.as_str(), "the answer of the language model was refused");
                Err(NoAnswer::Refused)
            }
        }
    }

    fn count_refused(&self, refusal: Refusal) {
        metrics::counter!("llm_answers_refused_total", "reason" => refusal.as_str()).increment(1);
        self.desk.note(|stats| stats.refused += 1);
    }

    /// Notes a failure; the pause before the next attempt, if there is to be one.
    fn failed(&mut self, error: &ModelError, attempt: u32) -> Option<Duration> {
        let now = Instant::now();
        let asked = error.retry_after().unwrap_or_default();
        let is_last = attempt >= self.config.retry.attempts_max;
        if matches!(error, ModelError::Refused { .. }) || asked > self.config.retry.backoff_max {
            self.breaker.open(now, asked);
        } else {
            self.breaker.failed(now);
            // The wait asked for outlives the question.
            if is_last && !asked.is_zero() {
                self.breaker.open(now, asked);
            }
        }
        let gives_up = is_last || !error.is_retryable() || self.breaker.is_open(now);
        let pause = (!gives_up).then(|| self.pause(attempt, error.retry_after()));
        tracing::warn!(attempt, ?pause, %error, "asking the language model failed");
        pause
    }

    /// What the other side asked for, else exponential with half of it random, so that servers do not retry in step.
    fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let retry = &self.config.retry;
        let full = retry.backoff_min.saturating_mul(1 << (attempt - 1).min(20)).min(retry.backoff_max);
        asked.unwrap_or_else(|| full.mul_f64(rand::rng().random_range(0.5..=1.0)))
    }
}
