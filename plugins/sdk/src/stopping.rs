//! Stopping rules: when a trial ends.

use ablate_abi::{split, Metric};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::{Error, Result};

/// A stopping rule.
pub trait StoppingRule: Send + Sized + 'static {
    /// The name that recipes use, and that the record of a trial says when it ended it.
    const NAME: &'static str;
    /// One sentence.
    const DESCRIPTION: &'static str;
    /// Version of [`StoppingRule::State`]; raise it when the state changes, and teach
    /// [`StoppingRule::migrate`] the old one.
    const STATE_VERSION: u32 = 1;
    /// The configuration; derive `Deserialize` with `deny_unknown_fields`, and `JsonSchema`.
    type Config: DeserializeOwned + JsonSchema;
    /// What the rule remembers, saved as JSON: wrap floats in [`Exact`](crate::Exact).
    type State: Serialize + DeserializeOwned;

    /// Makes an instance for one trial.
    ///
    /// # Errors
    /// [`Error::Config`] for values that cannot be used; name the key.
    fn new(config: Self::Config) -> Result<Self>;

    /// How many values of each metric the host shall keep for [`Event::history`]; it saves them with
    /// the trial. None unless overridden.
    fn history_length(&self) -> usize {
        0
    }

    /// Looks at a step or an evaluation. A recipe can ask that several rules hold at the same time
    /// (`all`), or that one does not (`not`): then this is called on after [`Decision::Stop`], and says
    /// each time whether the rule holds now.
    ///
    /// # Errors
    /// Where a metric that the rule needs is missing.
    fn observe(&mut self, event: &Event<'_>) -> Result<Decision>;

    /// All that [`StoppingRule::load`] needs to go on as if never interrupted.
    fn save(&self) -> Self::State;

    /// Takes saved state over.
    ///
    /// # Errors
    /// [`Error::State`] where it does not fit the configuration.
    fn load(&mut self, state: Self::State) -> Result<()>;

    /// Reads state that an older version saved.
    ///
    /// # Errors
    /// [`Error::State`] for versions that it does not know; that is all the default does.
    fn migrate(version: u32, _state: serde_json::Value) -> Result<Self::State> {
        Err(Error::State(format!(
            "state of `{}` has version {version}, this plugin reads version {}",
            Self::NAME,
            Self::STATE_VERSION
        )))
    }
}

/// Where an event's numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The batch of a training step.
    Train,
    /// An evaluation on held-out data.
    Validation,
}

impl Split {
    /// `train` or `validation`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
        }
    }
}

/// A training step or an evaluation.
pub struct Event<'a> {
    /// Steps done, from 1.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Floating-point operations of the matrix products in training so far.
    pub flops: f64,
    /// Seconds since the trial began, by the wall clock: the one number that another run does not
    /// repeat. Evaluations and runs before a resume are counted.
    pub seconds: f64,
    /// Where the metrics come from.
    pub split: Split,
    pub(crate) metrics: &'a [Metric],
    pub(crate) history: &'a [ablate_abi::Series],
}

/// The latest values of a metric, oldest first, the present one included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'a> {
    /// Step of each value, ascending.
    pub steps: &'a [u64],
    /// The values; they may be NaN or infinite.
    pub values: &'a [f64],
}

impl<'a> Event<'a> {
    /// All metrics, in the host's order. Values may be NaN or infinite.
    pub fn metrics(&self) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        // SAFETY: by the ABI the names are valid as long as the event; text that is no UTF-8 is
        // passed over.
        self.metrics
            .iter()
            .filter_map(|m| unsafe { m.name.get() }.map(|n| (n, m.value)))
    }

    /// The value of a metric, if the event has it.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The latest values of a metric on a split, at most [`StoppingRule::history_length`]; empty where
    /// there was none.
    pub fn history(&self, split: Split, name: &str) -> Series<'a> {
        let code = match split {
            Split::Train => split::TRAIN,
            Split::Validation => split::VALIDATION,
        };
        let found = self
            .history
            .iter()
            // SAFETY: by the ABI the names are valid as long as the event.
            .find(|s| s.split == code && unsafe { s.name.get() } == Some(name))
            .filter(|s| s.count > 0 && !s.steps.is_null() && !s.values.is_null());
        match found {
            None => Series {
                steps: &[],
                values: &[],
            },
            // SAFETY: by the ABI there are `count` steps and values, valid as long as the event.
            Some(s) => unsafe {
                Series {
                    steps: std::slice::from_raw_parts(s.steps, s.count),
                    values: std::slice::from_raw_parts(s.values, s.count),
                }
            },
        }
    }

    /// The value of a metric.
    ///
    /// # Errors
    /// [`Error::UnknownName`], with the names that there are.
    pub fn require(&self, name: &str) -> Result<f64> {
        self.metric(name).ok_or_else(|| {
            let names: Vec<_> = self.metrics().map(|(n, _)| n).collect();
            Error::UnknownName(format!(
                "there is no metric `{name}` on the {} split; there are: {}",
                self.split.name(),
                names.join(", ")
            ))
        })
    }
}

/// What a rule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Train on.
    Continue,
    /// The trial is finished; why, in one sentence.
    Stop(String),
    /// The trial failed; a diagnosis.
    Abort(String),
}
