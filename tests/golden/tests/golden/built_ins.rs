//! The built-in objectives sop, rtd, simcse and distill against PyTorch: loss, every metric, every
//! gradient, in training and evaluation graphs. `objectives.py` froze them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ablate_bert::BertConfig;
use ablate_compiler::ReferenceBackend;
use ablate_cpu::CpuBackend;
use ablate_graph::Graph;
use ablate_host::Registry;
use ablate_train::graphs::{
    forward, gradient_name, output_name, scale_name, Forward, ForwardShape,
};
use ablate_train::window::label;
use ablate_train::{
    Feature, Objective, ObjectiveContext, ObjectiveGraph, PluginError, PreparedBatch, IGNORED,
};
use serde_json::{json, Value};

use crate::case::{floats, Case, CASES};
use crate::compare::{assert_close, norm, to_f64};
use crate::engine::{Engine, InF64, OnBackend, Values};
use crate::trainer::prepared;

/// An objective whose data hook hands out frozen labels.
struct Frozen {
    inner: Box<dyn Objective>,
    features: BTreeMap<String, Feature>,
}

impl Objective for Frozen {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn weight(&self) -> f64 {
        1.0
    }

    fn needs_pairs(&self) -> bool {
        false
    }

    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(Frozen {
            inner: self.inner.duplicate()?,
            features: self.features.clone(),
        }))
    }

    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError> {
        batch.features = self.features.clone();
        let labels = self.features.values().flat_map(|f| match f {
            Feature::PerToken(labels) | Feature::PerSequence(labels) => labels,
        });
        Ok(labels.filter(|label| **label != IGNORED).count() as f64)
    }

    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        self.inner.build(cx)
    }
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/objectives")
}

