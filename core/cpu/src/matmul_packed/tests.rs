use super::*;
use crate::bf16;
use crate::gemm::split::nearest as round;
use crate::matmul::{self, offsets};
use crate::memory::Memory;
use ablate_compiler::ir::Level;

/// Every way to multiply here, with what it is called in messages.
fn methods() -> Vec<(Method, Isa)> {
    let mut units = vec![Unit::Emulated];
    match tiles::detect() {
        Some(unit) => units.push(unit),
        None => println!("skipped on AMX: this processor or its system does not offer it"),
    }
    let mut all = vec![];
    for isa in Isa::available() {
        all.push((Method::Pairs, isa));
        for unit in &units {
            all.push((Method::Tiles(*unit, Planes::Split), isa));
            all.push((Method::Tiles(*unit, Planes::Rounded), isa));
        }
    }
    all
}

fn filled(count: usize, name: &str, number: impl Fn(f64) -> f64) -> Memory {
    let mut memory = Memory::new(count);
    let mut reader = ablate_random::Stream::new(5, name).reader();
    let values = memory.as_mut_slice().iter_mut();
    values.for_each(|x| *x = number(reader.normal()) as f32);
    memory
}

/// `c[batch, m, n] = sum over k of a[batch, m, k] * b[batch, n, k]`, where either operand and the result may
/// lie the other way round.
fn product(batches: usize, [m, n, k]: [usize; 3], [a, b, c]: [bool; 3]) -> Gemm {
    let two = |rows: bool, i: usize, k: usize| if rows { (k, 1) } else { (1, i) };
    let ((ma, ka), (nb, kb), (mc, nc)) = (two(a, m, k), two(b, n, k), two(c, m, n));
    let level = |size: usize, a: usize, b: usize, c: usize| Level {
        size,
        a: a as isize,
        b: b as isize,
        c: c as isize,
    };
    Gemm {
        batch: vec![level(batches, m * k, n * k, m * n)],
        m: level(m, ma, 0, mc),
        n: level(n, 0, nb, nc),
        k: level(k, ka, kb, 0),
        offset: [0, 0],
    }
}

fn compute(method: (Method, Isa), threads: usize, gemm: &Gemm, a: &Memory, b: &Memory) -> Vec<f32> {
    stored(method, threads, gemm, [a, b], [false; 3])
        .as_slice()
        .to_vec()
}

/// The product of operands, and in a result, of which `half` says which hold bfloat16.
fn stored(
    (method, isa): (Method, Isa),
    threads: usize,
    gemm: &Gemm,
    [a, b]: [&Memory; 2],
    half: [bool; 3],
) -> Memory {
    let pool = Pool::new(threads).expect("threads");
    let (cut, exchanged) = Cut::new(method, gemm, half[2], isa, threads);
    let scratch: Vec<Memory> = (0..threads).map(|_| Memory::new(SCRATCH)).collect();
    let scratch: Vec<Shared> = scratch.iter().map(|m| Shared(m.pointer())).collect();
    let packed = Memory::new(cut.shared_len());
    let c = Memory::new(cut.batches() * gemm.m.size * gemm.n.size);
    let order = if exchanged { [1, 0, 2] } else { [0, 1, 2] };
    let buffers = Buffers {
        start: order.map(|i| Shared([a, b, &c][i].pointer())),
        half: order.map(|i| half[i]),
    };
    let packed = Shared(packed.pointer());
    // SAFETY: every buffer is as long as the strides reach.
    pool.enter(|| unsafe { run(&pool, isa, &scratch, packed, &cut, buffers) });
    c
}

/// The numbers as bfloat16, in a buffer of their own.
fn rounded(from: &Memory) -> Memory {
    let memory = Memory::new(from.len());
    for (i, x) in from.as_slice().iter().enumerate() {
        // SAFETY: half as long as the buffer.
        unsafe { *memory.pointer().cast::<u16>().add(i) = bf16::round(*x) };
    }
    memory
}

