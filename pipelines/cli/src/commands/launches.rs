//! `ablate graph --cuda`: what a trial would launch on a GPU, as tables and source.
//!
//! Owns the tables. Must not know how a kernel is printed or a time is estimated.

use std::collections::{BTreeMap, BTreeSet};

use ablate_cuda::listing::roofline::{Cost, DataSheet, DEVICES};
use ablate_cuda::listing::{Launched, Listing, Product};
use ablate_cuda::print::{Epilogue, PRELUDE};
use ablate_cuda::{nvrtc_version, usage, CudaError, Precision, Usage};
use ablate_experiment::show_graph::{Launches, Share, COUNTED_STEPS};
use ablate_experiment::ExperimentError;

use crate::table;

const PRECISIONS: [(Precision, &str); 3] = [
    (Precision::F32, "f32"),
    (Precision::Tf32, "TF32"),
    (Precision::Bf16, "bf16"),
];

/// Tables of all launches, the estimate of a step, and every kernel's source.
pub fn all(launches: &Launches) -> String {
    let mut text = String::new();
    for (name, listing) in &launches.parts {
        text += &tables(name, listing, launches.precision);
    }
    text += &step(&launches.step, launches.precision);
    text += &format!("\nSource. Every kernel needs this in front of it:\n\n{PRELUDE}");
    for launched in distinct(&launches.parts) {
        text += &format!("\n{}", launched.kernel.body);
    }
    text
}

/// The kernels of all parts, each once.
fn distinct(parts: &[(String, Listing)]) -> Vec<&Launched> {
    let mut seen = BTreeSet::new();
    let all = parts.iter().flat_map(|(_, listing)| &listing.kernels);
    all.filter(|l| seen.insert(&l.kernel.entry)).collect()
}

/// What one run of a graph launches.
fn tables(graph: &str, listing: &Listing, precision: Precision) -> String {
    let registers = Registers::of(listing.kernels.iter());
    let [kernels, products, copies] = listing.launches();
    let mut text = format!(
        "One run of the {graph} graph on a GPU: {kernels} launches of {} kernels, {products} calls of cuBLAS, \
         {copies} copies, {} bytes of values in the arena and {} of scratch memory. Nothing was run.\n\n",
        listing.kernels.len(),
        listing.arena_bytes,
        listing.scratch_bytes
    );
    text += &kernel_table(&listing.kernels, &registers);
    text += &format!("{}\n\n", registers.said);
    if !listing.products.is_empty() {
        text += "Matrix products are calls of cuBLAS, with an epilogue of cuBLASLt: column-major; types are those in \
                 memory, of the operands and the result.\n";
        text += &product_table(&listing.products, precision);
        text.push('\n');
    }
    text
}

/// The kernels of one name with their whole source.
///
/// # Errors
/// There is none of this name.
pub fn one(launches: &Launches, name: &str) -> Result<String, ExperimentError> {
    let mut found: Vec<Launched> = vec![];
    for launched in launches.parts.iter().flat_map(|(_, l)| l.find(name)) {
        if !found
            .iter()
            .any(|f| f.kernel.entry == launched.kernel.entry)
        {
            found.push(launched.clone());
        }
    }
    if found.is_empty() {
        let kernels = distinct(&launches.parts);
        let mut known: Vec<&str> = kernels.iter().map(|l| l.kernel.name.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        return Err(ExperimentError::Unknown {
            what: "kernel",
            name: name.to_owned(),
            known: known.join(", "),
        });
    }
    let registers = Registers::of(found.iter());
    let table = kernel_table(&found, &registers) + &registers.said;
    let comment: String = table.lines().map(|line| format!("// {line}\n")).collect();
    let mut text = format!("{comment}{ESTIMATE_COMMENT}\n{PRELUDE}");
    for launched in &found {
        text += &format!("\n{}", launched.kernel.body);
    }
    Ok(text)
}

const ESTIMATE_COMMENT: &str =
    "// Microseconds are estimates from data sheets, not measurements.\n";

/// Registers of a thread as this machine's NVRTC tells.
struct Registers {
    /// By device and function; nothing where they are unknown.
    by_device: Vec<BTreeMap<String, Usage>>,
    /// Where they come from, or why they are unknown.
    said: String,
}

impl Registers {
    fn of<'a>(kernels: impl Iterator<Item = &'a Launched> + Clone) -> Self {
        let ask = || -> Result<_, CudaError> {
            let version = nvrtc_version()?;
            let sources = || kernels.clone().map(|launched| &launched.kernel);
            let found: Result<Vec<_>, _> = DEVICES
                .iter()
                .map(|device| usage(sources(), device.architecture))
                .collect();
            Ok((version, found?))
        };
        match ask() {
            Ok((_, found)) if found.iter().any(BTreeMap::is_empty) => Registers {
                by_device: vec![],
                said: "Registers of a thread are unknown: the NVRTC here does not tell.".to_owned(),
            },
            Ok(((major, minor), by_device)) => Registers {
                by_device,
                said: format!("Registers of a thread are those of NVRTC {major}.{minor}."),
            },
            Err(error) => Registers {
                by_device: vec![],
                said: format!("Registers of a thread are unknown: {error}."),
            },
        }
    }

    fn text(&self, device: usize, entry: &str) -> String {
        let found = self.by_device.get(device).and_then(|all| all.get(entry));
        found.map_or("?".to_owned(), |usage| usage.registers.to_string())
    }
}

