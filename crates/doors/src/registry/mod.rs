//! Schema Registry: subjects, their versions and rules of change, as Confluent's clients expect them, and decoders of messages
//! written by those schemas.
//!
//! - [`store`]: what is kept, for each tenant; [`compatibility`]: what may follow what; [`http`]: the paths
//! - [`records`]: JSON Schemas for records that pipelines check
//! - [`avro`], [`protobuf`]: messages to JSON text; [`lookup`]: decoders by id, from here or from another registry
//!
//! Invariants:
//! - an id is answered only after it is on disk, and means the same schema for ever;
//! - a schema that its subject's rule forbids is not kept;
//! - subjects, versions, and bytes are bounded, for each tenant.

pub(crate) mod avro;
pub(crate) mod compatibility;
pub(crate) mod http;
pub(crate) mod lookup;
pub(crate) mod protobuf;
pub(crate) mod records;
pub(crate) mod store;

pub use store::{Registry, RegistryError};
