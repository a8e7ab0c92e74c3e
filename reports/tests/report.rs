//! Reports of made-up runs whose effects are known.

mod fixture;

use std::collections::BTreeMap;
use std::path::Path;

use ablate_reports::analysis::Analysis;
use ablate_reports::records::{Run, Status};
use ablate_reports::statistics::{Estimate, Finding};
use ablate_reports::{build, Format, ReportError};
use fixture::{Fixture, ARMS, LOSSES};

fn analysed(directory: &Path) -> Analysis {
    Analysis::of(&Run::read(directory).unwrap()).unwrap()
}

fn assert_estimate(e: &Estimate, mean: f64, half: f64) {
    let interval = e.interval.unwrap();
    assert!((e.mean - mean).abs() < 1e-9, "{e:?}");
    assert!((interval.upper - mean - half).abs() < 1e-7, "{e:?} {half}");
    assert!((mean - half - interval.lower).abs() < 1e-7, "{e:?} {half}");
}

fn both_formats(directory: &Path) -> (String, String) {
    let paths = build(directory, &[Format::Html, Format::Markdown]).unwrap();
    let read = |path: Option<std::path::PathBuf>| std::fs::read_to_string(path.unwrap()).unwrap();
    (read(paths.html), read(paths.markdown))
}

#[test]
fn effects_and_intervals_are_those_computed_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    Fixture::new(folder.path(), &[1, 2, 3]).write_factorial();
    let analysis = analysed(folder.path());
    assert_eq!(analysis.outcome.column, "mlm_loss");
    assert_eq!(analysis.pairs.len(), 1);
    // Student's t with two degrees of freedom is 4.302652730; the half width is t s / sqrt(3).
    let difference = |arm: usize| analysis.arms[arm].difference.as_ref().unwrap();
    // cleaned: -0.10, -0.12, -0.08; s = 0.02.
    assert_estimate(difference(1), -0.10, 0.049_682_754);
    // deeper: -0.20, -0.18, -0.22; s = 0.02.
    assert_estimate(difference(2), -0.20, 0.049_682_754);
    // Both: -0.40, -0.36, -0.40; s = 0.04 / sqrt(3).
    assert_estimate(difference(3), -1.16 / 3.0, 0.057_368_703);
    let pair = &analysis.pairs[0];
    assert_eq!((pair.data, pair.model, pair.both), (1, 2, 3));
    // Interaction: -0.10, -0.06, -0.10.
    assert_estimate(&pair.interaction, -0.26 / 3.0, 0.057_368_703);
    // Data main effect: -0.15, -0.15, -0.13; s = 0.02 / sqrt(3).
    assert_estimate(&pair.data_main, -0.43 / 3.0, 0.028_684_351);
    // Model main effect: -0.25, -0.21, -0.27; s = 0.0305505046.
    assert_estimate(&pair.model_main, -0.73 / 3.0, 0.075_891_661);
    let sum = pair.data_alone.mean + pair.model_alone.mean + pair.interaction.mean;
    assert!((sum - pair.total.mean).abs() < 1e-12);
    // Data minus model: 0.10, 0.06, 0.14; s = 0.04.
    assert_estimate(&analysis.contrasts[0].difference, 0.10, 0.099_365_508);
    assert_eq!(analysis.contrasts[0].difference.finding(), Finding::Above);

    let (_, markdown) = both_formats(folder.path());
    assert!(markdown.contains("Work on the model first"), "{markdown}");
    assert!(markdown.contains("−0.200 [−0.250, −0.150]"), "{markdown}");
    assert!(
        markdown.contains("1.90 times the baseline's FLOPs"),
        "{markdown}"
    );
}

#[test]
fn the_means_of_the_table_are_those_of_the_trials() {
    let folder = tempfile::tempdir().unwrap();
    Fixture::new(folder.path(), &[1, 2, 3]).write_factorial();
    let analysis = analysed(folder.path());
    for (arm, losses) in analysis.arms.iter().zip(LOSSES) {
        let spread = arm.held_out["mlm_loss"];
        let mean = losses.iter().sum::<f64>() / 3.0;
        let squares: f64 = losses.iter().map(|l| (l - mean).powi(2)).sum();
        assert!((spread.mean - mean).abs() < 1e-12);
        assert!((spread.standard_deviation.unwrap() - (squares / 2.0).sqrt()).abs() < 1e-12);
        assert_eq!(arm.compared, 3);
        assert_eq!(arm.stopped_by, [("max_steps".to_string(), 3)]);
        assert_eq!(arm.tokens, Some(245_760.0));
    }
}

#[test]
fn the_markdown_page_is_as_agreed() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(folder.path(), &[1, 2, 3]);
    fixture.write_factorial();
    fixture.write_diverged("deeper", 2);
    let (_, markdown) = both_formats(folder.path());
    insta::assert_snapshot!("report_md", markdown);
}

