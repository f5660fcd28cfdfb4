//! What groups have to tell becomes notices, and what became of them is noted.
//!
//! Invariants:
//! - a receiver knows what a notice told from the first channel that took it on;
//! - a notice no channel took changes nothing: its alerts are told by a later one;
//! - what is beyond a receiver's rate waits in its digest, with every alert named.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::time::format_duration;
use heimdall_model::{Alert, AlertId, IncidentId, Severity, Tenant, Timestamp};
use uuid::Uuid;

use super::CHANNEL_DOWN;
use super::engine::{Desk, Flight, Fold, Part, Round};
use super::group::{Need, Phase, Told, after, alerts};
use super::lane::{Done, Job, Turn};
use super::log::{self, ChannelDelivery, Delivery, DeliveryState, Outcome};
use super::window::GATHER;
use crate::incident::EntryKind;
use crate::lifecycle::HEIMDALL;
use crate::notify::notice::{NOTICE_ALERTS_MAX, Notice, NoticeKind, NotifyError};
use crate::posted::PostedAlert;

/// Alerts one digest tells of; the others wait for the next.
const DIGEST_ALERTS_MAX: usize = 10_000;
/// Longest pause before the alerts of a failed notice are tried again.
const RETRY_MAX: Duration = Duration::from_secs(120);
/// Pause while a channel's queue is full.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);
/// The alert about a dead channel is over when nothing failed for this long.
const DOWN_FOR: Duration = Duration::from_secs(3_600);

/// A notice to be made.
struct Draft {
    kind: NoticeKind,
    reason: String,
    group_key: String,
    labels: BTreeMap<String, String>,
    parts: Vec<Part>,
    is_mirror: bool,
}

impl Desk {
    /// When its next digest is due.
    pub(crate) fn digest_at(&mut self, now: Timestamp) -> Option<Timestamp> {
        let since =
            self.overflow.values().filter(|fold| !fold.groups.is_empty()).map(|fold| fold.since).min()?;
        let gathered = after(since, self.receiver.digest.unwrap_or(GATHER));
        let at = gathered.max(self.window.digest_at(self.receiver.max_messages, now));
        Some(if self.has_room() { at } else { at.max(after(now, NO_ROOM_PAUSE)) })
    }

    fn has_room(&self) -> bool {
        self.lanes.iter().all(super::lane::Lane::has_room)
    }
}

