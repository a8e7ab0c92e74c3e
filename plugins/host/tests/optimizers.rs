//! The built-in optimizers against PyTorch's formulas, written down again in f64.

mod common;

use std::collections::BTreeMap;

use ablate_bert::{ParameterSpec, Role};
use ablate_compiler::compile;
use ablate_host::Registry;
use ablate_train::graphs::update_variant;
use ablate_train::Optimizer;
use common::{assert_close, gradients, spec, trajectory};
use serde_json::{json, Value};

const START: [f32; 5] = [0.5, -1.25, 3.0, 0.0, -0.01];
const STEPS: usize = 12;
const RATE: f64 = 0.02;

fn found(name: &str, config: &Value, decays: bool) -> Vec<Vec<f32>> {
    let registry = Registry::with_builtins().unwrap();
    let mut optimizer = registry.make_optimizer(name, config).unwrap();
    trajectory(
        &mut optimizer,
        &START,
        &gradients(STEPS, START.len()),
        RATE,
        decays,
    )
}

/// `torch.optim.AdamW`, single tensor, in f64.
fn adamw(betas: [f64; 2], eps: f64, decay: f64, correct: bool) -> Vec<Vec<f64>> {
    let mut p: Vec<f64> = START.iter().map(|x| f64::from(*x)).collect();
    let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
    let mut all = vec![];
    for (g, t) in gradients(STEPS, p.len()).iter().zip(1..) {
        let (c1, c2) = if correct {
            (1.0 - betas[0].powi(t), 1.0 - betas[1].powi(t))
        } else {
            (1.0, 1.0)
        };
        for i in 0..p.len() {
            let g = f64::from(g[i]);
            p[i] *= 1.0 - RATE * decay;
            m[i] += (g - m[i]) * (1.0 - betas[0]);
            v[i] = betas[1] * v[i] + (1.0 - betas[1]) * g * g;
            p[i] -= RATE / c1 * m[i] / (v[i].sqrt() / c2.sqrt() + eps);
        }
        all.push(p.clone());
    }
    all
}

/// `torch.optim.SGD`, single tensor, in f64.
fn sgd(momentum: f64, dampening: f64, decay: f64, nesterov: bool) -> Vec<Vec<f64>> {
    let mut p: Vec<f64> = START.iter().map(|x| f64::from(*x)).collect();
    let mut buffer: Option<Vec<f64>> = None;
    let mut all = vec![];
    for g in gradients(STEPS, p.len()) {
        let mut d: Vec<f64> = g
            .iter()
            .zip(&p)
            .map(|(g, p)| f64::from(*g) + decay * p)
            .collect();
        if momentum != 0.0 {
            let next = match &buffer {
                None => d.clone(),
                Some(b) => b
                    .iter()
                    .zip(&d)
                    .map(|(b, d)| momentum * b + (1.0 - dampening) * d)
                    .collect(),
            };
            if nesterov {
                d.iter_mut()
                    .zip(&next)
                    .for_each(|(d, b)| *d += momentum * b);
            } else {
                d.clone_from(&next);
            }
            buffer = Some(next);
        }
        p.iter_mut().zip(&d).for_each(|(p, d)| *p -= RATE * d);
        all.push(p.clone());
    }
    all
}

fn compare(found: &[Vec<f32>], expected: &[Vec<f64>], what: &str) {
    for (t, (a, b)) in found.iter().zip(expected).enumerate() {
        assert_close(a, b, 2e-6, &format!("{what}, step {}", t + 1));
    }
}

