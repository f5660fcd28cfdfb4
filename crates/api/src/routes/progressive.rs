//! Answers that come while they are found: lines of JSON, each an object with one member.
//!
//! `compiled` (first, of questions in plain words), `columns` (before the first rows, and when they change), `rows` (the next ones, in the answer's order), `progress` (four
//! times a second while something is read), and last `stats`, or `problem` when the rest could not be found.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use heimdall_query::{Column, EarlyRows, Query, RunLimits};
use heimdall_store::{Control, Progress};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::problem::Problem;
use crate::routes::explore::pages::Pager;
use crate::routes::explore::shapes::CompiledQuestion;
use crate::routes::in_turn;
use crate::{AppState, error};

/// Groups of lines that wait for a slow client; then the query waits.
const GROUPS_AHEAD: usize = 8;
/// Time between two reports of progress.
const TICK: Duration = Duration::from_millis(250);

/// The answer to a query, line by line.
pub(crate) fn answer(
    state: &AppState,
    query: Query,
    (pager, compiled): (Pager, Option<CompiledQuestion>),
    limits: RunLimits,
    timeout: Duration,
) -> Response {
    let (lines, taken) = mpsc::channel(GROUPS_AHEAD);
    if let Some(compiled) = compiled {
        // The channel is empty yet.
        let _ = lines.try_send(line(&json!({ "compiled": compiled })));
    }
    tokio::spawn(run(state.clone(), query, pager, limits, timeout, lines));
    let groups = stream::unfold(taken, |mut taken| async {
        let group: Bytes = taken.recv().await?;
        Some((Ok::<_, Infallible>(group), taken))
    });
    let kind = HeaderValue::from_static("application/x-ndjson");
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(groups)).into_response()
}

/// Runs the query until its end, or until nobody takes its lines any more.
async fn run(
    state: AppState,
    query: Query,
    pager: Pager,
    limits: RunLimits,
    timeout: Duration,
    lines: mpsc::Sender<Bytes>,
) {
    let progress = Arc::new(Progress::default());
    let (engine, rows, told) = (state.engine.clone(), lines.clone(), Arc::clone(&progress));
    let mut work = pin!(in_turn(&state, timeout, move |control: &Control| {
        let control = Control { progress: Some(told), ..control.clone() };
        let mut columns: Vec<Column> = Vec::new();
        engine.run_each(&query, &control, limits, &mut |early: EarlyRows<'_>| {
            let mut group = Vec::new();
            if early.columns != columns {
                columns = early.columns.to_vec();
                put(&mut group, &json!({ "columns": columns }));
            }
            put(&mut group, &json!({ "rows": early.rows }));
            match rows.blocking_send(group.into()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })
    }));
    let mut tick = tokio::time::interval(TICK);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            // Dropping the work cancels it.
            () = lines.closed() => return,
            _ = tick.tick() => {
                let Some(share) = progress.share() else { continue };
                let so_far = json!({
                    "share": share,
                    "rows_done": progress.rows_done(),
                    "rows_total": progress.rows_total(),
                    "rows_matched": progress.rows_matched(),
                });
                // A full channel has news enough.
                let _ = lines.try_send(line(&json!({ "progress": so_far })));
            }
        }
    };
    let last = match done {
        Ok(Ok(mut stats)) => {
            pager.mark(&mut stats);
            json!({ "stats": stats })
        }
        Ok(Err(failed)) => failed_with(&error::query(&failed)),
        Err(problem) => failed_with(&problem),
    };
    let _ = lines.send(line(&last)).await;
}

fn failed_with(problem: &Problem) -> serde_json::Value {
    let document: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap_or_default();
    json!({ "problem": document })
}

fn line(value: &impl Serialize) -> Bytes {
    let mut text = Vec::new();
    put(&mut text, value);
    text.into()
}

fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *out, value).expect("plain data serialises into memory");
    out.push(b'\n');
}
