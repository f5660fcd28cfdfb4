//! What an endpoint's URL means.
//!
//! Invariant: a password in a URL is in no name, label or message.

use reqwest::Url;

/// Where a probe goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An HTTP request.
    Http(Url),
    /// A connection.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A connection and its TLS handshake.
    Tls {
        /// Name or address.
        host: String,
        /// Port; 443 when left out.
        port: u16,
    },
    /// An echo request.
    Icmp {
        /// Name or address.
        host: String,
    },
}

/// Why a URL is no target. The text says what would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot be read.
    #[error("a URL of the form `http://`, `https://`, `tcp://host:port`, `tls://host:port` or `icmp://host`")]
    Form,
    /// `tcp://` without a port.
    #[error("a URL with a port, such as `tcp://db:5432`")]
    Port,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(text: &str) -> Result<Target, TargetError> {
        let url = Url::parse(text.trim()).map_err(|_| TargetError::Form)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(TargetError::Form)?.to_owned();
        match url.scheme() {
            "http" | "https" => Ok(Target::Http(url)),
            "tcp" => Ok(Target::Tcp { host, port: url.port().ok_or(TargetError::Port)? }),
            "tls" => Ok(Target::Tls { host, port: url.port().unwrap_or(443) }),
            "icmp" => Ok(Target::Icmp { host }),
            _ => Err(TargetError::Form),
        }
    }

    /// The kind, as a label.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Http(_) => "http",
            Target::Tcp { .. } => "tcp",
            Target::Tls { .. } => "tls",
            Target::Icmp { .. } => "icmp",
        }
    }

    /// The URL without user, password and query.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Target::Http(url) => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
            }
            Target::Tcp { host, port } => format!("tcp://{host}:{port}"),
            Target::Tls { host, port } => format!("tls://{host}:{port}"),
            Target::Icmp { host } => format!("icmp://{host}"),
        }
    }

    /// Its name when none is configured: host and port.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Target::Http(url) => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}{port}", url.host_str().unwrap_or_default())
            }
            Target::Tcp { host, port } | Target::Tls { host, port } => format!("{host}:{port}"),
            Target::Icmp { host } => host.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, shown: &str, name: &str) {
        let target = Target::parse(url).unwrap();
        assert_eq!((target.shown().as_str(), target.name().as_str()), (shown, name));
    }

    #[test]
    fn urls_name_targets_and_tell_no_password() {
        check("https://u:p@shop.example/health?token=x", "https://shop.example/health", "shop.example");
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080/", "127.0.0.1:8080");
        check("tcp://db:5432", "tcp://db:5432", "db:5432");
        check("tls://mail", "tls://mail:443", "mail:443");
        check("icmp://10.0.0.1", "icmp://10.0.0.1", "10.0.0.1");
        assert_eq!(Target::parse("tcp://db"), Err(TargetError::Port));
        assert_eq!(Target::parse("db:5432"), Err(TargetError::Form));
        assert_eq!(Target::parse("ftp://x"), Err(TargetError::Form));
    }
}