/// Stored operands change nothing, as they are rounded anyway; a stored result is rounded once, from the whole
/// sum.
#[test]
fn stored_operands_and_results_are_the_rounded_ones() {
    for (batches, m, n, k) in [
        (1, 1, 1, 1),
        (1, 13, 1, 9),
        (3, 40, 33, 31),
        (20, 16, 24, 10),
        (1, 70, 75, 512),
        (1, 40, 70, 1100),
        (1, 5, 9, LONGEST_ROUNDED_SUM),
    ] {
        let a = filled(batches * m * k, "a", |x| x);
        let b = filled(batches * n * k, "b", |x| x);
        let (a16, b16) = (rounded(&a), rounded(&b));
        for layout in [
            [true, true, true],
            [false, false, true],
            [true, false, false],
        ] {
            let gemm = product(batches, [m, n, k], layout);
            let tiles = methods().into_iter();
            for method in tiles.filter(|m| m.0.planes() == Planes::Rounded) {
                let case = format!("{method:?} {batches} {m} {n} {k} {layout:?}");
                let plain = compute(method, 1, &gemm, &a, &b);
                for threads in [1, 2] {
                    let found = stored(method, threads, &gemm, [&a16, &b16], [true, true, false]);
                    assert!(
                        plain.iter().zip(found.as_slice()).all(|(x, y)| x == y),
                        "{case}"
                    );
                    let found = stored(method, threads, &gemm, [&a16, &b], [true, false, true]);
                    let half = found.pointer().cast::<u16>();
                    for (at, x) in plain.iter().enumerate() {
                        // SAFETY: half as long as the buffer.
                        let found = bf16::widen(unsafe { *half.add(at) });
                        // Longer sums are cut where they are not rounded: another order.
                        let same = k > DEPTH || found == bf16::widen(bf16::round(*x));
                        let near = (found - x).abs() <= x.abs() / 250.0 + 1e-3;
                        assert!(same && near, "{case} at {at}: {found:e}, not {x:e}");
                    }
                }
            }
        }
    }
}

/// The same in single precision.
fn single(gemm: &Gemm, a: &Memory, b: &Memory) -> Vec<f32> {
    let pool = Pool::new(1).expect("a thread");
    let isa = Isa::detect();
    let scratch = Memory::new(SCRATCH);
    let c = Memory::new(gemm.m.size * gemm.n.size);
    let buffers = [a, b, &c].map(|m| Shared(m.pointer()));
    let cut = matmul::Cut::new(gemm, isa, 1);
    // SAFETY: every buffer is as long as the strides reach.
    unsafe {
        matmul::run(
            &pool,
            isa,
            &[Shared(scratch.pointer())],
            (gemm, cut),
            buffers,
        )
    };
    c.as_slice().to_vec()
}

/// An element in double precision and the sum of its terms' sizes.
fn exact(gemm: &Gemm, at: [usize; 3], a: &[f32], b: &[f32], planes: Planes) -> (f64, f64) {
    let [oa, ob, _] = offsets(&gemm.batch, at[0]);
    let number = |x: f32| match planes {
        Planes::Split => f64::from(x),
        Planes::Rounded => f64::from(f32::from_bits(u32::from(round(x)) << 16)),
    };
    let terms = (0..gemm.k.size as isize).map(|k| {
        let i = oa + at[1] as isize * gemm.m.a + k * gemm.k.a;
        let j = ob + at[2] as isize * gemm.n.b + k * gemm.k.b;
        number(a[i as usize]) * number(b[j as usize])
    });
    terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()))
}

