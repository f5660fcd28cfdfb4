//! What `bench query` asks: every row of the figures the engine is designed for, and what they leave out.
//!
//! Invariant: a question holds no value of the data; `{name}` stands for a value sampled from it (see `sample`), so the
//! set runs against any data folder and a question without its values is left out.

/// Rows of the data for which `must_ms` and `aim_ms` are meant.
pub(super) const MEASURED_ROWS: u64 = 10_000_000;

/// Event time a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// All of the data.
    All,
    /// The last 1,440 minutes of the clock that have records.
    LastDay,
    /// The last 60 minutes of the clock that have records.
    LastHour,
    /// The hour before the last record, which begins and ends within minutes.
    LastHourToTheNs,
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    /// What people call it; `--only` looks for it.
    pub name: &'static str,
    /// The search line; empty where only SQL can ask it.
    pub search: &'static str,
    /// The same in SQL, where SQL can ask it.
    pub sql: Option<&'static str>,
    /// About when.
    pub span: Span,
    /// CPU ms it may take and should take over [`MEASURED_ROWS`] rows on two cores.
    pub must_aim_ms: Option<(f64, f64)>,
}

const fn ask(name: &'static str, search: &'static str) -> Question {
    Question { name, search, sql: None, span: Span::All, must_aim_ms: None }
}

const fn ask_sql(name: &'static str, sql: &'static str) -> Question {
    ask(name, "").sql(sql)
}

impl Question {
    const fn sql(self, sql: &'static str) -> Question {
        Question { sql: Some(sql), ..self }
    }

    const fn over(self, span: Span) -> Question {
        Question { span, ..self }
    }

    const fn within(self, must_ms: f64, aim_ms: f64) -> Question {
        Question { must_aim_ms: Some((must_ms, aim_ms)), ..self }
    }
}

/// The questions, in the order of the report.
pub(super) const QUESTIONS: &[Question] = &[
    ask("trace id", "trace_id:{trace_id}")
        .sql("select * from logs where trace_id = '{trace_id}'")
        .within(5.0, 2.5),
    ask("absent trace id", "trace_id:00000000000000000000000000000001")
        .sql("select * from logs where trace_id = '00000000000000000000000000000001'"),
    ask("rare token", "{token}").within(8.0, 4.0),
    ask("request id in messages", "\"{request_id}\""),
    ask("phrase count", "\"connection refused\" | stats count()")
        .sql("select count(*) from logs where message ilike '%connection refused%'")
        .within(10.0, 5.0),
    ask("phrase across variables", "\"from 203.0.113.7 port\" | stats count()"),
    ask("latest 100 errors of a service", "service:{service} level>=error | limit 100")
        .sql(
            "select * from logs where service = '{service}' and level in ('error', 'fatal') \
             order by timestamp desc limit 100",
        )
        .within(6.0, 3.0),
    ask("count per hour", "| timechart span=1h count()")
        .sql("select date_trunc('hour', timestamp) as hour, count(*) from logs group by 1 order by 1")
        .within(15.0, 5.0),
    ask("count per minute of a day", "| timechart span=1m count()").over(Span::LastDay),
    ask("errors by service", "level>=error | stats count() by service")
        .sql("select service, count(*) from logs where level in ('error', 'fatal') group by service")
        .within(5.0, 1.7),
    ask("p99 by service", "| stats p99(duration_ms) by service")
        .sql("select service, approx_percentile_cont(duration_ms, 0.99) from logs group by service")
        .within(5.0, 1.7),
    ask("distinct users of 5xx", "status>=500 | stats count_distinct(user_id)").within(60.0, 20.0),
    ask("regex count over messages", "/[Ff]ailed .* from/ | stats count()")
        .sql("select count(*) from logs where regexp_like(message, '[Ff]ailed .* from')")
        .within(300.0, 150.0),
    ask("regex over digits in variables", "/port [0-9]{4,5}\\b/ | stats count()"),
    ask("regex inside a variable", "/blk_[0-9]+99\\b/ | stats count()"),
    ask("wildcard", "refus* | stats count()"),
    ask("wildcard in front", "message:*fused* | stats count()"),
    ask("latest 100 with a word", "connection | limit 100").within(20.0, 10.0),
    ask("word by level over time", "connection | timechart span=1h count() by level"),
    ask("top 10 users", "| top 10 user_id")
        .sql("select user_id, count(*) from logs group by user_id order by 2 desc limit 10")
        .within(45.0, 22.5),
    ask("records of a user", "user_id:{user_id} | stats count()")
        .sql("select count(*) from logs where user_id = '{user_id}'"),
    ask("an attribute's value", "{attribute}:{attribute_value} | stats count()"),
    ask("last hour by level and service", "| stats count() by level, service")
        .sql("select level, service, count(*) from logs group by level, service")
        .over(Span::LastHour)
        .within(1.0, 0.5),
    ask("last hour, to the nanosecond", "| stats count() by level, service").over(Span::LastHourToTheNs),
    // Computed by the SQL engine from rows: the scan hands it columns, and sums and indexes do not help.
    ask_sql("average of an expression", "select service, avg(length(message)) from logs group by service"),
    ask_sql(
        "distinct of an expression",
        "select service, count(distinct substr(message, 1, 20)) from logs group by service",
    ),
    ask_sql("like over a function", "select count(*) from logs where upper(message) like '%TIMEOUT%'"),
    ask_sql("sum of a cast", "select sum(cast(length(message) as double)) from logs"),
    ask_sql(
        "top by an expression",
        "select service, message, length(message) as l from logs order by l desc limit 10",
    ),
    ask_sql(
        "join",
        "select l.service, count(*) from logs l join (select service, max(timestamp) as latest from logs \
         where level = 'error' group by service) e on l.service = e.service where length(l.message) > 60 group by 1",
    ),
    ask_sql(
        "window over groups",
        "select service, n, rank() over (order by n desc) from \
         (select service, count(*) as n from logs group by service)",
    ),
];

