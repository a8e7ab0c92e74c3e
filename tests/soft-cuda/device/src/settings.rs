//! What the environment says about the device. All names begin with `SOFT_CUDA_`.

use std::path::PathBuf;

/// In which order the threads of a block, the blocks of a launch and unordered streams run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By number.
    Forward,
    /// By number, backwards.
    Reverse,
    /// Drawn anew for every launch from this seed.
    Shuffled(u64),
}

/// When queued work runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As late as the program allows: when it waits for it.
    Lazy,
    /// At once.
    Eager,
}

/// How kernels are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Every access is checked for bounds, alignment and order.
    Access,
    /// The address sanitizer checks; its library must have been loaded first (`LD_PRELOAD`).
    Address,
    /// Only barriers and warp operations are checked: the fastest.
    Off,
}

/// The device as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `SOFT_CUDA_ORDER`: `forward`, `reverse` or `shuffled:SEED`.
    pub order: Order,
    /// `SOFT_CUDA_WHEN`: `lazy` or `eager`.
    pub when: When,
    /// `SOFT_CUDA_CHECKS`: `access`, `address` or `off`.
    pub checks: Checks,
    /// `SOFT_CUDA_ARCH`: compute capability as one number, 80 for 8.0.
    pub arch: u32,
    /// `SOFT_CUDA_MEMORY_BYTES`: device memory.
    pub memory_bytes: u64,
    /// `SOFT_CUDA_CXX`: the C++ compiler.
    pub compiler: String,
    /// `SOFT_CUDA_CACHE`: where compiled kernels are kept.
    pub cache: PathBuf,
    /// `SOFT_CUDA_TRACE`: a file to which each piece of work is written when it is queued.
    pub trace: Option<PathBuf>,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// A value is none of those above; the text says which.
    pub fn read() -> Result<Self, String> {
        let text = |name: &str, default: &str| {
            std::env::var(format!("SOFT_CUDA_{name}")).unwrap_or_else(|_| default.into())
        };
        let number = |name: &str, default: &str| {
            let value = text(name, default);
            value
                .parse::<u64>()
                .map_err(|_| format!("SOFT_CUDA_{name}={value}: expected a number"))
        };
        let order = text("ORDER", "forward");
        let order = match order.split_once(':') {
            None if order == "forward" => Order::Forward,
            None if order == "reverse" => Order::Reverse,
            Some(("shuffled", seed)) if seed.parse::<u64>().is_ok() => {
                Order::Shuffled(seed.parse().unwrap_or(0))
            }
            _ => {
                return Err(format!(
                    "SOFT_CUDA_ORDER={order}: expected `forward`, `reverse` or `shuffled:SEED`"
                ))
            }
        };
        let when = match text("WHEN", "lazy").as_str() {
            "lazy" => When::Lazy,
            "eager" => When::Eager,
            other => {
                return Err(format!(
                    "SOFT_CUDA_WHEN={other}: expected `lazy` or `eager`"
                ))
            }
        };
        let checks = match text("CHECKS", "access").as_str() {
            "access" => Checks::Access,
            "address" => Checks::Address,
            "off" => Checks::Off,
            other => {
                return Err(format!(
                    "SOFT_CUDA_CHECKS={other}: expected `access`, `address` or `off`"
                ))
            }
        };
        Ok(Settings {
            order,
            when,
            checks,
            arch: number("ARCH", "80")? as u32,
            memory_bytes: number("MEMORY_BYTES", "4294967296")?,
            compiler: text("CXX", "c++"),
            cache: std::env::var_os("SOFT_CUDA_CACHE").map_or_else(
                || std::env::temp_dir().join("ablate-soft-cuda"),
                PathBuf::from,
            ),
            trace: std::env::var_os("SOFT_CUDA_TRACE").map(PathBuf::from),
        })
    }
}
