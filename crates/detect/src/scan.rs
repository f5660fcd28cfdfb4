//! Scans: one source that tries many paths, many ports of a host, or one port of many hosts.
//!
//! Each attempt is harmless by itself and often refused; together they map a site or a network. Paths count when the
//! server refused them (403, 404, 405, 410), ports when a firewall did not let the packet pass.
//!
//! Invariants:
//! - a source is found exactly when some window of `within` holds enough distinct paths, ports or hosts, whatever the
//!   order of arrival within the lateness (as long as they are among the newest [`HITS_MAX`] records of the key);
//! - a finding that goes on is repeated at most once per `repeat_every`;
//! - answered requests are remembered for sources with refused ones only, so ordinary clients cost nothing.
//!
//! Not here: what a single request tries (see `web`).
//! Cost: 24 bytes an attempt, 3 KiB a key at most.
//!
//! [`HITS_MAX`]: DetectConfig::check

mod packet;

use heimdall_model::batch::Row;
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, Entity, Feature, Severity, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use crate::arrival::{self, Reported, steps};
use crate::config::{DetectConfig, Period, ScanConfig};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields;
use crate::hits::{self, Hit, Hits, Window};
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;
use crate::web::request::Request;
use packet::{Packet, Packets};

/// Reporter of attempts that were refused, and of requests that were answered.
const REFUSED: u8 = 0;
const ANSWERED: u8 = 1;
/// Times `paths` at which the share of refused requests no longer matters: nobody reads so many dead links.
const PATHS_BEYOND_DOUBT: u32 = 4;
/// Paths that browsers and bots ask for by themselves.
const ASKED_UNASKED: &[&str] = &[
    "/favicon",
    "/apple-touch-icon",
    "/robots.txt",
    "/sitemap",
    "/browserconfig.xml",
    "/ads.txt",
    "/app-ads.txt",
    "/.well-known/",
    "/humans.txt",
    "/security.txt",
    "/manifest.json",
    "/site.webmanifest",
    "/crossdomain.xml",
];

const PATH_STEPS: &[&str] = &[
    "Read which of the paths were answered, and whether any should not have been",
    "Rate-limit or block the source at the edge",
    "Check that it is not a scan or a link checker of your own",
];
const PORT_STEPS: &[&str] = &[
    "Block the source at the firewall",
    "Check what listens on the ports that were let pass",
    "If the source is inside, isolate it and look for what runs there",
];

/// The scan detector.
#[derive(Debug)]
pub struct Scan {
    config: ScanConfig,
    lateness: Period,
    ahead: Period,
    packets: Packets,
    keys: Keyed<State>,
    key: String,
    counters: Counters,
}

/// What one source tried: paths, ports of a host, or hosts on a port.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    /// `who` is the path, port or host.
    attempts: Hits,
    reported: Reported,
}

/// The kinds of scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Paths,
    Ports,
    Hosts,
}

impl Kind {
    const fn rule(self) -> &'static str {
        match self {
            Kind::Paths => "scan.paths",
            Kind::Ports => "scan.ports",
            Kind::Hosts => "scan.hosts",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Kind::Paths => "Path scan",
            Kind::Ports => "Port scan",
            Kind::Hosts => "Sweep of hosts",
        }
    }
}

/// One attempt, with where and when it was seen.
struct Attempt<'a> {
    observed: Observed<'a>,
    row: Row<'a>,
    time: i64,
    kind: Kind,
    source: &'a str,
    /// The host whose ports, or the port whose hosts, are tried; empty for paths.
    target: &'a str,
    /// The path, port or host.
    tried: &'a str,
}

impl Scan {
    /// A detector with nothing seen.
    #[must_use]
    pub fn new(config: &DetectConfig) -> Scan {
        Scan {
            config: config.scan.clone(),
            lateness: config.lateness,
            ahead: config.ahead,
            packets: Packets::default(),
            keys: Keyed::default(),
            key: String::new(),
            counters: Counters::default(),
        }
    }

