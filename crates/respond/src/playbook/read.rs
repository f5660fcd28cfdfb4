//! Playbooks from YAML: every fault with its line, parameters as their runner judges them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::{LabelMatcher, Severity};
use serde_json::Value;

use super::{
    Approval, Conditions, Escalate, Mode, OnFailure, Otherwise, PLAYBOOKS_MAX, Playbook, PlaybookFault,
    RETRIES_MAX, Rollback, STEPS_MAX, Source, Step, Trigger, Verification,
};
use crate::action::{Action, ActionError, ActionRunner};
use crate::pattern::Pattern;
use crate::ports::{Check, Probe};
use crate::template;
use crate::times::{self, TimeInterval, WEEKDAYS};
use crate::yaml::{self, FAULTS_MAX, Faults, Map, Node, Part};

/// Most entries of a list of patterns, matchers, times or checks.
const ENTRIES_MAX: usize = 100;
/// Longest id, title or kind (bytes).
const NAME_BYTES_MAX: usize = 200;
/// Shortest and longest time of anything in a playbook.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);

const WAIT: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_secs(120);
const EVERY: Duration = Duration::from_secs(5);
const QUIET_FOR: Duration = Duration::from_secs(30);

/// What placeholders are filled with until a runner accepts it: what it still refuses has no placeholder in it.
const SAMPLES: [&str; 4] = ["sample", "192.0.2.1", "1", "http://127.0.0.1:1/"];

const MODES: [(&str, Mode); 4] =
    [("dry_run", Mode::DryRun), ("approve", Mode::Approve), ("earn", Mode::Earn), ("auto", Mode::Auto)];
const SEVERITIES: [(&str, Severity); 3] =
    [("NORMAL", Severity::Normal), ("WARNING", Severity::Warning), ("CRITICAL", Severity::Critical)];
const ON_FAILURE: [(&str, OnFailure); 3] =
    [("stop", OnFailure::Stop), ("continue", OnFailure::Continue), ("rollback", OnFailure::Rollback)];

type Runners<'a> = Option<&'a [Arc<dyn ActionRunner>]>;

