//! The cold tier: Parquet files of old segments, each an object of an object store.
//!
//! Invariants:
//! - a place belongs to one store: an object in it names that store, and another one refuses it;
//! - an object is put only where there is none; one that is there already counts when its bytes are the same;
//! - what is put is durable and was read back before anyone relies on it;
//! - no call blocks for longer than [`ATTEMPTS`] times its bound and the pauses between: whatever the object store does.
//!
//! Not here: which segments go there, and when (see `upkeep`).

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use heimdall_journal::disk::DiskFile;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::Runtime;

use crate::store::StoreError;

/// Times a call is tried before it fails, and the pause before the second; each later one is twice as long.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for one try of a read, and of putting a whole object.
const READ_MAX: Duration = Duration::from_secs(30);
const PUT_MAX: Duration = Duration::from_secs(600);
/// Larger objects are put in parts of this size: memory holds one of them.
const PART_BYTES: usize = 16 << 20;
/// Threads that wait for the object store.
const THREADS: usize = 2;
/// The object that says whose place it is.
const OWNER: &str = "heimdall-store";

/// An object store in which old segments are kept. Clones are the same one.
#[derive(Clone)]
pub struct Cold(Arc<Inner>);

struct Inner {
    objects: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    name: String,
    /// Of a store that is a folder of this machine: it has to be told to make files durable.
    folder: Option<PathBuf>,
    /// Its own, because callers may be threads of another. `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The last user may be a thread that must not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cold").field(&self.0.name).finish()
    }
}

