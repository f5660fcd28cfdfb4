//! What is found in a text: the groups of a pattern, or the pairs of a document.
//!
//! Invariants:
//! - a pattern has at most [`COLUMNS_MAX`] named groups, a grok pattern grows to at most [`GROK_BYTES_MAX`];
//! - a piece that a number would be written as becomes that number (`12`, not `012` nor `1.50`); others stay text;
//! - a document is a JSON object that [`heimdall_model::attributes`] reads: of JSON text itself, of pairs one made of them.

use std::borrow::Cow;
use std::sync::LazyLock;

use foldhash::HashMap;
use heimdall_model::Value;
use regex::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Most columns of one `parse`.
pub const COLUMNS_MAX: usize = 50;
/// Longest regular expression a grok pattern becomes.
pub const GROK_BYTES_MAX: usize = 64 << 10;
/// Largest compiled form of a regular expression.
pub const REGEX_BYTES_MAX: usize = 4 << 20;
/// Deepest nesting of named patterns.
const GROK_DEPTH_MAX: usize = 16;
/// Most pairs looked at in one text.
const PAIRS_MAX: usize = 1_000;

/// Compiles a regular expression within its bound.
///
/// # Errors
/// A line for people.
pub fn compile_regex(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!("the regular expression takes more than {} MiB", REGEX_BYTES_MAX >> 20)
        }
        other => {
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("the regular expression is not valid: {reason}")
        }
    })
}

/// How a text is taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A JSON object, from the first brace on.
    Json,
    /// `key=value key="a value" flag`, from the first to the last.
    Logfmt,
    /// `key=value` pairs anywhere, between spaces, commas, semicolons or ampersands.
    Pairs,
    /// The first match of a regular expression with named groups.
    Regex(String),
    /// The first match of a grok pattern: `%{IP:client}`.
    Grok(String),
    /// The first match of a text with variables: `user <user> from <ip>`.
    Pattern(String),
}

impl Form {
    /// Names as written.
    pub const NAMES: [(&'static str, &'static str); 6] = [
        ("json", "a JSON object in the text"),
        ("logfmt", "key=value pairs and flags"),
        ("kv", "key=value pairs anywhere in the text"),
        ("regex", "named groups: regex \"(?P<user>\\w+)@\""),
        ("grok", "named patterns: grok \"%{IP:client} %{WORD:verb}\""),
        ("pattern", "text with variables: pattern \"user <user> from <ip>\""),
    ];

    /// The name as written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Form::Json => "json",
            Form::Logfmt => "logfmt",
            Form::Pairs => "kv",
            Form::Regex(_) => "regex",
            Form::Grok(_) => "grok",
            Form::Pattern(_) => "pattern",
        }
    }

    /// The pattern, where there is one.
    #[must_use]
    pub fn pattern(&self) -> Option<&str> {
        match self {
            Form::Json | Form::Logfmt | Form::Pairs => None,
            Form::Regex(pattern) | Form::Grok(pattern) | Form::Pattern(pattern) => Some(pattern),
        }
    }
}

/// A form made ready.
#[derive(Debug)]
pub enum Extractor {
    /// Makes a JSON object of the text.
    Document(fn(&str) -> Option<Cow<'_, str>>),
    /// The named groups of a regular expression.
    Groups {
        /// The expression.
        regex: Regex,
        /// Its groups, in order.
        groups: Vec<Group>,
    },
}

/// A named group of a pattern.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    index: usize,
    kind: Kind,
}

/// What the piece of a group becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// A number where it is written as one.
    Any,
    Int,
    Float,
    Text,
}

