//! Every kernel of the example pipelines goes through NVIDIA's own compiler, to PTX and machine code of
//! three architectures, and is held against the committed table `kernels.txt`.
//!
//! `ABLATE_UPDATE_KERNELS=1 cargo test --release --test kernels` writes the table anew; every other run
//! compares.

mod measured;
mod pipelines;
mod table;

use ablate_nvrtc::installed;
use table::{Row, Table, ARCHITECTURES};

/// Registers of a multiprocessor, of which a block must find enough, static shared memory that a block can have,
/// the same on all three, and what it can ask for (CUDA C++ Programming Guide, technical specifications by
/// compute capability).
const REGISTERS: u32 = 65536;
const STATIC_BYTES: u32 = 48 << 10;
const SHARED_BYTES: [u32; ARCHITECTURES.len()] = [163 << 10, 227 << 10, 227 << 10];

#[test]
fn every_kernel_of_the_example_pipelines_compiles_without_spills() {
    let Some(nvrtc) = installed() else { return };
    let kernels = pipelines::kernels();
    let mut found: Table = kernels
        .iter()
        .map(|(name, kernel)| {
            let row = Row {
                threads: kernel.block.iter().product(),
                shared_bytes: 0,
                registers: [0; ARCHITECTURES.len()],
            };
            (name.clone(), row)
        })
        .collect();
    for (place, architecture) in ARCHITECTURES.into_iter().enumerate() {
        assert!(nvrtc.architectures().contains(&architecture));
        let (usage, compiled) = measured::measured(nvrtc, architecture, kernels.values());
        println!(
            "sm_{architecture}: {} kernels, {compiled} compiled now",
            usage.len()
        );
        for (name, kernel) in &kernels {
            let usage = &usage[&kernel.entry];
            let spilled = usage.spill_stores_bytes + usage.spill_loads_bytes;
            assert_eq!(spilled, 0, "{name}: {usage:?}\n{}", kernel.body);
            assert_eq!(usage.stack_bytes, 0, "{name}: {usage:?}\n{}", kernel.body);
            let row = found.get_mut(name).expect("of the same kernels");
            // Registers are given to warps in units of eight a thread.
            let registers = usage.registers.next_multiple_of(8) * row.threads.next_multiple_of(32);
            assert!(
                registers <= REGISTERS,
                "{name} cannot be launched: {usage:?}"
            );
            assert!(usage.shared_bytes <= STATIC_BYTES, "{name}: {usage:?}");
            let shared = usage.shared_bytes + kernel.dynamic_shared_bytes;
            assert!(shared <= SHARED_BYTES[place], "{name}: {shared} bytes");
            row.registers[place] = usage.registers;
            row.shared_bytes = row.shared_bytes.max(shared);
        }
    }
    for (name, kernel) in &kernels {
        // What the launch says of a kernel is what the compiler sees.
        assert_eq!(
            found[name].shared_bytes, kernel.shared_bytes,
            "{name}\n{}",
            kernel.body
        );
    }
    let text = table::text(&found);
    print!("{text}");
    if std::env::var_os("ABLATE_UPDATE_KERNELS").is_some() {
        std::fs::write(table::file(), &text).expect("the table can be written");
    }
    let committed = std::fs::read_to_string(table::file()).unwrap_or_default();
    let committed = table::parse(&committed).unwrap_or_else(|e| panic!("kernels.txt: {e}"));
    let differences = table::differences(&committed, &found);
    assert!(
        differences.is_empty(),
        "kernels.txt does not fit the kernels:\n{}\nIf that is meant, run `ABLATE_UPDATE_KERNELS=1 cargo test \
         --release --test kernels` and look at the difference",
        differences.join("\n")
    );
}

#[test]
fn the_table_fails_on_more_of_anything_and_on_kernels_it_does_not_know() {
    let row = Row {
        threads: 256,
        shared_bytes: 144,
        registers: [40, 38, 36],
    };
    let committed = Table::from([("forward a/b row 3x4".to_string(), row.clone())]);
    assert_eq!(
        table::parse(&table::text(&committed)),
        Ok(committed.clone())
    );
    assert!(table::parse("12 wrong\n").is_err());
    let found = |name: &str, change: &dyn Fn(&mut Row)| {
        let mut row = row.clone();
        change(&mut row);
        table::differences(&committed, &Table::from([(name.to_string(), row)]))
    };
    let same = "forward a/b row 3x4";
    let none: [String; 0] = [];
    assert_eq!(found(same, &|_| {}), none);
    assert_eq!(found(same, &|row| row.registers[1] -= 1), none);
    assert_eq!(
        found(same, &|row| row.registers[1] += 1),
        ["forward a/b row 3x4: 39 registers on sm_90, at most 38"]
    );
    assert_eq!(
        found(same, &|row| row.shared_bytes += 4),
        ["forward a/b row 3x4: 148 bytes of shared memory, at most 144"]
    );
    assert_eq!(
        found(same, &|row| row.threads = 128),
        ["forward a/b row 3x4: 128 threads, the table has 256"]
    );
    assert_eq!(
        found("update c row 3x4", &|_| {}),
        ["update c row 3x4: is new", "forward a/b row 3x4: is gone"]
    );
}
