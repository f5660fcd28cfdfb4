//! Files of rules: one or several YAML documents each, rules, correlations and filters side by side.
//!
//! Collections of the first Sigma are read too: `action: global` is merged into the documents that follow it, until
//! `action: reset`; `action: repeat` is the document before it with changes.
//!
//! Invariant: a document that cannot be used is in `failures` with file, line and reason; the others are kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use yaml_serde::{Mapping, Value};

use crate::condition::Condition;
use crate::correlation::Correlation;
use crate::error::{Fault, LoadError};
use crate::rule::{self, Detection, LogSource, Rule};

/// Largest file read.
pub const FILE_BYTES_MAX: u64 = 8 << 20;
/// Deepest folder read.
const FOLDER_DEPTH_MAX: usize = 32;

/// Rules as written, with those that could not be read.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    /// Rules about single events.
    pub rules: Vec<Rule>,
    /// Rules about several.
    pub correlations: Vec<Correlation>,
    pub(crate) filters: Vec<Filter>,
    /// What could not be read.
    pub failures: Vec<LoadError>,
    ids: HashMap<String, (String, usize)>,
}

/// Tuning of other rules: these match only where the filter's condition holds too.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub logsource: LogSource,
    /// Ids or names; none is every rule of the log source.
    pub rules: Vec<String>,
    pub detections: Vec<(String, Detection)>,
    pub conditions: Vec<Condition>,
    pub file: String,
    pub line: usize,
    pub title: String,
}

impl Collection {
    /// Reads every document of a file.
    pub fn add_file(&mut self, file: &str, content: &str) {
        let mut global = Mapping::new();
        let mut previous = Mapping::new();
        for (line, document) in documents(content) {
            let place = Place { file, line, text: document };
            let mut doc = match yaml_serde::from_str::<Value>(document) {
                Ok(Value::Null) => continue,
                Ok(Value::Mapping(doc)) => doc,
                Ok(_) => {
                    self.failures.push(place.error(None, Fault::new("not a map")));
                    continue;
                }
                Err(error) => {
                    self.failures.push(place.syntax(&error));
                    continue;
                }
            };
            match doc.remove("action").and_then(|action| action.as_str().map(str::to_owned)).as_deref() {
                Some("global") => merge(&mut global, doc),
                Some("reset") => global = Mapping::new(),
                Some("repeat") => {
                    merge(&mut previous, doc);
                    self.add(&previous, &place);
                }
                _ => {
                    previous = global.clone();
                    merge(&mut previous, doc);
                    self.add(&previous, &place);
                }
            }
        }
    }

    /// Reads every `.yml` and `.yaml` file below a folder, in the order of their names; hidden files and linked folders
    /// are left out.
    ///
    /// The only IO of this crate. A file or folder that cannot be read is one more failure.
    pub fn add_folder(&mut self, folder: &Path) {
        let mut files = Vec::new();
        self.list(folder, 0, &mut files);
        files.sort();
        for file in files {
            let name = file.display().to_string();
            match read(&file) {
                Ok(content) => self.add_file(&name, &content),
                Err(reason) => {
                    self.failures.push(LoadError { file: name, line: 1, column: None, rule: None, reason });
                }
            }
        }
    }

