//! Allocations, their bounds and their order.

use super::*;

fn memory(checks: Checks) -> Memory {
    Memory::new(1 << 20, checks)
}

fn turn(serial: u32, unordered: &[(u32, u32)]) -> Turn {
    let unordered = unordered
        .iter()
        .map(|(first, last)| Range {
            first: *first,
            last: *last,
        })
        .collect();
    Turn {
        serial,
        unordered,
        several_streams: true,
    }
}

#[test]
fn fresh_memory_is_nan_and_a_multiple_of_256() {
    let mut memory = memory(Checks::Access);
    let base = memory.allocate(12, Kind::Device).unwrap();
    assert_eq!(base % ALIGNMENT, 0);
    // SAFETY: 12 bytes were allocated there.
    assert!(unsafe { *(base as *const f32) }.is_nan());
    assert_eq!(memory.info(), ((1 << 20) - 12, 1 << 20));
}

#[test]
fn spans_are_inside_one_live_allocation() {
    let mut memory = memory(Checks::Access);
    let base = memory.allocate(100, Kind::Device).unwrap();
    assert!(memory.span(base + 4, 96).is_ok());
    let text = memory.span(base + 4, 100).unwrap_err();
    assert!(text.contains("reach 4 bytes past its end"), "{text}");
    let text = memory.span(64, 4).unwrap_err();
    assert!(text.contains("in no allocation"), "{text}");
    memory.free(base, &[Kind::Device]).unwrap();
    let text = memory.span(base + 4, 4).unwrap_err();
    assert!(text.contains("has been freed"), "{text}");
    let again = memory.free(base, &[Kind::Device]).unwrap_err();
    assert!(again.message.contains("freed before"), "{}", again.message);
}

#[test]
fn more_than_there_is_is_out_of_memory_until_something_is_freed() {
    let mut memory = memory(Checks::Off);
    let base = memory.allocate(1 << 20, Kind::Device).unwrap();
    let refusal = memory.allocate(1, Kind::Device).unwrap_err();
    assert_eq!(refusal.status, Status::OUT_OF_MEMORY);
    memory.free(base, &[Kind::Device]).unwrap();
    memory.allocate(1, Kind::Device).unwrap();
}

#[test]
fn a_write_outside_is_found_in_the_red_zone() {
    let mut memory = memory(Checks::Off);
    let base = memory.allocate(8, Kind::Device).unwrap();
    assert!(memory.verify().is_ok());
    // SAFETY: the red zone behind the allocation belongs to its block.
    unsafe { *((base + 8) as *mut u8) = 0 };
    let fault = memory.verify().unwrap_err();
    assert!(
        fault.message.contains("0 bytes past the end"),
        "{}",
        fault.message
    );
}

#[test]
fn unordered_writes_race_and_ordered_ones_do_not() {
    let mut memory = memory(Checks::Access);
    let base = memory.allocate(64, Kind::Device).unwrap();
    memory.touch(&turn(5, &[]), base, 32, true).unwrap();
    memory
        .touch(&turn(6, &[(5, 5)]), base + 32, 32, false)
        .unwrap();
    memory.touch(&turn(7, &[]), base + 28, 4, false).unwrap();
    let race = memory.touch(&turn(8, &[(5, 5)]), base + 28, 8, false);
    let text = race.unwrap_err().message;
    assert!(
        text.contains("byte 28") && text.contains("written"),
        "{text}"
    );
    let race = memory.touch(&turn(9, &[(6, 6)]), base + 60, 4, true);
    assert!(race.unwrap_err().message.contains("has read"));
}

#[test]
fn halves_of_a_word_are_told_apart_once_something_touches_one() {
    let mut memory = memory(Checks::Access);
    let base = memory.allocate(8, Kind::Device).unwrap();
    memory.touch(&turn(5, &[]), base, 2, true).unwrap();
    memory
        .touch(&turn(6, &[(5, 5)]), base + 2, 2, true)
        .unwrap();
    let race = memory.touch(&turn(7, &[(6, 6)]), base, 4, true);
    assert!(race.unwrap_err().message.contains("byte 2"));
}
