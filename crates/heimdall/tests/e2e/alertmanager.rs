//! Heimdall in the place of Alertmanager: a real Prometheus and a real `amtool`, unchanged.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use heimdall_testkit::{Finished, Running, Server, Tool, skip};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{free_port, server};

/// The alerts amtool silences.
const SILENCED: &str = "alertname=ShopDown";

/// A command of amtool, run to its end.
struct Amtool {
    tool: Tool,
    url: String,
}

impl Amtool {
    fn run(&self, args: &[&str]) -> Finished {
        self.tool.command().arg(format!("--alertmanager.url={}", self.url)).args(args.iter().copied()).run()
    }

    /// What it says, without white space around; it must succeed and complain of nothing.
    #[track_caller]
    fn say(&self, args: &[&str]) -> String {
        let finished = self.run(args).expect(0);
        assert_eq!(finished.stderr, "", "{args:?}");
        finished.stdout.trim().to_owned()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Vec<Value> {
        let said = self.say(&[&["--output=json"], args].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said}"))
    }
}

/// Answers every request as a target of Prometheus that is well. Ends with the test.
fn well(address: SocketAddr) {
    let listener = TcpListener::bind(address).expect("the port is still free");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: 9\r\nConnection: close\r\n\r\nsales 17\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// A Prometheus with one rule, which fires while nobody listens at `target`; it tells the server.
fn prometheus(tool: &Tool, dir: &Path, server: &Server, target: SocketAddr) -> Running {
    let rules = dir.join("rules.yml");
    let rule = "groups:\n- name: shop\n  rules:\n  - alert: ShopDown\n    expr: up{job=\"shop\"} == 0\n    \
                labels: {severity: page, service: shop}\n    annotations: {summary: 'nobody answers at {{ $labels.instance }}'}\n";
    std::fs::write(&rules, rule).expect("a file");
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
         alerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['{}']}}]\n\
         scrape_configs:\n- job_name: shop\n  static_configs: [{{targets: ['{target}']}}]\n",
        rules.display(),
        server.http()
    );
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, config).expect("a file");
    tool.command()
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
        .arg(format!("--web.listen-address={}", free_port()))
        .start()
}

/// The alert of the rule, whatever its status.
fn shop_down(server: &Server) -> Option<Value> {
    let page = server.get_json("/api/v1/alerts?rule=ShopDown");
    page["items"].as_array()?.first().cloned()
}

#[test]
fn an_alert_of_prometheus_fires_is_silenced_by_amtool_and_resolves() {
    let Some(tool) = Tool::find("prometheus") else { skip!("prometheus is not installed") };
    let Some(amtool) = Tool::find("amtool") else { skip!("amtool is not installed") };
    let server = server().start();
    let amtool = Amtool { tool: amtool, url: server.url("") };
    let dir = tempdir().expect("a folder");
    let target = free_port();
    let prometheus = prometheus(&tool, dir.path(), &server, target);
    let alert = server.wait_for("the alert of the rule", shop_down);
    assert_eq!((&alert["status"], &alert["severity"]), (&json!("OPEN"), &json!("CRITICAL")), "{alert}");
    assert_eq!((&alert["service"], &alert["labels"]["job"]), (&json!("shop"), &json!("shop")), "{alert}");
    assert_eq!(alert["annotations"]["summary"], format!("nobody answers at {target}"));
    assert!(alert["source_url"].as_str().is_some_and(|url| url.contains("/graph?")), "{alert}");

    let shown = amtool.json(&["alert", "query", "ShopDown"]);
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!(
        (&shown[0]["status"]["state"], &shown[0]["labels"]["severity"]),
        (&json!("active"), &json!("page"))
    );

    let silence =
        amtool.say(&["silence", "add", SILENCED, "instance=~127.*", "--comment=moving", "--author=ann"]);
    server.wait_for("the silence to take hold", |_| {
        amtool.json(&["alert", "query", "ShopDown"]).is_empty().then_some(())
    });
    let quiet = amtool.json(&["alert", "query", "--silenced", "ShopDown"]);
    assert_eq!(quiet[0]["status"]["silencedBy"], json!([silence]), "{quiet:?}");
    assert_eq!(shop_down(&server).expect("the alert")["muted"]["kind"], "silence");
    assert_eq!(amtool.say(&["silence", "expire", &silence]), "");
    server.wait_for("the alert to be heard again", |_| {
        (amtool.json(&["alert", "query", "ShopDown"]).len() == 1).then_some(())
    });

    well(target);
    server.wait_for("the alert to be over", |server| {
        (shop_down(server)?["status"] == "RESOLVED").then_some(())
    });
    assert!(amtool.json(&["alert", "query", "ShopDown"]).is_empty());
    let _ = prometheus.terminate();
}

#[test]
fn amtool_works_unchanged_also_below_a_prefix() {
    let Some(tool) = Tool::find("amtool") else { skip!("amtool is not installed") };
    let server = server().start();
    for path in ["", "/alertmanager"] {
        let amtool = Amtool { tool: tool.clone(), url: server.url(path) };
        let name = format!("Disk{}", path.len());
        assert_eq!(amtool.say(&["alert", "add", &name, "node=db1", "--annotation=summary=full"]), "");
        let alerts = amtool.json(&["alert", "query", &format!("alertname={name}"), "node=~db.*"]);
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        assert_eq!(alerts[0]["labels"], json!({"alertname": name, "node": "db1"}));
        assert_eq!(alerts[0]["annotations"], json!({"summary": "full"}));
        assert!(amtool.json(&["alert", "query", &name, "node!=db1"]).is_empty());

        let id = amtool.say(&["silence", "add", &name, "node=db1", "-c", "swap", "-a", "bob", "-d", "2h"]);
        let listed = amtool.json(&["silence", "query", &name]);
        assert_eq!((listed.len(), &listed[0]["id"]), (1, &json!(id)), "{listed:?}");
        assert_eq!((&listed[0]["createdBy"], &listed[0]["comment"]), (&json!("bob"), &json!("swap")));
        let updated = amtool.json(&["silence", "update", &id, "--duration=3h", "--comment=still swapping"]);
        assert_eq!(updated[0]["comment"], "still swapping", "{updated:?}");
        let id = updated[0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(amtool.say(&["silence", "expire", &id]), "");
        assert!(amtool.json(&["silence", "query", &name]).is_empty());
        let expired = amtool.json(&["silence", "query", "--expired", &name]);
        assert!(expired.iter().any(|silence| silence["status"]["state"] == "expired"), "{expired:?}");

        assert!(amtool.say(&["config", "show"]).contains("receivers:"));
        assert!(amtool.say(&["config", "routes", "show"]).contains("Routing tree"));
        assert!(amtool.say(&["cluster", "show"]).contains("disabled"));
    }
    let amtool = Amtool { tool, url: server.url("") };
    let refused = amtool.run(&["silence", "expire", "00000000-0000-7000-8000-000000000000"]).expect(1);
    assert!(refused.stderr.contains("404"), "{}", refused.stderr);
    let trail = server.get_json("/api/v1/audit?limit=1000").to_string();
    assert!(trail.contains("silence.add") && trail.contains("silence.expire"), "{trail}");
}
