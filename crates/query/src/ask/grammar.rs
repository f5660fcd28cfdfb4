//! What words mean. The reader goes through a question once; at each place the longest phrase that means something is taken.

use heimdall_model::time::{NS_PER_HOUR, NS_PER_SECOND, format_duration};
use heimdall_model::{Level, Timestamp};

use super::names::{self, Named};
use super::time::{Clock, Said, count, length, unit_ns};
use super::words::{Token, tokens};
use super::{AskContext, Because, NotUnderstood, SUGGESTIONS_MAX};
use crate::query::TimeRange;
use crate::search::nearest_name;

/// Words that say nothing of what is wanted.
const FILLERS: &[&str] = &[
    "show",
    "me",
    "find",
    "list",
    "give",
    "get",
    "display",
    "see",
    "view",
    "tell",
    "us",
    "i",
    "we",
    "want",
    "to",
    "need",
    "please",
    "can",
    "could",
    "you",
    "would",
    "like",
    "all",
    "any",
    "every",
    "the",
    "a",
    "an",
    "of",
    "in",
    "on",
    "at",
    "for",
    "from",
    "by",
    "with",
    "and",
    "or",
    "that",
    "which",
    "what",
    "who",
    "whose",
    "where",
    "when",
    "were",
    "was",
    "are",
    "is",
    "be",
    "been",
    "did",
    "do",
    "does",
    "had",
    "has",
    "have",
    "having",
    "there",
    "their",
    "its",
    "it",
    "them",
    "this",
    "these",
    "those",
    "our",
    "my",
    "came",
    "come",
    "coming",
    "happened",
    "happen",
    "occurred",
    "seen",
    "logged",
    "written",
    "wrote",
    "sent",
    "produced",
    "log",
    "logs",
    "record",
    "records",
    "line",
    "lines",
    "entry",
    "entries",
    "event",
    "events",
    "message",
    "messages",
    "request",
    "requests",
    "then",
    "also",
    "only",
    "just",
    "search",
    "look",
    "up",
    "how",
    "as",
    "looks",
    "today's",
    "between",
    "during",
    "within",
    "across",
    "over",
    "out",
    "about",
    "generated",
    "made",
    "caused",
    "reported",
    "calls",
    "responses",
    "response",
    "returned",
    "returning",
    "everything",
    "anything",
    "something",
    "somebody",
    "someone",
    "people",
    "answered",
    "got",
    "getting",
    "doing",
    "value",
    "values",
    "first",
];
/// Words that begin what is asked to be foreseen.
const FUTURE: &[&str] =
    &["predict", "forecast", "foresee", "tomorrow", "will", "expect", "projected", "anticipate"];

/// A condition on records.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// At least, or exactly, this level.
    LevelAtLeast(Level),
    LevelIs(Level),
    Service(String),
    /// A field holds exactly this.
    Is(&'static str, String),
    /// A field is above, or below.
    Above(&'static str, f64),
    Below(&'static str, f64),
    /// A status code, or a class of them.
    Status(u16),
    StatusClass(u16),
    Phrase(String),
    /// Templates like a text.
    Templates(Vec<u32>),
}

/// What is wanted of the records.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Wanted {
    #[default]
    List,
    Count,
    /// How many different values.
    Distinct(&'static str),
    /// Percentile or another figure of a field, by its name in a line.
    Figure(String, &'static str),
    ErrorRate,
    Rate,
    Patterns,
    /// Who was affected.
    Affected,
    /// The slowest records.
    Slowest,
}

/// A question in its parts.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) wanted: Wanted,
    pub(super) conditions: Vec<(bool, Condition)>,
    pub(super) by: Vec<&'static str>,
    pub(super) bin: Option<String>,
    pub(super) over_time: bool,
    pub(super) limit: Option<usize>,
    pub(super) is_top: bool,
    pub(super) is_rare: bool,
    pub(super) is_oldest: bool,
    pub(super) range: Option<TimeRange>,
    pub(super) because: Vec<Because>,
}

pub(super) struct Reader<'a> {
    question: &'a str,
    context: &'a AskContext<'a>,
    tokens: Vec<Token>,
    at: usize,
    clock: Clock,
    said: Said,
    parts: Parts,
    /// What follows is to be left out.
    negated: bool,
    unclear: Vec<String>,
    suggestions: Vec<String>,
    refused: Option<String>,
    time_words: Vec<String>,
}

/// A field that people ask for, by the words they use.
pub(super) fn field(word: &str) -> Option<&'static str> {
    Some(match word {
        "service" | "services" | "app" | "apps" | "application" | "applications" => "service",
        "host" | "hosts" | "machine" | "machines" | "server" | "servers" | "node" | "nodes" => "host",
        "instance" | "instances" | "pod" | "pods" | "container" | "containers" => "instance",
        "user" | "users" => "user_id",
        "customer" | "customers" => "customer_id",
        "session" | "sessions" => "session_id",
        "ip" | "ips" | "address" | "addresses" | "client" | "clients" => "source_ip",
        "level" | "levels" | "severity" | "severities" => "level",
        "region" | "regions" => "region",
        "environment" | "environments" | "env" => "environment",
        "trace" | "traces" => "trace_id",
        "template" | "templates" => "template",
        _ => return None,
    })
}

