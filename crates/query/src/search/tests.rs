//! Text in, text out: the canonical line of a query, or its error.

use heimdall_model::filter::{Compare, Literal};
use heimdall_model::{Level, Row};
use proptest::prelude::*;

use super::*;
use crate::query::{
    Aggregate, Assignment, Constant, Expr, Func, Function, GroupKey, Operator, Scope, SortKey,
};

const NOW: &str = "2026-03-01T12:00:00Z";

fn context(dataset: Dataset) -> ParseContext<'static> {
    ParseContext::new(Tenant::default(), dataset, Timestamp::parse(NOW).expect("a time"))
}

#[track_caller]
fn check(line: &str, canonical: &str) {
    let query = parse(line, &context(Dataset::Logs)).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(query.to_string(), canonical, "{line}");
    let again = parse(
        canonical,
        &ParseContext { from: Some(query.range.from), to: Some(query.range.to), ..context(Dataset::Logs) },
    );
    assert_eq!(again.expect("canonical text reads").pipeline, query.pipeline, "{line}");
}

#[track_caller]
fn check_error(line: &str, error: &str) {
    let found = parse(line, &context(Dataset::Logs)).map(|query| query.to_string());
    assert_eq!(found.map_err(|error| error.to_string()), Err(error.to_owned()), "{line}");
}

#[test]
fn words_and_operators() {
    check("", "");
    check("*", "");
    check("connection refused", "connection refused");
    check("\"connection refused\" -timeout", "\"connection refused\" NOT timeout");
    check("a OR b c AND d || e", "a OR (b c d) OR e");
    check("NOT (a OR b) && !c", "NOT (a OR b) NOT c");
    check("NOT NOT a", "a");
    check("conn* /db_\\d+/ /a\\/b/i", "conn* /db_\\d+/ /(?i)a\\/b/");
    check("/var/log/syslog https://x.y/z 12:30:05", "\"/var/log/syslog\" \"https://x.y/z\" \"12:30:05\"");
    check("don't say \\\"hi\\\"", "\"don't\" say \"\\\"hi\\\"\"");
    check("\"OR\" or", "\"OR\" or");
    check("a\\*b* *", "/(?is)a\\*b\\S*/");
}

#[test]
fn field_conditions() {
    check("service:payment level>=error duration_ms > 500", "service:payment level>=error duration_ms>500");
    check("source.service = \"A B\" trace.traceId:*", "service:\"A B\" trace_id:*");
    check("-region:eu* host!=db-1", "NOT region:eu* NOT host:db-1");
    check("service:(a OR \"b c\" OR d*)", "service:a OR service:\"b c\" OR service:d*");
    check("duration_ms:(>5 AND <=10) x:(a -b)", "duration_ms>5 duration_ms<=10 x:a NOT x:b");
    check("duration_ms:[5 TO 10} http.status:{400 TO *]", "duration_ms>=5 duration_ms<10 http.status>400");
    check("exists:user_id NOT _exists:x host:exists()", "user_id:* NOT _exists:x host:*");
    check(
        "message:refused message=\"all of it\" template:\"a <*>\"",
        "refused message=\"all of it\" template:\"a <*>\"",
    );
    check("attributes.level:5 attributes.http.status:200", "attributes.level:5 http.status:200");
    check("path:/login url:http://x", "path:\"/login\" url:\"http://x\"");
    check(
        "agent:/curl|wget/ x:contains(\"50%\") x:words(\"a\")",
        "agent:/curl|wget/ x:contains(\"50%\") x:words(\"a\")",
    );
    check("odd\\ name:1 \\5xx:2", "odd\\ name:1 \\5xx:2");
    check("pii_fields:email", "pii_fields:email");
    check("source_ip:10.0.0.0/30", r"source_ip:/^(?:(?i)::ffff:)?10\.0\.0\.(?:0|1|2|3)$/");
    check("level:(warn OR ERROR)", "level:warn OR level:ERROR");
    check("id:019b0a3e-0000-7000-8000-000000000001", "id:019b0a3e-0000-7000-8000-000000000001");
}

