//! Kill -9 of the real binary under load, twenty times at random points, then count.
//!
//! Counted are: acknowledged records that are lost or doubled; batches of a client that gave up which are there in part
//! or twice; alerts that are lost, doubled or wrong. All must be none.
//!
//! Limits are set small, so that segments are written and merged and the journal is released within the run. The seed of
//! the kills is printed; `CRASH_SEED` sets it.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use heimdall_testkit::http::{self, Response};
use heimdall_testkit::{Command, PATIENCE, Server};
use serde_json::{Value, json};

const BIN: &str = env!("CARGO_BIN_EXE_heimdall");
const KILLS: u8 = 20;
const CONNECTIONS: u64 = 4;
const BATCH_RECORDS: u64 = 5;
/// One batch in so many is sent once, whatever becomes of it: a client that gives up.
const SENT_ONCE_EVERY: u64 = 4;
/// One restart in so many is itself killed, in the middle of its replay.
const KILLED_START_EVERY: u8 = 4;
/// Failed logins of one source within a minute that are brute force.
const FAILURES: u64 = 5;
/// Ids on one page of the export: a page of doubled records still fits an answer.
const PAGE_IDS: u64 = 5_000;
const SEED: u64 = 20;
const LIMITS: [(&str, &str); 3] = [
    ("HEIMDALL_STORE__FLUSH_ROWS", "2000"),
    ("HEIMDALL_STORE__FLUSH_AGE", "1s"),
    ("HEIMDALL_JOURNAL__FILE_BYTES_MAX", "128KiB"),
];

#[test]
fn kill_9_under_load_loses_and_doubles_nothing() {
    let seed = std::env::var("CRASH_SEED").map_or(SEED, |text| text.parse().expect("CRASH_SEED is a number"));
    eprintln!("CRASH_SEED={seed}");
    let mut random = Random(seed);
    let mut server = LIMITS.iter().fold(Server::builder(BIN), |b, (name, value)| b.env(name, value)).start();
    let load = Load::new(server.http());
    let sent: Vec<Sent> = std::thread::scope(|scope| {
        let load = &load;
        // Also when an assertion fails here: the scope waits for the workers.
        let stop = StopOnDrop(load);
        let workers: Vec<_> = (0..CONNECTIONS).map(|worker| scope.spawn(move || load.feed(worker))).collect();
        for kill in 0..KILLS {
            std::thread::sleep(random.millis(200..1_000));
            before_the_kill(load, kill);
            std::thread::sleep(random.millis(0..40));
            server.kill9();
            if kill % KILLED_START_EVERY == 1 {
                killed_start(&server, random.millis(10..300));
            }
            server.restart();
            load.moved_to(server.http());
            after_the_kill(load, kill);
        }
        drop(stop);
        workers.into_iter().map(|worker| worker.join().expect("the worker ends")).collect()
    });
    wait_until_processed(&server);
    let status = server.get_json("/api/v1/status");
    eprintln!("{}", status["store"]);
    check_records(&server, &load, &sent);
    check_alerts(&server);
    check_that_it_was_worth_it(&server, &status);
    // Once more in peace: what the memory held is the same from disk.
    server.restart();
    check_records(&server, &load, &sent);
    check_alerts(&server);
}

// ---- load ---------------------------------------------------------------------------------------------------------

/// What the workers share.
struct Load {
    address: Mutex<SocketAddr>,
    next_id: AtomicU64,
    is_over: AtomicBool,
}

/// What became of a worker's batches, each the ids of its records.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<Range<u64>>,
    unanswered: Vec<Range<u64>>,
    /// Batches acknowledged only when they were sent again, and found to be there already.
    found_there: u64,
}

struct StopOnDrop<'a>(&'a Load);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

impl Load {
    fn new(address: SocketAddr) -> Load {
        Load { address: Mutex::new(address), next_id: AtomicU64::new(0), is_over: AtomicBool::new(false) }
    }

    fn moved_to(&self, address: SocketAddr) {
        *self.address.lock().expect("no holder panics") = address;
    }

