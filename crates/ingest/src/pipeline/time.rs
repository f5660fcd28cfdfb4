//! The step `timestamp`: the event time from a field, in the form its writer used.

use heimdall_model::{Dataset, Timestamp};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::doc::{Doc, FieldRef, Val};

/// Most formats tried.
const FORMATS_MAX: usize = 20;
const NS_PER_DAY: i64 = 86_400_000_000_000;

/// As written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenTime {
    field: String,
    #[serde(default)]
    formats: Vec<String>,
    #[serde(default)]
    timezone: Option<String>,
    #[serde(default)]
    into: Option<String>,
    #[serde(default = "yes")]
    keep_source: bool,
}

fn yes() -> bool {
    true
}

/// The step, ready.
#[derive(Debug)]
pub(crate) struct TimeStep {
    field: FieldRef,
    into: FieldRef,
    forms: Vec<TimeForm>,
    zone: TimeZone,
    keep_source: bool,
}

#[derive(Debug)]
enum TimeForm {
    /// Whatever Heimdall reads by itself.
    Auto,
    /// A number of units of so many nanoseconds.
    Epoch(i64),
    Strptime(String),
}

impl TimeStep {
    pub(crate) fn new(written: WrittenTime) -> Result<TimeStep, String> {
        if written.formats.len() > FORMATS_MAX {
            return Err(format!("`formats` has at most {FORMATS_MAX} entries"));
        }
        let mut forms = written.formats.iter().map(|format| form(format)).collect::<Result<Vec<_>, _>>()?;
        if forms.is_empty() {
            forms.push(TimeForm::Auto);
        }
        let zone = written.timezone.as_deref().map_or(Ok(TimeZone::UTC), zone)?;
        Ok(TimeStep {
            field: FieldRef::new(&written.field)?,
            into: FieldRef::new(written.into.as_deref().unwrap_or("timestamp"))?,
            forms,
            zone,
            keep_source: written.keep_source,
        })
    }

    pub(crate) fn apply(&self, doc: &mut Doc<'_>, dataset: Dataset, now: Timestamp) -> Result<(), String> {
        let Some(found) = self.field.get(doc, dataset) else {
            return Err(format!("`{}` is absent", self.field.path()));
        };
        let text = found.into_text();
        let time = self.forms.iter().find_map(|form| form.read(text.trim(), &self.zone, now));
        let time = time.ok_or_else(|| format!("`{}` is no time of these formats", self.field.path()))?;
        drop(text);
        if !self.keep_source && self.field != self.into {
            self.field.take(doc, dataset);
        }
        self.into.set(doc, dataset, Val::text(time.to_string()));
        Ok(())
    }
}

fn form(text: &str) -> Result<TimeForm, String> {
    Ok(match text {
        "auto" | "rfc3339" | "iso8601" => TimeForm::Auto,
        "epoch_s" | "epoch" => TimeForm::Epoch(1_000_000_000),
        "epoch_ms" => TimeForm::Epoch(1_000_000),
        "epoch_us" => TimeForm::Epoch(1_000),
        "epoch_ns" => TimeForm::Epoch(1),
        pattern if pattern.contains('%') => {
            // A pattern that cannot be written cannot be read.
            let example = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
            jiff::fmt::strtime::format(pattern, &example).map_err(|error| format!("`{pattern}`: {error}"))?;
            TimeForm::Strptime(pattern.to_owned())
        }
        other => {
            return Err(format!(
                "`{other}` is no time format: auto, rfc3339, epoch_s, epoch_ms, epoch_us, epoch_ns, or a pattern such as `%d/%b/%Y %H:%M:%S`"
            ));
        }
    })
}

/// A zone by name (`Europe/Berlin`) or offset (`+02:00`).
fn zone(name: &str) -> Result<TimeZone, String> {
    if name.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    let offset = jiff::fmt::strtime::parse("%:z", name).ok().and_then(|parsed| parsed.offset());
    match offset {
        Some(offset) => Ok(TimeZone::fixed(offset)),
        None => TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone")),
    }
}

impl TimeForm {
    fn read(&self, text: &str, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        match self {
            TimeForm::Auto => {
                let time = Timestamp::parse_with(text, now)?;
                // A time without a zone was read as UTC; what it means is local.
                if *zone == TimeZone::UTC || states_zone(text) { Some(time) } else { local(time, zone) }
            }
            TimeForm::Epoch(unit) => epoch(text, *unit),
            TimeForm::Strptime(pattern) => strptime(pattern, text, zone, now),
        }
    }
}

/// A number of units, with a fraction: read digit by digit, since a double does not hold nanoseconds.
fn epoch(text: &str, unit: i64) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole_ns = whole.parse::<i64>().ok()?.checked_mul(unit)?;
    let mut place = unit;
    let fraction_ns: i64 = fraction
        .bytes()
        .map(|digit| {
            place /= 10;
            i64::from(digit - b'0') * place
        })
        .sum();
    let signed = if whole.starts_with('-') { -fraction_ns } else { fraction_ns };
    whole_ns.checked_add(signed).map(Timestamp)
}

