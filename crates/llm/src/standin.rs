//! A stand-in for an endpoint of the chat-completions API, for tests: answers well, or misbehaves as told. No real network.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{ApiKey, LlmConfig};

/// What the stand-in does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// Labels every record with this severity.
    Label(&'static str),
    /// Says this text as the model.
    Say(String),
    /// Answers with this status line, further header lines, and body.
    Raw(&'static str, &'static str, String),
    /// Says nothing until the client gives up.
    Silent,
    /// Sends the head and half of the body, then nothing.
    Stuck,
    /// Sends bytes for as long as the client takes them.
    Endless,
    /// Closes the connection without a word.
    Close,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub head: String,
    pub body: Value,
}

impl Received {
    /// The records asked about.
    pub(crate) fn records(&self) -> Vec<Value> {
        records(&self.body)
    }
}

fn records(body: &Value) -> Vec<Value> {
    let user = body["messages"][1]["content"].as_str().unwrap_or("{}");
    let user: Value = serde_json::from_str(user).unwrap();
    user["records"].as_array().cloned().unwrap_or_default()
}

/// A running stand-in; it ends with the test's runtime.
pub(crate) struct StandIn {
    pub base_url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl StandIn {
    /// Behaves so for one request after the other; the last one for all that follow.
    pub(crate) async fn start(behaviours: Vec<Behaviour>) -> StandIn {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&received);
        tokio::spawn(async move {
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let behaviour = behaviours[n.min(behaviours.len() - 1)].clone();
                tokio::spawn(serve(stream, behaviour, Arc::clone(&log)));
            }
        });
        StandIn { base_url, received }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().clone()
    }

    /// A configuration that asks here, quickly.
    pub(crate) fn config(&self) -> LlmConfig {
        let mut config = LlmConfig {
            enabled: true,
            base_url: self.base_url.clone(),
            api_key: Some(ApiKey::parse(KEY).unwrap()),
            linger: Duration::from_millis(1),
            ..LlmConfig::default()
        };
        config.retry.backoff_min = Duration::from_millis(1);
        config.retry.backoff_max = Duration::from_millis(2);
        config
    }
}

/// The key that must not be seen anywhere else.
pub(crate) const KEY: &str = "sk-t0ps3cretk3y";

async fn serve(stream: TcpStream, behaviour: Behaviour, log: Arc<Mutex<Vec<Received>>>) {
    let mut stream = BufReader::new(stream);
    let Some(request) = receive(&mut stream).await else { return };
    let body = request.body.clone();
    log.lock().push(request);
    let answer = match behaviour {
        Behaviour::Label(severity) => completed(&labels(&body, severity)),
        Behaviour::Say(text) => completed(&text),
        Behaviour::Raw(status, headers, body) => http(status, headers, &body),
        Behaviour::Stuck => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
        Behaviour::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
            while stream.write_all(&[b' '; 8_192]).await.is_ok() {}
            return;
        }
        Behaviour::Close => return,
        Behaviour::Silent => String::new(),
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.flush().await;
    // Until the client closes.
    while stream.read(&mut [0; 64]).await.is_ok_and(|bytes| bytes > 0) {}
}

async fn receive(stream: &mut BufReader<TcpStream>) -> Option<Received> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Received { head, body: serde_json::from_slice(&body).ok()? })
}

pub(crate) fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// A chat completion that says this.
fn completed(text: &str) -> String {
    let body = json!({
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340},
    });
    http("200 OK", "content-type: application/json\r\n", &body.to_string())
}

/// What a model would say that gives every record this severity.
pub(crate) fn labels(body: &Value, severity: &str) -> String {
    let verdicts: Vec<Value> = records(body).iter().map(|record| label(&record["id"], severity)).collect();
    json!({ "verdicts": verdicts }).to_string()
}

pub(crate) fn label(id: &Value, severity: &str) -> Value {
    json!({"id": id, "severity": severity, "confidence": 0.9, "title": "Memory is exhausted",
        "reason": "The heap is full.", "mitigation": ["Raise the limit."]})
}
