//! The two objectives and the optimizer as the trainer takes them, written for these tests alone.

use ablate_bert::{ParameterSpec, Role};
use ablate_graph::{Graph, GraphError, Tensor};
use ablate_train::{
    Feature, Objective, ObjectiveContext, ObjectiveGraph, Optimizer, PluginError, PreparedBatch,
    SlotSpec, Update, UpdateContext, IGNORED,
};

use crate::case::{AdamW, Case};

/// Masked words with the frozen labels instead of masks of its own.
#[derive(Clone)]
pub struct Masked {
    labels: Vec<i64>,
    eps: f32,
    activation: ablate_bert::Activation,
}

impl Masked {
    pub fn new(case: &Case) -> Self {
        Masked {
            labels: case.batch.labels.clone(),
            eps: case.config.layer_norm_eps as f32,
            activation: case.config.hidden_act,
        }
    }

    fn loss(&self, cx: &mut ObjectiveContext<'_>) -> Result<Tensor, GraphError> {
        let hidden = cx.encoder.hidden().clone();
        let words = cx.encoder.word_embeddings().clone();
        let width = hidden.size(2);
        let bias = cx.parameter("cls.predictions.bias", &[words.size(0)], Role::Bias)?;
        let transform = "cls.predictions.transform";
        let weight = cx.parameter(
            &format!("{transform}.dense.weight"),
            &[width, width],
            Role::Weight,
        )?;
        let shift = cx.parameter(&format!("{transform}.dense.bias"), &[width], Role::Bias)?;
        let gamma = cx.parameter(
            &format!("{transform}.LayerNorm.weight"),
            &[width],
            Role::NormScale,
        )?;
        let beta = cx.parameter(
            &format!("{transform}.LayerNorm.bias"),
            &[width],
            Role::NormBias,
        )?;
        let g = &mut *cx.graph;
        let flat = g.reshape(&hidden, &[cx.batch * cx.seq, width])?;
        let x = g.gather(&flat, &cx.features["labels.positions"])?;
        let x = g.linear(&x, &weight, Some(&shift))?;
        let x = self.activation.apply(g, &x)?;
        let x = g.layer_norm(&x, &gamma, &beta, self.eps)?;
        let logits = g.linear(&x, &words, Some(&bias))?;
        sum_of_losses(cx, &logits)
    }
}

/// Cross-entropy summed over the labels that weigh 1.
fn sum_of_losses(cx: &mut ObjectiveContext<'_>, logits: &Tensor) -> Result<Tensor, GraphError> {
    let (values, weights) = (
        &cx.features["labels.values"],
        &cx.features["labels.weights"],
    );
    let losses = cx.graph.cross_entropy(logits, values, Some(weights))?;
    cx.graph.sum(&losses, &[0], false)
}

fn built(name: &str, loss: Result<Tensor, GraphError>) -> Result<ObjectiveGraph, PluginError> {
    let loss_sum = loss.map_err(|e| PluginError::new(name, "build", e))?;
    Ok(ObjectiveGraph {
        loss_sum,
        metrics: Vec::new(),
    })
}

fn count(labels: &[i64]) -> f64 {
    labels.iter().filter(|l| **l != IGNORED).count() as f64
}

impl Objective for Masked {
    fn name(&self) -> &str {
        "mlm"
    }

    fn weight(&self) -> f64 {
        1.0
    }

    fn needs_pairs(&self) -> bool {
        false
    }

    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(self.clone()))
    }

    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError> {
        let labels = Feature::PerToken(self.labels.clone());
        batch.features.insert("labels".into(), labels);
        Ok(count(&self.labels))
    }

    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        built("mlm", self.loss(cx))
    }
}

/// Next sentence.
pub struct Next;

impl Next {
    fn loss(&self, cx: &mut ObjectiveContext<'_>) -> Result<Tensor, GraphError> {
        let pooled = match cx.encoder.pooled(cx.graph) {
            Ok(pooled) => pooled,
            Err(ablate_bert::BertError::Graph(e)) => return Err(e),
            Err(other) => unreachable!("the pooler adds nodes only: {other}"),
        };
        let width = pooled.size(1);
        let weight = cx.parameter("cls.seq_relationship.weight", &[2, width], Role::Weight)?;
        let bias = cx.parameter("cls.seq_relationship.bias", &[2], Role::Bias)?;
        let logits = cx.graph.linear(&pooled, &weight, Some(&bias))?;
        sum_of_losses(cx, &logits)
    }
}

impl Objective for Next {
    fn name(&self) -> &str {
        "nsp"
    }

    fn weight(&self) -> f64 {
        1.0
    }

    fn needs_pairs(&self) -> bool {
        true
    }

    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(Next))
    }

    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError> {
        let labels = batch.next_sentence_label.clone().unwrap_or_default();
        let units = count(&labels);
        let labels = Feature::PerSequence(labels);
        batch.features.insert("labels".into(), labels);
        Ok(units)
    }

    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        built("nsp", self.loss(cx))
    }
}

/// AdamW as graph nodes.
pub struct InGraph(pub AdamW);

impl InGraph {
    fn nodes(&self, g: &mut Graph, cx: &UpdateContext) -> Result<Update, GraphError> {
        let (b1, b2) = self.0.betas;
        let [rate, correction1, correction2] = cx.scalars.as_slice() else {
            unreachable!("three scalars are named");
        };
        let blend = |g: &mut Graph, old: &Tensor, new: &Tensor, b: f64| {
            let old = g.mul_scalar(old, b as f32)?;
            let new = g.mul_scalar(new, (1.0 - b) as f32)?;
            g.add(&old, &new)
        };
        let m = blend(g, &cx.slots[0], &cx.gradient, b1)?;
        let square = g.square(&cx.gradient)?;
        let v = blend(g, &cx.slots[1], &square, b2)?;
        let m_hat = g.mul(&m, correction1)?;
        let v_hat = g.mul(&v, correction2)?;
        let root = g.sqrt(&v_hat)?;
        let root = g.add_scalar(&root, self.0.eps as f32)?;
        let mut direction = g.div(&m_hat, &root)?;
        if cx.decays {
            let decay = g.mul_scalar(&cx.parameter, self.0.weight_decay as f32)?;
            direction = g.add(&direction, &decay)?;
        }
        let step = g.mul(&direction, rate)?;
        Ok(Update {
            parameter: g.sub(&cx.parameter, &step)?,
            slots: vec![m, v],
        })
    }
}

impl Optimizer for InGraph {
    fn name(&self) -> &str {
        "adamw"
    }

    fn slots(&self, parameter: &ParameterSpec) -> Result<Vec<SlotSpec>, PluginError> {
        let slot = |name: &str| SlotSpec {
            name: name.into(),
            shape: parameter.shape.clone(),
            initial: 0.0,
        };
        Ok(vec![slot("exp_avg"), slot("exp_avg_sq")])
    }

    fn scalar_names(&self) -> Result<Vec<String>, PluginError> {
        let names = ["learning_rate", "correction1", "correction2"];
        Ok(names.map(String::from).into())
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>, PluginError> {
        let correction = |b: f64| 1.0 / (1.0 - b.powf(step as f64));
        let (b1, b2) = self.0.betas;
        Ok(vec![learning_rate, correction(b1), correction(b2)])
    }

    fn update(&mut self, g: &mut Graph, cx: UpdateContext) -> Result<Update, PluginError> {
        self.nodes(g, &cx)
            .map_err(|e| PluginError::new("adamw", "update", e))
    }
}
