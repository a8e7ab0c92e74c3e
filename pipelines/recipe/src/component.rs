//! Parts of a recipe that are chosen by name.
//!
//! Owns how they are written, `name: {config}`, and the two config keys that belong to the host.
//! Must not know which names there are.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Anything chosen by name with a config of its own: a schedule, a single stopping rule, a curation
/// operator.
/// In the file a map with one key, `name: {config}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
pub struct Component {
    /// Name in the catalog.
    pub name: String,
    /// Its config with the defaults of its schema filled in; always an object.
    pub config: Value,
}

/// An objective, its weight in the loss, and its config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
pub struct Objective {
    /// Name in the catalog.
    pub name: String,
    /// Factor of this objective in the weighted sum.
    pub weight: f64,
    /// What the plugin gets. `weight` is in it only if the plugin's own schema declares it.
    pub config: Value,
}

/// The optimizer, its base learning rate, and its config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
pub struct Optimizer {
    /// Name in the catalog.
    pub name: String,
    /// Peak learning rate; the schedule scales it.
    pub learning_rate: f64,
    /// What the plugin gets. `learning_rate` is in it only if the plugin's own schema declares it.
    pub config: Value,
}

/// Splits `{name: config}` into its parts.
fn single(value: Value) -> Result<(String, Map<String, Value>), String> {
    let Value::Object(map) = value else {
        return Err("expected a map with one key".to_owned());
    };
    let mut entries = map.into_iter();
    match (entries.next(), entries.next()) {
        (Some((name, Value::Object(config))), None) => Ok((name, config)),
        (Some((name, Value::Null)), None) => Ok((name, Map::new())),
        _ => Err("expected a map with one key and a map as its value".to_owned()),
    }
}

/// Takes a number that the host understands out of a config.
fn host_number(config: &Map<String, Value>, key: &str) -> Result<f64, String> {
    config
        .get(key)
        .and_then(Value::as_f64)
        .ok_or_else(|| format!("expected a number `{key}`"))
}

/// Writes `{name: {key: number, ..config}}`.
fn write_with(name: String, key: &str, number: f64, config: Value) -> Value {
    let mut inner = Map::new();
    inner.insert(key.to_owned(), Value::from(number));
    if let Value::Object(config) = config {
        inner.extend(config);
    }
    Value::Object(Map::from_iter([(name, Value::Object(inner))]))
}

impl TryFrom<Value> for Component {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let (name, config) = single(value)?;
        Ok(Self {
            name,
            config: Value::Object(config),
        })
    }
}

impl From<Component> for Value {
    fn from(component: Component) -> Self {
        Self::Object(Map::from_iter([(component.name, component.config)]))
    }
}

impl TryFrom<Value> for Objective {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let (name, config) = single(value)?;
        Ok(Self {
            name,
            weight: host_number(&config, "weight")?,
            config: Value::Object(config),
        })
    }
}

impl From<Objective> for Value {
    fn from(objective: Objective) -> Self {
        write_with(objective.name, "weight", objective.weight, objective.config)
    }
}

impl TryFrom<Value> for Optimizer {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let (name, config) = single(value)?;
        Ok(Self {
            name,
            learning_rate: host_number(&config, "learning_rate")?,
            config: Value::Object(config),
        })
    }
}

impl From<Optimizer> for Value {
    fn from(optimizer: Optimizer) -> Self {
        write_with(
            optimizer.name,
            "learning_rate",
            optimizer.learning_rate,
            optimizer.config,
        )
    }
}
