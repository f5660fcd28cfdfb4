//! A STAND-IN for the other side of a channel over HTTP: it checks what it gets against the documentation of that side, answers as
//! documented, or fails in one of the documented ways.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) method: String,
    /// With the query.
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("not JSON: {error}"))
    }
}

/// What the other side does with a request: status and body, or what is wrong with the request.
pub(super) type Check = fn(&Request) -> Result<(u16, String), String>;

/// How it behaves.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    /// As documented.
    Documented,
    /// This status line, these headers and this body.
    Answer(String, String),
    /// No answer.
    Silent,
}

pub(super) struct Standin {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    faults: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Standin {
    pub(super) async fn start(check: Check, behaviour: Behaviour) -> Standin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, faults) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let task = tokio::spawn({
            let (seen, faults) = (Arc::clone(&seen), Arc::clone(&faults));
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (seen, faults, behaviour) =
                        (Arc::clone(&seen), Arc::clone(&faults), behaviour.clone());
                    tokio::spawn(serve(stream, check, behaviour, seen, faults));
                }
            }
        });
        Standin { address, seen, faults, task }
    }

    pub(super) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests since the last call; panics when one was not as documented.
    #[track_caller]
    pub(super) fn take(&self) -> Vec<Request> {
        let faults = std::mem::take(&mut *self.faults.lock());
        let seen = std::mem::take(&mut *self.seen.lock());
        let shown: Vec<_> =
            seen.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
        assert!(faults.is_empty(), "not as documented: {faults:?}\n{shown:#?}");
        seen
    }
}

async fn serve(
    stream: TcpStream,
    check: Check,
    behaviour: Behaviour,
    seen: Arc<Mutex<Vec<Request>>>,
    faults: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        seen.lock().push(request.clone());
        let (head, body) = match &behaviour {
            Behaviour::Documented => match check(&request) {
                Ok((status, body)) => (format!("{status} Status"), body),
                Err(fault) => {
                    faults.lock().push(fault.clone());
                    ("400 Bad Request".to_owned(), fault)
                }
            },
            Behaviour::Answer(head, body) => (head.clone(), body.clone()),
            Behaviour::Silent => {
                // Until the client gives up.
                let _ = stream.read(&mut [0]).await;
                return;
            }
        };
        let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ').map(str::to_owned);
    let (method, path) = (first.next()?, first.next()?);
    let headers = lines[1..].iter().filter_map(|line| line.split_once(':'));
    let headers: BTreeMap<String, String> =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let mut body = vec![0; headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, path, headers, body })
}