#[test]
fn the_page_needs_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(folder.path(), &[1, 2, 3]);
    fixture.write_factorial();
    // A record that tries to reach out is shown as text.
    fixture.write(
        "environment.json",
        r#"{"cpu": "<img src=x onerror=alert(1)><script src=//example.org/a.js></script>"}"#,
    );
    let (html, _) = both_formats(folder.path());
    for reach in [
        "http://", "https://", "<script", "<img", "<link", "@import", "url(", "src=\"", "<iframe",
    ] {
        assert!(!html.contains(reach), "the page contains {reach}");
    }
    assert!(html.contains("&lt;script src="));
    let figures = [
        "effects",
        "mlm-loss",
        "mlm-accuracy",
        "nsp-loss",
        "nsp-accuracy",
        "compute",
        "optimisation",
    ];
    for name in figures {
        assert!(html.contains(&format!("<figure id=\"{name}\">")), "{name}");
        let svg =
            std::fs::read_to_string(folder.path().join(format!("figures/{name}.svg"))).unwrap();
        assert!(
            svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"),
            "{name}"
        );
        let png = std::fs::read(folder.path().join(format!("figures/{name}.png"))).unwrap();
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n", "{name}");
    }
    assert_eq!(html.matches("<svg ").count(), figures.len());
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("var(--arm-1)"));
    assert!(html.contains("unigram entropy 5.63"));
}

#[test]
fn the_same_records_give_the_same_bytes() {
    fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let paths = build(folder, &[Format::Html, Format::Markdown]).unwrap();
        let all = paths
            .html
            .iter()
            .chain(&paths.markdown)
            .chain(&paths.figures)
            .chain(&paths.tables);
        all.map(|path| {
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
    }
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&one, &two] {
        Fixture::new(folder.path(), &[1, 2, 3]).write_factorial();
    }
    let first = bytes(one.path());
    assert_eq!(first.len(), 2 + 2 * 7 + 2 * 3);
    for (name, content) in bytes(two.path()).into_iter().chain(bytes(one.path())) {
        assert!(first[&name] == content, "{name} differs");
    }
}

#[test]
fn diverged_and_broken_trials_are_listed_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(folder.path(), &[1, 2, 3]);
    fixture.write_factorial();
    fixture.write_diverged("cleaned", 3);
    // A killed trial: half a last line and no result.
    fixture.write_metrics("deeper", 2, 3.0, 20, "{\"step\": 21, \"lo");
    std::fs::remove_file(fixture.trial("deeper", 2).join("result.json")).unwrap();
    // A trial whose result is half written, and one that never began.
    fixture.write("trials/cleaned+deeper/seed-1/result.json", "{\"arm\": ");
    std::fs::remove_dir_all(fixture.trial("cleaned+deeper", 2)).unwrap();
    fixture.write("trials/removed/seed-1/result.json", "{}");

    let analysis = analysed(folder.path());
    let left_out: Vec<_> = analysis
        .excluded
        .iter()
        .map(|e| (e.arm.as_str(), e.seed, e.status))
        .collect();
    assert_eq!(
        left_out,
        [
            ("cleaned", 3, Status::Diverged),
            ("deeper", 2, Status::Unfinished),
            ("cleaned+deeper", 1, Status::Unfinished),
            ("cleaned+deeper", 2, Status::NotStarted),
        ]
    );
    let seeds = |arm: usize| -> Vec<u64> {
        let difference = analysis.arms[arm].difference.as_ref().unwrap();
        difference.values.iter().map(|(seed, _)| *seed).collect()
    };
    assert_eq!(
        (seeds(1), seeds(2), seeds(3)),
        (vec![1, 2], vec![1, 3], vec![3])
    );
    // No seed has all four arms.
    assert!(analysis.pairs.is_empty());

    let (html, markdown) = both_formats(folder.path());
    for page in [html, markdown.replace("\\_", "_")] {
        assert!(page.contains("the gradient norm grew 80 times"));
        assert!(page.contains("1 diverged, 2 unfinished and 1 not started"));
        assert!(page.contains("1 line of"));
        assert!(page.contains("removed/seed-1"));
    }
}

#[test]
fn a_seed_without_a_baseline_has_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(folder.path(), &[1, 2, 3]);
    fixture.write_factorial();
    fixture.write_diverged("baseline", 1);
    let analysis = analysed(folder.path());
    assert_eq!(analysis.arms[1].compared, 3);
    assert_eq!(analysis.arms[1].difference.as_ref().unwrap().seeds(), 2);
    let (_, markdown) = both_formats(folder.path());
    assert!(
        markdown.contains("1 of its 3 seeds have no partner"),
        "{markdown}"
    );
}

#[test]
fn one_seed_gives_no_interval() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(folder.path(), &[7]);
    for (a, (arm, _, _)) in ARMS.iter().enumerate() {
        fixture.write_finished(arm, 7, LOSSES[a][0], 1e12);
    }
    let (_, markdown) = both_formats(folder.path());
    assert!(markdown.contains("One seed cannot decide"), "{markdown}");
    assert!(markdown.contains("no interval can be given"), "{markdown}");
    assert!(!markdown.contains("95% interval −"), "{markdown}");
}

