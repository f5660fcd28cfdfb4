//! The port to a language model: one prompt in, one text out, one attempt.
//!
//! Not here: retries, budget and breaker (see `ask`), which hold for every implementation.

use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// What the model shall do: fixed text of this program.
    pub system: String,
    /// What it shall do it to: JSON, with text from records as strings in it.
    pub user: String,
    /// JSON schema of the answer, for servers that can enforce one.
    pub schema: Value,
    /// Longest answer (tokens).
    pub max_output_tokens: u32,
}

/// What was used, as told by the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

/// An answer. Nothing about its text is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// What the model said.
    pub text: String,
    /// What it cost, when told.
    pub usage: Option<Usage>,
}

/// An attempt without an answer. Holds no text of the other side: that may repeat the key or the prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No connection.
    #[error("the language model cannot be reached")]
    Unreachable,
    /// The connection ended before the answer did.
    #[error("the connection to the language model broke")]
    Broken,
    /// No whole answer within the time of one attempt.
    #[error("the language model did not answer in time")]
    Timeout,
    /// It asks to be asked later: 429, or 5xx.
    #[error("the language model answered {status}")]
    Busy {
        /// HTTP status.
        status: u16,
        /// The wait it asked for.
        retry_after: Option<Duration>,
    },
    /// It refuses: wrong key, unknown model, no credit. The same question would be refused again.
    #[error("the language model refused the question: {status} {code}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its name for the reason if that is a known one, else empty.
        code: &'static str,
    },
    /// Its answer is larger than any that was asked for.
    #[error("the answer of the language model is too large")]
    TooLarge,
    /// Its answer ended at the limit of tokens.
    #[error("the answer of the language model ends at `budget.max_output_tokens`")]
    CutOff,
    /// Its answer is not one of the chat-completions API.
    #[error("the answer of the language model is not one: {0}")]
    Malformed(&'static str),
}

impl ModelError {
    /// Whether the same attempt may succeed in a moment.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        use ModelError::{Broken, Busy, Timeout, Unreachable};
        matches!(self, Unreachable | Broken | Timeout | Busy { .. })
    }

    /// Whether the attempt may have cost tokens: not if it was turned away, or never arrived.
    #[must_use]
    pub fn may_cost(&self) -> bool {
        !matches!(self, ModelError::Unreachable | ModelError::Busy { .. } | ModelError::Refused { .. })
    }

    /// How long the other side asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        if let ModelError::Busy { retry_after, .. } = self { *retry_after } else { None }
    }

    /// Name in metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            ModelError::Unreachable => "unreachable",
            ModelError::Broken => "broken",
            ModelError::Timeout => "timeout",
            ModelError::Busy { status: 429, .. } => "rate_limited",
            ModelError::Busy { .. } => "server_error",
            ModelError::Refused { .. } => "refused",
            ModelError::TooLarge => "too_large",
            ModelError::CutOff => "cut_off",
            ModelError::Malformed(_) => "malformed",
        }
    }
}

/// A language model. One call is one attempt with a deadline of its own; dropping the future gives the attempt up.
pub trait LanguageModel: Send + Sync {
    /// Name for people: stands in every summary it made.
    fn name(&self) -> &str;

    /// Tries once to get an answer. It is data from outside: the caller checks every part of it.
    fn complete<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Result<Completion, ModelError>>;
}
