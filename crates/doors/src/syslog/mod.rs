//! Syslog: UDP, TCP and TLS (RFC 5424, 3164, 5425, 5426, 6587), and RELP, which is syslog that is acknowledged.
//!
//! Invariants:
//! - a message is one record, whole, whatever is wrong with it: what cannot be read of it is noted, and it is its own message;
//! - `peer_ip` is the address the message came from, whatever the message says.
//!
//! UDP promises nothing. TCP and TLS answer nothing: what a sender handed to its kernel and we did not read yet, or read and did
//! not make durable yet, is lost when we are killed. RELP loses nothing: a message is answered only when it is durable, and one
//! that was not answered is sent again.
//!
//! Not here: what a message says (see `heimdall_ingest::format`), frames of streams (see [`crate::framing`]).

mod decode;
mod relp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use heimdall_detect::Period;
use heimdall_ingest::format::Zone;
use heimdall_model::{Size, Tenant};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

use self::decode::Source;
use crate::datagrams::DatagramDoor;
use crate::framing::Framing;
use crate::net::{Binder, TcpDoor, TlsConfig};
use crate::streams::{FrameDoor, StreamLimits};
use crate::{DoorError, Opened, Shared};

const UDP: &str = "syslog_udp";
const TCP: &str = "syslog_tcp";
const TLS: &str = "syslog_tls";
const RELP: &str = "relp";
/// Any program may listen here; 514 is left to the machine's own daemon.
const PORT: u16 = 5514;
/// RFC 5425.
const TLS_PORT: u16 = 6514;
/// A connection without traffic is asked for a sign of life so often; after [`KEEPALIVE_TRIES`] without answer it is closed.
const KEEPALIVE_PERIOD: Duration = Duration::from_secs(60);
const KEEPALIVE_TRIES: u32 = 5;

/// Syslog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyslogConfig {
    /// Whether the doors that are on by default are open. Default `true`.
    pub enabled: bool,
    /// Address for datagrams. Default `127.0.0.1:5514`, unless that port is taken.
    pub udp_listen: Option<SocketAddr>,
    /// Address for connections. Default `127.0.0.1:5514`, unless that port is taken.
    pub tcp_listen: Option<SocketAddr>,
    /// Address for connections with TLS, when `tls.cert_file` is set. Default `127.0.0.1:6514`.
    pub tls_listen: Option<SocketAddr>,
    /// Address for RELP, usually port 2514. Default none: closed.
    pub relp_listen: Option<SocketAddr>,
    /// Whether RELP is within TLS, with the certificates of `tls`. Default `false`.
    pub relp_tls: bool,
    /// Certificates of the doors with TLS.
    pub tls: TlsConfig,
    /// Whose records they are. Default `default`.
    pub tenant: Tenant,
    /// Networks that may send, such as `["10.0.0.0/8"]`. Default all.
    pub allow: Vec<IpNet>,
    /// Service of messages that name none. Default none.
    pub service: Option<String>,
    /// Zone of times that state none, by its IANA name such as `Europe/Berlin`. Default `UTC`.
    pub timezone: String,
    /// Connections open at once, of each listener; the next one waits. Default `1000`.
    pub connections_max: usize,
    /// Longest message; the rest of a longer one is cut off. Default `256KiB`.
    pub frame_bytes_max: Size,
    /// A connection is closed after so long without a byte. Default `1d`: many senders notice only with the next message,
    /// which is lost then.
    pub idle_timeout: Period,
    /// A connection is closed when a message that has begun does not end within it. Default `1m`.
    pub frame_timeout: Period,
    /// Datagrams that may wait in the kernel; it allows no more than `net.core.rmem_max`. Default `8MiB`.
    pub receive_buffer: Size,
    /// Datagrams that may wait to become durable; beyond it they are dropped, and counted. Default `32MiB`.
    pub queue_bytes_max: Size,
    /// More listeners, such as one for each group of devices.
    pub listeners: Vec<SyslogListener>,
}

