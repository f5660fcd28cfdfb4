//! Sockets: binding, TLS, connections within their limits.
//!
//! Invariants:
//! - at most `connections_max` connections are open; the next waits in the listen queue;
//! - a handshake that is not done in time ends the connection;
//! - a peer that is not in `allow` is let go of before a byte is read, and counted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heimdall_guard::{Ends, check_bind};
use heimdall_ingest::Caller;
use heimdall_ingest::intake::shipper;
use heimdall_model::Tenant;
use ipnet::IpNet;
use metrics::counter;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use x509_parser::extensions::GeneralName;

use crate::DoorError;

/// Connections that may wait to be accepted; the kernel takes the smaller of this and its own bound.
const BACKLOG: u32 = 4096;
/// Pause after an accept that failed for want of resources, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A TLS handshake that takes longer ends the connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Certificates of a door that speaks TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of the certificate and those that lead to its authority. Empty: no TLS.
    pub cert_file: PathBuf,
    /// PEM file of the private key.
    pub key_file: PathBuf,
    /// PEM file of the authorities of clients' certificates; when set, a client without one is refused.
    pub client_ca_file: Option<PathBuf>,
}

impl TlsConfig {
    /// Reads the files; `None` when no certificate is named.
    ///
    /// # Errors
    /// [`DoorError::Config`], naming the file.
    pub fn acceptor(&self, door: &'static str) -> Result<Option<TlsAcceptor>, DoorError> {
        if self.cert_file.as_os_str().is_empty() {
            return Ok(None);
        }
        let bad = |what: &str, path: &PathBuf, error: &dyn std::fmt::Display| DoorError::Config {
            door,
            detail: format!("{what} `{}`: {error}", path.display()),
        };
        let certs = CertificateDer::pem_file_iter(&self.cert_file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| bad("tls.cert_file", &self.cert_file, &error))?;
        let key = PrivateKeyDer::from_pem_file(&self.key_file)
            .map_err(|error| bad("tls.key_file", &self.key_file, &error))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| bad("tls", &self.cert_file, &error))?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = rustls::RootCertStore::empty();
                for authority in CertificateDer::pem_file_iter(path)
                    .map_err(|error| bad("tls.client_ca_file", path, &error))?
                {
                    let authority = authority.map_err(|error| bad("tls.client_ca_file", path, &error))?;
                    roots.add(authority).map_err(|error| bad("tls.client_ca_file", path, &error))?;
                }
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| bad("tls.client_ca_file", path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(certs, key)
            .map_err(|error| bad("tls.cert_file", &self.cert_file, &error))?;
        // Senders of syslog and GELF never read. A kernel that closes a connection with something unread, such as tickets,
        // resets it, and what was still on its way to us is gone.
        config.send_tls13_tickets = 0;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

/// Binds addresses as the server's configuration allows.
#[derive(Debug, Clone, Copy)]
pub struct Binder {
    /// Whether every sender needs a token: only then may a door be wider than loopback.
    pub auth_enabled: bool,
    /// Listeners whose address is not set take a free port.
    pub ephemeral: bool,
}

impl Binder {
    /// Binds an address that is configured.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn tcp(&self, door: &'static str, addr: SocketAddr) -> Result<TcpListener, DoorError> {
        check_bind(addr, self.auth_enabled).map_err(|source| DoorError::Wide { door, source })?;
        listen(addr).map_err(|source| DoorError::Bind { door, addr, source })
    }

    /// Binds the address that is configured, else the usual one on loopback; `None` when that port is taken.
    ///
    /// # Errors
    /// [`DoorError`] for an address that is configured.
    pub fn tcp_or_default(
        &self,
        door: &'static str,
        given: Option<SocketAddr>,
        port: u16,
    ) -> Result<Option<TcpListener>, DoorError> {
        match given {
            Some(addr) => self.tcp(door, addr).map(Some),
            None => Ok(self.usual(door, port, listen)),
        }
    }

    /// As [`Binder::tcp`], for datagrams; `buffer_bytes` of them may wait in the kernel (it may allow less).
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn udp(
        &self,
        door: &'static str,
        addr: SocketAddr,
        buffer_bytes: usize,
    ) -> Result<UdpSocket, DoorError> {
        check_bind(addr, self.auth_enabled).map_err(|source| DoorError::Wide { door, source })?;
        datagrams(addr, buffer_bytes).map_err(|source| DoorError::Bind { door, addr, source })
    }

    /// As [`Binder::tcp_or_default`], for datagrams.
    ///
    /// # Errors
    /// [`DoorError`] for an address that is configured.
    pub fn udp_or_default(
        &self,
        door: &'static str,
        given: Option<SocketAddr>,
        port: u16,
        buffer_bytes: usize,
    ) -> Result<Option<UdpSocket>, DoorError> {
        match given {
            Some(addr) => self.udp(door, addr, buffer_bytes).map(Some),
            None => Ok(self.usual(door, port, |addr| datagrams(addr, buffer_bytes))),
        }
    }

    fn usual<T>(
        &self,
        door: &'static str,
        port: u16,
        bind: impl FnOnce(SocketAddr) -> io::Result<T>,
    ) -> Option<T> {
        let port = if self.ephemeral { 0 } else { port };
        let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        match bind(addr) {
            Ok(bound) => Some(bound),
            Err(error) => {
                tracing::warn!(door, %addr, %error, "the door stays closed: its usual port cannot be bound");
                None
            }
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?; // accepted sockets have it too: an answer is small, and is not to wait for the next
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Sets what connections inherit from their listener: the kernel asks silent peers, after `silence`, whether they are still there,
/// and answers leave at once, however small they are. Its address.
///
/// # Errors
/// [`DoorError::Bind`].
pub(crate) fn prepare(
    door: &'static str,
    listener: &TcpListener,
    silence: Duration,
) -> Result<SocketAddr, DoorError> {
    let socket = socket2::SockRef::from(listener);
    let keepalive = socket2::TcpKeepalive::new().with_time(silence).with_interval(silence / 4);
    if let Err(error) = socket.set_tcp_keepalive(&keepalive).and_then(|()| socket.set_tcp_nodelay(true)) {
        tracing::warn!(%error, "connections whose peer has gone may not be noticed");
    }
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    listener.local_addr().map_err(|source| DoorError::Bind { door, addr: nowhere, source })
}

fn datagrams(addr: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::DGRAM, None)?;
    // Beyond `net.core.rmem_max` when we may (CAP_NET_ADMIN), else up to it.
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, buffer_bytes).is_err() {
        socket.set_recv_buffer_size(buffer_bytes)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

/// A connection, in the clear or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Addresses.
    pub ends: Ends,
    /// The name in its certificate, where it showed one that was checked.
    pub name: Option<Arc<str>>,
}

impl Peer {
    /// Who sends, for doors whose protocol says no more.
    #[must_use]
    pub fn caller(&self, tenant: &Tenant) -> Caller {
        Caller { shipper: self.name.clone(), ..Caller::at(tenant.clone(), self.ends.peer.ip()) }
    }
}

/// The name in a certificate: the common name of its subject, else the first alternative name that is a text.
fn name_in(certificate: &[u8]) -> Option<Arc<str>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let common = certificate.subject().iter_common_name().find_map(|name| shipper(name.as_str().ok()?));
    common.or_else(|| {
        let names = &certificate.subject_alternative_name().ok()??.value.general_names;
        names.iter().find_map(|name| match name {
            GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
                shipper(text)
            }
            _ => None,
        })
    })
}

/// A door's listener of TCP connections and who may come through it.
pub struct TcpDoor {
    /// Its name.
    pub name: &'static str,
    /// Bound.
    pub listener: TcpListener,
    /// With TLS or without.
    pub tls: Option<TlsAcceptor>,
    /// Connections open at once.
    pub connections_max: usize,
    /// Networks that may connect; empty: all.
    pub allow: Vec<IpNet>,
}

impl TcpDoor {
    /// Hands every connection to `handle`, until `shutdown`; then waits for those that are open, which see the same token.
    pub async fn serve<H, F>(self, shutdown: CancellationToken, handle: H)
    where
        H: Fn(Box<dyn Stream>, Peer) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let seats = Arc::new(Semaphore::new(self.connections_max));
        let tasks = TaskTracker::new();
        let allow = Arc::new(self.allow);
        loop {
            let seat = Arc::clone(&seats).acquire_owned();
            let Some(seat) = shutdown.run_until_cancelled(seat).await else { break };
            let seat = seat.expect("the semaphore is never closed");
            let Some(accepted) = shutdown.run_until_cancelled(self.listener.accept()).await else { break };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(door = self.name, %error, "could not accept a connection, retrying");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(local) = stream.local_addr() else { continue };
            if !is_allowed(&allow, peer.ip()) {
                counter!("door_connections_refused_total", "door" => self.name, "reason" => "not_allowed")
                    .increment(1);
                continue;
            }
            counter!("door_connections_total", "door" => self.name).increment(1);
            let (name, tls, handle) = (self.name, self.tls.clone(), handle.clone());
            tasks.spawn(async move {
                let _seat = seat;
                let ends = Ends { peer, local };
                match tls {
                    None => handle(Box::new(stream), Peer { ends, name: None }).await,
                    Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                        Ok(Ok(stream)) => {
                            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                            let name = shown.and_then(|certificate| name_in(certificate));
                            handle(Box::new(stream), Peer { ends, name }).await;
                        }
                        failed => {
                            counter!("door_connections_refused_total", "door" => name, "reason" => "handshake")
                                .increment(1);
                            let error = failed.map(|result| result.err());
                            tracing::debug!(door = name, %peer, ?error, "no TLS handshake");
                        }
                    },
                }
            });
        }
        drop(self.listener); // whoever connects now is told so, rather than left in the queue
        tasks.close();
        tasks.wait().await;
    }
}

/// Whether an address is in one of the networks; empty: every one is.
#[must_use]
pub fn is_allowed(allow: &[IpNet], peer: IpAddr) -> bool {
    allow.is_empty() || allow.iter().any(|net| net.contains(&peer.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(common_name: Option<&str>, others: &[&str]) -> Vec<u8> {
        let names: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn a_certificate_names_its_holder() {
        let name = |common_name, others: &[&str]| name_in(&certificate(common_name, others));
        assert_eq!(name(Some("fw-1"), &["other.example"]).as_deref(), Some("fw-1"));
        assert_eq!(name(None, &["fw-2.example"]).as_deref(), Some("fw-2.example"));
        assert_eq!(name(Some(" \u{7}"), &["fw-3.example"]).as_deref(), Some("fw-3.example"));
        assert_eq!(name(None, &["10.0.0.1"]), None);
        let whole = certificate(Some("fw-1"), &[]);
        (0..whole.len()).for_each(|end| drop(name_in(&whole[..end])));
    }
}
