//! Audit files of measured values: `<dir>/<tenant>/<service>.log`, one line per assessment.
//!
//! Invariants:
//! - a line is written whole to the file of its tenant and service and to no other; a line break inside becomes a space;
//! - whatever a service is called, its file lies in the folder of its tenant;
//! - open files, files and bytes per file are bounded; lines of services beyond the bound share `overflow~.log`.
//!
//! Not here: the text of a line (see `heimdall-detect`). Durability: lines are in the files after `flush`, and are not synced.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use heimdall_model::Tenant;
use ring::digest;

use crate::hex;

/// Longest encoded service name used as a file name (bytes); a longer one is cut and gets a hash.
const NAME_BYTES_MAX: usize = 150;
/// File of the services beyond [`AssessmentLogConfig::services_max`]; `~` never appears in an encoded name.
const OVERFLOW_NAME: &str = "overflow~";
/// Buffer of one open file (bytes).
const BUFFER_BYTES: usize = 8 * 1024;

/// Limits of the audit files.
#[derive(Debug, Clone)]
pub struct AssessmentLogConfig {
    /// Folder of the files; created when absent.
    pub dir: PathBuf,
    /// A file that reaches this is set aside (bytes; default 64 MiB).
    pub file_bytes_max: u64,
    /// Files set aside per service (`.log.1` is the newest; default 4); older ones are deleted.
    pub files_kept: u32,
    /// Files open at once (default 128); the least recently used is closed first.
    pub open_files_max: usize,
    /// Services with a file of their own, over all tenants (default 10,000); the others share one file per tenant.
    pub services_max: usize,
}

impl AssessmentLogConfig {
    /// The defaults, for files in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        AssessmentLogConfig {
            dir: dir.into(),
            file_bytes_max: 64 * 1024 * 1024,
            files_kept: 4,
            open_files_max: 128,
            services_max: 10_000,
        }
    }
}

/// Tenant and file name without extension.
type FileKey = (Tenant, String);

struct OpenFile {
    writer: BufWriter<File>,
    bytes: u64,
    used_at: u64,
}

/// The audit files. One writer: a server has one of these.
pub struct AssessmentLog {
    config: AssessmentLogConfig,
    // INVARIANT: at most `config.open_files_max`.
    open: HashMap<FileKey, OpenFile>,
    // INVARIANT: at most `config.services_max`.
    services: HashSet<FileKey>,
    uses: u64,
}

