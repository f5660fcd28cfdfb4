//! The typed event of `POST /ingest`: `{"timestamp", "source", "ip", "message"}`.
//!
//! `source` and `message` are needed and not empty; `ip`, when given, is an IPv4 or IPv6 address; `timestamp`, when given,
//! is a time. A record that breaks one of these is rejected, naming the field. `source` becomes the service, `ip` the source address;
//! other fields are read as in any log record.

use heimdall_model::Timestamp;

use crate::body::{BodyError, DecodeLimits};
use crate::decoded::Decoded;
use crate::json::{Profile, decode_as};
use crate::records::Reading;

/// Decodes an event, an array of events, or events one after the other. Framing as in [`crate::json`].
///
/// # Errors
/// As [`crate::json::decode`].
pub fn decode(body: &[u8], now: Timestamp, limits: &DecodeLimits) -> Result<Decoded, BodyError> {
    read(body, Reading::new(now, limits))
}

/// The same, as a door is told to read.
///
/// # Errors
/// As [`decode`].
pub fn read(body: &[u8], reading: Reading<'_>) -> Result<Decoded, BodyError> {
    decode_as(Profile::Event, body, reading)
}

#[cfg(test)]
mod tests {
    use heimdall_model::schema::logs;

    use super::*;

    fn decode_text(body: &str) -> Decoded {
        decode(body.as_bytes(), Timestamp(5), &DecodeLimits::default()).expect("JSON")
    }

    #[track_caller]
    fn check_rejected(body: &str, field: &str, reason: &str) {
        let decoded = decode_text(body);
        assert!(decoded.batch.is_empty());
        let found: Vec<_> = decoded.rejected.iter().map(|r| (r.field.as_ref(), r.reason.as_ref())).collect();
        assert_eq!(found, [(field, reason)]);
    }

    #[test]
    fn an_event_becomes_a_log_record() {
        let decoded = decode_text(
            r#"{"timestamp":"2025-01-15T10:30:00Z","source":"auth-service","ip":"192.168.1.100","message":"Failed login","service":"x","attempt":3}"#,
        );
        assert_eq!(decoded.rejected_total() + decoded.coerced_total, 0);
        let row = decoded.batch.row(0);
        assert_eq!(row.timestamp().to_string(), "2025-01-15T10:30:00.000000000Z");
        assert_eq!(row.service(), Some("auth-service"));
        assert_eq!(row.text(logs::SOURCE_IP), Some("192.168.1.100"));
        assert_eq!(row.text(logs::MESSAGE), Some("Failed login"));
        assert_eq!(row.attributes(), Some(r#"{"service":"x","attempt":3}"#));
    }

    #[test]
    fn a_broken_field_is_named() {
        check_rejected(r#"{"ip":"::1","message":"m"}"#, "source", "is missing");
        check_rejected(r#"{"service":"s","message":"m"}"#, "source", "is missing");
        check_rejected(r#"{"source":"s","message":null}"#, "message", "is missing");
        check_rejected(r#"{"source":"s","message":" "}"#, "message", "is empty");
        check_rejected(r#"{"source":7,"message":"m"}"#, "source", "is not text");
        check_rejected(r#"{"source":"s","ip":"300.1.1.1","message":"m"}"#, "ip", "is not an IP address");
        check_rejected(r#"{"source":"s","timestamp":"soon","message":"m"}"#, "timestamp", "is not a time");
        check_rejected(r#"["text"]"#, "", "is not an object");
    }

    #[test]
    fn a_missing_time_is_the_arrival_time() {
        let decoded = decode_text(r#"{"source":"s","message":"m"}"#);
        assert_eq!(decoded.timestamps_assigned, 1);
        assert_eq!(decoded.batch.row(0).timestamp(), Timestamp(5));
    }
}
