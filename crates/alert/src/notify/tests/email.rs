//! Email against a real SMTP server: aiosmtpd, in a Python of its own (`scripts/deps.sh test`).

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{alert, context, notice};
use crate::notify::config::ChannelConfig;
use crate::notify::notice::{Notice, NoticeKind, Notifier, Receipt};

/// The server's process; it ends with its input.
struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(python: &Path, mode: &str, certificate: &[PathBuf]) -> Server {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/notify/tests/email/server.py");
        let mut command = Command::new(python);
        command.arg(script).arg(mode).args(certificate);
        // It complains of clients that break off, which they are meant to.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        Server { child, out, port: line.trim().parse().expect("the server says its port") }
    }

    /// The next message it took.
    fn taken(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Ends it; whatever it took besides.
    fn rest(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        self.out.by_ref().lines().map(Result::unwrap).collect()
    }
}

fn tool(name: &str) -> Option<PathBuf> {
    let dirs = std::env::var_os("PATH")?;
    std::env::split_paths(&dirs).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// A certificate authority and a certificate of it for 127.0.0.1: the authority's, the certificate, its key.
fn certificates(openssl: &Path, dir: &Path) -> [PathBuf; 3] {
    let path = |name: &str| dir.join(name);
    let make = |name: &str, more: &[&str]| {
        let (key, certificate) = (path(&format!("{name}.key")), path(&format!("{name}.pem")));
        let mut command = Command::new(openssl);
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]);
        command
            .args(["-subj", &format!("/CN={name}")])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        let made = command.args(more).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    make("ca", &["-addext", "basicConstraints=critical,CA:TRUE"]);
    let (ca, key) = (path("ca.pem"), path("ca.key"));
    let (ca_text, key_text) = (ca.to_str().unwrap(), key.to_str().unwrap());
    let name = "subjectAltName=IP:127.0.0.1,DNS:localhost";
    let leaf = "basicConstraints=critical,CA:FALSE";
    make("server", &["-CA", ca_text, "-CAkey", key_text, "-addext", name, "-addext", leaf]);
    [ca, path("server.pem"), path("server.key")]
}

