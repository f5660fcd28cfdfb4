//! Decide: whether a text test passes the messages of a template, known from the template and the description of its texts alone.
//!
//! The test becomes a DFA. It runs over the template with a *set* of states: a constant moves each of them, a slot by every text the
//! slot may hold. When all paths lead to a match the answer is yes, when none does no, else maybe.
//!
//! Invariants:
//! - `Yes` and `No` hold for every message that was given the id before the question was asked (see `texts`): a text that cannot
//!   occur may cost an answer, never make it wrong;
//! - what the DFA cannot tell as [`Leaf::text`](heimdall_model::matcher::Leaf::text) does is maybe. So is anything of the catch-all;
//! - memory and time per question and template are bounded; past the bounds the answer is maybe.
//!
//! Sets are numbered as they are met and their steps remembered, so that most templates cost a table look-up per byte.

use std::collections::HashMap;

use heimdall_model::matcher::{LeafTest, WordFinder};
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

use super::catalog::{Template, TemplateId};
use super::slot::Slot;
use super::texts::usual_space;
use super::words;
use crate::prune::Verdict;

/// Bytes of a DFA; a larger one is built for ASCII texts only, and if that is too large as well every answer is maybe.
const DFA_BYTES_MAX: usize = 256 << 10;
/// Memory for building it.
const DETERMINIZE_BYTES_MAX: usize = 1 << 20;
/// Bytes of the NFA before it.
const NFA_BYTES_MAX: usize = 4 << 20;
/// Sets of states of one question; a template that needs more is maybe.
const SETS_MAX: usize = 4096;
/// States in one set; a larger set is maybe.
const SET_STATES_MAX: usize = 512;
/// Remembered effects of slots.
const SLOTS_MAX: usize = 8192;
/// Least length of a slot's texts that is told exactly; above it, shorter ones are thought possible too.
const EXACT_LENGTH_MAX: u32 = 64;

/// A text test, ready to be asked about templates.
pub(crate) struct Question(Kind);

enum Kind {
    /// Every message passes.
    Present,
    /// The messages the automaton `may` accepts may pass; those `must` accepts do. They differ where only a reading of the text
    /// tells, `None` is no difference.
    /// A message that passes has each of the `runs` among its own.
    Text { may: Box<Walker>, must: Option<Box<Walker>>, runs: Vec<Box<[u8]>> },
}

impl Question {
    /// The question a test asks; `None` when templates can say nothing about it.
    pub(crate) fn of(test: &LeafTest) -> Option<Question> {
        let plain = |pattern: &str, bytes| {
            let may = Box::new(Walker::new(pattern, bytes)?);
            Some(Question(Kind::Text { may, must: None, runs: Vec::new() }))
        };
        match test {
            LeafTest::Exists => Some(Question(Kind::Present)),
            LeafTest::Words(finder) => {
                let body = if finder.phrase().is_ascii() {
                    any_case(finder.phrase())
                } else {
                    format!("(?i:{})", escaped(finder.phrase()))
                };
                let pattern = |edge: &str| {
                    let (before, after) = finder.bounds();
                    let before = if before { format!(r"(?:\A|{edge})") } else { String::new() };
                    let after = if after { format!(r"(?:\z|{edge})") } else { String::new() };
                    Walker::new(&format!("{before}{body}{after}"), Bytes::Any)
                };
                let may = Box::new(pattern(NO_WORD_OR_BEYOND_ASCII)?);
                let must =
                    if finder.bounds() == (false, false) { None } else { Some(Box::new(pattern(NO_WORD)?)) };
                Some(Question(Kind::Text { may, must, runs: runs_of(finder) }))
            }
            LeafTest::Contains(finder) => plain(&any_case(finder.part()), Bytes::Any),
            // Where an empty match would split a character, `regex` sees none and the automaton does.
            LeafTest::Pattern(regex) if [r"\B", r"\b{"].iter().any(|look| regex.as_str().contains(look)) => {
                plain(regex.as_str(), Bytes::Ascii)
            }
            LeafTest::Pattern(regex) => plain(regex.as_str(), Bytes::Text),
            LeafTest::Equals(literal) => plain(&format!(r"\A{}\z", any_case(literal.text())), Bytes::Ascii),
            LeafTest::Compare(..) => None,
        }
    }

