//! The C functions of an optimizer.

use ablate_abi::{
    read_sized, Declarations, GraphContext, OptimizerApi, SlotSpec, UpdateInput, UpdateOutput,
    OPTIMIZER_API,
};

use super::*;
use crate::graph::{widen, GraphBuilder, Tensor};
use crate::{Optimizer, Parameter, ParameterInfo, Role};

/// Marks the kind.
pub struct AnOptimizer;

impl<T: Optimizer> Offered<AnOptimizer> for T {
    const NAME: &'static str = T::NAME;
    const DESCRIPTION: &'static str = T::DESCRIPTION;
    const ID: &'static str = OPTIMIZER_API;
    type Config = T::Config;
    type Table = OptimizerApi;
    const TABLE: OptimizerApi = table::<T>();
}

/// What the host says of a parameter.
///
/// # Safety
/// `source` is null or as the ABI says, for `'a`.
unsafe fn info<'a>(source: *const ablate_abi::ParameterInfo) -> Result<ParameterInfo<'a>> {
    // SAFETY: the caller's promise.
    unsafe {
        let info = read_sized(source)
            .map_err(|e| Error::Other(format!("the parameter cannot be read: {e:?}")))?;
        Ok(ParameterInfo {
            name: info.name.get().unwrap_or("?"),
            role: Role::from_code(info.role),
            shape: slice(info.dims, info.rank as usize)
                .iter()
                .map(|d| *d as usize)
                .collect(),
            decays: info.decay != 0,
        })
    }
}

const fn table<T: Optimizer>() -> OptimizerApi {
    // SAFETY of all functions below: as in `objective_api`.
    unsafe extern "C" fn make<T: Optimizer>(
        h: *const Host,
        c: Str,
        out: *mut *mut c_void,
    ) -> Status {
        unsafe { create::<T::Config, T>(h, c, out, T::new) }
    }
    unsafe extern "C" fn rate<T: Optimizer>(i: *mut c_void, out: *mut f64) -> Status {
        unsafe { with::<T>(i, |plugin, _| put(out, plugin.base_learning_rate())) }
    }
    unsafe extern "C" fn slots<T: Optimizer>(
        i: *mut c_void,
        parameter: *const ablate_abi::ParameterInfo,
        into: *mut Declarations,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let declare = tables
                    .declare
                    .slot
                    .ok_or(Error::Unsupported("declare.slot"))?;
                for slot in plugin.slots_of(&info(parameter)?) {
                    let dims = widen(&slot.shape);
                    let spec = SlotSpec {
                        struct_size: size_of::<SlotSpec>() as u32,
                        rank: dims.len() as u32,
                        name: Str::new(slot.name),
                        dims: dims.as_ptr(),
                        initial: slot.initial,
                    };
                    tables.check(declare(into, &spec))?;
                }
                Ok(())
            })
        }
    }
    unsafe extern "C" fn scalar_names<T: Optimizer>(
        i: *mut c_void,
        into: *mut Declarations,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let declare = tables
                    .declare
                    .scalar
                    .ok_or(Error::Unsupported("declare.scalar"))?;
                for name in plugin.scalar_names() {
                    tables.check(declare(into, Str::new(name)))?;
                }
                Ok(())
            })
        }
    }
    unsafe extern "C" fn scalars<T: Optimizer>(
        i: *mut c_void,
        step: u64,
        learning_rate: f64,
        values: *mut f64,
        count: usize,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, _| {
                let found = plugin.scalars(step, learning_rate)?;
                if found.len() != count {
                    return Err(Error::Other(format!(
                        "`{}` gives {} scalars where {count} were declared",
                        T::NAME,
                        found.len()
                    )));
                }
                for (at, value) in found.into_iter().enumerate() {
                    put(values.wrapping_add(at), value)?;
                }
                Ok(())
            })
        }
    }
    unsafe extern "C" fn update<T: Optimizer>(
        i: *mut c_void,
        cx: *mut GraphContext,
        input: *const UpdateInput,
        output: *mut UpdateOutput,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let input = read_sized(input)
                    .map_err(|e| Error::Other(format!("the update cannot be read: {e:?}")))?;
                let room = read_sized(output.cast_const())
                    .map_err(|e| Error::Other(format!("the results cannot be written: {e:?}")))?;
                let about = info(input.info)?;
                let updated = plugin.update(
                    &GraphBuilder { cx, tables },
                    &Parameter {
                        name: about.name,
                        role: about.role,
                        parameter: Tensor::new(input.parameter),
                        gradient: Tensor::new(input.gradient),
                        // `Tensor` is a transparent wrapper of the handle.
                        slots: slice(input.slots.cast(), input.slot_count),
                        scalars: slice(input.scalars.cast(), input.scalar_count),
                        decays: about.decays,
                        variant: input.variant,
                    },
                )?;
                if updated.slots.len() != input.slot_count {
                    return Err(Error::Other(format!(
                        "`{}` returns {} slots where {} were declared",
                        T::NAME,
                        updated.slots.len(),
                        input.slot_count
                    )));
                }
                for (at, slot) in updated.slots.iter().enumerate() {
                    put(room.slots.wrapping_add(at), slot.handle)?;
                }
                put(&raw mut (*output).parameter, updated.parameter.handle)
            })
        }
    }
    unsafe extern "C" fn variants<T: Optimizer>(i: *mut c_void, out: *mut u32) -> Status {
        unsafe { with::<T>(i, |plugin, _| put(out, plugin.variants())) }
    }
    unsafe extern "C" fn variant<T: Optimizer>(i: *mut c_void, step: u64, out: *mut u32) -> Status {
        unsafe { with::<T>(i, |plugin, _| put(out, plugin.variant(step))) }
    }
    OptimizerApi {
        struct_size: size_of::<OptimizerApi>() as u32,
        reserved: 0,
        create: Some(make::<T>),
        destroy: Some(destroy::<T>),
        base_learning_rate: Some(rate::<T>),
        slots: Some(slots::<T>),
        scalar_names: Some(scalar_names::<T>),
        scalars: Some(scalars::<T>),
        update: Some(update::<T>),
        variants: Some(variants::<T>),
        variant: Some(variant::<T>),
    }
}
