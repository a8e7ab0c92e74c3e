//! Red zones around allocations, where accesses are not checked one by one.

use super::{Memory, RED, RED_ZONE};
use crate::emulator::LIVE;
use crate::settings::Checks;
use crate::status::{Fault, Status};

impl Memory {
    /// A red zone that something has written to, if there is one. Where accesses are checked one by
    /// one this finds nothing; it is for [`Checks::Off`].
    pub(super) fn spoilt(&self, base: u64) -> Option<String> {
        let allocation = self.allocations.get(&base)?;
        if self.checks == Checks::Address {
            return None;
        }
        allocation.block?;
        let (start, end) = (base - RED_ZONE, base + allocation.region.bytes);
        // SAFETY: both red zones lie in the allocation's block.
        let (before, after) = unsafe {
            (
                std::slice::from_raw_parts(start as *const u8, RED_ZONE as usize),
                std::slice::from_raw_parts(end as *const u8, RED_ZONE as usize),
            )
        };
        let id = allocation.region.id;
        let before = before.iter().rev().position(|b| *b != RED);
        let after = after.iter().position(|b| *b != RED);
        match (before, after) {
            (None, None) => None,
            (Some(n), _) => Some(format!(
                "something wrote {} bytes before allocation {id}",
                n + 1
            )),
            (_, Some(n)) => Some(format!(
                "something wrote {n} bytes past the end of allocation {id}"
            )),
        }
    }

    /// Looks at every red zone.
    ///
    /// # Errors
    /// One has been written to.
    pub fn verify(&self) -> Result<(), Fault> {
        if self.checks != Checks::Off {
            return Ok(());
        }
        let live = self.allocations.values().filter(|a| a.region.state == LIVE);
        match live.filter_map(|a| self.spoilt(a.region.base)).next() {
            None => Ok(()),
            Some(message) => Err(Fault {
                status: Status::ILLEGAL_ADDRESS,
                message,
            }),
        }
    }
}

/// Calls the address sanitizer if its library is in the process.
pub fn sanitizer(function: &str, address: u64, bytes: u64) {
    let name = std::ffi::CString::new(function).unwrap_or_default();
    // SAFETY: looks a name up in what is loaded; the sanitizer's functions have this signature.
    unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
        if !found.is_null() {
            let call: extern "C" fn(*const u8, usize) = std::mem::transmute(found);
            call(address as *const u8, bytes as usize);
        }
    }
}
