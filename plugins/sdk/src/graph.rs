//! Graph building: tensors are handles, every operation is a call to the host that can fail.

use std::marker::PhantomData;

use ablate_abi::{binary, reduce, unary, GraphContext, Status, Str, MAX_RANK, NO_TENSOR};

use crate::tables::Tables;
use crate::{Error, Result};

/// A node of the graph under construction. It holds no numbers; it cannot outlive the hook that made
/// it, which the lifetime says.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'g> {
    pub(crate) handle: ablate_abi::Tensor,
    pub(crate) hook: PhantomData<&'g ()>,
}

impl Tensor<'_> {
    pub(crate) fn new(handle: ablate_abi::Tensor) -> Self {
        Tensor {
            handle,
            hook: PhantomData,
        }
    }
}

/// Builds nodes in the host's graph. Elementwise operations broadcast as numpy does, from the right;
/// axes count from 0; nothing is computed here.
///
/// # Errors
/// Every operation fails with [`Error::Host`] where shapes or axes do not fit (the message names the
/// operation and the shapes), and with [`Error::Unsupported`] where the host is too old for it.
pub struct GraphBuilder<'g> {
    pub(crate) cx: *mut GraphContext,
    pub(crate) tables: &'g Tables,
}

/// Passes the call to the host's graph table and wraps the handle that comes back.
macro_rules! call {
    ($self:ident . $function:ident ( $($argument:expr),* )) => {{
        let function = $self.tables.graph.$function
            .ok_or(Error::Unsupported(concat!("graph.", stringify!($function))))?;
        // SAFETY: the context is that of the running hook; slices outlive the call.
        $self.take(|out| unsafe { function($self.cx, $($argument,)* out) })
    }};
}

