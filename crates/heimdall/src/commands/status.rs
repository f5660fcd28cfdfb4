//! `heimdall status`: what the server says of itself.

use anyhow::Result;

use super::say;
use crate::args::Remote;
use crate::client::Client;

pub(crate) async fn run(remote: Remote) -> Result<()> {
    let status = Client::new(&remote)?.get("/api/v1/status").await?;
    say(&serde_json::to_string_pretty(&status)?);
    Ok(())
}
