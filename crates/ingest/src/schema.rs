//! Schemas that records are checked against, by subject and version.
//!
//! Sources answer in the order they were added: a folder of JSON Schemas (`NAME.vN.json`, or `NAME.json` for version 1), a registry a
//! door knows. A tenant's own schemas are in a folder of its name within; they come before those of all.
//!
//! Invariants:
//! - nothing is fetched: a schema that refers to another document does not load;
//! - a folder has at most [`SCHEMAS_MAX`] schemas of at most [`FILE_BYTES_MAX`] bytes; others are not read, and that is logged.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use heimdall_model::Tenant;
use parking_lot::{Mutex, RwLock};

/// Most schemas of a folder.
pub const SCHEMAS_MAX: usize = 1_000;
/// Largest file of a schema.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Deepest look into a folder: the folder, and those of tenants.
const DEPTH_MAX: usize = 1;

/// A schema, ready.
#[derive(Debug)]
pub struct Schema {
    validator: jsonschema::Validator,
}

/// Where a record breaks its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The field, as a path with dots; empty when it is the record as a whole.
    pub field: String,
    /// What is wrong with it; says nothing of the value itself.
    pub reason: String,
}

impl Schema {
    /// Makes a JSON Schema ready.
    ///
    /// # Errors
    /// A line for people.
    pub fn new(text: &str) -> Result<Schema, String> {
        let schema: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        jsonschema::validator_for(&schema)
            .map(|validator| Schema { validator })
            .map_err(|error| error.masked().to_string())
    }

    /// Checks a record, a JSON text.
    ///
    /// # Errors
    /// The first place where it breaks the schema.
    pub fn check(&self, json: &str) -> Result<(), Broken> {
        let record: serde_json::Value = serde_json::from_str(json)
            .map_err(|error| Broken { field: String::new(), reason: error.to_string() })?;
        match self.validator.iter_errors(&record).next() {
            None => Ok(()),
            Some(error) => {
                let path = error.instance_path().to_string();
                let field = path.trim_start_matches('/').replace('/', ".");
                // Masked: what a record says is not for receipts and logs.
                Err(Broken { field, reason: error.masked().to_string() })
            }
        }
    }
}

/// Where schemas come from.
pub trait SchemaSource: Send + Sync {
    /// The schema of a subject as a tenant knows it; without a version the newest. `None` when there is none: never an error, and
    /// never slow, since records wait for it.
    fn get(&self, tenant: &Tenant, subject: &str, version: Option<u32>) -> Option<Arc<Schema>>;

    /// Looks whether what is behind it changed. Blocks.
    fn look(&self) {}
}

/// All sources.
#[derive(Clone, Default)]
pub struct Schemas(Arc<RwLock<Vec<Arc<dyn SchemaSource>>>>);

impl std::fmt::Debug for Schemas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Schemas({})", self.0.read().len())
    }
}

impl Schemas {
    /// Asks another source after those that are there.
    pub fn add(&self, source: Arc<dyn SchemaSource>) {
        self.0.write().push(source);
    }

    /// As [`SchemaSource::get`], of the first source that has it.
    #[must_use]
    pub fn get(&self, tenant: &Tenant, subject: &str, version: Option<u32>) -> Option<Arc<Schema>> {
        self.0.read().iter().find_map(|source| source.get(tenant, subject, version))
    }

    /// As [`SchemaSource::look`].
    pub fn look(&self) {
        let sources = self.0.read().clone();
        sources.iter().for_each(|source| source.look());
    }
}

/// A folder of JSON Schemas.
pub struct SchemaFolder {
    dir: PathBuf,
    current: RwLock<Arc<Shelf>>,
    seen: Mutex<Option<Files>>,
}

type Files = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// The schemas by tenant (empty: all), subject and version.
#[derive(Default)]
struct Shelf {
    schemas: HashMap<String, BTreeMap<(String, u32), Arc<Schema>>>,
}

impl SchemaFolder {
    /// The schemas in `dir`, as they are now.
    #[must_use]
    pub fn open(dir: PathBuf) -> SchemaFolder {
        let folder = SchemaFolder { dir, current: RwLock::default(), seen: Mutex::new(None) };
        folder.look();
        folder
    }

    fn read(&self, files: &Files) -> Shelf {
        let mut shelf = Shelf::default();
        for (path, (bytes, _)) in files {
            let Some((tenant, subject, version)) = self.meaning(path) else { continue };
            if *bytes > FILE_BYTES_MAX {
                tracing::error!(file = %path.display(), "schema is larger than 1 MiB: not read");
                continue;
            }
            let loaded = std::fs::read_to_string(path).map_err(|error| error.to_string());
            match loaded.and_then(|text| Schema::new(&text)) {
                Ok(schema) => {
                    shelf.schemas.entry(tenant).or_default().insert((subject, version), Arc::new(schema));
                }
                Err(error) => {
                    tracing::error!(file = %path.display(), error, "schema does not load");
                    // Its earlier version stays.
                    let before = self.current.read();
                    let same = before.schemas.get(&tenant).and_then(|of| of.get(&(subject.clone(), version)));
                    if let Some(schema) = same {
                        let schema = Arc::clone(schema);
                        shelf.schemas.entry(tenant).or_default().insert((subject, version), schema);
                    }
                }
            }
        }
        shelf
    }

