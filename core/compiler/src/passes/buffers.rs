//! Pass `buffers`: where every buffer lies.
//!
//! A value that a state takes on is written straight into the state where no later kernel reads the
//! old one; else it is copied at the end. An operand that ends there lies in the state before, if nothing
//! else does. All other values share one arena: two may overlap when their lifetimes do not. Buffers that
//! are local to a block lie in the arena too, above or between the others, for devices that run step by step.

use super::blocks::{self, same_position};
use super::{operands, replay, storage};
use crate::ir::Ir;
use crate::program::{Buffer, BufferId, Instr, Kernel, Place, Program, RowKernel, Step, Storage};
use crate::{CompileError, Formats};
use ablate_graph::ir::Phase;

/// Elements that every arena offset is a multiple of: one cache line.
const ALIGN: usize = 16;

/// Elements after a buffer of at least [`LARGE`] that nothing uses: sizes of tensors are powers of two
/// all too often, and buffers a power of two apart fall on the same sets of a cache.
const STAGGER: usize = 17 * ALIGN;
const LARGE: usize = 1 << 12;

fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN) + if len >= LARGE { STAGGER } else { 0 }
}

/// Runs the pass. `assigned` maps each assigned state to the buffer of its new value; `formats` says
/// how values of the arena may be stored.
///
/// # Errors
/// [`CompileError::Invariant`] if the finished plan fails its check.
pub fn run(
    program: &mut Program,
    assigned: &[(String, BufferId)],
    ir: &Ir,
    formats: Formats,
) -> Result<(), CompileError> {
    for (state, buffer) in assigned {
        assign(program, state, *buffer);
    }
    if formats.has_groups() {
        blocks::run(program);
    }
    let mut local = blocks::locals(program);
    let mut lives = lifetimes(program, &local);
    adopt(program, &lives);
    if formats.activations == Storage::Bf16 {
        storage::run(program);
        if formats.operands_alike {
            operands::run(program);
            local = blocks::locals(program);
            lives = lifetimes(program, &local);
        }
    }
    let places = share(program, &lives, &local);
    place(program, &lives, &places, &local);
    place_locals(program, &lives, &places);
    replay::steps(program, ir)?;
    replay::groups(program)
}

/// True when the kernel reads and writes the same positions tile by tile, so that its result may lie
/// where its operand does.
pub fn elementwise_on(kernel: &RowKernel, buffer: BufferId, full: bool) -> bool {
    kernel.instrs.iter().all(|instr| match instr {
        Instr::Load { buffer: b, access } if *b == buffer => same_position(kernel, access, full),
        _ => true,
    })
}

fn assign(program: &mut Program, state: &str, value: BufferId) {
    let slot = Place::State(state.to_string());
    let readers: Vec<usize> = (0..program.buffers.len())
        .filter(|b| program.buffers[*b].place == slot)
        .collect();
    let reads_state = |kernel: &Kernel| kernel.reads().iter().any(|b| readers.contains(b));
    let writer = program
        .steps
        .iter()
        .position(|s| s.kernel.writes().contains(&value));
    let in_arena = matches!(program.buffers[value].place, Place::Arena { .. });
    let direct = in_arena
        && writer.is_some_and(|w| {
            let later = program.steps[w + 1..]
                .iter()
                .any(|s| reads_state(&s.kernel));
            let itself = match &program.steps[w].kernel {
                Kernel::Row(kernel) => match kernel.stores.iter().find(|s| s.buffer == value) {
                    Some(store) => readers
                        .iter()
                        .all(|r| elementwise_on(kernel, *r, store.full)),
                    None => !reads_state(&program.steps[w].kernel),
                },
                other => !reads_state(other),
            };
            !later && itself
        });
    if direct {
        if let Some(Kernel::Row(kernel)) = writer.map(|w| &mut program.steps[w].kernel) {
            let reads = kernel
                .instrs
                .iter()
                .any(|i| matches!(i, Instr::Load { buffer, .. } if readers.contains(buffer)));
            for store in kernel.stores.iter_mut().filter(|s| s.buffer == value) {
                store.in_place = reads;
            }
        }
        program.buffers[value].place = slot;
        return;
    }
    let to = match readers.first() {
        Some(buffer) => *buffer,
        None => {
            let len = program.buffers[value].len;
            program.buffers.push(Buffer::single(len, slot));
            program.buffers.len() - 1
        }
    };
    let scope = state.into();
    program.steps.push(Step {
        kernel: Kernel::Copy { from: value, to },
        scope,
        phase: Phase::Update,
    });
}

