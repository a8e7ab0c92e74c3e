//! The committed table: for each kernel its block and ceilings of what it uses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Architectures of the table: A100, H100, B200.
pub const ARCHITECTURES: [u32; 3] = [80, 90, 100];

const HEAD: &str = "\
# Every distinct kernel of pipelines/*.yaml and of some published sizes of BERT, as NVRTC compiles it:
# threads of a block, bytes of static shared memory, registers of a thread for each architecture. No kernel
# spills. The numbers are ceilings: a kernel may use less. A name is the phase, the first place in the model
# where the kernel is met (* for any layer), its kind and its rows x columns; `bf16` is before those that only
# programs with activations stored as bfloat16 have.
";

/// One kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Threads of a block.
    pub threads: u32,
    /// Shared memory of a block.
    pub shared_bytes: u32,
    /// Registers of a thread, by architecture.
    pub registers: [u32; ARCHITECTURES.len()],
}

/// Rows by the names of their kernels.
pub type Table = BTreeMap<String, Row>;

/// Where the committed table is.
pub fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kernels.txt")
}

/// The table as text.
pub fn text(table: &Table) -> String {
    let mut text = HEAD.to_string();
    let _ = write!(text, "# threads shared");
    for architecture in ARCHITECTURES {
        let _ = write!(text, " {:>6}", format!("sm_{architecture}"));
    }
    text.push_str(" kernel\n");
    for (name, row) in table {
        let _ = write!(text, "{:9} {:6}", row.threads, row.shared_bytes);
        for registers in row.registers {
            let _ = write!(text, " {registers:6}");
        }
        let _ = writeln!(text, " {name}");
    }
    text
}

/// Reads what [`text`] wrote; lines that begin with `#` are for people.
pub fn parse(text: &str) -> Result<Table, String> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| row(line).ok_or_else(|| format!("not a row of the table: `{line}`")))
        .collect()
}

fn row(line: &str) -> Option<(String, Row)> {
    let mut numbers = [0; 2 + ARCHITECTURES.len()];
    let mut rest = line;
    for number in &mut numbers {
        let (text, after) = rest.trim_start().split_once(' ')?;
        *number = text.parse().ok()?;
        rest = after;
    }
    let [threads, shared_bytes, registers @ ..] = numbers;
    let row = Row {
        threads,
        shared_bytes,
        registers,
    };
    Some((rest.into(), row))
}

/// What of the found table the committed one does not allow, in words.
pub fn differences(committed: &Table, found: &Table) -> Vec<String> {
    let mut all = vec![];
    for (name, row) in found {
        let Some(ceiling) = committed.get(name) else {
            all.push(format!("{name}: is new"));
            continue;
        };
        if row.threads != ceiling.threads {
            let (now, before) = (row.threads, ceiling.threads);
            all.push(format!("{name}: {now} threads, the table has {before}"));
        }
        if row.shared_bytes > ceiling.shared_bytes {
            let (now, most) = (row.shared_bytes, ceiling.shared_bytes);
            all.push(format!(
                "{name}: {now} bytes of shared memory, at most {most}"
            ));
        }
        let registers = row.registers.iter().zip(ceiling.registers);
        for ((now, most), architecture) in registers.zip(ARCHITECTURES) {
            if *now > most {
                let what = format!("{now} registers on sm_{architecture}, at most {most}");
                all.push(format!("{name}: {what}"));
            }
        }
    }
    let gone = committed.keys().filter(|name| !found.contains_key(*name));
    all.extend(gone.map(|name| format!("{name}: is gone")));
    all
}
