//! From descriptors to a product: what goes together, and what the library does not do.
//!
//! Stricter than the library where that only costs a clear message: an algorithm must come from a
//! heuristic for the very same descriptors, and pointers must be as aligned as the preference said.

use super::{MatmulDesc, MatrixLayout, Preference};
use crate::blas::epilogue::{Activation, Bias, Epilogue};
use crate::blas::matrix::{Layout, Matrix};
use crate::blas::product::{Product, Scale, WORKSPACE_BYTES};
use crate::blas::types::{Compute, Type};
use crate::blas::BlasRefusal;
use crate::blas_refuse;
use std::hash::{DefaultHasher, Hash, Hasher};

/// `cublasLtMatmulAlgo_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Algorithm {
    /// `b"softcuda"`, the descriptors' hash, the workspace, and the alignment of A, B, C and D.
    pub data: [u64; 8],
}

const MAGIC: u64 = u64::from_le_bytes(*b"softcuda");

/// What a product is made of.
#[derive(Clone, Copy, Debug, Hash)]
#[allow(missing_docs)]
pub struct Plan {
    pub desc: MatmulDesc,
    pub a: MatrixLayout,
    pub b: MatrixLayout,
    pub c: MatrixLayout,
    pub d: MatrixLayout,
}

/// Addresses and factors of a call.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Operands {
    pub a: u64,
    pub b: u64,
    pub c: u64,
    pub d: u64,
    pub alpha: Scale,
    pub beta: Scale,
    pub workspace: Option<(u64, u64)>,
}

fn element(number: u32, name: &str) -> Result<Type, BlasRefusal> {
    Type::new(number).ok_or_else(|| {
        blas_refuse!(
            NOT_SUPPORTED,
            "{name}: data type {number} is not computed with here"
        )
    })
}

impl MatrixLayout {
    fn matrix(&self, address: u64, name: &str) -> Result<Matrix, BlasRefusal> {
        let layout = match self.order {
            0 => Layout::Columns,
            1 => Layout::Rows,
            order => return Err(blas_refuse!(NOT_SUPPORTED, "{name}: order {order}")),
        };
        if self.plane_offset != 0 {
            return Err(blas_refuse!(NOT_SUPPORTED, "{name}: a plane offset"));
        }
        Ok(Matrix {
            address,
            element: element(self.data_type, name)?,
            rows: self.rows,
            columns: self.columns,
            leading: u64::try_from(self.leading).unwrap_or(0),
            layout,
            stride: self.batch_stride,
        })
    }

    fn operated(&self, transpose: u32, name: &str) -> Result<(u64, u64), BlasRefusal> {
        match transpose {
            0 => Ok((self.rows, self.columns)),
            1 | 2 => Ok((self.columns, self.rows)),
            _ => Err(blas_refuse!(INVALID_VALUE, "{name}: operation {transpose}")),
        }
    }
}

impl Plan {
    fn compute(&self) -> Result<Compute, BlasRefusal> {
        let types = [
            element(self.a.data_type, "A")?,
            element(self.b.data_type, "B")?,
            element(self.d.data_type, "D")?,
        ];
        let [a, b, d] = types;
        if self.desc.scale_type != 0 {
            return Err(blas_refuse!(
                NOT_SUPPORTED,
                "scale type {} (only CUDA_R_32F)",
                self.desc.scale_type
            ));
        }
        let all_f32 = types == [Type::F32; 3];
        let half = a == b && a != Type::F32 && (d == a || d == Type::F32);
        let found = match self.desc.compute {
            68 | 69 if all_f32 || half => Some(Compute::F32),
            74 if all_f32 => Some(Compute::F16),
            75 if all_f32 => Some(Compute::Bf16),
            77 if all_f32 => Some(Compute::Tf32),
            _ => None,
        };
        found.ok_or_else(|| {
            blas_refuse!(
                NOT_SUPPORTED,
                "compute type {} with A {a:?}, B {b:?} and D {d:?}",
                self.desc.compute
            )
        })
    }

