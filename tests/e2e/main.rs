//! End-to-end tests: the `ablate` binary as a user runs it.
//!
//! Owns what is promised about whole runs: the files they leave, that the same recipe gives the same
//! bytes, that a killed run goes on to the same bytes, what every mistake looks like, and what the
//! commands that look inside and that measure print. Must not know how anything is computed.
//!
//! Cargo hands a binary's path (`CARGO_BIN_EXE_ablate`) only to tests of the binary's own package, and
//! only then sees to it that the binary is built first. So this is a test target of `ablate-cli` that
//! lives here, not a crate: `cargo test` on a fresh clone always tests the binary of this very tree.
//!
//! Recipes are tiny and train for seconds (the quickstart's baseline, for half a minute at most); each test works in a temporary folder of its own.

mod choices;
mod cuda;
mod doors;
mod learns;
mod look;
mod measure;
mod mistakes;
mod packed;
mod resume;
mod run;
mod support;