    /// What is certain of the messages that were given `id`, whose template this is.
    pub(crate) fn ask(&mut self, id: TemplateId, template: &Template) -> Verdict {
        match &mut self.0 {
            _ if id == TemplateId::CATCH_ALL => Verdict::Maybe, // records without message have it, too
            Kind::Present => Verdict::Yes,
            Kind::Text { .. } if template.texts.anything => Verdict::Maybe,
            Kind::Text { may, must, runs } => match (may.ask(template), must) {
                (Verdict::Maybe, _) if !runs.iter().all(|run| words::may_hold(template, run)) => Verdict::No,
                (Verdict::Yes, Some(must)) => match must.ask(template) {
                    Verdict::Yes => Verdict::Yes,
                    _ => Verdict::Maybe,
                },
                (verdict, _) => verdict,
            },
        }
    }
}

/// The runs of letters of a phrase that stand between edges of words.
fn runs_of(finder: &WordFinder) -> Vec<Box<[u8]>> {
    let (phrase, (before, after)) = (finder.phrase().as_bytes(), finder.bounds());
    let is_open = |byte: Option<&u8>, bound: bool| !bound && byte.is_some_and(u8::is_ascii_alphabetic);
    if !phrase.is_ascii() || is_open(phrase.first(), before) || is_open(phrase.last(), after) {
        return Vec::new();
    }
    words::runs(phrase).map(Box::from).collect()
}

/// A byte that ends a word for certain.
const NO_WORD: &str = r"(?-u:[\x00-/:-@\[-\^`{-\x7f])";
/// A byte that may: what stands beyond ASCII is not looked at.
const NO_WORD_OR_BEYOND_ASCII: &str = r"(?-u:[\x00-/:-@\[-\^`{-\xff])";

/// A pattern for exactly these bytes, ASCII letters in any case.
fn any_case(text: &str) -> String {
    use std::fmt::Write;
    let mut pattern = String::from("(?i-u:");
    for byte in text.bytes() {
        write!(pattern, r"\x{byte:02x}").expect("writing to a string cannot fail");
    }
    pattern + ")"
}

/// `text` as a pattern for itself; every character that could mean something is escaped by its number.
fn escaped(text: &str) -> String {
    use std::fmt::Write;
    text.chars().fold(String::new(), |mut pattern, c| {
        write!(pattern, r"\x{{{:x}}}", u32::from(c)).expect("writing to a string cannot fail");
        pattern
    })
}

/// What a pattern is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// Bytes as they come.
    Any,
    /// Characters; the automaton gives up at one beyond ASCII when it would be too large or needs to know more of it.
    Text,
    /// ASCII; the automaton gives up at any other byte.
    Ascii,
}

/// Number of a set of states.
type SetId = u32;
/// The set of everything: nothing can be said any more.
const UNKNOWN: SetId = 0;
const NOT_YET: SetId = SetId::MAX;

/// Where the automaton may stand after the texts of a part of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct States {
    /// States from which it goes on, rising.
    live: Vec<StateID>,
    /// Whether some text has matched.
    matched: bool,
    /// Whether some text can no longer match.
    failed: bool,
}

impl States {
    fn is_settled(&self) -> bool {
        self.live.is_empty()
    }

    fn verdict(&self) -> Verdict {
        match (self.matched, self.failed) {
            (true, false) => Verdict::Yes,
            (false, true) => Verdict::No,
            _ => Verdict::Maybe,
        }
    }
}

/// Texts a slot may hold, as far as they are told apart by bytes and lengths.
type SlotKey = ([u64; 2], bool, bool, u32, u32);

/// An automaton that walks over templates.
struct Walker {
    dfa: dense::DFA<Vec<u32>>,
    /// Class of each byte; bytes of a class are alike to the automaton.
    class_of: Vec<u16>,
    /// One byte of each class.
    bytes: Vec<u8>,
    // INVARIANT: sets[UNKNOWN] is empty and never found in `numbers`.
    sets: Vec<States>,
    numbers: HashMap<States, SetId>,
    /// Next set by set and class; `NOT_YET` where it was not needed yet.
    steps: Vec<SetId>,
    slots: HashMap<(SetId, SlotKey), SetId>,
    start: SetId,
}

