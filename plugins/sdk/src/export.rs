//! The macros that make a descriptor and an entry, and the C functions behind the tables.

/// Makes a [`Plugin`](crate::abi::Plugin) descriptor of types that implement the traits.
///
/// Name and version are those of the crate unless given. See the [crate's example](crate).
#[macro_export]
macro_rules! plugin {
    (
        $(#[$attribute:meta])*
        $visibility:vis static $name:ident = {
            $(name: $plugin_name:expr,)?
            description: $description:expr
            $(, license: $license:expr)?
            $(, objectives: [$($objective:ty),* $(,)?])?
            $(, optimizers: [$($optimizer:ty),* $(,)?])?
            $(, stopping_rules: [$($rule:ty),* $(,)?])?
            $(,)?
        };
    ) => {
        $(#[$attribute])*
        $visibility static $name: $crate::abi::Plugin = {
            use $crate::abi::{Capability, Str};
            use $crate::glue;

            static CAPABILITIES: &[&Capability] = &[
                $($({
                    unsafe extern "C" fn schema() -> Str {
                        static TEXT: ::std::sync::OnceLock<String> = ::std::sync::OnceLock::new();
                        glue::schema::<<$objective as $crate::Objective>::Config>(&TEXT)
                    }
                    const CAPABILITY: Capability = glue::objective::<$objective>(schema);
                    &CAPABILITY
                },)*)?
                $($({
                    unsafe extern "C" fn schema() -> Str {
                        static TEXT: ::std::sync::OnceLock<String> = ::std::sync::OnceLock::new();
                        glue::schema::<<$optimizer as $crate::Optimizer>::Config>(&TEXT)
                    }
                    const CAPABILITY: Capability = glue::optimizer::<$optimizer>(schema);
                    &CAPABILITY
                },)*)?
                $($({
                    unsafe extern "C" fn schema() -> Str {
                        static TEXT: ::std::sync::OnceLock<String> = ::std::sync::OnceLock::new();
                        glue::schema::<<$rule as $crate::StoppingRule>::Config>(&TEXT)
                    }
                    const CAPABILITY: Capability = glue::stopping_rule::<$rule>(schema);
                    &CAPABILITY
                },)*)?
            ];

            unsafe extern "C" fn get_extension(
                capability: Str,
                id: Str,
            ) -> *const ::std::ffi::c_void {
                $($({
                    static API: $crate::abi::ObjectiveApi = glue::objective_api::<$objective>();
                    // SAFETY: the host's views are valid during the call.
                    if unsafe {
                        glue::is(capability, <$objective as $crate::Objective>::NAME)
                            && glue::is(id, $crate::abi::OBJECTIVE_API)
                    } {
                        return ::std::ptr::from_ref(&API).cast();
                    }
                })*)?
                $($({
                    static API: $crate::abi::OptimizerApi = glue::optimizer_api::<$optimizer>();
                    // SAFETY: the host's views are valid during the call.
                    if unsafe {
                        glue::is(capability, <$optimizer as $crate::Optimizer>::NAME)
                            && glue::is(id, $crate::abi::OPTIMIZER_API)
                    } {
                        return ::std::ptr::from_ref(&API).cast();
                    }
                })*)?
                $($({
                    static API: $crate::abi::StoppingApi = glue::stopping_api::<$rule>();
                    // SAFETY: the host's views are valid during the call.
                    if unsafe {
                        glue::is(capability, <$rule as $crate::StoppingRule>::NAME)
                            && glue::is(id, $crate::abi::STOPPING_API)
                    } {
                        return ::std::ptr::from_ref(&API).cast();
                    }
                })*)?
                ::std::ptr::null()
            }

            #[allow(unused_mut, unused_assignments)]
            const NAMES: (&str, &str) = {
                let mut name = env!("CARGO_PKG_NAME");
                let mut license = env!("CARGO_PKG_LICENSE");
                $(name = $plugin_name;)?
                $(license = $license;)?
                (name, license)
            };
            $crate::abi::Plugin {
                struct_size: ::std::mem::size_of::<$crate::abi::Plugin>() as u32,
                abi_major: $crate::abi::ABI_MAJOR,
                abi_minor: $crate::abi::ABI_MINOR,
                magic: $crate::abi::MAGIC,
                name: Str::new(NAMES.0),
                version: Str::new(env!("CARGO_PKG_VERSION")),
                license: Str::new(NAMES.1),
                description: Str::new($description),
                capabilities: CAPABILITIES.as_ptr().cast(),
                capability_count: CAPABILITIES.len(),
                get_extension: Some(get_extension),
            }
        };
    };
}

/// Exports the entry function that returns the descriptor. Once in a library, and only in the crate
/// that becomes the shared library: two such symbols cannot be linked into one program.
#[macro_export]
macro_rules! export {
    ($plugin:path) => {
        /// The one function that the host looks up.
        #[no_mangle]
        pub extern "C" fn ablate_plugin_entry(
            _abi_major: u32,
            _abi_minor: u32,
        ) -> *const $crate::abi::Plugin {
            // Returned whatever the host's version: the host compares, and says what is wrong.
            ::std::ptr::from_ref(&$plugin)
        }
        const _: $crate::abi::Entry = ablate_plugin_entry;
    };
}

/// Behind the macros; not for direct use.
pub mod glue;
