//! What the opaque contexts of the ABI are on this side, and how errors cross.
//!
//! A context pointer given to a plugin points to a struct here that begins with a tag; a plugin that
//! passes the wrong context gets an error instead of a crash.

use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering};

use ablate_abi::{status, GraphContext, Status, Str, NO_TENSOR};
use ablate_graph::{Graph, GraphError, Tensor};
use ablate_train::ObjectiveContext;

use crate::pretrained::Folders;

/// Why a host function refuses.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub status: Status,
    pub message: String,
}

impl Refusal {
    pub fn invalid(message: impl Into<String>) -> Self {
        Refusal {
            status: status::INVALID,
            message: message.into(),
        }
    }

    pub fn unknown(message: impl Into<String>) -> Self {
        Refusal {
            status: status::UNKNOWN_NAME,
            message: message.into(),
        }
    }

    pub fn unsupported(what: &str, code: u32) -> Self {
        Refusal {
            status: status::UNSUPPORTED,
            message: format!("this host knows no {what} operation {code}"),
        }
    }
}

impl From<GraphError> for Refusal {
    fn from(error: GraphError) -> Self {
        Refusal::invalid(error.to_string())
    }
}

impl From<ablate_bert::BertError> for Refusal {
    fn from(error: ablate_bert::BertError) -> Self {
        Refusal::invalid(error.to_string())
    }
}

thread_local! {
    /// Left by a plugin with `set_error`, for the status it is about to return.
    static FROM_PLUGIN: RefCell<String> = const { RefCell::new(String::new()) };
    /// Left by a host function that failed, for `last_error`.
    static FROM_HOST: RefCell<String> = const { RefCell::new(String::new()) };
}

pub(crate) fn set_plugin_error(message: String) {
    FROM_PLUGIN.with_borrow_mut(|text| *text = message);
}

/// A view that stays valid until the next failure of a host function on this thread.
pub(crate) fn host_error() -> Str {
    FROM_HOST.with_borrow(|text| Str::new(text))
}

/// Forgets messages of earlier calls.
pub(crate) fn clear_errors() {
    FROM_PLUGIN.with_borrow_mut(String::clear);
    FROM_HOST.with_borrow_mut(String::clear);
}

/// The message for a status that a plugin returned: its own, else the host's last refusal, else a
/// word for the number.
pub(crate) fn take_error(code: Status) -> String {
    let own = FROM_PLUGIN.take();
    let message = if own.is_empty() {
        FROM_HOST.take()
    } else {
        own
    };
    if !message.is_empty() {
        return message;
    }
    let word = match code {
        status::INVALID => "invalid argument",
        status::CONFIG => "unusable configuration",
        status::UNKNOWN_NAME => "unknown name",
        status::UNSUPPORTED => "unsupported operation",
        status::STATE => "unreadable state",
        status::PANIC => "panic",
        _ => "internal error",
    };
    format!("{word} (status {code}, no message)")
}

/// Runs the body of a host function: nothing unwinds into the plugin, refusals leave their message.
pub(crate) fn answer(body: impl FnOnce() -> Result<(), Refusal>) -> Status {
    let refusal = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return status::OK,
        Ok(Err(refusal)) => refusal,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            std::mem::forget(payload); // its drop could unwind again
            Refusal {
                status: status::INTERNAL,
                message: format!("the host panicked: {text}"),
            }
        }
    };
    FROM_HOST.with_borrow_mut(|text| *text = refusal.message);
    refusal.status
}

/// Text from a plugin.
///
/// # Safety
/// The view is valid during the call.
pub(crate) unsafe fn text<'a>(view: Str, what: &str) -> Result<&'a str, Refusal> {
    // SAFETY: the caller's promise.
    unsafe { view.get() }.ok_or_else(|| Refusal::invalid(format!("{what} is not UTF-8 text")))
}

/// An array from a plugin.
///
/// # Safety
/// `pointer` is null or has `length` elements that stay unchanged during the call.
pub(crate) unsafe fn array<'a, T>(
    pointer: *const T,
    length: usize,
    what: &str,
) -> Result<&'a [T], Refusal> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Refusal::invalid(format!("{what} is null")));
    }
    // SAFETY: the caller's promise; null was excluded.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// Writes a result to where the plugin wants it.
///
/// # Safety
/// `out` is null or writable.
pub(crate) unsafe fn put<T>(out: *mut T, value: T) -> Result<(), Refusal> {
    if out.is_null() {
        return Err(Refusal::invalid("the pointer for the result is null"));
    }
    // SAFETY: the caller's promise; null was excluded.
    unsafe { *out = value };
    Ok(())
}

/// First field of each context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Tag {
    Graph = 0x6772_6170_6863_7478,
    Batch = 0x6261_7463_6863_7478,
    Declare = 0x6465_636c_6172_6563,
    Sink = 0x7369_6e6b_6374_7821,
}

