//! Daemons people run, each with its own queue and its own retries.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use heimdall_testkit::{Command, Engine, Running, Tool, skip, wait_for, wait_for_within};
use serde_json::Value;

use crate::clients::ship;
use crate::ground::{self, Ground, finish, free};

/// Times the server is killed while a daemon sends.
const KILLS: usize = 2;

fn listens(address: &str) -> Option<()> {
    std::net::TcpStream::connect(address).ok().map(drop)
}

/// A configuration file of a daemon, in a folder that lives as long as it does.
fn written(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("the temporary folder takes files");
    path
}

// ---- rsyslog ------------------------------------------------------------------------------------------------------

/// rsyslog reads a file of lines and sends them by `action`, until it is told to end; it goes on when there was nobody.
fn rsyslog(ground: &Ground, dir: &Path, action: &str) -> Option<Running> {
    let daemon = Tool::find("rsyslogd")?;
    let mut lines = String::new();
    for n in 0..ground.records {
        writeln!(lines, "{} {n}", ground.run).expect("writing to a string cannot fail");
    }
    let input = written(dir, "input.log", &lines);
    let dir_text = dir.display();
    let config = format!(
        "global(workDirectory=\"{dir_text}\")\nmodule(load=\"imfile\")\nmodule(load=\"omrelp\")\n\
         input(type=\"imfile\" file=\"{}\" tag=\"ship\" freshStartTail=\"off\")\n{action}\n",
        input.display()
    );
    let config = written(dir, "rsyslog.conf", &config);
    let pid = dir.join("rsyslog.pid");
    Some(daemon.command().args(["-n", "-f"]).arg(config).arg("-i").arg(pid).start())
}

/// Whether rsyslog has its RELP module, which is a package of its own.
fn has_relp() -> bool {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.into_iter().any(|folder| folder.path().join("rsyslog/omrelp.so").is_file())
}

#[test]
fn rsyslog_over_relp_loses_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let address = free();
    let mut ground =
        Ground::new("rsyslog-relp", &[("HEIMDALL_DOORS__SYSLOG__RELP_LISTEN", address.to_string())]);
    let action = format!(
        "action(type=\"omrelp\" target=\"127.0.0.1\" port=\"{}\" template=\"RSYSLOG_SyslogProtocol23Format\" \
         action.resumeRetryCount=\"-1\" action.resumeInterval=\"1\" queue.type=\"LinkedList\" queue.size=\"200000\")",
        address.port()
    );
    if !has_relp() {
        skip!("rsyslog-relp is not installed");
    }
    let Some(mut daemon) = rsyslog(&ground, dir.path(), &action) else { skip!("rsyslog is not installed") };
    ground.kill(&mut daemon, KILLS);
    // What was not acknowledged rsyslog sends again with the next line only: it does not look at a connection it has nothing for.
    let mut input = File::options().append(true).open(dir.path().join("input.log")).expect("it was written");
    wait_for_within(ground::SHIPPER_PATIENCE, "every line", || {
        writeln!(input, "one more line").expect("a line");
        (ground.arrived().distinct >= ground.records).then_some(())
    });
    assert_eq!(ground.verdict()["lost"], 0);
    let _ = daemon.terminate();
}

#[test]
fn rsyslog_over_tcp_is_found_once() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let address = free();
    let ground = Ground::new("rsyslog-tcp", &[("HEIMDALL_DOORS__SYSLOG__TCP_LISTEN", address.to_string())]);
    let action = format!(
        "action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{}\" protocol=\"tcp\" TCP_Framing=\"octet-counted\" \
         template=\"RSYSLOG_SyslogProtocol23Format\" action.resumeRetryCount=\"-1\" queue.type=\"LinkedList\" queue.size=\"200000\")",
        address.port()
    );
    let Some(daemon) = rsyslog(&ground, dir.path(), &action) else { skip!("rsyslog is not installed") };
    let verdict = ground.verdict();
    assert_eq!((&verdict["lost"], &verdict["doubled"]), (&0.into(), &0.into()));
    let _ = daemon.terminate();
}

// ---- Prometheus ---------------------------------------------------------------------------------------------------

