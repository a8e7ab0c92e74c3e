//! The commands that look inside: batches, gradcheck, graph, schema, doctor, plugin list.

use std::fs;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::support::{ablate, metrics, read, repository, Folder};

const STEPS: usize = 6;
const ROWS: usize = 8;
const SEQ: usize = 32;
const IGNORED: i64 = -100;

struct Batches {
    bytes: Vec<u8>,
}

impl Batches {
    fn take(folder: &Folder, arm: &str, seed: &str, name: &str) -> Self {
        let steps = STEPS.to_string();
        let arguments = [
            "batches",
            "tiny.yaml",
            "--arm",
            arm,
            "--seed",
            seed,
            "--steps",
            &steps,
            "--out",
            name,
        ];
        folder.ablate(&arguments).exits(0);
        Batches {
            bytes: fs::read(folder.path(name)).unwrap(),
        }
    }

    fn names(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    fn get(&self, name: &str, shape: &[usize]) -> Vec<i64> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
        assert_eq!(tensor.shape(), shape, "{name}");
        let values = tensor.data().chunks_exact(8);
        values
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }
}

#[test]
fn batches_are_what_training_sees() {
    let folder = Folder::new();
    let taken = Batches::take(&folder, "baseline", "2", "two.safetensors");
    assert_eq!(
        taken.names(),
        [
            "attention_mask",
            "input_ids",
            "labels",
            "next_sentence_label",
            "token_type_ids"
        ]
    );
    let cells = [STEPS, ROWS, SEQ];
    let ids = taken.get("input_ids", &cells);
    let types = taken.get("token_type_ids", &cells);
    let mask = taken.get("attention_mask", &cells);
    let labels = taken.get("labels", &cells);
    let pairs = taken.get("next_sentence_label", &[STEPS, ROWS]);

    folder
        .ablate(&["run", "tiny.yaml", "--seed", "2", "--quiet"])
        .exits(0);
    let trial = folder.trial("runs", "baseline", 2);
    let vocabulary = read(trial.join("export/final/vocab.txt"));
    let vocabulary: Vec<&str> = vocabulary.lines().collect();
    let id = |word: &str| vocabulary.iter().position(|w| *w == word).unwrap() as i64;
    let [pad, cls, sep, masked] = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"].map(id);

    let (mut real, mut predicted, mut hidden, mut kept) = (0, 0, 0, 0);
    for i in 0..ids.len() {
        assert!((0..vocabulary.len() as i64).contains(&ids[i]));
        assert!(types[i] == 0 || types[i] == 1);
        if i % SEQ == 0 {
            assert_eq!(ids[i], cls);
        }
        match mask[i] {
            0 => assert_eq!((ids[i], labels[i]), (pad, IGNORED)),
            1 if ids[i] == cls || ids[i] == sep => assert_eq!(labels[i], IGNORED),
            1 => {
                real += 1;
                if labels[i] == IGNORED {
                    assert_ne!(ids[i], masked, "hidden but not asked for");
                    continue;
                }
                assert!((0..vocabulary.len() as i64).contains(&labels[i]));
                predicted += 1;
                hidden += usize::from(ids[i] == masked);
                kept += usize::from(ids[i] == labels[i]);
            }
            other => panic!("attention mask {other}"),
        }
    }
    // 15 % of the words are asked for; of these 80 % are hidden and 10 % left as they are.
    let share = |a: usize, b: usize| a as f64 / b as f64;
    assert!(
        (0.11..0.19).contains(&share(predicted, real)),
        "{predicted} of {real}"
    );
    assert!(
        (0.65..0.92).contains(&share(hidden, predicted)),
        "{hidden} of {predicted}"
    );
    assert!(
        (0.02..0.25).contains(&share(kept, predicted)),
        "{kept} of {predicted}"
    );
    assert!(pairs.iter().all(|p| *p == 0 || *p == 1));
    assert!(pairs.contains(&0) && pairs.contains(&1));

    // Step by step as many real tokens as training counted.
    let mut tokens = 0;
    let trained: Vec<Value> = metrics(&trial)
        .into_iter()
        .filter(|r| r.get("split").is_none())
        .collect();
    for (step, row) in trained.iter().enumerate() {
        let cells = step * ROWS * SEQ..(step + 1) * ROWS * SEQ;
        tokens += mask[cells].iter().sum::<i64>();
        assert_eq!(row["tokens"], tokens, "step {}", step + 1);
    }

    // The same again is the same; a model arm sees the same; another seed does not.
    let again = Batches::take(&folder, "baseline", "2", "again.safetensors");
    assert!(again.bytes == taken.bytes);
    let wider = Batches::take(&folder, "wider", "2", "wider.safetensors");
    assert!(wider.bytes == taken.bytes);
    let other = Batches::take(&folder, "baseline", "1", "one.safetensors");
    assert!(other.get("input_ids", &cells) != ids);

    let shown = folder
        .ablate(&["batches", "tiny.yaml", "--seed", "2", "--show", "3"])
        .exits(0)
        .stdout;
    assert_eq!(shown.matches("reads: [CLS] ").count(), 3, "{shown}");
    let first: Vec<&str> = ids[..SEQ]
        .iter()
        .zip(&mask)
        .filter(|(_, m)| **m == 1)
        .map(|(id, _)| vocabulary[*id as usize])
        .collect();
    assert!(
        shown.contains(&format!("reads: {}\n", first.join(" "))),
        "{shown}"
    );
}

