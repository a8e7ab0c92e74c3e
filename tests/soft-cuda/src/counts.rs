//! What the device has been asked to do.

use libloading::os::unix::Library;

/// Mirrors `device/src/counts.rs`. Work counts when it is queued, captured work when its graph is launched.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels launched.
    pub kernels: u64,
    /// Matrix products.
    pub products: u64,
    /// Copies between host and device.
    pub transfers: u64,
    /// Copies on the device.
    pub copies: u64,
    /// Fills.
    pub fills: u64,
    /// Device allocations.
    pub allocations: u64,
    /// Graphs launched.
    pub graphs: u64,
    /// Times that the host waited.
    pub waits: u64,
    /// Accesses of kernels that were checked.
    pub accesses: u64,
    /// Block-wide barriers.
    pub barriers: u64,
    /// Warp operations.
    pub collectives: u64,
}

impl Counts {
    /// The counts of the device in this process since it began; all 0 where none is loaded.
    pub fn now() -> Counts {
        let mut counts = Counts::default();
        // SAFETY: the function is the device's own and fills this struct.
        unsafe {
            let library = Library::new("libcuda.so.1");
            if let Ok(library) = &library {
                let get =
                    library.get::<unsafe extern "C" fn(*mut Counts) -> i32>(b"soft_cuda_counts\0");
                if let Ok(get) = get {
                    get(&mut counts);
                }
            }
        }
        counts
    }

    /// What was done since.
    pub fn since(self, earlier: Counts) -> Counts {
        Counts {
            kernels: self.kernels - earlier.kernels,
            products: self.products - earlier.products,
            transfers: self.transfers - earlier.transfers,
            copies: self.copies - earlier.copies,
            fills: self.fills - earlier.fills,
            allocations: self.allocations - earlier.allocations,
            graphs: self.graphs - earlier.graphs,
            waits: self.waits - earlier.waits,
            accesses: self.accesses - earlier.accesses,
            barriers: self.barriers - earlier.barriers,
            collectives: self.collectives - earlier.collectives,
        }
    }
}
