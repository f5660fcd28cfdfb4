//! Reading who tried which port of whom from the records of firewalls.
//!
//! Read are attributes (ECS, Suricata, Zeek, VPC flow names), and the messages of iptables, nftables and ufw
//! (`SRC= DST= DPT=`), of firewalls with `srcip= dstip= dstport=`, and of Cisco ASA (`src if:a/p dst if:b/p`).
//!
//! Invariants:
//! - a packet that was let pass is none: scans are told by what is refused, and clients use many ports rightly;
//! - an answer (from a service port to an ephemeral one) is none: a server speaks to many ports of its clients.

use std::borrow::Cow;
use std::net::IpAddr;

use aho_corasick::AhoCorasick;
use heimdall_model::batch::Row;
use heimdall_model::schema::logs;

use crate::fields;

/// First of the ports that clients are given by default (Linux; IANA's begin later).
const EPHEMERAL_PORT_MIN: u16 = 32_768;
/// Last of the ports that services own.
const SERVICE_PORT_MAX: u16 = 1_023;

const SOURCES: &[&str] =
    &["source.ip", "src_ip", "srcip", "src", "SRC", "id.orig_h", "srcaddr", "sourceIPAddress"];
const DESTINATIONS: &[&str] = &[
    "destination.ip",
    "destination.address",
    "dst_ip",
    "dest_ip",
    "dstip",
    "dst",
    "DST",
    "id.resp_h",
    "dstaddr",
    "server.address",
    "destinationIp",
];
const SOURCE_PORTS: &[&str] = &["source.port", "src_port", "srcport", "sport", "SPT", "spt", "id.orig_p"];
const PORTS: &[&str] = &[
    "destination.port",
    "dst_port",
    "dest_port",
    "dstport",
    "dport",
    "DPT",
    "dpt",
    "id.resp_p",
    "server.port",
    "destinationPort",
];
const ACTIONS: &[&str] = &["action", "event.action", "act", "ACTION", "firewall.action", "verdict"];
/// Verdicts that let a packet pass.
const PASSED: &[&str] =
    &["accept", "accepted", "allow", "allowed", "pass", "passed", "permit", "permitted", "built"];

/// A packet that was not let pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) source: Cow<'a, str>,
    pub(super) destination: Cow<'a, str>,
    pub(super) port: u16,
}

/// Finds packets; holds the prefilter.
#[derive(Debug)]
pub(super) struct Packets {
    shapes: AhoCorasick,
}

impl Default for Packets {
    fn default() -> Self {
        let shapes = AhoCorasick::new(["DPT=", "dstport=", "dst_port=", " dst "]);
        Packets { shapes: shapes.expect("four short literals") }
    }
}

impl Packets {
    /// The packet a record tells of.
    pub(super) fn read<'a>(&self, row: &Row<'a>) -> Option<Packet<'a>> {
        from_attributes(row).or_else(|| {
            let message = row.text(logs::MESSAGE)?;
            self.shapes.is_match(message).then(|| from_message(message))?
        })
    }
}

fn from_attributes<'a>(row: &Row<'a>) -> Option<Packet<'a>> {
    let json = row.attributes()?;
    let port = fields::first_attribute(json, PORTS)?.parse().ok()?;
    let destination = fields::first_attribute(json, DESTINATIONS)?;
    let own = row.text(logs::SOURCE_IP).filter(|text| !text.is_empty()).map(Cow::Borrowed);
    let source = own.or_else(|| fields::first_attribute(json, SOURCES))?;
    let action = fields::first_attribute(json, ACTIONS);
    if action.is_some_and(|action| has_passed(&action)) {
        return None;
    }
    let from = fields::first_attribute(json, SOURCE_PORTS).and_then(|port| port.parse().ok());
    packet(source, destination, from, port)
}

/// `None` for answers and what is no address.
fn packet<'a>(
    source: Cow<'a, str>,
    destination: Cow<'a, str>,
    from: Option<u16>,
    port: u16,
) -> Option<Packet<'a>> {
    let is_answer = from.is_some_and(|from| from <= SERVICE_PORT_MAX) && port >= EPHEMERAL_PORT_MIN;
    let fits = !is_answer && is_address(&source) && is_address(&destination);
    fits.then_some(Packet { source, destination, port })
}

fn from_message(message: &str) -> Option<Packet<'_>> {
    if message.split([' ', '=', '[', ']', ':', '"', '-', ',']).any(has_passed) {
        return None;
    }
    let value = |names: &[&str]| names.iter().find_map(|name| value_of(message, name));
    let port = |names: &[&str]| value(names).and_then(|text| text.parse::<u16>().ok());
    let pairs = (value(&["SRC=", "srcip=", "src_ip="]), value(&["DST=", "dstip=", "dst_ip="]));
    if let ((Some(source), Some(destination)), Some(to)) = (pairs, port(&["DPT=", "dstport=", "dst_port="])) {
        let from = port(&["SPT=", "srcport=", "src_port="]);
        return packet(Cow::Borrowed(source), Cow::Borrowed(destination), from, to);
    }
    let (source, from) = endpoint(value_of(message, "src ")?)?;
    let (destination, to) = endpoint(value_of(message, "dst ")?)?;
    packet(Cow::Borrowed(source), Cow::Borrowed(destination), Some(from), to)
}

/// The word behind a name that starts one.
fn value_of<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let starts_word = |at: &usize| *at == 0 || matches!(message.as_bytes()[at - 1], b' ' | b',' | b';');
    let at = message.match_indices(name).map(|(at, _)| at).find(starts_word)?;
    let rest = &message[at + name.len()..];
    Some(rest.split([' ', ',', ';']).next().unwrap_or("").trim_matches('"')).filter(|word| !word.is_empty())
}

/// `interface:address/port`.
fn endpoint(text: &str) -> Option<(&str, u16)> {
    let (address, port) = text.rsplit_once('/')?;
    let address = if is_address(address) { address } else { address.split_once(':')?.1 };
    Some((address, port.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()?))
}

fn has_passed(word: &str) -> bool {
    PASSED.iter().any(|passed| passed.eq_ignore_ascii_case(word))
}

pub(super) fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        let found = from_message(message);
        let shown =
            found.map_or_else(|| "none".to_owned(), |p| format!("{} {} {}", p.source, p.destination, p.port));
        assert_eq!(shown, expected, "{message}");
    }

    #[test]
    fn messages_of_firewalls() {
        check(
            "[UFW BLOCK] IN=eth0 OUT= MAC=00:11 SRC=203.0.113.5 DST=192.0.2.1 LEN=40 PROTO=TCP SPT=4444 DPT=22 SYN",
            "203.0.113.5 192.0.2.1 22",
        );
        check(
            "%ASA-4-106023: Deny tcp src outside:203.0.113.5/4444 dst inside:192.0.2.1/23 by access-group",
            "203.0.113.5 192.0.2.1 23",
        );
        check(
            "srcip=203.0.113.5 srcport=4444 dstip=2001:db8::1 dstport=8080 action=\"deny\"",
            "203.0.113.5 2001:db8::1 8080",
        );
    }

    #[test]
    fn what_passed_and_answers_are_none() {
        check("[UFW ALLOW] SRC=203.0.113.5 DST=192.0.2.1 SPT=4444 DPT=22", "none");
        check("srcip=203.0.113.5 dstip=192.0.2.1 dstport=22 action=accept", "none");
        check("SRC=203.0.113.5 DST=192.0.2.1 SPT=443 DPT=51234", "none");
        check("SRC=gateway DST=192.0.2.1 SPT=1 DPT=2", "none");
        check("the src and dst of it", "none");
    }
}
