//! The table through which an objective's graph hook sees the model.
//!
//! SAFETY of every function here: as in [`graph_api`](crate::graph_api).

use ablate_abi::{
    model_number, model_tensor, role, GraphContext, ModelApi, Status, Str, Tensor as Handle,
};
use ablate_bert::{BertConfig, Role};
use ablate_graph::Tensor;

use crate::context::{answer, context, put, text, GraphCx, Refusal, Tag};
use crate::graph_api::shape;

pub(crate) unsafe fn node(
    cx: *mut GraphContext,
    out: *mut Handle,
    body: impl FnOnce(&mut GraphCx<'_, '_>) -> Result<Tensor, Refusal>,
) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let cx: &mut GraphCx<'_, '_> = unsafe { context(cx, Tag::Graph) }?;
        let tensor = body(cx)?;
        let handle = cx.add(tensor);
        // SAFETY: see the module.
        unsafe { put(out, handle) }
    })
}

/// A number that a configuration says.
pub(crate) fn config_number(config: &BertConfig, name: &str) -> Option<f64> {
    Some(match name {
        model_number::VOCAB_SIZE => config.vocab_size as f64,
        model_number::HIDDEN_SIZE => config.hidden_size as f64,
        model_number::LAYER_NORM_EPS => config.layer_norm_eps,
        model_number::HIDDEN_DROPOUT => config.hidden_dropout_prob,
        model_number::ATTENTION_DROPOUT => config.attention_probs_dropout_prob,
        _ => return None,
    })
}

unsafe extern "C" fn number(cx: *mut GraphContext, name: Str, value: *mut f64) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let (cx, name): (&mut GraphCx<'_, '_>, _) =
            unsafe { (context(cx, Tag::Graph)?, text(name, "the number's name")?) };
        let model = cx.model()?;
        let found = match name {
            model_number::BATCH => model.batch as f64,
            model_number::SEQ => model.seq as f64,
            model_number::PREDICTIONS => model.predictions as f64,
            model_number::TRAINING => f64::from(u8::from(model.training)),
            _ => config_number(model.encoder.config(), name)
                .ok_or_else(|| Refusal::unknown(format!("the model has no number `{name}`")))?,
        };
        // SAFETY: see the module.
        unsafe { put(value, found) }
    })
}

unsafe extern "C" fn tensor(cx: *mut GraphContext, name: Str, out: *mut Handle) -> Status {
    unsafe {
        node(cx, out, |c| {
            let model = c.model()?;
            match text(name, "the tensor's name")? {
                model_tensor::HIDDEN => Ok(model.encoder.hidden().clone()),
                model_tensor::POOLED => Ok(model.encoder.pooled(model.graph)?),
                model_tensor::WORD_EMBEDDINGS => Ok(model.encoder.word_embeddings().clone()),
                model_tensor::ATTENTION_MASK => {
                    Ok(model.encoder.inputs().attention_mask(model.graph)?)
                }
                name => Err(Refusal::unknown(format!(
                    "the model has no tensor `{name}`"
                ))),
            }
        })
    }
}

unsafe extern "C" fn activation(cx: *mut GraphContext, x: Handle, out: *mut Handle) -> Status {
    unsafe {
        node(cx, out, |c| {
            let x = c.get(x)?;
            let activation = c.model()?.encoder.config().hidden_act;
            Ok(activation.apply(c.graph(), &x)?)
        })
    }
}

unsafe extern "C" fn feature(cx: *mut GraphContext, name: Str, out: *mut Handle) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (name, model) = (text(name, "the feature's name")?, c.model()?);
            model.features.get(name).cloned().ok_or_else(|| {
                let known: Vec<_> = model.features.keys().map(String::as_str).collect();
                Refusal::unknown(format!(
                    "there is no feature `{name}`; there are: {}",
                    known.join(", ")
                ))
            })
        })
    }
}

unsafe extern "C" fn parameter(
    cx: *mut GraphContext,
    name: Str,
    dims: *const u64,
    rank: u32,
    role_code: u32,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let role = match role_code {
                role::WEIGHT => Role::Weight,
                role::BIAS => Role::Bias,
                role::NORM_SCALE => Role::NormScale,
                role::NORM_BIAS => Role::NormBias,
                role::EMBEDDING => Role::Embedding,
                _ => {
                    return Err(Refusal::invalid(format!(
                        "{role_code} is no role of a parameter"
                    )))
                }
            };
            let (name, shape) = (text(name, "the parameter's name")?, shape(dims, rank)?);
            Ok(c.model()?.parameter(name, &shape, role)?)
        })
    }
}

unsafe extern "C" fn metric(cx: *mut GraphContext, name: Str, sum: Handle) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let (cx, name): (&mut GraphCx<'_, '_>, _) =
            unsafe { (context(cx, Tag::Graph)?, text(name, "the metric's name")?) };
        cx.model()?;
        let tensor = cx.get(sum)?;
        if tensor.rank() != 0 {
            return Err(Refusal::invalid(format!(
                "the metric `{name}` has shape {:?}; it is a scalar []",
                tensor.shape()
            )));
        }
        if cx.metrics.iter().any(|(known, _)| known == name) {
            return Err(Refusal::invalid(format!("there are two metrics `{name}`")));
        }
        cx.metrics.push((name.to_owned(), tensor));
        Ok(())
    })
}

unsafe extern "C" fn encode(
    cx: *mut GraphContext,
    pass: Str,
    dropout: u32,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            // Two objectives may call their passes alike.
            let pass = format!("{}/{}", c.objective, text(pass, "the pass's name")?);
            let model = c.model()?;
            Ok(model.encoder.pass(model.graph, &pass, dropout != 0)?)
        })
    }
}

/// The table behind [`ablate_abi::MODEL_API`].
pub(crate) static TABLE: ModelApi = ModelApi {
    struct_size: size_of::<ModelApi>() as u32,
    reserved: 0,
    number: Some(number),
    tensor: Some(tensor),
    activation: Some(activation),
    feature: Some(feature),
    parameter: Some(parameter),
    metric: Some(metric),
    encode: Some(encode),
};
