//! [`ablate_train::Schedule`] over a schedule's function table.

use ablate_abi::{ScheduleApi, ScheduleInput};
use ablate_train::{PluginError, Schedule};
use serde_json::Value;

use crate::instance::Instance;

/// A schedule of a plugin.
pub struct SchedulePlugin {
    instance: Instance,
    api: ScheduleApi,
}

impl SchedulePlugin {
    pub(crate) fn new(name: &str, api: ScheduleApi, config: &Value) -> Result<Self, String> {
        let (create, destroy) = api
            .create
            .zip(api.destroy)
            .ok_or_else(|| "its table has null functions".to_owned())?;
        // SAFETY: both are of one checked table.
        let instance = unsafe { Instance::new(name, create, destroy, config) }?;
        Ok(SchedulePlugin { instance, api })
    }
}

impl Schedule for SchedulePlugin {
    fn name(&self) -> &str {
        self.instance.name()
    }

    fn factor(&self, step: u64) -> Result<f64, PluginError> {
        const HOOK: &str = "factor";
        let error = |message: String| self.instance.error(HOOK, message);
        let factor = self
            .api
            .factor
            .ok_or_else(|| error("the function is null".to_owned()))?;
        let input = ScheduleInput {
            struct_size: size_of::<ScheduleInput>() as u32,
            reserved: 0,
            step,
        };
        let mut value = f64::NAN;
        // SAFETY: input and result live for the call.
        self.instance
            .call(HOOK, |raw| unsafe { factor(raw, &input, &mut value) })?;
        if value.is_finite() && value >= 0.0 {
            Ok(value)
        } else {
            Err(error(format!(
                "the factor is {value} at step {step}; it is a number from 0 on"
            )))
        }
    }
}
