//! What a right recipe resolves to.

mod support;

use ablate_recipe::{Activation, ArmKind, Component, Init, OnError, Recipe, Source, Tokenizer};
use serde_json::json;
use support::{good, mistakes, with, Folder, GOOD};

#[test]
fn defaults_are_filled() {
    insta::assert_snapshot!(good(GOOD, &[])
        .recipe
        .to_yaml()
        .unwrap()
        .lines()
        .filter(|line| !line.contains("card.yaml"))
        .collect::<Vec<_>>()
        .join("\n"));
}

#[test]
fn the_resolved_recipe_reads_as_itself() {
    let folder = Folder::new();
    let text = GOOD
        .replace(
            "dropout: 0.1",
            "dropout: 0.0, init: {truncated_normal: 0.02}, preset: mini",
        )
        .replace("warmup_linear", "warmup_cosine")
        .replace("seeds:", "train: {clip_norm: null}\nseeds:");
    let first = folder.load(&text, &[]).unwrap();
    let written = first.recipe.to_yaml().unwrap();
    let second = folder.load(&written, &[]).unwrap();
    assert_eq!(second.recipe, first.recipe);
    assert_eq!(second.arms, first.arms);
    assert_eq!(second.recipe.to_yaml().unwrap(), written);
}

/// The way in which a trial reaches a process of its own.
#[test]
fn every_arm_comes_back_from_yaml_to_the_bit() {
    let loaded = good(
        GOOD,
        &[
            "optimizer.adamw.learning_rate=0.00012345678901234567",
            "objectives.mlm.mask_rate=0.30000000000000004",
            "objectives.nsp.weight=1e-7",
            "seeds=[18446744073709551615]",
        ],
    );
    for arm in &loaded.arms {
        let text = arm.recipe.to_yaml().unwrap();
        let back = Recipe::from_yaml(&text, &support::catalog()).unwrap();
        assert_eq!(back, arm.recipe, "{}", arm.name);
    }
    assert!(Recipe::from_yaml("pipeline: x", &support::catalog()).is_err());
}

#[test]
fn arms_of_a_factorial_design() {
    let loaded = good(GOOD, &[]);
    let names: Vec<&str> = loaded.arms.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["baseline", "cleaned", "deeper", "cleaned+deeper"]);
    let kinds: Vec<ArmKind> = loaded.arms.iter().map(|a| a.kind).collect();
    assert_eq!(
        kinds,
        [
            ArmKind::Baseline,
            ArmKind::Data,
            ArmKind::Model,
            ArmKind::Both
        ]
    );
    let shape = |i: usize| {
        let recipe = &loaded.arms[i].recipe;
        (recipe.data.curate.len(), recipe.model.bert.layers)
    };
    assert_eq!(
        [shape(0), shape(1), shape(2), shape(3)],
        [(0, 2), (1, 2), (0, 4), (1, 4)]
    );
    assert_eq!(loaded.arms[0].recipe, loaded.recipe);
    assert_eq!(
        loaded.arms[1].recipe.data.curate,
        [Component {
            name: "exact_dedup".into(),
            config: json!({})
        }]
    );
    let plan: Vec<String> = loaded.recipe.arms().into_iter().map(|a| a.name).collect();
    assert_eq!(plan, names);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.text, GOOD);
}

#[test]
fn arms_one_at_a_time() {
    let loaded = good(GOOD, &["experiment.design=one_at_a_time"]);
    let names: Vec<&str> = loaded.arms.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["baseline", "cleaned", "deeper"]);
}

#[test]
fn sets_are_applied_in_order_before_the_interventions() {
    let loaded = good(
        GOOD,
        &[
            "model.bert.layers=6",
            "model.bert.layers=8",
            "data.curate=[min_length: {words: 5}]",
            "objectives.mlm.mask_rate=0.3",
            "objectives.1.nsp.weight=0.5",
            "experiment.model.wider.model.bert.hidden=256",
            "seeds+=7",
            "train.packed=true",
        ],
    );
    let recipe = &loaded.recipe;
    assert!(recipe.train.packed && !good(GOOD, &[]).recipe.train.packed);
    assert_eq!(recipe.model.bert.layers, 8);
    assert_eq!(recipe.objectives[0].config["mask_rate"], 0.3);
    assert_eq!(recipe.objectives[1].weight, 0.5);
    assert_eq!(recipe.seeds, [1, 2, 3, 7]);
    let arm = |name: &str| loaded.arms.iter().find(|a| a.name == name).unwrap();
    let curate: Vec<&str> = arm("cleaned")
        .recipe
        .data
        .curate
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(curate, ["min_length", "exact_dedup"]);
    assert_eq!(arm("deeper").recipe.model.bert.layers, 4);
    assert_eq!(arm("wider").recipe.model.bert.hidden, 256);
    assert_eq!(arm("cleaned+wider").recipe.model.bert.layers, 8);
}

