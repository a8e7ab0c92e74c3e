//! What cuBLASLt does to a product before it is stored, and what it sums on the side.
//!
//! GELU is the approximation by tanh, as in the library; its exact form is not among its epilogues.

use super::product::Product;
use super::types::Type;
use crate::context::Context;
use crate::memory::Turn;
use crate::status::Fault;

/// What is done to each element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Activation {
    #[default]
    None,
    Relu,
    Gelu,
    /// Multiplies by GELU's derivative at the value kept in the auxiliary matrix.
    GeluGradient,
}

/// What a bias vector is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bias {
    /// There is none.
    #[default]
    None,
    /// Added to every column of the result.
    Added,
    /// Gets the sums of the result's rows.
    GradientOfResult,
    /// Gets the sums of op(A)'s rows.
    GradientOfA,
    /// Gets the sums of op(B)'s columns.
    GradientOfB,
}

/// An epilogue with its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// On each element.
    pub activation: Activation,
    /// The bias vector's part.
    pub bias: Bias,
    /// Its address, type, and elements from one of the batch to the next.
    pub bias_at: Option<(u64, Type, i64)>,
    /// The auxiliary matrix, column-major: address, type, leading dimension, batch stride.
    pub auxiliary: Option<(u64, Type, u64, i64)>,
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// GELU by tanh.
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + (SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)).tanh())
}

/// Its derivative.
pub fn gelu_gradient(x: f32) -> f32 {
    let t = (SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)).tanh();
    let inner = SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * x * x);
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner
}

impl Epilogue {
    /// What the trace says of it.
    pub fn label(&self) -> String {
        match (self.activation, self.bias) {
            (Activation::None, Bias::None) => String::new(),
            (activation, Bias::None) => format!(" {activation:?}"),
            (Activation::None, bias) => format!(" bias {bias:?}"),
            (activation, bias) => format!(" {activation:?} bias {bias:?}"),
        }
    }

    /// Elements of the bias vector.
    fn bias_elements(&self, product: &Product) -> u64 {
        match self.bias {
            Bias::None => 0,
            Bias::GradientOfB => product.n,
            _ => product.m,
        }
    }

    /// Checks and records what the epilogue touches.
    ///
    /// # Errors
    /// It lies outside of memory, or unordered work has touched it.
    pub fn touch(&self, cx: &mut Context, turn: &Turn, product: &Product) -> Result<(), Fault> {
        let named = |name: &'static str| {
            move |mut fault: Fault| {
                fault.message = format!("{name}: {}", fault.message);
                fault
            }
        };
        for batch in 0..product.batch {
            if let Some((address, element, stride)) = self.bias_at {
                let bytes = element.bytes();
                let at = address.wrapping_add_signed(stride * batch as i64 * bytes as i64);
                let write = self.bias != Bias::Added;
                let length = self.bias_elements(product) * bytes;
                cx.memory
                    .touch(turn, at, length, write)
                    .map_err(named("bias"))?;
            }
            if let Some((address, element, leading, stride)) = self.auxiliary {
                let write = self.activation == Activation::Gelu;
                for column in 0..product.n {
                    let offset = stride * batch as i64 + (column * leading) as i64;
                    let at = address.wrapping_add_signed(offset * element.bytes() as i64);
                    let bytes = product.m * element.bytes();
                    cx.memory
                        .touch(turn, at, bytes, write)
                        .map_err(named("auxiliary matrix"))?;
                }
            }
        }
        Ok(())
    }

    /// Applies it to a product of `m` rows, row by row, whose factors are given likewise.
    ///
    /// # Safety
    /// What it touches is in memory.
    pub unsafe fn apply(
        &self,
        product: &Product,
        batch: u64,
        values: &mut [f32],
        a: &[f32],
        b: &[f32],
    ) {
        let (m, n, k) = (product.m as usize, product.n as usize, product.k as usize);
        let bias = |i: usize| {
            self.bias_at.map(|(address, element, stride)| {
                let offset = (stride * batch as i64 + i as i64) * element.bytes() as i64;
                (element, address.wrapping_add_signed(offset))
            })
        };
        let auxiliary = |i: usize, j: usize| {
            self.auxiliary.map(|(address, element, leading, stride)| {
                let place = stride * batch as i64 + (j as u64 * leading + i as u64) as i64;
                (
                    element,
                    address.wrapping_add_signed(place * element.bytes() as i64),
                )
            })
        };
        for i in 0..m {
            for j in 0..n {
                let value = &mut values[i * n + j];
                if let (Bias::Added, Some((element, at))) = (self.bias, bias(i)) {
                    // SAFETY: the caller's promise, here and below.
                    *value += unsafe { element.load(at) };
                }
                match (self.activation, auxiliary(i, j)) {
                    (Activation::None, _) => {}
                    (Activation::Relu, _) => *value = value.max(0.0),
                    (Activation::Gelu, kept) => {
                        if let Some((element, at)) = kept {
                            unsafe { element.store(at, *value) };
                        }
                        *value = gelu(*value);
                    }
                    (Activation::GeluGradient, Some((element, at))) => {
                        *value *= gelu_gradient(unsafe { element.load(at) });
                    }
                    (Activation::GeluGradient, None) => {}
                }
            }
        }
        let sums: Vec<f32> = match self.bias {
            Bias::None | Bias::Added => return,
            Bias::GradientOfResult => values.chunks(n).map(|row| row.iter().sum()).collect(),
            Bias::GradientOfA => a.chunks(k).map(|row| row.iter().sum()).collect(),
            Bias::GradientOfB => (0..n).map(|j| (0..k).map(|p| b[p * n + j]).sum()).collect(),
        };
        for (i, sum) in sums.into_iter().enumerate() {
            if let Some((element, at)) = bias(i) {
                unsafe { element.store(at, sum) };
            }
        }
    }
}
