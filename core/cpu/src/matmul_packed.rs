//! Matrix products whose operands are both packed before, on the thread pool.
//!
//! Owns: who packs and who multiplies, for operands that are split or that tile registers multiply. All
//! threads pack both operands together, each element once, then multiply parts of the result. Many small
//! products (attention) are dealt out whole. Must not know: how words are laid out
//! ([`crate::gemm::planes`]) or multiplied ([`crate::gemm::triple`], [`crate::gemm::tiles`]).
//!
//! Packing once matters here: tile registers multiply a packed element with 256 others in the time that
//! it takes to pack it.

use crate::bf16::element;
use crate::gemm::planes::{self, padded_pairs, words, Planes, Side, GROUP, PANEL};
use crate::gemm::tiles::{self, Unit};
use crate::gemm::triple::{self, Area};
use crate::gemm::SCRATCH;
use crate::matmul_bf16::{swapped, Batch, Buffers};
use crate::memory::Shared;
use crate::pool::Pool;
use crate::vector::Isa;
use ablate_compiler::ir::Gemm;
use ablate_compiler::program::LONGEST_ROUNDED_SUM;

/// Summed positions of a block; a multiple of what operands are laid out by. Longer sums are cut here
/// whatever the number of threads.
const DEPTH: usize = 512;
/// The same of a product whose result is stored as bfloat16: the whole sum, which is rounded when it is
/// complete.
const ROUNDED: usize = LONGEST_ROUNDED_SUM;
/// Rows that are multiplied with a panel before the next one: a block of them stays in the second-level
/// cache. A multiple of every tile's rows.
const ROWS: usize = 192;
/// Rows and columns of a part are multiples of this.
const STEP: usize = 32;
/// Rows or columns that are packed by one thread at a time.
const PACK: usize = 128;
/// Most parts for each thread.
const PARTS: usize = 4;
/// Cycles of a part that is worth handing to another thread.
const PART: f64 = 2e4;

/// How packed operands are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Split operands, pair by pair.
    Pairs,
    /// Operands of either kind, on tile registers.
    Tiles(Unit, Planes),
}

impl Method {
    /// What a number becomes.
    fn planes(self) -> Planes {
        match self {
            Method::Pairs => Planes::Split,
            Method::Tiles(_, planes) => planes,
        }
    }

    /// Cycles that a part of this size takes one core, roughly, packing aside. Only for comparing cuts.
    fn cycles(self, isa: Isa, [rows, cols, k]: [usize; 3]) -> f64 {
        let panels = cols.div_ceil(PANEL);
        match self {
            Method::Tiles(_, planes) => {
                // Sixteen cycles for each multiplication of tiles; writing a tile of sums takes about
                // as long as five of them.
                let products = 2 * planes.count() - 1;
                let tiles = k.div_ceil(2 * GROUP) * products + 5 * k.div_ceil(DEPTH);
                (rows.div_ceil(GROUP) * 2 * panels * tiles) as f64 * 16.0
            }
            Method::Pairs if triple::native(isa) => {
                // Two vectors of three products for each row; too few sums do not hide their latency.
                let last = rows % triple::ROWS;
                let rows = rows - last + if last == 0 { 0 } else { last.max(3) };
                (rows * panels * k.div_ceil(2)) as f64 * 6.0
            }
            // Six multiplications and additions for each pair, in vectors of sixteen or eight.
            Method::Pairs => {
                let vector = if isa == Isa::Avx512 { 16 } else { 8 };
                (rows * panels * k.div_ceil(2)) as f64 * (12 * PANEL / vector) as f64
            }
        }
    }

    /// # Safety
    /// As [`triple::run`] or [`tiles::run`].
    unsafe fn multiply(self, isa: Isa, area: &Area) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Method::Tiles(unit, planes) => tiles::run(unit, isa, planes, area),
                Method::Pairs => triple::run(isa, area),
            }
        }
    }
}

/// How a product is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    method: Method,
    gemm: Gemm,
    /// Summed positions of a block.
    depth: usize,
    /// Rows and columns of a part whose operands were packed before; none for whole batches, each
    /// packed by the thread that multiplies it.
    part: Option<[usize; 2]>,
    /// Parts into which the batches are dealt out.
    chunks: usize,
}

