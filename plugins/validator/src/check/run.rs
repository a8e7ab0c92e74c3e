//! The run over a library: which test on which capability, each in a process of its own.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ablate_compiler::Backend;
use ablate_host::{CatalogueEntry, Kind, Registry};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::bench::{Bench, Stop};
use super::{tests, Scope, Status, Test, FUSION, LOAD};
use crate::border::library::Target;
use crate::process::{grant_processor, Channel, Errors, Limits, Program, Worker};

/// Name of this work, as [`Channel::open`] gives it.
pub const WORK: &str = "check";

/// What the parent orders.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    target: Target,
    test: String,
    /// None: the library as a whole.
    capability: Option<CatalogueEntry>,
    chosen: Option<Value>,
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    Doing(String),
    Found {
        status: Status,
        detail: String,
        data: Option<Value>,
    },
    /// After the test [`LOAD`]: what there is.
    Catalogue(Vec<CatalogueEntry>),
}

/// What a run tests, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tests to run, by name; empty for all.
    pub only: Vec<String>,
    /// Configurations to test with in place of the smallest, by the capability's name.
    pub configs: Map<String, Value>,
    /// Names of the capabilities to test; empty for all.
    pub capabilities: Vec<String>,
    /// Bounds of each process.
    pub limits: Limits,
    /// Processes at the same time.
    pub jobs: usize,
}

/// A run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A test that does not exist.
    #[error("there is no test `{name}`{}; `--list` shows all", crate::words::did_you_mean(name, known.iter().map(String::as_str)))]
    UnknownTest {
        /// The name.
        name: String,
        /// All names.
        known: Vec<String>,
    },
    /// A capability that the library does not have.
    #[error("the library has no capability `{name}`{}; it has: {}", crate::words::did_you_mean(name, known.iter().map(String::as_str)), known.join(", "))]
    UnknownCapability {
        /// The name.
        name: String,
        /// What it has.
        known: Vec<String>,
    },
    /// The system refuses another process.
    #[error("cannot start a process to run a test in: {0}")]
    Start(#[source] io::Error),
}

/// What one test found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// The test's name.
    pub test: String,
    /// Name of the capability; None is the library as a whole.
    pub capability: Option<String>,
    /// Its kind in one word.
    pub kind: Option<String>,
    /// The outcome.
    pub status: Status,
    /// One sentence.
    pub detail: String,
    /// What was measured, where the test measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Time of the whole process, in seconds.
    pub seconds: f64,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What can be named, when the library loads.
    pub capabilities: Vec<CatalogueEntry>,
    /// Results: the library's first, then by capability.
    pub results: Vec<TestResult>,
}

impl Report {
    /// Results of one status.
    pub fn count(&self, status: Status) -> usize {
        self.results.iter().filter(|r| r.status == status).count()
    }

    /// Whether nothing failed or crashed.
    pub fn passed(&self) -> bool {
        self.count(Status::Failed) + self.count(Status::Crashed) == 0
    }
}

/// Runs the tests over a library. `program` is what a worker is; `seen` is told of each result as it comes.
///
/// # Errors
/// Names that do not exist, or a system that starts no process.
pub fn check(
    target: &Target,
    options: &Options,
    program: &Program,
    seen: &(dyn Fn(&TestResult) + Sync),
) -> Result<Report, CheckError> {
    if let Some(name) = options
        .only
        .iter()
        .find(|name| tests().iter().all(|t| t.name != **name))
    {
        return Err(CheckError::UnknownTest {
            name: name.clone(),
            known: tests().iter().map(|t| t.name.to_owned()).collect(),
        });
    }
    let wanted =
        |test: &Test| options.only.is_empty() || options.only.iter().any(|n| n == test.name);
    let order = |test: &Test, capability: Option<&CatalogueEntry>| Order {
        target: target.clone(),
        test: test.name.to_owned(),
        capability: capability.cloned(),
        chosen: capability.and_then(|c| options.configs.get(&c.name).cloned()),
    };
    // Everything else needs to know what there is.
    let (loaded, entries) = one(program, options.limits, &order(&tests()[0], None))?;
    let loads = loaded.status == Status::Passed;
    let known: Vec<String> = entries.iter().map(|e| e.name.clone()).collect();
    let named = options.capabilities.iter().chain(options.configs.keys());
    if let Some(name) = named
        .into_iter()
        .find(|name| loads && !known.contains(name))
    {
        return Err(CheckError::UnknownCapability {
            name: name.clone(),
            known,
        });
    }
    let capabilities: Vec<CatalogueEntry> = entries
        .into_iter()
        .filter(|e| options.capabilities.is_empty() || options.capabilities.contains(&e.name))
        .collect();
    let mut results = Vec::new();
    if wanted(&tests()[0]) || !loads {
        seen(&loaded);
        results.push(loaded);
    }
    let mut orders: Vec<Order> = Vec::new();
    let places = std::iter::once(None).chain(capabilities.iter().map(Some));
    for place in places {
        let here = |t: &&Test| t.name != LOAD && wanted(t) && t.applies_to(place.map(|c| c.kind));
        orders.extend(tests().iter().filter(here).map(|test| order(test, place)));
    }
    if loads {
        // What is timed runs alone.
        let (timed, rest): (Vec<Order>, Vec<Order>) = orders
            .iter()
            .cloned()
            .partition(|o| TIMED.contains(&o.test.as_str()));
        let mut found = many(program, options.limits, options.jobs, &rest, seen)?;
        found.extend(many(program, options.limits, 1, &timed, seen)?);
        // In the order of the list all the same.
        for order in &orders {
            let same = |r: &TestResult| {
                let capability = order.capability.as_ref();
                r.test == order.test
                    && r.capability.as_ref() == capability.map(|c| &c.name)
                    && r.kind.as_deref() == capability.map(|c| c.kind.word())
            };
            if let Some(at) = found.iter().position(same) {
                results.push(found.swap_remove(at));
            }
        }
    } else {
        for order in &orders {
            let result = result(
                order,
                Status::Skipped,
                "the library does not load".into(),
                0.0,
            );
            seen(&result);
            results.push(result);
        }
    }
    Ok(Report {
        capabilities,
        results,
    })
}

