//! StatsD and DogStatsD: counters, gauges, timers and sets, added up for a flush interval; events and service checks as logs.
//!
//! What was received and not yet flushed is in memory, as in every StatsD server: a crash loses up to one interval, a shutdown
//! flushes. Counters are the sum of the interval, gauges the last value, sets the number of different values; timers,
//! histograms and distributions become `_count`, `_sum`, `_min`, `_max`, `_p50`, `_p90` and `_p99` (within 1 %).
//!
//! Invariants:
//! - receiving waits for nothing: while the journal has no room, the interval becomes longer;
//! - memory is bounded (see [`aggregate`]); what is not taken is counted, also what the kernel dropped.
//!
//! Not here: lines ([`parse`]), sums ([`aggregate`]), quantiles ([`sketch`]).

mod aggregate;
mod parse;
mod sketch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heimdall_detect::Period;
use heimdall_ingest::Caller;
use heimdall_model::{Size, Tenant};
use ipnet::IpNet;
use metrics::counter;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio_util::task::TaskTracker;

use self::aggregate::Aggregate;
use crate::datagrams::KernelDrops;
use crate::net::{Binder, Stream, TcpDoor, is_allowed};
use crate::patience::duration;
use crate::shared::Handover;
use crate::{DoorError, Opened, Shared};

const NAME: &str = "statsd";
/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;
/// Datagrams read in one go, before others have their turn on the thread.
const BURST: usize = 256;
/// How often the kernel is asked what it dropped.
const KERNEL_PERIOD: Duration = Duration::from_secs(5);
/// Pause after a socket that could not be read.
const PAUSE: Duration = Duration::from_millis(50);
/// Shortest flush interval.
const FLUSH_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// StatsD and DogStatsD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatsdConfig {
    /// Address for datagrams, usually port 8125. Unset (the default): none.
    pub udp_listen: Option<SocketAddr>,
    /// Address for connections, usually port 8125. Unset (the default): none.
    pub tcp_listen: Option<SocketAddr>,
    /// Path of a socket for datagrams on this machine, such as `/var/run/datadog/dsd.socket`. Unset (the default): none.
    pub unix_path: Option<PathBuf>,
    /// Whose records they are. Default `default`.
    pub tenant: Tenant,
    /// Networks that may send; empty (the default): all.
    pub allow: Vec<IpNet>,
    /// How long values are added up (default 10 s).
    pub flush_interval: Period,
    /// Series in one interval (default 100,000); values of more are not taken, and counted.
    pub series_max: usize,
    /// Bytes the kernel may hold for the door (default 4 MiB; it may allow less).
    pub receive_buffer: Size,
    /// Connections open at once (default 256); more wait in the listen queue.
    pub connections_max: usize,
    /// Bytes of one line (default 8 KiB); a longer one is not taken.
    pub frame_bytes_max: Size,
    /// A connection that sends nothing for this long ends (default 10 min).
    pub idle_timeout: Period,
}

impl Default for StatsdConfig {
    fn default() -> Self {
        StatsdConfig {
            udp_listen: None,
            tcp_listen: None,
            unix_path: None,
            tenant: Tenant::default(),
            allow: Vec::new(),
            flush_interval: Period::seconds(10),
            series_max: 100_000,
            receive_buffer: Size(4 << 20),
            connections_max: 256,
            frame_bytes_max: Size(8 << 10),
            idle_timeout: Period::minutes(10),
        }
    }
}

/// Binds the door; `None` when it is not configured.
///
/// # Errors
/// [`DoorError`].
pub(crate) fn open(
    config: &StatsdConfig,
    shared: &Arc<Shared>,
    binder: Binder,
) -> Result<Option<Opened>, DoorError> {
    let udp = config.udp_listen.map(|addr| binder.udp(NAME, addr, config.receive_buffer.usize()));
    let udp = udp.transpose()?;
    let tcp = config.tcp_listen.map(|addr| binder.tcp(NAME, addr)).transpose()?;
    let unix = config.unix_path.as_deref().map(bind_unix).transpose()?;
    if udp.is_none() && tcp.is_none() && unix.is_none() {
        return Ok(None);
    }
    let udp_addr = udp.as_ref().and_then(|socket| socket.local_addr().ok());
    let addr = udp_addr.or(tcp.as_ref().and_then(|listener| listener.local_addr().ok()));
    let tcp = tcp.map(|listener| TcpDoor {
        name: NAME,
        listener,
        tls: None,
        connections_max: config.connections_max,
        allow: config.allow.clone(),
    });
    let door = Arc::new(Door {
        shared: Arc::clone(shared),
        aggregate: Mutex::new(Aggregate::new(config.series_max)),
        config: config.clone(),
    });
    let run = Box::pin(async move {
        let readers = TaskTracker::new();
        if let Some(socket) = udp {
            readers.spawn(Arc::clone(&door).read_udp(socket));
        }
        if let Some(socket) = unix {
            readers.spawn(Arc::clone(&door).read_unix(socket));
        }
        if let Some(tcp) = tcp {
            let each = Arc::clone(&door);
            readers.spawn(tcp.serve(door.shared.shutdown.clone(), move |stream, _| {
                let door = Arc::clone(&each);
                async move { door.read_stream(stream).await }
            }));
        }
        readers.close();
        door.flush_until_shutdown().await;
        readers.wait().await;
        door.flush().await;
    });
    Ok(Some(Opened { name: NAME, addr, run }))
}

