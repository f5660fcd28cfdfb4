//! Who is told of what: the routing file, its route tree, time intervals, on-call schedules and escalation.
//!
//! - [`parse`](Routing::parse): a file in Alertmanager's words becomes a [`Routing`], or all its faults
//! - `tree`: which routes an alert takes
//! - `interval`, `schedule`: when, and who is on call
//! - `yaml`: reading key by key, with lines
//!
//! Invariants:
//! - a `Routing` is whole: every receiver, interval, schedule and person it names exists;
//! - it is pure: no IO, no clock; the same alert takes the same routes.
//!
//! Not here: groups, timing and delivery (see `pipeline`), the channels (see `notify`), judging inhibition (see `alerts`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::{Alert, Timestamp};
use serde::Serialize;

use crate::inhibit::InhibitRule;
use crate::notify::{ChannelConfig, notice::Notifier};
use crate::priority::PriorityRule;

mod import;
mod interval;
mod nearest;
mod parse;
mod schedule;
mod tree;
mod yaml;

pub use interval::TimeInterval;
pub use parse::{FILE_BYTES_MAX, ROUTES_MAX};
pub use schedule::{OnCall, Schedule};
pub use tree::{Escalation, Route, RouteStep};
pub use yaml::FAULTS_MAX;

/// Something wrong with a routing file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{file}:{line}: {}{reason}", if key.is_empty() { String::new() } else { format!("`{key}`: ") })]
pub struct RoutingFault {
    /// The file as given.
    pub file: String,
    /// Line in the file, from 1.
    pub line: usize,
    /// Where in the file: `route.routes[1].receiver`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// Who is told of what.
#[derive(Debug, Clone)]
pub struct Routing {
    /// The root is the first.
    pub(crate) routes: Vec<Route>,
    by_path: HashMap<String, usize>,
    receivers: Vec<Arc<Receiver>>,
    intervals: BTreeMap<String, TimeInterval>,
    schedules: BTreeMap<String, Schedule>,
    people: BTreeMap<String, Person>,
    inhibit: Vec<InhibitRule>,
    priorities: Vec<PriorityRule>,
    /// Where it comes from, for faults; empty without a file.
    file: String,
}

/// A place notices go to: channels, and the people they are for.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Its name, unique in the file.
    pub name: String,
    /// Its channels: each gets every notice.
    pub channels: Vec<Channel>,
    /// People its notices are for.
    pub people: Vec<String>,
    /// Schedules whose person on call its notices are for.
    pub on_call: Vec<String>,
    /// Notices are gathered and sent as one this often; none: each at once.
    pub digest: Option<Duration>,
    /// Most messages; beyond, alerts are folded into digests.
    pub max_messages: Rate,
    /// Whether it is told when alerts are over.
    pub sends_resolved: bool,
    /// Lines of its channels in the file.
    pub(crate) lines: Vec<usize>,
}

/// A channel of a receiver.
#[derive(Clone)]
pub enum Channel {
    /// As configured; made when the routing goes into force.
    Configured(Box<ChannelConfig>),
    /// Made already.
    Given(Arc<dyn Notifier>),
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Channel {
    /// `slack`, `email` …
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Channel::Configured(config) => config.kind(),
            Channel::Given(notifier) => notifier.kind(),
        }
    }
}

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: usize,
    /// In how long.
    pub period: Duration,
}

/// 30 in 10 minutes: more than a person can act on, and far below what Slack or PagerDuty refuse.
impl Default for Rate {
    fn default() -> Rate {
        Rate { count: 30, period: Duration::from_secs(600) }
    }
}

impl Rate {
    /// Reads `10 per 10m`.
    fn parse(text: &str) -> Result<Rate, String> {
        let fault = || format!("`{text}` is not a rate; write it like `10 per 10m`, at least 4");
        let (count, period) = text.split_once(" per ").ok_or_else(fault)?;
        let count =
            count.trim().parse().ok().filter(|count| (4..=10_000).contains(count)).ok_or_else(fault)?;
        let period = yaml::duration(period.trim())?;
        if period < Duration::from_secs(1) { Err(fault()) } else { Ok(Rate { count, period }) }
    }
}

/// Somebody, and where they are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// Address by channel kind: `email`, `slack`, `phone`, `ntfy`, `telegram`.
    pub addresses: BTreeMap<String, String>,
}

impl Routing {
    /// Reads a routing file.
    ///
    /// # Errors
    /// Every fault of the file, in the order of its lines, at most [`FAULTS_MAX`].
    pub fn parse(file: &str, text: &str) -> Result<Routing, Vec<RoutingFault>> {
        parse::parse(file, text)
    }

    /// What holds without a file: every channel is told of all alerts, grouped by rule and service.
    ///
    /// Each channel is a receiver of its own, named by its kind, so that one can tell that another is down.
    #[must_use]
    pub fn default_for(channels: Vec<Channel>) -> Routing {
        let mut receivers: Vec<Arc<Receiver>> = Vec::new();
        for channel in channels {
            let same = receivers.iter().filter(|known| known.channels[0].kind() == channel.kind()).count();
            let kind = channel.kind();
            let name = if same == 0 { kind.to_owned() } else { format!("{kind}-{}", same + 1) };
            receivers.push(Arc::new(Receiver::of(&name, vec![channel])));
        }
        let names: Vec<_> = receivers.iter().map(|receiver| receiver.name.clone()).collect();
        let routes = tree::to_each(&names);
        Routing {
            by_path: tree::by_path(&routes),
            routes,
            receivers,
            intervals: BTreeMap::new(),
            schedules: BTreeMap::new(),
            people: BTreeMap::new(),
            inhibit: Vec::new(),
            priorities: Vec::new(),
            file: String::new(),
        }
    }

