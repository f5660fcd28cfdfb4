//! Compiles the protocol of the gRPC door, without `protoc`.

use std::path::PathBuf;

use protox::prost::Message;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let files = protox::compile(["heimdall/v1/ingest.proto"], ["proto"])?;
    std::fs::write(out.join("heimdall.v1.bin"), files.encode_to_vec())?; // for reflection
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
