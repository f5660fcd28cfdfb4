//! Which log sources an event is of, told by what it says of itself: its channel and event id, its program, its fields.
//!
//! Routes are written as rules: the log source and the detection by which its events are known. So they are matched as
//! rules are, renamed by the same pipelines, and can be added to.

use std::sync::Arc;

use crate::collection::Collection;
use crate::engine::{Engine, Matcher};
use crate::error::LoadError;
use crate::event::Event;
use crate::pipeline::Pipeline;
use crate::rule::LogSource;

/// Routes that come with the product: Windows channels and Sysmon, Linux programs and auditd, web, DNS, clouds, Zeek.
const BUILTIN: &str = include_str!("../pipelines/routes.yml");

/// Tells the log sources of events.
#[derive(Debug)]
pub struct Router {
    matcher: Matcher,
    targets: Vec<LogSource>,
}

impl Router {
    /// Routes of a file, or those that come with the product.
    ///
    /// # Errors
    /// A route could not be read; all that is wrong is named.
    pub fn new(routes: Option<(&str, &str)>, pipelines: &[Pipeline]) -> Result<Router, Vec<LoadError>> {
        let (file, text) = routes.unwrap_or(("routes.yml", BUILTIN));
        let mut collection = Collection::default();
        collection.add_file(file, text);
        let targets = collection.rules.iter().map(|rule| rule.logsource.clone()).collect();
        let engine = Engine::new(collection, pipelines);
        if !engine.failures().is_empty() {
            return Err(engine.failures().to_vec());
        }
        Ok(Router { matcher: Matcher::new(Arc::new(engine)), targets })
    }

    /// Adds the log sources of an event to `out`, in the order of the routes.
    pub fn sources(&mut self, event: &dyn Event, out: &mut Vec<LogSource>) {
        let Router { matcher, targets } = self;
        out.extend(matcher.matches_any_source(event).iter().map(|route| targets[*route as usize].clone()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(pipeline: Option<&str>, event: &Value, expected: &[(&str, &str, &str)]) {
        let pipelines: Vec<Pipeline> =
            pipeline.map(|name| Pipeline::builtin(name).unwrap()).into_iter().collect();
        let mut found = Vec::new();
        Router::new(None, &pipelines).unwrap().sources(event, &mut found);
        let expected: Vec<_> = expected.iter().map(|(c, p, s)| LogSource::new(c, p, s)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn windows_events_by_channel_and_id() {
        check(None, &json!({"Channel": "Security", "EventID": 4625}), &[("", "windows", "security")]);
        check(
            None,
            &json!({"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 13}),
            &[
                ("", "windows", "sysmon"),
                ("registry_event", "windows", "sysmon"),
                ("registry_set", "windows", "sysmon"),
            ],
        );
        check(
            Some("ecs"),
            &json!({"winlog": {"channel": "Security", "event_id": 4688}}),
            &[("", "windows", "security"), ("process_creation", "windows", "security")],
        );
    }

    #[test]
    fn other_events() {
        check(
            None,
            &json!({"appname": "sshd", "message": "x"}),
            &[("", "linux", "sshd"), ("", "linux", "auth")],
        );
        check(None, &json!({"eventSource": "iam.amazonaws.com"}), &[("", "aws", "cloudtrail")]);
        check(None, &json!({"method": "GET", "path": "/"}), &[("webserver", "", "")]);
        check(None, &json!({"message": "hello"}), &[]);
    }

    #[test]
    fn a_broken_route_is_named() {
        let text = "title: t\nlogsource: {product: p}\ndetection: {s: {a|b: 1}, condition: s}\n";
        let errors = Router::new(Some(("own.yml", text)), &[]).unwrap_err();
        assert!(errors[0].to_string().starts_with("own.yml:3: rule `t`: unknown modifier"), "{errors:?}");
    }
}
