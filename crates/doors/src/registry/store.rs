//! Schemas, subjects and versions of every tenant, each tenant in one file that is replaced as a whole.
//!
//! Invariants:
//! - what a call returned is on disk; a call that failed changed nothing;
//! - the same schema has the same id under every subject of its tenant; an id is never given twice;
//! - numbers of versions of a subject grow, also over deleted ones.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heimdall_model::Tenant;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::compatibility::{self, Source};

/// Bytes of a schema.
pub(crate) const SCHEMA_BYTES_MAX: usize = 512 << 10;
/// Bytes of a tenant's file.
const FILE_BYTES_MAX: usize = 64 << 20;
/// Subjects of a tenant.
const SUBJECTS_MAX: usize = 10_000;
/// Versions of a subject, deleted ones included.
const VERSIONS_MAX: usize = 1_000;
/// Bytes of a subject's name.
const SUBJECT_BYTES_MAX: usize = 255;
/// Schemas another one refers to, and they refer to.
const REFERENCES_MAX: usize = 64;
/// Tenants with schemas.
const TENANTS_MAX: usize = 1_000;

/// What a schema is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum SchemaType {
    /// Avro.
    #[default]
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol buffers.
    Protobuf,
}

/// What may follow what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Level {
    /// Anything.
    None,
    /// The new schema reads what the last one wrote.
    #[default]
    Backward,
    /// The new schema reads what all before wrote.
    BackwardTransitive,
    /// The last schema reads what the new one writes.
    Forward,
    /// All before read what the new one writes.
    ForwardTransitive,
    /// Both, with the last one.
    Full,
    /// Both, with all before.
    FullTransitive,
}

/// Another schema, by the name this one knows it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    /// The name.
    pub name: String,
    /// Its subject.
    pub subject: String,
    /// Its version there.
    pub version: i64,
}

/// A schema as it is sent.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Proposed {
    /// The text.
    pub schema: String,
    /// What it is written in; Avro when not said.
    #[serde(default, rename = "schemaType")]
    pub kind: Option<SchemaType>,
    /// What it refers to.
    #[serde(default)]
    pub references: Vec<Reference>,
}

/// A schema that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// What it is written in.
    pub kind: SchemaType,
    /// The text as it was sent.
    pub schema: String,
    /// What it refers to.
    pub references: Vec<Reference>,
    /// Of its canonical text, kind and references: equal for equal schemas.
    digest: String,
}

/// A version of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Its number, from 1.
    pub version: i64,
    /// Its schema.
    pub id: u32,
    /// Whether it is deleted, and may be found by who asks for deleted ones.
    #[serde(default)]
    pub is_deleted: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Subject {
    level: Option<Level>,
    versions: Vec<Version>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    ids_given: u32,
    level: Level,
    schemas: BTreeMap<u32, Arc<Stored>>,
    subjects: BTreeMap<String, Subject>,
}

/// A version with its schema.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Its number.
    pub version: i64,
    /// Id of the schema.
    pub id: u32,
    /// The schema.
    pub schema: Arc<Stored>,
}

/// Which version is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The newest.
    Latest,
    /// This one.
    Number(i64),
}

impl Which {
    /// Reads `latest`, `-1` or a number.
    pub(crate) fn parse(text: &str) -> Result<Which, RegistryError> {
        match text {
            "latest" | "-1" => Ok(Which::Latest),
            number => match number.parse() {
                Ok(number) if number > 0 => Ok(Which::Number(number)),
                _ => Err(RegistryError::VersionInvalid(text.chars().take(40).collect())),
            },
        }
    }
}

