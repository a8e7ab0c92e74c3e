//! Who releases which Arrow structure, and how often.
//!
//! Every `release` that passes by is replaced by one that counts and then calls the real one. The real
//! one is found again by the structure's `private_data`, which is replaced along with it; so structures may
//! be moved, as the Arrow specification allows.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use ablate_abi::{ArrowArray, ArrowSchema};

/// Structures given to the plugin, and not yet released.
static INPUTS: AtomicI64 = AtomicI64::new(0);
/// Structures made by the plugin, and not yet released.
static OUTPUTS: AtomicI64 = AtomicI64::new(0);
static PROBLEMS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn problem(text: String) {
    PROBLEMS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(text);
}

/// What went wrong so far, and what is still unreleased.
pub(crate) fn problems() -> Vec<String> {
    let mut found = std::mem::take(&mut *PROBLEMS.lock().unwrap_or_else(PoisonError::into_inner));
    for (count, whose) in [
        (
            INPUTS.load(Ordering::SeqCst),
            "of the host's structures that the plugin moved out",
        ),
        (OUTPUTS.load(Ordering::SeqCst), "of the plugin's structures"),
    ] {
        if count > 0 {
            found.push(format!("{count} {whose} were never released"));
        }
        if count < 0 {
            found.push(format!("{} {whose} were released twice", -count));
        }
    }
    found
}

macro_rules! counted {
    ($module:ident, $structure:ident) => {
        mod $module {
            use super::*;

            /// What stands in for `private_data`.
            struct Original {
                release: unsafe extern "C" fn(*mut $structure),
                private_data: *mut c_void,
                counter: &'static AtomicI64,
                whose: &'static str,
            }

            /// # Safety
            /// `structure` is valid; it is released at most once from here on.
            pub unsafe fn watch(
                structure: *mut $structure,
                counter: &'static AtomicI64,
                whose: &'static str,
            ) {
                // SAFETY: the caller's promise.
                unsafe {
                    let Some(release) = (*structure).release else {
                        return;
                    };
                    counter.fetch_add(1, Ordering::SeqCst);
                    let private_data = (*structure).private_data;
                    let original = Original {
                        release,
                        private_data,
                        counter,
                        whose,
                    };
                    (*structure).private_data = Box::into_raw(Box::new(original)).cast();
                    (*structure).release = Some(counting);
                }
            }

            unsafe extern "C" fn counting(structure: *mut $structure) {
                // SAFETY: by the Arrow specification the structure that `watch` changed, perhaps moved. The
                // record of the original is kept for good, so that a second release finds it, too.
                unsafe {
                    let original = &*(*structure).private_data.cast::<Original>();
                    original.counter.fetch_sub(1, Ordering::SeqCst);
                    let own = (*structure).private_data;
                    (*structure).private_data = original.private_data;
                    (*structure).release = Some(original.release);
                    (original.release)(structure);
                    if (*structure).release.is_some() {
                        problem(format!(
                            "`release` of {} {} does not set itself to null",
                            original.whose,
                            stringify!($structure)
                        ));
                    }
                    (*structure).private_data = own;
                }
            }
        }
    };
}

counted!(schemas, ArrowSchema);
counted!(arrays, ArrowArray);

/// The host's batch on its way to the plugin. What the plugin leaves, the host releases after the call.
///
/// # Safety
/// Both are valid structures of the host.
pub(crate) unsafe fn watch_input(schema: *mut ArrowSchema, array: *mut ArrowArray) {
    // SAFETY: the caller's promise.
    unsafe {
        schemas::watch(schema, &INPUTS, "the host's");
        arrays::watch(array, &INPUTS, "the host's");
    }
}

/// The plugin's batch on its way to the host.
///
/// # Safety
/// Both are valid structures of the plugin, or as empty as they were.
pub(crate) unsafe fn watch_output(schema: *mut ArrowSchema, array: *mut ArrowArray) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*schema).release.is_some() != (*array).release.is_some() {
            problem("`map` wrote one of schema and batch, and not the other".to_owned());
        }
        schemas::watch(schema, &OUTPUTS, "the plugin's");
        arrays::watch(array, &OUTPUTS, "the plugin's");
    }
}
