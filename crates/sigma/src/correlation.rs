//! Correlation rules as written, and how they hang together with the rules they name.

use std::collections::{BTreeMap, HashMap};

use yaml_serde::{Mapping, Value};

use crate::condition::{self, Condition, Quantifier};
use crate::error::{Fault, LoadError};
use crate::modifiers::Order;
use crate::pipeline::Pipeline;
use crate::rule::{self, LogSource, Metadata};

/// Most rules one correlation names.
pub const REFERENCES_MAX: usize = 256;
/// Longest timespan, seconds: 400 days.
pub const TIMESPAN_S_MAX: i64 = 400 * 86_400;

/// A correlation as written.
#[derive(Debug, Clone)]
pub struct Correlation {
    /// What it says of itself.
    pub meta: Metadata,
    /// What is measured.
    pub kind: Kind,
    /// Ids or names of the rules whose matches are correlated.
    pub rules: Vec<String>,
    /// Fields, or aliases of fields, that must be the same.
    pub group_by: Vec<String>,
    /// Length of the window, ns.
    pub timespan_ns: i64,
    /// Whether the rules it names also give alerts of their own.
    pub generate: bool,
    pub(crate) wanted: Wanted,
    /// Alias to rule to field.
    pub(crate) aliases: BTreeMap<String, BTreeMap<String, String>>,
}

/// What a correlation measures over its window.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Events.
    EventCount,
    /// Different values of the fields.
    ValueCount(Vec<String>),
    /// Rules that matched, in any order.
    Temporal,
    /// Rules that matched, in the order they are named.
    TemporalOrdered,
    /// Sum of a field.
    ValueSum(String),
    /// Mean of a field.
    ValueAvg(String),
    /// Percentile of a field, 0 to 100: the smallest value that so many percent of the values do not exceed.
    ValuePercentile(String, f64),
}

/// When a correlation holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    /// Every rule.
    Everything,
    /// Bounds on what is measured.
    Bounds(Vec<Bound>),
    /// An expression over the rules.
    Expression(Condition),
}

/// A bound on what is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    pub order: Option<Order>,
    pub value: f64,
}

impl Bound {
    pub(crate) fn holds(self, measured: f64) -> bool {
        match self.order {
            Some(order) => measured.partial_cmp(&self.value).is_some_and(|found| order.holds(found)),
            None => measured.total_cmp(&self.value).is_ne(),
        }
    }
}

impl Correlation {
    pub(crate) fn read(doc: &Mapping, file: &str, line: usize) -> Result<Correlation, Fault> {
        let meta = Metadata::read(doc, file, line)?;
        let section = rule::map(doc, "correlation")?;
        let rules = section.get("rules").and_then(rule::texts).unwrap_or_default();
        if rules.is_empty() || rules.len() > REFERENCES_MAX {
            return Err(
                Fault::new(format!("`rules` must name 1 to {REFERENCES_MAX} rules")).near("correlation")
            );
        }
        let (kind, wanted) = read_kind(section, &rules)?;
        let generate = |doc: &Mapping| doc.get("generate").and_then(Value::as_bool);
        Ok(Correlation {
            meta,
            kind,
            rules,
            group_by: section.get("group-by").and_then(rule::texts).unwrap_or_default(),
            timespan_ns: timespan(section)?,
            generate: generate(section).or_else(|| generate(doc)).unwrap_or(false),
            wanted,
            aliases: aliases(section)?,
        })
    }

    /// Whether more events can only make it hold more, so that it is judged at each of them; else at the window's end.
    pub(crate) fn is_judged_at_once(&self) -> bool {
        match &self.wanted {
            Wanted::Everything => true,
            Wanted::Bounds(bounds) => {
                bounds.iter().all(|bound| matches!(bound.order, Some(Order::Gt | Order::Gte)))
            }
            Wanted::Expression(condition) => !has_not(condition),
        }
    }

    /// What the meaning of its state depends on: a snapshot of another is not taken over.
    pub(crate) fn fingerprint(&self) -> String {
        format!(
            "{:?} {:?} {:?} {} {:?} {:?}",
            self.kind, self.rules, self.group_by, self.timespan_ns, self.wanted, self.aliases
        )
    }
}

