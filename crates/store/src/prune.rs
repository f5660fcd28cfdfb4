//! What a filter says of rows before they are read: of a run by its service and template, of a page by its levels.
//!
//! Invariant: `No` and `Yes` are certain for every row concerned; anything not known is `Maybe`.

use heimdall_model::matcher::{Leaf, Node};
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, Target};

use crate::decisions::Decisions;

/// Three-valued answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No row passes.
    No,
    /// Some may.
    Maybe,
    /// Every row passes.
    Yes,
}

/// What is known of some rows.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub dataset: Dataset,
    /// Their service, when they share one; `Some(None)`: none of them has a service.
    pub service: Option<Option<&'a str>>,
    /// Text of their template and its id, when they share one.
    pub template: Option<(u32, Option<&'a str>)>,
    /// Level codes among them, bit 0 for none.
    pub levels: Option<u8>,
    /// What is certain of their messages by template.
    pub decisions: &'a Decisions,
}

/// Asks a compiled filter about rows of which only so much is known.
pub(crate) fn ask(node: &Node, known: &Known<'_>) -> Verdict {
    match node {
        Node::All => Verdict::Yes,
        Node::Not(part) => match ask(part, known) {
            Verdict::No => Verdict::Yes,
            Verdict::Yes => Verdict::No,
            Verdict::Maybe => Verdict::Maybe,
        },
        Node::And(parts) => fold(parts, known, Verdict::Yes, Verdict::No),
        Node::Or(parts) => fold(parts, known, Verdict::No, Verdict::Yes),
        Node::Leaf(leaf) => ask_leaf(leaf, known),
    }
}

/// `neutral` when every part says so, `strong` as soon as one does.
fn fold(parts: &[Node], known: &Known<'_>, neutral: Verdict, strong: Verdict) -> Verdict {
    let mut answer = neutral;
    for part in parts {
        match ask(part, known) {
            verdict if verdict == strong => return strong,
            Verdict::Maybe => answer = Verdict::Maybe,
            _ => {}
        }
    }
    answer
}

fn ask_leaf(leaf: &Leaf, known: &Known<'_>) -> Verdict {
    let sure = |passes: bool| if passes { Verdict::Yes } else { Verdict::No };
    match &leaf.target {
        Target::Field(id) if *id == known.dataset.service() => {
            known.service.map_or(Verdict::Maybe, |service| sure(service.is_some_and(|text| leaf.text(text))))
        }
        Target::Field(id) if known.dataset == Dataset::Logs && *id == logs::LEVEL => {
            known.levels.map_or(Verdict::Maybe, |levels| ask_levels(leaf, levels))
        }
        Target::Field(id) if known.dataset == Dataset::Logs && *id == logs::MESSAGE => {
            known.template.map_or(Verdict::Maybe, |(id, _)| known.decisions.verdict(leaf, id))
        }
        Target::Template => {
            known.template.map_or(Verdict::Maybe, |(_, text)| sure(text.is_some_and(|text| leaf.text(text))))
        }
        Target::Field(id) if known.dataset == Dataset::Logs && *id == logs::TEMPLATE_ID => known
            .template
            .filter(|(id, _)| *id != 0)
            .map_or(Verdict::Maybe, |(id, _)| sure(leaf.int(i64::from(id)))),
        _ => Verdict::Maybe,
    }
}

/// Whether some test on the message is not decided by the template: the text must be read.
pub(crate) fn needs_text(node: &Node, known: &Known<'_>) -> bool {
    match node {
        Node::All => false,
        Node::Not(part) => needs_text(part, known),
        Node::And(parts) | Node::Or(parts) => parts.iter().any(|part| needs_text(part, known)),
        Node::Leaf(leaf) => {
            leaf.target == Target::Field(logs::MESSAGE) && ask_leaf(leaf, known) == Verdict::Maybe
        }
    }
}

fn ask_levels(leaf: &Leaf, levels: u8) -> Verdict {
    let present = (0..8_u8).filter(|code| levels >> code & 1 == 1);
    let passes: Vec<bool> = present.map(|code| code != 0 && leaf.int(i64::from(code))).collect();
    match (passes.contains(&true), passes.contains(&false)) {
        (true, true) => Verdict::Maybe,
        (true, false) => Verdict::Yes,
        (false, _) => Verdict::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heimdall_model::{Filter, Literal, Matcher, Test};

    #[test]
    fn service_and_levels_decide_what_they_can() {
        let equals = |name: &str, text: &str| {
            Filter::Test(Target::resolve(Dataset::Logs, name), Test::Equals(Literal::new(text)))
        };
        let check = |filter: &Filter, service: &str, levels: u8, expected: Verdict| {
            let node = Matcher::compile(filter, Dataset::Logs).expect("compiles").root;
            let known = Known {
                dataset: Dataset::Logs,
                service: Some(Some(service)),
                template: None,
                levels: Some(levels),
                decisions: &Decisions::default(),
            };
            assert_eq!(ask(&node, &known), expected, "{filter:?}");
        };
        let both = equals("service", "a").and(equals("level", "error"));
        check(&both, "a", 0b10_0000, Verdict::Yes);
        check(&both, "a", 0b10_1000, Verdict::Maybe);
        check(&both, "a", 0b00_1001, Verdict::No);
        check(&both, "b", 0b10_0000, Verdict::No);
        check(&both.clone().negate(), "b", 0b10_0000, Verdict::Yes);
        check(&equals("service", "a").and(equals("host", "h")), "a", 1, Verdict::Maybe);
    }
}
