//! What Docker says of its containers: CPU, memory, restarts, health. Only when its socket is there.
//!
//! Samples are of the service that is the container's name, so that detectors judge each container by itself: `cpu_usage` and
//! `memory_usage` are percent of its limit (of the host where it has none), `container.restarts_total`, `container.running` and
//! `container.health` (1 healthy, 0 not; none without a check).
//!
//! Invariants: a round ends within its deadline; at most `containers_max` are asked, four at a time; nothing is changed.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::models::{ContainerInspectResponse, ContainerStatsResponse, ContainerSummary, HealthStatusEnum};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions, StatsOptions};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::samples::Samples;

/// Containers asked at once.
const ASKED_MAX: usize = 4;
/// Seconds for one answer.
const ANSWER_SECONDS: u64 = 5;
/// Characters of an id that people use.
const ID_CHARS: usize = 12;

/// Measures containers.
pub struct Containers {
    docker: Docker,
    containers_max: usize,
    /// CPU ns and time of the round before, by id.
    before: HashMap<String, (u64, Instant)>,
}

struct Seen {
    summary: ContainerSummary,
    inspected: ContainerInspectResponse,
    stats: Option<ContainerStatsResponse>,
    at: Instant,
}

impl Containers {
    /// Connects to the socket; `None` when there is none.
    #[must_use]
    pub fn connect(socket: &Path, containers_max: usize) -> Option<Containers> {
        if socket.as_os_str().is_empty() || !socket.exists() {
            return None;
        }
        let docker =
            Docker::connect_with_socket(&socket.to_string_lossy(), ANSWER_SECONDS, API_DEFAULT_VERSION)
                .ok()?;
        Some(Containers { docker, containers_max, before: HashMap::new() })
    }

    /// Adds what every container says now. Returns how many were left out.
    ///
    /// # Errors
    /// Docker does not answer within `deadline`, or not as it should: the text is for people.
    pub async fn measure(&mut self, deadline: Duration, out: &mut Samples) -> Result<usize, String> {
        let seen = tokio::time::timeout(deadline, self.look());
        let (seen, left_out) = seen.await.map_err(|_| "Docker does not answer in time".to_owned())??;
        seen.iter().for_each(|seen| self.push(seen, out));
        self.before.retain(|id, _| seen.iter().any(|seen| seen.summary.id.as_deref() == Some(id)));
        Ok(left_out)
    }

    async fn look(&self) -> Result<(Vec<Seen>, usize), String> {
        let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        let mut list = self.docker.list_containers(Some(all)).await.map_err(|error| error.to_string())?;
        list.sort_by(|a, b| a.names.cmp(&b.names));
        let left_out = list.len().saturating_sub(self.containers_max);
        list.truncate(self.containers_max);
        let asked = stream::iter(list).map(|summary| self.ask(summary)).buffer_unordered(ASKED_MAX);
        let seen: Vec<Option<Seen>> = asked.collect().await;
        Ok((seen.into_iter().flatten().collect(), left_out))
    }

    /// A container that is removed meanwhile is none.
    async fn ask(&self, summary: ContainerSummary) -> Option<Seen> {
        let id = summary.id.clone()?;
        let inspected = self.docker.inspect_container(&id, None::<InspectContainerOptions>).await.ok()?;
        let is_running = inspected.state.as_ref().and_then(|state| state.running).unwrap_or(false);
        let options = StatsOptions { stream: false, one_shot: true };
        let stats = match is_running {
            true => self.docker.stats(&id, Some(options)).try_next().await.ok().flatten(),
            false => None,
        };
        Some(Seen { summary, inspected, stats, at: Instant::now() })
    }

    fn push(&mut self, seen: &Seen, out: &mut Samples) {
        let id = seen.summary.id.clone().unwrap_or_default();
        let short: String = id.chars().take(ID_CHARS).collect();
        let first = seen.summary.names.iter().flatten().next();
        let name = first.map_or(short.as_str(), |name| name.trim_start_matches('/'));
        let image = seen.summary.image.as_deref().unwrap_or_default();
        let labels = [("container.id", short.as_str()), ("container.image.name", image)];
        let mut push = |metric: &str, value: f64| out.push_of(name, metric, value, &labels);
        push("container.running", f64::from(u8::from(seen.stats.is_some())));
        if let Some(restarts) = seen.inspected.restart_count {
            #[expect(clippy::cast_precision_loss, reason = "a small count")]
            push("container.restarts_total", restarts as f64);
        }
        let health = seen.inspected.state.as_ref().and_then(|state| state.health.as_ref()?.status);
        match health {
            Some(HealthStatusEnum::HEALTHY) => push("container.health", 1.0),
            Some(HealthStatusEnum::UNHEALTHY) => push("container.health", 0.0),
            _ => {}
        }
        let Some(stats) = &seen.stats else { return };
        if let Some(percent) = memory_percent(stats) {
            push("memory_usage", percent);
        }
        if let Some(percent) = self.cpu_percent(id, seen, stats) {
            push("cpu_usage", percent);
        }
    }

