//! One readable line per alert, to standard output or any writer.

use std::io::Write;
use std::sync::Arc;

use futures::future::BoxFuture;
use heimdall_model::Alert;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::one_line;
use crate::dispatch::{Notifier, NotifyError};
use crate::stream::AlertChange;

/// Writes one line per alert.
pub struct StdoutNotifier {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl StdoutNotifier {
    /// A channel that writes to `out` and flushes after each line.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> StdoutNotifier {
        StdoutNotifier { out: Arc::new(Mutex::new(out)) }
    }
}

impl Notifier for StdoutNotifier {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn notify<'a>(&'a self, change: &'a AlertChange) -> BoxFuture<'a, Result<(), NotifyError>> {
        let (line, out) = (line(change), Arc::clone(&self.out));
        Box::pin(async move {
            let failed = |detail: String| NotifyError { is_retryable: false, retry_after: None, detail };
            let written = spawn_blocking(move || {
                let mut out = out.lock();
                writeln!(out, "{line}").and_then(|()| out.flush())
            });
            written
                .await
                .map_err(|error| failed(error.to_string()))?
                .map_err(|error| failed(error.to_string()))
        })
    }
}

/// The line: time of the latest finding, how bad, what, where, the numbers, how often, what to do, and the id to act on.
fn line(change: &AlertChange) -> String {
    let alert = change.alert();
    let kind = if matches!(change, AlertChange::Raised(_)) { "ALERT" } else { "ALERT ESCALATED" };
    let mut parts = vec![
        format!(
            "{} {kind} {} {} {}",
            whole_second(alert),
            alert.severity,
            alert.priority.as_str(),
            alert.title
        ),
        format!("{}={}", alert.entity.kind, alert.entity.value),
    ];
    if let Some(service) = alert.service.as_ref().filter(|_| alert.entity.kind != "service") {
        parts.push(format!("service={service}"));
    }
    parts.push(alert.summary.clone());
    parts.push(format!("seen {}x", alert.count));
    if let Some(step) = alert.mitigation.first() {
        parts.push(format!("do: {step}"));
    }
    parts.push(format!("id {}", alert.id));
    one_line(&parts.join(" | "))
}

/// `2026-03-01 12:00:00Z`.
fn whole_second(alert: &Alert) -> String {
    let mut text = alert.last_seen.to_string().replace('T', " ");
    text.truncate("2026-03-01 12:00:00".len());
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::raise;
    use crate::lifecycle::tests::verdict;
    use heimdall_model::{AlertId, Timestamp};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_line_says_all_there_is_to_act_on_and_cannot_be_forged() {
        let mut alert = raise(verdict("10.0.0.1", 1), "fp".into(), None, Timestamp(0));
        alert.id = AlertId::nil();
        alert.summary = "12 failures\n2026 ALERT \u{1b}[2J".to_owned();
        let out = Shared::default();
        StdoutNotifier::new(Box::new(out.clone()))
            .notify(&AlertChange::Raised(Arc::new(alert)))
            .await
            .unwrap();
        assert_eq!(
            String::from_utf8(out.0.lock().clone()).unwrap(),
            "2026-03-01 12:00:01Z ALERT WARNING P2 Failed logins | source_ip=10.0.0.1 | service=AUTH-API | \
             12 failures 2026 ALERT  [2J | seen 1x | do: block the address | id 00000000-0000-0000-0000-000000000000\n"
        );
    }
}
