//! Suspicious log templates, reviewed by a language model: labelled, explained, and never trusted.
//!
//! - `config`: every key, and the API key as a type that never prints
//! - `model`: the port; `openai`: the chat-completions API behind it
//! - `desk`: where templates are offered and wait; `labels`: what is known of them
//! - `mask`: what is taken out of a text before it leaves; `question`: the prompt, and what of its answer is taken
//! - `ask`: attempts, within `budget` and `breaker`; `keywords`: who decides otherwise
//! - `reviewer`: the loop that joins them; `verdict`: what comes out
//!
//! Invariants:
//! - off unless configured; without a key, budget or working endpoint the review goes on by key words;
//! - of records, masked template, service, level and count leave the process, nothing else;
//! - no answer can raise a severity above `max_severity`, start an action, or put a link before people.
//!
//! Not here: which templates are suspicious (the caller offers them), alerts, the environment.

mod ask;
mod breaker;
mod budget;
mod config;
mod desk;
mod keywords;
mod labels;
mod mask;
mod model;
mod openai;
mod question;
mod reviewer;
#[cfg(test)]
mod standin;
mod verdict;

pub use budget::Spent;
pub use config::{
    AnswerFormat, ApiKey, ApiKeyError, BreakerConfig, BudgetConfig, ConfigError, LlmConfig, RetryConfig,
};
pub use desk::{Desk, Dropped, Offered, Stats};
pub use keywords::opinion as keyword_opinion;
pub use mask::masked;
pub use model::{Completion, LanguageModel, ModelError, Prompt, Usage};
pub use openai::{LlmError, OpenAi};
pub use question::{Opinion, Refusal};
pub use reviewer::Reviewer;
pub use verdict::{Candidate, DETECTOR, RULE};
