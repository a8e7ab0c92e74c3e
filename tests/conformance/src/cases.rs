//! Fixed graphs: every operation in shapes that a careless kernel gets wrong.

use crate::Case;
use ablate_graph::{GraphError, Tensor};

type Build = fn(&mut Case) -> Result<(), GraphError>;

/// Name and builder of every case.
pub const CASES: &[(&str, Build)] = &[
    ("elementwise", elementwise),
    ("broadcast", broadcast),
    ("reductions", reductions),
    ("views", views),
    ("matrix products", matrix_products),
    ("biases of products", biases),
    ("softmax", softmax),
    ("layer norm", layer_norm),
    ("look-ups", look_ups),
    ("look-up in a product", look_up_in_a_product),
    ("cross-entropy", cross_entropy),
    ("dropout", dropout),
    ("uniform through a view", uniform_view),
    ("long rows", long_rows),
    ("many rows", many_rows),
    ("states", states),
    ("attention", attention),
    ("made again in the backward", made_again),
    ("sum of gradients", sum_of_gradients),
    ("numbers at the edges", edges),
];

/// Builds a case.
///
/// # Errors
/// The graph refuses it: a defect of the suite.
pub fn build(build: Build) -> Result<Case, GraphError> {
    let mut case = Case::default();
    build(&mut case)?;
    Ok(case)
}

fn loss(case: &mut Case, y: &Tensor) -> Result<(), GraphError> {
    let s = case.graph.sin(y)?;
    let loss = case.graph.sum_all(&s)?;
    case.output(&loss)?;
    case.gradients(&loss)
}

fn elementwise(case: &mut Case) -> Result<(), GraphError> {
    let x = case.parameter("x", &[3, 7])?;
    let y = case.parameter("y", &[3, 7])?;
    let g = &mut case.graph;
    let positive = g.square(&x)?;
    let positive = g.add_scalar(&positive, 0.3)?;
    let all = [
        g.add(&x, &y)?,
        g.sub(&x, &y)?,
        g.mul(&x, &y)?,
        g.div(&x, &positive)?,
        g.neg(&x)?,
        g.sqrt(&positive)?,
        g.rsqrt(&positive)?,
        g.recip(&positive)?,
        g.exp(&x)?,
        g.log(&positive)?,
        g.exp2(&x)?,
        g.log2(&positive)?,
        g.sin(&x)?,
        g.cos(&x)?,
        g.tanh(&x)?,
        g.sigmoid(&x)?,
        g.erf(&x)?,
        g.gelu(&x)?,
        g.gelu_tanh(&x)?,
        g.silu(&x)?,
        g.relu(&x)?,
        g.abs(&x)?,
        g.maximum(&x, &y)?,
        g.minimum(&x, &y)?,
        g.clamp(&x, -0.2, 0.4)?,
        g.less(&x, &y)?,
        g.greater_equal(&x, &y)?,
        g.not_equal(&x, &y)?,
        g.modulo(&x, &positive)?,
    ];
    let cond = g.greater(&x, &y)?;
    let chosen = g.select(&cond, &x, &y)?;
    let mut sum = chosen.clone();
    for t in &all[..25] {
        sum = case.graph.add(&sum, t)?;
    }
    for t in &all {
        case.output(t)?;
    }
    case.output(&chosen)?;
    loss(case, &sum)
}

fn broadcast(case: &mut Case) -> Result<(), GraphError> {
    let x = case.parameter("x", &[2, 3, 4])?;
    let row = case.parameter("row", &[4])?;
    let column = case.parameter("column", &[3, 1])?;
    let plane = case.parameter("plane", &[2, 1, 4])?;
    let one = case.parameter("one", &[])?;
    let mut y = x;
    for t in [&row, &column, &plane, &one] {
        let g = &mut case.graph;
        let product = g.mul(&y, t)?;
        y = g.add(&product, t)?;
    }
    case.output(&y)?;
    loss(case, &y)
}

