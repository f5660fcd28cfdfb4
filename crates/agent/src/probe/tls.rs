//! A TLS handshake for its certificate: it is looked at whether or not a client would take it.
//!
//! Invariant: nothing is sent over such a connection: it is not trusted.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use heimdall_model::Timestamp;
use heimdall_model::time::{NS_PER_DAY, NS_PER_SECOND};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where systems keep the roots they trust, in one file.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The roots that are trusted.
#[derive(Debug)]
pub struct Roots {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Roots {
    /// The system's. Without any, no certificate verifies.
    #[must_use]
    pub fn system() -> Roots {
        let bundle = BUNDLES.iter().find(|path| Path::new(path).is_file());
        let certificates =
            bundle.and_then(|path| CertificateDer::pem_file_iter(path).ok()).into_iter().flatten();
        Roots::of(certificates.filter_map(Result::ok))
    }

    /// These, and no others.
    #[must_use]
    pub fn of(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Roots {
        let provider = Arc::new(ring::default_provider());
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates);
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
        Roots { verifier: builder.build().ok(), provider }
    }
}

/// What a handshake showed.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) days_left: f64,
    /// Why a client would not take the certificate.
    pub(super) refused: Option<String>,
}

/// Does the handshake. The error is a reason for people.
pub(super) async fn look(
    roots: &Roots,
    host: &str,
    stream: TcpStream,
    now: Timestamp,
) -> Result<Seen, String> {
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name).map_err(|_| "the host is no name for a certificate".to_owned())?;
    let seconds = u64::try_from(now.0 / NS_PER_SECOND).unwrap_or(0);
    let onlooker = Arc::new(Onlooker {
        verifier: roots.verifier.clone(),
        provider: Arc::clone(&roots.provider),
        now: UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
        refused: OnceLock::new(),
    });
    let config = ClientConfig::builder_with_provider(Arc::clone(&roots.provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&onlooker) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = connected.map_err(|error| format!("no TLS: {error}"))?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let days_left =
        certificate.and_then(|der| days_left(der, now)).ok_or("the certificate cannot be read")?;
    Ok(Seen { days_left, refused: onlooker.refused.get().cloned() })
}

/// Days until a certificate (DER) expires.
pub(super) fn days_left(der: &[u8], now: Timestamp) -> Option<f64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let ends_ns = certificate.validity().not_after.timestamp().checked_mul(NS_PER_SECOND)?;
    #[expect(clippy::cast_precision_loss, reason = "days with a fraction")]
    Some(ends_ns.saturating_sub(now.0) as f64 / NS_PER_DAY as f64)
}

/// Takes every certificate, and remembers why a client would not.
#[derive(Debug)]
struct Onlooker {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    now: UnixTime,
    refused: OnceLock<String>,
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = match &self.verifier {
            Some(verifier) => verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, self.now)
                .map_err(|error| error.to_string()),
            None => Err("no roots are trusted here".to_owned()),
        };
        if let Err(reason) = verified {
            let _first = self.refused.set(reason);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