/// Whether a time ends in a zone, or is a number since the epoch.
fn states_zone(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends_in_offset = || {
        let tail = &bytes[bytes.len().saturating_sub(6)..];
        tail.iter().rposition(|b| matches!(b, b'+' | b'-')).is_some_and(|at| {
            let digits = tail[at + 1..].iter().filter(|b| b.is_ascii_digit()).count();
            digits == 4 && text.contains(':')
        })
    };
    text.ends_with(['Z', 'z'])
        || text.ends_with("GMT")
        || text.ends_with("UTC")
        || !text.contains([':', '-', '/'])
        || ends_in_offset()
}

fn local(time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let civil = jiff::Timestamp::from_nanosecond(i128::from(time.0)).ok()?.to_zoned(TimeZone::UTC).datetime();
    of_zoned(civil, zone)
}

fn of_zoned(civil: jiff::civil::DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let zoned = civil.to_zoned(zone.clone()).ok()?;
    i64::try_from(zoned.timestamp().as_nanosecond()).ok().map(Timestamp)
}

fn strptime(pattern: &str, text: &str, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let mut parsed = BrokenDownTime::parse(pattern, text).ok()?;
    let is_year_stated = parsed.year().is_some() || parsed.timestamp().is_some();
    if !is_year_stated {
        let year = jiff::Timestamp::from_nanosecond(i128::from(now.0)).ok()?.to_zoned(zone.clone()).year();
        parsed.set_year(Some(year)).ok()?;
        // The latest year that puts the time no more than a day after now.
        let time = moment(&parsed, zone);
        if time.is_none_or(|time| time.0 > now.0.saturating_add(NS_PER_DAY)) {
            parsed.set_year(Some(year.checked_sub(1)?)).ok()?;
        }
    }
    moment(&parsed, zone)
}

fn moment(parsed: &BrokenDownTime, zone: &TimeZone) -> Option<Timestamp> {
    if parsed.offset().is_some() || parsed.timestamp().is_some() {
        let time = parsed.to_timestamp().ok()?;
        return i64::try_from(time.as_nanosecond()).ok().map(Timestamp);
    }
    let civil = parsed.to_datetime().ok().or_else(|| Some(parsed.to_date().ok()?.at(0, 0, 0, 0)))?;
    of_zoned(civil, zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(step: &str, value: &str, expected: &str) {
        let step = TimeStep::new(yaml_serde::from_str(step).expect("a step")).expect("valid");
        let record = format!("{{\"t\":{value}}}");
        let mut doc = Doc::parse(&record).expect("JSON");
        let now = Timestamp::parse("2026-03-01T12:00:00Z").expect("a time");
        let found = match step.apply(&mut doc, Dataset::Logs, now) {
            Ok(()) => doc.get("timestamp").expect("a time").into_text().into_owned(),
            Err(reason) => reason,
        };
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn times_are_read_in_their_forms_and_zones() {
        check("{field: t}", "\"2026-01-02T03:04:05+01:00\"", "2026-01-02T02:04:05.000000000Z");
        check(
            "{field: t, timezone: Europe/Berlin}",
            "\"2026-07-02 03:04:05\"",
            "2026-07-02T01:04:05.000000000Z",
        );
        check(
            "{field: t, timezone: Europe/Berlin}",
            "\"2026-07-02T03:04:05Z\"",
            "2026-07-02T03:04:05.000000000Z",
        );
        check(
            "{field: t, timezone: '-05:00', formats: ['%m/%d/%Y %I:%M %p']}",
            "\"01/02/2026 03:04 PM\"",
            "2026-01-02T20:04:00.000000000Z",
        );
        check("{field: t, formats: [epoch_ms]}", "1767323045000", "2026-01-02T03:04:05.000000000Z");
        check("{field: t, formats: [epoch_s]}", "1767323045.25", "2026-01-02T03:04:05.250000000Z");
        check(
            "{field: t, formats: ['%d %b %H:%M:%S']}",
            "\"28 Feb 10:00:00\"",
            "2026-02-28T10:00:00.000000000Z",
        );
        check(
            "{field: t, formats: ['%d %b %H:%M:%S']}",
            "\"31 Dec 10:00:00\"",
            "2025-12-31T10:00:00.000000000Z",
        );
        check(
            "{field: t, formats: ['%Y-%m-%d', epoch_s]}",
            "\"2026-02-03\"",
            "2026-02-03T00:00:00.000000000Z",
        );
        check("{field: t, formats: [epoch_s]}", "\"soon\"", "`t` is no time of these formats");
        for bad in
            ["{field: t, formats: [x]}", "{field: t, timezone: Nowhere/X}", "{field: t, formats: ['%!']}"]
        {
            assert!(TimeStep::new(yaml_serde::from_str(bad).expect("a step")).is_err(), "{bad}");
        }
    }
}
