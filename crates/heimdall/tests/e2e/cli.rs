//! The command line: files in, searches, generators, batch tasks, exit codes.

use std::path::Path;

use heimdall_testkit::{Command, Finished, Server};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{BIN, heimdall, server};

/// `heimdall ingest FILE`, which keeps its bookmarks in `state`.
fn ingest(server: &Server, file: &Path, state: &Path) -> Command {
    heimdall(["ingest", "--url", &server.url("")])
        .arg(file.as_os_str())
        .env("XDG_STATE_HOME", state.as_os_str())
}

fn search(server: &Server, query: &str) -> Vec<Value> {
    let output = heimdall(["search", query, "--json", "--from", "1990-01-01T00:00:00Z", "--limit", "10000"])
        .args(["--url", &server.url("")])
        .run()
        .expect(0);
    output.json_lines()
}

#[test]
fn files_of_every_format_are_found_out_and_sent() {
    let server = server().start();
    let dir = tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let inputs = [
        (
            "syslog",
            "<34>1 2025-10-11T22:14:15.003Z gate su 311 ID47 - 'su root' failed for lonvick\n\
             <165>1 2025-10-11T22:14:16.003Z gate cron 312 - - job started\n",
            "host:gate lonvick",
        ),
        (
            "access",
            "198.51.100.7 - - [10/Oct/2025:13:55:36 +0000] \"GET /wp-login.php HTTP/1.1\" 404 12 \"-\" \"curl/8\"\n\
             198.51.100.8 - - [10/Oct/2025:13:55:37 +0000] \"GET / HTTP/1.1\" 200 12 \"-\" \"curl/8\"\n",
            "source_ip:198.51.100.7",
        ),
        (
            "ndjson",
            "{\"timestamp\":\"2025-10-10T10:00:00Z\",\"service\":\"nd\",\"message\":\"one\"}\n\
             {\"timestamp\":\"2025-10-10T10:00:01Z\",\"service\":\"nd\",\"message\":\"two\",\"cart\":7}\n",
            "service:nd cart:7",
        ),
        (
            "logfmt",
            "time=2025-10-10T10:00:00Z level=warn service=lf msg=\"disk nearly full\" free=3\n\
             time=2025-10-10T10:00:01Z level=info service=lf msg=\"disk well\" free=70\n",
            "service:lf level:warn",
        ),
        ("plain", "the cat sat on the mat\nthe dog barked zwölf times\n", "zwölf"),
    ];
    for (name, text, query) in inputs {
        let sent = ingest(&server, &file(name, text), dir.path()).run().expect(0);
        assert!(sent.stdout.starts_with("accepted 2, deduplicated 0, rejected 0"), "{name}: {}", sent.stdout);
        server.wait_for(name, |server| (server.query(query).len() == 1).then_some(()));
    }
    assert_eq!(search(&server, "*").len(), 10);
    let counted = search(&server, "service:(nd OR lf) | stats count() as n by service | sort service");
    assert_eq!(counted, [json!({"service": "lf", "n": 2}), json!({"service": "nd", "n": 2})]);

    let piped = heimdall(["ingest", "-", "--service", "pipe", "--url", &server.url("")]);
    let piped = piped.stdin("first line\nsecond line\n").run().expect(0);
    assert!(piped.stdout.starts_with("accepted 2"), "{}", piped.stdout);
    server.wait_for("the piped lines", |server| (server.query("service:pipe").len() == 2).then_some(()));
}

