//! A small BERT-like network with every block: gradients of all parameters.

use crate::support::{Lab, KEY};
use ablate_graph::gradcheck::{check, Options};
use ablate_graph::Tensor;

struct Sizes {
    batch: usize,
    seq: usize,
    hidden: usize,
    heads: usize,
    ffn: usize,
    vocab: usize,
    layers: usize,
}

fn dense(lab: &mut Lab, name: &str, x: &Tensor, out: usize) -> Tensor {
    let width = x.size(x.rank() - 1);
    let w = lab.param(&format!("{name}.weight"), &[out, width], -0.3, 0.3);
    let b = lab.param(&format!("{name}.bias"), &[out], -0.1, 0.1);
    lab.g.linear(x, &w, Some(&b)).unwrap()
}

fn norm(lab: &mut Lab, name: &str, x: &Tensor) -> Tensor {
    let width = x.size(x.rank() - 1);
    let gamma = lab.param(&format!("{name}.gamma"), &[width], 0.8, 1.2);
    let beta = lab.param(&format!("{name}.beta"), &[width], -0.1, 0.1);
    lab.g.layer_norm(x, &gamma, &beta, 1e-5).unwrap()
}

fn layer(lab: &mut Lab, s: &Sizes, l: usize, x: &Tensor, mask: &Tensor) -> Tensor {
    let dim = s.hidden / s.heads;
    let mut qkv = Vec::new();
    for name in ["query", "key", "value"] {
        let y = dense(lab, &format!("{l}.{name}"), x, s.hidden);
        let y = lab.g.reshape(&y, &[s.batch, s.seq, s.heads, dim]).unwrap();
        qkv.push(lab.g.permute(&y, &[0, 2, 1, 3]).unwrap());
    }
    let scores = lab.g.matmul_t(&qkv[0], &qkv[1]).unwrap();
    let scores = lab
        .g
        .mul_scalar(&scores, 1.0 / (dim as f32).sqrt())
        .unwrap();
    let scores = lab.g.add(&scores, mask).unwrap();
    let p = lab.g.softmax(&scores, 3).unwrap();
    let p = lab.g.dropout(&p, 0.1, &format!("dropout/{l}.p")).unwrap();
    let y = lab.g.matmul(&p, &qkv[2]).unwrap();
    let y = lab.g.permute(&y, &[0, 2, 1, 3]).unwrap();
    let y = lab.g.reshape(&y, &[s.batch, s.seq, s.hidden]).unwrap();
    let y = dense(lab, &format!("{l}.out"), &y, s.hidden);
    let y = lab.g.add(&y, x).unwrap();
    let x = norm(lab, &format!("{l}.norm1"), &y);
    let y = dense(lab, &format!("{l}.up"), &x, s.ffn);
    let y = lab.g.gelu(&y).unwrap();
    let y = dense(lab, &format!("{l}.down"), &y, s.hidden);
    let y = lab.g.add(&y, &x).unwrap();
    norm(lab, &format!("{l}.norm2"), &y)
}

/// Builds the network with gradients; returns (parameter, output) names.
fn build(lab: &mut Lab, s: &Sizes) -> Vec<(String, String)> {
    let n = s.batch * s.seq;
    let cycle = |k: usize, bound: usize| -> Vec<f32> {
        (0..n).map(|i| ((i * k + 1) % bound) as f32).collect()
    };
    let ids = lab.indices("ids", &[s.batch, s.seq], s.vocab, &cycle(7, s.vocab));
    let labels = lab.indices("labels", &[s.batch, s.seq], s.vocab, &cycle(3, s.vocab));
    let keep = (0..n).map(|i| f32::from(i % s.seq < s.seq - 1)).collect();
    lab.feeds.set("keep", keep);
    let keep = lab.g.input("keep", &[s.batch, s.seq]).unwrap();
    let word = lab.param("word", &[s.vocab, s.hidden], -0.3, 0.3);
    let position = lab.param("position", &[s.seq + 2, s.hidden], -0.3, 0.3);
    let x = lab.g.gather(&word, &ids).unwrap();
    let p = lab.g.slice(&position, 0, 0, s.seq).unwrap();
    let x = lab.g.add(&x, &p).unwrap();
    let mut x = norm(lab, "norm", &x);
    let mask = lab.g.add_scalar(&keep, -1.0).unwrap();
    let mask = lab.g.mul_scalar(&mask, 1e4).unwrap();
    let mask = lab.g.reshape(&mask, &[s.batch, 1, 1, s.seq]).unwrap();
    for l in 0..s.layers {
        x = layer(lab, s, l, &x, &mask);
    }
    let decoder = lab.param("decoder.bias", &[s.vocab], -0.1, 0.1);
    let logits = lab.g.linear(&x, &word, Some(&decoder)).unwrap();
    let mlm = lab.g.cross_entropy(&logits, &labels, Some(&keep)).unwrap();
    let mlm = lab.g.sum_all(&mlm).unwrap();
    let first = lab.g.slice(&x, 1, 0, 1).unwrap();
    let first = lab.g.squeeze(&first, 1).unwrap();
    let pooled = dense(lab, "pooler", &first, s.hidden);
    let pooled = lab.g.tanh(&pooled).unwrap();
    let two = dense(lab, "nsp", &pooled, 2);
    let next = lab.indices("next", &[s.batch], 2, &cycle(1, 2)[..s.batch]);
    let nsp = lab.g.cross_entropy(&two, &next, None).unwrap();
    let nsp = lab.g.sum_all(&nsp).unwrap();
    let loss = lab.g.add(&mlm, &nsp).unwrap();
    lab.g.output("loss", &loss).unwrap();
    let parameters = lab.g.parameters().to_vec();
    let wrt: Vec<Tensor> = parameters.iter().map(|p| p.1.clone()).collect();
    let gradients = lab.g.gradients(&loss, &wrt).unwrap();
    let mut pairs = Vec::new();
    for ((name, _), gradient) in parameters.into_iter().zip(&gradients) {
        let output = format!("d {name}");
        lab.g.output(&output, gradient).unwrap();
        pairs.push((name, output));
    }
    pairs
}

