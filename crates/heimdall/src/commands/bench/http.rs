//! The smallest HTTP/1.1 client that can keep a server busy: one connection, one request after the other.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What a server answers.
pub(super) struct HttpAnswer {
    pub(super) status: u16,
    /// `Retry-After`, in seconds.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// One kept-alive connection.
pub(super) struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(host: &str) -> Result<Connection> {
        let stream =
            TcpStream::connect(host).await.with_context(|| format!("could not connect to {host}"))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, host: host.to_owned(), buffer: Vec::new() })
    }

    /// Posts a body and reads the whole answer.
    pub(super) async fn post(&mut self, path: &str, content_type: &str, body: &[u8]) -> Result<HttpAnswer> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.stream.write_all(head.as_bytes()).await?;
        self.stream.write_all(body).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<HttpAnswer> {
        self.buffer.clear();
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.buffer.len() > HEAD_BYTES_MAX || self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection ended within an answer");
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
        let number = |wanted: &str| {
            let mut headers = head.lines().filter_map(|line| line.split_once(':'));
            let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.and_then(|(_, value)| value.trim().parse::<u64>().ok())
        };
        let length = match status {
            204 => 0, // has no body (RFC 9110, 15.3.5)
            _ => usize::try_from(number("content-length").context("an answer without Content-Length")?)?,
        };
        let retry_after = number("retry-after").map(Duration::from_secs);
        while self.buffer.len() < end + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection ended within an answer");
            }
        }
        Ok(HttpAnswer { status, retry_after, body: self.buffer[end..end + length].to_vec() })
    }
}
