//! The built-in stopping rules: when they hold, when not, and that saving forgets nothing.

use ablate_host::{Registry, StoppingRulePlugin};
use ablate_train::{Decision, Event, Split, StoppingRule};
use serde_json::{json, Value};

fn rule(name: &str, config: Value) -> StoppingRulePlugin {
    Registry::with_builtins()
        .unwrap()
        .make_stopping_rule(name, &config)
        .unwrap()
}

fn at(rule: &mut StoppingRulePlugin, step: u64, split: Split, metrics: &[(&str, f64)]) -> Decision {
    rule.observe(&Event {
        step,
        tokens: step * 100,
        flops: step as f64 * 1e9,
        seconds: step as f64 * 0.5,
        split,
        metrics,
    })
    .unwrap()
}

fn train(rule: &mut StoppingRulePlugin, step: u64, loss: f64) -> Decision {
    at(
        rule,
        step,
        Split::Train,
        &[("loss", loss), ("grad_norm", 1.0)],
    )
}

/// The step at which a rule ends a run of training losses, with its decision.
fn end(
    rule: &mut StoppingRulePlugin,
    losses: impl IntoIterator<Item = f64>,
) -> Option<(u64, Decision)> {
    losses.into_iter().zip(1..).find_map(|(loss, step)| {
        let decision = train(rule, step, loss);
        (decision != Decision::Continue).then_some((step, decision))
    })
}

#[test]
fn max_steps_counts_training_steps() {
    let mut rule = rule("max_steps", json!({"steps": 3}));
    assert_eq!(at(&mut rule, 7, Split::Validation, &[]), Decision::Continue);
    let stopped = Decision::Stop {
        reason: "3 steps are done".into(),
    };
    assert_eq!(end(&mut rule, [1.0; 5]), Some((3, stopped)));
}

#[test]
fn budgets_end_with_the_first_step_that_reaches_them() {
    for (name, config, last, reason) in [
        (
            "max_tokens",
            json!({"tokens": 250}),
            3,
            "300 tokens are trained on, the budget was 250",
        ),
        (
            "max_flops",
            json!({"flops": 4e9}),
            4,
            "4.000e9 floating-point operations are spent, the budget was 4.000e9",
        ),
        (
            "max_seconds",
            json!({"seconds": 0.75}),
            2,
            "1.0 s have passed, the budget was 0.75 s",
        ),
    ] {
        let mut budget = rule(name, config);
        // Evaluations spend nothing, and end nothing.
        assert_eq!(
            at(&mut budget, 9, Split::Validation, &[]),
            Decision::Continue
        );
        let reason = reason.to_owned();
        assert_eq!(
            end(&mut budget, [1.0; 9]),
            Some((last, Decision::Stop { reason }))
        );
    }
}

#[test]
fn converged_stops_when_two_windows_are_level() {
    let config = json!({"window": 4, "tolerance": 0.01});
    let falling = (0..40).map(|t| 0.98f64.powi(t));
    assert_eq!(
        end(&mut rule("converged", config.clone()), falling.clone()),
        None
    );
    let level = falling.take(10).chain(std::iter::repeat_n(0.8, 20));
    let (step, decision) = end(&mut rule("converged", config.clone()), level).unwrap();
    // The older window must be past the fall: steps 11 to 14 and 15 to 18, or a little before.
    assert!((15..=18).contains(&step), "{step}");
    assert!(matches!(decision, Decision::Stop { reason } if reason.contains("mean training loss")));
    // A rising loss has converged too; NaN never has.
    assert!(end(
        &mut rule("converged", config.clone()),
        (0..8).map(f64::from)
    )
    .is_some());
    assert_eq!(end(&mut rule("converged", config), [f64::NAN; 50]), None);
}

#[test]
fn patience_waits_for_the_validation_metric() {
    let mut patience = rule("patience", json!({"evaluations": 2, "min_delta": 0.1}));
    let mut see = |step, loss| at(&mut patience, step, Split::Validation, &[("loss", loss)]);
    assert_eq!(see(10, 3.0), Decision::Continue);
    assert_eq!(see(20, 2.95), Decision::Continue); // too little: one
    assert_eq!(see(30, 2.5), Decision::Continue); // better
    assert_eq!(see(40, f64::NAN), Decision::Continue); // one
    let Decision::Stop { reason } = see(50, 2.45) else {
        panic!("did not stop")
    };
    assert!(reason.contains("2.5000 of step 30"), "{reason}");
    // Training events do not count.
    let mut patience = rule("patience", json!({"evaluations": 1}));
    assert_eq!(end(&mut patience, [1.0, 2.0, 3.0]), None);
}

#[test]
fn patience_takes_accuracies_upwards_and_names_missing_metrics() {
    let mut patience = rule(
        "patience",
        json!({"evaluations": 1, "metric": "mlm_accuracy"}),
    );
    let see = |rule: &mut _, x| at(rule, 1, Split::Validation, &[("mlm_accuracy", x)]);
    assert_eq!(see(&mut patience, 0.1), Decision::Continue);
    assert_eq!(see(&mut patience, 0.2), Decision::Continue);
    assert!(matches!(see(&mut patience, 0.15), Decision::Stop { .. }));
    let event = Event {
        step: 1,
        tokens: 1,
        flops: 0.0,
        seconds: 0.0,
        split: Split::Validation,
        metrics: &[("loss", 1.0), ("mlm_loss", 1.0)],
    };
    let error = patience.observe(&event).unwrap_err().to_string();
    assert!(
        error.contains("no metric `mlm_accuracy`") && error.contains("loss, mlm_loss"),
        "{error}"
    );
}

