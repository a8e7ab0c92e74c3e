//! Gradients: against central differences for every op, and the definitions at the edges.

use crate::support::{close, numbers, Lab, KEY};
use ablate_graph::gradcheck::{check, Options};
use ablate_graph::{Graph, GraphError, Phase, Result, Tensor};
use proptest::prelude::*;

/// Reduces `y` to a loss in which every element counts differently.
fn mixed(g: &mut Graph, y: &Tensor) -> Tensor {
    let n = y.elements();
    let flat = g.reshape(y, &[n]).unwrap();
    let counter = g.iota(n).unwrap();
    let scaled = g.mul_scalar(&counter, 0.37).unwrap();
    let shifted = g.add_scalar(&scaled, 0.2).unwrap();
    let weights = g.sin(&shifted).unwrap();
    let product = g.mul(&flat, &weights).unwrap();
    g.sum_all(&product).unwrap()
}

/// Checks all parameters of the lab for a loss made of `y`, and f32 stock luminal against f64.
#[track_caller]
fn gradcheck(lab: Lab, y: Result<Tensor>) {
    gradcheck_within(2e-5, lab, y);
}

#[track_caller]
fn gradcheck_within(tolerance: f64, mut lab: Lab, y: Result<Tensor>) {
    let y = y.unwrap();
    let loss = mixed(&mut lab.g, &y);
    let parameters = lab.g.parameters().to_vec();
    let wrt: Vec<Tensor> = parameters.iter().map(|p| p.1.clone()).collect();
    let gradients = lab.g.gradients(&loss, &wrt).unwrap();
    lab.g.output("loss", &loss).unwrap();
    let mut pairs = Vec::new();
    for ((name, parameter), gradient) in parameters.iter().zip(&gradients) {
        assert_eq!(parameter.shape(), gradient.shape());
        lab.g.output(&format!("d {name}"), gradient).unwrap();
        pairs.push((name.clone(), format!("d {name}")));
    }
    let options = Options {
        samples_per_tensor: 40,
        epsilon: 1e-4,
    };
    let states = lab.states64();
    let rows = check(&lab.g, "loss", &pairs, &states, &lab.feeds, KEY, options).unwrap();
    for row in rows {
        assert!(row.checked > 0 && row.gradient_rms > 0.0, "{row:?}");
        assert!(
            row.max_relative_error < tolerance,
            "{row:?}\n{}",
            lab.g.dump()
        );
    }
    let wide = lab.g.run_f64(&lab.feeds, &states, KEY).unwrap();
    let stock = lab.g.run_reference(&lab.feeds, &lab.states, KEY).unwrap();
    for (name, value) in &wide.outputs {
        let narrow: Vec<f64> = stock.outputs[name].iter().map(|v| f64::from(*v)).collect();
        let size = value.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let scaled = |v: &[f64]| v.iter().map(|x| x / size).collect::<Vec<_>>();
        close(name, &scaled(&narrow), &scaled(value), 2e-5);
    }
}

type Unary = fn(&mut Graph, &Tensor) -> Result<Tensor>;

#[track_caller]
fn unary(low: f32, high: f32, op: Unary) {
    let mut lab = Lab::new();
    let x = lab.param("x", &[2, 1, 3], low, high);
    let y = op(&mut lab.g, &x);
    gradcheck(lab, y);
}

#[test]
fn elementwise() {
    unary(0.3, 2.0, |g, x| g.log(x));
    unary(-2.0, 2.0, |g, x| g.exp(x));
    unary(-2.0, 2.0, |g, x| g.sin(x));
    unary(-2.0, 2.0, |g, x| g.cos(x));
    unary(0.3, 2.0, |g, x| g.sqrt(x));
    unary(0.3, 2.0, |g, x| g.rsqrt(x));
    unary(0.3, 2.0, |g, x| g.recip(x));
    unary(-2.0, 2.0, |g, x| g.square(x));
    unary(0.3, 2.0, |g, x| g.pow_scalar(x, 1.3));
    unary(-2.0, 2.0, |g, x| g.pow_scalar(x, -3.0));
    unary(-2.0, 2.0, |g, x| g.abs(x));
    unary(-2.0, 2.0, |g, x| g.relu(x));
    unary(-2.0, 2.0, |g, x| g.clamp(x, -1.0, 1.0));
    unary(-3.0, 3.0, |g, x| g.tanh(x));
    unary(-3.0, 3.0, |g, x| g.sigmoid(x));
    unary(-3.0, 3.0, |g, x| g.silu(x));
    unary(-3.0, 3.0, |g, x| g.gelu(x));
    unary(-3.0, 3.0, |g, x| g.gelu_tanh(x));
}