#[test]
fn gradients_are_checked_parameter_by_parameter() {
    let folder = Folder::new();
    let done = folder
        .ablate(&[
            "gradcheck",
            "tiny.yaml",
            "--set",
            "model.bert.hidden=64",
            "--hidden",
            "32",
            "--vocabulary",
            "128",
            "--samples",
            "3",
        ])
        .exits(0);
    for name in [
        "bert.embeddings.word_embeddings.weight",
        "bert.encoder.layer.*.attention.self.query.weight",
        "bert.pooler.dense.weight",
        "cls.predictions.bias",
        "cls.seq_relationship.weight",
    ] {
        let line = done.stdout.lines().find(|line| line.starts_with(name));
        assert!(
            line.is_some_and(|line| line.ends_with(" ok")),
            "{name}: {done}"
        );
    }
    assert!(done.stdout.contains("hidden 64 -> 32"), "{done}");
    assert!(!done.stdout.contains("WRONG"), "{done}");
}

#[test]
fn graphs_before_and_after_compilation() {
    let folder = Folder::new();
    let nodes = folder.ablate(&["graph", "tiny.yaml"]).exits(0).stdout;
    for word in [
        "SumReduce",
        "Mul",
        "encoder.layer.0.attention",
        "bert.pooler.dense.weight",
    ] {
        assert!(nodes.contains(word), "{word}");
    }
    let program = folder
        .ablate(&["graph", "tiny.yaml", "--program", "--threads", "1"])
        .exits(0)
        .stdout;
    assert!(program.to_lowercase().contains("gemm"), "{program}");
    // Fused: many nodes a kernel.
    let kernels: usize = program
        .strip_prefix("program: ")
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap();
    let count = nodes.lines().filter(|line| line.starts_with('%')).count();
    assert!(
        kernels > 20 && count > 5 * kernels,
        "{count} nodes, {kernels} kernels"
    );
    let wider = folder
        .ablate(&["graph", "tiny.yaml", "--arm", "wider"])
        .exits(0)
        .stdout;
    assert_ne!(nodes, wider);
    let update = folder
        .ablate(&["graph", "tiny.yaml", "--part", "update"])
        .exits(0)
        .stdout;
    assert_ne!(nodes, update);
}

