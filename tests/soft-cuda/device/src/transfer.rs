//! Copies and fills.
//!
//! Host memory that the driver did not allocate ("pageable") is read when the copy is queued and
//! written before the call returns, as the driver stages it. Pinned memory is read and written when
//! the copy runs: until the program waits, the destination of a read-back holds 0xff bytes.

use crate::context::Context;
use crate::counts::Sort;
use crate::memory::{Kind, POISON};
use crate::refuse;
use crate::status::Refusal;
use crate::stream::Work;

/// One side of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Device memory.
    Device,
    /// Host memory.
    Host,
}

/// A copy.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Copy {
    pub to: u64,
    pub to_side: Side,
    pub from: u64,
    pub from_side: Side,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Device,
    Pinned,
    Pageable,
}

impl Context {
    /// Which side an address is on, for calls that take either.
    pub fn side(&self, address: u64) -> Side {
        match self.memory.span(address, 1) {
            Ok(allocation) if allocation.kind == Kind::Device => Side::Device,
            _ => Side::Host,
        }
    }

    fn memory_of(
        &self,
        address: u64,
        bytes: u64,
        side: Side,
        what: &str,
    ) -> Result<Memory, Refusal> {
        if address == 0 {
            return Err(refuse!(INVALID_VALUE, "the {what} is null"));
        }
        match (side, self.memory.span(address, bytes)) {
            (Side::Device, Ok(_)) => Ok(Memory::Device),
            (Side::Device, Err(text)) => Err(refuse!(INVALID_VALUE, "{what}: {text}")),
            (Side::Host, Ok(allocation)) if allocation.kind == Kind::Device => Err(refuse!(
                INVALID_VALUE,
                "{what}: {address:#x} is device memory, host memory is expected"
            )),
            (Side::Host, Ok(_)) => Ok(Memory::Pinned),
            (Side::Host, Err(_)) => match self.memory.span(address, 1) {
                Ok(_) => Err(refuse!(
                    INVALID_VALUE,
                    "{what}: {bytes} bytes at {address:#x} reach beyond pinned memory"
                )),
                Err(text) if text.contains("freed") => {
                    Err(refuse!(INVALID_VALUE, "{what}: {text}"))
                }
                Err(_) => Ok(Memory::Pageable),
            },
        }
    }

    /// Copies on a stream; `wait` as the calls without `Async` do.
    ///
    /// # Errors
    /// A span is not what it should be; a capture forbids the copy; the fault of what ran.
    ///
    /// # Safety
    /// Host spans that are not pinned are valid for the copy.
    pub unsafe fn copy(&mut self, copy: Copy, stream: u64, wait: bool) -> Result<(), Refusal> {
        let Copy {
            to, from, bytes, ..
        } = copy;
        let id = self.stream_id(stream)?;
        if wait {
            self.refuse_during_capture("a copy that waits")?;
        }
        if bytes == 0 {
            return Ok(());
        }
        let into = self.memory_of(to, bytes, copy.to_side, "destination")?;
        let out_of = self.memory_of(from, bytes, copy.from_side, "source")?;
        if to < from + bytes && from < to + bytes {
            return Err(refuse!(INVALID_VALUE, "source and destination overlap"));
        }
        let capturing = self.stream(id)?.capture.is_some();
        if capturing && (into == Memory::Pageable || out_of == Memory::Pageable) {
            self.invalidate_capture(id)?;
            return Err(refuse!(
                STREAM_CAPTURE_UNSUPPORTED,
                "a copy of pageable host memory while its stream is being captured"
            ));
        }
        let staged: Option<Vec<u8>> = (out_of == Memory::Pageable).then(|| {
            // SAFETY: the caller's promise.
            unsafe { std::slice::from_raw_parts(from as *const u8, bytes as usize) }.to_vec()
        });
        if into == Memory::Pinned && out_of == Memory::Device && !capturing {
            // SAFETY: pinned memory of at least this length.
            unsafe { (to as *mut u8).write_bytes(POISON, bytes as usize) };
        }
        let both = (into == Memory::Device, out_of == Memory::Device);
        let sort = if both == (true, true) {
            Sort::Copy
        } else {
            Sort::Transfer
        };
        let label = format!("copy of {bytes} bytes, {into:?} from {out_of:?} memory");
        let work = Work::new(sort, label, move |cx, ready| {
            let turn = cx.turn(ready, 1);
            if out_of != Memory::Pageable {
                cx.memory.touch(&turn, from, bytes, false)?;
            }
            if into != Memory::Pageable {
                cx.memory.touch(&turn, to, bytes, true)?;
            }
            let source = staged
                .as_ref()
                .map_or(from as *const u8, |bytes| bytes.as_ptr());
            // SAFETY: both spans were just found to be alive, or are the caller's promise; they do
            // not overlap.
            unsafe { source.copy_to_nonoverlapping(to as *mut u8, bytes as usize) };
            Ok(())
        });
        self.submit(stream, work)?;
        if wait || into == Memory::Pageable {
            self.wait_for_stream(id)?;
        }
        Ok(())
    }

