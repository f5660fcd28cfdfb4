//! Measures the request scorer on labelled data read from standard input.
//!
//! - `web requests < crs_requests.jsonl`: recall of visible attacks by family, share flagged of `not_this_attack`; then
//!   the same for requests whose payload a log shows only with headers and body, as a check on unseen material.
//!   `missed`, `flagged` (`not_this_attack` that is), `unseen` and `unseen-flagged` behind it list such requests.
//! - `web messages < any.log`: lines of other logs that are flagged.
//! - `web verdicts < access.log`: what the detectors `web` and `scan` say of the log, and how fast.
//! - `web access labels.json < access.log`: flags per 1,000 lines outside the labelled ones, and time per request.
#![expect(clippy::print_stdout, reason = "a measuring program reports on standard output")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};
use std::time::Instant;

use heimdall_detect::scan::Scan;
use heimdall_detect::web::Web;
use heimdall_detect::web::request::Request;
use heimdall_detect::web::score::{Finding, Scorer};
use heimdall_detect::{DetectConfig, Detector, Findings, Observed};
use heimdall_model::schema::logs;
use heimdall_model::{BatchBuilder, Dataset, Position, Tenant, Timestamp};
use serde_json::Value;

/// Rounds over the log when time is measured.
const ROUNDS: usize = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["requests"] => requests(""),
        ["requests", list] => requests(list),
        ["access", labels] => access(labels),
        ["messages"] => messages(),
        ["verdicts"] => verdicts(),
        _ => Err(
            "usage: web requests [missed|flagged|unseen|unseen-flagged] | web access LABELS | web messages | web verdicts"
                .into(),
        ),
    }
}

#[derive(Default)]
struct Count {
    found: u32,
    same_family: u32,
    all: u32,
}

fn requests(list: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut scorer = Scorer::default();
    let mut counts: BTreeMap<(bool, String, String), Count> = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let text = |key: &str| case[key].as_str().unwrap_or_default();
        let visible = case["visible_in_access_log"].as_bool().unwrap_or_default();
        let request = if visible { Request::from_text(text("access_log_line")) } else { Some(whole(&case)) };
        let Some(request) = request else { continue };
        let findings = scorer.score(&request);
        let count = counts.entry((visible, text("label").to_owned(), text("family").to_owned())).or_default();
        count.all += 1;
        count.found += u32::from(!findings.is_empty());
        count.same_family += u32::from(findings.iter().any(|finding| fits(finding, text("family"))));
        let attack = text("label") == "attack";
        let wanted = match list {
            "missed" => visible && attack && findings.is_empty(),
            "unseen" => !visible && attack && findings.is_empty(),
            "flagged" => visible && !attack && !findings.is_empty(),
            "unseen-flagged" => !visible && !attack && !findings.is_empty(),
            _ => false,
        };
        if wanted {
            println!("{} {} {} {}", text("id"), text("family"), show(&request), clues(&findings));
        }
    }
    for visible in [true, false] {
        for label in ["attack", "not_this_attack"] {
            report(visible, label, &counts);
        }
    }
    Ok(())
}

fn report(visible: bool, label: &str, counts: &BTreeMap<(bool, String, String), Count>) {
    println!("{} {label}", if visible { "visible" } else { "in headers or bodies" });
    let mut total = Count::default();
    for ((_, _, family), count) in counts.iter().filter(|((v, l, _), _)| *v == visible && l == label) {
        println!("  {family:8} {}", share(count));
        total.found += count.found;
        total.same_family += count.same_family;
        total.all += count.all;
    }
    println!("  all      {}", share(&total));
}

fn share(count: &Count) -> String {
    let of = |n: u32| f64::from(n) / f64::from(count.all.max(1));
    format!(
        "{:4} of {:4} flagged = {:.3}; as its own family {:.3}",
        count.found,
        count.all,
        of(count.found),
        of(count.same_family)
    )
}

fn fits(finding: &Finding, family: &str) -> bool {
    let rules: &[&str] = match family {
        "SQLI" => &["web.sqli", "web.nosql"],
        "XSS" => &["web.xss"],
        "LFI" => &["web.traversal"],
        "RFI" => &["web.rfi", "web.ssrf"],
        "RCE" => &["web.rce", "web.log4shell"],
        "PHP" => &["web.php"],
        "JAVA" => &["web.java", "web.log4shell"],
        _ => &["web.code", "web.ssrf", "web.template", "web.nosql", "web.php"],
    };
    rules.contains(&finding.family.rule())
}

/// A case as a log with headers and bodies would show it.
fn whole(case: &Value) -> Request<'_> {
    let uri = case["uri"].as_str().unwrap_or("/");
    let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
    let header = |name: &str| case["headers"][name].as_str();
    let others = case["headers"].as_object().into_iter().flatten().filter(|(name, _)| {
        !["User-Agent", "Referer", "Cookie", "Accept", "Accept-Encoding", "Accept-Language", "Content-Type"]
            .contains(&name.as_str())
    });
    let others: Vec<String> =
        others.filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?))).collect();
    let cookie = header("Cookie").map(str::to_owned).into_iter().chain(others).collect::<Vec<_>>().join("; ");
    Request {
        method: case["method"].as_str().map(Cow::Borrowed),
        path: Cow::Borrowed(path),
        query: query.map(Cow::Borrowed),
        user_agent: header("User-Agent").map(Cow::Borrowed),
        referer: header("Referer").map(Cow::Borrowed),
        cookie: (!cookie.is_empty()).then_some(Cow::Owned(cookie)),
        body: case["data"].as_str().map(Cow::Borrowed),
        ..Request::default()
    }
}

