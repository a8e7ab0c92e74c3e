//! The reference backend: stock luminal runs the graph, node by node, unmodified.
//!
//! It is the oracle of every test and the slowest of the backends: use it at tiny sizes.

use crate::{Backend, BackendError, ProgramId, Session};
use ablate_graph::{Feeds, Graph, RandomKey};
use std::collections::BTreeMap;

/// Stock luminal as a [`Backend`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceBackend;

impl Backend for ReferenceBackend {
    fn name(&self) -> &str {
        "reference"
    }

    fn description(&self) -> String {
        "stock luminal 0.2.0, one operation at a time".into()
    }

    fn session(&self) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(ReferenceSession::default()))
    }
}

#[derive(Default)]
struct ReferenceSession {
    programs: Vec<Loaded>,
    states: BTreeMap<String, Vec<f32>>,
}

struct Loaded {
    graph: Graph,
    outputs: BTreeMap<String, Vec<f32>>,
    flops: f64,
}

impl ReferenceSession {
    fn loaded(&self, program: ProgramId) -> Result<&Loaded, BackendError> {
        self.programs
            .get(program.0)
            .ok_or_else(|| BackendError::Unknown {
                what: "program",
                name: program.0.to_string(),
                known: format!("0..{}", self.programs.len()),
            })
    }
}

impl Session for ReferenceSession {
    fn load(&mut self, graph: Graph) -> Result<ProgramId, BackendError> {
        // Compiled only to count: the number of operations is that of every backend.
        let flops = crate::compile(&graph.lower()?)?.flops();
        self.programs.push(Loaded {
            graph,
            outputs: BTreeMap::new(),
            flops,
        });
        Ok(ProgramId(self.programs.len() - 1))
    }

    fn set_state(&mut self, name: &str, values: &[f32]) -> Result<(), BackendError> {
        match self.states.get_mut(name) {
            Some(state) if state.len() != values.len() => Err(BackendError::StateLength {
                name: name.into(),
                expected: state.len(),
                found: values.len(),
            }),
            Some(state) => {
                state.copy_from_slice(values);
                Ok(())
            }
            None => {
                self.states.insert(name.into(), values.to_vec());
                Ok(())
            }
        }
    }

    fn state(&self, name: &str) -> Result<Vec<f32>, BackendError> {
        self.states
            .get(name)
            .cloned()
            .ok_or_else(|| BackendError::Unknown {
                what: "state",
                name: name.into(),
                known: self.states.keys().cloned().collect::<Vec<_>>().join(", "),
            })
    }

    fn run(
        &mut self,
        program: ProgramId,
        feeds: &Feeds,
        key: RandomKey,
    ) -> Result<(), BackendError> {
        self.loaded(program)?;
        let loaded = &mut self.programs[program.0];
        let result = loaded.graph.run_reference(feeds, &self.states, key)?;
        loaded.outputs = result.outputs;
        self.states.extend(result.assigned);
        Ok(())
    }

    fn output(&self, program: ProgramId, name: &str) -> Result<&[f32], BackendError> {
        let loaded = self.loaded(program)?;
        loaded
            .outputs
            .get(name)
            .map(Vec::as_slice)
            .ok_or_else(|| BackendError::Unknown {
                what: "output",
                name: name.into(),
                known: loaded
                    .outputs
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    fn program_text(&self, program: ProgramId) -> Result<String, BackendError> {
        Ok(self.loaded(program)?.graph.dump())
    }

    fn flops(&self, program: ProgramId) -> f64 {
        self.programs.get(program.0).map_or(0.0, |p| p.flops)
    }
}
