//! Rules ready to run, and the matcher that runs them.
//!
//! An [`Engine`] is shared; each thread has its own [`Matcher`] with its scratch memory. For each set of log sources met
//! there is a view: the rules meant for it and their prefilter. Views are made once and shared; a matcher takes a lock
//! only for a set that is new to it.
//!
//! Invariants:
//! - a rule is asked only about events of its log source;
//! - with and without the prefilter the same rules match, in the order of the engine.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use foldhash::quality::RandomState;

use crate::collection::{self, Collection, Filter};
use crate::correlation::CorrelationSet;
use crate::error::{Fault, LoadError};
use crate::event::{Event, Value};
use crate::fold;
use crate::modifiers::{Number, Placeholders};
use crate::pipeline::Pipeline;
use crate::prefilter::{self, Cover, Index};
use crate::program::{Check, Compiler, Expr, FieldId, Fields, Test};
use crate::rule::{LogSource, Metadata, Rule};
use crate::time;

/// Most rules of one engine.
pub const RULES_MAX: usize = 100_000;
/// Most sets of log sources for which views are kept; at the limit they are made anew.
pub const VIEWS_MAX: usize = 4_096;

/// Most different views; at the limit they are made anew.
pub const INDEXES_MAX: usize = 256;

/// Index of a rule in its engine.
pub type RuleIndex = u32;

/// Rules ready to run.
#[derive(Debug, Default)]
pub struct Engine {
    rules: Vec<Ready>,
    fields: Fields,
    correlations: CorrelationSet,
    failures: Vec<LoadError>,
    /// Views made so far, shared by the matchers.
    views: RwLock<Views>,
    /// The view of every rule.
    all: OnceLock<Arc<View>>,
}

type ViewBySources = HashMap<Vec<LogSource>, Arc<View>, RandomState>;

/// Views made so far. Many sets of log sources have the same rules, and then the same view: names that senders make up
/// cost an entry, not an index.
#[derive(Debug)]
struct Views {
    by_sources: ViewBySources,
    by_rules: HashMap<Vec<RuleIndex>, Arc<View>, RandomState>,
    /// Literal bytes for which automata may still be dense.
    dense_bytes: usize,
}

impl Default for Views {
    fn default() -> Views {
        Views {
            by_sources: HashMap::default(),
            by_rules: HashMap::default(),
            dense_bytes: prefilter::DENSE_LITERAL_BYTES_MAX,
        }
    }
}

#[derive(Debug)]
struct Ready {
    meta: Metadata,
    logsource: LogSource,
    expr: Expr,
    cover: Option<Cover>,
}

impl Engine {
    /// Compiles a collection after the pipelines have acted on it, in the order of their priority.
    ///
    /// What cannot be used is in [`Engine::failures`], with what could not be read; the others work.
    #[must_use]
    pub fn new(collection: Collection, pipelines: &[Pipeline]) -> Engine {
        let mut pipelines: Vec<&Pipeline> = pipelines.iter().collect();
        pipelines.sort_by_key(|pipeline| pipeline.priority);
        let placeholders = crate::pipeline::placeholders(&pipelines);
        let mut engine = Engine {
            rules: Vec::new(),
            fields: Fields::default(),
            correlations: CorrelationSet::default(),
            failures: collection.failures,
            views: RwLock::default(),
            all: OnceLock::new(),
        };
        let mut filter_used = vec![false; collection.filters.len()];
        for rule in collection.rules {
            let (file, line, id) = (rule.meta.file.clone(), rule.meta.line, rule.meta.id.clone());
            let text = Arc::clone(&rule.text);
            if let Err(fault) =
                engine.add(rule, &pipelines, &placeholders, &collection.filters, &mut filter_used)
            {
                let near = fault.near.as_deref().and_then(|near| collection::place_of(&text, near));
                let (below, column) = near.unzip();
                engine.fail((file, line + below.unwrap_or(0), id), column, fault);
            }
        }
        for (filter, _) in collection.filters.iter().zip(filter_used).filter(|(_, used)| !used) {
            let fault = Fault::new("the filter is for no rule of the collection");
            engine.fail((filter.file.clone(), filter.line, filter.title.clone()), None, fault);
        }
        let metas: Vec<_> = engine.metas().collect();
        let (correlations, failures) = CorrelationSet::resolve(collection.correlations, &metas, &pipelines);
        engine.correlations = correlations;
        engine.failures.extend(failures);
        engine
    }

