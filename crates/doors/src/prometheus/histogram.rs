//! Native histograms as the cumulative buckets of classic ones.
//!
//! A bucket of schema `n` ends at a power of `2^(2^-n)`, here to the nearest double. What is written is the count up to every end of a bucket that is there, and,
//! where a gap was before it, up to its start: so nothing is lost, and quantiles computed from the buckets are as exact as the
//! histogram is.
//!
//! Invariants:
//! - bounds rise strictly, counts never fall;
//! - at most [`BUCKETS_MAX`] buckets are read of one histogram.
//!
//! Source: prometheus/model/histogram (`getBoundExponential`), prompb/types.proto.

use super::wire::{Fields, Value, Varints, WireError, unzigzag};

/// Buckets of one histogram; one with more is rejected.
pub(super) const BUCKETS_MAX: usize = 10_000;
/// Schema of histograms that bring their bounds with them.
const CUSTOM: i64 = -53;
/// Schemas of exponential bounds.
const EXPONENTIAL: std::ops::RangeInclusive<i64> = -4..=8;

const TOO_MANY: &str = "has more than 10000 buckets";
const _: () = assert!(BUCKETS_MAX == 10_000, "the reason above names the limit");

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Histogram {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) timestamp_ms: i64,
    schema: i64,
    zero_threshold: f64,
    zero_count: f64,
    negative: Side,
    positive: Side,
    bounds: Vec<f64>,
}

/// The buckets on one side of zero.
#[derive(Debug, Default, PartialEq)]
struct Side {
    /// Buckets left out before each run, and its length.
    spans: Vec<(i64, u64)>,
    /// Counts, or, of whole numbers, what each has more than the one before.
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// A histogram that cannot be read: the protobuf is broken, or what it says makes no sense.
#[derive(Debug, PartialEq)]
pub(super) enum Unreadable {
    Wire(WireError),
    Invalid(&'static str),
}

impl From<WireError> for Unreadable {
    fn from(error: WireError) -> Self {
        Unreadable::Wire(error)
    }
}

/// `le` bounds with the count up to each; without `+Inf`, whose count is the histogram's.
pub(super) type Cumulative = Vec<(f64, f64)>;

impl Histogram {
    /// Reads the message, the same in both versions of remote write.
    pub(super) fn read(message: &[u8]) -> Result<Histogram, Unreadable> {
        let mut histogram = Histogram::default();
        for field in Fields::of(message) {
            let (number, value) = field?;
            histogram.field(number, value)?;
        }
        Ok(histogram)
    }

    fn field(&mut self, number: u32, value: Value<'_>) -> Result<(), Unreadable> {
        match number {
            1 => self.count = whole(value.uint()?),
            2 => self.count = value.double()?,
            3 => self.sum = value.double()?,
            4 => self.schema = value.zigzag()?,
            5 => self.zero_threshold = value.double()?,
            6 => self.zero_count = whole(value.uint()?),
            7 => self.zero_count = value.double()?,
            8 => self.negative.span(value.bytes()?)?,
            9 => extend(&mut self.negative.deltas, deltas(value.varints()?))?,
            10 => extend(&mut self.negative.counts, value.doubles()?.map(Ok))?,
            11 => self.positive.span(value.bytes()?)?,
            12 => extend(&mut self.positive.deltas, deltas(value.varints()?))?,
            13 => extend(&mut self.positive.counts, value.doubles()?.map(Ok))?,
            15 => self.timestamp_ms = value.int()?,
            16 => extend(&mut self.bounds, value.doubles()?.map(Ok))?,
            _ => {}
        }
        Ok(())
    }

    /// The buckets as classic histograms have them.
    ///
    /// # Errors
    /// What makes no sense.
    pub(super) fn cumulative(&self) -> Result<Cumulative, &'static str> {
        if !is_count(self.count) || !is_count(self.zero_count) {
            return Err("has a count that is none");
        }
        match self.schema {
            CUSTOM => self.custom(),
            schema if EXPONENTIAL.contains(&schema) => self.exponential(schema),
            _ => Err("has a schema that is not known"),
        }
    }

