//! Programs made by hand, of every kernel that reads or writes bfloat16, on the software device.

use super::*;
use crate::compiler::Compiler;
use ablate_compiler::access::Axis;
use ablate_compiler::ir::{Gemm, Level, Unary};
use ablate_compiler::program::{
    Buffer, BufferId, Instr, Kernel, RowKernel, Span, Step, Storage, Store, TileAccess,
};
use ablate_graph::ir::Phase;

/// Buffers and steps in the making.
#[derive(Default)]
struct Maker {
    program: Program,
}

impl Maker {
    fn input(&mut self, name: &str, len: usize) -> BufferId {
        let place = Place::Input {
            name: name.into(),
            index_bound: None,
        };
        self.program.buffers.push(Buffer::single(len, place));
        self.program.buffers.len() - 1
    }

    /// A buffer of the arena, behind the others.
    fn value(&mut self, len: usize, storage: Storage) -> BufferId {
        let place = Place::Arena {
            offset: self.program.arena_len,
        };
        let buffer = Buffer {
            storage,
            ..Buffer::single(len, place)
        };
        self.program.arena_len += buffer.words().next_multiple_of(16);
        self.program.buffers.push(buffer);
        self.program.buffers.len() - 1
    }

    fn step(&mut self, kernel: Kernel) {
        self.program.steps.push(Step {
            kernel,
            scope: "test".into(),
            phase: Phase::Forward,
        });
    }

    /// The same numbers in another storage; `cols` decides how many are taken at once.
    fn converted(&mut self, from: BufferId, cols: usize, storage: Storage) -> BufferId {
        let len = self.program.buffers[from].len;
        let to = self.value(len, storage);
        let rows = len / cols;
        self.step(Kernel::Row(RowKernel {
            rows,
            cols,
            instrs: vec![Instr::Load {
                buffer: from,
                access: grid(rows, cols),
            }],
            spans: vec![Span::Full],
            stores: vec![Store {
                value: 0,
                buffer: to,
                full: true,
                in_place: false,
            }],
            accumulates: vec![],
        }));
        to
    }

    /// What the program makes of what is fed; nothing where there is no device.
    fn run(mut self, output: BufferId, feeds: &[(&str, Vec<f32>)]) -> Option<Vec<f32>> {
        let soft = ablate_soft_cuda::installed()?;
        soft.load();
        self.program.outputs.push(("out".into(), output));
        let device = Device::open().expect("the software device is there");
        let cache = soft.folder().with_extension("cubins");
        let compiler = Compiler::new(&device, Some(cache)).expect("NVRTC is there");
        let mut session = CudaSession::new(device, compiler, Precision::Bf16).expect("a session");
        let program = session.load_program(self.program).expect("loads");
        let mut fed = Feeds::new();
        for (name, values) in feeds {
            fed.set(*name, values.clone());
        }
        session
            .run(program, &fed, RandomKey::default())
            .expect("runs");
        Some(session.output(program, "out").expect("an output").to_vec())
    }
}

fn grid(rows: usize, cols: usize) -> TileAccess {
    TileAccess {
        rows: vec![Axis::new(rows, cols as isize)],
        cols: vec![Axis::new(cols, 1)],
        offset: 0,
    }
}

/// To nearest, ties to even, by a search of the neighbours.
fn nearest(x: f32) -> f32 {
    if !x.is_finite() {
        return x;
    }
    let below = f32::from_bits(x.to_bits() & 0xffff_0000);
    let above = f32::from_bits((x.to_bits() & 0xffff_0000).wrapping_add(0x1_0000));
    // The number after the greatest is not there, but would be two to the power of 128.
    let far = if above.is_finite() {
        f64::from(above)
    } else {
        f64::from(x.signum()) * 2f64.powi(128)
    };
    let (down, up) = (f64::from(x) - f64::from(below), far - f64::from(x));
    let even = below.to_bits() >> 16 & 1 == 0;
    match down.abs().total_cmp(&up.abs()) {
        std::cmp::Ordering::Less => below,
        std::cmp::Ordering::Equal if even => below,
        _ => above,
    }
}

fn assert_same(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        assert!(same, "{i}: {a:e} instead of {b:e}");
    }
}

