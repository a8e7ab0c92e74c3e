//! The session: programs, the states and the arena they share.

use crate::compiler::Compiler;
use crate::device::{Device, Stream};
use crate::error::CudaError;
use crate::loaded::{Loaded, NextInputs, Places};
use crate::memory::Memory;
use crate::modules::Modules;
use crate::print::Groups;
use crate::products::Products;
use crate::programs::compile;
use crate::Precision;
use ablate_compiler::program::Place;
use ablate_compiler::{BackendError, Kept, KernelTime, Program, ProgramId, Session, SessionMemory};
use ablate_graph::{Feeds, Graph, RandomKey};
use std::collections::BTreeMap;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Elements that scratch memory begins at a multiple of: 256 bytes.
const ALIGN: usize = 64;

/// Fields are dropped in their order: what uses the stream before the stream, all before the device.
pub struct CudaSession {
    programs: Vec<Loaded>,
    modules: Modules,
    products: Products,
    states: BTreeMap<String, (Memory, bool)>,
    iotas: BTreeMap<usize, Memory>,
    /// The arena, and behind it the scratch memory of the kernels.
    arena: Memory,
    arena_len: usize,
    scratch_len: usize,
    compiler: Compiler,
    stream: Stream,
    profiling: bool,
    precision: Precision,
    groups: Groups,
    device: Arc<Device>,
}

fn unknown<'a>(
    what: &'static str,
    name: &str,
    known: impl Iterator<Item = &'a String>,
) -> BackendError {
    let known = known.map(String::as_str).collect::<Vec<_>>().join(", ");
    BackendError::Unknown {
        what,
        name: name.into(),
        known,
    }
}

impl CudaSession {
    /// An empty session; `epilogues` says whether cuBLASLt is there.
    ///
    /// # Errors
    /// The device refuses.
    pub fn new(
        device: Arc<Device>,
        compiler: Compiler,
        precision: Precision,
        epilogues: bool,
        groups: Groups,
    ) -> Result<Self, CudaError> {
        device.make_current()?;
        let stream = Stream::new()?;
        Ok(CudaSession {
            programs: vec![],
            modules: Modules::default(),
            products: Products::new(&stream, precision, epilogues)?,
            states: BTreeMap::new(),
            iotas: BTreeMap::new(),
            arena: Memory::new(0, "the arena")?,
            arena_len: 0,
            scratch_len: 0,
            compiler,
            stream,
            profiling: false,
            precision,
            groups,
            device,
        })
    }

    fn loaded(&self, program: ProgramId) -> Result<&Loaded, BackendError> {
        self.programs.get(program.0).ok_or_else(|| {
            let known: Vec<String> = (0..self.programs.len()).map(|i| i.to_string()).collect();
            unknown("program", &program.0.to_string(), known.iter())
        })
    }

    /// Makes the arena large enough for every program.
    fn grow(&mut self, arena: usize, scratch: usize) -> Result<(), CudaError> {
        self.arena_len = self.arena_len.max(arena.next_multiple_of(ALIGN));
        self.scratch_len = self.scratch_len.max(scratch);
        if self.arena.len() >= self.arena_len + self.scratch_len {
            return Ok(());
        }
        // No one may use the old one any more; it is freed first, for there may not be room for both.
        self.stream.wait()?;
        self.programs.iter_mut().for_each(Loaded::forget);
        self.arena = Memory::new(0, "the arena")?;
        let what = "the arena for the values of a step";
        self.arena = Memory::new(self.arena_len + self.scratch_len, what)?;
        Ok(())
    }