/// Tests that measure time.
const TIMED: [&str; 2] = [FUSION, "build-time"];

/// Runs all orders, several at a time; results in their order.
fn many(
    program: &Program,
    limits: Limits,
    jobs: usize,
    orders: &[Order],
    seen: &(dyn Fn(&TestResult) + Sync),
) -> Result<Vec<TestResult>, CheckError> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<TestResult, CheckError>>>> =
        Mutex::new((0..orders.len()).map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, orders.len().max(1)) {
            scope.spawn(|| loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(order) = orders.get(at) else {
                    return;
                };
                let found = one(program, limits, order).map(|(result, _)| result);
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                if let Ok(result) = &found {
                    seen(result);
                }
                results[at] = Some(found);
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_iter().flatten().collect()
}

/// One test in a process of its own.
fn one(
    program: &Program,
    limits: Limits,
    order: &Order,
) -> Result<(TestResult, Vec<CatalogueEntry>), CheckError> {
    let since = Instant::now();
    let mut worker =
        Worker::start(program, WORK, limits, Errors::Kept, None).map_err(CheckError::Start)?;
    worker.send(order);
    let mut doing = "its start".to_owned();
    let mut catalogue = Vec::new();
    let mut measured = None;
    let (status, detail) = loop {
        match worker.receive() {
            Ok(Message::Doing(what)) => doing = what,
            Ok(Message::Catalogue(entries)) => catalogue = entries,
            Ok(Message::Found {
                status,
                detail,
                data,
            }) => {
                measured = data;
                // What happens on the way out counts, too.
                worker.close();
                break match worker.leave() {
                    Ok(()) => (status, detail),
                    Err(death) => (Status::Crashed, format!("on the way out {death}")),
                };
            }
            Err(death) => break (Status::Crashed, format!("in {doing}: {death}")),
        }
    };
    let mut result = result(order, status, detail, since.elapsed().as_secs_f64());
    result.data = measured;
    Ok((result, catalogue))
}

fn result(order: &Order, status: Status, detail: String, seconds: f64) -> TestResult {
    TestResult {
        test: order.test.clone(),
        capability: order.capability.as_ref().map(|c| c.name.clone()),
        kind: order.capability.as_ref().map(|c| c.kind.word().to_owned()),
        status,
        detail,
        data: None,
        seconds,
    }
}

/// The child's side: runs the test that the parent orders, on this device.
///
/// # Errors
/// When the channel breaks or the order makes no sense.
pub fn serve(mut channel: Channel, backend: &dyn Backend) -> io::Result<()> {
    let Some(order) = channel.inbox.receive::<Order>()? else {
        return Ok(());
    };
    if let Some(seconds) = channel.limits.processor_s {
        grant_processor(seconds);
    }
    let kind = order.capability.as_ref().map(|c| c.kind);
    let test = tests()
        .iter()
        .find(|t| t.name == order.test && t.applies_to(kind))
        .ok_or_else(|| io::Error::other(format!("there is no test `{}` here", order.test)))?;
    let out = &mut channel.out;
    let mut tell = |what: &str| {
        // A parent that is gone is found when the result is sent.
        let _ = out.send(&Message::Doing(what.to_owned()));
    };
    let (name, schema) = match &order.capability {
        Some(c) => (c.name.as_str(), &c.schema),
        None => ("", &Value::Null),
    };
    let mut bench = Bench {
        target: &order.target,
        kind: kind.unwrap_or(Kind::Unknown),
        name,
        schema,
        chosen: order.chosen.as_ref(),
        backend,
        tell: &mut tell,
        data: None,
    };
    let found = (test.run)(&mut bench);
    let data = bench.data.take();
    let (status, detail) = match found {
        Ok(detail) => (Status::Passed, detail),
        Err(Stop::Failed(detail)) => (Status::Failed, detail),
        Err(Stop::Skipped(detail)) => (Status::Skipped, detail),
    };
    if test.scope == Scope::Library && test.name == LOAD && status == Status::Passed {
        let registry = bench.registry();
        let entries = registry
            .map(|r: Registry| r.catalogue().to_vec())
            .unwrap_or_default();
        channel.out.send(&Message::Catalogue(entries))?;
    }
    channel.out.send(&Message::Found {
        status,
        detail,
        data,
    })
}
