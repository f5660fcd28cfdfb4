//! Lumberjack v2: Beats' and Logstash's way to send to Logstash, with acknowledgement.
//!
//! A sender announces a window of events, sends them, and keeps them until they are acknowledged. Its numbers say nothing about
//! an earlier connection, so a window whose acknowledgement was lost comes again and is written again: at least once.
//!
//! Invariants:
//! - a number is acknowledged only once its event, and all before it, are durable (or rejected with a reason);
//! - while the journal has no room, the sender is told every few seconds how far it is, and nothing more is read from it;
//! - a connection holds at most [`BATCH_BYTES`] of events and one frame.
//!
//! Not here: frames ([`frames`]).

mod frames;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use heimdall_detect::Period;
use heimdall_ingest::{Caller, Decoded, Object, Reading, Records, Refused};
use heimdall_model::{Dataset, Size, Tenant};
use ipnet::IpNet;
use metrics::counter;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::frames::{Frame, FrameError};
use crate::net::{Binder, Peer, Stream, TcpDoor, TlsConfig};
use crate::patience::{Room, duration};
use crate::shared::Handover;
use crate::{DoorError, Opened, Shared};

const NAME: &str = "lumberjack";
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;
/// Events are made durable once they are this many bytes, even within a window.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Or so many of them.
const BATCH_EVENTS: usize = 50_000;
/// Events are made durable when the next one of their window does not come within this time.
const LINGER: Duration = Duration::from_millis(500);
/// How often a sender that waits is told how far it is; Beats wait 30 s.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// After this much silence the kernel asks whether the sender is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// Lumberjack v2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LumberjackConfig {
    /// Address, usually port 5044. Unset (the default): the door is closed.
    pub listen: Option<SocketAddr>,
    /// Whose records they are. Default `default`.
    pub tenant: Tenant,
    /// Networks that may connect; empty (the default): all.
    pub allow: Vec<IpNet>,
    /// Certificates; without them the protocol is spoken in the clear.
    pub tls: TlsConfig,
    /// Connections open at once (default 1,024); more wait in the listen queue.
    pub connections_max: usize,
    /// Bytes of one frame, packed and unpacked (default 32 MiB); a larger one ends its connection.
    pub frame_bytes_max: Size,
    /// A frame that has begun and goes no further for this long ends its connection (default 30 s). Between frames a
    /// connection may be silent for as long as its sender lives.
    pub idle_timeout: Period,
}

impl Default for LumberjackConfig {
    fn default() -> Self {
        LumberjackConfig {
            listen: None,
            tenant: Tenant::default(),
            allow: Vec::new(),
            tls: TlsConfig::default(),
            connections_max: 1_024,
            frame_bytes_max: Size(32 << 20),
            idle_timeout: Period::seconds(30),
        }
    }
}

/// Binds the door; `None` when it is not configured.
///
/// # Errors
/// [`DoorError`].
pub(crate) fn open(
    config: &LumberjackConfig,
    shared: &Arc<Shared>,
    binder: Binder,
) -> Result<Option<Opened>, DoorError> {
    let Some(addr) = config.listen else { return Ok(None) };
    let tls = config.tls.acceptor(NAME)?;
    let listener = binder.tcp(NAME, addr)?;
    let addr = crate::net::prepare(NAME, &listener, KEEPALIVE)?;
    let (connections_max, allow) = (config.connections_max, config.allow.clone());
    let tcp = TcpDoor { name: NAME, listener, tls, connections_max, allow };
    let door = Arc::new(Door {
        shared: Arc::clone(shared),
        tenant: config.tenant.clone(),
        frame_bytes_max: config.frame_bytes_max.usize(),
        idle_timeout: duration(config.idle_timeout),
    });
    let run = Box::pin(async move {
        let shutdown = door.shared.shutdown.clone();
        let handle = move |stream, peer| {
            let door = Arc::clone(&door);
            async move { serve(&door, stream, peer).await }
        };
        tcp.serve(shutdown, handle).await;
    });
    Ok(Some(Opened { name: NAME, addr: Some(addr), run }))
}

struct Door {
    shared: Arc<Shared>,
    tenant: Tenant,
    frame_bytes_max: usize,
    idle_timeout: Duration,
}

/// Why a connection was ended by the door.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("could not read or write: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a frame that had begun did not go on")]
    Idle,
    #[error(transparent)]
    Refused(#[from] Refused),
}

