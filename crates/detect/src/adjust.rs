//! From what people say of a detector's alerts to a factor on its thresholds. Pure.
//!
//! Invariants:
//! - a factor lies between `factor_min` and `factor_max`, and is 1 below `min_feedback` verdicts;
//! - of as many verdicts, more false positives never make a lower factor (from `min_feedback` on, one more false positive
//!   never does either, nor one more true positive a higher one);
//! - [`DetectConfig::adjusted`] keeps what [`DetectConfig::check`] asks for, and touches only thresholds that have a strength.
//!
//! How: precision has a Beta posterior whose prior is the target precision, as sure as `min_feedback` verdicts. Its mean is
//! therefore the target until people say otherwise, and moves as far as their verdicts outweigh the prior. Where it falls
//! short of the target, thresholds rise in proportion, up to `factor_max` where nothing is right; where it exceeds the target,
//! they fall, down to `factor_min` where everything is. It is a proportional controller on all verdicts ever given: it
//! settles where thresholds and precision agree, and one verdict moves it little.
//!
//! Not adjusted, because their thresholds are counts and bounds that people chose for what they mean: `auth`, `scan`,
//! `threshold`, `signature`, `sigma`. Where a rule is mostly wrong, [`is_better_rehearsed`] says so, and a person decides.
//!
//! Source: Gelman et al., "Bayesian Data Analysis", 3rd edition, section 2.4 (the Beta prior of a share).

use std::collections::BTreeMap;

use heimdall_model::Judged;

use crate::config::{DetectConfig, FeedbackConfig};

/// Precision below which a rule is better rehearsed: four of five findings cost somebody time for nothing.
pub const REHEARSE_BELOW: f64 = 0.2;

#[expect(clippy::cast_precision_loss, reason = "people do not judge 2^53 alerts")]
fn number(alerts: u64) -> f64 {
    alerts as f64
}

fn is_enough(judged: Judged, config: &FeedbackConfig) -> bool {
    judged.total() >= u64::from(config.min_feedback)
}

/// The factor on the thresholds of a detector whose alerts were judged so: above 1, it becomes less sensitive.
///
/// The configuration has passed [`DetectConfig::check`].
#[must_use]
pub fn factor(judged: Judged, config: &FeedbackConfig) -> f64 {
    if !config.enabled || !is_enough(judged, config) {
        return 1.0;
    }
    let target = config.target_precision;
    let prior = f64::from(config.min_feedback);
    let precision = (prior * target + number(judged.true_positives)) / (prior + number(judged.total()));
    let factor = if precision < target {
        1.0 + (config.factor_max - 1.0) * (target - precision) / target
    } else {
        1.0 - (1.0 - config.factor_min) * (precision - target) / (1.0 - target)
    };
    factor.clamp(config.factor_min, config.factor_max)
}

/// The factor that several tenants agree on, each with the factor of its own feedback: the one nearest to 1 where all ask for
/// the same direction, else 1. Thresholds are the server's, so nobody moves them against the others.
#[must_use]
pub fn agreed(factors: &[f64]) -> f64 {
    if factors.is_empty() {
        1.0
    } else if factors.iter().all(|factor| *factor >= 1.0) {
        factors.iter().copied().fold(f64::INFINITY, f64::min)
    } else if factors.iter().all(|factor| *factor <= 1.0) {
        factors.iter().copied().fold(0.0, f64::max)
    } else {
        1.0
    }
}

/// Whether a rule is wrong so often that it had better be named in `dry_run` until it is mended.
#[must_use]
pub fn is_better_rehearsed(judged: Judged, config: &FeedbackConfig) -> bool {
    let right = number(judged.true_positives);
    is_enough(judged, config) && right < REHEARSE_BELOW * number(judged.total())
}

