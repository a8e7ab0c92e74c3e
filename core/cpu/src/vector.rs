//! Loops over vectors, compiled once for each instruction set and chosen at run time.
//!
//! Each loop is written once, generic over its operation, and inlined into one wrapper per
//! instruction set; the wrappers differ in the width of the vectors, never in the result.

use crate::math;
use ablate_compiler::ir::{Binary, Reduction, Unary};

/// An operand of a tile: either a vector for each row or one number for each row.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// First element.
    pub start: *const f32,
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// One number a row instead of a vector.
    pub splat: bool,
}

impl Operand {
    fn row(&self, row: usize) -> *const f32 {
        self.start.wrapping_add(row * self.row_stride)
    }
}

/// Instruction sets that the loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
    /// AVX2.
    Avx2,
    /// Whatever the target guarantees.
    Portable,
}

impl Isa {
    /// The best one that this processor has.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Isa::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    }

    /// Every one that this processor has, for tests.
    #[cfg(test)]
    pub fn available() -> Vec<Isa> {
        let all = [Isa::Portable, Isa::Avx2, Isa::Avx512];
        let best = all.iter().position(|isa| *isa == Isa::detect());
        all[..=best.unwrap_or(0)].to_vec()
    }
}

/// Compiles `$body` once per instruction set and calls the one that `$isa` names.
macro_rules! dispatch {
    ($isa:expr, $(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $body:block) => {{
        #[inline(always)]
        fn body($($arg: $ty),*) $body
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512($($arg: $ty),*) { body($($arg),*) }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn avx2($($arg: $ty),*) { body($($arg),*) }
        match $isa {
            // SAFETY: an `Isa` is only made for instruction sets that were detected.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2($($arg),*) },
            _ => body($($arg),*),
        }
    }};
}

#[inline(always)]
unsafe fn map1(out: *mut f32, x: Operand, rows: usize, cols: usize, f: impl Fn(f32) -> f32) {
    for row in 0..rows {
        // SAFETY: the caller of `unary` promises the extents; output and operand do not overlap.
        unsafe {
            let out = std::slice::from_raw_parts_mut(out.add(row * cols), cols);
            if x.splat {
                out.fill(f(*x.row(row)));
            } else {
                let x = std::slice::from_raw_parts(x.row(row), cols);
                for (o, x) in out.iter_mut().zip(x) {
                    *o = f(*x);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn map2(
    out: *mut f32,
    x: Operand,
    y: Operand,
    rows: usize,
    cols: usize,
    f: impl Fn(f32, f32) -> f32,
) {
    for row in 0..rows {
        // SAFETY: the caller of `binary` promises the extents; output and operands do not overlap.
        unsafe {
            let out = std::slice::from_raw_parts_mut(out.add(row * cols), cols);
            let (px, py) = (x.row(row), y.row(row));
            match (x.splat, y.splat) {
                (false, false) => {
                    let x = std::slice::from_raw_parts(px, cols);
                    let y = std::slice::from_raw_parts(py, cols);
                    for ((o, x), y) in out.iter_mut().zip(x).zip(y) {
                        *o = f(*x, *y);
                    }
                }
                (false, true) => {
                    let (x, y) = (std::slice::from_raw_parts(px, cols), *py);
                    for (o, x) in out.iter_mut().zip(x) {
                        *o = f(*x, y);
                    }
                }
                (true, false) => {
                    let (x, y) = (*px, std::slice::from_raw_parts(py, cols));
                    for (o, y) in out.iter_mut().zip(y) {
                        *o = f(x, *y);
                    }
                }
                (true, true) => out.fill(f(*px, *py)),
            }
        }
    }
}

/// `out[row, col] = op(x[row, col])`
///
/// # Safety
/// `out` is valid for `rows * cols` writes, `x` for its reads, and they do not overlap.
pub unsafe fn unary(isa: Isa, op: Unary, out: *mut f32, x: Operand, rows: usize, cols: usize) {
    dispatch!(
        isa,
        fn run(op: Unary, out: *mut f32, x: Operand, rows: usize, cols: usize) {
            // SAFETY: the promises of `unary`.
            unsafe {
                match op {
                    Unary::Log2 => map1(out, x, rows, cols, math::log2),
                    Unary::Exp2 => map1(out, x, rows, cols, math::exp2),
                    Unary::Sin => map1(out, x, rows, cols, f32::sin),
                    Unary::Sqrt => map1(out, x, rows, cols, f32::sqrt),
                    Unary::Recip => map1(out, x, rows, cols, |x| 1.0 / x),
                }
            }
        }
    );
}

/// `out[row, col] = op(x[row, col], y[row, col])`
///
/// # Safety
/// `out` is valid for `rows * cols` writes, the operands for their reads, and `out` overlaps neither.
pub unsafe fn binary(
    isa: Isa,
    op: Binary,
    out: *mut f32,
    x: Operand,
    y: Operand,
    rows: usize,
    cols: usize,
) {
    dispatch!(
        isa,
        fn run(op: Binary, out: *mut f32, x: Operand, y: Operand, rows: usize, cols: usize) {
            // SAFETY: the promises of `binary`.
            unsafe {
                match op {
                    Binary::Add => map2(out, x, y, rows, cols, |x, y| x + y),
                    Binary::Sub => map2(out, x, y, rows, cols, |x, y| x - y),
                    Binary::Mul => map2(out, x, y, rows, cols, |x, y| x * y),
                    Binary::Mod => map2(out, x, y, rows, cols, |x, y| x % y),
                    Binary::LessThan => {
                        map2(out, x, y, rows, cols, |x, y| if x < y { 1.0 } else { 0.0 })
                    }
                    Binary::Equal => {
                        map2(out, x, y, rows, cols, |x, y| if x == y { 1.0 } else { 0.0 })
                    }
                }
            }
        }
    );
}

/// Partial sums that a reduction keeps: fixed, so that its order is the same everywhere.
const LANES: usize = 64;

#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += *x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += *x;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The greater; a NaN once met stays.
#[inline(always)]
pub fn greater(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() {
        a
    } else {
        b
    }
}

#[inline(always)]
fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = greater(*lane, *x);
    }
    lanes.iter().fold(f32::NEG_INFINITY, |a, b| greater(a, *b))
}

/// `out[row] = reduce over col of x[row, col]`
///
/// # Safety
/// `out` is valid for `rows` writes, `x` for its reads, and they do not overlap.
pub unsafe fn reduce(isa: Isa, op: Reduction, out: *mut f32, x: Operand, rows: usize, cols: usize) {
    dispatch!(
        isa,
        fn run(op: Reduction, out: *mut f32, x: Operand, rows: usize, cols: usize) {
            for row in 0..rows {
                // SAFETY: the promises of `reduce`.
                unsafe {
                    let start = x.row(row);
                    *out.add(row) = match (op, x.splat) {
                        (Reduction::Max, true) => *start,
                        (Reduction::Sum, true) => *start * cols as f32,
                        (Reduction::Max, false) => max(std::slice::from_raw_parts(start, cols)),
                        (Reduction::Sum, false) => sum(std::slice::from_raw_parts(start, cols)),
                    };
                }
            }
        }
    );
}

/// `out[col] = op(out[col], x[row, col])` for each row in order.
///
/// # Safety
/// `out` is valid for `cols` reads and writes, `x` for its reads, and they do not overlap.
pub unsafe fn accumulate(
    isa: Isa,
    op: Reduction,
    out: *mut f32,
    x: Operand,
    rows: usize,
    cols: usize,
) {
    dispatch!(
        isa,
        fn run(op: Reduction, out: *mut f32, x: Operand, rows: usize, cols: usize) {
            // SAFETY: the promises of `accumulate`.
            let out = unsafe { std::slice::from_raw_parts_mut(out, cols) };
            for row in 0..rows {
                // SAFETY: as above.
                let (start, len) = (x.row(row), if x.splat { 1 } else { cols });
                let x = unsafe { std::slice::from_raw_parts(start, len) };
                match (op, len == cols) {
                    (Reduction::Sum, true) => out.iter_mut().zip(x).for_each(|(o, x)| *o += *x),
                    (Reduction::Max, true) => out
                        .iter_mut()
                        .zip(x)
                        .for_each(|(o, x)| *o = greater(*o, *x)),
                    (Reduction::Sum, false) => out.iter_mut().for_each(|o| *o += x[0]),
                    (Reduction::Max, false) => out.iter_mut().for_each(|o| *o = greater(*o, x[0])),
                }
            }
        }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(x: &[f32], cols: usize) -> Operand {
        Operand {
            start: x.as_ptr(),
            row_stride: cols,
            splat: false,
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let (rows, cols) = (3, 77);
        let x: Vec<f32> = (0..rows * cols)
            .map(|i| (i as f32 * 0.37).sin() * 9.0 + 0.1)
            .collect();
        let y: Vec<f32> = (0..rows * cols)
            .map(|i| (i as f32 * 0.11).cos() * 3.0 + 4.0)
            .collect();
        let run = |isa: Isa| {
            let mut all = vec![];
            let mut out = vec![0.0; rows * cols];
            // SAFETY: the extents fit.
            unsafe {
                for op in [
                    Unary::Log2,
                    Unary::Exp2,
                    Unary::Sin,
                    Unary::Sqrt,
                    Unary::Recip,
                ] {
                    unary(isa, op, out.as_mut_ptr(), vector(&x, cols), rows, cols);
                    all.extend(out.iter().map(|v| v.to_bits()));
                }
                for op in [
                    Binary::Add,
                    Binary::Sub,
                    Binary::Mul,
                    Binary::Mod,
                    Binary::LessThan,
                    Binary::Equal,
                ] {
                    let splat = Operand {
                        start: y.as_ptr(),
                        row_stride: 1,
                        splat: true,
                    };
                    for other in [vector(&y, cols), splat] {
                        binary(
                            isa,
                            op,
                            out.as_mut_ptr(),
                            vector(&x, cols),
                            other,
                            rows,
                            cols,
                        );
                        all.extend(out.iter().map(|v| v.to_bits()));
                    }
                }
                for op in [Reduction::Sum, Reduction::Max] {
                    reduce(isa, op, out.as_mut_ptr(), vector(&x, cols), rows, cols);
                    all.extend(out[..rows].iter().map(|v| v.to_bits()));
                    out.fill(0.0);
                    accumulate(isa, op, out.as_mut_ptr(), vector(&x, cols), rows, cols);
                    all.extend(out[..cols].iter().map(|v| v.to_bits()));
                }
            }
            all
        };
        let portable = run(Isa::Portable);
        for isa in Isa::available() {
            // NaN payloads may differ; only negative inputs of sqrt and log2 make NaN here.
            let got = run(isa);
            for (a, b) in portable.iter().zip(&got) {
                let (a, b) = (f32::from_bits(*a), f32::from_bits(*b));
                assert!(
                    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
                    "{isa:?} {a} {b}"
                );
            }
        }
    }

    #[test]
    fn maxima_keep_a_nan() {
        let mut x = vec![1.0; 130];
        x[70] = f32::NAN;
        let mut out = [0.0];
        // SAFETY: the extents fit.
        unsafe {
            reduce(
                Isa::detect(),
                Reduction::Max,
                out.as_mut_ptr(),
                vector(&x, 130),
                1,
                130,
            )
        };
        assert!(out[0].is_nan());
    }
}
