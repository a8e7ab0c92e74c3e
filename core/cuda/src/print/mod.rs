//! Programs as CUDA C.
//!
//! Owns: the text of every kernel, how it is launched and with which arguments. Must not know: any
//! device, any library; nothing here runs.
//!
//! A row kernel becomes one kernel whose threads form teams, a team to a row: a part of a warp, a warp or
//! a block, as the row's length asks (`shape`). Reductions are shuffles and shared memory in a fixed
//! order. What a kernel reduces over its rows goes to scratch memory, one partial result a team, and a
//! second kernel adds them in order (`fold`): no atomics, so the bits do not depend on who came first.
//! Equal kernels, of the layers of an encoder say, have equal text and name: buffers are arguments.

mod access;
mod analysis;
mod epilogue;
mod fold;
mod group;
mod index;
mod library;
mod prelude;
mod product;
mod row;
mod shape;

pub use library::{Epilogue, LibraryProduct};
pub use prelude::PRELUDE;

use ablate_compiler::program::{Buffer, BufferId, Group, Kernel, Program, Storage};
use ablate_graph::ir::Phase;
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::sync::Arc;

/// What a kernel is given: one address each, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A buffer of the program.
    Buffer(BufferId),
    /// The key of a random stream and the step: four 32-bit words, low words first.
    Stream(String),
    /// Scratch memory, from this byte on; it holds nothing between steps.
    Scratch(usize),
}

/// One kernel as CUDA C with its launch.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelSource {
    /// For people: kind and size.
    pub name: String,
    /// The `extern "C"` function. Its last part is a digest of the text: equal names, equal kernels.
    pub entry: String,
    /// The function, without the [`PRELUDE`] that it needs.
    pub body: String,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Shared memory of a block.
    pub shared_bytes: u32,
    /// What of it is dynamic, for which a launch must ask: all in kernels of groups, nothing in others.
    pub dynamic_shared_bytes: u32,
    /// What it is given.
    pub arguments: Vec<Argument>,
    /// Bytes of operands and results, each counted once.
    pub bytes_moved: u64,
    /// Elementwise operations and additions of reductions.
    pub flops: u64,
    /// Label path of the place in the model that it came from.
    pub scope: Arc<str>,
    /// Forward, backward or update.
    pub phase: Phase,
}

impl KernelSource {
    /// A complete source: the prelude and this one kernel.
    pub fn text(&self) -> String {
        format!("{PRELUDE}\n{}", self.body)
    }
}

/// What one step of a program is on a device.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Kernels, one after another.
    Kernels(Vec<KernelSource>),
    /// A matrix product for a library. Where it has no call for the layout, it is a kernel.
    Product(LibraryProduct),
    /// The same, and the kernels of its epilogue, which the library does not do.
    Apart(LibraryProduct, Vec<KernelSource>),
    /// A copy from one buffer to another.
    Copy(BufferId, BufferId),
}

/// A program's steps, printed.
#[derive(Clone, Debug, Default)]
pub struct Printed {
    /// One entry a step of the program. Of a group that is fused the first has all kernels.
    pub steps: Vec<Work>,
    /// Steps of groups that are fused.
    pub groups: Vec<Range<usize>>,
    /// Scratch memory that the kernels need; steps share it.
    pub scratch_bytes: usize,
    /// Elements of the arena that the kernels need.
    pub arena_len: usize,
}

/// What becomes of a program's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Steps run one after the other.
    Steps,
    /// A group is one kernel, or two, where a block finds this much shared memory.
    Fused {
        /// The most that a block may ask for on the device.
        shared_bytes: u32,
    },
}

impl Default for Groups {
    /// Fused for an A100 (CUDA C++ Programming Guide, compute capability 8.0); later devices for data centers
    /// have more.
    fn default() -> Self {
        Groups::Fused {
            shared_bytes: 163 << 10,
        }
    }
}

impl Printed {
    fn kernels_of(&mut self, kernels: Kernels) {
        let scratch = kernels.scratch * size_of::<f32>();
        self.scratch_bytes = self.scratch_bytes.max(scratch);
        self.steps.push(Work::Kernels(kernels.kernels));
    }

    /// Every kernel, in order of execution.
    pub fn kernels(&self) -> impl Iterator<Item = &KernelSource> {
        self.steps.iter().flat_map(|step| match step {
            Work::Kernels(kernels) | Work::Apart(_, kernels) => &kernels[..],
            _ => &[],
        })
    }

    /// Makes sure of scratch memory of this many elements.
    fn need(&mut self, scratch: usize) {
        self.scratch_bytes = self.scratch_bytes.max(scratch * size_of::<f32>());
    }