    /// Fills `count` elements of 1, 2 or 4 bytes; `wait` as the calls without `Async` do.
    ///
    /// # Errors
    /// The span is not device memory or not aligned; the fault of what ran.
    pub fn fill(
        &mut self,
        to: u64,
        pattern: &[u8],
        count: u64,
        stream: u64,
        wait: bool,
    ) -> Result<(), Refusal> {
        let id = self.stream_id(stream)?;
        if wait {
            self.refuse_during_capture("a fill that waits")?;
        }
        let bytes = count * pattern.len() as u64;
        if bytes == 0 {
            return Ok(());
        }
        self.memory_of(to, bytes, Side::Device, "destination")?;
        if !to.is_multiple_of(pattern.len() as u64) {
            return Err(refuse!(
                INVALID_VALUE,
                "{to:#x} is not a multiple of {}",
                pattern.len()
            ));
        }
        let pattern = pattern.to_vec();
        let work = Work::new(
            Sort::Fill,
            format!("fill of {bytes} bytes"),
            move |cx, ready| {
                let turn = cx.turn(ready, 1);
                cx.memory.touch(&turn, to, bytes, true)?;
                // SAFETY: the span was just found to be alive.
                let span = unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes as usize) };
                for element in span.chunks_exact_mut(pattern.len()) {
                    element.copy_from_slice(&pattern);
                }
                Ok(())
            },
        );
        self.submit(stream, work)?;
        if wait {
            self.wait_for_stream(id)?;
        }
        Ok(())
    }

    /// Allocates device memory in a stream's order.
    ///
    /// # Errors
    /// There is not enough; the stream is being captured.
    pub fn allocate_in_order(&mut self, bytes: u64, stream: u64) -> Result<u64, Refusal> {
        let id = self.stream_id(stream)?;
        if self.stream(id)?.capture.is_some() {
            self.invalidate_capture(id)?;
            return Err(refuse!(
                STREAM_CAPTURE_UNSUPPORTED,
                "allocations inside a graph are not part of the software device"
            ));
        }
        if bytes == 0 {
            return Ok(0);
        }
        let address = self.memory.allocate(bytes, Kind::Device)?;
        self.counts.allocations += 1;
        let work = Work::new(
            Sort::Other,
            format!("allocation of {bytes} bytes"),
            move |cx, ready| {
                let turn = cx.turn(ready, 1);
                cx.memory.touch(&turn, address, bytes, true)
            },
        );
        self.submit(stream, work)?;
        Ok(address)
    }

    /// Frees device memory in a stream's order.
    ///
    /// # Errors
    /// It is no allocation.
    pub fn free_in_order(&mut self, address: u64, stream: u64) -> Result<(), Refusal> {
        let id = self.stream_id(stream)?;
        if address == 0 {
            return Ok(());
        }
        if self.stream(id)?.capture.is_some() {
            self.invalidate_capture(id)?;
            return Err(refuse!(
                STREAM_CAPTURE_UNSUPPORTED,
                "freeing memory inside a graph is not part of the software device"
            ));
        }
        let bytes = self.memory.owned(address, &[Kind::Device])?.region.bytes;
        let work = Work::new(
            Sort::Other,
            format!("free of {bytes} bytes"),
            move |cx, ready| {
                let turn = cx.turn(ready, 1);
                cx.memory.touch(&turn, address, bytes, true)?;
                let freed = cx.memory.free(address, &[Kind::Device]);
                freed.map_err(|refusal| crate::status::Fault {
                    status: refusal.status,
                    message: refusal.message,
                })
            },
        );
        self.submit(stream, work)
    }
}