/// Why a registry did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is no such subject.
    #[error("Subject '{0}' not found.")]
    SubjectUnknown(String),
    /// There is no such version.
    #[error("Version {0} not found.")]
    VersionUnknown(String),
    /// There is no such schema.
    #[error("Schema {0} not found")]
    SchemaUnknown(String),
    /// It must be deleted for the time being before it is deleted for ever.
    #[error("Subject '{0}' was not deleted first before being permanently deleted")]
    SubjectNotDeleted(String),
    /// It must be deleted for the time being before it is deleted for ever.
    #[error("Subject '{subject}' Version {version} was not deleted first before being permanently deleted")]
    VersionNotDeleted {
        /// The subject.
        subject: String,
        /// The version.
        version: i64,
    },
    /// The subject has no rule of its own.
    #[error("Subject '{0}' does not have subject-level compatibility configured")]
    LevelUnknown(String),
    /// The rule forbids it.
    #[error(
        "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{detail}]"
    )]
    Incompatible {
        /// The subject.
        subject: String,
        /// What is wrong.
        detail: String,
    },
    /// It is no schema.
    #[error("Invalid schema: {0}")]
    Invalid(String),
    /// That is no version.
    #[error(
        "The specified version '{0}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
    )]
    VersionInvalid(String),
    /// That is no rule.
    #[error(
        "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive"
    )]
    LevelInvalid,
    /// That is no name for a subject.
    #[error("The specified subject '{0}' is not a valid.")]
    SubjectInvalid(String),
    /// Another schema needs it.
    #[error("One or more references exist to the schema {0}")]
    Referenced(String),
    /// A limit is reached.
    #[error("{0}")]
    Full(String),
    /// The disk failed.
    #[error("Error while writing to the backend store: {0}")]
    Store(#[from] std::io::Error),
}

/// See the module.
#[derive(Debug)]
pub struct Registry {
    dir: PathBuf,
    tenants: Mutex<HashMap<Tenant, Arc<State>>>,
    /// Held over a change and its way to the disk.
    change: Mutex<()>,
}

