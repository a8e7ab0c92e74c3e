//! Ctrl-C: the first asks the run to save and end, the second ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::exit;

/// A flag that Ctrl-C raises.
pub fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    let handler = move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        eprintln!("\ninterrupted: saving after this step (once more to end at once)");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C will not save the running trial: {error}");
    }
    flag
}
