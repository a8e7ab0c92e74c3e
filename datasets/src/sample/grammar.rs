//! The grammar of the sample corpus: sentences, discourse, probabilities and their entropy.
//!
//! A document tells of two people of one topic. It opens with their meeting; then sentences follow in
//! a fixed round of four moves, two a sentence (a wish and a fact, a deed and a saying), each move in
//! one of two wordings; it closes with their parting. Every move's first noun is, more often than not,
//! the last noun of the move before.
//!
//! Every choice is of one of two kinds, both with an entropy that does not depend on what was chosen
//! before: uniform over `n`, or a *habit*: one usual outcome with probability `p`, else uniform over
//! the other `n - 1`. And every choice can be read off the text. So the entropy of a document is the
//! sum over its choices, without any table of marginals.

use ablate_random::Reader;

use super::lexicon::{capitalised, Lexicon, Topic, ADJECTIVES, NAMES, NOUNS, PLACES, VERBS};

/// Rounds of four moves are 5 to 9, uniform: about 200 words, more than one sequence of 128 holds, so
/// that most sequences are full.
const ROUNDS: std::ops::RangeInclusive<usize> = 5..=9;
/// A noun comes with its usual adjective.
const USUAL_ADJECTIVE: f64 = 0.85;
/// A noun does what it usually does.
const USUAL_VERB: f64 = 0.8;
/// A verb has its usual object.
const USUAL_OBJECT: f64 = 0.75;
/// A person is where that person usually is.
const USUAL_PLACE: f64 = 0.85;
/// A move takes up the last noun of the one before.
const TAKEN_UP: f64 = 0.7;
/// A move is worded the first way.
const FIRST_WORDING: f64 = 0.6;
/// A move is about the first of the two people.
const FIRST_PERSON: f64 = 0.6;

/// A document and what it cost.
pub(super) struct Made {
    pub topic: usize,
    pub text: String,
    /// Minus the logarithm of the probability of all choices, in nats.
    #[cfg_attr(not(test), allow(dead_code))]
    pub surprisal: f64,
    /// Words, full stops and commas.
    #[cfg_attr(not(test), allow(dead_code))]
    pub words: usize,
}

/// Draws choices and keeps the account of their surprisal.
struct Draw {
    random: Reader,
    surprisal: f64,
}

impl Draw {
    fn uniform(&mut self, n: usize) -> usize {
        self.surprisal += (n as f64).ln();
        self.random.below(n as u32) as usize
    }

    fn habit(&mut self, usual: usize, p: f64, n: usize) -> usize {
        if self.random.uniform_f64() < p {
            self.surprisal -= p.ln();
            return usual;
        }
        self.surprisal -= ((1.0 - p) / (n - 1) as f64).ln();
        let other = self.random.below(n as u32 - 1) as usize;
        other + usize::from(other >= usual)
    }

    fn first(&mut self, p: f64) -> bool {
        self.habit(0, p, 2) == 0
    }
}

/// Entropy of a habit.
fn habit(p: f64, n: usize) -> f64 {
    -p * p.ln() - (1.0 - p) * ((1.0 - p) / (n - 1) as f64).ln()
}

/// A document in the making.
struct Writer<'a> {
    draw: Draw,
    topic: &'a Topic,
    people: [usize; 2],
    /// The last noun of the move before.
    last: usize,
    text: String,
    words: usize,
}

