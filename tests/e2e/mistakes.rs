//! What every mistake looks like: exit code and message, word for word.

use std::fs;

use crate::support::{assert_same_trial, json, read, Folder};

const RUN: [&str; 3] = ["run", "tiny.yaml", "--quiet"];

fn run_with(folder: &Folder, sets: &[&str]) -> crate::support::Done {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = RUN.into_iter().chain(sets).collect();
    folder.ablate(&arguments)
}

#[test]
fn broken_yaml() {
    let folder = Folder::new();
    folder.variant("broken.yaml", "bert: {layers: 1,", "bert: {layers: [1,");
    insta::assert_snapshot!(folder.ablate(&["run", "broken.yaml"]));
    assert!(!folder.path("runs").exists());
}

#[test]
fn five_mistakes_at_once() {
    let folder = Folder::new();
    let text = crate::support::TINY
        .replace("heads: 2", "heads: 3")
        .replace("source: card.yaml", "source: crad.yaml")
        .replace("mask_rate: 0.15", "mask_rate: 15")
        .replace("  - nsp:", "  - nps:")
        .replace("clip_norm: 1.0", "clip_nrom: 1.0");
    folder.write("five.yaml", text);
    insta::assert_snapshot!(folder.ablate(&["run", "five.yaml"]));
    assert!(
        !folder.path("runs").exists(),
        "nothing is run before all is right"
    );
}

/// A card's mistakes stand in the card, an operator's in the recipe, all at once.
#[test]
fn mistakes_in_a_card_and_in_operators() {
    let folder = Folder::new();
    folder.write(
        "card.yaml",
        "name: small sample\nlicense: CC0-1.0\ngenerator: {seed: 3, documents: 1, topcis: 2}\n",
    );
    folder.write(
        "rough.yaml",
        "name: rough\nlicence: CC0-1.0\nsource: [a.txt]\nformat: jsonl\n",
    );
    let text = crate::support::TINY
        .replace(
            "  split:",
            "  curate:\n    - exact_dedupe: {}\n    - min_words: {word: 3}\n    - max_repetition: {fraction: 0}\n  split:",
        )
        .replace(
            "experiment:\n",
            "experiment:\n  data:\n    rough: {data.source: rough.yaml}\n",
        );
    folder.write("many.yaml", text);
    insta::assert_snapshot!(folder.ablate(&["run", "many.yaml"]));
    assert!(!folder.path("runs").exists());
}

#[test]
fn mistakes_in_set_and_in_an_intervention() {
    let folder = Folder::new();
    folder.variant(
        "arms.yaml",
        "wider: {model.bert.intermediate: 64}",
        "wider: {model.bert.intermediat: 64}",
    );
    insta::assert_snapshot!(folder.ablate(&[
        "run",
        "arms.yaml",
        "--set",
        "model.bert.layer=2",
        "--set",
        "seeds"
    ]));
}

#[test]
fn a_recipe_that_is_not_there() {
    insta::assert_snapshot!(Folder::new().ablate(&["run", "tiny.yml"]));
}

#[test]
fn an_empty_corpus() {
    let folder = Folder::new();
    folder.write("empty.jsonl", "\n\n{\"text\": \"\"}\n");
    insta::assert_snapshot!(run_with(&folder, &["data.source={path: empty.jsonl}"]));
}

#[test]
fn a_corpus_too_small_to_split() {
    let folder = Folder::new();
    folder.write("one.txt", "Only one document. It has two sentences.\n");
    insta::assert_snapshot!(run_with(&folder, &["data.source={path: one.txt}"]));
}

/// Forty good lines, and two in the middle that are no UTF-8 and no JSON.
fn damaged_corpus(folder: &Folder) {
    let mut bytes = Vec::new();
    for i in 0..40 {
        bytes.extend(
            format!("{{\"text\": \"Document {i} says this. And after it, that.\"}}\n").bytes(),
        );
        if i == 20 {
            bytes.extend(b"{\"text\": \"caf\xe9 au lait\"}\n{\"text\": \n");
        }
    }
    folder.write("damaged.jsonl", bytes);
}

