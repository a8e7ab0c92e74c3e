//! Dropout draws exactly the numbers of its stream.

use crate::support::{numbers, Lab, KEY};
use ablate_graph::{GraphError, RandomKey};
use ablate_random::Stream;

#[test]
fn kept_where_the_uniform_number_is_at_least_the_rate() {
    let x = numbers("x", 5 * 41, 1.0, 2.0);
    for rate in [0.1, 0.5, 0.9] {
        let mut lab = Lab::new();
        let t = lab.param_of("x", &[5, 41], x.clone());
        let y = lab.g.dropout(&t, rate, "dropout/site").unwrap();
        let stream = Stream::new(KEY.seed, "dropout/site");
        let scale = (1.0 / (1.0 - rate)) as f32;
        let want: Vec<f32> = x
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let kept = stream.uniform_at(KEY.step, i as u64) >= rate as f32;
                if kept {
                    x * scale
                } else {
                    0.0
                }
            })
            .collect();
        let zeros = want.iter().filter(|v| **v == 0.0).count() as f64 / want.len() as f64;
        assert!((zeros - rate).abs() < 0.12, "{zeros} zeros at rate {rate}");
        let (stock, wide) = lab.both(&y);
        assert_eq!(stock, want);
        for (a, b) in wide.iter().zip(&want) {
            assert!((a - f64::from(*b)).abs() < 1e-6);
        }
    }
}

#[test]
fn a_number_equal_to_the_rate_is_kept() {
    // uniform numbers are whole multiples of 2^-24, so a rate can be hit exactly
    let rate = Stream::new(KEY.seed, "s").uniform_at(KEY.step, 2);
    let mut lab = Lab::new();
    let t = lab.param_of("x", &[4], vec![1.0; 4]);
    let y = lab.g.dropout(&t, f64::from(rate), "s").unwrap();
    assert!(lab.both(&y).0[2] > 0.0);
}

#[test]
fn other_steps_and_seeds_draw_other_numbers_and_rate_zero_none() {
    let mut lab = Lab::new();
    let u = lab.g.uniform("u", &[64]).unwrap();
    lab.g.output("u", &u).unwrap();
    let mut draw = |seed, step| {
        let key = RandomKey { seed, step };
        let result = lab.g.run_reference(&lab.feeds, &lab.states, key).unwrap();
        result.outputs["u"].clone()
    };
    let first = draw(1, 1);
    assert_eq!(first, draw(1, 1));
    assert_ne!(first, draw(1, 2));
    assert_ne!(first, draw(2, 1));
    let mut lab = Lab::new();
    let x = lab.param("x", &[3], 0.0, 1.0);
    let before = lab.g.node_count();
    lab.g.dropout(&x, 0.0, "s").unwrap();
    assert_eq!(lab.g.node_count(), before);
    lab.g.dropout(&x, 0.5, "s").unwrap();
    let twice = lab.g.dropout(&x, 0.5, "s").unwrap_err();
    assert!(matches!(twice, GraphError::Duplicate { .. }), "{twice}");
    for rate in [1.0, -0.1, f64::NAN] {
        let error = lab.g.dropout(&x, rate, "t").unwrap_err();
        assert!(matches!(error, GraphError::Value { .. }), "{error}");
    }
}
