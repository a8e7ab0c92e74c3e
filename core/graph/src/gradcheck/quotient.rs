//! The derivative of a noisy function along one axis, with a bound of its error.
//!
//! Owns the steps, the extrapolation and the measure of noise. Must not know what the function is.
//!
//! Central differences at `h`, `2h` and `4h` give two Richardson extrapolations, `R(h) = (4 D(h) -
//! D(2h)) / 3` and `R(2h)`, whose errors of truncation go with the fourth power of the step. What may
//! be wrong with `R(h)` is then known from two sides:
//!
//! - truncation: `|R(2h) - R(h)|`, fifteen times what is expected of `R(h)` itself;
//! - rounding: the noise of the function, measured (see [`noise`]), times the weights of its values in
//!   `R(h)`, over the step.
//!
//! The first falls and the second grows with a smaller step, so the step is doubled from a small one on
//! until the bound is small enough, and the best is taken (the idea of Ridders 1982, "Accurate
//! computation of F'(x) and F'(x) F''(x)").

use crate::error::Result;

/// Doublings of the first step at most.
const DOUBLINGS: usize = 10;
/// A bound of this part of the derivative is small enough.
const ENOUGH: f64 = 1e-6;
/// Standard deviations of the noise that are allowed for: the chance to be beyond is 2e-9 a value.
const DEVIATIONS: f64 = 6.0;
/// Values that the noise is measured from, equally spaced.
pub(super) const POINTS: usize = 9;

/// A derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quotient {
    pub value: f64,
    /// The derivative is within `value - bound` to `value + bound`.
    pub bound: f64,
}

/// Differentiates `f` at `x` with steps from `step` on. `noise` is the standard deviation of its values.
pub(super) fn derivative(
    mut f: impl FnMut(f64) -> Result<f64>,
    x: f64,
    step: f64,
    noise: f64,
) -> Result<Quotient> {
    let mut central = |h: f64| -> Result<f64> {
        // The step as f64 really makes it.
        let (above, below) = (x + h, x - h);
        Ok((f(above)? - f(below)?) / (above - below))
    };
    let extrapolated = |fine: f64, coarse: f64| (4.0 * fine - coarse) / 3.0;
    let mut h = step;
    let (mut fine, mut coarse) = (central(h)?, central(2.0 * h)?);
    let mut best = Quotient {
        value: f64::NAN,
        bound: f64::INFINITY,
    };
    for _ in 0..DOUBLINGS {
        let coarser = central(4.0 * h)?;
        let value = extrapolated(fine, coarse);
        let truncation = (extrapolated(coarse, coarser) - value).abs();
        // R(h) is 4/3 of a difference over 2h less 1/3 of one over 4h.
        let weights = (2.0 * (2.0_f64 / 3.0).powi(2) + 2.0 * (1.0_f64 / 12.0).powi(2)).sqrt();
        let bound = truncation + DEVIATIONS * noise * weights / h;
        if !bound.is_finite() {
            // A function that leaves the numbers further on is judged by what is near.
            break;
        }
        if bound < best.bound {
            best = Quotient { value, bound };
        }
        if best.bound <= ENOUGH * best.value.abs() {
            break;
        }
        (fine, coarse) = (coarse, coarser);
        h *= 2.0;
    }
    Ok(best)
}

/// Standard deviation of the noise in equally spaced values of a smooth function, by their difference
/// table: differences of order `k` lose the smooth part and keep `sqrt((2k)! / k!^2)` times the noise
/// (Moré and Wild 2011, "Estimating computational noise"). The largest estimate of the orders 2 to 6, and
/// at least one rounding of the value itself.
pub(super) fn noise(values: &[f64; POINTS]) -> f64 {
    let mut differences = values.to_vec();
    let mut gain = 1.0;
    let mut largest = values
        .iter()
        .fold(0.0, |m: f64, v| m.max(v.abs() * f64::EPSILON / 2.0));
    for order in 1..=6 {
        differences = differences.windows(2).map(|w| w[1] - w[0]).collect();
        // (2k)! / k!^2 = (2k-2)! / (k-1)!^2 * 2 (2k - 1) / k.
        gain *= 2.0 * f64::from(2 * order - 1) / f64::from(order);
        if order >= 2 {
            let squares: f64 = differences.iter().map(|d| d * d).sum();
            largest = largest.max((squares / differences.len() as f64 / gain).sqrt());
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use ablate_random::Stream;

    /// A function with noise of a known size.
    fn noisy(size: f64) -> impl FnMut(f64) -> Result<f64> {
        let mut draw = Stream::new(1, "noise").reader();
        move |x: f64| Ok(x.sin() + size * draw.normal())
    }

    #[test]
    fn the_bound_holds_whatever_the_noise() {
        for size in [0.0, 1e-14, 1e-10, 1e-6] {
            for x in [0.3, 1.0, 1.5, 2.0, 3.0] {
                let sigma = f64::max(size, 1e-16);
                let q = derivative(noisy(size), x, 1e-3, sigma).unwrap();
                let error = (q.value - f64::cos(x)).abs();
                assert!(error <= q.bound, "{size} at {x}: {q:?}, {error:e} off");
                // And it says something: the noise over a step that is not far from the function's scale.
                assert!(q.bound < 1e-6 + 1e3 * size, "{size} at {x}: {q:?}");
            }
        }
    }

    #[test]
    fn a_constant_has_no_derivative_but_its_noise() {
        let q = derivative(|_| Ok(7.0), 1.0, 1e-3, 1e-15).unwrap();
        assert_eq!(q.value, 0.0);
        assert!(q.bound > 0.0 && q.bound < 1e-13, "{q:?}");
    }

    #[test]
    fn what_is_no_number_has_no_bound() {
        let q = derivative(|_| Ok(f64::NAN), 1.0, 1e-3, 1e-15).unwrap();
        assert!(q.value.is_nan() && q.bound.is_infinite(), "{q:?}");
    }

    #[test]
    fn noise_is_measured_and_smoothness_is_not() {
        let at = |f: &dyn Fn(f64) -> f64| -> [f64; POINTS] { std::array::from_fn(|i| f(i as f64)) };
        // A smooth function: rounding alone.
        let smooth = noise(&at(&|i| (1.0 + 1e-10 * i).exp()));
        assert!((1e-16..2e-15).contains(&smooth), "{smooth:e}");
        let mut draw = Stream::new(2, "noise").reader();
        let drawn: Vec<f64> = (0..POINTS).map(|_| draw.normal()).collect();
        let rough = noise(&at(&|i| 5.0 + 1e-8 * drawn[i as usize]));
        assert!((3e-9..3e-8).contains(&rough), "{rough:e}");
    }
}