#[test]
fn invalid_utf8_is_left_out_and_counted() {
    let folder = Folder::new();
    damaged_corpus(&folder);
    let done = run_with(&folder, &["data.source={path: damaged.jsonl}"]);
    insta::assert_snapshot!("invalid_utf8_is_left_out", done.clone().exits(0).stderr);
    let corpus = &json(folder.path("runs/tiny/experiment.json"))["corpus"];
    assert_eq!(corpus["dropped_lines"], 2);
    assert_eq!(corpus["documents"], 40);
}

#[test]
fn invalid_utf8_is_refused_when_asked() {
    let folder = Folder::new();
    damaged_corpus(&folder);
    insta::assert_snapshot!(run_with(
        &folder,
        &["data.source={path: damaged.jsonl, on_error: refuse}"]
    ));
}

/// A folder in Hugging Face format that the tiny recipe wrote itself.
fn checkpoint(folder: &Folder) -> String {
    folder
        .ablate(&[
            "run",
            "tiny.yaml",
            "--runs",
            "first",
            "--seed",
            "1",
            "--quiet",
        ])
        .exits(0);
    "first/tiny/trials/baseline/seed-1/export/final".to_owned()
}

#[test]
fn training_goes_on_from_an_export_and_not_from_a_damaged_one() {
    let folder = Folder::new();
    let export = checkpoint(&folder);
    let from = format!("model.bert={{huggingface: {export}}}");
    let vocabulary = format!("data.tokenizer={{file: {export}/vocab.txt}}");
    let sets = [
        from.as_str(),
        vocabulary.as_str(),
        "experiment.model={}",
        "seeds=[1]",
    ];
    run_with(&folder, &sets).exits(0);
    let start = folder
        .trial("runs", "baseline", 1)
        .join("export/step-0/model.safetensors");
    assert!(
        fs::read(start).unwrap()
            == fs::read(folder.path(&export).join("model.safetensors")).unwrap(),
        "it starts at other weights than the export's"
    );

    let weights = folder.path(&export).join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let sets = [sets[0], sets[1], sets[2], "seeds=[2]"];
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    insta::assert_snapshot!("safetensors_cut_in_half", run_with(&folder, &sets));
    fs::write(&weights, "these are no weights at all").unwrap();
    insta::assert_snapshot!("safetensors_of_something_else", run_with(&folder, &sets));
    fs::write(&weights, &whole).unwrap();
    let config = folder.path(&export).join("config.json");
    let text = read(&config);
    // Intact weights of another model than the configuration's.
    let wider = text.replace("\"vocab_size\": ", "\"vocab_size\": 1");
    assert_ne!(wider, text);
    fs::write(&config, wider).unwrap();
    insta::assert_snapshot!("safetensors_of_another_shape", run_with(&folder, &sets));
    fs::write(&config, text).unwrap();
    let (one, two) = (
        "data.tokenizer={file: other.txt}",
        "data.tokenizer={file: broken.json}",
    );
    let mut words = read(folder.path(&export).join("vocab.txt"));
    words.push_str("onewordmore\nandanother\n");
    folder.write("other.txt", words);
    folder.write("broken.json", "{\"model\": ");
    let sets_with = |tokenizer| [sets[0], tokenizer, sets[2], sets[3]];
    insta::assert_snapshot!("tokenizer_too_large", run_with(&folder, &sets_with(one)));
    insta::assert_snapshot!("tokenizer_damaged", run_with(&folder, &sets_with(two)));
    fs::write(
        folder.path(&export).join("config.json"),
        "{\"hidden_size\": ",
    )
    .unwrap();
    insta::assert_snapshot!("config_json_cut_short", run_with(&folder, &sets));
}

#[test]
#[cfg(target_os = "linux")]
fn a_plugin_that_is_no_plugin() {
    let folder = Folder::new();
    folder.write("plugins/notes.so", "this is no library\n");
    folder.variant(
        "plugins.yaml",
        "device: cpu",
        "device: cpu\nplugins: [plugins/notes.so, plugins/none.so]",
    );
    insta::assert_snapshot!(folder.ablate(&["run", "plugins.yaml"]));
    insta::assert_snapshot!(
        "plugin_list_of_no_plugin",
        folder.ablate(&["plugin", "list", "plugins/notes.so"])
    );
}

#[test]
fn a_runs_folder_that_cannot_be_made() {
    let folder = Folder::new();
    // A file where the folder should be: refused to the administrator, too.
    folder.write("occupied", "");
    insta::assert_snapshot!(folder.ablate(&["run", "tiny.yaml", "--quiet", "--runs", "occupied"]));
}