/// Times (ms) at which Prometheus has a sample of `up`, and at which Heimdall has.
fn samples_of_up(prometheus: &str, ground: &Ground) -> (Vec<i64>, Vec<i64>) {
    let answer = heimdall_testkit::http::try_request(
        prometheus.parse().expect("an address"),
        "GET",
        "/api/v1/query?query=up%5B10m%5D",
        &[],
        b"",
    );
    // Until it is ready it says so, and not in JSON.
    let ready = answer.ok().filter(|answer| answer.status == 200);
    let answer: Value = ready.map(|answer| answer.json()).unwrap_or_default();
    let theirs = answer["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of this century")]
    let ms = |value: &Value| (value[0].as_f64().unwrap_or_default() * 1e3).round() as i64;
    let theirs = theirs.iter().map(ms).collect();
    let rows = ground.server.query("dataset:metrics name:up | fields timestamp | sort timestamp");
    let time = |row: &Value| row[0].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    (theirs, rows.iter().filter_map(time).map(|time| time.as_millisecond()).collect())
}

#[test]
fn prometheus_writes_every_sample_once() {
    let Some(daemon) = Tool::find("prometheus") else { skip!("prometheus is not installed") };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut ground = Ground::new("prometheus", &[]);
    let listen = free().to_string();
    let config = format!(
        "global: {{ scrape_interval: 200ms }}\nscrape_configs:\n- job_name: self\n  static_configs: [{{ targets: ['{listen}'] }}]\n\
         remote_write:\n- url: http://{}/api/v1/write\n  queue_config: {{ batch_send_deadline: 200ms, min_backoff: 100ms, max_backoff: 500ms }}\n",
        ground.server.http()
    );
    let config = written(dir.path(), "prometheus.yml", &config);
    let daemon = daemon
        .command()
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address={listen}"))
        .start();
    wait_for("Prometheus to listen", || listens(&listen));
    for enough in [5, 12] {
        wait_for("Prometheus to write", || (samples_of_up(&listen, &ground).1.len() >= enough).then_some(()));
        ground.server.kill9();
        ground.server.restart();
    }
    let until = wait_for("Prometheus to scrape on", || {
        let theirs = samples_of_up(&listen, &ground).0;
        (theirs.len() >= 30).then(|| theirs[29])
    });
    let (theirs, ours) = wait_for("every sample to be there", || {
        let (theirs, ours) = samples_of_up(&listen, &ground);
        let theirs: Vec<_> = theirs.into_iter().filter(|time| *time <= until).collect();
        theirs.iter().all(|time| ours.contains(time)).then_some((theirs, ours))
    });
    let mut distinct = ours.clone();
    distinct.dedup();
    eprintln!("door remote_write: {} samples of `up`, doubled {}", theirs.len(), ours.len() - distinct.len());
    assert_eq!(distinct.len(), ours.len(), "no sample is there twice");
    let _ = daemon.terminate();
}

// ---- Kafka --------------------------------------------------------------------------------------------------------

/// What is told when there is no broker.
const NO_BROKER: &str =
    "a Kafka broker is missing: cargo install tansu --version 0.6.0 --locked --features libsql,dynostore";

/// Tansu, whose files are in `dir`; `address` is where it listens, `advertised` what it tells clients.
fn tansu(program: &Tool, dir: &Path, [address, advertised]: [&str; 2], more: &str) -> Running {
    let start = format!(
        "cd '{}' && exec '{}' broker --cluster-id hd --listener-url tcp://{address} \
         --advertised-listener-url tcp://{advertised} --storage-engine sqlite://tansu.db {more}",
        dir.display(),
        program.path().display()
    );
    let daemon = Command::new("/bin/sh").arg("-c").arg(start).start();
    wait_for("the broker to listen", || listens(address));
    daemon
}

