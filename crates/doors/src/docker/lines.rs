//! What the engine sends of a container's log: pieces of lines with times, to whole lines.
//!
//! Invariants:
//! - the pieces of a line (the engine cuts at 16 KiB) are one entry again, with the time of the first;
//! - an entry is at most `line_bytes_max` long; a longer line is several;
//! - after [`Assembler::resume`] exactly the entries that lie behind the position are given out.
//!
//! Not here: what lines say.

use heimdall_model::Timestamp;
use serde::{Deserialize, Serialize};

/// Which output of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

impl Output {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Output::Stdout => "stdout",
            Output::Stderr => "stderr",
        }
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) output: Output,
    pub(crate) time: Timestamp,
    pub(crate) text: Vec<u8>,
}

/// How far an output was read: the time of the last entry, and how many entries have that time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) ns: i64,
    pub(crate) count: u32,
}

impl Mark {
    fn after(self, ns: i64) -> Mark {
        if ns == self.ns { Mark { ns, count: self.count + 1 } } else { Mark { ns, count: 1 } }
    }
}

/// How far a container's log was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) stdout: Mark,
    pub(crate) stderr: Mark,
}

impl Position {
    fn mark(&mut self, output: Output) -> &mut Mark {
        match output {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        }
    }

    /// The position behind an entry.
    pub(crate) fn pass(&mut self, entry: &Entry) {
        let mark = self.mark(entry.output);
        *mark = mark.after(entry.time.0);
    }

    /// The second from which the engine is to send again: what lies behind the position is at or after it. A second earlier,
    /// because the engine stamps both outputs on their own, and writes a line of one a moment after a later line of the other.
    pub(crate) fn since(&self) -> i32 {
        let marks = [self.stdout.ns, self.stderr.ns];
        // An output that has said nothing yet may say it at any time after the other's.
        let known = marks.into_iter().filter(|ns| *ns > 0).min().unwrap_or(0);
        i32::try_from(known.div_euclid(1_000_000_000) - 1).unwrap_or(0).max(0)
    }
}

/// One output's pieces.
#[derive(Debug, Default)]
struct Pieces {
    begun: Option<(Timestamp, Vec<u8>)>,
    /// Entries up to here were given out before the connection.
    behind: Mark,
    /// Where the engine's sending is, until it is behind `behind`.
    seen: Option<Mark>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Assembler {
    stdout: Pieces,
    stderr: Pieces,
    line_bytes_max: usize,
}

impl Assembler {
    /// For a log that is sent from [`Position::since`] on.
    pub(crate) fn resume(position: Position, line_bytes_max: usize) -> Assembler {
        let pieces = |behind| Pieces { begun: None, behind, seen: Some(Mark::default()) };
        Assembler { stdout: pieces(position.stdout), stderr: pieces(position.stderr), line_bytes_max }
    }

    /// Takes one piece; gives out the entries that it completes.
    pub(crate) fn take(&mut self, output: Output, piece: &[u8], now: Timestamp, mut each: impl FnMut(Entry)) {
        let line_bytes_max = self.line_bytes_max;
        let pieces = match output {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        };
        // A terminal's pieces may hold several lines, each with its time.
        for piece in piece.split_inclusive(|byte| *byte == b'\n') {
            let (time, text) = stamp(piece);
            let (_, line) = pieces.begun.get_or_insert_with(|| (time.unwrap_or(now), Vec::new()));
            line.extend_from_slice(text);
            if text.last() == Some(&b'\n') || line.len() >= line_bytes_max {
                pieces.complete(output, &mut each);
            }
        }
    }

    /// Gives out what has no line end: the log is over.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Entry)) {
        self.stdout.complete(Output::Stdout, &mut each);
        self.stderr.complete(Output::Stderr, &mut each);
    }
}

impl Pieces {
    fn complete(&mut self, output: Output, each: &mut impl FnMut(Entry)) {
        let Some((time, mut text)) = self.begun.take() else { return };
        while matches!(text.last(), Some(b'\n' | b'\r')) {
            text.pop();
        }
        if self.is_new(time.0) {
            each(Entry { output, time, text });
        }
    }

    fn is_new(&mut self, ns: i64) -> bool {
        let Some(seen) = self.seen else { return true };
        if ns < self.behind.ns {
            return false;
        }
        let seen = seen.after(ns);
        self.seen = Some(seen);
        let is_new = ns > self.behind.ns || seen.count > self.behind.count;
        if is_new {
            self.seen = None;
        }
        is_new
    }
}

