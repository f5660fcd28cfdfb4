//! Frames to the server's HTTP door, or to a [`Home`] in the same process, in order, one at a time, until it has each.
//!
//! Invariants:
//! - a frame's `Idempotency-Key` is the agent's id and the frame's number, its body always the same bytes: a frame whose answer was lost
//!   is sent again and counts once (the server remembers keys for a day, by default);
//! - a frame is left only when the server has it, or says that it never will take it: then it is laid aside and counted;
//! - the token is in no log line and no error.
//!
//! What never gets better by itself (no such tenant, a wrong token) is tried again too: a person may cure it, and the buffer holds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use heimdall_journal::{JournalError, Reader};
use heimdall_model::{Clock, Dataset};
use reqwest::{StatusCode, header};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::buffer::{Buffer, BufferError, Stored, stored};
use crate::config::{ShipConfig, duration};
use crate::status::Counters;

/// First wait after a failure; doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(500);
/// Most that `Retry-After` is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why there is no sender.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShipError {
    /// The HTTP client does not start.
    #[error("server: {0}")]
    Client(#[from] reqwest::Error),
    /// The token cannot be read, or is none.
    #[error("`server.token_file`: {reason}")]
    Token {
        /// Why.
        reason: String,
    },
}

/// Where frames go when there is no network between: the intake of a server in the same process.
pub trait Home: Send + Sync {
    /// Takes a frame; asked again with the same one after [`Away::Later`].
    fn take(&self, frame: HomeFrame) -> BoxFuture<'_, Result<Shipped, Away>>;
}

/// A frame on its way home.
#[derive(Debug, Clone)]
pub struct HomeFrame {
    /// Of which dataset its records are.
    pub dataset: Dataset,
    /// Its idempotency key.
    pub key: String,
    /// NDJSON, packed with zstd.
    pub body: Bytes,
}

/// What became of a frame that was taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shipped {
    /// Records that were refused.
    pub rejected: u64,
    /// Records that were there before.
    pub deduplicated: u64,
}

/// Why a frame was not taken.
#[derive(Debug, Clone)]
pub enum Away {
    /// It will never be.
    Never(String),
    /// It may be, after so long where that is known.
    Later(String, Option<Duration>),
}

/// How frames get there.
enum Way {
    Home(Arc<dyn Home>),
    Server { http: reqwest::Client, base: String, token: Option<header::HeaderValue> },
}

/// Sends what the buffer holds.
pub(crate) struct Shipper {
    way: Way,
    config: ShipConfig,
    buffer: Arc<Buffer>,
    reader: Option<Reader>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

/// What became of one request.
#[derive(Debug, PartialEq)]
enum Answer {
    Taken(Receipt),
    /// Never: with the reason.
    Refused(String),
    /// Not now: with the reason, and when to try again if the server said so.
    Later {
        reason: String,
        after: Option<Duration>,
    },
    /// The token or tenant is not good.
    Denied(String),
}

/// What of a receipt is counted.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Receipt {
    accepted: u64,
    deduplicated: u64,
    rejected_total: u64,
}

