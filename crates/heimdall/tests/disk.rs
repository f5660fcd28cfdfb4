//! The real binary on a disk that is full, read-only or failing, and two servers on one folder.
//!
//! What must hold on each: no crash, an error that says what is wrong, and every acknowledged record exactly once.
//!
//! These tests mount small file systems, which needs root; without it they skip themselves and say so.

use std::path::Path;

use heimdall_testkit::{Builder, Command, Finished, Server, Tool, skip};
use serde_json::json;
use tempfile::TempDir;

const BIN: &str = env!("CARGO_BIN_EXE_heimdall");
const MIB: usize = 1 << 20;
const BATCH_RECORDS: u64 = 50;
/// A few hundred batches fill the disk.
const MESSAGE_BYTES: usize = 4_000;
/// Far more than the disk holds.
const BATCHES_MAX: usize = 1_000;

#[test]
fn a_full_disk_refuses_and_recovers() {
    let Some(disk) = Mount::tmpfs("size=96m") else { skip!("no file system could be mounted (not root?)") };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 64 * MIB]).expect("there is room");
    let mut server = small_server(&disk.path().join("data"))
        .env("HEIMDALL_JOURNAL__FILE_BYTES_MAX", "2MiB")
        .env("HEIMDALL_STORE__FLUSH_ROWS", "1000")
        .start();
    let mut sender = Sender::default();
    fill(&server, &mut sender);
    assert!(sender.acknowledged.len() > 1_000, "{} records fitted", sender.acknowledged.len());
    assert_eq!(server.get_json("/health")["status"], "degraded");
    assert_eq!(server.get("/livez").status, 200);
    check_records(&server, &sender);

    // A crash and a stop on the full disk, and a start on it.
    server.kill9();
    server.restart();
    server.restart();
    check_records(&server, &sender);

    std::fs::remove_file(&ballast).expect("it is there");
    server.wait_for("records to be taken again", |server| (sender.send(server) == Ok(())).then_some(()));
    server.wait_for("the server to be ready again", |server| {
        (server.get("/readyz").status == 200).then_some(())
    });
    server.wait_for("segments to be written again", |server| {
        server.get_json("/api/v1/status")["stream"]["trouble"].is_null().then_some(())
    });
    check_records(&server, &sender);
    server.restart();
    check_records(&server, &sender);
    check_log(&server);
}

#[test]
fn a_read_only_folder_is_named() {
    let Some(disk) = Mount::tmpfs("size=32m") else { skip!("no file system could be mounted (not root?)") };
    let data = disk.path().join("data");
    let mut server = small_server(&data).start();
    let mut sender = Sender::default();
    assert_eq!(sender.send(&server), Ok(()));
    assert!(server.terminate().success());

    disk.remount("remount,ro");
    for dir in [data, disk.path().join("absent")] {
        let failed = serve(&dir).expect(1);
        let named = failed.stderr.contains(&format!("`{}", dir.display()));
        assert!(named && failed.stderr.contains("Read-only file system"), "{}", failed.stderr);
        check_words(&failed.stderr);
    }

    disk.remount("remount,rw");
    server.restart();
    check_records(&server, &sender);
}

#[test]
fn a_disk_that_fails_under_the_server_loses_nothing() {
    let Some(mut disk) = Mount::ext4() else {
        skip!("no loop device with an ext4 file system could be mounted (not root?)")
    };
    let mut server = small_server(&disk.path().join("data")).env("HEIMDALL_STORE__FLUSH_ROWS", "120").start();
    let mut sender = Sender::default();
    for _ in 0..8 {
        assert_eq!(sender.send(&server), Ok(()));
    }
    // Else what is not judged yet would wait for a segment that cannot be written.
    check_records(&server, &sender);
    // What the kernel does when the device under it fails: read-only at once, with files open for writing.
    disk.remount("remount,abort");
    assert_eq!(sender.send(&server), Err("journal_latched".to_owned()));
    assert_eq!(sender.send(&server), Err("journal_latched".to_owned()));
    assert_eq!(server.get_json("/health")["status"], "degraded");
    let not_ready = server.get("/readyz");
    assert_eq!((not_ready.status, &not_ready.json()["code"]), (503, &json!("not_ready")));
    check_records(&server, &sender);
    server.terminate();
    check_log(&server);

    disk.mount_again();
    server.restart();
    check_records(&server, &sender);
    assert_eq!(sender.send(&server), Ok(()));
    check_records(&server, &sender);
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let mut server = Server::builder(BIN).env("HEIMDALL_STORE__FLUSH_ROWS", "120").start();
    let mut sender = Sender::default();
    for _ in 0..10 {
        assert_eq!(sender.send(&server), Ok(()));
        let refused = serve(server.data_dir()).expect(1);
        let reason =
            format!("another server is running on the data folder `{}`", server.data_dir().display());
        assert!(refused.stderr.contains(&reason), "{}", refused.stderr);
    }
    // It once opened the store before it was refused, and removed the segments that were just being written.
    check_records(&server, &sender);
    server.restart();
    check_records(&server, &sender);
}

// ---- records ------------------------------------------------------------------------------------------------------

/// Sends numbered records that do not compress, and keeps the numbers of the acknowledged ones.
#[derive(Default)]
struct Sender {
    next_id: u64,
    acknowledged: Vec<u64>,
}

