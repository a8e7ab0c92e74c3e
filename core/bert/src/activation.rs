//! Activation functions under the names that Hugging Face configurations use.

use ablate_graph::{Graph, GraphError, Tensor};
use serde::{Deserialize, Serialize};

/// An activation of the feed-forward blocks, by its Hugging Face name (`hidden_act`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `gelu`: `x * Phi(x)` with the Gaussian distribution function by erf. BERT's own.
    Gelu,
    /// `gelu_new`: the tanh approximation of GELU, as OpenAI and later Google wrote it.
    GeluNew,
    /// `gelu_pytorch_tanh`: the same function, as PyTorch computes it.
    GeluPytorchTanh,
    /// `gelu_fast`: the same function, with another order of operations.
    GeluFast,
    /// `quick_gelu`: `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `relu`: `max(x, 0)`.
    Relu,
    /// `silu`: `x * sigmoid(x)`.
    Silu,
    /// `swish`: the older name of `silu`.
    Swish,
    /// `tanh`.
    Tanh,
    /// `sigmoid`.
    Sigmoid,
}

impl Activation {
    /// Every activation, in the order in which messages list them.
    pub const ALL: [Activation; 10] = [
        Activation::Gelu,
        Activation::GeluNew,
        Activation::GeluPytorchTanh,
        Activation::GeluFast,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::Silu,
        Activation::Swish,
        Activation::Tanh,
        Activation::Sigmoid,
    ];

    /// The Hugging Face name.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Gelu => "gelu",
            Activation::GeluNew => "gelu_new",
            Activation::GeluPytorchTanh => "gelu_pytorch_tanh",
            Activation::GeluFast => "gelu_fast",
            Activation::QuickGelu => "quick_gelu",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
            Activation::Swish => "swish",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
        }
    }

    /// The activation that Hugging Face calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// The activation of every element of `x`, any shape.
    ///
    /// # Errors
    /// Whatever the graph refuses.
    pub fn apply(self, g: &mut Graph, x: &Tensor) -> std::result::Result<Tensor, GraphError> {
        match self {
            Activation::Gelu => g.gelu(x),
            // One function in exact arithmetic; the three names differ in rounding only.
            Activation::GeluNew | Activation::GeluPytorchTanh | Activation::GeluFast => {
                g.gelu_tanh(x)
            }
            Activation::QuickGelu => {
                let scaled = g.mul_scalar(x, 1.702)?;
                let gate = g.sigmoid(&scaled)?;
                g.mul(x, &gate)
            }
            Activation::Relu => g.relu(x),
            Activation::Silu | Activation::Swish => g.silu(x),
            Activation::Tanh => g.tanh(x),
            Activation::Sigmoid => g.sigmoid(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_json_format() {
        for a in Activation::ALL {
            let json = serde_json::to_string(&a).unwrap();
            assert_eq!(json, format!("\"{}\"", a.name()));
            assert_eq!(serde_json::from_str::<Activation>(&json).unwrap(), a);
            assert_eq!(Activation::from_name(a.name()), Some(a));
        }
        assert_eq!(Activation::from_name("GELU"), None);
        let error = serde_json::from_str::<Activation>("\"glu\"").unwrap_err();
        assert!(error.to_string().contains("gelu_pytorch_tanh"), "{error}");
    }
}
