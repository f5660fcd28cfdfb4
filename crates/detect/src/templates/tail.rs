//! How improbable a count is: tails of the negative binomial distribution, of which Poisson's is the limit.
//!
//! A count has mean `mean` and variance `mean + dispersion * mean²`: 0 is Poisson, larger values are burstier than it.
//! Source: Hilbe, "Negative Binomial Regression", 2nd ed., 2011 (NB2).

/// Smallest dispersion computed with; below, the distribution is Poisson's to all digits that matter.
const DISPERSION_MIN: f64 = 1e-6;
/// Terms of a tail that are summed at most; what follows is far smaller than what was summed.
const TERMS_MAX: u32 = 20_000;

/// Chance of `count` or more. `mean` is above 0.
pub(super) fn at_least(count: u32, mean: f64, dispersion: f64) -> f64 {
    if count == 0 {
        return 1.0;
    }
    let (size, odds) = shape(mean, dispersion);
    let mut k = f64::from(count);
    let mut term = log_mass(k, size, odds).exp();
    let mut sum = 0.0;
    for _ in 0..TERMS_MAX {
        sum += term;
        term *= (k + size) / (k + 1.0) * odds;
        k += 1.0;
        if term < sum * 1e-9 {
            break;
        }
    }
    sum.min(1.0)
}

/// Chance of `count` or fewer. `mean` is above 0.
pub(super) fn at_most(count: u32, mean: f64, dispersion: f64) -> f64 {
    let (size, odds) = shape(mean, dispersion);
    let mut k = f64::from(count);
    let mut term = log_mass(k, size, odds).exp();
    let mut sum = 0.0;
    for _ in 0..TERMS_MAX {
        sum += term;
        if k < 1.0 || term < sum * 1e-9 {
            break;
        }
        term *= k / ((k - 1.0 + size) * odds);
        k -= 1.0;
    }
    sum.min(1.0)
}

/// The count that is exceeded with about this chance: within two orders of magnitude for chances of 1e-9 to 0.01, so
/// that the exact tail decides. `mean` is above 0.
///
/// Source: Cornish, Fisher, "Moments and cumulants in the specification of distributions", 1938, to the second order.
pub(super) fn bound(mean: f64, dispersion: f64, chance: f64) -> f64 {
    let z = normal_deviate(chance);
    let variance = mean * (1.0 + dispersion * mean);
    let skewness = (1.0 + 2.0 * dispersion * mean) / variance.sqrt();
    let kurtosis = 6.0 * dispersion + 1.0 / variance;
    let deviations = z + (z * z - 1.0) * skewness / 6.0 + (z.powi(3) - 3.0 * z) * kurtosis / 24.0
        - (2.0 * z.powi(3) - 5.0 * z) * skewness * skewness / 36.0;
    mean + deviations.max(z) * variance.sqrt()
}

/// Size `1 / dispersion` and the ratio to which successive terms tend.
fn shape(mean: f64, dispersion: f64) -> (f64, f64) {
    let dispersion = dispersion.max(DISPERSION_MIN);
    (1.0 / dispersion, dispersion * mean / (1.0 + dispersion * mean))
}

fn log_mass(k: f64, size: f64, odds: f64) -> f64 {
    let choose = ln_gamma(k + size) - ln_gamma(size) - ln_gamma(k + 1.0);
    // `ln_1p`: for small dispersions `odds` is near 0 and its powers are large.
    choose + size * (-odds).ln_1p() + k * odds.ln()
}

/// Logarithm of the gamma function for `x > 0` (Stirling's series after shifting the argument); error below 1e-9.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse / 1680.0))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

/// The standard normal deviate exceeded with this chance (at most 0.5); error below 5e-4.
/// Source: Abramowitz and Stegun, 26.2.23.
fn normal_deviate(chance: f64) -> f64 {
    let t = (-2.0 * chance.clamp(1e-300, 0.5).ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, relative: f64) {
        assert!((a - b).abs() <= relative * b.abs(), "{a} is not {b}");
    }

    /// Against sums worked out from the definition.
    #[test]
    fn tails_are_those_of_the_definitions() {
        // Poisson with mean 2: P(X >= 3) = 1 - e^-2 (1 + 2 + 2)
        close(at_least(3, 2.0, 0.0), 1.0 - 5.0 * (-2.0_f64).exp(), 1e-4);
        close(at_most(2, 2.0, 0.0), 5.0 * (-2.0_f64).exp(), 1e-4);
        // Geometric (dispersion 1) with mean 3: P(X >= k) = (3/4)^k
        close(at_least(10, 3.0, 1.0), 0.75_f64.powi(10), 1e-6);
        close(at_most(0, 3.0, 1.0), 0.25, 1e-9);
        close(at_least(1, 5.0, 0.1) + at_most(0, 5.0, 0.1), 1.0, 1e-6);
        assert!((at_least(0, 5.0, 0.1) - 1.0).abs() < 1e-12);
        assert!(at_most(3_000, 100_000.0, 0.02) < 1e-12 && at_least(1_000_000, 10.0, 0.02) < 1e-12);
    }

    #[test]
    fn the_bound_is_exceeded_about_as_often_as_asked() {
        for (mean, dispersion) in [(5.0, 0.02), (50.0, 0.02), (1_000.0, 0.1), (20.0, 0.5)] {
            let at = bound(mean, dispersion, 1e-6);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
            let chance = at_least(at as u32, mean, dispersion);
            assert!((1e-8..=1e-4).contains(&chance), "{mean} {dispersion}: {at} {chance}");
        }
    }
}
