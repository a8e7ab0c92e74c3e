//! Recipe -> corpus -> split -> curate -> tokenizer -> tokens, shared by all arms that can share it.
//!
//! Owns which arm trains on what and is measured on what. Must not know models or training.
//!
//! What is held out never changes: the validation and test documents are those of the baseline's
//! corpus, uncurated and cut into the baseline's sequence length, for every arm. Else a data
//! intervention would change the yardstick along with the thing that is measured, and a curated test set would
//! look easier without the model being better. For the same reason the tokenizer is the baseline's,
//! trained on the baseline's training split: losses per token compare only over the same tokens. An
//! arm that changes `data.tokenizer` itself gets its own, and a warning.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use ablate_datasets::curate::OperatorReport;
use ablate_datasets::{read, split, Corpus, Document, Splits, TokenizedCorpus, Tokenizer};
use ablate_recipe as recipe;
use sha2::{Digest, Sha256};

use crate::curation;
use crate::error::{ExperimentError, Result};
use crate::plugins::Plugins;

/// Bad records that are shown one by one; the rest are counted.
const SHOWN: usize = 5;

/// What the trials of an arm read.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Training split, curated.
    pub train: Arc<TokenizedCorpus>,
    /// Held out, the same documents for every arm.
    pub validation: Arc<TokenizedCorpus>,
    /// Held out, the same documents for every arm.
    pub test: Arc<TokenizedCorpus>,
    /// Tokens of a training example.
    pub sequence_length: usize,
    /// Tokens of a held-out example: the baseline's.
    pub evaluation_length: usize,
    /// What each curation operator removed.
    pub curation: Vec<OperatorReport>,
    /// SHA-256 over all token ids: says whether a checkpoint is of the same data.
    pub digest: String,
    /// Whether held-out losses compare with the baseline's.
    pub comparable: bool,
}

/// Facts about the baseline's corpus, for the record.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CorpusFacts {
    /// Name of the corpus.
    pub name: String,
    /// Its licence, where the card says.
    pub licence: Option<String>,
    /// Documents read.
    pub documents: usize,
    /// Tokens of all documents under the baseline's tokenizer (training split curated).
    pub tokens: usize,
    /// Entropy of the training split's token frequencies, in nats: the loss of a model that knows
    /// nothing but frequencies.
    pub unigram_entropy_nats: f64,
    /// The same over the test split's own frequencies.
    pub test_unigram_entropy_nats: f64,
    /// Records that could not be read.
    pub dropped_lines: usize,
    /// Documents of each split before curation.
    pub train_documents: usize,
    /// Documents held out for stopping rules.
    pub validation_documents: usize,
    /// Documents held out for the report.
    pub test_documents: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// What the generator of a synthetic corpus knows of its own entropy, in nats a word.
    pub generator_entropy_nats_per_word: Option<f64>,
}

struct Baseline {
    recipe: recipe::Data,
    tokenizer: Arc<Tokenizer>,
    validation: Arc<TokenizedCorpus>,
    test: Arc<TokenizedCorpus>,
    held_out: [Vec<Document>; 2],
    facts: CorpusFacts,
    set: DataSet,
}

/// Prepares the data of arms, each distinct piece once.
pub struct DataStore {
    base: PathBuf,
    plugins: Plugins,
    /// Split corpora by their source, as long as the store lives.
    corpora: HashMap<String, Arc<Splits>>,
    sets: HashMap<String, DataSet>,
    baseline: Baseline,
}

impl DataStore {
    /// Reads and prepares the baseline's data. Relative paths count from `base`.
    ///
    /// # Errors
    /// When the corpus cannot be read, is too small to split, an operator fails, or the tokenizer
    /// cannot be trained.
    pub fn new(baseline: &recipe::Data, base: PathBuf, plugins: &Plugins) -> Result<Self> {
        let corpus = read(&source(&baseline.source)?, &base)?;
        let Corpus {
            name,
            licence,
            documents,
            report,
            entropy_nats_per_word,
        } = corpus;
        for record in report.skipped.iter().take(SHOWN) {
            tracing::warn!("left out {record}");
        }
        if report.skipped.len() > SHOWN {
            tracing::warn!("left out {} more records", report.skipped.len() - SHOWN);
        }
        let count = documents.len();
        let splits = split(documents, baseline.split.validation, baseline.split.test)?;
        let (train, curation) = curation::apply(splits.train.clone(), &baseline.curate, plugins)?;
        let tokenizer = Arc::new(tokenizer(&baseline.tokenizer, &train)?);
        let train = Arc::new(TokenizedCorpus::new(&tokenizer, &train)?);
        let validation = Arc::new(TokenizedCorpus::new(&tokenizer, &splits.validation)?);
        let test = Arc::new(TokenizedCorpus::new(&tokenizer, &splits.test)?);
        let facts = CorpusFacts {
            name,
            licence,
            documents: count,
            tokens: train.tokens().len() + validation.tokens().len() + test.tokens().len(),
            unigram_entropy_nats: train.unigram_entropy(),
            test_unigram_entropy_nats: test.unigram_entropy(),
            dropped_lines: report.skipped.len(),
            train_documents: splits.train.len(),
            validation_documents: splits.validation.len(),
            test_documents: splits.test.len(),
            vocabulary: tokenizer.facts().size,
            generator_entropy_nats_per_word: entropy_nats_per_word,
        };
        let set = DataSet {
            digest: digest(&[&train, &validation, &test]),
            tokenizer: tokenizer.clone(),
            train,
            validation: validation.clone(),
            test: test.clone(),
            sequence_length: baseline.sequence_length,
            evaluation_length: baseline.sequence_length,
            curation,
            comparable: true,
        };
        Ok(DataStore {
            base,
            plugins: plugins.clone(),
            corpora: HashMap::from([(key(&baseline.source), Arc::new(splits.clone()))]),
            sets: HashMap::from([(key(baseline), set.clone())]),
            baseline: Baseline {
                recipe: baseline.clone(),
                tokenizer,
                validation,
                test,
                held_out: [splits.validation, splits.test],
                facts,
                set,
            },
        })
    }

