//! One client's connections to its broker, one after the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use heimdall_ingest::{Caller, Refused};
use heimdall_model::Dataset;
use metrics::counter;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Packet, PubAck, Publish, Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{self, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::announced::{Announcements, Known, write_file};
use super::decode::{Message, Reader};
use super::{Broker, MqttConfig, NAME};
use crate::Shared;
use crate::net::Stream;
use crate::shared::Handover;

/// Longest wait for a connection, for TLS, and for the broker's answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection was lost; doubled up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Messages made durable at once.
const BATCH_MESSAGES: usize = 2_000;
/// Or so many bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("could not read or write: {0}")]
    Io(#[from] std::io::Error),
    #[error("the broker sends what is no MQTT: {0}")]
    Packet(#[from] mqttbytes::Error),
    #[error("the broker does not let this client in: {0:?}")]
    Turned(ConnectReturnCode),
    #[error("the broker does not grant the subscription `{0}`")]
    Subscription(String),
    #[error("the broker sends {0}")]
    Unexpected(&'static str),
    #[error("the broker does not answer")]
    Silent,
    #[error("the broker hung up")]
    Closed,
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// A client of one broker.
pub(crate) struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: MqttConfig,
    pub(crate) broker: Broker,
    pub(crate) password: Option<String>,
    pub(crate) announcements: Announcements,
    pub(crate) reader: Reader,
    pub(crate) keep_alive: Duration,
}

/// A connection.
struct Link {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    packet_bytes_max: usize,
    /// Pings sent and answered.
    pings: u64,
    answers: u64,
    /// Bytes still to come of a packet that is too large.
    skip: usize,
    /// Packet ids of messages that were too large.
    passed_over: Vec<u16>,
    /// When something was sent last, and when something came.
    sent: Instant,
    heard: Instant,
}

/// The first half of a SHA-256 of texts, as hex digits.
pub(crate) fn digest(parts: &[&str]) -> String {
    digest_bytes(parts.iter().map(|part| part.as_bytes()))
}

fn digest_bytes<'p>(parts: impl Iterator<Item = &'p [u8]>) -> String {
    use std::fmt::Write as _;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    context.finish().as_ref()[..16].iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a string cannot fail");
        out
    })
}

fn known(publish: &Publish) -> Known {
    let digest = digest_bytes([publish.topic.as_bytes(), &publish.payload[..]].into_iter());
    Known { packet_id: publish.pkid, digest }
}

