//! How the server itself fares: what it answered and how fast, by minute, kept over restarts.
//!
//! What is measured: every answer of a route that is no probe (`/livez`, `/readyz`, `/health`, `/metrics`) and no page. One with
//! status 5xx is an error. A query is an answer of `/api/v1/query` that is 2xx or 5xx; its time runs from the head of the request to
//! the end of the answer, and one that ends in 5xx counts as slow whatever its time. Queries that their client gave up count as
//! nothing.
//!
//! Invariants:
//! - memory is bounded: [`MINUTES_MAX`] minutes with their histograms, [`HOURS_MAX`] hours with four numbers;
//! - what is kept is at most [`KEEP_EVERY`] old: a crash loses no more;
//! - a minute in which the server did not run is absent, not zero.
//!
//! Not here: the documents (see `routes/vitals.rs`), where they are kept (see [`crate::Machine`]).

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use heimdall_model::Timestamp;
use heimdall_model::time::{NS_PER_HOUR, NS_PER_MINUTE};
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::AppState;
use crate::desk::Saturation;
use crate::routes::blocking;

/// A query that takes longer is slow.
pub(crate) const SLOW: Duration = Duration::from_millis(200);
/// Minutes kept with their histograms: a day and an hour.
pub(crate) const MINUTES_MAX: usize = 25 * 60;
/// Hours kept with their sums: four weeks and an hour.
pub(crate) const HOURS_MAX: usize = 28 * 24 + 1;
/// Time between looks at the machine.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Time between two times that the vitals are written.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// Upper bound of the first bucket of durations, ms; each is a quarter larger than the one before.
const FIRST_BUCKET_MS: f64 = 0.25;
const BUCKET_GROWTH: f64 = 1.25;
/// Buckets: up to about four minutes.
const BUCKETS: usize = 64;

/// Routes that say how the server is, and pages.
const NOT_MEASURED: [&str; 6] = ["/", "/health", "/livez", "/readyz", "/metrics", "/openapi.json"];
/// The route whose answers are queries.
const QUERY_ROUTE: &str = "/api/v1/query";

/// One minute, or the sum of several.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Minute {
    /// Its number since the Unix epoch.
    at: i64,
    /// Answers.
    pub(crate) requests: u64,
    /// Of them, with status 5xx.
    pub(crate) errors: u64,
    /// Answers to queries.
    pub(crate) queries: u64,
    /// Of them, slow or failed.
    pub(crate) slow: u64,
    /// Records that became findable.
    pub(crate) records: u64,
    /// Durations of queries, by bucket; those without are left out.
    durations: BTreeMap<u8, u32>,
    /// What of the machine was in use at its end.
    pub(crate) saturation: Saturation,
}

impl Minute {
    /// When it began.
    pub(crate) fn time(&self) -> Timestamp {
        Timestamp(self.at.saturating_mul(NS_PER_MINUTE))
    }

    fn add(&mut self, other: &Minute) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.queries += other.queries;
        self.slow += other.slow;
        self.records += other.records;
        for (bucket, count) in &other.durations {
            *self.durations.entry(*bucket).or_default() += count;
        }
    }

    /// The duration, ms, that this share of queries does not exceed; within a bucket they are taken to be spread evenly. None
    /// without queries. Relative error: at most a quarter.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let total: u64 = self.durations.values().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of one day")]
        let mut wanted = share * total as f64;
        for (bucket, count) in &self.durations {
            let count = f64::from(*count);
            if wanted <= count {
                let (low, high) = bounds_ms(*bucket);
                return Some(low + (high - low) * (wanted / count).clamp(0.0, 1.0));
            }
            wanted -= count;
        }
        self.durations.keys().last().map(|bucket| bounds_ms(*bucket).1)
    }
}

fn bounds_ms(bucket: u8) -> (f64, f64) {
    let high = FIRST_BUCKET_MS * BUCKET_GROWTH.powi(i32::from(bucket));
    (if bucket == 0 { 0.0 } else { high / BUCKET_GROWTH }, high)
}

fn bucket_of(took: Duration) -> u8 {
    let ms = took.as_secs_f64() * 1e3;
    let place = (0_u8..).take(BUCKETS - 1).find(|bucket| ms <= bounds_ms(*bucket).1);
    place.unwrap_or(u8::try_from(BUCKETS - 1).unwrap_or(u8::MAX))
}

/// Sums of one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sums {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) queries: u64,
    pub(crate) slow: u64,
    /// Minutes in which the server ran.
    pub(crate) minutes: u64,
}

