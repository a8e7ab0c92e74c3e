//! One suite for every backend.
//!
//! Owns: graphs with their feeds and states ([`cases`], [`random`]), and the comparison of a backend
//! with an f64 evaluation of the same graph
//! ([`check`], [`check_against_stock`]). Must not know any particular backend; the
//! files in `tests/` name them.

pub mod cases;
pub mod random;

use ablate_compiler::{Backend, BackendError, ReferenceBackend};
use ablate_graph::{Feeds, Graph, GraphError, RandomKey, Tensor};
use std::collections::BTreeMap;

/// A graph in the making, with numbers for its leaves.
#[derive(Default)]
pub struct Case {
    /// The graph.
    pub graph: Graph,
    /// What is fed.
    pub feeds: Feeds,
    /// What the states hold before the run.
    pub states: BTreeMap<String, Vec<f32>>,
    outputs: usize,
}

/// Normal numbers with a standard deviation of one half, the same for the same name.
pub fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut reader = ablate_random::Stream::new(17, name).reader();
    (0..count).map(|_| reader.normal() as f32 * 0.5).collect()
}

impl Case {
    /// A fed input.
    ///
    /// # Errors
    /// The graph refuses it.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, GraphError> {
        self.feeds.set(name, numbers(name, shape.iter().product()));
        self.graph.input(name, shape)
    }

    /// A fed index input with indices spread over `0..bound`.
    ///
    /// # Errors
    /// The graph refuses it.
    pub fn index(
        &mut self,
        name: &str,
        shape: &[usize],
        bound: usize,
    ) -> Result<Tensor, GraphError> {
        let count: usize = shape.iter().product();
        let mut reader = ablate_random::Stream::new(23, name).reader();
        let values = (0..count)
            .map(|_| reader.below(bound as u32) as f32)
            .collect();
        self.feeds.set(name, values);
        self.graph.index_input(name, shape, bound)
    }

    /// A parameter.
    ///
    /// # Errors
    /// The graph refuses it.
    pub fn parameter(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, GraphError> {
        self.states
            .insert(name.into(), numbers(name, shape.iter().product()));
        self.graph.parameter(name, shape)
    }

    /// Reads a tensor back.
    ///
    /// # Errors
    /// The graph refuses it.
    pub fn output(&mut self, tensor: &Tensor) -> Result<(), GraphError> {
        self.outputs += 1;
        self.graph.output(&format!("out{}", self.outputs), tensor)
    }

    /// Reads back the gradients of all parameters.
    ///
    /// # Errors
    /// A rule is missing or a parameter is not reached.
    pub fn gradients(&mut self, loss: &Tensor) -> Result<(), GraphError> {
        let wrt: Vec<Tensor> = self
            .graph
            .parameters()
            .iter()
            .map(|p| p.1.clone())
            .collect();
        for gradient in self.graph.gradients(loss, &wrt)? {
            self.output(&gradient)?;
        }
        Ok(())
    }
}

/// What a comparison found wrong.
#[derive(Debug)]
pub struct Mismatch {
    /// Output or state.
    pub name: String,
    /// First element that is off.
    pub index: usize,
    /// What the backend computed.
    pub found: f32,
    /// What the f64 evaluation says.
    pub expected: f64,
}

/// Everything a run leaves: outputs and assigned states by name.
type Values<T> = BTreeMap<String, Vec<T>>;

const KEY: RandomKey = RandomKey { seed: 11, step: 4 };

fn exact(case: &Case) -> Result<Values<f64>, BackendError> {
    let wide = |v: &Vec<f32>| v.iter().map(|x| f64::from(*x)).collect();
    let states = case
        .states
        .iter()
        .map(|(n, v)| (n.clone(), wide(v)))
        .collect();
    let result = case.graph.run_f64(&case.feeds, &states, KEY)?;
    Ok(result.outputs.into_iter().chain(result.assigned).collect())
}

