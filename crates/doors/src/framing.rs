//! Messages out of a stream of bytes, and several messages in one buffer.
//!
//! Invariants:
//! - how the bytes of a stream are cut into pieces changes nothing about its frames;
//! - no more than the limit is held of a frame; of a longer one the first bytes are kept, and the next frame is found;
//! - a counted frame ends where its count says, whatever is in it.
//!
//! Source: RFC 6587, sections 3.4.1 (octet counting) and 3.4.2 (trailers LF and NUL).

use std::net::IpAddr;
use std::ops::Range;

use memchr::{memchr, memchr2};

/// A longer count is none: 999,999,999 bytes is more than any message.
const COUNT_DIGITS_MAX: usize = 9;

/// Whole messages, one after the other in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pub(crate) bytes: Vec<u8>,
    pub(crate) list: Vec<Frame>,
}

/// One message of [`Frames`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where its bytes are.
    pub(crate) range: Range<usize>,
    /// Who sent it.
    pub(crate) peer: IpAddr,
    /// What of it is missing.
    pub(crate) defect: Option<Defect>,
}

/// Why a message is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    /// It is longer than the limit.
    Cut,
    /// The connection ended before its announced end.
    Incomplete,
}

impl Defect {
    /// For notes on records.
    pub(crate) const fn note(self) -> &'static str {
        match self {
            Defect::Cut => "is longer than `frame_bytes_max`: cut there",
            Defect::Incomplete => "ended before its announced length",
        }
    }

    /// The label of `door_frames_rejected_total`.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Defect::Cut => "cut",
            Defect::Incomplete => "incomplete",
        }
    }
}

impl Frames {
    /// Adds a message.
    pub(crate) fn push(&mut self, bytes: &[u8], peer: IpAddr, defect: Option<Defect>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.list.push(Frame { range: start..self.bytes.len(), peer, defect });
    }

    /// The bytes of one of its messages.
    pub(crate) fn bytes_of(&self, frame: &Frame) -> &[u8] {
        &self.bytes[frame.range.clone()]
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Memory it takes, about.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.list.len() * size_of::<Frame>()
    }

    /// The messages of each sender by themselves; all together where there are more than `senders_max`.
    pub(crate) fn by_peer(self, senders_max: usize) -> Vec<Frames> {
        let mut peers: Vec<IpAddr> = Vec::new();
        for frame in &self.list {
            if !peers.contains(&frame.peer) {
                peers.push(frame.peer);
            }
            if peers.len() > senders_max {
                return vec![self];
            }
        }
        if peers.len() < 2 {
            return vec![self];
        }
        let of = |peer: &IpAddr| {
            let mut frames = Frames::default();
            let list = self.list.iter().filter(|frame| frame.peer == *peer);
            list.for_each(|frame| frames.push(self.bytes_of(frame), *peer, frame.defect));
            frames
        };
        peers.iter().map(of).collect()
    }

    /// The one who sent all of them.
    pub(crate) fn only_peer(&self) -> Option<IpAddr> {
        let first = self.list.first()?.peer;
        self.list.iter().all(|frame| frame.peer == first).then_some(first)
    }
}

/// What ends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A count before it, or LF or NUL after it: told apart message by message.
    Syslog,
    /// NUL.
    Nul,
}

/// Finds the messages of one stream.
#[derive(Debug)]
pub(crate) struct Framer {
    framing: Framing,
    bytes_max: usize,
    peer: IpAddr,
    state: State,
    /// What there is of the message that has not ended. INVARIANT: at most `bytes_max`, or a count.
    partial: Vec<u8>,
    is_cut: bool,
    /// The message before this one was counted.
    counts: bool,
    /// The message before this one ended with NUL: a line feed is part of a message, unless a priority follows.
    has_nuls: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first byte of a message.
    Between,
    /// In what may be a count.
    Count,
    /// In a message that ends with a trailer.
    Line,
    /// After a line feed that may or may not be its trailer: what follows tells.
    LineFeed { has_angle: bool },
    /// In a counted message.
    Counted { left: usize },
}

impl Framer {
    pub(crate) fn new(framing: Framing, bytes_max: usize, peer: IpAddr) -> Framer {
        Framer {
            framing,
            bytes_max: bytes_max.max(COUNT_DIGITS_MAX + 1),
            peer,
            state: State::Between,
            partial: Vec::new(),
            is_cut: false,
            counts: false,
            has_nuls: false,
        }
    }

    /// Whether a message has begun and not ended.
    pub(crate) fn is_partial(&self) -> bool {
        self.state != State::Between
    }

