//! What is fed to the encoder, and where the tokens of a batch lie in its grid.
//!
//! Owns: the graph inputs, and what follows from the places of tokens alone: position embeddings,
//! the attention bias, and the way back from the grid to the batch. Must not know the layers, nor how
//! examples are assigned to rows.
//!
//! *Padded*: a row of the grid is an example, filled up to `seq`. *Packed*: several examples lie end
//! to end in a row, position ids start over with each, and attention is block-diagonal, so that no
//! example sees another: what a token is computed from is the same in both, and only the order of
//! sums differs. Sources: Krell, Kosec, Perez, Fitzgibbon, "Efficient Sequence Packing without
//! Cross-contamination", 2021; Hugging Face's `DataCollatorWithFlattening`, whose `position_ids` and
//! `seq_idx` are the inputs `position_ids` and `example_index` here.

use ablate_graph::{Graph, Tensor};

use crate::{BertConfig, Result, Wanted};

/// Added to the attention scores of masked positions. Large enough that their probability is
/// exactly 0 in f32 and in f64, and finite: a row that is masked everywhere gets uniform
/// probabilities instead of NaN, and no infinity can leak through a product with zero.
const MASKED: f32 = -1e9;

/// The grid that the layers work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A row for each example of the batch.
    Padded,
    /// This many rows, into which the examples of the batch are packed.
    Packed {
        /// Rows of the grid, each `seq` tokens.
        rows: usize,
    },
}

/// What is fed on each run. `rows` is the batch's own number of rows when it is padded.
#[derive(Clone, Debug)]
pub struct BertInputs {
    /// Token ids, below `vocab_size`, `[rows, seq]`.
    pub input_ids: Tensor,
    /// Segment ids, below `type_vocab_size`, `[rows, seq]`.
    pub token_type_ids: Tensor,
    /// What tells tokens of one example from the rest.
    pub places: Places,
}

/// The inputs that say where tokens lie.
#[derive(Clone, Debug)]
pub enum Places {
    /// A row is an example.
    Padded {
        /// 1 for real tokens, 0 for padding, `[batch, seq]`.
        attention_mask: Tensor,
    },
    /// A row holds several examples.
    Packed {
        /// Place of each token in its example, from 0, `[rows, seq]`.
        position_ids: Tensor,
        /// Which example of the batch each token is of, from 1, `[rows, seq]`; 0 where nothing lies.
        /// Tokens of one number see each other and no others.
        example_index: Tensor,
        /// Where each token of the batch lies, row-major in `[rows, seq]`, `[batch, seq]`; `rows * seq`
        /// for padding, which lies nowhere.
        token_positions: Tensor,
        /// The same for the first token of each example, `[batch]`.
        first_positions: Tensor,
    },
}

impl BertInputs {
    /// Declares the graph inputs by the names of the fields.
    ///
    /// # Errors
    /// When the graph already has leaves of these names, or a size is zero.
    pub fn declare(
        g: &mut Graph,
        config: &BertConfig,
        batch: usize,
        seq: usize,
        layout: Layout,
    ) -> Result<Self> {
        let rows = match layout {
            Layout::Padded => batch,
            Layout::Packed { rows } => rows,
        };
        let grid = [rows, seq];
        let input_ids = g.index_input("input_ids", &grid, config.vocab_size)?;
        let token_type_ids = g.index_input("token_type_ids", &grid, config.type_vocab_size)?;
        let places = match layout {
            Layout::Padded => Places::Padded {
                attention_mask: g.index_input("attention_mask", &grid, 2)?,
            },
            Layout::Packed { .. } => Places::Packed {
                position_ids: g.index_input("position_ids", &grid, seq)?,
                example_index: g.index_input("example_index", &grid, batch + 1)?,
                token_positions: g.index_input("token_positions", &[batch, seq], rows * seq + 1)?,
                first_positions: g.index_input("first_positions", &[batch], rows * seq + 1)?,
            },
        };
        Ok(BertInputs {
            input_ids,
            token_type_ids,
            places,
        })
    }

    /// The position embedding of each token out of the table `[max_positions, hidden]`, to be added
    /// to `[rows, seq, hidden]`.
    pub(crate) fn positions(&self, g: &mut Graph, table: &Tensor) -> Result<Tensor> {
        Ok(match &self.places {
            // 0..seq in every row: a slice, broadcast over the batch.
            Places::Padded { attention_mask } => g.slice(table, 0, 0, attention_mask.shape()[1])?,
            Places::Packed { position_ids, .. } => g.gather(table, position_ids)?,
        })
    }

