//! A group: the alerts one receiver is told of as one, and what it was told. Pure: time is handed in.
//!
//! Invariants:
//! - what a receiver is told follows from the difference between what its alerts are and what it was told of them, never from
//!   the events in between: a lost event or a restart changes nothing;
//! - one notice of a group is on its way at a time;
//! - an alert leaves its group when the receiver knows that it is over, or never knew that it was there.

use std::collections::BTreeMap;
use std::time::Duration;

use heimdall_model::time::format_duration;
use heimdall_model::{Alert, AlertId, IncidentId, Severity, Status, Tenant, Timestamp};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::log::Outcome;
use crate::notify::notice::{NoticeKind, Receipt};
use crate::routing::Route;

/// An acknowledgement is shown this late, so that many taken at once are one change of the message.
const MIRROR_WAIT: Duration = Duration::from_millis(500);

/// Where an alert is, as a receiver is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Firing,
    Acknowledged,
    Resolved,
}

impl Phase {
    pub(crate) fn of(status: Status) -> Phase {
        match status {
            Status::Acknowledged => Phase::Acknowledged,
            Status::Resolved => Phase::Resolved,
            Status::Open | Status::Suppressed => Phase::Firing,
        }
    }
}

/// What a receiver was told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) phase: Phase,
    pub(crate) severity: Severity,
    /// The alert was kept quiet since: who hears of it again hears of it anew.
    #[serde(default)]
    pub(crate) was_quiet: bool,
}

/// An alert of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) severity: Severity,
    pub(crate) phase: Phase,
    /// Nobody is to be told of it now.
    pub(crate) is_quiet: bool,
    /// When it became what it is.
    pub(crate) at: Timestamp,
    pub(crate) incident: Option<IncidentId>,
    pub(crate) told: Option<Told>,
    /// The latest decision written down, so that it is not written again.
    #[serde(skip)]
    pub(crate) noted: Option<Outcome>,
}

/// What a group is named by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupName {
    pub(crate) tenant: Tenant,
    pub(crate) receiver: String,
    /// Path of its route.
    pub(crate) path: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Step of the escalation; 0 for those told first.
    pub(crate) level: usize,
}

impl GroupName {
    /// 32 hex digits, the same for the same name.
    pub(crate) fn key(&self) -> String {
        let mut context = Context::new(&SHA256);
        let level = self.level.to_string();
        let fixed = [self.tenant.as_str(), &self.receiver, &self.path, &level];
        let labels = self.labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        for part in fixed.into_iter().chain(labels) {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        context.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The alerts a receiver is told of as one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) key: String,
    pub(crate) tenant: Tenant,
    pub(crate) receiver: String,
    pub(crate) path: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) level: usize,
    pub(crate) members: BTreeMap<AlertId, Member>,
    pub(crate) opened_at: Timestamp,
    /// The latest notice somebody got.
    pub(crate) sent_at: Option<Timestamp>,
    /// It has a message of its own, not only a place in digests.
    pub(crate) has_message: bool,
    /// Since when somebody should have acknowledged it.
    pub(crate) open_since: Option<Timestamp>,
    /// Steps of the escalation taken.
    pub(crate) escalated: usize,
    /// What channels need to change their message, by channel.
    pub(crate) receipts: BTreeMap<String, Receipt>,
    /// The notice on its way.
    #[serde(skip)]
    pub(crate) in_flight: Option<Uuid>,
    /// Notices that failed in a row.
    #[serde(skip)]
    pub(crate) failures: u32,
    /// Not before this.
    #[serde(skip)]
    pub(crate) retry_at: Option<Timestamp>,
    /// It waits for a digest.
    #[serde(skip)]
    pub(crate) is_folded: bool,
}

/// How a group is timed, and what its receiver can show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing<'a> {
    pub(crate) route: &'a Route,
    /// A channel of the receiver shows acknowledgements in its earlier message.
    pub(crate) mirrors: bool,
    pub(crate) sends_resolved: bool,
}