impl Walker {
    fn new(pattern: &str, bytes: Bytes) -> Option<Walker> {
        let dfa = match bytes {
            Bytes::Any => automaton(pattern, false, false),
            Bytes::Text => automaton(pattern, true, false).or_else(|| automaton(pattern, true, true)),
            Bytes::Ascii => automaton(pattern, false, true).or_else(|| automaton(pattern, true, true)),
        }?;
        let classes = dfa.byte_classes();
        let class_of: Vec<u16> = (0..=u8::MAX).map(|byte| u16::from(classes.get(byte))).collect();
        let mut bytes = Vec::new();
        for class in 0..classes.alphabet_len() {
            bytes.extend((0..=u8::MAX).find(|byte| usize::from(class_of[usize::from(*byte)]) == class));
        }
        let mut walker = Walker {
            dfa,
            class_of,
            bytes,
            sets: Vec::new(),
            numbers: HashMap::new(),
            steps: Vec::new(),
            slots: HashMap::new(),
            start: UNKNOWN,
        };
        walker.clear()?;
        Some(walker)
    }

    /// Forgets every set, and numbers the first ones. `None` when the automaton cannot start.
    fn clear(&mut self) -> Option<()> {
        self.numbers.clear();
        self.slots.clear();
        self.sets = vec![States::default()];
        self.steps = vec![UNKNOWN; self.bytes.len()];
        let start = start::Config::new().anchored(Anchored::No);
        let start = self.dfa.start_state(&start).ok()?;
        let mut states = States::default();
        if !self.enter(&mut states, start) {
            return None;
        }
        self.start = self.number(states);
        Some(())
    }

    fn ask(&mut self, template: &Template) -> Verdict {
        if self.sets.len() > SETS_MAX / 2 || self.slots.len() > SLOTS_MAX {
            self.clear();
        }
        let verdict = self.walk(template, false);
        let keeps_values = |slot: &Slot| slot.values.is_some();
        if verdict == Verdict::Maybe && template.texts.slots.iter().any(keeps_values) {
            return self.walk(template, true);
        }
        verdict
    }

    /// Runs over a template; `exact` looks at the values of slots where they are kept.
    fn walk(&mut self, template: &Template, exact: bool) -> Verdict {
        let texts = &template.texts;
        let (mut slots, mut spaces) = (texts.slots.iter(), texts.spaces.iter().peekable());
        let mut set = self.start;
        for (number, token) in template.tokens().enumerate() {
            set = match spaces.next_if(|(place, _)| usize::from(*place) == number) {
                Some((_, space)) => self.slot(set, space, exact),
                None => self.text(set, usual_space(token.gap)),
            };
            set = self.text(set, token.constant.as_bytes());
            if token.slot {
                set = slots.next().map_or(UNKNOWN, |slot| self.slot(set, slot, exact));
            }
            if self.is_settled(set) {
                return self.sets[set as usize].verdict();
            }
        }
        if let Some((_, space)) = spaces.next() {
            set = self.slot(set, space, exact);
        }
        self.end(set)
    }

    fn is_settled(&self, set: SetId) -> bool {
        self.sets[set as usize].is_settled()
    }

    /// The set after a text.
    fn text(&mut self, set: SetId, text: &[u8]) -> SetId {
        text.iter().fold(set, |set, byte| self.step(set, self.class_of[usize::from(*byte)]))
    }

    /// The set after any text of a slot.
    fn slot(&mut self, set: SetId, slot: &Slot, exact: bool) -> SetId {
        if self.is_settled(set) {
            return set;
        }
        if let Some(values) = slot.values.as_ref().filter(|_| exact) {
            let mut after = States::default();
            for value in values.iter() {
                let one = self.text(set, value);
                if one == UNKNOWN {
                    return UNKNOWN;
                }
                join(&mut after, &self.sets[one as usize]);
            }
            return self.number(after);
        }
        let key = (slot.ascii, slot.beyond_ascii, slot.anything, slot.shortest, slot.longest);
        if let Some(after) = self.slots.get(&(set, key)) {
            return *after;
        }
        let after = self.closure(set, &self.classes_of(slot), slot.shortest, slot.longest);
        self.slots.insert((set, key), after);
        after
    }