const TINY: Sizes = Sizes {
    batch: 2,
    seq: 5,
    hidden: 6,
    heads: 2,
    ffn: 9,
    vocab: 11,
    layers: 2,
};

#[test]
fn every_parameter_passes_the_gradient_check() {
    let mut lab = Lab::new();
    let pairs = build(&mut lab, &TINY);
    let states = lab.states64();
    let options = Options {
        samples_per_tensor: 4,
        ..Options::default()
    };
    let rows = check(&lab.g, "loss", &pairs, &states, &lab.feeds, KEY, options).unwrap();
    assert_eq!(rows.len(), 2 + 2 + 2 * 16 + 5);
    for row in &rows {
        // a key's bias moves all scores of a row alike: its gradient is zero
        if row.parameter.ends_with("key.bias") {
            assert!(row.max_absolute_error < 1e-8, "{row:?}");
        } else {
            // the constants of the graph are f32 numbers, and cancel in the cross-entropy
            assert!(row.max_relative_error < 5e-5, "{row:?}");
            assert!(row.gradient_rms > 1e-6, "{row:?}");
        }
    }
}

#[test]
fn stock_luminal_agrees_with_f64() {
    let mut lab = Lab::new();
    build(&mut lab, &TINY);
    let states = lab.states64();
    let wide = lab.g.run_f64(&lab.feeds, &states, KEY).unwrap();
    let stock = lab.g.run_reference(&lab.feeds, &lab.states, KEY).unwrap();
    for (name, want) in &wide.outputs {
        let norm = want.iter().map(|v| v * v).sum::<f64>().sqrt();
        let error: f64 = want
            .iter()
            .zip(&stock.outputs[name])
            .map(|(a, b)| (a - f64::from(*b)).powi(2))
            .sum();
        let limit = if name.ends_with("key.bias") {
            1.0
        } else {
            norm
        };
        assert!(error.sqrt() <= 1e-5 * limit, "{name}: {error} of {norm}");
    }
}

#[test]
fn a_wrong_gradient_is_caught() {
    let mut lab = Lab::new();
    let x = lab.param("x", &[3], 0.5, 1.0);
    let y = lab.g.square(&x).unwrap();
    let loss = lab.g.sum_all(&y).unwrap();
    lab.g.output("loss", &loss).unwrap();
    let wrong = lab.g.mul_scalar(&x, 2.002).unwrap();
    lab.g.output("d", &wrong).unwrap();
    let pairs = [("x".to_owned(), "d".to_owned())];
    let states = lab.states64();
    let rows = check(
        &lab.g,
        "loss",
        &pairs,
        &states,
        &lab.feeds,
        KEY,
        Options::default(),
    )
    .unwrap();
    assert!((rows[0].max_relative_error - 1e-3).abs() < 1e-5, "{rows:?}");
}

/// Beside a gradient of 1, one of 1e-8 can still be told right from 1 % wrong, and missing from zero.
#[test]
fn a_tiny_gradient_is_checked_as_strictly() {
    let check_with = |factor: f32| {
        let mut lab = Lab::new();
        let large = lab.param("large", &[3], 0.5, 1.0);
        let small = lab.param("small", &[3], 0.5, 1.0);
        let weak = lab.g.square(&small).unwrap();
        let weak = lab.g.mul_scalar(&weak, 1e-8).unwrap();
        let y = lab.g.square(&large).unwrap();
        let y = lab.g.add(&y, &weak).unwrap();
        let loss = lab.g.sum_all(&y).unwrap();
        lab.g.output("loss", &loss).unwrap();
        let gradient = lab.g.mul_scalar(&small, factor).unwrap();
        lab.g.output("d", &gradient).unwrap();
        let pairs = [("small".to_owned(), "d".to_owned())];
        let states = lab.states64();
        let options = Options::default();
        check(&lab.g, "loss", &pairs, &states, &lab.feeds, KEY, options)
            .unwrap()
            .remove(0)
    };
    let right = check_with(2e-8);
    assert!(right.max_relative_error < 1e-6 && !right.zero, "{right:?}");
    let wrong = check_with(2.02e-8);
    assert!((wrong.max_relative_error - 0.01).abs() < 1e-3, "{wrong:?}");
    let missing = check_with(0.0);
    assert!(
        missing.max_relative_error > 0.9 && !missing.zero,
        "{missing:?}"
    );
}
