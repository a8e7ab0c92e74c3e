//! A loaded program: its work in order, what it is fed from, what it is read back to.
//!
//! Owns: launches with their addresses, the places of inputs and outputs, the captured graph. Must not know: states of other
//! programs, feeds by value.

use crate::device::{Device, Event, Stream};
use crate::error::{CudaError, Named};
use crate::exchange::{Inputs, Outputs, Part};
use crate::launch::Launch;
use crate::lists::Lists;
use crate::modules::Modules;
use crate::print::{self, Argument, Groups, KernelSource, LibraryProduct, Printed, Work};
use crate::products::{Given, Products};
use ablate_compiler::program::Place;
use ablate_compiler::{KernelTime, Program};
use ablate_graph::RandomKey;
use cudarc::driver::result as cu;
use cudarc::driver::sys;
use std::collections::BTreeMap;

/// Elements that every input begins at a multiple of: 256 bytes, as allocations do.
const ALIGN: usize = 64;
/// Words of a random stream's record: key, step.
const RECORD: usize = 4;

/// A captured run.
#[derive(Debug)]
struct Graph(sys::CUgraphExec);

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated once; launched work goes on without it.
        let _ = unsafe { cu::graph::exec_destroy(self.0) };
    }
}

/// A program on the device.
#[derive(Debug)]
pub struct Loaded {
    /// What it does.
    pub program: Program,
    /// States that must be set before a run.
    pub needs: Vec<String>,
    /// What each step costs, and took while profiling was on.
    pub times: Vec<KernelTime>,
    printed: Printed,
    /// Launches by step; made when addresses change.
    launches: Vec<Vec<Launch>>,
    /// Addresses of the matrices of batches, written when addresses change.
    lists: Lists,
    graph: Option<Graph>,
    /// Runs since addresses changed.
    runs: usize,
    /// Names of random streams, in the order of their records.
    streams: Vec<String>,
    /// First element of each input in `feed`, by buffer.
    inputs: BTreeMap<usize, usize>,
    feed: Inputs,
    /// First element of each output in `results`, and its length, by name.
    outputs: BTreeMap<String, (usize, usize)>,
    results: Outputs,
    marks: Vec<Event>,
}

/// The memory that the next run's inputs are to be written to.
pub struct NextInputs<'a> {
    /// Whose inputs they are.
    pub program: &'a Program,
    /// First element of each, by buffer.
    pub places: &'a BTreeMap<usize, usize>,
    /// The memory.
    pub memory: &'a mut [f32],
}

/// Where a session keeps what programs share.
pub struct Places<'a> {
    /// The arena.
    pub arena: u64,
    /// Scratch memory of the kernels.
    pub scratch: u64,
    /// States by name.
    pub states: &'a dyn Fn(&str) -> u64,
    /// `0, 1, 2, ..` by length.
    pub iotas: &'a dyn Fn(usize) -> u64,
}