/// Reads every document of a file.
pub(super) fn playbooks(
    file: &str,
    text: &str,
    runners: Runners<'_>,
) -> Result<Vec<Playbook>, Vec<PlaybookFault>> {
    let fault = |line, key: &str, reason: String| PlaybookFault {
        file: file.to_owned(),
        line,
        key: key.to_owned(),
        reason,
    };
    let documents = yaml::documents(text).map_err(|(line, reason)| vec![fault(line, "", reason)])?;
    if documents.len() > PLAYBOOKS_MAX {
        return Err(vec![fault(1, "", format!("more than {PLAYBOOKS_MAX} playbooks"))]);
    }
    let (mut read, mut found) = (Vec::new(), Vec::new());
    for (index, document) in documents.iter().enumerate().filter(|(_, document)| !document.is_null()) {
        let faults = Faults::default();
        let playbook = playbook(&Node::root(document, &faults), runners);
        let line = |path: &[Part]| yaml::line_of(text, index, path);
        if let Some(playbook) = playbook.filter(|_| faults.is_empty()) {
            let source = Source { file: file.to_owned(), line: line(&[]) };
            read.push(Playbook { source, ..playbook });
        }
        let left = FAULTS_MAX.saturating_sub(found.len());
        let told = |f: &yaml::Found| fault(line(&f.path), &yaml::dotted(&f.path), f.reason.clone());
        found.extend(faults.into_vec().iter().take(left).map(told));
    }
    found
        .extend(repeated(&read).map(|(line, id)| fault(line, "id", format!("`{id}` is used above already"))));
    found.sort_by(|a: &PlaybookFault, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
    if found.is_empty() { Ok(read) } else { Err(found) }
}

fn repeated(read: &[Playbook]) -> impl Iterator<Item = (usize, &str)> {
    let is_repeated = |(i, playbook): &(usize, &Playbook)| read[..*i].iter().any(|p| p.id == playbook.id);
    read.iter().enumerate().filter(is_repeated).map(|(_, p)| (p.source.line, p.id.as_str()))
}

const KEYS: [&str; 16] = [
    "id",
    "version",
    "title",
    "description",
    "enabled",
    "mode",
    "trigger",
    "conditions",
    "steps",
    "approval",
    "verification",
    "rollback",
    "else",
    "escalate",
    "cooldown",
    "autonomy_after",
];

fn playbook(root: &Node<'_>, runners: Runners<'_>) -> Option<Playbook> {
    let map = root.map(&KEYS)?;
    let id = map.need("id").and_then(|node| name(&node));
    let version = map.need("version").and_then(|node| node.whole(1, u64::from(u32::MAX)));
    let title = map.need("title").and_then(|node| node.text());
    let trigger = map.need("trigger").and_then(|node| trigger(&node));
    let steps = map.need("steps").map(|node| steps(&node, runners));
    Some(Playbook {
        description: map.get("description").and_then(|node| node.text()).unwrap_or_default(),
        enabled: map.get("enabled").and_then(|node| node.bool()).unwrap_or(true),
        mode: map.get("mode").and_then(|node| node.word(&MODES)).unwrap_or_default(),
        conditions: map.get("conditions").map(|node| conditions(&node)).unwrap_or_default(),
        approval: map.get("approval").map(|node| approval(&node)).unwrap_or_default(),
        verification: verification(map.get("verification").as_ref()),
        rollback: map.get("rollback").map(|node| rollback(&node, runners)).unwrap_or_default(),
        otherwise: map.get("else").and_then(|node| otherwise(&node, runners)),
        escalate: map.get("escalate").map(|node| escalate(&node)).unwrap_or_default(),
        cooldown: map.get("cooldown").and_then(|node| node.duration(Duration::ZERO, LONGEST)),
        autonomy_after: map.get("autonomy_after").and_then(|node| small(&node, 1, 1_000)),
        id: id?,
        version: u32::try_from(version?).ok()?,
        title: title?,
        trigger: trigger?,
        steps: steps?,
        source: Source::default(),
    })
}

fn small(node: &Node<'_>, least: u32, most: u32) -> Option<u32> {
    node.whole(u64::from(least), u64::from(most)).and_then(|n| u32::try_from(n).ok())
}

fn name(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let fits = text.len() <= NAME_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !fits {
        node.fault(format!("letters, digits, `.`, `_` and `-`, at most {NAME_BYTES_MAX}"));
    }
    fits.then_some(text)
}

fn patterns(map: &Map<'_>, key: &str) -> Vec<Pattern> {
    let read = |node: Node<'_>| {
        let pattern = Pattern::parse(&node.text()?);
        pattern.map_err(|error| node.fault(error.to_string())).ok()
    };
    map.get(key)
        .map(|node| node.items(ENTRIES_MAX).into_iter().filter_map(read).collect())
        .unwrap_or_default()
}

fn matchers(map: &Map<'_>, key: &str) -> Vec<LabelMatcher> {
    let read = |node: Node<'_>| {
        let matcher = node.text()?.parse::<LabelMatcher>();
        matcher.map_err(|error| node.fault(error.to_string())).ok()
    };
    map.get(key)
        .map(|node| node.items(ENTRIES_MAX).into_iter().filter_map(read).collect())
        .unwrap_or_default()
}

fn trigger(node: &Node<'_>) -> Option<Trigger> {
    let map = node.map(&["rules", "matchers", "severity", "count_min", "age_min"])?;
    if map.get("rules").is_none() && map.get("matchers").is_none() {
        node.fault("names neither `rules` nor `matchers`; write `rules: [\"*\"]` for every alert");
    }
    Some(Trigger {
        rules: patterns(&map, "rules"),
        matchers: matchers(&map, "matchers"),
        severity: map.get("severity").and_then(|node| node.word(&SEVERITIES)),
        count_min: map.get("count_min").and_then(|node| node.whole(0, 1_000_000)).unwrap_or_default(),
        age_min: duration(&map, "age_min", Duration::ZERO, Duration::ZERO),
    })
}

