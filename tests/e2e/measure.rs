//! `ablate bench` and `ablate profile`: what they print, and that it adds up. Never how fast.

use serde_json::Value;

use crate::support::{keys, read, Folder};

/// A model that takes no time.
const SMALL: [&str; 16] = [
    "bench",
    "--layers",
    "1",
    "--hidden",
    "16",
    "--heads",
    "2",
    "--vocab",
    "60",
    "--seq",
    "16",
    "--batch",
    "4",
    "--steps",
    "3",
    "--dropout=0.1",
];

fn bench(more: &[&str]) -> Vec<Value> {
    let arguments: Vec<&str> = SMALL.iter().chain(more).copied().collect();
    let done = Folder::new().ablate(&arguments).exits(0);
    done.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key}: {value}"))
}

/// Parameters of `BertForPreTraining` with tied word embeddings, by the book.
fn parameters(layers: u64, h: u64, i: u64, vocab: u64, positions: u64) -> u64 {
    let norm = 2 * h;
    let embeddings = (vocab + positions + 2) * h + norm;
    let layer = 4 * (h * h + h) + norm + (h * i + i) + (i * h + h) + norm;
    let heads = (h * h + h) + (h * h + h) + norm + vocab + (2 * h + 2);
    embeddings + layers * layer + heads
}

#[test]
fn bench_prints_the_documented_keys_and_they_agree() {
    let lines = bench(&["--threads", "1"]);
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    for key in [
        "configuration",
        "params",
        "median_s",
        "min_s",
        "tokens_per_s",
        "gflops",
        "gemm_peak_share",
        "peak_rss_mb",
        "compile_s",
        "kernels",
    ] {
        assert!(keys(line).contains(&key), "{key} is missing: {line}");
    }
    let configuration = &line["configuration"];
    assert_eq!(configuration["hidden"], 16);
    // What is not given follows the width.
    assert_eq!(configuration["intermediate"], 64);
    assert_eq!(configuration["precision"], "f32");
    assert_eq!(line["params"], parameters(1, 16, 64, 60, 512));

    let steps: Vec<f64> = line["step_s"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_f64().unwrap())
        .collect();
    assert_eq!(steps.len(), 3);
    let (median, min) = (number(line, "median_s"), number(line, "min_s"));
    assert!(0.0 < min && min <= median, "{line}");
    assert!(steps.contains(&median) && steps.contains(&min));
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
    // Every row is full: 4 rows of 16 tokens.
    assert!(close(number(line, "tokens_per_s") * median, 64.0), "{line}");
    let peak = number(line, "gemm_peak_gflops");
    let share = number(line, "gemm_peak_share");
    assert!(close(share, number(line, "gflops") / peak), "{line}");
    assert!(number(line, "compile_s") > 0.0);
    assert!(number(line, "peak_rss_mb") > 1.0);
    // One layer: 8 products forward and 16 backward, and those of the heads.
    assert!(line["kernels"]["gemm"].as_u64().unwrap() > 24, "{line}");
    // A model that has learnt nothing guesses among 60 words and 2 labels.
    let chance = 60f64.ln() + 2f64.ln();
    assert!((number(line, "loss") - chance).abs() < 1.0, "{line}");
}

#[test]
fn bench_measures_every_combination() {
    let lines = bench(&["--threads", "1,2"]);
    let threads: Vec<&Value> = lines
        .iter()
        .map(|l| &l["configuration"]["threads"])
        .collect();
    assert_eq!(threads, [1, 2]);
    // The same training, whatever the number of threads.
    assert_eq!(lines[0]["loss"], lines[1]["loss"]);
    assert_eq!(lines[0]["kernels"], lines[1]["kernels"]);
}

#[test]
fn bench_shows_kernels_beside_the_line() {
    let arguments: Vec<&str> = SMALL.iter().chain(&["--profile"]).copied().collect();
    let done = Folder::new().ablate(&arguments).exits(0);
    assert_eq!(done.stdout.lines().count(), 1, "{done}");
    assert!(done.stderr.contains("encoder.layer.*.ffn"), "{done}");
}

#[test]
fn bench_refuses_what_cannot_be_measured_before_it_measures() {
    let refused = |more: &[&str]| {
        let arguments: Vec<&str> = SMALL.iter().chain(more).copied().collect();
        let done = Folder::new().ablate(&arguments).exits(2);
        assert!(done.stdout.is_empty(), "{done}");
        done.stderr
    };
    let message = refused(&["--size", "huge"]);
    assert!(
        message.contains("tiny, mini, small, medium, base, large"),
        "{message}"
    );
    let message = refused(&["--precision", "f16"]);
    assert!(message.contains("f32, f32_split, bf16"), "{message}");
    let arguments = ["bench", "--hidden", "16", "--heads", "3"];
    let message = Folder::new().ablate(&arguments).exits(2).stderr;
    assert!(message.contains("16") && message.contains('3'), "{message}");
    for (arguments, said) in [
        (["bench", "--steps", "0"], "steps"),
        (["bench", "--seq", "4"], "seq"),
        (["bench", "--vocab", "5"], "vocab"),
    ] {
        let message = Folder::new().ablate(&arguments).exits(2).stderr;
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn profile_accounts_for_the_whole_step() {
    let folder = Folder::new();
    let arguments = ["profile", "tiny.yaml", "--steps", "2", "--threads", "1"];
    let done = folder.ablate(&arguments).exits(0);
    for said in [
        "baseline, seed 1: ",
        "outside of kernels",
        "encoder.layer.*.attention",
        "forward mlm",
        "update parameters",
        "  arena: ",
        "  inputs",
        "picture: profile.svg",
    ] {
        assert!(done.stdout.contains(said), "`{said}` is missing: {done}");
    }
    // The shares of the first table, one line a kernel, are those of one step.
    let first = done.stdout.split("\n\n").nth(1).unwrap();
    let share = |line: &str| -> Option<f64> {
        line.split_whitespace()
            .nth(1)?
            .strip_suffix('%')?
            .parse()
            .ok()
    };
    let rows: Vec<f64> = first.lines().filter_map(share).collect();
    assert!(rows.len() > 20, "{done}");
    let sum: f64 = rows.iter().sum();
    // Each is rounded to a tenth.
    assert!(
        (sum - 100.0).abs() < 0.06 * rows.len() as f64,
        "{sum}: {first}"
    );

    let svg = read(folder.path("profile.svg"));
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
    for name in [
        "step", "forward", "backward", "update", "encoder", "layer.0", "ffn",
    ] {
        assert!(svg.contains(&format!("<title>{name}: ")), "{name}: {svg}");
    }
    // Nothing is left behind but the picture.
    assert!(!folder.path("runs").exists());
}

#[test]
fn profile_takes_any_arm_and_file() {
    let folder = Folder::new();
    let arguments = [
        "profile",
        "tiny.yaml",
        "--arm",
        "wider",
        "--steps",
        "1",
        "--out",
        "wider.svg",
    ];
    let done = folder.ablate(&arguments).exits(0);
    // The arm's feed-forward block is 64 wide; the last layer's sees 64 predictions and 8 first tokens.
    assert!(done.stdout.contains("72x64x16"), "{done}");
    assert!(read(folder.path("wider.svg")).contains("wider, seed 1"));
    let done = folder.ablate(&["profile", "tiny.yaml", "--steps", "1", "--out", "no/p.svg"]);
    let done = done.exits(1);
    assert!(done.stderr.contains("no/p.svg: No such file"), "{done}");
    folder
        .ablate(&["profile", "tiny.yaml", "--steps", "0"])
        .exits(2);
}