impl Registry {
    /// Reads what is kept in a folder.
    ///
    /// # Errors
    /// A file cannot be read or is not one of ours; it is named.
    pub fn open(dir: &Path) -> std::io::Result<Registry> {
        std::fs::create_dir_all(dir)?;
        let mut tenants = HashMap::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            let Some(tenant) = name.and_then(|name| Tenant::new(name).ok()) else { continue };
            let state: State = serde_json::from_slice(&std::fs::read(&path)?).map_err(|error| {
                std::io::Error::new(std::io::ErrorKind::InvalidData, format!("`{}`: {error}", path.display()))
            })?;
            tenants.insert(tenant, Arc::new(state));
        }
        Ok(Registry { dir: dir.to_owned(), tenants: Mutex::new(tenants), change: Mutex::new(()) })
    }

    /// The text of a version of a subject; the newest where none is named.
    #[must_use]
    pub fn get(&self, tenant: &Tenant, subject: &str, version: Option<i64>) -> Option<Arc<str>> {
        let which = version.map_or(Which::Latest, Which::Number);
        self.version(tenant, subject, which, false).ok().map(|found| Arc::from(found.schema.schema.as_str()))
    }

    fn state(&self, tenant: &Tenant) -> Arc<State> {
        self.tenants.lock().get(tenant).cloned().unwrap_or_default()
    }

    /// Changes what a tenant has: on disk first, then for everybody.
    fn change<T>(
        &self,
        tenant: &Tenant,
        change: impl FnOnce(&mut State) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let _one_at_a_time = self.change.lock();
        let mut state = State::clone(&self.state(tenant));
        let done = change(&mut state)?;
        {
            let tenants = self.tenants.lock();
            if tenants.len() >= TENANTS_MAX && !tenants.contains_key(tenant) {
                return Err(RegistryError::Full(format!("more than {TENANTS_MAX} tenants")));
            }
        }
        self.write(tenant, &state)?;
        self.tenants.lock().insert(tenant.clone(), Arc::new(state));
        Ok(done)
    }

    fn write(&self, tenant: &Tenant, state: &State) -> Result<(), RegistryError> {
        let json = serde_json::to_vec(state).map_err(std::io::Error::from)?;
        if json.len() > FILE_BYTES_MAX {
            return Err(RegistryError::Full(format!("schemas of this tenant exceed {FILE_BYTES_MAX} bytes")));
        }
        let path = self.dir.join(format!("{tenant}.json"));
        let next = self.dir.join(format!("{tenant}.json.next"));
        let mut file = File::create(&next)?;
        file.write_all(&json)?;
        file.sync_all()?;
        std::fs::rename(&next, &path)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(())
    }

    /// Names of subjects, in order.
    pub(crate) fn subjects(&self, tenant: &Tenant, prefix: &str, with_deleted: bool) -> Vec<String> {
        let state = self.state(tenant);
        let lives = |subject: &Subject| {
            with_deleted && !subject.versions.is_empty() || subject.versions.iter().any(|v| !v.is_deleted)
        };
        let subjects = state.subjects.iter().filter(|(name, _)| name.starts_with(prefix));
        subjects.filter(|(_, subject)| lives(subject)).map(|(name, _)| name.clone()).collect()
    }

    /// Numbers of a subject's versions.
    pub(crate) fn versions(
        &self,
        tenant: &Tenant,
        subject: &str,
        with_deleted: bool,
    ) -> Result<Vec<i64>, RegistryError> {
        let state = self.state(tenant);
        let versions = state.versions(subject, with_deleted)?;
        Ok(versions.iter().map(|version| version.version).collect())
    }

    /// A version of a subject.
    pub(crate) fn version(
        &self,
        tenant: &Tenant,
        subject: &str,
        which: Which,
        with_deleted: bool,
    ) -> Result<Found, RegistryError> {
        let state = self.state(tenant);
        let version = state.version(subject, which, with_deleted)?;
        state.found(version)
    }

    /// A schema by its id.
    pub(crate) fn schema(&self, tenant: &Tenant, id: u32) -> Option<Arc<Stored>> {
        self.state(tenant).schemas.get(&id).cloned()
    }

    /// Subjects and versions that have a schema.
    pub(crate) fn places(&self, tenant: &Tenant, id: u32) -> Vec<(String, i64)> {
        let state = self.state(tenant);
        let mut places = Vec::new();
        for (name, subject) in &state.subjects {
            let versions = subject.versions.iter().filter(|v| v.id == id && !v.is_deleted);
            places.extend(versions.map(|version| (name.clone(), version.version)));
        }
        places
    }

    /// Ids of the schemas that refer to a version.
    pub(crate) fn referenced_by(&self, tenant: &Tenant, subject: &str, version: i64) -> Vec<u32> {
        self.state(tenant).referenced_by(subject, version)
    }

    /// The schemas a schema refers to and they refer to, by name, each once.
    pub(crate) fn references(
        &self,
        tenant: &Tenant,
        references: &[Reference],
    ) -> Result<Vec<(String, String)>, RegistryError> {
        self.state(tenant).references(references)
    }

    /// Keeps a schema as the next version of a subject, unless the subject has it already.
    pub(crate) fn register(
        &self,
        tenant: &Tenant,
        subject: &str,
        proposed: &Proposed,
    ) -> Result<Found, RegistryError> {
        check_subject(subject)?;
        let state = self.state(tenant);
        let stored = state.parse(proposed)?;
        if let Some(found) = state.same(subject, &stored) {
            return state.found(found);
        }
        self.change(tenant, |state| {
            if let Some(found) = state.same(subject, &stored) {
                return state.found(found);
            }
            state.check(subject, &stored)?;
            state.add(subject, stored)
        })
    }

    /// The version of a subject that has this schema.
    pub(crate) fn lookup(
        &self,
        tenant: &Tenant,
        subject: &str,
        proposed: &Proposed,
        with_deleted: bool,
    ) -> Result<Found, RegistryError> {
        let state = self.state(tenant);
        let versions = state.versions(subject, with_deleted)?;
        let stored = state.parse(proposed)?;
        let is_same = |v: &&&Version| state.schemas.get(&v.id).is_some_and(|s| s.digest == stored.digest);
        match versions.iter().rev().find(is_same) {
            Some(version) => state.found(**version),
            None => Err(RegistryError::SchemaUnknown(String::new())),
        }
    }

    /// What forbids a schema as the next version, judged against one version, or by the subject's rule. Nothing: it is allowed.
    pub(crate) fn test(
        &self,
        tenant: &Tenant,
        subject: &str,
        which: Option<Which>,
        proposed: &Proposed,
    ) -> Result<Option<String>, RegistryError> {
        let state = self.state(tenant);
        let stored = state.parse(proposed)?;
        let against = match which {
            Some(which) => vec![state.version(subject, which, false)?],
            None => {
                state.versions(subject, false).map(|v| v.into_iter().copied().collect()).unwrap_or_default()
            }
        };
        Ok(state.judge(state.level(subject), &stored, &against, which.is_some())?.err())
    }

    /// Deletes a subject; numbers of its versions that were there.
    pub(crate) fn delete_subject(
        &self,
        tenant: &Tenant,
        name: &str,
        is_permanent: bool,
    ) -> Result<Vec<i64>, RegistryError> {
        self.change(tenant, |state| {
            let versions: Vec<Version> = state.versions(name, is_permanent)?.into_iter().copied().collect();
            if is_permanent && versions.iter().any(|version| !version.is_deleted) {
                return Err(RegistryError::SubjectNotDeleted(name.to_owned()));
            }
            for version in &versions {
                state.check_unreferenced(name, version.version)?;
            }
            match state.subjects.get_mut(name) {
                Some(subject) if !is_permanent => {
                    subject.versions.iter_mut().for_each(|v| v.is_deleted = true)
                }
                _ => drop(state.subjects.remove(name)),
            }
            Ok(versions.iter().map(|version| version.version).collect())
        })
    }

    /// Deletes a version of a subject; its number.
    pub(crate) fn delete_version(
        &self,
        tenant: &Tenant,
        name: &str,
        which: Which,
        is_permanent: bool,
    ) -> Result<i64, RegistryError> {
        self.change(tenant, |state| {
            let number = state.version(name, which, is_permanent)?.version;
            state.check_unreferenced(name, number)?;
            let subject = state.subjects.get_mut(name);
            let subject = subject.ok_or_else(|| RegistryError::SubjectUnknown(name.to_owned()))?;
            let at = subject.versions.iter().position(|version| version.version == number);
            let at = at.ok_or_else(|| RegistryError::VersionUnknown(number.to_string()))?;
            if !is_permanent {
                subject.versions[at].is_deleted = true;
            } else if subject.versions[at].is_deleted {
                subject.versions.remove(at);
            } else {
                return Err(RegistryError::VersionNotDeleted { subject: name.to_owned(), version: number });
            }
            Ok(number)
        })
    }

    /// The rule of a subject, or of all that have none.
    pub(crate) fn level(
        &self,
        tenant: &Tenant,
        subject: Option<&str>,
        or_global: bool,
    ) -> Result<Level, RegistryError> {
        let state = self.state(tenant);
        let Some(name) = subject else { return Ok(state.level) };
        match state.subjects.get(name).and_then(|subject| subject.level) {
            Some(level) => Ok(level),
            None if or_global => Ok(state.level),
            None => Err(RegistryError::LevelUnknown(name.to_owned())),
        }
    }

    /// Sets that rule; `None` for a subject takes it away.
    pub(crate) fn set_level(
        &self,
        tenant: &Tenant,
        subject: Option<&str>,
        level: Option<Level>,
    ) -> Result<(), RegistryError> {
        self.change(tenant, |state| match subject {
            None => {
                state.level = level.unwrap_or_default();
                Ok(())
            }
            Some(name) => {
                check_subject(name)?;
                if state.subjects.len() >= SUBJECTS_MAX && !state.subjects.contains_key(name) {
                    return Err(RegistryError::Full(format!("more than {SUBJECTS_MAX} subjects")));
                }
                state.subjects.entry(name.to_owned()).or_default().level = level;
                Ok(())
            }
        })
    }
}

