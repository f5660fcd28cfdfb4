//! Pipelines: what is done with records between the decoder and the batch, as data.
//!
//! A pipeline is a YAML file: which records it is for, and steps. Those of the configured folder are read again when they change;
//! others come with Heimdall and are switched on by name. docs/pipelines.md shows every step.
//!
//! - `file`: a pipeline as written; `condition`, `template`: parts of it; `step`: what is done
//! - `parse`, `time`, `table`, `redact`: the larger steps
//! - `doc`: a record on its way; [`trial`]: a pipeline tried out; `builtin`: those that come with Heimdall
//!
//! Invariants:
//! - which pipelines may concern a body is found out once, before it is decoded; where none does, nothing is done;
//! - a record leaves as one of: unchanged, changed, dropped, sampled, quarantined, rejected, and each but the first two is counted;
//! - an error in a step never loses a record: it goes on with the attribute `pipeline_error`;
//! - a file that does not load leaves its earlier version in force;
//! - pipelines, steps, tables, patterns and the length of a route are bounded.
//!
//! Not here: what a field means and which type it has (the reader of records, afterwards).

mod builtin;
mod condition;
mod doc;
mod file;
mod parse;
mod redact;
mod step;
mod table;
mod template;
mod time;
pub mod trial;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use heimdall_model::{Dataset, Tenant, Timestamp};
use metrics::counter;
use parking_lot::{Mutex, RwLock};

pub(crate) use self::doc::Doc;
use self::doc::Val;
pub use self::file::{FILE_BYTES_MAX, Fault, Pipeline, STEPS_MAX};
use self::step::{Done, ERROR};
use self::table::Tables;
use self::trial::Note;
use crate::json::scan::Syntax;
use crate::schema::Schemas;

/// Most pipelines.
pub const PIPELINES_MAX: usize = 256;
/// Most pipelines one record is routed through.
pub const ROUTE_DEPTH_MAX: usize = 8;

/// Where a body comes from, as far as pipelines ask.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The door.
    pub door: &'a str,
    /// Whose records they are.
    pub tenant: &'a Tenant,
    /// The service of records that name none.
    pub service: Option<&'a str>,
}

/// What decoders are told of pipelines.
#[derive(Debug, Clone, Copy)]
pub struct Pipes<'a> {
    /// Those in force.
    pub set: &'a PipelineSet,
    /// Where the body comes from.
    pub origin: Origin<'a>,
}

/// What steps need from outside of their file.
pub(crate) struct Tools<'t> {
    pub(crate) tables: &'t Tables,
    pub(crate) schemas: &'t Schemas,
}

/// What is known while a record is on its way.
pub(crate) struct Context<'c> {
    pub(crate) dataset: Dataset,
    pub(crate) tenant: &'c Tenant,
    pub(crate) now: Timestamp,
    /// Something was replaced for what it says of persons.
    pub(crate) redacted: bool,
    errors: u64,
    notes: Option<&'c mut Vec<Note>>,
}

/// How a record's way ends before the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Dropped,
    Sampled,
    Quarantined { field: String, reason: String },
    Rejected { field: String, reason: String },
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ran {
    /// No pipeline is for it.
    Untouched,
    /// It is written anew.
    Changed {
        redacted: bool,
        errors: u64,
    },
    End(End),
}

/// Pipelines that work together: those in force, and those they route to.
#[derive(Debug, Default)]
pub struct PipelineSet {
    /// Enabled, in the order they are run.
    running: Vec<Arc<Pipeline>>,
    all: BTreeMap<String, Arc<Pipeline>>,
    faults: Vec<Fault>,
    /// Every record goes through, whether a pipeline says it is for it or not.
    is_forced: bool,
}

/// The pipelines that may concern the records of one body.
#[derive(Debug)]
pub(crate) struct Chosen<'a> {
    set: &'a PipelineSet,
    list: Vec<&'a Arc<Pipeline>>,
    origin: Origin<'a>,
}

