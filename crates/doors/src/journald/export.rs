//! systemd's journal export format, entry by entry, from a stream without an end.
//!
//! An entry is fields and an empty line. A field is `NAME=value` and a line feed; one whose value is not plain text is its name and a
//! line feed, eight bytes of length (little endian), that many bytes, and a line feed.
//!
//! Invariants:
//! - at most one entry within its limits and one field are held, whatever the stream says of their sizes;
//! - a field beyond the limits is left out, and counted; the rest of its entry is kept;
//! - never panics, and reads each byte a bounded number of times, in whatever pieces they come.
//!
//! Source: systemd, "Journal Export Formats".

use heimdall_ingest::journald::Field;

/// Longest name of a field; journald's own limit is 64.
const NAME_BYTES_MAX: usize = 256;
/// Longest value that may be announced; journald's own limit is 768 MiB.
const VALUE_BYTES_MAX: u64 = 1 << 30;
/// Buffers larger than this are given back when nothing is in them.
const KEPT_BYTES: usize = 64 * 1024;

/// What an entry may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryLimits {
    /// Bytes of its fields; one that does not fit is left out.
    pub(super) bytes_max: usize,
    /// Its fields; those beyond are left out.
    pub(super) fields_max: usize,
}

/// The bytes are no export of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExportError {
    /// A line is neither a field nor a name.
    #[error("a line is neither `NAME=value` nor a name")]
    Name,
    /// A value is longer than any journal has.
    #[error("a value of {0} bytes")]
    Length(u64),
    /// What comes after a value is no line feed.
    #[error("a value does not end where it should")]
    End,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    name_end: usize,
    end: usize,
}

/// What is being read over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    Nothing,
    /// The rest of a line.
    Line,
    /// This many bytes, and the line feed.
    Value(u64),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Assembler {
    limits: EntryLimits,
    /// Bytes that are not read yet.
    buf: Vec<u8>,
    at: usize,
    /// No line feed is before this.
    looked: usize,
    skip: Skip,
    /// Names and values of the entry, one after the other.
    kept: Vec<u8>,
    fields: Vec<Span>,
    left_out: u64,
}

impl Assembler {
    pub(super) fn new(limits: EntryLimits) -> Assembler {
        Assembler {
            limits,
            buf: Vec::new(),
            at: 0,
            looked: 0,
            skip: Skip::Nothing,
            kept: Vec::new(),
            fields: Vec::new(),
            left_out: 0,
        }
    }

