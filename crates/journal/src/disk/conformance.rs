//! What every [`Disk`] must do, checked on the real thing.

use super::{Disk, DiskFile};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Checks a disk. `make` returns it with an absolute folder for the suite's own use, whose parent may be absent.
///
/// # Panics
/// When the disk does not conform.
pub fn conformance<D: Disk>(make: impl Fn() -> (D, PathBuf)) {
    let (disk, root) = make();
    let dir = root.join("conformance").join("deep");
    names(&disk, &dir);
    bytes(&disk, &dir);
    locks(&disk, &dir);
}

fn names(disk: &dyn Disk, dir: &Path) {
    assert_eq!(disk.list(dir).expect_err("absent folder").kind(), ErrorKind::NotFound);
    disk.create_dir_all(dir).expect("create folder");
    disk.create_dir_all(dir).expect("creating what exists is fine");
    assert_eq!(disk.list(dir).expect("list"), Vec::<String>::new());

    let (a, b) = (dir.join("a"), dir.join("b"));
    assert_eq!(disk.open_append(&a).err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    assert_eq!(disk.open_read(&a).err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    disk.create(&b).expect("create");
    disk.create(&a).expect("create");
    assert_eq!(disk.create(&a).err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
    assert_eq!(disk.list(dir).expect("list"), ["a", "b"]);
    assert_eq!(
        disk.list(dir.parent().expect("has a parent")).expect("list"),
        Vec::<String>::new(),
        "folders are left out"
    );

    disk.rename(&a, &b).expect("rename replaces");
    disk.sync_dir(dir).expect("sync folder");
    assert_eq!(disk.list(dir).expect("list"), ["b"]);
    disk.remove(&b).expect("remove");
    disk.remove(&b).expect("removing what is absent is fine");
    assert_eq!(disk.list(dir).expect("list"), Vec::<String>::new());
    assert!(disk.free_bytes(dir).expect("free bytes") > 0);
}

fn bytes(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("bytes");
    let file = disk.create(&path).expect("create");
    assert!(file.is_empty().expect("length"));
    file.append(&[b"he", b"", b"llo"]).expect("append");
    file.append(&[]).expect("append nothing");
    let many: Vec<&[u8]> = vec![b"x"; 3000];
    file.append(&many).expect("append more parts than one system call takes");
    assert_eq!(file.len().expect("length"), 3005);
    file.truncate(4).expect("truncate");
    file.append(&[b"!"]).expect("append continues at the cut");
    file.sync().expect("sync");
    assert_eq!(read(&*file), "hell!");

    let random = disk.open_random(&path).expect("open");
    random.will_read(2, 100);
    random.will_read(0, 0);
    assert_eq!(read(&*random), "hell!");
    assert_eq!(
        disk.open_random(&dir.join("none")).err().map(|error| error.kind()),
        Some(ErrorKind::NotFound)
    );

    let reader = disk.open_read(&path).expect("open");
    disk.rename(&path, &dir.join("moved")).expect("rename");
    disk.open_append(&dir.join("moved")).expect("open").append(&[b"?"]).expect("append");
    assert_eq!(read(&*reader), "hell!?", "a handle follows the file");
    disk.remove(&dir.join("moved")).expect("remove");
    assert_eq!(read(&*reader), "hell!?", "a handle outlives the name");
    let mut past = [0; 4];
    assert_eq!(reader.read_at(&mut past, 4).expect("read"), 2);
    assert_eq!(reader.read_at(&mut past, 100).expect("read past the end"), 0);
}

fn locks(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("LOCK");
    let lock = disk.lock(&path).expect("lock");
    assert_eq!(disk.lock(&path).err().map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    drop(lock);
    disk.lock(&path).expect("free again");
}

fn read(file: &dyn DiskFile) -> String {
    let mut buffer = vec![0; usize::try_from(file.len().expect("length")).expect("small")];
    let read = file.read_at(&mut buffer, 0).expect("read");
    assert_eq!(read, buffer.len());
    String::from_utf8(buffer).expect("text")
}