fn reductions(case: &mut Case) -> Result<(), GraphError> {
    let x = case.parameter("x", &[3, 4, 2, 5])?;
    let mut total = case.graph.scalar(0.0);
    for axes in [
        &[0][..],
        &[1],
        &[2],
        &[3],
        &[0, 1],
        &[2, 3],
        &[0, 3],
        &[1, 2],
        &[0, 1, 2, 3],
    ] {
        let g = &mut case.graph;
        let sum = g.sum(&x, axes, false)?;
        let max = g.max(&x, axes, true)?;
        let mean = g.mean(&x, axes, false)?;
        let variance = g.variance(&x, axes, true)?;
        for t in [sum, max, mean, variance] {
            case.output(&t)?;
            let s = case.graph.sin(&t)?;
            let s = case.graph.sum_all(&s)?;
            total = case.graph.add(&total, &s)?;
        }
    }
    case.output(&total)?;
    case.gradients(&total)
}

fn views(case: &mut Case) -> Result<(), GraphError> {
    let x = case.parameter("x", &[2, 3, 4])?;
    let y = case.parameter("y", &[2, 5, 4])?;
    let g = &mut case.graph;
    let turned = g.permute(&x, &[2, 0, 1])?;
    let flat = g.reshape(&turned, &[8, 3])?;
    let cut = g.slice(&y, 1, 1, 4)?;
    let padded = g.pad(&cut, 2, 1, 2)?;
    let exponential = g.exp2(&padded)?;
    let joined = g.concat(&[&x, &y, &cut], 1)?;
    let squared = g.square(&joined)?;
    let swapped = g.transpose(&squared, 0, 2)?;
    let wide = g.expand(&flat, &[2, 8, 3])?;
    let back = g.reshape(&swapped, &[4 * 11, 2])?;
    let all = [flat, padded, exponential, joined, swapped, wide, back];
    let mut total = case.graph.scalar(0.0);
    for t in &all {
        case.output(t)?;
        let s = case.graph.sin(t)?;
        let s = case.graph.sum_all(&s)?;
        total = case.graph.add(&total, &s)?;
    }
    case.gradients(&total)
}

/// Products with a bias and nothing else: of a matrix, of a batch, of an operand whose neighbours lie apart, of
/// so many rows that they are cut, and of many terms.
fn biases(case: &mut Case) -> Result<(), GraphError> {
    let shapes: [(&[usize], usize, bool); 5] = [
        (&[5, 3], 7, false),
        (&[2, 5, 3], 4, false),
        (&[6, 8], 5, true),
        (&[3000, 3], 16, false),
        (&[65, 40], 70, false),
    ];
    let mut total = case.graph.scalar(0.0);
    for (i, (x, n, apart)) in shapes.into_iter().enumerate() {
        let k = x[x.len() - 1];
        let mut shape = x.to_vec();
        shape.extend(apart.then_some(2));
        let input = case.parameter(&format!("x{i}"), &shape)?;
        let weight = case.parameter(&format!("w{i}"), &[n, k])?;
        let bias = case.parameter(&format!("b{i}"), &[n])?;
        let input = match apart {
            true => {
                let one = case.graph.slice(&input, x.len(), 1, 2)?;
                case.graph.reshape(&one, x)?
            }
            false => input,
        };
        let next = case.parameter(&format!("next{i}"), &[3, n])?;
        let y = case.graph.linear(&input, &weight, Some(&bias))?;
        case.output(&y)?;
        // Only a product reads it, as in attention.
        let z = case.graph.linear(&y, &next, None)?;
        let s = case.graph.sin(&z)?;
        let s = case.graph.sum_all(&s)?;
        let count: usize = z.shape().iter().product();
        let s = case.graph.mul_scalar(&s, 1.0 / count as f32)?;
        total = case.graph.add(&total, &s)?;
    }
    case.output(&total)?;
    case.gradients(&total)
}

