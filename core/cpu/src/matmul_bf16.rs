//! Matrix products with bfloat16 operands on the thread pool.
//!
//! Owns: who packs and who multiplies. The right operand is packed once, by all threads together; each
//! part of the result packs the rows that it needs. Many small products (attention) are dealt out whole.
//! Must not know: how pairs are packed or multiplied ([`crate::gemm::pairs`]).

use crate::bf16::element;
use crate::gemm::{
    collides,
    pack::Block,
    pairs::{self, Tile, TILE},
    SCRATCH,
};
use crate::matmul::offsets;
use crate::memory::Shared;
use crate::pool::Pool;
use crate::vector::Isa;
use ablate_compiler::ir::{Gemm, Level};
use ablate_compiler::program::LONGEST_ROUNDED_SUM;

/// Pairs of summed positions of a block.
const DEPTH: usize = LONGEST_ROUNDED_SUM / 2;
/// Rows of a packed block of the left operand: a multiple of the tile's.
const ROWS: usize = 96;
/// Parts for each thread.
const PARTS: usize = 4;

/// How a product is computed.
#[derive(Clone, Debug, PartialEq)]
pub enum Cut {
    /// Whole batches, each packed by the thread that multiplies it.
    Batches(Gemm),
    /// Parts of the result, the right operand packed before.
    Parts {
        /// The product.
        gemm: Gemm,
        /// Rows and columns of a part.
        part: [usize; 2],
    },
}

fn padded(gemm: &Gemm) -> [usize; 2] {
    [
        gemm.m.size.next_multiple_of(TILE[0]),
        gemm.n.size.next_multiple_of(TILE[1]),
    ]
}

/// Whether a thread can pack and multiply a batch by itself. Longer sums are cut into blocks, which must
/// not depend on the number of threads.
fn fits(gemm: &Gemm) -> bool {
    let [rows, cols] = padded(gemm);
    let packed = (rows.min(ROWS) + cols) * pairs::pairs(gemm.k.size);
    packed <= SCRATCH && gemm.k.size <= 2 * DEPTH
}

/// Rows and columns exchanged.
pub fn swapped(gemm: &Gemm) -> Gemm {
    let swap = |l: &Level| Level {
        a: l.b,
        b: l.a,
        ..*l
    };
    Gemm {
        batch: gemm.batch.iter().map(swap).collect(),
        m: swap(&gemm.n),
        n: swap(&gemm.m),
        k: swap(&gemm.k),
        offset: [gemm.offset[1], gemm.offset[0]],
    }
}

impl Cut {
    /// A cut for so many threads, and whether left and right operand are exchanged.
    pub fn new(gemm: &Gemm, threads: usize) -> (Cut, bool) {
        let exchanged = gemm.n.c != 1 && gemm.m.c == 1 && gemm.n.size > 1;
        let gemm = match exchanged {
            true => swapped(gemm),
            false => gemm.clone(),
        };
        let batches: usize = gemm.batch.iter().map(|l| l.size).product();
        let small = gemm.flops() < 1e6;
        if fits(&gemm) && (batches >= 2 * threads || small) {
            return (Cut::Batches(gemm), exchanged);
        }
        let wanted = (threads * PARTS).div_ceil(batches);
        let by_rows = (gemm.m.size / ROWS).clamp(1, wanted);
        let least = threads.div_ceil(by_rows);
        let by_cols = wanted
            .div_ceil(by_rows)
            .clamp(1, (gemm.n.size / 256).max(least));
        let part = [
            gemm.m.size.div_ceil(by_rows).next_multiple_of(TILE[0]),
            gemm.n.size.div_ceil(by_cols).next_multiple_of(TILE[1]),
        ];
        (Cut::Parts { gemm, part }, exchanged)
    }

    /// Whether [`batch`] can run the product's batches.
    pub fn divisible(&self) -> bool {
        match self {
            Cut::Batches(_) => true,
            Cut::Parts { gemm, .. } => fits(gemm),
        }
    }

    fn gemm(&self) -> &Gemm {
        match self {
            Cut::Batches(gemm) | Cut::Parts { gemm, .. } => gemm,
        }
    }

    /// Words of the packed right operand.
    pub fn shared_len(&self) -> usize {
        match self {
            Cut::Batches(_) => 0,
            Cut::Parts { gemm, .. } => {
                let batches: usize = gemm.batch.iter().map(|l| l.size).product();
                batches * padded(gemm)[1] * pairs::pairs(gemm.k.size)
            }
        }
    }
}

/// One batch of a product.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    gemm: &'a Gemm,
    /// Left operand, right operand, result.
    start: [*mut f32; 3],
    half: [bool; 3],
}