impl Round<'_> {
    /// Does what is due of a group.
    pub(crate) fn look_at(&mut self, key: &str) {
        self.escalate(key);
        let now = self.now;
        let need = self.with_timing(key, |group, timing, routing| {
            let need = group.need(timing, now)?;
            let quiet = routing.quiet_time(timing.route, now).filter(|_| !need.is_mirror);
            Some((need, quiet))
        });
        if let Some(Some((need, quiet))) = need {
            match quiet {
                Some(quiet) => self.keep_quiet(key, &need, &quiet),
                None => self.tell(key, &need),
            }
        }
        self.settle(key);
    }

    /// Waits for the time interval to end.
    fn keep_quiet(&mut self, key: &str, need: &Need, quiet: &str) {
        let minute = self.next_minute();
        let Some(group) = self.state.groups.get_mut(key) else { return };
        group.retry_at = Some(minute);
        let (receiver, tenant, covered) = (group.receiver.clone(), group.tenant.clone(), group.covered(need));
        for (id, told) in covered {
            let Some(member) = self.state.groups.get_mut(key).and_then(|group| group.members.get_mut(&id))
            else {
                continue;
            };
            let is_news = member.told != Some(told);
            if is_news && member.noted.replace(Outcome::QuietTime) != Some(Outcome::QuietTime) {
                self.note_by_id(id, &tenant, Some(&receiver), Outcome::QuietTime, quiet.to_owned(), None);
            }
        }
    }

    fn tell(&mut self, key: &str, need: &Need) {
        let now = self.now;
        let Some(group) = self.state.groups.get_mut(key) else { return };
        let Some(desk) = self.state.desks.get_mut(&group.receiver) else { return };
        let covered = group.covered(need);
        let is_critical = group.worst() == Some(Severity::Critical) || need.kind == NoticeKind::Escalated;
        if group.members.values().any(super::group::Member::is_firing) {
            group.open_since.get_or_insert(now);
        }
        if desk.lanes.is_empty() {
            return self.tell_nobody(key, &covered);
        }
        let is_only_in_digests = need.kind == NoticeKind::Resolved && !group.has_message;
        let is_gathered = !need.is_mirror && (desk.receiver.digest.is_some() || is_only_in_digests);
        let has_room = need.is_mirror || desk.window.has_room(desk.receiver.max_messages, is_critical, now);
        if is_gathered || !has_room {
            return self.fold(key, &covered, !is_gathered);
        }
        if !desk.has_room() {
            group.retry_at = Some(after(now, NO_ROOM_PAUSE));
            return;
        }
        let draft = Draft {
            kind: need.kind,
            reason: need.reason.clone(),
            group_key: group.key.clone(),
            labels: group.labels.clone(),
            parts: vec![Part { group: key.to_owned(), told: covered }],
            is_mirror: need.is_mirror,
        };
        let (receiver, tenant) = (group.receiver.clone(), group.tenant.clone());
        self.send(&receiver, &tenant, draft);
    }

    /// A receiver without channels takes everything in silence.
    fn tell_nobody(&mut self, key: &str, covered: &[(AlertId, Told)]) {
        let Some(group) = self.state.groups.get_mut(key) else { return };
        let news = news(group, covered);
        group.told(covered);
        group.sent_at = Some(self.now);
        let (receiver, tenant) = (group.receiver.clone(), group.tenant.clone());
        self.state.dirty.insert(key.to_owned());
        for (id, _) in news {
            let detail = "the receiver has no channel".to_owned();
            self.note_by_id(id, &tenant, Some(&receiver), Outcome::NoChannel, detail, None);
        }
    }

    /// Puts a group into the next digest of its receiver.
    fn fold(&mut self, key: &str, covered: &[(AlertId, Told)], is_by_rate: bool) {
        let now = self.now;
        let Some(group) = self.state.groups.get_mut(key) else { return };
        let Some(desk) = self.state.desks.get_mut(&group.receiver) else { return };
        group.is_folded = true;
        let fold = desk.overflow.entry(group.tenant.clone()).or_default();
        if fold.groups.is_empty() {
            *fold = Fold { since: now, ..Fold::default() };
        }
        fold.groups.insert(key.to_owned());
        fold.is_by_rate |= is_by_rate;
        let rate = desk.receiver.max_messages;
        let period = format_duration(i64::try_from(rate.period.as_nanos()).unwrap_or(i64::MAX));
        let at = desk.digest_at(now).unwrap_or(now);
        let (outcome, detail) = if is_by_rate {
            let detail =
                format!("more than {} messages in {period}: it goes into the digest due at {at}", rate.count);
            (Outcome::RateLimited, detail)
        } else {
            (Outcome::Waiting, format!("until {at}, for the digest"))
        };
        let (receiver, tenant, news) = (group.receiver.clone(), group.tenant.clone(), news(group, covered));
        metrics::counter!("notification_folded_total").increment(news.len() as u64);
        for (id, _) in news {
            if let Some(member) = self.state.groups.get_mut(key).and_then(|group| group.members.get_mut(&id))
            {
                member.noted = Some(outcome);
            }
            self.note_by_id(id, &tenant, Some(&receiver), outcome, detail.clone(), None);
        }
        self.state.dirty.insert(key.to_owned());
    }

    /// Sends the digests that are due, one for each receiver at a time: that of the tenant that waits longest.
    pub(crate) fn send_digests(&mut self) {
        let now = self.now;
        let due = |desk: &mut Desk| {
            desk.digest_at(now).filter(|at| *at <= now)?;
            let waiting = desk.overflow.iter().filter(|(_, fold)| !fold.groups.is_empty());
            let (tenant, _) = waiting.min_by_key(|(_, fold)| fold.since)?;
            Some((desk.receiver.name.clone(), tenant.clone()))
        };
        let due: Vec<_> = self.state.desks.values_mut().filter_map(due).collect();
        due.iter().for_each(|(receiver, tenant)| self.send_digest(receiver, tenant));
    }

    fn send_digest(&mut self, receiver: &str, tenant: &Tenant) {
        let Some(desk) = self.state.desks.get_mut(receiver) else { return };
        let fold = desk.overflow.remove(tenant).unwrap_or_default();
        let (mut parts, mut count, mut left) =
            (Vec::new(), 0, Fold { since: fold.since, is_by_rate: fold.is_by_rate, ..Fold::default() });
        for key in fold.groups {
            if count >= DIGEST_ALERTS_MAX {
                left.groups.insert(key);
                continue;
            }
            if let Some(part) = self.digest_part(&key) {
                count += part.told.len();
                parts.push(part);
            } else {
                self.settle(&key);
            }
        }
        if let Some(desk) = self.state.desks.get_mut(receiver).filter(|_| !left.groups.is_empty()) {
            desk.overflow.insert(tenant.clone(), left);
        }
        if parts.is_empty() {
            return;
        }
        let groups = if parts.len() == 1 { "1 group".to_owned() } else { format!("{} groups", parts.len()) };
        let why = if fold.is_by_rate { ", too many to tell one by one" } else { "" };
        let draft = Draft {
            kind: NoticeKind::Digest,
            reason: format!("{} in {groups}{why}", alerts(count)),
            group_key: format!("digest-{}-{}", tenant.as_str(), receiver).chars().take(200).collect(),
            labels: BTreeMap::new(),
            parts,
            is_mirror: false,
        };
        self.send(receiver, tenant, draft);
    }

    /// What a digest tells of one of its groups: what is new, or all of it when it is told only that it is still so.
    fn digest_part(&mut self, key: &str) -> Option<Part> {
        let now = self.now;
        self.with_timing(key, |group, timing, _| {
            group.is_folded = false;
            let need = group.need(timing, now)?;
            let covered = group.covered(&need);
            let news = news(group, &covered);
            Some(if news.is_empty() { covered } else { news })
        })
        .flatten()
        .filter(|told| !told.is_empty())
        .map(|told| Part { group: key.to_owned(), told })
    }

    // ---- sending ------------------------------------------------------------------------------------------------

    fn send(&mut self, receiver: &str, tenant: &Tenant, draft: Draft) {
        let (id, now) = (log::new_id(self.now), self.now);
        let notice = Arc::new(self.notice(id, receiver, tenant, &draft));
        let routing = Arc::clone(&self.state.routing);
        let Some(desk) = self.state.desks.get_mut(receiver) else { return };
        let group = draft.parts.first().and_then(|part| self.state.groups.get(&part.group));
        let receipts = group
            .filter(|_| draft.kind != NoticeKind::Digest)
            .map(|group| group.receipts.clone())
            .unwrap_or_default();
        let mut channels = Vec::new();
        for lane in desk.lanes.iter().filter(|lane| !draft.is_mirror || lane.notifier.mirrors()) {
            let previous = receipts.get(&lane.id).cloned();
            let is_sent =
                lane.send(Job { notice: Arc::clone(&notice), previous, routing: Arc::clone(&routing) });
            let (state, error) = if is_sent {
                (DeliveryState::Queued, None)
            } else {
                (DeliveryState::Failed, Some("its queue is full".to_owned()))
            };
            channels.push(ChannelDelivery {
                channel: lane.id.clone(),
                state,
                attempts: 0,
                to: Vec::new(),
                error,
            });
        }
        if !draft.is_mirror {
            desk.window.sent(draft.kind == NoticeKind::Digest, now);
        }
        metrics::counter!("notification_notices_total", "kind" => kind_name(draft.kind)).increment(1);
        let delivery = Delivery {
            id,
            tenant: tenant.clone(),
            receiver: receiver.to_owned(),
            group_key: draft.group_key,
            kind: draft.kind,
            reason: draft.reason,
            alerts: draft.parts.iter().flat_map(|part| part.told.iter().map(|(id, _)| *id)).collect(),
            state: DeliveryState::Queued,
            channels,
            at: now,
            done_at: None,
        };
        for part in &draft.parts {
            if let Some(group) = self.state.groups.get_mut(&part.group) {
                group.in_flight = Some(id);
            }
            self.settle(&part.group);
        }
        self.state.deliveries.insert(id, delivery.clone());
        let flight = Flight { delivery, parts: draft.parts, is_mirror: draft.is_mirror, is_told: false };
        self.state.flights.insert(id, flight);
        self.land_if_done(id);
    }

    fn notice(&self, id: Uuid, receiver: &str, tenant: &Tenant, draft: &Draft) -> Notice {
        let (shown, total) = self.shown(&draft.parts);
        let incident = match &draft.parts[..] {
            [part] => self.state.groups.get(&part.group).and_then(super::group::Group::incident),
            _ => None,
        };
        let incident = incident.and_then(|incident| self.incident_text(tenant, incident));
        Notice {
            id,
            tenant: tenant.clone(),
            receiver: receiver.to_owned(),
            kind: draft.kind,
            group_key: draft.group_key.clone(),
            group_labels: draft.labels.clone(),
            alerts: shown,
            total,
            reason: incident.map_or(draft.reason.clone(), |incident| format!("{}; {incident}", draft.reason)),
            to: Vec::new(),
            base_url: self.engine.config.base_url.clone(),
            at: self.now,
        }
    }

    /// The worst and newest alerts a notice shows, those that are over last; and how many it tells of.
    fn shown(&self, parts: &[Part]) -> (Vec<Arc<Alert>>, usize) {
        let mut all = Vec::new();
        for part in parts {
            let Some(group) = self.state.groups.get(&part.group) else { continue };
            let of_member = |(id, told): &(AlertId, Told)| {
                let at = group.members.get(id).map_or(Timestamp(0), |member| member.at);
                (told.phase == Phase::Resolved, Reverse(told.severity), Reverse(at), *id)
            };
            all.extend(part.told.iter().map(of_member));
        }
        all.sort_unstable();
        let read = |(.., id): &(_, _, _, AlertId)| self.engine.alerts.get(None, *id).ok();
        (all.iter().filter_map(read).take(NOTICE_ALERTS_MAX).collect(), all.len())
    }

    // ---- what became of it --------------------------------------------------------------------------------------

    pub(crate) fn done(&mut self, done: Done) {
        if let Some(turn) = done.turned {
            self.turned(turn, &done);
        }
        let Some(flight) = self.state.flights.get_mut(&done.delivery) else { return };
        let Some(channel) = flight.delivery.channels.iter_mut().find(|channel| channel.channel == done.lane)
        else {
            return;
        };
        channel.attempts = done.attempts;
        channel.to = done.to;
        match done.result {
            Ok(receipt) => {
                channel.state = DeliveryState::Sent;
                let part = flight.parts.first().filter(|_| flight.delivery.kind != NoticeKind::Digest);
                if let (Some(part), Some(receipt)) = (part, receipt)
                    && let Some(group) = self.state.groups.get_mut(&part.group)
                {
                    group.receipts.insert(done.lane, receipt);
                    self.state.dirty.insert(part.group.clone());
                }
                self.note_told(done.delivery);
            }
            Err(NotifyError { detail, .. }) => {
                tracing::error!(
                    receiver = done.receiver,
                    channel = done.lane,
                    attempts = done.attempts,
                    detail,
                    "notice not delivered"
                );
                channel.state = DeliveryState::Failed;
                channel.error = Some(detail);
            }
        }
        self.land_if_done(done.delivery);
    }

    /// Notes what the receiver knows now, once.
    fn note_told(&mut self, id: Uuid) {
        let Some(flight) = self.state.flights.get_mut(&id).filter(|flight| !flight.is_told) else { return };
        flight.is_told = true;
        let (kind, reason) = (flight.delivery.kind, flight.delivery.reason.clone());
        let (receiver, tenant) = (flight.delivery.receiver.clone(), flight.delivery.tenant.clone());
        let (is_mirror, parts) = (flight.is_mirror, std::mem::take(&mut flight.parts));
        for part in &parts {
            let Some(group) = self.state.groups.get_mut(&part.group) else { continue };
            let news = news(group, &part.told);
            group.told(&part.told);
            (group.failures, group.retry_at) = (0, None);
            if !is_mirror {
                group.sent_at = Some(self.now);
            }
            group.has_message |= kind != NoticeKind::Digest;
            self.state.dirty.insert(part.group.clone());
            let told = if news.is_empty() { &part.told } else { &news };
            for (alert, told) in told {
                let outcome = outcome_of(kind, told.phase);
                self.note_by_id(*alert, &tenant, Some(&receiver), outcome, reason.clone(), Some(id));
            }
            self.note_in_alerts(&receiver, kind, &news);
        }
        self.note_in_incidents(&receiver, kind, &parts);
        if let Some(flight) = self.state.flights.get_mut(&id) {
            flight.parts = parts;
        }
    }

    /// Ends a flight whose channels are all done.
    fn land_if_done(&mut self, id: Uuid) {
        if !self.state.flights.get(&id).is_some_and(|flight| flight.delivery.is_done()) {
            return;
        }
        let Some(mut flight) = self.state.flights.remove(&id) else { return };
        let was_taken = flight.delivery.was_taken();
        flight.delivery.state = if was_taken { DeliveryState::Sent } else { DeliveryState::Failed };
        flight.delivery.done_at = Some(self.now);
        for part in &flight.parts {
            if let Some(group) = self.state.groups.get_mut(&part.group) {
                group.in_flight = None;
                if !was_taken {
                    group.failures = group.failures.saturating_add(1);
                    let pause = Duration::from_secs(10)
                        .saturating_mul(1 << (group.failures - 1).min(6))
                        .min(RETRY_MAX);
                    group.retry_at = Some(after(self.now, pause));
                }
            }
            if !was_taken {
                self.note_failed(&flight.delivery, part);
            }
            self.settle(&part.group);
        }
        self.state.deliveries.insert(id, flight.delivery);
    }

    fn note_failed(&mut self, delivery: &Delivery, part: &Part) {
        let failed = |channel: &ChannelDelivery| {
            let error = channel.error.as_deref().unwrap_or("interrupted");
            format!("{} after {} attempts: {error}", channel.channel, channel.attempts)
        };
        let detail = delivery.channels.iter().map(failed).collect::<Vec<_>>().join("; ");
        metrics::counter!("notification_notices_failed_total").increment(1);
        for (id, _) in &part.told {
            let noted = self.state.groups.get_mut(&part.group).and_then(|group| group.members.get_mut(id));
            if noted.is_some_and(|member| member.noted.replace(Outcome::Failed) != Some(Outcome::Failed)) {
                self.note_by_id(
                    *id,
                    &delivery.tenant,
                    Some(&delivery.receiver),
                    Outcome::Failed,
                    detail.clone(),
                    Some(delivery.id),
                );
            }
        }
    }

    /// The incident in words.
    fn incident_text(&self, tenant: &Tenant, id: IncidentId) -> Option<String> {
        let incident = self.engine.alerts.incidents().get(Some(tenant), id).ok()?;
        Some(format!("incident #{} {}", incident.number, incident.title))
    }

    /// Writes into the timelines of the incidents concerned that somebody was told.
    fn note_in_incidents(&self, receiver: &str, kind: NoticeKind, parts: &[Part]) {
        let mut told: BTreeMap<IncidentId, usize> = BTreeMap::new();
        for part in parts {
            let Some(group) = self.state.groups.get(&part.group) else { continue };
            let members = part.told.iter().filter_map(|(id, _)| group.members.get(id));
            members.filter_map(|member| member.incident).for_each(|id| *told.entry(id).or_default() += 1);
        }
        for (incident, count) in told {
            let text = format!("{receiver}: {} ({})", kind_name(kind), alerts(count));
            if let Err(error) =
                self.engine.alerts.incidents().note(incident, EntryKind::Notification, &text, HEIMDALL)
            {
                tracing::debug!(%incident, %error, "could not note in the incident that people were told");
            }
        }
    }

    fn note_in_alerts(&self, receiver: &str, kind: NoticeKind, news: &[(AlertId, Told)]) {
        let is_first = !matches!(kind, NoticeKind::Resolved | NoticeKind::Acknowledged);
        for (id, _) in news.iter().filter(|(_, told)| is_first && told.phase != Phase::Resolved) {
            if let Err(error) = self.engine.alerts.record_notified(*id, receiver) {
                tracing::warn!(alert = %id, %error, "could not note in the alert that people were told");
            }
        }
    }

    // ---- channels that stop and begin to work -------------------------------------------------------------------

    fn turned(&mut self, turn: Turn, done: &Done) {
        let at = |wait| Some(after(self.now, wait));
        let error = done.result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let ends_at = if turn == Turn::Up { Some(self.now) } else { at(DOWN_FOR) };
        let labels = [
            ("alertname", CHANNEL_DOWN),
            ("severity", "critical"),
            ("receiver", &done.receiver),
            ("channel", done.kind),
            ("lane", &done.lane),
        ];
        let summary = format!("Receiver `{}` is not reached by {}: {error}", done.receiver, done.kind);
        let description = "Its alerts wait and are told as soon as the channel takes them; other receivers are told as ever.";
        let texts = [("summary", summary.as_str()), ("description", description)];
        let owned = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
        let posted = PostedAlert {
            labels: labels.iter().map(owned).collect(),
            annotations: texts.iter().map(owned).collect(),
            starts_at: None,
            ends_at,
            source_url: None,
        };
        if let Err(error) = self.engine.alerts.post(&Tenant::default(), vec![posted], HEIMDALL) {
            tracing::error!(receiver = done.receiver, channel = done.kind, %error, "could not raise the alert about a dead channel");
        }
        if turn == Turn::Up {
            self.has_news_of_channels = true;
            self.try_again(&done.receiver);
        }
    }

    /// What waited for a receiver that is reached again is told now.
    fn try_again(&mut self, receiver: &str) {
        let waiting =
            self.state.groups.values_mut().filter(|group| group.receiver == receiver && group.failures > 0);
        let mut keys = Vec::new();
        for group in waiting {
            group.retry_at = None;
            keys.push(group.key.clone());
        }
        keys.iter().for_each(|key| self.settle(key));
    }
}

/// Of what a notice tells, what the receiver did not know.
fn news(group: &super::group::Group, covered: &[(AlertId, Told)]) -> Vec<(AlertId, Told)> {
    let is_news = |(id, told): &&(AlertId, Told)| {
        group.members.get(id).is_none_or(|member| member.told.is_none_or(|known| known != *told))
    };
    covered.iter().filter(is_news).copied().collect()
}

fn outcome_of(kind: NoticeKind, phase: Phase) -> Outcome {
    match (kind, phase) {
        (NoticeKind::Digest, _) => Outcome::Digest,
        (_, Phase::Resolved) => Outcome::Resolved,
        (NoticeKind::Raised, _) => Outcome::Sent,
        (NoticeKind::Escalated, _) => Outcome::Escalated,
        (NoticeKind::Acknowledged, _) | (_, Phase::Acknowledged) => Outcome::Acknowledged,
        _ => Outcome::Updated,
    }
}

fn kind_name(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Raised => "raised",
        NoticeKind::Updated => "updated",
        NoticeKind::Acknowledged => "acknowledged",
        NoticeKind::Escalated => "escalated",
        NoticeKind::Resolved => "resolved",
        NoticeKind::Digest => "digest",
        NoticeKind::Test => "test",
    }
}
