//! RELP: syslog of which every message is answered when it is durable. Spoken by rsyslog (`omrelp`) and librelp.
//!
//! Invariants:
//! - `200 OK` for a message is sent only after `admit` returned;
//! - what is not of the protocol ends the session; what was answered is durable, the sender keeps the rest and sends it again.
//!
//! A sender that was not answered, because the connection or the server ended first, sends again what may be durable already:
//! at least once.
//!
//! Source: <https://github.com/rsyslog/librelp/blob/master/doc/relp.html>: `TXNR SP COMMAND SP DATALEN [SP DATA] LF`.

use futures::FutureExt;
use heimdall_ingest::Caller;
use metrics::counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Shared;
use crate::framing::{Defect, Frames};
use crate::net::{Peer, Stream};
use crate::streams::{BATCH_BYTES, FrameDoor, StreamLimits};

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Numbers of messages have at most nine digits.
const NUMBER_DIGITS_MAX: usize = 9;
/// Names of commands have at most 32 letters.
const COMMAND_BYTES_MAX: usize = 32;
/// Number, command, length and the spaces between them.
const HEADER_BYTES_MAX: usize = NUMBER_DIGITS_MAX + COMMAND_BYTES_MAX + NUMBER_DIGITS_MAX + 2;

const OFFERS: &str = "200 OK\nrelp_version=0\nrelp_software=heimdall\ncommands=syslog";
const OK: &str = "200 OK";
const UNSUPPORTED: &str = "500 command not supported";
const NOT_OPEN: &str = "500 session is not open";
/// Tells the sender to connect again, later.
const SERVER_CLOSE: &[u8] = b"0 serverclose 0\n";

/// One command of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Command {
    number: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Syslog,
    Close,
    Other,
}

/// Reads commands; the messages among them go to `frames`.
#[derive(Debug)]
struct CommandReader {
    bytes_max: usize,
    state: State,
    /// Of the header, or of the data. INVARIANT: at most the longest header, or `bytes_max`.
    partial: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Data { command: Command, left: usize, is_cut: bool },
    Trailer { command: Command, is_cut: bool },
}

/// Why a stream is not RELP.
type Malformed = &'static str;

impl CommandReader {
    fn new(bytes_max: usize) -> CommandReader {
        CommandReader { bytes_max, state: State::Header, partial: Vec::new() }
    }

    fn is_partial(&self) -> bool {
        self.state != State::Header || !self.partial.is_empty()
    }

