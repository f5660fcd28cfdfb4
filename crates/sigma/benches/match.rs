//! Cost per event of matching 3,000 rules, with the prefilter and without.
//!
//! Rules are made from templates in the shape and the proportions of the public corpus: most are Windows process
//! creations that look for an image and parts of a command line; some have filters, regular expressions, registry
//! paths, or event ids of a log. Events are made of common and random words; one in fifty is built to match.
//!
//! `cargo bench -p heimdall-sigma`; prints nanoseconds an event, rules asked an event, and the ratio.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use heimdall_sigma::{Collection, Correlator, CorrelatorLimits, Engine, LogSource, Matcher, Seen};
use serde_json::{Value, json};

const RULES: usize = 3_000;
const EVENTS: usize = 500;
/// Rounds of which the best counts: enough to find a quiet moment of a busy machine.
const ROUNDS: usize = 100;

/// Numbers from a seed: the same rules and events in every run. Source: Vigna, "SplitMix64".
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % most as u64).unwrap()
    }

    fn word(&mut self) -> String {
        const PARTS: [&str; 48] = [
            "in", "vo", "ke", "ser", "net", "ad", "min", "dump", "rem", "ote", "exec", "tok", "cre", "sh",
            "lo", "bit", "reg", "ish", "pow", "cat", "ran", "som", "zer", "lat", "mov", "per", "sis", "def",
            "end", "tam", "pro", "cess", "inj", "col", "lect", "exf", "dis", "cov", "dll", "thr", "sta",
            "ger", "bea", "con", "mim", "kat", "rub", "eus",
        ];
        (0..2 + self.below(3)).map(|_| PARTS[self.below(PARTS.len())]).collect()
    }

    fn image(&mut self) -> String {
        const COMMON: [&str; 10] = [
            "powershell",
            "cmd",
            "rundll32",
            "svchost",
            "reg",
            "wscript",
            "schtasks",
            "certutil",
            "mshta",
            "explorer",
        ];
        if self.below(2) == 0 { COMMON[self.below(COMMON.len())].to_owned() } else { self.word() }
    }
}

fn rules(random: &mut Random) -> String {
    let mut out = String::new();
    for index in 0..RULES {
        let (a, b, c, d) = (random.word(), random.word(), random.word(), random.word());
        let (image, other, id) = (random.image(), random.image(), random.below(9_000));
        let (source, detection) = match random.below(100) {
            0..30 => (
                "category: process_creation, product: windows",
                format!(
                    "{{s: {{Image|endswith: ['\\{image}.exe', '\\{other}.exe'], CommandLine|contains|all: ['{a} ', '-{b}']}}, condition: s}}"
                ),
            ),
            30..45 => (
                "category: process_creation, product: windows",
                format!(
                    "{{s_img: [{{Image|endswith: '\\{image}.exe'}}, {{OriginalFileName: '{image}.exe'}}], s_cli: {{CommandLine|contains|windash: [' -{a}', ' -{b}', '{c}{d}']}}, filter_main_x: {{ParentImage|endswith: '\\{other}.exe'}}, condition: all of s_* and not 1 of filter_main_*}}"
                ),
            ),
            45..50 => (
                "category: process_creation, product: windows",
                format!("{{s: {{CommandLine|re: '(?i){a}\\s+[^x]{{0,16}}{b}'}}, condition: s}}"),
            ),
            50..55 => (
                "category: process_creation, product: windows",
                format!("{{s: {{CommandLine|base64offset|contains: ['{a}{b}', '{c}{d}']}}, condition: s}}"),
            ),
            55..70 => (
                "category: registry_set, product: windows",
                format!(
                    "{{s: {{TargetObject|contains: '\\{a}\\{b}', Details|endswith: '{c}'}}, condition: s}}"
                ),
            ),
            70..80 => (
                "category: image_load, product: windows",
                format!(
                    "{{s: {{ImageLoaded|endswith: ['\\{a}{b}.dll', '\\{c}.dll']}}, f: {{Image|startswith: 'C:\\Windows\\System32\\'}}, condition: s and not f}}"
                ),
            ),
            80..92 => (
                "product: windows, service: security",
                format!(
                    "{{s: {{EventID: {id}, ServiceName|contains: '{a}'}}, t: {{EventID: {}}}, condition: s or t}}",
                    id + 1
                ),
            ),
            92..96 => ("product: linux", format!("{{k: ['{a} {b}', '{c}{d}'], condition: k}}")),
            _ => (
                "category: webserver",
                format!(
                    "{{s: {{cs-method: POST, cs-uri-query|contains: ['/{a}/{b}', '{c}=']}}, condition: s}}"
                ),
            ),
        };
        writeln!(
            out,
            "---\ntitle: rule {index}\nid: r{index}\nlogsource: {{{source}}}\ndetection: {detection}"
        )
        .unwrap();
    }
    out
}

