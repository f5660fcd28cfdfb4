//! Anomaly scores of one request: clues of every kind, added up by family.
//!
//! The way of a request: a gate that lets ordinary requests go after one look at their bytes; normalised views of each
//! part; signatures whose literals occur; shapes of SQL and places of shell commands. A clue counts once per request.
//! A family is found when its clues weigh [`ENOUGH`] together.
//!
//! Invariants:
//! - stateless: the same request gives the same findings, in order of family;
//! - bounded: at most [`PARAMETERS_MAX`] parameters of `VIEW_BYTES_MAX` bytes and [`CLUES_MAX`] clues.
//!
//! Source: anomaly scoring of the OWASP Core Rule Set ("collaborative detection"), with its weights.

use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::bytes::{Regex, RegexBuilder};

use super::family::{FAMILIES, Family};
use super::normalise::{Plus, Steps, Views};
use super::request::{self, Request};
use super::signatures::{SIGNATURES, part};
use super::{shell, sql};

/// Weight at which a family is found: one critical clue, or lesser ones together.
pub const ENOUGH: u8 = 5;
/// Parameters looked at in one request; browsers' forms have fewer, and floods of parameters are cut.
pub const PARAMETERS_MAX: usize = 256;
/// Clues kept for one request.
pub const CLUES_MAX: usize = 48;
/// Longest quoted fragment, bytes.
const FRAGMENT_BYTES_MAX: usize = 160;
/// Longest parameter name quoted, bytes.
const PARAMETER_BYTES_MAX: usize = 64;
/// Memory one signature may use for its compiled form.
const PATTERN_BYTES_MAX: usize = 8 << 20;

/// One reason to think of an attack, as `sql` and `shell` tell it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clue {
    pub(super) name: &'static str,
    pub(super) weight: u8,
    /// Where it stands in the text.
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Where in a request a clue stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The path.
    Path,
    /// Name of a parameter.
    ParameterName,
    /// Value of a parameter.
    Parameter,
    /// The user agent.
    UserAgent,
    /// The referer.
    Referer,
    /// A cookie.
    Cookie,
    /// The body.
    Body,
    /// The message of a record without a request.
    Message,
    /// The request as a whole.
    Request,
}

impl Place {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Place::Path => "path",
            Place::ParameterName => "parameter name",
            Place::Parameter => "parameter",
            Place::UserAgent => "user agent",
            Place::Referer => "referer",
            Place::Cookie => "cookie",
            Place::Body => "body",
            Place::Message => "message",
            Place::Request => "request",
        }
    }

    const fn mask(self) -> u8 {
        match self {
            Place::Path => part::PATH,
            Place::ParameterName => part::NAME,
            Place::Parameter | Place::Cookie | Place::Body => part::VALUE,
            Place::UserAgent => part::AGENT,
            Place::Referer => part::REFERER,
            Place::Message => part::MESSAGE,
            Place::Request => 0,
        }
    }
}

/// A clue with its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Family it speaks for.
    pub family: Family,
    /// What was seen.
    pub name: &'static str,
    /// How much it counts.
    pub weight: u8,
    /// Where.
    pub place: Place,
    /// Name of the parameter, when it stood in one.
    pub parameter: String,
    /// The text that shows it, decoded.
    pub fragment: String,
    /// What had to be undone to see it.
    pub steps: Steps,
}

/// A family found in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The family.
    pub family: Family,
    /// Sum of the weights.
    pub score: u32,
    /// The clues, heaviest first.
    pub hits: Vec<Hit>,
}

/// Scores requests; holds buffers only.
#[derive(Debug, Default)]
pub struct Scorer {
    views: Views,
    seen: Seen,
    candidates: Vec<u16>,
    hits: Vec<Hit>,
}

/// Signatures already counted, or candidates of one text.
#[derive(Debug, Clone, Copy, Default)]
struct Seen([u64; SIGNATURES.len().div_ceil(64)]);

impl Seen {
    fn add(&mut self, index: usize) -> bool {
        let (word, bit) = (index / 64, 1 << (index % 64));
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }
}

