//! Row kernels as machine code.
//!
//! Owns: which loops over the columns a row kernel becomes ([`schedule`]), their code ([`emit`]), and
//! calling it row by row ([`run`]). Must not know: programs, threads.
//!
//! The interpreter in [`crate::row`] walks over memory once for each instruction; here a row is walked
//! over once for each reduction that others wait for, with everything between in registers. Every
//! number is computed by the same roundings in the same order, so the bits are the interpreter's. What
//! cannot be expressed (a remainder, a sine, a machine without AVX-512) stays with the interpreter.

mod assembler;
mod code;
mod emit;
mod run;
mod schedule;

pub use code::Code;
pub use run::{run, run_rows, Compiled};

use crate::plan::RowPlan;

/// The code of some row kernels: what each became, `None` where the interpreter stays, and the memory that
/// it all lies in.
pub fn compile<'a>(
    plans: impl Iterator<Item = &'a RowPlan>,
) -> (Vec<Option<Compiled>>, Option<Code>) {
    let mut bytes = vec![];
    let mut compiled: Vec<Option<Compiled>> =
        plans.map(|plan| Compiled::new(plan, &mut bytes)).collect();
    // A system that forbids code made at run time has the interpreter.
    let Ok(code) = Code::new(&bytes) else {
        return (compiled.iter().map(|_| None).collect(), None);
    };
    for kernel in compiled.iter_mut().flatten() {
        // SAFETY: the bytes are those that `Compiled::new` made; the caller keeps both together.
        unsafe { kernel.link(&code) };
    }
    (compiled, Some(code))
}

/// Whether this processor and system can run the code.
pub fn available() -> bool {
    #[cfg(all(target_arch = "x86_64", unix))]
    {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("bmi2")
    }
    #[cfg(not(all(target_arch = "x86_64", unix)))]
    false
}