/// The factors of all detectors, from what was said of each by tenant. A tenant with fewer than `min_feedback` verdicts on a
/// detector has no say; detectors whose factor is 1 are left out, those without adjustable thresholds too.
#[must_use]
pub fn factors<'a>(
    judged: impl IntoIterator<Item = (&'a str, Judged)>,
    config: &FeedbackConfig,
) -> BTreeMap<String, f64> {
    let mut by_detector: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (detector, judged) in judged {
        if is_adjustable(detector) && is_enough(judged, config) {
            by_detector.entry(detector).or_default().push(factor(judged, config));
        }
    }
    let all = by_detector.into_iter().map(|(detector, factors)| (detector.to_owned(), agreed(&factors)));
    #[expect(clippy::float_cmp, reason = "exactly 1 is what says that nothing changes")]
    all.filter(|(_, factor)| *factor != 1.0).collect()
}

/// Whether a detector has thresholds with a strength.
#[must_use]
pub fn is_adjustable(detector: &str) -> bool {
    adjustment_of(detector).is_some()
}

/// How a factor changes the thresholds of a detector, by its name.
fn adjustment_of(detector: &str) -> Option<fn(&mut DetectConfig, f64)> {
    Some(match detector {
        "zscore" => zscore,
        "baseline" => baseline,
        "flood" => flood,
        "error-rate" => error_rate,
        "web" => web,
        "templates" => templates,
        "ensemble" => ensemble,
        _ => return None,
    })
}

impl DetectConfig {
    /// This configuration with the thresholds of each named detector times its factor. A detector stays as it is where the factor
    /// is no positive number, where it has nothing to adjust, and where the outcome would not pass [`DetectConfig::check`].
    #[must_use]
    pub fn adjusted(&self, factors: &BTreeMap<String, f64>) -> DetectConfig {
        let mut adjusted = self.clone();
        for (detector, factor) in factors.iter().filter(|(_, factor)| factor.is_finite() && **factor > 0.0) {
            let Some(adjust) = adjustment_of(detector) else { continue };
            let mut next = adjusted.clone();
            adjust(&mut next, *factor);
            if next.check().is_ok() {
                adjusted = next;
            }
        }
        adjusted
    }
}

/// Both multipliers are deviations, and keep their order.
fn zscore(config: &mut DetectConfig, factor: f64) {
    config.zscore.warning_multiplier *= factor;
    config.zscore.statistical_threshold_multiplier *= factor;
}

fn baseline(config: &mut DetectConfig, factor: f64) {
    let bits = config.baseline.alarm_bits * factor;
    config.baseline.alarm_bits = bits.clamp(1.0, crate::univariate::ALARM_BITS_MAX);
}

/// `min_per_second` stays: it says below which rate nobody cares.
fn flood(config: &mut DetectConfig, factor: f64) {
    config.flood.multiple = ratio(config.flood.multiple, factor);
    config.flood.cold_per_second = count(config.flood.cold_per_second, factor);
}

fn error_rate(config: &mut DetectConfig, factor: f64) {
    let rate = &mut config.error_rate;
    rate.warning = share(rate.warning, factor);
    rate.critical = share(rate.critical, factor).max(rate.warning);
    rate.baseline_multiple = ratio(rate.baseline_multiple, factor);
}

fn web(config: &mut DetectConfig, factor: f64) {
    config.web.score_min = count(config.web.score_min, factor);
}

fn templates(config: &mut DetectConfig, factor: f64) {
    let templates = &mut config.templates;
    templates.shift_ratio = ratio(templates.shift_ratio, factor);
    templates.burst_ratio = ratio(templates.burst_ratio, factor);
    templates.user_multiple = ratio(templates.user_multiple, factor);
    templates.new_share_min = share(templates.new_share_min, factor);
    templates.mix_divergence_min = share(templates.mix_divergence_min, factor);
}

fn ensemble(config: &mut DetectConfig, factor: f64) {
    config.ensemble.evidence *= factor;
}

/// A multiple of what is usual: what it exceeds 1 by is its strength, so that it never becomes less than usual.
fn ratio(multiple: f64, factor: f64) -> f64 {
    if multiple > 1.0 { 1.0 + (multiple - 1.0) * factor } else { multiple }
}

