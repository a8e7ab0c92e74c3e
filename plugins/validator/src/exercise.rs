//! One small use of a capability, from its configuration to its last hook.
//!
//! Owns the order of the hooks of each kind. Must not judge what comes out; that is for the tests.

use ablate_graph::Graph;
use ablate_host::{Kind, OperatorPlugin, Registry};
use ablate_train::graphs::{gradient, update, ForwardShape};
use ablate_train::window::label;
use ablate_train::{Event, Objective, Optimizer, Schedule, Split, StoppingRule};
use serde_json::Value;

use crate::rig;

/// Why a use did not come to its end.
pub(crate) enum Fault {
    /// The configuration is refused.
    Refused(String),
    /// A later hook failed.
    Hook(String),
}

/// Makes an instance and calls every hook once. `doing` is told before each one.
pub(crate) fn exercise(
    registry: &Registry,
    kind: Kind,
    name: &str,
    config: &Value,
    doing: &mut dyn FnMut(&str),
) -> Result<(), Fault> {
    let refused = |e: ablate_host::HostError| Fault::Refused(e.to_string());
    doing("create");
    match kind {
        Kind::Objective => {
            let made = registry.make_objective(name, config).map_err(refused)?;
            objective(Box::new(made), doing)
        }
        Kind::Optimizer => {
            let mut made = registry.make_optimizer(name, config).map_err(refused)?;
            optimizer(&mut made, doing)
        }
        Kind::StoppingRule => {
            let mut made = registry.make_stopping_rule(name, config).map_err(refused)?;
            stopping_rule(&mut made, doing)
        }
        Kind::Schedule => {
            let made = registry.make_schedule(name, config).map_err(refused)?;
            schedule(&made, doing)
        }
        Kind::Operator => {
            let mut made = registry.make_operator(name, config).map_err(refused)?;
            operator(&mut made, doing)
        }
        Kind::Unknown => Err(Fault::Refused(format!("there is no use for a {kind}"))),
    }
}

fn failed(error: impl ToString) -> Fault {
    Fault::Hook(error.to_string())
}

fn objective(made: Box<dyn Objective>, doing: &mut dyn FnMut(&str)) -> Result<(), Fault> {
    let pairs = rig::pairs(&*made);
    let mut objectives = vec![made];
    doing("prepare");
    let labelled = label(&mut objectives, rig::batch(rig::ROWS, 1, 1, pairs)).map_err(failed)?;
    let shape = ForwardShape::of(&labelled, &labelled.predictions());
    doing("build");
    gradient(&rig::model(0.1), &mut objectives, &shape, false).map_err(failed)?;
    doing("destroy");
    drop(objectives);
    Ok(())
}

fn optimizer(made: &mut dyn Optimizer, doing: &mut dyn FnMut(&str)) -> Result<(), Fault> {
    doing("slots and update");
    let _: (Graph, _) = update(&rig::parameters(), made, Some(1.0)).map_err(failed)?;
    doing("scalars");
    for step in 1..=3 {
        made.scalars(step, 1e-3).map_err(failed)?;
    }
    doing("destroy");
    Ok(())
}

fn schedule(made: &dyn Schedule, doing: &mut dyn FnMut(&str)) -> Result<(), Fault> {
    doing("factor");
    for step in [1, 2, 1000] {
        made.factor(step).map_err(failed)?;
    }
    doing("destroy");
    Ok(())
}

fn operator(made: &mut OperatorPlugin, doing: &mut dyn FnMut(&str)) -> Result<(), Fault> {
    doing("filter or map");
    let documents = [
        ("a", "A first document."),
        ("b", ""),
        ("c", "A first document."),
        ("d", "Größe, 東京."),
    ];
    made.apply(&documents).map_err(failed)?;
    doing("destroy");
    Ok(())
}

fn stopping_rule(made: &mut dyn StoppingRule, doing: &mut dyn FnMut(&str)) -> Result<(), Fault> {
    doing("observe");
    for (step, split) in [(1, Split::Train), (2, Split::Train), (2, Split::Validation)] {
        let metrics = [
            ("loss", 2.0),
            ("mlm_loss", 2.0),
            ("grad_norm", 1.0),
            ("learning_rate", 1e-3),
        ];
        let event = Event {
            step,
            tokens: 100 * step,
            flops: step as f64 * 1e9,
            seconds: step as f64 * 0.1,
            split,
            metrics: &metrics,
        };
        made.observe(&event).map_err(failed)?;
    }
    doing("save");
    let state = made.save().map_err(failed)?;
    doing("load");
    made.load(&state).map_err(failed)?;
    doing("destroy");
    Ok(())
}
