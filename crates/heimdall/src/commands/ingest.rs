//! `heimdall ingest FILE|-`: sends a log file in acknowledged batches, and goes on where an interrupted run stopped.
//!
//! Invariants:
//! - a batch is whole records, and its idempotency key is its place in the file: sending it again after an interruption
//!   adds nothing;
//! - the saved offset is behind every acknowledged batch and before every other.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream};
use heimdall_ingest::format::{self, Format};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::say;
use crate::args::{IngestArgs, LineFormat};
use crate::client::{Client, problem};

/// Bytes of lines sent at once.
const BATCH_BYTES: usize = 2 << 20;
/// Requests under way at once.
const REQUESTS_MAX: usize = 4;
/// Lines looked at to find the format.
const SAMPLE_LINES: usize = 200;
/// Longest line; a longer one is sent in pieces.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Tries of a batch that the server refuses for now.
const TRIES_MAX: u32 = 60;

/// A piece of the input.
pub(super) struct Piece {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Offset of the first byte after it.
    end: u64,
}

#[derive(Default)]
struct Totals {
    accepted: u64,
    deduplicated: u64,
    rejected: u64,
    assigned: u64,
}

pub(crate) async fn run(args: IngestArgs) -> Result<()> {
    let client = Client::new(&args.remote)?;
    let mut input = Input::open(&args.file)?;
    let bookmark = Bookmark::of(&args.file, &input)?;
    let start = if args.restart { 0 } else { bookmark.as_ref().and_then(Bookmark::load).unwrap_or(0) };
    let format = match args.format {
        LineFormat::Auto => input.detect()?,
        LineFormat::Ndjson => Format::Ndjson,
        LineFormat::Syslog => Format::Syslog,
        LineFormat::Access => Format::Access,
        LineFormat::Logfmt => Format::Logfmt,
        LineFormat::Plain => Format::Plain,
    };
    input.skip_to(start)?;
    let bar = progress(&args, input.len, start);
    if !args.quiet {
        let from = if start > 0 { format!(", going on at byte {start}") } else { String::new() };
        eprintln!("{}: {format}{from}", args.file);
    }
    let totals = send_all(&client, &args, format, input, bookmark.as_ref(), &bar).await?;
    bar.finish_and_clear();
    if let Some(bookmark) = bookmark {
        bookmark.forget();
    }
    say(&format!(
        "accepted {}, deduplicated {}, rejected {}, without a time {}",
        totals.accepted, totals.deduplicated, totals.rejected, totals.assigned
    ));
    if totals.rejected > 0 {
        bail!("{} records were rejected; see above", totals.rejected);
    }
    Ok(())
}

async fn send_all(
    client: &Client,
    args: &IngestArgs,
    format: Format,
    mut input: Input,
    bookmark: Option<&Bookmark>,
    bar: &ProgressBar,
) -> Result<Totals> {
    let run_key = bookmark.map_or_else(random_key, |bookmark| Ok(bookmark.key.clone()))?;
    let pieces = stream::iter(std::iter::from_fn(|| input.next_piece(format).transpose()));
    let sent = pieces.map(|piece| {
        let key = run_key.clone();
        async move {
            let piece = piece?;
            let answer = send(client, args, format, &key, &piece).await?;
            Ok::<_, anyhow::Error>((piece.end, answer))
        }
    });
    let mut sent = std::pin::pin!(sent.buffered(REQUESTS_MAX));
    let mut totals = Totals::default();
    while let Some(outcome) = sent.next().await {
        let (end, answer) = outcome?;
        let count = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or(0);
        totals.accepted += count("accepted");
        totals.deduplicated += count("deduplicated");
        totals.assigned += count("timestamps_assigned");
        let rejected = answer.get("rejected").and_then(Value::as_array).cloned().unwrap_or_default();
        totals.rejected += count("rejected_total").max(rejected.len() as u64);
        for reject in rejected {
            bar.suspend(|| eprintln!("rejected: {reject}"));
        }
        bar.set_position(end);
        if let Some(bookmark) = bookmark {
            bookmark.save(end)?;
        }
    }
    Ok(totals)
}

/// Sends one piece until it is acknowledged, waiting as the server asks.
async fn send(client: &Client, args: &IngestArgs, format: Format, key: &str, piece: &Piece) -> Result<Value> {
    let mut wait = Duration::from_millis(200);
    for _ in 0..TRIES_MAX {
        let mut request = client
            .request(Method::POST, "/api/v1/ingest/logs")
            .query(&[("format", format.as_str())])
            .header("Idempotency-Key", format!("{key}-{}-{}", piece.end, piece.bytes.len()))
            .body(piece.bytes.clone());
        if let Some(service) = &args.service {
            request = request.query(&[("service", service)]);
        }
        match request.send().await {
            Ok(response) if is_passing(response.status()) => {
                let header =
                    response.headers().get("Retry-After").and_then(|v| v.to_str().ok()?.parse().ok());
                wait = header.map_or(wait, Duration::from_secs);
            }
            Ok(response) => {
                let status = response.status();
                let body: Value = response.json().await.unwrap_or_default();
                // 400 with counts: nothing in this piece was a record, and the receipt says why.
                if status.is_success() || body.get("rejected").is_some() {
                    return Ok(body);
                }
                bail!("{}", problem(status.as_u16(), &body));
            }
            Err(error) if error.is_connect() || error.is_timeout() || error.is_request() => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(10));
    }
    bail!(
        "the server did not take the batch before byte {} after {TRIES_MAX} tries; run the command again to go on",
        piece.end
    )
}

fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE
}

fn progress(args: &IngestArgs, len: Option<u64>, start: u64) -> ProgressBar {
    if args.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match len {
        Some(len) => ProgressBar::new(len).with_style(
            ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
                .expect("the template is right"),
        ),
        None => ProgressBar::new_spinner(),
    };
    bar.set_position(start);
    bar
}

