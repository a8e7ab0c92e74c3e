//! Random views against the enumeration of their indices, and stock luminal against f64 on them.

use crate::support::Lab;
use proptest::prelude::*;

/// A change of view, with raw numbers that are reduced to what fits.
#[derive(Clone, Debug)]
enum Change {
    Permute(u64),
    Slice(usize, usize, usize),
    Expand(usize, usize),
    Unsqueeze(usize),
    Squeeze,
    Pad(usize, usize, usize),
    Merge(usize),
    Split(usize),
    Flatten,
    Sum(usize),
    Negate,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u64>().prop_map(Change::Permute),
        (0usize..6, 0usize..9, 1usize..9).prop_map(|(a, b, c)| Change::Slice(a, b, c)),
        (0usize..7, 1usize..4).prop_map(|(a, n)| Change::Expand(a, n)),
        (0usize..7).prop_map(Change::Unsqueeze),
        Just(Change::Squeeze),
        (0usize..6, 0usize..2, 0usize..3).prop_map(|(a, b, c)| Change::Pad(a, b, c)),
        (0usize..6).prop_map(Change::Merge),
        (0usize..6).prop_map(Change::Split),
        Just(Change::Flatten),
        (0usize..6).prop_map(Change::Sum),
        Just(Change::Negate),
    ]
}

/// A plain array: the model that views are compared with.
#[derive(Clone, Debug)]
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Array {
    fn at(&self, at: &[usize]) -> f64 {
        let mut position = 0;
        for (i, n) in at.iter().zip(&self.shape) {
            position = position * n + i;
        }
        self.values[position]
    }

    fn make(shape: Vec<usize>, f: impl Fn(&[usize]) -> f64) -> Array {
        let count: usize = shape.iter().product();
        let values = (0..count)
            .map(|mut i| {
                let mut at = vec![0; shape.len()];
                for l in (0..shape.len()).rev() {
                    at[l] = i % shape[l];
                    i /= shape[l];
                }
                f(&at)
            })
            .collect();
        Array { shape, values }
    }
}

fn permutation(rank: usize, mut code: u64) -> Vec<usize> {
    let mut left: Vec<usize> = (0..rank).collect();
    (0..rank)
        .map(|_| {
            let i = (code % left.len() as u64) as usize;
            code /= left.len() as u64;
            left.remove(i)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn views_show_the_right_elements(
        shape in prop::collection::vec(1usize..5, 0..4),
        changes in prop::collection::vec(change(), 1..9),
    ) {
        let mut lab = Lab::new();
        let count: usize = shape.iter().product();
        let mut t = lab.param_of("x", &shape, (1..=count).map(|i| i as f32).collect());
        let mut model = Array { shape, values: (1..=count).map(|i| i as f64).collect() };
        for change in changes {
            let g = &mut lab.g;
            let rank = t.rank();
            if model.values.len() > 2000 {
                break;
            }
            let was = model.clone();
            let next;
            (next, model) = match change {
                Change::Permute(code) => {
                    let axes = permutation(rank, code);
                    let shape = axes.iter().map(|a| was.shape[*a]).collect();
                    let model = Array::make(shape, |at| {
                        let mut from = vec![0; rank];
                        axes.iter().zip(at).for_each(|(a, i)| from[*a] = *i);
                        was.at(&from)
                    });
                    (g.permute(&t, &axes), model)
                }
                Change::Slice(axis, start, len) if rank > 0 => {
                    let axis = axis % rank;
                    let start = start % was.shape[axis];
                    let end = start + 1 + (len - 1) % (was.shape[axis] - start);
                    let mut shape = was.shape.clone();
                    shape[axis] = end - start;
                    let model = Array::make(shape, |at| {
                        let mut from = at.to_vec();
                        from[axis] += start;
                        was.at(&from)
                    });
                    (g.slice(&t, axis, start, end), model)
                }
                Change::Expand(axis, n) if rank < 6 => {
                    let axis = axis % (rank + 1);
                    let thin = g.unsqueeze(&t, axis).unwrap();
                    let mut shape = was.shape.clone();
                    shape.insert(axis, n);
                    let model = Array::make(shape.clone(), |at| {
                        let mut from = at.to_vec();
                        from.remove(axis);
                        was.at(&from)
                    });
                    (g.expand(&thin, &shape), model)
                }
                Change::Unsqueeze(axis) if rank < 6 => {
                    let axis = axis % (rank + 1);
                    let mut shape = was.shape.clone();
                    shape.insert(axis, 1);
                    (g.unsqueeze(&t, axis), Array { shape, ..was })
                }
                Change::Squeeze => match was.shape.iter().position(|n| *n == 1) {
                    Some(axis) => {
                        let mut shape = was.shape.clone();
                        shape.remove(axis);
                        (g.squeeze(&t, axis), Array { shape, ..was })
                    }
                    None => (Ok(t.clone()), was),
                },
                Change::Pad(axis, before, after) if rank > 0 => {
                    let axis = axis % rank;
                    let n = was.shape[axis];
                    let mut shape = was.shape.clone();
                    shape[axis] += before + after;
                    let model = Array::make(shape, |at| {
                        let mut from = at.to_vec();
                        if from[axis] < before || from[axis] >= before + n {
                            return 0.0;
                        }
                        from[axis] -= before;
                        was.at(&from)
                    });
                    (g.pad(&t, axis, before, after), model)
                }
                Change::Merge(axis) if rank > 1 => {
                    let axis = axis % (rank - 1);
                    let mut shape = was.shape.clone();
                    let n = shape.remove(axis + 1);
                    shape[axis] *= n;
                    (g.reshape(&t, &shape), Array { shape, ..was })
                }
                Change::Split(axis) if rank > 0 && rank < 6 && was.shape[axis % rank].is_multiple_of(2) => {
                    let axis = axis % rank;
                    let mut shape = was.shape.clone();
                    shape[axis] /= 2;
                    shape.insert(axis + 1, 2);
                    (g.reshape(&t, &shape), Array { shape, ..was })
                }
                Change::Flatten => {
                    let shape = vec![was.values.len()];
                    (g.reshape(&t, &shape), Array { shape, ..was })
                }
                Change::Sum(axis) if rank > 0 => {
                    let axis = axis % rank;
                    let n = was.shape[axis];
                    let mut shape = was.shape.clone();
                    shape.remove(axis);
                    let model = Array::make(shape, |at| {
                        (0..n)
                            .map(|i| {
                                let mut from = at.to_vec();
                                from.insert(axis, i);
                                was.at(&from)
                            })
                            .sum()
                    });
                    (g.sum(&t, &[axis], false), model)
                }
                Change::Negate => {
                    let values = was.values.iter().map(|v| -v).collect();
                    (g.neg(&t), Array { values, ..was })
                }
                _ => (Ok(t.clone()), was),
            };
            t = next.unwrap();
            prop_assert_eq!(t.shape(), model.shape.clone());
        }
        let (stock, wide) = lab.both(&t);
        prop_assert_eq!(&wide, &model.values);
        for (a, b) in stock.iter().zip(&wide) {
            prop_assert!((f64::from(*a) - b).abs() <= 1e-5 * b.abs().max(1.0));
        }
    }
}
