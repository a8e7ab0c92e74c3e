//! What a run is given.

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

    /// The buffer of an input, resized to `len`, to be filled in place without a fresh allocation.
    pub fn buffer(&mut self, name: &str, len: usize) -> &mut Vec<f32> {
        let buffer = self.values.entry(name.to_owned()).or_default();
        buffer.resize(len, 0.0);
        buffer
    }

    /// The value of an input.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.values.get(name).map(Vec::as_slice)
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