impl Sums {
    fn add(&mut self, minute: &Minute) {
        self.requests += minute.requests;
        self.errors += minute.errors;
        self.queries += minute.queries;
        self.slow += minute.slow;
        self.minutes += 1;
    }

    fn plus(mut self, other: Sums) -> Sums {
        self.requests += other.requests;
        self.errors += other.errors;
        self.queries += other.queries;
        self.slow += other.slow;
        self.minutes += other.minutes;
        self
    }
}

/// The vitals of one hour, as they are kept.
#[derive(Debug, Serialize, Deserialize)]
struct HourDocument {
    minutes: Vec<Minute>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The last minutes, oldest first; the last one is under way.
    minutes: VecDeque<Minute>,
    /// Hours that are over for good: every minute of them has left `minutes`, or lies in them too.
    hours: BTreeMap<i64, Sums>,
    /// Records of the stream when it was looked at last.
    records_seen: Option<u64>,
    saturation: Saturation,
}

const MINUTES_PER_HOUR: i64 = NS_PER_HOUR / NS_PER_MINUTE;

impl Ring {
    /// The minute under way.
    fn now(&mut self, now: Timestamp) -> &mut Minute {
        let at = now.0.div_euclid(NS_PER_MINUTE);
        // A clock that is set back counts on in the minute it had reached.
        if self.minutes.back().is_none_or(|last| last.at < at) {
            self.close_last();
            self.minutes.push_back(Minute { at, ..Minute::default() });
            if self.minutes.len() > MINUTES_MAX {
                self.minutes.pop_front();
            }
        }
        self.minutes.back_mut().expect("one was just added")
    }

    /// Adds the minute that is over to its hour.
    fn close_last(&mut self) {
        let Some(last) = self.minutes.back() else { return };
        self.hours.entry(last.at.div_euclid(MINUTES_PER_HOUR)).or_default().add(last);
        while self.hours.len() > HOURS_MAX {
            self.hours.pop_first();
        }
    }

    fn hour(&self, hour: i64) -> HourDocument {
        let of_hour = |minute: &&Minute| minute.at.div_euclid(MINUTES_PER_HOUR) == hour;
        HourDocument { minutes: self.minutes.iter().filter(of_hour).cloned().collect() }
    }
}

/// How the server fares; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Vitals {
    ring: Arc<Mutex<Ring>>,
}

impl Vitals {
    /// Nothing measured yet.
    pub(crate) fn new(now: Timestamp) -> Vitals {
        let mut ring = Ring::default();
        ring.now(now);
        Vitals { ring: Arc::new(Mutex::new(ring)) }
    }

    /// Takes over what was kept, oldest first; the minutes measured since then stay. Returns how many documents do not read.
    fn restore(&self, documents: &[String]) -> usize {
        let mut ring = self.ring.lock();
        let since = std::mem::take(&mut ring.minutes);
        ring.hours.clear();
        let first = since.front().map_or(i64::MAX, |minute| minute.at);
        let mut unreadable = 0;
        for document in documents {
            let Ok(hour) = serde_json::from_str::<HourDocument>(document) else {
                unreadable += 1;
                continue;
            };
            for minute in hour.minutes.into_iter().filter(|minute| minute.at <= first) {
                if ring.minutes.back().is_none_or(|last| last.at < minute.at) {
                    ring.close_last();
                    ring.minutes.push_back(minute);
                    if ring.minutes.len() > MINUTES_MAX {
                        ring.minutes.pop_front();
                    }
                }
            }
        }
        for minute in since {
            match ring.minutes.back_mut().filter(|last| last.at == minute.at) {
                Some(last) => last.add(&minute),
                None => {
                    ring.close_last();
                    ring.minutes.push_back(minute);
                }
            }
        }
        unreadable
    }

    /// An answer.
    fn answered(&self, now: Timestamp, status: StatusCode) {
        let mut ring = self.ring.lock();
        let minute = ring.now(now);
        minute.requests += 1;
        minute.errors += u64::from(status.is_server_error());
    }

    /// A query that is answered to its end.
    fn queried(&self, now: Timestamp, took: Duration, is_failed: bool) {
        let mut ring = self.ring.lock();
        let minute = ring.now(now);
        minute.queries += 1;
        minute.slow += u64::from(is_failed || took > SLOW);
        *minute.durations.entry(bucket_of(took)).or_default() += 1;
    }

