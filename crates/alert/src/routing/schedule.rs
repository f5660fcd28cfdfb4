//! Who is on call: people in turns, in layers, with overrides.
//!
//! Invariants:
//! - a hand-off happens at its time of day on the clocks of the schedule's zone: when they change, one shift is an hour longer
//!   or shorter, and nobody's turn is skipped;
//! - an override counts before every layer; then the first layer on duty that has somebody;
//! - the same moment and the same file give the same person: nothing is remembered.

use std::collections::BTreeMap;

use heimdall_model::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::interval::{TimeInterval, local, minutes, zone};
use super::yaml::Node;

/// How far ahead the end of a duty is looked for.
const LOOK_AHEAD_NS: i64 = 31 * 86_400 * 1_000_000_000;
/// Steps of the search, then refined to the minute.
const STEP_NS: i64 = 15 * MINUTE_NS;
const MINUTE_NS: i64 = 60 * 1_000_000_000;
const KEYS: [&str; 8] =
    ["name", "zone", "people", "shift", "start", "handoff", "active_time_intervals", "layers"];
const LAYER_KEYS: [&str; 5] = ["people", "shift", "start", "handoff", "active_time_intervals"];

/// An on-call rotation.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    zone: TimeZone,
    layers: Vec<Layer>,
    overrides: Vec<Override>,
}

#[derive(Debug, Clone, PartialEq)]
struct Layer {
    /// In the order of their turns.
    people: Vec<String>,
    shift: Shift,
    start: Date,
    /// Minutes of the day.
    handoff: i32,
    /// Names of the time intervals it is on duty in; empty: always.
    active: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shift {
    Days(i32),
    /// A divisor of 24.
    Hours(i32),
}

#[derive(Debug, Clone, PartialEq)]
struct Override {
    person: String,
    from: Timestamp,
    to: Timestamp,
}

/// Who is on call at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnCall {
    /// The person; none in a gap of the schedule.
    pub person: Option<String>,
    /// Until when at least, to the minute; none when nothing changes within 31 days.
    pub until: Option<Timestamp>,
}

impl Schedule {
    /// The person on call.
    #[must_use]
    pub fn person_at(&self, at: Timestamp, intervals: &BTreeMap<String, TimeInterval>) -> Option<&str> {
        let overridden = self.overrides.iter().rev().find(|given| (given.from..given.to).contains(&at));
        let on_duty = |layer: &&Layer| layer.is_on_duty(at, intervals);
        match overridden {
            Some(given) => Some(&given.person),
            None => self.layers.iter().filter(on_duty).find_map(|layer| layer.person_at(at, &self.zone)),
        }
    }

    /// The person on call, and until when.
    #[must_use]
    pub fn on_call(&self, at: Timestamp, intervals: &BTreeMap<String, TimeInterval>) -> OnCall {
        let person = self.person_at(at, intervals);
        let is_other = |at: &Timestamp| self.person_at(*at, intervals) != person;
        let grid = (1..=LOOK_AHEAD_NS / STEP_NS).map(|step| at.saturating_add_ns(step * STEP_NS));
        let edges = self.overrides.iter().flat_map(|given| [given.from, given.to]);
        let mut moments: Vec<_> = grid.chain(edges.filter(|edge| *edge > at)).collect();
        moments.sort_unstable();
        let until = moments.into_iter().find(is_other).map(|change| {
            let minute = |back: i64| Timestamp((change.0 / MINUTE_NS - back) * MINUTE_NS);
            let earlier = (0..=STEP_NS / MINUTE_NS)
                .map(minute)
                .take_while(|at_minute| *at_minute > at && is_other(at_minute));
            earlier.last().unwrap_or(change)
        });
        OnCall { person: person.map(str::to_owned), until }
    }

    /// Everybody it names.
    pub(crate) fn people(&self) -> impl Iterator<Item = &str> {
        let in_layers = self.layers.iter().flat_map(|layer| &layer.people);
        in_layers.chain(self.overrides.iter().map(|given| &given.person)).map(String::as_str)
    }

