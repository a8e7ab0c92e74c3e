//! Optimizer steps on a device, outside of a trainer.
//!
//! Owns the update program and its states. Must not know who judges them.

use std::collections::BTreeMap;

use ablate_bert::ParameterSpec;
use ablate_compiler::{Backend, BackendError, ProgramId, Session};
use ablate_graph::{Feeds, RandomKey};
use ablate_train::graphs::{gradient_name, update};
use ablate_train::{Optimizer, SlotSpec, TrainError};

/// Parameters and slots by the names of their states.
pub(crate) type States = BTreeMap<String, Vec<f32>>;

/// An update program with its states.
pub(crate) struct Engine {
    session: Box<dyn Session>,
    program: ProgramId,
    parameters: Vec<ParameterSpec>,
    slots: Vec<(String, SlotSpec)>,
}

impl Engine {
    /// Builds and compiles the update; slots get their initial values, parameters `start`.
    pub fn new(
        backend: &dyn Backend,
        optimizer: &mut dyn Optimizer,
        parameters: Vec<ParameterSpec>,
        start: &States,
    ) -> Result<Self, TrainError> {
        let (graph, slots) = update(&parameters, optimizer, None)?;
        let mut session = backend.session()?;
        let program = session.load(graph)?;
        let mut engine = Engine {
            session,
            program,
            parameters,
            slots,
        };
        for (name, slot) in engine.slots.clone() {
            let values = vec![slot.initial; slot.shape.iter().product()];
            engine.session.set_state(&name, &values)?;
        }
        engine.restore(start)?;
        Ok(engine)
    }

    /// Overwrites states.
    pub fn restore(&mut self, states: &States) -> Result<(), BackendError> {
        for (name, values) in states {
            self.session.set_state(name, values)?;
        }
        Ok(())
    }

    /// One step along `gradients`, by parameter.
    pub fn step(
        &mut self,
        optimizer: &dyn Optimizer,
        step: u64,
        learning_rate: f64,
        gradients: &States,
    ) -> Result<(), TrainError> {
        for (name, values) in gradients {
            self.session.set_state(&gradient_name(name), values)?;
        }
        self.run(optimizer, step, learning_rate)
    }

    /// One step along the gradients that are there.
    pub fn run(
        &mut self,
        optimizer: &dyn Optimizer,
        step: u64,
        learning_rate: f64,
    ) -> Result<(), TrainError> {
        let mut feeds = Feeds::new();
        let values = optimizer.scalars(step, learning_rate)?;
        for (name, value) in optimizer.scalar_names()?.into_iter().zip(values) {
            feeds.set(name, vec![value as f32]);
        }
        self.session
            .run(self.program, &feeds, RandomKey { seed: 1, step })?;
        Ok(())
    }

    /// Every parameter and slot.
    pub fn states(&self) -> Result<States, BackendError> {
        let names = self.parameters.iter().map(|p| &p.name);
        names
            .chain(self.slots.iter().map(|(name, _)| name))
            .map(|name| Ok((name.clone(), self.session.state(name)?)))
            .collect()
    }
}
