//! Objectives: a data hook that hides or labels, a graph hook that builds the loss.

use std::ops::Deref;

use ablate_abi::{layout, model_number, model_tensor, role, BatchContext, BatchView, Str};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::graph::{widen, GraphBuilder, Tensor};
use crate::random::Random;
use crate::tables::Tables;
use crate::{Error, Result, Split};

/// The label that says "nothing to predict here".
pub const IGNORED: i64 = -100;

/// A training objective.
pub trait Objective: Send + Sized + 'static {
    /// The name that recipes use.
    const NAME: &'static str;
    /// One sentence.
    const DESCRIPTION: &'static str;
    /// The configuration; derive `Deserialize` with `deny_unknown_fields`, and `JsonSchema`.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes an instance for one trial.
    ///
    /// # Errors
    /// [`Error::Config`] for values that cannot be used; name the key.
    fn new(config: Self::Config) -> Result<Self>;

    /// Factor of this objective's mean loss in the cumulative loss.
    fn weight(&self) -> f64 {
        1.0
    }

    /// Whether examples must be pairs of segments with a next-sentence label.
    fn needs_sentence_pairs(&self) -> bool {
        false
    }

    /// Whether examples must be pairs of segments that stood one behind the other, in order or swapped,
    /// with a segment-order label. Not together with [`Objective::needs_sentence_pairs`], in one
    /// objective nor in one recipe.
    fn needs_ordered_pairs(&self) -> bool {
        false
    }

    /// Refuses a recipe in which the objective cannot work. Called before any work, and again once the
    /// vocabulary is known.
    ///
    /// # Errors
    /// [`Error::Config`] with what is wrong and what to do.
    fn check(&self, setup: &Setup<'_>) -> Result<()> {
        let _ = setup;
        Ok(())
    }

    /// Every feature that [`Objective::prepare`] writes.
    fn features(&self) -> Vec<Feature>;

    /// Data hook: may change tokens, writes the features, returns the number of units (masked tokens,
    /// pairs) of the micro-batch. A function of the batch alone: the same batch, the same labels.
    /// Called on an instance that works ahead of training, while another of the same configuration
    /// builds graphs, so nothing may be left here for [`Objective::build`].
    ///
    /// # Errors
    /// Where the batch lacks what the objective needs.
    fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<f64>;

    /// Graph hook: builds the loss of a micro-batch, *summed* over its units, shape `[]`; sums for
    /// metrics go to [`ObjectiveGraph::metric`]. Called once per graph (training, evaluation).
    ///
    /// # Errors
    /// Where a node cannot be built.
    fn build<'g>(&mut self, g: &ObjectiveGraph<'g>) -> Result<Tensor<'g>>;
}

/// What a recipe says beside an objective's own configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup<'a> {
    /// Names of all objectives, in the order in which their data hooks run.
    pub objectives: Vec<&'a str>,
    /// The place of this one among them.
    pub index: usize,
    /// The model's dropout rate on hidden states.
    pub hidden_dropout: f64,
    /// The model's dropout rate on attention probabilities.
    pub attention_dropout: f64,
    /// Tokens per row in training.
    pub sequence_length: usize,
    /// The tokens by id; `None` where the vocabulary will be trained and is not known yet.
    pub vocabulary: Option<Vec<&'a str>>,
}

/// How a feature is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One label per token, `[batch, seq]`, mostly [`IGNORED`]. The graph sees `NAME.positions`
    /// (row-major index into `[batch, seq]`), `NAME.values` and `NAME.weights`, each
    /// `[predictions]`.
    PerToken,
    /// One label per sequence, `[batch]`. The graph sees `NAME.values` and `NAME.weights`, each
    /// `[batch]`.
    PerSequence,
}

/// Labels that an objective writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// Name, the objective's own matter.
    pub name: &'static str,
    /// Layout.
    pub layout: Layout,
    /// Labels are in `0..classes`, or [`IGNORED`]; `None` stands for the size of the vocabulary.
    pub classes: Option<u64>,
    /// Expected share of labels that are not ignored, a hint; `None` where unknown.
    pub density: Option<f64>,
}

