//! Inverse p-th roots of symmetric matrices by products alone.
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
//! `M` goes to I and `X` to `B^(-1/p)`. A graph has no loop that ends by itself, so the number of steps
//! is that which the smallest possible eigenvalue needs.

use ablate_sdk::{Error, GraphBuilder, Result, Tensor};

/// Stands for the norm of a matrix of zeros.
const TINY: f64 = 1e-30;

/// How far from 1 the slowest eigenvalue of `M` may end: about what f32 can tell.
const TOLERANCE: f64 = 1e-6;

/// `z` of a matrix whose eigenvalues are at most `1 + ridge`.
fn scale(p: u32, ridge: f64) -> f64 {
    f64::from(p + 1) / (2.0 * (1.0 + ridge))
}

/// Newton steps until the eigenvalue `ridge`, the smallest, is done. Each step takes an eigenvalue m of
/// `M` to `m ((p + 1 - m) / p)^p`, and larger ones arrive earlier.
pub(crate) fn steps(p: u32, ridge: f64) -> usize {
    let order = f64::from(p);
    let mut m = scale(p, ridge) * ridge;
    let mut steps = 0;
    while (m - 1.0).abs() > TOLERANCE {
        m *= ((order + 1.0 - m) / order).powf(order);
        steps += 1;
    }
    steps
}

/// `n^(-1/p)` of a positive scalar, for p = 2 or 4.
fn scalar_root<'g>(g: &GraphBuilder<'g>, n: Tensor<'g>, p: u32) -> Result<Tensor<'g>> {
    match p {
        2 => g.rsqrt(n),
        4 => g.rsqrt(g.sqrt(n)?),
        other => Err(Error::Other(format!("there is no inverse root {other}"))),
    }
}

/// `(A + ridge |A| I)^(-1/p)` of a symmetric `matrix [n, n]` without negative eigenvalues; `|A|` is
/// Frobenius' norm. For p = 2 or 4.
pub(crate) fn inverse_root<'g>(
    g: &GraphBuilder<'g>,
    matrix: Tensor<'g>,
    p: u32,
    ridge: f64,
) -> Result<Tensor<'g>> {
    let size = g.shape(matrix)?.first().copied().unwrap_or(1);
    let order = f64::from(p);
    let z = scale(p, ridge);
    let norm = g.add_scalar(g.norm(matrix)?, TINY)?;
    let identity = g.identity(size)?;
    let scaled = g.mul(matrix, g.mul_scalar(g.recip(norm)?, z)?)?;
    let mut m = g.add(scaled, g.mul_scalar(identity, ridge * z)?)?;
    let mut x: Option<Tensor<'g>> = None;
    let count = steps(p, ridge);
    for step in 0..count {
        let minus = g.mul_scalar(m, -1.0 / order)?;
        let t = g.add(g.mul_scalar(identity, (order + 1.0) / order)?, minus)?;
        x = Some(match x {
            None => g.mul_scalar(t, z.powf(1.0 / order))?,
            Some(x) => g.matmul(x, t)?,
        });
        if step + 1 == count {
            break;
        }
        let mut power = g.matmul(t, t)?;
        if p == 4 {
            power = g.matmul(power, power)?;
        }
        m = g.matmul(power, m)?;
    }
    let x = x.ok_or_else(|| Error::Other("an inverse root takes at least one step".into()))?;
    g.mul(x, scalar_root(g, norm, p)?)
}

/// As [`inverse_root`], of the diagonal matrix of which `diagonal` holds the entries, in its shape.
pub(crate) fn inverse_root_of_diagonal<'g>(
    g: &GraphBuilder<'g>,
    diagonal: Tensor<'g>,
    p: u32,
    ridge: f64,
) -> Result<Tensor<'g>> {
    let norm = g.add_scalar(g.norm(diagonal)?, TINY)?;
    let entries = g.add(diagonal, g.mul_scalar(norm, ridge)?)?;
    scalar_root(g, entries, p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_with_the_logarithm_of_the_ridge() {
        assert_eq!(steps(4, 1e-6), 20);
        assert_eq!(steps(2, 1e-6), 22);
        assert!(steps(4, 1e-8) > steps(4, 1e-6));
        assert!(steps(4, 1.0) >= 1);
    }
}
