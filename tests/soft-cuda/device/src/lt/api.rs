//! cuBLASLt's functions, as a program calls them. What each does is told by NVIDIA's cuBLAS reference.
#![allow(missing_docs, clippy::missing_safety_doc, clippy::too_many_arguments)]

use super::attributes::{get, set};
use super::plan::{Algorithm, Operands, Plan};
use super::{with_descriptors, Descriptors, MatmulDesc, MatrixLayout, Preference};
use crate::blas::product::Scale;
use crate::blas::{submit, with_blas, BlasRefusal};
use crate::blas_refuse;
use crate::status::Refusal;
use std::ffi::c_void;

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
pub struct HeuristicResult {
    algorithm: Algorithm,
    workspace_bytes: usize,
    state: i32,
    waves: f32,
    reserved: [i32; 4],
}

fn invalid(refusal: Refusal) -> BlasRefusal {
    blas_refuse!(INVALID_VALUE, "{}", refusal.message)
}

unsafe fn out<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T, BlasRefusal> {
    // SAFETY: null, or the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| blas_refuse!(INVALID_VALUE, "`{name}` is null"))
}

#[no_mangle]
pub unsafe extern "C" fn cublasLtCreate(to: *mut u64) -> i32 {
    // A context must be current, as for the library.
    let status = with_blas("cublasLtCreate", |_| Ok(()));
    if status != 0 {
        return status;
    }
    with_descriptors("cublasLtCreate", |all| unsafe {
        *out(to, "lightHandle")? = all.libraries.insert(());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasLtDestroy(library: u64) -> i32 {
    with_descriptors("cublasLtDestroy", |all| {
        all.libraries.remove(library).map_err(invalid)
    })
}

#[no_mangle]
pub extern "C" fn cublasLtGetVersion() -> usize {
    120_900
}

#[no_mangle]
pub extern "C" fn cublasLtGetCudartVersion() -> usize {
    12_090
}

#[no_mangle]
pub unsafe extern "C" fn cublasLtMatrixLayoutCreate(
    to: *mut u64,
    data_type: u32,
    rows: u64,
    columns: u64,
    leading: i64,
) -> i32 {
    with_descriptors("cublasLtMatrixLayoutCreate", |all| unsafe {
        let layout = MatrixLayout::new(data_type, rows, columns, leading);
        *out(to, "matLayout")? = all.layouts.insert(layout);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasLtMatmulDescCreate(
    to: *mut u64,
    compute: u32,
    scale_type: u32,
) -> i32 {
    with_descriptors("cublasLtMatmulDescCreate", |all| unsafe {
        *out(to, "matmulDesc")? = all.descs.insert(MatmulDesc::new(compute, scale_type));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasLtMatmulPreferenceCreate(to: *mut u64) -> i32 {
    with_descriptors("cublasLtMatmulPreferenceCreate", |all| unsafe {
        *out(to, "pref")? = all.preferences.insert(Preference::default());
        Ok(())
    })
}

/// The three calls that each kind of descriptor has.
macro_rules! descriptors {
    ($($table:ident: $destroy:ident, $set:ident, $get:ident;)*) => {$(
        #[no_mangle]
        pub unsafe extern "C" fn $destroy(handle: u64) -> i32 {
            with_descriptors(stringify!($destroy), |all| {
                all.$table.remove(handle).map(drop).map_err(invalid)
            })
        }

        #[no_mangle]
        pub unsafe extern "C" fn $set(
            handle: u64, attribute: u32, from: *const c_void, bytes: usize,
        ) -> i32 {
            with_descriptors(stringify!($set), |all| unsafe {
                let object = all.$table.get_mut(handle).map_err(invalid)?;
                set(object, attribute, from.cast(), bytes)
            })
        }

        #[no_mangle]
        pub unsafe extern "C" fn $get(
            handle: u64, attribute: u32, to: *mut c_void, bytes: usize, written: *mut usize,
        ) -> i32 {
            with_descriptors(stringify!($get), |all| unsafe {
                let object = all.$table.get_mut(handle).map_err(invalid)?;
                get(object, attribute, to.cast(), bytes)?;
                crate::driver::put(written, bytes);
                Ok(())
            })
        }
    )*};
}

descriptors! {
    layouts: cublasLtMatrixLayoutDestroy, cublasLtMatrixLayoutSetAttribute,
        cublasLtMatrixLayoutGetAttribute;
    descs: cublasLtMatmulDescDestroy, cublasLtMatmulDescSetAttribute,
        cublasLtMatmulDescGetAttribute;
    preferences: cublasLtMatmulPreferenceDestroy, cublasLtMatmulPreferenceSetAttribute,
        cublasLtMatmulPreferenceGetAttribute;
}

fn plan(
    all: &Descriptors,
    library: u64,
    desc: u64,
    layouts: [u64; 4],
) -> Result<Plan, BlasRefusal> {
    let unknown = |refusal: Refusal| blas_refuse!(NOT_INITIALIZED, "{}", refusal.message);
    all.libraries.get(library).map_err(unknown)?;
    let layout = |handle| all.layouts.get(handle).copied().map_err(invalid);
    Ok(Plan {
        desc: *all.descs.get(desc).map_err(invalid)?,
        a: layout(layouts[0])?,
        b: layout(layouts[1])?,
        c: layout(layouts[2])?,
        d: layout(layouts[3])?,
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasLtMatmulAlgoGetHeuristic(
    library: u64,
    desc: u64,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    preference: u64,
    requested: i32,
    results: *mut HeuristicResult,
    found: *mut i32,
) -> i32 {
    with_descriptors("cublasLtMatmulAlgoGetHeuristic", |all| unsafe {
        let found = out(found, "returnAlgoCount")?;
        *found = 0;
        if requested < 1 {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "{requested} algorithms were asked for"
            ));
        }
        let to = out(results, "heuristicResultsArray")?;
        let preference = *all.preferences.get(preference).map_err(invalid)?;
        let algorithm = plan(all, library, desc, [a, b, c, d])?.heuristic(&preference)?;
        *to = HeuristicResult {
            algorithm,
            workspace_bytes: algorithm.data[2] as usize,
            state: 0,
            waves: 1.0,
            reserved: [0; 4],
        };
        *found = 1;
        Ok(())
    })
}

unsafe fn factor(pointer: *const c_void, mode: u32, name: &str) -> Result<Scale, BlasRefusal> {
    match mode {
        _ if pointer.is_null() => Err(blas_refuse!(INVALID_VALUE, "`{name}` is null")),
        // SAFETY: not null; the caller's promise.
        0 => Ok(Scale::Value(unsafe {
            pointer.cast::<f32>().read_unaligned()
        })),
        1 => Ok(Scale::Device(pointer as u64)),
        _ => Err(blas_refuse!(NOT_SUPPORTED, "pointer mode {mode}")),
    }
}

#[no_mangle]
pub unsafe extern "C" fn cublasLtMatmul(
    library: u64,
    desc: u64,
    alpha: *const c_void,
    a: u64,
    a_layout: u64,
    b: u64,
    b_layout: u64,
    beta: *const c_void,
    c: u64,
    c_layout: u64,
    d: u64,
    d_layout: u64,
    algorithm: *const Algorithm,
    workspace: u64,
    workspace_bytes: usize,
    stream: u64,
) -> i32 {
    let mut planned = None;
    let status = with_descriptors("cublasLtMatmul", |all| {
        planned = Some(plan(
            all,
            library,
            desc,
            [a_layout, b_layout, c_layout, d_layout],
        )?);
        Ok(())
    });
    let Some(plan) = planned else { return status };
    with_blas("cublasLtMatmul", |cx| {
        let mode = plan.desc.pointer_mode;
        // SAFETY: the caller's promise.
        let (alpha, beta) = unsafe { (factor(alpha, mode, "alpha")?, factor(beta, mode, "beta")?) };
        let bytes = workspace_bytes as u64;
        if bytes > 0 {
            if !workspace.is_multiple_of(16) {
                return Err(blas_refuse!(
                    INVALID_VALUE,
                    "the workspace at {workspace:#x} is not a multiple of 16"
                ));
            }
            let found = cx.memory.span(workspace, bytes);
            found.map_err(|text| blas_refuse!(INVALID_VALUE, "workspace: {text}"))?;
        }
        let operands = Operands {
            a,
            b,
            c,
            d,
            alpha,
            beta,
            workspace: (bytes > 0).then_some((workspace, bytes)),
        };
        // SAFETY: null, or the caller's promise.
        if let Some(algorithm) = unsafe { algorithm.as_ref() } {
            plan.check_algorithm(algorithm, &operands)?;
        }
        submit(cx, plan.product(&operands)?, stream)
    })
}