impl Feature {
    pub(crate) fn layout_code(&self) -> u32 {
        match self.layout {
            Layout::PerToken => layout::PER_TOKEN,
            Layout::PerSequence => layout::PER_SEQUENCE,
        }
    }
}

/// A micro-batch in the data hook. Arrays are row-major; rows from [`Batch::rows`] on are padding.
pub struct Batch<'b> {
    pub(crate) view: BatchView,
    pub(crate) cx: *mut BatchContext,
    pub(crate) tables: &'b Tables,
}

/// A slice of the host's array, empty where the host has none.
///
/// # Safety
/// `pointer` is null or has `length` elements for `'b` that nobody writes.
unsafe fn array<'b, T>(pointer: *const T, length: usize) -> &'b [T] {
    if pointer.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(pointer, length) }
}

impl<'b> Batch<'b> {
    /// Rows that hold an example.
    pub fn rows(&self) -> usize {
        self.view.rows as usize
    }

    /// Rows of the arrays, padding included.
    pub fn batch(&self) -> usize {
        self.view.batch as usize
    }

    /// Tokens per row.
    pub fn seq(&self) -> usize {
        self.view.seq as usize
    }

    fn tokens(&self) -> usize {
        self.batch() * self.seq()
    }

    /// `[batch, seq]` token ids, which may be changed.
    pub fn input_ids(&mut self) -> &mut [i64] {
        if self.view.input_ids.is_null() || self.tokens() == 0 {
            return &mut [];
        }
        // SAFETY: by the ABI the array has batch * seq elements that only this hook touches; the
        // borrow of `self` keeps it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.view.input_ids, self.tokens()) }
    }

