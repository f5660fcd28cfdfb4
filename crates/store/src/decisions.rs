//! Decisions: what is certain of text tests on log messages, by template id, remembered from query to query.
//!
//! Invariants:
//! - a decision holds for every row that was searchable before it was asked for: the description of a template's texts is made to
//!   cover a message before its row can be seen, and only grows. So a query takes its rows first, then its decisions
//!   ([`crate::store::Store`] `begin` does), never the other way round;
//! - a remembered decision is used only while the description it came from has not grown;
//! - the catalog of a tenant is never replaced by another while the store is open.
//!
//! Not here: how a template is asked (`template::decide`).

use std::collections::VecDeque;
use std::sync::Arc;

use heimdall_model::matcher::{Leaf, LeafTest, Node};
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, Target, Tenant};
use parking_lot::Mutex;

use crate::prune::Verdict;
use crate::template::{Miner, Question, TemplateId};

/// Tests remembered; the least recently used is forgotten.
const TESTS_MAX: usize = 48;
/// Templates asked at a time, between which records can be assigned theirs.
const TEMPLATES_AT_A_TIME: usize = 256;

/// What a test is the same by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TestKey {
    tenant: Tenant,
    kind: u8,
    text: String,
}

impl TestKey {
    fn new(tenant: &Tenant, test: &LeafTest) -> TestKey {
        let (kind, text) = match test {
            LeafTest::Exists => (0, ""),
            LeafTest::Words(finder) => (1, finder.phrase()),
            LeafTest::Contains(finder) => (2, finder.part()),
            LeafTest::Pattern(regex) => (3, regex.as_str()),
            LeafTest::Equals(literal) => (4, literal.text()),
            LeafTest::Compare(_, literal) => (5, literal.text()),
        };
        TestKey { tenant: tenant.clone(), kind, text: text.to_owned() }
    }
}

/// A test with its verdicts so far.
struct Decided {
    question: Option<Question>,
    verdicts: Arc<Vec<Verdict>>,
    /// `Miner::changes` when the verdicts were asked for.
    changes: u64,
}

impl Decided {
    fn new(test: &LeafTest) -> Decided {
        Decided { question: Question::of(test), verdicts: Arc::default(), changes: 0 }
    }

    /// Asks about templates that are new or whose description has grown, until all are known. `read` gives access to the catalog.
    fn update(&mut self, read: impl Fn(&mut dyn FnMut(&Miner))) {
        let Some(question) = &mut self.question else { return };
        let known_until = self.changes;
        let (mut from, mut total) = (0, usize::MAX);
        while from < total {
            read(&mut |miner| {
                if total == usize::MAX {
                    // What grows from here on is asked again by the next query.
                    (total, self.changes) = (miner.templates().len(), miner.changes());
                    if known_until == self.changes && self.verdicts.len() == total {
                        from = total;
                    }
                }
                let mut asked = 0;
                while from < total && asked < TEMPLATES_AT_A_TIME {
                    let id = TemplateId(u32::try_from(from).unwrap_or(u32::MAX));
                    let is_known = from < self.verdicts.len();
                    let Some(template) = miner.template(id) else {
                        from = total;
                        break;
                    };
                    if !is_known || template.changed_at() > known_until {
                        let verdict = question.ask(id, template);
                        let verdicts = Arc::make_mut(&mut self.verdicts);
                        if is_known {
                            verdicts[from] = verdict
                        } else {
                            verdicts.push(verdict)
                        }
                        asked += 1;
                    }
                    from += 1;
                }
            });
            if total == usize::MAX {
                return; // no catalog
            }
        }
    }
}

/// Decisions of all tenants, bounded.
#[derive(Default)]
pub(crate) struct DecisionCache {
    /// Most recently used last.
    tests: Mutex<VecDeque<(TestKey, Arc<Mutex<Decided>>)>>,
}

impl DecisionCache {
    /// Decides every test on the message of a log record in a filter. `read` gives access to the tenant's catalog, if there is one.
    /// The rows of the query must have been taken before.
    pub(crate) fn decide(
        &self,
        tenant: &Tenant,
        dataset: Dataset,
        root: &Node,
        read: impl Fn(&mut dyn FnMut(&Miner)),
    ) -> Decisions {
        let mut decisions = Decisions::default();
        if dataset == Dataset::Logs {
            each_message_leaf(root, &mut |leaf| {
                let decided = self.entry(tenant, &leaf.test);
                let mut decided = decided.lock();
                decided.update(&read);
                if decided.question.is_some() {
                    decisions.0.push((std::ptr::from_ref(leaf).addr(), Arc::clone(&decided.verdicts)));
                }
            });
        }
        decisions
    }

    fn entry(&self, tenant: &Tenant, test: &LeafTest) -> Arc<Mutex<Decided>> {
        let key = TestKey::new(tenant, test);
        let mut tests = self.tests.lock();
        let at = tests.iter().position(|(known, _)| *known == key);
        let entry = match at.and_then(|at| tests.remove(at)) {
            Some((_, decided)) => decided,
            None => {
                if tests.len() >= TESTS_MAX {
                    tests.pop_front();
                }
                Arc::new(Mutex::new(Decided::new(test)))
            }
        };
        tests.push_back((key, Arc::clone(&entry)));
        entry
    }
}

fn each_message_leaf(node: &Node, each: &mut impl FnMut(&Leaf)) {
    match node {
        Node::All => {}
        Node::And(parts) | Node::Or(parts) => parts.iter().for_each(|part| each_message_leaf(part, each)),
        Node::Not(part) => each_message_leaf(part, each),
        Node::Leaf(leaf) if leaf.target == Target::Field(logs::MESSAGE) => each(leaf),
        Node::Leaf(_) => {}
    }
}

/// Decisions for the tests on messages of one filter.
#[derive(Debug, Default)]
pub(crate) struct Decisions(
    /// Address of the leaf, which stays where it is as long as the filter lives, and the verdicts by template id.
    Vec<(usize, Arc<Vec<Verdict>>)>,
);

impl Decisions {
    /// Whether there is nothing that templates can decide.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The verdicts of a test by template id, when templates can decide it.
    pub(crate) fn of(&self, leaf: &Leaf) -> Option<&[Verdict]> {
        let address = std::ptr::from_ref(leaf).addr();
        self.0.iter().find(|(known, _)| *known == address).map(|(_, verdicts)| verdicts.as_slice())
    }

    /// What is certain of rows with this template.
    pub(crate) fn verdict(&self, leaf: &Leaf, template: u32) -> Verdict {
        self.of(leaf).map_or(Verdict::Maybe, |verdicts| verdict_of(verdicts, template))
    }
}

/// The verdict of a template; `Maybe` for one that has none.
pub(crate) fn verdict_of(verdicts: &[Verdict], template: u32) -> Verdict {
    verdicts.get(template as usize).copied().unwrap_or(Verdict::Maybe)
}
