//! A matrix product with everything around it: D = epilogue(alpha op(A) op(B) + beta C).
//!
//! Owns: what of a product is wrong, and how it is computed. Both cuBLAS and cuBLASLt end here.

use super::epilogue::Epilogue;
use super::kernel::multiply;
use super::matrix::{Layout, Matrix};
use super::types::{Compute, Type};
use super::BlasRefusal;
use crate::blas_refuse;
use crate::context::Context;
use crate::memory::{Turn, POISON};
use crate::status::{Fault, Status};

/// A factor that is known now, or read from the device when the product runs.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Scale {
    Value(f32),
    Device(u64),
}

/// A product of a batch of matrices.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Product {
    pub a: Matrix,
    pub b: Matrix,
    pub c: Matrix,
    pub d: Matrix,
    pub transpose_a: bool,
    pub transpose_b: bool,
    pub m: u64,
    pub n: u64,
    pub k: u64,
    pub batch: u64,
    pub alpha: Scale,
    pub beta: Scale,
    pub compute: Compute,
    pub epilogue: Epilogue,
    /// Address and bytes of memory that the library may write to.
    pub workspace: Option<(u64, u64)>,
}

/// How much of a workspace is written to, as a product might.
pub const WORKSPACE_BYTES: u64 = 64 << 10;

impl Product {
    /// What the trace calls it.
    pub fn label(&self) -> String {
        let op = |transposed| if transposed { 'T' } else { 'N' };
        format!(
            "product {}{} m {} n {} k {} batch {} {:?} x {:?} -> {:?} {:?}{}",
            op(self.transpose_a),
            op(self.transpose_b),
            self.m,
            self.n,
            self.k,
            self.batch,
            self.a.element,
            self.b.element,
            self.d.element,
            self.compute,
            self.epilogue.label()
        )
    }

    /// Checks all that can be told when the product is asked for.
    ///
    /// # Errors
    /// As cuBLAS: a leading dimension too small, a null pointer. Beyond cuBLAS, which computes
    /// something: results that overlap each other or an input.
    pub fn check(&self) -> Result<(), BlasRefusal> {
        let reads_c = !matches!(self.beta, Scale::Value(0.0));
        let matrices = [
            ("A", &self.a, true),
            ("B", &self.b, true),
            ("C", &self.c, reads_c),
            ("D", &self.d, true),
        ];
        for (name, matrix, is_used) in matrices {
            let (length, _) = matrix.runs();
            if matrix.leading < length.max(1) {
                return Err(blas_refuse!(
                    INVALID_VALUE,
                    "the leading dimension of {name} is {}, at least {} is needed ({} x {} as stored)",
                    matrix.leading,
                    length.max(1),
                    matrix.rows,
                    matrix.columns
                ));
            }
            if is_used && matrix.address == 0 {
                return Err(blas_refuse!(INVALID_VALUE, "{name} is null"));
            }
            if matrix.address % matrix.element.bytes() != 0 {
                return Err(blas_refuse!(
                    INVALID_VALUE,
                    "{name} at {:#x} is not a multiple of its element's {} bytes",
                    matrix.address,
                    matrix.element.bytes()
                ));
            }
        }
        if self.d.overlaps_itself(self.batch) {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "results of the batch overlap: the stride is {}",
                self.d.stride
            ));
        }
        for (name, input) in [("A", &self.a), ("B", &self.b)] {
            if self.d.overlaps(input, self.batch) {
                return Err(blas_refuse!(INVALID_VALUE, "the result overlaps {name}"));
            }
        }
        let in_place = Matrix { ..self.c } == self.d;
        if reads_c && !in_place && self.d.overlaps(&self.c, self.batch) {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "C and D overlap without being the same"
            ));
        }
        Ok(())
    }

    fn touch_all(&self, cx: &mut Context, turn: &Turn, reads_c: bool) -> Result<(), Fault> {
        let parts = [
            ("A", &self.a, false, true),
            ("B", &self.b, false, true),
            ("C", &self.c, false, reads_c),
            ("D", &self.d, true, true),
        ];
        for (name, matrix, write, is_used) in parts {
            if !is_used {
                continue;
            }
            let named = |mut fault: Fault| {
                fault.message = format!("{name}: {}", fault.message);
                fault
            };
            // Few calls where accesses are not tracked, one for each column where they are.
            if turn.several_streams {
                for (start, bytes) in matrix.spans(self.batch) {
                    cx.memory.touch(turn, start, bytes, write).map_err(named)?;
                }
            } else {
                let (start, end) = matrix.bounds(self.batch);
                cx.memory
                    .touch(turn, start, end - start, write)
                    .map_err(named)?;
            }
        }
        self.epilogue.touch(cx, turn, self)
    }

    /// Computes it.
    ///
    /// # Errors
    /// Something lies outside of memory, or is touched by unordered work.
    pub fn run(&self, cx: &mut Context, turn: &Turn) -> Result<(), Fault> {
        if let Some((address, bytes)) = self.workspace {
            let used = bytes.min(WORKSPACE_BYTES);
            cx.memory.touch(turn, address, used, true)?;
            // SAFETY: found to be alive just now.
            unsafe { (address as *mut u8).write_bytes(POISON, used as usize) };
        }
        let alpha = self.scale(cx, turn, self.alpha)?;
        let beta = self.scale(cx, turn, self.beta)?;
        if self.m * self.n * self.batch == 0 {
            return Ok(());
        }
        self.touch_all(cx, turn, beta != 0.0)?;
        for batch in 0..self.batch {
            // SAFETY: every element was found to be in memory just now.
            unsafe { self.run_one(batch, alpha, beta) };
        }
        Ok(())
    }

    fn scale(&self, cx: &mut Context, turn: &Turn, scale: Scale) -> Result<f32, Fault> {
        match scale {
            Scale::Value(value) => Ok(value),
            Scale::Device(address) if address % 4 != 0 => Err(Fault {
                status: Status::MISALIGNED_ADDRESS,
                message: format!("the factor at {address:#x} is not aligned"),
            }),
            Scale::Device(address) => {
                cx.memory.touch(turn, address, 4, false)?;
                // SAFETY: found to be alive just now.
                Ok(unsafe { (address as *const f32).read() })
            }
        }
    }

    /// # Safety
    /// All elements are in memory.
    unsafe fn run_one(&self, batch: u64, alpha: f32, beta: f32) {
        let (m, n, k) = (self.m as usize, self.n as usize, self.k as usize);
        // SAFETY: the caller's promise, here and below.
        let (a, b) = unsafe {
            (
                self.a.read(batch, self.transpose_a, self.compute),
                self.b.read(batch, self.transpose_b, self.compute),
            )
        };
        let mut product = multiply(&a, &b, m, n, k);
        for (place, value) in product.iter_mut().enumerate() {
            *value *= alpha;
            if beta != 0.0 {
                let (row, column) = ((place / n) as u64, (place % n) as u64);
                *value += beta * unsafe { self.c.element.load(self.c.at(batch, row, column)) };
            }
        }
        unsafe { self.epilogue.apply(self, batch, &mut product, &a, &b) };
        for (place, value) in product.iter().enumerate() {
            let (row, column) = ((place / n) as u64, (place % n) as u64);
            unsafe { self.d.element.store(self.d.at(batch, row, column), *value) };
        }
    }
}

/// A matrix of a column-major library call.
pub fn columns(
    address: u64,
    element: Type,
    rows: u64,
    columns: u64,
    leading: u64,
    stride: i64,
) -> Matrix {
    Matrix {
        address,
        element,
        rows,
        columns,
        leading,
        layout: Layout::Columns,
        stride,
    }
}
