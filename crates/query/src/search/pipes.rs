//! The pipes of a search line. Some are short for others: `top`, `rare`, `rate`, `timechart` and `patterns` for a `stats`.

use heimdall_extract::{Extractor, nearest};
use heimdall_model::filter::{Filter, Target};
use heimdall_model::time::{
    NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND, NS_PER_WEEK, parse_duration,
};
use heimdall_model::{Dataset, schema};

use super::error::ParseError;
use super::expression::EXPRESSION_WORDS;
use super::filter::{KEYWORDS, Parser, RESERVED_NAMES};
use super::{AGGREGATES_MAX, CONTEXT_ROWS_MAX, GROUP_KEYS_MAX, PIPES_MAX};
use crate::query::{
    Aggregate, Assignment, ColumnType, Form, Func, GroupKey, Join, JoinKind, Named, Parse, Pipe, Scope,
    SortKey, SubQuery, Takes, TimeRange,
};

/// The pipes, with one line for people.
pub(super) const PIPES: [(&str, &str); 17] = [
    ("where", "keep the rows that fit: where duration_ms > 2 * limit_ms"),
    ("stats", "aggregate: stats count(), p99(duration_ms) by service, bin(5m)"),
    ("sort", "order: sort -count, service"),
    ("limit", "keep the first rows"),
    ("head", "keep the first rows"),
    ("fields", "keep columns, or drop them: fields - host"),
    ("top", "most frequent values: top 10 service"),
    ("timechart", "aggregate per time span: timechart 5m count() by level"),
    ("rare", "least frequent values: rare 10 service"),
    ("rate", "rows per second per time span: rate 5m by service"),
    ("patterns", "kinds of messages by number: patterns 20"),
    ("dedup", "keep the first rows of each kind: dedup 2 service, host"),
    ("eval", "compute columns: eval slow = duration_ms > 500"),
    ("parse", "take a text apart: parse message as logfmt"),
    ("context", "records before and after each: limit 5 | context 20"),
    (
        "join",
        "rows of another question beside these: join (dataset:metrics | stats max(value) by host) on host",
    ),
    ("share", "each row's part of a column's sum: share count"),
];
/// Most columns of one `eval`.
pub(super) const ASSIGNMENTS_MAX: usize = 32;
/// Rows of `top` when it names no number.
const TOP_DEFAULT: usize = 10;
/// Column of a share that is given no name.
pub(super) const SHARE: &str = "share";
/// Most time spans an unstated span makes of the range.
const AUTO_SPANS_MAX: i64 = 120;
/// Marks a `timechart` without span until the range is known.
const AUTO_SPAN_NS: i64 = 0;
/// Spans to choose from, each a divisor of the next larger clock unit.
const NICE_SPANS_NS: [i64; 15] = [
    NS_PER_SECOND,
    5 * NS_PER_SECOND,
    10 * NS_PER_SECOND,
    30 * NS_PER_SECOND,
    NS_PER_MINUTE,
    5 * NS_PER_MINUTE,
    10 * NS_PER_MINUTE,
    30 * NS_PER_MINUTE,
    NS_PER_HOUR,
    3 * NS_PER_HOUR,
    6 * NS_PER_HOUR,
    12 * NS_PER_HOUR,
    NS_PER_DAY,
    NS_PER_WEEK,
    4 * NS_PER_WEEK,
];

/// Gives each `timechart` without span one that suits the range: an hour when the range is open.
pub(super) fn choose_spans(pipeline: &mut [Pipe], range: TimeRange) {
    let open = range.from == TimeRange::ALL.from || range.to == TimeRange::ALL.to;
    let length = range.to.0.saturating_sub(range.from.0);
    let fits = |span: &&i64| length / **span < AUTO_SPANS_MAX;
    let span =
        if open { NS_PER_HOUR } else { *NICE_SPANS_NS.iter().find(fits).unwrap_or(&(4 * NS_PER_WEEK)) };
    for pipe in pipeline {
        if let Pipe::Join(join) = pipe {
            choose_spans(&mut join.right.pipeline, range);
        }
        let Pipe::Stats { by, .. } = pipe else { continue };
        for key in by {
            if *key == GroupKey::Bin(AUTO_SPAN_NS) {
                *key = GroupKey::Bin(span);
            }
        }
    }
}

