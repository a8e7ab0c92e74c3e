//! What must not cross the border: panics, stale handles, broken promises, malformed descriptors.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};

use ablate_graph::Graph;
use ablate_host::{HostError, Kind, Registry};
use ablate_sdk::abi::{self, Str};
use ablate_sdk::{
    Batch, Decision, Event, Feature, GraphBuilder, Layout, Objective, ObjectiveGraph, Optimizer,
    Parameter, Result, Slot, StoppingRule, Tensor, Updated,
};
use ablate_train::{Objective as _, Optimizer as _, StoppingRule as _, UpdateContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
struct Fault {
    fault: String,
}

/// An objective that does one thing wrong.
struct Careless(String);

impl Objective for Careless {
    const NAME: &'static str = "careless";
    const DESCRIPTION: &'static str = "Does one thing wrong.";
    type Config = Fault;

    fn new(config: Fault) -> Result<Self> {
        assert!(config.fault != "create", "cannot even be made");
        Ok(Careless(config.fault))
    }
    fn features(&self) -> Vec<Feature> {
        let feature = |name| Feature {
            name,
            layout: Layout::PerSequence,
            classes: Some(2),
            density: None,
        };
        if self.0 == "twice" {
            vec![feature("a"), feature("a")]
        } else {
            vec![feature("a")]
        }
    }
    fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<f64> {
        let rows = batch.batch();
        match self.0.as_str() {
            "panic" => panic!("the floor is {}", "lava"),
            "forget" => return Ok(1.0),
            "name" => batch.write("b", &vec![0; rows])?,
            "length" => batch.write("a", &vec![0; rows + 1])?,
            "class" => batch.write("a", &vec![2; rows])?,
            "token" => batch.input_ids()[0] = 1_000_000,
            _ => {}
        }
        batch.write("a", &vec![0; rows])?;
        Ok(if self.0 == "units" { f64::NAN } else { 1.0 })
    }
    fn build<'g>(&mut self, g: &ObjectiveGraph<'g>) -> Result<Tensor<'g>> {
        g.scalar(0.0)
    }
}

/// A handle that the optimizer below keeps from one call to the next.
static KEPT: AtomicU64 = AtomicU64::new(0);

struct Wrong(String);

impl Optimizer for Wrong {
    const NAME: &'static str = "wrong";
    const DESCRIPTION: &'static str = "Does one thing wrong.";
    type Config = Fault;

    fn new(config: Fault) -> Result<Self> {
        Ok(Wrong(config.fault))
    }
    fn base_learning_rate(&self) -> f64 {
        1.0
    }
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        assert!(self.0 != "slots", "no slots today");
        vec![Slot::zeros("s", shape)]
    }
    fn scalar_names(&self) -> Vec<&'static str> {
        vec!["x"]
    }
    fn scalars(&self, _step: u64, _learning_rate: f64) -> Result<Vec<f64>> {
        Ok(match self.0.as_str() {
            "count" => vec![1.0, 2.0],
            "nan" => vec![f64::NAN],
            _ => vec![1.0],
        })
    }
    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        // `Tensor` is a transparent handle; only force gets one past its lifetime.
        // SAFETY: the same layout, and every value is a valid handle to be refused or not.
        let handle = |t: Tensor<'g>| unsafe { std::mem::transmute::<Tensor<'g>, u64>(t) };
        let mut parameter = p.parameter;
        let mut slots = p.slots.to_vec();
        let _scope = g.scope("left open by a panic")?;
        match self.0.as_str() {
            "panic" => panic!("{}", String::from("an owned message")),
            "shape" => parameter = g.sum_all(p.parameter)?,
            "slot count" => slots.clear(),
            "operation" => parameter = g.reshape(p.parameter, &[7])?,
            "keep" => KEPT.store(handle(p.parameter), Ordering::SeqCst),
            "stale" => {
                // SAFETY: as above.
                parameter =
                    unsafe { std::mem::transmute::<u64, Tensor<'g>>(KEPT.load(Ordering::SeqCst)) };
                parameter = g.neg(parameter)?;
            }
            _ => {}
        }
        Ok(Updated { parameter, slots })
    }
}