    /// Classes of the bytes that occur in a slot.
    fn classes_of(&self, slot: &Slot) -> Vec<u16> {
        let occurs = |byte: u8| match byte {
            _ if slot.anything => true,
            0x80.. => slot.beyond_ascii,
            _ => slot.ascii[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1,
        };
        let mut classes: Vec<u16> =
            (0..=u8::MAX).filter(|byte| occurs(*byte)).map(|byte| self.class_of[usize::from(byte)]).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// The set after any text of `shortest` to `longest` bytes of these classes.
    fn closure(&mut self, set: SetId, classes: &[u16], shortest: u32, longest: u32) -> SetId {
        if shortest > longest {
            return UNKNOWN;
        }
        let (mut last, mut length) = (set, 0);
        while length < shortest.min(EXACT_LENGTH_MAX) {
            let next = self.advance(last, classes);
            if next == last {
                break; // and so for every greater length
            }
            (last, length) = (next, length + 1);
        }
        let mut all = self.sets[last as usize].clone();
        for _ in length..longest {
            let next = self.advance(last, classes);
            if next == UNKNOWN || last == UNKNOWN {
                return UNKNOWN;
            }
            // When the last length adds nothing to those before, no greater one does.
            if !join(&mut all, &self.sets[next as usize]) {
                break;
            }
            last = next;
        }
        if last == UNKNOWN { UNKNOWN } else { self.number(all) }
    }

    /// The set after one byte of any of these classes.
    fn advance(&mut self, set: SetId, classes: &[u16]) -> SetId {
        let mut after = States::default();
        for class in classes {
            let next = self.step(set, *class);
            if next == UNKNOWN {
                return UNKNOWN;
            }
            join(&mut after, &self.sets[next as usize]);
        }
        self.number(after)
    }

    /// The set after one byte.
    #[inline]
    fn step(&mut self, set: SetId, class: u16) -> SetId {
        let at = set as usize * self.bytes.len() + usize::from(class);
        match self.steps[at] {
            NOT_YET => {
                let next = self.find_step(set, self.bytes[usize::from(class)]);
                self.steps[at] = next;
                next
            }
            next => next,
        }
    }

    #[cold]
    fn find_step(&mut self, set: SetId, byte: u8) -> SetId {
        let before = &self.sets[set as usize];
        let mut after = States { live: Vec::new(), matched: before.matched, failed: before.failed };
        for state in before.live.clone() {
            let next = self.dfa.next_state(state, byte);
            if !self.enter(&mut after, next) {
                return UNKNOWN;
            }
        }
        self.number(after)
    }

    /// Adds a state of the automaton; `false` when it gives up.
    fn enter(&self, states: &mut States, state: StateID) -> bool {
        if self.dfa.is_match_state(state) {
            states.matched = true;
        } else if self.dfa.is_dead_state(state) {
            states.failed = true;
        } else if self.dfa.is_quit_state(state) {
            return false;
        } else if let Err(at) = states.live.binary_search(&state) {
            states.live.insert(at, state);
        }
        true
    }

    /// The verdict when the text ends here.
    fn end(&self, set: SetId) -> Verdict {
        let States { live, matched, failed } = &self.sets[set as usize];
        let mut after = States { live: Vec::new(), matched: *matched, failed: *failed };
        for state in live {
            let last = self.dfa.next_eoi_state(*state);
            if self.dfa.is_quit_state(last) {
                return Verdict::Maybe;
            }
            after.matched |= self.dfa.is_match_state(last);
            after.failed |= !self.dfa.is_match_state(last);
        }
        after.verdict()
    }

    /// The number of a set, a new one for a new set. `UNKNOWN` for what cannot lead to an answer any more, or is too much.
    fn number(&mut self, states: States) -> SetId {
        if states.matched && states.failed || states.live.len() > SET_STATES_MAX {
            return UNKNOWN;
        }
        if let Some(number) = self.numbers.get(&states) {
            return *number;
        }
        if self.sets.len() >= SETS_MAX {
            return UNKNOWN;
        }
        let number = SetId::try_from(self.sets.len()).expect("at most SETS_MAX");
        let step = if states.is_settled() { number } else { NOT_YET };
        self.steps.resize(self.steps.len() + self.bytes.len(), step);
        self.sets.push(states.clone());
        self.numbers.insert(states, number);
        number
    }
}

/// Adds a set to another; whether that changed it.
fn join(to: &mut States, from: &States) -> bool {
    let before = (to.live.len(), to.matched, to.failed);
    to.matched |= from.matched;
    to.failed |= from.failed;
    if to.live.is_empty() {
        to.live.clone_from(&from.live);
    } else {
        to.live.extend_from_slice(&from.live);
        to.live.sort_unstable();
        to.live.dedup();
    }
    before != (to.live.len(), to.matched, to.failed)
}

/// The DFA of a pattern, as `regex` understands it; `None` when it would be too large.
fn automaton(pattern: &str, utf8: bool, ascii_only: bool) -> Option<dense::DFA<Vec<u32>>> {
    let mut config = dense::Config::new()
        .accelerate(false)
        .start_kind(StartKind::Unanchored)
        .match_kind(MatchKind::LeftmostFirst)
        .unicode_word_boundary(true)
        .dfa_size_limit(Some(DFA_BYTES_MAX))
        .determinize_size_limit(Some(DETERMINIZE_BYTES_MAX));
    if ascii_only {
        config = (0x80..=u8::MAX).fold(config, |config, byte| config.quit(byte, true));
    }
    dense::Builder::new()
        .configure(config)
        .syntax(syntax::Config::new().utf8(utf8))
        .thompson(thompson::Config::new().utf8(utf8).nfa_size_limit(Some(NFA_BYTES_MAX)))
        .build(pattern)
        .ok()
}

#[cfg(test)]
mod tests {
    use heimdall_model::matcher::{Leaf, Node};
    use heimdall_model::schema::logs;
    use heimdall_model::{Dataset, Filter, Literal, Matcher, Test};
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::super::{Miner, MinerConfig};
    use super::*;

    fn leaf(test: Test) -> Option<Leaf> {
        let matcher = Matcher::compile(&Filter::field(logs::MESSAGE, test), Dataset::Logs).ok()?;
        match matcher.root {
            Node::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }

    fn verdicts(miner: &Miner, test: Test) -> Vec<Verdict> {
        let mut question = Question::of(&leaf(test).expect("compiles").test).expect("can be asked");
        miner.templates().map(|(id, template)| question.ask(id, template)).collect()
    }

    /// Verdicts about the one template of the messages.
    #[track_caller]
    fn check(messages: &[&str], tests: &[(Test, Verdict)]) {
        let mut miner = Miner::new(MinerConfig::default());
        let ids: Vec<_> = messages.iter().map(|message| miner.assign(message)).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "one template");
        for (test, verdict) in tests {
            assert_eq!(verdicts(&miner, test.clone())[ids[0].0 as usize], *verdict, "{test:?}");
        }
    }

    fn words(text: &str) -> Test {
        Test::Words(text.into())
    }

    fn regex(text: &str) -> Test {
        Test::Regex(text.into())
    }

    #[test]
    fn constants_and_slots_decide() {
        use Verdict::{Maybe, No, Yes};
        check(
            &["Failed login of u17 from 10.0.0.1 port 40022", "Failed login of u9 from 10.0.0.2 port 22"],
            &[
                (words("failed login"), Yes),
                (words("ailed"), No),
                (words("port"), Yes),
                (words("port 22"), Maybe),
                (words("port 23"), No),
                (words("refused"), No),
                (Test::Contains("OGIN OF U".into()), Yes),
                (Test::Wildcard("fail*".into()), Yes),
                (Test::Wildcard("fail*from".into()), No),
                (regex("[Ff]ailed .* from"), Yes),
                (regex("^failed"), No),
                (regex("(?i)^failed"), Yes),
                (regex(r"port [0-9]{4,5}\b"), Maybe),
                (regex(r"port [0-9]{6}"), No),
                (regex(r"\bu\d+\b"), Yes),
                (regex("timeout|refused"), No),
                (regex("22$"), Yes),
                (regex("é"), No),
                (Test::Equals(Literal::new("failed login of U9 from 10.0.0.2 port 22")), Maybe),
                (Test::Equals(Literal::new("failed login")), No),
                (Test::Exists, Yes),
            ],
        );
    }

    #[test]
    fn many_values_decide_by_characters_and_length() {
        use Verdict::{Maybe, No, Yes};
        let lines: Vec<String> =
            (0..500).map(|n| format!("took {} steps on node-{}", n * 7, n % 3)).collect();
        check(
            &lines.iter().map(String::as_str).collect::<Vec<_>>(),
            &[
                (regex(r"took \d{5}"), No),
                (regex(r"took \d{1,4} "), Yes),
                (words("failed"), No),
                (words("8 took"), No),
                (words("28 steps"), Maybe),
                (words("node-3"), No),
                (words("took 5"), Maybe),
                (regex("node-[0-2]$"), Yes),
            ],
        );
    }

    #[test]
    fn words_of_many_traces_decide_phrases() {
        use Verdict::{Maybe, No, Yes};
        let trace = |n: u32| {
            format!(
                "order {n} failed\n\tat shop.Cart.pay(Cart.java:{n})\n\tat shop.Main.run(Main.java:{})",
                n * 7
            )
        };
        let lines: Vec<String> = (0..400).map(trace).collect();
        check(
            &lines.iter().map(String::as_str).collect::<Vec<_>>(),
            &[
                (words("failed"), Yes),
                (words("cart.java"), Maybe),
                (words("pay"), Maybe),
                (words("java at"), Maybe), // each of them occurs: words alone do not tell
                (words("card"), No),
                (words("main pain"), No),
                (words("17"), Maybe),
                (words("ja"), No),
                (Test::Contains("pa".into()), Maybe),
                (words("at shop.Store"), No),
            ],
        );
    }

    #[test]
    fn white_space_further_lines_and_other_alphabets_are_minded() {
        use Verdict::{Maybe, No, Yes};
        check(
            &["disk  full on 7\n\tat a", "disk full on 9\n\tat b\n\tat c"],
            &[
                (words("disk full"), Maybe),
                (words("full on"), Yes),
                (words("at b"), Maybe),
                (regex("^disk +full"), Yes),
            ],
        );
        check(
            &["Größe überschritten: 7 MB"],
            &[
                (words("größe"), Yes),
                (words("Größe überschritten"), Yes),
                (words("berschritten"), Maybe), // what stands beyond ASCII before it is not looked at
                (words("fehler"), No),
                (Test::Contains("schritten".into()), Yes),
                (regex("^Gr..e"), Yes),
                (regex(r"\bMB\b"), Maybe),
            ],
        );
        check(&["   "], &[(words("x"), Maybe), (Test::Exists, Maybe)]);
    }

    #[test]
    fn a_cut_message_is_not_denied_what_was_cut() {
        let long = format!("start {} needle", "x ".repeat(400));
        check(&[&long], &[(words("start"), Verdict::Yes), (words("needle"), Verdict::Yes)]);
        let longer = format!("start {} needle", "x ".repeat(20_000));
        check(&[&long, &longer], &[(words("needle"), Verdict::Maybe), (words("thread"), Verdict::Maybe)]);
    }

    fn token() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => select(vec!["error", "user", "GET", "refused", "time-out", "from", "for", "bytes", "KB", "a.b.c", "/p/q", "_x", "K"])
                .prop_map(str::to_owned),
            3 => "[0-9]{1,4}",
            1 => "[0-9a-f]{8}",
            1 => "10\\.0\\.0\\.[0-9]",
            1 => "u[0-9]{1,2}",
            1 => select(vec!["größe", "Ωmega", "café", "٣", "名前", "ſ", "\u{212a}elvin", "e\u{301}"]).prop_map(str::to_owned),
            1 => "[a-z]{1,3}=[a-z0-9]{0,3}",
            1 => "\"[a-z]{1,4}( [a-z0-9]{1,3}){0,2}\"",
            1 => "\\PC{0,5}",
        ]
    }

