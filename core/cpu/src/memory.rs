//! Cache-line aligned buffers of floats, and shared pointers to them.

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};

/// Bytes that every buffer starts at a multiple of.
const ALIGN: usize = 64;

/// A zeroed, aligned buffer that never moves.
pub struct Memory {
    start: *mut f32,
    len: usize,
}

// SAFETY: the buffer is owned; access to it is through `&self`/`&mut self` or through `Shared`, whose
// users state which elements they touch.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// A buffer of `len` zeros.
    pub fn new(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the layout has a size of at least one element.
        let start = unsafe { alloc_zeroed(layout) }.cast::<f32>();
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Memory { start, len }
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.max(1) * size_of::<f32>();
        // A length that overflows cannot have been a tensor's: tensors are checked when built.
        Layout::from_size_align(bytes, ALIGN).unwrap_or(Layout::new::<f32>())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The elements.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: `start` points to `len` initialised elements that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// The elements.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// First element.
    pub fn pointer(&self) -> *mut f32 {
        self.start
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { dealloc(self.start.cast(), Self::layout(self.len)) }
    }
}

/// A buffer's pointer that threads of one kernel share.
///
/// The program's buffer plan, which the compiler verifies, says that nothing a kernel writes overlaps
/// what it reads (but elementwise at the same position); the kernels split what they write by rows.
#[derive(Clone, Copy, Debug)]
pub struct Shared(pub *mut f32);

// SAFETY: see the type's description: threads write disjoint elements.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The element `offset` elements further.
    ///
    /// # Safety
    /// The element lies in the same buffer, or one past it.
    pub unsafe fn add(self, offset: isize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.offset(offset) }
    }
}
