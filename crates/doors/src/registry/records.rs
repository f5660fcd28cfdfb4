//! JSON Schemas of the registry, for records that a pipeline checks: a subject and its version, or its newest.
//!
//! Invariants:
//! - nothing is asked beyond memory: a schema that refers to another one is none, as are those of other languages;
//! - what is kept ready is bounded ([`READY_MAX`]); an id means the same schema for ever, so nothing kept goes stale.

use std::collections::HashMap;
use std::sync::Arc;

use heimdall_ingest::schema::{Schema, SchemaSource};
use heimdall_model::Tenant;
use parking_lot::Mutex;

use super::store::{Registry, SchemaType, Which};

/// Schemas kept ready; beyond, all are forgotten.
const READY_MAX: usize = 1_000;

type Ready = Option<Arc<Schema>>;

/// See the module.
pub(crate) struct RecordSchemas {
    registry: Arc<Registry>,
    /// By tenant and id; none where it cannot be used.
    ready: Mutex<HashMap<(Tenant, u32), Ready>>,
}

impl RecordSchemas {
    /// Of a registry.
    pub(crate) fn new(registry: Arc<Registry>) -> RecordSchemas {
        RecordSchemas { registry, ready: Mutex::new(HashMap::new()) }
    }
}

impl SchemaSource for RecordSchemas {
    fn get(&self, tenant: &Tenant, subject: &str, version: Option<u32>) -> Option<Arc<Schema>> {
        let which = version.map_or(Which::Latest, |version| Which::Number(i64::from(version)));
        let found = self.registry.version(tenant, subject, which, false).ok()?;
        let key = (tenant.clone(), found.id);
        if let Some(ready) = self.ready.lock().get(&key) {
            return ready.clone();
        }
        let is_usable = found.schema.kind == SchemaType::Json && found.schema.references.is_empty();
        let made = is_usable.then(|| Schema::new(&found.schema.schema).ok()).flatten().map(Arc::new);
        let mut ready = self.ready.lock();
        if ready.len() >= READY_MAX {
            ready.clear();
        }
        ready.insert(key, made.clone());
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::store::Proposed;

    #[test]
    fn json_schemas_of_the_registry_check_records() {
        let dir = tempfile::tempdir().expect("a folder");
        let registry = Arc::new(Registry::open(dir.path()).expect("a registry"));
        let tenant = Tenant::default();
        let proposed = |schema: &str, kind| Proposed {
            schema: schema.to_owned(),
            kind: Some(kind),
            references: Vec::new(),
        };
        let open = r#"{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":false}"#;
        registry.register(&tenant, "orders", &proposed(open, SchemaType::Json)).expect("kept");
        registry.register(&tenant, "avro", &proposed("\"int\"", SchemaType::Avro)).expect("kept");
        let schemas = RecordSchemas::new(registry);
        for version in [None, Some(1), None] {
            let schema = schemas.get(&tenant, "orders", version).expect("a schema");
            assert!(schema.check(r#"{"a":1}"#).is_ok());
            assert!(schema.check(r#"{"a":"x"}"#).is_err());
        }
        assert!(schemas.get(&tenant, "orders", Some(2)).is_none());
        assert!(schemas.get(&tenant, "avro", None).is_none(), "another language");
        let stranger = Tenant::new("stranger").expect("a name");
        assert!(schemas.get(&stranger, "orders", None).is_none());
    }
}
