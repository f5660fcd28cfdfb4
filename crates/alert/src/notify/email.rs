//! Email by SMTP: a message per notice, in one thread per group.
//!
//! Invariants:
//! - the password is in no error, and goes over a connection that is encrypted, or to this host;
//! - what stands in a header is on one line: a record cannot add a header or a recipient;
//! - the same notice has the same `Message-ID` over all attempts, and a recipient whose server took it is not told again by the
//!   next attempt, while this process lives.
//!
//! Source: RFC 5321 (SMTP), 5322 (messages, 3.6.4 threads), 3207 (STARTTLS), 3834 (`Auto-Submitted`), 2919 (`List-Id`).

mod compose;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::warn;
use uuid::Uuid;

use self::compose::Letter;
use super::config::{ChannelContext, ChannelError, EmailChannelConfig, EmailTls, Secret};
use super::http::{cleaned, later};
use super::notice::{Notice, Notifier, NotifyError, Receipt};
use super::secret::SecretSource;

/// Recipients of one message; SMTP servers take at least 100.
const RECIPIENTS_MAX: usize = 50;
/// Notices of which it is known who has got them already.
const TOLD_MAX: usize = 256;
/// Longest address (bytes).
const ADDRESS_BYTES_MAX: usize = 254;

struct Email {
    host: String,
    port: u16,
    tls: EmailTls,
    tls_parameters: TlsParameters,
    hello: ClientId,
    login: Option<(String, SecretSource)>,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    to: Vec<Mailbox>,
    timeout: Duration,
    base_url: Option<String>,
    /// Who has got which notice, of attempts that reached only some.
    told: Mutex<VecDeque<(Uuid, Vec<Mailbox>)>>,
}

/// The thread of a group, and who could not be told of its last message.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Thread {
    root: String,
    last: String,
    subject: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
}

/// What became of a message.
struct Outcome {
    accepted: Vec<Mailbox>,
    refused: Vec<Refusal>,
}

struct Refusal {
    to: Mailbox,
    is_passing: bool,
    reply: String,
}

pub(crate) fn build(
    config: &EmailChannelConfig,
    context: ChannelContext,
) -> Result<Box<dyn Notifier>, ChannelError> {
    let (host, port) = server(&config.server, config.tls)?;
    if config.tls == EmailTls::None && !is_this_host(&host) {
        return Err(ChannelError::new(
            "tls",
            "`none` is for a server on this host only; use `starttls` or `implicit`",
        ));
    }
    let (given, file) = (config.password.as_ref(), config.password_file.as_deref());
    let password = SecretSource::find("password", given, "password_file", file)?;
    let login = match (config.username.clone(), password) {
        (None, None) => None,
        (Some(user), Some(password)) => Some((user, password)),
        (Some(_), None) => return Err(ChannelError::new("password", "missing; `username` is given")),
        (None, Some(_)) => return Err(ChannelError::new("username", "missing; a password is given")),
    };
    let to: Result<Vec<Mailbox>, ChannelError> = config.to.iter().map(|who| mailbox("to", who)).collect();
    let to = to?;
    if to.len() > RECIPIENTS_MAX {
        return Err(ChannelError::new("to", format!("more than {RECIPIENTS_MAX} recipients")));
    }
    Ok(Box::new(Email {
        tls: config.tls,
        tls_parameters: tls_parameters(&host, config.ca_file.as_deref())?,
        hello: hello(config.hello.as_deref())?,
        login,
        from: mailbox("from", &config.from)?,
        reply_to: config.reply_to.as_deref().map(|who| mailbox("reply_to", who)).transpose()?,
        to,
        timeout: config.timeout.0,
        base_url: context.base_url,
        told: Mutex::default(),
        host,
        port,
    }))
}

