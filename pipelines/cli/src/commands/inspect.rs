//! `ablate graph`, `ablate gradcheck`, `ablate batches`: looks inside one trial.

use std::path::PathBuf;

use ablate_experiment::gradcheck::{self, Shrink, Verdict, TOLERANCE};
use ablate_experiment::show_graph::Part;
use ablate_experiment::{
    open_device, show_batches, show_graph, DataSet, DataStore, ExperimentError, Plugins,
};
use ablate_recipe::{Arm, Loaded};

use super::{launches, load, print, shown, Failure, Outcome, Purpose};
use crate::args::{self, GraphPart, TrialArgs};
use crate::{exit, table};

/// One trial of a recipe with its data.
pub(super) struct Trial {
    loaded: Loaded,
    pub plugins: Plugins,
    arm: usize,
    pub seed: u64,
    pub data: DataSet,
}

impl Trial {
    pub fn load(args: &TrialArgs, purpose: Purpose) -> Result<Self, Failure> {
        let (loaded, plugins) = load(&args.recipe, &[], purpose)?;
        let plugins = plugins.open().map_err(Failure::running)?;
        let Some(arm) = loaded.arms.iter().position(|a| a.name == args.arm) else {
            let known: Vec<&str> = loaded.arms.iter().map(|a| a.name.as_str()).collect();
            return Err(Failure::usage(ExperimentError::Unknown {
                what: "arm",
                name: args.arm.clone(),
                known: known.join(", "),
            }));
        };
        let seed = match args.seed {
            Some(seed) => seed,
            None => loaded.recipe.seeds.first().copied().unwrap_or(0),
        };
        let mut store = DataStore::new(&loaded.recipe.data, PathBuf::new(), &plugins)
            .map_err(Failure::running)?;
        let data = store
            .get(&loaded.arms[arm].recipe.data)
            .map_err(Failure::running)?;
        Ok(Trial {
            loaded,
            plugins,
            arm,
            seed,
            data,
        })
    }

    pub fn arm(&self) -> &Arm {
        &self.loaded.arms[self.arm]
    }
}

/// Prints a graph.
pub fn graph(args: &args::Graph) -> Outcome {
    let purpose = match args.program {
        true => Purpose::Compute,
        false => Purpose::Look,
    };
    let trial = Trial::load(&args.trial, purpose)?;
    if args.cuda {
        return cuda(args, &trial);
    }
    let backend = if args.program {
        let threads = args.threads.unwrap_or(0) as usize;
        let recipe = &trial.arm().recipe;
        Some(open_device(recipe.device, recipe.precision, threads).map_err(Failure::running)?)
    } else {
        None
    };
    let text = show_graph::text(
        &trial.arm().recipe,
        &trial.data,
        &trial.plugins,
        trial.seed,
        part(args.part),
        backend.as_deref(),
    )
    .map_err(Failure::running)?;
    print(&text)?;
    Ok(exit::OK)
}

/// A graph by its name on the command line.
fn part(part: GraphPart) -> Part {
    match part {
        GraphPart::Gradient => Part::Gradient,
        GraphPart::Update => Part::Update,
        GraphPart::Evaluation => Part::Evaluation,
    }
}

/// Prints what a graph launches on a GPU.
fn cuda(args: &args::Graph, trial: &Trial) -> Outcome {
    let launches = show_graph::launches(
        &trial.arm().recipe,
        &trial.data,
        &trial.plugins,
        trial.seed,
        part(args.part),
    )
    .map_err(Failure::running)?;
    let text = match &args.kernel {
        None => launches::all(&launches),
        Some(kernel) => launches::one(&launches, kernel).map_err(Failure::usage)?,
    };
    print(&text)?;
    Ok(exit::OK)
}

/// Checks gradients and prints the table.
pub fn gradcheck(args: &args::Gradcheck) -> Outcome {
    let trial = Trial::load(&args.trial, Purpose::Look)?;
    let shrink = Shrink {
        batch: args.batch,
        sequence: args.sequence,
        vocabulary: args.vocabulary,
        layers: args.layers,
        hidden: args.hidden,
        samples: args.samples,
    };
    let report = gradcheck::run(
        &trial.arm().recipe,
        &trial.data,
        &trial.plugins,
        trial.seed,
        shrink,
    )
    .map_err(Failure::running)?;
    if !report.shrunk.is_empty() {
        print(&format!(
            "made smaller for the check: {}\n",
            report.shrunk.join(", ")
        ))?;
    }
    let rows: Vec<Vec<String>> = report
        .groups
        .iter()
        .map(|g| {
            vec![
                g.name.clone(),
                g.parameters.to_string(),
                g.checked.to_string(),
                format!("{:.2e}", g.gradient),
                format!("{:.1e}", g.error),
                match g.verdict {
                    Verdict::Zero => "-".to_owned(),
                    _ => format!("{:.1e}", g.resolution),
                },
                match g.verdict {
                    Verdict::Right => "ok",
                    Verdict::Zero => "ok, zero in truth",
                    Verdict::Wrong => "WRONG",
                }
                .to_owned(),
            ]
        })
        .collect();
    let header = [
        "parameter",
        "layers",
        "checked",
        "gradient rms",
        "relative error",
        "resolved to",
        "",
    ];
    print(&table::render(&header, &rows))?;
    if report.passed() {
        print(&format!(
            "every gradient is within {TOLERANCE:.0e} of its difference quotient, rounding aside\n"
        ))?;
        Ok(exit::OK)
    } else {
        print(&format!(
            "not every gradient is within {TOLERANCE:.0e} of its difference quotient, rounding aside\n"
        ))?;
        Ok(exit::FAILURE)
    }
}

/// Writes or shows batches.
pub fn batches(args: &args::Batches) -> Outcome {
    if args.out.is_none() && args.show.is_none() {
        return Err(Failure::usage(
            "say where the batches go: --out FILE.safetensors, --show ROWS, or both",
        ));
    }
    if args.steps == 0 {
        return Err(Failure::usage("--steps must be at least 1"));
    }
    let trial = Trial::load(&args.trial, Purpose::Look)?;
    let batches = show_batches::collect(
        &trial.arm().recipe,
        &trial.data,
        &trial.plugins,
        trial.seed,
        args.steps,
    )
    .map_err(Failure::running)?;
    if let Some(out) = &args.out {
        batches.write(out).map_err(Failure::running)?;
        print(&format!("{} steps: {}\n", args.steps, shown(out)))?;
    }
    if let Some(rows) = args.show {
        print(&batches.show(&trial.data.tokenizer, rows))?;
    }
    Ok(exit::OK)
}