impl Cold {
    /// The object store that a URL means: `file:///folder`, a folder relative to `base`, or `s3://bucket/prefix`, whose
    /// key, region and endpoint come from the usual environment variables (`AWS_ACCESS_KEY_ID`, …). Nothing is looked at
    /// but that a folder can be made.
    ///
    /// # Errors
    /// The URL cannot be used; the error names it.
    pub fn open(url: &str, base: &Path) -> Result<Cold, StoreError> {
        let wrong = |detail: String| StoreError::Cold { url: url.to_owned(), detail };
        if let Some(bucket) = url.strip_prefix("s3://") {
            return Cold::bucket(url, bucket);
        }
        let folder = match url.strip_prefix("file://") {
            Some(path) if Path::new(path).is_absolute() => PathBuf::from(path),
            Some(_) => return Err(wrong("a file URL is `file:///folder`".to_owned())),
            None if url.contains("://") => {
                return Err(wrong("it is neither `file:///…`, `s3://…` nor a folder".to_owned()));
            }
            None => base.join(url),
        };
        std::fs::create_dir_all(&folder).map_err(|source| StoreError::io(&folder, source))?;
        let objects = object_store::local::LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| wrong(error.to_string()))?;
        let name = folder.display().to_string();
        Cold::new(Arc::new(objects), ObjectPath::default(), name, Some(folder))
    }

    #[cfg(feature = "cloud")]
    fn bucket(url: &str, bucket: &str) -> Result<Cold, StoreError> {
        let wrong = |detail: String| StoreError::Cold { url: url.to_owned(), detail };
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let objects = object_store::aws::AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let prefix = ObjectPath::parse(prefix).map_err(|error| wrong(error.to_string()))?;
        Cold::new(Arc::new(objects), prefix, url.trim_end_matches('/').to_owned(), None)
    }

    #[cfg(not(feature = "cloud"))]
    fn bucket(url: &str, _bucket: &str) -> Result<Cold, StoreError> {
        let detail = "this program was built without the feature `cloud`".to_owned();
        Err(StoreError::Cold { url: url.to_owned(), detail })
    }

    /// Any object store, shown as `name`.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn of(objects: Arc<dyn ObjectStore>, name: &str) -> Result<Cold, StoreError> {
        Cold::new(objects, ObjectPath::default(), name.to_owned(), None)
    }

    fn new(
        objects: Arc<dyn ObjectStore>,
        prefix: ObjectPath,
        name: String,
        folder: Option<PathBuf>,
    ) -> Result<Cold, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("store-cold")
            .enable_all()
            .build()
            .map_err(|source| StoreError::io(Path::new(&name), source))?;
        Ok(Cold(Arc::new(Inner { objects, prefix, name, folder, runtime: Some(runtime) })))
    }

    /// How an object is shown.
    pub(crate) fn path(&self, object: &str) -> PathBuf {
        Path::new(&self.0.name).join(object)
    }

    fn key(&self, object: &str) -> ObjectPath {
        self.0.prefix.clone().join(object)
    }

    /// Tries a call until it succeeds or it is of no use to try again; waits for it.
    fn wait<T, F>(
        &self,
        max: Duration,
        call: impl Fn(Arc<dyn ObjectStore>) -> F + Send + Sync + 'static,
    ) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>> + Send,
    {
        let closed = || io::Error::other("the object store is closed");
        let (done, outcome) = sync_channel(1);
        let objects = Arc::clone(&self.0.objects);
        self.0.runtime.as_ref().ok_or_else(closed)?.spawn(async move {
            // Nobody waits any more only when the program ends.
            let _ = done.send(attempts(max, || call(Arc::clone(&objects))).await);
        });
        outcome.recv().unwrap_or_else(|_| Err(closed()))
    }

    /// The `length` bytes at `offset` of an object. Errors: `UnexpectedEof` when it ends before.
    pub(crate) fn read(&self, object: &str, offset: u64, length: usize) -> io::Result<Bytes> {
        let (key, end) = (self.key(object), offset.saturating_add(length as u64));
        let bytes = self.wait(READ_MAX, move |objects| {
            let key = key.clone();
            async move { objects.get_range(&key, offset..end).await }
        })?;
        metrics::counter!("store_cold_reads_total").increment(1);
        metrics::counter!("store_cold_bytes_total").increment(bytes.len() as u64);
        if bytes.len() != length {
            let detail = format!("{} of {length} bytes at byte {offset}", bytes.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, detail));
        }
        Ok(bytes)
    }

    /// Makes this the place of store `id`, if it is not yet.
    pub(crate) fn claim(&self, id: &str) -> io::Result<()> {
        let (key, body) = (self.key(OWNER), Bytes::from(format!("{id}\n")));
        let put = self.wait(READ_MAX, move |objects| {
            let (key, body) = (key.clone(), body.clone());
            async move { objects.put_opts(&key, body.into(), PutMode::Create.into()).await.map(|_| ()) }
        });
        match put {
            Ok(()) => self.sync(OWNER),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let key = self.key(OWNER);
                let owner = self.wait(READ_MAX, move |objects| {
                    let key = key.clone();
                    async move { objects.get(&key).await?.bytes().await }
                })?;
                if owner.trim_ascii() == id.as_bytes() {
                    return Ok(());
                }
                Err(io::Error::other("it belongs to the store of another data folder"))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts a file of `len` bytes; on return its object is durable and has the checksum.
    /// Errors: `InvalidData` when the file itself has not.
    pub(crate) fn put(&self, object: &str, file: Arc<dyn DiskFile>, len: u64, crc32c: u32) -> io::Result<()> {
        if sum(len, |buffer, offset| exactly(file.as_ref(), buffer, offset))? != crc32c {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the checksum differs from the manifest's",
            ));
        }
        match self.create(object, &file, len, PutMode::Create) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by a crash between the put and the manifest.
                if self.has(object, len, crc32c)? {
                    return self.sync(object);
                }
                tracing::warn!(object, "replaced an unfinished object of the cold tier");
                self.create(object, &file, len, PutMode::Overwrite)?;
            }
            other => other?,
        }
        self.sync(object)?;
        if self.has(object, len, crc32c)? {
            return Ok(());
        }
        Err(io::Error::other("what was put into the cold tier does not read back the same"))
    }

    /// Whether the object has these bytes.
    pub(crate) fn has(&self, object: &str, len: u64, crc32c: u32) -> io::Result<bool> {
        let key = self.key(object);
        let found = self.wait(READ_MAX, move |objects| {
            let key = key.clone();
            async move { objects.head(&key).await }
        })?;
        let read = |buffer: &mut [u8], offset: u64| {
            buffer.copy_from_slice(&self.read(object, offset, buffer.len())?);
            Ok(())
        };
        Ok(found.size == len && sum(len, read)? == crc32c)
    }

    fn create(&self, object: &str, file: &Arc<dyn DiskFile>, len: u64, mode: PutMode) -> io::Result<()> {
        let (key, file) = (self.key(object), Arc::clone(file));
        let whole = usize::try_from(len).ok().filter(|len| *len <= PART_BYTES);
        let Some(len) = whole else { return self.create_in_parts(key, file, len, mode) };
        self.wait(PUT_MAX, move |objects| {
            let (key, file, mode) = (key.clone(), Arc::clone(&file), mode.clone());
            async move {
                let body = part(file.as_ref(), 0, len)?;
                objects.put_opts(&key, body.into(), PutOptions::from(mode)).await.map(|_| ())
            }
        })
    }

    /// As [`Cold::create`]. An object that comes to be there meanwhile is replaced: parts know no condition. The place is
    /// ours alone, and so is the number in the object's name.
    fn create_in_parts(
        &self,
        key: ObjectPath,
        file: Arc<dyn DiskFile>,
        len: u64,
        mode: PutMode,
    ) -> io::Result<()> {
        self.wait(PUT_MAX, move |objects| {
            let (key, file, mode) = (key.clone(), Arc::clone(&file), mode.clone());
            async move {
                if matches!(mode, PutMode::Create) {
                    match objects.head(&key).await {
                        Err(object_store::Error::NotFound { .. }) => {}
                        Err(error) => return Err(error),
                        Ok(_) => {
                            let source = Box::<dyn std::error::Error + Send + Sync>::from("it is there");
                            return Err(object_store::Error::AlreadyExists { path: key.to_string(), source });
                        }
                    }
                }
                let mut upload = objects.put_multipart(&key).await?;
                let mut at = 0;
                while at < len {
                    let next = usize::try_from(len - at).unwrap_or(PART_BYTES).min(PART_BYTES);
                    let sent = match part(file.as_ref(), at, next) {
                        Ok(body) => upload.put_part(body.into()).await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = sent {
                        let _ = upload.abort().await;
                        return Err(error);
                    }
                    at += next as u64;
                }
                upload.complete().await.map(|_| ())
            }
        })
    }

    /// Makes an object of a folder durable; others are when their put is answered.
    fn sync(&self, object: &str) -> io::Result<()> {
        let Some(folder) = &self.0.folder else { return Ok(()) };
        std::fs::File::open(folder.join(object))?.sync_all()?;
        std::fs::File::open(folder)?.sync_all()
    }

    /// Removes an object soon; after a crash the next start does. Does not wait: the caller may be a query.
    pub(crate) fn remove_later(&self, object: &str) {
        let (key, objects, object) = (self.key(object), Arc::clone(&self.0.objects), object.to_owned());
        let Some(runtime) = &self.0.runtime else { return };
        runtime.spawn(async move {
            if let Err(error) = attempts(READ_MAX, || objects.delete(&key)).await
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(object, %error, "could not remove an object of the cold tier");
            }
        });
    }

    /// Removes the objects of segments that are not `kept`.
    pub(crate) fn remove_orphans(&self, kept: &dyn Fn(&str) -> bool) -> io::Result<usize> {
        let prefix = self.0.prefix.clone();
        let found = self.wait(PUT_MAX, move |objects| {
            let prefix = prefix.clone();
            async move {
                let list = objects.list(Some(&prefix));
                list.map_ok(|meta| meta.location.filename().unwrap_or_default().to_owned())
                    .try_collect::<Vec<String>>()
                    .await
            }
        })?;
        let is_ours = |name: &String| name.ends_with(".parquet");
        if let Some(folder) = &self.0.folder {
            remove_unfinished(folder)?;
        }
        let orphans: Vec<String> = found.into_iter().filter(|name| is_ours(name) && !kept(name)).collect();
        for object in &orphans {
            tracing::info!(object, "removed an object of the cold tier that no manifest names");
            self.remove_later(object);
        }
        Ok(orphans.len())
    }
}

