//! Every distinct kernel of the example pipelines, each with a name that stays.
//!
//! The recipes are those of the repository. Only their corpora are replaced, by full rows of made-up
//! tokens, so that nothing is downloaded: there are as many masked positions as without padding, and both the
//! vocabulary that the recipe asks for and, with the sample corpus, the smaller one that it gives.

use ablate_bench::{Configuration, SyntheticBatches};
use ablate_bert::BertConfig;
use ablate_compiler::compile_with;
use ablate_cuda::print::{print, KernelSource};
use ablate_cuda::Precision;
use ablate_graph::ir::Phase;
use ablate_graph::Graph;
use ablate_host::{Kind, Registry};
use ablate_recipe::{load, Activation, Catalog, Recipe, Tokenizer};
use ablate_train::graphs::{evaluation, gradient, update_variant, ForwardShape};
use ablate_train::window::label_window;
use ablate_train::{BatchSource as _, Objective, Optimizer as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where kernels come from, beside the example pipelines: published sizes of BERT, with rows of so many
/// tokens, in single precision and with activations stored as bfloat16. One layer is as good as many.
const SIZES: [(&str, usize); 3] = [("base", 128), ("base", 512), ("large", 512)];

/// Entries of the vocabulary of `datasets/sample.yaml`; an end-to-end test sees it in the quickstart.
const SAMPLE_VOCABULARY: usize = 378;

/// All kernels by name.
pub fn kernels() -> BTreeMap<String, KernelSource> {
    let mut found = Found::default();
    // Recipes name their data from there.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(root).expect("the repository");
    for path in recipes() {
        let loaded = load(&path, &[], &catalog()).unwrap_or_else(|e| panic!("{e}"));
        for arm in &loaded.arms {
            let Tokenizer::Wordpiece { vocab_size, .. } = arm.recipe.data.tokenizer else {
                panic!("{}: the vocabulary is in a file", path.display());
            };
            found.trial(&Trial::of(&arm.recipe, vocab_size));
            let card = arm.recipe.data.source.card();
            if card.is_some_and(|card| card.ends_with("sample.yaml")) {
                found.trial(&Trial::of(&arm.recipe, SAMPLE_VOCABULARY));
            }
        }
    }
    // What both precisions have is named by the first.
    for precision in [Precision::F32, Precision::Bf16] {
        for (size, seq) in SIZES {
            found.trial(&Trial::sized(size, seq, precision));
        }
    }
    found.kernels
}

/// The example pipelines of the repository.
fn recipes() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("pipelines").expect("a folder");
    let paths = entries.map(|e| e.expect("an entry").path());
    let mut recipes: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    recipes.sort();
    assert!(recipes.len() >= 3, "{recipes:?}");
    recipes
}

fn catalog() -> Catalog {
    let registry = Registry::with_builtins().expect("the built-in plugins");
    let mut catalog = Catalog::default();
    for entry in registry.catalogue() {
        let names = match entry.kind {
            Kind::Objective => &mut catalog.objectives,
            Kind::Optimizer => &mut catalog.optimizers,
            Kind::Schedule => &mut catalog.schedules,
            Kind::StoppingRule => &mut catalog.stopping,
            Kind::Operator | Kind::Unknown => continue,
        };
        names.insert(entry.name.clone(), entry.schema.clone());
    }
    // Of the data crate, which this one does without; kernels know nothing of it.
    let operator = serde_json::json!({"type": "object"});
    catalog.operators.insert("exact_dedup".into(), operator);
    catalog
}

/// What decides the graphs of a trial.
#[derive(Debug)]
struct Trial {
    model: BertConfig,
    batches: Configuration,
    objectives: Vec<(String, serde_json::Value)>,
    optimizer: (String, serde_json::Value),
    clip_norm: Option<f64>,
    accumulates: bool,
    packed: bool,
    precision: Precision,
}

impl Trial {
    fn of(recipe: &Recipe, vocab_size: usize) -> Trial {
        let bert = &recipe.model.bert;
        assert_eq!(bert.activation, Activation::Gelu, "of all pipelines so far");
        Trial {
            model: BertConfig {
                vocab_size,
                hidden_size: bert.hidden,
                num_hidden_layers: bert.layers,
                num_attention_heads: bert.heads,
                intermediate_size: bert.intermediate,
                hidden_dropout_prob: bert.dropout,
                attention_probs_dropout_prob: bert.attention_dropout,
                max_position_embeddings: bert.max_positions,
                layer_norm_eps: bert.layer_norm_eps,
                ..BertConfig::default()
            },
            batches: Configuration {
                vocab: vocab_size,
                seq: recipe.data.sequence_length,
                batch: recipe.train.batch_size,
                ..Configuration::preset("tiny").expect("a preset")
            },
            objectives: recipe
                .objectives
                .iter()
                .map(|o| (o.name.clone(), o.config.clone()))
                .collect(),
            optimizer: (
                recipe.optimizer.name.clone(),
                recipe.optimizer.config.clone(),
            ),
            clip_norm: recipe.train.clip_norm,
            accumulates: recipe.train.accumulate > 1,
            packed: recipe.train.packed,
            precision: match recipe.precision {
                ablate_recipe::Precision::Bf16 => Precision::Bf16,
                _ => Precision::F32,
            },
        }
    }

