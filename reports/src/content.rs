//! Puts the findings into blocks: what a report says, in which order.

use crate::analysis::{Analysis, ArmSummary};
use crate::document::{Block, Document, Row, Table};
use crate::figures::{arm_variable, Figure};
use crate::format::{self, duration, fixed, plural, NOTHING};
use crate::records::{Run, Status};
use crate::statistics::Estimate;
use crate::verdict::verdict;

/// The whole report.
pub(crate) fn document(run: &Run, analysis: &Analysis, figures: &[Figure]) -> Document {
    let verdict = verdict(analysis);
    let mut blocks = vec![Block::Verdict {
        headline: verdict.headline,
        text: verdict.text,
    }];
    blocks.extend(warnings(run, analysis));
    blocks.push(Block::Heading("Arms".to_string()));
    blocks.push(Block::Table(arms(analysis)));
    blocks.extend(entropy(analysis));

    let show = |name: &'static str| figures.iter().filter(move |f| f.name == name).map(block);
    blocks.push(Block::Heading("What came from where".to_string()));
    if analysis.arms.iter().all(|arm| arm.difference.is_none()) {
        blocks.push(Block::Paragraph(
            "Nothing can be compared with the baseline yet.".to_string(),
        ));
    }
    blocks.extend(show("effects"));
    blocks.extend(effects(analysis).map(Block::Table));

    blocks.push(Block::Heading("Course of training".to_string()));
    let apart = ["effects", "compute", "optimisation"];
    let courses = figures.iter().filter(|f| !apart.contains(&f.name.as_str()));
    blocks.extend(courses.map(block));
    blocks.extend(show("optimisation"));

    blocks.push(Block::Heading("Budget".to_string()));
    blocks.extend(crate::budget::blocks(analysis));
    blocks.extend(show("compute"));

    if !analysis.excluded.is_empty() {
        blocks.push(Block::Heading("Trials left out".to_string()));
        blocks.push(Block::Table(excluded(analysis)));
    }
    blocks.push(Block::Heading("How to read this".to_string()));
    blocks.push(Block::List(how_to_read(analysis)));
    blocks.push(Block::Heading("Where it came from".to_string()));
    blocks.extend(origin(run, analysis));
    let compared = analysis.arms.iter().map(|a| a.compared).sum::<usize>();
    Document {
        title: format!("Ablate report: {}", run.pipeline),
        subtitle: format!(
            "{} × {}: {compared} of {} compared. Data or model: what lowers the held-out loss of this BERT?",
            plural(analysis.arms.len(), "arm"),
            plural(analysis.seeds, "seed"),
            plural(run.trials.len(), "trial"),
        ),
        blocks,
    }
}

fn block(figure: &Figure) -> Block {
    Block::Figure {
        title: figure.title.clone(),
        caption: figure.caption.clone(),
        name: figure.name.clone(),
        inline_svg: figure.inline_svg(),
    }
}

fn warnings(run: &Run, analysis: &Analysis) -> Vec<Block> {
    let mut found = Vec::new();
    let mut counts = Vec::new();
    for status in [
        Status::Diverged,
        Status::Failed,
        Status::Unfinished,
        Status::NotStarted,
    ] {
        let n = analysis
            .excluded
            .iter()
            .filter(|e| e.status == status)
            .count();
        if n > 0 {
            counts.push(format!("{n} {}", status.word()));
        }
    }
    if !counts.is_empty() {
        found.push(format!(
            "Not every trial is compared: {}. They are listed under “Trials left out” and take no part in any mean, \
             difference or band.",
            format::list(&counts)
        ));
    }
    let nameless = analysis
        .excluded
        .iter()
        .filter(|e| e.status == Status::Finished)
        .count();
    if nameless > 0 {
        found.push(format!(
            "{} finished without a {} {} and cannot be compared.",
            plural(nameless, "trial"),
            analysis.outcome.split,
            analysis.outcome.label
        ));
    }
    if analysis.outcome.split == "validation" {
        found.push(
            "There are no test metrics, so arms are compared on the validation split. Where a stopping rule looked at \
             that split, its losses are a little too good."
                .to_string(),
        );
    }
    for arm in &analysis.arms {
        let paired = arm.difference.as_ref().map_or(0, Estimate::seeds);
        if arm.difference.is_some() && paired < arm.compared {
            found.push(format!(
                "`{}`: {} of its {} have no partner in the baseline and do not enter the difference.",
                arm.arm.name,
                arm.compared - paired,
                plural(arm.compared, "seed")
            ));
        }
    }
    for trial in &run.trials {
        let corrupt = trial.metrics.as_ref().map_or(0, |m| m.corrupt_lines);
        if corrupt > 0 {
            found.push(format!(
                "`{}` seed {}: {} of `metrics.jsonl` could not be read and left out; a run that was killed leaves \
                 half a line.",
                trial.arm,
                trial.seed,
                plural(corrupt, "line")
            ));
        }
    }
    if !run.strangers.is_empty() {
        let names: Vec<String> = run.strangers.iter().map(|s| format!("`{s}`")).collect();
        found.push(format!(
            "Folders of trials that the experiment does not name were ignored: {}.",
            format::list(&names)
        ));
    }
    if let Some(dropped) = run.corpus.dropped_lines.filter(|n| *n > 0.0) {
        found.push(format!(
            "{} of the corpus could not be read and were dropped.",
            plural(dropped as usize, "line")
        ));
    }
    found.into_iter().map(Block::Warning).collect()
}