#[test]
fn the_error_functions_gradient_is_exact() {
    let mut lab = Lab::new();
    let x = lab.param("x", &[2, 1, 3], -3.0, 3.0);
    let y = lab.g.erf(&x);
    // The differences are those of the polynomial, whose own slope is off by up to 2e-6.
    gradcheck_within(1e-4, lab, y);
    let mut lab = Lab::new();
    let x = lab.param("x", &[7], -3.0, 3.0);
    let y = lab.g.erf(&x).unwrap();
    let loss = lab.g.sum_all(&y).unwrap();
    let gradient = lab.g.gradients(&loss, &[x]).unwrap().remove(0);
    lab.g.output("slope", &gradient).unwrap();
    let slope = &lab
        .g
        .run_f64(&lab.feeds, &lab.states64(), KEY)
        .unwrap()
        .outputs["slope"];
    for (x, slope) in lab.states["x"].iter().zip(slope) {
        let x = f64::from(*x);
        let exact = std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp();
        assert!(
            (slope - exact).abs() <= 1e-6 * exact,
            "{x}: {slope} {exact}"
        );
    }
}

#[test]
fn views_and_reductions() {
    unary(-1.0, 1.0, |g, x| g.expand(x, &[2, 2, 4, 3]));
    unary(-1.0, 1.0, |g, x| {
        let cut = g.slice(x, 2, 1, 3)?;
        let square = g.square(&cut)?;
        g.pad(&square, 2, 2, 1)
    });
    unary(-1.0, 1.0, |g, x| {
        let turned = g.permute(x, &[2, 1, 0])?;
        let product = g.mul(&turned, &turned)?;
        let back = g.transpose(&product, 0, 2)?;
        g.concat(&[&back, x, &back], 0)
    });
    unary(-1.0, 1.0, |g, x| {
        let joined = g.concat(&[x, x], 1)?;
        let flat = g.reshape(&joined, &[3, 4])?;
        g.max(&flat, &[1], false)
    });
    unary(-1.0, 1.0, |g, x| g.variance(x, &[0, 2], true));
    unary(-1.0, 1.0, |g, x| {
        let wide = g.expand(x, &[2, 5, 3])?;
        let sum = g.sum(&wide, &[1], true)?;
        let product = g.mul(&sum, &wide)?;
        g.mean(&product, &[1, 2], false)
    });
    unary(-1.0, 1.0, |g, x| {
        let whole = g.contiguous(x)?;
        let cut = g.slice(&whole, 0, 1, 2)?;
        let row = g.squeeze(&cut, 0)?;
        let wide = g.expand(&row, &[4, 3])?;
        let e = g.exp(&wide)?;
        g.reshape(&e, &[2, 6])
    });
}

#[test]
fn blocks() {
    unary(-3.0, 3.0, |g, x| g.softmax(x, 2));
    unary(-3.0, 3.0, |g, x| g.softmax(x, 0));
    unary(-3.0, 3.0, |g, x| g.log_softmax(x, 2));
    unary(-3.0, 3.0, |g, x| g.dropout(x, 0.4, "dropout/x"));
    let mut lab = Lab::new();
    let x = lab.param("x", &[3, 5], -2.0, 2.0);
    let gamma = lab.param("gamma", &[5], 0.5, 1.5);
    let beta = lab.param("beta", &[5], -0.5, 0.5);
    let y = lab.g.layer_norm(&x, &gamma, &beta, 1e-5);
    gradcheck(lab, y);
    let mut lab = Lab::new();
    let logits = lab.param("logits", &[2, 3, 4], -2.0, 2.0);
    let labels = lab.indices("labels", &[2, 3], 4, &[0.0, 3.0, 2.0, 2.0, 1.0, 0.0]);
    lab.feeds.set("w", vec![1.0, 0.0, 2.0, 1.0, 0.0, 1.0]);
    let w = lab.g.input("w", &[2, 3]).unwrap();
    let y = lab.g.cross_entropy(&logits, &labels, Some(&w));
    gradcheck(lab, y);
}

