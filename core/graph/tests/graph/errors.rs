//! Every mistake is a typed error that names the op, the shapes and the scope.

use crate::support::KEY;
use ablate_graph::{Feeds, Graph, GraphError, Tensor};
use std::collections::BTreeMap;

fn text<T: std::fmt::Debug>(result: ablate_graph::Result<T>) -> String {
    result.unwrap_err().to_string()
}

fn two(g: &mut Graph) -> (Tensor, Tensor) {
    (
        g.parameter("a", &[2, 3]).unwrap(),
        g.parameter("b", &[4]).unwrap(),
    )
}

#[test]
fn shapes() {
    let mut g = Graph::new();
    let (a, b) = two(&mut g);
    g.push_scope("encoder");
    g.push_scope("layer.0");
    insta::assert_snapshot!(text(g.add(&a, &b)), @"add: do not broadcast; shapes [2, 3], [4] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.sub(&a, &b)), @"sub: do not broadcast; shapes [2, 3], [4] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.div(&a, &b)), @"div: do not broadcast; shapes [2, 3], [4] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.select(&a, &a, &b)), @"select: do not broadcast; shapes [2, 3], [4] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.matmul(&a, &a)), @"matmul: the dims to sum over differ; shapes [2, 3], [2, 3] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.matmul(&a, &b)), @"matmul: wants two dims or more; shapes [2, 3], [4] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.linear(&a, &a, Some(&b))), @"linear: wants x [.., in], w [out, in], b [out]; shapes [2, 3], [2, 3], [4] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.reshape(&a, &[5])), @"reshape: as many elements as [5] wanted; shapes [2, 3] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.reshape(&a, &[0, 6])), @"reshape: every size must be at least 1 and fit in 31 bits; shapes [0, 6] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.permute(&a, &[0, 0])), @"permute: [0, 0] is no permutation of the axes; shapes [2, 3] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.expand(&a, &[4, 3])), @"expand: does not broadcast to [4, 3]; shapes [2, 3] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.slice(&a, 1, 2, 4)), @"slice: 2..4 is no cut of dim 1; shapes [2, 3] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.squeeze(&a, 0)), @"squeeze: dim 0 is not of size 1; shapes [2, 3] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.concat(&[&a, &b], 0)), @"concat: other dims must be equal; shapes [2, 3], [4] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.layer_norm(&a, &b, &b, 1e-5)), @"layer_norm: wants x [.., n], gamma [n], beta [n]; shapes [2, 3], [4], [4] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.cross_entropy(&a, &b, None)), @"cross_entropy: wants logits [.., classes], labels [..], weights [..]; shapes [2, 3], [4] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.gather(&b, &a)), @"gather: wants a table [rows, width]; shapes [4], [2, 3] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.assign(&a, &b)), @"assign: the value of `a` needs the shape of the state; shapes [2, 3], [4] (in encoder.layer.0)");
    insta::assert_snapshot!(text(g.gradients(&a, &[b])), @"gradients: wants a loss of one element; shapes [2, 3] (in encoder.layer.0)");
}

#[test]
fn axes_and_ranks() {
    let mut g = Graph::new();
    let (a, _) = two(&mut g);
    insta::assert_snapshot!(text(g.sum(&a, &[2], false)), @"sum: axis 2 of a tensor of rank 2");
    insta::assert_snapshot!(text(g.max(&a, &[1, 1], false)), @"max: axis 1 twice; shapes [2, 3]");
    insta::assert_snapshot!(text(g.softmax(&a, 5)), @"softmax: axis 5 of a tensor of rank 2");
    insta::assert_snapshot!(text(g.unsqueeze(&a, 3)), @"unsqueeze: axis 3 of a tensor of rank 2");
    insta::assert_snapshot!(text(g.input("x", &[1; 7])), @"input: needs 7 dims, luminal holds at most 6");
    insta::assert_snapshot!(text(g.expand(&a, &[1, 1, 1, 1, 1, 2, 3])), @"expand: needs 7 dims, luminal holds at most 6");
    insta::assert_snapshot!(text(g.input("x", &[3, 0])), @"input: every size must be at least 1 and fit in 31 bits; shapes [3, 0]");
    insta::assert_snapshot!(text(g.input("x", &[1 << 30, 1 << 30, 1 << 30])), @"input: every size must be at least 1 and fit in 31 bits; shapes [1073741824, 1073741824, 1073741824]");
    let six = g.reshape(&a, &[1, 1, 1, 1, 2, 3]).unwrap();
    insta::assert_snapshot!(text(g.unsqueeze(&six, 0)), @"unsqueeze: needs 7 dims, luminal holds at most 6");
    // six dims on either side of a product are fine: its batch dims are merged
    let table = g.matmul_t(&six, &six).unwrap();
    assert_eq!(table.shape(), [1, 1, 1, 1, 2, 2]);
}