    /// The routes an alert takes, in order.
    #[must_use]
    pub fn routes_of(&self, alert: &Alert) -> Vec<&Route> {
        tree::matching(&self.routes, alert)
    }

    /// Every route looked at for an alert, and whether it matches: where it would go and why.
    #[must_use]
    pub fn explain(&self, alert: &Alert) -> Vec<RouteStep> {
        tree::explain(&self.routes, alert)
    }

    /// The receiver of this name.
    #[must_use]
    pub fn receiver(&self, name: &str) -> Option<&Arc<Receiver>> {
        self.receivers.iter().find(|receiver| receiver.name == name)
    }

    /// Gives a receiver one more channel, made already; returns false when there is no such receiver.
    pub fn add_channel(&mut self, receiver: &str, channel: Channel) -> bool {
        let found = self.receivers.iter_mut().find(|known| known.name == receiver);
        found.is_some_and(|found| {
            Arc::make_mut(found).channels.push(channel);
            true
        })
    }

    /// All receivers, in the order of the file.
    #[must_use]
    pub fn receivers(&self) -> &[Arc<Receiver>] {
        &self.receivers
    }

    /// The route of this path; the root, where there is none.
    pub(crate) fn route(&self, path: &str) -> Option<&Route> {
        self.route_if_there(path).or(self.routes.first())
    }

    pub(crate) fn route_if_there(&self, path: &str) -> Option<&Route> {
        self.by_path.get(path).and_then(|index| self.routes.get(*index))
    }

    /// A fault of a channel that cannot be made.
    pub(crate) fn channel_fault(
        &self,
        receiver: &Receiver,
        index: usize,
        key: &str,
        reason: String,
    ) -> RoutingFault {
        let line = receiver.lines.get(index).copied().unwrap_or(1);
        let key = format!("receiver `{}`, channel {index}, {key}", receiver.name);
        RoutingFault { file: self.file.clone(), line, key, reason }
    }

    /// Alerts that keep others quiet, for [`crate::Alerts`].
    #[must_use]
    pub fn inhibit_rules(&self) -> &[InhibitRule] {
        &self.inhibit
    }

    /// Priorities by labels, for [`crate::Alerts`].
    #[must_use]
    pub fn priority_rules(&self) -> &[PriorityRule] {
        &self.priorities
    }

    /// Names of the on-call schedules.
    pub fn schedules(&self) -> impl Iterator<Item = &str> {
        self.schedules.keys().map(String::as_str)
    }

    /// Who is on call by a schedule; none when there is no such schedule.
    #[must_use]
    pub fn on_call(&self, schedule: &str, at: Timestamp) -> Option<OnCall> {
        self.schedules.get(schedule).map(|found| found.on_call(at, &self.intervals))
    }

    /// The time interval that keeps a route quiet now, in words; none when it may tell.
    pub(crate) fn quiet_time(&self, route: &Route, at: Timestamp) -> Option<String> {
        let is_now = |name: &&String| self.intervals.get(*name).is_some_and(|found| found.contains(at));
        if let Some(name) = route.mute.iter().find(is_now) {
            return Some(format!("time interval `{name}`"));
        }
        let is_outside = !route.active.is_empty() && !route.active.iter().any(|name| is_now(&name));
        is_outside.then(|| format!("outside of time interval `{}`", route.active.join("`, `")))
    }

    /// The people a receiver's notices are for at a moment, on-call schedules resolved.
    pub(crate) fn people_of(&self, receiver: &Receiver, at: Timestamp) -> Vec<String> {
        let mut people = receiver.people.clone();
        let on_call = receiver.on_call.iter().filter_map(|name| self.schedules.get(name));
        people.extend(on_call.filter_map(|found| found.person_at(at, &self.intervals)).map(str::to_owned));
        people.dedup();
        people
    }

    /// Where people are reached by a channel: their address of its kind; chat rooms and programs, which have none, get the name.
    pub(crate) fn addresses(&self, people: &[String], kind: &str) -> Vec<String> {
        let needs_address = NEEDS_ADDRESS.contains(&kind);
        let address = |person: &String| {
            let known = self.people.get(person).and_then(|found| found.addresses.get(kind)).cloned();
            known.or_else(|| (!needs_address).then(|| person.clone()))
        };
        people.iter().filter_map(address).collect()
    }
}

/// Channels that reach a person only by an address.
const NEEDS_ADDRESS: [&str; 3] = ["email", "ntfy", "telegram"];

impl Receiver {
    /// A receiver with these channels and nothing else.
    #[must_use]
    pub fn of(name: &str, channels: Vec<Channel>) -> Receiver {
        Receiver {
            name: name.to_owned(),
            channels,
            people: Vec::new(),
            on_call: Vec::new(),
            digest: None,
            max_messages: Rate::default(),
            sends_resolved: true,
            lines: Vec::new(),
        }
    }
}

/// A name that must be one of these.
pub(crate) fn known<'a>(
    name: &str,
    what: &str,
    defined_in: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<String, String> {
    if names.clone().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let hint = nearest::nearest(name, names).map(|near| format!("; did you mean `{near}`?"));
    let hint = hint.unwrap_or_else(|| format!("; it is not in `{defined_in}`"));
    Err(format!("unknown {what} `{name}`{hint}"))
}

#[cfg(test)]
mod tests;
