//! cuBLAS: handles and matrix products.

mod api;
pub mod epilogue;
mod kernel;
pub mod listed;
pub mod matrix;
pub mod product;
pub mod types;

use crate::context::Context;
use crate::counts::Sort;
use crate::driver;
use crate::status::{say, Refusal};
use crate::stream::Work;
use listed::Listed;
use product::Product;

/// A `cublasStatus_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlasStatus(pub i32);

#[allow(missing_docs)]
impl BlasStatus {
    pub const SUCCESS: Self = BlasStatus(0);
    pub const NOT_INITIALIZED: Self = BlasStatus(1);
    pub const INVALID_VALUE: Self = BlasStatus(7);
    pub const EXECUTION_FAILED: Self = BlasStatus(13);
    pub const NOT_SUPPORTED: Self = BlasStatus(15);
}

/// A cuBLAS call that is turned down.
#[derive(Debug)]
pub struct BlasRefusal {
    /// What the caller gets.
    pub status: BlasStatus,
    /// What stderr gets.
    pub message: String,
}

impl From<Refusal> for BlasRefusal {
    fn from(refusal: Refusal) -> Self {
        BlasRefusal {
            status: BlasStatus::EXECUTION_FAILED,
            message: refusal.message,
        }
    }
}

/// Builds a [`BlasRefusal`]: a status of [`BlasStatus`] by name, then a format.
#[macro_export]
macro_rules! blas_refuse {
    ($status:ident, $($format:tt)+) => {
        $crate::blas::BlasRefusal {
            status: $crate::blas::BlasStatus::$status,
            message: format!($($format)+),
        }
    };
}

/// A cuBLAS handle.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    /// Where its products are queued.
    pub stream: u64,
    /// `cublasMath_t`.
    pub math: u32,
    /// Whether factors are read from the device.
    pub device_pointers: bool,
    /// Memory that products may write to.
    pub workspace: Option<(u64, u64)>,
}

/// Runs a call that needs the context.
pub fn with_blas(name: &str, call: impl FnOnce(&mut Context) -> Result<(), BlasRefusal>) -> i32 {
    let mut refused = None;
    let status = driver::with_context(name, |cx| {
        if let Err(refusal) = call(cx) {
            refused = Some(refusal);
        }
        Ok(())
    });
    match (status, refused) {
        (0, None) => BlasStatus::SUCCESS.0,
        (0, Some(refusal)) => {
            if !refusal.message.is_empty() {
                say(&format!("{name}: {}", refusal.message));
            }
            refusal.status.0
        }
        // No context, or a broken one.
        (3 | 201, _) => BlasStatus::NOT_INITIALIZED.0,
        _ => BlasStatus::EXECUTION_FAILED.0,
    }
}

/// Checks a product and queues it.
///
/// # Errors
/// As [`Product::check`]; the stream does not take it.
pub fn submit(cx: &mut Context, product: Product, stream: u64) -> Result<(), BlasRefusal> {
    product.check()?;
    let work = Work::new(Sort::Product, product.label(), move |cx, ready| {
        let turn = cx.turn(ready, 1);
        product.run(cx, &turn)
    });
    Ok(cx.submit(stream, work)?)
}

/// Checks products of lists and queues them, as one piece of work.
///
/// # Errors
/// As [`Listed::check`]; the stream does not take it.
pub fn submit_listed(cx: &mut Context, listed: Listed, stream: u64) -> Result<(), BlasRefusal> {
    listed.check()?;
    let work = Work::new(Sort::Product, listed.label(), move |cx, ready| {
        let turn = cx.turn(ready, 1);
        listed.run(cx, &turn)
    });
    Ok(cx.submit(stream, work)?)
}