/// What `graph --cuda` says about `tiny.yaml`, and again up to the source with digests as dots.
fn launches(folder: &Folder, more: &[&str]) -> (String, String) {
    let arguments = [&["graph", "tiny.yaml", "--cuda"], more].concat();
    let all = folder.ablate(&arguments).exits(0).stdout;
    let tables = all.split("\nSource.").next().unwrap_or_default();
    let mut shown = String::new();
    for word in tables.split_inclusive(' ') {
        let digest = word.trim_end().rsplit_once('_').map(|(_, digest)| digest);
        match digest.filter(|d| d.len() == 10 && d.bytes().all(|b| b.is_ascii_hexdigit())) {
            Some(digest) => shown += &word.replace(digest, ".........."),
            None => shown += word,
        }
    }
    (all, shown)
}

#[test]
fn what_a_gpu_would_launch() {
    let folder = Folder::new();
    let (all, shown) = launches(&folder, &[]);
    let source = all.split("\nSource.").nth(1).unwrap_or_default();
    // Every function of the table has its source.
    let functions = source.matches("extern \"C\" __global__").count();
    assert!(
        shown.contains(&format!(" launches of {functions} kernels")),
        "{shown}"
    );
    assert!(shown.contains("ESTIMATE FROM DATA SHEETS, NOT A MEASUREMENT"));
    if !shown.contains("Registers of a thread are unknown: ") {
        println!("SKIPPED: this machine has an NVRTC of its own, the snapshots are without");
        return;
    }
    insta::assert_snapshot!("launches_of_the_gradient", shown);
    let accumulating = ["--set", "train.accumulate=4", "--part", "update"];
    insta::assert_snapshot!("launches_of_the_update", launches(&folder, &accumulating).1);
}

#[test]
fn one_kernel_as_a_gpu_would_run_it() {
    let folder = Folder::new();
    let (_, shown) = launches(&folder, &[]);
    let name = shown
        .lines()
        .find_map(|line| {
            line.split_whitespace()
                .position(|word| word == "row")
                .map(|at| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    format!("row {}", words[at + 1])
                })
        })
        .expect("a row kernel");
    let arguments = ["graph", "tiny.yaml", "--cuda", "--kernel"];
    let one = folder
        .ablate(&[&arguments[..], &[&name]].concat())
        .exits(0)
        .stdout;
    let functions = one.matches("extern \"C\" __global__").count();
    let named = one
        .lines()
        .filter(|line| line.starts_with(&format!("// {name}")))
        .count();
    assert!(functions > 0 && functions == named, "{one}");
    assert!(
        one.contains("static __device__"),
        "without what it needs: {one}"
    );

    let wrong = name.replace("row", "rwo");
    let unknown = folder
        .ablate(&[&arguments[..], &[&wrong]].concat())
        .exits(2);
    let says = format!("there is no kernel `{wrong}`; did you mean `{name}`? there are: ");
    assert!(unknown.stderr.contains(&says), "{unknown}");
    assert!(unknown.stderr.contains(&name), "{unknown}");
    folder
        .ablate(&["graph", "tiny.yaml", "--kernel", "row"])
        .exits(2);
    folder
        .ablate(&["graph", "tiny.yaml", "--cuda", "--program"])
        .exits(2);
}

/// An optimizer with several update graphs: each is listed, with how many steps run it.
#[test]
fn every_update_graph_is_counted() {
    let folder = Folder::new();
    let sets = ["--set", "optimizer={shampoo: {interval: 10}}"];
    let arguments = [&sets[..], &["--part", "update"]].concat();
    let (all, shown) = launches(&folder, &arguments);
    let says = |what: &str| assert!(shown.contains(what), "{what}: {shown}");
    says("One run of the update 1 graph");
    says("One run of the update 2 graph");
    says("1 in 100 of 1000 steps");
    says("1 in 900 of 1000 steps");
    says("a training step, on average");
    // A kernel that both have is printed once.
    let source = all.split("\nSource.").nth(1).unwrap_or_default();
    let mut functions: Vec<&str> = source
        .lines()
        .filter(|line| line.contains("__global__"))
        .collect();
    let count = functions.len();
    functions.sort_unstable();
    functions.dedup();
    assert_eq!(functions.len(), count);
    let step = shown.split("ESTIMATE FROM").nth(1).unwrap_or_default();
    insta::assert_snapshot!("launches_of_several_updates", step);
}

