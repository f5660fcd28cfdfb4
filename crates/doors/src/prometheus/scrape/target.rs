//! One target: asking it once, and its answer as records.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use heimdall_ingest::arrive::{Announced, ArriveError, BodyLimits, arrive};
use heimdall_ingest::{BodyError, Caller, Decoded, Permit, Reading, Records, RejectKind};
use heimdall_model::{Dataset, Timestamp};
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{StatusCode, Url};

use super::DOOR;
use super::config::ScrapeConfig;
use super::parse::{Format, Label, Samples};
use crate::Shared;
use crate::prometheus::series::{self, SeriesWriter};

/// What is understood, best first.
const ACCEPTED: &str =
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// Bytes of a file with a secret.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Why a scrape failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrapeError {
    #[error("the file with its secret `{path}` could not be read: {detail}")]
    Secret { path: String, detail: String },
    #[error("it could not be reached: {0}")]
    Unreachable(String),
    #[error("it did not answer within {0:?}")]
    Timeout(Duration),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("it answered with `{0}`, which is no exposition of metrics")]
    ContentType(String),
    #[error(transparent)]
    Arrive(#[from] ArriveError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("it has more than {0} samples")]
    TooManySamples(u64),
    #[error("its answer does not end in `# EOF`: part of it is missing")]
    NoEnd,
    #[error("none of its lines can be read; the first {0}")]
    Unreadable(String),
}

impl ScrapeError {
    /// Whether it says nothing of the target: we had no room for its answer.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, ScrapeError::Arrive(ArriveError::Refused(_)))
    }

    /// The label of `scrape_failures_total`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            ScrapeError::Secret { .. } => "secret",
            ScrapeError::Unreachable(_) => "unreachable",
            ScrapeError::Timeout(_) | ScrapeError::Arrive(ArriveError::TooSlow) => "timeout",
            ScrapeError::Status(_) => "status",
            ScrapeError::ContentType(_) => "content_type",
            ScrapeError::Arrive(ArriveError::TooLarge { .. } | ArriveError::Compression(_)) => "body",
            ScrapeError::Arrive(ArriveError::Refused(_)) => "busy",
            ScrapeError::Arrive(_) => "broken_off",
            ScrapeError::Body(_) | ScrapeError::TooManySamples(_) => "too_many_samples",
            ScrapeError::NoEnd | ScrapeError::Unreadable(_) => "unreadable",
        }
    }
}

/// A target with the labels its samples get, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) labels: Vec<(String, String)>,
}

