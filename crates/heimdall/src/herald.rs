//! Carries findings from the stream to alerts, audit files and the console.
//!
//! Invariants:
//! - findings are handled in order, on a thread of their own, so that a slow disk under the alerts does not stop records
//!   from becoming searchable; the queue is bounded, and when it is full the stream waits;
//! - when [`Sink::settle`] says so, every finding before it is durable.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use heimdall_alert::{AlertError, Alerts};
use heimdall_detect::{Findings, console};
use heimdall_guard::AssessmentLog;
use heimdall_model::{Assessment, Verdict};
use heimdall_stream::Sink;
use tokio_util::sync::CancellationToken;

/// Batches of findings waiting.
const WAITING_MAX: usize = 256;
/// Wait before findings that could not be stored are tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

enum Message {
    Findings(Findings),
    Tick,
    Settle(Sender<bool>),
}

/// The stream's end, and that of others who find something.
#[derive(Clone)]
pub(crate) struct Herald {
    messages: Sender<Message>,
}

impl Herald {
    /// Starts the thread; it ends when the stream, and whoever has a copy, drops its end.
    pub(crate) fn start(
        alerts: Arc<Alerts>,
        log: AssessmentLog,
        console: bool,
        shutdown: CancellationToken,
    ) -> std::io::Result<(Herald, JoinHandle<()>)> {
        let (messages, received) = bounded(WAITING_MAX);
        let colour = std::io::stdout().is_terminal();
        let mut worker =
            Worker { alerts, log, console, colour, line: String::new(), shutdown, gave_up: false };
        let thread =
            std::thread::Builder::new().name("herald".to_owned()).spawn(move || worker.run(&received))?;
        Ok((Herald { messages }, thread))
    }

    /// Hands in verdicts of another source than the stream. Waits while the queue is full.
    pub(crate) fn report(&self, verdicts: Vec<Verdict>) {
        self.send(Message::Findings(Findings { verdicts, ..Findings::default() }));
    }

    fn send(&self, message: Message) {
        if self.messages.send(message).is_err() {
            tracing::error!("the herald has ended; findings are not reported");
        }
    }
}

impl Sink for Herald {
    fn take(&mut self, findings: Findings) {
        for verdict in &findings.rehearsed {
            metrics::counter!("detect_rehearsed_total", "detector" => verdict.detector.clone()).increment(1);
            tracing::info!(
                tenant = %verdict.tenant,
                rule = verdict.rule,
                entity = verdict.entity.value,
                summary = verdict.summary,
                "rehearsal: this would have raised an alert"
            );
        }
        let Findings { verdicts, recovered, assessments, .. } = &findings;
        if !(verdicts.is_empty() && recovered.is_empty() && assessments.is_empty()) {
            self.send(Message::Findings(findings));
        }
    }

    fn tick(&mut self) {
        // A full queue means that the worker is busy writing anyway.
        let _ = self.messages.try_send(Message::Tick);
    }

    fn settle(&mut self) -> bool {
        let (done_tx, done) = bounded(1);
        self.send(Message::Settle(done_tx));
        done.recv().unwrap_or(false)
    }
}

struct Worker {
    alerts: Arc<Alerts>,
    log: AssessmentLog,
    console: bool,
    colour: bool,
    line: String,
    shutdown: CancellationToken,
    /// Findings were left unstored because the server stops: the next start finds them again in the journal.
    gave_up: bool,
}

impl Worker {
    fn run(&mut self, messages: &Receiver<Message>) {
        for message in messages {
            match message {
                Message::Findings(findings) => self.report(findings),
                Message::Tick => self.flush_log(),
                Message::Settle(done) => {
                    self.flush_log();
                    // The stream that asked may be gone.
                    let _ = done.send(self.is_settled());
                }
            }
        }
        self.flush_log();
    }

    fn is_settled(&self) -> bool {
        if let Err(error) = self.alerts.flush() {
            count_error();
            tracing::error!(%error, "alerts could not be made durable; the journal keeps what they came from");
            return false;
        }
        !self.gave_up
    }

    fn report(&mut self, findings: Findings) {
        if self.gave_up {
            // All of them come again: storing a later one now would make an earlier one look seen.
            return;
        }
        for assessment in &findings.assessments {
            self.write(assessment);
        }
        while let Err(error) = self.store(&findings) {
            tracing::error!(%error, "findings could not be stored; trying again");
            count_error();
            if self.shutdown.is_cancelled() {
                self.gave_up = true;
                return;
            }
            std::thread::park_timeout(RETRY_AFTER);
        }
    }

    fn store(&self, findings: &Findings) -> Result<(), AlertError> {
        if !findings.verdicts.is_empty() {
            self.alerts.ingest(findings.verdicts.clone())?;
        }
        if !findings.recovered.is_empty() {
            self.alerts.recover(findings.recovered.clone())?;
        }
        Ok(())
    }

    fn write(&mut self, assessment: &Assessment) {
        self.line.clear();
        console::format_line(assessment, false, &mut self.line);
        if let Err(error) = self.log.append(&assessment.tenant, &assessment.service, &self.line) {
            metrics::counter!("audit_lines_lost_total").increment(1);
            tracing::error!(%error, service = assessment.service, "an audit line could not be written");
        }
        if self.console {
            self.line.clear();
            console::format_line(assessment, self.colour, &mut self.line);
            self.line.push('\n');
            // Standard output that has gone away must not stop the server.
            let _ = std::io::stdout().write_all(self.line.as_bytes());
        }
    }

    fn flush_log(&mut self) {
        if let Err(error) = self.log.flush() {
            tracing::error!(%error, "audit lines could not be written");
        }
    }
}

fn count_error() {
    metrics::counter!("errors_total", "area" => "alerts").increment(1);
}
