//! The built-in objectives through the host: which tokens are hidden, and their heads and losses
//! against formulas written down again in f64.

mod common;

use std::collections::BTreeMap;

use ablate_bert::{initial_values, BertConfig, Encoder, Init, ParameterSpec};
use ablate_graph::{Feeds, Graph, RandomKey, RunResult64};
use ablate_host::{ObjectivePlugin, Registry};
use ablate_train::{Feature, Objective, ObjectiveContext, PreparedBatch, IGNORED};
use common::{batch, MASK, SPECIAL, VOCAB};
use serde_json::{json, Value};

fn objective(name: &str, config: Value) -> ObjectivePlugin {
    Registry::with_builtins()
        .unwrap()
        .make_objective(name, &config)
        .unwrap()
}

fn labels(batch: &PreparedBatch) -> &[i64] {
    match &batch.features["labels"] {
        Feature::PerToken(labels) | Feature::PerSequence(labels) => labels,
    }
}

#[test]
fn a_coin_per_token_hides_15_percent_and_replaces_80_10_10() {
    let (original, mut masked) = (batch(400, 402, 60, 64, 1), batch(400, 402, 60, 64, 1));
    let units = objective("mlm", json!({})).prepare(&mut masked).unwrap();
    let labels = labels(&masked);
    let (mut hidden, mut mask, mut kept, mut random) = (0.0, 0.0, 0.0, 0.0);
    for (i, label) in labels.iter().enumerate() {
        let (before, after) = (original.input_ids[i], masked.input_ids[i]);
        if *label == IGNORED {
            assert_eq!(before, after);
            continue;
        }
        assert!(!original.special_tokens_mask[i] && original.attention_mask[i] == 1);
        assert_eq!(*label, before);
        hidden += 1.0;
        if after == MASK {
            mask += 1.0;
        } else if after == before {
            kept += 1.0;
        } else {
            assert!(!SPECIAL.contains(&after), "a special token as a random one");
            random += 1.0;
        }
    }
    assert_eq!(units, hidden);
    // 400 rows of 58 words: the standard deviations are 0.0023, and 0.0068 and 0.0051 of the hidden.
    let words = 400.0 * 58.0;
    assert!(
        (hidden / words - 0.15f64).abs() < 0.01,
        "{}",
        hidden / words
    );
    assert!((mask / hidden - 0.8f64).abs() < 0.03, "{}", mask / hidden);
    // One random token in 45 is the original one by chance.
    assert!(
        (random / hidden - 0.1f64 * 44.0 / 45.0).abs() < 0.025,
        "{}",
        random / hidden
    );
    assert!(
        (kept / hidden - 0.1f64 * 46.0 / 45.0).abs() < 0.025,
        "{}",
        kept / hidden
    );
}

#[test]
fn exact_selection_counts_like_google() {
    // round(0.15 * length), at least one, of the length with [CLS] and [SEP].
    for (length, limit, count) in [(60, None, 9), (10, None, 2), (3, None, 1), (60, Some(5), 5)] {
        let mut config = json!({"selection": "exact"});
        if let Some(limit) = limit {
            config["max_predictions"] = json!(limit);
        }
        let mut b = batch(50, 51, length, 64, 2);
        let units = objective("mlm", config).prepare(&mut b).unwrap();
        assert_eq!(units, f64::from(count * 50));
        let mut used = vec![0; 64];
        for row in labels(&b)[..50 * 64].chunks(64) {
            assert_eq!(
                row.iter().filter(|l| **l != IGNORED).count(),
                count as usize
            );
            (0..64)
                .filter(|i| row[*i] != IGNORED)
                .for_each(|i| used[i] += 1);
        }
        // Every word has its turn.
        if length == 60 && limit.is_none() {
            assert!(used[1..59].iter().all(|n| *n > 0), "{used:?}");
        }
    }
}

#[test]
fn a_row_is_hidden_by_its_own_key_alone() {
    let row = |b: &PreparedBatch, r: usize| {
        (
            labels(b)[r * 32..][..32].to_vec(),
            b.input_ids[r * 32..][..32].to_vec(),
        )
    };
    for config in [json!({}), json!({"selection": "exact"})] {
        let (mut a, mut b) = (batch(6, 6, 30, 32, 3), batch(6, 6, 30, 32, 3));
        // The same examples in another order.
        for (x, y) in [(0, 5), (2, 3)] {
            b.row_keys.swap(x, y);
            (0..32).for_each(|i| b.input_ids.swap(x * 32 + i, y * 32 + i));
        }
        let mut mlm = objective("mlm", config);
        mlm.prepare(&mut a).unwrap();
        mlm.prepare(&mut b).unwrap();
        for (x, y) in [(0, 5), (5, 0), (2, 3), (1, 1)] {
            assert_eq!(row(&a, x), row(&b, y));
        }
        // The next epoch's key hides other tokens.
        let mut next = batch(6, 6, 30, 32, 3);
        next.row_keys
            .iter_mut()
            .for_each(|key| *key = key.wrapping_add(1));
        mlm.prepare(&mut next).unwrap();
        assert_ne!(labels(&a), labels(&next));
    }
}