    fn exponential(&self, schema: i64) -> Result<Cumulative, &'static str> {
        if self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
            return Err("has a zero threshold that is none");
        }
        let mut out = Rising::default();
        let negative = self.negative.buckets()?;
        for (index, count) in negative.iter().rev() {
            out.bucket(-bound(schema, *index), -bound(schema, index - 1), *count);
        }
        let zero_from = if negative.is_empty() { 0.0 } else { -self.zero_threshold };
        if self.zero_count > 0.0 {
            out.bucket(zero_from, self.zero_threshold, self.zero_count);
        }
        for (index, count) in self.positive.buckets()? {
            out.bucket(bound(schema, index - 1), bound(schema, index), count);
        }
        Ok(out.bounds)
    }

    fn custom(&self) -> Result<Cumulative, &'static str> {
        let is_rising = self.bounds.is_sorted_by(|a, b| a < b);
        if !is_rising || self.bounds.iter().any(|bound| bound.is_nan()) {
            return Err("has bounds that do not rise");
        }
        let mut buckets = self.positive.buckets()?.into_iter().peekable();
        let mut total = 0.0;
        let mut out = Vec::with_capacity(self.bounds.len());
        for (index, bound) in (0_i64..).zip(&self.bounds) {
            if let Some((_, count)) = buckets.next_if(|(at, _)| *at == index) {
                total += count;
            }
            if bound.is_finite() {
                out.push((*bound, total));
            }
        }
        // What is left is the bucket beyond the last bound.
        let beyond = i64::try_from(self.bounds.len()).unwrap_or(i64::MAX);
        match buckets.find(|(index, _)| *index != beyond) {
            Some(_) => Err("has a bucket without bounds"),
            None => Ok(out),
        }
    }
}

impl Side {
    fn span(&mut self, message: &[u8]) -> Result<(), Unreadable> {
        let (mut offset, mut length) = (0, 0);
        for field in Fields::of(message) {
            match field? {
                (1, value) => offset = value.zigzag()?,
                (2, value) => length = value.uint()?,
                _ => {}
            }
        }
        extend(&mut self.spans, [Ok((offset, length))])
    }

    /// Index and count of each bucket, rising.
    fn buckets(&self) -> Result<Vec<(i64, f64)>, &'static str> {
        const UNEVEN: &str = "has other buckets than its spans say";
        if !self.deltas.is_empty() && !self.counts.is_empty() {
            return Err(UNEVEN);
        }
        let mut counts = Vec::with_capacity(self.deltas.len() + self.counts.len());
        let mut count = 0_i64;
        for delta in &self.deltas {
            count = count.checked_add(*delta).ok_or("has a count that is none")?;
            counts.push(signed(count));
        }
        counts.extend(&self.counts);
        if !counts.iter().all(|count| is_count(*count)) {
            return Err("has a count that is none");
        }
        let mut counts = counts.into_iter();
        let mut buckets = Vec::with_capacity(counts.len());
        let mut next = 0_i64;
        for (n, (offset, length)) in self.spans.iter().enumerate() {
            // The first may begin anywhere, the others behind the one before.
            let is_valid = i32::try_from(*offset).is_ok() && (n == 0 || *offset >= 0);
            if !is_valid || *length > counts.len() as u64 {
                return Err(UNEVEN);
            }
            next += offset; // at most BUCKETS_MAX times 2^31
            let run = usize::try_from(*length).map_err(|_| UNEVEN)?;
            for count in counts.by_ref().take(run) {
                buckets.push((next, count));
                next += 1;
            }
        }
        if counts.len() == 0 { Ok(buckets) } else { Err(UNEVEN) }
    }
}

/// Cumulative counts in the making.
#[derive(Default)]
struct Rising {
    bounds: Cumulative,
    total: f64,
}

impl Rising {
    fn bucket(&mut self, from: f64, to: f64, count: f64) {
        self.up_to(from);
        self.total += count;
        self.up_to(to);
    }

    fn up_to(&mut self, bound: f64) {
        match self.bounds.last_mut() {
            Some((last, count)) if *last >= bound => *count = self.total,
            _ => self.bounds.push((bound, self.total)),
        }
    }
}

/// Where bucket `index` ends.
fn bound(schema: i64, index: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "indices are of 32 bits, fractions of at most 8")]
    let power = |index: i64| (index as f64).exp2();
    let bound = if schema <= 0 {
        power(index.saturating_mul(1 << -schema))
    } else {
        let (whole, part) = (index >> schema, index & ((1 << schema) - 1));
        #[expect(clippy::cast_precision_loss, reason = "below 256")]
        let fraction = (part as f64 / (1_i64 << schema) as f64).exp2();
        // Scaling by a power of two is exact; in two steps where the power alone has no double.
        fraction * power(whole - whole / 2) * power(whole / 2)
    };
    bound.min(f64::MAX)
}

fn is_count(count: f64) -> bool {
    count.is_finite() && count >= 0.0
}

#[expect(clippy::cast_precision_loss, reason = "samples are doubles: beyond 2^53 the nearest one counts")]
fn whole(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "as above")]
fn signed(count: i64) -> f64 {
    count as f64
}

fn deltas(numbers: Varints<'_>) -> impl Iterator<Item = Result<i64, WireError>> {
    numbers.map(|number| number.map(unzigzag))
}

fn extend<T>(
    list: &mut Vec<T>,
    more: impl IntoIterator<Item = Result<T, WireError>>,
) -> Result<(), Unreadable> {
    for one in more {
        if list.len() == BUCKETS_MAX {
            return Err(Unreadable::Invalid(TOO_MANY));
        }
        list.push(one?);
    }
    Ok(())
}

