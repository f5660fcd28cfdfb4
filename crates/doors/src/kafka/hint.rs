//! What an operator may look at when a cluster cannot be reached. No IO.
//!
//! Brokers and TLS libraries say little: one that misses a login just closes the connection. So what the configuration lacks is
//! named beside the error. Never here: what is in the files.

use super::config::{KafkaConfig, Mechanism};

/// The keys that the error points to; none when it says enough itself.
pub(crate) fn hint(config: &KafkaConfig, error: &str) -> Option<String> {
    let says = |parts: &[&str]| parts.iter().any(|part| error.contains(part));
    if says(&["UnknownIssuer"]) {
        return Some(match &config.tls.ca_file {
            Some(file) => format!(
                "the broker's certificate leads to none of the authorities in `tls.ca_file` ({})",
                file.display()
            ),
            None => {
                "the broker's certificate leads to no authority of the web: its own belongs in `tls.ca_file`"
                    .to_owned()
            }
        });
    }
    if says(&["certificate not valid for name"]) {
        return Some(
            "`brokers`, and the addresses that brokers advertise, must be names in their certificates"
                .to_owned(),
        );
    }
    if says(&["UnsupportedSaslMechanism"]) {
        return Some("the broker does not offer `sasl.mechanism`".to_owned());
    }
    if says(&["SASL authentication failed", "SCRAM server error", "SaslAuthenticationFailed"]) {
        let user = &config.sasl.user;
        return Some(format!(
            "the login of `{user}` was refused: `sasl.user`, `sasl.password_file` or `sasl.mechanism`"
        ));
    }
    if says(&["CertificateRequired", "BadCertificate", "HandshakeFailure"]) {
        return Some(
            "the broker wants a certificate it trusts: `tls.cert_file` and `tls.key_file`".to_owned(),
        );
    }
    if says(&["TLS handshake"]) && says(&["did not complete", "InvalidContentType", "corrupt message", "eof"])
    {
        return Some("that port may speak no TLS: `tls.enabled`".to_owned());
    }
    says(&["early eof", "connection closed", "close_notify", "onnection reset"])
        .then(|| wanted(config))
        .flatten()
}

/// What a broker that closes the connection may have missed.
fn wanted(config: &KafkaConfig) -> Option<String> {
    let mut missing = Vec::new();
    if !config.tls.enabled {
        missing.push("TLS (`tls.enabled`)");
    } else if config.tls.cert_file.is_none() {
        missing.push("a client's certificate (`tls.cert_file`)");
    }
    if config.sasl.mechanism == Mechanism::None {
        missing.push("a login (`sasl.mechanism`)");
    }
    let what = missing.join(" or ");
    (!missing.is_empty()).then(|| format!("the broker closed the connection; it may want {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::config::{ClientTlsConfig, SaslConfig};
    use super::*;

    #[track_caller]
    fn check(is_tls: bool, mechanism: Mechanism, error: &str, expected: &str) {
        let config = KafkaConfig {
            tls: ClientTlsConfig { enabled: is_tls, ..ClientTlsConfig::default() },
            sasl: SaslConfig { mechanism, user: "me".to_owned(), password_file: Some("/p".into()) },
            ..KafkaConfig::default()
        };
        assert_eq!(hint(&config, error).unwrap_or_default(), expected);
    }

    #[test]
    fn the_key_is_named_that_the_error_points_to() {
        let scram = Mechanism::ScramSha512;
        let refused = "the login of `me` was refused: `sasl.user`, `sasl.password_file` or `sasl.mechanism`";
        check(true, scram, "SCRAM server error: invalid-proof", refused);
        check(
            true,
            Mechanism::Plain,
            "SASL authentication failed: SaslAuthenticationFailed - Invalid username or password",
            refused,
        );
        check(
            true,
            scram,
            "SASL handshake failed: UnsupportedSaslMechanism. Broker supports: [\"PLAIN\"]",
            "the broker does not offer `sasl.mechanism`",
        );
        check(
            true,
            scram,
            "TLS handshake failed: invalid peer certificate: UnknownIssuer",
            "the broker's certificate leads to no authority of the web: its own belongs in `tls.ca_file`",
        );
        check(true, scram, "TLS handshake failed: invalid peer certificate: Expired", "");
        check(
            true,
            scram,
            "operation timed out: TLS handshake with b:1 did not complete within 10s",
            "that port may speak no TLS: `tls.enabled`",
        );
    }

    #[test]
    fn a_closed_connection_names_what_is_not_configured() {
        check(
            false,
            Mechanism::None,
            "network error: early eof",
            "the broker closed the connection; it may want TLS (`tls.enabled`) or a login (`sasl.mechanism`)",
        );
        check(
            true,
            Mechanism::None,
            "network error: connection closed",
            "the broker closed the connection; it may want a client's certificate (`tls.cert_file`) or a login (`sasl.mechanism`)",
        );
        check(false, Mechanism::None, "network error: connection refused", "");
    }
}
