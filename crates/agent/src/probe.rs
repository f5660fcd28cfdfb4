//! Endpoints asked from outside: how long an answer takes, whether there is one, how long a certificate lasts.
//!
//! Samples, of the service that is the endpoint's name: `probe.latency_ms`, `probe.availability` (1 or 0), `probe.tls.days_left`,
//! `probe.tls.verified`. When availability changes, a log record says so, with the reason.
//!
//! Invariants:
//! - a probe ends within its timeout, and reads at most [`BODY_BYTES_MAX`];
//! - at most `probes_max` run at once, and one of each endpoint; one that is due while it runs is counted as missed;
//! - what could not be asked at all (no permission for ICMP) is no outage: there is no availability sample then.

mod icmp;
mod target;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use heimdall_detect::Period;
use heimdall_model::schema::logs;
use heimdall_model::{Batch, BatchBuilder, Clock, Dataset, Level, Timestamp};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use self::target::{Target, TargetError};
pub use self::tls::Roots;

use crate::config::{Endpoint, duration};
use crate::samples::Samples;

/// Bytes of an HTTP answer that are read.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Asks endpoints.
pub struct Prober {
    strict: reqwest::Client,
    lenient: reqwest::Client,
    roots: Arc<Roots>,
    clock: Arc<dyn Clock>,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether it is available; `None` when it could not be asked.
    pub available: Option<bool>,
    /// Time to the answer, when there was one.
    pub latency: Option<Duration>,
    /// What its certificate says.
    pub certificate: Option<Certificate>,
    /// Why it is not available, or could not be asked.
    pub reason: Option<String>,
}

/// What a certificate says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Certificate {
    /// Days until it expires; negative afterwards.
    pub days_left: f64,
    /// Whether a client of this host would take it; `None` when that was not checked.
    pub verified: Option<bool>,
}

impl Outcome {
    fn up(latency: Duration) -> Outcome {
        Outcome { available: Some(true), latency: Some(latency), certificate: None, reason: None }
    }

    fn down(reason: impl Into<String>) -> Outcome {
        Outcome { available: Some(false), latency: None, certificate: None, reason: Some(reason.into()) }
    }

    fn unknown(reason: impl Into<String>) -> Outcome {
        Outcome { available: None, latency: None, certificate: None, reason: Some(reason.into()) }
    }
}

impl Prober {
    /// A prober that trusts these roots for `tls://`, and the system's for `https://`.
    ///
    /// # Errors
    /// The HTTP client does not start.
    pub fn new(roots: Roots, clock: Arc<dyn Clock>) -> Result<Prober, reqwest::Error> {
        let builder = || {
            // Every probe makes its own connection: that is what is asked about. A proxy's answer is not the endpoint's.
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .pool_max_idle_per_host(0)
                .no_proxy()
                .tls_info(true)
                .user_agent(concat!("heimdall-agent/", env!("CARGO_PKG_VERSION")))
        };
        let strict = builder().build()?;
        let lenient = builder().tls_danger_accept_invalid_certs(true).build()?;
        Ok(Prober { strict, lenient, roots: Arc::new(roots), clock })
    }

    /// Asks an endpoint once.
    pub async fn ask(&self, endpoint: &Endpoint, target: &Target) -> Outcome {
        let limit = duration(endpoint.timeout);
        let asked = async {
            match target {
                Target::Http(url) => self.ask_http(endpoint, url).await,
                Target::Tcp { host, port } => ask_tcp(host, *port).await,
                Target::Tls { host, port } => self.ask_tls(endpoint, host, *port).await,
                Target::Icmp { host } => icmp::ask(host, limit).await,
            }
        };
        let late = || Outcome::down(format!("no answer within {}", endpoint.timeout));
        timeout(limit, asked).await.unwrap_or_else(|_| late())
    }

    async fn ask_http(&self, endpoint: &Endpoint, url: &reqwest::Url) -> Outcome {
        let client = if endpoint.insecure { &self.lenient } else { &self.strict };
        let begin = Instant::now();
        let mut response = match client.get(url.clone()).send().await {
            Ok(response) => response,
            Err(error) => return self.http_down(endpoint, url, &error).await,
        };
        let status = response.status().as_u16();
        let info = response.extensions().get::<reqwest::tls::TlsInfo>();
        let days_left = info.and_then(|info| tls::days_left(info.peer_certificate()?, self.clock.now()));
        let verified = (!endpoint.insecure).then_some(true);
        let certificate = days_left.map(|days_left| Certificate { days_left, verified });
        let body = read_body(&mut response, endpoint.expect_text.as_deref()).await;
        let outcome = match (status_fits(endpoint.expect_status, status), body) {
            (false, _) => Outcome::down(format!("HTTP status {status}")),
            (true, Err(error)) => Outcome::down(format!("the answer broke off: {}", words(&error))),
            (true, Ok(false)) => Outcome::down("the answer does not hold the expected text"),
            (true, Ok(true)) => Outcome::up(begin.elapsed()),
        };
        Outcome { certificate, latency: Some(begin.elapsed()), ..outcome }
    }

    /// A certificate that clients refuse still says how long it lasts.
    async fn http_down(&self, endpoint: &Endpoint, url: &reqwest::Url, error: &reqwest::Error) -> Outcome {
        let down = Outcome::down(words(error));
        if url.scheme() != "https" || !error.is_connect() {
            return down;
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return down };
        let looked = self.ask_tls(&Endpoint { insecure: true, ..endpoint.clone() }, host, port).await;
        Outcome { certificate: looked.certificate, ..down }
    }

