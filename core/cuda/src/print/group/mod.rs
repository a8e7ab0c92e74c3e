//! A group of steps as one kernel, or two: attention without a matrix of scores in memory.
//!
//! A block has a tile of one block of the group, some rows by all columns, in shared memory: products make it, row
//! kernels work on it, products sum it up along its rows (`rows`). What is summed along columns, the gradients of
//! keys and values, would be partial results there. A second kernel has tiles of some columns instead, goes through
//! all rows in their order, makes the tile again for each piece of them, and keeps the sums in registers
//! (`columns`). Its rows are not whole, so it reads what the first has reduced. No number goes to memory that is one
//! a row and column, none is added by two blocks. The division of the backward in two is that of Dao,
//! "FlashAttention-2: faster attention with better parallelism and work partitioning", 2023; here rows are whole, so
//! that a maximum is known before it is used and any row kernel will do.
//!
//! Owns: which groups that fits, and the shapes of the kernels. Must not know: BERT.

mod columns;
mod make;
mod plan;
mod prune;
mod rows;
mod sum;
mod writer;

use super::row::flops;
use super::{About, Argument, KernelSource, Kernels, Launch};
use ablate_compiler::program::{Group, Instr, Program};
use plan::{Part, Plan};
use std::collections::{BTreeMap, BTreeSet};
use writer::Writer;

/// Prints a group, if it is of the kind and a block's part fits the shared memory of a block.
pub fn print(
    program: &Program,
    group: &Group,
    about: &About,
    shared_bytes: u32,
) -> Option<Kernels> {
    let plan = Plan::new(program, group)?;
    let divided = prune::divide(&plan, program.buffers.len());
    let mut kernels = vec![];
    if !divided.by_rows.is_empty() {
        let parts = &divided.by_rows;
        kernels.push(rows::print(&plan, parts, about, shared_bytes)?);
    }
    if !divided.by_columns.is_empty() {
        let parts = &divided.by_columns;
        kernels.push(columns::print(&plan, parts, about, shared_bytes)?);
    }
    Some(Kernels {
        kernels,
        scratch: divided.scratch,
    })
}

/// Places of the tiles that some parts use, from 0 on.
fn places(plan: &Plan, parts: &[Part]) -> BTreeMap<usize, usize> {
    let mut used = BTreeSet::new();
    for part in parts {
        match part {
            Part::Make(make) => used.insert(plan.tiles[&make.tile]),
            Part::AlongRows(sum) | Part::AlongColumns(sum) => used.insert(plan.tiles[&sum.tile]),
            Part::Rows(kernel) => {
                let stored = kernel.stores.iter().map(|s| s.buffer);
                used.extend(stored.filter_map(|b| plan.tiles.get(&b)));
                continue;
            }
        };
    }
    used.into_iter().enumerate().map(|(i, p)| (p, i)).collect()
}

/// The tiles by name.
fn tiles(plan: &Plan, places: &BTreeMap<usize, usize>) -> BTreeMap<usize, String> {
    let tiles = plan.tiles.iter().filter_map(|(buffer, place)| {
        let number = places.get(place)?;
        Some((*buffer, format!("tile{number}")))
    });
    tiles.collect()
}

/// What stands before the parts of a kernel.
struct Frame {
    /// First part of the function's name.
    kind: &'static str,
    /// Blocks of the grid.
    blocks: usize,
    /// Threads of a block.
    threads: usize,
    /// Blocks of a multiprocessor that registers must suffice for: no more than find shared memory. Left to itself
    /// ptxas spills to have more of them.
    side_by_side: usize,
    /// Elements of one tile.
    tile: usize,
    /// Tiles.
    tiles: usize,
    /// Elements of shared memory for operands.
    staged: usize,
    /// Lines that say which part of the work a block has.
    head: Vec<String>,
}

impl Frame {
    fn shared_bytes(&self) -> usize {
        (self.tile * self.tiles + self.staged) * size_of::<f32>()
    }