/// The time that a piece begins with, and the rest.
fn stamp(piece: &[u8]) -> (Option<Timestamp>, &[u8]) {
    const LONGEST: usize = 40;
    let head = &piece[..piece.len().min(LONGEST)];
    let parsed = head.iter().position(|byte| *byte == b' ').and_then(|space| {
        let time = Timestamp::parse(std::str::from_utf8(&head[..space]).ok()?)?;
        Some((time, &piece[space + 1..]))
    });
    match parsed {
        // An epoch number is no time of the engine's, but the line's own text.
        Some((time, text)) if head.contains(&b'T') => (Some(time), text),
        _ => (None, piece),
    }
}

#[cfg(test)]
mod tests {
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(9);

    fn take_all(assembler: &mut Assembler, pieces: &[(Output, &str)]) -> Vec<String> {
        let mut out = Vec::new();
        for (output, piece) in pieces {
            assembler.take(*output, piece.as_bytes(), NOW, |entry| {
                out.push(format!("{} {}", entry.time.0 % 1000, String::from_utf8_lossy(&entry.text)));
            });
        }
        out
    }

    const PIECES: [(Output, &str); 6] = [
        (Output::Stdout, "2026-01-02T03:04:05.000000001Z one\n"),
        (Output::Stdout, "2026-01-02T03:04:05.000000002Z long "),
        (Output::Stderr, "2026-01-02T03:04:05.000000003Z oops\r\n"),
        (Output::Stdout, "2026-01-02T03:04:05.000000002Z line\n"),
        (Output::Stdout, "2026-01-02T03:04:05.000000002Z same time\n"),
        (Output::Stdout, "2026-01-02T03:04:05.000000004Z last\n"),
    ];

    #[test]
    fn pieces_of_a_line_are_joined() {
        let mut it = Assembler::resume(Position::default(), 1000);
        let lines = take_all(&mut it, &PIECES);
        assert_eq!(lines, ["1 one", "3 oops", "2 long line", "2 same time", "4 last"]);
    }

    #[test]
    fn after_any_entry_exactly_the_rest_comes() {
        let mut entries = Vec::new();
        let mut it = Assembler::resume(Position::default(), 1000);
        for (output, piece) in PIECES {
            it.take(output, piece.as_bytes(), NOW, |entry| entries.push(entry));
        }
        let mut position = Position::default();
        for read in 0..=entries.len() {
            let mut rest = Vec::new();
            let mut it = Assembler::resume(position, 1000);
            for (output, piece) in PIECES {
                it.take(output, piece.as_bytes(), NOW, |entry| rest.push(entry));
            }
            assert_eq!(rest, entries[read..], "after {read}");
            if let Some(entry) = entries.get(read) {
                position.pass(entry);
            }
        }
        assert_eq!(position.since(), 1_767_323_044);
    }

    #[test]
    fn long_lines_are_cut_and_the_end_is_given_out() {
        let mut it = Assembler::resume(Position::default(), 10);
        let lines = take_all(
            &mut it,
            &[(Output::Stdout, "2026-01-02T03:04:05.000000001Z 0123456789"), (Output::Stdout, "no time")],
        );
        assert_eq!(lines, ["1 0123456789"]);
        let mut last = Vec::new();
        it.finish(|entry| last.push(entry));
        assert_eq!((last[0].time, &last[0].text[..]), (NOW, &b"no time"[..]));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut it = Assembler::resume(Position::default(), 20);
            it.take(Output::Stdout, &bytes, NOW, |_| {});
            it.finish(|_| {});
        }
    }

    #[test]
    fn mutants_are_lines() {
        let all: String = PIECES.iter().map(|(_, piece)| *piece).collect();
        fuzz(&Seeds::text([all, "no time\n2026-01-02T03:04:05Z \n".to_owned()]), |mutant, rng| {
            let mut it = Assembler::resume(Position::default(), 50);
            let mut lines = 0;
            for piece in rng.pieces(mutant) {
                let output = *rng.one_of(&[Output::Stdout, Output::Stderr]);
                it.take(output, piece, NOW, |_| lines += 1);
            }
            it.finish(|_| lines += 1);
            assert!(lines <= mutant.len() + 2);
        });
    }
}
