//! Values of matrix products, look-ups and blocks against plain computations.

use crate::support::{numbers, wide, Lab, TIGHT};

#[test]
fn matrix_products_of_any_batch() {
    // a [2, 1, 3, 4] x b [5, 4, 6] -> [2, 5, 3, 6]
    let (a, b) = (numbers("a", 24, -1.0, 1.0), numbers("b", 120, -1.0, 1.0));
    let mut want = Vec::new();
    for i in 0..2 {
        for j in 0..5 {
            for m in 0..3 {
                for n in 0..6 {
                    want.push(
                        (0..4)
                            .map(|k| {
                                f64::from(a[(i * 3 + m) * 4 + k])
                                    * f64::from(b[(j * 4 + k) * 6 + n])
                            })
                            .sum::<f64>(),
                    );
                }
            }
        }
    }
    for (merged, transposed) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut lab = Lab::new();
        let mut ta = lab.param_of("a", &[2, 1, 3, 4], a.clone());
        let mut tb = lab.param_of("b", &[5, 4, 6], b.clone());
        if merged {
            // four batch dims: the product would need seven dims
            ta = lab.g.reshape(&ta, &[1, 2, 1, 1, 3, 4]).unwrap();
            tb = lab.g.reshape(&tb, &[5, 1, 4, 6]).unwrap();
        }
        let y = if transposed {
            let r = tb.rank();
            let turned = lab.g.transpose(&tb, r - 2, r - 1).unwrap();
            lab.g.matmul_t(&ta, &turned)
        } else {
            lab.g.matmul(&ta, &tb)
        };
        lab.check(y, &want, 1e-12);
    }
}

#[test]
fn linear_of_vectors_and_batches() {
    let (x, w, b) = (
        numbers("x", 6, -1.0, 1.0),
        numbers("w", 15, -1.0, 1.0),
        numbers("b", 5, -1.0, 1.0),
    );
    let row = |r: usize| -> Vec<f64> {
        (0..5)
            .map(|o| {
                f64::from(b[o])
                    + (0..3)
                        .map(|i| f64::from(x[r * 3 + i]) * f64::from(w[o * 3 + i]))
                        .sum::<f64>()
            })
            .collect()
    };
    let mut lab = Lab::new();
    let tx = lab.param_of("x", &[2, 3], x.clone());
    let tw = lab.param_of("w", &[5, 3], w.clone());
    let tb = lab.param_of("b", &[5], b.clone());
    let y = lab.g.linear(&tx, &tw, Some(&tb)).unwrap();
    let first = lab.g.slice(&tx, 0, 1, 2).unwrap();
    let first = lab.g.squeeze(&first, 0).unwrap();
    let z = lab.g.linear(&first, &tw, Some(&tb)).unwrap();
    assert_eq!(z.shape(), [5]);
    let z = lab.g.unsqueeze(&z, 0).unwrap();
    let all = lab.g.concat(&[&y, &z], 0);
    lab.check(all, &[row(0), row(1), row(1)].concat(), 1e-12);
}

#[test]
fn look_ups() {
    let table = numbers("table", 21, -1.0, 1.0);
    let index = [3.0, 0.0, 6.0, 6.0, 2.0, 5.0];
    let want: Vec<f64> = index
        .iter()
        .flat_map(|i| wide(&table[*i as usize * 3..*i as usize * 3 + 3]))
        .collect();
    for shape in [vec![6], vec![2, 3], vec![1, 2, 1, 1, 3]] {
        let mut lab = Lab::new();
        let t = lab.param_of("table", &[7, 3], table.clone());
        let i = lab.indices("i", &shape, 7, &index);
        let y = lab.g.gather(&t, &i).unwrap();
        assert_eq!(y.shape(), [shape, vec![3]].concat());
        lab.check(Ok(y), &want, 0.0);
    }
    // One past the table is no row.
    let mut lab = Lab::new();
    let t = lab.param_of("table", &[7, 3], table.clone());
    let i = lab.indices("i", &[2, 2], 8, &[7.0, 6.0, 1.0, 7.0]);
    let y = lab.g.gather_or_zero(&t, &i);
    let zeros = vec![0.0; 3];
    let want = [zeros.clone(), wide(&table[18..]), wide(&table[3..6]), zeros];
    lab.check(y, &want.concat(), 0.0);
    let mut lab = Lab::new();
    let t = lab.param_of("table", &[3, 7], table.clone());
    let i = lab.indices("i", &[3], 7, &[6.0, 0.0, 4.0]);
    let y = lab.g.take_along(&t, &i);
    lab.check(y, &wide(&[table[6], table[7], table[18]]), 0.0);
    let mut lab = Lab::new();
    let t = lab.param_of("t", &[2, 3], vec![1.0, 5.0, 5.0, 2.0, 0.0, -1.0]);
    let y = lab.g.equal_to_max(&t, 1);
    lab.check(y, &[0.0, 1.0, 1.0, 1.0, 0.0, 0.0], 0.0);
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::MIN, f64::max);
    let total: f64 = row.iter().map(|x| (x - max).exp()).sum();
    row.iter().map(|x| x - max - total.ln()).collect()
}