#[test]
fn kafka_messages_are_there_once() {
    let Some(program) = Tool::find("tansu") else { skip!("{NO_BROKER}") };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let broker = free().to_string();
    let daemon = tansu(&program, dir.path(), [&broker, &broker], "");
    let mut ground = Ground::new(
        "kafka",
        &[
            ("KAFKA_BROKERS", broker.clone()),
            ("KAFKA_TOPIC", "ship".to_owned()),
            ("HEIMDALL_DOORS__KAFKA__START", "earliest".to_owned()),
        ],
    );
    let Some(mut shipper) = ship(&ground, "kafka", &broker, &[]) else {
        skip!("kafka: no Python with the shippers' libraries");
    };
    ground.kill(&mut shipper, KILLS);
    finish(shipper);
    let verdict = ground.verdict();
    assert_eq!((&verdict["lost"], &verdict["doubled"]), (&0.into(), &0.into()));
    let _ = daemon.kill9();
}

/// Settings of the door: a login over TLS.
fn secured(broker: &str, dir: &Path, password: &str) -> Vec<(&'static str, String)> {
    let file = written(dir, password, password);
    vec![
        ("KAFKA_BROKERS", broker.to_owned()),
        ("KAFKA_TOPIC", "ship".to_owned()),
        ("HEIMDALL_DOORS__KAFKA__START", "earliest".to_owned()),
        ("HEIMDALL_DOORS__KAFKA__TLS__ENABLED", "true".to_owned()),
        ("HEIMDALL_DOORS__KAFKA__TLS__CA_FILE", dir.join("ca.pem").display().to_string()),
        ("HEIMDALL_DOORS__KAFKA__SASL__MECHANISM", "scram-sha-512".to_owned()),
        ("HEIMDALL_DOORS__KAFKA__SASL__USER", "heimdall".to_owned()),
        ("HEIMDALL_DOORS__KAFKA__SASL__PASSWORD_FILE", file.display().to_string()),
    ]
}

#[test]
fn kafka_is_read_over_tls_with_a_login() {
    let Some(program) = Tool::find("tansu") else { skip!("{NO_BROKER}") };
    let (Some(python), Some(_)) = (ground::python(), Tool::find("openssl")) else {
        skip!("kafka: no Python with the shippers' libraries, or no openssl");
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (inner, outer) = (free().to_string(), free().to_string());
    // Users are made while nobody has to log in.
    let unlocked = tansu(&program, dir.path(), [&inner, &inner], "");
    let made = program
        .command()
        .args(["user", "create", "--broker", &format!("tcp://{inner}"), "--mechanism", "scram512"])
        .args(["heimdall", "right"])
        .run();
    drop(made.expect(0));
    let _ = unlocked.kill9();
    let daemon = tansu(&program, dir.path(), [&inner, &outer], "--authentication");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doors/tls_front.py");
    let front = python.command().arg(script).arg(dir.path()).args([&outer, &inner]).start();
    wait_for("TLS to be spoken", || listens(&outer));
    let mut ground = Ground::new("kafka-tls", &secured(&outer, dir.path(), "right"));
    let authority = format!("ssl.ca.location={}", dir.path().join("ca.pem").display());
    let settings = [
        "security.protocol=SASL_SSL",
        "sasl.mechanism=SCRAM-SHA-512",
        "sasl.username=heimdall",
        "sasl.password=right",
        &authority,
    ];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--setting", *setting]).collect();
    let mut shipper = ship(&ground, "kafka", &outer, &settings).expect("Python is there");
    ground.kill(&mut shipper, 1);
    finish(shipper);
    let verdict = ground.verdict();
    assert_eq!((&verdict["lost"], &verdict["doubled"]), (&0.into(), &0.into()));
    let refused = Ground::new("kafka-refused", &secured(&outer, dir.path(), "wrong"));
    refused.server.wait_for("the refused login to be told", |server| {
        server.stderr().contains("the login of `heimdall` was refused").then_some(())
    });
    let _ = (daemon.kill9(), front.kill9());
}

// ---- MQTT ---------------------------------------------------------------------------------------------------------

#[test]
fn mqtt_messages_are_not_lost() {
    let Some(mosquitto) = Tool::find("mosquitto") else { skip!("mosquitto is not installed") };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let broker = free();
    let config = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\n",
        broker.port()
    );
    let config = written(dir.path(), "mosquitto.conf", &config);
    let daemon = mosquitto.command().arg("-c").arg(config).start();
    let broker = broker.to_string();
    wait_for("the broker to listen", || listens(&broker));
    let subscription = format!(
        "[{{ url = \"mqtt://{broker}\", client_id = \"heimdall\", topics = [{{ filter = \"ship/#\" }}] }}]"
    );
    let mut ground = Ground::new("mqtt", &[("HEIMDALL_DOORS__MQTT", subscription)]);
    let Some(probe) = ship(&ground, "mqtt", &broker, &["--count", "1"]) else {
        skip!("mqtt: no Python with the shippers' libraries");
    };
    // What is published before the first subscription is nobody's.
    let mut probe = Some(probe);
    wait_for("the subscription", || {
        if ground.arrived().rows > 0 {
            return Some(());
        }
        if probe.as_mut().is_none_or(|probe| !probe.is_running()) {
            probe = ship(&ground, "mqtt", &broker, &["--count", "1"]);
        }
        None
    });
    let mut shipper = ship(&ground, "mqtt", &broker, &[]).expect("it was there before");
    ground.kill(&mut shipper, KILLS);
    finish(shipper);
    assert_eq!(ground.verdict()["lost"], 0);
    let _ = daemon.terminate();
}