/// Removes files that were being written to a folder when the process ended: `name.parquet#number`.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".parquet#")) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

async fn attempts<T, F>(max: Duration, call: impl Fn() -> F) -> io::Result<T>
where
    F: Future<Output = object_store::Result<T>>,
{
    let mut pause = PAUSE;
    for attempt in 1.. {
        let error = match tokio::time::timeout(max, call()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if !is_transient(&error) => return Err(io_error(error)),
            Ok(Err(error)) => io_error(error),
            Err(_) => {
                io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", max.as_secs()))
            }
        };
        if attempt == ATTEMPTS {
            return Err(error);
        }
        metrics::counter!("store_cold_retries_total").increment(1);
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    unreachable!("the last attempt returns")
}

fn is_transient(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { .. } | object_store::Error::JoinError { .. })
}

fn io_error(error: object_store::Error) -> io::Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } => io::ErrorKind::NotFound,
        object_store::Error::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// CRC-32C of `len` bytes, read piece by piece.
fn sum(len: u64, mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>) -> io::Result<u32> {
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(PART_BYTES).min(PART_BYTES)];
    let (mut at, mut crc) = (0, 0);
    while at < len {
        let next = usize::try_from(len - at).unwrap_or(PART_BYTES).min(PART_BYTES);
        read(&mut buffer[..next], at)?;
        crc = crc32c::crc32c_append(crc, &buffer[..next]);
        at += next as u64;
    }
    Ok(crc)
}

fn exactly(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let read = file.read_at(buffer, offset)?;
    if read == buffer.len() {
        return Ok(());
    }
    let detail = format!("{read} of {} bytes at byte {offset}", buffer.len());
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, detail))
}

fn part(file: &dyn DiskFile, offset: u64, length: usize) -> object_store::Result<Bytes> {
    let mut body = vec![0; length];
    let read = exactly(file, &mut body, offset);
    read.map(|()| body.into())
        .map_err(|source| object_store::Error::Generic { store: "local file", source: Box::new(source) })
}
