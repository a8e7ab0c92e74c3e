//! `cuLaunchKernel*`, `cuOccupancy*`.
#![allow(missing_docs, clippy::missing_safety_doc, clippy::too_many_arguments)]

use crate::driver::{out, with_context};
use crate::emulator::Dim;
use crate::launch::{blocks_per_multiprocessor, opt_in_shared, Shape};
use crate::refuse;
use std::ffi::c_void;

#[no_mangle]
pub unsafe extern "C" fn cuLaunchKernel(
    function: u64,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared: u32,
    stream: u64,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> i32 {
    with_context("cuLaunchKernel", |cx| {
        if !extra.is_null() {
            return Err(refuse!(NOT_SUPPORTED, "arguments in `extra`"));
        }
        let grid = Dim {
            x: grid_x,
            y: grid_y,
            z: grid_z,
        };
        let block = Dim {
            x: block_x,
            y: block_y,
            z: block_z,
        };
        // SAFETY: the caller's promise.
        unsafe {
            cx.launch(
                function,
                Shape {
                    grid,
                    block,
                    shared,
                },
                stream,
                params,
            )
        }
    })
}

/// Blocks that wait for each other across the grid would have to run at once; here one runs after the
/// other.
#[no_mangle]
pub unsafe extern "C" fn cuLaunchCooperativeKernel(
    _function: u64,
    _grid_x: u32,
    _grid_y: u32,
    _grid_z: u32,
    _block_x: u32,
    _block_y: u32,
    _block_z: u32,
    _shared: u32,
    _stream: u64,
    _params: *mut *mut c_void,
) -> i32 {
    with_context("cuLaunchCooperativeKernel", |_| {
        Err(refuse!(
            NOT_SUPPORTED,
            "cooperative launches are not part of the software device"
        ))
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: *mut i32,
    function: u64,
    threads: i32,
    shared: usize,
) -> i32 {
    unsafe {
        cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, shared, 0)
    }
}

/// From threads and shared memory alone; there are no registers.
#[no_mangle]
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: *mut i32,
    function: u64,
    threads: i32,
    shared: usize,
    _flags: u32,
) -> i32 {
    with_context("cuOccupancyMaxActiveBlocksPerMultiprocessor", |cx| unsafe {
        let found = cx.functions.get(function)?;
        let fixed = cx.modules.get(found.module)?.static_shared();
        if threads <= 0 {
            return Err(refuse!(INVALID_VALUE, "{threads} threads"));
        }
        let fits =
            blocks_per_multiprocessor(cx.settings.arch, threads as u32, fixed + shared as u64);
        *out(blocks, "numBlocks")? = fits as i32;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuOccupancyMaxPotentialBlockSize(
    grid: *mut i32,
    block: *mut i32,
    function: u64,
    shared_of: Option<unsafe extern "C" fn(i32) -> usize>,
    shared: usize,
    limit: i32,
) -> i32 {
    unsafe {
        cuOccupancyMaxPotentialBlockSizeWithFlags(
            grid, block, function, shared_of, shared, limit, 0,
        )
    }
}

#[no_mangle]
pub unsafe extern "C" fn cuOccupancyMaxPotentialBlockSizeWithFlags(
    grid: *mut i32,
    block: *mut i32,
    function: u64,
    shared_of: Option<unsafe extern "C" fn(i32) -> usize>,
    shared: usize,
    limit: i32,
    _flags: u32,
) -> i32 {
    with_context("cuOccupancyMaxPotentialBlockSize", |cx| unsafe {
        let found = cx.functions.get(function)?;
        let fixed = cx.modules.get(found.module)?.static_shared();
        let most = match limit {
            0 => found.max_threads,
            limit => found.max_threads.min(limit.max(1) as u32),
        };
        let mut best = (0, 0, 0);
        for threads in (32..=most).step_by(32) {
            let dynamic = shared_of.map_or(shared, |of| of(threads as i32));
            let fits = blocks_per_multiprocessor(cx.settings.arch, threads, fixed + dynamic as u64);
            best = best.max((fits * threads, threads, fits));
        }
        *out(block, "blockSize")? = best.1 as i32;
        // The device has 4 multiprocessors.
        *out(grid, "minGridSize")? = best.2 as i32 * 4;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuOccupancyAvailableDynamicSMemPerBlock(
    bytes: *mut usize,
    function: u64,
    blocks: i32,
    _threads: i32,
) -> i32 {
    with_context("cuOccupancyAvailableDynamicSMemPerBlock", |cx| unsafe {
        let found = cx.functions.get(function)?;
        let fixed = cx.modules.get(found.module)?.static_shared();
        let all = u64::from(opt_in_shared(cx.settings.arch) + 1024);
        let each = all / u64::try_from(blocks.max(1)).unwrap_or(1);
        *out(bytes, "dynamicSmemSize")? = each.saturating_sub(1024 + fixed) as usize;
        Ok(())
    })
}
