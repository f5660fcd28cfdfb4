//! Systems that do not answer: left alone for a while, so that a dead Docker is not hammered.
//!
//! Invariant: after `outage_after` failures in a row a system is asked once per `outage_retry`, which doubles up to sixteen times.

use std::collections::BTreeMap;

use heimdall_model::Timestamp;
use parking_lot::Mutex;

use crate::config::{RespondConfig, span};
use crate::safety::{Limit, Refusal};
use crate::views::OutageView;

/// Systems that do not answer, by the first word of the kinds they do.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<BTreeMap<String, Outage>>);

#[derive(Debug, Default)]
struct Outage {
    failures: u32,
    retry_at: Option<Timestamp>,
    detail: String,
    /// Whether a look met it last. Some looks ask nobody: one that succeeds ends no outage that a deed met.
    is_by_look: bool,
}

/// How a system was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contact {
    /// By looking at a target.
    Look,
    /// By acting on it, or by asking what became of that.
    Deed,
}

/// The system behind a kind: `docker` for `docker.restart`.
pub(crate) fn system_of(kind: &str) -> &str {
    kind.split('.').next().unwrap_or(kind)
}

impl Outages {
    /// Whether the system may be asked now. Whoever may after an outage is the only one until the next retry.
    pub(crate) fn may_ask(&self, kind: &str, config: &RespondConfig, now: Timestamp) -> Result<(), Refusal> {
        let system = system_of(kind);
        let mut outages = self.0.lock();
        let Some(outage) = outages.get_mut(system) else { return Ok(()) };
        let Some(retry_at) = outage.retry_at else { return Ok(()) };
        if now < retry_at {
            let reason = format!("{system} does not answer ({}); tried again at {retry_at}", outage.detail);
            return Err(Refusal { limit: Limit::Outage, reason, until: Some(retry_at) });
        }
        outage.retry_at = Some(now.saturating_add_ns(span::ns(config.outage_retry)));
        Ok(())
    }

    /// It did not answer. Returns whether this is news.
    pub(crate) fn failed(
        &self,
        kind: &str,
        contact: Contact,
        detail: &str,
        config: &RespondConfig,
        now: Timestamp,
    ) -> bool {
        let mut outages = self.0.lock();
        let outage = outages.entry(system_of(kind).to_owned()).or_default();
        outage.failures = outage.failures.saturating_add(1);
        detail.clone_into(&mut outage.detail);
        outage.is_by_look = contact == Contact::Look;
        if let Some(over) = outage.failures.checked_sub(config.outage_after) {
            let wait = span::ns(config.outage_retry).saturating_mul(1 << over.min(4));
            outage.retry_at = Some(now.saturating_add_ns(wait));
        }
        outage.failures == 1
    }

    /// It answered. Returns whether it had not before.
    pub(crate) fn answered(&self, kind: &str, contact: Contact) -> bool {
        let mut outages = self.0.lock();
        let system = system_of(kind);
        let is_over = outages.get(system).is_some_and(|outage| outage.is_by_look || contact == Contact::Deed);
        if is_over {
            outages.remove(system);
        }
        is_over
    }

    pub(crate) fn view(&self) -> Vec<OutageView> {
        let view = |(system, outage): (&String, &Outage)| OutageView {
            system: system.clone(),
            failures: outage.failures,
            retry_at: outage.retry_at,
            detail: outage.detail.clone(),
        };
        self.0.lock().iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_system_is_asked_ever_more_rarely() {
        let (outages, config) = (Outages::default(), RespondConfig::default());
        let at = |seconds: i64| Timestamp(seconds * 1_000_000_000);
        let may = |seconds| outages.may_ask("docker.restart", &config, at(seconds)).is_ok();
        assert!(outages.failed("docker.restart", Contact::Deed, "refused", &config, at(0)));
        assert!(!outages.failed("docker.stop", Contact::Deed, "refused", &config, at(1)) && may(1));
        outages.failed("docker.stop", Contact::Deed, "refused", &config, at(2));
        assert!(!may(31) && may(32) && !may(32)); // one asks, the others wait
        outages.failed("docker.stop", Contact::Deed, "refused", &config, at(33));
        assert!(!may(92) && may(93));
        assert!(outages.may_ask("cache.flush", &config, at(3)).is_ok());
        assert!(!outages.answered("docker.start", Contact::Look));
        assert!(outages.answered("docker.start", Contact::Deed) && may(94));
        assert!(!outages.answered("docker.start", Contact::Deed));
    }
}