// ---- systemd's journal --------------------------------------------------------------------------------------------

#[test]
fn an_uploaded_journal_is_there_once() {
    let (Some(remote), Some(upload)) =
        (Tool::find("systemd-journal-remote"), Tool::find("systemd-journal-upload"))
    else {
        skip!("systemd-journal-remote is not installed");
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut ground = Ground::new("journald", &[]);
    let mut export = String::new();
    for n in 0..ground.records {
        let time = 1_795_000_000_000_000_u64 + n as u64;
        writeln!(
            export,
            "__CURSOR=s=5a3b;i={n:x};b=0c6e1a;m={n:x};t={time:x};x={n:x}\n__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={n}\n\
             _BOOT_ID=0c6e1a0000000000000000000000000a\nPRIORITY=6\n_HOSTNAME=web-1\nSYSLOG_IDENTIFIER=ship\nMESSAGE={} {n}\n",
            ground.run
        )
        .expect("writing to a string cannot fail");
    }
    let export = written(dir.path(), "export", &export);
    let journal = dir.path().join("ship.journal");
    let made = remote.command().arg("-o").arg(&journal).arg(export).run();
    assert!(journal.exists(), "{}{}", made.stdout, made.stderr);
    let state = format!("--save-state={}", dir.path().join("state").display());
    let url = format!("--url=http://{}", ground.server.http());
    let send = || upload.command().arg(&url).arg(format!("--file={}", journal.display())).arg(&state).start();
    // With a state it follows the journal for ever. systemd starts it again when it fails; here we do.
    let mut shipper = send();
    for share in 1..=KILLS + 1 {
        let enough = ground.records * share / (KILLS + 1);
        wait_for_within(ground::SHIPPER_PATIENCE, "enough of the journal", || {
            if !shipper.is_running() {
                shipper = send();
            }
            (ground.arrived().distinct >= enough).then_some(())
        });
        if share <= KILLS {
            ground.server.kill9();
            ground.server.restart();
        }
    }
    let _ = shipper.terminate();
    let verdict = ground.verdict();
    assert_eq!((&verdict["lost"], &verdict["doubled"]), (&0.into(), &0.into()));
}

// ---- Docker -------------------------------------------------------------------------------------------------------

#[test]
fn a_containers_log_is_there_once() {
    let engine = match Engine::start() {
        Ok(engine) => engine,
        Err(why) => skip!("docker: {why}"),
    };
    let socket = engine.socket().display().to_string();
    let mut ground = Ground::new("docker", &[("HEIMDALL_DOORS__DOCKER__SOCKET", socket)]);
    let script = format!(
        "n=0; while [ $n -lt {} ]; do echo '{}' $n; n=$((n+1)); [ $((n%100)) = 0 ] && usleep 20000; done",
        ground.records, ground.run
    );
    engine.must(&["run", "-d", "--name", "ship", "--network", "none", Engine::IMAGE, "sh", "-c", &script]);
    for share in 1..=KILLS {
        let enough = ground.records * share / (KILLS + 1);
        wait_for_within(ground::SHIPPER_PATIENCE, "enough of the log", || {
            (ground.arrived().distinct >= enough).then_some(())
        });
        ground.server.kill9();
        ground.server.restart();
    }
    let verdict = ground.verdict();
    assert_eq!((&verdict["lost"], &verdict["doubled"]), (&0.into(), &0.into()));
}

// ---- collectd -----------------------------------------------------------------------------------------------------

#[test]
fn a_sample_that_collectd_still_shows_is_taken_once_and_once_more_after_a_restart() {
    let plugins = Path::new("/usr/lib/collectd");
    let daemon = Tool::find("collectd").filter(|_| plugins.join("write_prometheus.so").is_file());
    let Some(daemon) = daemon else { skip!("collectd is not installed") };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (root, listen) = (dir.path().display(), free());
    let config = format!(
        "BaseDir \"{root}\"\nPIDFile \"{root}/pid\"\nPluginDir \"{}\"\nInterval 0.2\nLoadPlugin load\nLoadPlugin write_prometheus\n\
         <Plugin write_prometheus>\nHost \"127.0.0.1\"\nPort \"{}\"\n</Plugin>\n",
        plugins.display(),
        listen.port()
    );
    let config = written(dir.path(), "collectd.conf", &config);
    let daemon = daemon.command().arg("-f").arg("-C").arg(config).start();
    wait_for("collectd to listen", || listens(&listen.to_string()));
    let job = format!("[{{ job = \"collectd\", targets = [\"{listen}\"], interval = \"1s\" }}]");
    let mut ground = Ground::new("collectd", &[("HEIMDALL_DOORS__SCRAPE", job)]);
    let times = |ground: &Ground| {
        let rows = ground.server.query("dataset:metrics name:collectd_load_shortterm | fields timestamp");
        rows.iter().map(|row| row[0].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    const RESTARTS: usize = 2;
    for enough in (1..=RESTARTS).map(|restart| 2 * restart) {
        wait_for("collectd to be scraped", || (times(&ground).len() >= enough).then_some(()));
        ground.server.kill9();
        ground.server.restart();
    }
    let times = wait_for("scrapes after the kills", || Some(times(&ground)).filter(|times| times.len() >= 6));
    let mut distinct = times.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(times.len() - distinct.len() <= RESTARTS, "{times:?}");
    let _ = daemon.terminate();
}

// ---- logger -------------------------------------------------------------------------------------------------------

#[test]
fn logger_is_understood_in_each_of_its_forms() {
    let Some(logger) = Tool::find("logger") else { skip!("logger is not installed") };
    let (udp, tcp) = (free(), free());
    let ground = Ground::new(
        "logger",
        &[
            ("HEIMDALL_DOORS__SYSLOG__UDP_LISTEN", udp.to_string()),
            ("HEIMDALL_DOORS__SYSLOG__TCP_LISTEN", tcp.to_string()),
        ],
    );
    let forms: [(&str, &[&str], SocketAddr); 5] = [
        ("udp-5424", &["-d", "--rfc5424"], udp),
        ("udp-3164", &["-d", "--rfc3164"], udp),
        ("tcp-counted", &["-T", "--octet-count", "--rfc5424"], tcp),
        ("tcp-lines", &["-T", "--rfc5424"], tcp),
        ("tcp-3164", &["-T", "--rfc3164"], tcp),
    ];
    for (name, how, to) in forms {
        let port = to.port().to_string();
        let command = logger.command().args(["-n", "127.0.0.1", "-P", &port, "-p", "auth.err", "-t", "su"]);
        let _ = command.args(how.iter().copied()).arg(name).run().expect(0);
    }
    let rows = wait_for("all of them", || {
        let rows = ground.server.query("service:su level:error | fields message | sort message");
        (rows.len() >= forms.len()).then_some(rows)
    });
    let messages: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(messages, ["tcp-3164", "tcp-counted", "tcp-lines", "udp-3164", "udp-5424"]);
}
