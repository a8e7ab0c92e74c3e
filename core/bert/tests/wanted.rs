//! A last layer that is made for some tokens gives what one for all tokens gives there.

use std::collections::BTreeMap;

use ablate_bert::{BertConfig, Encoder, Init, Layout, ParameterSpec, Wanted, WORD_EMBEDDINGS};
use ablate_graph::ir::Op;
use ablate_graph::{Feeds, Graph, RandomKey, Tensor};
use ablate_random::Stream;

const BATCH: usize = 3;
const SEQ: usize = 5;
/// Two examples of full length share no row with the third, of two tokens, in the packed grid.
const LENGTHS: [usize; BATCH] = [5, 2, 3];
/// Rows of the packed grid: the first example; the third, then the second.
const PACKED: Layout = Layout::Packed { rows: 2 };
/// Out of order, one of them twice.
const POSITIONS: [usize; 5] = [11, 3, 5, 3, 10];

fn config(layers: usize) -> BertConfig {
    BertConfig {
        vocab_size: 13,
        hidden_size: 6,
        num_hidden_layers: layers,
        num_attention_heads: 3,
        intermediate_size: 8,
        max_position_embeddings: 9,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..BertConfig::default()
    }
}

fn feeds(layout: Layout) -> Feeds {
    let mut draw = Stream::new(3, "tokens").reader();
    let ids: Vec<f32> = (0..BATCH * SEQ).map(|_| draw.below(13) as f32).collect();
    let real = |t: usize| t % SEQ < LENGTHS[t / SEQ];
    let feeds = Feeds::new().with("positions", POSITIONS.map(|p| p as f32).to_vec());
    let Layout::Packed { rows } = layout else {
        let mask = (0..BATCH * SEQ).map(|t| f32::from(u8::from(real(t))));
        return feeds
            .with("input_ids", ids)
            .with("token_type_ids", vec![0.0; BATCH * SEQ])
            .with("attention_mask", mask.collect());
    };
    let cells = rows * SEQ;
    let tokens = |e: usize| e * SEQ..e * SEQ + LENGTHS[e];
    let order: Vec<usize> = tokens(0).chain(tokens(2)).chain(tokens(1)).collect();
    let mut places = vec![cells as f32; BATCH * SEQ];
    for (cell, token) in order.iter().enumerate() {
        places[*token] = cell as f32;
    }
    let grid = |of: fn(usize) -> f32| order.iter().map(|t| of(*t)).collect::<Vec<_>>();
    feeds
        .with("input_ids", order.iter().map(|t| ids[*t]).collect())
        .with("token_type_ids", vec![0.0; cells])
        .with("position_ids", grid(|t| (t % SEQ) as f32))
        .with("example_index", grid(|t| (t / SEQ + 1) as f32))
        .with(
            "first_positions",
            places.iter().copied().step_by(SEQ).collect(),
        )
        .with("token_positions", places)
}

fn states(config: &BertConfig, specs: &[ParameterSpec]) -> BTreeMap<String, Vec<f64>> {
    let value = |s: &ParameterSpec| config.initial_values(s, &Init::Normal { std: 0.3 }, 1);
    let wide = |s: &ParameterSpec| value(s).into_iter().map(f64::from).collect();
    specs.iter().map(|s| (s.name.clone(), wide(s))).collect()
}

/// Fixed numbers without symmetry, so that no two gradients cancel.
fn weighed(g: &mut Graph, feeds: &mut Feeds, name: &str, of: &Tensor) -> Tensor {
    let mut draw = Stream::new(9, name).reader();
    feeds.set(
        name,
        (0..of.elements()).map(|_| draw.normal() as f32).collect(),
    );
    let weights = g.input(name, &of.shape()).unwrap();
    let product = g.mul(of, &weights).unwrap();
    g.sum_all(&product).unwrap()
}

/// What a loss reads.
#[derive(Clone, Copy, Debug)]
struct Reads {
    positions: bool,
    pooled: bool,
}

/// Encoder and loss in a graph, and how many tokens its last feed-forward network is made for.
struct Built {
    g: Graph,
    feeds: Feeds,
    encoder: Encoder,
    loss: Tensor,
    positions: Tensor,
}

impl Built {
    fn new(layers: usize, layout: Layout, reads: Reads, wanted: Option<[bool; 2]>) -> Built {
        let mut g = Graph::new();
        let mut feeds = feeds(layout);
        let positions = g
            .index_input("positions", &[POSITIONS.len()], BATCH * SEQ)
            .unwrap();
        let wanted = wanted.map(|[listed, first]| Wanted {
            positions: listed.then(|| positions.clone()),
            first,
        });
        let (config, size) = (config(layers), [BATCH, SEQ]);
        let mut encoder =
            Encoder::build_for(&mut g, &config, size, layout, true, wanted.as_ref()).unwrap();
        let mut loss = g.scalar(0.0);
        if reads.positions {
            let table = g.reshape(encoder.hidden(), &[BATCH * SEQ, 6]).unwrap();
            let rows = g.gather(&table, &positions).unwrap();
            assert_eq!(rows.shape(), [POSITIONS.len(), 6]);
            g.output("rows", &rows).unwrap();
            let part = weighed(&mut g, &mut feeds, "weights of rows", &rows);
            loss = g.add(&loss, &part).unwrap();
        }
        if reads.pooled {
            let pooled = encoder.pooled(&mut g).unwrap();
            g.output("pooled", &pooled).unwrap();
            let part = weighed(&mut g, &mut feeds, "weights of pooled", &pooled);
            loss = g.add(&loss, &part).unwrap();
        }
        g.output("loss", &loss).unwrap();
        Built {
            g,
            feeds,
            encoder,
            loss,
            positions,
        }
    }

