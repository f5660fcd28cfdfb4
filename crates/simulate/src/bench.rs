//! Log lines by the million for benches: NDJSON of 13 fields and about 386 bytes, from about 1,350 templates.
//!
//! Invariants: a line depends on seed, range and row alone, so several writers can share the rows and the bytes are the
//! same; time never goes back from one row to the next.
//!
//! Popularity of services, templates and users falls with rank; 85 % of lines are info, 8 % debug, 5 % warn, 2 % error. Four
//! lines, 16 rows apart, share a trace, a request and a user. One row in [`BENCH_RARE_EVERY`] carries a token of its own.

use std::sync::Arc;

use rand::RngCore;

use crate::catalogue::{Line, Tag, lines, parse};
use crate::company::{Fleet, ROUTES, Service};
use crate::dice::{SplitMix, below, long_tail, scale};
use crate::event::{ENVIRONMENT, Level, TraceId};
use crate::json::{push_escaped, push_fraction, push_hex, push_seconds, push_string, push_u64, whole};
use crate::template::{Request, Template};
use crate::traffic::customer_ip;

/// One row in so many holds a token that no other row holds.
pub const BENCH_RARE_EVERY: u64 = 100_000;
const RARE_ROW: u64 = 777;
/// Rows from which the lines of 16 traces come.
const TRACE_BLOCK_ROWS: u64 = 64;
const TRACES_PER_BLOCK: u64 = 16;
const USERS: u32 = 1_000_000;
const NS_PER_SECOND: i64 = 1_000_000_000;
/// Entries of the tables that turn random bits into a rank, a user or a duration.
const TEMPLATE_SLOTS: usize = 512;
const SERVICE_SLOTS: usize = 4096;
const USER_SLOTS: u32 = 4096;
const DURATION_SLOTS: usize = 1024;
/// Levels of bench lines, and below which of 1,000 draws each of them ends.
const LEVELS: [(Level, u64); 4] =
    [(Level::Info, 850), (Level::Debug, 930), (Level::Warn, 980), (Level::Error, 1000)];
const SALT_TRACE: u64 = 0x7261_6365;
const SALT_RARE: u64 = 0x7261_7265;
/// Lines that queries look for and that the story of a quiet company does not tell.
const SOUGHT: [(Level, &str); 4] = [
    (
        Level::Warn,
        "Failed password for invalid user {login} from 203.0.113.{int:1-254} port {int:1024-65535} ssh2",
    ),
    (Level::Warn, "failed login of {login} from {client}: invalid credentials"),
    (Level::Error, "dial tcp {ip}:{int:1024-9999}: connection refused"),
    (Level::Error, "request {request} denied: deadline exceeded, timeout after {ms} ms"),
];

/// A writer of bench lines.
#[derive(Debug, Clone)]
pub struct BenchLines {
    tables: Arc<Tables>,
    seed: u64,
    start_ns: i64,
    step_ns: u64,
    count: u64,
    row: u64,
    /// The second whose text is in `second_text`.
    second: Option<i64>,
    second_text: Vec<u8>,
}

/// What all writers share.
#[derive(Debug)]
struct Tables {
    /// Rank of a service, by random slot.
    services: Vec<u16>,
    /// By service and level.
    voices: Vec<[Voice; LEVELS.len()]>,
    /// Ranks at equal steps of probability; one more than slots.
    users: Vec<u32>,
    /// Durations relative to the median.
    durations: Vec<f64>,
}

/// What a service says at a level.
#[derive(Debug)]
struct Voice {
    /// Everything between the time and the message, by instance.
    openings: Vec<Vec<u8>>,
    /// Their literals are escaped already.
    templates: Vec<Template>,
    /// Index of a template, by random slot.
    slots: Vec<u16>,
}

impl BenchLines {
    /// Lines `0..count`, their times rising evenly over `span_ns` from `start_ns`.
    ///
    /// Every line keeps to its own `span_ns / count` of the time; a negative span counts as none.
    #[must_use]
    pub fn new(seed: u64, start_ns: i64, span_ns: i64, count: u64) -> BenchLines {
        let step_ns = u64::try_from(span_ns).unwrap_or(0) / count.max(1);
        let second_text = Vec::with_capacity(32);
        BenchLines {
            tables: Arc::new(Tables::new()),
            seed,
            start_ns,
            step_ns,
            count,
            row: 0,
            second: None,
            second_text,
        }
    }

    /// The row that comes next.
    #[must_use]
    pub fn row(&self) -> u64 {
        self.row
    }