#[test]
fn nsp_copies_the_labels_of_the_pairs() {
    let mut nsp = objective("nsp", json!({"weight": 0.5}));
    assert!(nsp.needs_pairs() && nsp.weight() == 0.5 && !objective("mlm", json!({})).needs_pairs());
    let mut b = batch(3, 4, 8, 8, 1);
    assert_eq!(nsp.prepare(&mut b).unwrap(), 3.0);
    assert_eq!(labels(&b), [0, 1, 0, IGNORED]);
    b.next_sentence_label = None;
    assert!(nsp
        .prepare(&mut b)
        .unwrap_err()
        .to_string()
        .contains("no sentence pairs"));
}

#[test]
fn malformed_batches_are_refused_before_a_plugin_sees_them() {
    let mut b = batch(2, 3, 8, 8, 1);
    b.row_keys.pop();
    let error = objective("mlm", json!({}))
        .prepare(&mut b)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`row_keys` has 2 elements, not 3"),
        "{error}"
    );
}

const BATCH: usize = 3;
const SEQ: usize = 6;
const PREDICTIONS: usize = 5;
const HIDDEN: usize = 8;

struct Built {
    run: RunResult64,
    values: BTreeMap<String, Vec<f64>>,
    heads: Vec<ParameterSpec>,
}

/// Builds a tiny encoder with one objective and evaluates it in f64.
fn build(name: &str, feeds: Feeds) -> Built {
    let config = BertConfig {
        vocab_size: VOCAB,
        hidden_size: HIDDEN,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 12,
        max_position_embeddings: SEQ,
        ..BertConfig::default()
    };
    let mut g = Graph::new();
    let mut encoder = Encoder::build(&mut g, &config, BATCH, SEQ, false).unwrap();
    let mut features = BTreeMap::new();
    let n = if name == "mlm" { PREDICTIONS } else { BATCH };
    if name == "mlm" {
        let positions = g.index_input("positions", &[n], BATCH * SEQ).unwrap();
        features.insert("labels.positions".to_owned(), positions);
    }
    features.insert("labels.values".to_owned(), g.input("values", &[n]).unwrap());
    features.insert(
        "labels.weights".to_owned(),
        g.input("weights", &[n]).unwrap(),
    );
    let mut cx = ObjectiveContext {
        graph: &mut g,
        encoder: &mut encoder,
        batch: BATCH,
        seq: SEQ,
        predictions: PREDICTIONS,
        training: false,
        features,
        parameters: vec![],
        heads: vec![],
        frozen: vec![],
    };
    let built = objective(name, json!({})).build(&mut cx).unwrap();
    let heads = std::mem::take(&mut cx.parameters);
    assert_eq!(built.metrics.len(), 1);
    assert_eq!(built.metrics[0].0, "accuracy");
    g.output("loss", &built.loss_sum).unwrap();
    g.output("accuracy", &built.metrics[0].1).unwrap();
    g.output("hidden", &encoder.hidden().clone()).unwrap();
    let pooled = encoder.pooled(&mut g).unwrap();
    g.output("pooled", &pooled).unwrap();

    let mut values = BTreeMap::new();
    for spec in encoder.parameters().iter().chain(&heads) {
        // Wide enough that predictions differ; biases and norms are moved off their start too.
        let mut drawn = initial_values(spec, &Init::Normal { std: 0.4 }, 3);
        drawn
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x += 0.05 * ((i * 7 % 5) as f32 - 2.0));
        values.insert(
            spec.name.clone(),
            drawn.into_iter().map(f64::from).collect(),
        );
    }
    let ids = |bound: usize| {
        (0..BATCH * SEQ)
            .map(|i| (i * 11 % bound) as f32)
            .collect::<Vec<_>>()
    };
    let feeds = feeds
        .with("input_ids", ids(VOCAB))
        .with("token_type_ids", ids(2))
        .with("attention_mask", vec![1.0; BATCH * SEQ]);
    let run = g
        .run_f64(&feeds, &values, RandomKey { seed: 1, step: 1 })
        .unwrap();
    Built { run, values, heads }
}

