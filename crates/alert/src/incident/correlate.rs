//! Which alerts belong together: same tenant, close in time, and about the same service, entity or trace. Pure.
//!
//! Invariant: bounded: at most [`LONE_MAX`] alerts without an incident are remembered, the newest.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use heimdall_model::{Alert, Entity, IncidentId, Tenant, Timestamp};

use super::Incident;

/// Label that names the trace of an alert.
pub(super) const TRACE_LABEL: &str = "trace_id";
/// Alerts without an incident that are remembered.
const LONE_MAX: usize = 10_000;

/// Something alerts can share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Tie {
    Service(String),
    Entity(Entity),
    Trace(String),
}

/// Who was seen last with what.
#[derive(Default)]
pub(super) struct Correlator {
    /// The live incident that has this, the latest.
    incidents: HashMap<(Tenant, Tie), IncidentId>,
    /// The alert without an incident that has this, the latest.
    lone: HashMap<(Tenant, Tie), Lone>,
    /// INVARIANT: oldest first; has every key of `lone`.
    order: VecDeque<((Tenant, Tie), Timestamp)>,
}

struct Lone {
    alert: Arc<Alert>,
    at: Timestamp,
}

fn ties(alert: &Alert) -> impl Iterator<Item = (Tenant, Tie)> {
    let service = alert.service.clone().filter(|service| !service.is_empty()).map(Tie::Service);
    let entity = Some(&alert.entity).filter(|entity| !entity.value.is_empty()).map(tie_of_entity);
    let trace = alert.labels.get(TRACE_LABEL).filter(|trace| !trace.is_empty()).cloned().map(Tie::Trace);
    let tenant = alert.tenant.clone();
    // The closest tie first.
    [trace, entity, service].into_iter().flatten().map(move |tie| (tenant.clone(), tie))
}

fn ties_of_incident(incident: &Incident) -> impl Iterator<Item = (Tenant, Tie)> {
    let services = incident.services.iter().cloned().map(Tie::Service);
    let entities = incident.entities.iter().map(tie_of_entity);
    let traces = incident.traces.iter().cloned().map(Tie::Trace);
    services.chain(entities).chain(traces).map(|tie| (incident.tenant.clone(), tie))
}

fn tie_of_entity(entity: &Entity) -> Tie {
    match entity.kind.as_str() {
        "service" => Tie::Service(entity.value.clone()),
        _ => Tie::Entity(entity.clone()),
    }
}

impl Correlator {
    /// Live incidents that share something with the alert, the closest first.
    pub(super) fn incidents_of(&self, alert: &Alert) -> Vec<IncidentId> {
        ties(alert).filter_map(|tie| self.incidents.get(&tie).copied()).collect()
    }

    /// The alert without an incident that shares something with this one and was raised at `since` or later.
    pub(super) fn lone_of(&self, alert: &Alert, since: Timestamp) -> Option<Arc<Alert>> {
        let found = ties(alert).filter_map(|tie| self.lone.get(&tie));
        found
            .filter(|lone| lone.alert.id != alert.id && lone.at >= since)
            .map(|lone| lone.alert.clone())
            .next()
    }

    /// Remembers an alert that has no incident yet.
    pub(super) fn remember(&mut self, alert: &Arc<Alert>, at: Timestamp) {
        for tie in ties(alert) {
            self.lone.insert(tie.clone(), Lone { alert: Arc::clone(alert), at });
            self.order.push_back((tie, at));
        }
        while self.order.len() > LONE_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets alerts raised before this time.
    pub(super) fn forget(&mut self, before: Timestamp) {
        while self.order.front().is_some_and(|(_, at)| *at < before) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((tie, at)) = self.order.pop_front() else { return };
        if self.lone.get(&tie).is_some_and(|lone| lone.at <= at) {
            self.lone.remove(&tie);
        }
    }

    /// Alerts that share something with this incident join it from now on.
    pub(super) fn link(&mut self, incident: &Incident) {
        self.incidents.extend(ties_of_incident(incident).map(|tie| (tie, incident.id)));
    }

    /// Nothing joins this incident any more.
    pub(super) fn unlink(&mut self, incident: &Incident) {
        for tie in ties_of_incident(incident) {
            if self.incidents.get(&tie) == Some(&incident.id) {
                self.incidents.remove(&tie);
            }
        }
    }
}
