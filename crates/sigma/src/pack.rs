//! The rules that come with the product: correlations, of which the public corpus has none.

use crate::collection::Collection;

/// Content of the pack.
const CORRELATIONS: &str = include_str!("../packs/correlations.yml");

impl Collection {
    /// Adds the correlations that come with the product: guessing, spraying and success after them for Windows and
    /// SSH, web and port scans, sweeps.
    pub fn add_builtin(&mut self) {
        self.add_file("builtin/correlations.yml", CORRELATIONS);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::correlator::{Correlator, CorrelatorLimits, Seen};
    use crate::engine::{Engine, Matcher};
    use crate::pipeline::Pipeline;
    use crate::rule::LogSource;

    /// Ids of what gives an alert when the events come one a second.
    fn alerts(
        pipelines: &[Pipeline],
        source: &LogSource,
        events: impl Iterator<Item = Value>,
    ) -> Vec<String> {
        let mut collection = Collection::default();
        collection.add_builtin();
        let engine = Arc::new(Engine::new(collection, pipelines));
        assert_eq!(engine.failures(), []);
        let mut matcher = Matcher::new(Arc::clone(&engine));
        let mut correlator = Correlator::new(Arc::clone(&engine), CorrelatorLimits::default());
        let mut found = Vec::new();
        for (second, event) in (0..).zip(events) {
            let rules = matcher.matches(std::slice::from_ref(source), &event).to_vec();
            assert!(rules.iter().all(|rule| engine.correlations().is_silent(*rule)));
            let seen = Seen { time_ns: second * 1_000_000_000, id: 0, rules: &rules, event: &event };
            correlator.observe(&seen, &mut found);
        }
        let ids: Vec<&str> = engine.correlations().iter().map(|rule| rule.meta.id.as_str()).collect();
        let is_loud = |index: &usize| !engine.correlations().is_silent_correlation(*index);
        found.iter().map(|one| one.correlation).filter(is_loud).map(|index| ids[index].to_owned()).collect()
    }

    fn logon(id: u16, user: &str) -> Value {
        json!({"EventID": id, "LogonType": 3, "TargetUserName": user, "IpAddress": "192.0.2.7", "Computer": "DC-1"})
    }

    #[test]
    fn windows() {
        let source = LogSource::new("", "windows", "security");
        let guessed = (0..7).map(|_| logon(4625, "bob")).chain([logon(4624, "bob")]);
        assert_eq!(alerts(&[], &source, guessed), ["hd-windows-guessed"]);
        let stuck = (0..60).map(|_| logon(4625, "bob"));
        assert_eq!(alerts(&[], &source, stuck), ["hd-windows-bruteforce"]);
        let sprayed = (0..12).map(|n| logon(4625, &format!("user{n}")));
        assert_eq!(alerts(&[], &source, sprayed), ["hd-windows-spraying"]);
        let usual = (0..50).map(|n| logon(if n % 20 == 0 { 4625 } else { 4624 }, "bob"));
        assert_eq!(alerts(&[], &source, usual), [] as [String; 0]);
    }

    #[test]
    fn ssh() {
        let source = LogSource::new("", "linux", "sshd");
        let line = |message: &str| json!({"message": message, "host": "web-1", "source_ip": "192.0.2.7"});
        let failed = || (0..25).map(|_| line("Failed password for root from 192.0.2.7 port 4000 ssh2"));
        assert_eq!(alerts(&[], &source, failed()), ["hd-ssh-bruteforce"]);
        let guessed = failed().chain([line("Accepted password for root from 192.0.2.7 port 4000 ssh2")]);
        assert_eq!(alerts(&[], &source, guessed), ["hd-ssh-bruteforce", "hd-ssh-guessed"]);
    }

    #[test]
    fn web_by_the_names_of_access_logs() {
        let source = LogSource::new("webserver", "", "");
        let web = [Pipeline::builtin("web").unwrap()];
        let asked =
            |path: String| json!({"method": "GET", "path": path, "status": 404, "source_ip": "192.0.2.7"});
        assert_eq!(alerts(&web, &source, (0..80).map(|n| asked(format!("/{n}")))), ["hd-web-scan"]);
        assert_eq!(alerts(&web, &source, (0..80).map(|_| asked("/logo".to_owned()))), [] as [String; 0]);
    }

    #[test]
    fn firewall() {
        let source = LogSource::new("firewall", "", "");
        let tried = |host: u32, port: u32| json!({"src_ip": "192.0.2.7", "dst_ip": format!("10.0.0.{host}"), "dst_port": port});
        // A hundred hosts in ten minutes are a sweep; sixty ports in a minute are not yet a scan.
        assert_eq!(alerts(&[], &source, (0..200).map(|n| tried(n, 445))), ["hd-port-sweep"]);
        assert_eq!(alerts(&[], &source, (0..200).map(|n| tried(1, n))), [] as [String; 0]);
    }
}
