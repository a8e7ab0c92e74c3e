//! One side of a tensor: its statistic and the preconditioner made of it.
//!
//! Owns: which form a side has, what it keeps, and how it is applied. Must not know: momentum, grafting.

use ablate_sdk::{Error, GraphBuilder, Result, Slot, Tensor};

use crate::root::{inverse_fourth_root, inverse_root_of_diagonal};

/// Form of a side's statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The whole matrix `G G^T` over this side.
    Full,
    /// Its diagonal alone: vectors, and sides that are too long for a matrix.
    Diagonal,
}

/// A side of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    /// 0 is the left one, over rows.
    axis: usize,
    form: Form,
    size: usize,
    rank: usize,
}

const STATISTICS: [&str; 2] = ["left", "right"];
const ROOTS: [&str; 2] = ["left_root", "right_root"];

/// The sides of a tensor of one or two axes.
pub(crate) fn sides(shape: &[usize], max_dim: usize) -> Vec<Side> {
    let rank = shape.len().min(STATISTICS.len());
    let of = |(axis, &size): (usize, &usize)| Side {
        axis,
        form: if rank == 2 && size <= max_dim {
            Form::Full
        } else {
            Form::Diagonal
        },
        size,
        rank,
    };
    shape.iter().take(rank).enumerate().map(of).collect()
}

impl Side {
    /// What is kept from step to step: the statistic, and of a matrix its root as well.
    pub fn slots(&self) -> Vec<Slot> {
        match self.form {
            Form::Full => [STATISTICS, ROOTS]
                .map(|names| Slot::zeros(names[self.axis], &[self.size, self.size]))
                .to_vec(),
            Form::Diagonal => {
                let mut shape = vec![1; self.rank];
                shape[self.axis] = self.size;
                vec![Slot::zeros(STATISTICS[self.axis], &shape)]
            }
        }
    }

    /// The statistic of one gradient.
    fn statistic<'g>(&self, g: &GraphBuilder<'g>, gradient: Tensor<'g>) -> Result<Tensor<'g>> {
        match (self.form, self.rank) {
            (Form::Full, _) if self.axis == 0 => g.matmul_t(gradient, gradient),
            (Form::Full, _) => g.matmul(g.transpose(gradient)?, gradient),
            (Form::Diagonal, 1) => g.square(gradient),
            (Form::Diagonal, _) => g.sum(g.square(gradient)?, &[1 - self.axis], true),
        }
    }

    /// Takes a gradient in: the new slots, and `root(statistic)` to apply. Where `refresh` is false, a
    /// matrix keeps its root. `correction` undoes the statistic's start at 0.
    pub fn take<'g>(
        &self,
        g: &GraphBuilder<'g>,
        old: &[Tensor<'g>],
        gradient: Tensor<'g>,
        settings: &Settings<'g>,
    ) -> Result<Taken<'g>> {
        let missing = || Error::Other("`shampoo` misses a slot".into());
        let new = self.statistic(g, gradient)?;
        let old_statistic = *old.first().ok_or_else(missing)?;
        let statistic = if settings.beta2 < 1.0 {
            g.moving_average(old_statistic, new, settings.beta2)?
        } else {
            g.add(old_statistic, new)?
        };
        let corrected = || g.mul(statistic, settings.correction);
        match self.form {
            Form::Diagonal => Ok(Taken {
                slots: vec![statistic],
                root: inverse_root_of_diagonal(
                    g,
                    corrected()?,
                    // Two for each side: -1/4 of a matrix, -1/2 of a vector.
                    self.rank == 1,
                    settings.epsilon,
                )?,
            }),
            Form::Full => {
                let root = if settings.refresh {
                    inverse_fourth_root(g, corrected()?, settings.epsilon)?
                } else {
                    *old.get(1).ok_or_else(missing)?
                };
                Ok(Taken {
                    slots: vec![statistic, root],
                    root,
                })
            }
        }
    }

    /// `direction` multiplied by a root on this side.
    pub fn apply<'g>(
        &self,
        g: &GraphBuilder<'g>,
        root: Tensor<'g>,
        direction: Tensor<'g>,
    ) -> Result<Tensor<'g>> {
        match self.form {
            Form::Diagonal => g.mul(direction, root),
            Form::Full if self.axis == 0 => g.matmul(root, direction),
            Form::Full => g.matmul(direction, root),
        }
    }
}

/// What all sides of all tensors share at a step.
pub(crate) struct Settings<'g> {
    /// Decay rate of the statistics; 1 sums them.
    pub beta2: f64,
    /// Ridge, in units of the statistic's norm.
    pub epsilon: f64,
    /// Whether matrices get new roots.
    pub refresh: bool,
    /// A scalar.
    pub correction: Tensor<'g>,
}

/// What [`Side::take`] gives.
pub(crate) struct Taken<'g> {
    pub slots: Vec<Tensor<'g>>,
    pub root: Tensor<'g>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(shape: &[usize]) -> Vec<Form> {
        sides(shape, 8).iter().map(|s| s.form).collect()
    }

    #[test]
    fn long_sides_and_vectors_keep_a_diagonal() {
        assert_eq!(forms(&[8, 9]), [Form::Full, Form::Diagonal]);
        assert_eq!(forms(&[3]), [Form::Diagonal]);
        let slots = |side: &Side| -> Vec<(&str, Vec<usize>)> {
            side.slots()
                .into_iter()
                .map(|s| (s.name, s.shape))
                .collect()
        };
        let all = sides(&[8, 9], 8);
        assert_eq!(
            slots(&all[0]),
            [("left", vec![8, 8]), ("left_root", vec![8, 8])]
        );
        assert_eq!(slots(&all[1]), [("right", vec![1, 9])]);
        assert_eq!(slots(&sides(&[3], 8)[0]), [("left", vec![3])]);
    }
}
