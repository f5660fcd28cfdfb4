//! The search line of a question.

use heimdall_model::Level;

use super::grammar::{Condition, Parts, Wanted};
use super::{AskContext, Asked};

/// Rows of a list of groups unless the question says.
const GROUPS: usize = 100;
const TOP: usize = 10;
/// Attributes that hold the status of a request, the likeliest first.
pub(super) const STATUS: [&str; 5] =
    ["status", "http.status_code", "http.status", "status_code", "http.response.status_code"];

pub(super) fn compile(mut parts: Parts, context: &AskContext<'_>) -> Asked {
    let because = std::mem::take(&mut parts.because);
    let mut line = conditions(&parts, context);
    let pipes = pipeline(&parts, context);
    if !pipes.is_empty() {
        line.push_str(if line.is_empty() { "| " } else { " | " });
        line.push_str(&pipes.join(" | "));
    }
    if line.is_empty() {
        line.push('*');
    }
    Asked { line, range: parts.range, because }
}

/// Which attribute holds the status of a request.
fn status_field(context: &AskContext<'_>) -> &'static str {
    let is_known = |name: &&&str| context.attributes.iter().any(|known| known == **name);
    STATUS.iter().find(is_known).copied().unwrap_or(STATUS[0])
}

/// A value as a line has it.
fn value(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '@');
    if !text.is_empty() && text.chars().all(is_plain) && !text.contains(':') && !text.starts_with(['-', '/'])
    {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn pattern(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
    if text.contains('*') && text.chars().all(is_plain) { text.to_owned() } else { value(text) }
}

/// One condition as a line has it.
pub(super) fn condition(condition: &Condition, negated: bool, context: &AskContext<'_>) -> String {
    let status = status_field(context);
    let text = match condition {
        Condition::LevelAtLeast(level) if negated => return format!("level<{}", level.as_str()),
        Condition::LevelAtLeast(Level::Fatal) => "level:fatal".to_owned(),
        Condition::LevelAtLeast(level) => format!("level>={}", level.as_str()),
        Condition::LevelIs(level) => format!("level:{}", level.as_str()),
        Condition::Service(service) => format!("service:{}", value(service)),
        Condition::Is("source_ip", text) => format!("source_ip:{text}"),
        Condition::Is(field, text) => format!("{field}:{}", pattern(text)),
        Condition::Above(field, number) => format!("{field}>{number}"),
        Condition::Below(field, number) => format!("{field}<{number}"),
        Condition::Status(code) => format!("{status}:{code}"),
        Condition::StatusClass(class) => format!("{status}:[{class}00 TO {class}99]"),
        Condition::Phrase(phrase) => format!("\"{}\"", phrase.replace('\\', "\\\\").replace('"', "\\\"")),
        Condition::Templates(ids) => match ids.as_slice() {
            [one] => format!("template_id:{one}"),
            several => {
                let ids: Vec<String> = several.iter().map(u32::to_string).collect();
                format!("template_id:({})", ids.join(" OR "))
            }
        },
    };
    if negated { format!("-{text}") } else { text }
}

/// What conditions are about: those about the same are alternatives.
fn subject(condition: &Condition) -> &'static str {
    match condition {
        Condition::LevelAtLeast(_) | Condition::LevelIs(_) => "level",
        Condition::Service(_) => "service",
        Condition::Is(field, _) => field,
        Condition::Status(_) | Condition::StatusClass(_) => "status",
        // All of them must hold.
        Condition::Above(..) | Condition::Below(..) | Condition::Phrase(_) | Condition::Templates(_) => "",
    }
}

fn conditions(parts: &Parts, context: &AskContext<'_>) -> String {
    let mut terms: Vec<String> = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    let wanted: Vec<&Condition> =
        parts.conditions.iter().filter(|(negated, _)| !negated).map(|(_, condition)| condition).collect();
    for one in &wanted {
        let about = subject(one);
        if about.is_empty() {
            terms.push(condition(one, false, context));
        } else if !done.contains(&about) {
            done.push(about);
            let mut all: Vec<String> = wanted
                .iter()
                .filter(|other| subject(other) == about)
                .map(|other| condition(other, false, context))
                .collect();
            all.dedup();
            let mut unique: Vec<String> = Vec::new();
            for term in all {
                if !unique.contains(&term) {
                    unique.push(term);
                }
            }
            terms.push(if unique.len() == 1 {
                unique.remove(0)
            } else {
                format!("({})", unique.join(" OR "))
            });
        }
    }
    let left_out = parts.conditions.iter().filter(|(negated, _)| *negated);
    terms.extend(left_out.map(|(_, one)| condition(one, true, context)));
    let needs_user = matches!(parts.wanted, Wanted::Affected);
    if needs_user && !done.contains(&"user_id") {
        terms.push("user_id:*".to_owned());
    }
    if matches!(parts.wanted, Wanted::Affected) && !done.contains(&"level") && !done.contains(&"status") {
        terms.insert(0, "level>=error".to_owned());
    }
    if parts.wanted == Wanted::Slowest && parts.by.is_empty() {
        terms.push("duration_ms:*".to_owned());
    }
    terms.join(" ")
}

fn pipeline(parts: &Parts, context: &AskContext<'_>) -> Vec<String> {
    let fields: Vec<&str> =
        parts.by.iter().map(|field| if *field == "status" { status_field(context) } else { field }).collect();
    let by = if fields.is_empty() { String::new() } else { format!(" by {}", fields.join(", ")) };
    let is_chart = parts.bin.is_some() || parts.over_time;
    let chart = match &parts.bin {
        Some(span) => format!("timechart {span}"),
        None => "timechart".to_owned(),
    };
    let limit = |otherwise: usize| format!("limit {}", parts.limit.unwrap_or(otherwise));
    let groups = if parts.is_top { TOP } else { GROUPS };
    match &parts.wanted {
        Wanted::Figure(func, field) if is_chart => vec![format!("{chart} {func}({field}){by}")],
        Wanted::Figure(func, field) if fields.is_empty() => {
            vec![format!("stats {func}({field}), count({field})")]
        }
        Wanted::Figure(func, field) => {
            let name = figure_name(func, field);
            let order = if func == "min" && !parts.is_top { "" } else { "-" };
            vec![
                format!("stats {func}({field}) as {name}, count({field}){by}"),
                format!("sort {order}{name}"),
                limit(groups),
            ]
        }
        Wanted::ErrorRate => {
            let keys = if fields.is_empty() && !is_chart { vec!["service"] } else { fields };
            let bin = parts.bin.clone().or_else(|| parts.over_time.then(|| "5m".to_owned()));
            let time = bin.as_ref().map(|span| format!("bin({span})"));
            let all: Vec<String> = keys.iter().map(|key| (*key).to_owned()).chain(time.clone()).collect();
            let again: Vec<String> = keys
                .iter()
                .map(|key| (*key).to_owned())
                .chain(time.map(|_| "timestamp".to_owned()))
                .collect();
            let mut pipes = vec![
                format!("stats count() as n by level, {}", all.join(", ")),
                "eval failed = if(level >= \"error\", n, 0)".to_owned(),
                format!("stats sum(failed) as errors, sum(n) as records by {}", again.join(", ")),
                "eval error_rate = round(errors / records, 4)".to_owned(),
            ];
            pipes.push(if bin.is_some() {
                "sort timestamp".to_owned()
            } else {
                "sort -error_rate".to_owned()
            });
            if bin.is_none() {
                pipes.push(limit(groups));
            }
            pipes
        }
        Wanted::Rate => match &parts.bin {
            Some(span) => vec![format!("rate {span}{by}")],
            None if parts.over_time => vec![format!("timechart rate(){by}")],
            None if fields.is_empty() => vec!["stats rate() as records_per_second".to_owned()],
            None => vec![
                format!("stats rate() as records_per_second{by}"),
                "sort -records_per_second".to_owned(),
                limit(groups),
            ],
        },
        Wanted::Patterns if parts.is_rare => vec![format!("rare {} template", parts.limit.unwrap_or(TOP))],
        Wanted::Patterns => vec![format!("patterns {}", parts.limit.unwrap_or(TOP))],
        Wanted::Affected => vec![
            "stats count() as errors, min(timestamp) as first, max(timestamp) as last by user_id".to_owned(),
            "sort -errors".to_owned(),
            limit(GROUPS),
        ],
        Wanted::Distinct(field) if is_chart => vec![format!("{chart} dc({field}){by}")],
        Wanted::Distinct(field) => {
            let mut pipes = vec![format!("stats dc({field}) as {}{by}", plural(field))];
            if !fields.is_empty() {
                pipes.push(format!("sort -{}", plural(field)));
                pipes.push(limit(groups));
            }
            pipes
        }
        Wanted::Slowest if fields.is_empty() => {
            vec!["sort -duration_ms".to_owned(), limit(20)]
        }
        Wanted::Slowest => vec![
            format!("stats p95(duration_ms) as p95_ms, count(duration_ms){by}"),
            "sort -p95_ms".to_owned(),
            limit(TOP),
        ],
        Wanted::Count | Wanted::List if is_chart => vec![format!("{chart} count(){by}")],
        Wanted::Count | Wanted::List if !fields.is_empty() => {
            vec![format!("stats count(){by}"), "sort -count".to_owned(), limit(groups)]
        }
        Wanted::Count => vec!["stats count()".to_owned()],
        Wanted::List if parts.is_top => vec![format!("patterns {}", parts.limit.unwrap_or(TOP))],
        Wanted::List => {
            let order = parts.is_oldest.then(|| "sort timestamp".to_owned());
            order.into_iter().chain(parts.limit.map(|rows| format!("limit {rows}"))).collect()
        }
    }
}

fn figure_name(func: &str, field: &str) -> String {
    let what = field.trim_end_matches("_ms").trim_end_matches("_usage");
    format!("{}_{what}", func.replace('.', "_"))
}

fn plural(field: &str) -> &'static str {
    match field {
        "service" => "services",
        "host" => "hosts",
        "instance" => "instances",
        "user_id" => "users",
        "customer_id" => "customers",
        "session_id" => "sessions",
        "source_ip" => "addresses",
        "region" => "regions",
        "environment" => "environments",
        "trace_id" => "traces",
        "template" => "templates",
        _ => "values",
    }
}