/// A notice that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) at: Timestamp,
    pub(crate) kind: NoticeKind,
    pub(crate) reason: String,
    /// It only changes messages that are there: it goes to channels that can, and bothers nobody.
    pub(crate) is_mirror: bool,
}

/// The members counted by what there is to tell.
#[derive(Default)]
struct Tally {
    live: usize,
    firing: usize,
    /// Firing, and the receiver knows.
    known: usize,
    untold: usize,
    worse: usize,
    over: usize,
    over_loud: usize,
    acknowledged: usize,
    reopened: usize,
    /// When the first of the untold or worse became so.
    news_at: Option<Timestamp>,
    news_worst: Option<Severity>,
    told_worst: Option<Severity>,
    over_at: Option<Timestamp>,
    mirror_at: Option<Timestamp>,
}

impl Group {
    pub(crate) fn new(name: GroupName, now: Timestamp) -> Group {
        Group {
            key: name.key(),
            tenant: name.tenant,
            receiver: name.receiver,
            path: name.path,
            labels: name.labels,
            level: name.level,
            members: BTreeMap::new(),
            opened_at: now,
            sent_at: None,
            has_message: false,
            open_since: None,
            escalated: 0,
            receipts: BTreeMap::new(),
            in_flight: None,
            failures: 0,
            retry_at: None,
            is_folded: false,
        }
    }

    /// Takes the present of an alert. `told` is what is assumed of an alert the group does not know.
    pub(crate) fn take(&mut self, alert: &Alert, is_quiet: bool, told: Option<Told>, now: Timestamp) {
        let phase = Phase::of(alert.status);
        let member = self.members.entry(alert.id).or_insert_with(|| Member {
            severity: alert.severity,
            phase,
            is_quiet,
            at: now,
            incident: alert.incident,
            told,
            noted: None,
        });
        if (member.severity, member.phase, member.is_quiet) != (alert.severity, phase, is_quiet) {
            member.at = now;
        }
        (member.severity, member.phase, member.is_quiet) = (alert.severity, phase, is_quiet);
        member.incident = alert.incident;
        if let Some(told) = member.told.as_mut().filter(|_| is_quiet && phase != Phase::Resolved) {
            told.was_quiet = true;
        }
    }

    /// Settles what follows from the members alone: who leaves, which is returned, and whether anybody should acknowledge.
    pub(crate) fn settle(&mut self, timing: &Timing<'_>, now: Timestamp) -> Vec<AlertId> {
        if !timing.mirrors || !self.has_message {
            self.members.values_mut().for_each(Member::take_acknowledgement_as_told);
        }
        let mut left = Vec::new();
        if self.in_flight.is_none() {
            let mirrors = timing.mirrors && self.has_message;
            let leaves = |member: &Member| member.is_settled(timing.sends_resolved, mirrors);
            left.extend(self.members.iter().filter(|(_, member)| leaves(member)).map(|(id, _)| *id));
            for id in &left {
                self.members.remove(id);
            }
        }
        if !self.members.values().any(Member::is_firing) {
            (self.open_since, self.escalated) = (None, 0);
        } else if self.open_since.is_none() && self.sent_at.is_some() {
            self.open_since = Some(now);
        }
        left
    }

    /// The next notice, were nothing to change until then; none while one is on its way or waits for a digest.
    pub(crate) fn next(&self, timing: &Timing<'_>) -> Option<Timestamp> {
        if self.in_flight.is_some() || self.is_folded {
            return None;
        }
        let next = self.candidates(timing).into_iter().map(|need| need.at).min()?;
        Some(next.max(self.retry_at.unwrap_or(next)))
    }

    /// The notice to send now, if one is due.
    pub(crate) fn need(&self, timing: &Timing<'_>, now: Timestamp) -> Option<Need> {
        if self.next(timing)? > now {
            return None;
        }
        self.candidates(timing).into_iter().find(|need| need.at <= now)
    }

