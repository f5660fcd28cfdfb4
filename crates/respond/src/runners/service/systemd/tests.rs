//! With a stand-in for systemd on a real bus: it owns `org.freedesktop.systemd1` and answers as the interface is documented.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::time::NS_PER_US as US;
use parking_lot::Mutex;
use zbus::{ObjectPath, Variant};

use super::*;
use crate::action::{ActionRunner as _, Progress};
use crate::runners::parameters::action;
use crate::runners::service::ServiceRunner;
use crate::runners::testing::{Served, black_hole, closed_port, now, program, skip, wait_for};

const SOON: Duration = Duration::from_secs(20);
/// A unit whose jobs end with `failed`.
const BROKEN: &str = "broken.service";
/// A unit whose jobs never end.
const STUCK: &str = "stuck.service";

/// A bus of its own.
struct Bus {
    address: String,
    _process: Served,
    _dir: tempfile::TempDir,
}

fn bus() -> Option<Bus> {
    let daemon = program("dbus-daemon")?;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bus");
    let address = format!("unix:path={}", socket.display());
    let mut command = Command::new(daemon);
    command.args(["--session", "--nofork", "--nopidfile", "--address", &address]);
    let process = Served::start(&mut command, &dir.path().join("log"));
    wait_for("a bus", || socket.exists().then_some(()));
    Some(Bus { address, _process: process, _dir: dir })
}

/// State of a unit: whether it is active, and since when (µs).
type Units = Arc<Mutex<HashMap<String, (bool, u64)>>>;

/// Takes the name and answers calls until it is dropped.
async fn systemd(bus: &Bus) -> (Units, tokio::task::JoinHandle<()>) {
    let connection = Builder::address(bus.address.as_str()).build().await.unwrap();
    let mut calls = MessageStream::from(&connection);
    connection.request_name(NAME).await.unwrap();
    let names = ["web.service", BROKEN, STUCK];
    let units: Units = Arc::new(Mutex::new(names.map(|name| (name.to_owned(), (true, 1_000))).into()));
    let own = units.clone();
    let task = tokio::spawn(async move {
        while let Some(Ok(call)) = calls.next().await {
            if call.message_type() == message::Type::MethodCall {
                answer(&connection, &own, &call).await;
            }
        }
    });
    (units, task)
}

async fn answer(connection: &Connection, units: &Units, call: &zbus::Message) {
    let header = call.header();
    let member = header.member().map(|member| member.to_string()).unwrap_or_default();
    let body = call.body();
    match member.as_str() {
        "Subscribe" => connection.reply(&header, &()).await.unwrap(),
        "LoadUnit" => {
            let (name,): (String,) = body.deserialize().unwrap();
            connection.reply(&header, &path_of(&name)).await.unwrap();
        }
        "Get" => {
            let (interface, property): (String, String) = body.deserialize().unwrap();
            assert_eq!(interface, UNIT);
            let unit = header.path().unwrap().rsplit('/').next().unwrap().replace("_2e", ".");
            let state = units.lock().get(&unit).copied();
            let value = match (property.as_str(), state) {
                ("LoadState", state) => Variant::from(if state.is_some() { "loaded" } else { "not-found" }),
                ("ActiveState", Some((is_active, _))) => {
                    Variant::from(if is_active { "active" } else { "inactive" })
                }
                ("ActiveEnterTimestamp", Some((_, since))) => Variant::from(since),
                other => panic!("not a property anybody needs: {other:?}"),
            };
            connection.reply(&header, &value).await.unwrap();
        }
        "RestartUnit" | "StartUnit" | "StopUnit" => {
            let (name, mode): (String, String) = body.deserialize().unwrap();
            assert_eq!(mode, "replace");
            let job = ObjectPath::try_from("/org/freedesktop/systemd1/job/7").unwrap();
            connection.reply(&header, &job).await.unwrap();
            if name == STUCK {
                return;
            }
            let result = if name == BROKEN { "failed" } else { "done" };
            let since = u64::try_from(now().0 / US).unwrap();
            units.lock().insert(name.clone(), (member != "StopUnit" && result == "done", since));
            let other = ObjectPath::try_from("/org/freedesktop/systemd1/job/6").unwrap();
            for (number, job, result) in [(6_u32, other, "canceled"), (7, job, result)] {
                let signal = (number, job, name.as_str(), result);
                connection.emit_signal(None::<&str>, PATH, MANAGER, "JobRemoved", &signal).await.unwrap();
            }
        }
        _ => {}
    }
}