async fn serve(door: &Door, stream: Box<dyn Stream>, peer: Peer) {
    let caller = peer.caller(&door.tenant);
    let peer = peer.ends.peer;
    let mut connection = Connection {
        door,
        stream,
        caller,
        buffer: BytesMut::new(),
        room: Room::default(),
        window: Window::default(),
        pending: Events::default(),
    };
    let Err(ended) = connection.run().await else { return };
    let reason = match &ended {
        Ended::Io(error) => return tracing::debug!(door = NAME, %peer, %error, "connection lost"),
        Ended::Frame(error) => error.reason(),
        Ended::Idle => "idle",
        Ended::Refused(refused) => refused.code(),
    };
    counter!("door_frames_rejected_total", "door" => NAME, "reason" => reason).increment(1);
    tracing::warn!(door = NAME, %peer, error = %ended, "connection ended: its sender keeps what was not acknowledged");
}

/// Where a sender is in what it announced.
#[derive(Debug, Default)]
struct Window {
    /// Events announced.
    size: u32,
    /// Events of it that came.
    came: u32,
    /// Number of the last event that is durable.
    durable: u32,
}

impl Window {
    fn is_full(&self) -> bool {
        self.came >= self.size
    }
}

/// Events that came and are not durable: their JSON, one after the other.
#[derive(Debug, Default)]
struct Events {
    json: Vec<u8>,
    ends: Vec<usize>,
    /// Number of the last one.
    seq: u32,
}

impl Events {
    fn push(&mut self, seq: u32, json: &[u8]) {
        self.json.extend_from_slice(json);
        self.ends.push(self.json.len());
        self.seq = seq;
    }
}

struct Connection<'d> {
    door: &'d Door,
    stream: Box<dyn Stream>,
    caller: Caller,
    buffer: BytesMut,
    /// For `buffer` and `pending`.
    room: Room,
    window: Window,
    pending: Events,
}

impl Connection<'_> {
    async fn run(&mut self) -> Result<(), Ended> {
        loop {
            let frame = frames::next(&mut self.buffer, self.door.frame_bytes_max);
            match frame {
                Ok(Some(Frame::Compressed(packed))) => self.unpack(packed).await?,
                Ok(Some(frame)) => self.take(frame).await?,
                Ok(None) => {
                    if !self.read().await? {
                        return self.settle().await;
                    }
                }
                Err(error) => {
                    self.settle().await?;
                    return Err(error.into());
                }
            }
        }
    }

    async fn unpack(&mut self, packed: Bytes) -> Result<(), Ended> {
        let bytes_max = self.door.frame_bytes_max;
        let held = self.pending.json.len() + self.buffer.len();
        self.room
            .at_least(held + packed.len(), &self.door.shared, &self.caller, self.door.idle_timeout)
            .await?;
        let frames =
            self.door.shared.prepare(packed, move |packed| frames::unpack(packed, bytes_max)).await?;
        // Unpacked events are held twice for a moment: as frames, and as what is pending.
        let unpacked: usize = frames.iter().map(Frame::size).sum();
        let Door { shared, idle_timeout, .. } = self.door;
        self.room.at_least(held + 2 * unpacked, shared, &self.caller, *idle_timeout).await?;
        for frame in frames {
            self.take(frame).await?;
        }
        Ok(())
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Ended> {
        match frame {
            Frame::Window(size) => {
                self.settle().await?;
                self.window = Window { size, ..Window::default() };
                return Ok(());
            }
            Frame::Json(seq, json) => self.pending.push(seq, &json),
            Frame::Pairs(seq, pairs) => self.pending.push(seq, pairs_json(&pairs).as_bytes()),
            Frame::Compressed(_) | Frame::Ack => return Ok(()),
        }
        self.window.came = self.window.came.saturating_add(1);
        let is_much = self.pending.json.len() >= BATCH_BYTES || self.pending.ends.len() >= BATCH_EVENTS;
        if self.window.is_full() || is_much {
            self.settle().await?;
        }
        Ok(())
    }

    /// Reads on; `false` at the end of the connection or of the server.
    async fn read(&mut self) -> Result<bool, Ended> {
        let held = self.buffer.len() + self.pending.json.len();
        if held > READ_BYTES {
            let Door { shared, idle_timeout, .. } = self.door;
            self.room.at_least(held + READ_BYTES, shared, &self.caller, *idle_timeout).await?;
        } else {
            self.room.clear();
            if self.buffer.is_empty() && self.buffer.capacity() > 4 * READ_BYTES {
                self.buffer = BytesMut::new(); // what a large frame took is given back
            }
        }
        self.buffer.reserve(READ_BYTES / 4);
        let is_begun = !self.buffer.is_empty();
        let limit = match (self.pending.ends.is_empty(), is_begun) {
            (false, _) => Some(LINGER),
            (true, true) => Some(self.door.idle_timeout),
            (true, false) => None,
        };
        let reading = self.stream.read_buf(&mut self.buffer);
        let reading = async {
            match limit {
                None => Some(reading.await),
                Some(limit) => tokio::time::timeout(limit, reading).await.ok(),
            }
        };
        match self.door.shared.shutdown.run_until_cancelled(reading).await {
            None => Ok(false),
            Some(Some(count)) => Ok(count? > 0),
            Some(None) if self.pending.ends.is_empty() => Err(Ended::Idle),
            Some(None) => self.settle().await.map(|()| true),
        }
    }

    /// Makes the events that came durable and acknowledges them.
    async fn settle(&mut self) -> Result<(), Ended> {
        let Events { json, ends, seq } = std::mem::take(&mut self.pending);
        if ends.is_empty() {
            return Ok(());
        }
        let bytes = json.len() as u64;
        let Door { shared, idle_timeout, .. } = self.door;
        self.room.at_least(json.len() + self.buffer.len(), shared, &self.caller, *idle_timeout).await?;
        let decode = move |json: &[u8], reading: Reading<'_>| decode(json, &ends, reading);
        let decoded = shared.decode_from(&self.caller, NAME, json.into(), decode).await;
        let caller = self.caller.clone();
        let handover = Handover { caller, door: NAME, key: None, decoded: vec![decoded], bytes };
        let mut admitting = std::pin::pin!(shared.admit_patiently(handover, None));
        loop {
            tokio::select! {
                receipts = &mut admitting => {
                    receipts?;
                    break;
                }
                () = tokio::time::sleep(KEEPALIVE_INTERVAL) => {
                    self.stream.write_all(&frames::ack(self.window.durable)).await?;
                    self.stream.flush().await?;
                }
            }
        }
        self.window.durable = seq;
        self.stream.write_all(&frames::ack(seq)).await?;
        self.stream.flush().await?;
        Ok(())
    }
}