    /// `[batch, seq]` segment ids.
    pub fn token_type_ids(&self) -> &'b [i64] {
        // SAFETY: by the ABI the host's arrays have these sizes and stay unchanged during the hook.
        unsafe { array(self.view.token_type_ids, self.tokens()) }
    }

    /// `[batch, seq]`, 1 for a token, 0 for padding.
    pub fn attention_mask(&self) -> &'b [i64] {
        // SAFETY: as in `token_type_ids`.
        unsafe { array(self.view.attention_mask, self.tokens()) }
    }

    /// `[batch, seq]`, not 0 for special tokens and padding.
    pub fn special_tokens_mask(&self) -> &'b [u8] {
        // SAFETY: as in `token_type_ids`.
        unsafe { array(self.view.special_tokens_mask, self.tokens()) }
    }

    /// `[batch]`: 1 where the second segment is a random one, 0 where it follows, [`IGNORED`] in
    /// padding rows; `None` where the examples are no pairs.
    pub fn next_sentence_label(&self) -> Option<&'b [i64]> {
        // SAFETY: as in `token_type_ids`.
        (!self.view.next_sentence_label.is_null())
            .then(|| unsafe { array(self.view.next_sentence_label, self.batch()) })
    }

    /// `[batch]`: 1 where the two segments are swapped, 0 where they are in order, [`IGNORED`] in
    /// padding rows; `None` where the examples are no such pairs.
    pub fn segment_order_label(&self) -> Option<&'b [i64]> {
        // SAFETY: as in `token_type_ids`.
        (!self.view.segment_order_label.is_null())
            .then(|| unsafe { array(self.view.segment_order_label, self.batch()) })
    }

    /// `[batch]` identity of each example.
    pub fn example_ids(&self) -> &'b [u64] {
        // SAFETY: as in `token_type_ids`.
        unsafe { array(self.view.example_ids, self.batch()) }
    }

    /// Random numbers of a row: they depend on seed, example and epoch, not on the batch around it.
    ///
    /// # Errors
    /// Where the row does not exist.
    pub fn random(&self, row: usize) -> Result<Random<'b>> {
        // SAFETY: as in `token_type_ids`.
        let keys = unsafe { array(self.view.row_keys, self.batch()) };
        let key = keys
            .get(row)
            .ok_or_else(|| Error::Other(format!("there is no random key for row {row}")))?;
        Ok(Random::new(self.tables, *key))
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab_size(&self) -> u64 {
        self.view.vocab_size
    }

    /// Id of `[MASK]`.
    pub fn mask_id(&self) -> i64 {
        self.view.mask_id
    }

    /// Id of `[PAD]`.
    pub fn pad_id(&self) -> i64 {
        self.view.pad_id
    }

    /// Whether the model learns from the batch or is measured by it.
    pub fn split(&self) -> Split {
        match self.view.split {
            ablate_abi::split::TRAIN => Split::Train,
            _ => Split::Validation,
        }
    }

    /// The optimizer step that the batch belongs to, from 1; 0 in held-out batches.
    pub fn step(&self) -> u64 {
        self.view.step
    }

    /// Epoch, from 0; 0 in held-out batches.
    pub fn epoch(&self) -> u64 {
        self.view.epoch
    }

    /// `[batch, seq]` token ids before any objective changed them.
    pub fn original_ids(&self) -> &'b [i64] {
        // SAFETY: as in `token_type_ids`.
        unsafe { array(self.view.original_ids, self.tokens()) }
    }

    /// `[batch, seq]`, not 0 where an objective before this one predicts the token that stood there.
    pub fn predicted(&self) -> &[u8] {
        // SAFETY: as in `input_ids`; a shared borrow of `self` allows no other reference but shared ones.
        unsafe { array(self.view.predicted, self.tokens()) }
    }

    /// [`Batch::predicted`], to be set to 1 where this objective predicts a token that it hides.
    pub fn predicted_mut(&mut self) -> &mut [u8] {
        if self.view.predicted.is_null() || self.tokens() == 0 {
            return &mut [];
        }
        // SAFETY: as in `input_ids`.
        unsafe { std::slice::from_raw_parts_mut(self.view.predicted, self.tokens()) }
    }

    /// Ids that are never predicted and never put in as a random word, ascending.
    pub fn special_ids(&self) -> &'b [i64] {
        // SAFETY: as in `token_type_ids`.
        unsafe { array(self.view.special_ids, self.view.special_count) }
    }

    /// `[vocab_size]`, not 0 for tokens that continue a word; empty where the host does not know.
    pub fn continues_word(&self) -> &'b [u8] {
        // SAFETY: as in `token_type_ids`.
        unsafe { array(self.view.continues_word, self.view.vocab_size as usize) }
    }

    /// Writes a declared feature; the length is that of its layout.
    ///
    /// # Errors
    /// [`Error::Host`] where the name was not declared, or length or values do not fit.
    pub fn write(&mut self, feature: &str, labels: &[i64]) -> Result<()> {
        let write = self
            .tables
            .batch
            .write_feature
            .ok_or(Error::Unsupported("batch.write_feature"))?;
        // SAFETY: the context is that of the running hook; the labels outlive the call.
        let code = unsafe { write(self.cx, Str::new(feature), labels.as_ptr(), labels.len()) };
        self.tables.check(code)
    }
}

/// What a parameter is, its group: decides its initial values and whether weight decay applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weight matrix `[out, in]`.
    Weight,
    /// Bias, starts at 0, no decay.
    Bias,
    /// Scale of a layer norm, starts at 1, no decay.
    NormScale,
    /// Shift of a layer norm, starts at 0, no decay.
    NormBias,
    /// Embedding table.
    Embedding,
    /// A group that a newer host has and this plugin does not know.
    Other,
}

impl Role {
    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            role::WEIGHT => Role::Weight,
            role::BIAS => Role::Bias,
            role::NORM_SCALE => Role::NormScale,
            role::NORM_BIAS => Role::NormBias,
            role::EMBEDDING => Role::Embedding,
            _ => Role::Other,
        }
    }
}

/// The graph hook's view: a [`GraphBuilder`] that also knows the model.
pub struct ObjectiveGraph<'g> {
    pub(crate) graph: GraphBuilder<'g>,
}

impl<'g> Deref for ObjectiveGraph<'g> {
    type Target = GraphBuilder<'g>;

    fn deref(&self) -> &GraphBuilder<'g> {
        &self.graph
    }
}

