//! The one operator of this crate that is not luminal's own: a leaf that reads a shared store.

use crate::ir::LoadKind;
use luminal::op::{InputTensor, Operator};
use luminal::prelude::{ShapeTracker, Tensor};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

/// Values of the leaves of a run on stock luminal, by slot.
pub(crate) type Store = Rc<RefCell<HashMap<usize, Vec<f32>>>>;

/// A leaf. Recognised by its type, never by a name.
pub(crate) struct Load {
    pub kind: LoadKind,
    pub elements: usize,
    /// Where the store keeps the value: the number of the node.
    pub slot: usize,
    pub store: Store,
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.slot == other.slot && Rc::ptr_eq(&self.store, &other.store)
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Load({:?})", self.kind)
    }
}

impl Operator for Load {
    fn process(&mut self, _: Vec<(InputTensor, ShapeTracker)>) -> Vec<Tensor> {
        // luminal runs dead leaves too; those have no value, and zeros do
        let value = self.store.borrow().get(&self.slot).cloned();
        vec![Tensor::new(
            value.unwrap_or_else(|| vec![0.0; self.elements]),
        )]
    }
}
