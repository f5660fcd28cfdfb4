//! What a series should read at a time: piecewise-linear trend, daily and other seasons, holidays.
//!
//! The model is Prophet's: a trend that may bend at changepoints over the first 80 % of the history, Fourier series
//! for each season that the history spans twice, one effect for all holidays. Priors make it a ridge regression, solved
//! exactly, so that fitting takes milliseconds and needs no sampler. The interval holds the residual deviation and how
//! far the trend may bend in the time since the history ended.
//!
//! Invariants: at most [`POINTS_MAX`] points (the newest) and [`COLUMNS_MAX`] coefficients, so fitting is bounded by
//! `points * columns^2`: about 1 ms for 512 points; a prediction costs one pass over the coefficients.
//!
//! Not here: multiplicative seasons (give it logarithms) and saturating growth.
//!
//! Source: Taylor, Letham, "Forecasting at scale", The American Statistician 72(1), 2018.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// Most points learnt from.
pub const POINTS_MAX: usize = 4_096;
/// Fewest points.
pub const POINTS_MIN: usize = 20;
/// Most coefficients: level, slope, changepoints, three seasons, holidays.
pub const COLUMNS_MAX: usize = 2 + CHANGEPOINTS_MAX + 2 * (HOURLY_ORDER + DAILY_ORDER + WEEKLY_ORDER) + 1;
/// Most places where the trend may bend.
pub const CHANGEPOINTS_MAX: usize = 25;
/// Share of the history that may hold changepoints: the rest shows where the trend goes now.
const CHANGEPOINT_RANGE: f64 = 0.8;
/// Points for each changepoint at least, so that the trend cannot follow single points.
const POINTS_PER_CHANGEPOINT: usize = 20;
/// Sine and cosine pairs: Prophet's for a week and (rounded up) a day; an hour's shape is a few peaks.
const WEEKLY_ORDER: usize = 3;
const DAILY_ORDER: usize = 5;
const HOURLY_ORDER: usize = 3;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;
const WEEK: f64 = 7.0 * DAY;
/// Deviations of the priors in deviations of the series: level and slope are free, a season may be large, the trend
/// bends little (Prophet's `changepoint_prior_scale` 0.05, relative to the largest value, is about this much).
const PRIOR_FREE: f64 = 100.0;
const PRIOR_SEASON: f64 = 10.0;
const PRIOR_BEND: f64 = 0.5;
/// Times the fit is repeated with the residual deviation it found, which the priors are weighed against.
const ROUNDS: usize = 3;
/// Smallest residual deviation, as a share of the deviation of the series.
const RESIDUAL_MIN: f64 = 1e-6;

/// What a series is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecompositionConfig {
    /// Most changepoints of the trend.
    pub changepoints: usize,
    /// Whether an hour, a day and a week are seasons, if the history spans them twice.
    pub seasons: bool,
    /// Days, counted from 1970-01-01 (UTC), that are holidays. Empty switches them off.
    pub holidays: Vec<i64>,
}

impl Default for DecompositionConfig {
    /// Ten changepoints: Prophet's 25 are for years. All seasons, no holidays.
    fn default() -> Self {
        DecompositionConfig { changepoints: 10, seasons: true, holidays: Vec::new() }
    }
}

/// A predicted value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Expected value.
    pub mean: f64,
    /// Deviation of the value from it.
    pub stddev: f64,
}

impl Forecast {
    /// Lower and upper end of the interval of `deviations` to both sides; 1.96 hold 95 %.
    #[must_use]
    pub fn interval(&self, deviations: f64) -> (f64, f64) {
        (self.mean - deviations * self.stddev, self.mean + deviations * self.stddev)
    }

    /// Deviations that a value lies from what was expected, with its sign.
    #[must_use]
    pub fn residual(&self, value: f64) -> f64 {
        (value - self.mean) / self.stddev
    }
}

