//! One JSON value to one row: what each member of the object means, and where it goes.
//!
//! Invariants:
//! - every member of an accepted record is in a column or in the catch-all object, or is null or an empty text that says
//!   nothing for its field; of equal keys the last one, and that is noted;
//! - an alias never takes a field from the field's own name, nor from an alias before it: it stays in the catch-all;
//! - the builder holds whole rows only, before [`RecordReader::read`] and after `commit` or `abandon`.

use std::borrow::Cow;
use std::net::IpAddr;

use heimdall_model::schema::{self, logs};
use heimdall_model::{BatchBuilder, Dataset, FieldId, FieldType, Level, Timestamp};

use super::members::{Members, push_key};
use super::names::{Entry, EntryIndex, Meaning, Names, Profile, fold_hash};
use super::scan::{Flags, Kind, Scanner, Span, Syntax, Token};
use super::text::{copy_value, escape, unescape};
use crate::body::DecodeLimits;
use crate::decoded::{Decoded, Mark, Notes, RejectKind, Rejected, shown};
use crate::pipeline::{Chosen, Doc, End, Ran};
use crate::records::Reading;

/// Keys remembered from the record before, in order.
const PREDICTED_KEYS_MAX: usize = 128;
/// Fields of a dataset that one `u32` of flags can hold.
const FIELDS_OF_DATASET_MAX: usize = 32;

const DUPLICATE: &str = "occurs more than once: the last value was taken";
const ODD_TEXT: &str = "has NUL or half a surrogate pair: replaced by U+FFFD";
const ODD_NUMBER: &str = "is beyond the range of a double: kept as text";

/// Reads records one after the other into a batch.
#[derive(Debug)]
pub(crate) struct RecordReader<'l> {
    profile: Profile,
    names: &'static Names,
    catch_all: FieldId,
    limits: &'l DecodeLimits,
    now: Timestamp,
    /// Time of the next record, if it states none.
    sent: Option<Timestamp>,
    builder: BatchBuilder,
    pub(crate) notes: Notes,
    index: u64,
    predicted: Vec<Predicted>,
    cursor: usize,
    row: RowState,
    members: Members,
    /// What of a nested object has no field of its own, while it is being read.
    leftover: String,
    /// Dotted path of the nested object being read.
    path: String,
    scratch: String,
    pipes: Option<Box<Piped<'l>>>,
}

/// The pipelines records go through first.
#[derive(Debug)]
struct Piped<'l> {
    chosen: Chosen<'l>,
    out: String,
}

/// A key of the record before: the next record most likely has the same keys in the same order.
#[derive(Debug)]
struct Predicted {
    /// The key and its closing quote.
    quoted: String,
    hash: u64,
    entry: Option<EntryIndex>,
}

/// What is known of the row being read.
#[derive(Debug)]
struct RowState {
    /// Bit `i`: field `i` has a value.
    set: u32,
    /// Where the values of the set fields came from.
    placed: [Placed; FIELDS_OF_DATASET_MAX],
    field_count: usize,
    mark: Mark,
    reject: Option<Rejected>,
}

#[derive(Debug, Clone, Copy)]
struct Placed {
    key: Span,
    entry: EntryIndex,
    is_nested: bool,
    is_first: bool,
    token: Token,
}

/// A member's key.
#[derive(Debug)]
struct Key<'a> {
    /// JSON without its quotes.
    json: Cow<'a, str>,
    /// The same as written in the text.
    span: Span,
    hash: u64,
    entry: Option<EntryIndex>,
    is_nested: bool,
}

