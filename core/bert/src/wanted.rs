//! Which tokens the last layer is made for, where not all of them are read.
//!
//! Owns: the choice, what stands in the place of the states that are not made, and whether the choice
//! held. Must not know: the layers, nor what objectives are.
//!
//! After the last attention every token goes its own way: its output layer, its feed-forward network
//! and its layer norms depend on no other token. Masked language modelling reads about one token in six
//! and the pooler one an example, so that most of that work would be thrown away, forward and
//! backward. What is made is what would be made of all tokens, in the same bits without dropout; a
//! gradient lacks terms that are zero. Dropout masks of those sites are drawn by the place among the
//! wanted tokens, so they are another draw.

use ablate_graph::{Graph, Tensor};

use crate::Result;

/// The tokens whose last states are read.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Tokens that an objective looks up, row-major in `[batch, seq]`: an index input `[tokens]`.
    pub positions: Option<Tensor>,
    /// Whether the first token of each example is read, by the pooler.
    pub first: bool,
}

impl Wanted {
    /// How many tokens that is in a batch of so many examples.
    pub fn tokens(&self, batch: usize) -> usize {
        let listed = self.positions.as_ref().map_or(0, Tensor::elements);
        listed + if self.first { batch } else { 0 }
    }
}

/// The last layer's states of wanted tokens.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    wanted: Wanted,
    /// The first of each example, `[batch, hidden]`.
    first: Option<Tensor>,
    /// What stands for the states of all tokens, `[batch, seq, hidden]`: zeros. Looking up the wanted
    /// positions in it gives their states.
    hidden: Tensor,
}

impl Selected {
    /// `states` are `[tokens, hidden]`, in the order of [`crate::BertInputs::wanted`].
    pub(crate) fn new(
        g: &mut Graph,
        wanted: &Wanted,
        states: &Tensor,
        [batch, seq]: [usize; 2],
    ) -> Result<Self> {
        let (tokens, width) = (states.shape()[0], states.shape()[1]);
        let zero = g.scalar(0.0);
        let zeros = g.expand(&zero, &[batch, seq, width])?;
        // A node of its own, so that its readers can be told from others'.
        let hidden = g.contiguous(&zeros)?;
        if let Some(positions) = &wanted.positions {
            let rows = g.slice(states, 0, 0, positions.elements())?;
            let table = g.reshape(&hidden, &[batch * seq, width])?;
            g.know_rows(&table, positions, &rows)?;
        }
        let first = match wanted.first {
            true => Some(g.slice(states, 0, tokens - batch, tokens)?),
            false => None,
        };
        Ok(Selected {
            wanted: wanted.clone(),
            first,
            hidden,
        })
    }

    /// What stands for the states of all tokens.
    pub(crate) fn hidden(&self) -> &Tensor {
        &self.hidden
    }

    /// The first token of each example, `[batch, hidden]`; if it was not wanted, of what stands for the
    /// states.
    pub(crate) fn first_tokens(&self, g: &mut Graph) -> Result<Tensor> {
        if let Some(first) = &self.first {
            return Ok(first.clone());
        }
        let (batch, width) = (self.hidden.shape()[0], self.hidden.shape()[2]);
        let first = g.slice(&self.hidden, 1, 0, 1)?;
        Ok(g.reshape(&first, &[batch, width])?)
    }

    /// What `roots` read; none if they read more than was made.
    pub(crate) fn read(
        &self,
        g: &Graph,
        roots: &[&Tensor],
        pooled: bool,
    ) -> Result<Option<Wanted>> {
        if g.depends(roots, &self.hidden)? {
            return Ok(None);
        }
        let positions = self.wanted.positions.clone();
        Ok(Some(Wanted {
            positions: positions.filter(|positions| g.asked_rows(&self.hidden, positions)),
            first: pooled && self.first.is_some(),
        }))
    }
}