fn has_not(condition: &Condition) -> bool {
    match condition {
        Condition::Not(_) => true,
        Condition::And(parts) | Condition::Or(parts) => parts.iter().any(has_not),
        Condition::Name(_) | Condition::Of(..) => false,
    }
}

fn read_kind(section: &Mapping, rules: &[String]) -> Result<(Kind, Wanted), Fault> {
    let name =
        rule::text(section, "type").ok_or_else(|| Fault::new("`type` is missing").near("correlation"))?;
    let condition = section.get("condition");
    let bounds = match condition {
        Some(Value::Mapping(map)) => Some(map),
        _ => None,
    };
    let fields = || -> Result<Vec<String>, Fault> {
        bounds
            .and_then(|map| map.get("field"))
            .or_else(|| section.get("field"))
            .and_then(rule::texts)
            .filter(|names| !names.is_empty())
            .ok_or_else(|| Fault::new(format!("`{name}` wants a `field` in its condition")).near("condition"))
    };
    let field = || fields().map(|mut names| names.remove(0));
    let kind = match name.as_str() {
        "event_count" => Kind::EventCount,
        "value_count" => Kind::ValueCount(fields()?),
        "temporal" | "temporal_extended" => Kind::Temporal,
        "temporal_ordered" | "temporal_ordered_extended" => Kind::TemporalOrdered,
        "value_sum" => Kind::ValueSum(field()?),
        "value_avg" => Kind::ValueAvg(field()?),
        "value_median" => Kind::ValuePercentile(field()?, 50.0),
        "value_percentile" => Kind::ValuePercentile(field()?, percentile(bounds)?),
        other => return Err(Fault::new(format!("unknown correlation type `{other}`")).near("type")),
    };
    let is_temporal = matches!(kind, Kind::Temporal | Kind::TemporalOrdered);
    let wanted = match condition {
        None if is_temporal => Wanted::Everything,
        None => return Err(Fault::new(format!("`{name}` wants a `condition`")).near("correlation")),
        Some(Value::Mapping(map)) => Wanted::Bounds(read_bounds(map)?),
        Some(Value::String(text)) if is_temporal => Wanted::Expression(read_expression(text, rules)?),
        Some(_) => return Err(Fault::new("`condition` must be a map such as `gte: 10`").near("condition")),
    };
    Ok((kind, wanted))
}

fn percentile(bounds: Option<&Mapping>) -> Result<f64, Fault> {
    bounds
        .and_then(|map| map.get("percentile"))
        .and_then(Value::as_f64)
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| Fault::new("`value_percentile` wants a `percentile` from 0 to 100").near("condition"))
}

fn read_bounds(map: &Mapping) -> Result<Vec<Bound>, Fault> {
    let mut bounds = Vec::new();
    for (key, value) in map {
        let order = match rule::key_text(key)?.as_str() {
            "gt" => Some(Order::Gt),
            "gte" => Some(Order::Gte),
            "lt" => Some(Order::Lt),
            "lte" => Some(Order::Lte),
            "eq" => Some(Order::Eq),
            "neq" => None,
            "field" | "percentile" => continue,
            other => return Err(Fault::new(format!("unknown bound `{other}`")).near("condition")),
        };
        let value = value
            .as_f64()
            .filter(|value| value.is_finite())
            .ok_or_else(|| Fault::new("a bound must be a number").near("condition"))?;
        bounds.push(Bound { order, value });
    }
    if bounds.is_empty() {
        return Err(Fault::new("`condition` has no bound such as `gte: 10`").near("condition"));
    }
    Ok(bounds)
}

fn read_expression(text: &str, rules: &[String]) -> Result<Condition, Fault> {
    fn check(condition: &Condition, rules: &[String]) -> Result<(), Fault> {
        match condition {
            Condition::Name(name) if !rules.contains(name) => {
                Err(Fault::new(format!("the condition names `{name}`, which is not among `rules`"))
                    .near("condition"))
            }
            Condition::Name(_) | Condition::Of(Quantifier::All | Quantifier::AtLeast(_), _) => Ok(()),
            Condition::Not(inner) => check(inner, rules),
            Condition::And(parts) | Condition::Or(parts) => {
                parts.iter().try_for_each(|part| check(part, rules))
            }
        }
    }
    let condition = condition::parse(text)?;
    check(&condition, rules)?;
    Ok(condition)
}