fn golden() -> Value {
    let text = std::fs::read_to_string(data().join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

const VARIANTS: [&str; 5] = ["sop", "rtd", "simcse_cls", "simcse_mean", "distill"];

fn objective(variant: &str, case: &Case, golden: &Value, teacher: &Path) -> Box<dyn Objective> {
    let batch = &case.batch;
    let name = variant.split('_').next().unwrap();
    let (config, feature, labels) = match variant {
        "sop" => {
            let labels = Feature::PerSequence(batch.next_sentence_label.clone());
            (json!({}), "labels", labels)
        }
        "rtd" => {
            let labels = batch.labels.iter().zip(&batch.attention_mask);
            let labels = labels.map(|(l, m)| match m {
                0 => IGNORED,
                _ => i64::from(*l != IGNORED),
            });
            (json!({}), "replaced", Feature::PerToken(labels.collect()))
        }
        "distill" => {
            let frozen = golden["distill_labels"].as_array().unwrap();
            let mut frozen = frozen.iter().map(|l| l.as_i64().unwrap());
            let labels = batch.labels.iter().map(|l| match *l {
                IGNORED => IGNORED,
                _ => frozen.next().unwrap(),
            });
            let config = json!({"teacher": teacher, "temperature": 2.0});
            (config, "labels", Feature::PerToken(labels.collect()))
        }
        _ => {
            let mut rows = vec![0; batch.batch];
            // The last row of `odd` counts as padding.
            if batch.batch == 3 {
                rows[2] = IGNORED;
            }
            let pooling = variant.strip_prefix("simcse_").unwrap();
            (
                json!({"pooling": pooling}),
                "rows",
                Feature::PerSequence(rows),
            )
        }
    };
    let inner = Registry::with_builtins().unwrap();
    let inner = Box::new(inner.make_objective(name, &config).unwrap());
    let features = BTreeMap::from([(feature.to_owned(), labels)]);
    Box::new(Frozen { inner, features })
}

/// A graph with what it is fed and what it gives.
struct Built {
    graph: Graph,
    feeds: ablate_graph::Feeds,
    values: Values,
    /// Name of each parameter that the loss reaches.
    parameters: Vec<String>,
    metrics: Vec<String>,
    units: f64,
}

fn build(case: &Case, name: &str, objective: Box<dyn Objective>, training: bool) -> Built {
    let mut objectives = vec![objective];
    let labelled = label(&mut objectives, prepared(case)).unwrap();
    // Room to spare weighs nothing.
    let capacities: Vec<usize> = labelled.predictions().iter().map(|n| n + 3).collect();
    let shape = ForwardShape::of(&labelled, &capacities);
    let config = BertConfig {
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.2,
        ..case.config.clone()
    };
    // Only `simcse` is made of dropout; PyTorch ran the others without.
    let plain = BertConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..config.clone()
    };
    let own = objectives[0].name().to_owned();
    let config = if own == "simcse" { config } else { plain };
    let mut built = forward(&config, &mut objectives, &shape, training).unwrap();
    let loss = built.weighted_loss(&objectives).unwrap();
    let Forward {
        mut graph,
        parameters,
        objectives: mut outputs,
        frozen,
    } = built;
    graph.output("loss", &loss).unwrap();
    let metrics = outputs.remove(0).metrics;
    for (metric, sum) in &metrics {
        graph.output(&output_name(&own, metric), sum).unwrap();
    }
    let named = graph.parameters().to_vec();
    let tensors: Vec<_> = named.iter().map(|(_, t)| t.clone()).collect();
    if training {
        let gradients = graph.gradients(&loss, &tensors).unwrap();
        for ((name, _), gradient) in named.iter().zip(&gradients) {
            graph.output(&gradient_name(name), gradient).unwrap();
        }
    }
    let mut feeds = labelled.feeds(std::slice::from_ref(&own), &shape.capacities);
    let units = labelled.units[0];
    feeds.set(scale_name(&own), vec![(1.0 / units) as f32]);
    let heads = floats(&data().join(format!("{name}.heads.safetensors")));
    let mut values = Values::new();
    for spec in &parameters {
        let known = case.parameters.get(&spec.name).or(heads.get(&spec.name));
        let (shape, stored) = known.unwrap_or_else(|| panic!("{} is not frozen", spec.name));
        assert_eq!(*shape, spec.shape, "{}", spec.name);
        values.insert(spec.name.clone(), to_f64(stored));
    }
    for state in frozen {
        values.insert(state.name, to_f64(&state.values));
    }
    Built {
        graph,
        feeds,
        values,
        parameters: parameters.into_iter().map(|s| s.name).collect(),
        metrics: metrics.into_iter().map(|(name, _)| name).collect(),
        units,
    }
}

type MakeEngine = fn(Graph) -> Box<dyn Engine>;

fn check(make: MakeEngine, loss_tolerance: f64, gradient_tolerance: f64) {
    let golden = golden();
    for name in CASES {
        let case = Case::load(name);
        for variant in VARIANTS {
            for (graph, training) in [("training", true), ("evaluation", false)] {
                let wanted = golden[name][variant][graph].as_object().unwrap();
                let what = |part: &str| format!("{name}, {variant}, {graph}: {part}");
                let teacher = data().join("teacher");
                let objective = objective(variant, &case, &golden[name], &teacher);
                let own = objective.name().to_owned();
                let built = build(&case, name, objective, training);

                let expected: BTreeSet<_> = wanted.keys().filter(|k| *k != "loss").collect();
                assert_eq!(built.metrics.iter().collect::<BTreeSet<_>>(), expected);
                let mut outputs = vec!["loss".to_owned()];
                outputs.extend(built.metrics.iter().map(|m| output_name(&own, m)));
                if training {
                    outputs.extend(built.parameters.iter().map(|p| gradient_name(p)));
                }
                let found = make(built.graph).run(&built.values, &built.feeds, &outputs);
                let near = |part: &str, found: f64| {
                    let wanted = wanted[part].as_f64().unwrap();
                    let error = (found - wanted).abs() / wanted.abs().max(1e-2);
                    assert!(
                        error <= loss_tolerance,
                        "{}: {found} against {wanted}",
                        what(part)
                    );
                };
                near("loss", found["loss"][0]);
                for metric in &built.metrics {
                    near(metric, found[&output_name(&own, metric)][0] / built.units);
                }
                if training {
                    check_gradients(
                        &format!("{name}.{variant}"),
                        &built.parameters,
                        &found,
                        gradient_tolerance,
                    );
                }
            }
        }
    }
}

fn check_gradients(file: &str, parameters: &[String], found: &Values, tolerance: f64) {
    let wanted = floats(&data().join(format!("{file}.safetensors")));
    let zero = |name: &str| !wanted.contains_key(name) || norm(&to_f64(&wanted[name].1)) == 0.0;
    let whole: f64 = wanted.values().map(|(_, v)| norm(&to_f64(v)).powi(2)).sum();
    let whole = whole.sqrt();
    // What PyTorch has a gradient for, Ablate has, and the other way round.
    let reached: BTreeSet<&str> = parameters.iter().map(String::as_str).collect();
    for name in wanted.keys().filter(|name| !zero(name)) {
        assert!(
            reached.contains(name.as_str()),
            "{file}: {name} is not reached"
        );
    }
    for name in parameters {
        let found = &found[&gradient_name(name)];
        if zero(name) || norm(&to_f64(&wanted[name].1)) < 1e-6 * whole {
            // The keys' biases, see `heads`.
            assert!(norm(found) < 1e-6 * whole, "{file}: {name} is not zero");
        } else {
            let wanted = to_f64(&wanted[name].1);
            assert_close(&format!("{file}: {name}"), found, &wanted, tolerance);
        }
    }
}

#[test]
fn the_f64_interpreter_matches_pytorch() {
    // What is left is the approximation of erf, constants in f32 and the f32 of the frozen files.
    check(|graph| Box::new(InF64(graph)), 2e-6, 1e-5);
}

#[test]
fn the_cpu_backend_matches_pytorch() {
    let cpu: MakeEngine = |graph| {
        let backend = CpuBackend::new(2).unwrap();
        Box::new(OnBackend::new(&backend, graph))
    };
    check(cpu, 1e-4, 1e-3);
}

#[test]
fn stock_luminal_matches_pytorch() {
    let reference: MakeEngine = |graph| Box::new(OnBackend::new(&ReferenceBackend, graph));
    check(reference, 1e-4, 1e-3);
}

#[test]
fn a_model_that_teaches_itself_has_nothing_to_learn() {
    let golden = golden();
    for name in CASES {
        let case = Case::load(name);
        let teacher = objective("distill", &case, &golden[name], &case.folder);
        let built = build(&case, name, teacher, false);
        let outputs = ["loss", "distill/agreement"].map(String::from);
        let found = InF64(built.graph).run(&built.values, &built.feeds, &outputs);
        assert!(found["loss"][0].abs() < 1e-12, "{}", found["loss"][0]);
        assert_eq!(found["distill/agreement"][0], built.units);
    }
}
