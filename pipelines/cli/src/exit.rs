//! Exit codes, as `ablate --help` lists them.

/// Everything was done.
pub const OK: u8 = 0;
/// A trial failed, a check did not pass, or an error came up on the way.
pub const FAILURE: u8 = 1;
/// The recipe or the command line is wrong; nothing was done.
pub const USAGE: u8 = 2;
/// Interrupted; what was running is saved and the same command goes on.
pub const INTERRUPTED: u8 = 3;
/// A defect of the program.
pub const PANIC: u8 = 101;
