//! What an event must hold for a rule to match: found in the rule's expression, looked up for each event at once for all.
//!
//! A cover is a list of needs of which a match has at least one: a literal (folded) inside some text of the event, or a
//! value of a field. Of an `and` the part with the least likely cover is taken, of an `or` the covers of all parts; a
//! `not` has none. A rule without a cover is always asked.
//!
//! Invariant: a rule that matches an event is among its candidates.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use foldhash::fast::FixedState;

use crate::program::{Expr, FieldId};

/// Literal bytes of all indexes up to which automata are dense: at most 0.25 KB a byte, 128 MB, for half the time of
/// compact ones. The public corpus needs about a tenth of it for its largest log source.
pub(crate) const DENSE_LITERAL_BYTES_MAX: usize = 512 << 10;
/// Shorter literals are in nearly every event: asking the rule costs less than counting their occurrences.
const LITERAL_BYTES_MIN: usize = 3;
/// Most needs of a cover; a longer one costs more to index than it saves.
const NEEDS_MAX: usize = 4_096;
/// Most fields looked up by value for each event.
const VALUE_FIELDS_MAX: usize = 16;

/// Texts that most events hold somewhere: literals inside them say little.
const COMMON: &str = "c:\\windows\\system32\\ c:\\windows\\syswow64\\ c:\\program files (x86)\\ c:\\users\\ \\appdata\\local\\temp\\ \
    \\cmd.exe \\powershell.exe \\svchost.exe microsoft windows nt authority\\system hklm\\software\\microsoft\\windows\\currentversion\\ \
    \\registry\\machine\\system\\currentcontrolset\\ microsoft corporation -windows-sysmon/operational http://www. https://www. \
    /usr/bin/ /bin/bash .com/index.html mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 authentication failed for user root ";

/// Needs of which a match has at least one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Cover {
    literals: BTreeSet<String>,
    values: BTreeSet<(FieldId, String)>,
}

impl Cover {
    /// A cover by literals, unless one of them could also be in a number, which is no text of the event, or is too short.
    pub(crate) fn of_literals(literals: Vec<String>) -> Option<Cover> {
        let literals: BTreeSet<String> = literals.into_iter().collect();
        literals.iter().all(|text| usable(text)).then(|| Cover { literals, values: BTreeSet::new() })
    }

    /// The field has this value, as folded text.
    pub(crate) fn of_value(field: FieldId, value: String) -> Cover {
        Cover { literals: BTreeSet::new(), values: BTreeSet::from([(field, value)]) }
    }

    /// One of the covers is met.
    pub(crate) fn any(covers: Vec<Cover>) -> Option<Cover> {
        let mut all = Cover::default();
        for cover in covers {
            all.literals.extend(cover.literals);
            all.values.extend(cover.values);
        }
        (all.literals.len() + all.values.len() <= NEEDS_MAX).then_some(all)
    }

    /// How often an event meets it, as a rough guess: rates add up.
    fn rate(&self) -> f64 {
        let value = |value: &str| if value.len() <= 4 { 0.05 } else { 0.01 };
        self.literals.iter().map(|text| literal_rate(text)).sum::<f64>()
            + self.values.iter().map(|(_, text)| value(text)).sum::<f64>()
    }
}

/// Each further character halves the chance; what events commonly hold is taken for half of them.
fn literal_rate(text: &str) -> f64 {
    if COMMON.contains(text) {
        return 0.5;
    }
    let length = i32::try_from(text.chars().count().min(20)).unwrap_or(20);
    0.5_f64.powi(length.min(14))
}

fn usable(literal: &str) -> bool {
    literal.len() >= LITERAL_BYTES_MIN && !could_be_number(literal)
}

/// Numbers and truth values are compared as text too, but are not among the texts of an event.
fn could_be_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.e".contains(&byte))
        || ["true", "false", "inf", "nan"].iter().any(|word| word.contains(text))
}

/// The best cover of an expression.
pub(crate) fn cover(expr: &Expr) -> Option<Cover> {
    match expr {
        Expr::Never => Some(Cover::default()),
        Expr::Test(test) => test.cover.clone(),
        Expr::Not(_) => None,
        Expr::And(parts) => parts.iter().filter_map(cover).min_by(|a, b| a.rate().total_cmp(&b.rate())),
        Expr::Or(parts) | Expr::AtLeast(_, parts) => {
            Cover::any(parts.iter().map(cover).collect::<Option<_>>()?)
        }
    }
}

type RulesByValue = HashMap<String, Vec<u32>, FixedState>;