impl State {
    fn versions(&self, subject: &str, with_deleted: bool) -> Result<Vec<&Version>, RegistryError> {
        let versions =
            self.subjects.get(subject).map(|subject| subject.versions.as_slice()).unwrap_or_default();
        let versions: Vec<_> = versions.iter().filter(|v| with_deleted || !v.is_deleted).collect();
        if versions.is_empty() {
            Err(RegistryError::SubjectUnknown(subject.to_owned()))
        } else {
            Ok(versions)
        }
    }

    fn version(&self, subject: &str, which: Which, with_deleted: bool) -> Result<Version, RegistryError> {
        let versions = self.versions(subject, with_deleted)?;
        let found = match which {
            Which::Latest => versions.last(),
            Which::Number(number) => versions.iter().find(|version| version.version == number),
        };
        let shown = || match which {
            Which::Latest => "latest".to_owned(),
            Which::Number(number) => number.to_string(),
        };
        found.map(|version| **version).ok_or_else(|| RegistryError::VersionUnknown(shown()))
    }

    fn found(&self, version: Version) -> Result<Found, RegistryError> {
        let schema = self.schemas.get(&version.id).cloned();
        let schema = schema.ok_or_else(|| RegistryError::SchemaUnknown(version.id.to_string()))?;
        Ok(Found { version: version.version, id: version.id, schema })
    }

    fn level(&self, subject: &str) -> Level {
        self.subjects.get(subject).and_then(|subject| subject.level).unwrap_or(self.level)
    }