#[test]
fn target_loss_watches_one_split() {
    let mut target = rule("target_loss", json!({"loss": 1.5}));
    assert_eq!(end(&mut target, [1.0]), None);
    assert_eq!(
        at(&mut target, 1, Split::Validation, &[("loss", f64::NAN)]),
        Decision::Continue
    );
    assert_eq!(
        at(&mut target, 1, Split::Validation, &[("loss", 1.6)]),
        Decision::Continue
    );
    assert!(matches!(
        at(&mut target, 1, Split::Validation, &[("loss", 1.5)]),
        Decision::Stop { .. }
    ));
    let mut target = rule("target_loss", json!({"loss": 1.5, "split": "train"}));
    assert_eq!(end(&mut target, [2.0, 1.4]).map(|e| e.0), Some(2));
}

#[test]
fn diverged_tells_what_it_saw() {
    let config = json!({"factor": 2.0, "window": 3});
    // Not finite, in any loss of any split.
    for (split, metrics) in [
        (Split::Train, [("loss", f64::NAN), ("grad_norm", 1.0)]),
        (Split::Train, [("loss", 1.0), ("grad_norm", f64::INFINITY)]),
        (Split::Validation, [("loss", 1.0), ("nsp_loss", f64::NAN)]),
    ] {
        let mut diverged = rule("diverged", config.clone());
        assert_eq!(end(&mut diverged, [4.0, 3.5]), None);
        let Decision::Abort { diagnosis } = at(&mut diverged, 3, split, &metrics) else {
            panic!("went on")
        };
        assert!(
            diagnosis.contains("3.5000 at step 2") && diagnosis.contains("learning rate"),
            "{diagnosis}"
        );
    }
    // Blown up, but finite: the mean of three must exceed twice the best mean.
    let losses = [4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 5.0, 8.0, 9.0];
    let (step, decision) = end(&mut rule("diverged", config.clone()), losses).unwrap();
    assert!(
        step == 9 && matches!(decision, Decision::Abort { .. }),
        "{step}"
    );
    // One spike is none.
    assert_eq!(
        end(
            &mut rule("diverged", config),
            [4.0, 4.0, 4.0, 9.0, 4.0, 4.0, 4.0]
        ),
        None
    );
}

/// A rule that is saved and loaded into a new instance decides exactly as one that went on.
#[test]
fn saved_rules_go_on_as_if_never_interrupted() {
    let losses: Vec<f64> = (0..60)
        .map(|t| 3.0 * 0.9f64.powi(t.min(25)) + 0.1 * f64::from(t % 7) / 7.0)
        .collect();
    for (name, config) in [
        ("max_steps", json!({"steps": 41})),
        ("max_tokens", json!({"tokens": 4100})),
        ("max_flops", json!({"flops": 4.1e10})),
        ("max_seconds", json!({"seconds": 20.2})),
        ("converged", json!({"window": 10, "tolerance": 0.02})),
        ("patience", json!({"evaluations": 4})),
        ("target_loss", json!({"loss": 0.4})),
        ("diverged", json!({"factor": 1.05, "window": 5})),
    ] {
        let mut ended = false;
        for cut in [0, 1, 7, 23, 40] {
            let (mut whole, mut part) = (rule(name, config.clone()), rule(name, config.clone()));
            for (i, loss) in losses.iter().enumerate() {
                if i == cut {
                    let state = part.save().unwrap();
                    part = rule(name, config.clone());
                    part.load(&state).unwrap();
                    assert_eq!(part.save().unwrap(), state, "{name}");
                }
                for split in [Split::Train, Split::Validation] {
                    let metrics = [("loss", *loss), ("grad_norm", loss * 2.0)];
                    let step = i as u64 + 1;
                    let decision = at(&mut whole, step, split, &metrics);
                    assert_eq!(
                        decision,
                        at(&mut part, step, split, &metrics),
                        "{name} at {step}"
                    );
                    ended |= decision != Decision::Continue;
                }
            }
        }
        assert!(ended, "`{name}` never held, so nothing was compared");
    }
}

#[test]
fn foreign_state_is_refused() {
    let state = rule("converged", json!({})).save().unwrap();
    let mut patience = rule("patience", json!({"evaluations": 1}));
    let error = patience.load(&state).unwrap_err().to_string();
    assert!(
        error.contains("state of `converged`, not of `patience`"),
        "{error}"
    );
    assert!(patience
        .load(b"no json")
        .unwrap_err()
        .to_string()
        .contains("cannot be read"));
    let newer = br#"{"rule":"patience","version":9,"state":{}}"#;
    assert!(patience
        .load(newer)
        .unwrap_err()
        .to_string()
        .contains("version 9"));
}