impl Parser<'_> {
    /// Every pipe up to the end of the line.
    pub(super) fn pipeline(&mut self) -> Result<Vec<Pipe>, ParseError> {
        let mut pipeline = Vec::new();
        while self.cursor.eat_spaced("|") {
            self.cursor.skip_space();
            let start = self.cursor.at;
            let pipes = self.pipe()?;
            for pipe in pipes {
                let stands = |before: &Pipe| matches!(before, Pipe::Where(_) | Pipe::Limit(_));
                let limits = pipeline.iter().filter(|pipe| matches!(pipe, Pipe::Limit(_))).count();
                if matches!(pipe, Pipe::Context(_)) && !(pipeline.iter().all(stands) && limits <= 1) {
                    return Err(self
                        .cursor
                        .error(start, "only conditions and one `limit` may stand before `context`"));
                }
                let scope = std::mem::replace(&mut self.scope, Scope::Records);
                self.scope = scope.after(&pipe, self.dataset);
                pipeline.push(pipe);
            }
            if pipeline.len() > PIPES_MAX {
                return Err(self.cursor.error(start, format!("more than {PIPES_MAX} pipes")));
            }
            self.end_of_pipe()?;
        }
        Ok(pipeline)
    }

    pub(super) fn end_of_pipe(&mut self) -> Result<(), ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        if self.cursor.is_at_end() || self.cursor.peek() == Some('|') {
            return Ok(());
        }
        self.cursor.bare(false);
        if self.cursor.at == start {
            self.cursor.bump();
        }
        let text = &self.cursor.line[start..self.cursor.at];
        Err(self.cursor.error(start, format!("`{text}` does not belong here")).hint("separate pipes by `|`"))
    }

    fn pipe(&mut self) -> Result<Vec<Pipe>, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let name = self.cursor.identifier();
        match name.to_ascii_lowercase().as_str() {
            "where" => self.condition().map(|pipe| vec![pipe]),
            "stats" => self.stats().map(|pipe| vec![pipe]),
            "sort" => self.sort().map(|pipe| vec![pipe]),
            "limit" | "head" => Ok(vec![Pipe::Limit(self.row_count()?)]),
            "fields" => self.fields().map(|pipe| vec![pipe]),
            "top" => self.top(true),
            "rare" => self.top(false),
            "rate" => self.rate(),
            "patterns" => self.patterns(),
            "dedup" => self.dedup().map(|pipe| vec![pipe]),
            "eval" => self.eval().map(|pipe| vec![pipe]),
            "parse" => self.parse().map(|pipe| vec![pipe]),
            "context" => self.context().map(|pipe| vec![pipe]),
            "join" => self.join().map(|pipe| vec![pipe]),
            "share" => self.share().map(|pipe| vec![pipe]),
            "timechart" => self.timechart(),
            "" => {
                Err(self.cursor.error(start, "the name of a pipe is missing after `|`").hint(known_pipes()))
            }
            _ => {
                let error = self.cursor.error(start, format!("unknown pipe `{name}`")).hint(known_pipes());
                match nearest(name, PIPES.iter().map(|(name, _)| *name)) {
                    None => Err(error),
                    near => Err(error.did_you_mean(near)),
                }
            }
        }
    }

    fn row_count(&mut self) -> Result<usize, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let text = self.cursor.identifier();
        let count = text.parse::<usize>().ok().filter(|count| *count > 0);
        count.ok_or_else(|| self.cursor.error(start, "a whole number of rows, 1 or more, is needed here"))
    }

    /// Whether the pipe ends here (skips white space).
    fn at_pipe_end(&mut self) -> bool {
        self.cursor.skip_space();
        self.cursor.is_at_end() || self.cursor.peek() == Some('|')
    }

    fn stats(&mut self) -> Result<Pipe, ParseError> {
        let aggregates = self.aggregates()?;
        let by = self.group_keys()?;
        self.stats_of(aggregates, by)
    }

    /// The pipe, once its output names are known to differ.
    fn stats_of(&mut self, aggregates: Vec<Aggregate>, by: Vec<GroupKey>) -> Result<Pipe, ParseError> {
        let pipe = Pipe::Stats { aggregates, by };
        if let Scope::Columns(columns) = self.scope.clone().after(&pipe, self.dataset) {
            for (index, column) in columns.iter().enumerate() {
                if columns[..index].iter().any(|other| other.name == column.name) {
                    return Err(self
                        .cursor
                        .error(self.cursor.at, format!("two columns are named `{}`", column.name))
                        .hint("name one of them with `as`"));
                }
            }
        }
        Ok(pipe)
    }

    fn aggregates(&mut self) -> Result<Vec<Aggregate>, ParseError> {
        let mut aggregates = Vec::new();
        loop {
            aggregates.push(self.aggregate()?);
            if aggregates.len() > AGGREGATES_MAX {
                return Err(self
                    .cursor
                    .error(self.cursor.at, format!("more than {AGGREGATES_MAX} aggregates")));
            }
            let comma = self.cursor.eat_spaced(",");
            if !comma && (self.at_pipe_end() || self.sees_by()) {
                return Ok(aggregates);
            }
        }
    }

    fn sees_by(&mut self) -> bool {
        let start = self.cursor.at;
        let found = self.cursor.eat_word_any_case("by");
        self.cursor.at = start;
        found
    }

    fn aggregate(&mut self) -> Result<Aggregate, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let name = self.cursor.identifier();
        let func = Func::parse(name).ok_or_else(|| {
            let message = match name {
                "" => "an aggregate such as `count()` is missing here".to_owned(),
                name => format!("unknown function `{name}`"),
            };
            let near = nearest(name, Func::NAMES.iter().map(|(name, _, _)| *name));
            self.cursor.error(start, message).did_you_mean(near)
        })?;
        let (func, arg) = self.arguments(start, name, func)?;
        let mut aggregate = Aggregate::new(func, arg, self.dataset);
        if self.cursor.eat_word_any_case("as") {
            aggregate.alias = self.alias()?;
        }
        Ok(aggregate)
    }

    fn alias(&mut self) -> Result<String, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let alias = self.cursor.identifier().to_owned();
        if alias.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return Ok(alias);
        }
        Err(self.cursor.error(start, "a column name of letters, digits and `_` is needed after `as`"))
    }

    /// `(field)`, `()`, `(*)` or nothing.
    fn arguments(
        &mut self,
        start: usize,
        name: &str,
        func: Func,
    ) -> Result<(Func, Option<Target>), ParseError> {
        let mut func = func;
        let mut arg = None;
        if self.cursor.eat("(") {
            let empty = self.cursor.eat_spaced("*") || self.sees_closing();
            if !empty {
                arg = Some(self.column("a field")?);
                if name.eq_ignore_ascii_case("percentile") {
                    func = self.percent(start)?;
                }
            }
            if !self.cursor.eat_spaced(")") {
                return Err(self
                    .cursor
                    .error(start, format!("the parenthesis of `{name}(` is not closed"))
                    .hint("add a `)`"));
            }
        }
        self.check_argument(start, name, func, arg.as_ref())?;
        Ok((func, arg))
    }

    fn sees_closing(&mut self) -> bool {
        self.cursor.skip_space();
        self.cursor.peek() == Some(')')
    }

    fn percent(&mut self, start: usize) -> Result<Func, ParseError> {
        let comma = self.cursor.eat_spaced(",");
        self.cursor.skip_space();
        let text = self.cursor.identifier();
        let percent = text.parse().ok().filter(|percent| comma && Func::is_percent(*percent));
        percent.map(Func::Percentile).ok_or_else(|| {
            self.cursor.error(start, "a percentile is written percentile(field, 97.5), above 0 and below 100")
        })
    }

    fn check_argument(
        &self,
        start: usize,
        name: &str,
        func: Func,
        arg: Option<&Target>,
    ) -> Result<(), ParseError> {
        let error = |message: String| Err(self.cursor.error(start, message));
        match (func.takes(), arg) {
            (Takes::Nothing, Some(_)) => error(format!("`{name}` takes no field")),
            (Takes::Number | Takes::Any, None) => {
                error(format!("`{name}` needs a field: {name}(duration_ms)"))
            }
            (Takes::Number, Some(target)) => {
                let column = self.scope.column(target, self.dataset);
                match column.ty {
                    ColumnType::Int | ColumnType::Float | ColumnType::Any => Ok(()),
                    _ => error(format!("`{name}` needs numbers, which `{}` does not hold", column.name)),
                }
            }
            _ => Ok(()),
        }
    }

    fn group_keys(&mut self) -> Result<Vec<GroupKey>, ParseError> {
        let mut keys = Vec::new();
        if !self.cursor.eat_word_any_case("by") {
            return Ok(keys);
        }
        loop {
            keys.push(self.group_key()?);
            if keys.len() > GROUP_KEYS_MAX {
                return Err(self.cursor.error(self.cursor.at, format!("more than {GROUP_KEYS_MAX} keys")));
            }
            if !self.cursor.eat_spaced(",") && self.at_pipe_end() {
                return Ok(keys);
            }
        }
    }

    fn group_key(&mut self) -> Result<GroupKey, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        if !self.cursor.eat("bin(") {
            return self.column("a field to group by").map(GroupKey::Field);
        }
        self.cursor.skip_space();
        if self.cursor.eat("timestamp") && !self.cursor.eat_spaced(",") {
            return Err(self.cursor.error(start, "a time span is missing: bin(5m)"));
        }
        let span = self.span()?;
        if !self.cursor.eat_spaced(")") {
            return Err(self
                .cursor
                .error(start, "the parenthesis of `bin(` is not closed")
                .hint("add a `)`"));
        }
        self.check_bin(start)?;
        Ok(GroupKey::Bin(span))
    }

    fn check_bin(&self, start: usize) -> Result<(), ParseError> {
        match &self.scope {
            Scope::Columns(columns)
                if !columns.iter().any(|column| column.target == Target::Field(schema::TIMESTAMP)) =>
            {
                Err(self.cursor.error(start, "there is no `timestamp` left to group by here"))
            }
            _ => Ok(()),
        }
    }

    fn span(&mut self) -> Result<i64, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let text = self.cursor.identifier();
        parse_duration(text).filter(|span| *span > 0).ok_or_else(|| {
            self.cursor
                .error(start, format!("`{text}` is not a time span"))
                .hint("write it like 30s, 5m, 1h or 1d")
        })
    }

    fn sort(&mut self) -> Result<Pipe, ParseError> {
        let mut keys = Vec::new();
        loop {
            self.cursor.skip_space();
            let mut descending = self.cursor.eat("-");
            if !descending {
                self.cursor.eat("+");
            }
            let target = self.column("a column to sort by")?;
            self.cursor.eat("()");
            if self.cursor.eat_word_any_case("desc") {
                descending = true;
            } else {
                self.cursor.eat_word_any_case("asc");
            }
            keys.push(SortKey { target, descending });
            if keys.len() > GROUP_KEYS_MAX {
                return Err(self.cursor.error(self.cursor.at, format!("more than {GROUP_KEYS_MAX} keys")));
            }
            if !self.cursor.eat_spaced(",") {
                return Ok(Pipe::Sort(keys));
            }
        }
    }

    fn fields(&mut self) -> Result<Pipe, ParseError> {
        self.cursor.skip_space();
        let drop = self.cursor.eat("-");
        let mut targets: Vec<Target> = Vec::new();
        loop {
            let target = self.column("a field")?;
            if !targets.contains(&target) {
                targets.push(target);
            }
            if !self.cursor.eat_spaced(",") && self.at_pipe_end() {
                return Ok(if drop { Pipe::Drop(targets) } else { Pipe::Fields(targets) });
            }
        }
    }

    /// A number of rows, where one is written.
    fn row_count_or(&mut self, default: usize) -> Result<usize, ParseError> {
        self.cursor.skip_space();
        let numbered = self.cursor.peek().is_some_and(|c| c.is_ascii_digit());
        if numbered { self.row_count() } else { Ok(default) }
    }

    fn top(&mut self, descending: bool) -> Result<Vec<Pipe>, ParseError> {
        let rows = self.row_count_or(TOP_DEFAULT)?;
        self.cursor.eat_word_any_case("by");
        let mut by = Vec::new();
        loop {
            by.push(GroupKey::Field(self.column("a field")?));
            if by.len() > GROUP_KEYS_MAX {
                return Err(self.cursor.error(self.cursor.at, format!("more than {GROUP_KEYS_MAX} keys")));
            }
            if !self.cursor.eat_spaced(",") && self.at_pipe_end() {
                break;
            }
        }
        let count = Aggregate::new(Func::Count, None, self.dataset);
        let sort = SortKey { target: Target::Attribute(count.alias.clone()), descending };
        Ok(vec![self.stats_of(vec![count], by)?, Pipe::Sort(vec![sort]), Pipe::Limit(rows)])
    }

    /// The span of a chart, where one is written.
    fn chart_span(&mut self) -> Result<i64, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let stated = self.cursor.eat("span=") || self.cursor.peek().is_some_and(|c| c.is_ascii_digit());
        let span = if stated { self.span()? } else { AUTO_SPAN_NS };
        self.check_bin(start)?;
        self.cursor.eat_spaced(",");
        Ok(span)
    }

    fn timechart(&mut self) -> Result<Vec<Pipe>, ParseError> {
        let span = self.chart_span()?;
        let aggregates = if self.at_pipe_end() || self.sees_by() {
            vec![Aggregate::new(Func::Count, None, self.dataset)]
        } else {
            self.aggregates()?
        };
        self.chart(span, aggregates)
    }

    fn rate(&mut self) -> Result<Vec<Pipe>, ParseError> {
        let span = self.chart_span()?;
        self.chart(span, vec![Aggregate::new(Func::Rate, None, self.dataset)])
    }

    fn chart(&mut self, span: i64, aggregates: Vec<Aggregate>) -> Result<Vec<Pipe>, ParseError> {
        let mut by = vec![GroupKey::Bin(span)];
        by.extend(self.group_keys()?);
        let keys = by.iter().map(|key| SortKey { target: key.target(), descending: false }).collect();
        Ok(vec![self.stats_of(aggregates, by)?, Pipe::Sort(keys)])
    }
}

