//! What tests of doors stand on: a real intake over a real journal in a temporary folder, and what came out of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use heimdall_guard::{Admitted, Ends, Guard, Principal, Tokens};
use heimdall_ingest::arrive::BodyLimits;
use heimdall_ingest::compression::CompressionLimits;
use heimdall_ingest::rate::RateLimit;
use heimdall_ingest::{Caller, DecodeLimits, Decoded, Intake, IntakeLimits, NOTES_MAX, Pipelines};
use heimdall_journal::disk::OsDisk;
use heimdall_journal::{Config, Journal, Reader};
use heimdall_model::{Clock, SystemClock, Tenant, codec};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Limits, Shared};

/// Longest wait for a record that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a decoder owes whatever the bytes: `most` records at most, each of them readable, and a batch that comes out of the journal with
/// every row.
#[track_caller]
pub(crate) fn check_batch(decoded: &Decoded, most: usize) {
    let rows = decoded.batch.rows();
    let records = rows as u64 + decoded.rejected_total();
    assert!(records <= most as u64, "{records} records, {most} at most");
    assert!(decoded.rejected.len() <= NOTES_MAX && decoded.coerced.len() <= NOTES_MAX);
    for json in decoded.batch.iter().filter_map(|row| row.attributes()) {
        assert!(serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok(), "{json}");
    }
    let (_, again) = codec::decode(&codec::encode(&Tenant::default(), &decoded.batch)).expect("a batch");
    assert_eq!(again.rows(), rows);
}

/// A server without HTTP, store and detectors.
pub(crate) struct TestShared {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tokens: Arc<Tokens>,
    reader: Mutex<Reader>,
    dir: tempfile::TempDir,
}

/// With limits that nothing reaches.
pub(crate) fn shared() -> TestShared {
    shared_with(&IntakeLimits::default())
}

/// With an intake that takes `records` and then no more for a long time.
pub(crate) fn shared_that_takes(records: f64) -> TestShared {
    let limit = RateLimit { records_per_second: 1e-6, burst_records: records };
    shared_with(&IntakeLimits { per_tenant: Some(limit), ..IntakeLimits::default() })
}

pub(crate) fn shared_with(limits: &IntakeLimits) -> TestShared {
    shared_of(limits, |intake| intake)
}

/// With pipelines.
pub(crate) fn shared_with_pipelines(pipelines: &Arc<Pipelines>) -> TestShared {
    shared_of(&IntakeLimits::default(), |intake| intake.with_pipelines(Arc::clone(pipelines)))
}

fn shared_of(limits: &IntakeLimits, with: impl FnOnce(Intake) -> Intake) -> TestShared {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = Config::new(dir.path().join("journal"));
    let (journal, reader) = Journal::open(config, Arc::new(OsDisk), 1).expect("a new journal");
    let store = heimdall_metastore::open(&dir.path().join("metastore.sqlite")).expect("a metastore");
    let tokens = Arc::new(Tokens::open(Arc::new(store), Arc::clone(&clock)).expect("tokens"));
    let body =
        BodyLimits { bytes_max: 64 << 20, idle: Duration::from_secs(30), total: Duration::from_secs(300) };
    let shared = Shared {
        intake: Arc::new(with(Intake::new(Arc::new(journal), clock, limits))),
        guard: Guard::new(Arc::clone(&tokens), false),
        limits: Limits {
            body,
            compression: CompressionLimits::default(),
            decode: DecodeLimits::default(),
            inline_decode_bytes_max: 256 << 10,
        },
        data_dir: dir.path().to_owned(),
        shutdown: CancellationToken::new(),
    };
    TestShared { shared: Arc::new(shared), tokens, reader: Mutex::new(reader), dir }
}

impl TestShared {
    /// Its folder.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// A caller on this machine.
    pub(crate) fn caller(&self) -> Caller {
        Caller { tenant: Tenant::default(), token: None, peer: Some([127, 0, 0, 1].into()), shipper: None }
    }

    /// Waits until `count` records more are durable, and returns them in order, each with its `dataset` and `tenant`.
    pub(crate) fn records(&self, count: usize) -> Vec<Value> {
        let mut reader = self.reader.lock();
        let mut records = Vec::new();
        while records.len() < count {
            let frame = reader.next(PATIENCE).expect("a readable journal");
            let frame = frame.unwrap_or_else(|| panic!("{} records of {count} came", records.len()));
            let (tenant, batch) = codec::decode(&frame.payload).expect("a batch");
            for row in batch.iter() {
                let mut record = row.to_json();
                record.insert("dataset".to_owned(), batch.dataset.as_str().into());
                record.insert("tenant".to_owned(), tenant.as_str().into());
                records.push(Value::Object(record));
            }
        }
        records
    }

    /// Waits until a record with this message is durable as the last of its batch, and returns the messages up to it.
    pub(crate) fn messages_until(&self, last: &str) -> Vec<String> {
        let mut messages: Vec<String> = Vec::new();
        while messages.last().is_none_or(|message| message != last) {
            let records = self.records(1); // those of a whole batch
            messages.extend(
                records.iter().map(|record| record["message"].as_str().unwrap_or_default().to_owned()),
            );
        }
        messages
    }

    /// The shippers that receipts of a door name, sorted, once there are `count`: a receipt comes a moment after its records.
    pub(crate) fn shippers(&self, door: &str, count: usize) -> Vec<String> {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let sums = self.shared.intake.shippers(&Tenant::default());
            let of = sums.iter().filter(|sum| sum.door == door);
            let mut names: Vec<_> = of.map(|sum| sum.shipper.as_deref().unwrap_or("-").to_owned()).collect();
            if names.len() >= count || std::time::Instant::now() > until {
                names.sort();
                return names;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether nothing more is durable now.
    pub(crate) fn is_quiet(&self) -> bool {
        self.reader.lock().next(Duration::from_millis(50)).expect("a readable journal").is_none()
    }

    /// Sends a request to a door's routes as the gate hands it on for somebody on this machine.
    pub(crate) async fn ask(&self, routes: Router, mut request: Request<Body>) -> (StatusCode, String) {
        let here = SocketAddr::from(([127, 0, 0, 1], 9));
        request.extensions_mut().insert(Ends { peer: here, local: here });
        request.extensions_mut().insert(Admitted(Ok(Arc::new(Principal::loopback()))));
        let response = routes.oneshot(request).await.expect("routes answer");
        let status = response.status();
        let body = to_bytes(response.into_body(), 16 << 20).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}