    /// 1 for a token, 0 for padding, as the batch has them: `[batch, seq]`.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn attention_mask(&self, g: &mut Graph) -> Result<Tensor> {
        match &self.places {
            Places::Padded { attention_mask } => Ok(attention_mask.clone()),
            Places::Packed {
                token_positions, ..
            } => {
                // Exact: a grid has fewer than 2^24 places, which index inputs assert.
                let nowhere = g.scalar(self.input_ids.elements() as f32);
                Ok(g.less(token_positions, &nowhere)?)
            }
        }
    }

    /// 0 where a query sees a key and [`MASKED`] where not, to be added to `[rows, heads, seq, seq]`.
    pub(crate) fn attention_bias(&self, g: &mut Graph) -> Result<Tensor> {
        let visible = match &self.places {
            Places::Padded { attention_mask } => {
                let (batch, seq) = (attention_mask.shape()[0], attention_mask.shape()[1]);
                let bias = masked_where_zero(g, attention_mask)?;
                return Ok(g.reshape(&bias, &[batch, 1, 1, seq])?);
            }
            Places::Packed { example_index, .. } => {
                let (rows, seq) = (example_index.shape()[0], example_index.shape()[1]);
                // Larger than all it is made of, so the compiler never stores it: each softmax
                // kernel compares the two rows of numbers itself.
                let query = g.reshape(example_index, &[rows, 1, seq, 1])?;
                let key = g.reshape(example_index, &[rows, 1, 1, seq])?;
                g.equal(&query, &key)?
            }
        };
        masked_where_zero(g, &visible)
    }

    /// `x [rows, seq, hidden]` as the batch has it, `[batch, seq, hidden]`. Padding that lies nowhere
    /// is zero.
    pub(crate) fn of_batch(&self, g: &mut Graph, x: &Tensor) -> Result<Tensor> {
        match &self.places {
            Places::Padded { .. } => Ok(x.clone()),
            Places::Packed {
                token_positions, ..
            } => {
                let tokens = flat(g, x)?;
                Ok(g.gather_or_zero(&tokens, token_positions)?)
            }
        }
    }

    /// The wanted tokens out of `x [rows, seq, width]`, `[tokens, width]`: those at the positions, then
    /// the first of each example.
    pub(crate) fn wanted(&self, g: &mut Graph, x: &Tensor, wanted: &Wanted) -> Result<Tensor> {
        let mut parts = Vec::new();
        if let Some(positions) = &wanted.positions {
            let tokens = flat(g, x)?;
            parts.push(match &self.places {
                Places::Padded { .. } => g.gather(&tokens, positions)?,
                Places::Packed {
                    token_positions, ..
                } => {
                    let numbers = [token_positions.elements(), 1];
                    let table = g.reshape(token_positions, &numbers)?;
                    let places = g.gather(&table, positions)?;
                    let places = g.reshape(&places, &[positions.elements()])?;
                    g.gather_or_zero(&tokens, &places)?
                }
            });
        }
        if wanted.first {
            parts.push(self.first_tokens(g, x)?);
        }
        Ok(g.concat(&parts.iter().collect::<Vec<_>>(), 0)?)
    }

    /// The first token of each example out of `x [rows, seq, hidden]`, `[batch, hidden]`.
    pub(crate) fn first_tokens(&self, g: &mut Graph, x: &Tensor) -> Result<Tensor> {
        let (rows, width) = (x.shape()[0], x.shape()[2]);
        Ok(match &self.places {
            Places::Padded { .. } => {
                let first = g.slice(x, 1, 0, 1)?;
                g.reshape(&first, &[rows, width])?
            }
            Places::Packed {
                first_positions, ..
            } => {
                let tokens = flat(g, x)?;
                g.gather_or_zero(&tokens, first_positions)?
            }
        })
    }
}

/// `[rows, seq, hidden]` as `[rows * seq, hidden]`.
fn flat(g: &mut Graph, x: &Tensor) -> Result<Tensor> {
    let shape = x.shape();
    Ok(g.reshape(x, &[shape[0] * shape[1], shape[2]])?)
}

/// 0 where `visible` is 1, [`MASKED`] where it is 0.
fn masked_where_zero(g: &mut Graph, visible: &Tensor) -> Result<Tensor> {
    let bias = g.add_scalar(visible, -1.0)?;
    Ok(g.mul_scalar(&bias, -MASKED)?)
}
