//! The built-in `mlm`, `nsp` and `adamw` through the plugin host, with the frozen labels.

use ablate_host::Registry;
use ablate_train::{
    Feature, Objective, ObjectiveContext, ObjectiveGraph, Optimizer, PluginError, PreparedBatch,
    IGNORED,
};
use serde_json::json;

use crate::case::Case;

/// An objective whose data hook hands out frozen labels; PyTorch did not mask as the plugin would.
struct Frozen {
    inner: Box<dyn Objective>,
    labels: Feature,
}

impl Objective for Frozen {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn weight(&self) -> f64 {
        self.inner.weight()
    }

    fn needs_pairs(&self) -> bool {
        self.inner.needs_pairs()
    }

    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(Frozen {
            inner: self.inner.duplicate()?,
            labels: self.labels.clone(),
        }))
    }

    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError> {
        let labels = self.labels.clone();
        let (Feature::PerToken(values) | Feature::PerSequence(values)) = &labels;
        let units = values.iter().filter(|label| **label != IGNORED).count();
        batch.features.insert("labels".into(), labels);
        Ok(units as f64)
    }

    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        self.inner.build(cx)
    }
}

/// Both objectives at weight 1.
pub fn objectives(case: &Case) -> Vec<Box<dyn Objective>> {
    let registry = Registry::with_builtins().unwrap();
    let frozen = |name: &str, labels: Feature| -> Box<dyn Objective> {
        let inner = Box::new(registry.make_objective(name, &json!({})).unwrap());
        Box::new(Frozen { inner, labels })
    };
    vec![
        frozen("mlm", Feature::PerToken(case.batch.labels.clone())),
        frozen(
            "nsp",
            Feature::PerSequence(case.batch.next_sentence_label.clone()),
        ),
    ]
}

/// AdamW with the frozen settings.
pub fn optimizer(case: &Case) -> Box<dyn Optimizer> {
    let s = &case.golden.optimizer;
    let config = json!({
        "learning_rate": s.lr,
        "betas": [s.betas.0, s.betas.1],
        "eps": s.eps,
        "weight_decay": s.weight_decay,
    });
    let registry = Registry::with_builtins().unwrap();
    Box::new(registry.make_optimizer("adamw", &config).unwrap())
}