impl Writer<'_> {
    fn say(&mut self, words: &str) {
        for word in words.split(' ') {
            let begins = self.text.is_empty() || self.text.ends_with('.');
            if !self.text.is_empty() && word != "." && word != "," {
                self.text.push(' ');
            }
            self.text += &if begins {
                capitalised(word)
            } else {
                word.to_owned()
            };
            self.words += 1;
        }
    }

    /// One of the two people; returns which of the topic's.
    fn person(&mut self) -> usize {
        let person = self.people[usize::from(!self.draw.first(FIRST_PERSON))];
        self.name(person);
        person
    }

    fn name(&mut self, person: usize) {
        let topic = self.topic;
        self.say(&topic.names[person]);
    }

    /// A place, the usual one of `person` more often than not.
    fn place(&mut self, person: usize) {
        let place = self.draw.habit(person % PLACES, USUAL_PLACE, PLACES);
        let topic = self.topic;
        self.say(&topic.places[place]);
    }

    /// "adjective noun".
    fn phrase(&mut self, noun: usize) {
        let usual = noun % ADJECTIVES;
        let adjective = self.draw.habit(usual, USUAL_ADJECTIVE, ADJECTIVES);
        let topic = self.topic;
        self.say(&topic.adjectives[adjective]);
        self.noun(noun);
    }

    fn noun(&mut self, noun: usize) {
        let topic = self.topic;
        self.say(&topic.nouns[noun]);
        self.last = noun;
    }

    /// The noun that a move is about.
    fn subject(&mut self) -> usize {
        self.draw.habit(self.last, TAKEN_UP, NOUNS)
    }

    /// The verb of `noun`, said; returns which.
    fn verb(&mut self, noun: usize) -> usize {
        let verb = self.draw.habit(noun % VERBS, USUAL_VERB, VERBS);
        let topic = self.topic;
        self.say(&topic.verbs[verb]);
        verb
    }

    fn object(&mut self, verb: usize) -> usize {
        // Any fixed one-to-one map from verbs to nouns.
        self.draw.habit(verb + 1, USUAL_OBJECT, NOUNS)
    }

    /// The word that tells which of the two wordings a move has.
    fn wording(&mut self, first: &str, second: &str) {
        let word = if self.draw.first(FIRST_WORDING) {
            first
        } else {
            second
        };
        self.say(word);
    }

    fn opening(&mut self) {
        self.say("in");
        self.place(self.people[0]);
        self.name(self.people[0]);
        self.say("met");
        self.name(self.people[1]);
        self.say("with");
        let noun = self.last;
        self.phrase(noun);
        self.say(".");
    }

    fn wish(&mut self) {
        self.person();
        self.wording("wanted", "sought");
        let noun = self.subject();
        self.phrase(noun);
        self.say(",");
    }

    fn fact(&mut self) {
        self.wording("often", "always");
        let subject = self.subject();
        self.phrase(subject);
        let verb = self.verb(subject);
        let object = self.object(verb);
        self.phrase(object);
        self.say(".");
    }

    fn deed(&mut self) {
        self.wording("then", "later");
        let person = self.person();
        self.say("took");
        let noun = self.subject();
        self.noun(noun);
        self.say("to");
        self.place(person);
        self.say(",");
    }

    fn saying(&mut self) {
        self.person();
        self.wording("said", "knew");
        let subject = self.subject();
        self.noun(subject);
        let verb = self.verb(subject);
        let object = self.object(verb);
        self.noun(object);
        self.say(".");
    }

    fn closing(&mut self) {
        self.say("finally");
        self.name(self.people[0]);
        self.say("and");
        self.name(self.people[1]);
        self.say("left");
        self.place(self.people[0]);
        self.say("with");
        let noun = self.subject();
        self.phrase(noun);
        self.say(".");
    }
}

/// One sound document.
pub(super) fn document(lexicon: &Lexicon, random: Reader) -> Made {
    let mut draw = Draw {
        random,
        surprisal: 0.0,
    };
    let topic = draw.uniform(lexicon.topics.len());
    let hero = draw.uniform(NAMES);
    // Another than the hero: step over.
    let other = draw.uniform(NAMES - 1);
    let other = other + usize::from(other >= hero);
    let rounds = ROUNDS.start() + draw.uniform(ROUNDS.count());
    let last = draw.uniform(NOUNS);
    let mut writer = Writer {
        draw,
        topic: &lexicon.topics[topic],
        people: [hero, other],
        last,
        text: String::new(),
        words: 0,
    };
    writer.opening();
    for _ in 0..rounds {
        writer.wish();
        writer.fact();
        writer.deed();
        writer.saying();
    }
    writer.closing();
    Made {
        topic,
        text: writer.text,
        surprisal: writer.draw.surprisal,
        words: writer.words,
    }
}

/// A document of words drawn at random from all topics, in sentences of eight.
pub(super) fn noise(lexicon: &Lexicon, mut random: Reader) -> String {
    let mut text = String::new();
    let mut below = |n: usize| random.below(n as u32) as usize;
    for sentence in 0..4 + below(8) {
        for i in 0..8 {
            let topic = &lexicon.topics[below(lexicon.topics.len())];
            let pools = [&topic.nouns, &topic.verbs, &topic.adjectives, &topic.places];
            let pool = pools[below(pools.len())];
            let word = &pool[below(pool.len())];
            if sentence + i > 0 {
                text.push(' ');
            }
            text += &if i == 0 {
                capitalised(word)
            } else {
                word.clone()
            };
        }
        text.push('.');
    }
    text
}

fn expected_rounds() -> f64 {
    (ROUNDS.start() + ROUNDS.end()) as f64 / 2.0
}