#[test]
fn pipes() {
    check(
        "service:payment level>=error \"connection refused\" duration_ms>500 -region:eu* \
         | stats count(), p99(duration_ms) by service, bin(5m) | sort -count | limit 10",
        "service:payment level>=error \"connection refused\" duration_ms>500 NOT region:eu* \
         | stats count(), p99(duration_ms) by service, bin(5m) | sort -count | limit 10",
    );
    check(
        "| where a | where b | stats dc(user_id) as users by http.status",
        "a b | stats count_distinct(user_id) as users by http.status",
    );
    check(
        "* | stats p99(duration_ms) by host | where p99(duration_ms) > 5 | sort p99(duration_ms) desc",
        "| stats p99(duration_ms) by host | where p99(duration_ms)>5 | sort -p99(duration_ms)",
    );
    check(
        "| stats percentile(duration_ms, 99.9), mean(cpu_usage) avg(x) as y",
        "| stats p99.9(duration_ms), avg(cpu_usage), avg(x) as y",
    );
    check("| top 5 service", "| stats count() by service | sort -count | limit 5");
    check("| timechart 5m count() by level", "| stats count() by bin(5m), level | sort timestamp, level");
    check("| timechart", "| stats count() by bin(1h) | sort timestamp");
    check(
        "| fields timestamp, http.path | sort -http.path | head 3",
        "| fields timestamp, http.path | sort -http.path | limit 3",
    );
    check("| fields - host, user_id", "| fields - host, user_id");
    check(
        "| stats count() as n by service | stats max(n), count() by n",
        "| stats count() as n by service | stats max(n), count() by n",
    );
    check(
        "| stats count() as level by service | where level>5",
        "| stats count() as level by service | where level>5",
    );
    check("| stats count | sort -count()", "| stats count() | sort -count");
}

#[test]
fn pipes_that_are_short_for_others() {
    check("| rare 3 service, host", "| stats count() by service, host | sort count | limit 3");
    check("| rate 5m by service", "| stats rate() by bin(5m), service | sort timestamp, service");
    check("| rate", "| stats rate() by bin(1h) | sort timestamp");
    check(
        "error | patterns 3",
        "error | stats count(), min(timestamp) as first_seen, max(timestamp) as last_seen, \
         count_distinct(service) as services by template_id, template | share count | sort -count | limit 3",
    );
    check(
        "| stats count() by service | share count as part",
        "| stats count() by service | share count as part",
    );
    check_error(
        "| share duration_ms",
        "a share is of a column of all rows at column 9; put `stats` before it",
    );
    check_error(
        "dataset:metrics | patterns",
        "only log records have patterns at column 27; put it before other pipes",
    );
}

#[test]
fn dedup() {
    check("| dedup service", "| dedup service");
    check("| dedup 2 by service, http.status, service", "| dedup 2 service, http.status");
    check("| stats count() by host | dedup count", "| stats count() by host | dedup count");
    check_error("| dedup", "a field is missing here at column 8");
    check_error("| dedup 0 host", "a whole number of rows, 1 or more, is needed here at column 9");
    check_error(
        "| stats count() by host | dedup hots",
        "there is no column `hots` here at column 33; did you mean `host`?",
    );
}

