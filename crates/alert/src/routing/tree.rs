//! The route tree: which routes an alert takes.
//!
//! Invariants:
//! - the root takes every alert; a child is asked only when its parent matches;
//! - the first matching child takes the alert, and those after it are asked only when it says `continue`;
//! - a route none of whose children match takes the alert itself;
//! - a path names a route by its matchers, so that it survives changes elsewhere in the file.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use heimdall_model::{Alert, LabelMatcher, Severity};
use serde::Serialize;

/// Wait before the first notice of a group whose worst alert is below CRITICAL, where the file says nothing: a cause that raises
/// several alerts is told as one. CRITICAL is told at once: its reader can do something about every second.
pub(crate) const GROUP_WAIT: Duration = Duration::from_secs(10);
/// Least time between two notices of a group, where the file says nothing.
pub(crate) const GROUP_INTERVAL: Duration = Duration::from_secs(60);
/// After this a group still on is told again, where the file says nothing.
pub(crate) const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3_600);

/// A node of the tree, with what it inherited.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Where in the tree, by matchers: `{}/{service="AUTH-API"}`.
    pub path: String,
    /// What it takes.
    pub matchers: Vec<LabelMatcher>,
    /// Who is told.
    pub receiver: String,
    /// Whether the routes after it are asked too.
    pub continues: bool,
    /// Labels whose values tell groups apart; none: every label.
    pub group_by: Option<Vec<String>>,
    /// Wait before the first notice; none: by severity.
    pub group_wait: Option<Duration>,
    /// Least time between notices.
    pub group_interval: Duration,
    /// After this a group still on is told again.
    pub repeat_interval: Duration,
    /// Time intervals it is quiet in.
    pub mute: Vec<String>,
    /// Time intervals it is quiet out of.
    pub active: Vec<String>,
    /// Who is told when nobody acknowledges, by time.
    pub escalation: Vec<Escalation>,
    /// Its children, by index.
    pub(crate) children: Vec<usize>,
}

/// Whom to tell when nobody acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// How long after the first notice.
    pub after: Duration,
    /// Who.
    pub receiver: String,
}

/// A route looked at for an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteStep {
    /// Where in the tree.
    pub path: String,
    /// What it takes.
    pub matchers: Vec<String>,
    /// Whether all matchers hold.
    pub is_match: bool,
    /// Whether the alert is told by this route: it matches, and none of its children does.
    pub is_taken: bool,
    /// Who is told by it.
    pub receiver: String,
}

impl Route {
    /// How long an alert of this severity waits for others before its group is told for the first time.
    pub(crate) fn wait(&self, severity: Severity) -> Duration {
        let by_severity = if severity == Severity::Critical { Duration::ZERO } else { GROUP_WAIT };
        self.group_wait.unwrap_or(by_severity)
    }

    /// The labels of the group an alert belongs to.
    pub(crate) fn group_labels(&self, alert: &Alert) -> BTreeMap<String, String> {
        let Some(names) = &self.group_by else { return alert.label_set() };
        let value = |name: &String| Some((name.clone(), alert.label(name)?.into_owned()));
        names.iter().filter_map(value).collect()
    }

    fn is_match(&self, alert: &Alert) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(alert))
    }
}

/// Routes by their paths, which are unique.
pub(crate) fn by_path(routes: &[Route]) -> HashMap<String, usize> {
    routes.iter().enumerate().map(|(index, route)| (route.path.clone(), index)).collect()
}

pub(crate) fn matching<'a>(routes: &'a [Route], alert: &Alert) -> Vec<&'a Route> {
    let mut taken = Vec::new();
    visit(routes, 0, alert, &mut |_, route, is_taken| taken.extend(is_taken.then_some(route)));
    taken
}

pub(crate) fn explain(routes: &[Route], alert: &Alert) -> Vec<RouteStep> {
    let mut steps = Vec::new();
    visit(routes, 0, alert, &mut |index, route, is_taken| {
        let step = RouteStep {
            path: route.path.clone(),
            matchers: route.matchers.iter().map(ToString::to_string).collect(),
            is_match: route.is_match(alert),
            is_taken,
            receiver: route.receiver.clone(),
        };
        steps.push((index, step));
    });
    steps.sort_by_key(|(index, _)| *index);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// Calls `see` with every route looked at, and whether it takes the alert, children first; returns whether the route matches.
fn visit<'a>(
    routes: &'a [Route],
    index: usize,
    alert: &Alert,
    see: &mut dyn FnMut(usize, &'a Route, bool),
) -> bool {
    let Some(route) = routes.get(index) else { return false };
    let is_match = route.is_match(alert);
    let mut child_matches = false;
    if is_match {
        for child in &route.children {
            let matches = visit(routes, *child, alert, see);
            child_matches |= matches;
            if matches && !routes[*child].continues {
                break;
            }
        }
    }
    see(index, route, is_match && !child_matches);
    is_match
}

/// A tree that tells each of these receivers of everything, grouped by rule and service.
pub(crate) fn to_each(receivers: &[String]) -> Vec<Route> {
    let route = |path: String, receiver: &String, children| Route {
        path,
        matchers: Vec::new(),
        receiver: receiver.clone(),
        continues: true,
        group_by: Some(vec!["rule".to_owned(), "service".to_owned()]),
        group_wait: None,
        group_interval: GROUP_INTERVAL,
        repeat_interval: REPEAT_INTERVAL,
        mute: Vec::new(),
        active: Vec::new(),
        escalation: Vec::new(),
        children,
    };
    let Some(first) = receivers.first() else { return Vec::new() };
    let mut routes = vec![route("{}".to_owned(), first, (1..=receivers.len()).collect())];
    routes.extend(receivers.iter().map(|receiver| route(format!("{{}}/{receiver}"), receiver, Vec::new())));
    routes
}
