//! Requests of customers, as they travel from service to service, and what machines say when nobody asks.
//!
//! Invariants: all lines of a request share its trace id; every `parent_span_id` is the `span_id` of a line of the same
//! trace; a call ends after the calls it made.

use std::net::Ipv4Addr;

use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::catalogue::Tag;
use crate::company::{Call, Instance, ROUTES, Route, Service};
use crate::dice::{below, chance, id, index, long_tail, mix, ns, pause_ns, scale, stream, unit};
use crate::event::{AttributeValue, Event, Level, LogEvent, SessionId, SpanId, TraceId, UserId};
use crate::json::whole;
use crate::rhythm::{LOAD_MAX, load};
use crate::template::{Request, internal_ip, login};
use crate::world::{Queue, Stage};

/// Calls that fail on an ordinary day: with those they pass on, one request in some 300.
const FAILURES_USUAL: f64 = 0.0005;
/// Calls of a failing dependency that make the caller fail too.
const FAILURES_PASSED_ON: f64 = 0.8;
/// A slowed call that takes longer is given up by its caller.
const TIMEOUT_NS: i64 = 1_000_000_000;
const POPULAR_PLATEAU: f64 = 50.0;
const SESSION_NS: i64 = 1_800_000_000_000;
/// Idle lines per second and instance.
const IDLE_LINES_PER_SECOND: f64 = 0.05;

/// Requests of customers.
#[derive(Debug)]
pub(crate) struct Traffic {
    rng: ChaCha8Rng,
    seed: u64,
    users: u32,
    peak_per_second: f64,
    pub(crate) next_ns: i64,
}

/// One request on its way.
struct Visit {
    route: &'static Route,
    trace_id: TraceId,
    session_id: SessionId,
    request: Request,
    /// The status if the customer is to blame.
    refused: Option<u16>,
}

/// How a call went.
struct Answer {
    end_ns: i64,
    failed: bool,
}

impl Traffic {
    /// Traffic of `per_second` requests at usual load; none when that is 0.
    pub(crate) fn new(seed: u64, start_ns: i64, per_second: f64, users: u32) -> Traffic {
        let mut rng = stream(seed, 1);
        let peak_per_second = per_second * LOAD_MAX;
        let next_ns = next_after(&mut rng, start_ns, peak_per_second);
        Traffic { rng, seed, users, peak_per_second, next_ns }
    }

    /// Makes the next request (or, to follow the rhythm of the day, leaves it out).
    pub(crate) fn step(&mut self, stage: &Stage<'_>, queue: &mut Queue) {
        let at_ns = self.next_ns;
        self.next_ns = next_after(&mut self.rng, at_ns, self.peak_per_second);
        if chance(&mut self.rng, load(at_ns) / LOAD_MAX) {
            let visit = self.visit(at_ns);
            self.call(&visit.route.call, at_ns, &[], &visit, stage, queue);
        }
    }

    fn visit(&mut self, at_ns: i64) -> Visit {
        let rng = &mut self.rng;
        let route = pick_route(rng);
        let user = popular(rng, self.users);
        let identity = mix(self.seed, user.into());
        let visit_number = at_ns.div_euclid(SESSION_NS).unsigned_abs();
        let refused = match route {
            Route { login: true, .. } => chance(rng, 0.03).then_some(401),
            Route { item_count: 1.., .. } => chance(rng, 0.01).then_some(404),
            _ => None,
        };
        Visit {
            route,
            trace_id: id(rng),
            session_id: mix(identity, visit_number).to_be_bytes(),
            refused,
            request: Request {
                user,
                client: customer_ip(identity),
                method: route.method,
                path: route.path,
                item: item(rng, route),
                request_id: id(rng),
                duration_us: 0,
                status: 0,
            },
        }
    }