    /// Facts about the baseline's corpus.
    pub fn facts(&self) -> &CorpusFacts {
        &self.baseline.facts
    }

    /// The baseline's data.
    pub fn baseline(&self) -> &DataSet {
        &self.baseline.set
    }

    /// The data of an arm with these settings; prepared on the first call, shared afterwards.
    ///
    /// # Errors
    /// As [`DataStore::new`]; also when the arm changes what is held out.
    pub fn get(&mut self, data: &recipe::Data) -> Result<DataSet> {
        if let Some(set) = self.sets.get(&key(data)) {
            return Ok(set.clone());
        }
        let set = self.prepare(data)?;
        self.sets.insert(key(data), set.clone());
        Ok(set)
    }

    fn prepare(&mut self, data: &recipe::Data) -> Result<DataSet> {
        if data.split != self.baseline.recipe.split {
            return Err(ExperimentError::Recipe(
                "an intervention changes data.split, but all arms must be measured on the same held-out documents; change it for the whole \
                 pipeline instead"
                    .to_owned(),
            ));
        }
        let splits = match self.corpora.get(&key(&data.source)) {
            Some(splits) => splits.clone(),
            None => {
                // The split goes by the text's hash, so a document that the baseline holds out is held
                // out of any other source too.
                let corpus = read(&source(&data.source)?, &self.base)?;
                let splits = split(corpus.documents, data.split.validation, data.split.test)?;
                let splits = Arc::new(splits);
                self.corpora.insert(key(&data.source), splits.clone());
                splits
            }
        };
        let (documents, curation) =
            curation::apply(splits.train.clone(), &data.curate, &self.plugins)?;
        let same_tokenizer = data.tokenizer == self.baseline.recipe.tokenizer;
        let (tokenizer, validation, test) = if same_tokenizer {
            (
                self.baseline.tokenizer.clone(),
                self.baseline.validation.clone(),
                self.baseline.test.clone(),
            )
        } else {
            let own = tokenizer(&data.tokenizer, &documents)?;
            let [validation, test] = &self.baseline.held_out;
            let validation = TokenizedCorpus::new(&own, validation)?;
            let test = TokenizedCorpus::new(&own, test)?;
            (Arc::new(own), Arc::new(validation), Arc::new(test))
        };
        let train = Arc::new(TokenizedCorpus::new(&tokenizer, &documents)?);
        Ok(DataSet {
            digest: digest(&[&train, &validation, &test]),
            tokenizer,
            train,
            validation,
            test,
            sequence_length: data.sequence_length,
            evaluation_length: self.baseline.recipe.sequence_length,
            curation,
            comparable: same_tokenizer,
        })
    }
}

fn key(value: &impl serde::Serialize) -> String {
    // Recipe values always serialize; the fallback only loses the sharing.
    serde_json::to_string(value).unwrap_or_default()
}

pub(crate) fn source(source: &recipe::Source) -> Result<ablate_datasets::Source> {
    serde_json::to_value(source)
        .and_then(serde_json::from_value)
        .map_err(|e| ExperimentError::Recipe(format!("data.source: {e}")))
}

fn tokenizer(settings: &recipe::Tokenizer, train: &[Document]) -> Result<Tokenizer> {
    Ok(match settings {
        recipe::Tokenizer::Wordpiece {
            vocab_size,
            lowercase,
        } => Tokenizer::train(train, *vocab_size, *lowercase)?,
        recipe::Tokenizer::File(path) => Tokenizer::load(path)?,
    })
}

fn digest(corpora: &[&TokenizedCorpus]) -> String {
    let mut hash = Sha256::new();
    for corpus in corpora {
        hash.update((corpus.tokens().len() as u64).to_le_bytes());
        hash.update((corpus.sentence_count() as u64).to_le_bytes());
        for id in corpus.tokens() {
            hash.update(id.to_le_bytes());
        }
    }
    hex(&hash.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