fn path_of(name: &str) -> OwnedObjectPath {
    let escaped = name.replace('.', "_2e");
    ObjectPath::try_from(format!("/org/freedesktop/systemd1/unit/{escaped}")).unwrap().into()
}

fn runner(address: &str) -> ServiceRunner {
    let config = SystemdRunnerConfig {
        enabled: true,
        bus: address.to_owned(),
        allow: vec!["*.service".to_owned()],
        timeout: Duration::from_secs(2),
    };
    ServiceRunner::build(&config, &Default::default()).unwrap().unwrap()
}

#[tokio::test]
async fn units_are_restarted_stopped_and_started_and_their_jobs_awaited() {
    let Some(bus) = bus() else { skip!("dbus-daemon is not installed") };
    let (_units, task) = systemd(&bus).await;
    let runner = runner(&bus.address);
    let of = |kind: &str, unit: &str| action(kind, unit, []);
    let restart = of("service.restart", "web.service");
    let effect = runner.look(&restart, SOON).await.unwrap();
    assert_eq!(effect.summary, "restart `web.service`; it is active");
    let since = now();
    assert_eq!(runner.progress(&restart, since, SOON).await, Ok(Progress::NotDone));
    runner.run(&restart, SOON).await.unwrap();
    assert_eq!(runner.progress(&restart, since, SOON).await, Ok(Progress::Done));
    let outcome = runner.run(&of("service.stop", "web.service"), SOON).await.unwrap();
    assert_eq!(outcome.inverse, Some(of("service.start", "web.service")));
    assert_eq!(
        runner.progress(&of("service.start", "web.service"), since, SOON).await,
        Ok(Progress::NotDone)
    );
    runner.run(&outcome.inverse.unwrap(), SOON).await.unwrap();

    let error = runner.run(&of("service.restart", BROKEN), SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "systemd: the job of `broken.service` ended with `failed`");
    let error = runner.look(&of("service.restart", "none.service"), SOON).await.unwrap_err();
    assert_eq!(error, ActionError::NotFound { target: "none.service".to_owned() });
    let error = runner.run(&of("service.restart", STUCK), Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(error, ActionError::TimedOut { .. }), "the job was begun: {error}");
    task.abort();
}

#[test]
fn names_that_are_no_units_are_refused() {
    let runner = runner("unix:path=/nowhere");
    for bad in ["web", "web.mount", ".service", "a/b.service", "a b.service", "-.slice"] {
        assert!(runner.describe(&action("service.stop", bad, [])).is_err(), "{bad}");
    }
    for good in ["web.service", "web@1.service", "dbus-org.example\\x2d1.service"] {
        assert!(runner.describe(&action("service.stop", good, [])).is_ok(), "{good}");
    }
}

#[tokio::test]
async fn a_bus_that_is_not_there_is_unreachable_in_time() {
    let (hole, closed) = (black_hole(), closed_port());
    let tcp = |address: std::net::SocketAddr| format!("tcp:host=127.0.0.1,port={}", address.port());
    let mut addresses = vec![tcp(hole.address), tcp(closed), "unix:path=/nowhere/bus".to_owned()];
    let bus = bus();
    addresses.extend(bus.as_ref().map(|bus| bus.address.clone()));
    for address in addresses {
        let restart = action("service.restart", "web.service", []);
        let error = runner(&address).run(&restart, Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(error, ActionError::Unreachable { .. }), "{address}: {error}");
    }
}
