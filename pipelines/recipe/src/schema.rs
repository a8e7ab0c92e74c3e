//! The keys of a recipe as one JSON Schema.
//!
//! Owns every key with its type, bounds, default and description. The reader checks files against
//! this same value and `ablate schema` prints it, so neither can know a key that the other does
//! not. Must not know rules between keys; those are in `checks`.
//!
//! One definition stands apart, under `$defs`, because it contains itself: the stopping rule.
//!
//! Three annotations that other JSON Schema tools ignore:
//! `x-choice` marks a map with exactly one key out of several and says what is chosen;
//! `x-replaces` lists the sibling keys that an override of this key drops;
//! `x-overrides` marks the map of an intervention, whose keys are dotted paths.

use serde_json::{json, Map, Value};

use crate::{
    catalog::{Catalog, Kind},
    normal::normalise,
    stop,
};

/// Key of a schedule that the host fills in.
pub(crate) const TOTAL_STEPS: &str = "total_steps";

/// Pattern of names that become folders.
pub(crate) const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]*$";

/// Whether a name fits [`NAME_PATTERN`] and is short enough for a folder.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Keys that name a network's shape, which a preset or a checkpoint gives whole.
pub(crate) const SHAPE: [&str; 5] = ["layers", "hidden", "heads", "intermediate", "max_positions"];

/// Google's released sizes: name, layers, hidden, heads, intermediate (Turc et al. 2019 for the
/// small ones, Devlin et al. 2019 for base and large).
pub(crate) const PRESETS: [(&str, [u64; 4]); 6] = [
    ("tiny", [2, 128, 2, 512]),
    ("mini", [4, 256, 4, 1024]),
    ("small", [4, 512, 8, 2048]),
    ("medium", [8, 512, 8, 2048]),
    ("base", [12, 768, 12, 3072]),
    ("large", [24, 1024, 16, 4096]),
];

/// The JSON Schema of a recipe whose plugins and operators are those of the catalog.
#[must_use]
pub fn schema(catalog: &Catalog) -> Value {
    let mut root = object(
        "A pipeline of Ablate: what is trained, on what, and which changes are compared.",
        &[
            "pipeline",
            "data",
            "model",
            "objectives",
            "optimizer",
            "stop",
        ],
        json!({
            "pipeline": {
                "type": "string", "pattern": NAME_PATTERN, "maxLength": 64, "examples": ["quickstart"],
                "description": "Name of the pipeline and of its folder under the run directory."
            },
            "seeds": {
                "type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1,
                "uniqueItems": true, "default": [1], "examples": [[1, 2, 3]],
                "description": "Every arm is trained once with each seed."
            },
            "device": {
                "type": "string", "enum": ["auto", "cpu", "cuda"], "default": "auto",
                "description": "Where to compute; auto takes a GPU that works, else the CPU."
            },
            "precision": {
                "type": "string", "enum": ["f32", "f32_split", "bf16"], "default": "f32",
                "description": "Arithmetic of the matrix products: f32; f32_split, three bf16 products with f32 sums, near f32, meant for processors with AMX and slower than f32 on others; or bf16 operands with f32 sums, and activations between products stored as bf16. Parameters, sums and statistics stay f32."
            },
            "plugins": {
                "type": "array",
                "items": {"anyOf": [
                    {"type": "string", "minLength": 1},
                    object(
                        "A shared library that is loaded only while its bytes are these.",
                        &["path", "sha256"],
                        json!({
                            "path": {"type": "string", "minLength": 1, "description": "The library."},
                            "sha256": {"type": "string", "minLength": 1,
                                "description": "SHA-256 of its bytes, 64 hexadecimal digits."},
                        }),
                    ),
                ]},
                "default": [],
                "examples": [["target/release/libmine.so"]],
                "description": "Shared libraries, or folders of them, to load plugins from; a library may be pinned by its SHA-256."
            },
        }),
    );
    if let Some(properties) = root["properties"].as_object_mut() {
        let mut data = data(catalog);
        data["examples"] = json!([{"source": "datasets/sample.yaml"}]);
        properties.insert("data".into(), data);
        properties.insert("model".into(), model());
        properties.insert(
            "objectives".into(),
            list(
                1,
                choice(catalog, Kind::Objective, "objective"),
                "Terms of the loss, which is their weighted sum.",
                json!([{"mlm": {"mask_rate": 0.15}}]),
            ),
        );
        let mut optimizer = choice(catalog, Kind::Optimizer, "optimizer");
        optimizer["description"] = json!("How parameters are updated.");
        optimizer["examples"] = json!([{"adamw": {"learning_rate": 0.001}}]);
        properties.insert("optimizer".into(), optimizer);
        let mut schedule = choice(catalog, Kind::Schedule, "schedule");
        schedule["description"] = json!("How the learning rate changes over the optimizer steps.");
        schedule["examples"] = json!([{"warmup_linear": {"warmup_steps": 20}}]);
        properties.insert(
            "schedule".into(),
            with_default(schedule, json!({"constant": {}})),
        );
        properties.insert("train".into(), train());
        properties.insert(
            "stop".into(),
            rules(
                "Stopping rules; the first that holds ends a trial.",
                json!([{"max_steps": {"steps": 200}}]),
            ),
        );
        properties.insert(
            "evaluate".into(),
            with_default(
                object(
                    "When the validation split is looked at.",
                    &[],
                    json!({"every_steps": whole(1, Some(100), "Optimizer steps between two evaluations.")}),
                ),
                json!({}),
            ),
        );
        properties.insert("experiment".into(), experiment());
        properties.insert("report".into(), report());
    }
    root["$defs"] = json!({ RULE: rule(catalog) });
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Ablate pipeline");
    if let Some(card) = &catalog.card {
        // For people and editors; a recipe only names the file.
        root["$defs"]["card"] = normalise(card);
    }
    root
}