    /// Takes more of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buf.drain(..self.at);
        self.looked = self.looked.saturating_sub(self.at);
        self.at = 0;
        self.buf.extend_from_slice(bytes);
    }

    /// Whether an entry has begun and not ended.
    pub(super) fn is_within(&self) -> bool {
        self.at < self.buf.len() || !self.fields.is_empty() || self.left_out > 0 || self.skip != Skip::Nothing
    }

    /// Reads on; true when an entry is whole. After an error nothing more can be read.
    pub(super) fn next(&mut self) -> Result<bool, ExportError> {
        loop {
            match self.skip {
                Skip::Nothing => {}
                Skip::Line => match memchr::memchr(b'\n', &self.buf[self.at..]) {
                    Some(end) => {
                        self.at += end + 1;
                        self.skip = Skip::Nothing;
                    }
                    None => return Ok(self.wait_for_all()),
                },
                Skip::Value(left) => {
                    let there = self.buf.len() - self.at;
                    let over = usize::try_from(left).unwrap_or(usize::MAX).min(there);
                    self.at += over;
                    let left = left - over as u64;
                    self.skip = Skip::Value(left);
                    if left > 0 || self.at == self.buf.len() {
                        return Ok(self.wait_for_all());
                    }
                    self.line_feed()?;
                    self.skip = Skip::Nothing;
                }
            }
            let start = self.at.max(self.looked);
            let Some(end) = memchr::memchr(b'\n', &self.buf[start..]).map(|n| start + n) else {
                return self.unfinished_line();
            };
            if end == self.at {
                self.at = end + 1;
                if self.fields.is_empty() && self.left_out == 0 {
                    continue; // an empty line between entries
                }
                return Ok(true);
            }
            match memchr::memchr(b'=', &self.buf[self.at..end]) {
                Some(name_len) => {
                    self.check_name(name_len)?;
                    self.keep(self.at, name_len, self.at + name_len + 1, end);
                    self.at = end + 1;
                }
                None => {
                    if !self.binary(end)? {
                        self.looked = end;
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// The entry that is whole. Its names are ASCII.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().map(|span| {
            let name = std::str::from_utf8(&self.kept[span.start..span.name_end]).unwrap_or_default();
            (name, &self.kept[span.name_end..span.end])
        })
    }

    /// Bytes of the entry that is whole.
    pub(super) fn bytes(&self) -> usize {
        self.kept.len()
    }

    /// Forgets the entry that is whole. How many of its fields were left out.
    pub(super) fn clear(&mut self) -> u64 {
        self.fields.clear();
        self.kept.clear();
        std::mem::take(&mut self.left_out)
    }

    /// Gives back memory while nothing comes.
    pub(super) fn rest(&mut self) {
        if self.at == self.buf.len() && self.buf.capacity() > KEPT_BYTES {
            self.buf = Vec::new();
            self.at = 0;
            self.looked = 0;
        }
        if self.kept.is_empty() && self.kept.capacity() > KEPT_BYTES {
            self.kept = Vec::new();
        }
    }

    /// All that is there is read over.
    fn wait_for_all(&mut self) -> bool {
        self.at = self.buf.len();
        false
    }

    fn unfinished_line(&mut self) -> Result<bool, ExportError> {
        let line = &self.buf[self.at..];
        if line.len() > NAME_BYTES_MAX {
            let name_len = memchr::memchr(b'=', &line[..=NAME_BYTES_MAX]).ok_or(ExportError::Name)?;
            self.check_name(name_len)?;
        }
        if line.len() > self.limits.bytes_max + NAME_BYTES_MAX {
            self.left_out += 1;
            self.skip = Skip::Line;
            self.wait_for_all();
        }
        self.looked = self.buf.len();
        Ok(false)
    }

    fn check_name(&self, len: usize) -> Result<(), ExportError> {
        let name = &self.buf[self.at..self.at + len];
        let fits = !name.is_empty() && len <= NAME_BYTES_MAX && name.iter().all(u8::is_ascii_graphic);
        if fits { Ok(()) } else { Err(ExportError::Name) }
    }

    /// Reads a field whose name ends at `end`; false when more has to come first.
    fn binary(&mut self, end: usize) -> Result<bool, ExportError> {
        self.check_name(end - self.at)?;
        let value = end + 1 + size_of::<u64>();
        let Some(len) = self.buf.get(end + 1..value).and_then(|bytes| bytes.try_into().ok()) else {
            return Ok(false);
        };
        let len = u64::from_le_bytes(len);
        if len > VALUE_BYTES_MAX {
            return Err(ExportError::Length(len));
        }
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= self.limits.bytes_max) else {
            self.left_out += 1;
            self.at = value;
            self.skip = Skip::Value(len);
            return Ok(true);
        };
        if self.buf.len() <= value + len {
            return Ok(false);
        }
        self.keep(self.at, end - self.at, value, value + len);
        self.at = value + len;
        self.line_feed()?;
        Ok(true)
    }

    fn line_feed(&mut self) -> Result<(), ExportError> {
        let is_there = self.buf.get(self.at) == Some(&b'\n');
        self.at += 1;
        if is_there { Ok(()) } else { Err(ExportError::End) }
    }

    fn keep(&mut self, name: usize, name_len: usize, value: usize, value_end: usize) {
        let more = name_len + (value_end - value);
        if self.kept.len() + more > self.limits.bytes_max || self.fields.len() >= self.limits.fields_max {
            self.left_out += 1;
            return;
        }
        let start = self.kept.len();
        self.kept.extend_from_slice(&self.buf[name..name + name_len]);
        self.kept.extend_from_slice(&self.buf[value..value_end]);
        self.fields.push(Span { start, name_end: start + name_len, end: self.kept.len() });
    }
}

#[cfg(test)]
mod tests {
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;

    const LIMITS: EntryLimits = EntryLimits { bytes_max: 1000, fields_max: 10 };

    type Entries = Vec<(Vec<(String, Vec<u8>)>, u64)>;

