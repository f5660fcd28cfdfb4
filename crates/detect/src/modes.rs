//! Rules that are off or in rehearsal for some tenants.
//!
//! Invariant: what is said of a rule for one tenant changes nothing for another.

use std::collections::BTreeMap;

use heimdall_model::Tenant;
use serde::{Deserialize, Serialize};

/// What becomes of the verdicts of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They raise alerts.
    #[default]
    On,
    /// They are shown, and raise nothing.
    DryRun,
    /// They are counted, and nothing else.
    Off,
}

impl Mode {
    /// Its name: `on`, `dry_run` or `off`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::On => "on",
            Mode::DryRun => "dry_run",
            Mode::Off => "off",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Mode> {
        [Mode::On, Mode::DryRun, Mode::Off].into_iter().find(|mode| mode.as_str() == name)
    }
}

/// What is said of the rules of one tenant, by their ids.
pub(crate) type ModeByRule = BTreeMap<String, Mode>;

/// What is said of rules, by tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Modes(BTreeMap<Tenant, ModeByRule>);

impl Modes {
    /// Says what becomes of a rule for a tenant, in place of what the configuration says.
    pub fn set(&mut self, tenant: &Tenant, rule: &str, mode: Mode) {
        self.0.entry(tenant.clone()).or_default().insert(rule.to_owned(), mode);
    }

    /// Leaves a rule to the configuration again; `false` when it was.
    pub fn forget(&mut self, tenant: &Tenant, rule: &str) -> bool {
        self.0.get_mut(tenant).is_some_and(|modes| modes.remove(rule).is_some())
    }

    /// What was said of a rule for a tenant; `None` leaves it to the configuration.
    #[must_use]
    pub fn get(&self, tenant: &Tenant, rule: &str) -> Option<Mode> {
        self.0.get(tenant)?.get(rule).copied()
    }

    pub(crate) fn of(&self, tenant: &Tenant) -> Option<&ModeByRule> {
        self.0.get(tenant)
    }
}
