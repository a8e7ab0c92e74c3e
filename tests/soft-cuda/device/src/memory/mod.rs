//! Device memory, which is host memory that is known piece by piece.
//!
//! Owns: every allocation with its bounds and its record of accesses. Memory that was freed stays
//! mapped and known for a while, so that a use after free is named as such. What is fresh or freed is
//! filled with 0xff bytes: NaN as f32 and as bf16, -1 as an integer.

mod cells;
mod guard;

pub use cells::{attach, detach, refine};

use crate::emulator::{Range, Region, FREED, LIVE};
use crate::refuse;
use crate::settings::Checks;
use crate::status::{Fault, Refusal, Status};
use cells::Verdict;
use guard::sanitizer;
use std::alloc::Layout;
use std::collections::{BTreeMap, VecDeque};

/// Addresses of allocations are multiples of this, as a device's are.
pub const ALIGNMENT: u64 = 256;
/// Bytes around an allocation that belong to nobody.
const RED_ZONE: u64 = 256;
const RED: u8 = 0xa5;
/// What fresh memory holds.
pub const POISON: u8 = 0xff;
/// Freed memory is kept back up to this much.
const QUARANTINE_BYTES: u64 = 256 << 20;

/// Whose memory an allocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The device's.
    Device,
    /// The host's, allocated by the driver.
    Pinned,
    /// The host's, allocated by the program and made known to the driver.
    Registered,
}

/// A piece of memory.
#[derive(Debug)]
pub struct Allocation {
    /// What the emulator sees of it. Boxed, for the emulator keeps its address.
    pub region: Box<Region>,
    /// Whose it is.
    pub kind: Kind,
    block: Option<(*mut u8, Layout)>,
}

/// The serial of a piece of work, and which earlier ones nothing orders before it.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Its first (and for a copy, only) serial.
    pub serial: u32,
    /// Serials of unordered work.
    pub unordered: Vec<Range>,
    /// Whether more than one stream has ever been used; with one there is nothing to compare.
    pub several_streams: bool,
}

/// All memory.
#[derive(Debug)]
pub struct Memory {
    allocations: BTreeMap<u64, Allocation>,
    quarantine: VecDeque<u64>,
    quarantined_bytes: u64,
    used_bytes: u64,
    total_bytes: u64,
    next_id: u64,
    checks: Checks,
    list: Vec<*mut Region>,
}

// SAFETY: the raw pointers point to memory that the struct owns, and the device's lock guards it.
unsafe impl Send for Memory {}

impl Memory {
    /// An empty device.
    pub fn new(total_bytes: u64, checks: Checks) -> Self {
        Memory {
            allocations: BTreeMap::new(),
            quarantine: VecDeque::new(),
            quarantined_bytes: 0,
            used_bytes: 0,
            total_bytes,
            next_id: 0,
            checks,
            list: vec![],
        }
    }

    /// Free and total bytes of the device.
    pub fn info(&self) -> (u64, u64) {
        (self.total_bytes - self.used_bytes, self.total_bytes)
    }

    /// Every region, sorted by address, for the emulator.
    pub fn regions(&mut self) -> &[*mut Region] {
        if self.list.len() != self.allocations.len() {
            self.list = self
                .allocations
                .values_mut()
                .map(|a| &raw mut *a.region)
                .collect();
        }
        &self.list
    }

    /// Allocates memory.
    ///
    /// # Errors
    /// 0 bytes, or more than are free.
    pub fn allocate(&mut self, bytes: u64, kind: Kind) -> Result<u64, Refusal> {
        if bytes == 0 {
            return Err(refuse!(INVALID_VALUE, "an allocation of 0 bytes"));
        }
        let device = kind == Kind::Device;
        if device && bytes > self.total_bytes - self.used_bytes {
            return Err(Refusal::quiet(Status::OUT_OF_MEMORY));
        }
        let size = bytes + 2 * RED_ZONE;
        let layout = Layout::from_size_align(size as usize, ALIGNMENT as usize)
            .map_err(|_| Refusal::quiet(Status::OUT_OF_MEMORY))?;
        // SAFETY: the layout has more than 0 bytes.
        let block = unsafe { std::alloc::alloc(layout) };
        if block.is_null() {
            return Err(Refusal::quiet(Status::OUT_OF_MEMORY));
        }
        // SAFETY: all three pieces lie in the block just allocated.
        unsafe {
            block.write_bytes(RED, RED_ZONE as usize);
            block
                .add(RED_ZONE as usize)
                .write_bytes(POISON, bytes as usize);
            block
                .add((RED_ZONE + bytes) as usize)
                .write_bytes(RED, RED_ZONE as usize);
        }
        let base = block as u64 + RED_ZONE;
        if self.checks == Checks::Address {
            sanitizer("__asan_poison_memory_region", base - RED_ZONE, RED_ZONE);
            sanitizer("__asan_poison_memory_region", base + bytes, RED_ZONE);
        }
        if device {
            self.used_bytes += bytes;
        }
        self.add(base, bytes, kind, Some((block, layout)));
        Ok(base)
    }

    /// Makes host memory known that the program has allocated itself.
    ///
    /// # Errors
    /// A part of it is known already.
    pub fn register(&mut self, base: u64, bytes: u64) -> Result<(), Refusal> {
        let before = self.allocations.range(..base + bytes).next_back();
        if before.is_some_and(|(_, a)| a.region.base + a.region.bytes > base) {
            return Err(refuse!(
                HOST_MEMORY_ALREADY_REGISTERED,
                "{bytes} bytes at {base:#x} are registered already"
            ));
        }
        self.add(base, bytes, Kind::Registered, None);
        Ok(())
    }

