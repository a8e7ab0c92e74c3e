//! [`ablate_train::Optimizer`] over an optimizer's function table.

use ablate_abi::{role, OptimizerApi, ParameterInfo, Str, UpdateInput, UpdateOutput, NO_TENSOR};
use ablate_bert::{ParameterSpec, Role};
use ablate_graph::{Graph, Tensor};
use ablate_train::{Optimizer, PluginError, SlotSpec, Update, UpdateContext};
use serde_json::Value;

use crate::batch_api::DeclareCx;
use crate::context::{GraphCx, Target};
use crate::instance::Instance;

/// An optimizer of a plugin.
pub struct OptimizerPlugin {
    instance: Instance,
    api: OptimizerApi,
    base_learning_rate: f64,
    scalar_names: Vec<String>,
    variants: u32,
}

/// Most update graphs that an optimizer may have: each is compiled for all parameters.
const MAX_VARIANTS: u32 = 8;

impl OptimizerPlugin {
    pub(crate) fn new(name: &str, api: OptimizerApi, config: &Value) -> Result<Self, String> {
        let missing = || "its table has null functions".to_owned();
        let (create, destroy) = api.create.zip(api.destroy).ok_or_else(missing)?;
        // SAFETY: both are of one checked table.
        let instance = unsafe { Instance::new(name, create, destroy, config) }?;
        let mut rate = f64::NAN;
        let mut declared = DeclareCx::new();
        let (ask, declare) = api
            .base_learning_rate
            .zip(api.scalar_names)
            .ok_or_else(missing)?;
        let into = std::ptr::from_mut(&mut declared).cast();
        // SAFETY: the functions are of the instance's table, the results writable.
        instance
            .call("base_learning_rate", |raw| unsafe { ask(raw, &mut rate) })
            .and_then(|()| instance.call("scalar_names", |raw| unsafe { declare(raw, into) }))
            .map_err(|e| e.message)?;
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(format!(
                "its learning rate is {rate}; it is a number above 0"
            ));
        }
        let mut variants = 1;
        if let Some(ask) = api.variants {
            // SAFETY: the function is of the instance's table, the result writable.
            instance
                .call("variants", |raw| unsafe { ask(raw, &mut variants) })
                .map_err(|e| e.message)?;
        }
        if !(1..=MAX_VARIANTS).contains(&variants) || (variants > 1 && api.variant.is_none()) {
            return Err(format!(
                "it has {variants} update graphs; there are 1 to {MAX_VARIANTS}, and more than one need \
                 the function `variant`"
            ));
        }
        Ok(OptimizerPlugin {
            instance,
            api,
            base_learning_rate: rate,
            scalar_names: declared.scalars,
            variants,
        })
    }

    /// The learning rate of the configuration, which schedules scale.
    pub fn base_learning_rate(&self) -> f64 {
        self.base_learning_rate
    }

    fn missing(&self, hook: &str) -> PluginError {
        self.instance.error(hook, "the function is null")
    }
}

fn widen(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|d| *d as u64).collect()
}

/// What a plugin is told of a parameter. Valid as long as its arguments.
fn info(name: &str, role: Role, dims: &[u64], decays: bool) -> ParameterInfo {
    ParameterInfo {
        struct_size: size_of::<ParameterInfo>() as u32,
        role: match role {
            Role::Weight => role::WEIGHT,
            Role::Bias => role::BIAS,
            Role::NormScale => role::NORM_SCALE,
            Role::NormBias => role::NORM_BIAS,
            Role::Embedding => role::EMBEDDING,
        },
        name: Str::new(name),
        dims: dims.as_ptr(),
        rank: dims.len() as u32,
        decay: u32::from(decays),
    }
}

impl Optimizer for OptimizerPlugin {
    fn name(&self) -> &str {
        self.instance.name()
    }