    async fn ask_tls(&self, endpoint: &Endpoint, host: &str, port: u16) -> Outcome {
        let begin = Instant::now();
        let stream = match connect(host, port).await {
            Ok(stream) => stream,
            Err(outcome) => return outcome,
        };
        match tls::look(&self.roots, host, stream, self.clock.now()).await {
            Err(reason) => Outcome::down(reason),
            Ok(seen) => {
                let certificate =
                    Some(Certificate { days_left: seen.days_left, verified: Some(seen.refused.is_none()) });
                let latency = Some(begin.elapsed());
                match seen.refused.filter(|_| !endpoint.insecure) {
                    Some(reason) => Outcome { certificate, latency, ..Outcome::down(reason) },
                    None => Outcome { certificate, ..Outcome::up(begin.elapsed()) },
                }
            }
        }
    }
}

async fn ask_tcp(host: &str, port: u16) -> Outcome {
    let begin = Instant::now();
    match connect(host, port).await {
        Ok(_stream) => Outcome::up(begin.elapsed()),
        Err(outcome) => outcome,
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Outcome> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    TcpStream::connect((host, port)).await.map_err(|error| {
        let text = error.to_string();
        // The resolver's words are long; the kernel's are to the point.
        Outcome::down(if text.contains("lookup") { "the name does not resolve".to_owned() } else { text })
    })
}

fn status_fits(expected: Option<u16>, status: u16) -> bool {
    expected.map_or_else(|| (200..400).contains(&status), |expected| expected == status)
}

/// Reads the answer to its end or the limit; whether it holds the text.
async fn read_body(response: &mut reqwest::Response, text: Option<&str>) -> Result<bool, reqwest::Error> {
    let mut body = Vec::new();
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len();
        if text.is_some() {
            body.extend_from_slice(&chunk);
        }
        if bytes >= BODY_BYTES_MAX {
            break;
        }
    }
    let Some(text) = text else { return Ok(true) };
    body.truncate(BODY_BYTES_MAX);
    Ok(String::from_utf8_lossy(&body).contains(text))
}

/// What went wrong, without the URL: the innermost error says it best.
fn words(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    if std::ptr::addr_eq(inner, error) { "no answer".to_owned() } else { inner.to_string() }
}

/// One endpoint over time: what it was, so that a change is told.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) endpoint: Endpoint,
    pub(crate) target: Target,
    pub(crate) name: String,
    was: Option<bool>,
    told_unknown: bool,
}

impl Watched {
    /// The endpoint's configuration has been checked.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Watched, TargetError> {
        let target = Target::parse(&endpoint.url)?;
        let name = endpoint.name.clone().unwrap_or_else(|| target.name());
        Ok(Watched { endpoint: endpoint.clone(), target, name, was: None, told_unknown: false })
    }

    /// The samples of an outcome, and a log record if it is another than before.
    pub(crate) fn take(&mut self, outcome: &Outcome, now: Timestamp, host: &str) -> (Batch, Option<Batch>) {
        let url = self.target.shown();
        let pairs = [("url", url.as_str()), ("kind", self.target.kind())];
        let mut samples = Samples::new(now, host, &self.name);
        if let Some(available) = outcome.available {
            samples.push("probe.availability", f64::from(u8::from(available)), &pairs);
        }
        if let Some(latency) = outcome.latency {
            samples.push("probe.latency_ms", latency.as_secs_f64() * 1_000.0, &pairs);
        }
        if let Some(certificate) = outcome.certificate {
            samples.push("probe.tls.days_left", certificate.days_left, &pairs);
            let verified = certificate.verified.map(|verified| f64::from(u8::from(verified)));
            verified.into_iter().for_each(|verified| samples.push("probe.tls.verified", verified, &pairs));
        }
        (samples.finish(), self.change(outcome, now, host))
    }

    fn change(&mut self, outcome: &Outcome, now: Timestamp, host: &str) -> Option<Batch> {
        let Some(available) = outcome.available else {
            let is_news = !std::mem::replace(&mut self.told_unknown, true);
            return is_news.then(|| self.record(outcome, now, host, Level::Warn, "cannot be probed"));
        };
        let before = self.was.replace(available);
        match (before, available) {
            (None | Some(true), false) => {
                Some(self.record(outcome, now, host, Level::Error, "is not available"))
            }
            (Some(false), true) => Some(self.record(outcome, now, host, Level::Info, "is available again")),
            (None | Some(true), true) | (Some(false), false) => None,
        }
    }

    fn record(&self, outcome: &Outcome, now: Timestamp, host: &str, level: Level, what: &str) -> Batch {
        let reason = outcome.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let mut builder = BatchBuilder::new(Dataset::Logs, now);
        builder.set_int(logs::TIMESTAMP, now.0);
        builder.set_level(level);
        builder.set_text(logs::SERVICE, &self.name);
        builder.set_text(logs::HOST, host);
        builder.set_text(logs::MESSAGE, &format!("endpoint {} {what}{reason}", self.target.shown()));
        let attributes = json!({
            "event": "availability_changed", "url": self.target.shown(), "kind": self.target.kind(),
            "available": outcome.available, "latency_ms": outcome.latency.map(|latency| latency.as_secs_f64() * 1_000.0),
            "tls_days_left": outcome.certificate.map(|certificate| certificate.days_left),
        });
        builder.set_text(logs::ATTRIBUTES, &attributes.to_string());
        builder.end_row();
        builder.finish()
    }

    /// When the first probe is due: spread over the interval by name, so that endpoints are not asked all at once.
    pub(crate) fn first_after(&self) -> Duration {
        let share = f64::from(crc32c::crc32c(self.name.as_bytes())) / f64::from(u32::MAX);
        duration(self.endpoint.interval).min(duration(Period::seconds(5))).mul_f64(share)
    }
}

#[cfg(test)]
mod tests;