    fn judge(&mut self, observed: &Observed<'_>, row: &Row<'_>, out: &mut Findings) {
        // Most requests are answered well, by sources of which nothing is known: they need not be read.
        let is_answered = fields::http_status_class(row).is_some_and(|class| class != b'4');
        if is_answered && !self.knows(observed, row) {
            return;
        }
        if let Some(request) = Request::of(row) {
            self.request(observed, row, &request, out);
        } else if let Some(packet) = self.packets.read(row) {
            self.packet(observed, row, &packet, out);
        }
    }

    fn request(&mut self, observed: &Observed<'_>, row: &Row<'_>, request: &Request<'_>, out: &mut Findings) {
        let (Some(status), Some(source)) = (request.status, source_of(row)) else { return };
        let refused = matches!(status, 403 | 404 | 405 | 410);
        if refused && !ASKED_UNASKED.iter().any(|start| request.path.starts_with(start)) {
            let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
            let (kind, tried) = (Kind::Paths, request.path.as_ref());
            self.attempt(
                &Attempt { observed: *observed, row: *row, time, kind, source, target: "", tried },
                out,
            );
        } else if !refused && self.keys.len() > 0 {
            self.answered(observed, row, source);
        }
    }

    /// Whether the source of a record is known for refused requests.
    fn knows(&mut self, observed: &Observed<'_>, row: &Row<'_>) -> bool {
        let Some(source) = source_of(row).filter(|_| self.keys.len() > 0) else { return false };
        let key = keyed::key(&mut self.key, &[observed.tenant.as_str(), Kind::Paths.rule(), source, ""]);
        self.keys.get_mut(key).is_some()
    }

    /// Remembers a request that was not refused, for the share, if the source is known for refused ones.
    fn answered(&mut self, observed: &Observed<'_>, row: &Row<'_>, source: &str) {
        let key = keyed::key(&mut self.key, &[observed.tenant.as_str(), Kind::Paths.rule(), source, ""]);
        let Some(state) = self.keys.get_mut(key) else { return };
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        let hit = Hit { time, position: row.position().0, who: 0, weight: 1, reporter: ANSWERED };
        if !state.attempts.add(hit, self.lateness, self.config.within) {
            self.counters.late += 1;
        }
    }

    fn packet(&mut self, observed: &Observed<'_>, row: &Row<'_>, packet: &Packet<'_>, out: &mut Findings) {
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        let mut digits = [0; 5];
        let port = decimal(packet.port, &mut digits);
        for (kind, target, tried) in [
            (Kind::Ports, packet.destination.as_ref(), port),
            (Kind::Hosts, port, packet.destination.as_ref()),
        ] {
            let source = packet.source.as_ref();
            self.attempt(&Attempt { observed: *observed, row: *row, time, kind, source, target, tried }, out);
        }
    }

    fn attempt(&mut self, attempt: &Attempt<'_>, out: &mut Findings) {
        let parts = [attempt.observed.tenant.as_str(), attempt.kind.rule(), attempt.source, attempt.target];
        let key = keyed::key(&mut self.key, &parts);
        let config = &self.config;
        let state = self.keys.entry(key, attempt.observed.batch.observed, &config.limits, State::default);
        let who = hits::who(attempt.tried);
        let hit =
            Hit { time: attempt.time, position: attempt.row.position().0, who, weight: 1, reporter: REFUSED };
        if !state.attempts.add(hit, self.lateness, config.within) {
            self.counters.late += 1;
            return;
        }
        let State { attempts, reported } = state;
        let found = attempts
            .windows(attempt.time, config.within)
            .filter(|window| is_scan(attempt.kind, *window, config))
            .max_by_key(|window| window.distinct());
        if let Some(window) = found
            && reported.due(attempt.time, Severity::Warning, config.limits.repeat_every)
        {
            out.verdicts.push(attempt.verdict(window, config));
        }
    }
}

/// Distinct things that are a scan.
fn least(kind: Kind, config: &ScanConfig) -> u32 {
    match kind {
        Kind::Paths => config.paths,
        Kind::Ports => config.ports,
        Kind::Hosts => config.hosts,
    }
}

