//! The session: programs, their plans, the states and the arena they share.

use crate::blocks::{self, Blocks};
use crate::gemm::tiles::{self, Unit};
use crate::jit::{self, Code, Compiled};
use crate::matmul::Cut;
use crate::matmul_packed::Method;
use crate::memory::{return_freed, Memory, Shared};
use crate::plan::RowPlan;
use crate::pool::Pool;
use crate::row::Context;
use crate::vector::Isa;
use crate::{bias, gemm, index, matmul, matmul_bf16, matmul_packed, paths, row};
use ablate_compiler::program::{Kernel, Place};
use ablate_compiler::{
    compile_with, Backend, BackendError, KernelTime, Program, ProgramId, Session, SessionMemory,
    Storage,
};
use ablate_graph::{Feeds, Graph, RandomKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// How matrix products are computed, and activations stored. Everything else is single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In single precision.
    #[default]
    F32,
    /// By three products of bfloat16 parts, of which each operand has a high and a low one, with
    /// single-precision sums: sixteen bits of mantissa, and what is below `2^-126` is lost. Meant for
    /// processors with AMX; slower than single precision on others.
    F32Split,
    /// Of operands rounded to bfloat16, with single-precision products and sums. Activations between
    /// products are stored as bfloat16, see [`ablate_compiler::passes::storage`].
    Bf16,
}

/// The processor as a [`Backend`].
#[derive(Clone)]
pub struct CpuBackend {
    pool: Arc<Pool>,
    isa: Isa,
    jit: bool,
    blocks: bool,
    precision: Precision,
    /// The unit of tile registers that multiplies bfloat16.
    tiles: Option<Unit>,
}

impl CpuBackend {
    /// A backend with this many threads; zero for one a core.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn new(threads: usize) -> Result<Self, BackendError> {
        Ok(CpuBackend {
            pool: Arc::new(Pool::new(threads)?),
            isa: Isa::detect(),
            jit: jit::available(),
            blocks: true,
            precision: Precision::F32,
            tiles: tiles::detect(),
        })
    }

    /// The same backend with another precision of matrix products.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The same backend restricted to portable vector code, for tests and comparisons.
    #[must_use]
    pub fn portable(mut self) -> Self {
        self.isa = Isa::Portable;
        self.jit = false;
        self.tiles = None;
        self
    }

    /// The same backend restricted to AVX2, or less where there is none, for tests and comparisons.
    #[must_use]
    pub fn avx2(mut self) -> Self {
        if self.isa == Isa::Avx512 {
            self.isa = Isa::Avx2;
        }
        self.jit = false;
        self.tiles = None;
        self
    }

    /// The same backend without AMX, for tests and comparisons.
    #[must_use]
    pub fn without_amx(mut self) -> Self {
        self.tiles = None;
        self
    }

    /// The same backend with AMX's instructions done in software, slowly, for tests.
    #[must_use]
    pub fn with_emulated_amx(mut self) -> Self {
        self.tiles = Some(Unit::Emulated);
        self
    }

    /// The same backend with row kernels interpreted, for tests and comparisons.
    #[must_use]
    pub fn interpreted(mut self) -> Self {
        self.jit = false;
        self
    }

    /// The same backend with every step run as a whole before the next, for tests and comparisons.
    #[must_use]
    pub fn step_by_step(mut self) -> Self {
        self.blocks = false;
        self
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// What computes matrix products in this precision.
    pub fn products(&self) -> &'static str {
        paths::name(self.precision, self.isa, self.tiles)
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &str {
        "cpu"
    }

    fn description(&self) -> String {
        let isa = match self.isa {
            Isa::Avx512 => "AVX-512",
            Isa::Avx2 => "AVX2",
            Isa::Portable => "portable vectors",
        };
        let threads = self.pool.threads();
        match self.precision {
            Precision::F32 => format!("cpu, {threads} threads, {isa}"),
            Precision::F32Split => {
                format!(
                    "cpu, {threads} threads, {isa}, f32_split products by {}",
                    self.products()
                )
            }
            Precision::Bf16 => {
                format!(
                    "cpu, {threads} threads, {isa}, bf16 products by {}",
                    self.products()
                )
            }
        }
    }

    fn advice(&self) -> Option<&str> {
        paths::advice(self.precision, self.tiles)
    }

    fn session(&self) -> Result<Box<dyn Session>, BackendError> {
        let scratch = (0..self.pool.threads()).map(|_| Memory::new(0)).collect();
        Ok(Box::new(CpuSession {
            pool: self.pool.clone(),
            isa: self.isa,
            jit: self.jit,
            blocks: self.blocks,
            bf16: self.precision == Precision::Bf16,
            method: paths::method(self.precision, self.tiles),
            locals: blocks::memory(self.pool.threads()),
            local_pointers: vec![],
            packed: Memory::new(0),
            programs: vec![],
            states: BTreeMap::new(),
            arena: Memory::new(0),
            partials: Memory::new(0),
            scratch,
            scratch_pointers: vec![],
            iotas: BTreeMap::new(),
            profiling: false,
        }))
    }
}