fn process_creation(random: &mut Random) -> Value {
    let mut command = String::from("\"C:\\Windows\\System32\\");
    for _ in 0..4 + random.below(12) {
        let word = random.word();
        let _ = write!(
            command,
            "{} {}{word}",
            if random.below(3) == 0 { " -" } else { "" },
            ["/", "", "C:\\Users\\x\\"][random.below(3)]
        );
    }
    if random.below(50) == 0 {
        let _ = write!(command, " {} -{}", random.word(), random.word());
    }
    let (image, parent) = (random.image(), random.image());
    json!({
        "EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational", "Computer": "WS-0042.corp.example", "Provider_Name": "Microsoft-Windows-Sysmon",
        "UtcTime": "2026-01-01 10:00:00.123", "ProcessGuid": "0197231E-7602-694F-5A02-000000000C00", "ProcessId": random.below(60_000),
        "Image": format!("C:\\Windows\\System32\\{image}.exe"), "FileVersion": "10.0.26100.5074 (WinBuild.160101.0800)",
        "Description": "Windows Command Processor", "Product": "Microsoft® Windows® Operating System", "Company": "Microsoft Corporation",
        "OriginalFileName": format!("{image}.exe"), "CommandLine": command, "CurrentDirectory": "C:\\Users\\someone\\Downloads\\",
        "User": "CORP\\someone", "LogonGuid": "0197231E-70FA-694F-AED1-150000000000", "LogonId": "0x15d1ae", "TerminalSessionId": 1, "IntegrityLevel": "High",
        "Hashes": "MD5=CE3B3DCB08556285C0FC73B7CDC1601D,SHA256=08B28258C2225574FE6359286B5D23B19F07BD39CEE04B72ED5CF7A8B7FBF9F3,IMPHASH=8E5CDA80916A6EB4EC8151EC790ED9F0",
        "ParentProcessGuid": "0197231E-7211-694F-D001-000000000C00", "ParentProcessId": random.below(60_000),
        "ParentImage": format!("C:\\Program Files\\{parent}\\{parent}.exe"), "ParentCommandLine": format!("{parent}.exe --{}", random.word()),
    })
}

fn events(random: &mut Random) -> Vec<(&'static str, Vec<LogSource>, Vec<Value>)> {
    let make =
        |random: &mut Random, one: fn(&mut Random) -> Value| (0..EVENTS).map(|_| one(random)).collect();
    vec![
        (
            "process_creation",
            vec![LogSource::new("process_creation", "windows", "sysmon")],
            make(random, process_creation),
        ),
        (
            "security",
            vec![LogSource::new("", "windows", "security")],
            make(random, |random| {
                json!({"EventID": 4_000 + random.below(5_000), "Channel": "Security", "Computer": "DC-01", "ServiceName": random.word(),
                    "SubjectUserName": random.word(), "SubjectDomainName": "CORP", "LogonType": 3, "IpAddress": "10.0.0.7"})
            }),
        ),
        (
            "webserver",
            vec![LogSource::new("webserver", "", "")],
            make(random, |random| {
                json!({"cs-method": (["GET", "POST"][random.below(2)]), "cs-uri-query": format!("/{}/{}?{}={}", random.word(), random.word(), random.word(), random.below(99)),
                    "sc-status": 200, "c-ip": "192.0.2.7", "cs-user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"})
            }),
        ),
        (
            "linux syslog",
            vec![LogSource::new("", "linux", "syslog")],
            make(random, |random| {
                let words: Vec<String> = (0..10).map(|_| random.word()).collect();
                json!({"message": words.join(" "), "host": "web-3", "appname": "sshd"})
            }),
        ),
    ]
}

