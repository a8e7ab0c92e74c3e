//! A packed grid computes what a padded one does, with attention block by block, in every precision.

use ablate_bert::{BertConfig, Encoder, Layout};
use ablate_compiler::{Backend, BackendError};
use ablate_conformance::{numbers, Case};
use ablate_cpu::{CpuBackend, Precision};
use ablate_graph::{GraphError, RandomKey};
use std::collections::BTreeMap;

const SEQ: usize = 72;
const VOCAB: usize = 29;
/// Tokens of the examples, and which of them lie in each row of the grid.
const LENGTHS: [usize; 7] = [37, 12, 50, 9, 72, 20, 35];
const ROWS: [&[usize]; 4] = [&[4], &[2, 5], &[0, 6], &[1, 3]];

/// An encoder of two layers; its hidden states where there are tokens, their weighted sum as loss, and every
/// gradient.
fn encoder(packed: bool) -> Result<Case, GraphError> {
    let config = BertConfig {
        vocab_size: VOCAB,
        hidden_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 64,
        max_position_embeddings: SEQ,
        ..BertConfig::default()
    };
    let layout = match packed {
        true => Layout::Packed { rows: ROWS.len() },
        false => Layout::Padded,
    };
    let mut case = Case::default();
    let g = &mut case.graph;
    // Dropout is drawn by place, and a token's place is another one.
    let built =
        Encoder::build_in(g, &config, LENGTHS.len(), SEQ, layout, false).expect("a valid model");
    let weight = g.parameter("weight", &[config.hidden_size])?;
    let keep = g.input("keep", &[LENGTHS.len(), SEQ, 1])?;
    let keep = g.expand(&keep, &[LENGTHS.len(), SEQ, config.hidden_size])?;
    let kept = g.mul(built.hidden(), &keep)?;
    let weighted = g.mul(&kept, &weight)?;
    let loss = g.sum_all(&weighted)?;
    case.output(&kept)?;
    case.output(&loss)?;
    for (name, tensor) in case.graph.parameters() {
        let values = numbers(name, tensor.shape().iter().product());
        case.states.insert(name.clone(), values);
    }
    case.gradients(&loss)?;
    feed(&mut case, packed);
    Ok(case)
}

fn feed(case: &mut Case, packed: bool) {
    let real = |t: usize| t % SEQ < LENGTHS[t / SEQ];
    let each = |count: usize, f: &dyn Fn(usize) -> usize| -> Vec<f32> {
        (0..count).map(|i| f(i) as f32).collect()
    };
    let tokens = LENGTHS.len() * SEQ;
    let id = |t: usize| t * 7 % VOCAB;
    let kind = |t: usize| usize::from(t % SEQ > 5);
    let mask = each(tokens, &|t| real(t).into());
    let feeds = &mut case.feeds;
    feeds.set("keep", mask.clone());
    if !packed {
        feeds.set("input_ids", each(tokens, &id));
        feeds.set("token_type_ids", each(tokens, &kind));
        feeds.set("attention_mask", mask);
        return;
    }
    let cells = ROWS.len() * SEQ;
    let mut token_of = vec![None; cells];
    let mut cell_of = vec![cells; tokens];
    for (row, examples) in ROWS.iter().enumerate() {
        let tokens = examples.iter().flat_map(|e| e * SEQ..e * SEQ + LENGTHS[*e]);
        for (cell, token) in (row * SEQ..).zip(tokens) {
            token_of[cell] = Some(token);
            cell_of[token] = cell;
        }
    }
    let grid = |f: &dyn Fn(usize) -> usize| each(cells, &|c| token_of[c].map_or(0, f));
    feeds.set("input_ids", grid(&id));
    feeds.set("token_type_ids", grid(&kind));
    feeds.set("position_ids", grid(&|t| t % SEQ));
    feeds.set("example_index", grid(&|t| t / SEQ + 1));
    feeds.set(
        "first_positions",
        each(LENGTHS.len(), &|e| cell_of[e * SEQ]),
    );
    feeds.set("token_positions", each(tokens, &|t| cell_of[t]));
}

fn run(backend: &dyn Backend, packed: bool) -> Result<BTreeMap<String, Vec<f32>>, BackendError> {
    let case = encoder(packed)?;
    let names: Vec<String> = case.graph.outputs().iter().map(|o| o.0.clone()).collect();
    let mut session = backend.session()?;
    for (name, values) in &case.states {
        session.set_state(name, values)?;
    }
    let program = session.load(case.graph)?;
    session.run(program, &case.feeds, RandomKey { seed: 1, step: 1 })?;
    let output = |name: String| Ok((name.clone(), session.output(program, &name)?.to_vec()));
    names.into_iter().map(output).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// Tensor by tensor; of tensors that are zero in truth (the gradient of a key's bias), what rounding leaves is
/// held against the greatest one.
#[test]
fn packed_is_padded_in_every_precision() {
    let with = |threads, precision| {
        let backend = CpuBackend::new(threads).expect("threads");
        backend.with_precision(precision)
    };
    for (backend, bound) in [
        (with(1, Precision::F32), 1e-5),
        (with(2, Precision::F32), 1e-5),
        (with(2, Precision::F32).portable(), 1e-5),
        (with(2, Precision::F32Split).without_amx(), 2e-4),
        (with(1, Precision::Bf16), 2e-2),
        (with(2, Precision::Bf16), 2e-2),
        (with(2, Precision::Bf16).avx2(), 2e-2),
        (with(2, Precision::Bf16).with_emulated_amx(), 2e-2),
    ] {
        let (padded, packed) = (
            run(&backend, false).expect("runs"),
            run(&backend, true).expect("runs"),
        );
        let all = |v: &Vec<f32>| norm(v.iter().map(|x| f64::from(*x)));
        let greatest = padded.values().map(all).fold(0.0, f64::max);
        for (name, expected) in &padded {
            let pairs = expected.iter().zip(&packed[name]);
            let off = norm(pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
            let most = bound * (all(expected) + 0.01 * greatest);
            assert!(
                off <= most,
                "{}: {name} is off by {off:e}, more than {most:e}",
                backend.description()
            );
        }
    }
}