#[test]
fn an_interrupted_run_goes_on_and_adds_nothing_twice() {
    // Twenty batches: the first is acknowledged long before the last is sent.
    const LINES: usize = 40_000;
    let padding = "x".repeat(1_000);
    let mut server = server().start();
    let dir = tempdir().expect("a folder");
    let file = dir.path().join("long.ndjson");
    let line = |n: usize| {
        let record = json!({"timestamp": 1_760_000_000 + n, "service": "long", "message": format!("line {n}"), "padding": padding});
        record.to_string() + "\n"
    };
    std::fs::write(&file, (0..LINES).map(line).collect::<String>()).expect("a file");
    let count = |server: &Server| {
        let rows = server.query("service:long | stats count()");
        rows.first().and_then(|row| row[0].as_u64()).unwrap_or(0)
    };
    let bookmark = || {
        let entries = std::fs::read_dir(dir.path().join("heimdall/ingest")).ok()?;
        entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|end| end == "offset"))
    };
    let mut first = ingest(&server, &file, dir.path()).start();
    first.wait_for("the first batch to be acknowledged", |_| bookmark());
    let _ = first.kill9();
    let interrupted = count(&server);
    assert!(interrupted < LINES as u64, "the run was interrupted");
    // The server may go and come in between.
    server.restart();
    let second = ingest(&server, &file, dir.path()).run().expect(0);
    assert!(second.stderr.contains("going on at byte"), "{}", second.stderr);
    server.wait_for("every line once", |server| (count(server) == LINES as u64).then_some(()));
    // A finished file sent again is known by its batches.
    let third = ingest(&server, &file, dir.path()).run().expect(0);
    assert!(third.stdout.contains(&format!("accepted 0, deduplicated {LINES}")), "{}", third.stdout);
    assert_eq!(count(&server), LINES as u64);
}

#[test]
fn generate_writes_an_entry_after_each_pause() {
    let arguments = ["generate", "--duration", "1", "--min-interval", "0.05", "--max-interval", "0.1"];
    let output = heimdall(arguments).run().expect(0);
    let entries = output.json_lines();
    assert!((10..=20).contains(&entries.len()), "{} entries in a second", entries.len());
    for entry in &entries {
        for key in ["timestamp", "service", "message", "event_type"] {
            assert!(entry[key].is_string(), "{key}: {entry}");
        }
        assert!(entry["cpu_usage"].is_number(), "{entry}");
    }
    let times: Vec<&str> = entries.iter().filter_map(|entry| entry["timestamp"].as_str()).collect();
    assert!(times.is_sorted());
    let again = |seed: &str| {
        let output = heimdall(["generate", "--no-wait", "--duration", "60", "--seed", seed]).run().expect(0);
        let message = |entry: &Value| (entry["service"].to_string(), entry["message"].to_string());
        output.json_lines().iter().map(message).collect::<Vec<_>>()
    };
    assert_eq!(again("3"), again("3"));
    assert_ne!(again("3"), again("4"));

    let server = server().start();
    let sent = heimdall(["generate", "--no-wait", "--duration", "2", "--send", "--url", &server.url("")]);
    let _ = sent.run().expect(0);
    server.wait_for("what was sent", |server| (server.query("*").len() >= 10).then_some(()));
}

#[test]
fn batch_tasks_answer_on_standard_output() {
    let contents =
        ["user 17 logged in from 10.0.0.1", "disk sda1 is full", "user 4711 logged in from 10.0.0.2"];
    let lines: String =
        (1..).zip(contents).map(|(n, text)| json!({"line": n, "content": text}).to_string() + "\n").collect();
    let mined = heimdall(["batch", "templates"]).stdin(lines).run().expect(0).json_lines();
    assert_eq!(mined.len(), 3);
    assert_eq!(mined[0]["line"], 1);
    assert_eq!(mined[0]["template_id"], mined[2]["template_id"]);
    assert_ne!(mined[0]["template_id"], mined[1]["template_id"]);
    assert_eq!(mined[0]["template"], "user <*> logged in from <*>");

    let attempt = |n: usize| {
        format!(
            "Dec 10 07:{:02}:00 gate sshd[24200]: Failed password for root from 198.51.100.23 port 38926 ssh2\n",
            n / 10
        )
    };
    let quiet = "Dec 10 07:30:00 gate sshd[1]: Accepted password for ann from 198.51.100.99 port 22 ssh2\n";
    let input: String = (0..6).map(attempt).collect::<String>() + quiet;
    let found = heimdall(["batch", "detect", "--source", "syslog"]).stdin(input).run().expect(0).json_lines();
    let about: Vec<_> = found.iter().filter(|alert| alert["source_ip"] == "198.51.100.23").collect();
    assert!(!about.is_empty() && about.len() == found.len(), "{found:?}");
    for key in ["rule", "severity", "first_line", "last_line", "time", "count"] {
        assert!(about.iter().all(|alert| !alert[key].is_null()), "{key}: {found:?}");
    }
}

