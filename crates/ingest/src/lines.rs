//! Lines of JSON that say themselves whether they are whole: `CRC-32C in hex, space, JSON, newline`.
//!
//! Invariant: a line that was written in part, or changed since, is left out when it is read; those around it are not.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Digits of the checksum and the space after them.
const PREFIX_BYTES: usize = 9;

/// Appends a line. `json` has no newline, as `serde_json` writes it.
pub(crate) fn push(out: &mut Vec<u8>, json: &str) {
    debug_assert!(!json.contains('\n'));
    let crc = crc32c::crc32c(json.as_bytes());
    writeln!(out, "{crc:08x} {json}").expect("writing to memory cannot fail");
}

/// A whole line: where it starts, how long it is with its newline, and its JSON.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'b> {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) json: &'b str,
}

/// The whole lines of a file; the others are counted in `broken`.
pub(crate) fn read<'b>(bytes: &'b [u8], broken: &mut u64) -> Vec<Line<'b>> {
    let mut lines = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[start..]).map(|n| start + n);
        let stop = end.unwrap_or(bytes.len());
        match end.and_then(|_| checked(&bytes[start..stop])) {
            Some(json) => lines.push(Line { start, len: stop + 1 - start, json }),
            None => *broken += 1,
        }
        start = stop + 1;
    }
    lines
}

/// The JSON of a line without its newline, when it is whole.
pub(crate) fn checked(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?;
    let (crc, json) = (text.get(..PREFIX_BYTES)?, text.get(PREFIX_BYTES..)?);
    let crc = u32::from_str_radix(crc.strip_suffix(' ')?, 16).ok()?;
    (crc == crc32c::crc32c(json.as_bytes())).then_some(json)
}

/// Makes a folder nobody else can read.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Opens a file to append to; nobody else can read it. A line that was cut off is closed, so that the next one is whole.
pub(crate) fn append(path: &Path) -> io::Result<(File, u64)> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::options().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut bytes = file.metadata()?.len();
    if bytes > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            bytes += 1;
        }
    }
    Ok((file, bytes))
}

/// Replaces a file whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use heimdall_testkit::mutants::{Seeds, fuzz};

    use super::*;

    #[test]
    fn broken_lines_are_left_out_and_others_are_not() {
        let mut bytes = Vec::new();
        push(&mut bytes, r#"{"a":1}"#);
        push(&mut bytes, r#"{"b":2}"#);
        push(&mut bytes, r#"{"c":3}"#);
        let (mut broken, whole) = (0, bytes.clone());
        assert_eq!(
            read(&whole, &mut broken).iter().map(|line| line.json).collect::<Vec<_>>(),
            [r#"{"a":1}"#, r#"{"b":2}"#, r#"{"c":3}"#]
        );
        bytes[20] ^= 1;
        bytes.pop();
        assert_eq!(
            read(&bytes, &mut broken).iter().map(|line| line.json).collect::<Vec<_>>(),
            [r#"{"a":1}"#]
        );
        assert_eq!(broken, 2);
        assert_eq!(read(b"\n\xff\n123\n00000000\n", &mut broken), []);
    }

    #[test]
    fn mutants_of_lines_are_whole_or_broken() {
        let mut bytes = Vec::new();
        for json in [r#"{"a":1}"#, r#"{"b":"\u{e9}"}"#, "[]"] {
            push(&mut bytes, json);
        }
        fuzz(&Seeds::text([bytes]), |mutant, _| {
            let mut broken = 0;
            let whole = read(mutant, &mut broken);
            assert!(whole.len() as u64 + broken <= mutant.len() as u64);
            assert!(whole.iter().all(|line| line.start + line.len <= mutant.len()));
        });
    }
}
