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
//! ```
//! use ablate_graph::{Feeds, Graph, RandomKey};
//! use std::collections::BTreeMap;
//!
//! let mut g = Graph::new();
//! let w = g.parameter("w", &[2, 3])?;
//! let x = g.input("x", &[4, 3])?;
//! let y = g.linear(&x, &w, None)?;
//! let y = g.tanh(&y)?;
//! let loss = g.sum_all(&y)?;
//! let gradient = g.gradients(&loss, &[w.clone()])?.remove(0);
//! let step = g.mul_scalar(&gradient, -0.1)?;
//! let new = g.add(&w, &step)?;
//! g.assign(&w, &new)?;
//! g.output("loss", &loss)?;
//!
//! let feeds = Feeds::new().with("x", vec![0.5; 12]);
//! let states = BTreeMap::from([("w".to_owned(), vec![1.0; 6])]);
//! let run = g.run_reference(&feeds, &states, RandomKey { seed: 1, step: 0 })?;
//! assert!((run.outputs["loss"][0] - 8.0 * 1.5f32.tanh()).abs() < 1e-5);
//! assert!(run.assigned["w"].iter().all(|w| *w < 1.0));
//! # Ok::<(), ablate_graph::GraphError>(())
//! ```
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
mod stock;
mod tensor;
mod view;

pub use error::{GraphError, Result};
pub use feeds::{Feeds, RandomKey};
pub use graph::Graph;
pub use interpret::{Interpreter, RunResult64};
pub use ir::{LoadKind, Phase};
pub use reference::RunResult;
pub use stock::StockProgram;
pub use tensor::Tensor;
pub use view::{Dim, View, MAX_RANK};