/// Whether a value suits a field.
enum Fit {
    Set,
    /// It says nothing.
    Absent,
    Unsuitable(&'static str),
}

impl<'l> RecordReader<'l> {
    pub(crate) fn new(profile: Profile, reading: Reading<'l>) -> Self {
        let Reading { now, limits, pipelines } = reading;
        let dataset = profile.dataset();
        let chosen = pipelines.and_then(|pipes| pipes.set.choose(pipes.origin, dataset));
        let notes = Notes::default();
        let nothing = Token { kind: Kind::Null, span: Span::default(), flags: Flags::default() };
        let nowhere =
            Placed { key: Span::default(), entry: 0, is_nested: false, is_first: false, token: nothing };
        debug_assert!(dataset.fields().len() <= FIELDS_OF_DATASET_MAX);
        RecordReader {
            profile,
            names: profile.names(),
            catch_all: dataset.attributes(),
            limits,
            now,
            sent: None,
            builder: BatchBuilder::new(dataset, now),
            index: 0,
            predicted: Vec::new(),
            cursor: 0,
            row: RowState {
                set: 0,
                placed: [nowhere; FIELDS_OF_DATASET_MAX],
                field_count: 0,
                mark: notes.mark(),
                reject: None,
            },
            notes,
            members: Members::default(),
            leftover: String::new(),
            path: String::new(),
            scratch: String::new(),
            pipes: chosen.map(|chosen| Box::new(Piped { chosen, out: String::new() })),
        }
    }

    /// Whether records go through pipelines.
    pub(crate) fn is_piped(&self) -> bool {
        self.pipes.is_some()
    }

    /// Sets when the records that come next were sent: their time, if they state none.
    pub(crate) fn sent_at(&mut self, time: Option<Timestamp>) {
        self.sent = time;
    }

    /// Index of the record that comes next: how many were read, rejected ones included.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    pub(crate) fn finish(self) -> Decoded {
        self.notes.finish(self.builder.finish())
    }

    /// Reads the value that starts at `scan`; `commit` or `abandon` comes next. After an error nothing is left of it.
    pub(super) fn read(&mut self, scan: &mut Scanner<'_>) -> Result<(), Syntax> {
        self.begin();
        let start = scan.at;
        let read = if scan.peek() == Some(b'{') {
            self.each_member(scan, Self::top_member)
        } else {
            scan.value().map(|token| self.bare(scan.text, token))
        };
        if let Err(syntax) = read {
            self.abandon();
            return Err(syntax);
        }
        if scan.at - start > self.limits.record_bytes_max {
            let reason = format!("record is larger than {} bytes", self.limits.record_bytes_max);
            self.reject(RejectKind::TooLarge, "", reason);
        }
        Ok(())
    }

    /// Reads the value that starts at `scan` and takes it, or rejects it for what is found in it.
    pub(crate) fn record(&mut self, scan: &mut Scanner<'_>) -> Result<(), Syntax> {
        let start = scan.at;
        if self.pipes.is_some() {
            let text = scan.value()?.span.of(scan.text);
            let _ = self.piped(text); // what was rejected is noted
            return Ok(());
        }
        self.read(scan)?;
        self.commit(&scan.text[start..scan.at]);
        Ok(())
    }

    /// Reads and takes the one value that `text` is.
    ///
    /// # Errors
    /// Why it was rejected; it is noted already.
    pub(crate) fn take_text(&mut self, text: &str) -> Result<(), Rejected> {
        if self.pipes.is_some() { self.piped(text) } else { self.take_plain(text, text) }
    }

    /// Takes `text`, which was made of `raw`.
    fn take_plain(&mut self, text: &str, raw: &str) -> Result<(), Rejected> {
        let mut scan = Scanner::new(text);
        scan.skip_space();
        let read = self.read(&mut scan).and_then(|()| {
            scan.skip_space();
            if scan.peek().is_none() { Ok(()) } else { scan.fail("text after the end of the value") }
        });
        match read {
            Ok(()) => self.settle(raw),
            Err(syntax) => {
                self.abandon();
                let reason = format!("record is not JSON at byte {}: {}", syntax.at, syntax.detail);
                Err(self.reject_unread_field(RejectKind::Syntax, "", reason, raw.as_bytes()))
            }
        }
    }

    /// Sends `text` through the pipelines, and takes what comes out.
    fn piped(&mut self, text: &str) -> Result<(), Rejected> {
        let Some(mut piped) = self.pipes.take() else { return self.take_plain(text, text) };
        let taken = self.piped_by(&mut piped, text);
        self.pipes = Some(piped);
        taken
    }

