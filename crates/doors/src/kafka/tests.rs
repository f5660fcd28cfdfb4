//! The door against a broker in this process that fails as it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heimdall_guard::Guard;
use krafka::error::ErrorCode;
use krafka::producer::Producer;
use krafka::testing::{ApiKey, Control, FakeBroker};
use krafka::{Kafka, Record};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::config::Start;
use super::intents::{Intent, Intents};
use super::{DOOR, KafkaConfig, MessageFormat, open};
use crate::Shared;
use crate::registry::Registry;
use crate::testing::{TestShared, shared, shared_that_takes};

const GROUP: &str = "heimdall";
const PATIENCE: Duration = Duration::from_secs(20);

struct Fixture {
    test: TestShared,
    broker: FakeBroker,
    producer: Producer,
    registry: Arc<Registry>,
}

/// A source that runs.
struct Running {
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Running {
    /// Ends as a server does.
    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it ends").expect("it does not panic");
    }
}

impl Fixture {
    async fn new(partitions: i32) -> Fixture {
        Fixture::over(shared(), partitions).await
    }

    async fn over(test: TestShared, partitions: i32) -> Fixture {
        let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have
        let broker = FakeBroker::start().await.expect("a broker");
        broker.create_topic("t", partitions);
        let kafka = Kafka::builder(broker.bootstrap_servers()).connect().await.expect("a connection");
        let producer = kafka.producer().build().await.expect("a producer");
        let registry = Arc::new(Registry::open(&test.path().join("registry")).expect("a registry"));
        Fixture { test, broker, producer, registry }
    }

    fn config(&self) -> KafkaConfig {
        KafkaConfig {
            brokers: vec![self.broker.bootstrap_servers()],
            topics: vec!["t".to_owned()],
            start: Start::Earliest,
            ..KafkaConfig::default()
        }
    }

    fn run(&self, config: &KafkaConfig) -> Running {
        let shutdown = CancellationToken::new();
        let shared = Arc::new(Shared {
            intake: Arc::clone(&self.test.shared.intake),
            guard: Guard::new(Arc::clone(&self.test.tokens), false),
            limits: self.test.shared.limits.clone(),
            data_dir: self.test.path().to_owned(),
            shutdown: shutdown.clone(),
        });
        let source = open(config, &shared, &self.registry).expect("a source").remove(0);
        Running { task: tokio::spawn(source.run), shutdown }
    }

    /// Ends a source as a power cut does; the group forgets the member.
    async fn crash(&self, running: Running) {
        running.task.abort();
        let _ = running.task.await;
        tokio::time::sleep(Duration::from_millis(100)).await; // what it had started ends by itself
        self.broker.with_state(|state| {
            let group = state.groups.get_mut(GROUP).expect("the group");
            group.members.clear();
            group.state = krafka::testing::ClassicGroupState::Empty;
        });
    }

    async fn send(&self, partition: i32, value: impl Into<bytes::Bytes>) {
        let record = Record::new("t", value).partition(partition);
        let _ = self.producer.send(record).await.expect("sent");
    }

