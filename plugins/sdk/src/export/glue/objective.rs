//! The C functions of an objective.

use ablate_abi::{
    needs, read_sized, BatchContext, BatchView, Declarations, FeatureSpec, GraphContext,
    ObjectiveApi, OBJECTIVE_API,
};

use super::*;
use crate::graph::GraphBuilder;
use crate::{Batch, Objective, ObjectiveGraph};

/// Marks the kind.
pub struct AnObjective;

impl<T: Objective> Offered<AnObjective> for T {
    const NAME: &'static str = T::NAME;
    const DESCRIPTION: &'static str = T::DESCRIPTION;
    const ID: &'static str = OBJECTIVE_API;
    type Config = T::Config;
    type Table = ObjectiveApi;
    const TABLE: ObjectiveApi = table::<T>();
}

const fn table<T: Objective>() -> ObjectiveApi {
    // SAFETY of all functions below: the host keeps the ABI, so instances are ours and of type `T`,
    // pointers are writable or readable as the table's documentation says, during the call.
    unsafe extern "C" fn make<T: Objective>(
        h: *const Host,
        c: Str,
        out: *mut *mut c_void,
    ) -> Status {
        unsafe { create::<T::Config, T>(h, c, out, T::new) }
    }
    unsafe extern "C" fn weight<T: Objective>(i: *mut c_void, out: *mut f64) -> Status {
        unsafe { with::<T>(i, |plugin, _| put(out, plugin.weight())) }
    }
    unsafe extern "C" fn needs_of<T: Objective>(i: *mut c_void, out: *mut u32) -> Status {
        unsafe {
            with::<T>(i, |plugin, _| {
                put(
                    out,
                    if plugin.needs_sentence_pairs() {
                        needs::SENTENCE_PAIRS
                    } else {
                        0
                    },
                )
            })
        }
    }
    unsafe extern "C" fn features<T: Objective>(i: *mut c_void, into: *mut Declarations) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let declare = tables
                    .declare
                    .feature
                    .ok_or(Error::Unsupported("declare.feature"))?;
                for feature in plugin.features() {
                    let spec = FeatureSpec {
                        struct_size: size_of::<FeatureSpec>() as u32,
                        layout: feature.layout_code(),
                        name: Str::new(feature.name),
                        classes: feature.classes.unwrap_or(0),
                        density: feature.density.unwrap_or(0.0),
                    };
                    tables.check(declare(into, &spec))?;
                }
                Ok(())
            })
        }
    }
    unsafe extern "C" fn prepare<T: Objective>(
        i: *mut c_void,
        cx: *mut BatchContext,
        view: *const BatchView,
        units: *mut f64,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let view = read_sized(view)
                    .map_err(|e| Error::Other(format!("the batch cannot be read: {e:?}")))?;
                let mut batch = Batch { view, cx, tables };
                put(units, plugin.prepare(&mut batch)?)
            })
        }
    }
    unsafe extern "C" fn build<T: Objective>(
        i: *mut c_void,
        cx: *mut GraphContext,
        loss: *mut ablate_abi::Tensor,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let graph = ObjectiveGraph {
                    graph: GraphBuilder { cx, tables },
                };
                put(loss, plugin.build(&graph)?.handle)
            })
        }
    }
    ObjectiveApi {
        struct_size: size_of::<ObjectiveApi>() as u32,
        reserved: 0,
        create: Some(make::<T>),
        destroy: Some(destroy::<T>),
        weight: Some(weight::<T>),
        needs: Some(needs_of::<T>),
        features: Some(features::<T>),
        prepare: Some(prepare::<T>),
        build: Some(build::<T>),
    }
}