struct Shaky;

#[derive(Serialize, Deserialize)]
struct Nothing {}

impl StoppingRule for Shaky {
    const NAME: &'static str = "shaky";
    const DESCRIPTION: &'static str = "Panics.";
    type Config = Fault;
    type State = Nothing;

    fn new(_config: Fault) -> Result<Self> {
        Ok(Shaky)
    }
    fn observe(&mut self, event: &Event<'_>) -> Result<Decision> {
        let values: Vec<f64> = event.metrics().map(|m| m.1).collect();
        // Out of bounds where there is no metric.
        Ok(if values[0] > 0.0 {
            Decision::Continue
        } else {
            Decision::Stop(String::new())
        })
    }
    fn save(&self) -> Nothing {
        panic!("nothing to save")
    }
    fn load(&mut self, _state: Nothing) -> Result<()> {
        Ok(())
    }
}

ablate_sdk::plugin! {
    static PLUGIN = {
        name: "faulty",
        description: "Everything that can go wrong.",
        license: "MIT",
        objectives: [Careless],
        optimizers: [Wrong],
        stopping_rules: [Shaky],
    };
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.link(&PLUGIN).unwrap();
    registry
}

#[test]
fn faults_in_the_data_hook_become_errors() {
    let registry = registry();
    for (fault, part) in [
        ("panic", "the plugin panicked: the floor is lava"),
        ("forget", "the declared feature `a` was not written"),
        ("name", "the feature `b` was not declared"),
        ("length", "has 4 labels, the batch needs 3"),
        ("class", "has the label 2; labels are in 0..2, or -100"),
        ("token", "the token id 1000000"),
        ("units", "the number of units is NaN"),
    ] {
        let mut careless = registry
            .make_objective("careless", &json!({"fault": fault}))
            .unwrap();
        let error = careless
            .prepare(&mut common::batch(2, 3, 4, 4, 1))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(part) && error.contains("hook `prepare`"),
            "{fault}: {error}"
        );
        // The instance is still there, and the thread too.
        assert_eq!(careless.weight(), 1.0);
    }
    for (fault, part) in [
        ("create", "cannot even be made"),
        ("twice", "declared twice"),
    ] {
        let error = registry
            .check(Kind::Objective, "careless", &json!({"fault": fault}))
            .unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

fn update(fault: &str) -> std::result::Result<Graph, String> {
    let mut wrong = registry()
        .make_optimizer("wrong", &json!({"fault": fault}))
        .unwrap();
    let mut g = Graph::new();
    let parameter = g.parameter("p", &[2, 3]).unwrap();
    let slot = g.state("s", &[2, 3]).unwrap();
    let cx = UpdateContext {
        name: "p".into(),
        role: ablate_bert::Role::Weight,
        gradient: parameter.clone(),
        parameter,
        slots: vec![slot],
        scalars: vec![g.scalar(1.0)],
        decays: true,
        variant: 0,
    };
    let result = wrong.update(&mut g, cx).map_err(|e| e.to_string());
    // Whatever happened, no scope of the plugin is left open.
    assert_eq!(&*g.scope(), "");
    result.map(|_| g)
}

#[test]
fn faults_in_the_graph_hook_become_errors() {
    for (fault, part) in [
        ("panic", "the plugin panicked: an owned message"),
        ("shape", "the new value of `p`: its shape is [], not [2, 3]"),
        ("slot count", "returns 0 slots where 1 were declared"),
        ("operation", "reshape"),
    ] {
        let error = update(fault).err().unwrap();
        assert!(error.contains(part), "{fault}: {error}");
    }
    update("keep").unwrap();
    let error = update("stale").err().unwrap();
    assert!(error.contains("is not one of this call"), "{error}");
}

#[test]
fn faults_of_other_hooks_become_errors() {
    let registry = registry();
    let make = |fault: &str| {
        registry
            .make_optimizer("wrong", &json!({"fault": fault}))
            .unwrap()
    };
    let error = make("count").scalars(1, 1.0).unwrap_err().to_string();
    assert!(
        error.contains("gives 2 scalars where 1 were declared"),
        "{error}"
    );
    assert!(make("nan")
        .scalars(1, 1.0)
        .unwrap_err()
        .to_string()
        .contains("`x` is NaN"));
    assert!(make("slots")
        .slots(&common::spec(&[1], true))
        .unwrap_err()
        .to_string()
        .contains("no slots today"));
    let mut shaky = registry.make_stopping_rule("shaky", &json!({})).unwrap();
    let event = |metrics| ablate_train::Event {
        step: 1,
        tokens: 1,
        flops: 0.0,
        seconds: 0.0,
        split: ablate_train::Split::Train,
        metrics,
    };
    assert!(shaky
        .observe(&event(&[]))
        .unwrap_err()
        .to_string()
        .contains("index out of bounds"));
    let stop = shaky.observe(&event(&[("loss", -1.0)])).unwrap();
    assert_eq!(
        stop,
        ablate_train::Decision::Stop {
            reason: "`shaky` gave no reason".into()
        }
    );
    assert!(shaky
        .save()
        .unwrap_err()
        .to_string()
        .contains("nothing to save"));
}

fn refused(change: impl FnOnce(&mut abi::Plugin)) -> HostError {
    let mut plugin = PLUGIN;
    change(&mut plugin);
    Registry::new()
        .link(Box::leak(Box::new(plugin)))
        .unwrap_err()
}

#[test]
fn malformed_descriptors_are_refused_with_advice() {
    for (error, part) in [
        (refused(|p| p.magic ^= 1), "magic number"),
        (
            refused(|p| p.abi_major += 1),
            "was built for plugin ABI 2.0, this program has 1.0; update this program, or rebuild",
        ),
        (
            refused(|p| p.struct_size = 40),
            "announces 40 bytes, at least 112 are needed",
        ),
        (
            refused(|p| p.name = Str::new("Two Words")),
            "`Two Words`; names have a-z",
        ),
        (refused(|p| p.version = Str::EMPTY), "version is empty"),
        (refused(|p| p.capability_count = 0), "no capability"),
        (
            refused(|p| p.get_extension = None),
            "`get_extension` is null",
        ),
        (
            refused(|p| {
                unsafe extern "C" fn none(_: Str, _: Str) -> *const std::ffi::c_void {
                    std::ptr::null()
                }
                p.get_extension = Some(none);
            }),
            "the pointer to ablate.objective/1 is null",
        ),
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
    // A newer minor version with longer structs is fine.
    let mut newer = PLUGIN;
    newer.abi_minor += 1;
    Registry::new().link(Box::leak(Box::new(newer))).unwrap();
}

#[test]
fn a_name_belongs_to_one_plugin_and_a_refused_one_enters_nothing() {
    let mut registry = registry();
    let before = registry.catalogue().to_vec();
    let error = registry.link(&PLUGIN).unwrap_err();
    assert!(matches!(&error, HostError::Duplicate { name, .. } if name == "careless"));
    assert!(
        error.to_string().contains("one built in, one built in"),
        "{error}"
    );
    assert_eq!(registry.catalogue(), before);
}

#[test]
fn the_catalogue_has_schemas() {
    let registry = Registry::with_builtins().unwrap();
    let capabilities = ablate_builtins::PLUGINS.iter().map(|p| p.capability_count);
    assert_eq!(registry.catalogue().len(), capabilities.sum::<usize>());
    for entry in registry.catalogue() {
        assert_eq!(entry.schema["type"], "object", "{}", entry.name);
        assert_eq!(
            entry.schema["additionalProperties"], false,
            "{}",
            entry.name
        );
        assert!(!entry.description.is_empty() && entry.license == "MIT OR Apache-2.0");
    }
    let mlm = registry.find(Kind::Objective, "mlm").unwrap();
    let rate = &mlm.schema["properties"]["mask_rate"];
    assert_eq!(rate["default"], json!(0.15));
    assert_eq!(
        mlm.schema["$defs"]["MaskRate"]["anyOf"][0]["exclusiveMinimum"],
        json!(0.0)
    );
    let steps = registry.find(Kind::StoppingRule, "max_steps").unwrap();
    assert_eq!(steps.schema["required"], json!(["steps"]));
}