/// A measured field and its usual unit, by the words people use.
fn measured(words: &[&str]) -> Option<(&'static str, usize)> {
    Some(match words {
        ["response" | "request" | "processing", "time" | "times", ..] => ("duration_ms", 2),
        ["cpu", "usage" | "load" | "utilisation" | "utilization", ..] => ("cpu_usage", 2),
        ["memory", "usage" | "consumption", ..] => ("memory_usage", 2),
        ["anomaly", "score" | "scores", ..] => ("anomaly_score", 2),
        ["latency" | "latencies" | "duration" | "durations", ..] => ("duration_ms", 1),
        ["cpu", ..] => ("cpu_usage", 1),
        ["memory", ..] => ("memory_usage", 1),
        _ => return None,
    })
}

fn levels(word: &str) -> Option<(Level, bool)> {
    Some(match word {
        "error" | "errors" | "failure" | "failures" | "exception" | "exceptions" | "problem" | "problems"
        | "outage" | "outages" | "issues" | "errored" => (Level::Error, true),
        "warning" | "warnings" | "warn" | "warns" => (Level::Warn, false),
        "fatal" | "fatals" | "critical" | "crash" | "crashes" => (Level::Fatal, false),
        "info" | "informational" => (Level::Info, false),
        "debug" => (Level::Debug, false),
        _ => return None,
    })
}

