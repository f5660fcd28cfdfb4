//! Payloads to records and samples.
//!
//! Invariants:
//! - a message's records are all of one dataset, which [`dataset_of`] tells from the payload alone;
//! - every message is in a record, or is counted as rejected.
//!
//! Not here: packets, acknowledgement.

use heimdall_ingest::{Decoded, Object, Reading, Records, RejectKind};
use heimdall_model::Dataset;
use heimdall_model::schema::{self, metrics};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// How payloads are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MqttFormat {
    /// A number is a sample, a JSON object a record, an array one for each element, anything else a message.
    #[default]
    Auto,
    /// A JSON object is a record, an array one for each element; what is no JSON is rejected.
    Json,
    /// The payload is the message, whatever it is.
    Text,
    /// Numbers are samples, and so are the numbers in JSON objects; their texts become labels.
    Metrics,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: bytes::Bytes,
    pub(crate) is_retained: bool,
}

/// How messages are read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reader {
    pub(crate) format: MqttFormat,
    /// The level of the topic, from 0, that names the service.
    pub(crate) service_level: Option<usize>,
}

impl Reader {
    /// What a message's records are.
    pub(crate) fn dataset_of(&self, message: &Message) -> Dataset {
        match self.format {
            MqttFormat::Metrics => Dataset::Metrics,
            MqttFormat::Auto if number(&message.payload).is_some() => Dataset::Metrics,
            _ => Dataset::Logs,
        }
    }

    /// Decodes messages, all of one dataset.
    pub(crate) fn decode<'m>(
        &self,
        dataset: Dataset,
        messages: impl IntoIterator<Item = &'m Message>,
        reading: Reading<'_>,
    ) -> Decoded {
        let mut records = Records::new(dataset, reading);
        for message in messages {
            if dataset == Dataset::Metrics {
                self.samples(&mut records, message);
            } else {
                self.records(&mut records, message);
            }
        }
        records.finish()
    }

    /// The members that come from the topic.
    fn about(&self, message: &Message) -> Object {
        let mut object = Object::new();
        object.text("topic", &message.topic);
        if let Some(service) = self.service_level.and_then(|level| message.topic.split('/').nth(level)) {
            object.text_if("service", service);
        }
        if message.is_retained {
            object.bool("retained", true);
        }
        object
    }

    fn records(&self, records: &mut Records<'_>, message: &Message) {
        let mut about = self.about(message);
        let json = match self.format {
            MqttFormat::Text => None,
            _ => json_records(&message.payload),
        };
        match json {
            Some(texts) => {
                for text in texts {
                    if !has_room(records, || text.to_owned()) {
                        continue;
                    }
                    let inner = text.trim().trim_start_matches('{');
                    let comma = if inner.trim_start() == "}" { "" } else { "," };
                    let about = about.to_json();
                    let about = about.trim_end_matches('}');
                    let _ = records.json(&[about, comma, inner].concat()); // why it was rejected is noted
                }
            }
            None if self.format == MqttFormat::Json => {
                let reason = "payload is no JSON object, nor an array of them";
                records.reject_raw(RejectKind::Syntax, "", reason, &message.payload);
            }
            None => {
                if about.lossy("message", &message.payload) {
                    records.note("message", "has bytes that are not UTF-8: replaced by U+FFFD");
                }
                let _ = records.object(&mut about); // as above
            }
        }
    }

    fn samples(&self, records: &mut Records<'_>, message: &Message) {
        let name = message.topic.rsplit('/').find(|level| !level.is_empty()).unwrap_or("value");
        if let Some(value) = number(&message.payload) {
            return self.sample(records, message, name, value, &Object::new());
        }
        let Ok(Value::Object(members)) = serde_json::from_slice(&message.payload) else {
            let reason = "payload is no number and no JSON object of numbers";
            records.reject_raw(RejectKind::Syntax, "", reason, &message.payload);
            return;
        };
        let mut labels = Object::new();
        for (key, value) in &members {
            if let Value::String(text) = value {
                put_label(&mut labels, key, text);
            }
        }
        let is_time = |key: &str| Dataset::Metrics.resolve(key) == Some(schema::TIMESTAMP);
        if let Some((_, time)) = members.iter().find(|(key, _)| is_time(key)) {
            labels.value("timestamp", |out| out.push_str(&time.to_string()));
        }
        let mut found = false;
        for (key, value) in &members {
            if let Some(value) = value.as_f64().or(value.as_bool().map(f64::from)) {
                // A time beside the values is theirs, not another value.
                if is_time(key) {
                    continue;
                }
                found = true;
                let name = if key == "value" { name } else { key };
                self.sample(records, message, name, value, &labels);
            }
        }
        if !found {
            records.reject_raw(RejectKind::Missing, "value", "payload has no number", &message.payload);
        }
    }

    fn sample(&self, records: &mut Records<'_>, message: &Message, name: &str, value: f64, labels: &Object) {
        // What a topic and labels say is not written for what is not taken.
        if !has_room(records, || serde_json::json!({"name": name, "value": value}).to_string()) {
            return;
        }
        let mut object = self.about(message);
        object.extend(labels);
        object.text("name", name);
        object.float("value", value);
        let _ = records.object(&mut object); // why it was rejected is noted
    }
}

