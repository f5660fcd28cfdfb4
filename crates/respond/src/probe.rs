//! Probes: does an address answer, does a port accept, does a container run.
//!
//! Invariant: a probe ends within its deadline; what does not answer is an answer (`is_healthy` false), not an error.
//!
//! Not here: queries, which the binary answers.

use std::time::Duration;

use bollard::query_parameters::InspectContainerOptions;
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::StreamExt;
use reqwest::{Client, redirect};

use crate::ports::{HealthError, Probe, Probed};

/// Most of a body that is searched (bytes).
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest time the Docker client waits by itself; the deadline of a probe is usually shorter.
const DOCKER_TIMEOUT_S: u64 = 60;

/// Asks probes.
#[derive(Debug, Clone)]
pub struct Prober {
    http: Client,
    docker: String,
}

impl Prober {
    /// A prober. `docker` is the path of the engine's socket or an `http://` address, as of the runners.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(docker: &str) -> Result<Prober, HealthError> {
        let http = Client::builder().redirect(redirect::Policy::none()).pool_max_idle_per_host(0);
        let http = http.build().map_err(|error| HealthError(error.to_string()))?;
        Ok(Prober { http, docker: docker.to_owned() })
    }

    /// Asks.
    ///
    /// # Errors
    /// Docker cannot be asked, or the probe is a query.
    pub async fn probe(&self, probe: &Probe, deadline: Duration) -> Result<Probed, HealthError> {
        let asked = async {
            match probe {
                Probe::Http { url, status, contains } => {
                    Ok(self.http(url, *status, contains.as_deref()).await)
                }
                Probe::Tcp { address } => Ok(tcp(address).await),
                Probe::Container { name } => self.container(name).await,
                Probe::Query { .. } => Err(HealthError("queries are not asked here".to_owned())),
            }
        };
        let late = || Ok(ill(format!("no answer within {} ms", deadline.as_millis())));
        tokio::time::timeout(deadline, asked).await.unwrap_or_else(|_| late())
    }

    async fn http(&self, url: &str, status: Option<u16>, contains: Option<&str>) -> Probed {
        let response = match self.http.get(url).send().await {
            Ok(response) => response,
            Err(error) => return ill(format!("{url}: {}", root(&error))),
        };
        let got = response.status().as_u16();
        if status.map_or(got >= 400, |wanted| got != wanted) {
            return ill(format!("{url} answers {got}"));
        }
        let Some(wanted) = contains else { return well(format!("{url} answers {got}")) };
        match body(response).await {
            Ok(body) if body.contains(wanted) => well(format!("{url} answers {got} with the text wanted")),
            Ok(_) => ill(format!("{url} answers {got} without `{wanted}`")),
            Err(error) => ill(format!("{url}: {}", root(&error))),
        }
    }

    async fn container(&self, name: &str) -> Result<Probed, HealthError> {
        let refused = |error: bollard::errors::Error| HealthError(format!("docker: {error}"));
        let docker = if self.docker.starts_with("http://") || self.docker.starts_with("tcp://") {
            Docker::connect_with_http(&self.docker, DOCKER_TIMEOUT_S, API_DEFAULT_VERSION)
        } else {
            Docker::connect_with_unix(&self.docker, DOCKER_TIMEOUT_S, API_DEFAULT_VERSION)
        };
        let docker = docker.map_err(refused)?.negotiate_version().await.map_err(refused)?;
        let found = match docker.inspect_container(name, None::<InspectContainerOptions>).await {
            Ok(found) => found,
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {
                return Ok(ill(format!("there is no container `{name}`")));
            }
            Err(error) => return Err(refused(error)),
        };
        let state = found.state.unwrap_or_default();
        let health = state.health.and_then(|health| health.status).map(|status| status.to_string());
        let is_well = matches!(health.as_deref(), None | Some("" | "none" | "healthy"));
        let said = health.filter(|health| !health.is_empty()).map(|health| format!(", {health}"));
        let is_running = state.running == Some(true) && state.restarting != Some(true);
        let detail = format!(
            "container `{name}` {}{}",
            if is_running { "runs" } else { "does not run" },
            said.unwrap_or_default()
        );
        Ok(Probed { is_healthy: is_running && is_well, detail })
    }
}

async fn tcp(address: &str) -> Probed {
    match tokio::net::TcpStream::connect(address).await {
        Ok(_) => well(format!("{address} accepts")),
        Err(error) => ill(format!("{address}: {error}")),
    }
}

async fn body(response: reqwest::Response) -> Result<String, reqwest::Error> {
    let (mut bytes, mut chunks) = (Vec::new(), response.bytes_stream());
    while let Some(chunk) = chunks.next().await {
        let left = BODY_BYTES_MAX - bytes.len();
        let chunk = chunk?;
        bytes.extend_from_slice(&chunk[..chunk.len().min(left)]);
        if bytes.len() == BODY_BYTES_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn well(detail: String) -> Probed {
    Probed { is_healthy: true, detail }
}

fn ill(detail: String) -> Probed {
    Probed { is_healthy: false, detail }
}

/// The innermost cause, which says most.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// Answers every connection with these bytes.
    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
            }
        });
        address
    }

    fn prober() -> Prober {
        // The binary does this at its start.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Prober::new("/nonexistent.sock").unwrap()
    }

    async fn check(probe: Probe, is_healthy: bool, detail: &str) {
        let prober = prober();
        let probed = prober.probe(&probe, Duration::from_millis(500)).await.unwrap();
        assert_eq!(probed.is_healthy, is_healthy, "{probed:?}");
        assert!(probed.detail.contains(detail), "{probed:?}");
    }

    fn http(address: &str, status: Option<u16>, contains: Option<&str>) -> Probe {
        Probe::Http { url: format!("http://{address}/"), status, contains: contains.map(str::to_owned) }
    }

    #[tokio::test]
    async fn addresses_answer_or_not() {
        let good = server("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
        check(http(&good, None, Some("ell")), true, "200").await;
        check(http(&good, None, Some("bye")), false, "without `bye`").await;
        check(http(&good, Some(204), None), false, "answers 200").await;
        check(Probe::Tcp { address: good }, true, "accepts").await;
        let bad = server("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await;
        check(http(&bad, None, None), false, "503").await;
        check(http(&bad, Some(503), None), true, "503").await;
        let silent = server("").await;
        check(http(&silent, None, None), false, "no answer within 500 ms").await;
        check(Probe::Tcp { address: "127.0.0.1:1".to_owned() }, false, "refused").await;
    }

    #[tokio::test]
    async fn a_dead_docker_is_an_error_not_a_hang() {
        let prober = prober();
        let probe = Probe::Container { name: "api".to_owned() };
        assert!(prober.probe(&probe, Duration::from_secs(5)).await.is_err());
    }
}