/// The largest file that the limited run may write: more than an export of the tiny model, less than a
/// checkpoint of it.
#[cfg(unix)]
const LARGEST: libc::rlim_t = 100_000;

#[test]
#[cfg(unix)]
fn a_disk_that_refuses_in_the_middle() {
    use std::os::unix::process::CommandExt;
    let folder = Folder::new();
    let run = ["run", "tiny.yaml", "--quiet", "--threads", "1"];
    let mut limited = folder.command(&run);
    // SAFETY: between fork and exec only two system calls are made, both safe there, on plain values.
    unsafe {
        limited.pre_exec(|| {
            let limit = libc::rlimit {
                rlim_cur: LARGEST,
                rlim_max: LARGEST,
            };
            // Else the refused write would be a signal and not an error.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    insta::assert_snapshot!(folder.done(limited.output().unwrap()));
    let trial = folder.trial("runs", "baseline", 1);
    assert!(trial.join("metrics.jsonl").exists(), "it broke too early");
    assert!(!trial.join("result.json").exists());
    assert!(
        !folder.trial("runs", "wider", 1).exists(),
        "every later trial meets the same disk"
    );
    // With room again, the same command does the rest.
    folder.ablate(&run).exits(0);
    assert!(trial.join("result.json").exists());
    folder
        .ablate(&[
            "run",
            "tiny.yaml",
            "--quiet",
            "--threads",
            "1",
            "--runs",
            "whole",
        ])
        .exits(0);
    assert_same_trial(&folder.trial("whole", "baseline", 1), &trial);
}

#[test]
fn a_record_that_is_damaged() {
    let folder = Folder::new();
    folder.write(
        "runs/tiny/trials/baseline/seed-1/result.json",
        "{\"status\": ",
    );
    insta::assert_snapshot!(folder.ablate(&RUN));
}

#[test]
fn commands_and_flags_that_do_not_exist() {
    let folder = Folder::new();
    insta::assert_snapshot!("unknown_command", folder.ablate(&["rnu", "tiny.yaml"]));
    insta::assert_snapshot!(
        "unknown_flag",
        folder.ablate(&["run", "tiny.yaml", "--freshh"])
    );
    insta::assert_snapshot!(
        "no_threads",
        folder.ablate(&["run", "tiny.yaml", "--threads", "0"])
    );
    insta::assert_snapshot!(
        "unknown_arm",
        folder.ablate(&["graph", "tiny.yaml", "--arm", "widest"])
    );
    insta::assert_snapshot!(
        "batches_to_nowhere",
        folder.ablate(&["batches", "tiny.yaml"])
    );
    insta::assert_snapshot!("report_of_nothing", folder.ablate(&["report", "runs/none"]));
    assert!(!folder.path("runs").exists());
}

#[test]
fn a_device_that_is_not_there() {
    let folder = Folder::new();
    let doctor = folder.ablate(&["doctor"]).exits(0).stdout;
    let gpu = doctor
        .lines()
        .find(|line| line.starts_with("gpu "))
        .unwrap();
    let Some((_, why)) = gpu.split_once("none: ") else {
        return; // This machine has one.
    };
    let done = run_with(&folder, &["device=cuda"]);
    assert_eq!(done.code, 2, "{done}");
    assert!(done.stderr.contains(" --> --set:1:8"), "{done}");
    assert!(done.stderr.contains(why), "{why}: {done}");
}

#[test]
fn a_trial_that_diverges_is_a_record_and_no_crash() {
    let folder = Folder::new();
    let done = run_with(
        &folder,
        &[
            "optimizer={sgd: {learning_rate: 1.0e+30}}",
            "schedule={constant: {}}",
            "train.clip_norm=null",
            "seeds=[1]",
        ],
    );
    let done = done.exits(0);
    let result = json(folder.trial("runs", "baseline", 1).join("result.json"));
    assert_eq!(result["status"], "diverged", "{result}");
    assert_eq!(result["stopped_by"], "diverged");
    assert!(!result["reason"].as_str().unwrap().is_empty());
    assert!(done.stderr.contains("diverged"), "{done}");
    assert!(!folder
        .trial("runs", "baseline", 1)
        .join("export/final")
        .exists());
}
