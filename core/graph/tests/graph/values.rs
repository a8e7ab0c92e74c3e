//! Values of every op against plain computations.

use crate::support::{close, numbers, wide, Lab, TIGHT};
use ablate_graph::{Graph, Result, Tensor};

type Unary = fn(&mut Graph, &Tensor) -> Result<Tensor>;

#[track_caller]
fn unary(low: f32, high: f32, op: Unary, want: fn(f64) -> f64, tolerance: f64) {
    let shape = [3, 1, 5];
    let x = numbers("x", 15, low, high);
    let expected: Vec<f64> = wide(&x).into_iter().map(want).collect();
    let mut lab = Lab::new();
    let t = lab.param_of("x", &shape, x.clone());
    let y = op(&mut lab.g, &t);
    lab.check(y, &expected, tolerance);
    // the same through a permuted, cut and broadcast view of it
    let mut lab = Lab::new();
    let t = lab.param_of("x", &shape, x);
    let view = lab.g.slice(&t, 2, 1, 4).unwrap();
    let view = lab.g.permute(&view, &[2, 1, 0]).unwrap();
    let view = lab.g.expand(&view, &[3, 2, 3]).unwrap();
    let mut seen = Vec::new();
    for k in 1..4 {
        for _ in 0..2 {
            for i in 0..3 {
                seen.push(expected[i * 5 + k]);
            }
        }
    }
    let y = op(&mut lab.g, &view);
    lab.check(y, &seen, tolerance);
}

/// The error function by its series and continued fraction, to f64 accuracy on [-6, 6].
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    if x.abs() > 4.0 {
        x.signum()
    } else {
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }
}

#[test]
fn elementwise() {
    unary(-3.0, 3.0, |g, x| g.neg(x), |x| -x, 0.0);
    unary(0.2, 3.0, |g, x| g.recip(x), |x| 1.0 / x, 1e-12);
    unary(0.2, 3.0, |g, x| g.sqrt(x), f64::sqrt, 1e-12);
    unary(0.2, 3.0, |g, x| g.rsqrt(x), |x| 1.0 / x.sqrt(), 1e-12);
    unary(-3.0, 3.0, |g, x| g.square(x), |x| x * x, 1e-12);
    unary(-3.0, 3.0, |g, x| g.exp(x), f64::exp, TIGHT);
    unary(-3.0, 3.0, |g, x| g.exp2(x), f64::exp2, 1e-12);
    unary(0.2, 3.0, |g, x| g.log(x), f64::ln, TIGHT);
    unary(0.2, 3.0, |g, x| g.log2(x), f64::log2, 1e-12);
    unary(-3.0, 3.0, |g, x| g.sin(x), f64::sin, 1e-12);
    unary(-3.0, 3.0, |g, x| g.cos(x), f64::cos, TIGHT);
    unary(-3.0, 3.0, |g, x| g.abs(x), f64::abs, 1e-12);
    unary(-3.0, 3.0, |g, x| g.sign(x), f64::signum, 1e-12);
    unary(-3.0, 3.0, |g, x| g.relu(x), |x| x.max(0.0), 1e-12);
    unary(
        -3.0,
        3.0,
        |g, x| g.clamp(x, -1.0, 1.5),
        |x| x.clamp(-1.0, 1.5),
        1e-12,
    );
    unary(-3.0, 3.0, |g, x| g.add_scalar(x, 0.5), |x| x + 0.5, 1e-12);
    unary(-3.0, 3.0, |g, x| g.mul_scalar(x, 0.5), |x| x * 0.5, 1e-12);
    unary(-2.0, 2.0, |g, x| g.pow_scalar(x, 3.0), |x| x.powi(3), 1e-12);
    unary(
        0.5,
        2.0,
        |g, x| g.pow_scalar(x, -2.0),
        |x| x.powi(-2),
        1e-12,
    );
    unary(
        0.5,
        2.0,
        |g, x| g.pow_scalar(x, 1.75),
        |x| x.powf(1.75),
        1e-12,
    );
    unary(0.5, 2.0, |g, x| g.pow_scalar(x, 0.5), f64::sqrt, 1e-12);
    unary(0.5, 2.0, |g, x| g.pow_scalar(x, 0.0), |_| 1.0, 0.0);
}