fn random_key() -> Result<String> {
    let random = ring::rand::generate::<[u8; 16]>(&ring::rand::SystemRandom::new());
    let bytes = random.map_err(|_| anyhow::anyhow!("no random bytes"))?.expose();
    Ok(heimdall_model::matcher::to_hex(&bytes))
}

/// Lines of a file, a gzip file or standard input.
pub(super) struct Input {
    reader: Box<dyn BufRead + Send>,
    /// Bytes at the start that were read to find the format.
    peeked: Vec<u8>,
    /// First line of the next piece.
    held: Vec<u8>,
    at: u64,
    /// Length of a plain file.
    len: Option<u64>,
    seekable: Option<File>,
}

impl Input {
    pub(super) fn open(name: &str) -> Result<Input> {
        let plain = |reader: Box<dyn BufRead + Send>, len, seekable| Input {
            reader,
            peeked: Vec::new(),
            held: Vec::new(),
            at: 0,
            len,
            seekable,
        };
        if name == "-" {
            return Ok(plain(Box::new(BufReader::new(std::io::stdin())), None, None));
        }
        let file = File::open(name).with_context(|| format!("could not open `{name}`"))?;
        if Path::new(name).extension().is_some_and(|end| end == "gz") {
            let unpacked = flate2::read::MultiGzDecoder::new(BufReader::new(file));
            return Ok(plain(Box::new(BufReader::new(unpacked)), None, None));
        }
        let len = file.metadata()?.len();
        let reader = BufReader::with_capacity(BATCH_BYTES, file.try_clone()?);
        Ok(plain(Box::new(reader), Some(len), Some(file)))
    }

    /// Finds the format from the first lines, which stay to be sent.
    pub(super) fn detect(&mut self) -> Result<Format> {
        let mut lines = 0;
        while lines < SAMPLE_LINES && self.peeked.len() < LINE_BYTES_MAX {
            if self.reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut self.peeked)? == 0 {
                break;
            }
            lines += 1;
        }
        let text = String::from_utf8_lossy(&self.peeked);
        let sample: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        Ok(format::detect(&sample))
    }

    fn skip_to(&mut self, offset: u64) -> Result<()> {
        match &mut self.seekable {
            Some(file) if offset > 0 => {
                file.seek(SeekFrom::Start(offset))?;
                self.reader = Box::new(BufReader::with_capacity(BATCH_BYTES, file.try_clone()?));
                self.peeked.clear();
                self.at = offset;
            }
            _ => {}
        }
        Ok(())
    }

    fn line(&mut self, out: &mut Vec<u8>) -> Result<usize> {
        let before = out.len();
        if !self.peeked.is_empty() {
            let end = self.peeked.iter().position(|b| *b == b'\n').map_or(self.peeked.len(), |n| n + 1);
            out.extend(self.peeked.drain(..end));
            if out.last() == Some(&b'\n') {
                return Ok(out.len() - before);
            }
        }
        self.reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', out)?;
        Ok(out.len() - before)
    }

    /// Whole records of about [`BATCH_BYTES`]: a piece never ends before a continuation line.
    pub(super) fn next_piece(&mut self, format: Format) -> Result<Option<Piece>> {
        let mut bytes = std::mem::take(&mut self.held);
        loop {
            let start = bytes.len();
            if self.line(&mut bytes)? == 0 {
                break;
            }
            let full = start >= BATCH_BYTES;
            let continues = format.is_multiline()
                && std::str::from_utf8(&bytes[start..]).is_ok_and(format::is_continuation);
            if full && (!continues || start >= BATCH_BYTES + LINE_BYTES_MAX) {
                self.held = bytes.split_off(start);
                break;
            }
        }
        self.at += bytes.len() as u64;
        Ok((!bytes.is_empty()).then_some(Piece { bytes, end: self.at }))
    }
}

/// How far an earlier run of the same file came.
struct Bookmark {
    path: PathBuf,
    key: String,
}

impl Bookmark {
    /// Of a plain file: known by its device, inode and first bytes, so that a rotated file is another one.
    fn of(name: &str, input: &Input) -> Result<Option<Bookmark>> {
        use std::os::unix::fs::MetadataExt;
        let Some(file) = &input.seekable else { return Ok(None) };
        let meta = file.metadata()?;
        let mut head = [0; 1024];
        let read = std::os::unix::fs::FileExt::read_at(file, &mut head, 0)?;
        let full = std::fs::canonicalize(name)?;
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(full.as_os_str().as_encoded_bytes());
        context.update(&meta.dev().to_le_bytes());
        context.update(&meta.ino().to_le_bytes());
        context.update(&head[..read]);
        let key = heimdall_model::matcher::to_hex(&context.finish().as_ref()[..16]);
        let Some(dir) = state_dir() else { return Ok(None) };
        std::fs::create_dir_all(&dir).with_context(|| format!("could not make `{}`", dir.display()))?;
        Ok(Some(Bookmark { path: dir.join(format!("{key}.offset")), key }))
    }

    fn load(&self) -> Option<u64> {
        std::fs::read_to_string(&self.path).ok()?.trim().parse().ok()
    }

    fn save(&self, offset: u64) -> Result<()> {
        let new = self.path.with_extension("new");
        std::fs::write(&new, offset.to_string())?;
        std::fs::rename(&new, &self.path)?;
        Ok(())
    }

    fn forget(&self) {
        // A leftover only makes the next run of the same file find nothing new.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `$XDG_STATE_HOME/heimdall/ingest`, or `~/.local/state/heimdall/ingest`.
fn state_dir() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Some(state.or_else(home)?.join("heimdall/ingest"))
}