impl Loaded {
    /// Prepares a program. The device must be current.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(
        program: Program,
        groups: Groups,
        products: &mut Products,
    ) -> Result<Self, CudaError> {
        let printed = print::print_for(&program, groups, |product| {
            let aligned = product.buffers.map(|id| alignment(&program, id));
            products.plan(product, aligned).is_some()
        });
        let mut streams: Vec<String> = vec![];
        for argument in printed.kernels().flat_map(|k| &k.arguments) {
            if let Argument::Stream(name) = argument {
                if !streams.contains(name) {
                    streams.push(name.clone());
                }
            }
        }
        let mut feed = (streams.len() * RECORD).next_multiple_of(ALIGN);
        let mut inputs = BTreeMap::new();
        for (id, buffer) in program.buffers.iter().enumerate() {
            if matches!(buffer.place, Place::Input { .. }) {
                inputs.insert(id, feed);
                feed += buffer.len.next_multiple_of(ALIGN);
            }
        }
        let mut results = 0;
        let mut outputs = BTreeMap::new();
        for (name, id) in &program.outputs {
            let len = program.buffers[*id].len;
            outputs.insert(name.clone(), (results, len));
            results += len;
        }
        let listed = printed.products().filter(|product| product.is_listed());
        let pointers = listed.map(|product| 3 * product.matrices().count()).sum();
        Ok(Loaded {
            needs: needed_states(&program),
            times: program.kernel_times(),
            printed,
            launches: vec![],
            lists: Lists::new(pointers)?,
            graph: None,
            runs: 0,
            streams,
            inputs,
            feed: Inputs::new(feed)?,
            outputs,
            results: Outputs::new(results)?,
            marks: vec![],
            program,
        })
    }

    /// The printed kernels.
    pub fn printed(&self) -> &Printed {
        &self.printed
    }

    /// Bytes on the device that belong to this program alone.
    pub fn input_bytes(&self) -> u64 {
        ((self.feed.len() + self.results.len()) * size_of::<f32>()) as u64 + self.lists.bytes()
    }

    /// Forgets addresses and the graph that holds them.
    pub fn forget(&mut self) {
        self.launches.clear();
        self.graph = None;
        self.runs = 0;
    }

    /// The memory of the next run's inputs, free to be filled, with each input's place.
    ///
    /// # Errors
    /// Work that used it failed.
    pub fn next_inputs(&mut self) -> Result<NextInputs<'_>, CudaError> {
        self.feed.advance()?;
        Ok(NextInputs {
            program: &self.program,
            places: &self.inputs,
            memory: self.feed.as_mut_slice(),
        })
    }

    /// Writes keys and step of the random streams beside the inputs.
    pub fn set_key(&mut self, key: RandomKey) {
        let records = self.feed.as_mut_slice();
        for (name, record) in self.streams.iter().zip(records.chunks_exact_mut(RECORD)) {
            let stream = ablate_random::Stream::new(key.seed, name).key();
            let words = [
                stream as u32,
                (stream >> 32) as u32,
                key.step as u32,
                (key.step >> 32) as u32,
            ];
            // The device reads the words as integers.
            record
                .iter_mut()
                .zip(words)
                .for_each(|(r, word)| *r = f32::from_bits(word));
        }
    }

    /// Finds every address, and writes those that the device reads itself.
    ///
    /// # Errors
    /// A kernel was never loaded: a defect. The driver refuses.
    pub fn resolve(
        &mut self,
        places: &Places,
        modules: &Modules,
        products: &mut Products,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        if !self.launches.is_empty() {
            return Ok(());
        }
        let mut pointers: Vec<u64> = vec![];
        let address = |id: usize| self.address(id, places);
        let argument = |argument: &Argument| -> u64 {
            match argument {
                Argument::Buffer(id) => address(*id),
                Argument::Scratch(bytes) => places.scratch + *bytes as u64,
                Argument::Stream(name) => {
                    let number = self.streams.iter().position(|s| s == name).unwrap_or(0);
                    self.feed.address() + (number * RECORD * size_of::<f32>()) as u64
                }
            }
        };
        let launch = |kernel: &KernelSource| {
            let missing = || CudaError::Call {
                call: "cuModuleGetFunction",
                status: format!("{} was never loaded", kernel.entry),
            };
            Ok(Launch::Kernel {
                function: modules.function(&kernel.entry).ok_or_else(missing)?,
                grid: kernel.grid[0],
                block: kernel.block[0],
                shared: kernel.dynamic_shared_bytes,
                arguments: kernel.arguments.iter().map(argument).collect(),
            })
        };
        let mut launches = Vec::with_capacity(self.printed.steps.len());
        for work in &self.printed.steps {
            let mut step = vec![];
            match work {
                Work::Kernels(kernels) => {
                    for kernel in kernels {
                        step.push(launch(kernel)?);
                    }
                }
                Work::Product(product) | Work::Apart(product, _) => {
                    let addresses = product.buffers.map(address);
                    let all = matrices(product, addresses);
                    let of = |all: &[Vec<u64>; 3], list: usize| {
                        self.lists.address_of(pointers.len() + list * all[0].len())
                    };
                    let lists = (product.is_listed() && products.takes_lists(&all))
                        .then(|| [0, 1, 2].map(|list| of(&all, list)));
                    if lists.is_some() {
                        pointers.extend(all.into_iter().flatten());
                    }
                    let epilogue = match product.epilogue {
                        None => None,
                        Some(epilogue) => {
                            let aligned = product.buffers.map(|id| alignment(&self.program, id));
                            let unplanned = || CudaError::Call {
                                call: "cublasLtMatmul",
                                status: "a product was never planned".into(),
                            };
                            let plan = products.plan(product, aligned).ok_or_else(unplanned)?;
                            Some((plan, address(epilogue.buffer())))
                        }
                    };
                    step.push(Launch::Product {
                        product: product.clone(),
                        addresses,
                        given: Given { lists, epilogue },
                    });
                    if let Work::Apart(_, kernels) = work {
                        for kernel in kernels {
                            step.push(launch(kernel)?);
                        }
                    }
                }
                Work::Copy(from, to) => {
                    let buffer = &self.program.buffers[*to];
                    let bytes = buffer.len * buffer.storage.bytes();
                    let (from, to) = (address(*from), address(*to));
                    if from != to {
                        step.push(Launch::Copy { from, to, bytes });
                    }
                }
            }
            launches.push(step);
        }
        self.lists.write(&pointers, stream)?;
        self.launches = launches;
        Ok(())
    }

    fn address(&self, id: usize, places: &Places) -> u64 {
        let bytes = |elements: usize| (elements * size_of::<f32>()) as u64;
        match &self.program.buffers[id].place {
            Place::Arena { offset } => places.arena + bytes(*offset),
            Place::State(name) => (places.states)(name),
            Place::Input { .. } => {
                self.feed.address() + bytes(self.inputs.get(&id).copied().unwrap_or(0))
            }
            Place::Iota => (places.iotas)(self.program.buffers[id].len),
        }
    }

    /// Where each output lies when a run has ended.
    pub fn output_addresses(&self, places: &Places) -> Vec<(String, u64)> {
        let outputs = self.program.outputs.iter();
        outputs
            .map(|(name, id)| (name.clone(), self.address(*id, places)))
            .collect()
    }

    /// Queues a run: inputs to the device, all work, outputs back. Nothing is waited for.
    ///
    /// The first run launches piece by piece, so that libraries load what they load when first called; the
    /// second is captured, and from then on a run is one launch.
    ///
    /// # Errors
    /// A call is refused.
    ///
    /// # Safety
    /// Addresses are resolved and everything at them lives until the stream has come past.
    pub unsafe fn enqueue(
        &mut self,
        stream: &Stream,
        products: &Products,
        outputs: &[(String, u64)],
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise, here and below.
        unsafe { self.feed.send(stream) }?;
        self.runs += 1;
        if self.graph.is_none() && self.runs > 1 {
            self.graph = Some(unsafe { self.capture(stream, products, outputs) }?);
        }
        match &self.graph {
            Some(graph) => unsafe { cu::graph::launch(graph.0, stream.0) }.call("cuGraphLaunch")?,
            None => unsafe { self.launch_all(stream, products, outputs) }?,
        }
        // Not in the graph: the place is another one while the last is kept.
        unsafe { self.results.receive(stream) }
    }

    /// # Safety
    /// As [`Loaded::enqueue`].
    unsafe fn capture(
        &mut self,
        stream: &Stream,
        products: &Products,
        outputs: &[(String, u64)],
    ) -> Result<Graph, CudaError> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the caller's promise; the graph is destroyed once, after it was instantiated.
        unsafe {
            cu::stream::begin_capture(stream.0, mode).call("cuStreamBeginCapture")?;
            let queued = self.launch_all(stream, products, outputs);
            // Ends in any case: a stream that is being captured can do nothing else.
            let captured = cu::stream::end_capture(stream.0).call("cuStreamEndCapture");
            queued?;
            let graph = captured?;
            let ready = cu::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = cu::graph::destroy(graph);
            Ok(Graph(ready.call("cuGraphInstantiate")?))
        }
    }

    /// # Safety
    /// As [`Loaded::enqueue`].
    unsafe fn launch_all(
        &mut self,
        stream: &Stream,
        products: &Products,
        outputs: &[(String, u64)],
    ) -> Result<(), CudaError> {
        for launch in self.launches.iter().flatten() {
            // SAFETY: the caller's promise.
            unsafe { launch.queue(stream, products) }?;
        }
        // SAFETY: the caller's promise.
        unsafe { self.collect(stream, outputs) }
    }

    /// # Safety
    /// As [`Loaded::enqueue`].
    unsafe fn collect(
        &mut self,
        stream: &Stream,
        outputs: &[(String, u64)],
    ) -> Result<(), CudaError> {
        for (name, from) in outputs {
            if let Some((at, len)) = self.outputs.get(name).copied() {
                let size = size_of::<f32>();
                let to = self.results.address() + (at * size) as u64;
                // SAFETY: the caller's promise; `results` is as long as all outputs together.
                unsafe { cu::memcpy_dtod_async(to, *from, len * size, stream.0) }
                    .call("cuMemcpyDtoDAsync")?;
            }
        }
        Ok(())
    }

    /// As [`Loaded::enqueue`], piece by piece with a mark before each step, and waits: the times are added
    /// to `times`.
    ///
    /// # Errors
    /// A call is refused, or work failed.
    ///
    /// # Safety
    /// As [`Loaded::enqueue`].
    pub unsafe fn profile(
        &mut self,
        stream: &Stream,
        products: &Products,
        outputs: &[(String, u64)],
    ) -> Result<(), CudaError> {
        while self.marks.len() <= self.launches.len() {
            self.marks.push(Event::new(true)?);
        }
        // SAFETY: the caller's promise, here and below.
        unsafe { self.feed.send(stream) }?;
        for (step, mark) in self.launches.iter().zip(&self.marks) {
            mark.record(stream)?;
            for launch in step {
                unsafe { launch.queue(stream, products) }?;
            }
        }
        self.marks[self.launches.len()].record(stream)?;
        unsafe { self.collect(stream, outputs) }?;
        unsafe { self.results.receive(stream) }?;
        stream.wait()?;
        for (marks, time) in self.marks.windows(2).zip(&mut self.times) {
            time.calls += 1;
            time.seconds += marks[0].seconds_until(&marks[1])?;
        }
        // A group is timed whole: its products share the time by their operations, and what is between them
        // gets none.
        for group in &self.printed.groups {
            let times = &mut self.times[group.clone()];
            let flops: f64 = times.iter().map(|t| t.flops).sum();
            let whole: f64 = times.iter().map(|t| t.seconds).sum();
            times
                .iter_mut()
                .for_each(|t| t.seconds = whole * t.flops / flops.max(1.0));
        }
        Ok(())
    }

    /// Outputs of the last run, by name.
    pub fn output_names(&self) -> impl Iterator<Item = &String> {
        self.outputs.keys()
    }

    /// An output of the last run, which is waited for.
    ///
    /// # Errors
    /// The run failed.
    pub fn output(&self, name: &str, device: &Device) -> Result<Option<&[f32]>, CudaError> {
        let Some((at, len)) = self.outputs.get(name).copied() else {
            return Ok(None);
        };
        Ok(self.results.newest(device)?.get(at..at + len))
    }

    /// Keeps outputs of the last run: the number of their place, and the part of each. The name of one that is
    /// not there is the error.
    pub fn keep<'a>(&mut self, names: &'a [String]) -> Result<(usize, Vec<Part>), &'a String> {
        let part = |name: &'a String| self.outputs.get(name).copied().ok_or(name);
        let parts = names.iter().map(part).collect::<Result<_, _>>()?;
        Ok((self.results.keep(), parts))
    }

    /// What was kept, after waiting for its run; none if it was read before.
    ///
    /// # Errors
    /// The run failed.
    pub fn read(
        &mut self,
        place: usize,
        parts: &[Part],
        device: &Device,
    ) -> Result<Option<Vec<f32>>, CudaError> {
        self.results.read(place, parts, device)
    }
}

