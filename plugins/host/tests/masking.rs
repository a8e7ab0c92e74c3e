//! What the data hooks of the built-in objectives do to batches: shares, budgets, words and spans,
//! schedules, held-out batches, and several objectives on one batch.

mod common;

use std::sync::Arc;

use ablate_host::{ObjectivePlugin, Registry};
use ablate_train::window::{label, Labelled};
use ablate_train::{
    Asks, Feature, Objective, Place, PreparedBatch, Setup, Split, VocabularyFacts, IGNORED,
};
use common::{batch, facts, MASK, SPECIAL, VOCAB};
use serde_json::{json, Value};

fn objective(name: &str, config: Value) -> ObjectivePlugin {
    Registry::with_builtins()
        .unwrap()
        .make_objective(name, &config)
        .unwrap()
}

fn boxed(name: &str, config: Value) -> Box<dyn Objective> {
    Box::new(objective(name, config))
}

/// Every third ordinary token continues a word.
fn continues(id: i64) -> bool {
    id > 4 && id % 3 == 0
}

/// As [`batch`], with words of several pieces.
fn words(rows: usize, length: usize, seq: usize, seed: u64) -> PreparedBatch {
    PreparedBatch {
        vocabulary: Arc::new(VocabularyFacts {
            continuation: (0..VOCAB as i64).map(continues).collect(),
            ..facts()
        }),
        ..batch(rows, rows + 1, length, seq, seed)
    }
}

fn prepared(name: &str, config: Value, mut batch: PreparedBatch) -> (PreparedBatch, f64) {
    let units = objective(name, config).prepare(&mut batch).unwrap();
    (batch, units)
}

fn labels(batch: &PreparedBatch) -> &[i64] {
    let feature = batch.features.values().next().unwrap();
    let (Feature::PerToken(labels) | Feature::PerSequence(labels)) = feature;
    labels
}

fn hidden(labels: &[i64]) -> Vec<bool> {
    labels.iter().map(|label| *label != IGNORED).collect()
}

