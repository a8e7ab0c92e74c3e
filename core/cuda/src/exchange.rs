//! What goes to the device for a run and comes back from it.
//!
//! Owns: pinned memory for both ways, as many pieces of it as runs are under way, and the marks that say when a
//! piece is free. Must not know: programs, names.

use crate::device::{Device, Event, Stream};
use crate::error::CudaError;
use crate::memory::{Memory, Pinned};
use std::cell::Cell;

/// Runs of one program that may be queued before the host waits for the first one's inputs to be fetched:
/// bounds the memory and the device's queue.
const MOST: usize = 32;

/// First element and length of an output.
pub type Part = (usize, usize);

#[derive(Debug)]
struct Sent {
    memory: Pinned,
    fetched: Event,
}

/// Inputs on their way to the device.
#[derive(Debug)]
pub struct Inputs {
    device: Memory,
    /// In the order of sending: behind the last one lies the first.
    ring: Vec<Sent>,
    last: usize,
}

impl Inputs {
    /// Room for `len` elements a run. The device must be current.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(len: usize) -> Result<Self, CudaError> {
        let mut inputs = Inputs {
            device: Memory::new(len, "the inputs of a program")?,
            ring: vec![],
            last: 0,
        };
        inputs.ring.push(inputs.another()?);
        inputs.ring.push(inputs.another()?);
        Ok(inputs)
    }

    fn another(&self) -> Result<Sent, CudaError> {
        Ok(Sent {
            memory: Pinned::new(self.device.len())?,
            fetched: Event::new(false)?,
        })
    }

    /// Address on the device.
    pub fn address(&self) -> u64 {
        self.device.address()
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.device.len()
    }

    /// Goes on to memory that is free to be filled.
    ///
    /// # Errors
    /// Work that used it failed, or there is not enough memory.
    pub fn advance(&mut self) -> Result<(), CudaError> {
        let oldest = (self.last + 1) % self.ring.len();
        if self.ring[oldest].fetched.is_reached()? {
            self.last = oldest;
        } else if self.ring.len() < MOST {
            let another = self.another()?;
            self.last += 1;
            self.ring.insert(self.last, another);
        } else {
            self.ring[oldest].fetched.wait()?;
            self.last = oldest;
        }
        Ok(())
    }

    /// What is to be filled for the next run.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        self.ring[self.last].memory.as_mut_slice()
    }

    /// Queues the copy to the device.
    ///
    /// # Errors
    /// The driver refuses.
    ///
    /// # Safety
    /// This lives until the stream has come past.
    pub unsafe fn send(&self, stream: &Stream) -> Result<(), CudaError> {
        let sent = &self.ring[self.last];
        // SAFETY: both have one length; the rest is the caller's promise.
        unsafe { sent.memory.send(self.device.address(), stream) }?;
        sent.fetched.record(stream)
    }
}

#[derive(Debug)]
struct Received {
    memory: Pinned,
    done: Event,
    pending: Cell<bool>,
    /// How often it was kept and not read yet.
    kept: usize,
}

/// Outputs on their way back: collected on the device, and fetched in one piece to a place that no one keeps.
#[derive(Debug)]
pub struct Outputs {
    device: Memory,
    places: Vec<Received>,
    last: usize,
}

impl Outputs {
    /// Room for `len` elements a run. The device must be current.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(len: usize) -> Result<Self, CudaError> {
        let mut outputs = Outputs {
            device: Memory::new(len, "the outputs of a program")?,
            places: vec![],
            last: 0,
        };
        outputs.places.push(outputs.another()?);
        Ok(outputs)
    }

    fn another(&self) -> Result<Received, CudaError> {
        Ok(Received {
            memory: Pinned::new(self.device.len())?,
            done: Event::new(false)?,
            pending: Cell::new(false),
            kept: 0,
        })
    }

    /// Address on the device where outputs are collected.
    pub fn address(&self) -> u64 {
        self.device.address()
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.device.len()
    }

    /// Queues the copy of what was collected.
    ///
    /// # Errors
    /// The driver refuses, or there is not enough memory.
    ///
    /// # Safety
    /// This lives until the stream has come past.
    pub unsafe fn receive(&mut self, stream: &Stream) -> Result<(), CudaError> {
        if self.places[self.last].kept > 0 {
            let free = self.places.iter().position(|place| place.kept == 0);
            self.last = match free {
                Some(place) => place,
                None => {
                    self.places.push(self.another()?);
                    self.places.len() - 1
                }
            };
        }
        let (from, len) = (self.device.address(), self.device.len());
        let place = &mut self.places[self.last];
        if len > 0 {
            // SAFETY: both have one length; the rest is the caller's promise.
            unsafe { place.memory.receive(0, len, from, stream) }?;
        }
        place.done.record(stream)?;
        place.pending.set(true);
        Ok(())
    }

    fn waited(&self, place: usize, device: &Device) -> Result<&[f32], CudaError> {
        let place = &self.places[place];
        if place.pending.get() {
            device.make_current()?;
            if !place.done.is_reached()? {
                place.done.wait()?;
            }
            place.pending.set(false);
        }
        Ok(place.memory.as_slice())
    }

    /// Outputs of the last run, which is waited for.
    ///
    /// # Errors
    /// The run failed.
    pub fn newest(&self, device: &Device) -> Result<&[f32], CudaError> {
        self.waited(self.last, device)
    }

    /// Keeps the outputs of the last run; the number of their place.
    pub fn keep(&mut self) -> usize {
        self.places[self.last].kept += 1;
        self.last
    }

    /// Parts of what was kept; none if nothing is kept there.
    ///
    /// # Errors
    /// The run failed.
    pub fn read(
        &mut self,
        place: usize,
        parts: &[Part],
        device: &Device,
    ) -> Result<Option<Vec<f32>>, CudaError> {
        match self.places.get_mut(place) {
            Some(kept) if kept.kept > 0 => kept.kept -= 1,
            _ => return Ok(None),
        }
        let values = self.waited(place, device)?;
        let part = |(at, len): &Part| values.get(*at..at + len).unwrap_or_default();
        Ok(Some(parts.iter().flat_map(part).copied().collect()))
    }
}