    /// Makes a call and those it leads to; `parents` are the spans above it, the nearest last.
    fn call(
        &mut self,
        call: &Call,
        at_ns: i64,
        parents: &[SpanId],
        visit: &Visit,
        stage: &Stage<'_>,
        queue: &mut Queue,
    ) -> Answer {
        let instance = stage.fleet.pick(&mut self.rng, call.service);
        let own_ns = self.own_ns(call.service, stage);
        let span_id: SpanId = id(&mut self.rng);
        let line = |tag: Tag, at_ns: i64, rng: &mut ChaCha8Rng, request: &Request| LogEvent {
            trace_id: Some(visit.trace_id),
            span_id: Some(span_id),
            parent_span_id: parents.last().copied(),
            request_id: Some(visit.request.request_id),
            user_id: Some(UserId(visit.request.user)),
            session_id: Some(visit.session_id),
            source_ip: Some(visit.request.client),
            ..stage.say(instance, tag, at_ns, rng, request)
        };
        for tag in self.remarks() {
            queue.push(Event::Log(Box::new(line(tag, at_ns + own_ns / 4, &mut self.rng, &visit.request))));
        }
        let mut path = parents.to_vec();
        path.push(span_id);
        let made = self.calls(call, at_ns + own_ns / 2, &path, visit, stage, queue);
        let end_ns = made.end_ns + own_ns / 2;
        let timed_out = own_ns > TIMEOUT_NS && stage.slowness(call.service) > 1.0;
        let failed =
            made.failed || timed_out || chance(&mut self.rng, stage.failures(call.service, FAILURES_USUAL));
        let status = status(visit, parents.len(), failed.then_some(if timed_out { 504 } else { 502 }));
        let duration_ms = whole_ms(end_ns - at_ns);
        let request = Request { duration_us: whole(duration_ms * 1000.0), status, ..visit.request };
        let mut done = line(if failed { Tag::Fail } else { Tag::Done }, end_ns, &mut self.rng, &request);
        done.duration_ms = Some(duration_ms);
        if call.service.profile().stack.speaks_http() {
            done.status = Some(status);
            if (400..500).contains(&status) {
                done.level = Level::Warn;
            }
        }
        if call.service == Service::AuthApi && visit.route.login && !failed {
            tell_login(&mut done, visit);
        }
        queue.push(Event::Log(Box::new(done)));
        Answer { end_ns, failed }
    }

    /// The calls that a call makes, one after another until one fails for good.
    fn calls(
        &mut self,
        call: &Call,
        from_ns: i64,
        path: &[SpanId],
        visit: &Visit,
        stage: &Stage<'_>,
        queue: &mut Queue,
    ) -> Answer {
        let mut end_ns = from_ns;
        for called in call.calls {
            let answer = self.call(called, end_ns, path, visit, stage, queue);
            end_ns = answer.end_ns;
            if answer.failed && chance(&mut self.rng, FAILURES_PASSED_ON) {
                return Answer { end_ns, failed: true };
            }
        }
        Answer { end_ns, failed: false }
    }

    fn own_ns(&mut self, service: Service, stage: &Stage<'_>) -> i64 {
        let ms = service.profile().latency_ms * long_tail(&mut self.rng) * stage.slowness(service);
        ns(ms / 1000.0)
    }

    /// What is said while a call runs.
    fn remarks(&mut self) -> Vec<Tag> {
        let odds = [(Tag::Info, 0.3), (Tag::Debug, 0.15), (Tag::Warn, 0.03), (Tag::Error, 0.002)];
        odds.into_iter().filter(|(_, p)| chance(&mut self.rng, *p)).map(|(tag, _)| tag).collect()
    }
}

fn next_after(rng: &mut ChaCha8Rng, at_ns: i64, per_second: f64) -> i64 {
    if per_second > 0.0 { at_ns.saturating_add(pause_ns(rng, per_second)) } else { i64::MAX }
}

fn pick_route(rng: &mut ChaCha8Rng) -> &'static Route {
    let mut left = below(rng, ROUTES.iter().map(|route| route.weight).sum());
    for route in ROUTES {
        match left.checked_sub(route.weight) {
            Some(rest) => left = rest,
            None => return route,
        }
    }
    unreachable!("the draw lies below the sum of the weights")
}

/// A number in `0..count`, the lower the likelier: the probability of n goes with 1 / (n + [`POPULAR_PLATEAU`])
/// (Zipf-Mandelbrot), so that there are favourites but nobody stands for a visible share of everything.
pub(crate) fn popular<R: RngCore>(rng: &mut R, count: u32) -> u32 {
    let rank = POPULAR_PLATEAU * ((f64::from(count) / POPULAR_PLATEAU + 1.0).powf(unit(rng)) - 1.0);
    u32::try_from(whole(rank - 0.5)).unwrap_or(u32::MAX).min(count.saturating_sub(1))
}

/// Addresses of customers come from 100.64.0.0/10 (RFC 6598): never those of an attacker, never internal.
pub(crate) fn customer_ip(identity: u64) -> Ipv4Addr {
    let host = u32::try_from(scale(identity, 1 << 22)).expect("below 2^22");
    Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 0).to_bits() | host)
}

