//! Conditions on one record.
//!
//! ```yaml
//! if: {field: level, in: [debug, trace]}
//! if: {all: [{field: status, gte: 500}, {not: {field: path, glob: "/health*"}}]}
//! ```
//!
//! Texts compare without regard to case, as in search lines; a field that is absent fits nothing but `exists: false` and `not`.

use heimdall_extract::compile_regex;
use heimdall_model::Dataset;
use ipnet::IpNet;
use regex::Regex;
use serde::Deserialize;

use super::doc::{Doc, FieldRef, Found};

/// Deepest nesting of conditions.
const DEPTH_MAX: usize = 8;
/// Most tests of one condition.
const TESTS_MAX: usize = 200;

/// A condition, ready.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Test(FieldRef, Vec<Test>),
}

#[derive(Debug, Clone)]
pub(crate) enum Test {
    Exists(bool),
    In(Vec<String>),
    Contains(String),
    Regex(Regex),
    Cidr(Vec<IpNet>),
    Less(f64),
    AtMost(f64),
    Greater(f64),
    AtLeast(f64),
}

/// The tests of one field, as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenOne {
    field: Option<String>,
    exists: Option<bool>,
    equals: Option<serde_json::Value>,
    r#in: Option<Vec<serde_json::Value>>,
    contains: Option<String>,
    regex: Option<String>,
    glob: Option<OneOrMore>,
    cidr: Option<OneOrMore>,
    lt: Option<f64>,
    lte: Option<f64>,
    gt: Option<f64>,
    gte: Option<f64>,
}

/// One text, or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(crate) fn as_slice(&self) -> &[String] {
        match self {
            OneOrMore::One(one) => std::slice::from_ref(one),
            OneOrMore::More(more) => more,
        }
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
        // `untagged` tells nobody what is wrong: a mapping is read by itself.
        let value = serde_json::Value::deserialize(deserializer)?;
        let mut tests = 0;
        Condition::of(&value, 0, &mut tests).map_err(serde::de::Error::custom)
    }
}

impl Condition {
    fn of(value: &serde_json::Value, depth: usize, tests: &mut usize) -> Result<Condition, String> {
        if depth > DEPTH_MAX {
            return Err(format!("conditions are nested deeper than {DEPTH_MAX}"));
        }
        let each = |list: &[serde_json::Value], tests: &mut usize| {
            list.iter().map(|one| Condition::of(one, depth + 1, tests)).collect::<Result<Vec<_>, _>>()
        };
        if let serde_json::Value::Array(list) = value {
            return Ok(Condition::All(each(list, tests)?));
        }
        for (key, make) in
            [("all", Condition::All as fn(Vec<Condition>) -> Condition), ("any", Condition::Any)]
        {
            if let Some(inside) = value.get(key) {
                alone(value, key)?;
                let list = inside.as_array().ok_or_else(|| format!("`{key}` is a list of conditions"))?;
                return Ok(make(each(list, tests)?));
            }
        }
        if let Some(inside) = value.get("not") {
            alone(value, "not")?;
            return Ok(Condition::Not(Box::new(Condition::of(inside, depth + 1, tests)?)));
        }
        let one: WrittenOne =
            serde_json::from_value(value.clone()).map_err(|error| format!("condition: {error}"))?;
        let field = one.field.as_deref().ok_or("a condition needs a `field`")?;
        let field = FieldRef::new(field)?;
        let list = one.tests()?;
        if list.is_empty() {
            return Err(format!(
                "the condition on `{}` says nothing: equals, in, exists, contains, regex, glob, cidr, lt, lte, gt, gte",
                field.path()
            ));
        }
        *tests += list.len();
        if *tests > TESTS_MAX {
            return Err(format!("a condition has at most {TESTS_MAX} tests"));
        }
        Ok(Condition::Test(field, list))
    }

    /// Whether the record fits.
    pub(crate) fn holds(&self, doc: &Doc<'_>, dataset: Dataset) -> bool {
        match self {
            Condition::All(parts) => parts.iter().all(|part| part.holds(doc, dataset)),
            Condition::Any(parts) => parts.iter().any(|part| part.holds(doc, dataset)),
            Condition::Not(inner) => !inner.holds(doc, dataset),
            Condition::Test(field, tests) => {
                let found = field.get(doc, dataset);
                tests.iter().all(|test| test.holds(found.as_ref()))
            }
        }
    }
}

fn alone(value: &serde_json::Value, key: &str) -> Result<(), String> {
    match value.as_object() {
        Some(object) if object.len() == 1 => Ok(()),
        _ => Err(format!("`{key}` stands alone in its condition")),
    }
}

