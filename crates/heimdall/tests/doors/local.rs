//! Files on the server's own host.

use std::fs::File;
use std::io::Write as _;

use heimdall_testkit::wait_for;

use crate::ground::Ground;

#[test]
fn a_file_that_grows_and_rotates_is_read_once_across_kills() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("app.log");
    let tails = format!("[{{ paths = [\"{}\"], service = \"ship\" }}]", path.display());
    let mut ground = Ground::new("local", &[("HEIMDALL_LOCAL__TAILS", tails)]);
    let mut file = File::create(&path).expect("the temporary folder takes files");
    for n in 0..ground.records {
        writeln!(file, "{} {n}", ground.run).expect("the file takes lines");
        if n == ground.records / 2 {
            std::fs::rename(&path, dir.path().join("app.log.1")).expect("the file is renamed");
            file = File::create(&path).expect("the temporary folder takes files");
        }
        if n == ground.records / 3 || n == ground.records * 2 / 3 {
            ground.server.kill9();
            ground.server.restart();
        }
    }
    let verdict = ground.verdict();
    assert_eq!((&verdict["lost"], &verdict["doubled"]), (&0.into(), &0.into()));
}

#[test]
fn a_file_of_the_own_host_passes_the_pipelines() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (path, pipelines) = (dir.path().join("app.log"), dir.path().join("pipelines"));
    std::fs::create_dir(&pipelines).expect("a folder");
    std::fs::write(pipelines.join("mark.yaml"), "name: mark\nsteps:\n - set: {mark: seen}\n")
        .expect("a file");
    let tails = format!("[{{ paths = [\"{}\"], service = \"ship\" }}]", path.display());
    let settings = [
        ("HEIMDALL_LOCAL__TAILS", tails),
        ("HEIMDALL_INGEST__PIPELINES_DIR", pipelines.display().to_string()),
    ];
    let ground = Ground::new("local_pipelines", &settings);
    std::fs::write(&path, format!("{} 0\n", ground.run)).expect("the temporary folder takes files");
    let rows = wait_for("the line", || {
        let rows = ground.server.query("service:ship | fields mark");
        (!rows.is_empty()).then_some(rows)
    });
    assert_eq!(rows[0][0], "seen");
}