fn arms(analysis: &Analysis) -> Table {
    let outcome = &analysis.outcome;
    let is_mlm = outcome.column == "mlm_loss";
    let accuracies: Vec<&String> = analysis
        .measures
        .iter()
        .filter(|measure| measure.ends_with("accuracy"))
        .collect();
    let mut header = vec![
        "arm".to_string(),
        "seeds".to_string(),
        format!("{} {}", outcome.split, outcome.label),
        "difference to baseline".to_string(),
    ];
    if is_mlm {
        header.push("perplexity".to_string());
    }
    header.extend(accuracies.iter().map(|measure| format::measure(measure)));
    header.extend(["parameters", "tokens", "FLOPs", "time", "stopped by"].map(str::to_string));
    let stopped_by = header.len() - 1;
    let mut table = Table {
        header,
        rows: Vec::new(),
        words: vec![0, stopped_by],
        note: format!(
            "Means over the compared seeds, ± one standard deviation; the difference is paired by seed, with its 95% \
             interval.{} Every metric is in `tables/arms.csv`.",
            if is_mlm {
                " Perplexity is that of the mean loss."
            } else {
                ""
            }
        ),
    };
    for (i, arm) in analysis.arms.iter().enumerate() {
        let or_nothing = |value: Option<f64>, write: &dyn Fn(f64) -> String| {
            value.map_or(NOTHING.to_string(), write)
        };
        let loss = arm.held_out.get(&outcome.column);
        let mut cells = vec![
            format!("`{}`", arm.arm.name),
            format!("{}/{}", arm.compared, analysis.seeds),
            spread(arm, &outcome.column),
            match (&arm.difference, analysis.baseline == Some(i)) {
                (_, true) => "baseline".to_string(),
                (Some(difference), _) => format::estimate(difference),
                (None, _) => NOTHING.to_string(),
            },
        ];
        if is_mlm {
            cells.push(or_nothing(loss.map(|l| l.mean.exp()), &|v| {
                fixed(v, if v < 1000.0 { 1 } else { 0 })
            }));
        }
        cells.extend(accuracies.iter().map(|measure| spread(arm, measure)));
        cells.extend([
            or_nothing(arm.parameters, &format::count),
            or_nothing(arm.tokens, &format::count),
            or_nothing(arm.flops, &format::flops),
            or_nothing(arm.seconds, &duration),
            stopping(arm),
        ]);
        table.rows.push(Row {
            colour: Some(arm_variable(i)),
            cells,
        });
    }
    table
}

/// "3.412 ± 0.013".
fn spread(arm: &ArmSummary, measure: &str) -> String {
    let Some(spread) = arm.held_out.get(measure) else {
        return NOTHING.to_string();
    };
    let mean = format::metric(measure, spread.mean);
    match spread.standard_deviation {
        // The unit stands once, behind the mean of an accuracy.
        Some(sd) if measure.ends_with("accuracy") => {
            let mean = fixed(100.0 * spread.mean, 1);
            format!("{mean} ± {} %", fixed(100.0 * sd, 1))
        }
        Some(sd) => format!("{mean} ± {}", fixed(sd, 3)),
        None => mean,
    }
}

fn stopping(arm: &ArmSummary) -> String {
    let rules: Vec<String> = arm
        .stopped_by
        .iter()
        .map(|(rule, n)| match arm.stopped_by.len() {
            1 => format!("`{rule}`"),
            _ => format!("`{rule}` ({n})"),
        })
        .collect();
    if rules.is_empty() {
        NOTHING.to_string()
    } else {
        rules.join(", ")
    }
}

/// Whether the arms learnt more than the frequencies of the tokens.
fn entropy(analysis: &Analysis) -> Option<Block> {
    let entropy = analysis.corpus.unigram_entropy_nats?;
    if analysis.outcome.column != "mlm_loss" {
        return None;
    }
    let losses: Vec<(&ArmSummary, f64)> = analysis
        .arms
        .iter()
        .filter_map(|arm| Some((arm, arm.held_out.get("mlm_loss")?.mean)))
        .collect();
    if losses.is_empty() {
        return None;
    }
    let above: Vec<String> = losses
        .iter()
        .filter(|(_, loss)| *loss >= entropy)
        .map(|(arm, _)| format!("`{}`", arm.arm.name))
        .collect();
    let finding = if above.is_empty() {
        "every arm ends below it, so each has learnt from context".to_string()
    } else {
        format!(
            "not below it, hence no better than the frequencies of the tokens: {}",
            format::list(&above)
        )
    };
    Some(Block::Paragraph(format!(
        "The corpus' unigram entropy is {} nats; {finding}.",
        fixed(entropy, 3)
    )))
}