fn kernel_table(kernels: &[Launched], registers: &Registers) -> String {
    let mut header: Vec<String> = [
        "launches",
        "kernel",
        "function",
        "grid",
        "block",
        "shared, B",
    ]
    .map(str::to_owned)
    .to_vec();
    for device in &DEVICES {
        header.push(format!("registers, sm_{}", device.architecture));
    }
    header.extend(["moved, kB", "MFLOP"].map(str::to_owned));
    for device in &DEVICES {
        header.push(format!("{}, us", short(device)));
    }
    header.push("first place".to_owned());
    let row = |launched: &Launched| {
        let (kernel, cost) = (&launched.kernel, launched.cost());
        let mut row = vec![
            launched.launches.to_string(),
            kernel.name.clone(),
            kernel.entry.clone(),
            dimensions(kernel.grid),
            dimensions(kernel.block),
            kernel.shared_bytes.to_string(),
        ];
        for device in 0..DEVICES.len() {
            row.push(registers.text(device, &kernel.entry));
        }
        row.extend(amounts(&cost));
        for device in &DEVICES {
            row.push(microseconds(device, &cost, Precision::F32));
        }
        row.push(kernel.scope.to_string());
        row
    };
    let rows: Vec<Vec<String>> = kernels.iter().map(row).collect();
    render(&header, &rows)
}

/// Precisions in which products of a program of this one can be computed.
fn precisions(program: Precision) -> impl Iterator<Item = (Precision, &'static str)> {
    let is_rounded = |p: Precision| p == Precision::Bf16;
    let fits = move |(p, _): &(Precision, _)| is_rounded(*p) == is_rounded(program);
    PRECISIONS.into_iter().filter(fits)
}

fn product_table(products: &[Product], program: Precision) -> String {
    let mut header: Vec<String> = [
        "calls", "m", "n", "k", "op", "types", "ld", "batch", "strides", "epilogue",
    ]
    .map(str::to_owned)
    .to_vec();
    header.extend(["moved, kB", "MFLOP"].map(str::to_owned));
    for device in &DEVICES {
        let name = short(device);
        header.extend(precisions(program).map(|(_, p)| format!("{name} {p}, us")));
    }
    header.push("first place".to_owned());
    let row = |found: &Product| {
        let product = &found.product;
        let op = |transposed: bool| if transposed { 'T' } else { 'N' };
        let mut row = vec![found.launches.to_string()];
        row.extend(product.sizes.map(|size| size.to_string()));
        row.push(product.transposed.map(op).iter().collect());
        row.push(list(&product.types()));
        row.push(list(&product.leading));
        row.push(product.matrices().count().to_string());
        row.push(match product.batch {
            _ if product.is_listed() => "listed".to_owned(),
            1 => "-".to_owned(),
            _ => list(&product.strides),
        });
        row.push(match product.epilogue {
            None => "-".to_owned(),
            Some(Epilogue::Bias(_)) => "bias".to_owned(),
            Some(Epilogue::Sums(_)) => "sums of B".to_owned(),
        });
        row.extend(amounts(&found.cost));
        for device in &DEVICES {
            row.extend(precisions(program).map(|(p, _)| microseconds(device, &found.cost, p)));
        }
        row.push(found.scope.to_string());
        row
    };
    let rows: Vec<Vec<String>> = products.iter().map(row).collect();
    render(&header, &rows)
}

