use heimdall_model::ManualClock;
use heimdall_model::schema::metrics;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const CERTIFICATE: &[u8] = include_bytes!("../../tests/localhost.pem");
const KEY: &[u8] = include_bytes!("../../tests/localhost.key");

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(CERTIFICATE).unwrap()
}

/// Three days before the certificate of the stand-ins ends.
fn near_its_end() -> Timestamp {
    let der = certificate();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    Timestamp((parsed.validity().not_after.timestamp() - 3 * 86_400) * 1_000_000_000)
}

fn prober(roots: Roots) -> Prober {
    let _may_be_there = rustls::crypto::ring::default_provider().install_default();
    Prober::new(roots, Arc::new(ManualClock::new(near_its_end()))).unwrap()
}

async fn ask(prober: &Prober, endpoint: &Endpoint) -> Outcome {
    prober.ask(endpoint, &Target::parse(&endpoint.url).unwrap()).await
}

/// A stand-in that answers every connection with these bytes; nothing at all without any.
async fn stand_in(answer: Option<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                let _read = stream.read(&mut request).await;
                match answer {
                    Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                    None => std::future::pending::<()>().await, // a black hole
                }
            });
        }
    });
    port
}

/// A stand-in that speaks TLS with the certificate of the tests.
async fn tls_stand_in() -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut request = [0; 4_096];
                    let _read = stream.read(&mut request).await;
                    let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                    let _ended = stream.shutdown().await;
                }
            });
        }
    });
    port
}

fn refused_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn http_is_available_when_status_and_text_are_as_expected() {
    let prober = prober(Roots::of([]));
    let ok = stand_in(Some("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n6\r\n is we\r\n2\r\nll\r\n0\r\n\r\n")).await;
    let broken = stand_in(Some("HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n")).await;
    let at = |port: u16| Endpoint::new(&format!("http://127.0.0.1:{port}/health"));
    let up = ask(&prober, &Endpoint { expect_text: Some("all is well".into()), ..at(ok) }).await;
    assert_eq!((up.available, up.latency.is_some(), up.reason), (Some(true), true, None));
    let other = ask(&prober, &Endpoint { expect_text: Some("all is lost".into()), ..at(ok) }).await;
    assert_eq!(other.reason.as_deref(), Some("the answer does not hold the expected text"));
    let down = ask(&prober, &at(broken)).await;
    assert_eq!((down.available, down.reason.as_deref()), (Some(false), Some("HTTP status 503")));
    let expected = ask(&prober, &Endpoint { expect_status: Some(503), ..at(broken) }).await;
    assert_eq!(expected.available, Some(true));
}

#[tokio::test]
async fn black_holes_and_refusals_end_in_time() {
    let prober = prober(Roots::of([]));
    let hole = stand_in(None).await;
    for url in [format!("http://127.0.0.1:{hole}/"), format!("tls://127.0.0.1:{hole}")] {
        let begin = Instant::now();
        let late = ask(&prober, &Endpoint { timeout: Period(200_000_000), ..Endpoint::new(&url) }).await;
        assert_eq!(
            (late.available, late.reason.as_deref()),
            (Some(false), Some("no answer within 200ms")),
            "{url}"
        );
        assert!(begin.elapsed() < Duration::from_secs(3));
    }
    let port = refused_port();
    for url in [format!("tcp://127.0.0.1:{port}"), format!("http://127.0.0.1:{port}/")] {
        let refused = ask(&prober, &Endpoint::new(&url)).await;
        assert_eq!(refused.available, Some(false));
        assert!(refused.reason.as_deref().is_some_and(|reason| reason.contains("refused")), "{refused:?}");
    }
    let open = stand_in(None).await;
    assert_eq!(ask(&prober, &Endpoint::new(&format!("tcp://127.0.0.1:{open}"))).await.available, Some(true));
}

#[tokio::test]
async fn a_certificate_says_its_days_whether_or_not_it_is_trusted() {
    let port = tls_stand_in().await;
    let tls = Endpoint::new(&format!("tls://localhost:{port}"));
    let trusting = ask(&prober(Roots::of([certificate()])), &tls).await;
    let seen = trusting.certificate.unwrap();
    assert_eq!((trusting.available, seen.verified), (Some(true), Some(true)), "{trusting:?}");
    assert!((seen.days_left - 3.0).abs() < 0.01, "{seen:?}");
    let wary = prober(Roots::of([]));
    let distrusted = ask(&wary, &tls).await;
    let seen = distrusted.certificate.unwrap();
    assert_eq!((distrusted.available, seen.verified), (Some(false), Some(false)), "{distrusted:?}");
    assert!((seen.days_left - 3.0).abs() < 0.01);
    let lenient = ask(&wary, &Endpoint { insecure: true, ..tls.clone() }).await;
    assert_eq!(lenient.available, Some(true));
    let https = Endpoint::new(&format!("https://localhost:{port}/"));
    let refused = ask(&wary, &https).await;
    assert_eq!(refused.available, Some(false), "a self-signed certificate is no client's");
    assert!(refused.certificate.is_some_and(|seen| (seen.days_left - 3.0).abs() < 0.01), "{refused:?}");
    let taken = ask(&wary, &Endpoint { insecure: true, ..https }).await;
    assert_eq!(taken.available, Some(true), "{taken:?}");
    assert!(taken.certificate.is_some());
}

#[tokio::test]
async fn an_echo_comes_back_where_the_kernel_allows_it() {
    let here = ask(&prober(Roots::of([])), &Endpoint::new("icmp://127.0.0.1")).await;
    match here.available {
        Some(true) => assert!(here.latency.is_some()),
        None => assert!(here.reason.as_deref().is_some_and(|reason| reason.contains("CAP_NET_RAW"))),
        Some(false) => panic!("{here:?}"),
    }
}

#[test]
fn changes_are_told_once_and_every_probe_is_measured() {
    let mut watched = Watched::new(&Endpoint::new("tcp://u:secret@db:5432")).unwrap();
    let mut told = Vec::new();
    let outcomes = [
        Outcome::up(Duration::from_millis(3)),
        Outcome::down("connection refused"),
        Outcome::down("connection refused"),
        Outcome::unknown("no permission"),
        Outcome::up(Duration::from_millis(4)),
    ];
    let mut samples = 0;
    for outcome in &outcomes {
        let (batch, change) = watched.take(outcome, Timestamp(1), "h");
        samples += batch.rows();
        assert!(
            batch.iter().all(|row| row.service() == Some("db:5432") && row.text(metrics::HOST) == Some("h"))
        );
        told.extend(
            change
                .iter()
                .flat_map(Batch::iter)
                .map(|row| format!("{} {}", row.level().unwrap(), row.text(logs::MESSAGE).unwrap())),
        );
    }
    assert_eq!(samples, 6);
    let expected = [
        "error endpoint tcp://db:5432 is not available: connection refused",
        "warn endpoint tcp://db:5432 cannot be probed: no permission",
        "info endpoint tcp://db:5432 is available again",
    ];
    assert_eq!(told, expected);
}