    /// When the next step of the escalation is due.
    pub(crate) fn escalation_at(&self, route: &Route) -> Option<Timestamp> {
        let step = route.escalation.get(self.escalated).filter(|_| self.level == 0)?;
        Some(after(self.open_since?, step.after))
    }

    /// What is to be told, the weightiest first.
    fn candidates(&self, timing: &Timing<'_>) -> Vec<Need> {
        let tally = self.tally();
        let candidates = [
            self.news(&tally, timing.route),
            self.end(&tally, timing.route),
            self.mirror(&tally),
            self.repeat(&tally, timing.route),
        ];
        candidates.into_iter().flatten().collect()
    }

    fn news(&self, tally: &Tally, route: &Route) -> Option<Need> {
        let news_at = tally.news_at?;
        let is_first = tally.told_worst.is_none();
        let first_kind = if self.level > 0 { NoticeKind::Escalated } else { NoticeKind::Raised };
        let kind = if is_first { first_kind } else { NoticeKind::Updated };
        let at = match self.sent_at {
            _ if is_first => route_first(route, tally).unwrap_or(news_at),
            Some(sent_at) if tally.news_worst <= tally.told_worst => {
                after(sent_at, route.group_interval).max(news_at)
            }
            _ => news_at,
        };
        let reason = match (self.level, tally.untold, tally.worse) {
            (0, ..) if is_first => "new".to_owned(),
            (level, ..) if is_first => format!("not acknowledged, escalation step {level}"),
            (_, 0, worse) => format!("{} grew worse", alerts(worse)),
            (_, untold, 0) => format!("{} more", alerts(untold)),
            (_, untold, worse) => format!("{} more, {worse} grew worse", alerts(untold)),
        };
        Some(Need { at, kind, reason, is_mirror: false })
    }

    fn end(&self, tally: &Tally, route: &Route) -> Option<Need> {
        let over_at = tally.over_at?;
        let is_mirror = tally.over_loud == 0;
        if tally.live == 0 {
            return Some(Need {
                at: over_at,
                kind: NoticeKind::Resolved,
                reason: "resolved".to_owned(),
                is_mirror,
            });
        }
        let at = self.sent_at.map_or(over_at, |sent_at| after(sent_at, route.group_interval).max(over_at));
        let reason = format!("{} resolved, {} still on", alerts(tally.over), tally.live);
        Some(Need { at, kind: NoticeKind::Updated, reason, is_mirror })
    }

    fn mirror(&self, tally: &Tally) -> Option<Need> {
        let at = after(tally.mirror_at?, MIRROR_WAIT);
        let (kind, reason) = match (tally.firing, tally.reopened) {
            (0, _) => (NoticeKind::Acknowledged, "acknowledged".to_owned()),
            (_, 0) => (NoticeKind::Updated, format!("{} acknowledged", alerts(tally.acknowledged))),
            (_, reopened) => (NoticeKind::Updated, format!("{} not acknowledged any more", alerts(reopened))),
        };
        Some(Need { at, kind, reason, is_mirror: true })
    }

    fn repeat(&self, tally: &Tally, route: &Route) -> Option<Need> {
        let at = after(self.sent_at.filter(|_| tally.known > 0)?, route.repeat_interval);
        let interval = i64::try_from(route.repeat_interval.as_nanos()).unwrap_or(i64::MAX);
        let reason = format!("still so after {}", format_duration(interval));
        Some(Need { at, kind: NoticeKind::Updated, reason, is_mirror: false })
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.members.values().for_each(|member| tally.add(member));
        tally
    }

    /// The members a notice tells of, with what its receiver knows once it is told.
    pub(crate) fn covered(&self, need: &Need) -> Vec<(AlertId, Told)> {
        let told = |(id, member): (&AlertId, &Member)| {
            let is_shown = match member.phase {
                Phase::Resolved => member.told.is_some(),
                _ => {
                    !member.is_quiet
                        && (member.told.is_some() || !need.is_mirror && member.phase == Phase::Firing)
                }
            };
            is_shown
                .then_some((*id, Told { phase: member.phase, severity: member.severity, was_quiet: false }))
        };
        self.members.iter().filter_map(told).collect()
    }