macro_rules! unary_operations {
    ($($(#[$doc:meta])* $name:ident = $code:ident;)*) => {
        $( $(#[$doc])*
        #[allow(clippy::missing_errors_doc)] // On the type.
        pub fn $name(&self, a: Tensor<'g>) -> Result<Tensor<'g>> {
            call!(self.unary(unary::$code, a.handle))
        } )*
    };
}

macro_rules! binary_operations {
    ($($(#[$doc:meta])* $name:ident = $code:ident;)*) => {
        $( $(#[$doc])*
        #[allow(clippy::missing_errors_doc)] // On the type.
        pub fn $name(&self, a: Tensor<'g>, b: Tensor<'g>) -> Result<Tensor<'g>> {
            call!(self.binary(binary::$code, a.handle, b.handle))
        } )*
    };
}

macro_rules! scalar_operations {
    ($($(#[$doc:meta])* $name:ident = $code:ident;)*) => {
        $( $(#[$doc])*
        #[allow(clippy::missing_errors_doc)] // On the type.
        pub fn $name(&self, a: Tensor<'g>, value: f64) -> Result<Tensor<'g>> {
            call!(self.binary_scalar(binary::$code, a.handle, value))
        } )*
    };
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident = $code:ident;)*) => {
        $( $(#[$doc])*
        #[allow(clippy::missing_errors_doc)] // On the type.
        pub fn $name(&self, a: Tensor<'g>, axes: &[usize], keep: bool) -> Result<Tensor<'g>> {
            let axes = narrow(axes)?;
            call!(self.reduce(reduce::$code, a.handle, axes.as_ptr(), axes.len() as u32, u32::from(keep)))
        } )*
    };
}

#[allow(clippy::missing_errors_doc)] // On the type: the same for every operation.
impl<'g> GraphBuilder<'g> {
    fn take(&self, function: impl FnOnce(*mut ablate_abi::Tensor) -> Status) -> Result<Tensor<'g>> {
        let mut out = NO_TENSOR;
        self.tables.check(function(&mut out))?;
        Ok(Tensor::new(out))
    }

    /// Sizes of the tensor's dimensions.
    pub fn shape(&self, t: Tensor<'g>) -> Result<Vec<usize>> {
        let shape = self
            .tables
            .graph
            .shape
            .ok_or(Error::Unsupported("graph.shape"))?;
        let (mut dims, mut rank) = ([0u64; MAX_RANK], 0u32);
        // SAFETY: there is room for `MAX_RANK` sizes.
        self.tables
            .check(unsafe { shape(self.cx, t.handle, dims.as_mut_ptr(), &mut rank) })?;
        Ok(dims
            .iter()
            .take(rank as usize)
            .map(|d| *d as usize)
            .collect())
    }

    /// A constant of shape `[]`, rounded to f32.
    pub fn scalar(&self, value: f64) -> Result<Tensor<'g>> {
        call!(self.scalar(value))
    }

    /// `0, 1, .. n - 1`, shape `[n]`.
    pub fn iota(&self, n: usize) -> Result<Tensor<'g>> {
        call!(self.iota(n as u64))
    }

    /// Uniform numbers over `[0, 1)`, new ones at every step, from the named stream of the trial.
    pub fn uniform(&self, stream: &str, shape: &[usize]) -> Result<Tensor<'g>> {
        let dims = widen(shape);
        call!(self.uniform(Str::new(stream), dims.as_ptr(), dims.len() as u32))
    }

    unary_operations! {
        /// `-a`
        neg = NEG;
        /// `1 / a`
        recip = RECIP;
        /// Square root.
        sqrt = SQRT;
        /// `1 / sqrt(a)`
        rsqrt = RSQRT;
        /// `a * a`
        square = SQUARE;
        /// Exponential function.
        exp = EXP;
        /// Natural logarithm.
        log = LOG;
        /// Power of two.
        exp2 = EXP2;
        /// Logarithm to base two.
        log2 = LOG2;
        /// Sine.
        sin = SIN;
        /// Cosine.
        cos = COS;
        /// Absolute value.
        abs = ABS;
        /// -1, 0 or 1.
        sign = SIGN;
        /// `max(a, 0)`
        relu = RELU;
        /// Hyperbolic tangent.
        tanh = TANH;
        /// `1 / (1 + exp(-a))`
        sigmoid = SIGMOID;
        /// Error function.
        erf = ERF;
        /// GELU by the error function.
        gelu = GELU;
        /// GELU by the approximation with tanh.
        gelu_tanh = GELU_TANH;
        /// `a * sigmoid(a)`
        silu = SILU;
        /// 1 where `a` is 0, else 0.
        logical_not = NOT;
        /// `a` copied to row-major order.
        contiguous = CONTIGUOUS;
        /// `a`, through which no gradient flows.
        stop_gradient = STOP_GRADIENT;
    }

    binary_operations! {
        /// `a + b`
        add = ADD;
        /// `a - b`
        sub = SUB;
        /// `a * b`
        mul = MUL;
        /// `a / b`
        div = DIV;
        /// The larger of the two.
        maximum = MAXIMUM;
        /// The smaller of the two.
        minimum = MINIMUM;
        /// 1 where `a < b`, else 0.
        less = LESS;
        /// 1 where `a > b`, else 0.
        greater = GREATER;
        /// 1 where `a <= b`, else 0.
        less_equal = LESS_EQUAL;
        /// 1 where `a >= b`, else 0.
        greater_equal = GREATER_EQUAL;
        /// 1 where `a == b`, else 0.
        equal = EQUAL;
        /// 1 where `a != b`, else 0.
        not_equal = NOT_EQUAL;
    }

    scalar_operations! {
        /// `a + value`
        add_scalar = ADD;
        /// `a * value`
        mul_scalar = MUL;
        /// `a` to the power `value`.
        pow_scalar = POW;
        /// The larger of `a` and `value`.
        maximum_scalar = MAXIMUM;
        /// The smaller of `a` and `value`.
        minimum_scalar = MINIMUM;
        /// 1 where `a < value`, else 0.
        less_scalar = LESS;
        /// 1 where `a > value`, else 0.
        greater_scalar = GREATER;
    }

    reductions! {
        /// Sum over `axes`, which stay with size 1 where `keep`.
        sum = SUM;
        /// Mean over `axes`, which stay with size 1 where `keep`.
        mean = MEAN;
        /// Maximum over `axes`, which stay with size 1 where `keep`.
        max = MAX;
        /// Population variance over `axes`, which stay with size 1 where `keep`.
        variance = VARIANCE;
    }

    /// Sum over all elements, shape `[]`.
    pub fn sum_all(&self, a: Tensor<'g>) -> Result<Tensor<'g>> {
        let axes: Vec<usize> = (0..self.shape(a)?.len()).collect();
        if axes.is_empty() {
            Ok(a)
        } else {
            self.sum(a, &axes, false)
        }
    }

    /// `a` where `condition` is not 0, else `b`.
    pub fn select(
        &self,
        condition: Tensor<'g>,
        a: Tensor<'g>,
        b: Tensor<'g>,
    ) -> Result<Tensor<'g>> {
        call!(self.select(condition.handle, a.handle, b.handle))
    }

    /// Dimension `i` of the result is dimension `order[i]` of `a`.
    pub fn permute(&self, a: Tensor<'g>, order: &[usize]) -> Result<Tensor<'g>> {
        let order = narrow(order)?;
        call!(self.permute(a.handle, order.as_ptr(), order.len() as u32))
    }

    /// The same elements in row-major order under another shape.
    pub fn reshape(&self, a: Tensor<'g>, shape: &[usize]) -> Result<Tensor<'g>> {
        let dims = widen(shape);
        call!(self.reshape(a.handle, dims.as_ptr(), dims.len() as u32))
    }

    /// `a` repeated to `shape` by the rules of broadcasting.
    pub fn expand(&self, a: Tensor<'g>, shape: &[usize]) -> Result<Tensor<'g>> {
        let dims = widen(shape);
        call!(self.expand(a.handle, dims.as_ptr(), dims.len() as u32))
    }

    /// Elements `start..end` along `axis`.
    pub fn slice(
        &self,
        a: Tensor<'g>,
        axis: usize,
        start: usize,
        end: usize,
    ) -> Result<Tensor<'g>> {
        let axis = narrow(&[axis])?[0];
        call!(self.slice(a.handle, axis, start as u64, end as u64))
    }

    /// Zeros before and after along `axis`.
    pub fn pad(
        &self,
        a: Tensor<'g>,
        axis: usize,
        before: usize,
        after: usize,
    ) -> Result<Tensor<'g>> {
        let axis = narrow(&[axis])?[0];
        call!(self.pad(a.handle, axis, before as u64, after as u64))
    }

    /// Tensors joined along `axis`.
    pub fn concat(&self, tensors: &[Tensor<'g>], axis: usize) -> Result<Tensor<'g>> {
        let axis = narrow(&[axis])?[0];
        let handles: Vec<u64> = tensors.iter().map(|t| t.handle).collect();
        call!(self.concat(handles.as_ptr(), handles.len() as u32, axis))
    }

    /// `a [.., m, k]` times `b [.., k, n]`, batch axes broadcast.
    pub fn matmul(&self, a: Tensor<'g>, b: Tensor<'g>) -> Result<Tensor<'g>> {
        call!(self.matmul(a.handle, b.handle, 0))
    }

    /// `a [.., m, k]` times the transpose of `b [.., n, k]`.
    pub fn matmul_t(&self, a: Tensor<'g>, b: Tensor<'g>) -> Result<Tensor<'g>> {
        call!(self.matmul(a.handle, b.handle, 1))
    }

    /// `x [.., in]` times `weight [out, in]` transposed, plus `bias [out]`.
    pub fn linear(
        &self,
        x: Tensor<'g>,
        weight: Tensor<'g>,
        bias: Option<Tensor<'g>>,
    ) -> Result<Tensor<'g>> {
        call!(self.linear(x.handle, weight.handle, optional(bias)))
    }

    /// Rows of `table [rows, width]` at `index [..]`: `[.., width]`.
    pub fn gather(&self, table: Tensor<'g>, index: Tensor<'g>) -> Result<Tensor<'g>> {
        call!(self.gather(table.handle, index.handle))
    }

    /// `[.., n]`: 1 where the last index equals the value of `index`, else 0.
    pub fn one_hot(&self, index: Tensor<'g>, n: usize) -> Result<Tensor<'g>> {
        call!(self.one_hot(index.handle, n as u64))
    }

    /// Softmax along `axis`.
    pub fn softmax(&self, a: Tensor<'g>, axis: usize) -> Result<Tensor<'g>> {
        let axis = narrow(&[axis])?[0];
        call!(self.softmax(a.handle, axis, 0))
    }

    /// Logarithm of the softmax along `axis`.
    pub fn log_softmax(&self, a: Tensor<'g>, axis: usize) -> Result<Tensor<'g>> {
        let axis = narrow(&[axis])?[0];
        call!(self.softmax(a.handle, axis, 1))
    }

    /// Layer norm over the last axis.
    pub fn layer_norm(
        &self,
        x: Tensor<'g>,
        gamma: Tensor<'g>,
        beta: Tensor<'g>,
        eps: f64,
    ) -> Result<Tensor<'g>> {
        call!(self.layer_norm(x.handle, gamma.handle, beta.handle, eps))
    }

    /// Zeroes elements with probability `rate` and scales the rest by `1 / (1 - rate)`. `site` names
    /// the random numbers; two sites of one graph must differ.
    pub fn dropout(&self, x: Tensor<'g>, rate: f64, site: &str) -> Result<Tensor<'g>> {
        call!(self.dropout(x.handle, rate, Str::new(site)))
    }

    /// Losses `[..]` of `logits [.., classes]` against whole-number `labels [..]`, times `weights
    /// [..]`.
    pub fn cross_entropy(
        &self,
        logits: Tensor<'g>,
        labels: Tensor<'g>,
        weights: Option<Tensor<'g>>,
    ) -> Result<Tensor<'g>> {
        call!(self.cross_entropy(logits.handle, labels.handle, optional(weights)))
    }

    /// For `logits [n, classes]` and `labels [n]`: `[n]`, 1 where no class has a larger logit than
    /// the label's, else 0. No gradient flows.
    pub fn correct(&self, logits: Tensor<'g>, labels: Tensor<'g>) -> Result<Tensor<'g>> {
        let logits = self.stop_gradient(logits)?;
        let shape = self.shape(logits)?;
        let [_, classes] = shape[..] else {
            return Err(Error::Other(format!(
                "`correct` needs logits [n, classes], not {shape:?}"
            )));
        };
        let label_logit = self.sum(
            self.mul(self.one_hot(labels, classes)?, logits)?,
            &[1],
            false,
        )?;
        self.greater_equal(label_logit, self.max(logits, &[1], false)?)
    }

    /// Names the nodes made until the result is dropped.
    pub fn scope(&self, name: &str) -> Result<Scope<'_, 'g>> {
        let push = self
            .tables
            .graph
            .push_scope
            .ok_or(Error::Unsupported("graph.push_scope"))?;
        // SAFETY: the context is that of the running hook.
        self.tables
            .check(unsafe { push(self.cx, Str::new(name)) })?;
        Ok(Scope { graph: self })
    }
}

/// An open scope of labels; ends when dropped.
pub struct Scope<'a, 'g> {
    graph: &'a GraphBuilder<'g>,
}

impl Drop for Scope<'_, '_> {
    fn drop(&mut self) {
        if let Some(pop) = self.graph.tables.graph.pop_scope {
            // SAFETY: the context is that of the running hook. A refusal changes only labels.
            unsafe { pop(self.graph.cx) };
        }
    }
}

fn optional(t: Option<Tensor<'_>>) -> ablate_abi::Tensor {
    t.map_or(NO_TENSOR, |t| t.handle)
}

pub(crate) fn widen(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|d| *d as u64).collect()
}

fn narrow(axes: &[usize]) -> Result<Vec<u32>> {
    axes.iter()
        .map(|a| u32::try_from(*a).map_err(|_| Error::Other(format!("axis {a} does not exist"))))
        .collect()
}
