//! A BERT encoder at a tiny size, with numbers for its leaves.

use ablate_bert::{BertConfig, Encoder};
use ablate_conformance::{numbers, Case};
use ablate_graph::GraphError;

const BATCH: usize = 2;
const SEQ: usize = 6;
const VOCAB: usize = 17;

/// Its last hidden states, or their loss with the gradient of every parameter. No dropout.
pub fn encoder(layers: usize, gradients: bool) -> Result<Case, GraphError> {
    let mut config = BertConfig::preset("tiny").expect("a preset");
    config.vocab_size = VOCAB;
    config.hidden_size = 12;
    config.num_attention_heads = 3;
    config.intermediate_size = 20;
    config.num_hidden_layers = layers;
    config.max_position_embeddings = 8;
    let mut case = Case::default();
    let g = &mut case.graph;
    let encoder = Encoder::build(g, &config, BATCH, SEQ, false).expect("a valid configuration");
    let hidden = encoder.hidden().clone();
    let shapes: Vec<(String, usize)> = case
        .graph
        .parameters()
        .iter()
        .map(|(name, t)| (name.clone(), t.shape().iter().product()))
        .collect();
    for (name, count) in shapes {
        let mut values = numbers(&name, count);
        if name.ends_with("LayerNorm.weight") {
            values.iter_mut().for_each(|v| *v = 1.0 + 0.2 * *v);
        }
        case.states.insert(name, values);
    }
    if gradients {
        let loss = case.graph.sin(&hidden)?;
        let loss = case.graph.sum_all(&loss)?;
        case.output(&loss)?;
        case.gradients(&loss)?;
    } else {
        case.output(&hidden)?;
    }
    let ids = (0..BATCH * SEQ).map(|i| (i * 7 % VOCAB) as f32);
    case.feeds.set("input_ids", ids.collect());
    let types = (0..BATCH * SEQ).map(|i| if i % SEQ > 3 { 1.0 } else { 0.0 });
    case.feeds.set("token_type_ids", types.collect());
    let mask = (0..BATCH * SEQ).map(|i| if i % SEQ < 5 { 1.0 } else { 0.0 });
    case.feeds.set("attention_mask", mask.collect());
    Ok(case)
}
