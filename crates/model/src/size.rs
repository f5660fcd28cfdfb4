//! Numbers of bytes as people write them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written `64MiB`, `8GiB` or plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1), ("", 1)];

impl Size {
    /// Reads a number and its unit: `B`, `KiB`, `MiB`, `GiB` or none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Size> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = UNITS.iter().find(|(name, _)| *name == unit.trim())?.1;
        number.parse::<u64>().ok()?.checked_mul(factor).map(Size)
    }

    /// As a length in memory.
    #[must_use]
    pub fn usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fits = |factor: &u64| self.0 > 0 && self.0.is_multiple_of(*factor);
        let (unit, factor) = UNITS.iter().find(|(_, factor)| fits(factor)).copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Text(String),
            Number(u64),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(n) => Ok(Size(n)),
            Raw::Text(text) => Size::parse(&text).ok_or_else(|| {
                serde::de::Error::custom(format!("`{text}` is not a size; write it like `64MiB`"))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        assert_eq!(Size::parse("64MiB"), Some(Size(64 << 20)));
        assert_eq!(Size::parse("1 KiB"), Some(Size(1024)));
        assert_eq!(Size::parse("12XB"), None);
        assert_eq!(Size(8 << 30).to_string(), "8GiB");
        assert_eq!(Size(0).to_string(), "0B");
    }
}
