//! Every built-in optimizer against an independent implementation: ten steps over a bias, a tall, a
//! wide and a head's matrix and a table of embeddings, through the trainer's own update graph on the
//! processor. `generate_optimizers.py` says who computed what is right.

use std::collections::BTreeMap;
use std::path::Path;

use ablate_bert::hf::Tensors;
use ablate_bert::{ParameterSpec, Role};
use ablate_compiler::{Backend, ProgramId, Session};
use ablate_cpu::CpuBackend;
use ablate_graph::{Feeds, RandomKey};
use ablate_host::{OptimizerPlugin, Registry};
use ablate_train::graphs::{gradient_name, update_variant};
use ablate_train::Optimizer;
use serde::Deserialize;
use serde_json::Value;

use crate::case::floats;

#[derive(Deserialize)]
struct Listing {
    kept: Vec<usize>,
    factors: Vec<f64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    key: String,
    optimizer: String,
    reference: String,
    config: Value,
}

pub(crate) struct Frozen {
    listing: Listing,
    start: Tensors,
    gradients: Tensors,
    after: Tensors,
}

pub(crate) fn frozen() -> Frozen {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/optimizers");
    let listing = std::fs::read_to_string(folder.join("cases.json")).unwrap();
    Frozen {
        listing: serde_json::from_str(&listing).unwrap(),
        start: floats(&folder.join("start.safetensors")),
        gradients: floats(&folder.join("gradients.safetensors")),
        after: floats(&folder.join("after.safetensors")),
    }
}

fn role(name: &str) -> Role {
    match name {
        _ if name.contains("embeddings") => Role::Embedding,
        _ if name.ends_with("bias") => Role::Bias,
        _ => Role::Weight,
    }
}

/// A session with the update program of some parameters at their start.
struct Run {
    optimizer: OptimizerPlugin,
    session: Box<dyn Session>,
    /// The update graphs.
    programs: Vec<ProgramId>,
}

impl Run {
    fn new(
        optimizer: &str,
        config: &Value,
        start: &BTreeMap<&str, &(Vec<usize>, Vec<f32>)>,
        backend: &dyn Backend,
    ) -> Self {
        let registry = Registry::with_builtins().unwrap();
        let mut optimizer = registry.make_optimizer(optimizer, config).unwrap();
        let specs: Vec<ParameterSpec> = start
            .iter()
            .map(|(name, (shape, _))| ParameterSpec::new(*name, shape, role(name)))
            .collect();
        let mut session = backend.session().unwrap();
        let (mut programs, mut slots) = (Vec::new(), Vec::new());
        for variant in 0..optimizer.variants() {
            let (graph, all) = update_variant(&specs, &mut optimizer, None, variant).unwrap();
            programs.push(session.load(graph).unwrap());
            slots = all;
        }
        for (name, (_, values)) in start {
            session.set_state(name, values).unwrap();
        }
        for (name, slot) in slots {
            let values = vec![slot.initial; slot.shape.iter().product()];
            session.set_state(&name, &values).unwrap();
        }
        Run {
            optimizer,
            session,
            programs,
        }
    }

    fn step(&mut self, step: u64, learning_rate: f64) {
        let names = self.optimizer.scalar_names().unwrap();
        let values = self.optimizer.scalars(step, learning_rate).unwrap();
        let mut feeds = Feeds::new();
        for (name, value) in names.into_iter().zip(values) {
            feeds.set(name, vec![value as f32]);
        }
        let variant = self.optimizer.variant(step).unwrap();
        self.session
            .run(
                self.programs[variant as usize],
                &feeds,
                RandomKey::default(),
            )
            .unwrap();
    }
}

/// The larger number; NaN, which `max` would pass over, is larger than any.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::INFINITY;
    }
    a.max(b)
}

/// What ten steps of a case gave.
struct Followed {
    /// Largest difference to the reference over the kept steps and all parameters, as a share of the
    /// largest change that the reference made to the parameter until then.
    error: f64,
    /// The parameters after each kept step.
    found: Vec<f32>,
}

