//! IP networks: `10.0.0.0/8`, `fe80::/10`, or one address.

use std::net::{IpAddr, Ipv6Addr};

/// A network; bits beyond the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    is_v4: bool,
    bits: u128,
    mask: u128,
}

impl Network {
    pub(crate) fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (is_v4, bits) = bits(address);
        let prefix = match (is_v4, prefix) {
            (true, Some(prefix)) => (prefix <= 32).then_some(prefix + 96)?,
            (false, Some(prefix)) => (prefix <= 128).then_some(prefix)?,
            (_, None) => 128,
        };
        let mask = if prefix == 0 { 0 } else { u128::MAX << (128 - prefix) };
        Some(Network { is_v4, bits: bits & mask, mask })
    }

    /// Whether the text is an address of the network. An IPv4 address may be written as IPv6 (`::ffff:10.0.0.1`).
    pub(crate) fn holds(&self, text: &str) -> bool {
        let text = text.trim();
        let text = text.split_once('%').map_or(text, |(address, _zone)| address);
        let Ok(address) = text.parse::<IpAddr>() else {
            return false;
        };
        let (is_v4, bits) = bits(address.to_canonical());
        is_v4 == self.is_v4 && bits & self.mask == self.bits
    }
}

fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(v4) => (true, Ipv6Addr::to_bits(v4.to_ipv6_mapped())),
        IpAddr::V6(v6) => (false, v6.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, yes: &[&str], no: &[&str]) {
        let network = Network::parse(network).unwrap();
        assert!(yes.iter().all(|text| network.holds(text)));
        assert!(!no.iter().any(|text| network.holds(text)));
    }

    #[test]
    fn addresses() {
        check(
            "10.0.0.0/8",
            &["10.1.2.3", " 10.0.0.0", "::ffff:10.9.9.9"],
            &["11.0.0.1", "10.1.2", "", "::a01:203"],
        );
        check("10.1.2.3/8", &["10.9.9.9"], &[]);
        check("192.168.1.7", &["192.168.1.7"], &["192.168.1.8"]);
        check("0.0.0.0/0", &["1.2.3.4"], &["::1"]);
        check("fe80::/10", &["fe80::1%eth0", "FEBF::1"], &["fec0::1", "10.0.0.1"]);
        check("::1", &["::1", "0:0:0:0:0:0:0:1"], &["::2"]);
        assert_eq!(
            [Network::parse("10.0.0.0/33"), Network::parse("x/8"), Network::parse("::/129")],
            [None; 3]
        );
    }
}
