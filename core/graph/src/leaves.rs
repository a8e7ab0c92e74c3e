//! The leaves: states, inputs, random numbers, counters, constants.

use crate::error::{GraphError, Result};
use crate::graph::Graph;
use crate::ir::{LoadKind, Op};
use crate::load::Load;
use crate::tensor::Tensor;
use crate::view::View;

/// f32 holds every whole number up to here.
const WHOLE: usize = 1 << 24;

impl Graph {
    /// A tensor that lives in the backend's session between runs: a gradient, an optimizer's slot.
    ///
    /// # Errors
    /// [`GraphError::Duplicate`] if a state has the name; a bad shape.
    pub fn state(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.any_state("state", name, shape, false)
    }

    /// A state that is trained: listed in [`Graph::parameters`].
    ///
    /// # Errors
    /// As [`Graph::state`].
    pub fn parameter(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.any_state("parameter", name, shape, true)?;
        self.parameters.push((name.to_owned(), tensor.clone()));
        Ok(tensor)
    }

    fn any_state(
        &mut self,
        op: &'static str,
        name: &str,
        shape: &[usize],
        parameter: bool,
    ) -> Result<Tensor> {
        self.check_shape(op, shape)?;
        if self.states.contains_key(name) {
            return Err(duplicate("state", name));
        }
        let kind = LoadKind::State {
            name: name.to_owned(),
            parameter,
        };
        let tensor = self.load(kind, shape);
        self.states.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }

    /// The parameters, in the order they were made.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// The state of this name, if there is one.
    pub fn find_state(&self, name: &str) -> Option<&Tensor> {
        self.states.get(name)
    }

    /// The input of this name, if there is one.
    pub fn find_input(&self, name: &str) -> Option<&Tensor> {
        self.inputs.get(name)
    }

    /// Real numbers, fed each run.
    ///
    /// # Errors
    /// [`GraphError::Duplicate`] if an input has the name; a bad shape.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.any_input("input", name, shape, None)
    }

    /// Whole numbers in `0..bound`, fed each run (kept as f32, checked on feeding).
    ///
    /// # Errors
    /// As [`Graph::input`]; `bound` is zero or beyond 2^24, where f32 stops holding whole numbers.
    pub fn index_input(&mut self, name: &str, shape: &[usize], bound: usize) -> Result<Tensor> {
        if bound == 0 || bound > WHOLE {
            return Err(self.value_error(
                "index_input",
                format!("the bound of `{name}` must be in 1..=2^24, is {bound}"),
            ));
        }
        self.any_input("index_input", name, shape, Some(bound))
    }

    fn any_input(
        &mut self,
        op: &'static str,
        name: &str,
        shape: &[usize],
        index_bound: Option<usize>,
    ) -> Result<Tensor> {
        self.check_shape(op, shape)?;
        if self.inputs.contains_key(name) {
            return Err(duplicate("input", name));
        }
        let kind = LoadKind::Input {
            name: name.to_owned(),
            index_bound,
        };
        let tensor = self.load(kind, shape);
        self.inputs.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }

    /// Uniform numbers in `[0, 1)`, drawn anew each run: row-major element `i` is
    /// `Stream::new(key.seed, stream).uniform_at(key.step, i)`.
    ///
    /// # Errors
    /// [`GraphError::Duplicate`] if the graph draws from the stream already (the numbers would be
    /// the same); a bad shape.
    pub fn uniform(&mut self, stream: &str, shape: &[usize]) -> Result<Tensor> {
        self.check_shape("uniform", shape)?;
        if !self.streams.insert(stream.to_owned()) {
            return Err(duplicate("uniform stream", stream));
        }
        let kind = LoadKind::Uniform {
            stream: stream.to_owned(),
        };
        Ok(self.load(kind, shape))
    }

    /// `0, 1, .., n - 1`. Cached.
    ///
    /// # Errors
    /// `n` is zero or beyond 2^24, where f32 stops holding whole numbers.
    pub fn iota(&mut self, n: usize) -> Result<Tensor> {
        if n == 0 || n > WHOLE {
            return Err(self.value_error("iota", format!("the length must be in 1..=2^24, is {n}")));
        }
        if let Some(tensor) = self.iotas.get(&n) {
            return Ok(tensor.clone());
        }
        let tensor = self.load(LoadKind::Iota, &[n]);
        self.iotas.insert(n, tensor.clone());
        Ok(tensor)
    }

    /// A rank-0 constant. Cached.
    pub fn scalar(&mut self, value: f32) -> Tensor {
        if let Some(tensor) = self.scalars.get(&value.to_bits()) {
            return tensor.clone();
        }
        let tensor = self.constant_node(value);
        self.scalars.insert(value.to_bits(), tensor.clone());
        tensor
    }

    fn load(&mut self, kind: LoadKind, shape: &[usize]) -> Tensor {
        let load = Load {
            kind,
            elements: shape.iter().product(),
            slot: self.node_count(),
            store: self.store.clone(),
        };
        let id = self.luminal.add_op(load).finish();
        self.made(id, shape.to_vec())
    }

    /// Name of the state that `t` is, if it is one, whole.
    pub(crate) fn state_name(&self, t: &Tensor) -> Option<String> {
        let (op, _) = self.read_node(t.id).ok()?;
        let whole = t.view == View::contiguous(&self.facts[t.node()].shape);
        match op {
            Op::Load(LoadKind::State { name, .. }) if whole => Some(name),
            _ => None,
        }
    }

    /// Exclusive upper bound of the values of `t`, if it is an index input or a counter.
    pub(crate) fn index_bound(&self, t: &Tensor) -> Option<usize> {
        match self.read_node(t.id).ok()?.0 {
            Op::Load(LoadKind::Input { index_bound, .. }) => index_bound,
            Op::Load(LoadKind::Iota) => Some(self.facts[t.node()].shape[0]),
            _ => None,
        }
    }
}

fn duplicate(kind: &'static str, name: &str) -> GraphError {
    GraphError::Duplicate {
        kind,
        name: name.to_owned(),
    }
}