impl WrittenOne {
    fn tests(self) -> Result<Vec<Test>, String> {
        let mut tests = Vec::new();
        tests.extend(self.exists.map(Test::Exists));
        tests.extend(self.equals.map(|value| Test::In(vec![plain(&value)])));
        tests.extend(self.r#in.map(|values| Test::In(values.iter().map(plain).collect())));
        tests.extend(self.contains.map(|text| Test::Contains(text.to_lowercase())));
        if let Some(pattern) = self.regex {
            tests.push(Test::Regex(compile_regex(&pattern)?));
        }
        if let Some(globs) = self.glob {
            tests.push(Test::Regex(glob_regex(globs.as_slice())?));
        }
        if let Some(networks) = self.cidr {
            let networks = networks.as_slice().iter().map(|text| network(text)).collect::<Result<_, _>>()?;
            tests.push(Test::Cidr(networks));
        }
        tests.extend(self.lt.map(Test::Less));
        tests.extend(self.lte.map(Test::AtMost));
        tests.extend(self.gt.map(Test::Greater));
        tests.extend(self.gte.map(Test::AtLeast));
        Ok(tests)
    }
}

impl Test {
    fn holds(&self, found: Option<&Found<'_>>) -> bool {
        let Some(found) = found else { return matches!(self, Test::Exists(false)) };
        let text = || match found {
            Found::Text(text) => text.as_ref(),
            Found::Json(json) => json,
        };
        let compares =
            |holds: fn(f64, f64) -> bool, than: f64| found.number().is_some_and(|n| holds(n, than));
        match self {
            Test::Exists(expected) => *expected,
            Test::In(values) => values.iter().any(|value| value.eq_ignore_ascii_case(text())),
            Test::Contains(part) => text().to_lowercase().contains(part),
            Test::Regex(regex) => regex.is_match(text()),
            Test::Cidr(networks) => {
                let address = text().trim().parse::<std::net::IpAddr>();
                address.is_ok_and(|address| networks.iter().any(|network| network.contains(&address)))
            }
            Test::Less(than) => compares(|a, b| a < b, *than),
            Test::AtMost(than) => compares(|a, b| a <= b, *than),
            Test::Greater(than) => compares(|a, b| a > b, *than),
            Test::AtLeast(than) => compares(|a, b| a >= b, *than),
        }
    }
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok();
    let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    network.or_else(address).ok_or_else(|| format!("`{text}` is no network"))
}

/// One expression for all of the patterns: `*` is any text, `?` any character, without regard to case.
pub(crate) fn glob_regex(globs: &[String]) -> Result<Regex, String> {
    let mut pattern = String::from("(?is)^(?:");
    for (n, glob) in globs.iter().enumerate() {
        if n > 0 {
            pattern.push('|');
        }
        for c in glob.chars() {
            match c {
                '*' => pattern.push_str(".*"),
                '?' => pattern.push('.'),
                c => pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
        }
    }
    pattern.push_str(")$");
    compile_regex(&pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"level":"WARN","status":503,"ip":"10.1.2.3","path":"/health/db","ok":true}"#;

    #[track_caller]
    fn check(condition: &str, expected: bool) {
        let condition: Condition = yaml_serde::from_str(condition).expect("a condition");
        let doc = Doc::parse(RECORD).expect("JSON");
        assert_eq!(condition.holds(&doc, Dataset::Logs), expected, "{condition:?}");
    }

    #[test]
    fn each_test_holds_and_does_not() {
        check("{field: level, equals: warn}", true);
        check("{field: level, in: [debug, trace]}", false);
        check("{field: status, equals: 503}", true);
        check("{field: ok, equals: true}", true);
        check("{field: status, gte: 500, lt: 600}", true);
        check("{field: level, gte: 500}", false);
        check("{field: source_ip, cidr: [192.168.0.0/16, 10.0.0.0/8]}", true);
        check("{field: source_ip, cidr: 10.1.2.4}", false);
        check("{field: path, glob: '/health*'}", true);
        check("{field: path, glob: ['/x', '/y?']}", false);
        check("{field: path, regex: 'db$'}", true);
        check("{field: path, contains: HEALTH}", true);
        check("{field: none, exists: false}", true);
        check("{field: none, equals: ''}", false);
        check("{not: {field: none, equals: ''}}", true);
        check(
            "[{field: ok, exists: true}, {any: [{field: status, lt: 1}, {field: level, equals: warn}]}]",
            true,
        );
    }

    #[test]
    fn what_makes_no_condition_says_why() {
        let error = |text: &str| yaml_serde::from_str::<Condition>(text).expect_err("is wrong").to_string();
        assert!(error("{equals: 1}").contains("needs a `field`"));
        assert!(error("{field: a}").contains("says nothing"));
        assert!(error("{field: a, regexp: b}").contains("unknown field `regexp`"));
        assert!(error("{field: a, regex: '('}").contains("regular expression is not valid"));
        assert!(error("{field: a, cidr: x}").contains("no network"));
        assert!(error("{all: 1}").contains("list of conditions"));
        assert!(error("{not: {field: a, exists: true}, field: b}").contains("stands alone"));
    }
}
