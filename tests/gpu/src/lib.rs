//! What only a real CUDA device can answer: `cargo test --release --test gpu -- --nocapture`.
//!
//! The tests are in `tests/gpu.rs`; without a device each says `SKIPPED` and ends, and a rehearsal runs them at the
//! smallest sizes on the software device, which says so. `ABLATE_GPU_SIZES=tiny,base` measures those sizes instead
//! of all. `tests/software` asks the software device what a trainer makes it do. Must not know how anything is
//! computed.
