//! Matrix products and look-ups keep the form in which compilers recognise them.

use crate::support::Lab;
use ablate_graph::ir::{LoadKind, Lowered, Op};
use ablate_graph::{Graph, Tensor};

/// The Mul nodes whose value goes only into a SumReduce chain, with the shape of the product.
fn products(lowered: &Lowered) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    for node in &lowered.nodes {
        if let (Op::SumReduce(_), [(source, view)]) = (&node.op, &node.inputs[..]) {
            let producer = &lowered.nodes[*source];
            if producer.op == Op::Mul {
                assert!(view.is_plain(), "a view between the product and the sum");
                found.push(producer.shape.clone());
            }
        }
    }
    found
}

fn lowered(g: &mut Graph, roots: &[Tensor]) -> Lowered {
    for (i, t) in roots.iter().enumerate() {
        g.output(&i.to_string(), t).unwrap();
    }
    g.lower().unwrap()
}

#[test]
fn a_linear_layer_and_its_gradients_are_three_contractions() {
    let mut g = Graph::new();
    let x = g.parameter("x", &[2, 3, 4]).unwrap();
    let w = g.parameter("w", &[5, 4]).unwrap();
    let b = g.parameter("b", &[5]).unwrap();
    let y = g.linear(&x, &w, Some(&b)).unwrap();
    let e = g.exp(&y).unwrap();
    let loss = g.sum_all(&e).unwrap();
    let roots = g.gradients(&loss, &[x, w, b]).unwrap();
    let lowered = lowered(&mut g, &roots);
    let mut found = products(&lowered);
    // the gradient of the bias is a plain sum of a product of equal shapes
    found.retain(|shape| shape.len() == 4);
    // gradients lie as their operands do: the dims to sum over come last
    let want = [[2, 3, 5, 4], [2, 3, 4, 5], [5, 4, 2, 3]];
    found.sort();
    let mut sorted = want.map(|s| s.to_vec()).to_vec();
    sorted.sort();
    assert_eq!(found, sorted, "{}", g.dump());
    // nothing else is as large as a product, and no copies were needed
    let large = |n: &&ablate_graph::ir::Node| n.elements() == 120 && n.op != Op::Mul;
    assert_eq!(
        lowered.nodes.iter().filter(large).count(),
        0,
        "{}",
        g.dump()
    );
    assert!(
        lowered.nodes.iter().all(|n| n.op != Op::Contiguous),
        "{}",
        g.dump()
    );
}

#[test]
fn attention_is_contractions_of_permuted_views() {
    let mut g = Graph::new();
    let (batch, seq, heads, dim) = (2, 5, 3, 4);
    let qkv: Vec<Tensor> = ["q", "k", "v"]
        .iter()
        .map(|name| {
            let t = g.parameter(name, &[batch, seq, heads * dim]).unwrap();
            let t = g.reshape(&t, &[batch, seq, heads, dim]).unwrap();
            g.permute(&t, &[0, 2, 1, 3]).unwrap()
        })
        .collect();
    let scores = g.matmul_t(&qkv[0], &qkv[1]).unwrap();
    let scaled = g.mul_scalar(&scores, 0.5).unwrap();
    let weights = g.softmax(&scaled, 3).unwrap();
    let y = g.matmul(&weights, &qkv[2]).unwrap();
    let y = g.permute(&y, &[0, 2, 1, 3]).unwrap();
    let y = g.reshape(&y, &[batch, seq, heads * dim]).unwrap();
    let e = g.exp(&y).unwrap();
    let loss = g.sum_all(&e).unwrap();
    let wrt: Vec<Tensor> = g.parameters().iter().map(|p| p.1.clone()).collect();
    let roots = g.gradients(&loss, &wrt).unwrap();
    let lowered = lowered(&mut g, &roots);
    let mut found = products(&lowered);
    found.retain(|shape| shape.len() == 5);
    assert_eq!(found.len(), 6, "{}", g.dump());
    // dQ, dK and dV land in [batch, seq, heads, dim]; only the context is copied into that order
    let copies = lowered.nodes.iter().filter(|n| n.op == Op::Contiguous);
    assert_eq!(copies.count(), 1, "{}", g.dump());
}

#[test]
fn a_look_up_multiplies_a_one_hot_matrix_of_the_known_form() {
    let mut g = Graph::new();
    let table = g.parameter("table", &[7, 3]).unwrap();
    let index = g.index_input("index", &[2, 4], 7).unwrap();
    let y = g.gather(&table, &index).unwrap();
    let e = g.exp(&y).unwrap();
    let loss = g.sum_all(&e).unwrap();
    let roots = g.gradients(&loss, &[table]).unwrap();
    let lowered = lowered(&mut g, &roots);
    assert_eq!(
        products(&lowered),
        [[2, 4, 7, 3], [7, 3, 2, 4]],
        "{}",
        g.dump()
    );
    let node = |i: usize| &lowered.nodes[i];
    for product in lowered.nodes.iter().filter(|n| n.elements() == 168) {
        let hot = product
            .inputs
            .iter()
            .map(|(i, _)| node(*i))
            .find(|n| n.op == Op::Add && n.shape == [2, 4, 7])
            .unwrap();
        // ((lt(index, iota) + lt(iota, index)) * -1) + 1
        assert_eq!(node(hot.inputs[1].0).op, Op::Constant(1.0));
        let minus = node(hot.inputs[0].0);
        assert_eq!(
            (&minus.op, &node(minus.inputs[1].0).op),
            (&Op::Mul, &Op::Constant(-1.0))
        );
        let differ = node(minus.inputs[0].0);
        assert_eq!(differ.op, Op::Add);
        let (below, above) = (node(differ.inputs[0].0), node(differ.inputs[1].0));
        assert_eq!((&below.op, &above.op), (&Op::LessThan, &Op::LessThan));
        assert_eq!(below.inputs[0], above.inputs[1]);
        assert_eq!(below.inputs[1], above.inputs[0]);
        assert_eq!(node(below.inputs[1].0).op, Op::Load(LoadKind::Iota));
    }
}

#[test]
fn shared_broadcast_dims_are_computed_once() {
    let mut lab = Lab::new();
    let a = lab.param("a", &[3], -1.0, 1.0);
    let b = lab.param("b", &[3], -1.0, 1.0);
    let wide_a = lab.g.expand(&a, &[100, 3]).unwrap();
    let wide_b = lab.g.expand(&b, &[100, 3]).unwrap();
    let y = lab.g.mul(&wide_a, &wide_b).unwrap();
    let y = lab.g.add_scalar(&y, 1.0).unwrap();
    let y = lab.g.exp(&y).unwrap();
    let s = lab.g.sum(&y, &[0], false).unwrap();
    assert_eq!((y.shape(), s.shape()), (vec![100, 3], vec![3]));
    let lowered = lowered(&mut lab.g, &[s]);
    assert!(
        lowered.nodes.iter().all(|n| n.elements() <= 3),
        "{}",
        lab.g.dump()
    );
}

#[test]
fn only_what_is_needed_is_lowered() {
    let mut g = Graph::new();
    let a = g.parameter("a", &[3]).unwrap();
    let unused = g.exp(&a).unwrap();
    g.sum_all(&unused).unwrap();
    let y = g.sin(&a).unwrap();
    g.output("y", &y).unwrap();
    let lowered = g.lower().unwrap();
    assert_eq!(lowered.nodes.len(), 2);
    assert_eq!(lowered.outputs[0].1, 1);
    let none = lowered.restricted_to(&["z"]).unwrap_err();
    assert_eq!(none.to_string(), "no output is called `z`");
}
