//! Asks a server one question after the other.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::child::ChildServer;

/// Rows of an answer at most.
pub(super) const ROWS_MAX: usize = 10_000;

/// A client of one server.
#[derive(Clone)]
pub(super) struct Asker {
    client: reqwest::Client,
    url: String,
    /// Whether kept results are good enough.
    cache: bool,
}

impl Asker {
    pub(super) fn new(server: &ChildServer, cache: bool) -> Asker {
        Asker { client: reqwest::Client::new(), url: format!("http://{}/api/v1", server.http), cache }
    }

    /// The answer to a search line over event times `from` until `to`.
    pub(super) async fn search(
        &self,
        line: &str,
        range: Option<(String, String)>,
        limit: usize,
    ) -> Result<Value> {
        self.ask("search", line, range, limit).await
    }

    /// The answer to a question in a language.
    pub(super) async fn ask(
        &self,
        language: &str,
        question: &str,
        range: Option<(String, String)>,
        limit: usize,
    ) -> Result<Value> {
        let (from, to) = range.unzip();
        let body = json!({
            "query": question, "language": language, "from": from, "to": to, "limit": limit, "cache": self.cache,
        });
        let answer: Value =
            self.client.post(format!("{}/query", self.url)).json(&body).send().await?.json().await?;
        ensure!(answer.get("columns").is_some(), "`{question}`: {answer}");
        Ok(answer)
    }

    /// The server's status.
    pub(super) async fn status(&self) -> Result<Value> {
        Ok(self.client.get(format!("{}/status", self.url)).send().await?.json().await?)
    }
}