/// `x [.., in]` times `w [out, in]`, plus `b`.
fn linear(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let inputs = w.len() / b.len();
    x.chunks(inputs)
        .flat_map(|x| {
            w.chunks(inputs)
                .zip(b)
                .map(|(w, b)| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() + b)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Summed cross-entropy and number of rows whose label has the largest logit.
fn score(logits: &[f64], labels: &[usize], weights: &[f64]) -> (f64, f64) {
    let classes = logits.len() / labels.len();
    logits.chunks(classes).zip(labels).zip(weights).fold(
        (0.0, 0.0),
        |(loss, right), ((x, l), w)| {
            let max = x.iter().copied().fold(f64::MIN, f64::max);
            let norm = x.iter().map(|x| (x - max).exp()).sum::<f64>().ln() + max;
            (
                loss + w * (norm - x[*l]),
                right + if x[*l] == max { *w } else { 0.0 },
            )
        },
    )
}

/// The error function by its series, good to 1e-15 for the arguments here.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn the_mlm_head_is_berts() {
    let (positions, weights) = ([3usize, 9, 17, 4, 0], [1.0, 1.0, 1.0, 1.0, 0.0]);
    let run = |labels: &[usize]| {
        let feeds = Feeds::new()
            .with("positions", positions.iter().map(|p| *p as f32).collect())
            .with("values", labels.iter().map(|l| *l as f32).collect())
            .with("weights", weights.iter().map(|w| *w as f32).collect());
        build("mlm", feeds)
    };
    let built = run(&[7, 0, 49, 12, 0]);
    let v = |name: &str| &built.values[name];
    let hidden = &built.run.outputs["hidden"];
    let states: Vec<f64> = positions
        .iter()
        .flat_map(|p| hidden[p * HIDDEN..][..HIDDEN].to_vec())
        .collect();
    let states = linear(
        &states,
        v("cls.predictions.transform.dense.weight"),
        v("cls.predictions.transform.dense.bias"),
    );
    let states: Vec<f64> = states
        .iter()
        .map(|x| x * 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2)))
        .collect();
    let (gamma, beta) = (
        v("cls.predictions.transform.LayerNorm.weight"),
        v("cls.predictions.transform.LayerNorm.bias"),
    );
    let states: Vec<f64> = states
        .chunks(HIDDEN)
        .flat_map(|x| {
            let mean = x.iter().sum::<f64>() / HIDDEN as f64;
            let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / HIDDEN as f64;
            (0..HIDDEN)
                .map(|i| (x[i] - mean) / (var + 1e-12).sqrt() * gamma[i] + beta[i])
                .collect::<Vec<_>>()
        })
        .collect();
    let logits = linear(
        &states,
        v("bert.embeddings.word_embeddings.weight"),
        v("cls.predictions.bias"),
    );
    let (loss, right) = score(&logits, &[7, 0, 49, 12, 0], &weights);
    // The graph's erf is an approximation, good to about 1e-7.
    assert!(
        (built.run.outputs["loss"][0] - loss).abs() < 1e-5 * loss,
        "{loss}"
    );
    assert_eq!(built.run.outputs["accuracy"][0], right);

    // With the best classes as labels, every weighted position is right.
    let best: Vec<usize> = logits
        .chunks(VOCAB)
        .map(|x| (0..VOCAB).max_by(|a, b| x[*a].total_cmp(&x[*b])).unwrap())
        .collect();
    assert_eq!(run(&best).run.outputs["accuracy"], [4.0]);

    let names: Vec<_> = built
        .heads
        .iter()
        .map(|s| (s.name.as_str(), s.decays()))
        .collect();
    assert_eq!(
        names,
        [
            ("cls.predictions.transform.dense.weight", true),
            ("cls.predictions.transform.dense.bias", false),
            ("cls.predictions.transform.LayerNorm.weight", false),
            ("cls.predictions.transform.LayerNorm.bias", false),
            ("cls.predictions.bias", false),
        ]
    );
}

#[test]
fn the_nsp_head_is_berts() {
    let feeds = Feeds::new()
        .with("values", vec![1.0, 0.0, 0.0])
        .with("weights", vec![1.0, 1.0, 0.0]);
    let built = build("nsp", feeds);
    let v = |name: &str| &built.values[name];
    let logits = linear(
        &built.run.outputs["pooled"],
        v("cls.seq_relationship.weight"),
        v("cls.seq_relationship.bias"),
    );
    let (loss, right) = score(&logits, &[1, 0, 0], &[1.0, 1.0, 0.0]);
    let found = built.run.outputs["loss"][0];
    // Exponential and logarithm go through base two, by constants rounded to f32.
    assert!((found - loss).abs() < 1e-6 * loss, "{found} against {loss}");
    assert_eq!(built.run.outputs["accuracy"][0], right);
    let shapes: Vec<_> = built.heads.iter().map(|s| s.shape.clone()).collect();
    assert_eq!(shapes, [vec![2, HIDDEN], vec![2]]);
}