fn is_scan(kind: Kind, window: Window<'_>, config: &ScanConfig) -> bool {
    let (distinct, least) = (window.distinct(), least(kind, config) as usize);
    let beyond_doubt = distinct >= least.saturating_mul(PATHS_BEYOND_DOUBT as usize);
    distinct >= least
        && (kind != Kind::Paths || beyond_doubt || refused_share(window) >= config.refused_share)
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn refused_share(window: Window<'_>) -> f64 {
    let (refused, answered) = (window.count_of(REFUSED) as f64, window.count_of(ANSWERED) as f64);
    refused / (refused + answered).max(1.0)
}

/// The client of a request: an address, or the name it was logged under.
fn source_of<'a>(row: &Row<'a>) -> Option<&'a str> {
    let first = || row.text(logs::MESSAGE)?.split(' ').next().filter(|word| packet::is_address(word));
    row.text(logs::SOURCE_IP).filter(|text| !text.is_empty()).or_else(first)
}

/// A port in digits.
fn decimal(port: u16, digits: &mut [u8; 5]) -> &str {
    let (mut rest, mut at) = (port, digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 || at == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or("0")
}

impl Attempt<'_> {
    fn verdict(&self, window: Window<'_>, config: &ScanConfig) -> Verdict {
        let (distinct, least) = (window.distinct(), least(self.kind, config));
        Verdict {
            tenant: self.observed.tenant.clone(),
            detector: "scan".to_owned(),
            rule: self.kind.rule().to_owned(),
            title: self.kind.title().to_owned(),
            severity: Severity::Warning,
            score: arrival::score(number(distinct), f64::from(least)),
            entity: Entity::new("source_ip", self.source),
            service: self.row.service().map(str::to_owned),
            time: Timestamp(self.time),
            position: self.row.position(),
            summary: self.summary(window, config),
            baseline: None,
            features: self.features(window, config),
            evidence: window.evidence(),
            mitigation: steps(if self.kind == Kind::Paths { PATH_STEPS } else { PORT_STEPS }),
        }
    }

    fn summary(&self, window: Window<'_>, config: &ScanConfig) -> String {
        let (source, target, distinct) = (self.source, self.target, window.distinct());
        #[expect(clippy::cast_precision_loss, reason = "shown in seconds")]
        let seconds = arrival::short(window.span_ns() as f64 / 1e9);
        let limit = format!("within {seconds} s (limit {} in {})", least(self.kind, config), config.within);
        match self.kind {
            Kind::Paths => format!("{distinct} distinct paths refused to {source} {limit}"),
            Kind::Ports => format!("{source} tried {distinct} ports of {target} {limit}"),
            Kind::Hosts => format!("{source} tried port {target} of {distinct} hosts {limit}"),
        }
    }

    fn features(&self, window: Window<'_>, config: &ScanConfig) -> Vec<Feature> {
        let feature = |name: String, value| Feature { name, value };
        let what = match self.kind {
            Kind::Paths => "distinct_paths",
            Kind::Ports => "distinct_ports",
            Kind::Hosts => "distinct_hosts",
        };
        let within = config.within;
        let mut features = vec![
            feature(format!("{what}_in_{within}"), number(window.distinct())),
            feature(format!("attempts_in_{within}"), number(window.count_of(REFUSED))),
        ];
        if self.kind == Kind::Paths {
            features.push(feature("refused_share".to_owned(), refused_share(window)));
        }
        features
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of at most 128 events")]
fn number(count: usize) -> f64 {
    count as f64
}

impl Detector for Scan {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        (self.config, self.lateness, self.ahead) = (config.scan.clone(), config.lateness, config.ahead);
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        if batch.batch.dataset != Dataset::Logs {
            return;
        }
        for row in batch.batch.iter() {
            self.judge(batch, &row, out);
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::encode(&self.keys.save())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.keys = Keyed::load(snapshot::decode::<Vec<Saved<State>>>(bytes)?);
        Ok(())
    }

    fn state_keys(&self) -> usize {
        self.keys.len()
    }

    fn counters(&self) -> Counters {
        Counters { evicted: self.keys.evicted(), ..self.counters }
    }
}

#[cfg(test)]
mod tests;