fn effects(analysis: &Analysis) -> Option<Table> {
    if analysis.pairs.is_empty() && analysis.contrasts.is_empty() {
        return None;
    }
    let mut table = Table::new(&[
        "effect",
        "difference in nats",
        "95% interval",
        "seeds",
        "finding",
    ]);
    table.words = vec![0, 4];
    let name = |arm: usize| format!("`{}`", analysis.arms[arm].arm.name);
    let mut add = |effect: String, e: &Estimate, lower: &str, higher: &str| {
        use crate::statistics::Finding;
        let finding = match e.finding() {
            Finding::Below => lower,
            Finding::Above => higher,
            Finding::Inconclusive => "inconclusive",
            Finding::NoInterval => "one seed: no interval",
        };
        table.row(vec![
            effect,
            format::signed(e.mean, 3),
            e.interval.map_or(NOTHING.to_string(), |i| {
                format!(
                    "{} to {}",
                    format::signed(i.lower, 3),
                    format::signed(i.upper, 3)
                )
            }),
            e.seeds().to_string(),
            finding.to_string(),
        ]);
    };
    for pair in &analysis.pairs {
        let (d, m) = (name(pair.data), name(pair.model));
        add(format!("{d}, alone"), &pair.data_alone, "helps", "hurts");
        add(format!("{m}, alone"), &pair.model_alone, "helps", "hurts");
        add(
            format!("interaction of {d} and {m}"),
            &pair.interaction,
            "more than the sum",
            "less than the sum",
        );
        add(
            format!("{}: the three together", name(pair.both)),
            &pair.total,
            "helps",
            "hurts",
        );
        add(
            format!("{d}, main effect (mean over both models)"),
            &pair.data_main,
            "helps",
            "hurts",
        );
        add(
            format!("{m}, main effect (mean over both data)"),
            &pair.model_main,
            "helps",
            "hurts",
        );
    }
    for contrast in &analysis.contrasts {
        add(
            format!("{} minus {}", name(contrast.data), name(contrast.model)),
            &contrast.difference,
            "data ahead",
            "model ahead",
        );
    }
    Some(table)
}

fn excluded(analysis: &Analysis) -> Table {
    let mut table = Table::new(&["trial", "state", "last step", "why"]);
    table.words = vec![0, 1, 3];
    for trial in &analysis.excluded {
        table.row(vec![
            format!("`{}` seed {}", trial.arm, trial.seed),
            trial.status.word().to_string(),
            trial
                .last_step
                .map_or(NOTHING.to_string(), |s| s.to_string()),
            trial.diagnosis.clone(),
        ]);
    }
    table
}

fn how_to_read(analysis: &Analysis) -> Vec<String> {
    let mut items = vec![
        format!(
            "A difference is the {} {} of an arm minus that of the baseline with the same seed; negative is better. \
             Held-out documents are split off before anything else, so no arm has seen them.",
            analysis.outcome.split, analysis.outcome.label
        ),
        "A 95% interval is the mean ± Student's t with (seeds − 1) degrees of freedom times the standard error of the \
         paired differences. When it contains zero the finding is inconclusive: more seeds may decide, the absence of \
         an effect is not shown. With one seed there is no interval."
            .to_string(),
        "With B, D, M and X for baseline, data alone, model alone and both: the interaction is X − D − M + B, so that \
         data alone, model alone and interaction add up to X − B. A main effect is the mean of one change's effect \
         over both settings of the other."
            .to_string(),
        "Intervals cover the seeds (initial values, order of the data, masks, dropout), not other corpora, sizes or \
         budgets, and they are not widened for the number of comparisons."
            .to_string(),
    ];
    if analysis.seeds == 2 {
        items.push(
            "With two seeds the t value is 12.7, so intervals are very wide; three or more say much more.".to_string(),
        );
    }
    items
}

fn origin(run: &Run, analysis: &Analysis) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut facts = Table::new(&["fact", "value"]);
    facts.words = vec![0, 1];
    let corpus = [
        ("corpus.documents", analysis.corpus.documents),
        ("corpus.tokens", analysis.corpus.tokens),
    ];
    for (name, value) in corpus {
        if let Some(value) = value {
            facts.row(vec![name.to_string(), fixed(value, 0)]);
        }
    }
    for (name, value) in &run.environment {
        facts.row(vec![name.clone(), value.clone()]);
    }
    if facts.rows.is_empty() {
        blocks.push(Block::Paragraph(
            "The run recorded no environment.".to_string(),
        ));
    } else {
        blocks.push(Block::Table(facts));
    }
    match &run.recipe {
        Some(recipe) => blocks.push(Block::Folded {
            summary: "The resolved recipe".to_string(),
            language: "yaml",
            text: recipe.clone(),
        }),
        None => blocks.push(Block::Paragraph(
            "The run has no `recipe.yaml`.".to_string(),
        )),
    }
    blocks.push(Block::Paragraph(
        "Beside this page: `figures/` holds every figure as SVG and PNG, `tables/` holds trials, arms and effects as \
         CSV and Parquet, `trials/` the records they were made from."
            .to_string(),
    ));
    blocks
}