    fn cpu_percent(&mut self, id: String, seen: &Seen, stats: &ContainerStatsResponse) -> Option<f64> {
        let cpu = stats.cpu_stats.as_ref()?;
        let used_ns = cpu.cpu_usage.as_ref()?.total_usage?;
        let (before_ns, before_at) = self.before.insert(id, (used_ns, seen.at))?;
        let limit =
            seen.inspected.host_config.as_ref().and_then(|host| host.nano_cpus).filter(|nano| *nano > 0);
        #[expect(clippy::cast_precision_loss, reason = "shares of a core")]
        let cores =
            limit.map_or_else(|| f64::from(cpu.online_cpus.unwrap_or(1).max(1)), |nano| nano as f64 / 1e9);
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let used = used_ns.checked_sub(before_ns)? as f64 / 1e9;
        let seconds = seen.at.duration_since(before_at).as_secs_f64();
        (seconds > 0.0).then(|| 100.0 * used / seconds / cores)
    }
}

/// As `docker stats` says it: what can be given back at once is not in use.
fn memory_percent(stats: &ContainerStatsResponse) -> Option<f64> {
    let memory = stats.memory_stats.as_ref()?;
    let cache = memory
        .stats
        .as_ref()
        .and_then(|stats| stats.get("inactive_file").or_else(|| stats.get("total_inactive_file")).copied());
    let used = memory.usage?.saturating_sub(cache.unwrap_or(0));
    let limit = memory.limit.filter(|limit| *limit > 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a share is shown")]
    Some(100.0 * used as f64 / limit as f64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use heimdall_model::Timestamp;
    use heimdall_model::schema::metrics;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    /// A stand-in for Docker's daemon: one running container whose CPU time moves by `step_ns` for each question.
    fn stand_in(dir: &Path, step_ns: u64) -> std::path::PathBuf {
        let socket = dir.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let used = Arc::new(AtomicU64::new(1_000_000_000));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let used = Arc::clone(&used);
                tokio::spawn(async move {
                    let mut request = vec![0; 8_192];
                    while let Ok(len) = stream.read(&mut request).await {
                        if len == 0 {
                            return;
                        }
                        let line = String::from_utf8_lossy(&request[..len])
                            .lines()
                            .next()
                            .unwrap_or_default()
                            .to_owned();
                        let body = answer(&line, &used, step_ns);
                        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
                        let reply = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                        if stream.write_all(reply.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        socket
    }

    fn answer(request: &str, used: &AtomicU64, step_ns: u64) -> String {
        let id = "0123456789abcdef";
        if request.contains("/containers/json") {
            format!(
                r#"[{{"Id":"{id}","Names":["/shop"],"Image":"shop:1"}},{{"Id":"ff","Names":["/zombie"],"Image":"z"}}]"#
            )
        } else if request.contains("/stats") {
            let total = used.fetch_add(step_ns, Ordering::Relaxed);
            format!(
                r#"{{"id":"{id}","cpu_stats":{{"cpu_usage":{{"total_usage":{total}}},"online_cpus":2}},"memory_stats":{{"usage":300,"limit":1000,"stats":{{"inactive_file":50}}}}}}"#
            )
        } else {
            format!(
                r#"{{"Id":"{id}","RestartCount":3,"State":{{"Running":true,"Health":{{"Status":"unhealthy"}}}},"HostConfig":{{}}}}"#
            )
        }
    }

    #[tokio::test]
    async fn a_container_is_judged_by_its_own_limits() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Containers::connect(&dir.path().join("none"), 5).is_none());
        let socket = stand_in(dir.path(), 1_000_000);
        let mut containers = Containers::connect(&socket, 1).unwrap();
        let mut samples = Samples::new(Timestamp(1), "h", "s");
        for left_out in [1, 1] {
            assert_eq!(containers.measure(Duration::from_secs(5), &mut samples).await, Ok(left_out));
        }
        let batch = samples.finish();
        let of = |name: &str| batch.iter().filter(|row| row.text(metrics::NAME) == Some(name)).last();
        let value = |name: &str| of(name).and_then(|row| row.float(metrics::VALUE));
        assert_eq!(value("memory_usage"), Some(25.0));
        assert_eq!((value("container.restarts_total"), value("container.health")), (Some(3.0), Some(0.0)));
        assert!(value("cpu_usage").is_some_and(|percent| percent > 0.0), "{:?}", value("cpu_usage"));
        let row = of("memory_usage").unwrap();
        assert_eq!((row.service(), row.text(metrics::HOST)), (Some("shop"), Some("h")));
        assert!(row.attributes().unwrap().contains("0123456789ab\""));
    }

    #[tokio::test]
    async fn a_daemon_that_hangs_is_left_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("hangs.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let mut containers = Containers::connect(&socket, 5).unwrap();
        let mut samples = Samples::new(Timestamp(1), "h", "s");
        let measured = containers.measure(Duration::from_millis(100), &mut samples).await;
        assert_eq!(measured, Err("Docker does not answer in time".to_owned()));
    }
}