impl PipelineSet {
    /// Every pipeline, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Pipeline>> {
        self.all.values()
    }

    /// The pipeline of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Pipeline>> {
        self.all.get(name)
    }

    /// What does not load.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many are enabled.
    #[must_use]
    pub fn enabled(&self) -> usize {
        self.running.len()
    }

    /// The pipelines for a body; `None` where there is none, which is the usual case and costs next to nothing.
    pub(crate) fn choose<'a>(&'a self, origin: Origin<'a>, dataset: Dataset) -> Option<Chosen<'a>> {
        if self.running.is_empty() {
            return None;
        }
        let list: Vec<_> = self
            .running
            .iter()
            .filter(|pipeline| self.is_forced || pipeline.concerns(origin, dataset))
            .collect();
        (!list.is_empty()).then_some(Chosen { set: self, list, origin })
    }

    /// One of them for every record, whatever it says of those it is for.
    #[must_use]
    pub fn only(&self, name: &str) -> Option<PipelineSet> {
        let running = vec![Arc::clone(self.all.get(name)?)];
        Some(PipelineSet { running, all: self.all.clone(), faults: Vec::new(), is_forced: true })
    }

    /// Puts pipelines together. What cannot work becomes a fault.
    pub(crate) fn new(pipelines: Vec<Pipeline>, mut faults: Vec<Fault>) -> PipelineSet {
        let mut all: BTreeMap<String, Arc<Pipeline>> = BTreeMap::new();
        for pipeline in pipelines {
            if all.len() == PIPELINES_MAX {
                faults.push(pipeline.fault(format!("there are more than {PIPELINES_MAX} pipelines")));
                continue;
            }
            if let Some(other) = all.get(&pipeline.name) {
                faults.push(pipeline.fault(format!("`{}` is in `{}` too", pipeline.name, other.origin)));
                continue;
            }
            all.insert(pipeline.name.clone(), Arc::new(pipeline));
        }
        // One that goes takes those with it that route to it.
        while let Some((name, fault)) = all.values().find_map(|pipeline| {
            route_error(pipeline, &all).map(|reason| (pipeline.name.clone(), pipeline.fault(reason)))
        }) {
            all.remove(&name);
            faults.push(fault);
        }
        let mut running: Vec<_> = all.values().filter(|pipeline| pipeline.enabled).cloned().collect();
        running.sort_by_key(|pipeline| pipeline.order); // stable: by name within
        PipelineSet { running, all, faults, is_forced: false }
    }

    /// Runs one pipeline, and those it routes to.
    fn run(&self, first: &Arc<Pipeline>, doc: &mut Doc<'_>, context: &mut Context<'_>) -> Option<End> {
        let mut pipeline = first;
        for _ in 0..=ROUTE_DEPTH_MAX {
            match pipeline.run(doc, context) {
                Done::On => return None,
                Done::End(end) => return Some(end),
                Done::To(name) => match self.all.get(&name) {
                    Some(next) => pipeline = next,
                    None => {
                        fail(doc, context, &pipeline.name, &format!("route: there is no pipeline `{name}`"));
                        return None;
                    }
                },
            }
        }
        fail(doc, context, &pipeline.name, &format!("route: longer than {ROUTE_DEPTH_MAX} pipelines"));
        None
    }
}

/// Why a pipeline's routes cannot work.
fn route_error(pipeline: &Pipeline, all: &BTreeMap<String, Arc<Pipeline>>) -> Option<String> {
    fn walk<'p>(
        pipeline: &'p Pipeline,
        all: &'p BTreeMap<String, Arc<Pipeline>>,
        path: &mut Vec<&'p str>,
    ) -> Option<String> {
        if path.contains(&pipeline.name.as_str()) {
            return Some(format!(
                "its routes go round in a circle: {} > {}",
                path.join(" > "),
                pipeline.name
            ));
        }
        if path.len() > ROUTE_DEPTH_MAX {
            return Some(format!("its routes are longer than {ROUTE_DEPTH_MAX} pipelines"));
        }
        path.push(&pipeline.name);
        for target in pipeline.targets() {
            let found = match all.get(target) {
                None => Some(format!("there is no pipeline `{target}` to route to")),
                Some(next) => walk(next, all, path),
            };
            if found.is_some() {
                return found;
            }
        }
        path.pop();
        None
    }
    walk(pipeline, all, &mut Vec::new())
}

/// Notes in the record that a step failed; the first reason stays.
fn fail(doc: &mut Doc<'_>, context: &mut Context<'_>, pipeline: &str, reason: &str) {
    context.errors += 1;
    if doc.get(ERROR).is_none() {
        doc.put(ERROR.into(), Val::text(format!("{pipeline}: {reason}")));
    }
    counter!("pipeline_errors_total", "pipeline" => pipeline.to_owned()).increment(1);
}

impl Chosen<'_> {
    /// Sends one record, the text of a JSON value, through the pipelines; `out` is what comes out where it is changed.
    ///
    /// # Errors
    /// It is no JSON.
    pub(crate) fn run(
        &self,
        text: &str,
        dataset: Dataset,
        now: Timestamp,
        out: &mut String,
    ) -> Result<Ran, Syntax> {
        let mut doc = Doc::parse(text)?;
        let mut context =
            Context { dataset, tenant: self.origin.tenant, now, redacted: false, errors: 0, notes: None };
        Ok(self.run_doc(&mut doc, &mut context, out))
    }

    fn run_doc(&self, doc: &mut Doc<'_>, context: &mut Context<'_>, out: &mut String) -> Ran {
        let mut is_touched = false;
        for pipeline in &self.list {
            if !self.set.is_forced && !pipeline.fits(doc, context.dataset, self.origin.service) {
                continue;
            }
            is_touched = true;
            if let Some(end) = self.set.run(pipeline, doc, context) {
                count_end(&pipeline.name, &end);
                return Ran::End(end);
            }
        }
        if !is_touched {
            return Ran::Untouched;
        }
        out.clear();
        doc.write(out);
        Ran::Changed { redacted: context.redacted, errors: context.errors }
    }
}

