//! What NVRTC makes of kernels, compiled once per machine.
//!
//! Compiling all of them takes a while, so that what is known of a kernel is kept in a file of the cache
//! folder, under a digest of everything that it depends on.

use ablate_cuda::print::{KernelSource, PRELUDE};
use ablate_cuda::OPTIONS;
use ablate_nvrtc::{cache, Nvrtc, Usage, VERSION};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Kernels that are compiled together.
const TOGETHER: usize = 8;

/// The usage of each kernel on an architecture, by entry, and how many were compiled for it now.
pub fn measured<'a>(
    nvrtc: &Nvrtc,
    architecture: u32,
    kernels: impl Iterator<Item = &'a KernelSource>,
) -> (BTreeMap<String, Usage>, usize) {
    let mut kept = Kept::read(architecture);
    let kernels: Vec<&KernelSource> = kernels.collect();
    let missing: Vec<&KernelSource> = kernels
        .iter()
        .copied()
        .filter(|kernel| kept.find(kernel).is_none())
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let share = missing.len().div_ceil(threads).max(1);
    let compiled: Vec<Usage> = std::thread::scope(|scope| {
        let work = missing.chunks(share).map(|kernels| {
            scope.spawn(move || {
                let parts = kernels.chunks(TOGETHER);
                parts
                    .flat_map(|part| compile(nvrtc, architecture, part))
                    .collect::<Vec<_>>()
            })
        });
        let work: Vec<_> = work.collect();
        work.into_iter()
            .flat_map(|thread| thread.join().expect("compiles"))
            .collect()
    });
    for (kernel, usage) in missing.iter().zip(compiled) {
        kept.lines.insert(kept.key(kernel), usage);
    }
    kept.write(&kernels);
    let found = kernels.iter().map(|kernel| {
        let usage = kept.find(kernel).expect("compiled above");
        (kernel.entry.clone(), usage)
    });
    (found.collect(), missing.len())
}

/// Compiles kernels to PTX and machine code and looks at both.
fn compile(nvrtc: &Nvrtc, architecture: u32, kernels: &[&KernelSource]) -> Vec<Usage> {
    let bodies: Vec<&str> = kernels.iter().map(|kernel| kernel.body.as_str()).collect();
    let source = format!("{PRELUDE}\n{}", bodies.join("\n"));
    let name = format!("sm_{architecture}");
    let compiled = nvrtc
        .compile(&source, &name, OPTIONS)
        .unwrap_or_else(|e| panic!("{e}\n{source}"));
    assert!(compiled.ptx.contains(&format!(".target {name}")));
    assert_eq!(&compiled.cubin[..4], b"\x7fELF");
    let usage = |kernel: &&KernelSource| {
        let entry = format!(".entry {}(", kernel.entry);
        assert!(compiled.ptx.contains(&entry), "{}", compiled.ptx);
        let found = compiled
            .kernels
            .iter()
            .find(|usage| usage.name == kernel.entry);
        found.unwrap_or_else(|| panic!("{}", compiled.log)).clone()
    };
    kernels.iter().map(usage).collect()
}

/// What is known from earlier runs.
struct Kept {
    architecture: u32,
    lines: BTreeMap<String, Usage>,
}

impl Kept {
    fn read(architecture: u32) -> Kept {
        let mut kept = Kept {
            architecture,
            lines: BTreeMap::new(),
        };
        let text = std::fs::read_to_string(kept.file()).unwrap_or_default();
        kept.lines = text.lines().filter_map(line).collect();
        kept
    }

    fn file(&self) -> std::path::PathBuf {
        cache().join(format!("kernels-{VERSION}-sm_{}.txt", self.architecture))
    }

    fn key(&self, kernel: &KernelSource) -> String {
        let mut hash = Sha256::new();
        for part in [PRELUDE, &kernel.body, &OPTIONS.join(" ")] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    fn find(&self, kernel: &KernelSource) -> Option<Usage> {
        let usage = self.lines.get(&self.key(kernel))?.clone();
        Some(Usage {
            name: kernel.entry.clone(),
            ..usage
        })
    }

    /// Keeps what is known of these kernels, beside the file's place first. A cache that cannot be written
    /// only costs time.
    fn write(&self, kernels: &[&KernelSource]) {
        let mut text = String::new();
        for kernel in kernels {
            let key = self.key(kernel);
            let u = &self.lines[&key];
            let _ = writeln!(
                text,
                "{key} {} {} {} {} {} {}",
                u.registers,
                u.spill_stores_bytes,
                u.spill_loads_bytes,
                u.stack_bytes,
                u.shared_bytes,
                u.barriers
            );
        }
        let file = self.file();
        let part = file.with_extension(format!("{}.part", std::process::id()));
        if std::fs::write(&part, text)
            .and_then(|()| std::fs::rename(&part, &file))
            .is_err()
        {
            let _ = std::fs::remove_file(&part);
        }
    }
}

fn line(text: &str) -> Option<(String, Usage)> {
    let (key, numbers) = text.split_once(' ')?;
    let numbers: Result<Vec<u32>, _> = numbers.split(' ').map(str::parse).collect();
    let [registers, spill_stores_bytes, spill_loads_bytes, stack_bytes, shared_bytes, barriers] =
        numbers.ok()?[..]
    else {
        return None;
    };
    let usage = Usage {
        name: String::new(),
        registers,
        spill_stores_bytes,
        spill_loads_bytes,
        stack_bytes,
        shared_bytes,
        barriers,
    };
    Some((key.into(), usage))
}