/// The mixed load, as a person at a dashboard with an incident at hand would make it: needles, latest lines and charts
/// over random spans of time. Undeclared high-cardinality scans and regexes inside variables are not in it.
pub(super) const MIX: &[Question] = &[
    ask("trace id", "trace_id:{trace_id}"),
    ask("rare token", "{token}"),
    ask("latest 100 errors of a service", "service:{service} level>=error | limit 100"),
    ask("latest 100 with a word", "{word} | limit 100"),
    ask("phrase count", "\"{phrase}\" | stats count()"),
    ask("records of a user", "user_id:{user_id} | limit 100"),
    ask("count over time", "| timechart span={bin} count()"),
    ask("service over time by level", "service:{service} | timechart span={bin} count() by level"),
    ask("errors by service", "level>=error | stats count() by service"),
    ask("p99 by service", "| stats p99(duration_ms) by service"),
    ask("levels and services", "| stats count() by level, service"),
];

/// Names of the values a question needs.
pub(super) fn needs(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).filter(|name| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use heimdall_model::{Dataset, Tenant, Timestamp};
    use heimdall_query::{ParseContext, search};

    use super::*;

    #[test]
    fn every_question_can_be_read() {
        let context = ParseContext::new(Tenant::default(), Dataset::Logs, Timestamp(0));
        for question in QUESTIONS.iter().chain(MIX) {
            let mut line = question.search.to_owned();
            for name in needs(question.search) {
                let value = if name == "bin" { "5m" } else { "4bf92f3577b34da6a3ce929d0e0e4736" };
                line = line.replace(&format!("{{{name}}}"), value);
            }
            assert!(search::parse(&line, &context).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_repetition_is_no_value() {
        assert_eq!(needs("/[0-9]{4,5}/ {user_id} {a").collect::<Vec<_>>(), ["user_id"]);
    }
}