fn matrix_products(case: &mut Case) -> Result<(), GraphError> {
    let shapes: [(&[usize], &[usize], bool); 8] = [
        (&[5, 3], &[3, 4], false),
        (&[5, 3], &[4, 3], true),
        (&[2, 5, 3], &[2, 3, 4], false),
        (&[2, 5, 3], &[3, 4], false),
        (&[2, 1, 5, 3], &[7, 3, 4], false),
        (&[2, 7, 1, 3], &[2, 7, 6, 3], true),
        (&[1, 3], &[3, 1], false),
        (&[97, 130], &[101, 130], true),
    ];
    let mut total = case.graph.scalar(0.0);
    for (i, (a, b, transposed)) in shapes.into_iter().enumerate() {
        let a = case.parameter(&format!("a{i}"), a)?;
        let b = case.parameter(&format!("b{i}"), b)?;
        let g = &mut case.graph;
        let c = if transposed {
            g.matmul_t(&a, &b)?
        } else {
            g.matmul(&a, &b)?
        };
        case.output(&c)?;
        let s = case.graph.sin(&c)?;
        let s = case.graph.sum_all(&s)?;
        total = case.graph.add(&total, &s)?;
    }
    // Both operands transposed views of one tensor.
    let x = case.parameter("x", &[4, 6])?;
    let g = &mut case.graph;
    let turned = g.transpose(&x, 0, 1)?;
    let gram = g.matmul(&turned, &x)?;
    case.output(&gram)?;
    let s = case.graph.sum_all(&gram)?;
    total = case.graph.add(&total, &s)?;
    case.gradients(&total)
}

fn softmax(case: &mut Case) -> Result<(), GraphError> {
    let x = case.parameter("x", &[3, 4, 5])?;
    let mut total = case.graph.scalar(0.0);
    for axis in 0..3 {
        let p = case.graph.softmax(&x, axis)?;
        let l = case.graph.log_softmax(&x, axis)?;
        let product = case.graph.mul(&p, &l)?;
        case.output(&p)?;
        case.output(&l)?;
        let s = case.graph.sum_all(&product)?;
        total = case.graph.add(&total, &s)?;
    }
    case.gradients(&total)
}

fn layer_norm(case: &mut Case) -> Result<(), GraphError> {
    let x = case.parameter("x", &[3, 5, 17])?;
    let gamma = case.parameter("gamma", &[17])?;
    let beta = case.parameter("beta", &[17])?;
    let y = case.graph.layer_norm(&x, &gamma, &beta, 1e-5)?;
    case.output(&y)?;
    loss(case, &y)
}

fn look_ups(case: &mut Case) -> Result<(), GraphError> {
    let table = case.parameter("table", &[13, 6])?;
    let index = case.index("index", &[4, 5], 13)?;
    let rows = case.graph.gather(&table, &index)?;
    case.output(&rows)?;
    let hot = case.graph.one_hot(&index, 13)?;
    case.output(&hot)?;
    let pick = case.index("pick", &[4, 5], 6)?;
    let picked = case.graph.take_along(&rows, &pick)?;
    case.output(&picked)?;
    // One past the table is no row: zeros, and no gradient.
    let some = case.index("some", &[20], 14)?;
    case.feeds
        .set("some", (0..20).map(|i| (i * 5 % 14) as f32).collect());
    let parts = case.graph.gather_or_zero(&table, &some)?;
    case.output(&parts)?;
    let g = &mut case.graph;
    let s = g.sin(&rows)?;
    let s = g.sum_all(&s)?;
    let p = g.sum_all(&picked)?;
    let total = g.add(&s, &p)?;
    let q = g.square(&parts)?;
    let q = g.sum_all(&q)?;
    let total = g.add(&total, &q)?;
    case.gradients(&total)
}

fn look_up_in_a_product(case: &mut Case) -> Result<(), GraphError> {
    let a = case.parameter("a", &[5, 3])?;
    let b = case.parameter("b", &[4, 3])?;
    let index = case.index("index", &[6], 5)?;
    let g = &mut case.graph;
    let table = g.matmul_t(&a, &b)?;
    // One reader walks the columns first, the look-up walks the rows.
    let turned = g.transpose(&table, 0, 1)?;
    let weights = case.parameter("weights", &[5, 2])?;
    let g = &mut case.graph;
    let mixed = g.matmul(&turned, &weights)?;
    let rows = g.gather(&table, &index)?;
    let s = g.sum_all(&mixed)?;
    case.output(&mixed)?;
    case.output(&rows)?;
    let r = case.graph.square(&rows)?;
    let r = case.graph.sum_all(&r)?;
    let total = case.graph.add(&s, &r)?;
    case.gradients(&total)
}