#[test]
fn products_and_look_ups() {
    for batch in [vec![], vec![2], vec![2, 1, 3, 1]] {
        let mut lab = Lab::new();
        let a = lab.param("a", &[batch.clone(), vec![3, 4]].concat(), -1.0, 1.0);
        let b = lab.param("b", &[2, 5, 4], -1.0, 1.0);
        let y = lab.g.matmul_t(&a, &b);
        gradcheck(lab, y);
    }
    let mut lab = Lab::new();
    let x = lab.param("x", &[2, 3, 4], -1.0, 1.0);
    let w = lab.param("w", &[5, 4], -1.0, 1.0);
    let b = lab.param("b", &[5], -1.0, 1.0);
    let y = lab.g.linear(&x, &w, Some(&b));
    gradcheck(lab, y);
    let mut lab = Lab::new();
    let table = lab.param("table", &[5, 3], -1.0, 1.0);
    let index = lab.indices(
        "index",
        &[2, 4],
        5,
        &[0.0, 4.0, 4.0, 2.0, 1.0, 4.0, 0.0, 0.0],
    );
    let y = lab.g.gather(&table, &index);
    gradcheck(lab, y);
    let mut lab = Lab::new();
    let table = lab.param("table", &[3, 2], -1.0, 1.0);
    let index = lab.indices("index", &[5], 4, &[0.0, 3.0, 2.0, 3.0, 2.0]);
    let y = lab.g.gather_or_zero(&table, &index);
    gradcheck(lab, y);
}

#[test]
fn two_operands() {
    type Binary = fn(&mut Graph, &Tensor, &Tensor) -> Result<Tensor>;
    let ops: [Binary; 7] = [
        |g, a, b| g.add(a, b),
        |g, a, b| g.sub(a, b),
        |g, a, b| g.mul(a, b),
        |g, a, b| g.div(a, b),
        |g, a, b| g.maximum(a, b),
        |g, a, b| g.minimum(a, b),
        |g, a, b| {
            let less = g.less(a, b)?;
            g.select(&less, a, b)
        },
    ];
    for op in ops {
        let mut lab = Lab::new();
        let a = lab.param("a", &[2, 1, 3], 0.5, 2.0);
        let b = lab.param("b", &[4, 1], 0.5, 2.0);
        let y = op(&mut lab.g, &a, &b);
        gradcheck(lab, y);
    }
}

/// Gradient of `loss` with respect to `x`, on stock luminal.
fn gradient(mut lab: Lab, loss: &Tensor, x: &Tensor) -> Vec<f32> {
    let gradient = lab
        .g
        .gradients(loss, std::slice::from_ref(x))
        .unwrap()
        .remove(0);
    lab.both(&gradient).0
}

#[test]
fn a_maximum_shares_its_gradient_among_ties() {
    let mut lab = Lab::new();
    let x = lab.param_of("x", &[2, 4], vec![1.0, 3.0, 3.0, 3.0, 0.0, -1.0, 0.0, -2.0]);
    let max = lab.g.max(&x, &[1], false).unwrap();
    let loss = lab.g.sum_all(&max).unwrap();
    let third = 1.0 / 3.0;
    let got = gradient(lab, &loss, &x);
    let want = [0.0, third, third, third, 0.5, 0.0, 0.5, 0.0];
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 1e-7, "{got:?}");
    }
    // elementwise too
    let mut lab = Lab::new();
    let x = lab.param_of("x", &[3], vec![1.0, 2.0, 3.0]);
    let two = lab.g.scalar(2.0);
    let max = lab.g.maximum(&x, &two).unwrap();
    let loss = lab.g.sum_all(&max).unwrap();
    assert_eq!(gradient(lab, &loss, &x), [0.0, 0.5, 1.0]);
}

#[test]
fn a_selection_keeps_the_other_branch_out_of_the_gradient() {
    let mut lab = Lab::new();
    let x = lab.param_of("x", &[3], vec![-1e30, 2.0, -3.0]);
    let zero = lab.g.scalar(0.0);
    let positive = lab.g.greater(&x, &zero).unwrap();
    // the documented way: make the argument safe, then select
    let safe = lab.g.maximum(&x, &zero).unwrap();
    let safe = lab.g.add_scalar(&safe, 1.0).unwrap();
    let log = lab.g.log(&safe).unwrap();
    let y = lab.g.select(&positive, &log, &x).unwrap();
    let loss = lab.g.sum_all(&y).unwrap();
    let got = gradient(lab, &loss, &x);
    assert_eq!((got[0], got[2]), (1.0, 1.0));
    assert!((got[1] - 1.0 / 3.0).abs() < 1e-6);
}

#[test]
fn nothing_flows_through_a_stopped_gradient() {
    let mut lab = Lab::new();
    let x = lab.param_of("x", &[2], vec![3.0, 5.0]);
    let fixed = lab.g.stop_gradient(&x).unwrap();
    let product = lab.g.mul(&x, &fixed).unwrap();
    let loss = lab.g.sum_all(&product).unwrap();
    assert_eq!(gradient(lab, &loss, &x), [3.0, 5.0]);
}

