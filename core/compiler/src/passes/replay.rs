//! The check of a finished plan: the program is replayed against the intervals of its buffers.
//!
//! Owns: what must hold of steps one after the other, and of groups block by block. Must not know: how places
//! were found.

use super::buffers::elementwise_on;
use crate::ir::Ir;
use crate::program::{Buffer, BufferId, Group, Kernel, Place, Program};
use crate::CompileError;
use std::collections::BTreeMap;

/// Checks that everything read was written, and that nothing alive is overwritten.
pub fn steps(program: &Program, ir: &Ir) -> Result<(), CompileError> {
    let fail = |step: usize, reason: String| {
        Err(CompileError::Invariant {
            pass: "buffers",
            node: step,
            scope: program
                .steps
                .get(step)
                .map_or_else(String::new, |s| s.scope.to_string()),
            reason,
        })
    };
    // Which buffer each arena element belongs to is tracked by interval: the last writer of each.
    let mut owner: Vec<(usize, usize, BufferId)> = vec![];
    // The last writer of each state; until there is one, the state has its old value.
    let mut holder: BTreeMap<&str, BufferId> = BTreeMap::new();
    for (number, step) in program.steps.iter().enumerate() {
        for buffer in step.kernel.reads() {
            if let Place::Arena { offset } = program.buffers[buffer].place {
                let len = program.buffers[buffer].words();
                if !owner.contains(&(offset, offset + len, buffer)) {
                    return fail(
                        number,
                        format!("buffer {buffer} is read but was overwritten or never written"),
                    );
                }
            }
            if let Place::State(name) = &program.buffers[buffer].place {
                if holder.get(&**name).is_some_and(|b| *b != buffer) {
                    return fail(
                        number,
                        format!("state `{name}` is read after it was written"),
                    );
                }
            }
        }
        for buffer in step.kernel.writes() {
            if let Place::State(name) = &program.buffers[buffer].place {
                holder.insert(name, buffer);
            }
            if let Place::Arena { offset } = program.buffers[buffer].place {
                let end = offset + program.buffers[buffer].words();
                if end > program.arena_len {
                    return fail(number, format!("buffer {buffer} lies outside the arena"));
                }
                let reads = step.kernel.reads();
                // An operand may be overwritten in its very place, by a kernel that reads each element
                // before it writes there.
                let in_place = |from: usize, to: usize, operand: BufferId| {
                    let Kernel::Row(kernel) = &step.kernel else {
                        return false;
                    };
                    (from, to) == (offset, end)
                        && program.buffers[operand].storage == program.buffers[buffer].storage
                        && kernel.stores.iter().any(|s| {
                            s.buffer == buffer
                                && s.in_place
                                && elementwise_on(kernel, operand, s.full)
                        })
                };
                let overlap = owner.iter().any(|(s, e, b)| {
                    *s < end && offset < *e && reads.contains(b) && !in_place(*s, *e, *b)
                });
                if overlap {
                    return fail(number, format!("buffer {buffer} overwrites an operand"));
                }
                owner.retain(|(s, e, _)| *e <= offset || end <= *s);
                owner.push((offset, end, buffer));
            }
        }
    }
    for (name, buffer) in &program.outputs {
        if let Place::Arena { offset } = program.buffers[*buffer].place {
            let end = offset + program.buffers[*buffer].words();
            if !owner.contains(&(offset, end, *buffer)) {
                return fail(
                    program.steps.len(),
                    format!("output `{name}` does not survive the run"),
                );
            }
        }
    }
    if program.outputs.len() != ir.outputs.len() {
        return fail(program.steps.len(), "an output was lost".into());
    }
    Ok(())
}

/// Checks that blocks disturb neither each other nor the rest.
pub fn groups(program: &Program) -> Result<(), CompileError> {
    for group in &program.groups {
        if let Err((step, reason)) = group_alone(program, group) {
            return Err(CompileError::Invariant {
                pass: "blocks",
                node: step,
                scope: program.steps[step].scope.to_string(),
                reason,
            });
        }
    }
    Ok(())
}

fn group_alone(program: &Program, group: &Group) -> Result<(), (usize, String)> {
    let local = |b: BufferId| group.locals.iter().find(|l| l.buffer == b);
    let used = |step: usize| {
        let kernel = &program.steps[step].kernel;
        kernel.reads().into_iter().chain(kernel.writes())
    };
    // The last writer of each local's place.
    let mut owner: Vec<(usize, usize, BufferId)> = vec![];
    for step in group.steps.clone() {
        let kernel = &program.steps[step].kernel;
        for l in kernel.reads().into_iter().filter_map(local) {
            if !owner.contains(&(l.offset, l.offset + l.words(&program.buffers), l.buffer)) {
                let buffer = l.buffer;
                return Err((step, format!("local {buffer} is read but was overwritten")));
            }
        }
        for buffer in kernel.writes() {
            if let Some(l) = local(buffer) {
                let end = l.offset + l.words(&program.buffers);
                if end > group.local_len {
                    return Err((step, format!("local {buffer} lies outside its block")));
                }
                owner.retain(|(s, e, _)| *e <= l.offset || end <= *s);
                owner.push((l.offset, end, buffer));
                continue;
            }
            // What another block still reads, or has written, must not be overwritten by this one.
            let other = group.steps.clone().flat_map(used).find(|b| {
                *b != buffer
                    && local(*b).is_none()
                    && overlap(&program.buffers[*b], &program.buffers[buffer])
            });
            if let Some(other) = other {
                return Err((step, format!("buffer {buffer} overwrites {other}")));
            }
        }
    }
    // Outside of its group a local is nothing.
    let steps = (0..program.steps.len()).filter(|s| !group.steps.contains(s));
    for step in steps {
        if let Some(buffer) = used(step).find(|b| local(*b).is_some()) {
            return Err((step, format!("local {buffer} is used outside its group")));
        }
    }
    Ok(())
}

/// True when two arena buffers share elements.
fn overlap(a: &Buffer, b: &Buffer) -> bool {
    match (&a.place, &b.place) {
        (Place::Arena { offset: x }, Place::Arena { offset: y }) => {
            *x < y + b.words() && *y < x + a.words()
        }
        _ => false,
    }
}
