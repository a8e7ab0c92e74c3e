//! Checking gradients by difference quotients, on the f64 evaluation of the same graph.
//!
//! Owns: which elements are tried and how an error is measured. Each quotient comes with a bound of its
//! own error, from the measured rounding of the loss and from the steps (see `quotient`), and only
//! what is beyond the bound counts as an error of the gradient. So one tolerance serves large gradients
//! and small ones, and a gradient that is zero in truth is told from one that is merely missing.
//!
//! The graph's own constants (ln 2, log2 e, ..) are f32 numbers, so a correct gradient still differs
//! by about 1e-7, and by more where large terms cancel. At a kink (ReLU at 0, a tie of a maximum) the
//! quotient means nothing.

mod quotient;

use crate::error::{GraphError, Result};
use crate::feeds::{state_value, Feeds, RandomKey};
use crate::graph::Graph;
use crate::interpret::Interpreter;
use crate::ir::{LoadKind, Op};
use ablate_random::Stream;
use std::collections::BTreeMap;

use quotient::{derivative, noise, POINTS};

/// How the check is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Elements tried of each tensor (all, if it has no more).
    pub samples_per_tensor: usize,
    /// First step relative to the element: `h = epsilon * max(|x|, rms of the tensor, 0.01)`. It is
    /// doubled where rounding leaves too little of the quotient.
    pub epsilon: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            samples_per_tensor: 8,
            epsilon: 1e-3,
        }
    }
}

/// The outcome for one state.
#[derive(Clone, Debug, PartialEq)]
pub struct GradcheckRow {
    /// Name of the state.
    pub parameter: String,
    /// Elements of the state.
    pub elements: usize,
    /// Elements tried.
    pub checked: usize,
    /// Largest error relative to the gradient: what `|analytic - numeric|` exceeds the quotient's own
    /// bound by, over the largest of `|analytic|`, `|numeric|` and a hundredth of the largest
    /// analytic entry of the tensor.
    pub max_relative_error: f64,
    /// Largest bound of a quotient's own error, over the same: what the check can see.
    pub resolution: f64,
    /// Whether every gradient and quotient tried is within the quotient's bound: zero as far as
    /// rounding lets one see.
    pub zero: bool,
    /// Largest `|analytic - numeric|`.
    pub max_absolute_error: f64,
    /// Root mean square of the analytic gradient; 0 tells of a parameter that is not trained.
    pub gradient_rms: f64,
    /// Row-major position of the element with the largest relative error.
    pub worst: usize,
    /// The graph's gradient there.
    pub analytic: f64,
    /// The difference quotient there.
    pub numeric: f64,
}

/// Compares gradients with difference quotients of the loss.
///
/// `loss_output` names an output of one element; `gradients` holds, for each state to check, its
/// name and the name of the output that is its gradient. Elements with the largest gradient come
/// first among those tried, then a fixed random choice (stream `gradcheck/<name>` of `key.seed`).
/// One row each, in the given order.
///
/// # Errors
/// Unknown names, missing or wrong values, a loss of several elements.
pub fn check(
    graph: &Graph,
    loss_output: &str,
    gradients: &[(String, String)],
    states: &BTreeMap<String, Vec<f64>>,
    feeds: &Feeds,
    key: RandomKey,
    options: Options,
) -> Result<Vec<GradcheckRow>> {
    let lowered = graph.lower()?;
    let names: Vec<&str> = gradients
        .iter()
        .map(|(_, output)| output.as_str())
        .collect();
    let analytic = Interpreter::new(lowered.restricted_to(&names)?).run(feeds, states, key)?;
    let only_loss = lowered.restricted_to(&[loss_output])?;
    let mut loss = Loss {
        states: needed(&only_loss.nodes, states)?,
        graph: Interpreter::new(only_loss),
        output: loss_output,
        feeds,
        key,
        noise: 0.0,
    };
    loss.measure_noise()?;
    gradients
        .iter()
        .map(|(name, output)| {
            let gradient = analytic
                .outputs
                .get(output)
                .ok_or_else(|| unknown("output", output))?;
            row(&mut loss, name, gradient, options)
        })
        .collect()
}

fn unknown(kind: &'static str, name: &str) -> GraphError {
    GraphError::UnknownName {
        kind,
        name: name.to_owned(),
    }
}