    /// Goes on at this row; clones that take turns in blocks of rows write the same lines as one alone.
    pub fn seek(&mut self, row: u64) {
        self.row = row;
    }

    /// Appends the next lines, at most `lines` and not beyond the last row; returns how many.
    pub fn fill(&mut self, lines: usize, out: &mut Vec<u8>) -> usize {
        let mut written = 0;
        while written < lines && self.row < self.count {
            self.write_line(out);
            self.row += 1;
            written += 1;
        }
        written
    }

    /// The trace that row `row` belongs to.
    #[must_use]
    pub fn trace_id(seed: u64, row: u64) -> TraceId {
        crate::dice::id(&mut trace_rng(seed, row))
    }

    /// The token that only row `BENCH_RARE_EVERY * n + 777` holds.
    #[must_use]
    pub fn rare_token(seed: u64, n: u64) -> String {
        format!("rt{:016x}", SplitMix::at(seed ^ SALT_RARE, n).next_u64())
    }

    fn write_line(&mut self, out: &mut Vec<u8>) {
        let tables = Arc::clone(&self.tables);
        let mut rng = SplitMix::at(self.seed, self.row);
        let service = tables.services[slot(rng.next_u64(), SERVICE_SLOTS)];
        let (level, voice) = tables.voice(service.into(), &mut rng);
        let (request, trace_id) = self.request(level, Service::ALL[usize::from(service)], &mut rng);
        out.extend_from_slice(b"{\"timestamp\":\"");
        self.write_time(below(&mut rng, self.step_ns), out);
        out.extend_from_slice(&voice.openings[slot(rng.next_u64(), voice.openings.len())]);
        if self.row % BENCH_RARE_EVERY == RARE_ROW {
            out.extend_from_slice(b"one-time token ");
            out.extend_from_slice(Self::rare_token(self.seed, self.row / BENCH_RARE_EVERY).as_bytes());
            out.extend_from_slice(b" redeemed by operator");
        } else {
            voice.templates[usize::from(voice.slots[slot(rng.next_u64(), TEMPLATE_SLOTS)])]
                .render(&mut rng, &request, out);
        }
        out.extend_from_slice(b"\",\"trace_id\":\"");
        push_hex(out, &trace_id);
        out.extend_from_slice(b"\",\"span_id\":\"");
        push_hex(out, &rng.next_u64().to_be_bytes());
        out.extend_from_slice(b"\",\"request_id\":\"");
        push_hex(out, &request.request_id);
        out.extend_from_slice(b"\",\"user_id\":\"u");
        push_u64(out, request.user.into());
        out.extend_from_slice(b"\",\"duration_ms\":");
        push_u64(out, (request.duration_us + 500) / 1000);
        out.extend_from_slice(b",\"status\":");
        push_u64(out, request.status.into());
        out.extend_from_slice(b"}\n");
    }

    fn write_time(&mut self, jitter_ns: u64, out: &mut Vec<u8>) {
        let offset_ns = self.row.saturating_mul(self.step_ns).saturating_add(jitter_ns);
        let ns = self.start_ns.saturating_add_unsigned(offset_ns);
        let second = ns.div_euclid(NS_PER_SECOND);
        if self.second != Some(second) {
            self.second_text.clear();
            push_seconds(&mut self.second_text, second);
            self.second = Some(second);
        }
        out.extend_from_slice(&self.second_text);
        push_fraction(out, ns.rem_euclid(NS_PER_SECOND));
    }

    fn request(&self, level: Level, service: Service, rng: &mut SplitMix) -> (Request, TraceId) {
        let mut of_trace = trace_rng(self.seed, self.row);
        let trace_id = crate::dice::id(&mut of_trace);
        let user = self.tables.user(of_trace.next_u64());
        let route = &ROUTES[slot(of_trace.next_u64(), ROUTES.len())];
        let relative = self.tables.durations[slot(rng.next_u64(), DURATION_SLOTS)];
        let request = Request {
            user,
            client: customer_ip(crate::dice::mix(self.seed, user.into())),
            method: route.method,
            path: route.path,
            item: None,
            request_id: crate::dice::id(&mut of_trace),
            duration_us: whole(service.profile().latency_ms * 4_000.0 * relative).max(1_000),
            status: status(level, rng.next_u64()),
        };
        (request, trace_id)
    }
}