/// The signatures, prepared once for the process.
struct Compiled {
    /// Literals of all signatures; `owners` says whose each is.
    literals: AhoCorasick,
    owners: Vec<Vec<u16>>,
    /// Patterns, compiled when one is first needed: most never are.
    patterns: Vec<OnceLock<Regex>>,
    /// Literals, long enough that ordinary requests have none, of the signatures for paths, for parameters and for
    /// headers.
    path_gate: AhoCorasick,
    query_gate: AhoCorasick,
    header_gate: AhoCorasick,
    /// Literals of the signatures for messages.
    messages: AhoCorasick,
}

/// Literals with one of these bytes need no place in the gate: the byte itself opens it.
const SPECIAL: &[u8] = b"'\"<>()[]{}$`|\\^*!?;%+ ~\n";
/// Bytes that open the gate of a header; user agents hold brackets, semicolons and spaces.
const SPECIAL_IN_HEADERS: &[u8] = b"'\"<>{}$`|\\^%&";
/// Literals too common for the gate, which something else makes up for: `=` behind a handler, the form of the header,
/// the clue it adds to.
const OPENED_OTHERWISE: &[&str] = &["on", "id", "ls", "0x"];
/// Shapes of SQL worth a look in a message: a quote and what attackers put behind it.
const SQL_IN_MESSAGES: &[&str] = &[
    "' or", "'or ", "\" or", "' and ", "'||", "' union", "'union", "') or", "'; drop", "';drop", "' --",
    "'--", "' having",
];

static SPECIAL_TABLE: LazyLock<[bool; 256]> = LazyLock::new(|| table(SPECIAL));
static HEADER_TABLE: LazyLock<[bool; 256]> = LazyLock::new(|| table(SPECIAL_IN_HEADERS));

fn table(bytes: &[u8]) -> [bool; 256] {
    std::array::from_fn(|byte| {
        let byte = u8::try_from(byte).unwrap_or(u8::MAX);
        bytes.contains(&byte) || !(0x20..0x7f).contains(&byte)
    })
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let mut literals: Vec<&str> = Vec::new();
    let mut owners: Vec<Vec<u16>> = Vec::new();
    for (index, signature) in (0_u16..).zip(SIGNATURES) {
        for need in signature.needs {
            if let Some(at) = literals.iter().position(|known| known == need) {
                owners[at].push(index);
            } else {
                literals.push(need);
                owners.push(vec![index]);
            }
        }
    }
    let gate = |parts: u8, special: &[bool; 256]| {
        let theirs = SIGNATURES.iter().filter(|signature| signature.parts & parts != 0);
        let plain =
            |need: &&str| need.len() > 1 && !OPENED_OTHERWISE.contains(need) && !is_special(need, special);
        let needs: Vec<&str> = theirs.flat_map(|signature| signature.needs).copied().filter(plain).collect();
        automaton(&needs, true)
    };
    let for_messages = SIGNATURES.iter().filter(|signature| signature.parts & part::MESSAGE != 0);
    let messages: Vec<&str> = for_messages.flat_map(|s| s.needs).chain(SQL_IN_MESSAGES).copied().collect();
    Compiled {
        literals: automaton(&literals, false),
        path_gate: gate(part::PATH, &SPECIAL_TABLE),
        query_gate: gate(part::NAME | part::VALUE, &SPECIAL_TABLE),
        header_gate: gate(part::AGENT | part::REFERER, &HEADER_TABLE),
        messages: automaton(&messages, true),
        owners,
        patterns: SIGNATURES.iter().map(|_| OnceLock::new()).collect(),
    }
});

/// Builds the tables and automata; patterns are compiled when one is first needed.
pub(super) fn prepare() {
    LazyLock::force(&SPECIAL_TABLE);
    LazyLock::force(&HEADER_TABLE);
    LazyLock::force(&COMPILED);
}

impl Compiled {
    fn pattern(&self, index: usize) -> &Regex {
        self.patterns[index].get_or_init(|| compile(SIGNATURES[index].pattern))
    }
}

fn automaton<T: AsRef<[u8]>>(literals: &[T], any_case: bool) -> AhoCorasick {
    AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::DFA))
        .ascii_case_insensitive(any_case)
        .build(literals)
        .expect("a few hundred short literals")
}

fn compile(pattern: &str) -> Regex {
    RegexBuilder::new(pattern)
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .expect("patterns are constants, and a test compiles each")
}

