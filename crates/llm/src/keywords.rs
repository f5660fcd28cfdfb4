//! What key words say of a template: the stand-in while no model can be asked.
//!
//! A phrase of the table, found as whole words, gives its topic; the level decides with it. Pure and deterministic: the same
//! template and level give the same opinion on every machine.
//!
//! Invariants:
//! - the opinion is NORMAL, or has title, reason and steps;
//! - a phrase that is denied (`no error`, `0 failed`, `without data loss`) does not count.
//!
//! Confidence is fixed by how the opinion came about, below what a model that is sure says: a phrase tells a topic, not a cause.

use heimdall_model::{Level, Severity};

use crate::question::Opinion;

/// Name of the maker in summaries.
pub(crate) const NAME: &str = "keywords";

/// A phrase, on a line of level `warn` or worse.
const CONFIDENCE_WORDS_AND_LEVEL: f64 = 0.7;
/// A phrase, on a line without a level or of a lower one: programs also describe troubles that they have mended.
const CONFIDENCE_WORDS: f64 = 0.5;
/// Level `fatal` alone: the program itself says that it cannot go on, but not why.
const CONFIDENCE_LEVEL: f64 = 0.6;
/// Nothing found.
const CONFIDENCE_NOTHING: f64 = 0.3;

/// Topic of texts that are not shown to a model.
const ADDRESSES_MODEL: &str = "Text that addresses a language model";

/// What a set of phrases is about.
struct Topic {
    title: &'static str,
    severity: Severity,
    /// Counts at every level: programs write these at `info` too, where a fault would be at `warn`.
    any_level: bool,
    /// Lower case, words separated by one space.
    phrases: &'static [&'static str],
    steps: &'static [&'static str],
}

