//! Measures training steps and prints a line of JSON for each configuration, without the rest of
//! Ablate: `cargo run --release -p ablate-bench --example step -- --size tiny --batch 32 --threads 2`.

use ablate_bench::{run, BenchArgs, BenchError};
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
    for configuration in args.bench.configurations()? {
        let report = run(&configuration)?;
        if args.profile {
            let m = &report.measurement;
            eprintln!("{}\n{}", m.kernel_table(), m.part_table());
        }
        println!("{}", serde_json::json!(report));
    }
    Ok(())
}