#[test]
fn registers_are_those_of_the_machines_nvrtc() {
    let Some(nvrtc) = ablate_nvrtc::library_folder() else {
        return;
    };
    let folder = Folder::new();
    let mut command = folder.command(&["graph", "tiny.yaml", "--cuda"]);
    command.env("LD_LIBRARY_PATH", nvrtc);
    let done = folder.done(command.output().unwrap()).exits(0);
    let said = "Registers of a thread are those of NVRTC 12.9.";
    assert!(done.stdout.contains(said), "{done}");
    let table = done.stdout.split(said).next().unwrap_or_default();
    assert!(!table.contains('?'), "{table}");
}

#[test]
fn what_a_gpu_would_launch_with_rounded_activations() {
    let folder = Folder::new();
    let (all, shown) = launches(&folder, &["--set", "precision=bf16"]);
    assert!(shown.contains(" bf16,bf16,bf16 "), "{shown}");
    assert!(!shown.contains("A100 TF32, us"), "{shown}");
    // The sum of a step has every precision.
    assert!(shown.contains("A100 TF32, ms"), "{shown}");
    assert!(all.contains(" bf16 *"), "{all}");
}

#[test]
fn the_schema_knows_recipes_and_plugins() {
    let done = Folder::new().ablate(&["schema"]).exits(0);
    let schema: Value = serde_json::from_str(&done.stdout).unwrap();
    for key in [
        "pipeline",
        "seeds",
        "data",
        "model",
        "objectives",
        "optimizer",
        "stop",
        "experiment",
    ] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
    for name in ["mask_rate", "weight_decay", "converged", "exact_dedup"] {
        assert!(done.stdout.contains(name), "{name}");
    }
}

#[test]
fn doctor_and_plugin_list_say_what_there_is() {
    let folder = Folder::new();
    let doctor = folder.ablate(&["doctor"]).exits(0).stdout;
    for line in [
        "ablate ",
        "cpu ",
        "cpu features ",
        "threads ",
        "device ",
        "tf32 ",
        "f32_split ",
        "bf16 ",
        "gpu ",
        "plugins ",
        "plugin search ",
    ] {
        assert!(
            doctor.lines().any(|l| l.starts_with(line)),
            "{line}: {doctor}"
        );
    }
    let list = folder.ablate(&["plugin", "list"]).exits(0).stdout;
    for name in [
        "mlm",
        "nsp",
        "adamw",
        "sgd",
        "max_steps",
        "converged",
        "patience",
        "target_loss",
        "diverged",
    ] {
        assert!(list.contains(name), "{name}: {list}");
    }
    assert!(folder
        .ablate(&["--version"])
        .exits(0)
        .stdout
        .starts_with("ablate "));
    let help = folder.ablate(&["--help"]).exits(0).stdout;
    for command in [
        "run",
        "report",
        "graph",
        "gradcheck",
        "batches",
        "bench",
        "profile",
        "schema",
        "doctor",
        "plugin",
    ] {
        assert!(
            help.lines().any(|l| l.trim_start().starts_with(command)),
            "{command}: {help}"
        );
    }
}

/// The pipelines that the repository ships are right; the quickstart's corpus needs no download.
#[test]
fn the_quickstart_is_a_sound_recipe() {
    let root = repository();
    for arm in ["baseline", "cleaned+deeper"] {
        let output = ablate(&[
            "graph",
            "pipelines/quickstart.yaml",
            "--arm",
            arm,
            "--part",
            "evaluation",
        ])
        .current_dir(&root)
        .output()
        .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arm}: {errors}");
        assert_eq!(errors, "", "{arm}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.contains("encoder.layer.3"), arm == "cleaned+deeper");
        // The compile table of tests/nvrtc has the kernels of this vocabulary.
        let embedding = |line: &&str| line.contains("word_embeddings.weight");
        let line = text.lines().find(embedding).unwrap_or_default();
        assert!(line.contains("378"), "{line}");
    }
}