    fn list(&mut self, folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
        let mut fail = |reason: String| {
            let file = folder.display().to_string();
            self.failures.push(LoadError { file, line: 1, column: None, rule: None, reason });
        };
        if depth > FOLDER_DEPTH_MAX {
            return fail(format!("folders are nested deeper than {FOLDER_DEPTH_MAX}"));
        }
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return fail(format!("could not read the folder: {error}")),
        };
        let mut folders = Vec::new();
        for entry in entries.flatten() {
            // Hidden entries hold what tools keep for themselves; a linked folder may lead back here.
            let (path, is_hidden) = (entry.path(), entry.file_name().as_encoded_bytes().starts_with(b"."));
            if is_hidden {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yml" || end == "yaml") {
                files.push(path);
            }
        }
        folders.sort();
        for inner in folders {
            self.list(&inner, depth + 1, files);
        }
    }

    fn add(&mut self, doc: &Mapping, place: &Place<'_>) {
        if let Err(fault) = self.try_add(doc, place) {
            self.failures.push(place.error(rule::name_of(doc), fault));
        }
    }

    fn try_add(&mut self, doc: &Mapping, place: &Place<'_>) -> Result<(), Fault> {
        if doc.contains_key("correlation") {
            let correlation = Correlation::read(doc, place.file, place.line)?;
            self.claim(&correlation.meta.id, place)?;
            self.correlations.push(correlation);
        } else if doc.contains_key("filter") {
            self.filters.push(Filter::read(doc, place)?);
        } else if doc.contains_key("detection") {
            let rule = Rule::read(doc, place.file, place.line, place.text)?;
            self.claim(&rule.meta.id, place)?;
            self.rules.push(rule);
        } else {
            return Err(Fault::new("`detection`, `correlation` or `filter` is missing"));
        }
        Ok(())
    }

    fn claim(&mut self, id: &str, place: &Place<'_>) -> Result<(), Fault> {
        if let Some((file, line)) = self.ids.get(id) {
            return Err(Fault::new(format!("the id is taken by the rule at {file}:{line}")).near("id:"));
        }
        self.ids.insert(id.to_owned(), (place.file.to_owned(), place.line));
        Ok(())
    }
}

impl Filter {
    fn read(doc: &Mapping, place: &Place<'_>) -> Result<Filter, Fault> {
        let section = rule::map(doc, "filter")?;
        let rules = match section.get("rules") {
            None => Vec::new(),
            Some(Value::String(word)) if word == "any" => Vec::new(),
            Some(value) => {
                rule::texts(value).ok_or_else(|| Fault::new("`rules` must be a list of ids").near("rules"))?
            }
        };
        let (detections, conditions) = rule::read_detections(section, &["rules"])?;
        Ok(Filter {
            logsource: rule::read_logsource(doc)?,
            rules,
            detections,
            conditions,
            file: place.file.to_owned(),
            line: place.line,
            title: rule::text(doc, "title").unwrap_or_default(),
        })
    }

    pub(crate) fn is_for(&self, rule: &Rule) -> bool {
        let named = |id: &String| *id == rule.meta.id || Some(id) == rule.meta.name.as_ref();
        self.logsource.covers(&rule.logsource) && (self.rules.is_empty() || self.rules.iter().any(named))
    }
}

/// Where a document is.
struct Place<'a> {
    file: &'a str,
    line: usize,
    text: &'a str,
}

impl Place<'_> {
    fn error(&self, rule: Option<String>, fault: Fault) -> LoadError {
        let (below, column) = fault.near.and_then(|text| place_of(self.text, &text)).unzip();
        let line = self.line + below.unwrap_or(0);
        LoadError { file: self.file.to_owned(), line, column, rule, reason: fault.reason }
    }

    fn syntax(&self, error: &yaml_serde::Error) -> LoadError {
        let at = error.location();
        let line = self.line + at.as_ref().map_or(0, |at| at.line().saturating_sub(1));
        let column = at.map(|at| at.column().max(1));
        LoadError {
            file: self.file.to_owned(),
            line,
            column,
            rule: None,
            reason: format!("not YAML: {error}"),
        }
    }
}

/// Index of the line that holds the text, best as a key.
pub(crate) fn line_of(document: &str, text: &str) -> Option<usize> {
    let is_key = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ").trim_start().trim_start_matches(['"', '\'']);
        line.strip_prefix(text)
            .is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
    };
    document.lines().position(is_key).or_else(|| document.lines().position(|line| line.contains(text)))
}

/// The same, with the character in the line at which the text begins, from 1.
pub(crate) fn place_of(document: &str, text: &str) -> Option<(usize, usize)> {
    let index = line_of(document, text)?;
    let line = document.lines().nth(index)?;
    Some((index, line.find(text).map_or(1, |at| line[..at].chars().count() + 1)))
}