/// Host and port; the port follows from the protection where none is given.
fn server(text: &str, tls: EmailTls) -> Result<(String, u16), ChannelError> {
    let wrong = || ChannelError::new("server", "must be `host` or `host:port`");
    let text = text.trim();
    let usual = match tls {
        EmailTls::StartTls => 587,
        EmailTls::Implicit => 465,
        EmailTls::None => 25,
    };
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address without a port, bare or in brackets.
        _ if text.parse::<IpAddr>().is_ok() || text.ends_with(']') => (text, usual),
        Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
        None => (text, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_host = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    if host.is_empty() || !is_host || port == 0 { Err(wrong()) } else { Ok((host.to_owned(), port)) }
}

fn is_this_host(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn hello(name: Option<&str>) -> Result<ClientId, ChannelError> {
    match name {
        None => Ok(ClientId::default()),
        Some(name)
            if !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b)) =>
        {
            Ok(ClientId::Domain(name.to_owned()))
        }
        Some(_) => Err(ChannelError::new("hello", "must be a host name")),
    }
}

/// `ops@example.org` or `Ops <ops@example.org>`, in ASCII.
fn mailbox(key: &'static str, text: &str) -> Result<Mailbox, ChannelError> {
    let wrong = || {
        ChannelError::new(
            key,
            format!("`{}` is not an address such as `Ops <ops@example.org>`", cleaned(text, &[])),
        )
    };
    parse_mailbox(text).ok_or_else(wrong)
}

fn parse_mailbox(text: &str) -> Option<Mailbox> {
    let mailbox: Mailbox = text.trim().parse().ok()?;
    let address: &str = mailbox.email.as_ref();
    let is_plain = address.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\,;".contains(&b));
    let has_name_on_a_line = !mailbox.name.as_deref().unwrap_or_default().chars().any(char::is_control);
    (is_plain && has_name_on_a_line && address.len() <= ADDRESS_BYTES_MAX).then_some(mailbox)
}

fn tls_parameters(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, ChannelError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca_file {
        let wrong = |why: &dyn std::fmt::Display| {
            ChannelError::new("ca_file", format!("could not read `{}`: {why}", path.display()))
        };
        let pem = std::fs::read(path).map_err(|error| wrong(&error.kind()))?;
        let certificates = Certificate::from_pem(&pem).map_err(|_| wrong(&"it holds no certificates"))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificates);
    }
    builder.build().map_err(|error| ChannelError::new("server", format!("could not set up TLS: {error}")))
}

impl Email {
    async fn tell(
        &self,
        notice: &Notice,
        previous: Option<&Receipt>,
    ) -> Result<Option<Receipt>, NotifyError> {
        let previous: Option<Thread> =
            previous.and_then(|receipt| serde_json::from_value(receipt.0.clone()).ok());
        let everybody = self.recipients(notice)?;
        let told = self.told(notice.id);
        let waiting: Vec<Mailbox> = everybody.iter().filter(|to| !told.contains(to)).cloned().collect();
        let letter = Letter::of(notice, self.base_url.as_deref(), &self.from, previous.as_ref());
        if waiting.is_empty() {
            return Ok(receipt(&letter, previous, Vec::new()));
        }
        let text = letter
            .format(&self.from, self.reply_to.as_ref(), &everybody)
            .map_err(|error| NotifyError { is_retryable: false, retry_after: None, detail: error })?;
        let outcome = self.deliver(&waiting, &text).await?;
        let reached = told.len() + outcome.accepted.len();
        self.remember(notice.id, outcome.accepted);
        refusals(outcome.refused, reached, everybody.len()).map(|refused| receipt(&letter, previous, refused))
    }

