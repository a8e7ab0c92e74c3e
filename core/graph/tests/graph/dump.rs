//! The text of a graph.

use ablate_graph::{Graph, Phase};

#[test]
fn every_kind_of_line() {
    let mut g = Graph::new();
    let w = g.parameter("w", &[3, 2]).unwrap();
    let slot = g.state("slot", &[3, 2]).unwrap();
    let x = g.input("x", &[4, 2]).unwrap();
    let i = g.index_input("i", &[4], 3).unwrap();
    let loss = g.scoped("model", |g| {
        let y = g.linear(&x, &w, None).unwrap();
        let y = g.dropout(&y, 0.5, "dropout/y").unwrap();
        let hot = g.one_hot(&i, 3).unwrap();
        let y = g.mul(&y, &hot).unwrap();
        let top = g.max(&y, &[1], true).unwrap();
        let top = g.stop_gradient(&top).unwrap();
        let padded = g.pad(&top, 0, 1, 0).unwrap();
        let cut = g.slice(&y, 1, 1, 3).unwrap();
        g.add(&padded, &padded).unwrap();
        g.sum_all(&cut).unwrap()
    });
    let d = g
        .gradients(&loss, std::slice::from_ref(&w))
        .unwrap()
        .remove(0);
    g.in_phase(Phase::Update, |g| {
        let step = g.mul_scalar(&d, -0.1).unwrap();
        let new = g.add(&w, &step).unwrap();
        g.assign(&w, &new).unwrap();
        g.assign(&slot, &d).unwrap();
    });
    g.output("loss", &loss).unwrap();
    insta::assert_snapshot!(g.dump());
}