    fn slots(&self, parameter: &ParameterSpec) -> Result<Vec<SlotSpec>, PluginError> {
        const HOOK: &str = "slots";
        let slots = self.api.slots.ok_or_else(|| self.missing(HOOK))?;
        let dims = widen(&parameter.shape);
        let info = info(&parameter.name, parameter.role, &dims, parameter.decays());
        let mut declared = DeclareCx::new();
        let into = std::ptr::from_mut(&mut declared).cast();
        // SAFETY: what the info points to and the context outlive the call.
        self.instance
            .call(HOOK, |raw| unsafe { slots(raw, &info, into) })?;
        Ok(declared.slots)
    }

    fn variants(&self) -> u32 {
        self.variants
    }

    fn variant(&self, step: u64) -> Result<u32, PluginError> {
        let Some(ask) = self.api.variant.filter(|_| self.variants > 1) else {
            return Ok(0);
        };
        let mut variant = 0;
        // SAFETY: the result is writable.
        self.instance
            .call("variant", |raw| unsafe { ask(raw, step, &mut variant) })?;
        Ok(variant)
    }

    fn scalar_names(&self) -> Result<Vec<String>, PluginError> {
        Ok(self.scalar_names.clone())
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>, PluginError> {
        const HOOK: &str = "scalars";
        let scalars = self.api.scalars.ok_or_else(|| self.missing(HOOK))?;
        let mut values = vec![f64::NAN; self.scalar_names.len()];
        // SAFETY: there is room for as many values as were declared.
        self.instance.call(HOOK, |raw| unsafe {
            scalars(raw, step, learning_rate, values.as_mut_ptr(), values.len())
        })?;
        match self
            .scalar_names
            .iter()
            .zip(&values)
            .find(|(_, value)| !value.is_finite())
        {
            None => Ok(values),
            Some((name, value)) => Err(self.instance.error(
                HOOK,
                format!("the scalar `{name}` is {value} at step {step}"),
            )),
        }
    }

    fn update(&mut self, graph: &mut Graph, p: UpdateContext) -> Result<Update, PluginError> {
        const HOOK: &str = "update";
        let update = self.api.update.ok_or_else(|| self.missing(HOOK))?;
        let mut cx = GraphCx::new(Target::Plain(graph));
        let handles = |cx: &mut GraphCx<'_, '_>, tensors: &[Tensor]| -> Vec<_> {
            tensors.iter().map(|t| cx.add(t.clone())).collect()
        };
        let slots = handles(&mut cx, &p.slots);
        let scalars = handles(&mut cx, &p.scalars);
        let dims = widen(&p.parameter.shape());
        let info = info(&p.name, p.role, &dims, p.decays);
        let input = UpdateInput {
            struct_size: size_of::<UpdateInput>() as u32,
            variant: p.variant,
            info: &info,
            parameter: cx.add(p.parameter.clone()),
            gradient: cx.add(p.gradient.clone()),
            slots: slots.as_ptr(),
            slot_count: slots.len(),
            scalars: scalars.as_ptr(),
            scalar_count: scalars.len(),
        };
        let mut new_slots = vec![NO_TENSOR; slots.len()];
        let mut output = UpdateOutput {
            struct_size: size_of::<UpdateOutput>() as u32,
            reserved: 0,
            parameter: NO_TENSOR,
            slots: new_slots.as_mut_ptr(),
        };
        let opaque = cx.opaque();
        // SAFETY: context, input and output live for the call and are used by nobody else meanwhile.
        let called = self.instance.call(HOOK, |raw| unsafe {
            update(raw, opaque, &input, &mut output)
        });
        cx.close_scopes();
        called?;
        let take = |handle, what: &str, shape: Vec<usize>| {
            let error = |detail: String| {
                self.instance
                    .error(HOOK, format!("{what} of `{}`: {detail}", p.name))
            };
            let tensor = cx.get(handle).map_err(|e| error(e.message))?;
            if tensor.shape() == shape {
                Ok(tensor)
            } else {
                Err(error(format!(
                    "its shape is {:?}, not {shape:?}",
                    tensor.shape()
                )))
            }
        };
        let parameter = take(output.parameter, "the new value", p.parameter.shape())?;
        let slots = new_slots
            .iter()
            .zip(&p.slots)
            .map(|(handle, old)| take(*handle, "a new slot", old.shape()))
            .collect::<Result<_, _>>()?;
        Ok(Update { parameter, slots })
    }
}
