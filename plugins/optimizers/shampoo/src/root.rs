//! Inverse roots of symmetric matrices by products alone.
//!
//! Owns: the coupled Newton iteration and how many of its steps are enough. Must not know: what the
//! matrices are.
//!
//! Source: Guo and Higham 2006, "A Schur-Newton method for the matrix pth root and its inverse"
//! (iteration 6.2), as Anil et al. 2020, "Scalable second order optimization for deep learning", use
//! it. For `B` with eigenvalues in `(0, (p + 1) / z)`:
//!
//! ```text
//! M <- z B        X <- z^(1/p) I
//! T <- ((p + 1) I - M) / p        X <- X T        M <- T^p M
//! ```
//!
//! `M` goes to I and `X` to `B^(-1/p)`; p is 4 here, two for each side of a matrix. A graph has no loop
//! that ends by itself, so the number of steps is that which the smallest possible eigenvalue needs.

use ablate_sdk::{Error, GraphBuilder, Result, Tensor};

/// The root of matrices.
const P: f64 = 4.0;

/// Stands for the norm of a matrix of zeros.
const TINY: f64 = 1e-30;

/// How far from 1 the slowest eigenvalue of `M` may end: about what f32 can tell.
const TOLERANCE: f64 = 1e-6;

/// `z` of a matrix whose eigenvalues are at most `1 + ridge`.
fn scale(ridge: f64) -> f64 {
    (P + 1.0) / (2.0 * (1.0 + ridge))
}

/// Newton steps until the eigenvalue `ridge`, the smallest, is done. Each step takes an eigenvalue m of
/// `M` to `m ((p + 1 - m) / p)^p`, and larger ones arrive earlier.
fn steps(ridge: f64) -> usize {
    let mut m = scale(ridge) * ridge;
    let mut steps = 0;
    while (m - 1.0).abs() > TOLERANCE {
        m *= ((P + 1.0 - m) / P).powf(P);
        steps += 1;
    }
    steps
}

/// `(A + ridge |A| I)^(-1/4)` of a symmetric `matrix [n, n]` without negative eigenvalues; `|A|` is
/// Frobenius' norm.
pub(crate) fn inverse_fourth_root<'g>(
    g: &GraphBuilder<'g>,
    matrix: Tensor<'g>,
    ridge: f64,
) -> Result<Tensor<'g>> {
    let size = g.shape(matrix)?.first().copied().unwrap_or(1);
    let z = scale(ridge);
    let norm = g.add_scalar(g.norm(matrix)?, TINY)?;
    let identity = g.identity(size)?;
    let scaled = g.mul(matrix, g.mul_scalar(g.recip(norm)?, z)?)?;
    let mut m = g.add(scaled, g.mul_scalar(identity, ridge * z)?)?;
    let mut x: Option<Tensor<'g>> = None;
    let count = steps(ridge);
    for step in 0..count {
        let minus = g.mul_scalar(m, -1.0 / P)?;
        let t = g.add(g.mul_scalar(identity, (P + 1.0) / P)?, minus)?;
        x = Some(match x {
            None => g.mul_scalar(t, z.powf(1.0 / P))?,
            Some(x) => g.matmul(x, t)?,
        });
        if step + 1 < count {
            let square = g.matmul(t, t)?;
            m = g.matmul(g.matmul(square, square)?, m)?;
        }
    }
    let x = x.ok_or_else(|| Error::Other("a root takes at least one step".into()))?;
    g.mul(x, g.rsqrt(g.sqrt(norm)?)?)
}

/// `(D + ridge |D| I)^(-1/4)` of a diagonal matrix, or its power -1/2 where `square_root`; `diagonal`
/// holds its entries, and the result has its shape.
pub(crate) fn inverse_root_of_diagonal<'g>(
    g: &GraphBuilder<'g>,
    diagonal: Tensor<'g>,
    square_root: bool,
    ridge: f64,
) -> Result<Tensor<'g>> {
    let norm = g.add_scalar(g.norm(diagonal)?, TINY)?;
    let entries = g.add(diagonal, g.mul_scalar(norm, ridge)?)?;
    if square_root {
        g.rsqrt(entries)
    } else {
        g.rsqrt(g.sqrt(entries)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_with_the_logarithm_of_the_ridge() {
        let found: Vec<usize> = [1.0, 1e-4, 1e-6, 1e-8].into_iter().map(steps).collect();
        assert_eq!(found, [3, 13, 18, 24]);
    }

    /// What the number of steps relies on: no eigenvalue that can occur takes longer than the smallest.
    #[test]
    fn larger_eigenvalues_arrive_earlier() {
        let ridge: f64 = 1e-6;
        for i in 0..=2000 {
            let eigenvalue = ridge * (1.0 / ridge).powf(f64::from(i) / 2000.0);
            let mut m = scale(ridge) * (eigenvalue + ridge);
            for _ in 0..steps(ridge) {
                m *= ((P + 1.0 - m) / P).powf(P);
            }
            assert!((m - 1.0).abs() <= TOLERANCE, "{eigenvalue}: {m}");
        }
    }
}
