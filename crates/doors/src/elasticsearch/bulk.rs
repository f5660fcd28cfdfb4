//! Bulk bodies: lines that say what to do, each but `delete` followed by the line of a document.
//!
//! Invariants:
//! - every action of the body is an [`Item`], in order; one that was not taken says why, and the others are taken;
//! - a line that is no action refuses the body: from there on nobody knows which line is a document;
//! - a body has a key only when every one of its documents has an id.
//!
//! Records keep the index as `_index`, a given id as `_id`, and `data_stream.*` where the index is named like a data stream and the
//! document does not say it itself.

use std::sync::Arc;

use heimdall_ingest::records::write;
use heimdall_ingest::{BodyError, Decoded, Object, Reading, Records, RejectKind, Rejected};
use heimdall_model::Dataset;
use memchr::memmem;
use ring::digest::{Context, SHA256};

use crate::members::{Members, with_members};

/// Bytes of an index name, as Elasticsearch has it.
const INDEX_BYTES_MAX: usize = 255;
/// Bytes of an id, as Elasticsearch has it.
const ID_BYTES_MAX: usize = 512;
/// Bytes of an action line: a longer one is none.
const ACTION_BYTES_MAX: usize = 64 * 1024;
/// Type of the error of a document that could not be read.
const MAPPER_PARSING: &str = "mapper_parsing_exception";
/// Type of the error of an action that is not done here.
const ILLEGAL_ARGUMENT: &str = "illegal_argument_exception";

const NO_UPDATE: &str = "records cannot be changed here: `update` is taken only with `doc` and `doc_as_upsert: true`, as a new record";

/// What to do with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Index,
    Create,
    Update,
    Delete,
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Action::Index => "index",
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
        }
    }

    fn from_name(name: &str) -> Option<Action> {
        [Action::Index, Action::Create, Action::Update, Action::Delete]
            .into_iter()
            .find(|action| action.as_str() == name)
    }
}

/// Why an item was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ItemError {
    pub(super) kind: &'static str,
    pub(super) reason: String,
}

impl From<Rejected> for ItemError {
    fn from(rejected: Rejected) -> ItemError {
        let reason = match rejected.field.as_ref() {
            "" => format!("failed to parse: {}", rejected.reason),
            field => format!("failed to parse field [{field}]: {}", rejected.reason),
        };
        ItemError { kind: MAPPER_PARSING, reason }
    }
}

/// An action and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) action: Action,
    pub(super) index: Option<Arc<str>>,
    /// As the sender gave it.
    pub(super) id: Option<Box<str>>,
    pub(super) error: Option<Box<ItemError>>,
}

/// A body, read.
#[derive(Debug)]
pub(super) struct Bulk {
    pub(super) decoded: Decoded,
    pub(super) items: Vec<Item>,
    /// The same for the same documents under the same ids.
    pub(super) key: Option<String>,
}

/// Reads a bulk body; `index` is that of its path.
///
/// # Errors
/// [`BodyError`]: nothing of it is taken.
pub(super) fn decode(body: &[u8], reading: Reading<'_>, index: Option<&str>) -> Result<Bulk, BodyError> {
    let mut reader = Reader::new(reading, index);
    let mut lines = Lines { rest: body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body), number: 0 };
    while let Some(line) = lines.next_filled() {
        reader.records.has_room()?;
        let head = Head::read(line).map_err(|detail| BodyError::Malformed {
            format: "a bulk body",
            detail: format!("malformed action/metadata line [{}], {detail}", lines.number),
        })?;
        let document = if head.action == Action::Delete { None } else { lines.next() };
        reader.take(head, document);
    }
    if reader.items.is_empty() { Err(BodyError::Empty) } else { Ok(reader.finish()) }
}

/// Reads the one document of a request that names index and id in its path.
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_one(
    body: &[u8],
    reading: Reading<'_>,
    action: Action,
    index: &str,
    id: Option<String>,
) -> Result<Bulk, BodyError> {
    if body.trim_ascii().is_empty() {
        return Err(BodyError::Empty);
    }
    let mut reader = Reader::new(reading, Some(index));
    reader.records.has_room()?;
    reader.take(Head { action, index: None, id: id.map(String::into_boxed_str) }, Some(body));
    Ok(reader.finish())
}

