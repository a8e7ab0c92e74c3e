//! The device as a [`Backend`].

use crate::compiler::{default_cache, Compiler};
use crate::device::Device;
use crate::error::CudaError;
use crate::session::CudaSession;
use ablate_compiler::{Backend, BackendError, Formats, Session, Storage};
use ablate_graph::{Feeds, Graph, RandomKey};
use std::path::PathBuf;
use std::sync::Arc;

/// How cuBLAS multiplies. Arithmetic outside of products is single precision, sums always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision throughout.
    #[default]
    F32,
    /// Operands of products are rounded to TF32 (ten bits of mantissa).
    Tf32,
    /// Operands of products are rounded to bfloat16 (seven bits of mantissa), and activations between products
    /// are stored so, see [`ablate_compiler::passes::storage`].
    Bf16,
}

impl From<Precision> for Formats {
    /// What programs of this precision are made of, for [`ablate_compiler::compile_with`].
    fn from(precision: Precision) -> Formats {
        match precision {
            Precision::F32 | Precision::Tf32 => Formats::default(),
            Precision::Bf16 => Formats {
                activations: Storage::Bf16,
                operands_alike: true,
            },
        }
    }
}

/// A CUDA device.
#[derive(Clone, Debug)]
pub struct CudaBackend {
    device: Arc<Device>,
    compiler: Compiler,
    precision: Precision,
}

impl CudaBackend {
    /// The first device of this machine. Compiled kernels are kept in [`default_cache`].
    ///
    /// # Errors
    /// A library is missing or too old, or there is no device: with what to do about it.
    pub fn new() -> Result<Self, CudaError> {
        let device = Device::open()?;
        let compiler = Compiler::new(&device, default_cache())?;
        Ok(CudaBackend {
            device,
            compiler,
            precision: Precision::F32,
        })
    }

    /// The same backend with another precision.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The same backend with compiled kernels kept in another folder, or nowhere.
    ///
    /// # Errors
    /// NVRTC refuses to tell its version.
    pub fn with_cache(mut self, cache: Option<PathBuf>) -> Result<Self, CudaError> {
        self.compiler = Compiler::new(&self.device, cache)?;
        Ok(self)
    }

    /// Compiles and runs a small step, a product between two fused kernels, and looks at its numbers: a
    /// device that is there may still refuse, for its driver is too old for the compiler, say.
    ///
    /// # Errors
    /// A call is refused, or a number is wrong.
    pub fn try_out(&self) -> Result<(), BackendError> {
        const SIDE: usize = 8;
        let mut graph = Graph::new();
        let x = graph.input("x", &[SIDE, SIDE])?;
        let p = graph.softmax(&x, 1)?;
        let product = graph.matmul(&p, &p)?;
        let sums = graph.sum(&product, &[1], false)?;
        graph.output("sums", &sums)?;
        let mut session = self.session()?;
        let program = session.load(graph)?;
        let values = (0..SIDE * SIDE).map(|i| (i % 7) as f32 * 0.25);
        let feeds = Feeds::new().with("x", values.collect());
        session.run(program, &feeds, RandomKey::default())?;
        // The rows of a product of two matrices whose rows sum to one do so too.
        let sums = session.output(program, "sums")?;
        match sums
            .iter()
            .find(|sum| (**sum - 1.0).abs() > 1e-2 || sum.is_nan())
        {
            None => Ok(()),
            Some(wrong) => Err(BackendError::Device {
                device: "cuda".into(),
                reason: format!(
                    "{} computes wrong numbers: {wrong} instead of 1",
                    self.device.name
                ),
            }),
        }
    }

    /// The device's name.
    pub fn device_name(&self) -> &str {
        &self.device.name
    }
}

impl Backend for CudaBackend {
    fn name(&self) -> &str {
        "cuda"
    }

    fn description(&self) -> String {
        format!(
            "cuda, {}, {:.1} GiB, {}",
            self.device.name,
            self.device.memory_bytes as f64 / (1u64 << 30) as f64,
            self.compiler.description()
        )
    }

    fn session(&self) -> Result<Box<dyn Session>, BackendError> {
        let session = CudaSession::new(self.device.clone(), self.compiler.clone(), self.precision)?;
        Ok(Box::new(session))
    }
}
