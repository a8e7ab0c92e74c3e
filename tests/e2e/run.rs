//! What a run leaves on the disk, and that the same recipe leaves the same.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{assert_same_trial, json, keys, metrics, read, tree, Folder};

const ARMS: [&str; 2] = ["baseline", "wider"];
const EXPORT: [&str; 4] = [
    "config.json",
    "model.safetensors",
    "tokenizer_config.json",
    "vocab.txt",
];

#[test]
fn a_run_leaves_every_record_and_is_not_done_twice() {
    let folder = Folder::new();
    let run = ["run", "tiny.yaml", "--threads", "1"];
    let done = folder.ablate(&run).exits(0);
    assert!(
        done.stdout.contains("report: runs/tiny/report.html"),
        "{done}"
    );
    assert!(
        done.stdout.contains("report: runs/tiny/report.md"),
        "{done}"
    );
    let root = folder.path("runs/tiny");

    for arm in ARMS {
        for seed in [1, 2] {
            check_trial(&folder.trial("runs", arm, seed), arm, seed);
        }
    }
    // Model arms differ in nothing but the model: same data, same tokens.
    let tokens = |arm| json(folder.trial("runs", arm, 2).join("result.json"))["tokens"].clone();
    assert_eq!(tokens("baseline"), tokens("wider"));

    check_resolved_recipe(&folder, &root);
    let environment = json(root.join("environment.json"));
    for key in ["ablate", "luminal", "cpu", "cpu_features", "threads", "git"] {
        assert!(environment.get(key).is_some(), "{key}: {environment}");
    }
    assert_eq!(environment["threads"], 1);
    let experiment = json(root.join("experiment.json"));
    assert_eq!(experiment["seeds"], serde_json::json!([1, 2]));
    assert_eq!(experiment["objectives"], serde_json::json!(["mlm", "nsp"]));
    assert_eq!(experiment["corpus"]["documents"], 60);
    assert_eq!(experiment["corpus"]["dropped_lines"], 0);
    assert!(
        experiment["corpus"]["unigram_entropy_nats"]
            .as_f64()
            .unwrap()
            > 1.0
    );
    check_report(&root);

    // Again: nothing is trained, nothing changes.
    let before = tree(&root);
    let again = folder.ablate(&run).exits(0);
    assert!(!again.stderr.contains(" step "), "{again}");
    assert_eq!(tree(&root), before);

    // A trial that lost its record is run again, and it alone.
    let trial = folder.trial("runs", "wider", 2);
    fs::remove_file(trial.join("result.json")).unwrap();
    let one = folder.ablate(&run).exits(0);
    assert!(one.stderr.contains("wider seed 2"), "{one}");
    assert!(!one.stderr.contains("baseline seed"), "{one}");
    let untouched =
        |name: &str| !name.starts_with("trials/wider/seed-2/") && name.starts_with("trials/");
    let after = tree(&root);
    for (name, bytes) in before.iter().filter(|(name, _)| untouched(name)) {
        assert!(after[name] == *bytes, "{name}");
    }

    // Other settings do not mix into the same folder, unless the user says so.
    let other = ["run", "tiny.yaml", "--set", "train.batch_size=4"];
    let refused = folder.ablate(&other);
    insta::assert_snapshot!("other_settings_in_the_same_folder", refused);
    assert_eq!(tree(&root), after);

    // A fresh start removes what a run wrote, and leaves what it did not write.
    folder.write("runs/tiny/notes.txt", "mine");
    folder.write("runs/tiny/trials/gone/seed-9/result.json", "{}");
    folder
        .ablate(&["run", "tiny.yaml", "--fresh", "--quiet", "--seed", "2"])
        .exits(0);
    assert!(root.join("notes.txt").exists());
    assert!(!root.join("trials/gone").exists());
    assert!(!folder.trial("runs", "baseline", 1).exists());
    assert!(folder
        .trial("runs", "baseline", 2)
        .join("result.json")
        .exists());
}