impl Scorer {
    /// The families found in a request; none for an ordinary one.
    pub fn score(&mut self, request: &Request<'_>) -> Vec<Finding> {
        self.start();
        self.path(&request.path);
        if let Some(query) = &request.query {
            self.query(query, Place::Parameter, 1);
        }
        if let Some(agent) = &request.user_agent {
            self.header(agent, Place::UserAgent);
        }
        if let Some(referer) = &request.referer {
            self.referer(referer);
        }
        if let Some(cookie) = &request.cookie {
            for pair in cookie.split(';').take(PARAMETERS_MAX) {
                let (name, value) = pair.trim_start().split_once('=').unwrap_or((pair, ""));
                self.parameter(name, value, Place::Cookie, 1);
            }
        }
        if let Some(body) = &request.body {
            self.body(body);
        }
        self.of_status(request);
        self.findings()
    }

    /// The families found in a line of any log: in the request it holds, and in what else it says unless it is a whole
    /// line of an access log.
    pub fn score_line(&mut self, line: &str) -> Vec<Finding> {
        let request = Request::from_text(line);
        let found = request.as_ref().map(|request| self.score(request)).unwrap_or_default();
        let is_whole = request.is_some_and(|request| request.status.is_some());
        if found.is_empty() && !is_whole { self.score_message(line) } else { found }
    }

    /// The families found in a text of an application, which only signatures made for it and quotes that end a string
    /// of SQL show: applications write commands, paths and queries of their own.
    pub fn score_message(&mut self, message: &str) -> Vec<Finding> {
        if !COMPILED.messages.is_match(message) {
            return Vec::new();
        }
        self.start();
        self.views.set(message, Plus::Itself);
        self.with_views(|scorer, views| {
            for text in std::iter::once(views.plain()).chain(views.bare()) {
                scorer.signatures(text, Place::Message, "", views.steps(), 1);
                let mut clues = Vec::new();
                sql::judge(text, |clue| clues.push(clue));
                // A broken-out quote and an expression that holds: either alone is prose or the application's own.
                let broken =
                    clues.iter().filter(|clue| clue.name.starts_with("quote then") && clue.weight >= ENOUGH);
                let shown = clues.iter().any(|clue| {
                    matches!(
                        clue.name,
                        "comparison of constants" | "union select" | "second statement" | "database function"
                    ) && clue.weight >= ENOUGH
                });
                if shown {
                    for clue in broken {
                        scorer.take(Family::Sqli, *clue, text, Place::Message, "", views.steps(), 1);
                    }
                }
            }
        });
        self.findings()
    }

    fn start(&mut self) {
        self.seen = Seen::default();
        self.hits.clear();
    }

    fn path(&mut self, path: &str) {
        if !is_special(path, &SPECIAL_TABLE)
            && !COMPILED.path_gate.is_match(path)
            && !path.contains("/.")
            && !path.contains("//")
        {
            return;
        }
        self.text(path, Place::Path, "", Plus::Itself, 1);
        if !is_special(path, &SPECIAL_TABLE) {
            return;
        }
        for segment in
            path.split('/').filter(|segment| segment.len() > 2 && is_special(segment, &SPECIAL_TABLE))
        {
            self.views.set(segment, Plus::Itself);
            self.shapes(Place::Path, "", 1);
        }
    }

    fn query(&mut self, query: &str, place: Place, divisor: u8) {
        let is_plain = !is_special(query, &SPECIAL_TABLE) && !COMPILED.query_gate.is_match(query);
        if is_plain
            && !query
                .split('&')
                .any(|pair| pair.split_once('=').is_some_and(|(_, value)| value.contains('=')))
        {
            return;
        }
        for (name, value) in request::parameters(query).take(PARAMETERS_MAX) {
            self.parameter(name, value, place, divisor);
        }
    }

    fn parameter(&mut self, name: &str, value: &str, place: Place, divisor: u8) {
        // `id%3D1`: the sign between name and value encoded as well, as careless tools do.
        let encoded =
            if value.is_empty() { name.split_once("%3D").or_else(|| name.split_once("%3d")) } else { None };
        let (name, value) = encoded.unwrap_or((name, value));
        if !name.is_empty() {
            self.text(name, Place::ParameterName, name, Plus::Space, divisor);
            self.shapes(Place::ParameterName, name, divisor);
        }
        if !value.is_empty() {
            self.text(value, place, name, Plus::Space, divisor);
            self.shapes(place, name, divisor);
        }
    }