    fn piped_by(&mut self, piped: &mut Piped<'l>, text: &str) -> Result<(), Rejected> {
        let raw = text.as_bytes();
        if text.len() > self.limits.record_bytes_max {
            let reason = format!("record is larger than {} bytes", self.limits.record_bytes_max);
            return Err(self.reject_unread_field(RejectKind::TooLarge, "", reason, raw));
        }
        let event = if self.profile == Profile::Event { Some(self.checked_event(text)?) } else { None };
        let record = event.as_deref().unwrap_or(text);
        match piped.chosen.run(record, self.profile.dataset(), self.now, &mut piped.out) {
            Err(syntax) => {
                let reason = format!("record is not JSON at byte {}: {}", syntax.at, syntax.detail);
                Err(self.reject_unread_field(RejectKind::Syntax, "", reason, raw))
            }
            Ok(Ran::Untouched) => self.take_plain(text, text),
            Ok(Ran::Changed { redacted, errors }) => {
                let taken = if event.is_some() {
                    self.as_log(|this| this.take_plain(&piped.out, text))
                } else {
                    self.take_plain(&piped.out, text)
                };
                if taken.is_ok() {
                    self.notes.redacted += u64::from(redacted);
                    self.notes.pipeline_errors += errors;
                }
                taken
            }
            Ok(Ran::End(End::Dropped | End::Sampled)) => {
                self.notes.dropped += 1;
                self.index += 1;
                Ok(())
            }
            Ok(Ran::End(End::Quarantined { field, reason })) => self.quarantine(field, reason, raw),
            Ok(Ran::End(End::Rejected { field, reason })) => {
                Err(self.reject_unread_field(RejectKind::Schema, &field, reason, raw))
            }
        }
    }

    /// Keeps the record aside. Where there is no room for it, its sender has to look after it.
    fn quarantine(&mut self, field: String, reason: String, raw: &[u8]) -> Result<(), Rejected> {
        let kind = RejectKind::Schema;
        let why = Rejected { index: self.index, field: field.into(), reason: reason.into(), kind };
        if self.notes.quarantine(&why, raw) {
            self.index += 1;
            return Ok(());
        }
        let reason = format!("{}; there is no room to keep it aside", why.reason);
        Err(self.reject_unread_field(kind, &why.field, reason, raw))
    }

    /// Checks a typed event, and gives its fields the names log records have.
    fn checked_event(&mut self, text: &str) -> Result<String, Rejected> {
        let mut scan = Scanner::new(text);
        scan.skip_space();
        if let Err(syntax) = self.read(&mut scan) {
            let reason = format!("record is not JSON at byte {}: {}", syntax.at, syntax.detail);
            return Err(self.reject_unread_field(RejectKind::Syntax, "", reason, text.as_bytes()));
        }
        self.check_required();
        if self.row.reject.is_some() {
            return self.settle(text).map(|()| String::new());
        }
        self.abandon();
        let mut doc = Doc::parse(text).unwrap_or_default();
        for (name, of_log) in [("source", "service"), ("ip", "source_ip")] {
            // What has the name already was an attribute.
            doc.rename_key(of_log, &format!("event.{of_log}"));
            doc.rename_key(name, of_log);
        }
        Ok(doc.to_json())
    }

    /// Reads what `take` takes as log records.
    fn as_log<T>(&mut self, take: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.profile;
        self.read_as(Profile::Logs);
        let taken = take(self);
        self.read_as(before);
        taken
    }

    fn read_as(&mut self, profile: Profile) {
        self.profile = profile;
        self.names = profile.names();
        self.predicted.clear(); // they are of the other names
    }

    /// Takes the record that was read, or rejects it for what was found in it; whether it was taken.
    pub(crate) fn commit(&mut self, raw: &str) -> bool {
        self.settle(raw).is_ok()
    }