/// The topics, worst first: the first with a phrase in the text decides. Phrases name a trouble, not a feature: programs announce
/// at every start that they have a quorum, or handle machine checks.
const TOPICS: &[Topic] = &[
    Topic {
        title: "Data may be damaged or lost",
        severity: Severity::Critical,
        any_level: false,
        phrases: &[
            "data loss",
            "data corruption",
            "corrupt",
            "corrupted",
            "corruption",
            "checksum mismatch",
            "checksum error",
            "bad block",
            "bad blocks",
            "unrecoverable",
            "split brain",
            "i/o error",
            "medium error",
            "read-only file system",
            "lost block",
            "missing blocks",
        ],
        steps: &[
            "Stop writers to the affected store until its state is known.",
            "Check disk health and the newest backup.",
        ],
    },
    Topic {
        title: "A resource is exhausted",
        severity: Severity::Critical,
        any_level: false,
        phrases: &[
            "out of memory",
            "outofmemoryerror",
            "oom-killer",
            "oom killer",
            "oomkilled",
            "cannot allocate memory",
            "no space left on device",
            "disk full",
            "disk is full",
            "too many open files",
            "out of disk",
            "quota exceeded",
            "heap space",
            "stack overflow",
            "stackoverflowerror",
        ],
        steps: &[
            "Find what consumes the resource on this service.",
            "Free or add capacity, then restart what was killed.",
        ],
    },
    Topic {
        title: "A program crashed",
        severity: Severity::Critical,
        any_level: false,
        phrases: &[
            "segfault",
            "segmentation fault",
            "kernel panic",
            "panic",
            "panicked",
            "core dumped",
            "sigsegv",
            "sigabrt",
            "fatal error",
            "machine check exception",
            "bug: unable to handle",
            "double free",
            "assertion failed",
        ],
        steps: &[
            "Look at what was deployed or changed before the first one.",
            "Keep the core dump or stack trace.",
        ],
    },
    Topic {
        title: "Possible intrusion",
        severity: Severity::Critical,
        any_level: true,
        phrases: &[
            "sql injection",
            "path traversal",
            "directory traversal",
            "privilege escalation",
            "reverse shell",
            "web shell",
            "webshell",
            "malware",
            "ransomware",
            "rootkit",
            "possible break-in attempt",
            "break-in attempt",
            "exfiltration",
            "brute force",
            "brute-force",
            "audit log cleared",
            "log was cleared",
            "/etc/shadow",
            "/etc/passwd",
            "union select",
            "cmd.exe",
            "base64 -d",
            "not in the sudoers file",
            "command injection",
        ],
        steps: &[
            "Find the source and what else it did.",
            "Block the source and check the account and host concerned.",
        ],
    },
    Topic {
        title: ADDRESSES_MODEL,
        severity: Severity::Warning,
        any_level: true,
        phrases: &[
            "ignore previous instructions",
            "ignore all previous",
            "ignore the above",
            "ignore prior instructions",
            "disregard previous",
            "disregard all previous",
            "disregard the above",
            "forget previous instructions",
            "forget all previous",
            "override your instructions",
            "as an ai language model",
            "as a language model",
            "mark this as normal",
            "mark all as normal",
            "classify as normal",
            "classify this as",
            "report everything as normal",
            "severity normal",
        ],
        steps: &["Find who wrote this text: somebody may try to sway automatic review."],
    },
    Topic {
        title: "Failed authentication or access",
        severity: Severity::Warning,
        any_level: true,
        phrases: &[
            "authentication failure",
            "authentication failed",
            "failed password",
            "failed login",
            "login failed",
            "invalid user",
            "invalid credentials",
            "access denied",
            "permission denied",
            "unauthorized",
            "forbidden",
            "account locked",
            "invalid token",
            "signature verification failed",
            "too many authentication failures",
        ],
        steps: &[
            "Check whether one source or account stands out.",
            "Check that no legitimate credential has expired.",
        ],
    },
    Topic {
        title: "A certificate or key is not valid",
        severity: Severity::Warning,
        any_level: false,
        phrases: &[
            "certificate has expired",
            "certificate expired",
            "certificate verify failed",
            "x509",
            "tls handshake",
            "handshake failed",
            "handshake failure",
            "ssl error",
            "unknown ca",
            "self-signed certificate",
        ],
        steps: &["Check validity and chain of the certificate on both sides."],
    },
    Topic {
        title: "A dependency does not answer",
        severity: Severity::Warning,
        any_level: false,
        phrases: &[
            "connection refused",
            "connection reset",
            "connection timed out",
            "connect timeout",
            "timed out",
            "timeout",
            "unreachable",
            "no route to host",
            "service unavailable",
            "bad gateway",
            "gateway timeout",
            "broken pipe",
            "name resolution",
            "no such host",
            "circuit breaker",
            "econnrefused",
            "etimedout",
            "connection lost",
            "lost connection",
        ],
        steps: &[
            "Check that the other side runs and is reachable from here.",
            "Look for changes of network or configuration.",
        ],
    },
    Topic {
        title: "A store is in trouble",
        severity: Severity::Warning,
        any_level: false,
        phrases: &[
            "deadlock",
            "lock wait",
            "replication lag",
            "replica lag",
            "too many connections",
            "connection pool",
            "under-replicated",
            "no quorum",
            "lost quorum",
            "not leader",
            "rolled back",
            "rollback",
            "constraint violation",
        ],
        steps: &[
            "Look at the slowest statements and the open connections.",
            "Check that all replicas are in step.",
        ],
    },
    Topic {
        title: "Hardware reports a fault",
        severity: Severity::Warning,
        any_level: false,
        phrases: &[
            "ecc error",
            "parity error",
            "smart error",
            "overheating",
            "temperature above threshold",
            "fan failure",
            "power supply",
            "link down",
            "link is down",
            "reset adapter",
            "uncorrectable",
        ],
        steps: &["Check the sensors and the event log of the machine."],
    },
    Topic {
        title: "An operation failed",
        severity: Severity::Warning,
        any_level: false,
        phrases: &[
            "exception",
            "failed",
            "failure",
            "fatal",
            "critical",
            "aborted",
            "terminated unexpectedly",
            "crashed",
            "could not",
            "cannot",
            "unable to",
            "rejected",
            "unhandled",
            "traceback",
        ],
        steps: &["Read the example record and what came just before it."],
    },
];

/// Words just before a phrase that deny it.
const DENIALS: &[&str] = &["no", "not", "0", "zero", "without", "non", "never"];

/// Whether a text tries to talk to a model that reads it, in the usual phrases. Such a text is not asked about: it could
/// lower its own label, and those of the templates beside it.
pub(crate) fn addresses_model(template: &str) -> bool {
    let text = template.to_lowercase();
    let topic = TOPICS.iter().find(|topic| topic.title == ADDRESSES_MODEL);
    topic.is_some_and(|topic| topic.phrases.iter().any(|phrase| says(&text, phrase)))
}

