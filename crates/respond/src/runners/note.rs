//! Actions that only tell: `annotate` writes into the alert or onto charts, `page` calls people.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::Timestamp;

use super::deadline::Deadline;
use super::parameters::{effect, invalid, only, text};
use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress};

/// Longest text of a note or page (bytes).
pub const TEXT_BYTES_MAX: usize = 4_096;

/// Something to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about: a service, an alert id, as the playbook says.
    pub target: String,
    /// What to write.
    pub text: String,
}

/// Somebody to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Receiver, as routes name it.
    pub receiver: String,
    /// What to say.
    pub text: String,
}

/// Takes annotations: alerts' comments, marks on charts.
pub trait Notebook: Send + Sync {
    /// Writes it down; durable when `Ok`.
    ///
    /// # Errors
    /// It was not written.
    fn annotate<'a>(&'a self, note: &'a Note) -> BoxFuture<'a, Result<(), ActionError>>;
}

/// Calls people.
pub trait Pager: Send + Sync {
    /// Hands it over to be delivered; durable when `Ok`.
    ///
    /// # Errors
    /// [`ActionError::NotFound`] when there is no such receiver; any other: it was not handed over.
    fn page<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<(), ActionError>>;
}

/// Does `annotate` and `page`.
pub(crate) struct NoteRunner {
    notebook: Arc<dyn Notebook>,
    pager: Arc<dyn Pager>,
}

impl NoteRunner {
    pub(crate) fn new(notebook: Arc<dyn Notebook>, pager: Arc<dyn Pager>) -> NoteRunner {
        NoteRunner { notebook, pager }
    }

    async fn tell(&self, action: &Action) -> Result<Outcome, ActionError> {
        let (target, text) = (action.target.clone(), words(action)?.to_owned());
        let summary = if action.kind == "page" {
            self.pager.page(&Page { receiver: target.clone(), text }).await?;
            format!("paged `{target}`")
        } else {
            self.notebook.annotate(&Note { target: target.clone(), text }).await?;
            format!("annotated `{target}`")
        };
        Ok(Outcome { summary, inverse: None })
    }
}

fn words(action: &Action) -> Result<&str, ActionError> {
    let words = text(action, "text")?.unwrap_or_default().trim();
    let fits = !words.is_empty() && words.len() <= TEXT_BYTES_MAX;
    fits.then_some(words).ok_or_else(|| invalid("text", format!("must have 1 to {TEXT_BYTES_MAX} bytes")))
}

impl ActionRunner for NoteRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["annotate", "page"]
    }

    fn describe(&self, action: &Action) -> Result<Effect, ActionError> {
        only(action, &["text"])?;
        words(action)?;
        let deed = if action.kind == "page" { "page" } else { "write a note about" };
        // Told twice is better than not at all.
        let mut effect = effect(format!("{deed} `{}`", action.target), None, true);
        effect.reach.touched = 0;
        Ok(effect)
    }

    fn look<'a>(&'a self, action: &'a Action, _: Duration) -> BoxFuture<'a, Result<Effect, ActionError>> {
        Box::pin(std::future::ready(self.describe(action)))
    }

    fn run<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Outcome, ActionError>> {
        Box::pin(async move { Deadline::new(deadline).doing(self.tell(action)).await })
    }

    fn progress<'a>(
        &'a self,
        _: &'a Action,
        _: Timestamp,
        _: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        Box::pin(std::future::ready(Ok(Progress::Unknown)))
    }
}
