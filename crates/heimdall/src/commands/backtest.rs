//! `heimdall rules backtest`: rules over the records a server keeps, as if they had been in force when those came.
//!
//! For a rule of ours the server hands out only what its condition matches, found by its indexes; for Sigma rules every log record
//! of the range. The records then pass the detectors of the stream in order of time, a slice of the range after the other.

use std::collections::BTreeMap;

use anyhow::Result;
use heimdall_detect::{DetectConfig, Rule, RuleSet, Trial};
use heimdall_ingest::{DecodeLimits, json};
use heimdall_model::time::NS_PER_MINUTE;
use heimdall_model::{Dataset, Position, Tenant, Timestamp, Verdict};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{say, search};
use crate::args::BacktestArgs;
use crate::client::Client;
use crate::show;

/// Records the server is asked for at once.
const SLICE_ROWS: u64 = 50_000;
/// Most records of one minute that are judged: what a query answers at most.
const MINUTE_ROWS_MAX: u64 = 100_000;
/// Entities named for each rule.
const ENTITIES_SHOWN: usize = 3;

/// What a rule would have done.
#[derive(Default)]
struct Outcome {
    title: String,
    records: u64,
    reports: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// Reports by entity.
    entities: BTreeMap<String, u64>,
}

impl Outcome {
    fn add(&mut self, verdict: &Verdict) {
        self.reports += 1;
        self.first = Some(self.first.map_or(verdict.time, |first| first.min(verdict.time)));
        self.last = Some(self.last.map_or(verdict.time, |last| last.max(verdict.time)));
        *self.entities.entry(format!("{} {}", verdict.entity.kind, verdict.entity.value)).or_default() += 1;
    }

    /// The entities with the most reports.
    fn loudest(&self) -> Vec<(&str, u64)> {
        let mut entities: Vec<(&str, u64)> =
            self.entities.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        entities.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        entities
    }
}

pub(crate) async fn run(args: &BacktestArgs, rules: RuleSet) -> Result<()> {
    let wanted = |id: &str| args.rules.is_empty() || args.rules.iter().any(|rule| rule == id);
    let asker = Asker { client: Client::new(&args.remote)?, from: args.from.clone(), to: args.to.clone() };
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    let own = |rule: &&Rule| rule.enabled && rule.dataset == Dataset::Logs && wanted(&rule.id);
    for rule in rules.rules().iter().filter(own) {
        let (records, verdicts) = judge(&asker, RuleSet::alone(rule), &rule.when).await?;
        let outcome = outcomes.entry(rule.id.clone()).or_default();
        (outcome.title, outcome.records) = (rule.title.clone(), records);
        verdicts.iter().for_each(|verdict| outcome.add(verdict));
    }
    let metas = rules.sigma().metas().map(|(meta, _)| meta);
    let metas = metas.chain(rules.sigma().correlations().iter().map(|correlation| &correlation.meta));
    let sigma: Vec<_> = metas.filter(|meta| wanted(&meta.id)).collect();
    if !sigma.is_empty() {
        let (records, verdicts) = judge(&asker, rules.sigma_alone(), "*").await?;
        for meta in sigma {
            let outcome = outcomes.entry(meta.id.clone()).or_default();
            (outcome.title, outcome.records) = (meta.title.clone(), records);
            verdicts
                .iter()
                .filter(|verdict| verdict.rule == meta.id)
                .for_each(|verdict| outcome.add(verdict));
        }
    }
    anyhow::ensure!(!outcomes.is_empty(), "no rule over log records is chosen");
    if args.json {
        print_json(&outcomes)
    } else {
        print(&outcomes)
    }
    Ok(())
}

/// Runs rules over the records that a search line finds. Returns how many those were, and what was found.
async fn judge(asker: &Asker, rules: RuleSet, line: &str) -> Result<(u64, Vec<Verdict>)> {
    let mut trial = Trial::new(&DetectConfig::default(), rules);
    let (tenant, limits) = (Tenant::default(), DecodeLimits::default());
    let (mut records, mut matches, mut verdicts) = (0, Vec::new(), Vec::new());
    for slice in asker.slices(line).await? {
        let lines = asker.records(line, slice).await?;
        let now = Timestamp(slice.1);
        let decoded = json::decode(Dataset::Logs, lines.as_bytes(), now, &limits)
            .map_err(|error| anyhow::anyhow!("what the server answered cannot be judged: {error}"))?;
        let rejected = decoded.rejected_total();
        if rejected > 0 {
            eprintln!("{rejected} records of the server could not be judged: they read differently here");
        }
        let mut batch = decoded.batch;
        batch.base = Position(records + 1);
        records += batch.rows() as u64;
        matches.clear();
        trial.observe(&tenant, &batch, &mut matches, &mut verdicts);
    }
    Ok((records, verdicts))
}

/// Asks a server for the records of a range.
struct Asker {
    client: Client,
    from: String,
    to: String,
}

