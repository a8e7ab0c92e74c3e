//! Muon: momentum made orthogonal, for the matrices of the encoder; AdamW for everything else.
//!
//! Owns: which parameters are orthogonalised, their update, and the numbers of a step. Must not know:
//! schedules, clipping, which parameters decay.
//!
//! Sources: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Liu et al.
//! 2025, "Muon is scalable for LLM training" (`match_rms_adamw`); Bernstein 2025, "Deriving Muon"
//! (`spectral_unclamped`). Term for term `torch.optim.Muon`:
//!
//! ```text
//! m <- momentum m + (1 - momentum) g
//! u <- (1 - momentum) g + momentum m with `nesterov`, else m
//! p <- p (1 - lr wd) - lr adjust(rows, columns) NewtonSchulz(u)
//! ```
//!
//! Two differences. PyTorch multiplies in bf16, an economy of its devices; here the products are f32
//! like all others. And PyTorch leaves it to the user to give other parameters to another optimizer;
//! here embeddings, biases, layer norms and the heads of objectives go to AdamW with its own
//! configuration under `adamw`, as the authors advise. Matrices of the encoder are those of role weight
//! whose name begins with `bert.`.

mod newton_schulz;

use ablate_adamw::AdamW;
use ablate_sdk::{
    check, Error, GraphBuilder, Optimizer, Parameter, ParameterInfo, Result, Role, Slot, Updated,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Names of the encoder's parameters begin so.
const ENCODER: &str = "bert.";

/// Most Newton-Schulz steps, as in PyTorch less one.
const MAX_STEPS: u32 = 99;

/// Configuration of `muon`; the defaults are PyTorch's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size of the orthogonalised matrices before the schedule.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Decoupled decay of those matrices per unit of learning rate.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Decay rate of the running mean of the gradient.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// Nesterov's momentum: look at the gradient after the momentum's step.
    pub nesterov: bool,
    /// Factors of the first, third and fifth power in the Newton-Schulz polynomial.
    pub ns_coefficients: [f64; 3],
    /// Newton-Schulz steps.
    #[schemars(range(min = 1, max = 99))]
    pub ns_steps: u32,
    /// Least norm of a matrix that is scaled to norm 1.
    #[schemars(range(min = 0.0))]
    pub eps: f64,
    /// How the learning rate depends on a matrix's shape.
    pub adjust_learning_rate: Adjustment,
    /// AdamW for the other parameters. The schedule scales both learning rates alike.
    pub adamw: ablate_adamw::Config,
}

/// How the learning rate depends on a matrix `[rows, columns]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Adjustment {
    /// Times `sqrt(max(1, rows / columns))`, as in the authors' code.
    #[default]
    Original,
    /// Times `0.2 sqrt(max(rows, columns))`: steps as large as AdamW's, whose learning rate and decay
    /// then fit.
    MatchRmsAdamw,
    /// Times `sqrt(rows / columns)`.
    SpectralUnclamped,
}

impl Adjustment {
    fn factor(self, rows: usize, columns: usize) -> f64 {
        let (rows, columns) = (rows as f64, columns as f64);
        match self {
            Adjustment::Original => (rows / columns).max(1.0).sqrt(),
            Adjustment::MatchRmsAdamw => 0.2 * rows.max(columns).sqrt(),
            Adjustment::SpectralUnclamped => (rows / columns).sqrt(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-3,
            weight_decay: 0.1,
            momentum: 0.95,
            nesterov: true,
            ns_coefficients: [3.4445, -4.7750, 2.0315],
            ns_steps: 5,
            eps: 1e-7,
            adjust_learning_rate: Adjustment::Original,
            adamw: ablate_adamw::Config::default(),
        }
    }
}

/// The optimizer.
pub struct Muon {
    config: Config,
    rest: AdamW,
}

/// Whether a parameter is one of the encoder's matrices.
fn orthogonalised(name: &str, role: Role, rank: usize) -> bool {
    role == Role::Weight && rank == 2 && name.starts_with(ENCODER)
}

impl Optimizer for Muon {
    const NAME: &'static str = "muon";
    const DESCRIPTION: &'static str =
        "Orthogonalised momentum for the encoder's matrices, AdamW for the rest.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::positive("learning_rate", config.learning_rate)?;
        check::not_negative("weight_decay", config.weight_decay)?;
        check::decay_rate("momentum", config.momentum)?;
        check::not_negative("eps", config.eps)?;
        for coefficient in config.ns_coefficients {
            check::finite("ns_coefficients", coefficient)?;
        }
        if !(1..=MAX_STEPS).contains(&config.ns_steps) {
            return Err(Error::Config(format!(
                "`ns_steps` is {}; it is from 1 to {MAX_STEPS}",
                config.ns_steps
            )));
        }
        let rest =
            AdamW::new(config.adamw.clone()).map_err(|e| Error::Config(format!("`adamw`: {e}")))?;
        Ok(Muon { config, rest })
    }

