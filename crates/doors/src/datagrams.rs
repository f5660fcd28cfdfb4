//! Datagrams: the socket is emptied whatever the disk does, and what cannot be kept is counted.
//!
//! Invariants:
//! - reading never waits for records to become durable: between both is a queue of at most `queue_bytes_max`;
//! - a datagram is in the queue whole, or is counted in `door_dropped_total` (`queue_full`, `not_allowed`); those that the kernel
//!   dropped for want of room in its buffer are counted too (`kernel`);
//! - after the shutdown what has arrived is read once more, and all that was queued is handed over.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ipnet::IpNet;
use metrics::counter;
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::framing::{Defect, Frames};
use crate::net::is_allowed;

/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;
/// A batch is complete at this size; the next datagram begins another.
const BATCH_BYTES: usize = 1024 * 1024;
/// Datagrams read in one go, before others have their turn on the thread.
const BURST: usize = 1024;
/// How often the kernel is asked what it dropped.
const KERNEL_PERIOD: Duration = Duration::from_secs(5);
/// At the end, how long to wait for a datagram that is on its way.
const LAST_WAIT: Duration = Duration::from_millis(50);
/// How often there is a batch, though an empty one.
const TICK: Duration = Duration::from_secs(1);

/// A bound socket.
pub(crate) struct DatagramDoor {
    pub(crate) name: &'static str,
    pub(crate) socket: UdpSocket,
    pub(crate) allow: Vec<IpNet>,
    /// A longer datagram is cut.
    pub(crate) datagram_bytes_max: usize,
    pub(crate) queue_bytes_max: usize,
}

impl DatagramDoor {
    /// Reads until `shutdown`; `handle` gets what came, batch after batch, and an empty one every second in which nothing came.
    pub(crate) async fn run<H>(self, shutdown: CancellationToken, mut handle: H)
    where
        H: FnMut(Frames) -> BoxFuture<'static, ()> + Send,
    {
        let queue = Arc::new(Queue::new(self.queue_bytes_max));
        let reading = tokio::spawn(self.read(Arc::clone(&queue), shutdown));
        while let Some(frames) = queue.next().await {
            handle(frames).await;
        }
        if let Err(error) = reading.await {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    async fn read(self, queue: Arc<Queue>, shutdown: CancellationToken) {
        let _close = CloseOnDrop(Arc::clone(&queue));
        let mut kernel = KernelDrops::of(&self.socket);
        let mut period = tokio::time::interval(KERNEL_PERIOD);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            tokio::select! {
                _ = self.socket.readable() => {
                    self.empty(&mut buffer, &queue);
                    tokio::task::yield_now().await;
                }
                _ = period.tick() => kernel.count(self.name),
                () = shutdown.cancelled() => break,
            }
        }
        while tokio::time::timeout(LAST_WAIT, self.socket.readable()).await.is_ok() {
            if self.empty(&mut buffer, &queue) == 0 {
                break;
            }
        }
        kernel.count(self.name);
    }

    /// Takes what is there, a burst at most; how many there were.
    fn empty(&self, buffer: &mut [u8], queue: &Queue) -> usize {
        let (mut read, mut full, mut foreign) = (0, 0, 0);
        while read < BURST {
            let (len, from) = match self.socket.try_recv_from(buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    read += 1; // such as an answer of ICMP to somebody else: said once, and the next read goes on
                    continue;
                }
            };
            read += 1;
            if !is_allowed(&self.allow, from.ip()) {
                foreign += 1;
            } else if !queue.push(&buffer[..len], self.datagram_bytes_max, from) {
                full += 1;
            }
        }
        queue.ready.notify_one();
        for (reason, count) in [("queue_full", full), ("not_allowed", foreign)] {
            if count > 0 {
                counter!("door_dropped_total", "door" => self.name, "reason" => reason).increment(count);
            }
        }
        read
    }
}

/// Batches between the task that reads and the one that hands over.
struct Queue {
    waiting: Mutex<Waiting>,
    ready: Notify,
    bytes_max: usize,
}

#[derive(Default)]
struct Waiting {
    batches: VecDeque<Frames>,
    /// INVARIANT: the sum of the sizes of the batches.
    bytes: usize,
    is_closed: bool,
}

struct CloseOnDrop(Arc<Queue>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.waiting.lock().is_closed = true;
        self.0.ready.notify_one();
    }
}

impl Queue {
    fn new(bytes_max: usize) -> Queue {
        Queue { waiting: Mutex::default(), ready: Notify::new(), bytes_max }
    }

