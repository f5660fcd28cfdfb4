//! Correlations over event time: how many, how many different, which together, in which order.
//!
//! Each correlation keeps, for each group (the values of its `group-by` fields), the matches of the last timespan.
//! - Correlations that more matches can only make true (`gt`, `gte`, temporal ones) are judged at each match over the
//!   timespan that ends there. They fire when that begins to hold and again only after it has ceased to.
//! - Others (`lt`, `lte`, `eq`, `neq`, ranges, `not`) are judged once, when the window that the first match opened is
//!   over: when event time has passed its end by the allowed lateness.
//!
//! A match out of order is put in its place, and the windows that hold it are judged again; one older than timespan and
//! lateness allow is counted. An event without one of the group's fields belongs to no group and is counted.
//!
//! Invariants:
//! - the same matches in the same order give the same findings, also across a snapshot;
//! - memory is bounded by [`CorrelatorLimits`]; what is forgotten at a limit is counted.
//!
//! Cost: for each match O(log n) for counts, O(n) of the window for sums, percentiles and temporal correlations; about
//! 100 bytes a match kept and 300 bytes a group.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};

use crate::condition::{Condition, Quantifier, selects};
use crate::correlation::{Kind, ReadyCorrelation, Wanted};
use crate::engine::{Engine, RuleIndex};
use crate::event::{Event, Value};
use crate::modifiers::Number;

/// Longest text kept of a group's or a counted value; the rest is cut off.
const TEXT_BYTES_MAX: usize = 1_024;
/// Most windows judged again for one match out of order.
const LATE_WINDOWS_MAX: usize = 256;
/// Most matches of one group a temporal correlation looks through.
const TEMPORAL_OCCURRENCES_MAX: usize = 1_024;
/// Version of [`CorrelatorState`].
const STATE_VERSION: u32 = 1;

/// Bounds on what a correlator remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrelatorLimits {
    /// Groups of one correlation; beyond it the least recently used is forgotten. Default 10,000: 3 MB.
    pub groups_max: usize,
    /// Matches of one group; beyond it the oldest is forgotten. Default 10,000, also the largest count to ask for.
    pub occurrences_per_group_max: usize,
    /// Matches of one correlation; beyond it the least recently used group is forgotten. Default 500,000: 50 MB.
    pub occurrences_max: usize,
    /// How much later than the newest event an event may come, ns. Default one minute, what buffering senders need.
    pub lateness_ns: i64,
    /// Matches named as evidence. Default 100, the newest.
    pub evidence_max: usize,
}

impl Default for CorrelatorLimits {
    fn default() -> CorrelatorLimits {
        CorrelatorLimits {
            groups_max: 10_000,
            occurrences_per_group_max: 10_000,
            occurrences_max: 500_000,
            lateness_ns: 60_000_000_000,
            evidence_max: 100,
        }
    }
}

/// An event with the rules that matched it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Event time, ns. The caller bounds how far ahead of arrival it may be: all windows end by it.
    pub time_ns: i64,
    /// What the caller finds the event by again.
    pub id: u64,
    /// Rules that matched, as [`crate::Matcher::matches`] gives them.
    pub rules: &'a [RuleIndex],
    /// The event, for the fields to group by and to measure.
    pub event: &'a dyn Event,
}

/// A correlation that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Correlated {
    /// Index among [`crate::CorrelationSet::iter`].
    pub correlation: usize,
    /// Time of the match that decided it, or the end of its window, ns.
    pub time_ns: i64,
    /// Time of the first match of the window, ns.
    pub since_ns: i64,
    /// Names and values of the group.
    pub group: Vec<(String, String)>,
    /// What was measured: a count, a sum, or for temporal correlations the number of rules seen.
    pub measured: f64,
    /// Matches in the window.
    pub count: usize,
    /// Time and id of the events behind it, oldest first.
    pub evidence: Vec<(i64, u64)>,
}

/// What was left out, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CorrelatorCounters {
    /// Matches too late for every window.
    pub late: u64,
    /// Groups forgotten at a limit.
    pub evicted: u64,
    /// Matches forgotten because a group had too many.
    pub overflowed: u64,
    /// Matches of events without a field to group by.
    pub ungrouped: u64,
    /// Matches of events without the field to measure, or with no number there.
    pub unmeasured: u64,
}

/// Runs the correlations of an engine.
#[derive(Debug)]
pub struct Correlator {
    engine: Arc<Engine>,
    limits: CorrelatorLimits,
    states: Vec<State>,
    newest: i64,
    counters: CorrelatorCounters,
}

/// The state of one correlation.
#[derive(Debug, Default)]
struct State {
    groups: HashMap<Arc<[String]>, Group, RandomState>,
    /// Groups by when they were last used.
    by_use: BTreeMap<u64, Arc<[String]>>,
    uses: u64,
    /// Ends of windows that are judged once.
    ends: BTreeSet<(i64, Arc<[String]>)>,
    occurrences: usize,
}

#[derive(Debug, Default)]
struct Group {
    // INVARIANT: sorted by time, in order of arrival where times are equal.
    occurrences: VecDeque<Occurrence>,
    /// First occurrence of the window that ends with the newest.
    live: usize,
    /// How often each value is in that window, when values are counted.
    distinct: HashMap<Box<str>, u32, RandomState>,
    /// It held at the last match.
    holds: bool,
    fired: Option<i64>,
    /// End of the window, when it is judged once.
    ends: Option<i64>,
    used: u64,
}

/// A match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Occurrence {
    time: i64,
    id: u64,
    /// Which of the correlation's rules.
    place: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Measured>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Measured {
    Text(Box<str>),
    Number(f64),
}

/// A match on its way to a correlation: by an event, or by a correlation that fired.
#[derive(Debug, Clone)]
struct Input {
    place: usize,
    fired: Option<Arc<Correlated>>,
}

impl Correlator {
    /// A correlator that has seen nothing.
    #[must_use]
    pub fn new(engine: Arc<Engine>, limits: CorrelatorLimits) -> Correlator {
        let states = engine.correlations().iter().map(|_| State::default()).collect();
        Correlator { engine, limits, states, newest: i64::MIN, counters: CorrelatorCounters::default() }
    }