    fn references(&self, references: &[Reference]) -> Result<Vec<(String, String)>, RegistryError> {
        let mut open: Vec<Reference> = references.to_vec();
        let mut found: Vec<(String, String)> = Vec::new();
        while let Some(reference) = open.pop() {
            if found.iter().any(|(name, _)| *name == reference.name) {
                continue;
            }
            if found.len() >= REFERENCES_MAX {
                return Err(RegistryError::Invalid(format!("more than {REFERENCES_MAX} references")));
            }
            let which =
                if reference.version == -1 { Which::Latest } else { Which::Number(reference.version) };
            let version = self.version(&reference.subject, which, true);
            let schema = version.and_then(|version| self.found(version)).map_err(|error| {
                RegistryError::Invalid(format!("reference `{}`: {error}", reference.name))
            })?;
            open.extend(schema.schema.references.iter().cloned());
            found.push((reference.name, schema.schema.schema.clone()));
        }
        Ok(found)
    }

    fn parse(&self, proposed: &Proposed) -> Result<Stored, RegistryError> {
        if proposed.schema.len() > SCHEMA_BYTES_MAX {
            return Err(RegistryError::Invalid(format!("larger than {SCHEMA_BYTES_MAX} bytes")));
        }
        let kind = proposed.kind.unwrap_or_default();
        let references = self.references(&proposed.references)?;
        let source = Source { kind, schema: &proposed.schema, references: &references };
        let canonical = compatibility::canonical(&source).map_err(RegistryError::Invalid)?;
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(&[kind as u8]);
        context.update(canonical.as_bytes());
        for Reference { name, subject, version } in &proposed.references {
            context.update(format!("\0{name}\0{subject}\0{version}").as_bytes());
        }
        let digest = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let references = proposed.references.clone();
        Ok(Stored { kind, schema: proposed.schema.clone(), references, digest })
    }

    /// The version of a subject that has this schema and is not deleted.
    fn same(&self, subject: &str, stored: &Stored) -> Option<Version> {
        let versions = self.versions(subject, false).ok()?;
        let is_same = |v: &&&Version| self.schemas.get(&v.id).is_some_and(|s| s.digest == stored.digest);
        versions.iter().rev().find(is_same).map(|version| **version)
    }

    fn check(&self, subject: &str, stored: &Stored) -> Result<(), RegistryError> {
        let versions = self.versions(subject, false).unwrap_or_default();
        let versions: Vec<Version> = versions.into_iter().copied().collect();
        let judged = self.judge(self.level(subject), stored, &versions, false)?;
        judged.map_err(|detail| RegistryError::Incompatible { subject: subject.to_owned(), detail })
    }

    /// Judges a schema against versions, by a rule: all of them where it is for all, or `all` is asked for; else the last one.
    fn judge(
        &self,
        level: Level,
        stored: &Stored,
        versions: &[Version],
        all: bool,
    ) -> Result<Result<(), String>, RegistryError> {
        let (backward, forward, is_transitive) = match level {
            Level::None => return Ok(Ok(())),
            Level::Backward => (true, false, false),
            Level::BackwardTransitive => (true, false, true),
            Level::Forward => (false, true, false),
            Level::ForwardTransitive => (false, true, true),
            Level::Full => (true, true, false),
            Level::FullTransitive => (true, true, true),
        };
        let first = if is_transitive || all { 0 } else { versions.len().saturating_sub(1) };
        let new_references = self.references(&stored.references)?;
        let new = Source { kind: stored.kind, schema: &stored.schema, references: &new_references };
        for version in versions[first..].iter().rev() {
            let old = self.found(*version)?.schema;
            let old_references = self.references(&old.references)?;
            let old = Source { kind: old.kind, schema: &old.schema, references: &old_references };
            let way = |reader, writer| {
                compatibility::can_read(reader, writer)
                    .map_err(|detail| format!("{detail}; version {}", version.version))
            };
            let judged = if backward { way(&new, &old) } else { Ok(()) };
            let judged = judged.and_then(|()| if forward { way(&old, &new) } else { Ok(()) });
            if judged.is_err() {
                return Ok(judged);
            }
        }
        Ok(Ok(()))
    }

