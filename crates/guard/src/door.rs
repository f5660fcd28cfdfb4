//! Admitting a request, and which addresses may be bound.
//!
//! Rules:
//! - a token, when sent, must be valid, and then decides alone;
//! - without one, only loopback to a loopback listener enters, when `[auth]` is off, and only with a `Host` that names this
//!   machine and no `Origin` of another site: a web page must not reach it by DNS rebinding or a cross-site request;
//! - what a proxy on this machine forwards comes from somewhere else: it needs a token;
//! - a listener wider than loopback needs `[auth]`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::principal::{Denied, Principal};
use crate::token::Tokens;

/// Longest part of a header repeated in an error (characters).
const SHOWN_CHARS_MAX: usize = 80;

/// What is known of a request before it is read.
#[derive(Debug, Clone, Copy)]
pub struct Knock<'a> {
    /// Where it comes from.
    pub peer: IpAddr,
    /// The address it came to.
    pub listener: SocketAddr,
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `Host` header, or the authority of HTTP/2.
    pub host: Option<&'a str>,
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// It carries a header that proxies add, such as `X-Forwarded-For` or `Via`.
    pub is_forwarded: bool,
    /// The browser says that a page of another site caused it (`Sec-Fetch-Site`).
    pub is_cross_site: bool,
}

/// Both ends of a connection; every request carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub peer: SocketAddr,
    /// The listener's address it reached.
    pub local: SocketAddr,
}

/// What the gate found out about who is asking: an extension of every request. Routes decide whether that is enough.
#[derive(Debug, Clone)]
pub struct Admitted(pub Result<Arc<Principal>, Denied>);

/// The door of every listener.
#[derive(Clone)]
pub struct Guard {
    tokens: Arc<Tokens>,
    auth_enabled: bool,
}

impl Guard {
    /// A door that knows these tokens; with `auth_enabled` nobody enters without one.
    #[must_use]
    pub fn new(tokens: Arc<Tokens>, auth_enabled: bool) -> Guard {
        Guard { tokens, auth_enabled }
    }

    /// Whether nobody enters without a token.
    #[must_use]
    pub const fn asks_everybody(&self) -> bool {
        self.auth_enabled
    }

    /// Returns who is asking.
    ///
    /// # Errors
    /// Why they are not let in.
    pub fn admit(&self, knock: &Knock<'_>) -> Result<Principal, Denied> {
        if let Some(header) = knock.authorization {
            return self.tokens.verify(&offered(header).ok_or(Denied::BadToken)?);
        }
        if self.auth_enabled || !is_loopback(knock.peer) || !is_loopback(knock.listener.ip()) {
            return Err(Denied::NoToken);
        }
        check_host(knock.host, &[knock.listener])?;
        check_origin(knock.origin, knock.host.unwrap_or_default())?;
        if knock.is_cross_site {
            return Err(Denied::Origin { origin: "another site".to_owned() });
        }
        if knock.is_forwarded {
            return Err(Denied::NoToken);
        }
        Ok(Principal::loopback())
    }
}

/// A listener is wider than loopback and nobody would be asked for a token.
#[derive(Debug, thiserror::Error)]
#[error("`{addr}` can be reached from other machines: set `auth.enabled = true`, or listen on 127.0.0.1")]
pub struct BindRefused {
    /// The address.
    pub addr: SocketAddr,
}

/// Checks that an address may be bound.
///
/// # Errors
/// [`BindRefused`] when it is not loopback and authentication is off.
pub fn check_bind(addr: SocketAddr, auth_enabled: bool) -> Result<(), BindRefused> {
    if auth_enabled || is_loopback(addr.ip()) { Ok(()) } else { Err(BindRefused { addr }) }
}

/// Checks that a `Host` header names this machine: `localhost`, a loopback address, or one of the bound addresses.
/// Any port does, so that port forwarding works. A missing header is refused.
///
/// # Errors
/// [`Denied::Host`].
pub fn check_host(host: Option<&str>, listen: &[SocketAddr]) -> Result<(), Denied> {
    let header = host.unwrap_or_default();
    let name = host_name(header);
    let names_us = name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|ip| is_loopback(ip) || listen.iter().any(|addr| addr.ip() == ip));
    if names_us { Ok(()) } else { Err(Denied::Host { host: shown(header) }) }
}

/// Checks that a request does not come from a web page of another site. No header: not a web page, or one of ours.
///
/// # Errors
/// [`Denied::Origin`] unless scheme and authority are `http(s)` and exactly `host`.
pub fn check_origin(origin: Option<&str>, host: &str) -> Result<(), Denied> {
    let Some(origin) = origin else { return Ok(()) };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    match authority {
        Some(authority) if authority.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Denied::Origin { origin: shown(origin) }),
    }
}

/// The token of an `Authorization` header, in whichever scheme the sender's protocol has it: `Bearer` and `Token` carry it as it
/// is, `Splunk` likewise, `Basic` as the password (or as the name, when there is no password), `ApiKey` behind the id of a key.
fn offered(header: &str) -> Option<String> {
    let (scheme, value) = header.trim().split_once(' ')?;
    let value = value.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "splunk" | "token" => Some(value.to_owned()),
        "basic" | "apikey" => {
            let pair = String::from_utf8(BASE64.decode(value).ok()?).ok()?;
            let (name, secret) = pair.split_once(':').unwrap_or((&pair, ""));
            Some(if secret.is_empty() { name } else { secret }.to_owned())
        }
        _ => None,
    }
}

