//! The audit line of one assessment, byte for byte:
//!
//! ```text
//! 2026-02-09 20:25:01 | [NORMAL]   - AUTH-API - Value: 42.0 - Status: Healthy
//! 2026-02-09 20:25:02 | [WARNING]  - AUTH-API - Value: 61.5 - Status: Warning
//! 2026-02-09 20:25:01 | [CRITICAL] - CORE-DB  - Value: 9999.0 - ANOMALY DETECTED
//! ```
//!
//! Time is UTC, cut to the second. The service is padded to 8 characters and never cut; its control characters
//! become `?`, so that a name cannot drive the terminal. The value is written as Python's `repr` of a float does.

use std::fmt::Write as _;

use heimdall_model::{Assessment, Severity};

const RESET: &str = "\x1b[0m";

/// Appends the line, without a line end; `colour` puts the whole line in the ANSI colour of its severity.
pub fn format_line(assessment: &Assessment, colour: bool, out: &mut String) {
    if colour {
        out.push_str(ansi(assessment.severity));
    }
    let time = assessment.time.to_string();
    let tag = format!("[{}]", assessment.severity);
    let service: String = assessment.service.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let (date, clock) = (time.get(..10).unwrap_or(&time), time.get(11..19).unwrap_or_default());
    let value = python_float(assessment.value);
    let verdict = match assessment.severity {
        Severity::Normal => "Status: Healthy",
        Severity::Warning => "Status: Warning",
        Severity::Critical => "ANOMALY DETECTED",
    };
    let _infallible = write!(out, "{date} {clock} | {tag:<10} - {service:<8} - Value: {value} - {verdict}");
    if colour {
        out.push_str(RESET);
    }
}

fn ansi(severity: Severity) -> &'static str {
    match severity {
        Severity::Normal => "\x1b[32m",
        Severity::Warning => "\x1b[33m",
        Severity::Critical => "\x1b[31m",
    }
}

/// The shortest text that reads back as `x`: plain from 1e-4 up to 1e16, with an exponent of two digits beyond.
fn python_float(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = x.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use heimdall_model::{Tenant, Timestamp};

    #[track_caller]
    fn check(service: &str, value: f64, severity: Severity, line: &str) {
        let assessment = Assessment {
            tenant: Tenant::default(),
            service: service.to_owned(),
            metric: "m".to_owned(),
            time: Timestamp::parse("2026-02-09T20:25:01.9Z").unwrap(),
            value,
            severity,
        };
        let (mut plain, mut coloured) = (String::new(), String::new());
        format_line(&assessment, false, &mut plain);
        format_line(&assessment, true, &mut coloured);
        assert_eq!(plain, line);
        assert!(coloured.starts_with("\x1b[3") && coloured.ends_with("\x1b[0m"));
        assert_eq!(&coloured[5..coloured.len() - 4], line);
    }

    #[test]
    fn lines_are_as_promised() {
        use Severity::{Critical, Normal, Warning};
        check(
            "AUTH-API",
            42.0,
            Normal,
            "2026-02-09 20:25:01 | [NORMAL]   - AUTH-API - Value: 42.0 - Status: Healthy",
        );
        check(
            "CORE-DB",
            9999.0,
            Critical,
            "2026-02-09 20:25:01 | [CRITICAL] - CORE-DB  - Value: 9999.0 - ANOMALY DETECTED",
        );
        check(
            "EDGE-LOAD\x1bBALANCER",
            0.5,
            Warning,
            "2026-02-09 20:25:01 | [WARNING]  - EDGE-LOAD?BALANCER - Value: 0.5 - Status: Warning",
        );
    }

    #[test]
    fn values_are_written_as_python_does() {
        for (value, text) in [
            (0.0, "0.0"),
            (-1.5, "-1.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e16, "1e+16"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e-300, "1e-300"),
        ] {
            assert_eq!(python_float(value), text);
        }
    }
}
