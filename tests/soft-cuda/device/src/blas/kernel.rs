//! The arithmetic of a product: blocked, on all processor threads, the same bits whatever their number.

/// Rows of a tile.
const ROWS: usize = 6;
/// Columns of a tile.
const COLUMNS: usize = 16;
/// Terms that are summed before the sum is added to the result.
const DEPTH: usize = 256;
/// Multiplications under which a second thread costs more than it saves.
const WORTH_A_THREAD: usize = 1 << 20;

/// `a` of `m` rows and `k` columns times `b` of `k` rows and `n` columns, all row by row.
pub fn multiply(a: &[f32], b: &[f32], m: usize, n: usize, k: usize) -> Vec<f32> {
    let mut product = vec![0.0; m * n];
    if m * n * k == 0 {
        return product;
    }
    let panels = pack(b, n, k);
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = available.min(m * n * k / WORTH_A_THREAD).max(1);
    let rows = m.div_ceil(threads).next_multiple_of(ROWS);
    std::thread::scope(|scope| {
        for (part, a) in product.chunks_mut(rows * n).zip(a.chunks(rows * k)) {
            let panels = &panels;
            if threads == 1 {
                stripe(a, panels, part, n, k);
            } else {
                scope.spawn(move || stripe(a, panels, part, n, k));
            }
        }
    });
    product
}

/// Columns in groups of [`COLUMNS`], each group row by row, filled up with zeros.
fn pack(b: &[f32], n: usize, k: usize) -> Vec<f32> {
    let mut panels = vec![0.0; n.next_multiple_of(COLUMNS) * k];
    for (panel, start) in panels.chunks_mut(COLUMNS * k).zip((0..n).step_by(COLUMNS)) {
        let width = COLUMNS.min(n - start);
        for (line, row) in panel.chunks_mut(COLUMNS).zip(b.chunks(n)) {
            line[..width].copy_from_slice(&row[start..start + width]);
        }
    }
    panels
}

/// Rows in groups of [`ROWS`], each group column by column, filled up with zeros.
fn pack_rows(a: &[f32], k: usize) -> Vec<f32> {
    let m = a.len() / k;
    let mut panels = vec![0.0; m.next_multiple_of(ROWS) * k];
    for (panel, rows) in panels.chunks_mut(ROWS * k).zip(a.chunks(ROWS * k)) {
        for (i, row) in rows.chunks(k).enumerate() {
            for (line, value) in panel.chunks_mut(ROWS).zip(row) {
                line[i] = *value;
            }
        }
    }
    panels
}

fn stripe(a: &[f32], panels: &[f32], product: &mut [f32], n: usize, k: usize) {
    let rows = pack_rows(a, k);
    for depth in (0..k).step_by(DEPTH) {
        let end = (depth + DEPTH).min(k);
        for (panel, column) in panels.chunks(COLUMNS * k).zip((0..n).step_by(COLUMNS)) {
            let panel = &panel[depth * COLUMNS..end * COLUMNS];
            let width = COLUMNS.min(n - column);
            for (lines, part) in rows.chunks(ROWS * k).zip(product.chunks_mut(ROWS * n)) {
                let sums = tile(&lines[depth * ROWS..end * ROWS], panel);
                for (line, sums) in part.chunks_mut(n).zip(&sums) {
                    for (to, sum) in line[column..column + width].iter_mut().zip(sums) {
                        *to += sum;
                    }
                }
            }
        }
    }
}

type Tile = [[f32; COLUMNS]; ROWS];

fn tile(rows: &[f32], columns: &[f32]) -> Tile {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both.
        return unsafe { tile_fused(rows, columns) };
    }
    let mut sums = Tile::default();
    for (x, y) in rows.chunks_exact(ROWS).zip(columns.chunks_exact(COLUMNS)) {
        for i in 0..ROWS {
            for j in 0..COLUMNS {
                sums[i][j] += x[i] * y[j];
            }
        }
    }
    sums
}

/// The same with fused multiply-adds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn tile_fused(rows: &[f32], columns: &[f32]) -> Tile {
    let mut sums = Tile::default();
    for (x, y) in rows.chunks_exact(ROWS).zip(columns.chunks_exact(COLUMNS)) {
        for i in 0..ROWS {
            for j in 0..COLUMNS {
                sums[i][j] = x[i].mul_add(y[j], sums[i][j]);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_around_a_tile_matches_a_plain_sum() {
        let number = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
        let sizes = [1, 2, 5, 6, 7, 15, 16, 17, 33];
        for m in sizes {
            for n in sizes {
                for k in [1, 3, 255, 256, 257, 600] {
                    let a: Vec<f32> = (0..m * k).map(number).collect();
                    let b: Vec<f32> = (0..k * n).map(|i| number(i + 7)).collect();
                    let found = multiply(&a, &b, m, n, k);
                    for i in 0..m {
                        for j in 0..n {
                            let terms =
                                (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]));
                            let expected: f64 = terms.sum();
                            let off = (f64::from(found[i * n + j]) - expected).abs();
                            assert!(off < 1e-5 * (k as f64).sqrt(), "{m} {n} {k}: {off}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn many_threads_give_the_bits_of_one() {
        let (m, n, k) = (97, 130, 300);
        let a: Vec<f32> = (0..m * k).map(|i| (i as f32).sin()).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i as f32).cos()).collect();
        let mut alone = vec![0.0; m * n];
        stripe(&a, &pack(&b, n, k), &mut alone, n, k);
        assert_eq!(multiply(&a, &b, m, n, k), alone);
    }
}
