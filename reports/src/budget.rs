//! Which budget the arms had in common, in words and numbers: optimizer steps, tokens, compute.

use crate::analysis::{Analysis, ArmSummary};
use crate::document::{Block, Row, Table};
use crate::figures::arm_variable;
use crate::format::{self, fixed, NOTHING};
use crate::verdict::EQUAL_COMPUTE;

/// Steps and tokens within this share of the baseline's count as equal.
const EQUAL: f64 = 0.01;

/// Something that can be spent.
struct Budget {
    name: &'static str,
    of: fn(&ArmSummary) -> Option<f64>,
    /// Share of the baseline's within which it counts as equal.
    within: f64,
    format: fn(f64) -> String,
}

const BUDGETS: [Budget; 3] = [
    Budget {
        name: "optimizer steps",
        of: |arm| arm.steps,
        within: EQUAL,
        format: format::count,
    },
    Budget {
        name: "tokens",
        of: |arm| arm.tokens,
        within: EQUAL,
        format: format::count,
    },
    Budget {
        name: "FLOPs",
        of: |arm| arm.flops,
        within: EQUAL_COMPUTE,
        format: format::flops,
    },
];

/// The check of steps, tokens and FLOPs against the baseline.
pub(crate) fn blocks(analysis: &Analysis) -> Vec<Block> {
    let Some(baseline) = analysis.baseline_arm() else {
        return vec![Block::Paragraph(
            "Without a baseline there is no budget to match.".to_string(),
        )];
    };
    let ratio = |budget: &Budget, arm: &ArmSummary| -> Option<f64> {
        let ratio = (budget.of)(arm)? / (budget.of)(baseline)?;
        ratio.is_finite().then_some(ratio)
    };
    let mut table = Table::new(&[
        "arm",
        "steps",
        "× baseline",
        "tokens",
        "× baseline",
        "FLOPs",
        "× baseline",
    ]);
    for (i, arm) in analysis.arms.iter().enumerate() {
        let mut cells = vec![format!("`{}`", arm.arm.name)];
        for budget in &BUDGETS {
            cells.push((budget.of)(arm).map_or(NOTHING.to_string(), budget.format));
            cells.push(ratio(budget, arm).map_or(NOTHING.to_string(), |r| fixed(r, 2)));
        }
        table.rows.push(Row {
            colour: Some(arm_variable(i)),
            cells,
        });
    }
    // Of each budget the arms that spent another one than the baseline.
    let others = |budget: &Budget| -> Vec<String> {
        let differs =
            |arm: &&ArmSummary| ratio(budget, arm).is_some_and(|r| (r - 1.0).abs() > budget.within);
        let arms = analysis.arms.iter().filter(differs);
        arms.map(|arm| format!("`{}`", arm.arm.name)).collect()
    };
    let unknown = BUDGETS
        .iter()
        .any(|budget| analysis.arms.iter().any(|arm| ratio(budget, arm).is_none()));
    let text = words(&BUDGETS.each_ref().map(|b| (b.name, others(b))), unknown);
    vec![Block::Paragraph(text), Block::Table(table)]
}

/// Which budgets are matched. `others` has of each the arms that spent another one; `unknown` says that
/// some could not be looked at.
fn words(others: &[(&'static str, Vec<String>); 3], unknown: bool) -> String {
    let names = |matched: bool| -> Vec<String> {
        let some = others.iter().filter(|(_, arms)| arms.is_empty() == matched);
        some.map(|(name, _)| (*name).to_string()).collect()
    };
    let (matched, unmatched) = (names(true), names(false));
    if unknown && unmatched.is_empty() {
        return "The budgets cannot be checked for every arm: some have no finished trial or recorded no FLOPs."
            .to_string();
    }
    let mut text = match (matched.is_empty(), unmatched.is_empty()) {
        (_, true) => {
            "Every budget is matched: the arms took the same number of optimizer steps and saw the same number of \
             tokens (each within 1%), and spent the same FLOPs (within 2%)."
                .to_string()
        }
        (true, false) => "No budget is matched: neither optimizer steps nor tokens (within 1%) nor FLOPs (within 2%). \
                          Read the differences with that in mind."
            .to_string(),
        (false, false) => {
            let (matched, unmatched) = (format::list(&matched), format::list(&unmatched));
            format!(
                "The matched budget is {matched}; not matched is {unmatched}. The differences are at equal {matched}, \
                 not at equal {unmatched}. (Steps and tokens count as equal within 1%, FLOPs within 2%.)"
            )
        }
    };
    for (name, arms) in others.iter().filter(|(_, arms)| !arms.is_empty()) {
        text.push_str(&format!(
            " Other {name} than the baseline: {}.",
            format::list(arms)
        ));
    }
    if unknown {
        text.push_str(
            " Some arms have no finished trial or recorded no FLOPs and are not checked.",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(steps: &[&str], tokens: &[&str], flops: &[&str], unknown: bool) -> String {
        let arms = |names: &[&str]| names.iter().map(|n| format!("`{n}`")).collect();
        let others = [
            ("optimizer steps", arms(steps)),
            ("tokens", arms(tokens)),
            ("FLOPs", arms(flops)),
        ];
        words(&others, unknown)
    }

    #[test]
    fn the_text_says_which_budget_is_matched() {
        let text = said(&[], &[], &[], false);
        assert!(text.starts_with("Every budget is matched"), "{text}");
        let text = said(&[], &[], &["deeper", "both"], false);
        assert!(
            text.starts_with(
                "The matched budget is optimizer steps and tokens; not matched is FLOPs."
            ),
            "{text}"
        );
        assert!(
            text.ends_with("Other FLOPs than the baseline: `deeper` and `both`."),
            "{text}"
        );
        // Arms that stop at other steps but were given the same compute.
        let text = said(&["deeper"], &["deeper"], &[], false);
        assert!(
            text.contains("at equal FLOPs, not at equal optimizer steps and tokens"),
            "{text}"
        );
        let text = said(&["a"], &["a"], &["a"], false);
        assert!(text.starts_with("No budget is matched"), "{text}");
    }

    #[test]
    fn what_cannot_be_checked_is_not_called_matched() {
        let text = said(&[], &[], &[], true);
        assert!(text.starts_with("The budgets cannot be checked"), "{text}");
        let text = said(&[], &[], &["deeper"], true);
        assert!(text.ends_with("are not checked."), "{text}");
    }
}