/// Passes the call to the host's model table and wraps the handle that comes back.
macro_rules! call {
    ($self:ident . $function:ident ( $($argument:expr),* )) => {{
        let function = $self.tables.model.$function
            .ok_or(Error::Unsupported(concat!("model.", stringify!($function))))?;
        let mut out = ablate_abi::NO_TENSOR;
        // SAFETY: the context is that of the running hook; slices outlive the call.
        let code = unsafe { function($self.cx, $($argument,)* &mut out) };
        $self.tables.check(code).map(|()| Tensor::new(out))
    }};
}

#[allow(clippy::missing_errors_doc)] // As on `GraphBuilder`.
impl<'g> ObjectiveGraph<'g> {
    /// A number of the model by name (see [`ablate_abi::model_number`]).
    pub fn number(&self, name: &str) -> Result<f64> {
        let number = self
            .tables
            .model
            .number
            .ok_or(Error::Unsupported("model.number"))?;
        let mut value = 0.0;
        // SAFETY: the context is that of the running hook.
        self.tables
            .check(unsafe { number(self.cx, Str::new(name), &mut value) })?;
        Ok(value)
    }

    fn size(&self, name: &str) -> Result<usize> {
        self.number(name).map(|n| n as usize)
    }

    /// Rows of the micro-batch.
    pub fn batch(&self) -> Result<usize> {
        self.size(model_number::BATCH)
    }

    /// Tokens per row.
    pub fn seq(&self) -> Result<usize> {
        self.size(model_number::SEQ)
    }

    /// Entries of a sparse per-token feature.
    pub fn predictions(&self) -> Result<usize> {
        self.size(model_number::PREDICTIONS)
    }

    /// Whether dropout applies.
    pub fn training(&self) -> Result<bool> {
        self.number(model_number::TRAINING).map(|n| n != 0.0)
    }

    /// Tokens of the vocabulary.
    pub fn vocab_size(&self) -> Result<usize> {
        self.size(model_number::VOCAB_SIZE)
    }

    /// Width of the hidden states.
    pub fn hidden_size(&self) -> Result<usize> {
        self.size(model_number::HIDDEN_SIZE)
    }

    /// The model's layer-norm epsilon.
    pub fn layer_norm_eps(&self) -> Result<f64> {
        self.number(model_number::LAYER_NORM_EPS)
    }

    /// A tensor of the model by name (see [`ablate_abi::model_tensor`]).
    pub fn model_tensor(&self, name: &str) -> Result<Tensor<'g>> {
        call!(self.tensor(Str::new(name)))
    }

    /// Last hidden states `[batch, seq, hidden]`, a row for each example. Those of padding are no
    /// states to build on: zero where the trial packs its batches, else whatever padding attends to.
    pub fn hidden(&self) -> Result<Tensor<'g>> {
        self.model_tensor(model_tensor::HIDDEN)
    }

    /// Pooler output `[batch, hidden]`.
    pub fn pooled(&self) -> Result<Tensor<'g>> {
        self.model_tensor(model_tensor::POOLED)
    }

    /// Word embeddings `[vocab, hidden]`.
    pub fn word_embeddings(&self) -> Result<Tensor<'g>> {
        self.model_tensor(model_tensor::WORD_EMBEDDINGS)
    }

    /// `[batch, seq]`, 1 for a token, 0 for padding.
    pub fn attention_mask(&self) -> Result<Tensor<'g>> {
        self.model_tensor(model_tensor::ATTENTION_MASK)
    }

    /// The encoder once more over the tokens of the micro-batch, with the same parameters: hidden
    /// states `[batch, seq, hidden]`. With `dropout` the model's dropouts are in, in evaluation graphs
    /// too, with numbers of their own that `pass` names; without it there are none.
    pub fn encode(&self, pass: &str, dropout: bool) -> Result<Tensor<'g>> {
        call!(self.encode(Str::new(pass), u32::from(dropout)))
    }

    /// A trained BERT of a Hugging Face folder, as constants of this graph.
    pub fn pretrained<'a>(&'a self, folder: &'a str) -> Pretrained<'a, 'g> {
        Pretrained {
            graph: self,
            folder,
        }
    }

    /// The model's activation function of `x`.
    pub fn activation(&self, x: Tensor<'g>) -> Result<Tensor<'g>> {
        call!(self.activation(x.handle))
    }

    /// A part of a declared feature, such as `labels.values`; see [`Layout`].
    pub fn feature(&self, name: &str) -> Result<Tensor<'g>> {
        call!(self.feature(Str::new(name)))
    }

    /// Declares a parameter of the objective's head. `name` is its key in exported models. Objectives
    /// of one recipe that declare the same name with the same shape and role share the parameter.
    pub fn parameter(&self, name: &str, shape: &[usize], role: Role) -> Result<Tensor<'g>> {
        let role = match role {
            Role::Weight => role::WEIGHT,
            Role::Bias => role::BIAS,
            Role::NormScale => role::NORM_SCALE,
            Role::NormBias => role::NORM_BIAS,
            Role::Embedding => role::EMBEDDING,
            Role::Other => {
                return Err(Error::Other(format!(
                    "the parameter `{name}` needs a role that is known"
                )))
            }
        };
        let dims = widen(shape);
        call!(self.parameter(Str::new(name), dims.as_ptr(), dims.len() as u32, role))
    }

    /// Reports a scalar summed over the units of the micro-batch as a metric.
    pub fn metric(&self, name: &str, sum: Tensor<'g>) -> Result<()> {
        let metric = self
            .tables
            .model
            .metric
            .ok_or(Error::Unsupported("model.metric"))?;
        // SAFETY: the context is that of the running hook.
        self.tables
            .check(unsafe { metric(self.cx, Str::new(name), sum.handle) })
    }
}