#[test]
fn a_gradient_may_be_taken_of_inner_tensors_and_again() {
    let mut lab = Lab::new();
    let x = lab.param_of("x", &[2], vec![2.0, 3.0]);
    let square = lab.g.square(&x).unwrap();
    let cube = lab.g.mul(&square, &x).unwrap();
    let loss = lab.g.sum_all(&cube).unwrap();
    let both = lab
        .g
        .gradients(&loss, &[x.clone(), square.clone()])
        .unwrap();
    let first = lab.g.sum_all(&both[0]).unwrap();
    let second = lab
        .g
        .gradients(&first, std::slice::from_ref(&x))
        .unwrap()
        .remove(0);
    let all = lab.g.concat(&[&both[0], &both[1], &second], 0).unwrap();
    assert_eq!(lab.both(&all).0, [12.0, 27.0, 2.0, 3.0, 12.0, 18.0]);
}

#[test]
fn cut_off_parameters_are_named() {
    let mut g = Graph::new();
    let used = g.parameter("used", &[2]).unwrap();
    let lost = g.parameter("lost", &[2]).unwrap();
    let masked = g.parameter("masked", &[2]).unwrap();
    let stopped = g.parameter("stopped", &[2]).unwrap();
    let mask = g.less(&masked, &used).unwrap();
    let still = g.stop_gradient(&stopped).unwrap();
    let y = g.mul(&used, &mask).unwrap();
    let y = g.add(&y, &still).unwrap();
    let loss = g.sum_all(&y).unwrap();
    let error = g
        .gradients(&loss, &[used, lost, masked, stopped])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the loss never reaches `lost`, `masked`, `stopped`: it would not be trained"
    );
}

#[test]
fn a_missing_rule_names_the_op() {
    let mut g = Graph::new();
    let x = g.parameter("x", &[2]).unwrap();
    let two = g.scalar(2.0);
    let y = g.scoped("odd", |g| g.modulo(&x, &two)).unwrap();
    let loss = g.sum_all(&y).unwrap();
    let error = g.gradients(&loss, std::slice::from_ref(&x)).unwrap_err();
    assert!(
        matches!(&error, GraphError::NoRule { op, .. } if op == "Mod"),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "no gradient rule for the op Mod (in odd)"
    );
    // off the path it does no harm
    let y = g.sum_all(&x).unwrap();
    g.gradients(&y, &[x]).unwrap();
}

#[test]
fn backward_nodes_carry_the_scope_of_their_forward_node() {
    let mut g = Graph::new();
    let x = g.parameter("x", &[2]).unwrap();
    let y = g
        .scoped("layer", |g| g.scoped("inner", |g| g.sqrt(&x)))
        .unwrap();
    let loss = g.scoped("loss", |g| g.sum_all(&y)).unwrap();
    let gradient = g.gradients(&loss, &[x]).unwrap().remove(0);
    g.output("d", &gradient).unwrap();
    let lowered = g.lower().unwrap();
    let backward: Vec<_> = lowered
        .nodes
        .iter()
        .filter(|n| n.phase == Phase::Backward && !n.inputs.is_empty())
        .collect();
    assert_eq!(backward.len(), 2);
    assert!(
        backward.iter().all(|n| &*n.scope == "layer.inner"),
        "{backward:#?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A chain of random ops over a random shape: analytic equals numeric.
    #[test]
    fn random_chains(
        shape in prop::collection::vec(1usize..4, 1..4),
        ops in prop::collection::vec(0usize..12, 1..6),
    ) {
        let mut lab = Lab::new();
        let values = numbers("x", shape.iter().product(), 0.3, 1.2);
        let x = lab.param_of("x", &shape, values);
        let mut y = x.clone();
        for op in ops {
            let g = &mut lab.g;
            let last = y.rank().saturating_sub(1);
            y = match op {
                // bounded, so that the chain stays well conditioned
                0 => { let sin = g.sin(&y).unwrap(); g.exp(&sin) }
                1 => g.tanh(&y),
                2 => g.gelu(&y),
                3 if y.rank() > 0 => g.softmax(&y, last),
                4 if y.rank() > 0 => g.sum(&y, &[0], true),
                5 if y.rank() > 1 => g.transpose(&y, 0, last),
                6 => g.mul(&y, &x).or(Ok(y)),
                7 if y.rank() > 0 => g.concat(&[&y, &y], last),
                8 if y.rank() > 0 && y.size(last) > 1 => g.slice(&y, last, 1, y.size(last)),
                9 if y.rank() > 0 => g.pad(&y, last, 1, 0),
                10 => { let n = y.elements(); g.reshape(&y, &[n]) }
                _ => g.sin(&y),
            }.unwrap();
        }
        // softmax alone sums to a constant: keep the gradient away from zero
        let direct = lab.g.sum_all(&x).unwrap();
        let flat = mixed(&mut lab.g, &y);
        let y = lab.g.add(&flat, &direct);
        gradcheck(lab, y);
    }
}
