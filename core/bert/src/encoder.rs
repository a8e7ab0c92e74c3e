//! The encoder as graph nodes: embeddings, post-layer-norm layers, pooler.

use std::collections::BTreeMap;

use ablate_graph::{Graph, Tensor};

use crate::wanted::Selected;
use crate::{
    dense, layer_norm, BertConfig, BertInputs, Layout, ParameterSpec, Parameters, Result, Role,
    Wanted, WORD_EMBEDDINGS,
};

/// A BERT in a graph.
#[derive(Clone, Debug)]
pub struct Encoder {
    config: BertConfig,
    inputs: BertInputs,
    parameters: Parameters,
    word_embeddings: Tensor,
    /// As the batch has them.
    hidden_states: Vec<Tensor>,
    hidden: Tensor,
    /// The last layer's output as the layers have it.
    last: Tensor,
    /// The last layer's output where only some tokens' is made.
    selected: Option<Selected>,
    pooled: Option<Tensor>,
    /// Last hidden states of further passes, by name and whether dropouts are in.
    passes: BTreeMap<(String, bool), Tensor>,
}

impl Encoder {
    /// Builds embeddings and layers for padded batches of `[batch, seq]`. With `training` the dropouts
    /// are in; without it there are none.
    ///
    /// # Errors
    /// As [`Encoder::build_in`].
    pub fn build(
        g: &mut Graph,
        config: &BertConfig,
        batch: usize,
        seq: usize,
        training: bool,
    ) -> Result<Self> {
        Self::build_in(g, config, batch, seq, Layout::Padded, training)
    }

    /// As [`Encoder::build`], in a grid of this layout. Whatever the layout, all that the encoder
    /// gives out is of the batch: `[batch, seq, hidden]` with a row for each example. In a packed
    /// grid the states of padding are zero, for they are not computed; in a padded one they are
    /// whatever padding attends to.
    ///
    /// # Errors
    /// [`crate::BertError::Config`] for an impossible configuration, [`crate::BertError::Sequence`]
    /// for sequences longer than the positions, [`crate::BertError::Graph`] when the graph refuses a
    /// node (an empty batch, taken names).
    pub fn build_in(
        g: &mut Graph,
        config: &BertConfig,
        batch: usize,
        seq: usize,
        layout: Layout,
        training: bool,
    ) -> Result<Self> {
        Self::build_for(g, config, [batch, seq], layout, training, None)
    }

    /// As [`Encoder::build_in`] for `[batch, seq]`, but with `wanted` the last layer is made for those
    /// tokens alone: for a pooler and for look-ups at these positions in [`Encoder::hidden`].
    /// [`Encoder::read`] tells afterwards whether they were all that was read.
    ///
    /// # Errors
    /// As [`Encoder::build_in`].
    pub fn build_for(
        g: &mut Graph,
        config: &BertConfig,
        [batch, seq]: [usize; 2],
        layout: Layout,
        training: bool,
        wanted: Option<&Wanted>,
    ) -> Result<Self> {
        config.validate()?;
        config.check_sequence(seq)?;
        let inputs = BertInputs::declare(g, config, batch, seq, layout)?;
        let parameters = Parameters::default();
        let wanted = wanted.map(|wanted| (wanted, [batch, seq]));
        Encoder::assemble(g, config, inputs, training, parameters, wanted)
    }

    /// Builds an encoder that is not trained over the inputs of another, without dropout. `parameters`
    /// are frozen ones ([`Parameters::frozen`]).
    ///
    /// # Errors
    /// As [`Encoder::build_in`]; [`crate::BertError::Graph`] where the other's ids do not fit its tables.
    pub fn frozen(
        g: &mut Graph,
        config: &BertConfig,
        inputs: &BertInputs,
        parameters: Parameters,
    ) -> Result<Self> {
        config.validate()?;
        config.check_sequence(inputs.input_ids.size(1))?;
        let inputs = inputs.clone();
        Encoder::assemble(g, config, inputs, false, parameters, None)
    }