impl Shipper {
    pub(crate) fn home(
        home: Arc<dyn Home>,
        buffer: Arc<Buffer>,
        reader: Reader,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Shipper {
        let (way, config) = (Way::Home(home), ShipConfig::default());
        Shipper { way, config, buffer, reader: Some(reader), clock, counters }
    }

    pub(crate) fn new(
        config: &ShipConfig,
        url: &str,
        buffer: Arc<Buffer>,
        reader: Reader,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Result<Shipper, ShipError> {
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(duration(config.timeout))
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1);
        // The system's roots are a few MB of memory that a plain connection does not need.
        let is_plain = url.starts_with("http://");
        let http = if is_plain { builder.tls_certs_only([]) } else { builder }.build()?;
        let token = token(config)?;
        let base = url.trim_end_matches('/').to_owned();
        let way = Way::Server { http, base, token };
        Ok(Shipper { way, config: config.clone(), buffer, reader: Some(reader), clock, counters })
    }

    /// Sends until told to stop; then once more what is there, while the server takes it at the first try and `grace` lasts.
    pub(crate) async fn run(
        mut self,
        shutdown: CancellationToken,
        grace: Duration,
    ) -> Result<(), BufferError> {
        let gone = CancellationToken::new();
        let ended = async {
            shutdown.cancelled().await;
            tokio::time::sleep(grace).await;
            gone.cancel();
        };
        let sending = self.send_all(&shutdown, &gone);
        tokio::pin!(ended, sending);
        tokio::select! {
            outcome = &mut sending => outcome,
            () = &mut ended => sending.await,
        }
    }

    async fn send_all(
        &mut self,
        shutdown: &CancellationToken,
        gone: &CancellationToken,
    ) -> Result<(), BufferError> {
        while !gone.is_cancelled() {
            let Some(frame) = self.next().await? else {
                tokio::select! {
                    () = self.buffer.news() => continue,
                    () = shutdown.cancelled() => return Ok(()),
                }
            };
            if !self.deliver(&frame, shutdown).await {
                return Ok(());
            }
            self.release(frame.seq).await?;
        }
        Ok(())
    }

    /// The next frame, if there is one.
    async fn next(&mut self) -> Result<Option<Stored>, BufferError> {
        let Some(mut reader) = self.reader.take() else { return Ok(None) };
        let (reader, frame) = blocking(move || {
            let frame = reader.next(Duration::ZERO);
            (reader, frame)
        })
        .await;
        self.reader = Some(reader);
        match frame {
            Ok(Some(frame)) => Ok(Some(stored(&frame))),
            Ok(None) | Err(JournalError::Closed) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn release(&self, seq: u64) -> Result<(), BufferError> {
        let (buffer, is_last) = (Arc::clone(&self.buffer), self.buffer.newest() == seq);
        blocking(move || buffer.release(seq, is_last)).await
    }

    /// Sends one frame until the server has it or refuses it. `false`: told to stop before.
    async fn deliver(&mut self, frame: &Stored, shutdown: &CancellationToken) -> bool {
        let mut tries = 0_u32;
        loop {
            let answer = self.ask(frame).await;
            let wait = match answer {
                Answer::Taken(receipt) => {
                    self.counters.shipped(
                        u64::from(frame.rows),
                        receipt.rejected_total,
                        receipt.deduplicated,
                    );
                    return true;
                }
                Answer::Refused(reason) => {
                    self.refuse(frame, &reason).await;
                    return true;
                }
                Answer::Later { reason, after } => {
                    self.counters.ship_failed(&reason);
                    after.unwrap_or_else(|| self.backoff(tries))
                }
                Answer::Denied(reason) => {
                    self.counters.ship_failed(&reason);
                    self.read_token_again();
                    self.backoff(tries)
                }
            };
            tries = tries.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return false,
            }
        }
    }

    fn read_token_again(&mut self) {
        let Way::Server { token: held, .. } = &mut self.way else { return };
        match token(&self.config) {
            Ok(read) => *held = read,
            Err(error) => tracing::warn!(%error, "the token cannot be read again"),
        }
    }

    async fn ask(&self, frame: &Stored) -> Answer {
        match &self.way {
            Way::Home(home) => {
                let key = format!("{}-{}", self.buffer.agent_id(), frame.seq);
                let taken = home.take(HomeFrame { dataset: frame.dataset, key, body: frame.body.clone() });
                match taken.await {
                    Ok(Shipped { rejected: rejected_total, deduplicated }) => {
                        Answer::Taken(Receipt { accepted: 0, deduplicated, rejected_total })
                    }
                    Err(Away::Never(reason)) => Answer::Refused(reason),
                    Err(Away::Later(reason, after)) => Answer::Later { reason, after },
                }
            }
            Way::Server { http, base, token } => self.ask_server(http, base, token.as_ref(), frame).await,
        }
    }

    async fn ask_server(
        &self,
        http: &reqwest::Client,
        base: &str,
        token: Option<&header::HeaderValue>,
        frame: &Stored,
    ) -> Answer {
        let url = format!("{base}/api/v1/ingest/{}", frame.dataset);
        let mut request = http
            .post(url)
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header(header::CONTENT_ENCODING, "zstd")
            .header("Idempotency-Key", format!("{}-{}", self.buffer.agent_id(), frame.seq))
            .body(frame.body.clone());
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token.clone());
        }
        if let Some(tenant) = &self.config.tenant {
            request = request.header("X-Scope-OrgID", tenant.as_str());
        }
        match request.send().await {
            Ok(response) => read_answer(response).await,
            Err(error) => Answer::Later { reason: no_answer(&error).to_owned(), after: None },
        }
    }

