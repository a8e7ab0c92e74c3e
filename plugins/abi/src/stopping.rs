//! Stopping rules: when a trial ends.

use std::ffi::c_void;

use crate::{Host, Sink, SizeGated, Status, Str};

/// Extension id of [`StoppingApi`].
pub const STOPPING_API: &str = "ablate.stopping-rule/1";

/// Values of [`Event::split`].
pub mod split {
    /// A training step: metrics of the step's own batch.
    pub const TRAIN: u32 = 0;
    /// An evaluation on the validation split.
    pub const VALIDATION: u32 = 1;
}

/// Values that [`StoppingApi::observe`] decides on.
pub mod decision {
    /// Train on.
    pub const CONTINUE: u32 = 0;
    /// End the trial: it is finished.
    pub const STOP: u32 = 1;
    /// End the trial: it failed, the message is a diagnosis.
    pub const ABORT: u32 = 2;
}

/// A number with a name. An element of arrays, so it never grows within a major version.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Metric {
    /// `loss`, `grad_norm`, `mlm_loss`, `mlm_accuracy`, ...
    pub name: Str,
    /// The value; losses in nats per unit. May be NaN or infinite.
    pub value: f64,
}

/// The values of one metric so far, oldest first, the present one included. An element of arrays, so
/// it never grows within a major version.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Series {
    /// Name of the metric.
    pub name: Str,
    /// One of [`split`].
    pub split: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// `count` steps, ascending.
    pub steps: *const u64,
    /// `count` values.
    pub values: *const f64,
    /// Number of values, at most [`StoppingApi::history_length`].
    pub count: usize,
}

/// What a rule observes. The host's, as its arrays; valid until `observe` returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Event {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// One of [`split`].
    pub split: u32,
    /// Optimizer steps done, from 1.
    pub step: u64,
    /// Tokens seen in training so far, without padding.
    pub tokens: u64,
    /// `metric_count` metrics.
    pub metrics: *const Metric,
    /// Number of metrics.
    pub metric_count: usize,
    /// `history_count` series, one for each metric of each split, where the rule asked for them by
    /// [`StoppingApi::history_length`].
    pub history: *const Series,
    /// Number of series.
    pub history_count: usize,
    /// Floating-point operations of the matrix products in training so far.
    pub flops: f64,
    /// Seconds since the trial began, by the wall clock: the one number that another run does not
    /// repeat. Evaluations and runs before a resume are counted.
    pub seconds: f64,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for Event {
    const MIN_SIZE: usize = 72;
}

/// Functions of a stopping rule. An instance belongs to one trial.
///
/// *One thread at a time.*
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StoppingApi {
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
    /// Called after every step and every evaluation. Writes one of [`decision`]; for anything but
    /// `CONTINUE` it says why, in one sentence, to `reason` ([`Host::write`]). After `STOP` it may be
    /// called again: a recipe can ask that several rules hold at the same time.
    pub observe: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            event: *const Event,
            decision: *mut u32,
            reason: *mut Sink,
        ) -> Status,
    >,
    /// Writes all that `load` needs to go on as if never interrupted, by [`Host::write`]. The bytes are
    /// the plugin's own matter and should begin with a version. The history is saved by the host.
    pub save: Option<unsafe extern "C" fn(instance: *mut c_void, state: *mut Sink) -> Status>,
    /// Takes over what `save` of the same plugin (or an older version of it) wrote, into an instance
    /// of the same configuration. The bytes are the host's, valid until the call returns.
    pub load: Option<
        unsafe extern "C" fn(instance: *mut c_void, state: *const u8, length: usize) -> Status,
    >,
    /// How many values of each metric the host shall keep for [`Event::history`]; asked once, after
    /// `create`. May be null: then none.
    pub history_length:
        Option<unsafe extern "C" fn(instance: *mut c_void, length: *mut u64) -> Status>,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for StoppingApi {
    const MIN_SIZE: usize = 56;
}
