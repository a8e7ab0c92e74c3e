//! The validator: tests of a plugin, each in a process of its own.
//!
//! Owns: the list of tests ([`tests`]), what each finds, and the run over a library ([`check`]). Must not know
//! how results are shown.
//!
//! The idea of a test suite that any author runs against a finished binary, with crashes told from
//! failures, is clap-validator's.

mod bench;
mod config;
mod fusion;
mod host;
mod library;
mod loss;
mod objective;
mod operator;
mod optimizer;
mod run;
mod schedule;
mod stopping;
mod threads;

use ablate_host::Kind;
use serde::{Deserialize, Serialize};

pub use run::{check, serve, CheckError, Options, Report, TestResult, WORK};

use bench::{Bench, Stop};

/// What a test found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All is well.
    Passed,
    /// The plugin came back with something wrong.
    Failed,
    /// The plugin did not come back: its process died, or had to be killed.
    Crashed,
    /// The test has nothing to look at here.
    Skipped,
}

/// What a test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The library as a whole.
    Library,
    /// Each capability of these kinds.
    Kinds(&'static [Kind]),
}

/// A test.
#[derive(Clone, Copy)]
pub struct Test {
    /// Its name: lower case with dashes.
    pub name: &'static str,
    /// What it looks at.
    pub scope: Scope,
    /// What must hold, in one sentence.
    pub about: &'static str,
    /// Gives a sentence for a test that passed.
    run: fn(&mut Bench<'_>) -> Result<String, Stop>,
}

impl std::fmt::Debug for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const ALL: Scope = Scope::Kinds(&Kind::ALL);
/// Kinds whose hooks build graphs.
const GRAPHS: Scope = Scope::Kinds(&[Kind::Objective, Kind::Optimizer]);
const OBJECTIVE: Scope = Scope::Kinds(&[Kind::Objective]);
const OPTIMIZER: Scope = Scope::Kinds(&[Kind::Optimizer]);
const SCHEDULE: Scope = Scope::Kinds(&[Kind::Schedule]);
const STOPPING: Scope = Scope::Kinds(&[Kind::StoppingRule]);
const OPERATOR: Scope = Scope::Kinds(&[Kind::Operator]);

/// Name of the test on which all others depend.
pub const LOAD: &str = "load";
/// Name of the test that measures what a plugin's expression costs.
pub const FUSION: &str = "fusion";

macro_rules! tests {
    ($($name:expr, $scope:expr, $run:expr, $about:expr;)*) => {
        const TESTS: &[Test] = &[$(Test { name: $name, scope: $scope, about: $about, run: $run },)*];
    };
}

tests! {
    LOAD, Scope::Library, library::load,
        "The library loads, exports the entry function, and its descriptor has magic, version, sizes and functions that this host can use.";
    "entry", Scope::Library, library::entry_versions,
        "The entry function answers hosts of any ABI version, older and newer ones, with the same constant descriptor or null.";
    "names", Scope::Library, library::names,
        "Names, version, licence and descriptions are well formed, and no name is one of a built-in plugin.";
    "extensions", Scope::Library, library::extensions,
        "get_extension gives null for ids and names that it does not know, and the same table each time for those that it does.";
    "schema", ALL, config::schema,
        "The schema of the configuration is valid JSON Schema of an object, and allows its own defaults.";
    "config-valid", ALL, config::valid,
        "Configurations that the schema allows are taken, or refused with a message that names the key.";
    "config-garbage", ALL, config::garbage,
        "Configurations that the schema forbids are refused with a message; huge texts, deep nesting and odd numbers do no harm.";
    "create-destroy", ALL, threads::create_destroy,
        "Three hundred instances are made and destroyed without the process growing.";
    "host-older", ALL, host::older,
        "With the structs of the oldest host of this ABI, behind which no byte can be touched, everything works.";
    "host-newer", ALL, host::newer,
        "With larger structs and a higher minor version, as a newer host has them, everything works.";
    "host-without-tables", ALL, host::without_tables,
        "A host that lacks one of its tables is told so in an error, and nothing crashes.";
    "host-refuses", ALL, host::refuses,
        "When a function of the host returns an error, the hook that called it returns one, too: tried for each call.";
    "threads", ALL, threads::moved,
        "An instance that is made on one thread, used on others and destroyed on yet another gives the same.";
    "instances", ALL, threads::at_once,
        "Two instances that are used at the same time on two threads give what each gives alone.";
    "build-time", GRAPHS, threads::build_time,
        "Building the graph of a small model takes no noticeable time.";
    FUSION, GRAPHS, fusion::fusion,
        "Counts the kernels that the expression became, and times a step beside the nearest built-in, in turn. A measurement: it passes.";
    "data-bounds", OBJECTIVE, objective::bounds,
        "The data hook reads and writes inside its arrays alone, and writes only to input_ids.";
    "data-determinism", OBJECTIVE, objective::determinism,
        "The same batch gives the same labels, whatever came before it and whichever instance is asked.";
    "data-special-tokens", OBJECTIVE, objective::special_tokens,
        "The data hook leaves special tokens and padding as they are and predicts none of them.";
    "data-units", OBJECTIVE, objective::units,
        "The number of units is that of the labels, and padding rows add none.";
    "loss-sum", OBJECTIVE, loss::loss_sum,
        "The loss is a sum over units: padding rows and unused room change nothing, and a batch without labels gives 0.";
    "gradient", OBJECTIVE, loss::gradient,
        "Analytic gradients are within 1e-4 of central differences in double precision, for every parameter of a small encoder.";
    "finite", OBJECTIVE, loss::finite,
        "Loss, metrics and gradients in single precision are finite numbers.";
    "slots", OPTIMIZER, optimizer::slots,
        "Slots and scalars are well formed, and the same for the same parameter.";
    "scalars", OPTIMIZER, optimizer::scalars,
        "The scalars of a step are finite and depend on step and learning rate alone, not on what was asked before.";
    "determinism", OPTIMIZER, optimizer::determinism,
        "Two instances build the same graphs and give the same bits.";
    "save-load", OPTIMIZER, optimizer::save_load,
        "A new instance goes on from saved parameters and slots to the same bits: nothing is remembered elsewhere.";
    "finite", OPTIMIZER, optimizer::finite,
        "Zero, tiny and large gradients leave parameters and slots finite over twenty steps.";
    "descent", OPTIMIZER, optimizer::descent,
        "Following the gradient of a quadratic function makes it smaller.";
    "schedule", SCHEDULE, schedule::values,
        "The factor is finite and not negative for every step, in any order, and the same for the same step.";
    "determinism", STOPPING, stopping::determinism,
        "Two instances that see the same events decide the same.";
    "save-load", STOPPING, stopping::save_load,
        "A new instance that takes over saved state decides on as if never interrupted, wherever the interruption is.";
    "state-garbage", STOPPING, stopping::state_garbage,
        "State that is empty, cut short, changed or another rule's is refused with a message or taken, and nothing crashes.";
    "odd-metrics", STOPPING, stopping::odd_metrics,
        "NaN, infinite and missing metrics lead to a decision or an error.";
    "rows", OPERATOR, operator::rows,
        "Every row is kept, removed or rewritten, and none is lost uncounted or made up.";
    "batch-sizes", OPERATOR, operator::batch_sizes,
        "The result is the same whatever the size of the batches.";
    "determinism", OPERATOR, operator::determinism,
        "Two instances do the same to the same documents.";
    "release", OPERATOR, operator::release,
        "Every Arrow structure is released exactly once, by whoever holds it.";
}

/// Every test, in the order of the report.
pub fn tests() -> &'static [Test] {
    TESTS
}

impl Test {
    /// Whether the test looks at capabilities of this kind; None is the library as a whole.
    pub fn applies_to(&self, kind: Option<Kind>) -> bool {
        match (self.scope, kind) {
            (Scope::Library, None) => true,
            (Scope::Kinds(kinds), Some(kind)) => kinds.contains(&kind),
            _ => false,
        }
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn every_test_has_a_name_of_its_own_and_a_sentence() {
        for (i, test) in TESTS.iter().enumerate() {
            let fine = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(test.name.chars().all(fine), "{}", test.name);
            assert!(test.about.ends_with('.'), "{}", test.name);
            for kind in std::iter::once(None).chain(Kind::ALL.map(Some)) {
                let twin = TESTS[..i]
                    .iter()
                    .find(|t| t.name == test.name && t.applies_to(kind) && test.applies_to(kind));
                assert!(twin.is_none(), "{} {kind:?}", test.name);
            }
        }
        assert_eq!(TESTS[0].name, LOAD);
    }
}