impl Tables {
    fn new() -> Tables {
        let fleet = Fleet::new();
        let mut rng = SplitMix::at(0, 0);
        let mut durations: Vec<f64> = (0..DURATION_SLOTS).map(|_| long_tail(&mut rng)).collect();
        durations.sort_unstable_by(f64::total_cmp);
        Tables {
            services: zipf(Service::ALL.len(), SERVICE_SLOTS),
            voices: Service::ALL
                .map(|service| LEVELS.map(|(level, _)| Voice::new(service, level, &fleet)))
                .into(),
            users: (0..=USER_SLOTS).map(user_rank).collect(),
            durations,
        }
    }

    fn voice(&self, service: usize, rng: &mut SplitMix) -> (Level, &Voice) {
        let draw = below(rng, 1000);
        let at = LEVELS.iter().take_while(|(_, end)| draw >= *end).count();
        (LEVELS[at].0, &self.voices[service][at])
    }

    /// A user, by random bits: evenly among the ranks between two entries of the table.
    fn user(&self, bits: u64) -> u32 {
        let at = slot(bits, self.users.len() - 1);
        let (low, high) = (self.users[at], self.users[at + 1]);
        let within = scale(bits.rotate_left(32), u64::from(high - low));
        low + u32::try_from(within).expect("below a difference of ranks")
    }
}

impl Voice {
    fn new(service: Service, level: Level, fleet: &Fleet) -> Voice {
        let texts = texts(service, level);
        let slots = zipf(texts.len(), TEMPLATE_SLOTS);
        let templates = texts.iter().map(|text| parse(&escaped(text))).collect();
        let instances = fleet.of(service).iter();
        let openings =
            instances.map(|instance| opening(level, service, &instance.name, instance.region)).collect();
        Voice { openings, templates, slots }
    }
}

/// The templates of a service at a level: plain, under the name of the service, and under that of its worker.
fn texts(service: Service, level: Level) -> Vec<String> {
    let sought = SOUGHT.into_iter().filter(|(of, _)| *of == level).map(|(_, text)| text.to_owned());
    let ordinary: Vec<Line> = lines(service)
        .into_iter()
        .filter(|line| line.tag.level() == level && line.tag != Tag::Crisis)
        .collect();
    let (idle, said): (Vec<Line>, Vec<Line>) = ordinary.into_iter().partition(|line| line.tag == Tag::Idle);
    let plain: Vec<String> = said.into_iter().chain(idle).map(|line| line.text).chain(sought).collect();
    let slug = service.profile().slug;
    let named = plain.iter().map(|text| format!("{slug}: {text}"));
    let worker = plain.iter().map(|text| format!("[worker-{{int:0-15}}] {text}"));
    plain.iter().cloned().chain(named).chain(worker).collect()
}

fn escaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 8);
    push_escaped(&mut out, text);
    String::from_utf8(out).expect("escaping keeps a text a text")
}

fn opening(level: Level, service: Service, instance: &str, region: &str) -> Vec<u8> {
    let mut out = b"\",\"level\":".to_vec();
    push_string(&mut out, level.as_str());
    for (name, value) in [
        ("service", service.name()),
        ("instance", instance),
        ("region", region),
        ("environment", ENVIRONMENT),
    ] {
        out.push(b',');
        push_string(&mut out, name);
        out.push(b':');
        push_string(&mut out, value);
    }
    out.extend_from_slice(b",\"message\":\"");
    out
}

fn trace_rng(seed: u64, row: u64) -> SplitMix {
    let trace = row / TRACE_BLOCK_ROWS * TRACES_PER_BLOCK + row % TRACES_PER_BLOCK;
    SplitMix::at(seed ^ SALT_TRACE, trace)
}

fn status(level: Level, bits: u64) -> u16 {
    let choices: &[u16] = match level {
        Level::Debug | Level::Info => &[200, 200, 200, 200, 200, 200, 201, 204, 302, 304],
        Level::Warn => &[400, 401, 403, 404, 404, 409, 429, 200],
        Level::Error | Level::Fatal => &[500, 500, 500, 502, 503, 503],
    };
    choices[slot(bits, choices.len())]
}

/// Random bits as an index in `0..len`.
#[expect(clippy::cast_possible_truncation, reason = "below `len`, which is a usize")]
fn slot(bits: u64, len: usize) -> usize {
    scale(bits, len as u64) as usize
}