impl Target {
    /// Reads a target: `host:port` or a whole address.
    pub(super) fn new<'a>(
        job: &'a ScrapeConfig,
        address: &str,
        more: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Target, String> {
        let whole = if address.contains("://") {
            address.to_owned()
        } else if address.is_empty() || address.contains('/') {
            return Err(format!("target `{address}` is neither `host:port` nor a whole address"));
        } else {
            format!("{}://{address}{}", job.scheme.as_str(), job.path)
        };
        let mut url = Url::parse(&whole).map_err(|error| format!("target `{address}`: {error}"))?;
        let port = url.port_or_known_default().filter(|_| ["http", "https"].contains(&url.scheme()));
        let (Some(host), Some(port)) = (url.host_str(), port) else {
            return Err(format!("target `{address}` is no address for HTTP"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("target `{address}`: name and password belong into `basic_auth`"));
        }
        let instance = format!("{host}:{port}");
        if !job.params.is_empty() {
            url.query_pairs_mut().extend_pairs(&job.params);
        }
        let mut labels = vec![("job".to_owned(), job.job.clone()), ("instance".to_owned(), instance)];
        let given = job.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in given.chain(more) {
            labels.retain(|(taken, _)| taken != name);
            labels.push((name.to_owned(), value.to_owned()));
        }
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_unstable();
        Ok(Target { url, labels })
    }

    /// Its name in receipts.
    pub(super) fn shipper(&self) -> String {
        let label = |name: &str| self.labels.iter().find(|(of, _)| of == name).map_or("", |(_, value)| value);
        format!("{}/{}", label("job"), label("instance"))
    }
}

/// The last time that each series of a target stated itself, by hash. Some targets, such as collectd, show a sample until they
/// have the next one: shown again it is not taken again.
pub(super) type Stated = HashMap<u64, Timestamp>;

/// An answer as records, with the room it takes.
pub(super) struct Answer {
    pub(super) decoded: Decoded,
    pub(super) samples: u64,
    pub(super) stated: Stated,
    pub(super) bytes: u64,
    pub(super) permit: Permit,
}

/// Asks a target once.
pub(super) async fn ask(
    shared: &Shared,
    caller: &Caller,
    client: &reqwest::Client,
    job: &ScrapeConfig,
    target: &Target,
    stated: &Arc<Stated>,
    time: Timestamp,
) -> Result<Answer, ScrapeError> {
    let timeout = job.timeout();
    let seconds = timeout.as_secs_f64().to_string();
    let request = client
        .get(target.url.clone())
        .header(ACCEPT, ACCEPTED)
        .header("Accept-Encoding", "gzip")
        .header("X-Prometheus-Scrape-Timeout-Seconds", seconds);
    let request = with_secret(request, job).await?;
    let response = request.send().await.map_err(|error| failed(&error, timeout))?;
    if !response.status().is_success() {
        return Err(ScrapeError::Status(response.status()));
    }
    let format = format(response.headers())?;
    let encoding =
        response.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?").to_owned());
    let announced = Announced { length: response.content_length(), encoding: encoding.as_deref() };
    let limits = BodyLimits { bytes_max: job.body_bytes_max.0, idle: timeout, total: timeout };
    let mut unpacked = shared.limits.compression.clone();
    unpacked.decompressed_bytes_max = unpacked.decompressed_bytes_max.min(job.body_bytes_max.usize());
    let pieces = response.bytes_stream();
    let arrived = arrive(&shared.intake, caller, announced, pieces, &limits, &unpacked).await?;
    let bytes = arrived.body.len() as u64;
    let (job, target, stated) = (job.clone(), target.clone(), Arc::clone(stated));
    let decoded = shared.decode_from(caller, DOOR, arrived.body, move |body, reading| {
        decode(body, format, &Scrape { job: &job, target: &target, stated: &stated, time }, reading)
    });
    let (decoded, samples, stated) = decoded.await?;
    Ok(Answer { decoded, samples, stated, bytes, permit: arrived.permit })
}

async fn with_secret(
    request: reqwest::RequestBuilder,
    job: &ScrapeConfig,
) -> Result<reqwest::RequestBuilder, ScrapeError> {
    Ok(match (&job.bearer_token_file, &job.basic_auth) {
        (Some(path), _) => request.bearer_auth(secret(path).await?),
        (None, Some(auth)) => request.basic_auth(&auth.username, Some(secret(&auth.password_file).await?)),
        (None, None) => request,
    })
}

async fn secret(path: &std::path::Path) -> Result<String, ScrapeError> {
    use tokio::io::AsyncReadExt as _;
    let failed = |error: std::io::Error| ScrapeError::Secret {
        path: path.display().to_string(),
        detail: error.to_string(),
    };
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text).await.map_err(failed)?;
    Ok(text.trim().to_owned())
}

fn failed(error: &reqwest::Error, timeout: Duration) -> ScrapeError {
    if error.is_timeout() {
        return ScrapeError::Timeout(timeout);
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    ScrapeError::Unreachable(cause.to_string())
}

/// The form of an answer by its content type; without one it is the older form.
fn format(headers: &HeaderMap) -> Result<Format, ScrapeError> {
    let text = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/openmetrics-text" => Ok(Format::OpenMetrics),
        "" | "text/plain" | "application/octet-stream" => Ok(Format::Prometheus),
        _ => Err(ScrapeError::ContentType(text.chars().take(80).collect())),
    }
}

/// What an answer is read with.
struct Scrape<'a> {
    job: &'a ScrapeConfig,
    target: &'a Target,
    stated: &'a Stated,
    time: Timestamp,
}