/// Binds a path, in the place of a socket that nobody listens to any more.
fn bind_unix(path: &Path) -> Result<UnixDatagram, DoorError> {
    let bad = |error: std::io::Error| DoorError::Config {
        door: NAME,
        detail: format!("unix_path `{}`: {error}", path.display()),
    };
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path).map_err(bad)?;
    }
    UnixDatagram::bind(path).map_err(bad)
}

struct Door {
    shared: Arc<Shared>,
    config: StatsdConfig,
    aggregate: Mutex<Aggregate>,
}

/// Lines that were not taken, by reason.
type Rejected = BTreeMap<&'static str, u64>;

impl Door {
    /// Takes lines that are there as a whole.
    fn take(&self, bytes: &[u8]) {
        let mut rejected = Rejected::new();
        {
            let mut aggregate = self.aggregate.lock();
            for line in bytes.split(|byte| *byte == b'\n') {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if line.is_empty() {
                    continue;
                }
                let taken = if line.len() > self.config.frame_bytes_max.usize() {
                    Err("too_large")
                } else {
                    aggregate.take(&String::from_utf8_lossy(line))
                };
                if let Err(reason) = taken {
                    *rejected.entry(reason).or_default() += 1;
                }
            }
        }
        for (reason, count) in rejected {
            counter!("door_frames_rejected_total", "door" => NAME, "reason" => reason).increment(count);
        }
    }