impl Default for SyslogConfig {
    fn default() -> Self {
        SyslogConfig {
            enabled: true,
            udp_listen: None,
            tcp_listen: None,
            tls_listen: None,
            relp_listen: None,
            relp_tls: false,
            tls: TlsConfig::default(),
            tenant: Tenant::default(),
            allow: Vec::new(),
            service: None,
            timezone: "UTC".to_owned(),
            connections_max: 1000,
            frame_bytes_max: Size(256 << 10),
            idle_timeout: Period::hours(24),
            frame_timeout: Period::minutes(1),
            receive_buffer: Size(8 << 20),
            queue_bytes_max: Size(32 << 20),
            listeners: Vec::new(),
        }
    }
}

/// One more listener of syslog. What is not set is as in `[doors.syslog]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogListener {
    /// `udp`, `tcp`, `tls`, `relp` or `relp_tls`.
    pub transport: SyslogTransport,
    /// Its address.
    pub listen: SocketAddr,
    /// Whose records they are.
    #[serde(default)]
    pub tenant: Option<Tenant>,
    /// Networks that may send.
    #[serde(default)]
    pub allow: Option<Vec<IpNet>>,
    /// Service of messages that name none.
    #[serde(default)]
    pub service: Option<String>,
    /// Zone of times that state none.
    #[serde(default)]
    pub timezone: Option<String>,
}

/// How messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogTransport {
    /// One in each datagram.
    Udp,
    /// Counted or in lines, on connections.
    Tcp,
    /// The same with TLS.
    Tls,
    /// Acknowledged.
    Relp,
    /// The same with TLS.
    RelpTls,
}

/// Binds every listener that is on.
///
/// # Errors
/// [`DoorError`].
pub(crate) fn open(
    config: &SyslogConfig,
    binder: Binder,
    shared: &Arc<Shared>,
) -> Result<Vec<Opened>, DoorError> {
    let mut doors = Vec::new();
    for listener in &config.listeners {
        doors.push(open_listener(config, listener, binder, shared)?);
    }
    if !config.enabled {
        return Ok(doors);
    }
    let buffer = config.receive_buffer.usize();
    if let Some(socket) = binder.udp_or_default(UDP, config.udp_listen, PORT, buffer)? {
        doors.push(datagrams(config, source(config, None, UDP)?, socket, shared));
    }
    if let Some(listener) = binder.tcp_or_default(TCP, config.tcp_listen, PORT)? {
        doors.push(stream(config, source(config, None, TCP)?, listener, None, shared));
    }
    if let Some(tls) = config.tls.acceptor(TLS)?
        && let Some(listener) = binder.tcp_or_default(TLS, config.tls_listen, TLS_PORT)?
    {
        doors.push(stream(config, source(config, None, TLS)?, listener, Some(tls), shared));
    }
    if let Some(addr) = config.relp_listen {
        let tls = if config.relp_tls { Some(certificates(config, RELP)?) } else { None };
        doors.push(stream(config, source(config, None, RELP)?, binder.tcp(RELP, addr)?, tls, shared));
    }
    Ok(doors)
}

fn open_listener(
    config: &SyslogConfig,
    listener: &SyslogListener,
    binder: Binder,
    shared: &Arc<Shared>,
) -> Result<Opened, DoorError> {
    let addr = listener.listen;
    let opened = |door, tls| -> Result<Opened, DoorError> {
        Ok(stream(config, source(config, Some(listener), door)?, binder.tcp(door, addr)?, tls, shared))
    };
    match listener.transport {
        SyslogTransport::Udp => {
            let socket = binder.udp(UDP, addr, config.receive_buffer.usize())?;
            Ok(datagrams(config, source(config, Some(listener), UDP)?, socket, shared))
        }
        SyslogTransport::Tcp => opened(TCP, None),
        SyslogTransport::Tls => opened(TLS, Some(certificates(config, TLS)?)),
        SyslogTransport::Relp => opened(RELP, None),
        SyslogTransport::RelpTls => opened(RELP, Some(certificates(config, RELP)?)),
    }
}