    fn add(
        &mut self,
        mut rule: Rule,
        pipelines: &[&Pipeline],
        placeholders: &Placeholders,
        filters: &[Filter],
        filter_used: &mut [bool],
    ) -> Result<(), Fault> {
        if self.rules.len() >= RULES_MAX {
            return Err(Fault::new(format!("more than {RULES_MAX} rules")));
        }
        let chosen: Vec<&Filter> = filters
            .iter()
            .zip(filter_used)
            .filter(|(f, _)| f.is_for(&rule))
            .map(|(f, used)| {
                *used = true;
                f
            })
            .collect();
        let mut filter_rules: Vec<Rule> = chosen.iter().map(|filter| as_rule(filter, &rule)).collect();
        pipelines.iter().for_each(|pipeline| pipeline.apply(&mut rule));
        let mut compiler = Compiler::new(&mut self.fields, placeholders);
        let mut parts = vec![compiler.rule(&rule)?];
        for filter in &mut filter_rules {
            pipelines.iter().for_each(|pipeline| pipeline.apply(filter));
            parts.push(compiler.rule(filter).map_err(|fault| {
                Fault::new(format!(
                    "the filter at {}:{}: {}",
                    filter.meta.file, filter.meta.line, fault.reason
                ))
            })?);
        }
        let expr = if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) };
        let cover = prefilter::cover(&expr);
        self.rules.push(Ready { meta: rule.meta, logsource: rule.logsource, expr, cover });
        Ok(())
    }

    fn fail(&mut self, (file, line, rule): (String, usize, String), column: Option<usize>, fault: Fault) {
        self.failures.push(LoadError { file, line, column, rule: Some(rule), reason: fault.reason });
    }

    /// Rules that can run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether no rule can run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What a rule says of itself.
    ///
    /// # Panics
    /// The index is not of this engine.
    #[must_use]
    pub fn meta(&self, rule: RuleIndex) -> &Metadata {
        &self.rules[rule as usize].meta
    }

    /// What every rule says of itself, in order, with its log source after the pipelines.
    pub fn metas(&self) -> impl Iterator<Item = (&Metadata, &LogSource)> {
        self.rules.iter().map(|rule| (&rule.meta, &rule.logsource))
    }

    /// Correlations over the rules.
    #[must_use]
    pub fn correlations(&self) -> &CorrelationSet {
        &self.correlations
    }

    /// What could not be read or compiled.
    #[must_use]
    pub fn failures(&self) -> &[LoadError] {
        &self.failures
    }

    /// The view for a set of log sources, made when it is first asked for.
    fn view(&self, sources: &[LogSource]) -> Arc<View> {
        // A view is put in whole or not at all, so what a panicking thread leaves is sound.
        if let Some(view) = self.views.read().unwrap_or_else(PoisonError::into_inner).by_sources.get(sources)
        {
            return Arc::clone(view);
        }
        let is_for = |rule: &Ready| sources.iter().any(|source| rule.logsource.covers(source));
        let rules: Vec<RuleIndex> =
            (0..).zip(&self.rules).filter(|(_, rule)| is_for(rule)).map(|(index, _)| index).collect();
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        if views.by_sources.len() >= VIEWS_MAX || views.by_rules.len() >= INDEXES_MAX {
            *views = Views::default();
        }
        let view = self.intern(rules, &mut views);
        views.by_sources.insert(sources.to_vec(), Arc::clone(&view));
        view
    }

    /// The view of every rule.
    fn view_of_all(&self) -> Arc<View> {
        let make = || {
            let rules = (0..).zip(&self.rules).map(|(index, _)| index).collect();
            self.intern(rules, &mut self.views.write().unwrap_or_else(PoisonError::into_inner))
        };
        Arc::clone(self.all.get_or_init(make))
    }

    fn intern(&self, rules: Vec<RuleIndex>, views: &mut Views) -> Arc<View> {
        let Views { by_rules, dense_bytes, .. } = views;
        let make = |rules: &Vec<RuleIndex>| {
            let covers = rules.iter().map(|rule| (*rule, self.rules[*rule as usize].cover.as_ref()));
            Arc::new(View { rules: rules.clone(), index: Index::new(covers, dense_bytes) })
        };
        Arc::clone(by_rules.entry(rules).or_insert_with_key(make))
    }
}

