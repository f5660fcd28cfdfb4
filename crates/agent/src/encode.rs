//! A batch as the body of an ingest request: lines of JSON, packed with zstd; and as a frame of the buffer.
//!
//! A frame is `marks bytes (u32, little endian) | marks (JSON) | body`. The body is stored as it will be sent, so that a
//! frame sent twice is the same bytes. The marks say how far each source was read when the frame had been kept.
//!
//! Invariant: a server that decodes the body gets the records of the batch, and its `host` and `service`.

use std::io::Write as _;

use bytes::Bytes;
use heimdall_model::Batch;

use crate::state::Marks;

/// How hard bodies are packed: level 3 is zstd's default, about 100 MB/s.
const LEVEL: i32 = 3;
/// Window of the packer: bodies are small, and 128 KiB keep it small too.
const WINDOW_LOG: u32 = 17;

/// What the server derives itself, and must not be told.
const DERIVED: [&str; 2] = ["observed", "template_id"];

/// The records as lines of JSON, packed.
///
/// # Errors
/// The packer fails, which it does only without memory.
pub(crate) fn body(batch: &Batch) -> std::io::Result<Vec<u8>> {
    let mut packer = zstd::Encoder::new(Vec::new(), LEVEL)?;
    packer.window_log(WINDOW_LOG)?;
    for row in batch.iter() {
        let mut object = row.to_json();
        DERIVED.iter().for_each(|name| drop(object.remove(*name)));
        serde_json::to_writer(&mut packer, &object)?;
        packer.write_all(b"\n")?;
    }
    packer.finish()
}

/// The payload of a frame.
pub(crate) fn frame(marks: &Marks, body: &[u8]) -> std::io::Result<Bytes> {
    let marks = serde_json::to_vec(marks)?;
    let len = u32::try_from(marks.len()).map_err(std::io::Error::other)?;
    let mut payload = Vec::with_capacity(4 + marks.len() + body.len());
    payload.extend_from_slice(&len.to_le_bytes());
    payload.extend_from_slice(&marks);
    payload.extend_from_slice(body);
    Ok(payload.into())
}

/// The marks and the body of a frame; `None` when it is not one.
pub(crate) fn open_frame(payload: &Bytes) -> Option<(Marks, Bytes)> {
    let (len, rest) = payload.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let marks = serde_json::from_slice(rest.get(..len)?).ok()?;
    Some((marks, payload.slice(4 + len..)))
}

#[cfg(test)]
mod tests {
    use heimdall_ingest::{BodyFormat, DecodeLimits, body as read};
    use heimdall_model::schema::{logs, metrics};
    use heimdall_model::{BatchBuilder, Dataset, Level, Timestamp};

    use super::*;
    use crate::Samples;

    fn arrive(dataset: Dataset, batch: &Batch) -> Batch {
        let body = zstd::decode_all(&body(batch).unwrap()[..]).unwrap();
        let decoded =
            read::decode(dataset, BodyFormat::Json, &body, Timestamp(9), &DecodeLimits::default()).unwrap();
        assert_eq!((decoded.rejected_total(), decoded.coerced_total), (0, 0));
        decoded.batch
    }

    #[test]
    fn samples_arrive_as_they_were_taken() {
        let mut samples = Samples::new(Timestamp(1_700_000_000_123_456_789), "db-1", "db");
        samples.push("system.network.io_total", 12.25, &[("direction", "receive")]);
        let arrived = arrive(Dataset::Metrics, &samples.finish());
        let row = arrived.row(0);
        assert_eq!(row.timestamp(), Timestamp(1_700_000_000_123_456_789));
        assert_eq!((row.text(metrics::HOST), row.service()), (Some("db-1"), Some("db")));
        assert_eq!(row.text(metrics::NAME), Some("system.network.io_total"));
        assert_eq!(row.float(metrics::VALUE), Some(12.25));
        assert_eq!(
            row.attribute("direction").map(|value| value.to_value().to_string()).as_deref(),
            Some("receive")
        );
    }

    #[test]
    fn log_records_arrive_as_they_were_read() {
        let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(5));
        builder.set_int(logs::TIMESTAMP, 7_000_000_000);
        builder.set_text(logs::MESSAGE, "a\n\tb \"é\"");
        builder.set_level(Level::Error);
        builder.set_text(logs::ATTRIBUTES, r#"{"log.file.path":"/var/log/x","shard":3}"#);
        builder.end_row();
        let batch = builder.finish();
        let arrived = arrive(Dataset::Logs, &batch);
        let row = arrived.row(0);
        assert_eq!((row.timestamp(), row.level()), (Timestamp(7_000_000_000), Some(Level::Error)));
        assert_eq!(row.text(logs::MESSAGE), Some("a\n\tb \"é\""));
        assert!(row.attributes().unwrap().contains("/var/log/x"), "{:?}", row.attributes());
    }

    #[test]
    fn a_frame_opens_to_what_was_put_in() {
        let marks = Marks::from([("journald".to_owned(), crate::state::Mark::Cursor("s=1".to_owned()))]);
        let payload = frame(&marks, b"body").unwrap();
        assert_eq!(open_frame(&payload), Some((marks, Bytes::from_static(b"body"))));
        assert_eq!(open_frame(&Bytes::from_static(b"\xff\xff\xff\xff")), None);
    }
}
