//! Routing files as people write them, well and badly.

use super::*;
use crate::lifecycle::raise;
use crate::lifecycle::tests::verdict;
use heimdall_model::{Severity, Verdict};

/// The example of the guide.
pub(crate) fn example() -> &'static str {
    let page = include_str!("../../../../docs/notifications.md");
    page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap()
}

fn alert(service: &str, severity: Severity) -> Alert {
    let verdict = Verdict { service: Some(service.to_owned()), severity, ..verdict("10.0.0.1", 1) };
    raise(verdict, "fp".to_owned(), None, Timestamp(1))
}

#[track_caller]
fn goes_to(routing: &Routing, alert: &Alert, receivers: &[&str]) {
    let taken: Vec<_> = routing.routes_of(alert).iter().map(|route| route.receiver.clone()).collect();
    assert_eq!(taken, receivers);
    let explained = routing.explain(alert).into_iter().filter(|step| step.is_taken).map(|step| step.receiver);
    assert_eq!(explained.collect::<Vec<_>>(), receivers);
}

#[test]
fn the_example_of_the_guide_loads_and_routes() {
    let routing = Routing::parse("routing.yaml", example()).unwrap();
    goes_to(&routing, &alert("AUTH-API", Severity::Critical), &["on-call", "chat"]);
    goes_to(&routing, &alert("SHOP", Severity::Critical), &["chat"]);
    goes_to(&routing, &alert("SHOP", Severity::Warning), &["chat"]);
    goes_to(&routing, &alert("BATCH", Severity::Warning), &["mail"]);
    let mut of_acme = alert("AUTH-API", Severity::Critical);
    of_acme.tenant = heimdall_model::Tenant::new("acme").unwrap();
    goes_to(&routing, &of_acme, &["acme"]);

    let pager = routing.routes_of(&alert("AUTH-API", Severity::Critical))[0];
    assert_eq!(pager.escalation.len(), 2);
    assert_eq!(pager.wait(Severity::Critical), Duration::ZERO);
    assert_eq!(pager.wait(Severity::Warning), Duration::from_secs(10));
    let at = |text| Timestamp::parse(text).unwrap();
    let batch = routing.routes_of(&alert("BATCH", Severity::Warning))[0];
    assert!(routing.quiet_time(batch, at("2026-03-02T02:30:00Z")).unwrap().contains("backup"));
    assert_eq!(routing.quiet_time(batch, at("2026-03-02T04:00:00Z")), None);

    let receiver = routing.receiver("on-call").unwrap();
    let people = routing.people_of(receiver, at("2026-03-02T12:00:00Z"));
    assert_eq!(
        (people.as_slice(), routing.addresses(&people, "ntfy")),
        (&["ann".to_owned()][..], vec!["ann-pages".to_owned()])
    );
    assert_eq!(routing.addresses(&people, "pagerduty"), ["ann"]);
    assert_eq!(
        routing.on_call("primary", at("2026-12-25T00:00:00Z")).unwrap().person.as_deref(),
        Some("bob")
    );
    assert_eq!((routing.inhibit_rules().len(), routing.priority_rules().len()), (1, 1));
    assert_eq!(routing.receiver("mail").unwrap().digest, Some(Duration::from_secs(3_600)));
}

#[test]
fn a_file_of_alertmanager_carries_over() {
    let text = r#"
global: {smtp_smarthost: 'mail.example.org:587', smtp_from: am@example.org, slack_api_url: 'https://hooks.slack.com/services/T/B/X'}
route:
  receiver: team-mails
  group_by: ['...']
  group_wait: 30s
  routes:
  - match: {service: SHOP}
    match_re: {severity: 'critical|warning'}
    receiver: team-chat
    routes:
    - matchers: ['{severity="critical", entity!~"test,.*"}']
      receiver: hook
receivers:
- name: team-mails
  email_configs: [{to: 'a@example.org, b@example.org', send_resolved: true}]
- name: team-chat
  slack_configs: [{channel: '#ops'}]
- name: hook
  webhook_configs: [{url: 'http://127.0.0.1:5001/'}]
- name: 'null'
inhibit_rules:
- source_match: {severity: critical}
  target_match_re: {severity: warning}
  equal: [alertname]
mute_time_intervals:
- name: weekends
  time_intervals: [{weekdays: ['saturday', 'sunday']}]
"#;
    let routing = Routing::parse("alertmanager.yml", text).unwrap_or_else(|faults| panic!("{faults:?}"));
    goes_to(&routing, &alert("SHOP", Severity::Critical), &["hook"]);
    goes_to(&routing, &alert("SHOP", Severity::Warning), &["team-chat"]);
    goes_to(&routing, &alert("AUTH", Severity::Critical), &["team-mails"]);
    let kinds: Vec<_> =
        routing.receivers().iter().flat_map(|receiver| receiver.channels.iter().map(Channel::kind)).collect();
    assert_eq!(kinds, ["email", "slack", "alertmanager"]);
    let route = routing.routes_of(&alert("SHOP", Severity::Warning))[0];
    assert_eq!((route.group_wait, &route.group_by), (Some(Duration::from_secs(30)), &None));
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let faults = Routing::parse("r.yaml", text).map(|_| ()).unwrap_err();
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(told, expected);
}