/// Entropy of a sound document in nats: the writer's choices, move by move.
pub(super) fn expected_entropy(topics: usize) -> f64 {
    let ln = |n: usize| (n as f64).ln();
    let phrase = habit(USUAL_ADJECTIVE, ADJECTIVES);
    let place = habit(USUAL_PLACE, PLACES);
    let person = habit(FIRST_PERSON, 2);
    let wording = habit(FIRST_WORDING, 2);
    let subject = habit(TAKEN_UP, NOUNS);
    let verb = habit(USUAL_VERB, VERBS);
    let object = habit(USUAL_OBJECT, NOUNS);

    let plan = ln(topics) + ln(NAMES) + ln(NAMES - 1) + ln(ROUNDS.count()) + ln(NOUNS);
    let opening = place + phrase;
    let wish = wording + person + subject + phrase;
    let fact = wording + subject + phrase + verb + object + phrase;
    let deed = wording + person + subject + place;
    let saying = wording + person + subject + verb + object;
    let closing = place + subject + phrase;
    plan + opening + expected_rounds() * (wish + fact + deed + saying) + closing
}

/// Expected words of a sound document, full stops and commas counted.
pub(super) fn expected_words() -> f64 {
    let (opening, closing) = (9.0, 10.0);
    let (wish, fact, deed, saying) = (5.0, 7.0, 7.0, 6.0);
    opening + expected_rounds() * (wish + fact + deed + saying) + closing
}

#[cfg(test)]
mod tests {
    use ablate_random::Stream;

    use super::*;

    fn made(n: u64, topics: usize) -> Vec<Made> {
        let lexicon = Lexicon::new(3, topics);
        (0..n)
            .map(|i| document(&lexicon, Stream::new(3, "data").child(i).reader()))
            .collect()
    }

    #[test]
    fn expectations_are_those_of_many_documents() {
        let n = 20_000;
        let made = made(n, 7);
        let entropy = made.iter().map(|m| m.surprisal).sum::<f64>() / n as f64;
        let words = made.iter().map(|m| m.words).sum::<usize>() as f64 / n as f64;
        // Standard errors, mostly from the number of rounds, are 0.2 nats and 0.4 words.
        assert!((entropy - expected_entropy(7)).abs() < 0.8, "{entropy}");
        assert!((words - expected_words()).abs() < 1.5, "{words}");
        // The ratio, where the rounds cancel, is far sharper.
        let (found, expected) = (entropy / words, expected_entropy(7) / expected_words());
        assert!((found - expected).abs() < 2e-3, "{found} {expected}");
    }

    #[test]
    fn words_are_counted_as_a_tokenizer_would() {
        for m in made(50, 3) {
            let spaced = m.text.replace('.', " .").replace(',', " ,");
            assert_eq!(spaced.split_whitespace().count(), m.words, "{}", m.text);
        }
    }

    /// The entropy is that of the text only if every choice shows in it: topic, people and rounds are
    /// read back here, the words of the sentences show their choices by themselves.
    #[test]
    fn the_plan_can_be_read_off_the_text() {
        let lexicon = Lexicon::new(3, 7);
        for m in made(200, 7) {
            let t = &lexicon.topics[m.topic];
            let first = m.text.split('.').next().unwrap_or_default();
            let words: Vec<&str> = first.split(' ').filter(|w| !w.is_empty()).collect();
            assert_eq!(words[0], "In");
            assert!(t.places.iter().any(|p| p == words[1]));
            assert!(t.names.iter().any(|p| p == words[2]));
            assert!(t.names.iter().any(|p| p == words[4]) && words[4] != words[2]);
            assert!(t.adjectives.iter().any(|p| p == words[6]));
            let sentences = m.text.matches('.').count();
            assert!((12..=20).contains(&sentences) && sentences % 2 == 0);
            for (i, o) in lexicon
                .topics
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != m.topic)
            {
                assert!(
                    !o.nouns.iter().any(|n| m.text.contains(&format!(" {n} "))),
                    "{i}"
                );
            }
        }
    }

    #[test]
    fn habits_have_the_entropy_that_is_claimed() {
        assert!((habit(0.5, 2) - 2f64.ln()).abs() < 1e-12);
        assert!((habit(0.25, 4) - 4f64.ln()).abs() < 1e-12);
        let mut draw = Draw {
            random: Stream::new(1, "data").reader(),
            surprisal: 0.0,
        };
        let n = 100_000;
        let usual = (0..n).filter(|_| draw.habit(2, 0.7, 5) == 2).count();
        assert!((usual as f64 / f64::from(n) - 0.7).abs() < 0.01);
        assert!((draw.surprisal / f64::from(n) - habit(0.7, 5)).abs() < 0.01);
    }
}