    fn space() -> impl Strategy<Value = String> {
        prop_oneof![
            10 => Just(" "),
            1 => select(vec!["  ", "\t", "", ": ", ", ", "\n", "\n\tat ", "(", ")", "\r\n", "\u{a0}", "_", "-"]),
        ]
        .prop_map(str::to_owned)
    }

    fn line() -> impl Strategy<Value = String> {
        let statement = select(vec![
            vec!["user ", " failed from ", " port ", ""],
            vec!["took ", " ms for ", ""],
            vec!["", ": GET ", " refused"],
            vec!["sent ", " bytes (2 KB) to ", ""],
            vec!["Traceback (most recent call last):\n  File ", "\nValueError: bad ", ""],
            vec!["größe ", " überschritten, ", " MB"],
        ]);
        let statement = (statement, proptest::collection::vec(token(), 4)).prop_map(|(parts, values)| {
            let last = parts.len() - 1;
            parts.iter().zip(values).enumerate().fold(String::new(), |line, (n, (part, value))| {
                line + part + if n < last { &value } else { "" }
            })
        });
        let free = proptest::collection::vec((token(), space()), 1..6)
            .prop_map(|parts| parts.into_iter().map(|(token, space)| token + &space).collect());
        prop_oneof![4 => statement, 1 => free]
    }