fn channel(port: u16, more: &Value) -> Box<dyn Notifier> {
    let mut config = json!({
        "type": "email", "server": format!("127.0.0.1:{port}"), "from": "Heimdall <heimdall@example.org>",
        "to": ["ops@example.org"], "hello": "heimdall.test",
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value::<ChannelConfig>(config).unwrap().build(context()).unwrap()
}

fn numbered(kind: NoticeKind, n: u128) -> Notice {
    Notice { id: Uuid::from_u128(n), ..notice(kind, vec![alert(1)]) }
}

/// A header of a message, unfolded.
fn header(taken: &Value, name: &str) -> String {
    let text = taken["text"].as_str().unwrap().replace("\r\n ", " ");
    let head = text.split("\r\n\r\n").next().unwrap().to_owned();
    let prefix = format!("{name}: ");
    let found: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
    assert!(found.len() <= 1, "{name} more than once: {found:?}");
    found.concat()
}

/// Python with aiosmtpd and openssl; none, with a word of why, where they are missing.
fn tools() -> Option<(PathBuf, PathBuf)> {
    let found = tool("python-aiosmtpd").zip(tool("openssl"));
    if found.is_none() {
        eprintln!(
            "skipped: email against a real mail server needs aiosmtpd and openssl; run: scripts/deps.sh test DIR, and put DIR/usr/bin in PATH"
        );
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_a_thread_over_starttls_with_login() {
    let Some((python, openssl)) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = certificates(&openssl, dir.path());
    let mut server = Server::start(&python, "starttls", &[certificate, key]);
    let login = json!({"ca_file": ca, "username": "heimdall", "password": "s3cret pass"});
    let mail = channel(server.port, &login);
    let (mut previous, mut ids): (Option<Receipt>, Vec<String>) = (None, Vec::new());
    for (kind, n) in [(NoticeKind::Raised, 1), (NoticeKind::Updated, 2), (NoticeKind::Resolved, 3)] {
        previous = mail.send(&numbered(kind, n), previous.as_ref()).await.unwrap();
        let taken = server.taken();
        assert_eq!((&taken["tls"], &taken["user"]), (&json!(true), &json!("heimdall")));
        assert_eq!(taken["to"], json!(["ops@example.org"]));
        let references: Vec<&str> = ids.first().into_iter().chain(ids.get(1)).map(String::as_str).collect();
        assert_eq!(header(&taken, "References"), references.join(" "));
        assert_eq!(header(&taken, "In-Reply-To"), ids.last().cloned().unwrap_or_default());
        let re = if ids.is_empty() { "" } else { "Re: " };
        assert_eq!(header(&taken, "Subject"), format!("{re}[Heimdall] Failed logins: 10.0.0.1"));
        assert_eq!(header(&taken, "Auto-Submitted"), "auto-generated");
        assert_eq!(header(&taken, "Date"), "Sun, 01 Mar 2026 12:01:01 +0000");
        assert_eq!(header(&taken, "List-Id"), "Heimdall alerts <heimdall-alerts.example.org>");
        let text = taken["text"].as_str().unwrap();
        assert!(header(&taken, "Content-Type").starts_with("multipart/alternative"), "{text}");
        assert!(text.contains("text/plain") && text.contains("text/html"), "{text}");
        ids.push(header(&taken, "Message-ID"));
    }
    assert_eq!(ids[0], "<00000000-0000-0000-0000-000000000001.heimdall@example.org>");
    assert!(server.rest().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_trusted_gets_nothing() {
    let Some((python, openssl)) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = certificates(&openssl, dir.path());
    let server = Server::start(&python, "starttls", &[certificate.clone(), key.clone()]);
    let plain = Server::start(&python, "plain", &[]);
    let silent = Server::start(&python, "silent", &[]);
    let wrong = json!({"ca_file": ca, "username": "heimdall", "password": "s3cret wrong"});
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (port, config, is_retryable, detail) in [
        (server.port, json!({}), true, "cannot be spoken to by TLS"),
        (server.port, wrong, false, "refused the login of `heimdall` with 535"),
        (server.port, json!({"ca_file": ca}), false, "does not take the sender: 530"),
        (plain.port, json!({}), false, "does not offer STARTTLS; nothing was sent to it"),
        (silent.port, json!({"timeout": "200ms"}), true, "did not answer in time"),
        (closed, json!({}), true, "cannot be reached"),
    ] {
        let error = channel(port, &config).send(&numbered(NoticeKind::Raised, 1), None).await.unwrap_err();
        assert_eq!(error.is_retryable, is_retryable, "{error}");
        assert!(error.detail.contains(detail) && !error.detail.contains("s3cret"), "{error}");
    }
    assert!(server.rest().is_empty() && plain.rest().is_empty());
    let mut server = Server::start(&python, "implicit", &[certificate, key]);
    let config = json!({"tls": "implicit", "ca_file": ca, "username": "heimdall", "password": "s3cret pass"});
    channel(server.port, &config).send(&numbered(NoticeKind::Raised, 1), None).await.unwrap();
    assert_eq!(server.taken()["user"], "heimdall");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_once_whoever_is_refused() {
    let Some((python, _)) = tools() else { return };
    let mut server = Server::start(&python, "plain", &[]);
    let mail = channel(server.port, &json!({"tls": "none"}));
    let people = ["ann@example.org", "busy@example.org", "nobody@example.org", "U024BE7LH"];
    let to = |people: &[&str], n| Notice {
        to: people.iter().map(|who| (*who).to_owned()).collect(),
        ..numbered(NoticeKind::Raised, n)
    };
    let error = mail.send(&to(&people, 1), None).await.unwrap_err();
    assert!(error.is_retryable && error.detail.starts_with("1 of 3 recipients were told"), "{error}");
    assert_eq!(server.taken()["to"], json!(["ann@example.org"]));
    let receipt = mail.send(&to(&people, 1), None).await.unwrap().unwrap();
    assert_eq!(server.taken()["to"], json!(["busy@example.org"]));
    assert_eq!(receipt.0["refused"], json!(["nobody@example.org: 550 5.1.1 no such user here"]));
    let error = mail.send(&to(&["nobody@example.org"], 2), None).await.unwrap_err();
    assert!(!error.is_retryable && error.detail.starts_with("0 of 1 recipients were told"), "{error}");
    assert!(server.rest().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_cannot_add_headers_or_end_the_message() {
    let Some((python, _)) = tools() else { return };
    let mut server = Server::start(&python, "plain", &[]);
    let mail = channel(server.port, &json!({"tls": "none"}));
    let mut hostile = alert(1);
    hostile.title = "x\r\nBcc: all@example.org\r\nX-Evil: 1\r\n\r\n<script>".to_owned();
    hostile.summary = "one\r\n.\r\nQUIT\r\n<img src=x> \u{e9}".to_owned();
    let hostile = Notice {
        to: vec!["a@example.org\r\nBcc: b@example.org".to_owned()],
        ..notice(NoticeKind::Raised, vec![hostile])
    };
    mail.send(&hostile, None).await.unwrap();
    let taken = server.taken();
    assert_eq!(taken["to"], json!(["ops@example.org"]));
    assert_eq!((header(&taken, "Bcc"), header(&taken, "X-Evil")), (String::new(), String::new()));
    assert!(header(&taken, "Subject").starts_with("[Heimdall] x  Bcc: all@example.org"));
    let html = taken["text"].as_str().unwrap().split("text/html").nth(1).unwrap();
    assert!(
        html.contains("&lt;script&gt;") && !html.contains("<script>") && !html.contains("<img"),
        "{html}"
    );
    assert!(server.rest().is_empty());
}