#[test]
fn expressions() {
    let same = |line: &str| check(line, line);
    same("| eval a = 1 + 2 * 3 - -4.5, b = (a + 1) * 2");
    same("| eval slow = duration_ms > 500 and not level == \"debug\" or isnull(host)");
    same("| eval x = if(status >= 500, \"bad\", lower(service)) | where x:bad | stats count() by x");
    same("| eval service = upper(service) | stats count() by service | eval count = count + 1");
    same("| stats p99(duration_ms), count() by http.route | eval y = p99(duration_ms) / count");
    same("| eval a = odd\\-name - other, b = \\and, c = attributes.level");
    same("| eval a = a - (b - c) - d, e = -(a + b), f = not (a and b), g = (a < b) == (c < d)");
    same("| eval t = \"a \\\"quoted\\\" | text\", r = replace(message, \"(\\\\d+)\", \"<$1>\")");
    same("| eval a = null, b = true, c = coalesce(a, b, \"x\"), d = case(a, 1, b, 2, 3)");
    check("| eval a=b&&c||!d", "| eval a = b and c or not d");
    check("| eval a = 5m + 1500ms, t = timestamp - 1h", "| eval a = 300 + 1.5, t = timestamp - 3600");
    check("| eval a = now() - timestamp", "| eval a = time(\"2026-03-01T12:00:00.000000000Z\") - timestamp");
    check("| eval a = .5, b = 1e3, c = -2", "| eval a = 0.5, b = 1000.0, c = -2");
    check(
        "| fields service | eval x = len(service) | fields x",
        "| fields service | eval x = len(service) | fields x",
    );
    check_error("| eval", "a column name of letters, digits, `.` and `_` is needed here at column 7");
    check_error("| eval x", "a column is computed as `eval name = expression` at column 8");
    check_error(
        "| eval x = ",
        "a value is missing here at column 12; a field, a number, a \"text\" or a function",
    );
    check_error("| eval x = lowr(a)", "unknown function `lowr` at column 12; did you mean `lower`?");
    check_error(
        "| eval x = lower(a, b)",
        "`lower` takes one value at column 12; lower(text): in small letters",
    );
    check_error("| eval x = (a + b", "this `(` is not closed at column 12; add a `)`");
    check_error(
        "| eval x = 1 < 2 < 3",
        "two comparisons in a row mean nothing at column 18; join them by `and`",
    );
    check_error("| eval x = 5 parsecs", "`parsecs` does not belong here at column 14; separate pipes by `|`");
    check_error(
        "| eval x = 5parsecs",
        "`5parsecs` is neither a number nor a span of time at column 12; write it like 1.5 or 5m",
    );
    check_error("| eval and = 1", "`and` has a meaning of its own at column 8; choose another name");
    check_error(
        "| eval x = matches(a, b)",
        "the regular expression of `matches` is a text in quotes at column 12; matches(text, \"regex\"): whether it holds a match",
    );
    check_error(
        "| stats count() by host | eval x = len(hots)",
        "there is no column `hots` here at column 40; did you mean `host`?",
    );
    let many = format!("| eval x = {}1", "1 + ".repeat(250));
    let error = parse(&many, &context(Dataset::Logs)).expect_err("too long").message;
    assert_eq!(error, "more than 250 values and functions in expressions");
    let deep = format!("| eval x = {}1", "(".repeat(100));
    assert_eq!(
        parse(&deep, &context(Dataset::Logs)).expect_err("too deep").message,
        "nested deeper than 64 levels"
    );
}

#[test]
fn where_takes_expressions() {
    let same = |line: &str| check(line, line);
    same("| where duration_ms > 2 * limit_ms");
    same("| where len(message) > 100 and status >= 500");
    same("| stats count() as n, max(duration_ms) as m by host | where n > m / 2");
    same("| eval x = len(message) | where x + 1 > 5 | where x>5");
    same("| where host == \"a\" and other == host or not contains(message, \"x\")");
    // What is a plain filter becomes one.
    check(
        "level:error | where 2 * 60 < duration_ms and len(host) > 3 and service != \"a b\"",
        "level:error duration_ms>120 service:* NOT service:\"a b\" | where len(host) > 3",
    );
    check("| where isnull(host) or level >= \"warn\"", "NOT host:* OR level>=warn");
    check("| where timestamp > now() - 1h", "");
    // Old lines mean what they meant.
    check("| where duration_ms > 500 -host:db", "duration_ms>500 NOT host:db");
    check("| where a -b", "a NOT b");
    check("| where error(timeout) len (x)", "error timeout len x");
    check("| where a = b", "a:b");
    check("| where failed \"->\"", "failed \"->\"");
    check_error("| where lenn(message) > 100", "unknown function `lenn` at column 9; did you mean `len`?");
    check_error(
        "| where len(message) > 100 and level:error",
        "`:error` does not belong here at column 37; separate pipes by `|`",
    );
    check_error(
        "| where len(message) >",
        "a value is missing here at column 23; a field, a number, a \"text\" or a function",
    );
    check_error(
        "| where duration_ms > limit_ms | stats count()",
        "`limit_ms` is not a number, which `duration_ms` needs at column 23; to compare two fields, write duration_ms > tonumber(limit_ms)",
    );
    check_error(
        "| stats count() by host | where len(hots) > 3",
        "there is no column `hots` here at column 37; did you mean `host`?",
    );
    check_error(
        "| where len(a) > 1 | context 5",
        "only conditions and one `limit` may stand before `context` at column 22",
    );
}