    /// The people of the notice who have an address, else those of the configuration.
    fn recipients(&self, notice: &Notice) -> Result<Vec<Mailbox>, NotifyError> {
        let mut people: Vec<Mailbox> = notice.to.iter().filter_map(|who| parse_mailbox(who)).collect();
        if people.is_empty() {
            people.clone_from(&self.to);
        }
        people.sort();
        people.dedup_by(|a, b| a.email == b.email);
        if people.is_empty() || people.len() > RECIPIENTS_MAX {
            let detail = match people.len() {
                0 => "nobody to write to: the notice names no address and `to` is empty".to_owned(),
                n => format!("{n} recipients are more than {RECIPIENTS_MAX}"),
            };
            return Err(NotifyError { is_retryable: false, retry_after: None, detail });
        }
        Ok(people)
    }

    fn told(&self, id: Uuid) -> Vec<Mailbox> {
        let told = self.told.lock();
        told.iter().find(|(known, _)| *known == id).map(|(_, who)| who.clone()).unwrap_or_default()
    }

    fn remember(&self, id: Uuid, accepted: Vec<Mailbox>) {
        let mut told = self.told.lock();
        match told.iter_mut().find(|(known, _)| *known == id) {
            Some((_, who)) => who.extend(accepted),
            None => told.push_back((id, accepted)),
        }
        if told.len() > TOLD_MAX {
            told.pop_front();
        }
    }

    /// One SMTP session: greeting, protection, login, envelope, message.
    async fn deliver(&self, to: &[Mailbox], text: &[u8]) -> Result<Outcome, NotifyError> {
        let mut connection = self.connect().await?;
        self.log_in(&mut connection).await?;
        let sender = Mail::new(Some(self.from.email.clone()), vec![]);
        connection.command(sender).await.map_err(|error| failed("does not take the sender", &error))?;
        let mut outcome = Outcome { accepted: Vec::new(), refused: Vec::new() };
        for to in to {
            match connection.command(Rcpt::new(to.email.clone(), vec![])).await {
                Ok(_) => outcome.accepted.push(to.clone()),
                Err(error) if error.status().is_some() => outcome.refused.push(Refusal {
                    to: to.clone(),
                    is_passing: error.is_transient(),
                    reply: cleaned(&reply(&error), &[]),
                }),
                Err(error) => return Err(failed("broke off", &error)),
            }
        }
        if !outcome.accepted.is_empty() {
            connection.command(Data).await.map_err(|error| failed("does not take a message", &error))?;
            connection.message(text).await.map_err(|error| failed("does not take the message", &error))?;
        }
        // The message is taken: what comes of the farewell changes nothing.
        let _ = connection.quit().await;
        Ok(outcome)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, NotifyError> {
        let implicit = (self.tls == EmailTls::Implicit).then(|| self.tls_parameters.clone());
        let server = (self.host.as_str(), self.port);
        let connecting =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &self.hello, implicit, None);
        let mut connection = connecting.await.map_err(|error| failed("cannot be reached", &error))?;
        if self.tls == EmailTls::StartTls {
            if !connection.can_starttls() {
                connection.abort().await;
                return Err(for_ever(
                    "the mail server does not offer STARTTLS; nothing was sent to it".to_owned(),
                ));
            }
            let upgrade = connection.starttls(self.tls_parameters.clone(), &self.hello);
            upgrade.await.map_err(|error| failed("cannot be spoken to by TLS", &error))?;
        }
        Ok(connection)
    }

    async fn log_in(&self, connection: &mut AsyncSmtpConnection) -> Result<(), NotifyError> {
        let Some((user, password)) = &self.login else { return Ok(()) };
        let password: Secret = password.get().await;
        let credentials = Credentials::new(user.clone(), password.expose().to_owned());
        let attempt = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
        // The reply is not repeated: a server could quote what it was sent.
        attempt.map(|_| ()).map_err(|error| match error.status() {
            Some(code) => {
                let detail = format!("the mail server refused the login of `{user}` with {code}");
                NotifyError { is_retryable: error.is_transient(), retry_after: None, detail }
            }
            None if error.is_client() => {
                for_ever("the mail server offers neither PLAIN nor LOGIN".to_owned())
            }
            None => later("the mail server broke off during the login".to_owned()),
        })
    }
}

