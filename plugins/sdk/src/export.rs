//! The macros that make a descriptor and an entry, and the C functions behind the tables.

/// Makes a [`Plugin`](crate::abi::Plugin) descriptor of types that implement the traits.
///
/// Name and version are those of the crate unless given. The lists may be left out, and come in this
/// order: `objectives`, `optimizers`, `schedules`, `stopping_rules`, `operators`. See the [crate's
/// example](crate).
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
            $(, schedules: [$($schedule:ty),* $(,)?])?
            $(, stopping_rules: [$($rule:ty),* $(,)?])?
            $(, operators: [$($operator:ty),* $(,)?])?
            $(,)?
        };
    ) => {
        $(#[$attribute])*
        $visibility static $name: $crate::abi::Plugin = {
            use $crate::abi::{Capability, Str};
            use $crate::glue;

            const OFFERS: &[glue::Offer] = &[
                $($($crate::__offer!(AnObjective, $objective),)*)?
                $($($crate::__offer!(AnOptimizer, $optimizer),)*)?
                $($($crate::__offer!(ASchedule, $schedule),)*)?
                $($($crate::__offer!(AStoppingRule, $rule),)*)?
                $($($crate::__offer!(AnOperator, $operator),)*)?
            ];
            static CAPABILITIES: [&Capability; OFFERS.len()] = glue::capabilities(OFFERS);

            unsafe extern "C" fn get_extension(
                capability: Str,
                id: Str,
            ) -> *const ::std::ffi::c_void {
                // SAFETY: the host's views are valid during the call.
                unsafe { glue::find(OFFERS, capability, id) }
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
                // A function that the host lacks is looked for before it is called.
                abi_minor_needed: 0,
                reserved: 0,
            }
        };
    };
}

/// One type of one kind as an entry of a descriptor; behind [`plugin!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __offer {
    ($kind:ident, $type:ty) => {{
        unsafe extern "C" fn schema() -> Str {
            static TEXT: ::std::sync::OnceLock<String> = ::std::sync::OnceLock::new();
            glue::schema::<<$type as glue::Offered<glue::$kind>>::Config>(&TEXT)
        }
        const CAPABILITY: Capability = glue::capability::<glue::$kind, $type>(schema);
        const TABLE: <$type as glue::Offered<glue::$kind>>::Table =
            <$type as glue::Offered<glue::$kind>>::TABLE;
        glue::Offer {
            capability: &CAPABILITY,
            name: <$type as glue::Offered<glue::$kind>>::NAME,
            id: <$type as glue::Offered<glue::$kind>>::ID,
            table: ::std::ptr::from_ref(&TABLE).cast(),
        }
    }};
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