#[test]
fn context_and_joins() {
    check("error | context 5", "error | context 5");
    check(
        "error | head 3 | context 20 | where context:before",
        "error | limit 3 | context 20 | where context:before",
    );
    check_error(
        "| sort service | context 5",
        "only conditions and one `limit` may stand before `context` at column 18",
    );
    check_error("| context 5000", "more than 1000 records before and after at column 11");
    check_error("| context", "a whole number of rows, 1 or more, is needed here at column 10");
    check(
        "error | join (dataset:metrics cpu | stats max(value) as cpu by host) on host | sort -cpu",
        "error | join (dataset:metrics cpu | stats max(value) as cpu by host) on host | sort -cpu",
    );
    check(
        "| stats count() by service | join kind=left (level:fatal | stats count() as fatal, max(duration_ms) by host) on service = host",
        "| stats count() by service | join kind=left (dataset:logs level:fatal | stats count() as fatal, max(duration_ms) by host) on service = host",
    );
    check(
        "| join (\"a)b\" x:c\\) timestamp>2026-02-01T00:00:00Z | timechart | fields count, timestamp) on count",
        "| join (dataset:logs \"a)b\" x:\"c)\" timestamp>2026-02-01T00:00:00.000000000Z | stats count() by bin(1h) | sort timestamp | fields count, timestamp) on count",
    );
    check_error(
        "| join host",
        "the other question is missing, in parentheses at column 8; join (dataset:metrics | stats max(value) by host) on host",
    );
    check_error("| join (a | stats count() by host", "this `(` is not closed at column 8; add a `)`");
    check_error(
        "| join (a) on host",
        "the columns of the other question are not known at column 8; end it with `fields` or `stats`",
    );
    check_error(
        "| join (a | stat count()) on host",
        "unknown pipe `stat` at column 13; did you mean `stats`?",
    );
    check_error(
        "| join (a | stats count() by host) on hots",
        "the other question has no column `hots` at column 39; did you mean `host`?",
    );
    check_error(
        "| join (a | stats count() by host)",
        "what to join on is missing at column 35; write on host",
    );
    check_error(
        "| join kind=outer (a) on b",
        "`outer` is no kind of join at column 8; the kinds are inner and left",
    );
    check_error(
        "| stats count() by host | join (a | stats count() by host) on host",
        "two columns are named `count` at column 32; name one of them with `as`",
    );
    check_error(
        "| join (a | join (b | fields x) on x | fields x) on x",
        "a join within a join is not possible at column 18",
    );
}

#[test]
fn parsing() {
    let same = |line: &str| check(line, line);
    same("| parse message as json | where order.id:5 | stats count() by path");
    same("| parse details as kv | parse message as logfmt");
    same("| parse message as regex \"user=(?P<user>\\\\w+)\" | stats count() by user");
    same("| parse message as grok \"%{IP:client} %{WORD:verb}\" | fields client, verb");
    same("| fields message | parse message as pattern \"user <user> from <ip>\" | where ip:10.0.0.1");
    check("| parse as json", "| parse message as json");
    check("| parse message as KV", "| parse message as kv");
    check_error(
        "| parse message",
        "how to take it apart is missing at column 9; write parse message as logfmt",
    );
    check_error(
        "| parse message as jsn",
        "`jsn` is no way to take a text apart at column 20; did you mean `json`?",
    );
    check_error("| parse message as grok", "`grok` needs a pattern in quotes: grok \"…\" at column 20");
    check_error("| parse as grok \"%{IP}\"", "nothing is named in it: write %{IP:client} at column 9");
    check_error("| parse as regex \"(\"", "the regular expression is not valid: unclosed group at column 9");
    check_error(
        "| stats count() by host | parse host as kv",
        "the columns that `kv` makes are not known here at column 33; put it before `fields` and `stats`, or use a pattern",
    );
}