/// Whether another record is taken; if not, it is rejected.
fn has_room(records: &mut Records<'_>, raw: impl FnOnce() -> String) -> bool {
    let has_room = records.has_room().is_ok();
    if !has_room {
        records.reject_raw(RejectKind::TooLarge, "", "too many records at once", raw().as_bytes());
    }
    has_room
}

/// A label; one with the name of a field that is the sample's own is kept as `label_NAME`.
fn put_label(labels: &mut Object, key: &str, text: &str) {
    const OWN: [heimdall_model::FieldId; 4] =
        [schema::OBSERVED, metrics::NAME, metrics::VALUE, metrics::LABELS];
    let field = Dataset::Metrics.resolve(key);
    match field {
        Some(schema::TIMESTAMP) => {}
        Some(field) if OWN.contains(&field) => labels.text(&format!("label_{key}"), text),
        _ => labels.text(key, text),
    }
}

/// A payload that is a number and nothing else.
fn number(payload: &[u8]) -> Option<f64> {
    const LONGEST: usize = 64;
    let text = std::str::from_utf8(payload).ok().filter(|text| text.len() <= LONGEST)?.trim();
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse().ok().filter(|number: &f64| is_number && number.is_finite())
}

/// The objects of a payload that is one, or an array of nothing else.
fn json_records(payload: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(payload).ok()?.trim();
    let is_object = |text: &str| text.starts_with('{');
    if is_object(text) {
        return serde_json::from_str::<&RawValue>(text).ok().map(|raw| vec![raw.get()]);
    }
    if !text.starts_with('[') {
        return None;
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let texts: Vec<&str> = elements.into_iter().map(RawValue::get).collect();
    (!texts.is_empty() && texts.iter().all(|text| is_object(text))).then_some(texts)
}

#[cfg(test)]
mod tests {
    use heimdall_ingest::DecodeLimits;
    use heimdall_model::Timestamp;
    use heimdall_model::schema::logs;
    use heimdall_testkit::data::bad_inputs;
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::check_batch;

    fn read(format: MqttFormat, payload: &[u8]) -> (Dataset, Decoded) {
        let reader = Reader { format, service_level: Some(1) };
        let message = Message {
            topic: "home/kitchen/temperature".to_owned(),
            payload: payload.to_vec().into(),
            is_retained: false,
        };
        let limits = DecodeLimits::default();
        let dataset = reader.dataset_of(&message);
        let decoded = reader.decode(dataset, [&message], Reading::new(Timestamp(5), &limits));
        (dataset, decoded)
    }

    #[track_caller]
    fn check(format: MqttFormat, payload: &str, expected: &[&str]) {
        let (_, decoded) = read(format, payload.as_bytes());
        let rows: Vec<String> = decoded
            .batch
            .iter()
            .map(|row| {
                let mut json = row.to_json();
                for derived in ["observed", "id"] {
                    json.remove(derived);
                }
                let at_arrival =
                    json.get("timestamp").is_some_and(|time| time == "1970-01-01T00:00:00.000000005Z");
                if at_arrival {
                    json.remove("timestamp");
                }
                assert_eq!(json.remove("service"), Some("kitchen".into()));
                Value::Object(json).to_string()
            })
            .collect();
        assert_eq!(rows, expected, "{payload}");
    }

    const TOPIC: &str = r#""topic":"home/kitchen/temperature""#;

    #[test]
    fn payloads_by_format() {
        use MqttFormat::{Auto, Json, Metrics, Text};
        let sample = format!(r#"{{"labels":{{{TOPIC}}},"name":"temperature","value":21.5}}"#);
        check(Auto, " 21.5\n", &[&sample]);
        check(Metrics, r#"{"value":21.5}"#, &[&sample]);
        check(Auto, "on", &[&format!(r#"{{"attributes":{{{TOPIC}}},"message":"on"}}"#)]);
        check(Text, "21.5", &[&format!(r#"{{"attributes":{{{TOPIC}}},"message":"21.5"}}"#)]);
        check(
            Auto,
            r#"{"msg":"a","n":1}"#,
            &[&format!(r#"{{"attributes":{{"n":1,{TOPIC}}},"message":"a"}}"#)],
        );
        check(Auto, "{}", &[&format!(r#"{{"attributes":{{{TOPIC}}}}}"#)]);
        let two = [("a"), ("b")].map(|m| format!(r#"{{"attributes":{{{TOPIC}}},"message":"{m}"}}"#));
        check(Json, r#"[{"msg":"a"},{"msg":"b"}]"#, &[&two[0], &two[1]]);
        check(Json, "21.5", &[]);
        check(
            Metrics,
            r#"{"temp":1,"ok":true,"unit":"C","name":"x","ts":1700000000}"#,
            &["ok", "temp"].map(|name| {
                format!(r#"{{"labels":{{"label_name":"x",{TOPIC},"unit":"C"}},"name":"{name}","timestamp":"2023-11-14T22:13:20.000000000Z","value":1.0}}"#)
            }).each_ref().map(String::as_str),
        );
        assert_eq!(read(Metrics, b"on").1.dead[0].raw, "on");
        assert_eq!(read(Auto, b"\xff").1.coerced_total, 1);
    }

    proptest! {
        #[test]
        fn no_payload_panics_and_each_counts(payload in "[\\[\\]{}\":,a-c0-9.e-]{0,30}") {
            for format in [MqttFormat::Auto, MqttFormat::Json, MqttFormat::Text, MqttFormat::Metrics] {
                let (_, decoded) = read(format, payload.as_bytes());
                prop_assert!(decoded.batch.rows() as u64 + decoded.rejected_total() > 0);
            }
        }
    }

    #[test]
    fn mutants_of_payloads_are_records_or_reasons() {
        let seeds = Seeds::text([
            r#"{"temp":1,"ok":true,"unit":"C","name":"x","ts":1700000000,"deep":{"a":[1,{"b":2}]}}"#,
            r#"[{"msg":"a"},{"msg":"b","value":2}]"#,
            " 21.5\n",
        ]);
        fuzz(&seeds, |mutant, rng| {
            let format =
                *rng.one_of(&[MqttFormat::Auto, MqttFormat::Json, MqttFormat::Text, MqttFormat::Metrics]);
            check_batch(&read(format, mutant).1, mutant.len() + 1);
        });
    }

    #[test]
    fn after_bad_payloads_a_good_one_is_taken() {
        use MqttFormat::{Auto, Json, Metrics, Text};
        let message =
            |payload: Vec<u8>| Message { topic: "t".to_owned(), payload: payload.into(), is_retained: false };
        let limits = DecodeLimits::default();
        for input in bad_inputs() {
            for (format, good) in
                [(Auto, r#"{"msg":"good"}"#), (Json, r#"{"msg":"good"}"#), (Text, "good"), (Metrics, "1")]
            {
                let reader = Reader { format, service_level: None };
                let messages = [message(input.bytes.clone()), message(good.into())];
                let dataset = reader.dataset_of(&messages[1]);
                let decoded = reader.decode(dataset, &messages, Reading::new(Timestamp(5), &limits));
                let last = decoded.batch.iter().last().expect("the good one");
                assert!(format == Metrics || last.text(logs::MESSAGE) == Some("good"), "{}", input.name);
                check_batch(&decoded, input.bytes.len() + 2);
            }
        }
    }

    /// The topic was copied into every record without bound, and the time looked for again for every value.
    #[test]
    fn many_records_of_one_payload_are_bounded() {
        let reader = Reader { format: MqttFormat::Auto, service_level: None };
        let payload = format!("[{}]", vec!["{}"; 10_000].join(","));
        let message = Message { topic: "t".repeat(60_000), payload: payload.into(), is_retained: false };
        let limits = DecodeLimits::default();
        let decoded = reader.decode(Dataset::Logs, [&message], Reading::new(Timestamp(5), &limits));
        assert_eq!(decoded.batch.rows() as u64 + decoded.rejected_total(), 10_000);
        assert!(decoded.rejected_total() > 5_000, "{}", decoded.rejected_total());
        let values: Vec<String> = (0..40_000).map(|n| format!("\"k{n}\":{n}")).collect();
        let (_, decoded) = read(MqttFormat::Metrics, format!("{{{}}}", values.join(",")).as_bytes());
        assert_eq!(decoded.batch.rows(), 40_000);
    }
}
