//! Uploads of systemd's journal: what `systemd-journal-upload` sends to `systemd-journal-remote`.
//!
//! - [`export`]: the format; [`marks`]: how far each journal has come; [`batch`]: entries on their way in
//!
//! Invariants:
//! - 202 means that every entry of the upload is durable; entries are handed over as they come, and the upload may last for days;
//! - an entry sent again is not written again, whether the sender was cut off, we were, or both;
//! - at most `uploads_max` uploads at once, each within the room of the intake; an entry within them has to go on in time.
//!
//! Not here: reading a journal's files, or the local journal (the agent does). Source: systemd-journal-remote(8).

mod batch;
mod export;
mod marks;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures::StreamExt;
use heimdall_ingest::{Caller, Refused};
use metrics::counter;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::batch::Batch;
use self::export::{Assembler, EntryLimits, ExportError};
use self::marks::Marks;
use crate::Shared;
use crate::config::JournalUploadConfig;
use crate::http::{Failure, Visitor};

/// Name in receipts and metrics.
const DOOR: &str = "journald";
/// The only form of a body.
const CONTENT_TYPE: &str = "application/vnd.fdo.journal";
/// When to come back after there was no seat.
const RETRY_AFTER_SECONDS: u64 = 5;

struct Door {
    shared: Arc<Shared>,
    marks: Marks,
    seats: Semaphore,
    entry_timeout: Duration,
}

/// The paths of this door.
pub(crate) fn routes(shared: Arc<Shared>, config: &JournalUploadConfig) -> Router {
    let door = Door {
        marks: Marks::open(shared.data_dir.join(DOOR), config.journals_max),
        seats: Semaphore::new(config.uploads_max.min(Semaphore::MAX_PERMITS)),
        entry_timeout: Duration::from_nanos(config.entry_timeout.ns().unsigned_abs()),
        shared,
    };
    Router::new()
        .route("/upload", post(upload))
        .route("/insert/journald/upload", post(upload))
        .with_state(Arc::new(door))
}

/// Why an upload ended before its end. What came before is durable.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("an entry is not complete")]
    Incomplete,
    #[error("an entry did not go on in time")]
    TooSlow,
    #[error("the connection ended within the upload")]
    Broken,
    #[error("server is shutting down")]
    Closing,
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the mark of a journal could not be written")]
    Mark(#[source] std::io::Error),
}

impl Cut {
    fn status(&self) -> StatusCode {
        match self {
            Cut::Export(_) | Cut::Incomplete | Cut::Broken => StatusCode::BAD_REQUEST,
            Cut::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Cut::Closing | Cut::Mark(_) | Cut::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Cut::Export(_) => "format",
            Cut::Incomplete => "incomplete",
            Cut::TooSlow => "slow",
            Cut::Broken => "broken",
            Cut::Closing => "closing",
            Cut::Refused(_) => "refused",
            Cut::Mark(_) => "mark",
        }
    }
}

async fn upload(State(door): State<Arc<Door>>, visitor: Visitor, headers: HeaderMap, body: Body) -> Response {
    let caller = match visitor.caller() {
        Ok(caller) => caller,
        Err(failure) => return refused(&failure),
    };
    if let Err(answer) = fits(&headers) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, answer).into_response();
    }
    let Ok(_seat) = door.seats.try_acquire() else {
        counter!("door_connections_refused_total", "door" => DOOR, "reason" => "full").increment(1);
        return retry(StatusCode::SERVICE_UNAVAILABLE, "too many uploads at once");
    };
    counter!("door_connections_total", "door" => DOOR).increment(1);
    match door.take(&caller, body).await {
        Ok(()) => (StatusCode::ACCEPTED, "OK.\n").into_response(),
        Err(cut) => {
            counter!("journald_uploads_cut_total", "reason" => cut.reason()).increment(1);
            tracing::debug!(error = %cut, tenant = %caller.tenant, "an upload of a journal ended early");
            match cut.status() {
                StatusCode::SERVICE_UNAVAILABLE => retry(StatusCode::SERVICE_UNAVAILABLE, &cut.to_string()),
                status => (status, format!("{cut}\n")).into_response(),
            }
        }
    }
}

