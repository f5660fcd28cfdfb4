//! Frames to records.

use std::borrow::Cow;
use std::net::IpAddr;

use heimdall_ingest::format::{Zone, parse_syslog};
use heimdall_ingest::{Decoded, Object, Reading, Records};
use heimdall_model::Dataset;

use crate::framing::Frame;

const NOT_UTF8: &str = "has bytes that are not UTF-8: replaced by U+FFFD";

/// What is known of a listener's senders.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    /// Of times that state none.
    pub(super) zone: Zone,
    /// Of messages that name none.
    pub(super) service: Option<String>,
}

/// The record of each frame.
pub(super) fn decode(bytes: &[u8], frames: &[Frame], source: &Source, reading: Reading<'_>) -> Decoded {
    let mut records = Records::new(Dataset::Logs, reading);
    let mut peer = Peer::default();
    for frame in frames {
        let message = &bytes[frame.range.clone()];
        if message.trim_ascii().iter().all(|byte| *byte == 0) {
            continue;
        }
        let text = String::from_utf8_lossy(message);
        if matches!(text, Cow::Owned(_)) {
            records.note("message", NOT_UTF8);
        }
        if let Some(defect) = frame.defect {
            records.note("message", defect.note());
        }
        let line = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let parsed = parse_syslog(line, reading.now, &source.zone);
        let _ = records.line(line, &parsed, peer.of(frame.peer)); // what was rejected is noted
    }
    let mut decoded = records.finish();
    if let Some(service) = &source.service {
        decoded.default_service(service);
    }
    decoded
}

/// The member that names the peer, written once for messages of one peer.
#[derive(Default)]
struct Peer {
    of: Option<IpAddr>,
    member: Object,
}

impl Peer {
    fn of(&mut self, peer: IpAddr) -> &Object {
        if self.of != Some(peer) {
            self.of = Some(peer);
            self.member.clear();
            self.member.text("peer_ip", &peer.to_string());
        }
        &self.member
    }
}
