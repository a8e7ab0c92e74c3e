//! Cache-line aligned buffers of floats, and shared pointers to them.
//!
//! Large buffers are mapped in huge pages where the system has them: a product that walks down a
//! matrix of thousands of columns touches another page with every row, and would wait for the page
//! tables more than for the memory.

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};

/// Bytes that every buffer starts at a multiple of.
const ALIGN: usize = 64;
/// Bytes of a huge page.
#[cfg(target_os = "linux")]
const HUGE: usize = 1 << 21;

/// A zeroed, aligned buffer that never moves.
pub struct Memory {
    start: *mut f32,
    len: usize,
    /// First byte and length of the mapping, for a buffer that is not the allocator's.
    mapping: Option<(*mut u8, usize)>,
}

// SAFETY: the buffer is owned; access to it is through `&self`/`&mut self` or through `Shared`, whose
// users state which elements they touch.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// A buffer of `len` zeros.
    pub fn new(len: usize) -> Self {
        if let Some(memory) = Self::mapped(len) {
            return memory;
        }
        let layout = Self::layout(len);
        // SAFETY: the layout has a size of at least one element.
        let start = unsafe { alloc_zeroed(layout) }.cast::<f32>();
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Memory {
            start,
            len,
            mapping: None,
        }
    }

    /// A buffer of at least two huge pages, mapped for them; `None` for smaller ones and where the
    /// system refuses.
    #[cfg(target_os = "linux")]
    fn mapped(len: usize) -> Option<Self> {
        let bytes = len.checked_mul(size_of::<f32>())?;
        if bytes < 2 * HUGE {
            return None;
        }
        let whole = bytes.checked_next_multiple_of(HUGE)? + HUGE;
        // SAFETY: a private anonymous mapping at a place of the system's choice touches nothing else.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                whole,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let base = base.cast::<u8>();
        let start = base.wrapping_add(base.align_offset(HUGE));
        // The rest of a last huge page would never be used: it gets small pages.
        let huge = bytes / HUGE * HUGE;
        // SAFETY: inside the mapping. Advice that is not taken changes nothing.
        unsafe { libc::madvise(start.cast(), huge, libc::MADV_HUGEPAGE) };
        Some(Memory {
            start: start.cast(),
            len,
            mapping: Some((base, whole)),
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn mapped(_len: usize) -> Option<Self> {
        None
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
        match self.mapping {
            #[cfg(target_os = "linux")]
            // SAFETY: mapped in `mapped` with the same bounds.
            Some((base, bytes)) => unsafe {
                libc::munmap(base.cast(), bytes);
            },
            // SAFETY: allocated in `new` with the same layout.
            _ => unsafe { dealloc(self.start.cast(), Self::layout(self.len)) },
        }
    }
}

/// Gives memory that was freed back to the system: what a compiler needed in between is no longer needed,
/// but the allocator of GNU's C library keeps it, in pieces that training cannot use.
pub fn return_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: only touches memory that the allocator holds as free; it may be called at any time.
    unsafe {
        libc::malloc_trim(0);
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
    /// The part of the buffer from element `offset` on.
    pub fn at(self, offset: usize) -> Shared {
        Shared(self.0.wrapping_add(offset))
    }

    /// The element `offset` elements further.
    ///
    /// # Safety
    /// The element lies in the same buffer, or one past it.
    pub unsafe fn add(self, offset: isize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.offset(offset) }
    }
}