/// First and last step that touches each arena buffer. The blocks of a group run in any order, so what is
/// not local to it is needed from its first step to its last.
fn lifetimes(program: &Program, local: &[bool]) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; program.buffers.len()];
    for (step, s) in program.steps.iter().enumerate() {
        let group = program.groups.iter().find(|g| g.steps.contains(&step));
        for buffer in s.kernel.reads().into_iter().chain(s.kernel.writes()) {
            let (first, last) = match group {
                Some(group) if !local[buffer] => (group.steps.start, group.steps.end - 1),
                _ => (step, step),
            };
            lives[buffer].get_or_insert((first, last)).1 = last;
        }
    }
    for (_, buffer) in &program.outputs {
        if let Some(life) = &mut lives[*buffer] {
            life.1 = program.steps.len();
        }
    }
    lives
}

/// Puts operands into the state that a kernel's result goes to, where they end with that kernel and
/// nothing touches the state while they live: the first term of a sum of gradients, for one.
fn adopt(program: &mut Program, lives: &[Option<(usize, usize)>]) {
    for last in 0..program.steps.len() {
        let Kernel::Row(kernel) = &program.steps[last].kernel else {
            continue;
        };
        let mut found: Vec<(usize, BufferId, Place)> = vec![];
        for (number, store) in kernel.stores.iter().enumerate() {
            let result = &program.buffers[store.buffer];
            if !matches!(result.place, Place::State(_)) {
                continue;
            }
            let fits = |b: BufferId| {
                let buffer = &program.buffers[b];
                let Some((first, end)) = lives[b] else {
                    return false;
                };
                let touches = |step: &Step| {
                    let mut used = step.kernel.reads().into_iter().chain(step.kernel.writes());
                    used.any(|u| u != store.buffer && program.buffers[u].place == result.place)
                };
                matches!(buffer.place, Place::Arena { .. })
                    && (buffer.len, end) == (result.len, last)
                    && elementwise_on(kernel, b, store.full)
                    && !program.steps[first..=last].iter().any(touches)
            };
            let operand = kernel.instrs.iter().find_map(|instr| match instr {
                Instr::Load { buffer, .. } => Some(*buffer).filter(|b| fits(*b)),
                _ => None,
            });
            if let Some(b) = operand.filter(|b| found.iter().all(|f| f.1 != *b)) {
                found.push((number, b, result.place.clone()));
            }
        }
        for (store, operand, place) in found {
            program.buffers[operand].place = place;
            if let Kernel::Row(kernel) = &mut program.steps[last].kernel {
                kernel.stores[store].in_place = true;
            }
        }
    }
}

/// For each buffer the one whose place it takes over: a kernel's result may lie where an operand did
/// that nothing reads afterwards, if every element is read before its place is written.
fn share(program: &mut Program, lives: &[Option<(usize, usize)>], local: &[bool]) -> Vec<BufferId> {
    let mut places: Vec<BufferId> = (0..program.buffers.len()).collect();
    let in_arena = |b: &Buffer| matches!(b.place, Place::Arena { .. });
    for (number, step) in program.steps.iter_mut().enumerate() {
        let Kernel::Row(kernel) = &mut step.kernel else {
            continue;
        };
        let mut taken: Vec<BufferId> = vec![];
        for store in 0..kernel.stores.len() {
            let result = kernel.stores[store].buffer;
            let full = kernel.stores[store].full;
            let size = |b: &Buffer| (b.len, b.storage);
            let wanted = size(&program.buffers[result]);
            let first = lives[result].is_some_and(|(from, _)| from == number);
            if !in_arena(&program.buffers[result]) || !first {
                continue;
            }
            let operand = kernel.instrs.iter().find_map(|instr| match instr {
                Instr::Load { buffer, .. } => Some(*buffer).filter(|b| {
                    size(&program.buffers[*b]) == wanted
                        && local[*b] == local[result]
                        && in_arena(&program.buffers[*b])
                        && lives[*b].is_some_and(|(_, to)| to == number)
                        && !taken.contains(b)
                        && elementwise_on(kernel, *b, full)
                }),
                _ => None,
            });
            if let Some(operand) = operand {
                taken.push(operand);
                places[result] = places[operand];
                kernel.stores[store].in_place = true;
            }
        }
    }
    places
}

/// A number of elements in use from one step to another.
struct Request {
    place: BufferId,
    len: usize,
    first: usize,
    last: usize,
    offset: usize,
}