fn item(rng: &mut ChaCha8Rng, route: &Route) -> Option<u32> {
    (route.item_count > 0)
        .then(|| u32::try_from(below(rng, route.item_count)).expect("item counts are small"))
}

/// The status of a call at `depth`: the customer's fault shows in the first two services, a failure everywhere.
fn status(visit: &Visit, depth: usize, failure: Option<u16>) -> u16 {
    let refused = visit.refused.filter(|_| depth < 2);
    failure.or(refused).unwrap_or(if visit.route.method == "POST" && depth < 2 { 201 } else { 200 })
}

/// Turns the end of a login into an authentication event.
fn tell_login(done: &mut LogEvent, visit: &Visit) {
    let name = login(visit.request.user);
    let outcome = if visit.refused.is_some() {
        done.message =
            format!("login failed for user {name} from {}: invalid credentials", visit.request.client);
        "failure"
    } else {
        "success"
    };
    done.attributes = login_attributes(name, outcome);
}

/// The fields of an authentication event.
pub(crate) fn login_attributes(user: String, outcome: &'static str) -> Vec<(&'static str, AttributeValue)> {
    vec![
        ("event_type", AttributeValue::Static("authentication")),
        ("action", AttributeValue::Static("login")),
        ("outcome", AttributeValue::Static(outcome)),
        ("user", AttributeValue::Text(user)),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a request does not last 100 days")]
fn whole_ms(duration_ns: i64) -> f64 {
    (duration_ns / 1000) as f64 / 1000.0
}

/// What machines say when nobody asks.
#[derive(Debug)]
pub(crate) struct Idling {
    rng: ChaCha8Rng,
    per_second: f64,
    pub(crate) next_ns: i64,
}

impl Idling {
    #[expect(clippy::cast_precision_loss, reason = "dozens of instances")]
    pub(crate) fn new(seed: u64, start_ns: i64, instances: usize) -> Idling {
        let mut rng = stream(seed, 2);
        let per_second = IDLE_LINES_PER_SECOND * instances as f64;
        let next_ns = next_after(&mut rng, start_ns, per_second);
        Idling { rng, per_second, next_ns }
    }

    /// Says one line, on any instance.
    pub(crate) fn step(&mut self, stage: &Stage<'_>, queue: &mut Queue) {
        let at_ns = self.next_ns;
        self.next_ns = next_after(&mut self.rng, at_ns, self.per_second);
        let instances = stage.fleet.all();
        let instance = &instances[index(&mut self.rng, instances.len())];
        let log = match below(&mut self.rng, 100) {
            0 => self.mistyped(instance, at_ns, stage),
            1..6 => stage.say(instance, Tag::Warn, at_ns, &mut self.rng, &NOBODY),
            _ => stage.say(instance, Tag::Idle, at_ns, &mut self.rng, &NOBODY),
        };
        queue.push(Event::Log(Box::new(log)));
    }

    /// An administrator mistypes a password: ordinary life.
    fn mistyped(&mut self, instance: &Instance, at_ns: i64, stage: &Stage<'_>) -> LogEvent {
        let mut log = stage.say(instance, Tag::Warn, at_ns, &mut self.rng, &NOBODY);
        let name = login(popular(&mut self.rng, 2000));
        let from = internal_ip(self.rng.next_u32());
        let port = 30_000 + below(&mut self.rng, 30_000);
        log.message = format!("Failed password for {name} from {from} port {port} ssh2");
        log
    }
}

/// Fills the slots of lines that belong to no request.
pub(crate) const NOBODY: Request = Request {
    user: 0,
    client: Ipv4Addr::new(10, 0, 0, 1),
    method: "GET",
    path: "/health",
    item: None,
    request_id: [0; 6],
    duration_us: 1_000,
    status: 200,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popularity_falls_with_rank_and_stays_in_bounds() {
        let mut rng = stream(3, 3);
        let mut counts = [0u32; 1000];
        (0..100_000).for_each(|_| counts[popular(&mut rng, 1000) as usize] += 1);
        let hundred = |from: usize| counts[from..from + 100].iter().sum::<u32>();
        assert!(hundred(0) > 4 * hundred(300) && hundred(300) > hundred(900), "{counts:?}");
        assert!(hundred(900) > 0);
        assert_eq!(popular(&mut rng, 1), 0);
    }

    #[test]
    fn customers_have_addresses_of_their_own() {
        assert_eq!(customer_ip(0), Ipv4Addr::new(100, 64, 0, 0));
        assert_eq!(customer_ip(u64::MAX), Ipv4Addr::new(100, 127, 255, 255));
    }
}