    /// Whether there was room.
    fn push(&self, datagram: &[u8], bytes_max: usize, from: SocketAddr) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.bytes + datagram.len().min(bytes_max) > self.bytes_max {
            return false;
        }
        if waiting.batches.back().is_none_or(|batch| batch.size() >= BATCH_BYTES) {
            waiting.batches.push_back(Frames::default());
        }
        let kept = &datagram[..datagram.len().min(bytes_max)];
        let defect = (kept.len() < datagram.len()).then_some(Defect::Cut);
        let batch = waiting.batches.back_mut().expect("one was just added when there was none");
        let before = batch.size();
        batch.push(kept, canonical(from), defect);
        let grown = batch.size() - before;
        waiting.bytes += grown;
        true
    }

    /// The next batch; an empty one after a second without; `None` at the end.
    async fn next(&self) -> Option<Frames> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if let Some(batch) = waiting.batches.pop_front() {
                    waiting.bytes -= batch.size();
                    return Some(batch);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            if tokio::time::timeout(TICK, self.ready.notified()).await.is_err() {
                return Some(Frames::default());
            }
        }
    }
}

fn canonical(from: SocketAddr) -> IpAddr {
    from.ip().to_canonical()
}

/// What the kernel says it dropped of a socket.
pub(crate) struct KernelDrops {
    inode: Option<String>,
    counted: u64,
}

impl KernelDrops {
    pub(crate) fn of(socket: &UdpSocket) -> KernelDrops {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok();
        let inode = link.and_then(|link| {
            let name = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(name.to_owned())
        });
        KernelDrops { inode, counted: 0 }
    }

    /// Counts what it dropped since the last time.
    pub(crate) fn count(&mut self, door: &'static str) {
        let Some(inode) = &self.inode else { return };
        let tables =
            ["/proc/net/udp", "/proc/net/udp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let Some(dropped) = tables.iter().find_map(|table| drops_in(table, inode)) else { return };
        let more = dropped.saturating_sub(self.counted);
        if more > 0 {
            counter!("door_dropped_total", "door" => door, "reason" => "kernel").increment(more);
            self.counted = dropped;
        }
    }
}

/// The last column of the line of the socket with this inode, which is the tenth column. Source: proc(5), `/proc/net/udp`.
fn drops_in(table: &str, inode: &str) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        (columns.nth(9)? == inode).then(|| columns.last()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_a_taken_batch_makes_room() {
        let queue = Queue::new(600);
        let from = SocketAddr::from(([127, 0, 0, 1], 9));
        let taken = (0..100).take_while(|_| queue.push(&[b'x'; 100], 50, from)).count();
        assert!((3..12).contains(&taken), "{taken}");
        assert_eq!(queue.waiting.lock().batches.len(), 1);
        let batch = futures::executor::block_on(queue.next()).expect("a batch");
        assert_eq!((batch.list.len(), batch.bytes.len()), (taken, taken * 50));
        assert_eq!(batch.list[0].defect, Some(Defect::Cut));
        assert_eq!(queue.waiting.lock().bytes, 0);
        assert!(queue.push(b"x", 50, from));
    }

    #[test]
    fn the_kernels_drops_are_found_by_inode() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
            1019: 0100007F:158A 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 17\n";
        assert_eq!(drops_in(table, "4711"), Some(17));
        assert_eq!(drops_in(table, "4712"), None);
    }

    #[tokio::test]
    async fn a_flood_is_taken_or_counted_and_what_came_before_the_end_is_kept() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let addr = socket.local_addr().expect("bound");
        assert!(KernelDrops::of(&socket).inode.is_some());
        let door = DatagramDoor {
            name: "test_udp",
            socket,
            allow: Vec::new(),
            datagram_bytes_max: 100,
            queue_bytes_max: 1 << 20,
        };
        let shutdown = CancellationToken::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&seen);
        let running = tokio::spawn(door.run(shutdown.clone(), move |frames| {
            keep.lock().extend(frames.list.iter().map(|frame| frames.bytes_of(frame).to_vec()));
            Box::pin(async {})
        }));
        let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        for n in 0..50 {
            client.send_to(format!("m{n}").as_bytes(), addr).await.expect("sent");
        }
        shutdown.cancel();
        running.await.expect("no panic");
        let expected: Vec<Vec<u8>> = (0..50).map(|n| format!("m{n}").into_bytes()).collect();
        assert_eq!(*seen.lock(), expected);
    }
}
