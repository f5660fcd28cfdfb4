//! Fluent forward: Fluentd, Fluent Bit, Docker's fluentd driver and the `fluent-logger` libraries.
//!
//! A sender that asks for acknowledgement (`require_ack_response`) gets `{"ack": chunk}` once the chunk is durable; a chunk
//! that comes again is not written again. Without it a sender never learns whether its records arrived: the door then takes
//! no more from its connection while the journal has no room.
//!
//! Invariants:
//! - an ack is sent only after the intake returned a receipt for all batches of its chunk;
//! - a connection holds at most one message beyond `frame_bytes_max`, and room in the intake for what it holds;
//! - what is not of the protocol ends its connection and is counted; whole messages before it are kept.
//!
//! Not here: MessagePack ([`msgpack`]), what messages mean ([`decode`]), who is let in ([`handshake`]).

mod decode;
mod handshake;
mod msgpack;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::future::{BoxFuture, join_all};
use heimdall_detect::Period;
use heimdall_ingest::compression::CompressionLimits;
use heimdall_ingest::intake::shipper;
use heimdall_ingest::{Caller, Reading, Refused};
use heimdall_model::{Size, Tenant};
use ipnet::IpNet;
use metrics::counter;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use self::decode::{MessageError, Surroundings, Unit};
use self::handshake::{Handshake, Secrets};
use self::msgpack::Scanner;
use crate::net::{Binder, Peer, Stream, TcpDoor, TlsConfig, is_allowed};
use crate::patience::{Room, duration};
use crate::shared::Handover;
use crate::{DoorError, Opened, Shared};

const NAME: &str = "fluent";
/// The port of the protocol.
const PORT: u16 = 24224;
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;
/// Messages decoded in one turn; between turns other connections get theirs.
const TURN_MESSAGES_MAX: usize = 4096;
/// A PING is never larger.
const PING_BYTES_MAX: usize = 16 * 1024;
/// A handshake that takes longer ends the connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After this much silence the kernel asks whether the sender is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);
/// Bytes of heartbeats that may wait.
const HEARTBEAT_BUFFER_BYTES: usize = 64 * 1024;
/// Pause after a heartbeat could not be received.
const HEARTBEAT_PAUSE: Duration = Duration::from_secs(1);

/// Fluent forward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FluentConfig {
    /// Address, TCP and (for heartbeats) UDP. Default `127.0.0.1:24224`, unless that port is taken.
    pub listen: Option<SocketAddr>,
    /// Whose records they are. Default `default`.
    pub tenant: Tenant,
    /// Networks that may connect; empty (the default): all.
    pub allow: Vec<IpNet>,
    /// Certificates; without them the protocol is spoken in the clear.
    pub tls: TlsConfig,
    /// File with the key that senders must know (`shared_key`); unset (the default): there is no handshake.
    pub shared_key_file: Option<PathBuf>,
    /// Users that may send and the files of their passwords; empty (the default): the shared key is enough.
    pub users: BTreeMap<String, PathBuf>,
    /// The server's name in the handshake, which must not be the sender's own. Default `heimdall`.
    pub hostname: String,
    /// Connections open at once (default 1,024); more wait in the listen queue.
    pub connections_max: usize,
    /// Bytes of one message, packed and unpacked (default 64 MiB); a larger one ends its connection.
    pub frame_bytes_max: Size,
    /// A message that has begun and goes no further for this long ends its connection (default 30 s). Between messages a
    /// connection may be silent for as long as its sender lives.
    pub idle_timeout: Period,
}

impl Default for FluentConfig {
    fn default() -> Self {
        FluentConfig {
            listen: None,
            tenant: Tenant::default(),
            allow: Vec::new(),
            tls: TlsConfig::default(),
            shared_key_file: None,
            users: BTreeMap::new(),
            hostname: "heimdall".to_owned(),
            connections_max: 1_024,
            frame_bytes_max: Size(64 << 20),
            idle_timeout: Period::seconds(30),
        }
    }
}

/// Binds the door; `None` when its usual port is taken.
///
/// # Errors
/// [`DoorError`].
pub(crate) fn open(
    config: &FluentConfig,
    shared: &Arc<Shared>,
    binder: Binder,
) -> Result<Option<Opened>, DoorError> {
    let secrets = secrets(config)?;
    let tls = config.tls.acceptor(NAME)?;
    let Some(listener) = binder.tcp_or_default(NAME, config.listen, PORT)? else { return Ok(None) };
    let addr = crate::net::prepare(NAME, &listener, KEEPALIVE)?;
    let heartbeats = match binder.udp(NAME, addr, HEARTBEAT_BUFFER_BYTES) {
        Ok(socket) => Some(socket),
        Err(error) => {
            tracing::warn!(door = NAME, %addr, %error, "heartbeats by UDP will not be answered");
            None
        }
    };
    let tcp = TcpDoor {
        name: NAME,
        listener,
        tls,
        connections_max: config.connections_max,
        allow: config.allow.clone(),
    };
    let door = Arc::new(Door {
        shared: Arc::clone(shared),
        tenant: config.tenant.clone(),
        secrets,
        frame_bytes_max: config.frame_bytes_max.usize(),
        idle_timeout: duration(config.idle_timeout),
        allow: config.allow.clone(),
    });
    Ok(Some(Opened { name: NAME, addr: Some(addr), run: run(door, tcp, heartbeats) }))
}