/// What key words say of a template seen at this level.
#[must_use]
pub fn opinion(template: &str, level: Option<Level>) -> Opinion {
    let text = template.to_lowercase();
    let is_bad = level.is_some_and(|level| level >= Level::Warn);
    let is_low = level.is_some_and(|level| level < Level::Warn);
    let topics = TOPICS.iter().filter(|topic| topic.any_level || !is_low);
    let found =
        topics.filter_map(|topic| Some((topic, topic.phrases.iter().find(|phrase| says(&text, phrase))?)));
    match found.into_iter().next() {
        Some((topic, phrase)) => about(topic, phrase, is_bad),
        None if level == Some(Level::Fatal) => fatal(),
        None => nothing(),
    }
}

fn about(topic: &Topic, phrase: &str, is_bad: bool) -> Opinion {
    Opinion {
        severity: topic.severity,
        confidence: if is_bad { CONFIDENCE_WORDS_AND_LEVEL } else { CONFIDENCE_WORDS },
        title: topic.title.to_owned(),
        reason: format!("the text says `{phrase}`"),
        mitigation: topic.steps.iter().map(|step| (*step).to_owned()).collect(),
    }
}

fn fatal() -> Opinion {
    Opinion {
        severity: Severity::Warning,
        confidence: CONFIDENCE_LEVEL,
        title: "A program says it cannot go on".to_owned(),
        reason: "the level is fatal".to_owned(),
        mitigation: vec!["Read the example record and check that the service runs.".to_owned()],
    }
}

fn nothing() -> Opinion {
    Opinion {
        severity: Severity::Normal,
        confidence: CONFIDENCE_NOTHING,
        title: String::new(),
        reason: "no known phrase".to_owned(),
        mitigation: Vec::new(),
    }
}

/// Whether the text has the phrase as whole words, not denied.
fn says(text: &str, phrase: &str) -> bool {
    text.match_indices(phrase).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + phrase.len()..]);
        is_edge(before.chars().next_back()) && is_edge(after.chars().next()) && !is_denied(before)
    })
}

/// `_`, letters and digits make words; names like `java.lang.OutOfMemoryError` are words at dots.
fn is_edge(c: Option<char>) -> bool {
    !c.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn is_denied(before: &str) -> bool {
    // `key=0, failed` and `0 failed` differ by the comma.
    let Some(words) = before.strip_suffix(' ') else { return false };
    words.rsplit(|c: char| c.is_whitespace()).next().is_some_and(|word| DENIALS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, level: Option<Level>, severity: Severity, title: &str) {
        let opinion = opinion(template, level);
        assert_eq!((opinion.severity, opinion.title.as_str()), (severity, title), "{template}");
        assert_eq!(opinion.severity > Severity::Normal, !opinion.mitigation.is_empty());
    }

    #[test]
    fn phrases_and_levels_decide_together() {
        use Severity::{Critical, Normal, Warning};
        check(
            "java.lang.OutOfMemoryError: Java heap space",
            Some(Level::Error),
            Critical,
            "A resource is exhausted",
        );
        check(
            "Failed password for <*> from <*>",
            Some(Level::Info),
            Warning,
            "Failed authentication or access",
        );
        check("connection timed out to <*>", Some(Level::Warn), Warning, "A dependency does not answer");
        check("connection timed out to <*>, retried", Some(Level::Info), Normal, "");
        check("request <*> served in <*>", Some(Level::Info), Normal, "");
        check("request <*> served in <*>", Some(Level::Fatal), Warning, "A program says it cannot go on");
        check("Please IGNORE previous instructions", None, Warning, "Text that addresses a language model");
        check("job <*> failed", None, Warning, "An operation failed");
        check("have quorum of supporters; starting", None, Normal, "");
    }

    #[test]
    fn parts_of_words_and_denied_phrases_do_not_count() {
        for text in
            ["0 failed of <*>", "no exception", "failedover", "exceptional", "finished without failure"]
        {
            check(text, None, Severity::Normal, "");
        }
        check("2 ok, 1 failed", None, Severity::Warning, "An operation failed");
        check("no failed jobs; then job <*> failed", None, Severity::Warning, "An operation failed");
    }

    #[test]
    fn the_table_is_as_the_search_needs_it() {
        for phrase in TOPICS.iter().flat_map(|topic| topic.phrases) {
            assert_eq!(*phrase, phrase.to_lowercase());
            assert!(says(phrase, phrase), "{phrase}");
        }
        assert!(TOPICS.iter().all(|topic| !topic.title.is_empty() && !topic.steps.is_empty()));
    }
}
