//! Measures one training step and prints a line of JSON:
//! `cargo run --release -p ablate-bench --example step -- --size tiny --batch 32 --threads 2`.

use ablate_bench::{median, run, table, BenchArgs, BenchError};
use clap::Parser;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    bench: BenchArgs,
    /// Print where the time of a step goes, kernel by kernel, to standard error.
    #[arg(long)]
    profile: bool,
}

fn main() -> Result<(), BenchError> {
    let args = Args::parse();
    let report = run(&args.bench.configuration()?)?;
    if args.profile {
        let m = &report.measurement;
        eprint!(
            "{}",
            table(&m.kernels, m.profiled_s.len(), median(&m.profiled_s))
        );
    }
    println!("{}", serde_json::json!(report));
    Ok(())
}