/// A trained BERT of a Hugging Face folder in a graph, see [`ObjectiveGraph::pretrained`]. Its weights are
/// not trained, and no gradient flows into them.
///
/// # Errors
/// Every method fails with [`Error::Host`] where the folder cannot be read or does not fit, and with
/// [`Error::Unsupported`] where the host is too old for it.
#[derive(Clone, Copy)]
pub struct Pretrained<'a, 'g> {
    graph: &'a ObjectiveGraph<'g>,
    folder: &'a str,
}

/// Passes the call to the host's table of pretrained models and wraps the handle that comes back.
macro_rules! pretrained {
    ($self:ident . $function:ident ( $($argument:expr),* )) => {{
        let (tables, cx) = ($self.graph.tables, $self.graph.cx);
        let function = tables.pretrained.$function
            .ok_or(Error::Unsupported(concat!("pretrained.", stringify!($function))))?;
        let mut out = ablate_abi::NO_TENSOR;
        // SAFETY: the context is that of the running hook; views outlive the call.
        let code = unsafe { function(cx, Str::new($self.folder), $($argument,)* &mut out) };
        tables.check(code).map(|()| Tensor::new(out))
    }};
}

#[allow(clippy::missing_errors_doc)] // On the type: the same for every method.
impl<'g> Pretrained<'_, 'g> {
    /// A number of the folder's configuration by name (see [`ablate_abi::model_number`]).
    pub fn number(&self, name: &str) -> Result<f64> {
        let (tables, cx) = (self.graph.tables, self.graph.cx);
        let number = tables
            .pretrained
            .number
            .ok_or(Error::Unsupported("pretrained.number"))?;
        let mut value = 0.0;
        // SAFETY: the context is that of the running hook; views outlive the call.
        tables.check(unsafe { number(cx, Str::new(self.folder), Str::new(name), &mut value) })?;
        Ok(value)
    }

    /// Last hidden states `[batch, seq, hidden]` over the tokens of the micro-batch, without dropout.
    pub fn hidden(&self) -> Result<Tensor<'g>> {
        pretrained!(self.hidden())
    }

    /// A tensor of the folder by its name as of `BertForPreTraining`.
    pub fn weight(&self, name: &str) -> Result<Tensor<'g>> {
        pretrained!(self.weight(Str::new(name)))
    }

    /// The activation function of the folder's model of `x`.
    pub fn activation(&self, x: Tensor<'g>) -> Result<Tensor<'g>> {
        pretrained!(self.activation(x.handle))
    }
}
