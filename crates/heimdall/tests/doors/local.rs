//! Files on the server's own host.

use std::fs::File;
use std::io::Write as _;

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