    fn check_required(&mut self) {
        for (id, name) in self.profile.required() {
            if !self.is_set(*id) {
                self.reject(RejectKind::Missing, name, "is missing".to_owned());
            }
        }
    }

    fn settle(&mut self, raw: &str) -> Result<(), Rejected> {
        self.check_required();
        if let Some(rejected) = self.row.reject.take() {
            self.abandon();
            self.index += 1;
            self.notes.bury(&rejected, raw.as_bytes());
            self.notes.reject(rejected.clone());
            return Err(rejected);
        }
        if !self.is_set(schema::TIMESTAMP) {
            self.builder.set_int(schema::TIMESTAMP, self.sent.unwrap_or(self.now).0);
            self.notes.timestamps_assigned += u64::from(self.sent.is_none());
        }
        self.members.finish(&mut self.builder, self.catch_all);
        self.builder.end_row();
        self.index += 1;
        Ok(())
    }

    /// Forgets the record that was read.
    pub(crate) fn abandon(&mut self) {
        self.builder.drop_row();
        self.notes.rewind(self.row.mark);
    }

    /// Counts a piece of the body that is no record at all.
    pub(crate) fn reject_unread(&mut self, kind: RejectKind, reason: String, raw: &[u8]) {
        self.reject_unread_field(kind, "", reason, raw);
    }

    /// The same, naming the field at fault.
    pub(crate) fn reject_unread_field(
        &mut self,
        kind: RejectKind,
        field: &str,
        reason: String,
        raw: &[u8],
    ) -> Rejected {
        let field = shown(field).to_owned().into(); // one that is said of many records may be long
        let rejected = Rejected { index: self.index, field, reason: reason.into(), kind };
        self.notes.bury(&rejected, raw);
        self.notes.reject(rejected.clone());
        self.index += 1;
        rejected
    }

    fn begin(&mut self) {
        self.cursor = 0;
        self.members.clear();
        self.row.set = 0;
        self.row.field_count = 0;
        self.row.mark = self.notes.mark();
        self.row.reject = None;
    }

    fn is_set(&self, id: FieldId) -> bool {
        self.row.set >> id.0 & 1 == 1
    }

    /// The first reason stays.
    fn reject(&mut self, kind: RejectKind, field: &str, reason: String) {
        let index = self.index;
        self.row.reject.get_or_insert_with(|| Rejected {
            index,
            field: field.to_owned().into(),
            reason: reason.into(),
            kind,
        });
    }

    /// A value that is not an object: the message of a log record.
    fn bare(&mut self, text: &str, token: Token) {
        if self.profile != Profile::Logs {
            return self.reject(RejectKind::NotObject, "", "is not an object".to_owned());
        }
        self.scratch.clear();
        match token.kind {
            Kind::String => unescape(token.inner(text), &mut self.scratch),
            Kind::Object | Kind::Array => copy_value(text, token, &mut self.scratch),
            Kind::Number | Kind::Bool | Kind::Null => self.scratch.push_str(token.span.of(text)),
        }
        self.builder.set_text(logs::MESSAGE, &self.scratch);
        if token.kind != Kind::Number {
            self.note_odd("message", token.flags);
        }
    }

    // ---- members ----------------------------------------------------------------------------------------------

    /// Walks the object that starts at `scan`; `member` reads one key and its value.
    fn each_member<'a>(
        &mut self,
        scan: &mut Scanner<'a>,
        mut member: impl FnMut(&mut Self, &mut Scanner<'a>) -> Result<(), Syntax>,
    ) -> Result<(), Syntax> {
        scan.enter()?;
        scan.skip_space();
        if scan.peek() == Some(b'}') {
            scan.leave();
            return Ok(());
        }
        loop {
            self.count_field();
            member(self, scan)?;
            scan.skip_space();
            match scan.peek() {
                Some(b',') => scan.at += 1,
                Some(b'}') => {
                    scan.leave();
                    return Ok(());
                }
                Some(_) => return scan.fail("expected `,` or `}`"),
                None => return scan.fail("object is not closed"),
            }
            scan.skip_space();
        }
    }

