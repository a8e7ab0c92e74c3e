//! Smooth activations, in forms whose value and gradient are finite for every finite argument.
//!
//! The textbook `2 / (1 + exp(-2x)) - 1` has a NaN gradient once the exponential overflows, so the
//! forms here only ever take the exponential of a number that is not positive.

use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::Tensor;
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LOG2_E};

/// # Errors
/// Of every method here: a tensor of another graph.
impl Graph {
    /// 1, or -1 where `a < 0`; no gradient.
    fn side(&mut self, a: &Tensor) -> Result<Tensor> {
        let zero = self.scalar(0.0);
        let negative = self.less(a, &zero)?;
        let twice = self.mul_scalar(&negative, -2.0)?;
        self.add_scalar(&twice, 1.0)
    }

    /// The hyperbolic tangent, as `sign(a) (1 - e) / (1 + e)` with `e = exp(-2 |a|)`: absolute error
    /// in f32 below 2e-7.
    pub fn tanh(&mut self, a: &Tensor) -> Result<Tensor> {
        self.own("tanh", a)?;
        let side = self.side(a)?;
        let size = self.mul(a, &side)?;
        let scaled = self.mul_scalar(&size, -2.0 * LOG2_E)?;
        let e = self.exp2(&scaled)?;
        let above = self.logical_not(&e)?;
        let below = self.add_scalar(&e, 1.0)?;
        let ratio = self.div(&above, &below)?;
        self.mul(&ratio, &side)
    }

    /// `1 / (1 + exp(-a))`, as `r` or, where `a < 0`, `e r`, with `e = exp(-|a|)` and
    /// `r = 1 / (1 + e)`: small values keep their relative accuracy.
    pub fn sigmoid(&mut self, a: &Tensor) -> Result<Tensor> {
        self.own("sigmoid", a)?;
        let zero = self.scalar(0.0);
        let negative = self.less(a, &zero)?;
        let twice = self.mul_scalar(&negative, -2.0)?;
        let side = self.add_scalar(&twice, 1.0)?;
        let size = self.mul(a, &side)?;
        let scaled = self.mul_scalar(&size, -LOG2_E)?;
        let e = self.exp2(&scaled)?;
        let below = self.add_scalar(&e, 1.0)?;
        let r = self.recip(&below)?;
        let positive = self.logical_not(&negative)?;
        let small = self.mul(&negative, &e)?;
        let factor = self.add(&positive, &small)?;
        self.mul(&r, &factor)
    }

    /// The error function by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26:
    /// absolute error below 1.5e-7, and 5e-7 in f32. Its gradient is the exact one,
    /// `2/sqrt(pi) exp(-a^2)`, which shares the exponential and spares the backward pass the derivative
    /// of the polynomial: the value carries no gradient, and `(a - a) * slope`, with the second `a`
    /// held fixed, is zero and has that slope. So an infinite argument gives NaN.
    pub fn erf(&mut self, a: &Tensor) -> Result<Tensor> {
        self.own("erf", a)?;
        let side = self.side(a)?;
        let x = self.mul(a, &side)?;
        let t = self.mul_scalar(&x, 0.327_591_1)?;
        let t = self.add_scalar(&t, 1.0)?;
        let t = self.recip(&t)?;
        let mut sum = self.mul_scalar(&t, 1.061_405_4)?;
        for c in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
            sum = self.add_scalar(&sum, c)?;
            sum = self.mul(&sum, &t)?;
        }
        let square = self.mul(&x, &x)?;
        let scaled = self.mul_scalar(&square, -LOG2_E)?;
        let e = self.exp2(&scaled)?;
        let rest = self.mul(&sum, &e)?;
        let y = self.logical_not(&rest)?;
        let value = self.mul(&y, &side)?;
        let value = self.stop_gradient(&value)?;
        let slope = self.mul_scalar(&e, FRAC_2_SQRT_PI)?;
        let slope = self.stop_gradient(&slope)?;
        let fixed = self.stop_gradient(a)?;
        let moved = self.sub(a, &fixed)?;
        let moved = self.mul(&moved, &slope)?;
        self.add(&value, &moved)
    }

    /// `a Phi(a) = a/2 (1 + erf(a / sqrt 2))` (Hendrycks and Gimpel 2016), with [`Graph::erf`].
    pub fn gelu(&mut self, a: &Tensor) -> Result<Tensor> {
        self.own("gelu", a)?;
        let scaled = self.mul_scalar(a, FRAC_1_SQRT_2)?;
        let erf = self.erf(&scaled)?;
        let twice = self.add_scalar(&erf, 1.0)?;
        let half = self.mul_scalar(a, 0.5)?;
        self.mul(&half, &twice)
    }

    /// The tanh form of GELU: `a/2 (1 + tanh(sqrt(2/pi) (a + 0.044715 a^3)))`.
    pub fn gelu_tanh(&mut self, a: &Tensor) -> Result<Tensor> {
        self.own("gelu_tanh", a)?;
        let square = self.mul(a, a)?;
        let inner = self.mul_scalar(&square, 0.044_715)?;
        let inner = self.add_scalar(&inner, 1.0)?;
        let inner = self.mul(&inner, a)?;
        let inner = self.mul_scalar(&inner, 0.797_884_6)?;
        let tanh = self.tanh(&inner)?;
        let twice = self.add_scalar(&tanh, 1.0)?;
        let half = self.mul_scalar(a, 0.5)?;
        self.mul(&half, &twice)
    }

    /// `a sigmoid(a)`, also called swish.
    pub fn silu(&mut self, a: &Tensor) -> Result<Tensor> {
        let sigmoid = self.sigmoid(a)?;
        self.mul(a, &sigmoid)
    }
}
