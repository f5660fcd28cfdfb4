//! Log template miner: turns messages into a bounded, growing catalog of templates such as `session closed for user <*>`.
//!
//! `assign` hands out a dense [`TemplateId`] per message; in the steady state that is one pass over the bytes and one hash lookup.
//! Ids form a forest: an id stands for one *shape* (exact constants) and belongs to a *cluster* root ([`Miner::canonical`]),
//! whose text is general enough for every shape under it.
//!
//! Invariants:
//! - the same messages in the same order give the same ids, also across [`Miner::encode`] / [`Miner::decode`] (no clock, no randomness);
//! - an id is never reused, and its template only becomes more general (a constant may turn into a slot, never the reverse);
//! - the template of an id matches every message that was assigned the id, and a cluster's template matches all of its shapes;
//! - memory is bounded by the constants in `limits`: past them messages get [`TemplateId::CATCH_ALL`], they are never refused.
//!
//! Not here: which rows carry which id (segments), phrase search over templates (query), IO (the caller stores the bytes).
//! Format: docs/formats/templates.md.

mod catalog;
mod codec;
mod decide;
pub mod limits;
mod miner;
mod slot;
mod texts;
mod tokens;
mod words;

pub use catalog::{Template, TemplateId, TemplateToken};
pub use codec::TemplateError;
pub(crate) use decide::Question;
pub use miner::{Miner, MinerConfig};