    /// Puts a kernel together.
    fn finish(self, plan: &Plan, parts: &[Part], about: &About, w: Writer) -> KernelSource {
        let Plan {
            blocks, rows, cols, ..
        } = *plan;
        let known = about.buffers.len();
        let names = &w.names;
        let of_program = names.buffers.iter().copied().filter(|b| *b < known);
        let index = about.index_type(of_program, blocks * rows.max(cols));
        let mut body = format!("  typedef {index} Index;\n  extern __shared__ float4 memory[];\n");
        for i in 0..self.tiles {
            body += &match i {
                0 => "  float *const tile0 = (float *)memory;\n".to_string(),
                _ => format!("  float *const tile{i} = tile0 + {};\n", i * self.tile),
            };
        }
        body += &format!(
            "  float *const left = tile0 + {};\n",
            self.tiles * self.tile
        );
        for line in &self.head {
            body += &format!("  {line}\n");
        }
        for (k, _) in names.streams.iter().enumerate() {
            body += &format!("  const uint4 k{k} = *s{k};\n");
        }
        body += &w.out;
        let written = written(parts);
        let buffers = names.buffers.iter().enumerate().map(|(k, id)| {
            let constant = if written.contains(id) { "" } else { "const " };
            let argument = match id.checked_sub(known) {
                None => Argument::Buffer(*id),
                Some(element) => Argument::Scratch(element * size_of::<f32>()),
            };
            (format!("{constant}float *__restrict__ b{k}"), argument)
        });
        let streams = names.streams.iter().enumerate();
        let streams =
            streams.map(|(k, name)| (format!("const uint4 *s{k}"), Argument::Stream(name.clone())));
        let parameters: Vec<(String, Argument)> = buffers.chain(streams).collect();
        let launch = Launch {
            kind: self.kind,
            size: format!("{blocks}x{rows}x{cols}"),
            blocks: self.blocks,
            threads: self.threads,
            shared_bytes: self.shared_bytes(),
            flops: operations(plan, parts),
        };
        let bounds = format!("{}, {}", self.threads, self.side_by_side);
        let bytes = bytes(plan, parts, about);
        KernelSource {
            dynamic_shared_bytes: self.shared_bytes() as u32,
            ..about.bounded(&launch, &bounds, &parameters, &body, bytes)
        }
    }
}

/// Buffers that parts write.
fn written(parts: &[Part]) -> BTreeSet<usize> {
    let written = parts.iter().flat_map(|part| match part {
        Part::Make(make) => vec![make.tile],
        Part::Rows(kernel) => kernel.stores.iter().map(|s| s.buffer).collect(),
        Part::AlongRows(sum) | Part::AlongColumns(sum) => vec![sum.out.buffer],
    });
    written.collect()
}

/// Operations of all parts, those of products among them: they run on the same units.
fn operations(plan: &Plan, parts: &[Part]) -> u64 {
    let elements = (plan.blocks * plan.rows * plan.cols) as u64;
    let of = |part: &Part| match part {
        Part::Make(make) => 2 * elements * make.summed as u64,
        Part::AlongRows(sum) | Part::AlongColumns(sum) => 2 * elements * sum.width as u64,
        Part::Rows(kernel) => flops(kernel),
    };
    parts.iter().map(of).sum()
}

/// Bytes of operands and results outside of the tiles, each counted once.
fn bytes(plan: &Plan, parts: &[Part], about: &About) -> u64 {
    let rows = plan.blocks * plan.rows;
    let mut touched: BTreeMap<usize, usize> = BTreeMap::new();
    let mut touch = |buffer: usize, elements: usize| {
        if !plan.tiles.contains_key(&buffer) {
            let most = about.buffers.get(buffer).map_or(rows, |b| b.len);
            let sum = touched.entry(buffer).or_default();
            *sum = most.min(*sum + elements);
        }
    };
    for part in parts {
        match part {
            Part::Make(make) => {
                touch(make.left.buffer, plan.blocks * plan.rows * make.summed);
                touch(make.right.buffer, plan.blocks * plan.cols * make.summed);
            }
            Part::AlongRows(sum) => {
                touch(sum.right.buffer, plan.blocks * plan.cols * sum.width);
                touch(sum.out.buffer, plan.blocks * plan.rows * sum.width);
            }
            Part::AlongColumns(sum) => {
                touch(sum.right.buffer, plan.blocks * plan.rows * sum.width);
                touch(sum.out.buffer, plan.blocks * plan.cols * sum.width);
            }
            Part::Rows(kernel) => {
                for instr in &kernel.instrs {
                    if let Instr::Load { buffer, access } = instr {
                        touch(*buffer, access.touched());
                    }
                }
                for store in &kernel.stores {
                    let cols = if store.full { plan.cols } else { 1 };
                    touch(store.buffer, rows * cols);
                }
            }
        }
    }
    (touched.values().sum::<usize>() * size_of::<f32>()) as u64
}