    fn header(&mut self, text: &str, place: Place) {
        let first = text.split(' ').next().unwrap_or("");
        let tight = memchr::memchr_iter(b';', text.as_bytes())
            .any(|at| text.as_bytes().get(at + 1).is_some_and(|next| *next != b' '));
        if first.contains('/')
            && !tight
            && !is_special(text, &HEADER_TABLE)
            && !COMPILED.header_gate.is_match(text)
        {
            return;
        }
        self.text(text, place, "", Plus::Itself, 1);
        if !first.contains('/') || tight || is_special(text, &HEADER_TABLE) {
            self.shapes(place, "", 1);
        }
    }

    /// Most referers are addresses, often of a search, so that what they hold was not sent to attack this server.
    fn referer(&mut self, text: &str) {
        let address = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        match address {
            Some(address) => {
                if let Some((_, query)) = address.split_once('?') {
                    self.query(query, Place::Referer, 2);
                }
            }
            None => self.header(text, Place::Referer),
        }
    }

    /// A form is read as a query, anything else as one value.
    fn body(&mut self, body: &str) {
        let body = body.trim_end();
        let is_form = !body.starts_with(['{', '[', '<', '-', '"'])
            && !body.contains('\n')
            && body.contains(['=', '%', '+']);
        if is_form {
            self.query(body, Place::Body, 1);
        } else {
            self.text(body, Place::Body, "", Plus::Itself, 1);
            self.shapes(Place::Body, "", 1);
        }
    }

    /// What the answer tells of a probe: nobody follows a link to a login page that is not there.
    fn of_status(&mut self, request: &Request<'_>) {
        let refused = request.status.is_some_and(|status| matches!(status, 403 | 404 | 410));
        if refused && self.hits.iter().any(|hit| hit.name == "probed path") {
            self.push(
                Family::Scanner,
                "probed path is not there",
                2,
                Place::Request,
                "",
                String::new(),
                Steps::default(),
            );
        }
    }

    /// Signatures on the views of a text; the views stay for `shapes`.
    fn text(&mut self, text: &str, place: Place, parameter: &str, plus: Plus, divisor: u8) {
        self.views.set(text, plus);
        self.with_views(|scorer, views| {
            let steps = views.steps();
            if steps.has(Steps::NULL) && place != Place::Body {
                scorer.push(
                    Family::Protocol,
                    "null byte",
                    ENOUGH / divisor,
                    place,
                    parameter,
                    cut(views.plain()),
                    steps,
                );
            }
            if steps.has(Steps::OVERLONG) {
                scorer.push(
                    Family::Protocol,
                    "overlong UTF-8",
                    ENOUGH / divisor,
                    place,
                    parameter,
                    cut(views.plain()),
                    steps,
                );
            }
            for text in std::iter::once(views.plain()).chain(views.bare()) {
                scorer.signatures(text, place, parameter, steps, divisor);
            }
        });
    }

    /// Shapes of SQL and places of commands in the views made last.
    fn shapes(&mut self, place: Place, parameter: &str, divisor: u8) {
        self.with_views(|scorer, views| {
            let steps = views.steps();
            for text in std::iter::once(views.plain()).chain(views.bare()) {
                let take = |scorer: &mut Scorer, family, clue| {
                    scorer.take(family, clue, text, place, parameter, steps, divisor)
                };
                if place != Place::UserAgent || text.contains(['\'', '"', '=']) || text.contains("::") {
                    sql::judge(text, |clue| take(scorer, Family::Sqli, clue));
                }
                shell::judge(text, |clue| take(scorer, Family::Rce, clue));
            }
        });
    }

    fn with_views(&mut self, judge: impl FnOnce(&mut Scorer, &Views)) {
        let views = std::mem::take(&mut self.views);
        judge(self, &views);
        self.views = views;
    }