#[test]
fn softmax_on_either_axis_and_far_out() {
    let x = numbers("x", 15, -200.0, 200.0);
    let rows: Vec<f64> = wide(&x).chunks(5).flat_map(log_softmax).collect();
    let mut lab = Lab::new();
    let t = lab.param_of("x", &[3, 5], x.clone());
    let y = lab.g.log_softmax(&t, 1);
    lab.check(y, &rows, TIGHT);
    let mut lab = Lab::new();
    let t = lab.param_of("x", &[3, 5], x.clone());
    let y = lab.g.softmax(&t, 1);
    let soft: Vec<f64> = rows.iter().map(|x| x.exp()).collect();
    lab.check(y, &soft, 1e-5);
    // along the first axis of the transpose
    let mut lab = Lab::new();
    let t = lab.param_of("x", &[3, 5], x);
    let turned = lab.g.transpose(&t, 0, 1).unwrap();
    let y = lab.g.softmax(&turned, 0).unwrap();
    let y = lab.g.transpose(&y, 0, 1);
    lab.check(y, &soft, 1e-5);
    let mut lab = Lab::new();
    let t = lab.param("x", &[3, 1], -5.0, 5.0);
    let y = lab.g.softmax(&t, 1);
    lab.check(y, &[1.0; 3], 0.0);
}

#[test]
fn layer_norm_of_rows() {
    let (x, gamma, beta) = (
        numbers("x", 14, -3.0, 3.0),
        numbers("gamma", 7, 0.5, 1.5),
        numbers("beta", 7, -1.0, 1.0),
    );
    let mut want = Vec::new();
    for row in wide(&x).chunks(7) {
        let mean = row.iter().sum::<f64>() / 7.0;
        let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 7.0;
        for (i, v) in row.iter().enumerate() {
            want.push((v - mean) / (var + 1e-5).sqrt() * f64::from(gamma[i]) + f64::from(beta[i]));
        }
    }
    let mut lab = Lab::new();
    let x = lab.param_of("x", &[2, 1, 7], x);
    let gamma = lab.param_of("gamma", &[7], gamma);
    let beta = lab.param_of("beta", &[7], beta);
    let y = lab.g.layer_norm(&x, &gamma, &beta, 1e-5);
    lab.check(y, &want, 1e-6);
}

#[test]
fn cross_entropy_with_ignored_positions() {
    let logits = numbers("logits", 15, -4.0, 4.0);
    let rows: Vec<Vec<f64>> = wide(&logits).chunks(5).map(log_softmax).collect();
    let weights = [1.0f32, 0.0, 0.5];
    let labels = [4.0f32, 0.0, 2.0];
    let want: Vec<f64> = (0..3)
        .map(|i| -rows[i][labels[i] as usize] * f64::from(weights[i]))
        .collect();
    let mut lab = Lab::new();
    let logits = lab.param_of("logits", &[3, 5], logits);
    let labels = lab.indices("labels", &[3], 5, &labels);
    lab.feeds.set("weights", weights.to_vec());
    let weights = lab.g.input("weights", &[3]).unwrap();
    let y = lab.g.cross_entropy(&logits, &labels, Some(&weights));
    lab.check(y, &want, TIGHT);
}