fn duration(map: &Map<'_>, key: &str, least: Duration, default: Duration) -> Duration {
    map.get(key).and_then(|node| node.duration(least, LONGEST)).unwrap_or(default)
}

fn conditions(node: &Node<'_>) -> Conditions {
    let Some(map) = node.map(&["times", "services", "alert_age_max", "unless_live"]) else {
        return Conditions::default();
    };
    let times = map.get("times").map(|node| node.items(ENTRIES_MAX)).unwrap_or_default();
    Conditions {
        times: times.iter().filter_map(interval).collect(),
        services: patterns(&map, "services"),
        alert_age_max: map.get("alert_age_max").and_then(|node| node.duration(SHORTEST, LONGEST)),
        unless_live: matchers(&map, "unless_live"),
    }
}

fn interval(node: &Node<'_>) -> Option<TimeInterval> {
    let map = node.map(&["weekdays", "from", "to", "zone"])?;
    let days: Vec<(&str, u8)> = WEEKDAYS.into_iter().zip(0_u8..).collect();
    let weekdays = map.get("weekdays").map(|node| node.items(7)).unwrap_or_default();
    let minute = |key: &str, default: u16| {
        let Some(node) = map.get(key) else { return default };
        let minute = node.text().and_then(|text| times::minute(&text));
        if minute.is_none() {
            node.fault("a time of the day is wanted here, such as \"08:30\"");
        }
        minute.unwrap_or(default)
    };
    let zone = map.get("zone").and_then(|node| {
        let zone = node.text()?;
        if times::zone(&zone).is_none() {
            node.fault(format!("`{zone}` is no zone of the IANA database, such as `Europe/Berlin`"));
        }
        Some(zone)
    });
    Some(TimeInterval {
        weekdays: weekdays.iter().filter_map(|node| node.word(&days)).collect(),
        from: minute("from", 0),
        to: minute("to", 24 * 60),
        zone: zone.unwrap_or_else(|| "UTC".to_owned()),
    })
}

fn steps(node: &Node<'_>, runners: Runners<'_>) -> Vec<Step> {
    let items = node.list(STEPS_MAX);
    if items.is_empty() {
        node.fault("at least one step is wanted here");
    }
    items.iter().filter_map(|node| step(node, runners)).collect()
}

fn step(node: &Node<'_>, runners: Runners<'_>) -> Option<Step> {
    let map = node.map(&["action", "target", "with", "timeout", "retries", "on_failure"])?;
    let action = map.need("action").and_then(|node| name(&node));
    let target = map.need("target").and_then(|node| templated(&node));
    let step = Step {
        with: map.get("with").map(|node| parameters(&node)).unwrap_or_default(),
        timeout: map.get("timeout").and_then(|node| node.duration(SHORTEST, LONGEST)),
        retries: map.get("retries").and_then(|node| small(&node, 0, RETRIES_MAX)).unwrap_or_default(),
        on_failure: map.get("on_failure").and_then(|node| node.word(&ON_FAILURE)).unwrap_or_default(),
        action: action?,
        target: target?,
    };
    if let Some(runners) = runners {
        judge(&map, &step, runners);
    }
    Some(step)
}

fn templated(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    template::check(&text).map_err(|reason| node.fault(reason)).ok()?;
    Some(text)
}

fn parameters(node: &Node<'_>) -> BTreeMap<String, Value> {
    let pairs = yaml::open_map(node).map(|map| map.pairs().collect::<Vec<_>>()).unwrap_or_default();
    let read = |(key, node): (String, Node<'_>)| {
        let value = node.json()?;
        check_texts(&node, &value);
        Some((key, value))
    };
    pairs.into_iter().filter_map(read).collect()
}

