//! Streaming anomaly score of one series: how rarely its values were as they are now.
//!
//! Each configured baseline (see [`Method`]) turns the series into one statistic; an adaptive histogram says how rare
//! the statistic's value is, in bits; the score is the mean over the baselines. No distribution, unit or sampling
//! interval is assumed and nothing is set per series.
//!
//! What the score means: `score = 1 - 0.05^(bits / alarm_bits)`, so 0.95 is the alarm, whatever `alarm_bits` is. At the
//! default of 10.5 bits a value alarms when, by the geometric mean over the baselines, one value in 1,450 is as rare.
//! Neighbouring values are alike and one incident is one finding, so findings are rarer than that: see
//! [`ScorerConfig::alarm_bits`] for what was measured.
//!
//! Invariants:
//! - a value is judged by earlier ones only; the same values in the same order give the same scores, also across serde;
//! - until [`SAMPLES_MIN`] values were seen the score is 0;
//! - an incident is one finding: after a finding, values count only when they are rarer than it, by a bar that sinks to
//!   nothing within [`CALM_SAMPLES`];
//! - scores, expected values and spreads are finite whatever arrives.
//!
//! Cost: 0.1 µs of one core a value, 0.5 with all four baselines. Memory of a series: 1.6 KB with the default baselines,
//! 4.4 KB with all four ([`Scorer::bytes`]); weekdays and holidays take 5 KB more.
//!
//! Measured on 27 files of the public NAB 1.1 corpus (59 windows; run by `examples/anomaly.rs`): 68.7 at the shipped
//! alarm, 69.8 at the best threshold in hindsight. When bins, prior, span, baselines and alarm are chosen on all
//! categories but one and judged on that one, the total is 66.2; no choice of bins (32 to 128), prior (0.3 to 1), span
//! (6 to 24) or memory (2,000 and more) changed the best by more than 7.

mod batch;
mod calendar;
mod exact;
mod novelty;
mod pieces;

use heimdall_model::Severity;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::{CalendarConfig, ConfigError};
use crate::snapshot;
use novelty::Novelty;
use pieces::Piece;

pub use batch::{BatchError, batch_anomaly};
pub use calendar::Calendar;
pub use pieces::{Changepoint, Ewma, Mad, Method, Reading, Seasonal};

/// Values before a baseline is believed.
pub const SAMPLES_MIN: u64 = 50;
/// Values after which a finding no longer holds back others: a day of 5-minute samples. The bar sinks evenly, so
/// something as rare as the finding comes through after any of them.
pub const CALM_SAMPLES: u32 = 300;
/// Score at which a value is an anomaly.
pub const ALARM_SCORE: f64 = 0.95;
/// Differences below this share of the usual size of the values mean nothing: 0.1 %.
const FINEST_RELATIVE: f64 = 0.001;
/// Values the usual size remembers.
const SIZE_MEMORY: f64 = 1_000.0;
/// Larger values count as this, so that squares stay finite.
const VALUE_MAX: f64 = 1e100;
/// Values rarer than this start to hold others back; there is no incident below.
const BITS_NOTED: f64 = 2.0;
/// Most bits there are, and with it the highest alarm.
pub(crate) const ALARM_BITS_MAX: f64 = novelty::BITS_MAX;
/// Bits beyond the alarm that are CRITICAL: eight times as rare.
const CRITICAL_BITS: f64 = 3.0;

/// How series are scored: the same for all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScorerConfig {
    /// Baselines that are asked, of `mad`, `ewma`, `changepoint`, `seasonal`. Default `["seasonal", "ewma"]`: on public
    /// data these two together are the best of all subsets; each further one makes the mean duller (NAB 69.8; `mad` with `ewma` 63.1; `mad` alone 62.1, `seasonal` 61.3,
    /// `ewma` 57.1, `changepoint` 22.8; all four 60.5).
    pub methods: Vec<Method>,
    /// Bits of surprise that are an anomaly. Default 10.5: one value in 1,450; raise it by one bit for half as many.
    /// Findings in 50,000 clean values, measured: 0 to 10 for constants, normal noise, daily waves and counts, 37 for a
    /// slow random walk around a mean, 66 for lognormal values (sigma 1.5): below 0.15 % even then.
    pub alarm_bits: f64,
    /// Hours, weekdays and holidays, for `seasonal`.
    pub calendar: CalendarConfig,
}