    /// Every matrix product of the library, in order of execution.
    pub fn products(&self) -> impl Iterator<Item = &LibraryProduct> {
        self.steps.iter().filter_map(|step| match step {
            Work::Product(product) | Work::Apart(product, _) => Some(product),
            _ => None,
        })
    }
}

/// Prints a program with groups fused as by default, for a library that does every epilogue that it can be
/// given.
pub fn print(program: &Program) -> Printed {
    print_with(program, Groups::default())
}

/// Prints a program for a library that does every epilogue that it can be given.
pub fn print_with(program: &Program, groups: Groups) -> Printed {
    print_for(program, groups, |_| true)
}

/// Prints a program; `does` tells whether the library does a product with its epilogue.
pub fn print_for(
    program: &Program,
    groups: Groups,
    mut does: impl FnMut(&LibraryProduct) -> bool,
) -> Printed {
    let times = program.kernel_times();
    let mut printed = Printed::default();
    // Local buffers of groups need room only where a group is run step by step.
    let mut stored = program.groups.is_empty();
    for (number, (step, time)) in program.steps.iter().zip(times).enumerate() {
        if printed.groups.last().is_some_and(|g| g.contains(&number)) {
            printed.steps.push(Work::Kernels(vec![]));
            continue;
        }
        let group = program.groups.iter().find(|g| g.steps.start == number);
        if let Some(group) = group {
            match fused(program, group, groups) {
                Some(kernels) => {
                    printed.groups.push(group.steps.clone());
                    printed.kernels_of(kernels);
                    continue;
                }
                None => stored = true,
            }
        }
        let about = About {
            buffers: &program.buffers,
            scope: step.scope.clone(),
            phase: step.phase,
            bytes: time.bytes,
        };
        let kernels = match &step.kernel {
            Kernel::Gemm { gemm, a, b, c, .. } => {
                let wanted = wanted(&step.kernel);
                let kernels_of = |epilogue| {
                    let cols = match epilogue {
                        Epilogue::Bias(_) => gemm.n.size,
                        Epilogue::Sums(_) => gemm.m.size,
                    };
                    epilogue::print(epilogue, *a, *c, cols, &about)
                };
                match library::library(gemm, [*a, *b, *c], wanted) {
                    Some(mut product) => {
                        product.storage = product.buffers.map(|id| about.storage(id));
                        product.epilogue = product.epilogue.filter(|_| does(&product));
                        let missing = wanted.filter(|_| product.epilogue.is_none());
                        let work = match missing.map(kernels_of) {
                            Some(apart) => {
                                printed.need(apart.scratch);
                                Work::Apart(product, apart.kernels)
                            }
                            None => Work::Product(product),
                        };
                        printed.steps.push(work);
                        continue;
                    }
                    None => {
                        let mut kernels = Kernels {
                            kernels: vec![product::product(gemm, [*a, *b, *c], wanted, &about)],
                            scratch: 0,
                        };
                        if let Some(sums @ Epilogue::Sums(_)) = wanted {
                            let apart = kernels_of(sums);
                            kernels.kernels.extend(apart.kernels);
                            kernels.scratch = apart.scratch;
                        }
                        kernels
                    }
                }
            }
            Kernel::Copy { from, to } => {
                printed.steps.push(Work::Copy(*from, *to));
                continue;
            }
            Kernel::Row(kernel) => row::print(kernel, &about),
            Kernel::Uniform { stream, out } => index::uniform(stream, *out, &about),
            Kernel::Gather { .. } => index::gather(&step.kernel, &about),
            Kernel::ScatterAdd { .. } => index::scatter(&step.kernel, &about),
        };
        printed.kernels_of(kernels);
    }
    printed.arena_len = match stored {
        true => program.arena_len,
        false => program.arena_len_in_blocks,
    };
    printed
}

/// What a product is to do beside multiplying. The compiler gives it one such thing at most.
fn wanted(kernel: &Kernel) -> Option<Epilogue> {
    match kernel {
        Kernel::Gemm { bias, sums, .. } => {
            let sums = sums.map(Epilogue::Sums);
            bias.map(Epilogue::Bias).or(sums)
        }
        _ => None,
    }
}

/// The kernels of a group, if it is to be fused and can be.
fn fused(program: &Program, group: &Group, groups: Groups) -> Option<Kernels> {
    let Groups::Fused { shared_bytes } = groups else {
        return None;
    };
    let last = program.steps.get(group.steps.clone())?.last()?;
    let about = About {
        buffers: &program.buffers,
        scope: last.scope.clone(),
        phase: last.phase,
        bytes: 0,
    };
    group::print(program, group, &about, shared_bytes)
}

