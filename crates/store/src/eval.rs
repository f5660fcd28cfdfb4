//! Evaluates a compiled filter over a block of rows.
//!
//! Invariant: gives what [`Matcher::matches`] gives row by row: both ask the same [`Leaf`], or the template of the row has
//! decided it ([`crate::decisions`]). A block need not hold the messages of rows whose templates decide.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, StringArray};
use arrow::buffer::BooleanBuffer;
use heimdall_model::matcher::{Leaf, Node};
use heimdall_model::schema::{self, logs};
use heimdall_model::{Dataset, FieldId, Matcher, Target};
use parking_lot::Mutex;

use crate::block::{Cells, Coded, RowBlock};
use crate::decisions::{Decisions, verdict_of};
use crate::fields::FieldSet;
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

    /// Whether the filter asks for the text of templates.
    pub(crate) fn asks_template(&self) -> bool {
        fn asks(node: &Node) -> bool {
            match node {
                Node::All => false,
                Node::And(parts) | Node::Or(parts) => parts.iter().any(asks),
                Node::Not(part) => asks(part),
                Node::Leaf(leaf) => {
                    matches!(leaf.target, Target::Template | Target::Field(logs::TEMPLATE_ID))
                }
            }
        }
        asks(&self.matcher.root)
    }

    /// Fields the filter reads, and whether it reads ids besides.
    pub(crate) fn fields(&self, dataset: Dataset) -> (FieldSet, bool) {
        let mut found = (FieldSet::default(), false);
        self.collect(&self.matcher.root, dataset.attributes(), &mut found);
        found
    }

    /// Whether the filter asks for levels, which pages tell something of.
    pub(crate) fn asks_levels(&self, dataset: Dataset) -> bool {
        dataset == Dataset::Logs && self.fields(dataset).0.contains(logs::LEVEL)
    }

    /// One bit per row: whether it passes.
    pub(crate) fn evaluate(&self, block: &RowBlock, memo: &mut Memo) -> BooleanBuffer {
        self.node(&self.matcher.root, &Asked { block, within: None }, memo)
    }

    fn node(&self, node: &Node, asked: &Asked<'_>, memo: &mut Memo) -> BooleanBuffer {
        let rows = asked.block.rows();
        match node {
            Node::All => BooleanBuffer::new_set(rows),
            Node::Not(part) => !&self.node(part, asked, memo),
            Node::And(parts) => {
                let mut left: Option<BooleanBuffer> = None;
                // What is cheap first; texts are then looked at in the rows that are left.
                for is_costly in [false, true] {
                    for part in parts.iter().filter(|part| costs_much(part, asked.block) == is_costly) {
                        if left.as_ref().is_some_and(|left| left.count_set_bits() == 0) {
                            break;
                        }
                        let within = left.as_ref().or(asked.within);
                        let right = self.node(part, &Asked { within, ..*asked }, memo);
                        left = Some(match left {
                            Some(left) => &left & &right,
                            None => right,
                        });
                    }
                }
                left.unwrap_or_else(|| BooleanBuffer::new_set(rows))
            }
            Node::Or(parts) => parts.iter().fold(BooleanBuffer::new_unset(rows), |left, part| {
                if left.count_set_bits() == rows { left } else { &left | &self.node(part, asked, memo) }
            }),
            Node::Leaf(leaf) => self.leaf(leaf, asked, memo),
        }
    }

    fn leaf(&self, leaf: &Leaf, asked: &Asked<'_>, memo: &mut Memo) -> BooleanBuffer {
        let block = asked.block;
        match &leaf.target {
            Target::Id => asked.test(|row| leaf.id(block.id(row))),
            Target::Template => {
                let mut last = (0, false);
                asked.test(|row| {
                    let id = block.template_id(row).unwrap_or(0);
                    if id != last.0 {
                        last = (id, self.template(leaf, id));
                    }
                    last.1
                })
            }
            Target::Attribute(path) => {
                self.texts(leaf, block.dataset().attributes(), asked, memo, |text| leaf.attribute(text, path))
            }
            Target::Field(id) => match (self.decisions.of(leaf), block.cells(*id)) {
                (Some(verdicts), _) => self.message(leaf, verdicts, asked),
                (None, None) => BooleanBuffer::new_unset(block.rows()),
                (None, Some(Cells::Int(array))) => asked.present(array, |row| leaf.int(array.value(row))),
                (None, Some(Cells::Float(array))) => asked.present(array, |row| leaf.float(array.value(row))),
                (None, Some(Cells::Byte(array))) => {
                    let codes: Vec<bool> = (0..=u8::MAX).map(|code| leaf.int(i64::from(code))).collect();
                    asked.present(array, |row| codes[usize::from(array.value(row))])
                }
                (None, Some(Cells::Text(_) | Cells::Coded(_))) => {
                    self.texts(leaf, *id, asked, memo, |text| leaf.text(text))
                }
                (None, Some(Cells::Fixed(array))) => asked.present(array, |row| leaf.bytes(array.value(row))),
            },
        }
    }

    /// A test of texts: of each different one once where they have codes.
    fn texts(
        &self,
        leaf: &Leaf,
        field: FieldId,
        asked: &Asked<'_>,
        memo: &mut Memo,
        passes: impl Fn(&str) -> bool,
    ) -> BooleanBuffer {
        match asked.block.cells(field) {
            Some(Cells::Text(array)) => asked.present(array, |row| passes(array.value(row))),
            Some(Cells::Coded(coded)) => {
                let known = memo.of(leaf, coded);
                asked.present(&coded.codes, |row| {
                    let code = coded.code(row);
                    match known[code] {
                        Some(known) => known,
                        None => *known[code].insert(passes(coded.texts.value(code))),
                    }
                })
            }
            _ => BooleanBuffer::new_unset(asked.block.rows()),
        }
    }

    /// A test on the message of log records: what their templates leave open asks the text.
    fn message(&self, leaf: &Leaf, verdicts: &[Verdict], asked: &Asked<'_>) -> BooleanBuffer {
        let block = asked.block;
        asked.test(|row| match block.template_id(row).map_or(Verdict::Maybe, |id| verdict_of(verdicts, id)) {
            Verdict::No => false,
            Verdict::Yes => true,
            Verdict::Maybe => block.text(logs::MESSAGE, row).is_some_and(|text| leaf.text(text)),
        })
    }

    fn collect(&self, node: &Node, attributes: FieldId, found: &mut (FieldSet, bool)) {
        match node {
            Node::All => {}
            Node::And(parts) | Node::Or(parts) => {
                parts.iter().for_each(|part| self.collect(part, attributes, found));
            }
            Node::Not(part) => self.collect(part, attributes, found),
            Node::Leaf(leaf) => match &leaf.target {
                Target::Field(id) => {
                    found.0 = found.0.with(*id);
                    if self.decisions.of(leaf).is_some() {
                        found.0 = found.0.with(logs::TEMPLATE_ID);
                    }
                }
                Target::Attribute(_) => found.0 = found.0.with(attributes),
                Target::Template => found.0 = found.0.with(logs::TEMPLATE_ID),
                Target::Id => *found = (found.0.with(schema::TIMESTAMP), true),
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

/// Rows a filter is asked about.
#[derive(Clone, Copy)]
struct Asked<'a> {
    block: &'a RowBlock,
    /// The rows that matter; a bit of another one may be anything.
    within: Option<&'a BooleanBuffer>,
}

impl Asked<'_> {
    fn test(&self, mut passes: impl FnMut(usize) -> bool) -> BooleanBuffer {
        let rows = self.block.rows();
        match self.within {
            None => BooleanBuffer::collect_bool(rows, passes),
            Some(within) => BooleanBuffer::collect_bool(rows, |row| within.value(row) && passes(row)),
        }
    }

    /// As [`Asked::test`], of rows that have a value.
    fn present(&self, array: &dyn Array, mut passes: impl FnMut(usize) -> bool) -> BooleanBuffer {
        if array.null_count() == 0 {
            return self.test(passes);
        }
        self.test(|row| array.is_valid(row) && passes(row))
    }
}

/// Whether some test in it looks at each row's text.
fn costs_much(node: &Node, block: &RowBlock) -> bool {
    match node {
        Node::All => false,
        Node::And(parts) | Node::Or(parts) => parts.iter().any(|part| costs_much(part, block)),
        Node::Not(part) => costs_much(part, block),
        Node::Leaf(leaf) => {
            let field = match &leaf.target {
                Target::Field(id) => *id,
                Target::Attribute(_) => block.dataset().attributes(),
                Target::Id => return true,
                Target::Template => return false,
            };
            matches!(block.cells(field), Some(Cells::Text(_)))
        }
    }
}

/// What one worker remembers of texts it has tested, from block to block.
#[derive(Default)]
pub(crate) struct Memo(Vec<Tested>);

struct Tested {
    leaf: usize,
    /// Kept, so that its address stays its own.
    texts: StringArray,
    passes: Vec<Option<bool>>,
}

impl Memo {
    /// Answers remembered; the oldest goes.
    const TESTED_MAX: usize = 16;

    /// The answers of a test by code.
    fn of(&mut self, leaf: &Leaf, coded: &Coded) -> &mut [Option<bool>] {
        let leaf = std::ptr::from_ref(leaf).addr();
        let is_same = |tested: &Tested| {
            tested.leaf == leaf
                && tested.texts.len() == coded.texts.len()
                && tested.texts.offsets().as_ptr() == coded.texts.offsets().as_ptr()
                && tested.texts.value_data().as_ptr() == coded.texts.value_data().as_ptr()
        };
        let at = self.0.iter().position(is_same).unwrap_or_else(|| {
            if self.0.len() >= Self::TESTED_MAX {
                self.0.remove(0);
            }
            let (texts, passes) = (coded.texts.clone(), vec![None; coded.texts.len()]);
            self.0.push(Tested { leaf, texts, passes });
            self.0.len() - 1
        });
        &mut self.0[at].passes
    }
}
