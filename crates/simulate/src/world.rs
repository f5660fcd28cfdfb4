//! The world: sources of events, the incidents that bend them, and the one queue that brings them into order.
//!
//! Invariants:
//! - events leave in the order of their time, and the same seed gives the same events however `advance` is cut;
//! - every source emits events at or after its turn, so what is queued before the next turn is final;
//! - each source draws from a stream of its own: an incident does not disturb the draws of anything else.
//!
//! The queue holds what is already decided but not yet due: at most the requests on their way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::RngCore;

use crate::catalogue::{Catalogue, Tag};
use crate::company::{Fleet, Instance, Service};
use crate::dice::pick;
use crate::error::{SimulateError, require};
use crate::event::{Event, LogEvent};
use crate::faults::Fault;
use crate::metrics::{ERROR_RATE_BURST, Metrics};
use crate::remedy::{Remedy, Target};
use crate::scenario::{INCIDENTS_MAX, Incident, IncidentKind, Scenario};
use crate::template::Request;
use crate::traffic::{Idling, Traffic};

/// How many times as long calls of a slowed service take.
const SLOWNESS: f64 = 60.0;
const TRACES_PER_SECOND_MAX: f64 = 100_000.0;
const SAMPLE_INTERVAL_MIN: Duration = Duration::from_millis(100);
const SAMPLE_INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// What kind of world.
#[derive(Debug, Clone, PartialEq)]
pub struct WorldConfig {
    /// The same seed gives the same world.
    pub seed: u64,
    /// First moment, ns since 1970.
    pub start_ns: i64,
    /// What goes wrong. Default: nothing.
    pub scenario: Scenario,
    /// Requests logged per second at usual load (0 to 100,000); each makes about 9 lines. Default 20. Metrics describe
    /// all traffic of the company, of which these are a sample.
    pub traces_per_second: f64,
    /// Time between two samples of a metric (100 ms to 1 h). Default 5 s.
    pub sample_interval: Duration,
    /// How many customers there are (1 or more). Default 5,000.
    pub users: u32,
}

impl WorldConfig {
    /// A quiet world of the usual size.
    #[must_use]
    pub fn new(seed: u64, start_ns: i64) -> WorldConfig {
        WorldConfig {
            seed,
            start_ns,
            scenario: Scenario::quiet(),
            traces_per_second: 20.0,
            sample_interval: Duration::from_secs(5),
            users: 5_000,
        }
    }

    fn check(&self) -> Result<(), SimulateError> {
        let rate = (0.0..=TRACES_PER_SECOND_MAX).contains(&self.traces_per_second);
        require("traces_per_second", rate, "between 0 and 100,000")?;
        let interval = (SAMPLE_INTERVAL_MIN..=SAMPLE_INTERVAL_MAX).contains(&self.sample_interval);
        require("sample_interval", interval, "between 100ms and 1h")?;
        require("users", self.users > 0, "1 or more")?;
        let few = self.scenario.incidents.len() <= INCIDENTS_MAX as usize;
        require("scenario", few, "at most 10,000 incidents")
    }
}

/// A simulated company.
#[derive(Debug)]
pub struct World {
    fleet: Fleet,
    catalogue: Catalogue,
    // INVARIANT: sorted by start; `..begun` have started by the latest turn, and those of them not over are `active`.
    incidents: Vec<Incident>,
    begun: usize,
    active: Vec<Incident>,
    sources: Vec<Source>,
    // INVARIANT: the next turn and the index of every source that has one.
    turns: BinaryHeap<Reverse<(i64, usize)>>,
    queue: Queue,
    now_ns: i64,
}

impl World {
    /// Builds the world; nothing has happened yet.
    ///
    /// # Errors
    /// A setting out of its bounds; incidents that end after the year 2262.
    pub fn new(config: &WorldConfig) -> Result<World, SimulateError> {
        config.check()?;
        let fleet = Fleet::new();
        let scheduled = config.scenario.incidents.iter();
        let mut incidents: Vec<Incident> =
            scheduled.map(|s| Incident::new(s, config.start_ns, &fleet)).collect::<Result<_, _>>()?;
        incidents.sort_by_key(|incident| incident.start_ns);
        let sources = sources(config, &fleet, &incidents);
        let turns = sources.iter().enumerate().map(|(at, source)| Reverse((source.next_ns(), at))).collect();
        Ok(World {
            fleet,
            catalogue: Catalogue::new(),
            incidents,
            begun: 0,
            active: Vec::new(),
            sources,
            turns,
            queue: Queue::default(),
            now_ns: config.start_ns,
        })
    }