#[test]
fn numbers_out_of_their_domain() {
    let mut g = Graph::new();
    let (a, b) = two(&mut g);
    let index = g.index_input("i", &[3], 5).unwrap();
    insta::assert_snapshot!(text(g.clamp(&a, 2.0, 1.0)), @"clamp: wants finite 2 <= 1");
    let beta = g.parameter("beta", &[3]).unwrap();
    insta::assert_snapshot!(text(g.layer_norm(&a, &beta, &beta, 0.0)), @"layer_norm: wants eps > 0, got 0");
    insta::assert_snapshot!(text(g.gather(&a, &index)), @"gather: indices are in 0..5, there are 2 rows");
    insta::assert_snapshot!(text(g.gather_or_zero(&a, &index)), @"gather_or_zero: indices are in 0..5, there are 3 rows");
    insta::assert_snapshot!(text(g.one_hot(&index, 4)), @"one_hot: indices are in 0..5, there are 4 rows");
    insta::assert_snapshot!(text(g.iota(0)), @"iota: the length must be in 1..=2^24, is 0");
    insta::assert_snapshot!(text(g.index_input("j", &[1], 1 << 25)), @"index_input: the bound of `j` must be in 1..=2^24, is 33554432");
    let turned = g.transpose(&a, 0, 1).unwrap();
    insta::assert_snapshot!(text(g.assign(&turned, &turned)), @"assign: wants a whole tensor, got a view of shape [3, 2]");
    let loss = g.sum_all(&b).unwrap();
    insta::assert_snapshot!(text(g.gradients(&loss, &[turned])), @"gradients: wants a whole tensor, got a view of shape [3, 2]");
}

#[test]
fn names() {
    let mut g = Graph::new();
    let (a, b) = two(&mut g);
    g.input("x", &[1]).unwrap();
    g.output("y", &a).unwrap();
    g.assign(&b, &b).unwrap();
    insta::assert_snapshot!(text(g.state("a", &[1])), @"the state `a` exists already");
    insta::assert_snapshot!(text(g.input("x", &[1])), @"the input `x` exists already");
    insta::assert_snapshot!(text(g.output("y", &b)), @"the output `y` exists already");
    insta::assert_snapshot!(text(g.assign(&b, &b)), @"the assignment `b` exists already");
    let mut other = Graph::new();
    insta::assert_snapshot!(text(other.neg(&a)), @"mul_scalar: a tensor of another graph");
    assert!(matches!(
        other.output("a", &a),
        Err(GraphError::OtherGraph { .. })
    ));
}

#[test]
fn runs_check_what_they_are_given() {
    let mut g = Graph::new();
    let w = g.parameter("w", &[2]).unwrap();
    let x = g.index_input("x", &[2], 3).unwrap();
    g.input("unused", &[2]).unwrap();
    let y = g.add(&w, &x).unwrap();
    g.output("y", &y).unwrap();
    let mut run = |feeds: &Feeds, w: Option<Vec<f32>>| {
        let states: BTreeMap<String, Vec<f32>> =
            w.into_iter().map(|w| ("w".to_owned(), w)).collect();
        let wide = crate::support::widen(&states);
        let narrow = g
            .run_reference(feeds, &states, KEY)
            .map(|r| r.outputs["y"].clone());
        let other = g.run_f64(feeds, &wide, KEY).map(|_| ());
        let text = |e: GraphError| e.to_string();
        assert_eq!(
            narrow.clone().map(|_| ()).map_err(text),
            other.map_err(text)
        );
        narrow
    };
    let good = Feeds::new().with("x", vec![0.0, 2.0]);
    let w = Some(vec![1.0, 1.0]);
    assert_eq!(run(&good, w.clone()), Ok(vec![1.0, 3.0]));
    insta::assert_snapshot!(text(run(&Feeds::new(), w.clone())), @"the input `x` [2] was not fed");
    insta::assert_snapshot!(text(run(&good, None)), @"the state `w` [2] has no value");
    insta::assert_snapshot!(text(run(&good, Some(vec![1.0]))), @"`w` wants 2 numbers [2], got 1");
    for bad in [3.0, -1.0, 0.5, f32::NAN] {
        let feeds = Feeds::new().with("x", vec![0.0, bad]);
        let error = run(&feeds, w.clone()).unwrap_err();
        assert!(
            matches!(
                error,
                GraphError::Index {
                    position: 1,
                    bound: 3,
                    ..
                }
            ),
            "{error}"
        );
    }
    insta::assert_snapshot!(text(run(&Feeds::new().with("x", vec![0.0, 7.0]), w)), @"`x`[1] is 7, wants a whole number in 0..3");
}

#[test]
fn the_reference_run_refuses_what_luminal_would_index_wrongly() {
    let mut g = Graph::new();
    let a = g
        .scoped("big", |g| g.input("a", &[50_000, 50_000]))
        .unwrap();
    let y = g.sum_all(&a).unwrap();
    g.output("y", &y).unwrap();
    let error = g
        .run_reference(&Feeds::new(), &BTreeMap::new(), KEY)
        .unwrap_err();
    insta::assert_snapshot!(error, @"a node of 2500000000 elements is too large for the reference run (in big)");
}