    /// Takes the next bytes of the stream; messages that are whole now go to `out`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], out: &mut Frames) {
        while let Some(first) = bytes.first() {
            let taken = match self.state {
                State::Between => self.begin(*first),
                State::Count => self.count(*first),
                State::Line => self.line(bytes, out),
                State::LineFeed { has_angle } => self.line_feed(*first, has_angle, out),
                State::Counted { left } => self.counted(bytes, left, out),
            };
            bytes = &bytes[taken..];
        }
    }

    /// The stream has ended: what there is of a message is one.
    pub(crate) fn finish(&mut self, out: &mut Frames) {
        let defect = matches!(self.state, State::Counted { .. }).then_some(Defect::Incomplete);
        if self.state == (State::LineFeed { has_angle: true }) {
            self.keep(b"<");
        }
        if self.is_partial() {
            self.end(defect, out);
        }
    }

    fn begin(&mut self, first: u8) -> usize {
        if matches!(first, b'\n' | b'\r' | 0) {
            return 1;
        }
        let may_count = self.framing == Framing::Syslog && matches!(first, b'1'..=b'9');
        self.state = if may_count { State::Count } else { State::Line };
        0
    }

    /// Digits, a space, and then `<`, or anything where messages are counted: else it is a line that begins with a number.
    fn count(&mut self, byte: u8) -> usize {
        let has_space = self.partial.last() == Some(&b' ');
        if has_space && (byte == b'<' || self.counts) {
            let digits = self.partial[..self.partial.len() - 1].iter();
            let left = digits.fold(0, |count, digit| count * 10 + usize::from(digit - b'0'));
            self.partial.clear();
            self.state = State::Counted { left };
            return 0;
        }
        let goes_on =
            !has_space && (byte == b' ' || (byte.is_ascii_digit() && self.partial.len() < COUNT_DIGITS_MAX));
        if !goes_on {
            self.state = State::Line;
            return 0;
        }
        self.partial.push(byte);
        1
    }

    fn line(&mut self, bytes: &[u8], out: &mut Frames) -> usize {
        let end = match self.framing {
            Framing::Syslog => memchr2(b'\n', 0, bytes),
            Framing::Nul => memchr(0, bytes),
        };
        let Some(end) = end else {
            self.keep(bytes);
            return bytes.len();
        };
        let part = &bytes[..end];
        if bytes[end] == b'\n' && self.has_nuls {
            self.keep(&bytes[..=end]);
            self.state = State::LineFeed { has_angle: false };
        } else if self.partial.is_empty() && part.len() <= self.bytes_max {
            self.state = State::Between;
            self.emit(part, None, out);
        } else {
            self.keep(part);
            self.end(None, out);
        }
        if self.state == State::Between {
            self.counts = false;
            self.has_nuls = bytes[end] == 0;
        }
        end + 1
    }

    fn line_feed(&mut self, byte: u8, has_angle: bool, out: &mut Frames) -> usize {
        match (has_angle, byte) {
            (false, b'<') => {
                self.state = State::LineFeed { has_angle: true };
                return 1;
            }
            (false, _) => self.state = State::Line,
            (true, b'0'..=b'9') => {
                self.end(None, out);
                self.has_nuls = false;
                self.state = State::Line;
                self.keep(b"<");
            }
            (true, _) => {
                self.keep(b"<");
                self.state = State::Line;
            }
        }
        0
    }

    fn counted(&mut self, bytes: &[u8], left: usize, out: &mut Frames) -> usize {
        let part = &bytes[..left.min(bytes.len())];
        self.keep(part);
        self.state = State::Counted { left: left - part.len() };
        if part.len() == left {
            self.end(None, out);
            self.counts = true;
        }
        part.len()
    }

    /// As much as the limit allows.
    fn keep(&mut self, part: &[u8]) {
        let room = self.bytes_max - self.partial.len().min(self.bytes_max);
        self.partial.extend_from_slice(&part[..part.len().min(room)]);
        self.is_cut |= part.len() > room;
    }

    fn end(&mut self, defect: Option<Defect>, out: &mut Frames) {
        self.state = State::Between;
        let defect = if std::mem::take(&mut self.is_cut) { Some(Defect::Cut) } else { defect };
        let partial = std::mem::take(&mut self.partial);
        self.emit(&partial, defect, out);
        self.partial = partial;
        self.partial.clear();
    }

    /// Trailers that were counted, or doubled, are no part of a message; one of nothing else is none.
    fn emit(&self, bytes: &[u8], defect: Option<Defect>, out: &mut Frames) {
        let is_trailer = |b: &u8| matches!(b, b'\n' | b'\r' | 0);
        let len = bytes.iter().rposition(|b| !is_trailer(b)).map_or(0, |at| at + 1);
        if len > 0 {
            out.push(&bytes[..len], self.peer, defect);
        }
    }
}

/// For frames nobody sent from elsewhere.
#[cfg(test)]
pub(crate) const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[cfg(test)]
mod tests {
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;