/// A filter as a rule of the log source of the rule it is for, so that pipelines treat both alike.
fn as_rule(filter: &Filter, rule: &Rule) -> Rule {
    Rule {
        meta: Metadata { file: filter.file.clone(), line: filter.line, ..rule.meta.clone() },
        logsource: rule.logsource.clone(),
        detections: filter.detections.clone(),
        conditions: filter.conditions.clone(),
        text: Arc::clone(&rule.text),
    }
}

/// The rules for one set of log sources.
#[derive(Debug)]
struct View {
    rules: Vec<RuleIndex>,
    index: Index,
}

/// What a matcher did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MatcherCounters {
    /// Events seen.
    pub events: u64,
    /// Rules whose expression was asked.
    pub evaluations: u64,
    /// Rules that matched.
    pub matches: u64,
    /// Times all views were dropped because there were [`VIEWS_MAX`].
    pub view_resets: u64,
    /// Texts on which a backtracking regular expression reached its step limit and was taken not to match.
    pub gave_up: u64,
}

/// Runs the rules of an engine; one for each thread.
#[derive(Debug)]
pub struct Matcher {
    engine: Arc<Engine>,
    views: ViewBySources,
    scratch: Scratch,
    found: Vec<RuleIndex>,
    counters: MatcherCounters,
}

impl Matcher {
    /// A matcher for the rules of an engine.
    #[must_use]
    pub fn new(engine: Arc<Engine>) -> Matcher {
        let scratch = Scratch::new(engine.fields.names.len(), engine.rules.len());
        Matcher {
            engine,
            views: HashMap::default(),
            scratch,
            found: Vec::new(),
            counters: MatcherCounters::default(),
        }
    }

    /// The engine whose rules are run.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> MatcherCounters {
        self.counters
    }

    /// The rules that match an event that is of all these log sources, in the order of the engine.
    pub fn matches(&mut self, sources: &[LogSource], event: &dyn Event) -> &[RuleIndex] {
        let view = self.view(sources);
        self.run(&view, event)
    }

    /// What of an event makes a rule hold: each field it asks for and the value that answers, or a text of the event where it
    /// names no field. Empty when the rule does not hold, and for what holds by absence alone.
    ///
    /// # Panics
    /// The index is not of the engine.
    pub fn why(&mut self, rule: RuleIndex, event: &dyn Event) -> Vec<Ground> {
        self.scratch.begin(0);
        let mut grounds = Vec::new();
        let mut asked = Asked { names: &self.engine.fields.names, event, scratch: &mut self.scratch };
        let expr = &self.engine.rules[rule as usize].expr;
        if asked.holds(expr) {
            asked.grounds(expr, &mut grounds);
        }
        grounds
    }

    fn run(&mut self, view: &View, event: &dyn Event) -> &[RuleIndex] {
        self.scratch.begin(view.index.literal_count());
        self.scratch.candidates(&view.index, &self.engine.fields, event);
        let mut candidates = std::mem::take(&mut self.scratch.candidates);
        candidates.sort_unstable();
        self.ask(&candidates, event);
        self.scratch.candidates = candidates;
        &self.found
    }

    /// The rules that match an event, whatever its log source.
    pub(crate) fn matches_any_source(&mut self, event: &dyn Event) -> &[RuleIndex] {
        let view = self.engine.view_of_all();
        self.run(&view, event)
    }

    /// The same without the prefilter: what [`Matcher::matches`] is measured against.
    pub fn matches_naively(&mut self, sources: &[LogSource], event: &dyn Event) -> &[RuleIndex] {
        let view = self.view(sources);
        self.scratch.begin(0);
        self.ask(&view.rules, event);
        &self.found
    }

    fn ask(&mut self, rules: &[RuleIndex], event: &dyn Event) {
        self.found.clear();
        self.counters.events += 1;
        self.counters.evaluations += rules.len() as u64;
        let mut asked = Asked { names: &self.engine.fields.names, event, scratch: &mut self.scratch };
        for rule in rules {
            if asked.holds(&self.engine.rules[*rule as usize].expr) {
                self.found.push(*rule);
            }
        }
        self.counters.matches += self.found.len() as u64;
        self.counters.gave_up += self.scratch.gave_up.take();
    }

    fn view(&mut self, sources: &[LogSource]) -> Arc<View> {
        if let Some(view) = self.views.get(sources) {
            return Arc::clone(view);
        }
        if self.views.len() >= VIEWS_MAX {
            self.views.clear();
            self.counters.view_resets += 1;
        }
        let view = self.engine.view(sources);
        self.views.insert(sources.to_vec(), Arc::clone(&view));
        view
    }
}

