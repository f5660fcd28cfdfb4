//! One readable line per notice, to standard output or any writer.
//!
//! Invariant: a line has no control character but the colour of its severity, and that on a terminal only.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use futures::future::BoxFuture;
use heimdall_model::Severity;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::config::{Colour, StdoutChannelConfig};
use super::notice::{Notice, NoticeKind, Notifier, NotifyError, Receipt};
use super::text::{self, Telling};

/// Writes one line per notice and flushes it.
pub(crate) struct Stdout {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
    is_coloured: bool,
}

pub(crate) fn build(config: &StdoutChannelConfig) -> Box<dyn Notifier> {
    let out = std::io::stdout();
    let is_coloured = config.colour == Colour::Auto && out.is_terminal();
    Box::new(Stdout { out: Arc::new(Mutex::new(Box::new(out))), is_coloured })
}

impl Notifier for Stdout {
    fn kind(&self) -> &'static str {
        "stdout"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        _previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        let (line, out) = (line(notice, self.is_coloured), Arc::clone(&self.out));
        Box::pin(async move {
            let failed = |detail: String| NotifyError { is_retryable: false, retry_after: None, detail };
            let written = spawn_blocking(move || {
                let mut out = out.lock();
                writeln!(out, "{line}").and_then(|()| out.flush())
            });
            written
                .await
                .map_err(|error| failed(error.to_string()))?
                .map_err(|error| failed(error.to_string()))?;
            Ok(None)
        })
    }
}

/// The line: time, why it is told, how bad, what, where, the numbers, how often, what to do, and the id to act on.
pub(super) fn line(notice: &Notice, is_coloured: bool) -> String {
    let word = match notice.kind {
        NoticeKind::Raised => "ALERT",
        NoticeKind::Updated => "ALERT UPDATED",
        NoticeKind::Acknowledged => "ALERT ACKNOWLEDGED",
        NoticeKind::Escalated => "ALERT ESCALATED",
        NoticeKind::Resolved => "ALERT RESOLVED",
        NoticeKind::Digest => "DIGEST",
        NoticeKind::Test => "TEST",
    };
    let Some(alert) = notice.alerts.first().filter(|_| notice.kind != NoticeKind::Digest) else {
        let telling = Telling::of(notice, None);
        let parts = [vec![format!("{} {word} {}", text::when(notice.at), telling.title)], telling.lines()];
        return text::one_line(&parts.concat().join(" | "));
    };
    let severity = coloured(alert.severity, is_coloured);
    let mut parts = vec![
        text::one_line(&format!("{} {}", alert.priority.as_str(), alert.title)),
        format!("{}={}", alert.entity.kind, alert.entity.value),
    ];
    if let Some(service) = alert.service.as_ref().filter(|_| alert.entity.kind != "service") {
        parts.push(format!("service={service}"));
    }
    parts.push(alert.summary.clone());
    parts.push(format!("seen {}x", alert.count));
    if notice.total > 1 {
        parts.push(format!("{} in all: {}", notice.total, notice.reason));
    }
    if let Some(step) = alert.mitigation.first().filter(|_| notice.kind != NoticeKind::Resolved) {
        parts.push(format!("do: {step}"));
    }
    parts.push(format!("id {}", alert.id));
    format!("{} {word} {severity} {}", text::when(alert.last_seen), text::one_line(&parts.join(" | ")))
}

fn coloured(severity: Severity, is_coloured: bool) -> String {
    match severity {
        Severity::Critical if is_coloured => format!("\u{1b}[1;31m{severity}\u{1b}[0m"),
        Severity::Warning if is_coloured => format!("\u{1b}[33m{severity}\u{1b}[0m"),
        Severity::Normal if is_coloured => format!("\u{1b}[32m{severity}\u{1b}[0m"),
        _ => severity.to_string(),
    }
}
