use std::sync::Arc;

use super::*;
use crate::action::ActionRunner;
use crate::testing::{PausedClock, StandInRunner, World};

fn runners() -> Vec<Arc<dyn ActionRunner>> {
    vec![Arc::new(StandInRunner { world: Arc::new(World::default()), clock: Arc::new(PausedClock::new()) })]
}

/// The faults of a text, one line each.
#[track_caller]
fn check(text: &str, faults: &str) {
    let found = Playbook::load("p.yaml", text, &runners()).err().unwrap_or_default();
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines.join("\n"), faults.trim());
}

const HEAD: &str = "id: a\nversion: 1\ntitle: A\ntrigger: {rules: [x]}\n";

fn after(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

#[tokio::test]
async fn every_fault_has_its_line_and_key() {
    let text = r#"
id: "a b"
version: 0
titel: A
mode: automatic
trigger:
  matchers: ["no matcher"]
  severity: bad
conditions:
  times: [{from: "8:00", zone: Nowhere}]
steps:
  - action: docker.restrat
    target: "{{ servce }}"
  - action: scale.up
    target: x
    with:
      by: 0
    timeout: soon
"#;
    check(
        text,
        r#"
p.yaml:2: ``: `title` is missing
p.yaml:2: `id`: letters, digits, `.`, `_` and `-`, at most 200
p.yaml:3: `version`: a whole number from 1 to 4294967295 is wanted here, not `0`
p.yaml:4: `titel`: unknown key; did you mean `title`?
p.yaml:5: `mode`: `automatic` is not one of dry_run, approve, earn, auto
p.yaml:7: `trigger.matchers[0]`: `no matcher` is not a matcher: it has none of = != =~ !~
p.yaml:8: `trigger.severity`: `bad` is not one of NORMAL, WARNING, CRITICAL
p.yaml:10: `conditions.times[0].from`: a time of the day is wanted here, such as "08:30"
p.yaml:10: `conditions.times[0].zone`: `Nowhere` is no zone of the IANA database, such as `Europe/Berlin`
p.yaml:13: `steps[0].target`: `{{ servce }}` is no placeholder; did you mean `service`?
p.yaml:17: `steps[1].with.by`: `by`: is at least 1
p.yaml:18: `steps[1].timeout`: a duration from 1ms to 7d, such as `30s`, is wanted here, not `soon`
"#,
    );
}

#[tokio::test]
async fn what_runners_refuse_is_found_at_load() {
    check(
        &after("steps: [{action: docker.restrat, target: x}]"),
        "p.yaml:5: `steps[0].action`: nobody does `docker.restrat`: it is misspelt, or switched off; did you mean `docker.restart`?",
    );
    check(
        &after("steps: [{action: block.ip, target: x}]"),
        "p.yaml:5: `steps[0].target`: `target`: is no address",
    );
    check(&after("steps: [{action: block.ip, target: \"{{ entity.value }}\"}]"), "");
}

#[tokio::test]
async fn small_mistakes_are_told_with_what_would_do() {
    check(
        "id: [",
        "p.yaml:2: ``: did not find expected node content at line 2 column 1, while parsing a flow node",
    );
    check("- 1", "p.yaml:1: ``: a mapping is wanted here, not a list");
    check(&after("steps: []"), "p.yaml:5: `steps`: at least one step is wanted here");
    check(
        "id: a\nversion: 1\ntitle: A\ntrigger: {severity: WARNING}\nsteps: [{action: annotate, target: x}]\n",
        "p.yaml:4: `trigger`: names neither `rules` nor `matchers`; write `rules: [\"*\"]` for every alert",
    );
    let steps = "steps: [{action: annotate, target: x}]\n";
    check(
        &after(&format!(
            "{steps}verification:\n  within: 5s\n  wait: 1s\n  checks:\n    - alert_quiet: 1m\n    - tpc: x"
        )),
        "p.yaml:6: `verification`: `alert_quiet` is longer than `wait` and `within` together: it could never be seen\n\
         p.yaml:11: `verification.checks[1].tpc`: is no check; did you mean `tcp`?",
    );
    check(&after(&format!("{steps}---\n{HEAD}{steps}")), "p.yaml:7: `id`: `a` is used above already");
}

#[test]
fn the_playbooks_that_come_with_heimdall_only_rehearse() {
    let built_in = crate::built_in();
    assert!(built_in.len() >= 7);
    assert!(built_in.iter().all(|playbook| playbook.mode == Mode::DryRun && playbook.enabled));
    let mut ids: Vec<&str> = built_in.iter().map(|playbook| playbook.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), built_in.len());
}

#[test]
fn the_example_of_the_guide_reads() {
    let guide = include_str!("../../../../docs/response.md");
    let examples: Vec<&str> =
        guide.split("```yaml\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples.iter().filter(|example| example.starts_with("id:")) {
        let playbooks = Playbook::parse("docs/response.md", example).unwrap();
        assert_eq!(playbooks.len(), 1);
        let again: Playbook = serde_json::from_str(&serde_json::to_string(&playbooks[0]).unwrap()).unwrap();
        assert_eq!(again.hash(), playbooks[0].hash());
    }
}

#[test]
fn the_hash_is_of_the_content_alone() {
    let hash = |text: &str| Playbook::parse("a", text).unwrap()[0].hash();
    let text = after("steps: [{action: annotate, target: x}]\n");
    assert_eq!(hash(&text), hash(&format!("# a comment\n{text}")));
    assert_ne!(hash(&text), hash(&text.replace("target: x", "target: y")));
    assert_eq!(hash(&text).len(), 32);
}