impl Default for ScorerConfig {
    fn default() -> Self {
        ScorerConfig {
            methods: vec![Method::Seasonal, Method::Ewma],
            alarm_bits: 10.5,
            calendar: CalendarConfig::default(),
        }
    }
}

impl ScorerConfig {
    /// Makes it ready for use.
    ///
    /// # Errors
    /// Names the first key whose value does not fit.
    pub fn check(&self) -> Result<Settings, ConfigError> {
        let refused = |key: &str, wants| Err(ConfigError { key: key.to_owned(), wants });
        if self.methods.is_empty() {
            return refused("methods", "at least one of `mad`, `ewma`, `changepoint`, `seasonal`");
        }
        if (1..self.methods.len()).any(|at| self.methods[..at].contains(&self.methods[at])) {
            return refused("methods", "without repetition");
        }
        if !(1.0..=ALARM_BITS_MAX).contains(&self.alarm_bits) {
            return refused("alarm_bits", "between 1 and 60");
        }
        let calendar = Calendar::new(&self.calendar)?;
        Ok(Settings { methods: self.methods.clone(), alarm_bits: self.alarm_bits, calendar })
    }
}

/// A configuration that was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    methods: Vec<Method>,
    alarm_bits: f64,
    calendar: Calendar,
}

impl Default for Settings {
    fn default() -> Self {
        let ScorerConfig { methods, alarm_bits, .. } = ScorerConfig::default();
        Settings { methods, alarm_bits, calendar: Calendar::default() }
    }
}

impl Settings {
    /// Baselines that are asked.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// Bits that are an anomaly.
    #[must_use]
    pub fn alarm_bits(&self) -> f64 {
        self.alarm_bits
    }

    fn score(&self, bits: f64) -> f64 {
        1.0 - (1.0 - ALARM_SCORE).powf(bits / self.alarm_bits)
    }

    fn severity(&self, bits: f64) -> Severity {
        if bits >= self.alarm_bits + CRITICAL_BITS {
            Severity::Critical
        } else if bits >= self.alarm_bits {
            Severity::Warning
        } else {
            Severity::Normal
        }
    }
}

/// A judged value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// 0 to 1; an anomaly from [`ALARM_SCORE`] on. While an incident goes on, half the bits count.
    pub score: f64,
    /// A new finding: rare, and not the rest of an incident already found.
    pub is_anomaly: bool,
    /// How rare the value itself is, also within an incident: WARNING from the alarm on, CRITICAL when eight times
    /// as rare as that.
    pub severity: Severity,
    /// How rare, in bits.
    pub bits: f64,
    /// The value expected by the first of the baselines that knows; the value itself when none does.
    pub expected: f64,
    /// Usual distance from it, one standard deviation; 0 when not known yet.
    pub spread: f64,
    /// Bits by method, in the order `mad`, `ewma`, `changepoint`, `seasonal`; `None` for those silent.
    parts: [Option<f64>; 4],
}

impl Scored {
    /// Bits one baseline contributed; `None` when it was not asked or does not know yet.
    #[must_use]
    pub fn bits_of(&self, method: Method) -> Option<f64> {
        self.parts[method as usize]
    }

    fn silent(value: f64) -> Scored {
        Scored {
            score: 0.0,
            is_anomaly: false,
            severity: Severity::Normal,
            bits: 0.0,
            expected: value,
            spread: 0.0,
            parts: [None; 4],
        }
    }
}

/// The state of one series.
#[derive(Debug, Clone, Serialize)]
pub struct Scorer {
    samples: u64,
    /// Usual size of the values, without sign.
    #[serde(with = "snapshot::bits")]
    size: f64,
    /// Bits of the last finding, and values since.
    #[serde(with = "snapshot::bits")]
    found_bits: f64,
    found_ago: u32,
    parts: Vec<Part>,
}

/// A baseline and what is known of its statistic.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    piece: Piece,
    novelty: Novelty,
}

impl Scorer {
    /// A series nothing is known of.
    #[must_use]
    pub fn new(settings: &Settings) -> Scorer {
        let part = |method: &Method| Part { piece: Piece::new(*method), novelty: Novelty::default() };
        Scorer {
            samples: 0,
            size: 0.0,
            found_bits: 0.0,
            found_ago: 0,
            parts: settings.methods.iter().map(part).collect(),
        }
    }