    /// What was left out so far.
    #[must_use]
    pub fn counters(&self) -> CorrelatorCounters {
        self.counters
    }

    /// Groups held.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.states.iter().map(|state| state.groups.len()).sum()
    }

    /// Takes an event in; adds the correlations that now hold, first those whose windows are over by its time.
    pub fn observe(&mut self, seen: &Seen<'_>, out: &mut Vec<Correlated>) {
        self.advance(seen.time_ns, out);
        let engine = Arc::clone(&self.engine);
        let mut pending: BTreeMap<usize, Vec<Input>> = BTreeMap::new();
        for rule in seen.rules {
            for (correlation, place) in engine.correlations().of_rule.get(rule).into_iter().flatten() {
                pending.entry(*correlation).or_default().push(Input { place: *place, fired: None });
            }
        }
        self.run(pending, seen.time_ns, seen.id, Some(seen.event), out);
    }

    /// Says that event time has come to `time_ns`: judges the windows that are over by then.
    pub fn advance(&mut self, time_ns: i64, out: &mut Vec<Correlated>) {
        self.newest = self.newest.max(time_ns);
        let over = self.newest.saturating_sub(self.limits.lateness_ns);
        for index in 0..self.states.len() {
            while self.states[index].ends.first().is_some_and(|(end, _)| *end <= over) {
                let Some((end, key)) = self.states[index].ends.pop_first() else { break };
                if let Some(found) = self.judge_window(index, end, &key) {
                    self.fire(found, None, out);
                }
            }
        }
    }

    /// Passes a correlation that fired on to those that name it.
    fn fire(&mut self, found: Correlated, event: Option<&dyn Event>, out: &mut Vec<Correlated>) {
        let engine = Arc::clone(&self.engine);
        let mut pending = BTreeMap::new();
        let (time, id) = (found.time_ns, found.evidence.last().map_or(0, |(_, id)| *id));
        feed(&engine, &found, &mut pending);
        out.push(found);
        self.run(pending, time, id, event, out);
    }

    /// Correlations are in the order in which they feed each other, so each is run once, after those it names.
    fn run(
        &mut self,
        mut pending: BTreeMap<usize, Vec<Input>>,
        time: i64,
        id: u64,
        event: Option<&dyn Event>,
        out: &mut Vec<Correlated>,
    ) {
        let engine = Arc::clone(&self.engine);
        while let Some((index, inputs)) = pending.pop_first() {
            for found in self.take(index, &inputs, time, id, event) {
                feed(&engine, &found, &mut pending);
                out.push(found);
            }
        }
    }

    /// The matches of one event for one correlation.
    fn take(
        &mut self,
        index: usize,
        inputs: &[Input],
        time: i64,
        id: u64,
        event: Option<&dyn Event>,
    ) -> Vec<Correlated> {
        let engine = Arc::clone(&self.engine);
        let ready = &engine.correlations().ready[index];
        let is_temporal = matches!(ready.rule.kind, Kind::Temporal | Kind::TemporalOrdered);
        let mut found = Vec::new();
        let mut taken: Vec<Arc<[String]>> = Vec::new();
        for input in inputs {
            let view = View { fired: input.fired.as_deref(), event };
            let group: Option<Vec<String>> =
                ready.group_fields[input.place].iter().map(|field| first_text(&view, field)).collect();
            let Some(group) = group else {
                self.counters.ungrouped += 1;
                continue;
            };
            // An event that several of the rules match is still one event.
            if !is_temporal && taken.iter().any(|other| **other == *group) {
                continue;
            }
            let Ok(value) = measured(ready, input.place, &view) else {
                self.counters.unmeasured += 1;
                continue;
            };
            let key: Arc<[String]> = group.into();
            taken.push(Arc::clone(&key));
            found.extend(self.insert(index, ready, key, Occurrence { time, id, place: input.place, value }));
        }
        found
    }

    fn insert(
        &mut self,
        index: usize,
        ready: &ReadyCorrelation,
        key: Arc<[String]>,
        one: Occurrence,
    ) -> Option<Correlated> {
        let Correlator { limits, states, newest, counters, .. } = self;
        let state = &mut states[index];
        let span = ready.rule.timespan_ns;
        state.forget_idle(newest.saturating_sub(span).saturating_sub(limits.lateness_ns));
        let at_once = ready.rule.is_judged_at_once();
        let over = newest.saturating_sub(limits.lateness_ns);
        let oldest =
            if at_once { over.saturating_sub(span) } else { over.saturating_sub(span).saturating_add(1) };
        if one.time < oldest {
            counters.late += 1;
            return None;
        }
        counters.evicted += state.make_room(&key, limits);
        let group = state.touch(&key);
        let before = group.occurrences.len();
        let time = one.time;
        let late = !group.add(one, span);
        counters.overflowed += group.bound(ready, limits, oldest);
        let found = if at_once {
            if late { group.judge_late(ready, time) } else { group.judge(ready) }
        } else {
            None
        };
        let evidence = found.map(|(window, measured, time)| {
            group.holds = true;
            group.fired = Some(group.fired.unwrap_or(time).max(time));
            correlated(index, ready, &key, group, window, (measured, time), limits)
        });
        state.occurrences = state.occurrences + group_len(state, &key) - before;
        if !at_once {
            state.open(&key, span);
        }
        evidence
    }

    /// Judges a window that is over; what came after its end opens the next.
    fn judge_window(&mut self, index: usize, end: i64, key: &Arc<[String]>) -> Option<Correlated> {
        let engine = Arc::clone(&self.engine);
        let ready = &engine.correlations().ready[index];
        let state = &mut self.states[index];
        let group = state.groups.get_mut(key)?;
        let window = 0..group.occurrences.partition_point(|one| one.time < end);
        let measured = measure(ready, group.occurrences.range(window.clone()));
        let found = holds(ready, group.occurrences.range(window.clone()), measured)
            .then(|| correlated(index, ready, key, group, window.clone(), (measured, end), &self.limits));
        group.occurrences.drain(window.clone());
        group.live = group.live.saturating_sub(window.len());
        group.ends = None;
        state.occurrences -= window.len();
        if group.occurrences.is_empty() {
            state.forget(key);
        } else {
            state.open(key, ready.rule.timespan_ns);
        }
        found
    }
}

