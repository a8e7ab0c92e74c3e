//! A packed grid computes what a padded one does: hidden states, pooled states, every gradient.

use std::collections::BTreeMap;

use ablate_bert::{BertConfig, Encoder, Init, Layout, ParameterSpec, WORD_EMBEDDINGS};
use ablate_graph::{Feeds, Graph, RandomKey, Tensor};
use ablate_random::Stream;

const SEQ: usize = 6;

fn config() -> BertConfig {
    BertConfig {
        vocab_size: 13,
        hidden_size: 6,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 8,
        max_position_embeddings: 9,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..BertConfig::default()
    }
}

/// Lengths of the examples, and which of them lie in each row of the grid, in this order.
struct Pattern {
    lengths: &'static [usize],
    rows: &'static [&'static [usize]],
}

const PATTERNS: [Pattern; 5] = [
    // One of full length, two that share a row with room to spare, in another order than the batch's.
    Pattern {
        lengths: &[2, 6, 3],
        rows: &[&[1], &[2, 0]],
    },
    // Many short ones.
    Pattern {
        lengths: &[1, 2, 1, 1, 3, 1, 2],
        rows: &[&[0, 1, 2, 3], &[4, 5, 6]],
    },
    // One row only.
    Pattern {
        lengths: &[3, 2],
        rows: &[&[0, 1]],
    },
    // Nothing to gain.
    Pattern {
        lengths: &[6, 6],
        rows: &[&[0], &[1]],
    },
    // An empty row of the batch, and one of the grid.
    Pattern {
        lengths: &[4, 0, 2],
        rows: &[&[0, 2], &[]],
    },
];

impl Pattern {
    fn layout(&self) -> Layout {
        Layout::Packed {
            rows: self.rows.len(),
        }
    }

    fn real(&self, token: usize) -> bool {
        token % SEQ < self.lengths[token / SEQ]
    }

    /// Token ids and segments of the padded batch. Padding holds ids too: they must not matter.
    fn tokens(&self) -> (Vec<f32>, Vec<f32>) {
        let mut draw = Stream::new(3, "tokens").reader();
        let count = self.lengths.len() * SEQ;
        (0..count)
            .map(|_| (draw.below(13) as f32, draw.below(2) as f32))
            .unzip()
    }

    fn feeds(&self, layout: Layout, ids: &[f32], types: &[f32]) -> Feeds {
        let count = ids.len();
        let mask: Vec<f32> = (0..count).map(|t| self.real(t).into()).collect();
        let Layout::Packed { rows } = layout else {
            return Feeds::new()
                .with("input_ids", ids.to_vec())
                .with("token_type_ids", types.to_vec())
                .with("attention_mask", mask.clone())
                .with("keep", mask);
        };
        let cells = rows * SEQ;
        let mut token_of = vec![None; cells];
        let mut positions = vec![cells as f32; count];
        for (row, examples) in self.rows.iter().enumerate() {
            let tokens = examples
                .iter()
                .flat_map(|e| e * SEQ..e * SEQ + self.lengths[*e]);
            for (cell, token) in (row * SEQ..).zip(tokens) {
                token_of[cell] = Some(token);
                positions[token] = cell as f32;
            }
        }
        let grid = |of: &dyn Fn(usize) -> f32| -> Vec<f32> {
            token_of.iter().map(|t| t.map_or(0.0, of)).collect()
        };
        Feeds::new()
            .with("input_ids", grid(&|t| ids[t]))
            .with("token_type_ids", grid(&|t| types[t]))
            .with("position_ids", grid(&|t| (t % SEQ) as f32))
            .with("example_index", grid(&|t| (t / SEQ + 1) as f32))
            .with(
                "first_positions",
                positions.iter().copied().step_by(SEQ).collect(),
            )
            .with("token_positions", positions)
            .with("keep", mask)
    }
}

fn states(specs: &[ParameterSpec]) -> BTreeMap<String, Vec<f64>> {
    let config = config();
    let value = |s: &ParameterSpec| config.initial_values(s, &Init::Normal { std: 0.3 }, 1);
    specs
        .iter()
        .map(|s| {
            (
                s.name.clone(),
                value(s).into_iter().map(f64::from).collect(),
            )
        })
        .collect()
}

/// Fixed numbers without symmetry, so that no two gradients cancel.
fn weights(g: &mut Graph, feeds: &mut Feeds, name: &str, of: &Tensor) -> Tensor {
    let mut draw = Stream::new(9, name).reader();
    let count = of.elements();
    feeds.set(name, (0..count).map(|_| draw.normal() as f32).collect());
    let weights = g.input(name, &of.shape()).unwrap();
    g.mul(of, &weights).unwrap()
}