/// Decodes events: JSON that ends at `ends`.
fn decode(json: &[u8], ends: &[usize], reading: Reading<'_>) -> Decoded {
    let mut records = Records::new(Dataset::Logs, reading);
    let mut start = 0;
    for end in ends {
        let _ = records.json_bytes(json.get(start..*end).unwrap_or_default()); // why it was rejected is noted
        start = *end;
    }
    records.finish()
}

/// An event of names and values as JSON; its `line` is the message.
fn pairs_json(pairs: &[(Bytes, Bytes)]) -> String {
    let mut object = Object::new();
    for (name, value) in pairs {
        let name = String::from_utf8_lossy(name);
        object.lossy(if name == "line" { "message" } else { &name }, value);
    }
    object.to_json()
}

#[cfg(test)]
mod tests {
    use heimdall_ingest::DecodeLimits;
    use heimdall_model::Timestamp;
    use heimdall_model::schema::logs;
    use heimdall_testkit::data::bad_inputs;
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use tokio::net::TcpStream;

    use super::frames::put;
    use super::*;
    use crate::testing::{TestShared, check_batch, shared};

    #[test]
    fn events_of_beats_become_records() {
        let event = r#"{"@timestamp":"2026-01-02T03:04:05.678Z","@metadata":{"beat":"filebeat","version":"8.9.0"},
            "message":"GET /","host":{"name":"web-1","os":{"type":"linux"}},"log":{"level":"warn","offset":7,"file":{"path":"/var/log/a"}},
            "service":{"name":"shop"},"agent":{"type":"filebeat"}}"#;
        let pairs = pairs_json(&[
            (Bytes::from_static(b"line"), Bytes::from_static(b"old \xff")),
            (Bytes::from_static(b"host"), Bytes::from_static(b"h1")),
        ]);
        let json = [event, "[1", &pairs].concat();
        let ends = [event.len(), event.len() + 2, json.len()];
        let limits = DecodeLimits::default();
        let decoded = decode(json.as_bytes(), &ends, Reading::new(Timestamp(5), &limits));
        assert_eq!((decoded.batch.rows(), decoded.rejected_total()), (2, 1));
        let row = decoded.batch.row(0);
        assert_eq!(row.text(logs::MESSAGE), Some("GET /"));
        assert_eq!((row.service(), row.text(logs::HOST)), (Some("shop"), Some("web-1")));
        assert_eq!(row.level(), Some(heimdall_model::Level::Warn));
        let attributes = row.attributes().expect("the rest");
        assert!(attributes.contains("/var/log/a") && attributes.contains("filebeat"), "{attributes}");
        assert_eq!(decoded.batch.row(1).text(logs::MESSAGE), Some("old \u{fffd}"));
    }

    async fn run_door() -> (TestShared, SocketAddr, tokio::task::JoinHandle<()>) {
        let it = shared();
        let listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let config = LumberjackConfig { listen, ..LumberjackConfig::default() };
        let binder = Binder { auth_enabled: false, ephemeral: true };
        let opened = open(&config, &it.shared, binder).expect("a free port").expect("it is configured");
        let addr = opened.addr.expect("it listens");
        (it, addr, tokio::spawn(opened.run))
    }

    async fn read_ack(stream: &mut TcpStream) -> u32 {
        let mut ack = [0; frames::ACK_BYTES];
        stream.read_exact(&mut ack).await.expect("an acknowledgement");
        assert_eq!(&ack[..2], b"2A");
        u32::from_be_bytes([ack[2], ack[3], ack[4], ack[5]])
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn windows_are_acknowledged_once_durable() {
        let (it, addr, task) = run_door().await;
        let mut stream = TcpStream::connect(addr).await.expect("a door");
        let events: Vec<u8> =
            (1..=3).flat_map(|n| put::json(n, &format!("{{\"message\":\"{n}\"}}"))).collect();
        stream.write_all(&[put::window(3), put::compressed(&events)].concat()).await.expect("a connection");
        assert_eq!(read_ack(&mut stream).await, 3);
        assert_eq!(it.records(3)[2]["message"], "3");
        stream.write_all(&[put::window(2), put::json(1, "{oops")].concat()).await.expect("a connection");
        assert_eq!(read_ack(&mut stream).await, 1, "the rest does not come soon");
        stream.write_all(&put::json(2, "{\"message\":\"4\"}")).await.expect("a connection");
        assert_eq!(read_ack(&mut stream).await, 2);
        assert_eq!(it.records(1)[0]["message"], "4");
        assert_eq!(it.shippers(NAME, 1), ["127.0.0.1"]);
        it.shared.shutdown.cancel();
        task.await.expect("it ends");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn version_1_is_turned_away_after_what_came_before() {
        let (it, addr, _task) = run_door().await;
        let mut stream = TcpStream::connect(addr).await.expect("a door");
        let bytes =
            [put::window(9), put::json(1, "{\"message\":\"kept\"}"), b"1W\0\0\0\x01".to_vec()].concat();
        stream.write_all(&bytes).await.expect("a connection");
        assert_eq!(read_ack(&mut stream).await, 1);
        assert_eq!(stream.read_buf(&mut BytesMut::new()).await.unwrap_or(0), 0);
        assert_eq!(it.records(1)[0]["message"], "kept");
    }

    #[test]
    fn mutants_of_events_are_records_or_reasons() {
        let event = r#"{"@timestamp":"2026-01-02T03:04:05.678Z","@metadata":{"beat":"filebeat"},"message":"GET /","host":{"name":"web-1"},"log":{"level":"warn","offset":7}}"#;
        let limits = DecodeLimits::default();
        fuzz(&Seeds::text([event, r#"{"message":"a"}"#]), |mutant, rng| {
            let reading = Reading::new(Timestamp(5), &limits);
            check_batch(&decode(mutant, &[mutant.len()], reading), 1);
            let at = rng.below(mutant.len() + 1);
            check_batch(&decode(mutant, &[at, mutant.len()], reading), 2);
            let pairs = [(Bytes::copy_from_slice(&mutant[..at]), Bytes::copy_from_slice(&mutant[at..]))];
            let json = pairs_json(&pairs);
            check_batch(&decode(json.as_bytes(), &[json.len()], reading), 1);
        });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_bad_inputs_a_good_event_is_taken() {
        let (it, addr, _task) = run_door().await;
        for (n, input) in bad_inputs().into_iter().enumerate() {
            let mut raw = TcpStream::connect(addr).await.expect("a door");
            let _ = raw.write_all(&input.bytes).await; // the door may end it first
            let _ = raw.shutdown().await;
            let message = format!("good {n}");
            let good = put::json(2, &format!("{{\"message\":\"{message}\"}}"));
            let bad = [
                &b"2J\0\0\0\x01"[..],
                &u32::try_from(input.bytes.len()).expect("short").to_be_bytes(),
                &input.bytes,
            ]
            .concat();
            let mut stream = TcpStream::connect(addr).await.expect("a door");
            stream.write_all(&[put::window(2), bad, good].concat()).await.expect("a connection");
            while read_ack(&mut stream).await != 2 {}
            tokio::task::block_in_place(|| it.messages_until(&message));
        }
    }
}
