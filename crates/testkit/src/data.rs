//! Files that tests of several areas read and that are not of the repository: in the folder that `HEIMDALL_DATA` names.

use std::path::{Path, PathBuf};

/// An input, by a name for messages.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its file, and its line where it is one of several.
    pub name: String,
    /// As it is.
    pub bytes: Vec<u8>,
}

/// A folder of the data; `None`, with a word about it, where there is none.
pub fn folder(name: &str) -> Option<PathBuf> {
    let Some(data) = std::env::var_os("HEIMDALL_DATA") else {
        eprintln!("skipped: HEIMDALL_DATA names no folder with {name}");
        return None;
    };
    Some(PathBuf::from(data).join(name))
}

/// Hostile and odd input: every file of `bad_input`, and every line of those with one input a line; none where there is no data.
pub fn bad_inputs() -> Vec<Input> {
    let Some(folder) = folder("bad_input") else { return Vec::new() };
    let mut inputs = Vec::new();
    for path in ["", "json", "json_transform"].iter().flat_map(|part| files(&folder.join(part))) {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).expect("a readable file");
        if name.ends_with(".jsonl") {
            let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
            inputs
                .extend(lines.map(|(n, line)| Input { name: format!("{name}:{}", n + 1), bytes: raw(line) }));
        }
        inputs.push(Input { name, bytes });
    }
    assert!(inputs.len() > 150, "{} inputs", inputs.len());
    inputs
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// The input of a line that says more about it, else the line.
fn raw(line: &[u8]) -> Vec<u8> {
    let read: Option<serde_json::Value> = serde_json::from_slice(line).ok();
    let raw = read.as_ref().and_then(|read| read.get("raw")?.as_str());
    raw.map_or(line, str::as_bytes).to_vec()
}
