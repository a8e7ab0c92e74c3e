//! A tile unit in software, for machines without one.
//!
//! Owns: what the instructions do, by the pseudo-code of Intel's Software Developer's Manual, volume 2,
//! and the intrinsics guide. Must not know: products.
//!
//! It exists so that everything around the instructions is tested everywhere. It checks what the processor
//! would fault on.

use super::{Shapes, TileUnit};

/// Most rows of a register.
const ROWS: usize = 16;
/// Words of a row.
const WORDS: usize = 16;

/// The unit.
pub struct Emulated {
    /// Shapes while configured.
    shapes: Option<Shapes>,
    tiles: [[[u32; WORDS]; ROWS]; 8],
}

impl Emulated {
    /// A unit that is not configured.
    pub fn new() -> Self {
        Emulated {
            shapes: None,
            tiles: [[[0; WORDS]; ROWS]; 8],
        }
    }

    /// Rows of a register and words of a row.
    fn shape(&self, tile: usize) -> [usize; 2] {
        // The processor raises #UD. Whoever calls promises it: the trait's safety condition.
        let shapes = self.shapes.as_ref().expect("the tile unit is configured");
        let (rows, bytes) = (shapes.rows[tile], shapes.row_bytes[tile]);
        assert!(rows > 0 && bytes > 0, "tile {tile} has no shape");
        [usize::from(rows), usize::from(bytes) / 4]
    }
}

/// Numbers too small to be normal are zero of the same sign ("denormals are zero").
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() {
        0.0f32.copysign(x)
    } else {
        x
    }
}

/// A bfloat16 number in single precision: `make_fp32`, with denormals taken for zero.
fn wide(half: u32) -> f32 {
    flushed(f32::from_bits(half << 16))
}

/// `x * y + z` with one rounding to nearest even, denormals taken for zero and results that would be
/// denormal made zero, whatever MXCSR says. A result is too small if it is so when rounded to 24 bits with
/// any exponent, as x86 decides that after rounding.
fn multiply_add(x: f32, y: f32, z: f32) -> f32 {
    let z = flushed(z);
    let sum = x.mul_add(y, z);
    if sum.abs() == f32::MIN_POSITIVE {
        // In double precision the product is exact, and the sum next to this number nearly so.
        let exact = f64::from(x) * f64::from(y) + f64::from(z);
        let tie = f64::from(f32::MIN_POSITIVE) * (1.0 - 2f64.powi(-25));
        if exact.abs() < tie {
            return 0.0f32.copysign(sum);
        }
    }
    flushed(sum)
}

/// The sum with the rules of [`multiply_add`]. Sums of normal numbers are exact where they are small.
fn add(x: f32, y: f32) -> f32 {
    flushed(flushed(x) + flushed(y))
}

impl TileUnit for Emulated {
    unsafe fn configure(&mut self, shapes: &Shapes) {
        // The processor raises #GP.
        let rest = shapes.row_bytes[8..].iter().all(|b| *b == 0);
        let rest = rest && shapes.rows[8..].iter().all(|r| *r == 0);
        let used = shapes.rows.iter().zip(&shapes.row_bytes);
        let fit = used
            .clone()
            .all(|(rows, bytes)| *rows <= 16 && *bytes <= 64 && (*rows == 0) == (*bytes == 0));
        assert!(
            shapes.palette == 1 && shapes.reserved == [0; 14] && rest && fit,
            "a configuration that ldtilecfg refuses: {shapes:?}"
        );
        self.shapes = Some(*shapes);
        self.tiles = [[[0; WORDS]; ROWS]; 8];
    }

    unsafe fn zero<const TILE: usize>(&mut self) {
        self.shape(TILE);
        self.tiles[TILE] = [[0; WORDS]; ROWS];
    }

    unsafe fn load<const TILE: usize>(&mut self, from: *const u32, stride: usize) {
        let [rows, words] = self.shape(TILE);
        // Rows and words beyond the shape become zero.
        self.tiles[TILE] = [[0; WORDS]; ROWS];
        for (row, to) in self.tiles[TILE].iter_mut().enumerate().take(rows) {
            for (word, to) in to.iter_mut().enumerate().take(words) {
                // SAFETY: the caller's promise.
                *to = unsafe { from.byte_add(row * stride).add(word).read_unaligned() };
            }
        }
    }

    unsafe fn multiply<const SUM: usize, const LEFT: usize, const RIGHT: usize>(&mut self) {
        let [[rows, columns], [left_rows, pairs], [right_rows, right_columns]] =
            [SUM, LEFT, RIGHT].map(|t| self.shape(t));
        // The processor raises #UD.
        assert!(
            SUM != LEFT && SUM != RIGHT && LEFT != RIGHT,
            "a tile is used twice"
        );
        assert!(
            rows == left_rows && columns == right_columns && pairs == right_rows,
            "shapes of tiles do not fit"
        );
        for m in 0..rows {
            // Even and odd positions are summed apart.
            let mut apart = [[0.0f32; 2]; WORDS];
            for k in 0..pairs {
                let left = self.tiles[LEFT][m][k];
                for (n, [even, odd]) in apart.iter_mut().enumerate().take(columns) {
                    let right = self.tiles[RIGHT][k][n];
                    *even = multiply_add(wide(left & 0xffff), wide(right & 0xffff), *even);
                    *odd = multiply_add(wide(left >> 16), wide(right >> 16), *odd);
                }
            }
            for (n, [even, odd]) in apart.into_iter().enumerate().take(columns) {
                let old = f32::from_bits(self.tiles[SUM][m][n]);
                self.tiles[SUM][m][n] = add(old, add(even, odd)).to_bits();
            }
            // Words beyond the shape become zero.
            self.tiles[SUM][m][columns..].fill(0);
        }
        self.tiles[SUM][rows..].fill([0; WORDS]);
    }

    unsafe fn store<const TILE: usize>(&mut self, to: *mut f32, stride: usize) {
        let [rows, words] = self.shape(TILE);
        for (row, from) in self.tiles[TILE].iter().enumerate().take(rows) {
            for (word, from) in from.iter().enumerate().take(words) {
                // SAFETY: the caller's promise.
                unsafe {
                    let to = to.byte_add(row * stride).add(word);
                    to.write_unaligned(f32::from_bits(*from));
                }
            }
        }
    }

    unsafe fn release(&mut self) {
        self.shapes = None;
        self.tiles = [[[0; WORDS]; ROWS]; 8];
    }
}
