//! Batches whose matrices lie where lists of pointers say: `cublasGemmBatchedEx`.
//!
//! Owns: the lists, which lie in device memory and are read when the product runs, and what the library asks
//! of the pointers in them. The product of each matrix is [`Product`].

use super::matrix::{common, Matrix};
use super::product::Product;
use super::types::{Compute, Type};
use super::BlasRefusal;
use crate::blas_refuse;
use crate::context::Context;
use crate::memory::Turn;
use crate::status::{Fault, Status};

/// Names of the lists, in their order.
const NAMES: [&str; 3] = ["Aarray", "Barray", "Carray"];

/// A product for each place of three lists.
#[derive(Clone, Debug)]
pub struct Listed {
    /// One of them; the addresses of its matrices mean nothing.
    pub product: Product,
    /// Products.
    pub count: u64,
    /// Device addresses of the lists: of A, of B, and of C, which is D.
    pub lists: [u64; 3],
}

impl Listed {
    /// What the trace calls it.
    pub fn label(&self) -> String {
        format!("{} listed", self.product.label())
    }

    /// With matrices at these addresses.
    fn one(&self, [a, b, c]: [u64; 3]) -> Product {
        let at = |matrix: &Matrix, address| Matrix { address, ..*matrix };
        let product = &self.product;
        Product {
            a: at(&product.a, a),
            b: at(&product.b, b),
            c: at(&product.c, c),
            d: at(&product.d, c),
            batch: 1,
            ..product.clone()
        }
    }

    /// Checks all that can be told when the products are asked for: the lists are read later.
    ///
    /// # Errors
    /// As [`Product::check`], and where a list is null or its pointers are misaligned.
    pub fn check(&self) -> Result<(), BlasRefusal> {
        for (name, list) in NAMES.iter().zip(self.lists) {
            if list == 0 && self.count > 0 {
                return Err(blas_refuse!(INVALID_VALUE, "{name} is null"));
            }
            if list % 8 != 0 {
                return Err(blas_refuse!(
                    INVALID_VALUE,
                    "{name} at {list:#x} is not a multiple of a pointer's 8 bytes"
                ));
            }
        }
        // Addresses that any check of places lets pass.
        self.one([1 << 40, 2 << 40, 3 << 40]).check()
    }

    /// What a matrix's address must be a multiple of where tensor cores may be used. The library does not
    /// see the pointers when it chooses a kernel, so that it takes the rule of its reference for granted.
    fn alignment(&self) -> u64 {
        let product = &self.product;
        let halves = [product.a.element, product.b.element]
            .iter()
            .any(|element| *element != Type::F32);
        match (halves || product.compute != Compute::F32, product.k) {
            (true, k) if k % 8 == 0 => 16,
            (true, k) if k % 2 == 0 => 4,
            _ => 1,
        }
    }

    /// Reads the lists and computes.
    ///
    /// # Errors
    /// A list or a matrix lies outside of device memory, is not aligned, or results overlap.
    pub fn run(&self, cx: &mut Context, turn: &Turn) -> Result<(), Fault> {
        let mut addresses: [Vec<u64>; 3] = Default::default();
        for ((name, list), into) in NAMES.iter().zip(self.lists).zip(&mut addresses) {
            let bytes = self.count * 8;
            cx.memory
                .touch(turn, list, bytes, false)
                .map_err(|mut fault| {
                    fault.message = format!("{name}: {}", fault.message);
                    fault
                })?;
            // SAFETY: found to be alive just now; `check` saw that it is aligned.
            into.extend((0..self.count).map(|i| unsafe { ((list + i * 8) as *const u64).read() }));
        }
        let products: Vec<Product> = (0..self.count as usize)
            .map(|i| self.one([0, 1, 2].map(|operand| addresses[operand][i])))
            .collect();
        let needed = self.alignment();
        for (i, product) in products.iter().enumerate() {
            for (name, matrix) in NAMES.iter().zip([&product.a, &product.b, &product.c]) {
                if matrix.address % needed.max(matrix.element.bytes()) != 0 {
                    return Err(Fault {
                        status: Status::MISALIGNED_ADDRESS,
                        message: format!(
                            "{name}[{i}] is {:#x}, a multiple of {} is needed",
                            matrix.address,
                            needed.max(matrix.element.bytes())
                        ),
                    });
                }
            }
            product.check().map_err(|refusal| Fault {
                status: Status::ILLEGAL_ADDRESS,
                message: format!("product {i} of the lists: {}", refusal.message),
            })?;
        }
        self.apart(&products)?;
        for (i, product) in products.iter().enumerate() {
            product.run(cx, turn).map_err(|mut fault| {
                fault.message = format!("product {i} of the lists: {}", fault.message);
                fault
            })?;
        }
        Ok(())
    }

    /// Beyond the library, which computes something: no product writes what another reads or writes.
    fn apart(&self, products: &[Product]) -> Result<(), Fault> {
        let overlap = |text: &str| {
            Err(Fault {
                status: Status::LAUNCH_FAILED,
                message: format!("products of the lists: {text}"),
            })
        };
        let spans = |of: fn(&Product) -> &Matrix, read: bool| {
            let all = products.iter().flat_map(move |p| of(p).spans(1));
            all.map(move |(start, bytes)| (start, start + bytes, read))
        };
        let mut results: Vec<(u64, u64, bool)> = spans(|p| &p.d, false).collect();
        results.sort_unstable();
        if results.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return overlap("results overlap");
        }
        for (name, of) in [
            ("A", (|p| &p.a) as fn(&Product) -> &Matrix),
            ("B", |p| &p.b),
        ] {
            let mut all = results.clone();
            all.extend(spans(of, true));
            if common(all) {
                return overlap(&format!("a result overlaps a matrix of {name}"));
            }
        }
        Ok(())
    }
}