#[test]
fn every_width_rounds_to_nearest_even_and_keeps_nan() {
    let special = [
        0.0,
        -0.0,
        1.0,
        1.0 + 1.0 / 256.0,
        1.0 + 3.0 / 256.0,
        -1.0 - 1.0 / 255.0,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-40,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        // NaN whose upper half alone would be an infinity.
        f32::from_bits(0x7f80_0001),
        f32::from_bits(0xffff_ffff),
    ];
    // Columns by eight, four, two and one.
    for cols in [40, 20, 22, 33] {
        let wave = (0..cols * 3).map(|i| (i as f32 * 0.7).sin() * 10f32.powi(i as i32 % 9 - 4));
        let values: Vec<f32> = special.into_iter().chain(wave).take(cols * 3).collect();
        let mut maker = Maker::default();
        let x = maker.input("x", values.len());
        let rounded = maker.converted(x, cols, Storage::Bf16);
        let again = maker.converted(rounded, cols, Storage::Bf16);
        let wide = maker.converted(again, cols, Storage::F32);
        let Some(found) = maker.run(wide, &[("x", values.clone())]) else {
            return;
        };
        let expected: Vec<f32> = values.iter().map(|x| nearest(*x)).collect();
        assert_same(&found, &expected);
    }
}

/// One number a row, one number for all, padding, and a result in an operand's place.
#[test]
fn rounded_numbers_of_rows_are_read_and_written() {
    let (rows, cols) = (6, 16);
    let mut maker = Maker::default();
    let x = maker.input("x", rows * cols);
    let x16 = maker.converted(x, cols, Storage::Bf16);
    let sums = maker.value(rows, Storage::Bf16);
    let load = |buffer, access| Instr::Load { buffer, access };
    let padded = Axis {
        lo: 2,
        ..Axis::new(cols, 1)
    };
    let shifted = TileAccess {
        rows: vec![Axis::new(rows, cols as isize)],
        cols: vec![padded],
        offset: -2,
    };
    let store = |value, buffer, full, in_place| Store {
        value,
        buffer,
        full,
        in_place,
    };
    maker.step(Kernel::Row(RowKernel {
        rows,
        cols,
        instrs: vec![
            load(x16, shifted),
            Instr::Reduce(ablate_compiler::ir::Reduction::Sum, 0),
        ],
        spans: vec![Span::Full, Span::Row],
        stores: vec![store(1, sums, false, false)],
        accumulates: vec![],
    }));
    let of_row = TileAccess {
        rows: vec![Axis::new(rows, 1)],
        cols: vec![],
        offset: 0,
    };
    let first = TileAccess {
        rows: vec![],
        cols: vec![],
        offset: 3,
    };
    maker.step(Kernel::Row(RowKernel {
        rows,
        cols,
        instrs: vec![
            load(x16, grid(rows, cols)),
            load(sums, of_row),
            load(sums, first),
            Instr::Binary(ablate_compiler::ir::Binary::Add, 0, 1),
            Instr::Binary(ablate_compiler::ir::Binary::Mul, 3, 2),
        ],
        spans: vec![Span::Full, Span::Row, Span::Scalar, Span::Full, Span::Full],
        stores: vec![store(4, x16, true, true)],
        accumulates: vec![],
    }));
    let out = maker.converted(x16, cols, Storage::F32);
    let values: Vec<f32> = (0..rows * cols).map(|i| (i as f32 * 0.37).cos()).collect();
    let Some(found) = maker.run(out, &[("x", values.clone())]) else {
        return;
    };
    let x: Vec<f32> = values.iter().map(|x| nearest(*x)).collect();
    // A team of two lanes takes a row, eight columns each.
    let sum = |row: usize| {
        let lane = |lane: usize| {
            let columns = lane * 8..lane * 8 + 8;
            columns.fold(0.0f32, |s, c| {
                s + if c < 2 { 0.0 } else { x[row * cols + c - 2] }
            })
        };
        f64::from(lane(0)) + f64::from(lane(1))
    };
    for (i, found) in found.iter().enumerate() {
        let (sum, third) = (sum(i / cols), sum(3));
        let expected = (f64::from(x[i]) + sum) * third;
        // Two of the numbers were rounded, and so is the result.
        let bound = (f64::from(x[i]).abs() + 2.0 * sum.abs()) * third.abs() * 0.012 + 1e-6;
        assert!(
            (f64::from(*found) - expected).abs() <= bound,
            "{i}: {found} and {expected}"
        );
    }
}

