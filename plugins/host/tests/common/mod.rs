//! What several tests of the host need: running an optimizer's update, compiling C, a small batch.
#![allow(dead_code, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ablate_bert::{ParameterSpec, Role};
use ablate_graph::{Feeds, Graph, RandomKey};
use ablate_host::OptimizerPlugin;
use ablate_random::Stream;
use ablate_train::{Optimizer, PreparedBatch, UpdateContext, VocabularyFacts, IGNORED};

/// The parameter `p`: a weight where it decays, else a bias.
pub fn spec(shape: &[usize], decays: bool) -> ParameterSpec {
    let role = if decays { Role::Weight } else { Role::Bias };
    ParameterSpec::new("p", shape, role)
}

/// The update graph of one parameter: states `p` and `p/<slot>`, inputs `gradient` and one for each
/// scalar.
pub fn update_graph(optimizer: &mut OptimizerPlugin, shape: &[usize], decays: bool) -> Graph {
    let mut g = Graph::new();
    let parameter = g.parameter("p", shape).unwrap();
    let gradient = g.input("gradient", shape).unwrap();
    let spec = spec(shape, decays);
    let mut slots = vec![];
    for slot in optimizer.slots(&spec).unwrap() {
        slots.push(g.state(&format!("p/{}", slot.name), &slot.shape).unwrap());
    }
    let mut scalars = vec![];
    for name in optimizer.scalar_names().unwrap() {
        scalars.push(g.input(&name, &[]).unwrap());
    }
    let cx = UpdateContext {
        name: spec.name.clone(),
        role: spec.role,
        parameter: parameter.clone(),
        gradient,
        slots: slots.clone(),
        scalars,
        decays,
        variant: 0,
    };
    let updated = optimizer.update(&mut g, cx).unwrap();
    g.assign(&parameter, &updated.parameter).unwrap();
    for (old, new) in slots.iter().zip(&updated.slots) {
        g.assign(old, new).unwrap();
    }
    g
}

/// The parameter after each step from `start` along `gradients`, by stock luminal in f32.
pub fn trajectory(
    optimizer: &mut OptimizerPlugin,
    start: &[f32],
    gradients: &[Vec<f32>],
    learning_rate: f64,
    decays: bool,
) -> Vec<Vec<f32>> {
    let shape = [start.len()];
    let mut g = update_graph(optimizer, &shape, decays);
    let mut states = BTreeMap::from([("p".to_owned(), start.to_vec())]);
    for slot in optimizer.slots(&spec(&shape, decays)).unwrap() {
        states.insert(format!("p/{}", slot.name), vec![slot.initial; start.len()]);
    }
    let names = optimizer.scalar_names().unwrap();
    let mut found = vec![];
    for (gradient, step) in gradients.iter().zip(1..) {
        let mut feeds = Feeds::new().with("gradient", gradient.clone());
        for (name, value) in names
            .iter()
            .zip(optimizer.scalars(step, learning_rate).unwrap())
        {
            feeds.set(name, vec![value as f32]);
        }
        let run = g
            .run_reference(&feeds, &states, RandomKey { seed: 0, step })
            .unwrap();
        states.extend(run.assigned);
        found.push(states["p"].clone());
    }
    found
}

/// Gradients that change size and sign from step to step.
pub fn gradients(steps: usize, n: usize) -> Vec<Vec<f32>> {
    let mut numbers = Stream::new(5, "gradients").reader();
    let mut next = move |t: usize| (numbers.normal() * (1.0 + (t % 3) as f64)) as f32;
    (0..steps)
        .map(|t| (0..n).map(|_| next(t)).collect())
        .collect()
}

pub fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        let error = (f64::from(*a) - b).abs() / b.abs().max(1.0);
        assert!(error <= tolerance, "{what}: {a} against {b}");
    }
}

pub const VOCAB: usize = 50;
pub const SPECIAL: [i64; 5] = [0, 1, 2, 3, 4];
pub const MASK: i64 = 4;

pub fn facts() -> VocabularyFacts {
    VocabularyFacts {
        size: VOCAB,
        pad_id: 0,
        unknown_id: 1,
        cls_id: 2,
        sep_id: 3,
        mask_id: MASK,
        special_ids: SPECIAL.to_vec(),
        continuation: vec![false; VOCAB],
    }
}

/// `rows` rows `[CLS] words [SEP]` of `length` tokens, padded to `seq`, then padding rows up to
/// `batch`.
pub fn batch(rows: usize, batch: usize, length: usize, seq: usize, seed: u64) -> PreparedBatch {
    let mut ids = vec![0i64; batch * seq];
    let mut mask = vec![0i64; batch * seq];
    let mut special = vec![true; batch * seq];
    let mut words = Stream::new(seed, "words").reader();
    for r in 0..rows {
        for i in 0..length {
            let at = r * seq + i;
            mask[at] = 1;
            special[at] = i == 0 || i + 1 == length;
            ids[at] = match i {
                0 => 2,
                _ if i + 1 == length => 3,
                _ => 5 + i64::from(words.below(VOCAB as u32 - 5)),
            };
        }
    }
    let real = |r: usize| r < rows;
    PreparedBatch {
        rows,
        batch,
        seq,
        input_ids: ids,
        token_type_ids: vec![0; batch * seq],
        attention_mask: mask,
        special_tokens_mask: special,
        next_sentence_label: Some(
            (0..batch)
                .map(|r| if real(r) { (r % 2) as i64 } else { IGNORED })
                .collect(),
        ),
        example_ids: (0..batch as u64).collect(),
        row_keys: (0..batch as u64)
            .map(|r| Stream::new(seed, "masks").child(r).key())
            .collect(),
        vocabulary: Arc::new(facts()),
        ..PreparedBatch::default()
    }
}

/// The folder of this profile's build products, and the name of the profile.
pub fn build_folder() -> (PathBuf, &'static str) {
    // target/<profile>/deps/<this test>
    let exe = std::env::current_exe().unwrap();
    let folder = exe.ancestors().nth(2).unwrap().to_owned();
    let profile = if folder.ends_with("debug") {
        "dev"
    } else {
        "release"
    };
    (folder, profile)
}

pub fn cargo(arguments: &[&str], folder: &Path) {
    let (products, profile) = build_folder();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--offline", "--profile", profile])
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", products.parent().unwrap())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn plugins_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Compiles one C file to a shared library.
pub fn cc(source: &Path, library: &Path, flags: &[&str]) {
    let output = Command::new("cc")
        .args([
            "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-I",
        ])
        .arg(plugins_folder().join("abi/include"))
        .args(flags)
        .arg("-o")
        .arg(library)
        .arg(source)
        .output()
        .expect("`cc` runs; a C compiler is needed to build Rust programs anyway");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