    /// A look at the stream and the machine.
    fn looked(&self, now: Timestamp, records: u64, saturation: Saturation) {
        let mut ring = self.ring.lock();
        let new = ring.records_seen.replace(records).map_or(0, |seen| records.saturating_sub(seen));
        ring.saturation = saturation;
        let minute = ring.now(now);
        minute.records += new;
        minute.saturation = saturation;
    }

    /// What the last look at the machine showed.
    pub(crate) fn saturation(&self) -> Saturation {
        self.ring.lock().saturation
    }

    /// The sum of the last minutes, the one under way included, and for how many seconds of them the server was measured.
    pub(crate) fn last_minutes(&self, now: Timestamp, count: i64) -> (Minute, f64) {
        let first = now.0.div_euclid(NS_PER_MINUTE) - count + 1;
        let ring = self.ring.lock();
        let mut sum = Minute::default();
        let mut seconds = 0.0;
        for minute in ring.minutes.iter().filter(|minute| minute.at >= first) {
            sum.add(minute);
            #[expect(clippy::cast_precision_loss, reason = "at most a minute")]
            let lasted = now.0.saturating_sub(minute.time().0).clamp(0, NS_PER_MINUTE) as f64;
            seconds += lasted / 1e9;
        }
        (sum, seconds)
    }

    /// The last minutes one by one, oldest first; `None` where the server did not run.
    pub(crate) fn by_minute(&self, now: Timestamp, count: i64) -> Vec<(Timestamp, Option<Minute>)> {
        let last = now.0.div_euclid(NS_PER_MINUTE);
        let ring = self.ring.lock();
        let found: BTreeMap<i64, &Minute> = ring.minutes.iter().map(|minute| (minute.at, minute)).collect();
        let of = |at: i64| (Timestamp(at * NS_PER_MINUTE), found.get(&at).map(|minute| (*minute).clone()));
        (last - count + 1..=last).map(of).collect()
    }

    /// The sums of the last hours, the one under way included: whole hours.
    pub(crate) fn last_hours(&self, now: Timestamp, count: i64) -> Sums {
        let first = now.0.div_euclid(NS_PER_HOUR) - count + 1;
        let ring = self.ring.lock();
        let over = ring.hours.range(first..).map(|(_, sums)| *sums).fold(Sums::default(), Sums::plus);
        let mut all = over;
        if let Some(minute) = ring.minutes.back() {
            all.add(minute);
        }
        all
    }
}

/// Measures every answer; the outermost layer.
pub(crate) async fn measure(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let response = next.run(request).await;
    let Some(route) = route.filter(|route| is_measured(route)) else { return response };
    let status = response.status();
    state.vitals.answered(state.clock.now(), status);
    if route != QUERY_ROUTE || !(status.is_success() || status.is_server_error()) {
        return response;
    }
    let end = End { state, started, is_failed: status.is_server_error(), is_over: false };
    response.map(|body| Body::new(Measured { body, end }))
}

fn is_measured(route: &str) -> bool {
    !NOT_MEASURED.contains(&route) && !route.starts_with("/assets")
}

/// Notes the end of an answer, once.
struct End {
    state: AppState,
    started: Instant,
    is_failed: bool,
    is_over: bool,
}

impl End {
    fn reached(&mut self, is_failed: bool) {
        if !std::mem::replace(&mut self.is_over, true) {
            let now = self.state.clock.now();
            self.state.vitals.queried(now, self.started.elapsed(), self.is_failed || is_failed);
        }
    }
}

/// The body of an answer whose end is noted.
struct Measured {
    body: Body,
    end: End,
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.end.reached(false),
            Poll::Ready(Some(Err(_))) => self.end.reached(true),
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.end.reached(false),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Looks at the machine and keeps the vitals, until `shutdown`; then once more.
pub async fn keep(state: AppState, shutdown: CancellationToken) {
    let machine = Arc::clone(&state.machine);
    match blocking(move || machine.vitals()).await {
        Ok(Ok(documents)) => {
            let unreadable = state.vitals.restore(&documents);
            if unreadable > 0 {
                tracing::warn!(unreadable, "vitals of earlier hours could not be read");
            }
        }
        Ok(Err(error)) => tracing::error!(%error, "the vitals of earlier hours could not be read"),
        Err(_) => {}
    }
    let mut kept = Instant::now();
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        let is_last = tokio::select! {
            () = shutdown.cancelled() => true,
            _ = look.tick() => false,
        };
        let is_due = is_last || kept.elapsed() >= KEEP_EVERY;
        let inner = state.clone();
        let _ = blocking(move || {
            let now = inner.clock.now();
            inner.vitals.looked(now, inner.status.stream().records, inner.machine.saturation());
            if is_due {
                write(&inner, now);
            }
        })
        .await;
        if is_due {
            kept = Instant::now();
        }
        if is_last {
            return;
        }
    }
}

