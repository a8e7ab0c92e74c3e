//! Optimizers: how a gradient changes a parameter.

use std::ffi::c_void;

use crate::{Declarations, GraphContext, Host, SizeGated, Status, Str, Tensor};

/// Extension id of [`OptimizerApi`].
pub const OPTIMIZER_API: &str = "ablate.optimizer/1";

/// A tensor that the optimizer keeps for a parameter from step to step.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SlotSpec {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Number of dimensions, at most [`MAX_RANK`](crate::MAX_RANK).
    pub rank: u32,
    /// Name, unique within the optimizer: `exp_avg`.
    pub name: Str,
    /// `rank` sizes.
    pub dims: *const u64,
    /// Value of every element before the first step.
    pub initial: f64,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for SlotSpec {
    const MIN_SIZE: usize = 40;
}

/// What is known of a parameter before any graph. The host's, valid until the call returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ParameterInfo {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// One of [`role`](crate::role): its group.
    pub role: u32,
    /// Name in Hugging Face's form, for messages and special cases.
    pub name: Str,
    /// `rank` sizes.
    pub dims: *const u64,
    /// Number of dimensions.
    pub rank: u32,
    /// 1 where weight decay applies to this parameter, else 0 (biases, layer norms).
    pub decay: u32,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for ParameterInfo {
    const MIN_SIZE: usize = 40;
}

/// One parameter as the graph hook sees it. The host's, as its arrays; valid until `update` returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UpdateInput {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Which of the update graphs is built, from 0; see [`OptimizerApi::variant`].
    pub variant: u32,
    /// Name, group, shape and decay.
    pub info: *const ParameterInfo,
    /// The parameter before the step.
    pub parameter: Tensor,
    /// Gradient of the cumulative loss, clipped, of the parameter's shape.
    pub gradient: Tensor,
    /// Slots before the step, in the order of their declaration.
    pub slots: *const Tensor,
    /// Number of slots.
    pub slot_count: usize,
    /// The step's scalars `[]`, in the order of their declaration.
    pub scalars: *const Tensor,
    /// Number of scalars.
    pub scalar_count: usize,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for UpdateInput {
    const MIN_SIZE: usize = 64;
}

/// Where the graph hook puts its results. The host's, as its array; the plugin writes it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UpdateOutput {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// The parameter after the step, of its shape.
    pub parameter: Tensor,
    /// Room for the slots after the step, as many and in the order as in [`UpdateInput::slots`].
    pub slots: *mut Tensor,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for UpdateOutput {
    const MIN_SIZE: usize = 24;
}

/// Functions of an optimizer. An instance belongs to one trial; what it remembers from step to step
/// lives in slots, not in the instance, so a checkpoint has it all.
///
/// *One thread at a time.*
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OptimizerApi {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// As [`ObjectiveApi::create`](crate::ObjectiveApi::create).
    pub create: Option<
        unsafe extern "C" fn(host: *const Host, config: Str, instance: *mut *mut c_void) -> Status,
    >,
    /// Frees the instance; the last call that it gets.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// The learning rate of the configuration, which the schedule scales.
    pub base_learning_rate:
        Option<unsafe extern "C" fn(instance: *mut c_void, rate: *mut f64) -> Status>,
    /// Declares the slots of a parameter by [`DeclareApi::slot`](crate::DeclareApi::slot). Parameters
    /// of different roles or shapes may have different slots.
    pub slots: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            parameter: *const ParameterInfo,
            into: *mut Declarations,
        ) -> Status,
    >,
    /// Declares the names of the step's scalars by [`DeclareApi::scalar`](crate::DeclareApi::scalar).
    pub scalar_names:
        Option<unsafe extern "C" fn(instance: *mut c_void, into: *mut Declarations) -> Status>,
    /// Host hook, every step: writes the `count` scalars of step `step` (from 1) at the scheduled
    /// `learning_rate`, computed in double precision.
    pub scalars: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            step: u64,
            learning_rate: f64,
            values: *mut f64,
            count: usize,
        ) -> Status,
    >,
    /// Graph hook, once for each parameter: builds the new parameter and slots.
    pub update: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            cx: *mut GraphContext,
            input: *const UpdateInput,
            output: *mut UpdateOutput,
        ) -> Status,
    >,
    /// How many different update graphs there are; asked once, after `create`. May be null: then one.
    /// With several, `update` is called for each parameter and each of them, and a step runs one.
    pub variants: Option<unsafe extern "C" fn(instance: *mut c_void, count: *mut u32) -> Status>,
    /// Host hook, every step: writes which of the update graphs step `step` (from 1) runs, so that work
    /// that only some steps do costs the others nothing. The same step, the same graph: nothing of it is
    /// saved. May be null where `variants` is.
    pub variant:
        Option<unsafe extern "C" fn(instance: *mut c_void, step: u64, variant: *mut u32) -> Status>,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for OptimizerApi {
    const MIN_SIZE: usize = 80;
}