impl Extractor {
    /// Makes a form ready.
    ///
    /// # Errors
    /// A line for people.
    pub fn new(form: &Form) -> Result<Extractor, String> {
        let mut kinds = HashMap::default();
        let pattern = match form {
            Form::Json => return Ok(Extractor::Document(json)),
            Form::Logfmt => return Ok(Extractor::Document(|text| pairs(text, true))),
            Form::Pairs => return Ok(Extractor::Document(|text| pairs(text, false))),
            Form::Regex(pattern) => pattern.clone(),
            Form::Grok(pattern) => {
                let mut out = String::new();
                expand(pattern, 0, &mut out, &mut kinds)?;
                out
            }
            Form::Pattern(pattern) => variables(pattern)?,
        };
        let regex = compile_regex(&pattern)?;
        let named = regex.capture_names().enumerate();
        let groups: Vec<Group> = named
            .filter_map(|(index, name)| {
                let name = name?.to_owned();
                let kind = kinds.get(&name).copied().unwrap_or(Kind::Any);
                Some(Group { name, index, kind })
            })
            .collect();
        match groups.len() {
            0 => Err(format!("nothing is named in it: {}", example(form))),
            1..=COLUMNS_MAX => Ok(Extractor::Groups { regex, groups }),
            count => Err(format!("it names {count} columns, more than {COLUMNS_MAX}")),
        }
    }

    /// Columns it makes; none for a document, whose keys are not known beforehand.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let groups = match self {
            Extractor::Document(_) => [].as_slice(),
            Extractor::Groups { groups, .. } => groups,
        };
        groups.iter().map(|group| group.name.as_str())
    }
}

/// The values of the groups in a text, in order; absent where the text does not fit.
#[must_use]
pub fn group_values(regex: &Regex, groups: &[Group], text: Option<&str>) -> Vec<Value> {
    let captures = text.and_then(|text| regex.captures(text));
    groups.iter().map(|group| captures.as_ref().map_or(Value::Null, |found| group.value(found))).collect()
}

impl Group {
    fn value(&self, captures: &Captures<'_>) -> Value {
        let Some(piece) = captures.get(self.index).map(|found| found.as_str()) else { return Value::Null };
        match self.kind {
            Kind::Any => plain(piece),
            Kind::Text => Value::Text(piece.to_owned()),
            Kind::Int => piece.parse().map_or(Value::Null, Value::Int),
            Kind::Float => {
                piece.parse().ok().filter(|x: &f64| x.is_finite()).map_or(Value::Null, Value::Float)
            }
        }
    }
}

fn example(form: &Form) -> &'static str {
    match form {
        Form::Grok(_) => "write %{IP:client}",
        Form::Pattern(_) => "write user <user> from <ip>",
        _ => "write (?P<user>\\w+)",
    }
}

/// The value of a piece: a number where a number would be written so.
fn plain(piece: &str) -> Value {
    const DIGITS_MAX: usize = 24;
    let starts = piece.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    if starts && piece.len() <= DIGITS_MAX {
        if let Ok(n) = piece.parse::<i64>()
            && n.to_string() == piece
        {
            return Value::Int(n);
        }
        if let Ok(x) = piece.parse::<f64>()
            && x.to_string() == piece
        {
            return Value::Float(x);
        }
    }
    Value::Text(piece.to_owned())
}

// ---- documents ----------------------------------------------------------------------------------------------------

fn json(text: &str) -> Option<Cow<'_, str>> {
    let object = &text[text.find('{')?..];
    let mut values = serde_json::Deserializer::from_str(object).into_iter::<serde::de::IgnoredAny>();
    values.next()?.ok()?;
    Some(Cow::Borrowed(&object[..values.byte_offset()]))
}

/// The pairs of a text as a JSON object; `None` when there are none.
fn pairs(text: &str, flags: bool) -> Option<Cow<'_, str>> {
    let mut object = serde_json::Map::new();
    let mut rest = text;
    for _ in 0..PAIRS_MAX {
        rest = rest.trim_start_matches(is_between);
        if rest.is_empty() {
            break;
        }
        let end = rest.find(|c: char| is_between(c) || c == '=' || c == '"').unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(value) = after.strip_prefix('=') else {
            if flags && is_key(key) {
                object.insert(key.to_owned(), true.into());
            }
            rest = after.strip_prefix('"').unwrap_or(after);
            continue;
        };
        let (value, after) = piece(value);
        if is_key(key) {
            object.insert(key.to_owned(), plain(&value).to_json());
        }
        rest = after;
    }
    (!object.is_empty()).then(|| Cow::Owned(serde_json::Value::Object(object).to_string()))
}

fn is_between(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '&')
}

fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | '@'))
}

/// A value and what follows: up to the closing quote, in which a backslash takes the meaning of the next character, or up
/// to what stands between pairs.
fn piece(text: &str) -> (Cow<'_, str>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(is_between).unwrap_or(text.len());
        return (Cow::Borrowed(&text[..end]), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (Cow::Owned(value), &quoted[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => {}
            },
            other => value.push(other),
        }
    }
    (Cow::Owned(value), "")
}

