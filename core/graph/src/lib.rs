//! Tensors with run-time shapes over stock luminal primitives, and their gradients.
//!
//! Owns: the only code that builds luminal nodes ([`Graph`]), views and shape checks, the composites
//! (matrix products, look-ups, softmax, layer norm, ..), autodiff, the lowered form that compilers
//! read ([`ir`]), and two plain evaluations: stock luminal ([`Graph::run_reference`]) and f64
//! ([`Graph::run_f64`]). Must not know: models, objectives, optimizers, backends.
//!
//! Every value is a stock `luminal` 0.2.0 primitive: Log2, Exp2, Sin, Sqrt, Recip, Add, Mul, Mod,
//! LessThan, SumReduce, MaxReduce, Contiguous, constants, and one load operator of this crate. A
//! matrix product is a `Mul` of two broadcast views and a `SumReduce`; a look-up is such a product
//! with a one-hot matrix. Compilers find both again from strides, so nothing else may stand between
//! the product and the sum.
//!
//! Every mistake comes back as a [`GraphError`] before luminal sees it.

mod autodiff;
mod dump;
mod error;
mod feeds;
pub mod gradcheck;
mod graph;
mod interpret;
pub mod ir;
mod leaves;
mod load;
mod lower;
mod ops;
mod primitive;
mod reference;
mod tensor;
mod view;

pub use error::{GraphError, Result};
pub use feeds::{Feeds, RandomKey};
pub use graph::Graph;
pub use interpret::{Interpreter, RunResult64};
pub use ir::{LoadKind, Phase};
pub use reference::RunResult;
pub use tensor::Tensor;
pub use view::{Dim, View, MAX_RANK};