/// Memory for one event, used again for the next.
#[derive(Debug)]
struct Scratch {
    /// Number of the present event: what bears another is of an earlier one.
    event: u32,
    /// Values of each field met, as a range of `values`.
    fields: Vec<(u32, Range<usize>)>,
    values: Vec<Stored>,
    arena: String,
    /// Every text of the event, folded and as it is; filled when a rule wants it.
    texts: Vec<Stored>,
    has_texts: bool,
    folded: String,
    literal_seen: Vec<u32>,
    rule_seen: Vec<u32>,
    candidates: Vec<RuleIndex>,
    /// Regular expressions that reached their step limit on this event.
    gave_up: Cell<u64>,
}

/// A value with its text, raw and folded, in the arena.
#[derive(Debug, Clone)]
struct Stored {
    kind: Kind,
    raw: Range<usize>,
    folded: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Null,
    Other,
    Bool(bool),
    Number(Number),
    Text,
}

impl Scratch {
    fn new(fields: usize, rules: usize) -> Scratch {
        Scratch {
            event: 0,
            fields: vec![(0, 0..0); fields],
            values: Vec::new(),
            arena: String::new(),
            texts: Vec::new(),
            has_texts: false,
            folded: String::new(),
            literal_seen: Vec::new(),
            rule_seen: vec![0; rules],
            candidates: Vec::new(),
            gave_up: Cell::new(0),
        }
    }

    fn begin(&mut self, literals: usize) {
        if self.event == u32::MAX {
            self.event = 0;
            self.fields.iter_mut().for_each(|(event, _)| *event = 0);
            self.literal_seen.fill(0);
            self.rule_seen.fill(0);
        }
        self.event += 1;
        if self.literal_seen.len() < literals {
            self.literal_seen.resize(literals, 0);
        }
        self.values.clear();
        self.arena.clear();
        self.texts.clear();
        self.has_texts = false;
        self.candidates.clear();
    }

    /// The values of a field, read from the event when they are first asked for.
    fn field(&mut self, id: FieldId, names: &[String], event: &dyn Event) -> Range<usize> {
        let (seen, range) = &self.fields[id];
        if *seen == self.event {
            return range.clone();
        }
        let start = self.values.len();
        let (values, arena) = (&mut self.values, &mut self.arena);
        event.values(&names[id], &mut |value| values.push(store(value, arena)));
        let range = start..self.values.len();
        self.fields[id] = (self.event, range.clone());
        range
    }

    fn texts(&mut self, event: &dyn Event) {
        if !self.has_texts {
            let (texts, arena) = (&mut self.texts, &mut self.arena);
            event.for_each_string(&mut |text| texts.push(store(Value::Text(text), arena)));
            self.has_texts = true;
        }
    }

    /// Fills `candidates` with the rules an event may match.
    fn candidates(&mut self, index: &Index, fields: &Fields, event: &dyn Event) {
        self.candidates.extend_from_slice(&index.always);
        for rule in &index.always {
            self.rule_seen[*rule as usize] = self.event;
        }
        let Scratch { folded, literal_seen, rule_seen, candidates, event: now, .. } = self;
        let mut add = |rules: &[u32]| {
            for rule in rules {
                if std::mem::replace(&mut rule_seen[*rule as usize], *now) != *now {
                    candidates.push(*rule);
                }
            }
        };
        if index.literal_count() > 0 {
            folded.clear();
            // The separator only keeps texts apart; a literal found across it makes one needless candidate.
            event.for_each_string(&mut |text| {
                fold::fold_into(text, folded);
                folded.push('\0');
            });
            index.scan(
                folded,
                |literal| std::mem::replace(&mut literal_seen[literal], *now) != *now,
                &mut add,
            );
        }
        for (id, rules) in &index.by_value {
            let range = self.field(*id, &fields.names, event);
            for at in range {
                let value = &self.values[at];
                let text = &self.arena[value.folded.clone()];
                let rules = rules.get(text).or_else(|| rules.get(whole(value.kind)?.as_str()));
                for rule in rules.into_iter().flatten() {
                    if std::mem::replace(&mut self.rule_seen[*rule as usize], self.event) != self.event {
                        self.candidates.push(*rule);
                    }
                }
            }
        }
    }
}