fn check_texts(node: &Node<'_>, value: &Value) {
    match value {
        Value::String(text) => {
            let _ = template::check(text).map_err(|reason| node.fault(reason));
        }
        Value::Array(items) => items.iter().for_each(|item| check_texts(node, item)),
        Value::Object(map) => map.values().for_each(|value| check_texts(node, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Lets the runner of the kind judge the parameters; what placeholders stand in is not known yet.
fn judge(map: &Map<'_>, step: &Step, runners: &[Arc<dyn ActionRunner>]) {
    let kinds = || runners.iter().flat_map(|runner| runner.kinds().iter().copied());
    let Some(runner) = runners.iter().find(|runner| runner.kinds().contains(&step.action.as_str())) else {
        let near = crate::nearest(&step.action, kinds());
        let hint = near.map_or_else(
            || format!("known: {}", kinds().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        if let Some(node) = map.get("action") {
            node.fault(format!("nobody does `{}`: it is misspelt, or switched off; {hint}", step.action));
        }
        return;
    };
    for text in SAMPLES {
        let Err(ActionError::Invalid { parameter, reason }) = runner.describe(&sampled(step, text)) else {
            return;
        };
        if !is_templated(step, &parameter) {
            tell(map, &parameter, &reason);
            return;
        }
    }
}

fn tell(map: &Map<'_>, parameter: &str, reason: &str) {
    let with = map.get("with");
    let of_with = with.as_ref().and_then(|node| yaml::open_map(node)?.get(parameter));
    let node = if parameter == "target" { map.get("target") } else { of_with.or(with) };
    if let Some(node) = node.or_else(|| map.get("action")) {
        node.fault(format!("`{parameter}`: {reason}"));
    }
}

fn is_templated(step: &Step, parameter: &str) -> bool {
    let value = step.with.get(parameter).map(Value::to_string);
    let text = if parameter == "target" { Some(step.target.clone()) } else { value };
    text.is_some_and(|text| template::has_placeholders(&text))
}

fn sampled(step: &Step, text: &str) -> Action {
    let fill = |value: &Value| fill(value, text);
    Action {
        kind: step.action.clone(),
        target: template::sample(&step.target, text),
        with: step.with.iter().map(|(key, value)| (key.clone(), fill(value))).collect(),
    }
}

fn fill(value: &Value, text: &str) -> Value {
    match value {
        Value::String(of) => Value::String(template::sample(of, text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| fill(item, text)).collect()),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), fill(v, text))).collect()),
        other => other.clone(),
    }
}

fn approval(node: &Node<'_>) -> Approval {
    let Some(map) = node.map(&["by", "expires"]) else { return Approval::default() };
    Approval {
        by: patterns(&map, "by"),
        expires: map.get("expires").and_then(|node| node.duration(SHORTEST, LONGEST)),
    }
}

fn verification(node: Option<&Node<'_>>) -> Option<Verification> {
    let quiet = || vec![Check::AlertQuiet { quiet_for: QUIET_FOR }];
    let default = Verification { wait: WAIT, within: WITHIN, every: EVERY, checks: quiet() };
    let Some(node) = node else { return Some(default) };
    if !node.is_map() {
        node.word(&[("none", ())]);
        return None;
    }
    let map = node.map(&["wait", "within", "every", "checks"])?;
    let checks = map.get("checks").map(|node| node.list(ENTRIES_MAX));
    if checks.as_ref().is_some_and(Vec::is_empty) {
        node.fault("`checks` is empty; write `verification: none` for no proof at all");
    }
    let read = Verification {
        wait: duration(&map, "wait", Duration::ZERO, WAIT),
        within: duration(&map, "within", SHORTEST, WITHIN),
        every: duration(&map, "every", Duration::from_millis(100), EVERY),
        checks: checks.map_or_else(quiet, |nodes| nodes.iter().filter_map(check).collect()),
    };
    let longest = |check: &Check| matches!(check, Check::AlertQuiet { quiet_for } if *quiet_for > read.wait + read.within);
    if read.checks.iter().any(longest) {
        node.fault("`alert_quiet` is longer than `wait` and `within` together: it could never be seen");
    }
    Some(read)
}

const CHECKS: [&str; 5] = ["http", "tcp", "container", "query", "alert_quiet"];

fn check(node: &Node<'_>) -> Option<Check> {
    let (kind, value) = node.single()?;
    Some(match kind.as_str() {
        "http" => Check::Probe(http(&value)?),
        "tcp" => Check::Probe(Probe::Tcp { address: address(&value)? }),
        "container" => Check::Probe(Probe::Container { name: templated(&value)? }),
        "query" => Check::Probe(query(&value)?),
        "alert_quiet" => Check::AlertQuiet { quiet_for: value.duration(Duration::ZERO, LONGEST)? },
        other => {
            let near = crate::nearest(other, CHECKS).map(|near| format!("; did you mean `{near}`?"));
            value.fault(format!(
                "is no check{}",
                near.unwrap_or_else(|| format!("; known: {}", CHECKS.join(", ")))
            ));
            return None;
        }
    })
}

fn http(node: &Node<'_>) -> Option<Probe> {
    if !node.is_map() {
        return Some(Probe::Http { url: url(node)?, status: None, contains: None });
    }
    let map = node.map(&["url", "status", "contains"])?;
    let status = map.get("status").and_then(|node| node.whole(100, 599)).and_then(|n| u16::try_from(n).ok());
    let contains = map.get("contains").and_then(|node| templated(&node));
    Some(Probe::Http { url: url(&map.need("url")?)?, status, contains })
}

fn url(node: &Node<'_>) -> Option<String> {
    let text = templated(node)?;
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    if !is_url {
        node.fault("an address that begins with `http://` or `https://` is wanted here");
    }
    is_url.then_some(text)
}

fn address(node: &Node<'_>) -> Option<String> {
    let text = templated(node)?;
    let has_port = template::sample(&text, "1")
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !has_port {
        node.fault("`host:port` is wanted here");
    }
    has_port.then_some(text)
}

fn query(node: &Node<'_>) -> Option<Probe> {
    let map = node.map(&["query", "at_most", "at_least"])?;
    let bound = |key: &str| map.get(key).and_then(|node| node.number());
    let (at_most, at_least) = (bound("at_most"), bound("at_least"));
    if map.get("at_most").is_none() && map.get("at_least").is_none() {
        node.fault("`at_most` or `at_least` is missing");
    }
    Some(Probe::Query { query: templated(&map.need("query")?)?, at_most, at_least })
}

fn rollback(node: &Node<'_>, runners: Runners<'_>) -> Rollback {
    if !node.is_map() {
        let words = [("automatic", true), ("none", false)];
        return if node.word(&words).unwrap_or(true) { Rollback::Automatic } else { Rollback::None };
    }
    let nodes = node.map(&["steps"]).and_then(|map| map.need("steps"));
    nodes.map_or(Rollback::Automatic, |node| Rollback::Steps(steps(&node, runners)))
}

fn otherwise(node: &Node<'_>, runners: Runners<'_>) -> Option<Otherwise> {
    let map = node.map(&["when", "steps"])?;
    let words = [("conditions", true), ("verification", false)];
    let when: Vec<bool> = map
        .get("when")
        .map(|node| node.items(2).iter().filter_map(|node| node.word(&words)).collect())
        .unwrap_or_else(|| vec![true, false]);
    Some(Otherwise {
        on_conditions: when.contains(&true),
        on_verification: when.contains(&false),
        steps: steps(&map.need("steps")?, runners),
    })
}

fn escalate(node: &Node<'_>) -> Escalate {
    let Some(map) = node.map(&["severity", "message", "page"]) else { return Escalate::default() };
    Escalate {
        severity: map.get("severity").and_then(|node| node.word(&SEVERITIES)),
        message: map.get("message").and_then(|node| templated(&node)).unwrap_or_default(),
        page: map.get("page").and_then(|node| node.bool()).unwrap_or_default(),
    }
}