// ---- patterns -----------------------------------------------------------------------------------------------------

/// The regular expression of a text with variables. A variable holds what stands up to the text after it, at the end of
/// the pattern a word; `<name*>` holds all that is left, `<_>` and `<*>` stand for anything.
fn variables(pattern: &str) -> Result<String, String> {
    let mut out = String::from("(?s)");
    let mut rest = pattern;
    while let Some(start) = rest.find('<') {
        let Some(len) = rest[start..].find('>') else { break };
        let (before, name) = (&rest[..start], &rest[start + 1..start + len]);
        literal(before, &mut out);
        rest = &rest[start + len + 1..];
        let all = name.len() > 1 && name.ends_with('*');
        let name = if all { &name[..name.len() - 1] } else { name };
        let value = match (all, rest.is_empty()) {
            (true, _) => ".*",
            (false, true) => r"\S+",
            (false, false) => ".*?",
        };
        match name {
            "_" | "*" => out.push_str(value),
            name if is_group_name(name) => {
                out.push_str("(?P<");
                out.push_str(name);
                out.push('>');
                out.push_str(value);
                out.push(')');
            }
            name => {
                return Err(format!("`<{name}>` is no variable: a name has letters, digits, `_` and `.`"));
            }
        }
        if rest.starts_with('<') {
            return Err(format!("there is no text between `<{name}>` and the next variable"));
        }
    }
    literal(rest, &mut out);
    Ok(out)
}

fn is_group_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

/// Text as it is; white space stands for any.
fn literal(text: &str, out: &mut String) {
    let mut words = text.split(char::is_whitespace);
    out.push_str(&regex::escape(words.next().unwrap_or_default()));
    let mut spaced = false;
    for word in words {
        if !spaced {
            out.push_str(r"\s+");
        }
        spaced = word.is_empty();
        out.push_str(&regex::escape(word));
    }
}

/// The library of named patterns.
static GROK: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let lines = include_str!("grok.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).collect()
});

/// Names of the library, in no order.
pub fn grok_names() -> impl Iterator<Item = &'static str> {
    GROK.keys().copied()
}