impl<'a> Reader<'a> {
    pub(super) fn new(question: &'a str, context: &'a AskContext<'a>) -> Reader<'a> {
        let clock = Clock::new(context.now, &context.zone);
        Reader {
            question,
            context,
            tokens: tokens(question),
            at: 0,
            clock,
            said: Said::default(),
            parts: Parts::default(),
            negated: false,
            unclear: Vec::new(),
            suggestions: Vec::new(),
            refused: None,
            time_words: Vec::new(),
        }
    }

    pub(super) fn read(mut self) -> Result<Parts, NotUnderstood> {
        self.beyond_words();
        while self.at < self.tokens.len() {
            let before = self.at;
            let is_read = self.similar()
                || self.time()
                || self.negation()
                || self.quoted()
                || self.containing()
                || self.figure()
                || self.asked_for()
                || self.compared()
                || self.named_value()
                || self.status()
                || self.grouping()
                || self.service()
                || self.level()
                || self.self_evident();
            if !is_read {
                self.leave();
            }
            debug_assert!(self.at > before);
        }
        self.finish()
    }

    // ---- places -------------------------------------------------------------------------------------------------

    fn low(&self, ahead: usize) -> &str {
        self.tokens
            .get(self.at + ahead)
            .filter(|token| !token.is_quoted)
            .map_or("", |token| token.low.as_str())
    }

    fn lows(&self) -> Vec<&str> {
        (0..6).map(|ahead| self.low(ahead)).collect()
    }

    /// Takes tokens as meaning something.
    fn take(&mut self, count: usize, kind: &'static str, means: impl Into<String>) -> bool {
        let (first, last) = (&self.tokens[self.at], &self.tokens[self.at + count - 1]);
        let words: String = self.question[first.start..last.end].chars().take(200).collect();
        self.parts.because.push(Because { words, kind, means: means.into() });
        self.at += count;
        true
    }

    fn condition(&mut self, count: usize, kind: &'static str, condition: Condition) -> bool {
        let negated = std::mem::take(&mut self.negated);
        let means = super::compile::condition(&condition, negated, self.context);
        self.parts.conditions.push((negated, condition));
        self.take(count, kind, means)
    }

    /// A word that is not understood, unless it says nothing.
    fn leave(&mut self) {
        let token = &self.tokens[self.at];
        let low = token.low.as_str();
        self.at += 1;
        if FILLERS.contains(&low) || (low.len() == 1 && !low.starts_with(char::is_alphanumeric)) {
            return;
        }
        let word = token.text.clone();
        if let Some(near) = self.nearest(low).filter(|near| near != low) {
            let (start, end) = (token.start, token.end);
            let fixed = format!("{}{near}{}", &self.question[..start], &self.question[end..]);
            self.suggestions.push(fixed.trim().to_owned());
        }
        self.unclear.push(word);
    }

    fn nearest(&self, word: &str) -> Option<String> {
        const KNOWN: [&str; 34] = [
            "errors",
            "warnings",
            "fatal",
            "service",
            "services",
            "users",
            "hosts",
            "latency",
            "duration",
            "slowest",
            "yesterday",
            "today",
            "afternoon",
            "morning",
            "evening",
            "last",
            "since",
            "between",
            "hour",
            "minutes",
            "count",
            "status",
            "average",
            "median",
            "patterns",
            "containing",
            "without",
            "except",
            "affected",
            "requests",
            "instances",
            "monday",
            "friday",
            "week",
        ];
        let known = nearest_name(word, KNOWN.into_iter()).map(str::to_owned);
        known.or_else(|| names::near(word, self.context.services).map(str::to_owned))
    }

    // ---- what cannot be asked -----------------------------------------------------------------------------------

    fn beyond_words(&mut self) {
        let has = |word: &str| self.tokens.iter().any(|token| !token.is_quoted && token.low == word);
        let follow = |a: &str, b: &str| {
            self.tokens.windows(2).any(|two| two[0].low == a && two[1].low == b && !two[0].is_quoted)
        };
        let is_future =
            FUTURE.iter().any(|word| has(word)) || follow("next", "week") || follow("going", "to");
        let is_cause = has("why")
            || has("cause") && !has("causes")
            || has("reason")
            || follow("root", "cause")
            || follow("what", "caused")
            || follow("who", "caused")
            || follow("leads", "to");
        if is_future {
            self.refused =
                Some("this asks for what is to come; questions are answered from records of the past".into());
        } else if is_cause {
            self.refused = Some(
                "this asks for a cause; questions find, count and compare records, and judge nothing".into(),
            );
        }
    }

    // ---- phrases ------------------------------------------------------------------------------------------------

    /// `similar to …`: the rest of the question is a text.
    fn similar(&mut self) -> bool {
        let lead = match self.lows().as_slice() {
            ["similar", "to", ..] | ["same", "as", ..] | ["looking", "like", ..] | ["look", "like", ..] => 2,
            ["resembling", ..] => 1,
            _ => return false,
        };
        let rest = self.tokens.get(self.at + lead..).unwrap_or_default();
        let text = match rest.iter().find(|token| token.is_quoted) {
            Some(quoted) => quoted.text.clone(),
            None => {
                let from = rest.first().map_or(self.question.len(), |token| token.start);
                let text = &self.question[from..];
                let pasted =
                    text.split_once([':', '\n']).filter(|(head, _)| head.split_whitespace().count() <= 4);
                pasted.map_or("", |(_, pasted)| pasted).trim().to_owned()
            }
        };
        let all = self.tokens.len() - self.at;
        if text.is_empty() {
            self.refused = Some(
                "the text that records are to be like is missing: put it in quotes, or after a colon".into(),
            );
            self.take(lead, "similar", "records like a text");
            self.at = self.tokens.len();
            return true;
        }
        let templates = (self.context.like)(&text);
        if templates.is_empty() {
            let start: String = text.lines().next().unwrap_or_default().chars().take(60).collect();
            self.refused = Some("no record has a message of that form".into());
            self.suggestions.push(format!("records containing \"{}\"", start.replace('"', "")));
            self.at = self.tokens.len();
            return true;
        }
        let end = rest.iter().position(|token| token.is_quoted).map_or(all, |at| lead + at + 1);
        self.condition(end, "similar", Condition::Templates(templates))
    }

    fn time(&mut self) -> bool {
        let Some((phrase, taken)) = self.clock.phrase(&self.tokens[self.at..]) else { return false };
        // `the last 20 errors`, `first 5`: a number of records.
        self.said.add(phrase);
        let mut one = Said::default();
        one.add(phrase);
        let range = one.range(&self.clock);
        let (first, last) = (&self.tokens[self.at], &self.tokens[self.at + taken - 1]);
        self.time_words.push(self.question[first.start..last.end].to_owned());
        let means = range.map_or_else(String::new, |range| {
            let text = |time: Timestamp, open: Timestamp| {
                if time == open { "…".to_owned() } else { time.to_string() }
            };
            format!("{} to {}", text(range.from, TimeRange::ALL.from), text(range.to, TimeRange::ALL.to))
        });
        self.take(taken, "time", means)
    }

    fn negation(&mut self) -> bool {
        let taken = match self.lows().as_slice() {
            ["but", "not", ..]
            | ["other", "than", ..]
            | ["except", "for" | "from", ..]
            | ["not", "from" | "in" | "on", ..] => 2,
            ["except" | "excluding" | "without" | "ignoring" | "not" | "minus" | "no", ..] => 1,
            _ => return false,
        };
        self.negated = true;
        self.at += taken;
        if self.at >= self.tokens.len() {
            self.unclear.push(self.tokens[self.at - 1].text.clone());
        }
        true
    }

    fn quoted(&mut self) -> bool {
        let Some(token) = self.tokens.get(self.at).filter(|token| token.is_quoted) else { return false };
        let phrase = token.text.clone();
        if let Some(service) = names::exact(&phrase, self.context.services) {
            return self.condition(1, "service", Condition::Service(service.to_owned()));
        }
        self.condition(1, "phrase", Condition::Phrase(phrase))
    }

    /// `containing connection refused`: words up to the next that means something else.
    fn containing(&mut self) -> bool {
        let lead = match self.lows().as_slice() {
            ["that" | "which", "say" | "says" | "contain" | "mention", ..] => 2,
            ["with", "the", "text" | "message" | "phrase" | "words", ..] => 3,
            ["with", "text" | "message" | "phrase", ..] => 2,
            [
                "containing" | "contains" | "contain" | "mentioning" | "mentions" | "mention" | "saying"
                | "matching",
                ..,
            ] => 1,
            _ => return false,
        };
        let mut end = self.at + lead;
        if self.tokens.get(end).is_some_and(|token| token.is_quoted) {
            self.at = end;
            return true;
        }
        while end < self.tokens.len() && !self.ends_text(end) {
            end += 1;
        }
        let words: Vec<&str> =
            self.tokens[self.at + lead..end].iter().map(|token| token.text.as_str()).collect();
        if words.is_empty() {
            return false;
        }
        let phrase = words.join(" ");
        self.condition(end - self.at, "phrase", Condition::Phrase(phrase))
    }

    fn ends_text(&self, at: usize) -> bool {
        const ENDS: [&str; 12] = [
            "in",
            "from",
            "on",
            "by",
            "per",
            "since",
            "between",
            "during",
            "yesterday",
            "today",
            "for",
            "grouped",
        ];
        let token = &self.tokens[at];
        token.is_quoted
            || ENDS.contains(&token.low.as_str())
            || self.clock.phrase(&self.tokens[at..]).is_some()
    }

    /// `p95 latency`, `average duration`, `error rate`.
    fn figure(&mut self) -> bool {
        let lows = self.lows();
        let (func, lead) = match lows.as_slice() {
            ["error" | "failure", "rate" | "rates" | "ratio" | "percentage", ..] => {
                self.parts.wanted = Wanted::ErrorRate;
                return self.take(2, "figure", "share of records of level error or fatal");
            }
            ["request" | "requests", "rate" | "per", ..] if lows[1] == "rate" || lows[2] == "second" => {
                let taken = if lows[1] == "rate" { 2 } else { 3 };
                self.parts.wanted = Wanted::Rate;
                return self.take(taken, "figure", "records a second");
            }
            ["median", ..] => ("median".to_owned(), 1),
            ["average" | "mean" | "avg", ..] => ("avg".to_owned(), 1),
            ["maximum" | "max" | "highest" | "peak" | "longest", ..] => ("max".to_owned(), 1),
            ["minimum" | "min" | "lowest" | "shortest", ..] => ("min".to_owned(), 1),
            ["total" | "sum", ..] => ("sum".to_owned(), 1 + usize::from(lows[1] == "of")),
            [word, ..] => match percentile(word) {
                Some(percent) => (format!("p{percent}"), 1 + usize::from(lows[1] == "percentile")),
                None => ("p95".to_owned(), 0),
            },
            [] => return false,
        };
        let skip = lead + usize::from(lead > 0 && matches!(lows.get(lead), Some(&("of" | "the"))));
        let Some((field, taken)) = measured(lows.get(skip..).unwrap_or_default()) else { return false };
        let after = self.low(skip + taken);
        let compares = matches!(
            after,
            "above"
                | "over"
                | "below"
                | "under"
                | "more"
                | "greater"
                | "less"
                | ">"
                | "<"
                | "exceeds"
                | "exceeding"
        );
        if lead == 0 && compares {
            return false;
        }
        let func = if lead == 0 && field != "duration_ms" { "avg".to_owned() } else { func };
        self.parts.wanted = Wanted::Figure(func.clone(), field);
        self.take(skip + taken, "figure", format!("{func}({field})"))
    }

    /// `how many`, `top 10`, `slowest`, `which users`, `latest 20`.
    fn asked_for(&mut self) -> bool {
        let lows: Vec<String> = self.lows().into_iter().map(str::to_owned).collect();
        let lows: Vec<&str> = lows.iter().map(String::as_str).collect();
        match lows.as_slice() {
            ["how", "many" | "often", what, ..] | ["number" | "count", "of", what, ..] => {
                let is_different = matches!(*what, "different" | "distinct" | "unique");
                let thing = if is_different { lows.get(3).copied().unwrap_or_default() } else { what };
                match field(thing) {
                    Some(field) => {
                        self.parts.wanted = Wanted::Distinct(field);
                        self.take(
                            3 + usize::from(is_different),
                            "count",
                            format!("different values of {field}"),
                        )
                    }
                    None => {
                        self.parts.wanted = Wanted::Count;
                        self.take(2, "count", "how many records")
                    }
                }
            }
            ["count", ..] => {
                self.parts.wanted = Wanted::Count;
                self.take(1, "count", "how many records")
            }
            ["different" | "distinct" | "unique", thing, ..] if field(thing).is_some() => {
                let field = field(thing).unwrap_or("service");
                self.group(field);
                self.take(2, "by", format!("each {field}"))
            }
            ["affected", thing, ..] if field(thing) == Some("user_id") => self.affected(2),
            [thing, "affected", ..] if field(thing) == Some("user_id") => self.affected(2),
            ["affected" | "impacted" | "hit", ..] if self.is_about_users() => self.affected(1),
            ["users" | "user", "were" | "was" | "are" | "is", "affected" | "hit" | "impacted", ..] => {
                self.affected(3)
            }
            ["kinds" | "types" | "kind" | "patterns" | "pattern", ..]
            | ["message" | "log" | "error", "patterns" | "kinds" | "types", ..] => {
                if lows[0] == "error" {
                    self.parts.conditions.push((false, Condition::LevelAtLeast(Level::Error)));
                }
                self.parts.wanted = Wanted::Patterns;
                let taken =
                    if lows[1] == "patterns" || lows[1] == "kinds" || lows[1] == "types" { 2 } else { 1 };
                self.take(taken, "patterns", "kinds of messages, by how often they come")
            }
            ["top", n, ..] if count(n).is_some() => self.top(count(n), 2),
            ["top" | "noisiest" | "busiest", ..] => self.top(None, 1),
            ["most", "common" | "frequent", thing, ..] => {
                if matches!(
                    *thing,
                    "errors" | "messages" | "warnings" | "exceptions" | "logs" | "error" | "message"
                ) {
                    self.parts.wanted = Wanted::Patterns;
                    return self.take(2, "patterns", "kinds of messages, by how often they come");
                }
                self.top(None, 2)
            }
            ["rarest" | "rare", ..] => {
                self.parts.is_rare = true;
                self.parts.wanted = Wanted::Patterns;
                self.take(1, "order", "fewest first")
            }
            ["most", ..] | ["the", "most", ..] => self.top(None, if lows[0] == "the" { 2 } else { 1 }),
            [n, "slowest", ..] if count(n).is_some() => self.slowest(count(n), 2),
            ["slowest", n, ..] if count(n).is_some() => self.slowest(count(n), 2),
            ["slowest" | "slow", ..] => self.slowest(None, 1),
            ["latest" | "newest" | "last" | "recent", n, ..] if count(n).is_some() => {
                self.number(count(n), 2, false)
            }
            ["oldest" | "earliest" | "first", n, ..] if count(n).is_some() => self.number(count(n), 2, true),
            ["oldest" | "earliest", ..] => self.number(None, 1, true),
            ["latest" | "newest" | "recent", ..] => self.number(None, 1, false),
            ["limit" | "only", n, ..] if count(n).is_some() => self.number(count(n), 2, false),
            ["rate", ..] => {
                self.parts.wanted = Wanted::Rate;
                self.take(1, "figure", "records a second")
            }
            _ => false,
        }
    }

    fn is_about_users(&self) -> bool {
        self.parts.wanted == Wanted::Distinct("user_id") || self.parts.by.contains(&"user_id")
    }

    fn affected(&mut self, taken: usize) -> bool {
        self.parts.by.retain(|field| *field != "user_id");
        let is_count = matches!(self.parts.wanted, Wanted::Distinct("user_id") | Wanted::Count);
        self.parts.wanted = if is_count { Wanted::Distinct("user_id") } else { Wanted::Affected };
        self.take(taken, "affected", "users of the records found")
    }

    fn top(&mut self, limit: Option<i64>, taken: usize) -> bool {
        self.parts.is_top = true;
        self.parts.limit = limit.and_then(|n| usize::try_from(n).ok()).or(self.parts.limit);
        self.take(taken, "order", "most first")
    }

    fn slowest(&mut self, limit: Option<i64>, taken: usize) -> bool {
        self.parts.limit = limit.and_then(|n| usize::try_from(n).ok()).or(self.parts.limit);
        self.parts.wanted = Wanted::Slowest;
        self.take(taken, "order", "longest duration_ms first")
    }

    fn number(&mut self, limit: Option<i64>, taken: usize, oldest: bool) -> bool {
        self.parts.limit = limit.and_then(|n| usize::try_from(n).ok()).or(self.parts.limit);
        self.parts.is_oldest = oldest;
        self.take(taken, "order", if oldest { "earliest first" } else { "latest first" })
    }

    /// `slower than 500 ms`, `cpu above 80 %`.
    fn compared(&mut self) -> bool {
        let lows = self.lows();
        let (field, lead) = match lows.as_slice() {
            ["slower" | "longer", "than", ..] => ("duration_ms", 0),
            ["took" | "taking" | "takes", ..] => ("duration_ms", 1),
            ["faster" | "quicker", "than", ..] => ("duration_ms", 0),
            words => match measured(words) {
                Some((field, taken)) => {
                    (field, taken + usize::from(matches!(lows.get(taken), Some(&("is" | "was" | "were")))))
                }
                None => return false,
            },
        };
        let mut at = lead;
        let is_below = match (self.low(at), self.low(at + 1)) {
            ("slower" | "longer" | "more" | "greater" | "higher", "than") => {
                at += 2;
                false
            }
            ("faster" | "quicker" | "less" | "lower" | "shorter", "than") => {
                at += 2;
                true
            }
            ("above" | "over" | ">" | "exceeding" | "exceeds", _) => {
                at += 1;
                false
            }
            ("below" | "under" | "<", _) => {
                at += 1;
                true
            }
            _ => return false,
        };
        let Some((value, taken)) = self.quantity(at, field) else { return false };
        let condition =
            if is_below { Condition::Below(field, value) } else { Condition::Above(field, value) };
        self.condition(at + taken, "compare", condition)
    }

    /// A number with its unit, in the unit of a field.
    fn quantity(&self, at: usize, field: &str) -> Option<(f64, usize)> {
        let word = self.low(at);
        let digits = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
        let number: f64 = word[..digits].parse().ok()?;
        let (unit, taken) = if digits < word.len() { (&word[digits..], 1) } else { (self.low(at + 1), 2) };
        if field != "duration_ms" {
            let is_percent = matches!(unit, "%" | "percent");
            return Some((number, if digits < word.len() || is_percent { taken } else { 1 }));
        }
        let ms = match unit {
            "ms" | "millisecond" | "milliseconds" | "msec" => Some(1.0),
            #[expect(clippy::cast_precision_loss, reason = "a unit of time")]
            unit => unit_ns(unit).map(|ns| ns as f64 / (NS_PER_SECOND as f64 / 1_000.0)),
        };
        match ms {
            Some(factor) => Some((number * factor, taken)),
            None if digits == word.len() => Some((number, 1)),
            None => None,
        }
    }

    /// `host web-1`, `user u82`, `trace 4bf9…`, `in prod`.
    fn named_value(&mut self) -> bool {
        let mut at = usize::from(matches!(self.low(0), "on" | "in" | "from" | "of" | "by" | "for" | "with"));
        if self.low(at) == "the" {
            at += 1;
        }
        let environment = match self.low(at) {
            "prod" | "production" => Some("prod"),
            "staging" => Some("staging"),
            "dev" | "development" => Some("dev"),
            _ => None,
        };
        if let Some(environment) = environment {
            let more = usize::from(matches!(self.low(at + 1), "environment" | "env"));
            return self.condition(
                at + 1 + more,
                "environment",
                Condition::Is("environment", environment.to_owned()),
            );
        }
        let field = match self.low(at) {
            "host" | "machine" | "server" | "node" => "host",
            "instance" | "pod" | "container" => "instance",
            "user" => "user_id",
            "customer" => "customer_id",
            "session" => "session_id",
            "request" => "request_id",
            "region" => "region",
            "environment" | "env" => "environment",
            "trace" => "trace_id",
            "span" => "span_id",
            "ip" | "address" => "source_ip",
            _ => return false,
        };
        let skip =
            usize::from(matches!(self.low(at + 1), "id" | "address" | "named" | "called" | "=" | "is"));
        let Some(token) = self.tokens.get(self.at + at + 1 + skip) else { return false };
        let says_itself = token.is_quoted
            || token.text.contains(|c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | '*' | '@'));
        let is_said = skip == 1 || field == "region" || field == "environment";
        let is_word = FILLERS.contains(&token.low.as_str()) || levels(&token.low).is_some();
        if !(says_itself || is_said && !is_word) {
            return false;
        }
        let value = token.text.clone();
        self.condition(at + 2 + skip, field, Condition::Is(field, value))
    }

