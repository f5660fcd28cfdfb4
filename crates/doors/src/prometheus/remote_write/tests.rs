use heimdall_ingest::DecodeLimits;
use heimdall_model::schema::metrics;
use heimdall_testkit::data::bad_inputs;
use heimdall_testkit::mutants::{Seeds, fuzz};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value as Json, json};

use super::*;
use crate::testing::{TestShared, check_batch, shared, shared_that_takes};

/// The messages as their .proto files have them.
mod pb {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) timeseries: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        pub(super) metadata: Vec<Metadata>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metadata {
        #[prost(string, tag = "2")]
        pub(super) metric_family_name: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(super) exemplars: Vec<Exemplar>,
        #[prost(message, repeated, tag = "4")]
        pub(super) histograms: Vec<Histogram>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Label {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
        #[prost(int64, tag = "2")]
        pub(super) timestamp: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar {
        #[prost(double, tag = "2")]
        pub(super) value: f64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(sint32, tag = "1")]
        pub(super) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(super) length: u32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(uint64, tag = "1")]
        pub(super) count: u64,
        #[prost(double, tag = "3")]
        pub(super) sum: f64,
        #[prost(sint32, tag = "4")]
        pub(super) schema: i32,
        #[prost(double, tag = "5")]
        pub(super) zero_threshold: f64,
        #[prost(uint64, tag = "6")]
        pub(super) zero_count: u64,
        #[prost(message, repeated, tag = "11")]
        pub(super) positive_spans: Vec<Span>,
        #[prost(sint64, repeated, tag = "12")]
        pub(super) positive_deltas: Vec<i64>,
        #[prost(double, repeated, tag = "13")]
        pub(super) positive_counts: Vec<f64>,
        #[prost(int64, tag = "15")]
        pub(super) timestamp: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(string, repeated, tag = "4")]
        pub(super) symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub(super) timeseries: Vec<TimeSeries2>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries2 {
        #[prost(uint32, repeated, tag = "1")]
        pub(super) labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(super) histograms: Vec<Histogram>,
        #[prost(message, repeated, tag = "4")]
        pub(super) exemplars: Vec<Exemplar>,
    }
}

const MS: i64 = 1_795_780_800_123;

fn series(labels: &[(&str, &str)], values: &[f64]) -> pb::TimeSeries {
    let label = |(name, value): &(&str, &str)| pb::Label { name: (*name).into(), value: (*value).into() };
    let samples = (0..).zip(values).map(|(n, value)| pb::Sample { value: *value, timestamp: MS + n });
    pb::TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples.collect(),
        ..Default::default()
    }
}

fn one(timeseries: Vec<pb::TimeSeries>) -> Vec<u8> {
    pb::WriteRequest { timeseries, metadata: vec![] }.encode_to_vec()
}

fn decoded(version: Version, body: &[u8]) -> Result<Written, BodyError> {
    let limits = DecodeLimits { records_max: 10_000, ..DecodeLimits::default() };
    decode(version, body, Reading::new(Timestamp(5), &limits))
}

fn histogram() -> pb::Histogram {
    pb::Histogram {
        count: 8,
        sum: 9.5,
        schema: 0,
        positive_spans: vec![pb::Span { offset: 0, length: 2 }],
        positive_deltas: vec![3, 2],
        timestamp: MS,
        ..Default::default()
    }
}

fn names(written: &Written) -> Vec<String> {
    let rows = written.decoded.batch.iter();
    rows.map(|row| {
        let le = row.attributes().and_then(|text| serde_json::from_str::<Json>(text).ok());
        let le = le.and_then(|labels| Some(format!("{{{}}}", labels["le"].as_str()?)));
        let value = row.float(metrics::VALUE).expect("a value");
        format!("{}{}={value}", row.text(metrics::NAME).expect("a name"), le.unwrap_or_default())
    })
    .collect()
}

