//! Strided loops in f64.

use crate::view::{read, View};
use std::borrow::Cow;

/// A loop: its length, and the strides of the output and of both operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    n: usize,
    out: usize,
    a: usize,
    b: usize,
}

impl Axis {
    /// One loop a dim, neighbours merged where all strides allow it.
    pub(super) fn list(shape: &[usize], out: &[usize], a: &[usize], b: &[usize]) -> Vec<Axis> {
        let mut axes: Vec<Axis> = Vec::new();
        for l in (0..shape.len()).filter(|l| shape[*l] > 1) {
            let inner = Axis {
                n: shape[l],
                out: out[l],
                a: a[l],
                b: b[l],
            };
            match axes.last_mut() {
                Some(outer)
                    if outer.out == inner.out * inner.n
                        && outer.a == inner.a * inner.n
                        && outer.b == inner.b * inner.n =>
                {
                    *outer = Axis {
                        n: outer.n * inner.n,
                        ..inner
                    };
                }
                _ => axes.push(inner),
            }
        }
        axes
    }
}

/// A buffer with a stride for each logical dim; no padding.
pub(super) struct Operand<'a> {
    data: Cow<'a, [f64]>,
    offset: usize,
    pub(super) strides: Vec<usize>,
}

impl<'a> Operand<'a> {
    pub(super) fn new(buffer: &'a [f64], view: &View) -> Self {
        if !view.is_padded() {
            return Operand {
                data: Cow::Borrowed(buffer),
                offset: view.offset(),
                strides: view.strides(),
            };
        }
        // write the padding out, but not the broadcast dims
        let mut small = view.clone();
        for l in (0..view.rank()).rev() {
            if view.at(l).fake {
                small.drop_dim(l);
            }
        }
        let mut strides = View::contiguous(&small.shape()).strides();
        for l in 0..view.rank() {
            if view.at(l).fake {
                strides.insert(l, 0);
            }
        }
        Operand {
            data: Cow::Owned(read(buffer, &small)),
            offset: 0,
            strides,
        }
    }

    fn sparse(&self) -> bool {
        let zeros = self.data.iter().filter(|x| **x == 0.0).count();
        self.data.len() >= 16 && zeros * 4 > self.data.len() * 3
    }

    fn finite(&self) -> bool {
        self.data.iter().all(|x| x.is_finite())
    }
}

/// Calls `f(out, a, b)` with the positions of the first element of every innermost loop.
fn rows(outer: &[Axis], a: &Operand, b: usize, mut f: impl FnMut(usize, usize, usize)) {
    let mut at = vec![0; outer.len()];
    let (mut po, mut pa, mut pb) = (0, a.offset, b);
    loop {
        f(po, pa, pb);
        let mut l = outer.len();
        loop {
            if l == 0 {
                return;
            }
            l -= 1;
            let axis = &outer[l];
            at[l] += 1;
            po += axis.out;
            pa += axis.a;
            pb += axis.b;
            if at[l] < axis.n {
                break;
            }
            po -= axis.out * axis.n;
            pa -= axis.a * axis.n;
            pb -= axis.b * axis.n;
            at[l] = 0;
        }
    }
}

const POINT: Axis = Axis {
    n: 1,
    out: 0,
    a: 0,
    b: 0,
};

fn innermost(axes: &[Axis]) -> (Axis, &[Axis]) {
    axes.split_last()
        .map_or((POINT, &[]), |(inner, outer)| (*inner, outer))
}

/// `out = f(a, b)`, element by element.
pub(super) fn binary(
    out: &mut [f64],
    axes: Vec<Axis>,
    a: &Operand,
    b: &Operand,
    f: impl Fn(f64, f64) -> f64,
) {
    let (inner, outer) = innermost(&axes);
    let n = inner.n;
    rows(outer, a, b.offset, |po, pa, pb| {
        match (inner.out, inner.a, inner.b) {
            (1, 1, 1) => {
                let pairs = a.data[pa..pa + n].iter().zip(&b.data[pb..pb + n]);
                for (o, (x, y)) in out[po..po + n].iter_mut().zip(pairs) {
                    *o = f(*x, *y);
                }
            }
            (1, 1, 0) => {
                let y = b.data[pb];
                for (o, x) in out[po..po + n].iter_mut().zip(&a.data[pa..pa + n]) {
                    *o = f(*x, y);
                }
            }
            (so, sa, sb) => {
                for j in 0..n {
                    out[po + j * so] = f(a.data[pa + j * sa], b.data[pb + j * sb]);
                }
            }
        }
    });
}

/// `out = f(out, a)`, in order.
pub(super) fn reduce(out: &mut [f64], axes: Vec<Axis>, a: &Operand, f: impl Fn(f64, f64) -> f64) {
    let (inner, outer) = innermost(&axes);
    rows(outer, a, 0, |po, pa, _| {
        for j in 0..inner.n {
            let o = &mut out[po + j * inner.out];
            *o = f(*o, a.data[pa + j * inner.a]);
        }
    });
}

/// `out += a * b`, with the loops in the best order.
///
/// A mostly zero operand (a one-hot matrix) is walked outermost and its zeros are skipped; that
/// changes no result, because it is done only where the other operand is finite.
pub(super) fn contract(out: &mut [f64], mut axes: Vec<Axis>, a: &Operand, b: &Operand) {
    let sparse_a = a.sparse() && b.finite();
    let sparse_b = !sparse_a && b.sparse() && a.finite();
    let score = |x: &Axis| {
        let units = [x.out, x.a, x.b].iter().filter(|s| **s <= 1).count();
        let skips = (sparse_a && x.a == 0) || (sparse_b && x.b == 0);
        (skips, units, x.n)
    };
    let best = (0..axes.len()).max_by_key(|i| score(&axes[*i]));
    if let Some(best) = best {
        let inner = axes.remove(best);
        axes.push(inner);
    }
    let (inner, outer) = innermost(&axes);
    let n = inner.n;
    rows(outer, a, b.offset, |po, pa, pb| {
        let (xs, ys) = (&a.data[pa..], &b.data[pb..]);
        if (sparse_a && inner.a == 0 && xs[0] == 0.0) || (sparse_b && inner.b == 0 && ys[0] == 0.0)
        {
            return;
        }
        match (inner.out, inner.a, inner.b) {
            (0, 1, 1) => out[po] += dot(&xs[..n], &ys[..n]),
            (1, 0, 1) => axpy(&mut out[po..po + n], xs[0], &ys[..n]),
            (1, 1, 0) => axpy(&mut out[po..po + n], ys[0], &xs[..n]),
            (so, sa, sb) => {
                for j in 0..n {
                    out[po + j * so] += xs[j * sa] * ys[j * sb];
                }
            }
        }
    });
}

fn axpy(out: &mut [f64], x: f64, ys: &[f64]) {
    for (o, y) in out.iter_mut().zip(ys) {
        *o += x * y;
    }
}

/// In eight partial sums, so that the compiler can use vector instructions.
fn dot(xs: &[f64], ys: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (x8, y8) = (xs.chunks_exact(8), ys.chunks_exact(8));
    let rest: f64 = x8
        .remainder()
        .iter()
        .zip(y8.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in x8.zip(y8) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f64>() + rest
}