/// The buffers of a product: left operand, right operand, result.
#[derive(Clone, Copy)]
pub struct Buffers {
    /// First element of each.
    pub start: [Shared; 3],
    /// Which of them hold bfloat16; a result may if the sum is at most [`LONGEST_ROUNDED_SUM`] long.
    pub half: [bool; 3],
}

impl<'a> Batch<'a> {
    /// Batch number `batch`.
    pub fn new(gemm: &'a Gemm, batch: usize, Buffers { start, half }: Buffers) -> Self {
        let offsets = offsets(&gemm.batch, batch);
        let at = |i: usize| {
            let offset = gemm.offset.get(i).copied().unwrap_or(0);
            element(start[i].0, half[i], offset + offsets[i])
        };
        Batch {
            gemm,
            start: [at(0), at(1), at(2)],
            half,
        }
    }

    /// Element `(0, 0)` of the result.
    pub fn result(&self) -> *mut f32 {
        self.start[2]
    }

    fn element(&self, buffer: usize, index: isize) -> *const f32 {
        element(self.start[buffer], self.half[buffer], index)
    }

    /// Rows of the left operand.
    pub fn left(&self, row: usize, size: usize, k: (usize, usize)) -> Block {
        let (m, step) = (self.gemm.m.a, self.gemm.k.a);
        Block {
            start: self.element(0, row as isize * m + k.0 as isize * step),
            stride: m,
            step,
            size,
            k: k.1,
        }
    }

    /// Columns of the right operand.
    pub fn right(&self, col: usize, size: usize, k: (usize, usize)) -> Block {
        let (n, step) = (self.gemm.n.b, self.gemm.k.b);
        Block {
            start: self.element(1, col as isize * n + k.0 as isize * step),
            stride: n,
            step,
            size,
            k: k.1,
        }
    }

    /// Rows of the left operand for the tiles, and the bytes from row to row if they are read where they
    /// lie: pairs of bfloat16 that are neighbours need no packing.
    ///
    /// # Safety
    /// As [`run`]; `to` is valid for the packed rows.
    unsafe fn packed(
        &self,
        isa: Isa,
        rows: (usize, usize),
        k: (usize, usize),
        to: *mut u32,
    ) -> (*const u32, usize) {
        let block = self.left(rows.0, rows.1, k);
        let bytes = usize::try_from(2 * block.stride).unwrap_or(0);
        let neighbours = block.step == 1 && block.k.is_multiple_of(2) && bytes > 0;
        if self.half[0] && neighbours && !collides(block.stride, TILE[0], 2) {
            return (block.start.cast(), bytes);
        }
        // SAFETY: the caller's promise.
        unsafe { pairs::pack(isa, block, self.half[0], TILE[0], to) };
        (to, 0)
    }