/// `slots` numbers in `0..count`, each at least once (if there is room), number n about n times as rare as number 1.
#[expect(clippy::cast_precision_loss, reason = "counts are below a few thousand")]
fn zipf(count: usize, slots: usize) -> Vec<u16> {
    let spare = slots.saturating_sub(count) as f64;
    let total: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
    let mut table = Vec::with_capacity(slots);
    let mut reached = 0.0;
    for at in 0..count {
        reached += spare / total / (at + 1) as f64;
        let end = at as u64 + 1 + whole(reached);
        let number = u16::try_from(at).expect("fewer templates than 65,536");
        while (table.len() as u64) < end && table.len() < slots {
            table.push(number);
        }
    }
    table.resize(slots, 0);
    table
}

/// The rank at `at / USER_SLOTS` of the probability, where rank n is n times as rare as rank 1.
fn user_rank(at: u32) -> u32 {
    let rank = f64::from(USERS).powf(f64::from(at) / f64::from(USER_SLOTS));
    u32::try_from(whole(rank)).unwrap_or(USERS) - 1
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use serde_json::Value;

    use super::*;

    const START_NS: i64 = 1_770_000_000_000_000_000;
    const HOUR_NS: i64 = 3_600_000_000_000;

    fn text(seed: u64, count: u64) -> String {
        let mut out = Vec::new();
        let mut lines = BenchLines::new(seed, START_NS, HOUR_NS, count);
        assert_eq!(lines.fill(usize::MAX, &mut out) as u64, count);
        String::from_utf8(out).unwrap()
    }

    fn values(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_look_like_the_bench_data() {
        let text = text(1, 20_000);
        let bytes_per_line = text.len() / 20_000;
        assert!((370..=402).contains(&bytes_per_line), "{bytes_per_line} bytes a line");
        let values = values(&text);
        let mut levels = HashMap::new();
        let mut latest = String::new();
        for value in &values {
            assert_eq!(value.as_object().unwrap().len(), 13);
            assert!((200..=503).contains(&value["status"].as_u64().unwrap()));
            let time = value["timestamp"].as_str().unwrap();
            assert!(time >= latest.as_str());
            time.clone_into(&mut latest);
            *levels.entry(value["level"].as_str().unwrap()).or_insert(0) += 1;
        }
        assert!(
            (16_600..17_400).contains(&levels["info"]) && (300..500).contains(&levels["error"]),
            "{levels:?}"
        );
        for sought in ["connection refused", "Failed password for ", "blk_"] {
            assert!(
                values.iter().any(|value| value["message"].as_str().unwrap().contains(sought)),
                "{sought}"
            );
        }
    }

    #[test]
    fn there_are_enough_templates() {
        let all = Service::ALL.into_iter().flat_map(|service| LEVELS.map(|(level, _)| texts(service, level)));
        let distinct: HashSet<String> = all.flatten().collect();
        assert!((1_000..2_500).contains(&distinct.len()), "{} templates", distinct.len());
    }

    #[test]
    fn rows_do_not_depend_on_who_writes_them() {
        let whole = text(7, 1_000);
        assert_ne!(whole, text(8, 1_000));
        let mut parts = Vec::new();
        let mut first = BenchLines::new(7, START_NS, HOUR_NS, 1_000);
        let mut second = first.clone();
        first.fill(300, &mut parts);
        second.seek(first.row());
        second.fill(usize::MAX, &mut parts);
        assert_eq!(whole.into_bytes(), parts);
    }

    #[test]
    fn traces_and_rare_tokens_can_be_looked_up() {
        let text = text(5, 1_000);
        let token = BenchLines::rare_token(5, 0);
        let holders: Vec<usize> =
            text.lines().enumerate().filter(|(_, l)| l.contains(&token)).map(|(at, _)| at).collect();
        assert_eq!(holders, [777]);
        let mut trace = Vec::new();
        push_hex(&mut trace, &BenchLines::trace_id(5, 200));
        let trace = String::from_utf8(trace).unwrap();
        let rows: Vec<usize> =
            text.lines().enumerate().filter(|(_, l)| l.contains(&trace)).map(|(at, _)| at).collect();
        assert_eq!(rows, [200, 216, 232, 248]);
    }

    #[test]
    fn popular_is_popular() {
        let mut users = HashMap::new();
        for value in values(&text(2, 20_000)) {
            *users.entry(value["user_id"].as_str().unwrap().to_owned()).or_insert(0u32) += 1;
        }
        assert!(users["u0"] > 400 && users.len() > 2_000, "{} and {}", users["u0"], users.len());
        assert_eq!(zipf(3, 12), [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2]);
    }
}