/// Whether the scrape before had the same to say of a sample: a target says it again at every scrape, and its letters would push
/// out all others.
fn told(now_stated: &mut Stated, stated: &Stated, what: (&str, &[u8]), time: Timestamp) -> bool {
    let what = hash(&what);
    now_stated.insert(what, time);
    stated.contains_key(&what)
}

/// What a line begins with.
fn name_in(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|byte| matches!(byte, b'{' | b' ' | b'\t'));
    &line[..end.unwrap_or(line.len())]
}

/// Reads an answer; records, the number of samples it has, and the times they state.
fn decode(
    body: &[u8],
    format: Format,
    scrape: &Scrape<'_>,
    reading: Reading<'_>,
) -> Result<(Decoded, u64, Stated), ScrapeError> {
    let Scrape { job, target, stated, time } = *scrape;
    let mut now_stated = Stated::new();
    let mut records = Records::new(Dataset::Metrics, reading);
    let mut writer = SeriesWriter::default();
    let mut count = 0_u64;
    let mut first_bad = None;
    let mut samples = Samples::of(body, format);
    for sample in samples.by_ref() {
        records.has_room()?;
        let sample = match sample {
            Ok(sample) => sample,
            Err((line, reason)) => {
                first_bad.get_or_insert(reason);
                let is_told = told(&mut now_stated, stated, (reason, name_in(line)), time);
                let raw: &[u8] = if is_told { &[] } else { line };
                records.reject_raw(RejectKind::Syntax, "", format!("line {reason}"), raw);
                continue;
            }
        };
        count += 1;
        if count > job.sample_limit {
            return Err(ScrapeError::TooManySamples(job.sample_limit));
        }
        if sample.has_exemplar {
            records.note(&sample.name, "exemplars are not kept");
        }
        if !sample.value.is_finite() {
            records.note(&sample.name, "is not a finite number: no sample");
            continue;
        }
        let labels = merged(sample.labels, target, job.honor_labels);
        let labels: Vec<series::Label<'_>> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        if let Some(twice) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let is_told = told(&mut now_stated, stated, (twice[0].0, sample.name.as_bytes()), time);
            let raw =
                if is_told { String::new() } else { series::text_of(&sample.name, &labels, sample.value) };
            records.reject_raw(RejectKind::Invalid, twice[0].0, "is a label twice", raw.as_bytes());
            continue;
        }
        if let Some(time) = sample.time {
            let series = hash(&(&sample.name, &labels));
            let last = stated.get(&series).copied();
            now_stated.insert(series, last.map_or(time, |last| last.max(time)));
            if last.is_some_and(|last| time <= last) {
                continue; // taken before
            }
        }
        writer.begin(&sample.name, "", &labels, None);
        let _ = writer.sample(&mut records, sample.time.unwrap_or(time), sample.value); // noted if it was not taken
    }
    if format == Format::OpenMetrics && !samples.is_ended {
        return Err(ScrapeError::NoEnd);
    }
    match first_bad {
        Some(reason) if count == 0 => Err(ScrapeError::Unreadable(reason.to_owned())),
        _ => Ok((records.finish(), count, now_stated)),
    }
}

/// The same for equal values, in this process.
pub(super) fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The labels of a sample and those of its target, in order.
fn merged<'a>(mut labels: Vec<Label<'a>>, target: &'a Target, honor_labels: bool) -> Vec<Label<'a>> {
    labels.retain(|(name, value)| !value.is_empty() && name != series::NAME);
    for (name, value) in &target.labels {
        let is_taken = labels.iter().any(|(own, _)| own == name);
        if is_taken && honor_labels {
            continue;
        }
        if is_taken {
            export(&mut labels, name);
        }
        labels.push((Cow::Borrowed(name), Cow::Borrowed(value)));
    }
    labels.sort_unstable();
    labels
}

