//! [`ablate_train::StoppingRule`] over a stopping rule's function table.

use ablate_abi::{decision, Metric, StoppingApi, Str};
use ablate_train::{Decision, Event, PluginError, StoppingRule};
use serde_json::Value;

use crate::context::ByteSink;
use crate::history::{code, History};
use crate::instance::Instance;

/// Most values of a metric that a rule may ask for: they are in every checkpoint.
const MOST: usize = 1 << 16;

/// A stopping rule of a plugin.
pub struct StoppingRulePlugin {
    instance: Instance,
    api: StoppingApi,
    history: History,
}

impl StoppingRulePlugin {
    pub(crate) fn new(name: &str, api: StoppingApi, config: &Value) -> Result<Self, String> {
        let (create, destroy) = api
            .create
            .zip(api.destroy)
            .ok_or_else(|| "its table has null functions".to_owned())?;
        // SAFETY: both are of one checked table.
        let instance = unsafe { Instance::new(name, create, destroy, config) }?;
        let mut length = 0;
        if let Some(ask) = api.history_length {
            // SAFETY: the function is of the instance's table, the result writable.
            instance
                .call("history_length", |raw| unsafe { ask(raw, &mut length) })
                .map_err(|e| e.message)?;
        }
        let length = usize::try_from(length).ok().filter(|n| *n <= MOST);
        let length = length
            .ok_or_else(|| format!("it asks for a history of more than {MOST} values a metric"))?;
        Ok(StoppingRulePlugin {
            instance,
            api,
            history: History::new(length),
        })
    }

    fn missing(&self, hook: &str) -> PluginError {
        self.instance.error(hook, "the function is null")
    }
}

impl StoppingRule for StoppingRulePlugin {
    fn name(&self) -> &str {
        self.instance.name()
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision, PluginError> {
        const HOOK: &str = "observe";
        let observe = self.api.observe.ok_or_else(|| self.missing(HOOK))?;
        let Some(split) = code(event.split) else {
            return Ok(Decision::Continue);
        };
        self.history.push(event);
        let history = self.history.series();
        let metrics: Vec<Metric> = event
            .metrics
            .iter()
            .map(|(name, value)| Metric {
                name: Str::new(name),
                value: *value,
            })
            .collect();
        let event = ablate_abi::Event {
            struct_size: size_of::<ablate_abi::Event>() as u32,
            split,
            step: event.step,
            tokens: event.tokens,
            metrics: metrics.as_ptr(),
            metric_count: metrics.len(),
            history: history.as_ptr(),
            history_count: history.len(),
            flops: event.flops,
            seconds: event.seconds,
        };
        let mut code = decision::CONTINUE;
        let mut sink = ByteSink::new();
        let opaque = std::ptr::from_mut(&mut sink).cast();
        // SAFETY: event and sink live for the call.
        self.instance.call(HOOK, |raw| unsafe {
            observe(raw, &event, &mut code, opaque)
        })?;
        let reason = || {
            let text = String::from_utf8_lossy(&sink.bytes).trim().to_owned();
            if text.is_empty() {
                format!("`{}` gave no reason", self.instance.name())
            } else {
                text
            }
        };
        match code {
            decision::CONTINUE => Ok(Decision::Continue),
            decision::STOP => Ok(Decision::Stop { reason: reason() }),
            decision::ABORT => Ok(Decision::Abort {
                diagnosis: reason(),
            }),
            other => Err(self.instance.error(HOOK, format!("{other} is no decision"))),
        }
    }

    fn save(&self) -> Result<Vec<u8>, PluginError> {
        const HOOK: &str = "save";
        let save = self.api.save.ok_or_else(|| self.missing(HOOK))?;
        let mut sink = ByteSink::new();
        let opaque = std::ptr::from_mut(&mut sink).cast();
        // SAFETY: the sink lives for the call.
        self.instance
            .call(HOOK, |raw| unsafe { save(raw, opaque) })?;
        Ok(self.history.save(sink.bytes))
    }

    fn load(&mut self, state: &[u8]) -> Result<(), PluginError> {
        const HOOK: &str = "load";
        let load = self.api.load.ok_or_else(|| self.missing(HOOK))?;
        let state = self
            .history
            .load(state)
            .map_err(|message| self.instance.error(HOOK, message))?;
        // SAFETY: the bytes live for the call.
        self.instance.call(HOOK, |raw| unsafe {
            load(raw, state.as_ptr(), state.len())
        })
    }
}
