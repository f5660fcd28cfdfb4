//! What happened to alerts becomes what their groups have to tell.
//!
//! Invariants:
//! - an alert told of stays in its group until its receiver knows that it is over, also when its routes change meanwhile;
//! - reading all live alerts again gives the same groups as their events did.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::{Alert, AlertId, MuteKind, Status, Tenant, Timestamp};
use uuid::Uuid;

use super::CHANNEL_DOWN;
use super::engine::Round;
use super::group::{Group, GroupName, Member, Phase, Told, after};
use super::log::{Decision, Outcome};
use crate::error::AlertError;
use crate::event::{AlertEvent, Cause};
use crate::routing::{Route, Routing};

/// Live alerts read at once.
const LIVE_ROWS: usize = 1_000;
/// Other receivers told of a dead channel when the routes lead to none.
const STAND_INS_MAX: usize = 3;

/// Where an alert of a group stands after something happened to it.
pub(crate) struct Standing {
    alert: AlertId,
    quiet: Option<(Outcome, String)>,
}

/// The decision about an alert that is not told now; none when it is, or was.
fn standing(
    member: &Member,
    quiet: Option<(Outcome, String)>,
    is_sent: bool,
    count: usize,
    next: Option<Timestamp>,
    now: Timestamp,
) -> Option<(Outcome, String)> {
    if member.phase == Phase::Resolved {
        return member.told.is_none().then(|| (Outcome::OverUntold, "it was over first".to_owned()));
    }
    if quiet.is_some() {
        return quiet;
    }
    let is_told = member.told.is_some_and(|told| !told.was_quiet);
    if member.phase != Phase::Firing || is_told || next.is_some_and(|at| at <= now) {
        return None;
    }
    let until = next.map_or("its turn".to_owned(), |at| at.to_string());
    Some(if is_sent {
        (Outcome::Grouped, format!("with {} others, to be told at {until}", count - 1))
    } else {
        (Outcome::Waiting, format!("until {until}, for others of its group"))
    })
}

/// Whether what happened is known, or only what is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Event,
    Reading,
}