/// Renames the label of a sample that a label of its target has taken the name of.
fn export(labels: &mut [Label<'_>], name: &str) {
    let mut exported = format!("exported_{name}");
    while labels.iter().any(|(own, _)| *own == exported) {
        exported.insert_str(0, "exported_");
    }
    if let Some((own, _)) = labels.iter_mut().find(|(own, _)| own == name) {
        *own = Cow::Owned(exported);
    }
}

/// What is said of the scrape itself, whatever came of it.
pub(super) fn report(
    records: &mut Records<'_>,
    target: &Target,
    time: Timestamp,
    took: Duration,
    samples: Option<u64>,
) {
    let labels: Vec<series::Label<'_>> =
        target.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut writer = SeriesWriter::default();
    let up = if samples.is_some() { 1.0 } else { 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "the limit of samples is far below 2^53")]
    let scraped = samples.unwrap_or(0) as f64;
    for (name, value) in
        [("up", up), ("scrape_duration_seconds", took.as_secs_f64()), ("scrape_samples_scraped", scraped)]
    {
        writer.begin(name, "", &labels, None);
        let _ = writer.sample(records, time, value); // noted if it was not taken
    }
}

#[cfg(test)]
mod tests {
    use heimdall_ingest::DecodeLimits;
    use heimdall_model::schema::metrics;
    use heimdall_testkit::mutants::{Seeds, fuzz};

    use super::*;
    use crate::testing::check_batch;

    fn job() -> ScrapeConfig {
        let labels = [("zone".to_owned(), "z".to_owned())].into();
        ScrapeConfig { job: "node".into(), labels, ..ScrapeConfig::default() }
    }

    fn decoded(text: &str, job: &ScrapeConfig) -> Result<(Decoded, u64), ScrapeError> {
        let limits = DecodeLimits::default();
        let target = Target::new(job, "a:1", std::iter::empty()).expect("a target");
        let reading = Reading::new(Timestamp(5), &limits);
        let scrape = Scrape { job, target: &target, stated: &Stated::new(), time: Timestamp(7) };
        let (decoded, samples, _) = decode(text.as_bytes(), Format::Prometheus, &scrape, reading)?;
        Ok((decoded, samples))
    }

    #[test]
    fn a_sample_that_is_shown_again_is_not_taken_again() {
        let (job, limits) = (job(), DecodeLimits::default());
        let target = Target::new(&job, "a:1", std::iter::empty()).expect("a target");
        let mut stated = Stated::new();
        let mut rows = |text: &str| {
            let scrape = Scrape { job: &job, target: &target, stated: &stated, time: Timestamp(7) };
            let reading = Reading::new(Timestamp(5), &limits);
            let read = decode(text.as_bytes(), Format::Prometheus, &scrape, reading);
            let (decoded, samples, now_stated) = read.expect("an answer");
            stated = now_stated;
            (samples, decoded.batch.rows())
        };
        assert_eq!(rows("a 1 10\na{x=\"1\"} 1 10\nb 1\n"), (3, 3));
        assert_eq!(rows("a 1 10\na{x=\"1\"} 1 11\nb 1\n"), (3, 2));
        assert_eq!(rows("a 1 9\na{x=\"1\"} 1 11\n"), (2, 0));
        assert_eq!(rows("a 1 11\n"), (1, 1));
    }