impl Client {
    /// Stays connected until the server ends.
    pub(crate) async fn run(&mut self) {
        let shutdown = self.shared.shutdown.clone();
        let mut pause = PAUSE;
        while !shutdown.is_cancelled() {
            let begun = Instant::now();
            if let Err(ended) = self.session().await {
                if matches!(ended, Ended::Packet(_) | Ended::Unexpected(_)) {
                    counter!("door_frames_rejected_total", "door" => NAME, "reason" => "malformed")
                        .increment(1);
                }
                let url = &self.config.url;
                tracing::warn!(door = NAME, url, error = %ended, "not connected to the broker, retrying");
            }
            self.announcements.disconnected();
            if begun.elapsed() > PAUSE_MAX {
                pause = PAUSE;
            }
            let _ = shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn session(&mut self) -> Result<(), Ended> {
        let shutdown = self.shared.shutdown.clone();
        let Some(link) = shutdown.run_until_cancelled(self.connect()).await else { return Ok(()) };
        let mut link = link?;
        counter!("door_connections_total", "door" => NAME).increment(1);
        tracing::info!(door = NAME, url = self.config.url, "connected to the broker");
        loop {
            let (publishes, answers) = link.packets(&self.config)?;
            if publishes.is_empty() && answers == 0 && link.passed_over.is_empty() {
                if !link.read(self.keep_alive, &shutdown).await? {
                    let _ = link.send(&[Packet::Disconnect]).await; // the broker notices anyway
                    return Ok(());
                }
                continue;
            }
            if !publishes.is_empty() {
                self.take(&mut link, publishes).await?;
            }
            link.acknowledge_passed_over().await?;
            link.answers += answers;
            self.announcements.answered(link.answers);
        }
    }

    async fn connect(&mut self) -> Result<Link, Ended> {
        let opening = async {
            let stream = TcpStream::connect((self.broker.host.as_str(), self.broker.port)).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match &self.broker.tls {
                None => Box::new(stream),
                Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
            };
            Ok::<_, Ended>(stream)
        };
        let stream = timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| Ended::Silent)??;
        let now = Instant::now();
        let mut link = Link {
            stream,
            buffer: BytesMut::new(),
            packet_bytes_max: self.config.frame_bytes_max.usize(),
            pings: 0,
            answers: 0,
            skip: 0,
            passed_over: Vec::new(),
            sent: now,
            heard: now,
        };
        let mut connect = Connect::new(self.config.client_id.clone());
        connect.clean_session = false;
        connect.keep_alive = u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX);
        if !self.config.username.is_empty() {
            connect.set_login(self.config.username.clone(), self.password.clone().unwrap_or_default());
        }
        link.send(&[Packet::Connect(connect)]).await?;
        match timeout(CONNECT_TIMEOUT, link.packet()).await.map_err(|_| Ended::Silent)?? {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => {
                if !answer.session_present {
                    self.announcements.clear();
                }
            }
            Packet::ConnAck(answer) => return Err(Ended::Turned(answer.code)),
            _ => return Err(Ended::Unexpected("another packet before CONNACK")),
        }
        let filters = self.config.topics.iter().map(|topic| {
            let qos = if topic.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            SubscribeFilter::new(topic.filter.clone(), qos)
        });
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = 1;
        link.send(&[Packet::Subscribe(subscribe)]).await?;
        Ok(link)
    }

    /// Makes messages durable, and acknowledges them.
    async fn take(&mut self, link: &mut Link, publishes: Vec<Publish>) -> Result<(), Ended> {
        let acks: Vec<Packet> = publishes
            .iter()
            .filter(|publish| publish.qos == QoS::AtLeastOnce)
            .map(|publish| Packet::PubAck(PubAck::new(publish.pkid)))
            .collect();
        let keep_alive = self.keep_alive;
        {
            let mut admitting = std::pin::pin!(self.admit(publishes));
            loop {
                tokio::select! {
                    admitted = &mut admitting => break admitted?,
                    () = tokio::time::sleep_until(link.sent + keep_alive / 2) => link.ping().await?,
                }
            }
        }
        if !acks.is_empty() {
            link.send(&acks).await?;
            link.ping().await?;
            self.announcements.pinged(link.pings);
        }
        Ok(())
    }

    async fn admit(&mut self, publishes: Vec<Publish>) -> Result<(), Ended> {
        let mut fresh = Vec::new();
        // Of batches of the process before, of which only the journal knows whether it has them.
        let mut unknown: Vec<(String, Vec<Publish>)> = Vec::new();
        for publish in publishes {
            let again = (publish.dup && publish.qos == QoS::AtLeastOnce)
                .then(|| self.announcements.find(&known(&publish)))
                .flatten();
            match again {
                Some(batch) if batch.is_durable => {
                    counter!("ingest_records_total", "door" => NAME, "outcome" => "deduplicated")
                        .increment(1);
                }
                Some(batch) => match unknown.iter_mut().find(|(key, _)| *key == batch.key) {
                    Some((_, publishes)) => publishes.push(publish),
                    None => unknown.push((batch.key.clone(), vec![publish])),
                },
                None => fresh.push(publish),
            }
        }
        for (key, publishes) in unknown {
            let messages: Vec<Known> = publishes.iter().map(known).collect();
            if self.hand_over(&key, publishes).await? {
                self.announcements.is_durable(&key);
            } else {
                self.announcements.narrow(&key, &messages);
            }
        }
        self.admit_fresh(fresh).await
    }