/// Whether the body is what this door takes.
fn fits(headers: &HeaderMap) -> Result<(), Cow<'static, str>> {
    let text =
        |name| headers.get(name).map_or("", |value: &header::HeaderValue| value.to_str().unwrap_or("?"));
    let media = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case(CONTENT_TYPE) {
        let answer = format!("Content-Type: {CONTENT_TYPE} is required\n");
        return Err(answer.into());
    }
    match text(header::CONTENT_ENCODING) {
        "" | "identity" => Ok(()),
        _ => Err("an upload is not to be compressed\n".into()),
    }
}

fn refused(failure: &Failure) -> Response {
    let mut response = (failure.status(), format!("{failure}\n")).into_response();
    failure.hint(response.headers_mut());
    response
}

fn retry(status: StatusCode, text: &str) -> Response {
    (status, [(header::RETRY_AFTER, RETRY_AFTER_SECONDS.to_string())], format!("{text}\n")).into_response()
}

/// What comes next in an upload.
enum Next {
    Piece(Bytes),
    /// Nothing, for as long as the batch should wait.
    Pause,
    End,
}

/// How far an upload was taken.
enum Taken {
    All,
    /// What comes next is for the pipelines that are in force now.
    SoFar,
}

impl Door {
    /// Takes an upload to its end, entry by entry.
    async fn take(&self, caller: &Caller, body: Body) -> Result<(), Cut> {
        let decode = &self.shared.limits.decode;
        let limits = EntryLimits { bytes_max: decode.record_bytes_max, fields_max: decode.fields_max };
        let mut entries = Assembler::new(limits);
        let mut pieces = body.into_data_stream();
        loop {
            let sift = self.shared.sift(caller, DOOR);
            let mut batch = Batch::new(&self.shared, &self.marks, caller, &sift);
            match self.take_pieces(&mut pieces, &mut entries, &mut batch).await {
                Ok(Taken::All) => return batch.finish().await,
                Ok(Taken::SoFar) => {}
                Err(cut @ (Cut::Refused(_) | Cut::Mark(_))) => return Err(cut),
                Err(cut) => {
                    batch.flush_new().await?; // whole entries before the cut
                    return Err(cut);
                }
            }
        }
    }

    /// Takes entries until the upload ends, or other pipelines are in force.
    async fn take_pieces(
        &self,
        pieces: &mut axum::body::BodyDataStream,
        entries: &mut Assembler,
        batch: &mut Batch<'_>,
    ) -> Result<Taken, Cut> {
        loop {
            if batch.is_outdated() {
                batch.flush_new().await?;
                return Ok(Taken::SoFar);
            }
            if entries.next()? {
                batch.take(entries).await?;
                continue;
            }
            match self.next(pieces, entries.is_within(), batch).await? {
                Next::Pause => {
                    batch.flush_new().await?;
                    entries.rest();
                }
                Next::End if entries.is_within() => {
                    entries.push(b"\n"); // the empty line after the last entry may be missing
                    return match entries.next()? {
                        true => batch.take(entries).await.map(|()| Taken::All),
                        false => Err(Cut::Incomplete),
                    };
                }
                Next::End => return Ok(Taken::All),
                Next::Piece(piece) => entries.push(&piece),
            }
        }
    }

    /// Waits for more: without a limit between entries, else as long as the entry or the batch may wait.
    async fn next(
        &self,
        pieces: &mut axum::body::BodyDataStream,
        is_within: bool,
        batch: &Batch<'_>,
    ) -> Result<Next, Cut> {
        let until_slow = (is_within || batch.is_again()).then(|| Instant::now() + self.entry_timeout);
        let until = [batch.gathered_at(), until_slow].into_iter().flatten().min();
        let waited = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shared.shutdown.cancelled() => Err(Cut::Closing),
            piece = pieces.next() => match piece {
                Some(Ok(piece)) => Ok(Next::Piece(piece)),
                Some(Err(_)) => Err(Cut::Broken),
                None => Ok(Next::End),
            },
            () = waited => if batch.gathered_at().is_some() { Ok(Next::Pause) } else { Err(Cut::TooSlow) },
        }
    }
}
