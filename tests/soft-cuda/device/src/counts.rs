//! What a program has had the device do: for tables of launches, and for tests.

/// Counted when the work is queued; work that is captured counts when its graph is launched.
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
    /// Accesses to memory that were checked.
    pub accesses: u64,
    /// Block-wide barriers.
    pub barriers: u64,
    /// Warp operations.
    pub collectives: u64,
}

/// What a piece of work counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Sort {
    Kernel,
    Product,
    Transfer,
    Copy,
    Fill,
    Other,
}

impl Counts {
    /// Nothing done.
    pub const NONE: Counts = Counts {
        kernels: 0,
        products: 0,
        transfers: 0,
        copies: 0,
        fills: 0,
        allocations: 0,
        graphs: 0,
        waits: 0,
        accesses: 0,
        barriers: 0,
        collectives: 0,
    };

    /// Counts a piece of work.
    pub fn add(&mut self, sort: Sort) {
        match sort {
            Sort::Kernel => self.kernels += 1,
            Sort::Product => self.products += 1,
            Sort::Transfer => self.transfers += 1,
            Sort::Copy => self.copies += 1,
            Sort::Fill => self.fills += 1,
            Sort::Other => {}
        }
    }

    /// The sum of both.
    pub fn plus(&self, other: &Counts) -> Counts {
        Counts {
            kernels: self.kernels + other.kernels,
            products: self.products + other.products,
            transfers: self.transfers + other.transfers,
            copies: self.copies + other.copies,
            fills: self.fills + other.fills,
            allocations: self.allocations + other.allocations,
            graphs: self.graphs + other.graphs,
            waits: self.waits + other.waits,
            accesses: self.accesses + other.accesses,
            barriers: self.barriers + other.barriers,
            collectives: self.collectives + other.collectives,
        }
    }
}
