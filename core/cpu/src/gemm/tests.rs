use super::*;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut reader = ablate_random::Stream::new(seed, "gemm").reader();
    (0..count).map(|_| reader.normal() as f32).collect()
}

/// Strides of a matrix `[i, k]`: summed positions side by side, rows side by side, neither.
fn layouts(size: usize, k: usize) -> [(isize, isize); 3] {
    [(k as isize, 1), (1, size as isize), (2 * k as isize + 1, 2)]
}

fn scratch() -> crate::memory::Memory {
    crate::memory::Memory::new(SCRATCH)
}

#[test]
fn every_layout_and_edge_agrees_with_f64() {
    let mut memory = scratch();
    let sizes = [
        (1, 1, 1),
        (5, 3, 2),
        (12, 32, 16),
        (13, 33, 17),
        (100, 70, 530),
        (3, 200, 64),
        (96, 1, 40),
        (1, 65, 300),
    ];
    for (m, n, k) in sizes {
        let (a, b) = (numbers(4 * m * k + 8, 1), numbers(4 * n * k + 8, 2));
        for (a_stride, a_step) in layouts(m, k) {
            for (b_stride, b_step) in layouts(n, k) {
                for c_strides in [[n as isize, 1], [1, m as isize], [2 * n as isize, 2]] {
                    for isa in Isa::available() {
                        for add in [false, true] {
                            let mut c = vec![0.5f32; 2 * m * n + 2];
                            let product = Product {
                                size: [m, n, k],
                                a: Operand {
                                    start: a.as_ptr(),
                                    stride: a_stride,
                                    step: a_step,
                                },
                                b: Operand {
                                    start: b.as_ptr(),
                                    stride: b_stride,
                                    step: b_step,
                                },
                                c: c.as_mut_ptr(),
                                c_strides,
                                add,
                            };
                            // SAFETY: the vectors are longer than the strides reach.
                            unsafe { product.run(isa, memory.as_mut_slice().as_mut_ptr()) };
                            for row in 0..m {
                                for col in 0..n {
                                    let term = |p: usize| {
                                        let x = a[(row as isize * a_stride + p as isize * a_step)
                                            as usize];
                                        let y = b[(col as isize * b_stride + p as isize * b_step)
                                            as usize];
                                        f64::from(x) * f64::from(y)
                                    };
                                    let exact =
                                        (0..k).map(term).sum::<f64>() + if add { 0.5 } else { 0.0 };
                                    let at =
                                        row as isize * c_strides[0] + col as isize * c_strides[1];
                                    let off = (f64::from(c[at as usize]) - exact).abs();
                                    let bound = 8e-6 * (k as f64).sqrt();
                                    assert!(
                                        off < bound,
                                        "{isa:?} {m} {n} {k} {c_strides:?} {off:e}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The bits of an element do not depend on which part of the result is asked for.
#[test]
fn parts_have_the_bits_of_the_whole() {
    let mut memory = scratch();
    let (m, n, k) = (50, 90, 1100);
    let (a, b) = (numbers(m * k, 3), numbers(n * k, 4));
    for isa in Isa::available() {
        let mut run = |rows: std::ops::Range<usize>, cols: std::ops::Range<usize>| {
            let mut c = vec![0.0f32; rows.len() * cols.len()];
            let product = Product {
                size: [rows.len(), cols.len(), k],
                a: Operand {
                    start: a[rows.start * k..].as_ptr(),
                    stride: k as isize,
                    step: 1,
                },
                b: Operand {
                    start: b[cols.start..].as_ptr(),
                    stride: 1,
                    step: n as isize,
                },
                c: c.as_mut_ptr(),
                c_strides: [cols.len() as isize, 1],
                add: false,
            };
            // SAFETY: the vectors are as long as the strides reach.
            unsafe { product.run(isa, memory.as_mut_slice().as_mut_ptr()) };
            c
        };
        let whole = run(0..m, 0..n);
        let part = run(7..29, 18..71);
        for (i, row) in (7..29).enumerate() {
            for (j, col) in (18..71).enumerate() {
                assert_eq!(whole[row * n + col].to_bits(), part[i * 53 + j].to_bits());
            }
        }
    }
}

/// AVX2 and AVX-512 round once for each multiply-add, in the same order.
#[test]
fn vector_instruction_sets_give_the_same_bits() {
    let with_fma: Vec<Isa> = Isa::available()
        .into_iter()
        .filter(|isa| tile(*isa)[0] > 4)
        .collect();
    let mut memory = scratch();
    let (m, n, k) = (37, 75, 1700);
    let (a, b) = (numbers(m * k, 5), numbers(n * k, 6));
    for (a_stride, a_step) in &layouts(m, k)[..2] {
        let mut run = |isa| {
            let mut c = vec![0.0f32; m * n];
            let product = Product {
                size: [m, n, k],
                a: Operand {
                    start: a.as_ptr(),
                    stride: *a_stride,
                    step: *a_step,
                },
                b: Operand {
                    start: b.as_ptr(),
                    stride: k as isize,
                    step: 1,
                },
                c: c.as_mut_ptr(),
                c_strides: [n as isize, 1],
                add: false,
            };
            // SAFETY: the vectors are as long as the strides reach.
            unsafe { product.run(isa, memory.as_mut_slice().as_mut_ptr()) };
            c.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
        };
        let all: Vec<Vec<u32>> = with_fma.iter().map(|isa| run(*isa)).collect();
        assert!(all.windows(2).all(|w| w[0] == w[1]));
    }
}