    #[test]
    fn targets_are_addresses() {
        let mut job = job();
        job.params = [("match[]".to_owned(), "up".to_owned())].into();
        let target = |address: &str| {
            let target = Target::new(&job, address, [("zone", "other"), ("a", "1")].into_iter())?;
            Ok::<_, String>((target.url.to_string(), target.labels))
        };
        let (url, labels) = target("a:9100").expect("a target");
        assert_eq!(url, "http://a:9100/metrics?match%5B%5D=up");
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(labels, ["a=1", "instance=a:9100", "job=node", "zone=other"]);
        assert_eq!(target("https://b/x").expect("a target").0, "https://b/x?match%5B%5D=up");
        for bad in ["ftp://a/x", "http://me:pw@a/x", "a:port", ""] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_cannot_take_the_labels_of_its_job() {
        let text = "x{job=\"mine\",instance=\"i\",exported_job=\"e\",b=\"\"} 1 42\n";
        let (batch, samples) = decoded(text, &job()).expect("an answer");
        let row = batch.batch.row(0);
        assert_eq!((samples, row.service(), row.timestamp()), (1, Some("node"), Timestamp(42_000_000)));
        assert_eq!(
            row.attributes(),
            Some(
                r#"{"exported_exported_job":"mine","exported_instance":"i","exported_job":"e","instance":"a:1","zone":"z"}"#
            )
        );
        let honored = ScrapeConfig { honor_labels: true, ..job() };
        let (batch, _) = decoded(text, &honored).expect("an answer");
        assert_eq!(batch.batch.row(0).service(), Some("mine"));
        assert_eq!(
            batch.batch.row(0).attributes(),
            Some(r#"{"exported_job":"e","instance":"i","zone":"z"}"#)
        );
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        let text = "a NaN\nb{x=\"1\",x=\"2\"} 1\nc 1\nd one\n";
        let (outcome, samples) = decoded(text, &job()).expect("an answer");
        assert_eq!((samples, outcome.batch.rows(), outcome.coerced_total), (3, 1, 1));
        let reasons: Vec<_> = outcome.rejected.iter().map(|rejected| &*rejected.reason).collect();
        assert_eq!(reasons, ["is a label twice", "line has a value that is no number"]);
        assert_eq!(outcome.batch.row(0).timestamp(), Timestamp(7));
        assert_eq!(outcome.batch.row(0).float(metrics::VALUE), Some(1.0));
        let error = |text, job: &ScrapeConfig| decoded(text, job).map(|_| ()).unwrap_err().to_string();
        let few = ScrapeConfig { sample_limit: 1, ..job() };
        assert_eq!(error("a 1\nb 1\n", &few), "it has more than 1 samples");
        assert_eq!(
            error("<html>\n<body>\n", &job()),
            "none of its lines can be read; the first has a value that is no number"
        );
        let limits = DecodeLimits::default();
        let target = Target::new(&job(), "a:1", std::iter::empty()).expect("a target");
        let reading = Reading::new(Timestamp(5), &limits);
        let job = job();
        let scrape = Scrape { job: &job, target: &target, stated: &Stated::new(), time: Timestamp(7) };
        assert!(matches!(decode(b"a 1\n", Format::OpenMetrics, &scrape, reading), Err(ScrapeError::NoEnd)));
    }

    #[test]
    fn mutants_of_expositions_are_refused_or_read() {
        let seeds = Seeds::text([
            "# HELP a b \\n c\n# TYPE http_requests_total counter\nhttp_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\nplain 12.47\nescaped{path=\"C:\\\\DIR\\\"x\\n\"} 1.458255915e9\nnone NaN\nmore +Inf -3982045\n",
            "# TYPE foo_seconds summary\n# UNIT foo_seconds seconds\nfoo_seconds{quantile=\"0.5\"} 1.0 1520879607.789\n{\"my.utf8\",\"a b\"=\"c\"} 5 # {trace_id=\"x\"} 0.67 1520879607.789\nfoo_seconds_count 17 123\n# EOF\n",
            "h_bucket{le=\"0.1\"} 0\nh_bucket{le=\"+Inf\"} 3\nh_sum 2\nh_count 3\n",
        ]);
        let (job, limits) = (job(), DecodeLimits::default());
        let target = Target::new(&job, "a:1", std::iter::empty()).expect("a target");
        fuzz(&seeds, |mutant, _| {
            for format in [Format::Prometheus, Format::OpenMetrics] {
                let scrape =
                    Scrape { job: &job, target: &target, stated: &Stated::new(), time: Timestamp(7) };
                if let Ok((decoded, samples, stated)) =
                    decode(mutant, format, &scrape, Reading::new(Timestamp(5), &limits))
                {
                    check_batch(&decoded, mutant.len());
                    assert!(samples <= mutant.len() as u64 && stated.len() <= mutant.len());
                }
            }
        });
    }
}
