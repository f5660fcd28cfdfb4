//! What is known of templates: labels with an end of life, at most so many.
//!
//! Invariants:
//! - a label past its end is never given;
//! - `order` and `labels` hold the same keys; the least recently used label leaves first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use heimdall_model::Tenant;
use ring::digest;
use tokio::time::Instant;

use crate::question::Opinion;
use crate::verdict::Seen;

/// A template of a tenant: SHA-256, so that nobody can write a text that takes the label of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub tenant: Tenant,
    hash: [u8; digest::SHA256_OUTPUT_LEN],
}

impl Key {
    pub(crate) fn new(tenant: &Tenant, template: &str) -> Key {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, template.as_bytes()).as_ref());
        Key { tenant: tenant.clone(), hash }
    }
}

/// The opinion on a template, and what was seen of it since it was reported.
#[derive(Debug)]
pub(crate) struct Label {
    pub opinion: Arc<Opinion>,
    /// Name of the model, or `keywords`.
    pub made_by: Arc<str>,
    pub template: String,
    pub expires: Instant,
    /// When a verdict was last given.
    pub reported: Instant,
    pub unreported: Option<Seen>,
}

/// The labels.
#[derive(Debug)]
pub(crate) struct Labels {
    labels: HashMap<Key, (u64, Label)>,
    // INVARIANT: by use, oldest first; one entry for each label.
    order: BTreeMap<u64, Key>,
    uses: u64,
    labels_max: usize,
}

impl Labels {
    pub(crate) fn new(labels_max: usize) -> Labels {
        Labels { labels: HashMap::new(), order: BTreeMap::new(), uses: 0, labels_max }
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The label, which counts as used.
    pub(crate) fn get(&mut self, key: &Key, now: Instant) -> Option<&mut Label> {
        if self.labels.get(key)?.1.expires <= now {
            self.remove(key);
            return None;
        }
        self.uses += 1;
        let (used, label) = self.labels.get_mut(key)?;
        self.order.remove(used);
        self.order.insert(self.uses, key.clone());
        *used = self.uses;
        Some(label)
    }

    pub(crate) fn put(&mut self, key: Key, label: Label) {
        self.remove(&key);
        while self.labels.len() >= self.labels_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.labels.remove(&oldest);
        }
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        self.labels.insert(key, (self.uses, label));
        debug_assert_eq!(self.labels.len(), self.order.len());
    }

    fn remove(&mut self, key: &Key) {
        if let Some((used, _)) = self.labels.remove(key) {
            self.order.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keywords;
    use std::time::Duration;

    fn key(template: &str) -> Key {
        Key::new(&Tenant::default(), template)
    }

    fn label(expires: Instant) -> Label {
        Label {
            opinion: Arc::new(keywords::opinion("", None)),
            made_by: Arc::from("m"),
            template: String::new(),
            expires,
            reported: expires,
            unreported: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn labels_end_with_their_time_and_the_least_used_leave_first() {
        let now = Instant::now();
        let end = now + Duration::from_secs(10);
        let mut labels = Labels::new(2);
        labels.put(key("a"), label(end));
        labels.put(key("b"), label(end));
        assert!(labels.get(&key("a"), now).is_some());
        labels.put(key("c"), label(end));
        assert!(labels.get(&key("b"), now).is_none(), "unused for longest");
        assert!(labels.get(&key("a"), now).is_some() && labels.get(&key("c"), now).is_some());
        labels.put(key("c"), label(end));
        assert_eq!(labels.len(), 2);
        assert!(labels.get(&key("a"), end).is_none());
        assert_eq!((labels.len(), labels.order.len()), (1, 1));
        let other = Key::new(&Tenant::new("other").unwrap(), "c");
        assert!(labels.get(&other, now).is_none(), "tenants share nothing");
    }
}