/// Name of the one definition that contains itself: a stopping rule or a composition of them.
const RULE: &str = "stopping_rule";

fn a_rule() -> Value {
    json!({"$ref": format!("#/$defs/{RULE}")})
}

fn rules(description: &str, example: Value) -> Value {
    list(1, a_rule(), description, example)
}

/// A stopping rule by name, or rules put together.
fn rule(catalog: &Catalog) -> Value {
    let mut rule = choice(catalog, Kind::StoppingRule, "stopping rule");
    rule["description"] = json!("One stopping rule by name, or rules put together.");
    rule["examples"] = json!([{"max_steps": {"steps": 200}}]);
    let example = json!([{"max_steps": {"steps": 200}}, {"converged": {}}]);
    let mut not = a_rule();
    not["description"] = json!("Holds while this does not.");
    for (word, schema) in [
        (
            stop::ANY,
            rules("Holds while at least one of these holds.", example.clone()),
        ),
        (
            stop::ALL,
            rules("Holds while all of these hold at the same time.", example),
        ),
        (stop::NOT, not),
    ] {
        rule["properties"][word] = schema;
    }
    rule
}

/// The JSON Schema of a dataset card, if the catalog has one.
#[must_use]
pub fn card_schema(catalog: &Catalog) -> Option<Value> {
    let mut schema = normalise(catalog.card.as_ref()?);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Ablate dataset card");
    Some(schema)
}

fn data(catalog: &Catalog) -> Value {
    let mut curate = list(
        0,
        choice(catalog, Kind::Operator, "operator"),
        "Curation operators applied to the training split, in order.",
        json!([{"exact_dedup": {}}]),
    );
    curate["default"] = json!([]);
    let files = object(
        "Data files described in place.",
        &["path"],
        json!({
            "path": {"type": "string", "minLength": 1, "examples": ["corpus/*.jsonl"],
                "description": "A path or a glob."},
            "format": {"type": "string", "enum": ["json_lines", "csv", "tsv", "parquet", "text", "text_blocks", "json_tree"],
                "description": "Format of the files, by their extension when absent. `text` is a document per file, `text_blocks` are documents separated by blank lines, `json_tree` has a document per section."},
            "text": {"type": "string", "minLength": 1, "default": "text",
                "description": "Field or column that holds the text."},
            "id": {"type": "string", "minLength": 1,
                "description": "Field or column that holds the document's id; counted when absent."},
            "on_error": {"type": "string", "enum": ["skip", "refuse"], "default": "skip",
                "description": "What to do with a record that cannot be read."},
        }),
    );
    object(
        "The corpus and how it becomes batches.",
        &["source"],
        json!({
            "source": {
                "anyOf": [{"type": "string", "minLength": 1}, files],
                "examples": ["datasets/sample.yaml"],
                "description": "A dataset card (.yaml), a data file, or data files described in place."
            },
            "split": with_default(object(
                "Fractions of documents held out; the rest is trained on.", &[],
                json!({
                    "validation": fraction(0.05, "Looked at while training."),
                    "test": fraction(0.05, "Looked at once, at the end."),
                })), json!({})),
            "curate": curate,
            "tokenizer": with_default(one_of("tokenizer", "How text becomes token ids.", json!({
                "wordpiece": object("WordPiece trained on the training split.", &[], json!({
                    "vocab_size": whole(6, Some(4096), "Entries of the vocabulary, special tokens included."),
                    "lowercase": {"type": "boolean", "default": true,
                        "description": "Lowercase and strip accents, as uncased BERT."},
                })),
                "file": {"type": "string", "minLength": 1,
                    "description": "A given vocab.txt or tokenizer.json."},
            })), json!({"wordpiece": {}})),
            "sequence_length": whole(8, Some(128), "Tokens of one example, special tokens included."),
        }),
    )
}

