//! Curation: operators that remove or rewrite documents of a split, each with a report.
//!
//! Owns the order of operators, what they may do, and the account of what they did: it is part of the
//! run's record, for a data intervention must be seen to have done something. Must not know any
//! operator; whoever has them brings them as an [`Operator`].

use serde::{Deserialize, Serialize};

use crate::{DataError, Document, Result};

/// How many ids of removed and of rewritten documents a report quotes.
pub const EXAMPLES: usize = 5;

/// What becomes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Keep,
    /// It is removed.
    Remove,
    /// It stays with another text. A document is never blank: one without text is removed.
    Rewrite(String),
}

/// A configured operator. It sees the documents of one split once, in order, and may remember.
pub trait Operator {
    /// Name as in the recipe.
    fn name(&self) -> &str;

    /// Says what becomes of each of these documents, which come after those of earlier calls.
    ///
    /// # Errors
    /// What went wrong, in a sentence.
    fn apply(&mut self, documents: &[Document]) -> Result<Vec<Fate>, String>;
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorReport {
    /// The operator.
    pub operator: String,
    /// Documents before.
    pub documents_in: usize,
    /// Documents after.
    pub documents_out: usize,
    /// Documents after that have another text than before.
    pub documents_rewritten: usize,
    /// Ids of the first [`EXAMPLES`] removed documents.
    pub removed: Vec<String>,
    /// Ids of the first [`EXAMPLES`] rewritten documents.
    pub rewritten: Vec<String>,
}

/// Runs operators in order over a split's documents.
///
/// # Errors
/// An operator that fails, or that leaves nothing.
pub fn apply<'o>(
    mut documents: Vec<Document>,
    operators: impl IntoIterator<Item = Box<dyn Operator + 'o>>,
) -> Result<(Vec<Document>, Vec<OperatorReport>)> {
    let mut reports = Vec::new();
    for mut operator in operators {
        let (kept, report) = run(documents, &mut *operator)?;
        documents = kept;
        reports.push(report);
    }
    Ok((documents, reports))
}

fn run(
    documents: Vec<Document>,
    operator: &mut dyn Operator,
) -> Result<(Vec<Document>, OperatorReport)> {
    let failed = |message: String, name: &str| DataError::Operator {
        name: name.to_owned(),
        message,
    };
    let fates = operator
        .apply(&documents)
        .map_err(|message| failed(message, operator.name()))?;
    if fates.len() != documents.len() {
        let message = format!(
            "it answered for {} of {} documents",
            fates.len(),
            documents.len()
        );
        return Err(failed(message, operator.name()));
    }
    let mut report = OperatorReport {
        operator: operator.name().to_owned(),
        documents_in: documents.len(),
        documents_out: 0,
        documents_rewritten: 0,
        removed: Vec::new(),
        rewritten: Vec::new(),
    };
    let note = |ids: &mut Vec<String>, id: &str| {
        if ids.len() < EXAMPLES {
            ids.push(id.to_owned());
        }
    };
    let mut kept = Vec::with_capacity(documents.len());
    for (mut document, fate) in documents.into_iter().zip(fates) {
        match fate {
            Fate::Keep => {}
            Fate::Rewrite(text) if !text.trim().is_empty() => {
                if text != document.text {
                    report.documents_rewritten += 1;
                    note(&mut report.rewritten, &document.id);
                    document.text = text;
                }
            }
            Fate::Remove | Fate::Rewrite(_) => {
                note(&mut report.removed, &document.id);
                continue;
            }
        }
        kept.push(document);
    }
    report.documents_out = kept.len();
    if kept.is_empty() {
        return Err(DataError::EmptyCorpus {
            origin: format!("curate: {}", report.operator),
            detail: format!("it removed all {} document(s)", report.documents_in),
        });
    }
    Ok((kept, report))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct By(&'static str, fn(&Document) -> Fate);

    impl Operator for By {
        fn name(&self) -> &str {
            self.0
        }
        fn apply(&mut self, documents: &[Document]) -> Result<Vec<Fate>, String> {
            match self.0 {
                "broken" => Err("no batteries".to_owned()),
                "lazy" => Ok(vec![]),
                _ => Ok(documents.iter().map(self.1).collect()),
            }
        }
    }

    fn documents(texts: &[&str]) -> Vec<Document> {
        texts
            .iter()
            .enumerate()
            .map(|(i, text)| Document {
                id: format!("d{i}"),
                text: (*text).to_owned(),
            })
            .collect()
    }

    fn run(texts: &[&str], operators: Vec<By>) -> Result<(Vec<String>, Vec<OperatorReport>)> {
        let operators = operators
            .into_iter()
            .map(|o| Box::new(o) as Box<dyn Operator>);
        let (kept, reports) = apply(documents(texts), operators)?;
        Ok((
            kept.into_iter()
                .map(|d| format!("{} {}", d.id, d.text))
                .collect(),
            reports,
        ))
    }

    fn short(document: &Document) -> Fate {
        if document.text.len() < 2 {
            Fate::Remove
        } else {
            Fate::Keep
        }
    }

    fn lower(document: &Document) -> Fate {
        Fate::Rewrite(document.text.to_lowercase().replace("void", " "))
    }

    #[test]
    fn operators_run_in_order_and_account_for_every_document() {
        let texts = ["a", "One", "two", "VOID", "b", "Six"];
        let (kept, reports) = run(&texts, vec![By("short", short), By("lower", lower)]).unwrap();
        assert_eq!(kept, ["d1 one", "d2 two", "d5 six"]);
        assert_eq!((reports[0].documents_in, reports[0].documents_out), (6, 4));
        assert_eq!(reports[0].removed, ["d0", "d4"]);
        assert_eq!(reports[0].documents_rewritten, 0);
        // Rewritten to the same is not rewritten, rewritten to nothing is removed.
        let second = OperatorReport {
            operator: "lower".into(),
            documents_in: 4,
            documents_out: 3,
            documents_rewritten: 2,
            removed: vec!["d3".into()],
            rewritten: vec!["d1".into(), "d5".into()],
        };
        assert_eq!(reports[1], second);
        assert_eq!(run(&texts, vec![]).unwrap().1, []);
    }

    #[test]
    fn an_operator_that_fails_or_leaves_nothing_is_named() {
        for (operator, expected) in [
            (By("broken", short), "curate: broken: no batteries"),
            (
                By("lazy", short),
                "curate: lazy: it answered for 0 of 2 documents",
            ),
            (By("short", |_| Fate::Remove), "all 2"),
        ] {
            let message = run(&["a", "b"], vec![operator]).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