fn secrets(config: &FluentConfig) -> Result<Option<Secrets>, DoorError> {
    let Some(key_file) = &config.shared_key_file else {
        return if config.users.is_empty() {
            Ok(None)
        } else {
            let detail = "users need a shared_key_file as well".to_owned();
            Err(DoorError::Config { door: NAME, detail })
        };
    };
    let read = |path: &Path| match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(format!("`{}` is empty", path.display())),
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(format!("`{}`: {error}", path.display())),
    };
    let all = || -> Result<Secrets, String> {
        let users = config.users.iter().map(|(user, path)| Ok((user.clone(), read(path)?)));
        Ok(Secrets {
            shared_key: read(key_file)?,
            users: users.collect::<Result<_, String>>()?,
            hostname: config.hostname.clone(),
        })
    };
    all().map(Some).map_err(|detail| DoorError::Config { door: NAME, detail })
}

struct Door {
    shared: Arc<Shared>,
    tenant: Tenant,
    secrets: Option<Secrets>,
    frame_bytes_max: usize,
    idle_timeout: Duration,
    allow: Vec<IpNet>,
}

fn run(door: Arc<Door>, tcp: TcpDoor, heartbeats: Option<UdpSocket>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let shutdown = door.shared.shutdown.clone();
        let answering = async {
            if let Some(socket) = heartbeats {
                let _ = shutdown.run_until_cancelled(answer_heartbeats(&socket, &door.allow)).await;
            }
        };
        let each = Arc::clone(&door);
        let serving = tcp.serve(shutdown.clone(), move |stream, peer| {
            let door = Arc::clone(&each);
            async move { serve(&door, stream, peer).await }
        });
        tokio::join!(serving, answering);
    })
}

/// Fluentd asks by UDP, when it is told to, whether its server lives; the answer is a zero byte.
async fn answer_heartbeats(socket: &UdpSocket, allow: &[IpNet]) {
    let mut byte = [0; 1];
    loop {
        match socket.recv_from(&mut byte).await {
            Ok((_, peer)) if is_allowed(allow, peer.ip()) => {
                let _ = socket.send_to(&[0], peer).await; // the sender asks again
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(door = NAME, %error, "no heartbeat");
                tokio::time::sleep(HEARTBEAT_PAUSE).await;
            }
        }
    }
}

/// Why a connection was ended by the door.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("could not read or write")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("a message {0}")]
    Frame(#[from] msgpack::Malformed),
    #[error("a message that had begun did not go on")]
    Idle,
    #[error("the handshake failed: {0}")]
    Handshake(&'static str),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Ended {
    /// The label of `door_frames_rejected_total`; `None` for what is no fault of a message.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Ended::Message(error) => Some(error.reason()),
            Ended::Frame(msgpack::Malformed::TooLarge { .. }) => Some("too_large"),
            Ended::Frame(_) => Some("malformed"),
            Ended::Idle => Some("idle"),
            Ended::Refused(refused) => Some(refused.code()),
            Ended::Handshake(_) | Ended::Io(_) => None,
        }
    }
}

async fn serve(door: &Door, stream: Box<dyn Stream>, peer: Peer) {
    let caller = peer.caller(&door.tenant);
    let peer = peer.ends.peer;
    let mut connection = Connection {
        door,
        stream,
        caller,
        buffer: BytesMut::new(),
        scanner: Scanner::default(),
        room: Room::default(),
    };
    let Err(ended) = connection.run().await else { return };
    if let Some(reason) = ended.reason() {
        counter!("door_frames_rejected_total", "door" => NAME, "reason" => reason).increment(1);
    }
    match &ended {
        Ended::Io(error) => tracing::debug!(door = NAME, %peer, %error, "connection lost"),
        Ended::Handshake(_) => {
            counter!("door_connections_refused_total", "door" => NAME, "reason" => "shared_key").increment(1);
            tracing::warn!(door = NAME, %peer, error = %ended, "connection refused");
        }
        _ => {
            tracing::warn!(door = NAME, %peer, error = %ended, "connection ended: its sender keeps what was not acknowledged");
        }
    }
}

struct Connection<'d> {
    door: &'d Door,
    stream: Box<dyn Stream>,
    caller: Caller,
    buffer: BytesMut,
    scanner: Scanner,
    /// Room for what `buffer` holds, once that is more than a read's worth.
    room: Room,
}

