//! The command line's grammar.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a trial failed, a check did not pass, or an error came up while running
  2    the recipe or the command line is wrong; nothing was run
  3    interrupted (Ctrl-C, SIGTERM, SIGHUP); running trials are saved, the same command goes on
  101  a defect of this program";

/// To make this BERT better, should I work on the data or on the model? Pre-trains every arm of an
/// experiment from one YAML file and reports the answer with intervals.
#[derive(Debug, Parser)]
#[command(name = "ablate", version, after_help = EXIT_CODES)]
pub struct Args {
    /// More of what happens inside, on standard error (-v, -vv; or the variable ABLATE_LOG).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run every trial of a pipeline that has no result yet, then write the report.
    #[command(after_help = EXIT_CODES)]
    Run(Run),
    /// Rebuild the report of a run from its records.
    Report(Report),
    /// Print a graph of a trial: luminal nodes, or the compiled program.
    Graph(Graph),
    /// Check the gradient of every parameter by difference quotients.
    Gradcheck(Gradcheck),
    /// Write or show the exact batches of the first steps.
    Batches(Batches),
    /// Measure training steps of a BERT of any size on made-up text; one line of JSON each.
    Bench(Bench),
    /// Show where the time and the memory of a trial's training step go.
    Profile(Profile),
    /// Print the JSON Schema of recipes, or of dataset cards.
    Schema {
        /// The schema of dataset cards instead, for editors.
        #[arg(long)]
        card: bool,
        /// Shared libraries, or folders of them, whose plugins are to be in the schema.
        #[arg(long = "plugin", value_name = "PATH")]
        plugins: Vec<PathBuf>,
    },
    /// Tell what this machine offers: CPU, threads, GPU, plugins.
    Doctor,
    /// Write, check and look at plugins.
    Plugin {
        /// What to do.
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// A process in which a plugin may die; ablate starts it itself.
    #[command(hide = true)]
    Worker,
}

/// `ablate plugin ...`
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// List everything that recipes can name.
    List {
        /// Further shared libraries, or folders of them.
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// As JSON, with schemas.
        #[arg(long)]
        json: bool,
    },
    /// Test a plugin, each test in a process of its own.
    #[command(after_help = CHECK_HELP)]
    Check(PluginCheck),
    /// Tell what a library offers, how many kernels its expressions become, and its step time beside the
    /// nearest built-in.
    Describe(PluginDescribe),
    /// Write a new plugin: a crate, or a C file with its header, that builds, passes the check and trains.
    New(PluginNew),
}

const CHECK_HELP: &str = "\
Outcomes: passed; failed (the plugin came back with something wrong); crashed (its process died, or had to be
killed); skipped (nothing to look at). Exit code 0 when nothing failed or crashed, else 1; 2 when the command
line is wrong.";

/// What `check` and `describe` look at.
#[derive(Clone, Debug, ClapArgs)]
pub struct PluginTarget {
    /// The shared library.
    #[arg(value_name = "LIB")]
    pub library: Option<PathBuf>,
    /// The built-in plugins, in place of a library.
    #[arg(long)]
    pub built_in: bool,
    /// Only this capability, by its name in recipes. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub capability: Vec<String>,
    /// Configuration to test a capability with, in place of the smallest that its schema allows:
    /// --config NAME={key: value}.
    #[arg(long, value_name = "NAME=CONFIG")]
    pub config: Vec<String>,
}

/// `ablate plugin check`
#[derive(Clone, Debug, ClapArgs)]
pub struct PluginCheck {
    #[command(flatten)]
    pub target: PluginTarget,
    /// Print every test with what must hold.
    #[arg(long)]
    pub list: bool,
    /// Only this test. May be given several times.
    #[arg(long, value_name = "TEST")]
    pub only: Vec<String>,
    /// Print only what failed or crashed.
    #[arg(long)]
    pub failed: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Processor seconds of one test.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
}

