//! From the text of a routing file to a [`Routing`].

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use heimdall_model::{LabelMatcher, Priority};
use yaml_serde::Value;

use super::interval::TimeInterval;
use super::schedule::Schedule;
use super::tree::{Escalation, GROUP_INTERVAL, REPEAT_INTERVAL, Route};
use super::yaml::{Faults, Fields, Node};
use super::{Channel, NEEDS_ADDRESS, Person, Rate, Receiver, Routing, RoutingFault, import, known, tree};
use crate::inhibit::InhibitRule;
use crate::priority::PriorityRule;

/// Longest routing file (bytes).
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most routes of a file.
pub const ROUTES_MAX: usize = 1_000;
/// Deepest nesting of routes.
const DEPTH_MAX: usize = 20;
/// Shortest interval between notices of a group.
const INTERVAL_MIN: std::time::Duration = std::time::Duration::from_secs(1);

const TOP_KEYS: [&str; 10] = [
    "global",
    "route",
    "receivers",
    "inhibit_rules",
    "time_intervals",
    "mute_time_intervals",
    "schedules",
    "people",
    "priorities",
    "templates",
];
const ROUTE_KEYS: [&str; 13] = [
    "receiver",
    "matchers",
    "match",
    "match_re",
    "continue",
    "group_by",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "mute_time_intervals",
    "active_time_intervals",
    "escalation",
    "routes",
];
const RECEIVER_KEYS: [&str; 7] =
    ["name", "channels", "people", "on_call", "digest", "max_messages", "send_resolved"];
const ADDRESS_KEYS: [&str; 5] = ["email", "slack", "phone", "ntfy", "telegram"];

/// The names a file defines, as its parts refer to them.
struct Names {
    receivers: Vec<String>,
    intervals: Vec<String>,
    schedules: Vec<String>,
    people: Vec<String>,
}

pub(crate) fn parse(file: &str, text: &str) -> Result<Routing, Vec<RoutingFault>> {
    let whole =
        |line, reason: String| vec![RoutingFault { file: file.to_owned(), line, key: String::new(), reason }];
    if text.len() > FILE_BYTES_MAX {
        return Err(whole(1, format!("the file is longer than {FILE_BYTES_MAX} bytes")));
    }
    let read = yaml_serde::from_str::<Value>(text).and_then(|mut value| value.apply_merge().map(|()| value));
    let value = read.map_err(|error| {
        whole(error.location().map_or(1, |at| at.line()), format!("not YAML: {}", without_place(&error)))
    })?;
    let faults = Faults::default();
    let routing = read_file(&Node::top(&value, &faults), file, text);
    let faults = faults.locate(file, text);
    match routing {
        Some(routing) if faults.is_empty() => Ok(routing),
        _ => Err(faults),
    }
}