/// What is decided about a step when its program is loaded.
pub(crate) enum Plan {
    Row(Box<RowPlan>, Option<Box<Compiled>>),
    Gemm(Cut),
    /// With operands rounded to bfloat16, and left and right exchanged if `true`.
    GemmBf16(matmul_bf16::Cut, bool),
    /// With both operands packed before, and exchanged if `true`.
    GemmPacked(matmul_packed::Cut, bool),
    None,
}

pub(crate) struct Loaded {
    pub(crate) program: Program,
    /// What was decided about each step.
    pub(crate) plans: Vec<Plan>,
    /// For groups of steps that run block by block.
    pub(crate) blocks: Option<Blocks>,
    /// Machine code that the plans call.
    _code: Option<Code>,
    /// Buffers of the fed inputs, by buffer.
    inputs: BTreeMap<usize, Memory>,
    /// States that must be set before a run.
    needs: Vec<String>,
    /// Pointers by buffer; made anew each run, kept to save the allocation.
    pointers: Vec<Shared>,
    /// Outputs, copied out of the arena, which the next program overwrites.
    outputs: BTreeMap<String, Vec<f32>>,
    /// What each step costs, and took while profiling was on.
    times: Vec<KernelTime>,
}

impl Loaded {
    /// The buffers of a product of bfloat16 numbers: left operand, right operand and result.
    pub(crate) fn operands(
        &self,
        [a, b, c]: [usize; 3],
        exchanged: bool,
        pointers: &[Shared],
    ) -> matmul_bf16::Buffers {
        let ids = if exchanged { [b, a, c] } else { [a, b, c] };
        matmul_bf16::Buffers {
            start: ids.map(|id| pointers[id]),
            half: ids.map(|id| self.program.buffers[id].storage == Storage::Bf16),
        }
    }
}

struct CpuSession {
    pool: Arc<Pool>,
    isa: Isa,
    jit: bool,
    blocks: bool,
    /// Operands of products are rounded to bfloat16.
    bf16: bool,
    /// How products are computed whose operands are packed before, if they are.
    method: Option<Method>,
    /// Buffers that are local to a block, of each thread.
    locals: Vec<Memory>,
    local_pointers: Vec<Shared>,
    /// Packed operands that threads share.
    packed: Memory,
    programs: Vec<Loaded>,
    states: BTreeMap<String, (Memory, bool)>,
    arena: Memory,
    partials: Memory,
    scratch: Vec<Memory>,
    scratch_pointers: Vec<Shared>,
    iotas: BTreeMap<usize, Memory>,
    profiling: bool,
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

fn grow(memory: &mut Memory, len: usize) {
    if memory.len() < len {
        *memory = Memory::new(len);
    }
}

impl CpuSession {
    fn loaded(&self, program: ProgramId) -> Result<&Loaded, BackendError> {
        self.programs.get(program.0).ok_or_else(|| {
            let known: Vec<String> = (0..self.programs.len()).map(|i| i.to_string()).collect();
            unknown("program", &program.0.to_string(), known.iter())
        })
    }

    fn fill_inputs(&mut self, program: usize, feeds: &Feeds) -> Result<(), BackendError> {
        let loaded = &mut self.programs[program];
        for (id, memory) in &mut loaded.inputs {
            let Place::Input { name, index_bound } = &loaded.program.buffers[*id].place else {
                continue;
            };
            let fail = |reason: String| BackendError::Feed {
                name: name.clone(),
                reason,
            };
            let values = feeds.get(name).ok_or_else(|| fail("was not fed".into()))?;
            if values.len() != memory.len() {
                return Err(fail(format!(
                    "{} elements were fed, {} expected",
                    values.len(),
                    memory.len()
                )));
            }
            if let Some(bound) = index_bound {
                let wrong = |v: &&f32| !(**v >= 0.0 && **v < *bound as f32 && v.fract() == 0.0);
                if let Some(value) = values.iter().find(wrong) {
                    return Err(fail(format!("{value} is not a whole number in 0..{bound}")));
                }
            }
            memory.as_mut_slice().copy_from_slice(values);
        }
        Ok(())
    }

