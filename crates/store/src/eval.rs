//! Evaluates a compiled filter over a block of rows.
//!
//! Invariant: gives what [`Matcher::matches`] gives row by row: both ask the same [`Leaf`], or the template of the row has
//! decided it ([`crate::decisions`]). A block need not hold the messages of rows whose templates decide.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::Array;
use arrow::buffer::BooleanBuffer;
use heimdall_model::matcher::{Leaf, Node};
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, FieldId, Matcher, Target};
use parking_lot::Mutex;

use crate::block::{Cells, RowBlock};
use crate::decisions::{Decisions, verdict_of};
use crate::prune::Verdict;
use crate::signature::Need;

/// A filter made ready for one scan: its matcher, the fields it reads, and its template tests decided per template.
pub(crate) struct Predicate {
    // Boxed: decisions go by the addresses of leaves.
    matcher: Box<Matcher>,
    decisions: Decisions,
    template_text: Box<dyn Fn(u32) -> Option<Arc<str>> + Send + Sync>,
    decided: Mutex<HashMap<(usize, u32), bool>>,
    need: Need,
}

impl Predicate {
    /// `decisions` are those for this very matcher.
    pub(crate) fn new(
        matcher: Box<Matcher>,
        dataset: Dataset,
        decisions: Decisions,
        template_text: Box<dyn Fn(u32) -> Option<Arc<str>> + Send + Sync>,
    ) -> Predicate {
        let need = Need::of(&matcher.root, dataset);
        Predicate { matcher, decisions, template_text, decided: Mutex::default(), need }
    }

    /// Tokens without which no row of a page passes.
    pub(crate) fn need(&self) -> &Need {
        &self.need
    }

    pub(crate) fn root(&self) -> &Node {
        &self.matcher.root
    }

    /// Whether templates can decide some test on messages.
    pub(crate) fn asks_messages(&self) -> bool {
        !self.decisions.is_empty()
    }

    pub(crate) fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    pub(crate) fn template_text(&self, id: u32) -> Option<Arc<str>> {
        (self.template_text)(id)
    }

    pub(crate) fn is_all(&self) -> bool {
        matches!(self.matcher.root, Node::All)
    }

    /// Whether the filter asks for the text of templates.
    pub(crate) fn asks_template(&self) -> bool {
        fn asks(node: &Node) -> bool {
            match node {
                Node::All => false,
                Node::And(parts) | Node::Or(parts) => parts.iter().any(asks),
                Node::Not(part) => asks(part),
                Node::Leaf(leaf) => leaf.target == Target::Template,
            }
        }
        asks(&self.matcher.root)
    }

    /// Fields the filter reads, besides timestamp and position.
    pub(crate) fn fields(&self, attributes: FieldId) -> Vec<FieldId> {
        let mut fields = Vec::new();
        self.collect(&self.matcher.root, attributes, &mut fields);
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// One bit per row: whether it passes.
    pub(crate) fn evaluate(&self, block: &RowBlock) -> BooleanBuffer {
        self.node(&self.matcher.root, block)
    }

    fn node(&self, node: &Node, block: &RowBlock) -> BooleanBuffer {
        let rows = block.rows();
        match node {
            Node::All => BooleanBuffer::new_set(rows),
            Node::Not(part) => !&self.node(part, block),
            Node::And(parts) => parts.iter().fold(BooleanBuffer::new_set(rows), |left, part| {
                if left.count_set_bits() == 0 { left } else { &left & &self.node(part, block) }
            }),
            Node::Or(parts) => parts.iter().fold(BooleanBuffer::new_unset(rows), |left, part| {
                if left.count_set_bits() == rows { left } else { &left | &self.node(part, block) }
            }),
            Node::Leaf(leaf) => self.leaf(leaf, block),
        }
    }

    fn leaf(&self, leaf: &Leaf, block: &RowBlock) -> BooleanBuffer {
        let rows = block.rows();
        match &leaf.target {
            Target::Id => BooleanBuffer::collect_bool(rows, |row| leaf.id(block.id(row))),
            Target::Template => BooleanBuffer::collect_bool(rows, |row| {
                block.template_id(row).is_some_and(|id| self.template(leaf, id))
            }),
            Target::Attribute(path) => match block.cells(block.dataset().attributes()) {
                Some(Cells::Text(array)) => BooleanBuffer::collect_bool(rows, |row| {
                    array.is_valid(row) && leaf.attribute(array.value(row), path)
                }),
                _ => BooleanBuffer::new_unset(rows),
            },
            Target::Field(id) => match (self.decisions.of(leaf), block.cells(*id)) {
                (Some(verdicts), _) => self.message(leaf, verdicts, block),
                (None, None) => BooleanBuffer::new_unset(rows),
                (None, Some(Cells::Int(array))) => test(array, |row| leaf.int(array.value(row))),
                (None, Some(Cells::Float(array))) => test(array, |row| leaf.float(array.value(row))),
                (None, Some(Cells::Byte(array))) => {
                    let codes: Vec<bool> = (0..=u8::MAX).map(|code| leaf.int(i64::from(code))).collect();
                    test(array, |row| codes[usize::from(array.value(row))])
                }
                (None, Some(Cells::Text(array))) => test(array, |row| leaf.text(array.value(row))),
                (None, Some(Cells::Fixed(array))) => test(array, |row| leaf.bytes(array.value(row))),
            },
        }
    }

    /// A test on the message of log records: what their templates leave open asks the text.
    fn message(&self, leaf: &Leaf, verdicts: &[Verdict], block: &RowBlock) -> BooleanBuffer {
        let texts = match block.cells(logs::MESSAGE) {
            Some(Cells::Text(array)) => Some(array),
            _ => None,
        };
        let read = |row: usize| texts.is_some_and(|array| array.is_valid(row) && leaf.text(array.value(row)));
        BooleanBuffer::collect_bool(block.rows(), |row| {
            match block.template_id(row).map_or(Verdict::Maybe, |id| verdict_of(verdicts, id)) {
                Verdict::No => false,
                Verdict::Yes => true,
                Verdict::Maybe => read(row),
            }
        })
    }

    fn collect(&self, node: &Node, attributes: FieldId, fields: &mut Vec<FieldId>) {
        match node {
            Node::All => {}
            Node::And(parts) | Node::Or(parts) => {
                parts.iter().for_each(|part| self.collect(part, attributes, fields));
            }
            Node::Not(part) => self.collect(part, attributes, fields),
            Node::Leaf(leaf) => match &leaf.target {
                Target::Field(id) => {
                    fields.push(*id);
                    if self.decisions.of(leaf).is_some() {
                        fields.push(logs::TEMPLATE_ID);
                    }
                }
                Target::Attribute(_) => fields.push(attributes),
                Target::Template => fields.push(logs::TEMPLATE_ID),
                Target::Id => {}
            },
        }
    }

    fn template(&self, leaf: &Leaf, id: u32) -> bool {
        let key = (std::ptr::from_ref(leaf).addr(), id);
        if let Some(decided) = self.decided.lock().get(&key) {
            return *decided;
        }
        let decided = (self.template_text)(id).is_some_and(|text| leaf.text(&text));
        self.decided.lock().insert(key, decided);
        decided
    }
}

fn test(array: &dyn Array, passes: impl Fn(usize) -> bool) -> BooleanBuffer {
    let mask = BooleanBuffer::collect_bool(array.len(), |row| array.is_valid(row) && passes(row));
    debug_assert_eq!(mask.len(), array.len());
    mask
}