#[test]
fn adamw_is_pytorchs() {
    compare(
        &found("adamw", &json!({}), true),
        &adamw([0.9, 0.999], 1e-8, 0.01, true),
        "defaults",
    );
    let config =
        json!({"betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.3, "bias_correction": false});
    compare(
        &found("adamw", &config, true),
        &adamw([0.8, 0.95], 1e-3, 0.3, false),
        "uncorrected",
    );
    let config = json!({"weight_decay": 0.3});
    compare(
        &found("adamw", &config, false),
        &adamw([0.9, 0.999], 1e-8, 0.0, true),
        "no decay",
    );
}

#[test]
fn sgd_is_pytorchs() {
    compare(
        &found("sgd", &json!({}), true),
        &sgd(0.0, 0.0, 0.0, false),
        "plain",
    );
    compare(
        &found("sgd", &Value::Null, true),
        &sgd(0.0, 0.0, 0.0, false),
        "null is no configuration",
    );
    let config = json!({"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1});
    compare(
        &found("sgd", &config, true),
        &sgd(0.9, 0.5, 0.1, false),
        "dampened",
    );
    let config = json!({"momentum": 0.8, "nesterov": true, "weight_decay": 0.1});
    compare(
        &found("sgd", &config, true),
        &sgd(0.8, 0.0, 0.1, true),
        "nesterov",
    );
    compare(
        &found("sgd", &config, false),
        &sgd(0.8, 0.0, 0.0, true),
        "no decay",
    );
}

#[test]
fn configurations_are_refused_by_key_and_unknown_names_listed() {
    let registry = Registry::with_builtins().unwrap();
    for (config, part) in [
        (json!({"learning_rate": 0}), "learning_rate"),
        (json!({"betas": [0.9, 1.0]}), "betas"),
        (json!({"lr": 0.1}), "unknown field `lr`"),
        (json!({"eps": "small"}), "invalid type: string"),
        (json!([1]), "is an object, not [1]"),
    ] {
        let error = registry
            .make_optimizer("adamw", &config)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = registry
        .make_optimizer("adamx", &json!({}))
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        error,
        "there is no optimizer called `adamx`; there are: adafactor, adagrad, adam, adamw, lamb, lion, \
         muon, rmsprop, sgd, shampoo"
    );
}

#[test]
fn the_base_learning_rate_is_the_configurations() {
    let registry = Registry::with_builtins().unwrap();
    let sgd = registry
        .make_optimizer("sgd", &json!({"learning_rate": 0.25}))
        .unwrap();
    assert_eq!((sgd.name(), sgd.base_learning_rate()), ("sgd", 0.25));
    assert!(sgd.slots(&spec(&[2, 3], true)).unwrap().is_empty());
    let adamw = registry.make_optimizer("adamw", &Value::Null).unwrap();
    let slots = adamw.slots(&spec(&[2, 3], true)).unwrap();
    assert_eq!(
        slots.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["exp_avg", "exp_avg_sq"]
    );
    assert!(slots.iter().all(|s| s.shape == [2, 3] && s.initial == 0.0));
}

/// Kernels of the update of one matrix and one vector of the encoder, by kind, the norm for clipping
/// included.
fn kernels(name: &str, config: &Value, variant: u32) -> BTreeMap<String, usize> {
    let registry = Registry::with_builtins().unwrap();
    let mut optimizer = registry.make_optimizer(name, config).unwrap();
    let specs = [
        ParameterSpec::new("bert.a.weight", &[24, 40], Role::Weight),
        ParameterSpec::new("bert.a.bias", &[24], Role::Bias),
    ];
    let (graph, _) = update_variant(&specs, &mut optimizer, Some(1.0), variant).unwrap();
    let program = compile(&graph.lower().unwrap()).unwrap();
    let mut all = BTreeMap::new();
    for ((_, kind), n) in program.counts() {
        *all.entry(kind.to_owned()).or_insert(0) += n;
    }
    all
}

#[test]
fn an_elementwise_update_is_one_kernel_a_parameter() {
    let decay = json!({"weight_decay": 0.1});
    let mut found = String::new();
    for (name, config, variant) in [
        (
            "sgd",
            json!({"momentum": 0.9, "nesterov": true, "weight_decay": 0.1}),
            0,
        ),
        ("adagrad", decay.clone(), 0),
        (
            "rmsprop",
            json!({"momentum": 0.9, "centered": true, "weight_decay": 0.1}),
            0,
        ),
        ("adam", json!({"amsgrad": true, "weight_decay": 0.1}), 0),
        ("adamw", json!({"amsgrad": true}), 0),
        ("lion", decay.clone(), 0),
        ("lamb", json!({}), 0),
        ("adafactor", decay.clone(), 0),
        ("muon", json!({}), 0),
        ("shampoo", decay.clone(), 0),
        ("shampoo", decay, 1),
    ] {
        let kernels = kernels(name, &config, variant);
        found.push_str(&format!("{name:9} graph {variant}: {kernels:?}\n"));
        // One pass over each parameter; the two rows are the sums of squares that clipping needs.
        let elementwise = ["sgd", "adagrad", "rmsprop", "adam", "adamw", "lion"];
        if elementwise.contains(&name) {
            let one_each = BTreeMap::from([("elementwise".to_owned(), 2), ("row".to_owned(), 2)]);
            assert_eq!(kernels, one_each, "{name}");
        }
    }
    insta::assert_snapshot!(found);
}
