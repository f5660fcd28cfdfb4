//! A stand-in for the server's HTTP door: takes records once by key, and fails in the documented ways.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes and answers.
    Well,
    /// Takes every other request and closes without an answer; takes and answers the rest.
    LosesAnswers,
    /// 503 for everything.
    Broken,
    /// 429 and come back in two seconds.
    Busy,
    /// 400 for everything, for good.
    Refuses,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    keys: HashSet<String>,
    messages: Vec<String>,
    samples: BTreeSet<String>,
    requests: u64,
    lost: u64,
    busy_at: Vec<Instant>,
}

/// The stand-in.
#[derive(Clone)]
pub(crate) struct StandIn {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl StandIn {
    pub(crate) async fn start() -> StandIn {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State {
            mood: Mood::Well,
            keys: HashSet::new(),
            messages: Vec::new(),
            samples: BTreeSet::new(),
            requests: 0,
            lost: 0,
            busy_at: Vec::new(),
        };
        let made =
            StandIn { state: Arc::new(Mutex::new(state)), port: listener.local_addr().unwrap().port() };
        let server = made.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        made
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.state.lock().mood = mood;
    }

    /// Messages of log records, sorted.
    pub(crate) fn messages(&self) -> Vec<String> {
        let mut messages = self.state.lock().messages.clone();
        messages.sort();
        messages
    }

    /// Names of samples.
    pub(crate) fn samples(&self) -> BTreeSet<String> {
        self.state.lock().samples.clone()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.state.lock().lost
    }

    pub(crate) fn busy_at(&self) -> Vec<Instant> {
        self.state.lock().busy_at.clone()
    }

    async fn serve(&self, mut stream: TcpStream) {
        while let Some((head, body)) = read_request(&mut stream).await {
            let Some(answer) = self.answer(&head, &body) else { return };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// None: the connection is closed without one.
    fn answer(&self, head: &str, body: &[u8]) -> Option<String> {
        let mut state = self.state.lock();
        state.requests += 1;
        match state.mood {
            Mood::Broken => return Some(reply("503 Unavailable", "", r#"{"code":"journal_full"}"#)),
            Mood::Refuses => return Some(reply("400 Bad Request", "", r#"{"code":"all_rejected"}"#)),
            Mood::Busy => {
                state.busy_at.push(Instant::now());
                return Some(reply("429 Too Many", "Retry-After: 2\r\n", r#"{"code":"rate_limited"}"#));
            }
            Mood::Well | Mood::LosesAnswers => {}
        }
        let (accepted, deduplicated) = state.take(head, body);
        if state.mood == Mood::LosesAnswers && state.requests.is_multiple_of(2) {
            state.lost += 1;
            return None;
        }
        let receipt =
            format!(r#"{{"accepted":{accepted},"deduplicated":{deduplicated},"rejected_total":0}}"#);
        Some(reply("200 OK", "", &receipt))
    }
}

impl State {
    fn take(&mut self, head: &str, body: &[u8]) -> (usize, usize) {
        let key = header(head, "idempotency-key").expect("a key");
        assert_eq!(header(head, "content-encoding").as_deref(), Some("zstd"));
        let is_logs = head.starts_with("POST /api/v1/ingest/logs ");
        assert!(is_logs || head.starts_with("POST /api/v1/ingest/metrics "), "{head}");
        let text = String::from_utf8(zstd::decode_all(body).unwrap()).unwrap();
        let records: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if !self.keys.insert(key) {
            return (0, records.len());
        }
        for record in &records {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            assert_eq!(text("host"), "h1", "{record}");
            match is_logs {
                true => self.messages.push(text("message")),
                false => drop(self.samples.insert(text("name"))),
            }
        }
        (records.len(), 0)
    }
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn header(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut found =
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned());
    found.next()
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let len: usize = header(&head, "content-length")?.parse().ok()?;
    while bytes.len() < end + len {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, bytes.split_off(end)))
}
