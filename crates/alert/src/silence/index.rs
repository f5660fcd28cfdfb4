//! Finding the silences that may match an alert without asking each.
//!
//! Invariant: a silence is found for every label set that passes all its matchers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use heimdall_model::LabelMatcher;

use super::Silence;

/// Silences of one tenant, by a value one of their matchers demands; the others are asked every time.
#[derive(Default)]
pub(crate) struct Index {
    by_value: HashMap<String, HashMap<String, Vec<Arc<Silence>>>>,
    rest: Vec<Arc<Silence>>,
}

impl Index {
    pub(crate) fn new<'a>(silences: impl IntoIterator<Item = &'a Arc<Silence>>) -> Index {
        let mut index = Index::default();
        silences.into_iter().for_each(|silence| index.add(silence));
        index
    }

    pub(crate) fn add(&mut self, silence: &Arc<Silence>) {
        let list = match silence.matchers.iter().find(|matcher| demands_value(matcher)) {
            Some(matcher) => {
                let values = self.by_value.entry(matcher.name().to_owned()).or_default();
                values.entry(matcher.value().to_owned()).or_default()
            }
            None => &mut self.rest,
        };
        list.push(Arc::clone(silence));
    }

    /// The silences all of whose matchers a label set passes.
    pub(crate) fn matching<'l>(&self, label: impl Fn(&str) -> Option<Cow<'l, str>>) -> Vec<&Arc<Silence>> {
        let mut candidates: Vec<&Arc<Silence>> = self.rest.iter().collect();
        for (name, values) in &self.by_value {
            candidates.extend(label(name).and_then(|value| values.get(&*value)).into_iter().flatten());
        }
        let passes = |matcher: &LabelMatcher| matcher.is_match(&label(matcher.name()).unwrap_or_default());
        candidates.retain(|silence| silence.matchers.iter().all(passes));
        candidates
    }
}

fn demands_value(matcher: &LabelMatcher) -> bool {
    matcher.is_equal() && !matcher.is_regex() && !matcher.value().is_empty()
}