fn main() {
    let mut random = Random(7);
    let mut collection = Collection::default();
    let text = rules(&mut random);
    let began = Instant::now();
    collection.add_file("bench.yml", &text);
    let engine = Arc::new(Engine::new(collection, &[]));
    assert_eq!(engine.failures(), []);
    println!("{} rules read and compiled in {:.0?}", engine.len(), began.elapsed());
    println!(
        "{:18} {:>10} {:>12} {:>12} {:>8} {:>8} {:>8}",
        "events", "rules", "prefilter", "naive", "ratio", "asked", "matches"
    );
    for (name, sources, events) in events(&mut random) {
        let mut matcher = Matcher::new(Arc::clone(&engine));
        let applicable =
            engine.metas().filter(|(_, rule)| sources.iter().any(|source| rule.covers(source))).count();
        for event in &events {
            assert_eq!(matcher.matches(&sources, event).to_vec(), matcher.matches_naively(&sources, event));
        }
        let before = matcher.counters();
        let fast = best(|| {
            events.iter().for_each(|event| {
                black_box(matcher.matches(&sources, event));
            })
        });
        let after = matcher.counters();
        let slow = best(|| {
            events.iter().for_each(|event| {
                black_box(matcher.matches_naively(&sources, event));
            })
        });
        let rate = |count: u64| count as f64 / (after.events - before.events) as f64;
        println!(
            "{name:18} {applicable:>10} {fast:>9.0} ns {slow:>9.0} ns {:>7.1}x {:>8.2} {:>8.3}",
            slow / fast,
            rate(after.evaluations - before.evaluations),
            rate(after.matches - before.matches),
        );
    }
    correlations();
}

/// Cost of a match in correlations of every kind, over 5,000 groups that are seen again and again.
fn correlations() {
    const MATCHES: usize = 200_000;
    const KINDS: [(&str, &str); 4] = [
        ("event_count", "condition: {gte: 50}"),
        ("value_count", "condition: {gte: 20, field: ip}"),
        ("value_avg", "condition: {gt: 900, field: n}"),
        ("temporal_ordered", ""),
    ];
    for (kind, condition) in KINDS {
        let text = format!(
            "title: a\nname: a\nlogsource: {{product: p}}\ndetection: {{s: {{e: a}}, condition: s}}\n---\n\
             title: b\nname: b\nlogsource: {{product: p}}\ndetection: {{s: {{e: b}}, condition: s}}\n---\n\
             title: c\ncorrelation: {{type: {kind}, rules: [a, b], group-by: [user], timespan: 5m, {condition}}}\n"
        );
        let mut collection = Collection::default();
        collection.add_file("bench.yml", &text);
        let engine = Arc::new(Engine::new(collection, &[]));
        assert_eq!(engine.failures(), []);
        let mut correlator = Correlator::new(engine, CorrelatorLimits::default());
        let mut random = Random(7);
        let events: Vec<Value> = (0..10_000)
            .map(|_| json!({"user": format!("user-{}", random.below(5_000)), "ip": random.below(30), "n": random.below(1_000)}))
            .collect();
        let mut out = Vec::new();
        let began = Instant::now();
        for at in 0..MATCHES {
            let rules = [u32::try_from(random.below(2)).unwrap()];
            let time_ns = i64::try_from(at).unwrap() * 1_000_000;
            let seen = Seen { time_ns, id: at as u64, rules: &rules, event: &events[at % events.len()] };
            correlator.observe(&seen, &mut out);
        }
        let cost = began.elapsed().as_secs_f64() * 1e9 / MATCHES as f64;
        println!("{kind:18} {cost:>9.0} ns a match, {} groups, {} fired", correlator.groups(), out.len());
    }
}

/// Nanoseconds an event, the best of [`ROUNDS`].
fn best(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        run();
        best = best.min(began.elapsed().as_secs_f64());
    }
    best * 1e9 / EVENTS as f64
}
