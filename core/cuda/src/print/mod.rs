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
mod fold;
mod index;
mod library;
mod prelude;
mod product;
mod row;
mod shape;

pub use library::LibraryProduct;
pub use prelude::PRELUDE;

use ablate_compiler::program::{Buffer, BufferId, Kernel, Program, Storage};
use ablate_graph::ir::Phase;
use sha2::{Digest, Sha256};
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
    /// Static shared memory of a block; there is no dynamic one.
    pub shared_bytes: u32,
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
    /// A copy from one buffer to another.
    Copy(BufferId, BufferId),
}

/// A program's steps, printed.
#[derive(Clone, Debug, Default)]
pub struct Printed {
    /// One entry a step of the program.
    pub steps: Vec<Work>,
    /// Scratch memory that the kernels need; steps share it.
    pub scratch_bytes: usize,
}

impl Printed {
    /// Every kernel, in order of execution.
    pub fn kernels(&self) -> impl Iterator<Item = &KernelSource> {
        self.steps.iter().flat_map(|step| match step {
            Work::Kernels(kernels) => &kernels[..],
            _ => &[],
        })
    }
}

/// Prints a program.
pub fn print(program: &Program) -> Printed {
    let times = program.kernel_times();
    let mut printed = Printed::default();
    for (step, time) in program.steps.iter().zip(times) {
        let about = About {
            buffers: &program.buffers,
            scope: step.scope.clone(),
            phase: step.phase,
            bytes: time.bytes,
        };
        let kernels = match &step.kernel {
            Kernel::Gemm { gemm, a, b, c } => match library::library(gemm, [*a, *b, *c]) {
                Some(mut product) => {
                    product.storage = product.buffers.map(|id| about.storage(id));
                    printed.steps.push(Work::Product(product));
                    continue;
                }
                None => Kernels {
                    kernels: vec![product::product(gemm, [*a, *b, *c], &about)],
                    scratch: 0,
                },
            },
            Kernel::Copy { from, to } => {
                printed.steps.push(Work::Copy(*from, *to));
                continue;
            }
            Kernel::Row(kernel) => row::print(kernel, &about),
            Kernel::Uniform { stream, out } => index::uniform(stream, *out, &about),
            Kernel::Gather { .. } => index::gather(&step.kernel, &about),
            Kernel::ScatterAdd { .. } => index::scatter(&step.kernel, &about),
        };
        let scratch = kernels.scratch * size_of::<f32>();
        printed.scratch_bytes = printed.scratch_bytes.max(scratch);
        printed.steps.push(Work::Kernels(kernels.kernels));
    }
    printed
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
        let declared: Vec<&str> = parameters.iter().map(|p| p.0.as_str()).collect();
        let text = |entry: &str| {
            format!(
                "// {} {}\nextern \"C\" __global__ void __launch_bounds__({}) {entry}(\n    {}) {{\n{body}}}\n",
                launch.kind,
                launch.size,
                launch.threads,
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
