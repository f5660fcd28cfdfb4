//! Inhibition: while a source alert lives, target alerts with equal labels keep quiet. Pure.
//!
//! Invariants:
//! - an alert never inhibits itself, and two that pass both sides of a rule do not inhibit each other;
//! - an absent label equals an empty one;
//! - tenants do not inhibit each other;
//! - what an alert does to others is found by the equal labels, never by looking at all alerts.
//!
//! Source: Alertmanager, `inhibit/inhibit.go`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use heimdall_model::{AlertId, LabelMatcher};
use serde::{Deserialize, Serialize};

use crate::live::Labels;

/// Rules that may be given at once.
pub const INHIBIT_RULES_MAX: usize = 1_000;

/// While an alert that passes `source` lives, those that pass `target` and agree with it on `equal` are muted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InhibitRule {
    /// Conditions on the alert that says it already.
    pub source: Vec<LabelMatcher>,
    /// Conditions on the alerts to keep quiet.
    pub target: Vec<LabelMatcher>,
    /// Labels whose values must be the same on both.
    #[serde(default)]
    pub equal: Vec<String>,
}

/// A rule by its number, and the values of its equal labels with the tenant.
type Place = (usize, Arc<str>);

/// What one alert is to one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Target,
    Both,
}

/// What an alert is to the rules that concern it.
#[derive(Default)]
pub(crate) struct Roles(Vec<(Place, Side)>);

#[derive(Default)]
struct Bucket {
    /// Alerts that pass `source` alone.
    sources: BTreeSet<AlertId>,
    /// Alerts that pass both sides.
    both: BTreeSet<AlertId>,
    /// Alerts that pass `target` alone.
    targets: BTreeSet<AlertId>,
}

/// The live alerts that rules concern.
#[derive(Default)]
pub(crate) struct Inhibition {
    rules: Vec<InhibitRule>,
    buckets: HashMap<Place, Bucket>,
}

impl Inhibition {
    pub(crate) fn new(mut rules: Vec<InhibitRule>) -> Inhibition {
        rules.truncate(INHIBIT_RULES_MAX);
        Inhibition { rules, buckets: HashMap::new() }
    }

    pub(crate) fn rules(&self) -> &[InhibitRule] {
        &self.rules
    }

    /// Takes in a live alert. Others whose inhibition may have changed go to `touched`.
    pub(crate) fn add(&mut self, id: AlertId, labels: &Labels, touched: &mut Vec<AlertId>) -> Roles {
        let rules = self.rules.iter().enumerate();
        let roles = Roles(
            rules.filter_map(|(n, rule)| Some(((n, place(rule, labels)), side(rule, labels)?))).collect(),
        );
        for (place, side) in &roles.0 {
            self.buckets.entry(place.clone()).or_default().change(touched, |bucket| {
                bucket.of(*side).insert(id);
            });
        }
        roles
    }

    /// Lets go of an alert.
    pub(crate) fn remove(&mut self, id: AlertId, roles: &Roles, touched: &mut Vec<AlertId>) {
        for (place, side) in &roles.0 {
            let Some(bucket) = self.buckets.get_mut(place) else { continue };
            bucket.change(touched, |bucket| {
                bucket.of(*side).remove(&id);
            });
            if bucket.is_empty() {
                self.buckets.remove(place);
            }
        }
    }

    /// The alert that inhibits one with these roles, and the number of the rule.
    pub(crate) fn inhibitor(&self, roles: &Roles) -> Option<(AlertId, usize)> {
        roles.0.iter().find_map(|(place, side)| {
            let bucket = self.buckets.get(place)?;
            let source = match side {
                Side::Source => None,
                Side::Target => bucket.any(),
                Side::Both => bucket.sources.first().copied(),
            };
            source.map(|source| (source, place.0))
        })
    }
}

impl Bucket {
    fn of(&mut self, side: Side) -> &mut BTreeSet<AlertId> {
        match side {
            Side::Source => &mut self.sources,
            Side::Both => &mut self.both,
            Side::Target => &mut self.targets,
        }
    }

    /// The source that counts for alerts that pass `target` alone.
    fn any(&self) -> Option<AlertId> {
        self.sources.first().or(self.both.first()).copied()
    }

    fn change(&mut self, touched: &mut Vec<AlertId>, work: impl FnOnce(&mut Bucket)) {
        let before = (self.any(), self.sources.first().copied());
        work(self);
        if self.any() != before.0 {
            touched.extend(&self.targets);
        }
        if self.sources.first().copied() != before.1 {
            touched.extend(&self.both);
        }
    }

    fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.both.is_empty() && self.targets.is_empty()
    }
}

fn side(rule: &InhibitRule, labels: &Labels) -> Option<Side> {
    match (labels.pass(&rule.source), labels.pass(&rule.target)) {
        (true, true) => Some(Side::Both),
        (true, false) => Some(Side::Source),
        (false, true) => Some(Side::Target),
        (false, false) => None,
    }
}

fn place(rule: &InhibitRule, labels: &Labels) -> Arc<str> {
    let mut place = labels.get("tenant").unwrap_or_default().to_owned();
    for name in &rule.equal {
        let value = labels.get(name).unwrap_or_default();
        // The length keeps apart what a separator inside a value would join.
        place.push_str(&format!("\u{1f}{}:{value}", value.len()));
    }
    Arc::from(place)
}