    async fn admit_fresh(&mut self, publishes: Vec<Publish>) -> Result<(), Ended> {
        let (samples, logs): (Vec<_>, Vec<_>) =
            publishes.into_iter().partition(|publish| self.dataset_of(publish) == Dataset::Metrics);
        let mut batches = Vec::new();
        let mut is_announced = false;
        for publishes in [logs, samples].into_iter().filter(|publishes| !publishes.is_empty()) {
            let key = Uuid::new_v4().to_string();
            let messages: Vec<Known> =
                publishes.iter().filter(|publish| publish.qos == QoS::AtLeastOnce).map(known).collect();
            if !messages.is_empty() {
                self.announcements.announce(key.clone(), messages);
                is_announced = true;
            }
            batches.push((key, publishes));
        }
        if is_announced {
            let (path, bytes) = self.announcements.to_bytes()?;
            let written = tokio::task::spawn_blocking(move || write_file(&path, &bytes)).await;
            written.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        }
        for (key, publishes) in batches {
            self.hand_over(&key, publishes).await?;
            self.announcements.is_durable(&key);
        }
        Ok(())
    }

    fn dataset_of(&self, publish: &Publish) -> Dataset {
        self.reader.dataset_of(&message(publish))
    }

    /// Makes messages of one dataset durable; whether the journal had their batch already.
    async fn hand_over(&self, key: &str, publishes: Vec<Publish>) -> Result<bool, Ended> {
        let messages: Vec<Message> = publishes.iter().map(message).collect();
        let bytes: usize = messages.iter().map(|message| message.payload.len()).sum();
        let dataset = messages.first().map_or(Dataset::Logs, |first| self.reader.dataset_of(first));
        let shipper = format!("{}/{}", self.broker.host, self.config.client_id);
        let caller = Caller::named(self.config.tenant.clone(), &shipper);
        let sift = self.shared.sift(&caller, NAME);
        let reading = sift.reading(&self.shared.limits.decode);
        let decoded = vec![self.reader.decode(dataset, &messages, reading)];
        let handover =
            Handover { caller, door: NAME, key: Some(key.to_owned()), decoded, bytes: bytes as u64 };
        let receipts = self.shared.admit_patiently(handover, None).await?;
        Ok(receipts.iter().any(|receipt| receipt.deduplicated > 0))
    }
}

fn message(publish: &Publish) -> Message {
    Message { topic: publish.topic.clone(), payload: publish.payload.clone(), is_retained: publish.retain }
}