/// Holds every element against double precision: the operands' own error, and that of as many sums in
/// single precision as there are terms.
fn check(case: &str, method: Method, gemm: &Gemm, [a, b]: [&Memory; 2], c: &[f32]) {
    let [m, n, k] = [gemm.m.size, gemm.n.size, gemm.k.size];
    let planes = method.planes();
    let own = match planes {
        Planes::Split => 2f64.powi(-15),
        Planes::Rounded => 0.0,
    };
    for batch in 0..gemm.batch[0].size {
        for row in 0..m {
            for col in 0..n {
                let at = batch * m * n + row * gemm.m.c as usize + col * gemm.n.c as usize;
                let (expected, size) =
                    exact(gemm, [batch, row, col], a.as_slice(), b.as_slice(), planes);
                let off = (f64::from(c[at]) - expected).abs();
                let bound = (own + (k + 2) as f64 * 2f64.powi(-24)) * size + 1e-37;
                assert!(
                    off <= bound,
                    "{case} at {batch} {row} {col}: {off:e} > {bound:e}"
                );
            }
        }
    }
}

#[test]
fn every_layout_and_edge_agrees_with_f64_whatever_the_threads() {
    for (batches, m, n, k) in [
        (1, 1, 1, 1),
        (1, 130, 70, 1100),
        (1, 13, 1, 9),
        (1, 1, 40, 8),
        (3, 40, 33, 31),
        // Dealt out by batches on one thread and by parts on two, if the sum were short.
        (3, 16, 33, 700),
        (20, 16, 24, 10),
        (1, 200, 300, 64),
    ] {
        let normal = |x| x;
        let a = filled(batches * m * k, "a", normal);
        let b = filled(batches * n * k, "b", normal);
        for layout in [
            [true, true, true],
            [false, false, true],
            [true, false, false],
        ] {
            let gemm = product(batches, [m, n, k], layout);
            for method in methods() {
                let case = format!("{method:?} {batches} {m} {n} {k} {layout:?}");
                let one = compute(method, 1, &gemm, &a, &b);
                check(&case, method.0, &gemm, [&a, &b], &one);
                let two = compute(method, 2, &gemm, &a, &b);
                let bits = |c: &[f32]| c.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert!(
                    bits(&one) == bits(&two),
                    "{case}: other bits with 2 threads"
                );
            }
        }
    }
}

/// `vdpbf16ps` and vectors of single precision; and tile registers, whatever packs for them.
#[test]
fn the_same_arithmetic_gives_the_same_bits_on_every_instruction_set() {
    let gemm = product(1, [37, 75, 1300], [true, false, true]);
    let a = filled(37 * 1300, "a", |x| x);
    let b = filled(75 * 1300, "b", |x| x);
    let mut seen: Vec<(Method, Isa, Vec<u32>)> = vec![];
    for method in methods() {
        let c = compute(method, 2, &gemm, &a, &b);
        let bits: Vec<u32> = c.iter().map(|x| x.to_bits()).collect();
        match seen.iter().find(|(m, ..)| *m == method.0) {
            Some((_, isa, first)) => {
                assert!(*first == bits, "{method:?} has other bits than {isa:?}");
            }
            None => seen.push((method.0, method.1, bits)),
        }
    }
}

/// Root mean square of the error, and of the result.
fn error(gemm: &Gemm, a: &Memory, b: &Memory, c: &[f32]) -> [f64; 2] {
    let (mut off, mut all) = (0.0, 0.0);
    for (at, found) in c.iter().enumerate() {
        let place = [0, at / gemm.n.size, at % gemm.n.size];
        let (x, _) = exact(gemm, place, a.as_slice(), b.as_slice(), Planes::Split);
        off += (f64::from(*found) - x).powi(2);
        all += x * x;
    }
    [off, all].map(|x| (x / c.len() as f64).sqrt())
}

