//! Rules of the network's shape: what a preset or a checkpoint gives, and sizes that must fit.
//!
//! Owns `model.bert` after the schema. Must not know the rest of the recipe but the sequence length
//! and whether a tokenizer is trained.

use serde_json::{json, Value};

use crate::{
    checks::{at, whole, Checks},
    schema::{PRESETS, SHAPE},
    words::{join, nearest},
};

impl Checks<'_> {
    /// Fills the network's numbers and checks them against each other.
    ///
    /// `vocabulary`: entries of the tokenizer, where it is a file.
    pub(crate) fn bert(&mut self, value: &mut Value, vocabulary: Option<usize>) {
        let sequence = whole(value, "data.sequence_length");
        let trains_tokenizer = at(value, "data.tokenizer.wordpiece").is_some();
        let Some(bert) = value
            .get_mut("model")
            .and_then(|m| m.get_mut("bert"))
            .filter(|b| b.is_object())
        else {
            return;
        };
        let keys: Vec<String> = self
            .tree
            .find("model.bert")
            .map(|bert| bert.entries().iter().map(|e| e.key.clone()).collect())
            .unwrap_or_default();
        let written = |key: &str| keys.iter().any(|k| k == key);
        let shape_written: Vec<&str> = SHAPE.into_iter().filter(|k| written(k)).collect();
        let (preset, checkpoint) = (written("preset"), written("huggingface"));
        if preset && checkpoint {
            self.error_of(
                &["model.bert.huggingface", "model.bert.preset"],
                "`preset` and `huggingface` both give the shape of the network",
                "keep one of them",
            );
            return;
        }
        if let Some(name) = bert.get("preset").and_then(Value::as_str) {
            if let Some((_, numbers)) = PRESETS.iter().find(|(n, _)| *n == name) {
                for (key, number) in SHAPE.iter().zip(numbers) {
                    if !shape_written.contains(key) {
                        bert[*key] = json!(number);
                    }
                }
            }
        } else if checkpoint {
            self.checkpoint(bert, &written, vocabulary);
            if trains_tokenizer {
                self.warn(
                    "model.bert.huggingface",
                    "the checkpoint's word embeddings belong to its own vocabulary, but a new tokenizer is trained",
                    "set data.tokenizer: {file: ...} to the vocab.txt of the checkpoint",
                );
            }
        } else if !preset {
            for key in ["layers", "hidden", "heads"] {
                // A misspelt key is reported as such, not as missing too.
                let misspelt = keys.iter().any(|k| nearest(k, [key]).is_some());
                if !misspelt {
                    self.error(
                        "model.bert",
                        format!("missing key `{key}` in `model.bert`"),
                        "write `layers`, `hidden` and `heads`, or a `preset` such as `preset: tiny`",
                    );
                }
            }
        }
        if !checkpoint {
            if let (false, Some(hidden)) = (
                written("intermediate"),
                bert.get("hidden").and_then(Value::as_u64),
            ) {
                if bert.get("intermediate").is_none() {
                    bert["intermediate"] = json!(hidden.saturating_mul(4));
                }
            }
            if !written("max_positions") {
                bert["max_positions"] = json!(512);
            }
        }
        if !written("attention_dropout") && bert.get("attention_dropout").is_none() {
            if let Some(dropout) = bert.get("dropout").cloned() {
                bert["attention_dropout"] = dropout;
            }
        }
        let number = |key: &str| bert.get(key).and_then(Value::as_u64);
        if let (Some(hidden), Some(heads)) = (number("hidden"), number("heads")) {
            if heads > 0 && hidden % heads != 0 {
                let near = [hidden / heads * heads, (hidden / heads + 1) * heads];
                let near: Vec<String> = near
                    .iter()
                    .filter(|n| **n > 0)
                    .map(u64::to_string)
                    .collect();
                self.error_of(
                    &["model.bert.heads", "model.bert.hidden", "model.bert.preset"],
                    format!("`hidden` {hidden} cannot be divided among {heads} heads"),
                    format!(
                        "with {heads} heads the nearest widths are {}",
                        near.join(" and ")
                    ),
                );
            }
        }
        if let (Some(sequence), Some(positions)) = (sequence, number("max_positions")) {
            if sequence > positions {
                self.error_of(
                    &[
                        "data.sequence_length",
                        "model.bert.max_positions",
                        "model.bert.preset",
                        "model.bert.huggingface",
                    ],
                    format!(
                        "`sequence_length` {sequence} is longer than the {positions} positions of the model"
                    ),
                    format!("lower it, or set model.bert.max_positions to at least {sequence}"),
                );
            }
        }
    }

    /// Takes the shape from a checkpoint's config.json, and lets the model crate look at its weights.
    fn checkpoint(
        &mut self,
        bert: &mut Value,
        written: &dyn Fn(&str) -> bool,
        vocabulary: Option<usize>,
    ) {
        const PATH: &str = "model.bert.huggingface";
        let Some(folder) = bert
            .get("huggingface")
            .and_then(Value::as_str)
            .map(str::to_owned)
        else {
            return;
        };
        let found = match self.finder.path(&folder) {
            Ok(found) => found,
            Err(missing) => {
                let message = format!("the checkpoint folder `{folder}` does not exist");
                return self.error(PATH, message, missing.help);
            }
        };
        bert["huggingface"] = json!(found.to_string_lossy());
        for file in ["config.json", "model.safetensors"] {
            if !found.join(file).is_file() {
                self.error(
                    PATH,
                    format!("the checkpoint `{folder}` has no {file}"),
                    "a checkpoint is a folder with config.json and model.safetensors",
                );
            }
        }
        let Ok(text) = std::fs::read_to_string(found.join("config.json")) else {
            return;
        };
        let config: Value = match serde_json::from_str(&text) {
            Ok(config) => config,
            Err(error) => {
                let message =
                    format!("config.json of the checkpoint `{folder}` is not JSON: {error}");
                return self.error(PATH, message, "export the checkpoint again");
            }
        };
        const NAMES: [(&str, &str); 5] = [
            ("layers", "num_hidden_layers"),
            ("hidden", "hidden_size"),
            ("heads", "num_attention_heads"),
            ("intermediate", "intermediate_size"),
            ("max_positions", "max_position_embeddings"),
        ];
        for (ours, theirs) in NAMES {
            let Some(number) = config
                .get(theirs)
                .and_then(Value::as_u64)
                .filter(|n| *n > 0)
            else {
                let message = format!("config.json of the checkpoint `{folder}` has no `{theirs}`");
                self.error(PATH, message, "the checkpoint must be a BERT");
                continue;
            };
            let path = join("model.bert", ours);
            if written(ours) && bert.get(ours) != Some(&json!(number)) {
                let message = format!("`{path}` differs from the checkpoint, which has {number}");
                self.error_of(
                    &[&path, PATH],
                    message,
                    format!("remove `{ours}`; a checkpoint gives the shape whole"),
                );
            }
            bert[ours] = json!(number);
        }
        let activation = match config.get("hidden_act").and_then(Value::as_str) {
            Some("gelu_new" | "gelu_pytorch_tanh") => "gelu_tanh",
            Some("swish") => "silu",
            Some(other @ ("gelu" | "relu" | "silu" | "tanh")) => other,
            _ => "gelu",
        };
        if !written("activation") {
            bert["activation"] = json!(activation);
        }
        if let Some(eps) = config.get("layer_norm_eps").filter(|e| e.is_number()) {
            if !written("layer_norm_eps") {
                bert["layer_norm_eps"] = eps.clone();
            }
        }
        // One cause, one message.
        if let (false, Some(check)) = (self.wrong(PATH), self.catalog.check_checkpoint.clone()) {
            match check(&found) {
                Ok(entries) if vocabulary.is_some_and(|n| n > entries) => {
                    let own = found.join("tokenizer.json");
                    self.error_of(
                        &["data.tokenizer.file", PATH],
                        format!(
                            "the tokenizer has {} entries, but the checkpoint `{folder}` has {entries} word embeddings",
                            vocabulary.unwrap_or_default()
                        ),
                        format!("use its own: data.tokenizer: {{file: {}}}", own.display()),
                    );
                }
                Ok(_) => {}
                Err(message) => {
                    let message = format!("the checkpoint `{folder}` cannot be used: {message}");
                    self.error(PATH, message, "export or download the checkpoint again");
                }
            }
        }
    }
}
