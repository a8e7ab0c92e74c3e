//! The sample corpus: the same everywhere, its parts as asked for, and learnable.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use ablate_datasets::sample::{generate, SampleOptions};
use ablate_datasets::{read, split, ExampleSource, Pairs, Source, TokenizedCorpus, Tokenizer};

#[test]
fn the_card_gives_the_corpus_with_its_copies() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = read(&Source::Path("sample.yaml".into()), folder).unwrap();
    assert_eq!(corpus.documents.len(), 1200);
    assert!(corpus.entropy_nats_per_word.unwrap() > 0.0);
    let of = |kind: &str| {
        let of_kind = corpus.documents.iter().filter(|d| d.id.starts_with(kind));
        of_kind.count()
    };
    assert_eq!((of("topic-"), of("copy-of-"), of("noise/")), (1104, 60, 36));
    let texts: HashSet<&str> = corpus.documents.iter().map(|d| d.text.as_str()).collect();
    assert_eq!(texts.len(), 1140);
}

#[test]
fn a_seed_fixes_every_byte() {
    let options = SampleOptions {
        documents: 50,
        ..SampleOptions::default()
    };
    let first = generate(&options).unwrap().documents;
    assert_eq!(first, generate(&options).unwrap().documents);
    let other = SampleOptions { seed: 2, ..options };
    assert_ne!(first, generate(&other).unwrap().documents);
}

#[test]
fn options_out_of_range_are_named() {
    let ok = SampleOptions::default();
    for (options, named) in [
        (
            SampleOptions {
                documents: 1,
                ..ok.clone()
            },
            "documents is 1",
        ),
        (
            SampleOptions {
                topics: 0,
                ..ok.clone()
            },
            "topics is 0",
        ),
        (
            SampleOptions {
                topics: 101,
                ..ok.clone()
            },
            "topics is 101",
        ),
        (
            SampleOptions {
                noise: -0.1,
                ..ok.clone()
            },
            "noise is -0.1",
        ),
        (
            SampleOptions {
                noise: f64::NAN,
                ..ok.clone()
            },
            "noise is NaN",
        ),
        (
            SampleOptions {
                noise: 0.3,
                duplicates: 0.3,
                ..ok
            },
            "duplicates + noise is 0.6",
        ),
    ] {
        let message = generate(&options).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
    }
}

/// Masked words are predictable from their neighbours, and far more so than from frequency alone:
/// the conditional entropy of a token given the tokens before and after it, estimated with a held-out
/// half so that rare contexts do not flatter it.
#[test]
fn context_tells_much_about_a_word() {
    let documents = generate(&SampleOptions::default()).unwrap();
    let tokenizer = Tokenizer::train(&documents.documents, 4096, true).unwrap();
    let corpus = TokenizedCorpus::new(&tokenizer, &documents.documents).unwrap();
    let unigram = corpus.unigram_entropy();
    let tokens = corpus.tokens();
    let (seen, held_out) = tokens.split_at(tokens.len() / 2);
    let mut counts: HashMap<(u32, u32), HashMap<u32, f64>> = HashMap::new();
    for w in seen.windows(3) {
        *counts
            .entry((w[0], w[2]))
            .or_default()
            .entry(w[1])
            .or_default() += 1.0;
    }
    let size = tokenizer.facts().size as f64;
    let loss: f64 = held_out
        .windows(3)
        .map(|w| {
            // Additive smoothing with a weight of one observation in all.
            let context = counts.get(&(w[0], w[2]));
            let n: f64 = context.map_or(0.0, |c| c.values().sum());
            let k = context.and_then(|c| c.get(&w[1])).copied().unwrap_or(0.0);
            -((k + 1.0 / size) / (n + 1.0)).ln()
        })
        .sum::<f64>()
        / (held_out.len() - 2) as f64;
    println!("unigram {unigram:.3}, given both neighbours {loss:.3} nats");
    assert!(unigram > 4.0, "{unigram}");
    assert!(loss < 0.5 * unigram, "{loss} of {unigram}");
    // And the generator's own bound is lower still.
    assert!(documents.entropy_nats_per_word < loss);
}

/// The label of a pair can be told from its two halves: they share a topic, or do not. (One random
/// pair in five shares it by chance.)
#[test]
fn topics_tell_whether_a_pair_belongs_together() {
    let sample = generate(&SampleOptions::default()).unwrap();
    let splits = split(sample.documents, 0.05, 0.05).unwrap();
    let mut seen = HashSet::new();
    let mut documents = splits.train;
    documents.retain(|d| seen.insert(d.text.clone()));
    let tokenizer = Tokenizer::train(&documents, 4096, true).unwrap();
    // Topics of tokens, from the ids of the documents.
    let mut topics: HashMap<u32, BTreeMap<&str, usize>> = HashMap::new();
    for d in documents.iter().filter(|d| d.id.starts_with("topic-")) {
        let topic = d.id.split('/').next().unwrap();
        for token in tokenizer.encode(&d.text).unwrap() {
            *topics.entry(token).or_default().entry(topic).or_default() += 1;
        }
    }
    let topic_of = |tokens: &[u32]| {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for found in tokens.iter().filter_map(|t| topics.get(t)) {
            if let (1, Some(topic)) = (found.len(), found.keys().next()) {
                *votes.entry(topic).or_default() += 1;
            }
        }
        votes
            .into_iter()
            .max_by_key(|(_, n)| *n)
            .map(|(t, _)| t.to_owned())
    };
    let corpus = Arc::new(TokenizedCorpus::new(&tokenizer, &splits.test).unwrap());
    let source = ExampleSource::new(
        corpus,
        tokenizer.facts().clone(),
        128,
        Pairs::NextSentence,
        1,
    )
    .unwrap();
    let (mut right, mut random, mut total) = (0, 0, 0);
    for epoch in 0..20 {
        for e in source.epoch(epoch) {
            let b = e.token_type_ids.iter().position(|t| *t == 1).unwrap();
            let guess = topic_of(&e.input_ids[..b]) != topic_of(&e.input_ids[b..]);
            right += usize::from(Some(guess) == e.next_sentence_label);
            random += usize::from(e.next_sentence_label == Some(true));
            total += 1;
        }
    }
    let (right, random) = (
        right as f64 / f64::from(total),
        random as f64 / f64::from(total),
    );
    println!("by topic {right:.3} right of {total} pairs, {random:.3} random");
    assert!(right > 0.85, "{right}");
    assert!((0.4..0.6).contains(&random), "{random}");
}