fn check_trial(trial: &Path, arm: &str, seed: u64) {
    let rows = metrics(trial);
    let (evaluations, steps): (Vec<&Value>, Vec<&Value>) =
        rows.iter().partition(|row| row.get("split").is_some());
    assert_eq!(steps.len(), 6);
    for (i, row) in steps.iter().enumerate() {
        assert_eq!(
            keys(row),
            [
                "step",
                "tokens",
                "loss",
                "mlm_loss",
                "nsp_loss",
                "learning_rate",
                "grad_norm",
                "seconds",
                "data_seconds"
            ]
        );
        assert_eq!(row["step"], i + 1);
        let number = |key: &str| row[key].as_f64().unwrap();
        assert!((number("loss") - number("mlm_loss") - number("nsp_loss")).abs() < 1e-6);
        assert!(number("grad_norm") > 0.0);
    }
    // Two warm-up steps, then down to zero after the sixth.
    let rates: Vec<f64> = steps
        .iter()
        .map(|r| r["learning_rate"].as_f64().unwrap())
        .collect();
    assert_eq!(rates.iter().copied().fold(0.0, f64::max), 1e-3);
    assert!(rates[0] < 1e-3 && rates[5] < rates[4], "{rates:?}");
    let tokens: Vec<u64> = steps
        .iter()
        .map(|r| r["tokens"].as_u64().unwrap())
        .collect();
    assert!(tokens.windows(2).all(|w| w[0] < w[1]), "{tokens:?}");

    let splits: Vec<(&str, u64)> = evaluations
        .iter()
        .map(|r| (r["split"].as_str().unwrap(), r["step"].as_u64().unwrap()))
        .collect();
    assert_eq!(splits, [("validation", 3), ("validation", 6), ("test", 6)]);
    for row in &evaluations {
        for key in [
            "loss",
            "mlm_loss",
            "mlm_accuracy",
            "nsp_loss",
            "nsp_accuracy",
            "seconds",
        ] {
            assert!(row[key].is_number(), "{key}: {row}");
        }
    }

    let result = json(trial.join("result.json"));
    assert_eq!(result["arm"], arm);
    assert_eq!(result["seed"], seed);
    assert_eq!(result["model"].as_str(), (arm != "baseline").then_some(arm));
    assert_eq!(result["status"], "finished");
    assert_eq!(result["stopped_by"], "max_steps");
    assert_eq!(result["steps"], 6);
    assert_eq!(result["tokens"], tokens[5]);
    assert!(result["flops"].as_f64().unwrap() > 1e6);
    assert!(result["seconds"].as_f64().unwrap() > 0.0);
    // Waiting for data is part of the time, and the last row's count of it is the trial's.
    let waited = result["data_wait_seconds"].as_f64().unwrap();
    assert!(waited > 0.0 && waited < result["seconds"].as_f64().unwrap());
    assert_eq!(result["data_wait_seconds"], steps[5]["data_seconds"]);
    assert!(result["parameters"].as_u64().unwrap() > 1000);
    let test = evaluations[2];
    for key in [
        "loss",
        "mlm_loss",
        "mlm_accuracy",
        "nsp_loss",
        "nsp_accuracy",
    ] {
        assert_eq!(result["test"][key], test[key], "{key}");
        assert!(result["validation"][key].is_number(), "{key}");
    }

    let parquet = fs::read(trial.join("metrics.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    assert!(!trial.join("checkpoint.safetensors").exists());
    for folder in ["step-0", "final"] {
        let export = tree(&trial.join("export").join(folder));
        for name in EXPORT {
            assert!(export.contains_key(name), "{folder}: {:?}", export.keys());
        }
    }
    let weights = |folder: &str| {
        fs::read(trial.join("export").join(folder).join("model.safetensors")).unwrap()
    };
    assert_ne!(weights("step-0"), weights("final"));
}

/// The recipe as it was resolved: every default is written out, and it is a recipe itself.
fn check_resolved_recipe(folder: &Folder, root: &Path) {
    let text = read(root.join("recipe.yaml"));
    for line in ["attention_dropout:", "accumulate: 1", "total_steps: 6"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    folder.write("resolved.yaml", &text);
    let again = folder.ablate(&["run", "resolved.yaml", "--quiet"]).exits(0);
    assert_eq!(
        again.stderr, "",
        "the resolved recipe is not the same recipe"
    );
}

fn check_report(root: &Path) {
    let html = read(root.join("report.html"));
    assert!(html.contains("<svg") && html.contains("wider"));
    // Nothing is fetched from anywhere: no scripts, styles, pictures or fonts by address.
    for outside in [
        "src=\"http",
        "href=\"http",
        "<link",
        "<script src",
        "url(http",
        "@import",
    ] {
        assert!(!html.contains(outside), "{outside}");
    }
    let markdown = read(root.join("report.md"));
    assert!(markdown.contains("| `baseline` |"), "{markdown}");
    for line in markdown.lines() {
        let Some(start) = line.find("](figures/") else {
            continue;
        };
        let name = line[start + 2..].split(')').next().unwrap();
        assert!(root.join(name).exists(), "{name}");
    }
    let figures = tree(&root.join("figures"));
    let svg = figures.keys().filter(|n| n.ends_with(".svg")).count();
    assert!(svg >= 2, "{:?}", figures.keys());
    for name in figures.keys().filter(|n| n.ends_with(".svg")) {
        let png = &figures[&name.replace(".svg", ".png")];
        assert!(png.starts_with(b"\x89PNG"), "{name}");
    }
    let tables = tree(&root.join("tables"));
    for name in ["arms", "trials", "effects"] {
        assert!(
            tables.contains_key(&format!("{name}.csv")),
            "{:?}",
            tables.keys()
        );
        assert!(tables[&format!("{name}.parquet")].starts_with(b"PAR1"));
    }
    let arms = String::from_utf8(tables["arms.csv"].clone()).unwrap();
    assert_eq!(arms.lines().count(), 3, "{arms}");
}

#[test]
fn the_same_recipe_gives_the_same_bytes_on_any_number_of_threads() {
    let folder = Folder::new();
    for (runs, threads) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let done = folder
            .ablate(&[
                "run",
                "tiny.yaml",
                "--runs",
                runs,
                "--threads",
                threads,
                "--quiet",
            ])
            .exits(0);
        assert_eq!(done.stderr, "", "--quiet says nothing when all is well");
    }
    for (arm, seed) in ARMS.into_iter().flat_map(|arm| [(arm, 1), (arm, 2)]) {
        for other in ["b", "c"] {
            assert_same_trial(
                &folder.trial("a", arm, seed),
                &folder.trial(other, arm, seed),
            );
        }
    }
    // The seed is not ignored.
    let weights = |seed| {
        fs::read(
            folder
                .trial("a", "baseline", seed)
                .join("export/final/model.safetensors"),
        )
        .unwrap()
    };
    assert_ne!(weights(1), weights(2));
}

#[test]
fn a_report_is_rebuilt_from_the_records_alone() {
    let folder = Folder::new();
    folder
        .ablate(&["run", "tiny.yaml", "--seed", "1", "--quiet"])
        .exits(0);
    let root = folder.path("runs/tiny");
    let page = fs::read(root.join("report.html")).unwrap();
    for name in ["figures", "tables"] {
        fs::remove_dir_all(root.join(name)).unwrap();
    }
    for name in ["report.html", "report.md"] {
        fs::remove_file(root.join(name)).unwrap();
    }
    fs::remove_file(folder.path("card.yaml")).unwrap();
    fs::remove_file(folder.path("tiny.yaml")).unwrap();
    folder
        .ablate(&["report", "runs/tiny", "--format", "markdown"])
        .exits(0);
    assert!(root.join("report.md").exists() && !root.join("report.html").exists());
    folder.ablate(&["report", "runs/tiny"]).exits(0);
    assert!(
        fs::read(root.join("report.html")).unwrap() == page,
        "another page than the run's own"
    );
    // Moved elsewhere it is still the same report.
    fs::rename(&root, folder.path("archive")).unwrap();
    folder.ablate(&["report", "archive"]).exits(0);
    assert!(fs::read(folder.path("archive/report.html")).unwrap() == page);
}

#[test]
fn any_json_lines_will_do_and_set_changes_any_value() {
    let folder = Folder::new();
    let mut lines = String::new();
    for i in 0..40 {
        let (land, size) = (["north", "south", "west", "east"][i % 4], i * 37 % 11);
        let text = format!(
            "The land number {i} lies in the {land}. It has {size} rivers and a long coast. The people of the {land} grow grain. \
             Most of the {size} towns lie on the coast."
        );
        let line = serde_json::json!({"path": format!("{land}/{i}.json"), "text": text, "id": format!("doc-{i}")});
        lines.push_str(&format!("{line}\n"));
    }
    folder.write("corpus/a.jsonl", &lines);
    let done = folder.ablate(&[
        "run",
        "tiny.yaml",
        "--seed",
        "1",
        "--set",
        "data.source={path: corpus/*.jsonl, text: text, id: id}",
        "--set",
        "model.bert.layers=2",
        "--set",
        "data.tokenizer.wordpiece.vocab_size=120",
    ]);
    let done = done.exits(0);
    assert!(done.stderr.contains("40 documents"), "{done}");
    let trial = folder.trial("runs", "baseline", 1);
    let config = json(trial.join("export/final/config.json"));
    assert_eq!(config["num_hidden_layers"], 2);
    assert!(config["vocab_size"].as_u64().unwrap() <= 120);
    let vocabulary = read(trial.join("export/final/vocab.txt"));
    assert!(
        vocabulary.lines().any(|word| word == "coast"),
        "{vocabulary}"
    );
}