/// Writes the hour under way, and the one before while its last minutes may not be written.
fn write(state: &AppState, now: Timestamp) {
    let hour = now.0.div_euclid(NS_PER_HOUR);
    let is_fresh = now.0.rem_euclid(NS_PER_HOUR) < 5 * NS_PER_MINUTE;
    let hours = if is_fresh { vec![hour - 1, hour] } else { vec![hour] };
    let forget_before = Timestamp((hour - i64::try_from(HOURS_MAX).unwrap_or(i64::MAX)) * NS_PER_HOUR);
    for hour in hours {
        let document = state.vitals.ring.lock().hour(hour);
        if document.minutes.is_empty() {
            continue;
        }
        let json = serde_json::to_string(&document).expect("plain data serialises");
        if let Err(error) = state.machine.keep_vitals(Timestamp(hour * NS_PER_HOUR), &json, forget_before) {
            metrics::counter!("vitals_keep_failures_total").increment(1);
            tracing::warn!(%error, "the vitals could not be kept; it is tried again in a minute");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp(minute * NS_PER_MINUTE + 1)
    }

    #[test]
    fn durations_are_found_again_within_a_quarter() {
        let mut minute = Minute::default();
        for ms in 1..=1_000_u64 {
            *minute.durations.entry(bucket_of(Duration::from_millis(ms))).or_default() += 1;
        }
        for (share, expected) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let found = minute.quantile_ms(share).unwrap();
            assert!((found / expected - 1.0).abs() < 0.25, "{share}: {found}");
        }
        assert_eq!(Minute::default().quantile_ms(0.5), None);
        assert_eq!(usize::from(bucket_of(Duration::from_secs(9_999))), BUCKETS - 1);
        let mut one = Minute::default();
        one.durations.insert(bucket_of(Duration::from_micros(1)), 1);
        assert!(one.quantile_ms(0.99).unwrap() <= FIRST_BUCKET_MS);
    }

    #[test]
    fn minutes_are_summed_and_hours_outlive_them() {
        let vitals = Vitals::new(at(0));
        let last = i64::try_from(MINUTES_MAX).unwrap() + 200;
        for minute in 0..=last {
            vitals.answered(at(minute), StatusCode::OK);
            vitals.answered(at(minute), StatusCode::BAD_GATEWAY);
            vitals.queried(at(minute), Duration::from_millis(if minute % 2 == 0 { 10 } else { 300 }), false);
        }
        let (five, seconds) = vitals.last_minutes(at(last), 5);
        assert_eq!((five.requests, five.errors, five.queries), (10, 5, 5));
        assert!((seconds - 240.0).abs() < 0.001, "{seconds}");
        let day = vitals.last_hours(at(last), 28 * 24);
        let minutes = u64::try_from(last).unwrap() + 1;
        assert_eq!((day.requests, day.errors, day.minutes), (2 * minutes, minutes, minutes));
        assert_eq!(vitals.by_minute(at(last + 2), 3).iter().filter(|(_, found)| found.is_some()).count(), 1);
    }

    #[test]
    fn what_was_kept_goes_on_and_a_gap_stays_one() {
        let vitals = Vitals::new(at(10));
        vitals.answered(at(10), StatusCode::OK);
        vitals.answered(at(11), StatusCode::INTERNAL_SERVER_ERROR);
        let kept = serde_json::to_string(&vitals.ring.lock().hour(0)).unwrap();

        let next = Vitals::new(at(11));
        next.answered(at(11), StatusCode::OK);
        assert_eq!(next.restore(&[kept.clone(), "x".to_owned()]), 1);
        next.answered(at(15), StatusCode::OK);
        let sums = next.last_hours(at(15), 1);
        assert_eq!((sums.requests, sums.errors, sums.minutes), (4, 1, 3));
        let by_minute = next.by_minute(at(15), 6);
        let seen: Vec<_> = by_minute.iter().map(|(_, minute)| minute.as_ref().map(|m| m.requests)).collect();
        assert_eq!(seen, [Some(1), Some(2), None, None, None, Some(1)]);
        next.looked(at(15), 100, Saturation::default());
        next.looked(at(15), 130, Saturation::default());
        assert_eq!(next.last_minutes(at(15), 1).0.records, 30);
    }
}