/// The context behind an opaque pointer.
///
/// # Safety
/// `pointer` is null or one that this host gave to the running call; `C` is `repr(C)` with its tag as
/// the first field.
pub(crate) unsafe fn context<'a, O, C>(pointer: *mut O, tag: Tag) -> Result<&'a mut C, Refusal> {
    if pointer.is_null() {
        return Err(Refusal::invalid("the context is null"));
    }
    // SAFETY: every context begins with its tag, read as a number because it may be another one's.
    if unsafe { pointer.cast::<u64>().read() } != tag as u64 {
        return Err(Refusal::invalid("the context is one of another call"));
    }
    // SAFETY: the tag says that it is a `C`; the plugin runs on this thread and calls the host one
    // function at a time, so nobody else holds a reference.
    Ok(unsafe { &mut *pointer.cast::<C>() })
}

/// Bytes that a plugin writes.
#[repr(C)]
pub(crate) struct ByteSink {
    tag: Tag,
    pub bytes: Vec<u8>,
}

impl ByteSink {
    pub fn new() -> Self {
        ByteSink {
            tag: Tag::Sink,
            bytes: Vec::new(),
        }
    }
}

/// What the graph functions work on.
pub(crate) enum Target<'a, 'b> {
    /// An objective's graph hook.
    Model(&'a mut ObjectiveContext<'b>),
    /// An optimizer's.
    Plain(&'a mut Graph),
}

/// A graph under construction.
#[repr(C)]
pub(crate) struct GraphCx<'a, 'b> {
    tag: Tag,
    /// Upper half of every handle of this context, so that handles of earlier calls are refused.
    serial: u32,
    scopes: usize,
    pub target: Target<'a, 'b>,
    tensors: Vec<Tensor>,
    pub metrics: Vec<(String, Tensor)>,
    /// Name of the objective whose graph hook runs.
    pub objective: String,
    /// What the instance has read of Hugging Face folders.
    pub folders: Folders,
}

static SERIAL: AtomicU32 = AtomicU32::new(1);

impl<'a, 'b> GraphCx<'a, 'b> {
    pub fn new(target: Target<'a, 'b>) -> Self {
        GraphCx {
            tag: Tag::Graph,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            scopes: 0,
            target,
            tensors: Vec::new(),
            metrics: Vec::new(),
            objective: String::new(),
            folders: Folders::default(),
        }
    }

    /// The opaque pointer for the plugin.
    pub fn opaque(&mut self) -> *mut GraphContext {
        std::ptr::from_mut(self).cast()
    }

    pub fn graph(&mut self) -> &mut Graph {
        match &mut self.target {
            Target::Model(cx) => cx.graph,
            Target::Plain(graph) => graph,
        }
    }

    /// The objective's view of the model.
    pub fn model(&mut self) -> Result<&mut ObjectiveContext<'b>, Refusal> {
        match &mut self.target {
            Target::Model(cx) => Ok(cx),
            Target::Plain(_) => Err(Refusal::invalid(
                "the model is there only in an objective's graph hook",
            )),
        }
    }

    /// The folders, and the objective's view of the model.
    pub fn folders_and_model(
        &mut self,
    ) -> Result<(&mut Folders, &mut ObjectiveContext<'b>), Refusal> {
        match &mut self.target {
            Target::Model(cx) => Ok((&mut self.folders, cx)),
            Target::Plain(_) => Err(Refusal::invalid(
                "pretrained models are there only in an objective's graph hook",
            )),
        }
    }

    /// A new handle.
    pub fn add(&mut self, tensor: Tensor) -> ablate_abi::Tensor {
        self.tensors.push(tensor);
        // Graphs have thousands of nodes, far from 2^32.
        u64::from(self.serial) << 32 | self.tensors.len() as u64
    }

    /// The tensor of a handle.
    pub fn get(&self, handle: ablate_abi::Tensor) -> Result<Tensor, Refusal> {
        if handle == NO_TENSOR {
            return Err(Refusal::invalid("a tensor is missing (its handle is 0)"));
        }
        let index = (handle as u32 as usize).wrapping_sub(1);
        (handle >> 32 == u64::from(self.serial))
            .then(|| self.tensors.get(index).cloned())
            .flatten()
            .ok_or_else(|| {
                Refusal::invalid(format!(
                    "the tensor handle {handle:#x} is not one of this call; handles end with the \
                     call that made them"
                ))
            })
    }

    pub fn optional(&self, handle: ablate_abi::Tensor) -> Result<Option<Tensor>, Refusal> {
        if handle == NO_TENSOR {
            Ok(None)
        } else {
            self.get(handle).map(Some)
        }
    }

    pub fn push_scope(&mut self, name: &str) {
        self.graph().push_scope(name);
        self.scopes += 1;
    }

    pub fn pop_scope(&mut self) -> Result<(), Refusal> {
        if self.scopes == 0 {
            return Err(Refusal::invalid("there is no open scope to end"));
        }
        self.scopes -= 1;
        self.graph().pop_scope();
        Ok(())
    }

    /// Closes what the plugin left open.
    pub fn close_scopes(&mut self) {
        while self.scopes > 0 {
            self.scopes -= 1;
            self.graph().pop_scope();
        }
    }
}
