//! Curation of a training split by the operators that a recipe names, all of them plugins.
//!
//! Owns the way from the host's operators to the data crate's. Must not know what an operator looks
//! for.

use ablate_datasets::curate::{self, Fate, Operator, OperatorReport};
use ablate_datasets::Document;
use ablate_host::OperatorPlugin;
use ablate_recipe::Component;

use crate::error::Result;
use crate::plugins::Plugins;

/// Applies operators to documents in the order of the recipe, and says what each did.
///
/// # Errors
/// An operator that nobody has, refuses its options, fails, or removes everything.
pub(crate) fn apply(
    documents: Vec<Document>,
    operators: &[Component],
    plugins: &Plugins,
) -> Result<(Vec<Document>, Vec<OperatorReport>)> {
    let made = operators
        .iter()
        .map(|named| Ok(Box::new(ByPlugin(plugins.operator(named)?)) as Box<dyn Operator>))
        .collect::<Result<Vec<_>>>()?;
    Ok(curate::apply(documents, made)?)
}

struct ByPlugin(OperatorPlugin);

impl Operator for ByPlugin {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply(&mut self, documents: &[Document]) -> std::result::Result<Vec<Fate>, String> {
        let borrowed: Vec<(&str, &str)> = documents
            .iter()
            .map(|d| (d.id.as_str(), d.text.as_str()))
            .collect();
        let fates = self.0.apply(&borrowed).map_err(|e| e.to_string())?;
        Ok(fates
            .into_iter()
            .map(|fate| match fate {
                ablate_host::Fate::Keep => Fate::Keep,
                ablate_host::Fate::Remove => Fate::Remove,
                ablate_host::Fate::Rewrite(text) => Fate::Rewrite(text),
            })
            .collect())
    }
}