fn feed(engine: &Engine, found: &Correlated, pending: &mut BTreeMap<usize, Vec<Input>>) {
    let Some(targets) = engine.correlations().of_correlation.get(&found.correlation) else {
        return;
    };
    let fired = Arc::new(found.clone());
    for (correlation, place) in targets {
        pending
            .entry(*correlation)
            .or_default()
            .push(Input { place: *place, fired: Some(Arc::clone(&fired)) });
    }
}

fn group_len(state: &State, key: &Arc<[String]>) -> usize {
    state.groups.get(key).map_or(0, |group| group.occurrences.len())
}

impl State {
    /// The group, made if it is new, and marked as used.
    fn touch(&mut self, key: &Arc<[String]>) -> &mut Group {
        self.uses += 1;
        let group = self.groups.entry(Arc::clone(key)).or_default();
        self.by_use.remove(&group.used);
        group.used = self.uses;
        self.by_use.insert(self.uses, Arc::clone(key));
        group
    }

    /// Forgets the least recently used groups until one more match fits; returns how many.
    fn make_room(&mut self, key: &Arc<[String]>, limits: &CorrelatorLimits) -> u64 {
        let mut forgotten = 0;
        let is_new = !self.groups.contains_key(key);
        while (is_new && self.groups.len() >= limits.groups_max) || self.occurrences >= limits.occurrences_max
        {
            let Some(oldest) = self.by_use.values().find(|other| *other != key).cloned() else { break };
            self.forget(&oldest);
            forgotten += 1;
        }
        forgotten
    }

    /// Drops groups, least recently used first, whose matches no window can hold any more.
    fn forget_idle(&mut self, oldest: i64) {
        const AT_ONCE: usize = 4;
        for _ in 0..AT_ONCE {
            let Some(key) = self.by_use.values().next().cloned() else { return };
            let idle = self.groups.get(&key).is_some_and(|group| {
                group.ends.is_none() && group.occurrences.back().is_none_or(|last| last.time < oldest)
            });
            if !idle {
                return;
            }
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &Arc<[String]>) {
        if let Some(group) = self.groups.remove(key) {
            self.by_use.remove(&group.used);
            self.occurrences -= group.occurrences.len();
            if let Some(end) = group.ends {
                self.ends.remove(&(end, Arc::clone(key)));
            }
        }
    }

    /// Sets the end of the window that the first match of the group opens.
    fn open(&mut self, key: &Arc<[String]>, span: i64) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let end = group.occurrences.front().map(|first| first.time.saturating_add(span));
        if group.ends != end {
            if let Some(old) = group.ends {
                self.ends.remove(&(old, Arc::clone(key)));
            }
            if let Some(end) = end {
                self.ends.insert((end, Arc::clone(key)));
            }
            group.ends = end;
        }
    }
}

impl Group {
    /// Puts a match in its place; `false` when it is older than another.
    fn add(&mut self, one: Occurrence, span: i64) -> bool {
        let at = self.occurrences.partition_point(|other| other.time <= one.time);
        let in_order = at == self.occurrences.len();
        if !in_order && at < self.live {
            self.live += 1;
        } else if !in_order
            && self.occurrences.back().is_some_and(|last| one.time < last.time.saturating_sub(span))
        {
            // Before the window, at its very edge.
            self.live += 1;
        } else if let Some(Measured::Text(text)) = &one.value {
            *self.distinct.entry(text.clone()).or_default() += 1;
        }
        let time = one.time;
        self.occurrences.insert(at, one);
        if in_order {
            while self.live < self.occurrences.len()
                && self.occurrences[self.live].time < time.saturating_sub(span)
            {
                self.leave(self.live);
                self.live += 1;
            }
        }
        in_order
    }

    /// Takes a match out of the count of different values.
    fn leave(&mut self, at: usize) {
        if let Some(Measured::Text(text)) = &self.occurrences[at].value
            && let Some(count) = self.distinct.get_mut(text)
        {
            *count -= 1;
            if *count == 0 {
                self.distinct.remove(text);
            }
        }
    }

    /// Drops what no window needs, and the oldest beyond the limit; returns how many of those.
    fn bound(&mut self, ready: &ReadyCorrelation, limits: &CorrelatorLimits, oldest: i64) -> u64 {
        let most = match ready.rule.kind {
            Kind::Temporal | Kind::TemporalOrdered => {
                limits.occurrences_per_group_max.min(TEMPORAL_OCCURRENCES_MAX)
            }
            _ => limits.occurrences_per_group_max,
        };
        let mut overflowed = 0;
        while let Some(first) = self.occurrences.front() {
            let is_old = first.time < oldest && self.live > 0;
            if !is_old && self.occurrences.len() <= most.max(1) {
                break;
            }
            overflowed += u64::from(!is_old);
            if self.live == 0 {
                self.leave(0);
            } else {
                self.live -= 1;
            }
            self.occurrences.pop_front();
        }
        overflowed
    }

    /// Judges the window that ends with the newest match.
    fn judge(&mut self, ready: &ReadyCorrelation) -> Option<(Range<usize>, f64, i64)> {
        let window = self.live..self.occurrences.len();
        let time = self.occurrences.back()?.time;
        // Alone in its window: whatever held before is over.
        let held = self.holds && window.len() > 1;
        let measured = self.measured(ready, &window);
        self.holds = holds(ready, self.occurrences.range(window.clone()), measured);
        (self.holds && !held).then_some((window, measured, time))
    }