    /// The truth: every incident of this world, by start.
    #[must_use]
    pub fn incidents(&self) -> &[Incident] {
        &self.incidents
    }

    /// Up to when (exclusive) the world has been told, ns since 1970.
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        self.now_ns
    }

    /// Lets the world live until `until_ns` (exclusive) and hands every event to `emit`, in the order of time.
    ///
    /// Does nothing when `until_ns` is not after [`World::now_ns`].
    pub fn advance(&mut self, until_ns: i64, emit: &mut impl FnMut(Event)) {
        loop {
            let turn_ns = self.turns.peek().map_or(i64::MAX, |Reverse((ns, _))| *ns);
            let due_ns = turn_ns.min(until_ns);
            if let Some(event) = self.queue.pop_until(due_ns, until_ns) {
                emit(event);
            } else if turn_ns < until_ns {
                self.take_turn();
            } else {
                break;
            }
        }
        self.now_ns = self.now_ns.max(until_ns);
    }

    /// Applies a remedy at [`World::now_ns`]: incidents it cures at the target end here. Returns those, with their new end;
    /// nothing when it cures none, as in life.
    pub fn heal(&mut self, target: &Target, remedy: Remedy) -> Vec<Incident> {
        let now_ns = self.now_ns;
        let is_at = |incident: &Incident| match target {
            Target::Service(service) => incident.service == *service,
            Target::Entity(entity) => incident.entity == *entity || incident.service.name() == entity,
        };
        let cured = self
            .incidents
            .iter_mut()
            .filter(|incident| incident.is_active(now_ns) && remedy.cures(incident.kind) && is_at(incident));
        let mut ended = Vec::new();
        for incident in cured {
            incident.end_ns = now_ns;
            for source in &mut self.sources {
                if let Source::Fault(fault) = source
                    && fault.is_of(incident)
                {
                    fault.end();
                }
            }
            ended.push(incident.clone());
        }
        self.active.retain(|active| !ended.iter().any(|ended| ended.is_same(active)));
        ended
    }

    fn take_turn(&mut self) {
        let Some(Reverse((at_ns, at))) = self.turns.pop() else { return };
        // A source that fell silent since its turn was set.
        if self.sources[at].next_ns() == i64::MAX {
            return;
        }
        self.follow_incidents(at_ns);
        let stage = Stage { fleet: &self.fleet, catalogue: &self.catalogue, active: &self.active };
        let source = &mut self.sources[at];
        source.step(&stage, &mut self.queue);
        let next_ns = source.next_ns();
        if next_ns < i64::MAX {
            self.turns.push(Reverse((next_ns, at)));
        }
    }

    fn follow_incidents(&mut self, at_ns: i64) {
        self.active.retain(|incident| incident.is_active(at_ns));
        while let Some(next) = self.incidents.get(self.begun).filter(|next| next.start_ns <= at_ns) {
            if next.is_active(at_ns) {
                self.active.push(next.clone());
            }
            self.begun += 1;
        }
    }
}

fn sources(config: &WorldConfig, fleet: &Fleet, incidents: &[Incident]) -> Vec<Source> {
    let (seed, start_ns) = (config.seed, config.start_ns);
    let interval_ns = i64::try_from(config.sample_interval.as_nanos()).expect("checked to be at most 1 h");
    let mut sources = vec![
        Source::Traffic(Traffic::new(seed, start_ns, config.traces_per_second, config.users)),
        Source::Idling(Idling::new(seed, start_ns, fleet.all().len())),
        Source::Metrics(Metrics::new(seed, start_ns, interval_ns)),
    ];
    let faults = (0u64..).zip(incidents).map(|(number, incident)| Fault::new(seed, number, incident.clone()));
    sources.extend(faults.map(Source::Fault));
    sources
}

/// Whatever takes turns in making events.
#[derive(Debug)]
enum Source {
    Traffic(Traffic),
    Idling(Idling),
    Metrics(Metrics),
    Fault(Fault),
}

