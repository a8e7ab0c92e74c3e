//! `{{snake}}`: keeps documents of at least some number of words.

use ablate_sdk::{Document, Error, Fate, Operator, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// What a recipe says under `{{snake}}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Fewest words of a document that stays.
    #[schemars(range(min = 1))]
    words: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { words: 5 }
    }
}

/// The operator. Fields that you add to it are its memory from document to document.
pub struct {{Type}}(Config);

impl Operator for {{Type}} {
    const NAME: &'static str = "{{snake}}";
    const DESCRIPTION: &'static str = "Keeps documents of at least some number of words.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        // The schema is for editors and recipes; what the plugin cannot use, it refuses itself.
        if config.words == 0 {
            return Err(Error::Config("`words` is 0; it is at least 1".into()));
        }
        Ok({{Type}}(config))
    }

    /// What becomes of a document: `Keep`, `Remove`, or `Rewrite(text)`.
    fn apply(&mut self, document: Document<'_>) -> Result<Fate> {
        let words = document.text.split_whitespace().take(self.0.words).count();
        Ok(Fate::keep_if(words == self.0.words))
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "The data operator {{snake}}.",
        operators: [{{Type}}],
    };
}
ablate_sdk::export!(PLUGIN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_documents_go() {
        let mut operator = {{Type}}::new(Config { words: 3 }).unwrap();
        let mut fate = |text| operator.apply(Document { id: "a", text }).unwrap();
        assert_eq!(fate("two words"), Fate::Remove);
        assert_eq!(fate(" now\tthere are four "), Fate::Keep);
        assert!({{Type}}::new(Config { words: 0 }).is_err());
    }
}