    /// All tiles of packed rows and columns.
    ///
    /// # Safety
    /// As [`run`].
    unsafe fn tiles(&self, isa: Isa, rows: (usize, usize), cols: (usize, usize), packed: Packed) {
        let [row, col] = [self.gemm.m.c, self.gemm.n.c];
        for panel in (0..cols.1).step_by(TILE[1]) {
            for first in (0..rows.1).step_by(TILE[0]) {
                let at = (rows.0 + first) as isize * row + (cols.0 + panel) as isize * col;
                let tile = Tile {
                    pairs: packed.pairs,
                    a: match packed.a_row {
                        0 => packed.a.wrapping_add(first * packed.pairs),
                        bytes => packed.a.wrapping_byte_add(first * bytes),
                    },
                    a_row: packed.a_row,
                    b: packed.b.wrapping_add(panel * packed.pairs),
                    c: element(self.start[2], self.half[2], at),
                    half: self.half[2],
                    c_strides: [row, if self.gemm.n.size == 1 { 1 } else { col }],
                    rows: (rows.1 - first).min(TILE[0]),
                    cols: (cols.1 - panel).min(TILE[1]),
                    add: packed.add,
                };
                // SAFETY: the caller's promise.
                unsafe { pairs::tile(isa, &tile) };
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Packed {
    pairs: usize,
    a: *const u32,
    /// As in [`Tile`].
    a_row: usize,
    b: *const u32,
    add: bool,
}

/// Blocks of the sum: first position and number of positions.
fn blocks(k: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..k)
        .step_by(2 * DEPTH)
        .map(move |from| (from, (k - from).min(2 * DEPTH)))
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
    match cut {
        Cut::Batches(gemm) => {
            let batches: usize = gemm.batch.iter().map(|l| l.size).product();
            let chunks = batches.min(pool.threads() * PARTS);
            let chunks = if gemm.flops() < 1e5 { 1 } else { chunks };
            pool.each(chunks, |chunk| {
                for batch in batches * chunk / chunks..batches * (chunk + 1) / chunks {
                    let scratch = scratch[pool.index()];
                    // SAFETY: the caller's promise.
                    unsafe { self::batch(isa, scratch, cut, batch, buffers) };
                }
            });
        }
        Cut::Parts { gemm, part } => {
            let batches: usize = gemm.batch.iter().map(|l| l.size).product();
            let (m, n, k) = (gemm.m.size, gemm.n.size, gemm.k.size);
            let [_, wide] = padded(gemm);
            let all = wide * pairs::pairs(k);
            let right = |batch: usize, from: usize, col: usize| {
                let depth = (k - from).min(2 * DEPTH);
                let at = batch * all + from / 2 * wide + col * pairs::pairs(depth);
                shared.at(at)
            };
            // Eight panels at a time.
            let step = 8 * TILE[1];
            let columns = n.div_ceil(step);
            let depths = k.div_ceil(2 * DEPTH);
            pool.each(batches * columns * depths, |chunk| {
                let (batch, rest) = (chunk / (columns * depths), chunk % (columns * depths));
                let (from, col) = (rest / columns * 2 * DEPTH, rest % columns * step);
                let part = Batch::new(gemm, batch, buffers);
                let depth = (k - from).min(2 * DEPTH);
                let block = part.right(col, (n - col).min(step), (from, depth));
                // SAFETY: the caller's promise; every chunk has a place of its own.
                unsafe {
                    let to = right(batch, from, col).0.cast();
                    pairs::pack(isa, block, part.half[1], TILE[1], to);
                }
            });
            let (by_rows, by_cols) = (m.div_ceil(part[0]), n.div_ceil(part[1]));
            pool.each(batches * by_rows * by_cols, |chunk| {
                let (number, rest) = (chunk / (by_rows * by_cols), chunk % (by_rows * by_cols));
                let (row, col) = (rest % by_rows * part[0], rest / by_rows * part[1]);
                let batch = Batch::new(gemm, number, buffers);
                let left = scratch[pool.index()].0.cast::<u32>();
                let cols = (col, (n - col).min(part[1]));
                for (from, depth) in blocks(k) {
                    for first in (row..m.min(row + part[0])).step_by(ROWS) {
                        let rows = (first, (m.min(row + part[0]) - first).min(ROWS));
                        // SAFETY: the caller's promise; parts of the result are disjoint.
                        unsafe {
                            let (a, a_row) = batch.packed(isa, rows, (from, depth), left);
                            let packed = Packed {
                                pairs: pairs::pairs(depth),
                                a,
                                a_row,
                                b: right(number, from, col).0.cast(),
                                add: from > 0,
                            };
                            batch.tiles(isa, rows, cols, packed);
                        }
                    }
                }
            });
        }
    }
}

/// One batch of a product that is [`Cut::divisible`], on this thread, with the bits of [`run`]. The right
/// operand is packed once, the left one block by block, so that its words are still in cache when they are
/// multiplied.
///
/// # Safety
/// As [`run`].
pub unsafe fn batch(isa: Isa, scratch: Shared, cut: &Cut, batch: usize, buffers: Buffers) {
    let gemm = cut.gemm();
    let batch = Batch::new(gemm, batch, buffers);
    let (m, n, k) = (gemm.m.size, gemm.n.size, gemm.k.size);
    let right = scratch.0.cast::<u32>();
    let left = right.wrapping_add(padded(gemm)[1] * pairs::pairs(k));
    // SAFETY: the caller's promise; what is packed fits.
    unsafe {
        let block = batch.right(0, n, (0, k));
        pairs::pack(isa, block, batch.half[1], TILE[1], right);
        for first in (0..m).step_by(ROWS) {
            let rows = (first, (m - first).min(ROWS));
            let (a, a_row) = batch.packed(isa, rows, (0, k), left);
            let packed = Packed {
                pairs: pairs::pairs(k),
                a,
                a_row,
                b: right,
                add: false,
            };
            batch.tiles(isa, rows, (0, n), packed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bf16::{round, widen};
    use crate::memory::Memory;

    fn filled(count: usize, name: &str) -> Memory {
        let mut memory = Memory::new(count);
        let mut reader = ablate_random::Stream::new(5, name).reader();
        let values = memory.as_mut_slice().iter_mut();
        values.for_each(|x| *x = reader.normal() as f32);
        memory
    }

    /// The numbers as bfloat16, in a buffer of their own.
    fn rounded(from: &Memory) -> Memory {
        let memory = Memory::new(from.len());
        for (i, x) in from.as_slice().iter().enumerate() {
            // SAFETY: half as long as the buffer.
            unsafe { *memory.pointer().cast::<u16>().add(i) = round(*x) };
        }
        memory
    }

    /// The f64 product of the rounded operands.
    fn exact(gemm: &Gemm, batch: usize, a: &[f32], b: &[f32], m: usize, n: usize) -> f64 {
        let [oa, ob, _] = offsets(&gemm.batch, batch);
        let number = |x: f32| f64::from(widen(round(x)));
        (0..gemm.k.size as isize)
            .map(|k| {
                let at = oa + m as isize * gemm.m.a + k * gemm.k.a;
                let bt = ob + n as isize * gemm.n.b + k * gemm.k.b;
                number(a[at as usize]) * number(b[bt as usize])
            })
            .sum()
    }

    #[test]
    fn products_of_rounded_operands_agree_with_f64() {
        for (batches, m, n, k) in [
            (1, 1, 1, 1),
            (1, 130, 70, 1700),
            (1, 13, 1, 9),
            (1, 1, 40, 8),
            (3, 40, 33, 31),
            // Dealt out by batches on one thread and by parts on two, if the sum were short.
            (3, 16, 33, 1700),
            (20, 16, 24, 10),
            (1, 200, 500, 64),
        ] {
            let (a, b) = (filled(batches * m * k, "a"), filled(batches * n * k, "b"));
            for (a_rows, b_rows, c_rows) in [
                (true, true, true),
                (false, false, true),
                (true, false, false),
            ] {
                let two = |rows: bool, i: usize| if rows { (k, 1) } else { (1, i) };
                let ((ma, ka), (nb, kb)) = (two(a_rows, m), two(b_rows, n));
                let (mc, nc) = if c_rows { (n, 1) } else { (1, m) };
                let level = |size: usize, a: usize, b: usize, c: usize| Level {
                    size,
                    a: a as isize,
                    b: b as isize,
                    c: c as isize,
                };
                let gemm = Gemm {
                    batch: vec![level(batches, m * k, n * k, m * n)],
                    m: level(m, ma, 0, mc),
                    n: level(n, 0, nb, nc),
                    k: level(k, ka, kb, 0),
                    offset: [0, 0],
                };
                for (isa, half) in Isa::available()
                    .into_iter()
                    .flat_map(|isa| [(isa, false), (isa, true)])
                    .filter(|(_, half)| !half || k <= LONGEST_ROUNDED_SUM)
                {
                    let mut bits: Option<Vec<u32>> = None;
                    for threads in [1, 2] {
                        let pool = Pool::new(threads).expect("threads");
                        let (cut, exchanged) = Cut::new(&gemm, threads);
                        let scratch: Vec<Memory> =
                            (0..threads).map(|_| Memory::new(SCRATCH)).collect();
                        let scratch: Vec<Shared> =
                            scratch.iter().map(|m| Shared(m.pointer())).collect();
                        let shared = Memory::new(cut.shared_len());
                        let c = Memory::new(batches * m * n);
                        let (a16, b16) = (rounded(&a), rounded(&b));
                        let (left, right) = if half { (&a16, &b16) } else { (&a, &b) };
                        let mut start = [left, right, &c].map(|m| Shared(m.pointer()));
                        if exchanged {
                            start.swap(0, 1);
                        }
                        let buffers = Buffers {
                            start,
                            half: [half; 3],
                        };
                        let shared = Shared(shared.pointer());
                        // SAFETY: every buffer is as long as the strides reach.
                        pool.enter(|| unsafe { run(&pool, isa, &scratch, shared, &cut, buffers) });
                        let number = |at: usize| match half {
                            // SAFETY: the buffer is long enough for single precision.
                            true => widen(unsafe { *c.pointer().cast::<u16>().add(at) }),
                            false => c.as_slice()[at],
                        };
                        let count = batches * m * n;
                        let found: Vec<u32> = (0..count).map(|at| number(at).to_bits()).collect();
                        let first = bits.get_or_insert_with(|| found.clone());
                        assert!(
                            *first == found,
                            "{isa:?} {m} {n} {k}: other bits with 2 threads"
                        );
                        for batch in 0..batches {
                            for row in 0..m {
                                for col in 0..n {
                                    let at = batch * m * n + row * mc + col * nc;
                                    let expected =
                                        exact(&gemm, batch, a.as_slice(), b.as_slice(), row, col);
                                    let off = (f64::from(number(at)) - expected).abs();
                                    // The sum's rounding, and half a unit of the stored result's.
                                    let stored = if half { expected.abs() / 256.0 } else { 0.0 };
                                    let bound = 8e-6 * (k as f64).sqrt() + stored;
                                    assert!(
                                        off < bound,
                                        "{isa:?} {half} {m} {n} {k} at {row} {col}: {off:e}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
