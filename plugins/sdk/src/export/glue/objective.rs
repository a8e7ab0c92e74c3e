//! The C functions of an objective.

use ablate_abi::{
    needs, read_sized, BatchContext, BatchView, Declarations, FeatureSpec, GraphContext,
    ObjectiveApi, ObjectiveSetup, OBJECTIVE_API,
};

use super::*;
use crate::graph::GraphBuilder;
use crate::{Batch, Objective, ObjectiveGraph, Setup};

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
                let bit = |needed: bool, bit: u32| if needed { bit } else { 0 };
                put(
                    out,
                    bit(plugin.needs_sentence_pairs(), needs::SENTENCE_PAIRS)
                        | bit(plugin.needs_ordered_pairs(), needs::ORDERED_PAIRS),
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
    unsafe extern "C" fn check<T: Objective>(
        i: *mut c_void,
        setup: *const ObjectiveSetup,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, _| {
                let setup = read_sized(setup)
                    .map_err(|e| Error::Other(format!("the setup cannot be read: {e:?}")))?;
                plugin.check(&Setup {
                    objectives: texts(setup.objectives, setup.objective_count)?,
                    index: setup.index as usize,
                    hidden_dropout: setup.hidden_dropout,
                    attention_dropout: setup.attention_dropout,
                    sequence_length: setup.sequence_length as usize,
                    vocabulary: match setup.vocabulary.is_null() {
                        true => None,
                        false => Some(texts(setup.vocabulary, setup.vocab_size as usize)?),
                    },
                })
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
        check: Some(check::<T>),
    }
}

/// The texts of an array of the host.
///
/// # Safety
/// `pointer` is null or has `count` views that are valid for `'a`.
unsafe fn texts<'a>(pointer: *const Str, count: usize) -> Result<Vec<&'a str>> {
    // SAFETY: the caller's promise.
    unsafe { slice(pointer, count) }
        .iter()
        // SAFETY: as above.
        .map(|view| unsafe { view.get() })
        .map(|text| text.ok_or_else(|| Error::Other("a name is not UTF-8 text".into())))
        .collect()
}