/// Outputs of a graph in f64: `hidden`, `pooled`, all `hidden_states`, `loss`, and every gradient by
/// its parameter. The loss weighs the states of real tokens and the pooled states of real examples.
fn run(
    pattern: &Pattern,
    layout: Layout,
    ids: &[f32],
    types: &[f32],
) -> BTreeMap<String, Vec<f64>> {
    let batch = pattern.lengths.len();
    let mut g = Graph::new();
    let mut encoder =
        Encoder::build_in(&mut g, &config(), batch, SEQ, layout, true).expect("a valid model");
    let mut feeds = pattern.feeds(layout, ids, types);
    let keep = g.input("keep", &[batch, SEQ, 1]).unwrap();
    let hidden = encoder.hidden().clone();
    assert_eq!(hidden.shape(), [batch, SEQ, 6]);
    let real = g.mul(&hidden, &keep).unwrap();
    let real = weights(&mut g, &mut feeds, "weights of tokens", &real);
    let tokens = g.sum_all(&real).unwrap();
    let pooled = encoder.pooled(&mut g).unwrap();
    assert_eq!(pooled.shape(), [batch, 6]);
    let examples = pattern.lengths.iter().map(|n| f32::from(u8::from(*n > 0)));
    feeds.set("examples", examples.collect());
    let examples = g.input("examples", &[batch, 1]).unwrap();
    let kept = g.mul(&pooled, &examples).unwrap();
    let kept = weights(&mut g, &mut feeds, "weights of examples", &kept);
    let sequences = g.sum_all(&kept).unwrap();
    let loss = g.add(&tokens, &sequences).unwrap();
    g.output("loss", &loss).unwrap();
    g.output("hidden", &hidden).unwrap();
    g.output("pooled", &pooled).unwrap();
    for (n, states) in encoder.hidden_states().to_vec().iter().enumerate() {
        g.output(&format!("hidden_states.{n}"), states).unwrap();
    }
    let parameters = g.parameters().to_vec();
    let tensors: Vec<Tensor> = parameters.iter().map(|(_, t)| t.clone()).collect();
    let gradients = g.gradients(&loss, &tensors).unwrap();
    for ((name, _), gradient) in parameters.iter().zip(&gradients) {
        g.output(name, gradient).unwrap();
    }
    let result = g.run_f64(&feeds, &states(encoder.parameters()), RandomKey::default());
    result.unwrap().outputs
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[test]
fn packed_is_padded_in_every_state_and_gradient() {
    for pattern in &PATTERNS {
        let (ids, types) = pattern.tokens();
        let padded = run(pattern, Layout::Padded, &ids, &types);
        let packed = run(pattern, pattern.layout(), &ids, &types);
        assert_eq!(
            padded.keys().collect::<Vec<_>>(),
            packed.keys().collect::<Vec<_>>()
        );
        assert_eq!(padded.len(), 39 + 3 + 3);
        for (name, wanted) in &padded {
            let found = &packed[name];
            let states = name.starts_with("hidden");
            for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
                let (token, example) = (i / 6, i / 6);
                if states && !pattern.real(token) {
                    assert_eq!(*f, 0.0, "{name}: padding token {token} has a state");
                    continue;
                }
                if name == "pooled" && pattern.lengths[example] == 0 {
                    continue;
                }
                // Nothing but the order of sums in f64 is between them.
                let error = (f - w).abs();
                assert!(
                    error <= 1e-12 * (1.0 + norm(wanted)),
                    "{:?}: {name}[{i}] is {f}, not {w}",
                    pattern.lengths
                );
            }
        }
        assert!(
            norm(&padded[WORD_EMBEDDINGS]) > 0.1,
            "no gradient to compare"
        );
    }
}

#[test]
fn no_example_sees_another() {
    let pattern = &PATTERNS[1];
    let (mut ids, types) = pattern.tokens();
    let before = run(pattern, pattern.layout(), &ids, &types);
    // Another word in the second example.
    ids[SEQ] = (ids[SEQ] + 5.0) % 13.0;
    let after = run(pattern, pattern.layout(), &ids, &types);
    for example in 0..pattern.lengths.len() {
        let tokens = example * SEQ * 6..(example * SEQ + pattern.lengths[example]) * 6;
        let states = |run: &BTreeMap<String, Vec<f64>>| run["hidden"][tokens.clone()].to_vec();
        let same = states(&before) == states(&after);
        assert_eq!(same, example != 1, "example {example}");
    }
}

#[test]
fn places_beyond_the_grid_are_refused() {
    let pattern = &PATTERNS[2];
    let mut g = Graph::new();
    let encoder = Encoder::build_in(&mut g, &config(), 2, SEQ, pattern.layout(), false)
        .expect("a valid model");
    g.output("hidden", encoder.hidden()).unwrap();
    let (ids, types) = pattern.tokens();
    let states = states(encoder.parameters());
    for (name, wrong) in [
        ("token_positions", SEQ + 1),
        ("example_index", 3),
        ("position_ids", SEQ),
    ] {
        let mut feeds = pattern.feeds(pattern.layout(), &ids, &types);
        let mut values = feeds.get(name).unwrap().to_vec();
        values[0] = wrong as f32;
        feeds.set(name, values);
        let error = g
            .run_f64(&feeds, &states, RandomKey::default())
            .unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}