/// Finds the candidates among the rules of a view.
#[derive(Debug)]
pub(crate) struct Index {
    /// Rules asked about every event.
    pub always: Vec<u32>,
    automaton: Option<AhoCorasick>,
    /// Rules by literal.
    by_literal: Vec<Vec<u32>>,
    /// Rules by value, for each field looked up.
    pub by_value: Vec<(FieldId, RulesByValue)>,
}

impl Index {
    /// `rules` with the covers of each; takes from `dense_bytes` what a dense automaton needs, and is compact when that
    /// is not enough.
    pub(crate) fn new<'a>(
        rules: impl Iterator<Item = (u32, Option<&'a Cover>)>,
        dense_bytes: &mut usize,
    ) -> Index {
        let mut always = Vec::new();
        let mut covered = Vec::new();
        for (rule, cover) in rules {
            match cover {
                Some(cover) => covered.push((rule, cover)),
                None => always.push(rule),
            }
        }
        let looked_up = busiest_fields(&covered);
        let mut literals: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        let mut by_value: BTreeMap<FieldId, RulesByValue> = BTreeMap::new();
        for (rule, cover) in covered {
            // A value of a field that is not looked up is still a text of the event, if it is long enough.
            let is_looked_up = |(field, _): &&(FieldId, String)| looked_up.contains(field);
            let (values, texts): (Vec<_>, Vec<_>) = cover.values.iter().partition(is_looked_up);
            if !texts.iter().all(|(_, text)| usable(text)) {
                always.push(rule);
                continue;
            }
            for text in cover.literals.iter().chain(texts.iter().map(|(_, text)| text)) {
                literals.entry(text).or_default().push(rule);
            }
            for (field, value) in values {
                by_value.entry(*field).or_default().entry(value.clone()).or_default().push(rule);
            }
        }
        always.sort_unstable();
        let automaton = automaton(literals.keys().copied().collect(), dense_bytes);
        let by_literal: Vec<Vec<u32>> = literals.into_values().collect();
        if automaton.is_none() {
            always.extend(by_literal.iter().flatten());
            always.sort_unstable();
            always.dedup();
        }
        Index { always, automaton, by_literal, by_value: by_value.into_iter().collect() }
    }

    /// Literals looked for.
    pub(crate) fn literal_count(&self) -> usize {
        self.by_literal.len()
    }

    /// Calls `found` with the rules of every literal in the text; `is_new` says whether a literal was not met before.
    pub(crate) fn scan(
        &self,
        text: &str,
        mut is_new: impl FnMut(usize) -> bool,
        mut found: impl FnMut(&[u32]),
    ) {
        let Some(automaton) = &self.automaton else {
            return;
        };
        for hit in automaton.find_overlapping_iter(text) {
            let literal = hit.pattern().as_usize();
            if is_new(literal) {
                found(&self.by_literal[literal]);
            }
        }
    }
}

/// The fields by whose values most rules are found.
fn busiest_fields(covered: &[(u32, &Cover)]) -> BTreeSet<FieldId> {
    let mut counts: BTreeMap<FieldId, usize> = BTreeMap::new();
    for (_, cover) in covered {
        let fields: BTreeSet<FieldId> = cover.values.iter().map(|(field, _)| *field).collect();
        fields.into_iter().for_each(|field| *counts.entry(field).or_default() += 1);
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(field, count)| (std::cmp::Reverse(*count), *field));
    counts.into_iter().take(VALUE_FIELDS_MAX).map(|(field, _)| field).collect()
}

fn automaton(literals: Vec<&str>, dense_bytes: &mut usize) -> Option<AhoCorasick> {
    if literals.is_empty() {
        return None;
    }
    let bytes: usize = literals.iter().map(|text| text.len()).sum();
    let kind = match dense_bytes.checked_sub(bytes) {
        Some(left) => {
            *dense_bytes = left;
            AhoCorasickKind::DFA
        }
        None => AhoCorasickKind::ContiguousNFA,
    };
    AhoCorasick::builder().match_kind(MatchKind::Standard).kind(Some(kind)).build(literals).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_number_is_no_literal() {
        for text in ["445", "1e5", "-1.5", "rue", "alse", "inf"] {
            assert!(Cover::of_literals(vec![text.to_owned()]).is_none(), "{text}");
        }
        assert!(Cover::of_literals(vec!["10.0.0.1x".to_owned()]).is_some());
        assert!(Cover::of_literals(vec!["installer".to_owned()]).is_some());
    }

    #[test]
    fn rare_literals_win() {
        assert!(literal_rate("\\powershell.exe") > literal_rate("invoke-mimikatz"));
        assert!(literal_rate("abc") > literal_rate("abcd"));
    }
}
