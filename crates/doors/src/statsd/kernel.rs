//! What the kernel dropped of a socket for want of room in its buffer. Source: proc(5), `/proc/net/udp`.

use std::os::fd::AsRawFd;

use metrics::counter;
use tokio::net::UdpSocket;

/// What was counted of one socket.
#[derive(Debug, Default)]
pub(crate) struct KernelDrops {
    counted: u64,
}

impl KernelDrops {
    /// Counts what was dropped since the last time.
    pub(crate) fn count(&mut self, door: &'static str, socket: &UdpSocket) {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok();
        let inode =
            link.as_deref().and_then(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']'));
        let Some(inode) = inode else { return };
        let dropped = ["/proc/net/udp", "/proc/net/udp6"]
            .iter()
            .find_map(|path| drops_in(&std::fs::read_to_string(path).ok()?, inode));
        let more = dropped.unwrap_or(0).saturating_sub(self.counted);
        if more > 0 {
            counter!("door_dropped_total", "door" => door, "reason" => "kernel").increment(more);
            self.counted += more;
        }
    }
}

/// The last column of the line of the socket with this inode, which is the tenth column.
fn drops_in(table: &str, inode: &str) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        (columns.nth(9)? == inode).then(|| columns.next_back()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_found_by_inode() {
        let table = "sl local rem st tx:rx tr:tm retrnsmt uid timeout inode ref pointer drops\n\
            1: 0100007F:1FBD 00000000:0000 07 0:0 0:0 0 0 0 4711 2 0 17\n";
        assert_eq!(drops_in(table, "4711"), Some(17));
        assert_eq!(drops_in(table, "4712"), None);
    }
}