    /// Takes the next bytes; whole commands go to `commands`, and the data of `syslog` to `frames`.
    fn push(
        &mut self,
        mut bytes: &[u8],
        peer: std::net::IpAddr,
        commands: &mut Vec<Command>,
        frames: &mut Frames,
    ) -> Result<(), Malformed> {
        while let Some(first) = bytes.first() {
            let taken = match self.state {
                State::Header => self.header(*first)?,
                State::Data { command, left, is_cut } => self.data(bytes, command, left, is_cut),
                State::Trailer { command, is_cut } => {
                    if *first != b'\n' {
                        return Err("a command does not end with a line feed");
                    }
                    if command.kind == Kind::Syslog {
                        frames.push(&self.partial, peer, is_cut.then_some(Defect::Cut));
                    }
                    commands.push(command);
                    self.partial.clear();
                    self.state = State::Header;
                    1
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn header(&mut self, byte: u8) -> Result<usize, Malformed> {
        let spaces = self.partial.iter().filter(|b| **b == b' ').count();
        let ends = spaces == 2 && matches!(byte, b' ' | b'\n');
        if !ends {
            if self.partial.len() >= HEADER_BYTES_MAX {
                return Err("the header of a command is too long");
            }
            self.partial.push(byte);
            return Ok(1);
        }
        let (command, left) = read_header(&self.partial)?;
        self.partial.clear();
        self.state = match left {
            0 => State::Trailer { command, is_cut: false },
            _ => State::Data { command, left, is_cut: false },
        };
        Ok(usize::from(byte == b' ')) // the line feed is the trailer
    }

    fn data(&mut self, bytes: &[u8], command: Command, left: usize, was_cut: bool) -> usize {
        let taken = left.min(bytes.len());
        let room = self.bytes_max - self.partial.len();
        self.partial.extend_from_slice(&bytes[..taken.min(room)]);
        let is_cut = was_cut || taken > room;
        self.state = match left - taken {
            0 => State::Trailer { command, is_cut },
            left => State::Data { command, left, is_cut },
        };
        taken
    }
}

/// The command and how many bytes of data come with it.
fn read_header(header: &[u8]) -> Result<(Command, usize), Malformed> {
    let header = std::str::from_utf8(header).map_err(|_| "the header of a command is not ASCII")?;
    let mut parts = header.split(' ');
    let (number, name, length) = (parts.next(), parts.next(), parts.next());
    let digits = |text: Option<&str>| {
        text.filter(|text| text.len() <= NUMBER_DIGITS_MAX && text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse::<u32>().ok())
    };
    let number = digits(number).ok_or("a command has no number")?;
    let length = digits(length).ok_or("a command has no length")?;
    let kind = match name.unwrap_or_default() {
        "open" => Kind::Open,
        "syslog" => Kind::Syslog,
        "close" => Kind::Close,
        name if !name.is_empty()
            && name.len() <= COMMAND_BYTES_MAX
            && name.bytes().all(|b| b.is_ascii_alphabetic()) =>
        {
            Kind::Other
        }
        _ => return Err("a command has no name"),
    };
    let length = usize::try_from(length).map_err(|_| "a command is too long")?;
    Ok((Command { number, kind }, length))
}

/// Appends an answer.
fn answer(out: &mut Vec<u8>, number: u32, data: &str) {
    let space = if data.is_empty() { "" } else { " " };
    out.extend_from_slice(format!("{number} rsp {}{space}{data}\n", data.len()).as_bytes());
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Idle,
    Slow,
    Malformed(Malformed),
    Shutdown,
}

/// Serves one session.
pub(super) async fn serve(
    door: &FrameDoor,
    shared: &Shared,
    limits: StreamLimits,
    mut stream: Box<dyn Stream>,
    peer: Peer,
) {
    let mut session = Session {
        reader: CommandReader::new(limits.frame_bytes_max),
        buffer: vec![0; READ_BYTES],
        limits,
        peer: peer.ends.peer.ip().to_canonical(),
        caller: peer.caller(&door.tenant),
        is_open: false,
    };
    while let Some(answers) = session.turn(door, shared, &mut stream).await {
        // A sender that does not read its answers has the time of a frame.
        if !matches!(timeout(limits.frame_timeout, stream.write_all(&answers)).await, Ok(Ok(()))) {
            return;
        }
        if timeout(limits.frame_timeout, stream.flush()).await.is_err() {
            return;
        }
        if !session.is_open {
            break;
        }
    }
    let _ = timeout(limits.frame_timeout, stream.shutdown()).await;
}

struct Session {
    reader: CommandReader,
    buffer: Vec<u8>,
    limits: StreamLimits,
    peer: std::net::IpAddr,
    caller: Caller,
    is_open: bool,
}

impl Session {
    /// Reads what is there, makes it durable, and returns the answers; `None` when the session ends without any.
    async fn turn(&mut self, door: &FrameDoor, shared: &Shared, stream: &mut dyn Stream) -> Option<Vec<u8>> {
        let (mut commands, mut frames) = (Vec::new(), Frames::default());
        let end = self.fill(shared, stream, &mut commands, &mut frames).await;
        self.note(door.name, end);
        let mut answers = Vec::new();
        let frames = frames_of_open(self.is_open, &commands, frames);
        let is_taken = door.hand_over(shared, &self.caller, frames).await.is_ok();
        if !is_taken {
            self.is_open = false;
            return None; // not answered: the sender keeps them
        }
        for command in commands {
            self.answer(command, &mut answers);
        }
        match end {
            None => Some(answers),
            Some(End::Closed) => None,
            Some(_) => {
                self.is_open = false;
                answers.extend_from_slice(SERVER_CLOSE);
                Some(answers)
            }
        }
    }

    fn note(&self, door: &'static str, end: Option<End>) {
        match end {
            Some(End::Malformed(detail)) => {
                tracing::debug!(door, peer = %self.peer, detail, "not RELP");
                counter!("door_frames_rejected_total", "door" => door, "reason" => "malformed").increment(1);
            }
            Some(End::Idle) => {
                counter!("door_connections_refused_total", "door" => door, "reason" => "idle").increment(1);
            }
            Some(End::Slow) => {
                counter!("door_connections_refused_total", "door" => door, "reason" => "slow").increment(1);
            }
            Some(End::Closed | End::Shutdown) | None => {}
        }
    }

    fn answer(&mut self, command: Command, out: &mut Vec<u8>) {
        match command.kind {
            Kind::Open => {
                self.is_open = true;
                answer(out, command.number, OFFERS);
            }
            Kind::Syslog if self.is_open => answer(out, command.number, OK),
            Kind::Syslog => answer(out, command.number, NOT_OPEN),
            Kind::Close => {
                self.is_open = false;
                answer(out, command.number, "");
                out.extend_from_slice(SERVER_CLOSE);
            }
            Kind::Other => answer(out, command.number, UNSUPPORTED),
        }
    }

    /// Waits for bytes, and for the rest of a command that has begun; takes all commands that are there.
    async fn fill(
        &mut self,
        shared: &Shared,
        stream: &mut dyn Stream,
        commands: &mut Vec<Command>,
        frames: &mut Frames,
    ) -> Option<End> {
        let mut deadline = Instant::now() + self.limits.idle_timeout;
        let mut late = End::Idle;
        while commands.is_empty() {
            if self.reader.is_partial() && late == End::Idle {
                (deadline, late) = (Instant::now() + self.limits.frame_timeout, End::Slow);
            }
            let read = tokio::select! {
                read = timeout_at(deadline, stream.read(&mut self.buffer)) => read,
                () = shared.shutdown.cancelled() => return Some(End::Shutdown),
            };
            let Ok(read) = read else { return Some(late) };
            if let Err(end) = self.take(read, commands, frames) {
                return Some(end);
            }
        }
        while frames.size() < BATCH_BYTES {
            let read = stream.read(&mut self.buffer).now_or_never()?;
            if let Err(end) = self.take(read, commands, frames) {
                return Some(end);
            }
        }
        None
    }

    fn take(
        &mut self,
        read: std::io::Result<usize>,
        commands: &mut Vec<Command>,
        frames: &mut Frames,
    ) -> Result<(), End> {
        let len = read.ok().filter(|len| *len > 0).ok_or(End::Closed)?;
        self.reader.push(&self.buffer[..len], self.peer, commands, frames).map_err(End::Malformed)
    }
}

/// The messages that are within a session: none before it was opened, by this turn at the latest.
fn frames_of_open(was_open: bool, commands: &[Command], frames: Frames) -> Frames {
    let mut is_open = was_open;
    let mut before = 0;
    for command in commands {
        match command.kind {
            Kind::Open => is_open = true,
            Kind::Syslog if !is_open => before += 1,
            _ => {}
        }
    }
    let Frames { bytes, mut list } = frames;
    list.drain(..before);
    Frames { bytes, list }
}

#[cfg(test)]
mod tests {
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;
    use crate::framing::NOBODY;

    type Read = (Result<(), Malformed>, Vec<Command>, Vec<(Vec<u8>, bool)>);

    fn read(pieces: &[&[u8]], max: usize) -> Read {
        let mut reader = CommandReader::new(max);
        let (mut commands, mut frames) = (Vec::new(), Frames::default());
        let mut outcome = Ok(());
        for piece in pieces {
            outcome = reader.push(piece, NOBODY, &mut commands, &mut frames);
            assert!(reader.partial.len() <= max.max(HEADER_BYTES_MAX));
            if outcome.is_err() {
                break;
            }
        }
        let messages = frames.list.iter();
        let messages =
            messages.map(|frame| (frames.bytes_of(frame).to_vec(), frame.defect.is_some())).collect();
        (outcome, commands, messages)
    }

    #[test]
    fn commands_of_librelp() {
        let stream = b"1 open 15 relp_version=0\n\n2 syslog 7 <13>a\nb\n3 syslog 12 <13>too long\n4 close 0\n5 starttls 0\n";
        let (outcome, commands, messages) = read(&[stream], 10);
        assert_eq!(outcome, Ok(()));
        let kinds: Vec<_> = commands.iter().map(|command| (command.number, command.kind)).collect();
        assert_eq!(
            kinds,
            [(1, Kind::Open), (2, Kind::Syslog), (3, Kind::Syslog), (4, Kind::Close), (5, Kind::Other)]
        );
        assert_eq!(messages, [(b"<13>a\nb".to_vec(), false), (b"<13>too lo".to_vec(), true)]);
    }

    #[test]
    fn what_is_no_relp_is_an_error() {
        for stream in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"1 syslog x y\n",
            b"1 syslog 3 abcd\n",
            b"1234567890 syslog 1 a\n",
            b"1  5 abcde\n",
            b"1 sys-log 1 a\n",
            b"\xff\xff \xff \n",
            &[b'7'; 100],
        ] {
            assert!(read(&[stream], 100).0.is_err(), "{stream:?}");
        }
    }

    #[test]
    fn messages_before_the_session_is_open_are_not_taken() {
        let (_, commands, _) = read(&[b"1 syslog 1 a\n2 open 0\n3 syslog 1 b\n"], 100);
        let mut frames = Frames::default();
        frames.push(b"a", NOBODY, None);
        frames.push(b"b", NOBODY, None);
        let frames = frames_of_open(false, &commands, frames);
        assert_eq!(frames.list.iter().map(|frame| frames.bytes_of(frame)).collect::<Vec<_>>(), [b"b"]);
    }

    #[test]
    fn answers() {
        let mut out = Vec::new();
        answer(&mut out, 7, OK);
        answer(&mut out, 8, "");
        assert_eq!(out, b"7 rsp 6 200 OK\n8 rsp 0\n");
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same_commands_and_hostile_bytes_end_it(
            parts in proptest::collection::vec(prop_oneof![
                Just(b"3 syslog 5 <1>ab\n".to_vec()), Just(b"4 syslog 30 <1>456789012345678901234567890\n".to_vec()),
                Just(b"1 open 0\n".to_vec()), any::<Vec<u8>>(),
            ], 0..6),
            size in 1usize..20,
        ) {
            let stream = parts.concat();
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            prop_assert_eq!(read(&pieces, 16), read(&[&stream], 16));
        }
    }

    #[test]
    fn mutants_are_the_same_commands_whatever_the_pieces() {
        let seeds = Seeds::text([
            &b"1 open 85 relp_version=0\nrelp_software=librelp,1.2.14,http://librelp.adiscon.com\ncommands=syslog\n"[..],
            b"2 syslog 19 <13>1 - - - - - - m\n3 syslog 5 <1>ab\n4 close 0\n",
            b"999999999 syslog 9 <1>a\nb\nc\n\n",
        ]);
        fuzz(&seeds, |mutant, rng| {
            let whole = read(&[mutant], 64);
            assert_eq!(read(&rng.pieces(mutant), 64), whole);
            assert!(whole.1.len() + whole.2.len() <= mutant.len());
        });
    }
}
