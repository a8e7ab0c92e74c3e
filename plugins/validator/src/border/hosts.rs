//! Hosts that are older, newer, poorer or less obliging than the real one.

mod refusing;

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use ablate_abi::{
    read_sized, BatchApi, DeclareApi, GraphApi, Host, ModelApi, RandomApi, SizeGated, Str,
    ABI_MINOR, BATCH_API, DECLARE_API, GRAPH_API, MODEL_API, RANDOM_API,
};

use super::guarded::{Access, Guarded};
use super::{resized, sizes, Sizes};

/// Ids of the host's further tables, in the order in which they are left out.
pub(crate) const TABLES: [&str; 5] = [RANDOM_API, DECLARE_API, BATCH_API, MODEL_API, GRAPH_API];

/// Index into [`TABLES`] of the table that this host does not have; -1 for none.
static MISSING: AtomicI64 = AtomicI64::new(-1);

/// The call of a host function that is refused, counted from 0; -1 for none.
static REFUSED: AtomicI64 = AtomicI64::new(-1);
static CALLS: AtomicI64 = AtomicI64::new(0);

/// Whether the plugin has asked for a node through which no gradient flows.
static STOPS_GRADIENTS: AtomicBool = AtomicBool::new(false);

/// Whether the plugin has stopped a gradient on purpose.
pub(crate) fn stops_gradients() -> bool {
    STOPS_GRADIENTS.load(Ordering::SeqCst)
}

/// The real host's base table, known from the first `create`.
static REAL: AtomicPtr<Host> = AtomicPtr::new(std::ptr::null_mut());

/// Leaves a table out from the next `create` on.
pub(crate) fn leave_out(table: Option<usize>) {
    let index = table.and_then(|i| i64::try_from(i).ok()).unwrap_or(-1);
    MISSING.store(index, Ordering::SeqCst);
}

/// Refuses one call of a host function from here on; none where there is no such call. Starts counting.
pub(crate) fn refuse(call: Option<u32>) {
    REFUSED.store(call.map_or(-1, i64::from), Ordering::SeqCst);
    CALLS.store(0, Ordering::SeqCst);
}

/// Calls of host functions that can fail, since [`refuse`].
pub(crate) fn calls() -> u32 {
    u32::try_from(CALLS.load(Ordering::SeqCst)).unwrap_or(0)
}

/// Whether the call that is being made is the one to refuse.
fn refuses() -> bool {
    CALLS.fetch_add(1, Ordering::SeqCst) == REFUSED.load(Ordering::SeqCst)
}

/// Tables that were handed out: they must live as long as the process.
static KEPT: Mutex<Vec<Guarded<u8>>> = Mutex::new(Vec::new());

fn keep<T: SizeGated>(table: &T) -> *const T {
    let guarded = resized(table, Access::Read);
    let pointer = guarded.as_ptr().cast();
    KEPT.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(guarded);
    pointer
}

/// The host that the plugin is to see in place of the real one.
///
/// # Safety
/// `real` is the base table of a host that keeps the ABI.
pub(crate) unsafe fn in_place_of(real: *const Host) -> *const Host {
    REAL.store(real.cast_mut(), Ordering::SeqCst);
    // SAFETY: the caller's promise.
    let Ok(mut host) = (unsafe { read_sized(real) }) else {
        return real;
    };
    host.get_extension = Some(get_extension);
    host.abi_minor = match sizes() {
        Sizes::Own => host.abi_minor,
        Sizes::Oldest => 0,
        Sizes::Newer => ABI_MINOR + 1,
    };
    keep(&refusing::base(host))
}

unsafe extern "C" fn get_extension(id: Str) -> *const c_void {
    // SAFETY: the plugin's text is valid during the call.
    let Some(id) = (unsafe { id.get() }) else {
        return std::ptr::null();
    };
    let index = TABLES.iter().position(|known| *known == id);
    let missing = MISSING.load(Ordering::SeqCst);
    if index.is_some_and(|i| i64::try_from(i) == Ok(missing)) {
        return std::ptr::null();
    }
    // SAFETY: set by `in_place_of`, which was called before the plugin could know this function.
    let real = unsafe { read_sized(REAL.load(Ordering::SeqCst).cast_const()) };
    let Some(get) = real.ok().and_then(|host: Host| host.get_extension) else {
        return std::ptr::null();
    };
    // SAFETY: the real host's function; the text is valid during the call.
    let table = unsafe { get(Str::new(id)) };
    // SAFETY: the real host's tables are of the id's type.
    unsafe {
        match id {
            RANDOM_API => changed::<RandomApi>(table, refusing::random),
            DECLARE_API => changed::<DeclareApi>(table, refusing::declare),
            BATCH_API => changed::<BatchApi>(table, refusing::batch),
            MODEL_API => changed::<ModelApi>(table, refusing::model),
            GRAPH_API => changed::<GraphApi>(table, refusing::graph),
            _ => table,
        }
    }
}

/// # Safety
/// `table` is null or a table of type `T`.
unsafe fn changed<T: SizeGated>(table: *const c_void, change: fn(T) -> T) -> *const c_void {
    // SAFETY: the caller's promise.
    match unsafe { read_sized(table.cast::<T>()) } {
        Ok(real) => keep(&change(real)).cast(),
        Err(_) => table,
    }
}
