//! Packed and padded rows of the same examples: the same training, fewer operations.

use ablate_bench::{run, Configuration, Lengths, Report};

fn report(packed: bool) -> Report {
    let configuration = Configuration {
        layers: 1,
        hidden: 8,
        heads: 2,
        intermediate: 16,
        vocab: 50,
        seq: 64,
        batch: 16,
        steps: 3,
        threads: 1,
        dropout: 0.0,
        lengths: Lengths::LogNormal {
            median_tokens: 12.0,
            sigma: 0.85,
        },
        packed,
        ..Configuration::preset("tiny").unwrap()
    };
    run(&configuration).unwrap()
}

#[test]
fn packed_rows_train_the_same_with_fewer_operations() {
    let (padded, packed) = (report(false), report(true));
    assert_eq!(padded.real_share, packed.real_share);
    assert!((0.1..0.5).contains(&packed.real_share), "{packed:?}");
    assert!(
        (padded.loss - packed.loss).abs() < 1e-4,
        "{} {}",
        padded.loss,
        packed.loss
    );
    let flops = |r: &Report| r.measurement.flops;
    assert!(
        flops(&packed) < 0.7 * flops(&padded),
        "{packed:?} {padded:?}"
    );
    // The line of JSON says which rows were measured.
    let line = serde_json::json!(packed);
    let lengths = &line["configuration"]["lengths"]["log_normal"];
    assert_eq!(lengths["median_tokens"], 12.0, "{line}");
    assert_eq!(line["configuration"]["packed"], true);
}
