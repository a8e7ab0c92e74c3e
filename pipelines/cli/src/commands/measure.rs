//! `ablate bench`, `ablate profile`: how long a training step takes, and where it goes.

use ablate_bench::{backend, check, median, run, Measurement, Tree};
use ablate_experiment::{open_device, profile as measured};
use ablate_reports::flame::{write_flame, Frame};

use super::inspect::Trial;
use super::{print, shown, Failure, Outcome, Purpose};
use crate::args;
use crate::exit;

/// Measures made-up trials and prints a line of JSON for each.
pub fn bench(args: &args::Bench) -> Outcome {
    let configurations = args.bench.configurations().map_err(Failure::usage)?;
    for configuration in &configurations {
        check(configuration).map_err(Failure::usage)?;
    }
    for configuration in &configurations {
        let device = backend(configuration).map_err(Failure::running)?;
        let advice = device.advice().map(str::to_owned);
        // Its threads end before the measurement begins.
        drop(device);
        if let Some(advice) = advice {
            eprintln!("warning: {advice}");
        }
        let report = run(configuration).map_err(Failure::running)?;
        if args.profile {
            let m = &report.measurement;
            eprintln!("{}\n{}", m.kernel_table(), m.part_table());
        }
        print(&format!("{}\n", serde_json::json!(report)))?;
    }
    Ok(exit::OK)
}

/// Measures the first steps of a trial, prints tables and draws the picture.
pub fn profile(args: &args::Profile) -> Outcome {
    let trial = Trial::load(&args.trial, Purpose::Compute)?;
    let recipe = &trial.arm().recipe;
    let threads = args.threads.unwrap_or(0) as usize;
    let backend =
        open_device(recipe.device, recipe.precision, threads).map_err(Failure::running)?;
    let m = measured::run(
        recipe,
        &trial.data,
        &trial.plugins,
        &*backend,
        trial.seed,
        args.steps as usize,
    )
    .map_err(Failure::running)?;
    let step_s = median(&m.step_s);
    print(&format!(
        "{}, seed {}: {} parameters, {} steps of {:.0} tokens on {}\n\
         median step {:.3} ms, {:.0} tokens/s, matrix products at {:.1} GFLOP/s; with every kernel timed {:.3} ms\n\n",
        trial.arm().name,
        trial.seed,
        m.parameters,
        args.steps,
        m.tokens,
        backend.description(),
        step_s * 1e3,
        m.tokens / step_s,
        m.flops / step_s / 1e9,
        m.profiled_step_s() * 1e3,
    ))?;
    let tables = [m.kernel_table(), m.part_table(), memory(&m)];
    print(&format!("{}\n", tables.join("\n")))?;
    let title = format!(
        "A training step of {}, seed {}",
        trial.arm().name,
        trial.seed
    );
    write_flame(&args.out, &title, &frame(&m.tree()))
        .map_err(|e| Failure::running(with_reason(&e)))?;
    print(&format!("picture: {}\n", shown(&args.out)))?;
    Ok(exit::OK)
}

/// What the device holds and what the process held at most.
fn memory(m: &Measurement) -> String {
    let mib = |bytes: u64| format!("{:>9.1} MiB", bytes as f64 / f64::from(1 << 20));
    let held = m.kernels.iter().map(|k| k.held_bytes).sum();
    let parameters = 4 * m.parameters;
    // Parameters and gradients are 32-bit; the rest of the states is the optimizer's.
    let optimizer = m.memory.state_bytes.saturating_sub(2 * parameters);
    let mut lines = vec![
        format!(
            "{}  arena: values of a step, overlaid",
            mib(m.memory.arena_bytes)
        ),
        format!("{}    of it in use when most of it is", mib(held)),
        format!("{}  states", mib(m.memory.state_bytes)),
        format!("{}    parameters", mib(parameters)),
        format!("{}    gradients", mib(parameters)),
        format!("{}    optimizer", mib(optimizer)),
        format!("{}  inputs", mib(m.memory.input_bytes)),
        format!("{}  scratch of the threads", mib(m.memory.scratch_bytes)),
    ];
    if let Some(peak) = m.peak_rss_bytes {
        lines.push(format!("{}  the process at its peak", mib(peak)));
    }
    lines.join("\n") + "\n"
}

/// An error with what the system says about it.
fn with_reason(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(reason) => format!("{error}: {reason}"),
        None => error.to_string(),
    }
}

/// The tree of a step as what is drawn.
fn frame(tree: &Tree) -> Frame {
    Frame {
        name: tree.name.clone(),
        value: tree.seconds * 1e3,
        note: tree.note.clone(),
        children: tree.children.iter().map(frame).collect(),
    }
}
