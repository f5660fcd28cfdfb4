//! Decoders by the id a message begins with: of the own registry, or of another one over HTTP.
//!
//! Invariants:
//! - what is kept is bounded ([`DECODERS_MAX`]); a schema that is missing is asked for again after [`MISSING_AGAIN`];
//! - an answer is read up to [`ANSWER_BYTES_MAX`] and within [`ANSWER_TIMEOUT`];
//! - a registry that does not answer is told from one that has no such schema: the first is worth waiting for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use heimdall_ingest::schema::{Broken, Schema};
use heimdall_model::Tenant;
use parking_lot::Mutex;

use super::avro::AvroDecoder;
use super::protobuf::ProtobufDecoder;
use super::store::{Proposed, Reference, Registry, SchemaType};

/// Decoders kept; beyond, all are forgotten.
const DECODERS_MAX: usize = 1_000;
/// When a schema that was missing is asked for again.
const MISSING_AGAIN: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Time for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Schemas another one refers to, and they refer to.
const REFERENCES_MAX: usize = 64;

/// How messages of a schema are read.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// Avro.
    Avro(AvroDecoder),
    /// Protocol buffers.
    Protobuf(ProtobufDecoder),
    /// JSON text, and what it is checked against where it is checked.
    Json(Option<Box<Schema>>),
}

impl Decoder {
    fn new(source: &Proposed, references: &[(String, String)], is_checked: bool) -> Result<Decoder, String> {
        Ok(match source.kind.unwrap_or_default() {
            SchemaType::Avro => {
                let texts: Vec<&str> = references.iter().map(|(_, text)| text.as_str()).collect();
                Decoder::Avro(AvroDecoder::new(&source.schema, &texts)?)
            }
            SchemaType::Protobuf => Decoder::Protobuf(ProtobufDecoder::new(&source.schema, references)?),
            SchemaType::Json if is_checked => Decoder::Json(Some(Box::new(Schema::new(&source.schema)?))),
            SchemaType::Json => Decoder::Json(None),
        })
    }

    /// Appends the JSON text of a message to `out`.
    pub(crate) fn decode(&self, bytes: &[u8], out: &mut String, out_bytes_max: usize) -> Result<(), String> {
        match self {
            Decoder::Avro(decoder) => decoder.decode(bytes, out, out_bytes_max),
            Decoder::Protobuf(decoder) => decoder.decode(bytes, out, out_bytes_max),
            Decoder::Json(schema) => {
                let text = std::str::from_utf8(bytes)
                    .map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
                if let Some(schema) = schema {
                    schema.check(text).map_err(|Broken { field, reason }| {
                        let reason: String = reason.chars().take(200).collect();
                        match field.as_str() {
                            "" => format!("does not suit its schema: {reason}"),
                            field => format!("does not suit its schema at `{field}`: {reason}"),
                        }
                    })?;
                }
                out.push_str(text);
                Ok(())
            }
        }
    }
}

/// Why there is no decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// There is no such schema, or it cannot be used.
    Unusable(String),
    /// The registry does not answer.
    Unreachable(String),
}

/// Where schemas come from.
pub(crate) enum Origin {
    /// The own registry.
    Own(Arc<Registry>, Tenant),
    /// Another one.
    Remote(Remote),
}

/// A registry over HTTP.
pub(crate) struct Remote {
    http: reqwest::Client,
    url: String,
    login: Option<(String, String)>,
}

impl Remote {
    /// A registry at an address, with the user and the file of the password where it asks for them.
    pub(crate) fn new(url: &str, user: &str, password_file: Option<&Path>) -> Result<Remote, String> {
        let login = match password_file {
            Some(file) => {
                let password = std::fs::read_to_string(file).map_err(|error| {
                    format!("schema_registry_password_file `{}`: {error}", file.display())
                })?;
                Some((user.to_owned(), password.trim().to_owned()))
            }
            None if user.is_empty() => None,
            None => Some((user.to_owned(), String::new())),
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err("schema_registry_url is not a http(s) address".to_owned());
        }
        let http = reqwest::Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|error| format!("schema_registry_url: {error}"))?;
        Ok(Remote { http, url: url.trim_end_matches('/').to_owned(), login })
    }

    async fn schema(&self, id: u32) -> Result<(Proposed, Vec<(String, String)>), LookupError> {
        let source = self.get(&["schemas", "ids", &id.to_string()]).await?;
        let mut open = source.references.clone();
        let mut found: Vec<(String, String)> = Vec::new();
        while let Some(Reference { name, subject, version }) = open.pop() {
            if found.iter().any(|(known, _)| *known == name) {
                continue;
            }
            if found.len() >= REFERENCES_MAX {
                return Err(LookupError::Unusable(format!("more than {REFERENCES_MAX} references")));
            }
            let schema = self.get(&["subjects", &subject, "versions", &version.to_string()]).await?;
            open.extend(schema.references);
            found.push((name, schema.schema));
        }
        Ok((source, found))
    }

    async fn get(&self, path: &[&str]) -> Result<Proposed, LookupError> {
        let unreachable = |error: &dyn std::fmt::Display| LookupError::Unreachable(error.to_string());
        let mut url = reqwest::Url::parse(&self.url).map_err(|error| unreachable(&error))?;
        url.path_segments_mut().map_err(|()| unreachable(&"not an address with paths"))?.extend(path);
        let mut request = self.http.get(url);
        if let Some((user, password)) = &self.login {
            request = request.basic_auth(user, Some(password));
        }
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        if status == reqwest::StatusCode::NOT_FOUND {
            return Err(LookupError::Unusable(format!("the registry has no `{}`", path.join("/"))));
        }
        if !status.is_success() {
            return Err(unreachable(&format!("the registry answers {status}")));
        }
        let mut body = Vec::new();
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            body.extend_from_slice(&piece.map_err(|error| unreachable(&error))?);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(LookupError::Unusable(format!("a schema of more than {ANSWER_BYTES_MAX} bytes")));
            }
        }
        serde_json::from_slice(&body)
            .map_err(|error| unreachable(&format!("an answer of another form: {error}")))
    }
}

