//! A pipeline as written, and the folder of such files.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use heimdall_model::Dataset;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::condition::{Condition, OneOrMore, glob_regex};
use super::doc::{Doc, FieldRef};
use super::step::{Done, Step};
use super::trial::Note;
use super::{Context, Origin, PIPELINES_MAX, Tools, fail};

/// Most steps of a pipeline.
pub const STEPS_MAX: usize = 100;
/// Largest file of a pipeline.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest name.
const NAME_BYTES_MAX: usize = 64;

/// Why a pipeline does not load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Fault {
    /// The file, as it is named in its folder.
    pub file: String,
    /// The line, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What is wrong.
    pub detail: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    order: i32,
    #[serde(default, rename = "match")]
    of: WrittenMatch,
    steps: Vec<Step>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenMatch {
    door: Option<OneOrMore>,
    tenant: Option<OneOrMore>,
    service: Option<OneOrMore>,
    dataset: Option<Datasets>,
    when: Option<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Datasets {
    One(Dataset),
    More(Vec<Dataset>),
}

/// A pipeline, ready.
#[derive(Debug)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// The file it is from.
    pub origin: String,
    /// Whether records go through it by themselves; others are routed to.
    pub enabled: bool,
    /// Lower ones run first; equal ones by name.
    pub order: i32,
    pub(super) text: String,
    doors: Option<Regex>,
    tenants: Option<Regex>,
    datasets: Option<Vec<Dataset>>,
    services: Option<Regex>,
    service: FieldRef,
    when: Option<Condition>,
    steps: Vec<Step>,
}

impl Pipeline {
    /// How many steps it has.
    #[must_use]
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// Whether records of this origin may be for it.
    pub(super) fn concerns(&self, origin: Origin<'_>, dataset: Dataset) -> bool {
        self.datasets.as_ref().is_none_or(|datasets| datasets.contains(&dataset))
            && self.doors.as_ref().is_none_or(|doors| doors.is_match(origin.door))
            && self.tenants.as_ref().is_none_or(|tenants| tenants.is_match(origin.tenant.as_str()))
    }

    /// Whether this record is.
    pub(super) fn fits(&self, doc: &Doc<'_>, dataset: Dataset, service: Option<&str>) -> bool {
        let is_of_service =
            self.services.as_ref().is_none_or(|services| match self.service.get(doc, dataset) {
                Some(found) => services.is_match(&found.into_text()),
                None => service.is_some_and(|service| services.is_match(service)),
            });
        is_of_service && self.when.as_ref().is_none_or(|when| when.holds(doc, dataset))
    }

    pub(super) fn run(&self, doc: &mut Doc<'_>, context: &mut Context<'_>) -> Done {
        for (n, step) in self.steps.iter().enumerate() {
            if step.when.as_ref().is_some_and(|when| !when.holds(doc, context.dataset)) {
                self.note(n, step, "skipped: its condition does not hold", context);
                continue;
            }
            let before = context.notes.is_some().then(|| doc.to_json());
            let done = match step.action.run(doc, context) {
                Ok(done) => done,
                Err(reason) => {
                    let reason = format!("step {} ({}): {reason}", n + 1, step.action.name());
                    if step.ignore_failure {
                        self.note(n, step, &format!("ignored: {reason}"), context);
                    } else {
                        self.note(n, step, &format!("failed: {reason}"), context);
                        fail(doc, context, &self.name, &reason);
                    }
                    continue;
                }
            };
            if let Some(before) = before {
                let text = match &done {
                    Done::On if before == doc.to_json() => "nothing changed".to_owned(),
                    Done::On => "changed".to_owned(),
                    Done::To(name) => format!("goes on in `{name}`"),
                    Done::End(end) => format!("ends: {}", end.as_str()),
                };
                self.note(n, step, &text, context);
            }
            if done != Done::On {
                return done;
            }
        }
        Done::On
    }

    fn note(&self, n: usize, step: &Step, text: &str, context: &mut Context<'_>) {
        if let Some(notes) = &mut context.notes {
            notes.push(Note {
                pipeline: self.name.clone(),
                step: n + 1,
                action: step.action.name(),
                text: text.to_owned(),
            });
        }
    }

    /// The pipelines it routes to.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| step.action.target())
    }

    pub(super) fn fault(&self, detail: String) -> Fault {
        Fault { file: self.origin.clone(), line: None, column: None, detail }
    }
}

