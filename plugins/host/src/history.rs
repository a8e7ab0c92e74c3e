//! The latest values of every metric, for stopping rules that ask for them.
//!
//! Owns how many are kept and how they are saved with the rule's own state. Must not know rules.

use ablate_abi::{split, Series, Str};
use ablate_train::{Event, Split};
use serde_json::{json, Value};

/// Key by which saved state with a history is told from a rule's bare bytes.
const KEY: &str = "ablate_history";
const VERSION: u64 = 1;

/// Values of one metric on one split.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    split: u32,
    name: String,
    steps: Vec<u64>,
    values: Vec<f64>,
}

/// The code of a split that rules see.
pub(crate) fn code(split: Split) -> Option<u32> {
    match split {
        Split::Train => Some(split::TRAIN),
        Split::Validation => Some(split::VALIDATION),
        // The test split is looked at once, at the end, and steers nothing.
        Split::Test => None,
    }
}

/// Values of all metrics, at most `length` of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    length: usize,
    kept: Vec<Kept>,
}

impl History {
    pub fn new(length: usize) -> Self {
        History {
            length,
            kept: Vec::new(),
        }
    }

    /// Remembers an event's metrics.
    pub fn push(&mut self, event: &Event<'_>) {
        let Some(split) = code(event.split).filter(|_| self.length > 0) else {
            return;
        };
        for (name, value) in event.metrics {
            let found = self
                .kept
                .iter()
                .position(|k| k.split == split && k.name == *name);
            let at = found.unwrap_or_else(|| {
                self.kept.push(Kept {
                    split,
                    name: (*name).to_owned(),
                    ..Kept::default()
                });
                self.kept.len() - 1
            });
            let kept = &mut self.kept[at];
            kept.steps.push(event.step);
            kept.values.push(*value);
            // Twice the length before a cut, so that a step costs no more than one copy on average.
            if kept.values.len() >= self.length.saturating_mul(2) {
                let old = kept.values.len() - self.length;
                kept.steps.drain(..old);
                kept.values.drain(..old);
            }
        }
    }

    /// What the rule sees; valid until the next change.
    pub fn series(&self) -> Vec<Series> {
        self.kept
            .iter()
            .map(|kept| {
                let from = kept.values.len().saturating_sub(self.length);
                Series {
                    name: Str::new(&kept.name),
                    split: kept.split,
                    reserved: 0,
                    steps: kept.steps[from..].as_ptr(),
                    values: kept.values[from..].as_ptr(),
                    count: kept.values.len() - from,
                }
            })
            .collect()
    }

    /// The rule's state, with the history around it where there is one.
    pub fn save(&self, rule: Vec<u8>) -> Vec<u8> {
        if self.length == 0 {
            return rule;
        }
        let series: Vec<Value> = self
            .kept
            .iter()
            .map(|kept| {
                let from = kept.values.len().saturating_sub(self.length);
                // Bits, since JSON has no NaN and its readers may round.
                let bits: Vec<u64> = kept.values[from..].iter().map(|v| v.to_bits()).collect();
                json!({"split": kept.split, "name": kept.name, "steps": kept.steps[from..], "bits": bits})
            })
            .collect();
        json!({KEY: VERSION, "series": series, "rule": rule})
            .to_string()
            .into_bytes()
    }

    /// Takes a history back; gives the rule's own state.
    pub fn load(&mut self, state: &[u8]) -> Result<Vec<u8>, String> {
        if self.length == 0 {
            return Ok(state.to_vec());
        }
        let saved: Value = serde_json::from_slice(state)
            .map_err(|e| format!("the saved metrics history cannot be read: {e}"))?;
        if saved[KEY] != VERSION {
            return Err(format!(
                "the saved metrics history has version {}, this program reads version {VERSION}",
                saved[KEY]
            ));
        }
        let damaged = || "the saved metrics history is damaged".to_owned();
        let numbers = |value: &Value| -> Option<Vec<u64>> {
            value.as_array()?.iter().map(Value::as_u64).collect()
        };
        let read = |value: &Value| -> Option<Kept> {
            let kept = Kept {
                split: value["split"].as_u64()? as u32,
                name: value["name"].as_str()?.to_owned(),
                steps: numbers(&value["steps"])?,
                values: numbers(&value["bits"])?
                    .into_iter()
                    .map(f64::from_bits)
                    .collect(),
            };
            (kept.steps.len() == kept.values.len()).then_some(kept)
        };
        let kept = saved["series"]
            .as_array()
            .and_then(|all| all.iter().map(read).collect::<Option<Vec<Kept>>>());
        let rule: Option<Vec<u8>> = numbers(&saved["rule"])
            .and_then(|bytes| bytes.into_iter().map(|b| u8::try_from(b).ok()).collect());
        self.kept = kept.ok_or_else(damaged)?;
        rule.ok_or_else(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(history: &History) -> Vec<(String, u32, Vec<u64>, Vec<f64>)> {
        history
            .series()
            .iter()
            .map(|s| {
                // SAFETY: the series are those of the history, which nobody changes meanwhile.
                unsafe {
                    (
                        s.name.get().unwrap().to_owned(),
                        s.split,
                        std::slice::from_raw_parts(s.steps, s.count).to_vec(),
                        std::slice::from_raw_parts(s.values, s.count).to_vec(),
                    )
                }
            })
            .collect()
    }

    fn push(history: &mut History, step: u64, split: Split, loss: f64) {
        history.push(&Event {
            step,
            tokens: 0,
            flops: 0.0,
            seconds: 0.0,
            split,
            metrics: &[("loss", loss)],
        });
    }

    #[test]
    fn the_latest_values_are_kept_by_split_and_come_back_to_the_bit() {
        let mut history = History::new(3);
        for step in 1..=7 {
            push(&mut history, step, Split::Train, step as f64 / 3.0);
        }
        push(&mut history, 7, Split::Validation, f64::INFINITY);
        push(&mut history, 7, Split::Test, 1.0);
        let expected = vec![
            (
                "loss".to_owned(),
                0,
                vec![5, 6, 7],
                vec![5.0 / 3.0, 2.0, 7.0 / 3.0],
            ),
            ("loss".to_owned(), 1, vec![7], vec![f64::INFINITY]),
        ];
        assert_eq!(seen(&history), expected);
        let saved = history.save(vec![9, 255]);
        let mut other = History::new(3);
        assert_eq!(other.load(&saved).unwrap(), [9, 255]);
        assert_eq!(seen(&other), expected);
        // Both go on alike.
        push(&mut history, 8, Split::Train, 0.0);
        push(&mut other, 8, Split::Train, 0.0);
        assert_eq!(seen(&history), seen(&other));
    }

    #[test]
    fn without_a_history_the_state_is_the_rules_own() {
        let mut none = History::new(0);
        push(&mut none, 1, Split::Train, 1.0);
        assert!(seen(&none).is_empty());
        assert_eq!(none.save(vec![1, 2]), [1, 2]);
        assert_eq!(none.load(&[3]).unwrap(), [3]);
    }

    #[test]
    fn foreign_and_damaged_states_are_refused() {
        let mut history = History::new(2);
        for (state, part) in [
            (&b"\x00\x01"[..], "cannot be read"),
            (b"{}", "version null"),
            (b"{\"ablate_history\": 2}", "version 2"),
            (
                b"{\"ablate_history\": 1, \"series\": [{}], \"rule\": []}",
                "damaged",
            ),
            (
                b"{\"ablate_history\": 1, \"series\": [], \"rule\": [256]}",
                "damaged",
            ),
        ] {
            let error = history.load(state).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