/// Host without port and without the brackets of IPv6; empty when the rest is not a port.
fn host_name(header: &str) -> &str {
    let (name, port) = match header.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) => (name, port),
        None => header.find(':').map_or((header, ""), |at| header.split_at(at)),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { name } else { "" }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn shown(header: &str) -> String {
    header.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::{Bench, watcher};

    #[track_caller]
    fn check(host: &str, origin: &str, expected: &str) {
        let listen = ["127.0.0.1:8000".parse().unwrap(), "192.168.1.5:8000".parse().unwrap()];
        let origin = Some(origin).filter(|origin| !origin.is_empty());
        let verdict = check_host(Some(host), &listen).and_then(|()| check_origin(origin, host));
        assert_eq!(verdict.map_or_else(|denied| denied.code(), |()| "ok"), expected, "{host} {origin:?}");
    }

    #[test]
    fn web_pages_elsewhere_cannot_reach_a_loopback_listener() {
        check("localhost:8000", "", "ok");
        check("LOCALHOST", "", "ok");
        check("127.0.0.1:9000", "", "ok");
        check("[::1]:8000", "", "ok");
        check("192.168.1.5:8000", "", "ok");
        check("evil.example:8000", "", "host_denied");
        check("localhost.evil.example", "", "host_denied");
        check("localhost:8000@evil.example", "", "host_denied");
        check("127.0.0.1.nip.io", "", "host_denied");
        check("192.168.1.6", "", "host_denied");
        check("", "", "host_denied");
        check("[::1", "", "host_denied");
        check("localhost:8000", "http://localhost:8000", "ok");
        check("localhost:8000", "https://localhost:8000", "ok");
        check("localhost:8000", "http://localhost:3000", "origin_denied");
        check("localhost:8000", "https://evil.example", "origin_denied");
        check("localhost:8000", "null", "origin_denied");
        check("localhost:8000", "file://", "origin_denied");
        assert_eq!(check_host(None, &[]).unwrap_err().code(), "host_denied");
    }

    #[test]
    fn wider_than_loopback_needs_auth() {
        for (addr, open, with_auth) in [
            ("127.0.0.1:0", true, true),
            ("[::1]:80", true, true),
            ("0.0.0.0:80", false, true),
            ("10.0.0.1:80", false, true),
            ("[::]:80", false, true),
        ] {
            let addr = addr.parse().unwrap();
            assert_eq!(
                (check_bind(addr, false).is_ok(), check_bind(addr, true).is_ok()),
                (open, with_auth),
                "{addr}"
            );
        }
    }

    #[test]
    fn who_gets_in() {
        let bench = Bench::new();
        let tokens = bench.tokens();
        let (_, secret) = tokens.issue(&watcher(None), "loopback").unwrap();
        let header = format!("bearer {}", secret.expose());
        let near = Knock {
            peer: "127.0.0.1".parse().unwrap(),
            listener: "127.0.0.1:8000".parse().unwrap(),
            authorization: None,
            host: Some("localhost:8000"),
            origin: None,
            is_forwarded: false,
            is_cross_site: false,
        };
        let far =
            Knock { peer: "10.0.0.9".parse().unwrap(), listener: "10.0.0.1:8000".parse().unwrap(), ..near };
        let (open, closed) = (Guard::new(tokens.clone(), false), Guard::new(tokens, true));
        let name = |answer: Result<Principal, Denied>| {
            answer.map_or_else(|denied| denied.code().to_owned(), |who| who.name)
        };
        assert_eq!(name(open.admit(&near)), "loopback");
        assert_eq!(name(closed.admit(&near)), "token_missing");
        assert_eq!(name(open.admit(&far)), "token_missing");
        assert_eq!(
            name(closed.admit(&Knock { authorization: Some(&header), host: Some("public.example"), ..far })),
            "night shift"
        );
        assert_eq!(name(open.admit(&Knock { authorization: Some("Basic eA=="), ..near })), "token_invalid");
        assert_eq!(name(open.admit(&Knock { origin: Some("http://evil.example"), ..near })), "origin_denied");
        let with_token = Knock { authorization: Some(&header), ..near };
        for (changed, code) in [
            (Knock { is_forwarded: true, ..near }, "token_missing"),
            (Knock { is_cross_site: true, ..near }, "origin_denied"),
            (Knock { is_forwarded: true, is_cross_site: true, ..with_token }, "night shift"),
        ] {
            assert_eq!(name(open.admit(&changed)), code);
        }
    }

    #[test]
    fn a_token_is_found_in_the_scheme_of_every_protocol() {
        for header in [
            "Bearer hmd_1_s",
            "bearer  hmd_1_s ",
            "Splunk hmd_1_s",
            "Token hmd_1_s",
            "Basic dXNlcjpobWRfMV9z",
            "Basic aG1kXzFfczo=",
            "ApiKey aWQ6aG1kXzFfcw==",
        ] {
            assert_eq!(offered(header).as_deref(), Some("hmd_1_s"), "{header}");
        }
        for header in ["hmd_1_s", "Basic ###", "Digest hmd_1_s", "Basic /w=="] {
            assert_eq!(offered(header), None, "{header}");
        }
    }
}