fn row(loss: &mut Loss, name: &str, gradient: &[f64], options: Options) -> Result<GradcheckRow> {
    let value = loss
        .states
        .get(name)
        .ok_or_else(|| unknown("state", name))?
        .clone();
    if value.len() != gradient.len() {
        return Err(GraphError::Length {
            name: name.to_owned(),
            shape: vec![gradient.len()],
            expected: gradient.len(),
            got: value.len(),
        });
    }
    let value_rms = rms(&value);
    let floor = gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs())) * 0.01;
    let picks = pick(gradient, options.samples_per_tensor, loss.key.seed, name);
    let mut row = GradcheckRow {
        parameter: name.to_owned(),
        elements: gradient.len(),
        checked: picks.len(),
        max_relative_error: -1.0,
        resolution: 0.0,
        zero: true,
        max_absolute_error: 0.0,
        gradient_rms: rms(gradient),
        worst: 0,
        analytic: 0.0,
        numeric: 0.0,
    };
    for i in picks {
        let h = options.epsilon * value[i].abs().max(value_rms).max(0.01);
        let noise = loss.noise;
        let quotient = derivative(|x| loss.at(name, i, x), value[i], h, noise)?;
        loss.set(name, i, value[i]);
        let numeric = quotient.value;
        let error = (gradient[i] - numeric).abs();
        let scale = gradient[i].abs().max(numeric.abs()).max(floor);
        // Without a quotient there is no bound that could excuse anything.
        let beyond = if numeric.is_nan() {
            f64::NAN
        } else if error <= quotient.bound {
            0.0
        } else {
            error - quotient.bound
        };
        let relative = if beyond == 0.0 { 0.0 } else { beyond / scale };
        if scale > 0.0 {
            row.resolution = worse(row.resolution, quotient.bound / scale);
        }
        row.zero &= gradient[i].abs() <= quotient.bound && numeric.abs() <= quotient.bound;
        row.max_absolute_error = worse(row.max_absolute_error, error);
        // a NaN is the worst of all
        if relative.is_nan() || relative > row.max_relative_error {
            row.max_relative_error = relative;
            (row.worst, row.analytic, row.numeric) = (i, gradient[i], numeric);
            if relative.is_nan() {
                break;
            }
        }
    }
    row.max_relative_error = worse(row.max_relative_error, 0.0);
    Ok(row)
}

/// The loss as a function of the states.
struct Loss<'a> {
    graph: Interpreter,
    states: BTreeMap<String, Vec<f64>>,
    output: &'a str,
    feeds: &'a Feeds,
    key: RandomKey,
    /// Standard deviation of its rounding.
    noise: f64,
}

impl Loss<'_> {
    /// Measures the rounding along a line through all states at once, on steps so small that nothing
    /// else is left. Signs are drawn (stream `gradcheck/noise` of `key.seed`).
    fn measure_noise(&mut self) -> Result<()> {
        const STEP: f64 = 1e-11;
        let start = self.states.clone();
        let mut values = [0.0; POINTS];
        for (point, value) in values.iter_mut().enumerate() {
            let mut draw = Stream::new(self.key.seed, "gradcheck/noise").reader();
            for (name, old) in &start {
                let scale = STEP * point as f64 * rms(old).max(0.01);
                if let Some(state) = self.states.get_mut(name) {
                    for (x, x0) in state.iter_mut().zip(old) {
                        let sign = if draw.uniform() < 0.5 { -1.0 } else { 1.0 };
                        *x = x0 + scale * sign;
                    }
                }
            }
            *value = self.value()?;
        }
        self.states = start;
        self.noise = noise(&values);
        Ok(())
    }

    fn set(&mut self, name: &str, i: usize, x: f64) {
        if let Some(value) = self.states.get_mut(name) {
            value[i] = x;
        }
    }

    /// The loss with element `i` of a state set to `x`.
    fn at(&mut self, name: &str, i: usize, x: f64) -> Result<f64> {
        self.set(name, i, x);
        self.value()
    }

    fn value(&mut self) -> Result<f64> {
        let result = self.graph.run(self.feeds, &self.states, self.key)?;
        match result.outputs.get(self.output).map(Vec::as_slice) {
            Some([value]) => Ok(*value),
            other => Err(GraphError::Length {
                name: self.output.to_owned(),
                shape: Vec::new(),
                expected: 1,
                got: other.map_or(0, <[f64]>::len),
            }),
        }
    }
}

/// The states that a run of these nodes reads.
fn needed(
    nodes: &[crate::ir::Node],
    states: &BTreeMap<String, Vec<f64>>,
) -> Result<BTreeMap<String, Vec<f64>>> {
    let mut found = BTreeMap::new();
    for node in nodes {
        if let Op::Load(LoadKind::State { name, .. }) = &node.op {
            let value = state_value(states, name, &node.shape)?;
            found.insert(name.clone(), value.to_vec());
        }
    }
    Ok(found)
}

fn rms(values: &[f64]) -> f64 {
    let squares: f64 = values.iter().map(|v| v * v).sum();
    (squares / values.len().max(1) as f64).sqrt()
}

fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// Half of the picks are the largest entries, the others random; all entries if they are few.
fn pick(gradient: &[f64], samples: usize, seed: u64, name: &str) -> Vec<usize> {
    let mut order: Vec<usize> = (0..gradient.len()).collect();
    if gradient.len() <= samples {
        return order;
    }
    order.sort_by(|a, b| gradient[*b].abs().total_cmp(&gradient[*a].abs()));
    let mut rest = order.split_off(samples.div_ceil(2));
    let mut reader = Stream::new(seed, &format!("gradcheck/{name}")).reader();
    while order.len() < samples && !rest.is_empty() {
        let i = reader.below(u32::try_from(rest.len()).unwrap_or(u32::MAX)) as usize;
        order.push(rest.swap_remove(i));
    }
    order
}