impl Parser<'_> {
    /// The kinds of messages: how many of each, since when, until when, of how many services.
    fn patterns(&mut self) -> Result<Vec<Pipe>, ParseError> {
        let start = self.cursor.at;
        let rows = self.row_count_or(TOP_DEFAULT)?;
        if self.dataset != Dataset::Logs || matches!(self.scope, Scope::Columns(_)) {
            return Err(self
                .cursor
                .error(start, "only log records have patterns")
                .hint("put it before other pipes"));
        }
        let time = Target::Field(schema::TIMESTAMP);
        let aggregate = |func, arg, alias: &str| Aggregate { func, arg, alias: alias.to_owned() };
        let aggregates = vec![
            aggregate(Func::Count, None, "count"),
            aggregate(Func::Min, Some(time.clone()), "first_seen"),
            aggregate(Func::Max, Some(time), "last_seen"),
            aggregate(Func::CountDistinct, Some(Target::Field(schema::logs::SERVICE)), "services"),
        ];
        let keys = [Target::Field(schema::logs::TEMPLATE_ID), Target::Template];
        let count = Target::Attribute("count".to_owned());
        Ok(vec![
            self.stats_of(aggregates, keys.map(GroupKey::Field).to_vec())?,
            Pipe::Share { of: count.clone(), alias: SHARE.to_owned() },
            Pipe::Sort(vec![SortKey { target: count, descending: true }]),
            Pipe::Limit(rows),
        ])
    }

    fn share(&mut self) -> Result<Pipe, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        if !matches!(self.scope, Scope::Columns(_)) {
            return Err(self
                .cursor
                .error(start, "a share is of a column of all rows")
                .hint("put `stats` before it"));
        }
        let of = self.column("a column")?;
        let alias = if self.cursor.eat_word_any_case("as") { self.alias()? } else { SHARE.to_owned() };
        Ok(Pipe::Share { of, alias })
    }

    fn context(&mut self) -> Result<Pipe, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let rows = self.row_count()?;
        if rows > CONTEXT_ROWS_MAX {
            return Err(self
                .cursor
                .error(start, format!("more than {CONTEXT_ROWS_MAX} records before and after")));
        }
        Ok(Pipe::Context(rows))
    }

    /// `join [kind=inner|left] (LINE) on here [= there], …`
    fn join(&mut self) -> Result<Pipe, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let kind = if self.cursor.eat("kind=") {
            match self.cursor.identifier() {
                "inner" => JoinKind::Inner,
                "left" => JoinKind::Left,
                other => {
                    let message = format!("`{other}` is no kind of join");
                    return Err(self.cursor.error(start, message).hint("the kinds are inner and left"));
                }
            }
        } else {
            JoinKind::Inner
        };
        if self.is_inner {
            return Err(self.cursor.error(start, "a join within a join is not possible"));
        }
        self.cursor.skip_space();
        let open = self.cursor.at;
        if !self.cursor.eat("(") {
            return Err(self
                .cursor
                .error(open, "the other question is missing, in parentheses")
                .hint("join (dataset:metrics | stats max(value) by host) on host"));
        }
        let end = closing(self.cursor.line, self.cursor.at).ok_or_else(|| {
            ParseError::at(self.cursor.line, open, open + 1, "this `(` is not closed").hint("add a `)`")
        })?;
        let right = self.within(end, |parser| {
            parser.dataset_selector()?;
            let filter = if parser.at_filter_end() { Filter::All } else { parser.filter()? };
            let pipeline = parser.pipeline()?;
            Ok(SubQuery { dataset: parser.dataset, filter, pipeline })
        })?;
        let columns = right.columns();
        if columns.is_empty() {
            return Err(ParseError::at(
                self.cursor.line,
                open,
                end,
                "the columns of the other question are not known",
            )
            .hint("end it with `fields` or `stats`"));
        }
        self.cursor.at = end + 1;
        let on = self.join_keys(&columns)?;
        let join = Join { kind, right, on };
        self.check_joined(open, &join)?;
        Ok(Pipe::Join(join))
    }

    fn join_keys(&mut self, columns: &[Named]) -> Result<Vec<(Target, Target)>, ParseError> {
        let start = self.cursor.at;
        if !self.cursor.eat_word_any_case("on") {
            return Err(self.cursor.error(start, "what to join on is missing").hint("write on host"));
        }
        let mut on = Vec::new();
        loop {
            self.cursor.skip_space();
            let start = self.cursor.at;
            let left = self.column("a field to join on")?;
            let mut name = self.cursor.line[start..self.cursor.at].to_owned();
            if self.cursor.eat_spaced("=") {
                self.cursor.skip_space();
                let rest = self.cursor.rest();
                let there = columns.iter().filter(|column| rest.starts_with(&column.name));
                match there.max_by_key(|column| column.name.len()) {
                    Some(column) => {
                        self.cursor.at += column.name.len();
                        name.clone_from(&column.name);
                    }
                    None => name = self.cursor.name().unwrap_or_default(),
                }
            }
            let Some(right) = columns.iter().find(|column| column.name == name) else {
                let known = columns.iter().map(|column| column.name.as_str());
                let error = self.cursor.error(start, format!("the other question has no column `{name}`"));
                return Err(match nearest(&name, known.clone()) {
                    None => error.hint(format!("its columns are {}", known.collect::<Vec<_>>().join(", "))),
                    near => error.did_you_mean(near),
                });
            };
            on.push((left, right.target.clone()));
            if on.len() > GROUP_KEYS_MAX {
                return Err(self.cursor.error(start, format!("more than {GROUP_KEYS_MAX} keys")));
            }
            if !self.cursor.eat_spaced(",") {
                return Ok(on);
            }
        }
    }

    /// Whether the columns of both sides differ.
    fn check_joined(&self, start: usize, join: &Join) -> Result<(), ParseError> {
        let Scope::Columns(ours) = &self.scope else { return Ok(()) };
        match join.columns().iter().find(|column| ours.iter().any(|our| our.name == column.name)) {
            None => Ok(()),
            Some(column) => Err(self
                .cursor
                .error(start, format!("two columns are named `{}`", column.name))
                .hint("name one of them with `as`")),
        }
    }

    fn dedup(&mut self) -> Result<Pipe, ParseError> {
        let rows = self.row_count_or(1)?;
        self.cursor.eat_word_any_case("by");
        let mut by = Vec::new();
        loop {
            let target = self.column("a field")?;
            if !by.contains(&target) {
                by.push(target);
            }
            if by.len() > GROUP_KEYS_MAX {
                return Err(self.cursor.error(self.cursor.at, format!("more than {GROUP_KEYS_MAX} keys")));
            }
            if !self.cursor.eat_spaced(",") && self.at_pipe_end() {
                return Ok(Pipe::Dedup { rows, by });
            }
        }
    }

    fn eval(&mut self) -> Result<Pipe, ParseError> {
        let before = self.scope.clone();
        let mut assignments = Vec::new();
        loop {
            self.cursor.skip_space();
            let start = self.cursor.at;
            let name = self.cursor.identifier().to_owned();
            self.is_column_name(start, &name)?;
            if !self.cursor.eat_spaced("=") {
                return Err(self.cursor.error(start, "a column is computed as `eval name = expression`"));
            }
            let assignment = Assignment { name, expr: self.expression()? };
            let step = Pipe::Eval(vec![assignment.clone()]);
            self.scope = std::mem::replace(&mut self.scope, Scope::Records).after(&step, self.dataset);
            assignments.push(assignment);
            if assignments.len() > ASSIGNMENTS_MAX {
                return Err(self.cursor.error(start, format!("more than {ASSIGNMENTS_MAX} columns")));
            }
            if !self.cursor.eat_spaced(",") {
                self.scope = before;
                return Ok(Pipe::Eval(assignments));
            }
        }
    }

    /// Whether a computed column may have this name.
    fn is_column_name(&self, start: usize, name: &str) -> Result<(), ParseError> {
        let starts = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !starts || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.')) {
            return Err(self
                .cursor
                .error(start, "a column name of letters, digits, `.` and `_` is needed here"));
        }
        let is_word = EXPRESSION_WORDS.iter().any(|word| word.eq_ignore_ascii_case(name));
        if is_word || RESERVED_NAMES.contains(&name) || KEYWORDS.contains(&name) {
            return Err(self
                .cursor
                .error(start, format!("`{name}` has a meaning of its own"))
                .hint("choose another name"));
        }
        Ok(())
    }

    /// `parse [field] as FORM ["pattern"]`.
    fn parse(&mut self) -> Result<Pipe, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let from = if self.cursor.eat_word_any_case("as") {
            self.default_column(start)?
        } else {
            let from = self.column("a field to take apart")?;
            if !self.cursor.eat_word_any_case("as") {
                return Err(self
                    .cursor
                    .error(start, "how to take it apart is missing")
                    .hint("write parse message as logfmt"));
            }
            from
        };
        let form = self.form()?;
        let extractor = Extractor::new(&form).map_err(|reason| self.cursor.error(start, reason))?;
        let columns: Vec<String> = extractor.columns().map(str::to_owned).collect();
        for column in &columns {
            self.is_column_name(start, column)?;
        }
        if columns.is_empty() && matches!(self.scope, Scope::Columns(_)) {
            return Err(self
                .cursor
                .error(start, format!("the columns that `{}` makes are not known here", form.name()))
                .hint("put it before `fields` and `stats`, or use a pattern"));
        }
        Ok(Pipe::Parse(Parse { from, form, columns }))
    }

    fn form(&mut self) -> Result<Form, ParseError> {
        self.cursor.skip_space();
        let start = self.cursor.at;
        let name = self.cursor.identifier();
        let form: fn(String) -> Form = match name.to_ascii_lowercase().as_str() {
            "json" => return Ok(Form::Json),
            "logfmt" => return Ok(Form::Logfmt),
            "kv" => return Ok(Form::Pairs),
            "regex" => Form::Regex,
            "grok" => Form::Grok,
            "pattern" => Form::Pattern,
            _ => {
                let known = Form::NAMES.map(|(name, _)| name);
                let error = self.cursor.error(start, format!("`{name}` is no way to take a text apart"));
                let error = error.hint(format!("the ways are {}", known.join(", ")));
                return Err(match nearest(name, known.into_iter()) {
                    None => error,
                    near => error.did_you_mean(near),
                });
            }
        };
        self.cursor.skip_space();
        if self.cursor.peek() != Some('"') {
            return Err(self
                .cursor
                .error(start, format!("`{name}` needs a pattern in quotes: {name} \"…\"")));
        }
        self.count_pattern(start)?;
        self.cursor.quoted().map(form)
    }
}

/// Where the parenthesis closes that was opened before `from`; quotes and backslashes take the meaning from others.
fn closing(line: &str, from: usize) -> Option<usize> {
    let bytes = line.as_bytes();
    let (mut at, mut depth, mut quoted) = (from, 0_usize, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted && depth == 0 => return Some(at),
            b')' if !quoted => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

fn known_pipes() -> String {
    format!("the pipes are {}", PIPES.map(|(name, _)| name).join(", "))
}
