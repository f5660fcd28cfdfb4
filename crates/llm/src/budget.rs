//! What may still be spent in this UTC hour and day.
//!
//! Invariants:
//! - in one UTC hour at most `requests_per_hour` attempts are granted, in one UTC day at most `tokens_per_day` tokens, as far as
//!   the other side counts them; where it does not, the estimate made before the attempt stands, unless it was turned away;
//! - a clock that steps back grants nothing twice: windows only move forward.

use heimdall_model::Timestamp;
use heimdall_model::time::{NS_PER_DAY, NS_PER_HOUR};
use serde::{Deserialize, Serialize};

use crate::config::BudgetConfig;
use crate::model::{Prompt, Usage};

/// Bytes of a prompt for which one token is reserved. English is about 4 bytes a token, identifiers and JSON less: 3 errs
/// towards spending less.
const BYTES_PER_TOKEN: u64 = 3;

/// What was spent; kept over a restart, it cannot be spent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Hour since the epoch, and attempts in it.
    pub hour: i64,
    /// Attempts in that hour.
    pub requests: u32,
    /// Day since the epoch, and tokens in it.
    pub day: i64,
    /// Tokens in that day.
    pub tokens: u64,
}

/// Why nothing is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// `requests_per_hour`.
    Requests,
    /// `tokens_per_day`.
    Tokens,
}

/// The account.
#[derive(Debug)]
pub(crate) struct Budget {
    config: BudgetConfig,
    spent: Spent,
}

/// Tokens reserved for one attempt, until its cost is known.
#[derive(Debug)]
pub(crate) struct Reserved {
    tokens: u64,
    day: i64,
}

impl Budget {
    pub(crate) fn new(config: BudgetConfig, spent: Spent) -> Budget {
        Budget { config, spent }
    }

    pub(crate) fn spent(&self) -> Spent {
        self.spent
    }

    /// Pays for one attempt with this prompt.
    pub(crate) fn take(&mut self, now: Timestamp, prompt: &Prompt) -> Result<Reserved, Exhausted> {
        self.roll(now);
        let tokens = estimate(prompt);
        if self.spent.requests >= self.config.requests_per_hour {
            return Err(Exhausted::Requests);
        }
        let after = self.spent.tokens.saturating_add(tokens);
        if after > self.config.tokens_per_day {
            return Err(Exhausted::Tokens);
        }
        self.spent.requests += 1;
        self.spent.tokens = after;
        Ok(Reserved { tokens, day: self.spent.day })
    }

    /// Puts the told cost in the place of the estimate.
    pub(crate) fn settle(&mut self, reserved: &Reserved, usage: Usage) {
        if reserved.day == self.spent.day {
            let used = usage.input_tokens.saturating_add(usage.output_tokens);
            self.spent.tokens = self.spent.tokens.saturating_sub(reserved.tokens).saturating_add(used);
        }
    }

    fn roll(&mut self, now: Timestamp) {
        let (hour, day) = (now.0.div_euclid(NS_PER_HOUR), now.0.div_euclid(NS_PER_DAY));
        if hour > self.spent.hour {
            (self.spent.hour, self.spent.requests) = (hour, 0);
        }
        if day > self.spent.day {
            (self.spent.day, self.spent.tokens) = (day, 0);
        }
    }
}

fn estimate(prompt: &Prompt) -> u64 {
    let bytes = (prompt.system.len() + prompt.user.len()) as u64;
    bytes / BYTES_PER_TOKEN + u64::from(prompt.max_output_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn prompt() -> Prompt {
        Prompt { system: "x".repeat(300), user: String::new(), schema: Value::Null, max_output_tokens: 50 }
    }

    fn budget(requests_per_hour: u32, tokens_per_day: u64) -> Budget {
        Budget::new(
            BudgetConfig { requests_per_hour, tokens_per_day, max_output_tokens: 50 },
            Spent::default(),
        )
    }

    const START: Timestamp = Timestamp(1_000 * NS_PER_DAY);

    #[test]
    fn attempts_are_granted_up_to_the_limit_of_each_hour() {
        let mut budget = budget(2, 1_000_000);
        for _ in 0..2 {
            budget.take(START, &prompt()).unwrap();
        }
        assert_eq!(
            budget.take(START.saturating_add_ns(NS_PER_HOUR - 1), &prompt()).unwrap_err(),
            Exhausted::Requests
        );
        budget.take(START.saturating_add_ns(NS_PER_HOUR), &prompt()).unwrap();
        budget.take(START, &prompt()).unwrap();
        assert_eq!(budget.take(START, &prompt()).unwrap_err(), Exhausted::Requests, "the clock stepped back");
    }

    #[test]
    fn tokens_are_reserved_then_counted_as_told() {
        let mut budget = budget(100, 400);
        let first = budget.take(START, &prompt()).unwrap();
        let _second = budget.take(START, &prompt()).unwrap();
        assert_eq!(
            budget.take(START, &prompt()).unwrap_err(),
            Exhausted::Tokens,
            "2 x 150 are reserved of 400"
        );
        budget.settle(&first, Usage { input_tokens: 20, output_tokens: 10 });
        assert_eq!(budget.spent().tokens, 180);
        let late = budget.take(START, &prompt()).unwrap();
        budget.take(START.saturating_add_ns(NS_PER_DAY), &prompt()).unwrap();
        budget.settle(&late, Usage { input_tokens: 1, output_tokens: 0 });
        assert_eq!(budget.spent().tokens, 150, "yesterday's question costs nothing of today");
    }

    #[test]
    fn what_was_spent_before_a_restart_stays_spent() {
        let mut before = budget(1, 1_000);
        before.take(START, &prompt()).unwrap();
        let text = serde_json::to_string(&before.spent()).unwrap();
        let mut after = Budget::new(before.config, serde_json::from_str(&text).unwrap());
        assert_eq!(after.take(START, &prompt()).unwrap_err(), Exhausted::Requests);
    }
}
