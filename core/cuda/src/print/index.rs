//! Look-ups by index, their transpose, and plain random numbers.

use super::access::{both, place, sum};
use super::fold::{self, Part};
use super::shape::is_vector;
use super::{About, Argument, Kernels, Launch};
use ablate_compiler::access::Axis;
use ablate_compiler::ir::Reduction;
use ablate_compiler::program::{BufferId, Kernel, Storage, TileAccess};
use std::fmt::Write as _;

/// Threads of a block.
const THREADS: usize = 256;
/// Columns that a warp of a scatter adds up at most: 32 registers a thread.
const WIDEST: usize = 1024;
/// Warps that a scatter over few classes should have.
const WARPS: usize = 1024;
/// Partial results of a scatter at most.
const MOST_PARTIAL: usize = 1 << 22;

/// Neighbouring elements that are read at once, most first.
fn vectors<const N: usize>(about: &About, buffers: [BufferId; N]) -> impl Iterator<Item = usize> {
    let all = buffers.map(|b| about.storage(b) == Storage::Bf16);
    let most = if all.contains(&false) { 4 } else { 8 };
    [8, 4, 2].into_iter().filter(move |v| *v <= most)
}

fn size(axes: &[Axis]) -> usize {
    axes.iter().map(|a| a.size).product()
}

/// `out[i]` is element `i` of a stream.
pub fn uniform(stream: &str, out: BufferId, about: &About) -> Kernels {
    let len = about.buffers[out].len;
    let index = about.index_type([out].into_iter(), len);
    let body = format!(
        "  const {index} i = ({index})blockIdx.x * {THREADS} + threadIdx.x;\n  \
         if (i < {len}) {}\n",
        about.write(out, "b0", "i", "uniform(*s0, i)")
    );
    let launch = Launch {
        kind: "uniform",
        size: len.to_string(),
        blocks: len.div_ceil(THREADS),
        threads: THREADS,
        shared_bytes: 0,
        flops: 0,
    };
    let parameters = [
        (format!("{} *b0", about.type_of(out)), Argument::Buffer(out)),
        (
            "const uint4 *s0".to_string(),
            Argument::Stream(stream.into()),
        ),
    ];
    Kernels {
        kernels: vec![about.source(&launch, &parameters, &body, about.bytes)],
        scratch: 0,
    }
}

/// Lines that read the class of `row` into `chosen`, and whether it is one into `is_class`.
fn class(access: &TileAccess, classes: usize, indent: &str) -> String {
    let at = place(&access.rows, "row");
    let offset = if access.offset == 0 {
        String::new()
    } else {
        access.offset.to_string()
    };
    let read = format!("index[{}]", sum(&[&at.offset, &offset]));
    let (read, inside) = match at.guard.is_empty() {
        true => (read, String::new()),
        false => (format!("{} ? {read} : -1.0f", at.guard), String::new()),
    };
    // A number that no class equals selects nothing, exactly as the one-hot product does.
    let whole = format!("chosen >= 0.0f && chosen < {classes}.0f && chosen == truncf(chosen)");
    format!(
        "{indent}const float chosen = {read};\n{indent}const bool is_class = {};\n",
        both(&inside, &whole)
    )
}

/// `out[row, inner] = table[index[row], inner]`
pub fn gather(kernel: &Kernel, about: &About) -> Kernels {
    let Kernel::Gather {
        table,
        table_access,
        class_stride,
        classes,
        index,
        index_access,
        out,
    } = kernel
    else {
        return Kernels {
            kernels: vec![],
            scratch: 0,
        };
    };
    let (rows, width) = (size(&index_access.rows), size(&table_access.cols));
    let aligned =
        |v: &usize| is_vector(table_access, width, *v) && *class_stride % *v as isize == 0;
    let vector = vectors(about, [*table, *out]).find(aligned).unwrap_or(1);
    let vectors = width.div_ceil(vector);
    let lanes = vectors.next_power_of_two().min(32);
    let teams = THREADS / lanes;
    let index_type = about.index_type([*table, *out].into_iter(), rows * width);
    let row = place(&table_access.rows, "row");
    let column = place(&table_access.cols, "c");
    let offset = match table_access.offset {
        0 => String::new(),
        offset => offset.to_string(),
    };
    let class_offset = format!("(Index)chosen * {class_stride}");
    let from = sum(&[&class_offset, &row.offset, &offset, &column.offset]);
    let mut body = format!("  typedef {index_type} Index;\n");
    let _ = write!(
        body,
        "  const Index row = (Index)blockIdx.x * {teams} + threadIdx.x / {lanes};\n  \
         if (row >= {rows}) return;\n{}",
        class(index_access, *classes, "  ")
    );
    let guard = both(&row.guard, &column.guard);
    let guard = both("is_class", &guard);
    let step = lanes * vector;
    let _ = writeln!(
        body,
        "  for (Index c = threadIdx.x % {lanes} * {vector}; c < {width}; c += {step}) {{"
    );
    let _ = match vector {
        1 => writeln!(
            body,
            "    {}",
            about.write(
                *out,
                "b0",
                &format!("row * {width} + c"),
                &format!("{guard} ? {} : 0.0f", about.read(*table, "table", &from))
            )
        ),
        _ => writeln!(
            body,
            "    float v[{vector}] = {{}};\n    if ({guard}) load(v, table + {from});\n    \
             store(b0 + row * {width} + c, v);"
        ),
    };
    body.push_str("  }\n");
    let launch = Launch {
        kind: "gather",
        size: format!("{rows}x{width}"),
        blocks: rows.div_ceil(teams),
        threads: THREADS,
        shared_bytes: 0,
        flops: 0,
    };
    let parameters = [
        (
            format!("const {} *__restrict__ table", about.type_of(*table)),
            Argument::Buffer(*table),
        ),
        (
            "const float *__restrict__ index".to_string(),
            Argument::Buffer(*index),
        ),
        (
            format!("{} *__restrict__ b0", about.type_of(*out)),
            Argument::Buffer(*out),
        ),
    ];
    Kernels {
        kernels: vec![about.source(&launch, &parameters, &body, about.bytes)],
        scratch: 0,
    }
}