/// The parser's words without the place, which the fault has already.
fn without_place(error: &yaml_serde::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn read_file(top: &Node<'_>, file: &str, text: &str) -> Option<Routing> {
    let fields = top.fields(&TOP_KEYS)?;
    if let Some(templates) = fields.get("templates") {
        templates.fault("Heimdall writes its messages itself: remove `templates`");
    }
    let people = people(&fields);
    let intervals = intervals(&fields);
    let mut names = Names {
        receivers: named(&fields, "receivers"),
        intervals: intervals.keys().cloned().collect(),
        schedules: named(&fields, "schedules"),
        people: people.keys().cloned().collect(),
    };
    names.receivers.dedup();
    let schedules = fields.items("schedules");
    let schedules: BTreeMap<_, _> = schedules
        .iter()
        .filter_map(|node| Schedule::read(node, &names.people, &names.intervals))
        .map(|schedule| (schedule.name.clone(), schedule))
        .collect();
    let defaults = import::Defaults::read(&fields);
    let receivers = fields.need("receivers").map(|node| node.items()).unwrap_or_default();
    let receivers: Vec<_> =
        receivers.iter().filter_map(|node| receiver(node, &names, &defaults, text)).map(Arc::new).collect();
    let mut routes = Vec::new();
    if let Some(root) = fields.need("route") {
        route(&root, None, &names, &mut routes, 0);
    }
    let routing = Routing {
        by_path: tree::by_path(&routes),
        routes,
        receivers,
        file: file.to_owned(),
        inhibit: fields.items("inhibit_rules").iter().filter_map(inhibit_rule).collect(),
        priorities: fields.items("priorities").iter().filter_map(priority_rule).collect(),
        intervals,
        schedules,
        people,
    };
    check_addresses(&routing, &fields);
    Some(routing)
}

/// The names of a list of named things; one given twice is a fault.
fn named(fields: &Fields<'_>, key: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let nodes = fields.get(key).map(|node| node.items()).unwrap_or_default();
    for node in nodes {
        let Value::Mapping(mapping) = node.value() else { continue };
        if let Some(name) = mapping.get("name").and_then(Value::as_str)
            && !seen.insert(name.to_owned())
        {
            node.fault_at("name", format!("the name `{name}` is taken already in `{key}`"));
        }
    }
    let mut names: Vec<_> = seen.into_iter().collect();
    names.sort_unstable();
    names
}

// ---- routes ---------------------------------------------------------------------------------------------------

/// Reads a route and its children into the arena; returns its index.
fn route(
    node: &Node<'_>,
    parent: Option<usize>,
    names: &Names,
    routes: &mut Vec<Route>,
    depth: usize,
) -> Option<usize> {
    if routes.len() >= ROUTES_MAX || depth > DEPTH_MAX {
        node.fault(format!("more than {ROUTES_MAX} routes, or nested deeper than {DEPTH_MAX}"));
        return None;
    }
    let fields = node.fields(&ROUTE_KEYS)?;
    let matchers = matchers(&fields);
    let inherited = parent.map(|parent| routes[parent].clone());
    if inherited.is_none() {
        check_root(node, &fields, &matchers);
    }
    let path = path(inherited.as_ref(), &matchers, routes);
    let interval = |key: &str, of: fn(&Route) -> std::time::Duration, default| {
        let given = fields.get(key).and_then(|node| node.parsed(interval));
        given.unwrap_or_else(|| inherited.as_ref().map_or(default, of))
    };
    let read = Route {
        receiver: receiver_name(&fields, inherited.as_ref(), names),
        continues: fields.get("continue").and_then(|node| node.flag()).unwrap_or(false),
        group_by: group_by(&fields, inherited.as_ref()),
        group_wait: match fields.get("group_wait") {
            Some(node) => node.duration(),
            None => inherited.as_ref().and_then(|parent| parent.group_wait),
        },
        group_interval: interval("group_interval", |parent| parent.group_interval, GROUP_INTERVAL),
        repeat_interval: interval("repeat_interval", |parent| parent.repeat_interval, REPEAT_INTERVAL),
        mute: interval_names(&fields, "mute_time_intervals", names),
        active: interval_names(&fields, "active_time_intervals", names),
        escalation: escalation(&fields, inherited.as_ref(), names),
        matchers,
        path,
        children: Vec::new(),
    };
    let index = routes.len();
    routes.push(read);
    for child in fields.items("routes") {
        if let Some(child) = route(&child, Some(index), names, routes, depth + 1) {
            routes[index].children.push(child);
        }
    }
    Some(index)
}

fn check_root(node: &Node<'_>, fields: &Fields<'_>, matchers: &[LabelMatcher]) {
    let own = ["continue", "mute_time_intervals", "active_time_intervals"];
    for key in own.into_iter().filter(|key| fields.get(key).is_some()) {
        node.fault_at(
            key,
            format!("the root route takes every alert at any time: write `{key}` on a route below it"),
        );
    }
    if !matchers.is_empty() {
        node.fault("the root route takes every alert: write matchers on a route below it");
    }
}

fn path(parent: Option<&Route>, matchers: &[LabelMatcher], routes: &[Route]) -> String {
    let own: Vec<_> = matchers.iter().map(ToString::to_string).collect();
    let own = format!("{{{}}}", own.join(","));
    let path = parent.map_or(own.clone(), |parent| format!("{}/{own}", parent.path));
    let same = routes
        .iter()
        .filter(|route| route.path == path || route.path.starts_with(&format!("{path}#")))
        .count();
    if same == 0 { path } else { format!("{path}#{}", same + 1) }
}

fn receiver_name(fields: &Fields<'_>, parent: Option<&Route>, names: &Names) -> String {
    let node = match parent {
        None => fields.need("receiver"),
        Some(_) => fields.get("receiver"),
    };
    let given = node.and_then(|node| node.parsed(|name| a_receiver(name, names)));
    given.or_else(|| parent.map(|parent| parent.receiver.clone())).unwrap_or_default()
}

fn a_receiver(name: &str, names: &Names) -> Result<String, String> {
    known(name, "receiver", "receivers", names.receivers.iter().map(String::as_str))
}

fn group_by(fields: &Fields<'_>, parent: Option<&Route>) -> Option<Vec<String>> {
    match fields.get("group_by") {
        None => parent.map_or(Some(Vec::new()), |parent| parent.group_by.clone()),
        Some(node) => {
            let labels = node.texts();
            let is_all = labels.iter().any(|label| label == "...");
            if is_all && labels.len() > 1 {
                node.fault("`...` means every label, and stands alone");
            }
            (!is_all).then_some(labels)
        }
    }
}

fn interval(text: &str) -> Result<std::time::Duration, String> {
    match super::yaml::duration(text)? {
        short if short < INTERVAL_MIN => Err("it is shorter than a second".to_owned()),
        interval => Ok(interval),
    }
}

fn interval_names(fields: &Fields<'_>, key: &str, names: &Names) -> Vec<String> {
    let an_interval = |name: &str| {
        known(name, "time interval", "time_intervals", names.intervals.iter().map(String::as_str))
    };
    fields.items(key).iter().filter_map(|node| node.parsed(an_interval)).collect()
}

fn escalation(fields: &Fields<'_>, parent: Option<&Route>, names: &Names) -> Vec<Escalation> {
    let Some(node) = fields.get("escalation") else {
        return parent.map(|parent| parent.escalation.clone()).unwrap_or_default();
    };
    let nodes = node.items();
    let mut steps: Vec<Escalation> = Vec::new();
    for node in &nodes {
        let Some(step) = escalation_step(node, names) else { continue };
        if steps.last().is_some_and(|before| before.after >= step.after) {
            node.fault_at("after", "it is not after the step before it");
        }
        steps.push(step);
    }
    steps
}

fn escalation_step(node: &Node<'_>, names: &Names) -> Option<Escalation> {
    let fields = node.fields(&["after", "receiver"])?;
    let after = fields.need("after").and_then(|node| node.duration());
    let receiver = fields.need("receiver").and_then(|node| node.parsed(|name| a_receiver(name, names)));
    Some(Escalation { after: after?, receiver: receiver? })
}

// ---- matchers -------------------------------------------------------------------------------------------------

/// `matchers`, and the older `match` and `match_re`.
fn matchers(fields: &Fields<'_>) -> Vec<LabelMatcher> {
    let mut found = matcher_list(fields, "matchers");
    found.extend(matcher_map(fields, "match", false));
    found.extend(matcher_map(fields, "match_re", true));
    found
}

fn matcher_list(fields: &Fields<'_>, key: &str) -> Vec<LabelMatcher> {
    let Some(node) = fields.get(key) else { return Vec::new() };
    let nodes = if matches!(node.value(), Value::String(_)) { vec![node] } else { node.items() };
    let several = |text: &str| {
        split_matchers(text)
            .into_iter()
            .map(|part| part.parse().map_err(|error: heimdall_model::LabelMatcherError| error.to_string()))
            .collect()
    };
    nodes.iter().filter_map(|node| node.parsed::<Vec<_>>(several)).flatten().collect()
}

/// `{a="b", c="d"}` in parts; commas in quotes do not part.
fn split_matchers(text: &str) -> Vec<&str> {
    let text = text.trim();
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let (mut parts, mut start, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn matcher_map(fields: &Fields<'_>, key: &str, is_regex: bool) -> Vec<LabelMatcher> {
    let Some(map) = fields.get(key).and_then(|node| node.any_fields()) else { return Vec::new() };
    let matcher = |(name, node): (&str, Node<'_>)| {
        node.parsed(|value| LabelMatcher::new(name, value, is_regex, true).map_err(|error| error.to_string()))
    };
    map.all().into_iter().filter_map(matcher).collect()
}

fn inhibit_rule(node: &Node<'_>) -> Option<InhibitRule> {
    let fields = node.fields(&[
        "source_matchers",
        "target_matchers",
        "source_match",
        "source_match_re",
        "target_match",
        "target_match_re",
        "equal",
        "name",
    ])?;
    let side = |list, equal, regex| {
        let mut found = matcher_list(&fields, list);
        found.extend(matcher_map(&fields, equal, false));
        found.extend(matcher_map(&fields, regex, true));
        if found.is_empty() {
            node.fault_at(list, "it has no matchers: it would hold for every alert");
        }
        found
    };
    Some(InhibitRule {
        source: side("source_matchers", "source_match", "source_match_re"),
        target: side("target_matchers", "target_match", "target_match_re"),
        equal: fields.texts("equal"),
    })
}

fn priority_rule(node: &Node<'_>) -> Option<PriorityRule> {
    let fields = node.fields(&["matchers", "match", "match_re", "priority"])?;
    let priority = fields.need("priority").and_then(|node| {
        node.parsed(|text| match text.to_ascii_uppercase().as_str() {
            "P1" => Ok(Priority::P1),
            "P2" => Ok(Priority::P2),
            "P3" => Ok(Priority::P3),
            _ => Err(format!("`{text}` is not a priority: P1, P2 or P3")),
        })
    });
    Some(PriorityRule { matchers: matchers(&fields), priority: priority? })
}

// ---- intervals, people, receivers -----------------------------------------------------------------------------

fn intervals(fields: &Fields<'_>) -> BTreeMap<String, TimeInterval> {
    let mut found = BTreeMap::new();
    for key in ["time_intervals", "mute_time_intervals"] {
        for node in fields.items(key) {
            let Some(interval) = TimeInterval::read(&node) else { continue };
            if let Some(twice) = found.insert(interval.name.clone(), interval) {
                node.fault_at("name", format!("the name `{}` is taken already", twice.name));
            }
        }
    }
    found
}

fn people(fields: &Fields<'_>) -> BTreeMap<String, Person> {
    let Some(all) = fields.get("people").and_then(|node| node.any_fields()) else { return BTreeMap::new() };
    let person = |(name, node): (&str, Node<'_>)| {
        let addresses = node.fields(&ADDRESS_KEYS)?.all();
        let address = |(kind, node): (&str, Node<'_>)| Some((kind.to_owned(), node.text()?));
        Some((name.to_owned(), Person { addresses: addresses.into_iter().filter_map(address).collect() }))
    };
    all.all().into_iter().filter_map(person).collect()
}

fn receiver(node: &Node<'_>, names: &Names, defaults: &import::Defaults, text: &str) -> Option<Receiver> {
    let keys: Vec<_> = RECEIVER_KEYS.into_iter().chain(import::keys()).collect();
    let fields = node.fields(&keys)?;
    let name = fields.need("name").and_then(|node| node.text());
    let person = |name: &str| known(name, "person", "people", names.people.iter().map(String::as_str));
    let schedule =
        |name: &str| known(name, "schedule", "schedules", names.schedules.iter().map(String::as_str));
    let mut channels: Vec<_> = fields.items("channels").iter().filter_map(import::channel).collect();
    channels.extend(import::channels(&fields, defaults));
    Some(Receiver {
        name: name?,
        lines: channels.iter().map(|(node, _)| node.line(text)).collect(),
        channels: channels.into_iter().map(|(_, config)| Channel::Configured(Box::new(config))).collect(),
        people: fields.items("people").iter().filter_map(|node| node.parsed(person)).collect(),
        on_call: fields.items("on_call").iter().filter_map(|node| node.parsed(schedule)).collect(),
        digest: fields.get("digest").and_then(|node| node.parsed(interval)),
        max_messages: fields
            .get("max_messages")
            .and_then(|node| node.parsed(Rate::parse))
            .unwrap_or_default(),
        sends_resolved: fields.get("send_resolved").and_then(|node| node.flag()).unwrap_or(true),
    })
}

/// Everybody a receiver may be for has the addresses its channels need.
fn check_addresses(routing: &Routing, fields: &Fields<'_>) {
    for node in fields.items("receivers") {
        let Value::Mapping(mapping) = node.value() else { continue };
        let name = mapping.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(receiver) = routing.receiver(name) else { continue };
        let on_call = receiver.on_call.iter().filter_map(|name| routing.schedules.get(name));
        let everybody = receiver.people.iter().map(String::as_str).chain(on_call.flat_map(Schedule::people));
        let everybody: std::collections::BTreeSet<_> = everybody.collect();
        let kinds = receiver.channels.iter().map(Channel::kind).filter(|kind| NEEDS_ADDRESS.contains(kind));
        for kind in kinds {
            let lacks = |person: &&&str| {
                routing.people.get(**person).is_some_and(|found| !found.addresses.contains_key(kind))
            };
            if let Some(person) = everybody.iter().find(lacks) {
                node.fault_at(
                    "channels",
                    format!("`{person}` has no `{kind}` in `people`, and receiver `{name}` needs it"),
                );
            }
        }
    }
}