    fn count_field(&mut self) {
        self.row.field_count += 1;
        if self.row.field_count > self.limits.fields_max {
            let reason = format!("record has more than {} fields", self.limits.fields_max);
            self.reject(RejectKind::TooLarge, "", reason);
        }
    }

    fn top_member(&mut self, scan: &mut Scanner<'_>) -> Result<(), Syntax> {
        let key = self.top_key(scan)?;
        let entry = key.entry.map(|index| self.names.entry(index));
        if scan.peek() == Some(b'{')
            && let Some(entry) = entry
        {
            if self.is_catch_all(entry) {
                return self.merge(scan);
            }
            if entry.is_outer {
                return self.outer(scan, &key, entry);
            }
        }
        let token = scan.value()?;
        if !self.place(scan.text, &key, token) {
            self.keep(scan.text, &key, token);
        }
        Ok(())
    }

    fn is_catch_all(&self, entry: &Entry) -> bool {
        entry.meaning.is_some_and(|meaning| meaning.id == self.catch_all)
    }

    /// The members of an object given as the catch-all itself.
    fn merge(&mut self, scan: &mut Scanner<'_>) -> Result<(), Syntax> {
        self.each_member(scan, |this, scan| {
            let key = this.key(scan)?;
            let token = scan.value()?;
            this.keep(scan.text, &key, token);
            Ok(())
        })
    }

    /// An object under a name that begins dotted names, such as `trace` of `trace.traceId`.
    fn outer(&mut self, scan: &mut Scanner<'_>, key: &Key<'_>, entry: &Entry) -> Result<(), Syntax> {
        self.path.clear();
        self.path.push_str(&entry.name);
        self.leftover.clear();
        self.leftover.push('{');
        self.each_member(scan, Self::nested_member)?;
        if self.leftover.len() > 1 {
            self.leftover.push('}');
            let leftover = &self.leftover;
            let replaced = self.members.push(&key.json, key.hash, |out| out.push_str(leftover));
            self.note_duplicate(replaced, &key.json);
        }
        Ok(())
    }

    fn nested_member(&mut self, scan: &mut Scanner<'_>) -> Result<(), Syntax> {
        let path_len = self.path.len();
        let key = self.nested_key(scan)?;
        let entry = key.entry.map(|index| self.names.entry(index));
        if scan.peek() == Some(b'{')
            && let Some(entry) = entry
        {
            if self.is_catch_all(entry) {
                self.merge(scan)?;
                self.path.truncate(path_len);
                return Ok(());
            }
            if entry.is_outer {
                self.nested_outer(scan, &key)?;
                self.path.truncate(path_len);
                return Ok(());
            }
        }
        let token = scan.value()?;
        if !self.place(scan.text, &key, token) {
            self.leftover_key(&key);
            copy_value(scan.text, token, &mut self.leftover);
            self.note_odd(&key.json, token.flags);
        }
        self.path.truncate(path_len);
        Ok(())
    }

    /// As [`Self::outer`], one level further in. It ends where the dotted names of the schema end.
    fn nested_outer(&mut self, scan: &mut Scanner<'_>, key: &Key<'_>) -> Result<(), Syntax> {
        let before = self.leftover.len();
        self.leftover_key(key);
        self.leftover.push('{');
        let empty = self.leftover.len();
        self.each_member(scan, Self::nested_member)?;
        if self.leftover.len() == empty {
            self.leftover.truncate(before);
        } else {
            self.leftover.push('}');
        }
        Ok(())
    }

    fn leftover_key(&mut self, key: &Key<'_>) {
        if !self.leftover.ends_with('{') {
            self.leftover.push(',');
        }
        push_key(&mut self.leftover, &key.json);
    }

    // ---- keys -------------------------------------------------------------------------------------------------

