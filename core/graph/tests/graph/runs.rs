//! Runs keep nothing, and assignments happen after them.

use crate::support::{Lab, KEY};

#[test]
fn assignments_read_the_old_state() {
    let mut lab = Lab::new();
    let a = lab.param_of("a", &[3], vec![1.0, 2.0, 3.0]);
    let b = lab.param_of("b", &[3], vec![10.0, 20.0, 30.0]);
    // exchange, so that a wrong order shows
    let turned = lab.g.add_scalar(&b, 1.0).unwrap();
    lab.g.assign(&a, &turned).unwrap();
    lab.g.assign(&b, &a).unwrap();
    let stock = lab.g.run_reference(&lab.feeds, &lab.states, KEY).unwrap();
    assert_eq!(stock.assigned["a"], [11.0, 21.0, 31.0]);
    assert_eq!(stock.assigned["b"], [1.0, 2.0, 3.0]);
    let states = lab.states64();
    let wide = lab.g.run_f64(&lab.feeds, &states, KEY).unwrap();
    assert_eq!(wide.assigned["a"], [11.0, 21.0, 31.0]);
    assert_eq!(wide.assigned["b"], [1.0, 2.0, 3.0]);
}

#[test]
fn a_second_run_sees_new_values_and_new_nodes() {
    let mut lab = Lab::new();
    let a = lab.param_of("a", &[1], vec![1.0]);
    let y = lab.g.mul_scalar(&a, 2.0).unwrap();
    lab.g.output("y", &y).unwrap();
    let first = lab.g.run_reference(&lab.feeds, &lab.states, KEY).unwrap();
    assert_eq!(first.outputs["y"], [2.0]);
    lab.states.insert("a".to_owned(), vec![5.0]);
    let z = lab.g.mul_scalar(&a, 3.0).unwrap();
    lab.g.output("z", &z).unwrap();
    let second = lab.g.run_reference(&lab.feeds, &lab.states, KEY).unwrap();
    assert_eq!(
        (&second.outputs["y"], &second.outputs["z"]),
        (&vec![10.0], &vec![15.0])
    );
}
