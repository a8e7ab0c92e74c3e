//! What only a real CUDA device can answer: `cargo test --release --test gpu -- --nocapture`.
//!
//! The tests are in `tests/gpu.rs`; without a device each says `SKIPPED` and ends. `ABLATE_GPU_SIZES=tiny,base`
//! measures those sizes instead of all. Must not know how anything is computed.