impl AssessmentLog {
    /// Prepares the folder.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open(config: AssessmentLogConfig) -> std::io::Result<AssessmentLog> {
        std::fs::create_dir_all(&config.dir)?;
        Ok(AssessmentLog { config, open: HashMap::new(), services: HashSet::new(), uses: 0 })
    }

    /// Appends one line (without its end) to the file of this tenant and service.
    ///
    /// # Errors
    /// The file cannot be opened, set aside or written; the line may be lost, later ones may succeed.
    pub fn append(&mut self, tenant: &Tenant, service: &str, line: &str) -> std::io::Result<()> {
        let key = self.key(tenant, service);
        if !self.open.contains_key(&key) {
            self.make_room()?;
            let file = open_file(&self.config.dir, &key)?;
            self.open.insert(key.clone(), file);
        }
        self.uses += 1;
        let file = self.open.get_mut(&key).expect("inserted above when absent");
        file.used_at = self.uses;
        file.bytes += write_line(&mut file.writer, line)?;
        if file.bytes >= self.config.file_bytes_max {
            self.set_aside(&key)?;
        }
        Ok(())
    }

    /// Hands all buffered lines to the system.
    ///
    /// # Errors
    /// The first failure; the other files are flushed all the same.
    pub fn flush(&mut self) -> std::io::Result<()> {
        let failures: Vec<_> = self.open.values_mut().filter_map(|file| file.writer.flush().err()).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    fn key(&mut self, tenant: &Tenant, service: &str) -> FileKey {
        let key = (tenant.clone(), file_name(service));
        if self.services.contains(&key) {
            return key;
        }
        if self.services.len() < self.config.services_max {
            self.services.insert(key.clone());
            return key;
        }
        (tenant.clone(), OVERFLOW_NAME.to_owned())
    }

    /// Closes the least recently used file when the bound is reached. Cost: O(open files), rare.
    fn make_room(&mut self) -> std::io::Result<()> {
        if self.open.len() < self.config.open_files_max {
            return Ok(());
        }
        let oldest = self.open.iter().min_by_key(|(_, file)| file.used_at).map(|(key, _)| key.clone());
        match oldest.and_then(|key| self.open.remove(&key)) {
            Some(mut file) => file.writer.flush(),
            None => Ok(()),
        }
    }

    /// Renames `.log` to `.log.1`, `.log.1` to `.log.2` and so on; the last one kept is replaced.
    fn set_aside(&mut self, key: &FileKey) -> std::io::Result<()> {
        if let Some(mut file) = self.open.remove(key) {
            file.writer.flush()?;
        }
        let path = file_path(&self.config.dir, key);
        if self.config.files_kept == 0 {
            return std::fs::remove_file(path);
        }
        let aside = |n: u32| PathBuf::from(format!("{}.{n}", path.display()));
        for n in (1..self.config.files_kept).rev() {
            match std::fs::rename(aside(n), aside(n + 1)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&path, aside(1))
    }
}

fn open_file(dir: &Path, key: &FileKey) -> std::io::Result<OpenFile> {
    let path = file_path(dir, key);
    std::fs::create_dir_all(dir.join(key.0.as_str()))?;
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok(OpenFile { writer: BufWriter::with_capacity(BUFFER_BYTES, file), bytes, used_at: 0 })
}

fn file_path(dir: &Path, (tenant, name): &FileKey) -> PathBuf {
    dir.join(tenant.as_str()).join(format!("{name}.log"))
}

fn write_line(writer: &mut impl Write, line: &str) -> std::io::Result<u64> {
    let is_break = |c: char| c == '\n' || c == '\r';
    if line.contains(is_break) {
        writer.write_all(line.replace(is_break, " ").as_bytes())?;
    } else {
        writer.write_all(line.as_bytes())?;
    }
    writer.write_all(b"\n")?;
    Ok(line.len() as u64 + 1)
}

/// File name of a service: letters, digits, `_`, `-` and inner dots stay, other bytes become `%XX`.
fn file_name(service: &str) -> String {
    let mut name = String::with_capacity(service.len());
    for (index, byte) in service.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if index > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.is_empty() {
        return "%".to_owned();
    }
    if name.len() > NAME_BYTES_MAX {
        let hash = digest::digest(&digest::SHA256, service.as_bytes());
        name.truncate(NAME_BYTES_MAX);
        name = format!("{name}~{}", hex::encode(&hash.as_ref()[..8]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &Path, change: impl Fn(&mut AssessmentLogConfig)) -> AssessmentLog {
        let mut config = AssessmentLogConfig::new(dir);
        change(&mut config);
        AssessmentLog::open(config).unwrap()
    }

    fn read(path: PathBuf) -> String {
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn names_stay_in_their_folder_and_apart() {
        for (service, name) in [
            ("AUTH-API", "AUTH-API"),
            ("a.b", "a.b"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("..", "%2E."),
            ("", "%"),
            ("%", "%25"),
            ("a b\n", "a%20b%0A"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(file_name(service), name, "{service}");
        }
        let (long, longer) = (file_name(&"x".repeat(300)), file_name(&"x".repeat(301)));
        assert!(long != longer && long.len() < 200, "{long}");
    }

    #[test]
    fn lines_are_segregated_by_tenant_and_service_with_few_files_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), |config| config.open_files_max = 2);
        let (a, b) = (Tenant::new("a").unwrap(), Tenant::new("b").unwrap());
        for round in 0..3 {
            for (tenant, service) in [(&a, "AUTH-API"), (&a, "CORE-DB"), (&b, "AUTH-API")] {
                log.append(tenant, service, &format!("{tenant} {service}\n{round}")).unwrap();
            }
        }
        assert_eq!(log.open.len(), 2);
        log.flush().unwrap();
        assert_eq!(read(dir.path().join("a/AUTH-API.log")), "a AUTH-API 0\na AUTH-API 1\na AUTH-API 2\n");
        assert_eq!(read(dir.path().join("b/AUTH-API.log")), "b AUTH-API 0\nb AUTH-API 1\nb AUTH-API 2\n");
    }

    #[test]
    fn full_files_are_set_aside_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), |config| (config.file_bytes_max, config.files_kept) = (4, 2));
        for line in ["one", "two", "six", "x"] {
            log.append(&Tenant::default(), "s", line).unwrap();
        }
        log.flush().unwrap();
        let file = |end: &str| dir.path().join("default").join(format!("s.log{end}"));
        assert_eq!([read(file("")), read(file(".1")), read(file(".2"))], ["x\n", "six\n", "two\n"]);
        assert!(!file(".3").exists());
    }

    #[test]
    fn services_beyond_the_bound_share_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), |config| config.services_max = 1);
        for service in ["one", "two", "three", "one"] {
            log.append(&Tenant::default(), service, service).unwrap();
        }
        log.flush().unwrap();
        assert_eq!(read(dir.path().join("default/one.log")), "one\none\n");
        assert_eq!(read(dir.path().join("default/overflow~.log")), "two\nthree\n");
    }
}