    fn add(&mut self, name: &str, stored: Stored) -> Result<Found, RegistryError> {
        if self.subjects.len() >= SUBJECTS_MAX && !self.subjects.contains_key(name) {
            return Err(RegistryError::Full(format!("more than {SUBJECTS_MAX} subjects")));
        }
        let known = self.schemas.iter().find(|(_, schema)| schema.digest == stored.digest);
        let (id, schema) = match known {
            Some((id, schema)) => (*id, Arc::clone(schema)),
            None => {
                self.ids_given += 1;
                let schema = Arc::new(stored);
                self.schemas.insert(self.ids_given, Arc::clone(&schema));
                (self.ids_given, schema)
            }
        };
        let subject = self.subjects.entry(name.to_owned()).or_default();
        if subject.versions.len() >= VERSIONS_MAX {
            return Err(RegistryError::Full(format!("subject has {VERSIONS_MAX} versions")));
        }
        let version = subject.versions.last().map_or(1, |last| last.version + 1);
        subject.versions.push(Version { version, id, is_deleted: false });
        Ok(Found { version, id, schema })
    }

    fn referenced_by(&self, subject: &str, version: i64) -> Vec<u32> {
        let refers = |stored: &Stored| {
            stored
                .references
                .iter()
                .any(|reference| reference.subject == subject && reference.version == version)
        };
        let lives =
            |id: u32| self.subjects.values().any(|s| s.versions.iter().any(|v| v.id == id && !v.is_deleted));
        let ids = self.schemas.iter().filter(|(_, stored)| refers(stored)).map(|(id, _)| *id);
        ids.filter(|id| lives(*id)).collect()
    }

    fn check_unreferenced(&self, subject: &str, version: i64) -> Result<(), RegistryError> {
        if self.referenced_by(subject, version).is_empty() {
            Ok(())
        } else {
            Err(RegistryError::Referenced(format!("{{subject={subject},version={version}}}")))
        }
    }
}

