//! What evaluates a graph: any backend, or the f64 interpreter.

use std::collections::BTreeMap;

use ablate_compiler::{Backend, ProgramId, Session};
use ablate_graph::{Feeds, Graph, RandomKey};

/// Values by name.
pub type Values = BTreeMap<String, Vec<f64>>;

/// Evaluates one graph again and again with other parameters.
pub trait Engine {
    /// Every output in `outputs`.
    fn run(&mut self, parameters: &Values, feeds: &Feeds, outputs: &[String]) -> Values;
}

/// A compiled graph on a backend.
pub struct OnBackend {
    session: Box<dyn Session>,
    program: ProgramId,
}

impl OnBackend {
    pub fn new(backend: &dyn Backend, graph: Graph) -> Self {
        let mut session = backend.session().unwrap();
        let program = session.load(graph).unwrap();
        OnBackend { session, program }
    }
}

impl Engine for OnBackend {
    fn run(&mut self, parameters: &Values, feeds: &Feeds, outputs: &[String]) -> Values {
        for (name, values) in parameters {
            let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
            self.session.set_state(name, &values).unwrap();
        }
        let key = RandomKey { seed: 1, step: 0 };
        self.session.run(self.program, feeds, key).unwrap();
        let read = |name: &String| {
            let values = self.session.output(self.program, name).unwrap();
            let values = values.iter().map(|x| f64::from(*x)).collect();
            (name.clone(), values)
        };
        outputs.iter().map(read).collect()
    }
}

/// The graph's own f64 interpreter.
pub struct InF64(pub Graph);

impl Engine for InF64 {
    fn run(&mut self, parameters: &Values, feeds: &Feeds, outputs: &[String]) -> Values {
        let key = RandomKey { seed: 1, step: 0 };
        let mut result = self.0.run_f64(feeds, parameters, key).unwrap();
        let mut take = |name: &String| (name.clone(), result.outputs.remove(name).unwrap());
        outputs.iter().map(&mut take).collect()
    }
}