    async fn refuse(&self, frame: &Stored, reason: &str) {
        let (buffer, aside) = (Arc::clone(&self.buffer), frame.clone());
        let laid = blocking(move || buffer.set_aside(&aside)).await;
        let kept = laid.unwrap_or_else(|error| {
            tracing::error!(%error, "a refused frame could not be laid aside");
            false
        });
        self.counters.refused(u64::from(frame.rows), kept);
        tracing::error!(
            frame = frame.seq,
            rows = frame.rows,
            reason,
            kept,
            "the server refuses records for good"
        );
    }

    /// `RETRY_MIN` doubled for each try, half of it by chance, so that a thousand agents do not come back at once.
    fn backoff(&self, tries: u32) -> Duration {
        let full = RETRY_MIN.saturating_mul(1 << tries.min(16)).min(duration(self.config.retry_max));
        let seed = self.buffer.agent_id().as_u64_pair().1 ^ self.clock.now().0.unsigned_abs();
        full.mul_f64(0.5 + 0.5 * chance(seed))
    }
}

/// A number in [0, 1) from a seed (splitmix64).
fn chance(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let x = ((z ^ (z >> 31)) >> 11) as f64;
    x / (1_u64 << 53) as f64
}

async fn read_answer(mut response: reqwest::Response) -> Answer {
    let status = response.status();
    let after = retry_after(&response);
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
            Ok(_) => break,
            // The status alone does not say that the whole answer was meant: ask again, it counts once.
            Err(error) => return Answer::Later { reason: no_answer(&error).to_owned(), after: None },
        }
    }
    judge_answer(status, after, &body)
}

fn judge_answer(status: StatusCode, after: Option<Duration>, body: &[u8]) -> Answer {
    let receipt = || serde_json::from_slice::<Receipt>(body).ok();
    let code = || code_of(status, body);
    match status.as_u16() {
        200..=299 => match receipt()
            .filter(|receipt| receipt.accepted + receipt.deduplicated + receipt.rejected_total > 0)
        {
            Some(receipt) => Answer::Taken(receipt),
            None => Answer::Later {
                reason: "the answer is no receipt: is it a Heimdall server?".to_owned(),
                after,
            },
        },
        401 | 403 => Answer::Denied(code()),
        400 | 413 | 415 | 422 => Answer::Refused(code()),
        _ => Answer::Later { reason: code(), after },
    }
}

/// The status and the code of a problem document, which are fit for a log; the detail may quote records.
fn code_of(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        code: String,
    }
    let code = serde_json::from_slice::<Problem>(body).map(|problem| problem.code).unwrap_or_default();
    let code: String = code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
    format!("HTTP {} {code}", status.as_u16()).trim_end().to_owned()
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// What kept the answer away, without the URL (which may hold a password).
fn no_answer(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    }
}

fn token(config: &ShipConfig) -> Result<Option<header::HeaderValue>, ShipError> {
    let text = match (&config.token, &config.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(file)) => std::fs::read_to_string(file)
            .map_err(|error| ShipError::Token { reason: format!("`{}`: {error}", file.display()) })?,
        (None, None) => return Ok(None),
    };
    let mut value = header::HeaderValue::try_from(format!("Bearer {}", text.trim()))
        .map_err(|_| ShipError::Token { reason: "holds no token".to_owned() })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: &Answer) {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(judge_answer(status, None, body.as_bytes()), *expected, "{status} {body}");
    }

    #[test]
    fn answers_mean_taken_later_denied_or_never() {
        let later = |reason: &str| Answer::Later { reason: reason.to_owned(), after: None };
        let taken = Receipt { accepted: 3, deduplicated: 0, rejected_total: 1 };
        check(200, r#"{"accepted":3,"rejected_total":1,"receipt":"x"}"#, &Answer::Taken(taken));
        check(200, "<html>a proxy</html>", &later("the answer is no receipt: is it a Heimdall server?"));
        check(503, r#"{"code":"journal_full","detail":"secret"}"#, &later("HTTP 503 journal_full"));
        check(404, "", &later("HTTP 404"));
        check(302, "", &later("HTTP 302"));
        check(401, r#"{"code":"unauthorized"}"#, &Answer::Denied("HTTP 401 unauthorized".to_owned()));
        check(400, r#"{"code":"all_rejected"}"#, &Answer::Refused("HTTP 400 all_rejected".to_owned()));
    }
}