/// A fitted series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decomposition {
    design: Design,
    coefficients: Vec<f64>,
    mean: f64,
    scale: f64,
    /// Residual deviation, in `scale`.
    residual: f64,
    /// Mean bend of the trend at a changepoint, in `scale` for each length of the history.
    bend: f64,
}

/// What the columns of the regression stand for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Design {
    begin: f64,
    length: f64,
    changepoints: usize,
    /// Length in seconds and pairs of each season.
    seasons: Vec<(f64, usize)>,
    holidays: Vec<i64>,
}

impl Decomposition {
    /// Fits points of time (seconds since 1970) and value, in order of time; those that are not finite are left out.
    /// `None` with fewer than [`POINTS_MIN`], or when all are of one time.
    #[must_use]
    pub fn fit(points: &[(f64, f64)], config: &DecompositionConfig) -> Option<Decomposition> {
        let finite = |(time, value): &&(f64, f64)| time.is_finite() && value.is_finite();
        let mut points: Vec<(f64, f64)> = points.iter().filter(finite).copied().collect();
        points.drain(..points.len().saturating_sub(POINTS_MAX));
        if points.len() < POINTS_MIN {
            return None;
        }
        let n = points.len() as f64;
        let mean = points.iter().map(|(_, value)| value).sum::<f64>() / n;
        let variance = points.iter().map(|(_, value)| (value - mean).powi(2)).sum::<f64>() / n;
        let scale = if variance > 0.0 { variance.sqrt() } else { mean.abs().max(1.0) * RESIDUAL_MIN };
        let design = Design::of(&points, config)?;
        let mut normal = Normal::new(design.priors());
        let mut row = Vec::new();
        for (time, value) in &points {
            design.row(*time, &mut row);
            normal.add(&row, (value - mean) / scale);
        }
        let mut residual = 0.5;
        let mut coefficients = Vec::new();
        for _ in 0..ROUNDS {
            coefficients = normal.solve(residual)?;
            residual = design.residual(&points, &coefficients, mean, scale);
        }
        let bends = coefficients.iter().skip(2).take(design.changepoints).map(|bend| bend.abs());
        let bend = bends.sum::<f64>() / design.changepoints.max(1) as f64;
        Some(Decomposition { design, coefficients, mean, scale, residual, bend })
    }

    /// The value expected at a time, with its deviation.
    #[must_use]
    pub fn predict(&self, time: f64) -> Forecast {
        let mut row = Vec::new();
        self.design.row(time, &mut row);
        let level: f64 = row.iter().zip(&self.coefficients).map(|(x, c)| x * c).sum();
        let stddev = self.scale * self.residual.hypot(self.drift(time));
        Forecast { mean: self.mean + self.scale * level, stddev }
    }

    /// Deviation of the trend by the bends it may take after the history, at the rate and size of those in it: bends of
    /// deviation `b` at rate `r` move it by `b` times the time left each, so its variance is `r * 2b^2 * t^3 / 3`
    /// (Laplace distributed, as Prophet assumes).
    fn drift(&self, time: f64) -> f64 {
        let ahead = ((time - self.design.begin) / self.design.length - 1.0).max(0.0);
        let rate = self.design.changepoints as f64 / CHANGEPOINT_RANGE;
        (rate * 2.0 * self.bend * self.bend * ahead.powi(3) / 3.0).sqrt()
    }
}

impl Design {
    fn of(points: &[(f64, f64)], config: &DecompositionConfig) -> Option<Design> {
        let (begin, length) = (points.first()?.0, points.last()?.0 - points.first()?.0);
        if length <= 0.0 {
            return None;
        }
        let step = length / (points.len() - 1) as f64;
        let mut seasons = Vec::new();
        for (period, order) in [(HOUR, HOURLY_ORDER), (DAY, DAILY_ORDER), (WEEK, WEEKLY_ORDER)] {
            // A pair of order k needs more than two points in its period.
            let told = (1..=order).take_while(|k| period > 2.0 * step * *k as f64).count();
            if config.seasons && length >= 2.0 * period && told > 0 {
                seasons.push((period, told));
            }
        }
        let known = |day: &i64| points.iter().any(|(time, _)| day_of(*time) == *day);
        // Without a holiday in the history there is nothing to learn of their effect.
        let holidays = if config.holidays.iter().any(known) { config.holidays.clone() } else { Vec::new() };
        let most = (points.len() / POINTS_PER_CHANGEPOINT).min(CHANGEPOINTS_MAX);
        Some(Design { begin, length, changepoints: config.changepoints.min(most), seasons, holidays })
    }