    fn measured(&self, ready: &ReadyCorrelation, window: &Range<usize>) -> f64 {
        match ready.rule.kind {
            Kind::ValueCount(_) => as_float(self.distinct.len()),
            _ => measure(ready, self.occurrences.range(window.clone())),
        }
    }

    /// Judges the windows that hold a match out of order; the first that holds counts, unless it fired already.
    fn judge_late(&mut self, ready: &ReadyCorrelation, time: i64) -> Option<(Range<usize>, f64, i64)> {
        let span = ready.rule.timespan_ns;
        let first = self.occurrences.partition_point(|one| one.time < time);
        let last = self.occurrences.partition_point(|one| one.time <= time.saturating_add(span));
        for end in (first..last).take(LATE_WINDOWS_MAX) {
            let end_time = self.occurrences[end].time;
            if self.occurrences.get(end + 1).is_some_and(|next| next.time == end_time) {
                continue;
            }
            let start = self.occurrences.partition_point(|one| one.time < end_time.saturating_sub(span));
            let window = start..end + 1;
            let measured = measure(ready, self.occurrences.range(window.clone()));
            let fired_near = self.fired.is_some_and(|fired| fired.abs_diff(end_time) <= span.unsigned_abs());
            if !fired_near && holds(ready, self.occurrences.range(window.clone()), measured) {
                return Some((window, measured, end_time));
            }
        }
        None
    }
}

fn correlated(
    index: usize,
    ready: &ReadyCorrelation,
    key: &Arc<[String]>,
    group: &Group,
    window: Range<usize>,
    (measured, time_ns): (f64, i64),
    limits: &CorrelatorLimits,
) -> Correlated {
    let newest = window.end - window.len().min(limits.evidence_max)..window.end;
    Correlated {
        correlation: index,
        time_ns,
        since_ns: group.occurrences.get(window.start).map_or(time_ns, |first| first.time),
        group: ready.rule.group_by.iter().cloned().zip(key.iter().cloned()).collect(),
        measured,
        count: window.len(),
        evidence: group.occurrences.range(newest).map(|one| (one.time, one.id)).collect(),
    }
}

/// What the correlation measures over a window.
fn measure<'a>(ready: &ReadyCorrelation, window: impl ExactSizeIterator<Item = &'a Occurrence>) -> f64 {
    let number = |one: &Occurrence| match one.value {
        Some(Measured::Number(number)) => number,
        _ => 0.0,
    };
    let count = window.len();
    match &ready.rule.kind {
        Kind::EventCount => as_float(count),
        Kind::ValueCount(_) => {
            let values: HashSet<&str> = window
                .filter_map(|one| match &one.value {
                    Some(Measured::Text(text)) => Some(&**text),
                    _ => None,
                })
                .collect();
            as_float(values.len())
        }
        Kind::Temporal | Kind::TemporalOrdered => {
            let places: BTreeSet<usize> = window.map(|one| one.place).collect();
            as_float(places.len())
        }
        Kind::ValueSum(_) => window.map(number).sum(),
        Kind::ValueAvg(_) => window.map(number).sum::<f64>() / as_float(count.max(1)),
        Kind::ValuePercentile(_, percent) => percentile(window.map(number).collect(), *percent),
    }
}

/// Nearest rank: the smallest value that `percent` of the values do not exceed.
fn percentile(mut values: Vec<f64>, percent: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank among the values")]
    let rank = (percent / 100.0 * as_float(values.len())).ceil() as usize;
    let at = rank.clamp(1, values.len()) - 1;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn as_float(count: usize) -> f64 {
    count as f64
}

/// Whether the correlation holds over a window.
fn holds<'a>(
    ready: &ReadyCorrelation,
    window: impl Iterator<Item = &'a Occurrence> + Clone,
    measured: f64,
) -> bool {
    let within = match &ready.rule.wanted {
        Wanted::Bounds(bounds) => bounds.iter().all(|bound| bound.holds(measured)),
        Wanted::Everything => measured >= as_float(ready.rule.rules.len()),
        Wanted::Expression(condition) => {
            let seen: BTreeSet<usize> = window.clone().map(|one| one.place).collect();
            expression(condition, &ready.rule.rules, &seen)
        }
    };
    within && (ready.rule.kind != Kind::TemporalOrdered || in_order(window))
}

fn expression(condition: &Condition, rules: &[String], seen: &BTreeSet<usize>) -> bool {
    let is_seen = |place: usize| seen.contains(&place);
    match condition {
        Condition::Name(name) => rules.iter().position(|rule| rule == name).is_some_and(is_seen),
        Condition::Not(inner) => !expression(inner, rules, seen),
        Condition::And(parts) => parts.iter().all(|part| expression(part, rules, seen)),
        Condition::Or(parts) => parts.iter().any(|part| expression(part, rules, seen)),
        Condition::Of(quantifier, pattern) => {
            let mut chosen = (0..rules.len()).filter(|place| selects(pattern, &rules[*place])).map(is_seen);
            match quantifier {
                Quantifier::All => chosen.all(|seen| seen),
                Quantifier::AtLeast(least) => chosen.filter(|seen| *seen).count() >= *least,
            }
        }
    }
}

/// Whether the rules that are wanted matched in the order they are named: all of them, or with bounds or an expression
/// those that were seen.
fn in_order<'a>(window: impl Iterator<Item = &'a Occurrence> + Clone) -> bool {
    let seen: BTreeSet<usize> = window.clone().map(|one| one.place).collect();
    let mut wanted = seen.into_iter().peekable();
    for one in window {
        if wanted.peek() == Some(&one.place) {
            wanted.next();
        }
    }
    wanted.peek().is_none()
}

/// The value measured: none where matches are only counted.
fn measured(ready: &ReadyCorrelation, place: usize, event: &View<'_>) -> Result<Option<Measured>, ()> {
    let fields = &ready.value_fields[place];
    match &ready.rule.kind {
        Kind::EventCount | Kind::Temporal | Kind::TemporalOrdered => Ok(None),
        Kind::ValueCount(_) => {
            let texts: Option<Vec<String>> = fields.iter().map(|field| first_text(event, field)).collect();
            texts.map(|texts| Some(Measured::Text(texts.join("\u{1f}").into()))).ok_or(())
        }
        Kind::ValueSum(_) | Kind::ValueAvg(_) | Kind::ValuePercentile(..) => fields
            .first()
            .and_then(|field| first_text(event, field))
            .and_then(|text| Number::parse(&text))
            .map(|number| Some(Measured::Number(number.float())))
            .ok_or(()),
    }
}

