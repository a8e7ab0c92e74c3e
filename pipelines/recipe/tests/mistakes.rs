//! What a user sees for each kind of mistake.

mod support;

use ablate_recipe::PluginPath;
use support::{mistakes, warnings, with, Folder, GOOD};

#[test]
fn broken_yaml() {
    insta::assert_snapshot!(mistakes(
        with("bert: {layers: 2,", "bert: {layers: [2,"),
        &[]
    ));
}

#[test]
fn tab_indent() {
    insta::assert_snapshot!(mistakes(with("  source:", "\tsource:"), &[]));
}

#[test]
fn not_utf8() {
    insta::assert_snapshot!(mistakes(b"pipeline: a\nseeds: [\xff]\n", &[]));
}

#[test]
fn not_a_map() {
    insta::assert_snapshot!(mistakes("- pipeline\n", &[]));
}

#[test]
fn empty_file() {
    insta::assert_snapshot!(mistakes("# nothing\n", &[]));
}

#[test]
fn two_documents() {
    insta::assert_snapshot!(mistakes("pipeline: a\n---\npipeline: b\n", &[]));
}

#[test]
fn no_such_file() {
    let folder = Folder::new();
    folder.write("quickstart.yaml", GOOD);
    let path = folder.path("quikstart.yaml");
    let error = ablate_recipe::load(&path, &[], &support::catalog()).unwrap_err();
    insta::assert_snapshot!(folder.shown(&error));
}

