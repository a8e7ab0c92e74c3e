//! The software CUDA device, installed for a test.
//!
//! [`SoftCuda::install`] makes a folder with `libcuda`, `libnvrtc`, `libcublas` and `libcublasLt`, all of
//! them the one library of `device/`. A program that loads these names at run time then finds them, in
//! one of two ways:
//!
//! - **In this process**: [`SoftCuda::load`] loads them by path. The dynamic linker knows a library that
//!   is loaded by its soname, so cudarc's later `dlopen("libcuda.so")` gets this one, wherever it looks.
//!   It must come before the first use of cudarc, which keeps what it found.
//! - **In a child process**: [`SoftCuda::command`] sets `LD_LIBRARY_PATH`, which is read when a process
//!   starts. [`rerun`] runs one test again as such a child: for tests that break the device on purpose
//!   (its context stays broken, as a real one's would), or that need other settings.
//!
//! The settings are environment variables, listed in `device/src/settings.rs`: thread order, checks,
//! architecture, memory. With [`Checks`](struct@SoftCuda) at their default, the access checks, nothing
//! else is needed; for the address sanitizer see [`SoftCuda::address_sanitizer`].
//!
//! Without Linux or a C++ compiler there is no device: [`installed`] then says so on stdout and returns
//! nothing, and the test ends.

mod child;
mod counts;
mod install;

pub use child::{is_child, rerun, Finished};
pub use counts::Counts;
pub use install::{installed, Library, SoftCuda, Unavailable};

/// The name of the test function in which it stands, as the test harness spells it.
#[macro_export]
macro_rules! test_name {
    () => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here);
        let name = name.strip_suffix("::here").unwrap_or(name);
        name.split_once("::").map_or(name, |(_, rest)| rest)
    }};
}