struct Lines<'b> {
    rest: &'b [u8],
    /// Of the line handed over last, from 1.
    number: usize,
}

impl<'b> Lines<'b> {
    fn next(&mut self) -> Option<&'b [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        self.number += 1;
        Some(line.trim_ascii())
    }

    fn next_filled(&mut self) -> Option<&'b [u8]> {
        loop {
            let line = self.next()?;
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

/// What an action line says.
struct Head {
    action: Action,
    index: Option<Box<str>>,
    id: Option<Box<str>>,
}

impl Head {
    fn read(line: &[u8]) -> Result<Head, String> {
        let line = std::str::from_utf8(line).ok().filter(|line| line.len() <= ACTION_BYTES_MAX);
        let members = line.and_then(Members::read).ok_or("expected an object such as {\"create\":{}}")?;
        let (name, meta) = members.iter().next().ok_or("expected an action, found an empty object")?;
        let action = Action::from_name(name).ok_or_else(|| {
            let name: String = name.chars().take(40).collect();
            format!("expected one of [create, delete, index, update] but found [{name}]")
        })?;
        let meta = Members::read(meta).ok_or("expected an object behind the action")?;
        let text = |key| meta.text(key).map(|text| Box::from(text.as_ref()));
        Ok(Head { action, index: text("_index"), id: text("_id") })
    }
}

/// An index, and what its records are given: members as JSON.
struct Named {
    name: Arc<str>,
    plain: String,
    with_data_stream: String,
}

impl Named {
    fn new(name: &str) -> Named {
        let mut object = Object::new();
        object.text("_index", name);
        let plain = inside(&object);
        if let Some((kind, dataset, namespace)) = data_stream(name) {
            object.value("data_stream", |out| {
                let members = [("type", kind), ("dataset", dataset), ("namespace", namespace)];
                write::object(out, members, write::text);
            });
        }
        Named { name: Arc::from(name), plain, with_data_stream: inside(&object) }
    }

    fn members(&self, document: &[u8]) -> &str {
        let says_itself = memmem::find(document, b"\"data_stream").is_some();
        if says_itself { &self.plain } else { &self.with_data_stream }
    }
}

fn inside(object: &Object) -> String {
    let json = object.to_json();
    json[1..json.len() - 1].to_owned()
}

/// Type, dataset and namespace of an index named like a data stream.
fn data_stream(index: &str) -> Option<(&str, &str, &str)> {
    let mut parts = index.splitn(3, '-');
    let (kind, dataset, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    let is_one =
        matches!(kind, "logs" | "metrics" | "traces") && !dataset.is_empty() && !namespace.is_empty();
    is_one.then_some((kind, dataset, namespace))
}

struct Reader<'r> {
    records: Records<'r>,
    items: Vec<Item>,
    of_path: Option<Named>,
    /// The index named last by an action: the next one most likely names the same.
    named: Option<Named>,
    /// Of the documents so far, while all of them have ids.
    digest: Option<Context>,
    record_bytes_max: usize,
    json: String,
    more: String,
}

impl<'r> Reader<'r> {
    fn new(reading: Reading<'r>, index: Option<&str>) -> Reader<'r> {
        Reader {
            records: Records::new(Dataset::Logs, reading),
            items: Vec::new(),
            of_path: index.map(Named::new),
            named: None,
            digest: Some(Context::new(&SHA256)),
            record_bytes_max: reading.limits.record_bytes_max,
            json: String::new(),
            more: String::new(),
        }
    }

    fn finish(self) -> Bulk {
        let key = self.digest.map(|digest| {
            let mut key = String::new();
            write::hex(&mut key, digest.finish().as_ref());
            key.trim_matches('"').to_owned()
        });
        Bulk { decoded: self.records.finish(), items: self.items, key }
    }

    fn take(&mut self, head: Head, document: Option<&[u8]>) {
        if let Some(name) = head.index.as_deref()
            && self.named.as_ref().is_none_or(|named| *named.name != *name)
        {
            self.named = Some(Named::new(name));
        }
        let named = if head.index.is_some() { &self.named } else { &self.of_path };
        let index = named.as_ref().map(|named| Arc::clone(&named.name));
        self.digest(index.as_deref(), head.id.as_deref(), document.unwrap_or_default());
        let taken = self.document(&head, document);
        let error = taken.err().map(Box::new);
        self.items.push(Item { action: head.action, index, id: head.id, error });
    }

    fn document(&mut self, head: &Head, document: Option<&[u8]>) -> Result<(), ItemError> {
        let named = if head.index.is_some() { self.named.as_ref() } else { self.of_path.as_ref() };
        let name = named.map(|named| &*named.name);
        let line = document;
        let document = names_fault(name, head.id.as_deref())
            .map_or_else(|| acted_on(head.action, line, self.record_bytes_max), Err)
            .map_err(|error| refuse(&mut self.records, error, line.unwrap_or_default()))?;
        let Ok(document) = std::str::from_utf8(document) else {
            return Ok(self.records.json_bytes(document)?);
        };
        if !document.trim_ascii_start().starts_with('{') {
            return Err(self
                .records
                .reject_raw(RejectKind::NotObject, "", "document is not an object", document.as_bytes())
                .into());
        }
        self.more.clear();
        if let Some(named) = named {
            self.more.push_str(named.members(document.as_bytes()));
        }
        if let Some(id) = head.id.as_deref() {
            self.more.push_str(if self.more.is_empty() { "\"_id\":" } else { ",\"_id\":" });
            write::text(&mut self.more, id);
        }
        if self.more.is_empty() {
            return Ok(self.records.json(document)?);
        }
        with_members(document, &self.more, &mut self.json);
        Ok(self.records.json(&self.json)?)
    }

    fn digest(&mut self, index: Option<&str>, id: Option<&str>, document: &[u8]) {
        let (Some(digest), Some(id)) = (self.digest.as_mut(), id) else {
            self.digest = None;
            return;
        };
        for part in [index.unwrap_or_default().as_bytes(), id.as_bytes(), document] {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
}

fn illegal(reason: &str) -> ItemError {
    ItemError { kind: ILLEGAL_ARGUMENT, reason: reason.to_owned() }
}

fn refuse(records: &mut Records<'_>, error: ItemError, line: &[u8]) -> ItemError {
    records.reject_raw(RejectKind::Invalid, "", error.reason.clone(), line);
    error
}

fn names_fault(index: Option<&str>, id: Option<&str>) -> Option<ItemError> {
    let index_bytes = index.map_or(0, str::len);
    if index_bytes > INDEX_BYTES_MAX {
        let reason = format!("index name is too long, ({index_bytes} > {INDEX_BYTES_MAX})");
        return Some(ItemError { kind: "invalid_index_name_exception", reason });
    }
    let id_bytes = id.map_or(0, str::len);
    (id_bytes > ID_BYTES_MAX).then(|| {
        illegal(&format!("id is too long, must be no longer than {ID_BYTES_MAX} bytes but was: {id_bytes}"))
    })
}

/// The document that an action is about, when it is one that is done here.
fn acted_on(action: Action, line: Option<&[u8]>, record_bytes_max: usize) -> Result<&[u8], ItemError> {
    if action == Action::Delete {
        return Err(illegal("records cannot be deleted here: logs are only added to"));
    }
    let line = line.ok_or_else(|| illegal("no document follows the action: the body ends there"))?;
    match action {
        Action::Update if line.len() <= record_bytes_max => upserted(line).ok_or_else(|| illegal(NO_UPDATE)),
        _ => Ok(line),
    }
}

/// The document of an update that is to be made when there is none.
fn upserted(line: &[u8]) -> Option<&[u8]> {
    let members = std::str::from_utf8(line).ok().and_then(Members::read)?;
    let is_upsert = members.raw("doc_as_upsert") == Some("true");
    members.raw("doc").filter(|_| is_upsert).map(str::as_bytes)
}

#[cfg(test)]
mod tests {
    use heimdall_ingest::DecodeLimits;
    use heimdall_model::Timestamp;
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::check_batch;

    fn read(body: &[u8], index: Option<&str>) -> Result<Bulk, BodyError> {
        let limits = DecodeLimits::default();
        decode(body, Reading::new(Timestamp(5), &limits), index)
    }

    fn rows(bulk: &Bulk) -> Vec<Value> {
        bulk.decoded.batch.iter().map(|row| Value::Object(row.to_json())).collect()
    }

    fn reasons(bulk: &Bulk) -> Vec<String> {
        let reason = |item: &Item| {
            item.error.as_ref().map_or("ok".to_owned(), |error| format!("{}: {}", error.kind, error.reason))
        };
        bulk.items.iter().map(reason).collect()
    }

    #[test]
    fn documents_are_records_with_index_id_and_data_stream() {
        let body = br#"{"create":{"_index":"logs-nginx.access-prod"}}
{"@timestamp":"2026-11-27T10:00:00Z","message":"a","log":{"level":"warn"},"service":{"name":"web"}}
{"index":{"_index":"old","_id":7}}
{"message":"b"}

{"create":{"_index":"logs-x-y"}}
{"message":"c","data_stream":{"dataset":"own"}}
{"index":{}}
{}
"#;
        let bulk = read(body, Some("of-path")).unwrap();
        let rows = rows(&bulk);
        assert_eq!((rows[0]["message"].clone(), rows[0]["level"].clone()), (json!("a"), json!("warn")));
        assert_eq!(
            (rows[0]["service"].clone(), rows[0]["timestamp"].clone()),
            (json!("web"), json!("2026-11-27T10:00:00.000000000Z"))
        );
        assert_eq!(
            rows[0]["attributes"],
            json!({"_index": "logs-nginx.access-prod", "data_stream": {"type": "logs", "dataset": "nginx.access", "namespace": "prod"}})
        );
        assert_eq!(rows[1]["attributes"], json!({"_index": "old", "_id": "7"}));
        assert_eq!(rows[2]["attributes"], json!({"_index": "logs-x-y", "data_stream": {"dataset": "own"}}));
        assert_eq!(rows[3]["attributes"], json!({"_index": "of-path"}));
        assert_eq!(reasons(&bulk), ["ok"; 4]);
        assert_eq!(bulk.items[1].id.as_deref(), Some("7"));
        assert_eq!(bulk.key, None, "not every document has an id");
    }

    #[test]
    fn what_is_not_taken_says_why_and_the_rest_is_kept() {
        let id = "i".repeat(513);
        let body = format!(
            r#"{{"create":{{}}}}
{{"a":1,}}
{{"delete":{{"_id":"1"}}}}
{{"update":{{"_id":"1"}}}}
{{"doc":{{"message":"up"}},"doc_as_upsert":true}}
{{"update":{{"_id":"1"}}}}
{{"doc":{{"message":"no"}}}}
{{"create":{{}}}}
["no object"]
{{"create":{{"_id":"{id}"}}}}
{{}}
{{"create":{{}}}}"#
        );
        let bulk = read(body.as_bytes(), None).unwrap();
        let reasons = reasons(&bulk);
        assert_eq!(
            reasons[0],
            "mapper_parsing_exception: failed to parse: record is not JSON at byte 7: expected a field name in quotes"
        );
        assert!(
            reasons[1].contains("cannot be deleted") && reasons[3].contains("cannot be changed"),
            "{reasons:?}"
        );
        assert_eq!(reasons[2], "ok");
        assert!(reasons[4].ends_with("document is not an object") && reasons[5].contains("id is too long"));
        assert!(reasons[6].contains("no document follows"));
        assert_eq!((bulk.decoded.batch.rows(), bulk.decoded.rejected_total(), bulk.items.len()), (1, 6, 7));
        assert_eq!(rows(&bulk)[0]["message"], "up");
    }

    #[test]
    fn documents_with_ids_have_a_key_that_is_theirs() {
        let key = |body: &str| read(body.as_bytes(), None).unwrap().key;
        let body = "{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"m\":1}\n";
        let first = key(body);
        assert_eq!(first.as_ref().map(String::len), Some(64));
        assert_eq!(first, key(&body.replace(":{\"_index\"", ": {\"routing\":\"r\",\"_index\"")));
        for other in ["\"_id\":\"2\"", "\"_id\":\"1\",\"_index\":\"b\""] {
            assert_ne!(first, key(&body.replace("\"_id\":\"1\"", other)));
        }
        assert_ne!(first, key(&body.replace("\"m\":1", "\"m\":2")), "a new state of the same document");
    }

    #[test]
    fn a_line_that_is_no_action_refuses_the_body() {
        for (body, part) in [
            (
                "{\"creat\":{}}\n{}\n",
                "line [1], expected one of [create, delete, index, update] but found [creat]",
            ),
            ("{\"create\":{}}\n{}\n{}\n", "line [3], expected an action"),
            ("{\"create\":1}\n{}\n", "expected an object behind the action"),
            ("plain text", "line [1], expected an object"),
        ] {
            let error = read(body.as_bytes(), None).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(read(b" \n\r\n", None).unwrap_err(), BodyError::Empty);
        let limits = DecodeLimits { records_max: 1, ..DecodeLimits::default() };
        let many = decode(b"{\"delete\":{}}\n{\"delete\":{}}", Reading::new(Timestamp(0), &limits), None);
        assert!(matches!(many, Err(BodyError::TooManyRecords { records_max: 1 })));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic_and_every_item_is_counted(
            lines in prop::collection::vec(prop_oneof![
                Just(b"{\"create\":{\"_id\":\"x\"}}".to_vec()),
                Just(b"{\"delete\":{}}".to_vec()),
                Just(b"{\"update\":{\"_index\":\"logs-a-b\"}}".to_vec()),
                prop::collection::vec(any::<u8>(), 0..24),
                r#"\{[\[\]{}",:\\u0-9a-f e+.-]{0,32}\}"#.prop_map(String::into_bytes),
            ], 0..12),
        ) {
            if let Ok(bulk) = read(&lines.join(&b'\n'), Some("logs-p-q")) {
                let taken = bulk.items.iter().filter(|item| item.error.is_none()).count();
                prop_assert_eq!(bulk.decoded.batch.rows(), taken);
                prop_assert_eq!(bulk.decoded.rejected_total(), (bulk.items.len() - taken) as u64);
            }
        }
    }

    #[test]
    fn mutants_are_items_or_an_error() {
        let seeds = Seeds::text([
            concat!(
                r#"{"create":{"_index":"logs-a-b","_id":"1"}}"#,
                "\n",
                r#"{"@timestamp":"2026-01-02T03:04:05Z","message":"m","host":{"name":"h"}}"#,
                "\n",
                r#"{"delete":{"_index":"x","_id":"1"}}"#,
                "\n",
                r#"{"update":{"_index":"x","_id":"2"}}"#,
                "\n",
                r#"{"doc":{"message":"u"},"doc_as_upsert":true}"#,
                "\n",
            ),
            concat!(
                r#"{"index":{"_index":"x","dynamic_templates":{"a":"b"},"routing":null}}"#,
                "\n",
                r#"{"a":{"b":[1,{"c":"d"}]},"log.level":"error"}"#,
                "\n"
            ),
        ]);
        let limits = DecodeLimits::default();
        fuzz(&seeds, |mutant, _| {
            for index in [None, Some("logs-p-q")] {
                if let Ok(bulk) = read(mutant, index) {
                    let taken = bulk.items.iter().filter(|item| item.error.is_none()).count();
                    assert_eq!(bulk.decoded.batch.rows(), taken);
                    assert_eq!(bulk.decoded.rejected_total(), (bulk.items.len() - taken) as u64);
                    check_batch(&bulk.decoded, mutant.len());
                }
            }
            let reading = Reading::new(Timestamp(5), &limits);
            if let Ok(bulk) = decode_one(mutant, reading, Action::Create, "x", Some("i".to_owned())) {
                check_batch(&bulk.decoded, 1);
            }
        });
    }
}
