//! What a rule becomes to be run: an expression over tests, with fields as numbers.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::condition::{Condition, Quantifier, selects};
use crate::error::Fault;
use crate::modifiers::{self, Number, Order, Placeholders, Want};
use crate::network::Network;
use crate::prefilter::Cover;
use crate::regexes::{self, Compiled};
use crate::rule::{Detection, Item, Rule};
use crate::text::{self, Atom, TextSet};
use crate::time::TimePart;

/// Most nodes of one rule after `1 of them` and the like are written out.
const NODES_MAX: usize = 200_000;

/// Index into the fields of an engine.
pub(crate) type FieldId = usize;

/// A boolean expression over tests.
#[derive(Debug)]
pub(crate) enum Expr {
    Never,
    And(Vec<Expr>),
    Or(Vec<Expr>),
    AtLeast(usize, Vec<Expr>),
    Not(Box<Expr>),
    Test(Test),
}

/// A question about one field, or about every text of the event.
#[derive(Debug)]
pub(crate) struct Test {
    pub field: Option<FieldId>,
    pub check: Check,
    /// What the event must hold for the answer to be yes, as far as that is known.
    pub cover: Option<Cover>,
}

#[derive(Debug)]
pub(crate) enum Check {
    Text { set: Box<TextSet>, cased: bool },
    Regex(Box<Compiled>),
    Cidr(Network),
    Null,
    Exists(bool),
    Bool(bool),
    Number(Number),
    Compare(Order, Number),
    Time(TimePart, Order, i64),
    FieldRef { other: FieldId, starts: bool, ends: bool, cased: bool },
}

/// The fields of all rules, each with a number.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    ids: HashMap<String, FieldId, FixedState>,
    pub names: Vec<String>,
}

impl Fields {
    pub(crate) fn id(&mut self, name: &str) -> FieldId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }
}