#[test]
fn an_override_replaces_the_other_choices() {
    let recipe = good(
        GOOD,
        &[
            "optimizer.sgd.learning_rate=0.1",
            "schedule.constant={}",
            "model.bert.preset=mini",
            "model.bert.init.constant=0.5",
        ],
    )
    .recipe;
    assert_eq!(recipe.optimizer.name, "sgd");
    assert_eq!(recipe.optimizer.learning_rate, 0.1);
    // This plugin declares the host's key, so it gets it.
    assert_eq!(
        recipe.optimizer.config,
        json!({"learning_rate": 0.1, "momentum": 0.0})
    );
    assert_eq!(
        recipe.schedule,
        Component {
            name: "constant".into(),
            config: json!({})
        }
    );
    let bert = &recipe.model.bert;
    assert_eq!(
        (bert.layers, bert.hidden, bert.heads, bert.intermediate),
        (4, 256, 4, 1024)
    );
    assert_eq!(bert.init, Init::Constant(0.5));
}

#[test]
fn a_preset_of_an_intervention_goes_before_its_numbers() {
    let text = with(
        "deeper: {model.bert.layers: 4}",
        "other: {model.bert.layers: 5, model.bert.preset: mini}",
    );
    let bert = good(&text, &[]).arms[2].recipe.model.bert.clone();
    assert_eq!((bert.layers, bert.hidden, bert.heads), (5, 256, 4));
}

#[test]
fn host_keys_stay_out_of_configs_that_do_not_know_them() {
    let recipe = good(GOOD, &[]).recipe;
    assert_eq!(recipe.objectives[1].config, json!({}));
    assert_eq!(recipe.objectives[0].weight, 1.0);
    assert_eq!(
        recipe.objectives[0].config,
        json!({"mask_rate": 0.15, "selection": "bernoulli"})
    );
    assert_eq!(recipe.optimizer.learning_rate, 1e-3);
    assert_eq!(
        recipe.optimizer.config,
        json!({"weight_decay": 0.01, "beta1": 0.9})
    );
}

#[test]
fn the_schedule_ends_where_each_arm_stops() {
    let text = with(
        "deeper: {model.bert.layers: 4}",
        "longer: {stop.max_steps.steps: 1e3}",
    );
    let arms = good(&text, &[]).arms;
    let config = |i: usize| &arms[i].recipe.schedule.config;
    assert_eq!(*config(0), json!({"warmup_steps": 20, "total_steps": 200}));
    assert_eq!(*config(2), json!({"warmup_steps": 20, "total_steps": 1000}));
}