    pub(crate) fn read(node: &Node<'_>, people: &[String], intervals: &[String]) -> Option<Schedule> {
        let keys: Vec<_> = KEYS.into_iter().chain(["overrides"]).collect();
        let fields = node.fields(&keys)?;
        let name = fields.need("name").and_then(|node| node.text());
        let zone = fields.get("zone").map_or(Some(TimeZone::UTC), |node| node.parsed(zone));
        let mut layers = Vec::new();
        if fields.get("layers").is_none() || fields.get("people").is_some() {
            layers.extend(Layer::read(node, &keys, people, intervals));
        }
        let more = fields.items("layers");
        layers.extend(more.iter().filter_map(|node| Layer::read(node, &LAYER_KEYS, people, intervals)));
        let zone = zone?;
        let overrides = fields.items("overrides");
        let overrides = overrides.iter().filter_map(|node| Override::read(node, &zone, people)).collect();
        Some(Schedule { name: name?, zone, layers, overrides })
    }
}

impl Layer {
    fn is_on_duty(&self, at: Timestamp, intervals: &BTreeMap<String, TimeInterval>) -> bool {
        self.active.is_empty()
            || self.active.iter().any(|name| intervals.get(name).is_some_and(|found| found.contains(at)))
    }

    fn person_at(&self, at: Timestamp, zone: &TimeZone) -> Option<&str> {
        let local = local(at, zone);
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        let since_handoff = (minute - self.handoff).rem_euclid(24 * 60);
        let days = days_between(self.start, local.date()) - i32::from(minute < self.handoff);
        if days < 0 {
            return None;
        }
        let turn = match self.shift {
            Shift::Days(length) => days / length,
            Shift::Hours(length) => days * (24 / length) + since_handoff / (length * 60),
        };
        let index = usize::try_from(turn).ok()? % self.people.len().max(1);
        self.people.get(index).map(String::as_str)
    }

    fn read(node: &Node<'_>, keys: &[&str], people: &[String], intervals: &[String]) -> Option<Layer> {
        let fields = if keys == LAYER_KEYS { node.fields(keys)? } else { node.any_fields()? };
        let known = |what: &'static str, names: &'static str, list: &[String], node: &Node<'_>| {
            node.parsed(|name| super::known(name, what, names, list.iter().map(String::as_str)))
        };
        let turns = fields.need("people").map(|node| node.items()).unwrap_or_default();
        let turns: Vec<_> = turns.iter().filter_map(|node| known("person", "people", people, node)).collect();
        if turns.is_empty() {
            node.fault_at("people", "nobody takes turns");
        }
        let active = fields.items("active_time_intervals");
        let start = fields.get("start").map_or(Some(EPOCH_MONDAY), |node| node.parsed(date));
        Some(Layer {
            people: turns,
            shift: fields.get("shift").map_or(Some(Shift::Days(7)), |node| node.parsed(shift))?,
            start: start?,
            handoff: fields.get("handoff").map_or(Some(9 * 60), |node| node.parsed(handoff))?,
            active: active
                .iter()
                .filter_map(|node| known("time interval", "time_intervals", intervals, node))
                .collect(),
        })
    }
}

impl Override {
    fn read(node: &Node<'_>, zone: &TimeZone, people: &[String]) -> Option<Override> {
        let fields = node.fields(&["person", "from", "to"])?;
        let known = |name: &str| super::known(name, "person", "people", people.iter().map(String::as_str));
        let person = fields.need("person").and_then(|node| node.parsed(known));
        let from = fields.need("from").and_then(|node| node.parsed(|text| moment(text, zone)));
        let to = fields.need("to").and_then(|node| node.parsed(|text| moment(text, zone)));
        let (person, from, to) = (person?, from?, to?);
        if from >= to {
            node.fault_at("to", "the override ends before it begins");
            return None;
        }
        Some(Override { person, from, to })
    }
}

/// Turns are counted from a Monday, unless `start` says otherwise, so that weekly shifts change on Mondays.
const EPOCH_MONDAY: Date = Date::constant(2024, 1, 1);

fn days_between(from: Date, to: Date) -> i32 {
    from.until(to).map_or(0, |span| span.get_days())
}

fn handoff(text: &str) -> Result<i32, String> {
    minutes(text)
        .and_then(|minutes| if minutes == 24 * 60 { Err("write '00:00'".to_owned()) } else { Ok(minutes) })
}

fn date(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("`{text}` is not a date; write it like 2026-01-05"))
}

/// A moment with its offset, or on the clocks of the schedule's zone.
fn moment(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let absolute = || text.parse::<jiff::Timestamp>().ok();
    let civil =
        || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(zone.clone()).ok().map(|at| at.timestamp());
    let found = absolute().or_else(civil).and_then(|at| i64::try_from(at.as_nanosecond()).ok());
    found.map(Timestamp).ok_or_else(|| format!("`{text}` is not a time; write it like 2026-03-01T09:00"))
}