#[test]
fn look_ups_copies_and_random_numbers_of_rounded_buffers() {
    // Widths by eight and by one.
    for width in [16, 9] {
        let (classes, rows) = (5, 7);
        let table: Vec<f32> = (0..classes * width)
            .map(|i| (i as f32 * 0.9).sin())
            .collect();
        let index = [4.0, 0.0, 2.0, 2.0, 1.0, 4.0, 3.0];
        let mut maker = Maker::default();
        let t = maker.input("table", table.len());
        let i = maker.input("index", rows);
        let t16 = maker.converted(t, width, Storage::Bf16);
        let found = maker.value(rows * width, Storage::Bf16);
        let index_access = || TileAccess {
            rows: vec![Axis::new(rows, 1)],
            cols: vec![],
            offset: 0,
        };
        let table_access = TileAccess {
            rows: vec![Axis::new(rows, 0)],
            cols: vec![Axis::new(width, 1)],
            offset: 0,
        };
        maker.step(Kernel::Gather {
            table: t16,
            table_access,
            class_stride: width as isize,
            classes,
            index: i,
            index_access: index_access(),
            out: found,
        });
        let copied = maker.value(rows * width, Storage::Bf16);
        maker.step(Kernel::Copy {
            from: found,
            to: copied,
        });
        let sums = maker.value(classes * width, Storage::F32);
        maker.step(Kernel::ScatterAdd {
            value: copied,
            value_access: grid(rows, width),
            index: i,
            index_access: index_access(),
            classes,
            out: sums,
        });
        let feeds = [("table", table.clone()), ("index", index.to_vec())];
        let Some(found) = maker.run(sums, &feeds) else {
            return;
        };
        let mut expected = vec![0.0; classes * width];
        for class in index {
            for c in 0..width {
                let at = class as usize * width + c;
                expected[at] += nearest(table[at]);
            }
        }
        assert_same(&found, &expected);
    }
    let random = |storage| {
        let mut maker = Maker::default();
        let out = maker.value(100, storage);
        maker.step(Kernel::Uniform {
            stream: "mask".into(),
            out,
        });
        let wide = maker.converted(out, 100, Storage::F32);
        maker.run(wide, &[])
    };
    if let (Some(single), Some(rounded)) = (random(Storage::F32), random(Storage::Bf16)) {
        let expected: Vec<f32> = single.iter().map(|x| nearest(*x)).collect();
        assert_same(&rounded, &expected);
    }
}

/// By the library where it has a call for the layout, else by a printed kernel, in every pair of formats
/// that it is asked for.
#[test]
fn products_of_rounded_operands() {
    use Storage::{Bf16, F32};
    let (m, n, k, batch) = (5, 7, 6, 3);
    let a: Vec<f32> = (0..batch * m * k)
        .map(|i| (i as f32 * 0.31).sin())
        .collect();
    let b: Vec<f32> = (0..batch * k * n)
        .map(|i| (i as f32 * 0.53).cos())
        .collect();
    // A result whose numbers lie apart is none of a library's.
    for (apart, storage) in [(1, F32), (1, Bf16), (2, F32), (2, Bf16)] {
        let level = |size: usize, a: usize, b: usize, c: usize| Level {
            size,
            a: a as isize,
            b: b as isize,
            c: (c * apart) as isize,
        };
        let gemm = Gemm {
            batch: vec![level(batch, m * k, k * n, m * n)],
            m: level(m, k, 0, n),
            n: level(n, 0, 1, 1),
            k: level(k, 1, n, 0),
            offset: [0, 0],
        };
        let mut maker = Maker::default();
        let (x, y) = (maker.input("a", a.len()), maker.input("b", b.len()));
        let x = maker.converted(x, k, Bf16);
        let y = maker.converted(y, n, Bf16);
        let c = maker.value(batch * m * n * apart, storage);
        maker.step(Kernel::Gemm {
            gemm,
            a: x,
            b: y,
            c,
        });
        // The numbers, without what lies between them.
        let out = maker.value(batch * m * n, F32);
        let access = TileAccess {
            rows: vec![],
            cols: vec![Axis::new(batch * m * n, apart as isize)],
            offset: 0,
        };
        let store = Store {
            value: 1,
            buffer: out,
            full: true,
            in_place: false,
        };
        maker.step(Kernel::Row(RowKernel {
            rows: 1,
            cols: batch * m * n,
            instrs: vec![
                Instr::Load { buffer: c, access },
                Instr::Unary(Unary::Recip, 0),
            ],
            spans: vec![Span::Full; 2],
            stores: vec![store],
            accumulates: vec![],
        }));
        let products = crate::print::print(&maker.program).steps;
        let by_library = matches!(products[2], crate::print::Work::Product(_));
        assert_eq!(by_library, apart == 1);
        let Some(found) = maker.run(out, &[("a", a.clone()), ("b", b.clone())]) else {
            return;
        };
        for (i, found) in found.iter().enumerate() {
            let (batch, row, column) = (i / (m * n), i / n % m, i % n);
            let term = |at: usize| {
                let x = nearest(a[batch * m * k + row * k + at]);
                f64::from(x) * f64::from(nearest(b[batch * k * n + at * n + column]))
            };
            let exact: f64 = (0..k).map(term).sum();
            let bound = if storage == Bf16 {
                0.004 * exact.abs()
            } else {
                0.0
            } + 1e-6;
            let off = (f64::from(1.0 / found) - exact).abs();
            assert!(off <= bound, "{apart} {storage:?} {i}: {found} and {exact}");
        }
    }
}
