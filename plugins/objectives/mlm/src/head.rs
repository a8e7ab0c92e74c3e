//! The head that predicts hidden tokens: BERT's, with Hugging Face's parameter names.
//!
//! Any objective that predicts tokens builds it through [`logits`]. Two objectives of a recipe that
//! name the same parameters share them, and so share the head.

use ablate_sdk::{ObjectiveGraph, Result, Role, Tensor};

/// The states at the positions of a per-token feature: `hidden [batch, seq, width]` to
/// `[predictions, width]`.
///
/// # Errors
/// Where a node cannot be built.
pub fn states<'g>(
    g: &ObjectiveGraph<'g>,
    hidden: Tensor<'g>,
    positions: Tensor<'g>,
) -> Result<Tensor<'g>> {
    let shape = g.shape(hidden)?;
    let width = shape.last().copied().unwrap_or(0);
    let flat = g.reshape(hidden, &[g.batch()? * g.seq()?, width])?;
    g.gather(flat, positions)
}

/// Logits `[predictions, vocab]` of states `[predictions, hidden]`: dense, activation and layer norm,
/// then the transposed table of word embeddings with a bias of its own.
///
/// # Errors
/// Where a node cannot be built.
pub fn logits<'g>(g: &ObjectiveGraph<'g>, states: Tensor<'g>) -> Result<Tensor<'g>> {
    let (hidden_size, vocab) = (g.hidden_size()?, g.vocab_size()?);
    let dense = "cls.predictions.transform.dense";
    let weight = g.parameter(
        &format!("{dense}.weight"),
        &[hidden_size, hidden_size],
        Role::Weight,
    )?;
    let bias = g.parameter(&format!("{dense}.bias"), &[hidden_size], Role::Bias)?;
    let states = g.activation(g.linear(states, weight, Some(bias))?)?;

    let norm = "cls.predictions.transform.LayerNorm";
    let gamma = g.parameter(&format!("{norm}.weight"), &[hidden_size], Role::NormScale)?;
    let beta = g.parameter(&format!("{norm}.bias"), &[hidden_size], Role::NormBias)?;
    let states = g.layer_norm(states, gamma, beta, g.layer_norm_eps()?)?;

    let bias = g.parameter("cls.predictions.bias", &[vocab], Role::Bias)?;
    g.linear(states, g.word_embeddings()?, Some(bias))
}