impl Connection<'_> {
    async fn run(&mut self) -> Result<(), Ended> {
        if let Some(secrets) = &self.door.secrets {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.shake_hands(secrets)).await {
                Ok(done) => done?,
                Err(_) => return Err(Ended::Handshake("it took too long")),
            }
        }
        loop {
            let (ends, outcome) = self.ends();
            if ends.is_empty() {
                outcome?;
                if !self.read().await? {
                    return Ok(());
                }
            } else {
                self.turn(ends).await?;
            }
        }
    }

    async fn shake_hands(&mut self, secrets: &Secrets) -> Result<(), Ended> {
        let handshake = Handshake::new(secrets).map_err(|_| Ended::Handshake("no random bytes"))?;
        self.stream.write_all(&handshake.helo()).await?;
        self.stream.flush().await?;
        let end = loop {
            if let Some(end) = self.scanner.end(&self.buffer, PING_BYTES_MAX)? {
                break end;
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Ended::Handshake("the sender hung up"));
            }
        };
        let ping = self.buffer.split_to(end);
        let answer = handshake.answer(&ping).map_err(|_| Ended::Handshake("there was no PING"))?;
        self.stream.write_all(&answer.pong).await?;
        self.stream.flush().await?;
        if let Some(reason) = answer.refused {
            return Err(Ended::Handshake(reason));
        }
        if self.caller.shipper.is_none() {
            self.caller.shipper = shipper(&answer.hostname);
        }
        Ok(())
    }

    /// Where the whole messages of the buffer end.
    fn ends(&mut self) -> (Vec<usize>, Result<(), msgpack::Malformed>) {
        let (mut ends, mut start) = (Vec::new(), 0);
        while ends.len() < TURN_MESSAGES_MAX {
            match self.scanner.end(&self.buffer[start..], self.door.frame_bytes_max) {
                Ok(Some(length)) => {
                    start += length;
                    ends.push(start);
                }
                Ok(None) => break,
                Err(error) => return (ends, Err(error)),
            }
        }
        (ends, Ok(()))
    }

    /// Reads on; `false` at the end of the connection or of the server.
    async fn read(&mut self) -> Result<bool, Ended> {
        let is_begun = !self.buffer.is_empty();
        if self.buffer.len() > READ_BYTES {
            let Door { shared, idle_timeout, .. } = self.door;
            self.room.at_least(self.buffer.len() + READ_BYTES, shared, &self.caller, *idle_timeout).await?;
        } else {
            self.room.clear();
        }
        if !is_begun && self.buffer.capacity() > READ_BYTES {
            self.buffer = BytesMut::new(); // what a large message took is given back
        }
        self.buffer.reserve(READ_BYTES / 4);
        let reading = self.stream.read_buf(&mut self.buffer);
        let reading = async {
            if is_begun {
                tokio::time::timeout(self.door.idle_timeout, reading)
                    .await
                    .map_err(|_| Ended::Idle)?
                    .map_err(Ended::Io)
            } else {
                reading.await.map_err(Ended::Io)
            }
        };
        match self.door.shared.shutdown.run_until_cancelled(reading).await {
            None => Ok(false),
            Some(count) => Ok(count? > 0),
        }
    }

    /// Decodes the messages that end at `ends`, makes them durable and acknowledges them.
    async fn turn(&mut self, ends: Vec<usize>) -> Result<(), Ended> {
        let length = ends.last().copied().unwrap_or(0);
        let Door { shared, idle_timeout, .. } = self.door;
        self.room.at_least(length, shared, &self.caller, *idle_timeout).await?;
        let mut room = std::mem::take(&mut self.room);
        let bytes = self.buffer.split_to(length).freeze();
        let unpack = CompressionLimits {
            decompressed_bytes_max: self.door.frame_bytes_max,
            ..self.door.shared.limits.compression
        };
        let decode = move |bytes: &[u8], reading: Reading<'_>| {
            let grow = &mut |bytes| room.grow(bytes);
            let (units, outcome) =
                decode::decode(bytes, &ends, Surroundings { reading, unpack: &unpack, room: grow });
            (units, outcome, room)
        };
        let (units, outcome, room) = self.door.shared.decode_from(&self.caller, NAME, bytes, decode).await;
        self.admit(units).await?;
        drop(room);
        Ok(outcome?)
    }

    /// Makes units durable together, and acknowledges each that is.
    async fn admit(&mut self, units: Vec<Unit>) -> Result<(), Ended> {
        let shared = &self.door.shared;
        let admitted = join_all(units.into_iter().map(|unit| {
            let Unit { ack, key, decoded, bytes } = unit;
            let caller = self.caller.clone();
            let handover = Handover { caller, door: NAME, key, decoded, bytes: bytes as u64 };
            async move { (ack, shared.admit_patiently(handover, None).await) }
        }));
        let mut acks = Vec::new();
        let mut refused = None;
        for (ack, receipts) in admitted.await {
            match (ack, receipts) {
                (Some(chunk), Ok(_)) => acks.extend(decode::ack(&chunk)),
                (None, Ok(_)) => {}
                (chunk, Err(error)) => {
                    let chunk = chunk.as_deref().map(decode::chunk_text).unwrap_or_default();
                    tracing::warn!(door = NAME, chunk, %error, "messages were not taken");
                    refused = Some(error);
                }
            }
        }
        if !acks.is_empty() {
            self.stream.write_all(&acks).await?;
            self.stream.flush().await?;
        }
        refused.map_or(Ok(()), |refused| Err(refused.into()))
    }
}

#[cfg(test)]
mod tests;
