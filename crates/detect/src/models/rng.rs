//! Seeded numbers for the models: the same seed gives the same model in every version of the program, because models
//! are grown anew from their rows after a restart.
//!
//! Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64).

/// A SplitMix64 generator. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator that starts from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number in `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "less than n")]
        let at = ((u128::from(self.bits()) * n as u128) >> 64) as usize;
        at
    }

    /// A normally distributed number with mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A Poisson distributed count (Knuth below 30, else a rounded normal).
    pub fn poisson(&mut self, mean: f64) -> u32 {
        if mean > 30.0 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a saturating cast"
            )]
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u32;
        }
        let (bound, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > bound {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_and_moments() {
        assert_eq!(Rng::new(0).bits(), 0xE220_A839_7B1D_CDAF, "the reference implementation's first number");
        let mut rng = Rng::new(7);
        let n = 100_000;
        let draws: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!((0..1_000).all(|_| rng.below(7) < 7));
        for rate in [3.0, 80.0] {
            let mean = (0..20_000).map(|_| f64::from(rng.poisson(rate))).sum::<f64>() / 20_000.0;
            assert!((mean / rate - 1.0).abs() < 0.02, "{mean}");
        }
    }
}