/// Largest first, each at the lowest offset where nothing that lives at the same time lies, `placed`
/// included; the elements used.
fn fit(requests: Vec<Request>, placed: &mut Vec<Request>) -> usize {
    let mut requests = requests;
    requests.sort_by_key(|r| (std::cmp::Reverse(r.len), r.place));
    for request in requests {
        let len = padded(request.len);
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|r| r.first <= request.last && request.first <= r.last)
            .map(|r| (r.offset, r.offset + padded(r.len)))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if start >= offset + len {
                break;
            }
            offset = offset.max(end);
        }
        placed.push(Request { offset, ..request });
    }
    let ends = placed.iter().map(|r| r.offset + padded(r.len));
    ends.max().unwrap_or(0)
}

/// Places in the arena: those of locals after all others, so that without them it is shorter.
fn place(
    program: &mut Program,
    lives: &[Option<(usize, usize)>],
    places: &[BufferId],
    local: &[bool],
) {
    // A place lives from the first of its buffers to the last.
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; places.len()];
    for (buffer, life) in lives.iter().enumerate() {
        let (true, Some((from, to))) = (
            matches!(program.buffers[buffer].place, Place::Arena { .. }),
            life,
        ) else {
            continue;
        };
        let span = spans[places[buffer]].get_or_insert((*from, *to));
        *span = (span.0.min(*from), span.1.max(*to));
    }
    let request = |place: BufferId| {
        let (first, last) = spans[place]?;
        let len = program.buffers[place].words();
        Some(Request {
            place,
            len,
            first,
            last,
            offset: 0,
        })
    };
    let (inside, outside): (Vec<Request>, Vec<Request>) = (0..spans.len())
        .filter_map(request)
        .partition(|r| local[r.place]);
    let mut placed = Vec::with_capacity(spans.len());
    program.arena_len_in_blocks = fit(outside, &mut placed);
    program.arena_len = fit(inside, &mut placed);
    let mut offsets = vec![0; spans.len()];
    placed.iter().for_each(|r| offsets[r.place] = r.offset);
    for (buffer, place) in places.iter().enumerate() {
        if let Place::Arena { offset } = &mut program.buffers[buffer].place {
            *offset = offsets[*place];
        }
    }
}

/// Places of locals in the memory of a block.
fn place_locals(program: &mut Program, lives: &[Option<(usize, usize)>], places: &[BufferId]) {
    for group in &mut program.groups {
        let mut requests: Vec<Request> = vec![];
        for local in &group.locals {
            let Some((first, last)) = lives[local.buffer] else {
                continue;
            };
            let len = local.words(&program.buffers);
            let place = places[local.buffer];
            match requests.iter_mut().find(|r| r.place == place) {
                Some(r) => (r.first, r.last) = (r.first.min(first), r.last.max(last)),
                None => requests.push(Request {
                    place,
                    len,
                    first,
                    last,
                    offset: 0,
                }),
            }
        }
        let mut placed = vec![];
        group.local_len = fit(requests, &mut placed);
        for local in &mut group.locals {
            let place = placed.iter().find(|r| r.place == places[local.buffer]);
            local.offset = place.map_or(0, |r| r.offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::program::{Kernel, Place, Program};
    use ablate_graph::Graph;

    /// `state = first product + second product`, with a reader of the old value after the first
    /// product if wanted.
    fn sum(reads_old: bool) -> Program {
        let mut g = Graph::new();
        let state = g.state("state", &[8, 8]).expect("fits");
        let x = g.input("x", &[8, 8]).expect("fits");
        let first = g.matmul(&x, &x).expect("fits");
        let other = if reads_old {
            g.matmul(&first, &state).expect("fits")
        } else {
            g.matmul(&first, &x).expect("fits")
        };
        let last = g.add(&first, &other).expect("fits");
        g.assign(&state, &last).expect("fits");
        crate::compile(&g.lower().expect("lowers")).expect("compiles")
    }

    fn first_is_in_state(program: &Program) -> bool {
        let first = program.steps.iter().find_map(|s| match s.kernel {
            Kernel::Gemm { c, .. } => Some(c),
            _ => None,
        });
        first.is_some_and(|c| matches!(program.buffers[c].place, Place::State(_)))
    }

    #[test]
    fn a_term_lies_in_the_state_that_the_sum_goes_to() {
        assert!(first_is_in_state(&sum(false)), "{}", sum(false));
        // Not while the old value is read.
        assert!(!first_is_in_state(&sum(true)), "{}", sum(true));
    }
}