fn shift(text: &str) -> Result<Shift, String> {
    let fault = || {
        format!(
            "`{text}` is not the length of a shift: `daily`, `weekly`, days (`3d`, `2w`) or a part of a day (`12h`, `8h`)"
        )
    };
    let number = |unit| text.strip_suffix(unit).and_then(|number| number.parse::<i32>().ok());
    match text {
        "daily" => return Ok(Shift::Days(1)),
        "weekly" => return Ok(Shift::Days(7)),
        _ => {}
    }
    match (number('w'), number('d'), number('h')) {
        (Some(weeks @ 1..=52), ..) => Ok(Shift::Days(weeks * 7)),
        (_, Some(days @ 1..=365), _) => Ok(Shift::Days(days)),
        (.., Some(hours @ (1 | 2 | 3 | 4 | 6 | 8 | 12))) => Ok(Shift::Hours(hours)),
        (.., Some(hours)) if hours > 0 && hours % 24 == 0 => Ok(Shift::Days(hours / 24)),
        _ => Err(fault()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::yaml::Faults;

    fn schedule(text: &str) -> Schedule {
        let value = yaml_serde::from_str(text).unwrap();
        let faults = Faults::default();
        let people = ["ann", "bob", "cy"].map(str::to_owned);
        let found = Schedule::read(&Node::top(&value, &faults), &people, &["office".to_owned()]).unwrap();
        assert_eq!(faults.locate("f", text), []);
        found
    }

    #[track_caller]
    fn check(schedule: &Schedule, table: &[(&str, &str)]) {
        let value = yaml_serde::from_str(
            "{name: office, time_intervals: [{weekdays: ['monday:friday'], times: [{start_time: '09:00', end_time: '17:00'}]}]}",
        )
        .unwrap();
        let faults = Faults::default();
        let office = TimeInterval::read(&Node::top(&value, &faults)).unwrap();
        let intervals = BTreeMap::from([("office".to_owned(), office)]);
        for (at, person) in table {
            let found = schedule.person_at(Timestamp::parse(at).unwrap(), &intervals);
            assert_eq!(found.unwrap_or("nobody"), *person, "{at}");
        }
    }

    #[test]
    fn turns_change_at_the_hand_off_of_their_zone_through_changes_of_the_clocks() {
        let weekly = schedule(
            "{name: s, zone: Europe/Berlin, people: [ann, bob], shift: weekly, start: 2026-03-16, handoff: '09:00'}",
        );
        check(
            &weekly,
            &[
                ("2026-03-16T07:59:59Z", "nobody"),
                ("2026-03-16T08:00:00Z", "ann"),
                ("2026-03-23T07:59:59Z", "ann"),
                ("2026-03-23T08:00:00Z", "bob"),
                ("2026-03-30T06:59:59Z", "bob"), // summer time since the 29th
                ("2026-03-30T07:00:00Z", "ann"),
            ],
        );
        let on_call = weekly.on_call(Timestamp::parse("2026-03-24T12:34:56Z").unwrap(), &BTreeMap::new());
        assert_eq!(on_call.until, Timestamp::parse("2026-03-30T07:00:00Z"));
        check(
            &schedule("{name: s, people: [ann, bob, cy], shift: 8h, start: 2026-03-01, handoff: '06:00'}"),
            &[
                ("2026-03-01T06:00:00Z", "ann"),
                ("2026-03-01T14:00:00Z", "bob"),
                ("2026-03-02T05:59:00Z", "cy"),
                ("2026-03-02T06:00:00Z", "ann"),
            ],
        );
    }

    #[test]
    fn overrides_come_before_layers_and_layers_have_gaps() {
        let schedule = schedule(
            "{name: s, layers: [{people: [ann], active_time_intervals: [office]}, \
             {people: [bob], shift: daily, start: 2026-03-03, handoff: '00:00'}], \
             overrides: [{person: cy, from: 2026-03-02T10:00, to: 2026-03-02T10:05}]}",
        );
        check(
            &schedule,
            &[
                ("2026-03-02T09:30:00Z", "ann"),
                ("2026-03-02T10:04:59Z", "cy"),
                ("2026-03-02T10:05:00Z", "ann"),
                ("2026-03-02T18:00:00Z", "nobody"),
                ("2026-03-03T18:00:00Z", "bob"),
            ],
        );
        let at = Timestamp::parse("2026-03-02T10:01:00Z").unwrap();
        assert_eq!(schedule.on_call(at, &BTreeMap::new()).until, Timestamp::parse("2026-03-02T10:05:00Z"));
    }
}