fn certificates(config: &SyslogConfig, door: &'static str) -> Result<TlsAcceptor, DoorError> {
    let none = || DoorError::Config { door, detail: "`doors.syslog.tls.cert_file` is not set".to_owned() };
    config.tls.acceptor(door)?.ok_or_else(none)
}

/// A listener's own settings.
struct Sender {
    door: FrameDoor,
    allow: Vec<IpNet>,
}

fn source(
    config: &SyslogConfig,
    listener: Option<&SyslogListener>,
    name: &'static str,
) -> Result<Sender, DoorError> {
    let timezone = listener.and_then(|one| one.timezone.as_ref()).unwrap_or(&config.timezone);
    let zone = Zone::named(timezone).ok_or_else(|| DoorError::Config {
        door: name,
        detail: format!(
            "`timezone`: `{timezone}` is no time zone this machine knows; write it like `Europe/Berlin`"
        ),
    })?;
    let service = listener.and_then(|one| one.service.clone()).or_else(|| config.service.clone());
    let tenant = listener.and_then(|one| one.tenant.clone()).unwrap_or_else(|| config.tenant.clone());
    let allow = listener.and_then(|one| one.allow.clone()).unwrap_or_else(|| config.allow.clone());
    let source = Source { zone, service };
    let decode = Arc::new(move |bytes: &[u8], frames: &[_], reading: heimdall_ingest::Reading<'_>| {
        decode::decode(bytes, frames, &source, reading)
    });
    Ok(Sender { door: FrameDoor { name, tenant, decode, unpacks: false, answers: name == RELP }, allow })
}

fn datagrams(config: &SyslogConfig, sender: Sender, socket: UdpSocket, shared: &Arc<Shared>) -> Opened {
    let Sender { door, allow } = sender;
    let addr = socket.local_addr().ok();
    let (name, shutdown, shared) = (door.name, shared.shutdown.clone(), Arc::clone(shared));
    let socket = DatagramDoor {
        name,
        socket,
        allow,
        datagram_bytes_max: config.frame_bytes_max.usize(),
        queue_bytes_max: config.queue_bytes_max.usize(),
    };
    let run = socket.run(shutdown, move |frames| {
        let (door, shared) = (door.clone(), Arc::clone(&shared));
        Box::pin(async move {
            door.hand_over_datagrams(&shared, frames).await;
        })
    });
    Opened { name, addr, run: Box::pin(run) }
}

fn stream(
    config: &SyslogConfig,
    sender: Sender,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: &Arc<Shared>,
) -> Opened {
    let Sender { door, allow } = sender;
    let name = door.name;
    keep_alive(&listener);
    let addr = listener.local_addr().ok();
    let limits = StreamLimits {
        frame_bytes_max: config.frame_bytes_max.usize(),
        idle_timeout: duration(config.idle_timeout),
        frame_timeout: duration(config.frame_timeout),
    };
    let (shutdown, shared) = (shared.shutdown.clone(), Arc::clone(shared));
    let tcp = TcpDoor { name, listener, tls, connections_max: config.connections_max, allow };
    let run = tcp.serve(shutdown, move |stream, peer| {
        let (door, shared) = (door.clone(), Arc::clone(&shared));
        async move {
            if name == RELP {
                relp::serve(&door, &shared, limits, stream, peer).await;
            } else {
                door.serve(&shared, Framing::Syslog, limits, stream, peer).await;
            }
        }
    });
    Opened { name, addr, run: Box::pin(run) }
}

/// Connections inherit it from the listener. Without it one whose other end lost its power would stay.
pub(crate) fn keep_alive(listener: &TcpListener) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_PERIOD)
        .with_interval(KEEPALIVE_PERIOD)
        .with_retries(KEEPALIVE_TRIES);
    if let Err(error) = socket2::SockRef::from(listener).set_tcp_keepalive(&keepalive) {
        tracing::warn!(%error, "no signs of life will be asked for on idle connections");
    }
}

pub(crate) fn duration(period: Period) -> Duration {
    Duration::from_nanos(u64::try_from(period.ns()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