/// A share from 0 to 1: its odds are its strength, so that it never reaches what no record can exceed.
fn share(share: f64, factor: f64) -> f64 {
    let odds = factor * share;
    if odds > 0.0 { odds / (1.0 - share + odds) } else { share }
}

/// A whole number, rounded, at least 1 where it was.
fn count(count: u32, factor: f64) -> u32 {
    let scaled = (f64::from(count) * factor).round().clamp(f64::from(count.min(1)), f64::from(u32::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let scaled = scaled as u32;
    scaled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(true_positives: u64, false_positives: u64) -> Judged {
        Judged { true_positives, false_positives }
    }

    #[track_caller]
    fn check(true_positives: u64, false_positives: u64, expected: f64) {
        let found = factor(judged(true_positives, false_positives), &FeedbackConfig::default());
        assert!((found - expected).abs() < 1e-9, "{found}");
    }

    #[test]
    fn a_factor_follows_precision_and_is_shrunk_towards_1() {
        check(0, 0, 1.0);
        check(0, 4, 1.0); // below `min_feedback`
        check(8, 2, 1.0); // as it should be
        check(0, 5, 1.25); // half way, since five verdicts weigh as much as the prior
        check(0, 95, 1.475);
        check(5, 0, 0.9);
        check(95, 0, 0.81);
        check(5, 5, 1.125);
        let off = FeedbackConfig { enabled: false, ..FeedbackConfig::default() };
        assert_eq!(factor(judged(0, 100), &off), 1.0);
    }

    #[test]
    fn tenants_move_thresholds_only_where_they_agree() {
        assert_eq!(agreed(&[]), 1.0);
        assert_eq!(agreed(&[1.4]), 1.4);
        assert_eq!(agreed(&[1.4, 1.2, 1.3]), 1.2);
        assert_eq!(agreed(&[0.8, 0.9]), 0.9);
        assert_eq!(agreed(&[1.4, 0.9]), 1.0);
        assert_eq!(agreed(&[1.4, 1.0]), 1.0);
        assert_eq!(agreed(&[0.9, 1.0]), 1.0);
        let given = [
            ("zscore", judged(0, 50)),
            ("zscore", judged(0, 1)), // too few to have a say
            ("web", judged(0, 50)),
            ("web", judged(50, 0)),
            ("auth", judged(0, 50)),
            ("made-up", judged(0, 50)),
        ];
        let factors = factors(given, &FeedbackConfig::default());
        assert_eq!(factors.keys().collect::<Vec<_>>(), ["zscore"]);
    }

    #[test]
    fn a_rule_that_is_mostly_wrong_is_better_rehearsed() {
        let check = |right, wrong, expected| {
            let found = is_better_rehearsed(judged(right, wrong), &FeedbackConfig::default());
            assert_eq!(found, expected, "{right} of {}", right + wrong);
        };
        check(0, 4, false);
        check(0, 5, true);
        check(1, 4, false);
        check(1, 5, true);
    }

    #[test]
    fn strengths_are_scaled_and_what_is_fixed_stays() {
        let usual = DetectConfig::default();
        let all = |factor: f64| -> BTreeMap<String, f64> {
            let judge = crate::Judge::new(usual.clone(), crate::RuleSet::default());
            judge.status().iter().map(|status| (status.name.to_owned(), factor)).collect()
        };
        let less = usual.adjusted(&all(1.5));
        assert_eq!(
            (less.zscore.warning_multiplier, less.zscore.statistical_threshold_multiplier),
            (3.75, 4.5)
        );
        assert_eq!(less.baseline.alarm_bits, 15.75);
        assert_eq!((less.flood.multiple, less.flood.cold_per_second), (14.5, 3_000));
        assert_eq!((less.error_rate.critical, less.error_rate.baseline_multiple), (0.6, 4.0));
        assert_eq!(less.web.score_min, 8);
        assert_eq!((less.templates.shift_ratio, less.templates.burst_ratio), (4.0, 7.0));
        assert_eq!(less.ensemble.evidence, 22.5);
        assert_eq!((&less.auth, &less.scan, &less.threshold), (&usual.auth, &usual.scan, &usual.threshold));
        let more = usual.adjusted(&all(0.8));
        assert_eq!((more.web.score_min, more.flood.cold_per_second), (4, 1_600));
        assert_eq!(usual.adjusted(&all(1.0)), usual);
        assert_eq!(usual.adjusted(&all(f64::NAN)), usual);
        assert_eq!(usual.adjusted(&all(-1.0)), usual);
        let adjustable = all(1.0).into_keys().filter(|name| is_adjustable(name)).count();
        assert_eq!(adjustable, 7, "a detector was renamed");
    }

    #[test]
    fn what_a_person_set_to_its_bound_stays_within() {
        let mut odd = DetectConfig::default();
        (odd.error_rate.warning, odd.error_rate.critical) = (1.0, 1.0);
        (odd.flood.multiple, odd.flood.cold_per_second) = (0.5, u32::MAX);
        (odd.web.score_min, odd.baseline.alarm_bits) = (1, 60.0);
        (odd.templates.shift_ratio, odd.templates.new_share_min) = (1.0, 0.0);
        odd.check().expect("odd and allowed");
        for detector in ["error-rate", "flood", "web", "baseline", "templates"] {
            for factor in [0.8, 1.5] {
                odd.adjusted(&BTreeMap::from([(detector.to_owned(), factor)])).check().expect(detector);
            }
        }
    }

    fn configs() -> impl Strategy<Value = FeedbackConfig> {
        (0.5..=1.0, 1.0..=2.0, 0.5..=0.95, 1_u32..50).prop_map(
            |(factor_min, factor_max, target_precision, min_feedback)| FeedbackConfig {
                enabled: true,
                factor_min,
                factor_max,
                target_precision,
                min_feedback,
            },
        )
    }

    proptest! {
        #[test]
        fn factors_keep_their_bounds_and_follow_the_verdicts(
            config in configs(), right in 0_u64..10_000, wrong in 0_u64..10_000,
        ) {
            let of = |right, wrong| factor(judged(right, wrong), &config);
            let found = of(right, wrong);
            prop_assert!((config.factor_min..=config.factor_max).contains(&found), "{found}");
            if right > 0 {
                prop_assert!(of(right - 1, wrong + 1) >= found - 1e-12, "one of them turns out wrong");
            }
            if is_enough(judged(right, wrong), &config) {
                prop_assert!(of(right, wrong + 1) >= found - 1e-12);
                prop_assert!(of(right + 1, wrong) <= found + 1e-12);
            }
        }

        #[test]
        fn any_factor_within_the_bounds_keeps_a_configuration_that_passes(
            factor in 0.5..=2.0_f64, multiplier in 0.1..10.0_f64, multiple in 0.01..50.0_f64,
            (warning, more) in (0.0..=1.0_f64, 0.0..=1.0_f64), score_min in 1_u32..100, bits in 1.0..=60.0_f64,
        ) {
            let mut config = DetectConfig::default();
            config.zscore.warning_multiplier = multiplier;
            config.zscore.statistical_threshold_multiplier = multiplier;
            (config.flood.multiple, config.error_rate.baseline_multiple) = (multiple, multiple);
            (config.error_rate.warning, config.error_rate.critical) = (warning, warning.max(more));
            (config.web.score_min, config.baseline.alarm_bits) = (score_min, bits);
            prop_assert!(config.check().is_ok());
            let names = ["zscore", "baseline", "flood", "error-rate", "web", "templates", "ensemble"];
            let adjusted = config.adjusted(&names.map(|name| (name.to_owned(), factor)).into());
            prop_assert!(adjusted.check().is_ok());
            prop_assert_eq!(adjusted.zscore.warning_multiplier, multiplier * factor, "it was applied");
            prop_assert!(adjusted.error_rate.critical <= 1.0);
            let reversed = (adjusted.error_rate.warning - warning) * (factor - 1.0) < -1e-12;
            prop_assert!(!reversed, "a larger factor is less sensitive");
        }
    }
}
