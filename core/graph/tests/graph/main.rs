//! Tests of the graph crate through its public surface, in one binary.

mod bert;
mod block_values;
mod contractions;
mod dropout;
mod dump;
mod errors;
mod gradients;
mod random_graphs;
mod runs;
mod support;
mod values;