    /// Points every buffer of the program to its memory.
    fn resolve(&mut self, program: usize) -> Result<(), BackendError> {
        let loaded = &mut self.programs[program];
        for (id, buffer) in loaded.program.buffers.iter().enumerate() {
            let pointer = match &buffer.place {
                Place::Arena { offset } => self.arena.pointer().wrapping_add(*offset),
                Place::State(name) => match self.states.get(name) {
                    Some((memory, _)) => memory.pointer(),
                    None => return Err(BackendError::MissingState { name: name.clone() }),
                },
                Place::Input { .. } => match loaded.inputs.get(&id) {
                    Some(memory) => memory.pointer(),
                    None => continue,
                },
                Place::Iota => match self.iotas.get(&buffer.len) {
                    Some(memory) => memory.pointer(),
                    None => continue,
                },
            };
            loaded.pointers[id] = Shared(pointer);
        }
        Ok(())
    }
}

impl Session for CpuSession {
    fn load(&mut self, graph: Graph) -> Result<ProgramId, BackendError> {
        let activations = match self.bf16 {
            true => Storage::Bf16,
            false => Storage::F32,
        };
        let program = compile_with(&graph.lower()?, activations)?;
        drop(graph);
        let mut inputs = BTreeMap::new();
        for (id, buffer) in program.buffers.iter().enumerate() {
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
                        self.states
                            .insert(name.clone(), (Memory::new(buffer.len), false));
                    }
                },
                Place::Input { .. } => {
                    inputs.insert(id, Memory::new(buffer.len));
                }
                Place::Iota => {
                    self.iotas.entry(buffer.len).or_insert_with(|| {
                        let mut memory = Memory::new(buffer.len);
                        let numbers = memory.as_mut_slice().iter_mut().enumerate();
                        numbers.for_each(|(i, v)| *v = i as f32);
                        memory
                    });
                }
                Place::Arena { .. } => {}
            }
        }
        let threads = self.pool.threads();
        let mut plans: Vec<Plan> = program
            .steps
            .iter()
            .map(|s| match &s.kernel {
                Kernel::Row(kernel) => {
                    Plan::Row(Box::new(RowPlan::new(kernel, &program.buffers)), None)
                }
                Kernel::Gemm { gemm, c, .. } => match self.method {
                    Some(method) => {
                        let half = program.buffers[*c].storage == Storage::Bf16;
                        let (cut, exchanged) =
                            matmul_packed::Cut::new(method, gemm, half, self.isa, threads);
                        Plan::GemmPacked(cut, exchanged)
                    }
                    None if self.bf16 => {
                        let (cut, exchanged) = matmul_bf16::Cut::new(gemm, threads);
                        Plan::GemmBf16(cut, exchanged)
                    }
                    None => Plan::Gemm(Cut::new(gemm, self.isa, threads)),
                },
                _ => Plan::None,
            })
            .collect();
        let code = self.jit.then(|| machine_code(&mut plans)).flatten();
        let rows = || {
            plans.iter().filter_map(|p| match p {
                Plan::Row(plan, compiled) => Some((plan, compiled)),
                _ => None,
            })
        };
        let blocks = match self.blocks {
            true => Blocks::new(&program, &plans, threads),
            false => None,
        };
        if blocks.is_some() {
            grow(&mut self.arena, program.arena_len_in_blocks);
            let len = blocks::local_len(&program);
            self.locals.iter_mut().for_each(|l| grow(l, len));
        } else {
            grow(&mut self.arena, program.arena_len);
        }
        self.local_pointers = self.locals.iter().map(|l| Shared(l.pointer())).collect();
        let products = plans
            .iter()
            .any(|p| matches!(p, Plan::Gemm(_) | Plan::GemmBf16(..) | Plan::GemmPacked(..)));
        let packing = if products { gemm::SCRATCH } else { 0 };
        let scratch = rows()
            .map(|(plan, compiled)| match compiled {
                Some(compiled) => compiled.scratch(),
                None => plan.scratch,
            })
            .fold(packing, usize::max);
        self.scratch.iter_mut().for_each(|s| grow(s, scratch));
        self.scratch_pointers = self.scratch.iter().map(|s| Shared(s.pointer())).collect();
        let packed = plans.iter().map(|p| match p {
            Plan::GemmBf16(cut, _) => cut.shared_len(),
            Plan::GemmPacked(cut, _) => cut.shared_len(),
            _ => 0,
        });
        grow(&mut self.packed, packed.max().unwrap_or(0));
        let partials = rows().map(|(plan, _)| plan.partial_len).max().unwrap_or(0);
        grow(&mut self.partials, partials);
        let pointers = vec![Shared(std::ptr::null_mut()); program.buffers.len()];
        let outputs = program
            .outputs
            .iter()
            .map(|(name, id)| (name.clone(), vec![0.0; program.buffers[*id].len]))
            .collect();
        let needs = needed_states(&program);
        let times = program.kernel_times();
        self.programs.push(Loaded {
            program,
            needs,
            plans,
            blocks,
            _code: code,
            inputs,
            pointers,
            outputs,
            times,
        });
        return_freed();
        Ok(ProgramId(self.programs.len() - 1))
    }

    fn set_state(&mut self, name: &str, values: &[f32]) -> Result<(), BackendError> {
        let (memory, set) = self
            .states
            .entry(name.to_string())
            .or_insert_with(|| (Memory::new(values.len()), false));
        if memory.len() != values.len() {
            return Err(BackendError::StateLength {
                name: name.into(),
                expected: memory.len(),
                found: values.len(),
            });
        }
        memory.as_mut_slice().copy_from_slice(values);
        *set = true;
        Ok(())
    }

    fn state(&self, name: &str) -> Result<Vec<f32>, BackendError> {
        match self.states.get(name) {
            Some((memory, true)) => Ok(memory.as_slice().to_vec()),
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
        self.fill_inputs(program.0, feeds)?;
        self.resolve(program.0)?;
        let mut times = self
            .profiling
            .then(|| std::mem::take(&mut self.programs[program.0].times));
        let loaded = &mut self.programs[program.0];
        let tables = loaded
            .blocks
            .as_mut()
            .map_or(Shared(std::ptr::null_mut()), |b| {
                b.begin(&loaded.pointers);
                b.tables()
            });
        let loaded = &self.programs[program.0];
        let run = blocks::Run {
            loaded,
            tables,
            locals: &self.local_pointers,
        };
        let context = Context {
            pool: &self.pool,
            isa: self.isa,
            buffers: &loaded.pointers,
            scratch: &self.scratch_pointers,
            partials: Shared(self.partials.pointer()),
            packed: Shared(self.packed.pointer()),
            key,
        };
        // SAFETY: every pointer was resolved above to memory of the length that the program says;
        // the compiler verified that kernels stay inside their buffers.
        self.pool
            .enter(|| unsafe { steps(&run, &context, times.as_deref_mut()) });
        if let Some(times) = times {
            self.programs[program.0].times = times;
        }
        let Loaded {
            program,
            outputs,
            pointers,
            ..
        } = &mut self.programs[program.0];
        for (name, id) in &program.outputs {
            if let Some(out) = outputs.get_mut(name) {
                // SAFETY: resolved above; the run has ended.
                let values = unsafe { std::slice::from_raw_parts(pointers[*id].0, out.len()) };
                out.copy_from_slice(values);
            }
        }
        for buffer in &program.buffers {
            if let Place::State(name) = &buffer.place {
                if let Some(state) = self.states.get_mut(name) {
                    state.1 = true;
                }
            }
        }
        Ok(())
    }

    fn output(&self, program: ProgramId, name: &str) -> Result<&[f32], BackendError> {
        let outputs = &self.loaded(program)?.outputs;
        outputs
            .get(name)
            .map(Vec::as_slice)
            .ok_or_else(|| unknown("output", name, outputs.keys()))
    }

    fn program_text(&self, program: ProgramId) -> Result<String, BackendError> {
        Ok(self.loaded(program)?.program.to_string())
    }

    fn flops(&self, program: ProgramId) -> f64 {
        self.programs
            .get(program.0)
            .map_or(0.0, |p| p.program.flops())
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
        let bytes = |m: &Memory| (m.len() * size_of::<f32>()) as u64;
        let inputs = self.programs.iter().flat_map(|p| p.inputs.values());
        SessionMemory {
            arena_bytes: bytes(&self.arena),
            state_bytes: self.states.values().map(|(m, _)| bytes(m)).sum(),
            input_bytes: inputs.chain(self.iotas.values()).map(bytes).sum(),
            scratch_bytes: self
                .scratch
                .iter()
                .chain(&self.locals)
                .chain([&self.partials])
                .map(bytes)
                .sum(),
        }
    }
}