#[test]
fn a_series_becomes_records_with_its_labels() {
    let labels = [
        ("__name__", "up"),
        ("empty", ""),
        ("instance", "a:1"),
        ("job", "node"),
        ("name", "n"),
        ("value", "v"),
    ];
    let written = decoded(Version::One, &one(vec![series(&labels, &[1.0, 0.25])])).expect("a request");
    assert_eq!(written.counts, Counts { samples: 2, ..Counts::default() });
    let row = written.decoded.batch.row(1);
    assert_eq!(row.timestamp(), Timestamp((MS + 1) * NS_PER_MS));
    assert_eq!((row.text(metrics::NAME), row.float(metrics::VALUE)), (Some("up"), Some(0.25)));
    assert_eq!(row.service(), Some("node"));
    assert_eq!(row.attributes(), Some(r#"{"instance":"a:1","name":"n","value":"v"}"#));
    assert_eq!(written.decoded.timestamps_assigned, 0);
}

#[test]
fn order_means_nothing_and_what_cannot_be_is_rejected_alone() {
    let request = one(vec![
        series(&[("b", "2"), ("__name__", "x"), ("a", "1")], &[1.0]),
        series(&[("__name__", "x"), ("a", "1"), ("a", "2")], &[1.0, 2.0]),
        series(&[("a", "1")], &[1.0]),
        series(&[("__name__", "x"), ("", "1")], &[1.0]),
    ]);
    let written = decoded(Version::One, &request).expect("a request");
    assert_eq!(written.decoded.batch.row(0).attributes(), Some(r#"{"a":"1","b":"2"}"#));
    let rejected: Vec<_> =
        written.decoded.rejected.iter().map(|r| (r.index, &*r.field, &*r.reason)).collect();
    assert_eq!(
        rejected,
        [
            (1, "a", "is a label twice"),
            (2, "a", "is a label twice"),
            (3, "__name__", "is missing"),
            (4, "", "a label has no name")
        ]
    );
    assert_eq!(
        reason(&written.decoded).as_deref(),
        Some("4 samples were not taken, 1 were; the first: `a` is a label twice")
    );
}

#[test]
fn what_is_no_sample_is_skipped_and_noted() {
    let mut request =
        series(&[("__name__", "x")], &[f64::from_bits(STALE_BITS), f64::NAN, f64::INFINITY, -0.0, f64::MAX]);
    request.exemplars = vec![pb::Exemplar { value: 1.0 }];
    let metadata = vec![pb::Metadata { metric_family_name: "x".into() }];
    let body = pb::WriteRequest { timeseries: vec![request], metadata }.encode_to_vec();
    let written = decoded(Version::One, &body).expect("a request");
    let expected = Counts { samples: 3, histograms: 0, stale: 1, not_finite: 2, exemplars: 1, metadata: 1 };
    assert_eq!(written.counts, expected);
    assert_eq!((written.decoded.batch.rows(), written.decoded.rejected_total()), (2, 0));
    assert_eq!(written.decoded.batch.row(1).float(metrics::VALUE), Some(f64::MAX));
    let notes: Vec<_> = written.decoded.coerced.iter().map(|note| &*note.reason).collect();
    assert_eq!(notes, [STALE, NOT_FINITE, NOT_FINITE, EXEMPLARS]);
}

#[test]
fn a_time_beyond_our_range_rejects_its_sample() {
    let mut request = series(&[("__name__", "x")], &[1.0]);
    request.samples.push(pb::Sample { value: 1.0, timestamp: i64::MAX });
    let written = decoded(Version::One, &one(vec![request])).expect("a request");
    assert_eq!((written.decoded.batch.rows(), written.decoded.rejected_total()), (1, 1));
}

#[test]
fn native_histograms_become_classic_ones() {
    let mut request = series(&[("__name__", "h"), ("zone", "z")], &[]);
    let floats = pb::Histogram {
        positive_deltas: vec![],
        positive_counts: vec![3.0, 5.0],
        sum: f64::NAN,
        ..histogram()
    };
    let ended = pb::Histogram { sum: f64::from_bits(STALE_BITS), ..histogram() };
    let broken = pb::Histogram { schema: 77, ..histogram() };
    request.histograms = vec![histogram(), floats, ended, broken];
    let written = decoded(Version::One, &one(vec![request])).expect("a request");
    let buckets = ["h_bucket{0.5}=0", "h_bucket{1}=3", "h_bucket{2}=8", "h_bucket{+Inf}=8"];
    let expected: Vec<_> =
        buckets.into_iter().chain(["h_sum=9.5", "h_count=8"]).chain(buckets).chain(["h_count=8"]).collect();
    assert_eq!(names(&written), expected);
    assert_eq!(written.decoded.batch.row(0).attributes(), Some(r#"{"le":"0.5","zone":"z"}"#));
    assert_eq!(written.decoded.rejected[0].reason, "has a schema that is not known");
    assert_eq!((written.counts.histograms, written.counts.stale, written.counts.not_finite), (3, 1, 1));
}

#[test]
fn version_two_looks_its_labels_up() {
    let symbols = ["", "__name__", "up", "job", "node"].map(str::to_owned).to_vec();
    let sample = pb::Sample { value: 2.0, timestamp: MS };
    let with = |labels_refs: Vec<u32>| pb::TimeSeries2 {
        labels_refs,
        samples: vec![sample.clone()],
        histograms: vec![histogram()],
        exemplars: vec![],
    };
    let timeseries = vec![with(vec![1, 2, 3, 4]), with(vec![1, 2, 3]), with(vec![1, 9])];
    let mut body = pb::Request { symbols, timeseries }.encode_to_vec();
    let written = decoded(Version::Two, &body).expect("a request");
    assert_eq!((written.counts.samples, written.counts.histograms), (1, 1));
    assert_eq!((written.decoded.batch.rows(), written.decoded.rejected_total()), (7, 4));
    assert_eq!(written.decoded.dead.len(), 2, "each series once");
    assert_eq!(written.decoded.batch.row(0).service(), Some("node"));
    let reasons: Vec<_> = written.decoded.rejected.iter().map(|r| &*r.reason).collect();
    assert_eq!(reasons[0], "is a label without a value");
    assert_eq!(reasons[2], "a label refers to a symbol that is not there");
    body.splice(0..2, [0x22, 1, b'x']);
    assert!(decoded(Version::Two, &body).is_err(), "the first symbol is the empty one");
}

#[test]
fn the_content_type_names_the_version() {
    let version_of = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, text.parse().expect("a header"));
        version(&headers).ok()
    };
    assert_eq!(version(&HeaderMap::new()), Ok(Version::One));
    assert_eq!(version_of("application/x-protobuf"), Some(Version::One));
    assert_eq!(version_of("application/x-protobuf;proto=prometheus.WriteRequest"), Some(Version::One));
    assert_eq!(
        version_of("application/x-protobuf; proto=io.prometheus.write.v2.Request"),
        Some(Version::Two)
    );
    assert_eq!(version_of("application/x-protobuf;proto=other"), None);
    assert_eq!(version_of("application/json"), None);
}

// ---- requests -----------------------------------------------------------------------------------------------------

fn request(version: Version, packed: Vec<u8>) -> axum::http::Request<Body> {
    let kind = match version {
        Version::One => "application/x-protobuf",
        Version::Two => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    };
    axum::http::Request::post("/api/v1/write")
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_ENCODING, "snappy")
        .body(Body::from(packed))
        .expect("a request")
}

fn packed(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).expect("a short body")
}

async fn ask(test: &TestShared, version: Version, packed: Vec<u8>) -> (StatusCode, String) {
    let routes = routes().with_state(Arc::clone(&test.shared));
    test.ask(routes, request(version, packed)).await
}

#[tokio::test]
async fn a_request_is_durable_once_however_often_it_comes() {
    let test = shared();
    let body = packed(&one(vec![series(&[("__name__", "up"), ("job", "node")], &[1.0])]));
    for _ in 0..3 {
        assert_eq!(ask(&test, Version::One, body.clone()).await, (StatusCode::NO_CONTENT, String::new()));
    }
    let records = test.records(1);
    assert_eq!(
        (&records[0]["name"], &records[0]["service"], &records[0]["dataset"]),
        (&json!("up"), &json!("node"), &json!("metrics"))
    );
    assert!(test.is_quiet());
    let metadata = vec![pb::Metadata { metric_family_name: "up".into() }];
    let metadata = pb::WriteRequest { timeseries: vec![], metadata }.encode_to_vec();
    assert_eq!(ask(&test, Version::One, packed(&metadata)).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn good_samples_are_kept_and_bad_ones_named() {
    let test = shared();
    let body = packed(&one(vec![series(&[("__name__", "a")], &[1.0]), series(&[("b", "")], &[1.0])]));
    let (status, reason) = ask(&test, Version::One, body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(reason, "1 samples were not taken, 1 were; the first: `__name__` is missing");
    assert_eq!(test.records(1)[0]["name"], "a");
}

#[tokio::test]
async fn version_two_says_what_was_written_whatever_came_of_it() {
    let test = shared_that_takes(1.0);
    let body = |value: f64| {
        let symbols = ["", "__name__", "up"].map(str::to_owned).to_vec();
        let samples = vec![pb::Sample { value, timestamp: MS }];
        let timeseries = vec![pb::TimeSeries2 { labels_refs: vec![1, 2], samples, ..Default::default() }];
        packed(&pb::Request { symbols, timeseries }.encode_to_vec())
    };
    let routes = || routes().with_state(Arc::clone(&test.shared));
    let answer = async |packed| {
        use tower::ServiceExt as _;
        let mut request = request(Version::Two, packed);
        let admitted = heimdall_guard::Admitted(Ok(Arc::new(heimdall_guard::Principal::loopback())));
        request.extensions_mut().insert(admitted);
        let response = routes().oneshot(request).await.expect("an answer");
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap_or_default().to_owned())
        };
        let written = header("x-prometheus-remote-write-samples-written");
        (response.status().as_u16(), written, header("retry-after").is_some())
    };
    assert_eq!(answer(body(1.0)).await, (204, Some("1".into()), false));
    assert_eq!(answer(body(2.0)).await, (429, Some("0".into()), true));
    assert_eq!(answer(vec![1, 2, 3]).await.1, Some("0".into()));
}

#[tokio::test]
async fn a_stated_length_is_not_believed() {
    let test = shared();
    // 4 GiB less one, and 60 MiB, from a handful of bytes.
    for (bytes, status) in [
        (vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], StatusCode::PAYLOAD_TOO_LARGE),
        (vec![0x80, 0x80, 0x80, 0x1e, 0, 0], StatusCode::BAD_REQUEST),
        (vec![], StatusCode::BAD_REQUEST),
        (packed(b"no protobuf"), StatusCode::BAD_REQUEST),
    ] {
        let (found, text) = ask(&test, Version::One, bytes).await;
        assert_eq!(found, status, "{text}");
    }
    assert!(test.is_quiet());
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for version in [Version::One, Version::Two] {
            let _ = decoded(version, &bytes);
        }
    }

    #[test]
    fn a_request_bitten_anywhere_ends(at in 0_usize..400, byte in any::<u8>()) {
        let mut request = series(&[("__name__", "h"), ("zone", "z")], &[1.0, 2.0]);
        request.histograms = vec![histogram()];
        let mut body = one(vec![request.clone(), request]);
        let at = at % body.len();
        body[at] = byte;
        if let Ok(written) = decoded(Version::One, &body) {
            prop_assert!(written.decoded.batch.rows() <= body.len());
        }
    }

    #[test]
    fn every_finite_sample_comes_out_as_it_went_in(values in proptest::collection::vec(proptest::num::f64::NORMAL, 1..20)) {
        let written = decoded(Version::One, &one(vec![series(&[("__name__", "x")], &values)])).expect("a request");
        let found: Vec<_> = written.decoded.batch.iter().filter_map(|row| row.float(metrics::VALUE)).collect();
        prop_assert_eq!(found, values);
    }
}

#[test]
fn mutants_of_version_one() {
    let mut full = series(&[("__name__", "h"), ("job", "node"), ("zone", "z")], &[1.0, f64::NAN]);
    full.histograms = vec![
        histogram(),
        pb::Histogram {
            schema: 3,
            positive_counts: vec![1.5, 2.0],
            positive_deltas: vec![],
            zero_count: 1,
            ..histogram()
        },
    ];
    let seeds =
        Seeds::protobuf([one(vec![full.clone(), series(&[("__name__", "up")], &[0.0])]), one(vec![full])]);
    check_mutants(Version::One, &seeds);
}

#[test]
fn mutants_of_version_two() {
    let symbols = ["", "__name__", "up", "job", "node"].map(str::to_owned).to_vec();
    let with = |labels_refs: Vec<u32>| pb::TimeSeries2 {
        labels_refs,
        samples: vec![pb::Sample { value: 2.0, timestamp: MS }],
        histograms: vec![histogram()],
        exemplars: vec![],
    };
    let timeseries = vec![with(vec![1, 2, 3, 4]), with(vec![1, 4])];
    check_mutants(Version::Two, &Seeds::protobuf([pb::Request { symbols, timeseries }.encode_to_vec()]));
}

fn check_mutants(version: Version, seeds: &Seeds) {
    fuzz(seeds, |mutant, _| {
        if let Ok(written) = decoded(version, mutant) {
            check_batch(&written.decoded, 8 * mutant.len() + 16);
        }
    });
}

#[test]
fn mutants_of_snappy_are_refused_or_unpacked() {
    let body = one(vec![series(&[("__name__", "up")], &[1.0; 40])]);
    fuzz(&Seeds::bytes([packed(&body), packed(b"")]), |mutant, _| {
        if let Ok(len) = unpacked_len(mutant, 1 << 20)
            && let Ok(unpacked) = unpack(mutant)
        {
            assert_eq!(unpacked.len(), len);
        }
    });
}

#[tokio::test]
async fn after_bad_inputs_a_good_request_is_taken() {
    let test = shared();
    for (n, input) in (0_u32..).zip(bad_inputs()) {
        for version in [Version::One, Version::Two] {
            for body in [input.bytes.clone(), packed(&input.bytes)] {
                let (status, text) = ask(&test, version, body).await;
                assert!(matches!(status.as_u16(), 204 | 400 | 413), "{}: {status} {text}", input.name);
            }
        }
        let good = packed(&one(vec![series(&[("__name__", "good")], &[f64::from(n)])]));
        assert_eq!(ask(&test, Version::One, good).await.0, StatusCode::NO_CONTENT, "{}", input.name);
    }
}

/// A long symbol in many labels of one series made an object of gigabytes out of a request of kilobytes.
#[test]
fn labels_that_repeat_a_long_symbol_are_rejected_before_they_are_written() {
    let mut symbols: Vec<String> = (0..900).map(|n| format!("l{n}")).collect();
    symbols[0].clear();
    symbols.extend(["__name__".to_owned(), "x".repeat(1 << 20)]);
    let labels_refs = (1..=900).flat_map(|label| [label, 901]).collect();
    let samples = vec![pb::Sample { value: 2.0, timestamp: MS }; 3];
    let timeseries = vec![pb::TimeSeries2 { labels_refs, samples, ..pb::TimeSeries2::default() }];
    let written =
        decoded(Version::Two, &pb::Request { symbols, timeseries }.encode_to_vec()).expect("a request");
    assert_eq!((written.decoded.batch.rows(), written.decoded.rejected_total()), (0, 3));
    assert_eq!(written.decoded.rejected[0].reason, "the labels are larger than a record may be");
}