/// How far split operands are from single precision: parts of sixteen bits are off by some `2^-18` of a
/// product, however short the sum; single precision adds its own error with every term.
#[test]
fn split_operands_are_nearly_single_precision() {
    type Numbers = (&'static str, fn(f64) -> f64);
    let numbers: [Numbers; 4] = [
        ("normal", |x| x),
        ("positive", |x| x.abs() + 0.1),
        // Over forty powers of two.
        ("wide", |x| x.signum() * (x * 7.0).exp2()),
        // Neighbouring terms take each other's place but for a thousandth.
        ("cancelling", |x| x),
    ];
    for k in [16, 64, 768, 3072] {
        let gemm = product(1, [48, 64, k], [true, true, true]);
        for (name, number) in numbers {
            let (mut a, mut b) = (filled(48 * k, "a", number), filled(64 * k, "b", number));
            if name == "cancelling" {
                a.as_mut_slice().chunks_mut(2).for_each(|x| x[1] = x[0]);
                b.as_mut_slice()
                    .chunks_mut(2)
                    .for_each(|x| x[1] = 0.001 * x[1] - x[0]);
            }
            let [f32, size] = error(&gemm, &a, &b, &single(&gemm, &a, &b));
            for method in methods() {
                let [found, _] = error(&gemm, &a, &b, &compute(method, 1, &gemm, &a, &b));
                let (own, times) = (found / size, found / f32);
                let case = format!("{name}, {k} terms, {method:?}: {own:.1e} of the result, {times:.1} times f32's");
                println!("{case}");
                if method.0.planes() == Planes::Rounded {
                    continue;
                }
                let bound = match name {
                    "cancelling" => 1e-2,
                    _ => 2e-5,
                };
                assert!(own < bound, "{case}");
                // Long sums.
                let bound = match name {
                    _ if k < 768 => continue,
                    "normal" => 10.0,
                    "positive" => 1.0,
                    "cancelling" => 400.0,
                    _ => 100.0,
                };
                assert!(times < bound, "{case}");
            }
        }
    }
}

/// Infinite, NaN or finite as in single precision, for every pair of numbers in every place of a sum.
#[test]
fn the_ends_of_the_range_are_those_of_single_precision() {
    let ends = [
        0.0,
        1.0,
        -2.5,
        1e-30,
        1.0 + 1.0 / 256.0,
        3e38,
        // Rounds to infinity in bfloat16.
        3.4e38,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let count = ends.len();
    for place in 0..3 {
        // Row `i` holds an end and ones, column `j` an end and twos.
        let mut a = filled(count * 3, "a", |_| 1.0);
        let mut b = filled(count * 3, "b", |_| 2.0);
        for (i, end) in ends.iter().enumerate() {
            a.as_mut_slice()[3 * i + place] = *end;
            b.as_mut_slice()[3 * i + place] = *end;
        }
        let gemm = product(1, [count, count, 3], [true, true, true]);
        for method in methods() {
            if method.0.planes() == Planes::Rounded {
                continue;
            }
            let c = compute(method, 1, &gemm, &a, &b);
            for (at, found) in c.iter().enumerate() {
                let (x, y) = (ends[at / count], ends[at % count]);
                let expected = x * y + 4.0;
                let same = expected.is_nan() && found.is_nan() || expected == *found;
                let near = (f64::from(*found) - f64::from(expected)).abs()
                    <= 2f64.powi(-15) * f64::from(expected.abs());
                assert!(same || near, "{method:?}: {x:e} * {y:e} is {found:e}");
            }
        }
    }
}

/// Parts, products and sums below the smallest normal number may become zero, nothing else.
#[test]
fn what_is_too_small_is_lost_and_no_more() {
    let (m, k) = (64, 4);
    let gemm = product(1, [m, 1, k], [true, true, true]);
    let a = filled(m * k, "a", |x| x * 2f64.powi(-120));
    let b = filled(k, "b", |x| x);
    for method in methods() {
        let c = compute(method, 1, &gemm, &a, &b);
        for (row, found) in c.iter().enumerate() {
            let planes = method.0.planes();
            let (x, size) = exact(&gemm, [0, row, 0], a.as_slice(), b.as_slice(), planes);
            let most: f32 = b.as_slice().iter().map(|x| x.abs()).sum();
            let lost = f64::from(f32::MIN_POSITIVE) * (f64::from(most) + 6.0 * k as f64);
            let off = (f64::from(*found) - x).abs();
            assert!(
                off <= 2f64.powi(-15) * size + lost,
                "{method:?} {row}: {off:e}"
            );
        }
    }
}