#[test]
fn every_fault_is_told_with_line_and_key() {
    check(
        "route:\n  reciever: a\n  receiver: b\n  group_wait: soon\n  routes:\n  - matchers: [x]\n    receiver: chatt\n    mute_time_intervals: [nights]\n\
         receivers:\n- name: chat\n  channels:\n  - {type: slakc}\n  - type: ntfy\n    topicc: t\n  on_call: [first]\n  max_messages: many\n- name: chat\n",
        &[
            "r.yaml:2: `route.reciever`: unknown key `reciever`; did you mean `receiver`?",
            "r.yaml:3: `route.receiver`: unknown receiver `b`; it is not in `receivers`",
            "r.yaml:4: `route.group_wait`: `soon` is not a duration up to a year; write it like `30s`, `10m` or `4h`",
            "r.yaml:6: `route.routes[0].matchers[0]`: `x` is not a matcher: it has none of = != =~ !~",
            "r.yaml:7: `route.routes[0].receiver`: unknown receiver `chatt`; did you mean `chat`?",
            "r.yaml:8: `route.routes[0].mute_time_intervals[0]`: unknown time interval `nights`; it is not in `time_intervals`",
            "r.yaml:12: `receivers[0].channels[0].type`: unknown channel type `slakc`; did you mean `slack`?",
            "r.yaml:14: `receivers[0].channels[1].topicc`: unknown key `topicc`; did you mean `topic`?",
            "r.yaml:15: `receivers[0].on_call[0]`: unknown schedule `first`; it is not in `schedules`",
            "r.yaml:16: `receivers[0].max_messages`: `many` is not a rate; write it like `10 per 10m`, at least 4",
            "r.yaml:17: `receivers[1].name`: the name `chat` is taken already in `receivers`",
        ],
    );
    check("route: [\n", &["r.yaml:2: not YAML: did not find expected node content"]);
    check(
        "people: {}\n",
        &["r.yaml:1: `receivers`: `receivers` is missing", "r.yaml:1: `route`: `route` is missing"],
    );
    check("- a\n", &["r.yaml:1: expected a mapping of keys to values"]);
}

#[test]
fn people_schedules_and_escalation_are_checked_as_a_whole() {
    check(
        "people:\n  ann: {slack: U1}\n  bob: {mail: b@x}\nschedules:\n- name: first\n  people: [ann, bobb]\n  shift: 5h\n\
         - {name: second, people: []}\nreceivers:\n- name: pager\n  on_call: [first]\n  channels:\n  - {type: email, server: m, from: h@x}\n\
         route:\n  receiver: pager\n  continue: true\n  escalation:\n  - {after: 10m, receiver: pager}\n  - {after: 5m, receiver: boss}\n  - {after: 5m, receiver: pager}\n",
        &[
            "r.yaml:3: `people.bob.mail`: unknown key `mail`; did you mean `email`?",
            "r.yaml:6: `schedules[0].people[1]`: unknown person `bobb`; did you mean `bob`?",
            "r.yaml:7: `schedules[0].shift`: `5h` is not the length of a shift: `daily`, `weekly`, days (`3d`, `2w`) or a part of a day (`12h`, `8h`)",
            "r.yaml:8: `schedules[1].people`: nobody takes turns",
            "r.yaml:16: `route.continue`: the root route takes every alert at any time: write `continue` on a route below it",
            "r.yaml:19: `route.escalation[1].receiver`: unknown receiver `boss`; it is not in `receivers`",
            "r.yaml:20: `route.escalation[2].after`: it is not after the step before it",
        ],
    );
    check(
        "people:\n  ann: {slack: U1}\nreceivers:\n- name: pager\n  people: [ann]\n  channels:\n  - {type: email, server: m, from: h@x}\nroute: {receiver: pager}\n",
        &[
            "r.yaml:6: `receivers[0].channels`: `ann` has no `email` in `people`, and receiver `pager` needs it",
        ],
    );
}

#[test]
fn a_fault_never_shows_a_secret() {
    let text = "route: {receiver: a}\nreceivers:\n- name: a\n  channels:\n  - {type: pagerduty, routing_key: 4242424242}\n  - {type: slack, webhook_url: [hush]}\n\
                \x20 slack_configs: [{api_url: {url: hush}}]\n";
    let faults = Routing::parse("r.yaml", text).map(|_| ()).unwrap_err();
    let told = format!("{faults:?}");
    assert!(faults.len() >= 3 && !told.contains("4242") && !told.contains("hush"), "{told}");
}

#[test]
fn without_a_file_every_channel_is_a_receiver_told_of_everything() {
    let stdout = || {
        Channel::Configured(Box::new(serde_json::from_str::<ChannelConfig>(r#"{"type":"stdout"}"#).unwrap()))
    };
    let routing = Routing::default_for(vec![stdout(), stdout()]);
    goes_to(&routing, &alert("SHOP", Severity::Normal), &["stdout", "stdout-2"]);
    let route = routing.routes_of(&alert("SHOP", Severity::Normal))[0];
    let labels = route.group_labels(&alert("SHOP", Severity::Normal));
    assert_eq!(
        labels.into_iter().collect::<Vec<_>>(),
        [("rule".into(), "brute-force".into()), ("service".into(), "SHOP".into())]
    );
    assert_eq!(
        Routing::default_for(Vec::new()).routes_of(&alert("SHOP", Severity::Normal)),
        Vec::<&Route>::new()
    );
}