    /// Reads a key of the record itself, and the colon; the keys of the record before are tried first.
    fn top_key<'a>(&mut self, scan: &mut Scanner<'a>) -> Result<Key<'a>, Syntax> {
        if scan.peek() == Some(b'"') {
            let after = &scan.rest()[1..];
            let matches = |skip: &usize| {
                let predicted = self.predicted.get(self.cursor + skip);
                predicted.is_some_and(|predicted| after.starts_with(predicted.quoted.as_bytes()))
            };
            if let Some(skip) = (0..2).find(matches) {
                let predicted = &self.predicted[self.cursor + skip];
                let span = Span { start: scan.at + 1, end: scan.at + predicted.quoted.len() };
                scan.at = span.end + 1;
                self.cursor += skip + 1;
                let json = Cow::Borrowed(span.of(scan.text));
                let key = Key { json, span, hash: predicted.hash, entry: predicted.entry, is_nested: false };
                return colon(scan).map(|()| key);
            }
        }
        let mut key = self.key(scan)?;
        key.entry = self.names.find(key.hash, self.plain_key(&key).as_bytes());
        self.predict(&key);
        Ok(key)
    }

    fn predict(&mut self, key: &Key<'_>) {
        if let Cow::Borrowed(json) = key.json
            && self.cursor < PREDICTED_KEYS_MAX
        {
            if self.cursor >= self.predicted.len() {
                self.predicted.push(Predicted { quoted: String::new(), hash: 0, entry: None });
                self.cursor = self.predicted.len() - 1;
            }
            let predicted = &mut self.predicted[self.cursor];
            predicted.quoted.clear();
            predicted.quoted.push_str(json);
            predicted.quoted.push('"');
            predicted.hash = key.hash;
            predicted.entry = key.entry;
        }
        self.cursor += 1;
    }

    /// Reads a key inside the nested object at `self.path`, and appends it to the path.
    fn nested_key<'a>(&mut self, scan: &mut Scanner<'a>) -> Result<Key<'a>, Syntax> {
        let mut key = self.key(scan)?;
        self.path.push('.');
        match &key.json {
            Cow::Borrowed(json) => self.path.push_str(json),
            Cow::Owned(_) => self.path.push_str(&self.scratch),
        }
        key.entry = self.names.find(fold_hash(self.path.as_bytes()), self.path.as_bytes());
        key.is_nested = true;
        Ok(key)
    }

    /// Reads any key and the colon, without looking it up. The text of a key with escapes is in `scratch`.
    fn key<'a>(&mut self, scan: &mut Scanner<'a>) -> Result<Key<'a>, Syntax> {
        if scan.peek() != Some(b'"') {
            return scan.fail("expected a field name in quotes");
        }
        let mut flags = Flags::default();
        let span = scan.string(&mut flags)?;
        colon(scan)?;
        let raw = span.of(scan.text);
        if raw.len() > self.limits.key_bytes_max {
            let reason = format!("field name is longer than {} bytes", self.limits.key_bytes_max);
            self.reject(RejectKind::TooLarge, raw, reason);
        }
        let mut json = Cow::Borrowed(raw);
        if flags.has(Flags::ESCAPED) {
            self.scratch.clear();
            unescape(raw, &mut self.scratch);
            let mut escaped = String::with_capacity(raw.len());
            escape(&self.scratch, &mut escaped);
            json = Cow::Owned(escaped);
            self.note_odd(raw, flags);
        }
        let mut key = Key { json, span, hash: 0, entry: None, is_nested: false };
        key.hash = fold_hash(self.plain_key(&key).as_bytes());
        Ok(key)
    }

    /// The text of the key that [`Self::key`] has just read.
    fn plain_key<'k>(&'k self, key: &'k Key<'_>) -> &'k str {
        match &key.json {
            Cow::Borrowed(json) => json,
            Cow::Owned(_) => &self.scratch,
        }
    }

    // ---- values -----------------------------------------------------------------------------------------------

    /// Puts a member into the catch-all object.
    fn keep(&mut self, text: &str, key: &Key<'_>, token: Token) {
        let replaced = self.members.push(&key.json, key.hash, |out| copy_value(text, token, out));
        self.note_duplicate(replaced, &key.json);
        self.note_odd(&key.json, token.flags);
    }

    fn note_duplicate(&mut self, replaced: bool, key: &str) {
        if replaced {
            self.notes.coerce(self.index, key, DUPLICATE);
        }
    }

    #[inline]
    fn note_odd(&mut self, key: &str, flags: Flags) {
        if flags.has(Flags::ODD_TEXT) {
            self.notes.coerce(self.index, key, ODD_TEXT);
        }
        if flags.has(Flags::ODD_NUMBER) {
            self.notes.coerce(self.index, key, ODD_NUMBER);
        }
    }

    /// Puts a value into the field its key means; `false`: it has none, or the value does not suit it.
    #[inline(always)]
    fn place(&mut self, text: &str, key: &Key<'_>, token: Token) -> bool {
        let Some((index, meaning)) = key.entry.and_then(|i| Some((i, self.names.entry(i).meaning?))) else {
            return false;
        };
        if token.kind == Kind::Null {
            return true;
        }
        let before = self.is_set(meaning.id).then(|| self.row.placed[meaning.id.index()]);
        let is_again =
            before.is_some_and(|before| before.entry == index && before.key.of(text) == key.span.of(text));
        if before.is_some_and(|before| !is_again && (before.is_first || !meaning.is_first)) {
            return false;
        }
        match self.set(meaning, text, token) {
            Fit::Set => {}
            Fit::Absent => return true,
            Fit::Unsuitable(reason) if meaning.is_strict => {
                self.reject(RejectKind::Invalid, &key.json, reason.to_owned());
                return true;
            }
            Fit::Unsuitable(reason) => {
                self.notes.coerce(self.index, &key.json, reason);
                return false;
            }
        }
        if matches!(meaning.ty, FieldType::Text | FieldType::Json) {
            self.note_odd(&key.json, token.flags);
        }
        match before {
            Some(_) if is_again => self.notes.coerce(self.index, &key.json, DUPLICATE),
            Some(before) => self.displace(text, before),
            None => {}
        }
        self.row.set |= 1 << meaning.id.0;
        self.row.placed[meaning.id.index()] = Placed {
            key: key.span,
            entry: index,
            is_nested: key.is_nested,
            is_first: meaning.is_first,
            token,
        };
        true
    }

    /// Moves the value of an alias into the catch-all: the field's own name came after it.
    fn displace(&mut self, text: &str, before: Placed) {
        let key = if before.is_nested { &self.names.entry(before.entry).name } else { before.key.of(text) };
        self.members.push(key, fold_hash(key.as_bytes()), |out| copy_value(text, before.token, out));
    }

    fn set(&mut self, meaning: Meaning, text: &str, token: Token) -> Fit {
        if meaning.ty == FieldType::Text {
            return self.set_text(meaning, text, token);
        }
        let plain = match token.kind {
            Kind::String if token.flags.has(Flags::ESCAPED) => {
                self.scratch.clear();
                unescape(token.inner(text), &mut self.scratch);
                &self.scratch
            }
            Kind::String => token.inner(text),
            _ => token.span.of(text),
        };
        if plain.is_empty() && !meaning.is_strict {
            return Fit::Absent;
        }
        let is_text = token.kind == Kind::String;
        let is_scalar = is_text || token.kind == Kind::Number;
        let builder = &mut self.builder;
        match meaning.ty {
            FieldType::Time => match time(plain, is_text, self.now).filter(|_| is_scalar) {
                Some(time) => builder.set_int(meaning.id, time.0),
                None => return Fit::Unsuitable("is not a time"),
            },
            FieldType::Level => match Level::parse(plain).filter(|_| is_text) {
                Some(level) => builder.set_level(level),
                None => return Fit::Unsuitable("is not a level"),
            },
            FieldType::Int => match plain.trim().parse().ok().filter(|_| is_scalar) {
                Some(number) => builder.set_int(meaning.id, number),
                None => return Fit::Unsuitable("is not a whole number"),
            },
            FieldType::Float => {
                match plain.trim().parse().ok().filter(|x: &f64| is_scalar && x.is_finite()) {
                    Some(number) => builder.set_float(meaning.id, number),
                    None => return Fit::Unsuitable("is not a finite number"),
                }
            }
            FieldType::Id16 => match hex::<16>(plain).filter(|_| is_text) {
                Some(id) => builder.set_bytes(meaning.id, &id),
                None => return Fit::Unsuitable("is not 32 hex digits, or all of them are zero"),
            },
            FieldType::Id8 => match hex::<8>(plain).filter(|_| is_text) {
                Some(id) => builder.set_bytes(meaning.id, &id),
                None => return Fit::Unsuitable("is not 16 hex digits, or all of them are zero"),
            },
            FieldType::Json if token.kind == Kind::Array && meaning.id != self.catch_all => {
                self.scratch.clear();
                copy_value(text, token, &mut self.scratch);
                builder.set_text(meaning.id, &self.scratch);
            }
            FieldType::Json if meaning.id == self.catch_all => return Fit::Unsuitable("is not an object"),
            FieldType::Json => return Fit::Unsuitable("is not an array"),
            FieldType::Text => unreachable!("texts were handled above"),
        }
        Fit::Set
    }

    #[inline]
    fn set_text(&mut self, meaning: Meaning, text: &str, token: Token) -> Fit {
        let plain = match token.kind {
            Kind::String if token.flags.has(Flags::ESCAPED) => {
                self.scratch.clear();
                unescape(token.inner(text), &mut self.scratch);
                &self.scratch
            }
            Kind::String => token.inner(text),
            Kind::Number | Kind::Bool if !meaning.is_strict => token.span.of(text),
            _ => return Fit::Unsuitable("is not text"),
        };
        if meaning.is_strict {
            if plain.trim().is_empty() {
                return Fit::Unsuitable("is empty");
            }
            if self.profile == Profile::Event
                && meaning.id == logs::SOURCE_IP
                && plain.parse::<IpAddr>().is_err()
            {
                return Fit::Unsuitable("is not an IP address");
            }
        }
        if self.profile.dataset() == Dataset::Logs && meaning.id == logs::CLASSIFICATION {
            let Some(class) = CLASSES.iter().find(|class| class.eq_ignore_ascii_case(plain)) else {
                return Fit::Unsuitable("is not public, internal, confidential or restricted");
            };
            self.builder.set_text(meaning.id, class);
            return Fit::Set;
        }
        self.builder.set_text(meaning.id, plain);
        Fit::Set
    }
}