/// The documents of a file, each with its first line. A line `---` separates them.
fn documents(content: &str) -> Vec<(usize, &str)> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    let mut out = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    for (index, line) in content.split_inclusive('\n').enumerate() {
        let bare = line.trim_end();
        let separates =
            bare == "---" || bare == "..." || line.starts_with("--- ") || line.starts_with("---\t");
        if separates {
            out.push((first_line, &content[start..at]));
            (start, first_line) = (at + line.len(), index + 2);
        }
        at += line.len();
    }
    out.push((first_line, &content[start..]));
    out.retain(|(_, text)| text.lines().any(|line| !line.trim().is_empty() && !line.starts_with(['#', '%'])));
    out
}

/// Adds `changes` to `base`; maps in both are merged, anything else is replaced.
fn merge(base: &mut Mapping, changes: Mapping) {
    for (key, value) in changes {
        match (base.get_mut(&key), value) {
            (Some(Value::Mapping(old)), Value::Mapping(new)) => merge(old, new),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

fn read(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|error| format!("could not read the file: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(file).map_err(|error| format!("could not read the file: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(content: &str) -> Collection {
        let mut collection = Collection::default();
        collection.add_file("f.yml", content);
        collection
    }

    #[track_caller]
    fn check_failure(content: &str, shown: &str) {
        let failures: Vec<String> = load(content).failures.iter().map(ToString::to_string).collect();
        assert_eq!(failures, [shown]);
    }

    const HEAD: &str = "title: T\nid: r1\nlogsource:\n  product: x\ndetection:\n";

    #[test]
    fn reads_what_a_rule_says_of_itself() {
        let content = "title: Odd Parent\nid: a-b\nname: odd\nstatus: test\nlevel: HIGH\nauthor: Ada, Bob\ndate: 2026-01-02\nlicense: MIT\n\
            tags: [attack.t1059, attack.execution]\nreferences: https://example.com\nfalsepositives:\n  - Unlikely\nfields: [a]\n\
            logsource: {product: linux, service: sshd, definition: some text}\ndetection: {s: {a: 1}, condition: s}\n";
        let rules = load(content).rules;
        let meta = &rules[0].meta;
        assert_eq!(
            (meta.id.as_str(), meta.name.as_deref(), meta.title.as_str()),
            ("a-b", Some("odd"), "Odd Parent")
        );
        assert_eq!((meta.level, meta.status), (Some(rule::Level::High), Some(rule::Status::Test)));
        assert_eq!((meta.author.as_str(), meta.date.as_deref()), ("Ada, Bob", Some("2026-01-02")));
        assert_eq!((meta.tags.len(), meta.references.len(), meta.falsepositives.len()), (2, 1, 1));
        assert_eq!(rules[0].logsource, LogSource::new("", "linux", "sshd"));
    }

    #[test]
    fn failures_name_file_line_and_reason() {
        check_failure(
            &format!("{HEAD}  sel:\n    Image|contain: x\n  condition: sel\n"),
            "f.yml:7: rule `r1`: unknown modifier `contain` in `Image|contain`",
        );
        check_failure(
            &format!("{HEAD}  sel:\n    a: b\n  condition: sel and\n"),
            "f.yml:8: rule `r1`: the condition ends early",
        );
        check_failure(&format!("{HEAD}  sel: {{a: b}}\n"), "f.yml:5: rule `r1`: `condition` is missing");
        check_failure(&format!("{HEAD}  condition: sel\n"), "f.yml:5: rule `r1`: no detection is defined");
        check_failure(
            &format!("{HEAD}  sel: {{a: []}}\n  condition: sel\n"),
            "f.yml:6: rule `r1`: `a` has no values",
        );
        check_failure(
            &format!("{HEAD}  sel: {{a: {{b: c}}}}\n  condition: sel\n"),
            "f.yml:6: rule `r1`: `a` holds a map, want a value or a list",
        );
        check_failure(
            "title: T\nid: x\n",
            "f.yml:1: rule `x`: `detection`, `correlation` or `filter` is missing",
        );
        check_failure("- a\n", "f.yml:1: not a map");
        check_failure(
            "title: T\nid: x\nlogsource: {definition: d}\ndetection: {s: {a: 1}, condition: s}\n",
            "f.yml:3: rule `x`: `logsource` names no category, product or service",
        );
        check_failure(
            "title: T\nlevel: huge\nlogsource: {product: d}\ndetection: {s: {a: 1}, condition: s}\n",
            "f.yml:2: rule `T`: `level`: unknown variant `huge`, expected one of `informational`, `low`, `medium`, `high`, `critical`",
        );
    }

    #[test]
    fn a_broken_document_leaves_the_others() {
        let content = format!(
            "{HEAD}  s: {{a: 1}}\n  condition: s\n---\ntitle: [\n---\n{}  s: {{a: 1}}\n  condition: s\n",
            HEAD.replace("r1", "r2")
        );
        let loaded = load(&content);
        assert_eq!(loaded.rules.len(), 2);
        assert_eq!(loaded.failures.len(), 1);
        assert!(
            loaded.failures[0].line >= 9 && loaded.failures[0].reason.starts_with("not YAML"),
            "{:?}",
            loaded.failures
        );
    }

    #[test]
    fn an_id_is_used_once() {
        let content =
            format!("{HEAD}  s: {{a: 1}}\n  condition: s\n---\n{HEAD}  s: {{a: 1}}\n  condition: s\n");
        let loaded = load(&content);
        assert_eq!(loaded.rules.len(), 1);
        assert_eq!(
            loaded.failures[0].to_string(),
            "f.yml:10: rule `r1`: the id is taken by the rule at f.yml:1"
        );
    }

    #[test]
    fn actions_share_documents() {
        let content = "action: global\ntitle: Shared\nlogsource: {product: windows}\n---\nid: a\nlogsource: {service: system}\ndetection: {s: {a: 1}, condition: s}\n\
            ---\naction: repeat\nid: b\nlogsource: {service: security}\n---\naction: reset\n---\ntitle: Own\nid: c\nlogsource: {product: linux}\ndetection: {s: {a: 1}, condition: s}\n";
        let loaded = load(content);
        assert_eq!(loaded.failures, []);
        let seen: Vec<_> = loaded
            .rules
            .iter()
            .map(|r| (r.meta.id.as_str(), r.meta.title.as_str(), r.logsource.clone()))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", "Shared", LogSource::new("", "windows", "system")),
                ("b", "Shared", LogSource::new("", "windows", "security")),
                ("c", "Own", LogSource::new("", "linux", "")),
            ]
        );
    }

    #[test]
    fn folders_are_read_in_order_and_what_is_unreadable_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        let rule = |id: &str| format!("{}  s: {{a: 1}}\n  condition: s\n", HEAD.replace("r1", id));
        write("b/two.yaml", &rule("two"));
        write("a/one.yml", &rule("one"));
        write("a/.hidden.yml", &rule("hidden"));
        write("readme.md", "text");
        std::fs::write(folder.path().join("bad.yml"), b"title: \xFF").unwrap();
        let mut loaded = Collection::default();
        loaded.add_folder(folder.path());
        loaded.add_folder(&folder.path().join("absent"));
        let ids: Vec<_> = loaded.rules.iter().map(|rule| rule.meta.id.as_str()).collect();
        assert_eq!(ids, ["one", "two"]);
        let reasons: Vec<_> = loaded.failures.iter().map(|failure| failure.reason.as_str()).collect();
        assert!(reasons[0].starts_with("could not read the file"), "{reasons:?}");
        assert!(reasons[1].starts_with("could not read the folder"), "{reasons:?}");
    }
}