    /// Notes what the receiver was told.
    pub(crate) fn told(&mut self, told: &[(AlertId, Told)]) {
        for (id, told) in told {
            if let Some(member) = self.members.get_mut(id) {
                member.told = Some(Told { was_quiet: member.is_quiet, ..*told });
            }
        }
    }

    /// The worst severity there is to tell.
    pub(crate) fn worst(&self) -> Option<Severity> {
        self.members.values().filter(|member| member.is_firing()).map(|member| member.severity).max()
    }

    /// The incident all its alerts belong to.
    pub(crate) fn incident(&self) -> Option<IncidentId> {
        let mut incidents = self.members.values().map(|member| member.incident);
        let first = incidents.next().flatten()?;
        incidents.all(|other| other == Some(first)).then_some(first)
    }
}

impl Member {
    pub(crate) fn is_firing(&self) -> bool {
        self.phase == Phase::Firing && !self.is_quiet
    }

    /// Whether it is over and there is nothing to tell of that: nobody knows of it, or only who hears of it no more.
    fn is_settled(&self, sends_resolved: bool, mirrors: bool) -> bool {
        let waits = |told: &Told| {
            let is_loud = !told.was_quiet && !self.is_quiet;
            told.phase != Phase::Resolved && sends_resolved && (is_loud || mirrors)
        };
        self.phase == Phase::Resolved && !self.told.as_ref().is_some_and(waits)
    }

    /// Where nothing shows acknowledgements, there is none to tell.
    fn take_acknowledgement_as_told(&mut self) {
        if let Some(told) = self.told.as_mut().filter(|told| told.phase != Phase::Resolved)
            && self.phase != Phase::Resolved
        {
            told.phase = self.phase;
        }
    }
}

impl Tally {
    fn add(&mut self, member: &Member) {
        let knows = member.told.filter(|told| told.phase != Phase::Resolved);
        if member.phase == Phase::Resolved {
            if let Some(told) = knows {
                self.over += 1;
                self.over_loud += usize::from(!told.was_quiet && !member.is_quiet);
                self.over_at = self.over_at.max(Some(member.at));
            }
            return;
        }
        self.live += 1;
        if member.is_quiet {
            return;
        }
        self.firing += usize::from(member.phase == Phase::Firing);
        match knows.filter(|told| !told.was_quiet) {
            None if member.phase == Phase::Firing => {
                self.untold += 1;
                self.add_news(member);
            }
            None => {}
            Some(told) => {
                self.told_worst = self.told_worst.max(Some(told.severity));
                self.known += usize::from(member.phase == Phase::Firing);
                if told.severity < member.severity {
                    self.worse += 1;
                    self.add_news(member);
                }
                if told.phase != member.phase {
                    let taken = usize::from(member.phase == Phase::Acknowledged);
                    self.acknowledged += taken;
                    self.reopened += 1 - taken;
                    self.mirror_at = self.mirror_at.max(Some(member.at));
                }
            }
        }
    }

    fn add_news(&mut self, member: &Member) {
        self.news_at = Some(self.news_at.map_or(member.at, |at| at.min(member.at)));
        self.news_worst = self.news_worst.max(Some(member.severity));
    }
}

/// When the first notice of a group is due: the wait of the worst from when the first came.
fn route_first(route: &Route, tally: &Tally) -> Option<Timestamp> {
    Some(after(tally.news_at?, route.wait(tally.news_worst?)))
}

pub(crate) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add_ns(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX))
}

pub(crate) fn alerts(count: usize) -> String {
    if count == 1 { "1 alert".to_owned() } else { format!("{count} alerts") }
}