    fn read(pieces: &[&[u8]]) -> (Entries, Option<ExportError>, bool) {
        let mut assembler = Assembler::new(LIMITS);
        let mut entries = Vec::new();
        for piece in pieces {
            assembler.push(piece);
            loop {
                match assembler.next() {
                    Ok(false) => break,
                    Ok(true) => {
                        let fields = assembler
                            .fields()
                            .map(|(name, value)| (name.to_owned(), value.to_vec()))
                            .collect();
                        entries.push((fields, assembler.clear()));
                    }
                    Err(error) => return (entries, Some(error), true),
                }
            }
            assembler.rest();
        }
        (entries, None, assembler.is_within())
    }

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value, b"\n"].concat()
    }

    fn field(name: &str, value: &[u8]) -> (String, Vec<u8>) {
        (name.to_owned(), value.to_vec())
    }

    #[test]
    fn entries_of_text_and_bytes_are_read_whatever_the_pieces() {
        let stream = [
            b"\nA=1\nB==2\n".as_slice(),
            &binary("C", b"x\n\n=\xff"),
            b"\n\nD=\n",
            &binary("E", b""),
            b"\nF=open",
        ]
        .concat();
        let expected = vec![
            (vec![field("A", b"1"), field("B", b"=2"), field("C", b"x\n\n=\xff")], 0),
            (vec![field("D", b""), field("E", b"")], 0),
        ];
        assert_eq!(read(&[&stream]), (expected.clone(), None, true));
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes), (expected, None, true));
        assert!(!read(&[b"A=1\n\n"]).2);
    }

    #[test]
    fn what_is_too_large_is_left_out_and_the_rest_is_kept() {
        let long = vec![b'x'; 5_000];
        let line = [b"LINE=", long.as_slice(), b"\n"].concat();
        let stream = [
            b"A=1\n".as_slice(),
            &line,
            &binary("BYTES", &long),
            b"Z=2\n\n".as_slice(),
            b"B=1\n\n".as_slice(),
        ]
        .concat();
        let expected = vec![(vec![field("A", b"1"), field("Z", b"2")], 2), (vec![field("B", b"1")], 0)];
        for size in [1, 7, 900, 20_000] {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(read(&pieces), (expected.clone(), None, false), "{size}");
        }
        let many: String = (0..20).map(|n| format!("F{n}=1\n")).collect::<String>() + "\n";
        assert_eq!(read(&[many.as_bytes()]).0[0].1, 10);
    }

    #[test]
    fn what_is_no_export_is_an_error() {
        let far = [b"A\n".as_slice(), &u64::MAX.to_le_bytes()].concat();
        assert_eq!(read(&[&far]).1, Some(ExportError::Length(u64::MAX)));
        let unended = [b"A\n".as_slice(), &1_u64.to_le_bytes(), b"xy"].concat();
        assert_eq!(read(&[&unended]).1, Some(ExportError::End));
        for bad in ["=x\n", "a b=x\n", &"N".repeat(300)] {
            assert_eq!(read(&[bad.as_bytes()]).1, Some(ExportError::Name), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            entries in proptest::collection::vec(proptest::collection::vec(("[A-Z_]{1,8}", proptest::collection::vec(any::<u8>(), 0..20)), 1..5), 0..5),
            size in 1_usize..40,
        ) {
            let mut stream = Vec::new();
            for entry in &entries {
                for (name, value) in entry {
                    stream.extend(binary(name, value));
                }
                stream.push(b'\n');
            }
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            let (found, error, is_within) = read(&pieces);
            prop_assert_eq!((error, is_within), (None, false));
            prop_assert_eq!(found.into_iter().map(|(fields, _)| fields).collect::<Vec<_>>(), entries);
        }

        #[test]
        fn any_bytes_are_read_or_refused(stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'='), Just(0), any::<u8>()], 0..300), size in 1_usize..40) {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            read(&pieces);
        }
    }

    #[test]
    fn a_bad_name_is_refused_though_its_line_is_too_long_to_be_kept() {
        let line = [&b"bad\x7fname="[..], &[b'v'; 2_000], b"\n\n"].concat();
        for pieces in [vec![&line[..]], line.chunks(700).collect()] {
            assert_eq!(read(&pieces).1, Some(ExportError::Name));
        }
    }

    #[test]
    fn mutants_are_the_same_entries_whatever_the_pieces() {
        let text = "__CURSOR=s=5c;i=1;b=b;m=1;t=1;x=1\n__REALTIME_TIMESTAMP=1700000000000001\nMESSAGE=m\nPRIORITY=3\n_HOSTNAME=h\nTAG=a\nTAG=b\n\n";
        let mixed = [&binary("MESSAGE", b"two\nlines\xff")[..], b"_PID=7\n\n", text.as_bytes()].concat();
        fuzz(&Seeds::bytes([text.as_bytes().to_vec(), mixed]), |mutant, rng| {
            let whole = read(&[mutant]);
            assert_eq!(read(&rng.pieces(mutant)), whole);
            for (entry, _) in &whole.0 {
                let mut fields: Vec<Field<'_>> =
                    entry.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
                let mut object = heimdall_ingest::Object::new();
                heimdall_ingest::journald::write_entry(&mut fields, &mut object);
                assert!(serde_json::from_str::<&serde_json::value::RawValue>(&object.to_json()).is_ok());
            }
        });
    }
}
