//! The review: takes batches from the desk, asks the model, lets key words decide what it did not, and gives verdicts.
//!
//! Invariants:
//! - every template that waits is labelled, by the model or by key words; a stop labels what is left by key words;
//! - a text that addresses the model is not shown to it;
//! - a label of key words that stands in for a model's is good for `fallback_ttl` only;
//! - the sink is called by one task, never with an empty list.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::{Clock, Verdict};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::ask::{Asker, NoAnswer};
use crate::budget::Spent;
use crate::config::{ConfigError, LlmConfig};
use crate::desk::{Batch, Desk, Next, Offered};
use crate::keywords;
use crate::labels::Key;
use crate::model::LanguageModel;
use crate::question::{Opinion, Subject};
use crate::verdict::Candidate;

/// Turns suspicious templates into verdicts.
pub struct Reviewer {
    config: LlmConfig,
    desk: Desk,
    asker: Asker,
    model: Option<Arc<str>>,
    keywords: Arc<str>,
}

impl Reviewer {
    /// A reviewer that asks this model; without one, key words decide. `clock` tells the budget its hour and day.
    ///
    /// # Errors
    /// A key of the configuration does not fit.
    pub fn new(
        config: LlmConfig,
        model: Option<Box<dyn LanguageModel>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Reviewer, ConfigError> {
        config.check()?;
        let desk = Desk::new(config.clone());
        let asker = Asker::new(&config, model, clock, desk.clone());
        let model = asker.model_name().map(Arc::from);
        Ok(Reviewer { config, desk, asker, model, keywords: Arc::from(keywords::NAME) })
    }

    /// Goes on with what was spent before a restart.
    #[must_use]
    pub fn with_spent(mut self, spent: Spent) -> Reviewer {
        self.asker.set_spent(spent);
        self
    }

    /// Where templates are offered while the reviewer runs.
    #[must_use]
    pub fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Offers a template: see [`Desk::offer`].
    pub fn offer(&self, candidate: Candidate) -> Offered {
        self.desk.offer(candidate)
    }

    /// Reviews until `shutdown` fires; then offers are refused, a question under way is given up, and key words decide what
    /// still waits, so that the sink has all before this returns. `sink` must not block.
    pub async fn run(mut self, mut sink: impl FnMut(Vec<Verdict>), shutdown: CancellationToken) {
        let mut give = |verdicts: Vec<Verdict>| {
            if !verdicts.is_empty() {
                sink(verdicts);
            }
        };
        while !shutdown.is_cancelled() {
            give(self.desk.take_ready());
            match self.desk.next(Instant::now(), self.linger()) {
                Next::Review(batch) => self.review(batch, &mut give, &shutdown).await,
                Next::WaitUntil(due) => tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.desk.offered() => {}
                    () = sleep_until(due) => {}
                },
                Next::Wait => tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.desk.offered() => {}
                },
            }
            // Key words never wait: other tasks of this thread get their turn here.
            yield_now().await;
        }
        self.desk.close();
        give(self.desk.take_ready());
        while let Next::Review(batch) = self.desk.next(Instant::now(), Duration::ZERO) {
            give(self.fall_back(batch.keys.into_iter().zip(batch.subjects), NoAnswer::Shutdown));
        }
    }

    /// Company saves questions, not key words.
    fn linger(&self) -> Duration {
        if self.model.is_some() { self.config.linger } else { Duration::ZERO }
    }

    async fn review(
        &mut self,
        batch: Batch,
        give: &mut impl FnMut(Vec<Verdict>),
        shutdown: &CancellationToken,
    ) {
        let batch = self.set_aside(batch, give);
        if batch.keys.is_empty() {
            return;
        }
        let answer = {
            let mut asking = pin!(self.asker.ask(&batch.subjects, shutdown));
            loop {
                tokio::select! {
                    biased;
                    answer = &mut asking => break answer,
                    // Known templates do not wait for a slow model.
                    () = self.desk.offered() => give(self.desk.take_ready()),
                }
            }
        };
        let items = batch.keys.into_iter().zip(batch.subjects);
        give(match answer {
            Ok(accepted) => self.label_all(items.zip(accepted.opinions)),
            Err(reason) => self.fall_back(items, reason),
        });
    }

    /// The batch without texts that address the model, on which key words decide.
    fn set_aside(&self, batch: Batch, give: &mut impl FnMut(Vec<Verdict>)) -> Batch {
        let items = batch.keys.into_iter().zip(batch.subjects);
        let (aside, rest): (Vec<_>, Vec<_>) =
            items.partition(|(_, subject)| keywords::addresses_model(&subject.template));
        give(self.fall_back(aside.into_iter(), NoAnswer::AddressesModel));
        let (keys, subjects) = rest.into_iter().unzip();
        Batch { keys, subjects }
    }

    /// Labels as the model said, or by key words where nothing of that could be taken.
    fn label_all(&self, items: impl Iterator<Item = ((Key, Subject), Option<Opinion>)>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for ((key, subject), opinion) in items {
            match opinion {
                Some(opinion) => verdicts.extend(self.label_by_model(key, opinion)),
                None => verdicts.extend(self.fall_back(std::iter::once((key, subject)), NoAnswer::Refused)),
            }
        }
        verdicts
    }

    fn label_by_model(&self, key: Key, opinion: Opinion) -> Option<Verdict> {
        let made_by = self.model.as_ref().unwrap_or(&self.keywords);
        self.desk.note(|stats| stats.by_model += 1);
        metrics::counter!("llm_templates_labelled_total", "by" => "model").increment(1);
        self.desk.label(key, opinion, made_by, self.config.cache_ttl)
    }

    fn fall_back(&self, items: impl Iterator<Item = (Key, Subject)>, reason: NoAnswer) -> Vec<Verdict> {
        let is_final = matches!(reason, NoAnswer::NoModel | NoAnswer::AddressesModel);
        let ttl = if is_final { self.config.cache_ttl } else { self.config.fallback_ttl };
        let mut verdicts = Vec::new();
        for (key, subject) in items {
            self.desk.note(|stats| stats.by_keywords += 1);
            metrics::counter!("llm_templates_labelled_total", "by" => "keywords").increment(1);
            metrics::counter!("llm_fallbacks_total", "reason" => reason.as_str()).increment(1);
            let opinion = keywords::opinion(&subject.template, subject.level);
            verdicts.extend(self.desk.label(key, opinion, &self.keywords, ttl));
        }
        verdicts
    }
}

#[cfg(test)]
mod tests;