fn show(request: &Request<'_>) -> String {
    let part = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or("-").to_owned();
    format!(
        "{}?{} ua={} ref={} body={}",
        request.path,
        part(&request.query),
        part(&request.user_agent),
        part(&request.referer),
        part(&request.body)
    )
}

fn clues(findings: &[Finding]) -> String {
    let hits = findings.iter().flat_map(|finding| &finding.hits);
    hits.map(|hit| format!("[{} {} {} {:?}]", hit.family.rule(), hit.name, hit.weight, hit.fragment))
        .collect()
}

fn access(labels: &str) -> Result<(), Box<dyn std::error::Error>> {
    let labels: Value = serde_json::from_str(&std::fs::read_to_string(labels)?)?;
    let probes: BTreeSet<u64> = labels["probe_lines"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|probe| probe["line"].as_u64())
        .collect();
    let mut log = String::new();
    std::io::stdin().lock().read_to_string(&mut log)?;
    let mut scorer = Scorer::default();
    let (mut other, mut flagged, mut probes_flagged) = (0_u32, 0_u32, 0_u32);
    for (number, line) in (1_u64..).zip(log.lines()) {
        let findings = Request::from_text(line).map(|request| scorer.score(&request)).unwrap_or_default();
        if probes.contains(&number) {
            probes_flagged += u32::from(!findings.is_empty());
            continue;
        }
        other += 1;
        if !findings.is_empty() {
            flagged += 1;
            println!("{number} {line}\n    {}", clues(&findings));
        }
    }
    println!("probes flagged: {probes_flagged} of {}", probes.len());
    println!(
        "other lines flagged: {flagged} of {other} = {:.2} per 1,000",
        1_000.0 * f64::from(flagged) / f64::from(other)
    );
    let requests: Vec<Request<'_>> = log.lines().filter_map(Request::from_text).collect();
    time("scoring", &requests, |request| {
        scorer.score(request);
    });
    time("finding the request in its line", &log.lines().collect::<Vec<_>>(), |line| {
        std::hint::black_box(Request::from_text(line));
    });
    Ok(())
}

fn messages() -> Result<(), Box<dyn std::error::Error>> {
    let mut scorer = Scorer::default();
    let (mut lines, mut flagged) = (0_u32, 0_u32);
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    for line in String::from_utf8_lossy(&bytes).lines() {
        let findings = scorer.score_line(line);
        lines += 1;
        if !findings.is_empty() {
            flagged += 1;
            println!("{line}\n    {}", clues(&findings));
        }
    }
    println!("lines flagged: {flagged} of {lines}");
    Ok(())
}

/// Prints how long one takes: the quickest of some rounds each, so that other work of the machine does not count.
fn time<T>(what: &str, all: &[T], mut work: impl FnMut(&T)) {
    let mut each: Vec<u128> = Vec::with_capacity(all.len());
    for one in all {
        let round = |()| {
            let started = Instant::now();
            work(one);
            started.elapsed().as_nanos()
        };
        each.extend(std::iter::repeat_n((), ROUNDS).map(round).min());
    }
    each.sort_unstable();
    let at = |share: usize| each.get(each.len() * share / 100).copied().unwrap_or_default();
    let mean = each.iter().sum::<u128>() / each.len().max(1) as u128;
    println!(
        "{what}: median {} ns, 90 % within {} ns, 99 % within {} ns, mean {mean} ns",
        at(50),
        at(90),
        at(99)
    );
}

fn verdicts() -> Result<(), Box<dyn std::error::Error>> {
    let mut log = String::new();
    std::io::stdin().lock().read_to_string(&mut log)?;
    let time = |line: &str| {
        let (_, rest) = line.split_once(" [")?;
        Timestamp::parse_prefix(rest, Timestamp::default()).map(|time| time.timestamp)
    };
    let newest = log.lines().filter_map(time).max().unwrap_or_default();
    let mut builder = BatchBuilder::new(Dataset::Logs, newest);
    for line in log.lines() {
        builder.set_int(logs::TIMESTAMP, time(line).unwrap_or(newest).0);
        builder.set_text(logs::MESSAGE, line);
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(1, 0);
    let tenant = Tenant::default();
    let config = DetectConfig::default();
    let detectors: [Box<dyn Detector>; 2] = [Box::new(Web::new(&config)), Box::new(Scan::new(&config))];
    for mut detector in detectors {
        let mut out = Findings::default();
        let started = Instant::now();
        detector.observe(&Observed { tenant: &tenant, batch: &batch }, &mut out);
        let nanoseconds = started.elapsed().as_nanos() / batch.rows().max(1) as u128;
        for v in &out.verdicts {
            println!("{} {} {} {}", v.severity, v.rule, v.entity.value, v.summary);
        }
        println!("{}: {} verdicts, {nanoseconds} ns a record", detector.name(), out.verdicts.len());
    }
    Ok(())
}
