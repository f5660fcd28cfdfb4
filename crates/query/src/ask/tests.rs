//! What questions compile to: `golden.txt` beside this file, rewritten by `UPDATE_GOLDEN=1`.

use std::fmt::Write;

use heimdall_model::{Dataset, Tenant, Timestamp};

use super::*;
use crate::search::{self, ParseContext};

/// Friday, 2026-11-27T15:30:00Z.
const NOW: Timestamp = Timestamp(1_795_793_400_000_000_000);

fn services() -> Vec<String> {
    let names = [
        "AUTH-API",
        "BATCH-SCHEDULER",
        "CART-API",
        "CATALOG-API",
        "CORE-DB",
        "EDGE-LOAD-BALANCER",
        "FRAUD-SCREEN",
        "MESSAGE-QUEUE",
        "NOTIFICATION-HUB",
        "ORDER-API",
        "PAYMENT-GATEWAY",
        "SEARCH-API",
        "SESSION-CACHE",
        "WEB-FRONTEND",
    ];
    names.map(str::to_owned).to_vec()
}

fn asked(question: &str, zone_name: &str) -> Result<Asked, NotUnderstood> {
    let services = services();
    let attributes = ["status".to_owned()];
    let like = |text: &str| if text.contains("Connection refused") { vec![7, 9] } else { Vec::new() };
    let context = AskContext {
        zone: zone(zone_name).expect("a zone"),
        services: &services,
        attributes: &attributes,
        like: &like,
        ..AskContext::new(NOW)
    };
    read(question, &context)
}

fn shown(question: &str, zone: &str) -> String {
    let mut out = String::new();
    match asked(question, zone) {
        Ok(Asked { line, range, .. }) => {
            let _ = writeln!(out, "= {line}");
            if let Some(range) = range {
                let _ = writeln!(out, "@ {} .. {}", range.from, range.to);
            }
        }
        Err(problem) => {
            let _ = writeln!(out, "! {}", problem.reason);
            for suggestion in problem.suggestions {
                let _ = writeln!(out, "~ {suggestion}");
            }
        }
    }
    out
}

/// Questions of the golden file, each with its zone.
fn questions(golden: &str) -> Vec<(String, String)> {
    let mut zone = "UTC".to_owned();
    let mut found = Vec::new();
    for line in golden.lines() {
        if let Some(name) = line.strip_prefix("zone ") {
            zone = name.to_owned();
        } else if let Some(question) = line.strip_prefix("? ") {
            found.push((question.replace("\\n", "\n"), zone.clone()));
        }
    }
    found
}

#[test]
fn questions_compile_to_what_the_golden_file_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ask/golden.txt");
    let golden = std::fs::read_to_string(path).expect("the golden file");
    let mut found = String::new();
    let mut zone = "UTC".to_owned();
    for line in golden.lines() {
        if let Some(name) = line.strip_prefix("zone ") {
            zone = name.to_owned();
        }
        let is_result = line.starts_with(['=', '@', '!', '~']);
        if !is_result {
            found.push_str(line);
            found.push('\n');
        }
        if let Some(question) = line.strip_prefix("? ") {
            found.push_str(&shown(&question.replace("\\n", "\n"), &zone));
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &found).expect("it is written");
        return;
    }
    assert!(questions(&golden).len() >= 60, "the golden file has become short");
    for (line, (golden, found)) in golden.lines().zip(found.lines()).enumerate() {
        assert_eq!(found, golden, "line {} of golden.txt", line + 1);
    }
    assert_eq!(found.lines().count(), golden.lines().count());
}

#[test]
fn every_line_is_read_by_the_parser_and_every_suggestion_is_understood() {
    let golden = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ask/golden.txt"));
    for (question, zone) in questions(&golden.expect("the golden file")) {
        match asked(&question, &zone) {
            Ok(Asked { line, .. }) => {
                let context = ParseContext::new(Tenant::default(), Dataset::Logs, NOW);
                let query = search::parse(&line, &context)
                    .unwrap_or_else(|error| panic!("{question}: {line}: {error}"));
                assert!(query.warnings.is_empty(), "{question}: {line}: {:?}", query.warnings);
            }
            Err(problem) => {
                assert!(!problem.suggestions.is_empty(), "{question}");
                for suggestion in problem.suggestions {
                    assert!(
                        asked(&suggestion, &zone).is_ok(),
                        "{question}: {suggestion}: {}",
                        shown(&suggestion, &zone)
                    );
                }
            }
        }
    }
}

#[test]
fn every_word_is_accounted_for() {
    let asked =
        asked("Show me all errors from the payment service in the last hour", "UTC").expect("understood");
    let because: Vec<(&str, &str)> =
        asked.because.iter().map(|part| (part.words.as_str(), part.means.as_str())).collect();
    assert_eq!(
        because,
        [
            ("errors", "level>=error"),
            ("from the payment service", "service:PAYMENT-GATEWAY"),
            ("in the last hour", "2026-11-27T14:30:00.000000000Z to 2026-11-27T15:30:00.000000000Z"),
        ]
    );
    let problem = super::tests::asked("errors frobnicated by the wumpus", "UTC").expect_err("it is not");
    assert_eq!(problem.unclear, ["frobnicated", "wumpus"]);
    assert_eq!(problem.understood.len(), 2, "errors, and the hour that is taken for granted");
}

proptest::proptest! {
    /// Whatever is asked, there is a line that parses or a reason why not.
    #[test]
    fn no_question_is_too_strange(question in "\\PC{0,60}") {
        if let Ok(asked) = asked(&question, "UTC") {
            let context = ParseContext::new(Tenant::default(), Dataset::Logs, NOW);
            proptest::prop_assert!(search::parse(&asked.line, &context).is_ok(), "{}", asked.line);
        }
    }

    /// The same of questions made of words that mean something.
    #[test]
    fn no_order_of_words_is_too_strange(words in proptest::collection::vec(proptest::sample::select(vec![
        "errors", "top", "10", "by", "service", "per", "hour", "last", "5", "minutes", "since", "9:00", "between", "and", "not",
        "\"a b\"", "status", "503", "5xx", "p95", "latency", "slowest", "users", "affected", "how", "many", "payment", "auth",
        "service", "host", "web-1", "10.0.0.1", "yesterday", "afternoon", "error", "rate", "over", "time", "containing", "x*(y",
        "above", "80%", "cpu", "without", "similar", "to", "the", "of", "from", "user", "u1", "most", "common", "|", "timestamp:",
    ]), 0..12)) {
        let question = words.join(" ");
        if let Ok(asked) = asked(&question, "Europe/Berlin") {
            let context = ParseContext::new(Tenant::default(), Dataset::Logs, NOW);
            proptest::prop_assert!(search::parse(&asked.line, &context).is_ok(), "{question}: {}", asked.line);
        }
    }
}
