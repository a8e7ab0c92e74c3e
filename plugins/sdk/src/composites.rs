//! What plugins build again and again, composed of the host's operations.
//!
//! Owns: running means and their corrections, norms, the two kinds of weight decay, classes of
//! sequences. Must not know: any update rule, what classes mean.

use crate::graph::{GraphBuilder, Tensor};
use crate::{Error, ObjectiveGraph, Parameter, Result, Role};

#[allow(clippy::missing_errors_doc)] // On the type: the same for every operation.
impl<'g> GraphBuilder<'g> {
    /// `decay * old + (1 - decay) * new`: one step of an exponential moving average.
    pub fn moving_average(
        &self,
        old: Tensor<'g>,
        new: Tensor<'g>,
        decay: f64,
    ) -> Result<Tensor<'g>> {
        let kept = self.mul_scalar(old, decay)?;
        self.add(kept, self.mul_scalar(new, 1.0 - decay)?)
    }

    /// Square root of the sum of the squares of all elements, shape `[]`.
    pub fn norm(&self, a: Tensor<'g>) -> Result<Tensor<'g>> {
        self.sqrt(self.sum_all(self.square(a)?)?)
    }

    /// Square root of the mean of the squares of all elements, shape `[]`.
    pub fn rms(&self, a: Tensor<'g>) -> Result<Tensor<'g>> {
        let count: f64 = self.shape(a)?.iter().map(|d| *d as f64).product();
        let sum = self.sum_all(self.square(a)?)?;
        self.sqrt(self.mul_scalar(sum, 1.0 / count)?)
    }

    /// `a [.., m, n]` as `[.., n, m]`.
    pub fn transpose(&self, a: Tensor<'g>) -> Result<Tensor<'g>> {
        let rank = self.shape(a)?.len();
        if rank < 2 {
            return Err(Error::Other(format!(
                "`transpose` needs at least 2 axes, not {rank}"
            )));
        }
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        self.permute(a, &order)
    }

    /// The identity matrix `[n, n]`.
    pub fn identity(&self, n: usize) -> Result<Tensor<'g>> {
        self.one_hot(self.iota(n)?, n)
    }
}

impl<'g> ObjectiveGraph<'g> {
    /// The loss of telling classes of sequences from the pooled state `[batch, hidden]`: logits of a dense
    /// layer with the parameters `<head>.weight` `[classes, hidden]` and `<head>.bias`, the sum of their
    /// cross-entropies with the per-sequence feature `feature`, and the metric `accuracy`.
    ///
    /// # Errors
    /// Where there is no such feature, or a node cannot be built.
    pub fn classify_sequences(
        &self,
        head: &str,
        feature: &str,
        classes: usize,
    ) -> Result<Tensor<'g>> {
        let shape = [classes, self.hidden_size()?];
        let weight = self.parameter(&format!("{head}.weight"), &shape, Role::Weight)?;
        let bias = self.parameter(&format!("{head}.bias"), &shape[..1], Role::Bias)?;
        let logits = self.linear(self.pooled()?, weight, Some(bias))?;
        let values = self.feature(&format!("{feature}.values"))?;
        let weights = self.feature(&format!("{feature}.weights"))?;
        let correct = self.mul(self.correct(logits, values)?, weights)?;
        self.metric("accuracy", self.sum_all(correct)?)?;
        self.sum_all(self.cross_entropy(logits, values, Some(weights))?)
    }
}

#[allow(clippy::missing_errors_doc)] // Where a node cannot be built.
impl<'g> Parameter<'_, 'g> {
    /// The slots and scalars as arrays, to take apart by pattern.
    ///
    /// # Errors
    /// Where their numbers are not those that the optimizer declared.
    pub fn parts<const SLOTS: usize, const SCALARS: usize>(
        &self,
    ) -> Result<([Tensor<'g>; SLOTS], [Tensor<'g>; SCALARS])> {
        match (self.slots.try_into(), self.scalars.try_into()) {
            (Ok(slots), Ok(scalars)) => Ok((slots, scalars)),
            _ => Err(Error::Other(format!(
                "`{}` comes with {} slots and {} scalars; {SLOTS} and {SCALARS} were declared",
                self.name,
                self.slots.len(),
                self.scalars.len()
            ))),
        }
    }

    /// The same parameter with other scalars: for an optimizer that hands some parameters to another.
    #[must_use]
    pub fn with_scalars<'b>(&'b self, scalars: &'b [Tensor<'g>]) -> Parameter<'b, 'g> {
        Parameter {
            name: self.name,
            role: self.role,
            parameter: self.parameter,
            gradient: self.gradient,
            slots: self.slots,
            scalars,
            decays: self.decays,
            variant: self.variant,
        }
    }

    /// The gradient plus `weight_decay` times the parameter, where decay applies: the gradient of an
    /// L2 penalty, which adaptive optimizers then scale like any other part (coupled decay).
    pub fn gradient_with_l2(&self, g: &GraphBuilder<'g>, weight_decay: f64) -> Result<Tensor<'g>> {
        if !self.decays || weight_decay == 0.0 {
            return Ok(self.gradient);
        }
        g.add(self.gradient, g.mul_scalar(self.parameter, weight_decay)?)
    }

    /// The parameter times `factor`, where decay applies and `weight_decay` is not 0: decay apart from
    /// the gradient (decoupled; Loshchilov and Hutter 2019). `factor` is a scalar of the step, `1 -
    /// learning rate * weight_decay`.
    pub fn decayed(
        &self,
        g: &GraphBuilder<'g>,
        weight_decay: f64,
        factor: Tensor<'g>,
    ) -> Result<Tensor<'g>> {
        if !self.decays || weight_decay == 0.0 {
            return Ok(self.parameter);
        }
        g.mul(self.parameter, factor)
    }
}

/// `1 - beta^step`: how much of a running mean with decay rate `beta` that began at 0 is there after
/// `step` steps (Kingma and Ba 2015, section 3).
///
/// # Errors
/// Where `step` is 0: steps count from 1.
pub fn bias_correction(beta: f64, step: u64) -> Result<f64> {
    if step == 0 {
        return Err(Error::Other("steps count from 1".into()));
    }
    // Beyond 2^31 steps the correction is 1 in any precision.
    Ok(1.0 - beta.powi(i32::try_from(step).unwrap_or(i32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_are_exact_at_the_first_step_and_vanish_later() {
        assert_eq!(bias_correction(0.9, 1).unwrap(), 1.0 - 0.9);
        assert_eq!(bias_correction(0.999, u64::MAX).unwrap(), 1.0);
        assert!(bias_correction(0.9, 0).is_err());
    }
}