/// `ablate plugin describe`
#[derive(Clone, Debug, ClapArgs)]
pub struct PluginDescribe {
    #[command(flatten)]
    pub target: PluginTarget,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `ablate plugin new`
#[derive(Clone, Debug, ClapArgs)]
pub struct PluginNew {
    /// Name of the plugin, such as my-lion; recipes call it my_lion.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What it is: objective, optimizer, schedule, stopping or operator.
    #[arg(long, value_name = "KIND")]
    pub kind: String,
    /// What it is written in.
    #[arg(long, value_enum, default_value = "rust")]
    pub lang: PluginLanguage,
    /// Folder of the project; NAME when not given.
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

/// Languages of new plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PluginLanguage {
    /// A crate with the SDK.
    Rust,
    /// One C file with the header.
    C,
}

/// A recipe and changes to it.
#[derive(Clone, Debug, ClapArgs)]
pub struct RecipeArgs {
    /// The pipeline, a YAML file.
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
    /// Override a value: --set model.bert.layers=4. May be given several times.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub sets: Vec<String>,
    /// A shared library, or a folder of them, to load plugins from, besides those of the recipe. May be given
    /// several times.
    #[arg(long = "plugin", value_name = "PATH")]
    pub plugins: Vec<PathBuf>,
}

/// `ablate run`
#[derive(Debug, ClapArgs)]
pub struct Run {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Folder of all runs; this one goes into `DIR/<pipeline>`.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Start over: remove what an earlier run of this pipeline left.
    #[arg(long)]
    pub fresh: bool,
    /// Say nothing but warnings, errors and the place of the report.
    #[arg(long, short)]
    pub quiet: bool,
    /// Threads; all cores when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
    /// Run this seed alone, instead of the recipe's seeds.
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// Run trials with loaded plugins in this process, too, for a debugger: then a plugin that crashes ends the
    /// whole run.
    #[arg(long)]
    pub in_process: bool,
}

/// `ablate report`
#[derive(Debug, ClapArgs)]
pub struct Report {
    /// The run's folder, for example runs/quickstart.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// What to write; what the recipe asks for when not given.
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub format: Vec<ReportFormat>,
}

/// Formats of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One self-contained page.
    Html,
    /// Markdown with figures beside it.
    Markdown,
}

/// An arm and a seed of a recipe.
#[derive(Clone, Debug, ClapArgs)]
pub struct TrialArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// The arm; the baseline when not given.
    #[arg(long, value_name = "ARM", default_value = "baseline")]
    pub arm: String,
    /// The seed; the recipe's first when not given.
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
}

/// `ablate graph`
#[derive(Debug, ClapArgs)]
pub struct Graph {
    #[command(flatten)]
    pub trial: TrialArgs,
    /// Print the compiled program instead of the nodes.
    #[arg(long)]
    pub program: bool,
    /// Print what a GPU would run: every kernel's source, launch, registers, and the least time that it can
    /// take by the data sheets of an A100 and an H100. Needs no GPU.
    #[arg(long, conflicts_with_all = ["program", "threads"])]
    pub cuda: bool,
    /// With --cuda: only the kernels of this name, as `row 2048x128`, or this one function.
    #[arg(long, value_name = "NAME", requires = "cuda")]
    pub kernel: Option<String>,
    /// Which graph of the trial.
    #[arg(long, value_enum, default_value = "gradient")]
    pub part: GraphPart,
    /// Threads; all cores when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
}

/// Graphs of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphPart {
    /// Forward and backward of one micro-batch.
    Gradient,
    /// Clipping and the optimizer.
    Update,
    /// Forward without dropout.
    Evaluation,
}

/// `ablate gradcheck`
#[derive(Debug, ClapArgs)]
pub struct Gradcheck {
    #[command(flatten)]
    pub trial: TrialArgs,
    /// Rows of the batch.
    #[arg(long, default_value_t = 2)]
    pub batch: usize,
    /// Tokens a row.
    #[arg(long, default_value_t = 32)]
    pub sequence: usize,
    /// Entries of the vocabulary; larger ids are folded into it.
    #[arg(long, default_value_t = 512)]
    pub vocabulary: usize,
    /// Layers; the recipe's when not given.
    #[arg(long)]
    pub layers: Option<usize>,
    /// Width; the recipe's when not given.
    #[arg(long)]
    pub hidden: Option<usize>,
    /// Elements tried of each parameter.
    #[arg(long, default_value_t = 4)]
    pub samples: usize,
}

/// `ablate batches`
#[derive(Debug, ClapArgs)]
pub struct Batches {
    #[command(flatten)]
    pub trial: TrialArgs,
    /// Steps, from the first.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub steps: usize,
    /// Write int64 tensors to this safetensors file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print this many rows as words.
    #[arg(long, value_name = "ROWS")]
    pub show: Option<usize>,
}

/// `ablate bench`
#[derive(Debug, ClapArgs)]
pub struct Bench {
    #[command(flatten)]
    pub bench: ablate_bench::BenchArgs,
    /// Print where the time of a step goes, kernel by kernel, to standard error.
    #[arg(long)]
    pub profile: bool,
}

/// `ablate profile`
#[derive(Debug, ClapArgs)]
pub struct Profile {
    #[command(flatten)]
    pub trial: TrialArgs,
    /// Steps that are measured.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub steps: u32,
    /// The picture; hover over a part to read its numbers.
    #[arg(long, value_name = "FILE", default_value = "profile.svg")]
    pub out: PathBuf,
    /// Threads; all cores when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn help_lists_every_exit_code() {
        for code in [
            crate::exit::OK,
            crate::exit::FAILURE,
            crate::exit::USAGE,
            crate::exit::INTERRUPTED,
            crate::exit::PANIC,
        ] {
            let listed = EXIT_CODES
                .lines()
                .any(|l| l.split_whitespace().next() == Some(&code.to_string()));
            assert!(listed, "{code}");
        }
    }
}
