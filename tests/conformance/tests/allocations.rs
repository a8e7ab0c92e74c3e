//! After its first run, a program allocates nothing.

use ablate_compiler::Backend;
use ablate_conformance::cases;
use ablate_cpu::{CpuBackend, Precision};
use ablate_graph::RandomKey;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// The thread that allocated first: the harness, which allocates now and then while it waits for a test.
static HARNESS: AtomicUsize = AtomicUsize::new(0);

/// A number that no other thread has.
fn thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let order = Ordering::Relaxed;
        let first = HARNESS.compare_exchange(0, thread(), order, order);
        if first != Err(thread()) {
            ALLOCATIONS.fetch_add(1, order);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

#[test]
fn no_allocation_after_the_first_runs() {
    // With `--test-threads 1` the harness runs the test itself; a number that no thread has counts all.
    if HARNESS.load(Ordering::Relaxed) == thread() {
        HARNESS.store(1, Ordering::Relaxed);
    }
    for (threads, precision, emulated) in [
        (1, Precision::F32, false),
        (2, Precision::F32, false),
        (1, Precision::F32Split, false),
        (2, Precision::F32Split, false),
        (1, Precision::Bf16, false),
        (2, Precision::Bf16, false),
        (1, Precision::F32Split, true),
        (2, Precision::Bf16, true),
    ] {
        let backend = CpuBackend::new(threads)
            .expect("threads")
            .with_precision(precision);
        let backend = match emulated {
            true => backend.with_emulated_amx(),
            false => backend,
        };
        for (name, build) in cases::CASES {
            let case = cases::build(*build).expect("builds");
            let mut session = backend.session().expect("a session");
            for (name, values) in &case.states {
                session.set_state(name, values).expect("a state");
            }
            let program = session.load(case.graph).expect("compiles");
            let mut run = |step| {
                let key = RandomKey { seed: 1, step };
                session.run(program, &case.feeds, key).expect("runs");
            };
            // The emulation is slow, and a test of more than a minute makes the harness print, and allocate.
            let runs = if emulated { 10 } else { 100 };
            (0..3).for_each(&mut run);
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            (3..3 + runs).for_each(&mut run);
            let count = ALLOCATIONS.load(Ordering::Relaxed) - before;
            // The queue through which a run enters the thread pool grows by a block now and then, and on a busy
            // machine the harness speaks up from another thread. What a run allocates, every run does.
            const STRAY: usize = 4;
            assert!(
                count <= STRAY,
                "{name}, {}: {count} allocations in {runs} runs",
                backend.description()
            );
        }
    }
}
