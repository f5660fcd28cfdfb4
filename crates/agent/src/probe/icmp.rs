//! One echo request. Linux gives unprivileged sockets for it to the groups in `net.ipv4.ping_group_range`; else `CAP_NET_RAW`
//! is needed. Without either there is no answer to whether a host is there, and that is said.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Outcome;

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
/// An IP header without options; raw IPv4 sockets show it.
const IPV4_HEADER_MIN: usize = 20;

pub(super) async fn ask(host: &str, timeout: Duration) -> Outcome {
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let address = match tokio::net::lookup_host((name, 0)).await.map(|mut found| found.next()) {
        Ok(Some(address)) => address.ip(),
        Ok(None) | Err(_) => return Outcome::down("the name does not resolve"),
    };
    // Blocks for at most the timeout, on a thread for that.
    let asked = tokio::task::spawn_blocking(move || echo(address, timeout)).await;
    match asked {
        Ok(Ok(Some(latency))) => Outcome::up(latency),
        Ok(Ok(None)) => Outcome::down("no answer in time"),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Outcome::unknown("ICMP needs CAP_NET_RAW, or a group in net.ipv4.ping_group_range")
        }
        Ok(Err(error)) => Outcome::down(error.to_string()),
        Err(_panicked) => Outcome::unknown("the probe failed"),
    }
}

fn echo(address: IpAddr, timeout: Duration) -> io::Result<Option<Duration>> {
    let (socket, is_raw) = open(address)?;
    let begin = Instant::now();
    let token = token(begin, address);
    socket.connect(&SockAddr::from(SocketAddr::new(address, 0)))?;
    socket.send(&request(address, token))?;
    let mut reply = [0_u8; 512];
    while let Some(left) = timeout.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        socket.set_read_timeout(Some(left))?;
        let len = match (&socket).read(&mut reply) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            read => read?,
        };
        if is_reply(address, is_raw, &reply[..len], token) {
            return Ok(Some(begin.elapsed()));
        }
    }
    Ok(None)
}

fn open(address: IpAddr) -> io::Result<(Socket, bool)> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Ok(socket) => Ok((socket, false)),
        Err(_) => Socket::new(domain, Type::RAW, Some(protocol)).map(|socket| (socket, true)),
    }
}

/// Tells our request from others of this process.
fn token(begin: Instant, address: IpAddr) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one((begin, address))
}

fn request(address: IpAddr, token: u64) -> Vec<u8> {
    let kind = if address.is_ipv4() { ECHO_REQUEST_V4 } else { ECHO_REQUEST_V6 };
    let mut packet = vec![kind, 0, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(&token.to_be_bytes());
    if address.is_ipv4() {
        let sum = checksum(&packet); // of ICMPv6 the kernel makes it
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn is_reply(address: IpAddr, is_raw: bool, packet: &[u8], token: u64) -> bool {
    let header = if is_raw && address.is_ipv4() {
        packet.first().map_or(IPV4_HEADER_MIN, |first| usize::from(first & 0x0f) * 4)
    } else {
        0
    };
    let kind = if address.is_ipv4() { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 };
    packet
        .get(header..)
        .is_some_and(|icmp| icmp.first() == Some(&kind) && icmp.get(8..16) == Some(&token.to_be_bytes()))
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    let folded = sum as u16;
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_request_makes_its_sum_all_ones() {
        let packet = request("127.0.0.1".parse().unwrap(), 0x0102_0304_0506_0708);
        assert_eq!(checksum(&packet), 0);
        assert!(
            !is_reply("127.0.0.1".parse().unwrap(), false, &packet, 0x0102_0304_0506_0708),
            "a request is no reply"
        );
    }
}