#[test]
fn stopping_rules_compose() {
    let text = with(
        "  - converged: {window: 50, tolerance: 1.0e-3}",
        "  - all: [{max_steps: {steps: 150}}, {not: {converged: {}}}]",
    )
    .replace(
        "  - max_steps: {steps: 200}",
        "  - any: [{max_steps: {steps: 2.0e2}}, {diverged: }]",
    )
    .replace(
        "deeper: {model.bert.layers: 4}",
        "longer: {stop.any.max_steps.steps: 300, stop.all.not.converged.window: 9}",
    );
    let folder = Folder::new();
    let loaded = folder.load(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
    // Defaults are filled at every depth.
    assert_eq!(
        json!(loaded.recipe.stop),
        json!([
            {"any": [{"max_steps": {"steps": 200}}, {"diverged": {}}]},
            {"all": [
                {"max_steps": {"steps": 150}},
                {"not": {"converged": {"window": 50, "tolerance": 0.001}}},
            ]},
        ])
    );
    // The schedule ends where the trial must have ended: `all` may come later, or never.
    assert_eq!(loaded.recipe.schedule.config["total_steps"], 200);
    let arm = &loaded.arms[2].recipe;
    assert_eq!(arm.stop[0].max_steps(), Some(300));
    assert_eq!(
        json!(arm.stop[1])["all"][1]["not"]["converged"]["window"],
        9
    );
    // What is written back reads as itself.
    let again = folder.load(loaded.recipe.to_yaml().unwrap(), &[]).unwrap();
    assert_eq!(again.recipe, loaded.recipe);
}

#[test]
fn sources() {
    let folder = Folder::new();
    folder.write("corpus/a.jsonl", "{}\n");
    let source = |text: &str| {
        let text = with("source: card.yaml", &format!("source: {text}"));
        folder.load(text, &[]).unwrap().recipe.data.source
    };
    let card = source("card.yaml");
    assert_eq!(card.card(), Some(folder.path("card.yaml").as_path()));
    assert_eq!(card.files(), None);
    let bare = source("corpus/a.jsonl");
    assert_eq!(bare.card(), None);
    assert_eq!(bare.files().unwrap().text, "text");
    let Source::Files(files) = source("{path: \"corpus/*.jsonl\", id: key, on_error: refuse}")
    else {
        panic!("described in place");
    };
    assert_eq!(files.path, folder.path("corpus/*.jsonl").to_string_lossy());
    assert_eq!(
        (files.id.as_deref(), files.on_error),
        (Some("key"), OnError::Refuse)
    );
}

#[test]
fn a_checkpoint_gives_the_shape() {
    let folder = Folder::new();
    folder.write(
        "ckpt/config.json",
        json!({"num_hidden_layers": 3, "hidden_size": 48, "num_attention_heads": 4,
            "intermediate_size": 96, "max_position_embeddings": 64, "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-6})
        .to_string(),
    );
    folder.write("ckpt/model.safetensors", "");
    folder.write("vocab.txt", "[PAD]\n");
    let text = GOOD
        .replace(
            "{wordpiece: {vocab_size: 4096, lowercase: true}}",
            "{file: vocab.txt}",
        )
        .replace("sequence_length: 128", "sequence_length: 64")
        .replace(
            "deeper: {model.bert.layers: 4}",
            "warm: {model.bert.huggingface: ckpt}",
        );
    let loaded = folder.load(&text, &[]).unwrap();
    assert_eq!(
        loaded.recipe.data.tokenizer,
        Tokenizer::File(folder.path("vocab.txt"))
    );
    assert_eq!(loaded.recipe.model.bert.intermediate, 512);
    let bert = &loaded.arms[2].recipe.model.bert;
    assert_eq!(bert.huggingface, Some(folder.path("ckpt")));
    assert_eq!((bert.layers, bert.hidden, bert.heads), (3, 48, 4));
    assert_eq!((bert.intermediate, bert.max_positions), (96, 64));
    assert_eq!(
        (bert.activation, bert.layer_norm_eps),
        (Activation::GeluTanh, 1e-6)
    );

    let clash = text
        .replace("heads: 2,", "heads: 2, huggingface: ckpt,")
        .replace("sequence_length: 64", "sequence_length: 65")
        .replace("warm: {model.bert.huggingface: ckpt}", "{}");
    let shown = folder.shown(&folder.load(&clash, &[]).unwrap_err());
    insta::assert_snapshot!(shown);
}

#[test]
fn aliases_and_empty_configs() {
    let text = GOOD
        .replace("{exact_dedup: {}}]", "exact_dedup: , *short]")
        .replace(
            "data:\n  source",
            "data:\n  curate: [&short {min_length: {words: 3}}]\n  source",
        )
        .replace(
            "  data:\n    cleaned: {\"data.curate+\": [exact_dedup: , *short]}",
            "  data:\n    cleaned:\n      data.curate+:\n        - exact_dedup:\n        - *short",
        );
    let curate = good(&text, &[]).arms[1].recipe.data.curate.clone();
    let names: Vec<&str> = curate.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["min_length", "exact_dedup", "min_length"]);
}

#[test]
fn an_alias_cannot_grow_without_end() {
    let mut text = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for i in 1..9 {
        let row = vec![format!("*a{}", i - 1); 10].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{row}]\n"));
    }
    assert!(mistakes(text, &[]).contains("more than 100000 values"));
    let deep = format!("a: {}1{}\n", "[".repeat(200), "]".repeat(200));
    assert!(mistakes(deep, &[]).contains("nested more than 64 deep"));
    assert!(mistakes("a: &a [*a]\n", &[]).contains("an alias cannot contain itself"));
}

#[test]
fn the_example_pipelines_are_right() {
    let folder = Folder::new();
    for name in ["quickstart", "factbook", "matched_flops"] {
        let path = format!("{}/../{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        folder.write("datasets/sample.yaml", "");
        folder.write("datasets/factbook.yaml", "");
        let text = std::fs::read_to_string(path).unwrap();
        let loaded = folder.load(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        assert_eq!(loaded.recipe.pipeline, name);
        assert_eq!(loaded.arms.len(), 4);
    }
}
