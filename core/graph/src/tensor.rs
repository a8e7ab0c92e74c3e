//! The handle through which graphs are built.

use crate::view::View;
use luminal::prelude::NodeIndex;

/// A view of a node's output: a cheap handle, valid for the graph that made it.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Which graph made it.
    pub(crate) graph: u64,
    pub(crate) id: NodeIndex,
    pub(crate) view: View,
}

impl Tensor {
    /// Logical shape.
    pub fn shape(&self) -> Vec<usize> {
        self.view.shape()
    }

    /// Number of dims.
    pub fn rank(&self) -> usize {
        self.view.rank()
    }

    /// Size of dim `axis`; 1 beyond the rank, as in broadcasting.
    pub fn size(&self, axis: usize) -> usize {
        if axis < self.rank() {
            self.view.at(axis).len()
        } else {
            1
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.view.elements()
    }

    /// How the node's output is read.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Number of the node, as [`crate::Graph::dump`] prints it.
    pub fn node(&self) -> usize {
        self.id.index()
    }

    /// The same node through another view.
    pub(crate) fn with(&self, view: View) -> Tensor {
        Tensor {
            graph: self.graph,
            id: self.id,
            view,
        }
    }
}