    /// Some part of some message, on character boundaries.
    fn part(messages: &[String], which: Index, from: Index, length: Index) -> String {
        let message: Vec<char> = which.get(messages).chars().collect();
        if message.is_empty() {
            return String::new();
        }
        let from = from.index(message.len());
        let length = 1 + length.index((message.len() - from).min(12));
        message[from..from + length].iter().collect()
    }

    #[derive(Debug, Clone)]
    enum Piece {
        Part(Index, Index, Index),
        Raw(&'static str),
    }

    fn piece() -> impl Strategy<Value = Piece> {
        let raw = vec![
            r"\d",
            r"\d{2,4}",
            r"\w+",
            r"\b",
            r"\B",
            ".",
            ".*",
            "[a-f]+",
            "[^ ]+",
            "^",
            "$",
            r"\s",
            " ",
            "|",
            "(?i)",
            "x?",
            r"\PL",
            "(?m)^",
            r"\S*",
            "é",
            "[0-9]{3}",
            r"(?-u:\b)",
            r"(?-u:\w)",
            r"\z",
            "(?s).",
            "K",
            r"\b{start-half}",
        ];
        prop_oneof![
            (any::<Index>(), any::<Index>(), any::<Index>()).prop_map(|(a, b, c)| Piece::Part(a, b, c)),
            select(raw).prop_map(Piece::Raw),
        ]
    }