    fn feed(&self, worker: u64) -> Sent {
        let mut client = Client::new(self);
        let mut sent = Sent::default();
        for number in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let from = self.next_id.fetch_add(BATCH_RECORDS, Ordering::Relaxed);
            let ids = from..from + BATCH_RECORDS;
            let (key, body) = (format!("worker-{worker}-{number}"), orders(ids.clone()));
            let gives_up = number % SENT_ONCE_EVERY == 0;
            match client.send(&key, &body, gives_up) {
                None => sent.unanswered.push(ids),
                Some(answer) => {
                    let count = |name: &str| answer[name].as_u64().expect("a receipt counts");
                    assert_eq!(count("accepted") + count("deduplicated"), BATCH_RECORDS, "{answer}");
                    sent.found_there += u64::from(count("deduplicated") > 0);
                    sent.acknowledged.push(ids);
                }
            }
        }
        sent
    }
}

fn orders(ids: Range<u64>) -> String {
    let line =
        |n| json!({"service": "orders", "level": "info", "message": format!("order {n} stored"), "n": n});
    ids.map(|n| format!("{}\n", line(n))).collect()
}

/// Keeps its connection while it can.
struct Client<'a> {
    load: &'a Load,
    connection: Option<BufReader<TcpStream>>,
}

impl<'a> Client<'a> {
    fn new(load: &'a Load) -> Client<'a> {
        Client { load, connection: None }
    }

    /// Sends until there is an answer that settles it; `None` when it gives up after one try without one.
    fn send(&mut self, key: &str, body: &str, gives_up: bool) -> Option<Value> {
        loop {
            match self.try_send(key, body) {
                Ok(response) if response.status == 200 => return Some(response.json()),
                // Refused for now: nothing was written, and the same key may come again.
                Ok(response) => assert_eq!(response.status, 503, "{}", response.text()),
                Err(_) if gives_up => return None,
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn try_send(&mut self, key: &str, body: &str) -> std::io::Result<Response> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let head = format!(
            "POST /api/v1/ingest/logs HTTP/1.1\r\nHost: {}\r\nIdempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n",
            connection.get_ref().peer_addr()?,
            body.len()
        );
        connection.get_mut().write_all(head.as_bytes())?;
        connection.get_mut().write_all(body.as_bytes())?;
        let response = http::read_response(&mut connection)?;
        self.connection = Some(connection);
        Ok(response)
    }

    fn connect(&self) -> std::io::Result<BufReader<TcpStream>> {
        let address = *self.load.address.lock().expect("no holder panics");
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
}

// ---- attacks ------------------------------------------------------------------------------------------------------

/// Attacked in full before the kill: one alert.
fn full(kill: u8) -> String {
    format!("198.51.100.{kill}")
}

/// Attacked across the kill: one alert, by a detector that remembers.
fn across(kill: u8) -> String {
    format!("203.0.113.{kill}")
}

/// One failure short before the kill: no alert, however often it is replayed.
fn short(kill: u8) -> String {
    format!("192.0.2.{kill}")
}

fn before_the_kill(load: &Load, kill: u8) {
    fail_logins(load, &full(kill), "full", FAILURES);
    fail_logins(load, &across(kill), "first", FAILURES - 2);
    fail_logins(load, &short(kill), "short", FAILURES - 1);
}

fn after_the_kill(load: &Load, kill: u8) {
    fail_logins(load, &across(kill), "last", 2);
}

fn fail_logins(load: &Load, source: &str, part: &str, times: u64) {
    let message = format!("Failed password for root from {source} port 22 ssh2");
    let line = format!("{}\n", json!({"service": "sshd", "message": message}));
    let lines = line.repeat(usize::try_from(times).expect("a handful"));
    Client::new(load).send(&format!("attack-{source}-{part}"), &lines, false).expect("it does not give up");
}

// ---- the server ---------------------------------------------------------------------------------------------------

/// Starts the server on the same data and kills it before it has come far.
fn killed_start(server: &Server, after: Duration) {
    let command = Command::new(BIN).args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    let command = LIMITS.iter().fold(command.arg(server.data_dir()), |c, (name, value)| c.env(name, value));
    let running = command.start();
    std::thread::sleep(after);
    let ended = running.kill9();
    assert_eq!(ended.code, None, "it ran until it was killed: {}", ended.stderr);
}

fn wait_until_processed(server: &Server) {
    server.wait_for("the stream to catch up", |server| {
        let stream = &server.get_json("/api/v1/status")["stream"];
        (stream["processed_seq"] == stream["durable_seq"]).then_some(())
    });
}

// ---- the count ----------------------------------------------------------------------------------------------------

fn check_records(server: &Server, load: &Load, sent: &[Sent]) {
    let ids_max = load.next_id.load(Ordering::Relaxed);
    let times_by_id = export(server, ids_max);
    let times = |n: u64| times_by_id.get(&n).copied().unwrap_or(0);
    let acknowledged = || sent.iter().flat_map(|sent| &sent.acknowledged);
    let unanswered = || sent.iter().flat_map(|sent| &sent.unanswered);
    let lost = acknowledged().cloned().flatten().filter(|n| times(*n) == 0).count();
    let doubled = times_by_id.values().filter(|times| **times > 1).count();
    let torn = unanswered().filter(|ids| (*ids).clone().any(|n| times(n) != times(ids.start))).count();
    let found_there: u64 = sent.iter().map(|sent| sent.found_there).sum();
    eprintln!(
        "batches: {} acknowledged ({found_there} found there when sent again), {} given up; records: {lost} lost, {doubled} doubled",
        acknowledged().count(),
        unanswered().count(),
    );
    assert_eq!((lost, doubled, torn), (0, 0, 0), "lost, doubled, torn batches");

    let stored: u64 = times_by_id.values().sum();
    assert_eq!(server.query("exists:n | stats count()"), [json!([stored])]);
    let attempts = u64::from(KILLS) * (FAILURES + FAILURES + FAILURES - 1);
    assert_eq!(server.query("service:sshd | stats count()"), [json!([attempts])]);
}

/// How often each id is found.
fn export(server: &Server, ids_max: u64) -> BTreeMap<u64, u64> {
    let mut times_by_id = BTreeMap::new();
    for from in (0..ids_max).step_by(usize::try_from(PAGE_IDS).expect("a page is small")) {
        for row in server.query(&format!("n>={from} n<{} | fields n", from + PAGE_IDS)) {
            *times_by_id.entry(row[0].as_u64().expect("an id")).or_default() += 1;
        }
    }
    times_by_id
}

fn check_alerts(server: &Server) {
    let page = server.get_json("/api/v1/alerts?limit=1000");
    let mut by_source: HashMap<String, Vec<&Value>> = HashMap::new();
    for alert in page["items"].as_array().expect("a list") {
        if alert["rule"] == "auth.bruteforce.source" {
            let source = alert["entity"]["value"].as_str().expect("a source");
            by_source.entry(source.to_owned()).or_default().push(alert);
        }
    }
    for kill in 0..KILLS {
        assert_eq!(by_source.get(&short(kill)), None, "one failure is missing");
        for source in [full(kill), across(kill)] {
            let alerts = by_source.get(&source).map_or(&[][..], Vec::as_slice);
            let [alert] = alerts else { panic!("{} alerts of {source}", alerts.len()) };
            assert_eq!(
                (&alert["count"], &alert["features"][0]["value"]),
                (&json!(1), &json!(5.0)),
                "{alert}"
            );
            check_evidence(server, alert);
        }
    }
}

/// Every record an alert points to is there, under the same id.
fn check_evidence(server: &Server, alert: &Value) {
    let ids = alert["evidence"].as_array().expect("a list");
    assert_eq!(ids.len() as u64, FAILURES, "{alert}");
    let ids: Vec<&str> = ids.iter().filter_map(Value::as_str).collect();
    let found = server.query(&format!("id:({}) | stats count()", ids.join(" OR ")));
    assert_eq!(found, [json!([FAILURES])], "evidence of {alert}");
}

/// Segments were written and merged, and the journal was released: else the kills hit nothing of interest.
fn check_that_it_was_worth_it(server: &Server, status: &Value) {
    let (segments, manifests) = (status["store"]["segments"].as_u64(), status["store"]["manifest"].as_u64());
    assert!(manifests > Some(u64::from(KILLS)), "{manifests:?} manifests");
    assert!(segments < manifests, "nothing was merged: {segments:?} segments after {manifests:?} manifests");
    let journal = std::fs::read_dir(server.data_dir().join("journal")).expect("the journal is a folder");
    let names = journal.map(|entry| entry.expect("it can be listed").file_name());
    let first = names.filter_map(|name| name.to_str()?.strip_suffix(".wal")?.parse::<u64>().ok()).min();
    assert!(first > Some(1), "the journal was never released: {first:?}");
}

/// SplitMix64: the same seed, the same kills.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.next() % (range.end - range.start))
    }
}