    fn add(&mut self, base: u64, bytes: u64, kind: Kind, block: Option<(*mut u8, Layout)>) {
        self.next_id += 1;
        let mut region = Box::new(Region {
            base,
            bytes,
            cells: std::ptr::null_mut(),
            shift: 2,
            state: LIVE,
            id: self.next_id,
        });
        if self.checks == Checks::Access {
            cells::attach(&mut region);
        }
        self.list.clear();
        self.allocations.insert(
            base,
            Allocation {
                region,
                kind,
                block,
            },
        );
    }

    /// The allocation that starts at an address.
    ///
    /// # Errors
    /// There is none, or it has been freed, or it is of another kind.
    pub fn owned(&self, base: u64, kinds: &[Kind]) -> Result<&Allocation, Refusal> {
        let found = self.allocations.get(&base);
        match found {
            Some(a) if a.region.state == FREED => Err(refuse!(
                INVALID_VALUE,
                "allocation {} at {base:#x} has been freed before",
                a.region.id
            )),
            Some(a) if kinds.contains(&a.kind) => Ok(a),
            Some(a) => Err(refuse!(
                INVALID_VALUE,
                "{base:#x} is {:?} memory, and this call is for {kinds:?}",
                a.kind
            )),
            None => Err(refuse!(INVALID_VALUE, "no allocation starts at {base:#x}")),
        }
    }

    /// Frees an allocation: from now on its use is an error.
    ///
    /// # Errors
    /// As [`Memory::owned`], and when something was written outside of it.
    pub fn free(&mut self, base: u64, kinds: &[Kind]) -> Result<(), Refusal> {
        self.owned(base, kinds)?;
        let spoilt = self.spoilt(base);
        let Some(allocation) = self.allocations.get_mut(&base) else {
            return Ok(());
        };
        let bytes = allocation.region.bytes;
        if allocation.block.is_none() {
            self.forget(base);
            return Ok(());
        }
        allocation.region.state = FREED;
        // SAFETY: the allocation is this many bytes long and still mapped.
        unsafe { (base as *mut u8).write_bytes(POISON, bytes as usize) };
        if self.checks == Checks::Address {
            sanitizer("__asan_poison_memory_region", base, bytes);
        }
        if allocation.kind == Kind::Device {
            self.used_bytes -= bytes;
        }
        self.quarantine.push_back(base);
        self.quarantined_bytes += bytes;
        while self.quarantined_bytes > QUARANTINE_BYTES {
            let Some(oldest) = self.quarantine.pop_front() else {
                break;
            };
            self.forget(oldest);
        }
        spoilt.map_or(Ok(()), |text| Err(refuse!(ILLEGAL_ADDRESS, "{text}")))
    }

    fn forget(&mut self, base: u64) {
        let Some(mut allocation) = self.allocations.remove(&base) else {
            return;
        };
        self.list.clear();
        cells::detach(&mut allocation.region);
        if let Some((block, layout)) = allocation.block {
            self.quarantined_bytes -= allocation.region.bytes;
            if self.checks == Checks::Address {
                sanitizer(
                    "__asan_unpoison_memory_region",
                    block as u64,
                    layout.size() as u64,
                );
            }
            // SAFETY: allocated with this layout and freed once, for the entry is gone.
            unsafe { std::alloc::dealloc(block, layout) };
        }
    }

    /// The allocation that holds all bytes of a span.
    ///
    /// # Errors
    /// A text that says what is wrong with the span.
    pub fn span(&self, address: u64, bytes: u64) -> Result<&Allocation, String> {
        let before = self.allocations.range(..=address).next_back();
        let near = before
            .map(|(_, a)| a)
            .filter(|a| address - a.region.base < a.region.bytes.max(1) + (1 << 20));
        let Some(allocation) = near else {
            return Err(format!(
                "{bytes} bytes at {address:#x} are in no allocation"
            ));
        };
        let region = &allocation.region;
        let (id, offset) = (region.id, address - region.base);
        if offset + bytes > region.bytes {
            return Err(format!(
                "{bytes} bytes at byte {offset} of allocation {id} reach {} bytes past its end",
                offset + bytes - region.bytes
            ));
        }
        if region.state == FREED {
            return Err(format!(
                "{bytes} bytes at byte {offset} of allocation {id}, which has been freed"
            ));
        }
        Ok(allocation)
    }

    /// Checks and records that work of the device itself (a copy, a matrix product) reads or writes a
    /// span.
    ///
    /// # Errors
    /// The span is not inside a live allocation, or unordered work has touched it.
    pub fn touch(
        &mut self,
        turn: &Turn,
        address: u64,
        bytes: u64,
        write: bool,
    ) -> Result<(), Fault> {
        if bytes == 0 {
            return Ok(());
        }
        let verb = if write { "writes" } else { "reads" };
        let base = match self.span(address, bytes) {
            Ok(allocation) => allocation.region.base,
            Err(text) => {
                return Err(Fault {
                    status: Status::ILLEGAL_ADDRESS,
                    message: format!("{verb} {text}"),
                })
            }
        };
        let Some(allocation) = self.allocations.get_mut(&base) else {
            return Ok(());
        };
        if !turn.several_streams {
            return Ok(());
        }
        let offset = address - base;
        match cells::touch(&mut allocation.region, turn, offset, bytes, write) {
            Verdict::Ordered => Ok(()),
            Verdict::Race { offset, written } => Err(Fault {
                status: Status::LAUNCH_FAILED,
                message: format!(
                    "race: {verb} byte {offset} of allocation {}, which work that nothing orders \
                     before (on another stream) has {}",
                    allocation.region.id,
                    if written { "written" } else { "read" }
                ),
            }),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let all: Vec<u64> = self.allocations.keys().copied().collect();
        for base in all {
            self.forget(base);
        }
    }
}

#[cfg(test)]
mod tests;
