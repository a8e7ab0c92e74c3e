//! A catalog like the built-in one, and a folder to load recipes from.
#![allow(dead_code)]

use std::path::PathBuf;

use ablate_recipe::{load, Catalog, Diagnostics, Loaded};
use serde_json::{json, Value};

/// A recipe that is right in every way; tests change one thing in it.
pub const GOOD: &str = "\
pipeline: small
seeds: [1, 2, 3]
data:
  source: card.yaml
  tokenizer: {wordpiece: {vocab_size: 4096, lowercase: true}}
  sequence_length: 128
model:
  bert: {layers: 2, hidden: 128, heads: 2, dropout: 0.1}
objectives:
  - mlm: {mask_rate: 0.15}
  - nsp: {weight: 1.0}
optimizer: {adamw: {learning_rate: 1.0e-3, weight_decay: 0.01}}
schedule: {warmup_linear: {warmup_steps: 20}}
stop:
  - max_steps: {steps: 200}
  - converged: {window: 50, tolerance: 1.0e-3}
experiment:
  data:
    cleaned: {\"data.curate+\": [{exact_dedup: {}}]}
  model:
    deeper: {model.bert.layers: 4}
  design: factorial
";

fn config(properties: Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// What the built-in plugins and operators declare, in the forms that schema generators write.
pub fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    catalog.objectives.insert(
        "mlm".into(),
        json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "mask_rate": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.15},
                "selection": {"$ref": "#/$defs/Selection", "default": "bernoulli"},
            },
            "$defs": {"Selection": {"oneOf": [
                {"type": "string", "const": "bernoulli"}, {"type": "string", "const": "exact"},
            ]}},
        }),
    );
    catalog.objectives.insert("nsp".into(), config(json!({})));
    catalog.optimizers.insert(
        "adamw".into(),
        config(json!({
            "weight_decay": {"type": "number", "minimum": 0, "default": 0.01},
            "beta1": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.9},
        })),
    );
    catalog.optimizers.insert(
        "sgd".into(),
        config(json!({
            "learning_rate": {"type": "number", "exclusiveMinimum": 0},
            "momentum": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.0},
        })),
    );
    let steps = |least: u64| json!({"type": "integer", "minimum": least});
    for (name, properties, required) in [
        ("constant", json!({}), json!([])),
        (
            "warmup_linear",
            json!({"warmup_steps": steps(0), "total_steps": steps(1)}),
            json!(["warmup_steps", "total_steps"]),
        ),
        (
            "warmup_cosine",
            json!({"warmup_steps": steps(0), "total_steps": steps(1),
                "cycles": {"type": "number", "exclusiveMinimum": 0, "default": 0.5}}),
            json!(["warmup_steps", "total_steps"]),
        ),
    ] {
        let mut schema = config(properties);
        schema["required"] = required;
        catalog.schedules.insert(name.into(), schema);
    }
    for (name, properties) in [
        (
            "max_steps",
            json!({"steps": {"type": "integer", "minimum": 1}}),
        ),
        (
            "converged",
            json!({"window": {"type": "integer", "minimum": 2, "default": 50},
                "tolerance": {"type": "number", "exclusiveMinimum": 0, "default": 0.001}}),
        ),
        ("diverged", json!({})),
        (
            "max_flops",
            json!({"flops": {"type": "number", "exclusiveMinimum": 0}}),
        ),
    ] {
        catalog.stopping.insert(name.into(), config(properties));
    }
    catalog
        .operators
        .insert("exact_dedup".into(), config(json!({})));
    catalog.operators.insert(
        "min_length".into(),
        json!({"type": "object", "additionalProperties": false, "required": ["words"],
            "properties": {"words": {"type": "integer", "minimum": 1}}}),
    );
    catalog
}

/// A folder with a dataset card, in which a recipe is `recipe.yaml`.
pub struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("card.yaml"), "name: a card\n").unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn load(&self, text: impl AsRef<[u8]>, sets: &[&str]) -> Result<Loaded, Diagnostics> {
        self.write("recipe.yaml", text);
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        load(&self.path("recipe.yaml"), &sets, &catalog())
    }

    /// What a user sees, with the folder called `recipes`.
    pub fn shown(&self, diagnostics: &Diagnostics) -> String {
        let folder = self.folder.path().display().to_string();
        diagnostics.to_string().replace(&folder, "recipes")
    }
}

/// The errors of a recipe as a user sees them.
pub fn mistakes(text: impl AsRef<[u8]>, sets: &[&str]) -> String {
    let folder = Folder::new();
    let diagnostics = folder.load(text, sets).expect_err("the recipe is wrong");
    folder.shown(&diagnostics)
}

/// The warnings of a recipe that can be run.
pub fn warnings(text: &str) -> String {
    let folder = Folder::new();
    let loaded = folder.load(text, &[]).expect("the recipe can be run");
    folder.shown(&loaded.warnings)
}

/// A recipe that is right.
pub fn good(text: &str, sets: &[&str]) -> Loaded {
    let folder = Folder::new();
    match folder.load(text, sets) {
        Ok(loaded) => loaded,
        Err(diagnostics) => panic!("{}", folder.shown(&diagnostics)),
    }
}

/// The good recipe with one line changed.
pub fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in the recipe");
    GOOD.replacen(from, to, 1)
}
