//! `cuGraph*`: graphs come from captures.
#![allow(missing_docs, clippy::missing_safety_doc)]

use crate::driver::{out, tidying, with_context};
use crate::refuse;

#[no_mangle]
pub unsafe extern "C" fn cuGraphInstantiateWithFlags(
    exec: *mut u64,
    graph: u64,
    flags: u64,
) -> i32 {
    with_context("cuGraphInstantiateWithFlags", |cx| unsafe {
        let to = out(exec, "phGraphExec")?;
        // Launches from the device (4) exclude freeing memory at a launch (1).
        if flags > 15 || flags & 5 == 5 {
            return Err(refuse!(INVALID_VALUE, "flags {flags:#x}"));
        }
        let graph = cx.graphs.get(graph)?.clone();
        *to = cx.execs.insert(graph);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuGraphLaunch(exec: u64, stream: u64) -> i32 {
    with_context("cuGraphLaunch", |cx| cx.launch_graph(exec, stream))
}

#[no_mangle]
pub unsafe extern "C" fn cuGraphUpload(exec: u64, stream: u64) -> i32 {
    with_context("cuGraphUpload", |cx| {
        cx.stream_id(stream)?;
        cx.execs.get(exec).map(|_| ())
    })
}

/// Counts the nodes; the array of nodes must be null, for nodes have no handles here.
#[no_mangle]
pub unsafe extern "C" fn cuGraphGetNodes(graph: u64, nodes: *mut u64, count: *mut usize) -> i32 {
    with_context("cuGraphGetNodes", |cx| unsafe {
        if !nodes.is_null() {
            return Err(refuse!(NOT_SUPPORTED, "nodes can only be counted"));
        }
        *out(count, "numNodes")? = cx.graphs.get(graph)?.nodes.len();
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuGraphDestroy(graph: u64) -> i32 {
    tidying("cuGraphDestroy", |cx| cx.graphs.remove(graph).map(drop))
}

#[no_mangle]
pub unsafe extern "C" fn cuGraphExecDestroy(exec: u64) -> i32 {
    tidying("cuGraphExecDestroy", |cx| cx.execs.remove(exec).map(drop))
}