fn cross_entropy(case: &mut Case) -> Result<(), GraphError> {
    let logits = case.parameter("logits", &[6, 9])?;
    let labels = case.index("labels", &[6], 9)?;
    let weights = case.input("weights", &[6])?;
    let losses = case.graph.cross_entropy(&logits, &labels, Some(&weights))?;
    case.output(&losses)?;
    let total = case.graph.sum_all(&losses)?;
    case.gradients(&total)
}

fn dropout(case: &mut Case) -> Result<(), GraphError> {
    let x = case.parameter("x", &[5, 33])?;
    let w = case.parameter("w", &[33, 33])?;
    let y = case.graph.dropout(&x, 0.25, "first")?;
    let y = case.graph.linear(&y, &w, None)?;
    let y = case.graph.dropout(&y, 0.5, "second")?;
    case.output(&y)?;
    loss(case, &y)
}

fn uniform_view(case: &mut Case) -> Result<(), GraphError> {
    let u = case.graph.uniform("numbers", &[6, 70])?;
    let turned = case.graph.transpose(&u, 0, 1)?;
    case.output(&u)?;
    case.output(&turned)?;
    let sum = case.graph.sum(&turned, &[0], false)?;
    case.output(&sum)
}

fn long_rows(case: &mut Case) -> Result<(), GraphError> {
    let x = case.parameter("x", &[3, 5001])?;
    let bias = case.parameter("bias", &[5001])?;
    let y = case.graph.add(&x, &bias)?;
    let p = case.graph.log_softmax(&y, 1)?;
    let s = case.graph.square(&p)?;
    let total = case.graph.sum_all(&s)?;
    case.output(&total)?;
    case.gradients(&total)
}

fn many_rows(case: &mut Case) -> Result<(), GraphError> {
    let x = case.parameter("x", &[20_011, 3])?;
    let gamma = case.parameter("gamma", &[3])?;
    let y = case.graph.mul(&x, &gamma)?;
    let m = case.graph.max(&y, &[1], true)?;
    let y = case.graph.sub(&y, &m)?;
    let squared = case.graph.square(&y)?;
    let total = case.graph.mean(&squared, &[0, 1], false)?;
    case.output(&total)?;
    case.gradients(&total)
}

fn states(case: &mut Case) -> Result<(), GraphError> {
    let p = case.parameter("p", &[5, 3])?;
    let a = case.parameter("a", &[4])?;
    let b = case.parameter("b", &[4])?;
    let g = &mut case.graph;
    let fresh = g.state("fresh", &[5])?;
    let half = g.mul_scalar(&p, 0.5)?;
    let shifted = g.add(&half, &p)?;
    let old = g.sum(&p, &[1], false)?;
    g.assign(&p, &shifted)?;
    // Each takes the other's old value.
    g.assign(&a, &b)?;
    g.assign(&b, &a)?;
    g.assign(&fresh, &old)?;
    let total = g.sum_all(&p)?;
    case.output(&old)?;
    case.output(&total)
}

