//! Graylog's extended log format: datagrams (chunked and packed), connections, and `POST /gelf`.
//!
//! Invariants:
//! - of messages that are not whole yet no more is held than the limits of [`chunks`] say, and none for longer than five seconds;
//! - a message unpacks to at most `frame_bytes_max`, a batch of datagrams to at most `decode::UNPACKED_BYTES_MAX`.
//!
//! The protocol has no answers but that of HTTP: `202` is sent when the message is durable. A message that is sent twice is
//! kept twice.
//!
//! Source: <https://go2docs.graylog.org/current/getting_in_log_data/gelf.html>.

mod chunks;
mod decode;
mod post;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::post;
use heimdall_detect::Period;
use heimdall_ingest::Reading;
use heimdall_model::{Size, Tenant};
use ipnet::IpNet;
use metrics::counter;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UdpSocket};

use self::chunks::{ChunkLimits, Reassembler};
use self::decode::{Packing, Source};
use crate::datagrams::DatagramDoor;
use crate::framing::Framing;
use crate::net::{Binder, TcpDoor};
use crate::streams::{FrameDoor, StreamLimits};
use crate::syslog::{duration, keep_alive};
use crate::{DoorError, Opened, Shared};

const UDP: &str = "gelf_udp";
const TCP: &str = "gelf_tcp";

/// Graylog's extended log format. Over HTTP it is always there, at `/gelf`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GelfConfig {
    /// Address for datagrams, usually port 12201. Default none: closed.
    pub udp_listen: Option<SocketAddr>,
    /// Address for connections, usually port 12201. Default none: closed.
    pub tcp_listen: Option<SocketAddr>,
    /// Whose records they are, through the two listeners. Default `default`.
    pub tenant: Tenant,
    /// Networks that may send to the two listeners. Default all.
    pub allow: Vec<IpNet>,
    /// Service of messages that name none, through the two listeners. Default none.
    pub service: Option<String>,
    /// Connections open at once; the next one waits. Default `1000`.
    pub connections_max: usize,
    /// Longest message, unpacked; a longer one is rejected. Default `1MiB`.
    pub frame_bytes_max: Size,
    /// A connection is closed after so long without a byte. Default `1d`.
    pub idle_timeout: Period,
    /// A connection is closed when a message that has begun does not end within it. Default `1m`.
    pub frame_timeout: Period,
    /// Datagrams that may wait in the kernel; it allows no more than `net.core.rmem_max`. Default `8MiB`.
    pub receive_buffer: Size,
    /// Datagrams that may wait to become durable; beyond it they are dropped, and counted. Default `32MiB`.
    pub queue_bytes_max: Size,
    /// Messages of which chunks are missing, in all. Default `8192`.
    pub chunked_messages_max: usize,
    /// The same, of one address. Default `1024`.
    pub chunked_messages_per_source_max: usize,
    /// Bytes of their chunks. Default `32MiB`.
    pub chunked_bytes_max: Size,
}

impl Default for GelfConfig {
    fn default() -> Self {
        GelfConfig {
            udp_listen: None,
            tcp_listen: None,
            tenant: Tenant::default(),
            allow: Vec::new(),
            service: None,
            connections_max: 1000,
            frame_bytes_max: Size(1 << 20),
            idle_timeout: Period::hours(24),
            frame_timeout: Period::minutes(1),
            receive_buffer: Size(8 << 20),
            queue_bytes_max: Size(32 << 20),
            chunked_messages_max: 8192,
            chunked_messages_per_source_max: 1024,
            chunked_bytes_max: Size(32 << 20),
        }
    }
}

/// Binds the listeners that are configured.
///
/// # Errors
/// [`DoorError`].
pub(crate) fn open(
    config: &GelfConfig,
    binder: Binder,
    shared: &Arc<Shared>,
) -> Result<Vec<Opened>, DoorError> {
    let mut doors = Vec::new();
    if let Some(addr) = config.udp_listen {
        doors.push(datagrams(config, binder.udp(UDP, addr, config.receive_buffer.usize())?, shared));
    }
    if let Some(addr) = config.tcp_listen {
        doors.push(connections(config, binder.tcp(TCP, addr)?, shared));
    }
    Ok(doors)
}

/// The path of messages over HTTP.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/gelf", post(post::post)).route("/gelf/", post(post::post))
}

fn door(config: &GelfConfig, name: &'static str, packing: Packing) -> FrameDoor {
    let bytes_max = config.frame_bytes_max.usize();
    let source = Source { service: config.service.clone(), packing, bytes_max };
    let decode = Arc::new(move |bytes: &[u8], frames: &[_], reading: Reading<'_>| {
        decode::decode(bytes, frames, &source, reading)
    });
    FrameDoor {
        name,
        tenant: config.tenant.clone(),
        decode,
        unpacks: packing == Packing::Any,
        answers: false,
    }
}

fn datagrams(config: &GelfConfig, socket: UdpSocket, shared: &Arc<Shared>) -> Opened {
    let door = door(config, UDP, Packing::Any);
    let addr = socket.local_addr().ok();
    let (shutdown, shared) = (shared.shutdown.clone(), Arc::clone(shared));
    let mut reassembler = Reassembler::new(ChunkLimits {
        messages_max: config.chunked_messages_max,
        per_source_max: config.chunked_messages_per_source_max,
        bytes_max: config.chunked_bytes_max.usize(),
        message_bytes_max: config.frame_bytes_max.usize(),
    });
    let socket = DatagramDoor {
        name: UDP,
        socket,
        allow: config.allow.clone(),
        datagram_bytes_max: usize::from(u16::MAX),
        queue_bytes_max: config.queue_bytes_max.usize(),
    };
    let run = socket.run(shutdown, move |frames| {
        let whole = reassembler.take(frames, Instant::now());
        for (reason, count) in reassembler.lost().into_iter().filter(|(_, count)| *count > 0) {
            counter!("door_dropped_total", "door" => UDP, "reason" => reason).increment(count);
        }
        let (door, shared) = (door.clone(), Arc::clone(&shared));
        Box::pin(async move {
            door.hand_over_datagrams(&shared, whole).await;
        })
    });
    Opened { name: UDP, addr, run: Box::pin(run) }
}

fn connections(config: &GelfConfig, listener: TcpListener, shared: &Arc<Shared>) -> Opened {
    let door = door(config, TCP, Packing::None);
    keep_alive(&listener);
    let addr = listener.local_addr().ok();
    let limits = StreamLimits {
        frame_bytes_max: config.frame_bytes_max.usize(),
        idle_timeout: duration(config.idle_timeout),
        frame_timeout: duration(config.frame_timeout),
    };
    let (shutdown, shared) = (shared.shutdown.clone(), Arc::clone(shared));
    let (connections_max, allow) = (config.connections_max, config.allow.clone());
    let tcp = TcpDoor { name: TCP, listener, tls: None, connections_max, allow };
    let run = tcp.serve(shutdown, move |stream, peer| {
        let (door, shared) = (door.clone(), Arc::clone(&shared));
        async move { door.serve(&shared, Framing::Nul, limits, stream, peer).await }
    });
    Opened { name: TCP, addr, run: Box::pin(run) }
}

#[cfg(test)]
mod tests;
