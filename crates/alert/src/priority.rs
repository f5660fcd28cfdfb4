//! How urgent an alert is, by rule. Pure.

use heimdall_model::{Alert, LabelMatcher, Priority};
use serde::{Deserialize, Serialize};

/// Gives alerts that pass all matchers this priority; the first rule that fits decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorityRule {
    /// Conditions, all of which must hold.
    pub matchers: Vec<LabelMatcher>,
    /// The priority.
    pub priority: Priority,
}

/// The priority an alert of this severity starts with: as the first rule that fits says, else as its severity says.
#[must_use]
pub fn priority_of(alert: &Alert, rules: &[PriorityRule]) -> Priority {
    let fits = |rule: &&PriorityRule| rule.matchers.iter().all(|matcher| matcher.matches(alert));
    rules.iter().find(fits).map_or(Priority::of(alert.severity), |rule| rule.priority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{raise, tests::verdict};
    use heimdall_model::Timestamp;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let alert = raise(verdict("10.0.0.1", 1), "fp".to_owned(), None, Timestamp(1));
        let rule = |matchers: &[&str], priority| PriorityRule {
            matchers: matchers.iter().map(|matcher| matcher.parse().unwrap()).collect(),
            priority,
        };
        let rules = [
            rule(&["service=AUTH-API", "severity=critical"], Priority::P1),
            rule(&["service=~AUTH.*"], Priority::P3),
            rule(&[], Priority::P1),
        ];
        assert_eq!(priority_of(&alert, &rules), Priority::P3);
        assert_eq!(priority_of(&alert, &rules[2..]), Priority::P1);
        assert_eq!(priority_of(&alert, &[]), Priority::P2);
    }
}