fn model() -> Value {
    let presets: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
    let bert = object(
        "BERT. Needs `layers`, `hidden` and `heads`, or a `preset`, or a checkpoint in `huggingface`.",
        &[],
        json!({
            "preset": {"type": "string", "enum": presets, "x-replaces": replaced("huggingface"),
                "description": "A named size; keys written beside it change it."},
            "huggingface": {"type": "string", "minLength": 1, "x-replaces": replaced("preset"),
                "description": "Folder in Hugging Face format whose weights training starts from."},
            "layers": whole(1, None, "Encoder layers."),
            "hidden": whole(1, None, "Width of the hidden states."),
            "heads": whole(1, None, "Attention heads; divides `hidden`."),
            "intermediate": whole(1, None, "Width of the feed-forward layer; 4 times `hidden` when absent."),
            "dropout": rate(Some(0.1), "Dropout of embeddings and of each sublayer's output."),
            "attention_dropout": rate(None, "Dropout of the attention probabilities; as `dropout` when absent."),
            "max_positions": whole(8, None, "Rows of the position table; 512 when absent."),
            "activation": {"type": "string", "enum": ["gelu", "gelu_tanh", "relu", "silu", "tanh"], "default": "gelu",
                "description": "Activation of the feed-forward layer; `gelu` is the exact one by erf."},
            "layer_norm_eps": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.1, "default": 1e-12,
                "description": "Added to the variance in layer normalisation."},
            "init": {
                "anyOf": [
                    {"type": "string", "enum": ["zeros", "xavier"]},
                    one_of("initialisation", "Initial values with a number.", json!({
                        "normal": positive("Standard deviation of a normal distribution."),
                        "truncated_normal": positive("Standard deviation of a normal distribution cut at two of them."),
                        "constant": {"type": "number", "description": "Every weight this value."},
                    })),
                ],
                "default": {"normal": 0.02},
                "description": "Initial values of the weights; biases are 0, layer norms 1 and 0."
            },
        }),
    );
    let mut model = one_of("model", "The network.", json!({"bert": bert}));
    model["examples"] = json!([{"bert": {"preset": "tiny"}}]);
    model
}

/// What choosing a whole shape drops: the other way to choose one, and every single number of it.
fn replaced(other: &str) -> Vec<&str> {
    std::iter::once(other).chain(SHAPE).collect()
}

fn train() -> Value {
    with_default(
        object(
            "The size of a step.",
            &[],
            json!({
                "batch_size": whole(1, Some(32), "Examples of one micro-batch."),
                "accumulate": whole(1, Some(1), "Micro-batches of one optimizer step."),
                "clip_norm": {"type": ["number", "null"], "exclusiveMinimum": 0, "default": 1.0,
                    "description": "Largest global norm of the gradient; null for none."},
                "packed": {"type": "boolean", "default": false,
                    "description": "Pack the examples of a micro-batch into fewer rows, so that padding is not computed: same batches, masks and loss (but for the order of sums, and the draw of dropout), faster where examples are shorter than `data.sequence_length`."},
            }),
        ),
        json!({}),
    )
}

fn experiment() -> Value {
    let interventions = |text: &str, example: Value| {
        json!({
            "type": "object", "default": {}, "description": text, "examples": [example],
            "propertyNames": {"pattern": NAME_PATTERN, "maxLength": 64},
            "additionalProperties": {
                "type": "object", "x-overrides": true, "minProperties": 1,
                "description": "Dotted path to value; a path that ends in `+` appends to a list, an entry of a list is addressed by its name."
            },
        })
    };
    with_default(
        object(
            "The interventions to compare with the baseline.",
            &[],
            json!({
                "data": interventions("Interventions on the data, by name.",
                    json!({"cleaned": {"data.curate+": [{"exact_dedup": {}}]}})),
                "model": interventions("Interventions on the model, by name.",
                    json!({"deeper": {"model.bert.layers": 4}})),
                "design": {"type": "string", "enum": ["factorial", "one_at_a_time"], "default": "factorial",
                    "description": "Baseline, each alone, and for factorial each data intervention with each model intervention."},
            }),
        ),
        json!({}),
    )
}