enum Kept {
    Decoder(Arc<Decoder>),
    Missing(String, Instant),
}

/// See the module.
pub(crate) struct Decoders {
    origin: Origin,
    is_checked: bool,
    kept: Mutex<HashMap<u32, Kept>>,
}

impl Decoders {
    /// Decoders of an origin's schemas; with `is_checked`, JSON is checked against its schema.
    pub(crate) fn new(origin: Origin, is_checked: bool) -> Decoders {
        Decoders { origin, is_checked, kept: Mutex::new(HashMap::new()) }
    }

    /// The decoder of a schema.
    pub(crate) async fn get(&self, id: u32) -> Result<Arc<Decoder>, LookupError> {
        match self.kept.lock().get(&id) {
            Some(Kept::Decoder(decoder)) => return Ok(Arc::clone(decoder)),
            Some(Kept::Missing(why, since)) if since.elapsed() < MISSING_AGAIN => {
                return Err(LookupError::Unusable(why.clone()));
            }
            _ => {}
        }
        let looked_up = self.look_up(id).await;
        let kept = match &looked_up {
            Ok(decoder) => Kept::Decoder(Arc::clone(decoder)),
            Err(LookupError::Unusable(why)) => Kept::Missing(why.clone(), Instant::now()),
            Err(LookupError::Unreachable(_)) => return looked_up,
        };
        let mut all = self.kept.lock();
        if all.len() >= DECODERS_MAX {
            all.clear();
        }
        all.insert(id, kept);
        looked_up
    }

    async fn look_up(&self, id: u32) -> Result<Arc<Decoder>, LookupError> {
        let (source, references) = match &self.origin {
            Origin::Own(registry, tenant) => {
                let stored = registry.schema(tenant, id);
                let stored =
                    stored.ok_or_else(|| LookupError::Unusable(format!("schema {id} is not registered")))?;
                let references = registry.references(tenant, &stored.references);
                let references = references.map_err(|error| LookupError::Unusable(error.to_string()))?;
                let source = Proposed {
                    schema: stored.schema.clone(),
                    kind: Some(stored.kind),
                    references: Vec::new(),
                };
                (source, references)
            }
            Origin::Remote(remote) => remote.schema(id).await?,
        };
        let decoder = Decoder::new(&source, &references, self.is_checked);
        decoder.map(Arc::new).map_err(|error| LookupError::Unusable(format!("schema {id}: {error}")))
    }
}

/// The id a message begins with, and what follows it.
pub(crate) fn framed(value: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = value.split_first_chunk::<5>()?;
    (head[0] == 0).then(|| (u32::from_be_bytes([head[1], head[2], head[3], head[4]]), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_own_registry_is_asked_without_http() {
        let dir = tempfile::tempdir().expect("a folder");
        let registry = Arc::new(Registry::open(dir.path()).expect("a registry"));
        let tenant = Tenant::default();
        let proposed = |schema: &str, kind| Proposed {
            schema: schema.to_owned(),
            kind: Some(kind),
            references: Vec::new(),
        };
        registry.register(&tenant, "a", &proposed("\"string\"", SchemaType::Avro)).expect("kept");
        let json = r#"{"type":"object","required":["a"]}"#;
        registry.register(&tenant, "j", &proposed(json, SchemaType::Json)).expect("kept");
        let decoders = Decoders::new(Origin::Own(registry, tenant), true);
        let mut out = String::new();
        decoders.get(1).await.expect("avro").decode(&[2, b'x'], &mut out, 100).expect("a text");
        assert_eq!(out, "\"x\"");
        let json = decoders.get(2).await.expect("json");
        assert!(json.decode(b"{\"a\":1}", &mut String::new(), 100).is_ok());
        let error = json.decode(b"{\"b\":1}", &mut String::new(), 100).expect_err("no a");
        assert!(error.contains("does not suit"), "{error}");
        assert_eq!(
            decoders.get(3).await.err(),
            Some(LookupError::Unusable("schema 3 is not registered".to_owned()))
        );
    }

    #[test]
    fn messages_begin_with_an_id() {
        assert_eq!(framed(&[0, 0, 0, 1, 2, 7]), Some((258, &[7][..])));
        assert_eq!(framed(&[0, 0, 0, 1]), None);
        assert_eq!(framed(b"{\"a\":1}"), None);
    }
}
