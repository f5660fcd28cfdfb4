//! What is generated of the gRPC protocol is what the protocol gives.
//!
//! It stands in the tree, as its generator would take every build longer than the rest of this crate's dependencies. After a
//! change of the protocol: `WRITE_PROTOCOL=1 cargo test --release -p heimdall-doors --test protocol`.

use std::fs;
use std::path::Path;

use protox::prost::Message;

const FILES: [&str; 2] = ["heimdall.v1.rs", "heimdall.v1.bin"];

#[test]
fn the_generated_files_are_those_of_the_protocol() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let made = tempfile::tempdir().expect("a folder");
    let files = protox::compile(["heimdall/v1/ingest.proto"], [&proto]).expect("the protocol");
    fs::write(made.path().join(FILES[1]), files.encode_to_vec()).expect("a file"); // for reflection
    tonic_prost_build::configure()
        .build_server(false)
        .out_dir(made.path())
        .compile_fds(files)
        .expect("code of the protocol");
    for name in FILES {
        let (made, kept) = (made.path().join(name), proto.join("generated").join(name));
        if std::env::var_os("WRITE_PROTOCOL").is_some() {
            fs::copy(&made, &kept).expect("a file");
        }
        let is_same = fs::read(made).expect("what was made") == fs::read(&kept).expect("what is kept");
        assert!(is_same, "{} is not what the protocol gives; see the top of this test", kept.display());
    }
}
