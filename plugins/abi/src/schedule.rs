//! Schedules: the factor on the learning rate at each step.

use std::ffi::c_void;

use crate::{Host, SizeGated, Status, Str};

/// Extension id of [`ScheduleApi`].
pub const SCHEDULE_API: &str = "ablate.schedule/1";

/// What a schedule may depend on. The host's, valid until `factor` returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ScheduleInput {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// The optimizer step that is about to be taken, from 1.
    pub step: u64,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for ScheduleInput {
    const MIN_SIZE: usize = 16;
}

/// Functions of a schedule. An instance belongs to one trial. It remembers nothing: its factor is a
/// function of the configuration and of [`ScheduleInput`], so that a trial goes on to the same bits.
///
/// A configuration key `total_steps` that the recipe does not write is filled with the steps of the
/// recipe's `max_steps` rule.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ScheduleApi {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// As [`ObjectiveApi::create`](crate::ObjectiveApi::create). *One thread at a time.*
    pub create: Option<
        unsafe extern "C" fn(host: *const Host, config: Str, instance: *mut *mut c_void) -> Status,
    >,
    /// Frees the instance; the last call that it gets. *One thread at a time.*
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// Writes the factor on the base learning rate, a finite number from 0 on, in double precision.
    /// *One thread at a time.* Any step may be asked for, in any order, more than once.
    pub factor: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            input: *const ScheduleInput,
            factor: *mut f64,
        ) -> Status,
    >,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for ScheduleApi {
    const MIN_SIZE: usize = 32;
}