impl Round<'_> {
    pub(crate) fn take_event(&mut self, event: &AlertEvent) {
        if event.cause == Cause::Raised {
            metrics::counter!("notification_alerts_total").increment(1);
        }
        let has_routes = !self.state.routing.routes.is_empty();
        if event.cause == Cause::Raised && !has_routes {
            self.note(&event.alert, None, Outcome::NoRoute, "no receiver is configured".to_owned());
        }
        self.take(&event.alert, Origin::Event);
    }

    /// Takes the present of an alert into the groups it belongs to.
    fn take(&mut self, alert: &Arc<Alert>, origin: Origin) {
        let quiet = self.quiet_of(alert);
        let wanted = if alert.status == Status::Resolved { Vec::new() } else { self.open_groups(alert) };
        let known = self.state.of_alert.get(&alert.id).cloned().unwrap_or_default();
        let all: Vec<String> =
            wanted.iter().chain(known.iter().filter(|key| !wanted.contains(key))).cloned().collect();
        let mut keys = Vec::new();
        for key in all {
            if !self.state.groups.contains_key(&key) {
                continue;
            }
            let is_wanted = wanted.contains(&key) || alert.status == Status::Resolved;
            if !is_wanted && self.leave_if_untold(alert, &key) {
                continue;
            }
            self.take_into(&key, alert, quiet.as_ref(), origin);
            keys.push(key);
        }
        if !keys.is_empty() {
            self.state.of_alert.insert(alert.id, keys);
        }
    }

    /// Settles the groups that took something since the last time, each once, and writes down where their alerts stand.
    pub(crate) fn settle_touched(&mut self) {
        for (key, standings) in std::mem::take(&mut self.touched) {
            self.note_standings(&key, standings);
            self.settle(&key);
        }
    }

    fn take_into(&mut self, key: &str, alert: &Alert, quiet: Option<&(Outcome, String)>, origin: Origin) {
        let now = self.now;
        let Some(group) = self.state.groups.get_mut(key) else { return };
        let knows = origin == Origin::Reading && group.level == 0 && alert.notified.contains(&group.receiver);
        let told = knows.then(|| Told {
            phase: Phase::of(alert.status),
            severity: alert.severity,
            was_quiet: false,
        });
        let is_new = !group.members.contains_key(&alert.id);
        group.take(alert, quiet.is_some(), told, now);
        if !is_new && group.sent_at.is_some() {
            self.state.dirty.insert(key.to_owned());
        }
        let standing = Standing { alert: alert.id, quiet: quiet.cloned() };
        self.touched.entry(key.to_owned()).or_default().push(standing);
    }

    /// The groups an alert belongs to, made where they are not.
    fn open_groups(&mut self, alert: &Arc<Alert>) -> Vec<String> {
        let routing = Arc::clone(&self.state.routing);
        let mut keys = Vec::new();
        for name in self.names(&routing, alert) {
            let key = name.key();
            let levels = self.state.groups.get(&key).map_or(0, |group| group.escalated);
            let steps = routing
                .route(&name.path)
                .map(|route| &route.escalation[..levels.min(route.escalation.len())]);
            for (step, level) in steps.unwrap_or_default().iter().zip(1..) {
                let name = GroupName { receiver: step.receiver.clone(), level, ..name.clone() };
                keys.extend(Some(name.key()).filter(|key| self.state.groups.contains_key(key)));
            }
            self.state.groups.entry(key.clone()).or_insert_with(|| Group::new(name, self.now));
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn names(&mut self, routing: &Routing, alert: &Alert) -> Vec<GroupName> {
        let routes = routing.routes_of(alert);
        let name = |route: &Route, receiver: &str| GroupName {
            tenant: alert.tenant.clone(),
            receiver: receiver.to_owned(),
            path: route.path.clone(),
            labels: route.group_labels(alert),
            level: 0,
        };
        let names: Vec<_> = routes.iter().map(|route| name(route, &route.receiver)).collect();
        if alert.rule != CHANNEL_DOWN && alert.label("alertname").as_deref() != Some(CHANNEL_DOWN) {
            return names;
        }
        let about = alert.label("receiver").unwrap_or_default().into_owned();
        let works = |receiver: &str| {
            receiver != about
                && self
                    .state
                    .desks
                    .get(receiver)
                    .is_some_and(|desk| !desk.lanes.is_empty() && !desk.is_down())
        };
        let others: Vec<_> = names.into_iter().filter(|name| works(&name.receiver)).collect();
        if !others.is_empty() {
            return others;
        }
        let stand_ins =
            routing.receivers().iter().filter(|receiver| works(&receiver.name)).take(STAND_INS_MAX);
        let stand_ins: Vec<_> = routing
            .routes
            .first()
            .map(|root| stand_ins.map(|receiver| name(root, &receiver.name)).collect())
            .unwrap_or_default();
        if !self.state.of_alert.contains_key(&alert.id) {
            self.note(
                alert,
                Some(&about),
                Outcome::AboutItself,
                format!("told through {} other receivers", stand_ins.len()),
            );
        }
        stand_ins
    }

    /// Takes an alert out of a group its routes do not lead to any more, unless the receiver was told of it.
    fn leave_if_untold(&mut self, alert: &Alert, key: &str) -> bool {
        let Some(group) = self.state.groups.get_mut(key) else { return true };
        let stays = group.level > 0 || group.in_flight.is_some();
        let is_told = group.members.get(&alert.id).is_some_and(|member| member.told.is_some());
        if stays || is_told {
            return false;
        }
        group.members.remove(&alert.id);
        let receiver = group.receiver.clone();
        self.note(
            alert,
            Some(&receiver),
            Outcome::Rerouted,
            "its route changed before it was told".to_owned(),
        );
        self.leave(alert.id, key);
        self.touched.entry(key.to_owned()).or_default();
        true
    }

    /// Why nobody is to be told of an alert now.
    fn quiet_of(&self, alert: &Alert) -> Option<(Outcome, String)> {
        if alert.status == Status::Suppressed {
            let until = alert.suppressed_until.map_or(String::new(), |until| format!(" until {until}"));
            return Some((Outcome::Suppressed, format!("suppressed{until}")));
        }
        let mute = alert.muted.clone().or_else(|| self.engine.silences.mute_of(alert, self.now))?;
        let outcome = match mute.kind {
            MuteKind::Silence => Outcome::Silenced,
            MuteKind::Maintenance => Outcome::Maintenance,
            MuteKind::Inhibition => Outcome::Inhibited,
            MuteKind::Flapping => Outcome::Flapping,
        };
        let by = mute.by.map_or(String::new(), |by| format!(" ({by})"));
        Some((outcome, format!("{}{by}", mute.reason)))
    }

    // ---- decisions ----------------------------------------------------------------------------------------------

    /// Writes down where alerts stand in a group that does not tell them now.
    fn note_standings(&mut self, key: &str, standings: Vec<Standing>) {
        let next = self.with_timing(key, |group, timing, _| group.next(timing)).flatten();
        let now = self.now;
        let Some(group) = self.state.groups.get_mut(key) else { return };
        let (receiver, tenant) = (group.receiver.clone(), group.tenant.clone());
        let mut decided = Vec::new();
        for Standing { alert, quiet } in standings {
            let (is_sent, is_on_its_way) = (group.sent_at.is_some(), group.in_flight.is_some());
            let (is_folded, count) = (group.is_folded, group.members.len());
            let Some(member) = group.members.get_mut(&alert) else { continue };
            let Some((outcome, detail)) = standing(member, quiet, is_sent, count, next, now) else {
                continue;
            };
            let is_busy = is_on_its_way || (is_folded && member.noted.is_some());
            if is_busy && matches!(outcome, Outcome::Waiting | Outcome::Grouped) {
                continue; // it is being told, or its group's next notice tells it
            }
            if member.noted.replace(outcome) != Some(outcome) {
                decided.push((alert, outcome, detail));
            }
        }
        for (alert, outcome, detail) in decided {
            self.note_by_id(alert, &tenant, Some(&receiver), outcome, detail, None);
        }
    }

    fn note(&mut self, alert: &Alert, receiver: Option<&str>, outcome: Outcome, detail: String) {
        self.note_by_id(alert.id, &alert.tenant, receiver, outcome, detail, None);
    }

    pub(crate) fn note_by_id(
        &mut self,
        alert: AlertId,
        tenant: &Tenant,
        receiver: Option<&str>,
        outcome: Outcome,
        detail: String,
        delivery: Option<Uuid>,
    ) {
        let decision =
            Decision { at: self.now, receiver: receiver.map(str::to_owned), outcome, detail, delivery };
        self.state.decisions.entry((alert, tenant.clone())).or_default().push(decision);
    }

    // ---- reading everything again -------------------------------------------------------------------------------

    /// Takes all live alerts, and what became of those that are live no more.
    pub(crate) fn reconcile(&mut self) {
        let mut seen = HashSet::new();
        let mut after = None;
        loop {
            let page = match self.engine.alerts.live(None, after.as_ref(), LIVE_ROWS) {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, "could not read the live alerts: some may be told late");
                    return;
                }
            };
            for alert in &page.items {
                seen.insert(alert.id);
                self.take(alert, Origin::Reading);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let gone: Vec<_> = self.state.of_alert.keys().filter(|id| !seen.contains(id)).copied().collect();
        gone.into_iter().for_each(|id| self.take_gone(id));
        self.settle_touched();
        let keys: Vec<_> = self.state.groups.keys().cloned().collect();
        keys.iter().for_each(|key| self.settle(key));
    }

    /// Takes an alert that is not live: resolved, or deleted since.
    fn take_gone(&mut self, id: AlertId) {
        match self.engine.alerts.get(None, id) {
            Ok(alert) => self.take(&alert, Origin::Reading),
            Err(AlertError::NotFound { .. }) => {
                for key in self.state.of_alert.remove(&id).unwrap_or_default() {
                    if let Some(group) = self.state.groups.get_mut(&key) {
                        group.members.remove(&id);
                        self.state.dirty.insert(key);
                    }
                }
            }
            Err(error) => tracing::warn!(alert = %id, %error, "could not read an alert people were told of"),
        }
    }

    // ---- a changed routing --------------------------------------------------------------------------------------

    /// Groups of routes that are no more hand what was told to those that took their place.
    pub(crate) fn move_orphans(&mut self) {
        let routing = Arc::clone(&self.state.routing);
        let is_orphan = |group: &Group| {
            let leads_to = |route: &Route| {
                route.receiver == group.receiver
                    || route
                        .escalation
                        .get(group.level.wrapping_sub(1))
                        .is_some_and(|step| step.receiver == group.receiver)
            };
            !routing.route_if_there(&group.path).is_some_and(leads_to)
        };
        let orphans: Vec<_> = self
            .state
            .groups
            .values()
            .filter(|group| is_orphan(group))
            .map(|group| group.key.clone())
            .collect();
        orphans.iter().for_each(|key| self.move_orphan(key));
    }

    fn move_orphan(&mut self, key: &str) {
        let Some(orphan) = self.state.groups.get(key).cloned() else { return };
        let has_receiver = self.state.desks.contains_key(&orphan.receiver);
        let mut heirs = HashSet::new();
        for (id, member) in &orphan.members {
            let groups = self.state.of_alert.get(id).cloned().unwrap_or_default();
            let heir = groups.into_iter().find(|other| {
                other != key
                    && self.state.groups.get(other).is_some_and(|group| group.receiver == orphan.receiver)
            });
            if let Some(heir) = heir {
                self.inherit(&heir, *id, member.told, &orphan);
                heirs.insert(heir);
            } else if !has_receiver {
                let detail = "the receiver is no more".to_owned();
                self.note_by_id(*id, &orphan.tenant, Some(&orphan.receiver), Outcome::Rerouted, detail, None);
            }
        }
        if !has_receiver || !heirs.is_empty() {
            self.end(key);
        }
        heirs.iter().for_each(|key| self.settle(key));
    }

    fn inherit(&mut self, heir: &str, id: AlertId, told: Option<Told>, from: &Group) {
        let Some(group) = self.state.groups.get_mut(heir) else { return };
        if let Some(member) = group.members.get_mut(&id) {
            member.told = told;
        }
        group.sent_at = group.sent_at.max(from.sent_at);
        group.open_since = group.open_since.or(from.open_since);
        group.has_message |= from.has_message;
        for (lane, receipt) in &from.receipts {
            group.receipts.entry(lane.clone()).or_insert_with(|| receipt.clone());
        }
        self.state.dirty.insert(heir.to_owned());
    }

    // ---- escalation ---------------------------------------------------------------------------------------------

    /// Takes the next step of the escalation when it is due: its receiver gets a group with the alerts nobody acknowledged.
    pub(crate) fn escalate(&mut self, key: &str) {
        let routing = Arc::clone(&self.state.routing);
        let Some(base) = self.state.groups.get_mut(key) else { return };
        let Some(route) = routing.route(&base.path) else { return };
        let Some(at) = base.escalation_at(route).filter(|at| *at <= self.now) else { return };
        let step = &route.escalation[base.escalated];
        base.escalated += 1;
        let name = GroupName {
            tenant: base.tenant.clone(),
            receiver: step.receiver.clone(),
            path: base.path.clone(),
            labels: base.labels.clone(),
            level: base.escalated,
        };
        let open: Vec<_> = base
            .members
            .iter()
            .filter(|(_, member)| member.is_firing())
            .map(|(id, member)| (*id, member.clone()))
            .collect();
        self.state.dirty.insert(key.to_owned());
        let (escalated_key, now) = (name.key(), self.now);
        tracing::info!(receiver = name.receiver, group = key, since = %at, "nobody acknowledged, escalating");
        metrics::counter!("notification_escalations_total").increment(1);
        let group = self.state.groups.entry(escalated_key.clone()).or_insert_with(|| Group::new(name, now));
        for (id, mut member) in open {
            (member.told, member.noted) = (None, None);
            group.members.insert(id, member);
            let groups = self.state.of_alert.entry(id).or_default();
            if !groups.contains(&escalated_key) {
                groups.push(escalated_key.clone());
            }
        }
        group.retry_at = None;
        self.settle(&escalated_key);
    }

    /// The start of the next minute, when time intervals are asked again.
    pub(crate) fn next_minute(&self) -> Timestamp {
        const MINUTE: i64 = 60_000_000_000;
        let begun = Timestamp(self.now.0 - self.now.0.rem_euclid(MINUTE));
        after(begun, Duration::from_secs(60))
    }
}