impl Link {
    async fn send(&mut self, packets: &[Packet]) -> Result<(), Ended> {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, usize::MAX)?;
        }
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await?;
        self.sent = Instant::now();
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), Ended> {
        self.pings += 1;
        self.send(&[Packet::PingReq]).await
    }

    /// The next packet, when it is there as a whole. A message that is too large is passed over: the broker would send it again
    /// for ever, and nothing behind it.
    fn next(&mut self) -> Result<Option<Packet>, Ended> {
        let here = self.skip.min(self.buffer.len());
        self.buffer.advance(here);
        self.skip -= here;
        if self.skip > 0 {
            return Ok(None);
        }
        match Packet::read(&mut self.buffer, self.packet_bytes_max) {
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(mqttbytes::Error::PayloadSizeLimitExceeded(bytes)) => {
                let Some(large) = Large::read(&self.buffer)? else { return Ok(None) };
                counter!("door_frames_rejected_total", "door" => NAME, "reason" => "too_large").increment(1);
                tracing::warn!(
                    door = NAME,
                    topic = large.topic,
                    bytes,
                    "a message is lost: it is larger than frame_bytes_max"
                );
                self.skip = large.length;
                self.passed_over.extend(large.packet_id);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Acknowledges messages that were too large.
    async fn acknowledge_passed_over(&mut self) -> Result<(), Ended> {
        let acks: Vec<Packet> =
            self.passed_over.drain(..).map(|id| Packet::PubAck(PubAck::new(id))).collect();
        if acks.is_empty() { Ok(()) } else { self.send(&acks).await }
    }

    async fn packet(&mut self) -> Result<Packet, Ended> {
        loop {
            if let Some(packet) = self.next()? {
                return Ok(packet);
            }
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Ended::Closed);
            }
        }
    }

    /// Messages that are there, a batch at most, and how many pings were answered after them.
    fn packets(&mut self, config: &MqttConfig) -> Result<(Vec<Publish>, u64), Ended> {
        let (mut publishes, mut bytes) = (Vec::new(), 0);
        while publishes.len() < BATCH_MESSAGES && bytes < BATCH_BYTES && self.passed_over.is_empty() {
            match self.next()? {
                None => break,
                Some(Packet::Publish(publish)) if publish.qos == QoS::ExactlyOnce => {
                    return Err(Ended::Unexpected("a message of QoS 2, which was not asked for"));
                }
                Some(Packet::Publish(publish)) => {
                    bytes += publish.payload.len() + publish.topic.len();
                    publishes.push(publish);
                }
                Some(Packet::PingResp) => return Ok((publishes, 1)), // what comes behind it waits for the next turn
                Some(Packet::SubAck(answer)) => {
                    let codes = answer.return_codes.iter().zip(&config.topics);
                    for (code, topic) in codes {
                        if *code == SubscribeReasonCode::Failure {
                            return Err(Ended::Subscription(topic.filter.clone()));
                        }
                    }
                }
                Some(_) => return Err(Ended::Unexpected("a packet that is not for a subscriber")),
            }
        }
        Ok((publishes, 0))
    }

    /// Reads on; `false` at the end of the server.
    async fn read(
        &mut self,
        keep_alive: Duration,
        shutdown: &tokio_util::sync::CancellationToken,
    ) -> Result<bool, Ended> {
        self.buffer.reserve(READ_BYTES);
        loop {
            tokio::select! {
                count = self.stream.read_buf(&mut self.buffer) => {
                    if count? == 0 {
                        return Err(Ended::Closed);
                    }
                    self.heard = Instant::now();
                    return Ok(true);
                }
                () = tokio::time::sleep_until(self.sent + keep_alive / 2) => {
                    if self.heard.elapsed() > keep_alive * 2 {
                        return Err(Ended::Silent);
                    }
                    self.ping().await?;
                }
                () = shutdown.cancelled() => return Ok(false),
            }
        }
    }
}

/// What the first bytes say of a message that is too large.
struct Large {
    /// Bytes of the packet.
    length: usize,
    topic: String,
    /// None for QoS 0.
    packet_id: Option<u16>,
}

impl Large {
    /// `None`: more bytes are needed.
    fn read(bytes: &[u8]) -> Result<Option<Large>, Ended> {
        const PUBLISH: u8 = 3;
        let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
        if first >> 4 != PUBLISH {
            return Err(Ended::Unexpected("a packet that is too large and no message"));
        }
        let width = rest.iter().take(4).take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let Some((size, rest)) = rest.split_at_checked(width) else { return Ok(None) };
        let size = size.iter().rev().fold(0_usize, |all, byte| all << 7 | usize::from(byte & 0x7f));
        let word = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
        let Some(topic_length) = word(0).map(usize::from) else { return Ok(None) };
        let (Some(topic), Some(packet_id)) = (rest.get(2..2 + topic_length), word(2 + topic_length)) else {
            return Ok(None);
        };
        let has_id = first & 0b0110 != 0;
        Ok(Some(Large {
            length: 1 + width + size,
            topic: String::from_utf8_lossy(topic).into_owned(),
            packet_id: has_id.then_some(packet_id),
        }))
    }
}

#[cfg(test)]
mod tests;