    async fn read_udp(self: Arc<Self>, socket: UdpSocket) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut kernel = KernelDrops::of(&socket);
        let mut period = tokio::time::interval(KERNEL_PERIOD);
        loop {
            tokio::select! {
                ready = socket.readable() => {
                    if ready.is_err() {
                        tokio::time::sleep(PAUSE).await;
                    }
                    self.empty_udp(&socket, &mut buffer);
                    tokio::task::yield_now().await;
                }
                _ = period.tick() => kernel.count(NAME),
                () = self.shared.shutdown.cancelled() => break,
            }
        }
        while self.empty_udp(&socket, &mut buffer) == BURST {}
        kernel.count(NAME);
    }

    /// Takes what is there, a burst at most; how many there were.
    fn empty_udp(&self, socket: &UdpSocket, buffer: &mut [u8]) -> usize {
        let mut foreign = 0;
        let mut read = 0;
        while read < BURST {
            match socket.try_recv_from(buffer) {
                Ok((length, peer)) if is_allowed(&self.config.allow, peer.ip()) => {
                    self.take(&buffer[..length])
                }
                Ok(_) => foreign += 1,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {} // an answer of ICMP to somebody else: said once
            }
            read += 1;
        }
        if foreign > 0 {
            counter!("door_dropped_total", "door" => NAME, "reason" => "not_allowed").increment(foreign);
        }
        read
    }

    async fn read_unix(self: Arc<Self>, socket: UnixDatagram) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let shutdown = self.shared.shutdown.clone();
        while let Some(ready) = shutdown.run_until_cancelled(socket.readable()).await {
            if ready.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            self.empty_unix(&socket, &mut buffer);
            tokio::task::yield_now().await;
        }
        while self.empty_unix(&socket, &mut buffer) == BURST {}
    }

    /// As [`Door::empty_udp`]. The kernel holds a few datagrams only, and then its senders wait or drop theirs.
    fn empty_unix(&self, socket: &UnixDatagram, buffer: &mut [u8]) -> usize {
        let mut read = 0;
        while read < BURST {
            match socket.try_recv(buffer) {
                Ok(length) => self.take(&buffer[..length]),
                Err(_) => break,
            }
            read += 1;
        }
        read
    }

    async fn read_stream(&self, mut stream: Box<dyn Stream>) {
        let line_bytes_max = self.config.frame_bytes_max.usize();
        let idle_timeout = duration(self.config.idle_timeout);
        let mut buffer = Vec::new();
        loop {
            let reading = tokio::time::timeout(idle_timeout, stream.read_buf(&mut buffer));
            let count = match self.shared.shutdown.run_until_cancelled(reading).await {
                Some(Ok(Ok(count))) => count,
                _ => 0,
            };
            if count == 0 {
                return self.take(&buffer); // a last line without an end
            }
            if let Some(end) = memchr::memrchr(b'\n', &buffer) {
                self.take(&buffer[..end]);
                buffer.drain(..=end);
            } else if buffer.len() > line_bytes_max {
                return self.take(&buffer); // counted; where the next line begins is not known
            }
        }
    }

    async fn flush_until_shutdown(&self) {
        let interval = duration(self.config.flush_interval).max(FLUSH_INTERVAL_MIN);
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await; // the first comes at once
        while self.shared.shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.flush().await;
        }
    }

    /// Makes what was added up durable. Meanwhile the next interval goes on, however long that takes.
    async fn flush(&self) {
        // Samples of all senders are added up: none of them is the shipper.
        let caller = Caller { tenant: self.config.tenant.clone(), token: None, peer: None, shipper: None };
        let sift = self.shared.sift(&caller, NAME);
        let decoded = self.aggregate.lock().flush(sift.reading(&self.shared.limits.decode));
        for decoded in decoded {
            let rows = decoded.batch.rows() as u64;
            let (caller, decoded) = (caller.clone(), vec![decoded]);
            let handover = Handover { caller, door: NAME, key: None, decoded, bytes: 0 };
            if let Err(error) = self.shared.admit_patiently(handover, None).await {
                counter!("door_dropped_total", "door" => NAME, "reason" => error.code()).increment(rows);
                tracing::error!(door = NAME, %error, rows, "samples are lost: they could not be made durable");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    use super::*;
    use crate::testing::shared;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_came_by_any_socket_is_flushed_at_the_end() {
        let it = shared();
        let anywhere = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let path = it.path().join("dsd.socket");
        for listen in [(anywhere, None, None), (None, anywhere, None), (None, None, Some(path.clone()))] {
            let shutdown = tokio_util::sync::CancellationToken::new();
            let shared = Arc::new(Shared {
                intake: Arc::clone(&it.shared.intake),
                guard: it.shared.guard.clone(),
                limits: it.shared.limits.clone(),
                data_dir: it.shared.data_dir.clone(),
                shutdown: shutdown.clone(),
            });
            let (udp_listen, tcp_listen, unix_path) = listen;
            let config = StatsdConfig { udp_listen, tcp_listen, unix_path, ..StatsdConfig::default() };
            let binder = Binder { auth_enabled: false, ephemeral: true };
            let opened = open(&config, &shared, binder).expect("a free port").expect("it is configured");
            let addr = opened.addr;
            let running = tokio::spawn(opened.run);
            let lines = b"hits:1|c\nhits:2|c\nbad\n";
            if udp_listen.is_some() {
                let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
                socket.send_to(lines, addr.expect("it listens")).await.expect("sent");
            } else if tcp_listen.is_some() {
                let mut stream = TcpStream::connect(addr.expect("it listens")).await.expect("a door");
                stream.write_all(lines).await.expect("sent");
            } else {
                let socket = UnixDatagram::unbound().expect("a socket");
                socket.send_to(lines, &path).await.expect("sent");
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            shutdown.cancel();
            running.await.expect("no panic");
            let records = it.records(1);
            assert_eq!((&records[0]["name"], records[0]["value"].as_f64()), (&"hits".into(), Some(3.0)));
            assert_eq!(records[0]["dataset"], "metrics");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_interval_is_flushed() {
        let it = shared();
        let config = StatsdConfig {
            udp_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            flush_interval: Period(200_000_000),
            ..StatsdConfig::default()
        };
        let binder = Binder { auth_enabled: false, ephemeral: true };
        let opened = open(&config, &it.shared, binder).expect("a free port").expect("it is configured");
        let addr = opened.addr.expect("it listens");
        let running = tokio::spawn(opened.run);
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        for _ in 0..2 {
            socket.send_to(b"g:4|g", addr).await.expect("sent");
            assert_eq!(it.records(1)[0]["value"].as_f64(), Some(4.0));
        }
        it.shared.shutdown.cancel();
        running.await.expect("no panic");
    }
}
