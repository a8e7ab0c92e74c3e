//! The C ABI between Ablate and its plugins: layouts, numbers and names, and how they are read safely.
//!
//! Owns: every `#[repr(C)]` type that crosses the border, the version of the border, and the rules
//! below. Must not know: how a plugin is found, what a graph is made of, or any Rust type that has
//! no C counterpart. `include/ablate_plugin.h` is generated from these files (by `tests/header`, which
//! also holds the two together); to change it, change them and run
//! `ABLATE_UPDATE_HEADER=1 cargo test -p ablate-abi`.
//!
//! # The border in one paragraph
//!
//! A shared library exports one function, [`ENTRY_SYMBOL`]. It returns a constant [`Plugin`]
//! descriptor that lists capabilities (an objective, an optimizer, a schedule, a stopping rule, a data
//! operator), each with the string ids of the function tables that it has, such as
//! `"ablate.objective/1"`. The host asks [`Plugin::get_extension`] for the newest that it knows.
//! The other way round, the host hands every instance a [`Host`] table, from which further host
//! tables are asked for by id (`"ablate.host.graph/1"`). A plugin never computes on tensors: it
//! *builds graph nodes* through [`GraphApi`] over opaque handles, and the host differentiates, fuses
//! and runs them.
//!
//! # Versions
//!
//! This is version 1.0: [`ABI_MAJOR`] and [`ABI_MINOR`], which have nothing to do with Ablate's product
//! version. There are three ways in which the border grows, from the smallest on:
//!
//! 1. A **minor version** adds fields at the end of tables and structs, operation codes, string ids and
//!    names. Old and new work together with what both know: a reader sees what is beyond the other
//!    side's size as absent, and an operation that is not known is refused with
//!    [`status::UNSUPPORTED`]. A plugin that cannot do without says so by
//!    [`Plugin::abi_minor_needed`].
//! 2. A **new version of one table** gets a new id (`ablate.objective/2`) beside the old one. A plugin
//!    may list both, and a host may answer both.
//! 3. A **major version** changes what is here. Both sides must have the same; a host refuses any other
//!    and says which side to renew.
//!
//! # Rules that hold everywhere
//!
//! - **Growth.** Tables and structs only grow at their end, within one [`ABI_MAJOR`]. Each begins
//!   with its own size in bytes, `struct_size`; a reader takes at most that many bytes and treats the
//!   rest as absent (null), as `read_sized` does in Rust and `ABLATE_HAS` asks in C. [`ABI_MINOR`]
//!   counts the additions. Operation codes and string ids are only ever added. Who makes a struct sets
//!   `struct_size` to its size and reserved fields to 0. A few small structs have no size and never
//!   grow: [`Str`], the elements of arrays ([`Metric`], [`Series`]), and the two of the Arrow
//!   specification.
//! - **Ownership.** Memory stays with the side that made it. Views ([`Str`], pointers to arrays)
//!   passed into a call are valid until that call returns, unless its documentation says otherwise;
//!   who wants to keep one, copies it. Results of unknown length go to the caller through a
//!   [`Sink`] or a declare function, so nobody frees the other side's memory.
//! - **Threads.** Each function, or its table for all of them, says one of three things. "Any thread":
//!   at any time, also while other calls run. "One thread at a time": the host calls an instance from
//!   one thread at a time, not always the same one; different instances may be called at the same
//!   time. "Inside the call": a host function that takes a context, to be called only before the call
//!   that received this context returns, on its thread.
//! - **Errors.** A call that can fail returns a [`Status`]. The failing side leaves a message with the
//!   host: a plugin by [`Host::set_error`] before it returns, the host by itself, readable with
//!   [`Host::last_error`]. A status other than 0 without a message is allowed, and less helpful.
//! - **Unwinding.** No panic, exception or `longjmp` may leave a function of this ABI, in either
//!   direction.

