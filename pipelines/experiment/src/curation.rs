//! Curation of a training split: built-in operators and those of plugins, in the order of the recipe.
//!
//! Owns who is asked for a name. Must not know what an operator looks for.

use ablate_datasets::curate::{self, OperatorReport, Step, EXAMPLES};
use ablate_datasets::{DataError, Document};
use ablate_host::Fate;
use ablate_recipe::Component;

use crate::error::Result;
use crate::plugins::Plugins;

/// Applies operators to documents, and says what each did. Without plugins there are the built-in ones alone.
///
/// # Errors
/// An operator that nobody has, refuses its options, fails, or removes everything.
pub(crate) fn apply(
    mut documents: Vec<Document>,
    operators: &[Component],
    plugins: Option<&Plugins>,
) -> Result<(Vec<Document>, Vec<OperatorReport>)> {
    let mut reports = Vec::new();
    for operator in operators {
        let plugin = plugins.filter(|plugins| plugins.has_operator(&operator.name));
        let report = match plugin {
            Some(plugins) => by_plugin(&mut documents, operator, plugins)?,
            None => {
                let step = Step {
                    name: operator.name.clone(),
                    options: operator.config.clone(),
                };
                let (kept, report) = curate::apply(std::mem::take(&mut documents), &[step])?;
                documents = kept;
                reports.extend(report);
                continue;
            }
        };
        reports.push(report);
    }
    Ok((documents, reports))
}

fn by_plugin(
    documents: &mut Vec<Document>,
    operator: &Component,
    plugins: &Plugins,
) -> Result<OperatorReport> {
    let mut made = plugins.operator(operator)?;
    let borrowed: Vec<(&str, &str)> = documents
        .iter()
        .map(|d| (d.id.as_str(), d.text.as_str()))
        .collect();
    let fates = made.apply(&borrowed)?;
    let documents_in = documents.len();
    let mut removed = Vec::new();
    let mut kept = Vec::with_capacity(documents_in);
    for (mut document, fate) in documents.drain(..).zip(fates) {
        match fate {
            Fate::Keep => {}
            // A document is never blank; one that is rewritten to nothing is removed.
            Fate::Rewrite(text) if !text.trim().is_empty() => document.text = text,
            Fate::Remove | Fate::Rewrite(_) => {
                if removed.len() < EXAMPLES {
                    removed.push(document.id);
                }
                continue;
            }
        }
        kept.push(document);
    }
    if kept.is_empty() {
        return Err(DataError::EmptyCorpus {
            origin: format!("curate: {}", operator.name),
            detail: format!("it removed all {documents_in} document(s)"),
        }
        .into());
    }
    *documents = kept;
    Ok(OperatorReport {
        operator: operator.name.clone(),
        documents_in,
        documents_out: documents.len(),
        removed,
    })
}
