//! The sample corpus: documents made by a small grammar with topics and discourse, every word of it
//! our own, its entropy known.
//!
//! Owns: the options, which documents there are, copies and noise among them. The words are in
//! `lexicon`, the sentences and their probabilities in `grammar`.
//!
//! What a model can learn here, from easy to hard: which words are frequent; which belong to a topic
//! (each has its own nouns, verbs, adjectives, places and names); the order of words and sentences;
//! collocations (a noun's usual adjective, a verb's usual object, a person's usual place);
//! which two people a document is about; and that a sentence takes up the noun that the one before
//! ended with. Two sentences of one document share topic and people, two of different ones mostly
//! neither, so that sentence pairs are learnable, too.

mod grammar;
mod lexicon;

use ablate_random::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DataError, Document, Result};

/// Options of the generator, as `generator:` of a card has them. The same options give the same
/// corpus on every machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampleOptions {
    /// Seed of the stream "data".
    pub seed: u64,
    /// Documents, copies and noise included.
    #[schemars(range(min = 2, max = 10_000_000))]
    pub documents: usize,
    /// Topics; each brings [`sample_words_per_topic`] words of its own.
    #[schemars(range(min = 1, max = 100))]
    pub topics: usize,
    /// Share of documents that repeat another document word for word.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub duplicates: f64,
    /// Share of documents whose words are drawn at random from all topics.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub noise: f64,
}

impl Default for SampleOptions {
    fn default() -> Self {
        SampleOptions {
            seed: 1,
            documents: 1200,
            topics: 5,
            duplicates: 0.05,
            noise: 0.03,
        }
    }
}

impl SampleOptions {
    /// Checks the options' ranges.
    ///
    /// # Errors
    ///
    /// Fewer than 2 documents, topics outside `1..=100`, shares that are no shares or leave less than
    /// half of the corpus sound.
    pub fn validate(&self) -> Result<()> {
        let wrong = |option, found: String, expected| {
            Err(DataError::Sample {
                option,
                found,
                expected,
            })
        };
        if !(2..=10_000_000).contains(&self.documents) {
            let found = self.documents.to_string();
            return wrong("documents", found, "2 to 10000000");
        }
        if !(1..=MAX_TOPICS).contains(&self.topics) {
            return wrong("topics", self.topics.to_string(), "1 to 100");
        }
        for (option, share) in [("duplicates", self.duplicates), ("noise", self.noise)] {
            if !(0.0..=0.5).contains(&share) {
                return wrong(option, share.to_string(), "0 to 0.5");
            }
        }
        if self.duplicates + self.noise > 0.5 {
            let found = (self.duplicates + self.noise).to_string();
            return wrong("duplicates + noise", found, "at most 0.5");
        }
        Ok(())
    }
}

/// Most topics that the lexicon has distinct words for.
const MAX_TOPICS: usize = 100;

/// Words that belong to one topic alone, all forms counted.
pub fn sample_words_per_topic() -> usize {
    lexicon::WORDS_PER_TOPIC
}

/// A generated corpus.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The documents. Ids tell the kind: `topic-3/12`, `copy-of-topic-3/12/40`, `noise/41`.
    pub documents: Vec<Document>,
    /// [`entropy_nats_per_word`].
    pub entropy_nats_per_word: f64,
}

/// Makes the corpus.
///
/// # Errors
///
/// As [`SampleOptions::validate`].
pub fn generate(options: &SampleOptions) -> Result<Sample> {
    options.validate()?;
    let lexicon = lexicon::Lexicon::new(options.seed, options.topics);
    let stream = Stream::new(options.seed, "data");
    let share = |part: f64| (part * options.documents as f64).round() as usize;
    let (copies, noisy) = (share(options.duplicates), share(options.noise));
    let sound = options.documents - copies - noisy;

    let mut documents: Vec<Document> = (0..sound)
        .map(|i| {
            let made = grammar::document(&lexicon, stream.child(i as u64).reader());
            Document {
                id: format!("topic-{}/{i}", made.topic),
                text: made.text,
            }
        })
        .collect();
    for i in sound..sound + copies {
        let mut random = stream.child(i as u64).reader();
        let original = &documents[random.below(sound as u32) as usize];
        let copy = Document {
            id: format!("copy-of-{}/{i}", original.id),
            text: original.text.clone(),
        };
        documents.push(copy);
    }
    for i in sound + copies..options.documents {
        documents.push(Document {
            id: format!("noise/{i}"),
            text: grammar::noise(&lexicon, stream.child(i as u64).reader()),
        });
    }
    // A copy next to its original, or all noise at the end, would be no corpus as one meets them.
    stream.child(u64::MAX).reader().shuffle(&mut documents);
    Ok(Sample {
        documents,
        entropy_nats_per_word: entropy_nats_per_word(options.topics),
    })
}

/// Entropy of a sound document per word, full stops and commas counted as words, in nats: of all the
/// generator's choices, of which every one can be read off the text, divided by the expected number of
/// words (both expectations in closed form).
///
/// It is what a model that reads from left to right reaches at best. A model that sees both sides of
/// a single hidden word reaches at best this or less, since the entropies of each word given all
/// others add up to at most the entropy of the text.
pub fn entropy_nats_per_word(topics: usize) -> f64 {
    grammar::expected_entropy(topics) / grammar::expected_words()
}