    /// Memory for the states and constants of a program.
    fn provide(&mut self, loaded: &Loaded) -> Result<(), BackendError> {
        for buffer in &loaded.program.buffers {
            match &buffer.place {
                Place::State(name) => match self.states.get(name) {
                    Some((memory, _)) if memory.len() != buffer.len => {
                        return Err(BackendError::StateLength {
                            name: name.clone(),
                            expected: buffer.len,
                            found: memory.len(),
                        });
                    }
                    Some(_) => {}
                    None => {
                        let memory = Memory::new(buffer.len, &format!("state `{name}`"))?;
                        self.states.insert(name.clone(), (memory, false));
                    }
                },
                Place::Iota if !self.iotas.contains_key(&buffer.len) => {
                    let numbers: Vec<f32> = (0..buffer.len).map(|i| i as f32).collect();
                    let memory = Memory::new(buffer.len, "a table of indices")?;
                    memory.write(&numbers, &self.stream)?;
                    self.iotas.insert(buffer.len, memory);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Prepares a compiled program.
    fn load_program(&mut self, program: Program) -> Result<ProgramId, BackendError> {
        self.device.make_current()?;
        let loaded = Loaded::new(program, self.groups, &mut self.products)?;
        self.provide(&loaded)?;
        self.modules
            .add(loaded.printed().kernels(), &self.compiler)?;
        let scratch = loaded.printed().scratch_bytes / size_of::<f32>();
        self.grow(loaded.printed().arena_len, scratch)?;
        self.programs.push(loaded);
        Ok(ProgramId(self.programs.len() - 1))
    }

    /// Checks what is fed and copies it to where the device fetches it.
    fn stage(&mut self, program: usize, feeds: &Feeds) -> Result<(), BackendError> {
        let NextInputs {
            program,
            places,
            memory,
        } = self.programs[program].next_inputs()?;
        for (id, at) in places {
            let buffer = &program.buffers[*id];
            let Place::Input { name, index_bound } = &buffer.place else {
                continue;
            };
            let fail = |reason: String| BackendError::Feed {
                name: name.clone(),
                reason,
            };
            let values = feeds.get(name).ok_or_else(|| fail("was not fed".into()))?;
            if values.len() != buffer.len {
                return Err(fail(format!(
                    "{} elements were fed, {} expected",
                    values.len(),
                    buffer.len
                )));
            }
            if let Some(bound) = index_bound {
                let wrong = |v: &&f32| !(**v >= 0.0 && **v < *bound as f32 && v.fract() == 0.0);
                if let Some(value) = values.iter().find(wrong) {
                    return Err(fail(format!("{value} is not a whole number in 0..{bound}")));
                }
            }
            memory[*at..*at + buffer.len].copy_from_slice(values);
        }
        Ok(())
    }

    /// Queues a run.
    fn enqueue(&mut self, program: usize) -> Result<(), CudaError> {
        let (arena, scratch) = (self.arena_len, self.scratch_len);
        self.grow(arena, scratch)?;
        let bytes = (self.arena_len * size_of::<f32>()) as u64;
        let places = Places {
            arena: self.arena.address(),
            scratch: self.arena.address() + bytes,
            states: &|name| self.states.get(name).map_or(0, |s| s.0.address()),
            iotas: &|len| self.iotas.get(&len).map_or(0, Memory::address),
        };
        let loaded = &mut self.programs[program];
        loaded.resolve(&places, &self.modules, &mut self.products, &self.stream)?;
        let outputs: Vec<(String, u64)> = loaded.output_addresses(&places);
        // SAFETY: addresses were resolved to memory of the lengths that the program says, which lives until
        // `grow` or `drop` has waited for the stream; the compiler verified that kernels stay inside.
        unsafe {
            match self.profiling {
                true => loaded.profile(&self.stream, &self.products, &outputs),
                false => loaded.enqueue(&self.stream, &self.products, &outputs),
            }
        }
    }
}

impl Session for CudaSession {
    fn load(&mut self, graph: Graph) -> Result<ProgramId, BackendError> {
        let program = compile(&graph.lower()?, self.precision)?;
        self.load_program(program)
    }

    fn set_state(&mut self, name: &str, values: &[f32]) -> Result<(), BackendError> {
        self.device.make_current()?;
        if !self.states.contains_key(name) {
            let memory = Memory::new(values.len(), &format!("state `{name}`"))?;
            self.states.insert(name.into(), (memory, false));
        }
        let Some((memory, set)) = self.states.get_mut(name) else {
            return Err(BackendError::MissingState { name: name.into() });
        };
        if memory.len() != values.len() {
            return Err(BackendError::StateLength {
                name: name.into(),
                expected: memory.len(),
                found: values.len(),
            });
        }
        memory.write(values, &self.stream)?;
        *set = true;
        Ok(())
    }

    fn state(&self, name: &str) -> Result<Vec<f32>, BackendError> {
        match self.states.get(name) {
            Some((memory, true)) => {
                self.device.make_current()?;
                Ok(memory.read(&self.stream)?)
            }
            Some((_, false)) => Err(BackendError::MissingState { name: name.into() }),
            None => Err(unknown("state", name, self.states.keys())),
        }
    }

    fn run(
        &mut self,
        program: ProgramId,
        feeds: &Feeds,
        key: RandomKey,
    ) -> Result<(), BackendError> {
        // A state that is read must have been set; one that is only assigned becomes set.
        for name in &self.loaded(program)?.needs {
            if !self.states.get(name).is_some_and(|s| s.1) {
                return Err(BackendError::MissingState { name: name.clone() });
            }
        }
        self.device.make_current()?;
        self.stage(program.0, feeds)?;
        self.programs[program.0].set_key(key);
        self.enqueue(program.0)?;
        for buffer in &self.programs[program.0].program.buffers {
            if let Place::State(name) = &buffer.place {
                if let Some(state) = self.states.get_mut(name) {
                    state.1 = true;
                }
            }
        }
        Ok(())
    }

    fn output(&self, program: ProgramId, name: &str) -> Result<&[f32], BackendError> {
        let loaded = self.loaded(program)?;
        let found = loaded.output(name, &self.device)?;
        found.ok_or_else(|| unknown("output", name, loaded.output_names()))
    }

    fn keep(&mut self, program: ProgramId, names: &[String]) -> Result<Kept, BackendError> {
        self.loaded(program)?;
        let loaded = &mut self.programs[program.0];
        match loaded.keep(names) {
            Ok((place, parts)) => Ok(Kept::Queued {
                program,
                place,
                parts,
            }),
            Err(name) => Err(unknown("output", name, loaded.output_names())),
        }
    }

    fn read(&mut self, kept: Kept) -> Result<Vec<f32>, BackendError> {
        let (program, place, parts) = match kept {
            Kept::Values(values) => return Ok(values),
            Kept::Queued {
                program,
                place,
                parts,
            } => (program, place, parts),
        };
        self.loaded(program)?;
        let read = self.programs[program.0].read(place, &parts, &self.device)?;
        read.ok_or_else(|| unknown("kept run", &place.to_string(), std::iter::empty()))
    }

    fn program_text(&self, program: ProgramId) -> Result<String, BackendError> {
        Ok(self.loaded(program)?.program.to_string())
    }

    fn flops(&self, program: ProgramId) -> f64 {
        let loaded = self.programs.get(program.0);
        loaded.map_or(0.0, |p| p.program.flops())
    }

    fn set_profiling(&mut self, on: bool) {
        self.profiling = on;
        if on {
            for time in self.programs.iter_mut().flat_map(|p| &mut p.times) {
                (time.calls, time.seconds) = (0, 0.0);
            }
        }
    }

    fn profile(&self, program: ProgramId) -> Vec<KernelTime> {
        self.loaded(program).map_or(vec![], |p| p.times.clone())
    }

    fn memory(&self) -> SessionMemory {
        let bytes = |len: usize| (len * size_of::<f32>()) as u64;
        let inputs: u64 = self.programs.iter().map(Loaded::input_bytes).sum();
        let iotas: u64 = self.iotas.values().map(|m| bytes(m.len())).sum();
        SessionMemory {
            arena_bytes: bytes(self.arena_len),
            state_bytes: self.states.values().map(|(m, _)| bytes(m.len())).sum(),
            input_bytes: inputs + iotas,
            scratch_bytes: bytes(self.scratch_len) + self.products.workspace_bytes(),
        }
    }
}

impl Drop for CudaSession {
    fn drop(&mut self) {
        // Memory is freed when nothing uses it any more. After a fault there is nothing left to wait for.
        let _ = self.device.make_current();
        let _ = self.stream.wait();
    }
}
