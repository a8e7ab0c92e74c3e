//! A matrix product of any strides, for layouts that no library call can express.

use super::{About, Argument, KernelSource, Launch};
use ablate_compiler::ir::{Gemm, Level};
use ablate_compiler::program::BufferId;

/// Rows and columns of a block's tile, and summed positions that it loads at a time.
const TILE: usize = 16;

/// Prints a product: a block computes a tile of 16 x 16 from tiles in shared memory.
pub fn product(gemm: &Gemm, [a, b, c]: [BufferId; 3], about: &About) -> KernelSource {
    let (m, n, k) = (gemm.m, gemm.n, gemm.k);
    let batch: usize = gemm.batch.iter().map(|l| l.size).product();
    let (down, across) = (m.size.div_ceil(TILE), n.size.div_ceil(TILE));
    let index = about.index_type([a, b, c].into_iter(), batch * m.size * n.size);
    let offset = |of: &dyn Fn(&Level) -> isize, first: isize| {
        let mut inner = batch;
        let mut text = first.to_string();
        for level in &gemm.batch {
            inner /= level.size;
            text += &format!(" + batch / {inner} % {} * {}", level.size, of(level));
        }
        text
    };
    let body = format!(
        r#"  typedef {index} Index;
  __shared__ float left[{TILE}][{TILE} + 1], right[{TILE}][{TILE} + 1];
  const int x = threadIdx.x % {TILE}, y = threadIdx.x / {TILE};
  const Index batch = blockIdx.x / {tiles}, tile = blockIdx.x % {tiles};
  const Index row = tile / {across} * {TILE} + y, column = tile % {across} * {TILE} + x;
  const Index a0 = {a0}, b0 = {b0}, c0 = {c0};
  float sum = 0.0f;
  for (Index first = 0; first < {ks}; first += {TILE}) {{
    left[y][x] = row < {ms} && first + x < {ks} ? {left} : 0.0f;
    right[y][x] = first + y < {ks} && column < {ns} ? {right} : 0.0f;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < {TILE}; i++) sum += left[y][i] * right[i][x];
    __syncthreads();
  }}
  if (row < {ms} && column < {ns}) {result}
"#,
        tiles = down * across,
        a0 = offset(&|l| l.a, gemm.offset[0]),
        b0 = offset(&|l| l.b, gemm.offset[1]),
        c0 = offset(&|l| l.c, 0),
        ms = m.size,
        ns = n.size,
        ks = k.size,
        left = about.read(
            a,
            "a",
            &format!("a0 + row * {} + (first + x) * {}", m.a, k.a)
        ),
        right = about.read(
            b,
            "b",
            &format!("b0 + (first + y) * {} + column * {}", k.b, n.b)
        ),
        result = about.write(
            c,
            "c",
            &format!("c0 + row * {} + column * {}", m.c, n.c),
            "sum"
        ),
    );
    let launch = Launch {
        kind: "product",
        size: format!("{batch}x{}x{}x{}", m.size, n.size, k.size),
        blocks: batch * down * across,
        threads: TILE * TILE,
        shared_bytes: 2 * TILE * (TILE + 1) * size_of::<f32>(),
        flops: gemm.flops() as u64,
    };
    let parameters = [
        (
            format!("const {} *__restrict__ a", about.type_of(a)),
            Argument::Buffer(a),
        ),
        (
            format!("const {} *__restrict__ b", about.type_of(b)),
            Argument::Buffer(b),
        ),
        (
            format!("{} *__restrict__ c", about.type_of(c)),
            Argument::Buffer(c),
        ),
    ];
    about.source(&launch, &parameters, &body, about.bytes)
}