/// Writes a grok pattern as a regular expression: `%{NAME}`, `%{NAME:column}` and `%{NAME:column:int}`.
fn expand(
    pattern: &str,
    depth: usize,
    out: &mut String,
    kinds: &mut HashMap<String, Kind>,
) -> Result<(), String> {
    if depth > GROK_DEPTH_MAX {
        return Err(format!("its patterns are nested deeper than {GROK_DEPTH_MAX} levels"));
    }
    let mut rest = pattern;
    while let Some(start) = rest.find("%{") {
        out.push_str(&rest[..start]);
        let inside = &rest[start + 2..];
        let Some(end) = inside.find('}') else { return Err("a `%{` is not closed".to_owned()) };
        let mut parts = inside[..end].splitn(3, ':');
        let (name, column, kind) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let body = *GROK.get(name).ok_or_else(|| {
            let near = crate::nearest::nearest(name, grok_names());
            let hint = near.map_or(String::new(), |near| format!("; did you mean `%{{{near}}}`?"));
            format!("there is no pattern `%{{{name}}}`{hint}")
        })?;
        match column {
            None => out.push_str("(?:"),
            Some(column) => {
                // `[http][status]` is another way to write a path.
                let column = column.trim_matches(['[', ']']).replace("][", ".");
                if !is_group_name(&column) {
                    return Err(format!("`{column}` is no name for a column"));
                }
                let kind = match kind {
                    None => Kind::Any,
                    Some("int" | "long") => Kind::Int,
                    Some("float" | "double") => Kind::Float,
                    Some("string" | "text") => Kind::Text,
                    Some(other) => {
                        return Err(format!("`{other}` is no type; the types are int, float, string"));
                    }
                };
                out.push_str("(?P<");
                out.push_str(&column);
                out.push('>');
                kinds.insert(column, kind);
            }
        }
        expand(body, depth + 1, out, kinds)?;
        out.push(')');
        if out.len() > GROK_BYTES_MAX {
            return Err(format!("it grows longer than {} KiB", GROK_BYTES_MAX >> 10));
        }
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: Form, text: &str, expected: &str) {
        let found = match Extractor::new(&form).expect("is valid") {
            Extractor::Document(read) => read(text).map_or("nothing".to_owned(), |found| found.into_owned()),
            Extractor::Groups { regex, groups } => groups
                .iter()
                .zip(group_values(&regex, &groups, Some(text)))
                .filter(|(_, value)| !value.is_null())
                .map(|(group, value)| format!("{}={}", group.name, value.to_json()))
                .collect::<Vec<_>>()
                .join(" "),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn documents() {
        check(Form::Json, r#"got {"a":1,"b":{"c":[2]}} in 5 ms"#, r#"{"a":1,"b":{"c":[2]}}"#);
        check(Form::Json, "no {object} here", "nothing");
        check(Form::Json, "[1]", "nothing");
        check(
            Form::Logfmt,
            r#"level=warn msg="a \"b\" c" n=12 id=007 x=1.5 y=1.50 done"#,
            r#"{"done":true,"id":"007","level":"warn","msg":"a \"b\" c","n":12,"x":1.5,"y":"1.50"}"#,
        );
        check(Form::Pairs, "query took ms=12, rows=3; user=bob (ok)", r#"{"ms":12,"rows":3,"user":"bob"}"#);
        check(Form::Pairs, "a=\"unclosed", r#"{"a":"unclosed"}"#);
        check(Form::Pairs, "nothing = here \"", "nothing");
    }

    #[test]
    fn patterns_with_variables() {
        let form = |pattern: &str| Form::Pattern(pattern.to_owned());
        let text = "Failed password for  bob from 10.0.0.1 port 22 ssh2";
        check(form("for <user> from <ip>"), text, r#"user="bob" ip="10.0.0.1""#);
        check(form("for <_> from <ip> port <port> <rest*>"), text, r#"ip="10.0.0.1" port=22 rest="ssh2""#);
        check(form("to <user>"), text, "");
        for bad in ["<a><b>", "<a b>", "no variable", "<*>"] {
            assert!(Extractor::new(&form(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn grok() {
        let form = |pattern: &str| Form::Grok(pattern.to_owned());
        check(
            form("%{COMBINEDAPACHELOG}"),
            r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08""#,
            r#"clientip="127.0.0.1" ident="-" auth="frank" timestamp="10/Oct/2000:13:55:36 -0700" verb="GET" request="/apache_pb.gif" httpversion="1.0" response=200 bytes=2326 referrer="\"http://www.example.com/start.html\"" agent="\"Mozilla/4.08\"""#,
        );
        check(
            form("%{SYSLOGLINE}"),
            "Jun  9 06:06:20 combo sshd(pam_unix)[19939]: authentication failure; user=root",
            r#"timestamp="Jun  9 06:06:20" logsource="combo" program="sshd(pam_unix)" pid=19939 message="authentication failure; user=root""#,
        );
        check(form("%{INT:n:int} %{WORD:w}"), "x 007 abc", r#"n=7 w="abc""#);
        check(form("%{IP:a}"), "from 2001:db8::1 on", r#"a="2001:db8::1""#);
        check(form("%{NUMBER:[http][status]}"), "s 503", "http.status=503");
        let error = |pattern: &str| Extractor::new(&form(pattern)).map(|_| ()).expect_err("is wrong");
        assert_eq!(error("%{IPP:a}"), "there is no pattern `%{IPP}`; did you mean `%{IP}`?");
        assert_eq!(error("%{IP}"), "nothing is named in it: write %{IP:client}");
        assert_eq!(error("%{IP:a"), "a `%{` is not closed");
        assert_eq!(error("%{IP:a:ip}"), "`ip` is no type; the types are int, float, string");
        assert!(error("%{IP:a} %{IP:a}").contains("duplicate"), "{}", error("%{IP:a} %{IP:a}"));
    }

    /// Every pattern of the library stands on its own, and within the bounds.
    #[test]
    fn the_library_compiles() {
        for name in grok_names() {
            let form = Form::Grok(format!("%{{{name}:x_}}"));
            assert!(Extractor::new(&form).is_ok(), "{name}: {:?}", Extractor::new(&form));
        }
    }
}
