//! Log levels: the six canonical ones, and the many spellings that map to them.

use serde::{Deserialize, Serialize};

/// Level of a log record, ordered by seriousness. A record without a level has none (a null), not a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Level {
    /// Finest detail.
    Trace = 1,
    /// Detail for developers.
    Debug = 2,
    /// Normal operation.
    Info = 3,
    /// Unexpected but handled.
    Warn = 4,
    /// An operation failed.
    Error = 5,
    /// The program or system cannot go on.
    Fatal = 6,
}

impl Level {
    /// Every level, least serious first.
    pub const ALL: [Level; 6] =
        [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];

    /// The canonical lower-case name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Fatal => "fatal",
        }
    }

    /// The level stored as `code` (1 to 6).
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Level> {
        match code {
            1 => Some(Level::Trace),
            2 => Some(Level::Debug),
            3 => Some(Level::Info),
            4 => Some(Level::Warn),
            5 => Some(Level::Error),
            6 => Some(Level::Fatal),
            _ => None,
        }
    }

    /// The stored code, 1 to 6.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Reads the usual spellings in any case: names of syslog, log4j, glog, journald, OpenTelemetry, and short forms.
    #[must_use]
    pub fn parse(text: &str) -> Option<Level> {
        const SPELLINGS: &[(&str, Level)] = &[
            ("info", Level::Info),
            ("error", Level::Error),
            ("warn", Level::Warn),
            ("debug", Level::Debug),
            ("warning", Level::Warn),
            ("trace", Level::Trace),
            ("fatal", Level::Fatal),
            ("critical", Level::Fatal),
            ("notice", Level::Info),
            ("informational", Level::Info),
            ("information", Level::Info),
            ("err", Level::Error),
            ("crit", Level::Fatal),
            ("alert", Level::Fatal),
            ("emerg", Level::Fatal),
            ("emergency", Level::Fatal),
            ("panic", Level::Fatal),
            ("severe", Level::Error),
            ("verbose", Level::Trace),
            ("fine", Level::Debug),
            ("finer", Level::Trace),
            ("finest", Level::Trace),
            ("dbg", Level::Debug),
            ("inf", Level::Info),
            ("wrn", Level::Warn),
            ("ftl", Level::Fatal),
            ("i", Level::Info),
            ("e", Level::Error),
            ("w", Level::Warn),
            ("d", Level::Debug),
            ("t", Level::Trace),
            ("v", Level::Trace),
            ("f", Level::Fatal),
            ("c", Level::Fatal),
        ];
        let text = text.trim();
        SPELLINGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|&(_, level)| level)
    }

    /// The level of a syslog severity (0 emergency to 7 debug; RFC 5424, section 6.2.1).
    #[must_use]
    pub const fn from_syslog_severity(severity: u8) -> Level {
        match severity {
            0..=2 => Level::Fatal,
            3 => Level::Error,
            4 => Level::Warn,
            5 | 6 => Level::Info,
            _ => Level::Debug,
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_resolve_and_order_is_by_seriousness() {
        assert_eq!(Level::parse("WARNING"), Some(Level::Warn));
        assert_eq!(Level::parse(" Err "), Some(Level::Error));
        assert_eq!(Level::parse("loud"), None);
        assert!(Level::Error > Level::Warn);
        for level in Level::ALL {
            assert_eq!(Level::from_code(level.code()), Some(level));
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
    }
}