/// Runs a case: its values by the names in `expected`, and the program as text.
fn run(
    backend: &dyn Backend,
    case: Case,
    expected: &Values<f64>,
) -> Result<(Values<f32>, String), BackendError> {
    let outputs: Vec<String> = case.graph.outputs().iter().map(|o| o.0.clone()).collect();
    let mut session = backend.session()?;
    for (name, values) in &case.states {
        session.set_state(name, values)?;
    }
    let program = session.load(case.graph)?;
    session.run(program, &case.feeds, KEY)?;
    let mut found = BTreeMap::new();
    for name in expected.keys() {
        let values = if outputs.contains(name) {
            session.output(program, name)?.to_vec()
        } else {
            session.state(name)?
        };
        found.insert(name.clone(), values);
    }
    Ok((found, session.program_text(program)?))
}

/// Runs a case on two backends that must agree to the bit, NaN apart.
///
/// # Errors
/// A backend refuses the graph or the run.
///
/// # Panics
/// On the first element that differs, with the program as text.
pub fn check_same_bits(
    left: &dyn Backend,
    right: &dyn Backend,
    build: impl Fn() -> Result<Case, GraphError>,
) -> Result<(), BackendError> {
    let names = exact(&build()?)?;
    let (expected, _) = run(left, build()?, &names)?;
    let (found, text) = run(right, build()?, &names)?;
    for (name, expected) in &expected {
        for (i, (a, b)) in expected.iter().zip(&found[name]).enumerate() {
            let same =
                a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan() || *a == 0.0 && *b == 0.0;
            assert!(same, "{name}[{i}]: {a:e} and {b:e}\n{text}");
        }
    }
    Ok(())
}