/// What a kernel's printer knows of its surroundings.
pub(crate) struct About<'a> {
    pub buffers: &'a [Buffer],
    pub scope: Arc<str>,
    pub phase: Phase,
    pub bytes: u64,
}

/// What a step became: kernels, and the elements of scratch memory between them.
pub(crate) struct Kernels {
    pub kernels: Vec<KernelSource>,
    pub scratch: usize,
}

/// The launch of a kernel in the making.
pub(crate) struct Launch {
    /// First part of the function's name.
    pub kind: &'static str,
    /// Last part of the readable name: the size.
    pub size: String,
    /// Blocks; flattened to one dimension.
    pub blocks: usize,
    /// Threads of a block.
    pub threads: usize,
    pub shared_bytes: usize,
    pub flops: u64,
}

impl About<'_> {
    /// The type of indices: 32 bits where every element of every buffer can be numbered with them.
    pub fn index_type(&self, buffers: impl Iterator<Item = BufferId>, grid: usize) -> &'static str {
        let longest = buffers
            .filter_map(|b| self.buffers.get(b))
            .map(|b| b.len)
            .fold(grid, usize::max);
        // Some room: the last position of a loop lies beyond the last element.
        match longest < (1 << 31) - (1 << 20) {
            true => "int",
            false => "long long",
        }
    }

    /// How the numbers of a buffer are stored. What lies behind the buffers of the program is scratch memory.
    pub fn storage(&self, id: BufferId) -> Storage {
        self.buffers.get(id).map_or(Storage::F32, |b| b.storage)
    }

    /// The C type of a buffer's numbers.
    pub fn type_of(&self, id: BufferId) -> &'static str {
        match self.storage(id) {
            Storage::F32 => "float",
            Storage::Bf16 => "bf16",
        }
    }

    /// An element of a buffer that has this C name, as a number.
    pub fn read(&self, id: BufferId, name: &str, index: &str) -> String {
        match self.storage(id) {
            Storage::F32 => format!("{name}[{index}]"),
            Storage::Bf16 => format!("wide({name}[{index}])"),
        }
    }

    /// The statement that writes an element.
    pub fn write(&self, id: BufferId, name: &str, index: &str, value: &str) -> String {
        match self.storage(id) {
            Storage::F32 => format!("{name}[{index}] = {value};"),
            Storage::Bf16 => format!("put({name} + {index}, {value});"),
        }
    }

    /// Puts a kernel together. `body` is the function's body; parameters are C declarations.
    pub fn source(
        &self,
        launch: &Launch,
        parameters: &[(String, Argument)],
        body: &str,
        bytes: u64,
    ) -> KernelSource {
        let bounds = launch.threads.to_string();
        self.bounded(launch, &bounds, parameters, body, bytes)
    }

    /// As [`About::source`], with the kernel's `__launch_bounds__`.
    pub fn bounded(
        &self,
        launch: &Launch,
        bounds: &str,
        parameters: &[(String, Argument)],
        body: &str,
        bytes: u64,
    ) -> KernelSource {
        let declared: Vec<&str> = parameters.iter().map(|p| p.0.as_str()).collect();
        let text = |entry: &str| {
            format!(
                "// {} {}\nextern \"C\" __global__ void __launch_bounds__({bounds}) {entry}(\n    {}) {{\n{body}}}\n",
                launch.kind,
                launch.size,
                declared.join(",\n    "),
            )
        };
        let digest = Sha256::digest(text(""));
        let digest: String = digest[..5].iter().map(|b| format!("{b:02x}")).collect();
        let entry = format!("{}_{digest}", launch.kind);
        KernelSource {
            name: format!("{} {}", launch.kind, launch.size),
            body: text(&entry),
            entry,
            grid: [launch.blocks as u32, 1, 1],
            block: [launch.threads as u32, 1, 1],
            shared_bytes: launch.shared_bytes as u32,
            dynamic_shared_bytes: 0,
            arguments: parameters.iter().map(|p| p.1.clone()).collect(),
            bytes_moved: bytes,
            flops: launch.flops,
            scope: self.scope.clone(),
            phase: self.phase,
        }
    }
}

/// A number as C spells it.
pub(crate) fn literal(value: f32) -> String {
    if value.is_finite() {
        format!("{value:?}f")
    } else {
        format!("__uint_as_float(0x{:08x}u)", value.to_bits())
    }
}