mod arrow;
mod graph;
mod host;
mod model;
mod objective;
mod operator;
mod optimizer;
mod plugin;
mod pretrained;
pub mod record_batch;
mod schedule;
mod stopping;

pub use arrow::{ArrowArray, ArrowSchema};
pub use graph::{binary, reduce, unary, GraphApi, GRAPH_API};
pub use host::{
    level, BatchApi, BatchContext, Declarations, DeclareApi, GraphContext, Host, RandomApi, Sink,
    Tensor, BATCH_API, DECLARE_API, MAX_RANK, NO_TENSOR, RANDOM_API,
};
pub use model::{model_number, model_tensor, role, ModelApi, MODEL_API};
pub use objective::{
    layout, needs, BatchView, FeatureSpec, ObjectiveApi, ObjectiveSetup, OBJECTIVE_API,
};
pub use operator::{column, OperatorApi, OPERATOR_API};
pub use optimizer::{
    OptimizerApi, ParameterInfo, SlotSpec, UpdateInput, UpdateOutput, OPTIMIZER_API,
};
pub use plugin::{Capability, Entry, Plugin, ENTRY_SYMBOL, MAGIC};
pub use pretrained::{PretrainedApi, PRETRAINED_API};
pub use schedule::{ScheduleApi, ScheduleInput, SCHEDULE_API};
pub use stopping::{decision, split, Event, Metric, Series, StoppingApi, STOPPING_API};

/// The version of this border that must be equal on both sides.
pub const ABI_MAJOR: u16 = 1;
/// Additions within [`ABI_MAJOR`]. A side may be older or newer than the other.
pub const ABI_MINOR: u16 = 0;

/// Outcome of a call: 0 is success, everything else one of [`status`].
pub type Status = i32;

/// Values of [`Status`]. Codes are only added; an unknown one counts as [`INTERNAL`](status::INTERNAL).
pub mod status {
    use super::Status;
    /// It worked.
    pub const OK: Status = 0;
    /// An argument is wrong: a stale handle, a bad axis, shapes that do not fit.
    pub const INVALID: Status = 1;
    /// The configuration cannot be used; the message names the key.
    pub const CONFIG: Status = 2;
    /// A name (feature, model tensor, metric) that the other side does not have.
    pub const UNKNOWN_NAME: Status = 3;
    /// An operation code or function that this host (or plugin) is too old to know.
    pub const UNSUPPORTED: Status = 4;
    /// Saved state that cannot be read back.
    pub const STATE: Status = 5;
    /// The plugin panicked; the message is the panic's.
    pub const PANIC: Status = 6;
    /// Anything else.
    pub const INTERNAL: Status = 7;
}

/// A borrowed view of UTF-8 text, not terminated by zero. `ptr` may be null when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Str {
    /// First byte.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

// SAFETY: a view is two words; whoever dereferences it answers for the memory behind it, which the
// ABI's ownership rule keeps unchanged for the time of the view.
unsafe impl Send for Str {}
// SAFETY: as above; nothing is ever written through a `Str`.
unsafe impl Sync for Str {}

impl Str {
    /// The empty text.
    pub const EMPTY: Str = Str {
        ptr: std::ptr::null(),
        len: 0,
    };

    /// A view of `text`, valid as long as `text` is.
    pub const fn new(text: &str) -> Self {
        Str {
            ptr: text.as_ptr(),
            len: text.len(),
        }
    }

    /// The text, or `None` where it is not UTF-8 or the pointer is null with a length.
    ///
    /// # Safety
    /// `ptr` must be null or point to `len` readable bytes that stay unchanged for `'a`.
    pub unsafe fn get<'a>(self) -> Option<&'a str> {
        if self.len == 0 {
            return Some("");
        }
        if self.ptr.is_null() {
            return None;
        }
        // SAFETY: the caller's promise; null was excluded.
        std::str::from_utf8(unsafe { std::slice::from_raw_parts(self.ptr, self.len) }).ok()
    }
}

