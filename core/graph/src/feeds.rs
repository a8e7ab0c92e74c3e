//! What a run is given.

use crate::error::{GraphError, Result};
use std::collections::BTreeMap;

/// Values of the inputs of one run, row-major, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feeds {
    values: BTreeMap<String, Vec<f32>>,
}

impl Feeds {
    /// No values.
    pub fn new() -> Self {
        Feeds::default()
    }

    /// Sets the value of an input; returns self for chaining.
    pub fn with(mut self, name: impl Into<String>, values: Vec<f32>) -> Self {
        self.set(name, values);
        self
    }

    /// Sets the value of an input.
    pub fn set(&mut self, name: impl Into<String>, values: Vec<f32>) {
        self.values.insert(name.into(), values);
    }

    /// Sets the value of an input by copying into the buffer it has: no allocation once it is large
    /// enough.
    pub fn set_from(&mut self, name: &str, values: &[f32]) {
        let buffer = self.buffer(name, values.len());
        buffer.copy_from_slice(values);
    }

    /// The buffer of an input, resized to `len`, to be filled in place; allocates only when it grows.
    pub fn buffer(&mut self, name: &str, len: usize) -> &mut [f32] {
        if !self.values.contains_key(name) {
            self.values.insert(name.to_owned(), Vec::new());
        }
        match self.values.get_mut(name) {
            Some(buffer) => {
                buffer.resize(len, 0.0);
                buffer
            }
            None => unreachable!("inserted above"),
        }
    }

    /// The value of an input.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.values.get(name).map(Vec::as_slice)
    }

    /// The value of an input of this shape, after the checks that every run makes: it is there, has
    /// the right length and, for an index input, holds whole numbers in `0..bound`.
    ///
    /// # Errors
    /// [`GraphError::MissingFeed`], [`GraphError::Length`], [`GraphError::Index`].
    pub fn checked(&self, name: &str, shape: &[usize], bound: Option<usize>) -> Result<&[f32]> {
        let Some(values) = self.get(name) else {
            return Err(GraphError::MissingFeed {
                name: name.to_owned(),
                shape: shape.to_vec(),
            });
        };
        check_length(name, shape, values.len())?;
        if let Some(bound) = bound {
            let bad = |v: &f32| !(*v >= 0.0 && *v < bound as f32 && v.fract() == 0.0);
            if let Some(position) = values.iter().position(bad) {
                return Err(GraphError::Index {
                    name: name.to_owned(),
                    position,
                    value: values[position],
                    bound,
                });
            }
        }
        Ok(values)
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.values.iter().map(|(n, v)| (n.as_str(), v.as_slice()))
    }
}

/// Which random numbers the uniform leaves of a run hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandomKey {
    /// Seed of the streams.
    pub seed: u64,
    /// Step of the streams: another step, other numbers.
    pub step: u64,
}

/// Checks the number of values given for a leaf.
pub(crate) fn check_length(name: &str, shape: &[usize], got: usize) -> Result<()> {
    let expected: usize = shape.iter().product();
    if got == expected {
        Ok(())
    } else {
        Err(GraphError::Length {
            name: name.to_owned(),
            shape: shape.to_vec(),
            expected,
            got,
        })
    }
}

/// The value of a state, checked.
pub(crate) fn state_value<'a, T>(
    states: &'a BTreeMap<String, Vec<T>>,
    name: &str,
    shape: &[usize],
) -> Result<&'a [T]> {
    let Some(values) = states.get(name) else {
        return Err(GraphError::MissingState {
            name: name.to_owned(),
            shape: shape.to_vec(),
        });
    };
    check_length(name, shape, values.len())?;
    Ok(values)
}