    fn assemble(
        g: &mut Graph,
        config: &BertConfig,
        inputs: BertInputs,
        dropout: bool,
        parameters: Parameters,
        wanted: Option<(&Wanted, [usize; 2])>,
    ) -> Result<Self> {
        let mut stack = Stack {
            config,
            dropout,
            streams: "dropout".to_owned(),
            parameters,
        };
        let (word_embeddings, mut outputs) = stack.run(g, &inputs, wanted.map(|(w, _)| w))?;
        let last = outputs[outputs.len() - 1].clone();
        let mut selected = None;
        if let Some((wanted, batch)) = wanted {
            outputs.pop();
            selected = Some(scoped(g, "wanted", |g| {
                Selected::new(g, wanted, &last, batch)
            })?);
        }
        // What nobody reads of these is never computed.
        let mut hidden_states = scoped(g, "unpack", |g| {
            let of_batch = |x: &Tensor| inputs.of_batch(g, x);
            outputs.iter().map(of_batch).collect::<Result<Vec<_>>>()
        })?;
        hidden_states.extend(selected.as_ref().map(|s| s.hidden().clone()));
        let hidden = hidden_states.last().unwrap_or(&last).clone();
        Ok(Encoder {
            config: config.clone(),
            inputs,
            parameters: stack.parameters,
            word_embeddings,
            hidden_states,
            hidden,
            last,
            selected,
            pooled: None,
            passes: BTreeMap::new(),
        })
    }

    /// The last layer's output of another pass over the same inputs with the same parameters, `[batch,
    /// seq, hidden]`. Its dropouts are in as `dropout` says, with random numbers of their own:
    /// `dropout/<pass>/<site>`. The same pass again gives the same tensor.
    ///
    /// # Errors
    /// [`crate::BertError::Graph`] when the graph refuses a node.
    pub fn pass(&mut self, g: &mut Graph, pass: &str, dropout: bool) -> Result<Tensor> {
        let key = (pass.to_owned(), dropout);
        if let Some(hidden) = self.passes.get(&key) {
            return Ok(hidden.clone());
        }
        let mut stack = Stack {
            config: &self.config,
            dropout,
            streams: format!("dropout/{pass}"),
            parameters: self.parameters.clone(),
        };
        let (_, outputs) = scoped(g, pass, |g| stack.run(g, &self.inputs, None))?;
        let last = &outputs[outputs.len() - 1];
        let hidden = scoped(g, "unpack", |g| self.inputs.of_batch(g, last))?;
        self.passes.insert(key, hidden.clone());
        Ok(hidden)
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// What is fed.
    pub fn inputs(&self) -> &BertInputs {
        &self.inputs
    }

    /// What was read of the last layer by the nodes that `roots` are computed from: some tokens, or
    /// all of them if that is none. A graph that was built for other tokens than these is wrong or does
    /// too much.
    ///
    /// # Errors
    /// [`crate::BertError::Graph`] for tensors of another graph.
    pub fn read(&self, g: &Graph, roots: &[&Tensor]) -> Result<Option<Wanted>> {
        match &self.selected {
            Some(selected) => selected.read(g, roots, self.pooled.is_some()),
            None => Ok(None),
        }
    }

    /// The last layer's output, `[batch, seq, hidden]`. Where the encoder was built for some tokens
    /// ([`Encoder::build_for`]), all that may be done with it is to look up their positions.
    pub fn hidden(&self) -> &Tensor {
        &self.hidden
    }

    /// The embeddings' output and every layer's, each `[batch, seq, hidden]`.
    pub fn hidden_states(&self) -> &[Tensor] {
        &self.hidden_states
    }

    /// The word embedding's table, `[vocab, hidden]`, for a tied decoder.
    pub fn word_embeddings(&self) -> &Tensor {
        &self.word_embeddings
    }

    /// What has been built so far, in order of declaration.
    pub fn parameters(&self) -> &[ParameterSpec] {
        self.parameters.specs()
    }

    /// The tensor of one of [`parameters`](Self::parameters).
    pub fn parameter(&self, name: &str) -> Option<&Tensor> {
        self.parameters.tensor(name)
    }

    /// Dense and tanh on the first token, `[batch, hidden]`. Built on the first call, so that a
    /// model that no objective pools has no parameters that never get a gradient.
    ///
    /// # Errors
    /// [`crate::BertError::Graph`] when the parameters' names are taken.
    pub fn pooled(&mut self, g: &mut Graph) -> Result<Tensor> {
        if let Some(pooled) = &self.pooled {
            return Ok(pooled.clone());
        }
        let (inputs, last) = (&self.inputs, &self.last);
        let selected = self.selected.as_ref();
        let (parameters, width) = (&mut self.parameters, self.config.hidden_size);
        let pooled = scoped(g, "pooler", |g| {
            let first = match selected {
                None => inputs.first_tokens(g, last)?,
                Some(selected) => selected.first_tokens(g)?,
            };
            let x = dense(g, parameters, "bert.pooler.dense", &first, width)?;
            Ok(g.tanh(&x)?)
        })?;
        self.pooled = Some(pooled.clone());
        Ok(pooled)
    }
}

fn scoped<R>(g: &mut Graph, name: &str, f: impl FnOnce(&mut Graph) -> Result<R>) -> Result<R> {
    g.scoped(name, f)
}

/// The parts of the encoder while it is being built.
struct Stack<'a> {
    config: &'a BertConfig,
    dropout: bool,
    /// Beginning of the names of the dropouts' random streams.
    streams: String,
    parameters: Parameters,
}

