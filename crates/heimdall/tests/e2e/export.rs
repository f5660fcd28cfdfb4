//! A data folder after its server has stopped: verified, damaged, exported, read by a foreign program.

use heimdall_testkit::{Tool, skip};
use serde_json::json;

use crate::{heimdall, server};

/// Counts the rows of the Parquet file named by its argument, and shows some of what is in them.
const SCRIPT: &str = r#"
import sys
try:
    import duckdb
except ImportError:
    sys.exit(77)
rows = duckdb.sql(f"select count(*), count(distinct id), sum(duration_ms), min(level), max(service), min(trace_id), \
min(typeof(timestamp)), max(json_extract_string(attributes, '$.zone')) from '{sys.argv[1]}'").fetchall()
print(*rows[0])
"#;

#[test]
fn a_stopped_folder_is_verified_and_exported() {
    let mut server = server().start();
    let lines: Vec<String> = (0..300)
        .map(|n| {
            let level = if n % 3 == 0 { "error" } else { "info" };
            let trace = format!("{n:032x}");
            json!({"service": "export", "level": level, "message": format!("request {n} took 7 ms"), "duration_ms": 7,
                "trace_id": trace, "zone": "z1", "timestamp": format!("2026-03-01T12:{:02}:00Z", n % 60)})
            .to_string()
        })
        .collect();
    let (status, body) =
        server.post("/api/v1/ingest/logs", lines.join("\n"), &[("content-type", "application/x-ndjson")]);
    assert_eq!((status, body["accepted"].as_u64()), (200, Some(300)), "{body}");
    let data = server.data_dir().to_owned();
    let storage = |what: &str| heimdall(["storage"]).arg(what);
    let busy = storage("verify").arg("--data-dir").arg(&data).run().expect(1);
    assert!(busy.stderr.contains("stop the server first"), "{}", busy.stderr);
    let listed = storage("ls").args(["--json", "--data-dir"]).arg(&data).run().expect(0);
    assert!(listed.json_lines().iter().all(|segment| segment["tier"] == "hot"), "{}", listed.stdout);
    let asked = storage("ls").args(["--url", &server.url("")]).run().expect(0);
    assert!(asked.stdout.starts_with("tenant") && asked.stdout.contains(" segments, "), "{}", asked.stdout);
    assert!(server.terminate().success());
    let listed = storage("ls").args(["--json", "--data-dir"]).arg(&data).run().expect(0).json_lines();
    let rows: Vec<u64> = listed.iter().filter_map(|segment| segment["rows"].as_u64()).collect();
    assert!(rows.contains(&300), "{rows:?}");

    let well = storage("verify").arg("--data-dir").arg(&data).run().expect(0);
    assert!(well.stdout.contains("none damaged"), "{}", well.stdout);

    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("errors.parquet");
    let export = || {
        let export = storage("export").arg(&out).arg("level:error").args(["--from", "2026-03-01T12:00:00Z"]);
        export.arg("--data-dir").arg(&data).run()
    };
    let told = export().expect(0).stdout;
    assert!(told.starts_with("100 records in "), "{told}");
    let again = export().expect(1).stderr;
    assert!(again.contains("is there already") && out.exists(), "{again}");

    // Every byte counts: one is flipped in the middle of a segment.
    let store = data.join("store");
    let names = std::fs::read_dir(&store).expect("reads").map(|entry| entry.expect("reads").path());
    let is_logs = |path: &std::path::PathBuf| {
        let name = path.to_string_lossy();
        name.contains(".logs.") && name.ends_with(".parquet")
    };
    let path = names.into_iter().find(is_logs).expect("a segment of logs");
    let whole = std::fs::read(&path).expect("reads");
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).expect("writes");
    let found = storage("verify").arg("--data-dir").arg(&data).run().expect(1);
    let name = path.file_name().expect("has one").to_string_lossy().into_owned();
    assert!(found.stdout.contains(&name) && found.stdout.contains("at byte"), "{}", found.stdout);
    assert!(found.stderr.contains("1 of "), "{}", found.stderr);
    let rest = dir.path().join("rest.parquet");
    let export = |rest: &std::path::Path| storage("export").arg(rest).arg("--data-dir").arg(&data);
    let refused = export(&rest).run().expect(1);
    assert!(refused.stderr.contains("--without-damaged") && !rest.exists(), "{}", refused.stderr);
    let partial = export(&rest).arg("--without-damaged").run().expect(0);
    assert!(
        partial.stderr.contains("300 records from") && partial.stdout.starts_with("0 records"),
        "{}",
        partial.stderr
    );

    server.restart();
    let (status, answer) = server.post(
        "/api/v1/query",
        json!({"query": "service:export level:error"}).to_string(),
        &[("content-type", "application/json")],
    );
    assert_eq!((status, answer["stats"]["partial"].as_bool()), (200, Some(true)), "{answer}");
    assert!(answer["stats"]["warnings"][0].as_str().is_some_and(|text| text.contains(&name)), "{answer}");
    assert_eq!(server.get_json("/api/v1/status")["store"]["damaged"][0]["rows"].as_u64(), Some(300));
    assert!(server.terminate().success());
    std::fs::write(&path, &whole).expect("writes");
    server.restart();
    assert_eq!(server.query("service:export | stats count()")[0][0].as_u64(), Some(300));

    let python = Tool::find("python-duckdb").or_else(|| Tool::find("python3"));
    let Some(python) = python else { skip!("an export read by DuckDB: there is no Python") };
    let read = python.command().args(["-c", SCRIPT]).arg(&out).run();
    if read.code == Some(77) {
        skip!("an export read by DuckDB: no Python has the package duckdb");
    }
    let read = read.expect(0).stdout;
    // A trace id of zeros is none.
    let expected = format!("100 100 700.0 error export {:032x} TIMESTAMPTZ_NS z1", 3);
    assert_eq!(read.trim(), expected);
}