#[test]
fn an_interval_with_zero_is_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    let arms = [ARMS[0], ARMS[1]];
    let fixture = Fixture::with_arms(folder.path(), &[1, 2], &arms, &["mlm"]);
    for (arm, seed, loss) in [
        ("baseline", 1, 3.5),
        ("baseline", 2, 3.5),
        ("cleaned", 1, 3.3),
        ("cleaned", 2, 3.6),
    ] {
        fixture.write_finished(arm, seed, loss, 1e12);
    }
    let (html, markdown) = both_formats(folder.path());
    assert!(
        markdown.contains("Whether the data change `cleaned` helps is inconclusive"),
        "{markdown}"
    );
    assert!(markdown.contains(": inconclusive)"), "{markdown}");
    // One objective only: nothing is said of the other.
    assert!(!html.contains("NSP"));
}

#[test]
fn another_objective_is_compared_by_its_own_loss() {
    let folder = tempfile::tempdir().unwrap();
    let arms = [ARMS[0], ARMS[2]];
    let fixture = Fixture::with_arms(folder.path(), &[1, 2], &arms, &["span_order"]);
    for (arm, seed, loss) in [
        ("baseline", 1, 1.5),
        ("baseline", 2, 1.6),
        ("deeper", 1, 1.2),
        ("deeper", 2, 1.31),
    ] {
        let metrics =
            serde_json::json!({"loss": loss, "span_order_loss": loss, "span_order_accuracy": 0.5});
        let result =
            serde_json::json!({"test": metrics, "status": "finished", "stopped_by": "patience"});
        fixture.write(
            &format!("trials/{arm}/seed-{seed}/result.json"),
            &result.to_string(),
        );
    }
    let analysis = analysed(folder.path());
    assert_eq!(analysis.outcome.column, "span_order_loss");
    assert_eq!(
        analysis.arms[1].difference.as_ref().unwrap().finding(),
        Finding::Below
    );
    let (_, markdown) = both_formats(folder.path());
    assert!(
        markdown.contains("span order loss") && !markdown.contains("perplexity"),
        "{markdown}"
    );
}

#[test]
fn a_run_that_has_only_begun_has_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(folder.path(), &[1, 2, 3]);
    let (_, markdown) = both_formats(folder.path());
    assert!(
        markdown.contains("No comparison can be made yet"),
        "{markdown}"
    );
    assert!(markdown.contains("12 not started"), "{markdown}");
    fixture.write_metrics("baseline", 1, 3.5, 10, "");
    let (html, _) = both_formats(folder.path());
    assert!(html.contains("<figure id=\"mlm-loss\">"));
}

#[test]
fn a_resumed_trial_counts_every_step_once() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(folder.path(), &[1, 2, 3]);
    fixture.write_factorial();
    let page = |folder: &Path| {
        build(folder, &[]).unwrap();
        std::fs::read(folder.join("figures/mlm-loss.svg")).unwrap()
    };
    let once = page(folder.path());
    let lines = fixture.trial("baseline", 1).join("metrics.jsonl");
    let text = std::fs::read_to_string(&lines).unwrap();
    let repeated: String = text
        .lines()
        .take(30)
        .map(|line| format!("{line}\n"))
        .collect();
    // The first write of the repeated steps is another; the last word counts.
    let first = repeated.replace("\"mlm_loss\":", "\"mlm_loss\":9");
    std::fs::write(&lines, format!("{first}{text}")).unwrap();
    assert!(once == page(folder.path()));
}

#[test]
fn tables_can_be_read_again() {
    use polars::prelude::*;
    let folder = tempfile::tempdir().unwrap();
    Fixture::new(folder.path(), &[1, 2, 3]).write_factorial();
    build(folder.path(), &[]).unwrap();
    assert!(!folder.path().join("report.html").exists());
    let open = |name: &str| std::fs::File::open(folder.path().join("tables").join(name)).unwrap();
    let arms = ParquetReader::new(open("arms.parquet")).finish().unwrap();
    let difference = arms.column("difference").unwrap().f64().unwrap();
    assert_eq!(difference.get(0), None);
    assert!((difference.get(1).unwrap() + 0.10).abs() < 1e-9);
    let effects = ParquetReader::new(open("effects.parquet"))
        .finish()
        .unwrap();
    assert_eq!(effects.height(), 7);
    let csv = std::fs::read_to_string(folder.path().join("tables/trials.csv")).unwrap();
    assert_eq!(csv.lines().count(), 13);
    assert!(csv.starts_with("arm,seed,status,compared,"), "{csv}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    Fixture::new(folder.path(), &[1, 2, 3]).write_factorial();
    // A file where a folder should be: refused whoever runs the test.
    std::fs::write(folder.path().join("figures"), "").unwrap();
    let error = build(folder.path(), &[Format::Html]).unwrap_err();
    assert!(matches!(error, ReportError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("figures"), "{error}");
    assert!(!folder.path().join("report.html").exists());
}