fn timespan(section: &Mapping) -> Result<i64, Fault> {
    let text = rule::text(section, "timespan")
        .or_else(|| rule::text(section, "timeframe"))
        .ok_or_else(|| Fault::new("`timespan` is missing").near("correlation"))?;
    let fault =
        || Fault::new(format!("`{text}` is no timespan such as `90s`, `5m`, `1h` or `7d`")).near("timespan");
    let (number, unit) =
        text.trim().split_at_checked(text.trim().len().saturating_sub(1)).ok_or_else(fault)?;
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "M" => 2_629_746,
        "y" => 31_556_952,
        _ => return Err(fault()),
    };
    let seconds = number.parse::<u32>().ok().filter(|number| *number > 0).ok_or_else(fault)?;
    let seconds = i64::from(seconds) * unit_s;
    if seconds > TIMESPAN_S_MAX {
        return Err(Fault::new(format!("a timespan of `{text}` is longer than 400 days")).near("timespan"));
    }
    Ok(seconds * 1_000_000_000)
}

fn aliases(section: &Mapping) -> Result<BTreeMap<String, BTreeMap<String, String>>, Fault> {
    let fault = || Fault::new("`aliases` must be a map of rules to fields for each alias").near("aliases");
    let mut out = BTreeMap::new();
    match section.get("aliases") {
        None => {}
        Some(Value::Mapping(map)) => {
            for (alias, fields) in map {
                let Value::Mapping(fields) = fields else {
                    return Err(fault());
                };
                let fields: Result<_, Fault> = fields
                    .iter()
                    .map(|(rule, field)| {
                        Ok((rule::key_text(rule)?, field.as_str().ok_or_else(fault)?.to_owned()))
                    })
                    .collect();
                out.insert(rule::key_text(alias)?, fields?);
            }
        }
        Some(_) => return Err(fault()),
    }
    Ok(out)
}

/// The correlations of an engine with what they name resolved.
#[derive(Debug, Default)]
pub struct CorrelationSet {
    pub(crate) ready: Vec<ReadyCorrelation>,
    /// Correlations that want the matches of a rule, by its index: correlation, and which of its `rules` it is.
    pub(crate) of_rule: HashMap<u32, Vec<(usize, usize)>>,
    /// The same for matches of correlations.
    pub(crate) of_correlation: HashMap<usize, Vec<(usize, usize)>>,
    /// Rules whose matches give no alert of their own.
    pub(crate) silent: Vec<bool>,
    /// The same for correlations.
    pub(crate) silent_correlations: Vec<bool>,
}

#[derive(Debug)]
pub(crate) struct ReadyCorrelation {
    pub rule: Correlation,
    /// Names of the fields to group by, for each of its rules.
    pub group_fields: Vec<Vec<String>>,
    /// Names of the fields measured, for each of its rules.
    pub value_fields: Vec<Vec<String>>,
}

impl CorrelationSet {
    /// Correlations, in the order in which they feed each other.
    pub fn iter(&self) -> impl Iterator<Item = &Correlation> {
        self.ready.iter().map(|ready| &ready.rule)
    }

    /// Number of correlations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether a rule gives no alert of its own: a correlation names it, and none of those that do asks for them.
    #[must_use]
    pub fn is_silent(&self, rule: u32) -> bool {
        self.silent.get(rule as usize).copied().unwrap_or(false)
    }

    /// The same for a correlation, by its index.
    #[must_use]
    pub fn is_silent_correlation(&self, correlation: usize) -> bool {
        self.silent_correlations.get(correlation).copied().unwrap_or(false)
    }