    fn row(&self, time: f64, out: &mut Vec<f64>) {
        out.clear();
        let at = (time - self.begin) / self.length;
        out.extend([1.0, at]);
        for n in 0..self.changepoints {
            let place = CHANGEPOINT_RANGE * (n + 1) as f64 / (self.changepoints + 1) as f64;
            out.push((at - place).max(0.0));
        }
        for (period, order) in &self.seasons {
            for k in 1..=*order {
                let (sin, cos) = (TAU * k as f64 * time / period).sin_cos();
                out.extend([sin, cos]);
            }
        }
        if !self.holidays.is_empty() {
            out.push(f64::from(u8::from(self.holidays.contains(&day_of(time)))));
        }
    }

    /// Deviation assumed of each coefficient beforehand.
    fn priors(&self) -> Vec<f64> {
        let seasonal: usize = self.seasons.iter().map(|(_, order)| 2 * order).sum();
        let mut priors = vec![PRIOR_FREE; 2];
        priors.extend(std::iter::repeat_n(PRIOR_BEND, self.changepoints));
        priors.extend(std::iter::repeat_n(PRIOR_SEASON, seasonal + usize::from(!self.holidays.is_empty())));
        priors
    }

    fn residual(&self, points: &[(f64, f64)], coefficients: &[f64], mean: f64, scale: f64) -> f64 {
        let mut row = Vec::new();
        let mut sum = 0.0;
        for (time, value) in points {
            self.row(*time, &mut row);
            let fitted: f64 = row.iter().zip(coefficients).map(|(x, c)| x * c).sum();
            sum += ((value - mean) / scale - fitted).powi(2);
        }
        let free = points.len().saturating_sub(coefficients.len()).max(1) as f64;
        (sum / free).sqrt().max(RESIDUAL_MIN)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, which no holiday is near")]
fn day_of(time: f64) -> i64 {
    (time / DAY).floor() as i64
}

/// The normal equations of a ridge regression.
struct Normal {
    priors: Vec<f64>,
    /// Lower triangle of X'X, row by row, and X'y.
    squares: Vec<f64>,
    products: Vec<f64>,
}

impl Normal {
    fn new(priors: Vec<f64>) -> Normal {
        let n = priors.len();
        Normal { squares: vec![0.0; n * n], products: vec![0.0; n], priors }
    }

    fn add(&mut self, row: &[f64], y: f64) {
        let n = row.len();
        for a in 0..n {
            for b in 0..=a {
                self.squares[a * n + b] += row[a] * row[b];
            }
            self.products[a] += row[a] * y;
        }
    }

    /// Most probable coefficients when the residuals have this deviation: Cholesky of `X'X + (residual / prior)^2`.
    fn solve(&self, residual: f64) -> Option<Vec<f64>> {
        let n = self.products.len();
        let mut root = self.squares.clone();
        for (at, prior) in self.priors.iter().enumerate() {
            root[at * n + at] += (residual / prior).powi(2) + 1e-9;
        }
        for a in 0..n {
            for b in 0..=a {
                let known: f64 = (0..b).map(|k| root[a * n + k] * root[b * n + k]).sum();
                let left = root[a * n + b] - known;
                root[a * n + b] = if a == b { left.sqrt() } else { left / root[b * n + b] };
            }
            if root[a * n + a].is_nan() || root[a * n + a] <= 0.0 {
                return None;
            }
        }
        let mut x = self.products.clone();
        for a in 0..n {
            let known: f64 = (0..a).map(|k| root[a * n + k] * x[k]).sum();
            x[a] = (x[a] - known) / root[a * n + a];
        }
        for a in (0..n).rev() {
            let known: f64 = (a + 1..n).map(|k| root[k * n + a] * x[k]).sum();
            x[a] = (x[a] - known) / root[a * n + a];
        }
        Some(x)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    const START: f64 = 1_770_000_000.0;

    fn series(n: usize, step: f64, value: impl Fn(f64) -> f64, noise: f64) -> Vec<(f64, f64)> {
        let mut rng = Rng::new(3);
        (0..n).map(|at| START + at as f64 * step).map(|t| (t, value(t) + noise * rng.normal())).collect()
    }

    #[test]
    fn a_day_and_a_trend_are_found_and_carried_on() {
        let truth =
            |t: f64| 50.0 + (t - START) / DAY + 20.0 * (TAU * t / DAY).sin() + 5.0 * (TAU * t / HOUR).cos();
        let points = series(1_152, 300.0, truth, 2.0);
        let fitted = Decomposition::fit(&points, &DecompositionConfig::default()).unwrap();
        let end = START + 1_152.0 * 300.0;
        let mut inside = 0;
        for (n, (_, noise)) in series(200, 300.0, |_| 0.0, 2.0).iter().enumerate() {
            let t = end + n as f64 * 300.0;
            let forecast = fitted.predict(t);
            assert!((forecast.mean - truth(t)).abs() < 3.0, "{t}: {forecast:?} {}", truth(t));
            let (low, high) = forecast.interval(1.96);
            inside += u32::from((low..=high).contains(&(truth(t) + noise)));
        }
        assert!((180..=200).contains(&inside), "{inside} of 200 in the 95 % interval");
        assert!(fitted.predict(end).residual(truth(end) + 20.0) > 8.0);
    }

    #[test]
    fn the_trend_may_bend_and_widens_the_interval() {
        let bent = |t: f64| ((t - START) / HOUR - 1.0).max(0.0) * 10.0;
        let fitted =
            Decomposition::fit(&series(720, 10.0, bent, 0.5), &DecompositionConfig::default()).unwrap();
        let [soon, later] = [7_200.0, 10_800.0].map(|t| fitted.predict(START + t));
        assert!((soon.mean - 10.0).abs() < 1.0, "{soon:?}");
        assert!(later.stddev > 1.5 * soon.stddev, "{soon:?} {later:?}");
    }

    #[test]
    fn holidays_are_another_level() {
        let holiday = |t: f64| day_of(t) % 5 == 0;
        let points = series(24 * 30, HOUR, |t| if holiday(t) { 10.0 } else { 100.0 }, 3.0);
        let holidays: Vec<i64> = (0..60).map(|n| day_of(START) + n).filter(|day| day % 5 == 0).collect();
        let config = DecompositionConfig { holidays, ..DecompositionConfig::default() };
        let fitted = Decomposition::fit(&points, &config).unwrap();
        let after = (0..10).map(|n| START + (31.0 + f64::from(n)) * DAY);
        for t in after {
            let expected = if holiday(t) { 10.0 } else { 100.0 };
            assert!((fitted.predict(t).mean - expected).abs() < 15.0, "{t} {:?}", fitted.predict(t));
        }
    }

    #[test]
    fn a_constant_and_few_points() {
        let constant = series(100, 10.0, |_| 7.0, 0.0);
        let fitted = Decomposition::fit(&constant, &DecompositionConfig::default()).unwrap();
        let forecast = fitted.predict(START + 2_000.0);
        assert!((forecast.mean - 7.0).abs() < 1e-3 && forecast.stddev > 0.0, "{forecast:?}");
        assert_eq!(Decomposition::fit(&constant[..POINTS_MIN - 1], &DecompositionConfig::default()), None);
        assert_eq!(Decomposition::fit(&[(1.0, 2.0); 50], &DecompositionConfig::default()), None);
    }
}