const CLASSES: [&str; 4] = ["public", "internal", "confidential", "restricted"];

/// Reads the white space and colon after a key, up to the value.
#[inline]
fn colon(scan: &mut Scanner<'_>) -> Result<(), Syntax> {
    scan.skip_space();
    if !scan.take(b':') {
        return scan.fail("expected `:` after a field name");
    }
    scan.skip_space();
    Ok(())
}

fn time(plain: &str, is_text: bool, now: Timestamp) -> Option<Timestamp> {
    let time = match plain.parse() {
        _ if is_text => Timestamp::parse_with(plain, now),
        Ok(number) => Timestamp::from_epoch_int(number),
        Err(_) => Timestamp::parse(plain).or_else(|| Timestamp::from_epoch_float(plain.parse().ok()?)),
    };
    // The last representable moment is no event time ("never", in many programs), and no time range ends after it.
    time.filter(|time| time.0 < i64::MAX)
}

/// Reads `2 N` hex digits that are not all zero.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    const NO_DIGIT: u8 = 0xff;
    const DIGITS: [u8; 256] = {
        let mut digits = [NO_DIGIT; 256];
        let mut value = 0_u8;
        while value < 16 {
            let (lower, upper) = (b"0123456789abcdef"[value as usize], b"0123456789ABCDEF"[value as usize]);
            digits[lower as usize] = value;
            digits[upper as usize] = value;
            value += 1;
        }
        digits
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut id = [0; N];
    let mut all = 0_u8;
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        all |= high | low;
        *byte = high << 4 | low & 15;
    }
    (all != 0 && all < 16).then_some(id)
}