    fn base_learning_rate(&self) -> f64 {
        self.config.learning_rate
    }

    fn slots_of(&self, parameter: &ParameterInfo<'_>) -> Vec<Slot> {
        let shape = &parameter.shape;
        if orthogonalised(parameter.name, parameter.role, shape.len()) {
            vec![Slot::zeros("momentum_buffer", shape)]
        } else {
            self.rest.slots(shape)
        }
    }

    fn scalar_names(&self) -> Vec<&'static str> {
        vec![
            "learning_rate",
            "decay_factor",
            "adamw_decay_factor",
            "adamw_step_size",
            "adamw_root_correction",
        ]
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        // The schedule's factor is known only through the rate that it made.
        let factor = learning_rate / self.config.learning_rate;
        let rest = self
            .rest
            .scalars(step, factor * self.rest.base_learning_rate())?;
        let decay_factor = 1.0 - learning_rate * self.config.weight_decay;
        Ok([vec![learning_rate, decay_factor], rest].concat())
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let Some((&[learning_rate, decay_factor], of_rest)) = p.scalars.split_first_chunk() else {
            return Err(Error::Other(format!(
                "`muon` has 5 scalars, not {}",
                p.scalars.len()
            )));
        };
        let shape = g.shape(p.parameter)?;
        if !orthogonalised(p.name, p.role, shape.len()) {
            return self.rest.update(g, &p.with_scalars(of_rest));
        }
        let (&[momentum], &[rows, columns]) = (p.slots, &shape[..]) else {
            return Err(Error::Other(format!(
                "`muon` keeps 1 slot of a matrix, not {}",
                p.slots.len()
            )));
        };
        let c = &self.config;
        let momentum = g.moving_average(momentum, p.gradient, c.momentum)?;
        let direction = if c.nesterov {
            g.moving_average(p.gradient, momentum, 1.0 - c.momentum)?
        } else {
            momentum
        };
        let direction =
            newton_schulz::orthogonalise(g, direction, c.ns_coefficients, c.ns_steps, c.eps)?;
        let rate = g.mul_scalar(learning_rate, c.adjust_learning_rate.factor(rows, columns))?;
        let decayed = p.decayed(g, c.weight_decay, decay_factor)?;
        Ok(Updated {
            parameter: g.sub(decayed, g.mul(direction, rate)?)?,
            slots: vec![momentum],
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Muon with AdamW beside it, as torch.optim.Muon.",
        optimizers: [Muon],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, role: Role, shape: &[usize]) -> Vec<&'static str> {
        let muon = Muon::new(Config::default()).ok().unwrap();
        let info = ParameterInfo {
            name,
            role,
            shape: shape.to_vec(),
            decays: true,
        };
        muon.slots_of(&info).into_iter().map(|s| s.name).collect()
    }

    #[test]
    fn matrices_of_the_encoder_alone_are_orthogonalised() {
        let query = "bert.encoder.layer.0.attention.self.query.weight";
        assert_eq!(names(query, Role::Weight, &[4, 4]), ["momentum_buffer"]);
        for (name, role, shape) in [
            (
                "bert.encoder.layer.0.output.dense.bias",
                Role::Bias,
                &[4][..],
            ),
            (
                "bert.embeddings.word_embeddings.weight",
                Role::Embedding,
                &[9, 4],
            ),
            ("cls.seq_relationship.weight", Role::Weight, &[2, 4]),
        ] {
            assert_eq!(names(name, role, shape), ["exp_avg", "exp_avg_sq"]);
        }
    }

    #[test]
    fn one_schedule_scales_both_rates() {
        let muon = Muon::new(Config {
            learning_rate: 0.02,
            adamw: ablate_adamw::Config {
                learning_rate: 1e-3,
                bias_correction: false,
                ..ablate_adamw::Config::default()
            },
            ..Config::default()
        })
        .ok()
        .unwrap();
        let scalars = muon.scalars(1, 0.01).unwrap();
        assert_eq!(scalars.len(), muon.scalar_names().len());
        assert!((scalars[3] - 5e-4).abs() < 1e-18, "{scalars:?}");
    }

    #[test]
    fn impossible_values_are_refused_by_key() {
        let refused = |config| {
            Muon::new(config)
                .err()
                .map_or(String::new(), |e| e.to_string())
        };
        let config = Config {
            ns_steps: 0,
            ..Config::default()
        };
        assert!(refused(config).contains("ns_steps"));
        let config = Config {
            adamw: ablate_adamw::Config {
                eps: -1.0,
                ..ablate_adamw::Config::default()
            },
            ..Config::default()
        };
        assert!(refused(config).contains("`adamw`: `eps`"));
    }
}
