use super::*;
use crate::testing::{Line, feed, logs};

fn detector() -> Scan {
    Scan::new(&DetectConfig::default())
}

fn access(second: i64, source: &str, path: &str, status: u16) -> Line {
    let json = serde_json::json!({"method": "GET", "path": path, "status": status});
    Line::new(second, "-").source_ip(source).attributes(&json.to_string())
}

fn blocked(second: i64, source: &str, destination: &str, port: u16) -> Line {
    Line::new(second, &format!("[UFW BLOCK] IN=eth0 SRC={source} DST={destination} SPT=40000 DPT={port} SYN"))
}

#[track_caller]
fn check(lines: &[Line], expected: &[&str]) {
    let out = feed(&mut detector(), &logs(lines));
    let found: Vec<String> =
        out.verdicts.iter().map(|v| format!("{} {}: {}", v.severity, v.rule, v.summary)).collect();
    assert_eq!(found, expected);
}

#[test]
fn many_refused_paths_are_a_scan_in_any_order_and_told_once_a_minute() {
    let mut lines: Vec<Line> =
        (0..14).map(|n| access(n, "203.0.113.5", &format!("/old{n}.php"), 404)).collect();
    lines.swap(2, 11);
    check(
        &lines,
        &["WARNING scan.paths: 12 distinct paths refused to 203.0.113.5 within 11 s (limit 12 in 5m)"],
    );
}

#[test]
fn one_dead_link_and_what_browsers_ask_for_are_none() {
    let mut lines: Vec<Line> = (0..60).map(|n| access(n, "203.0.113.5", "/gone", 404)).collect();
    lines.extend((0..40).map(|n| access(100 + n, "203.0.113.6", &format!("/apple-touch-icon-{n}.png"), 404)));
    check(&lines, &[]);
}

#[test]
fn a_reader_who_gets_most_pages_is_none() {
    let lines: Vec<Line> = (0..60)
        .map(|n| access(n, "203.0.113.5", &format!("/page{n}"), if n % 4 == 0 { 404 } else { 200 }))
        .collect();
    check(&lines, &[]);
}

#[test]
fn slow_requests_are_none() {
    let lines: Vec<Line> = (0..30).map(|n| access(n * 60, "203.0.113.5", &format!("/p{n}"), 404)).collect();
    check(&lines, &[]);
}

#[test]
fn ports_of_a_host_and_hosts_on_a_port() {
    let ports: Vec<Line> =
        (0..10).map(|n| blocked(n, "203.0.113.5", "192.0.2.1", 20 + u16::try_from(n).unwrap())).collect();
    check(
        &ports,
        &["WARNING scan.ports: 203.0.113.5 tried 10 ports of 192.0.2.1 within 9 s (limit 10 in 5m)"],
    );
    let hosts: Vec<Line> = (0..20).map(|n| blocked(n, "203.0.113.5", &format!("192.0.2.{n}"), 445)).collect();
    check(
        &hosts,
        &["WARNING scan.hosts: 203.0.113.5 tried port 445 of 20 hosts within 19 s (limit 20 in 5m)"],
    );
}

#[test]
fn a_restored_detector_goes_on_as_the_first_would() {
    let lines: Vec<Line> = (0..40)
        .map(|n| {
            if n % 2 == 0 {
                access(n, "192.0.2.9", &format!("/{n}"), 404)
            } else {
                blocked(n, "203.0.113.5", "192.0.2.1", u16::try_from(n).unwrap())
            }
        })
        .collect();
    for cut in [0, 1, 19, 40] {
        let mut first = detector();
        feed(&mut first, &logs(&lines[..cut]));
        let snapshot = first.snapshot();
        let mut second = detector();
        second.restore(&snapshot).unwrap();
        assert_eq!(
            feed(&mut second, &logs(&lines[cut..])),
            feed(&mut first, &logs(&lines[cut..])),
            "cut {cut}"
        );
        assert_eq!(second.snapshot(), first.snapshot(), "cut {cut}");
    }
    assert!(detector().restore(b"{}").is_err());
}