#[test]
fn times_narrow_the_range() {
    let range = |line: &str, from: Option<&str>| {
        let from = from.and_then(Timestamp::parse);
        let default_from = Timestamp::parse("2026-03-01T11:45:00Z");
        let query = parse(line, &ParseContext { from, default_from, ..context(Dataset::Logs) }).expect(line);
        let end = |time: Timestamp, open: i64| {
            if time.0 == open { "open".to_owned() } else { time.to_string()[..19].to_owned() }
        };
        format!("{} {} {}", end(query.range.from, i64::MIN), end(query.range.to, i64::MAX), query)
    };
    assert_eq!(range("a", None), "2026-03-01T11:45:00 open a");
    assert_eq!(range("a timestamp>=now-1h", None), "2026-03-01T11:00:00 open a");
    assert_eq!(range("timestamp:[now-1h TO now-5m} a", None), "2026-03-01T11:00:00 2026-03-01T11:55:00 a");
    assert_eq!(range("timestamp:2026-02-28 a", None), "2026-02-28T00:00:00 2026-03-01T00:00:00 a");
    assert_eq!(range("timestamp<2026-02-01T00:00:00Z", None), "open 2026-02-01T00:00:00 ");
    assert_eq!(range("ts>=now-1h", Some("2026-03-01T11:30:00Z")), "2026-03-01T11:30:00 open ");
    assert_eq!(range("a | where timestamp>=now-2h", None), "2026-03-01T10:00:00 open a");
    assert_eq!(range("a | where timestamp >= now() - 2h", None), "2026-03-01T10:00:00 open a");
    let either = parse_filter("timestamp>=now-1h", Dataset::Logs, Timestamp::parse(NOW).expect("a time"));
    assert!(matches!(either, Ok(Filter::Test(..))), "a rule keeps its times");
}

#[test]
fn another_dataset() {
    let query = parse("dataset:metrics cpu value>90 | stats max(value) by service", &context(Dataset::Logs))
        .expect("reads");
    assert_eq!(query.dataset, Dataset::Metrics);
    assert_eq!(query.to_string(), "dataset:metrics cpu value>90 | stats max(value) by service");
    check_error("dataset:metric", "unknown dataset `metric` at column 9; did you mean `metrics`?");
    check_error("a dataset:logs", "`dataset:` must be the first term of the line at column 3");
}

#[test]
fn errors_name_the_place_and_the_remedy() {
    check_error("a (b", "this `(` is not closed at column 3; add a `)`");
    check_error("a )", "this `)` closes nothing at column 3");
    check_error("é \"x", "this quote is not closed at column 3; add a `\"`");
    check_error("a OR", "a condition is missing here at column 5");
    check_error("a AND", "a condition is missing after `AND` at column 6");
    check_error(
        "level>=loud",
        "`loud` is not a level, which `level` needs at column 8; the levels are trace, debug, info, warn, error and fatal",
    );
    check_error("duration_ms>fast", "`fast` is not a number, which `duration_ms` needs at column 13");
    check_error(
        "timestamp>soon",
        "`soon` is not a time at column 11; write it like now-15m, 2026-02-09 or \"2026-02-09T20:25:01Z\"",
    );
    check_error(
        "service:",
        "a value is missing after `service` at column 1; write `service:*` for records that have the field",
    );
    check_error("duration_ms:[1 TO 2", "this range is not closed at column 13; add a `]` or `}`");
    check_error(
        "source_ip:10.0.0/8",
        "`10.0.0/8` is not an IPv4 network at column 11; write it like 10.0.0.0/8, or quote the text to compare it as it is",
    );
    check_error("a | stat count()", "unknown pipe `stat` at column 5; did you mean `stats`?");
    check_error(
        "a | tail 5",
        "unknown pipe `tail` at column 5; the pipes are where, stats, sort, limit, head, fields, top, timechart, rare, rate, patterns, dedup, eval, parse, context, join, share",
    );
    check_error("| stats cuont()", "unknown function `cuont` at column 9; did you mean `count`?");
    check_error("| stats sum(service)", "`sum` needs numbers, which `service` does not hold at column 9");
    check_error(
        "| stats count() by service | sort -cuont",
        "there is no column `cuont` here at column 36; did you mean `count`?",
    );
    check_error(
        "| stats count() by service | where refused",
        "there is no `message` left to search here at column 36; name a column: service, count",
    );
    check_error("| limit ten", "a whole number of rows, 1 or more, is needed here at column 9");
    check_error(
        "| stats count() as service by service",
        "two columns are named `service` at column 38; name one of them with `as`",
    );
    assert!(parse("/(/", &context(Dataset::Logs)).is_err());
}