/// Words of a row, as runs of first piece and continuations between special tokens.
fn runs(original: &PreparedBatch, row: usize) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for i in row * original.seq..(row + 1) * original.seq {
        if original.special_tokens_mask[i] {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == i && continues(original.input_ids[i]) => run.end = i + 1,
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

/// What must hold whatever is hidden: labels are the tokens that were there, everything else is as it
/// was, special tokens and padding are left alone.
fn check_labels(original: &PreparedBatch, after: &PreparedBatch) {
    for (i, label) in labels(after).iter().enumerate() {
        let (old, new) = (original.input_ids[i], after.input_ids[i]);
        if *label == IGNORED {
            assert_eq!(old, new);
        } else {
            assert!(!original.special_tokens_mask[i] && original.attention_mask[i] == 1);
            assert_eq!(*label, old);
            assert!(new == MASK || !SPECIAL.contains(&new), "{new}");
        }
    }
}

#[test]
fn whole_words_are_hidden_whole_by_one_coin() {
    let original = words(300, 60, 64, 1);
    let (after, units) = prepared("mlm", json!({"unit": "whole_word"}), original.clone());
    check_labels(&original, &after);
    let chosen = hidden(labels(&after));
    let (mut all, mut taken, mut long) = (0.0, 0.0, 0);
    for run in (0..300).flat_map(|row| runs(&original, row)) {
        let inside = chosen[run.clone()].iter().filter(|c| **c).count();
        assert!(
            inside == 0 || inside == run.len(),
            "a word is hidden in part"
        );
        all += 1.0;
        taken += f64::from(u8::from(inside > 0));
        long += usize::from(run.len() > 1);
    }
    // About 11600 words: the standard deviation is 0.0033.
    let share: f64 = taken / all;
    assert!((share - 0.15).abs() < 0.014, "{share}");
    assert!(long > 2000, "{long} words of several pieces");
    assert_eq!(units, chosen.iter().filter(|c| **c).count() as f64);
}

#[test]
fn exact_whole_words_keep_googles_budget() {
    let original = words(200, 60, 64, 2);
    let config = json!({"unit": "whole_word", "selection": "exact"});
    let (after, _) = prepared("mlm", config, original.clone());
    check_labels(&original, &after);
    let chosen = hidden(labels(&after));
    let mut full = 0;
    for row in 0..200 {
        let count = chosen[row * 64..][..64].iter().filter(|c| **c).count();
        // round(0.15 * 60) tokens; there is nearly always a word of one token to fill up with.
        assert!(count <= 9, "{count}");
        full += usize::from(count == 9);
        for run in runs(&original, row) {
            let inside = chosen[run.clone()].iter().filter(|c| **c).count();
            assert!(inside == 0 || inside == run.len());
        }
    }
    assert!(full > 190, "{full} of 200 rows use up their budget");
}

#[test]
fn spans_are_whole_words_of_geometric_length_within_the_budget() {
    let original = words(400, 120, 128, 3);
    let config = json!({"unit": "span"});
    let (after, _) = prepared("mlm", config, original.clone());
    check_labels(&original, &after);
    let chosen = hidden(labels(&after));
    let (mut tokens, mut spans, mut words_in_spans) = (0, 0, 0);
    let (mut mask, mut kept, mut whole) = (0.0, 0.0, 0.0);
    for row in 0..400 {
        let all = runs(&original, row);
        let taken: Vec<bool> = all
            .iter()
            .map(|run| {
                let inside = chosen[run.clone()].iter().filter(|c| **c).count();
                assert!(inside == 0 || inside == run.len());
                inside > 0
            })
            .collect();
        let count = chosen[row * 128..][..128].iter().filter(|c| **c).count();
        assert!(
            (16..=18).contains(&count),
            "{count}: round(0.15 * 120), less a word that does not fit"
        );
        tokens += count;
        // A run of hidden words: one span, or several that touch.
        for (w, run) in all.iter().enumerate().filter(|(w, _)| taken[*w]) {
            words_in_spans += 1;
            if w == 0 || !taken[w - 1] {
                spans += 1;
                let mut end = w;
                while end < all.len() && taken[end] {
                    end += 1;
                }
                let cells = run.start..all[end - 1].end;
                let masked = cells
                    .clone()
                    .filter(|i| after.input_ids[*i] == MASK)
                    .count();
                whole += 1.0;
                mask += f64::from(u8::from(masked == cells.len()));
                let same = cells
                    .clone()
                    .all(|i| after.input_ids[i] == original.input_ids[i]);
                kept += f64::from(u8::from(same));
            }
        }
    }
    assert!(tokens > 400 * 17, "{tokens}");
    // The mean of the distribution is 3.8; the last span of a row is cut by the budget, touching spans
    // are seen as one.
    let mean = f64::from(words_in_spans) / f64::from(spans);
    assert!((2.6..4.4).contains(&mean), "{mean} words a span");
    // A span is replaced as one: 80 % become `[MASK]`s throughout. With a fate for each token it would be
    // half of them.
    assert!((mask / whole - 0.78f64).abs() < 0.06, "{}", mask / whole);
    assert!((kept / whole - 0.1f64).abs() < 0.04, "{}", kept / whole);
}

#[test]
fn lengths_of_spans_can_be_set() {
    let original = words(200, 120, 128, 4);
    let config = json!({"unit": "span", "span": {"p": 1.0}, "max_predictions": 5});
    let (after, _) = prepared("mlm", config, original.clone());
    for row in labels(&after)[..200 * 128].chunks(128) {
        assert!(row.iter().filter(|l| **l != IGNORED).count() <= 5);
    }
    check_labels(&original, &after);
}

#[test]
fn shares_of_replacements_are_those_asked_for() {
    for (mask_rate, random_rate) in [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 0.25)] {
        let original = batch(200, 200, 60, 64, 5);
        let config = json!({"mask_token_rate": mask_rate, "random_token_rate": random_rate});
        let (after, units) = prepared("mlm", config, original.clone());
        let changed = original.input_ids.iter().zip(&after.input_ids);
        let (mut mask, mut other) = (0.0, 0.0);
        for (_, new) in changed.filter(|(old, new)| old != new) {
            mask += f64::from(u8::from(*new == MASK));
            other += f64::from(u8::from(*new != MASK));
        }
        // About 1740 hidden tokens: the standard deviation is at most 0.012. One random token in 45 is
        // the original one.
        assert!((mask / units - mask_rate).abs() < 0.04);
        assert!((other / units - random_rate * 44.0 / 45.0).abs() < 0.04);
    }
}

fn at(place: Place) -> PreparedBatch {
    PreparedBatch {
        place,
        ..batch(200, 200, 60, 64, 6)
    }
}

fn train(step: u64, epoch: u64) -> Place {
    Place {
        split: Split::Train,
        step,
        epoch,
    }
}

fn share(config: &Value, place: Place) -> f64 {
    prepared("mlm", config.clone(), at(place)).1 / (200.0 * 58.0)
}

#[test]
fn a_scheduled_rate_follows_the_step_alone() {
    let config = json!({"mask_rate": {"from": 0.4, "to": 0.1, "steps": 100}});
    for (step, rate) in [(1, 0.4), (51, 0.25), (101, 0.1), (5000, 0.1)] {
        // The standard deviation is 0.0046 at most.
        let found = share(&config, train(step, 3));
        assert!((found - rate).abs() < 0.015, "{found} at step {step}");
    }
    // In any order, again, and by another instance: the same.
    let mut one = objective("mlm", config.clone());
    let of = |o: &mut ObjectivePlugin, step| {
        let mut b = at(train(step, 0));
        o.prepare(&mut b).unwrap();
        b
    };
    let (late, early) = (of(&mut one, 80), of(&mut one, 2));
    let mut two = objective("mlm", config);
    assert_eq!(early, of(&mut two, 2));
    assert_eq!(late, of(&mut two, 80));
    // What a low rate hides, a high rate hides too: arms with other rates share their masks.
    let (few, many) = (hidden(labels(&late)), hidden(labels(&early)));
    assert!(few.iter().zip(&many).all(|(few, many)| *many || !few));
}

#[test]
fn a_rate_by_epochs_stays_within_an_epoch() {
    let config = json!({"mask_rate": {"from": 0.1, "to": 0.3, "epochs": 2}});
    assert_eq!(share(&config, train(1, 1)), share(&config, train(900, 1)));
    assert!((share(&config, train(1, 1)) - 0.2).abs() < 0.015);
    assert!((share(&config, train(1, 9)) - 0.3).abs() < 0.015);
}

#[test]
fn held_out_batches_are_hidden_in_one_way_whatever_training_does() {
    let held_out = |split| Place {
        split,
        step: 0,
        epoch: 0,
    };
    let plain = prepared("mlm", json!({}), at(held_out(Split::Validation))).0;
    for config in [
        json!({"mask_rate": 0.4}),
        json!({"mask_rate": {"from": 0.5, "to": 0.1, "steps": 9}}),
        json!({"unit": "whole_word"}),
        json!({"unit": "span", "mask_token_rate": 1.0, "random_token_rate": 0.0}),
    ] {
        for split in [Split::Validation, Split::Test] {
            let (found, _) = prepared("mlm", config.clone(), at(held_out(split)));
            assert_eq!(found.input_ids, plain.input_ids, "{config}");
            assert_eq!(found.features, plain.features, "{config}");
        }
    }
    let own = json!({"evaluation": {"mask_rate": 0.3}});
    let found = share(&own, held_out(Split::Validation));
    assert!((found - 0.3).abs() < 0.015, "{found}");
}

#[test]
fn replaced_tokens_are_told_from_the_rest() {
    let original = batch(400, 401, 60, 64, 7);
    let (after, units) = prepared("rtd", json!({"replace_rate": 0.2}), original.clone());
    assert_eq!(units, 400.0 * 60.0);
    let mut replaced = 0.0;
    for (i, label) in labels(&after).iter().enumerate() {
        let (old, new) = (original.input_ids[i], after.input_ids[i]);
        match *label {
            IGNORED => assert_eq!((original.attention_mask[i], old), (0, new)),
            label => assert_eq!(label, i64::from(old != new)),
        }
        assert!(old == new || (!original.special_tokens_mask[i] && !SPECIAL.contains(&new)));
        replaced += f64::from(u8::from(*label == 1));
    }
    // 23200 words; one in 45 is replaced by itself. The standard deviation is 0.0026.
    let share: f64 = replaced / (400.0 * 58.0);
    assert!((share - 0.2 * 44.0 / 45.0).abs() < 0.011, "{share}");

    let place = Place {
        split: Split::Validation,
        step: 0,
        epoch: 0,
    };
    let held_out = PreparedBatch { place, ..original };
    let (a, _) = prepared("rtd", json!({"replace_rate": 0.2}), held_out.clone());
    let (b, _) = prepared("rtd", json!({"replace_rate": 0.6}), held_out);
    assert_eq!(a, b);
}

fn together(objectives: &mut [Box<dyn Objective>], batch: PreparedBatch) -> Labelled {
    label(objectives, batch).unwrap()
}

fn of(labelled: &Labelled, objective: usize) -> &[i64] {
    let feature = labelled.features[objective].values().next().unwrap();
    let (Feature::PerToken(labels) | Feature::PerSequence(labels)) = feature;
    labels
}

#[test]
fn replaced_tokens_leave_hidden_ones_alone() {
    let original = batch(100, 101, 60, 64, 8);
    let (alone, _) = prepared("mlm", json!({}), original.clone());
    let mut both = [boxed("mlm", json!({})), boxed("rtd", json!({}))];
    let labelled = together(&mut both, original.clone());
    assert_eq!(of(&labelled, 0), labels(&alone));
    for (i, label) in of(&labelled, 0).iter().enumerate() {
        if *label != IGNORED {
            // As `mlm` left it, and `rtd` does not ask.
            assert_eq!(labelled.batch.input_ids[i], alone.input_ids[i]);
            assert_eq!(of(&labelled, 1)[i], IGNORED);
        }
    }
    let replaced = of(&labelled, 1).iter().filter(|l| **l == 1).count();
    assert!(replaced > 500, "{replaced}");
}

#[test]
fn a_batch_asks_whom_it_asks() {
    let original = batch(60, 61, 60, 64, 9);
    let (alone, _) = prepared("mlm", json!({}), original.clone());
    let both = || [boxed("mlm", json!({})), boxed("rtd", json!({}))];
    let names: Arc<[String]> = vec!["mlm".to_owned()].into();

    // The baseline's questions: as if the other objective were not there.
    let only = PreparedBatch {
        asks: Asks::Only(names.clone()),
        ..original.clone()
    };
    let only = together(&mut both(), only);
    assert_eq!(only.batch.input_ids, alone.input_ids);
    assert_eq!(of(&only, 0), labels(&alone));
    assert!(of(&only, 1).iter().all(|l| *l == IGNORED));
    assert!(only.units[0] > 0.0 && only.units[1] == 0.0);

    // The other one's: prepared as in training, but the first does not count.
    let rest = PreparedBatch {
        asks: Asks::AllBut(names),
        ..original.clone()
    };
    let rest = together(&mut both(), rest);
    let all = together(&mut both(), original);
    assert_eq!(rest.batch.input_ids, all.batch.input_ids);
    assert_eq!(of(&rest, 1), of(&all, 1));
    assert!(of(&rest, 0).iter().all(|l| *l == IGNORED));
    assert_eq!(rest.units, [0.0, all.units[1]]);

    // An objective that finds no labels it could use is absent all the same.
    let mut pairs = [boxed("mlm", json!({})), boxed("sop", json!({}))];
    let lacking = PreparedBatch {
        asks: Asks::Only(vec!["mlm".to_owned()].into()),
        segment_order_label: None,
        ..batch(3, 4, 8, 8, 1)
    };
    let labelled = together(&mut pairs, lacking);
    assert_eq!(of(&labelled, 1), [IGNORED; 4]);
}

#[test]
fn sop_copies_the_labels_of_the_pairs() {
    let mut sop = objective("sop", json!({"weight": 0.5}));
    assert!(sop.needs_ordered_pairs() && !sop.needs_pairs() && sop.weight() == 0.5);
    let mut b = batch(3, 4, 8, 8, 1);
    let error = sop.prepare(&mut b).unwrap_err().to_string();
    assert!(error.contains("no order to predict"), "{error}");
    b.segment_order_label = Some(vec![1, 0, 0, IGNORED]);
    assert_eq!(sop.prepare(&mut b).unwrap(), 3.0);
    assert_eq!(labels(&b), [1, 0, 0, IGNORED]);
}

#[test]
fn simcse_counts_rows_and_changes_nothing() {
    let original = batch(3, 5, 8, 8, 1);
    let (after, units) = prepared("simcse", json!({}), original.clone());
    assert_eq!((units, &after.input_ids), (3.0, &original.input_ids));
    assert_eq!(labels(&after), [0, 0, 0, IGNORED, IGNORED]);
}

fn setup<'a>(names: &'a [String], index: usize, vocabulary: Option<&'a [String]>) -> Setup<'a> {
    Setup {
        objectives: names,
        index,
        hidden_dropout: 0.0,
        attention_dropout: 0.0,
        sequence_length: 32,
        vocabulary,
    }
}

#[test]
fn refusals_of_a_recipe_come_through_the_border() {
    let names = ["rtd", "simcse", "mlm"].map(String::from);
    let refused = |name: &str, index: usize| {
        let made = objective(name, json!({}));
        made.check(&setup(&names, index, None)).unwrap_err()
    };
    let rtd = refused("rtd", 0);
    assert_eq!(rtd.hook, "check");
    assert!(rtd.message.contains("list `rtd` behind `mlm`"), "{rtd}");
    let simcse = refused("simcse", 1);
    assert!(
        simcse.message.contains("`model.bert.dropout` above 0"),
        "{simcse}"
    );
    let tokens = ["[PAD]", "größe"].map(String::from);
    let mlm = objective("mlm", json!({}));
    assert!(mlm.check(&setup(&names, 2, Some(&tokens))).is_ok());
}