/// Compiles rules into one set of fields.
pub(crate) struct Compiler<'a> {
    pub fields: &'a mut Fields,
    pub placeholders: &'a Placeholders,
    nodes: usize,
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(fields: &'a mut Fields, placeholders: &'a Placeholders) -> Compiler<'a> {
        Compiler { fields, placeholders, nodes: 0 }
    }

    /// The rule holds when one of its conditions does.
    pub(crate) fn rule(&mut self, rule: &Rule) -> Result<Expr, Fault> {
        self.conditions(&rule.conditions, &rule.detections)
    }

    pub(crate) fn conditions(
        &mut self,
        conditions: &[Condition],
        detections: &[(String, Detection)],
    ) -> Result<Expr, Fault> {
        let parts =
            conditions.iter().map(|one| self.condition(one, detections, false)).collect::<Result<_, _>>()?;
        Ok(or(parts))
    }

    fn condition(
        &mut self,
        condition: &Condition,
        detections: &[(String, Detection)],
        negated: bool,
    ) -> Result<Expr, Fault> {
        match condition {
            Condition::Name(name) => {
                let found = detections.iter().find(|(known, _)| known == name);
                let (name, detection) = found.ok_or_else(|| {
                    Fault::new(format!("the condition names `{name}`, which is not defined"))
                        .near("condition")
                })?;
                self.detection(detection).map_err(|fault| fault.near(name))
            }
            Condition::Not(inner) => Ok(Expr::Not(Box::new(self.condition(inner, detections, true)?))),
            Condition::And(parts) => Ok(Expr::And(self.each(parts, detections)?)),
            Condition::Or(parts) => Ok(or(self.each(parts, detections)?)),
            Condition::Of(quantifier, pattern) => self.of(*quantifier, pattern, detections, negated),
        }
    }

    fn each(&mut self, parts: &[Condition], detections: &[(String, Detection)]) -> Result<Vec<Expr>, Fault> {
        parts.iter().map(|part| self.condition(part, detections, false)).collect()
    }

    fn of(
        &mut self,
        quantifier: Quantifier,
        pattern: &str,
        detections: &[(String, Detection)],
        negated: bool,
    ) -> Result<Expr, Fault> {
        let chosen: Vec<_> = detections.iter().filter(|(name, _)| selects(pattern, name)).collect();
        if chosen.is_empty() {
            // `not 1 of filter_*` without filters takes nothing away; elsewhere it is a slip of the pen.
            return if negated {
                Ok(Expr::Never)
            } else {
                Err(Fault::new(format!("`{pattern}` in the condition fits no detection")).near("condition"))
            };
        }
        let parts = chosen
            .into_iter()
            .map(|(name, detection)| self.detection(detection).map_err(|fault| fault.near(name)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(match quantifier {
            Quantifier::All => Expr::And(parts),
            Quantifier::AtLeast(1) => or(parts),
            Quantifier::AtLeast(least) => Expr::AtLeast(least, parts),
        })
    }

    fn detection(&mut self, detection: &Detection) -> Result<Expr, Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Fault::new(format!("the rule becomes more than {NODES_MAX} tests")));
        }
        match detection {
            Detection::All(parts) => {
                Ok(Expr::And(parts.iter().map(|part| self.detection(part)).collect::<Result<_, _>>()?))
            }
            Detection::Any(parts) => {
                Ok(or(parts.iter().map(|part| self.detection(part)).collect::<Result<_, _>>()?))
            }
            Detection::Item(item) => self.item(item),
        }
    }

    fn item(&mut self, item: &Item) -> Result<Expr, Fault> {
        let applied = modifiers::apply(item, self.placeholders)?;
        let field = item.field.as_deref().map(|name| self.fields.id(name));
        let expr = if applied.all {
            let parts = applied
                .values
                .into_iter()
                .map(|wants| self.any(field, wants, applied.cased))
                .collect::<Result<_, _>>();
            parts.map(Expr::And)
        } else {
            self.any(field, applied.values.into_iter().flatten().collect(), applied.cased)
        };
        let expr = expr.map_err(|fault| Fault { near: Some(item.key.clone()), ..fault })?;
        Ok(if applied.negated { Expr::Not(Box::new(expr)) } else { expr })
    }

    /// One of the wants is enough; the texts among them become one set.
    fn any(&mut self, field: Option<FieldId>, wants: Vec<Want>, cased: bool) -> Result<Expr, Fault> {
        let mut parts = Vec::new();
        let mut texts = Vec::new();
        for want in wants {
            self.nodes += 1;
            let check = match want {
                Want::Text(atoms) => {
                    texts.push(atoms);
                    continue;
                }
                Want::Regex(text) => {
                    let check = Check::Regex(Box::new(Compiled::new(&text)?));
                    let cover = regexes::necessary(&text).and_then(Cover::of_literals);
                    parts.push(Expr::Test(Test { field, check, cover }));
                    continue;
                }
                Want::Number(number) => {
                    let cover = match number {
                        Number::Int(int) => field.map(|field| Cover::of_value(field, int.to_string())),
                        Number::Float(_) => None,
                    };
                    parts.push(Expr::Test(Test { field, check: Check::Number(number), cover }));
                    continue;
                }
                Want::Null => Check::Null,
                Want::Exists(yes) => Check::Exists(yes),
                Want::Bool(yes) => Check::Bool(yes),
                Want::Cidr(network) => Check::Cidr(network),
                Want::Compare(order, number) => Check::Compare(order, number),
                Want::Time(part, order, number) => Check::Time(part, order, number),
                Want::FieldRef { field, starts, ends } => {
                    Check::FieldRef { other: self.fields.id(&field), starts, ends, cased }
                }
                Want::Bytes(_) => return Err(Fault::new("an encoded value is left without base64")),
            };
            parts.push(Expr::Test(Test { field, check, cover: None }));
        }
        if !texts.is_empty() {
            parts.push(Expr::Test(text_test(field, &texts, cased)?));
        }
        Ok(or(parts))
    }
}

fn text_test(field: Option<FieldId>, texts: &[Vec<Atom>], cased: bool) -> Result<Test, Fault> {
    let set = TextSet::new(texts.iter().map(Vec::as_slice), cased).map_err(Fault::new)?;
    let covers: Option<Vec<Cover>> = texts
        .iter()
        .map(|atoms| match (field, text::plain(atoms)) {
            (Some(field), Some(value)) => Some(Cover::of_value(field, crate::fold::fold(value))),
            _ => Cover::of_literals(vec![crate::fold::fold(text::longest_text(atoms)?)]),
        })
        .collect();
    Ok(Test { field, check: Check::Text { set: Box::new(set), cased }, cover: covers.and_then(Cover::any) })
}

fn or(mut parts: Vec<Expr>) -> Expr {
    if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) }
}