impl Cut {
    /// A cut for so many threads, and whether left and right operand are exchanged. `half` says that the
    /// result is stored as bfloat16, which only [`Method::Tiles`] does.
    pub fn new(method: Method, gemm: &Gemm, half: bool, isa: Isa, threads: usize) -> (Cut, bool) {
        // A result whose rows are neighbours is computed transposed.
        let exchanged = gemm.n.c != 1 && gemm.m.c == 1 && gemm.n.size > 1;
        let gemm = match exchanged {
            true => swapped(gemm),
            false => gemm.clone(),
        };
        let batches: usize = gemm.batch.iter().map(|l| l.size).product();
        let [m, n, k] = [gemm.m.size, gemm.n.size, gemm.k.size];
        let one = method.cycles(isa, [m, n, k]);
        let worth = (one * batches as f64 / PART) as usize;
        let worth = worth.clamp(1, threads * PARTS);
        let mut cut = Cut {
            method,
            gemm,
            depth: if half { ROUNDED } else { DEPTH },
            part: None,
            chunks: worth.min(batches),
        };
        let whole = cut.divisible() && (batches >= worth || worth < 2 * threads);
        if !whole {
            cut.part = Some(parts(method, isa, [m, n, k], batches, threads));
        }
        (cut, exchanged)
    }

    /// Whether [`batch`] can run the product's batches: both operands fit a thread's scratch memory.
    pub fn divisible(&self) -> bool {
        let packed = self.side_len(Side::Left) + self.side_len(Side::Right);
        packed <= SCRATCH && self.gemm.k.size <= self.depth
    }

    /// Words of both packed operands.
    pub fn shared_len(&self) -> usize {
        match self.part {
            None => 0,
            Some(_) => self.batches() * (self.side_len(Side::Left) + self.side_len(Side::Right)),
        }
    }

    fn batches(&self) -> usize {
        self.gemm.batch.iter().map(|l| l.size).product()
    }

    fn size(&self, side: Side) -> usize {
        match side {
            Side::Left => self.gemm.m.size,
            Side::Right => self.gemm.n.size,
        }
    }

    /// Words of one packed operand of one batch.
    fn side_len(&self, side: Side) -> usize {
        words(
            self.method.planes(),
            side,
            self.size(side),
            self.gemm.k.size,
        )
    }

    /// Where the words of a row (a group's first) or column (a panel's first) begin, for the block of the
    /// sum that starts with position `from`.
    fn place(&self, side: Side, batch: usize, from: usize, i: usize) -> usize {
        let before = match side {
            Side::Left => 0,
            Side::Right => self.batches() * self.side_len(Side::Left),
        };
        let depth = self.gemm.k.size.min(from + self.depth) - from;
        before
            + batch * self.side_len(side)
            + words(self.method.planes(), side, self.size(side), from)
            + i * padded_pairs(depth) * self.method.planes().count()
    }
}

/// Rows and columns of the parts that let `threads` finish first.
fn parts(
    method: Method,
    isa: Isa,
    [m, n, k]: [usize; 3],
    batches: usize,
    threads: usize,
) -> [usize; 2] {
    let wanted = (threads * PARTS).div_ceil(batches);
    let mut best = (f64::INFINITY, [m, n]);
    for by_rows in 1..=wanted {
        for by_cols in 1..=wanted / by_rows {
            let rows = m.div_ceil(by_rows).next_multiple_of(STEP);
            let cols = n.div_ceil(by_cols).next_multiple_of(STEP);
            let count = batches * m.div_ceil(rows) * n.div_ceil(cols);
            // Many parts can be dealt out evenly; few are as slow as the last.
            let rounds = if count >= 2 * threads {
                count as f64 / threads as f64 * (1.0 + 0.1 / (count / threads) as f64)
            } else {
                count.div_ceil(threads) as f64 * if threads == 1 { 1.0 } else { 1.1 }
            };
            let time = rounds * method.cycles(isa, [rows.min(m), cols.min(n), k]);
            if time < best.0 {
                best = (time, [rows, cols]);
            }
        }
    }
    best.1
}

/// Blocks of the sum: first position and number of positions.
fn blocks(k: usize, depth: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..k)
        .step_by(depth)
        .map(move |from| (from, (k - from).min(depth)))
}

/// Runs a product.
///
/// # Safety
/// The pointers, exchanged where the cut says so, are valid for everything that the strides reach, and
/// the result overlaps neither operand; each thread's scratch memory holds [`SCRATCH`] elements, and
/// `shared` [`Cut::shared_len`].
pub unsafe fn run(
    pool: &Pool,
    isa: Isa,
    scratch: &[Shared],
    shared: Shared,
    cut: &Cut,
    buffers: Buffers,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match cut.part {
            None => whole(pool, isa, scratch, cut, buffers),
            Some(part) => {
                for side in [Side::Left, Side::Right] {
                    pack(pool, isa, shared, cut, side, buffers);
                }
                multiply(pool, isa, shared, cut, part, buffers);
            }
        }
    }
}

/// Packs and multiplies batch by batch.
///
/// # Safety
/// As [`run`]; the cut says that both operands of a batch fit the scratch memory.
unsafe fn whole(pool: &Pool, isa: Isa, scratch: &[Shared], cut: &Cut, buffers: Buffers) {
    let batches = cut.batches();
    pool.each(cut.chunks, |chunk| {
        for number in batches * chunk / cut.chunks..batches * (chunk + 1) / cut.chunks {
            let scratch = scratch[pool.index()];
            // SAFETY: the caller's promise.
            unsafe { batch(isa, scratch, cut, number, buffers) };
        }
    });
}