/// Reads a pipeline from its text.
pub(super) fn load(origin: &str, text: &str, tools: &Tools<'_>) -> Result<Pipeline, Fault> {
    let fault = |detail: String| Fault { file: origin.to_owned(), line: None, column: None, detail };
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(fault(format!("it is larger than {} KiB", FILE_BYTES_MAX >> 10)));
    }
    let written: Written = yaml_serde::from_str(text).map_err(|error| {
        let place = error.location();
        let text = error.to_string();
        // The place is said once.
        let detail = text.rsplit_once(" at line ").map_or(text.as_str(), |(detail, _)| detail).to_owned();
        Fault {
            file: origin.to_owned(),
            line: place.as_ref().map(yaml_serde::Location::line),
            column: place.as_ref().map(yaml_serde::Location::column),
            detail,
        }
    })?;
    compiled(origin, text, written, tools).map_err(fault)
}

fn compiled(origin: &str, text: &str, written: Written, tools: &Tools<'_>) -> Result<Pipeline, String> {
    let Written { name, description, enabled, order, of, mut steps } = written;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_name) {
        return Err(format!("`name` has 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`"));
    }
    if steps.is_empty() || steps.len() > STEPS_MAX {
        return Err(format!("a pipeline has 1 to {STEPS_MAX} steps"));
    }
    for (n, step) in steps.iter_mut().enumerate() {
        step.equip(tools).map_err(|reason| format!("step {} ({}): {reason}", n + 1, step.action.name()))?;
    }
    let globs = |globs: Option<OneOrMore>| globs.map(|globs| glob_regex(globs.as_slice())).transpose();
    Ok(Pipeline {
        name,
        description,
        origin: origin.to_owned(),
        enabled,
        order,
        text: text.to_owned(),
        doors: globs(of.door)?,
        tenants: globs(of.tenant)?,
        services: globs(of.service)?,
        service: FieldRef::new("service")?,
        datasets: of.dataset.map(|datasets| match datasets {
            Datasets::One(one) => vec![one],
            Datasets::More(more) => more,
        }),
        when: of.when,
        steps,
    })
}

/// What a folder held: files with their size and time of change.
pub(super) type Fingerprint = BTreeMap<String, (u64, Option<SystemTime>)>;

/// Most files of the folder looked at.
const FILES_MAX: usize = 10_000;

pub(super) fn fingerprint(dir: &Path) -> Fingerprint {
    let Ok(entries) = std::fs::read_dir(dir) else { return Fingerprint::new() };
    let about = |entry: std::fs::DirEntry| {
        // Of the file a link leads to: mounted configuration is replaced that way.
        let about = std::fs::metadata(entry.path()).ok().filter(std::fs::Metadata::is_file)?;
        Some((entry.file_name().into_string().ok()?, (about.len(), about.modified().ok())))
    };
    entries.filter_map(Result::ok).take(FILES_MAX).filter_map(about).collect()
}

/// The pipelines of a folder, and the files that are none though they should be.
pub(super) fn read_folder(dir: &Path, tools: &Tools<'_>) -> (Vec<Pipeline>, Vec<Fault>) {
    let (mut pipelines, mut faults) = (Vec::new(), Vec::new());
    let files = fingerprint(dir);
    let is_pipeline = |name: &str| {
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        !name.starts_with('.') && matches!(extension, Some("yaml" | "yml"))
    };
    if !dir.is_dir() {
        let detail = "the folder cannot be read".to_owned();
        faults.push(Fault { file: dir.display().to_string(), line: None, column: None, detail });
    }
    for (name, (bytes, _)) in files.iter().filter(|(name, _)| is_pipeline(name)) {
        let fault = |detail: String| Fault { file: name.clone(), line: None, column: None, detail };
        if pipelines.len() == PIPELINES_MAX {
            faults.push(fault(format!("there are more than {PIPELINES_MAX} pipelines")));
            break;
        }
        if *bytes > FILE_BYTES_MAX {
            faults.push(fault(format!("it is larger than {} KiB", FILE_BYTES_MAX >> 10)));
            continue;
        }
        let loaded = std::fs::read_to_string(dir.join(name)).map_err(|error| fault(error.to_string()));
        match loaded.and_then(|text| load(name, &text, tools)) {
            Ok(pipeline) => pipelines.push(pipeline),
            Err(fault) => faults.push(fault),
        }
    }
    (pipelines, faults)
}
