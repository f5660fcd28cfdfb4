//! Writes the table of the files of `ui/dist`, with what a request needs to know of each, for `src/lib.rs` to include.
//!
//! `HEIMDALL_UI_DIST` names another folder. Without an `index.html` in it, the table has one page that says how to make it.
//! While `ui/.building` is locked, the app is being built, and waited for. The bytes are embedded as they are: the build of `ui/`
//! writes `X.br` and `X.gz` beside X where that is worth it.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Files embedded at most: more of them is a mistake, such as a folder of sources.
const FILES_MAX: usize = 2_000;
/// Bytes embedded at most.
const BYTES_MAX: usize = 64 * 1024 * 1024;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the folder of the crate"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the folder of what is made"));
    println!("cargo::rerun-if-env-changed=HEIMDALL_UI_DIST");
    println!("cargo::rerun-if-changed=build.rs");
    let dist =
        env::var_os("HEIMDALL_UI_DIST").map_or_else(|| root.join("../../ui/dist"), |dir| root.join(dir));
    // Cargo watches a folder that is there; one that is missing would build this crate, and all above it, every time.
    // Where it cannot be made, as in a tree that is read-only, nothing can come into it either.
    if dist.is_dir() || fs::create_dir_all(&dist).is_ok() {
        println!("cargo::rerun-if-changed={}", dist.display());
    }
    let building = fs::File::open(root.join("../../ui/.building"));
    if let Ok(building) = &building {
        // Where files cannot be locked, nobody has locked this one.
        let _ = building.lock_shared();
    }
    let is_built = dist.join("index.html").is_file();
    let stand_in = root.join("src/stand-in");
    println!("cargo::rerun-if-changed={}", stand_in.display());
    write_table(&out.join("files.rs"), if is_built { &dist } else { &stand_in }, is_built);

    let sample = root.join("tests/dist");
    println!("cargo::rerun-if-changed={}", sample.display());
    write_table(&out.join("sample.rs"), &sample, true);
}

/// Writes a folder as an expression of type `Site`.
fn write_table(target: &Path, folder: &Path, is_built: bool) {
    let folder = folder.canonicalize().expect("the folder is there");
    let mut paths = Vec::new();
    visit(&folder, &mut paths);
    paths.sort();
    assert!(
        paths.len() <= FILES_MAX,
        "{} has {} files, at most {FILES_MAX} are embedded",
        folder.display(),
        paths.len()
    );
    let mut table = format!("Site {{ is_built: {is_built}, files: &[\n");
    let mut total = 0;
    for path in paths.iter().filter(|path| !is_packed(path, &paths)) {
        let name = path.strip_prefix(&folder).expect("found below it");
        let name = name.to_str().expect("names of the web are text").replace('\\', "/");
        let bytes = fs::read(path).expect("a file that was listed");
        let packed = |ending: &str| {
            let packed = with_ending(path, ending);
            if packed.is_file() { format!("Some(include_bytes!({packed:?}))") } else { "None".to_owned() }
        };
        total += bytes.len();
        writeln!(
            table,
            "File {{ path: {:?}, content_type: {:?}, hash: \"{:032x}\", bytes: include_bytes!({path:?}), brotli: {}, gzip: {} }},",
            format!("/{name}"),
            content_type(&name),
            hash(&bytes),
            packed("br"),
            packed("gz"),
        )
        .expect("writing to a text");
    }
    assert!(total <= BYTES_MAX, "{} has {total} bytes, at most {BYTES_MAX} are embedded", folder.display());
    table.push_str("] }\n");
    fs::write(target, table).expect("the folder of what is made can be written");
}

fn visit(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder that can be read") {
        let path = entry.expect("an entry that can be read").path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        match () {
            () if is_hidden => {}
            () if path.is_dir() => visit(&path, paths),
            () => paths.push(path),
        }
    }
}

/// Whether it is another file, compressed.
fn is_packed(path: &Path, paths: &[PathBuf]) -> bool {
    let is_ending = path.extension().is_some_and(|ending| ending == "br" || ending == "gz");
    is_ending && paths.contains(&path.with_extension(""))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// FNV-1a of 128 bits: tells versions of a file apart, nothing more.
fn hash(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}
