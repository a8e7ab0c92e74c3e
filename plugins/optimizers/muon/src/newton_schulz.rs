//! The Newton-Schulz iteration: a matrix brought near to the nearest orthogonal one by products alone.
//!
//! Owns: the iteration. Must not know: momentum, learning rates, which parameters.
//!
//! Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", after Björck
//! and Bowie 1971 and Kovarik 1970. With `X = U S V^T` each step maps every singular value s to
//! `a s + b s^3 + c s^5`; the usual coefficients do not converge to 1 but reach the neighbourhood of 1
//! in five steps from far below, which is all that the update needs.

use ablate_sdk::{GraphBuilder, Result, Tensor};

/// `steps` steps on `matrix [rows, columns]`, first scaled to norm 1 (a norm below `eps` counts as
/// `eps`), so that no singular value is above 1.
pub(crate) fn orthogonalise<'g>(
    g: &GraphBuilder<'g>,
    matrix: Tensor<'g>,
    [a, b, c]: [f64; 3],
    steps: u32,
    eps: f64,
) -> Result<Tensor<'g>> {
    let shape = g.shape(matrix)?;
    // Products over the shorter side: the Gram matrix is then the smaller of the two.
    let tall = shape.first() > shape.last();
    let norm = g.maximum_scalar(g.norm(matrix)?, eps)?;
    let mut x = if tall { g.transpose(matrix)? } else { matrix };
    x = g.div(x, norm)?;
    for _ in 0..steps {
        let gram = g.matmul_t(x, x)?;
        let square = g.matmul(gram, gram)?;
        let update = g.add(g.mul_scalar(gram, b)?, g.mul_scalar(square, c)?)?;
        x = g.add(g.mul_scalar(x, a)?, g.matmul(update, x)?)?;
    }
    if tall {
        g.transpose(x)
    } else {
        Ok(x)
    }
}