#[test]
fn limits_hold() {
    let error = |line: String| parse(&line, &context(Dataset::Logs)).expect_err("beyond a limit").message;
    assert_eq!(error("(".repeat(100)), "nested deeper than 64 levels");
    assert_eq!(error("a ".repeat(1_001)), "more than 1000 conditions");
    assert_eq!(error("a* ".repeat(101)), "more than 100 wildcards and regular expressions");
    assert_eq!(error("a".repeat(16_385)), "the line has 16385 bytes, more than 16384");
    assert_eq!(error("| limit 1".repeat(17)), "more than 16 pipes");
}

#[test]
fn near_misses_are_hints_not_errors() {
    let known = ["servics".to_owned()];
    let warnings = |line: &str| {
        let context = ParseContext { known_attributes: &known, ..context(Dataset::Logs) };
        parse(line, &context).expect(line).warnings
    };
    assert_eq!(
        warnings("servcie:a"),
        ["`servcie` is not a known field and is searched as an attribute; did you mean `service`?"]
    );
    assert_eq!(warnings("a or b"), ["`or` is searched as a word; write OR to join conditions"]);
    assert_eq!(
        warnings("| where len(message) > 5 and service == checkout"),
        ["`checkout` is read as a field here; write \"checkout\" to compare with the text"]
    );
    assert!(warnings("servics:a http.status:5 attributes.servcie:a").is_empty());
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        prop::sample::select(vec!["service", "message", "source_ip", "duration_ms", "pii_fields", "host"])
            .prop_map(|name| Target::resolve(Dataset::Logs, name)),
        "[a-z.@ 5:é\"\\\\-]{1,6}|attributes\\.x|labels\\.y|dataset|exists|level|id"
            .prop_map(Target::Attribute),
        Just(Target::Template),
    ]
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 .*?\"\\\\/():|\\[\\]é-]{1,8}|AND|OR|TO|10\\.0\\.0\\.0/8|now"
}

fn literal_for(target: &Target, text: String, number: i32) -> Literal {
    let numeric = matches!(target.ty(Dataset::Logs), Some(schema::FieldType::Float));
    Literal::new(&if numeric { number.to_string() } else { text })
}

fn leaf() -> impl Strategy<Value = Filter> {
    let compare = prop::sample::select(vec![
        Compare::Less,
        Compare::LessOrEqual,
        Compare::Greater,
        Compare::GreaterOrEqual,
    ]);
    (target(), text(), any::<i32>(), compare, 0..7_u8).prop_map(|(target, text, number, compare, kind)| {
        let literal = literal_for(&target, text.clone(), number);
        let test = match kind {
            0 => Test::Exists,
            1 => Test::Words(text),
            2 => Test::Contains(text),
            3 => Test::Equals(literal),
            4 => Test::Compare(compare, literal),
            5 => Test::Wildcard(text),
            _ => Test::Regex(regex::escape(&text)),
        };
        Filter::Test(target, test)
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let level = prop::sample::select(Level::ALL.to_vec())
        .prop_map(|level| Filter::field(schema::logs::LEVEL, Test::Equals(Literal::new(level.as_str()))));
    prop_oneof![4 => leaf(), 1 => level].prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|parts| parts.into_iter().fold(Filter::All, Filter::and)),
            prop::collection::vec(inner.clone(), 1..4).prop_map(any_of),
            inner.prop_map(Filter::negate),
        ]
    })
}

fn pipes_after_stats() -> impl Strategy<Value = Vec<Pipe>> {
    let func = prop::sample::select(vec![Func::Min, Func::Max, Func::CountDistinct, Func::First]);
    (prop::collection::vec(target(), 0..3), func, target(), any::<bool>(), 1..1_000_000_000_000_i64).prop_map(
        |(by, func, arg, descending, span)| {
            let mut by: Vec<GroupKey> = by.into_iter().map(GroupKey::Field).collect();
            by.push(GroupKey::Bin(span));
            by.dedup();
            let value = Aggregate::new(func, Some(arg), Dataset::Logs);
            let target = Target::Attribute(value.alias.clone());
            let wanted = Filter::Test(target.clone(), Test::Compare(Compare::Greater, Literal::new("5")));
            vec![
                Pipe::Stats { aggregates: vec![value], by },
                Pipe::Where(wanted),
                Pipe::Sort(vec![SortKey { target: target.clone(), descending }]),
                Pipe::Fields(vec![target]),
                Pipe::Limit(7),
            ]
        },
    )
}