#[test]
fn smooth_activations() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    unary(-6.0, 6.0, |g, x| g.tanh(x), f64::tanh, TIGHT);
    unary(-9.0, 9.0, |g, x| g.sigmoid(x), sigmoid, TIGHT);
    unary(
        -6.0,
        6.0,
        |g, x| g.silu(x),
        |x| x / (1.0 + (-x).exp()),
        TIGHT,
    );
    unary(-3.5, 3.5, |g, x| g.erf(x), erf, 4e-7);
    unary(
        -5.0,
        5.0,
        |g, x| g.gelu(x),
        |x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        1e-6,
    );
    let tanh_form = |x: f64| {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
    };
    unary(-5.0, 5.0, |g, x| g.gelu_tanh(x), tanh_form, 1e-6);
}

#[test]
fn activations_stay_finite_far_out() {
    let mut lab = Lab::new();
    let x = lab.param_of("x", &[4], vec![-100.0, -60.0, 60.0, 100.0]);
    let mut parts = Vec::new();
    for op in [
        Graph::tanh,
        Graph::sigmoid,
        Graph::gelu,
        Graph::gelu_tanh,
        Graph::silu,
    ] {
        let y = op(&mut lab.g, &x).unwrap();
        let sum = lab.g.sum_all(&y).unwrap();
        let gradient = lab
            .g
            .gradients(&sum, std::slice::from_ref(&x))
            .unwrap()
            .remove(0);
        parts.push(y);
        parts.push(gradient);
    }
    let all = lab.g.concat(&parts.iter().collect::<Vec<_>>(), 0).unwrap();
    let (stock, _) = lab.both(&all);
    assert!(stock.iter().all(|v| v.is_finite()), "{stock:?}");
    close("tanh", &wide(&stock[..4]), &[-1.0, -1.0, 1.0, 1.0], 0.0);
    close("tanh'", &wide(&stock[4..8]), &[0.0; 4], 1e-30);
}

type Binary = fn(&mut Graph, &Tensor, &Tensor) -> Result<Tensor>;

#[track_caller]
fn binary(op: Binary, want: fn(f64, f64) -> f64) {
    let (mut a, b) = (numbers("a", 6, 0.5, 2.0), numbers("b", 5, 0.5, 2.0));
    a[4] = b[2]; // a tie
    let mut expected = Vec::new();
    for i in 0..2 {
        for y in &b {
            for k in 0..3 {
                expected.push(want(f64::from(a[i * 3 + k]), f64::from(*y)));
            }
        }
    }
    let mut lab = Lab::new();
    let (a, b) = (
        lab.param_of("a", &[2, 1, 3], a),
        lab.param_of("b", &[5, 1], b),
    );
    let y = op(&mut lab.g, &a, &b);
    lab.check(y, &expected, 1e-12);
}

#[test]
fn binary_with_broadcasting() {
    binary(|g, a, b| g.add(a, b), |a, b| a + b);
    binary(|g, a, b| g.sub(a, b), |a, b| a - b);
    binary(|g, a, b| g.mul(a, b), |a, b| a * b);
    binary(|g, a, b| g.div(a, b), |a, b| a / b);
    binary(|g, a, b| g.modulo(a, b), |a, b| a % b);
    binary(|g, a, b| g.maximum(a, b), f64::max);
    binary(|g, a, b| g.minimum(a, b), f64::min);
    binary(|g, a, b| g.less(a, b), |a, b| f64::from(u8::from(a < b)));
    binary(|g, a, b| g.greater(a, b), |a, b| f64::from(u8::from(a > b)));
    binary(
        |g, a, b| g.less_equal(a, b),
        |a, b| f64::from(u8::from(a <= b)),
    );
    binary(
        |g, a, b| g.greater_equal(a, b),
        |a, b| f64::from(u8::from(a >= b)),
    );
    binary(|g, a, b| g.equal(a, b), |a, b| f64::from(u8::from(a == b)));
    binary(
        |g, a, b| g.not_equal(a, b),
        |a, b| f64::from(u8::from(a != b)),
    );
    binary(
        |g, a, b| {
            let less = g.less(a, b)?;
            g.select(&less, a, b)
        },
        f64::min,
    );
}