/// Runs a case on two backends that round alike but for the order of sums: tensor by tensor the difference's
/// norm is at most `tolerance` of the tensor's and a hundredth of the greatest one's.
///
/// # Errors
/// A backend refuses the graph or the run.
///
/// # Panics
/// On the first tensor that is further off.
pub fn check_near(
    left: &dyn Backend,
    right: &dyn Backend,
    build: impl Fn() -> Result<Case, GraphError>,
    tolerance: f64,
) -> Result<(), BackendError> {
    let names = exact(&build()?)?;
    let (expected, _) = run(left, build()?, &names)?;
    let (found, text) = run(right, build()?, &names)?;
    let norm = |x: &mut dyn Iterator<Item = f64>| {
        let finite = x.filter(|x| x.is_finite());
        finite.map(|x| x * x).sum::<f64>().sqrt()
    };
    let own = |values: &Vec<f32>| norm(&mut values.iter().map(|x| f64::from(*x)));
    let greatest = expected.values().map(own).fold(0.0, f64::max);
    for (name, expected) in &expected {
        let pairs = expected.iter().zip(&found[name]);
        for (i, (a, b)) in pairs.clone().enumerate() {
            let alike = a.is_finite() == b.is_finite() && a.is_nan() == b.is_nan();
            assert!(alike, "{name}[{i}]: {a:e} and {b:e}\n{text}");
        }
        let off = norm(&mut pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let own = own(expected);
        assert!(
            off <= tolerance * (own + 0.01 * greatest),
            "{}: {name} is off by {off:e} of {own:e}",
            right.name()
        );
    }
    Ok(())
}

/// Runs a case on a backend and compares every output and assigned state with an f64 evaluation:
/// `tolerance` is relative to the element and to the root mean square of the tensor. Returns the
/// program as text.
///
/// # Errors
/// The backend refuses the graph or the run.
///
/// # Panics
/// On the first element that is off, with the program as text.
pub fn check(backend: &dyn Backend, case: Case, tolerance: f64) -> Result<String, BackendError> {
    let expected = exact(&case)?;
    let (found, text) = run(backend, case, &expected)?;
    for (name, expected) in &expected {
        if let Some(m) = mismatch(name, &found[name], expected, tolerance, 0.0) {
            panic!("{} differs: {m:?}\n{text}", backend.name());
        }
    }
    Ok(text)
}

/// As [`check`], tensor by tensor instead of element by element: the error's norm is at most `tolerance`
/// of the tensor's and a hundredth of the greatest one's. (The gradient of a key's bias is zero in truth,
/// and what rounding leaves of it is as large as the terms that cancel.) Elements that are not finite, or beyond
/// f32's range, must only be so.
///
/// # Errors
/// The backend refuses the graph or the run.
///
/// # Panics
/// On the first tensor that is off.
pub fn check_norms(backend: &dyn Backend, case: Case, tolerance: f64) -> Result<(), BackendError> {
    let expected = exact(&case)?;
    let (found, _) = run(backend, case, &expected)?;
    let norm = |x: &mut dyn Iterator<Item = f64>| {
        let finite = x.filter(|x| x.abs() <= f64::from(f32::MAX));
        finite.map(|x| x * x).sum::<f64>().sqrt()
    };
    let norms = expected.values().map(|e| norm(&mut e.iter().copied()));
    let greatest = norms.fold(0.0, f64::max);
    for (name, expected) in &expected {
        let pairs = found[name].iter().zip(expected);
        for (i, (a, b)) in pairs.clone().enumerate() {
            let finite = b.abs() <= f64::from(f32::MAX);
            let beyond = a.is_nan() && b.is_nan() || *a == b.signum() as f32 * f32::INFINITY;
            assert!(
                if finite { a.is_finite() } else { beyond },
                "{name}[{i}] is {a:e}, not {b:e}"
            );
        }
        let off = norm(&mut pairs.map(|(a, b)| f64::from(*a) - b));
        let own = norm(&mut expected.iter().copied());
        let bound = tolerance * (own + 0.01 * greatest);
        assert!(
            off <= bound,
            "{}: {name} is off by {off:e} of {own:e}",
            backend.name()
        );
    }
    Ok(())
}

/// As [`check`], for graphs that may amplify rounding: what stock luminal is off by in a tensor, in the
/// same precision, is allowed thirty times over.
///
/// # Errors
/// A backend refuses the graph or the run.
///
/// # Panics
/// On the first element that is off, with the program as text.
pub fn check_against_stock(
    backend: &dyn Backend,
    build: impl Fn() -> Result<Case, GraphError>,
    tolerance: f64,
) -> Result<(), BackendError> {
    let case = build()?;
    let expected = exact(&case)?;
    let (stock, _) = run(&ReferenceBackend, case, &expected)?;
    let (found, text) = run(backend, build()?, &expected)?;
    for (name, expected) in &expected {
        let off = stock[name]
            .iter()
            .zip(expected)
            .map(|(a, b)| (f64::from(*a) - b).abs());
        let noise = off.filter(|e| e.is_finite()).fold(0.0, f64::max);
        if let Some(m) = mismatch(name, &found[name], expected, tolerance, 30.0 * noise) {
            panic!("{} differs: {m:?}\n{text}", backend.name());
        }
    }
    Ok(())
}

fn mismatch(
    name: &str,
    found: &[f32],
    expected: &[f64],
    tolerance: f64,
    noise: f64,
) -> Option<Mismatch> {
    let report = |index: usize, found: f32, expected: f64| Mismatch {
        name: name.into(),
        index,
        found,
        expected,
    };
    if found.len() != expected.len() {
        return Some(report(found.len(), f32::NAN, f64::NAN));
    }
    let finite: Vec<f64> = expected.iter().copied().filter(|x| x.is_finite()).collect();
    let mean = finite.iter().map(|x| x * x).sum::<f64>() / finite.len().max(1) as f64;
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let a64 = f64::from(*a);
        let same = a64 == *b || a64.is_nan() && b.is_nan();
        // Beyond f32's range the two must only agree that it is beyond.
        let beyond =
            a64.is_infinite() && b.abs() > f64::from(f32::MAX) && a64.signum() == b.signum();
        let near = (a64 - b).abs() <= tolerance * (mean.sqrt() + b.abs()) + 1e-6 + noise;
        if !(same || beyond || near) {
            return Some(report(i, *a, *b));
        }
    }
    None
}
