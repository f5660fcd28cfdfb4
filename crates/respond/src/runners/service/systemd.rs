//! Units of systemd, by its D-Bus interface.
//!
//! A job is begun with mode `replace`, and is over when the manager signals `JobRemoved` with its path: the subscription is
//! there before the job is.
//!
//! Source: org.freedesktop.systemd1(5): Manager `RestartUnit`, `StartUnit`, `StopUnit`, `LoadUnit`, `Subscribe`, `JobRemoved`; Unit
//! `ActiveState`, `LoadState`, `ActiveEnterTimestamp`.

use futures::StreamExt as _;
use heimdall_model::Timestamp;
use heimdall_model::time::NS_PER_US;
use zbus::connection::Builder;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, message};

use super::{Deed, State};
use crate::action::ActionError;
use crate::runners::config::SystemdRunnerConfig;
use crate::runners::deadline::{Deadline, failed, unreachable};
use crate::runners::parameters::{invalid, is_allowed, one_line};
use crate::runners::{RunnersError, wrong};

const SYSTEM: &str = "systemd";
const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Longest name of a unit (bytes), as systemd has it.
const UNIT_BYTES_MAX: usize = 255;
/// Kinds of units that may be started and stopped; not slices, mounts or devices, which take others with them.
const SUFFIXES: [&str; 4] = [".service", ".socket", ".timer", ".target"];
/// Signals kept while they are not read; jobs of other units come here too.
const SIGNALS_MAX: std::num::NonZeroUsize = std::num::NonZeroUsize::new(1_024).expect("is not zero");

pub(super) struct Systemd {
    config: SystemdRunnerConfig,
}

impl Systemd {
    pub(super) fn build(config: &SystemdRunnerConfig) -> Result<Systemd, RunnersError> {
        let is_address = config.bus.parse::<zbus::Address>().is_ok();
        is_address.then(|| Systemd { config: config.clone() }).ok_or_else(|| {
            wrong("systemd.bus", "must be a D-Bus address such as `unix:path=/run/dbus/system_bus_socket`")
        })
    }

    pub(super) fn check(&self, unit: &str) -> Result<(), ActionError> {
        let is_plain = unit.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte));
        let has_kind = SUFFIXES.iter().any(|suffix| unit.len() > suffix.len() && unit.ends_with(suffix));
        if !is_plain || !has_kind || unit.len() > UNIT_BYTES_MAX {
            return Err(invalid(
                "target",
                format!("must be a unit's full name, ending in {}", SUFFIXES.join(", ")),
            ));
        }
        let is_allowed = is_allowed(&self.config.allow, unit);
        is_allowed.then_some(()).ok_or_else(|| invalid("target", "is not in the allow-list `systemd.allow`"))
    }

    async fn connect(&self, deadline: Deadline) -> Result<Connection, ActionError> {
        let connected = async {
            let builder = Builder::address(self.config.bus.as_str()).max_queued(SIGNALS_MAX);
            builder.build().await.map_err(|error| unreachable(SYSTEM, one_line(&error.to_string())))
        };
        deadline.asking(SYSTEM, self.config.timeout, connected).await
    }

    pub(super) async fn state(&self, unit: &str, deadline: Deadline) -> Result<State, ActionError> {
        let connection = self.connect(deadline).await?;
        let read = read_state(&connection, unit);
        deadline.asking(SYSTEM, self.config.timeout, read).await
    }

    pub(super) async fn act(&self, deed: Deed, unit: &str, deadline: Deadline) -> Result<(), ActionError> {
        let connection = self.connect(deadline).await?;
        let signals = deadline.asking(SYSTEM, self.config.timeout, removed_jobs(&connection)).await?;
        let result = deadline.doing(job(&connection, signals, deed, unit, deadline)).await?;
        if result != "done" {
            return Err(failed(SYSTEM, format!("the job of `{unit}` ended with `{}`", one_line(&result))));
        }
        let state = deadline.asking(SYSTEM, self.config.timeout, read_state(&connection, unit)).await;
        let state = state.map_err(|error| deadline.midway(error))?;
        let is_so = state.is_running == (deed != Deed::Stop);
        is_so.then_some(()).ok_or_else(|| failed(SYSTEM, format!("`{unit}` is {} after its job", state.word)))
    }
}

