//! Comparisons (0 or 1, no gradient) and what is chosen by them.

use crate::error::Result;
use crate::graph::Graph;
use crate::ir::Op;
use crate::tensor::Tensor;

/// # Errors
/// Of every method here: operands that do not broadcast, more than six dims, tensors of another
/// graph.
impl Graph {
    /// 1 where `a < b`, else 0.
    pub fn less(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.binary("less", Op::LessThan, a, b)
    }

    /// 1 where `a > b`, else 0.
    pub fn greater(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.binary("greater", Op::LessThan, b, a)
    }

    /// 1 where `a <= b`, else 0; 1 where either is NaN.
    pub fn less_equal(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let greater = self.binary("less_equal", Op::LessThan, b, a)?;
        self.logical_not(&greater)
    }

    /// 1 where `a >= b`, else 0; 1 where either is NaN.
    pub fn greater_equal(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let less = self.binary("greater_equal", Op::LessThan, a, b)?;
        self.logical_not(&less)
    }

    /// 1 where `a == b`, else 0, as `((a < b) + (b < a)) * -1 + 1`: compilers recognise a one-hot
    /// matrix by this form. 1 where either is NaN.
    pub fn equal(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let differ = self.not_equal(a, b)?;
        self.logical_not(&differ)
    }

    /// 1 where `a != b`, else 0; 0 where either is NaN.
    pub fn not_equal(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let below = self.binary("equal", Op::LessThan, a, b)?;
        let above = self.binary("equal", Op::LessThan, b, a)?;
        self.add(&below, &above)
    }

    /// `1 - a`, for `a` of zeros and ones.
    pub fn logical_not(&mut self, a: &Tensor) -> Result<Tensor> {
        let minus = self.neg(a)?;
        self.add_scalar(&minus, 1.0)
    }

    /// `a` where `cond` is 1, `b` where it is 0, as `cond * a + (1 - cond) * b`.
    ///
    /// Where finite, the value not taken contributes exactly zero, and exactly zero gradient flows
    /// to it. An inf or NaN in the value not taken does come through, as NaN; and a zero gradient
    /// turns NaN in an op before it whose own derivative is infinite there (`sqrt(0)`, `log(0)`).
    /// So make the argument safe before the op, and mask with a large finite number. `cond` should
    /// come from a comparison; if a gradient can flow through it, it does.
    pub fn select(&mut self, cond: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.fits("select", cond, a)?;
        self.fits("select", cond, b)?;
        self.fits("select", a, b)?;
        let taken = self.mul(cond, a)?;
        let not = self.logical_not(cond)?;
        let other = self.mul(&not, b)?;
        self.add(&taken, &other)
    }

    /// The larger of two finite numbers. A tie shares the gradient evenly.
    pub fn maximum(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let below = self.binary("maximum", Op::LessThan, b, a)?;
        let above = self.binary("maximum", Op::LessThan, a, b)?;
        self.blend(a, b, &below, &above)
    }

    /// The smaller of two finite numbers. A tie shares the gradient evenly.
    pub fn minimum(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let below = self.binary("minimum", Op::LessThan, a, b)?;
        let above = self.binary("minimum", Op::LessThan, b, a)?;
        self.blend(a, b, &below, &above)
    }

    /// `w a + (1 - w) b` with `w` = 1 where `for_a`, 0 where `for_b`, one half where neither.
    fn blend(&mut self, a: &Tensor, b: &Tensor, for_a: &Tensor, for_b: &Tensor) -> Result<Tensor> {
        let difference = self.sub(for_a, for_b)?;
        let half = self.mul_scalar(&difference, 0.5)?;
        let weight_a = self.add_scalar(&half, 0.5)?;
        let weight_b = self.logical_not(&weight_a)?;
        let part_a = self.mul(&weight_a, a)?;
        let part_b = self.mul(&weight_b, b)?;
        self.add(&part_a, &part_b)
    }

    /// Finite `a` cut to `low..=high`. The gradient is one inside, zero outside, one half at a bound.
    ///
    /// # Errors
    /// `low > high`, or a bound that is not finite.
    pub fn clamp(&mut self, a: &Tensor, low: f32, high: f32) -> Result<Tensor> {
        self.own("clamp", a)?;
        if !(low.is_finite() && high.is_finite() && low <= high) {
            return Err(self.value_error("clamp", format!("wants finite {low} <= {high}")));
        }
        let low = self.scalar(low);
        let high = self.scalar(high);
        let raised = self.maximum(a, &low)?;
        self.minimum(&raised, &high)
    }

    /// -1, 0 or 1; no gradient.
    pub fn sign(&mut self, a: &Tensor) -> Result<Tensor> {
        self.own("sign", a)?;
        let zero = self.scalar(0.0);
        let positive = self.greater(a, &zero)?;
        let negative = self.less(a, &zero)?;
        self.sub(&positive, &negative)
    }

    /// `|a|` of a finite `a`, with gradient 0 at 0.
    pub fn abs(&mut self, a: &Tensor) -> Result<Tensor> {
        let sign = self.sign(a)?;
        self.mul(a, &sign)
    }

    /// `max(a, 0)` of a finite `a`, with gradient 0 at 0.
    pub fn relu(&mut self, a: &Tensor) -> Result<Tensor> {
        self.own("relu", a)?;
        let zero = self.scalar(0.0);
        let positive = self.greater(a, &zero)?;
        self.mul(a, &positive)
    }

    /// 1 where `a` equals its maximum over `axis`, else 0: several ones where tied. No gradient.
    ///
    /// # Errors
    /// `axis` is not smaller than the rank.
    pub fn equal_to_max(&mut self, a: &Tensor, axis: usize) -> Result<Tensor> {
        let max = self.max(a, &[axis], true)?;
        self.equal(a, &max)
    }
}
