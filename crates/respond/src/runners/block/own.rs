//! The addresses of this machine, as the kernel lists them. Blocking.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Every address of this machine; those it cannot read are missing.
pub(super) fn addresses() -> Vec<IpAddr> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let four = of_trie(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4);
    four.chain(of_list(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6)).collect()
}

/// `/proc/net/fib_trie`: an address on a line, and on the next ones what it is.
fn of_trie(text: &str) -> Vec<Ipv4Addr> {
    let (mut found, mut last) = (Vec::new(), None::<Ipv4Addr>);
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last);
        }
    }
    found
}

/// `/proc/net/if_inet6`: 32 hexadecimal digits first on each line.
fn of_list(text: &str) -> Vec<Ipv6Addr> {
    let digits = text.lines().filter_map(|line| line.split(' ').next());
    digits.filter_map(|digits| u128::from_str_radix(digits, 16).ok()).map(Ipv6Addr::from_bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lists_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\nLocal:\n\
            \u{20}          |-- 127.0.0.1\n              /32 host LOCAL\n           |-- 198.51.100.4\n              /32 host LOCAL\n\
            \u{20}          |-- 198.51.100.255\n              /32 link BROADCAST\n";
        assert_eq!(of_trie(trie), [Ipv4Addr::LOCALHOST, Ipv4Addr::new(198, 51, 100, 4)]);
        let list = "20010db8000000000000000000000004 02 40 00 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(of_list(list), ["2001:db8::4".parse::<Ipv6Addr>().unwrap(), Ipv6Addr::LOCALHOST]);
        assert!(addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "this machine has a loopback");
    }
}
