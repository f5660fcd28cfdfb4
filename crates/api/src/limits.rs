//! Limits of the listeners, each with what happens at it.

use std::time::Duration;

/// Bytes of a request that is a small JSON document (everything but ingest): 413 above.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Items of one list page: a larger `limit` is a 400.
pub(crate) const PAGE_ITEMS_MAX: usize = 1_000;
/// Items of one list page unless the request says.
pub(crate) const PAGE_ITEMS_DEFAULT: usize = 100;
/// Rows of one query answer: a larger `limit` is a 400.
pub const QUERY_ROWS_MAX: usize = 100_000;

/// Limits of HTTP, WebSocket and the technician listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// Open HTTP connections; above, the next waits in the listen queue.
    pub connections_max: usize,
    /// A request head not complete after this long, counted from the end of the last answer, ends the connection.
    pub header_read_timeout: Duration,
    /// Bytes of a request head: 431 above.
    pub header_bytes_max: usize,
    /// Bytes of an ingest body as sent (compressed): 413 above.
    pub body_bytes_max: u64,
    /// A body that sends nothing for this long is given up: 408.
    pub body_idle_timeout: Duration,
    /// A body not complete after this long is given up: 408.
    pub body_timeout: Duration,
    /// Bodies up to this many bytes are decoded on the async thread that read them, larger ones on a blocking thread.
    pub inline_decode_bytes_max: usize,
    /// Queries that run at once; above, a query waits.
    pub queries_max: usize,
    /// A query that has waited this long for its turn: 503 with `Retry-After`.
    pub query_wait: Duration,
    /// Run time of a query unless the request says less.
    pub query_timeout: Duration,
    /// WebSocket and SSE sessions at once: 503 above.
    pub live_sessions_max: usize,
    /// A live session's client that takes no byte for this long is cut.
    pub live_send_timeout: Duration,
    /// Time between pings or heartbeats of a live session.
    pub heartbeat: Duration,
    /// Technician connections at once; above, the next is refused with a goodbye.
    pub watch_sessions_max: usize,
    /// A technician that has not sent its token after this long is cut.
    pub watch_hello_timeout: Duration,
    /// A client that takes no byte of its answer for this long is cut.
    pub answer_stall_timeout: Duration,
    /// Requests still running this long after shutdown are cut.
    pub drain: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            connections_max: 10_000,
            header_read_timeout: Duration::from_secs(30),
            header_bytes_max: 128 * 1024,
            body_bytes_max: 64 * 1024 * 1024,
            body_idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(300),
            inline_decode_bytes_max: 256 * 1024,
            queries_max: 8,
            query_wait: Duration::from_secs(10),
            query_timeout: Duration::from_secs(30),
            live_sessions_max: 1_000,
            live_send_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
            watch_sessions_max: 200,
            watch_hello_timeout: Duration::from_secs(5),
            answer_stall_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}