fn follow(case: &Case, frozen: &Frozen, backend: &dyn Backend) -> Followed {
    let prefix = format!("{}/", case.key);
    let wanted: BTreeMap<&str, &Vec<f32>> = frozen
        .after
        .iter()
        .filter_map(|(key, (_, values))| Some((key.strip_prefix(&prefix)?, values)))
        .collect();
    let start = wanted
        .keys()
        .map(|name| (*name, &frozen.start[*name]))
        .collect();
    let mut run = Run::new(&case.optimizer, &case.config, &start, backend);
    let base = run.optimizer.base_learning_rate();
    let mut worst = 0.0;
    let mut all_found = Vec::new();
    let mut kept = 0;
    for (t, factor) in frozen.listing.factors.iter().enumerate() {
        for name in wanted.keys() {
            let size = start[name].1.len();
            let all = &frozen.gradients[*name].1;
            run.session
                .set_state(&gradient_name(name), &all[t * size..(t + 1) * size])
                .unwrap();
        }
        run.step(t as u64 + 1, base * factor);
        if frozen.listing.kept.get(kept) != Some(&(t + 1)) {
            continue;
        }
        for (name, values) in &wanted {
            let size = start[name].1.len();
            let right = &values[kept * size..(kept + 1) * size];
            let found = run.session.state(name).unwrap();
            let largest = |pairs: &mut dyn Iterator<Item = (f32, f32)>| {
                pairs.fold(0.0, |worst, (a, b)| {
                    larger(worst, (f64::from(a) - f64::from(b)).abs())
                })
            };
            let off = largest(&mut found.iter().copied().zip(right.iter().copied()));
            let moved = largest(&mut start[name].1.iter().copied().zip(right.iter().copied()));
            worst = larger(worst, off / moved);
            all_found.extend(found);
        }
        kept += 1;
    }
    assert_eq!(kept, frozen.listing.kept.len());
    Followed {
        error: worst,
        found: all_found,
    }
}

/// What f32 may lose. The parameter's own rounding is in it: where a first step moves a parameter by a
/// hundredth of itself, as Adafactor's does, it weighs a hundred times. Products of matrices lose more
/// than elementwise formulas, inverse roots of nearly singular matrices most.
fn bound(optimizer: &str) -> f64 {
    match optimizer {
        "shampoo" => 1e-3,
        "adafactor" => 3e-5,
        "muon" => 2e-5,
        _ => 1e-5,
    }
}

/// What a device made of the cases.
pub(crate) struct Report {
    /// Key and reference of each case.
    names: String,
    /// The same with the largest error.
    pub numbers: String,
    /// Cases too far from their reference.
    pub wrong: Vec<String>,
    /// Parameters after the kept steps, by case.
    pub found: Vec<(String, Vec<f32>)>,
}

/// Runs every case on a device.
pub(crate) fn follow_all(frozen: &Frozen, backend: &dyn Backend) -> Report {
    let (mut names, mut numbers, mut wrong) = (String::new(), String::new(), Vec::new());
    let mut all = Vec::new();
    for case in &frozen.listing.cases {
        let Followed {
            error: found,
            found: parameters,
        } = follow(case, frozen, backend);
        all.push((case.key.clone(), parameters));
        names.push_str(&format!("{:22} {}\n", case.key, case.reference));
        numbers.push_str(&format!(
            "{:22} {:34} {found:.1e}\n",
            case.key, case.reference
        ));
        if found > bound(&case.optimizer) {
            wrong.push(format!("{}: {found:.1e}", case.key));
        }
    }
    Report {
        names,
        numbers,
        wrong,
        found: all,
    }
}

#[test]
fn every_optimizer_follows_its_reference_over_ten_steps() {
    let cpu = CpuBackend::new(1).unwrap();
    let report = follow_all(&frozen(), &cpu);
    let (wrong, numbers) = (report.wrong, report.numbers);
    println!("largest relative error over ten steps\n{numbers}");
    assert!(
        wrong.is_empty(),
        "too far from the reference: {wrong:?}\n{numbers}"
    );
    insta::assert_snapshot!(report.names);
}

#[test]
fn no_built_in_optimizer_is_left_out() {
    let registry = Registry::with_builtins().unwrap();
    let frozen = frozen();
    for entry in registry.catalogue() {
        let known = frozen
            .listing
            .cases
            .iter()
            .any(|c| c.optimizer == entry.name);
        assert!(
            entry.kind != ablate_host::Kind::Optimizer || known,
            "`{}` has no reference",
            entry.name
        );
    }
}