/// Expressions as they are read: no sign before a constant, patterns that compile.
fn expression() -> impl Strategy<Value = Expr> {
    let constant = prop_oneof![
        Just(Constant::Null),
        any::<bool>().prop_map(Constant::Bool),
        (-1_000_i64..1_000).prop_map(Constant::Int),
        (-1e9..1e9_f64).prop_map(Constant::Float),
        text().prop_map(Constant::Text),
        any::<i32>().prop_map(|ns| Constant::Time(Timestamp(i64::from(ns)))),
    ];
    let column = prop_oneof![target(), "and|or|not|true|null|if|5xx|a-b".prop_map(Target::Attribute)];
    let leaf = prop_oneof![column.prop_map(Expr::Column), constant.prop_map(Expr::Constant)];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = prop::sample::select(Operator::SIGNS.map(|(_, operator)| operator).to_vec());
        let function = prop::sample::select(vec![Function::Coalesce, Function::Concat]);
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed.clone().prop_map(Expr::Not),
            boxed.clone().prop_map(|inner| match *inner {
                Expr::Constant(_) => Expr::Not(inner),
                _ => Expr::Negate(inner),
            }),
            (operator, boxed.clone(), boxed).prop_map(|(operator, a, b)| Expr::Binary(operator, a, b)),
            (function, prop::collection::vec(inner, 1..4))
                .prop_map(|(function, all)| Expr::Call(function, all)),
        ]
    })
}

fn names_differ(pipe: &Pipe) -> bool {
    let Scope::Columns(columns) = Scope::Records.after(pipe, Dataset::Logs) else { return true };
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).all(|pair| pair[0] != pair[1])
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_the_same(filter in filter(), pipeline in pipes_after_stats()) {
        prop_assume!(names_differ(&pipeline[0]));
        let mut query = Query::new(Tenant::default(), Dataset::Logs, TimeRange::ALL);
        query.filter = filter;
        query.pipeline = pipeline;
        let line = query.to_string();
        let mut again = parse(&line, &context(Dataset::Logs)).map_err(|error| TestCaseError::fail(format!("{line}: {error}")))?;
        again.warnings.clear();
        prop_assert_eq!(again, query, "{}", line);
    }

    #[test]
    fn printed_expressions_read_back_the_same(first in expression(), second in expression(), by in target()) {
        // A field that is hidden by a computed column cannot be meant after it.
        prop_assume!(by != Target::Field(schema::logs::SERVICE));
        let eval = |name: &str, expr: Expr| Pipe::Eval(vec![Assignment { name: name.to_owned(), expr }]);
        let unhidden = first.clone();
        let mut query = Query::new(Tenant::default(), Dataset::Logs, TimeRange::ALL);
        query.pipeline = vec![
            eval("service", first),
            Pipe::Dedup { rows: 2, by: vec![by.clone()] },
            Pipe::Stats { aggregates: vec![Aggregate::new(Func::Count, Some(by.clone()), Dataset::Logs)], by: Vec::new() },
            eval("x", Expr::Column(Target::Attribute(Aggregate::default_alias(Func::Count, Some(&by), Dataset::Logs)))),
        ];
        let mut plain = query.clone();
        let marked = Box::new(Expr::Call(Function::Coalesce, vec![unhidden.clone()]));
        let test = Expr::Binary(Operator::Greater, marked, Box::new(unhidden));
        plain.pipeline = vec![eval("x", second), Pipe::Test(test)];
        for query in [query, plain] {
            let line = query.to_string();
            let mut again = parse(&line, &context(Dataset::Logs)).map_err(|error| TestCaseError::fail(format!("{line}: {error}")))?;
            again.warnings.clear();
            prop_assert_eq!(again, query, "{}", line);
        }
    }

    #[test]
    fn no_expression_panics_or_means_two_things(text in "[a-c0-2 .,<>=!&|+*/%()\"-]{0,20}|(if|case|not|and|len|\\(|\\)|a| |,|1|-|<|==){0,12}") {
        let line = format!("| eval x = {text}");
        if let Ok(query) = parse(&line, &context(Dataset::Logs)) {
            let printed = query.to_string();
            let again = parse(&printed, &context(Dataset::Logs)).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
            prop_assert_eq!(again.pipeline, query.pipeline, "{} -> {}", line, printed);
        }
    }

    #[test]
    fn no_condition_panics_or_means_two_things(text in "[a-c0-2 .,<>=!&|+*/%()\":-]{0,20}|(if|isnull|not|and|len|\\(|\\)|a| |,|1| - |<|==|level|:|\"x\"){0,12}") {
        let line = format!("| where {text}");
        if let Ok(query) = parse(&line, &context(Dataset::Logs)) {
            let printed = query.to_string();
            let range = ParseContext { from: Some(query.range.from), to: Some(query.range.to), ..context(query.dataset) };
            let again = parse(&printed, &range).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
            prop_assert_eq!(again.filter, query.filter, "{} -> {}", line, printed);
            prop_assert_eq!(again.pipeline, query.pipeline, "{} -> {}", line, printed);
        }
    }

    #[test]
    fn no_text_panics_or_means_two_things(line in "[a-z :=<>!()\\[\\]{}|\"/\\\\*?,.5éORANDT-]{0,40}") {
        if let Ok(query) = parse(&line, &context(Dataset::Logs)) {
            let printed = query.to_string();
            let range = ParseContext { from: Some(query.range.from), to: Some(query.range.to), ..context(query.dataset) };
            let again = parse(&printed, &range).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
            prop_assert_eq!(again.filter, query.filter, "{} -> {}", line, printed);
            prop_assert_eq!(again.pipeline, query.pipeline, "{} -> {}", line, printed);
        }
    }
}

