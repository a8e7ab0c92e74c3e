//! Invented words, made of syllables, each used in one role of one topic.

use std::collections::HashSet;

use ablate_random::{Reader, Stream};

/// Nouns of a topic.
pub(super) const NOUNS: usize = 4;
/// Verbs of a topic.
pub(super) const VERBS: usize = 3;
/// Adjectives of a topic.
pub(super) const ADJECTIVES: usize = 3;
/// Places of a topic.
pub(super) const PLACES: usize = 2;
/// People of a topic.
pub(super) const NAMES: usize = 3;

/// All words of a topic. Few, so that a small model meets each often enough to learn it in a few
/// hundred steps: with 46 words in each of 10 topics, two layers of 128 had not left the unigram
/// entropy after 200 steps of 32 sequences.
pub(super) const WORDS_PER_TOPIC: usize = NOUNS + VERBS + ADJECTIVES + PLACES + NAMES;

/// The words of one topic.
pub(super) struct Topic {
    pub nouns: Vec<String>,
    pub verbs: Vec<String>,
    pub adjectives: Vec<String>,
    pub places: Vec<String>,
    pub names: Vec<String>,
}

/// The words of all topics, no word in two of them.
pub(super) struct Lexicon {
    pub topics: Vec<Topic>,
}

impl Lexicon {
    /// The same seed gives the same words; the first topics do not depend on how many follow.
    pub fn new(seed: u64, topics: usize) -> Self {
        let mut random = Stream::new(seed, "data").child(u64::MAX - 1).reader();
        let mut taken = HashSet::new();
        let mut words = |n: usize, ending: &str| -> Vec<String> {
            (0..n)
                .map(|_| fresh(&mut random, &mut taken, ending))
                .collect()
        };
        let topics = (0..topics)
            .map(|_| Topic {
                nouns: words(NOUNS, ""),
                // Endings keep the roles apart, as in a language.
                verbs: words(VERBS, "ate"),
                adjectives: words(ADJECTIVES, "ish"),
                places: words(PLACES, "burg"),
                names: words(NAMES, "o").iter().map(|w| capitalised(w)).collect(),
            })
            .collect();
        Lexicon { topics }
    }
}

/// A word that was not made before.
fn fresh(random: &mut Reader, taken: &mut HashSet<String>, ending: &str) -> String {
    const ONSETS: [&str; 20] = [
        "b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "kl",
        "st", "tr",
    ];
    const VOWELS: [&str; 7] = ["a", "e", "i", "o", "u", "ai", "ou"];
    const CODAS: [&str; 6] = ["n", "r", "l", "m", "k", "t"];
    let one = |random: &mut Reader, of: &[&'static str]| of[random.below(of.len() as u32) as usize];
    // 20 * 7 * 20 * 7 * 6 stems against at most 100 topics of 15: a free one is soon found.
    loop {
        let mut word = String::new();
        for _ in 0..2 {
            word += one(random, &ONSETS);
            word += one(random, &VOWELS);
        }
        word += one(random, &CODAS);
        // Distinct stems, so that endings (`-ate`, `-o`) never make two words equal.
        if taken.insert(word.clone()) {
            return word + ending;
        }
    }
}

/// The word with its first letter in upper case; all letters here are ASCII.
pub(super) fn capitalised(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(first) = word.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_serves_twice_even_at_the_most_topics() {
        let lexicon = Lexicon::new(5, super::super::MAX_TOPICS);
        let mut all = HashSet::new();
        for t in &lexicon.topics {
            let words: Vec<String> = [&t.nouns, &t.verbs, &t.adjectives, &t.places, &t.names]
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            assert_eq!(words.len(), WORDS_PER_TOPIC);
            for word in words {
                assert!(all.insert(word.to_lowercase()), "{word} serves twice");
            }
        }
    }

    #[test]
    fn first_topics_do_not_depend_on_how_many_follow() {
        let (few, many) = (Lexicon::new(1, 2), Lexicon::new(1, 9));
        assert_eq!(few.topics[1].names, many.topics[1].names);
        assert_ne!(few.topics[0].nouns, Lexicon::new(2, 2).topics[0].nouns);
    }
}