impl Sender {
    /// Sends a batch; the code of the problem when it is refused.
    fn send(&mut self, server: &Server) -> Result<(), String> {
        let ids = self.next_id..self.next_id + BATCH_RECORDS;
        self.next_id = ids.end;
        let line = |n: u64| json!({"service": "orders", "level": "info", "message": noise(n), "n": n});
        let body: String = ids.clone().map(|n| format!("{}\n", line(n))).collect();
        let response = server.request("POST", "/api/v1/ingest/logs", &[], body);
        let answer = response.json();
        if response.status == 200 {
            assert_eq!(answer["accepted"], BATCH_RECORDS, "{answer}");
            self.acknowledged.extend(ids);
            return Ok(());
        }
        assert_eq!(response.status, 503, "{answer}");
        let retry_after = response.header("Retry-After").and_then(|text| text.parse::<u32>().ok());
        assert!(retry_after.is_some_and(|seconds| seconds > 0), "Retry-After: {retry_after:?}");
        Err(answer["code"].as_str().expect("a problem has a code").to_owned())
    }
}

fn noise(n: u64) -> String {
    let mut state = n;
    let mut text = String::with_capacity(MESSAGE_BYTES + 16);
    while text.len() < MESSAGE_BYTES {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        text.push_str(&format!("{:016x}", mixed ^ (mixed >> 27)));
    }
    text
}

/// Sends until there is no room and the server says that it is not ready for want of it: once a refusal may pass, as
/// segments take less room than the journal they release.
fn fill(server: &Server, sender: &mut Sender) {
    for _ in 0..BATCHES_MAX {
        let Err(code) = sender.send(server) else { continue };
        assert_eq!(code, "disk_full");
        let readiness = server.get("/readyz");
        if readiness.status == 503 {
            let detail = readiness.json()["detail"].to_string();
            assert!(detail.contains("the disk is full"), "{detail}");
            return;
        }
    }
    panic!("the disk never was full");
}

/// Every acknowledged record is found once, and no other.
#[track_caller]
fn check_records(server: &Server, sender: &Sender) {
    let found = server.wait_for("what is acknowledged to be findable", |server| {
        let mut found: Vec<u64> = Vec::new();
        for from in (0..sender.next_id).step_by(5_000) {
            let rows = server.query(&format!("n>={from} n<{} | fields n", from + 5_000));
            found.extend(rows.iter().map(|row| row[0].as_u64().expect("an id")));
        }
        (found.len() >= sender.acknowledged.len()).then_some(found)
    });
    let mut found = found;
    found.sort_unstable();
    assert!(
        found == sender.acknowledged,
        "{} found, {} acknowledged",
        found.len(),
        sender.acknowledged.len()
    );
}

/// The server did not panic, and its log is for people.
#[track_caller]
fn check_log(server: &Server) {
    check_words(&server.stderr());
}

#[track_caller]
fn check_words(log: &str) {
    assert!(!log.contains("panicked") && !log.contains("RUST_BACKTRACE"), "{log}");
}

/// For a small disk: the default reserve is as large as one.
fn small_server(data_dir: &Path) -> Builder {
    Server::builder(BIN).data_dir(data_dir).env("HEIMDALL_JOURNAL__DISK_RESERVE", "8MiB")
}

fn serve(dir: &Path) -> Finished {
    Command::new(BIN).args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir).run()
}

// ---- file systems -------------------------------------------------------------------------------------------------

/// A small file system of its own, unmounted when dropped: declare it before the server on it.
struct Mount {
    // Holds the mount point and the image, both gone with it.
    dir: TempDir,
    image: Option<String>,
}

impl Mount {
    /// In memory. `None` when it cannot be mounted.
    fn tmpfs(options: &str) -> Option<Mount> {
        let mount = Mount::point(None);
        mount.call(&["-t", "tmpfs", "-o", options, "tmpfs"]).then_some(mount)
    }

    /// In a file. `None` when it cannot be made or mounted.
    fn ext4() -> Option<Mount> {
        let mkfs = Tool::find("mkfs.ext4")?;
        let mut mount = Mount::point(None);
        let image = mount.dir.path().join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("a sparse file");
        let image = image.to_str().expect("temporary paths are UTF-8").to_owned();
        let made = mkfs.command().args(["-q", "-F", &image]).run();
        mount.image = (made.code == Some(0)).then_some(image);
        let image = mount.image.clone()?;
        mount.call(&["-o", "loop", &image]).then_some(mount)
    }

    fn point(image: Option<String>) -> Mount {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("mnt")).expect("a folder in it");
        Mount { dir, image }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("mnt")
    }

    fn call(&self, args: &[&str]) -> bool {
        let Some(mount) = Tool::find("mount") else { return false };
        mount.command().args(args).arg(self.path()).run().code == Some(0)
    }

    #[track_caller]
    fn remount(&self, options: &str) {
        assert!(self.call(&["-o", options]), "mount -o {options}");
    }

    /// As after a restart of the machine: what was not synced is gone.
    fn mount_again(&mut self) {
        self.unmount();
        let image = self.image.clone().expect("only a file can be mounted again");
        assert!(self.call(&["-o", "loop", &image]), "mount {image}");
    }

    fn unmount(&self) {
        let done = Command::new("umount").arg(self.path()).run();
        if done.code != Some(0) {
            // Something still holds it: at least it leaves the tree.
            let _ = Command::new("umount").arg("-l").arg(self.path()).run();
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.unmount();
    }
}
