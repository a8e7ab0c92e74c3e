//! Random small graphs.

use crate::Case;
use ablate_graph::{GraphError, Tensor};
use ablate_random::{Reader, Stream};

/// A random graph of about `steps` operations over a few leaves, with every gradient: the same for
/// the same seed.
///
/// # Errors
/// The graph refuses an operation: a defect of the generator.
pub fn graph(seed: u64, steps: usize) -> Result<Case, GraphError> {
    let mut r = Stream::new(seed, "random graph").reader();
    let mut case = Case::default();
    let mut pool = vec![];
    for i in 0..3 {
        let rank = r.below(4) as usize;
        let shape: Vec<usize> = (0..rank).map(|_| 1 + r.below(5) as usize).collect();
        pool.push(case.parameter(&format!("p{i}"), &shape)?);
    }
    for i in 0..steps {
        let a = pool[r.below(pool.len() as u32) as usize].clone();
        let next = step(&mut case, &mut r, &pool, a, i)?;
        if next.shape().iter().product::<usize>() <= 600 && next.rank() <= 4 {
            pool.push(next);
        }
    }
    let mut total = case.graph.scalar(0.0);
    for (i, t) in pool.iter().enumerate() {
        // Bounded, so that chains of products and exponentials stay comparable.
        let bounded = case.graph.sin(t)?;
        let s = case
            .graph
            .mean(&bounded, &(0..t.rank()).collect::<Vec<_>>(), false)?;
        total = case.graph.add(&total, &s)?;
        if i % 3 == 0 {
            case.output(t)?;
        }
    }
    case.output(&total)?;
    case.gradients(&total)?;
    Ok(case)
}

fn axis(r: &mut Reader, t: &Tensor) -> usize {
    r.below(t.rank() as u32) as usize
}

fn step(
    case: &mut Case,
    r: &mut Reader,
    pool: &[Tensor],
    a: Tensor,
    number: usize,
) -> Result<Tensor, GraphError> {
    let rank = a.rank();
    let shape = a.shape();
    let g = &mut case.graph;
    let bounded = |g: &mut ablate_graph::Graph, t: &Tensor| g.tanh(t);
    Ok(match r.below(18) {
        0 => g.sin(&a)?,
        1 => {
            let t = bounded(g, &a)?;
            g.exp(&t)?
        }
        2 => g.gelu(&a)?,
        3 => {
            let t = g.square(&a)?;
            let t = g.add_scalar(&t, 0.5)?;
            g.rsqrt(&t)?
        }
        4 => g.mul_scalar(&a, -0.7)?,
        5 if rank > 0 => {
            let n = axis(r, &a);
            g.softmax(&a, n)?
        }
        6 if rank > 0 => {
            let n = axis(r, &a);
            let keep = r.below(2) == 0;
            g.sum(&a, &[n], keep)?
        }
        7 if rank > 0 => {
            let n = axis(r, &a);
            g.mean(&a, &[n], r.below(2) == 0)?
        }
        8 if rank > 1 => {
            let mut order: Vec<usize> = (0..rank).collect();
            r.shuffle(&mut order);
            g.permute(&a, &order)?
        }
        9 => {
            let n: usize = shape.iter().product();
            let divisor = (1..=n)
                .filter(|d| n.is_multiple_of(*d))
                .nth(r.below(4) as usize)
                .unwrap_or(1);
            g.reshape(&a, &[divisor, n / divisor])?
        }
        10 if rank > 0 => {
            let n = axis(r, &a);
            let start = r.below(shape[n] as u32) as usize;
            g.slice(&a, n, start, shape[n])?
        }
        11 if rank > 0 => {
            let n = axis(r, &a);
            g.pad(&a, n, r.below(3) as usize, r.below(2) as usize)?
        }
        12 if rank > 0 && rank < 4 => {
            let mut wide = vec![1 + r.below(3) as usize];
            wide.extend(&shape);
            g.expand(&a, &wide)?
        }
        13 if rank > 1 => {
            // A product with itself transposed, or with a fresh weight.
            let inner = shape[rank - 1];
            if r.below(2) == 0 {
                g.matmul_t(&a, &a)?
            } else {
                let outputs = 1 + r.below(4) as usize;
                let w = case.parameter(&format!("w{number}"), &[outputs, inner])?;
                case.graph.linear(&a, &w, None)?
            }
        }
        14 => {
            let t = bounded(g, &a)?;
            g.dropout(&t, 0.4, &format!("drop{number}"))?
        }
        15 if rank > 0 => {
            let n = axis(r, &a);
            let m = g.max(&a, &[n], true)?;
            // Two elements may tie in f32 and not in f64, and then share the gradient there alone.
            let m = g.stop_gradient(&m)?;
            g.sub(&a, &m)?
        }
        16 if rank == 2 => {
            let count = 1 + r.below(5) as usize;
            let index = case.index(&format!("i{number}"), &[count], shape[0])?;
            case.graph.gather(&a, &index)?
        }
        _ => {
            // Any tensor of the pool that broadcasts with this one.
            let fits = |b: &&Tensor| {
                let b = b.shape();
                b.iter()
                    .rev()
                    .zip(shape.iter().rev())
                    .all(|(x, y)| x == y || *x == 1 || *y == 1)
            };
            let candidates: Vec<&Tensor> = pool.iter().filter(fits).collect();
            let b = candidates[r.below(candidates.len() as u32) as usize].clone();
            match r.below(3) {
                0 => g.mul(&a, &b)?,
                1 => g.sub(&a, &b)?,
                _ => g.add(&a, &b)?,
            }
        }
    })
}