/// A float without a fraction, written as the whole number it equals.
fn whole(kind: Kind) -> Option<String> {
    match kind {
        Kind::Number(Number::Float(float)) if float.fract() == 0.0 && float.abs() < 1e37 => {
            Some(format!("{float:.0}"))
        }
        _ => None,
    }
}

fn store(value: Value<'_>, arena: &mut String) -> Stored {
    let start = arena.len();
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Other => Kind::Other,
        Value::Bool(yes) => {
            arena.push_str(if yes { "true" } else { "false" });
            Kind::Bool(yes)
        }
        Value::Int(number) => {
            // Writing to a String cannot fail.
            let _ = write!(arena, "{number}");
            Kind::Number(Number::Int(number))
        }
        Value::Float(number) => {
            let _ = write!(arena, "{number:?}");
            Kind::Number(Number::Float(number))
        }
        Value::Text(text) => {
            arena.push_str(text);
            let raw = start..arena.len();
            let needs_folding = !text.is_ascii() || text.bytes().any(|byte| byte.is_ascii_uppercase());
            if needs_folding {
                fold::fold_into(text, arena);
            }
            let folded = if needs_folding { raw.end..arena.len() } else { raw.clone() };
            return Stored { kind: Kind::Text, raw, folded };
        }
    };
    let raw = start..arena.len();
    Stored {
        kind,
        folded: if matches!(kind, Kind::Number(_)) { lower(arena, &raw) } else { raw.clone() },
        raw,
    }
}

/// `NaN` and the like in lower case, so that folded patterns meet folded values.
fn lower(arena: &mut str, range: &Range<usize>) -> Range<usize> {
    arena[range.clone()].make_ascii_lowercase();
    range.clone()
}

/// What makes a rule hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// The field, as the rule names it; `None` when any text of the event will do.
    pub field: Option<String>,
    /// The value that answers; `None` when its presence or absence does.
    pub value: Option<String>,
}

/// An event under question.
struct Asked<'a> {
    names: &'a [String],
    event: &'a dyn Event,
    scratch: &'a mut Scratch,
}

