//! One line of StatsD or DogStatsD: what it says.
//!
//! Invariants:
//! - parsing borrows from the line and allocates nothing; no input panics;
//! - a line is taken whole or not at all, with a reason.
//!
//! Not here: what becomes of values ([`super::aggregate`]).

/// How the values of a metric add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    /// Timers, histograms and distributions.
    Timer,
    Set,
}

impl Kind {
    fn of(ty: &str) -> Option<Kind> {
        match ty {
            "c" | "m" => Some(Kind::Counter),
            "g" => Some(Kind::Gauge),
            "ms" | "h" | "d" => Some(Kind::Timer),
            "s" => Some(Kind::Set),
            _ => None,
        }
    }

    /// One letter for each.
    pub(crate) fn code(self) -> char {
        match self {
            Kind::Counter => 'c',
            Kind::Gauge => 'g',
            Kind::Timer => 't',
            Kind::Set => 's',
        }
    }
}

/// A metric's values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric<'l> {
    pub(crate) name: &'l str,
    pub(crate) kind: Kind,
    /// As written: numbers separated by `:`; for a set, one value.
    values: &'l str,
    /// Share of the values that was sent, above 0 up to 1.
    pub(crate) rate: f64,
    pub(crate) extra: Extra<'l>,
}

/// What any line may say besides.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Extra<'l> {
    /// `a:b,c`.
    pub(crate) tags: &'l str,
    pub(crate) container: &'l str,
    /// Seconds since the epoch.
    pub(crate) seconds: Option<i64>,
}

/// An event of DogStatsD.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Event<'l> {
    pub(crate) title: &'l str,
    pub(crate) text: &'l str,
    pub(crate) host: &'l str,
    pub(crate) priority: &'l str,
    pub(crate) alert: &'l str,
    pub(crate) key: &'l str,
    pub(crate) source: &'l str,
    pub(crate) extra: Extra<'l>,
}

