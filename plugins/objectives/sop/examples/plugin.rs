//! The plugin as a shared library: nothing but the exported entry function.

ablate_sdk::export!(ablate_sop::PLUGIN);
