//! Serde of many numbers as their bits, so that a restored scorer computes the same numbers.

/// A fixed number of counts.
pub(crate) mod bins {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<const N: usize, S: Serializer>(
        counts: &[f32; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(counts.iter().map(|count| count.to_bits()))
    }

    pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Box<[f32; N]>, D::Error> {
        let bits = Vec::<u32>::deserialize(deserializer)?;
        let counts: Box<[f32]> = bits.into_iter().map(f32::from_bits).collect();
        counts.try_into().map_err(|_| D::Error::custom(format!("wants {N} counts")))
    }
}

/// Any number of values.
pub(crate) mod list {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| value.to_bits()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Ok(Vec::<u64>::deserialize(deserializer)?.into_iter().map(f64::from_bits).collect())
    }
}
