//! Programs of supervisord, by XML-RPC over HTTP, on a socket or a port.
//!
//! Source: supervisord.org, "XML-RPC API Documentation": `supervisor.getProcessInfo`, `stopProcess`, `startProcess`, faults
//! `BAD_NAME` 10, `NOT_RUNNING` 70, `ALREADY_STARTED` 60.

mod xml;

use std::time::Duration;

use heimdall_model::Timestamp;
use heimdall_model::time::NS_PER_SECOND;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use self::xml::{Fault, Value};
use super::{Deed, State};
use crate::action::ActionError;
use crate::runners::config::{ActionSecret, SupervisorRunnerConfig};
use crate::runners::deadline::{Deadline, failed, unreachable};
use crate::runners::parameters::{invalid, is_allowed, one_line};
use crate::runners::webhook::secret_of;
use crate::runners::{RunnersError, wrong};

const SYSTEM: &str = "supervisor";
const BAD_NAME: i64 = 10;
const ALREADY_STARTED: i64 = 60;
const NOT_RUNNING: i64 = 70;
/// Most bytes of an answer: what it says of one program has about a thousand.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

enum Endpoint {
    Socket(String),
    /// `host:port`.
    Port(String),
}

pub(super) struct Supervisor {
    endpoint: Endpoint,
    user: Option<String>,
    password: Option<ActionSecret>,
    allow: Vec<String>,
    timeout: Duration,
}

impl Supervisor {
    pub(super) fn build(config: &SupervisorRunnerConfig) -> Result<Supervisor, RunnersError> {
        let text = config.endpoint.as_str();
        let endpoint = match text.strip_prefix("unix://").unwrap_or(text) {
            path if path.starts_with('/') => Endpoint::Socket(path.to_owned()),
            url => match url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) {
                Some(host) if host.contains(':') && !host.contains('/') => Endpoint::Port(host.to_owned()),
                _ => return Err(wrong("supervisor.endpoint", "must be a socket's path or http://host:port")),
            },
        };
        let password = secret_of(config.password.as_ref(), config.password_file.as_ref())
            .map_err(|reason| wrong("supervisor.password_file", reason))?;
        let (user, allow, timeout) = (config.user.clone(), config.allow.clone(), config.timeout);
        Ok(Supervisor { endpoint, user, password, allow, timeout })
    }

    pub(super) fn check(&self, name: &str) -> Result<(), ActionError> {
        let is_plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-@".contains(c))
        };
        if name.split(':').count() > 2 || !name.split(':').all(is_plain) {
            return Err(invalid("target", "must be a program's name, or `group:name`"));
        }
        let is_allowed = is_allowed(&self.allow, name);
        is_allowed
            .then_some(())
            .ok_or_else(|| invalid("target", "is not in the allow-list `supervisor.allow`"))
    }

    pub(super) async fn state(&self, name: &str, deadline: Deadline) -> Result<State, ActionError> {
        let call = async {
            self.call("supervisor.getProcessInfo", name, None).await.map_err(|missed| missed.asked(name))
        };
        let info = deadline.asking(SYSTEM, self.timeout, call).await?;
        let number = |key: &str| info.member(key).and_then(Value::number);
        let word = info.member("statename").and_then(Value::text).unwrap_or_default().to_lowercase();
        let is_running = matches!(word.as_str(), "running" | "starting");
        let since = Timestamp(number("start").unwrap_or_default().saturating_mul(NS_PER_SECOND));
        Ok(State { is_running, since, grain: NS_PER_SECOND, word })
    }

    pub(super) async fn act(&self, deed: Deed, name: &str, deadline: Deadline) -> Result<(), ActionError> {
        if deed != Deed::Start {
            self.step("supervisor.stopProcess", name, NOT_RUNNING, deadline).await?;
        }
        if deed != Deed::Stop {
            let started = self.step("supervisor.startProcess", name, ALREADY_STARTED, deadline).await;
            return started
                .map_err(|error| if deed == Deed::Restart { deadline.midway(error) } else { error });
        }
        Ok(())
    }

    /// Asks for a change and waits until it is there; that it was there already is as good.
    async fn step(
        &self,
        method: &str,
        name: &str,
        harmless: i64,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        let call = async {
            match self.call(method, name, Some(true)).await {
                Ok(_) => Ok(()),
                Err(Missed::Fault(fault)) if fault.code == harmless => Ok(()),
                Err(Missed::Broken(_)) => Err(deadline.unknown()),
                Err(missed) => Err(missed.asked(name)),
            }
        };
        deadline.doing(call).await
    }

    async fn call(&self, method: &str, name: &str, wait: Option<bool>) -> Result<Value, Missed> {
        let body = xml::call(method, name, wait);
        let answer = match &self.endpoint {
            Endpoint::Socket(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|error| Missed::NoConnection(error.kind().to_string()))?;
                self.post(stream, "localhost", &body).await?
            }
            Endpoint::Port(host) => {
                let stream = TcpStream::connect(host)
                    .await
                    .map_err(|error| Missed::NoConnection(error.kind().to_string()))?;
                self.post(stream, host, &body).await?
            }
        };
        match xml::answer(&answer) {
            Some(Ok(value)) => Ok(value),
            Some(Err(fault)) => Err(Missed::Fault(fault)),
            None => Err(Missed::Broken("the answer is no XML-RPC".to_owned())),
        }
    }

    /// One request over HTTP/1.0, which the server closes after its answer.
    async fn post(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        host: &str,
        body: &str,
    ) -> Result<String, Missed> {
        let broken = |error: std::io::Error| Missed::Broken(error.kind().to_string());
        let mut head = format!(
            "POST /RPC2 HTTP/1.0\r\nHost: {host}\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n",
            body.len()
        );
        if let Some(user) = &self.user {
            let password = self.password.as_ref().map_or("", ActionSecret::expose);
            head.push_str(&format!(
                "Authorization: Basic {}\r\n",
                xml::base64(format!("{user}:{password}").as_bytes())
            ));
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.map_err(broken)?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.map_err(broken)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) =
            answer.split_once("\r\n\r\n").ok_or_else(|| Missed::Broken("no answer".to_owned()))?;
        match head.split(' ').nth(1) {
            Some("200") => Ok(body.to_owned()),
            Some("401") => Err(Missed::Refused("refused the user or password".to_owned())),
            status => Err(Missed::Refused(format!("answered {}", one_line(status.unwrap_or("nothing"))))),
        }
    }
}

/// Why a call has no answer.
enum Missed {
    NoConnection(String),
    /// It may have been done.
    Broken(String),
    Refused(String),
    Fault(Fault),
}

impl Missed {
    /// As the answer to a question.
    fn asked(self, name: &str) -> ActionError {
        match self {
            Missed::NoConnection(detail) | Missed::Broken(detail) => unreachable(SYSTEM, detail),
            Missed::Fault(fault) if fault.code == BAD_NAME => {
                ActionError::NotFound { target: name.to_owned() }
            }
            Missed::Fault(fault) => failed(SYSTEM, one_line(&fault.text)),
            Missed::Refused(detail) => failed(SYSTEM, detail),
        }
    }
}

#[cfg(test)]
mod tests;