#[test]
fn reductions_over_any_axes() {
    let shape = [2, 3, 1, 4];
    let x = numbers("x", 24, -1.0, 1.0);
    for axes in [
        vec![],
        vec![1],
        vec![3, 0],
        vec![2],
        vec![0, 1, 2, 3],
        vec![1, 2],
    ] {
        for keep in [false, true] {
            let mut groups: std::collections::BTreeMap<Vec<usize>, Vec<f64>> = Default::default();
            for (i, v) in x.iter().enumerate() {
                let mut at = [i / 12, i / 4 % 3, 0, i % 4].to_vec();
                axes.iter().for_each(|l| at[*l] = 0);
                groups.entry(at).or_default().push(f64::from(*v));
            }
            let fold =
                |f: fn(&[f64]) -> f64| -> Vec<f64> { groups.values().map(|v| f(v)).collect() };
            let mut out_shape: Vec<usize> = Vec::new();
            for (l, n) in shape.iter().enumerate() {
                match (axes.contains(&l), keep) {
                    (false, _) => out_shape.push(*n),
                    (true, true) => out_shape.push(1),
                    (true, false) => {}
                }
            }
            type Reduce = fn(&mut Graph, &Tensor, &[usize], bool) -> Result<Tensor>;
            let cases: [(Reduce, Vec<f64>); 4] = [
                (|g, x, a, k| g.sum(x, a, k), fold(|v| v.iter().sum())),
                (
                    |g, x, a, k| g.mean(x, a, k),
                    fold(|v| v.iter().sum::<f64>() / v.len() as f64),
                ),
                (
                    |g, x, a, k| g.max(x, a, k),
                    fold(|v| v.iter().copied().fold(f64::MIN, f64::max)),
                ),
                (
                    |g, x, a, k| g.variance(x, a, k),
                    fold(|v| {
                        let m = v.iter().sum::<f64>() / v.len() as f64;
                        v.iter().map(|x| (x - m).powi(2)).sum::<f64>() / v.len() as f64
                    }),
                ),
            ];
            for (op, want) in cases {
                let mut lab = Lab::new();
                let t = lab.param_of("x", &shape, x.clone());
                let y = op(&mut lab.g, &t, &axes, keep).unwrap();
                assert_eq!(y.shape(), out_shape);
                lab.check(Ok(y), &want, TIGHT);
            }
        }
    }
}

#[test]
fn reductions_of_cut_padded_and_broadcast_views() {
    // luminal's own reductions get each of these wrong or skip the padding
    let x = numbers("x", 10, -2.0, -1.0);
    let w = wide(&x);
    let mut lab = Lab::new();
    let t = lab.param_of("x", &[10], x.clone());
    let cut = lab.g.slice(&t, 0, 2, 5).unwrap();
    let sum = lab.g.sum(&cut, &[0], true).unwrap();
    let padded = lab.g.pad(&t, 0, 1, 2).unwrap();
    let max = lab.g.max(&padded, &[0], true).unwrap();
    let wide_view = lab.g.expand(&t, &[7, 10]).unwrap();
    let many = lab.g.sum(&wide_view, &[0, 1], false).unwrap();
    let many = lab.g.unsqueeze(&many, 0).unwrap();
    let rows = lab.g.sum(&wide_view, &[1], false).unwrap();
    let top = lab.g.max(&wide_view, &[0], false).unwrap();
    let all = lab.g.concat(&[&sum, &max, &many, &rows, &top], 0);
    let total: f64 = w.iter().sum();
    let mut want = vec![w[2] + w[3] + w[4], 0.0, 7.0 * total];
    want.extend([total; 7]);
    want.extend(&w);
    lab.check(all, &want, 1e-12);
}

#[test]
fn views_concat_and_pad() {
    let (a, b) = (numbers("a", 6, -1.0, 1.0), numbers("b", 4, -1.0, 1.0));
    let mut lab = Lab::new();
    let (ta, tb) = (
        lab.param_of("a", &[2, 3], a.clone()),
        lab.param_of("b", &[2, 2], b.clone()),
    );
    let joined = lab.g.concat(&[&ta, &tb, &ta], 1).unwrap();
    assert_eq!(joined.shape(), [2, 8]);
    let turned = lab.g.transpose(&joined, 0, 1).unwrap();
    let flat = lab.g.reshape(&turned, &[16]).unwrap();
    let cut = lab.g.slice(&flat, 0, 3, 13);
    let row = |i: usize| {
        [
            &a[i * 3..i * 3 + 3],
            &b[i * 2..i * 2 + 2],
            &a[i * 3..i * 3 + 3],
        ]
        .concat()
    };
    let (r0, r1) = (row(0), row(1));
    let want: Vec<f64> = r0
        .iter()
        .zip(&r1)
        .flat_map(|(x, y)| [f64::from(*x), f64::from(*y)])
        .collect();
    lab.check(cut, &want[3..13], 0.0);
}