/// The signals of ended jobs, from now on.
async fn removed_jobs(connection: &Connection) -> Result<MessageStream, ActionError> {
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .interface(MANAGER)
        .member("JobRemoved")
        .path(PATH);
    let rule = rule.build().map_err(|error| failed(SYSTEM, error.to_string()))?;
    let stream = MessageStream::for_match_rule(rule, connection, Some(SIGNALS_MAX)).await;
    let stream = stream.map_err(|error| question(SYSTEM, &error))?;
    // Without it, systemd signals only while somebody else subscribes.
    let subscribed = connection.call_method(Some(NAME), PATH, Some(MANAGER), "Subscribe", &()).await;
    subscribed.map_err(|error| question(SYSTEM, &error))?;
    Ok(stream)
}

/// Begins a job and awaits its end; returns its result.
async fn job(
    connection: &Connection,
    mut signals: MessageStream,
    deed: Deed,
    unit: &str,
    deadline: Deadline,
) -> Result<String, ActionError> {
    let method = match deed {
        Deed::Restart => "RestartUnit",
        Deed::Stop => "StopUnit",
        Deed::Start => "StartUnit",
    };
    let begun = connection.call_method(Some(NAME), PATH, Some(MANAGER), method, &(unit, "replace")).await;
    let begun = begun.map_err(|error| match question(unit, &error) {
        // It was sent.
        ActionError::Unreachable { .. } => deadline.unknown(),
        error => error,
    })?;
    let path: OwnedObjectPath =
        begun.body().deserialize().map_err(|error| failed(SYSTEM, error.to_string()))?;
    while let Some(Ok(signal)) = signals.next().await {
        let body = signal.body();
        let Ok((_, job, _, result)) = body.deserialize::<(u32, OwnedObjectPath, String, String)>() else {
            continue;
        };
        if job == path {
            return Ok(result);
        }
    }
    Err(deadline.unknown())
}

async fn read_state(connection: &Connection, unit: &str) -> Result<State, ActionError> {
    let loaded = connection.call_method(Some(NAME), PATH, Some(MANAGER), "LoadUnit", &(unit,)).await;
    let loaded = loaded.map_err(|error| question(unit, &error))?;
    let path: OwnedObjectPath =
        loaded.body().deserialize().map_err(|error| failed(SYSTEM, error.to_string()))?;
    let load_state: String = property(connection, &path, "LoadState").await?;
    if load_state == "not-found" {
        return Err(ActionError::NotFound { target: unit.to_owned() });
    }
    let word: String = property(connection, &path, "ActiveState").await?;
    let entered: u64 = property(connection, &path, "ActiveEnterTimestamp").await?;
    let since = Timestamp(i64::try_from(entered).unwrap_or(i64::MAX).saturating_mul(NS_PER_US));
    let is_running = matches!(word.as_str(), "active" | "reloading");
    Ok(State { is_running, since, grain: NS_PER_US, word })
}

async fn property<T: TryFrom<OwnedVariant>>(
    connection: &Connection,
    path: &OwnedObjectPath,
    name: &str,
) -> Result<T, ActionError> {
    let got = connection.call_method(Some(NAME), path, Some(PROPERTIES), "Get", &(UNIT, name)).await;
    let got = got.map_err(|error| question(name, &error))?;
    let value =
        got.body().deserialize::<OwnedVariant>().map_err(|error| failed(SYSTEM, error.to_string()))?;
    T::try_from(value).map_err(|_| failed(SYSTEM, format!("`{name}` is of another type than documented")))
}

/// What an error of a call means: an answer of systemd, or none.
fn question(target: &str, error: &zbus::Error) -> ActionError {
    let zbus::Error::MethodError(name, detail, _) = error else {
        return unreachable(SYSTEM, one_line(&error.to_string()));
    };
    let detail = one_line(detail.as_deref().unwrap_or(name.as_str()));
    match name.as_str() {
        "org.freedesktop.systemd1.NoSuchUnit" => ActionError::NotFound { target: target.to_owned() },
        "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner" => {
            unreachable(SYSTEM, detail)
        }
        _ => failed(SYSTEM, detail),
    }
}

#[cfg(test)]
mod tests;