/// Bytes that a buffer begins at a multiple of, wherever the arena lies: allocations are multiples of 256.
fn alignment(program: &Program, id: usize) -> u64 {
    match &program.buffers[id].place {
        Place::Arena { offset } => (offset * size_of::<f32>()) as u64,
        _ => 0,
    }
}

/// First bytes of all matrices of a product, of the operands and the result.
fn matrices(product: &LibraryProduct, addresses: [u64; 3]) -> [Vec<u64>; 3] {
    [0, 1, 2].map(|operand| {
        let size = product.storage[operand].bytes() as i64;
        let bytes = |first: [isize; 3]| first[operand] as i64 * size;
        let address = |first| addresses[operand].wrapping_add_signed(bytes(first));
        product.matrices().map(address).collect()
    })
}

/// States that some step reads before any step has written them.
fn needed_states(program: &Program) -> Vec<String> {
    let mut needs: Vec<String> = vec![];
    for step in &program.steps {
        for buffer in step.kernel.reads() {
            if let Place::State(name) = &program.buffers[buffer].place {
                // A value that was placed in a state has a buffer of its own, which is written.
                let writes =
                    |s: &ablate_compiler::program::Step| s.kernel.writes().contains(&buffer);
                if !program.steps.iter().any(writes) && !needs.contains(name) {
                    needs.push(name.clone());
                }
            }
        }
    }
    // A state that is read back as it is.
    for (_, buffer) in &program.outputs {
        if let Place::State(name) = &program.buffers[*buffer].place {
            let writes = |s: &ablate_compiler::program::Step| s.kernel.writes().contains(buffer);
            if !program.steps.iter().any(writes) && !needs.contains(name) {
                needs.push(name.clone());
            }
        }
    }
    needs
}
