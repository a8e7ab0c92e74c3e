//! Opaque handles: numbers that name an object and are never used again after it is gone.

use crate::refuse;
use crate::status::Refusal;
use std::collections::BTreeMap;

/// Objects of one kind by handle. A handle is no address, so that one that is stale or of another kind
/// is recognised instead of followed.
#[derive(Debug)]
pub struct Handles<T> {
    kind: &'static str,
    next: u64,
    objects: BTreeMap<u64, T>,
}

impl<T> Handles<T> {
    /// An empty table. `tag` tells kinds apart; it must be unique and not 0.
    pub fn new(kind: &'static str, tag: u8) -> Self {
        Handles {
            kind,
            next: 0x5c00_0000_0000 | u64::from(tag) << 32,
            objects: BTreeMap::new(),
        }
    }

    /// Adds an object.
    pub fn insert(&mut self, object: T) -> u64 {
        self.next += 16;
        self.objects.insert(self.next, object);
        self.next
    }

    fn unknown(&self, handle: u64) -> Refusal {
        let same_kind = handle >> 32 == self.next >> 32 && handle <= self.next;
        let why = match (handle, same_kind) {
            (0, _) => "is null",
            (_, true) => "was destroyed",
            _ => "is no such handle",
        };
        refuse!(INVALID_HANDLE, "{} {handle:#x} {why}", self.kind)
    }

    /// The object of a handle.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, handle: u64) -> Result<&T, Refusal> {
        self.objects
            .get(&handle)
            .ok_or_else(|| self.unknown(handle))
    }

    /// The object of a handle.
    ///
    /// # Errors
    /// There is none.
    pub fn get_mut(&mut self, handle: u64) -> Result<&mut T, Refusal> {
        if !self.objects.contains_key(&handle) {
            return Err(self.unknown(handle));
        }
        self.objects
            .get_mut(&handle)
            .ok_or_else(|| refuse!(INVALID_HANDLE, "{handle:#x}"))
    }

    /// Takes an object out.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(&mut self, handle: u64) -> Result<T, Refusal> {
        match self.objects.remove(&handle) {
            Some(object) => Ok(object),
            None => Err(self.unknown(handle)),
        }
    }

    /// Every object with its handle.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.objects
            .iter()
            .map(|(handle, object)| (*handle, object))
    }

    /// Every object, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.objects.values_mut()
    }
}
