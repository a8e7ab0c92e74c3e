//! torch.optim.AdamW and clip_grad_norm_ in f64, for the tests that take gradients from an engine.
//!
//! Loshchilov, Hutter, "Decoupled Weight Decay Regularization", 2019.

use ablate_bert::ParameterSpec;

use crate::case::AdamW;
use crate::compare::norm;
use crate::engine::Values;

/// The optimizer's state.
pub struct Optimizer {
    settings: AdamW,
    step: i32,
    first: Values,
    second: Values,
}

impl Optimizer {
    pub fn new(settings: &AdamW) -> Self {
        Optimizer {
            settings: settings.clone(),
            step: 0,
            first: Values::new(),
            second: Values::new(),
        }
    }

    /// One step on every parameter; returns the gradient's norm before clipping.
    pub fn step(
        &mut self,
        specs: &[ParameterSpec],
        parameters: &mut Values,
        gradients: &Values,
    ) -> f64 {
        let s = &self.settings;
        self.step += 1;
        let norms: Vec<f64> = gradients.values().map(|g| norm(g)).collect();
        let total = norm(&norms);
        let clip = (s.clip_norm / (total + 1e-6)).min(1.0);
        let (b1, b2) = s.betas;
        let correction1 = 1.0 - b1.powi(self.step);
        let correction2 = 1.0 - b2.powi(self.step);
        for spec in specs {
            let gradient = &gradients[&spec.name];
            let zeros = || vec![0.0; gradient.len()];
            let m = self.first.entry(spec.name.clone()).or_insert_with(zeros);
            let v = self.second.entry(spec.name.clone()).or_insert_with(zeros);
            let decay = if spec.decays() { s.weight_decay } else { 0.0 };
            let values = parameters.get_mut(&spec.name).unwrap();
            for (i, p) in values.iter_mut().enumerate() {
                let g = gradient[i] * clip;
                m[i] = b1 * m[i] + (1.0 - b1) * g;
                v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                *p -= s.lr * decay * *p;
                let root = (v[i] / correction2).sqrt() + s.eps;
                *p -= s.lr * (m[i] / correction1) / root;
            }
        }
        total
    }
}