fn attention(case: &mut Case) -> Result<(), GraphError> {
    let (batch, seq, heads, dim) = (2, 5, 3, 4);
    let x = case.input("x", &[batch, seq, heads * dim])?;
    let mask = case.input("mask", &[batch, seq])?;
    let mut parts = vec![];
    for name in ["q", "k", "v"] {
        let w = case.parameter(name, &[heads * dim, heads * dim])?;
        let b = case.parameter(&format!("{name}.bias"), &[heads * dim])?;
        let y = case.graph.linear(&x, &w, Some(&b))?;
        let y = case.graph.reshape(&y, &[batch, seq, heads, dim])?;
        parts.push(case.graph.permute(&y, &[0, 2, 1, 3])?);
    }
    let g = &mut case.graph;
    let s = g.matmul_t(&parts[0], &parts[1])?;
    let s = g.mul_scalar(&s, 0.5)?;
    let m = g.reshape(&mask, &[batch, 1, 1, seq])?;
    let s = g.add(&s, &m)?;
    let p = g.softmax(&s, 3)?;
    let p = g.dropout(&p, 0.2, "attention")?;
    let y = g.matmul(&p, &parts[2])?;
    let y = g.permute(&y, &[0, 2, 1, 3])?;
    let y = g.reshape(&y, &[batch, seq, heads * dim])?;
    let w = case.parameter("o", &[heads * dim, heads * dim])?;
    let y = case.graph.linear(&y, &w, None)?;
    case.output(&y)?;
    loss(case, &y)
}

/// Large enough that GELU, layer norm and dropped values are not kept for the backward.
fn made_again(case: &mut Case) -> Result<(), GraphError> {
    let (rows, width, inner) = (72, 64, 100);
    let x = case.input("x", &[rows, width])?;
    let mut y = x;
    for layer in ["first", "second"] {
        let up = case.parameter(&format!("{layer}.up"), &[inner, width])?;
        let bias = case.parameter(&format!("{layer}.bias"), &[inner])?;
        let down = case.parameter(&format!("{layer}.down"), &[width, inner])?;
        let gamma = case.parameter(&format!("{layer}.gamma"), &[width])?;
        let beta = case.parameter(&format!("{layer}.beta"), &[width])?;
        let g = &mut case.graph;
        let h = g.linear(&y, &up, Some(&bias))?;
        let h = g.mul_scalar(&h, 0.3)?;
        let h = g.gelu(&h)?;
        let h = g.linear(&h, &down, None)?;
        let h = g.dropout(&h, 0.1, layer)?;
        let sum = g.add(&h, &y)?;
        y = g.layer_norm(&sum, &gamma, &beta, 1e-5)?;
    }
    let head = case.parameter("head", &[5, width])?;
    let y = case.graph.linear(&y, &head, None)?;
    let y = case.graph.mul_scalar(&y, 0.1)?;
    case.output(&y)?;
    let y = case.graph.tanh(&y)?;
    let loss = case.graph.sum_all(&y)?;
    case.output(&loss)?;
    case.gradients(&loss)
}

/// A table that is looked up and multiplied with: its gradient has two terms, and goes to a state.
fn sum_of_gradients(case: &mut Case) -> Result<(), GraphError> {
    let table = case.parameter("table", &[40, 12])?;
    let index = case.index("index", &[18], 40)?;
    let mix = case.parameter("mix", &[12, 12])?;
    let g = &mut case.graph;
    let rows = g.gather(&table, &index)?;
    let rows = g.matmul(&rows, &mix)?;
    let logits = g.matmul_t(&rows, &table)?;
    let y = g.tanh(&logits)?;
    let loss = g.sum_all(&y)?;
    let gradients = g.gradients(&loss, &[table, mix])?;
    for (name, gradient) in ["table", "mix"].into_iter().zip(&gradients) {
        let state = g.state(&format!("grad/{name}"), &gradient.shape())?;
        g.assign(&state, gradient)?;
    }
    case.output(&loss)
}

fn edges(case: &mut Case) -> Result<(), GraphError> {
    let x = case.graph.input("x", &[8])?;
    case.feeds
        .set("x", vec![0.0, -0.0, 1e-38, 1e30, -1e30, 100.0, -100.0, 1.0]);
    let g = &mut case.graph;
    let all = [
        g.exp(&x)?,
        g.tanh(&x)?,
        g.sigmoid(&x)?,
        g.gelu(&x)?,
        g.softmax(&x, 0)?,
        g.log_softmax(&x, 0)?,
    ];
    for t in &all {
        case.output(t)?;
    }
    Ok(())
}
