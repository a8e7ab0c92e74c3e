//! Products with an epilogue by cuBLASLt: a bias is added while the result is still in registers, or an operand is
//! summed while it is read.
//!
//! Owns: descriptors, layouts and the choice of an algorithm, made when a program is loaded. Must not know: how
//! products without one are computed.

use crate::device::Stream;
use crate::error::{CudaError, Named};
use crate::print::{Epilogue, LibraryProduct};
use crate::Precision;
use cudarc::cublaslt::{result as lt, sys};
use std::ffi::c_void;

static ONE: f32 = 1.0;
static ZERO: f32 = 0.0;

const REAL: sys::cudaDataType = sys::cudaDataType::CUDA_R_32F;

/// What products are equal for the library: all but where their operands lie, of which only the alignment counts.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    transposed: [bool; 2],
    sizes: [usize; 3],
    leading: [usize; 3],
    strides: [isize; 3],
    batch: usize,
    epilogue: sys::cublasLtEpilogue_t,
    /// Bytes that operands and result lie at multiples of.
    alignment: [u32; 3],
}

/// The library with what it has been asked so far.
#[derive(Debug)]
pub struct Epilogues {
    handle: sys::cublasLtHandle_t,
    compute: sys::cublasComputeType_t,
    workspace_bytes: usize,
    /// Nothing where the library does not do it.
    plans: Vec<(Shape, Option<Plan>)>,
}

/// A product that the library has an algorithm for.
#[derive(Debug)]
struct Plan {
    desc: sys::cublasLtMatmulDesc_t,
    /// Of the operands and the result.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    workspace_bytes: usize,
}

/// Memory and order of a product's work.
pub struct Queue<'a> {
    /// Where it is queued.
    pub stream: &'a Stream,
    /// Memory that the library may write to, as long as [`Epilogues::new`] was told.
    pub workspace: u64,
}

impl Epilogues {
    /// Opens the library. The device must be current, and [`crate::libraries::check_light`] have succeeded.
    ///
    /// # Errors
    /// The library refuses.
    pub fn new(precision: Precision, workspace_bytes: usize) -> Result<Self, CudaError> {
        use sys::cublasComputeType_t as Compute;
        Ok(Epilogues {
            handle: lt::create_handle().call("cublasLtCreate")?,
            compute: match precision {
                Precision::F32 => Compute::CUBLAS_COMPUTE_32F,
                Precision::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
                Precision::Bf16 => Compute::CUBLAS_COMPUTE_32F_FAST_16BF,
            },
            workspace_bytes,
            plans: vec![],
        })
    }

    /// The number of the plan for a product whose matrices lie at multiples of these bytes; nothing where the
    /// library does not do it. Then the epilogue is kernels.
    pub fn plan(&mut self, product: &LibraryProduct, alignment: [u32; 3]) -> Option<usize> {
        let epilogue = match product.epilogue? {
            Epilogue::Bias(_) => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            Epilogue::Sums(_) => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BGRADB,
        };
        if product.is_listed() {
            return None;
        }
        let shape = Shape {
            transposed: product.transposed,
            sizes: product.sizes,
            leading: product.leading,
            strides: product.strides,
            batch: product.batch,
            epilogue,
            alignment,
        };
        let known = self.plans.iter().position(|(other, _)| *other == shape);
        let number = known.unwrap_or_else(|| {
            let plan = self.choose(&shape);
            if let Err(reason) = &plan {
                tracing::debug!(%reason, ?shape, "cuBLASLt does no such epilogue");
            }
            self.plans.push((shape, plan.ok()));
            self.plans.len() - 1
        });
        self.plans[number].1.is_some().then_some(number)
    }