fn report() -> Value {
    with_default(
        object(
            "What the report is written as.",
            &[],
            json!({
                "formats": {"type": "array", "items": {"type": "string", "enum": ["html", "markdown"]},
                    "minItems": 1, "uniqueItems": true, "default": ["html", "markdown"],
                    "description": "Formats of the report."},
            }),
        ),
        json!({}),
    )
}

/// A map with exactly one key, the name of something in the catalog.
fn choice(catalog: &Catalog, kind: Kind, what: &str) -> Value {
    let alternatives: Map<String, Value> = catalog
        .of(kind)
        .iter()
        .map(|(name, schema)| (name.clone(), config(kind, schema)))
        .collect();
    one_of(
        what,
        &format!("One {what} by name."),
        Value::Object(alternatives),
    )
}

/// The schema of a component's config as the file has it: the component's own, closed, with the
/// key that belongs to the host.
fn config(kind: Kind, own: &Value) -> Value {
    let mut schema = match normalise(own) {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    // `- exact_dedup:` with nothing after it is an empty config.
    schema.insert("type".into(), json!(["object", "null"]));
    if schema.contains_key("properties") && !schema.contains_key("additionalProperties") {
        schema.insert("additionalProperties".into(), json!(false));
    }
    let host = match kind {
        Kind::Objective => Some((
            "weight",
            json!({"type": "number", "minimum": 0, "default": 1.0,
                "description": "Factor of this objective in the weighted sum."}),
        )),
        Kind::Optimizer => Some((
            "learning_rate",
            json!({"type": "number", "exclusiveMinimum": 0, "examples": [0.001],
                "description": "Peak learning rate; the schedule scales it."}),
        )),
        Kind::Schedule | Kind::StoppingRule | Kind::Operator => None,
    };
    if kind == Kind::Schedule {
        // `checks` fills it from the `max_steps` rule, or says what is missing.
        if let Some(Value::Array(names)) = schema.get_mut("required") {
            names.retain(|name| name != TOTAL_STEPS);
        }
    }
    if let Some((key, value)) = host {
        let properties = schema
            .entry("properties")
            .or_insert_with(|| Value::Object(Map::new()));
        let mut required = false;
        if let Some(properties) = properties.as_object_mut() {
            // A component may declare the host's key itself, with other bounds or a default.
            let declared = properties.entry(key).or_insert_with(|| value.clone());
            if declared.get("default").is_none() {
                match (value.get("default"), declared.as_object_mut()) {
                    (Some(default), Some(declared)) => {
                        declared.insert("default".into(), default.clone());
                    }
                    _ => required = true,
                }
            }
        }
        let names = schema.entry("required").or_insert_with(|| json!([]));
        if let Some(names) = names.as_array_mut() {
            if required && !names.contains(&json!(key)) {
                names.push(json!(key));
            }
        }
    }
    Value::Object(schema)
}

fn object(description: &str, required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object", "description": description, "required": required,
        "additionalProperties": false, "properties": properties,
    })
}

fn one_of(what: &str, description: &str, properties: Value) -> Value {
    json!({
        "type": "object", "description": description, "x-choice": what,
        "minProperties": 1, "maxProperties": 1,
        "additionalProperties": false, "properties": properties,
    })
}

fn list(least: u64, items: Value, description: &str, example: Value) -> Value {
    json!({
        "type": "array", "items": items, "minItems": least,
        "description": description, "examples": [example],
    })
}

fn with_default(mut schema: Value, default: Value) -> Value {
    schema["default"] = default;
    schema
}

fn whole(least: u64, default: Option<u64>, description: &str) -> Value {
    let mut schema = json!({"type": "integer", "minimum": least, "description": description});
    if let Some(default) = default {
        schema["default"] = json!(default);
    }
    schema
}

fn fraction(default: f64, description: &str) -> Value {
    json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": default, "description": description})
}

fn rate(default: Option<f64>, description: &str) -> Value {
    let mut schema =
        json!({"type": "number", "minimum": 0, "exclusiveMaximum": 1, "description": description});
    if let Some(default) = default {
        schema["default"] = json!(default);
    }
    schema
}

fn positive(description: &str) -> Value {
    json!({"type": "number", "exclusiveMinimum": 0, "description": description})
}
