//! BertForPreTraining with its two heads written here from graph operations, independent of the
//! objective plugins, so that a difference points at the encoder or at the plugin and not at both.

use ablate_bert::{
    dense, layer_norm, mlm_head_parameters, nsp_head_parameters, Encoder, ParameterSpec,
    Parameters, Result,
};
use ablate_graph::{Feeds, Graph, Tensor};

use crate::case::Case;

/// Losses, logits, hidden states and every gradient of a case as outputs of one graph.
pub struct Model {
    pub graph: Graph,
    pub parameters: Vec<ParameterSpec>,
    pub feeds: Feeds,
}

/// Name of the output that holds a parameter's gradient.
pub fn gradient_of(parameter: &str) -> String {
    format!("grad/{parameter}")
}

impl Model {
    pub fn build(case: &Case) -> Result<Self> {
        let (batch, seq) = (case.batch.batch, case.batch.seq);
        let count = case.batch.predictions().len();
        let mut g = Graph::new();
        let mut encoder = Encoder::build(&mut g, &case.config, batch, seq, true)?;
        let positions = g.index_input("positions", &[count], batch * seq)?;
        let labels = g.index_input("labels", &[count], case.config.vocab_size)?;
        let next = g.index_input("next_sentence_label", &[batch], 2)?;

        let mut heads = Parameters::default();
        let logits = mlm_logits(&mut g, &mut heads, case, &encoder, &positions)?;
        let losses = g.cross_entropy(&logits, &labels, None)?;
        let mlm = g.mean(&losses, &[0], false)?;
        let pooled = encoder.pooled(&mut g)?;
        let relationship = dense(&mut g, &mut heads, "cls.seq_relationship", &pooled, 2)?;
        let losses = g.cross_entropy(&relationship, &next, None)?;
        let nsp = g.mean(&losses, &[0], false)?;
        let loss = g.add(&mlm, &nsp)?;

        let wanted = [
            mlm_head_parameters(&case.config),
            nsp_head_parameters(&case.config),
        ]
        .concat();
        assert_eq!(heads.specs(), wanted);
        let parameters = [encoder.parameters(), heads.specs()].concat();

        g.output("mlm_loss", &mlm)?;
        g.output("nsp_loss", &nsp)?;
        g.output("prediction_logits", &logits)?;
        g.output("seq_relationship_logits", &relationship)?;
        g.output("pooled", &pooled)?;
        for (n, hidden) in encoder.hidden_states().iter().enumerate() {
            g.output(&format!("hidden_states.{n}"), hidden)?;
        }
        let named = g.parameters().to_vec();
        let wrt: Vec<Tensor> = named.iter().map(|(_, t)| t.clone()).collect();
        let gradients = g.gradients(&loss, &wrt)?;
        for ((name, _), gradient) in named.iter().zip(&gradients) {
            g.output(&gradient_of(name), gradient)?;
        }
        Ok(Model {
            graph: g,
            parameters,
            feeds: feeds(case),
        })
    }
}

/// The masked-language-model head at the flat `positions` alone, `[masked, vocab]`.
fn mlm_logits(
    g: &mut Graph,
    heads: &mut Parameters,
    case: &Case,
    encoder: &Encoder,
    positions: &Tensor,
) -> Result<Tensor> {
    let config = &case.config;
    let (width, tokens) = (config.hidden_size, case.batch.batch * case.batch.seq);
    let bias = mlm_head_parameters(config).remove(0);
    let bias = heads.declare(g, bias)?;
    let flat = g.reshape(encoder.hidden(), &[tokens, width])?;
    let x = g.gather(&flat, positions)?;
    let x = dense(g, heads, "cls.predictions.transform.dense", &x, width)?;
    let x = config.hidden_act.apply(g, &x)?;
    let name = "cls.predictions.transform.LayerNorm";
    let x = layer_norm(g, heads, name, &x, config.layer_norm_eps)?;
    Ok(g.linear(&x, encoder.word_embeddings(), Some(&bias))?)
}

fn feeds(case: &Case) -> Feeds {
    let floats = |v: &[i64]| v.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let batch = &case.batch;
    let (positions, labels): (Vec<f32>, Vec<f32>) = batch
        .predictions()
        .iter()
        .map(|(p, l)| (*p as f32, *l as f32))
        .unzip();
    Feeds::new()
        .with("input_ids", floats(&batch.input_ids))
        .with("token_type_ids", floats(&batch.token_type_ids))
        .with("attention_mask", floats(&batch.attention_mask))
        .with("positions", positions)
        .with("labels", labels)
        .with("next_sentence_label", floats(&batch.next_sentence_label))
}