    fn choose(&self, shape: &Shape) -> Result<Plan, CudaError> {
        let desc = lt::create_matmul_desc(self.compute, REAL).call("cublasLtMatmulDescCreate")?;
        // From here on dropping the plan destroys what has been made.
        let mut plan = Plan {
            desc,
            layouts: [std::ptr::null_mut(); 3],
            algorithm: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
            workspace_bytes: 0,
        };
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let [a, b] = shape.transposed.map(i32::from);
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &a)?;
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &b)?;
        plan.set(
            Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
            &(shape.epilogue as u32),
        )?;
        // The heuristic asks for some pointer. Where the vector is, each call says.
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &256u64)?;
        let [m, n, k] = shape.sizes;
        let stored = |transposed, rows, columns| match transposed {
            true => (columns, rows),
            false => (rows, columns),
        };
        let matrices = [
            stored(shape.transposed[0], m, k),
            stored(shape.transposed[1], k, n),
            (m, n),
        ];
        for (i, (rows, columns)) in matrices.into_iter().enumerate() {
            let leading = shape.leading[i] as i64;
            plan.layouts[i] = lt::create_matrix_layout(REAL, rows as u64, columns as u64, leading)
                .call("cublasLtMatrixLayoutCreate")?;
            use sys::cublasLtMatrixLayoutAttribute_t as Attribute;
            let count = Attribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
            let stride = Attribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
            plan.set_layout(i, count, &(shape.batch as i32))?;
            plan.set_layout(i, stride, &(shape.strides[i] as i64))?;
        }
        let found = self.ask(&plan, shape.alignment)?;
        plan.algorithm = found.algo;
        plan.workspace_bytes = found.workspaceSize;
        Ok(plan)
    }

    /// The library's first choice of an algorithm.
    fn ask(
        &self,
        plan: &Plan,
        alignment: [u32; 3],
    ) -> Result<sys::cublasLtMatmulHeuristicResult_t, CudaError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = lt::create_matmul_pref().call("cublasLtMatmulPreferenceCreate")?;
        let set = |attribute, value: *const c_void, bytes| {
            // SAFETY: as many bytes as the value has; the library copies them.
            unsafe { lt::set_matmul_pref_attribute(preference, attribute, value, bytes) }
                .call("cublasLtMatmulPreferenceSetAttribute")
        };
        let [a, b, c] = alignment;
        let alignments = [
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c),
        ];
        let bytes = self.workspace_bytes;
        let room = Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        let mut ready = set(room, (&raw const bytes).cast(), size_of::<usize>());
        for (attribute, value) in &alignments {
            ready =
                ready.and_then(|()| set(*attribute, (&raw const *value).cast(), size_of::<u32>()));
        }
        let [a, b, c] = plan.layouts;
        // SAFETY: all of them were created just now; the preference is destroyed once.
        unsafe {
            let found = ready.and_then(|()| {
                lt::get_matmul_algo_heuristic(self.handle, plan.desc, a, b, c, c, preference)
                    .call("cublasLtMatmulAlgoGetHeuristic")
            });
            let _ = lt::destroy_matmul_pref(preference);
            found
        }
    }

    /// Queues a planned product: the addresses are those of the operands' first elements, the result's, and that
    /// of the epilogue's vector.
    ///
    /// # Errors
    /// The library refuses.
    ///
    /// # Safety
    /// What lies there is what was planned for, and lives until the stream has come past.
    pub unsafe fn run(
        &self,
        number: usize,
        [a, b, c]: [u64; 3],
        vector: u64,
        queue: &Queue,
    ) -> Result<(), CudaError> {
        let Some(plan) = self.plans.get(number).and_then(|(_, plan)| plan.as_ref()) else {
            return Err(CudaError::Call {
                call: "cublasLtMatmul",
                status: format!("product {number} was never planned"),
            });
        };
        let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
        plan.set(attribute, &vector)?;
        let [of_a, of_b, of_c] = plan.layouts;
        // SAFETY: the caller's promise; descriptors live as long as this does. With a factor of zero the library
        // does not read C.
        unsafe {
            lt::matmul(
                self.handle,
                plan.desc,
                (&raw const ONE).cast(),
                (&raw const ZERO).cast(),
                a as *const _,
                of_a,
                b as *const _,
                of_b,
                c as *const _,
                of_c,
                c as *mut _,
                of_c,
                &plan.algorithm,
                queue.workspace as *mut _,
                plan.workspace_bytes,
                queue.stream.0.cast(),
            )
        }
        .call("cublasLtMatmul")
    }
}

impl Plan {
    fn set<T: Copy>(
        &self,
        attribute: sys::cublasLtMatmulDescAttributes_t,
        value: &T,
    ) -> Result<(), CudaError> {
        let from = (&raw const *value).cast();
        // SAFETY: as many bytes as the value has; the library copies them.
        unsafe { lt::set_matmul_desc_attribute(self.desc, attribute, from, size_of::<T>()) }
            .call("cublasLtMatmulDescSetAttribute")
    }

    fn set_layout<T: Copy>(
        &self,
        layout: usize,
        attribute: sys::cublasLtMatrixLayoutAttribute_t,
        value: &T,
    ) -> Result<(), CudaError> {
        let (layout, from) = (self.layouts[layout], (&raw const *value).cast());
        // SAFETY: as many bytes as the value has; the library copies them.
        unsafe { lt::set_matrix_layout_attribute(layout, attribute, from, size_of::<T>()) }
            .call("cublasLtMatrixLayoutSetAttribute")
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
            // SAFETY: created once; queued work goes on without it.
            let _ = unsafe { lt::destroy_matrix_layout(layout) };
        }
        // SAFETY: as above.
        let _ = unsafe { lt::destroy_matmul_desc(self.desc) };
    }
}

impl Drop for Epilogues {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: created once; the session has waited for all work.
        let _ = unsafe { lt::destroy_handle(self.handle) };
    }
}