    /// `status 503`, `5xx`, `HTTP 404`.
    fn status(&mut self) -> bool {
        let mut at = 0;
        let is_led = loop {
            match self.low(at) {
                "status" | "http" | "code" | "codes" => at += 1,
                "is" | "of" | "=" if at > 0 => at += 1,
                _ => break at > 0,
            }
        };
        let word = self.low(at).trim_end_matches('s').to_owned();
        let class = word.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok());
        if let Some(class) = class.filter(|class| (1..=5).contains(class)) {
            let more = usize::from(matches!(
                self.low(at + 1),
                "errors" | "error" | "responses" | "response" | "status" | "codes"
            ));
            return self.condition(at + 1 + more, "status", Condition::StatusClass(class));
        }
        let code = word.parse::<u16>().ok().filter(|code| (100..=599).contains(code));
        let is_plural = self.low(at).ends_with('s');
        let follows = matches!(self.low(at + 1), "errors" | "error" | "responses" | "response" | "status");
        let Some(code) = code.filter(|_| is_led || is_plural || follows) else { return false };
        self.condition(at + 1 + usize::from(follows), "status", Condition::Status(code))
    }

    /// `by service`, `per hour`, `for each host`, `which services`, `over time`, `hourly`.
    fn grouping(&mut self) -> bool {
        let lows: Vec<String> = self.lows().into_iter().map(str::to_owned).collect();
        let lows: Vec<&str> = lows.iter().map(String::as_str).collect();
        match lows.as_slice() {
            ["over", "time", ..] => {
                self.parts.over_time = true;
                return self.take(2, "by", "spans of time");
            }
            ["hourly", ..] => return self.bin(NS_PER_HOUR, 1),
            ["daily", ..] => return self.bin(24 * NS_PER_HOUR, 1),
            _ => {}
        }
        let lead = match lows.as_slice() {
            ["for" | "of" | "in", "each" | "every", ..]
            | ["grouped" | "split" | "broken", "by" | "down", ..] => 2,
            ["by" | "per" | "each" | "every", ..] => 1,
            ["which" | "what" | "top" | "noisiest" | "busiest" | "distinct", thing, ..]
                if field(thing).is_some() =>
            {
                1
            }
            [thing, ..] if field(thing).is_some() && self.wants_things() => 0,
            ["and", thing, ..] if field(thing).is_some() && !self.parts.by.is_empty() => 1,
            _ => return false,
        };
        let lead = lead + usize::from(lead > 0 && matches!(self.low(lead), "by" | "the"));
        let rest = self.tokens.get(self.at + lead..).unwrap_or_default();
        let is_span = matches!(lows[0], "by" | "per" | "each" | "every" | "for" | "in" | "grouped");
        if is_span && let Some((ns, taken)) = length(rest) {
            return self.bin(ns, lead + taken);
        }
        if self.low(lead) == "status" {
            let more = usize::from(matches!(self.low(lead + 1), "code" | "codes"));
            self.group("status");
            return self.take(lead + 1 + more, "by", "each status");
        }
        let thing = self.low(lead).to_owned();
        if matches!(thing.as_str(), "message" | "messages" | "pattern" | "patterns" | "kind")
            && lead > 0
            && lows[0] == "by"
        {
            self.parts.wanted = Wanted::Patterns;
            return self.take(lead + 1, "patterns", "kinds of messages, by how often they come");
        }
        let Some(field) = field(&thing) else { return false };
        self.group(field);
        self.take(lead + 1, "by", format!("each {field}"))
    }

    /// Whether a thing that is named is what is ordered or counted.
    fn wants_things(&self) -> bool {
        let is_plain = matches!(
            self.parts.wanted,
            Wanted::Slowest | Wanted::Figure(..) | Wanted::ErrorRate | Wanted::Rate
        );
        (self.parts.is_top || is_plain) && self.parts.by.is_empty()
    }

    fn group(&mut self, field: &'static str) {
        if !self.parts.by.contains(&field) {
            self.parts.by.push(field);
        }
    }

    fn bin(&mut self, ns: i64, taken: usize) -> bool {
        let span = format_duration(ns);
        self.parts.bin = Some(span.clone());
        self.take(taken, "by", format!("each {span}"))
    }

    fn service(&mut self) -> bool {
        let lead =
            usize::from(matches!(self.low(0), "from" | "in" | "of" | "on" | "by" | "for" | "to" | "at"));
        let the = usize::from(self.low(lead) == "the");
        let from = lead + the;
        let explicit = usize::from(self.low(from) == "service");
        for words in (1..=4).rev() {
            let at = from + explicit;
            let tokens: Vec<&Token> =
                self.tokens.iter().skip(self.at + at).take(words).filter(|token| !token.is_quoted).collect();
            if tokens.len() < words {
                continue;
            }
            let said = tokens.iter().map(|token| token.low.as_str()).collect::<Vec<_>>().join(" ");
            if let Some(service) = names::exact(&said, self.context.services) {
                let service = service.to_owned();
                let more = usize::from(self.low(at + words) == "service");
                return self.condition(at + words + more, "service", Condition::Service(service));
            }
            let is_followed = matches!(self.low(at + words), "service" | "services") && explicit == 0;
            let is_said = is_followed || explicit == 1;
            let is_bare_word = words == 1
                && said.len() >= 2
                && !FILLERS.contains(&said.as_str())
                && levels(&said).is_none()
                && field(&said).is_none();
            let may_be = is_said && !FILLERS.contains(&tokens[0].low.as_str())
                || is_bare_word
                || words > 1 && lead == 1;
            if !may_be || tokens.iter().any(|token| FILLERS.contains(&token.low.as_str())) {
                continue;
            }
            let taken = at + words + usize::from(is_followed);
            match names::having(&said, self.context.services) {
                Named::One(service) => {
                    let service = service.to_owned();
                    return self.condition(taken, "service", Condition::Service(service));
                }
                Named::Several(several) if is_said || is_bare_word => {
                    let several: Vec<String> = several.into_iter().map(str::to_owned).collect();
                    let first = &self.tokens[self.at + at];
                    let last = &self.tokens[self.at + at + words - 1];
                    for service in several.iter().take(SUGGESTIONS_MAX) {
                        let fixed = format!(
                            "{}{service}{}",
                            &self.question[..first.start],
                            &self.question[last.end..]
                        );
                        self.suggestions.push(fixed);
                    }
                    self.unclear.push(format!("{said} (may be {})", several.join(", ")));
                    self.at += taken;
                    return true;
                }
                _ if is_said && words == 1 => {
                    let token = self.tokens[self.at + at].clone();
                    if let Some(near) = names::near(&said, self.context.services) {
                        let fixed =
                            format!("{}{near}{}", &self.question[..token.start], &self.question[token.end..]);
                        self.suggestions.push(fixed);
                    }
                    self.unclear.push(format!("{} (no service of that name)", token.text));
                    self.at += taken;
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    fn level(&mut self) -> bool {
        let skip = usize::from(self.low(0) == "level");
        let Some((level, at_least)) = levels(self.low(skip)) else { return false };
        let mut taken = skip + 1;
        let worse = [["or", "worse"], ["or", "above"], ["or", "higher"], ["and", "above"], ["and", "worse"]];
        let is_worse = worse.iter().any(|[a, b]| self.low(taken) == *a && self.low(taken + 1) == *b);
        if is_worse {
            taken += 2;
        } else if matches!(self.low(taken), "level" | "logs" | "messages" | "records" | "lines") {
            taken += 1;
        }
        let condition =
            if at_least || is_worse { Condition::LevelAtLeast(level) } else { Condition::LevelIs(level) };
        self.condition(taken, "level", condition)
    }

    /// Addresses, ids and names that say themselves what they are.
    fn self_evident(&mut self) -> bool {
        let Some(token) = self.tokens.get(self.at).filter(|token| !token.is_quoted) else { return false };
        let text = token.text.clone();
        let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
        let field = match text.len() {
            32 if is_hex => "trace_id",
            16 if is_hex => "span_id",
            36 if heimdall_model::RecordId::parse(&text).is_some() => "id",
            _ if is_address(&text) => "source_ip",
            _ => return false,
        };
        self.condition(1, field, Condition::Is(field, text))
    }

    // ---- the end ------------------------------------------------------------------------------------------------

    fn finish(mut self) -> Result<Parts, NotUnderstood> {
        self.parts.range = self.said.range(&self.clock);
        if let Some(range) = self.parts.range
            && range.from >= range.to
            && self.refused.is_none()
        {
            self.refused =
                Some("the times that it names leave nothing: they end before they begin".to_owned());
        }
        if self.refused.is_none() && self.unclear.is_empty() && self.parts.because.is_empty() {
            self.refused = Some("nothing in it says what is wanted".to_owned());
        }
        let names_one = |condition: &(bool, Condition)| {
            matches!(
                condition.1,
                Condition::Is("trace_id" | "span_id" | "id" | "request_id" | "session_id", _)
            )
        };
        let has_range = self.context.has_range || self.parts.conditions.iter().any(names_one);
        if self.parts.range.is_none() && !has_range && self.refused.is_none() {
            let from = self.context.now.saturating_add_ns(-NS_PER_HOUR);
            self.parts.range = Some(TimeRange { from, to: self.context.now });
            let means = "no time is named: the last hour".to_owned();
            self.parts.because.push(Because { words: String::new(), kind: "time", means });
        }
        if self.refused.is_none() && self.unclear.is_empty() {
            return Ok(self.parts);
        }
        let reason = self.refused.clone().unwrap_or_else(|| {
            let word = |word: &String| match word.split_once(" (") {
                Some((word, note)) => format!("`{word}` ({note}"),
                None => format!("`{word}`"),
            };
            let words: Vec<String> = self.unclear.iter().map(word).collect();
            let hint = if words.iter().all(|word| word.ends_with(')')) {
                ""
            } else {
                "; text to look for goes in quotes"
            };
            format!("not understood: {}{hint}", words.join(", "))
        });
        let suggestions = self.suggest();
        let unclear = if self.refused.is_some() { Vec::new() } else { self.unclear };
        Err(NotUnderstood { reason, understood: self.parts.because, unclear, suggestions })
    }

    /// Questions near this one that are understood.
    fn suggest(&self) -> Vec<String> {
        let mut found = self.suggestions.clone();
        let when = match self.time_words.as_slice() {
            [] => "in the last hour".to_owned(),
            words => words.join(" "),
        };
        let service = self.parts.conditions.iter().find_map(|(_, condition)| match condition {
            Condition::Service(service) => Some(format!(" of {service}")),
            _ => None,
        });
        let of = service.unwrap_or_default();
        let asks = |word: &str| self.tokens.iter().any(|token| token.low.starts_with(word));
        if let Some(refused) = &self.refused {
            if refused.contains("to come") {
                found.push(format!("average cpu usage{of} by host per hour in the last 7 days"));
                found.push(format!("average memory usage{of} by host per hour in the last 7 days"));
                found.push(format!("errors{of} per hour in the last 7 days"));
            } else if refused.contains("a cause") {
                if asks("laten") || asks("slow") || asks("spike") {
                    found.push(format!("p95 latency{of} by service per 5 minutes {when}"));
                }
                found.push(format!("errors{of} by service per 5 minutes {when}"));
                found.push(format!("most common errors{of} {when}"));
            }
        } else if !self.unclear.is_empty() && self.suggestions.is_empty() {
            let words: Vec<&str> =
                self.unclear.iter().filter(|word| !word.contains(" (")).map(String::as_str).collect();
            if !words.is_empty() {
                found.push(format!("records containing \"{}\"{of} {when}", words.join(" ").replace('"', "")));
            }
        }
        if found.is_empty() {
            found.push(format!("errors{of} {when}"));
            found.push(format!("top 10 services by errors {when}"));
        }
        found.retain(|suggestion| suggestion != self.question);
        found.dedup();
        found.truncate(SUGGESTIONS_MAX);
        found
    }
}

/// `p95`, `95th`, `p99.9`.
fn percentile(word: &str) -> Option<f64> {
    let digits = word.strip_prefix('p').or_else(|| word.strip_suffix("th"))?;
    digits.parse().ok().filter(|percent| *percent > 0.0 && *percent < 100.0)
}

fn is_address(text: &str) -> bool {
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, mask.parse::<u8>().is_ok()),
        None => (text, true),
    };
    mask && address.parse::<std::net::IpAddr>().is_ok()
}
