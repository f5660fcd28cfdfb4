//! A request as its sender encoded it, opened level by level: protobuf or JSON, with one face for the mapping.
//!
//! Why not one `decode` of the whole: an empty log record is two bytes and becomes two hundred in memory, so a body could
//! become a hundred times its size. Here only one record at a time is decoded, and a record that cannot be is rejected alone.
//!
//! Invariants:
//! - what is held besides the body is one decoded record, and for JSON 16 bytes for each element of the lists that are open;
//! - a list of JSON has at most `records_max` elements;
//! - recursion is bounded by prost (100 messages) and serde_json (128 levels).

use heimdall_ingest::BodyError;
use prost::Message;
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{self, FromJson};
use crate::wire::{Fields, Wire, WireError};

/// How a request is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `application/x-protobuf`, and gRPC.
    Protobuf,
    /// `application/json`.
    Json,
}

/// A message that is not decoded yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node<'b> {
    Protobuf(&'b [u8]),
    Json(&'b str),
}

/// A field of a message in both encodings; JSON writers use the first name, the second is protobuf's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) tag: u32,
    pub(super) names: [&'static str; 2],
}

pub(super) const fn field(tag: u32, camel: &'static str, snake: &'static str) -> Field {
    Field { tag, names: [camel, snake] }
}

/// What is wrong with a message.
#[derive(Debug)]
pub(super) struct Bad(pub(super) String);

impl From<Bad> for BodyError {
    fn from(bad: Bad) -> BodyError {
        BodyError::Malformed { format: "OTLP", detail: bad.0 }
    }
}

impl From<WireError> for Bad {
    fn from(error: WireError) -> Bad {
        Bad(error.to_string())
    }
}

/// The elements of a repeated field.
pub(super) enum List<'b> {
    Protobuf { fields: Fields<'b>, tag: u32 },
    Json(std::vec::IntoIter<&'b RawValue>),
}

impl<'b> Node<'b> {
    /// A request.
    pub(super) fn root(encoding: Encoding, body: &'b [u8]) -> Result<Node<'b>, BodyError> {
        match encoding {
            Encoding::Protobuf => Ok(Node::Protobuf(body)),
            Encoding::Json if body.trim_ascii().is_empty() => Err(BodyError::Empty),
            Encoding::Json => std::str::from_utf8(body)
                .map(Node::Json)
                .map_err(|error| BodyError::Utf8 { byte: error.valid_up_to() }),
        }
    }

    /// Whether a request without an element in `list` says so itself: it is empty, or names the list. Else it is of another kind.
    pub(super) fn is_empty_of(&self, list: Field) -> bool {
        match self {
            Node::Protobuf(bytes) => bytes.is_empty(),
            Node::Json(text) => {
                let inside = text.trim().trim_start_matches('{').trim_end_matches('}');
                inside.trim().is_empty() || list.names.iter().any(|name| text.contains(name))
            }
        }
    }

    /// As encoded.
    pub(super) fn bytes(&self) -> &'b [u8] {
        match self {
            Node::Protobuf(bytes) => bytes,
            Node::Json(text) => text.as_bytes(),
        }
    }

    /// Bytes as encoded.
    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// The `singles` that are there, the last one of each, and the elements of `list`.
    pub(super) fn open<const N: usize>(
        self,
        singles: [Field; N],
        list: Field,
        list_max: u64,
    ) -> Result<([Option<Node<'b>>; N], List<'b>), Bad> {
        match self {
            Node::Protobuf(bytes) => open_protobuf(bytes, singles, list),
            Node::Json(text) => {
                let mut reader = serde_json::Deserializer::from_str(text);
                let open = Open { singles, list, list_max };
                reader
                    .deserialize_any(open)
                    .and_then(|opened| reader.end().map(|()| opened))
                    .map_err(|error| Bad(error.to_string()))
            }
        }
    }

    /// The message, decoded.
    pub(super) fn message<T: Message + Default + FromJson>(self) -> Result<T, Bad> {
        match self {
            Node::Protobuf(bytes) => T::decode(bytes).map_err(|error| Bad(error.to_string())),
            Node::Json(text) => json::read(text).map_err(|error| Bad(error.to_string())),
        }
    }

    /// The text of a field that is a string.
    pub(super) fn text(self) -> Result<String, Bad> {
        match self {
            Node::Protobuf(bytes) => {
                String::from_utf8(bytes.to_vec()).map_err(|error| Bad(error.to_string()))
            }
            Node::Json(text) => json::read(text).map_err(|error| Bad(error.to_string())),
        }
    }
}

impl<'b> Iterator for List<'b> {
    type Item = Result<Node<'b>, Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            List::Json(items) => items.next().map(|raw| Ok(Node::Json(raw.get()))),
            List::Protobuf { fields, tag } => fields.find_map(|field| match field {
                Ok((found, Wire::Bytes(bytes))) if found == *tag => Some(Ok(Node::Protobuf(bytes))),
                Ok(_) => None,
                Err(error) => Some(Err(error.into())),
            }),
        }
    }
}

// ---- protobuf ---------------------------------------------------------------------------------------------------------

fn open_protobuf<const N: usize>(
    bytes: &[u8],
    singles: [Field; N],
    list: Field,
) -> Result<([Option<Node<'_>>; N], List<'_>), Bad> {
    let mut found = [None; N];
    for field in Fields::new(bytes) {
        let (tag, value) = field?;
        let place = singles.iter().position(|field| field.tag == tag);
        if let (Some(place), Some(value)) = (place, value.bytes()) {
            found[place] = Some(Node::Protobuf(value));
        }
    }
    Ok((found, List::Protobuf { fields: Fields::new(bytes), tag: list.tag }))
}

// ---- JSON -------------------------------------------------------------------------------------------------------------

struct Open<const N: usize> {
    singles: [Field; N],
    list: Field,
    list_max: u64,
}

impl<'de, const N: usize> Visitor<'de> for Open<N> {
    type Value = ([Option<Node<'de>>; N], List<'de>);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(([None; N], List::Json(Vec::new().into_iter())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut singles = [None; N];
        let mut list = Vec::new();
        while let Some(json::Name(name)) = map.next_key()? {
            if self.list.names.contains(&&*name) {
                list = map.next_value_seed(Elements { elements_max: self.list_max })?;
                continue;
            }
            match self.singles.iter().position(|field| field.names.contains(&&*name)) {
                Some(place) => {
                    let raw: &RawValue = map.next_value()?;
                    singles[place] = (raw.get() != "null").then(|| Node::Json(raw.get()));
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok((singles, List::Json(list.into_iter())))
    }
}

/// An array, or null, whose elements are not looked into.
struct Elements {
    elements_max: u64,
}

impl<'de> serde::de::DeserializeSeed<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element::<&RawValue>()? {
            if elements.len() as u64 >= self.elements_max {
                let detail = format!("a list has more than {} elements", self.elements_max);
                return Err(serde::de::Error::custom(detail));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Field = field(1, "aOne", "a_one");
    const LIST: Field = field(2, "items", "items");

    fn lens(node: Node<'_>) -> (Option<usize>, Vec<usize>) {
        let ([a], list) = node.open([A], LIST, 10).expect("a message");
        (a.map(|a| a.len()), list.map(|item| item.expect("an element").len()).collect())
    }

    #[test]
    fn both_encodings_open_alike_and_unknown_fields_are_skipped() {
        let wire =
            [0x12, 1, 9, 0x08, 5, 0x0a, 2, 1, 2, 0x12, 0, 0x1d, 1, 2, 3, 4, 0x19, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(lens(Node::Protobuf(&wire)), (Some(2), vec![1, 0]));
        let text = r#"{"items":[1,{"b":2}],"x":{"items":[1]},"a_one":"zz"}"#;
        assert_eq!(lens(Node::Json(text)), (Some(4), vec![1, 7]));
        assert_eq!(lens(Node::Json(r#"{"items":null,"aOne":null}"#)), (None, vec![]));
    }

    #[test]
    fn what_is_neither_says_why() {
        let bad = |node: Node<'_>| node.open([A], LIST, 2).err().map(|bad| bad.0).unwrap_or_default();
        assert_eq!(bad(Node::Protobuf(&[0x12, 9, 1])), "a field is longer than its message");
        assert!(bad(Node::Json(r#"{"items":[1,2,3]}"#)).contains("more than 2 elements"));
        assert!(bad(Node::Json("[]")).contains("an object"));
        assert!(bad(Node::Json("{} {}")).contains("trailing"));
    }
}