fn check_subject(name: &str) -> Result<(), RegistryError> {
    let fits = !name.is_empty() && name.len() <= SUBJECT_BYTES_MAX && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(RegistryError::SubjectInvalid(name.chars().take(80).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = r#"{"type":"record","name":"E","fields":[{"name":"a","type":"int"}]}"#;
    const V2: &str = r#"{"type":"record","name":"E","fields":[{"name":"a","type":"long"},{"name":"b","type":"string","default":""}]}"#;
    const BAD: &str =
        r#"{"type":"record","name":"E","fields":[{"name":"a","type":"int"},{"name":"c","type":"string"}]}"#;

    fn avro(schema: &str) -> Proposed {
        Proposed { schema: schema.to_owned(), ..Proposed::default() }
    }

    fn registry() -> (tempfile::TempDir, Registry, Tenant) {
        let dir = tempfile::tempdir().expect("a folder");
        let registry = Registry::open(dir.path()).expect("an empty registry");
        (dir, registry, Tenant::default())
    }

    #[test]
    fn ids_and_versions_outlive_a_restart() {
        let (dir, registry, tenant) = registry();
        let first = registry.register(&tenant, "s", &avro(V1)).expect("kept");
        assert_eq!((first.id, first.version), (1, 1));
        let spaced = V1.replace(':', " : ");
        assert_eq!(registry.register(&tenant, "s", &avro(&spaced)).expect("the same").version, 1);
        assert_eq!(registry.register(&tenant, "other", &avro(V1)).expect("the same id").id, 1);
        assert_eq!(registry.register(&tenant, "s", &avro(V2)).expect("backward").id, 2);
        let registry = Registry::open(dir.path()).expect("what was kept");
        assert_eq!(registry.versions(&tenant, "s", false).expect("there"), [1, 2]);
        assert_eq!(registry.get(&tenant, "s", None).as_deref(), Some(V2));
        assert_eq!(registry.get(&tenant, "s", Some(1)).as_deref(), Some(V1));
        assert_eq!(registry.places(&tenant, 1), [("other".to_owned(), 1), ("s".to_owned(), 1)]);
        let stranger = Tenant::new("stranger").expect("a name");
        assert_eq!(registry.get(&stranger, "s", None), None);
        assert_eq!(registry.register(&stranger, "s", &avro(V2)).expect("a registry of its own").id, 1);
    }

    #[test]
    fn the_rule_decides() {
        let (_dir, registry, tenant) = registry();
        registry.register(&tenant, "s", &avro(V1)).expect("kept");
        let error = registry.register(&tenant, "s", &avro(BAD)).expect_err("no default");
        assert!(matches!(error, RegistryError::Incompatible { .. }), "{error}");
        assert!(registry.test(&tenant, "s", Some(Which::Latest), &avro(BAD)).expect("judged").is_some());
        assert!(registry.test(&tenant, "new", None, &avro(BAD)).expect("judged").is_none());
        registry.set_level(&tenant, Some("s"), Some(Level::Forward)).expect("set");
        assert_eq!(registry.register(&tenant, "s", &avro(BAD)).expect("forward").version, 2);
        registry.set_level(&tenant, Some("s"), None).expect("taken away");
        assert!(matches!(registry.level(&tenant, Some("s"), false), Err(RegistryError::LevelUnknown(_))));
        registry.set_level(&tenant, None, Some(Level::None)).expect("set");
        assert_eq!(registry.level(&tenant, Some("s"), true).expect("global"), Level::None);
        assert_eq!(registry.register(&tenant, "s", &avro("\"int\"")).expect("anything").version, 3);
    }

    #[test]
    fn deleting_is_twofold_and_numbers_go_on() {
        let (_dir, registry, tenant) = registry();
        registry.register(&tenant, "s", &avro(V1)).expect("kept");
        registry.register(&tenant, "s", &avro(V2)).expect("kept");
        assert!(matches!(
            registry.delete_version(&tenant, "s", Which::Number(1), true),
            Err(RegistryError::VersionNotDeleted { .. })
        ));
        assert_eq!(registry.delete_version(&tenant, "s", Which::Number(1), false).expect("deleted"), 1);
        assert_eq!(registry.versions(&tenant, "s", false).expect("one is left"), [2]);
        assert_eq!(registry.versions(&tenant, "s", true).expect("both"), [1, 2]);
        assert!(registry.schema(&tenant, 1).is_some(), "messages written with it can still be read");
        assert_eq!(registry.delete_subject(&tenant, "s", false).expect("deleted"), [2]);
        assert!(matches!(registry.versions(&tenant, "s", false), Err(RegistryError::SubjectUnknown(_))));
        assert_eq!(registry.register(&tenant, "s", &avro(V1)).expect("again").version, 3);
        assert!(matches!(
            registry.delete_subject(&tenant, "s", true),
            Err(RegistryError::SubjectNotDeleted(_))
        ));
        registry.delete_subject(&tenant, "s", false).expect("deleted");
        assert_eq!(registry.delete_subject(&tenant, "s", true).expect("gone"), [1, 2, 3]);
        assert!(registry.subjects(&tenant, "", true).is_empty());
    }

    #[test]
    fn what_others_refer_to_stays() {
        let (_dir, registry, tenant) = registry();
        let level = r#"{"type":"enum","name":"a.Level","symbols":["LOW"]}"#;
        registry.register(&tenant, "level", &avro(level)).expect("kept");
        let record = r#"{"type":"record","name":"R","fields":[{"name":"l","type":"a.Level"}]}"#;
        assert!(matches!(registry.register(&tenant, "r", &avro(record)), Err(RegistryError::Invalid(_))));
        let reference = Reference { name: "a.Level".to_owned(), subject: "level".to_owned(), version: 1 };
        let proposed = Proposed { references: vec![reference], ..avro(record) };
        let id = registry.register(&tenant, "r", &proposed).expect("kept").id;
        assert_eq!(registry.referenced_by(&tenant, "level", 1), [id]);
        assert!(matches!(
            registry.delete_subject(&tenant, "level", false),
            Err(RegistryError::Referenced(_))
        ));
        registry.delete_subject(&tenant, "r", false).expect("deleted");
        registry.delete_subject(&tenant, "level", false).expect("nobody needs it");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        let (_dir, registry, tenant) = registry();
        for schema in ["", "{", "{\"type\":\"nothing\"}", "[1]"] {
            assert!(matches!(registry.register(&tenant, "s", &avro(schema)), Err(RegistryError::Invalid(_))));
        }
        let large = format!("\"{}\"", "x".repeat(SCHEMA_BYTES_MAX));
        assert!(matches!(registry.register(&tenant, "s", &avro(&large)), Err(RegistryError::Invalid(_))));
        assert!(matches!(registry.register(&tenant, "", &avro(V1)), Err(RegistryError::SubjectInvalid(_))));
    }
}