    type Asked = (usize, Vec<Piece>, bool);

    fn test_of(asked: &Asked, messages: &[String]) -> Test {
        let (kind, pieces, upper) = asked;
        let text = |escape: bool| -> String {
            let one = |piece: &Piece| match piece {
                Piece::Part(a, b, c) if escape => escaped(&part(messages, *a, *b, *c)),
                Piece::Part(a, b, c) => part(messages, *a, *b, *c),
                Piece::Raw(raw) if escape => (*raw).to_owned(),
                Piece::Raw(_) => String::new(),
            };
            let text: String = pieces.iter().map(one).collect();
            if *upper && !escape { text.to_uppercase() } else { text }
        };
        match kind {
            0 | 1 => Test::Words(text(false)),
            2 => Test::Contains(text(false)),
            3 => Test::Wildcard(text(false).replace([' ', 'e', '1'], "*").replace(['a', '0'], "?")),
            4 => match pieces.first() {
                Some(Piece::Part(which, ..)) => {
                    Test::Equals(Literal::new(&messages[which.index(messages.len())]))
                }
                _ => Test::Exists,
            },
            _ => Test::Regex(text(true)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]

        /// The heart: what is certain of a template is true of every message that was given its id, by the test itself.
        #[test]
        fn verdicts_are_true_of_every_message(
            mut messages in proptest::collection::vec(line(), 1..60),
            repeat in 0usize..200,
            asked in proptest::collection::vec((0usize..9, proptest::collection::vec(piece(), 1..4), any::<bool>()), 1..24),
        ) {
            messages.extend((0..repeat).map(|n| format!("user u{n} failed from 10.0.0.{} port {}", n % 9, n * 31)));
            let mut miner = Miner::new(MinerConfig { templates_max: 60, clusters_max: 40, ..MinerConfig::default() });
            let ids: Vec<TemplateId> = messages.iter().map(|message| miner.assign(message)).collect();
            let restarted = Miner::decode(&miner.encode()).expect("just encoded");
            for asked in &asked {
                let test = test_of(asked, &messages);
                let Some(leaf) = leaf(test.clone()) else { continue };
                let Some(mut question) = Question::of(&leaf.test) else { continue };
                let verdicts: Vec<_> = restarted.templates().map(|(id, template)| question.ask(id, template)).collect();
                for (message, id) in messages.iter().zip(&ids) {
                    let verdict = verdicts[id.0 as usize];
                    let passes = leaf.text(message);
                    let text = restarted.template(*id).expect("handed out").text();
                    prop_assert!(verdict != Verdict::No || !passes, "{test:?} matches {message:?} of {text:?}");
                    prop_assert!(verdict != Verdict::Yes || passes, "{test:?} does not match {message:?} of {text:?}");
                }
            }
        }
    }
}
