//! Memory that notices what is done to it.
//!
//! The bytes end where a page ends; the next page cannot be touched at all, nor can the one in front. What is
//! meant to be read only cannot be written. So a step over the end is a SIGSEGV at once, and not some other
//! trouble later. In front of the bytes, on their own page, is a pattern that is looked at afterwards.

/// What the plugin may do with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// What stands in front of the bytes.
const PATTERN: u8 = 0x5A;

/// An array in guarded memory. The elements are plain data.
pub(crate) struct Guarded<T: Copy> {
    region: Region,
    _elements: std::marker::PhantomData<T>,
}

impl<T: Copy> Guarded<T> {
    /// A guarded copy. Without pages to guard with (not Unix, no memory) a plain copy.
    pub fn new(values: &[T], access: Access) -> Self {
        let bytes = size_of_val(values);
        let mut region = Region::new(bytes);
        // SAFETY: the region has room for the bytes, at an address that is a multiple of the elements' size.
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), region.start(), bytes);
        }
        if access == Access::Read {
            region.make_read_only();
        }
        Guarded {
            region,
            _elements: std::marker::PhantomData,
        }
    }

    /// The first element; an address that can be given away even where there is none.
    pub fn as_ptr(&self) -> *const T {
        self.region.start().cast_const().cast()
    }

    /// As [`Guarded::as_ptr`].
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.region.start().cast()
    }

    /// Whether the pattern in front is as it was.
    pub fn is_intact(&self) -> bool {
        self.region.front().iter().all(|byte| *byte == PATTERN)
    }
}

#[cfg(unix)]
struct Region {
    base: *mut u8,
    pages: usize,
    page: usize,
    bytes: usize,
}

#[cfg(unix)]
impl Region {
    fn new(bytes: usize) -> Self {
        // SAFETY: a plain question to the system.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let pages = bytes.div_ceil(page).max(1);
        // SAFETY: fresh memory at an address that the system chooses; the middle is made usable.
        let base = unsafe {
            let base = libc::mmap(
                std::ptr::null_mut(),
                (pages + 2) * page,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            );
            assert!(base != libc::MAP_FAILED, "no memory for a guarded array");
            let middle = base.cast::<u8>().add(page);
            let usable = libc::PROT_READ | libc::PROT_WRITE;
            assert!(libc::mprotect(middle.cast(), pages * page, usable) == 0);
            middle.write_bytes(PATTERN, pages * page);
            base.cast::<u8>()
        };
        Region {
            base,
            pages,
            page,
            bytes,
        }
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: inside the region: the last `bytes` bytes of the middle.
        unsafe {
            self.base
                .add(self.page + self.pages * self.page - self.bytes)
        }
    }

    fn front(&self) -> &[u8] {
        let length = self.pages * self.page - self.bytes;
        // SAFETY: the middle is readable.
        unsafe { std::slice::from_raw_parts(self.base.add(self.page), length) }
    }

    fn make_read_only(&mut self) {
        // SAFETY: the region's own pages.
        unsafe {
            libc::mprotect(
                self.base.add(self.page).cast(),
                self.pages * self.page,
                libc::PROT_READ,
            );
        }
    }
}

#[cfg(unix)]
impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once.
        unsafe { libc::munmap(self.base.cast(), (self.pages + 2) * self.page) };
    }
}

#[cfg(not(unix))]
struct Region {
    memory: Box<[u64]>,
}

#[cfg(not(unix))]
impl Region {
    fn new(bytes: usize) -> Self {
        Region {
            memory: vec![0; bytes.div_ceil(8).max(1)].into_boxed_slice(),
        }
    }
    fn start(&self) -> *mut u8 {
        self.memory.as_ptr().cast_mut().cast()
    }
    fn front(&self) -> &[u8] {
        &[]
    }
    fn make_read_only(&mut self) {}
}

// SAFETY: the memory belongs to this value alone.
#[cfg(unix)]
unsafe impl Send for Region {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_watched_and_the_values_are_there() {
        let mut array = Guarded::new(&[1i64, 2, 3], Access::Write);
        // SAFETY: the third of three elements.
        assert_eq!(unsafe { array.as_ptr().add(2).read() }, 3);
        assert!(array.is_intact());
        // SAFETY: element -1 is on the region's own page.
        unsafe { array.as_mut_ptr().sub(1).write(0) };
        assert!(!array.is_intact());
        assert!(!Guarded::<u8>::new(&[], Access::Read).as_ptr().is_null());
    }
}
