//! A TCP stream read line by line: the technician port, Server-Sent Events.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::http::connect;

/// A connection that speaks in lines.
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<TcpStream>,
}

impl Lines {
    /// Connects.
    #[track_caller]
    #[must_use]
    pub fn connect(address: SocketAddr) -> Lines {
        Lines { reader: BufReader::new(connect(address)) }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).expect("the peer takes what we send");
    }

    /// The next line without its end, or `None` when the peer closed.
    ///
    /// Panics when neither happens within the patience of [`crate::PATIENCE`].
    #[track_caller]
    pub fn next_line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end_matches(['\n', '\r']).to_owned()),
            Err(error) if is_cut(error.kind()) => None,
            Err(error) => panic!("no line came: {error}"),
        }
    }

    /// The first line that `wanted` makes something of. Panics when the peer closes before.
    #[track_caller]
    pub fn find<T>(&mut self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        loop {
            let line = self.next_line().unwrap_or_else(|| panic!("the peer closed before {what}"));
            if let Some(found) = wanted(&line) {
                return found;
            }
        }
    }

    /// The first line that is a JSON object of this `type`.
    #[track_caller]
    pub fn find_message(&mut self, kind: &str) -> Value {
        self.find(&format!("a `{kind}` message"), |line| {
            let value: Value = serde_json::from_str(line).ok()?;
            (value["type"] == kind).then_some(value)
        })
    }
}

fn is_cut(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe)
}