fn count_end(pipeline: &str, end: &End) {
    let outcome = match end {
        End::Dropped => "dropped",
        End::Sampled => "sampled",
        End::Quarantined { .. } => "quarantined",
        End::Rejected { .. } => "rejected",
    };
    counter!("pipeline_ended_total", "pipeline" => pipeline.to_owned(), "outcome" => outcome).increment(1);
}

/// The pipelines of a server: those in force now, and the folder they come from.
#[derive(Debug)]
pub struct Pipelines {
    dir: Option<PathBuf>,
    /// Built-in pipelines that are switched on.
    enabled: Vec<String>,
    tables: Tables,
    schemas: Schemas,
    current: RwLock<Arc<PipelineSet>>,
    seen: Mutex<Option<file::Fingerprint>>,
}

/// What a look at the folder found changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Enabled pipelines.
    pub enabled: usize,
    /// Files that do not load.
    pub faults: usize,
}

impl Default for Pipelines {
    fn default() -> Self {
        Pipelines::new(None, Vec::new(), Schemas::default())
    }
}

impl Pipelines {
    /// Those that come with Heimdall, of which `enabled` are in force, and those of a folder, once [`Pipelines::look`] has read it.
    #[must_use]
    pub fn new(dir: Option<PathBuf>, enabled: Vec<String>, schemas: Schemas) -> Pipelines {
        let pipelines = Pipelines {
            tables: Tables::new(dir.clone()),
            dir,
            enabled,
            schemas,
            current: RwLock::default(),
            seen: Mutex::new(None),
        };
        let (list, faults) = pipelines.built_in();
        *pipelines.current.write() = Arc::new(PipelineSet::new(list, faults));
        pipelines
    }

    /// Those in force.
    #[must_use]
    pub fn current(&self) -> Arc<PipelineSet> {
        Arc::clone(&self.current.read())
    }

    /// Where schemas come from.
    #[must_use]
    pub fn schemas(&self) -> &Schemas {
        &self.schemas
    }

    /// Reads the folder when it changed since the last look; `None` when it did not. Blocks on disk.
    pub fn look(&self) -> Option<Loaded> {
        self.schemas.look();
        let dir = self.dir.as_deref()?;
        let mut seen = self.seen.lock();
        let now = file::fingerprint(dir);
        if seen.as_ref() == Some(&now) {
            return None;
        }
        let before = self.current();
        let (mut list, mut faults) = self.built_in();
        let (found, broken) = file::read_folder(dir, &self.tools());
        list.extend(found);
        // What does not load stays as it was.
        for fault in &broken {
            let earlier = before.all.values().find(|pipeline| pipeline.origin == fault.file);
            if let Some(again) =
                earlier.and_then(|earlier| file::load(&earlier.origin, &earlier.text, &self.tools()).ok())
            {
                list.push(again);
            }
        }
        faults.extend(broken);
        let set = PipelineSet::new(list, faults);
        let loaded = Loaded { enabled: set.running.len(), faults: set.faults.len() };
        *self.current.write() = Arc::new(set);
        *seen = Some(now);
        Some(loaded)
    }

    /// Reads a pipeline that is not put in force.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn load(&self, origin: &str, text: &str) -> Result<Pipeline, Fault> {
        file::load(origin, text, &self.tools())
    }

    /// The pipelines in force and, in place of the one of its name, `pipeline`: for trying it out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn with(&self, pipeline: Pipeline) -> Result<PipelineSet, Fault> {
        let name = pipeline.name.clone();
        let origin = pipeline.origin.clone();
        let others: HashMap<String, Arc<Pipeline>> = self
            .current()
            .all
            .iter()
            .filter(|(other, _)| **other != name)
            .map(|(n, p)| (n.clone(), Arc::clone(p)))
            .collect();
        let mut list = vec![pipeline];
        list.extend(
            others.values().filter_map(|other| file::load(&other.origin, &other.text, &self.tools()).ok()),
        );
        let set = PipelineSet::new(list, Vec::new());
        match set.faults.iter().find(|fault| fault.file == origin) {
            Some(fault) => Err(fault.clone()),
            None => Ok(set),
        }
    }

    fn tools(&self) -> Tools<'_> {
        Tools { tables: &self.tables, schemas: &self.schemas }
    }

    fn built_in(&self) -> (Vec<Pipeline>, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut list = Vec::new();
        for (origin, text) in builtin::FILES {
            match file::load(origin, text, &self.tools()) {
                Ok(mut pipeline) => {
                    pipeline.enabled = self.enabled.contains(&pipeline.name);
                    list.push(pipeline);
                }
                Err(fault) => faults.push(fault),
            }
        }
        for name in self.enabled.iter().filter(|name| !list.iter().any(|pipeline| pipeline.name == **name)) {
            let known: Vec<&str> = list.iter().map(|pipeline| pipeline.name.as_str()).collect();
            let detail = format!("there is no built-in pipeline `{name}`; there are {}", known.join(", "));
            faults.push(Fault { file: "ingest.pipelines".to_owned(), line: None, column: None, detail });
        }
        (list, faults)
    }
}

#[cfg(test)]
mod tests;