    /// As `ablate bench --size` measures it, with one layer.
    fn sized(size: &str, seq: usize, precision: Precision) -> Trial {
        let batches = Configuration {
            seq,
            layers: 1,
            ..Configuration::preset(size).expect("a preset")
        };
        let none = || serde_json::json!({});
        Trial {
            model: batches.model().expect("a model"),
            batches,
            objectives: vec![("mlm".into(), none()), ("nsp".into(), none())],
            optimizer: ("adamw".into(), none()),
            clip_norm: Some(1.0),
            accumulates: false,
            packed: false,
            precision,
        }
    }

    /// Every graph that such a trial runs.
    fn graphs(&self) -> Vec<Graph> {
        let registry = Registry::with_builtins().expect("the built-in plugins");
        let mut objectives: Vec<Box<dyn Objective>> = vec![];
        for (name, config) in &self.objectives {
            let made = registry.make_objective(name, config);
            objectives.push(Box::new(made.unwrap_or_else(|e| panic!("{name}: {e}"))));
        }
        let window = SyntheticBatches::new(&self.batches)
            .next_window()
            .expect("endless");
        let window = label_window(&mut objectives, window)
            .expect("labels")
            .packed(self.packed);
        let first = &window.batches[0];
        let shape = ForwardShape::of(first, &first.capacities());
        let mut graphs = vec![];
        for accumulate in [false, true] {
            if accumulate && !self.accumulates {
                continue;
            }
            let built = gradient(&self.model, &mut objectives, &shape, accumulate);
            graphs.push(built.expect("a gradient graph").graph);
        }
        let held_out =
            evaluation(&self.model, &mut objectives, &shape).expect("an evaluation graph");
        graphs.push(held_out.graph);
        let (name, config) = &self.optimizer;
        let mut optimizer = registry
            .make_optimizer(name, config)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        for variant in 0..optimizer.variants().max(1) {
            let parameters = &held_out.parameters;
            let built = update_variant(parameters, &mut optimizer, self.clip_norm, variant);
            graphs.push(built.expect("an update graph").0);
        }
        graphs
    }
}

#[derive(Default)]
struct Found {
    /// Trials that have been looked at: arms that differ in their data alone have the same graphs.
    trials: BTreeSet<String>,
    kernels: BTreeMap<String, KernelSource>,
    entries: BTreeSet<String>,
}

impl Found {
    fn trial(&mut self, trial: &Trial) {
        if !self.trials.insert(format!("{trial:?}")) {
            return;
        }
        for graph in trial.graphs() {
            let lowered = graph.lower().expect("lowers");
            let program = compile_with(&lowered, trial.precision).expect("compiles");
            for kernel in print(&program).kernels() {
                // Equal names are equal kernels.
                if self.entries.insert(kernel.entry.clone()) {
                    let name = self.name(kernel, trial.precision);
                    self.kernels.insert(name, kernel.clone());
                }
            }
        }
    }

    /// Kind, size and the first place where it was met, whatever its layer, behind the precision if that is not
    /// single; a number where that is taken.
    fn name(&self, kernel: &KernelSource, precision: Precision) -> String {
        let phase = match kernel.phase {
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Update => "update",
        };
        let place = any_layer(&kernel.scope);
        let name = match precision {
            Precision::Bf16 => format!("bf16 {phase} {place} {}", kernel.name),
            _ => format!("{phase} {place} {}", kernel.name),
        };
        let numbered = (2..).map(|i| format!("{name} #{i}"));
        std::iter::once(name.clone())
            .chain(numbered)
            .find(|name| !self.kernels.contains_key(name))
            .expect("the numbers have no end")
    }
}

/// A place in the model with `*` for the number of a layer.
fn any_layer(scope: &str) -> String {
    let part = |part: &str| match part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty() {
        true => "*".to_string(),
        false => part.to_string(),
    };
    let parts: Vec<String> = scope
        .split('/')
        .map(|step| step.split('.').map(part).collect::<Vec<_>>().join("."))
        .collect();
    parts.join("/")
}
