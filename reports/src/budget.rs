//! Whether the arms had the same budget, in words and numbers.

use crate::analysis::{Analysis, ArmSummary};
use crate::document::{Block, Row, Table};
use crate::figures::arm_variable;
use crate::format::{self, fixed, NOTHING};
use crate::verdict::EQUAL_COMPUTE;

/// Tokens within this share of the baseline's count as equal.
const EQUAL_TOKENS: f64 = 0.01;

/// The check of tokens and FLOPs against the baseline.
pub(crate) fn blocks(analysis: &Analysis) -> Vec<Block> {
    let Some(baseline) = analysis.baseline_arm() else {
        return vec![Block::Paragraph(
            "Without a baseline there is no budget to match.".to_string(),
        )];
    };
    let ratio = |of: fn(&ArmSummary) -> Option<f64>, arm: &ArmSummary| -> Option<f64> {
        let ratio = of(arm)? / of(baseline)?;
        ratio.is_finite().then_some(ratio)
    };
    let mut table = Table::new(&["arm", "tokens", "× baseline", "FLOPs", "× baseline"]);
    let (mut tokens, mut flops) = (Vec::new(), Vec::new());
    let mut unknown = false;
    for (i, arm) in analysis.arms.iter().enumerate() {
        let t = ratio(|a| a.tokens, arm);
        let f = ratio(|a| a.flops, arm);
        unknown |= t.is_none() || f.is_none();
        if t.is_some_and(|t| (t - 1.0).abs() > EQUAL_TOKENS) {
            tokens.push(format!("`{}`", arm.arm.name));
        }
        if f.is_some_and(|f| (f - 1.0).abs() > EQUAL_COMPUTE) {
            flops.push(format!("`{}`", arm.arm.name));
        }
        let times = |r: Option<f64>| r.map_or(NOTHING.to_string(), |r| fixed(r, 2));
        table.rows.push(Row {
            colour: Some(arm_variable(i)),
            cells: vec![
                format!("`{}`", arm.arm.name),
                arm.tokens.map_or(NOTHING.to_string(), format::count),
                times(t),
                arm.flops.map_or(NOTHING.to_string(), format::flops),
                times(f),
            ],
        });
    }
    let mut text = match (tokens.is_empty(), flops.is_empty()) {
        (true, true) => "The arms saw the same number of tokens (within 1%) and spent the same FLOPs (within 2%)."
            .to_string(),
        (true, false) => format!(
            "The arms saw the same number of tokens (within 1%), but not the same compute: {} spent other FLOPs than \
             the baseline. Their differences are at equal tokens, not at equal compute.",
            format::list(&flops)
        ),
        (false, true) => format!(
            "The arms spent the same FLOPs (within 2%), but {} saw another number of tokens than the baseline.",
            format::list(&tokens)
        ),
        (false, false) => format!(
            "The budgets are not matched: {} saw another number of tokens than the baseline, and {} spent other \
             FLOPs. Read the differences with that in mind.",
            format::list(&tokens),
            format::list(&flops)
        ),
    };
    if unknown {
        text = if tokens.is_empty() && flops.is_empty() {
            "The budgets cannot be checked for every arm: some have no finished trial or recorded no FLOPs.".to_string()
        } else {
            format!(
                "{text} Some arms have no finished trial or recorded no FLOPs and are not checked."
            )
        };
    }
    vec![Block::Paragraph(text), Block::Table(table)]
}