    fn read(&self) -> Option<[bool; 2]> {
        let read = self.encoder.read(&self.g, &[&self.loss]).unwrap();
        read.map(|r| [r.positions.is_some(), r.first])
    }

    /// Outputs and every gradient in f64.
    fn run(mut self, layers: usize) -> BTreeMap<String, Vec<f64>> {
        let g = &mut self.g;
        let parameters = g.parameters().to_vec();
        let tensors: Vec<Tensor> = parameters.iter().map(|(_, t)| t.clone()).collect();
        let gradients = g.gradients(&self.loss, &tensors).unwrap();
        for ((name, _), gradient) in parameters.iter().zip(&gradients) {
            g.output(name, gradient).unwrap();
        }
        let states = states(&config(layers), self.encoder.parameters());
        let result = g.run_f64(&self.feeds, &states, RandomKey::default());
        result.unwrap().outputs
    }
}

#[test]
fn states_loss_and_gradients_are_those_of_the_whole_layer() {
    for layers in [1, 2] {
        for layout in [Layout::Padded, PACKED] {
            for [positions, pooled] in [[true, true], [true, false], [false, true]] {
                let reads = Reads { positions, pooled };
                let whole = Built::new(layers, layout, reads, None);
                assert_eq!(whole.read(), None);
                let some = Built::new(layers, layout, reads, Some([positions, pooled]));
                assert_eq!(some.read(), Some([positions, pooled]));
                let (whole, some) = (whole.run(layers), some.run(layers));
                let names = |m: &BTreeMap<String, Vec<f64>>| m.keys().cloned().collect::<Vec<_>>();
                assert_eq!(names(&whole), names(&some));
                for (name, expected) in &whole {
                    let size: f64 = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
                    for (found, expected) in some[name].iter().zip(expected) {
                        let error = (found - expected).abs();
                        assert!(
                            error <= 1e-12 * (1.0 + size),
                            "{layers} layers, {layout:?}, {reads:?}: {name}: {found}, not {expected}"
                        );
                    }
                }
                let gradient = &whole[WORD_EMBEDDINGS];
                assert!(gradient.iter().any(|x| x.abs() > 0.1), "nothing to compare");
            }
        }
    }
}

#[test]
fn only_the_wanted_tokens_go_through_the_last_feed_forward_network() {
    let tokens = |wanted| {
        let reads = Reads {
            positions: true,
            pooled: true,
        };
        let lowered = Built::new(2, Layout::Padded, reads, wanted)
            .g
            .lower()
            .unwrap();
        let of = |layer: usize| {
            let scope = format!("encoder.layer.{layer}.ffn");
            let nodes = lowered.nodes.iter().filter(|n| *n.scope == *scope);
            // The exponential of the GELU.
            let inner = nodes.filter(|n| n.op == Op::Exp2);
            inner
                .map(|n| n.shape.iter().product::<usize>() / 8)
                .max()
                .unwrap()
        };
        [of(0), of(1)]
    };
    assert_eq!(tokens(None), [BATCH * SEQ, BATCH * SEQ]);
    assert_eq!(
        tokens(Some([true, true])),
        [BATCH * SEQ, POSITIONS.len() + BATCH]
    );
}

#[test]
fn what_is_read_is_told() {
    let reads = |positions, pooled| Reads { positions, pooled };
    let read = |reads, wanted| Built::new(1, Layout::Padded, reads, Some(wanted)).read();
    // Less than was made.
    assert_eq!(read(reads(true, false), [true, true]), Some([true, false]));
    assert_eq!(read(reads(false, true), [true, true]), Some([false, true]));
    assert_eq!(
        read(reads(false, false), [true, true]),
        Some([false, false])
    );
    // What was not made: then zeros were read, and the graph must not be used.
    assert_eq!(read(reads(true, true), [true, false]), None);
    assert_eq!(read(reads(true, true), [false, true]), None);
    // Another look-up, and the states themselves.
    let mut other = Built::new(1, Layout::Padded, reads(true, true), Some([true, true]));
    let hidden = other.encoder.hidden().clone();
    assert_eq!(hidden.shape(), [BATCH, SEQ, 6]);
    assert_eq!(other.encoder.hidden_states().len(), 2);
    let sum = other.g.sum_all(&hidden).unwrap();
    assert_eq!(other.read(), Some([true, true]));
    other.loss = other.g.add(&other.loss, &sum).unwrap();
    assert_eq!(other.read(), None);
    let mut other = Built::new(1, Layout::Padded, reads(true, true), Some([true, true]));
    let table = other
        .g
        .reshape(other.encoder.hidden(), &[BATCH * SEQ, 6])
        .unwrap();
    let shifted = other.g.mul_scalar(&other.positions.clone(), 0.5).unwrap();
    let rows = other.g.gather(&table, &shifted).unwrap();
    let sum = other.g.sum_all(&rows).unwrap();
    other.loss = other.g.add(&other.loss, &sum).unwrap();
    assert_eq!(other.read(), None);
}