    async fn send_numbers(&self, partition: i32, numbers: std::ops::Range<u32>) {
        for n in numbers {
            self.send(partition, format!(r#"{{"message":"m","n":{n}}}"#)).await;
        }
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&FakeBroker) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !is_so(&self.broker) {
            assert!(tokio::time::Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_committed(&self, partition: i32, offset: i64) {
        self.until("the offset is committed", |broker| {
            broker.committed_offset(GROUP, "t", partition) == Some(offset)
        })
        .await;
    }

    /// Waits for so many records more, and that no other comes; how often each number occurs.
    async fn numbers(&self, count: usize) -> BTreeMap<i64, usize> {
        let records = tokio::task::block_in_place(|| self.test.records(count));
        let mut numbers = BTreeMap::new();
        for record in &records {
            *numbers.entry(number(record)).or_default() += 1;
        }
        assert!(self.test.is_quiet(), "no other record came");
        numbers
    }

    /// A range as the door declares it.
    fn declare(&self, from: i64, to: i64) {
        let mut intents = Intents::open(&self.test.path().join("kafka"), "kafka").expect("a folder");
        let intent =
            Intent { topic: "t".to_owned(), partition: 0, from, to, key: format!("t/0/{from}-{to}@1") };
        intents.declare(&[intent]).expect("written");
    }
}

fn number(record: &Value) -> i64 {
    let n = record.pointer("/attributes/n").or_else(|| record.get("n"));
    n.and_then(Value::as_i64).unwrap_or_else(|| panic!("no number in {record}"))
}

fn once(numbers: std::ops::Range<i64>) -> BTreeMap<i64, usize> {
    numbers.map(|n| (n, 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_durable_before_their_offset_is_committed() {
    let f = Fixture::new(2).await;
    f.send_numbers(0, 0..5).await;
    f.send_numbers(1, 5..8).await;
    let running = f.run(&f.config());
    assert_eq!(f.numbers(8).await, once(0..8));
    f.until_committed(0, 5).await;
    f.until_committed(1, 3).await;
    f.send_numbers(0, 8..9).await;
    assert_eq!(f.numbers(1).await, once(8..9));
    assert_eq!(f.test.shippers(DOOR, 2), ["kafka/t/0", "kafka/t/1"]);
    running.stop().await;
    let running = f.run(&f.config());
    f.send_numbers(1, 9..10).await;
    assert_eq!(f.numbers(1).await, once(9..10), "it goes on where it stopped");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_offsets_begins_at_the_end_and_remembers_where() {
    let f = Fixture::new(1).await;
    f.send_numbers(0, 0..3).await;
    let config = KafkaConfig { start: Start::Latest, ..f.config() };
    let running = f.run(&config);
    f.until_committed(0, 3).await;
    running.stop().await;
    f.send_numbers(0, 3..5).await; // while nobody reads
    let running = f.run(&config);
    assert_eq!(f.numbers(2).await, once(3..5));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_journal_and_the_commit_doubles_nothing() {
    let f = Fixture::new(1).await;
    f.send_numbers(0, 0..5).await;
    let running = f.run(&f.config());
    assert_eq!(f.numbers(5).await, once(0..5));
    f.until_committed(0, 5).await;
    f.broker.on(ApiKey::OffsetCommit, |_| Control::Error(ErrorCode::CoordinatorNotAvailable));
    let commits = f.broker.request_count(ApiKey::OffsetCommit);
    f.send_numbers(0, 5..8).await;
    f.until("records are durable", |broker| broker.request_count(ApiKey::OffsetCommit) > commits).await;
    f.crash(running).await;
    f.broker.clear_hooks();
    f.send_numbers(0, 8..10).await;
    let running = f.run(&f.config());
    f.until_committed(0, 10).await;
    assert_eq!(f.numbers(5).await, once(5..10));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_doubles_nothing() {
    let f = Fixture::new(1).await;
    let running = f.run(&f.config());
    f.until_committed(0, 0).await;
    f.broker.on_times(ApiKey::OffsetCommit, 2, |_| Control::ApplyThen(Box::new(Control::Disconnect)));
    f.send_numbers(0, 0..5).await;
    f.until_committed(0, 5).await;
    f.crash(running).await;
    f.broker.clear_hooks();
    let running = f.run(&f.config());
    f.send_numbers(0, 5..6).await;
    assert_eq!(f.numbers(6).await, once(0..6));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_declared_range_and_the_journal_loses_nothing() {
    let f = Fixture::new(1).await;
    f.send_numbers(0, 0..5).await;
    f.declare(0, 3); // declared, never admitted; the group has no offset yet
    let running = f.run(&KafkaConfig { start: Start::Latest, ..f.config() });
    assert_eq!(f.numbers(5).await, once(0..5));
    f.until_committed(0, 5).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_which_retention_took_a_part_is_read_from_what_is_left() {
    let f = Fixture::new(1).await;
    f.send_numbers(0, 0..6).await;
    f.declare(0, 4);
    f.broker.with_state(|state| {
        state.partition_mut("t", 0).expect("the partition").log_start_offset = 2;
    });
    f.broker.on_once(ApiKey::Fetch, |_| Control::Error(ErrorCode::OffsetOutOfRange));
    let running = f.run(&f.config());
    assert_eq!(f.numbers(4).await, once(2..6));
    f.until_committed(0, 6).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_of_retention_is_passed_over() {
    let f = Fixture::new(1).await;
    let running = f.run(&f.config());
    f.until_committed(0, 0).await;
    running.stop().await;
    f.send_numbers(0, 0..6).await;
    f.broker.with_state(|state| {
        state.partition_mut("t", 0).expect("the partition").log_start_offset = 4;
    });
    f.broker.on_once(ApiKey::Fetch, |_| Control::Error(ErrorCode::OffsetOutOfRange));
    let running = f.run(&f.config());
    assert_eq!(f.numbers(2).await, once(4..6));
    f.until_committed(0, 6).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_costs_itself_only() {
    let f = Fixture::new(1).await;
    let config = KafkaConfig { format: MessageFormat::Json, ..f.config() };
    f.send_numbers(0, 0..1).await;
    for poison in [&b"{broken"[..], b"", b"\xff\xff", b"\0\0\0\0\x07avro", b"[[["] {
        f.send(0, poison).await;
    }
    let _ = f.producer.send(Record::tombstone("t", "key").partition(0)).await.expect("sent");
    f.send_numbers(0, 1..2).await;
    let running = f.run(&config);
    assert_eq!(f.numbers(2).await, once(0..2));
    f.until_committed(0, 8).await;
    let receipts = f.test.shared.intake.receipts(&config.tenant, 10, None);
    let rejected: u64 = receipts.items.iter().map(|receipt| receipt.rejected_total).sum();
    assert_eq!(rejected, 5);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_doubles_and_loses_nothing() {
    let f = Fixture::new(3).await;
    let running = f.run(&f.config());
    for round in 0..5 {
        if round > 0 {
            f.broker.on_times(ApiKey::Heartbeat, 1, |_| Control::Error(ErrorCode::RebalanceInProgress));
        }
        for partition in 0..3 {
            let first = u32::try_from(round * 300 + partition * 100).expect("small");
            f.send_numbers(partition, first..first + 100).await;
        }
    }
    assert_eq!(f.numbers(1500).await, once(0..1500));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_thrown_out_joins_again_and_doubles_nothing() {
    let f = Fixture::new(1).await;
    let running = f.run(&f.config());
    for round in 0..4_u32 {
        f.broker.on_times(ApiKey::Heartbeat, 1, |_| Control::Error(ErrorCode::UnknownMemberId));
        f.send_numbers(0, round * 50..round * 50 + 50).await;
    }
    assert_eq!(f.numbers(200).await, once(0..200));
    f.until_committed(0, 200).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_killed_leaves_its_group_at_the_next_start() {
    let f = Fixture::new(1).await;
    let running = f.run(&f.config());
    f.send_numbers(0, 0..5).await;
    assert_eq!(f.numbers(5).await, once(0..5));
    running.task.abort();
    let _ = running.task.await;
    tokio::time::sleep(Duration::from_millis(100)).await; // what it had started ends by itself
    let left = f.broker.request_count(ApiKey::LeaveGroup);
    let running = f.run(&f.config());
    f.send_numbers(0, 5..9).await;
    assert_eq!(f.numbers(4).await, once(5..9));
    assert_eq!(f.broker.request_count(ApiKey::LeaveGroup), left + 1);
    assert_eq!(f.broker.with_state(|state| state.groups[GROUP].members.len()), 1, "the new one alone");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_keeps_its_place_over_a_crash() {
    let f = Fixture::new(1).await;
    let config = KafkaConfig { instance_id: "one".to_owned(), ..f.config() };
    let running = f.run(&config);
    f.send_numbers(0, 0..5).await;
    assert_eq!(f.numbers(5).await, once(0..5));
    running.task.abort();
    let _ = running.task.await;
    let running = f.run(&config);
    f.send_numbers(0, 5..9).await;
    assert_eq!(f.numbers(4).await, once(5..9));
    assert_eq!(f.broker.request_count(ApiKey::LeaveGroup), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_for_a_while_is_waited_for() {
    let f = Fixture::new(1).await;
    let running = f.run(&f.config());
    f.send_numbers(0, 0..5).await;
    assert_eq!(f.numbers(5).await, once(0..5));
    f.broker.crash(0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    f.broker.restart(0);
    f.send_numbers(0, 5..9).await;
    assert_eq!(f.numbers(4).await, once(5..9));
    f.until_committed(0, 9).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_journal_does_not_take_stays_in_the_topic() {
    let f = Fixture::over(shared_that_takes(3.0), 1).await;
    f.send_numbers(0, 0..60).await; // a batch beyond the burst is taken, and waited for after it
    let running = f.run(&f.config());
    f.until_committed(0, 60).await;
    f.send_numbers(0, 60..63).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // longer than it takes to pause the partitions
    assert_eq!(f.broker.committed_offset(GROUP, "t", 0), Some(60));
    let before = f.broker.request_count(ApiKey::Heartbeat);
    f.until("the member still speaks to its group", |b| b.request_count(ApiKey::Heartbeat) > before).await;
    running.stop().await;
    assert_eq!(f.numbers(60).await, once(0..60));
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_found_by_a_pattern_also_later() {
    let f = Fixture::new(1).await;
    let config = KafkaConfig {
        topics: vec!["^t[0-9]?$".to_owned()],
        topics_interval: heimdall_detect::Period::seconds(1),
        ..f.config()
    };
    let running = f.run(&config);
    f.send_numbers(0, 0..2).await;
    assert_eq!(f.numbers(2).await, once(0..2));
    f.broker.create_topic("t2", 1);
    let value = r#"{"message":"m","n":2}"#;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = f.producer.send(Record::new("t2", value)).await {
        assert!(tokio::time::Instant::now() < deadline, "{error}");
    }
    assert_eq!(f.numbers(1).await, once(2..3));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_the_broker_spoilt_do_not_end_the_door() {
    let f = Fixture::new(1).await;
    let running = f.run(&f.config());
    f.until_committed(0, 0).await;
    f.broker.on_times(ApiKey::Fetch, 1, |_| Control::CorruptRecords);
    f.send_numbers(0, 0..1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    running.stop().await;
    let running = f.run(&f.config());
    assert_eq!(f.numbers(1).await, once(0..1));
    running.stop().await;
}

#[tokio::test]
async fn sources_that_cannot_work_are_named() {
    let test = shared();
    let registry = Arc::new(Registry::open(&test.path().join("registry")).expect("a registry"));
    let config = KafkaConfig { brokers: vec!["127.0.0.1:1".to_owned()], ..KafkaConfig::default() };
    let refused = |config: &KafkaConfig| {
        open(config, &test.shared, &registry).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(&config), "");
    let twice = KafkaConfig { also: vec![config.clone()], ..config.clone() };
    assert_eq!(refused(&twice), "kafka: two sources are named `kafka`");
    let pattern = KafkaConfig { topics: vec!["^(".to_owned()], ..config.clone() };
    assert!(refused(&pattern).starts_with("kafka: topics: "));
    let off = KafkaConfig::default();
    assert!(open(&off, &test.shared, &registry).expect("nothing is wrong").is_empty());
}