/// One batch of a product that is [`Cut::divisible`], on this thread, with the bits of [`run`].
///
/// # Safety
/// As [`run`].
pub unsafe fn batch(isa: Isa, scratch: Shared, cut: &Cut, number: usize, buffers: Buffers) {
    let (gemm, planes) = (&cut.gemm, cut.method.planes());
    let [m, n, k] = [gemm.m.size, gemm.n.size, gemm.k.size];
    let batch = Batch::new(gemm, number, buffers);
    let left = scratch.0.cast::<u32>();
    let right = left.wrapping_add(cut.side_len(Side::Left));
    let [half_left, half_right, half] = buffers.half;
    let (rows, cols) = (batch.left(0, m, (0, k)), batch.right(0, n, (0, k)));
    // SAFETY: the caller's promise.
    unsafe {
        planes::pack(isa, planes, Side::Left, rows, half_left, left);
        planes::pack(isa, planes, Side::Right, cols, half_right, right);
        let area = Area {
            left,
            right,
            pairs: k.div_ceil(2),
            depth: padded_pairs(k),
            c: batch.result(),
            half,
            c_strides: c_strides(gemm),
            rows: m,
            cols: n,
            add: false,
        };
        cut.method.multiply(isa, &area);
    }
}

/// The stride of a single column does not matter.
fn c_strides(gemm: &Gemm) -> [isize; 2] {
    [gemm.m.c, if gemm.n.size == 1 { 1 } else { gemm.n.c }]
}

/// Packs one operand, by all threads.
///
/// # Safety
/// As [`run`].
unsafe fn pack(pool: &Pool, isa: Isa, shared: Shared, cut: &Cut, side: Side, buffers: Buffers) {
    let (size, k) = (cut.size(side), cut.gemm.k.size);
    let (pieces, depths) = (size.div_ceil(PACK), k.div_ceil(cut.depth));
    pool.each(cut.batches() * depths * pieces, |chunk| {
        let (number, rest) = (chunk / (depths * pieces), chunk % (depths * pieces));
        let (from, first) = (rest / pieces * cut.depth, rest % pieces * PACK);
        let batch = Batch::new(&cut.gemm, number, buffers);
        let (count, positions) = ((size - first).min(PACK), (from, (k - from).min(cut.depth)));
        let (block, half) = match side {
            Side::Left => (batch.left(first, count, positions), buffers.half[0]),
            Side::Right => (batch.right(first, count, positions), buffers.half[1]),
        };
        let out = shared.at(cut.place(side, number, from, first));
        let planes = cut.method.planes();
        // SAFETY: the caller's promise; every chunk has a place of its own.
        unsafe { planes::pack(isa, planes, side, block, half, out.0.cast()) };
    });
}

/// Multiplies packed operands, part by part.
///
/// # Safety
/// As [`run`]; both operands were packed.
unsafe fn multiply(
    pool: &Pool,
    isa: Isa,
    shared: Shared,
    cut: &Cut,
    part: [usize; 2],
    buffers: Buffers,
) {
    let gemm = &cut.gemm;
    let [m, n, k] = [gemm.m.size, gemm.n.size, gemm.k.size];
    let (by_rows, by_cols) = (m.div_ceil(part[0]), n.div_ceil(part[1]));
    pool.each(cut.batches() * by_rows * by_cols, |chunk| {
        let (number, rest) = (chunk / (by_rows * by_cols), chunk % (by_rows * by_cols));
        let (row, col) = (rest % by_rows * part[0], rest / by_rows * part[1]);
        let batch = Batch::new(gemm, number, buffers);
        let strides = c_strides(gemm);
        for (from, depth) in blocks(k, cut.depth) {
            for first in (row..m.min(row + part[0])).step_by(ROWS) {
                let at = first as isize * strides[0] + col as isize * strides[1];
                let words = |side, i| {
                    let at = cut.place(side, number, from, i);
                    shared.at(at).0.cast::<u32>().cast_const()
                };
                let area = Area {
                    left: words(Side::Left, first),
                    right: words(Side::Right, col),
                    pairs: depth.div_ceil(2),
                    depth: padded_pairs(depth),
                    c: element(batch.result(), buffers.half[2], at),
                    half: buffers.half[2],
                    c_strides: strides,
                    rows: (m.min(row + part[0]) - first).min(ROWS),
                    cols: (n - col).min(part[1]),
                    add: from > 0,
                };
                // SAFETY: the caller's promise; parts of the result are disjoint.
                unsafe { cut.method.multiply(isa, &area) };
            }
        }
    });
}

#[cfg(test)]
mod tests;