/// The first value of a field, as text.
fn first_text(event: &View<'_>, field: &str) -> Option<String> {
    let mut found = None;
    event.values(field, &mut |value| {
        let text = match value {
            Value::Text(text) => cut(text).to_owned(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::Bool(yes) => yes.to_string(),
            Value::Null | Value::Other => return,
        };
        found.get_or_insert(text);
    });
    found
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// What a correlation sees: the group of the correlation that fired, then the event.
struct View<'a> {
    fired: Option<&'a Correlated>,
    event: Option<&'a dyn Event>,
}

impl View<'_> {
    fn values(&self, field: &str, visit: &mut dyn FnMut(Value<'_>)) {
        let of_group = self.fired.and_then(|fired| fired.group.iter().find(|(name, _)| name == field));
        match (of_group, self.event) {
            (Some((_, value)), _) => visit(Value::Text(value)),
            (None, Some(event)) => event.values(field, visit),
            (None, None) => {}
        }
    }
}

/// The memory of a correlator, for a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorrelatorState {
    version: u32,
    newest: i64,
    correlations: Vec<SavedCorrelation>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedCorrelation {
    id: String,
    fingerprint: String,
    /// Least recently used first.
    groups: Vec<SavedGroup>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedGroup {
    key: Vec<String>,
    occurrences: Vec<Occurrence>,
    live: usize,
    holds: bool,
    fired: Option<i64>,
}

/// Why a state was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state has version {found}, this program reads {STATE_VERSION}")]
pub struct StateVersionError {
    /// Version found.
    pub found: u32,
}

impl Correlator {
    /// The memory, for [`Correlator::restore`].
    #[must_use]
    pub fn snapshot(&self) -> CorrelatorState {
        let saved = |(ready, state): (&ReadyCorrelation, &State)| SavedCorrelation {
            id: ready.rule.meta.id.clone(),
            fingerprint: ready.rule.fingerprint(),
            groups: state
                .by_use
                .values()
                .filter_map(|key| {
                    let group = state.groups.get(key)?;
                    Some(SavedGroup {
                        key: key.to_vec(),
                        occurrences: group.occurrences.iter().cloned().collect(),
                        live: group.live,
                        holds: group.holds,
                        fired: group.fired,
                    })
                })
                .collect(),
        };
        CorrelatorState {
            version: STATE_VERSION,
            newest: self.newest,
            correlations: self.engine.correlations().ready.iter().zip(&self.states).map(saved).collect(),
        }
    }

    /// Takes the memory of an earlier run over, and goes on as that one would have. Correlations that are new or were
    /// changed since begin anew; returns how many of the saved ones were left out.
    ///
    /// # Errors
    /// Written by another version; the memory is then as before.
    pub fn restore(&mut self, state: CorrelatorState) -> Result<usize, StateVersionError> {
        if state.version != STATE_VERSION {
            return Err(StateVersionError { found: state.version });
        }
        let engine = Arc::clone(&self.engine);
        self.newest = state.newest;
        self.states = engine.correlations().iter().map(|_| State::default()).collect();
        let mut left_out = 0;
        for saved in state.correlations {
            let same = |ready: &ReadyCorrelation| {
                ready.rule.meta.id == saved.id && ready.rule.fingerprint() == saved.fingerprint
            };
            match engine.correlations().ready.iter().position(same) {
                Some(index) => self.states[index] = State::load(saved, &engine.correlations().ready[index]),
                None => left_out += 1,
            }
        }
        Ok(left_out)
    }
}

impl State {
    fn load(saved: SavedCorrelation, ready: &ReadyCorrelation) -> State {
        let mut state = State::default();
        for saved in saved.groups {
            let key: Arc<[String]> = saved.key.into();
            let group = state.touch(&key);
            group.occurrences = saved.occurrences.into();
            group.occurrences.make_contiguous().sort_by_key(|one| one.time);
            group.live = saved.live.min(group.occurrences.len());
            (group.holds, group.fired) = (saved.holds, saved.fired);
            let Group { occurrences, distinct, live, .. } = group;
            for one in occurrences.range(*live..) {
                if let Some(Measured::Text(text)) = &one.value {
                    *distinct.entry(text.clone()).or_default() += 1;
                }
            }
            state.occurrences += group_len(&state, &key);
            if !ready.rule.is_judged_at_once() {
                state.open(&key, ready.rule.timespan_ns);
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::collection::Collection;
    use crate::engine::Matcher;
    use crate::rule::LogSource;

    const RULES: &str = "\
title: login failed\nname: failed\nlogsource: {product: p}\ndetection: {s: {e: fail}, condition: s}
---
title: login\nname: ok\nlogsource: {product: p}\ndetection: {s: {e: ok}, condition: s}
---
title: other\nname: other\nlogsource: {product: p}\ndetection: {s: {e: other}, condition: s}
";

    fn engine(correlations: &[&str]) -> Arc<Engine> {
        let mut collection = Collection::default();
        let documents = correlations
            .iter()
            .enumerate()
            .map(|(at, text)| format!("---\ntitle: c{at}\nname: c{at}\n{text}\n"));
        collection.add_file("c.yml", &(RULES.to_owned() + &documents.collect::<String>()));
        Arc::new(Engine::new(collection, &[]))
    }

    struct Run {
        matcher: Matcher,
        correlator: Correlator,
        out: Vec<Correlated>,
        id: u64,
    }

    impl Run {
        fn new(correlations: &[&str]) -> Run {
            Run::with(correlations, CorrelatorLimits::default())
        }

        #[track_caller]
        fn with(correlations: &[&str], limits: CorrelatorLimits) -> Run {
            let engine = engine(correlations);
            assert_eq!(engine.failures(), []);
            let correlator = Correlator::new(Arc::clone(&engine), limits);
            Run { matcher: Matcher::new(engine), correlator, out: Vec::new(), id: 0 }
        }

        fn see(&mut self, second: i64, event: &Json) -> &mut Run {
            let rules = self.matcher.matches(&[LogSource::new("", "p", "")], event).to_vec();
            let seen = Seen { time_ns: second * 1_000_000_000, id: self.id, rules: &rules, event };
            self.id += 1;
            self.correlator.observe(&seen, &mut self.out);
            self
        }

        /// `name@second group=value measured` of what fired since.
        fn fired(&mut self) -> Vec<String> {
            self.out
                .drain(..)
                .map(|one| {
                    let group: Vec<String> =
                        one.group.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    format!(
                        "c{}@{} {} {}",
                        one.correlation,
                        one.time_ns / 1_000_000_000,
                        group.join(","),
                        one.measured
                    )
                })
                .collect()
        }
    }

    fn fail(user: &str) -> Json {
        json!({"e": "fail", "u": user})
    }

    fn correlation(kind: &str, rest: &str) -> String {
        format!("correlation: {{type: {kind}, rules: [failed], group-by: [u], timespan: 10s, {rest}}}")
    }

    #[test]
    fn events_are_counted_by_group_over_a_sliding_window() {
        let mut run = Run::new(&[&correlation("event_count", "condition: {gte: 3}")]);
        run.see(0, &fail("a")).see(5, &fail("a")).see(6, &fail("b")).see(11, &fail("a"));
        assert_eq!(run.fired(), [] as [String; 0], "the first is out of the window");
        run.see(12, &fail("a"));
        assert_eq!(run.fired(), ["c0@12 u=a 3"]);
        run.see(13, &fail("a")).see(14, &fail("a"));
        assert_eq!(run.fired(), [] as [String; 0], "it still holds");
        run.see(60, &fail("a")).see(61, &fail("a")).see(61, &fail("a"));
        assert_eq!(run.fired(), ["c0@61 u=a 3"], "it ceased to hold in between");
    }

    #[test]
    fn evidence_names_the_events() {
        let mut run = Run::new(&[&correlation("event_count", "condition: {gt: 1}")]);
        run.see(1, &fail("a")).see(2, &json!({"e": "ok"})).see(3, &fail("a"));
        let found = run.out.remove(0);
        assert_eq!(found.evidence, [(1_000_000_000, 0), (3_000_000_000, 2)]);
        assert_eq!((found.since_ns, found.time_ns, found.count), (1_000_000_000, 3_000_000_000, 2));
    }

    #[test]
    fn a_threshold_of_one_fires_again_after_a_pause() {
        let mut run = Run::new(&[&correlation("event_count", "condition: {gte: 1}")]);
        run.see(0, &fail("a")).see(9, &fail("a")).see(30, &fail("a"));
        assert_eq!(run.fired(), ["c0@0 u=a 1", "c0@30 u=a 1"]);
    }

    #[test]
    fn events_out_of_order_are_put_in_place() {
        let mut run = Run::new(&[&correlation("event_count", "condition: {gte: 3}")]);
        run.see(20, &fail("a")).see(40, &fail("a")).see(25, &fail("a")).see(22, &fail("a"));
        assert_eq!(run.fired(), ["c0@25 u=a 3"], "20, 22 and 25 are within ten seconds");
        run.see(23, &fail("a"));
        assert_eq!(run.fired(), [] as [String; 0], "that window fired already");
        run.see(200, &fail("a")).see(100, &fail("a"));
        assert_eq!(run.correlator.counters().late, 1);
    }

    #[test]
    fn different_values_are_counted() {
        let mut run = Run::new(&[&correlation("value_count", "condition: {gte: 3, field: ip}")]);
        let from = |ip: i64| json!({"e": "fail", "u": "a", "ip": ip});
        run.see(0, &from(1)).see(1, &from(2)).see(2, &from(2)).see(3, &from(1)).see(12, &from(3));
        assert_eq!(run.fired(), ["c0@12 u=a 3"], "2 at second 2, 1 at second 3, 3 at second 12");
        let mut run = Run::new(&[&correlation("value_count", "condition: {gte: 3, field: ip}")]);
        run.see(0, &from(1)).see(1, &from(2)).see(11, &from(2)).see(12, &from(3)).see(13, &fail("a"));
        assert_eq!(run.fired(), [] as [String; 0]);
        assert_eq!(run.correlator.counters().unmeasured, 1);
        let mut run = Run::new(&[&correlation("value_count", "condition: {gte: 2, field: [ip, port]}")]);
        run.see(0, &json!({"e": "fail", "u": "a", "ip": 1, "port": 1}))
            .see(1, &json!({"e": "fail", "u": "a", "ip": 1, "port": 2}));
        assert_eq!(run.fired(), ["c0@1 u=a 2"]);
    }

    #[test]
    fn numbers_are_measured() {
        let with = |n: f64| json!({"e": "fail", "u": "a", "n": n});
        let run = |kind: &str, bounds: &str| {
            let mut run = Run::new(&[&correlation(kind, &format!("condition: {{field: n, {bounds}}}"))]);
            run.see(0, &with(1.0)).see(1, &with(2.0)).see(2, &with(9.0)).see(3, &with(4.0));
            run.fired()
        };
        assert_eq!(run("value_sum", "gte: 12"), ["c0@2 u=a 12"]);
        assert_eq!(run("value_avg", "gte: 4"), ["c0@2 u=a 4"]);
        assert_eq!(run("value_percentile", "percentile: 50, gt: 1.5"), ["c0@2 u=a 2"]);
        assert_eq!(run("value_percentile", "percentile: 100, gt: 8"), ["c0@2 u=a 9"]);
        assert_eq!(run("value_median", "gte: 2"), ["c0@2 u=a 2"]);
    }

    #[test]
    fn rules_that_match_together() {
        let text = "correlation: {type: temporal, rules: [failed, ok, other], group-by: [u], timespan: 10s}";
        let mut run = Run::new(&[text]);
        let event = |kind: &str| json!({"e": kind, "u": "a"});
        run.see(0, &event("other")).see(4, &event("ok")).see(11, &event("fail"));
        assert_eq!(run.fired(), [] as [String; 0]);
        run.see(12, &event("other"));
        assert_eq!(run.fired(), ["c0@12 u=a 3"]);
        let text = "correlation: {type: temporal, rules: [failed, ok, other], group-by: [u], timespan: 10s, condition: {gte: 2}}";
        let mut run = Run::new(&[text]);
        run.see(0, &event("other")).see(4, &event("ok"));
        assert_eq!(run.fired(), ["c0@4 u=a 2"]);
    }

    #[test]
    fn rules_that_match_in_order() {
        let text = "correlation: {type: temporal_ordered, rules: [failed, ok], group-by: [u], timespan: 10s}";
        let mut run = Run::new(&[text]);
        let event = |kind: &str| json!({"e": kind, "u": "a"});
        run.see(0, &event("ok")).see(1, &event("fail"));
        assert_eq!(run.fired(), [] as [String; 0]);
        run.see(9, &event("ok"));
        assert_eq!(run.fired(), ["c0@9 u=a 2"]);
        run.see(31, &event("ok")).see(30, &event("fail"));
        assert_eq!(run.fired(), ["c0@31 u=a 2"], "event time decides");
    }

    #[test]
    fn expressions_over_rules() {
        let text = "correlation: {type: temporal, rules: [failed, ok, other], group-by: [u], timespan: 10s, condition: failed and not ok}";
        let mut run = Run::new(&[text]);
        let event = |kind: &str, user: &str| json!({"e": kind, "u": user});
        run.see(0, &event("fail", "a"))
            .see(0, &event("fail", "b"))
            .see(5, &event("ok", "b"))
            .see(70, &event("other", "c"));
        assert_eq!(run.fired(), ["c0@10 u=a 1"], "judged when the window is over");
    }

    #[test]
    fn too_few_is_judged_when_the_window_is_over() {
        let mut run = Run::new(&[&correlation("event_count", "condition: {lt: 3}")]);
        run.see(0, &fail("a"))
            .see(2, &fail("b"))
            .see(3, &fail("b"))
            .see(4, &fail("b"))
            .see(12, &fail("b"))
            .see(69, &fail("c"));
        assert_eq!(run.fired(), [] as [String; 0], "a minute of lateness is allowed");
        run.correlator.advance(100_000_000_000, &mut run.out);
        assert_eq!(run.fired(), ["c0@10 u=a 1", "c0@22 u=b 1"]);
        let mut run = Run::new(&[&correlation("event_count", "condition: {gt: 1, lte: 2}")]);
        run.see(5, &fail("a")).see(3, &fail("a")).see(14, &fail("a"));
        run.correlator.advance(1_000_000_000_000, &mut run.out);
        assert_eq!(run.fired(), ["c0@13 u=a 2"], "3 and 5; 14 opens the next window");
    }

    #[test]
    fn correlations_feed_each_other_and_aliases_name_fields() {
        let many = "correlation: {type: event_count, rules: [failed], group-by: [u, ip], timespan: 10s, condition: {gte: 2}}";
        let then = "correlation: {type: temporal_ordered, rules: [c0, ok], group-by: [who], timespan: 1m, aliases: {who: {c0: u, ok: name}}}";
        let mut run = Run::new(&[many, then]);
        let failed = json!({"e": "fail", "u": "a", "ip": 1});
        run.see(0, &failed)
            .see(1, &failed)
            .see(5, &json!({"e": "ok", "name": "b"}))
            .see(6, &json!({"e": "ok", "name": "a"}));
        assert_eq!(run.fired(), ["c0@1 u=a,ip=1 2", "c1@6 who=a 2"]);
    }

    #[test]
    fn rules_of_a_correlation_are_silent_unless_it_says_so() {
        let quiet = engine(&[&correlation("event_count", "condition: {gte: 3}")]);
        assert_eq!([quiet.correlations().is_silent(0), quiet.correlations().is_silent(1)], [true, false]);
        let loud = engine(&[&correlation("event_count", "condition: {gte: 3}, generate: true")]);
        assert!(!loud.correlations().is_silent(0));
    }

    #[test]
    fn one_event_counts_once_and_needs_its_group() {
        let text = "correlation: {type: event_count, rules: [failed, any], group-by: [u], timespan: 10s, condition: {gte: 2}}";
        let any = "logsource: {product: p}\ndetection: {s: {e: '*'}, condition: s}";
        let mut collection = Collection::default();
        collection.add_file(
            "c.yml",
            &format!("{RULES}---\ntitle: any\nname: any\n{any}\n---\ntitle: c\nname: c\n{text}\n"),
        );
        let engine = Arc::new(Engine::new(collection, &[]));
        let mut run = Run {
            matcher: Matcher::new(Arc::clone(&engine)),
            correlator: Correlator::new(engine, CorrelatorLimits::default()),
            out: Vec::new(),
            id: 0,
        };
        run.see(0, &fail("a")).see(1, &json!({"e": "fail"}));
        assert_eq!(run.fired(), [] as [String; 0]);
        assert_eq!(run.correlator.counters().ungrouped, 2);
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_counted() {
        let limits =
            CorrelatorLimits { groups_max: 3, occurrences_per_group_max: 4, ..CorrelatorLimits::default() };
        let mut run = Run::with(&[&correlation("event_count", "condition: {gte: 4}")], limits);
        for user in ["a", "b", "c", "a", "d"] {
            run.see(0, &fail(user));
        }
        assert_eq!((run.correlator.groups(), run.correlator.counters().evicted), (3, 1));
        run.see(1, &fail("a")).see(1, &fail("a")).see(1, &fail("a"));
        assert_eq!(run.fired(), ["c0@1 u=a 4"], "a was used after b, which was forgotten");
        assert_eq!(run.correlator.counters().overflowed, 1);
        let limits = CorrelatorLimits { occurrences_max: 5, ..CorrelatorLimits::default() };
        let mut run = Run::with(&[&correlation("event_count", "condition: {gte: 9}")], limits);
        for n in 0..20 {
            run.see(0, &fail(&n.to_string()));
        }
        assert_eq!((run.correlator.groups(), run.correlator.counters().evicted), (5, 15));
        run.see(500, &fail("z")).see(500, &fail("z"));
        assert_eq!(run.correlator.groups(), 1, "idle groups are dropped");
    }

    #[test]
    fn correlations_that_cannot_work_are_named() {
        let shown = |text: &str| {
            let engine = engine(&[text]);
            engine.failures().iter().map(|one| one.reason.clone()).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(
            shown("correlation: {type: event_count, rules: [x], timespan: 1m, condition: {gte: 1}}"),
            "the rule `x` is not known"
        );
        assert_eq!(
            shown("correlation: {type: event_count, rules: [c0], timespan: 1m, condition: {gte: 1}}"),
            "it names a correlation that is not usable or names it in turn"
        );
        assert_eq!(
            shown("correlation: {type: event_count, rules: [ok], timespan: 1x, condition: {gte: 1}}"),
            "`1x` is no timespan such as `90s`, `5m`, `1h` or `7d`"
        );
        assert_eq!(
            shown("correlation: {type: event_count, rules: [ok], timespan: é, condition: {gte: 1}}"),
            "`é` is no timespan such as `90s`, `5m`, `1h` or `7d`"
        );
        assert_eq!(
            shown("correlation: {type: value_count, rules: [ok], timespan: 1m, condition: {gte: 1}}"),
            "`value_count` wants a `field` in its condition"
        );
        assert_eq!(
            shown("correlation: {type: event_count, rules: [ok], timespan: 1m}"),
            "`event_count` wants a `condition`"
        );
        assert_eq!(
            shown("correlation: {type: event_count, rules: [ok], timespan: 1m, condition: {above: 1}}"),
            "unknown bound `above`"
        );
        assert_eq!(
            shown("correlation: {type: sum, rules: [ok], timespan: 1m, condition: {gte: 1}}"),
            "unknown correlation type `sum`"
        );
        assert_eq!(
            shown("correlation: {type: temporal, rules: [ok], timespan: 1m, condition: ok and no}"),
            "the condition names `no`, which is not among `rules`"
        );
    }

    fn all_kinds() -> Vec<String> {
        vec![
            correlation("event_count", "condition: {gte: 3}"),
            correlation("value_count", "condition: {gte: 3, field: n}"),
            correlation("value_avg", "condition: {gt: 3, field: n}"),
            correlation("event_count", "condition: {lte: 2}"),
            "correlation: {type: temporal_ordered, rules: [failed, ok], group-by: [u], timespan: 10s}"
                .to_owned(),
            "correlation: {type: temporal, rules: [c0, c4], timespan: 30s}".to_owned(),
        ]
    }

    fn small_limits() -> CorrelatorLimits {
        CorrelatorLimits {
            groups_max: 3,
            occurrences_per_group_max: 5,
            lateness_ns: 20_000_000_000,
            ..CorrelatorLimits::default()
        }
    }

    fn some_events() -> impl Strategy<Value = Vec<(i64, Json)>> {
        let event = (0..40_i64, prop::sample::select(vec!["fail", "ok"]), "[abcd]", 0..6_i64);
        let event = event.prop_map(|(jitter, kind, user, n)| (jitter, json!({"e": kind, "u": user, "n": n})));
        prop::collection::vec(event, 1..80).prop_map(|events| {
            (0..).zip(events).map(|(at, (jitter, event))| (at * 2 + jitter, event)).collect()
        })
    }

    proptest! {
        #[test]
        fn a_restored_correlator_goes_on_as_the_saved_one(events in some_events(), cut in 0..80_usize) {
            let texts = all_kinds();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut whole = Run::with(&texts, small_limits());
            let mut parts = Run::with(&texts, small_limits());
            for (at, (second, event)) in events.iter().enumerate() {
                if at == cut {
                    let saved = serde_json::to_string(&parts.correlator.snapshot()).unwrap();
                    let state: CorrelatorState = serde_json::from_str(&saved).unwrap();
                    parts.correlator = Correlator::new(Arc::clone(parts.matcher.engine()), small_limits());
                    prop_assert_eq!(parts.correlator.restore(state.clone()), Ok(0));
                    prop_assert_eq!(parts.correlator.snapshot(), state);
                }
                whole.see(*second, event);
                parts.see(*second, event);
            }
            prop_assert_eq!(&whole.out, &parts.out);
            for state in &whole.correlator.states {
                let kept: usize = state.groups.values().map(|group| group.occurrences.len()).sum();
                prop_assert_eq!(state.occurrences, kept);
                prop_assert_eq!(state.by_use.len(), state.groups.len());
                prop_assert_eq!(state.ends.len(), state.groups.values().filter(|group| group.ends.is_some()).count());
                for group in state.groups.values() {
                    prop_assert!(group.occurrences.iter().is_sorted_by_key(|one| one.time));
                    prop_assert!(group.live <= group.occurrences.len());
                }
            }
        }
    }

    #[test]
    fn a_changed_correlation_begins_anew() {
        let (old, new) = (
            correlation("event_count", "condition: {gte: 3}"),
            correlation("event_count", "condition: {gte: 2}"),
        );
        let mut run = Run::new(&[&old]);
        run.see(0, &fail("a"));
        let state = run.correlator.snapshot();
        let mut other = Run::new(&[&new]);
        assert_eq!(other.correlator.restore(state.clone()), Ok(1));
        assert_eq!(other.correlator.groups(), 0);
        let wrong = CorrelatorState { version: 9, ..state };
        assert_eq!(other.correlator.restore(wrong), Err(StateVersionError { found: 9 }));
    }
}