/// `out[class, inner] = sum over rows with index[row] == class of value[row, inner]`
///
/// A warp owns a class, or one of a few segments of it, looks through the indices and adds the rows that
/// name it, in their order. Where there are few classes the rows are cut too, and the parts folded.
pub fn scatter(kernel: &Kernel, about: &About) -> Kernels {
    let Kernel::ScatterAdd {
        value,
        value_access,
        index,
        index_access,
        classes,
        out,
    } = kernel
    else {
        return Kernels {
            kernels: vec![],
            scratch: 0,
        };
    };
    let (rows, width) = (size(&index_access.rows), size(&value_access.cols));
    let vector = vectors(about, [*value])
        .find(|v| is_vector(value_access, width, *v))
        .unwrap_or(1);
    let segments = width.div_ceil(WIDEST);
    let segment = width.div_ceil(segments).next_multiple_of(vector);
    let items = segment.div_ceil(32 * vector);
    let len = classes * width;
    let most = (MOST_PARTIAL / len).max(1);
    let chunks = (WARPS / (classes * segments))
        .clamp(1, rows.div_ceil(32))
        .min(most);
    let each = rows.div_ceil(chunks);
    let chunks = rows.div_ceil(each);
    let index_type = about.index_type([*value, *out].into_iter(), rows * width);
    let row = place(&value_access.rows, "row");
    let offset = match value_access.offset {
        0 => String::new(),
        offset => offset.to_string(),
    };
    let warps = classes * segments * chunks;
    let mut body = format!("  typedef {index_type} Index;\n");
    let _ = write!(
        body,
        r#"  const Index warp = (Index)blockIdx.x * {} + threadIdx.x / 32;
  if (warp >= {warps}) return;
  const int lane = threadIdx.x % 32, segment = warp % {segments}, chunk = warp / {segments} % {chunks};
  const int mine = warp / {};
  float sum[{items}][{vector}] = {{}};
  const Index end = (chunk + 1) * {each} < {rows} ? (chunk + 1) * {each} : {rows};
  for (Index first = chunk * {each}; first < end; first += 32) {{
    bool hit = false;
    if (first + lane < end) {{
      const Index row = first + lane;
{}      hit = is_class && (int)chosen == mine;
    }}
    unsigned hits = __ballot_sync(0xffffffffu, hit);
    while (hits != 0) {{
      const Index row = first + __ffs(hits) - 1;
      hits &= hits - 1;
"#,
        THREADS / 32,
        segments * chunks,
        class(index_access, *classes, "      "),
    );
    if !row.guard.is_empty() {
        let _ = writeln!(body, "      if (!({})) continue;", row.guard);
    }
    let loops = |text: &str| {
        format!(
            "#pragma unroll\n      for (int i = 0; i < {items}; i++) {{\n        \
             const Index c = segment * {segment} + (lane + i * 32) * {vector};\n        \
             if (c < {width} && c < (segment + 1) * {segment}) {{\n{text}        }}\n      }}\n"
        )
    };
    let inner = match vector {
        1 => {
            let column = place(&value_access.cols, "c");
            let at = sum(&[&row.offset, &offset, &column.offset]);
            let read = about.read(*value, "value", &at);
            match column.guard.is_empty() {
                true => format!("          sum[i][0] += {read};\n"),
                false => format!("          if ({}) sum[i][0] += {read};\n", column.guard),
            }
        }
        _ => format!(
            "          float v[{vector}];\n          load(v, value + {});\n#pragma unroll\n          \
             for (int j = 0; j < {vector}; j++) sum[i][j] += v[j];\n",
            sum(&[&row.offset, &offset, "c"])
        ),
    };
    body.push_str(&loops(&inner));
    body.push_str("    }\n  }\n");
    let at = format!("b0 + (chunk * {classes} + mine) * (Index){width} + c");
    body.push_str(&loops(&format!("          store({at}, sum[i]);\n")));
    let launch = Launch {
        kind: "scatter",
        size: format!("{rows}x{width}"),
        blocks: warps.div_ceil(THREADS / 32),
        threads: THREADS,
        shared_bytes: 0,
        flops: (rows * width) as u64,
    };
    let to = match chunks {
        1 => Argument::Buffer(*out),
        _ => Argument::Scratch(0),
    };
    let parameters = [
        (
            format!("const {} *__restrict__ value", about.type_of(*value)),
            Argument::Buffer(*value),
        ),
        (
            "const float *__restrict__ index".to_string(),
            Argument::Buffer(*index),
        ),
        ("float *__restrict__ b0".to_string(), to.clone()),
    ];
    let mut kernels = vec![about.source(&launch, &parameters, &body, about.bytes)];
    if chunks == 1 {
        return Kernels {
            kernels,
            scratch: 0,
        };
    }
    let part = Part {
        from: to,
        to: Argument::Buffer(*out),
        width: len,
        op: Reduction::Sum,
    };
    kernels.push(fold::print(&[part], chunks, about));
    Kernels {
        kernels,
        scratch: chunks * len,
    }
}
