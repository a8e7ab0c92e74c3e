//! A BERT with its two heads at a tiny size, with numbers for its leaves.

use ablate_bert::{dense, layer_norm, BertConfig, Encoder, Parameters};
use ablate_conformance::{numbers, Case};
use ablate_graph::GraphError;

const PREDICTIONS: usize = 7;

/// Sizes of a model and its batch.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub batch: usize,
    pub seq: usize,
    pub vocab: usize,
    pub hidden: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub layers: usize,
}

/// Small and even, as real sizes are.
#[allow(dead_code)] // not of every test file
pub const EVEN: Sizes = Sizes {
    batch: 3,
    seq: 12,
    vocab: 40,
    hidden: 24,
    heads: 3,
    intermediate: 48,
    layers: 2,
};

/// Small, and nothing a multiple of four.
pub const ODD: Sizes = Sizes {
    batch: 3,
    seq: 7,
    vocab: 31,
    hidden: 15,
    heads: 3,
    intermediate: 21,
    layers: 1,
};

/// Large enough that activations are stored rounded in programs that may.
#[allow(dead_code)] // not of every test file
pub const LARGE: Sizes = Sizes {
    batch: 4,
    seq: 24,
    vocab: 96,
    hidden: 48,
    heads: 3,
    intermediate: 96,
    layers: 2,
};

/// The same, and nothing a multiple of four but the batch.
#[allow(dead_code)] // not of every test file
pub const LARGE_ODD: Sizes = Sizes {
    batch: 4,
    seq: 31,
    vocab: 131,
    hidden: 39,
    heads: 3,
    intermediate: 77,
    layers: 1,
};

fn configuration(s: Sizes) -> BertConfig {
    let mut config = BertConfig::preset("tiny").expect("a preset");
    config.vocab_size = s.vocab;
    config.hidden_size = s.hidden;
    config.num_attention_heads = s.heads;
    config.intermediate_size = s.intermediate;
    config.num_hidden_layers = s.layers;
    config.max_position_embeddings = s.seq + 4;
    config
}

/// Encoder with dropout, both heads, the summed loss and every gradient.
pub fn bert(s: Sizes) -> Result<Case, GraphError> {
    let mut case = Case::default();
    let positions = case.index("positions", &[PREDICTIONS], s.batch * s.seq)?;
    let labels = case.index("labels", &[PREDICTIONS], s.vocab)?;
    let next = case.index("next", &[s.batch], 2)?;
    let g = &mut case.graph;
    let mut encoder =
        Encoder::build(g, &configuration(s), s.batch, s.seq, true).expect("a valid model");
    let mut heads = Parameters::default();
    let x = g.reshape(encoder.hidden(), &[s.batch * s.seq, s.hidden])?;
    let x = g.gather(&x, &positions)?;
    let x = dense(g, &mut heads, "transform", &x, s.hidden)?;
    let x = g.gelu(&x)?;
    let x = layer_norm(g, &mut heads, "norm", &x, 1e-12)?;
    let bias = g.parameter("bias", &[s.vocab])?;
    let logits = g.linear(&x, encoder.word_embeddings(), Some(&bias))?;
    let mlm = g.cross_entropy(&logits, &labels, None)?;
    let mlm = g.sum_all(&mlm)?;
    let pooled = encoder.pooled(g).expect("a pooler");
    let logits = dense(g, &mut heads, "next_sentence", &pooled, 2)?;
    let nsp = g.cross_entropy(&logits, &next, None)?;
    let nsp = g.sum_all(&nsp)?;
    let loss = g.add(&mlm, &nsp)?;
    case.output(&loss)?;
    let shapes: Vec<(String, usize)> = case
        .graph
        .parameters()
        .iter()
        .map(|(name, t)| (name.clone(), t.shape().iter().product()))
        .collect();
    for (name, count) in shapes {
        let mut values = numbers(&name, count);
        if name.ends_with("LayerNorm.weight") || name == "norm.weight" {
            values.iter_mut().for_each(|v| *v = 1.0 + 0.2 * *v);
        }
        case.states.insert(name, values);
    }
    case.gradients(&loss)?;
    let cells = s.batch * s.seq;
    case.feeds.set(
        "input_ids",
        (0..cells).map(|i| (i * 7 % s.vocab) as f32).collect(),
    );
    let types = (0..cells).map(|i| if i % s.seq > 5 { 1.0 } else { 0.0 });
    case.feeds.set("token_type_ids", types.collect());
    let mask = (0..cells).map(|i| if i % s.seq < s.seq - 2 { 1.0 } else { 0.0 });
    case.feeds.set("attention_mask", mask.collect());
    Ok(case)
}
