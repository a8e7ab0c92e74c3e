//! Programs as lists of launches: how each kernel is launched, what it uses, moves and computes, and
//! the least time that it can take.
//!
//! Owns: equal launches as one entry, estimates from data sheets. Must not know: any device, any library; what
//! a program is for.

pub mod roofline;

use crate::print::{print, KernelSource, LibraryProduct, Printed, Work};
use crate::Precision;
use ablate_compiler::Program;
use roofline::Cost;
use std::sync::Arc;

/// A kernel and how often it is launched.
#[derive(Clone, Debug, PartialEq)]
pub struct Launched {
    /// The kernel as it is launched first.
    pub kernel: KernelSource,
    /// Launches of one run.
    pub launches: usize,
}

/// A matrix product and how often it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// The product as it is called first.
    pub product: LibraryProduct,
    /// Place in the model of the first.
    pub scope: Arc<str>,
    /// What one of them moves and computes.
    pub cost: Cost,
    /// Library calls of one run.
    pub launches: usize,
    /// Products of one run; a product may take several calls.
    pub products: usize,
}

/// Everything that one run of a program launches.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Distinct kernels, in the order of their first launch.
    pub kernels: Vec<Launched>,
    /// Distinct products, in the order of their first call.
    pub products: Vec<Product>,
    /// Copies and the bytes that they move together.
    pub copies: (usize, u64),
    /// Scratch memory.
    pub scratch_bytes: usize,
}

impl Listing {
    /// Prints a program and lists its launches.
    pub fn new(program: &Program) -> Self {
        Listing::of(program, print(program))
    }

    fn of(program: &Program, printed: Printed) -> Self {
        let mut listing = Listing {
            scratch_bytes: printed.scratch_bytes,
            ..Listing::default()
        };
        for (work, time) in printed.steps.into_iter().zip(program.kernel_times()) {
            match work {
                Work::Kernels(kernels) => kernels.into_iter().for_each(|k| listing.kernel(k)),
                Work::Product(product) => {
                    let cost = Cost {
                        bytes: time.bytes as f64,
                        flops: 0.0,
                        product_flops: time.flops,
                    };
                    listing.product(product, time.scope, cost);
                }
                Work::Copy(..) => {
                    listing.copies.0 += 1;
                    listing.copies.1 += time.bytes;
                }
            }
        }
        listing
    }

    fn kernel(&mut self, kernel: KernelSource) {
        let same = |l: &&mut Launched| l.kernel.entry == kernel.entry;
        match self.kernels.iter_mut().find(same) {
            Some(found) => found.launches += 1,
            None => self.kernels.push(Launched {
                kernel,
                launches: 1,
            }),
        }
    }

    fn product(&mut self, product: LibraryProduct, scope: Arc<str>, cost: Cost) {
        // Equal up to where the operands lie.
        let shape = |p: &LibraryProduct| {
            let calls = p.offsets.len();
            let layout = (p.transposed, p.sizes, p.leading, p.strides, p.batch);
            (p.storage, layout, calls)
        };
        let calls = product.offsets.len();
        let same = |p: &&mut Product| shape(&p.product) == shape(&product);
        match self.products.iter_mut().find(same) {
            Some(found) => {
                found.launches += calls;
                found.products += 1;
            }
            None => self.products.push(Product {
                product,
                scope,
                cost,
                launches: calls,
                products: 1,
            }),
        }
    }

    /// Launches of kernels, calls of the library and copies of one run.
    pub fn launches(&self) -> [usize; 3] {
        [
            self.kernels.iter().map(|k| k.launches).sum(),
            self.products.iter().map(|p| p.launches).sum(),
            self.copies.0,
        ]
    }

    /// Kernels with this name, `row 2048x128`, or this function, `row_0123456789`.
    pub fn find<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Launched> {
        let called = move |l: &&Launched| l.kernel.name == name || l.kernel.entry == name;
        self.kernels.iter().filter(called)
    }

    /// Seconds that one run takes at least, one launch after another; launching itself costs nothing.
    pub fn seconds(&self, device: &roofline::DataSheet, products: Precision) -> f64 {
        let kernels = self.kernels.iter().map(|l| (l.cost(), l.launches));
        let calls = self.products.iter().map(|p| (p.cost, p.products));
        let copies = Cost {
            bytes: self.copies.1 as f64,
            ..Cost::default()
        };
        kernels
            .chain(calls)
            .chain([(copies, 1)])
            .map(|(cost, times)| device.seconds(&cost, products) * times as f64)
            .sum()
    }
}

impl Launched {
    /// What one launch moves and computes.
    pub fn cost(&self) -> Cost {
        Cost {
            bytes: self.kernel.bytes_moved as f64,
            flops: self.kernel.flops as f64,
            product_flops: 0.0,
        }
    }
}
