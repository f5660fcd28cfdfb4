//! With a real supervisord.

use std::process::Command;
use std::time::Duration;

use super::*;
use crate::action::{ActionRunner as _, Progress};
use crate::runners::parameters::action;
use crate::runners::service::ServiceRunner;
use crate::runners::testing::{Served, black_hole, closed_port, now, program, skip, wait_for};

const SOON: Duration = Duration::from_secs(30);

struct Supervised {
    runner: ServiceRunner,
    _process: Served,
    dir: tempfile::TempDir,
}

fn build(endpoint: &str, password: &str) -> ServiceRunner {
    let config = SupervisorRunnerConfig {
        enabled: true,
        endpoint: endpoint.to_owned(),
        user: Some("heimdall".to_owned()),
        password: Some(ActionSecret::new(password)),
        allow: vec!["web*".to_owned(), "broken".to_owned(), "none".to_owned()],
        timeout: Duration::from_millis(1_500),
        ..SupervisorRunnerConfig::default()
    };
    ServiceRunner::build(&Default::default(), &config).unwrap().unwrap()
}

fn start() -> Option<Supervised> {
    let supervisord = program("supervisord")?;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    let text = format!(
        "[unix_http_server]\nfile={path}/s.sock\nusername=heimdall\npassword=hidden\n\
         [supervisord]\nlogfile={path}/s.log\npidfile={path}/s.pid\nnodaemon=true\nuser=root\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [program:web]\ncommand=/bin/sleep 600\nstartsecs=0\nautorestart=false\n\
         [program:broken]\ncommand=/bin/false\nautostart=false\nstartretries=0\nautorestart=false\n"
    );
    std::fs::write(dir.path().join("s.conf"), text).unwrap();
    let mut command = Command::new(supervisord);
    command.arg("-c").arg(dir.path().join("s.conf")).current_dir(dir.path());
    let process = Served::start(&mut command, &dir.path().join("out"));
    wait_for("supervisord", || dir.path().join("s.sock").exists().then_some(()));
    Some(Supervised { runner: build(&format!("{path}/s.sock"), "hidden"), _process: process, dir })
}

#[tokio::test]
async fn programs_are_restarted_stopped_and_started() {
    let Some(supervised) = start() else { skip!("supervisord is not installed") };
    let runner = &supervised.runner;
    let of = |kind: &str, name: &str| action(kind, name, []);
    // Just started, it is `starting` for a moment.
    let started = std::time::Instant::now();
    while runner.look(&of("service.restart", "web"), SOON).await.unwrap().summary
        != "restart `web`; it is running"
    {
        assert!(started.elapsed() < SOON, "the program does not run");
        tokio::task::yield_now().await;
    }

    // Started within this second, which is all the manager keeps: the next one tells them apart.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let since = now();
    let restart = of("service.restart", "web");
    assert_eq!(runner.progress(&restart, since, SOON).await, Ok(Progress::NotDone));
    runner.run(&restart, SOON).await.unwrap();
    assert_eq!(runner.progress(&restart, since, SOON).await, Ok(Progress::Done));

    let outcome = runner.run(&of("service.stop", "web"), SOON).await.unwrap();
    assert_eq!(outcome.inverse, Some(of("service.start", "web")));
    assert_eq!(runner.progress(&of("service.stop", "web"), since, SOON).await, Ok(Progress::Done));
    assert_eq!(
        runner.run(&of("service.stop", "web"), SOON).await.unwrap().inverse,
        None,
        "it was stopped already"
    );
    runner.run(&outcome.inverse.unwrap(), SOON).await.unwrap();
    assert_eq!(runner.progress(&of("service.start", "web"), since, SOON).await, Ok(Progress::Done));

    let error = runner.run(&of("service.start", "broken"), SOON).await.unwrap_err();
    assert!(matches!(error, ActionError::Failed { .. }), "{error}");
    let error = runner.look(&of("service.start", "none"), SOON).await.unwrap_err();
    assert_eq!(error, ActionError::NotFound { target: "none".to_owned() });
    assert!(runner.describe(&of("service.stop", "db")).is_err(), "not in the allow-list");

    let stranger = build(&format!("{}/s.sock", supervised.dir.path().display()), "wrong");
    let error = stranger.look(&of("service.stop", "web"), SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "supervisor: refused the user or password");
}

#[tokio::test]
async fn a_supervisor_that_is_not_there_is_unreachable_in_time() {
    let (hole, closed) = (black_hole(), closed_port());
    let of_nobody =
        [format!("http://{}", hole.address), format!("http://{closed}"), "/nowhere/s.sock".to_owned()];
    for endpoint in of_nobody {
        let runner = build(&endpoint, "hidden");
        let started = std::time::Instant::now();
        let error =
            runner.run(&action("service.restart", "web", []), Duration::from_millis(400)).await.unwrap_err();
        assert!(matches!(error, ActionError::Unreachable { .. }), "{endpoint}: {error}");
        assert!(started.elapsed() < Duration::from_secs(5), "{endpoint}");
    }
}