/// Counts who was refused. Those refused for now make the attempt one to repeat; those refused for good only when nobody got it.
fn refusals(refused: Vec<Refusal>, reached: usize, total: usize) -> Result<Vec<String>, NotifyError> {
    let shown: Vec<String> = refused.iter().map(|r| format!("{}: {}", r.to.email, r.reply)).collect();
    let is_passing = refused.iter().any(|refusal| refusal.is_passing);
    if !refused.is_empty() {
        metrics::counter!("email_recipients_refused_total").increment(refused.len() as u64);
    }
    if is_passing || reached == 0 && !refused.is_empty() {
        let detail = format!("{reached} of {total} recipients were told; refused: {}", shown.join("; "));
        return Err(NotifyError {
            is_retryable: is_passing,
            retry_after: None,
            detail: cleaned(&detail, &[]),
        });
    }
    for refusal in &refused {
        warn!(recipient = %refusal.to.email, reply = refusal.reply, "the mail server refused a recipient, the others were told");
    }
    Ok(shown)
}

fn receipt(letter: &Letter, previous: Option<Thread>, refused: Vec<String>) -> Option<Receipt> {
    let (root, subject) = previous
        .map_or_else(|| (letter.id.clone(), letter.subject.clone()), |thread| (thread.root, thread.subject));
    serde_json::to_value(Thread { root, last: letter.id.clone(), subject, refused }).ok().map(Receipt)
}

fn failed(what: &str, error: &SmtpError) -> NotifyError {
    if error.is_timeout() {
        return slow();
    }
    let detail = format!("the mail server {what}: {}", cleaned(&reply(error), &[]));
    NotifyError { is_retryable: !error.is_permanent() && !error.is_client(), retry_after: None, detail }
}

fn for_ever(detail: String) -> NotifyError {
    NotifyError { is_retryable: false, retry_after: None, detail }
}

fn slow() -> NotifyError {
    later("the mail server did not answer in time".to_owned())
}

/// `550 no such user here`, or the innermost cause.
fn reply(error: &SmtpError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match error.status() {
        Some(code) => format!("{code} {cause}"),
        None => cause.to_string(),
    }
}

impl Notifier for Email {
    fn kind(&self) -> &'static str {
        "email"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(async move {
            let attempt = tokio::time::timeout(self.timeout, self.tell(notice, previous)).await;
            attempt.unwrap_or_else(|_| Err(slow()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_the_usual_ports() {
        let check = |text: &str, tls, expected: Option<(&str, u16)>| {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(server(text, tls).ok(), expected, "{text}");
        };
        check("mail.example.org", EmailTls::StartTls, Some(("mail.example.org", 587)));
        check(" mail.example.org ", EmailTls::Implicit, Some(("mail.example.org", 465)));
        check("127.0.0.1:2525", EmailTls::None, Some(("127.0.0.1", 2525)));
        check("[::1]:2525", EmailTls::None, Some(("::1", 2525)));
        check("::1", EmailTls::None, Some(("::1", 25)));
        check("[::1]", EmailTls::None, Some(("::1", 25)));
        for bad in ["", ":25", "a b", "mail:x", "mail:0", "smtp://mail", "mail\r\nRCPT:25"] {
            check(bad, EmailTls::StartTls, None);
        }
    }

    #[test]
    fn addresses_are_plain() {
        assert_eq!(parse_mailbox("Ops <ops@example.org>").unwrap().name.as_deref(), Some("Ops"));
        assert!(parse_mailbox(" ops@example.org ").is_some());
        let long = format!("{}@example.org", "a".repeat(300));
        for bad in [
            "",
            "ops",
            "öps@example.org",
            "\"a b\"@example.org",
            "a@b\r\nBcc: x@y",
            "a@b, c@d",
            &long,
            "U024BE7LH",
        ] {
            assert_eq!(parse_mailbox(bad), None, "{bad}");
        }
    }
}