/// A service check of DogStatsD.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Check<'l> {
    pub(crate) name: &'l str,
    /// 0 to 3.
    pub(crate) status: u8,
    pub(crate) host: &'l str,
    pub(crate) message: &'l str,
    pub(crate) extra: Extra<'l>,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line<'l> {
    Metric(Metric<'l>),
    Event(Event<'l>),
    Check(Check<'l>),
}

/// Parses a line without its end.
///
/// # Errors
/// The label of `door_frames_rejected_total`.
pub(crate) fn parse(line: &str) -> Result<Line<'_>, &'static str> {
    if let Some(event) = line.strip_prefix("_e{") {
        return parse_event(event).map(Line::Event);
    }
    if let Some(check) = line.strip_prefix("_sc|") {
        return parse_check(check).map(Line::Check);
    }
    parse_metric(line).map(Line::Metric)
}

fn parse_metric(line: &str) -> Result<Metric<'_>, &'static str> {
    let (name, rest) = line.split_once(':').ok_or("syntax")?;
    // The value of a set may hold any byte but a bar.
    let mut parts = rest.split('|');
    let values = parts.next().unwrap_or_default();
    let kind = Kind::of(parts.next().ok_or("syntax")?).ok_or("type")?;
    if name.trim().is_empty() || values.is_empty() {
        return Err("syntax");
    }
    let mut metric = Metric { name, kind, values, rate: 1.0, extra: Extra::default() };
    for part in parts {
        match part.strip_prefix('@') {
            Some(rate) => {
                metric.rate = number(rate).filter(|rate| *rate > 0.0 && *rate <= 1.0).ok_or("sample_rate")?;
            }
            None => match part.strip_prefix('T') {
                Some(seconds) => metric.extra.seconds = Some(seconds.parse().map_err(|_| "time")?),
                None => metric.extra.take(part),
            },
        }
    }
    if kind != Kind::Set && metric.numbers().any(|number| number.is_none()) {
        return Err("value");
    }
    Ok(metric)
}

impl<'l> Metric<'l> {
    /// The values as written; of a gauge, a sign says that it is a change.
    pub(crate) fn each(&self) -> impl Iterator<Item = &'l str> {
        let whole = (self.kind == Kind::Set).then_some(self.values);
        let values = self.values;
        whole.into_iter().chain((whole.is_none()).then(|| values.split(':')).into_iter().flatten())
    }

    fn numbers(&self) -> impl Iterator<Item = Option<f64>> {
        self.each().map(number)
    }
}

impl<'l> Extra<'l> {
    /// Takes a part that may come with any line; others, for servers that know them, are passed over.
    fn take(&mut self, part: &'l str) {
        if let Some(tags) = part.strip_prefix('#') {
            self.tags = tags;
        } else if let Some(container) = part.strip_prefix("c:") {
            self.container = container.strip_prefix("ci-").unwrap_or(container);
        }
    }
}

/// A number that is finite.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn parse_event(rest: &str) -> Result<Event<'_>, &'static str> {
    let (lengths, rest) = rest.split_once("}:").ok_or("event")?;
    let (title_bytes, text_bytes) = lengths.split_once(',').ok_or("event")?;
    let title_bytes: usize = title_bytes.parse().map_err(|_| "event")?;
    let text_bytes: usize = text_bytes.parse().map_err(|_| "event")?;
    let (title, rest) = rest.split_at_checked(title_bytes).ok_or("event")?;
    let rest = rest.strip_prefix('|').ok_or("event")?;
    let (text, rest) = rest.split_at_checked(text_bytes).ok_or("event")?;
    let mut event = Event { title, text, ..Event::default() };
    for part in rest.split('|') {
        match part.split_once(':') {
            Some(("d", seconds)) => event.extra.seconds = Some(seconds.parse().map_err(|_| "time")?),
            Some(("h", host)) => event.host = host,
            Some(("p", priority)) => event.priority = priority,
            Some(("t", alert)) => event.alert = alert,
            Some(("k", key)) => event.key = key,
            Some(("s", source)) => event.source = source,
            _ => event.extra.take(part),
        }
    }
    Ok(event)
}

fn parse_check(rest: &str) -> Result<Check<'_>, &'static str> {
    // The message comes last and may hold bars.
    let (rest, message) = rest.split_once("|m:").unwrap_or((rest, ""));
    let mut parts = rest.split('|');
    let name = parts.next().filter(|name| !name.is_empty()).ok_or("service_check")?;
    let status = parts.next().and_then(|status| status.parse().ok()).filter(|status| *status <= 3);
    let mut check = Check { name, status: status.ok_or("service_check")?, message, ..Check::default() };
    for part in parts {
        match part.split_once(':') {
            Some(("d", seconds)) => check.extra.seconds = Some(seconds.parse().map_err(|_| "time")?),
            Some(("h", host)) => check.host = host,
            _ => check.extra.take(part),
        }
    }
    Ok(check)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metric(line: &str) -> Metric<'_> {
        match parse(line) {
            Ok(Line::Metric(metric)) => metric,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn metrics_with_all_that_may_come_with_them() {
        let it =
            metric("page.views:1:2.5:3|c|@0.1|#env:prod,beta|c:ci-83c0a99c|T1656581400|e:it-false|card:low");
        assert_eq!((it.name, it.kind, it.rate), ("page.views", Kind::Counter, 0.1));
        assert_eq!(it.each().collect::<Vec<_>>(), ["1", "2.5", "3"]);
        let extra = Extra { tags: "env:prod,beta", container: "83c0a99c", seconds: Some(1_656_581_400) };
        assert_eq!(it.extra, extra);
        assert_eq!(metric("fuel:-4|g").each().next(), Some("-4"));
        assert_eq!(metric("users:a:b|s").each().collect::<Vec<_>>(), ["a:b"]);
        for ty in ["ms", "h", "d"] {
            assert_eq!(metric(&format!("t:1e-3|{ty}")).kind, Kind::Timer);
        }
    }

    #[test]
    fn what_is_not_taken_says_why() {
        for (line, reason) in [
            ("", "syntax"),
            ("a", "syntax"),
            ("a:1", "syntax"),
            (":1|c", "syntax"),
            ("a:|c", "syntax"),
            ("a:1|x", "type"),
            ("a:1:|c", "value"),
            ("a:nan|g", "value"),
            ("a:1|c|@0", "sample_rate"),
            ("a:1|c|@2", "sample_rate"),
            ("a:1|c|Tx", "time"),
            ("_e{9,1}:a|b", "event"),
            ("_e{1,1}:é|b", "event"),
            ("_sc|a|9", "service_check"),
        ] {
            assert_eq!(parse(line), Err(reason), "{line}");
        }
    }

    #[test]
    fn events_and_service_checks() {
        let it = parse("_e{5,9}:title|a|b\\nmore|d:1656581400|h:h1|p:low|t:error|k:k1|s:nagios|#env:prod");
        let extra = Extra { tags: "env:prod", container: "", seconds: Some(1_656_581_400) };
        let event = Event {
            title: "title",
            text: "a|b\\nmore",
            host: "h1",
            priority: "low",
            alert: "error",
            key: "k1",
            source: "nagios",
            extra,
        };
        assert_eq!(it, Ok(Line::Event(event)));
        let it = parse("_sc|redis|2|h:h1|#env:dev|m:timed out | after 10s");
        let extra = Extra { tags: "env:dev", ..Extra::default() };
        let check = Check { name: "redis", status: 2, host: "h1", message: "timed out | after 10s", extra };
        assert_eq!(it, Ok(Line::Check(check)));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "(_e\\{[0-9]{0,2},?[0-9]{0,2}\\}:|_sc\\|)?[a-zé0-9:|@#,.+TdhcTs-]{0,40}") {
            let _ = parse(&line);
        }
    }
}