/// Compiles the row kernels among the plans.
fn machine_code(plans: &mut [Plan]) -> Option<Code> {
    let rows = plans.iter().filter_map(|p| match p {
        Plan::Row(plan, _) => Some(&**plan),
        _ => None,
    });
    let (kernels, code) = jit::compile(rows);
    let mut kernels = kernels.into_iter();
    for plan in plans {
        if let Plan::Row(_, compiled) = plan {
            *compiled = kernels.next().flatten().map(Box::new);
        }
    }
    code
}

/// States that some step reads before any step has written them.
fn needed_states(program: &Program) -> Vec<String> {
    let mut needs: Vec<String> = vec![];
    for step in &program.steps {
        for buffer in step.kernel.reads() {
            if let Place::State(name) = &program.buffers[buffer].place {
                // A value that was placed in a state has a buffer of its own, which is written.
                let made_here = program
                    .steps
                    .iter()
                    .any(|s| s.kernel.writes().contains(&buffer));
                if !made_here && !needs.contains(name) {
                    needs.push(name.clone());
                }
            }
        }
    }
    needs
}

/// # Safety
/// The context's pointers are those of the program's buffers.
unsafe fn steps(run: &blocks::Run, cx: &Context, mut times: Option<&mut [KernelTime]>) {
    let at = |id: usize| cx.buffers[id];
    let loaded = run.loaded;
    let mut groups = match loaded.blocks {
        Some(_) => loaded.program.groups.iter().peekable(),
        None => [].iter().peekable(),
    };
    for (number, step) in loaded.program.steps.iter().enumerate() {
        if let Some(group) = groups.peek().filter(|g| number >= g.steps.start) {
            if number == group.steps.start {
                // SAFETY: the caller's promise.
                unsafe { run.group(group, cx, times.as_deref_mut()) };
            }
            if number + 1 == group.steps.end {
                groups.next();
            }
            continue;
        }
        let start = times.is_some().then(Instant::now);
        // SAFETY: the caller's promise.
        unsafe {
            match &step.kernel {
                Kernel::Row(_) => match &loaded.plans[number] {
                    Plan::Row(plan, Some(compiled)) => jit::run(plan, compiled, cx),
                    Plan::Row(plan, None) => row::run(plan, cx),
                    _ => {}
                },
                Kernel::Gemm {
                    gemm,
                    a,
                    b,
                    c,
                    bias: added,
                    ..
                } => {
                    match &loaded.plans[number] {
                        Plan::Gemm(cut) => {
                            let buffers = [at(*a), at(*b), at(*c)];
                            matmul::run(cx.pool, cx.isa, cx.scratch, (gemm, *cut), buffers);
                        }
                        Plan::GemmBf16(cut, exchanged) => {
                            let buffers = loaded.operands([*a, *b, *c], *exchanged, cx.buffers);
                            matmul_bf16::run(cx.pool, cx.isa, cx.scratch, cx.packed, cut, buffers);
                        }
                        Plan::GemmPacked(cut, exchanged) => {
                            let buffers = loaded.operands([*a, *b, *c], *exchanged, cx.buffers);
                            matmul_packed::run(
                                cx.pool, cx.isa, cx.scratch, cx.packed, cut, buffers,
                            );
                        }
                        _ => {}
                    }
                    if let Some(added) = added {
                        bias::run(cx.pool, gemm, at(*c), at(*added));
                    }
                }
                Kernel::Gather {
                    table,
                    table_access,
                    class_stride,
                    classes,
                    index,
                    index_access,
                    out,
                } => {
                    index::gather(
                        cx.pool,
                        at(*table),
                        table_access,
                        *class_stride,
                        *classes,
                        at(*index),
                        index_access,
                        at(*out),
                    );
                }
                Kernel::ScatterAdd {
                    value,
                    value_access,
                    index,
                    index_access,
                    classes,
                    out,
                } => {
                    index::scatter_add(
                        cx.pool,
                        at(*value),
                        value_access,
                        at(*index),
                        index_access,
                        *classes,
                        at(*out),
                    );
                }
                Kernel::Uniform { stream, out } => {
                    let len = loaded.program.buffers[*out].len;
                    let values = std::slice::from_raw_parts_mut(at(*out).0, len);
                    let stream = ablate_random::Stream::new(cx.key.seed, stream);
                    stream.fill_uniform(cx.key.step, 0, values);
                }
                Kernel::Copy { from, to } => {
                    let len = loaded.program.buffers[*to].len;
                    std::ptr::copy(at(*from).0, at(*to).0, len);
                }
            }
        }
        if let (Some(times), Some(start)) = (&mut times, start) {
            times[number].calls += 1;
            times[number].seconds += start.elapsed().as_secs_f64();
        }
    }
}