/// Every line of the reference page's `search` blocks reads.
#[test]
fn examples_of_the_reference_page_read() {
    let page = include_str!("../../../../docs/search-line.md");
    let mut lines = 0;
    for block in page.split("```search\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines().filter(|line| !line.trim().is_empty()) {
            if let Err(error) = parse(line, &context(Dataset::Logs)) {
                panic!("{line}: {error}");
            }
            lines += 1;
        }
    }
    assert!(lines >= 40, "the page has {lines} examples");
}

/// A line means on records what it says.
#[test]
fn matching_records() {
    let mut builder = heimdall_model::BatchBuilder::new(Dataset::Logs, Timestamp(0));
    builder.set_text(schema::logs::MESSAGE, "Connection refused by 10.1.2.3:5432 (attempt 3?)");
    builder.set_text(schema::logs::SERVICE, "PAYMENT-GATEWAY");
    builder.set_text(schema::logs::SOURCE_IP, "10.1.2.3");
    builder.set_text(schema::logs::PII_FIELDS, r#"["email","name"]"#);
    builder.set_text(schema::logs::ATTRIBUTES, r#"{"http":{"status":503},"path":"/login","tags":["red"]}"#);
    builder.set_level(Level::Error);
    builder.set_float(schema::logs::DURATION_MS, 512.0);
    builder.end_row();
    let batch = builder.finish();
    let row: Row<'_> = batch.row(0);
    let check = |line: &str, expected: bool| {
        let filter = parse_filter(line, Dataset::Logs, Timestamp(0)).expect(line);
        let matcher = heimdall_model::Matcher::compile(&filter, Dataset::Logs).expect(line);
        assert_eq!(matcher.matches(&row, None), expected, "{line}");
    };
    for line in [
        "connection -timeout",
        "\"refused by\"",
        "attempt refus* /5\\d\\d2/",
        "service:payment-gateway",
        "service:pay*",
        "source_ip:10.0.0.0/8",
        "level>=warn level:err",
        "http.status:[500 TO 599]",
        "duration_ms:(>500 <600)",
        "pii_fields:email",
        "path:/login tags:RED",
        "NOT host:* -exists:user_id",
        "host!=a",
        "attempt 3\\?",
        "message:contains(\"nnectio\")",
        "*",
    ] {
        check(line, true);
    }
    for line in [
        "connec",
        "service:payment",
        "source_ip:10.1.2.3/32 -service:*",
        "level<warn",
        "host:a",
        "http.status>503",
    ] {
        check(line, false);
    }
}