    /// Tenant, subject and version of a file.
    fn meaning(&self, path: &Path) -> Option<(String, String, u32)> {
        let inside = path.strip_prefix(&self.dir).ok()?;
        let tenant = inside.parent()?.to_str()?.to_owned();
        let stem = inside.file_name()?.to_str()?.strip_suffix(".json")?;
        let numbered = stem.rsplit_once(".v").and_then(|(name, version)| Some((name, version.parse().ok()?)));
        let (subject, version) = numbered.unwrap_or((stem, 1));
        Some((tenant, subject.to_owned(), version))
    }
}

fn files(dir: &Path, depth: usize, found: &mut Files) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let Ok(about) = std::fs::metadata(&path) else { continue };
        if about.is_dir() && depth < DEPTH_MAX {
            files(&path, depth + 1, found);
        } else if about.is_file() && path.extension().is_some_and(|extension| extension == "json") {
            if found.len() == SCHEMAS_MAX {
                tracing::error!(dir = %dir.display(), "more than {SCHEMAS_MAX} schemas: the others are not read");
                return;
            }
            found.insert(path, (about.len(), about.modified().ok()));
        }
    }
}

impl Shelf {
    fn get(&self, tenant: &str, subject: &str, version: Option<u32>) -> Option<Arc<Schema>> {
        let of = self.schemas.get(tenant)?;
        let low = (subject.to_owned(), version.unwrap_or(0));
        let high = (subject.to_owned(), version.unwrap_or(u32::MAX));
        of.range(low..=high).next_back().map(|(_, schema)| Arc::clone(schema))
    }
}

impl SchemaSource for SchemaFolder {
    fn get(&self, tenant: &Tenant, subject: &str, version: Option<u32>) -> Option<Arc<Schema>> {
        let shelf = Arc::clone(&self.current.read());
        shelf.get(tenant.as_str(), subject, version).or_else(|| shelf.get("", subject, version))
    }

    fn look(&self) {
        let mut now = Files::new();
        files(&self.dir, 0, &mut now);
        let mut seen = self.seen.lock();
        if seen.as_ref() == Some(&now) {
            return;
        }
        let shelf = self.read(&now);
        *self.current.write() = Arc::new(shelf);
        *seen = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = r#"{"type":"object","required":["order"],"properties":{"order":{"type":"object","properties":{"id":{"type":"integer"}}}}}"#;

    #[test]
    fn a_record_that_breaks_its_schema_names_the_field_and_not_the_value() {
        let schema = Schema::new(V1).expect("a schema");
        assert_eq!(schema.check(r#"{"order":{"id":7}}"#), Ok(()));
        let broken = schema.check(r#"{"order":{"id":"secret"}}"#).expect_err("no integer");
        assert_eq!(broken.field, "order.id");
        assert!(!broken.reason.contains("secret") && broken.reason.contains("integer"), "{}", broken.reason);
        assert!(schema.check("{}").expect_err("no order").reason.contains("order"));
    }

    #[test]
    fn nothing_is_fetched() {
        for outside in ["http://127.0.0.1:1/x.json", "https://example.org/x.json", "file:///etc/passwd"] {
            let schema = format!(r#"{{"properties":{{"a":{{"$ref":"{outside}"}}}}}}"#);
            assert!(Schema::new(&schema).is_err(), "{outside}");
        }
        let inside = r##"{"$defs":{"n":{"type":"integer"}},"properties":{"a":{"$ref":"#/$defs/n"}}}"##;
        assert!(Schema::new(inside).expect("a schema").check(r#"{"a":"x"}"#).is_err());
    }

    #[test]
    fn versions_and_tenants_of_a_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, kind: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, format!(r#"{{"properties":{{"a":{{"type":"{kind}"}}}}}}"#))
                .expect("written");
        };
        write("order.v1.json", "integer");
        write("order.v2.json", "string");
        write("acme/order.v2.json", "boolean");
        let folder = SchemaFolder::open(dir.path().to_owned());
        let takes = |tenant: &str, version, record: &str| {
            let schema = folder.get(&Tenant::new(tenant).expect("a name"), "order", version);
            schema.map(|schema| schema.check(record).is_ok())
        };
        assert_eq!(takes("default", Some(1), r#"{"a":1}"#), Some(true));
        assert_eq!(takes("default", None, r#"{"a":"x"}"#), Some(true));
        assert_eq!(takes("default", Some(3), "{}"), None);
        assert_eq!(takes("acme", None, r#"{"a":true}"#), Some(true));
        assert_eq!(takes("acme", Some(1), r#"{"a":1}"#), Some(true));
        std::fs::write(dir.path().join("order.v2.json"), "{broken").expect("written");
        folder.look();
        assert_eq!(takes("default", None, r#"{"a":"x"}"#), Some(true), "the earlier version stays");
    }
}