impl Asker {
    async fn query(&self, query: &str, from: &Value, to: &Value) -> Result<Value> {
        let body = json!({
            "query": query, "language": "search", "from": from, "to": to, "limit": MINUTE_ROWS_MAX,
        });
        let answer = self.client.json(self.client.request(Method::POST, "/api/v1/query").json(&body)).await?;
        let partial = answer.pointer("/stats/partial") == Some(&Value::Bool(true));
        anyhow::ensure!(!partial, "the server could not read all of the range; see `heimdall search`");
        Ok(answer)
    }

    /// The range in slices, oldest first, of whole minutes with at most [`SLICE_ROWS`] records where minutes allow; ns from
    /// and to.
    async fn slices(&self, line: &str) -> Result<Vec<(i64, i64)>> {
        let (from, to) = (Value::from(self.from.as_str()), Value::from(self.to.as_str()));
        let answer = self.query(&format!("{line} | stats count() as n by bin(1m)"), &from, &to).await?;
        let mut minutes: Vec<(i64, u64)> = Vec::new();
        for row in search::rows(&answer) {
            let time = row.iter().filter_map(Value::as_str).find_map(Timestamp::parse);
            let count = row.iter().find_map(Value::as_u64);
            let (Some(time), Some(count)) = (time, count) else { continue };
            if count > MINUTE_ROWS_MAX {
                eprintln!(
                    "{count} records in the minute of {time}: only the newest {MINUTE_ROWS_MAX} are judged"
                );
            }
            minutes.push((time.0, count));
        }
        anyhow::ensure!(
            (minutes.len() as u64) < MINUTE_ROWS_MAX,
            "records in more than {MINUTE_ROWS_MAX} minutes: choose a shorter range"
        );
        minutes.sort_unstable();
        Ok(packed(&minutes))
    }

    /// The records of a slice, oldest first, as lines of JSON.
    async fn records(&self, line: &str, (from, to): (i64, i64)) -> Result<String> {
        let time = |ns: i64| Value::from(Timestamp(ns).to_string());
        let answer = self.query(line, &time(from), &time(to)).await?;
        let columns = search::names(&answer);
        let mut lines = String::new();
        for row in search::rows(&answer).into_iter().rev() {
            let record: Map<String, Value> =
                columns.iter().cloned().zip(row).filter(|(_, value)| !value.is_null()).collect();
            lines.push_str(&serde_json::to_string(&record)?);
            lines.push('\n');
        }
        Ok(lines)
    }
}

/// Minutes with their records, put together into slices.
fn packed(minutes: &[(i64, u64)]) -> Vec<(i64, i64)> {
    let mut slices: Vec<(i64, i64)> = Vec::new();
    let mut rows = 0;
    for (start, count) in minutes {
        let end = start + NS_PER_MINUTE;
        match slices.last_mut() {
            Some(slice) if rows + count <= SLICE_ROWS => {
                slice.1 = end;
                rows += count;
            }
            _ => {
                slices.push((*start, end));
                rows = *count;
            }
        }
    }
    slices
}

fn print_json(outcomes: &BTreeMap<String, Outcome>) {
    for (id, outcome) in outcomes {
        let entities: Vec<Value> = outcome
            .loudest()
            .into_iter()
            .map(|(entity, reports)| json!({"entity": entity, "reports": reports}))
            .collect();
        say(&json!({
            "rule": id, "title": outcome.title, "records": outcome.records, "alerts": outcome.entities.len(),
            "reports": outcome.reports, "first": outcome.first, "last": outcome.last, "entities": entities,
        })
        .to_string());
    }
}

fn print(outcomes: &BTreeMap<String, Outcome>) {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let row = |(id, outcome): (&String, &Outcome)| {
        let loudest = outcome.loudest().into_iter().take(ENTITIES_SHOWN);
        let shown: Vec<String> = loudest.map(|(entity, n)| format!("{entity} ({n})")).collect();
        let more = outcome.entities.len().saturating_sub(ENTITIES_SHOWN);
        let more = if more > 0 { format!(", {more} more") } else { String::new() };
        vec![
            id.clone(),
            outcome.entities.len().to_string(),
            outcome.reports.to_string(),
            time(outcome.first),
            time(outcome.last),
            show::printable(&format!("{}{more}", shown.join(", "))),
        ]
    };
    let mut fired: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.reports > 0).collect();
    fired.sort_by_key(|(_, outcome)| std::cmp::Reverse(outcome.reports));
    let silent = outcomes.len() - fired.len();
    let columns = ["rule", "alerts", "reports", "first", "last", "about"].map(str::to_owned);
    if !fired.is_empty() {
        say(show::table(&columns, &fired.into_iter().map(row).collect::<Vec<_>>()).trim_end());
    }
    say(&format!("{silent} of {} rules would have been silent", outcomes.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_put_together_up_to_a_slice() {
        let minute = |n: i64| n * NS_PER_MINUTE;
        let minutes = [(minute(0), 30_000), (minute(3), 20_000), (minute(4), 1), (minute(9), 90_000)];
        assert_eq!(packed(&minutes), [(0, minute(4)), (minute(4), minute(5)), (minute(9), minute(10))]);
        assert_eq!(packed(&[]), []);
    }
}