/// A struct that crosses the border with its own size as the first field (`struct_size: u32`).
///
/// # Safety
/// The type is `#[repr(C)]`, begins with `struct_size: u32`, and is valid when all bytes after it are
/// zero (numbers, raw pointers, `Option` of function pointers, and structs of these).
pub unsafe trait SizeGated: Copy {
    /// Bytes that the struct had in minor version 0 of this major version: less is refused.
    const MIN_SIZE: usize;
}

/// A table that is not there: every field null. Its functions all read as absent.
pub fn absent<T: SizeGated>() -> T {
    // SAFETY: `SizeGated` promises that zeros are valid.
    unsafe { std::mem::MaybeUninit::zeroed().assume_init() }
}

/// Why [`read_sized`] refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeError {
    /// The pointer is null.
    Null,
    /// The struct says that it has `found` bytes; at least `needed` are required.
    TooSmall {
        /// Bytes that the other side announced.
        found: usize,
        /// Bytes of minor version 0.
        needed: usize,
    },
}

/// Copies the struct at `source`, at most the size that it announces; fields beyond are zero (null).
///
/// # Errors
/// [`SizeError`] where the pointer is null or the struct is smaller than in minor version 0.
///
/// # Safety
/// `source` must be null or readable and aligned for as many bytes as its `struct_size` says, and at
/// least four.
pub unsafe fn read_sized<T: SizeGated>(source: *const T) -> Result<T, SizeError> {
    if source.is_null() {
        return Err(SizeError::Null);
    }
    // SAFETY: `SizeGated` types begin with `struct_size: u32`, and the caller vouches for four bytes.
    let found = unsafe { source.cast::<u32>().read() } as usize;
    if found < T::MIN_SIZE {
        return Err(SizeError::TooSmall {
            found,
            needed: T::MIN_SIZE,
        });
    }
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    let bytes = found.min(size_of::<T>());
    // SAFETY: `source` has `found` bytes, `value` has `size_of::<T>()`, and they do not overlap; the
    // all-zero rest is valid by the contract of `SizeGated`.
    unsafe {
        std::ptr::copy_nonoverlapping(source.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), bytes);
        Ok(value.assume_init())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Old {
        struct_size: u32,
        a: u32,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct New {
        struct_size: u32,
        a: u32,
        later: Option<extern "C" fn()>,
    }
    // SAFETY: repr(C), begins with its size, zeros are valid.
    unsafe impl SizeGated for New {
        const MIN_SIZE: usize = size_of::<Old>();
    }

    #[test]
    fn an_older_struct_reads_with_absent_fields_null() {
        let old = Old {
            struct_size: 8,
            a: 5,
        };
        // SAFETY: `old` has the 8 bytes that it announces.
        let new = unsafe { read_sized(std::ptr::from_ref(&old).cast::<New>()) }.unwrap();
        assert_eq!((new.a, new.later.is_none()), (5, true));
    }

    #[test]
    fn too_small_and_null_are_refused() {
        let old = Old {
            struct_size: 4,
            a: 5,
        };
        // SAFETY: at least four bytes are readable.
        let error = unsafe { read_sized(std::ptr::from_ref(&old).cast::<New>()) }.err();
        assert_eq!(
            error,
            Some(SizeError::TooSmall {
                found: 4,
                needed: 8
            })
        );
        // SAFETY: null is allowed.
        assert_eq!(
            unsafe { read_sized::<New>(std::ptr::null()) }.err(),
            Some(SizeError::Null)
        );
    }

    #[test]
    fn text_views() {
        let text = Str::new("größe");
        // SAFETY: static text.
        assert_eq!(unsafe { text.get() }, Some("größe"));
        // SAFETY: no byte is read through an empty view.
        assert_eq!(unsafe { Str::EMPTY.get() }, Some(""));
        let broken = Str {
            ptr: [0xffu8, 0xfe].as_ptr(),
            len: 2,
        };
        // SAFETY: a promoted constant of two bytes.
        assert_eq!(unsafe { broken.get() }, None);
    }
}