impl Stack<'_> {
    /// The word embedding's table, and the embeddings' output and every layer's: at least one tensor.
    /// With `wanted` the last is of these tokens, `[tokens, hidden]`; the others are `[rows, seq, hidden]`.
    fn run(
        &mut self,
        g: &mut Graph,
        inputs: &BertInputs,
        wanted: Option<&Wanted>,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let (words, embedded) = scoped(g, "embeddings", |g| self.embeddings(g, inputs))?;
        let bias = scoped(g, "attention_mask", |g| inputs.attention_bias(g))?;
        let mut outputs = vec![embedded.clone()];
        let mut last = embedded;
        let layers = self.config.num_hidden_layers;
        for n in 0..layers {
            let wanted = wanted.filter(|_| n + 1 == layers);
            let attended = scoped(g, &format!("encoder.layer.{n}.attention"), |g| {
                let context = self.attention(g, n, &last, &bias)?;
                let name = format!("bert.encoder.layer.{n}.attention.output");
                let site = format!("layer.{n}.attention_output");
                let Some(wanted) = wanted else {
                    return self.output(g, &name, &site, &context, &last);
                };
                let context = inputs.wanted(g, &context, wanted)?;
                let residual = inputs.wanted(g, &last, wanted)?;
                self.output(g, &name, &site, &context, &residual)
            })?;
            last = scoped(g, &format!("encoder.layer.{n}.ffn"), |g| {
                self.feed_forward(g, n, &attended)
            })?;
            outputs.push(last.clone());
        }
        Ok((words, outputs))
    }

    fn dropout(&self, g: &mut Graph, x: &Tensor, rate: f64, site: &str) -> Result<Tensor> {
        let rate = if self.dropout { rate } else { 0.0 };
        Ok(g.dropout(x, rate, &format!("{}/{site}", self.streams))?)
    }

    fn table(&mut self, g: &mut Graph, name: &str, rows: usize) -> Result<Tensor> {
        let shape = [rows, self.config.hidden_size];
        let spec = ParameterSpec::new(name, &shape, Role::Embedding);
        Ok(self.parameters.declare(g, spec)?)
    }

    /// The word embedding's table and the embeddings' output `[rows, seq, hidden]`.
    fn embeddings(&mut self, g: &mut Graph, inputs: &BertInputs) -> Result<(Tensor, Tensor)> {
        let config = self.config;
        let words = self.table(g, WORD_EMBEDDINGS, config.vocab_size)?;
        let types = self.table(
            g,
            "bert.embeddings.token_type_embeddings.weight",
            config.type_vocab_size,
        )?;
        let positions = self.table(
            g,
            "bert.embeddings.position_embeddings.weight",
            config.max_position_embeddings,
        )?;
        let word = g.gather(&words, &inputs.input_ids)?;
        let word = self.without_padding_gradient(g, &word, &inputs.input_ids)?;
        let segment = g.gather(&types, &inputs.token_type_ids)?;
        let position = inputs.positions(g, &positions)?;
        let x = g.add(&word, &segment)?;
        let x = g.add(&x, &position)?;
        let name = "bert.embeddings.LayerNorm";
        let x = layer_norm(g, &mut self.parameters, name, &x, config.layer_norm_eps)?;
        let x = self.dropout(g, &x, config.hidden_dropout_prob, "embeddings")?;
        Ok((words, x))
    }

    /// `word` unchanged, but the looked-up padding rows pass no gradient on, as torch's
    /// `padding_idx`. It matters where a padding token is attended to, which the random
    /// replacements of masked language modelling can bring about.
    fn without_padding_gradient(
        &self,
        g: &mut Graph,
        word: &Tensor,
        ids: &Tensor,
    ) -> Result<Tensor> {
        let Some(pad) = self.config.pad_token_id else {
            return Ok(word.clone());
        };
        // Exact: ids are at most 2^24, which validation asserts.
        let pad = g.scalar(pad as f32);
        let keep = g.not_equal(ids, &pad)?;
        let keep = g.unsqueeze(&keep, 2)?;
        let blocked = g.stop_gradient(word)?;
        Ok(g.select(&keep, word, &blocked)?)
    }

    /// What self-attention makes of `x`, before its output layer; both are `[rows, seq, hidden]`, `bias`
    /// broadcasts to `[rows, heads, seq, seq]`.
    fn attention(&mut self, g: &mut Graph, n: usize, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let config = self.config;
        let (rows, seq, hidden) = (x.shape()[0], x.shape()[1], config.hidden_size);
        let (heads, size) = (config.num_attention_heads, config.head_size());
        let prefix = format!("bert.encoder.layer.{n}.attention");
        let mut split = |g: &mut Graph, part: &str| -> Result<Tensor> {
            let name = format!("{prefix}.self.{part}");
            let y = dense(g, &mut self.parameters, &name, x, hidden)?;
            let y = g.reshape(&y, &[rows, seq, heads, size])?;
            Ok(g.permute(&y, &[0, 2, 1, 3])?)
        };
        let query = split(g, "query")?;
        let key = split(g, "key")?;
        let value = split(g, "value")?;

        // [rows, heads, seq, seq]. The scale comes after the product, where a GEMM takes it as
        // its alpha.
        let scores = g.matmul_t(&query, &key)?;
        let scores = g.mul_scalar(&scores, (1.0 / (size as f64).sqrt()) as f32)?;
        let scores = g.add(&scores, bias)?;
        let probabilities = g.softmax(&scores, 3)?;
        let rate = config.attention_probs_dropout_prob;
        let site = format!("layer.{n}.attention_probs");
        let probabilities = self.dropout(g, &probabilities, rate, &site)?;
        let context = g.matmul(&probabilities, &value)?;
        let context = g.permute(&context, &[0, 2, 1, 3])?;
        Ok(g.reshape(&context, &[rows, seq, hidden])?)
    }

    /// Intermediate and output layer, the residual and the layer norm, `[.., hidden]`.
    fn feed_forward(&mut self, g: &mut Graph, n: usize, x: &Tensor) -> Result<Tensor> {
        let prefix = format!("bert.encoder.layer.{n}");
        let name = format!("{prefix}.intermediate.dense");
        let inner = self.config.intermediate_size;
        let y = dense(g, &mut self.parameters, &name, x, inner)?;
        let y = self.config.hidden_act.apply(g, &y)?;
        let site = format!("layer.{n}.ffn_output");
        self.output(g, &format!("{prefix}.output"), &site, &y, x)
    }

    /// Dense, dropout, residual, layer norm: the end of both sublayers.
    fn output(
        &mut self,
        g: &mut Graph,
        prefix: &str,
        site: &str,
        y: &Tensor,
        residual: &Tensor,
    ) -> Result<Tensor> {
        let config = self.config;
        let name = format!("{prefix}.dense");
        let y = dense(g, &mut self.parameters, &name, y, config.hidden_size)?;
        let y = self.dropout(g, &y, config.hidden_dropout_prob, site)?;
        let y = g.add(&y, residual)?;
        let name = format!("{prefix}.LayerNorm");
        Ok(layer_norm(
            g,
            &mut self.parameters,
            &name,
            &y,
            config.layer_norm_eps,
        )?)
    }
}