    /// m, n, k and the batch's size.
    fn sizes(&self) -> Result<(u64, u64, u64, u64), BlasRefusal> {
        let desc = &self.desc;
        let (m, k) = self.a.operated(desc.transpose_a, "A")?;
        let (k_of_b, n) = self.b.operated(desc.transpose_b, "B")?;
        if k != k_of_b || (self.d.rows, self.d.columns) != (m, n) {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "op(A) is {m} x {k}, op(B) {k_of_b} x {n}, D {} x {}",
                self.d.rows,
                self.d.columns
            ));
        }
        let same = |a: &MatrixLayout, b: &MatrixLayout| {
            (a.data_type, a.order, a.rows, a.columns) == (b.data_type, b.order, b.rows, b.columns)
        };
        if !same(&self.c, &self.d) {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "C and D differ in type, order or size: {:?}, {:?}",
                self.c,
                self.d
            ));
        }
        let batch = self.d.batch_count;
        let counts = [self.a.batch_count, self.b.batch_count, self.c.batch_count];
        if batch < 1 || counts != [batch; 3] {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "batch counts of A, B, C, D: {counts:?}, {batch}"
            ));
        }
        if desc.transpose_c != 0 {
            return Err(blas_refuse!(NOT_SUPPORTED, "C transposed"));
        }
        Ok((m, n, k, batch as u64))
    }

    fn epilogue(&self, m: u64, batch: u64) -> Result<Epilogue, BlasRefusal> {
        let desc = &self.desc;
        let (activation, bias) = match desc.epilogue {
            1 => (Activation::None, Bias::None),
            2 => (Activation::Relu, Bias::None),
            4 => (Activation::None, Bias::Added),
            6 => (Activation::Relu, Bias::Added),
            32 | 160 => (Activation::Gelu, Bias::None),
            36 | 164 => (Activation::Gelu, Bias::Added),
            192 => (Activation::GeluGradient, Bias::None),
            208 => (Activation::GeluGradient, Bias::GradientOfResult),
            256 => (Activation::None, Bias::GradientOfA),
            512 => (Activation::None, Bias::GradientOfB),
            other => return Err(blas_refuse!(NOT_SUPPORTED, "epilogue {other}")),
        };
        let d = element(self.d.data_type, "D")?;
        if desc.epilogue != 1 && self.d.order != 0 {
            return Err(blas_refuse!(
                NOT_SUPPORTED,
                "epilogue {} with a row-major D",
                desc.epilogue
            ));
        }
        let mut epilogue = Epilogue {
            activation,
            bias,
            ..Epilogue::default()
        };
        let type_of = |number: i32, name: &str| match number {
            -1 => Ok(d),
            number => element(number as u32, name),
        };
        if bias != Bias::None {
            let kind = type_of(desc.bias_type, "bias")?;
            if kind != d {
                return Err(blas_refuse!(
                    NOT_SUPPORTED,
                    "a bias of {kind:?} with D of {d:?}"
                ));
            }
            if desc.bias == 0 || !desc.bias.is_multiple_of(kind.bytes()) {
                return Err(blas_refuse!(
                    INVALID_VALUE,
                    "the bias pointer is {:#x}",
                    desc.bias
                ));
            }
            if bias != Bias::Added && batch > 1 {
                return Err(blas_refuse!(NOT_SUPPORTED, "bias gradients of a batch"));
            }
            epilogue.bias_at = Some((desc.bias, kind, desc.bias_stride));
        }
        if desc.epilogue & 128 != 0 {
            let kind = type_of(desc.auxiliary_type, "auxiliary matrix")?;
            let leading = u64::try_from(desc.auxiliary_leading).unwrap_or(0);
            if kind != d {
                return Err(blas_refuse!(
                    NOT_SUPPORTED,
                    "an auxiliary matrix of {kind:?} with D of {d:?}"
                ));
            }
            if desc.auxiliary == 0 || !desc.auxiliary.is_multiple_of(16) {
                return Err(blas_refuse!(
                    INVALID_VALUE,
                    "the auxiliary pointer {:#x} must be a multiple of 16",
                    desc.auxiliary
                ));
            }
            if leading < m || leading % 8 != 0 {
                return Err(blas_refuse!(
                    INVALID_VALUE,
                    "the auxiliary leading dimension {leading} must be a multiple of 8 and at least {m}"
                ));
            }
            epilogue.auxiliary = Some((desc.auxiliary, kind, leading, desc.auxiliary_stride));
        }
        Ok(epilogue)
    }

    /// The product of a call.
    ///
    /// # Errors
    /// The parts do not go together, or the library does not do this.
    pub fn product(&self, operands: &Operands) -> Result<Product, BlasRefusal> {
        let (m, n, k, batch) = self.sizes()?;
        Ok(Product {
            a: self.a.matrix(operands.a, "A")?,
            b: self.b.matrix(operands.b, "B")?,
            c: self.c.matrix(operands.c, "C")?,
            d: self.d.matrix(operands.d, "D")?,
            transpose_a: self.desc.transpose_a != 0,
            transpose_b: self.desc.transpose_b != 0,
            m,
            n,
            k,
            batch,
            alpha: operands.alpha,
            beta: operands.beta,
            compute: self.compute()?,
            epilogue: self.epilogue(m, batch)?,
            workspace: operands.workspace,
        })
    }

    fn hash_value(&self) -> u64 {
        // Where memory lies may change between the heuristic and the call.
        let mut plan = *self;
        (plan.desc.bias, plan.desc.auxiliary) = (0, 0);
        let mut hasher = DefaultHasher::new();
        plan.hash(&mut hasher);
        hasher.finish()
    }

    /// The algorithm for these descriptors.
    ///
    /// # Errors
    /// There is none: the parts do not go together, or the library does not do this.
    pub fn heuristic(&self, preference: &Preference) -> Result<Algorithm, BlasRefusal> {
        // Addresses that any check of alignment lets pass.
        let anywhere = Operands {
            a: 1 << 40,
            b: 2 << 40,
            c: 3 << 40,
            d: 3 << 40,
            alpha: Scale::Value(1.0),
            beta: Scale::Value(0.0),
            workspace: None,
        };
        self.product(&anywhere)?.check()?;
        let workspace = match preference.workspace_bytes {
            WORKSPACE_BYTES.. => WORKSPACE_BYTES,
            _ => 0,
        };
        let needed = |alignment: u32| u64::from(alignment.min(16));
        let alignments = needed(preference.alignment_a)
            | needed(preference.alignment_b) << 8
            | needed(preference.alignment_c) << 16
            | needed(preference.alignment_d) << 24;
        Ok(Algorithm {
            data: [MAGIC, self.hash_value(), workspace, alignments, 0, 0, 0, 0],
        })
    }

    /// Checks that an algorithm fits a call.
    ///
    /// # Errors
    /// It was chosen for something else, or needs more.
    pub fn check_algorithm(
        &self,
        algorithm: &Algorithm,
        operands: &Operands,
    ) -> Result<(), BlasRefusal> {
        let [magic, hash, workspace, alignments, ..] = algorithm.data;
        if magic != MAGIC {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "the algorithm comes from no heuristic of this library"
            ));
        }
        if hash != self.hash_value() {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "the algorithm was chosen for other descriptors or layouts"
            ));
        }
        let given = operands.workspace.map_or(0, |(_, bytes)| bytes);
        if given < workspace {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "the algorithm needs {workspace} bytes of workspace, {given} were given"
            ));
        }
        let pointers = [
            ("A", operands.a),
            ("B", operands.b),
            ("C", operands.c),
            ("D", operands.d),
        ];
        for (i, (name, address)) in pointers.into_iter().enumerate() {
            let needed = alignments >> (8 * i) & 255;
            if needed > 1 && address % needed != 0 {
                return Err(blas_refuse!(
                    INVALID_VALUE,
                    "{name} at {address:#x} is not a multiple of {needed}, as the preference promised \
                     (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_{name}_BYTES)"
                ));
            }
        }
        Ok(())
    }
}
