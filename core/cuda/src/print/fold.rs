//! Partial results of several teams, brought together in a fixed order.

use super::row::start;
use super::{About, Argument, KernelSource, Launch};
use ablate_compiler::ir::Reduction;
use std::fmt::Write as _;

/// Threads of a block.
const THREADS: usize = 512;

/// `to[column] = op over parts of from[part * width + column]`
pub struct Part {
    /// Partial results, one row a team.
    pub from: Argument,
    /// Results.
    pub to: Argument,
    /// Columns.
    pub width: usize,
    /// Sum or maximum.
    pub op: Reduction,
}

/// Prints one kernel that folds all `parts`, each of `count` rows.
pub fn print(parts: &[Part], count: usize, about: &About) -> KernelSource {
    let widest = parts.iter().map(|p| p.width).max().unwrap_or(1);
    // Columns side by side in a block; the other threads share the rows.
    let columns = widest.next_power_of_two().min(32);
    let slices = THREADS / columns;
    let mut body = format!("  __shared__ float part[{THREADS}];\n");
    let mut parameters = vec![];
    let mut first = 0;
    let _ = writeln!(
        body,
        "  const float *from;\n  float *to;\n  int width, block;\n  bool is_sum;"
    );
    for (k, part) in parts.iter().enumerate() {
        let blocks = part.width.div_ceil(columns);
        let open = if k == 0 { "  if" } else { " else if" };
        let is_sum = part.op == Reduction::Sum;
        let _ = write!(
            body,
            "{open} (blockIdx.x < {}) {{\n    from = r{k}; to = b{k}; width = {}; block = blockIdx.x - {first}; is_sum = {is_sum};\n  }}",
            first + blocks,
            part.width
        );
        first += blocks;
        parameters.push((format!("const float *__restrict__ r{k}"), part.from.clone()));
        parameters.push((format!("float *__restrict__ b{k}"), part.to.clone()));
    }
    let _ = write!(
        body,
        r#" else {{
    return;
  }}
  const int column = block * {columns} + threadIdx.x % {columns}, slice = threadIdx.x / {columns};
  float v = is_sum ? {} : {};
  if (column < width) {{
    for (int i = slice; i < {count}; i += {slices}) {{
      const float x = from[(long long)i * width + column];
      v = is_sum ? v + x : greater(v, x);
    }}
  }}
  part[threadIdx.x] = v;
  for (int step = {slices} / 2; step > 0; step /= 2) {{
    __syncthreads();
    if (slice < step) {{
      const float x = part[threadIdx.x + step * {columns}];
      v = is_sum ? v + x : greater(v, x);
      part[threadIdx.x] = v;
    }}
  }}
  if (slice == 0 && column < width) to[column] = v;
"#,
        start(Reduction::Sum),
        start(Reduction::Max),
    );
    let widths: usize = parts.iter().map(|p| p.width).sum();
    let launch = Launch {
        kind: "fold",
        size: format!("{count}x{widths}"),
        blocks: first,
        threads: THREADS,
        shared_bytes: THREADS * size_of::<f32>(),
        flops: (count * widths) as u64,
    };
    let bytes = (count + 1) * widths * size_of::<f32>();
    about.source(&launch, &parameters, &body, bytes as u64)
}
