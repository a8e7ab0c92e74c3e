//! Building blocks that declare the parameters they use.

use std::collections::BTreeMap;

use ablate_graph::{Graph, GraphError, Tensor};

use crate::parameters::{dense_parameters, norm_parameters};
use crate::ParameterSpec;

/// The parameters that a model has declared in a graph so far, in order.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    specs: Vec<ParameterSpec>,
    tensors: BTreeMap<String, Tensor>,
    /// Prefix of their states' names, where they are not trained.
    frozen: Option<String>,
}

impl Parameters {
    /// Parameters that are not trained: each is the state `<prefix><name>`, which no gradient reaches.
    pub fn frozen(prefix: impl Into<String>) -> Self {
        Parameters {
            frozen: Some(prefix.into()),
            ..Parameters::default()
        }
    }

    /// Takes a tensor that is in the graph already for the parameter `name`, which is then not declared.
    pub fn know(&mut self, name: &str, tensor: &Tensor) {
        self.tensors.insert(name.to_owned(), tensor.clone());
    }

    /// Declares a parameter, or gives the one that was declared under this name before: a model that
    /// runs twice in a graph has its parameters once.
    ///
    /// # Errors
    /// When the graph already has a leaf of this name that is not one of these.
    pub fn declare(&mut self, g: &mut Graph, spec: ParameterSpec) -> Result<Tensor, GraphError> {
        if let Some(tensor) = self.tensors.get(&spec.name) {
            return Ok(tensor.clone());
        }
        let tensor = match &self.frozen {
            Some(prefix) => g.state(&format!("{prefix}{}", spec.name), &spec.shape)?,
            None => g.parameter(&spec.name, &spec.shape)?,
        };
        self.tensors.insert(spec.name.clone(), tensor.clone());
        self.specs.push(spec);
        Ok(tensor)
    }

    /// What was declared, in order.
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// The tensor of a declared parameter.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }
}

/// `x W^T + b` with parameters `<name>.weight` `[outputs, inputs]` and `<name>.bias` `[outputs]`;
/// `x` is `[.., inputs]`, the result `[.., outputs]`.
///
/// # Errors
/// When `x` is a scalar or the names are taken.
pub fn dense(
    g: &mut Graph,
    parameters: &mut Parameters,
    name: &str,
    x: &Tensor,
    outputs: usize,
) -> Result<Tensor, GraphError> {
    let inputs = x.shape().last().copied().unwrap_or(0);
    let [weight, bias] = dense_parameters(name, outputs, inputs);
    let weight = parameters.declare(g, weight)?;
    let bias = parameters.declare(g, bias)?;
    g.linear(x, &weight, Some(&bias))
}

/// Layer norm over the last axis with parameters `<name>.weight` and `<name>.bias`, biased variance
/// and `eps` inside the root, as TensorFlow and PyTorch; `x` and the result are `[.., width]`.
///
/// # Errors
/// When `x` is a scalar or the names are taken.
pub fn layer_norm(
    g: &mut Graph,
    parameters: &mut Parameters,
    name: &str,
    x: &Tensor,
    eps: f64,
) -> Result<Tensor, GraphError> {
    let width = x.shape().last().copied().unwrap_or(0);
    let [scale, bias] = norm_parameters(name, width);
    let scale = parameters.declare(g, scale)?;
    let bias = parameters.declare(g, bias)?;
    g.layer_norm(x, &scale, &bias, eps as f32)
}