    fn shown(frames: &Frames) -> Vec<String> {
        let mark =
            |defect: Option<Defect>| defect.map_or(String::new(), |defect| format!("!{}", defect.code()));
        let text = |frame: &Frame| String::from_utf8_lossy(frames.bytes_of(frame)).into_owned();
        frames.list.iter().map(|frame| format!("{}{}", text(frame), mark(frame.defect))).collect()
    }

    fn framed(framing: Framing, pieces: &[&[u8]], max: usize) -> Vec<String> {
        let mut framer = Framer::new(framing, max, NOBODY);
        let mut out = Frames::default();
        for piece in pieces {
            framer.push(piece, &mut out);
            assert!(framer.partial.len() <= framer.bytes_max);
        }
        framer.finish(&mut out);
        assert!(!framer.is_partial());
        shown(&out)
    }

    #[track_caller]
    fn check(stream: &str, expected: &[&str]) {
        assert_eq!(framed(Framing::Syslog, &[stream.as_bytes()], 20), expected, "{stream:?}");
    }

    #[test]
    fn both_framings_on_one_connection() {
        check(
            "5 <1>ab<2>c\n<3>d\r\n7 <4>e\nfg\n\n<5>h\x006 <6>ijk",
            &["<1>ab", "<2>c", "<3>d", "<4>e\nfg", "<5>h", "<6>ijk"],
        );
        check("5 <1>a\n5 <1>b\n", &["<1>a", "<1>b"]); // the trailer is counted
        check("4 <1>a\n4 <1>b\n", &["<1>a", "<1>b"]); // it is not
        check("4 <1>a3 {x}2 ab", &["<1>a", "{x}", "ab"]);
    }

    #[test]
    fn where_messages_end_with_nul_they_may_have_lines() {
        check("<1>a\0<2>b\n c\n<d\n\0<3>d\0", &["<1>a", "<2>b\n c\n<d", "<3>d"]); // Python's handler
        check("<1>a\0b\n<2>c\n<3>d\n", &["<1>a", "b", "<2>c", "<3>d"]); // a stray one
        check("<1>a\0\n<2>b\0\n<3>c\n<", &["<1>a", "<2>b", "<3>c\n<"]);
    }

    #[test]
    fn lines_that_begin_with_a_number_are_lines() {
        check(
            "10 apples\n2026 x\n007 y\n1234567890 <\n5",
            &["10 apples", "2026 x", "007 y", "1234567890 <", "5"],
        );
        check("12\n13 \n14 \0", &["12", "13 ", "14 "]);
    }

    #[test]
    fn a_frame_beyond_the_limit_is_cut_and_the_next_one_is_found() {
        check("30 <1>345678901234567890\n<2>45678<3>x\n", &["<1>34567890123456789!cut", "<3>x"]);
        check("<1>3456789012345678901234567\n<2>x\n", &["<1>34567890123456789!cut", "<2>x"]);
        check("999999999 <1>", &["<1>!incomplete"]);
        check("5 ", &["5 "]);
    }

    #[test]
    fn nul_delimited() {
        let stream = b"{\"a\":\n1}\0\0\n12 <x\0tail";
        assert_eq!(framed(Framing::Nul, &[stream], 20), ["{\"a\":\n1}", "12 <x", "tail"]);
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same_frames(
            stream in proptest::collection::vec(prop_oneof![
                Just(b"9 <13>abcd".to_vec()), Just(b"<14>line\n".to_vec()), Just(b"40 <15>too long to be kept whole".to_vec()),
                Just(b"12 ".to_vec()), Just(b"\0".to_vec()), Just(b"\r\n".to_vec()), "[ -~\n\0]{0,30}".prop_map(String::into_bytes),
                any::<Vec<u8>>(),
            ], 0..12),
            cuts in proptest::collection::vec(0usize..200, 0..12),
            is_nul in any::<bool>(),
        ) {
            let framing = if is_nul { Framing::Nul } else { Framing::Syslog };
            let stream = stream.concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            let whole = framed(framing, &[&stream], 20);
            prop_assert_eq!(&framed(framing, &pieces, 20), &whole);
            prop_assert_eq!(&framed(framing, &bytes, 20), &whole);
        }
    }

    #[test]
    fn mutants_are_the_same_frames_whatever_the_pieces() {
        let seeds = Seeds::text([
            &b"9 <13>abcd\n<14>line\n15 <13>1 - - - - -\n40 <15>too long to be kept whole here and there\n"[..],
            b"<13>a\r\n<14>b\0{\"short_message\":\"x\"}\0",
        ]);
        fuzz(&seeds, |mutant, rng| {
            for framing in [Framing::Syslog, Framing::Nul] {
                let whole = framed(framing, &[mutant], 20);
                assert_eq!(framed(framing, &rng.pieces(mutant), 20), whole);
                assert!(whole.len() <= mutant.len());
            }
        });
    }
}
