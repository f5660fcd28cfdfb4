//! The doors alone, without store, detectors and UI: for trying a shipper against a door in seconds of build time.
//!
//! `doors DIR [CONFIG.toml]` listens on free ports, writes them to `DIR/listeners.json` and every durable record to
//! `DIR/records.ndjson`, the records of an earlier run first. Nobody needs a token. `RUST_LOG` says what is logged (default `info`).

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use heimdall_doors::{Doors, DoorsConfig, Limits, Shared};
use heimdall_guard::{Admitted, Ends, Guard, Principal, Tokens};
use heimdall_ingest::arrive::BodyLimits;
use heimdall_ingest::compression::CompressionLimits;
use heimdall_ingest::{DecodeLimits, Intake, IntakeLimits};
use heimdall_journal::disk::OsDisk;
use heimdall_journal::{Config, Journal, Reader};
use heimdall_model::{Clock, SystemClock, codec};
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "a provider is installed already")?;
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let dir = arguments.next().ok_or("usage: doors DIR [CONFIG.toml]")?;
    let config: DoorsConfig = match arguments.next() {
        Some(file) => toml::from_str(&std::fs::read_to_string(file)?)?,
        None => DoorsConfig::default(),
    };
    std::fs::create_dir_all(&dir)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (journal, reader) = Journal::open(Config::new(dir.join("journal")), Arc::new(OsDisk), 1)?;
    let store = Arc::new(heimdall_metastore::open(&dir.join("metastore.sqlite"))?);
    let tokens = Arc::new(Tokens::open(store, Arc::clone(&clock))?);
    let shutdown = CancellationToken::new();
    let shared = Arc::new(Shared {
        intake: Arc::new(Intake::new(Arc::new(journal), clock, &IntakeLimits::default())),
        guard: Guard::new(tokens, false),
        limits: Limits {
            body: BodyLimits {
                bytes_max: 64 << 20,
                idle: Duration::from_secs(30),
                total: Duration::from_secs(300),
            },
            compression: CompressionLimits::default(),
            decode: DecodeLimits::default(),
            inline_decode_bytes_max: 256 << 10,
        },
        data_dir: dir.clone(),
        shutdown: shutdown.clone(),
    });
    let file = dir.join("records.ndjson");
    std::thread::spawn(move || write_records(reader, &file).expect("records can be written"));
    let mut doors = Doors::open(&config, shared, true)?;
    let http = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut addresses: serde_json::Map<_, _> =
        doors.addresses().map(|(name, addr)| (name.to_owned(), addr.to_string().into())).collect();
    addresses.insert("http".to_owned(), http.local_addr()?.to_string().into());
    let listeners = std::mem::take(&mut doors.http).into_iter().map(|door| door.listener);
    for listener in listeners.chain([http]) {
        let local = listener.local_addr()?;
        let gate =
            move |ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>, mut request: Request, next: Next| {
                request.extensions_mut().insert(Ends { peer, local });
                request.extensions_mut().insert(Admitted(Ok(Arc::new(Principal::loopback()))));
                async move { next.run(request).await }
            };
        let router = doors.routes().layer(from_fn(gate));
        tokio::spawn(async move {
            axum::serve(listener, router.into_make_service_with_connect_info::<std::net::SocketAddr>()).await
        });
    }
    std::fs::write(dir.join("listeners.json"), serde_json::Value::Object(addresses).to_string())?;
    let running = tokio::spawn(doors.run());
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    running.await?;
    Ok(())
}

fn write_records(mut reader: Reader, file: &std::path::Path) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    loop {
        let Some(frame) = reader.next(Duration::from_millis(100))? else {
            out.flush()?;
            continue;
        };
        let (tenant, batch) = codec::decode(&frame.payload)?;
        for row in batch.iter() {
            let mut record = row.to_json();
            record.insert("dataset".to_owned(), batch.dataset.as_str().into());
            record.insert("tenant".to_owned(), tenant.as_str().into());
            serde_json::to_writer(&mut out, &record)?;
            out.write_all(b"\n")?;
        }
    }
}
