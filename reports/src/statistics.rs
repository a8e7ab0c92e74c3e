//! Means with Student t intervals, the only inference a report makes.
//!
//! Trials are paired by seed: an arm and the baseline that share a seed share the initial values
//! and the order of the data wherever the intervention leaves them the same, so the difference within a seed varies
//! less than the two losses do. An interval is that of the one-sample t statistic over those differences,
//! mean +- t(n - 1, 0.975) * s / sqrt(n) (Student, "The probable error of a mean", Biometrika 6, 1908),
//! which supposes that the differences are roughly normal.
//!
//! The quantile is found by bisection on the distribution function, which is the regularised
//! incomplete beta function (Abramowitz and Stegun, 26.7.1 and 26.5.27), evaluated by its continued fraction (26.5.8)
//! with the modified Lentz method, over Lanczos' logarithm of the gamma function (SIAM J. Numer. Anal. 1, 1964).

/// A two-sided confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// What an [`Estimate`] says about the sign of the quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The whole interval lies below zero.
    Below,
    /// The whole interval lies above zero.
    Above,
    /// The interval contains zero.
    Inconclusive,
    /// There are too few seeds for an interval.
    NoInterval,
}

/// A mean over seeds and how well the seeds agree.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Mean over the seeds.
    pub mean: f64,
    /// Sample standard deviation (divisor n - 1); none with one seed.
    pub standard_deviation: Option<f64>,
    /// 95% interval of the mean; none with one seed.
    pub interval: Option<Interval>,
    /// The value of every seed, by seed.
    pub values: Vec<(u64, f64)>,
}

impl Estimate {
    /// The estimate from one value a seed; none when there are no values.
    #[must_use]
    pub fn of(values: Vec<(u64, f64)>) -> Option<Estimate> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().map(|(_, v)| v).sum::<f64>() / n as f64;
        let standard_deviation = (n > 1).then(|| {
            let squares: f64 = values.iter().map(|(_, v)| (v - mean).powi(2)).sum();
            (squares / (n - 1) as f64).sqrt()
        });
        let interval = standard_deviation.map(|s| {
            let half = student_t_quantile(0.975, (n - 1) as f64) * s / (n as f64).sqrt();
            Interval {
                lower: mean - half,
                upper: mean + half,
            }
        });
        Some(Estimate {
            mean,
            standard_deviation,
            interval,
            values,
        })
    }

    /// Number of seeds.
    #[must_use]
    pub fn seeds(&self) -> usize {
        self.values.len()
    }

    /// Where the interval lies. An end that touches zero counts as containing it.
    #[must_use]
    pub fn finding(&self) -> Finding {
        match self.interval {
            None => Finding::NoInterval,
            Some(i) if i.upper < 0.0 => Finding::Below,
            Some(i) if i.lower > 0.0 => Finding::Above,
            Some(_) => Finding::Inconclusive,
        }
    }
}

/// The value that a Student t variable with `freedom` degrees of freedom stays below with `probability`.
///
/// `probability` lies in (0, 1); `freedom` is positive.
#[must_use]
pub fn student_t_quantile(probability: f64, freedom: f64) -> f64 {
    if probability < 0.5 {
        return -student_t_quantile(1.0 - probability, freedom);
    }
    let (mut low, mut high) = (0.0, 1.0);
    while student_t_distribution(high, freedom) < probability && high < 1e12 {
        low = high;
        high *= 2.0;
    }
    // 200 halvings exhaust the precision of f64 from any bracket.
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if student_t_distribution(middle, freedom) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Probability that a Student t variable with `freedom` degrees of freedom is at most `t`.
#[must_use]
pub fn student_t_distribution(t: f64, freedom: f64) -> f64 {
    let tail = 0.5 * incomplete_beta(freedom / (freedom + t * t), 0.5 * freedom, 0.5);
    if t >= 0.0 {
        1.0 - tail
    } else {
        tail
    }
}

/// The regularised incomplete beta function I_x(a, b).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front =
        (log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The fraction converges fast on this side of the mean; the symmetry gives the other side.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction of the incomplete beta function by the modified Lentz method.
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let change = d * c;
        fraction *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// Lanczos' approximation of ln gamma(x) for x > 0 with g = 7 and nine terms.
fn log_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection.
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - log_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let t = x + 7.5;
    let series = TERMS
        .iter()
        .enumerate()
        .skip(1)
        .fold(TERMS[0], |sum, (i, term)| sum + term / (x + i as f64));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_printed_tables() {
        // Abramowitz and Stegun, table 26.10, and the closed form tan(pi (p - 1/2)) for one degree.
        for (freedom, expected) in [
            (1.0, 12.706_204_736),
            (2.0, 4.302_652_730),
            (3.0, 3.182_446_305),
            (4.0, 2.776_445_105),
            (9.0, 2.262_157_163),
            (30.0, 2.042_272_456),
            (120.0, 1.979_930_405),
        ] {
            let found = student_t_quantile(0.975, freedom);
            assert!(
                (found - expected).abs() < 1e-8,
                "{freedom}: {found} {expected}"
            );
        }
        assert!((student_t_quantile(0.025, 2.0) + 4.302_652_730).abs() < 1e-8);
        assert!((student_t_quantile(0.5, 5.0)).abs() < 1e-12);
        // Many degrees of freedom: the normal distribution.
        assert!((student_t_quantile(0.975, 1e7) - 1.959_964).abs() < 1e-5);
    }

    #[test]
    fn the_distribution_has_its_closed_forms() {
        for t in [-3.0, -0.4, 0.0, 0.7, 5.0_f64] {
            let one = 0.5 + t.atan() / std::f64::consts::PI;
            let two = 0.5 + t / (2.0 * (2.0 + t * t).sqrt());
            assert!((student_t_distribution(t, 1.0) - one).abs() < 1e-12);
            assert!((student_t_distribution(t, 2.0) - two).abs() < 1e-12);
        }
    }

    #[test]
    fn an_estimate_by_hand() {
        // Mean -0.2, deviations 0, -0.1, 0.1, s = 0.1, half = 4.302652730 * 0.1 / sqrt(3) = 0.248413771.
        let e = Estimate::of(vec![(1, -0.2), (2, -0.3), (3, -0.1)]).unwrap();
        let i = e.interval.unwrap();
        assert!((e.mean + 0.2).abs() < 1e-15);
        assert!((e.standard_deviation.unwrap() - 0.1).abs() < 1e-15);
        assert!((i.lower + 0.448_413_771).abs() < 1e-9, "{i:?}");
        assert!((i.upper - 0.048_413_771).abs() < 1e-9, "{i:?}");
        assert_eq!(e.finding(), Finding::Inconclusive);
    }

    #[test]
    fn one_seed_gives_no_interval_and_none_gives_nothing() {
        let e = Estimate::of(vec![(1, -0.2)]).unwrap();
        assert_eq!((e.interval, e.finding()), (None, Finding::NoInterval));
        assert_eq!(Estimate::of(vec![]), None);
    }

    #[test]
    fn findings_have_a_sign() {
        let of = |a: f64, b: f64| Estimate::of(vec![(1, a), (2, b)]).unwrap().finding();
        assert_eq!(of(-1.0, -1.01), Finding::Below);
        assert_eq!(of(1.0, 1.01), Finding::Above);
        assert_eq!(of(1.0, 3.0), Finding::Inconclusive);
        // Equal seeds at zero: no effect at all, so nothing is concluded about its sign.
        assert_eq!(of(0.0, 0.0), Finding::Inconclusive);
    }
}
