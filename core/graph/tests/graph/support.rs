//! Building, running and comparing small graphs.

use ablate_graph::{Feeds, Graph, RandomKey, Result, Tensor};
use ablate_random::Stream;
use std::collections::BTreeMap;

pub const KEY: RandomKey = RandomKey { seed: 11, step: 3 };

/// What f32 constants (ln 2, log2 e) leave of f64.
pub const TIGHT: f64 = 3e-7;

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Fixed numbers in `low..high`, named so that each tensor has its own.
pub fn numbers(name: &str, n: usize, low: f32, high: f32) -> Vec<f32> {
    let mut reader = Stream::new(5, name).reader();
    (0..n)
        .map(|_| low + (high - low) * reader.uniform())
        .collect()
}

/// A graph with the states it was given.
#[derive(Default)]
pub struct Lab {
    pub g: Graph,
    pub states: BTreeMap<String, Vec<f32>>,
    pub feeds: Feeds,
}

impl Lab {
    pub fn new() -> Self {
        Lab::default()
    }

    /// A parameter with fixed numbers in `low..high`.
    pub fn param(&mut self, name: &str, shape: &[usize], low: f32, high: f32) -> Tensor {
        let values = numbers(name, shape.iter().product(), low, high);
        self.param_of(name, shape, values)
    }

    pub fn param_of(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Tensor {
        self.states.insert(name.to_owned(), values);
        self.g.parameter(name, shape).unwrap()
    }

    pub fn indices(&mut self, name: &str, shape: &[usize], bound: usize, values: &[f32]) -> Tensor {
        self.feeds.set(name, values.to_vec());
        self.g.index_input(name, shape, bound).unwrap()
    }

    pub fn states64(&self) -> BTreeMap<String, Vec<f64>> {
        widen(&self.states)
    }

    /// Values of `t` from stock luminal and from the f64 interpreter.
    pub fn both(mut self, t: &Tensor) -> (Vec<f32>, Vec<f64>) {
        self.g.output("t", t).unwrap();
        let wide = self
            .g
            .run_f64(&self.feeds, &self.states64(), KEY)
            .unwrap()
            .outputs["t"]
            .clone();
        let stock = self
            .g
            .run_reference(&self.feeds, &self.states, KEY)
            .unwrap();
        (stock.outputs["t"].clone(), wide)
    }

    /// Checks the values of `t` on stock luminal and in f64.
    #[track_caller]
    pub fn check(self, t: Result<Tensor>, want: &[f64], tolerance: f64) {
        let t = t.unwrap();
        assert_eq!(t.elements(), want.len(), "shape {:?}", t.shape());
        let (stock, wide) = self.both(&t);
        let narrow: Vec<f64> = stock.iter().map(|v| f64::from(*v)).collect();
        close("stock luminal", &narrow, want, tolerance.max(2e-6));
        close("f64", &wide, want, tolerance);
    }
}

pub fn widen(states: &BTreeMap<String, Vec<f32>>) -> BTreeMap<String, Vec<f64>> {
    states
        .iter()
        .map(|(n, v)| (n.clone(), v.iter().map(|x| f64::from(*x)).collect()))
        .collect()
}

/// |got - want| <= tolerance * max(1, |want|), element by element.
#[track_caller]
pub fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * b.abs().max(1.0),
            "{what}: element {i} is {a}, want {b}"
        );
    }
}