#[test]
fn exit_codes_tell_success_failure_and_misuse() {
    let code = |args: &[&str]| -> Finished { Command::new(BIN).args(args.iter().copied()).run() };
    let _ = code(&["--version"]).expect(0);
    let _ = code(&["search", "--help"]).expect(0);
    assert!(code(&["completions", "bash"]).expect(0).stdout.contains("complete -F _heimdall"));
    let _ = code(&["serve", "--no-such-flag"]).expect(2);
    let _ = code(&[]).expect(2);
    let nobody = code(&["status", "--url", "http://127.0.0.1:9"]).expect(1);
    assert!(nobody.stderr.contains("is the server running?"), "{}", nobody.stderr);
    let missing = code(&["ingest", "/nonexistent/file.log"]).expect(1);
    assert!(missing.stderr.contains("/nonexistent/file.log"), "{}", missing.stderr);

    let server = server().start();
    let mistake = heimdall(["search", "level>=", "--url", &server.url("")]).run().expect(1);
    assert!(mistake.stderr.contains("invalid_query"), "{}", mistake.stderr);
    let status = heimdall(["status", "--url", &server.url("")]).run().expect(0);
    assert_eq!(serde_json::from_str::<Value>(&status.stdout).expect("JSON")["ready"], true);
}

#[test]
fn search_prints_lines_for_people_and_the_plan() {
    let server = server().start();
    let record = json!({"service": "till", "level": "warn", "message": "drawer \u{1b}[31mstuck", "till": 4});
    assert_eq!(server.post("/api/v1/ingest/logs", record.to_string(), &[]).0, 200);
    server.wait_for("the record", |server| (server.query("service:till").len() == 1).then_some(()));
    let shown = heimdall(["search", "service:till", "--url", &server.url("")]).run().expect(0);
    assert!(shown.stdout.contains("warn  till drawer \\u{1b}[31mstuck"), "{}", shown.stdout);
    assert!(!shown.stdout.contains('\u{1b}'), "records cannot drive the terminal");
    let plan = heimdall(["search", "service:till | stats count()", "--explain", "--url", &server.url("")]);
    let plan = plan.run().expect(0).stdout;
    assert!(plan.to_lowercase().contains("scan"), "{plan}");
}

#[test]
fn sql_is_asked_from_the_command_line_in_every_format() {
    let server = server().start();
    let dir = tempdir().expect("a folder");
    let file = dir.path().join("lines.ndjson");
    let lines = "{\"timestamp\":\"2025-10-10T10:00:00Z\",\"service\":\"nd\",\"level\":\"error\",\"message\":\"one\"}\n\
                 {\"timestamp\":\"2025-10-10T10:00:01Z\",\"service\":\"nd\",\"message\":\"two\"}\n";
    std::fs::write(&file, lines).expect("a file");
    let _ = ingest(&server, &file, dir.path()).run().expect(0);
    let query = "select service, count(*) as n, count(level) as errors from logs group by service";
    let sql = |args: &[&str]| heimdall(["sql", "--url", &server.url("")]).args(args);
    let text = |format: &str| sql(&[query, "--format", format]).run().expect(0).stdout;
    assert_eq!(text("csv"), "service,n,errors\nnd,2,1\n");
    assert_eq!(text("ndjson"), "{\"service\":\"nd\",\"n\":2,\"errors\":1}\n");
    assert!(text("table").contains("errors"));
    assert!(text("json").contains("\"rows\":[[\"nd\",2,1]]"));
    assert_eq!(
        sql(&["-", "--format", "csv"]).stdin(query).run().expect(0).stdout,
        "service,n,errors\nnd,2,1\n"
    );
    assert!(sql(&[query, "--explain"]).run().expect(0).stdout.contains("StatsExec"));
    assert!(sql(&["drop table logs"]).run().expect(1).stderr.contains("sql_not_read_only"));
    assert_eq!(
        sql(&["select count(*) from logs", "--to", "2025-10-10T10:00:01Z", "--format", "csv"])
            .run()
            .expect(0)
            .stdout,
        "count(*)\n1\n"
    );
}