/// A bound as Prometheus writes it in `le`: Go's shortest `%g`.
pub(super) fn le(bound: f64) -> String {
    /// From this exponent on, and below -4, a number is written with it.
    const EXPONENT_FROM: i32 = 6;
    if bound.is_infinite() {
        return if bound > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let short = format!("{bound:e}");
    let (digits, exponent) = short.split_once('e').unwrap_or((&short, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..EXPONENT_FROM => bound.to_string(),
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(spans: &[(i64, u64)], deltas: &[i64]) -> Side {
        Side { spans: spans.to_vec(), deltas: deltas.to_vec(), counts: vec![] }
    }

    #[track_caller]
    fn check(histogram: &Histogram, buckets: &str) {
        let found = histogram.cumulative().map(|buckets| {
            let texts: Vec<_> =
                buckets.iter().map(|(bound, count)| format!("{}:{count}", le(*bound))).collect();
            texts.join(" ")
        });
        assert_eq!(found.as_deref(), Ok(buckets));
    }

    #[test]
    fn buckets_are_cumulative_with_exact_bounds_and_gaps_are_seen() {
        let histogram = Histogram {
            count: 12.0,
            schema: 0,
            zero_threshold: 0.001,
            zero_count: 1.0,
            negative: side(&[(0, 1)], &[2]),
            positive: side(&[(0, 2), (1, 1)], &[1, 2, 2]),
            ..Histogram::default()
        };
        // Buckets (0.5,1]:1 (1,2]:3 (4,8]:5, and [-1,-0.5):2 of the negative.
        check(&histogram, "-1:0 -0.5:2 -0.001:2 0.001:3 0.5:3 1:4 2:7 4:7 8:12");
    }

    #[test]
    fn bounds_are_powers_to_the_nearest_double() {
        let bounds = |schema: i64, indices: &[i64]| -> Vec<f64> {
            indices.iter().map(|index| bound(schema, *index)).collect()
        };
        assert_eq!(bounds(-1, &[-1, 0, 1, 512, 513]), [0.25, 1.0, 4.0, f64::MAX, f64::MAX]);
        assert_eq!(bounds(0, &[-1, 0, 1, 1023, 1024]), [0.5, 1.0, 2.0, 8.98846567431158e307, f64::MAX]);
        assert_eq!(bounds(2, &[-1, 0, 1]), [0.8408964152537145, 1.0, 1.189207115002721]);
        assert_eq!(bounds(3, &[1, 2, 7]), [1.0905077326652577, 1.189207115002721, 1.8340080864093424]);
        assert_eq!(bounds(8, &[1, 256 * 1023]), [1.0027112750502025, 8.98846567431158e307]);
        assert_eq!(bound(0, -1074), 5e-324);
        assert_eq!(bound(8, i64::from(i32::MIN)), 0.0);
    }

    #[test]
    fn custom_bounds_are_kept_as_they_are() {
        let histogram = Histogram {
            count: 10.0,
            schema: CUSTOM,
            positive: side(&[(0, 1), (1, 2)], &[4, -1, 0]),
            bounds: vec![0.1, 1.0, 10.0],
            ..Histogram::default()
        };
        check(&histogram, "0.1:4 1:4 10:7");
        let outside = Histogram { bounds: vec![0.1], ..histogram };
        assert_eq!(outside.cumulative(), Err("has a bucket without bounds"));
    }

    #[test]
    fn nonsense_is_named() {
        let broken = |histogram: Histogram| histogram.cumulative().unwrap_err();
        let base = Histogram::default;
        assert_eq!(broken(Histogram { schema: 9, ..base() }), "has a schema that is not known");
        assert_eq!(broken(Histogram { count: f64::NAN, ..base() }), "has a count that is none");
        let uneven = side(&[(0, 2)], &[1]);
        assert_eq!(broken(Histogram { positive: uneven, ..base() }), "has other buckets than its spans say");
        let negative = side(&[(0, 1)], &[-1]);
        assert_eq!(broken(Histogram { positive: negative, ..base() }), "has a count that is none");
        let mut many = vec![0x62, 0xf8, 0xab, 1]; // 22,008 bytes of packed deltas
        many.extend(vec![0; 22_008]);
        assert_eq!(Histogram::read(&many), Err(Unreadable::Invalid(TOO_MANY)));
    }

    #[test]
    fn le_is_written_as_go_does() {
        let texts = [0.005, 1.0, 1e6, 123_456.0, 1_234_567.0, 1e-5, 0.0001, f64::INFINITY, -0.5].map(le);
        assert_eq!(
            texts,
            ["0.005", "1", "1e+06", "123456", "1.234567e+06", "1e-05", "0.0001", "+Inf", "-0.5"]
        );
    }
}