    pub(crate) fn resolve(
        correlations: Vec<Correlation>,
        rules: &[(&Metadata, &LogSource)],
        pipelines: &[&Pipeline],
    ) -> (CorrelationSet, Vec<LoadError>) {
        let mut failures = Vec::new();
        let mut rule_names: HashMap<&str, u32> = HashMap::new();
        for (index, (meta, _)) in (0..).zip(rules) {
            rule_names.entry(meta.id.as_str()).or_insert(index);
            if let Some(name) = &meta.name {
                rule_names.entry(name).or_insert(index);
            }
        }
        let mut set = CorrelationSet { silent: vec![false; rules.len()], ..CorrelationSet::default() };
        let mut loud = vec![false; rules.len()];
        let mut loud_correlations = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut waiting = correlations;
        // Those that name only what is known come first; what is left at the end names something unknown, or itself.
        loop {
            let is_ready = |one: &Correlation| {
                one.rules
                    .iter()
                    .all(|name| rule_names.contains_key(name.as_str()) || known.contains_key(name))
            };
            let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
            waiting = later;
            if now.is_empty() {
                break;
            }
            for correlation in now {
                let index = set.ready.len();
                for (place, name) in correlation.rules.iter().enumerate() {
                    if let Some(rule) = rule_names.get(name.as_str()) {
                        set.of_rule.entry(*rule).or_default().push((index, place));
                        set.silent[*rule as usize] = true;
                        loud[*rule as usize] |= correlation.generate;
                    } else if let Some(fed) = known.get(name) {
                        set.of_correlation.entry(*fed).or_default().push((index, place));
                        set.silent_correlations[*fed] = true;
                        loud_correlations[*fed] |= correlation.generate;
                    }
                }
                known.insert(correlation.meta.id.clone(), index);
                if let Some(name) = &correlation.meta.name {
                    known.entry(name.clone()).or_insert(index);
                }
                let source =
                    |name: &String| rule_names.get(name.as_str()).map(|rule| rules[*rule as usize].1);
                set.ready.push(ready(correlation, source, pipelines));
                set.silent_correlations.push(false);
                loud_correlations.push(false);
            }
        }
        set.silent.iter_mut().zip(loud).for_each(|(silent, loud)| *silent &= !loud);
        set.silent_correlations.iter_mut().zip(loud_correlations).for_each(|(silent, loud)| *silent &= !loud);
        let names: Vec<&String> =
            waiting.iter().flat_map(|one| [Some(&one.meta.id), one.meta.name.as_ref()]).flatten().collect();
        for one in &waiting {
            let missing = one.rules.iter().find(|name| {
                !rule_names.contains_key(name.as_str()) && !known.contains_key(*name) && !names.contains(name)
            });
            let reason = match missing {
                Some(name) => format!("the rule `{name}` is not known"),
                None => "it names a correlation that is not usable or names it in turn".to_owned(),
            };
            failures.push(LoadError {
                file: one.meta.file.clone(),
                line: one.meta.line,
                column: None,
                rule: Some(one.meta.id.clone()),
                reason,
            });
        }
        (set, failures)
    }
}

fn ready<'a>(
    rule: Correlation,
    source: impl Fn(&String) -> Option<&'a LogSource>,
    pipelines: &[&Pipeline],
) -> ReadyCorrelation {
    let measured = match &rule.kind {
        Kind::ValueCount(fields) => fields.clone(),
        Kind::ValueSum(field) | Kind::ValueAvg(field) | Kind::ValuePercentile(field, _) => {
            vec![field.clone()]
        }
        Kind::EventCount | Kind::Temporal | Kind::TemporalOrdered => Vec::new(),
    };
    let fields_of = |names: &[String]| -> Vec<Vec<String>> {
        let one = |reference: &String, name: &String| {
            let field = rule.aliases.get(name).and_then(|fields| fields.get(reference)).unwrap_or(name);
            match source(reference) {
                Some(source) => {
                    pipelines.iter().fold(field.clone(), |field, pipeline| pipeline.rename(&field, source))
                }
                None => field.clone(),
            }
        };
        rule.rules.iter().map(|reference| names.iter().map(|name| one(reference, name)).collect()).collect()
    };
    ReadyCorrelation { group_fields: fields_of(&rule.group_by), value_fields: fields_of(&measured), rule }
}