    /// Whether it was made for these baselines.
    #[must_use]
    pub fn fits(&self, settings: &Settings) -> bool {
        self.parts.iter().map(|part| part.piece.method()).eq(settings.methods.iter().copied())
    }

    /// Values learnt.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Judges a value by those before it and learns it. Times may come in any order; only `seasonal` looks at them.
    ///
    /// A value that is not a number is not judged and not learnt.
    pub fn observe(&mut self, settings: &Settings, time_ns: i64, value: f64) -> Scored {
        if !value.is_finite() {
            return Scored::silent(0.0);
        }
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        self.learn_size(value);
        let mut scored = Scored::silent(value);
        let (mut sum, mut asked) = (0.0, 0.0);
        let mut known = false;
        for part in &mut self.parts {
            let Some(reading) = part.piece.observe(&settings.calendar, time_ns, value) else { continue };
            if !std::mem::replace(&mut known, true) {
                (scored.expected, scored.spread) = (reading.expected, reading.spread);
            }
            let warm = part.novelty.seen() >= SAMPLES_MIN;
            let finest = part.piece.finest(FINEST_RELATIVE * self.size);
            let bits = part.novelty.observe(reading.statistic, finest);
            if warm {
                scored.parts[part.piece.method() as usize] = Some(bits);
                (sum, asked) = (sum + bits, asked + 1.0);
            }
        }
        if asked > 0.0 {
            self.conclude(settings, sum / asked, &mut scored);
        }
        scored
    }

    #[expect(clippy::cast_precision_loss, reason = "sample counts far below 2^53")]
    fn learn_size(&mut self, value: f64) {
        self.samples += 1;
        let gain = (1.0 / self.samples as f64).max(1.0 / SIZE_MEMORY);
        self.size += gain * (value.abs() - self.size);
    }

    /// The value nearest to `scored.expected` on the side of `value` that would alarm by the first baseline alone.
    ///
    /// It is for people: the alarm itself asks all baselines. `value` when the first baseline does not know.
    #[must_use]
    pub fn bound(&self, settings: &Settings, scored: &Scored, value: f64) -> f64 {
        let Some(part) = self.parts.iter().find(|part| scored.bits_of(part.piece.method()).is_some()) else {
            return value;
        };
        let offset = if part.piece.is_distance() { scored.expected } else { 0.0 };
        let (from, to) = (scored.expected - offset, value - offset);
        let bound = offset + part.novelty.bound(from, to, settings.alarm_bits);
        if value >= scored.expected { bound.min(value) } else { bound.max(value) }
    }

    fn conclude(&mut self, settings: &Settings, bits: f64, scored: &mut Scored) {
        self.found_ago = self.found_ago.saturating_add(1).min(CALM_SAMPLES);
        let bar = self.found_bits * f64::from(CALM_SAMPLES - self.found_ago) / f64::from(CALM_SAMPLES);
        let new = bits > bar;
        if new && bits > BITS_NOTED {
            // Beyond twice the alarm nothing is held back for longer, so that one wild value cannot hide a day.
            (self.found_bits, self.found_ago) = (bits.min(2.0 * settings.alarm_bits), 0);
        }
        let counted = if new { bits } else { (bits / 2.0).min(settings.alarm_bits * 0.999) };
        scored.bits = bits;
        scored.score = settings.score(counted);
        scored.is_anomaly = new && bits >= settings.alarm_bits;
        scored.severity = settings.severity(bits);
    }

    /// Bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| part.piece.heap_bytes() + Novelty::HEAP_BYTES).sum();
        size_of::<Scorer>() + self.parts.capacity() * size_of::<Part>() + parts
    }
}

impl<'de> Deserialize<'de> for Scorer {
    /// Refuses what would break an invariant later.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Saved {
            samples: u64,
            #[serde(with = "snapshot::bits")]
            size: f64,
            #[serde(with = "snapshot::bits")]
            found_bits: f64,
            found_ago: u32,
            parts: Vec<Part>,
        }
        let Saved { samples, size, found_bits, found_ago, parts } = Saved::deserialize(deserializer)?;
        if found_ago > CALM_SAMPLES
            || !parts.iter().all(|part| part.piece.is_sound() && part.novelty.is_sound())
        {
            return Err(serde::de::Error::custom("the state of a series breaks its invariants"));
        }
        Ok(Scorer { samples, size, found_bits, found_ago, parts })
    }
}

#[cfg(test)]
mod tests;