/// The estimate of a whole step; an average, where not every step runs the same graphs. Launches are counted
/// in the recipe's precision.
fn step(parts: &[Share], precision: Precision) -> String {
    let mut header: Vec<String> = ["a step runs", "times", "kernels", "cuBLAS", "copies"]
        .map(str::to_owned)
        .to_vec();
    let mut sheets = vec![];
    for device in &DEVICES {
        let name = short(device);
        header.extend(PRECISIONS.map(|(_, precision)| format!("{name} {precision}, ms")));
        sheets.push(format!(
            "{}: {:.0} GB/s, {} TFLOP/s in f32, {} in TF32, {} in bf16",
            device.name,
            device.bytes_per_s / 1e9,
            device.f32_flops / 1e12,
            device.tf32_flops / 1e12,
            device.bf16_flops / 1e12
        ));
    }
    let mut rows = vec![];
    let mut launches = [0.0; 3];
    let same = parts.iter().all(|share| share.steps == COUNTED_STEPS);
    let mut seconds = vec![0.0; DEVICES.len() * PRECISIONS.len()];
    for share in parts {
        let Share {
            name,
            times,
            steps,
            listings,
        } = share;
        let often = *steps as f64 / COUNTED_STEPS as f64;
        let mut row = vec![name.clone()];
        row.push(match *steps {
            COUNTED_STEPS => times.to_string(),
            _ => format!("{times} in {steps} of {COUNTED_STEPS} steps"),
        });
        for (sum, count) in launches.iter_mut().zip(listings.of(precision).launches()) {
            *sum += (count * times) as f64 * often;
            row.push((count * times).to_string());
        }
        let of = DEVICES
            .iter()
            .flat_map(|device| PRECISIONS.map(|(p, _)| listings.of(p).seconds(device, p)));
        for (sum, once) in seconds.iter_mut().zip(of) {
            let time = once * *times as f64;
            *sum += time * often;
            row.push(format!("{:.4}", time * 1e3));
        }
        rows.push(row);
    }
    let name = match same {
        true => "a training step",
        false => "a training step, on average",
    };
    let mut sum = vec![name.to_owned(), "1".to_owned()];
    sum.extend(launches.map(|count| match same {
        true => format!("{count:.0}"),
        false => format!("{count:.1}"),
    }));
    sum.extend(seconds.iter().map(|s| format!("{:.4}", s * 1e3)));
    rows.push(sum);
    let sheets = sheets.join("\n");
    format!("{ESTIMATE}{sheets}\n\n{}", render(&header, &rows))
}

const ESTIMATE: &str = "\
ESTIMATE FROM DATA SHEETS, NOT A MEASUREMENT. Each launch takes as long as its bytes at full memory bandwidth or
its operations at full rate, whichever is longer. Launching costs nothing, and nothing is still in a cache. A
real step takes longer. Columns are by the precision of matrix products; in bf16 activations are stored so too.
Kernels of attention multiply in f32, so that with other operands its steps run one by one and are summed up so.
";

/// `A100` of `A100 SXM 40 GB`.
fn short(device: &DataSheet) -> &'static str {
    device.name.split(' ').next().unwrap_or_default()
}

fn amounts(cost: &Cost) -> [String; 2] {
    let flops = cost.flops + cost.product_flops;
    [
        format!("{:.1}", cost.bytes / 1e3),
        format!("{:.3}", flops / 1e6),
    ]
}

fn microseconds(device: &DataSheet, cost: &Cost, precision: Precision) -> String {
    format!("{:.3}", device.seconds(cost, precision) * 1e6)
}

fn dimensions([x, y, z]: [u32; 3]) -> String {
    match (y, z) {
        (1, 1) => x.to_string(),
        _ => format!("{x}x{y}x{z}"),
    }
}

fn list<T: ToString>(numbers: &[T]) -> String {
    let numbers: Vec<String> = numbers.iter().map(T::to_string).collect();
    numbers.join(",")
}

fn render(header: &[String], rows: &[Vec<String>]) -> String {
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    table::render(&header, rows)
}
