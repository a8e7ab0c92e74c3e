//! The commands: each loads what it needs, calls the crate that does the work, and says what came out.

mod doctor;
mod inspect;
mod launches;
mod measure;
mod plugin;
mod run;
mod worker;

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use ablate_experiment::{check_device, Plugins};
use ablate_recipe::{load_with, Catalog, Loaded, PluginPath};
use ablate_validator::probe::Prober;
use ablate_validator::process::Limits;

use crate::args::{Args, Command, RecipeArgs};
use crate::exit;

/// Runs a command and gives the exit code.
pub fn dispatch(args: Args) -> u8 {
    let result = match args.command {
        Command::Run(args) => run::run(args),
        Command::Report(args) => run::report(&args),
        Command::Graph(args) => inspect::graph(&args),
        Command::Gradcheck(args) => inspect::gradcheck(&args),
        Command::Batches(args) => inspect::batches(&args),
        Command::Bench(args) => measure::bench(&args),
        Command::Profile(args) => measure::profile(&args),
        Command::Schema { card, plugins } => doctor::schema(card, &plugins),
        Command::Doctor => doctor::doctor(),
        Command::Plugin { command } => plugin::plugin(&command),
        Command::Worker => worker::worker(),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            failure.code
        }
    }
}

/// Why a command ended early.
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// Something that broke while working.
    pub fn running(error: impl Display) -> Self {
        Failure {
            code: exit::FAILURE,
            text: format!("error: {error}\n"),
        }
    }

    /// Something wrong with the recipe or the arguments.
    pub fn usage(error: impl Display) -> Self {
        Failure {
            code: exit::USAGE,
            text: format!("error: {error}\n"),
        }
    }

    fn print(&self) {
        let _ = std::io::stderr().write_all(self.text.as_bytes());
    }
}

/// What a command gives: an exit code.
pub type Outcome = Result<u8, Failure>;

/// Writes to standard output; a closed pipe (`| head`) is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(Failure::running(format!(
            "cannot write to standard output: {e}"
        ))),
    }
}

/// What a recipe is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its device will be opened, and must be there.
    Compute,
    /// To look at it; the device may be another machine's.
    Look,
}

/// A recipe and the plugins it names, checked as a whole. Loaded plugins are looked at by a worker; who makes
/// instances of them in this process calls [`Plugins::open`] first.
pub fn load(
    args: &RecipeArgs,
    more_sets: &[String],
    purpose: Purpose,
) -> Result<(Loaded, Plugins), Failure> {
    let mut found: Option<Plugins> = None;
    let mut broken: Option<String> = None;
    let mut sets: Vec<String> = args.sets.iter().chain(more_sets).cloned().collect();
    for path in &args.plugins {
        // A path as JSON, which YAML reads as it is.
        let path = serde_json::json!([path.to_string_lossy()]);
        sets.push(format!("plugins+={path}"));
    }
    let prober = Prober::new(worker::program()?, Limits::for_plugins());
    let resolve = |paths: &[PluginPath]| -> (Catalog, Vec<(usize, String)>) {
        match Plugins::probe(paths, prober) {
            Ok((plugins, wrong)) => {
                let mut catalog = plugins.catalog();
                if purpose == Purpose::Compute {
                    catalog.check_device = Some(Arc::new(check_device));
                }
                found = Some(plugins);
                (catalog, wrong)
            }
            Err(error) => {
                broken = Some(error.to_string());
                (Catalog::default(), Vec::new())
            }
        }
    };
    let loaded = load_with(&args.pipeline, &sets, resolve);
    if let Some(error) = broken {
        return Err(Failure::running(error));
    }
    let colour = std::io::stderr().is_terminal();
    match (loaded, found) {
        (Ok(loaded), Some(plugins)) => {
            if !loaded.warnings.is_empty() {
                let _ = write!(std::io::stderr(), "{}", loaded.warnings.render(colour));
            }
            Ok((loaded, plugins))
        }
        (Err(diagnostics), _) => Err(Failure {
            code: exit::USAGE,
            text: diagnostics.render(colour),
        }),
        (Ok(_), None) => Err(Failure::running("the recipe was read without its plugins")),
    }
}

/// A path as people should see it.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}
