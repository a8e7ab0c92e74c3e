//! The border as a test wants it: other sizes, missing tables, refusing functions, guarded memory.
//!
//! Owns: a second descriptor of the plugin under test ([`proxy`]) whose functions pass every call on,
//! through changed structs and in front of a changed host ([`hosts`]). The real host enters that descriptor
//! as any other, so that both sides are the real ones and only the border between them is not. Must not
//! judge.
//!
//! All of it is settings of the process: a test has its process for itself.

pub(crate) mod guarded;
pub(crate) mod hosts;
pub(crate) mod library;
pub(crate) mod proxy;
pub(crate) mod releases;

use std::sync::atomic::{AtomicU8, Ordering};

use ablate_abi::SizeGated;

use guarded::{Access, Guarded};

/// How large the host's structs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// As they are.
    Own,
    /// As minor version 0 had them; the bytes behind cannot be touched.
    Oldest,
    /// Larger than any version that exists; what is behind the known fields is no address.
    Newer,
}

static SIZES: AtomicU8 = AtomicU8::new(0);

/// Sets the sizes from here on; tables that were handed out before keep theirs.
pub(crate) fn set_sizes(sizes: Sizes) {
    SIZES.store(sizes as u8, Ordering::SeqCst);
}

pub(crate) fn sizes() -> Sizes {
    match SIZES.load(Ordering::SeqCst) {
        1 => Sizes::Oldest,
        2 => Sizes::Newer,
        _ => Sizes::Own,
    }
}

/// Bytes that a newer host has behind each struct.
const NEWER_BYTES: usize = 64;

/// What those bytes hold: an address that nothing has.
const POISON: u8 = 0xA5;

/// A struct in memory of its own, of the size that [`sizes`] asks for, with that size in its first field.
pub(crate) fn resized<T: SizeGated>(value: &T, access: Access) -> Guarded<u8> {
    let own = size_of::<T>();
    let size = match sizes() {
        Sizes::Own => own,
        Sizes::Oldest => T::MIN_SIZE,
        Sizes::Newer => own + NEWER_BYTES,
    };
    let mut bytes = vec![POISON; size];
    let known = size.min(own);
    // SAFETY: `known` bytes are in both; a struct of the ABI may be read as bytes (its padding is none: all
    // have their fields in places that are multiples of their sizes).
    unsafe {
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(value).cast::<u8>(),
            bytes.as_mut_ptr(),
            known,
        );
    }
    bytes[..4].copy_from_slice(&(size as u32).to_ne_bytes());
    Guarded::new(&bytes, access)
}
