//! What `ptxas -v` says about kernels.

/// What one kernel uses on one architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Its name.
    pub name: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes that a thread writes to memory for lack of registers.
    pub spill_stores_bytes: u32,
    /// Bytes that it reads back.
    pub spill_loads_bytes: u32,
    /// Its stack: spills, and local arrays whose places are not known at compile time.
    pub stack_bytes: u32,
    /// Static shared memory of a block.
    pub shared_bytes: u32,
    /// Named barriers.
    pub barriers: u32,
}

impl Usage {
    /// Reads the log of `--ptxas-options=-v`: its kernels, by name.
    pub fn read(log: &str) -> Vec<Usage> {
        let mut kernels: Vec<Usage> = vec![];
        for line in log.lines() {
            if let Some((_, rest)) = line.split_once("Compiling entry function '") {
                kernels.push(Usage {
                    name: rest.split('\'').next().unwrap_or_default().into(),
                    ..Usage::default()
                });
            }
            let Some(kernel) = kernels.last_mut() else {
                continue;
            };
            let before = |text: &str| number_before(line, text);
            if line.contains("bytes stack frame") {
                kernel.stack_bytes = before("bytes stack frame").unwrap_or(0);
                kernel.spill_stores_bytes = before("bytes spill stores").unwrap_or(0);
                kernel.spill_loads_bytes = before("bytes spill loads").unwrap_or(0);
            }
            if let Some(registers) = before("registers") {
                kernel.registers = registers;
                kernel.barriers = before("barriers").unwrap_or(0);
                kernel.shared_bytes = before("bytes smem").unwrap_or(0);
            }
        }
        kernels.sort_by(|a, b| a.name.cmp(&b.name));
        kernels
    }
}

/// The number that stands before a text.
fn number_before(line: &str, text: &str) -> Option<u32> {
    let (before, _) = line.split_once(text)?;
    before.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_log() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'b' for 'sm_80'\n\
            ptxas info    : Function properties for b\n\
            ptxas         .     16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads\n\
            ptxas info    : Used 31 registers, used 1 barriers, 144 bytes smem, 388 bytes cmem[0]\n\
            ptxas info    : Compiling entry function 'a' for 'sm_80'\n\
            \u{20}   0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 8 registers, 376 bytes cmem[0]\n";
        let b = Usage {
            name: "b".into(),
            registers: 31,
            spill_stores_bytes: 12,
            spill_loads_bytes: 8,
            stack_bytes: 16,
            shared_bytes: 144,
            barriers: 1,
        };
        let a = Usage {
            name: "a".into(),
            registers: 8,
            ..Usage::default()
        };
        assert_eq!(Usage::read(log), [a, b]);
    }
}
