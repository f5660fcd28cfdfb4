//! `heimdall batch TASK`: parts of the engine over lines on standard input; no server, no network, no clock.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use heimdall_detect::multivariate::batch_multivariate;
use heimdall_detect::univariate::batch_anomaly;
use heimdall_detect::{DetectConfig, Findings, Judge};
use heimdall_ingest::format::Format;
use heimdall_ingest::{DecodeLimits, json, text};
use heimdall_model::{Batch, Dataset, Position, Tenant, Timestamp, Verdict};
use heimdall_sigma::{Collection, Engine, Pipeline};
use heimdall_store::template::{Miner, MinerConfig, TemplateId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{BatchTask, DetectSource};
use crate::rule_files;

/// The moment lines without a year are read at: the end of 2026, so that a file's lines keep their order.
const NOW: Timestamp = Timestamp(1_798_761_599_000_000_000);

pub(crate) fn run(task: BatchTask) -> Result<()> {
    let input = std::io::stdin().lock();
    let output = BufWriter::new(std::io::stdout().lock());
    match task {
        BatchTask::Templates => templates(input, output),
        BatchTask::Detect { config, source } => detect(input, output, config.as_deref(), source),
        BatchTask::Anomaly => {
            let settings = DetectConfig::default().baseline.scorer().check()?;
            batch_anomaly(&settings, input, output)?;
            Ok(())
        }
        BatchTask::AnomalyMv { train, test } => {
            let open = |path: &Path| -> Result<BufReader<File>> {
                let file =
                    File::open(path).with_context(|| format!("could not open `{}`", path.display()))?;
                Ok(BufReader::new(file))
            };
            batch_multivariate(open(&train)?, open(&test)?, output)?;
            Ok(())
        }
        BatchTask::Sigma { rules, pipeline } => sigma(input, output, &rules, &pipeline),
    }
}

/// Matches every event; what does not load or is no event is named at the end of the run, and then the command fails.
fn sigma(input: impl BufRead, output: impl Write, rules: &Path, pipelines: &[String]) -> Result<()> {
    let mut collection = Collection::default();
    collection.add_folder(rules);
    let pipelines = pipelines.iter().map(|name| pipeline(name)).collect::<Result<Vec<_>>>()?;
    let engine = Arc::new(Engine::new(collection, &pipelines));
    let summary = heimdall_sigma::batch(&engine, input, output)?;
    engine.failures().iter().for_each(|failure| eprintln!("{failure}"));
    summary.rejected.iter().for_each(|(line, reason)| eprintln!("line {line} is no event: {reason}"));
    let (failed, rejected) = (engine.failures().len(), summary.rejected.len());
    anyhow::ensure!(
        failed == 0 && rejected == 0,
        "{failed} rules do not load, {rejected} lines are no events"
    );
    Ok(())
}

/// A pipeline of the product, or one from a file.
fn pipeline(name: &str) -> Result<Pipeline> {
    if let Some(known) = Pipeline::builtin(name) {
        return Ok(known);
    }
    let known = Pipeline::builtin_names().collect::<Vec<_>>().join(", ");
    let text = std::fs::read_to_string(name)
        .with_context(|| format!("`{name}` is no pipeline of the product ({known}) and no file to read"))?;
    Ok(Pipeline::parse(name, &text)?)
}

#[derive(Deserialize)]
struct Line {
    line: Value,
    content: String,
}

/// Assigns every line; templates are written at the end, as they are then.
fn templates(input: impl BufRead, mut output: impl Write) -> Result<()> {
    let mut miner = Miner::new(MinerConfig::default());
    let mut assigned: Vec<(Value, TemplateId)> = Vec::new();
    for (number, text) in input.lines().enumerate() {
        let text = text?;
        if text.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&text)
            .with_context(|| format!("input line {} is not {{\"line\",\"content\"}}", number + 1))?;
        assigned.push((line.line, miner.assign(&line.content)));
    }
    let mut texts: HashMap<TemplateId, String> = HashMap::new();
    for (line, id) in assigned {
        let id = miner.canonical(id);
        let template = texts
            .entry(id)
            .or_insert_with(|| miner.template(id).map(|template| template.text()).unwrap_or_default());
        writeln!(output, "{}", json!({"line": line, "template_id": id.0.to_string(), "template": template}))?;
    }
    Ok(output.flush()?)
}

/// Judges every line on its own, in order; an alert is written when it is raised, and its repeats are not.
fn detect(
    input: impl BufRead,
    mut output: impl Write,
    config: Option<&Path>,
    source: DetectSource,
) -> Result<()> {
    let (rules, errors) = rule_files::parse(&rule_files::built_in());
    anyhow::ensure!(errors.is_empty(), "built-in rules do not load: {errors:?}");
    let mut judge = Judge::new(detect_config(config)?, rules);
    let tenant = Tenant::default();
    let limits = DecodeLimits::default();
    let mut open: HashMap<(String, String), u64> = HashMap::new();
    let mut findings = Findings::default();
    for (number, line) in (1_u64..).zip(input.split(b'\n')) {
        let line = line?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Some(mut batch) = decode(source, &line, &limits) else {
            eprintln!("line {number} is not a record");
            continue;
        };
        // The line number is the position, so that evidence leads back to lines.
        batch.base = Position(number);
        judge.observe(&tenant, &batch, &mut findings);
        findings.assessments.clear();
        for verdict in findings.verdicts.drain(..) {
            let key = (verdict.rule.clone(), verdict.entity.value.clone());
            let is_new = open.insert(key, number).is_none();
            if is_new {
                writeln!(output, "{}", alert(&verdict, number))?;
            }
        }
    }
    Ok(output.flush()?)
}

fn detect_config(path: Option<&Path>) -> Result<DetectConfig> {
    let Some(path) = path else { return Ok(DetectConfig::default()) };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
    let mut table: toml::Table = text.parse().with_context(|| format!("`{}`", path.display()))?;
    let section = match table.remove("detect") {
        Some(toml::Value::Table(section)) => section,
        _ => table,
    };
    let config = DetectConfig::deserialize(section).with_context(|| format!("`{}`", path.display()))?;
    config.check()?;
    Ok(config)
}

fn decode(source: DetectSource, line: &[u8], limits: &DecodeLimits) -> Option<Batch> {
    let decoded = match source {
        DetectSource::Syslog => text::decode(Format::Syslog, line, NOW, limits).ok()?,
        DetectSource::Combined => text::decode(Format::Access, line, NOW, limits).ok()?,
        DetectSource::Jsonl => json::decode(Dataset::Logs, line, NOW, limits).ok()?,
    };
    (decoded.batch.rows() == 1).then_some(decoded.batch)
}

fn alert(verdict: &Verdict, number: u64) -> Value {
    let first = verdict.evidence.iter().map(|id| id.position().0).min().unwrap_or(number);
    let source_ip = (verdict.entity.kind == "source_ip").then_some(&verdict.entity.value);
    let count = verdict.features.first().map_or(verdict.evidence.len() as f64, |feature| feature.value);
    #[expect(clippy::cast_possible_truncation, reason = "whole, and far below 2^53")]
    let count = if count.fract() == 0.0 { json!(count as i64) } else { json!(count) };
    json!({
        "rule": verdict.rule,
        "severity": verdict.severity,
        "entity": verdict.entity,
        "source_ip": source_ip,
        "first_line": first,
        "last_line": number,
        "time": verdict.time,
        "count": count,
        "summary": verdict.summary,
    })
}
