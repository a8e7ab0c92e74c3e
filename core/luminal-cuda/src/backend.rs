//! The backend and its session.

use ablate_compiler::{Backend, BackendError, ProgramId, Session};
use ablate_graph::{Feeds, Graph, RandomKey, StockProgram};
use luminal_cuda::CudaCompiler;
use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};

const NAME: &str = "luminal-cuda";

/// Stock luminal_cuda as a [`Backend`]: device 0, f32.
#[derive(Clone, Copy, Debug)]
pub struct LuminalCudaBackend(());

impl LuminalCudaBackend {
    /// Checks that there is a device.
    ///
    /// # Errors
    /// [`BackendError::Device`]: what is missing.
    pub fn new() -> Result<Self, BackendError> {
        crate::available().map_err(device)?;
        Ok(LuminalCudaBackend(()))
    }
}

impl Backend for LuminalCudaBackend {
    fn name(&self) -> &str {
        NAME
    }

    fn description(&self) -> String {
        "stock luminal_cuda 0.2.0, one kernel an operation".into()
    }

    fn session(&self) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(LuminalCudaSession::default()))
    }
}

fn device(reason: String) -> BackendError {
    BackendError::Device {
        device: NAME.into(),
        reason,
    }
}

/// luminal and luminal_cudarc know no errors but panics.
fn caught<T>(what: &str, call: impl FnOnce() -> T) -> Result<T, BackendError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        device(format!(
            "stock luminal_cuda failed {what}: {}",
            text.unwrap_or("without a word")
        ))
    })
}

#[derive(Default)]
struct LuminalCudaSession {
    programs: Vec<Loaded>,
    states: BTreeMap<String, Vec<f32>>,
}

struct Loaded {
    program: StockProgram,
    outputs: BTreeMap<String, Vec<f32>>,
    flops: f64,
}

fn unknown<'a>(
    what: &'static str,
    name: &str,
    known: impl Iterator<Item = &'a String>,
) -> BackendError {
    BackendError::Unknown {
        what,
        name: name.into(),
        known: known.cloned().collect::<Vec<_>>().join(", "),
    }
}

impl LuminalCudaSession {
    fn loaded(&self, program: ProgramId) -> Result<&Loaded, BackendError> {
        let numbers: Vec<String> = (0..self.programs.len()).map(|i| i.to_string()).collect();
        let found = self.programs.get(program.0);
        found.ok_or_else(|| unknown("program", &program.0.to_string(), numbers.iter()))
    }
}

impl Session for LuminalCudaSession {
    fn load(&mut self, graph: Graph) -> Result<ProgramId, BackendError> {
        // Compiled only to count: the number of operations is that of every backend.
        let flops = ablate_compiler::compile(&graph.lower()?)?.flops();
        let compiler = CudaCompiler::<f32>::default();
        let program = caught("to compile", || graph.compile_stock(compiler))??;
        self.programs.push(Loaded {
            program,
            outputs: BTreeMap::new(),
            flops,
        });
        Ok(ProgramId(self.programs.len() - 1))
    }

    fn set_state(&mut self, name: &str, values: &[f32]) -> Result<(), BackendError> {
        let found = self.states.get(name).map(Vec::len);
        match found {
            Some(expected) if expected != values.len() => Err(BackendError::StateLength {
                name: name.into(),
                expected,
                found: values.len(),
            }),
            _ => {
                self.states.insert(name.into(), values.to_vec());
                Ok(())
            }
        }
    }

    fn state(&self, name: &str) -> Result<Vec<f32>, BackendError> {
        let found = self.states.get(name).cloned();
        found.ok_or_else(|| unknown("state", name, self.states.keys()))
    }

    fn run(
        &mut self,
        program: ProgramId,
        feeds: &Feeds,
        key: RandomKey,
    ) -> Result<(), BackendError> {
        self.loaded(program)?;
        let loaded = &mut self.programs[program.0];
        let states = &self.states;
        let result = caught("to run", || loaded.program.run(feeds, states, key))??;
        loaded.outputs = result.outputs;
        self.states.extend(result.assigned);
        Ok(())
    }

    fn output(&self, program: ProgramId, name: &str) -> Result<&[f32], BackendError> {
        let outputs = &self.loaded(program)?.outputs;
        let found = outputs.get(name).map(Vec::as_slice);
        found.ok_or_else(|| unknown("output", name, outputs.keys()))
    }

    fn program_text(&self, program: ProgramId) -> Result<String, BackendError> {
        let operations = self.loaded(program)?.program.operations();
        Ok(operations
            .iter()
            .map(|(operation, count)| format!("{count:6} {operation}\n"))
            .collect())
    }

    fn flops(&self, program: ProgramId) -> f64 {
        self.programs.get(program.0).map_or(0.0, |p| p.flops)
    }
}
