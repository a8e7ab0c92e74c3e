//! Arithmetic, element by element, with numpy broadcasting from the right.

use crate::error::Result;
use crate::graph::Graph;
use crate::ir::Op;
use crate::tensor::Tensor;
use std::f32::consts::{FRAC_PI_2, LN_2, LOG2_E};

/// # Errors
/// Of every method here: operands that do not broadcast, more than six dims, tensors of another
/// graph.
impl Graph {
    /// `a + b`.
    pub fn add(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.binary("add", Op::Add, a, b)
    }

    /// `a - b`.
    pub fn sub(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.fits("sub", a, b)?;
        let minus = self.neg(b)?;
        self.add(a, &minus)
    }

    /// `a * b`. Multiplying by the constant one makes no node (gradients start with one).
    pub fn mul(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.fits("mul", a, b)?;
        let one = self.scalars.get(&1f32.to_bits()).map(Tensor::node);
        for (x, y) in [(a, b), (b, a)] {
            if Some(x.node()) == one && !x.view.is_padded() {
                // fits: checked above
                if let Some(shape) = crate::view::broadcast_shape(&a.shape(), &b.shape()) {
                    self.rank("mul", shape.len())?;
                    return self.broadcast("mul", y, &shape);
                }
            }
        }
        self.binary("mul", Op::Mul, a, b)
    }

    /// `a / b`, computed as `a * (1 / b)`.
    pub fn div(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.fits("div", a, b)?;
        let inverse = self.recip(b)?;
        self.mul(a, &inverse)
    }

    /// The remainder with the sign of `a` (Rust's `%`). Has no gradient rule.
    pub fn modulo(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.binary("modulo", Op::Mod, a, b)
    }

    /// `-a`.
    pub fn neg(&mut self, a: &Tensor) -> Result<Tensor> {
        self.mul_scalar(a, -1.0)
    }

    /// `a + c`. Broadcast dims of `a` stay broadcast: one addition per element that `a` holds.
    pub fn add_scalar(&mut self, a: &Tensor, c: f32) -> Result<Tensor> {
        self.own("add_scalar", a)?;
        let c = self.scalar(c);
        self.binary("add_scalar", Op::Add, a, &c)
    }

    /// `a * c`. Broadcast dims of `a` stay broadcast. Multiplying by one makes no node.
    pub fn mul_scalar(&mut self, a: &Tensor, c: f32) -> Result<Tensor> {
        self.own("mul_scalar", a)?;
        if c == 1.0 {
            return Ok(a.clone());
        }
        let c = self.scalar(c);
        self.binary("mul_scalar", Op::Mul, a, &c)
    }

    /// `1 / a`.
    pub fn recip(&mut self, a: &Tensor) -> Result<Tensor> {
        self.unary("recip", Op::Recip, a)
    }

    /// The square root. Its gradient is infinite at 0.
    pub fn sqrt(&mut self, a: &Tensor) -> Result<Tensor> {
        self.unary("sqrt", Op::Sqrt, a)
    }

    /// `1 / sqrt(a)`.
    pub fn rsqrt(&mut self, a: &Tensor) -> Result<Tensor> {
        let root = self.sqrt(a)?;
        self.recip(&root)
    }

    /// `a * a`.
    pub fn square(&mut self, a: &Tensor) -> Result<Tensor> {
        self.mul(a, a)
    }

    /// `2^a`.
    pub fn exp2(&mut self, a: &Tensor) -> Result<Tensor> {
        self.unary("exp2", Op::Exp2, a)
    }

    /// The base-2 logarithm.
    pub fn log2(&mut self, a: &Tensor) -> Result<Tensor> {
        self.unary("log2", Op::Log2, a)
    }

    /// `e^a`, as `2^(a log2(e))`.
    pub fn exp(&mut self, a: &Tensor) -> Result<Tensor> {
        let scaled = self.mul_scalar(a, LOG2_E)?;
        self.exp2(&scaled)
    }

    /// The natural logarithm, as `log2(a) ln(2)`.
    pub fn log(&mut self, a: &Tensor) -> Result<Tensor> {
        let log2 = self.log2(a)?;
        self.mul_scalar(&log2, LN_2)
    }

    /// The sine.
    pub fn sin(&mut self, a: &Tensor) -> Result<Tensor> {
        self.unary("sin", Op::Sin, a)
    }

    /// The cosine, as `sin(a + pi/2)`.
    pub fn cos(&mut self, a: &Tensor) -> Result<Tensor> {
        let shifted = self.add_scalar(a, FRAC_PI_2)?;
        self.sin(&shifted)
    }

    /// `a^p`. Whole powers up to 8 in magnitude and `p` = 0.5 are exact forms for any `a` in their
    /// domain; every other power is `2^(p log2(a))` and wants `a > 0`.
    pub fn pow_scalar(&mut self, a: &Tensor, p: f32) -> Result<Tensor> {
        self.own("pow_scalar", a)?;
        if p == 0.5 {
            return self.sqrt(a);
        }
        if p == 0.0 {
            let one = self.scalar(1.0);
            return self.broadcast("pow_scalar", &one, &a.shape());
        }
        if p.fract() == 0.0 && p.abs() <= 8.0 {
            let mut power = a.clone();
            for _ in 1..p.abs() as usize {
                power = self.mul(&power, a)?;
            }
            return if p < 0.0 {
                self.recip(&power)
            } else {
                Ok(power)
            };
        }
        let log = self.log2(a)?;
        let scaled = self.mul_scalar(&log, p)?;
        self.exp2(&scaled)
    }

    /// Checks that two operands broadcast, so that an error names the op the caller wrote.
    pub(crate) fn fits(&self, op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
        self.own(op, a)?;
        self.own(op, b)?;
        match crate::view::broadcast_shape(&a.shape(), &b.shape()) {
            Some(_) => Ok(()),
            None => Err(self.shape_error(op, &[a, b], "do not broadcast")),
        }
    }
}
