//! Requests of doors that speak HTTP: who asks, what arrived, and what went wrong, for each protocol to answer in its own words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use heimdall_guard::{Admitted, Denied, Ends, Principal, PrincipalKind, Scope};
use heimdall_ingest::arrive::{Announced, ArriveError, Arrived};
use heimdall_ingest::compression::CompressionError;
use heimdall_ingest::intake::shipper;
use heimdall_ingest::{BodyError, Caller, Decoded, Receipt, Refused};
use heimdall_model::Tenant;

use crate::{
    DoorsConfig, Shared, cloud, datadog, elasticsearch, gelf, hec, influx, journald, loki, otlp, prometheus,
};

/// The header that names a tenant, as Loki, Mimir and Tempo have it.
const TENANT_HEADER: &str = "x-scope-orgid";
/// When to come back after a failure that waiting may cure.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The paths of every door that speaks HTTP.
pub(crate) fn routes(shared: &Arc<Shared>, config: &DoorsConfig) -> Router {
    Router::new()
        .merge(cloud::routes())
        .merge(datadog::routes())
        .merge(gelf::routes())
        .merge(otlp::http::routes())
        .merge(prometheus::remote_write::routes())
        .with_state(Arc::clone(shared))
        .merge(elasticsearch::routes(Arc::clone(shared), &config.elasticsearch))
        .merge(hec::routes(Arc::clone(shared), &config.hec))
        .merge(influx::routes(Arc::clone(shared)))
        .merge(journald::routes(Arc::clone(shared), &config.journald))
        .merge(loki::routes(Arc::clone(shared)))
}

/// Whoever sends a request. The gate in front of the routes found out who; without it nobody is let in.
#[derive(Debug, Clone)]
pub struct Visitor {
    admitted: Result<Arc<Principal>, Denied>,
    requested: Result<Option<Tenant>, String>,
    ends: Option<Ends>,
    shipper: Option<Arc<str>>,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Visitor, Self::Rejection> {
        let Admitted(admitted) =
            parts.extensions.get::<Admitted>().cloned().unwrap_or(Admitted(Err(Denied::NoToken)));
        let requested = parts
            .headers
            .get(TENANT_HEADER)
            .map(|value| Tenant::new(value.to_str().unwrap_or_default()).map_err(|error| error.to_string()));
        Ok(Visitor {
            admitted,
            requested: requested.transpose(),
            ends: parts.extensions.get::<Ends>().copied(),
            shipper: shipper_of(&parts.headers),
        })
    }
}

impl Visitor {
    /// That it is known who asks, whatever they may: enough for what a protocol's clients ask before they send.
    ///
    /// # Errors
    /// [`Failure::Denied`].
    pub fn known(&self) -> Result<(), Failure> {
        self.admitted.as_ref().map(|_| ()).map_err(|denied| Failure::Denied(denied.clone()))
    }

    /// The address of ours that was asked.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.ends.map(|ends| ends.local)
    }

    /// Who sends, when they may.
    ///
    /// # Errors
    /// [`Failure::Denied`], [`Failure::Bad`] for a tenant that is no name.
    pub fn caller(&self) -> Result<Caller, Failure> {
        let principal = self.admitted.as_ref().map_err(|denied| Failure::Denied(denied.clone()))?;
        principal.require(Scope::Ingest).map_err(Failure::Denied)?;
        let requested =
            self.requested.as_ref().map_err(|error| Failure::Bad(format!("X-Scope-OrgID: {error}")))?;
        let tenant = principal.tenant(requested.as_ref()).map_err(Failure::Denied)?;
        let token = match &principal.kind {
            PrincipalKind::Token(id) => Some(Arc::from(id.as_str())),
            PrincipalKind::Loopback => None,
        };
        let shipper = self.shipper.clone();
        Ok(Caller { tenant, token, peer: self.ends.map(|ends| ends.peer.ip()), shipper })
    }
}

/// The program that asks, as it names itself.
fn shipper_of(headers: &HeaderMap) -> Option<Arc<str>> {
    shipper(headers.get(header::USER_AGENT)?.to_str().ok()?)
}

/// Takes the body of a request.
///
/// # Errors
/// [`Failure::Arrive`].
pub async fn arrive(
    shared: &Shared,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Arrived, Failure> {
    let text = |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or("?"));
    let announced = Announced {
        length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        encoding: text(header::CONTENT_ENCODING),
    };
    Ok(shared.arrive(caller, announced, body.into_data_stream()).await?)
}

/// Whether a body held no record at all, not even one that was rejected or dropped: many clients try the way with such.
#[must_use]
pub fn is_nothing(decoded: &Decoded) -> bool {
    decoded.batch.is_empty() && decoded.rejected_total() + decoded.dropped + decoded.quarantined == 0
}

/// Checks that something was taken: some records, or there were none. For protocols whose answer says no more than yes or no.
///
/// # Errors
/// [`Failure::Bad`], with the first reason.
pub fn something_taken(receipt: &Receipt) -> Result<(), Failure> {
    if receipt.is_success() {
        return Ok(());
    }
    let first = receipt.rejected.first().map_or("", |rejected| rejected.reason.as_ref());
    let total = receipt.rejected_total;
    Err(Failure::Bad(match total {
        1 => format!("the record was not taken: {first}"),
        _ => format!("none of {total} records was taken; the first: {first}"),
    }))
}

/// Why a request was not taken: nothing of it was, unless it says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Who asks may not.
    #[error("{0}")]
    Denied(Denied),
    /// The body did not arrive.
    #[error(transparent)]
    Arrive(#[from] ArriveError),
    /// The body is not of the protocol's form.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The intake sent it away.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Something else is wrong with the request.
    #[error("{0}")]
    Bad(String),
}

impl Failure {
    /// The status that says so, as protocols that care for nothing finer have it: 4xx is not to be sent again, 429 and 503 are.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Failure::Denied(denied) if denied.is_unauthenticated() => StatusCode::UNAUTHORIZED,
            Failure::Denied(_) => StatusCode::FORBIDDEN,
            Failure::Arrive(ArriveError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::Arrive(ArriveError::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Failure::Arrive(ArriveError::Compression(error)) => match error {
                CompressionError::Unsupported { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                CompressionError::TooLarge { .. } | CompressionError::Bomb { .. } => {
                    StatusCode::PAYLOAD_TOO_LARGE
                }
                _ => StatusCode::BAD_REQUEST,
            },
            Failure::Arrive(ArriveError::Refused(refused)) | Failure::Refused(refused) => status_of(refused),
            Failure::Body(BodyError::TooManyRecords { .. } | BodyError::RecordsTooLarge { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// When the same request may pass; `None` when waiting alone will not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Arrive(ArriveError::Refused(refused)) | Failure::Refused(refused) => {
                let is_unavailable = status_of(refused) == StatusCode::SERVICE_UNAVAILABLE;
                refused.retry_after().or(is_unavailable.then_some(RETRY_AFTER))
            }
            _ => None,
        }
    }

    /// Sets `Retry-After` where there is something to say: whole seconds, at least one.
    pub fn hint(&self, headers: &mut HeaderMap) {
        if let Some(after) = self.retry_after() {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.max(1).into());
        }
    }
}

fn status_of(refused: &Refused) -> StatusCode {
    match refused {
        Refused::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refused::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refused::Journal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
