//! The stream between a real journal and a real store: order, checkpoints, and a restart that repeats nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heimdall_detect::{DetectConfig, Findings, Judge, RuleSet};
use heimdall_journal::disk::{Disk, ForgetfulDisk};
use heimdall_journal::{Append, Config, Journal};
use heimdall_model::schema::logs;
use heimdall_model::{BatchBuilder, Dataset, Filter, ManualClock, Tenant, Timestamp, codec};
use heimdall_store::{Control, Order, ScanRequest, Store, StoreConfig, TimeRange};
use heimdall_stream::{Parts, Sink, Stream, StreamConfig, Tail};
use parking_lot::Mutex;

/// Keeps what it is given; tells whether everything was settled.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<(Vec<String>, usize)>>);

impl Sink for Kept {
    fn take(&mut self, findings: Findings) {
        self.0.lock().0.extend(findings.verdicts.into_iter().map(|verdict| verdict.rule));
    }
    fn tick(&mut self) {}
    fn settle(&mut self) -> bool {
        let mut kept = self.0.lock();
        kept.1 = kept.0.len();
        true
    }
}

struct Road {
    journal: Arc<Journal>,
    store: Arc<Store>,
    stream: Stream,
    tail: Tail,
    sink: Kept,
}

fn start(disk: &ForgetfulDisk) -> Road {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = Store::open(Arc::clone(&disk), Path::new("/store"), StoreConfig::default()).expect("opens");
    let store = Arc::new(store);
    let (journal, reader) =
        Journal::open(Config::new("/journal"), disk, store.journal_seq() + 1).expect("opens");
    let (journal, tail, sink) = (Arc::new(journal), Tail::default(), Kept::default());
    let parts = Parts {
        journal: Arc::clone(&journal),
        reader,
        store: Arc::clone(&store),
        judge: Judge::new(DetectConfig::default(), RuleSet::parse(&[], &|_, _| Ok(Filter::All)).0),
        sink: Box::new(sink.clone()),
        tail: tail.clone(),
        clock: Arc::new(ManualClock::new(Timestamp(0))),
    };
    let config = StreamConfig { flush_age: Duration::from_secs(3_600) };
    let stream = Stream::start(parts, config).expect("starts");
    Road { journal, store, stream, tail, sink }
}

/// Ten failed logins from one source, a second apart.
fn burst(journal: &Journal, from: i64) {
    for second in from..from + 10 {
        let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(second * 1_000_000_000));
        builder.set_int(logs::TIMESTAMP, second * 1_000_000_000);
        builder.set_text(logs::SERVICE, "sshd");
        builder.set_text(
            logs::MESSAGE,
            &format!("Failed password for root from 203.0.113.5 port {} ssh2", 4000 + second),
        );
        builder.end_row();
        let payload = Bytes::from(codec::encode(&Tenant::default(), &builder.finish()));
        let append = Append { kind: 1, rows: 1, key: None, time_ns: second, payload };
        journal.append_blocking(append).expect("is durable");
    }
}

fn wait_until_processed(road: &Road, seq: u64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while road.stream.status().processed_seq < seq {
        assert!(Instant::now() < deadline, "the stream stands at {}", road.stream.status().processed_seq);
        std::thread::yield_now();
    }
}

/// Ids and template ids of every record, oldest first.
fn contents(store: &Arc<Store>) -> Vec<(String, Option<u32>)> {
    let request = ScanRequest {
        tenant: Tenant::default(),
        dataset: Dataset::Logs,
        range: TimeRange::ALL,
        filter: Filter::All,
        fields: None,
    };
    let (hits, _) = store.search(&request, Order::OldestFirst, 1_000, &Control::default()).expect("searches");
    hits.iter().map(|hit| (hit.block.id(hit.row).to_string(), hit.block.template_id(hit.row))).collect()
}

#[test]
fn a_crash_replays_to_the_same_records_and_findings() {
    let disk = ForgetfulDisk::default();
    let road = start(&disk);
    let mut feed = road.tail.subscribe();
    burst(&road.journal, 100);
    wait_until_processed(&road, 10);
    let before = contents(&road.store);
    assert_eq!(before.len(), 10);
    assert_eq!(feed.try_recv().expect("the feed has the first batch").sequence, 1);
    let found = road.sink.0.lock().0.clone();
    assert!(found.contains(&"auth.bruteforce.source".to_owned()), "{found:?}");
    // The disk of a process that dies here, nothing flushed.
    let survivor = disk.fork();
    survivor.crash();
    let again = start(&survivor);
    wait_until_processed(&again, 10);
    assert_eq!(contents(&again.store), before);
    assert_eq!(again.sink.0.lock().0, found);
}

#[test]
fn a_clean_stop_writes_everything_and_the_next_start_replays_nothing() {
    let disk = ForgetfulDisk::default();
    let Road { journal, store, stream, sink, .. } = start(&disk);
    burst(&journal, 100);
    journal.close();
    stream.join();
    assert_eq!(store.status().memtable_rows, 0);
    assert_eq!(store.journal_seq(), 10);
    let kept = sink.0.lock().clone();
    assert_eq!(kept.1, kept.0.len(), "findings were settled before the memtable was set aside");
    drop((journal, store, stream));
    let again = start(&disk);
    // It once began at 0, and a server that waits for the replay of nothing never became ready.
    assert_eq!(again.stream.status().processed_seq, 10);
    burst(&again.journal, 200);
    wait_until_processed(&again, 20);
    assert_eq!(contents(&again.store).len(), 20);
}