#[test]
fn five_at_once() {
    let text = GOOD
        .replace("layers: 2,", "layer: 2,")
        .replace("mask_rate: 0.15", "mask_rate: 1.5")
        .replace("card.yaml", "crad.yaml")
        .replace("seeds: [1, 2, 3]", "seeds: one")
        .replace("- max_steps:", "- max_step:");
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn missing_keys() {
    insta::assert_snapshot!(mistakes("pipeline: bare\n", &[]));
}

#[test]
fn wrong_types() {
    let text = GOOD
        .replace("sequence_length: 128", "sequence_length: \"128\"")
        .replace("weight: 1.0", "weight: .nan")
        .replace("lowercase: true", "lowercase: yes")
        .replace("design: factorial", "design: one-at-a-time")
        .replace("seeds:", "train: {packed: 1}\nseeds:")
        .replace("schedule: {warmup_linear: {warmup_steps: 20}}", "schedule:");
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn impossible_numbers() {
    let text = GOOD
        .replace("heads: 2", "heads: 3")
        .replace("sequence_length: 128", "sequence_length: 1024")
        .replace("warmup_steps: 20", "warmup_steps: 300")
        .replace(
            "data:\n  source",
            "train: {batch_size: 0, accumulate: -1, clip_norm: 0}\ndata:\n  split: {validation: 0.5, test: 0.6}\n  source",
        );
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn duplicate_keys() {
    let text = with(
        "seeds: [1, 2, 3]\n",
        "seeds: [1, 2, 2]\nseeds: [4]\nsede: 1\n",
    );
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn names_that_nothing_has() {
    let text = GOOD
        .replace("- nsp:", "- nps:")
        .replace("adamw:", "adam:")
        .replace("warmup_linear:", "warmup_linaer:")
        .replace("exact_dedup", "exactdedup")
        .replace(
            "bert: {layers: 2, hidden: 128, heads: 2,",
            "bert: {preset: bas,",
        );
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn missing_files() {
    let text = GOOD
        .replace("source: card.yaml", "source: {path: \"corpus/*.jsonl\"}")
        .replace(
            "{wordpiece: {vocab_size: 4096, lowercase: true}}",
            "{file: vocab.txt}",
        )
        .replace(
            "bert: {layers: 2, hidden: 128, heads: 2,",
            "bert: {huggingface: ckpt,",
        )
        .replace("seeds:", "plugins: [target/libmine.so]\nseeds:");
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn unknown_precision() {
    insta::assert_snapshot!(mistakes(with("seeds:", "precision: f32_splt\nseeds:"), &[]));
}

#[test]
fn arithmetic_that_the_device_does_not_have() {
    let split = with("seeds:", "device: cuda\nprecision: f32_split\nseeds:");
    let tf32 = with("seeds:", "device: cpu\nprecision: tf32\nseeds:");
    let (split, tf32) = (mistakes(split, &[]), mistakes(tf32, &[]));
    insta::assert_snapshot!(format!("{tf32}\n{split}"));
}

#[test]
fn two_choices_in_one_entry() {
    insta::assert_snapshot!(mistakes(with("  - nsp:", "    nsp:"), &[]));
}

#[test]
fn wrong_override_paths() {
    let text = GOOD
        .replace(
            "deeper: {model.bert.layers: 4}",
            "deeper: {model.bert.layer: 4}\n    wider: {bert.hidden: 256}\n    masks: {objectives.mlms.mask_rate: 0.3}",
        )
        .replace("\"data.curate+\"", "\"data.split+\"");
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn wrong_sets() {
    insta::assert_snapshot!(mistakes(
        GOOD,
        &[
            "model.bert.layers=two",
            "model.bert.hiden=64",
            "train",
            "seeds=[1,",
            "objectives.mlm.mask_rate=0"
        ]
    ));
}

#[test]
fn impossible_interventions() {
    let text = GOOD.replace(
        "deeper: {model.bert.layers: 4}",
        "odd: {model.bert.heads: 3}\n    narrow: {model.bert.hidden: 127}\n    long: {data.sequence_length: 600}\n    many: {seeds: [1]}\n    typed: {model.bert.layers: deep}",
    );
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn interventions_impossible_only_together() {
    let text = GOOD
        .replace(
            "\"data.curate+\": [{exact_dedup: {}}]",
            "data.sequence_length: 256",
        )
        .replace("model.bert.layers: 4", "model.bert.max_positions: 200");
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn names_of_arms() {
    let text = GOOD.replace(
        "deeper: {model.bert.layers: 4}",
        "Cleaned: {model.bert.layers: 4}\n    a/b: {model.bert.layers: 3}\n    baseline: {model.bert.layers: 5}\n    empty: {}",
    );
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn all_warnings() {
    let text = GOOD
        .replace("seeds: [1, 2, 3]", "seeds: [1]")
        .replace("  - max_steps: {steps: 200}\n", "")
        .replace("warmup_linear: {warmup_steps: 20}", "constant: ")
        .replace(
            "deeper: {model.bert.layers: 4}",
            "same: {model.bert.layers: 2}\n    longer: {train.batch_size: 64}\n    crossed: {data.sequence_length: 64}",
        )
        .replace(
            "\"data.curate+\": [{exact_dedup: {}}]",
            "data.tokenizer.wordpiece.vocab_size: 100",
        );
    insta::assert_snapshot!(warnings(&text));
}

#[test]
fn compositions_of_stopping_rules() {
    let text = with(
        "  - converged: {window: 50, tolerance: 1.0e-3}",
        "  - all:
      - convergd: {}
      - not: {max_steps: {steps: 0}}
  - any: []
  - all: {converged: {}}
  - not: [{converged: {}}]
  - any: [{diverged: {}}, {not: {converged: {window: 1}}}]
  - alll: [{converged: {}}]",
    );
    insta::assert_snapshot!(mistakes(text, &["stop.all.not.max_step.steps=3"]));
}

#[test]
fn a_composition_that_ends_a_trial_at_once() {
    let text = with(
        "  - converged:",
        "  - not: {max_steps: {steps: 100}}
  - any: [{diverged: {}}, {not: {converged: {}}}]
  - converged:",
    );
    insta::assert_snapshot!(mistakes(text, &[]));
}

#[test]
fn a_composition_that_may_never_end() {
    let text = with(
        "  - max_steps: {steps: 200}",
        "  - all: [{max_steps: {steps: 200}}, {converged: {}}]",
    )
    .replace("warmup_linear: {warmup_steps: 20}", "constant: {}");
    insta::assert_snapshot!(warnings(&text));
}

#[test]
fn a_plugin_that_is_none_is_reported_with_the_rest() {
    let folder = Folder::new();
    folder.write("mine.so", "not a library");
    folder.write(
        "recipe.yaml",
        with("seeds: [1, 2, 3]", "plugins: [mine.so]\nseeds: []"),
    );
    let error = ablate_recipe::load_with(&folder.path("recipe.yaml"), &[], |paths| {
        assert_eq!(paths, [PluginPath::from(folder.path("mine.so"))]);
        let problem = (0, "it has no entry `ablate_plugin_entry`".to_owned());
        (support::catalog(), vec![problem])
    })
    .unwrap_err();
    insta::assert_snapshot!(folder.shown(&error));
}

#[test]
fn a_plugin_checks_its_own_config() {
    let folder = Folder::new();
    folder.write("recipe.yaml", GOOD);
    let mut catalog = support::catalog();
    catalog.check = Some(std::sync::Arc::new(|_, name, config| {
        assert!(config.get("weight").is_none(), "the host's key: {config}");
        if name != "converged" {
            return Ok(());
        }
        Err(ablate_recipe::ConfigProblem {
            key: Some("window".to_owned()),
            message: "must be even, or so this rule thinks".to_owned(),
        })
    }));
    let error = ablate_recipe::load(&folder.path("recipe.yaml"), &[], &catalog).unwrap_err();
    insta::assert_snapshot!(folder.shown(&error));
}

#[test]
fn the_data_crate_looks_at_the_source() {
    let folder = Folder::new();
    folder.write("recipe.yaml", GOOD);
    let mut catalog = support::catalog();
    let card = folder.path("card.yaml");
    catalog.check_source = Some(std::sync::Arc::new(move |source| {
        assert_eq!(source.card(), Some(card.as_path()));
        Err("the card names no files".to_owned())
    }));
    let error = ablate_recipe::load(&folder.path("recipe.yaml"), &[], &catalog).unwrap_err();
    insta::assert_snapshot!(folder.shown(&error));
}

#[test]
fn colour_is_only_added() {
    let folder = Folder::new();
    let error = folder
        .load(with("layers: 2", "layers: 0"), &[])
        .unwrap_err();
    let coloured = error.render(true);
    assert!(coloured.contains("\x1b[1;31merror\x1b[0m"));
    let mut plain = coloured;
    for code in ["1;31", "1;33", "1;34", "1;36", "1", "0"] {
        plain = plain.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(plain, error.render(false));
}