impl Asked<'_> {
    fn holds(&mut self, expr: &Expr) -> bool {
        match expr {
            Expr::Never => false,
            Expr::And(parts) => parts.iter().all(|part| self.holds(part)),
            Expr::Or(parts) => parts.iter().any(|part| self.holds(part)),
            Expr::AtLeast(least, parts) => {
                parts.iter().filter(|part| self.holds(part)).take(*least).count() == *least
            }
            Expr::Not(inner) => !self.holds(inner),
            Expr::Test(test) => self.test(test),
        }
    }

    /// Adds what makes an expression hold, which it does.
    fn grounds(&mut self, expr: &Expr, out: &mut Vec<Ground>) {
        match expr {
            Expr::Never | Expr::Not(_) => {}
            Expr::And(parts) => parts.iter().for_each(|part| self.grounds(part, out)),
            Expr::Or(parts) | Expr::AtLeast(_, parts) => {
                for part in parts {
                    if self.holds(part) {
                        self.grounds(part, out);
                    }
                }
            }
            Expr::Test(test) => {
                let ground = self.ground(test);
                if !out.contains(&ground) {
                    out.push(ground);
                }
            }
        }
    }

    fn ground(&mut self, test: &Test) -> Ground {
        let names = self.names;
        let field = test.field.map(|field| names[field].clone());
        let range = match test.field {
            Some(field) => self.scratch.field(field, names, self.event),
            None => 0..0,
        };
        let Scratch { texts, values, arena, gave_up, .. } = &*self.scratch;
        let seen = if test.field.is_some() { &values[range] } else { texts };
        let answer = match test.check {
            Check::Exists(_) | Check::Null => None,
            Check::FieldRef { .. } => seen.first(),
            _ => seen.iter().find(|value| one(&test.check, value, arena, gave_up)),
        };
        Ground { field, value: answer.map(|value| arena[value.raw.clone()].to_owned()) }
    }

    fn test(&mut self, test: &Test) -> bool {
        let Some(field) = test.field else {
            self.scratch.texts(self.event);
            let Scratch { texts, arena, gave_up, .. } = &*self.scratch;
            return texts.iter().any(|value| one(&test.check, value, arena, gave_up));
        };
        let range = self.scratch.field(field, self.names, self.event);
        match test.check {
            Check::Exists(wanted) => range.is_empty() != wanted,
            Check::Null => {
                range.is_empty() || self.scratch.values[range].iter().any(|value| value.kind == Kind::Null)
            }
            Check::FieldRef { other, starts, ends, cased } => {
                let others = self.scratch.field(other, self.names, self.event);
                let Scratch { values, arena, .. } = &*self.scratch;
                let text =
                    |value: &Stored| &arena[if cased { value.raw.clone() } else { value.folded.clone() }];
                let has_text = |value: &&Stored| !matches!(value.kind, Kind::Null | Kind::Other);
                values[range].iter().filter(has_text).any(|mine| {
                    values[others.clone()].iter().filter(has_text).any(|theirs| {
                        let (mine, theirs) = (text(mine), text(theirs));
                        match (starts, ends) {
                            (false, false) => mine == theirs,
                            (true, false) => mine.starts_with(theirs),
                            (false, true) => mine.ends_with(theirs),
                            (true, true) => mine.contains(theirs),
                        }
                    })
                })
            }
            _ => {
                let Scratch { values, arena, gave_up, .. } = &*self.scratch;
                values[range].iter().any(|value| one(&test.check, value, arena, gave_up))
            }
        }
    }
}

/// Whether one value meets a check that looks at values one by one.
fn one(check: &Check, value: &Stored, arena: &str, gave_up: &Cell<u64>) -> bool {
    if matches!(value.kind, Kind::Null | Kind::Other) {
        return false;
    }
    let raw = || &arena[value.raw.clone()];
    let folded = || &arena[value.folded.clone()];
    match check {
        Check::Text { set, cased } => set.matches(if *cased { raw() } else { folded() }),
        Check::Regex(regex) => regex.matches(raw(), folded()).unwrap_or_else(|_| {
            gave_up.set(gave_up.get() + 1);
            false
        }),
        Check::Cidr(network) => value.kind == Kind::Text && network.holds(raw()),
        Check::Bool(yes) => match value.kind {
            Kind::Bool(found) => found == *yes,
            _ => folded() == if *yes { "true" } else { "false" },
        },
        Check::Number(wanted) => equals(*wanted, value.kind, raw()),
        Check::Compare(order, wanted) => {
            let found = match value.kind {
                Kind::Number(found) => Some(found),
                Kind::Text => Number::parse(raw()),
                _ => None,
            };
            found.and_then(|found| found.compare(*wanted)).is_some_and(|found| order.holds(found))
        }
        Check::Time(part, order, wanted) => {
            let found = match value.kind {
                Kind::Number(Number::Int(number)) => time::part_of_number(number, *part),
                Kind::Text => time::part_of_text(raw(), *part),
                _ => None,
            };
            found.is_some_and(|found| order.holds(found.cmp(wanted)))
        }
        Check::Null | Check::Exists(_) | Check::FieldRef { .. } => false,
    }
}

/// A number equals a number, and the text that writes it.
fn equals(wanted: Number, kind: Kind, text: &str) -> bool {
    match (wanted, kind) {
        (wanted, Kind::Number(found)) => wanted.compare(found).is_some_and(std::cmp::Ordering::is_eq),
        (Number::Int(wanted), Kind::Text) => text == wanted.to_string(),
        (Number::Float(wanted), Kind::Text) => {
            text.parse().is_ok_and(|found: f64| found.total_cmp(&wanted).is_eq())
        }
        _ => false,
    }
}
