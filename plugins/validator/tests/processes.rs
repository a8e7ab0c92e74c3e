//! How a worker's end is told: by exit, by signal, by time, by memory.

mod common;

use ablate_validator::process::{Death, Ending, Errors, Limits, Worker};

/// Not a test: the process that the others start.
#[test]
fn worker_process() {
    common::worker();
}

fn start(work: &str, limits: Limits) -> Worker {
    Worker::start(&common::program(), work, limits, Errors::Kept, None).unwrap()
}

fn death(work: &str, limits: Limits) -> Death {
    start(work, limits).receive::<String>().unwrap_err()
}

const LIMITS: Limits = Limits {
    memory_bytes: Some(1 << 30),
    processor_s: Some(1),
    answer_s: Some(60.0),
};

#[test]
fn messages_go_both_ways_and_prints_do_not_disturb_them() {
    let mut worker = start("echo", LIMITS);
    for text in ["one", "two\nlines", "größe \u{1e}"] {
        worker.send(&text.to_owned());
        assert_eq!(worker.receive::<String>().unwrap(), text);
    }
    worker.close();
    worker.leave().unwrap();
}

#[test]
fn a_message_of_another_kind_ends_the_connection() {
    let mut worker = start("echo", LIMITS);
    worker.send(&"text".to_owned());
    let death = worker.receive::<u32>().unwrap_err();
    assert!(matches!(death.ending, Ending::Garbled { .. }), "{death}");
}

#[test]
fn an_exit_is_told_with_its_code() {
    assert_eq!(death("exit", LIMITS).ending, Ending::Exit { code: 7 });
}

#[test]
fn signals_are_told_by_name_and_meaning() {
    let segfault = death("segfault", LIMITS);
    assert_eq!(
        segfault.ending,
        Ending::Signal {
            name: "SIGSEGV".into()
        }
    );
    assert!(
        segfault.to_string().contains("memory that is not its own"),
        "{segfault}"
    );
    let abort = death("words", LIMITS);
    assert_eq!(
        abort.ending,
        Ending::Signal {
            name: "SIGABRT".into()
        }
    );
    assert!(
        abort.to_string().ends_with("its last words: `last words`"),
        "{abort}"
    );
}

#[test]
fn an_endless_loop_ends_by_processor_time() {
    let death = death("loop", LIMITS);
    assert_eq!(death.ending, Ending::Processor { seconds: 1 });
    assert!(death.to_string().contains("endless loop"), "{death}");
}

#[test]
fn waiting_for_nothing_ends_by_the_clock() {
    let limits = Limits {
        answer_s: Some(0.5),
        ..LIMITS
    };
    let death = death("sleep", limits);
    assert!(matches!(death.ending, Ending::Silence { .. }), "{death}");
}

#[test]
fn memory_that_runs_out_is_told_from_a_crash_in_rust_and_in_c() {
    for work in ["memory", "memory in C"] {
        let ending = death(
            work,
            Limits {
                processor_s: None,
                ..LIMITS
            },
        )
        .ending;
        let allowed_bytes = Some(1 << 30);
        assert_eq!(ending, Ending::Memory { allowed_bytes }, "{work}");
    }
}
