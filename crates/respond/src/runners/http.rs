//! HTTP as runners use it: no redirects, no proxies of the environment, bounded answers, no address in an error.

use std::time::{Duration, Instant};

use reqwest::{Certificate, Client, Response, StatusCode, redirect};

use super::deadline::{failed, unreachable};
use crate::action::ActionError;

/// Most bytes read of an answer.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// Time to connect: a host that is up answers within one lost packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that trusts these certificates, or where there are none, the system's.
pub(crate) fn client(trusted: Vec<Certificate>) -> Result<Client, String> {
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0);
    let builder = if trusted.is_empty() { builder } else { builder.tls_certs_only(trusted) };
    builder.build().map_err(|_| "could not set up the HTTP client".to_owned())
}

/// A question failed: nothing was changed by it.
pub(crate) fn unanswered(system: &str, error: &reqwest::Error) -> ActionError {
    unreachable(system, kind(error))
}

/// A deed failed on its way: without a connection nothing was done, afterwards nobody knows.
pub(crate) fn undone(system: &str, error: &reqwest::Error, since: Instant) -> ActionError {
    if error.is_connect() || error.is_builder() {
        return unreachable(system, kind(error));
    }
    ActionError::TimedOut { after: since.elapsed() }
}

/// Not reqwest's own text: it names the address.
fn kind(error: &reqwest::Error) -> &'static str {
    if error.is_connect() {
        "no connection"
    } else if error.is_timeout() {
        "no answer in time"
    } else {
        "the connection broke"
    }
}

/// What an answer other than success means. Gateways that got none themselves cannot tell whether it was done.
pub(crate) fn refused(system: &str, status: StatusCode, detail: &str, since: Instant) -> ActionError {
    if matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) {
        return ActionError::TimedOut { after: since.elapsed() };
    }
    let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    failed(system, format!("answered {}{detail}", status.as_u16()))
}

/// The body, as far as [`BODY_BYTES_MAX`]; `None` when it is longer or broke off.
pub(crate) async fn body(mut response: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}