    fn signatures(&mut self, text: &str, place: Place, parameter: &str, steps: Steps, divisor: u8) {
        let compiled = &*COMPILED;
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let mut known = Seen::default();
        for found in compiled.literals.find_overlapping_iter(text) {
            for index in &compiled.owners[found.pattern().as_usize()] {
                if known.add(usize::from(*index)) {
                    candidates.push(*index);
                }
            }
        }
        candidates.sort_unstable();
        for index in candidates.iter().map(|index| usize::from(*index)) {
            let signature = &SIGNATURES[index];
            let is_followed = follows(parameter) && is_address(signature.name);
            let is_document =
                place == Place::Body && signature.family == Family::Xss && text.starts_with("<?xml");
            if signature.parts & place.mask() == 0 || self.seen.has(index) || is_document || is_followed {
                continue;
            }
            if let Some(found) = compiled.pattern(index).find(text.as_bytes()) {
                self.seen.add(index);
                // The match with the rest of its word.
                let rest =
                    text.as_bytes()[found.end()..].iter().take_while(|byte| !byte.is_ascii_whitespace());
                let fragment = around(text, found.start(), found.end() + rest.count());
                self.push(
                    signature.family,
                    signature.name,
                    signature.weight / divisor,
                    place,
                    parameter,
                    fragment,
                    steps,
                );
            }
        }
        self.candidates = candidates;
    }

    #[expect(clippy::too_many_arguments, reason = "one place's worth of context, passed through once")]
    fn take(
        &mut self,
        family: Family,
        clue: Clue,
        text: &str,
        place: Place,
        parameter: &str,
        steps: Steps,
        divisor: u8,
    ) {
        let fragment = around(text, clue.from, clue.to);
        self.push(family, clue.name, clue.weight / divisor, place, parameter, fragment, steps);
    }

    /// Counts a clue once, at its heaviest.
    #[expect(clippy::too_many_arguments, reason = "the fields of a hit")]
    fn push(
        &mut self,
        family: Family,
        name: &'static str,
        weight: u8,
        place: Place,
        parameter: &str,
        fragment: String,
        steps: Steps,
    ) {
        if weight == 0 {
            return;
        }
        let parameter = parameter[..parameter.floor_char_boundary(PARAMETER_BYTES_MAX)].to_owned();
        let hit = Hit { family, name, weight, place, parameter, fragment, steps };
        let known = self.hits.iter().position(|known| known.family == family && known.name == name);
        match known {
            Some(at) if self.hits[at].weight < weight => self.hits[at] = hit,
            None if self.hits.len() < CLUES_MAX => self.hits.push(hit),
            _ => {}
        }
    }

    fn findings(&mut self) -> Vec<Finding> {
        if self.hits.is_empty() {
            return Vec::new();
        }
        let mut sums = [0_u32; FAMILIES];
        for hit in &self.hits {
            sums[hit.family.index()] += u32::from(hit.weight);
        }
        let enough = |family: &Family| sums[family.index()] >= u32::from(ENOUGH);
        let found = Family::ALL.into_iter().filter(enough).map(|family| {
            let mut hits: Vec<Hit> = self.hits.iter().filter(|hit| hit.family == family).cloned().collect();
            hits.sort_by_key(|hit| std::cmp::Reverse(hit.weight));
            Finding { family, score: sums[family.index()], hits }
        });
        found.collect()
    }
}

/// Parameters whose address the browser goes to, not the server.
fn follows(parameter: &str) -> bool {
    const NAMES: [&str; 9] =
        ["redirect", "callback", "return", "continue", "next", "origin", "referer", "referrer", "logout"];
    let bytes = parameter.as_bytes();
    NAMES.iter().any(|name| bytes.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes())))
}

/// Signatures of addresses that a redirect may rightly have.
fn is_address(signature: &str) -> bool {
    matches!(
        signature,
        "address of the host itself"
            | "private address"
            | "remote file for inclusion"
            | "remote address by number"
            | "remote address with credentials or port"
            | "remote address as a value"
    )
}

fn is_special(text: &str, table: &[bool; 256]) -> bool {
    text.bytes().any(|byte| table[usize::from(byte)])
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(FRAGMENT_BYTES_MAX)].to_owned()
}

/// The fragment on one line, with as much of what follows as fits.
fn around(text: &str, from: usize, to: usize) -> String {
    let from = text.floor_char_boundary(from.min(text.len()));
    let to = text.ceil_char_boundary(to.max(from).min(text.len()));
    let end = text.floor_char_boundary(to.min(from + FRAGMENT_BYTES_MAX)).max(from);
    text[from..end].trim().replace('\n', "\\n")
}

#[cfg(test)]
mod ordinary;
#[cfg(test)]
mod tests;