impl Source {
    fn next_ns(&self) -> i64 {
        match self {
            Source::Traffic(traffic) => traffic.next_ns,
            Source::Idling(idling) => idling.next_ns,
            Source::Metrics(metrics) => metrics.next_ns,
            Source::Fault(fault) => fault.next_ns,
        }
    }

    fn step(&mut self, stage: &Stage<'_>, queue: &mut Queue) {
        match self {
            Source::Traffic(traffic) => traffic.step(stage, queue),
            Source::Idling(idling) => idling.step(stage, queue),
            Source::Metrics(metrics) => metrics.step(stage, queue),
            Source::Fault(fault) => fault.step(stage, queue),
        }
    }
}

/// What sources see of the world at their turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage<'a> {
    pub(crate) fleet: &'a Fleet,
    catalogue: &'a Catalogue,
    active: &'a [Incident],
}

impl<'a> Stage<'a> {
    /// A world in which nothing goes wrong.
    pub(crate) fn quiet(fleet: &'a Fleet, catalogue: &'a Catalogue) -> Stage<'a> {
        Stage { fleet, catalogue, active: &[] }
    }

    /// A line of the instance for an occasion, without anything that belongs to a request.
    pub(crate) fn say<R: RngCore>(
        &self,
        instance: &Instance,
        tag: Tag,
        at_ns: i64,
        rng: &mut R,
        request: &Request,
    ) -> LogEvent {
        let template = pick(rng, self.catalogue.of(instance.service, tag));
        LogEvent {
            timestamp_ns: at_ns,
            level: tag.level(),
            service: instance.service,
            instance: instance.name.clone(),
            host: instance.host.clone(),
            region: instance.region,
            message: template.to_text(rng, request),
            trace_id: None,
            span_id: None,
            parent_span_id: None,
            request_id: None,
            user_id: None,
            session_id: None,
            source_ip: None,
            duration_ms: None,
            status: None,
            attributes: Vec::new(),
        }
    }

    /// The factor on the time that calls of a service take.
    pub(crate) fn slowness(&self, service: Service) -> f64 {
        if self.hit(IncidentKind::SlowDependency, service) { SLOWNESS } else { 1.0 }
    }

    /// The time that slowed services add to the calls of a service that needs them, ms.
    pub(crate) fn waiting_ms(&self, service: Service) -> f64 {
        let slowed = self.active.iter().filter(|incident| incident.kind == IncidentKind::SlowDependency);
        let needed = slowed.filter(|incident| service.dependencies().contains(&incident.service));
        needed.map(|incident| incident.service.profile().latency_ms * (SLOWNESS - 1.0)).sum()
    }

    /// The share of calls of a service that fail, where `usual` of them do on an ordinary day.
    pub(crate) fn failures(&self, service: Service, usual: f64) -> f64 {
        if self.hit(IncidentKind::ErrorBurst, service) { ERROR_RATE_BURST } else { usual }
    }

    /// How far (0 to 1) a value of the instance has climbed because of incidents of a kind. They hit the first instance.
    pub(crate) fn climbed(&self, kind: IncidentKind, instance: &Instance, at_ns: i64) -> f64 {
        let hits_it = self.fleet.of(instance.service)[0].name == instance.name;
        let climbs = self
            .active
            .iter()
            .filter(|incident| incident.kind == kind && incident.service == instance.service);
        climbs.filter(|_| hits_it).map(|incident| incident.climbed(at_ns)).fold(0.0, f64::max)
    }

    fn hit(&self, kind: IncidentKind, service: Service) -> bool {
        self.active.iter().any(|incident| incident.kind == kind && incident.service == service)
    }
}

/// Events that are decided but not yet due, by time and then by the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Queued>,
    made: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, event: Event) {
        self.heap.push(Queued { key: Reverse((event.timestamp_ns(), self.made)), event });
        self.made += 1;
    }

    /// The first event if it is at or before `due_ns` and before `until_ns`.
    fn pop_until(&mut self, due_ns: i64, until_ns: i64) -> Option<Event> {
        let Reverse((at_ns, _)) = self.heap.peek()?.key;
        if at_ns <= due_ns && at_ns < until_ns { self.heap.pop().map(|queued| queued.event) } else { None }
    }
}

#[derive(Debug)]
struct Queued {
    key: Reverse<(i64, u64)>,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        self.key == other.key
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests;
